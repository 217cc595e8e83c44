//! Reading a journal back: which records stand, which were never promised, and whether a promise is lost.

use std::collections::BTreeSet;
use std::fmt;

use quorate_protocol::process::Record;
use quorate_protocol::types::{Digest, Position, Seq};

use super::layout::{Fixed, Header, INLINE, Place, RECORD, Seal, Shape, checksum_of, payload_checksum};
use super::payload::{Life, body_name, decode, life_of};
use super::rings::{Mark, Rings};
use super::scan::{Repair, Scan, read_header};
use super::writer::{Tail, Usage, Writer, area_of};
use super::{Durability, Entry, Journal, JournalError};
use crate::disk::{Disk, DiskError, FileName, read_padded};
use crate::superblock::{AmnesiaBox, Superblock};

/// How much of a new journal's space is taken at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reserve {
    /// All of it: it cannot run out later, and syncs change no metadata.
    Whole,
    /// Only the records; certificates and bodies take space when they are written. For trials on a small disk.
    Records,
}

/// Why a replica may have forgotten votes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amnesia {
    /// There is no journal file.
    Missing,
    /// Its header or its seals are damaged in all copies, or it is not the journal that the superblock names.
    Header,
    /// It was written without syncing and not closed.
    Unsynced,
    /// A record that had been durable is lost in both copies.
    Rotten {
        /// Which record of the file, counted from 1.
        slot: u64,
        /// Up to where everything had been durable.
        acknowledged: u64,
    },
}

impl fmt::Display for Amnesia {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("its journal is gone"),
            Self::Header => f.write_str("its journal is damaged, or another one"),
            Self::Unsynced => f.write_str("its durability is not `sync`, and it was not stopped cleanly"),
            Self::Rotten { slot, .. } => write!(f, "record {slot} of its journal is damaged in both copies"),
        }
    }
}

/// What a journal was found to hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RecoveryReport {
    /// Set if votes may be lost: the journal must be replaced, and the replica is bound by an amnesia box.
    pub amnesia: Option<Amnesia>,
    /// Records that stand.
    pub records: usize,
    /// Records at the end that were never promised, and were cut.
    pub cut: usize,
    /// Pieces of which one copy was bad and the other good.
    pub repaired: usize,
    /// How full it is.
    pub usage: Usage,
    /// Bodies that this replica vouches for and has to fetch again.
    pub missing_bodies: Vec<(Seq, Digest)>,
}

/// A record that stands, and the bytes that the host signed with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// Its position in the run that wrote it; ascending.
    pub position: Position,
    /// The record.
    pub record: Record,
    /// What [`Journal::append`] was given with it.
    pub signed: Option<Vec<u8>>,
}

/// A journal that goes on.
#[derive(Debug)]
pub struct Opened<D: Disk> {
    /// For the protocol's thread.
    pub journal: Journal,
    /// For the disk's thread.
    pub writer: Writer<D>,
    /// What the replica must remember, in order; nothing after amnesia.
    pub records: Vec<Recovered>,
    /// How it was found.
    pub report: RecoveryReport,
}

/// Creates the journal that the superblock names, over any that is there.
///
/// # Errors
/// If the disk fails.
pub fn create(
    disk: &mut impl Disk,
    superblock: &Superblock,
    shape: Shape,
    reserve: Reserve,
) -> Result<(), DiskError> {
    let file = FileName::Journal;
    disk.remove(file)?;
    disk.set_len(file, shape.file_bytes())?;
    let records = (0, shape.side_area());
    let ranges = match reserve {
        Reserve::Whole => vec![(0, shape.file_bytes())],
        Reserve::Records => vec![records, (shape.mirror(), shape.mirror() + records.1)],
    };
    for (from, to) in ranges {
        disk.reserve(file, from, to)?;
    }
    let header = Header::new(&superblock.identity, superblock.journal_instance, shape).encode();
    // With a seal from the beginning, a journal without any is damaged and not new.
    let seal = Seal { instance: superblock.journal_instance, synced: 0, first: 1 }.encode();
    for copy in [0, shape.mirror()] {
        disk.write_at(file, copy, &header)?;
        for at in Shape::seals() {
            disk.write_at(file, copy + at, &seal)?;
        }
    }
    disk.sync(file)?;
    disk.sync_folder()
}

/// Reads a journal and changes nothing.
///
/// # Errors
/// If the disk fails, or a later program wrote the journal.
pub fn inspect(
    disk: &mut impl Disk,
    superblock: &Superblock,
    shape: Shape,
) -> Result<(Vec<Recovered>, RecoveryReport), JournalError> {
    let found = examine(disk, superblock, shape)?;
    Ok((found.recovered, found.report))
}

/// Reads a journal, repairs what one copy can repair, cuts what was never promised, and goes on. A journal that lost
/// promises is replaced by a new one of `shape`, after the superblock says by an amnesia box what it may have held.
///
/// # Errors
/// If the disk fails, or a later program wrote the journal.
pub fn open<D: Disk>(
    mut disk: D,
    mut superblock: Superblock,
    shape: Shape,
    durability: Durability,
) -> Result<Opened<D>, JournalError> {
    let mut found = examine(&mut disk, &superblock, shape)?;
    if found.report.amnesia.is_some() {
        enter_box(&mut superblock);
        superblock.journal_instance += 1;
        superblock.unsynced = durability != Durability::Sync;
        superblock.store(&mut disk)?;
        create(&mut disk, &superblock, shape, Reserve::Records)?;
        found = Found { report: found.report, ..Found::empty(shape) };
    } else {
        mend(&mut disk, &found)?;
        if durability != Durability::Sync {
            superblock.unsynced = true;
            superblock.store(&mut disk)?;
        }
    }
    let last = found.tail.last;
    let mut writer = Writer::new(disk, superblock, durability, found.tail);
    if durability == Durability::Sync {
        writer.seal()?;
    }
    Ok(Opened { journal: Journal::after(last), writer, records: found.recovered, report: found.report })
}

/// A horizon is durable before the first vote it covers, so without one there was no vote to forget.
fn enter_box(superblock: &mut Superblock) {
    let (view, high) = (superblock.view_promised, superblock.high_promised);
    if view.0 > 0 || high.0 > 0 {
        superblock.amnesia = Some(AmnesiaBox { epoch: superblock.epoch, view, high });
    }
}

/// Makes the file what recovery says it is, durably: what a dead process left in the operating system's memory counts
/// only once it is synced.
fn mend(disk: &mut impl Disk, found: &Found) -> Result<(), DiskError> {
    let file = FileName::Journal;
    let bytes = found.tail.shape.file_bytes();
    if disk.len(file)?.is_some_and(|length| length < bytes) {
        disk.set_len(file, bytes)?;
    }
    for Repair { at, bytes } in &found.repairs {
        disk.write_at(file, *at, bytes)?;
    }
    disk.sync(file)
}

struct Found {
    tail: Tail,
    recovered: Vec<Recovered>,
    report: RecoveryReport,
    /// What to write where, so that both copies are good and nothing is left behind the end.
    repairs: Vec<Repair>,
}

impl Found {
    fn empty(shape: Shape) -> Self {
        let tail = Tail { shape, rings: Rings::new(shape, Mark::START), chain: 0, last: Position(0) };
        Self { tail, recovered: Vec::new(), report: RecoveryReport::default(), repairs: Vec::new() }
    }

    fn amnesia(shape: Shape, amnesia: Amnesia) -> Self {
        let mut found = Self::empty(shape);
        found.report.amnesia = Some(amnesia);
        found
    }
}

fn examine(disk: &mut impl Disk, superblock: &Superblock, shape: Shape) -> Result<Found, JournalError> {
    if disk.len(FileName::Journal)?.is_none() {
        return Ok(Found::amnesia(shape, Amnesia::Missing));
    }
    let Some((header, repairs)) = read_header(disk, superblock, shape)? else {
        return Ok(Found::amnesia(shape, Amnesia::Header));
    };
    if superblock.unsynced {
        return Ok(Found::amnesia(header.shape, Amnesia::Unsynced));
    }
    let scan = Scan::read(disk, header)?;
    if !scan.sealed {
        return Ok(Found::amnesia(header.shape, Amnesia::Header));
    }
    let mut walk = Walk::new(disk, &scan);
    walk.report.repaired = repairs.len();
    walk.repairs = repairs;
    walk.run()?;
    Ok(walk.finish())
}

/// The slot that a record says is stable.
fn stable_of(record: &Record) -> Option<Seq> {
    if let Record::Stable(certificate) = record { Some(certificate.statement.seq) } else { None }
}

/// A record that stands: its fixed part, and what it holds unless that is a lost body.
struct Whole {
    fixed: Fixed,
    bytes: Vec<u8>,
    entry: Option<Entry>,
    life: Life,
}

struct Walk<'a, D: Disk> {
    disk: &'a mut D,
    scan: &'a Scan,
    accepted: Vec<Whole>,
    /// The slot after the last one that stands.
    end: u64,
    report: RecoveryReport,
    repairs: Vec<Repair>,
}

impl<'a, D: Disk> Walk<'a, D> {
    fn new(disk: &'a mut D, scan: &'a Scan) -> Self {
        let (accepted, report, repairs) = (Vec::new(), RecoveryReport::default(), Vec::new());
        Self { disk, scan, accepted, end: scan.first, report, repairs }
    }

    /// From the lowest slot needed to the first that is not whole.
    fn run(&mut self) -> Result<(), JournalError> {
        let acknowledged = self.scan.acknowledged;
        let last = self.scan.top.max(acknowledged);
        while self.end <= last {
            let slot = self.end;
            let whole = self.whole(slot)?.filter(|whole| whole.entry.is_some() || slot <= acknowledged);
            let Some(whole) = whole else {
                if slot <= acknowledged {
                    self.report.amnesia = Some(Amnesia::Rotten { slot, acknowledged });
                } else {
                    self.cut(slot, last);
                }
                return Ok(());
            };
            let stable = whole.entry.as_ref().and_then(|entry| stable_of(&entry.record));
            self.accepted.push(whole);
            self.end += 1;
            stable.into_iter().for_each(|stable| self.forget_bodies(stable));
        }
        Ok(())
    }

    /// Batches of slots that are stable are of no use to whoever recovers, and together they may be many times what it
    /// keeps. What is left of each is like one that is lost, and not needed.
    fn forget_bodies(&mut self, stable: Seq) {
        for whole in self.accepted.iter_mut().filter(|whole| whole.fixed.place == Place::Body) {
            if body_name(&whole.fixed.inline).0 <= stable {
                whole.entry = None;
            }
        }
    }

    /// Wipes what stands behind the end, so that no later recovery meets it.
    fn cut(&mut self, from: u64, last: u64) {
        for slot in from..=last.min(from + self.scan.header.shape.records() - 1) {
            let found =
                (0..2).filter(|copy| self.scan.at(*copy, slot).is_some_and(|(fixed, _)| fixed.slot == slot));
            let offsets: Vec<u64> = found.map(|copy| self.scan.offset(copy, slot)).collect();
            self.report.cut += usize::from(!offsets.is_empty());
            self.repairs.extend(offsets.into_iter().map(|at| Repair { at, bytes: vec![0; RECORD] }));
        }
    }

    /// The record of a slot, if a copy of it and everything it names are valid; a body may be missing.
    fn whole(&mut self, slot: u64) -> Result<Option<Whole>, JournalError> {
        let scan = self.scan;
        let chain = self.accepted.last().map(|whole| checksum_of(&whole.bytes));
        let fits = |fixed: &Fixed| fixed.slot == slot && chain.is_none_or(|chain| chain == fixed.previous);
        let candidates: Vec<_> =
            (0..2).filter_map(|copy| scan.at(copy, slot)).filter(|(fixed, _)| fits(fixed)).collect();
        for (fixed, bytes) in candidates {
            let Some((entry, life)) = self.contents(&fixed)? else { continue };
            for copy in (0..2).filter(|copy| scan.bytes(*copy, slot) != bytes) {
                self.report.repaired += 1;
                self.repairs.push(Repair { at: scan.offset(copy, slot), bytes: bytes.to_vec() });
            }
            return Ok(Some(Whole { fixed, bytes: bytes.to_vec(), entry, life }));
        }
        Ok(None)
    }

    /// What the record holds, and how long it is needed; none if that cannot be read.
    fn contents(&mut self, fixed: &Fixed) -> Result<Option<(Option<Entry>, Life)>, JournalError> {
        let length = fixed.length as usize;
        let payload = match fixed.place {
            Place::Inline if length <= INLINE => {
                let bytes = fixed.inline[..length].to_vec();
                self.is_payload(fixed, &bytes).then_some(bytes)
            }
            Place::Inline => None,
            Place::Side => self.side(fixed)?,
            Place::Body if u64::from(fixed.length) <= self.scan.header.shape.body_bytes() => {
                let bytes = self.read(fixed, 0)?;
                self.is_payload(fixed, &bytes).then_some(bytes)
            }
            Place::Body => None,
        };
        let decoded = payload.and_then(|payload| decode(fixed.kind, fixed.signed, &payload));
        let decoded = decoded.filter(|(record, _)| self.is_named_right(fixed, record));
        Ok(match (decoded, fixed.place) {
            (Some((record, signed)), _) => {
                let life = life_of(&record);
                Some((Some(Entry { position: fixed.position, record, signed }), life))
            }
            (None, Place::Body) => Some((None, Life::Body(body_name(&fixed.inline).0))),
            (None, Place::Inline | Place::Side) => None,
        })
    }

    /// Reads both copies of a payload, and notes the bad one for repair.
    fn side(&mut self, fixed: &Fixed) -> Result<Option<Vec<u8>>, JournalError> {
        let shape = self.scan.header.shape;
        if u64::from(fixed.length) > shape.side_bytes() {
            return Ok(None);
        }
        let copies = [self.read(fixed, 0)?, self.read(fixed, shape.mirror())?];
        let Some(good) = copies.iter().find(|bytes| self.is_payload(fixed, bytes)) else {
            return Ok(None);
        };
        for shift in [0, shape.mirror()].into_iter().zip(&copies).filter(|(_, bytes)| *bytes != good) {
            self.report.repaired += 1;
            let runs = shape.runs(fixed.place, fixed.offset, good.len());
            let mut rest = good.as_slice();
            for (at, length) in runs {
                let (now, later) = rest.split_at(length);
                self.repairs.push(Repair { at: at + shift.0, bytes: now.to_vec() });
                rest = later;
            }
        }
        Ok(Some(good.clone()))
    }

    /// The copy of a payload that is `shift` bytes behind the first.
    fn read(&mut self, fixed: &Fixed, shift: u64) -> Result<Vec<u8>, JournalError> {
        let length = fixed.length as usize;
        let mut bytes = Vec::with_capacity(length);
        for (at, length) in self.scan.header.shape.runs(fixed.place, fixed.offset, length) {
            bytes.extend(read_padded(self.disk, FileName::Journal, at + shift, length)?);
        }
        Ok(bytes)
    }

    fn is_payload(&self, fixed: &Fixed, bytes: &[u8]) -> bool {
        bytes.len() == fixed.length as usize
            && payload_checksum(fixed.instance, fixed.offset, bytes) == fixed.payload_checksum
    }

    /// A body is what its digest says, or missing.
    fn is_named_right(&self, fixed: &Fixed, record: &Record) -> bool {
        match record {
            Record::Body { seq, body } => {
                body_name(&fixed.inline) == (*seq, body.digest)
                    && body.batch.digest(self.scan.header.cluster) == body.digest
            }
            Record::Vote { .. }
            | Record::Prepared(_)
            | Record::ViewChange(_)
            | Record::NewView { .. }
            | Record::Stable(_)
            | Record::Horizon { .. }
            | Record::Healed
            | Record::Standing(_) => true,
        }
    }

    /// Bodies that are lost and needed: not those whose slot is stable, whose place another one may have taken.
    fn name_missing_bodies(&mut self) {
        let entries = || self.accepted.iter().filter_map(|whole| whole.entry.as_ref());
        let stable = entries().filter_map(|entry| stable_of(&entry.record)).max().unwrap_or_default();
        let here: BTreeSet<_> = entries()
            .filter_map(|entry| match &entry.record {
                Record::Body { seq, body } => Some((*seq, body.digest)),
                _ => None,
            })
            .collect();
        let lost = self.accepted.iter().filter(|whole| whole.entry.is_none());
        let lost: BTreeSet<_> = lost.map(|whole| body_name(&whole.fixed.inline)).collect();
        let missing = lost.into_iter().filter(|name| name.0 > stable && !here.contains(name));
        self.report.missing_bodies = missing.collect();
    }

    fn finish(mut self) -> Found {
        let shape = self.scan.header.shape;
        if self.report.amnesia.is_some() {
            return Found { report: self.report, ..Found::empty(shape) };
        }
        let offsets_in = |place| {
            let there = self.accepted.iter().filter(move |whole| whole.fixed.place == place);
            there.map(|whole| whole.fixed.offset).min()
        };
        let start = Mark {
            slot: self.scan.first,
            side: offsets_in(Place::Side).unwrap_or(0),
            body: offsets_in(Place::Body).unwrap_or(0),
        };
        let mut rings = Rings::new(shape, start);
        for Whole { fixed, life, entry, .. } in &self.accepted {
            // A body that is lost is fetched again and written anew; its place is free.
            let life = if entry.is_some() { *life } else { Life::Never };
            rings.push(life, area_of(fixed.place), fixed.offset, u64::from(fixed.length));
        }
        rings.reopened();
        self.name_missing_bodies();
        let [records, certificates, bodies] = rings.percent();
        self.report.usage = Usage { records, certificates, bodies };
        self.report.records = self.accepted.len();
        let chain = self.accepted.last().map_or(0, |whole| checksum_of(&whole.bytes));
        let last = self.accepted.iter().map(|whole| whole.fixed.position).max().unwrap_or_default();
        let entries = self.accepted.into_iter().filter_map(|whole| whole.entry);
        let mut recovered: Vec<Recovered> = entries
            .map(|Entry { position, record, signed }| Recovered { position, record, signed })
            .collect();
        // What was carried forward stands twice while its first place is not reused.
        recovered.sort_by_key(|recovered| recovered.position);
        recovered.dedup_by_key(|recovered| recovered.position);
        let tail = Tail { shape, rings, chain, last };
        Found { tail, recovered, report: self.report, repairs: self.repairs }
    }
}
