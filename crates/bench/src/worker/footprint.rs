//! What a replica takes of its machine: memory, disk and processor time.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// Bytes of a block as the system counts them, whatever the file system's own are.
const BLOCK_BYTES: u64 = 512;

/// Bytes on the disk, as they are taken, not as files are long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskUse {
    /// States: snapshots, and the segments their pages are in.
    pub snapshots_bytes: u64,
    /// Journal, superblock and whatever else there is.
    pub journal_bytes: u64,
}

/// The most that a replica ever took, whichever process it was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footprint {
    /// Bytes of memory; none where the system does not say.
    pub memory: Option<u64>,
    /// Bytes on the disk.
    pub disk: DiskUse,
}

impl DiskUse {
    /// Of a replica's data folder; files that go meanwhile do not count.
    #[must_use]
    pub fn of(folder: &Path) -> Self {
        let mut used = Self::default();
        let Ok(entries) = fs::read_dir(folder) else { return used };
        for entry in entries.flatten() {
            let Ok(found) = entry.metadata() else { continue };
            let bytes = found.blocks() * BLOCK_BYTES;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("snapshot") || name.starts_with("state") {
                used.snapshots_bytes += bytes;
            } else {
                used.journal_bytes += bytes;
            }
        }
        used
    }

    /// Both together.
    #[must_use]
    pub fn total(self) -> u64 {
        self.snapshots_bytes + self.journal_bytes
    }

    /// The larger of both, each on its own.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            snapshots_bytes: self.snapshots_bytes.max(other.snapshots_bytes),
            journal_bytes: self.journal_bytes.max(other.journal_bytes),
        }
    }
}

/// The most memory that a process ever had in use, in bytes; none where the system does not say.
pub(super) fn peak_memory(process: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn disk_use_tells_states_from_the_journal_and_does_not_count_holes() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("snapshot-128"), vec![1; 8_192]).unwrap();
        fs::write(path("state-1"), vec![1; 65_536]).unwrap();
        fs::write(path("journal"), vec![1; 16_384]).unwrap();
        fs::File::options().write(true).open(path("journal")).unwrap().set_len(1 << 30).unwrap();
        let used = DiskUse::of(folder.path());
        assert!((73_728..200_000).contains(&used.snapshots_bytes), "{used:?}");
        assert!((16_384..200_000).contains(&used.journal_bytes), "{used:?}");
        assert_eq!(DiskUse::of(&path("nowhere")), DiskUse::default());
    }

    #[test]
    fn a_process_says_how_much_memory_it_had_at_most() {
        if Path::new("/proc/self/status").exists() {
            assert!(peak_memory(std::process::id()).unwrap() > 1 << 20);
        }
        assert_eq!(peak_memory(u32::MAX), None);
    }
}
