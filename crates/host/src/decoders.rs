//! What a replica's own files are made of, piece by piece and without their checksums: bytes in, and out come the bytes
//! of what was understood, none if nothing was.
//!
//! For tests that feed these decoders garbage. Through the files themselves a fuzzer gets nowhere, because it cannot
//! guess checksums; rot that happens to keep one, and whoever writes into the folder, can.

use crate::disk::FileName;
use crate::journal::Shape;
use crate::journal::layout::{BLOCK, RECORD, SEAL, finish};
use crate::{divergence, journal, store, superblock};

/// A record of the journal: its kind, whether bytes follow that were signed with it, and its parts.
#[must_use]
pub fn journal_record(bytes: &[u8]) -> Option<Vec<u8>> {
    let ([kind, signed], parts) = bytes.split_first_chunk::<2>()?;
    let (record, with) = journal::payload::decode(*kind, *signed == 1, parts).filter(|_| *signed <= 1)?;
    let mut again = vec![*kind, *signed];
    journal::payload::encode(&record, with.as_deref(), &mut again).ok()?;
    Some(again)
}

/// A copy of the superblock of this version.
#[must_use]
pub fn superblock(fields: &[u8]) -> Option<Vec<u8>> {
    superblock::again(superblock::FORMAT_VERSION, fields)
}

/// A copy of the superblock of the first version, which is written again as one of this.
#[must_use]
pub fn first_superblock(fields: &[u8]) -> Option<Vec<u8>> {
    superblock::again(1, fields)
}

/// What a snapshot's manifest says.
#[must_use]
pub fn manifest(body: &[u8]) -> Option<Vec<u8>> {
    store::manifest::again(body)
}

/// The list at the front of a chunk's record in a segment.
#[must_use]
pub fn chunk_list(list: &[u8]) -> Option<Vec<u8>> {
    store::segment::again(list)
}

/// An entry of the file that says why a state was wrong.
#[must_use]
pub fn divergence(entry: &[u8]) -> Option<Vec<u8>> {
    divergence::again(entry)
}

/// Makes the checksums of a file right that are at known places, where a journal has `records`, and areas of so many
/// bytes. So garbage within a file gets as far as one that was written as such.
pub fn mend(file: FileName, bytes: &mut [u8], journal: (u64, u64, u64)) {
    match file {
        FileName::Superblock => {
            bytes.chunks_mut(BLOCK as usize).filter(|block| block.len() > 4).for_each(finish)
        }
        FileName::Journal => mend_journal(bytes, Shape::exactly(journal.0, journal.1, journal.2)),
        FileName::Snapshot(_) => store::manifest::mend(bytes),
        FileName::Divergence => divergence::mend(bytes),
        FileName::Segment(_) | FileName::SnapshotDraft => {}
        FileName::Accusation(..) | FileName::EvidenceDraft | FileName::Folder => {}
    }
}

fn mend_journal(bytes: &mut [u8], shape: Shape) {
    let records = (1..=shape.records()).map(|slot| (shape.record_at(slot), RECORD));
    let seals = Shape::seals().map(|at| (at, SEAL));
    let parts: Vec<(u64, usize)> = records.chain(seals).chain([(0, BLOCK as usize)]).collect();
    for copy in [0, shape.mirror()] {
        for (at, length) in &parts {
            let at = usize::try_from(copy + at).unwrap_or(usize::MAX);
            let part = bytes.get_mut(at..at.saturating_add(*length));
            // A place that was never written stays one.
            part.into_iter().filter(|part| part.iter().any(|byte| *byte != 0)).for_each(finish);
        }
    }
}
