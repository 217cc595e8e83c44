//! Everything that travels: what replicas tell each other, and what they tell clients.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use crate::certificate::Certificate;
use crate::codec::{self, Blob, Decode, Encode, List, Parse, parsed};
use crate::committee::REPLICAS_MAX;
use crate::crypto::{HashTag, Message as Bytes};
use crate::request::{Batch, Request};
use crate::signed::{Signed, Statement, Tag, Verified, digest_of};
use crate::types::{ClusterId, Digest, Epoch, Number, ReplicaId, Seq, Session, View};

mod query;
mod run;
mod testimony;
mod transfer;

pub use query::{ClientFrame, Found, QUERY_BYTES_MAX, Query, QueryReply, Unanswered};
pub use run::{RUN_ANSWERS_MAX, RUN_BYTES_MAX, RUNS_MAX, Replies, Run};
pub use testimony::{SWORN_MAX, ShortNewView, ShortViewChange, Sworn, SwornKind};
pub use transfer::{Bits, Part, STATE_CHUNKS_MAX, Summary, Transfer};

/// Most slots a window may have; bounds lists of per-slot items.
pub const WINDOW_MAX: usize = 4096;
/// Most bytes of one reply's result.
pub const REPLY_BYTES_MAX: usize = 1 << 20;

macro_rules! vote {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
        pub struct $name {
            /// View in which it is cast.
            pub view: View,
            /// Slot it is about.
            pub seq: Seq,
            /// Batch it is for.
            pub digest: Digest,
        }

        impl Statement for $name {
            const TAG: Tag = Tag::$name;
            fn cover(&self, message: &mut Bytes) {
                codec::encode_into(self, message);
            }
        }
    };
}

vote!(
    /// A replica vouches for a batch at a sequence number (OSDI '99, section 4.2). The primary's is its proposal.
    Prepare
);
vote!(
    /// A replica holds a prepared certificate for a batch at a sequence number (OSDI '99, section 4.2).
    Commit
);

/// A replica's state after executing a sequence number (OSDI '99, section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Checkpoint {
    /// Last executed slot.
    pub seq: Seq,
    /// Root of everything replicated.
    pub root: Digest,
    /// Last slot of the epoch, [`Seq::MAX`] while no end is pending.
    pub epoch_end: Seq,
}

impl Statement for Checkpoint {
    const TAG: Tag = Tag::Checkpoint;
    fn cover(&self, message: &mut Bytes) {
        codec::encode_into(self, message);
    }
}

/// The primary's proposal: its PREPARE, and the batch unless it is the null batch or to be fetched.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct PrePrepare {
    /// The primary's vote for what it proposes.
    pub prepare: Signed<Prepare>,
    /// The proposed batch.
    pub batch: Option<Batch>,
}

/// A replica leaves its view and says what it prepared (OSDI '99, section 4.4).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct ViewChange {
    /// The view to change to.
    pub view: View,
    /// The newest stable checkpoint; none at the beginning of the epoch.
    pub stable: Option<Certificate<Checkpoint>>,
    /// For every slot above it that prepared: the certificate of the highest view. Ascending by slot.
    pub prepared: List<Certificate<Prepare>, WINDOW_MAX>,
}

impl ViewChange {
    /// The stable checkpoint's slot, h.
    #[must_use]
    pub fn low(&self) -> Seq {
        self.stable.as_ref().map_or(Seq(0), |certificate| certificate.statement.seq)
    }
}

impl Statement for ViewChange {
    const TAG: Tag = Tag::ViewChange;
    fn cover(&self, message: &mut Bytes) {
        codec::encode_into(&(self.view, digest_of(HashTag::ViewChange, self)), message);
    }
}

/// A signed VIEW-CHANGE and its name, which costs a pass over all its certificates and is therefore taken once.
#[derive(Debug, Clone)]
pub struct NamedViewChange {
    signed: Signed<ViewChange>,
    digest: Digest,
    /// Costs another pass, which nobody is owed whose VIEW-CHANGE is of no use here.
    short: OnceLock<ShortViewChange>,
}

impl PartialEq for NamedViewChange {
    fn eq(&self, other: &Self) -> bool {
        self.signed == other.signed
    }
}

impl Eq for NamedViewChange {}

impl NamedViewChange {
    /// Names these very bytes, signature included.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The same signature, under as little as it needs.
    #[must_use]
    pub fn short(&self) -> Signed<ShortViewChange> {
        let body = *self.short.get_or_init(|| (&self.signed.body).into());
        Signed { body, signer: self.signed.signer, signature: self.signed.signature }
    }
}

impl From<Signed<ViewChange>> for NamedViewChange {
    fn from(signed: Signed<ViewChange>) -> Self {
        let digest = digest_of(HashTag::NewView, &signed);
        Self { signed, digest, short: OnceLock::new() }
    }
}

impl Deref for NamedViewChange {
    type Target = Signed<ViewChange>;
    fn deref(&self) -> &Signed<ViewChange> {
        &self.signed
    }
}

impl Parse for NamedViewChange {
    type Wire = Signed<ViewChange>;

    fn parse(wire: Signed<ViewChange>) -> Result<Self, &'static str> {
        Ok(wire.into())
    }

    fn wire(&self) -> &Signed<ViewChange> {
        &self.signed
    }
}
parsed!(NamedViewChange);

impl Verified<Signed<ViewChange>> {
    /// The same VIEW-CHANGE with its name, to be shared.
    #[must_use]
    pub fn shared(self) -> Verified<Arc<NamedViewChange>> {
        Verified::vouch(Arc::new(self.into_inner().into()))
    }
}

/// The new primary opens its view with the VIEW-CHANGEs that justify it. What it re-proposes follows from them.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct NewView {
    /// The view it opens.
    pub view: View,
    /// Who changed view, and the digest of their VIEW-CHANGE. Ascending, exactly a quorum.
    pub view_changes: List<(ReplicaId, Digest), REPLICAS_MAX>,
}

impl Statement for NewView {
    const TAG: Tag = Tag::NewView;
    fn cover(&self, message: &mut Bytes) {
        codec::encode_into(&(self.view, digest_of(HashTag::NewView, self)), message);
    }
}

/// Where a replica stands, so that others can send what it lacks. Advisory.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Status {
    /// Its epoch.
    pub epoch: Epoch,
    /// Its view.
    pub view: View,
    /// Whether it is between views.
    pub changing: bool,
    /// Its low watermark: the newest stable checkpoint.
    pub low: Seq,
    /// What it has executed or can execute: it lacks nothing up to here.
    pub executed: Seq,
    /// Slots above `low` for which it holds a commit certificate, one bit each.
    pub committed: Blob<{ WINDOW_MAX / 8 }>,
    /// Slots above `low` for which it prepared in `view`, one bit each.
    pub prepared: Blob<{ WINDOW_MAX / 8 }>,
    /// Slots above `low` of which it holds the accepted proposal's body, one bit each.
    pub bodies: Blob<{ WINDOW_MAX / 8 }>,
    /// Replicas whose VIEW-CHANGE for `view` it holds, one bit each.
    pub view_changes: Blob<{ REPLICAS_MAX / 8 }>,
    /// View of the newest NEW-VIEW it accepted.
    pub new_view: View,
    /// While its journal is known to be damaged: the slot below which it does not vote.
    pub amnesia_high: Option<Seq>,
}

/// What replicas send each other.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum PeerMessage {
    /// A proposal.
    PrePrepare(PrePrepare),
    /// A vote for a proposal.
    Prepare(Signed<Prepare>),
    /// A vote for a prepared batch.
    Commit(Signed<Commit>),
    /// A vote for a state.
    Checkpoint(Signed<Checkpoint>),
    /// A replica leaves its view.
    ViewChange(Arc<NamedViewChange>),
    /// A primary opens its view.
    NewView(Signed<NewView>),
    /// Proof that a batch committed.
    CommitCertificate(Certificate<Commit>),
    /// Proof that a checkpoint is stable.
    StableCertificate(Certificate<Checkpoint>),
    /// Where the sender stands.
    Status(Status),
    /// Asks for the batch with this digest.
    FetchBody {
        /// The slot it is for.
        seq: Seq,
        /// Its digest.
        digest: Digest,
    },
    /// A batch, named by its own digest.
    Body {
        /// The slot it was asked for.
        seq: Seq,
        /// The batch.
        batch: Batch,
    },
    /// Asks for the VIEW-CHANGE of a replica with this digest.
    FetchViewChange {
        /// The view it is for.
        view: View,
        /// Whose it is.
        signer: ReplicaId,
        /// Its digest.
        digest: Digest,
    },
    /// A client's request, passed on to the primary.
    Forward(Arc<Request>),
    /// A state on its way to a replica that was away. Between hosts: no replica ever sees it.
    Transfer(Transfer),
    /// What others signed and what does not fit the rest, for whoever holds something else of the same signer.
    Testimony(List<Sworn, SWORN_MAX>),
}

/// How one operation ended. Everything but `Done` is the framework's own answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Outcome {
    /// Executed once; the application's reply.
    Done(Blob<REPLY_BYTES_MAX>),
    /// The session does not exist: never registered, or evicted. The operation may or may not have executed before.
    NoSession,
    /// The client acknowledged this number already.
    Old,
    /// The number is too far ahead, or unacknowledged replies fill the session's cache. Not final.
    Window,
    /// Not the next number of a FIFO session. Not final.
    Gap,
    /// The registration came too late, or asked for too long a life.
    Expired,
    /// No session could be evicted to make room.
    Full,
    /// The session exists.
    Registered,
    /// Executed as nothing: the application does not understand the command. Final.
    Rejected,
    /// Executed once, but the application's reply is longer than the cluster allows. Final.
    TooLarge,
}

impl Outcome {
    /// Bytes of the application's reply.
    #[must_use]
    pub fn bytes(&self) -> usize {
        if let Self::Done(reply) = self { reply.len() } else { 0 }
    }

    /// Whether it is that of an execution: the same, slot included, in every later reply to the operation.
    #[must_use]
    pub fn is_result(&self) -> bool {
        match self {
            Self::Done(_) | Self::Rejected | Self::TooLarge => true,
            Self::NoSession
            | Self::Old
            | Self::Window
            | Self::Gap
            | Self::Expired
            | Self::Full
            | Self::Registered => false,
        }
    }
}

/// One replica's answer to one operation. It travels in a [`Run`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Reply {
    /// Slot in which the operation was ordered.
    pub seq: Seq,
    /// The operation's session.
    pub session: Session,
    /// The operation's number.
    pub number: Number,
    /// Digest of the operation that executed under this number.
    pub operation: Digest,
    /// How it ended.
    pub outcome: Outcome,
}

/// Why a replica takes no more requests for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum BusyReason {
    /// This client has as many operations waiting as its window allows.
    ClientQuota,
    /// The replica's pool is full.
    PoolFull,
    /// Signatures wait longer than they should.
    VerifierFull,
}

/// What replicas tell clients, over the client's own authenticated connection.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ClientMessage {
    /// Answers, many in one frame.
    Replies {
        /// Epoch of the replica.
        epoch: Epoch,
        /// View of the replica: where the primary is.
        view: View,
        /// The answers.
        replies: Replies,
    },
    /// The request with this first number was not taken; try again later.
    Busy {
        /// Its session.
        session: Session,
        /// Its first number.
        first: Number,
        /// Why.
        reason: BusyReason,
    },
    /// An answer to a query.
    Query {
        /// Epoch of the replica.
        epoch: Epoch,
        /// View of the replica: where the primary is.
        view: View,
        /// The answer.
        reply: QueryReply,
    },
}

/// First frame of every link, both ways. A link is up only when both hellos match.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Hello {
    /// Version of the protocol and its encoding.
    pub version: u32,
    /// The cluster.
    pub cluster: ClusterId,
    /// Digest of what all replicas must have configured alike.
    pub config: Digest,
    /// What the sender has executed; advisory.
    pub executed: Seq,
    /// The sender's view; advisory.
    pub view: View,
}

/// Version of the protocol that this crate speaks.
pub const PROTOCOL_VERSION: u32 = 2;
