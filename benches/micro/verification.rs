//! Signatures checked together, of votes and of requests.

use quorate_protocol::message::{Commit, PeerMessage};
use quorate_protocol::parameters::Context;
use quorate_protocol::types::{Digest, ReplicaId, Seq, View};
use quorate_protocol::verify::{Incoming, Verifier};

use crate::made;
use crate::table::{Bench, Each};

/// Votes that are made. A batch that is checked again and again is learnt by heart by the processor's branch predictor,
/// and then costs less than it does in a replica.
const VOTES: u64 = 4096;

pub(crate) fn measure(bench: &mut Bench) {
    votes(bench);
    let context = made::context(4);
    for (name, requests, operations) in
        [("256 requests of one operation", 256, 1), ("4 bundles of 64 operations", 4, 64)]
    {
        let batch = made::batch(&context, 1, requests, operations);
        let message = made::proposal(&context, Seq(1), &batch);
        bench.measure(
            &format!("verify: a proposal of {name}"),
            Each(batch.operations(), "operation"),
            // A new verifier each time: one that has seen a request does not check it again.
            || (Verifier::new(context.clone(), [3; 32]), message.clone()),
            |(mut verifier, message)| {
                let verdicts = verifier.verify(vec![Incoming::Peer { from: ReplicaId(0), message }]);
                assert!(verdicts.iter().all(Result::is_ok));
                (verifier, verdicts)
            },
        );
    }
}

fn votes(bench: &mut Bench) {
    let context = made::context(31);
    let votes: Vec<_> = (0..VOTES).map(|index| vote(&context, index)).collect();
    for together in [1, 4, 16, 64, 256] {
        let mut verifier = Verifier::new(context.clone(), [3; 32]);
        let mut batches = votes.chunks_exact(together).cycle();
        bench.measure(
            &format!("verify: votes, {together} together"),
            Each(together, "vote"),
            || batches.next().expect("they begin again").to_vec(),
            |votes| {
                let verdicts = verifier.verify(votes);
                assert!(verdicts.iter().all(Result::is_ok));
                verdicts
            },
        );
    }
}

fn vote(context: &Context, index: u64) -> Incoming {
    let from = u8::try_from(index % 31).expect("it is below 31");
    let commit = Commit { view: View(0), seq: Seq(1 + index / 31), digest: Digest([from; 32]) };
    let message = PeerMessage::Commit(made::signer(context, from).sign(commit).into_inner());
    Incoming::Peer { from: ReplicaId(u16::from(from)), message }
}
