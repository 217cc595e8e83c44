//! D12: clients that need a quorum of answers, and a primary that knows it (Berger, Reiser and Bessani, SRDS '21).
//!
//! Where reads are fast, a write takes q answers. Faulty primaries can be silent to the client and leave one correct
//! replica out, so that only q - 1 answers come; too few replicas complain to change the view, and a client that waits
//! sends nothing that would bring a checkpoint nearer. What helps is that every correct replica executes what committed
//! without waiting for either: it is shown the commit certificate as soon as it says where it stands.

use quorate_protocol::client::{How, Read};
use quorate_protocol::committee::faults;
use quorate_protocol::message::Outcome;

use super::lab::{Lab, calm};

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
