//! Values to bytes, and bytes to values, digests of operations included.

use std::hint::black_box;

use quorate_protocol::codec::{self, Blob};
use quorate_protocol::message::{ClientMessage, Commit, Outcome, PeerMessage, Replies, Reply};
use quorate_protocol::request::Batch;
use quorate_protocol::types::{Digest, Epoch, Seq, View};

use crate::made;
use crate::table::{Bench, Each};

pub(crate) fn measure(bench: &mut Bench) {
    let context = made::context(4);
    for (requests, operations) in [(1, 1), (64, 1), (512, 1), (8, 64)] {
        let batch = made::batch(&context, 1, requests, operations);
        let together = batch.operations();
        let name = if operations == 1 {
            format!("requests of one operation, {requests}")
        } else {
            "8 bundles of 64".to_owned()
        };
        both(
            bench,
            &format!("a proposal, {name}"),
            Each(together, "operation"),
            &made::proposal(&context, Seq(1), &batch),
        );
    }
    let commit = Commit { view: View(0), seq: Seq(1), digest: Digest([7; 32]) };
    let commit = made::signer(&context, 0).sign(commit).into_inner();
    both(bench, "a vote", Each(1, "vote"), &PeerMessage::Commit(commit));
    for operations in [1, 64] {
        let replies = replies(&made::batch(&context, 1, 1, operations));
        let name = format!("replies to a bundle of {operations}");
        let each = Each(operations, "answer");
        bench.measure(
            &format!("codec: join and encode {name}"),
            each,
            || (),
            |()| codec::encode(&in_a_frame(black_box(&replies))),
        );
        both(bench, &name, each, &in_a_frame(&replies));
    }
}

/// What an application that returns 16 bytes answers to a batch.
fn replies(batch: &Batch) -> Vec<Reply> {
    let outcome = &Outcome::Done(Blob(vec![7; 16].into()));
    let replies = batch.requests.iter().flat_map(|request| {
        let session = request.session();
        let outcome = outcome.clone();
        request.operations().map(move |(number, operation, _)| Reply {
            seq: Seq(1),
            session,
            number,
            operation,
            outcome: outcome.clone(),
        })
    });
    replies.collect()
}

fn in_a_frame(replies: &[Reply]) -> ClientMessage {
    ClientMessage::Replies { epoch: Epoch(0), view: View(0), replies: Replies::of(replies) }
}

fn both<T: codec::Encode + codec::Decode<()>>(bench: &mut Bench, name: &str, each: Each, value: &T) {
    let bytes = codec::encode(value).expect("it encodes");
    bench.measure(&format!("codec: encode {name}"), each, || (), |()| codec::encode(black_box(value)));
    let decode = |()| codec::decode::<T>(black_box(&bytes)).expect("it decodes");
    bench.measure(&format!("codec: decode {name}"), each, || (), decode);
}
