//! An ordered map from bytes to bytes that copies in no time and whose contents have a digest: what replicas vote for,
//! keep on disk and send each other.
//!
//! Three levels: a [`Map`] is chunks, a [`Chunk`] is pages, a [`Page`] is entries. A copy shares all of them with its
//! original, and a write copies the page it changes if somebody else has it too. A page is what one write makes old,
//! on disk and for the digest; a chunk is what one replica asks another for.
//!
//! Keys and values are chosen by clients, so the shape has bounds for any sequence of operations: what grows too large
//! is split, what shrinks is merged with its neighbour. The shape follows from the operations and is part of what the
//! root says. It is never made anew: a map assembled from chunks goes on exactly like the one they were taken from.

use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use crate::crypto::{Digest, HashTag, merkle_root};

mod chunk;
mod differences;
mod page;
mod range;
mod row;
mod shape;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use chunk::Chunk;
pub use differences::{Difference, Differences};
pub use page::Page;
pub use range::Range;

pub(crate) use page::HEADER_BYTES as ENTRY_HEADER_BYTES;
use page::Spot;
use range::Cursor;
use row::{Part, Row};
use shape::Changes;

/// A page of several entries has at most so many bytes.
pub const PAGE_BYTES: usize = 2048;
/// The pages of a chunk of several have at most so many bytes together.
pub const CHUNK_BYTES: usize = 64 << 10;
/// Most chunks of a map.
pub const CHUNKS_MAX: usize = 65_536;
/// No chunk is longer than this when encoded.
pub const CHUNK_WIRE_BYTES_MAX: usize = 256 << 10;
/// Most pages of a chunk: none has fewer bytes than the lengths in front of an entry.
pub const CHUNK_PAGES_MAX: usize = CHUNK_BYTES / page::HEADER_BYTES;
/// Longest key, in bytes.
pub const KEY_BYTES_MAX: usize = 4 << 10;
/// Most bytes of a key and its value together.
pub const ENTRY_BYTES_MAX: usize = 128 << 10;

/// Room that is kept below [`CHUNKS_MAX`]: one write makes three more chunks at most.
const CHUNKS_SPARE: usize = 4;
/// An entry is taken by any map that has no more chunks than this.
pub(crate) const CHUNKS_ROOM: usize = CHUNKS_MAX - CHUNKS_SPARE;

/// Most chunks of a map of so many entries and bytes, whatever it held before: none is empty, and two neighbours have
/// half of [`CHUNK_BYTES`] at least.
pub(crate) fn chunks_at_most(entries: u64, bytes: u64) -> u64 {
    entries.min(bytes / (CHUNK_BYTES as u64 / 4) + 1)
}

/// Why an entry was not taken, or bytes are no part of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// The key is too long.
    #[error("a key of {0} bytes, more than the {KEY_BYTES_MAX} a key may have; store it under its hash")]
    KeyTooLong(usize),
    /// Key and value are too long together.
    #[error(
        "an entry of {0} bytes, more than the {ENTRY_BYTES_MAX} a key and its value may have; \
         cut the value into several entries"
    )]
    EntryTooLarge(usize),
    /// The map has as many chunks as it may.
    #[error(
        "the map is full: it has {CHUNKS_MAX} chunks; remove entries, or refuse commands that add to the state"
    )]
    Full,
    /// A page, chunk or map has something that none of them has.
    #[error("no part of a map: {0}; it was damaged or forged, fetch it again")]
    Malformed(&'static str),
}

/// An ordered map from bytes to bytes. `clone` takes no time and shares what neither side changes.
#[derive(Clone)]
pub struct Map {
    chunks: Arc<Row<Chunk>>,
    entries: u64,
    bytes: u64,
    changes: Changes,
    /// Cached, and empty since the last change.
    root: OnceLock<Digest>,
}

impl Default for Map {
    fn default() -> Self {
        Self::new()
    }
}

impl Map {
    /// The map of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self {
            chunks: Arc::default(),
            entries: 0,
            bytes: 0,
            changes: Changes::after(page::NEVER),
            root: OnceLock::new(),
        }
    }

    /// The map of these chunks, as it was when it was last sealed: it goes on exactly like the one they are of.
    ///
    /// # Errors
    /// [`MapError::Malformed`] if keys do not ascend from chunk to chunk or there are more than [`CHUNKS_MAX`].
    pub fn from_chunks(chunks: Vec<Arc<Chunk>>) -> Result<Self, MapError> {
        if chunks.len() > CHUNKS_MAX {
            return Err(MapError::Malformed("more chunks than a map may have"));
        }
        if !chunks.is_sorted_by(|left, right| left.last_key() < right.first_key()) {
            return Err(MapError::Malformed("keys do not ascend from chunk to chunk"));
        }
        let pages = || chunks.iter().flat_map(|chunk| chunk.pages());
        let entries = pages().map(|page| page.entries().count() as u64).sum();
        let newest = pages().map(|page| page.seal()).max().unwrap_or(page::NEVER);
        let bytes = chunks.iter().map(|chunk| chunk.bytes()).sum();
        let mut map = Self { entries, bytes, ..Self::new() };
        map.chunks = Arc::new(Row::of(chunks));
        map.changes = Changes::after(newest);
        map.renumber_if_exhausted();
        Ok(map)
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.entries
    }

    /// Whether there is no entry.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// Bytes of all pages: keys, values, and six for each entry.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The value under a key.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        let chunk = self.chunks().get(self.chunks.place_of(key))?;
        let page = &chunk.pages()[chunk.page_of(key)];
        page.spot(key).value(page)
    }

    /// Puts a value under a key; returns whether there was one before. An equal value changes nothing.
    ///
    /// # Errors
    /// [`MapError::KeyTooLong`], [`MapError::EntryTooLarge`] or [`MapError::Full`]; the map is as before then.
    pub fn insert(&mut self, key: &[u8], value: &[u8]) -> Result<bool, MapError> {
        if key.len() > KEY_BYTES_MAX {
            return Err(MapError::KeyTooLong(key.len()));
        }
        if key.len() + value.len() > ENTRY_BYTES_MAX {
            return Err(MapError::EntryTooLarge(key.len() + value.len()));
        }
        let at = self.chunks.place_of(key);
        let Some(chunk) = self.chunks().get(at) else {
            let page = self.changes.page(page::with_entry(&[], Spot::default(), key, value));
            self.entries = 1;
            self.bytes = page.bytes().len() as u64;
            self.chunks = Arc::new(Row::of(vec![Arc::new(Chunk::of(vec![page]))]));
            self.root = OnceLock::new();
            return Ok(false);
        };
        let page_at = chunk.page_of(key);
        let page = &chunk.pages()[page_at];
        let spot = page.spot(key);
        let old = spot.value(page);
        if old == Some(value) {
            return Ok(true);
        }
        let grows = old.is_none_or(|old| old.len() < value.len());
        if grows && self.chunks.len() > CHUNKS_ROOM {
            return Err(MapError::Full);
        }
        let found = old.is_some();
        let same_length = old.is_some_and(|old| old.len() == value.len());
        let last = at + 1 == self.chunks.len() && page_at + 1 == chunk.pages().len();
        let appended = last && spot.at == page.bytes().len();
        self.edit(at, appended, |chunk, changes| {
            if same_length {
                chunk.overwrite(page_at, spot, value, changes);
            } else {
                let bytes = page::with_entry(chunk.pages()[page_at].bytes(), spot, key, value);
                chunk.replace(page_at, bytes, appended, changes);
            }
        });
        self.entries += u64::from(!found);
        Ok(found)
    }

    /// Takes away what is under a key; returns whether there was something.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        let at = self.chunks.place_of(key);
        let Some(chunk) = self.chunks().get(at) else { return false };
        let page_at = chunk.page_of(key);
        let spot = chunk.pages()[page_at].spot(key);
        if spot.is_vacant() {
            return false;
        }
        self.edit(at, false, |chunk, changes| {
            let bytes = page::without_entry(chunk.pages()[page_at].bytes(), spot);
            chunk.replace(page_at, bytes, false, changes);
        });
        self.entries -= 1;
        true
    }

    /// The entries between two bounds, in order of their keys. None if the bounds are the wrong way round.
    #[must_use]
    pub fn range<'a>(&'a self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Range<'a> {
        Range::new(&self.chunks, from, to)
    }

    /// Bytes of the pages that were made or changed since the last [`seal`](Self::seal): the same wherever the same
    /// operations were done since.
    #[must_use]
    pub fn changed_bytes(&self) -> u64 {
        self.changes.bytes()
    }

    /// From now on [`changed_bytes`](Self::changed_bytes) counts anew.
    pub fn seal(&mut self) {
        self.changes = Changes::after(self.changes.seal());
        self.renumber_if_exhausted();
    }

    /// The digest of the contents and of their shape: [`merkle_root`] of the chunks' digests. Hashes what changed since
    /// digests were last asked for here or in a copy, and one node per chunk.
    #[must_use]
    pub fn root(&self) -> Digest {
        *self.root.get_or_init(|| {
            let digests: Vec<_> = self.chunks().iter().map(|chunk| chunk.digest()).collect();
            merkle_root(HashTag::ChunkNode, &digests)
        })
    }

    /// The chunks, in order.
    #[must_use]
    pub fn chunks(&self) -> &[Arc<Chunk>] {
        self.chunks.parts()
    }

    /// Where two maps differ, in order of the keys. Passes over chunks and pages whose digests are equal.
    #[must_use]
    pub fn differences<'a>(&'a self, other: &'a Self) -> Differences<'a> {
        Differences::new(Cursor::new(self.chunks()), Cursor::new(other.chunks()))
    }

    /// Changes one chunk, and then the shape around it as far as that needs it. `appended` says that an entry comes
    /// behind all others.
    fn edit(&mut self, at: usize, appended: bool, change: impl FnOnce(&mut Chunk, &mut Changes)) {
        self.root = OnceLock::new();
        let chunks = Arc::make_mut(&mut self.chunks);
        let chunk = Arc::make_mut(chunks.part_mut(at));
        let before = chunk.bytes();
        change(chunk, &mut self.changes);
        let after = chunk.bytes();
        self.bytes = self.bytes - before + after;
        if after != before {
            chunks.refresh(at);
            shape::settle_chunks(chunks, at, appended, &mut self.changes);
        }
    }

    /// Seals have numbers of 32 bits, one in each page. A map that was sealed that often numbers them anew.
    fn renumber_if_exhausted(&mut self) {
        if self.changes.seal() < u32::MAX {
            return;
        }
        let chunks = Arc::make_mut(&mut self.chunks);
        for at in 0..chunks.len() {
            Arc::make_mut(chunks.part_mut(at)).forget_seals();
        }
        self.changes = Changes::after(page::NEVER);
    }
}

/// Equal entries. The shapes, and so the roots, may differ.
impl PartialEq for Map {
    fn eq(&self, other: &Self) -> bool {
        let all = |map| Self::range(map, Bound::Unbounded, Bound::Unbounded);
        Arc::ptr_eq(&self.chunks, &other.chunks)
            || self.entries == other.entries && self.bytes == other.bytes && all(self).eq(all(other))
    }
}

impl Eq for Map {}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "map of {} entries, {} bytes in {} chunks", self.entries, self.bytes, self.chunks.len())
    }
}
