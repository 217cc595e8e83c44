//! Which records are needed, which must move, and which places may be used again.
//!
//! A record is needed while nothing that came later takes its place. So what is needed is bounded by the window,
//! whatever the number of views: at each slot one vote (those of views that were left bind nobody), one prepared
//! certificate and the bodies voted for, and besides these the newest stable certificate, VIEW-CHANGE and NEW-VIEW.

use std::collections::{BTreeMap, VecDeque};

use quorate_protocol::types::Seq;

use super::layout::Shape;
use super::payload::{Life, Newest};
use super::{Area, JournalError};

/// A point in all three rings: the next record's slot, and where its payload would start. Counted over all laps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) slot: u64,
    pub(crate) side: u64,
    pub(crate) body: u64,
}

impl Mark {
    pub(crate) const START: Self = Self { slot: 1, side: 0, body: 0 };
}

/// A record, and where the rings' heads were before it.
#[derive(Debug, Clone, Copy)]
struct Laid {
    at: Mark,
    life: Life,
    /// Where its payload stands.
    offset: u64,
}

/// The record that is needed of its kind, at its slot.
#[derive(Debug, Clone, Copy)]
struct Held {
    slot: u64,
    /// Its view; of a stable certificate the slot it is about. The highest counts.
    rank: u64,
    side_bytes: u64,
}

/// A body's bytes stay where they are when its record moves.
#[derive(Debug, Clone, Copy)]
struct HeldBody {
    slot: u64,
    seq: Seq,
}

/// The rings' bookkeeping. Two marks follow the oldest needed record: `settled` (everything it rests on is durable, so
/// records and seals may say it) and, one sync later, `reusable` (one that says it is durable, so what is before it may
/// be overwritten).
#[derive(Debug)]
pub(crate) struct Rings {
    shape: Shape,
    head: Mark,
    settled: Mark,
    reusable: Mark,
    stable: Seq,
    /// The newest view that was left for or entered.
    view: u64,
    laid: VecDeque<Laid>,
    votes: BTreeMap<Seq, Held>,
    prepared: BTreeMap<Seq, Held>,
    newest: [Option<Held>; 3],
    /// The slot of the newest stable certificate among the records.
    certified: Seq,
    /// By where they stand.
    bodies: BTreeMap<u64, HeldBody>,
    /// Bytes of certificates, VIEW-CHANGEs and NEW-VIEWs that are needed.
    side_needed: u64,
}

impl Rings {
    /// Empty rings whose next record is at `start`.
    pub(crate) fn new(shape: Shape, start: Mark) -> Self {
        Self {
            shape,
            head: start,
            settled: start,
            reusable: start,
            stable: Seq(0),
            view: 0,
            laid: VecDeque::new(),
            votes: BTreeMap::new(),
            prepared: BTreeMap::new(),
            newest: [None; 3],
            certified: Seq(0),
            bodies: BTreeMap::new(),
            side_needed: 0,
        }
    }

    /// The next record's slot, and where the areas' heads are.
    pub(crate) fn head(&self) -> Mark {
        self.head
    }

    /// What records and seals may say is the lowest slot still needed.
    pub(crate) fn settled(&self) -> u64 {
        self.settled.slot
    }

    /// Nothing at or below a slot is needed any more.
    pub(crate) fn reclaim(&mut self, stable: Seq) {
        if stable <= self.stable {
            return;
        }
        self.stable = stable;
        for held in [&mut self.votes, &mut self.prepared] {
            let kept = held.split_off(&stable.next());
            let gone = std::mem::replace(held, kept);
            self.side_needed -= gone.values().map(|held| held.side_bytes).sum::<u64>();
        }
        self.bodies.retain(|_, body| body.seq > stable);
    }

    /// Space is short: what a stable certificate in the journal covers goes although the state that takes its place is
    /// not stored here yet. Whoever recovers finds the certificate, and knows that it must fetch that state.
    pub(crate) fn reclaim_certified(&mut self) {
        self.reclaim(self.certified);
    }

    /// The newest slot of which a stable certificate was laid.
    pub(crate) fn certified(&self) -> Seq {
        self.certified
    }

    /// Whether one more payload of `length` bytes fits, with its record, and there is still as much room behind it as
    /// moving everything that is needed takes: so it is never too late to make room.
    pub(crate) fn has_room(&self, area: Area, length: u64) -> bool {
        self.records_with(1) <= self.shape.records()
            && match area {
                Area::Records => true,
                Area::Certificates => self.side_with(length) <= self.shape.side_bytes(),
                Area::Bodies => self.body_used() + length <= self.shape.body_bytes(),
            }
    }

    /// Whether there is room for long: no ring that moving records can empty is more than half full.
    pub(crate) fn is_relaxed(&self) -> bool {
        let oldest = self.oldest();
        let side = if self.side_needed == 0 { 0 } else { self.head.side - oldest.side };
        2 * (self.head.slot - oldest.slot) <= self.shape.records() && 2 * side <= self.shape.side_bytes()
    }

    fn records_with(&self, more: u64) -> u64 {
        self.head.slot - self.reusable.slot + self.needed() + 2 * more
    }

    fn side_with(&self, more: u64) -> u64 {
        self.head.side - self.reusable.side + self.side_needed + 2 * more
    }

    fn body_used(&self) -> u64 {
        self.head.body - self.reusable.body
    }

    /// Records that are needed.
    fn needed(&self) -> u64 {
        let newest = self.newest.iter().flatten().count();
        (self.votes.len() + self.prepared.len() + self.bodies.len() + newest) as u64
    }

    /// Whether a payload of `length` bytes, with its record, would overwrite nothing.
    pub(crate) fn fits(&self, area: Area, length: u64) -> bool {
        self.head.slot - self.reusable.slot < self.shape.records()
            && match area {
                Area::Records => true,
                Area::Certificates => self.head.side - self.reusable.side + length <= self.shape.side_bytes(),
                Area::Bodies => self.body_used() + length <= self.shape.body_bytes(),
            }
    }

    /// Why there is no room in an area.
    pub(crate) fn full(&self, area: Area) -> JournalError {
        let area = if self.records_with(1) > self.shape.records() { Area::Records } else { area };
        let bytes = match area {
            Area::Records => self.shape.records() * super::layout::RECORD as u64,
            Area::Certificates => self.shape.side_bytes(),
            Area::Bodies => self.shape.body_bytes(),
        };
        JournalError::Full { area, bytes }
    }

    /// The oldest record that is needed, if it is before slot `before`.
    pub(crate) fn first(&mut self, before: u64) -> Option<(u64, Life)> {
        self.forget_surplus();
        let first = self.laid.front().filter(|laid| laid.at.slot < before)?;
        Some((first.at.slot, first.life))
    }

    /// Notes the record that was laid at the head, whose payload takes `length` bytes of an area from `offset`.
    pub(crate) fn push(&mut self, life: Life, area: Area, offset: u64, length: u64) {
        let slot = self.head.slot;
        self.laid.push_back(Laid { at: self.head, life, offset });
        let side_bytes = if area == Area::Certificates { length } else { 0 };
        match life {
            Life::Vote(view, seq) if view.0 < self.view || seq <= self.stable => {}
            Life::Vote(view, seq) => {
                let before = self.votes.get(&seq).copied();
                let now = self.newer(Held { slot, rank: view.0, side_bytes }, before);
                self.votes.insert(seq, now);
            }
            Life::Prepared(_, seq) if seq <= self.stable => {}
            Life::Prepared(view, seq) => {
                let before = self.prepared.get(&seq).copied();
                let now = self.newer(Held { slot, rank: view.0, side_bytes }, before);
                self.prepared.insert(seq, now);
            }
            Life::Body(seq) if seq > self.stable => {
                self.bodies.insert(offset, HeldBody { slot, seq });
            }
            Life::Body(_) | Life::Never => {}
            Life::Newest(kind, rank) => {
                let now = self.newer(Held { slot, rank, side_bytes }, self.newest[kind as usize]);
                self.newest[kind as usize] = Some(now);
                match kind {
                    Newest::Stable => self.certified = Seq(now.rank),
                    Newest::ViewChange | Newest::NewView => self.leave_views_before(rank),
                }
            }
        }
        self.head.slot += 1;
        match area {
            Area::Records => {}
            Area::Certificates => self.head.side = self.head.side.max(offset + length),
            Area::Bodies => self.head.body = self.head.body.max(offset + length),
        }
    }

    /// Which of two records counts: the one of the higher rank, among equals the one laid last.
    fn newer(&mut self, new: Held, before: Option<Held>) -> Held {
        match before {
            Some(before) if before.rank > new.rank => before,
            _ => {
                self.side_needed += new.side_bytes;
                self.side_needed -= before.map_or(0, |before| before.side_bytes);
                new
            }
        }
    }

    /// Votes of a view that was left bind nobody: recovery leaves them out.
    fn leave_views_before(&mut self, view: u64) {
        if view > self.view {
            self.view = view;
            let left = self.votes.extract_if(.., |_, vote| vote.rank < view);
            self.side_needed -= left.map(|(_, vote)| vote.side_bytes).sum::<u64>();
        }
    }

    fn is_needed(&self, laid: &Laid) -> bool {
        let slot = match laid.life {
            Life::Vote(_, seq) => self.votes.get(&seq).map(|held| held.slot),
            Life::Prepared(_, seq) => self.prepared.get(&seq).map(|held| held.slot),
            Life::Body(_) => self.bodies.get(&laid.offset).map(|held| held.slot),
            Life::Newest(kind, _) => self.newest[kind as usize].map(|held| held.slot),
            Life::Never => None,
        };
        slot == Some(laid.at.slot)
    }

    fn forget_surplus(&mut self) {
        while self.laid.front().is_some_and(|first| !self.is_needed(first)) {
            self.laid.pop_front();
        }
    }

    /// Where what is needed begins.
    fn oldest(&self) -> Mark {
        let body = self.bodies.first_key_value().map_or(self.head.body, |(offset, _)| *offset);
        Mark { body, ..self.laid.front().map_or(self.head, |laid| laid.at) }
    }

    /// All that was pushed was found on the disk. What a stable certificate among it covers is not needed, and places of
    /// bodies are free at once: recovery does not miss a body whose slot is stable.
    pub(crate) fn reopened(&mut self) {
        self.reclaim_certified();
        self.forget_surplus();
        let body = self.oldest().body;
        (self.settled.body, self.reusable.body) = (body, body);
    }

    /// Everything laid so far is durable, what records and seals said included.
    pub(crate) fn synced(&mut self) {
        self.reusable = self.settled;
        self.forget_surplus();
        self.settled = self.oldest();
    }

    /// A seal that says `settled` is durable.
    pub(crate) fn sealed(&mut self) {
        self.reusable = self.settled;
    }

    /// How full each ring is, in percent: records, certificates, bodies.
    pub(crate) fn percent(&self) -> [u64; 3] {
        let percent = |used: u64, size: u64| used.saturating_mul(100) / size;
        [
            percent(self.head.slot - self.reusable.slot, self.shape.records()),
            percent(self.head.side - self.reusable.side, self.shape.side_bytes()),
            percent(self.body_used(), self.shape.body_bytes()),
        ]
    }
}

/// Kinds whose newest record is kept, whatever is stable.
const _: () = assert!(Newest::NewView as usize == 2, "`newest` has a place for each kind");
