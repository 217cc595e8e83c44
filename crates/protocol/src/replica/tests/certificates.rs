//! Certificates that prove nothing are refused whole, and their neighbours are not.

use super::*;
use crate::verify::{Incoming, Invalid, Verifier};

const D: Digest = Digest([3; 32]);

fn refuse(n: u16, make: impl Fn(&Bench) -> PeerMessage) -> Invalid {
    let bench = Bench::new(n, 0);
    let mut verifier = Verifier::new(bench.context.clone(), [5; 32]);
    let peer = |message| Incoming::Peer { from: ReplicaId(1), message };
    let good = || peer(PeerMessage::Prepare(bench.sign(1, vote(0, 1, D)).into_inner()));
    let mut verdicts = verifier.verify(vec![good(), peer(make(&bench)), good()]);
    assert!(verdicts[0].is_ok() && verdicts[2].is_ok(), "neighbours are not harmed");
    verdicts.swap_remove(1).expect_err("it must be refused")
}

fn commit() -> Commit {
    Commit { view: View(0), seq: Seq(1), digest: D }
}

fn leaving(bench: &Bench, prepared: Vec<Certificate<Prepare>>) -> PeerMessage {
    PeerMessage::ViewChange(Arc::new(bench.view_change(1, 2, prepared).into_inner().as_ref().clone()))
}

#[test]
fn a_certificate_needs_exactly_a_quorum_of_distinct_signers_in_order() {
    for (n, signers) in [
        (4_u16, &[0, 1][..]),
        (4, &[0, 1, 2, 3]),
        (4, &[0, 1, 1]),
        (4, &[0, 0, 1]),
        (4, &[1, 0, 2]),
        (4, &[]),
        (6, &[0, 1, 2]),
    ] {
        let why = refuse(n, |bench| PeerMessage::CommitCertificate(bench.certificate(commit(), signers)));
        assert!(matches!(why, Invalid::Certificate(_)), "n = {n}, {signers:?}: {why}");
    }
}

#[test]
fn one_signature_for_another_digest_refuses_the_certificate() {
    let why = refuse(4, |bench| {
        let mut certificate = bench.certificate(commit(), &[0, 1, 2]);
        let other = bench.sign(2, Commit { digest: Digest([4; 32]), ..commit() });
        certificate.signatures.0[2].1 = other.signature;
        PeerMessage::CommitCertificate(certificate)
    });
    assert_eq!(why, Invalid::Signature);
}

#[test]
fn prepares_are_no_commits_although_they_say_the_same() {
    let why = refuse(4, |bench| {
        let prepares = bench.certificate(vote(0, 1, D), &[0, 1, 2]);
        PeerMessage::CommitCertificate(Certificate { statement: commit(), signatures: prepares.signatures })
    });
    assert_eq!(why, Invalid::Signature);
}

#[test]
fn a_signer_that_is_no_replica_refuses_the_certificate() {
    let why = refuse(4, |bench| {
        let mut certificate = bench.certificate(commit(), &[0, 1, 2]);
        certificate.signatures.0[2].0 = ReplicaId(4);
        PeerMessage::CommitCertificate(certificate)
    });
    assert_eq!(why, Invalid::NotInCommittee(ReplicaId(4)));
}

#[test]
fn a_certificate_of_another_epoch_is_no_certificate() {
    let why = refuse(4, |bench| {
        let sign = |id: u16| {
            let key = Arc::new(SecretKey::from_seed(&[u8::try_from(id).unwrap() + 1; 32]));
            let stranger = Signer::new(key, bench.context.cluster, Epoch(1), ReplicaId(id));
            (ReplicaId(id), stranger.sign(commit()).signature)
        };
        let signatures = List((0..3).map(sign).collect());
        PeerMessage::CommitCertificate(Certificate { statement: commit(), signatures })
    });
    assert_eq!(why, Invalid::Signature);
}

#[test]
fn a_certificate_without_the_primary_is_one() {
    let bench = Bench::new(4, 0);
    let mut verifier = Verifier::new(bench.context.clone(), [5; 32]);
    let message = leaving(&bench, vec![bench.certificate(vote(0, 1, D), &[1, 2, 3])]);
    assert!(verifier.verify(vec![Incoming::Peer { from: ReplicaId(1), message }])[0].is_ok());
}

#[test]
fn a_view_change_shows_each_slot_once_in_order_of_older_views_and_between_its_watermarks() {
    let cases: [&[(u64, u64)]; 6] =
        [&[(2, 1)], &[(3, 1)], &[(0, 0)], &[(0, 9)], &[(0, 2), (0, 1)], &[(0, 1), (1, 1)]];
    for case in cases {
        let why = refuse(4, |bench| {
            let prepared = case.iter().map(|(view, seq)| bench.certificate(vote(*view, *seq, D), &[0, 1, 2]));
            leaving(bench, prepared.collect())
        });
        assert!(matches!(why, Invalid::ViewChange(_)), "{case:?}: {why}");
    }
    let why = refuse(4, |bench| leaving(bench, vec![bench.certificate(vote(0, 1, D), &[])]));
    assert!(matches!(why, Invalid::Certificate(_)), "a prepared certificate without prepares: {why}");
}

#[test]
fn a_new_view_names_exactly_a_quorum_of_distinct_replicas_and_comes_of_its_primary() {
    for named in [&[0, 1][..], &[0, 1, 2, 3], &[0, 1, 1], &[2, 1, 0], &[]] {
        let why = refuse(4, |bench| {
            let named = List(named.iter().map(|id| (ReplicaId(*id), D)).collect());
            PeerMessage::NewView(bench.sign(1, NewView { view: View(1), view_changes: named }).into_inner())
        });
        assert!(matches!(why, Invalid::NewView(_)), "{named:?}: {why}");
    }
    let named = || List((0..3).map(|id| (ReplicaId(id), D)).collect());
    let why = refuse(4, |bench| {
        PeerMessage::NewView(bench.sign(2, NewView { view: View(1), view_changes: named() }).into_inner())
    });
    assert_eq!(why, Invalid::NotPrimary { signer: ReplicaId(2), view: View(1) });
}
