//! The optional watchdog for a primary that serves everybody, slowly: a primary must bring three fifths of the best that
//! was seen of late while requests wait long (after Aardvark: Clement et al., NSDI '09, section 4.3).
//!
//! The progress timer asks whether anything useful commits, so who delays every proposal to just below it keeps its seat.
//! What a cluster can do shows in what it did: in the best slices of time of each of the last n views. Only that time is
//! held against a primary in which a request of this replica's own clients, passed on within the primary's room for it,
//! has waited for longer than a healthy cluster takes. So an idle primary, one with little to do and one whose load ends
//! have nothing to answer for, however much was done before.
//!
//! Views that are left because of it are few, not none: one replica that complains leaves its view alone, and takes
//! nobody along; each complaint doubles the time in which the next primaries are not judged; and where f + 1 primaries
//! were too slow, one after the other, no more is asked of any than these brought. Whoever can make the rate rise and
//! fall still costs a correct primary its seat now and then.

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use super::{Out, Replica, Status};
use crate::ordered::Work;
use crate::types::{ReplicaId, Time, View};

/// A request that waits for less than this part of the base timeout waits for nobody in particular: the timeout is ten
/// times what a commit takes in a healthy cluster.
const PATIENCE_OF_TIMEOUT: u64 = 8;
/// What a primary must bring of the best slice: so many, of so many parts. The best of many slices lies above what any
/// primary brings for long, by the noise of one slice; nine tenths of it would be asked in vain of who is as fast as ever.
const SHARE: (u128, u128) = (3, 5);
/// A slice with long waits counts if these fill a sixteenth of the time at least; else it was a hiccup.
const DENSITY: u64 = 16;
/// So many slices in a row must be too slow.
const SLICES: u32 = 3;
/// So many base timeouts a new primary is not judged, and twice as long for each complaint before, up to so many times.
const GRACE_TIMEOUTS: u64 = 8;
const DOUBLINGS_MAX: u32 = 6;
/// One complaint is forgotten after so many such times without another.
const CALM_GRACES: u64 = 8;
/// A slice of which more than one part in so many came late tells when links healed, not what a primary brings.
const LATE_SHARE: u64 = 4;

impl Work {
    /// In a second, if it was done in so many microseconds.
    fn a_second(self, taken_us: u64) -> Self {
        let rate = |count: u64| u128::from(count) * 1_000_000 / u128::from(taken_us.max(1));
        Self(self.0.map(|count| u64::try_from(rate(count)).unwrap_or(u64::MAX)))
    }

    /// Whether it is less than the primary's share of the other in every respect.
    fn falls_short_of(self, best: Self) -> bool {
        let short = |(done, best): (&u64, &u64)| u128::from(*done) * SHARE.1 < u128::from(*best) * SHARE.0;
        self.0.iter().zip(&best.0).all(short)
    }
}

/// The slices that led in requests, in operations and in bytes, each whole: what was never done together is asked of
/// nobody. A load of few large requests is no slower than one of many small ones, nor is a mixture of the two.
#[derive(Debug, Clone, Copy, Default)]
struct Leaders([Work; 3]);

impl Leaders {
    fn see(&mut self, slice: Work) {
        for (index, leader) in self.0.iter_mut().enumerate() {
            if slice.0[index] > leader.0[index] {
                *leader = slice;
            }
        }
    }
}

/// All that committed in a stretch of time.
#[derive(Debug, Clone, Copy, Default)]
struct Slice {
    began: Time,
    work: Work,
    /// What of it had committed elsewhere before.
    late: Work,
    /// Part of it passed while this replica caught up with a stable checkpoint.
    behind: bool,
}

impl Slice {
    fn from(began: Time) -> Self {
        Self { began, ..Self::default() }
    }

    /// Whether it tells what a primary can bring. Who sends certificates around to spoil slices has to be faster with a
    /// quarter of them than the votes they consist of.
    fn tells(&self) -> bool {
        let mut parts = self.late.0.iter().zip(&self.work.0);
        !self.behind && parts.all(|(late, all)| late.saturating_mul(LATE_SHARE) <= *all)
    }
}

/// A view and what goes with it.
#[derive(Debug, Clone, Copy)]
struct Term {
    view: View,
    primary: ReplicaId,
    /// So many views count.
    replicas: u64,
    grace_us: u64,
}

/// What is known of the rates of primaries. Nothing in a cluster without watchdog.
#[derive(Debug, Clone, Default)]
pub(super) struct Watchdog {
    /// The view that is watched and its primary, while it is open.
    watched: Option<(View, ReplicaId)>,
    /// Until when the primary is not judged.
    grace: Time,
    /// When the view has outlived that for as long again.
    settled: Time,
    /// When it was last looked at.
    last: Time,
    slice: Slice,
    /// Whether what commits now comes by a certificate.
    by_certificate: bool,
    /// What committed while somebody waited long, for how long in all, and when that began.
    waited: (Time, u64, Work),
    /// From when on somebody waits long; often a time to come.
    waits_from: Option<Time>,
    /// Slices with long waits that were too slow, in a row.
    slow: u32,
    /// The best slices of each of the last n views, in a second.
    best: BTreeMap<View, Leaders>,
    complaints: u32,
    /// Primaries that were complained about since one kept its seat.
    blamed: BTreeSet<ReplicaId>,
    /// The last slice that was too slow, and the best of those that ended a view since then, in a second.
    short: Work,
    reached: Leaders,
    /// Since when nothing was to complain about.
    calm: Time,
    judged: u64,
}

impl Watchdog {
    fn grace_us(&self, timeout_us: u64) -> u64 {
        timeout_us.saturating_mul(GRACE_TIMEOUTS) << self.complaints
    }

    /// A view opened: the best of the last ones is what its primary is measured by.
    fn enter(&mut self, term: Term, now: Time) {
        self.watched = Some((term.view, term.primary));
        self.best = self.best.split_off(&View(term.view.0.saturating_sub(term.replicas - 1)));
        (self.grace, self.settled) = (now.plus(term.grace_us), now.plus(term.grace_us.saturating_mul(2)));
        (self.calm, self.slow) = (now, 0);
        self.woke(now);
    }

    /// This process was asleep until now: what it finds done says nothing about how fast it was done.
    pub(super) fn woke(&mut self, now: Time) {
        (self.last, self.slice, self.waits_from) = (now, Slice::from(now), None);
        self.forget_waits(now);
    }

    fn forget_waits(&mut self, now: Time) {
        (self.waited, self.slow) = ((now, 0, Work::default()), 0);
    }

    /// What commits from now on is learnt from a certificate, or is not any more.
    pub(super) fn hears_late(&mut self, by_certificate: bool) {
        self.by_certificate = by_certificate;
    }

    /// A batch committed with so much that is new: copies are no work, for a primary can make any number of them.
    pub(super) fn committed(&mut self, fresh: Work, now: Time) {
        if self.watched.is_none() {
            return;
        }
        self.slice.work.add(fresh);
        if self.by_certificate {
            self.slice.late.add(fresh);
        }
        if self.waits_from.is_some_and(|from| from <= now) {
            self.waited.2.add(fresh);
        }
    }

    /// The same of a batch that was not here when it committed. Until it is, it neither counts nor excuses anybody, so
    /// that a primary gains nothing by keeping batches back.
    pub(super) fn committed_late(&mut self, fresh: Work, now: Time) {
        let by_certificate = std::mem::replace(&mut self.by_certificate, true);
        self.committed(fresh, now);
        self.by_certificate = by_certificate;
    }

    /// Time passed.
    fn pass(&mut self, slice_us: u64, now: Time) {
        let last = std::mem::replace(&mut self.last, now);
        if let Some(from) = self.waits_from {
            self.waited.1 += now.since(from.max(last));
        }
        let took = now.since(self.slice.began);
        if took >= slice_us {
            let slice = std::mem::replace(&mut self.slice, Slice::from(now));
            if let Some((view, _)) = self.watched.filter(|_| slice.tells()) {
                self.best.entry(view).or_default().see(slice.work.a_second(took));
            }
        }
    }

    /// Forgets what is long over: complaints one by one, and who was blamed as soon as a primary keeps its seat.
    fn forgive(&mut self, grace_us: u64, now: Time) {
        if now.since(self.calm) >= grace_us.saturating_mul(CALM_GRACES) {
            self.complaints = self.complaints.saturating_sub(1);
            self.calm = now;
        }
        if now >= self.settled {
            self.blamed.clear();
            self.reached = Leaders::default();
        }
    }

    /// Judges a slice with long waits, if it is over. True: its primary has been too slow for too long.
    fn judge(&mut self, slice_us: u64, now: Time) -> bool {
        let (began, waited_us, work) = self.waited;
        if now < self.grace {
            self.forget_waits(now);
        } else if waited_us >= slice_us {
            let rate = work.a_second(waited_us);
            let mut best = self.best.values().flat_map(|leaders| leaders.0);
            if best.any(|best| rate.falls_short_of(best)) {
                self.slow += 1;
                self.short = rate;
            } else {
                self.slow = 0;
            }
            self.judged += 1;
            self.waited = (now, 0, Work::default());
        } else if now.since(began) >= slice_us.saturating_mul(DENSITY) {
            self.forget_waits(now);
        }
        self.slow >= SLICES
    }

    /// Gives the next ones more time. Of f + 1 who were too slow one at least was correct: more than the best of these
    /// did is asked of nobody any more.
    fn complain(&mut self, faults: usize, now: Time) {
        let Some((view, primary)) = self.watched else { return };
        self.complaints = (self.complaints + 1).min(DOUBLINGS_MAX);
        self.blamed.insert(primary);
        self.reached.see(self.short);
        if self.blamed.len() > faults {
            self.best = BTreeMap::from([(view, std::mem::take(&mut self.reached))]);
            self.blamed.clear();
        }
        self.calm = now;
        self.forget_waits(now);
    }
}

impl Replica {
    /// Looks after the rate of the primary, where the cluster has agreed to; something of every step.
    pub(super) fn watch_rate(&mut self, out: &mut Out<'_>) {
        if !self.parameters().watchdog {
            return;
        }
        let (timeout_us, now) = (self.parameters().timeout_us, out.now);
        if self.status != Status::Normal || self.is_mute() {
            self.watchdog.watched = None;
            return;
        }
        let grace_us = self.watchdog.grace_us(timeout_us);
        let (view, primary) = (self.view, self.primary());
        if self.watchdog.watched != Some((view, primary)) {
            let replicas = self.context.committee.size() as u64;
            self.watchdog.enter(Term { view, primary, replicas, grace_us }, now);
        }
        self.watchdog.slice.behind |= self.is_catching_up();
        self.watchdog.pass(timeout_us, now);
        self.watchdog.forgive(grace_us, now);
        self.watchdog.waits_from = self.waits_long_from();
        let too_slow = self.watchdog.judge(timeout_us, now);
        self.counters.slices_judged = self.watchdog.judged;
        if too_slow {
            self.watchdog.complain(self.context.committee.faults(), now);
            self.counters.slow_primaries += 1;
            self.start_view_change(view.next(), out);
        }
    }

    /// From when on somebody waits for the primary for longer than it takes to commit; none if nobody waits for it.
    fn waits_long_from(&self) -> Option<Time> {
        if !self.owes_service() || self.committed >= self.log.high() {
            return None;
        }
        let patience = self.parameters().timeout_us / PATIENCE_OF_TIMEOUT;
        self.pool.waits_since().map(|since| since.plus(patience))
    }

    /// Whether somebody else is primary, could be heard by now if it spoke, and could be left. Who must not leave its
    /// view complains about nobody: each complaint in vain would let the next primaries be slow for longer.
    fn owes_service(&self) -> bool {
        let next = self.view.next();
        self.is_served() && !self.is_returning() && next > self.view && self.may_change_to(next)
    }
}
