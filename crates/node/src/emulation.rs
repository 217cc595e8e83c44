//! A network that is not there: what a datagram meets between two machines, met by it on one.
//!
//! [`Emulation`] is given to the endpoints of a process and works at the UDP socket under them, on what goes out: each
//! datagram is looked up by its destination, and then delayed, lost, put out of order or made to wait for room on a
//! link of a certain width, as its [`Rule`] says. One hop of delay is so applied once, by the sender, and a round trip
//! is the sum of what both ends were told. An endpoint without an emulation has the socket that it always had.
//!
//! A thread for each socket sends on what is due: not tokio's timers, which are up to two milliseconds late and wait for
//! whatever the process computes. A datagram never leaves early; it leaves about 0.1 ms late while a core is free, and how
//! late all of them were together is counted. Delays below 0.1 ms are refused, for they would be emulated as something
//! else.
//!
//! Chance comes from the file's seed, link by link: the fate of the k-th datagram of a link is the same in every run,
//! whatever the other links do and however long anything takes.

mod file;
mod flow;
mod queue;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use self::file::{DELAY_US_MIN, EmulationError, EmulationFile, LINKS_MAX, Rule, RuleProblem, Target};

pub(crate) use self::queue::{Queue, Sent, Taken};

use crate::transport::Counter;

/// Name of the threads that send on what is due, by which their processor time is told from that of the others.
pub const THREAD: &str = "emulation";

/// An emulated network, for the endpoints of one process. Clones share its counters.
#[derive(Debug, Clone)]
pub struct Emulation {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    file: EmulationFile,
    counters: EmulationCounters,
    sockets: AtomicU64,
}

/// What the emulated network did, all endpoints together.
#[derive(Debug, Default)]
pub struct EmulationCounters {
    /// Datagrams for destinations that have a rule.
    pub datagrams: Counter,
    /// Of these, lost by chance, as the rule says.
    pub lost: Counter,
    /// Of these, dropped because too many bytes were waiting for room on their link, or in the whole network.
    pub dropped: Counter,
    /// Of these, held back so that later ones overtake them.
    pub reordered: Counter,
    /// Of these, put on the wire of the machine after they had waited.
    pub delayed: Counter,
    /// How much later than they were due those left, in microseconds, all together.
    pub late_us: Counter,
}

impl Emulation {
    /// An emulation of what a file says.
    #[must_use]
    pub fn new(file: EmulationFile) -> Self {
        let (counters, sockets) = (EmulationCounters::default(), AtomicU64::new(0));
        Self { shared: Arc::new(Shared { file, counters, sockets }) }
    }

    /// What it was made of.
    #[must_use]
    pub fn file(&self) -> &EmulationFile {
        &self.shared.file
    }

    /// What it did so far.
    #[must_use]
    pub fn counters(&self) -> &EmulationCounters {
        &self.shared.counters
    }

    /// The number of the next socket, from 0: sockets of one process have chances of their own.
    pub(crate) fn next_socket(&self) -> u64 {
        self.shared.sockets.fetch_add(1, Ordering::Relaxed)
    }
}

impl EmulationCounters {
    /// All of them, by the name of their metric.
    #[must_use]
    pub fn named(&self) -> [(&'static str, u64); 6] {
        [
            ("quorate_emulation_datagrams_total", self.datagrams.get()),
            ("quorate_emulation_lost_total", self.lost.get()),
            ("quorate_emulation_dropped_total", self.dropped.get()),
            ("quorate_emulation_reordered_total", self.reordered.get()),
            ("quorate_emulation_delayed_total", self.delayed.get()),
            ("quorate_emulation_late_microseconds_total", self.late_us.get()),
        ]
    }
}
