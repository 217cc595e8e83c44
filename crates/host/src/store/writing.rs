//! Appending chunks to segments, and saving states.

use std::collections::BTreeSet;
use std::sync::Arc;

use quorate_protocol::executor::State;
use quorate_protocol::map::Chunk;

use super::catalogue::Known;
use super::manifest::{Manifest, Piece};
use super::segment::{Numbers, Place, Record, list_bytes};
use super::{Store, StoreError};
use crate::disk::{Disk, FileName};
use crate::superblock::SnapshotPointer;

/// Bytes handed to the disk at once.
const PIECE: usize = 1 << 20;

/// The segment that is written.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) number: u32,
    /// Bytes of it that the disk was handed.
    written: u64,
    /// Bytes that follow those.
    waiting: Vec<u8>,
    /// Whether something was written and not synced.
    dirty: bool,
}

impl Head {
    fn length(&self) -> u64 {
        self.written + self.waiting.len() as u64
    }
}

impl<D: Disk> Store<D> {
    /// Saves a state: writes what of it is not on disk yet, then its manifest. If the store syncs, it is durable when
    /// this returns.
    ///
    /// # Errors
    /// If the disk fails; everything is refused then.
    pub fn save(&mut self, state: &State) -> Result<SnapshotPointer, StoreError> {
        self.guarded(|store| {
            let given_up = store.give_up(state);
            let mut pieces = Vec::new();
            for chunk in state.chunks() {
                let place = match store.standing(chunk, &given_up) {
                    Some(place) => place,
                    None => store.append_chunk(chunk, &given_up)?,
                };
                pieces.push(place);
            }
            store.flush()?;
            let digests = state.chunk_digests();
            store.seal(state, digests.into(), &pieces)
        })
    }

    /// Where a chunk stands whole, as far as is known, in segments that are not given up.
    fn standing(&self, chunk: &Chunk, given_up: &BTreeSet<u32>) -> Option<Place> {
        let place = Place::of(chunk.place())?;
        let known = self.catalogue.get(place)?;
        let stays = !known.segments.iter().any(|segment| given_up.contains(segment));
        // Another chunk may have told that one of these pages is damaged.
        let mut places = chunk.pages().iter().map(|page| Place(page.place()));
        let sound = known.digest == chunk.digest() && stays;
        let rotten = !self.rotten.is_empty() && places.any(|place| self.rotten.contains(&place));
        (sound && !rotten).then_some(place)
    }

    /// Whether a page that says it stands here does, in a segment that is not given up.
    fn page_stands(&self, place: u64, given_up: &BTreeSet<u32>) -> Option<Place> {
        let place = Place::of(place)?;
        let there = self.segments.contains_key(&place.segment()) && !given_up.contains(&place.segment());
        (there && !self.rotten.contains(&place)).then_some(place)
    }

    /// Appends a chunk's record and those of its pages that do not stand anywhere; they have a place then.
    pub(super) fn append_chunk(
        &mut self,
        chunk: &Chunk,
        given_up: &BTreeSet<u32>,
    ) -> Result<Place, StoreError> {
        // Read all at once: each is likely to miss every cache, and then they are fetched side by side.
        let places: Vec<u64> = chunk.pages().iter().map(|page| page.place()).collect();
        let standing: Vec<Option<Place>> =
            places.iter().map(|place| self.page_stands(*place, given_up)).collect();
        let new = || chunk.pages().iter().zip(&standing).filter(|(_, place)| place.is_none());
        let inline: usize = new().map(|(page, _)| page.bytes().len()).sum();
        let list = list_bytes(standing.len());
        let place = self.make_room(list + inline)?;
        let mut next = place.after(list).ok_or(StoreError::Exhausted)?;
        let mut pages = Vec::with_capacity(standing.len());
        for (page, stands) in chunk.pages().iter().zip(&standing) {
            let length = page.bytes().len();
            let at = stands.unwrap_or(next);
            if stands.is_none() {
                if given_up.contains(&Place(page.place()).segment()) {
                    self.counters.moved_bytes += length as u64;
                }
                next = next.after(length).ok_or(StoreError::Exhausted)?;
                page.set_place(at.0);
            }
            pages.push((at, length as u32));
        }
        let record = Record { digest: chunk.digest(), inline: inline as u32, pages };
        let head = self.head.as_mut().expect("room was made in it just now");
        record.append(place, &mut head.waiting);
        for (page, _) in new() {
            head.waiting.extend_from_slice(page.bytes());
        }
        let (number, length, waiting) = (head.number, head.length(), head.waiting.len());
        self.segments.insert(number, length);
        chunk.set_place(place.0);
        self.catalogue.insert(place, Known::of(&record, place, true));
        if waiting >= PIECE {
            self.flush()?;
        }
        Ok(place)
    }

    /// Where the next so many bytes go: into the head, or into a new one if that is full.
    fn make_room(&mut self, bytes: usize) -> Result<Place, StoreError> {
        if let Some(head) = &self.head
            && head.length() > 0
            && head.length() + bytes as u64 > self.segment_bytes
        {
            // What is full is synced at once: no save has to sync more than it wrote, and no file is closed unsynced.
            self.sync_head()?;
            self.head = None;
        }
        if self.head.is_none() {
            self.last_number = self.last_number.checked_add(1).ok_or(StoreError::Exhausted)?;
            self.unnamed = true;
            let number = self.last_number;
            self.head = Some(Head { number, written: 0, waiting: Vec::new(), dirty: false });
            self.segments.insert(number, 0);
        }
        let head = self.head.as_ref().expect("it was made just now, unless it was there");
        let offset = u32::try_from(head.length()).map_err(|_| StoreError::Exhausted)?;
        Ok(Place::new(head.number, offset))
    }

    /// Hands what waits to the disk.
    pub(super) fn flush(&mut self) -> Result<(), StoreError> {
        let Some(head) = &mut self.head else { return Ok(()) };
        for piece in head.waiting.chunks(PIECE) {
            head.dirty = true;
            self.disk.write_at(FileName::Segment(head.number.into()), head.written, piece)?;
            head.written += piece.len() as u64;
            self.counters.bytes += piece.len() as u64;
        }
        head.waiting.clear();
        Ok(())
    }

    fn sync_head(&mut self) -> Result<(), StoreError> {
        self.flush()?;
        if let Some(head) = self.head.as_mut().filter(|head| head.dirty && self.sync) {
            self.disk.sync(FileName::Segment(head.number.into()))?;
            head.dirty = false;
        }
        Ok(())
    }

    /// Writes the manifest of a state whose chunks stand at these places, all of it durable if the store syncs.
    pub(super) fn seal(
        &mut self,
        state: &State,
        digests: Arc<[quorate_protocol::types::Digest]>,
        places: &[Place],
    ) -> Result<SnapshotPointer, StoreError> {
        let mut segments = Numbers::up_to(self.last_number);
        let mut pieces = Vec::with_capacity(places.len());
        for place in places {
            let known = self.catalogue.get(*place).expect("it was found or written just now");
            known.segments.iter().for_each(|number| segments.insert(*number));
            pieces.push(Piece { place: *place, list: known.list, inline: known.inline });
        }
        let segments = segments.into_sorted().into_iter().collect();
        self.sync_segments(&segments)?;
        let summary = state.summary();
        let root = summary.root();
        self.untidy |= self.staged.covered(summary.seq);
        let loose_from = self.loose_from();
        let manifest = Manifest { root, summary, digests, pieces, segments, loose_from };
        self.counters.bytes += manifest.store(&mut self.disk, self.sync)?;
        self.counters.states += 1;
        let pointer = manifest.pointer();
        self.manifests.insert(pointer.seq, Ok(manifest));
        Ok(pointer)
    }

    /// Makes segments durable, and the names of those that are new.
    fn sync_segments(&mut self, needed: &BTreeSet<u32>) -> Result<(), StoreError> {
        if !self.sync {
            return Ok(());
        }
        self.sync_head()?;
        let unsure: Vec<u32> = needed.intersection(&self.unsure).copied().collect();
        for number in unsure {
            self.disk.sync(FileName::Segment(number.into()))?;
            self.unsure.remove(&number);
            self.unnamed = true;
        }
        if self.unnamed {
            // A manifest must not outlive the name of what it needs.
            self.disk.sync_folder()?;
            self.unnamed = false;
        }
        Ok(())
    }
}
