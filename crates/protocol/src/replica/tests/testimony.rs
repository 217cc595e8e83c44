//! F5: who lies is found out, whoever was told what; and who does not is never accused.

use super::*;
use crate::accusation::Offence;
use crate::message::{Checkpoint, SWORN_MAX, Sworn};
use crate::standing::Divergence;

fn shown(bench: &Bench) -> Vec<Sworn> {
    let messages = bench.relayed().into_iter();
    let testimony = messages
        .filter_map(|message| if let PeerMessage::Testimony(sworn) = message { Some(sworn) } else { None });
    testimony.flat_map(|sworn| sworn.iter().cloned()).collect()
}

/// Messages in which something was shown.
fn testimonies(bench: &Bench) -> usize {
    bench.relayed().iter().filter(|message| matches!(message, PeerMessage::Testimony(_))).count()
}

fn show(bench: &mut Bench, sworn: Sworn) {
    assert!(bench.replica.is_evidence(&sworn), "the border lets it in: {sworn:?}");
    bench.step(Event::Testimony(Verified::vouch(List(vec![sworn]))));
}

/// The one accusation that was raised: of what, and of whom; everything about it holds.
fn accused(bench: &Bench) -> (Offence, u16) {
    let found: Vec<_> = bench.alarms.iter().filter_map(Alarm::accusation).collect();
    let [accusation] = &found[..] else { panic!("{:?}", bench.alarms) };
    assert_eq!(accusation.check(&bench.context), Ok(()));
    (accusation.offence(), accusation.culprit().0)
}

#[test]
fn f5_a_proposal_that_others_did_not_get_is_shown_and_whoever_got_another_one_has_proof() {
    let mut deceived = Bench::new(4, 1);
    let (body, other) = (deceived.body(1), deceived.body(2));
    deceived.pre_prepare(vote(0, 1, body.digest), Some(&body));
    assert!(shown(&deceived).is_empty(), "nothing is odd yet");
    let odd = deceived.sign(2, vote(0, 1, other.digest));
    assert_eq!(deceived.replica.need_prepare(&odd), Need::Now, "what does not fit is looked at, alone");
    deceived.prepare(2, vote(0, 1, other.digest));
    let sworn = shown(&deceived);
    let proposal = sworn.iter().find(|sworn| sworn.signer() == ReplicaId(0)).unwrap();
    assert!(matches!(proposal, Sworn::Prepare(held) if held.digest == body.digest));
    // Replica 3 was sent the other one.
    let mut witness = Bench::new(4, 3);
    witness.pre_prepare(vote(0, 1, other.digest), Some(&other));
    show(&mut witness, proposal.clone());
    assert_eq!(accused(&witness), (Offence::Prepares, 0));
    assert!(!witness.replica.is_evidence(proposal), "one proof is enough");
    // Whoever voted as it was proposed to him is accused by nobody.
    assert!(deceived.alarms.is_empty());
}

#[test]
fn f5_a_proposal_that_others_did_not_get_is_shown_when_another_batch_commits() {
    let mut deceived = Bench::new(4, 1);
    let (body, other) = (deceived.body(1), deceived.body(2));
    deceived.pre_prepare(vote(0, 1, body.digest), Some(&body));
    let certificate = Commit { view: View(0), seq: Seq(1), digest: other.digest };
    let certificate = Verified::vouch(deceived.certificate(certificate, &[0, 2, 3]));
    deceived.step(Event::CommitCertificate(certificate));
    assert!(matches!(&shown(&deceived)[..], [Sworn::Prepare(held), ..] if held.signer == ReplicaId(0)));
}

#[test]
fn f5_two_votes_that_two_replicas_were_sent_meet_although_their_slot_is_decided() {
    let mut bench = Bench::new(4, 1);
    let (body, other) = (bench.body(1), bench.body(2));
    let this = vote(0, 1, body.digest);
    bench.pre_prepare(this, Some(&body));
    [0, 2, 3].into_iter().for_each(|id| bench.prepare(id, this));
    [0, 2, 3].into_iter().for_each(|id| bench.commit(id, this));
    assert_eq!(bench.executed, [Seq(1)]);
    // What replica 3 told somebody else.
    let prepare = Sworn::Prepare(bench.sign(3, vote(0, 1, other.digest)).into_inner());
    let commit = Commit { view: View(0), seq: Seq(1), digest: other.digest };
    let commit = Sworn::Commit(bench.sign(3, commit).into_inner());
    show(&mut bench, prepare);
    assert_eq!(accused(&bench), (Offence::Prepares, 3));
    bench.alarms.clear();
    show(&mut bench, commit);
    assert_eq!(accused(&bench), (Offence::Commits, 3));
    assert!(shown(&bench).is_empty(), "nothing that came here itself is odd");
}

#[test]
fn f5_a_vote_that_is_not_what_a_quorum_decided_is_shown_once_in_a_while() {
    let mut bench = Bench::new(4, 1);
    let (body, other) = (bench.body(1), bench.body(2));
    for seq in 1..=3 {
        let this = vote(0, seq, body.digest);
        bench.pre_prepare(this, Some(&body));
        [0, 2].into_iter().for_each(|id| bench.prepare(id, this));
        [0, 2].into_iter().for_each(|id| bench.commit(id, this));
        let odd = Commit { view: View(0), seq: Seq(seq), digest: other.digest };
        let odd = bench.sign(3, odd);
        assert_eq!(bench.replica.need_commit(&odd), Need::Now);
        bench.step(Event::Commit(odd));
    }
    assert_eq!(shown(&bench).len(), 1, "{:?}", shown(&bench));
    bench.pass(49_999);
    assert_eq!((testimonies(&bench), shown(&bench).len()), (1, 1), "the others wait");
    bench.pass(50_001);
    assert_eq!((testimonies(&bench), shown(&bench).len()), (2, 3), "and are shown together");
    let this = vote(0, 4, body.digest);
    bench.pre_prepare(this, Some(&body));
    [0, 2].into_iter().for_each(|id| bench.prepare(id, this));
    bench.commit(3, vote(0, 4, other.digest));
    assert_eq!((testimonies(&bench), shown(&bench).len()), (3, 4));
    assert!(bench.alarms.is_empty(), "a strange vote is no proof");
}

#[test]
fn f5_two_checkpoints_meet_although_one_came_late() {
    let root = |root| Checkpoint { seq: Seq(4), root, epoch_end: Seq::MAX };
    let (right, wrong) = (root(Digest([8; 32])), root(Digest([7; 32])));
    let mut bench = Bench::new(4, 1);
    for id in [0, 2, 3] {
        let vote = bench.sign(id, right);
        bench.step(Event::Checkpoint(vote));
    }
    assert_eq!(bench.replica.watermarks().0, Seq(4));
    let late = bench.sign(3, wrong);
    assert!(bench.replica.needs_checkpoint(&late));
    bench.step(Event::Checkpoint(late));
    assert_eq!(accused(&bench), (Offence::Checkpoints, 3));
    // Whoever has only the wrong one shows it.
    let mut bench = Bench::new(4, 1);
    let vote = bench.sign(3, wrong);
    bench.step(Event::Checkpoint(vote));
    let certificate = Verified::vouch(bench.certificate(right, &[0, 1, 2]));
    bench.step(Event::StableCertificate(certificate));
    assert!(matches!(&shown(&bench)[..], [Sworn::Checkpoint(vote)] if vote.signer == ReplicaId(3)));
}

#[test]
fn f5_a_second_view_change_for_one_view_is_evidence_even_if_no_new_view_names_it() {
    let mut bench = Bench::new(4, 1);
    let body = bench.body(1);
    let certificate = bench.certificate(vote(0, 1, body.digest), &[0, 2, 3]);
    let (empty, full) = (bench.view_change(3, 5, Vec::new()), bench.view_change(3, 5, vec![certificate]));
    bench.step(Event::ViewChange(empty.clone()));
    assert!(!bench.replica.needs_view_change(&empty) && bench.replica.needs_view_change(&full));
    bench.step(Event::ViewChange(full.clone()));
    assert_eq!(accused(&bench), (Offence::ViewChanges, 3));
    assert!(!bench.replica.needs_view_change(&full), "one proof is enough");
}

#[test]
fn f5_a_second_new_view_is_evidence_and_what_opened_a_view_is_shown() {
    let mut bench = Bench::new(4, 2);
    let messages: Vec<_> = [0, 1, 2, 3].map(|id| bench.view_change(id, 1, Vec::new())).into();
    messages.iter().for_each(|message| bench.step(Event::ViewChange(message.clone())));
    let [a, b, c, d] = &messages[..] else { unreachable!("there are four") };
    let (first, second) = (bench.new_view(1, &[a, b, c]), bench.new_view(1, &[a, b, d]));
    bench.step(Event::NewView(first));
    assert_eq!((bench.replica.view(), bench.replica.status()), (View(1), Status::Normal));
    let sworn = shown(&bench);
    let unnamed =
        sworn.iter().filter(|sworn| matches!(sworn, Sworn::ViewChange(held) if held.signer == ReplicaId(3)));
    assert_eq!((sworn.len(), unnamed.count()), (2, 1), "the NEW-VIEW, and the VIEW-CHANGE it does not name");
    assert!(bench.replica.needs_new_view(&second));
    bench.step(Event::NewView(second));
    assert_eq!(accused(&bench), (Offence::NewViews, 1));
    assert_eq!(bench.replica.view(), View(1), "and it changes nothing");
}

#[test]
fn f5_a_view_change_without_what_its_sender_committed_to_is_evidence_in_either_order() {
    for commit_first in [true, false] {
        let mut bench = Bench::new(4, 1);
        let body = bench.body(1);
        let empty = bench.view_change(3, 5, Vec::new());
        if commit_first {
            bench.commit(3, vote(0, 1, body.digest));
        }
        bench.step(Event::ViewChange(empty));
        if !commit_first {
            assert!(bench.alarms.is_empty());
            bench.commit(3, vote(0, 1, body.digest));
        }
        assert_eq!(accused(&bench), (Offence::Withheld, 3));
    }
    let mut bench = Bench::new(4, 1);
    let body = bench.body(1);
    let certificate = bench.certificate(vote(0, 1, body.digest), &[0, 2, 3]);
    bench.commit(3, vote(0, 1, body.digest));
    let whole = bench.view_change(3, 5, vec![certificate]);
    bench.step(Event::ViewChange(whole));
    assert!(bench.alarms.is_empty(), "it shows what it committed to");
}

#[test]
fn f5_what_a_view_change_shows_is_held_against_the_votes_that_are_here() {
    let mut bench = Bench::new(4, 1);
    let (body, other) = (bench.body(1), bench.body(2));
    bench.pre_prepare(vote(0, 1, body.digest), Some(&body));
    let certificate = bench.certificate(vote(0, 1, other.digest), &[0, 2, 3]);
    let message = bench.view_change(3, 5, vec![certificate]);
    bench.step(Event::ViewChange(message));
    assert_eq!(accused(&bench), (Offence::Prepares, 0));
}

/// Replica 3 lies. At slot 1 it gives replica 1, and nobody else, a vote that fits nothing and that nothing contradicts:
/// that takes its place for 50 ms. At slot 2 it tells replica 1 one thing and replica 2 another.
#[test]
fn f5_a_decoy_hides_no_contradiction() {
    let seen = [false, true].map(|with_decoy| {
        let mut deceived = Bench::new(4, 1);
        let (body, other) = (deceived.body(1), deceived.body(2));
        for seq in 1..=2 {
            deceived.pre_prepare(vote(0, seq, body.digest), Some(&body));
            if with_decoy || seq == 2 {
                deceived.prepare(3, vote(0, seq, other.digest));
            }
            [0, 2].into_iter().for_each(|id| deceived.prepare(id, vote(0, seq, body.digest)));
            [0, 2].into_iter().for_each(|id| deceived.commit(id, vote(0, seq, body.digest)));
        }
        // Nothing else comes of these slots: time alone must bring it out.
        deceived.pass(5_000_000);
        let mut witness = Bench::new(4, 2);
        for seq in 1..=2 {
            witness.pre_prepare(vote(0, seq, body.digest), Some(&body));
        }
        witness.prepare(3, vote(0, 2, body.digest));
        let evidence = shown(&deceived).iter().filter(|sworn| witness.replica.is_evidence(sworn)).count();
        (shown(&deceived).iter().filter(|sworn| sworn.signer() == ReplicaId(3)).count(), evidence)
    });
    assert_eq!(seen, [(1, 1), (2, 1)], "statements shown, and proofs among them; without and with a decoy");
}

#[test]
fn f5_what_waits_to_be_shown_has_a_bound_and_goes_in_one_message_the_oldest_first() {
    let root = |tag: usize| Digest([[1; 16], (tag as u128).to_be_bytes()].concat().try_into().unwrap());
    let at_4 = |root| Checkpoint { seq: Seq(4), root, epoch_end: Seq::MAX };
    let mut bench = Bench::new(4, 1);
    let certificate = Verified::vouch(bench.certificate(at_4(Digest([8; 32])), &[0, 1, 2]));
    bench.step(Event::StableCertificate(certificate));
    for tag in 0..2 * SWORN_MAX {
        let odd = bench.sign(3, at_4(root(tag)));
        // What is said twice is shown once.
        bench.step(Event::Checkpoint(odd.clone()));
        bench.step(Event::Checkpoint(odd));
    }
    assert_eq!((testimonies(&bench), shown(&bench).len()), (1, 1));
    let kept = bench.replica.footprint().displayed;
    assert_eq!(kept, 1 + SWORN_MAX as u64);
    assert!(kept <= Footprint::DISPLAYED);
    bench.pass(50_000);
    assert_eq!((testimonies(&bench), shown(&bench).len()), (2, 1 + SWORN_MAX));
    let roots = shown(&bench).into_iter().map(|sworn| match sworn {
        Sworn::Checkpoint(vote) => vote.root,
        other => panic!("{other:?}"),
    });
    assert!(roots.eq((0..=SWORN_MAX).map(root)), "in the order in which they came");
    bench.pass(50_000);
    assert_eq!(
        (testimonies(&bench), bench.replica.footprint().displayed),
        (2, 0),
        "nothing is kept for ever"
    );
}

#[test]
fn f5_who_says_nothing_any_more_shows_nothing_that_waits() {
    let mut bench = Bench::new(4, 1);
    let body = bench.body(1);
    for seq in 1..=2 {
        bench.pre_prepare(vote(0, seq, body.digest), Some(&body));
        bench.prepare(3, vote(0, seq, bench.body(2).digest));
    }
    let before = testimonies(&bench);
    let divergence = Divergence { seq: Seq(4), ours: Digest([7; 32]), theirs: Digest([8; 32]) };
    bench.replica.standing = Standing::Diverged { divergence, mended: false };
    bench.pass(1_000_000);
    assert_eq!((testimonies(&bench), bench.replica.footprint().displayed), (before, 0));
}
