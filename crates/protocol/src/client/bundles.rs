//! Requests that are out, in the order of their numbers, and when to send them again.

use std::collections::VecDeque;

use super::retry::{Outgoing, Took};
use crate::types::{ReplicaId, Time};

/// One request's share of the calls.
#[derive(Debug)]
pub(crate) struct Bundle {
    /// Operations that have no answer.
    pub(crate) unanswered: u64,
    /// Its operations were ordered but not executed; they must travel again, with a fresh acknowledgement.
    pub(crate) postponed: bool,
    pub(crate) out: Outgoing,
}

/// The bundles of a session. An answered one leaves when those before it have left.
#[derive(Debug)]
pub(crate) struct Bundles {
    queue: VecDeque<Bundle>,
    /// Id of the queue's first bundle.
    base: u64,
    /// Operations that have no answer, in all bundles together.
    operations: u64,
    /// No bundle is due before this; looking at all of them is rare.
    earliest: Time,
}

impl Bundles {
    pub(crate) fn new() -> Self {
        Self { queue: VecDeque::new(), base: 0, operations: 0, earliest: Time(u64::MAX) }
    }

    /// Id of the bundle that is pushed next.
    pub(crate) fn next_id(&self) -> u64 {
        self.base + self.queue.len() as u64
    }

    pub(crate) fn push(&mut self, operations: u64, out: Outgoing) {
        self.earliest = self.earliest.min(out.due);
        self.operations += operations;
        self.queue.push_back(Bundle { unanswered: operations, postponed: false, out });
    }

    pub(crate) fn get_mut(&mut self, id: u64) -> Option<&mut Bundle> {
        let index = usize::try_from(id.checked_sub(self.base)?).ok()?;
        self.queue.get_mut(index)
    }

    /// One of the bundle's operations was answered. Tells how long the bundle took, if that was the last one.
    pub(crate) fn answered(&mut self, now: Time, id: u64) -> Option<Took> {
        let bundle = self.get_mut(id)?;
        bundle.unanswered = bundle.unanswered.saturating_sub(1);
        let mut took = None;
        if bundle.unanswered == 0 {
            bundle.out.request = None;
            took = bundle.out.took(now);
        }
        self.operations = self.operations.saturating_sub(1);
        while self.queue.front().is_some_and(|bundle| bundle.unanswered == 0) {
            self.queue.pop_front();
            self.base += 1;
        }
        took
    }

    /// Operations that are out and have no answer.
    pub(crate) fn operations(&self) -> u64 {
        self.operations
    }

    /// Not later than the next bundle is due; nothing if none is out.
    pub(crate) fn deadline(&self) -> Option<Time> {
        (self.operations > 0).then_some(self.earliest)
    }

    /// A bundle's due time was moved to `due`, perhaps forward.
    pub(crate) fn moved(&mut self, due: Time) {
        self.earliest = self.earliest.min(due);
    }

    /// Ids of the bundles that are due.
    pub(crate) fn due(&mut self, now: Time) -> Vec<u64> {
        if now < self.earliest {
            return Vec::new();
        }
        let open = (self.base..).zip(&self.queue).filter(|(_, bundle)| bundle.unanswered > 0);
        let (due, later): (Vec<_>, Vec<_>) = open.partition(|(_, bundle)| bundle.out.due <= now);
        self.earliest = later.iter().map(|(_, bundle)| bundle.out.due).min().unwrap_or(Time(u64::MAX));
        due.into_iter().map(|(id, _)| id).collect()
    }

    /// Makes bundles due at once: those that went to nobody but who is gone, or all.
    pub(crate) fn hurry(&mut self, now: Time, gone: Option<ReplicaId>) {
        for bundle in self.queue.iter_mut().filter(|bundle| bundle.out.is_lost_with(gone)) {
            bundle.out.due = bundle.out.due.min(now);
            if gone.is_none() {
                bundle.out.attempts = 0;
            }
            self.earliest = self.earliest.min(bundle.out.due);
        }
    }

    /// The session is over.
    pub(crate) fn clear(&mut self) {
        self.base = self.next_id();
        self.queue.clear();
        self.operations = 0;
        self.earliest = Time(u64::MAX);
    }
}
