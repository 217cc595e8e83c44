//! The links that clients made to this replica.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};

use quorate_protocol::types::PublicKey;
use tokio::sync::mpsc;

use super::counters::Counters;
use super::hello::Established;
use super::limits::Limits;
use super::link::{Inbox, Wiring};
use super::refused::Refused;
use super::seat::ClientLink;
use super::{Inbound, LinkId, Remote};

/// The links of clients.
pub(crate) struct Clients {
    links: RwLock<BTreeMap<LinkId, Arc<ClientLink>>>,
    next: AtomicU64,
    limits: Arc<Limits>,
    counters: Arc<Counters>,
}

impl Clients {
    pub(crate) fn new(limits: Arc<Limits>, counters: Arc<Counters>) -> Self {
        Self { links: RwLock::default(), next: AtomicU64::new(1), limits, counters }
    }

    pub(crate) fn links(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<LinkId, Arc<ClientLink>>> {
        self.links.read().expect("nothing panics while it holds the links")
    }

    fn links_mut(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<LinkId, Arc<ClientLink>>> {
        self.links.write().expect("nothing panics while it holds the links")
    }

    fn has_room(&self, key: &PublicKey) -> bool {
        let links = self.links();
        links.len() < self.limits.client_links_max
            && links.values().filter(|link| link.key == *key).count() < self.limits.client_links_per_key_max
    }

    /// Runs one client's link to its end.
    pub(crate) async fn keep(self: Arc<Self>, established: Established, inbox: mpsc::Sender<Inbound>) {
        if !self.has_room(&established.key) {
            self.counters.count_refused(Refused::TooMany.kind());
            Refused::TooMany.close(&established.connection);
            return;
        }
        let id = LinkId(self.next.fetch_add(1, Ordering::Relaxed));
        let (link, stopped) = ClientLink::new(id, &established, self.limits.client_lane());
        let link = Arc::new(link);
        self.links_mut().insert(id, Arc::clone(&link));
        let wiring = Wiring {
            remote: Remote::Client(id),
            inbox: Inbox::Replica(inbox),
            counters: Arc::clone(&self.counters),
            burst_bytes: self.limits.burst_bytes,
        };
        let stop = async { stopped.await.unwrap_or(Refused::Closing) };
        // An error means that nobody reads the inbox any more; then the link ends as well.
        let _ = wiring.run(established, &link.outbox, stop).await;
        if let Some(link) = self.links_mut().remove(&id) {
            self.counters.count_packets(&link.connection);
        }
    }
}
