//! What a journal's file says, piece by piece: its header, its seals, and both copies of its records.

use quorate_protocol::types::{ClusterId, ReplicaId};

use super::JournalError;
use super::layout::{BLOCK, Fixed, Header, Parsed, RECORD, SEAL, Seal, Shape, VERSION};
use crate::disk::{Disk, FileName, read_padded};
use crate::superblock::Superblock;

/// Bytes that are to stand somewhere in the file.
pub(super) struct Repair {
    pub(super) at: u64,
    pub(super) bytes: Vec<u8>,
}

/// The second copy is found where the first says, or where `shape` says if the first is damaged.
pub(super) fn read_header(
    disk: &mut impl Disk,
    superblock: &Superblock,
    shape: Shape,
) -> Result<Option<(Header, Vec<Repair>)>, JournalError> {
    // A header that lays out more than the file has, and more than is asked for, would be read for ever.
    let most = disk.len(FileName::Journal)?.unwrap_or(0).max(shape.file_bytes());
    let mut read = |at: u64| match Header::parse(&read_padded(disk, FileName::Journal, at, BLOCK as usize)?) {
        Parsed::Valid(header) => Ok(Some(header).filter(|header| header.shape.file_bytes() <= most)),
        Parsed::Foreign(found) => Err(JournalError::of_version(found)),
        Parsed::Invalid => Ok(None),
    };
    let first = read(0)?;
    let second = read(first.map_or(shape, |header| header.shape).mirror())?;
    let Some(header) = first.or(second) else { return Ok(None) };
    let identity = &superblock.identity;
    if (header.cluster, header.replica) != (identity.cluster, identity.replica) {
        let (cluster, replica): (ClusterId, ReplicaId) = (header.cluster, header.replica);
        return Err(JournalError::OtherOwner { cluster, replica });
    }
    if header.instance != superblock.journal_instance {
        return Ok(None);
    }
    let copies = [(0, first), (header.shape.mirror(), second)];
    let bad = copies.into_iter().filter(|(_, copy)| *copy != Some(header));
    Ok(Some((header, bad.map(|(at, _)| Repair { at, bytes: header.encode() }).collect())))
}

/// Records that are read at once.
const RUN: usize = 64 * 1024 / RECORD;

/// What places hold that were never written.
static BLANK: [u8; RUN * RECORD] = [0; RUN * RECORD];

/// One copy of all records. Most of a young journal was never written: such runs are neither kept nor parsed.
struct Records {
    runs: Vec<Option<Vec<u8>>>,
}

impl Records {
    fn read(disk: &mut impl Disk, at: u64, records: u64) -> Result<Self, JournalError> {
        let (mut runs, mut index) = (Vec::new(), 0);
        while index < records {
            let length = RUN.min((records - index) as usize) * RECORD;
            let run = read_padded(disk, FileName::Journal, at + index * RECORD as u64, length)?;
            runs.push((run[..] != BLANK[..length]).then_some(run));
            index += RUN as u64;
        }
        Ok(Self { runs })
    }

    /// All that may have been written.
    fn written(&self) -> impl Iterator<Item = &[u8]> {
        self.runs.iter().flatten().flat_map(|run| run.chunks_exact(RECORD))
    }

    /// The bytes at a place, counted from 0; none where nothing was ever written.
    fn at(&self, index: usize) -> Option<&[u8]> {
        let run = self.runs[index / RUN].as_ref()?;
        Some(&run[index % RUN * RECORD..(index % RUN + 1) * RECORD])
    }
}

/// Everything in the file that is small: both copies of all records, and what records and seals say together.
pub(super) struct Scan {
    pub(super) header: Header,
    copies: [Records; 2],
    /// Highest slot known to have been durable.
    pub(super) acknowledged: u64,
    /// Lowest slot still needed.
    pub(super) first: u64,
    /// Highest slot of which a copy is valid.
    pub(super) top: u64,
    /// Whether any seal is valid.
    pub(super) sealed: bool,
}

impl Scan {
    pub(super) fn read(disk: &mut impl Disk, header: Header) -> Result<Self, JournalError> {
        let shape = header.shape;
        let mut copy = |at| Records::read(disk, at, shape.records());
        let copies = [copy(shape.records_at())?, copy(shape.records_at() + shape.mirror())?];
        let mut scan = Self { header, copies, acknowledged: 0, first: 1, top: 0, sealed: false };
        scan.read_records()?;
        for at in Shape::seals().flat_map(|at| [at, at + shape.mirror()]) {
            let seal = Seal::parse(&read_padded(disk, FileName::Journal, at, SEAL)?);
            if let Some(seal) = seal.filter(|seal| seal.instance == header.instance) {
                scan.acknowledged = scan.acknowledged.max(seal.synced);
                scan.first = scan.first.max(seal.first);
                scan.sealed = true;
            }
        }
        Ok(scan)
    }

    /// A record at another's place still tells the truth about what had been durable.
    fn read_records(&mut self) -> Result<(), JournalError> {
        for bytes in self.copies.iter().flat_map(Records::written) {
            match Fixed::parse(bytes) {
                Parsed::Valid(fixed) if fixed.instance == self.header.instance => {
                    self.acknowledged = self.acknowledged.max(fixed.synced);
                    self.first = self.first.max(fixed.first);
                }
                // The header tells what the file is; an older record was there before it.
                Parsed::Foreign(found) if found > VERSION => return Err(JournalError::of_version(found)),
                Parsed::Valid(_) | Parsed::Invalid | Parsed::Foreign(_) => {}
            }
        }
        for place in 1..=self.header.shape.records() {
            let slots = (0..2).filter_map(|copy| self.at(copy, place)).map(|(fixed, _)| fixed.slot);
            self.top = slots.fold(self.top, u64::max);
        }
        Ok(())
    }

    pub(super) fn bytes(&self, copy: usize, slot: u64) -> &[u8] {
        self.copies[copy].at(self.index(slot)).unwrap_or(&BLANK[..RECORD])
    }

    fn index(&self, slot: u64) -> usize {
        (slot.saturating_sub(1) % self.header.shape.records()) as usize
    }

    /// The valid record at the place of `slot`, of whichever lap.
    pub(super) fn at(&self, copy: usize, slot: u64) -> Option<(Fixed, &[u8])> {
        let bytes = self.copies[copy].at(self.index(slot))?;
        let Parsed::Valid(fixed) = Fixed::parse(bytes) else { return None };
        let shape = self.header.shape;
        let belongs = fixed.slot > 0
            && fixed.instance == self.header.instance
            && shape.record_at(fixed.slot) == shape.record_at(slot);
        belongs.then_some((fixed, bytes))
    }

    pub(super) fn offset(&self, copy: usize, slot: u64) -> u64 {
        self.header.shape.record_at(slot) + if copy == 0 { 0 } else { self.header.shape.mirror() }
    }
}
