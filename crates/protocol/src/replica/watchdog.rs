//! The optional watchdog for a primary that serves everybody, slowly: a primary must bring nine tenths of the best that
//! was seen of late while requests wait long (Aardvark: Clement et al., NSDI '09, section 4.3).
//!
//! The progress timer asks whether anything useful commits, so who delays every proposal to just below it keeps its seat.
//! What a cluster can do shows in what it did: the best slice of time of each of the last n views. Only that time is
//! held against a primary in which a request of this replica's own clients, passed on within the primary's room for it,
//! has waited for longer than a healthy cluster takes. So an idle primary, one with little to do and one whose load ends
//! have nothing to answer for, however much was done before.
//!
//! Nobody can use it to change views without end: one replica that complains moves nobody, as with any other reason to
//! leave a view; each complaint doubles the time in which the next primaries are not judged; and if f + 1 in a row are
//! too slow, what was asked of them was too much.

use std::collections::BTreeMap;

use super::{Out, Replica, Status};
use crate::request::Batch;
use crate::types::{Time, View};

/// A request that waits for less than this part of the base timeout waits for nobody in particular: the timeout is ten
/// times what a commit takes in a healthy cluster.
const PATIENCE_OF_TIMEOUT: u64 = 8;
/// A slice with long waits counts if these fill a sixteenth of the time at least; else it was a hiccup.
const DENSITY: u64 = 16;
/// So many slices in a row must be too slow.
const SLICES: u32 = 3;
/// So many base timeouts a new primary is not judged, and twice as long for each complaint before, up to so many times.
const GRACE_TIMEOUTS: u64 = 8;
const DOUBLINGS_MAX: u32 = 6;
/// One complaint is forgotten after so many such times without another.
const CALM_GRACES: u64 = 8;

/// What was committed: requests, operations and bytes. Another load has other proportions, and is slower in one of them
/// only; a slower primary is slower in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Work([u64; 3]);

impl Work {
    fn of(batch: &Batch) -> Self {
        let bytes: usize = batch.requests.iter().map(|request| request.bytes()).sum();
        Self([batch.requests.len(), batch.operations(), bytes].map(|count| count as u64))
    }

    fn with(self, other: Self, each: impl Fn(u64, u64) -> u64) -> Self {
        Self([0, 1, 2].map(|index| each(self.0[index], other.0[index])))
    }

    fn add(&mut self, more: Self) {
        *self = self.with(more, u64::saturating_add);
    }

    /// In a second, if it was done in so many microseconds.
    fn a_second(self, taken_us: u64) -> Self {
        let rate = |count: u64| u128::from(count) * 1_000_000 / u128::from(taken_us.max(1));
        Self(self.0.map(|count| u64::try_from(rate(count)).unwrap_or(u64::MAX)))
    }

    /// Whether it is less than nine tenths of the other in every respect.
    fn falls_short_of(self, best: Self) -> bool {
        let short = |(done, best): (&u64, &u64)| u128::from(*done) * 10 < u128::from(*best) * 9;
        self.0.iter().zip(&best.0).all(short)
    }
}

/// What is known of the rates of primaries. Nothing in a cluster without watchdog.
#[derive(Debug, Clone, Default)]
pub(super) struct Watchdog {
    /// The view that is watched, while it is open.
    view: Option<View>,
    /// Until when its primary is not judged.
    grace: Time,
    /// When it was last looked at.
    last: Time,
    /// All that committed in this slice, and when that began.
    all: (Time, Work),
    /// What committed while somebody waited long, for how long in all, and when that began.
    waited: (Time, u64, Work),
    /// From when on somebody waits long; often a time to come.
    waits_from: Option<Time>,
    /// Slices with long waits that were too slow, in a row.
    slow: u32,
    /// The best slice of each of the last n views, in a second.
    best: BTreeMap<View, Work>,
    complaints: u32,
    /// Views that were complained about since somebody was fast enough.
    blamed: u64,
    /// The last slice that was too slow, and the best of those that ended a view since then, in a second.
    short: Work,
    reached: Work,
    /// Since when nothing was to complain about.
    calm: Time,
}

impl Watchdog {
    /// A view opened: the best of the last ones is what its primary is measured by.
    fn enter(&mut self, view: View, (grace_us, replicas): (u64, u64), now: Time) {
        self.view = Some(view);
        self.best = self.best.split_off(&View(view.0.saturating_sub(replicas - 1)));
        (self.grace, self.calm, self.last) = (now.plus(grace_us), now, now);
        (self.all, self.waits_from) = ((now, Work::default()), None);
        self.forget_waits(now);
    }

    /// This process was asleep until now: what it finds done says nothing about how fast it was done.
    pub(super) fn woke(&mut self, now: Time) {
        (self.last, self.all, self.waits_from) = (now, (now, Work::default()), None);
        self.forget_waits(now);
    }

    fn forget_waits(&mut self, now: Time) {
        (self.waited, self.slow) = ((now, 0, Work::default()), 0);
    }

    /// A batch committed.
    pub(super) fn committed(&mut self, batch: &Batch, now: Time) {
        let work = Work::of(batch);
        self.all.1.add(work);
        if self.waits_from.is_some_and(|from| from <= now) {
            self.waited.2.add(work);
        }
    }

    /// A batch committed that is not here: how much that was, nobody knows.
    pub(super) fn committed_unseen(&mut self, now: Time) {
        self.forget_waits(now);
    }

    /// Time passed.
    fn pass(&mut self, slice_us: u64, now: Time) {
        let last = std::mem::replace(&mut self.last, now);
        if let Some(from) = self.waits_from {
            self.waited.1 += now.since(from.max(last));
        }
        let took = now.since(self.all.0);
        if took >= slice_us {
            let (rate, view) = (self.all.1.a_second(took), self.view.unwrap_or_default());
            let best = self.best.entry(view).or_default();
            *best = best.with(rate, u64::max);
            self.all = (now, Work::default());
        }
    }

    /// Judges a slice with long waits, if it is over. True: its primary has been too slow for too long.
    fn judge(&mut self, slice_us: u64, now: Time) -> bool {
        let (began, waited_us, work) = self.waited;
        if now < self.grace {
            self.forget_waits(now);
        } else if waited_us >= slice_us {
            let best = self.best.values().fold(Work::default(), |best, seen| best.with(*seen, u64::max));
            let rate = work.a_second(waited_us);
            if rate.falls_short_of(best) {
                self.slow += 1;
                self.short = rate;
            } else {
                (self.slow, self.blamed, self.reached) = (0, 0, Work::default());
            }
            self.waited = (now, 0, Work::default());
        } else if now.since(began) >= slice_us.saturating_mul(DENSITY) {
            self.forget_waits(now);
        }
        self.slow >= SLICES
    }

    /// Gives the next ones more time. Of f + 1 who were too slow one after the other one at least was correct: more than
    /// these did is asked of nobody any more.
    fn complain(&mut self, faults: u64, now: Time) {
        self.complaints = (self.complaints + 1).min(DOUBLINGS_MAX);
        self.blamed += 1;
        self.reached = self.reached.with(self.short, u64::max);
        if self.blamed > faults {
            self.best = BTreeMap::from([(self.view.unwrap_or_default(), self.reached)]);
            (self.blamed, self.reached) = (0, Work::default());
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
        let (slice_us, now) = (self.parameters().timeout_us, out.now);
        if self.status != Status::Normal || self.is_mute() {
            self.watchdog.view = None;
            return;
        }
        let grace_us = slice_us.saturating_mul(GRACE_TIMEOUTS) << self.watchdog.complaints;
        if self.watchdog.view != Some(self.view) {
            let replicas = self.context.committee.size() as u64;
            self.watchdog.enter(self.view, (grace_us, replicas), now);
        }
        self.watchdog.pass(slice_us, now);
        if now.since(self.watchdog.calm) >= grace_us.saturating_mul(CALM_GRACES) {
            self.watchdog.complaints = self.watchdog.complaints.saturating_sub(1);
            self.watchdog.calm = now;
        }
        self.watchdog.waits_from = self.waits_long_from();
        if self.watchdog.judge(slice_us, now) {
            self.watchdog.complain(self.context.committee.faults() as u64, now);
            let left = self.view;
            self.start_view_change(left.next(), out);
            // Who must not leave its view stays, and looks on.
            self.counters.slow_primaries += u64::from(self.view > left);
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

    /// Whether somebody else is primary, and could be heard by now if it spoke.
    fn owes_service(&self) -> bool {
        self.is_served() && !self.is_returning()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SLICE_US: u64 = 500_000;

    /// A watchdog of which every part of the time counts, because somebody always waits.
    struct Watched {
        dog: Watchdog,
        now: Time,
        view: View,
        replicas: u64,
    }

    impl Watched {
        fn new() -> Self {
            Self::of(4)
        }

        fn of(replicas: u64) -> Self {
            let mut watched = Self { dog: Watchdog::default(), now: Time(1), view: View(0), replicas };
            watched.enter();
            watched
        }

        fn grace(&self) -> u64 {
            (SLICE_US * GRACE_TIMEOUTS) << self.dog.complaints
        }

        fn enter(&mut self) {
            self.dog.enter(self.view, (self.grace(), self.replicas), self.now);
        }

        /// So much is done in a second, for so long. Says after how long a complaint ended it, and enters the next view.
        fn live(&mut self, rate: Work, for_us: u64, waits: bool) -> Option<u64> {
            let (began, step) = (self.now, SLICE_US / 10);
            while self.now.since(began) < for_us {
                self.now = self.now.plus(step);
                let done = Work(rate.0.map(|count| count * step / 1_000_000));
                self.dog.all.1.add(done);
                self.dog.waited.2.add(if waits { done } else { Work::default() });
                self.dog.waits_from = waits.then_some(Time(0));
                self.dog.pass(SLICE_US, self.now);
                if self.dog.judge(SLICE_US, self.now) {
                    self.dog.complain((self.replicas - 1) / 3, self.now);
                    self.view = self.view.next();
                    self.enter();
                    return Some(self.now.since(began));
                }
            }
            None
        }
    }

    const FAST: Work = Work([1_000, 4_000, 400_000]);
    const HOUR_US: u64 = 3_600_000_000;

    #[test]
    fn a_load_of_another_shape_is_no_slower_primary() {
        assert!(Work([899, 3_599, 359_999]).falls_short_of(FAST));
        for other in [Work([900, 1, 1]), Work([1, 3_600, 1]), Work([1, 1, 360_000]), FAST] {
            assert!(!other.falls_short_of(FAST), "{other:?}");
        }
        assert!(!Work::default().falls_short_of(Work::default()), "nothing is asked where nothing was seen");
    }

    #[test]
    fn a_primary_that_gets_slow_is_complained_about_and_one_for_whom_nobody_waits_is_not() {
        let slow = Work(FAST.0.map(|count| count / 2));
        let mut watched = Watched::new();
        assert_eq!(watched.live(FAST, 60_000_000, true), None, "it is as fast as itself");
        assert_eq!(watched.live(slow, HOUR_US, false), None, "nobody waits");
        assert_eq!(watched.live(slow, HOUR_US, true), Some(u64::from(SLICES) * SLICE_US));
    }

    #[test]
    fn a_new_primary_has_its_grace() {
        let mut watched = Watched::new();
        assert_eq!(watched.live(FAST, SLICE_US * GRACE_TIMEOUTS, true), None);
        watched.view = View(1);
        watched.enter();
        let (grace, none) = (watched.grace(), Work::default());
        assert!(watched.live(none, HOUR_US, true).is_some_and(|took| took > grace && took < 2 * grace));
    }

    #[test]
    fn a_cluster_that_became_slower_for_good_is_left_in_peace_soon() {
        let mut watched = Watched::of(31);
        watched.live(FAST, 60_000_000, true);
        let slow = Work(FAST.0.map(|count| count / 16));
        let mut pauses = Vec::new();
        while let Some(took) = watched.live(slow, HOUR_US, true) {
            pauses.push(took);
        }
        assert_eq!(pauses.len(), 11, "one of f + 1 is correct: {pauses:?}");
        let first = &pauses[1..usize::try_from(DOUBLINGS_MAX).unwrap()];
        assert!(first.is_sorted_by(|one, next| one < next), "each primary has longer: {pauses:?}");
    }

    #[test]
    fn whoever_makes_the_best_rate_go_up_and_down_forces_a_view_change_now_and_then_and_no_more() {
        let mut watched = Watched::new();
        let (mut complaints, began) = (0, watched.now);
        while watched.now.since(began) < HOUR_US {
            // As soon as it counts the rate falls.
            let best = watched.live(FAST, watched.grace(), true);
            let fall = watched.live(Work::default(), watched.grace(), true);
            complaints += u64::from(best.is_some()) + u64::from(fall.is_some());
        }
        assert!(complaints >= 6, "{complaints} in an hour");
        assert!(complaints <= 40, "{complaints} in an hour");
    }

    #[test]
    fn pauses_that_come_seldom_do_not_add_up() {
        let mut watched = Watched::new();
        watched.live(FAST, 60_000_000, false);
        for _ in 0..1_000 {
            assert_eq!(watched.live(FAST, 2_000_000, false), None);
            assert_eq!(watched.live(Work::default(), SLICE_US / 10, true), None, "a hiccup");
        }
    }

    #[test]
    fn what_is_remembered_is_that_of_the_last_views() {
        let mut watched = Watched { view: View(u64::MAX), ..Watched::new() };
        watched.enter();
        watched.view = View(0);
        for _ in 0..20 {
            watched.live(FAST, 2 * SLICE_US, false);
            watched.view = watched.view.next();
            watched.enter();
        }
        assert!(watched.dog.best.len() as u64 <= watched.replicas, "{:?}", watched.dog.best);
    }
}
