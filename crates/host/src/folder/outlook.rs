//! What becomes of a replica that starts from a folder.

use super::FolderReport;
use crate::store::StoreError;
use crate::superblock::{Exclusion, Standing, Superblock};

/// What a replica does that starts from a folder as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outlook {
    /// It starts at all.
    pub starts: bool,
    /// It remembers everything that it promised, as far as the folder shows.
    pub remembers: bool,
    /// It votes, though not on what it may have forgotten.
    pub votes: bool,
}

impl FolderReport {
    /// What a replica does that starts from it.
    #[must_use]
    pub fn outlook(&self) -> Outlook {
        let (Ok((superblock, _)), Some(Ok(journal))) = (&self.superblock, &self.journal) else {
            return Outlook { starts: false, remembers: false, votes: false };
        };
        let elsewhere = matches!(superblock.standing, Standing::Out(why) if why.is_elsewhere());
        let starts = !elsewhere && self.of_another_program().is_none();
        Outlook {
            starts,
            remembers: journal.amnesia.is_none() && superblock.amnesia.is_none(),
            votes: starts && !superblock.standing.is_mute(),
        }
    }

    /// A snapshot that another version of the program wrote: no start gets over that one.
    #[must_use]
    pub fn of_another_program(&self) -> Option<&StoreError> {
        let mut errors = self.snapshots.iter().filter_map(|(_, state)| state.as_ref().err());
        errors
            .find(|error| matches!(error, StoreError::FutureVersion { .. } | StoreError::PastVersion { .. }))
    }
}

/// Whether the folder is what it should be: a replica's that takes part, or a copy.
pub(super) fn is_in_order(superblock: &Superblock) -> bool {
    match superblock.standing {
        Standing::Normal
        | Standing::Diverged { mended: true, .. }
        | Standing::Out(Exclusion::Copied { .. } | Exclusion::Carrier { .. }) => true,
        Standing::Diverged { mended: false, .. }
        | Standing::Out(
            Exclusion::Contradiction { .. }
            | Exclusion::Unremembered { .. }
            | Exclusion::DivergedAgain(_)
            | Exclusion::Moved { .. },
        ) => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use quorate_protocol::types::{ClusterId, Digest, PublicKey, ReplicaId, Seq};

    use super::*;
    use crate::disk::{Disk, FileName, MemoryDisk};
    use crate::folder::{check_folder, format_folder};
    use crate::journal::{Reserve, Shape};
    use crate::superblock::{Divergence, Identity};

    fn folder(standing: Standing) -> MemoryDisk {
        let identity =
            Identity { cluster: ClusterId(Digest([1; 32])), replica: ReplicaId(2), key: PublicKey([3; 32]) };
        let mut disk = MemoryDisk::new();
        let mut superblock =
            format_folder(&mut disk, identity, Shape::new(64, 1, 1), Reserve::Records).unwrap();
        superblock.standing = standing;
        superblock.store(&mut disk).unwrap();
        disk
    }

    #[test]
    fn a_folder_says_whether_a_replica_starts_from_it_and_whether_that_votes() {
        let divergence = Divergence { seq: Seq(8), ours: Digest([1; 32]), theirs: Digest([2; 32]) };
        let (number, diverged) = (7, None);
        for (standing, starts, votes, sound) in [
            (Standing::Normal, true, true, true),
            (Standing::Diverged { divergence, mended: true }, true, true, true),
            (Standing::Diverged { divergence, mended: false }, true, false, false),
            (Standing::Out(Exclusion::DivergedAgain(divergence)), true, false, false),
            (Standing::Out(Exclusion::Copied { number, wrong: None }), true, false, true),
            (Standing::Out(Exclusion::Carrier { number, diverged }), false, false, true),
            (Standing::Out(Exclusion::Moved { number, diverged }), false, false, false),
        ] {
            let report = check_folder(&mut folder(standing), Shape::new(64, 1, 1)).unwrap();
            assert_eq!(report.outlook(), Outlook { starts, remembers: true, votes }, "{standing:?}");
            assert_eq!(report.is_sound(), sound, "{standing:?}");
        }
    }

    #[test]
    fn a_replica_without_its_journal_starts_and_votes_and_does_not_remember_everything() {
        let mut disk = folder(Standing::Normal);
        disk.remove(FileName::Journal).unwrap();
        let report = check_folder(&mut disk, Shape::new(64, 1, 1)).unwrap();
        assert_eq!(report.outlook(), Outlook { starts: true, remembers: false, votes: true });
        disk.remove(FileName::Superblock).unwrap();
        let report = check_folder(&mut disk, Shape::new(64, 1, 1)).unwrap();
        assert_eq!(report.outlook(), Outlook { starts: false, remembers: false, votes: false });
    }
}
