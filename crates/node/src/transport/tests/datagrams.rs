//! Real sockets on loopback: datagrams as quinn hands them over, and what arrives.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn::udp::Transmit;
use quinn::{AsyncUdpSocket, Runtime, TokioRuntime};
use tokio::net::UdpSocket;

use super::super::emulated::emulated;
use super::PATIENCE;
use crate::emulation::{Emulation, EmulationFile, Rule, Target};

/// A socket that emulates, one that receives, and the emulation between them.
struct Pair {
    sender: Arc<dyn AsyncUdpSocket>,
    receiver: UdpSocket,
    to: SocketAddr,
    emulation: Emulation,
}

impl Pair {
    async fn new(rule: Rule) -> Self {
        let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let to = receiver.local_addr().unwrap();
        let links = [(Target::Socket(to), rule)].into();
        let emulation = Emulation::new(EmulationFile { seed: 1, links });
        let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let sender = emulated(TokioRuntime.wrap_udp_socket(socket).unwrap(), &emulation).unwrap();
        // The runtime learns only then that the socket has room.
        let mut poller = Arc::clone(&sender).create_io_poller();
        std::future::poll_fn(|cx| poller.as_mut().poll_writable(cx)).await.unwrap();
        Self { sender, receiver, to, emulation }
    }

    fn send(&self, to: SocketAddr, contents: &[u8], segment_size: Option<usize>) {
        let transmit = Transmit { destination: to, ecn: None, contents, segment_size, src_ip: None };
        self.sender.try_send(&transmit).unwrap();
    }

    async fn receive(&self) -> Vec<u8> {
        receive(&self.receiver).await
    }
}

async fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut bytes = [0; 2048];
    let received = tokio::time::timeout(PATIENCE, socket.recv(&mut bytes)).await;
    let length = received.expect("waited in vain for a datagram").unwrap();
    bytes[..length].to_vec()
}

#[tokio::test]
async fn each_datagram_of_one_call_arrives_on_its_own_in_order_and_not_early() {
    let pair = Pair::new(Rule { delay_us: 30_000, jitter_us: 2000, ..Rule::default() }).await;
    let contents: Vec<u8> = (0..250).collect();
    let began = Instant::now();
    pair.send(pair.to, &contents, Some(100));
    assert_eq!(pair.receive().await, contents[..100]);
    assert!(began.elapsed() >= Duration::from_millis(30), "{:?}", began.elapsed());
    assert_eq!(pair.receive().await, contents[100..200]);
    assert_eq!(pair.receive().await, contents[200..]);
    let counters = pair.emulation.counters();
    assert_eq!(counters.datagrams.get(), 3);
    let counted = async {
        while counters.delayed.get() < 3 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, counted).await.expect("what was sent on is counted");
}

#[tokio::test]
async fn whom_no_rule_names_hears_at_once() {
    let pair = Pair::new(Rule { delay_us: 5_000_000, ..Rule::default() }).await;
    let other = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let began = Instant::now();
    pair.send(pair.to, &[1], None);
    pair.send(other.local_addr().unwrap(), &[2], None);
    assert_eq!(receive(&other).await, [2]);
    assert!(began.elapsed() < Duration::from_secs(4));
    assert_eq!(pair.emulation.counters().datagrams.get(), 1);
}

#[tokio::test]
async fn what_is_not_lost_arrives_and_in_order() {
    let pair = Pair::new(Rule { delay_us: 1000, jitter_us: 1000, loss: 0.1, ..Rule::default() }).await;
    let counters = pair.emulation.counters();
    let (mut arrived, mut expected) = (Vec::new(), 0);
    for round in 0..20_u8 {
        (0..100).for_each(|number| pair.send(pair.to, &[round, number], None));
        expected = 100 * (u64::from(round) + 1) - counters.lost.get();
        while (arrived.len() as u64) < expected {
            arrived.push(pair.receive().await);
        }
    }
    assert!(arrived.is_sorted());
    assert_eq!(arrived.len() as u64, expected);
    // Five standard deviations of 200 in 2000.
    assert!((130..270).contains(&counters.lost.get()), "{}", counters.lost.get());
    assert_eq!(counters.dropped.get(), 0);
}

#[tokio::test]
async fn bytes_take_the_time_that_the_width_of_their_link_gives_them() {
    let width = 1_000_000;
    let pair = Pair::new(Rule { bandwidth_bytes_per_second: width, ..Rule::default() }).await;
    let began = Instant::now();
    let last = 200;
    for number in 0..=last {
        pair.send(pair.to, &[number; 1000], None);
    }
    while pair.receive().await[0] < last {}
    // A millisecond's worth and one datagram may be ahead.
    assert!(began.elapsed() >= Duration::from_millis(198), "{:?}", began.elapsed());
    assert_eq!(pair.emulation.counters().dropped.get(), 0);
}

#[tokio::test]
async fn what_overflows_a_link_is_dropped_and_counted() {
    let rule = Rule { bandwidth_bytes_per_second: 1_000_000, queue_bytes: 10_000, ..Rule::default() };
    let pair = Pair::new(rule).await;
    (0..100).for_each(|number| pair.send(pair.to, &[number; 1000], None));
    let dropped = pair.emulation.counters().dropped.get();
    assert!((80..90).contains(&dropped), "{dropped}");
    for _ in dropped..100 {
        pair.receive().await;
    }
}

#[tokio::test]
async fn a_socket_that_is_let_go_frees_its_port_whatever_is_under_way() {
    let pair = Pair::new(Rule { delay_us: 5_000_000, ..Rule::default() }).await;
    let port = pair.sender.local_addr().unwrap();
    pair.send(pair.to, &[1], None);
    drop(pair.sender);
    let freed = async {
        while std::net::UdpSocket::bind(port).is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(4), freed)
        .await
        .expect("the port is free before the datagram is due");
}
