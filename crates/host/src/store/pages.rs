//! Which pages are here, by their digests, while a state is fetched: of a chunk that changed a little, the others need
//! not be sent again.
//!
//! Lists of chunks say where pages stand and not what their digests are, so what may be of use is read and hashed once
//! when the transfer begins. Segments that hold any of it stay until the transfer is over, and a page is believed only
//! when it has been read again and has the digest.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use quorate_protocol::map::{Chunk, Page};
use quorate_protocol::types::Digest;

use super::segment::Place;
use super::{Store, StoreError};
use crate::disk::Disk;

/// Pages that are remembered at most: 24 MiB of memory, and two gibibytes of state.
const PAGES_MAX: usize = 1 << 20;
/// Chunks are fetched whole where fewer than one of so many are missing: looking for pages reads all that is here.
const MISSING_MIN: usize = 16;
/// Pages are not looked for once all states together take more than so many times what the newest takes, and some slack:
/// what a fetched state shares with older segments keeps these from being deleted.
const USED_MAX: u64 = 4;
const SLACK_BYTES: u64 = 256 << 20;

/// A page that stands somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    /// The first eight bytes of its digest.
    prefix: u64,
    place: Place,
    length: u32,
}

/// The pages that are here, as far as they may be of use to a state that is fetched.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct PageIndex {
    /// Ascending.
    entries: Vec<Entry>,
    /// Where they stand.
    segments: BTreeSet<u32>,
}

impl PageIndex {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a page with this digest is here, most likely.
    #[must_use]
    pub fn has(&self, digest: &Digest) -> bool {
        self.entries_of(digest).next().is_some()
    }

    /// Whether any of them stands in a segment.
    pub(super) fn needs(&self, segment: u32) -> bool {
        self.segments.contains(&segment)
    }

    fn entries_of(&self, digest: &Digest) -> impl Iterator<Item = Entry> + use<'_> {
        let prefix = prefix(digest);
        let from = self.entries.partition_point(|entry| entry.prefix < prefix);
        self.entries[from..].iter().copied().take_while(move |entry| entry.prefix == prefix)
    }

    fn add(&mut self, chunk: &Chunk) {
        for page in chunk.pages() {
            if let Some(place) = Place::of(page.place())
                && self.entries.len() < PAGES_MAX
            {
                let length = page.bytes().len() as u32;
                self.entries.push(Entry { prefix: prefix(&page.digest()), place, length });
                self.segments.insert(place.segment());
            }
        }
    }
}

impl fmt::Debug for PageIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} pages", self.entries.len())
    }
}

fn prefix(digest: &Digest) -> u64 {
    u64::from_be_bytes(*digest.0.first_chunk().expect("a digest has 32 bytes"))
}

impl<D: Disk> Store<D> {
    /// The pages of the newest snapshot and of what was fetched for a target before; none where looking for them does not
    /// pay. `have` says which chunks of the state to be fetched are here whole.
    pub(super) fn index_pages(&mut self, have: &[bool]) -> Result<PageIndex, StoreError> {
        let mut index = PageIndex::default();
        let missing = have.iter().filter(|here| !**here).count();
        let newest = self.manifests.values().flatten().next_back();
        let bytes = newest.map_or(0, |manifest| manifest.summary.bytes());
        if missing * MISSING_MIN < have.len() || self.used() > USED_MAX * bytes + SLACK_BYTES {
            return Ok(index);
        }
        // In the order in which they stand, for a disk that turns.
        let pieces = newest.into_iter().flat_map(|held| held.pieces.iter().zip(held.digests.iter()));
        let mut chunks: Vec<(Place, Digest)> = pieces.map(|(piece, digest)| (piece.place, *digest)).collect();
        chunks.sort_unstable();
        let named: BTreeSet<&Digest> =
            self.manifests.values().flatten().flat_map(|manifest| manifest.digests.iter()).collect();
        let loose = self.catalogue.iter().map(|known| known.digest).filter(|digest| !named.contains(digest));
        let digests: Vec<Digest> = chunks.into_iter().map(|(_, digest)| digest).chain(loose).collect();
        for digest in digests {
            if index.entries.len() >= PAGES_MAX {
                break;
            }
            if let Some(chunk) = self.find(&digest)? {
                index.add(&chunk);
            }
        }
        index.entries.sort_unstable();
        index.entries.dedup();
        index.entries.shrink_to_fit();
        Ok(index)
    }

    /// Keeps a chunk of which some pages were fetched, in wire form, and the others are here. Says whether they are: if
    /// not, nothing is kept.
    ///
    /// # Errors
    /// [`StoreError::Unproven`] if it is another chunk; [`StoreError::Disk`], and everything is refused then.
    pub fn patch(&mut self, digest: Digest, pages: &[Digest], wire: &[u8]) -> Result<bool, StoreError> {
        self.guarded(|store| {
            if !store.staged.wants(&digest) || store.has(&digest)? {
                return Ok(true);
            }
            let fetched = if wire.is_empty() { Ok(Vec::new()) } else { Chunk::pages_of_wire(wire) };
            let mut fetched = fetched.map_err(|_| StoreError::Unproven(digest))?.into_iter().peekable();
            let index = store.staged.pages();
            let mut whole = Vec::with_capacity(pages.len());
            for digest in pages {
                if let Some(page) = fetched.next_if(|page| page.digest() == *digest) {
                    whole.push(page);
                } else if let Some(page) = store.find_page(&index, digest)? {
                    whole.push(Arc::new(page));
                } else {
                    return Ok(false);
                }
            }
            let chunk = Chunk::from_pages(whole).ok().filter(|chunk| chunk.digest() == digest);
            store.append_chunk(&chunk.ok_or(StoreError::Unproven(digest))?, &BTreeSet::new())?;
            store.flush()?;
            Ok(true)
        })
    }

    /// Reads a page from wherever it stands whole.
    fn find_page(&mut self, index: &PageIndex, digest: &Digest) -> Result<Option<Page>, StoreError> {
        for Entry { place, length, .. } in index.entries_of(digest) {
            let found = self.read_exact(place, length as usize)?;
            let page = found.and_then(|bytes| Page::from_bytes(&bytes).ok());
            if let Some(page) = page.filter(|page| page.digest() == *digest) {
                page.set_place(place.0);
                return Ok(Some(page));
            }
        }
        Ok(None)
    }
}
