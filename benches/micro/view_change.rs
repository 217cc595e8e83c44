//! The largest view change that there is reason to fear: 31 replicas, and a window of slots that nobody here has seen.

use quorate_protocol::certificate::Certificate;
use quorate_protocol::codec::List;
use quorate_protocol::crypto::Digest;
use quorate_protocol::message::{NewView, PeerMessage, Prepare, ViewChange};
use quorate_protocol::parameters::{Context, Parameters};
use quorate_protocol::replica::Replica;
use quorate_protocol::types::{ReplicaId, Seq, View};
use quorate_protocol::verify::Verifier;

use crate::made::{self, Arrival, frame, signer};
use crate::steps::receive;
use crate::table::{Bench, Each};

pub(crate) fn measure(bench: &mut Bench) {
    let parameters = Parameters { window: 256, ..Parameters::default() };
    let context = made::context_of(31, parameters);
    let frames = frames(&context);
    bench.measure(
        "view change: 31 replicas, 256 slots, nothing known",
        Each(1, "view change"),
        || (Replica::new(context.clone(), ReplicaId(30)), Verifier::new(context.clone(), [3; 32])),
        |(mut replica, mut verifier)| {
            receive(&mut replica, &mut verifier, &frames);
            assert_eq!(replica.view(), View(1));
            assert_eq!(verifier.checks().signatures, 30 * 256 + 21 + 1);
            (replica, verifier)
        },
    );
}

/// A quorum of VIEW-CHANGEs that prove a full window, each with another quorum of PREPAREs, and the NEW-VIEW they make.
/// The last replica, which is to take them, has not voted.
fn frames(context: &Context) -> Vec<Arrival> {
    let n = u8::try_from(context.committee.size()).expect("n is 31");
    let quorum = made::quorum(context);
    let votes: Vec<Vec<_>> = (1..=context.parameters.window)
        .map(|seq| {
            let statement = Prepare { view: View(0), seq: Seq(seq), digest: Digest([7; 32]) };
            (0..n).map(|id| signer(context, id).sign(statement).into_inner()).collect()
        })
        .collect();
    let leaving = |id: u8| {
        let prepared = votes.iter().map(|of_slot| {
            let mut shown: Vec<_> =
                (0..quorum).map(|offset| &of_slot[usize::from((id + offset) % (n - 1))]).collect();
            shown.sort_by_key(|vote| vote.signer);
            let signatures = shown.iter().map(|vote| (vote.signer, vote.signature)).collect();
            Certificate { statement: shown[0].body, signatures: List(signatures) }
        });
        let body = ViewChange { view: View(1), stable: None, prepared: List(prepared.collect()) };
        signer(context, id).sign(body).shared()
    };
    let leaving: Vec<_> = (0..quorum).map(leaving).collect();
    let named = leaving.iter().map(|message| (message.signer, message.digest())).collect();
    let new_view = signer(context, 1).sign(NewView { view: View(1), view_changes: List(named) });
    let frames =
        (0..).zip(leaving).map(|(id, message)| frame(id, &PeerMessage::ViewChange(message.into_inner())));
    let mut frames: Vec<_> = frames.collect();
    frames.push(frame(1, &PeerMessage::NewView(new_view.into_inner())));
    frames
}
