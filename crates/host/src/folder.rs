//! A replica's folder: made once, checked whenever somebody asks.

mod outlook;

use quorate_protocol::types::Seq;

use crate::disk::{Disk, DiskError, FileName};
use crate::journal::{self, JournalError, RecoveryReport, Reserve, Shape};
use crate::store::{Spare, Store, StoreError};
use crate::superblock::{Identity, Superblock, SuperblockError};

pub use outlook::Outlook;

/// Why a folder was not formatted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Something is in it.
    #[error("the folder is not empty ({}); choose a new one. Never format a replica again that has voted", .0.join(", "))]
    NotEmpty(Vec<String>),
    /// Its superblock cannot be made.
    #[error(transparent)]
    Superblock(#[from] SuperblockError),
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Makes an empty folder a replica's: a journal, and last the superblock, which makes it count.
///
/// # Errors
/// [`FormatError::NotEmpty`] if anything is in the folder; [`FormatError::Disk`].
pub fn format_folder(
    disk: &mut impl Disk,
    identity: Identity,
    shape: Shape,
    reserve: Reserve,
) -> Result<Superblock, FormatError> {
    let names = disk.list()?;
    if !names.is_empty() {
        return Err(FormatError::NotEmpty(names));
    }
    let superblock = Superblock::new(identity);
    journal::create(disk, &superblock, shape, reserve)?;
    Ok(Superblock::format(disk, identity)?)
}

/// What is in a folder, and in what state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderReport {
    /// The superblock and how many of its four copies are good, or why there is none.
    pub superblock: Result<(Superblock, usize), SuperblockError>,
    /// How the journal would be recovered, or why it would not; none without a superblock.
    pub journal: Option<Result<RecoveryReport, JournalError>>,
    /// Every snapshot, and the bytes of its state or what is wrong with it. Snapshots share what they have in common.
    pub snapshots: Vec<(Seq, Result<u64, StoreError>)>,
    /// What the segments hold besides, of older states or of one that is being fetched.
    pub spare: Spare,
    /// Bytes of all snapshots, and of the segments that hold their chunks, on the disk.
    pub state_bytes: u64,
    /// Bytes of all files that belong here; what was never written in the journal counts too.
    pub bytes: u64,
    /// Files that do not belong here.
    pub foreign: Vec<String>,
}

impl FolderReport {
    /// Whether the folder is as it should be: a replica's that remembers everything and takes part, or a whole copy.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let Ok((superblock, _)) = &self.superblock else { return false };
        let Some(Ok(journal)) = &self.journal else { return false };
        let has_state = superblock.snapshot.is_none_or(|pointer| {
            self.snapshots.iter().any(|(seq, state)| *seq == pointer.seq && state.is_ok())
        });
        let remembers = journal.amnesia.is_none() && superblock.amnesia.is_none();
        remembers && has_state && outlook::is_in_order(superblock)
    }
}

/// Reads everything in a folder and changes nothing. `shape` is what the cluster file asks for; the journal's own
/// counts where it can be read.
///
/// # Errors
/// If the disk fails.
pub fn check_folder(disk: &mut impl Disk, shape: Shape) -> Result<FolderReport, DiskError> {
    let names = disk.list()?;
    let (mut foreign, mut bytes, mut state_bytes) = (Vec::new(), 0, 0);
    for name in names {
        let Some(file) = FileName::parse(&name) else {
            foreign.push(name);
            continue;
        };
        let length = disk.len(file)?.unwrap_or(0);
        bytes += length;
        if matches!(file, FileName::Snapshot(_) | FileName::SnapshotDraft | FileName::Segment(_)) {
            state_bytes += length;
        }
    }
    let superblock = Superblock::read(disk);
    let journal = superblock
        .as_ref()
        .ok()
        .map(|(superblock, _)| journal::inspect(disk, superblock, shape).map(|(_, report)| report));
    let mut store = Store::examine(disk.share(), false)?;
    let spare = store.spare();
    let mut snapshots = Vec::new();
    for seq in store.list() {
        // Every chunk is read once, however many snapshots share it.
        match store.verify(seq) {
            Err(StoreError::Disk(error)) => return Err(error),
            checked => snapshots.push((seq, checked)),
        }
    }
    Ok(FolderReport { superblock, journal, snapshots, spare, state_bytes, bytes, foreign })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use quorate_protocol::types::{ClusterId, Digest, PublicKey, ReplicaId};

    use super::*;
    use crate::disk::{Crash, MemoryDisk};
    use crate::journal::Amnesia;

    fn identity() -> Identity {
        Identity { cluster: ClusterId(Digest([1; 32])), replica: ReplicaId(2), key: PublicKey([3; 32]) }
    }

    fn formatted() -> MemoryDisk {
        let mut disk = MemoryDisk::new();
        format_folder(&mut disk, identity(), Shape::new(64, 1, 1), Reserve::Whole).unwrap();
        disk
    }

    #[test]
    fn a_formatted_folder_survives_a_power_cut_and_is_sound() {
        let mut disk = formatted();
        disk.crash(Crash::Forget);
        let report = check_folder(&mut disk, Shape::new(1, 1, 1)).unwrap();
        assert!(report.is_sound(), "{report:?}");
        assert_eq!(report.superblock.unwrap().1, 4);
    }

    #[test]
    fn a_folder_with_anything_in_it_is_not_formatted() {
        let mut disk = formatted();
        let refused = format_folder(&mut disk, identity(), Shape::new(64, 1, 1), Reserve::Whole);
        assert_eq!(refused, Err(FormatError::NotEmpty(vec!["superblock".to_owned(), "journal".to_owned()])));
    }

    #[test]
    fn a_power_cut_at_any_moment_of_formatting_leaves_no_half_made_replica() {
        let operations = formatted().operations();
        for nth in 1..=operations {
            let mut disk = MemoryDisk::new();
            disk.fail(nth, crate::disk::DiskFailure::Full);
            format_folder(&mut disk, identity(), Shape::new(64, 1, 1), Reserve::Whole).unwrap_err();
            disk.crash(Crash::Forget);
            let opened = Superblock::open(&mut disk, &identity());
            if opened.is_ok() {
                assert!(check_folder(&mut disk, Shape::new(64, 1, 1)).unwrap().is_sound());
            } else {
                assert_eq!(opened, Err(SuperblockError::NotFormatted));
            }
        }
    }

    #[test]
    fn a_lost_journal_makes_the_folder_unsound() {
        let mut disk = formatted();
        disk.remove(FileName::Journal).unwrap();
        let report = check_folder(&mut disk, Shape::new(64, 1, 1)).unwrap();
        assert!(!report.is_sound());
        assert_eq!(report.journal.unwrap().unwrap().amnesia, Some(Amnesia::Missing));
    }
}
