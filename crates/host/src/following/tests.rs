//! Claims about following operations.

use quorate_protocol::certificate::Certificate;
use quorate_protocol::codec::List;
use quorate_protocol::message::{Outcome, Prepare};
use quorate_protocol::request::{Batch, Nondet};
use quorate_protocol::types::{Number, Session, Signature, Time};

use super::*;
use crate::props::{CLUSTER, request};

fn body(requests: Vec<Arc<Request>>) -> Arc<Body> {
    Body::new(Batch { nondet: Nondet { time: Time(5) }, requests: List(requests) }, CLUSTER)
}

fn prepare(seq: u64, body: &Body) -> Prepare {
    Prepare { view: View(2), seq: Seq(seq), digest: body.digest }
}

/// Everything that a replica wants on the way of a slot; a primary has no signature of its own yet.
fn pass(following: &mut Following, seq: u64, body: &Arc<Body>, primary: Option<Signature>) {
    let statement = prepare(seq, body);
    following.note(&Effect::Persist(Record::Body { seq: Seq(seq), body: Arc::clone(body) }));
    following.note(&Effect::Persist(Record::Vote { prepare: statement, primary }));
    following
        .note(&Effect::Persist(Record::Prepared(Certificate { statement, signatures: List(Vec::new()) })));
    following.note(&Effect::Execute { seq: Seq(seq), body: Some(Arc::clone(body)) });
    following.executed(Seq(seq));
}

fn whats(steps: &VecDeque<Step>) -> Vec<What> {
    steps.iter().map(|step| step.what).collect()
}

#[test]
fn an_operation_has_one_name_wherever_it_is_seen_and_takes_every_step_once() {
    let request = request(1, 2);
    let (ids, body) = (OperationId::all_of(&request), body(vec![Arc::clone(&request)]));
    let mut following = Following::default();
    following.turn(true);
    following.received(&request, None);
    pass(&mut following, 3, &body, None);
    let of = |(number, operation, _): (Number, Digest, &[u8])| Reply {
        seq: Seq(3),
        session: Session(7),
        number,
        operation,
        outcome: Outcome::Rejected,
    };
    let replies: Vec<Reply> = request.operations().map(of).collect();
    following.replied(&replies);
    let steps = following.take();
    let (view, seq) = (View(2), Seq(3));
    let expected = [
        What::Received,
        What::Proposed(view, seq),
        What::Prepared(view, seq),
        What::Committed(seq),
        What::Executed(seq),
        What::Replied(seq),
    ];
    assert_eq!(whats(&steps), expected);
    assert!(steps.iter().all(|step| step.operations == ids), "{steps:?}");
    let name = ids[0].to_string();
    let digest = request.operations().next().unwrap().1.to_string();
    assert!(name.len() == 16 && digest.starts_with(&name), "{name} of {digest}");
    assert!(following.take().is_empty() && following.slots.is_empty());
}

#[test]
fn a_backup_votes_and_says_from_whom_a_request_came_and_to_whom_it_went() {
    let request = request(1, 1);
    let mut following = Following::default();
    following.turn(true);
    following.received(&request, Some(ReplicaId(2)));
    following.note(&Effect::Forward { to: ReplicaId(3), request: Arc::clone(&request) });
    following.turned_away(&request, BusyReason::PoolFull);
    pass(&mut following, 1, &body(vec![request]), Some(Signature([0; 64])));
    let steps = whats(&following.take());
    let first = [
        What::ReceivedFrom(ReplicaId(2)),
        What::PassedOn(ReplicaId(3)),
        What::TurnedAway(BusyReason::PoolFull),
        What::Voted(View(2), Seq(1)),
    ];
    assert_eq!(steps[..4], first);
}

#[test]
fn votes_for_another_batch_than_the_one_that_is_known_tell_nothing_of_it() {
    let (known, other) = (body(vec![request(1, 1)]), body(vec![request(2, 1)]));
    let mut following = Following::default();
    following.turn(true);
    following.note(&Effect::Persist(Record::Body { seq: Seq(1), body: known }));
    following.note(&Effect::Persist(Record::Vote { prepare: prepare(1, &other), primary: None }));
    assert!(following.take().is_empty());
}

#[test]
fn while_nobody_asks_nothing_is_noted_and_what_is_not_taken_is_bounded() {
    let bundle = body(vec![request(1, 4_000)]);
    let mut following = Following::default();
    pass(&mut following, 1, &bundle, None);
    following.received(&request(9, 1), None);
    assert!(following.take().is_empty() && following.slots.is_empty());
    following.turn(true);
    for seq in 1..=40 {
        pass(&mut following, seq, &bundle, None);
    }
    assert!(following.noted <= OPERATIONS_MAX);
    let last = following.steps.back().unwrap();
    assert_eq!(last.what, What::Executed(Seq(40)), "the newest are kept");
    for seq in 100..100 + 2 * SLOTS_MAX as u64 {
        following.remember(Seq(seq), &body(Vec::new()));
    }
    assert_eq!(following.slots.len(), SLOTS_MAX);
    following.turn(false);
    assert!(following.slots.is_empty() && following.steps.is_empty() && !following.on);
}
