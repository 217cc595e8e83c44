//! How a state travels: what replicas ask and answer when one of them fetches what a stable checkpoint proves.
//!
//! Nothing here is signed. The checkpoint's certificate names a root, the root is the digest of a [`Summary`], the
//! summary fixes number, bytes and digests of the chunks: each answer proves itself, whoever sends it.

use crate::codec::{Blob, Decode, Encode, List, WireMin};
use crate::crypto::HashTag;
use crate::parameters::Parameters;
use crate::signed::digest_of;
use crate::types::{Digest, Seq, Time};

/// Bytes of a chunk, the unit in which snapshots travel. The last chunk may be shorter.
pub const CHUNK_BYTES: usize = 256 << 10;
/// Most chunks of a snapshot; bounds the list of their digests.
pub const CHUNKS_MAX: usize = 65_536;

/// What a root is the digest of: who has it and the root can check every chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Summary {
    /// Last executed slot.
    pub seq: Seq,
    /// Digest of the application's state.
    pub application: Digest,
    /// Digest of the sessions.
    pub sessions: Digest,
    /// Digest of what all replicas have configured alike.
    pub config: Digest,
    /// The agreed time.
    pub time: Time,
    /// Root of the tree over the digests of the chunks.
    pub chunk_root: Digest,
    /// How many chunks there are.
    pub chunks: u64,
    /// Bytes of all chunks together.
    pub bytes: u64,
    /// Head of the history of executed batches.
    pub history: Digest,
}

impl Summary {
    /// The root that names the state.
    #[must_use]
    pub fn root(&self) -> Digest {
        digest_of(HashTag::State, self)
    }
}

/// Most bytes a snapshot may have under these parameters, so that nothing larger is ever fetched: the application's
/// part, and every session with as much in it as one may keep.
#[must_use]
pub fn snapshot_bytes_max(parameters: &Parameters) -> u64 {
    let answers =
        parameters.client_window.saturating_mul(64).saturating_add(parameters.reply_cache_bytes_max);
    let sessions = parameters.sessions_max.saturating_mul(answers.saturating_add(256));
    (crate::application::SNAPSHOT_BYTES_MAX as u64).saturating_add(4096).saturating_add(sessions)
}

/// What replicas say while one of them fetches a state.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Transfer {
    /// Asks what the state after a slot consists of.
    FetchMeta {
        /// The slot.
        seq: Seq,
    },
    /// What a state consists of; its slot is the summary's, so that the two cannot differ.
    Meta {
        /// What the state's root is the digest of.
        summary: Box<Summary>,
        /// Digest of each chunk, in order.
        chunks: List<Digest, CHUNKS_MAX>,
    },
    /// Asks for a chunk.
    FetchChunk {
        /// The state's slot.
        seq: Seq,
        /// The chunk's place.
        index: u32,
    },
    /// A chunk, named by its own digest.
    Chunk {
        /// The state's slot.
        seq: Seq,
        /// The place it was asked for.
        index: u32,
        /// Its bytes.
        bytes: Blob<CHUNK_BYTES>,
    },
    /// The sender does not have the state that it was asked for, or not any more: ask somebody else.
    Lacks {
        /// The state's slot.
        seq: Seq,
    },
}

impl WireMin for Digest {
    const WIRE_MIN: usize = 32;
}
