//! G4 in virtual time: what a stop in good order costs, whatever else goes wrong.

use quorate_protocol::types::{ReplicaId, View};
use quorate_sim::world::Outage;

use super::lab::{Lab, T0, calm, newest_open_view};

/// A round trip of the links here, and what roles take, make an answer within this.
const SOON: u64 = 20_000;

/// Asks a replica to stop while a call is out, and says how long the clients waited for the next answer.
fn stop(lab: &mut Lab, id: u16) -> u64 {
    lab.world.employ(0, 1, 1, 0);
    lab.run(500);
    lab.world.ask_to_stop(ReplicaId(id), Outage::gentle(100_000)).unwrap();
    lab.world.employ(1, 1, 1, 0);
    lab.await_that("everything is answered", 20 * T0, Lab::is_answered)
}

fn is_back(lab: &Lab) -> bool {
    lab.alive().len() == lab.world.nodes().len() && lab.is_answered() && lab.is_at_rest()
}

#[test]
fn g4_primaries_that_are_stopped_in_turn_cost_no_timeout_and_leave_it_as_it_is() {
    for replicas in [4, 7] {
        let mut lab = Lab::new(&calm(replicas, 1), 2);
        for turn in 0..u64::from(2 * replicas) {
            let primary = lab.alive()[0].primary();
            let waited = stop(&mut lab, primary.0);
            assert!(waited < SOON, "the primary of view {turn} was stopped, and clients waited {waited} us");
            lab.await_that("it is back", 20 * T0, is_back);
            assert_eq!(newest_open_view(&lab), View(turn + 1), "one stop, one view");
            assert_eq!(lab.timeout(), T0, "a hand-over is no failure");
        }
        let injected = lab.world.injected();
        let stops = u64::from(2 * replicas);
        assert_eq!((injected.handed_over, injected.restarts), (stops, stops));
    }
}

#[test]
fn g4_a_backup_that_is_stopped_changes_no_view() {
    let mut lab = Lab::new(&calm(4, 1), 2);
    for id in 1..4 {
        let waited = stop(&mut lab, id);
        assert!(waited < SOON, "{waited} us");
        lab.await_that("it is back", 20 * T0, is_back);
    }
    assert_eq!((lab.views(), lab.world.injected().restarts), (vec![0; 4], 3));
}

#[test]
fn g4_a_primary_hands_over_with_the_votes_of_those_who_are_left() {
    let mut lab = Lab::new(&calm(4, 1), 2);
    lab.world.crash(ReplicaId(3)).unwrap();
    lab.run(20_000);
    lab.world.ask_to_stop(ReplicaId(0), Outage::gentle(100_000)).unwrap();
    lab.await_that("another one leads", SOON, |lab| newest_open_view(lab) == View(1));
    lab.ask(0, "add k 1");
    lab.await_that("it is back, and all is answered", 4 * T0, |lab| {
        lab.alive().len() == 3 && lab.is_answered()
    });
    assert_eq!(lab.world.injected().handed_over, 1);
}

#[test]
fn g4_replicas_that_all_stop_during_a_hand_over_do_not_chase_each_other_through_views() {
    let mut lab = Lab::new(&calm(4, 1), 2);
    lab.world.ask_to_stop(ReplicaId(0), Outage::gentle(100_000)).unwrap();
    let leave = |lab: &Lab| (1..4).all(|id| lab.replica(id).view() == View(1));
    lab.await_that("all others leave the view", SOON, leave);
    for id in 1..4 {
        lab.world.ask_to_stop(ReplicaId(id), Outage::gentle(100_000)).unwrap();
    }
    let all_are_back = |lab: &Lab| lab.world.injected().restarts == 4 && is_back(lab);
    lab.await_that("all are back", 20 * T0, all_are_back);
    // Each passes over its own view once, and no timer fired more than twice.
    assert!(lab.views().iter().all(|view| *view <= 8), "{:?}", lab.views());
    lab.ask(0, "add k 1");
    lab.await_that("they serve", 20 * T0, Lab::is_answered);
}

#[test]
fn g4_if_the_next_primary_is_gone_or_stops_as_well_the_one_after_it_leads() {
    // Gone: the others wait a timeout for it, as always.
    let mut lab = Lab::new(&calm(4, 1), 2);
    lab.world.crash(ReplicaId(1)).unwrap();
    lab.run(20_000);
    let waited = stop(&mut lab, 0);
    assert!((T0..3 * T0).contains(&waited), "{waited} us");
    // About to lead, and asked to stop as well: it says so, and nobody waits for it.
    let mut lab = Lab::new(&calm(7, 1), 2);
    lab.world.ask_to_stop(ReplicaId(0), Outage::gentle(100_000)).unwrap();
    lab.await_that("the next one is about to lead", SOON, |lab| lab.replica(1).view() == View(1));
    let waited = stop(&mut lab, 1);
    assert!(waited < SOON, "{waited} us");
    assert_eq!(newest_open_view(&lab), View(2));
    lab.await_that("both are back", 20 * T0, is_back);
}

#[test]
fn g4_a_stop_that_one_replica_alone_hears_of_is_told_the_others() {
    let mut lab = Lab::new(&calm(4, 1), 2);
    for other in [1, 3] {
        lab.stop(Some(0), Some(other), "view-change", false);
    }
    lab.world.ask_to_stop(ReplicaId(0), Outage::gentle(10 * T0)).unwrap();
    // Nobody asks anything, so nobody's timer runs.
    lab.await_that("all that are left lead on", 3 * T0, |lab| lab.members(View(1)) == 3);
    assert!(lab.stopped() > 0);
}
