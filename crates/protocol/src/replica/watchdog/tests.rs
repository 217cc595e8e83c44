//! Claims about who is complained about, and how often.

use std::sync::Arc;

use super::*;
use crate::committee::Committee;
use crate::crypto::SecretKey;
use crate::parameters::{Context, Parameters};
use crate::process::{Event, Process};
use crate::replica::AmnesiaBox;
use crate::request::{Draft, Kind, Operations, Request};
use crate::signed::Verified;
use crate::types::{ClusterId, Digest, Epoch, Number, Seq, Session};

const SLICE_US: u64 = 500_000;
const HOUR_US: u64 = 3_600_000_000;
const FAST: Work = Work([1_000, 4_000, 400_000]);

fn percent(work: Work, percent: u64) -> Work {
    Work(work.0.map(|count| count * percent / 100))
}

/// A watchdog, and what happens around it.
struct Watched {
    dog: Watchdog,
    now: Time,
    view: View,
    replicas: u16,
}

impl Watched {
    fn of(replicas: u16) -> Self {
        let mut watched = Self { dog: Watchdog::default(), now: Time(1), view: View(0), replicas };
        watched.enter();
        watched
    }

    fn grace(&self) -> u64 {
        self.dog.grace_us(SLICE_US)
    }

    fn enter(&mut self) {
        let replicas = u64::from(self.replicas);
        let primary = ReplicaId(u16::try_from(self.view.0 % replicas).unwrap());
        self.dog.enter(Term { view: self.view, primary, replicas, grace_us: self.grace() }, self.now);
    }

    fn next(&mut self) {
        self.view = self.view.next();
        self.enter();
    }

    /// So much more is done at the end of so much more time. True: a complaint ended the view.
    fn step(&mut self, step_us: u64, done: Work, waits: bool) -> bool {
        self.now = self.now.plus(step_us);
        self.dog.waits_from = waits.then_some(Time(0));
        self.dog.committed(done, self.now);
        self.dog.pass(SLICE_US, self.now);
        self.dog.forgive(self.grace(), self.now);
        let left = self.dog.judge(SLICE_US, self.now);
        if left {
            self.dog.complain(usize::from(self.replicas - 1) / 3, self.now);
            self.next();
        }
        left
    }

    /// So much is done in a second, for so long. Says after how long a complaint ended it, and enters the next view.
    fn live(&mut self, rate: Work, for_us: u64, waits: bool) -> Option<u64> {
        let (began, step) = (self.now, SLICE_US / 10);
        while self.now.since(began) < for_us {
            if self.step(step, Work(rate.0.map(|count| count * step / 1_000_000)), waits) {
                return Some(self.now.since(began));
            }
        }
        None
    }
}

#[test]
fn a_load_of_another_shape_is_no_slower_primary() {
    assert!(Work([599, 2_399, 239_999]).falls_short_of(FAST));
    for other in [Work([600, 1, 1]), Work([1, 2_400, 1]), Work([1, 1, 240_000]), FAST] {
        assert!(!other.falls_short_of(FAST), "{other:?}");
    }
    assert!(!Work::default().falls_short_of(Work::default()), "nothing is asked where nothing was seen");
}

#[test]
fn a_mixture_of_two_loads_is_no_slower_than_either() {
    let (small, large) = (Work([10_000, 10_000, 1_000_000]), Work([100, 100, 100_000_000]));
    let mut watched = Watched::of(4);
    assert_eq!(watched.live(small, 60_000_000, true), None);
    assert_eq!(watched.live(large, 60_000_000, true), None);
    let mixed = Work([5_050, 5_050, 50_500_000]);
    assert_eq!(watched.live(mixed, HOUR_US, true), None, "half of the time each, as fast as before");
    assert!(watched.live(percent(small, 50), HOUR_US, true).is_some(), "half as fast");
}

#[test]
fn a_primary_that_gets_slow_is_complained_about_and_one_for_whom_nobody_waits_is_not() {
    let mut watched = Watched::of(4);
    assert_eq!(watched.live(FAST, 60_000_000, true), None, "it is as fast as itself");
    assert_eq!(watched.live(percent(FAST, 50), HOUR_US, false), None, "nobody waits");
    assert!(watched.dog.judged > 100);
    assert_eq!(watched.live(percent(FAST, 50), HOUR_US, true), Some(u64::from(SLICES) * SLICE_US));
}

// The best of many slices is above their mean, so who is as fast as ever falls short of it now and then.
#[test]
fn noise_of_fifteen_percent_a_slice_accuses_nobody() {
    for spread in [5, 10, 15] {
        let (mut watched, mut random) = (Watched::of(4), 1_u64);
        for slice in 0..4 * HOUR_US / SLICE_US {
            let mut sum = 0;
            for _ in 0..4 {
                random =
                    random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                sum += (random >> 33) % (spread + 1);
            }
            let rate = percent(FAST, 100 - spread + sum / 2);
            assert_eq!(watched.live(rate, SLICE_US, true), None, "slice {slice}, {spread} % more or less");
        }
    }
}

#[test]
fn a_new_primary_has_its_grace() {
    let mut watched = Watched::of(4);
    assert_eq!(watched.live(FAST, SLICE_US * GRACE_TIMEOUTS, true), None);
    watched.next();
    let (grace, none) = (watched.grace(), Work::default());
    assert!(watched.live(none, HOUR_US, true).is_some_and(|took| took > grace && took < 2 * grace));
}

#[test]
fn a_cluster_that_became_slower_for_good_is_left_in_peace_soon() {
    let mut watched = Watched::of(31);
    watched.live(FAST, 60_000_000, true);
    let mut pauses = Vec::new();
    while let Some(took) = watched.live(percent(FAST, 6), HOUR_US, true) {
        pauses.push(took);
    }
    assert_eq!(pauses.len(), 11, "one of f + 1 is correct: {pauses:?}");
    let first = &pauses[1..usize::try_from(DOUBLINGS_MAX).unwrap()];
    assert!(first.is_sorted_by(|one, next| one < next), "each primary has longer: {pauses:?}");
}

#[test]
fn whoever_makes_the_best_rate_go_up_and_down_forces_a_view_change_now_and_then_and_no_more() {
    let mut watched = Watched::of(4);
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

// Two faulty primaries of seven, who come again and again, are no proof that nobody can be faster.
#[test]
fn the_same_slow_primaries_lower_the_bar_for_nobody_however_often_they_come() {
    let mut watched = Watched::of(7);
    assert_eq!(watched.live(FAST, 10_000_000, true), None);
    for round in 0..4 {
        assert_eq!(watched.view, View(7 * round));
        for slow in [0, 1] {
            let took = watched.live(percent(FAST, 5), HOUR_US, true);
            assert!(took.is_some(), "replica {slow} goes, round {round}");
        }
        // Their seats are lost at once for other reasons, but for one primary that keeps its own for a while.
        for primary in 2..7 {
            let for_us = if primary == 2 { HOUR_US } else { SLICE_US * 4 };
            assert_eq!(watched.live(FAST, for_us, false), None, "nobody waits for a fast one");
            watched.next();
        }
    }
}

// Two of seven are two, and not f + 1, in the short time in which everybody else loses its seat for other reasons.
#[test]
fn a_slow_primary_that_comes_again_before_another_kept_its_seat_is_one_and_not_two() {
    let mut watched = Watched::of(7);
    watched.live(FAST, 10_000_000, true);
    for round in 0..3 {
        for slow in [0, 1] {
            let took = watched.live(percent(FAST, 5), HOUR_US, true);
            assert!(took.is_some(), "replica {slow}, round {round}");
        }
        for primary in 2..7 {
            let for_us = if primary == 3 { SLICE_US * 4 } else { 0 };
            assert_eq!(watched.live(FAST, for_us, false), None);
            watched.next();
        }
    }
}

#[test]
fn who_was_blamed_before_another_kept_its_seat_is_no_witness_that_less_is_possible() {
    let mut watched = Watched::of(4);
    watched.live(FAST, 10_000_000, true);
    assert!(watched.live(percent(FAST, 5), HOUR_US, true).is_some());
    assert_eq!(watched.live(FAST, HOUR_US, true), None, "its successor keeps its seat for an hour");
    assert!(watched.live(percent(FAST, 5), HOUR_US, true).is_some());
    assert!(watched.live(percent(FAST, 5), HOUR_US, true).is_some(), "as much is asked as ever");
}

#[test]
fn pauses_that_come_seldom_do_not_add_up() {
    let mut watched = Watched::of(4);
    watched.live(FAST, 60_000_000, false);
    for _ in 0..1_000 {
        assert_eq!(watched.live(FAST, 2_000_000, false), None);
        assert_eq!(watched.live(Work::default(), SLICE_US / 10, true), None, "a hiccup");
    }
}

// The links were down; what committed meanwhile came at once, several times as much as in any other slice.
#[test]
fn what_was_caught_up_with_is_asked_of_nobody() {
    for way in ["certificates", "bodies", "a state"] {
        let mut watched = Watched::of(4);
        watched.live(FAST, 60_000_000, true);
        watched.dog.hears_late(way == "certificates");
        watched.dog.slice.behind = way == "a state";
        if way == "bodies" {
            watched.dog.committed_late(percent(FAST, 300), watched.now);
        } else {
            watched.dog.committed(percent(FAST, 300), watched.now);
        }
        watched.dog.hears_late(false);
        assert_eq!(watched.live(FAST, HOUR_US, true), None, "{way}");
        // One that comes so among many takes nothing away from what is known.
        watched.dog.committed_late(percent(FAST, 1), watched.now);
        assert_eq!(watched.live(percent(FAST, 150), SLICE_US, true), None);
        assert!(watched.live(percent(FAST, 80), HOUR_US, true).is_some(), "{way}: more was possible");
    }
}

#[test]
fn batches_that_are_not_here_yet_do_not_excuse_a_slow_primary() {
    let mut watched = Watched::of(4);
    watched.live(FAST, 60_000_000, true);
    let mut took = 0;
    // One batch in 1.4 seconds comes only after it committed.
    while watched.live(percent(FAST, 5), 1_400_000, true).is_none() {
        watched.dog.committed_late(percent(FAST, 1), watched.now);
        took += 1;
        assert!(took < 3, "it goes as soon as if it had sent everything");
    }
}

#[test]
fn what_is_remembered_is_that_of_the_last_views_and_of_at_most_f_primaries() {
    let mut watched = Watched { view: View(u64::MAX), ..Watched::of(4) };
    watched.enter();
    watched.view = View(0);
    for _ in 0..20 {
        watched.live(FAST, 2 * SLICE_US, false);
        watched.next();
        watched.dog.complain(1, watched.now);
        assert!(watched.dog.blamed.len() <= 1);
    }
    assert!(watched.dog.best.len() <= 4, "{:?}", watched.dog.best);
}

/// Replica 1 of 4, for which the primary was once fast, and for which a client waits.
fn kept_waiting(forgot: Option<AmnesiaBox>) -> (Replica, Time) {
    let keys: Vec<_> = (1..=4).map(|id| SecretKey::from_seed(&[id; 32]).public()).collect();
    let (cluster, epoch) = (ClusterId(Digest([9; 32])), Epoch(0));
    let parameters = Arc::new(Parameters { watchdog: true, timeout_us: SLICE_US, ..Parameters::default() });
    let committee = Arc::new(Committee::new(&keys, false).unwrap());
    let mut replica = Replica::new(Context { cluster, epoch, committee, parameters }, ReplicaId(1));
    forgot.into_iter().for_each(|forgot| replica.come_back_in(forgot));
    replica.watchdog.best.insert(View(0), Leaders([FAST; 3]));
    let (first, ack, kind) = (Number(1), Number(1), Kind::Operations);
    let operations = Operations::new(std::iter::once(&b"x"[..]));
    let draft = Draft { session: Session(1), first, ack, kind, operations };
    let request = Arc::new(Request::sign(&SecretKey::from_seed(&[77; 32]), cluster, draft));
    let asked = Event::Requests { requests: vec![Verified::vouch(request)], forwarded_by: None };
    let now = Time(1_000_000);
    replica.step(now, asked, &mut Vec::new());
    (replica, now)
}

// What keeps it from leaving is over some day, and then the next primaries must not have longer because of it.
#[test]
fn who_must_not_leave_its_view_complains_about_nobody() {
    let forgot = AmnesiaBox { epoch: Epoch(0), view: View(0), high: Seq(100) };
    let (mut replica, mut now) = kept_waiting(Some(forgot));
    let end = now.plus(200 * SLICE_US);
    while let Some(at) = replica.deadline().filter(|at| *at <= end) {
        now = now.max(at);
        replica.step(now, Event::Timeout, &mut Vec::new());
    }
    assert!(replica.pool.owes() && replica.view() == View(0), "somebody waits all the time");
    assert_eq!((replica.watchdog.judged, replica.watchdog.complaints), (0, 0));
    assert_eq!(replica.watchdog.grace_us(SLICE_US), SLICE_US * GRACE_TIMEOUTS);
    let (free, _) = kept_waiting(None);
    assert!(free.waits_long_from().is_some(), "who may leave holds it against its primary");
}
