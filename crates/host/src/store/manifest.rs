//! Which chunks the state after a slot consists of, and where they stand: a small file that is whole or refused.
//!
//! ```text
//! checksum 4 | magic 8 | version 2 | 0 2 | slot 8 | root 32 | bytes that follow 8 | their checksum 4 | segment 4
//! length of the summary 4 | summary | segments 4 | number 4 per segment | (digest 32, place 8, list 4, inline 4) per chunk
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;

use quorate_protocol::codec;
use quorate_protocol::executor::Summary;
use quorate_protocol::map::CHUNKS_MAX;
use quorate_protocol::types::{Digest, Seq};

use super::StoreError;
use super::segment::Place;
use crate::disk::{Disk, DiskError, FileName, publish, read_padded};
use crate::superblock::SnapshotPointer;

const MAGIC: &[u8; 8] = b"QUORSNAP";
/// Version 1 held the state itself, in one piece.
const VERSION: u16 = 2;
const HEADER: usize = 72;
const CHUNK: usize = 48;
const SUMMARY_BYTES_MAX: usize = 4096;
/// Bytes of one write.
const PIECE: usize = 1 << 20;
/// More than any manifest has: two maps, and a segment for every chunk and more.
const BODY_BYTES_MAX: u64 = (SUMMARY_BYTES_MAX + 2 * CHUNKS_MAX * (CHUNK + 64)) as u64;

/// A chunk of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) place: Place,
    /// Bytes of its record, without pages.
    pub(super) list: u32,
    /// Bytes of the pages that follow the record.
    pub(super) inline: u32,
}

/// What a state consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) root: Digest,
    pub(super) summary: Summary,
    /// Digest of each chunk, in order.
    pub(super) digests: Arc<[Digest]>,
    pub(super) pieces: Vec<Piece>,
    /// Segments that its chunks need.
    pub(super) segments: BTreeSet<u32>,
    /// Chunks that were not of any state when it was stored stand in segments from this one on.
    pub(super) loose_from: u32,
}

impl Manifest {
    pub(super) fn pointer(&self) -> SnapshotPointer {
        SnapshotPointer { seq: self.summary.seq, root: self.root }
    }

    /// Bytes of its file.
    pub(super) fn file_bytes(&self) -> u64 {
        let summary = codec::encoded_len(&self.summary);
        (HEADER + 8 + summary + 4 * self.segments.len() + CHUNK * self.pieces.len()) as u64
    }

    fn body(&self) -> Vec<u8> {
        let summary = codec::encode(&self.summary).expect("a summary is a few numbers and digests");
        let mut body =
            Vec::with_capacity(8 + summary.len() + 4 * self.segments.len() + CHUNK * self.pieces.len());
        body.extend_from_slice(&(summary.len() as u32).to_le_bytes());
        body.extend_from_slice(&summary);
        body.extend_from_slice(&(self.segments.len() as u32).to_le_bytes());
        for segment in &self.segments {
            body.extend_from_slice(&segment.to_le_bytes());
        }
        for (digest, piece) in self.digests.iter().zip(&self.pieces) {
            body.extend_from_slice(&digest.0);
            body.extend_from_slice(&piece.place.0.to_le_bytes());
            body.extend_from_slice(&piece.list.to_le_bytes());
            body.extend_from_slice(&piece.inline.to_le_bytes());
        }
        body
    }

    /// Stores it, whole or not at all; durable when this returns, if `sync`. What its chunks need must be so before.
    /// Returns the bytes written.
    pub(super) fn store(&self, disk: &mut impl Disk, sync: bool) -> Result<u64, DiskError> {
        let body = self.body();
        let mut header = [0; HEADER];
        header[4..12].copy_from_slice(MAGIC);
        header[12..14].copy_from_slice(&VERSION.to_le_bytes());
        header[16..24].copy_from_slice(&self.summary.seq.0.to_le_bytes());
        header[24..56].copy_from_slice(&self.root.0);
        header[56..64].copy_from_slice(&(body.len() as u64).to_le_bytes());
        header[64..68].copy_from_slice(&crc32c::crc32c(&body).to_le_bytes());
        header[68..72].copy_from_slice(&self.loose_from.to_le_bytes());
        let checksum = crc32c::crc32c(&header[4..]);
        header[..4].copy_from_slice(&checksum.to_le_bytes());
        let draft = FileName::SnapshotDraft;
        // What a crash left of an earlier draft may be longer than this one.
        disk.remove(draft)?;
        disk.write_at(draft, 0, &header)?;
        for (index, piece) in body.chunks(PIECE).enumerate() {
            disk.write_at(draft, (HEADER + index * PIECE) as u64, piece)?;
        }
        publish(disk, draft, FileName::Snapshot(self.summary.seq), sync)?;
        Ok((HEADER + body.len()) as u64)
    }

    /// Reads the one of a slot.
    pub(super) fn read(disk: &mut impl Disk, seq: Seq) -> Result<Self, StoreError> {
        let (file, damaged) = (FileName::Snapshot(seq), StoreError::Damaged(seq));
        let Some(length) = disk.len(file)? else { return Err(StoreError::Missing(seq)) };
        let header = read_padded(disk, file, 0, HEADER)?;
        if crc32c::crc32c(&header[4..]).to_le_bytes() != header[..4] || header[4..12] != MAGIC[..] {
            return Err(damaged);
        }
        match u16::from_le_bytes([header[12], header[13]]) {
            VERSION => {}
            found if found < VERSION => return Err(StoreError::PastVersion { seq, found }),
            found => return Err(StoreError::FutureVersion { seq, found }),
        }
        let long =
            |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes were cut out"));
        // Checked against the file before anything is allocated for it.
        let bytes = long(56);
        let fits = bytes <= BODY_BYTES_MAX && Some(bytes) == length.checked_sub(HEADER as u64);
        let Some(size) = usize::try_from(bytes).ok().filter(|_| fits) else { return Err(damaged) };
        let body = read_padded(disk, file, HEADER as u64, size)?;
        if crc32c::crc32c(&body).to_le_bytes() != header[64..68] {
            return Err(damaged);
        }
        let mut root = Digest([0; 32]);
        root.0.copy_from_slice(&header[24..56]);
        let mut manifest = Self::parse(&body, root).ok_or(damaged.clone())?;
        manifest.loose_from = u32::from_le_bytes([header[68], header[69], header[70], header[71]]);
        let right = manifest.summary.seq == seq
            && long(16) == seq.0
            && manifest.summary.root() == root
            && manifest.summary.covers(&manifest.digests);
        if right { Ok(manifest) } else { Err(damaged) }
    }

    fn parse(body: &[u8], root: Digest) -> Option<Self> {
        let (summary, rest) = take(body)?;
        let (summary, rest) = rest.split_at_checked(summary)?;
        let summary: Summary = codec::decode(summary).ok()?;
        let (segments, rest) = take(rest)?;
        let (segments, chunks) = rest.split_at_checked(segments.checked_mul(4)?)?;
        let segments = segments.chunks_exact(4).map(|number| number.try_into().map(u32::from_le_bytes).ok());
        let chunks = chunks.chunks_exact(CHUNK);
        if !chunks.remainder().is_empty() {
            return None;
        }
        let (mut digests, mut pieces) = (Vec::with_capacity(chunks.len()), Vec::with_capacity(chunks.len()));
        for chunk in chunks {
            let (digest, rest) = chunk.split_first_chunk::<32>()?;
            let (place, rest) = rest.split_first_chunk::<8>()?;
            let (list, inline) = rest.split_first_chunk::<4>()?;
            digests.push(Digest(*digest));
            pieces.push(Piece {
                place: Place(u64::from_le_bytes(*place)),
                list: u32::from_le_bytes(*list),
                inline: u32::from_le_bytes(*inline.first_chunk()?),
            });
        }
        let segments: Vec<u32> = segments.collect::<Option<_>>()?;
        if !segments.is_sorted_by(|one, next| one < next) {
            return None;
        }
        let segments = segments.into_iter().collect();
        Some(Self { root, summary, digests: digests.into(), pieces, segments, loose_from: 0 })
    }
}

/// Makes the checksums in a whole file right.
pub(crate) fn mend(bytes: &mut [u8]) {
    let Some((header, body)) = bytes.split_at_mut_checked(HEADER) else { return };
    header[64..68].copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
    let checksum = crc32c::crc32c(&header[4..]);
    header[..4].copy_from_slice(&checksum.to_le_bytes());
}

/// The body of the manifest that these bytes are, if they are one.
pub(crate) fn again(body: &[u8]) -> Option<Vec<u8>> {
    Manifest::parse(body, Digest([0; 32])).map(|manifest| manifest.body())
}

/// The number at the front of `bytes`, and what follows it.
fn take(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((usize::try_from(u32::from_le_bytes(*number)).ok()?, rest))
}

/// Makes the snapshot of a slot durable that was written without syncing: its chunks, itself, and their names. One
/// that cannot be read is left as it is, for it is of no use either way.
///
/// # Errors
/// If the disk fails.
pub(crate) fn make_durable(disk: &mut impl Disk, seq: Seq) -> Result<(), DiskError> {
    match Manifest::read(disk, seq) {
        Ok(manifest) => {
            for segment in manifest.segments {
                let file = FileName::Segment(segment.into());
                if disk.len(file)?.is_some() {
                    disk.sync(file)?;
                }
            }
            disk.sync(FileName::Snapshot(seq))?;
            disk.sync_folder()
        }
        Err(StoreError::Disk(error)) => Err(error),
        Err(_) => Ok(()),
    }
}
