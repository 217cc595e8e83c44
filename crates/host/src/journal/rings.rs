//! Which parts of the rings are needed, may be used again, or are free.

use std::collections::VecDeque;

use quorate_protocol::types::Seq;

use super::layout::Shape;
use super::payload::{Life, Newest};
use super::{Area, Entry, JournalError};

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

/// A record that may still be needed.
#[derive(Debug, Clone, Copy)]
struct Live {
    at: Mark,
    life: Life,
}

/// The rings' bookkeeping. Three marks follow the oldest needed record, each one sync behind the one before it:
/// `wanted`, `settled` (everything it rests on is durable, so records may say it), `reusable` (a durable record or
/// seal says it, so what is before it may be overwritten).
#[derive(Debug)]
pub(crate) struct Rings {
    shape: Shape,
    head: Mark,
    wanted: Mark,
    settled: Mark,
    reusable: Mark,
    stable: Seq,
    live: VecDeque<Live>,
    newest: [Option<(u64, Entry)>; 3],
}

impl Rings {
    /// Empty rings whose next record is at `start`.
    pub(crate) fn new(shape: Shape, start: Mark) -> Self {
        Self {
            shape,
            head: start,
            wanted: start,
            settled: start,
            reusable: start,
            stable: Seq(0),
            live: VecDeque::new(),
            newest: [None, None, None],
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

    /// Lets go what is dead at `stable` and stands first. Returns records to carry forward, oldest first.
    pub(crate) fn release(&mut self, stable: Seq) -> Vec<Entry> {
        self.stable = self.stable.max(stable);
        let crowded = self.fullest_percent() > 50;
        let mut carried = Vec::new();
        while let Some(oldest) = self.live.front() {
            match oldest.life {
                Life::Until(seq) if seq > self.stable => break,
                Life::Until(_) => {}
                Life::Newest(kind) => {
                    let newest =
                        self.newest[kind as usize].as_ref().filter(|(slot, _)| *slot == oldest.at.slot);
                    match newest {
                        Some(_) if !crowded => break,
                        Some((_, entry)) => carried.push(entry.clone()),
                        None => {}
                    }
                }
            }
            self.live.pop_front();
        }
        self.wanted = self.live.front().map_or(self.head, |live| live.at);
        carried
    }

    /// Where the next record's payload of `length` bytes would go; payloads do not wrap around.
    ///
    /// # Errors
    /// [`JournalError::Full`] if the ring has no room for it, or for the record.
    pub(crate) fn place(&self, area: Area, length: u64) -> Result<u64, JournalError> {
        if self.head.slot - self.reusable.slot >= self.shape.records() {
            return Err(self.full(Area::Records));
        }
        let (head, tail, size) = match area {
            Area::Records => return Ok(0),
            Area::Certificates => (self.head.side, self.reusable.side, self.shape.side_bytes()),
            Area::Bodies => (self.head.body, self.reusable.body, self.shape.body_bytes()),
        };
        let start = if head % size + length > size { head.next_multiple_of(size) } else { head };
        if start + length - tail > size { Err(self.full(area)) } else { Ok(start) }
    }

    fn full(&self, area: Area) -> JournalError {
        let bytes = match area {
            Area::Records => self.shape.records() * super::layout::RECORD as u64,
            Area::Certificates => self.shape.side_bytes(),
            Area::Bodies => self.shape.body_bytes(),
        };
        JournalError::Full { area, bytes }
    }

    /// Notes the record that was laid at the head, with the end of its payload.
    pub(crate) fn push(&mut self, entry: Option<&Entry>, life: Life, area: Area, end: u64) {
        self.live.push_back(Live { at: self.head, life });
        if let (Life::Newest(kind), Some(entry)) = (life, entry) {
            self.newest[kind as usize] = Some((self.head.slot, entry.clone()));
        }
        self.head.slot += 1;
        match area {
            Area::Records => {}
            Area::Certificates => self.head.side = end,
            Area::Bodies => self.head.body = end,
        }
    }

    /// Everything written so far is durable, what records and seals said included.
    pub(crate) fn synced(&mut self) {
        self.reusable = self.settled;
        self.settled = self.wanted;
    }

    /// A seal that says `settled` is durable.
    pub(crate) fn sealed(&mut self) {
        self.reusable = self.settled;
    }

    /// Whether space is short and a durable seal would free some.
    pub(crate) fn wants_seal(&self) -> bool {
        self.reusable != self.settled && self.fullest_percent() > 50
    }

    /// How full each ring is, in percent: records, certificates, bodies.
    pub(crate) fn percent(&self) -> [u64; 3] {
        let percent = |used: u64, size: u64| used.saturating_mul(100) / size;
        [
            percent(self.head.slot - self.reusable.slot, self.shape.records()),
            percent(self.head.side - self.reusable.side, self.shape.side_bytes()),
            percent(self.head.body - self.reusable.body, self.shape.body_bytes()),
        ]
    }

    fn fullest_percent(&self) -> u64 {
        self.percent().into_iter().fold(0, u64::max)
    }
}

/// Kinds whose newest record is kept, whatever is stable.
const _: () = assert!(Newest::NewView as usize == 2, "`newest` has a place for each kind");
