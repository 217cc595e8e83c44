//! A page: some entries in order, as the bytes that are hashed, stored and sent.

use std::alloc::System;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use allocator_api2::boxed::Box as BoxIn;

use super::row::Part;
use super::shape::Changes;
use super::{ENTRY_BYTES_MAX, KEY_BYTES_MAX, MapError, PAGE_BYTES};
use crate::crypto::{Digest, HashTag, Hasher};

/// Lengths of key and value, in front of them.
pub(crate) const HEADER_BYTES: usize = 6;

/// The seal of a page that no map changed.
pub(super) const NEVER: u32 = 0;

/// Bytes that stay. Allocators that serve small things fast round up to a few sizes, by a quarter at worst, and pages are
/// nearly all that a replica with a large state keeps: theirs come from the system's, which rounds up to sixteen bytes.
type Held = BoxIn<[u8], System>;

fn held(bytes: &[u8]) -> Held {
    let mut held = allocator_api2::vec::Vec::with_capacity_in(bytes.len(), System);
    held.extend_from_slice(bytes);
    held.into_boxed_slice()
}

/// Some neighbouring entries of a map, each `u16 key length, u32 value length, key, value`, little-endian.
///
/// A map has one per two kilobytes or so, which is why there is nothing else in it.
pub struct Page {
    bytes: Held,
    digest: OnceLock<Digest>,
    /// The seal after which it was changed last.
    seal: u32,
    place: AtomicU64,
}

impl Page {
    /// The page of these bytes.
    ///
    /// # Errors
    /// [`MapError`] if they are none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MapError> {
        let (mut rest, mut count, mut last) = (bytes, 0_usize, None);
        while !rest.is_empty() {
            let (entry, after) =
                Entry::take(rest).ok_or(MapError::Malformed("a page ends within an entry"))?;
            if entry.key.len() > KEY_BYTES_MAX {
                return Err(MapError::KeyTooLong(entry.key.len()));
            }
            if entry.key.len() + entry.value.len() > ENTRY_BYTES_MAX {
                return Err(MapError::EntryTooLarge(entry.key.len() + entry.value.len()));
            }
            if last.is_some_and(|last| last >= entry.key) {
                return Err(MapError::Malformed("keys do not ascend within a page"));
            }
            (rest, count, last) = (after, count + 1, Some(entry.key));
        }
        if count == 0 {
            return Err(MapError::Malformed("a page without entries"));
        }
        if count > 1 && bytes.len() > PAGE_BYTES {
            return Err(MapError::Malformed("a page of several entries with more bytes than it may have"));
        }
        Ok(Self::new(bytes, NEVER))
    }

    /// A page of bytes known to be one, changed after a seal.
    pub(super) fn new(bytes: &[u8], seal: u32) -> Self {
        Self { bytes: held(bytes), digest: OnceLock::new(), seal, place: AtomicU64::new(0) }
    }

    /// Its entries.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The digest of its bytes, computed when it is first asked for.
    #[must_use]
    pub fn digest(&self) -> Digest {
        *self.digest.get_or_init(|| digest_of(&self.bytes))
    }

    /// Where its bytes are stored, in the words of whoever set it; 0 if nowhere.
    #[must_use]
    pub fn place(&self) -> u64 {
        self.place.load(Ordering::Acquire)
    }

    /// Notes where its bytes are stored, for whoever shares it.
    pub fn set_place(&self, place: u64) {
        self.place.store(place, Ordering::Release);
    }

    /// The seal after which it was changed last.
    pub(super) fn seal(&self) -> u32 {
        self.seal
    }

    /// The same page, as if no map had changed it.
    pub(super) fn unsealed(&self) -> Self {
        let place = AtomicU64::new(self.place());
        Self { bytes: held(&self.bytes), digest: self.digest.clone(), seal: NEVER, place }
    }

    /// Its entries, in order.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        entries(&self.bytes)
    }

    /// The last key of all.
    pub(super) fn last_key(&self) -> &[u8] {
        self.entries().last().map_or(&[], |entry| entry.key)
    }

    /// The entry that begins at this byte.
    pub(super) fn entry_at(&self, at: usize) -> Entry<'_> {
        let (entry, _) = Entry::take(&self.bytes[at..]).expect("a page holds whole entries");
        entry
    }

    /// Where the entry of this key is, or would be.
    pub(super) fn spot(&self, key: &[u8]) -> Spot {
        let mut at = 0;
        for entry in self.entries() {
            match entry.key.cmp(key) {
                std::cmp::Ordering::Less => at += entry.bytes(),
                std::cmp::Ordering::Equal => return Spot { at, end: at + entry.bytes() },
                std::cmp::Ordering::Greater => break,
            }
        }
        Spot { at, end: at }
    }

    /// Writes another value of the same length into an entry.
    pub(super) fn overwrite(&mut self, spot: Spot, value: &[u8], seal: u32) {
        self.bytes[spot.end - value.len()..spot.end].copy_from_slice(value);
        (self.digest, self.seal, self.place) = (OnceLock::new(), seal, AtomicU64::new(0));
    }
}

impl Part for Page {
    const BYTES: usize = PAGE_BYTES;

    fn first_key(&self) -> &[u8] {
        self.entry_at(0).key
    }

    fn size(&self) -> usize {
        self.bytes.len()
    }

    fn join(left: &mut Arc<Self>, right: &Arc<Self>, changes: &mut Changes) {
        changes.gone(left);
        changes.gone(right);
        *left = changes.page([left.bytes(), right.bytes()].concat());
    }
}

impl fmt::Debug for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "page of {} entries, {} bytes", self.entries().count(), self.bytes.len())
    }
}

/// One entry of a page.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
}

impl<'a> Entry<'a> {
    /// The first entry of these bytes, and what follows it.
    fn take(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (&[k0, k1, v0, v1, v2, v3], rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        let (key, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes([k0, k1])))?;
        let (value, rest) = rest.split_at_checked(u32::from_le_bytes([v0, v1, v2, v3]) as usize)?;
        Some((Self { key, value }, rest))
    }

    /// Bytes it takes in a page.
    pub(super) fn bytes(&self) -> usize {
        HEADER_BYTES + self.key.len() + self.value.len()
    }
}

/// The entries that a page's bytes hold.
pub(super) fn entries(mut bytes: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    std::iter::from_fn(move || {
        let (entry, rest) = Entry::take(bytes)?;
        bytes = rest;
        Some(entry)
    })
}

/// The bytes of a page that an entry takes, or before which it would come.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) at: usize,
    pub(super) end: usize,
}

impl Spot {
    /// Whether there is no entry.
    pub(super) fn is_vacant(self) -> bool {
        self.at == self.end
    }

    /// The value of the entry.
    pub(super) fn value(self, page: &Page) -> Option<&[u8]> {
        (!self.is_vacant()).then(|| page.entry_at(self.at).value)
    }
}

/// A page's bytes with an entry where its spot is.
pub(super) fn with_entry(page: &[u8], spot: Spot, key: &[u8], value: &[u8]) -> Vec<u8> {
    let key_length = u16::try_from(key.len()).expect("a key has at most 4 KiB");
    let value_length = u32::try_from(value.len()).expect("a value has at most 128 KiB");
    let length = page.len() - (spot.end - spot.at) + HEADER_BYTES + key.len() + value.len();
    let mut bytes = Vec::with_capacity(length);
    bytes.extend_from_slice(&page[..spot.at]);
    bytes.extend_from_slice(&key_length.to_le_bytes());
    bytes.extend_from_slice(&value_length.to_le_bytes());
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(value);
    bytes.extend_from_slice(&page[spot.end..]);
    bytes
}

/// A page's bytes without the entry of this spot.
pub(super) fn without_entry(page: &[u8], spot: Spot) -> Vec<u8> {
    [&page[..spot.at], &page[spot.end..]].concat()
}

/// The digest of a page's bytes.
pub(super) fn digest_of(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(HashTag::Page);
    hasher.update(bytes);
    hasher.finish()
}
