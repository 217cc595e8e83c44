//! When the links to other replicas changed, and when each was last heard.

use std::collections::BTreeMap;

use quorate_protocol::types::{ReplicaId, Time};

/// What one link did, and when.
#[derive(Debug, Clone, Copy)]
struct Peer {
    changed: Time,
    heard: Time,
}

/// What is known of the other replicas' links besides the links themselves.
#[derive(Debug, Default)]
pub(super) struct Peers {
    known: BTreeMap<ReplicaId, Peer>,
}

impl Peers {
    /// A link came up.
    pub(super) fn up(&mut self, replica: ReplicaId, now: Time) {
        self.known.insert(replica, Peer { changed: now, heard: now });
    }

    /// A link went down.
    pub(super) fn down(&mut self, replica: ReplicaId, now: Time) {
        self.known.entry(replica).or_insert(Peer { changed: now, heard: now }).changed = now;
    }

    /// Something came over a link.
    pub(super) fn heard(&mut self, replica: ReplicaId, now: Time) {
        if let Some(peer) = self.known.get_mut(&replica) {
            peer.heard = now;
        }
    }

    /// Since when a link is as it is; none of one that never was up.
    pub(super) fn changed(&self, replica: ReplicaId) -> Option<Time> {
        self.known.get(&replica).map(|peer| peer.changed)
    }

    /// When a replica was last heard over a link that came up once.
    pub(super) fn last_heard(&self, replica: ReplicaId) -> Option<Time> {
        self.known.get(&replica).map(|peer| peer.heard)
    }
}
