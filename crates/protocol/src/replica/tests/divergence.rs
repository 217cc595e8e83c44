//! C10 and the end of D30: a replica whose own past speaks against it. K = 4, a window of 8.

use super::*;
use crate::standing::{Divergence, Exclusion, Proof};

const RIGHT: Digest = Digest([8; 32]);
const WRONG: Digest = Digest([7; 32]);

fn checkpoint(seq: u64, root: Digest) -> Checkpoint {
    Checkpoint { seq: Seq(seq), root, epoch_end: Seq::MAX }
}

fn says(bench: &mut Bench, id: u16, seq: u64, root: Digest) {
    let vote = bench.sign(id, checkpoint(seq, root));
    bench.step(Event::Checkpoint(vote));
}

/// Commits slots, the last of which has this root here; the executor reports each.
fn execute(bench: &mut Bench, slots: std::ops::RangeInclusive<u64>, root: Digest) {
    let last = *slots.end();
    for seq in slots {
        let body = bench.body(seq);
        let this = vote(0, seq, body.digest);
        bench.pre_prepare(this, Some(&body));
        [0, 2, 3].into_iter().for_each(|id| bench.commit(id, this));
        let root = (seq == last).then_some(root);
        bench.step(Event::Executed { seq: Seq(seq), root });
    }
}

fn stable(bench: &mut Bench, seq: u64) {
    let certificate = Verified::vouch(bench.certificate(checkpoint(seq, RIGHT), &[0, 2, 3]));
    bench.step(Event::StableCertificate(certificate));
}

/// Whether it said anything that only a replica in good standing may say.
fn spoke(bench: &Bench) -> bool {
    bench.said.iter().any(|say| !matches!(say, Say::Relay(_)))
}

/// Replica 1 was right at slot 4 and is wrong at slot 8, which replicas 0 and 2 prove to it.
fn outvoted() -> Bench {
    let mut bench = Bench::new(4, 1);
    execute(&mut bench, 1..=4, RIGHT);
    stable(&mut bench, 4);
    execute(&mut bench, 5..=8, WRONG);
    says(&mut bench, 0, 8, RIGHT);
    assert_eq!(bench.replica.status(), Status::Normal, "one may be a liar");
    says(&mut bench, 2, 8, RIGHT);
    bench
}

#[test]
fn c10_whom_f_plus_1_contradict_says_nothing_any_more_and_keeps_the_proof() {
    let mut bench = outvoted();
    let divergence = Divergence { seq: Seq(8), ours: WRONG, theirs: RIGHT };
    assert_eq!(bench.replica.status(), Status::Diverged);
    assert_eq!(bench.standings, [Standing::Diverged { divergence, mended: false }], "before all else");
    assert!(matches!(bench.alarms[..], [Alarm::Diverged { seq: Seq(8), again: false, .. }]));
    let [evidence] = &bench.evidence[..] else { panic!("{:?}", bench.evidence) };
    assert_eq!((evidence.divergence, evidence.agreed), (divergence, Seq(4)));
    let voters: Vec<u16> = evidence.votes.iter().map(|vote| vote.signer.0).collect();
    assert_eq!((&voters[..], &evidence.certificate), (&[0, 2][..], &None));
    let slots: Vec<u64> = evidence.batches.0.iter().map(|(seq, _)| seq.0).collect();
    assert_eq!(slots, [5, 6, 7, 8], "everything since it was right");
    assert!(evidence.batches.0.iter().all(|(seq, body)| *body == Some(bench.body(seq.0))));

    bench.said.clear();
    let body = bench.body(9);
    let this = vote(0, 9, body.digest);
    bench.pre_prepare(this, Some(&body));
    [0, 2, 3].into_iter().for_each(|id| bench.prepare(id, this));
    [0, 2, 3].into_iter().for_each(|id| bench.commit(id, this));
    for id in [0, 2, 3] {
        bench.step(Event::ViewChange(bench.view_change(id, 5, Vec::new())));
    }
    bench.step(Event::Executed { seq: Seq(8), root: Some(WRONG) });
    bench.pass(60_000_000);
    assert!(!spoke(&bench), "{:?}", bench.said);
    assert_eq!(bench.executed.len(), 8, "what follows from a wrong state is of no use");
    assert!(bench.installs.is_empty() && !bench.replica.behind(), "nothing is certified yet");
    let asks = bench.relayed();
    let asks = asks.iter().filter(|message| matches!(message, PeerMessage::Status(_)));
    assert!(asks.count() > 100, "it asks until something is");
    assert!(matches!(bench.replica.waits(bench.now)[0].reason, Reason::Diverged { stable: Seq(4), .. }));
}

#[test]
fn c10_it_votes_again_in_its_view_once_it_has_the_certified_state() {
    let mut bench = outvoted();
    let body = bench.body(9);
    let this = vote(0, 9, body.digest);
    bench.pre_prepare(this, Some(&body));
    bench.said.clear();
    stable(&mut bench, 8);
    assert_eq!(bench.installs, [Seq(8)]);
    assert!(bench.replica.behind() && bench.replica.lost_its_place(), "no log helps, only a state");
    // One that was under way when it found out is certified, but leads to where it went wrong.
    bench.step(Event::Installed { seq: Seq(4), root: RIGHT });
    assert_eq!((bench.replica.status(), spoke(&bench)), (Status::Diverged, false));
    bench.step(Event::Installed { seq: Seq(8), root: RIGHT });
    let divergence = Divergence { seq: Seq(8), ours: WRONG, theirs: RIGHT };
    assert_eq!(bench.standings.last(), Some(&Standing::Diverged { divergence, mended: true }));
    assert_eq!((bench.replica.status(), bench.replica.view()), (Status::Normal, View(0)));
    assert!(bench.prepares().contains(&this), "what was proposed meanwhile has its vote now");
    assert!(
        !bench.said.contains(&Say::Checkpoint(checkpoint(8, RIGHT))),
        "it does not contradict what it signed"
    );
    [0, 2, 3].into_iter().for_each(|id| bench.prepare(id, this));
    [0, 2, 3].into_iter().for_each(|id| bench.commit(id, this));
    assert_eq!((bench.executed.last(), bench.commits().len()), (Some(&Seq(9)), 1));
}

#[test]
fn c10_what_it_had_executed_beyond_the_certified_state_executes_again() {
    let mut bench = Bench::new(4, 1);
    execute(&mut bench, 1..=4, WRONG);
    execute(&mut bench, 5..=6, WRONG);
    bench.executed.clear();
    stable(&mut bench, 4);
    assert_eq!((bench.replica.status(), &bench.installs[..]), (Status::Diverged, &[Seq(4)][..]));
    assert_eq!(bench.evidence[0].certificate.as_ref().unwrap().statement, checkpoint(4, RIGHT));
    bench.step(Event::Installed { seq: Seq(4), root: RIGHT });
    assert_eq!(bench.executed, [Seq(5), Seq(6)]);
    bench.step(Event::Executed { seq: Seq(6), root: None });
    assert_eq!(bench.replica.executed(), Seq(6));
}

#[test]
fn c10_a_checkpoint_that_a_slow_executor_reaches_late_is_compared_too() {
    let mut bench = Bench::new(4, 1);
    for seq in 1..=4 {
        let body = bench.body(seq);
        let this = vote(0, seq, body.digest);
        bench.pre_prepare(this, Some(&body));
        [0, 2, 3].into_iter().for_each(|id| bench.commit(id, this));
    }
    stable(&mut bench, 4);
    assert_eq!(bench.replica.status(), Status::Normal);
    bench.step(Event::Executed { seq: Seq(4), root: Some(WRONG) });
    assert_eq!((bench.replica.status(), &bench.installs[..]), (Status::Diverged, &[Seq(4)][..]));
    assert_eq!(bench.evidence[0].batches.0.len(), 4, "the log keeps what executed for another interval");
}

#[test]
fn c10_who_is_wrong_a_second_time_stays_out() {
    let mut bench = outvoted();
    stable(&mut bench, 8);
    bench.step(Event::Installed { seq: Seq(8), root: RIGHT });
    execute(&mut bench, 9..=12, WRONG);
    stable(&mut bench, 12);
    let divergence = Divergence { seq: Seq(12), ours: WRONG, theirs: RIGHT };
    assert_eq!(bench.standings.last(), Some(&Standing::Out(Exclusion::DivergedAgain(divergence))));
    assert_eq!(bench.replica.status(), Status::Halted);
    assert!(matches!(bench.alarms.last(), Some(Alarm::Diverged { again: true, .. })));
    assert_eq!(bench.evidence.len(), 2);
}

#[test]
fn c10_states_that_differ_everywhere_are_told_and_stop_nobody_who_may_be_right() {
    let mut bench = Bench::new(4, 1);
    execute(&mut bench, 1..=4, RIGHT);
    says(&mut bench, 0, 4, Digest([1; 32]));
    assert!(bench.alarms.is_empty(), "the two others may agree with this one");
    says(&mut bench, 2, 4, Digest([2; 32]));
    assert!(matches!(bench.alarms[..], [Alarm::Split { seq: Seq(4) }]));
    says(&mut bench, 3, 4, Digest([3; 32]));
    assert_eq!((bench.alarms.len(), bench.replica.status()), (1, Status::Normal));
    let [evidence] = &bench.evidence[..] else { panic!("{:?}", bench.evidence) };
    assert_eq!((evidence.proven, evidence.agreed, evidence.batches.0.len()), (false, Seq(0), 4));
    assert_eq!(evidence.votes.len(), 3, "its own among them");
}

#[test]
fn c10_f_wrong_replicas_pull_nobody_along() {
    for (n, liars) in [(4, vec![3]), (7, vec![5, 6])] {
        let mut bench = Bench::new(n, 1);
        for seq in 1..=4 {
            let body = bench.body(seq);
            let this = vote(0, seq, body.digest);
            bench.pre_prepare(this, Some(&body));
            (0..n).filter(|id| *id != 1).for_each(|id| bench.commit(id, this));
            bench.step(Event::Executed { seq: Seq(seq), root: (seq == 4).then_some(RIGHT) });
        }
        for liar in liars {
            says(&mut bench, liar, 4, WRONG);
        }
        assert!(bench.alarms.is_empty() && bench.replica.status() == Status::Normal, "n = {n}");
        (0..n).filter(|id| *id != 1).for_each(|id| says(&mut bench, id, 4, RIGHT));
        assert_eq!((bench.replica.watermarks().0, bench.standings.len()), (Seq(4), 0), "n = {n}");
    }
}

/// Replica 1 comes back with what its superblock says of its word, and the state and the records it has.
fn back(standing: Standing, state: (Seq, Digest), stable_at: u64) -> Bench {
    let mut bench = Bench::new(4, 1);
    let mut records = Vec::new();
    if stable_at > 0 {
        let certificate = bench.certificate(checkpoint(stable_at, RIGHT), &[0, 2, 3]);
        records.push((Record::Stable(certificate), None));
    }
    let body = bench.body(9);
    records.push((Record::Body { seq: Seq(9), body: Arc::clone(&body) }, None));
    records.push((Record::Vote { prepare: vote(0, 9, body.digest), primary: None }, None));
    let memory = Memory {
        records,
        position: Position(9),
        promised: (View(0), Seq(16)),
        state: Some(state),
        standing,
        ..Memory::default()
    };
    let mut effects = Vec::new();
    let context = bench.context.clone();
    bench.replica = Replica::recover(context, ReplicaId(1), memory, bench.now, &mut effects).unwrap();
    for effect in effects {
        match effect {
            Effect::Send { message, .. } => bench.said.push(message),
            Effect::Install(certificate) => bench.installs.push(certificate.statement.seq),
            Effect::Execute { seq, .. } => bench.executed.push(seq),
            _ => {}
        }
    }
    bench
}

#[test]
fn c10_a_restart_in_the_middle_goes_on_with_the_state_of_the_others() {
    let divergence = Divergence { seq: Seq(8), ours: WRONG, theirs: RIGHT };
    let mut bench = back(Standing::Diverged { divergence, mended: false }, (Seq(4), RIGHT), 8);
    assert_eq!(
        (bench.replica.status(), &bench.installs[..], spoke(&bench)),
        (Status::Diverged, &[Seq(8)][..], false)
    );
    bench.step(Event::Installed { seq: Seq(8), root: RIGHT });
    assert_eq!(bench.replica.status(), Status::Normal);
    let again = vote(0, 9, bench.body(9).digest);
    assert!(bench.prepares().contains(&again), "it says again what it had said before it went down");
    // The next time is the second time, whatever lay in between.
    let mut bench = back(Standing::Diverged { divergence, mended: true }, (Seq(8), RIGHT), 8);
    assert!(spoke(&bench) && bench.replica.status() == Status::Normal);
    execute(&mut bench, 9..=12, WRONG);
    stable(&mut bench, 12);
    assert_eq!(bench.replica.status(), Status::Halted);
}

#[test]
fn c9_who_is_out_executes_and_serves_and_never_votes_again() {
    let out = Exclusion::Unremembered { view: View(3), seq: Seq(5), wrong: None };
    let mut bench = back(Standing::Out(out), (Seq(8), RIGHT), 8);
    assert_eq!(bench.replica.status(), Status::Out);
    // What others hold of it beyond its memory it has known since.
    let commit = Commit { view: View(0), seq: Seq(9), digest: bench.body(9).digest };
    let certificate = Verified::vouch(bench.certificate(commit, &[0, 1, 2]));
    bench.step(Event::CommitCertificate(certificate));
    assert_eq!((bench.executed.as_slice(), bench.replica.status()), (&[Seq(9)][..], Status::Out));
    bench.step(Event::Executed { seq: Seq(9), root: None });
    execute(&mut bench, 10..=12, RIGHT);
    assert_eq!(bench.executed.last(), Some(&Seq(12)));
    for id in [0, 2, 3] {
        bench.step(Event::ViewChange(bench.view_change(id, 1, Vec::new())));
    }
    let named: Vec<_> = [0, 2, 3].map(|id| bench.view_change(id, 1, Vec::new())).into_iter().collect();
    bench.step(Event::NewView(bench.new_view(1, &named.iter().collect::<Vec<_>>())));
    let waiting = signed_request(&bench, 1);
    bench.step(Event::Requests { requests: vec![waiting], forwarded_by: None });
    bench.pass(60_000_000);
    assert!(!spoke(&bench), "{:?}", bench.said);
    // It has what a replica lacks that was away, and of its own words nothing.
    bench.said.clear();
    let digest = bench.body(11).digest;
    bench.step(Event::FetchBody { from: ReplicaId(2), seq: Seq(11), digest });
    assert_eq!(bench.relayed().len(), 1);
    assert!(matches!(bench.replica.waits(bench.now)[0].reason, Reason::Out { .. }));
    stable(&mut bench, 12);
    assert_eq!((bench.replica.watermarks().0, bench.replica.behind()), (Seq(12), false));
}

#[test]
fn c9_who_halts_says_so_on_its_disk_in_the_same_step() {
    let mut bench = Bench::new(4, 1);
    bench.step(Event::ViewChange(bench.view_change(1, 1, Vec::new())));
    let why = Exclusion::Unremembered { view: View(1), seq: Seq(0), wrong: None };
    assert_eq!((bench.replica.status(), &bench.standings[..]), (Status::Halted, &[Standing::Out(why)][..]));
    let mut bench = Bench::new(4, 1);
    let committed = |bench: &Bench, digest| {
        let commit = Commit { view: View(0), seq: Seq(1), digest };
        Verified::vouch(bench.certificate(commit, &[0, 2, 3]))
    };
    let certificates = [committed(&bench, Digest([3; 32])), committed(&bench, Digest([4; 32]))];
    certificates.into_iter().for_each(|certificate| bench.step(Event::CommitCertificate(certificate)));
    let (one, other) = (Digest([3; 32]), Digest([4; 32]));
    let why = Exclusion::Contradiction { seq: Seq(1), one, other, wrong: None };
    assert_eq!((bench.replica.status(), &bench.standings[..]), (Status::Halted, &[Standing::Out(why)][..]));
    let [evidence] = &bench.evidence[..] else { panic!("{:?}", bench.evidence) };
    let proven = |proof: &Proof| match proof {
        Proof::Committed(certificate) => (certificate.statement.digest, certificate.signatures.len()),
        other => panic!("{other:?}"),
    };
    assert_eq!(evidence.conflict.iter().map(proven).collect::<Vec<_>>(), [(one, 3), (other, 3)]);
}

#[test]
fn a_checkpoint_may_be_at_any_slot_of_the_window_and_takes_one_place_for_each_replica() {
    let mut bench = Bench::new(4, 1);
    execute(&mut bench, 1..=3, RIGHT);
    for root in [RIGHT, WRONG] {
        (1..=40).for_each(|seq| says(&mut bench, 3, seq, root));
    }
    let kept = bench.replica.footprint();
    assert_eq!(
        (kept.checkpoints, kept.far_checkpoints),
        (8, 1),
        "no more than a window, and the newest beyond it"
    );
    [0, 2].into_iter().for_each(|id| says(&mut bench, id, 3, RIGHT));
    assert_eq!(bench.replica.watermarks(), (Seq(3), Seq(11)), "three votes of a quorum, one of them its own");
    assert!(bench.alarms.iter().all(|alarm| matches!(alarm, Alarm::ConflictingCheckpoints(..))));
    assert_eq!(bench.replica.status(), Status::Normal);
}

/// What the mended replica does about slot 9, which prepared while it was mute.
fn mended_after_slot_9_prepared(mut bench: Bench, with_body: bool) -> Vec<Effect> {
    let body = bench.body(9);
    let this = vote(0, 9, body.digest);
    bench.pre_prepare(this, with_body.then_some(&body));
    [0, 2, 3].into_iter().for_each(|id| bench.prepare(id, this));
    stable(&mut bench, 8);
    let mut effects = Vec::new();
    bench.replica.step(bench.now, Event::Installed { seq: Seq(8), root: RIGHT }, &mut effects);
    effects
}

fn is_commit(effect: &Effect) -> bool {
    matches!(effect, Effect::Send { message: Say::Commit(_), .. })
}

#[test]
fn c10_a_mended_replica_commits_to_what_prepared_meanwhile_with_a_record_of_it() {
    let effects = mended_after_slot_9_prepared(outvoted(), true);
    let record = effects.iter().position(|effect| matches!(effect, Effect::Persist(Record::Prepared(_))));
    let commit = effects.iter().position(is_commit);
    assert!(commit.is_some() && record.is_some() && record < commit, "{record:?} {commit:?}");
}

#[test]
fn c10_a_mended_replica_commits_to_no_batch_that_it_does_not_hold() {
    let effects = mended_after_slot_9_prepared(outvoted(), false);
    assert!(!effects.iter().any(is_commit), "{effects:?}");
}

#[test]
fn c10_a_mended_replica_that_forgot_promises_keeps_to_its_box() {
    let mut bench = Bench::new(4, 1);
    let divergence = Divergence { seq: Seq(8), ours: WRONG, theirs: RIGHT };
    let memory = Memory {
        position: Position(9),
        promised: (View(0), Seq(16)),
        state: Some((Seq(4), RIGHT)),
        standing: Standing::Diverged { divergence, mended: false },
        amnesia: Some(AmnesiaBox { epoch: Epoch(0), view: View(0), high: Seq(16) }),
        records: vec![(Record::Stable(bench.certificate(checkpoint(4, RIGHT), &[0, 2, 3])), None)],
        ..Memory::default()
    };
    let mut effects = Vec::new();
    bench.replica =
        Replica::recover(bench.context.clone(), ReplicaId(1), memory, bench.now, &mut effects).unwrap();
    let effects = mended_after_slot_9_prepared(bench, true);
    let says_prepare = |effect: &Effect| matches!(effect, Effect::Send { message: Say::Prepare(_), .. });
    assert!(!effects.iter().any(|effect| is_commit(effect) || says_prepare(effect)), "{effects:?}");
}

#[test]
fn c10_a_diverged_replica_that_restarts_knows_its_own_commits() {
    for mended in [true, false] {
        let mut bench = Bench::new(4, 1);
        let divergence = Divergence { seq: Seq(8), ours: WRONG, theirs: RIGHT };
        let body = bench.body(9);
        let this = vote(0, 9, body.digest);
        let records = vec![
            (Record::Stable(bench.certificate(checkpoint(8, RIGHT), &[0, 2, 3])), None),
            (Record::Body { seq: Seq(9), body: Arc::clone(&body) }, None),
            (Record::Vote { prepare: this, primary: None }, None),
            (Record::Prepared(bench.certificate(this, &[0, 1, 2])), None),
        ];
        let memory = Memory {
            records,
            position: Position(9),
            promised: (View(0), Seq(16)),
            state: Some((Seq(if mended { 8 } else { 4 }), RIGHT)),
            standing: Standing::Diverged { divergence, mended },
            ..Memory::default()
        };
        let mut effects = Vec::new();
        bench.replica =
            Replica::recover(bench.context.clone(), ReplicaId(1), memory, bench.now, &mut effects).unwrap();
        let commit = Commit { view: View(0), seq: Seq(9), digest: body.digest };
        bench.step(Event::CommitCertificate(Verified::vouch(bench.certificate(commit, &[0, 1, 2]))));
        let standing = bench.replica.standing();
        assert!(!matches!(standing, Standing::Out(_)), "mended {mended}: {standing:?}");
    }
}

#[test]
fn c9_two_certificates_that_exclude_each_other_halt_it_after_a_restart_too() {
    let why = Exclusion::Contradiction { seq: Seq(7), one: RIGHT, other: WRONG, wrong: None };
    let mut bench = back(Standing::Out(why), (Seq(8), RIGHT), 8);
    assert_eq!((bench.replica.status(), bench.said.len(), bench.installs.len()), (Status::Halted, 0, 0));
    let commit = Commit { view: View(0), seq: Seq(9), digest: bench.body(9).digest };
    let certificate = Verified::vouch(bench.certificate(commit, &[0, 2, 3]));
    bench.step(Event::CommitCertificate(certificate));
    bench.pass(60_000_000);
    assert_eq!((bench.executed.len(), bench.said.len()), (0, 0), "nobody knows what would be right");
    let said = &bench.replica.waits(bench.now)[0].reason;
    let alarm = Alarm::Agreement { seq: Seq(7), one: RIGHT, other: WRONG };
    assert_eq!(said, &Reason::Halted { alarm: Some(alarm) }, "and it says why");
}

#[test]
fn c9_who_is_out_for_its_own_reasons_halts_for_good_when_too_many_are_faulty() {
    let out = Exclusion::Unremembered { view: View(3), seq: Seq(5), wrong: None };
    let mut bench = back(Standing::Out(out), (Seq(8), RIGHT), 8);
    let (one, other) = (Digest([3; 32]), Digest([4; 32]));
    for digest in [one, other] {
        let commit = Commit { view: View(0), seq: Seq(10), digest };
        bench.step(Event::CommitCertificate(Verified::vouch(bench.certificate(commit, &[0, 2, 3]))));
    }
    let why = Exclusion::Contradiction { seq: Seq(10), one, other, wrong: None };
    assert_eq!(bench.standings, [Standing::Out(why)]);
}

#[test]
fn c10_who_is_out_after_it_was_wrong_remembers_where_its_states_are_wrong() {
    let mut bench = outvoted();
    let divergence = Divergence { seq: Seq(8), ours: WRONG, theirs: RIGHT };
    bench.step(Event::ViewChange(bench.view_change(1, 1, Vec::new())));
    let why = Exclusion::Unremembered { view: View(1), seq: Seq(0), wrong: Some(divergence) };
    assert_eq!(bench.standings.last(), Some(&Standing::Out(why)));
    assert_eq!(Standing::Out(why).unmended(), Some(divergence));
}

#[test]
fn c10_what_was_never_compared_with_a_certificate_is_not_said_to_have_been_right() {
    for known in [0, 8] {
        let mut bench = Bench::new(4, 1);
        let memory = Memory {
            records: vec![(Record::Stable(bench.certificate(checkpoint(8, RIGHT), &[0, 2, 3])), None)],
            promised: (View(0), Seq(16)),
            state: Some((Seq(12), WRONG)),
            agreed: Seq(known),
            ..Memory::default()
        };
        let context = bench.context.clone();
        bench.replica = Replica::recover(context, ReplicaId(1), memory, bench.now, &mut Vec::new()).unwrap();
        says(&mut bench, 0, 12, RIGHT);
        says(&mut bench, 2, 12, RIGHT);
        let [evidence] = &bench.evidence[..] else { panic!("{:?}", bench.evidence) };
        assert_eq!((evidence.divergence.seq, evidence.agreed), (Seq(12), Seq(known)));
    }
}

/// It had said CHECKPOINT for slots 4 and 8 from a wrong state, and slot 4 proved that. It was mended at slot 4 and kept
/// silent about slot 8; then it restarts, and remembers none of its CHECKPOINTs.
#[test]
fn c10_a_mended_replica_that_restarts_takes_back_no_later_checkpoint_and_votes_beyond_those_again() {
    let mut bench = Bench::new(4, 1);
    execute(&mut bench, 1..=4, WRONG);
    execute(&mut bench, 5..=8, WRONG);
    assert!(bench.said.contains(&Say::Checkpoint(checkpoint(8, WRONG))));
    stable(&mut bench, 4);
    bench.step(Event::Installed { seq: Seq(4), root: RIGHT });
    bench.step(Event::Executed { seq: Seq(8), root: Some(RIGHT) });
    assert!(!bench.said.contains(&Say::Checkpoint(checkpoint(8, RIGHT))), "it does not take it back");
    let mut bench = back(bench.replica.standing(), (Seq(8), RIGHT), 4);
    assert!(!bench.said.contains(&Say::Checkpoint(checkpoint(8, RIGHT))), "nor after a restart");
    // It may have voted up to slot 12, a window beyond the one at which it was found to be wrong.
    stable(&mut bench, 8);
    execute(&mut bench, 9..=12, RIGHT);
    execute(&mut bench, 13..=13, RIGHT);
    let said = |seq| bench.said.contains(&Say::Checkpoint(checkpoint(seq, RIGHT)));
    assert!(!said(12) && said(13), "{:?}", bench.said);
}

/// A restart while it is mute forgets as much.
#[test]
fn c10_a_replica_that_restarts_before_it_is_mended_takes_back_no_later_checkpoint() {
    let divergence = Divergence { seq: Seq(4), ours: WRONG, theirs: RIGHT };
    let mut bench = back(Standing::Diverged { divergence, mended: false }, (Seq(0), RIGHT), 4);
    bench.step(Event::Installed { seq: Seq(4), root: RIGHT });
    assert_eq!(bench.replica.status(), Status::Normal);
    execute(&mut bench, 5..=8, RIGHT);
    assert!(!bench.said.contains(&Say::Checkpoint(checkpoint(8, RIGHT))), "{:?}", bench.said);
    // A replica that was wrong long ago is as good as any other: its silence is over for good.
    let mut bench = back(Standing::Diverged { divergence, mended: true }, (Seq(12), RIGHT), 12);
    execute(&mut bench, 13..=16, RIGHT);
    assert!(bench.said.contains(&Say::Checkpoint(checkpoint(16, RIGHT))));
}

#[test]
fn c10_a_checkpoint_of_its_own_beyond_the_window_silences_it_at_no_other_slot() {
    let mut bench = Bench::new(4, 1);
    says(&mut bench, 1, 40, WRONG);
    assert_eq!(bench.replica.footprint().far_checkpoints, 1);
    execute(&mut bench, 1..=4, RIGHT);
    assert!(bench.said.contains(&Say::Checkpoint(checkpoint(4, RIGHT))), "{:?}", bench.said);
}
