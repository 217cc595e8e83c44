//! How a state travels: what replicas ask and answer when one of them fetches what a stable checkpoint proves.
//!
//! Nothing here is signed. The checkpoint's certificate names a root, the root is the digest of a [`Summary`], the
//! summary fixes number, bytes and digests of the chunks: each answer proves itself, whoever sends it.

use crate::codec::{Blob, Decode, Encode, List, WireMin};
use crate::crypto::{HashTag, merkle_root};
use crate::map::{CHUNK_PAGES_MAX, CHUNK_WIRE_BYTES_MAX, CHUNKS_MAX};
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
    /// Asks for the digests of a chunk's pages, because some of these may be here.
    FetchDigests {
        /// The state's slot.
        seq: Seq,
        /// The chunk's place.
        index: u32,
    },
    /// Digests of a chunk's pages, which the chunk's own digest proves.
    Digests {
        /// The state's slot.
        seq: Seq,
        /// The chunk's place.
        index: u32,
        /// Of each page, in order.
        pages: List<Digest, CHUNK_PAGES_MAX>,
    },
    /// Asks for some of a chunk's pages.
    FetchPages {
        /// The state's slot.
        seq: Seq,
        /// The chunk's place.
        index: u32,
        /// Which of its pages.
        wanted: Bits,
    },
    /// Pages of a chunk, each named by its digest.
    Pages {
        /// The state's slot.
        seq: Seq,
        /// The chunk's place.
        index: u32,
        /// Those that were asked for, in order, as in the chunk's wire form.
        bytes: Blob<CHUNK_WIRE_BYTES_MAX>,
    },
}

/// Some of a chunk's pages: a bit for each, in order, the lowest of a byte first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Bits(Blob<{ CHUNK_PAGES_MAX.div_ceil(8) }>);

impl Bits {
    /// Those for which this says so, of the first [`CHUNK_PAGES_MAX`].
    #[must_use]
    pub fn of(which: impl Iterator<Item = bool>) -> Self {
        let mut bits = Vec::new();
        for (at, wanted) in which.take(CHUNK_PAGES_MAX).enumerate() {
            if at % 8 == 0 {
                bits.push(0);
            }
            bits[at / 8] |= u8::from(wanted) << (at % 8);
        }
        Self(Blob(bits.into()))
    }

    /// Whether a page is one of them.
    #[must_use]
    pub fn contains(&self, page: usize) -> bool {
        self.0.get(page / 8).is_some_and(|byte| byte >> (page % 8) & 1 == 1)
    }
}

impl WireMin for Digest {
    const WIRE_MIN: usize = 32;
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::codec;
    use crate::map::{Chunk, Map};

    #[test]
    fn pages_that_are_wanted_are_said_and_heard() {
        let wanted = |page: usize| page.is_multiple_of(3) || page == 44;
        let bits = Bits::of((0..45).map(wanted));
        let question = Transfer::FetchPages { seq: Seq(4), index: 2, wanted: bits };
        let heard: Transfer = codec::decode(&codec::encode(&question).unwrap()).unwrap();
        assert_eq!(heard, question);
        let Transfer::FetchPages { wanted: bits, .. } = heard else { panic!("it is the same") };
        assert!((0..45).all(|page| bits.contains(page) == wanted(page)));
        assert!((45..CHUNK_PAGES_MAX + 99).all(|page| !bits.contains(page)) && !bits.contains(usize::MAX));
        let all = Bits::of(std::iter::repeat(true));
        assert!(all.contains(CHUNK_PAGES_MAX - 1) && !all.contains(CHUNK_PAGES_MAX));
    }

    #[test]
    fn the_digests_of_a_chunks_pages_are_proven_by_its_own_and_prove_any_of_them() {
        let mut map = Map::new();
        (0..200_u8).for_each(|key| assert!(!map.insert(&[key], &[key; 200]).unwrap()));
        let chunk = &map.chunks()[0];
        let digests = chunk.page_digests();
        assert!(digests.len() > 8);
        assert_eq!(Chunk::digest_of_pages(&digests), chunk.digest());
        let some = chunk.encode_pages(|page| page % 3 == 1);
        let expected: Vec<Digest> = digests.iter().copied().skip(1).step_by(3).collect();
        assert_eq!(Chunk::digests_of_wire(&some), Ok(expected));
        assert!(
            Chunk::digests_of_wire(&some[..some.len() - 1]).is_err() && Chunk::digests_of_wire(&[]).is_err()
        );
    }
}
