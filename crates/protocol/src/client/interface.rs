//! What a client may choose, and what passes between it and its driver.

use std::sync::Arc;

use super::ballot::ReplicaSet;
use crate::message::{Outcome, Query};
use crate::request::{Draft, Request};
use crate::types::{Number, ReplicaId, Seq, View};

/// What a client may choose.
#[derive(Debug, Clone)]
pub struct Options {
    /// Most operations under one signature; 1 signs each on its own.
    pub bundle_max: usize,
    /// Into about how many bundles the calls under way are divided: one that is not full waits until it holds this
    /// fraction of them. An idle client's call leaves at once, and bundles grow with the load by themselves.
    pub bundles_in_flight: u64,
    /// How many equal replies make an answer.
    pub needed: Needed,
    /// Whether operations execute in the order of their numbers only.
    pub fifo: bool,
    /// First wait before a request is sent again, in microseconds; doubles with each retry. 0 stands for twice what answers
    /// take as a rule, but no less than three fifths of the cluster's T0, and with a quarter more, by chance, no more than
    /// twice T0: what is in order on a network arrives sooner, a queue is not taken for a loss, and a primary that grows
    /// slower bit by bit is complained about when it is so slow. In a cluster with a `watchdog` it is three fifths, and
    /// what is chosen does not follow answers either.
    pub retry_timeout_us: u64,
    /// Longest wait between retries, in microseconds.
    pub retry_timeout_max_us: u64,
    /// How often replicas are asked one read, at most, before it is ordered because they answered from different slots: 1
    /// or 2.
    pub read_attempts: u64,
    /// Whether the session is for a few calls only: it may soon make room for another one of the same key, so that a
    /// program that starts anew for every call is not kept waiting by the sessions it left behind. It is registered once
    /// something is to be ordered, so whoever only reads takes no slot.
    pub brief: bool,
    /// Makes this client's sessions differ from those it had before, and its retries from those of other clients.
    /// Must be fresh whenever a client starts with the same key.
    pub nonce: u64,
}

impl Options {
    /// The usual choices, with a fresh nonce.
    #[must_use]
    pub fn new(nonce: u64) -> Self {
        Self {
            bundle_max: 64,
            bundles_in_flight: 2,
            needed: Needed::WeakQuorum,
            fifo: false,
            retry_timeout_us: 0,
            retry_timeout_max_us: 5_000_000,
            read_attempts: 2,
            brief: false,
            nonce,
        }
    }
}

/// How many equal replies make an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needed {
    /// f + 1: at least one correct replica says so. In a cluster with fast reads it is q all the same.
    WeakQuorum,
    /// q: every other quorum has a correct replica that says so. Reads that skip ordering need it, of writes too.
    Quorum,
}

/// One call of one client; rises with every call, across sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// Reads of one client that are out at once, at most; replicas keep no more of one client.
pub const READS_OUT_MAX: usize = 64;

/// One read of one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// What a read promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Read {
    /// Ordered like everything else, in every cluster: it sees whatever was acknowledged before it was asked, and whoever
    /// reads later sees no less (linearizable).
    #[default]
    Ordered,
    /// Linearizable as well, in one round trip or two and without a slot: q replicas found it in one state. Only in
    /// clusters with `fast_reads`.
    Fast,
    /// f + 1 replicas found it in one state, which is not older than anything this client was answered: it reads its own
    /// writes and never goes back. What others were told may be missing.
    Session,
    /// f + 1 replicas found it in one state, so it was true once, perhaps long ago.
    Stale,
}

/// Why a read was ordered instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Obstacle {
    /// The cluster was made without `fast_reads`.
    NotOffered,
    /// The application answers this command only in order.
    NeedsOrder,
    /// Replicas were not equally far, or did not find the same.
    Differed,
    /// Too few replicas could be reached, were ready, or answered in time.
    TooFew,
}

/// How an answer came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// It was ordered, as asked.
    Ordered,
    /// Replicas read it from their states, as asked.
    Read(Read),
    /// It was to be read so, and was ordered instead.
    Instead(Read, Obstacle),
}

/// Why a call was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The cluster would refuse it.
    #[error("an operation of {bytes} bytes; `operation_bytes_max` of the cluster is {most}")]
    TooLarge {
        /// Its bytes.
        bytes: usize,
        /// The most the cluster takes.
        most: u64,
    },
    /// As many calls wait as the session may have; an answer makes room.
    #[error("{0} calls are unanswered, as many as `client_window` allows; wait for an answer")]
    WindowFull(u64),
    /// As many reads wait as may; an answer makes room.
    #[error("{0} reads are unanswered, as many as a client may have; wait for an answer")]
    ReadsFull(usize),
}

/// Where a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// One replica.
    Replica(ReplicaId),
    /// All replicas.
    Everyone,
}

/// What a client wants done.
#[derive(Debug, Clone)]
#[must_use]
pub enum ClientEffect {
    /// Sign this, hand it to [`Client::signed`](super::Client::signed), and send it.
    Sign {
        /// To whom.
        to: To,
        /// What to sign.
        draft: Draft,
    },
    /// Send this again, as it is.
    Send {
        /// To whom.
        to: To,
        /// What was signed before.
        request: Arc<Request>,
    },
    /// Send this to all replicas, unsigned.
    Ask {
        /// What to ask.
        query: Query,
    },
    /// A call has its answer.
    Done {
        /// The call.
        call: CallId,
        /// The answer.
        answer: Answer,
    },
    /// A read has its answer.
    Read {
        /// The read.
        read: ReadId,
        /// The answer.
        answer: Answer,
    },
}

/// What enough replicas agree on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// How the operation ended. [`Outcome::NoSession`]: the session is lost, and whether the operation executed
    /// before is not known. A result may share its memory, up to 64 KiB, with those that came in one run with it.
    pub outcome: Outcome,
    /// Slot in which it was ordered; of a read that was not, the slot whose state it was found in.
    pub seq: Seq,
    /// Number it had in its session; 0 for a read that was not ordered.
    pub number: Number,
    /// View that f + 1 replicas have reached.
    pub view: View,
    /// Who gave this answer until it was accepted.
    pub voters: ReplicaSet,
    /// Who had answered otherwise by then.
    pub dissenters: ReplicaSet,
    /// How it came about.
    pub how: How,
}

/// What a client has done and seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests sent for the first time.
    pub bundles: u64,
    /// Operations in them.
    pub operations: u64,
    /// Requests sent again.
    pub retries: u64,
    /// Answers accepted.
    pub accepted: u64,
    /// Replies that no correct replica gives, or that contradict an answer accepted lately: one of the last 256, or of fewer
    /// where they are long.
    pub dissents: u64,
    /// Replies to numbers or sessions that are settled.
    pub stale: u64,
    /// Messages of another epoch; none of them counts.
    pub other_epoch: u64,
    /// Refusals for lack of room.
    pub busy: u64,
    /// Operations that were ordered too early and travel again.
    pub postponed: u64,
    /// Registrations begun.
    pub registrations: u64,
    /// Sessions that the cluster forgot.
    pub sessions_lost: u64,
    /// Reads taken.
    pub reads: u64,
    /// Of these, those that were answered without being ordered.
    pub reads_unordered: u64,
    /// Of these, those that replicas were asked a second time, because they had answered from different slots.
    pub reads_asked_again: u64,
    /// Of these, those that had to be ordered although that was not asked for.
    pub reads_fallen_back: u64,
}
