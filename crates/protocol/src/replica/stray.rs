//! A replica that waits in a later view, and the primary that hands its view over for it.
//!
//! It left its view alone: its links or its process were slow, and the others had no reason to follow. It must not go
//! back on its VIEW-CHANGE (OSDI '99, section 4.4), so it executes what the others decide, and votes again from the next
//! view on. While all is well no view comes next, and the cluster lacks a vote for good. So the primary gives up its seat
//! for it, as one does that is to stop, which costs nobody a timeout.
//!
//! Anybody can say that it waits. So a view is given to those alone who keep up with what commits, and each one makes them
//! wait twice as long for another. Whoever falls behind meanwhile waits longer, too, or links that flap would move
//! everybody. Nor do liars who wait bring liars who lead to their turn again and again: nothing is handed to a primary that
//! is not heard, and everybody waits in the longest timeout that it lately took to find a view that works.

use std::collections::BTreeMap;

use super::retire::DRAIN_OF_TIMEOUT;
use super::timers::{STATUS_BUSY_US, STATUS_IDLE_US};
use super::{Replica, Status};
use crate::message::Status as Standing;
use crate::mutant::{self, Mutant};
use crate::types::{ReplicaId, Seq, Time};

/// How long a replica that waits in a later view keeps up before it is given a view, in timeouts.
const WAIT_TIMEOUTS: u64 = 8;
/// How long it keeps up at most, and how long it was given nothing and did not fall behind until all that is forgotten,
/// in microseconds.
const WAIT_MAX_US: u64 = 3_600_000_000;

/// What is known of a replica that may wait in a later view.
#[derive(Debug, Clone, Copy)]
struct Stray {
    /// Since when it waits there and keeps up; none if it does not.
    since: Option<Time>,
    /// What it must have executed to keep up: all that had committed here when it last had.
    goal: Seq,
    /// When that was.
    met_at: Time,
    /// How many times as long it has to wait as at first.
    turns: u64,
    /// When that became more.
    grew_at: Time,
}

/// What is known of all others, and whether this replica leaves its view for one of them.
#[derive(Debug, Clone, Default)]
pub(super) struct Strays {
    known: BTreeMap<ReplicaId, Stray>,
    /// When the primary leaves, though batches are on their way.
    leaves_at: Option<Time>,
    /// The longest timeout that a view opened with, and when.
    slowest: (u64, Time),
}

impl Strays {
    /// When this primary leaves its view for somebody else, though batches are on their way; none if it does not.
    pub(super) fn leaves_at(&self) -> Option<Time> {
        self.leaves_at
    }
}

impl Stray {
    fn new(now: Time, goal: Seq) -> Self {
        Self { since: None, goal, met_at: now, turns: 1, grew_at: now }
    }

    fn wait_us(&self, timeout_us: u64) -> u64 {
        timeout_us.saturating_mul(WAIT_TIMEOUTS).saturating_mul(self.turns).min(WAIT_MAX_US)
    }

    fn grow(&mut self, turns: u64, now: Time) {
        (self.turns, self.grew_at) = (turns, now);
    }
}

impl Replica {
    /// Notes where another replica says it stands. For one that has waited long enough in a later view, a primary gives
    /// up its seat: it orders nothing new, and leaves when what is on its way has committed.
    pub(super) fn note_stray(&mut self, from: ReplicaId, status: &Standing, now: Time) {
        let (committed, base) = (self.committed, self.parameters().timeout_us);
        let waits = status.changing && status.view > self.view;
        let stray = self.strays.known.entry(from).or_insert_with(|| Stray::new(now, committed));
        if now.since(stray.grew_at) >= WAIT_MAX_US {
            stray.turns = 1;
        }
        // It was silent, or does not hear the others.
        let late = now.since(stray.met_at) > base.max(2 * STATUS_BUSY_US);
        let keeps_up = status.executed >= stray.goal;
        if keeps_up {
            (stray.goal, stray.met_at) = (committed, now);
        }
        if late || !waits {
            let is_over = stray.since.take().is_some();
            if is_over && waits {
                stray.grow(stray.turns.saturating_add(1), now);
            }
        }
        if waits && keeps_up {
            let since = *stray.since.get_or_insert(now);
            let wait_us = stray.wait_us(self.strays.slowest.0.max(base));
            let is_due = now.since(since) >= wait_us || mutant::is(Mutant::M56);
            if is_due && !mutant::is(Mutant::M55) && self.is_primary() && self.may_hand_over(now) {
                self.strays.leaves_at = Some(now.plus(base / DRAIN_OF_TIMEOUT));
            }
        }
    }

    /// Whether there is a next view, and its primary is there to open it: or leaving would cost everybody a timeout.
    fn may_hand_over(&self, now: Time) -> bool {
        let next = self.view.next();
        let heir = self.strays.known.get(&self.context.committee.primary(next));
        let is_heard = heir.is_some_and(|heir| now.since(heir.met_at) <= 2 * STATUS_IDLE_US);
        next > self.view && self.may_change_to(next) && is_heard
    }

    /// A view was left, or has opened: everybody's wait begins anew.
    pub(super) fn settle_strays(&mut self, now: Time) {
        let timeout = self.waiting().timeout_us;
        let slowest = &mut self.strays.slowest;
        let is_over = now.since(slowest.1) >= WAIT_MAX_US;
        if self.status == Status::Normal && (timeout >= slowest.0 || is_over) {
            *slowest = (timeout, now);
        }
        let timeout = slowest.0.max(self.context.parameters.timeout_us);
        self.strays.leaves_at = None;
        for stray in self.strays.known.values_mut() {
            // Primaries take turns, so everybody notes what was given to whom; some heard of it a little later.
            if stray.since.take().is_some_and(|since| now.since(since) >= stray.wait_us(timeout) / 2) {
                stray.grow(stray.turns.saturating_mul(2), now);
            }
        }
    }

    /// Whether it leads its view to its end for a replica that waits in a later one.
    pub(super) fn is_yielding(&self) -> bool {
        self.status == Status::Normal && self.strays.leaves_at.is_some()
    }
}
