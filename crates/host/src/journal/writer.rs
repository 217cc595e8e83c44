//! The side of the journal that knows the disk: lays groups out, writes them, syncs.

use std::sync::Arc;

use quorate_protocol::codec::CodecError;
use quorate_protocol::mutant::{self, Mutant};
use quorate_protocol::process::Record;
use quorate_protocol::types::{Position, Seq, View};

use super::layout::{Fixed, INLINE, Place, Seal, Shape, checksum_of, payload_checksum};
use super::payload::Life;
use super::rings::Rings;
use super::{Area, Durability, Entry, Group, JournalError, payload};
use crate::disk::{Disk, DiskError, FileName};
use crate::store;
use crate::superblock::{SnapshotPointer, Superblock};

mod room;

/// What a writer did so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Groups written.
    pub groups: u64,
    /// Records written, those carried forward included.
    pub records: u64,
    /// Those carried forward, to make room.
    pub carried: u64,
    /// Syncs of the journal.
    pub syncs: u64,
    /// Stores of the superblock, two syncs each.
    pub superblocks: u64,
    /// Bytes handed to the disk, second copies included.
    pub bytes: u64,
    /// How full the fullest of the journal's areas is, in percent.
    pub used_percent: u64,
}

/// How full the journal's areas are, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Records.
    pub records: u64,
    /// Certificates, VIEW-CHANGEs and NEW-VIEWs.
    pub certificates: u64,
    /// Bodies; those of abandoned views count until their slot is stable.
    pub bodies: u64,
}

/// Contiguous pieces of a file, gathered so that each is written at once.
#[derive(Debug, Default)]
struct Runs {
    bytes: Vec<u8>,
    runs: Vec<(u64, usize)>,
}

impl Runs {
    fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.runs.clear();
    }

    fn push(&mut self, at: u64, bytes: &[u8]) {
        match self.runs.last_mut() {
            Some((start, length)) if *start + *length as u64 == at => *length += bytes.len(),
            _ => self.runs.push((at, bytes.len())),
        }
        self.bytes.extend_from_slice(bytes);
    }

    fn write(&self, disk: &mut impl Disk, shift: u64) -> Result<u64, DiskError> {
        let mut from = 0;
        for (at, length) in &self.runs {
            disk.write_at(FileName::Journal, at + shift, &self.bytes[from..from + length])?;
            from += length;
        }
        Ok(self.bytes.len() as u64)
    }
}

/// Where a journal goes on.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) shape: Shape,
    pub(super) rings: Rings,
    /// Checksum of the last record.
    pub(super) chain: u32,
    pub(super) last: Position,
}

/// Writes groups and the superblock. Runs where the disk is: a thread of its own, or inline.
///
/// After an error it refuses everything: what the disk holds is then known only to a restart.
#[derive(Debug)]
pub struct Writer<D: Disk> {
    disk: D,
    superblock: Superblock,
    durability: Durability,
    shape: Shape,
    rings: Rings,
    chain: u32,
    synced_slot: u64,
    seals: u64,
    written: Position,
    durable: Position,
    dirty: bool,
    failed: Option<Box<JournalError>>,
    counters: Counters,
    records: Runs,
    side: Runs,
    bodies: Runs,
    payload: Vec<u8>,
}

impl<D: Disk> Writer<D> {
    /// A writer that goes on where recovery, which synced everything before `tail`, ended.
    pub(super) fn new(disk: D, superblock: Superblock, durability: Durability, tail: Tail) -> Self {
        Self {
            disk,
            superblock,
            durability,
            shape: tail.shape,
            synced_slot: tail.rings.head().slot - 1,
            rings: tail.rings,
            chain: tail.chain,
            seals: 0,
            written: tail.last,
            durable: tail.last,
            dirty: false,
            failed: None,
            counters: Counters::default(),
            records: Runs::default(),
            side: Runs::default(),
            bodies: Runs::default(),
            payload: Vec::new(),
        }
    }

    /// Writes a group, and syncs it if told to and if the durability asks for it: one sync, two more if the group
    /// has a horizon, three more when a ring has come around and room has to be made. Returns the position up to which everything
    /// is as durable as the mode promises; groups written without a sync become durable with the next one.
    ///
    /// # Errors
    /// [`JournalError`]; every later call fails too.
    pub fn write(&mut self, group: &Group, sync: bool) -> Result<Position, JournalError> {
        self.guarded(|writer| {
            if let Some(standing) = group.standing {
                writer.superblock.standing = standing;
                writer.store_superblock()?;
            }
            if let Some((view, high)) = group.horizon {
                writer.promise(view, high)?;
            }
            if writer.durability != Durability::None {
                writer.append(group)?;
            }
            writer.written = group.last;
            writer.counters.groups += 1;
            match writer.durability {
                Durability::Sync if sync || !writer.dirty => writer.settle()?,
                Durability::Sync => {}
                Durability::Os | Durability::None => writer.durable = writer.written,
            }
            if group.healed {
                writer.heal()?;
            }
            Ok(writer.durable)
        })
    }

    /// Makes everything written durable, whatever was passed to [`Writer::write`].
    ///
    /// # Errors
    /// [`JournalError`]; every later call fails too.
    pub fn sync(&mut self) -> Result<Position, JournalError> {
        self.guarded(|writer| {
            if writer.durability == Durability::Sync {
                writer.settle()?;
            }
            Ok(writer.durable)
        })
    }

    /// Stores the superblock after a change that is no horizon: an epoch, a healed amnesia.
    ///
    /// # Errors
    /// [`JournalError`]; every later call fails too.
    pub fn update(&mut self, change: impl FnOnce(&mut Superblock)) -> Result<(), JournalError> {
        self.guarded(|writer| {
            change(&mut writer.superblock);
            writer.store_superblock()
        })
    }

    /// Makes the superblock name a snapshot that is stored. Unless the mode is [`Durability::Sync`], the superblock on the
    /// disk follows with its next store.
    ///
    /// # Errors
    /// [`JournalError`]; every later call fails too.
    pub fn point_to(&mut self, pointer: SnapshotPointer) -> Result<(), JournalError> {
        self.guarded(|writer| {
            writer.superblock.snapshot = Some(pointer);
            if writer.durability == Durability::Sync { writer.store_superblock() } else { Ok(()) }
        })
    }

    /// Stops cleanly: what was written is durable, and in mode [`Durability::Os`] counts on the next start, together with
    /// the snapshot that was pointed to last. Whoever stores snapshots has to be done with it.
    /// Gives the disk back.
    ///
    /// # Errors
    /// [`JournalError`] if the disk fails or had failed.
    pub fn close(mut self) -> Result<D, JournalError> {
        self.guarded(|writer| {
            writer.settle()?;
            if writer.durability == Durability::Os {
                if let Some(pointer) = writer.superblock.snapshot {
                    store::make_durable(&mut writer.disk, pointer.seq)?;
                }
                writer.superblock.unsynced = false;
                writer.store_superblock()?;
            }
            Ok(())
        })?;
        Ok(self.disk)
    }

    /// The superblock as it was stored last.
    #[must_use]
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// What the writer did so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let used_percent = self.rings.percent().into_iter().fold(0, u64::max);
        Counters { used_percent, ..self.counters }
    }

    /// How full the journal is: what is not needed any more counts until its place may be used again.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let [records, certificates, bodies] = self.rings.percent();
        Usage { records, certificates, bodies }
    }

    /// The disk, for reading.
    pub fn disk(&mut self) -> &mut D {
        &mut self.disk
    }

    fn guarded<T>(
        &mut self,
        act: impl FnOnce(&mut Self) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        if let Some(first) = &self.failed {
            return Err(JournalError::Failed(first.clone()));
        }
        act(self).inspect_err(|error| self.failed = Some(Box::new(error.clone())))
    }

    /// What makes the box superfluous is durable first, or a crash in between would leave neither.
    fn heal(&mut self) -> Result<(), JournalError> {
        if self.durability == Durability::Sync {
            self.settle()?;
        }
        self.superblock.amnesia = None;
        self.store_superblock()
    }

    fn promise(&mut self, view: View, high: Seq) -> Result<(), JournalError> {
        if self.superblock.promise(view, high) { self.store_superblock() } else { Ok(()) }
    }

    fn store_superblock(&mut self) -> Result<(), JournalError> {
        self.counters.superblocks += 1;
        Ok(self.superblock.store(&mut self.disk)?)
    }

    fn append(&mut self, group: &Group) -> Result<(), JournalError> {
        // What a certificate of this very group lets go must stay until that is laid: making room for an entry before
        // it would make the loss durable, and not the certificate.
        let reclaim = group.reclaim.unwrap_or_default();
        let early = mutant::is(Mutant::M36);
        self.rings.reclaim(if early { reclaim } else { reclaim.min(self.rings.certified()) });
        for entry in &group.entries {
            self.append_entry(entry)?;
        }
        self.rings.reclaim(reclaim);
        self.flush()?;
        if self.durability == Durability::Os {
            self.rings.synced();
            self.rings.sealed();
        }
        Ok(())
    }

    fn append_entry(&mut self, entry: &Entry) -> Result<(), JournalError> {
        let Some(kind) = payload::kind_of(&entry.record) else { return Ok(()) };
        let mut bytes = std::mem::take(&mut self.payload);
        bytes.clear();
        let unencodable = |error| JournalError::Unencodable { position: entry.position, error };
        payload::encode(&entry.record, entry.signed.as_deref(), &mut bytes).map_err(unencodable)?;
        let length = u32::try_from(bytes.len()).map_err(|_| unencodable(CodecError::TooLong(bytes.len())))?;
        let place = payload::place_of(&entry.record, bytes.len());
        let area = area_of(place);
        if !self.rings.has_room(area, bytes.len() as u64) {
            self.make_room(area, bytes.len() as u64)?;
        }
        let offset = self.offset_in(place);
        let fixed = Fixed {
            kind,
            place,
            signed: entry.signed.is_some(),
            length,
            position: entry.position,
            offset,
            payload_checksum: payload_checksum(self.superblock.journal_instance, offset, &bytes),
            inline: inline_of(&entry.record, place, &bytes),
            ..self.blank()
        };
        self.lay(&fixed, &bytes, payload::life_of(&entry.record))?;
        self.payload = bytes;
        Ok(())
    }

    /// Where the next payload of an area goes.
    fn offset_in(&self, place: Place) -> u64 {
        match place {
            Place::Inline => 0,
            Place::Side => self.rings.head().side,
            Place::Body => self.rings.head().body,
        }
    }

    /// What every record says, whatever it holds.
    fn blank(&self) -> Fixed {
        Fixed {
            previous: self.chain,
            kind: 0,
            place: Place::Inline,
            signed: false,
            length: 0,
            slot: self.rings.head().slot,
            position: Position(0),
            synced: self.synced_slot,
            first: self.rings.settled(),
            instance: self.superblock.journal_instance,
            offset: 0,
            payload_checksum: 0,
            inline: [0; INLINE],
        }
    }

    /// Puts a record at the rings' head, and its payload where the record says, unless `bytes` is empty.
    fn lay(&mut self, fixed: &Fixed, bytes: &[u8], life: Life) -> Result<(), JournalError> {
        let (area, length) = (area_of(fixed.place), u64::from(fixed.length));
        if !self.rings.fits(area, bytes.len() as u64) {
            return Err(self.rings.full(area));
        }
        let record = fixed.encode();
        self.chain = checksum_of(&record);
        self.records.push(self.shape.record_at(fixed.slot), &record);
        let runs = match fixed.place {
            Place::Inline => None,
            Place::Side => Some(&mut self.side),
            Place::Body => Some(&mut self.bodies),
        };
        if let Some(runs) = runs.filter(|_| !bytes.is_empty()) {
            let [first, second] = self.shape.runs(fixed.place, fixed.offset, bytes.len());
            runs.push(first.0, &bytes[..first.1]);
            if second.1 > 0 {
                runs.push(second.0, &bytes[first.1..]);
            }
        }
        self.rings.push(life, area, fixed.offset, length);
        self.counters.records += 1;
        Ok(())
    }

    /// Hands what was laid to the disk.
    fn flush(&mut self) -> Result<(), JournalError> {
        if self.records.is_empty() {
            return Ok(());
        }
        self.dirty = true;
        self.counters.bytes += self.bodies.write(&mut self.disk, 0)?;
        for shift in [0, self.shape.mirror()] {
            self.counters.bytes += self.side.write(&mut self.disk, shift)?;
            self.counters.bytes += self.records.write(&mut self.disk, shift)?;
        }
        for runs in [&mut self.records, &mut self.side, &mut self.bodies] {
            runs.clear();
        }
        Ok(())
    }

    /// Syncs what is dirty, then says so in a seal, which needs no sync of its own.
    fn settle(&mut self) -> Result<(), JournalError> {
        if self.dirty {
            self.sync_journal()?;
            self.synced_slot = self.rings.head().slot - 1;
            self.rings.synced();
            self.seal()?;
            self.dirty = false;
        }
        self.durable = self.written;
        Ok(())
    }

    fn sync_journal(&mut self) -> Result<(), JournalError> {
        self.counters.syncs += 1;
        Ok(self.disk.sync(FileName::Journal)?)
    }

    pub(super) fn seal(&mut self) -> Result<(), JournalError> {
        let instance = self.superblock.journal_instance;
        let seal = Seal { instance, synced: self.synced_slot, first: self.rings.settled() }.encode();
        let at = Shape::seal_at(self.seals);
        self.seals += 1;
        self.counters.bytes += 2 * seal.len() as u64;
        self.disk.write_at(FileName::Journal, at, &seal)?;
        Ok(self.disk.write_at(FileName::Journal, at + self.shape.mirror(), &seal)?)
    }
}

/// Which ring a payload stands in.
pub(super) fn area_of(place: Place) -> Area {
    match place {
        Place::Inline => Area::Records,
        Place::Side => Area::Certificates,
        Place::Body => Area::Bodies,
    }
}

fn inline_of(record: &Record, place: Place, bytes: &[u8]) -> [u8; INLINE] {
    let mut inline = [0; INLINE];
    match (place, record) {
        (Place::Inline, _) => inline[..bytes.len()].copy_from_slice(bytes),
        (Place::Body, Record::Body { seq, body }) => {
            return payload::name_body(*seq, Arc::as_ref(body).digest);
        }
        (Place::Body | Place::Side, _) => {}
    }
    inline
}
