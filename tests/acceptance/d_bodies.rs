//! D5: a primary that shows its batch to few.

use quorate_protocol::codec;
use quorate_protocol::committee::{faults, quorum};
use quorate_protocol::message::{PeerMessage, PrePrepare};
use quorate_protocol::types::{ReplicaId, Time, View};
use quorate_sim::node::Sent;
use quorate_sim::world::Seam;

use super::lab::{Lab, T0, calm, newest_open_view};

/// A primary that sends its batches to the replicas up to a number, to the others the bare proposal, and serves none.
struct Stingy {
    holders: u16,
    replicas: u16,
}

impl Stingy {
    fn show(&self, to: u16, proposal: &PrePrepare) -> Sent {
        let batch = proposal.batch.clone().filter(|_| to < self.holders);
        let message = PeerMessage::PrePrepare(PrePrepare { prepare: proposal.prepare.clone(), batch });
        Sent::Replica(ReplicaId(to), codec::encode(&message).unwrap().into())
    }
}

impl Seam for Stingy {
    fn replace(&mut self, _now: Time, from: ReplicaId, sent: Sent) -> Vec<Sent> {
        let frame = match &sent {
            Sent::Replica(_, frame) | Sent::Others(frame) => frame,
            Sent::Client(..) => return vec![sent],
        };
        match (codec::decode::<PeerMessage>(frame), &sent) {
            (Ok(PeerMessage::Body { .. }), _) => Vec::new(),
            (Ok(PeerMessage::PrePrepare(proposal)), Sent::Others(_)) => {
                let others = (0..self.replicas).filter(|to| *to != from.0);
                others.map(|to| self.show(to, &proposal)).collect()
            }
            _ => vec![sent],
        }
    }
}

/// A batch that so many replicas hold, the primary among them, of whom so many crash before anybody else could ask.
fn shown_to(replicas: u16, holders: usize, crashes: u16) -> Lab {
    let holders = u16::try_from(holders).unwrap();
    let mut lab = Lab::quiet(&calm(replicas, 1), 1);
    lab.world.corrupt(ReplicaId(0), Box::new(Stingy { holders, replicas }));
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
