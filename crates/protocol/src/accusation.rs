//! Proof that a replica lied, which anybody can check who knows its cluster: what it signed, and nothing else.
//!
//! Only what no correct replica signs counts, whatever happened to it: crashes, restarts from its own disk, a journal
//! that was lost within its box. That a replica voted for something that nobody else did is not proof, nor is a PREPARE
//! that differs from its COMMIT; both are lawful. A proof says whose key signed. That a key signs for two processes, or
//! for a folder that was restored from a copy, looks the same as a lie, and is as dangerous.

use std::fmt;
use std::sync::Arc;

use crate::codec::{Decode, Encode};
use crate::crypto::{Claim, verify};
use crate::message::{Commit, NamedViewChange, Sworn, SwornKind};
use crate::parameters::Context;
use crate::signed::{Signed, Statement, signing_bytes};
use crate::types::ReplicaId;

/// What one replica signed and no correct replica signs.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Accusation {
    /// Two different statements of one kind about one place.
    Twice(Sworn, Sworn),
    /// A COMMIT, and a VIEW-CHANGE to a later view that shows, at a slot above its stable checkpoint, no certificate as
    /// new as the one that the COMMIT rests on.
    Withheld(Signed<Commit>, Arc<NamedViewChange>),
}

/// What a replica did; one accusation of each is kept for each replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Offence {
    /// It signed two PREPAREs.
    Prepares,
    /// It signed two COMMITs.
    Commits,
    /// It signed two CHECKPOINTs.
    Checkpoints,
    /// It signed two VIEW-CHANGEs.
    ViewChanges,
    /// It signed two NEW-VIEWs.
    NewViews,
    /// Its VIEW-CHANGE withholds what it committed to.
    Withheld,
}

impl Offence {
    /// All there are, in order.
    pub const ALL: [Self; 6] =
        [Self::Prepares, Self::Commits, Self::Checkpoints, Self::ViewChanges, Self::NewViews, Self::Withheld];

    /// A word for it, as file names have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prepares => "two-prepares",
            Self::Commits => "two-commits",
            Self::Checkpoints => "two-checkpoints",
            Self::ViewChanges => "two-view-changes",
            Self::NewViews => "two-new-views",
            Self::Withheld => "withheld-certificate",
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|offence| offence.name() == name)
    }

    /// Why no correct replica does that.
    #[must_use]
    pub const fn why(self) -> &'static str {
        match self {
            Self::Prepares => {
                "a correct replica prepares one batch at most for each view and slot: it makes the vote durable before it \
                 sends it, and one that may have forgotten votes casts none there"
            }
            Self::Commits => {
                "a correct replica commits to one batch at most for each view and slot: the one that a quorum prepared, \
                 whose certificate it makes durable before"
            }
            Self::Checkpoints => {
                "a correct replica has one state after each slot, and stores it before it votes for it; a replica that \
                 does not lie signs two only if its machine or its application computed one history in two ways"
            }
            Self::ViewChanges => {
                "a correct replica sends one VIEW-CHANGE for each view: it keeps the bytes and sends these again, and one \
                 that may have forgotten any sends none"
            }
            Self::NewViews => {
                "a correct primary opens its view once: it makes the NEW-VIEW durable before it sends it, and one that \
                 may have forgotten any opens none"
            }
            Self::Withheld => {
                "a correct replica makes the prepared certificate durable before its COMMIT, and shows it, or a newer one, \
                 in every later VIEW-CHANGE until the slot is stable"
            }
        }
    }
}

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prepares => "signed two different PREPAREs",
            Self::Commits => "signed two different COMMITs",
            Self::Checkpoints => "signed two different CHECKPOINTs",
            Self::ViewChanges => "signed two different VIEW-CHANGEs",
            Self::NewViews => "signed two different NEW-VIEWs",
            Self::Withheld => "left out of its VIEW-CHANGE what it had committed to",
        })
    }
}

/// Why an accusation proves nothing. Variants name whose fault it is as far as that is known: the file's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotProof {
    /// The accused is no replica of this cluster.
    #[error("it accuses replica {0}, and the cluster has no such replica")]
    NotInCommittee(ReplicaId),
    /// The statements are of two replicas.
    #[error("its statements are of replicas {0} and {1}: two may say different things")]
    TwoSigners(ReplicaId, ReplicaId),
    /// The statements may both be true.
    #[error("replica {signer} may say both: {why}")]
    Lawful {
        /// The accused.
        signer: ReplicaId,
        /// Why it may.
        why: &'static str,
    },
    /// A signature is not the accused one's.
    #[error(
        "its {which} statement is not signed by replica {signer}: it is forged, or of another cluster or epoch"
    )]
    Forged {
        /// The accused.
        signer: ReplicaId,
        /// The first or the second.
        which: &'static str,
    },
}

impl Accusation {
    /// Whom it accuses.
    #[must_use]
    pub fn culprit(&self) -> ReplicaId {
        match self {
            Self::Twice(one, _) => one.signer(),
            Self::Withheld(commit, _) => commit.signer,
        }
    }

    /// Of what.
    #[must_use]
    pub fn offence(&self) -> Offence {
        match self {
            Self::Twice(one, _) => match one.kind() {
                SwornKind::Prepare => Offence::Prepares,
                SwornKind::Commit => Offence::Commits,
                SwornKind::Checkpoint => Offence::Checkpoints,
                SwornKind::ViewChange => Offence::ViewChanges,
                SwornKind::NewView => Offence::NewViews,
            },
            Self::Withheld(..) => Offence::Withheld,
        }
    }

    /// Whether the two statements exclude each other, if their signatures are good.
    ///
    /// # Errors
    /// [`NotProof`] if a correct replica may make both.
    pub fn check_shape(&self) -> Result<(), NotProof> {
        match self {
            Self::Twice(one, other) => twice(one, other),
            Self::Withheld(commit, view_change) => withheld(commit, view_change),
        }
    }

    /// Whether it is a proof for everybody who knows this cluster.
    ///
    /// # Errors
    /// [`NotProof`] says what is wrong with it.
    pub fn check(&self, context: &Context) -> Result<(), NotProof> {
        self.check_shape()?;
        let [one, other] = match self {
            Self::Twice(one, other) => [sworn(one, context)?, sworn(other, context)?],
            Self::Withheld(commit, view_change) => [claim(commit, context)?, claim(&**view_change, context)?],
        };
        let signer = self.culprit();
        for (which, claim) in [("first", one), ("second", other)] {
            if !verify(&claim) {
                return Err(NotProof::Forged { signer, which });
            }
        }
        Ok(())
    }

    /// What was signed, a line for each statement.
    #[must_use]
    pub fn statements(&self) -> [String; 2] {
        match self {
            Self::Twice(one, other) => [describe(one), describe(other)],
            Self::Withheld(commit, view_change) => {
                let slots = view_change.prepared.iter().map(|shown| shown.statement);
                let shown = slots.filter(|shown| shown.seq == commit.seq).map(|shown| shown.view).next();
                let shows = match shown {
                    Some(view) => format!("a certificate of view {view} at sequence {}", commit.seq),
                    None => format!("no certificate at sequence {}", commit.seq),
                };
                [
                    describe(&Sworn::Commit(commit.clone())),
                    format!(
                        "VIEW-CHANGE to view {}, stable checkpoint {}, which shows {shows}",
                        view_change.view,
                        view_change.low()
                    ),
                ]
            }
        }
    }
}

fn twice(one: &Sworn, other: &Sworn) -> Result<(), NotProof> {
    let signer = one.signer();
    if signer != other.signer() {
        return Err(NotProof::TwoSigners(signer, other.signer()));
    }
    let lawful = |why| Err(NotProof::Lawful { signer, why });
    if one.kind() != other.kind() {
        return lawful("the statements are of two kinds");
    }
    if one.place() != other.place() {
        return lawful("the statements are about two views or slots");
    }
    if one.says_as(other) {
        return lawful("the statements say the same");
    }
    Ok(())
}

/// Whether a VIEW-CHANGE keeps back what a COMMIT of the same replica rests on.
fn withheld(commit: &Signed<Commit>, view_change: &NamedViewChange) -> Result<(), NotProof> {
    let signer = commit.signer;
    if signer != view_change.signer {
        return Err(NotProof::TwoSigners(signer, view_change.signer));
    }
    let lawful = |why| Err(NotProof::Lawful { signer, why });
    if commit.view >= view_change.view {
        return lawful("the COMMIT is not of a view before the one that the VIEW-CHANGE is for");
    }
    if commit.seq <= view_change.low() {
        return lawful("the COMMIT's slot is stable in the VIEW-CHANGE");
    }
    let mut shown = view_change.prepared.iter().map(|shown| shown.statement);
    if shown.any(|shown| shown.seq == commit.seq && shown.view >= commit.view) {
        return lawful("the VIEW-CHANGE shows a certificate as new as the one that the COMMIT rests on");
    }
    Ok(())
}

fn claim<S: Statement>(signed: &Signed<S>, context: &Context) -> Result<Claim, NotProof> {
    let signer = signed.signer;
    let key = *context.committee.key(signer).ok_or(NotProof::NotInCommittee(signer))?;
    let message = signing_bytes(&signed.body, context.cluster, context.epoch, signer);
    Ok(Claim { key, message, signature: signed.signature })
}

/// What would have to be checked for this statement to be its signer's.
pub(crate) fn sworn(sworn: &Sworn, context: &Context) -> Result<Claim, NotProof> {
    match sworn {
        Sworn::Prepare(signed) => claim(signed, context),
        Sworn::Commit(signed) => claim(signed, context),
        Sworn::Checkpoint(signed) => claim(signed, context),
        Sworn::ViewChange(signed) => claim(signed, context),
        Sworn::NewView(signed) => claim(signed, context),
    }
}

fn describe(sworn: &Sworn) -> String {
    let ((view, seq), digest) = (sworn.place(), |digest| format!("{digest:?}"));
    match sworn {
        Sworn::Prepare(signed) => {
            format!("PREPARE of batch {} at sequence {seq} in view {view}", digest(signed.digest))
        }
        Sworn::Commit(signed) => {
            format!("COMMIT of batch {} at sequence {seq} in view {view}", digest(signed.digest))
        }
        Sworn::Checkpoint(signed) => {
            let end = if signed.epoch_end == crate::types::Seq::MAX {
                String::new()
            } else {
                format!(", the epoch's last sequence {}", signed.epoch_end)
            };
            format!("CHECKPOINT of root {} after sequence {seq}{end}", digest(signed.root))
        }
        Sworn::ViewChange(signed) => {
            format!("VIEW-CHANGE to view {view} with the digest {}", digest(signed.digest))
        }
        Sworn::NewView(signed) => {
            format!("NEW-VIEW of view {view} with the digest {}", digest(signed.digest))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
