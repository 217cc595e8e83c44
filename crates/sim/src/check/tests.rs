//! Every checker can fail: each is shown a bad history, after a good one that it lets pass.
#![allow(clippy::unwrap_used)]

use quorate_protocol::codec::{Blob, List};
use quorate_protocol::message::{Checkpoint, NewView, PrePrepare, ViewChange};
use quorate_protocol::request::{Batch, Draft, Kind, Nondet, Operations, Registration};
use quorate_protocol::signed::Signer;

use super::*;
use crate::world::{Setting, World};

const D1: Digest = Digest([1; 32]);
const D2: Digest = Digest([2; 32]);

fn context() -> Context {
    World::new(&Setting::calm(4)).context().clone()
}

fn checks() -> Checks {
    Checks::new(&context(), &Service::default())
}

fn signer(id: u16) -> Signer {
    let context = context();
    let key = Arc::new(World::secret_of(ReplicaId(id)));
    Signer::new(key, context.cluster, context.epoch, ReplicaId(id))
}

fn prepare(id: u16, digest: Digest) -> PeerMessage {
    let vote = Prepare { view: View(0), seq: Seq(1), digest };
    PeerMessage::Prepare(signer(id).sign(vote).into_inner())
}

fn commit(id: u16, view: u64, digest: Digest) -> PeerMessage {
    let vote = Commit { view: View(view), seq: Seq(1), digest };
    PeerMessage::Commit(signer(id).sign(vote).into_inner())
}

fn liars() -> Checks {
    let mut checks = checks();
    (0..4).for_each(|id| checks.distrust(ReplicaId(id)));
    checks
}

#[test]
fn two_histories_are_a_disagreement() {
    let mut checks = checks();
    checks.executed(ReplicaId(0), Seq(1), None, D1).unwrap();
    checks.executed(ReplicaId(1), Seq(1), None, D1).unwrap();
    let disagreement = Violation::Agreement { replica: ReplicaId(2), seq: Seq(1) };
    assert_eq!(checks.executed(ReplicaId(2), Seq(1), None, D2), Err(disagreement));
}

#[test]
fn slots_are_executed_in_order_and_once() {
    let mut checks = checks();
    checks.executed(ReplicaId(0), Seq(1), None, D1).unwrap();
    for (before, seq) in [(Seq(1), Seq(1)), (Seq(1), Seq(3))] {
        let order = Violation::Order { replica: ReplicaId(0), before, seq };
        assert_eq!(checks.executed(ReplicaId(0), seq, None, D1), Err(order));
        checks.executed.insert(ReplicaId(0), Seq(1));
    }
}

#[test]
fn a_fetched_state_must_be_ahead_and_one_that_somebody_executed_to() {
    let mut checks = checks();
    checks.executed(ReplicaId(0), Seq(1), None, D1).unwrap();
    checks.executed(ReplicaId(0), Seq(2), None, D2).unwrap();
    checks.installed(ReplicaId(1), Seq(2), D2).unwrap();
    let order = Violation::Order { replica: ReplicaId(1), before: Seq(2), seq: Seq(2) };
    assert_eq!(checks.installed(ReplicaId(1), Seq(2), D2), Err(order));
    for (seq, history) in [(Seq(2), D1), (Seq(3), D1)] {
        let disagreement = Violation::Agreement { replica: ReplicaId(2), seq };
        checks.executed.remove(&ReplicaId(2));
        assert_eq!(checks.installed(ReplicaId(2), seq, history), Err(disagreement));
    }
}

#[test]
fn two_quorums_of_prepares_are_found_before_anybody_executes() {
    let mut checks = liars();
    for id in 0..3 {
        checks.sent(ReplicaId(id), &prepare(id, D1)).unwrap();
    }
    checks.sent(ReplicaId(1), &prepare(1, D2)).unwrap();
    checks.sent(ReplicaId(2), &prepare(2, D2)).unwrap();
    // A signature counts once, whoever shows it how often.
    checks.sent(ReplicaId(2), &prepare(2, D2)).unwrap();
    checks.sent(ReplicaId(0), &prepare(3, D2)).unwrap();
    let two = Violation::TwoCertificates { view: View(0), seq: Seq(1) };
    assert_eq!(checks.sent(ReplicaId(3), &prepare(3, D2)), Err(two));
}

#[test]
fn two_quorums_of_commits_are_found_across_views() {
    let mut checks = liars();
    for id in 0..3 {
        checks.sent(ReplicaId(id), &commit(id, 0, D1)).unwrap();
    }
    checks.sent(ReplicaId(1), &commit(1, 1, D2)).unwrap();
    checks.sent(ReplicaId(2), &commit(2, 1, D2)).unwrap();
    let two = Violation::TwoCertificates { view: View(1), seq: Seq(1) };
    assert_eq!(checks.sent(ReplicaId(3), &commit(3, 1, D2)), Err(two));
}

#[test]
fn every_promise_needs_its_record() {
    let body = Body::new(Batch { nondet: Nondet::default(), requests: List(Vec::new()) }, context().cluster);
    let vote = Prepare { view: View(0), seq: Seq(1), digest: body.digest };
    let signed = signer(0).sign(vote).into_inner();
    let proposal = PrePrepare { prepare: signed.clone(), batch: Some(body.batch.clone()) };
    let new_view = NewView { view: View(4), view_changes: List(Vec::new()) };
    let certificate =
        quorate_protocol::certificate::Certificate { statement: vote, signatures: List(Vec::new()) };
    let prepared = List(vec![certificate.clone()]);
    let view_change = ViewChange { view: View(1), stable: None, prepared };
    let checkpoint = Checkpoint { seq: Seq(2), root: D1, epoch_end: Seq::MAX };
    let promises: Vec<(PeerMessage, Vec<Record>)> = vec![
        (PeerMessage::Prepare(signed), vec![Record::Vote { prepare: vote, primary: None }]),
        (PeerMessage::PrePrepare(proposal), vec![Record::Body { seq: Seq(1), body: Arc::clone(&body) }]),
        (
            PeerMessage::Commit(
                signer(0).sign(Commit { view: View(0), seq: Seq(1), digest: body.digest }).into_inner(),
            ),
            vec![Record::Prepared(certificate)],
        ),
        (
            PeerMessage::ViewChange(signer(0).sign(view_change.clone()).shared().into_inner()),
            vec![Record::ViewChange(view_change)],
        ),
        (
            PeerMessage::NewView(signer(0).sign(new_view.clone()).into_inner()),
            vec![Record::NewView { new_view, signature: None, view_changes: Vec::new() }],
        ),
    ];
    let mut checks = checks();
    for (message, records) in promises {
        assert!(
            matches!(checks.sent(ReplicaId(0), &message), Err(Violation::Undurable { .. })),
            "{message:?}"
        );
        // Who passes on what another promised promises nothing.
        checks.sent(ReplicaId(1), &message).unwrap();
        checks.durable(ReplicaId(0), records.iter()).unwrap();
        checks.sent(ReplicaId(0), &message).unwrap();
    }
    let message = PeerMessage::Checkpoint(signer(0).sign(checkpoint).into_inner());
    assert!(matches!(checks.sent(ReplicaId(0), &message), Err(Violation::Undurable { .. })));
    checks.stored(ReplicaId(0), Seq(2), D1).unwrap();
    checks.sent(ReplicaId(0), &message).unwrap();
}

/// A VIEW-CHANGE of replica 0 that shows these slots as prepared in view 0.
fn leaving(view: u64, slots: &[u64]) -> PeerMessage {
    let certificate = |seq: &u64| quorate_protocol::certificate::Certificate {
        statement: Prepare { view: View(0), seq: Seq(*seq), digest: D1 },
        signatures: List(Vec::new()),
    };
    let prepared = List(slots.iter().map(certificate).collect());
    let message = ViewChange { view: View(view), stable: None, prepared };
    PeerMessage::ViewChange(signer(0).sign(message).shared().into_inner())
}

#[test]
fn a_replica_says_one_thing_in_one_place_in_all_its_lives() {
    let (mut said, me) = (Said::default(), ReplicaId(0));
    for (first, second) in [(prepare(0, D1), prepare(0, D2)), (commit(0, 0, D1), commit(0, 0, D2))] {
        said.hear(me, &first).unwrap();
        said.hear(me, &first).unwrap();
        assert!(said.clone().hear(me, &second).is_err(), "{second:?}");
        // What another signed is his own.
        said.clone().hear(ReplicaId(1), &second).unwrap();
    }
    assert!(said.clone().hear(me, &leaving(1, &[])).is_err(), "it committed to n1");
    said.hear(me, &leaving(1, &[1])).unwrap();
    said.live_again();
    said.hear(me, &leaving(1, &[1])).unwrap();
    assert_eq!(said.repeated(), 1);
    assert!(said.clone().hear(me, &leaving(1, &[1, 2])).is_err(), "a second one for the same view");
    let late = Commit { view: View(0), seq: Seq(2), digest: D1 };
    let late = PeerMessage::Commit(signer(0).sign(late).into_inner());
    assert!(said.hear(me, &late).is_err(), "it left view 0 without having prepared n2");
}

#[test]
fn a_vote_in_a_view_that_was_left_is_found_on_the_disk() {
    let vote =
        |view| Record::Vote { prepare: Prepare { view: View(view), seq: Seq(1), digest: D1 }, primary: None };
    let left = Record::ViewChange(ViewChange { view: View(2), stable: None, prepared: List(Vec::new()) });
    let mut checks = checks();
    checks.durable(ReplicaId(0), [vote(0), left, vote(2)].iter()).unwrap();
    checks.durable(ReplicaId(0), [vote(0)].iter()).unwrap();
    assert!(matches!(checks.durable(ReplicaId(0), [vote(1)].iter()), Err(Violation::Contradiction { .. })));
}

#[test]
fn what_a_replica_forgot_over_a_restart_is_found() {
    let statement = Prepare { view: View(0), seq: Seq(1), digest: D1 };
    let signatures = List(Vec::new());
    let certificate = quorate_protocol::certificate::Certificate { statement, signatures };
    let records = [Record::Vote { prepare: statement, primary: None }, Record::Prepared(certificate)];
    let mut checks = checks();
    checks.durable(ReplicaId(0), records.iter()).unwrap();
    checks.executed(ReplicaId(0), Seq(1), None, D1).unwrap();
    for kept in [&records[..1], &records[1..]] {
        let forgot = checks.restarted(ReplicaId(0), kept.iter(), None, true);
        assert!(matches!(forgot, Err(Violation::Forgot { .. })), "{forgot:?}");
        checks.restarted(ReplicaId(0), kept.iter(), None, false).unwrap();
    }
    checks.restarted(ReplicaId(0), records.iter(), None, true).unwrap();
    // It executes again from where its state stands, and must come to the same.
    assert!(checks.executed(ReplicaId(0), Seq(1), None, D2).is_err());
    checks.restarted(ReplicaId(0), records.iter(), Some((Seq(4), D1)), true).unwrap();
    checks.executed(ReplicaId(0), Seq(5), None, D1).unwrap();
}

#[test]
fn two_roots_of_one_checkpoint_are_found() {
    let mut checks = checks();
    checks.stored(ReplicaId(0), Seq(2), D1).unwrap();
    checks.stored(ReplicaId(1), Seq(2), D1).unwrap();
    let roots = Violation::Roots { replica: ReplicaId(2), seq: Seq(2) };
    assert_eq!(checks.stored(ReplicaId(2), Seq(2), D2), Err(roots));
}

#[test]
fn views_and_watermarks_do_not_go_back() {
    let mut checks = checks();
    checks.stands(ReplicaId(0), View(1), Seq(4)).unwrap();
    checks.stands(ReplicaId(1), View(0), Seq(0)).unwrap();
    for (view, low) in [(View(0), Seq(4)), (View(1), Seq(3))] {
        let backwards =
            Violation::Backwards { replica: ReplicaId(0), before: (View(1), Seq(4)), after: (view, low) };
        assert_eq!(checks.stands(ReplicaId(0), view, low), Err(backwards));
        checks.standing.insert(ReplicaId(0), (View(1), Seq(4)));
    }
}

#[test]
fn an_alarm_must_accuse_a_liar() {
    let mut checks = checks();
    let vote = |digest| signer(2).sign(Prepare { view: View(0), seq: Seq(1), digest }).into_inner();
    let alarm = Alarm::ConflictingPrepares(vote(D1), vote(D2));
    assert!(matches!(checks.alarm(ReplicaId(0), &alarm), Err(Violation::FalseAlarm { .. })));
    checks.distrust(ReplicaId(2));
    checks.alarm(ReplicaId(0), &alarm).unwrap();
    let breach = Alarm::Agreement { seq: Seq(1), one: D1, other: D2 };
    assert!(matches!(checks.alarm(ReplicaId(0), &breach), Err(Violation::FalseAlarm { .. })));
}

#[test]
fn a_replica_that_keeps_too_much_is_found() {
    let context = context();
    let most = Footprint::WINDOWS * context.parameters.window;
    memory(ReplicaId(0), &Footprint { slots: most, ..Footprint::default() }, &context).unwrap();
    let fat = Footprint { slots: most + 1, ..Footprint::default() };
    let too_much = Violation::Memory { replica: ReplicaId(0), what: "slots", kept: most + 1, most };
    assert_eq!(memory(ReplicaId(0), &fat, &context), Err(too_much));
    let most = (context.parameters.bodies_max(), Footprint::UNVOTED_BODIES);
    let with = |(voted_bodies, unvoted_bodies)| {
        let kept = Footprint { voted_bodies, unvoted_bodies, ..Footprint::default() };
        memory(ReplicaId(0), &kept, &context)
    };
    with(most).unwrap();
    assert!(matches!(with((most.0 + 1, 0)), Err(Violation::Memory { .. })));
    assert!(matches!(with((0, most.1 + 1)), Err(Violation::Memory { .. })));
}

/// A registration and one command of a client, as two slots.
#[allow(clippy::type_complexity)]
fn two_slots(command: &[u8]) -> (Vec<Request>, [Arc<Body>; 2], (ClientId, Session, Number)) {
    let cluster = context().cluster;
    let key = World::secret_of(ReplicaId(9));
    let client = ClientId::of(&key.public());
    let registration = Registration { nonce: 1, expires: Seq(10) };
    let session = registration.session(client);
    let draft = |number, kind, bytes: &[u8]| Draft {
        session,
        first: Number(number),
        ack: Number(number),
        kind,
        operations: Operations::new(std::iter::once(bytes)),
    };
    let bytes = quorate_protocol::codec::encode(&registration).unwrap();
    let requests = vec![
        Request::sign(&key, cluster, draft(0, Kind::Register, &bytes)),
        Request::sign(&key, cluster, draft(1, Kind::Operations, command)),
    ];
    let body = |request: &Request| {
        let batch = Batch { nondet: Nondet::default(), requests: List(vec![Arc::new(request.clone())]) };
        Body::new(batch, cluster)
    };
    let bodies = [body(&requests[0]), body(&requests[1])];
    (requests, bodies, (client, session, Number(1)))
}

#[test]
fn what_no_client_signed_must_not_be_ordered() {
    let (requests, [first, second], _) = two_slots(b"add a 1");
    let mut checks = checks();
    checks.client_signed(&requests[0]);
    checks.executed(ReplicaId(0), Seq(1), Some(&first), D1).unwrap();
    let forged = Violation::Forged { seq: Seq(2) };
    assert_eq!(checks.executed(ReplicaId(0), Seq(2), Some(&second), D1), Err(forged));
}

#[test]
fn clients_may_accept_only_what_executing_the_log_once_gives() {
    let (requests, [first, second], operation) = two_slots(b"add a 1");
    let mut checks = checks();
    requests.iter().for_each(|request| checks.client_signed(request));
    checks.executed(ReplicaId(0), Seq(1), Some(&first), D1).unwrap();
    let done = |text: &'static str| Outcome::Done(Blob(text.into()));
    assert!(checks.accepted(operation, Seq(2), &done("1")).is_err(), "it is not ordered yet");
    // Ordered twice, it counts once.
    checks.executed(ReplicaId(0), Seq(2), Some(&second), D1).unwrap();
    checks.executed(ReplicaId(0), Seq(3), Some(&second), D2).unwrap();
    checks.accepted(operation, Seq(2), &done("1")).unwrap();
    for (seq, outcome) in [(Seq(2), done("2")), (Seq(3), done("1")), (Seq(2), Outcome::Old)] {
        assert!(matches!(checks.accepted(operation, seq, &outcome), Err(Violation::WrongAnswer { .. })));
    }
}
