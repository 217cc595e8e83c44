//! What a client may choose, and what passes between it and its driver.

use std::sync::Arc;

use super::ballot::ReplicaSet;
use crate::message::Outcome;
use crate::request::{Draft, Request};
use crate::types::{Number, ReplicaId, Seq, View};

/// What a client may choose.
#[derive(Debug, Clone)]
pub struct Options {
    /// Most operations under one signature; 1 signs each on its own.
    pub bundle_max: usize,
    /// A bundle that is not full waits while this many are out, so that bundles grow with the load by themselves.
    pub bundles_in_flight: usize,
    /// How many equal replies make an answer.
    pub needed: Needed,
    /// Whether operations execute in the order of their numbers only.
    pub fifo: bool,
    /// First wait before a request is sent again, in microseconds; doubles with each retry. 0 stands for three fifths of
    /// the cluster's T0: what is in order on a network arrives sooner, and a primary that is not is complained about
    /// before its next timeout. It does not follow what answers took, or a primary that grows slower bit by bit would
    /// never be complained about.
    pub retry_timeout_us: u64,
    /// Longest wait between retries, in microseconds.
    pub retry_timeout_max_us: u64,
    /// Whether the session is for a few calls only: it may soon make room for another one of the same key, so that a
    /// program that starts anew for every call is not kept waiting by the sessions it left behind.
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
            bundles_in_flight: 16,
            needed: Needed::WeakQuorum,
            fifo: false,
            retry_timeout_us: 0,
            retry_timeout_max_us: 5_000_000,
            brief: false,
            nonce,
        }
    }
}

/// How many equal replies make an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needed {
    /// f + 1: at least one correct replica says so.
    WeakQuorum,
    /// q: every other quorum has a correct replica that says so. Reads that skip ordering need it, of writes too.
    Quorum,
}

/// One call of one client; rises with every call, across sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

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
    /// A call has its answer.
    Done {
        /// The call.
        call: CallId,
        /// The answer.
        answer: Answer,
    },
}

/// What enough replicas agree on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// How the operation ended. [`Outcome::NoSession`]: the session is lost, and whether the operation executed
    /// before is not known.
    pub outcome: Outcome,
    /// Slot in which it was ordered.
    pub seq: Seq,
    /// Number it had in its session.
    pub number: Number,
    /// View that f + 1 replicas have reached.
    pub view: View,
    /// Who gave this answer until it was accepted.
    pub voters: ReplicaSet,
    /// Who had answered otherwise by then.
    pub dissenters: ReplicaSet,
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
    /// Replies that no correct replica gives, or that contradict an accepted answer.
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
}
