//! Layout of segments: one record after the other, each a chunk's list of pages, and the pages that are new with it.
//!
//! ```text
//! checksum 4 | magic 4 | place 8 | digest 32 | pages 4 | bytes that follow 4 | (place 8, length 4) per page | pages
//! ```
//!
//! The checksum covers the list, the digest proves the pages. A record says where it stands, so that one that was
//! written elsewhere is not taken for another.

use std::collections::BTreeSet;

use quorate_protocol::map::CHUNK_WIRE_BYTES_MAX;
use quorate_protocol::types::Digest;

use crate::disk::FileName;

const MAGIC: &[u8; 4] = b"QCR1";
/// Bytes of a record before its list.
pub(super) const PREFIX: usize = 56;
const ENTRY: usize = 12;
/// Bytes of the longest list: each page takes four bytes of the chunk's wire form at least.
pub(super) const LIST_BYTES_MAX: usize = PREFIX + ENTRY * (CHUNK_WIRE_BYTES_MAX / 4);

/// Where something stands: a segment's number and an offset in it. Zero is nowhere, for no segment has number zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(pub(super) u64);

impl Place {
    pub(super) fn new(segment: u32, offset: u32) -> Self {
        Self(u64::from(segment) << 32 | u64::from(offset))
    }

    /// What a page or a chunk says of itself.
    pub(super) fn of(place: u64) -> Option<Self> {
        (place > 0).then_some(Self(place))
    }

    pub(super) fn segment(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(super) fn file(self) -> FileName {
        FileName::Segment(self.0 >> 32)
    }

    pub(super) fn offset(self) -> u64 {
        self.0 & 0xffff_ffff
    }

    /// So many bytes further on in the same segment; none beyond what an offset can say.
    pub(super) fn after(self, bytes: usize) -> Option<Self> {
        let offset = u32::try_from(self.offset() + bytes as u64).ok()?;
        Some(Self::new(self.segment(), offset))
    }
}

/// Bytes of a record's list.
pub(super) fn list_bytes(pages: usize) -> usize {
    PREFIX + ENTRY * pages
}

/// The list that these bytes are without their checksum, if they are one that stands where it says.
pub(crate) fn again(list: &[u8]) -> Option<Vec<u8>> {
    let mut whole = vec![0; 4];
    whole.extend_from_slice(list);
    let place = Place(u64::from_le_bytes(*whole.get(8..)?.first_chunk()?));
    let checksum = crc32c::crc32c(&whole[4..]);
    whole[..4].copy_from_slice(&checksum.to_le_bytes());
    let record = Record::parse(&whole, place)?;
    let mut again = Vec::new();
    record.append(place, &mut again);
    Some(again.split_off(4))
}

/// A chunk's list of pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) digest: Digest,
    /// Bytes of the pages that follow the list.
    pub(super) inline: u32,
    /// Where each page stands, and its length.
    pub(super) pages: Vec<(Place, u32)>,
}

impl Record {
    /// Adds the list, as it stands at `place`, to `bytes`.
    pub(super) fn append(&self, place: Place, bytes: &mut Vec<u8>) {
        let at = bytes.len();
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&place.0.to_le_bytes());
        bytes.extend_from_slice(&self.digest.0);
        bytes.extend_from_slice(&(self.pages.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&self.inline.to_le_bytes());
        for (page, length) in &self.pages {
            bytes.extend_from_slice(&page.0.to_le_bytes());
            bytes.extend_from_slice(&length.to_le_bytes());
        }
        let checksum = crc32c::crc32c(&bytes[at + 4..]);
        bytes[at..at + 4].copy_from_slice(&checksum.to_le_bytes());
    }

    /// How long the list is of which these are the first bytes, if it may be one: not more than any list has.
    pub(super) fn measure(prefix: &[u8]) -> Option<usize> {
        let pages = u32::from_le_bytes(*prefix.get(48..)?.first_chunk()?);
        let length = list_bytes(usize::try_from(pages).ok()?);
        (prefix.get(4..8)? == MAGIC && length <= LIST_BYTES_MAX).then_some(length)
    }

    /// The list that begins with these bytes, if it is whole and stands where it was written.
    pub(super) fn parse(bytes: &[u8], place: Place) -> Option<Self> {
        let list = bytes.get(..Self::measure(bytes)?)?;
        if crc32c::crc32c(&list[4..]).to_le_bytes() != list[..4] || list[8..16] != place.0.to_le_bytes() {
            return None;
        }
        let mut digest = Digest([0; 32]);
        digest.0.copy_from_slice(&list[16..48]);
        let inline = u32::from_le_bytes(*list[52..].first_chunk()?);
        let pages = list[PREFIX..].chunks_exact(ENTRY).map(|entry| {
            let place = Place(u64::from_le_bytes(*entry.first_chunk()?));
            Some((place, u32::from_le_bytes(*entry.last_chunk()?)))
        });
        let pages: Vec<_> = pages.collect::<Option<_>>()?;
        let total = pages.iter().map(|(_, length)| u64::from(*length) + 4).sum::<u64>();
        let sound = total <= CHUNK_WIRE_BYTES_MAX as u64 && u64::from(inline) <= total;
        sound.then_some(Self { digest, inline, pages })
    }

    /// Numbers of the segments it needs, its own among them, ascending.
    pub(super) fn segments(&self, place: Place) -> Box<[u32]> {
        let mut numbers = Numbers::up_to(place.segment());
        numbers.insert(place.segment());
        self.pages.iter().for_each(|(page, _)| numbers.insert(page.segment()));
        numbers.into_sorted().into()
    }
}

/// Bits of [`Numbers`].
const NEAR: usize = 1024;

/// A set of segments' numbers, nearly all of them the last ones there are: thousands of chunks have theirs put together
/// for every state.
pub(super) struct Numbers {
    first: u32,
    near: [u64; NEAR / 64],
    far: BTreeSet<u32>,
}

impl Numbers {
    /// Of no numbers, for such as are not above this one, or not far above it.
    pub(super) fn up_to(last: u32) -> Self {
        let first = last.saturating_sub(NEAR as u32 / 2);
        Self { first, near: [0; NEAR / 64], far: BTreeSet::new() }
    }

    pub(super) fn insert(&mut self, number: u32) {
        let bit = number.checked_sub(self.first).map_or(NEAR, |bit| bit as usize);
        match self.near.get_mut(bit / 64) {
            Some(word) => *word |= 1 << (bit % 64),
            None => drop(self.far.insert(number)),
        }
    }

    /// All of them, ascending.
    pub(super) fn into_sorted(self) -> Vec<u32> {
        let mut numbers: Vec<u32> = self.far.into_iter().collect();
        let far = !numbers.is_empty();
        for (at, mut word) in self.near.into_iter().enumerate() {
            while word != 0 {
                numbers.push(self.first + at as u32 * 64 + word.trailing_zeros());
                word &= word - 1;
            }
        }
        if far {
            numbers.sort_unstable();
        }
        numbers
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn record() -> (Record, Place) {
        let pages = vec![(Place::new(1, 900), 2000), (Place::new(3, 156), 17)];
        (Record { digest: Digest([7; 32]), inline: 17, pages }, Place::new(3, 76))
    }

    #[test]
    fn a_record_survives_being_written_and_read() {
        let (record, place) = record();
        let mut bytes = Vec::new();
        record.append(place, &mut bytes);
        assert_eq!(bytes.len(), list_bytes(2));
        assert_eq!(Record::parse(&bytes, place), Some(record.clone()));
        assert_eq!(*record.segments(place), [1, 3]);
    }

    #[test]
    fn numbers_near_and_far_are_kept_once_and_in_order() {
        for last in [0, 5, 700, 1_000_000, u32::MAX] {
            let mut numbers = Numbers::up_to(last);
            let some =
                [0, 1, 5, 63, 64, 699, 700, 1023, 1024, 999_999, 1_000_000, 1_000_511, 1_000_512, u32::MAX];
            some.iter().chain(&some).for_each(|number| numbers.insert(*number));
            assert_eq!(numbers.into_sorted(), some, "up to {last}");
        }
    }

    #[test]
    fn a_record_with_any_bit_flipped_or_cut_or_at_another_place_is_none() {
        let (record, place) = record();
        let mut bytes = Vec::new();
        record.append(place, &mut bytes);
        for at in 0..bytes.len() {
            let mut rotten = bytes.clone();
            rotten[at] ^= 1 << (at % 8);
            assert_eq!(Record::parse(&rotten, place), None, "byte {at}");
            assert_eq!(Record::parse(&bytes[..at], place), None, "length {at}");
        }
        assert_eq!(Record::parse(&bytes, Place::new(3, 77)), None);
    }

    #[test]
    fn a_length_that_no_record_has_is_not_believed() {
        let mut bytes = Vec::new();
        record().0.append(record().1, &mut bytes);
        bytes[48..52].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Record::measure(&bytes), None);
    }
}
