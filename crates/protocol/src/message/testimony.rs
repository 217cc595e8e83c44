//! What one replica signed, shown to others by somebody who doubts it.
//!
//! A liar tells different replicas different things, and none of them can prove it alone. Whoever holds something that
//! does not fit what the others do shows it to everybody; who holds another statement of the same signer then has both.

use super::{Checkpoint, Commit, NewView, Prepare, ViewChange};
use crate::certificate::Certificate;
use crate::codec::{self, Decode, Encode, WireMin};
use crate::committee::REPLICAS_MAX;
use crate::crypto::{HashTag, Message as Bytes};
use crate::signed::{Signed, Statement, Tag, digest_of};
use crate::types::{Digest, ReplicaId, Seq, Signature, View};

/// Most statements of one message: a NEW-VIEW, and a VIEW-CHANGE of everybody.
pub const SWORN_MAX: usize = REPLICAS_MAX + 1;

macro_rules! short {
    ($(#[$doc:meta])* $name:ident, $tag:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
        pub struct $name {
            /// The view it is for.
            pub view: View,
            /// Digest of all it says.
            pub digest: Digest,
        }

        impl Statement for $name {
            const TAG: Tag = Tag::$tag;
            fn cover(&self, message: &mut Bytes) {
                codec::encode_into(self, message);
            }
        }
    };
}

short!(
    /// A VIEW-CHANGE as its signature covers it: one signature is valid for both forms.
    ShortViewChange,
    ViewChange
);
short!(
    /// A NEW-VIEW as its signature covers it: one signature is valid for both forms.
    ShortNewView,
    NewView
);

impl From<&ViewChange> for ShortViewChange {
    fn from(whole: &ViewChange) -> Self {
        Self { view: whole.view, digest: digest_of(HashTag::ViewChange, whole) }
    }
}

impl From<&NewView> for ShortNewView {
    fn from(whole: &NewView) -> Self {
        Self { view: whole.view, digest: digest_of(HashTag::NewView, whole) }
    }
}

impl Signed<NewView> {
    /// The same signature, under as little as it needs.
    #[must_use]
    pub fn short(&self) -> Signed<ShortNewView> {
        Signed { body: (&self.body).into(), signer: self.signer, signature: self.signature }
    }
}

/// Something that a replica signed, of any kind that binds it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Sworn {
    /// A PREPARE; a primary's is its proposal.
    Prepare(Signed<Prepare>),
    /// A COMMIT.
    Commit(Signed<Commit>),
    /// A CHECKPOINT.
    Checkpoint(Signed<Checkpoint>),
    /// A VIEW-CHANGE.
    ViewChange(Signed<ShortViewChange>),
    /// A NEW-VIEW.
    NewView(Signed<ShortNewView>),
}

impl WireMin for Sworn {
    const WIRE_MIN: usize = 4 + 8 + 32 + 2 + 64;
}

/// Of what kind a statement is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum SwornKind {
    /// A PREPARE.
    Prepare,
    /// A COMMIT.
    Commit,
    /// A CHECKPOINT.
    Checkpoint,
    /// A VIEW-CHANGE.
    ViewChange,
    /// A NEW-VIEW.
    NewView,
}

impl Sworn {
    /// Who is said to have signed it.
    #[must_use]
    pub fn signer(&self) -> ReplicaId {
        match self {
            Self::Prepare(signed) => signed.signer,
            Self::Commit(signed) => signed.signer,
            Self::Checkpoint(signed) => signed.signer,
            Self::ViewChange(signed) => signed.signer,
            Self::NewView(signed) => signed.signer,
        }
    }

    /// Of what kind it is.
    #[must_use]
    pub fn kind(&self) -> SwornKind {
        match self {
            Self::Prepare(_) => SwornKind::Prepare,
            Self::Commit(_) => SwornKind::Commit,
            Self::Checkpoint(_) => SwornKind::Checkpoint,
            Self::ViewChange(_) => SwornKind::ViewChange,
            Self::NewView(_) => SwornKind::NewView,
        }
    }

    /// The view and the slot that it is about; 0 where there is none.
    #[must_use]
    pub fn place(&self) -> (View, Seq) {
        match self {
            Self::Prepare(signed) => (signed.view, signed.seq),
            Self::Commit(signed) => (signed.view, signed.seq),
            Self::Checkpoint(signed) => (View(0), signed.seq),
            Self::ViewChange(signed) => (signed.view, Seq(0)),
            Self::NewView(signed) => (signed.view, Seq(0)),
        }
    }

    /// Whether both state the same, whoever signed them and with whichever of his signatures.
    #[must_use]
    pub fn says_as(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Prepare(one), Self::Prepare(other)) => one.body == other.body,
            (Self::Commit(one), Self::Commit(other)) => one.body == other.body,
            (Self::Checkpoint(one), Self::Checkpoint(other)) => one.body == other.body,
            (Self::ViewChange(one), Self::ViewChange(other)) => one.body == other.body,
            (Self::NewView(one), Self::NewView(other)) => one.body == other.body,
            _ => false,
        }
    }

    /// Whether both are of one signer, of one kind, about one place, and different: no correct replica makes both.
    #[must_use]
    pub fn contradicts(&self, other: &Self) -> bool {
        let about = |sworn: &Self| (sworn.signer(), sworn.kind(), sworn.place());
        about(self) == about(other) && !self.says_as(other)
    }
}

impl<S: Copy> Certificate<S> {
    /// What one replica signed for this certificate, if it did.
    #[must_use]
    pub fn vote_of(&self, signer: ReplicaId) -> Option<Signed<S>> {
        let (_, signature): &(ReplicaId, Signature) =
            self.signatures.iter().find(|(named, _)| *named == signer)?;
        Some(Signed { body: self.statement, signer, signature: *signature })
    }
}
