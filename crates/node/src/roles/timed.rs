//! The journal's writer, with a clock: how long its syncs take is the first thing to look at when a cluster is slow.

use std::time::Instant;

use quorate_host::disk::Disk;
use quorate_host::journal::{Counters, Group, JournalError, Writer};
use quorate_host::spent::Spent;
use quorate_host::superblock::SnapshotPointer;
use quorate_protocol::types::Position;

/// What the journal's writer did so far.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct JournalReport {
    /// In numbers.
    pub(crate) counters: Counters,
    /// How long writing took, of groups that were synced: each group once, however many syncs it needed.
    pub(crate) synced: Spent,
}

/// A writer whose syncs are timed.
pub(crate) struct Timed<D: Disk> {
    writer: Writer<D>,
    synced: Spent,
}

impl<D: Disk> Timed<D> {
    pub(crate) fn new(writer: Writer<D>) -> Self {
        Self { writer, synced: Spent::default() }
    }

    /// Writes a group; see [`Writer::write`].
    pub(crate) fn write(&mut self, group: &Group) -> Result<Position, JournalError> {
        let (begun, before) = (Instant::now(), self.writer.counters().syncs);
        let written = self.writer.write(group, true);
        if self.writer.counters().syncs > before {
            self.synced.add(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX), 1);
        }
        written
    }

    /// Points the superblock at a state; see [`Writer::point_to`].
    pub(crate) fn point_to(&mut self, pointer: SnapshotPointer) -> Result<SnapshotPointer, JournalError> {
        self.writer.point_to(pointer).map(|()| pointer)
    }

    pub(crate) fn report(&self) -> JournalReport {
        JournalReport { counters: self.writer.counters(), synced: self.synced }
    }

    /// Writes what was given to it, and lets go of the folder.
    pub(crate) fn close(self) -> Result<(), JournalError> {
        self.writer.close().map(drop)
    }
}
