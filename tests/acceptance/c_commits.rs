//! C12: what committed in a view that was left.

use quorate_protocol::replica::Status;
use quorate_protocol::types::View;

use super::lab::{Lab, T0, calm};

/// Four replicas prepared one batch in view 0 and hear no COMMIT, in whatever view, so that they leave view after
/// view with it.
fn prepared_everywhere() -> Lab {
    let mut lab = Lab::quiet(&calm(4, 1), 1);
    lab.stop(None, None, "commit", true);
    lab.ask(0, "add k 1");
    lab.repeat(0, &[1, 2, 3]);
    lab.run(20_000);
    assert_eq!(lab.count(&["-> all: COMMIT v0 n2"]), 4);
    assert_eq!(lab.executed(), 1);
    lab
}

/// Each replica executed slot 2 once, with the batch of the first view, and serves on.
fn everything_is_as_if_in_time(mut lab: Lab) {
    let all_executed = |lab: &Lab| lab.alive().iter().all(|replica| replica.executed().0 >= 2);
    let most = 4 * lab.timeout();
    lab.await_that("all executed it, in one view", most, |lab| all_executed(lab) && lab.is_at_rest());
    for id in 0..4 {
        assert_eq!(lab.count(&[&format!("{id} executes n2")]), 1, "replica {id}");
    }
    let proposed = lab.said().iter().find(|line| line.contains("PRE-PREPARE v0 n2")).unwrap();
    let digest = proposed.split_whitespace().find(|word| word.starts_with("d:")).unwrap().to_owned();
    let commits = lab.count(&["COMMIT v", " n2 "]);
    assert_eq!(
        lab.count(&["COMMIT v", &format!(" n2 {digest}")]),
        commits,
        "no view committed anything else"
    );
    let before = lab.executed();
    lab.ask(0, "add k 1");
    lab.await_that("it serves", 2 * T0, |lab| lab.executed() > before && lab.is_answered());
}

// Would miss COMMITs of the old view that contradict the new one: no run with f faults can make them; the assertion
// against them is shown beside the replica.
#[test]
fn c12_commits_that_come_one_or_two_view_changes_late_execute_once() {
    for view in [1, 2] {
        let mut lab = prepared_everywhere();
        let opened = |lab: &Lab| lab.members(View(view)) == 4;
        lab.await_that("the later view opens", 8 * T0, opened);
        lab.run(20_000);
        assert!(lab.count(&[&format!("PREPARE v{view} n2")]) > 0, "it is proposed again");
        assert_eq!(lab.executed(), 1, "nothing committed yet");
        lab.heal();
        lab.world.release_held();
        everything_is_as_if_in_time(lab);
    }
}

// Would miss a replica that crashes between the two: recovery has that.
#[test]
fn c12_commits_learned_between_views_execute_once() {
    for views in [1, 2] {
        let mut lab = prepared_everywhere();
        lab.stop(None, None, "new-view", false);
        let between = |lab: &Lab, view: u64| {
            let left = |status: Status| status == Status::ViewChanging;
            lab.alive()
                .iter()
                .filter(|replica| left(replica.status()) && replica.view() >= View(view))
                .count()
        };
        // Its new primary holds the NEW-VIEW that the others never get.
        lab.await_that("they are between views", 8 * T0, |lab| between(lab, views) >= 3);
        assert_eq!(lab.executed(), 1);
        lab.heal();
        lab.stop(None, None, "new-view", false);
        lab.world.release_held();
        lab.run(20_000);
        let learned = lab.alive().into_iter().filter(|replica| replica.status() == Status::ViewChanging);
        assert!(
            learned.filter(|replica| replica.executed().0 == 2).count() >= 3,
            "they execute between views"
        );
        lab.heal();
        everything_is_as_if_in_time(lab);
    }
}

// Would miss a certificate that comes before the body it names; D5 has bodies.
#[test]
fn c12_one_replica_that_learned_of_a_commit_tells_the_others_whatever_view_they_are_in() {
    let mut lab = prepared_everywhere();
    lab.stop(None, None, "new-view", false);
    lab.await_that("they are between views", 4 * T0, |lab| lab.view_changes() == 4);
    lab.heal();
    lab.stop(None, None, "new-view", false);
    for id in 0..3 {
        lab.stop(None, Some(id), "commit", false);
    }
    lab.await_that("one of them knows", 2 * T0, |lab| lab.replica(3).executed().0 == 2);
    let told = |lab: &Lab| (0..3).all(|id| lab.replica(id).executed().0 == 2);
    lab.await_that("it tells the others", 2 * T0, told);
    assert!(lab.count(&["COMMIT-CERTIFICATE v0 n2"]) > 0, "by a certificate, not by votes");
    lab.heal();
    everything_is_as_if_in_time(lab);
}
