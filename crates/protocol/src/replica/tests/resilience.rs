//! What gets lost, comes late, or comes too often.

use super::*;

#[test]
fn commits_that_checkpoints_overtook_still_count() {
    let mut bench = Bench::new(4, 1);
    for seq in 1..=4 {
        let body = bench.body(seq);
        let this = vote(0, seq, body.digest);
        bench.pre_prepare(this, Some(&body));
        let late = seq == 4;
        [0, 2, 3].into_iter().filter(|id| !late || *id == 0).for_each(|id| bench.commit(id, this));
    }
    let checkpoint = Checkpoint { seq: Seq(4), root: Digest([8; 32]), epoch_end: Seq::MAX };
    let stable = Verified::vouch(bench.certificate(checkpoint, &[0, 2, 3]));
    bench.step(Event::StableCertificate(stable));
    assert_eq!(bench.executed, [Seq(1), Seq(2), Seq(3)]);
    let this = vote(0, 4, bench.body(4).digest);
    let late = bench.sign(2, Commit { view: this.view, seq: this.seq, digest: this.digest });
    assert_ne!(bench.replica.need_commit(&late), Need::Useless);
    [2, 3].into_iter().for_each(|id| bench.commit(id, this));
    assert_eq!(bench.executed, [Seq(1), Seq(2), Seq(3), Seq(4)]);
    assert!(!bench.replica.behind(), "no state has to be fetched");
}

#[test]
fn a_batch_that_a_quorum_prepared_is_fetched_by_who_was_shown_another() {
    let mut bench = Bench::new(4, 1);
    let (shown, prepared) = (bench.body(1), bench.body(2));
    bench.pre_prepare(vote(0, 1, shown.digest), Some(&shown));
    [2, 3].into_iter().for_each(|id| bench.prepare(id, vote(0, 1, prepared.digest)));
    // The primary's other PREPARE comes with a view change only; a quorum of the rest is as good. n = 4 has none, so
    // the certificate is learned as it would be from one: f + 1 of its signers are correct.
    let certificate = bench.certificate(vote(0, 1, prepared.digest), &[0, 2, 3]);
    let view = bench.replica.view;
    bench.replica.log.get_mut(Seq(1)).unwrap().learn_prepared(Verified::vouch(certificate), view);
    bench.commit(2, vote(0, 1, prepared.digest));
    bench.pass(60_000);
    let wanted = |say: &&PeerMessage| matches!(say, PeerMessage::FetchBody { digest, .. } if *digest == prepared.digest);
    assert_eq!(bench.relayed().into_iter().filter(wanted).count(), 1);
    bench.step(Event::Body { seq: Seq(1), body: Verified::vouch(Arc::clone(&prepared)) });
    assert_eq!(bench.commits().len(), 1);
}

#[test]
fn a_batch_is_served_to_one_replica_once_per_pause() {
    let mut bench = Bench::new(4, 1);
    let body = bench.body(1);
    bench.pre_prepare(vote(0, 1, body.digest), Some(&body));
    bench.said.clear();
    for _ in 0..100 {
        bench.step(Event::FetchBody { from: ReplicaId(2), seq: Seq(1), digest: body.digest });
    }
    assert_eq!(bench.relayed().len(), 1);
    bench.step(Event::FetchBody { from: ReplicaId(3), seq: Seq(1), digest: body.digest });
    bench.now = bench.now.plus(100_000);
    bench.step(Event::FetchBody { from: ReplicaId(2), seq: Seq(1), digest: body.digest });
    assert_eq!(bench.relayed().len(), 3, "others, and later, it is served again");
}

#[test]
fn a_request_that_the_primary_may_have_missed_is_passed_on_again() {
    let mut bench = Bench::new(4, 1);
    let request = signed_request(&bench, 1);
    bench.step(Event::Requests { requests: vec![request], forwarded_by: None });
    assert_eq!(bench.forwarded, 1);
    bench.pass(200_000);
    assert_eq!(bench.forwarded, 1, "the primary has its time first");
    bench.pass(290_000);
    assert!(bench.forwarded > 1);
    assert_eq!(bench.replica.status(), Status::Normal);
}

#[test]
fn batches_without_requests_do_not_keep_a_primary_in_its_seat() {
    let mut bench = Bench::new(4, 1);
    let request = signed_request(&bench, 1);
    bench.step(Event::Requests { requests: vec![request], forwarded_by: None });
    for seq in 1..=4 {
        let body = bench.body(seq);
        let this = vote(0, seq, body.digest);
        bench.pre_prepare(this, Some(&body));
        [0, 2, 3].into_iter().for_each(|id| bench.commit(id, this));
        bench.pass(200_000);
    }
    assert_eq!(bench.replica.committed(), Seq(4));
    assert_eq!(bench.replica.view(), View(1));
}

#[test]
fn one_proof_against_a_replica_is_shown_and_a_thousand_more_are_not() {
    let mut bench = Bench::new(4, 1);
    for tag in 0..10 {
        bench.prepare(2, vote(0, 1, Digest([tag; 32])));
    }
    assert_eq!(bench.alarms.len(), 1);
    bench.prepare(3, vote(0, 1, Digest([1; 32])));
    bench.prepare(3, vote(0, 1, Digest([2; 32])));
    assert_eq!(bench.alarms.len(), 2);
}

#[test]
fn a_body_goes_to_the_journal_once_however_many_views_vote_for_it() {
    let mut bench = Bench::new(4, 3);
    let body = bench.body(1);
    bench.pre_prepare(vote(0, 1, body.digest), Some(&body));
    bench.prepare(1, vote(0, 1, body.digest));
    let certificate = bench.certificate(vote(0, 1, body.digest), &[0, 1, 2]);
    let leaving: Vec<_> = (0..3).map(|id| bench.view_change(id, 1, vec![certificate.clone()])).collect();
    for message in &leaving {
        bench.step(Event::ViewChange(message.clone()));
    }
    bench.step(Event::NewView(bench.new_view(1, &leaving.iter().collect::<Vec<_>>())));
    assert_eq!(bench.prepares(), [vote(0, 1, body.digest), vote(1, 1, body.digest)]);
    assert_eq!(bench.bodies_kept, [body.digest]);
}

#[test]
fn new_views_that_name_nothing_there_is_make_nobody_flood() {
    let mut bench = Bench::new(4, 0);
    for round in 0..100_u64 {
        let named: Vec<_> = (0..3_u16)
            .map(|id| {
                (ReplicaId(id), Digest([u8::try_from(round).unwrap() + 50 * u8::try_from(id).unwrap(); 32]))
            })
            .collect();
        let nv = bench.sign(1, NewView { view: View(1), view_changes: List(named) });
        bench.step(Event::NewView(nv));
        bench.now = bench.now.plus(1_000);
        if bench.replica.deadline().is_some_and(|at| at <= bench.now) {
            bench.step(Event::Timeout);
        }
    }
    let asked = bench.relayed().iter().filter(|m| matches!(m, PeerMessage::FetchViewChange { .. })).count();
    assert!(asked <= 20, "asked everybody {asked} times in 100 ms");
}
