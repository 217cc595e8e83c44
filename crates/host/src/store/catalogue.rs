//! Which chunks the segments hold, and where.

use std::collections::{BTreeMap, BTreeSet};

use quorate_protocol::types::Digest;

use super::segment::{Place, Record, list_bytes};

/// A chunk that stands somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) digest: Digest,
    /// Bytes of its record, without pages.
    pub(super) list: u32,
    /// Bytes of the pages that follow the record.
    pub(super) inline: u32,
    /// Segments that it needs.
    pub(super) segments: Box<[u32]>,
    /// Whether this process wrote it, or read it and found it whole.
    pub(super) whole: bool,
}

impl Known {
    pub(super) fn of(record: &Record, place: Place, whole: bool) -> Self {
        Self {
            digest: record.digest,
            list: list_bytes(record.pages.len()) as u32,
            inline: record.inline,
            segments: record.segments(place),
            whole,
        }
    }

    /// Bytes of the record and of what follows it.
    pub(super) fn bytes(&self) -> usize {
        self.list as usize + self.inline as usize
    }
}

/// Every chunk that stands in a segment. A chunk may stand in several places.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    records: BTreeMap<Place, Known>,
    places: BTreeSet<(Digest, Place)>,
}

impl Catalogue {
    /// How many.
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    pub(super) fn get(&self, place: Place) -> Option<&Known> {
        self.records.get(&place)
    }

    /// All of them, in order of place.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Known> {
        self.records.values()
    }

    pub(super) fn insert(&mut self, place: Place, known: Known) {
        self.places.insert((known.digest, place));
        self.records.insert(place, known);
    }

    /// It is not there any more, or not whole.
    pub(super) fn remove(&mut self, place: Place) {
        if let Some(known) = self.records.remove(&place) {
            self.places.remove(&(known.digest, place));
        }
    }

    pub(super) fn found_whole(&mut self, place: Place) {
        if let Some(known) = self.records.get_mut(&place) {
            known.whole = true;
        }
    }

    /// Where a chunk stands, the latest place first.
    pub(super) fn places_of(&self, digest: &Digest) -> impl Iterator<Item = Place> + use<'_> {
        let range = (*digest, Place(0))..=(*digest, Place(u64::MAX));
        self.places.range(range).rev().map(|(_, place)| *place)
    }

    /// Forgets everything else; asks in order of place.
    pub(super) fn retain(&mut self, mut needed: impl FnMut(Place, &Known) -> bool) {
        let places = &mut self.places;
        self.records.retain(|place, known| {
            let stays = needed(*place, known);
            if !stays {
                places.remove(&(known.digest, *place));
            }
            stays
        });
    }
}
