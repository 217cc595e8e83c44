//! A replica that waits in a later view is given one by the primary, if it keeps up, and not without end.

use super::*;
use crate::message::Status as Standing;

const T0: u64 = 500_000;
/// Between two STATUS of a replica that waits.
const PAUSE: u64 = 150_000;
const HOUR: u64 = 3_600_000_000;

/// Replica 1, which leads the next view, says that all is well.
fn is_well(bench: &mut Bench) {
    let own = bench.replica.own_status();
    let status = Standing { executed: bench.replica.committed(), changing: false, ..own };
    bench.step(Event::Status { from: ReplicaId(1), status });
}

/// Replica 3 says that it waits in a view and has executed so much.
fn waits(bench: &mut Bench, view: u64, executed: Seq) {
    let own = bench.replica.own_status();
    let status = Standing { view: View(view), changing: true, executed, ..own };
    bench.step(Event::Status { from: ReplicaId(3), status });
}

/// It says so again and again for a while, and keeps up; whether that moved this replica.
fn is_moved(bench: &mut Bench, view: u64, microseconds: u64) -> bool {
    let (here, end) = (bench.replica.view(), bench.now.plus(microseconds));
    while bench.now < end && bench.replica.view() == here {
        is_well(bench);
        let executed = bench.replica.committed();
        waits(bench, view, executed);
        bench.pass(PAUSE);
    }
    bench.replica.view() != here
}

/// A view opens.
fn open(bench: &mut Bench, view: u64) {
    let messages = [1, 2, 3].map(|id| bench.view_change(id, view, Vec::new()));
    messages.iter().for_each(|message| bench.step(Event::ViewChange(message.clone())));
    // Who leads it has opened it by itself.
    if bench.replica.status() != Status::Normal {
        let new_view = bench.new_view(view, &messages.iter().collect::<Vec<_>>());
        bench.step(Event::NewView(new_view));
    }
    assert_eq!((bench.replica.view(), bench.replica.status()), (View(view), Status::Normal));
}

/// A client asks something, and this primary proposes it, unless it is about to leave.
fn ask(bench: &mut Bench, number: u64) -> Vec<Prepare> {
    let request = signed_request(bench, number);
    bench.step(Event::Requests { requests: vec![request], forwarded_by: None });
    let proposed = |say: &Say| if let Say::PrePrepare { prepare, .. } = say { Some(*prepare) } else { None };
    bench.said.iter().filter_map(proposed).collect()
}

fn order(bench: &mut Bench, number: u64) {
    let this = *ask(bench, number).last().unwrap();
    [1, 2, 3].into_iter().for_each(|id| bench.commit(id, this));
    assert_eq!(bench.replica.committed(), this.seq);
}

#[test]
fn a_primary_leaves_its_view_for_one_that_waits_in_a_later_one_and_for_nobody_else() {
    let mut bench = Bench::new(4, 0);
    assert!(!is_moved(&mut bench, 0, 100 * T0), "it waits for this very view, and is shown its NEW-VIEW");
    assert!(!is_moved(&mut bench, 1, 7 * T0), "it may come and go");
    assert!(is_moved(&mut bench, 1, 2 * T0));
    assert_eq!((bench.replica.view(), bench.replica.status()), (View(1), Status::ViewChanging));
    assert_eq!(bench.replica.waiting().timeout_us, T0, "a hand-over is no failure");
    let mut backup = Bench::new(4, 1);
    assert!(!is_moved(&mut backup, 1, 100 * T0), "that is for the primary to do");
}

#[test]
fn a_view_is_handed_to_nobody_who_is_not_heard() {
    let mut bench = Bench::new(4, 0);
    for _ in 0..100 {
        waits(&mut bench, 1, Seq(0));
        bench.pass(PAUSE);
    }
    assert_eq!(bench.replica.view(), View(0), "everybody would wait for a timeout");
    is_well(&mut bench);
    waits(&mut bench, 1, Seq(0));
    assert_eq!(bench.replica.view(), View(1));
}

#[test]
fn where_views_lately_failed_everybody_waits_longer() {
    let mut bench = Bench::new(4, 0);
    open(&mut bench, 4);
    let timeout = bench.replica.waiting().timeout_us;
    assert!(timeout > T0, "those before it failed");
    // It works, so timeouts are short again; a liar may still want those who failed to lead again.
    (1..=4).for_each(|number| order(&mut bench, number));
    assert_eq!(bench.replica.waiting().timeout_us, T0);
    assert!(!is_moved(&mut bench, 5, 8 * timeout - T0));
    assert!(is_moved(&mut bench, 5, 2 * T0));
}

#[test]
fn what_is_on_its_way_commits_before_a_primary_leaves_for_another() {
    let mut bench = Bench::new(4, 0);
    let this = ask(&mut bench, 1)[0];
    for _ in 0..=8 * T0 / PAUSE {
        waits(&mut bench, 1, Seq(0));
        bench.now = bench.now.plus(PAUSE);
    }
    is_well(&mut bench);
    waits(&mut bench, 1, Seq(0));
    assert_eq!(ask(&mut bench, 2).len(), 1, "it orders nothing new");
    assert_eq!(bench.replica.view(), View(0));
    [1, 2, 3].into_iter().for_each(|id| bench.commit(id, this));
    assert_eq!((bench.executed.as_slice(), bench.replica.view()), (&[Seq(1)][..], View(1)));
    open(&mut bench, 1);
    assert_eq!(bench.forwarded, 1, "what waited is for the next primary");
    assert!(!bench.replica.is_retiring());
}

#[test]
fn who_falls_behind_or_falls_silent_begins_anew_and_waits_longer() {
    // It does not hear the others.
    let mut bench = Bench::new(4, 0);
    assert!(!is_moved(&mut bench, 1, 7 * T0));
    order(&mut bench, 1);
    let begun = bench.now;
    while bench.now.since(begun) < 4 * T0 {
        waits(&mut bench, 1, Seq(0));
        bench.pass(PAUSE);
    }
    assert!(!is_moved(&mut bench, 1, 15 * T0));
    assert!(is_moved(&mut bench, 1, 2 * T0));
    // It is not heard.
    let mut bench = Bench::new(4, 0);
    assert!(!is_moved(&mut bench, 1, 7 * T0));
    bench.pass(2 * T0);
    assert!(!is_moved(&mut bench, 1, 15 * T0));
    assert!(is_moved(&mut bench, 1, 2 * T0));
}

#[test]
fn who_says_for_ever_that_it_waits_is_given_few_views() {
    let mut bench = Bench::new(4, 0);
    let (begun, mut given) = (bench.now, 0);
    while bench.now.since(begun) < HOUR {
        if is_moved(&mut bench, u64::MAX, HOUR / 60) {
            given += 1;
            // The others hand over theirs at once.
            bench.replica.timers.handed_over(3);
            open(&mut bench, given * 4);
        }
    }
    // From 8 T0 on, each twice as long as the one before.
    assert!((8..=11).contains(&given), "{given} views in an hour");
}
