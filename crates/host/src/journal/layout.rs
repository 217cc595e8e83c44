//! Where things stand in the journal's file, and how a record and a seal look there.

use quorate_protocol::committee::quorum;
use quorate_protocol::parameters::Parameters;
use quorate_protocol::types::{ClusterId, Digest, Position, ReplicaId};

use crate::superblock::Identity;

/// Bytes of a record.
pub(crate) const RECORD: usize = 256;
/// Bytes of a payload that fit into a record.
pub(crate) const INLINE: usize = RECORD - INLINE_AT;
const INLINE_AT: usize = 72;
/// Unit of the areas, so that none shares a page with another.
pub(crate) const BLOCK: u64 = 4096;
/// Blocks before the records: the header and two seals, which are written in turn.
const SEALS: u64 = 2;
const RECORDS_AT: u64 = (1 + SEALS) * BLOCK;
/// Version of records, seals and header that this program writes, and the only one it reads. With version 1 a batch had
/// another digest, so it would be taken for damage.
pub(crate) const VERSION: u16 = 2;
const MAGIC: &[u8; 8] = b"QUORATEJ";

/// How much a journal holds. Fixed when its file is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    records: u64,
    side_bytes: u64,
    body_bytes: u64,
}

impl Shape {
    /// What a replica of `replicas` needs, however many views it goes through.
    ///
    /// Needed at once are: at each slot of the window one vote and one prepared certificate; the bodies voted for,
    /// whose number and bytes the replica keeps below [`Parameters::bodies_max`] and [`Parameters::body_bytes_max`]
    /// by voting for no more of them; and one stable certificate, VIEW-CHANGE and NEW-VIEW. A ring takes a record
    /// while there is room behind it for moving all that is needed, so twice that, and twice the record, suffices;
    /// what is more makes moving rare.
    #[must_use]
    pub fn of(parameters: &Parameters, replicas: usize) -> Self {
        let needed = 2 * parameters.window + 3 + parameters.bodies_max();
        let certificate = 128 + 66 * quorum(replicas) as u64;
        let view_change = certificate.saturating_mul(parameters.window) + 4096;
        let new_view = view_change.saturating_mul(quorum(replicas) as u64 + 1);
        let certificates = certificate.saturating_mul(parameters.window + 1).saturating_add(view_change);
        Self::new(
            4 * needed,
            (3 * certificates).saturating_add(new_view.saturating_mul(4)),
            parameters.body_bytes_max(),
        )
    }

    /// At least so many records, and bytes of certificates and of bodies. Never so few bytes of bodies that the two
    /// copies of a record are less than 1 MiB apart.
    #[must_use]
    pub fn new(records: u64, side_bytes: u64, body_bytes: u64) -> Self {
        Self::exactly(records, side_bytes, body_bytes.max(1 << 20))
    }

    /// Without the least distance of copies; for tests that cut a file at every byte.
    pub(crate) fn exactly(records: u64, side_bytes: u64, body_bytes: u64) -> Self {
        let most = 1_u64 << 48;
        let whole = |bytes: u64| bytes.clamp(1, most).div_ceil(BLOCK) * BLOCK;
        Self {
            records: records.clamp(1, most / RECORD as u64).next_multiple_of(BLOCK / RECORD as u64),
            side_bytes: whole(side_bytes),
            body_bytes: whole(body_bytes),
        }
    }

    /// Records it holds.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Bytes of certificates, VIEW-CHANGEs and NEW-VIEWs it holds.
    #[must_use]
    pub fn side_bytes(&self) -> u64 {
        self.side_bytes
    }

    /// Bytes of bodies it holds.
    #[must_use]
    pub fn body_bytes(&self) -> u64 {
        self.body_bytes
    }

    /// Length of the file.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.mirror() + self.front()
    }

    /// Bytes of everything that is written twice.
    fn front(&self) -> u64 {
        self.bodies_at()
    }

    /// How far the second copy of something is behind the first.
    pub(crate) fn mirror(&self) -> u64 {
        self.bodies_at() + self.body_bytes
    }

    pub(crate) fn records_at(&self) -> u64 {
        RECORDS_AT
    }

    pub(crate) fn record_at(&self, slot: u64) -> u64 {
        RECORDS_AT + slot.saturating_sub(1) % self.records * RECORD as u64
    }

    /// Where the piece of `length` bytes stands whose offset in its area is `offset`, counted over all laps: one
    /// place, or two if it goes on at the area's beginning.
    pub(crate) fn runs(&self, place: Place, offset: u64, length: usize) -> [(u64, usize); 2] {
        let (area, size) = match place {
            Place::Body => (self.bodies_at(), self.body_bytes),
            Place::Side | Place::Inline => (self.side_area(), self.side_bytes),
        };
        let start = offset % size;
        let first = usize::try_from(size - start).unwrap_or(usize::MAX).min(length);
        [(area + start, first), (area, length - first)]
    }

    pub(crate) fn side_area(&self) -> u64 {
        RECORDS_AT + self.records * RECORD as u64
    }

    pub(crate) fn bodies_at(&self) -> u64 {
        self.side_area() + self.side_bytes
    }

    pub(crate) fn seal_at(count: u64) -> u64 {
        BLOCK + count % SEALS * BLOCK
    }

    pub(crate) fn seals() -> impl Iterator<Item = u64> {
        (0..SEALS).map(Self::seal_at)
    }
}

/// First block of the file, both copies: whose journal it is and how it is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) cluster: ClusterId,
    pub(crate) replica: ReplicaId,
    pub(crate) instance: u64,
    pub(crate) shape: Shape,
}

/// What a block of bytes turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parsed<T> {
    Valid(T),
    /// Sound, and of another version.
    Foreign(u16),
    Invalid,
}

impl Header {
    pub(crate) fn new(identity: &Identity, instance: u64, shape: Shape) -> Self {
        Self { cluster: identity.cluster, replica: identity.replica, instance, shape }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut block = vec![0; BLOCK as usize];
        block[4..12].copy_from_slice(MAGIC);
        block[12..14].copy_from_slice(&VERSION.to_le_bytes());
        block[14..16].copy_from_slice(&self.replica.0.to_le_bytes());
        block[16..48].copy_from_slice(&self.cluster.0.0);
        put(&mut block, 48, self.instance);
        put(&mut block, 56, self.shape.records);
        put(&mut block, 64, self.shape.side_bytes);
        put(&mut block, 72, self.shape.body_bytes);
        finish(&mut block);
        block
    }

    pub(crate) fn parse(block: &[u8]) -> Parsed<Self> {
        if !is_finished(block) || block.len() < 80 || block[4..12] != MAGIC[..] {
            return Parsed::Invalid;
        }
        let version = short(block, 12);
        if version != VERSION {
            return Parsed::Foreign(version);
        }
        let (records, side_bytes, body_bytes) = (long(block, 56), long(block, 64), long(block, 72));
        let shape = Shape::exactly(records, side_bytes, body_bytes);
        if (shape.records, shape.side_bytes, shape.body_bytes) != (records, side_bytes, body_bytes) {
            return Parsed::Invalid;
        }
        let mut cluster = [0; 32];
        cluster.copy_from_slice(&block[16..48]);
        let replica = ReplicaId(short(block, 14));
        Parsed::Valid(Self { cluster: ClusterId(Digest(cluster)), replica, instance: long(block, 48), shape })
    }
}

/// Where a record's payload stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Inline = 0,
    Side = 1,
    Body = 2,
}

/// A record as it stands in the file, both copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fixed {
    /// Checksum of the record before it.
    pub(crate) previous: u32,
    pub(crate) kind: u8,
    pub(crate) place: Place,
    /// Whether the payload ends in bytes that the host signed.
    pub(crate) signed: bool,
    pub(crate) length: u32,
    /// Counts the records of this journal, from 1; where it stands follows from it.
    pub(crate) slot: u64,
    pub(crate) position: Position,
    /// Highest slot known durable when this was written.
    pub(crate) synced: u64,
    /// Lowest slot that was still needed, by what was durable.
    pub(crate) first: u64,
    pub(crate) instance: u64,
    /// Where the payload stands in its area, counted over all laps.
    pub(crate) offset: u64,
    pub(crate) payload_checksum: u32,
    /// The payload, or what names a body that may be lost.
    pub(crate) inline: [u8; INLINE],
}

impl Fixed {
    /// The record's bytes; the first four are its checksum.
    pub(crate) fn encode(&self) -> [u8; RECORD] {
        let mut bytes = [0; RECORD];
        bytes[4..8].copy_from_slice(&self.previous.to_le_bytes());
        bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
        bytes[10] = self.kind;
        bytes[11] = self.place as u8 | u8::from(self.signed) << 7;
        bytes[12..16].copy_from_slice(&self.length.to_le_bytes());
        put(&mut bytes, 16, self.slot);
        put(&mut bytes, 24, self.position.0);
        put(&mut bytes, 32, self.synced);
        put(&mut bytes, 40, self.first);
        put(&mut bytes, 48, self.instance);
        put(&mut bytes, 56, self.offset);
        bytes[64..68].copy_from_slice(&self.payload_checksum.to_le_bytes());
        bytes[INLINE_AT..].copy_from_slice(&self.inline);
        finish(&mut bytes);
        bytes
    }

    pub(crate) fn parse(bytes: &[u8]) -> Parsed<Self> {
        if bytes.len() != RECORD || !is_finished(bytes) {
            return Parsed::Invalid;
        }
        // A record of zeros has the checksum of zeros, which is not zero; so an empty place is invalid.
        let version = short(bytes, 8);
        if version != VERSION {
            return Parsed::Foreign(version);
        }
        let place = match bytes[11] & 0x7f {
            0 => Place::Inline,
            1 => Place::Side,
            2 => Place::Body,
            _ => return Parsed::Invalid,
        };
        let mut inline = [0; INLINE];
        inline.copy_from_slice(&bytes[INLINE_AT..]);
        Parsed::Valid(Self {
            previous: word(bytes, 4),
            kind: bytes[10],
            place,
            signed: bytes[11] & 0x80 != 0,
            length: word(bytes, 12),
            slot: long(bytes, 16),
            position: Position(long(bytes, 24)),
            synced: long(bytes, 32),
            first: long(bytes, 40),
            instance: long(bytes, 48),
            offset: long(bytes, 56),
            payload_checksum: word(bytes, 64),
            inline,
        })
    }
}

/// Written after each sync, itself unsynced: says that everything up to a slot is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seal {
    pub(crate) instance: u64,
    pub(crate) synced: u64,
    pub(crate) first: u64,
}

/// Bytes of a seal.
pub(crate) const SEAL: usize = 64;

impl Seal {
    pub(crate) fn encode(&self) -> [u8; SEAL] {
        let mut bytes = [0; SEAL];
        bytes[4..12].copy_from_slice(b"QUORSEAL");
        put(&mut bytes, 16, self.instance);
        put(&mut bytes, 24, self.synced);
        put(&mut bytes, 32, self.first);
        finish(&mut bytes);
        bytes
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != SEAL || !is_finished(bytes) || bytes[4..12] != b"QUORSEAL"[..] {
            return None;
        }
        Some(Self { instance: long(bytes, 16), synced: long(bytes, 24), first: long(bytes, 32) })
    }
}

/// Checksum of a payload; covers where it stands, counted over all laps, so that what stood there before is not it.
pub(crate) fn payload_checksum(instance: u64, offset: u64, payload: &[u8]) -> u32 {
    let seed = crc32c::crc32c_append(crc32c::crc32c(&instance.to_le_bytes()), &offset.to_le_bytes());
    crc32c::crc32c_append(seed, payload)
}

/// A record's own checksum, from its bytes.
pub(crate) fn checksum_of(record: &[u8]) -> u32 {
    word(record, 0)
}

pub(crate) fn finish(bytes: &mut [u8]) {
    let checksum = crc32c::crc32c(&bytes[4..]);
    bytes[..4].copy_from_slice(&checksum.to_le_bytes());
}

fn is_finished(bytes: &[u8]) -> bool {
    bytes.len() > 4 && word(bytes, 0) == crc32c::crc32c(&bytes[4..])
}

fn put(bytes: &mut [u8], at: usize, value: u64) {
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes were cut out"))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes were cut out"))
}

fn short(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}
