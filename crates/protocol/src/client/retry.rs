//! When to say something again, and to whom.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::ballot::ReplicaSet;
use super::interface::To;
use crate::request::Request;
use crate::types::{ReplicaId, Time};

/// Spreads the retries of many clients, the same way every time for one seed.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    /// The first wait is one of these: twice what answers take as a rule, as far as that is within.
    first_us: RangeInclusive<u64>,
    most_us: u64,
    /// What answers took, smoothed.
    usual_us: u64,
    state: u64,
}

impl Backoff {
    pub(crate) fn new(first_us: RangeInclusive<u64>, most_us: u64, seed: u64) -> Self {
        Self { most_us: most_us.max(*first_us.end()).max(1), first_us, usual_us: 0, state: seed }
    }

    /// An answer took so long. Smoothed as round trips are (RFC 6298, section 2), and no more than counts.
    pub(crate) fn learn(&mut self, took: Took) {
        let most_us = if took.again { *self.first_us.start() } else { *self.first_us.end() / 2 };
        let us = took.us.min(most_us);
        self.usual_us = if self.usual_us == 0 { us } else { self.usual_us - self.usual_us / 8 + us / 8 };
    }

    /// How long to wait for the answer to something that was sent so often before: doubling, capped, and a quarter more or
    /// less.
    pub(crate) fn delay(&mut self, attempts: u32) -> u64 {
        let first_us = self.usual_us.saturating_mul(2).clamp(*self.first_us.start(), *self.first_us.end());
        self.spread(first_us, attempts)
    }

    /// The same for whatever is no answer to a request: it has nothing to do with what those take.
    pub(crate) fn pause(&mut self, attempts: u32) -> u64 {
        self.spread(*self.first_us.start(), attempts)
    }

    fn spread(&mut self, first_us: u64, attempts: u32) -> u64 {
        let doubled = first_us.max(1).saturating_mul(1_u64.checked_shl(attempts).unwrap_or(u64::MAX));
        let capped = doubled.min(self.most_us);
        (capped - capped / 4).saturating_add(self.random() % (capped / 2 + 1))
    }

    /// SplitMix64 (Steele, Lea, Flood, OOPSLA '14): spreading is all that is asked of it.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// How long an answer took, from when its request was sent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Took {
    us: u64,
    /// It was sent again meanwhile. In a queue, where it matters, the first one is answered; but a primary that waits for
    /// the second must not make that come later and later.
    again: bool,
}

/// One request on its way. Retries repeat the very same bytes: a replica that verified them does not do it again.
#[derive(Debug)]
pub(crate) struct Outgoing {
    /// Kept from when its driver has signed it until it is answered.
    pub(crate) request: Option<Arc<Request>>,
    /// How often it was sent again.
    pub(crate) attempts: u32,
    /// When it was sent first.
    sent: Time,
    /// When to send it again.
    pub(crate) due: Time,
    /// The one replica that it went to, unless it went to everyone.
    only: Option<ReplicaId>,
    /// Who refused it since it was last sent.
    busy: ReplicaSet,
    /// It waited for something else than its turn.
    held_back: bool,
}

impl Outgoing {
    pub(crate) fn new(now: Time, backoff: &mut Backoff, to: To) -> Self {
        let only = match to {
            To::Replica(replica) => Some(replica),
            To::Everyone => None,
        };
        let due = now.plus(backoff.delay(0));
        Self {
            request: None,
            attempts: 0,
            sent: now,
            due,
            only,
            busy: ReplicaSet::default(),
            held_back: false,
        }
    }

    /// It is answered: how long that took, if that tells anything of others.
    pub(crate) fn took(&self, now: Time) -> Option<Took> {
        let took = Took { us: now.since(self.sent), again: self.attempts > 0 };
        Some(took).filter(|_| !self.held_back)
    }

    /// It goes again then, for a reason that tells nothing of how long answers take.
    pub(crate) fn hold(&mut self, until: Time) {
        self.held_back = true;
        self.due = until;
    }

    /// Whether nobody has it but a replica that cannot be reached any more; all are lost if none is named.
    pub(crate) fn is_lost_with(&self, gone: Option<ReplicaId>) -> bool {
        gone.is_none() || self.only == gone
    }

    /// Notes that it goes to everyone, again.
    pub(crate) fn again(&mut self, now: Time, backoff: &mut Backoff) {
        self.attempts = self.attempts.saturating_add(1);
        self.only = None;
        self.busy = ReplicaSet::default();
        self.due = now.plus(backoff.delay(self.attempts));
    }

    /// A replica has no room for it. One replica may lie, so one refusal costs one timeout and no more; only when
    /// so many refuse that a correct one is among them is the cluster really busy.
    pub(crate) fn refused(
        &mut self,
        now: Time,
        replica: ReplicaId,
        weak_quorum: usize,
        backoff: &mut Backoff,
    ) {
        if !self.busy.insert(replica) {
            return;
        }
        let refusals = self.busy.len();
        if refusals == 1 || refusals == weak_quorum {
            let steps = if refusals == weak_quorum { 2 } else { 1 };
            // Of what was sent again anybody may say so.
            self.held_back |= self.attempts == 0;
            self.due = self.due.max(now.plus(backoff.pause(self.attempts.saturating_add(steps))));
        }
    }
}
