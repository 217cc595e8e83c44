//! Who a replica is and what it promised: one small file that is right or refused.
//!
//! Four copies, each a block with its own number, a generation and a checksum over the whole block. The newest
//! generation with two valid copies counts. A store writes and syncs copies 0 and 1, then 2 and 3, so that at every
//! moment two copies of the old or of the new generation are whole; once it returned, any two copies may rot.
//!
//! A block is a checksum (CRC-32C, 4 bytes, over the rest), `QUORATES`, the format's version, the copy's number (2 bytes
//! each), the length of the fields (4 bytes), the fields in the encoding of messages, and zeros. Version 2 has the
//! replica's standing behind the fields of version 1, which stand for a replica whose word counts. A program that knows
//! version 1 only refuses it, so that none lets a replica vote that has to stay out.

use quorate_protocol::codec;
pub use quorate_protocol::replica::AmnesiaBox;
pub use quorate_protocol::standing::{Divergence, Exclusion, Standing};
use quorate_protocol::types::{ClusterId, Digest, Epoch, PublicKey, ReplicaId, Seq, View};

use crate::disk::{Disk, DiskError, FileName, read_padded};

const COPIES: usize = 4;
const COPIES_NEEDED: usize = 2;
const BLOCK: usize = 4096;
const MAGIC: &[u8; 8] = b"QUORATES";
/// Version of the folder's format that this program writes; it reads no later one.
pub const FORMAT_VERSION: u16 = 2;

/// Whose folder it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The replica.
    pub replica: ReplicaId,
    /// The replica's public key.
    pub key: PublicKey,
}

/// The state a replica starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotPointer {
    /// The slot it is the state after.
    pub seq: Seq,
    /// Its root.
    pub root: Digest,
}

/// The superblock's contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// Counts the stores.
    pub generation: u64,
    /// Whose it is.
    pub identity: Identity,
    /// Which life of the replica's place this is; a replaced disk needs a new key and the next number.
    pub incarnation: u64,
    /// The epoch.
    pub epoch: Epoch,
    /// Highest view a vote may have been cast in.
    pub view_promised: View,
    /// Highest slot a vote may have been cast at.
    pub high_promised: Seq,
    /// The newest durable snapshot.
    pub snapshot: Option<SnapshotPointer>,
    /// Set while the journal is known to have lost votes: what they may have been.
    pub amnesia: Option<AmnesiaBox>,
    /// Which journal belongs to this superblock; a replaced journal has the next number.
    pub journal_instance: u64,
    /// Set while the journal is written without syncing: what it holds then proves nothing.
    pub unsynced: bool,
    /// What the replica's past leaves of its word.
    pub standing: Standing,
}

/// Why a folder's superblock is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SuperblockError {
    /// There is none.
    #[error(
        "this folder was not formatted, or has lost its superblock; fix: pass the replica's own folder with `--data`, \
         or make a new cluster with `quorate init`; a replica that has voted and lost its folder must not be made anew \
         under its key, for it cannot know what it voted for: leave it out, the others go on without it"
    )]
    NotFormatted,
    /// There is one already.
    #[error("this folder is formatted already; a second format would make the replica forget its votes")]
    AlreadyFormatted,
    /// It belongs to another replica.
    #[error(
        "this is the folder of replica {found}, not of replica {expected}; fix: pass its own with `--data`"
    )]
    OtherReplica {
        /// Whose it is.
        found: ReplicaId,
        /// Who opened it.
        expected: ReplicaId,
    },
    /// It belongs to another cluster.
    #[error(
        "this folder belongs to {found:?}, not to {expected:?}; fix: check the cluster file and `--data`"
    )]
    OtherCluster {
        /// Whose it is.
        found: ClusterId,
        /// Which was opened.
        expected: ClusterId,
    },
    /// It was written under another key.
    #[error(
        "this folder was written under the key {found:?}, not {expected:?}; check the replica's key file"
    )]
    OtherKey {
        /// The key it was written under.
        found: PublicKey,
        /// The replica's key now.
        expected: PublicKey,
    },
    /// The replica is to run elsewhere.
    #[error("no replica starts from this folder: {0}")]
    Elsewhere(Box<Exclusion>),
    /// No generation has two valid copies.
    #[error(
        "the superblock is damaged ({valid} of 4 copies are valid, no two agree), so this replica cannot know how far \
         its votes may have reached, and must not vote under its key again; fix: leave it stopped, the others go on \
         without it; put no older copy of the folder in its place"
    )]
    Damaged {
        /// Copies that are valid by themselves.
        valid: usize,
    },
    /// A later program wrote it.
    #[error(
        "this folder has format {found}, this program knows {FORMAT_VERSION}; use the program that wrote it"
    )]
    FutureVersion {
        /// The format found.
        found: u16,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// Fields of version 1, in their order on disk; nested because tuples are short.
type Wire = (
    (u64, ClusterId, ReplicaId, PublicKey, u64),
    (Epoch, View, Seq),
    (Option<(Seq, Digest)>, Option<(Epoch, View, Seq)>),
    (u64, bool),
);

/// What one copy turned out to be.
enum CopyState {
    Valid(Box<Superblock>),
    Future(u16),
    Invalid,
}

impl Superblock {
    /// How many copies of it there are.
    pub const COPIES: usize = COPIES;

    /// What a folder starts with.
    pub(crate) fn new(identity: Identity) -> Self {
        Self {
            generation: 0,
            identity,
            incarnation: 0,
            epoch: Epoch(0),
            view_promised: View(0),
            high_promised: Seq(0),
            snapshot: None,
            amnesia: None,
            journal_instance: 1,
            unsynced: false,
            standing: Standing::Normal,
        }
    }

    /// Writes the first superblock of a folder.
    ///
    /// # Errors
    /// [`SuperblockError::AlreadyFormatted`] if there is one, valid or not; [`SuperblockError::Disk`].
    pub fn format(disk: &mut impl Disk, identity: Identity) -> Result<Self, SuperblockError> {
        if disk.len(FileName::Superblock)?.is_some() {
            return Err(SuperblockError::AlreadyFormatted);
        }
        let mut superblock = Self::new(identity);
        superblock.store(disk)?;
        disk.sync_folder()?;
        Ok(superblock)
    }

    /// Reads the superblock and checks whose it is. Repairs bad copies, and says how many of the four were good.
    ///
    /// # Errors
    /// [`SuperblockError`] says why this folder must not be used.
    pub fn open(disk: &mut impl Disk, expected: &Identity) -> Result<(Self, usize), SuperblockError> {
        let (mut superblock, good) = Self::read(disk)?;
        superblock.check(expected)?;
        if good < COPIES {
            superblock.store(disk)?;
        }
        Ok((superblock, good))
    }

    /// Reads the superblock, whoever it belongs to, and how many copies of it are good. Changes nothing.
    ///
    /// # Errors
    /// [`SuperblockError`] if there is none that can be trusted.
    pub fn read(disk: &mut impl Disk) -> Result<(Self, usize), SuperblockError> {
        if disk.len(FileName::Superblock)?.is_none() {
            return Err(SuperblockError::NotFormatted);
        }
        let mut valid = Vec::with_capacity(COPIES);
        let mut future = None;
        for copy in 0..COPIES {
            let block = read_padded(disk, FileName::Superblock, (copy * BLOCK) as u64, BLOCK)?;
            match parse(&block, copy) {
                CopyState::Valid(superblock) => valid.push(*superblock),
                CopyState::Future(version) => future = Some(version),
                CopyState::Invalid => {}
            }
        }
        if let Some(found) = future {
            return Err(SuperblockError::FutureVersion { found });
        }
        let count = |wanted: &Self| valid.iter().filter(|superblock| *superblock == wanted).count();
        let trusted = valid.iter().filter(|superblock| count(superblock) >= COPIES_NEEDED);
        match trusted.max_by_key(|superblock| superblock.generation) {
            Some(newest) => {
                let good = count(newest);
                let mut newest = newest.clone();
                // A newer generation of which one copy was written is overtaken by the next store, never met again.
                newest.generation = valid.iter().map(|one| one.generation).fold(newest.generation, u64::max);
                Ok((newest, good))
            }
            None => Err(SuperblockError::Damaged { valid: valid.len() }),
        }
    }

    fn check(&self, expected: &Identity) -> Result<(), SuperblockError> {
        let found = self.identity;
        if found.cluster != expected.cluster {
            return Err(SuperblockError::OtherCluster { found: found.cluster, expected: expected.cluster });
        }
        if found.replica != expected.replica {
            return Err(SuperblockError::OtherReplica { found: found.replica, expected: expected.replica });
        }
        if found.key != expected.key {
            return Err(SuperblockError::OtherKey { found: found.key, expected: expected.key });
        }
        match self.standing {
            // Two replicas with one key, though one of them never votes, would take each other's links.
            Standing::Out(why) if why.is_elsewhere() => Err(SuperblockError::Elsewhere(Box::new(why))),
            Standing::Normal | Standing::Diverged { .. } | Standing::Out(_) => Ok(()),
        }
    }

    /// Writes the next generation; durable when it returns. Two syncs.
    ///
    /// # Errors
    /// If the disk fails; which generation it then holds is not known.
    pub fn store(&mut self, disk: &mut impl Disk) -> Result<(), DiskError> {
        self.generation += 1;
        for pair in [[0, 1], [2, 3]] {
            let mut bytes = Vec::with_capacity(2 * BLOCK);
            for copy in pair {
                bytes.extend_from_slice(&self.block(copy));
            }
            disk.write_at(FileName::Superblock, (pair[0] * BLOCK) as u64, &bytes)?;
            disk.sync(FileName::Superblock)?;
        }
        Ok(())
    }

    /// Votes beyond this view and slot wait until this is durable. Returns whether it changed.
    pub fn promise(&mut self, view: View, high: Seq) -> bool {
        let before = (self.view_promised, self.high_promised);
        self.view_promised = self.view_promised.max(view);
        self.high_promised = self.high_promised.max(high);
        before != (self.view_promised, self.high_promised)
    }

    fn block(&self, copy: usize) -> [u8; BLOCK] {
        let identity = &self.identity;
        let wire: Wire = (
            (self.generation, identity.cluster, identity.replica, identity.key, self.incarnation),
            (self.epoch, self.view_promised, self.high_promised),
            (
                self.snapshot.map(|snapshot| (snapshot.seq, snapshot.root)),
                self.amnesia.map(|amnesia| (amnesia.epoch, amnesia.view, amnesia.high)),
            ),
            (self.journal_instance, self.unsynced),
        );
        let bytes = codec::encode(&(wire, self.standing))
            .expect("the superblock's fields take far less than a block");
        let mut block = [0; BLOCK];
        block[4..12].copy_from_slice(MAGIC);
        block[12..14].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        block[14..16].copy_from_slice(&(copy as u16).to_le_bytes());
        block[16..20].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        block[20..20 + bytes.len()].copy_from_slice(&bytes);
        let checksum = crc32c::crc32c(&block[4..]);
        block[..4].copy_from_slice(&checksum.to_le_bytes());
        block
    }
}

/// The fields of the copy that holds these, of this version, if it is one.
pub(crate) fn again(version: u16, fields: &[u8]) -> Option<Vec<u8>> {
    let mut block = [0; BLOCK];
    block[4..12].copy_from_slice(MAGIC);
    block[12..14].copy_from_slice(&version.to_le_bytes());
    block[16..20].copy_from_slice(&u32::try_from(fields.len()).ok()?.to_le_bytes());
    block.get_mut(20..20 + fields.len())?.copy_from_slice(fields);
    let checksum = crc32c::crc32c(&block[4..]);
    block[..4].copy_from_slice(&checksum.to_le_bytes());
    let CopyState::Valid(superblock) = parse(&block, 0) else { return None };
    let block = superblock.block(0);
    let length = u32::from_le_bytes([block[16], block[17], block[18], block[19]]) as usize;
    Some(block[20..20 + length].to_vec())
}

/// A copy at another copy's place was misdirected, and is invalid like one that rotted.
fn parse(block: &[u8], copy: usize) -> CopyState {
    let number = |at: usize| u16::from_le_bytes([block[at], block[at + 1]]);
    if crc32c::crc32c(&block[4..]).to_le_bytes() != block[..4] || block[4..12] != MAGIC[..] {
        return CopyState::Invalid;
    }
    if number(12) > FORMAT_VERSION {
        return CopyState::Future(number(12));
    }
    let length = u32::from_le_bytes([block[16], block[17], block[18], block[19]]) as usize;
    let Some(bytes) = block.get(20..20 + length) else { return CopyState::Invalid };
    let decoded = match number(12) {
        1 => codec::decode::<Wire>(bytes).map(|wire| (wire, Standing::Normal)),
        _ => codec::decode::<(Wire, Standing)>(bytes),
    };
    let Ok((wire, standing)) = decoded else { return CopyState::Invalid };
    if usize::from(number(14)) != copy {
        return CopyState::Invalid;
    }
    let ((generation, cluster, replica, key, incarnation), (epoch, view, high), (snapshot, amnesia), last) =
        wire;
    CopyState::Valid(Box::new(Superblock {
        generation,
        identity: Identity { cluster, replica, key },
        incarnation,
        epoch,
        view_promised: view,
        high_promised: high,
        snapshot: snapshot.map(|(seq, root)| SnapshotPointer { seq, root }),
        amnesia: amnesia.map(|(epoch, view, high)| AmnesiaBox { epoch, view, high }),
        journal_instance: last.0,
        unsynced: last.1,
        standing,
    }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
