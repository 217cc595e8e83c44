//! A6: certificates, VIEW-CHANGEs and NEW-VIEWs that prove nothing are refused whole, and their neighbours are not.

use super::*;
use crate::verify::{Incoming, Invalid, Verifier};

const D: Digest = Digest([3; 32]);
const OTHER: Digest = Digest([4; 32]);

/// A kind of certificate, inside the message that carries it.
type Carrier<S> = fn(&Bench, Certificate<S>) -> PeerMessage;

/// What is wrong with a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    Empty,
    OneTooFew,
    OneTooMany,
    SignerTwice,
    PrimaryTwice,
    Unsorted,
    Stranger,
    OtherStatement,
    ForgedSignature,
    SwappedSignatures,
    OtherEpoch,
    OtherCluster,
}

const FLAWS: [Flaw; 12] = [
    Flaw::Empty,
    Flaw::OneTooFew,
    Flaw::OneTooMany,
    Flaw::SignerTwice,
    Flaw::PrimaryTwice,
    Flaw::Unsorted,
    Flaw::Stranger,
    Flaw::OtherStatement,
    Flaw::ForgedSignature,
    Flaw::SwappedSignatures,
    Flaw::OtherEpoch,
    Flaw::OtherCluster,
];

impl Flaw {
    /// A certificate of replicas 0 to q - 1 with this flaw and no other. Replica 0 is the primary of its view.
    fn make<S: Statement + Clone>(self, bench: &Bench, good: &S, other: &S) -> Certificate<S> {
        let quorum = u16::try_from(bench.context.committee.quorum()).unwrap();
        let signers: Vec<u16> = match self {
            Self::Empty => Vec::new(),
            Self::OneTooFew => (0..quorum - 1).collect(),
            Self::OneTooMany => (0..=quorum).collect(),
            Self::SignerTwice => (0..quorum - 1).chain([quorum - 2]).collect(),
            Self::PrimaryTwice => [0].into_iter().chain(0..quorum - 1).collect(),
            Self::Unsorted => (0..quorum).rev().collect(),
            _ => (0..quorum).collect(),
        };
        let mut certificate = bench.certificate(good.clone(), &signers);
        let signatures = &mut certificate.signatures.0;
        match self {
            Self::Stranger => {
                signatures.last_mut().unwrap().0 = ReplicaId(u16::try_from(bench.signers.len()).unwrap());
            }
            Self::OtherStatement => signatures[1].1 = bench.sign(1, other.clone()).signature,
            Self::ForgedSignature => signatures[1].1.0[7] ^= 1,
            Self::SwappedSignatures => {
                let (first, second) = (signatures[0].1, signatures[1].1);
                (signatures[0].1, signatures[1].1) = (second, first);
            }
            Self::OtherEpoch | Self::OtherCluster => {
                for (id, signature) in signatures.iter_mut() {
                    let key = Arc::new(SecretKey::from_seed(&[u8::try_from(id.0).unwrap() + 1; 32]));
                    let (mut cluster, mut epoch) = (bench.context.cluster, bench.context.epoch);
                    if self == Self::OtherEpoch {
                        epoch = Epoch(1);
                    } else {
                        cluster = ClusterId(Digest([10; 32]));
                    }
                    *signature = Signer::new(key, cluster, epoch, *id).sign(good.clone()).signature;
                }
            }
            _ => {}
        }
        certificate
    }

    fn is_why(self, why: &Invalid, replicas: u16) -> bool {
        match self {
            Self::Empty
            | Self::OneTooFew
            | Self::OneTooMany
            | Self::SignerTwice
            | Self::PrimaryTwice
            | Self::Unsorted => matches!(why, Invalid::Certificate(_)),
            Self::Stranger => *why == Invalid::NotInCommittee(ReplicaId(replicas)),
            _ => *why == Invalid::Signature,
        }
    }
}

/// Why this message is refused, verified together with good ones before and behind it, which are not.
fn refuse(n: u16, make: impl Fn(&Bench) -> PeerMessage) -> Invalid {
    let bench = Bench::new(n, 0);
    let mut verifier = Verifier::new(bench.context.clone(), [5; 32]);
    let peer = |message| Incoming::Peer { from: ReplicaId(1), message };
    let quorum: Vec<u16> = (1..=u16::try_from(bench.context.committee.quorum()).unwrap()).collect();
    let vote = peer(PeerMessage::Prepare(bench.sign(1, vote(0, 1, D)).into_inner()));
    let proof = peer(PeerMessage::CommitCertificate(bench.certificate(commit(), &quorum)));
    let mut verdicts = verifier.verify(vec![vote, peer(make(&bench)), proof]);
    assert!(verdicts[0].is_ok() && verdicts[2].is_ok(), "neighbours are not harmed");
    verdicts.swap_remove(1).expect_err("it must be refused")
}

fn accept(n: u16, make: impl Fn(&Bench) -> PeerMessage) {
    let bench = Bench::new(n, 0);
    let mut verifier = Verifier::new(bench.context.clone(), [5; 32]);
    let message = Incoming::Peer { from: ReplicaId(1), message: make(&bench) };
    let verdict = verifier.verify(vec![message]).swap_remove(0);
    assert!(verdict.is_ok(), "it must be accepted: {verdict:?}");
}

fn commit() -> Commit {
    Commit { view: View(0), seq: Seq(1), digest: D }
}

fn checkpoint(root: Digest) -> Checkpoint {
    Checkpoint { seq: Seq(4), root, epoch_end: Seq::MAX }
}

/// A VIEW-CHANGE of replica 1 to view 2.
fn leaving(
    bench: &Bench,
    stable: Option<Certificate<Checkpoint>>,
    prepared: Vec<Certificate<Prepare>>,
) -> PeerMessage {
    let body = ViewChange { view: View(2), stable, prepared: List(prepared) };
    PeerMessage::ViewChange(bench.sign(1, body).shared().into_inner())
}

/// Every flaw, for committees of which the quorum is 2f + 1 and of which it is more.
fn every_flaw_is_refused<S: Statement + Clone>(good: &S, other: &S, carry: Carrier<S>) {
    for n in [4, 5, 6, 7] {
        let quorum = u16::try_from(crate::committee::quorum(n.into())).unwrap();
        accept(n, |bench| carry(bench, bench.certificate(good.clone(), &(0..quorum).collect::<Vec<_>>())));
        // Without the primary of its view: a quorum is a quorum.
        accept(n, |bench| carry(bench, bench.certificate(good.clone(), &(1..=quorum).collect::<Vec<_>>())));
        for flaw in FLAWS {
            let why = refuse(n, |bench| carry(bench, flaw.make(bench, good, other)));
            assert!(flaw.is_why(&why, n), "n = {n}, {flaw:?}: {why}");
        }
    }
}

// What these would miss: a flaw that only shows after the border, in how a replica counts; that is what
// `one_bad_vote_does_not_poison_the_others` and `a6_a_new_view_that_names_...` are for.
#[test]
fn a6_commit_certificates_with_a_flaw_are_refused_whole() {
    let other = Commit { digest: OTHER, ..commit() };
    every_flaw_is_refused(&commit(), &other, |_, certificate| PeerMessage::CommitCertificate(certificate));
}

#[test]
fn a6_stable_certificates_with_a_flaw_are_refused_whole() {
    let (good, other) = (checkpoint(D), checkpoint(OTHER));
    every_flaw_is_refused(&good, &other, |_, certificate| PeerMessage::StableCertificate(certificate));
    every_flaw_is_refused(&good, &other, |bench, certificate| leaving(bench, Some(certificate), Vec::new()));
}

#[test]
fn a6_prepared_certificates_with_a_flaw_are_refused_with_the_view_change_that_carries_them() {
    let (good, other) = (vote(0, 2, D), vote(0, 2, OTHER));
    every_flaw_is_refused(&good, &other, |bench, certificate| leaving(bench, None, vec![certificate]));
    // The good ones beside it do not help it.
    every_flaw_is_refused(&good, &other, |bench, certificate| {
        let quorum: Vec<u16> = (0..u16::try_from(bench.context.committee.quorum()).unwrap()).collect();
        let beside = |seq| bench.certificate(vote(1, seq, D), &quorum);
        leaving(bench, None, vec![beside(1), certificate, beside(3)])
    });
}

#[test]
fn a6_prepares_are_no_commits_although_they_say_the_same() {
    let why = refuse(4, |bench| {
        let prepares = bench.certificate(vote(0, 1, D), &[0, 1, 2]);
        PeerMessage::CommitCertificate(Certificate { statement: commit(), signatures: prepares.signatures })
    });
    assert_eq!(why, Invalid::Signature);
    let why = refuse(4, |bench| {
        let commits = bench.certificate(commit(), &[0, 1, 2]);
        let claimed = Certificate { statement: vote(0, 1, D), signatures: commits.signatures };
        leaving(bench, None, vec![claimed])
    });
    assert_eq!(why, Invalid::Signature);
}

// Would miss certificates whose statements are right and whose signatures are not; the flaws above have those.
#[test]
fn a6_a_view_change_shows_each_slot_once_in_order_of_older_views_and_between_its_watermarks() {
    // Without a stable checkpoint the window is 1 to 8; with one at 4 it is 5 to 12.
    let cases: [(bool, &[(u64, u64)]); 11] = [
        (false, &[(2, 1)]),
        (false, &[(3, 1)]),
        (false, &[(u64::MAX, 1)]),
        (false, &[(0, 0)]),
        (false, &[(0, 9)]),
        (false, &[(0, u64::MAX)]),
        (false, &[(0, 2), (0, 1)]),
        (false, &[(0, 1), (1, 1)]),
        (true, &[(0, 4)]),
        (true, &[(0, 13)]),
        (true, &[(0, 5), (2, 6), (0, 7)]),
    ];
    let make = |bench: &Bench, stable: bool, slots: &[(u64, u64)]| {
        let stable = stable.then(|| bench.certificate(checkpoint(D), &[0, 1, 2]));
        let prepared = slots.iter().map(|(view, seq)| bench.certificate(vote(*view, *seq, D), &[0, 1, 2]));
        leaving(bench, stable, prepared.collect())
    };
    for (stable, slots) in cases {
        let why = refuse(4, |bench| make(bench, stable, slots));
        assert!(matches!(why, Invalid::ViewChange(_)), "{stable} {slots:?}: {why}");
    }
    accept(4, |bench| make(bench, false, &[(0, 1), (1, 2), (0, 8)]));
    accept(4, |bench| make(bench, true, &[(1, 5), (0, 12)]));
    let why = refuse(4, |bench| {
        let beginning = Checkpoint { seq: Seq(0), root: D, epoch_end: Seq::MAX };
        leaving(bench, Some(bench.certificate(beginning, &[0, 1, 2])), Vec::new())
    });
    assert!(matches!(why, Invalid::ViewChange(_)), "{why}");
}

// Names no VIEW-CHANGE that exists, so it would miss what a replica does with those it gets; the next one has that.
#[test]
fn a6_a_new_view_names_exactly_a_quorum_of_distinct_replicas_and_comes_of_its_primary() {
    let make = |bench: &Bench, signer: u16, named: &[u16]| {
        let named = List(named.iter().map(|id| (ReplicaId(*id), D)).collect());
        PeerMessage::NewView(bench.sign(signer, NewView { view: View(1), view_changes: named }).into_inner())
    };
    for named in [&[0, 1][..], &[0, 1, 2, 3], &[0, 1, 1], &[1, 1, 1], &[2, 1, 0], &[]] {
        let why = refuse(4, |bench| make(bench, 1, named));
        assert!(matches!(why, Invalid::NewView(_)), "{named:?}: {why}");
    }
    // Three of six are no quorum, and of five neither.
    for n in [5, 6] {
        let why = refuse(n, |bench| make(bench, 1, &[0, 1, 2]));
        assert!(matches!(why, Invalid::NewView(_)), "n = {n}: {why}");
    }
    let why = refuse(4, |bench| make(bench, 2, &[0, 1, 2]));
    assert_eq!(why, Invalid::NotPrimary { signer: ReplicaId(2), view: View(1) });
    let why = refuse(4, |bench| make(bench, 1, &[0, 1, 4]));
    assert_eq!(why, Invalid::NotInCommittee(ReplicaId(4)));
    accept(4, |bench| make(bench, 1, &[0, 2, 3]));
}

/// What a replica does with a NEW-VIEW of view 1 that names these VIEW-CHANGEs, while it waits for view 1.
fn named(make: impl Fn(&Bench) -> Vec<Verified<Arc<NamedViewChange>>>) -> Bench {
    let mut bench = Bench::new(4, 2);
    for id in [0, 3] {
        let message = bench.view_change(id, 1, Vec::new());
        bench.step(Event::ViewChange(message));
    }
    assert_eq!((bench.replica.view(), bench.replica.status()), (View(1), Status::ViewChanging));
    let messages = make(&bench);
    let new_view = bench.new_view(1, &messages.iter().collect::<Vec<_>>());
    bench.step(Event::NewView(new_view));
    for message in messages {
        bench.step(Event::ViewChange(message));
    }
    bench
}

// Would miss two NEW-VIEWs of one primary that are both true: they are no flaw, and either may be entered.
#[test]
fn a6_a_new_view_that_names_view_changes_of_other_views_opens_nothing() {
    for views in [[1, 1, 3], [0, 1, 1], [3, 3, 3], [u64::MAX, 1, 1]] {
        let bench = named(|bench| {
            [0, 1, 3]
                .into_iter()
                .zip(views)
                .map(|(id, view)| bench.view_change(id, view, Vec::new()))
                .collect()
        });
        let entered = bench.replica.new_view.as_ref().map(|open| open.new_view.view);
        assert_eq!(entered, None, "{views:?}");
        assert_eq!(bench.replica.status(), Status::ViewChanging, "{views:?}");
        assert!(bench.prepares().is_empty() && bench.alarms.is_empty(), "{views:?}");
    }
    let bench = named(|bench| [0, 1, 3].map(|id| bench.view_change(id, 1, Vec::new())).to_vec());
    assert_eq!(
        (bench.replica.view(), bench.replica.status()),
        (View(1), Status::Normal),
        "the good one opens it"
    );
}

// Would miss what a refused message costs: the border counts that.
#[test]
fn a6_a_refused_view_change_takes_nothing_of_the_others_with_it() {
    let mut bench = Bench::new(4, 2);
    let mut verifier = Verifier::new(bench.context.clone(), [5; 32]);
    let good = |bench: &Bench, id: u16| {
        let held = bench.certificate(vote(0, 1, D), &[0, 1, 3]);
        PeerMessage::ViewChange(Arc::clone(&bench.view_change(id, 1, vec![held]).into_inner()))
    };
    let bad = bench.view_change(1, 1, vec![bench.certificate(vote(0, 2, D), &[])]).into_inner();
    let from = |id: u16, message| Incoming::Peer { from: ReplicaId(id), message };
    let messages =
        vec![from(0, good(&bench, 0)), from(1, PeerMessage::ViewChange(bad)), from(3, good(&bench, 3))];
    let verdicts = verifier.verify(messages);
    assert_eq!(verdicts.iter().filter(|verdict| verdict.is_err()).count(), 1);
    verdicts.into_iter().flatten().for_each(|event| bench.step(event));
    assert_eq!(bench.replica.view(), View(1), "the two good ones took it along");
    assert_eq!(bench.replica.view_changes.len(), 3, "theirs and its own");
    let kept = bench.replica.view_changes.values().map(|held| held.prepared.len()).collect::<Vec<_>>();
    assert_eq!(kept, [1, 0, 1]);
}
