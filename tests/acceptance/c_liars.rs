//! C3, C4, C5: primaries that show different batches to different backups, and replicas that lie about what they
//! prepared when views change.

use std::collections::BTreeSet;
use std::sync::Arc;

use quorate_protocol::accusation::Offence;
use quorate_protocol::codec::{self, FRAME_BYTES_MAX};
use quorate_protocol::message::{NamedViewChange, PeerMessage};
use quorate_protocol::replica::Status;
use quorate_protocol::types::{ReplicaId, View};

use super::lab::{Lab, T0, calm, newest_open_view};
use super::puppets::{Puppets, prepare};

/// Slots between checkpoints, so that there are stable ones to lie about.
const INTERVAL: u64 = 4;

/// A cluster with two clients that send everything again in time, and work behind it.
fn cluster(replicas: u16, seed: u64) -> Lab {
    let mut setting = calm(replicas, seed);
    (setting.parameters.checkpoint_interval, setting.parameters.window) = (INTERVAL, 8 * INTERVAL);
    let mut lab = Lab::new(&setting, 2);
    work(&mut lab, 6);
    lab
}

/// Both clients ask, and are answered in time.
fn work(lab: &mut Lab, commands: u64) {
    for client in 0..2 {
        lab.world.employ(client, commands, 2, 0);
    }
    lab.await_that("everything is answered", 40 * T0, Lab::is_answered);
}

/// Whom correct replicas can prove to have lied, and how.
fn proven(lab: &Lab) -> BTreeSet<(Offence, ReplicaId)> {
    let correct = lab.world.nodes().iter().filter(|node| !lab.world.is_liar(node.id()));
    correct.flat_map(|node| node.host().accused().iter().copied()).collect()
}

/// The backups whose bits are set.
fn backups(replicas: u16, set: u32) -> Vec<String> {
    (1..replicas).filter(|id| set >> (id - 1) & 1 == 1).map(|id| id.to_string()).collect()
}

// The world's checkers hold two prepared certificates of one view and slot against the cluster, wherever their votes
// were seen.
#[test]
fn c3_an_equivocating_primary_prepares_one_batch_at_most_is_proven_to_lie_and_loses_its_seat() {
    let (mut splits, mut left) = (0, 0);
    for replicas in [4, 5, 6] {
        for set in 1..(1_u32 << (replicas - 1)) - 1 {
            let to = backups(replicas, set).join("+");
            let mut lab = cluster(replicas, u64::from(set));
            // Its own PREPARE comes on top of its proposal, for either batch.
            lab.corrupt(0, &[&format!("equivocate:to={to}"), &format!("equivocate-prepare:to={to}")]);
            work(&mut lab, 4);
            lab.run(4 * T0);
            assert!(lab.lies(0) > 0, "of {replicas}, {to} saw the other batch: no lie was told");
            let proofs = proven(&lab);
            assert!(
                proofs.contains(&(Offence::Prepares, ReplicaId(0))),
                "of {replicas}, {to} saw the other batch: nobody can prove it: {proofs:?}"
            );
            assert!(proofs.iter().all(|(_, culprit)| *culprit == ReplicaId(0)), "{proofs:?}");
            left += u64::from(newest_open_view(&lab) > View(0));
            splits += 1;
        }
    }
    println!("{splits} splits, {left} of them cost the primary its seat");
    assert_eq!(splits, 6 + 14 + 30);
    assert!(left > splits / 4, "where no batch finds a quorum the view changes");
}

// Two backups prepare the batch that only they were shown, so the next view has to propose that one again; and nobody but
// the liar gives it to the third.
#[test]
fn c3_the_other_batch_of_an_equivocating_primary_is_had_from_itself_and_commits_in_the_next_view() {
    let mut lab = cluster(4, 1);
    lab.corrupt(0, &["equivocate:to=1+2"]);
    lab.stop(Some(1), None, "body", false);
    lab.stop(Some(2), None, "body", false);
    let before = lab.executed();
    lab.ask(0, "add k 1");
    lab.await_that("the third backup has the batch and all is answered", 8 * T0, |lab| {
        lab.is_answered() && lab.replica(3).executed().0 > before
    });
    assert!(lab.lies(0) > 0 && newest_open_view(&lab) >= View(1));
    assert!(lab.count(&["0 -> 3: BODY"]) > 0, "it was asked for the batch, and gave it");
    work(&mut lab, 3);
}

/// What may go wrong with a VIEW-CHANGE of one who takes part, besides coming late.
const LIES_ABOUT_THE_PAST: [&str; 6] = [
    "forged-certificates",
    "stale-certificates",
    "wrong-view-change",
    "rush-view-changes:every=5ms",
    "replay-old:every=1ms",
    "broken-bytes:probability=0.5",
];

/// The primary of view 0 is cut off with calls out and something prepared that only some know of; so views change
/// whether or not the liar wants it. Says how long it took until all is answered.
fn change_of_view(lab: &mut Lab, replicas: u16) -> u64 {
    let all = (1_u64 << replicas) - 1;
    for client in 0..2 {
        lab.world.employ(client, 6, 3, 0);
    }
    // COMMITs of the first ones are lost, so that what they prepared is known by VIEW-CHANGEs alone.
    lab.stop(None, Some(replicas - 1), "commit", false);
    lab.run(2_500);
    lab.cut(1, all ^ 1);
    lab.cut(all ^ 1, 1);
    lab.run(2 * T0);
    lab.heal();
    let took = lab.await_that("all is answered after the change of view", 60 * T0, Lab::is_answered);
    lab.await_that("the correct ones come together", 60 * T0, |lab| {
        let correct: Vec<_> = lab.alive().into_iter().filter(|one| !lab.world.is_liar(one.id())).collect();
        correct.iter().all(|one| one.executed() == correct[0].executed())
    });
    took
}

// That what committed survives is the checkers': one digest for each slot, and every answer is that of one execution.
#[test]
fn c4_a_lie_in_a_view_change_loses_nothing_that_committed_and_costs_no_signatures_without_end() {
    for sin in LIES_ABOUT_THE_PAST {
        for (replicas, liar) in [(4, 2), (4, 3), (7, 3)] {
            let mut lab = cluster(replicas, 3);
            let before = lab.world.accepted();
            lab.corrupt(liar, &[sin]);
            let took = change_of_view(&mut lab, replicas);
            let told = lab.lies(liar);
            println!("{sin} of {liar} among {replicas}: {told} lies, {took} us");
            assert!(told > 0, "{sin} of {liar} among {replicas}: no lie was told");
            assert!(newest_open_view(&lab) > View(0), "{sin}: the view did not change");
            assert!(lab.world.accepted() >= before + 12, "{sin}: calls were lost");
            assert!(took <= 8 * T0, "{sin} of {liar} among {replicas} holds up the cluster for {took} us");
            assert!(proven(&lab).iter().all(|(_, culprit)| *culprit == ReplicaId(liar)), "{sin}");
        }
    }
}

#[test]
fn c4_an_oversized_view_change_costs_one_look_and_its_sender_may_still_say_a_sound_one() {
    let mut setting = calm(4, 1);
    (setting.parameters.checkpoint_interval, setting.parameters.window) = (INTERVAL, 2 * INTERVAL);
    setting.check_every_signature = true;
    let mut puppets = Puppets::around(2, &setting, 0);
    let checked = |puppets: &Puppets| puppets.lab.world.node(ReplicaId(2)).signatures_checked();
    let border = |puppets: &Puppets| puppets.lab.world.node(ReplicaId(2)).host().border().counters();
    let null = puppets.pens.null();
    let shown = |puppets: &Puppets, slots: u64| -> Vec<_> {
        (1..=slots).map(|seq| puppets.pens.certificate(&[0, 1, 3], &prepare(0, seq, null))).collect()
    };
    let before = checked(&puppets);
    // More certificates than the window has slots, all of them good.
    for slots in [2 * INTERVAL + 1, 1_000] {
        let many = puppets.pens.view_change(3, 1, None, &shown(&puppets, slots));
        let refused = puppets.pens.judge(3, PeerMessage::ViewChange(many.clone()));
        assert!(refused.unwrap_err().to_string().contains("more certificates than the window has slots"));
        puppets.leave(&[many]);
    }
    // More bytes than a frame may have.
    let large = puppets.pens.view_change(3, 1, None, &shown(&puppets, 1));
    let mut frame = codec::encode(&PeerMessage::ViewChange(large)).unwrap();
    frame.resize(FRAME_BYTES_MAX + 1, 0);
    puppets.lab.world.inject_frame(ReplicaId(3), ReplicaId(2), frame.into());
    puppets.lab.run(5_000);
    assert_eq!(
        (border(&puppets).too_long, checked(&puppets)),
        (1, before),
        "no signature of it was looked at"
    );
    assert_eq!(puppets.view(), 0);
    let sound = [1, 3].map(|id| puppets.pens.view_change(id, 1, None, &[]));
    puppets.leave(&sound);
    assert_eq!((puppets.view(), checked(&puppets) > before), (1, true), "two sound ones count");
}

/// What the primary of a view can do when it is to open it.
const LIES_ABOUT_THE_VIEW: [&[&str]; 6] = [
    &["two-new-views"],
    &["forged-certificates"],
    &["stale-certificates", "wrong-view-change"],
    &["mute:kinds=new-view"],
    &["mute:kinds=view-change+new-view,to=2"],
    &["withhold-bodies", "equivocate"],
];

#[test]
fn c5_a_new_primary_that_lies_opens_nothing_wrong_and_the_next_view_comes_in_time() {
    for sins in LIES_ABOUT_THE_VIEW {
        for replicas in [4, 7] {
            let mut lab = cluster(replicas, 5);
            // Replica 1 is the next primary.
            lab.corrupt(1, sins);
            let took = change_of_view(&mut lab, replicas);
            work(&mut lab, 3);
            println!(
                "{sins:?} among {replicas}: {} lies, {took} us, view {}",
                lab.lies(1),
                newest_open_view(&lab)
            );
            assert!(lab.lies(1) > 0, "{sins:?}: no lie was told");
            assert!(newest_open_view(&lab) >= View(1), "{sins:?}: the view did not change");
            // The view of the liar, and the next one, with timeouts that double.
            assert!(took <= 12 * T0, "{sins:?} among {replicas} holds up the cluster for {took} us");
            assert!(proven(&lab).iter().all(|(_, culprit)| *culprit == ReplicaId(1)), "{sins:?}");
        }
    }
}

/// A replica that waits for view 1, and the VIEW-CHANGEs of the three others for the views 1 and 2.
fn waits_for_view_1() -> (Puppets, [Arc<NamedViewChange>; 6]) {
    let mut puppets = Puppets::around(3, &calm(4, 1), 0);
    let all = [(0, 1), (1, 1), (2, 1), (0, 2), (1, 2), (2, 2)]
        .map(|(id, view)| puppets.pens.view_change(id, view, None, &[]));
    puppets.leave(&all[..3]);
    assert_eq!((puppets.view(), puppets.lab.replica(3).status()), (1, Status::ViewChanging));
    (puppets, all)
}

#[test]
fn c5_a_new_view_that_names_a_view_change_twice_or_one_of_another_view_opens_nothing_and_the_next_one_opens()
{
    let wrong = [("one twice", [0, 0, 2]), ("one of the next view", [0, 1, 5]), ("only one", [0, 0, 0])];
    for (what, named) in wrong {
        let (mut puppets, all) = waits_for_view_1();
        let named = named.map(|place| all[place].clone());
        let message = puppets.pens.new_view(1, &named);
        puppets.say(1, &PeerMessage::NewView(message));
        puppets.leave(&named);
        assert_eq!(puppets.lab.replica(3).status(), Status::ViewChanging, "{what}: view 1 opened");
        // Those who wait for it do not wait for longer than its timeout, and the next one is opened as it should be.
        puppets.lab.await_that("it waits for view 2", 4 * T0, |lab| lab.replica(3).view() == View(2));
        puppets.open(2, &all[3..]);
        assert_eq!((puppets.view(), puppets.lab.replica(3).status()), (2, Status::Normal), "{what}");
    }
}
