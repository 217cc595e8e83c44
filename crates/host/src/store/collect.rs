//! What is let go: old snapshots, segments that nothing needs, and those that hold little of what is needed.

use std::collections::{BTreeMap, BTreeSet};

use quorate_protocol::executor::State;
use quorate_protocol::types::Seq;

use super::manifest::Manifest;
use super::segment::Place;
use super::staging::Staged;
use super::{Store, StoreError};
use crate::disk::{Disk, FileName};
use crate::superblock::{Superblock, SuperblockError};

/// How many snapshots are kept that the stable checkpoint covers: one being replaced must not be the only one.
const KEPT: usize = 2;
/// Segments given up by one save at most, measured by what has to be written again: a save must not take too long.
const MOVED_SEGMENTS: u64 = 2;
/// Segments that a state may need besides those that twice its bytes fill: each start begins a new one.
const SEGMENTS_SPARE: u64 = 16;

impl<D: Disk> Store<D> {
    /// Deletes snapshots: of those that the checkpoint `stable` covers only the two newest stay, of newer ones all, for
    /// while too few replicas vote for a newer checkpoint, another replica can come back by these only. What somebody is
    /// fetching stays too, and what the superblock names and everything newer, for it may come to name that at any moment.
    /// Then segments go that nothing needs. `newest` is the newest state that this replica has.
    ///
    /// # Errors
    /// If the disk fails; everything is refused then.
    pub fn prune(&mut self, newest: Seq, stable: Seq, leased: &[Seq]) -> Result<(), StoreError> {
        self.guarded(|store| {
            let named = match Superblock::read(&mut store.disk) {
                Ok((superblock, _)) => superblock.snapshot.map_or(Seq(0), |pointer| pointer.seq),
                // There is none in a folder that holds states only.
                Err(SuperblockError::NotFormatted) => stable,
                // It may be written just now; there will be another occasion.
                Err(_) => return Ok(()),
            };
            if newest >= stable && matches!(store.staged, Staged::Unknown) {
                // Nothing has to be fetched, so nothing that was fetched before the start is of use.
                store.staged = Staged::Nothing;
                store.untidy = true;
            }
            let needed = stable.min(named);
            let covered = store.manifests.range(..=needed).rev();
            let Some((oldest, _)) = covered.filter(|(_, manifest)| manifest.is_ok()).nth(KEPT - 1) else {
                return store.collect();
            };
            let old = store.manifests.range(..*oldest).map(|(seq, _)| *seq);
            let gone: Vec<Seq> =
                old.filter(|seq| !leased.contains(seq) && !store.pinned.contains(seq)).collect();
            for seq in &gone {
                store.disk.remove(FileName::Snapshot(*seq))?;
                store.manifests.remove(seq);
                store.untidy = true;
            }
            if !gone.is_empty() && store.sync {
                // A power cut must not bring one of them back after its segments are gone.
                store.disk.sync_folder()?;
            }
            store.collect()
        })
    }

    /// Deletes the segments that nothing needs.
    pub(super) fn collect(&mut self) -> Result<(), StoreError> {
        if matches!(self.staged, Staged::Unknown) || !self.untidy {
            return Ok(());
        }
        let staged = self.staged_segments();
        let head = self.head.as_ref().map(|head| head.number);
        let needed = |number: u32| {
            staged.contains(&number)
                || self.staged.pages().needs(number)
                || Some(number) == head
                || self.manifests.values().flatten().any(|manifest| manifest.needs(number))
        };
        let gone: BTreeSet<u32> = self.segments.keys().copied().filter(|number| !needed(*number)).collect();
        let pieces = || self.manifests.values().flatten().flat_map(|manifest| &manifest.pieces);
        // What is known of chunks that no state has any more would come to more than a state has chunks. It goes before
        // there is as much of it as of the others, or when a place that it names does.
        if !gone.is_empty() || self.catalogue.len() > 2 * pieces().count() {
            let mut named: Vec<Place> = pieces().map(|piece| piece.place).collect();
            named.sort_unstable();
            let mut named = named.into_iter().peekable();
            self.catalogue.retain(|place, known| {
                while named.next_if(|other| *other < place).is_some() {}
                let needed = named.peek() == Some(&place) || self.staged.wants(&known.digest);
                needed && !known.segments.iter().any(|segment| gone.contains(segment))
            });
        }
        self.rotten.retain(|place| !gone.contains(&place.segment()));
        for number in gone {
            self.disk.remove(FileName::Segment(number.into()))?;
            self.segments.remove(&number);
            self.unsure.remove(&number);
            self.counters.deleted += 1;
        }
        self.untidy = false;
        Ok(())
    }

    /// Segments whose chunks and pages the state shall not use any more, so that they can go: those that hold least of
    /// it, if all that it uses hold much more than it has.
    pub(super) fn give_up(&self, state: &State) -> BTreeSet<u32> {
        let mut given_up = BTreeSet::new();
        let newest = self.manifests.values().flatten().next_back();
        let Some(used) = newest.map(|manifest: &Manifest| &manifest.segments) else { return given_up };
        let length = |number: &u32| self.segments.get(number).copied().unwrap_or(0);
        let mut bytes: u64 = used.iter().map(length).sum();
        let mut count = used.len() as u64;
        let state_bytes = state.application.bytes() + state.sessions.bytes();
        // Not twice as many, for what is given up stays as long as the snapshots before this one.
        let bytes_max = state_bytes / 8 * 15;
        let count_max = 2 * state_bytes / self.segment_bytes + SEGMENTS_SPARE;
        if bytes <= bytes_max && count <= count_max {
            return given_up;
        }
        // Further than it must be, so that it is seldom done: it takes a look at every page, and whatever segment goes,
        // most chunks have a page in it and their lists are written anew.
        let bytes_min = state_bytes / 4 * 7;
        let live = self.live_bytes(state);
        let head = self.head.as_ref().map(|head| head.number);
        let mut candidates: Vec<(u64, u64, u32)> = used
            .iter()
            .filter(|number| Some(**number) != head)
            .map(|number| (live.get(number).copied().unwrap_or(0), length(number), *number))
            .collect();
        if bytes > bytes_max {
            candidates.sort_unstable_by_key(|(live, length, number)| (live * 1000 / (length + 1), *number));
        } else {
            candidates.sort_unstable();
        }
        let mut moved = 0;
        for (live, length, number) in candidates {
            moved += live;
            let enough = bytes <= bytes_min && count <= count_max;
            // What is hardly worth the writing is left until more of it is old, unless there are too many to count.
            let worth = count > count_max || live * 4 <= length * 3;
            if enough || !worth || moved > MOVED_SEGMENTS * self.segment_bytes {
                break;
            }
            bytes = bytes.saturating_sub(length - live.min(length));
            count -= 1;
            given_up.insert(number);
        }
        given_up
    }

    /// How much of a state each segment holds.
    fn live_bytes(&self, state: &State) -> BTreeMap<u32, u64> {
        let mut live = BTreeMap::new();
        for chunk in state.chunks() {
            if let Some(place) = Place::of(chunk.place())
                && let Some(known) = self.catalogue.get(place)
            {
                *live.entry(place.segment()).or_insert(0) += u64::from(known.list);
            }
            for page in chunk.pages() {
                if let Some(place) = Place::of(page.place()) {
                    *live.entry(place.segment()).or_insert(0) += page.bytes().len() as u64;
                }
            }
        }
        live
    }
}
