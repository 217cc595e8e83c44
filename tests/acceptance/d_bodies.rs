//! D5: a primary that shows its batch to few.

use quorate_protocol::committee::{faults, quorum};
use quorate_protocol::types::{ReplicaId, View};

use super::lab::{Lab, T0, calm, newest_open_view};

/// A batch that so many replicas hold, the primary among them, of whom so many crash before anybody else could ask.
fn shown_to(replicas: u16, holders: usize, crashes: u16) -> Lab {
    let holders = u16::try_from(holders).unwrap();
    let mut lab = Lab::quiet(&calm(replicas, 1), 1);
    // It shows its batches to the first ones only, to the others the bare proposal, and serves none.
    let poor: Vec<String> = (holders..replicas).map(|id| id.to_string()).collect();
    lab.corrupt(0, &[&format!("withhold-bodies:to={}", poor.join("+"))]);
    lab.ask(0, "add k 1");
    let others: Vec<u16> = (1..replicas).collect();
    lab.repeat(0, &others);
    lab.run(10_000);
    // The proposal is everywhere, and those who hold its batch have voted for it.
    let votes = lab.count(&["-> all: PREPARE v0 n2"]);
    assert_eq!(votes, usize::from(holders) - 1, "of {replicas}, {holders} hold the batch");
    for id in 0..crashes {
        lab.world.crash(ReplicaId(id)).unwrap();
    }
    lab.await_that("everybody executes it", 16 * T0, |lab| {
        lab.alive().iter().all(|replica| replica.executed().0 >= 2)
    });
    assert!(lab.count(&["FETCH-BODY n2"]) >= usize::from(replicas - holders), "it had to be asked for");
    lab
}

// Would miss bodies that are damaged on their way, which by their digest are no bodies.
#[test]
fn d5_a_batch_of_which_a_source_lives_commits_in_its_own_view() {
    for replicas in [4, 5, 6, 7] {
        let (f, q) = (faults(replicas), quorum(replicas));
        let n = u16::try_from(replicas).unwrap();
        for holders in [f + 1, q - 1] {
            // The primary, which serves nobody, counts as one of f; the others it showed the batch to are correct.
            for crashes in [0, 1, u16::try_from(f).unwrap()] {
                let mut lab = shown_to(n, holders, crashes);
                assert!(lab.count(&["executes n2"]) >= replicas - f);
                assert!(
                    lab.count(&["-> all: COMMIT v0 n2"]) >= q,
                    "n = {n}, {holders} hold, {crashes} crash"
                );
                assert_eq!(lab.count(&["VIEW-CHANGE"]), 0, "n = {n}, {holders} hold, {crashes} crash");
            }
        }
    }
}

// Would miss holders that live and do not answer: with the primary they would be more than f.
#[test]
fn d5_a_batch_whose_sources_all_crash_is_left_behind_with_its_view() {
    for replicas in [4, 5, 6, 7] {
        let f = faults(replicas);
        let crashes = u16::try_from(f).unwrap();
        let mut lab = shown_to(u16::try_from(replicas).unwrap(), f, crashes);
        assert_eq!(lab.count(&["COMMIT v0 n2"]), 0, "n = {replicas}: nobody can commit what nobody has");
        assert_eq!(newest_open_view(&lab), View(f as u64), "n = {replicas}: the next primary that lives");
        lab.await_that("the request was answered all the same", T0, Lab::is_answered);
    }
}
