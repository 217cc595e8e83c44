//! P28: a replica that left its view alone, and waits in the next one while the others go on without it. It comes back to
//! their votes, also where they have come to rest at a checkpoint, and what was lost there is said again.

use quorate_protocol::replica::Status;
use quorate_protocol::types::{ReplicaId, Seq, View};
use quorate_sim::network::Profile;
use quorate_sim::rng::Rng;
use quorate_sim::world::{Outage, Setting};

use super::lab::{KINDS, Lab, T0, calm, newest_open_view, number};

/// Slots between two checkpoints.
const K: u64 = 8;
/// A round trip of the links here, and what roles take, make an answer within this.
const SOON: u64 = 20_000;

fn setting(seed: u64) -> Setting {
    let mut setting = calm(4, seed);
    (setting.parameters.checkpoint_interval, setting.parameters.window) = (K, 2 * K);
    setting
}

/// A backup hears nothing of the others until it gives their primary up. They do not notice.
fn leave_alone(lab: &mut Lab, id: u16) {
    let before = newest_open_view(lab);
    lab.cut(0b1111 & !(1 << id), 1 << id);
    lab.ask(0, "add k 1");
    lab.repeat(0, &[id]);
    let left = |lab: &Lab| lab.replica(id).status() == Status::ViewChanging;
    lab.await_that("it gives the primary up", 3 * T0, left);
    lab.heal();
    assert_eq!((newest_open_view(lab), lab.replica(id).view()), (before, before.next()), "it left alone");
}

/// A replica waits alone in view 1. The others came to a checkpoint, and all votes for it were lost; nobody asks anything
/// any more.
fn at_rest_at_a_checkpoint(alone: u16) -> Lab {
    let mut lab = Lab::new(&setting(alone.into()), 2);
    leave_alone(&mut lab, alone);
    lab.await_that("it is answered without it", T0, Lab::is_answered);
    lab.stop(None, None, "checkpoint", false);
    let end = lab.executed() / K * K + K;
    while lab.executed() < end {
        lab.ask(0, "add k 1");
        lab.await_that("it is answered without it", T0, Lab::is_answered);
    }
    lab.run(T0 / 10);
    assert!(lab.count(&["CHECKPOINT", "[lost to"]) > 0, "votes were lost");
    assert!(lab.alive().iter().all(|replica| replica.watermarks().0 < Seq(end)), "it is not stable");
    lab.heal();
    lab
}

/// Whether all vote in one view.
fn is_together(lab: &Lab) -> bool {
    lab.members(newest_open_view(lab)) == lab.world.nodes().len()
}

/// The longest timeout of all but one, who left for a failure.
fn timeout_but_of(lab: &Lab, alone: u16) -> u64 {
    let others = lab.alive().into_iter().filter(|replica| replica.id() != ReplicaId(alone));
    others.map(|replica| replica.waiting().timeout_us).max().unwrap()
}

#[test]
fn p28_votes_for_a_checkpoint_that_were_lost_are_said_again_while_a_replica_waits_alone() {
    for alone in 1..4 {
        let mut lab = at_rest_at_a_checkpoint(alone);
        let end = Seq(lab.executed());
        let stable = |lab: &Lab| {
            lab.alive().iter().all(|replica| (replica.watermarks().0, replica.executed()) == (end, end))
        };
        lab.await_that("the checkpoint is stable, and everybody has executed it", 3_000_000, stable);
        assert_eq!(lab.view_changes(), 1, "nobody had to follow it for that");
    }
}

#[test]
fn p28_who_waits_alone_is_given_a_view_though_nobody_asks_anything() {
    for alone in 1..4 {
        let mut lab = at_rest_at_a_checkpoint(alone);
        let waited = lab.await_that("all vote in one view", 16 * T0, is_together);
        assert!(waited > 4 * T0, "links that flap would move everybody: {waited} us");
        assert_eq!((lab.views(), timeout_but_of(&lab, alone)), (vec![1; 4], T0), "it was handed over");
        // Without one of the others nothing commits but with its vote.
        let other = (1..4).find(|id| *id != alone && *id != 1).unwrap();
        lab.world.crash(ReplicaId(other)).unwrap();
        lab.ask(1, "add k 1");
        lab.await_that("it is answered with its vote", 2 * SOON, Lab::is_answered);
    }
}

#[test]
fn p28_who_waits_alone_is_given_a_view_under_load_and_no_call_waits_for_a_timeout() {
    for alone in 1..4 {
        let mut lab = at_rest_at_a_checkpoint(alone);
        lab.world.employ(0, 100_000, 2, 5_000);
        let (start, mut last, mut accepted, mut gap) = (lab.world.now(), lab.world.now(), 0, 0);
        while !is_together(&lab) {
            lab.run(1_000);
            let now = lab.world.now();
            if lab.world.accepted() > accepted {
                (accepted, last) = (lab.world.accepted(), now);
            }
            gap = gap.max(now.since(last));
            assert!(now.since(start) < 16 * T0, "it still waits");
        }
        assert!(gap < 2 * SOON, "clients waited {gap} us for an answer");
        assert_eq!((lab.views(), timeout_but_of(&lab, alone)), (vec![1; 4], T0));
    }
}

#[test]
fn p28_who_hears_badly_in_a_later_view_is_given_none() {
    let mut lab = Lab::new(&setting(5), 2);
    leave_alone(&mut lab, 3);
    lab.world.employ(1, 100_000, 1, T0 / 5);
    for _ in 0..12 {
        lab.cut(0b0111, 0b1000);
        lab.run(2 * T0);
        lab.heal();
        lab.run(T0);
    }
    assert_eq!(lab.views(), [0, 0, 0, 1], "links that flap move everybody");
    lab.world.employ(1, 0, 1, 0);
    let waited = lab.await_that("it hears well, and is given one", 200 * T0, is_together);
    assert!(waited > 64 * T0, "it waits longer than who never heard badly: {waited} us");
    assert_eq!(newest_open_view(&lab), View(1));
}

#[test]
fn g4_a_rolling_restart_goes_on_though_each_replica_that_comes_back_leaves_a_view_alone() {
    let mut lab = Lab::new(&setting(6), 2);
    lab.world.employ(1, 100_000, 1, 20_000);
    for id in 0..4 {
        lab.world.ask_to_stop(ReplicaId(id), Outage::gentle(T0 / 5)).unwrap();
        let restarts = u64::from(id) + 1;
        let is_back = |lab: &Lab| lab.world.injected().restarts == restarts && is_together(lab);
        lab.await_that("it is back", 20 * T0, is_back);
        // Who has not caught up or not heard the others yet gives nobody up.
        lab.run(4 * T0);
        leave_alone(&mut lab, id);
        lab.await_that("the next one may be stopped", 20 * T0, is_together);
    }
    // One hand-over of the first primary, and one for each that had left; a checkpoint later all is forgotten.
    lab.run(T0);
    assert_eq!((newest_open_view(&lab), lab.timeout()), (View(5), T0));
}

/// A replica waits alone, and one kind of message is lost while the others come to a checkpoint; one of them is stopped
/// and started again meanwhile, if that is said. Everything heals, and nobody asks anything new.
fn meets(alone: u16, kind: &str, restarted: Option<u16>) {
    let mut lab = Lab::new(&setting(alone.into()), 2);
    leave_alone(&mut lab, alone);
    lab.await_that("it is answered without it", T0, Lab::is_answered);
    while lab.executed() % K != K - 2 {
        lab.ask(0, "add k 1");
        lab.await_that("it is answered without it", T0, Lab::is_answered);
    }
    lab.stop(None, None, kind, false);
    lab.world.employ(0, 3, 1, 0);
    lab.run(T0 / 5);
    if let Some(id) = restarted {
        lab.world.ask_to_stop(ReplicaId(id), Outage::gentle(T0 / 10)).unwrap();
    }
    lab.run(T0 / 2);
    lab.heal();
    let what = format!("all is well: {alone} alone, {kind} lost, {restarted:?} restarted");
    let all_is_well = |lab: &Lab| {
        let stable = lab.executed() / K * K;
        let up =
            lab.alive().len() == 4 && lab.alive().iter().all(|replica| replica.watermarks().0.0 >= stable);
        up && lab.is_answered() && lab.is_at_rest() && lab.executed() >= K
    };
    lab.await_that(&what, 24 * T0, all_is_well);
}

#[test]
fn p28_whatever_is_lost_at_a_checkpoint_while_a_replica_waits_alone_all_come_back_without_new_traffic() {
    for alone in 1..4 {
        for kind in KINDS {
            meets(alone, kind, None);
            (0..4).filter(|id| *id != alone).for_each(|id| meets(alone, kind, Some(id)));
        }
    }
}

/// A rolling restart over links and with roles that a seed draws, while now and then a process sleeps, so that somebody
/// may leave a view alone.
fn rolls(seed: u64) {
    let mut rng = Rng::new(seed);
    let mut setting = calm(4, seed);
    let parameters = &mut setting.parameters;
    parameters.checkpoint_interval = *rng.pick(&[2, 4, 16]);
    parameters.window = parameters.checkpoint_interval * rng.between(2, 4);
    parameters.pipeline_depth = rng.between(1, 8);
    setting.profile = Profile {
        loss: *rng.pick(&[0, 1_000, 20_000]),
        jitter_us: 3_000,
        stragglers: 20_000,
        straggle_us: 100_000,
        ..Profile::calm(1_000)
    };
    setting.costs.write_us = *rng.pick(&[50, 5_000]);
    setting.costs.execute_us = *rng.pick(&[20, 3_000]);
    setting.costs.store_us = *rng.pick(&[100, 200_000]);
    let mut lab = Lab::with(&setting, 2, |options| options.retry_timeout_max_us = 1_000_000);
    let think_us = *rng.pick(&[20_000, 200_000]);
    (0..2).for_each(|client| lab.world.employ(client, 1_000_000, 2, think_us));
    for id in 0..4 {
        let down_us = rng.between(T0 / 10, 2 * T0);
        lab.world.ask_to_stop(ReplicaId(id), Outage::gentle(down_us)).unwrap();
        let restarts = u64::from(id) + 1;
        let is_back = |lab: &Lab| lab.world.injected().restarts == restarts && is_together(lab);
        lab.await_that(&format!("replica {id} is back, seed {seed}"), 200 * T0, is_back);
        let sleeper = ReplicaId(u16::try_from(rng.below(4)).unwrap());
        lab.world.pause(sleeper, lab.world.now().plus(rng.between(T0 / 2, 2 * T0)));
        lab.run(rng.below(2 * T0));
    }
    (0..2).for_each(|client| lab.world.employ(client, 0, 1, 0));
    let rests = |lab: &Lab| lab.is_answered() && lab.is_at_rest();
    lab.await_that(&format!("all come to rest, seed {seed}"), 200 * T0, rests);
}

#[test]
fn g4_rolling_restarts_come_round_whatever_else_is_slow_or_lost() {
    for seed in 0..number("QUORATE_ROLLINGS").unwrap_or(4) {
        rolls(seed);
    }
}
