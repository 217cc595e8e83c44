//! What the role is asked that stores states, in order. Node and simulator run the same.

use std::sync::Arc;

use bytes::Bytes;
use quorate_protocol::codec::{Blob, List};
use quorate_protocol::executor::{State, Summary};
use quorate_protocol::map::{Chunk, Map};
use quorate_protocol::message::Transfer;
use quorate_protocol::standing::Evidence;
use quorate_protocol::types::{Digest, ReplicaId, Seq};

use super::{PageIndex, Store, StoreError};
use crate::accusations::Exhibit;
use crate::disk::Disk;
use crate::superblock::SnapshotPointer;

/// Something to be done.
#[derive(Debug, Clone)]
pub enum Job {
    /// Save a state.
    Save(Box<State>),
    /// Begin to fetch a state: which of its chunks are here?
    Plan {
        /// Its slot.
        seq: Seq,
        /// Digest of each of its chunks, in order.
        digests: Arc<[Digest]>,
    },
    /// Keep a chunk that was fetched and found right.
    Keep {
        /// Its place in the state.
        index: u32,
        /// Its digest.
        digest: Digest,
        /// Its wire form.
        wire: Bytes,
    },
    /// Keep a chunk of which some pages were fetched and found right, and the others are here.
    Patch {
        /// Its place in the state.
        index: u32,
        /// Its digest.
        digest: Digest,
        /// Digests of its pages.
        pages: Arc<[Digest]>,
        /// The pages that were fetched, in wire form; empty if none had to be.
        wire: Bytes,
    },
    /// Make a state of chunks that are all here.
    Adopt {
        /// What its root is the digest of.
        summary: Box<Summary>,
        /// Digest of each of its chunks, in order.
        digests: Arc<[Digest]>,
        /// What is left of the state before. It is dropped first, by the thread that has loaded most of it and loads the
        /// next one, so that the one takes the memory of the other.
        old: Vec<Map>,
    },
    /// Keep the proof that states here are wrong, and let go of those.
    Preserve(Box<Evidence>),
    /// Keep the proof that a replica lied.
    Accuse(Box<Exhibit>),
    /// Answer another replica.
    Serve {
        /// The replica.
        to: ReplicaId,
        /// Its question.
        question: Transfer,
    },
    /// Let go of what nobody needs any more.
    Prune {
        /// The newest state that this replica saved.
        newest: Seq,
        /// The stable checkpoint.
        stable: Seq,
        /// States that others are fetching.
        leased: Vec<Seq>,
    },
}

/// What came of it.
#[derive(Debug, Clone)]
pub enum Finished {
    /// A state is saved; what the superblock must say to name it.
    Saved(SnapshotPointer),
    /// Which chunks of a state are here.
    Planned {
        /// Its slot.
        seq: Seq,
        /// For each chunk, in order.
        have: Vec<bool>,
        /// Pages that the others may be made of.
        pages: Arc<PageIndex>,
    },
    /// A chunk is kept.
    Kept {
        /// Its place in the state.
        index: u32,
    },
    /// A chunk is not kept, for pages of it that were here are not.
    Lost {
        /// Its place in the state.
        index: u32,
    },
    /// A state is put together, and stored like a saved one.
    Adopted(Box<State>),
    /// The proof is durable, and the wrong states are gone.
    Preserved,
    /// An answer to another replica.
    Served {
        /// The replica.
        to: ReplicaId,
        /// The answer.
        part: Transfer,
    },
    /// Nothing is left that nobody needs.
    Pruned {
        /// Bytes of all snapshots and segments on disk.
        used: u64,
    },
}

impl<D: Disk> Store<D> {
    /// Does something.
    ///
    /// # Errors
    /// [`StoreError`]: the disk failed, or lost what it held a moment ago. The replica has to stop.
    pub fn run(&mut self, job: Job) -> Result<Finished, StoreError> {
        Ok(match job {
            Job::Save(state) => Finished::Saved(self.save(&state)?),
            Job::Plan { seq, digests } => {
                let have = self.plan(seq, &digests)?;
                Finished::Planned { seq, have, pages: self.staged.pages() }
            }
            Job::Keep { index, digest, wire } => {
                self.keep(digest, &wire)?;
                Finished::Kept { index }
            }
            Job::Patch { index, digest, pages, wire } => {
                if self.patch(digest, &pages, &wire)? {
                    Finished::Kept { index }
                } else {
                    Finished::Lost { index }
                }
            }
            Job::Adopt { summary, digests, old } => {
                drop(old);
                Finished::Adopted(Box::new(self.adopt(&summary, &digests)?))
            }
            Job::Preserve(evidence) => {
                self.preserve(&evidence)?;
                Finished::Preserved
            }
            Job::Accuse(exhibit) => {
                self.accuse(&exhibit)?;
                Finished::Preserved
            }
            Job::Serve { to, question } => Finished::Served { to, part: self.answer(&question)? },
            Job::Prune { newest, stable, leased } => {
                self.prune(newest, stable, &leased)?;
                Finished::Pruned { used: self.used() }
            }
        })
    }

    fn answer(&mut self, question: &Transfer) -> Result<Transfer, StoreError> {
        let (seq, answer) = match question {
            Transfer::FetchMeta { seq } => {
                let meta = |(summary, digests): (Summary, Arc<[Digest]>)| Transfer::Meta {
                    summary: Box::new(summary),
                    chunks: List(digests.to_vec()),
                };
                (*seq, self.contents(*seq).map(meta))
            }
            Transfer::FetchChunk { seq, index } => {
                let chunk = self.guarded(|store| store.chunk(*seq, *index))?;
                let bytes = chunk.map(|chunk| Blob(chunk.encode().into()));
                (*seq, bytes.map(|bytes| Transfer::Chunk { seq: *seq, index: *index, bytes }))
            }
            Transfer::FetchDigests { seq, index } => {
                let chunk = self.guarded(|store| store.chunk(*seq, *index))?;
                let digests = |chunk: Chunk| List(chunk.page_digests());
                let answer = |pages| Transfer::Digests { seq: *seq, index: *index, pages };
                (*seq, chunk.map(digests).map(answer))
            }
            Transfer::FetchPages { seq, index, wanted } => {
                let chunk = self.guarded(|store| store.chunk(*seq, *index))?;
                let bytes = chunk.map(|chunk| Blob(chunk.encode_pages(|page| wanted.contains(page)).into()));
                (*seq, bytes.map(|bytes| Transfer::Pages { seq: *seq, index: *index, bytes }))
            }
            Transfer::Meta { summary, .. } => (summary.seq, None),
            Transfer::Chunk { seq, .. }
            | Transfer::Digests { seq, .. }
            | Transfer::Pages { seq, .. }
            | Transfer::Lacks { seq } => (*seq, None),
        };
        Ok(answer.unwrap_or(Transfer::Lacks { seq }))
    }
}
