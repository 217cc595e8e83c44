//! The side of the journal that knows the disk: lays groups out, writes them, syncs.

use std::sync::Arc;

use quorate_protocol::process::Record;
use quorate_protocol::types::{Position, Seq, View};

use super::layout::{Fixed, INLINE, Place, Seal, Shape, checksum_of, payload_checksum};
use super::rings::Rings;
use super::{Area, Durability, Entry, Group, JournalError, payload};
use crate::disk::{Disk, DiskError, FileName};
use crate::snapshots;
use crate::superblock::{SnapshotPointer, Superblock};

/// What a writer did so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Groups written.
    pub groups: u64,
    /// Records written, those carried forward included.
    pub records: u64,
    /// Syncs of the journal.
    pub syncs: u64,
    /// Stores of the superblock, two syncs each.
    pub superblocks: u64,
    /// Bytes handed to the disk, second copies included.
    pub bytes: u64,
}

/// How full the journal's areas are, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// Writes groups, the superblock and snapshots. Runs where the disk is: a thread of its own, or inline.
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
    /// has a horizon, one more while the journal is more than half full. Returns the position up to which everything
    /// is as durable as the mode promises; groups written without a sync become durable with the next one.
    ///
    /// # Errors
    /// [`JournalError`]; every later call fails too.
    pub fn write(&mut self, group: &Group, sync: bool) -> Result<Position, JournalError> {
        self.guarded(|writer| {
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

    /// Stores a snapshot, makes the superblock point to it, and deletes all but the last two.
    ///
    /// Unless the mode is [`Durability::Sync`] nothing is synced, and the superblock follows with its next store.
    ///
    /// # Errors
    /// [`JournalError`]; every later call fails too.
    pub fn store_snapshot(&mut self, pointer: SnapshotPointer, bytes: &[u8]) -> Result<(), JournalError> {
        self.guarded(|writer| {
            let sync = writer.durability == Durability::Sync;
            snapshots::store(&mut writer.disk, &pointer, bytes, sync)?;
            writer.counters.bytes += bytes.len() as u64;
            writer.superblock.snapshot = Some(pointer);
            if sync {
                writer.store_superblock()?;
            }
            Ok(snapshots::prune(&mut writer.disk, pointer.seq)?)
        })
    }

    /// Stops cleanly: what was written is durable, and in mode [`Durability::Os`] counts on the next start.
    /// Gives the disk back.
    ///
    /// # Errors
    /// [`JournalError`] if the disk fails or had failed.
    pub fn close(mut self) -> Result<D, JournalError> {
        self.guarded(|writer| {
            writer.settle()?;
            if writer.durability == Durability::Os {
                if let Some(pointer) = writer.superblock.snapshot {
                    writer.disk.sync(FileName::Snapshot(pointer.seq))?;
                    writer.disk.sync_folder()?;
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
        self.counters
    }

    /// How full the journal is; a replica had better stop voting before any reaches 100.
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

    fn promise(&mut self, view: View, high: Seq) -> Result<(), JournalError> {
        if self.superblock.promise(view, high) { self.store_superblock() } else { Ok(()) }
    }

    fn store_superblock(&mut self) -> Result<(), JournalError> {
        self.counters.superblocks += 1;
        Ok(self.superblock.store(&mut self.disk)?)
    }

    fn append(&mut self, group: &Group) -> Result<(), JournalError> {
        self.records.clear();
        self.side.clear();
        self.bodies.clear();
        let carried = match group.reclaim {
            Some(stable) => self.rings.release(stable),
            None => self.rings.release(Seq(0)),
        };
        for entry in carried.iter().chain(&group.entries) {
            self.lay(entry)?;
        }
        if carried.is_empty() && group.entries.is_empty() {
            return Ok(());
        }
        self.dirty = true;
        let mirror = self.shape.mirror();
        self.counters.bytes += self.bodies.write(&mut self.disk, 0)?;
        for shift in [0, mirror] {
            self.counters.bytes += self.side.write(&mut self.disk, shift)?;
            self.counters.bytes += self.records.write(&mut self.disk, shift)?;
        }
        if self.durability == Durability::Os {
            self.rings.synced();
            self.rings.sealed();
        }
        Ok(())
    }

    fn lay(&mut self, entry: &Entry) -> Result<(), JournalError> {
        let Some(kind) = payload::kind_of(&entry.record) else { return Ok(()) };
        let mut bytes = std::mem::take(&mut self.payload);
        bytes.clear();
        payload::encode(&entry.record, entry.signed.as_deref(), &mut bytes)
            .map_err(|error| JournalError::Unencodable { position: entry.position, error })?;
        let place = payload::place_of(&entry.record, bytes.len());
        let area = match place {
            Place::Inline => Area::Records,
            Place::Side => Area::Certificates,
            Place::Body => Area::Bodies,
        };
        let offset = self.rings.place(area, bytes.len() as u64)?;
        let slot = self.rings.head().slot;
        let instance = self.superblock.journal_instance;
        let fixed = Fixed {
            previous: self.chain,
            kind,
            place,
            signed: entry.signed.is_some(),
            length: u32::try_from(bytes.len()).map_err(|_| self.too_large(entry, bytes.len()))?,
            slot,
            position: entry.position,
            synced: self.synced_slot,
            first: self.rings.settled(),
            instance,
            offset,
            payload_checksum: payload_checksum(instance, slot, &bytes),
            inline: inline_of(&entry.record, place, &bytes),
        };
        let record = fixed.encode();
        self.chain = checksum_of(&record);
        self.records.push(self.shape.record_at(slot), &record);
        match place {
            Place::Inline => {}
            Place::Side => self.side.push(self.shape.side_at(offset), &bytes),
            Place::Body => self.bodies.push(self.shape.body_at(offset), &bytes),
        }
        self.rings.push(Some(entry), payload::life_of(&entry.record), area, offset + bytes.len() as u64);
        self.payload = bytes;
        self.counters.records += 1;
        Ok(())
    }

    fn too_large(&self, entry: &Entry, bytes: usize) -> JournalError {
        let error = quorate_protocol::codec::CodecError::TooLong(bytes);
        JournalError::Unencodable { position: entry.position, error }
    }

    /// Syncs what is dirty, then says so in a seal, which needs no sync of its own unless space is short.
    fn settle(&mut self) -> Result<(), JournalError> {
        if self.dirty {
            self.sync_journal()?;
            self.synced_slot = self.rings.head().slot - 1;
            self.rings.synced();
            self.seal()?;
            if self.rings.wants_seal() {
                self.sync_journal()?;
                self.rings.sealed();
            }
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
