//! What the host needs of a disk: a few named files in one folder, written at offsets and synced when asked.
//!
//! Nothing is durable before [`Disk::sync`] returned for its file; no file name is, before [`Disk::sync_folder`] did.
//! An error is final: after a failed sync nobody knows what the disk holds, so nobody asks it again.

mod memory;

use std::fmt;

use quorate_protocol::accusation::Offence;
use quorate_protocol::types::{ReplicaId, Seq};

pub use memory::{Crash, MemoryDisk};

/// The files of a replica's folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileName {
    /// Who the replica is and what it promised; four copies.
    Superblock,
    /// Votes, certificates and bodies.
    Journal,
    /// Which chunks the state after a slot consists of, and where they stand.
    Snapshot(Seq),
    /// Chunks of states; numbers are never used twice.
    Segment(u64),
    /// A snapshot that is still being written.
    SnapshotDraft,
    /// Why the state was wrong, if it ever was.
    Divergence,
    /// Proof that a replica lied, and how.
    Accusation(ReplicaId, Offence),
    /// Proof, of either kind, that is still being written.
    EvidenceDraft,
    /// The folder itself; names the culprit in errors and holds no bytes.
    Folder,
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Superblock => write!(f, "superblock"),
            Self::Journal => write!(f, "journal"),
            Self::Snapshot(seq) => write!(f, "snapshot-{}", seq.0),
            Self::Segment(number) => write!(f, "state-{number}"),
            Self::SnapshotDraft => write!(f, "snapshot.draft"),
            Self::Divergence => write!(f, "divergence"),
            Self::Accusation(culprit, offence) => write!(f, "evidence-{culprit}-{}", offence.name()),
            Self::EvidenceDraft => write!(f, "evidence.draft"),
            Self::Folder => write!(f, "."),
        }
    }
}

impl FileName {
    /// Whether it is still being written, and nothing if a crash left it.
    #[must_use]
    pub fn is_draft(self) -> bool {
        matches!(self, Self::SnapshotDraft | Self::EvidenceDraft)
    }

    /// The file that is called `name`, if it is one of ours.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let file = match name {
            "superblock" => Self::Superblock,
            "journal" => Self::Journal,
            "snapshot.draft" => Self::SnapshotDraft,
            "divergence" => Self::Divergence,
            "evidence.draft" => Self::EvidenceDraft,
            _ if name.starts_with("evidence-") => {
                let (culprit, offence) = name.strip_prefix("evidence-")?.split_once('-')?;
                Self::Accusation(ReplicaId(culprit.parse().ok()?), Offence::parse(offence)?)
            }
            _ => match name.strip_prefix("state-") {
                Some(number) => Self::Segment(number.parse::<u32>().ok()?.into()),
                None => Self::Snapshot(Seq(name.strip_prefix("snapshot-")?.parse().ok()?)),
            },
        };
        // A second spelling of one name (`snapshot-007`) is not ours.
        (file.to_string() == name).then_some(file)
    }
}

/// What was asked of the disk when it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Opening or creating.
    Open,
    /// Taking the folder's lock.
    Lock,
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Forcing to stable storage.
    Sync,
    /// Changing the length, or reserving space.
    Resize,
    /// Deleting.
    Remove,
    /// Renaming.
    Rename,
    /// Listing the folder.
    List,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "opening",
            Self::Lock => "locking",
            Self::Read => "reading",
            Self::Write => "writing",
            Self::Sync => "syncing",
            Self::Resize => "resizing",
            Self::Remove => "removing",
            Self::Rename => "renaming",
            Self::List => "listing",
        })
    }
}

/// Why a disk failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiskFailure {
    /// No space is left.
    Full,
    /// Another process holds the folder.
    Locked,
    /// What the operating system says.
    Failed(String),
}

impl fmt::Display for DiskFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str(
                "no space is left on the disk of the data folder, or a quota or a limit on file sizes is reached; \
                 fix: make room there and start the replica again, nothing that it promised is lost",
            ),
            Self::Locked => write!(f, "another process uses this folder; stop it first"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

/// A disk did not do what it was asked. Final: whoever gets one stops using the disk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{operation} `{file}`: {kind}")]
pub struct DiskError {
    /// The file.
    pub file: FileName,
    /// What was asked.
    pub operation: Operation,
    /// Why it failed.
    pub kind: DiskFailure,
}

/// Files of one folder, synchronous.
pub trait Disk {
    /// The same folder for another role of this process, such as the one that stores states: what one of them writes
    /// the other reads.
    #[must_use]
    fn share(&self) -> Self
    where
        Self: Sized;

    /// Reads into `bytes` from `offset`; returns how many bytes there were, fewer only at the end of the file.
    ///
    /// # Errors
    /// If the file cannot be read, or is missing.
    fn read_at(&mut self, file: FileName, offset: u64, bytes: &mut [u8]) -> Result<usize, DiskError>;

    /// Writes all of `bytes` at `offset`; creates the file if there is none, and lengthens it if need be.
    ///
    /// # Errors
    /// If not everything could be written; part of it may have been.
    fn write_at(&mut self, file: FileName, offset: u64, bytes: &[u8]) -> Result<(), DiskError>;

    /// Returns when everything written to the file, and its length, is on stable storage.
    ///
    /// # Errors
    /// If that is not certain.
    fn sync(&mut self, file: FileName) -> Result<(), DiskError>;

    /// Returns when the names of the files are on stable storage.
    ///
    /// # Errors
    /// If that is not certain.
    fn sync_folder(&mut self) -> Result<(), DiskError>;

    /// Length of the file in bytes; none if there is no such file.
    ///
    /// # Errors
    /// If the disk cannot tell.
    fn len(&mut self, file: FileName) -> Result<Option<u64>, DiskError>;

    /// Cuts or lengthens the file, which reads as zeros where it was never written; creates it if there is none.
    ///
    /// # Errors
    /// If that fails.
    fn set_len(&mut self, file: FileName, bytes: u64) -> Result<(), DiskError>;

    /// Fills `from..to` of a new file with real zeros, so that later writes there need no new space.
    ///
    /// # Errors
    /// If there is not as much space.
    fn reserve(&mut self, file: FileName, from: u64, to: u64) -> Result<(), DiskError>;

    /// Deletes the file; fine if there is none.
    ///
    /// # Errors
    /// If it cannot be deleted.
    fn remove(&mut self, file: FileName) -> Result<(), DiskError>;

    /// Renames a file, over another one if need be, at once or not at all.
    ///
    /// # Errors
    /// If it cannot be renamed.
    fn rename(&mut self, from: FileName, to: FileName) -> Result<(), DiskError>;

    /// Names of all files in the folder, ours or not, except a lock.
    ///
    /// # Errors
    /// If the folder cannot be read.
    fn list(&mut self) -> Result<Vec<String>, DiskError>;
}

/// Reads `length` bytes at `offset`; what the file does not have reads as zeros.
pub(crate) fn read_padded(
    disk: &mut impl Disk,
    file: FileName,
    offset: u64,
    length: usize,
) -> Result<Vec<u8>, DiskError> {
    let mut bytes = vec![0; length];
    disk.read_at(file, offset, &mut bytes)?;
    Ok(bytes)
}

/// Gives a draft that is written its name: whoever finds a file of that name finds all of it, whenever a crash comes.
/// With `sync` it is durable when this returns.
pub(crate) fn publish(
    disk: &mut impl Disk,
    draft: FileName,
    file: FileName,
    sync: bool,
) -> Result<(), DiskError> {
    if sync {
        disk.sync(draft)?;
    }
    disk.rename(draft, file)?;
    if sync { disk.sync_folder() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_survive_being_written_and_read() {
        for file in [
            FileName::Superblock,
            FileName::Journal,
            FileName::SnapshotDraft,
            FileName::Snapshot(Seq(70)),
            FileName::Segment(9),
            FileName::Divergence,
            FileName::Accusation(ReplicaId(12), Offence::ViewChanges),
            FileName::EvidenceDraft,
        ] {
            assert_eq!(FileName::parse(&file.to_string()), Some(file));
        }
    }

    #[test]
    fn foreign_names_are_not_taken_for_ours() {
        for name in [
            "snapshot-007",
            "snapshot-+7",
            "snapshot-",
            "state-07",
            "state-",
            "evidence-02-two-commits",
            "evidence-2-lies",
            "Journal",
            "notes.txt",
            ".",
        ] {
            assert_eq!(FileName::parse(name), None, "{name}");
        }
    }
}
