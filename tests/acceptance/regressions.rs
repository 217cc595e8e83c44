//! What stopped other systems, each under its name there. Each of these fails when its cause is put back.

use quorate_protocol::replica::Status;
use quorate_protocol::types::{ReplicaId, View};

use super::lab::{Lab, T0, calm, newest_open_view};

/// Everybody has a request that the primary, whom nobody hears, does not serve.
fn a_request_that_is_not_served(lab: &mut Lab) {
    lab.cut(0b0001, 0b1110);
    lab.ask(0, "add k 1");
    lab.repeat(0, &[1, 2, 3]);
}

// Fabric 0.6, #1917: the cluster stands still for ever. Cause: a VIEW-CHANGE is sent once. Would miss a repetition that
// grows slower the longer the links are down, up to the bar of two timeouts.
#[test]
fn fabric_1917_view_changes_lost_while_links_heal_and_no_traffic_comes() {
    // All of them are lost, or all that the new primary needs; for a moment, or for longer than any timer.
    for (to, outage) in [(None, T0 / 2), (None, 20 * T0), (Some(1), T0 / 2), (Some(1), 20 * T0)] {
        let mut lab = Lab::quiet(&calm(4, 1), 1);
        a_request_that_is_not_served(&mut lab);
        lab.stop(None, to, "view-change", false);
        lab.await_that("they leave the view", 2 * T0, |lab| lab.view_changes() >= 3);
        lab.run(outage);
        assert!(lab.count(&["VIEW-CHANGE v1", "lost"]) >= 3, "the VIEW-CHANGEs are lost");
        let stuck = to.is_none() || outage < T0;
        assert!(!stuck || newest_open_view(&lab) == View(0), "no view opened meanwhile");
        lab.heal();
        let most = 2 * lab.timeout();
        lab.await_that("a new view serves what was asked", most, |lab| lab.is_answered());
        assert!(newest_open_view(&lab) > View(0));
    }
}

// Fabric 0.6, #1119. Cause: a replica whose window is full, because it learns of checkpoints later than the others,
// holds the primary to a request that it could not execute itself. Would miss a replica that needs a state transfer.
#[test]
fn fabric_1119_a_request_executes_as_its_timer_fires_while_watermarks_move() {
    // The checkpoints that replica 3 lacks come from just before to just after what would be its timer's time.
    for offset in (0..=20).map(|step| T0 - 50_000 + step * 5_000) {
        let mut setting = calm(4, offset);
        (setting.parameters.checkpoint_interval, setting.parameters.window) = (4, 8);
        (setting.parameters.batch_requests_max, setting.parameters.pipeline_depth) = (1, 1);
        let mut lab = Lab::quiet(&setting, 1);
        for kind in ["checkpoint", "stable-certificate"] {
            lab.stop(None, Some(3), kind, true);
        }
        while lab.executed() < 8 {
            lab.ask(0, "add k 1");
            lab.await_that("it executes", T0, |lab| lab.is_answered());
        }
        lab.run(20_000);
        let watermarks: Vec<u64> = lab.alive().iter().map(|replica| replica.watermarks().0.0).collect();
        assert_eq!(watermarks, [8, 8, 8, 0], "the watermarks differ");
        assert_eq!(lab.replica(3).committed(), lab.replica(3).watermarks().1, "its window is full");
        // One more, which replica 3 waits for as well and cannot take part in.
        lab.ask(0, "add k 1");
        lab.repeat(0, &[3]);
        lab.run(offset);
        assert_eq!((lab.executed(), lab.replica(3).executed().0), (9, 8), "the others executed it");
        assert_eq!(lab.replica(3).pooled(), 1, "replica 3 waits for it");
        assert_eq!(lab.view_changes(), 0, "{offset} us: and blames nobody for it: {:?}", lab.views());
        lab.heal();
        lab.world.release_held();
        lab.await_that("all executed it", T0, |lab| lab.is_at_rest() && lab.executed() == 9);
        lab.run(4 * T0);
        assert_eq!(lab.view_changes(), 0, "{offset} us: {:?}", lab.views());
    }
}

// The same race without watermarks: the COMMITs that one replica lacks come just as its timer fires.
#[test]
fn fabric_1119_a_request_executes_at_one_replica_as_its_timer_fires() {
    let mut left = 0;
    for offset in (0..=20).map(|step| T0 - 10_000 + step * 1_000) {
        let mut lab = Lab::quiet(&calm(4, offset), 1);
        for kind in ["commit", "commit-certificate"] {
            lab.stop(None, Some(3), kind, true);
        }
        lab.ask(0, "add k 1");
        lab.repeat(0, &[3]);
        lab.run(offset);
        assert_eq!(
            (lab.executed(), lab.replica(3).executed().0),
            (2, 1),
            "{offset} us: the others executed it"
        );
        lab.heal();
        lab.world.release_held();
        lab.await_that("it executes there too", T0, |lab| lab.replica(3).executed().0 == 2);
        lab.run(4 * T0);
        // Whether it just left its view or just did not: it goes nowhere alone, and nobody follows.
        assert!(
            lab.views()[..3] == [0, 0, 0] && lab.replica(3).view() <= View(1),
            "{offset} us: {:?}",
            lab.views()
        );
        left += lab.replica(3).view().0;
        lab.ask(0, "add k 1");
        lab.await_that("all execute what comes next", T0, |lab| {
            lab.alive().iter().all(|one| one.executed().0 == 3)
        });
        assert_eq!(lab.count(&["3 executes n2"]), 1);
    }
    assert!((1..=20).contains(&left), "its timer fired before the COMMITs came in {left} of 21 cases");
}

// Fabric 0.6, #1111. Cause: only VIEW-CHANGEs that carry the same stable checkpoint are put together. Would miss replicas
// that have not executed up to the newest of these checkpoints.
#[test]
fn fabric_1111_view_changes_carry_different_stable_checkpoints() {
    let mut setting = calm(4, 1);
    (setting.parameters.checkpoint_interval, setting.parameters.window) = (4, 16);
    (setting.parameters.batch_requests_max, setting.parameters.pipeline_depth) = (1, 1);
    let mut lab = Lab::quiet(&setting, 1);
    // Replica 3 learns of no checkpoint, replica 2 of the first, replica 1 of both; all three executed ten slots.
    let lose = |lab: &mut Lab, to: u16| {
        for kind in ["checkpoint", "stable-certificate"] {
            lab.stop(None, Some(to), kind, false);
        }
    };
    lose(&mut lab, 3);
    while lab.executed() < 10 {
        if lab.executed() == 7 {
            lose(&mut lab, 2);
        }
        lab.ask(0, "add k 1");
        lab.await_that("it executes", T0, |lab| lab.is_answered());
        lab.run(10_000);
    }
    let watermarks: Vec<u64> = lab.alive().iter().map(|replica| replica.watermarks().0.0).collect();
    assert_eq!(watermarks, [8, 8, 4, 0], "the stable checkpoints differ");
    lab.heal();
    // STATUS would make them equal again within its period.
    for kind in ["checkpoint", "stable-certificate"] {
        lab.stop(None, None, kind, false);
    }
    a_request_that_is_not_served(&mut lab);
    lab.await_that("the next view serves", 4 * T0, |lab| lab.is_answered());
    for (id, low) in [(1, 8), (2, 4), (3, 0)] {
        let said = format!("{id} -> all: VIEW-CHANGE v1 h={low} of {id}");
        assert!(lab.count(&[&said]) > 0, "{said}");
    }
    for id in 1..4 {
        let replica = lab.replica(id);
        assert_eq!(
            (replica.view(), replica.status(), replica.watermarks().0.0),
            (View(1), Status::Normal, 8)
        );
        assert_eq!(replica.executed().0, 11);
    }
    assert_eq!(lab.count(&["PREPARE v1 n8 "]), 0, "what is below the newest of them is not opened again");
    assert!(lab.count(&["PREPARE v1 n9 "]) > 0);
}

// Fabric 0.6, #2060. Causes: the timer for the next view runs although nobody else is there; what is not heard is said
// again at once. Would miss a flood of STATUS, which the trace leaves out.
#[test]
fn fabric_2060_a_replica_cut_off_for_long_neither_floods_nor_runs_ahead() {
    let mut lab = Lab::quiet(&calm(4, 1), 2);
    lab.cut(0b1000, 0b0111);
    lab.cut(0b0111, 0b1000);
    // A request that it knows of and that the others execute without it.
    lab.ask(0, "add k 1");
    lab.repeat(0, &[3]);
    lab.await_that("it leaves its view", 2 * T0, |lab| lab.replica(3).status() == Status::ViewChanging);
    let before = lab.count(&["3 -> "]);
    lab.world.employ(1, 100, 1, 4 * T0);
    let seconds = 100;
    lab.run(seconds * 1_000_000);
    assert!(lab.executed() > 50, "the others work on");
    assert_eq!(lab.replica(3).view(), View(1), "it waits where it is");
    let said = lab.count(&["3 -> "]) - before;
    assert!(said as u64 <= 6 * seconds, "{said} messages in {seconds} s");
    assert!(said as u64 >= 2 * seconds, "{said} messages: it must not fall silent either");
    let all = lab.said().len();
    lab.heal();
    lab.await_that("it executes all it missed", 8 * T0, |lab| lab.replica(3).executed().0 == lab.executed());
    let answers = lab.said().len() - all;
    assert!(answers < 20 * 100, "{answers} messages to bring it back");
    assert_eq!(lab.views()[..3], [0, 0, 0], "it unseated nobody");
}

// ResilientDB, #128. Cause: NEW-VIEW is sent once, and votes of a view that was not entered are of no use.
// Would miss a NEW-VIEW that nobody who entered it survives to show.
#[test]
fn resilientdb_128_a_replica_that_missed_the_new_view_sees_only_votes_of_it() {
    // It left its view with the others; or it heard of none of that and still is in the old view.
    for left in [true, false] {
        let mut lab = Lab::quiet(&calm(4, 1), 1);
        lab.stop(None, Some(3), "new-view", false);
        // The VIEW-CHANGEs are as good as lost as long as it takes the others to open their view.
        lab.stop(None, Some(3), "view-change", false);
        // The primary serves nothing, and leaves with the others when they do.
        lab.stop(Some(0), None, "pre-prepare", false);
        lab.ask(0, "add k 1");
        lab.repeat(0, if left { &[1, 2, 3] } else { &[1, 2] });
        lab.await_that("the others open the next view", 3 * T0, |lab| lab.members(View(1)) == 3);
        lab.await_that("it serves", T0, |lab| lab.is_answered());
        lab.run(200_000);
        assert!(lab.count(&["NEW-VIEW", "lost to 3"]) > 0);
        let expected = if left { (View(1), Status::ViewChanging) } else { (View(0), Status::Normal) };
        assert_eq!((lab.replica(3).view(), lab.replica(3).status()), expected);
        assert_eq!(lab.count(&["3 executes n2"]), 1, "a quorum of COMMITs is enough to execute, in any view");
        // From now on it hears everything; nobody has reason to say NEW-VIEW again but that it lacks it. Without one
        // of the others nothing commits unless it votes.
        lab.heal();
        lab.world.crash(ReplicaId(0)).unwrap();
        lab.ask(0, "add k 1");
        lab.await_that("with its vote the view commits", 2 * T0, |lab| lab.is_answered());
        assert_eq!((lab.replica(3).view(), lab.replica(3).status()), (View(1), Status::Normal));
        assert!(lab.count(&["3 -> all: COMMIT v1 n3"]) > 0);
        let entered = lab.count(&["-> 3: NEW-VIEW v1"]);
        assert!(entered > 0, "somebody showed it the NEW-VIEW");
    }
}
