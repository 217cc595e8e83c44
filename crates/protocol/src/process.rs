//! All that can happen to a replica, and all that it can want.

use std::fmt;
use std::sync::Arc;

use crate::accusation::Accusation;
use crate::certificate::Certificate;
use crate::codec::{Decode, Encode, List};
use crate::message::{
    BusyReason, Checkpoint, Commit, NamedViewChange, NewView, PeerMessage, Prepare, SWORN_MAX, ShortNewView,
    ShortViewChange, Status, Sworn, ViewChange,
};
use crate::request::{Body, Request};
use crate::signed::{Signed, Verified};
use crate::standing::{Evidence, Standing};
use crate::types::{Digest, Position, ReplicaId, Seq, Signature, Time, View};

/// A deterministic participant. Its host owns the clock, the keys, the network and the disk.
pub trait Process {
    /// Takes one event; appends what is to be done about it, in order.
    fn step(&mut self, now: Time, event: Event, effects: &mut Vec<Effect>);
    /// When to deliver [`Event::Timeout`] if nothing else happens first.
    fn deadline(&self) -> Option<Time>;
}

/// All that can happen to a replica.
#[derive(Debug, Clone)]
pub enum Event {
    /// Clients' requests that were verified together, from the clients or passed on by a replica.
    Requests {
        /// The requests.
        requests: Vec<Verified<Arc<Request>>>,
        /// The replica that passed them on, if one did.
        forwarded_by: Option<ReplicaId>,
    },
    /// A proposal, with its body unless that is null, missing or not what the digest says.
    PrePrepare {
        /// The primary's vote.
        prepare: Verified<Signed<Prepare>>,
        /// The proposed batch.
        body: Option<Verified<Arc<Body>>>,
    },
    /// A PREPARE; one of the view's primary is a proposal without body.
    Prepare(Verified<Signed<Prepare>>),
    /// A COMMIT.
    Commit(Verified<Signed<Commit>>),
    /// A CHECKPOINT.
    Checkpoint(Verified<Signed<Checkpoint>>),
    /// A VIEW-CHANGE.
    ViewChange(Verified<Arc<NamedViewChange>>),
    /// A NEW-VIEW.
    NewView(Verified<Signed<NewView>>),
    /// Proof that a batch committed.
    CommitCertificate(Verified<Certificate<Commit>>),
    /// Proof that a checkpoint is stable.
    StableCertificate(Verified<Certificate<Checkpoint>>),
    /// What others signed, as somebody shows it who doubts it.
    Testimony(Verified<List<Sworn, SWORN_MAX>>),
    /// Where another replica stands; what it says of itself only.
    Status {
        /// The replica at the other end of the channel.
        from: ReplicaId,
        /// What it says.
        status: Status,
    },
    /// A batch, fetched by digest.
    Body {
        /// Slot it was fetched for.
        seq: Seq,
        /// The batch, its client signatures checked.
        body: Verified<Arc<Body>>,
    },
    /// Another replica asks for a batch.
    FetchBody {
        /// Who asks.
        from: ReplicaId,
        /// The slot it is for.
        seq: Seq,
        /// Its digest.
        digest: Digest,
    },
    /// Another replica asks for a VIEW-CHANGE.
    FetchViewChange {
        /// Who asks.
        from: ReplicaId,
        /// The view it is for.
        view: View,
        /// Whose it is.
        signer: ReplicaId,
        /// Its digest.
        digest: Digest,
    },
    /// The executor has executed a slot.
    Executed {
        /// The slot.
        seq: Seq,
        /// Root of the replicated state after it, durable, where a checkpoint is due.
        root: Option<Digest>,
    },
    /// The host has installed a certified state.
    Installed {
        /// The slot it is the state of.
        seq: Seq,
        /// Its root, which the certificate names. The state is durable.
        root: Digest,
    },
    /// Execution is told to let go of its state for a certified one: nothing is to be handed to it until that is
    /// installed, or it [kept](Event::Kept) the one it has.
    Releasing,
    /// Execution kept its state, having come further by itself.
    Kept,
    /// A link to another replica came up: what was said meanwhile may have been missed.
    LinkUp,
    /// The deadline has come.
    Timeout,
    /// The process is about to stop: whoever leads a view hands it over, and takes no other.
    Retire,
}

/// Where a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipient {
    /// All replicas, the sender included.
    Everyone,
    /// One other replica.
    Replica(ReplicaId),
}

/// What a replica says, before its host signs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Say {
    /// A proposal.
    PrePrepare {
        /// The vote.
        prepare: Prepare,
        /// The batch; none for the null batch.
        body: Option<Arc<Body>>,
    },
    /// A vote for a proposal.
    Prepare(Prepare),
    /// A vote for a prepared batch.
    Commit(Commit),
    /// A vote for a state.
    Checkpoint(Checkpoint),
    /// Leaves the view.
    ViewChange(ViewChange),
    /// Opens a view.
    NewView(NewView),
    /// Something that needs no signature of ours: certificates, stored statements, questions and answers.
    Relay(PeerMessage),
}

/// A promise or a fact that must outlive a crash. Positions count these, from 1.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Record {
    /// The vote this replica casts for a proposal, its own or the primary's. The body, if any, came just before.
    Vote {
        /// View, slot and digest.
        prepare: Prepare,
        /// The primary's signature; none if this replica is the primary and has yet to sign.
        primary: Option<Signature>,
    },
    /// A batch that this replica vouches to hold.
    Body {
        /// The slot it is for.
        seq: Seq,
        /// The batch.
        body: Arc<Body>,
    },
    /// The certificate that a COMMIT of this replica rests on.
    Prepared(Certificate<Prepare>),
    /// This replica left for a view. Its host adds the bytes that it signed.
    ViewChange(ViewChange),
    /// A NEW-VIEW that this replica sent or accepted, with the VIEW-CHANGEs it names.
    NewView {
        /// The NEW-VIEW.
        new_view: NewView,
        /// Its primary's signature; none if that is this replica, which has yet to sign.
        signature: Option<Signature>,
        /// The VIEW-CHANGEs, in its order.
        view_changes: Vec<Arc<NamedViewChange>>,
    },
    /// A checkpoint became stable; everything at or below it may go.
    Stable(Certificate<Checkpoint>),
    /// No vote was cast yet beyond this view and slot; kept in the superblock.
    Horizon {
        /// Highest view this replica may vote in.
        view: View,
        /// Highest slot this replica may vote at.
        high: Seq,
    },
    /// What this replica may have forgotten binds it no more; its superblock may say so, once all that came before
    /// this is durable.
    Healed,
    /// What its past leaves of this replica's word; kept in the superblock, and there before anything that is written
    /// after it.
    Standing(Standing),
}

/// All that a replica can want.
#[derive(Debug, Clone)]
#[must_use]
pub enum Effect {
    /// Append to the journal, in order.
    Persist(Record),
    /// Say something, once everything up to a position is durable.
    Send {
        /// To whom.
        to: Recipient,
        /// What.
        message: Say,
        /// What it rests on; 0 for nothing.
        after: Position,
    },
    /// Execute a slot: in order, without gaps, exactly once.
    Execute {
        /// The slot.
        seq: Seq,
        /// The batch; none for the null batch.
        body: Option<Arc<Body>>,
    },
    /// Pass a request on to the primary and keep it until it commits.
    Forward {
        /// The primary.
        to: ReplicaId,
        /// The request.
        request: Arc<Request>,
    },
    /// The request was not taken.
    Refuse {
        /// The request.
        request: Arc<Request>,
        /// Why.
        reason: BusyReason,
    },
    /// Fetch and install the state this certificate proves.
    Install(Certificate<Checkpoint>),
    /// Keep this where a restart and an operator find it. The states here that it proves wrong, and what is under way to
    /// become one, are of no other use.
    Preserve(Box<Evidence>),
    /// These requests, with the replica that passed each on, if one did, wait since before a state was installed: what
    /// executed of them is to be answered, and only the rest comes back to be ordered.
    LookUp(Vec<(Verified<Arc<Request>>, Option<ReplicaId>)>),
    /// Something that must not be decided in silence.
    Alarm(Alarm),
}

/// What a replica tells its operator instead of choosing in silence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alarm {
    /// Two different PREPAREs of one replica for one view and slot.
    ConflictingPrepares(Signed<Prepare>, Signed<Prepare>),
    /// Two different COMMITs of one replica for one view and slot.
    ConflictingCommits(Signed<Commit>, Signed<Commit>),
    /// Two different CHECKPOINTs of one replica for one slot.
    ConflictingCheckpoints(Signed<Checkpoint>, Signed<Checkpoint>),
    /// Two different VIEW-CHANGEs of one replica for one view.
    ConflictingViewChanges(Signed<ShortViewChange>, Signed<ShortViewChange>),
    /// Two different NEW-VIEWs of one replica for one view.
    ConflictingNewViews(Signed<ShortNewView>, Signed<ShortNewView>),
    /// A COMMIT of a replica, and a later VIEW-CHANGE of it that does not show what the COMMIT rests on.
    Withheld(Signed<Commit>, Arc<NamedViewChange>),
    /// More than f faults: two certificates that exclude each other. The replica halts.
    Agreement {
        /// The slot.
        seq: Seq,
        /// One digest.
        one: Digest,
        /// The other.
        other: Digest,
    },
    /// f + 1 replicas agree on another state than ours. The replica stops voting until it has theirs.
    Diverged {
        /// The checkpoint.
        seq: Seq,
        /// Our root.
        ours: Digest,
        /// Theirs.
        theirs: Digest,
        /// Whether that is the second time; then it stays out.
        again: bool,
    },
    /// Correct replicas have different states, so that the checkpoint never becomes stable.
    Split {
        /// The checkpoint.
        seq: Seq,
    },
    /// The primary's proposal has a time that our clock refuses.
    ClockDisagrees {
        /// The slot.
        seq: Seq,
        /// The proposal's time.
        proposed: Time,
        /// Our time.
        ours: Time,
    },
    /// Others hold what this replica signed and its disk does not know: the folder is an older copy, or a second
    /// process has the key. The replica halts.
    Unremembered {
        /// The view it was said in.
        view: View,
        /// The slot it was said about; 0 for a VIEW-CHANGE or NEW-VIEW.
        seq: Seq,
    },
}

impl Alarm {
    /// The proof that somebody lied, if this is one.
    #[must_use]
    pub fn accusation(&self) -> Option<Accusation> {
        let twice = |one, other| Some(Accusation::Twice(one, other));
        match self {
            Self::ConflictingPrepares(one, other) => {
                twice(Sworn::Prepare(one.clone()), Sworn::Prepare(other.clone()))
            }
            Self::ConflictingCommits(one, other) => {
                twice(Sworn::Commit(one.clone()), Sworn::Commit(other.clone()))
            }
            Self::ConflictingCheckpoints(one, other) => {
                twice(Sworn::Checkpoint(one.clone()), Sworn::Checkpoint(other.clone()))
            }
            Self::ConflictingViewChanges(one, other) => {
                twice(Sworn::ViewChange(one.clone()), Sworn::ViewChange(other.clone()))
            }
            Self::ConflictingNewViews(one, other) => {
                twice(Sworn::NewView(one.clone()), Sworn::NewView(other.clone()))
            }
            Self::Withheld(commit, view_change) => {
                Some(Accusation::Withheld(commit.clone(), Arc::clone(view_change)))
            }
            Self::Agreement { .. }
            | Self::Diverged { .. }
            | Self::Split { .. }
            | Self::ClockDisagrees { .. }
            | Self::Unremembered { .. } => None,
        }
    }
}

/// For operators: who did what, at which slot, and what to do about it.
impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lied = |f: &mut fmt::Formatter<'_>, signer: ReplicaId, what: &str, at: String| {
            write!(
                f,
                "replica {signer} signed two different {what} {at}, which no correct replica does; \
                 take it off the network and find out who has its key"
            )
        };
        let place = |view: View, seq: Seq| format!("for sequence {seq} in view {view}");
        match self {
            Self::ConflictingPrepares(one, _) => lied(f, one.signer, "PREPAREs", place(one.view, one.seq)),
            Self::ConflictingCommits(one, _) => lied(f, one.signer, "COMMITs", place(one.view, one.seq)),
            Self::ConflictingCheckpoints(one, _) => {
                lied(f, one.signer, "CHECKPOINTs", format!("for sequence {}", one.seq))
            }
            Self::ConflictingViewChanges(one, _) => {
                lied(f, one.signer, "VIEW-CHANGEs", format!("for view {}", one.view))
            }
            Self::ConflictingNewViews(one, _) => {
                lied(f, one.signer, "NEW-VIEWs", format!("for view {}", one.view))
            }
            Self::Withheld(commit, view_change) => write!(
                f,
                "replica {} left out of its VIEW-CHANGE to view {} what it had committed to at sequence {} in view {}, \
                 which no correct replica does; take it off the network and find out who has its key",
                commit.signer, view_change.view, commit.seq, commit.view
            ),
            Self::Agreement { seq, one, other } => write!(
                f,
                "two batches are certified for sequence {seq}, {one:?} and {other:?}: more replicas are faulty than the \
                 cluster tolerates; this replica has halted; stop all of them and keep their data folders as evidence"
            ),
            Self::Diverged { seq, ours, theirs, again } => write!(
                f,
                "the state after sequence {seq} is {ours:?} here and {theirs:?} at enough others: this replica is wrong \
                 {}; ask `quorate divergence` which request did it, and look for an application that does not do the \
                 same everywhere, or for broken memory",
                if *again {
                    "a second time, and stays out"
                } else {
                    "and neither votes nor answers until it has fetched the state that they have"
                }
            ),
            Self::Split { seq } => write!(
                f,
                "the replicas have so many different states after sequence {seq} that this checkpoint never becomes \
                 stable, and the cluster stops when its window is full: the application does not do the same everywhere, \
                 or replicas run different programs; ask `quorate divergence` which request did it"
            ),
            Self::Unremembered { view, seq } => write!(
                f,
                "others hold what this replica signed {}, and its data folder does not know of it: the folder is an \
                 older copy, or another process runs with this key; this replica has halted, and must not start \
                 again: stop the other process, or leave this replica out",
                if *seq == Seq(0) { format!("for view {view}") } else { place(*view, *seq) },
            ),
            Self::ClockDisagrees { seq, proposed, ours } => {
                let apart = proposed.0.abs_diff(ours.0);
                let way = if proposed > ours { "ahead of" } else { "behind" };
                write!(
                    f,
                    "the primary's batch for sequence {seq} is dated {}.{:03} s {way} the clock of this replica, which \
                     does not vote for it; set both machines' clocks and restart the one that was wrong",
                    apart / 1_000_000,
                    apart / 1_000 % 1_000,
                )
            }
        }
    }
}
