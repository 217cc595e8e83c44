//! C3, C4, C5: primaries that show different batches to different backups, and replicas that lie about what they
//! prepared when views change.

use std::collections::BTreeSet;

use quorate_protocol::accusation::Offence;
use quorate_protocol::types::{ReplicaId, View};

use super::lab::{Lab, T0, calm, newest_open_view};

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
