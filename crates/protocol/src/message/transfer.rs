//! How a state travels: what replicas ask and answer when one of them fetches what a stable checkpoint proves.
//!
//! Nothing here is signed. The checkpoint's certificate names a root, the root is the digest of a [`Summary`], the
//! summary fixes number, bytes and digests of the chunks: each answer proves itself, whoever sends it.

use crate::codec::{Blob, Decode, Encode, List, WireMin};
use crate::crypto::{HashTag, merkle_root};
use crate::map::{CHUNK_WIRE_BYTES_MAX, CHUNKS_MAX};
use crate::signed::digest_of;
use crate::types::{Digest, Seq, Time};

/// Most chunks of a state: of its application's map and its sessions' map together.
pub const STATE_CHUNKS_MAX: usize = 2 * CHUNKS_MAX;

/// One of the two maps that a state consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Part {
    /// Root of the tree over the digests of its chunks.
    pub root: Digest,
    /// How many chunks there are; without it the root would not determine the tree.
    pub chunks: u64,
    /// Bytes of all pages together.
    pub bytes: u64,
}

/// What a root is the digest of: who has it and the root can check every chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Summary {
    /// Last executed slot.
    pub seq: Seq,
    /// The application's state.
    pub application: Part,
    /// The sessions.
    pub sessions: Part,
    /// Digest of what all replicas have configured alike.
    pub config: Digest,
    /// The agreed time.
    pub time: Time,
    /// Head of the history of executed batches.
    pub history: Digest,
}

impl Summary {
    /// The root that names the state.
    #[must_use]
    pub fn root(&self) -> Digest {
        digest_of(HashTag::State, self)
    }

    /// Chunks of both maps.
    #[must_use]
    pub fn chunks(&self) -> u64 {
        self.application.chunks.saturating_add(self.sessions.chunks)
    }

    /// Bytes of both maps' pages.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.application.bytes.saturating_add(self.sessions.bytes)
    }

    /// Whether these are the digests of its chunks, the application's first. Number and root of either map's chunks
    /// are under the state's root, so that nobody can invent them.
    #[must_use]
    pub fn covers(&self, digests: &[Digest]) -> bool {
        let most = CHUNKS_MAX as u64;
        if self.application.chunks > most
            || self.sessions.chunks > most
            || self.chunks() != digests.len() as u64
        {
            return false;
        }
        let (application, sessions) = digests.split_at(self.application.chunks as usize);
        merkle_root(HashTag::ChunkNode, application) == self.application.root
            && merkle_root(HashTag::ChunkNode, sessions) == self.sessions.root
    }
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
        chunks: List<Digest, STATE_CHUNKS_MAX>,
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
        bytes: Blob<CHUNK_WIRE_BYTES_MAX>,
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
