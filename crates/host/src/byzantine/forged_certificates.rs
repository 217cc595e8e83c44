//! A replica that shows certificates of things that no quorum ever said, alone and in its VIEW-CHANGEs.

use quorate_protocol::certificate::Certificate;
use quorate_protocol::codec::List;
use quorate_protocol::message::{Checkpoint, Commit, PeerMessage, Prepare, ViewChange};
use quorate_protocol::process::{Effect, Recipient, Say};
use quorate_protocol::signed::Statement;
use quorate_protocol::types::View;

use super::Behaviour;
use super::stage::{Saying, Stage};
use super::wrong_view_change::own_view_change;

#[derive(Debug)]
pub(super) struct ForgedCertificates;

/// Exactly a quorum of ascending signers. Every signature is this replica's own, so that one of them is good if it is
/// among the signers.
fn forge<S: Statement>(stage: &Stage<'_>, statement: S) -> Certificate<S> {
    let committee = &stage.replica.context().committee;
    let signature = stage.signer.sign(statement.clone()).signature;
    let first = committee.replicas().take(committee.quorum());
    let signatures = first.map(|signer| (signer, signature)).collect();
    Certificate { statement, signatures: List(signatures) }
}

/// The same VIEW-CHANGE with something else in every certificate that it shows, and one more if it shows none.
fn forged_view_change(stage: &Stage<'_>, truth: &ViewChange) -> ViewChange {
    let forged = |prepare: Prepare| {
        let digest = stage.made_up("forged", prepare.view, prepare.seq);
        forge(stage, Prepare { digest, ..prepare })
    };
    let mut prepared: Vec<_> = truth.prepared.iter().map(|held| forged(held.statement)).collect();
    if prepared.is_empty() && truth.view > View(0) {
        let (view, seq) = (View(truth.view.0 - 1), truth.low().next());
        prepared.push(forged(Prepare { view, seq, digest: stage.made_up("forged", view, seq) }));
    }
    ViewChange { prepared: List(prepared), ..truth.clone() }
}

impl ForgedCertificates {
    /// What is said besides, or instead.
    fn lie(stage: &Stage<'_>, message: &Say) -> Option<(bool, Say)> {
        if let Some(truth) = own_view_change(stage.me(), message) {
            return Some((true, Say::ViewChange(forged_view_change(stage, truth))));
        }
        let committed = |vote: Commit| {
            let digest = stage.made_up("forged", vote.view, vote.seq);
            Say::Relay(PeerMessage::CommitCertificate(forge(stage, Commit { digest, ..vote })))
        };
        let stable = |vote: Checkpoint| {
            let root = stage.made_up("forged", View(0), vote.seq);
            Say::Relay(PeerMessage::StableCertificate(forge(stage, Checkpoint { root, ..vote })))
        };
        match message {
            Say::Commit(vote) => Some((false, committed(*vote))),
            Say::Checkpoint(vote) => Some((false, stable(*vote))),
            Say::Relay(PeerMessage::CommitCertificate(held)) => Some((true, committed(held.statement))),
            Say::Relay(PeerMessage::StableCertificate(held)) => Some((true, stable(held.statement))),
            _ => None,
        }
    }
}

impl Behaviour for ForgedCertificates {
    fn say(&mut self, stage: &mut Stage<'_>, saying: Saying, out: &mut Vec<Effect>) {
        let Some((instead, lie)) = Self::lie(stage, &saying.message) else {
            return out.push(saying.effect());
        };
        if !stage.is_tempted(stage.replica.view(), None) {
            return out.push(saying.effect());
        }
        let targets = stage.targets();
        if instead {
            return stage.tell(saying, &targets, |_| vec![lie.clone()], out);
        }
        let after = saying.after;
        out.push(saying.effect());
        stage.count(targets.len());
        let besides = targets.into_iter().map(Recipient::Replica);
        out.extend(besides.map(|to| Saying { to, message: lie.clone(), after }.effect()));
    }
}
