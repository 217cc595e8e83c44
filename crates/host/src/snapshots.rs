//! Snapshots on disk: the last two, each a file that is whole or refused.

use quorate_protocol::types::{Digest, Seq};

use crate::disk::{Disk, DiskError, FileName, read_padded};
use crate::superblock::SnapshotPointer;

const MAGIC: &[u8; 8] = b"QUORSNAP";
const VERSION: u16 = 1;
const HEADER: usize = 72;
/// Bytes of one write or read.
const PIECE: usize = 1 << 20;
/// How many are kept: one being replaced must not be the only one.
const KEPT: usize = 2;

/// Why a snapshot is not used. Another one, or another replica, has the state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// There is none of this slot.
    #[error("there is no snapshot of slot {0}")]
    Missing(Seq),
    /// Its header or its bytes changed, or it is of another slot.
    #[error("the snapshot of slot {0} is damaged")]
    Damaged(Seq),
    /// A later program wrote it.
    #[error(
        "the snapshot of slot {seq} has format {found}, this program knows {VERSION}; use the program that wrote it"
    )]
    FutureVersion {
        /// The slot.
        seq: Seq,
        /// The format found.
        found: u16,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

struct Header {
    pointer: SnapshotPointer,
    length: u64,
    checksum: u32,
}

impl Header {
    fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[4..12].copy_from_slice(MAGIC);
        bytes[12..14].copy_from_slice(&VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.pointer.seq.0.to_le_bytes());
        bytes[24..56].copy_from_slice(&self.pointer.root.0);
        bytes[56..64].copy_from_slice(&self.length.to_le_bytes());
        bytes[64..68].copy_from_slice(&self.checksum.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[4..]);
        bytes[..4].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    fn parse(bytes: &[u8], seq: Seq) -> Result<Self, SnapshotError> {
        let damaged = SnapshotError::Damaged(seq);
        if crc32c::crc32c(&bytes[4..]).to_le_bytes() != bytes[..4] || bytes[4..12] != MAGIC[..] {
            return Err(damaged);
        }
        let found = u16::from_le_bytes([bytes[12], bytes[13]]);
        if found > VERSION {
            return Err(SnapshotError::FutureVersion { seq, found });
        }
        let long =
            |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes were cut out"));
        let mut root = [0; 32];
        root.copy_from_slice(&bytes[24..56]);
        let checksum = u32::from_le_bytes([bytes[64], bytes[65], bytes[66], bytes[67]]);
        let header = Self {
            pointer: SnapshotPointer { seq: Seq(long(16)), root: Digest(root) },
            length: long(56),
            checksum,
        };
        if header.pointer.seq == seq { Ok(header) } else { Err(damaged) }
    }
}

/// Stores a snapshot, whole or not at all. If `sync`, it is durable when this returns: three syncs, no matter how
/// large it is, and none of the journal.
///
/// # Errors
/// If the disk fails.
pub fn store(
    disk: &mut impl Disk,
    pointer: &SnapshotPointer,
    bytes: &[u8],
    sync: bool,
) -> Result<(), DiskError> {
    let draft = FileName::SnapshotDraft;
    // What a crash left of an earlier draft may be longer than this one.
    disk.remove(draft)?;
    let checksum = crc32c::crc32c(bytes);
    let header = Header { pointer: *pointer, length: bytes.len() as u64, checksum };
    disk.write_at(draft, 0, &header.encode())?;
    for (index, piece) in bytes.chunks(PIECE).enumerate() {
        disk.write_at(draft, (HEADER + index * PIECE) as u64, piece)?;
    }
    if sync {
        disk.sync(draft)?;
    }
    disk.rename(draft, FileName::Snapshot(pointer.seq))?;
    if sync { disk.sync_folder() } else { Ok(()) }
}

/// The snapshot of a slot, with its root. That the bytes have this root is for the reader to check.
///
/// # Errors
/// [`SnapshotError`] says why another one is needed.
pub fn load(disk: &mut impl Disk, seq: Seq) -> Result<(SnapshotPointer, Vec<u8>), SnapshotError> {
    let file = FileName::Snapshot(seq);
    let Some(length) = disk.len(file)? else { return Err(SnapshotError::Missing(seq)) };
    let header = Header::parse(&read_padded(disk, file, 0, HEADER)?, seq)?;
    // Checked against the file before anything is allocated for it.
    let size =
        usize::try_from(header.length).ok().filter(|_| header.length == length.saturating_sub(HEADER as u64));
    let Some(size) = size else { return Err(SnapshotError::Damaged(seq)) };
    let bytes = read_padded(disk, file, HEADER as u64, size)?;
    if crc32c::crc32c(&bytes) != header.checksum {
        return Err(SnapshotError::Damaged(seq));
    }
    Ok((header.pointer, bytes))
}

/// Slots of the snapshots there are, whole or not, ascending.
///
/// # Errors
/// If the disk fails.
pub fn list(disk: &mut impl Disk) -> Result<Vec<Seq>, DiskError> {
    let names = disk.list()?;
    let mut found: Vec<Seq> = names
        .iter()
        .filter_map(|name| match FileName::parse(name)? {
            FileName::Snapshot(seq) => Some(seq),
            FileName::Superblock | FileName::Journal | FileName::SnapshotDraft | FileName::Folder => None,
        })
        .collect();
    found.sort_unstable();
    Ok(found)
}

/// Deletes all snapshots older than the two newest that are not newer than `newest`, but none that is newer than the
/// checkpoint `stable`, nor the one that it covers: while too few replicas vote for a newer checkpoint, another replica
/// can come back by this one only.
///
/// # Errors
/// If the disk fails.
pub fn prune(disk: &mut impl Disk, newest: Seq, stable: Seq) -> Result<(), DiskError> {
    let mut old = list(disk)?;
    old.retain(|seq| *seq <= newest);
    let covered = old.iter().rev().find(|seq| **seq <= stable).copied().unwrap_or_default();
    let surplus = old.len().saturating_sub(KEPT);
    old.truncate(surplus);
    old.retain(|seq| *seq < covered);
    old.into_iter().try_for_each(|seq| disk.remove(FileName::Snapshot(seq)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::disk::{Crash, MemoryDisk};

    fn pointer(seq: u64) -> SnapshotPointer {
        SnapshotPointer { seq: Seq(seq), root: Digest([seq as u8; 32]) }
    }

    #[test]
    fn a_stored_snapshot_survives_a_power_cut() {
        let mut disk = MemoryDisk::new();
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|byte| (byte / 7) as u8).collect();
        store(&mut disk, &pointer(128), &bytes, true).unwrap();
        disk.crash(Crash::Forget);
        assert_eq!(load(&mut disk, Seq(128)).unwrap(), (pointer(128), bytes));
        assert_eq!(load(&mut disk, Seq(64)), Err(SnapshotError::Missing(Seq(64))));
    }

    #[test]
    fn a_flipped_byte_anywhere_in_a_snapshot_is_found() {
        let mut disk = MemoryDisk::new();
        store(&mut disk, &pointer(7), b"the state", true).unwrap();
        for offset in 0..(HEADER + 9) as u64 {
            let mut rotten = disk.clone();
            rotten.flip(FileName::Snapshot(Seq(7)), offset, 0x10);
            assert_eq!(load(&mut rotten, Seq(7)), Err(SnapshotError::Damaged(Seq(7))), "offset {offset}");
        }
    }

    #[test]
    fn a_cut_snapshot_and_one_under_another_name_are_damaged() {
        let mut disk = MemoryDisk::new();
        store(&mut disk, &pointer(7), b"the state", true).unwrap();
        for length in 0..(HEADER + 9) as u64 {
            let mut cut = disk.clone();
            cut.set_len(FileName::Snapshot(Seq(7)), length).unwrap();
            assert_eq!(load(&mut cut, Seq(7)), Err(SnapshotError::Damaged(Seq(7))), "length {length}");
        }
        disk.rename(FileName::Snapshot(Seq(7)), FileName::Snapshot(Seq(8))).unwrap();
        assert_eq!(load(&mut disk, Seq(8)), Err(SnapshotError::Damaged(Seq(8))));
    }

    #[test]
    fn the_last_two_snapshots_are_kept() {
        let mut disk = MemoryDisk::new();
        for seq in [10, 20, 30, 40] {
            store(&mut disk, &pointer(seq), b"s", true).unwrap();
        }
        prune(&mut disk, Seq(30), Seq(30)).unwrap();
        assert_eq!(list(&mut disk).unwrap(), [Seq(20), Seq(30), Seq(40)]);
    }

    #[test]
    fn what_a_replica_that_comes_back_needs_is_kept_however_many_states_are_newer() {
        let mut disk = MemoryDisk::new();
        for seq in [10, 20, 30, 40, 50] {
            store(&mut disk, &pointer(seq), b"s", true).unwrap();
        }
        prune(&mut disk, Seq(50), Seq(0)).unwrap();
        assert_eq!(list(&mut disk).unwrap().len(), 5, "which one is stable is not known yet");
        prune(&mut disk, Seq(50), Seq(25)).unwrap();
        assert_eq!(list(&mut disk).unwrap(), [Seq(20), Seq(30), Seq(40), Seq(50)]);
        prune(&mut disk, Seq(50), Seq(50)).unwrap();
        assert_eq!(list(&mut disk).unwrap(), [Seq(40), Seq(50)]);
    }

    #[test]
    fn a_power_cut_while_storing_leaves_the_old_snapshot() {
        let mut disk = MemoryDisk::new();
        store(&mut disk, &pointer(10), b"old", true).unwrap();
        let before = disk.operations();
        let mut trial = disk.clone();
        store(&mut trial, &pointer(20), b"new", true).unwrap();
        for nth in before + 1..=trial.operations() {
            let mut disk = disk.clone();
            disk.fail(nth, crate::disk::DiskFailure::Full);
            store(&mut disk, &pointer(20), b"new", true).unwrap_err();
            disk.crash(Crash::Forget);
            assert_eq!(load(&mut disk, Seq(10)).unwrap().1, b"old");
            assert_eq!(load(&mut disk, Seq(20)), Err(SnapshotError::Missing(Seq(20))));
        }
    }
}
