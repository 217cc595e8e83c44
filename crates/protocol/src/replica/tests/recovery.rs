//! A replica that comes back.

use super::*;
use crate::codec;

/// What the journal holds of a replica that went through views 1 and 2: their NEW-VIEWs count only while they are the
/// newest, a vote until its slot is stable.
fn through_two_views(bench: &Bench) -> Memory {
    let body = bench.body(1);
    let view_changes: Vec<_> = [0, 1, 3].map(|id| bench.view_change(id, 2, Vec::new())).into_iter().collect();
    let new_view = bench.new_view(2, &view_changes.iter().collect::<Vec<_>>());
    let signed = codec::encode(&*new_view).unwrap();
    let vote_in = |view, seq| Record::Vote { prepare: vote(view, seq, body.digest), primary: None };
    let entered = Record::NewView {
        new_view: new_view.body.clone(),
        signature: Some(new_view.signature),
        view_changes: view_changes.into_iter().map(Verified::into_inner).collect(),
    };
    let records = vec![
        (Record::Body { seq: Seq(1), body: Arc::clone(&body) }, None),
        (vote_in(1, 1), None),
        (entered, Some(signed)),
        (vote_in(2, 1), None),
    ];
    Memory { records, position: Position(9), promised: (View(2), Seq(8)), ..Memory::default() }
}

#[test]
fn votes_of_a_view_whose_new_view_the_journal_forgot_do_not_keep_a_replica_out() {
    let bench = Bench::new(4, 1);
    let mut effects = Vec::new();
    let memory = through_two_views(&bench);
    let replica =
        Replica::recover(bench.context.clone(), ReplicaId(1), memory, bench.now, &mut effects).unwrap();
    assert_eq!((replica.view(), replica.status()), (View(2), Status::Normal));
    let said = effects.iter().filter_map(|effect| match effect {
        Effect::Send { message: Say::Prepare(vote), .. } => Some((vote.view, vote.seq)),
        _ => None,
    });
    assert_eq!(said.collect::<Vec<_>>(), [(View(2), Seq(1))], "it says again what it said in its view only");
}

#[test]
fn a_vote_in_a_view_that_was_never_entered_keeps_a_replica_out() {
    let bench = Bench::new(4, 1);
    let mut memory = through_two_views(&bench);
    memory.records.push((Record::Vote { prepare: vote(3, 2, Digest([3; 32])), primary: None }, None));
    let recovered = Replica::recover(bench.context.clone(), ReplicaId(1), memory, bench.now, &mut Vec::new());
    assert!(recovered.is_err());
}

#[test]
fn who_comes_back_in_a_late_view_waits_no_longer_than_in_the_first() {
    let bench = Bench::new(4, 1);
    let memory = through_two_views(&bench);
    let replica =
        Replica::recover(bench.context.clone(), ReplicaId(1), memory, bench.now, &mut Vec::new()).unwrap();
    assert_eq!(replica.waiting().timeout_us, bench.context.parameters.timeout_us);
}

#[test]
fn a_vote_whose_body_the_disk_lost_binds_and_is_said_again_when_the_body_is_back() {
    let mut bench = Bench::new(4, 1);
    let (body, other) = (bench.body(1), bench.body(2));
    let mut memory = through_two_views(&bench);
    memory.records.remove(0);
    let mut effects = Vec::new();
    bench.replica =
        Replica::recover(bench.context.clone(), ReplicaId(1), memory, bench.now, &mut effects).unwrap();
    let prepares = |effect: &&Effect| matches!(effect, Effect::Send { message: Say::Prepare(_), .. });
    assert_eq!(effects.iter().filter(prepares).count(), 0);
    bench.pre_prepare(vote(2, 1, other.digest), Some(&other));
    bench.now = bench.now.plus(3_600_000_000);
    bench.step(Event::Body { seq: Seq(1), body: Verified::vouch(body.clone()) });
    assert_eq!(bench.prepares(), [vote(2, 1, body.digest)]);
}

#[test]
fn who_comes_back_blames_no_primary_before_it_heard_from_a_quorum() {
    let bench = Bench::new(4, 1);
    let memory = through_two_views(&bench);
    let mut replica =
        Replica::recover(bench.context.clone(), ReplicaId(1), memory, bench.now, &mut Vec::new()).unwrap();
    let mut now = bench.now;
    let mut pass = |replica: &mut Replica, event: Option<Event>| {
        for event in event.into_iter().chain((0..20).map(|_| Event::Timeout)) {
            now = replica.deadline().map_or(now, |at| at.max(now)).min(now.plus(100_000));
            replica.step(now, event, &mut Vec::new());
        }
    };
    pass(&mut replica, None);
    assert!(replica.owed(), "its vote of before the restart has not committed");
    let standing = |replica: &Replica| replica.own_status();
    let first = standing(&replica);
    pass(&mut replica, Some(Event::Status { from: ReplicaId(0), status: first }));
    assert_eq!((replica.view(), replica.waiting().progress), (View(2), None), "two of four are no quorum");
    let second = standing(&replica);
    pass(&mut replica, Some(Event::Status { from: ReplicaId(3), status: second }));
    assert_eq!(replica.view(), View(3), "now the primary has to answer for itself");
}

#[test]
fn who_comes_back_from_a_state_above_the_watermark_fetches_a_body_that_a_new_proposal_needs() {
    let mut bench = Bench::new(4, 1);
    let body = bench.body(1);
    // It executed slots 1 to 4 by catching up, without voting, so no body of them is in its journal.
    let memory =
        Memory { state: Some((Seq(4), Digest([5; 32]))), promised: (View(0), Seq(8)), ..Memory::default() };
    let mut effects = Vec::new();
    bench.replica =
        Replica::recover(bench.context.clone(), ReplicaId(1), memory, bench.now, &mut effects).unwrap();
    bench.pre_prepare(vote(0, 1, body.digest), None);
    bench.pass(3_000_000);
    let asked = bench.relayed().iter().any(|m| matches!(m, PeerMessage::FetchBody { seq: Seq(1), .. }));
    assert!(asked, "it asks for the body; view {:?}", bench.replica.view());
}

#[test]
fn a_state_that_contradicts_the_certificate_is_not_started_from() {
    let bench = Bench::new(4, 1);
    let certificate = bench.certificate(
        crate::message::Checkpoint { seq: Seq(4), root: Digest([6; 32]), epoch_end: Seq::MAX },
        &[0, 2, 3],
    );
    let memory = Memory {
        state: Some((Seq(4), Digest([5; 32]))),
        records: vec![(Record::Stable(certificate), None)],
        position: Position(1),
        promised: (View(0), Seq(8)),
        ..Memory::default()
    };
    let recovered = Replica::recover(bench.context.clone(), ReplicaId(1), memory, bench.now, &mut Vec::new());
    assert!(recovered.is_err());
}

#[test]
fn who_comes_back_has_the_stable_checkpoint_that_its_new_view_brought_though_its_own_record_was_cut() {
    let bench = Bench::new(4, 1);
    let statement = crate::message::Checkpoint { seq: Seq(4), root: Digest([6; 32]), epoch_end: Seq::MAX };
    let stable = bench.certificate(statement, &[0, 2, 3]);
    let mut memory = through_two_views(&bench);
    let leave = |id| {
        let message = ViewChange { view: View(2), stable: Some(stable.clone()), prepared: List(Vec::new()) };
        bench.sign(id, message).shared()
    };
    let leaving: Vec<_> = [0, 1, 3].map(leave).into();
    let new_view = bench.new_view(2, &leaving.iter().collect::<Vec<_>>());
    let signed = codec::encode(&*new_view).unwrap();
    let entered = Record::NewView {
        new_view: new_view.body.clone(),
        signature: Some(new_view.signature),
        view_changes: leaving.into_iter().map(Verified::into_inner).collect(),
    };
    memory.records = vec![(entered, Some(signed))];
    let mut effects = Vec::new();
    let replica =
        Replica::recover(bench.context.clone(), ReplicaId(1), memory, bench.now, &mut effects).unwrap();
    assert_eq!(replica.watermarks().0, Seq(4));
    let again = effects.iter().any(|effect| matches!(effect, Effect::Persist(Record::Stable(_))));
    assert!(again, "and it is recorded now");
}
