//! What a view change costs to verify: each distinct signature once, and a liar's no more than he must be granted.

use super::*;
use crate::verify::{Incoming, Invalid, Verifier};

fn verifier(bench: &Bench) -> Verifier {
    Verifier::new(bench.context.clone(), [5; 32])
}

fn from(id: u16, message: PeerMessage) -> Incoming {
    Incoming::Peer { from: ReplicaId(id), message }
}

fn wide(n: u16, window: u64) -> Bench {
    let mut bench = Bench::new(n, 0);
    let parameters = Parameters { checkpoint_interval: 4, window, ..Parameters::default() };
    bench.context.parameters = Arc::new(parameters);
    bench
}

/// The quorum of `n` replicas that begins with `first`.
fn quorum_from(bench: &Bench, first: u16) -> Vec<u16> {
    let n = u16::try_from(bench.context.committee.size()).unwrap();
    let quorum = u16::try_from(bench.context.committee.quorum()).unwrap();
    let mut ids: Vec<u16> = (0..quorum).map(|offset| (first + offset) % n).collect();
    ids.sort_unstable();
    ids
}

/// Replica `id` leaves for view 1 with a certificate for each slot of the window, of the quorum that begins with it.
fn leaving(bench: &Bench, id: u16) -> PeerMessage {
    let signers = quorum_from(bench, id);
    let slots = 1..=bench.context.parameters.window;
    let prepared = slots.map(|seq| bench.certificate(vote(0, seq, Digest([3; 32])), &signers));
    PeerMessage::ViewChange(bench.view_change(id, 1, prepared.collect()).into_inner())
}

#[test]
fn e6_a_signature_that_many_view_changes_show_is_checked_once() {
    for (n, together) in [(4_u16, true), (7, true), (7, false), (10, true)] {
        let bench = Bench::new(n, 0);
        let mut verifier = verifier(&bench);
        let quorum = u16::try_from(bench.context.committee.quorum()).unwrap();
        let messages: Vec<_> = (0..quorum).map(|id| from(id, leaving(&bench, id))).collect();
        let verdicts: Vec<_> = if together {
            verifier.verify(messages)
        } else {
            messages.into_iter().flat_map(|message| verifier.verify(vec![message])).collect()
        };
        assert!(verdicts.iter().all(Result::is_ok), "n = {n}");
        // They show quorum * quorum signatures for each of eight slots; there are n different ones.
        let (own, distinct) = (u64::from(quorum), 8 * u64::from(n));
        assert_eq!(verifier.checks().signatures, own + distinct, "n = {n}");
    }
}

#[test]
fn a_view_change_in_the_name_of_somebody_else_costs_one_signature() {
    let bench = Bench::new(7, 0);
    let mut verifier = verifier(&bench);
    let PeerMessage::ViewChange(real) = leaving(&bench, 3) else { unreachable!() };
    let forged = Signed { signer: ReplicaId(4), ..(**real).clone() };
    let forged = PeerMessage::ViewChange(Arc::new(forged.into()));
    assert_eq!(verifier.verify(vec![from(5, forged)])[0].as_ref().err(), Some(&Invalid::Signature));
    assert_eq!(verifier.checks().signatures, 1);
}

#[test]
fn a_view_change_full_of_garbage_is_given_up_at_the_first_bad_batch() {
    let bench = wide(10, 128);
    let mut verifier = verifier(&bench);
    let PeerMessage::ViewChange(real) = leaving(&bench, 3) else { unreachable!() };
    let mut body = real.body.clone();
    for certificate in &mut body.prepared.0 {
        let wrong = bench.sign(1, vote(9, 9, Digest([9; 32]))).signature;
        certificate.signatures.0.iter_mut().for_each(|(_, signature)| *signature = wrong);
    }
    let shown: u64 = body.prepared.iter().map(|certificate| certificate.signatures.len() as u64).sum();
    let message = PeerMessage::ViewChange(bench.sign(3, body).shared().into_inner());
    assert_eq!(verifier.verify(vec![from(3, message)])[0].as_ref().err(), Some(&Invalid::Signature));
    let checks = verifier.checks();
    assert_eq!(shown, 7 * 128);
    assert!(checks.signatures <= 1 + 512, "{checks:?}");
    assert!(checks.equations <= 2, "nobody searched for the culprits: {checks:?}");
}

#[test]
fn a_bad_signature_in_one_view_change_harms_no_other_that_shows_the_good_one() {
    let bench = Bench::new(7, 0);
    let mut verifier = verifier(&bench);
    let PeerMessage::ViewChange(real) = leaving(&bench, 1) else { unreachable!() };
    let mut body = real.body.clone();
    body.prepared.0[7].signatures.0[0].1 = bench.sign(1, vote(9, 9, Digest([9; 32]))).signature;
    let bad = PeerMessage::ViewChange(bench.sign(1, body).shared().into_inner());
    let verdicts = verifier.verify(vec![from(1, bad.clone()), from(2, leaving(&bench, 2)), from(1, bad)]);
    let good: Vec<_> = verdicts.iter().map(Result::is_ok).collect();
    assert_eq!(good, [false, true, false]);
}

#[test]
fn a_commit_certificate_that_comes_again_is_not_verified_again() {
    let bench = Bench::new(7, 0);
    let mut verifier = verifier(&bench);
    let commit = Commit { view: View(0), seq: Seq(1), digest: Digest([3; 32]) };
    let proof =
        |first| PeerMessage::CommitCertificate(bench.certificate(commit, &quorum_from(&bench, first)));
    for (id, total) in [(0, 5), (1, 6), (2, 7), (3, 7), (0, 7)] {
        assert!(verifier.verify(vec![from(1, proof(id))])[0].is_ok());
        assert_eq!(verifier.checks().signatures, total);
    }
    // What is known of a COMMIT says nothing about a PREPARE with the same fields.
    let prepares = bench.certificate(commit, &quorum_from(&bench, 0)).signatures;
    let prepared = Certificate { statement: vote(0, 1, Digest([3; 32])), signatures: prepares };
    let message = PeerMessage::ViewChange(bench.view_change(1, 1, vec![prepared]).into_inner());
    assert!(verifier.verify(vec![from(1, message)])[0].is_err());
}
