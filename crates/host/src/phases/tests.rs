//! Claims about the time that phases take.

use std::sync::Arc;

use quorate_protocol::certificate::Certificate;
use quorate_protocol::codec::List;
use quorate_protocol::message::Prepare;
use quorate_protocol::process::Recipient;
use quorate_protocol::request::{Batch, Body, Nondet};
use quorate_protocol::types::{Digest, Position, View};

use super::*;
use crate::props::{CLUSTER, request};

fn body(proposed: u64, requests: Vec<Arc<Request>>) -> Arc<Body> {
    Body::new(Batch { nondet: Nondet { time: Time(proposed) }, requests: List(requests) }, CLUSTER)
}

fn prepare(seq: u64) -> Prepare {
    Prepare { view: View(0), seq: Seq(seq), digest: Digest([1; 32]) }
}

fn voted(seq: u64) -> Effect {
    Effect::Persist(Record::Vote { prepare: prepare(seq), primary: None })
}

fn prepared(seq: u64) -> Effect {
    Effect::Persist(Record::Prepared(Certificate { statement: prepare(seq), signatures: List(Vec::new()) }))
}

fn handed(seq: u64, body: &Arc<Body>) -> Effect {
    Effect::Execute { seq: Seq(seq), body: Some(Arc::clone(body)) }
}

/// So many operations that took equally long.
fn spent(sum_us: u64, count: u64) -> Spent {
    let mut spent = Spent::default();
    spent.add(sum_us / count, count);
    spent
}

/// A slot with three operations, proposed at 100.
fn pass(phases: &mut Phases, seq: u64) {
    let body = body(100, vec![request(1, 3)]);
    phases.note(Time(130), &voted(seq));
    phases.note(Time(150), &prepared(seq));
    phases.note(Time(155), &handed(seq, &body));
    phases.executed(Time(162), Seq(seq));
}

#[test]
fn a_slot_counts_once_for_each_of_its_operations() {
    let mut phases = Phases::new(8);
    pass(&mut phases, 1);
    let times = phases.times();
    assert_eq!((times.pre_prepare, times.prepare), (spent(90, 3), spent(60, 3)));
    assert_eq!((times.commit, times.execute), (spent(15, 3), spent(21, 3)));
    assert_eq!(times.agreement, spent(75, 3), "from the vote until it committed");
    phases.executed(Time(900), Seq(1));
    assert_eq!(phases.times(), times, "what has executed does so once");
}

#[test]
fn a_slot_that_was_not_seen_whole_does_not_count() {
    let mut phases = Phases::new(8);
    let body = body(100, vec![request(1, 3)]);
    // It came with a certificate that it committed: this replica neither voted nor saw it prepare.
    phases.note(Time(155), &handed(1, &body));
    phases.executed(Time(162), Seq(1));
    // Another took its place, a window later.
    phases.note(Time(130), &voted(2));
    phases.note(Time(150), &prepared(2));
    phases.note(Time(151), &voted(10));
    phases.note(Time(155), &handed(2, &body));
    phases.executed(Time(162), Seq(2));
    assert_eq!(phases.times(), PhaseTimes::default());
}

#[test]
fn a_primary_with_a_wrong_clock_cannot_drown_the_sums() {
    let mut phases = Phases::new(8);
    let body = body(0, vec![request(1, 1)]);
    phases.note(Time(u64::MAX - 9), &voted(1));
    phases.note(Time(u64::MAX - 9), &prepared(1));
    phases.note(Time(u64::MAX - 9), &handed(1, &body));
    phases.executed(Time(u64::MAX - 9), Seq(1));
    assert_eq!(phases.times().pre_prepare, spent(PHASE_US_MAX, 1));
    // A clock behind that of the primary gives nothing, not the length of an epoch.
    let body = self::body(u64::MAX, vec![request(1, 1)]);
    phases.note(Time(5), &voted(2));
    phases.note(Time(5), &prepared(2));
    phases.note(Time(5), &handed(2, &body));
    phases.executed(Time(5), Seq(2));
    let told = phases.times().pre_prepare;
    assert_eq!((told.sum_us, told.count), (PHASE_US_MAX, 2));
}

#[test]
fn of_requests_about_one_in_sixteen_is_timed_from_its_first_arrival_to_its_proposal() {
    let mut phases = Phases::new(8);
    let requests: Vec<_> = (0..800).map(|number| request(1 + number * 2, 2)).collect();
    for request in &requests {
        phases.arrived(Time(1_000), request);
        phases.arrived(Time(5_000), request);
    }
    let timed = phases.arrivals.len() as u64;
    assert!((25..=80).contains(&timed), "{timed} of 800");
    let (say, to) =
        (Say::PrePrepare { prepare: prepare(1), body: Some(body(1_040, requests)) }, Recipient::Everyone);
    phases.note(Time(1_040), &Effect::Send { to, message: say, after: Position(0) });
    assert_eq!(phases.times().request, spent(80 * timed, 2 * timed));
    assert!(phases.arrivals.is_empty());
}

#[test]
fn requests_that_are_never_ordered_take_a_bounded_place() {
    let mut phases = Phases::new(8);
    for session in 0..ARRIVALS_MAX as u64 {
        phases.arrivals.insert((ClientId(Digest([1; 32])), Session(session), Number(1)), Time(0));
    }
    let next = (1..).map(|number| request(number, 1)).find(|request| is_timed(request)).unwrap();
    phases.arrived(Time(9), &next);
    assert_eq!(phases.arrivals.len(), 1, "those that waited so long are forgotten");
    // At a backup it is another replica that proposes it.
    phases.note(Time(10), &handed(1, &body(9, vec![next])));
    assert!(phases.arrivals.is_empty());
    assert_eq!(phases.times().request, Spent::default());
}
