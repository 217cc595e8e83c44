//! How much a replica keeps, so that tests can hold it against its bounds.

use super::Replica;
use crate::log::BACKLOG_WINDOWS;
use crate::message::SWORN_MAX;

/// Counts of what a replica keeps. Each has a bound that follows from the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Footprint {
    /// Slots of the log.
    pub slots: u64,
    /// Bodies in them.
    pub bodies: u64,
    /// Bodies between the watermarks that it voted for.
    pub voted_bodies: u64,
    /// Bodies that it did not vote for, in the slot between the watermarks that has most.
    pub unvoted_bodies: u64,
    /// PREPAREs in them.
    pub prepares: u64,
    /// COMMITs in them.
    pub commits: u64,
    /// Checkpoints between the watermarks that have votes.
    pub checkpoints: u64,
    /// CHECKPOINTs beyond the window.
    pub far_checkpoints: u64,
    /// VIEW-CHANGEs.
    pub view_changes: u64,
    /// NEW-VIEWs that may yet open a view.
    pub candidates: u64,
    /// VIEW-CHANGEs that those name, and its own NEW-VIEW.
    pub collected: u64,
    /// Bodies that are asked for.
    pub fetches: u64,
    /// Operations that wait to be ordered.
    pub pooled: u64,
    /// Statements that others were shown of late, or will be shown soon.
    pub displayed: u64,
}

impl Footprint {
    /// Windows of slots that a log has at most: between its watermarks, and below while a state is fetched.
    pub const WINDOWS: u64 = 1 + BACKLOG_WINDOWS;
    /// Statements of one replica that others are shown: of each of five kinds, what one message takes and the next one.
    pub const DISPLAYED: u64 = 5 * 2 * SWORN_MAX as u64;
    /// Bodies of one slot without its vote: of what is or was last proposed, of what prepared and of what committed.
    pub const UNVOTED_BODIES: u64 = 3;
}

impl Replica {
    /// How much it keeps. Takes time in the number of slots.
    #[must_use]
    pub fn footprint(&self) -> Footprint {
        let slots = || self.log.slots();
        let bodies = || self.log.open_slots().map(|(_, slot)| slot.count_bodies());
        Footprint {
            slots: slots().count() as u64,
            bodies: slots().map(|slot| slot.bodies.len() as u64).sum(),
            voted_bodies: bodies().map(|(voted, _)| voted).sum(),
            unvoted_bodies: bodies().map(|(_, others)| others).max().unwrap_or(0),
            prepares: slots().map(|slot| slot.prepares.votes().count() as u64).sum(),
            commits: slots().map(|slot| slot.commits.votes().count() as u64).sum(),
            checkpoints: self.checkpoints.len() as u64,
            far_checkpoints: self.far_checkpoints.len() as u64,
            view_changes: self.view_changes.len() as u64,
            candidates: self.candidates.len() as u64,
            collected: self
                .candidates
                .values()
                .map(|candidate| candidate.collected.len() as u64)
                .sum::<u64>()
                + self.chosen.len() as u64,
            fetches: self.fetches.len() as u64,
            pooled: self.pool.operations(),
            displayed: self.displays.values().map(|display| display.kept() as u64).sum(),
        }
    }
}
