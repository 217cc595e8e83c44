//! States on disk: chunks in segments, and for each state a manifest that says which ones it consists of.
//!
//! **What changed costs, nothing else.** The pages of a state's maps are appended to segment files once, and carry
//! their place with them; saving the next state writes the pages and chunks that have none. A manifest is a small file
//! that names the digest and the place of every chunk.
//!
//! **Whole or not at all.** Segments are synced before the manifest that needs them, the manifest before it has its
//! name, and whoever points the superblock at it does so after that. Places are never written twice and numbers of
//! segments never used twice, so a power cut leaves every older state as it was.
//!
//! **Believed only when proven.** A record of a segment has a checksum, its pages have the chunk's digest, a manifest
//! has the state's root. Whatever is read is checked against them each time, so that rot in one chunk is named, costs
//! the states that use it, and leaves the other chunks to be used again.
//!
//! **Bounded.** Segments that no manifest and no transfer needs are deleted. When those that the newest state needs
//! come near twice its bytes, the emptiest are given up, several at once: the next save writes again what it needs of
//! them. `tests` holds the claims.

mod catalogue;
mod collect;
mod evidence;
mod jobs;
pub(crate) mod manifest;
mod pages;
mod reading;
pub(crate) mod segment;
mod spare;
mod staging;
mod writing;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_protocol::executor::Summary;
use quorate_protocol::types::{Digest, Seq};

use crate::disk::{Disk, DiskError, FileName};
use crate::superblock::SnapshotPointer;
use catalogue::Catalogue;
use segment::Place;
use staging::Staged;
use writing::Head;

pub use jobs::{Finished, Job};
use manifest::Manifest;
pub(crate) use manifest::make_durable;
pub use pages::PageIndex;
pub use spare::Spare;

/// Bytes of a segment; one that has as many is followed by another.
pub const SEGMENT_BYTES: u64 = 16 << 20;

/// Why a state is not loaded, or not stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// There is none of this slot.
    #[error("there is no snapshot of slot {0}")]
    Missing(Seq),
    /// The list of its chunks changed, or is of another slot.
    #[error("the snapshot of slot {0} is damaged")]
    Damaged(Seq),
    /// One of its chunks changed, or is gone.
    #[error("the snapshot of slot {seq} is damaged: chunk {chunk} of {chunks}, counted from 0, is not whole")]
    DamagedChunk {
        /// The slot.
        seq: Seq,
        /// Which chunk, counted from 0.
        chunk: usize,
        /// How many chunks the state has.
        chunks: usize,
    },
    /// An older program wrote it.
    #[error(
        "the snapshot of slot {seq} has format {found}, which an older program wrote and this one does not read, for \
         states have another form now; fix: start a new cluster with this program, or go on with the older program"
    )]
    PastVersion {
        /// The slot.
        seq: Seq,
        /// The format found.
        found: u16,
    },
    /// A later program wrote it.
    #[error("the snapshot of slot {seq} has format {found}, which a later program wrote; use that program")]
    FutureVersion {
        /// The slot.
        seq: Seq,
        /// The format found.
        found: u16,
    },
    /// A chunk that was to be kept is not the one it was said to be.
    #[error("these bytes are not the chunk {0}")]
    Unproven(Digest),
    /// Chunks with the right digests that are no state.
    #[error("the chunks of the state of slot {0} do not make a state: {1}")]
    NoState(Seq, String),
    /// Four thousand million segments were written.
    #[error("the numbers of segments are used up; give the replica a new folder")]
    Exhausted,
    /// The disk failed, now or before; nothing is written after a failure.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The store failed before and takes nothing more.
    #[error("the store failed before and takes nothing more ({0}); restart the replica")]
    Failed(Box<StoreError>),
}

impl StoreError {
    /// Whether another state, or another replica's, will do in place of this one.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Missing(_) | Self::Damaged(_) | Self::DamagedChunk { .. } | Self::NoState(..) => true,
            Self::PastVersion { .. }
            | Self::FutureVersion { .. }
            | Self::Unproven(_)
            | Self::Exhausted
            | Self::Disk(_)
            | Self::Failed(_) => false,
        }
    }
}

/// What a store did so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// States saved, those put together from fetched chunks included.
    pub states: u64,
    /// Bytes written.
    pub bytes: u64,
    /// Of these, what was written again so that a segment can go.
    pub moved_bytes: u64,
    /// Segments deleted.
    pub deleted: u64,
    /// Chunks that were found damaged.
    pub damaged: u64,
    /// Bytes of all snapshots and segments on disk right now; see [`Store::used`].
    pub used_bytes: u64,
    /// Bytes of the newest state there is.
    pub state_bytes: u64,
}

/// The states of a folder. After a failed write or sync it refuses everything.
#[derive(Debug)]
pub struct Store<D: Disk> {
    disk: D,
    sync: bool,
    segment_bytes: u64,
    /// Bytes of each segment.
    segments: BTreeMap<u32, u64>,
    head: Option<Head>,
    /// The highest number a segment has had: pages in memory may still say that they are in one that was deleted.
    last_number: u32,
    /// Whether there is a segment whose name may not be durable.
    unnamed: bool,
    /// Segments that another process wrote, and may not have synced.
    unsure: BTreeSet<u32>,
    catalogue: Catalogue,
    /// Pages of chunks that were found damaged.
    rotten: BTreeSet<Place>,
    manifests: BTreeMap<Seq, Result<Manifest, StoreError>>,
    /// Slots whose snapshots stay as long as the evidence that rests on them.
    pinned: BTreeSet<Seq>,
    staged: Staged,
    /// Something may not be needed any more.
    untidy: bool,
    failed: Option<Box<StoreError>>,
    counters: Counters,
}

impl<D: Disk> Store<D> {
    /// The states that a folder holds, whole or not; `sync` if what is saved must survive power cuts. Reads the lists of
    /// chunks, no chunk, and changes nothing.
    ///
    /// # Errors
    /// If the disk fails, or another version of the program wrote one of them.
    pub fn open(disk: D, sync: bool) -> Result<Self, StoreError> {
        let mut store = Self::list_files(disk, sync)?;
        let newest = store.manifests.values().flatten().next_back();
        store.find_records(newest.map_or(0, |manifest| manifest.loose_from))?;
        let foreign = store.manifests.values().find_map(|manifest| match manifest {
            Err(error @ (StoreError::PastVersion { .. } | StoreError::FutureVersion { .. })) => Some(error),
            Ok(_) | Err(_) => None,
        });
        foreign.map_or(Ok(()), |error| Err(error.clone()))?;
        Ok(store)
    }

    /// The same, whoever wrote it, and with all chunks that are of no state any more.
    pub(crate) fn examine(disk: D, sync: bool) -> Result<Self, DiskError> {
        let mut store = Self::list_files(disk, sync)?;
        store.find_records(0)?;
        Ok(store)
    }

    fn list_files(mut disk: D, sync: bool) -> Result<Self, DiskError> {
        let mut segments = BTreeMap::new();
        let mut manifests = BTreeMap::new();
        for name in disk.list()? {
            match FileName::parse(&name) {
                Some(file @ FileName::Segment(number)) => {
                    // No name of ours has a larger number.
                    let Ok(number) = u32::try_from(number) else { continue };
                    segments.insert(number, disk.len(file)?.unwrap_or(0));
                }
                Some(FileName::Snapshot(seq)) => {
                    let manifest = match Manifest::read(&mut disk, seq) {
                        Err(StoreError::Disk(error)) => return Err(error),
                        manifest => manifest,
                    };
                    manifests.insert(seq, manifest);
                }
                Some(
                    FileName::Superblock
                    | FileName::Journal
                    | FileName::SnapshotDraft
                    | FileName::Divergence
                    | FileName::Accusation(..)
                    | FileName::EvidenceDraft
                    | FileName::Folder,
                )
                | None => {}
            }
        }
        Ok(Self {
            disk,
            sync,
            segment_bytes: SEGMENT_BYTES,
            unsure: segments.keys().copied().collect(),
            last_number: segments.last_key_value().map_or(0, |(number, _)| *number),
            unnamed: false,
            segments,
            head: None,
            catalogue: Catalogue::default(),
            rotten: BTreeSet::new(),
            manifests,
            pinned: BTreeSet::new(),
            staged: Staged::Unknown,
            untidy: true,
            failed: None,
            counters: Counters::default(),
        })
    }

    /// Slots of the snapshots there are, whole or not, ascending.
    #[must_use]
    pub fn list(&self) -> Vec<Seq> {
        self.manifests.keys().copied().collect()
    }

    /// What a superblock says that names the snapshot of this slot; none if there is none that could be whole.
    #[must_use]
    pub fn snapshot_pointer(&self, seq: Seq) -> Option<SnapshotPointer> {
        self.manifest(seq).ok().map(Manifest::pointer)
    }

    /// What the state after a slot consists of; none if there is none that could be whole.
    #[must_use]
    pub fn contents(&self, seq: Seq) -> Option<(Summary, Arc<[Digest]>)> {
        let manifest = self.manifest(seq).ok()?;
        Some((manifest.summary, Arc::clone(&manifest.digests)))
    }

    /// Bytes of all snapshots and segments on disk.
    #[must_use]
    pub fn used(&self) -> u64 {
        let manifests = self.manifests.values().flatten().map(Manifest::file_bytes).sum::<u64>();
        manifests + self.segments.values().sum::<u64>()
    }

    /// What the store did so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let newest = self.manifests.values().rev().flatten().next();
        let state_bytes = newest.map_or(0, |manifest| manifest.summary.bytes());
        Counters { used_bytes: self.used(), state_bytes, ..self.counters }
    }

    /// The disk, to be looked at.
    pub fn disk(&mut self) -> &mut D {
        &mut self.disk
    }

    fn manifest(&self, seq: Seq) -> Result<&Manifest, StoreError> {
        match self.manifests.get(&seq) {
            None => Err(StoreError::Missing(seq)),
            Some(Err(error)) => Err(error.clone()),
            Some(Ok(manifest)) => Ok(manifest),
        }
    }

    fn guarded<T>(&mut self, act: impl FnOnce(&mut Self) -> Result<T, StoreError>) -> Result<T, StoreError> {
        if let Some(first) = &self.failed {
            return Err(StoreError::Failed(first.clone()));
        }
        let done = act(self);
        if let Err(error @ (StoreError::Disk(_) | StoreError::Exhausted)) = &done {
            self.failed = Some(Box::new(error.clone()));
        }
        done
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests;
