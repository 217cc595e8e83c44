//! What is a proof, and what is not.

use super::*;
use crate::certificate::Certificate;
use crate::codec::{self, List};
use crate::committee::Committee;
use crate::crypto::SecretKey;
use crate::message::{Checkpoint, NewView, Prepare, ViewChange};
use crate::parameters::Parameters;
use crate::signed::Signer;
use crate::types::{ClusterId, Digest, Epoch, Seq, Signature, View};

const D1: Digest = Digest([1; 32]);
const D2: Digest = Digest([2; 32]);

fn key(id: u16) -> Arc<SecretKey> {
    Arc::new(SecretKey::from_seed(&[u8::try_from(id).unwrap() + 1; 32]))
}

fn cluster(name: u8, epoch: u64) -> Context {
    let keys: Vec<_> = (0..4).map(|id| key(id).public()).collect();
    Context {
        cluster: ClusterId(Digest([name; 32])),
        epoch: Epoch(epoch),
        committee: Arc::new(Committee::new(&keys, false).unwrap()),
        parameters: Arc::new(Parameters::default()),
    }
}

fn signed<S: Statement>(context: &Context, id: u16, body: S) -> Signed<S> {
    Signer::new(key(id), context.cluster, context.epoch, ReplicaId(id)).sign(body).into_inner()
}

fn prepare(view: u64, seq: u64, digest: Digest) -> Prepare {
    Prepare { view: View(view), seq: Seq(seq), digest }
}

fn commit(view: u64, seq: u64) -> Commit {
    Commit { view: View(view), seq: Seq(seq), digest: D1 }
}

fn view_change(view: u64, low: u64, shown: &[Prepare]) -> ViewChange {
    let checkpoint = Checkpoint { seq: Seq(low), root: D1, epoch_end: Seq::MAX };
    let stable = (low > 0).then_some(Certificate { statement: checkpoint, signatures: List(Vec::new()) });
    let shown = shown.iter().map(|shown| Certificate { statement: *shown, signatures: List(Vec::new()) });
    ViewChange { view: View(view), stable, prepared: List(shown.collect()) }
}

fn named(context: &Context, id: u16, message: ViewChange) -> Arc<NamedViewChange> {
    Arc::new(signed(context, id, message).into())
}

/// One of each kind, all of replica 2.
fn proofs(context: &Context) -> Vec<Accusation> {
    let vote = |digest| Sworn::Prepare(signed(context, 2, prepare(1, 7, digest)));
    let commits = |digest| Sworn::Commit(signed(context, 2, Commit { digest, ..commit(1, 7) }));
    let checkpoint = |root| Checkpoint { seq: Seq(8), root, epoch_end: Seq::MAX };
    let checkpoints = |root| Sworn::Checkpoint(signed(context, 2, checkpoint(root)));
    let leaves = |low| Sworn::ViewChange(named(context, 2, view_change(3, low, &[])).short());
    let opening = |digest| NewView { view: View(2), view_changes: List(vec![(ReplicaId(0), digest)]) };
    let opens = |digest| Sworn::NewView(signed(context, 2, opening(digest)).short());
    vec![
        Accusation::Twice(vote(D1), vote(D2)),
        Accusation::Twice(commits(D1), commits(D2)),
        Accusation::Twice(checkpoints(D1), checkpoints(D2)),
        Accusation::Twice(leaves(0), leaves(4)),
        Accusation::Twice(opens(D1), opens(D2)),
        Accusation::Withheld(signed(context, 2, commit(1, 7)), named(context, 2, view_change(2, 4, &[]))),
    ]
}

#[test]
fn one_proof_of_each_offence_names_the_liar_and_holds_in_its_own_cluster_and_epoch_alone() {
    let here = cluster(9, 0);
    for (accusation, offence) in proofs(&here).into_iter().zip(Offence::ALL) {
        assert_eq!((accusation.culprit(), accusation.offence()), (ReplicaId(2), offence));
        assert_eq!(accusation.check(&here), Ok(()), "{offence}");
        for elsewhere in [cluster(8, 0), cluster(9, 1)] {
            let forged = NotProof::Forged { signer: ReplicaId(2), which: "first" };
            assert_eq!(accusation.check(&elsewhere), Err(forged), "{offence}");
        }
        let bytes = codec::encode(&accusation).unwrap();
        assert_eq!(codec::decode::<Accusation>(&bytes), Ok(accusation));
        assert_eq!(Offence::parse(offence.name()), Some(offence));
    }
}

#[test]
fn the_signature_of_a_whole_view_change_or_new_view_is_good_for_its_short_form() {
    let here = cluster(9, 0);
    let whole = signed(&here, 1, view_change(3, 4, &[prepare(0, 5, D1)]));
    let short = NamedViewChange::from(whole.clone()).short();
    assert!(verify(&claim(&whole, &here).unwrap()) && verify(&claim(&short, &here).unwrap()));
    let other = Signed { body: ViewChange { view: View(4), ..whole.body.clone() }, ..whole };
    assert!(!verify(&claim(&NamedViewChange::from(other).short(), &here).unwrap()));
}

#[test]
fn what_a_correct_replica_may_sign_proves_nothing() {
    let here = cluster(9, 0);
    let votes = |id: u16, vote: Prepare| Sworn::Prepare(signed(&here, id, vote));
    let committed = |vote: Commit| Sworn::Commit(signed(&here, 2, vote));
    let lawful: Vec<Accusation> = vec![
        // The same again, another view, another slot, a PREPARE of one batch and a COMMIT of another.
        Accusation::Twice(votes(2, prepare(1, 7, D1)), votes(2, prepare(1, 7, D1))),
        Accusation::Twice(votes(2, prepare(1, 7, D1)), votes(2, prepare(2, 7, D2))),
        Accusation::Twice(votes(2, prepare(1, 7, D1)), votes(2, prepare(1, 8, D2))),
        Accusation::Twice(votes(2, prepare(1, 7, D2)), committed(commit(1, 7))),
        // A VIEW-CHANGE to the COMMIT's own view, with the certificate, with a newer one of another batch, and with the
        // slot below its stable checkpoint.
        Accusation::Withheld(signed(&here, 2, commit(2, 7)), named(&here, 2, view_change(2, 4, &[]))),
        Accusation::Withheld(
            signed(&here, 2, commit(1, 7)),
            named(&here, 2, view_change(2, 4, &[prepare(1, 7, D1)])),
        ),
        Accusation::Withheld(
            signed(&here, 2, commit(1, 7)),
            named(&here, 2, view_change(4, 4, &[prepare(3, 7, D2)])),
        ),
        Accusation::Withheld(signed(&here, 2, commit(1, 7)), named(&here, 2, view_change(2, 7, &[]))),
    ];
    for accusation in lawful {
        let found = accusation.check(&here);
        assert!(
            matches!(found, Err(NotProof::Lawful { signer: ReplicaId(2), .. })),
            "{accusation:?}: {found:?}"
        );
    }
    let two = Accusation::Twice(votes(2, prepare(1, 7, D1)), votes(3, prepare(1, 7, D2)));
    assert_eq!(two.check(&here), Err(NotProof::TwoSigners(ReplicaId(2), ReplicaId(3))));
    // An older certificate than the one that the COMMIT rests on is no excuse.
    let older = named(&here, 2, view_change(3, 4, &[prepare(0, 7, D1)]));
    assert_eq!(Accusation::Withheld(signed(&here, 2, commit(1, 7)), older).check(&here), Ok(()));
}

#[test]
fn nobody_is_accused_by_words_that_he_did_not_sign() {
    let here = cluster(9, 0);
    for accusation in proofs(&here) {
        let (forged, which) = match accusation {
            Accusation::Twice(one, Sworn::Prepare(other)) => {
                let other = Signed { signature: Signature([0; 64]), ..other };
                (Accusation::Twice(one, Sworn::Prepare(other)), "second")
            }
            // Another replica's signature under the same words.
            Accusation::Withheld(commit, view_change) => {
                let signature = signed(&here, 3, commit.body).signature;
                (Accusation::Withheld(Signed { signature, ..commit }, view_change), "first")
            }
            Accusation::Twice(..) => continue,
        };
        assert_eq!(forged.check(&here), Err(NotProof::Forged { signer: ReplicaId(2), which }));
    }
    let stranger = |digest| Sworn::Prepare(signed(&here, 9, prepare(1, 7, digest)));
    let accusation = Accusation::Twice(stranger(D1), stranger(D2));
    assert_eq!(accusation.check(&here), Err(NotProof::NotInCommittee(ReplicaId(9))));
}
