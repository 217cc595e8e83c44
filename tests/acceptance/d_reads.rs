//! D12: clients that need a quorum of answers, and a primary that knows it (Berger, Reiser and Bessani, SRDS '21).
//!
//! Where reads are fast, a write takes q answers. Faulty primaries can be silent to the client and leave one correct
//! replica out, so that only q - 1 answers come; too few replicas complain to change the view, and a client that waits
//! sends nothing that would bring a checkpoint nearer. What helps is that every correct replica executes what committed
//! without waiting for either: it is shown the commit certificate as soon as it says where it stands. So it must say so
//! however it is kept busy (D107).

use quorate_protocol::client::{How, Read};
use quorate_protocol::committee::faults;
use quorate_protocol::message::Outcome;
use quorate_protocol::types::ReplicaId;

use super::lab::{Lab, calm};
use super::puppets::{Puppets, prepare};

/// Between two STATUS of a replica that waits for something, in microseconds.
const PAUSE: u64 = 150_000;

/// A cluster with fast reads in which the first f replicas, the primary among them, say nothing to the client and nothing
/// to the last replica.
fn attacked(replicas: u16) -> Lab {
    let mut setting = calm(replicas, 1);
    setting.parameters.fast_reads = true;
    let mut lab = Lab::new(&setting, 1);
    let f = u16::try_from(faults(replicas.into())).unwrap();
    for liar in 0..f {
        lab.corrupt(liar, &[&format!("mute:to={}", replicas - 1), "mute:kinds=reply"]);
    }
    lab
}

#[test]
fn d12_a_starved_replica_catches_up_by_certificates_and_a_client_that_needs_its_answer_is_served() {
    for replicas in [4, 7] {
        let (mut lab, victim) = (attacked(replicas), replicas - 1);
        let mut longest = 0;
        for write in 0..8 {
            lab.ask(0, &format!("put k {write}"));
            let took = lab.await_that("the write is answered", 3 * PAUSE, Lab::is_answered);
            longest = longest.max(took);
            // Nobody else is asked anything: a read must not need the next slot either.
            lab.world.read(0, b"get k", Read::Fast).unwrap();
            lab.await_that("the read is answered", 3 * PAUSE, Lab::is_answered);
            let read = lab.world.calls().unwrap().last().unwrap().clone();
            let (seq, how) = read.found.unwrap();
            assert_eq!(how, How::Read(Read::Fast), "at {seq}");
            let Some((_, Outcome::Done(reply))) = read.returned else { panic!("{read:?}") };
            assert_eq!(reply.as_ref(), write.to_string().as_bytes());
        }
        let by_certificate = lab.count(&[&format!(" -> {victim}: COMMIT-CERT")]);
        assert!(by_certificate >= 8, "{by_certificate} certificates for {victim}");
        assert!(lab.lies(0) > 0, "the primary answers");
        assert_eq!(lab.count(&["0 -> client", "REPLY"]), 0, "the primary answers");
        assert_eq!((lab.view_changes(), lab.count(&["CHECKPOINT"])), (0, 0));
        println!("n = {replicas}: the longest write took {longest} us");
    }
}

#[test]
fn d12_who_is_left_out_asks_for_the_rest_however_steadily_a_liar_lets_it_have_one_batch() {
    let mut puppets = Puppets::around(2, &calm(4, 1), 0);
    let null = puppets.pens.null();
    // STATUS, and answers to it, of which there are none here.
    let relayed = |puppets: &Puppets| puppets.lab.world.node(ReplicaId(2)).host().counters().repeated;
    let (start, before) = (puppets.lab.world.now(), relayed(&puppets));
    let first = puppets.lab.replica(2).committed().0 + 1;
    for seq in first..first + 60 {
        puppets.propose(0, seq, None);
        puppets.commit(&[0, 1, 3], prepare(0, seq, null));
        assert_eq!(puppets.lab.replica(2).committed().0, seq, "one batch after the other");
        // The others are far ahead of what a primary proposes to whoever keeps up.
        puppets.commit(&[1, 3], prepare(0, seq + 9, null));
    }
    let passed = puppets.lab.world.now().since(start);
    let (asked, expected) = (relayed(&puppets) - before, passed / (2 * PAUSE));
    assert!(
        asked >= expected && expected >= 5,
        "{asked} STATUS in {passed} us: who is left out lets a liar hold it at one batch now and then"
    );
}
