//! A chunk: some pages in order, and what replicas ask each other for.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::page::{self, Page, Spot};
use super::row::{Part, Row};
use super::shape::{self, Changes};
use super::{CHUNK_BYTES, CHUNK_WIRE_BYTES_MAX, MapError};
use crate::crypto::{Digest, HashTag, Hasher};

/// In front of each page of the wire form.
const LENGTH_BYTES: usize = 4;

/// Some neighbouring pages of a map.
pub struct Chunk {
    pages: Row<Page>,
    bytes: u64,
    digest: OnceLock<Digest>,
    place: AtomicU64,
}

impl Chunk {
    /// The chunk of these pages.
    ///
    /// # Errors
    /// [`MapError::Malformed`] if they are none, too many, or their keys do not ascend.
    pub fn from_pages(pages: Vec<Arc<Page>>) -> Result<Self, MapError> {
        let bytes = pages.iter().map(|page| page.bytes().len() as u64).sum();
        check_size(pages.len(), bytes)?;
        if !pages.is_sorted_by(|left, right| left.last_key() < right.first_key()) {
            return Err(MapError::Malformed("keys do not ascend from page to page"));
        }
        Ok(Self::of(pages))
    }

    /// The chunk of pages known to be one.
    pub(super) fn of(pages: Vec<Arc<Page>>) -> Self {
        let bytes = pages.iter().map(|page| page.bytes().len() as u64).sum();
        Self { pages: Row::of(pages), bytes, digest: OnceLock::new(), place: AtomicU64::new(0) }
    }

    /// The digest of its pages' number and digests, computed when it is first asked for.
    #[must_use]
    pub fn digest(&self) -> Digest {
        *self
            .digest
            .get_or_init(|| digest_of(self.pages.len(), self.pages().iter().map(|page| page.digest())))
    }

    /// Its pages, in order.
    #[must_use]
    pub fn pages(&self) -> &[Arc<Page>] {
        self.pages.parts()
    }

    /// Bytes of its pages.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Its wire form: each page behind its length. At most [`CHUNK_WIRE_BYTES_MAX`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.encode_pages(|_| true)
    }

    /// The part of its wire form that has those of its pages, counted from 0, that are wanted.
    #[must_use]
    pub fn encode_pages(&self, wanted: impl Fn(usize) -> bool) -> Vec<u8> {
        let pages = || self.pages().iter().enumerate().filter(|(at, _)| wanted(*at)).map(|(_, page)| page);
        let bytes: usize = pages().map(|page| LENGTH_BYTES + page.bytes().len()).sum();
        let mut wire = Vec::with_capacity(bytes);
        for page in pages() {
            let length = u32::try_from(page.bytes().len()).expect("a page has at most 129 KiB");
            wire.extend_from_slice(&length.to_le_bytes());
            wire.extend_from_slice(page.bytes());
        }
        wire
    }

    /// The chunk of a wire form.
    ///
    /// # Errors
    /// [`MapError`] if it is none.
    pub fn decode(wire: &[u8]) -> Result<Self, MapError> {
        Self::from_pages(Self::pages_of_wire(wire)?)
    }

    /// The pages of a wire form, or of a part of one.
    ///
    /// # Errors
    /// [`MapError`] if these are none.
    pub fn pages_of_wire(wire: &[u8]) -> Result<Vec<Arc<Page>>, MapError> {
        let (bytes, count) = Pages::of(wire)?;
        let mut pages = Vec::with_capacity(count);
        for bytes in bytes {
            pages.push(Arc::new(Page::from_bytes(bytes)?));
        }
        Ok(pages)
    }

    /// The digest of the chunk that has this wire form, if one has.
    ///
    /// # Errors
    /// [`MapError::Malformed`] if it is not made of pages. What is in them is for [`decode`](Self::decode) to judge.
    pub fn digest_of_wire(wire: &[u8]) -> Result<Digest, MapError> {
        let (pages, count) = Pages::of(wire)?;
        Ok(digest_of(count, pages.map(page::digest_of)))
    }

    /// The digests of its pages, in order.
    #[must_use]
    pub fn page_digests(&self) -> Vec<Digest> {
        self.pages().iter().map(|page| page.digest()).collect()
    }

    /// The digests of the pages that have this wire form, or part of one, if there are any.
    ///
    /// # Errors
    /// [`MapError::Malformed`] if it is not made of pages.
    pub fn digests_of_wire(wire: &[u8]) -> Result<Vec<Digest>, MapError> {
        let (pages, count) = Pages::of(wire)?;
        let mut digests = Vec::with_capacity(count);
        digests.extend(pages.map(page::digest_of));
        Ok(digests)
    }

    /// The digest of the chunk whose pages have these digests, if there is one.
    #[must_use]
    pub fn digest_of_pages(pages: &[Digest]) -> Digest {
        digest_of(pages.len(), pages.iter().copied())
    }

    /// Where it is stored, in the words of whoever set it; 0 if nowhere.
    #[must_use]
    pub fn place(&self) -> u64 {
        self.place.load(Ordering::Acquire)
    }

    /// Notes where it is stored, for whoever shares it.
    pub fn set_place(&self, place: u64) {
        self.place.store(place, Ordering::Release);
    }

    /// The last key of all.
    pub(super) fn last_key(&self) -> &[u8] {
        self.pages().last().map_or(&[], |page| page.last_key())
    }

    /// Place of the page that has this key, or that gets it.
    pub(super) fn page_of(&self, key: &[u8]) -> usize {
        self.pages.place_of(key)
    }

    /// Writes another value of the same length into a page: in place if nobody shares it. The shape stays.
    pub(super) fn overwrite(&mut self, at: usize, spot: Spot, value: &[u8], changes: &mut Changes) {
        changes.gone(&self.pages()[at]);
        let shared = self.pages.part_mut(at);
        if let Some(page) = Arc::get_mut(shared) {
            page.overwrite(spot, value, changes.seal());
            changes.made(page);
        } else {
            let mut bytes = shared.bytes().to_vec();
            bytes[spot.end - value.len()..spot.end].copy_from_slice(value);
            *shared = changes.page(bytes);
        }
        self.touch();
    }

    /// Puts other bytes in place of a page's, and changes the pages around as far as that needs it.
    pub(super) fn replace(&mut self, at: usize, bytes: Vec<u8>, appended: bool, changes: &mut Changes) {
        let old = &self.pages()[at];
        changes.gone(old);
        self.bytes = self.bytes - old.bytes().len() as u64 + bytes.len() as u64;
        let mut count = 1;
        match shape::cut_page(bytes, appended) {
            shape::Cut::None => {
                self.pages.remove(at);
                count = 0;
            }
            shape::Cut::One(bytes) => {
                *self.pages.part_mut(at) = changes.page(bytes);
                self.pages.refresh(at);
            }
            shape::Cut::Several(pieces) => {
                count = pieces.len();
                let pages = pieces.into_iter().map(|bytes| changes.page(bytes));
                self.pages.replace(at..=at, pages.collect());
            }
        }
        self.pages.settle(at, count, changes);
        self.touch();
    }

    /// Makes its pages older than every seal.
    pub(super) fn forget_seals(&mut self) {
        for at in 0..self.pages.len() {
            let page = self.pages.part_mut(at);
            *page = Arc::new(page.unsealed());
        }
    }

    /// Whether its pages can be found.
    #[cfg(test)]
    pub(super) fn is_consistent(&self) -> bool {
        self.pages.is_consistent()
    }

    /// Whether its digest was asked for since it was changed.
    #[cfg(test)]
    pub(super) fn is_hashed(&self) -> bool {
        self.digest.get().is_some()
    }

    /// What it was is stored somewhere and has a digest; what it is now has not.
    fn touch(&mut self) {
        self.digest = OnceLock::new();
        *self.place.get_mut() = 0;
    }
}

impl Part for Chunk {
    const BYTES: usize = CHUNK_BYTES;

    fn first_key(&self) -> &[u8] {
        self.pages().first().map_or(&[], |page| page.first_key())
    }

    fn size(&self) -> usize {
        usize::try_from(self.bytes).unwrap_or(usize::MAX)
    }

    fn join(left: &mut Arc<Self>, right: &Arc<Self>, changes: &mut Changes) {
        let left = Arc::make_mut(left);
        let junction = left.pages.len();
        left.pages.append(right.pages());
        left.bytes += right.bytes;
        left.pages.settle(junction, 0, changes);
        left.touch();
    }
}

impl Clone for Chunk {
    fn clone(&self) -> Self {
        let (pages, digest) = (self.pages.clone(), self.digest.clone());
        Self { pages, bytes: self.bytes, digest, place: AtomicU64::new(self.place()) }
    }
}

impl fmt::Debug for Chunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chunk of {} pages, {} bytes", self.pages.len(), self.bytes)
    }
}

fn check_size(pages: usize, bytes: u64) -> Result<(), MapError> {
    if pages == 0 {
        return Err(MapError::Malformed("a chunk without pages"));
    }
    if pages > 1 && bytes > CHUNK_BYTES as u64 {
        return Err(MapError::Malformed("a chunk of several pages with more bytes than it may have"));
    }
    Ok(())
}

fn digest_of(count: usize, pages: impl Iterator<Item = Digest>) -> Digest {
    // All at once: each page is likely to miss every cache, and then they are fetched side by side.
    let mut digests = Vec::with_capacity(count * size_of::<Digest>());
    pages.for_each(|digest| digests.extend_from_slice(&digest.0));
    let mut hasher = Hasher::new(HashTag::Chunk);
    hasher.u64(count as u64).update(&digests);
    hasher.finish()
}

/// What remains of a wire form.
#[derive(Clone, Copy)]
struct Pages<'a>(&'a [u8]);

impl<'a> Pages<'a> {
    /// The pages of a wire form and how many they are. What is in them was not looked at.
    fn of(wire: &'a [u8]) -> Result<(Self, usize), MapError> {
        if wire.len() > CHUNK_WIRE_BYTES_MAX {
            return Err(MapError::Malformed("a chunk with more bytes than it may have"));
        }
        let (mut pages, mut count, mut bytes) = (Self(wire), 0, 0);
        for page in pages.by_ref() {
            if page.is_empty() {
                return Err(MapError::Malformed("a page without entries"));
            }
            (count, bytes) = (count + 1, bytes + page.len());
        }
        if !pages.0.is_empty() {
            return Err(MapError::Malformed("a chunk ends within a page"));
        }
        check_size(count, bytes as u64)?;
        Ok((Self(wire), count))
    }
}

impl<'a> Iterator for Pages<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first_chunk::<LENGTH_BYTES>()?;
        let (page, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        self.0 = rest;
        Some(page)
    }
}
