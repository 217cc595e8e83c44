//! Chunks of a state that is being fetched: they go to the segments as they come, so that none is held in memory and
//! none is fetched twice, not even if the process dies meanwhile.
//!
//! Kept is what the newest plan asks for, and nothing else. What an older plan asked for and the newer one does not is
//! let go with the next plan; all of it is, when a state is saved or adopted that is as new as the plan's. After a start
//! nobody knows what was planned, so nothing goes before the first plan, or before this replica has a state as new as the
//! stable checkpoint.

use std::collections::BTreeSet;
use std::sync::Arc;

use quorate_protocol::executor::{State, Summary};
use quorate_protocol::map::Chunk;
use quorate_protocol::types::{Digest, Seq};

use super::pages::PageIndex;
use super::segment::Place;
use super::{Store, StoreError};
use crate::disk::Disk;

/// What is kept for a state that is being fetched.
#[derive(Debug)]
pub(super) enum Staged {
    /// Whatever is there: the process that fetched it is gone.
    Unknown,
    /// Nothing.
    Nothing,
    /// These chunks of the state after a slot, and pages of older ones that they may be made of.
    Chunks(Seq, BTreeSet<Digest>, Arc<PageIndex>),
}

impl Staged {
    /// A state was stored: what belongs to it, or to an older one, is not awaited any more. Says whether something was.
    pub(super) fn covered(&mut self, seq: Seq) -> bool {
        let covered = matches!(self, Self::Chunks(planned, ..) if *planned <= seq);
        if covered {
            *self = Self::Nothing;
        }
        covered
    }

    pub(super) fn wants(&self, digest: &Digest) -> bool {
        match self {
            Self::Unknown | Self::Nothing => false,
            Self::Chunks(_, digests, _) => digests.contains(digest),
        }
    }

    /// All chunks are there: pages are not looked for any more.
    fn forget_pages(&mut self) {
        if let Self::Chunks(_, _, pages) = self {
            *pages = Arc::default();
        }
    }

    /// Pages that chunks may be made of.
    pub(super) fn pages(&self) -> Arc<PageIndex> {
        match self {
            Self::Unknown | Self::Nothing => Arc::default(),
            Self::Chunks(_, _, pages) => Arc::clone(pages),
        }
    }
}

impl<D: Disk> Store<D> {
    /// From now on the chunks of this state are kept. Says which of them are here already, and whole.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn plan(&mut self, seq: Seq, digests: &[Digest]) -> Result<Vec<bool>, StoreError> {
        self.guarded(|store| {
            let have: Vec<bool> = digests.iter().map(|digest| store.has(digest)).collect::<Result<_, _>>()?;
            // What was fetched for the plan before is not awaited any more, and its pages are of use all the same.
            let pages = Arc::new(store.index_pages(&have)?);
            store.staged = Staged::Chunks(seq, digests.iter().copied().collect(), pages);
            store.untidy = true;
            store.collect()?;
            Ok(have)
        })
    }

    /// Keeps a chunk that the newest plan asks for; one that it does not ask for is let go. It survives the death of the
    /// process, and a power cut perhaps.
    ///
    /// # Errors
    /// [`StoreError::Unproven`] if it is another chunk; [`StoreError::Disk`], and everything is refused then.
    pub fn keep(&mut self, digest: Digest, wire: &[u8]) -> Result<(), StoreError> {
        self.guarded(|store| {
            if !store.staged.wants(&digest) || store.has(&digest)? {
                return Ok(());
            }
            let chunk = Chunk::decode(wire).ok().filter(|chunk| chunk.digest() == digest);
            store.append_chunk(&chunk.ok_or(StoreError::Unproven(digest))?, &BTreeSet::new())?;
            store.flush()
        })
    }

    /// Makes a state of chunks that are all here: loads it, and stores a manifest of it, as durable as a saved one.
    ///
    /// # Errors
    /// [`StoreError`] if a chunk is not here, or all of them are no state; or the disk fails.
    pub fn adopt(&mut self, summary: &Summary, digests: &[Digest]) -> Result<State, StoreError> {
        self.guarded(|store| {
            store.staged.forget_pages();
            let chunks = store.read_all(summary.seq, digests)?;
            let places: Vec<Place> = chunks.iter().map(|chunk| Place(chunk.place())).collect();
            let state = State::assemble(summary, chunks)
                .map_err(|error| StoreError::NoState(summary.seq, error.to_string()))?;
            store.seal(&state, digests.into(), &places)?;
            Ok(state)
        })
    }

    /// The first segment that may hold chunks of a state that is being fetched, now or later.
    pub(super) fn loose_from(&self) -> u32 {
        let next = self.head.as_ref().map_or(self.last_number, |head| head.number);
        match self.staged {
            Staged::Unknown => 0,
            Staged::Nothing => next,
            Staged::Chunks(..) => self.staged_segments().first().map_or(next, |first| next.min(*first)),
        }
    }

    /// Segments that hold what is kept for a state that is being fetched.
    pub(super) fn staged_segments(&self) -> BTreeSet<u32> {
        let Staged::Chunks(_, digests, _) = &self.staged else { return BTreeSet::new() };
        let places = digests.iter().flat_map(|digest| self.catalogue.places_of(digest));
        places
            .filter_map(|place| self.catalogue.get(place))
            .flat_map(|known| known.segments.iter().copied())
            .collect()
    }
}
