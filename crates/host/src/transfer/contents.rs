//! What a state that is fetched consists of, and how far each of its chunks has come.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_protocol::map::CHUNK_WIRE_BYTES_MAX;
use quorate_protocol::message::Summary;
use quorate_protocol::types::Digest;

use crate::store::PageIndex;

/// In front of each page of a wire form.
const LENGTH_BYTES: usize = 4;

/// How far one chunk has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Missing,
    /// It is right, and on its way to the store.
    Arrived,
    Kept,
}

/// What the target consists of.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) summary: Summary,
    pub(super) digests: Arc<[Digest]>,
    pub(super) places: Vec<Place>,
    /// Chunks that the store has.
    pub(super) kept: usize,
    /// Chunks that were here before any was fetched.
    pub(super) reused: usize,
    /// Bytes of the pages that came.
    pub(super) fetched_bytes: u64,
    /// Pages that may be here of chunks that are not.
    pub(super) pages: Arc<PageIndex>,
    /// Digests of the pages of chunks of which some are here: of those that are asked for or on their way to the store.
    pub(super) lists: BTreeMap<u32, Arc<[Digest]>>,
}

impl Contents {
    pub(super) fn new(summary: Summary, digests: Arc<[Digest]>) -> Self {
        let places = vec![Place::Missing; digests.len()];
        let (pages, lists) = (Arc::default(), BTreeMap::new());
        Self { summary, digests, places, kept: 0, reused: 0, fetched_bytes: 0, pages, lists }
    }

    pub(super) fn plan(&mut self, have: &[bool]) {
        for (place, _) in self.places.iter_mut().zip(have).filter(|(_, have)| **have) {
            *place = Place::Kept;
        }
        self.reused = self.places.iter().filter(|place| **place == Place::Kept).count();
        self.kept = self.reused;
    }

    /// What was missing of a chunk came: so many pages in this wire form.
    pub(super) fn arrived(&mut self, index: u32, wire: &[u8], pages: usize) {
        if let Some((_, place)) = self.chunk(index) {
            *place = Place::Arrived;
        }
        self.fetched_bytes += (wire.len() - pages * LENGTH_BYTES) as u64;
    }

    pub(super) fn chunk(&mut self, index: u32) -> Option<(Digest, &mut Place)> {
        let index = usize::try_from(index).ok()?;
        Some((*self.digests.get(index)?, self.places.get_mut(index)?))
    }
}

/// Whether this is what the certified root is the digest of. Number and bytes of the chunks are under the root, so that
/// nobody can invent them.
pub(super) fn is_sound(summary: &Summary, digests: &[Digest], root: Digest) -> bool {
    let most = (digests.len() as u64).saturating_mul(CHUNK_WIRE_BYTES_MAX as u64);
    summary.root() == root && summary.bytes() <= most && summary.covers(digests)
}
