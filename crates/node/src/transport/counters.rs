//! What the transport did and refused, in numbers that anyone may read at any time.

use std::sync::atomic::{AtomicU64, Ordering};

use quorate_host::lane::Class;
use quorate_host::spent::{PLACES, Spent, place};

use super::refused::RefusalKind;

/// One number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// Its value now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How long something took, as it can be added to from anywhere.
#[derive(Debug, Default)]
pub struct Times {
    sum_us: Counter,
    within: [Counter; PLACES],
}

impl Times {
    pub(crate) fn add(&self, us: u64) {
        self.sum_us.add(us);
        self.within[place(us)].add(1);
    }

    /// What was added so far.
    #[must_use]
    pub fn get(&self) -> Spent {
        let within = std::array::from_fn(|at| self.within[at].get());
        Spent { sum_us: self.sum_us.get(), count: within.iter().sum(), within }
    }
}

/// Counts since the transport started.
#[derive(Debug, Default)]
pub struct Counters {
    /// Handshakes that ended in a link, hellos included.
    pub links_up: Counter,
    /// Links that ended.
    pub links_down: Counter,
    /// Dials begun.
    pub dials: Counter,
    /// Handshakes that others began.
    pub handshakes: Counter,
    /// Strangers that were asked to prove their address first.
    pub retries: Counter,
    /// Frames received, by [`Class::index`].
    pub frames_in: [Counter; 3],
    /// Frames handed to streams, by [`Class::index`].
    pub frames_out: [Counter; 3],
    /// Bytes of frames received.
    pub bytes_in: Counter,
    /// Bytes of frames handed to streams, lengths included.
    pub bytes_out: Counter,
    /// Frames given up because their lane was full, by [`Class::index`].
    pub frames_dropped: [Counter; 3],
    /// Frames given up because there was no link.
    pub frames_unlinked: Counter,
    /// Links of a replica's key that came from two places by turns.
    pub rivals: Counter,
    /// Replicas with a higher id that said they were there, to be dialled.
    pub knocks: Counter,
    /// Packets of links that have ended; those that are up know their own.
    pub packets_sent: Counter,
    /// Of these, the ones that were declared lost.
    pub packets_lost: Counter,
    /// How long the frames to clients which are timed waited, until QUIC had taken them.
    pub client_waits: Times,
    refused: [Counter; RefusalKind::ALL.len()],
    refused_by_others: [Counter; RefusalKind::ALL.len()],
}

impl Counters {
    /// How often this side refused or ended a link for this reason.
    #[must_use]
    pub fn refused(&self, kind: RefusalKind) -> u64 {
        self.refused[kind.index()].get()
    }

    /// How often the other side did.
    #[must_use]
    pub fn refused_by_others(&self, kind: RefusalKind) -> u64 {
        self.refused_by_others[kind.index()].get()
    }

    pub(crate) fn count_refused(&self, kind: RefusalKind) {
        self.refused[kind.index()].add(1);
    }

    pub(crate) fn count_refused_by_others(&self, kind: RefusalKind) {
        self.refused_by_others[kind.index()].add(1);
    }

    /// What a link that has ended knew of its packets.
    pub(crate) fn count_packets(&self, connection: &quinn::Connection) {
        let path = connection.stats().path;
        self.packets_sent.add(path.sent_packets);
        self.packets_lost.add(path.lost_packets);
    }

    pub(crate) fn count_in(&self, class: Class, frames: u64, bytes: u64) {
        self.frames_in[class.index()].add(frames);
        self.bytes_in.add(bytes);
    }

    pub(crate) fn count_out(&self, class: Class, frames: u64, bytes: u64) {
        self.frames_out[class.index()].add(frames);
        self.bytes_out.add(bytes);
    }
}
