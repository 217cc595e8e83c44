//! What makes a quorum, and what two replicas must judge alike: one test for each known way to get it wrong.

use std::sync::Arc;

use quorate_protocol::codec;
use quorate_protocol::message::{Checkpoint, Commit, PeerMessage, PrePrepare, Prepare};
use quorate_protocol::process::Event;
use quorate_protocol::replica::reproposals;
use quorate_protocol::request::{Draft, Kind, Operations, Request};
use quorate_protocol::signed::Signed;
use quorate_protocol::types::{Digest, Number, Seq, Session, Time, View};
use quorate_protocol::verify::{Incoming, Invalid, Verifier};
use quorate_sim::world::World;

use super::lab::calm;
use super::puppets::{Pens, prepare};

fn pens() -> Pens {
    Pens::of(World::new(&calm(4, 1)).context())
}

fn digest(byte: u8) -> Digest {
    Digest([byte; 32])
}

fn request(pens: &Pens, operations: &[&[u8]]) -> Request {
    let operations = Operations::new(operations.iter().copied());
    let (session, first, ack) = (Session(1), Number(1), Number(1));
    let draft = Draft { session, first, ack, kind: Kind::Operations, operations };
    Request::sign(&World::secret_of_client(0), pens.context.cluster, draft)
}

#[test]
fn p1_of_two_prepared_certificates_the_one_of_the_higher_view_is_proposed_again() {
    let pens = pens();
    let of = |view, byte| pens.certificate(&[0, 1, 2], &prepare(view, 1, digest(byte)));
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let shown = [(1, 9), (3, 5), (2, 7)];
        let all = order.map(|at: usize| shown[at]);
        let named: Vec<_> = (0..)
            .zip(all)
            .map(|(id, (view, byte))| pens.view_change(id, 4, None, &[of(view, byte)]))
            .collect();
        let again = reproposals(&named, pens.null()).unwrap();
        assert_eq!(
            again.slots,
            [(Seq(1), digest(5))],
            "a batch that may have committed in view 3 gives way to one of an older view ({order:?})"
        );
    }
}

#[test]
fn p2_a_certificate_of_any_other_number_of_signatures_than_a_quorum_is_refused() {
    let pens = pens();
    let (vote, commit) = (prepare(0, 1, digest(1)), Commit { view: View(0), seq: Seq(1), digest: digest(1) });
    for ids in [&[][..], &[0], &[0, 1], &[0, 1, 2, 3]] {
        let shown = pens.view_change(3, 1, None, &[pens.certificate(ids, &vote)]);
        for message in
            [PeerMessage::ViewChange(shown), PeerMessage::CommitCertificate(pens.certificate(ids, &commit))]
        {
            let refused = pens.judge(3, message);
            assert!(
                matches!(refused, Err(Invalid::Certificate(_))),
                "{} signatures were taken for a quorum",
                ids.len()
            );
        }
    }
    let good = pens.view_change(3, 1, None, &[pens.certificate(&[0, 1, 2], &vote)]);
    assert!(pens.judge(3, PeerMessage::ViewChange(good)).is_ok());
}

#[test]
fn p2_three_signatures_of_one_replica_are_one_vote() {
    let pens = pens();
    let (vote, commit) = (prepare(0, 1, digest(1)), Commit { view: View(0), seq: Seq(1), digest: digest(1) });
    for ids in [[3, 3, 3], [0, 3, 3], [1, 0, 2]] {
        let shown = pens.view_change(3, 1, None, &[pens.certificate(&ids, &vote)]);
        for message in
            [PeerMessage::ViewChange(shown), PeerMessage::CommitCertificate(pens.certificate(&ids, &commit))]
        {
            let refused = pens.judge(3, message);
            assert!(
                matches!(refused, Err(Invalid::Certificate(_))),
                "signatures of {ids:?} were taken for three replicas"
            );
        }
    }
}

#[test]
fn p3_a_prepare_shown_as_a_commit_is_refused() {
    let pens = pens();
    let vote = pens.sign(2, prepare(0, 1, digest(1)));
    let Prepare { view, seq, digest } = vote.body;
    let shown = Signed { body: Commit { view, seq, digest }, signer: vote.signer, signature: vote.signature };
    assert!(pens.judge(2, PeerMessage::Prepare(vote)).is_ok());
    let refused = pens.judge(2, PeerMessage::Commit(shown));
    assert_eq!(refused.err(), Some(Invalid::Signature), "a PREPARE passed for a COMMIT");
}

#[test]
fn p6_a_new_view_that_names_one_replica_several_times_is_refused() {
    let pens = pens();
    let one = pens.view_change(3, 1, None, &[]);
    let named = [Arc::clone(&one), Arc::clone(&one), one];
    let refused = pens.judge(1, PeerMessage::NewView(pens.new_view(1, &named)));
    assert!(
        matches!(refused, Err(Invalid::NewView(_))),
        "a view opens with the VIEW-CHANGE of one replica, named three times"
    );
    let named = [0, 2, 3].map(|id| pens.view_change(id, 1, None, &[]));
    assert!(pens.judge(1, PeerMessage::NewView(pens.new_view(1, &named))).is_ok());
}

#[test]
fn p9_a_slot_that_prepared_is_proposed_again_and_the_gap_below_it_filled() {
    let pens = pens();
    let prepared = pens.certificate(&[0, 1, 2], &prepare(0, 3, digest(1)));
    let named = [
        pens.view_change(0, 1, None, &[]),
        pens.view_change(1, 1, None, &[prepared]),
        pens.view_change(2, 1, None, &[]),
    ];
    let null = pens.null();
    let again = reproposals(&named, null).unwrap();
    assert_eq!(
        again.slots,
        [(Seq(1), null), (Seq(2), null), (Seq(3), digest(1))],
        "a batch that may have committed is left out of the new view"
    );
}

#[test]
fn p10_a_new_view_begins_at_the_highest_stable_checkpoint_it_is_shown() {
    let pens = pens();
    let stable = |seq| {
        let statement = Checkpoint { seq: Seq(seq), root: digest(8), epoch_end: Seq::MAX };
        Some(pens.certificate(&[0, 1, 2], &statement))
    };
    let old = pens.certificate(&[0, 1, 2], &prepare(0, 6, digest(1)));
    let named = [
        pens.view_change(0, 1, stable(4), &[old]),
        pens.view_change(1, 1, stable(8), &[]),
        pens.view_change(2, 1, stable(4), &[]),
    ];
    let again = reproposals(&named, pens.null()).unwrap();
    let from = again.stable.map(|certificate| certificate.statement.seq);
    assert_eq!(
        (from, again.slots),
        (Some(Seq(8)), Vec::new()),
        "slots that others let go of are opened again"
    );
}

#[test]
fn p14_two_prepared_certificates_of_one_view_are_never_chosen_between() {
    let pens = pens();
    let of = |byte| pens.certificate(&[0, 1, 2], &prepare(2, 1, digest(byte)));
    let named = [
        pens.view_change(0, 4, None, &[of(9)]),
        pens.view_change(1, 4, None, &[of(5)]),
        pens.view_change(2, 4, None, &[]),
    ];
    assert!(
        reproposals(&named, pens.null()).is_err(),
        "of two batches that both prepared in one view one is chosen, and nobody hears of it"
    );
}

#[test]
fn p17_batches_of_different_requests_have_different_digests() {
    let pens = pens();
    let whole =
        |requests: Vec<Request>| pens.batch(Time(5), requests.into_iter().map(Arc::new).collect()).digest;
    let two = whole(vec![request(&pens, &[b"put a", b" 1"])]);
    for (what, other) in [
        ("cut elsewhere", whole(vec![request(&pens, &[b"put", b" a 1"])])),
        ("in one piece", whole(vec![request(&pens, &[b"put a 1"])])),
        ("in two requests", whole(vec![request(&pens, &[b"put a"]), request(&pens, &[b" 1"])])),
        ("with an empty one", whole(vec![request(&pens, &[b"put a 1"]), request(&pens, &[b""])])),
    ] {
        assert_ne!(two, other, "two batches have one digest: the same bytes, {what}");
    }
    assert_ne!(whole(Vec::new()), pens.null(), "an empty batch is not the null batch");
}

#[test]
fn p18_a_body_that_is_not_what_the_proposal_names_is_no_body_of_it() {
    let pens = pens();
    let (named, other) = (pens.batch(Time(5), Vec::new()), pens.batch(Time(6), Vec::new()));
    for (body, good) in [(&named, true), (&other, false)] {
        let proposal = pens.sign(0, prepare(0, 1, named.digest));
        let batch = Some(body.batch.clone());
        let heard = pens.judge(0, PeerMessage::PrePrepare(PrePrepare { prepare: proposal, batch }));
        let Ok(Event::PrePrepare { body, .. }) = heard else { panic!("the proposal itself is good") };
        assert_eq!(body.is_some(), good, "a batch was taken under another one's digest");
    }
}

/// A request with a signature of nobody's: its key and R are points of small order, s is 0. The cofactored rule takes
/// it, the one without cofactor takes it or not, as the message will have it.
fn crafted(pens: &Pens, number: u8) -> Arc<Request> {
    const OF_ORDER_8: [u8; 32] = [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5,
        0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ];
    let mut bytes = codec::encode(&request(pens, &[&[number]])).unwrap();
    let signature = bytes.len() - 64;
    bytes[..32].copy_from_slice(&OF_ORDER_8);
    bytes[signature..].fill(0);
    bytes[signature..signature + 32].copy_from_slice(&OF_ORDER_8);
    Arc::new(codec::decode(&bytes).unwrap())
}

#[test]
fn p20_two_replicas_judge_a_crafted_signature_alike_alone_and_among_others() {
    let pens = pens();
    let verdicts = |secret: u8, together: usize| -> Vec<bool> {
        let mut verifier = Verifier::new(pens.context.clone(), [secret; 32]);
        let requests: Vec<_> = (0..24).map(|number| crafted(&pens, number)).collect();
        let incoming = |request: &Arc<Request>| Incoming::Client(Arc::clone(request));
        let judged = requests
            .chunks(together)
            .flat_map(|some| verifier.verify(some.iter().map(incoming).collect::<Vec<_>>()));
        judged.map(|verdict| verdict.is_ok()).collect()
    };
    let primary = verdicts(1, 1);
    for (secret, together) in [(2, 1), (2, 5), (3, 24)] {
        let backup = verdicts(secret, together);
        assert_eq!(primary, backup, "what the primary ordered, a backup refuses");
    }
    assert!(primary.iter().all(|good| *good), "the rule is the cofactored one");
}
