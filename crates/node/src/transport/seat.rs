//! The place of one replica: whether there is a link to it, over which connection, and why not.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_host::lane::{Class, LaneCounts, LaneLimits};
use quorate_protocol::types::{PublicKey, ReplicaId};
use tokio::sync::{Notify, oneshot};

use super::counters::Counters;
use super::hello::Established;
use super::link::{Deaf, Outbox, Wiring};
use super::refused::{Ended, Refused};
use super::rivals::Rivals;
use super::{LinkId, Remote};

/// What is known of a link.
#[derive(Debug, Clone)]
pub struct LinkReport {
    /// Whom it leads to.
    pub remote: Remote,
    /// Their key.
    pub key: PublicKey,
    /// Where they are: the configured address of a replica, the actual one of a client.
    pub address: Option<SocketAddr>,
    /// Whether it is up.
    pub up: bool,
    /// Why it last went down or could not be made.
    pub trouble: Option<String>,
    /// Two places that its key came from by turns: two processes use it.
    pub rivals: Option<[SocketAddr; 2]>,
    /// Measured round-trip time.
    pub round_trip: Option<Duration>,
    /// Packets sent on this connection.
    pub packets_sent: u64,
    /// Packets declared lost on this connection.
    pub packets_lost: u64,
    /// Largest datagram known to get through.
    pub datagram_bytes: u16,
    /// Bytes that may be under way without being acknowledged.
    pub window_bytes: u64,
    /// What became of the frames of each lane since the link came up.
    pub lanes: Vec<(Class, LaneCounts)>,
}

impl LinkReport {
    pub(crate) fn describe(&mut self, connection: &quinn::Connection, outbox: &Outbox) {
        let path = connection.stats().path;
        self.up = true;
        self.round_trip = Some(path.rtt);
        self.packets_sent = path.sent_packets;
        self.packets_lost = path.lost_packets;
        self.datagram_bytes = path.current_mtu;
        self.window_bytes = path.cwnd;
        self.lanes = outbox.counts();
    }

    pub(crate) fn down(remote: Remote, key: PublicKey, address: Option<SocketAddr>) -> Self {
        Self {
            remote,
            key,
            address,
            up: false,
            trouble: None,
            rivals: None,
            round_trip: None,
            packets_sent: 0,
            packets_lost: 0,
            datagram_bytes: 0,
            window_bytes: 0,
            lanes: Vec::new(),
        }
    }
}

/// The place of one replica among the links.
pub(crate) struct Seat {
    pub(crate) id: ReplicaId,
    key: PublicKey,
    address: Option<SocketAddr>,
    lane: LaneLimits,
    held: RwLock<Held>,
    knocked: Notify,
}

#[derive(Default)]
struct Held {
    link: Option<(Arc<Outbox>, quinn::Connection)>,
    /// When the link came up, or when it was dialled last.
    since: Option<Instant>,
    trouble: Option<String>,
    places: Rivals,
    rivals: Option<[SocketAddr; 2]>,
}

impl Seat {
    pub(crate) fn new(id: ReplicaId, key: PublicKey, address: Option<SocketAddr>, lane: LaneLimits) -> Self {
        Self { id, key, address, lane, held: RwLock::default(), knocked: Notify::new() }
    }

    fn held(&self) -> std::sync::RwLockReadGuard<'_, Held> {
        self.held.read().expect("nothing panics while it holds a seat")
    }

    fn change(&self) -> std::sync::RwLockWriteGuard<'_, Held> {
        self.held.write().expect("nothing panics while it holds a seat")
    }

    /// Hands a frame to the link, if there is one.
    pub(crate) fn send(&self, class: Class, frame: Bytes, counters: &Counters) {
        match &self.held().link {
            Some((outbox, _)) => outbox.push(class, frame, counters),
            None => counters.frames_unlinked.add(1),
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.held().link.is_some()
    }

    pub(crate) fn report(&self) -> LinkReport {
        let held = self.held();
        let mut report = LinkReport::down(Remote::Replica(self.id), self.key, self.address);
        report.trouble.clone_from(&held.trouble);
        report.rivals = held.rivals;
        if let Some((outbox, connection)) = &held.link {
            report.describe(connection, outbox);
        }
        report
    }

    /// Remembers why there is no link, and logs it unless that is what was logged last.
    pub(crate) fn note(&self, ended: &Ended) {
        let trouble = Some(ended.to_string());
        let mut held = self.change();
        if held.trouble != trouble {
            tracing::info!(replica = %self.id, why = %ended, "no link");
            held.trouble = trouble;
        }
    }

    /// The replica itself says that it is there, by a handshake with its key: a link to what it was before is dead,
    /// whatever the packets still on their way to it say.
    pub(crate) fn knock(&self, fresh: Duration) {
        let fresh = self.held().since.is_some_and(|since| since.elapsed() < fresh);
        if !fresh {
            self.knocked.notify_waiters();
        }
    }

    /// The replica is being dialled.
    pub(crate) fn dialling(&self) {
        self.change().since = Some(Instant::now());
    }

    /// Waits for the next knock.
    pub(crate) async fn knocked(&self) {
        self.knocked.notified().await;
    }

    /// Ends the link that is there, if any, in a way that the other side understands.
    pub(crate) fn close(&self, why: &Refused) {
        if let Some((_, connection)) = &self.held().link {
            why.close(connection);
        }
    }

    /// Runs a link in this seat, from its hellos to its end.
    pub(crate) async fn hold(
        &self,
        established: Established,
        wiring: &Wiring,
        stop: impl Future<Output = Refused>,
    ) -> Result<Ended, Deaf> {
        let classes = established.outward.iter().map(|(class, _)| *class);
        let outbox = Arc::new(Outbox::new(classes, self.lane));
        {
            let mut held = self.change();
            held.link = Some((Arc::clone(&outbox), established.connection.clone()));
            held.since = Some(Instant::now());
            held.trouble = None;
            let found = held.places.note(established.connection.remote_address(), Instant::now());
            if let Some([one, other]) = found {
                held.rivals = found;
                wiring.counters.rivals.add(1);
                tracing::error!(replica = %self.id, %one, %other, "two processes use the key of one replica");
            }
        }
        tracing::info!(replica = %self.id, "link up");
        let result = wiring.run(established, &outbox, stop).await;
        if let Some((_, connection)) = self.change().link.take() {
            wiring.counters.count_packets(&connection);
        }
        if let Ok(ended) = &result {
            self.note(ended);
        }
        result
    }
}

/// Where an acceptor leaves a replica's newest connection. One that was not taken is replaced.
#[derive(Default)]
pub(crate) struct Handover {
    newest: Mutex<Option<Established>>,
    arrived: Notify,
}

impl Handover {
    fn newest(&self) -> std::sync::MutexGuard<'_, Option<Established>> {
        self.newest.lock().expect("nothing panics while it holds a handover")
    }

    pub(crate) fn put(&self, established: Established) {
        let older = self.newest().replace(established);
        if let Some(older) = older {
            Refused::Replaced.close(&older.connection);
        }
        self.arrived.notify_one();
    }

    /// Waits until a connection is there, and leaves it.
    pub(crate) async fn arrival(&self) {
        while self.newest().is_none() {
            self.arrived.notified().await;
        }
    }

    pub(crate) async fn take(&self) -> Established {
        loop {
            self.arrival().await;
            let newest = self.newest().take();
            if let Some(established) = newest {
                return established;
            }
        }
    }
}

/// One client's link, as far as others may see it.
pub(crate) struct ClientLink {
    pub(crate) id: LinkId,
    pub(crate) key: PublicKey,
    pub(crate) outbox: Outbox,
    pub(crate) connection: quinn::Connection,
    stop: Mutex<Option<oneshot::Sender<Refused>>>,
}

impl ClientLink {
    /// A link that was just made, and what tells that it shall end.
    pub(crate) fn new(
        id: LinkId,
        established: &Established,
        lane: LaneLimits,
    ) -> (Self, oneshot::Receiver<Refused>) {
        let classes = established.outward.iter().map(|(class, _)| *class);
        let (stop, stopped) = oneshot::channel();
        let link = Self {
            id,
            key: established.key,
            outbox: Outbox::new(classes, lane).timed(),
            connection: established.connection.clone(),
            stop: Mutex::new(Some(stop)),
        };
        (link, stopped)
    }

    /// Ends the link.
    pub(crate) fn end(&self, why: Refused) {
        let stop = self.stop.lock().expect("nothing panics while it holds a link's end").take();
        if let Some(stop) = stop {
            // If nobody listens, the link has ended already.
            let _ = stop.send(why);
        }
    }

    pub(crate) fn report(&self) -> LinkReport {
        let address = Some(self.connection.remote_address());
        let mut report = LinkReport::down(Remote::Client(self.id), self.key, address);
        report.describe(&self.connection, &self.outbox);
        report
    }
}
