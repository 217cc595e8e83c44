//! Copies of a stopped replica's folder, and which of them may vote.
//!
//! A copy does not know what the original said after it was taken, so a replica that votes from both contradicts
//! itself. Of all folders of a replica at most one may vote, and a copy says of itself, in its superblock, that it is
//! not that one: started, it executes, catches up and serves the state, and says nothing that counts.
//!
//! **Moving.** The right to vote can be handed on, from one folder to one other. First the receiver is whole, durable
//! and marked as a copy with a number; then the giver is marked as having given the right to the copy of that number;
//! then the receiver takes it. A crash leaves it with the giver or, until the same command ends what it began, with
//! nobody. The number says to which copy it may still go.

mod refusal;
mod vote;

use std::fmt;

use quorate_protocol::types::{Digest, Seq};

use crate::disk::{Disk, DiskError, FileName};
use crate::folder::{FolderReport, check_folder};
use crate::journal::{Amnesia, JournalError, Reserve, Shape};
use crate::store::StoreError;
use crate::superblock::{Divergence, Exclusion, Identity, Standing, Superblock};
use vote::{Vote, of_copy};

pub use refusal::BackupError;

/// Bytes that are read, written and compared at once; a block of zeros takes no space in the copy.
const BLOCK: usize = 64 << 10;
static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// What a copy is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To have one: it never votes. The folder it is made of stays as it is.
    Keep,
    /// To carry the right to vote to another place. The folder it is made of loses that right, and the copy does not
    /// use it.
    Carry,
    /// To be the replica from now on. It is made of a copy that carries the right to vote, which thereby loses it.
    Settle,
}

/// How a folder is to be copied.
#[derive(Debug, Clone, Copy)]
pub struct Order {
    /// What for.
    pub purpose: Purpose,
    /// The new copy's number: drawn at random, so that no two copies have the same.
    pub number: u64,
    /// Copy what is damaged, too.
    pub damaged: bool,
    /// How much of the journal's space the copy takes at once.
    pub reserve: Reserve,
    /// The journal's shape, as far as the journal itself does not say it.
    pub shape: Shape,
}

/// How far a copy has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The file it is at.
    pub file: FileName,
    /// Bytes written or compared.
    pub done: u64,
    /// Bytes to write and to compare: all files twice.
    pub total: u64,
}

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    /// Whose folder it is.
    pub identity: Identity,
    /// What the copy is now.
    pub standing: Standing,
    /// Files of the copy and their bytes; none if all that was left to do was to hand the right to vote on.
    pub files: Vec<(FileName, u64)>,
    /// What stands in the folder and was not copied: no file of a replica, or one that nobody finished writing.
    pub left_out: Vec<String>,
    /// What is damaged in the folder, and so in the copy.
    pub damage: Vec<Damage>,
}

/// Something that a folder has lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// Promises of the journal.
    Promises(Amnesia),
    /// The journal cannot be used.
    Journal(JournalError),
    /// A batch; the replica asks the others for it.
    Batch(Seq, Digest),
    /// A state.
    State(Seq, StoreError),
    /// The state that the replica would start from.
    NoState(Seq),
    /// That its state is the one that the others have.
    Diverged(Divergence),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Promises(found) => write!(f, "promises are lost: {found}"),
            Self::Journal(error) => error.fmt(f),
            Self::Batch(seq, digest) => write!(f, "the batch {digest} of sequence {seq} is missing"),
            Self::State(seq, error) => write!(f, "the state at sequence {seq}: {error}"),
            Self::NoState(seq) => write!(f, "the state at sequence {seq} is gone"),
            Self::Diverged(divergence) => write!(
                f,
                "its state was wrong at checkpoint {}, and none that is certified has taken its place",
                divergence.seq
            ),
        }
    }
}

impl Damage {
    /// What is lost of a folder, though not what a start mends from a good copy.
    #[must_use]
    pub fn of(report: &FolderReport) -> Vec<Self> {
        let mut damage = Vec::new();
        match &report.journal {
            Some(Ok(journal)) => {
                damage.extend(journal.amnesia.map(Self::Promises));
                damage.extend(journal.missing_bodies.iter().map(|(seq, digest)| Self::Batch(*seq, *digest)));
            }
            Some(Err(error)) => damage.push(Self::Journal(error.clone())),
            None => {}
        }
        for (seq, state) in &report.snapshots {
            damage.extend(state.as_ref().err().map(|error| Self::State(*seq, error.clone())));
        }
        let Ok((superblock, _)) = &report.superblock else { return damage };
        let gone =
            superblock.snapshot.filter(|named| report.snapshots.iter().all(|(seq, _)| *seq != named.seq));
        damage.extend(gone.map(|named| Self::NoState(named.seq)));
        if let Standing::Diverged { divergence, mended: false } = superblock.standing {
            damage.push(Self::Diverged(divergence));
        }
        damage
    }
}

/// Copies a folder that nobody uses to an empty one, byte for byte except that the copy's superblock says what it is,
/// and reads everything back. Given again after a crash, it ends what it began.
///
/// # Errors
/// [`BackupError`] says what is in the way. Unless it is [`BackupError::OnItsWay`], both folders are as they were.
pub fn copy_folder(
    from: &mut impl Disk,
    to: &mut impl Disk,
    order: &Order,
    progress: &mut dyn FnMut(Progress),
) -> Result<Copied, BackupError> {
    let (superblock, good) = Superblock::read(from)?;
    if let (Standing::Out(Exclusion::Moved { number, diverged }), Purpose::Carry | Purpose::Settle) =
        (superblock.standing, order.purpose)
    {
        let vote = Vote { number, diverged };
        return arrive(from, to, (superblock, good), (order.purpose, vote));
    }
    let vote = Vote::of(superblock.standing, order);
    if vote.is_none() && order.purpose != Purpose::Keep {
        return Err(BackupError::NoVote(Box::new(superblock.standing), order.purpose));
    }
    let there = to.list().map_err(BackupError::To)?;
    if !there.is_empty() {
        return Err(BackupError::NotEmpty(there));
    }
    let report = check_folder(from, order.shape).map_err(BackupError::From)?;
    let damage = Damage::of(&report);
    if !damage.is_empty() && !order.damaged {
        return Err(BackupError::Damaged(damage));
    }
    let identity = superblock.identity;
    let written = Copy { from, to, order, progress }.write(&superblock, &report);
    let (contents, copy) = match written {
        Ok(written) => written,
        Err(error) => {
            discard(to);
            return Err(error);
        }
    };
    let standing = match vote {
        None => copy.standing,
        Some(vote) => {
            let received = vote.received(order.purpose);
            hand_over(from, to, (superblock, copy), (vote, received)).map_err(BackupError::OnItsWay)?;
            received
        }
    };
    Ok(Copied { identity, standing, files: contents.files, left_out: contents.left_out, damage })
}

/// The files of a folder that a copy has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Files and their bytes.
    pub files: Vec<(FileName, u64)>,
    /// What is not copied: no file of a replica, or one that nobody finished writing.
    pub left_out: Vec<String>,
}

impl Contents {
    /// Looks into a folder.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn of(disk: &mut impl Disk) -> Result<Self, DiskError> {
        let mut contents = Self { files: Vec::new(), left_out: Vec::new() };
        for name in disk.list()? {
            let file = FileName::parse(&name).filter(|file| !file.is_draft());
            match file.map(|file| disk.len(file).map(|bytes| (file, bytes))).transpose()? {
                Some((file, Some(bytes))) => contents.files.push((file, bytes)),
                Some((_, None)) | None => contents.left_out.push(name),
            }
        }
        contents.files.sort_unstable_by_key(|(file, _)| *file);
        Ok(contents)
    }

    /// Bytes of all files; a sparse one takes less.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, bytes)| bytes).sum()
    }
}

/// One copy being made.
struct Copy<'a, F, T> {
    from: &'a mut F,
    to: &'a mut T,
    order: &'a Order,
    progress: &'a mut dyn FnMut(Progress),
}

impl<F: Disk, T: Disk> Copy<'_, F, T> {
    /// Everything but the superblock first: a folder without one is nobody's, so what is cut short is no replica.
    fn write(
        mut self,
        original: &Superblock,
        report: &FolderReport,
    ) -> Result<(Contents, Superblock), BackupError> {
        let contents = Contents::of(self.from).map_err(BackupError::From)?;
        let files: Vec<_> = contents.files.iter().filter(|(file, _)| *file != FileName::Superblock).collect();
        let total = 2 * files.iter().map(|(_, bytes)| bytes).sum::<u64>();
        let mut done = 0;
        for (file, bytes) in files.iter().copied() {
            self.file(*file, *bytes, (&mut done, total))?;
        }
        self.to.sync_folder().map_err(BackupError::To)?;
        for (file, bytes) in files.iter().copied() {
            self.compare(*file, *bytes, (&mut done, total))?;
        }
        let mut copy = original.clone();
        copy.standing = of_copy(original.standing, self.order.number);
        copy.store(self.to).map_err(BackupError::To)?;
        self.to.sync_folder().map_err(BackupError::To)?;
        let checked = check_folder(self.to, self.order.shape).map_err(BackupError::To)?;
        let stored = checked.superblock.as_ref().is_ok_and(|(found, _)| *found == copy);
        if !stored || (&checked.journal, &checked.snapshots) != (&report.journal, &report.snapshots) {
            return Err(BackupError::Unlike);
        }
        Ok((contents, copy))
    }

    fn file(
        &mut self,
        file: FileName,
        bytes: u64,
        (done, total): (&mut u64, u64),
    ) -> Result<(), BackupError> {
        self.to.set_len(file, bytes).map_err(BackupError::To)?;
        if file == FileName::Journal && self.order.reserve == Reserve::Whole {
            self.to.reserve(file, 0, bytes).map_err(BackupError::To)?;
        }
        let mut block = vec![0; BLOCK];
        for (at, length) in blocks(bytes) {
            let part = &mut block[..length];
            part.fill(0);
            self.from.read_at(file, at, part).map_err(BackupError::From)?;
            if *part != ZEROS[..length] {
                self.to.write_at(file, at, part).map_err(BackupError::To)?;
            }
            *done += length as u64;
            (self.progress)(Progress { file, done: *done, total });
        }
        self.to.sync(file).map_err(BackupError::To)
    }

    fn compare(
        &mut self,
        file: FileName,
        bytes: u64,
        (done, total): (&mut u64, u64),
    ) -> Result<(), BackupError> {
        let (mut ours, mut theirs) = (vec![0; BLOCK], vec![0; BLOCK]);
        for (at, length) in blocks(bytes) {
            let (ours, theirs) = (&mut ours[..length], &mut theirs[..length]);
            let read = self.from.read_at(file, at, ours).map_err(BackupError::From)?;
            let back = self.to.read_at(file, at, theirs).map_err(BackupError::To)?;
            if let Some(offset) = first_difference(&ours[..read], &theirs[..back]) {
                return Err(BackupError::Differs { file, offset: at + offset as u64 });
            }
            *done += length as u64;
            (self.progress)(Progress { file, done: *done, total });
        }
        Ok(())
    }
}

/// Where two blocks differ first, if they do.
fn first_difference(one: &[u8], other: &[u8]) -> Option<usize> {
    if one == other {
        return None;
    }
    let position = one.iter().zip(other).position(|(one, other)| one != other);
    Some(position.unwrap_or(one.len().min(other.len())))
}

/// Where the blocks of so many bytes begin, and how long they are.
fn blocks(bytes: u64) -> impl Iterator<Item = (u64, usize)> {
    (0..bytes).step_by(BLOCK).map(move |at| (at, (bytes - at).min(BLOCK as u64) as usize))
}

/// Takes away what was written of a copy that nobody was promised, the superblock first. What stays is found by whoever
/// tries again.
fn discard(to: &mut impl Disk) {
    let names = to.list().unwrap_or_default();
    let mut files: Vec<FileName> = names.iter().filter_map(|name| FileName::parse(name)).collect();
    files.sort_unstable_by_key(|file| *file != FileName::Superblock);
    for file in files {
        // The first error is the one that is told.
        drop(to.remove(file));
    }
    drop(to.sync_folder());
}

/// The giver gives before the receiver takes: whatever happens in between, at most one of them votes.
fn hand_over(
    from: &mut impl Disk,
    to: &mut impl Disk,
    (mut giver, mut receiver): (Superblock, Superblock),
    (vote, received): (Vote, Standing),
) -> Result<(), DiskError> {
    giver.standing = vote.given();
    giver.store(from)?;
    receiver.standing = received;
    receiver.store(to)
}

/// Ends what a crash interrupted: the giver has given, and the receiver may not have taken.
fn arrive(
    from: &mut impl Disk,
    to: &mut impl Disk,
    (mut giver, good): (Superblock, usize),
    (purpose, vote): (Purpose, Vote),
) -> Result<Copied, BackupError> {
    // The copy that it went to, or what that has become by the same command.
    let becomes = [Purpose::Keep, Purpose::Carry, purpose].map(|purpose| vote.received(purpose));
    let receiver = Superblock::read(to).ok().map(|(receiver, _)| receiver);
    let receiver = receiver
        .filter(|receiver| receiver.identity == giver.identity && becomes.contains(&receiver.standing));
    let Some(mut receiver) = receiver else {
        return Err(BackupError::GivenAway { number: vote.number });
    };
    // A giver whose mark stands in two copies only could lose it again.
    if good < Superblock::COPIES {
        giver.store(from).map_err(BackupError::OnItsWay)?;
    }
    receiver.standing = vote.received(purpose);
    receiver.store(to).map_err(BackupError::OnItsWay)?;
    Ok(Copied {
        identity: giver.identity,
        standing: receiver.standing,
        files: Vec::new(),
        left_out: Vec::new(),
        damage: Vec::new(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
