//! QUIC between replicas, and between clients and replicas. No other file knows that it is QUIC.
//!
//! A replica has two endpoints, so that clients cannot starve agreement: one for replicas, where the lower id dials the
//! higher, and one for clients. Who is at the other end is known by key from the handshake on (`tls`), and a link is
//! up only when both hellos agree (`hello`). Each pair of replicas has one stream per [`Class`] and direction, with
//! its own lane and its own flow control: bulk never stops votes, and a slow peer costs its own lanes only. What comes
//! in goes to one bounded inbox; while nobody takes it out, only the streams that have something for it stand still.
//!
//! Everything works on a runtime of one thread, which is how a replica runs unless told otherwise.

mod accept;
mod client;
mod clients;
mod control;
mod counters;
mod dial;
mod emulated;
mod flush;
mod hello;
mod limits;
mod link;
mod refused;
mod rivals;
mod seat;
mod tls;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use quorate_host::lane::Class;
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::message::Hello;
use quorate_protocol::parameters::Context;
use quorate_protocol::types::{PublicKey, ReplicaId};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

pub use self::client::{ClientTransport, ClientTransportConfig, SharedEndpoint, connect};
pub use self::control::{Asked, CONTROL_BYTES_MAX, ControlDoor, ControlLink, dial_agent};
pub use self::counters::{Counter, Counters, Times};
pub use self::hello::Standing;
pub use self::limits::{BufferWarning, Limits, bind};
pub use self::refused::{Ended, RefusalKind, Refused};
pub use self::seat::LinkReport;
pub use self::tls::Admission;

use self::accept::Door;
use self::clients::Clients;
use self::dial::Dialler;
use self::emulated::emulated;
use self::hello::Greeting;
use self::link::{Inbox, Wiring};
use self::seat::{Handover, Seat};
use self::tls::{Accept, Identity};
use crate::emulation::Emulation;

/// One client's connection. Its key came with [`Inbound::Up`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// Who is at the other end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Remote {
    /// A replica, known by its key.
    Replica(ReplicaId),
    /// A client's connection.
    Client(LinkId),
}

/// What happens on a replica's links. For each remote: up, frames, down, and only then up again.
#[derive(Debug)]
pub enum Inbound {
    /// A link can be used.
    Up {
        /// Whose it is.
        remote: Remote,
        /// The key they proved to hold.
        key: PublicKey,
        /// What they said first.
        hello: Hello,
        /// Where they are.
        address: SocketAddr,
    },
    /// A link is gone, and what was not sent with it.
    Down {
        /// Whose it was.
        remote: Remote,
        /// Why.
        why: String,
    },
    /// Frames arrived, in order.
    Frames {
        /// From whom.
        from: Remote,
        /// On which stream. Those of clients all have [`Class::Proposals`].
        class: Class,
        /// All that were there. Slices of what the socket received: keep them briefly, or copy them.
        frames: Vec<Bytes>,
    },
}

/// What happens on a client's links.
#[derive(Debug)]
pub enum ClientInbound {
    /// A replica can be reached.
    Up {
        /// Which.
        replica: ReplicaId,
        /// What it said first.
        hello: Hello,
        /// Where it is.
        address: SocketAddr,
    },
    /// A replica cannot be reached any more; it is being redialled.
    Down {
        /// Which.
        replica: ReplicaId,
        /// Why.
        why: String,
    },
    /// Frames arrived, in order.
    Frames {
        /// From which replica.
        replica: ReplicaId,
        /// All that were there. Slices of what the socket received: keep them briefly, or copy them.
        frames: Vec<Bytes>,
    },
}

/// What kind of link: between replicas, or from a client to a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Peer,
    Client,
}

impl Shape {
    const fn protocol_suffix(self) -> &'static str {
        match self {
            Self::Peer => "/peer",
            Self::Client => "/client",
        }
    }

    const fn reset_label(self) -> &'static str {
        match self {
            Self::Peer => "quic reset of peers",
            Self::Client => "quic reset of clients",
        }
    }

    const fn identifier_label(self) -> &'static str {
        match self {
            Self::Peer => "quic identifiers of peers",
            Self::Client => "quic identifiers of clients",
        }
    }
}

/// What a replica's transport needs to know.
pub struct TransportConfig {
    /// The cluster.
    pub context: Context,
    /// Which replica this is.
    pub id: ReplicaId,
    /// Its key.
    pub key: Arc<SecretKey>,
    /// Where each replica takes replicas, in order of id; this one's own is not used.
    pub peer_addresses: Vec<SocketAddr>,
    /// Where this one takes replicas.
    pub peer_socket: UdpSocket,
    /// Where this one takes clients.
    pub client_socket: UdpSocket,
    /// Which clients may connect.
    pub admission: Admission,
    /// Bounds.
    pub limits: Limits,
    /// The network that its datagrams meet, if not the real one.
    pub emulation: Option<Emulation>,
    /// What hellos say of this replica's progress.
    pub standing: Standing,
}

/// Why a transport did not start.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// Another program has the port.
    #[error(
        "{address} is in use; stop the program that has it, or give this replica another port in the cluster file"
    )]
    InUse {
        /// The address.
        address: SocketAddr,
    },
    /// The address cannot be bound.
    #[error("cannot bind {address}: {error}; it must be an address of this machine")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// A socket cannot be used.
    #[error("the socket cannot be used: {error}")]
    Socket {
        /// What the system says.
        error: std::io::Error,
    },
    /// The key cannot serve as an identity.
    #[error("the key cannot serve as a TLS identity: {error}")]
    Key {
        /// What the TLS library says.
        error: String,
    },
    /// The key is not that of this replica.
    #[error("this key is not that of replica {id} in the cluster file; use its own key file")]
    NotOurKey {
        /// The replica.
        id: ReplicaId,
    },
    /// Too few or too many addresses.
    #[error("{got} addresses for {expected} replicas; give one for each")]
    Addresses {
        /// Replicas of the cluster.
        expected: usize,
        /// Addresses given.
        got: usize,
    },
}

fn endpoint(
    config: quinn::EndpointConfig,
    server: Option<quinn::ServerConfig>,
    socket: UdpSocket,
    emulation: Option<&Emulation>,
) -> Result<quinn::Endpoint, TransportError> {
    let runtime: Arc<dyn quinn::Runtime> = Arc::new(quinn::TokioRuntime);
    let opened = runtime.wrap_udp_socket(socket).and_then(|socket| {
        let socket = match emulation {
            Some(emulation) => emulated(socket, emulation)?,
            None => socket,
        };
        quinn::Endpoint::new_with_abstract_socket(config, server, socket, runtime)
    });
    opened.map_err(|error| TransportError::Socket { error })
}

/// All links of a replica, kept up until it is closed or dropped.
pub struct Transport {
    seats: Vec<Option<Arc<Seat>>>,
    clients: Arc<Clients>,
    counters: Arc<Counters>,
    endpoints: [quinn::Endpoint; 2],
    tasks: Mutex<JoinSet<()>>,
    warnings: Vec<BufferWarning>,
}

/// What the parts of a starting transport share.
struct Start {
    context: Context,
    id: ReplicaId,
    identity: Identity,
    limits: Arc<Limits>,
    emulation: Option<Emulation>,
    greeting: Arc<Greeting>,
    counters: Arc<Counters>,
    inbox: mpsc::Sender<Inbound>,
}

/// Starts a replica's transport: answers others, and dials the replicas with higher ids.
///
/// # Errors
/// [`TransportError`] names what in the configuration cannot be.
pub async fn start(
    config: TransportConfig,
    inbox: mpsc::Sender<Inbound>,
) -> Result<Transport, TransportError> {
    let TransportConfig { context, id, key, peer_addresses, limits, .. } = config;
    let expected = context.committee.size();
    if context.committee.id_of(&key.public()) != Some(id) {
        return Err(TransportError::NotOurKey { id });
    }
    if peer_addresses.len() != expected {
        return Err(TransportError::Addresses { expected, got: peer_addresses.len() });
    }
    let start = Start {
        identity: Identity::new(&key)?,
        greeting: Arc::new(Greeting::new(context.clone(), Some(config.standing))),
        counters: Arc::new(Counters::default()),
        limits: Arc::new(limits),
        emulation: config.emulation,
        context,
        id,
        inbox,
    };
    let replicas = Accept::Replicas { committee: Arc::clone(&start.context.committee), ours: key.public() };
    let customers = Accept::Clients(Arc::new(config.admission));
    let (peers, mut warnings) = start.open(Shape::Peer, &key, replicas, config.peer_socket)?;
    let (front, more) = start.open(Shape::Client, &key, customers, config.client_socket)?;
    warnings.extend(more);
    let mut tasks = JoinSet::new();
    let seats = start.seat_peers(&peers, &peer_addresses, &mut tasks)?;
    let clients = start.admit_clients(&front, &mut tasks);
    let Start { counters, .. } = start;
    Ok(Transport { seats, clients, counters, endpoints: [peers, front], tasks: Mutex::new(tasks), warnings })
}

impl Start {
    fn peers(&self) -> usize {
        self.context.committee.size() - 1
    }

    fn open(
        &self,
        shape: Shape,
        key: &SecretKey,
        accept: Accept,
        socket: UdpSocket,
    ) -> Result<(quinn::Endpoint, Vec<BufferWarning>), TransportError> {
        let warnings = self.limits.prepare(&socket)?;
        let mut server = self.identity.server(accept, tls::protocol_name(self.context.cluster, shape))?;
        server.transport_config(self.limits.transport(shape, self.peers()));
        let settings = self.limits.endpoint(Some((key, shape)));
        let endpoint = endpoint(settings, Some(server), socket, self.emulation.as_ref())?;
        Ok((endpoint, warnings))
    }

    fn wiring(&self, remote: Remote) -> Wiring {
        Wiring {
            remote,
            inbox: Inbox::Replica(self.inbox.clone()),
            counters: Arc::clone(&self.counters),
            burst_bytes: self.limits.burst_bytes,
        }
    }

    fn door(&self, shape: Shape, endpoint: &quinn::Endpoint) -> Door {
        Door {
            endpoint: endpoint.clone(),
            shape,
            limits: Arc::clone(&self.limits),
            greeting: Arc::clone(&self.greeting),
            counters: Arc::clone(&self.counters),
        }
    }

    /// A seat for each other replica, with a task that dials it or waits for it to dial.
    fn seat_peers(
        &self,
        endpoint: &quinn::Endpoint,
        addresses: &[SocketAddr],
        tasks: &mut JoinSet<()>,
    ) -> Result<Vec<Option<Arc<Seat>>>, TransportError> {
        let committee = Arc::clone(&self.context.committee);
        let name = tls::protocol_name(self.context.cluster, Shape::Peer);
        let (mut seats, mut handovers, mut diallers) = (Vec::new(), Vec::new(), Vec::new());
        for (id, address) in committee.replicas().zip(addresses) {
            if id == self.id {
                seats.push(None);
                continue;
            }
            let key = committee.key(id).expect("the committee has a key for each of its replicas").public();
            let seat = Arc::new(Seat::new(id, key, Some(*address), self.limits.peer_lane(self.peers())));
            let wiring = self.wiring(Remote::Replica(id));
            let mut tls = self.identity.client(key, name.clone())?;
            tls.transport_config(self.limits.transport(Shape::Peer, self.peers()));
            let dialler = Dialler {
                endpoint: endpoint.clone(),
                tls,
                address: *address,
                shape: Shape::Peer,
                limits: Arc::clone(&self.limits),
                greeting: Arc::clone(&self.greeting),
            };
            if id > self.id {
                diallers.push(Arc::clone(&seat));
                tasks.spawn(dialler.keep(Arc::clone(&seat), wiring));
            } else {
                tasks.spawn(dialler.knock());
                let handover = Arc::new(Handover::default());
                handovers.push(Arc::clone(&handover));
                tasks.spawn(keep_accepted(Arc::clone(&seat), wiring, handover));
            }
            seats.push(Some(seat));
        }
        let (ours, fresh, counters) = (self.id, self.limits.fresh, Arc::clone(&self.counters));
        let door = self.door(Shape::Peer, endpoint);
        tasks.spawn(door.keep(move |established| {
            // The handshake let replicas in only, so there is an id. Those below ours are the first in the list.
            let dialler = committee.id_of(&established.key).unwrap_or(ours);
            match handovers.get(usize::from(dialler.0)).filter(|_| dialler < ours) {
                Some(handover) => handover.put(established),
                None => {
                    counters.knocks.add(1);
                    diallers.iter().filter(|seat| seat.id == dialler).for_each(|seat| seat.knock(fresh));
                    Refused::WrongDialler { dialler, ours }.close(&established.connection);
                }
            }
            None::<std::future::Ready<()>>
        }));
        Ok(seats)
    }

    fn admit_clients(&self, endpoint: &quinn::Endpoint, tasks: &mut JoinSet<()>) -> Arc<Clients> {
        let clients = Arc::new(Clients::new(Arc::clone(&self.limits), Arc::clone(&self.counters)));
        let inbox = self.inbox.clone();
        let door = self.door(Shape::Client, endpoint);
        let admitted = Arc::clone(&clients);
        tasks.spawn(
            door.keep(move |established| Some(Arc::clone(&admitted).keep(established, inbox.clone()))),
        );
        clients
    }
}

/// Runs the links that a replica with a lower id makes, one after the other. A newer one ends the older.
async fn keep_accepted(seat: Arc<Seat>, wiring: Wiring, handover: Arc<Handover>) {
    loop {
        let established = handover.take().await;
        let newer = async {
            handover.arrival().await;
            Refused::Replaced
        };
        if seat.hold(established, &wiring, newer).await.is_err() {
            return;
        }
    }
}

impl Transport {
    /// Sends a frame, if there is a link and its lane has room; never waits. A link to a client has one lane, whatever
    /// the class.
    pub fn send(&self, to: Remote, class: Class, frame: Bytes) {
        match to {
            Remote::Replica(id) => match self.seats.get(usize::from(id.0)) {
                Some(Some(seat)) => seat.send(class, frame, &self.counters),
                Some(None) | None => self.counters.frames_unlinked.add(1),
            },
            Remote::Client(id) => match self.clients.links().get(&id) {
                Some(link) => link.outbox.push(class, frame, &self.counters),
                None => self.counters.frames_unlinked.add(1),
            },
        }
    }

    /// Sends a frame to every other replica.
    pub fn broadcast(&self, class: Class, frame: &Bytes) {
        self.broadcast_except(&BTreeSet::new(), class, frame);
    }

    /// Sends a frame to every other replica that is not one of these.
    pub fn broadcast_except(&self, without: &BTreeSet<ReplicaId>, class: Class, frame: &Bytes) {
        let seats = self.seats.iter().flatten().filter(|seat| !without.contains(&seat.id));
        seats.for_each(|seat| seat.send(class, frame.clone(), &self.counters));
    }

    /// One report per other replica, and one per client link.
    #[must_use]
    pub fn links(&self) -> Vec<LinkReport> {
        let peers = self.seats.iter().flatten().map(|seat| seat.report());
        peers.chain(self.clients.links().values().map(|link| link.report())).collect()
    }

    /// Counts since the start.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What the kernel did not grant.
    #[must_use]
    pub fn warnings(&self) -> &[BufferWarning] {
        &self.warnings
    }

    /// Ends a client's link and tells the client why.
    pub fn disconnect(&self, id: LinkId, reason: &str) {
        if let Some(link) = self.clients.links().get(&id) {
            link.end(Refused::Disconnected(reason.to_owned()));
        }
    }

    /// Ends all links, tells the others, and frees the ports.
    pub async fn close(&self) {
        self.endpoints.iter().for_each(|endpoint| Refused::Closing.close_all(endpoint));
        let mut tasks =
            std::mem::take(&mut *self.tasks.lock().expect("nothing panics while it holds the tasks"));
        tasks.shutdown().await;
        for endpoint in &self.endpoints {
            // Whoever does not answer our farewell learns of it by itself.
            let _ = tokio::time::timeout(Duration::from_millis(500), endpoint.wait_idle()).await;
        }
    }
}
