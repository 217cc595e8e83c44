//! What a host counts.

use quorate_protocol::verify::Invalid;

/// What a host did, for its operator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HostCounters {
    /// Statements signed.
    pub signed: u64,
    /// Messages that needed no new signature: what others ask for or lack, and questions.
    pub repeated: u64,
    /// Messages refused by verification.
    pub invalid: u64,
    /// The same by [`Invalid::kind`].
    pub invalid_by_kind: [u64; Invalid::KINDS.len()],
    /// Frames sent to replicas; a broadcast counts once for each.
    pub frames_out: u64,
    /// Bytes of those.
    pub bytes_out: u64,
    /// Frames that clients sent.
    pub client_frames_in: u64,
    /// Bytes of those.
    pub client_bytes_in: u64,
    /// Frames sent to clients.
    pub client_frames_out: u64,
    /// Bytes of those.
    pub client_bytes_out: u64,
    /// Requests answered from the reply cache.
    pub retries_known: u64,
    /// Requests refused with Busy.
    pub busy: u64,
    /// Queries of clients.
    pub queries: u64,
    /// Of these, those that were not answered from the state, for whatever reason.
    pub queries_unanswered: u64,
    /// Operations executed for the first time.
    pub operations: u64,
    /// Sessions there are, after the slot that executed last.
    pub sessions: u64,
    /// Times the cluster proved that this replica's state is too old to be caught up from the log.
    pub behind: u64,
}
