//! The client's side: one link to every replica, from a UDP socket that many clients may share.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use quorate_host::lane::Class;
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::parameters::Context;
use quorate_protocol::types::ReplicaId;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::counters::Counters;
use super::dial::Dialler;
use super::hello::Greeting;
use super::limits::{self, BufferWarning, Limits};
use super::link::{Inbox, Wiring};
use super::refused::Refused;
use super::seat::{LinkReport, Seat};
use super::tls::{self, Identity};
use super::{ClientInbound, Remote, Shape, TransportError};
use crate::emulation::Emulation;

/// What a client needs to know to connect.
pub struct ClientTransportConfig {
    /// The cluster.
    pub context: Context,
    /// The client's key.
    pub key: Arc<SecretKey>,
    /// Where each replica takes clients, in order of replica id.
    pub replicas: Vec<SocketAddr>,
    /// Bounds.
    pub limits: Limits,
}

/// A UDP socket from which any number of clients dial.
#[derive(Debug, Clone)]
pub struct SharedEndpoint {
    endpoint: quinn::Endpoint,
    warnings: Vec<BufferWarning>,
}

impl SharedEndpoint {
    /// An endpoint on a socket. Needs a tokio runtime, which then drives it.
    ///
    /// # Errors
    /// [`TransportError::Socket`] if the socket cannot be used.
    pub fn new(socket: UdpSocket, limits: &Limits) -> Result<Self, TransportError> {
        Self::open(socket, limits, None)
    }

    /// As [`SharedEndpoint::new`], with datagrams that meet an emulated network.
    ///
    /// # Errors
    /// [`TransportError::Socket`] if the socket cannot be used.
    pub fn new_emulated(
        socket: UdpSocket,
        limits: &Limits,
        emulation: &Emulation,
    ) -> Result<Self, TransportError> {
        Self::open(socket, limits, Some(emulation))
    }

    fn open(
        socket: UdpSocket,
        limits: &Limits,
        emulation: Option<&Emulation>,
    ) -> Result<Self, TransportError> {
        let warnings = limits.prepare(&socket)?;
        let endpoint = super::endpoint(limits.endpoint(None), None, socket, emulation)?;
        Ok(Self { endpoint, warnings })
    }

    /// An endpoint on any free port, for replicas at these addresses.
    fn for_replicas(replicas: &[SocketAddr], limits: &Limits) -> Result<Self, TransportError> {
        let any = if replicas.iter().all(SocketAddr::is_ipv4) {
            IpAddr::from(Ipv4Addr::UNSPECIFIED)
        } else {
            IpAddr::from(Ipv6Addr::UNSPECIFIED)
        };
        Self::new(limits::bind((any, 0).into())?, limits)
    }

    /// What the kernel did not grant.
    #[must_use]
    pub fn warnings(&self) -> &[BufferWarning] {
        &self.warnings
    }
}

/// Links from one client to all replicas, kept up until it is closed or dropped.
pub struct ClientTransport {
    seats: Vec<Arc<Seat>>,
    counters: Arc<Counters>,
    tasks: Mutex<JoinSet<()>>,
    /// Keeps the socket alive.
    shared: SharedEndpoint,
}

/// Starts dialling all replicas, from `endpoint` or a socket of its own. Links are reported to `inbox` as they come up.
///
/// # Errors
/// [`TransportError`] names what in the configuration cannot be.
pub async fn connect(
    config: ClientTransportConfig,
    endpoint: Option<SharedEndpoint>,
    inbox: mpsc::Sender<ClientInbound>,
) -> Result<ClientTransport, TransportError> {
    let ClientTransportConfig { context, key, replicas, limits } = config;
    let expected = context.committee.size();
    if replicas.len() != expected {
        return Err(TransportError::Addresses { expected, got: replicas.len() });
    }
    let shared = endpoint.map_or_else(|| SharedEndpoint::for_replicas(&replicas, &limits), Ok)?;
    let identity = Identity::new(&key)?;
    let name = tls::protocol_name(context.cluster, Shape::Client);
    let greeting = Arc::new(Greeting::new(context.clone(), None));
    let (limits, counters) = (Arc::new(limits), Arc::new(Counters::default()));
    let settings = limits.transport(Shape::Client, 1);
    let mut tasks = JoinSet::new();
    let mut seats = Vec::new();
    for (id, address) in context.committee.replicas().zip(replicas) {
        let expected =
            context.committee.key(id).expect("the committee has a key for each of its replicas").public();
        let mut config = identity.client(expected, name.clone())?;
        config.transport_config(Arc::clone(&settings));
        let dialler = Dialler {
            endpoint: shared.endpoint.clone(),
            tls: config,
            address,
            shape: Shape::Client,
            limits: Arc::clone(&limits),
            greeting: Arc::clone(&greeting),
        };
        let seat = Arc::new(Seat::new(id, expected, Some(address), limits.client_lane()));
        let wiring = Wiring {
            remote: Remote::Replica(id),
            inbox: Inbox::Client(inbox.clone()),
            counters: Arc::clone(&counters),
            burst_bytes: limits.burst_bytes,
        };
        tasks.spawn(dialler.keep(Arc::clone(&seat), wiring));
        seats.push(seat);
    }
    Ok(ClientTransport { seats, counters, tasks: Mutex::new(tasks), shared })
}

impl ClientTransport {
    /// Sends a frame to a replica, if there is a link to it and its lane has room; never waits.
    pub fn send(&self, to: ReplicaId, frame: Bytes) {
        match self.seats.get(usize::from(to.0)) {
            Some(seat) => seat.send(Class::Proposals, frame, &self.counters),
            None => self.counters.frames_unlinked.add(1),
        }
    }

    /// Sends a frame to every replica.
    pub fn broadcast(&self, frame: &Bytes) {
        self.seats.iter().for_each(|seat| seat.send(Class::Proposals, frame.clone(), &self.counters));
    }

    /// One report per replica.
    #[must_use]
    pub fn links(&self) -> Vec<LinkReport> {
        self.seats.iter().map(|seat| seat.report()).collect()
    }

    /// Counts since the start.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What the kernel did not grant.
    #[must_use]
    pub fn warnings(&self) -> &[BufferWarning] {
        self.shared.warnings()
    }

    /// Ends all links. A shared endpoint stays.
    pub async fn close(&self) {
        self.seats.iter().for_each(|seat| seat.close(&Refused::Closing));
        let mut tasks =
            std::mem::take(&mut *self.tasks.lock().expect("nothing panics while it holds the tasks"));
        tasks.shutdown().await;
    }
}
