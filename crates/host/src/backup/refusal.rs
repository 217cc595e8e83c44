//! Why a folder is not copied, and what to do about it.

use super::{Damage, Purpose};
use crate::disk::{DiskError, DiskFailure, FileName};
use crate::superblock::{Exclusion, Standing, SuperblockError};

/// Why a folder was not copied, or not to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackupError {
    /// Nobody can say whose the folder is and what it promised.
    #[error("what has no superblock to be trusted cannot be copied: {0}")]
    Superblock(#[from] SuperblockError),
    /// Something is damaged, and nobody said that this is known.
    #[error(
        "the folder is damaged: {}; fix: `quorate check` says what a start makes of it; pass `--damaged` to copy it as it is",
        list(.0)
    )]
    Damaged(Vec<Damage>),
    /// Something is where the copy should be.
    #[error(
        "something is there already ({}); fix: choose a folder that does not exist; a copy that was cut short (it has \
         no superblock, or the folder that gives its right to vote away has it still) may be removed", .0.join(", ")
    )]
    NotEmpty(Vec<String>),
    /// The folder has no right to vote that could be handed on.
    #[error(
        "this folder has no right to vote that could move ({}); fix: {}", in_words(.0), fix_for(.0, *.1)
    )]
    NoVote(Box<Standing>, Purpose),
    /// The right to vote went elsewhere.
    #[error(
        "the right to vote of this folder was given to the copy with the number {number:016x}, which is not there; fix: \
         give the command again with that copy; while it is lost the replica cannot vote, and the others go on without it"
    )]
    GivenAway {
        /// The number of the copy.
        number: u64,
    },
    /// What was written does not read back.
    #[error(
        "`{file}` reads back wrong at byte {offset}: the disk of the copy is not to be trusted; fix: use another one"
    )]
    Differs {
        /// The file.
        file: FileName,
        /// Where.
        offset: u64,
    },
    /// The copy is not what the folder is, though every byte was compared.
    #[error(
        "the copy does not check like the folder does: one of the disks changes what it holds; fix: look after them"
    )]
    Unlike,
    /// The folder cannot be read.
    #[error("the folder that is copied: {0}")]
    From(DiskError),
    /// The copy cannot be written. Nothing of it is left, as far as the disk obeys.
    #[error("the copy: {}", of_disk(.0))]
    To(DiskError),
    /// The right to vote left the giver, or may have, and did not arrive.
    #[error(
        "the right to vote was on its way when a disk failed: {0}; fix: start neither folder, and give the same command \
         again when the disk is in order"
    )]
    OnItsWay(DiskError),
}

/// A full disk tells a replica to start again; here there is none.
fn of_disk(error: &DiskError) -> String {
    let DiskError { file, operation, kind } = error;
    match kind {
        DiskFailure::Full => format!(
            "{operation} `{file}`: no space is left there, or a quota or a limit on file sizes is reached; fix: make \
             room, or choose another disk"
        ),
        DiskFailure::Locked | DiskFailure::Failed(_) => error.to_string(),
    }
}

fn list(damage: &[Damage]) -> String {
    damage.iter().map(Damage::to_string).collect::<Vec<_>>().join("; ")
}

/// What a standing is called where it is in the way.
fn in_words(standing: &Standing) -> String {
    match standing {
        Standing::Normal | Standing::Diverged { mended: true, .. } => {
            "it is a replica's, not a copy".to_owned()
        }
        Standing::Diverged { mended: false, .. } => "its state was wrong".to_owned(),
        Standing::Out(Exclusion::Copied { .. }) => "it is a copy".to_owned(),
        Standing::Out(Exclusion::Carrier { .. }) => "it carries that of another".to_owned(),
        Standing::Out(Exclusion::Moved { number, .. }) => {
            format!("it was given to the copy with the number {number:016x}")
        }
        Standing::Out(
            Exclusion::Contradiction { .. } | Exclusion::Unremembered { .. } | Exclusion::DivergedAgain(_),
        ) => "its replica stays out for good".to_owned(),
    }
}

fn fix_for(standing: &Standing, purpose: Purpose) -> &'static str {
    match (standing, purpose) {
        (Standing::Diverged { mended: false, .. }, _) => {
            "start its replica, which fetches the state of the others, and then give the command again"
        }
        (Standing::Normal | Standing::Diverged { .. }, _) => {
            "make a copy that carries it with `quorate backup --move`"
        }
        (Standing::Out(_), Purpose::Settle) => {
            "restore it without `--moved`, to execute and to serve; only a copy that `quorate backup --move` made may \
             vote"
        }
        (Standing::Out(_), Purpose::Keep | Purpose::Carry) => "copy it without `--move`",
    }
}
