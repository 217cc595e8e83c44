//! What clients send: requests to be ordered, and queries to be answered without that.

use std::sync::Arc;

use super::REPLY_BYTES_MAX;
use crate::codec::{Blob, Decode, Encode};
use crate::request::Request;
use crate::types::Seq;

/// Most bytes of a query's command: as many as an operation may have in any cluster.
pub const QUERY_BYTES_MAX: usize = 1 << 20;

/// What a client sends, over its own authenticated connection.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum ClientFrame {
    /// Something to be ordered.
    Request(Arc<Request>),
    /// Something to be answered as things stand.
    Query(Query),
}

impl From<Request> for ClientFrame {
    fn from(request: Request) -> Self {
        Self::Request(Arc::new(request))
    }
}

/// A command to be answered from the last executed state. It changes nothing and is shown to nobody else, so nobody
/// signs it: the connection says whose it is, and gets the answer.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Query {
    /// The client's own name for it, which the answers bear.
    pub number: u64,
    /// Whether a quorum of equal answers is to be linearizable: then a replica answers only where no answer of it can
    /// have been of a later slot.
    pub fast: bool,
    /// What is asked.
    pub command: Blob<QUERY_BYTES_MAX>,
}

/// One replica's answer to a query.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct QueryReply {
    /// The query.
    pub number: u64,
    /// The slot whose state it was answered from: all before it executed, and nothing after it.
    pub executed: Seq,
    /// What was found there.
    pub found: Found,
}

/// What came of a query.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Found {
    /// The application's reply.
    Reply(Blob<REPLY_BYTES_MAX>),
    /// None, and why.
    Nothing(Unanswered),
}

/// Why a replica does not answer a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Unanswered {
    /// The application answers this only in order, or the reply would be too long.
    NeedsOrder,
    /// It was to be fast, and this cluster has no fast reads.
    NotOffered,
    /// The replica is behind the others, keeps to itself, or was further before it came back.
    NotReady,
    /// Too many queries wait, of this client or of all.
    Busy,
}
