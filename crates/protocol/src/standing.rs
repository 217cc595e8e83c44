//! What a replica's own past leaves of its word, and the proof that its state was wrong.

use std::fmt;
use std::sync::Arc;

use crate::certificate::Certificate;
use crate::codec::{Decode, Encode};
use crate::message::{Checkpoint, Commit, Prepare};
use crate::request::Body;
use crate::signed::Signed;
use crate::types::{Digest, Seq, View};

/// A checkpoint at which this replica's state was another than enough others have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Divergence {
    /// The checkpoint.
    pub seq: Seq,
    /// The root here.
    pub ours: Digest,
    /// The root at f + 1 others, or in a certificate.
    pub theirs: Digest,
}

/// Why a replica's word counts for nothing any more, whatever its operator does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Exclusion {
    /// It saw two certificates that exclude each other.
    Contradiction {
        /// The slot.
        seq: Seq,
        /// One digest.
        one: Digest,
        /// The other.
        other: Digest,
        /// Where the state here is wrong, while states that follow from that one may still be on the disk.
        wrong: Option<Divergence>,
    },
    /// Others hold what it signed and its disk does not know.
    Unremembered {
        /// The view it was said in.
        view: View,
        /// The slot it was said about; 0 for a VIEW-CHANGE or NEW-VIEW.
        seq: Seq,
        /// As above.
        wrong: Option<Divergence>,
    },
    /// Its state was wrong a second time.
    DivergedAgain(Divergence),
    /// Its folder is a copy of another one, so nobody knows what was said from there since.
    Copied {
        /// The copy's number, drawn at random.
        number: u64,
        /// As above.
        wrong: Option<Divergence>,
    },
    /// Its folder is a copy that carries the right to vote to another place, and does not use it.
    Carrier {
        /// The copy's number.
        number: u64,
        /// Where the replica's state was wrong once; who gets the right to vote must know.
        diverged: Option<Divergence>,
    },
    /// Its right to vote went to another folder.
    Moved {
        /// The number of the copy that it went to.
        number: u64,
        /// Where the replica's state was wrong once, for whoever ends a move that was interrupted.
        diverged: Option<Divergence>,
    },
}

impl Exclusion {
    /// Whether the replica does not even run here, because it is to run elsewhere.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        match self {
            Self::Carrier { .. } | Self::Moved { .. } => true,
            Self::Contradiction { .. }
            | Self::Unremembered { .. }
            | Self::DivergedAgain(_)
            | Self::Copied { .. } => false,
        }
    }

    /// Whether nothing executes here any more, after a restart either: nobody knows what would be right.
    #[must_use]
    pub fn halts(&self) -> bool {
        matches!(self, Self::Contradiction { .. })
    }

    /// Where the state here is wrong, while states that follow from that one may still be on the disk.
    #[must_use]
    pub fn wrong(&self) -> Option<Divergence> {
        match self {
            Self::Contradiction { wrong, .. }
            | Self::Unremembered { wrong, .. }
            | Self::Copied { wrong, .. } => *wrong,
            Self::DivergedAgain(divergence) => Some(*divergence),
            Self::Carrier { .. } | Self::Moved { .. } => None,
        }
    }

    /// The same reason, with this to say of the states on the disk.
    #[must_use]
    pub fn with_wrong(mut self, found: Option<Divergence>) -> Self {
        if let Self::Contradiction { wrong, .. }
        | Self::Unremembered { wrong, .. }
        | Self::Copied { wrong, .. } = &mut self
        {
            *wrong = found;
        }
        self
    }
}

/// Whether a replica votes, proposes, changes views and replies. Its superblock keeps it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode)]
pub enum Standing {
    /// It does.
    #[default]
    Normal,
    /// Its state was wrong once. It does so again once it has a certified state.
    Diverged {
        /// Where it was wrong.
        divergence: Divergence,
        /// Whether a certified state has taken the place of the wrong one.
        mended: bool,
    },
    /// Never again under this key. It serves others what it has, and executes unless too many are faulty.
    Out(Exclusion),
}

impl Standing {
    /// Whether the replica keeps to itself.
    #[must_use]
    pub fn is_mute(&self) -> bool {
        match self {
            Self::Normal | Self::Diverged { mended: true, .. } => false,
            Self::Diverged { mended: false, .. } | Self::Out(_) => true,
        }
    }

    /// The newest checkpoint at which the replica was wrong, if it ever was.
    #[must_use]
    pub fn divergence(&self) -> Option<Divergence> {
        match self {
            Self::Diverged { divergence, .. } => Some(*divergence),
            Self::Out(why) => why.wrong(),
            Self::Normal => None,
        }
    }

    /// Where states here are wrong from this slot on, because no certified one has taken their place since.
    #[must_use]
    pub fn unmended(&self) -> Option<Divergence> {
        match self {
            Self::Diverged { mended: true, .. } => None,
            Self::Normal | Self::Diverged { .. } | Self::Out(_) => self.divergence(),
        }
    }

    /// What it becomes by a wrong state that was found after all: nothing that it knew of already makes it worse.
    #[must_use]
    pub fn after(self, found: Divergence) -> Self {
        match self {
            Self::Normal => Self::Diverged { divergence: found, mended: false },
            Self::Diverged { mended: true, .. } => Self::Out(Exclusion::DivergedAgain(found)),
            Self::Out(why) if why.wrong().is_none() => Self::Out(why.with_wrong(Some(found))),
            Self::Diverged { .. } | Self::Out(_) => self,
        }
    }
}

/// For operators: what happened, and what to do about it.
impl fmt::Display for Exclusion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Contradiction { seq, .. } => write!(
                f,
                "it saw two certificates that exclude each other at sequence {seq}, so more replicas are faulty than the \
                 cluster tolerates; fix: stop all replicas and keep their data folders as evidence"
            ),
            Self::Unremembered { .. } => f.write_str(
                "others hold what it signed and its data folder does not know: the folder is an older copy, or another \
                 process has its key; fix: see that nobody else runs with its key, and leave this replica out of the \
                 votes; it serves its state as long as it runs",
            ),
            Self::DivergedAgain(divergence) => write!(
                f,
                "its state was wrong a second time, at checkpoint {}; fix: ask `quorate divergence` for the request, then \
                 look at its memory and its program, which compute otherwise than the others'",
                divergence.seq
            ),
            Self::Copied { .. } => f.write_str(
                "its data folder is a copy, and nobody knows what the replica said after that was made; it serves its \
                 state as long as it runs",
            ),
            Self::Carrier { .. } => f.write_str(
                "its data folder is a copy that carries the right to vote to another place; fix: put it there with \
                 `quorate restore --moved`",
            ),
            Self::Moved { number, .. } => write!(
                f,
                "its right to vote was moved to the copy with the number {number:016x}; fix: start the replica from the \
                 folder that this was restored to, or give the command again that was interrupted on the way there"
            ),
        }
    }
}

/// For operators.
impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal => f.write_str("it takes part"),
            Self::Diverged { divergence, mended: false } => write!(
                f,
                "its state was wrong at checkpoint {}; it neither votes nor answers until it has fetched the state that \
                 the others have",
                divergence.seq
            ),
            Self::Diverged { divergence, mended: true } => write!(
                f,
                "its state was wrong at checkpoint {}, and was fetched anew; `quorate divergence` on its data folder \
                 says what it had computed otherwise; a second time it stays out",
                divergence.seq
            ),
            Self::Out(why) => write!(f, "it neither votes nor answers any more: {why}"),
        }
    }
}

/// Slots in order, each with its batch; none for the null batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batches(pub Vec<(Seq, Option<Arc<Body>>)>);

/// One of two certificates that exclude each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// A batch committed.
    Committed(Certificate<Commit>),
    /// A batch prepared.
    Prepared(Certificate<Prepare>),
    /// A state is stable.
    Stable(Certificate<Checkpoint>),
}

/// What is kept when a replica finds its state to be wrong: proof that it is, and what led up to it. Or what is kept when
/// it finds more replicas to be faulty than the cluster tolerates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// Where it was found. If nobody is proven wrong, `theirs` is the root that most others have.
    pub divergence: Divergence,
    /// Whether it is this replica that is wrong: its states from there on are of no use. If not, correct replicas
    /// disagree, and nobody knows which of them are right.
    pub proven: bool,
    /// The last checkpoint at which its state was the certified one; 0 for the beginning.
    pub agreed: Seq,
    /// CHECKPOINTs of f + 1 replicas, if these are the proof; of all that are here, if nobody is proven wrong.
    pub votes: Vec<Signed<Checkpoint>>,
    /// The certificate, if that is the proof.
    pub certificate: Option<Certificate<Checkpoint>>,
    /// All slots in between that are still here.
    pub batches: Batches,
    /// Certificates that exclude each other, if that is what was found.
    pub conflict: Vec<Proof>,
}
