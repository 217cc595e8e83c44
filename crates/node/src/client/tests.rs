//! The client at work against scripted replicas over real QUIC.

#![allow(clippy::unwrap_used)]

use std::future::Future;
use std::net::SocketAddr;
use std::task::Poll;

use quorate_host::lane::Class;
use quorate_protocol::client::How;
use quorate_protocol::codec::{self, Blob};
use quorate_protocol::committee::Committee;
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::message::{
    ClientFrame, ClientMessage, Found, Outcome, Query, QueryReply, Replies, Reply,
};
use quorate_protocol::parameters::{Context, Parameters};
use quorate_protocol::request::{Kind, Request};
use quorate_protocol::types::{ClusterId, Digest, Epoch, Number, Seq};

use super::*;
use crate::transport::{Admission, Inbound, Limits, Remote, Transport, TransportConfig, bind};

/// Four replicas on real links that agree on everything because one task plays them all. They answer an operation with
/// itself.
struct Cluster {
    context: Context,
    addresses: Vec<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
}

/// What one replica does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Honest,
    /// Takes no request and gives no answer.
    Mute,
    /// Answers something else.
    Lying,
}

use Manner::{Honest, Lying, Mute};

/// The replicas' side of the play.
struct Stage {
    manners: [Manner; 4],
    transports: Vec<Transport>,
    clients: Vec<(usize, Remote)>,
    inbox: mpsc::Receiver<(usize, Inbound)>,
}

impl Cluster {
    async fn start(manners: [Manner; 4], parameters: Parameters) -> Self {
        let keys: Vec<_> = (1..=4).map(|seed| Arc::new(SecretKey::from_seed(&[seed; 32]))).collect();
        let publics: Vec<_> = keys.iter().map(|key| key.public()).collect();
        let context = Context {
            cluster: ClusterId(Digest([7; 32])),
            epoch: Epoch(0),
            committee: Arc::new(Committee::new(&publics, false).unwrap()),
            parameters: Arc::new(parameters),
        };
        let free = || bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let sockets: Vec<_> = keys.iter().map(|_| (free(), free())).collect();
        let peer_addresses: Vec<_> = sockets.iter().map(|(peer, _)| peer.local_addr().unwrap()).collect();
        let addresses = sockets.iter().map(|(_, client)| client.local_addr().unwrap()).collect();
        let (sender, inbox) = mpsc::channel(64);
        let mut transports = Vec::new();
        for (index, (key, (peer_socket, client_socket))) in keys.iter().zip(sockets).enumerate() {
            let (inbound, mut receiver) = mpsc::channel(64);
            let config = TransportConfig {
                context: context.clone(),
                id: ReplicaId(u16::try_from(index).unwrap()),
                key: Arc::clone(key),
                peer_addresses: peer_addresses.clone(),
                peer_socket,
                client_socket,
                admission: Admission::Open,
                limits: Limits::default(),
                emulation: None,
                standing: Arc::new(|| (Seq(5), View(0))),
            };
            transports.push(transport::start(config, inbound).await.unwrap());
            let sender = sender.clone();
            tokio::spawn(async move {
                while let Some(inbound) = receiver.recv().await {
                    if sender.send((index, inbound)).await.is_err() {
                        break;
                    }
                }
            });
        }
        let (stop, stopped) = oneshot::channel();
        tokio::spawn(Stage { manners, transports, clients: Vec::new(), inbox }.play(stopped));
        Self { context, addresses, stop: Some(stop) }
    }

    async fn connect(&self, change: impl FnOnce(&mut Options)) -> Caller {
        let mut options = Options::new(0);
        change(&mut options);
        let config = ClientTransportConfig {
            context: self.context.clone(),
            key: Arc::new(SecretKey::from_seed(&[99; 32])),
            replicas: self.addresses.clone(),
            limits: Limits::default(),
        };
        connect(config, None, options).await.unwrap()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.stop.take());
    }
}

impl Stage {
    async fn play(mut self, mut stopped: oneshot::Receiver<()>) {
        loop {
            let inbound = tokio::select! {
                inbound = self.inbox.recv() => inbound,
                _ = &mut stopped => None,
            };
            match inbound {
                Some((index, Inbound::Up { remote: remote @ Remote::Client(_), .. })) => {
                    self.clients.push((index, remote));
                }
                Some((index, Inbound::Frames { from: Remote::Client(_), frames, .. })) => {
                    for frame in frames.iter().filter(|_| self.manners[index] != Mute) {
                        match codec::decode(frame).unwrap() {
                            ClientFrame::Request(request) => self.order(&request),
                            ClientFrame::Query(query) => self.find(&query),
                        }
                    }
                }
                Some(_) => {}
                None => return,
            }
        }
    }

    /// Each finds the command itself; nobody is asked what replicas are not asked.
    fn find(&self, query: &Query) {
        for (index, remote) in &self.clients {
            let found = match self.manners[*index] {
                Mute => continue,
                Lying => Bytes::from_static(b"a lie"),
                Honest => query.command.0.clone(),
            };
            let reply =
                QueryReply { number: query.number, executed: Seq(90), found: Found::Reply(Blob(found)) };
            let message = ClientMessage::Query { epoch: Epoch(0), view: View(0), reply };
            let frame = Bytes::from(codec::encode(&message).unwrap());
            self.transports[*index].send(*remote, Class::Proposals, frame);
        }
    }

    fn order(&self, request: &Request) {
        for (index, remote) in &self.clients {
            let manner = self.manners[*index];
            if manner == Mute {
                continue;
            }
            let replies = request.operations().map(|(number, operation, bytes)| {
                let outcome = match (request.kind(), manner) {
                    (Kind::Register, _) => Outcome::Registered,
                    (_, Lying) => Outcome::Done(Blob(Bytes::from_static(b"a lie"))),
                    (_, Honest | Mute) => Outcome::Done(Blob(Bytes::copy_from_slice(bytes))),
                };
                Reply { seq: Seq(6 + number.0), session: request.session(), number, operation, outcome }
            });
            let replies = Replies::of(&replies.collect::<Vec<_>>());
            let message = ClientMessage::Replies { epoch: Epoch(0), view: View(0), replies };
            let frame = Bytes::from(codec::encode(&message).unwrap());
            self.transports[*index].send(*remote, Class::Proposals, frame);
        }
    }
}

fn echo(bytes: &[u8]) -> Outcome {
    Outcome::Done(Blob(Bytes::copy_from_slice(bytes)))
}

#[tokio::test]
async fn a_call_is_answered_by_f_plus_one_replicas() {
    let cluster = Cluster::start([Honest; 4], Parameters::default()).await;
    let caller = cluster.connect(|_| {}).await;
    let answer = caller.call(Bytes::from_static(b"hello")).await.unwrap();
    assert_eq!((answer.outcome, answer.number, answer.seq), (echo(b"hello"), Number(1), Seq(7)));
    assert!(answer.voters.len() >= 2);
    let report = caller.report().await.unwrap();
    assert_eq!((report.counters.accepted, report.unanswered, report.malformed), (1, 0, 0));
}

#[tokio::test]
async fn reads_go_between_calls_and_are_not_ordered() {
    let parameters = Parameters { fast_reads: true, ..Parameters::default() };
    let cluster = Cluster::start([Honest, Lying, Honest, Honest], parameters).await;
    let caller = cluster.connect(|_| {}).await;
    caller.call(Bytes::from_static(b"one")).await.unwrap();
    for read in [Read::Fast, Read::Session, Read::Stale] {
        let answer = caller.read(Bytes::from_static(b"what"), read).await.unwrap();
        assert_eq!((answer.outcome, answer.seq), (echo(b"what"), Seq(90)), "{read:?}");
        assert_eq!((answer.how, answer.number), (How::Read(read), Number(0)));
    }
    let answer = caller.read(Bytes::from_static(b"in order"), Read::Ordered).await.unwrap();
    assert_eq!((answer.how, answer.number), (How::Ordered, Number(2)));
    let answer = caller.call(Bytes::from_static(b"three")).await.unwrap();
    assert_eq!(answer.number, Number(3), "the call after it knows its own answer");
    let counters = caller.report().await.unwrap().counters;
    assert_eq!((counters.reads, counters.reads_unordered, counters.reads_fallen_back), (3, 3, 0));
}

#[tokio::test]
async fn a_lying_replica_is_outvoted() {
    let cluster = Cluster::start([Honest, Lying, Honest, Honest], Parameters::default()).await;
    let caller = cluster.connect(|_| {}).await;
    for call in 0..20_u64 {
        let answer = caller.call(Bytes::copy_from_slice(&call.to_le_bytes())).await.unwrap();
        assert_eq!(answer.outcome, echo(&call.to_le_bytes()));
        assert!(!answer.voters.contains(ReplicaId(1)));
    }
    let report = caller.report().await.unwrap();
    assert!(report.dissenters().iter().all(|replica| *replica == ReplicaId(1)));
}

#[tokio::test]
async fn a_mute_primary_only_costs_a_timeout() {
    let cluster = Cluster::start([Mute, Honest, Honest, Honest], Parameters::default()).await;
    let caller = cluster.connect(|options| options.retry_timeout_us = 20_000).await;
    let answer = caller.call(Bytes::from_static(b"hello")).await.unwrap();
    assert_eq!(answer.outcome, echo(b"hello"));
    // The registration's, and the call's, unless the machine was so slow that one went to everybody at once.
    assert!(caller.report().await.unwrap().counters.retries >= 1);
}

#[tokio::test]
async fn a_stream_answers_every_tag_once() {
    let cluster = Cluster::start([Honest; 4], Parameters::default()).await;
    let caller = cluster.connect(|_| {}).await;
    let mut stream = caller.stream(256);
    let mut calls: Vec<_> =
        (0..5000_u64).map(|tag| (tag, Bytes::copy_from_slice(&tag.to_le_bytes()))).collect();
    let mut answered = vec![false; calls.len()];
    while !calls.is_empty() || stream.in_flight() > 0 {
        stream.submit(&mut calls).await.unwrap();
        assert!(stream.in_flight() <= 256);
        for (tag, answer) in stream.next().await.unwrap() {
            assert_eq!(answer.unwrap().outcome, echo(&tag.to_le_bytes()));
            assert!(!std::mem::replace(&mut answered[usize::try_from(tag).unwrap()], true));
        }
    }
    assert!(answered.into_iter().all(|answered| answered));
    let counters = caller.report().await.unwrap().counters;
    assert_eq!(counters.operations, 5000);
    assert!(counters.bundles < 1000, "{} bundles", counters.bundles);
}

#[tokio::test]
async fn more_calls_than_the_window_holds_wait_their_turn() {
    let parameters = Parameters { client_window: 8, ..Parameters::default() };
    let cluster = Cluster::start([Honest; 4], parameters).await;
    let caller = cluster.connect(|_| {}).await;
    let mut calls = tokio::task::JoinSet::new();
    for call in 0..200_u64 {
        let caller = caller.clone();
        calls.spawn(async move { (call, caller.call(Bytes::copy_from_slice(&call.to_le_bytes())).await) });
    }
    while let Some(called) = calls.join_next().await {
        let (call, answer) = called.unwrap();
        assert_eq!(answer.unwrap().outcome, echo(&call.to_le_bytes()));
    }
}

#[tokio::test]
async fn a_deadline_ends_the_wait_and_the_client_goes_on() {
    let cluster = Cluster::start([Mute, Mute, Mute, Honest], Parameters::default()).await;
    let caller = cluster.connect(|_| {}).await;
    let deadline = Duration::from_millis(50);
    let answer = caller.call_within(Bytes::from_static(b"hello"), deadline).await;
    assert_eq!(answer, Err(CallError::DeadlinePassed(deadline)));
    assert_eq!(caller.report().await.unwrap().counters.accepted, 0);
}

#[tokio::test]
async fn a_dropped_call_harms_no_other() {
    let cluster = Cluster::start([Honest; 4], Parameters::default()).await;
    let caller = cluster.connect(|_| {}).await;
    for call in 0..50_u64 {
        let mut dropped = Box::pin(caller.call(Bytes::from_static(b"dropped")));
        let once = std::future::poll_fn(|context| Poll::Ready(dropped.as_mut().poll(context).is_pending()));
        assert!(once.await);
        if call % 2 == 0 {
            // The client takes it before its caller goes.
            tokio::task::yield_now().await;
        }
        drop(dropped);
        let answer = caller.call(Bytes::copy_from_slice(&call.to_le_bytes())).await.unwrap();
        assert_eq!(answer.outcome, echo(&call.to_le_bytes()));
    }
}

#[tokio::test]
async fn an_operation_that_is_too_large_is_refused_here() {
    let cluster = Cluster::start([Honest; 4], Parameters::default()).await;
    let caller = cluster.connect(|_| {}).await;
    let bytes = (256 << 10) + 1;
    let refused = caller.call(Bytes::from(vec![0; bytes])).await;
    assert_eq!(refused, Err(CallError::TooLarge { bytes, most: 256 << 10 }));
}

#[tokio::test]
async fn closing_ends_calls_and_streams() {
    let cluster = Cluster::start([Mute; 4], Parameters::default()).await;
    let caller = cluster.connect(|_| {}).await;
    let mut stream = caller.stream(4);
    stream.submit(&mut vec![(1, Bytes::new())]).await.unwrap();
    let waiting = caller.call(Bytes::new());
    let ((), answer, rest) = tokio::join!(caller.close(), waiting, stream.next());
    assert_eq!((answer, rest), (Err(CallError::Closed), None));
    assert_eq!(caller.call(Bytes::new()).await, Err(CallError::Closed));
    assert!(caller.report().await.is_none());
}
