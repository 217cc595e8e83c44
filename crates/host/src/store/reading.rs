//! Finding chunks in segments, and reading them: each is proven by its digest, every time.

use std::collections::BTreeSet;
use std::sync::Arc;

use quorate_protocol::executor::State;
use quorate_protocol::map::{Chunk, Page};
use quorate_protocol::types::{Digest, Seq};

use super::catalogue::Known;
use super::manifest::Manifest;
use super::segment::{PREFIX, Place, Record};
use super::{Store, StoreError};
use crate::disk::{Disk, DiskError, read_padded};

/// Bytes read to find a record: enough for the list of most chunks.
const LOOK: u64 = 2048;

impl<D: Disk> Store<D> {
    /// Loads a state. Every chunk is checked against its digest, and all of them against the state's root.
    ///
    /// # Errors
    /// [`StoreError`] names the chunk that is not whole.
    pub fn load(&mut self, seq: Seq) -> Result<State, StoreError> {
        let manifest = self.manifest(seq)?;
        let (digests, summary) = (Arc::clone(&manifest.digests), manifest.summary);
        let chunks = self.read_all(seq, &digests)?;
        State::assemble(&summary, chunks).map_err(|error| StoreError::NoState(seq, error.to_string()))
    }

    /// The chunks with these digests, in order.
    pub(super) fn read_all(&mut self, seq: Seq, digests: &[Digest]) -> Result<Vec<Arc<Chunk>>, StoreError> {
        let mut chunks = Vec::with_capacity(digests.len());
        for (index, digest) in digests.iter().enumerate() {
            let damaged = StoreError::DamagedChunk { seq, chunk: index, chunks: digests.len() };
            chunks.push(Arc::new(self.find(digest)?.ok_or(damaged)?));
        }
        Ok(chunks)
    }

    /// Reads all of a state and keeps nothing; returns the bytes of its pages.
    pub(crate) fn verify(&mut self, seq: Seq) -> Result<u64, StoreError> {
        let manifest = self.manifest(seq)?;
        let (digests, bytes) = (Arc::clone(&manifest.digests), manifest.summary.bytes());
        for (index, digest) in digests.iter().enumerate() {
            if !self.has(digest)? {
                return Err(StoreError::DamagedChunk { seq, chunk: index, chunks: digests.len() });
            }
        }
        Ok(bytes)
    }

    /// A chunk of the state after a slot, to be sent; none if it is not there, or not whole.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn chunk(&mut self, seq: Seq, index: u32) -> Result<Option<Chunk>, StoreError> {
        let Ok(manifest) = self.manifest(seq) else { return Ok(None) };
        let digest = usize::try_from(index).ok().and_then(|index| manifest.digests.get(index)).copied();
        let Some(digest) = digest else { return Ok(None) };
        self.find(&digest)
    }

    /// Whether a chunk is here, and whole: one that nobody looked at since the start is read.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn has(&mut self, digest: &Digest) -> Result<bool, StoreError> {
        let whole = |place| self.catalogue.get(place).is_some_and(|known| known.whole);
        let known = self.catalogue.places_of(digest).any(whole);
        Ok(known || self.find(digest)?.is_some())
    }

    /// Reads a chunk from wherever it stands whole, and forgets the places where it does not.
    pub(super) fn find(&mut self, digest: &Digest) -> Result<Option<Chunk>, StoreError> {
        let places: Vec<Place> = self.catalogue.places_of(digest).collect();
        for place in places {
            if let Some(chunk) = self.read(place)?.filter(|chunk| chunk.digest() == *digest) {
                self.catalogue.found_whole(place);
                return Ok(Some(chunk));
            }
            self.mistrust(place)?;
        }
        Ok(None)
    }

    /// The chunk at a place, if one can be made of what is there.
    fn read(&mut self, place: Place) -> Result<Option<Chunk>, DiskError> {
        let Some(known) = self.catalogue.get(place) else { return Ok(None) };
        let (list, bytes) = (known.list as usize, known.bytes());
        let Some(found) = self.read_exact(place, bytes)? else { return Ok(None) };
        let Some(record) = Record::parse(&found, place) else { return Ok(None) };
        let mut pages = Vec::with_capacity(record.pages.len());
        let mut rest = &record.pages[..];
        while let Some((first, _)) = rest.first() {
            // Pages that were written together are read together.
            let (count, length) = run(rest);
            let (these, after) = rest.split_at(count);
            let elsewhere;
            let mut run = match inside(place, list, &found, *first, length) {
                Some(run) => run,
                None => match self.read_exact(*first, length)? {
                    Some(read) => {
                        elsewhere = read;
                        &elsewhere
                    }
                    None => return Ok(None),
                },
            };
            for (page, length) in these {
                let (bytes, further) = run.split_at(*length as usize);
                let Ok(made) = Page::from_bytes(bytes) else { return Ok(None) };
                made.set_place(page.0);
                pages.push(Arc::new(made));
                run = further;
            }
            rest = after;
        }
        let chunk = Chunk::from_pages(pages).ok();
        if let Some(chunk) = &chunk {
            chunk.set_place(place.0);
        }
        Ok(chunk)
    }

    /// So many bytes at a place; none if its segment does not have them, which is known before anything is allocated.
    pub(super) fn read_exact(&mut self, place: Place, bytes: usize) -> Result<Option<Vec<u8>>, DiskError> {
        let there = self
            .segments
            .get(&place.segment())
            .is_some_and(|length| place.offset().checked_add(bytes as u64).is_some_and(|end| end <= *length));
        if there {
            read_padded(&mut self.disk, place.file(), place.offset(), bytes).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Something at this place is damaged. Neither it nor its pages are used again, so that the state in memory, which
    /// is whole, is written anew.
    fn mistrust(&mut self, place: Place) -> Result<(), DiskError> {
        let list = self.catalogue.get(place).map_or(0, |known| known.list as usize);
        if let Some(record) = self.read_exact(place, list)?.and_then(|bytes| Record::parse(&bytes, place)) {
            self.rotten.extend(record.pages.iter().map(|(page, _)| *page));
        }
        self.counters.damaged += 1;
        self.catalogue.remove(place);
        Ok(())
    }

    /// Learns which chunks stand in the segments from this one on, by going from record to record, and in all of them what
    /// the manifests say.
    pub(super) fn find_records(&mut self, from: u32) -> Result<(), DiskError> {
        let segments: Vec<(u32, u64)> =
            self.segments.range(from..).map(|(number, length)| (*number, *length)).collect();
        for (number, length) in segments {
            let mut offset = 0;
            while offset < length {
                let Ok(at) = u32::try_from(offset) else { break };
                let Some(bytes) = self.learn(Place::new(number, at))? else { break };
                offset += bytes as u64;
            }
        }
        let pieces = self.manifests.values().flatten().flat_map(|manifest| &manifest.pieces);
        let others: BTreeSet<Place> =
            pieces.map(|piece| piece.place).filter(|place| self.catalogue.get(*place).is_none()).collect();
        for place in others {
            self.learn(place)?;
        }
        Ok(())
    }

    /// Takes the record at a place into the catalogue; returns its bytes and those of the pages that follow it.
    fn learn(&mut self, place: Place) -> Result<Option<usize>, DiskError> {
        let length = self.segments.get(&place.segment()).copied().unwrap_or(0);
        let left = length.saturating_sub(place.offset());
        let Some(mut found) = self.read_exact(place, left.min(LOOK) as usize)? else { return Ok(None) };
        let Some(list) = found.get(..PREFIX).and_then(Record::measure) else { return Ok(None) };
        if list > found.len() {
            let Some(longer) = self.read_exact(place, list)? else { return Ok(None) };
            found = longer;
        }
        let Some(record) = Record::parse(&found, place) else { return Ok(None) };
        let known = Known::of(&record, place, false);
        let bytes = known.bytes();
        self.catalogue.insert(place, known);
        Ok(Some(bytes))
    }
}

/// How many of these pages, from the first on, stand behind each other, and their bytes.
fn run(pages: &[(Place, u32)]) -> (usize, usize) {
    let mut bytes = 0;
    let mut next = pages.first().map(|(place, _)| *place);
    let follows = |(place, length): &&(Place, u32)| {
        let so = next == Some(*place);
        if so {
            bytes += *length as usize;
            next = place.after(*length as usize);
        }
        so
    };
    (pages.iter().take_while(follows).count(), bytes)
}

/// The part of what was read at `place` where a run of pages stands, if that follows the list there.
fn inside(place: Place, list: usize, found: &[u8], run: Place, bytes: usize) -> Option<&[u8]> {
    let start = usize::try_from(run.0.checked_sub(place.0)?).ok()?;
    (start >= list).then(|| found.get(start..start.checked_add(bytes)?)).flatten()
}

impl Manifest {
    /// Whether a segment holds something of it.
    pub(super) fn needs(&self, segment: u32) -> bool {
        self.segments.contains(&segment)
    }
}
