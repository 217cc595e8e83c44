//! What happens to a disk while its replica is down.

use quorate_host::disk::{Disk, DiskError, FileName, MemoryDisk};

use crate::rng::Rng;

/// Bytes that go wrong together: what a disk writes at once.
const SECTOR: u64 = 4096;

/// How a disk goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rot {
    /// So many bits flip, each somewhere in what was written.
    Flips(u8),
    /// A write landed on another place of its file: it is missing where it belongs, and something else is lost.
    Misdirected,
    /// A write that was synced never reached the medium.
    Lost,
    /// The same bit flips in every copy of something.
    Copies,
}

/// What kind of file it hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Who the replica is and what it promised.
    Superblock,
    /// Votes, certificates and bodies.
    Journal,
    /// A state: the list of its chunks, or some of the chunks; nothing happens while there is none.
    Snapshot,
}

/// Rot of one file, the same wherever it is applied again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    /// What goes wrong.
    pub rot: Rot,
    /// Where.
    pub part: Part,
    /// Where exactly.
    pub seed: u64,
}

impl Damage {
    /// Spoils a disk. Says whether there was anything to spoil.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn apply(self, disk: &mut MemoryDisk) -> Result<bool, DiskError> {
        let mut rng = Rng::new(self.seed);
        let Some(file) = self.file(disk, &mut rng)? else { return Ok(false) };
        let pages = disk.written(file);
        let length = disk.len(file)?.unwrap_or(0);
        if pages.is_empty() || length == 0 {
            return Ok(false);
        }
        let mut anywhere = || (*rng.pick(&pages) + rng.below(SECTOR)).min(length - 1);
        match self.rot {
            Rot::Flips(bits) => {
                for _ in 0..bits {
                    let offset = anywhere();
                    disk.flip(file, offset, 1 << (offset % 8));
                }
            }
            Rot::Misdirected => {
                let (meant, hit) = (anywhere() / SECTOR * SECTOR, anywhere() / SECTOR * SECTOR);
                let bytes = sector(disk, file, meant)?;
                overwrite(disk, file, meant, &vec![0; bytes.len()])?;
                overwrite(disk, file, hit, &bytes)?;
            }
            Rot::Lost => {
                let at = anywhere() / SECTOR * SECTOR;
                let length = sector(disk, file, at)?.len();
                overwrite(disk, file, at, &vec![0; length])?;
            }
            Rot::Copies => {
                let original = sector(disk, file, *rng.pick(&pages))?;
                let used: Vec<usize> = (0..original.len()).filter(|at| original[*at] != 0).collect();
                let Some(inside) = used.get(rng.any() as usize % used.len().max(1)) else { return Ok(false) };
                for page in pages {
                    // Copies of the superblock are numbered, those of anything else are equal.
                    if self.part == Part::Superblock || sector(disk, file, page)? == original {
                        disk.flip(file, page + *inside as u64, 1 << (inside % 8));
                    }
                }
            }
        }
        Ok(true)
    }

    fn file(self, disk: &mut MemoryDisk, rng: &mut Rng) -> Result<Option<FileName>, DiskError> {
        Ok(match self.part {
            Part::Superblock => Some(FileName::Superblock),
            Part::Journal => Some(FileName::Journal),
            Part::Snapshot => {
                let names = disk.list()?;
                let files: Vec<_> = names.iter().filter_map(|name| FileName::parse(name)).collect();
                let newest = files.iter().filter(|file| matches!(file, FileName::Snapshot(_))).max().copied();
                let chunks: Vec<_> =
                    files.into_iter().filter(|file| matches!(file, FileName::Segment(_))).collect();
                let in_chunks = rng.below(2) == 0 && !chunks.is_empty();
                newest.map(|newest| if in_chunks { *rng.pick(&chunks) } else { newest })
            }
        })
    }
}

fn sector(disk: &mut MemoryDisk, file: FileName, at: u64) -> Result<Vec<u8>, DiskError> {
    let mut bytes = vec![0; usize::try_from(SECTOR).expect("a sector is small")];
    let there = disk.read_at(file, at, &mut bytes)?;
    bytes.truncate(there);
    Ok(bytes)
}

fn overwrite(disk: &mut MemoryDisk, file: FileName, at: u64, bytes: &[u8]) -> Result<(), DiskError> {
    let there = sector(disk, file, at)?.len().min(bytes.len());
    disk.write_at(file, at, &bytes[..there])?;
    disk.sync(file)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn contents(disk: &mut MemoryDisk, file: FileName) -> Vec<u8> {
        let mut bytes = vec![0; disk.len(file).unwrap().unwrap_or(0) as usize];
        disk.read_at(file, 0, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn every_kind_of_rot_changes_a_file_and_the_same_rot_changes_it_the_same_way() {
        let mut disk = MemoryDisk::new();
        let bytes: Vec<u8> = (0..40_000_u32).map(|byte| (byte / 7) as u8 | 1).collect();
        disk.write_at(FileName::Journal, 0, &bytes).unwrap();
        disk.sync(FileName::Journal).unwrap();
        for rot in [Rot::Flips(1), Rot::Misdirected, Rot::Lost, Rot::Copies] {
            let damage = Damage { rot, part: Part::Journal, seed: 5 };
            let mut one = disk.clone();
            let mut other = disk.clone();
            assert!(damage.apply(&mut one).unwrap() && damage.apply(&mut other).unwrap());
            let spoilt = contents(&mut one, FileName::Journal);
            assert_eq!(spoilt.len(), bytes.len());
            assert_ne!(spoilt, bytes, "{rot:?}");
            assert_eq!(spoilt, contents(&mut other, FileName::Journal));
        }
        let nothing = Damage { rot: Rot::Lost, part: Part::Snapshot, seed: 5 };
        assert!(!nothing.apply(&mut disk).unwrap());
    }
}
