//! Real sockets on loopback. Every wait has a timeout, and no test sleeps.
#![allow(clippy::unwrap_used)]

mod datagrams;
mod emulated;
mod hostile;
mod links;
mod measures;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quorate_host::lane::Class;
use quorate_protocol::committee::Committee;
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::parameters::{Context, Parameters};
use quorate_protocol::types::{ClusterId, Digest, Epoch, ReplicaId, Seq, View};
use tokio::sync::mpsc;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn context(replicas: u8) -> Context {
    let keys: Vec<_> = (0..replicas).map(|seed| key(seed).public()).collect();
    Context {
        cluster: ClusterId(Digest([7; 32])),
        epoch: Epoch(0),
        committee: Arc::new(Committee::new(&keys, true).unwrap()),
        parameters: Arc::new(Parameters::default()),
    }
}

fn loopback() -> UdpSocket {
    bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap()
}

async fn within<F: Future>(what: &str, future: F) -> F::Output {
    let result = tokio::time::timeout(PATIENCE, future).await;
    result.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// Lets everything else run until `condition` holds.
async fn until(what: &str, condition: impl Fn() -> bool) {
    within(what, async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// A replica's transport and its inbox.
struct Node {
    transport: Transport,
    inbox: mpsc::Receiver<Inbound>,
}

impl Node {
    async fn next(&mut self, what: &str) -> Inbound {
        within(what, self.inbox.recv()).await.unwrap()
    }

    async fn up(&mut self, what: &str) -> Remote {
        loop {
            if let Inbound::Up { remote, .. } = self.next(what).await {
                return remote;
            }
        }
    }

    async fn down(&mut self, what: &str) -> (Remote, String) {
        loop {
            if let Inbound::Down { remote, why } = self.next(what).await {
                return (remote, why);
            }
        }
    }

    async fn frames(&mut self, from: Remote, class: Class, count: usize) -> Vec<Bytes> {
        let mut all = Vec::new();
        while all.len() < count {
            if let Inbound::Frames { from: sender, class: theirs, frames } = self.next("frames").await
                && (sender, theirs) == (from, class)
            {
                all.extend(frames);
            }
        }
        all
    }

    fn refused(&self, kind: RefusalKind) -> u64 {
        self.transport.counters().refused(kind)
    }
}

/// Sockets of a cluster that may not have started yet.
struct Ports {
    peers: Vec<SocketAddr>,
    clients: Vec<SocketAddr>,
    sockets: Vec<Option<(UdpSocket, UdpSocket)>>,
}

impl Ports {
    fn new(replicas: u8) -> Self {
        let sockets: Vec<_> = (0..replicas).map(|_| (loopback(), loopback())).collect();
        Self {
            peers: sockets.iter().map(|(peer, _)| peer.local_addr().unwrap()).collect(),
            clients: sockets.iter().map(|(_, client)| client.local_addr().unwrap()).collect(),
            sockets: sockets.into_iter().map(Some).collect(),
        }
    }

    fn config(&mut self, context: &Context, id: u8) -> TransportConfig {
        let (peer_socket, client_socket) = self.sockets[usize::from(id)].take().unwrap();
        TransportConfig {
            context: context.clone(),
            id: ReplicaId(u16::from(id)),
            key: Arc::new(key(id)),
            peer_addresses: self.peers.clone(),
            peer_socket,
            client_socket,
            admission: Admission::Open,
            limits: Limits::default(),
            emulation: None,
            standing: Arc::new(|| (Seq(5), View(2))),
        }
    }
}

async fn launch(config: TransportConfig) -> Node {
    let (sender, inbox) = mpsc::channel(1024);
    Node { transport: start(config, sender).await.unwrap(), inbox }
}

async fn cluster(replicas: u8) -> (Vec<Node>, Ports) {
    let mut ports = Ports::new(replicas);
    let mut nodes = Vec::new();
    for id in 0..replicas {
        nodes.push(launch(ports.config(&context(replicas), id)).await);
    }
    for node in &mut nodes {
        for _ in 1..replicas {
            node.up("links between all replicas").await;
        }
    }
    (nodes, ports)
}

fn replica(id: u16) -> Remote {
    Remote::Replica(ReplicaId(id))
}

fn numbered(number: u32, length: usize) -> Bytes {
    let mut frame = number.to_le_bytes().to_vec();
    frame.resize(length.max(4), 0xab);
    frame.into()
}

fn number_of(frame: &[u8]) -> u32 {
    u32::from_le_bytes(*frame.first_chunk().unwrap())
}

/// A client with this seed as key.
async fn client(
    context: &Context,
    seed: u8,
    ports: &Ports,
) -> (ClientTransport, mpsc::Receiver<ClientInbound>) {
    let (sender, inbox) = mpsc::channel(1024);
    let config = ClientTransportConfig {
        context: context.clone(),
        key: Arc::new(key(seed)),
        replicas: ports.clients.clone(),
        limits: Limits::default(),
    };
    (connect(config, None, sender).await.unwrap(), inbox)
}
