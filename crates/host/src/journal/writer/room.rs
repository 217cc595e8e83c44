//! Making room in the rings: what is needed still and stands in the way is written again at their heads.

use super::{Writer, area_of};
use crate::disk::{Disk, FileName, read_padded};
use crate::journal::layout::{Fixed, Parsed, Place, RECORD, payload_checksum};
use crate::journal::payload::Life;
use crate::journal::{Area, Durability, JournalError};

impl<D: Disk> Writer<D> {
    /// Frees what is not needed any more; moves what stands in the way of more. Five syncs at most, and rare: while
    /// views do not change, once per lap of a ring.
    pub(super) fn make_room(&mut self, area: Area, length: u64) -> Result<(), JournalError> {
        self.flush()?;
        self.rings.reclaim_certified();
        self.free()?;
        if self.rings.has_room(area, length) && self.rings.is_relaxed() {
            return Ok(());
        }
        // First only what makes the rings relaxed; if that is not enough for a large payload, everything.
        for everything in [false, true] {
            let end = self.rings.head().slot;
            while let Some((slot, life)) = self.rings.first(end) {
                if (!everything && self.rings.is_relaxed()) || !self.carry(slot, life)? {
                    break;
                }
            }
            self.flush()?;
            self.free()?;
            if self.rings.has_room(area, length) {
                break;
            }
        }
        if self.rings.has_room(area, length) { Ok(()) } else { Err(self.rings.full(area)) }
    }

    /// Lets everything that is not needed be overwritten: durably says so, whatever that costs.
    fn free(&mut self) -> Result<(), JournalError> {
        if self.durability == Durability::Sync {
            if self.dirty {
                self.sync_journal()?;
                self.synced_slot = self.rings.head().slot - 1;
                self.dirty = false;
            }
            self.rings.synced();
            self.seal()?;
            self.sync_journal()?;
        } else {
            self.rings.synced();
        }
        self.rings.sealed();
        Ok(())
    }

    /// Lays a record again at the head. A body stays where it is; what else the record names moves along. False if
    /// there is no room to.
    fn carry(&mut self, slot: u64, life: Life) -> Result<bool, JournalError> {
        let (old, bytes) = self.read_back(slot)?;
        if !self.rings.fits(area_of(old.place), bytes.len() as u64) {
            return Ok(false);
        }
        let mut moved = Fixed {
            kind: old.kind,
            place: old.place,
            signed: old.signed,
            length: old.length,
            position: old.position,
            offset: old.offset,
            payload_checksum: old.payload_checksum,
            inline: old.inline,
            ..self.blank()
        };
        if old.place == Place::Side {
            moved.offset = self.offset_in(Place::Side);
            moved.payload_checksum = payload_checksum(moved.instance, moved.offset, &bytes);
        }
        self.lay(&moved, &bytes, life)?;
        self.counters.carried += 1;
        Ok(true)
    }

    /// A record that was written before, and its payload if that has to move.
    fn read_back(&mut self, slot: u64) -> Result<(Fixed, Vec<u8>), JournalError> {
        let instance = self.superblock.journal_instance;
        for shift in [0, self.shape.mirror()] {
            let at = self.shape.record_at(slot) + shift;
            let record = read_padded(&mut self.disk, FileName::Journal, at, RECORD)?;
            let Parsed::Valid(fixed) = Fixed::parse(&record) else { continue };
            if fixed.slot != slot || fixed.instance != instance {
                continue;
            }
            if fixed.place != Place::Side {
                return Ok((fixed, Vec::new()));
            }
            for shift in [0, self.shape.mirror()] {
                let mut bytes = Vec::with_capacity(fixed.length as usize);
                for (at, length) in self.shape.runs(Place::Side, fixed.offset, fixed.length as usize) {
                    bytes.extend(read_padded(&mut self.disk, FileName::Journal, at + shift, length)?);
                }
                if payload_checksum(instance, fixed.offset, &bytes) == fixed.payload_checksum {
                    return Ok((fixed, bytes));
                }
            }
        }
        Err(JournalError::Rotten { slot })
    }
}
