//! Why a replica's state was wrong: what is kept when that is found, and what can be learnt from it later.
//!
//! The file `divergence` holds the proof, the batches since the last state that was right, and what the wrong state has
//! otherwise than that one, which stays in the folder as a snapshot. So the replica fetches a certified state and goes
//! on, and whoever wants to know [replays](report) the batches offline.

mod report;

use std::collections::BTreeSet;
use std::sync::Arc;

use quorate_protocol::certificate::Certificate;
use quorate_protocol::codec::{self, Blob, CodecError};
use quorate_protocol::map::{ENTRY_BYTES_MAX, KEY_BYTES_MAX};
use quorate_protocol::message::Checkpoint;
use quorate_protocol::request::Body;
use quorate_protocol::signed::Signed;
use quorate_protocol::standing::{Batches, Divergence, Evidence, Proof};
use quorate_protocol::types::Seq;

use crate::disk::{Disk, DiskError, FileName, publish, read_padded};

pub use report::{Culprit, KEYS_MAX, Key, Report, ReportError, Verdict, report};

/// Bytes of batches and changes in one file at most; what does not fit is left out, and the file says so.
pub const BYTES_MAX: u64 = 64 << 20;

const MAGIC: &[u8; 8] = b"QUORDIVG";
const VERSION: u16 = 1;
/// Magic, version, zeros.
const HEADER: usize = 16;
/// Length and checksum of an entry.
const PREFIX: usize = 8;
/// Bytes of one write, about.
const PIECE: usize = 1 << 20;

/// One of the two maps that a state consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Which {
    /// The application's.
    Application,
    /// The sessions'.
    Sessions,
}

/// A key whose value in the wrong state is another than in the last right one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// In which map.
    pub which: Which,
    /// The key.
    pub key: Vec<u8>,
    /// Its value in the wrong state; none if it is not there.
    pub value: Option<Vec<u8>>,
}

/// Everything that is kept about one wrong state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Where it was found.
    pub divergence: Divergence,
    /// Whether it is this replica that was proven wrong.
    pub proven: bool,
    /// The state that it can be replayed from; 0 for the beginning.
    pub agreed: Seq,
    /// CHECKPOINTs of f + 1 replicas, if these are the proof.
    pub votes: Vec<Signed<Checkpoint>>,
    /// The certificate, if that is the proof.
    pub certificate: Option<Certificate<Checkpoint>>,
    /// The batches in between, as far as they were still there.
    pub batches: Batches,
    /// What the wrong state has otherwise than the one after `agreed`.
    pub changes: Vec<Change>,
    /// Certificates that exclude each other, if that was found, and no wrong state: `divergence` has what they name.
    pub conflict: Vec<Proof>,
    /// Something did not fit, or was not there any more.
    pub cut: bool,
}

/// Why a file is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CaseError {
    /// It does not begin like one.
    #[error("the file `divergence` is damaged: it does not say what was found")]
    Damaged,
    /// A later program wrote it.
    #[error(
        "the file `divergence` has format {found}, this program knows {VERSION}; use the program that wrote it"
    )]
    FutureVersion {
        /// The format found.
        found: u16,
    },
    /// The disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

/// What stands in the file, one behind the other, each behind its length and its checksum.
#[derive(Debug)]
enum Entry {
    /// Comes first.
    Found {
        divergence: Divergence,
        proven: bool,
        agreed: Seq,
    },
    Vote(Signed<Checkpoint>),
    Certificate(Certificate<Checkpoint>),
    Batch {
        seq: Seq,
        body: Option<Arc<Body>>,
    },
    Change(Change),
    Conflict(Proof),
    /// Comes last.
    End {
        cut: bool,
    },
}

impl Entry {
    fn encode(&self) -> Result<Vec<u8>, CodecError> {
        let mut bytes = vec![self.kind()];
        match self {
            Self::Found { divergence, proven, agreed } => {
                codec::append(&(*divergence, *proven, *agreed), &mut bytes)
            }
            Self::Vote(vote) => codec::append(vote, &mut bytes),
            Self::Certificate(certificate) => codec::append(certificate, &mut bytes),
            Self::Batch { seq, body } => codec::append(&(*seq, body.clone()), &mut bytes),
            Self::Change(Change { which, key, value }) => {
                let key: Blob<KEY_BYTES_MAX> = Blob(key.clone().into());
                let value: Option<Blob<ENTRY_BYTES_MAX>> = value.clone().map(|value| Blob(value.into()));
                codec::append(&(*which == Which::Sessions, key, value), &mut bytes)
            }
            Self::Conflict(Proof::Committed(certificate)) => codec::append(certificate, &mut bytes),
            Self::Conflict(Proof::Prepared(certificate)) => codec::append(certificate, &mut bytes),
            Self::Conflict(Proof::Stable(certificate)) => codec::append(certificate, &mut bytes),
            Self::End { cut } => codec::append(cut, &mut bytes),
        }?;
        Ok(bytes)
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Found { .. } => 1,
            Self::Vote(_) => 2,
            Self::Certificate(_) => 3,
            Self::Batch { .. } => 4,
            Self::Change(_) => 5,
            Self::End { .. } => 6,
            Self::Conflict(Proof::Committed(_)) => 7,
            Self::Conflict(Proof::Prepared(_)) => 8,
            Self::Conflict(Proof::Stable(_)) => 9,
        }
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, bytes) = bytes.split_first()?;
        Some(match kind {
            1 => {
                let (divergence, proven, agreed) = codec::decode(bytes).ok()?;
                Self::Found { divergence, proven, agreed }
            }
            2 => Self::Vote(codec::decode(bytes).ok()?),
            3 => Self::Certificate(codec::decode(bytes).ok()?),
            4 => {
                let (seq, body) = codec::decode(bytes).ok()?;
                Self::Batch { seq, body }
            }
            5 => {
                let (of_sessions, key, value): (bool, Blob<KEY_BYTES_MAX>, Option<Blob<ENTRY_BYTES_MAX>>) =
                    codec::decode(bytes).ok()?;
                let which = if of_sessions { Which::Sessions } else { Which::Application };
                Self::Change(Change { which, key: key.to_vec(), value: value.map(|value| value.to_vec()) })
            }
            6 => Self::End { cut: codec::decode(bytes).ok()? },
            7 => Self::Conflict(Proof::Committed(codec::decode(bytes).ok()?)),
            8 => Self::Conflict(Proof::Prepared(codec::decode(bytes).ok()?)),
            9 => Self::Conflict(Proof::Stable(codec::decode(bytes).ok()?)),
            _ => return None,
        })
    }
}

/// Makes the checksums of the entries in a whole file right.
pub(crate) fn mend(bytes: &mut [u8]) {
    let mut rest = bytes.get_mut(HEADER..).unwrap_or_default();
    while let Some((prefix, behind)) = rest.split_at_mut_checked(PREFIX) {
        let length = u32::from_le_bytes([prefix[0], prefix[1], prefix[2], prefix[3]]) as usize;
        let Some((entry, behind)) = behind.split_at_mut_checked(length) else { return };
        prefix[4..8].copy_from_slice(&crc32c::crc32c(entry).to_le_bytes());
        rest = behind;
    }
}

/// The bytes of the entry that these are, if they are one.
pub(crate) fn again(bytes: &[u8]) -> Option<Vec<u8>> {
    Entry::decode(bytes)?.encode().ok()
}

impl Case {
    /// What `evidence` and the changes, if they are known, tell; no more of it than a file may hold.
    pub(crate) fn new(evidence: &Evidence, agreed: Seq, changes: Option<Vec<Change>>) -> Self {
        Self::within(BYTES_MAX, evidence, agreed, changes)
    }

    fn within(bytes_max: u64, evidence: &Evidence, agreed: Seq, changes: Option<Vec<Change>>) -> Self {
        let Evidence { divergence, proven, votes, certificate, batches, conflict, .. } = evidence.clone();
        let mut left = bytes_max;
        let mut fits = |bytes: usize| {
            let fits = bytes as u64 + 128 <= left;
            left = if fits { left - bytes as u64 - 128 } else { 0 };
            fits
        };
        let (slots, known) = (batches.0.len(), changes.is_some());
        let batches: Vec<_> =
            batches.0.into_iter().take_while(|(_, body)| fits(body.as_ref().map_or(0, body_bytes))).collect();
        let mut changes = changes.unwrap_or_default();
        let count = changes.len();
        let length = |change: &Change| change.key.len() + change.value.as_ref().map_or(0, Vec::len);
        changes.truncate(changes.iter().take_while(|change| fits(length(change))).count());
        let cut = !known || batches.len() < slots || changes.len() < count;
        let batches = Batches(batches);
        Self { divergence, proven, agreed, votes, certificate, batches, changes, conflict, cut }
    }

    /// Slots whose snapshots it needs: the state that it is replayed from, and the right one in the place of the wrong.
    #[must_use]
    pub fn needs(&self) -> [Seq; 2] {
        [self.agreed, self.divergence.seq]
    }

    /// The first and the last slot between the last right state and the wrong one whose batch is not here.
    #[must_use]
    pub fn missing(&self) -> Option<(Seq, Seq)> {
        let here: BTreeSet<Seq> = self.batches.0.iter().map(|(seq, _)| *seq).collect();
        let between = || (self.agreed.0 + 1..=self.divergence.seq.0).map(Seq);
        let first = between().find(|seq| !here.contains(seq))?;
        Some((first, between().rev().find(|seq| !here.contains(seq))?))
    }

    fn entries(&self) -> impl Iterator<Item = Entry> + '_ {
        let (divergence, proven, agreed) = (self.divergence, self.proven, self.agreed);
        let found = Entry::Found { divergence, proven, agreed };
        let batches = self.batches.0.iter();
        std::iter::once(found)
            .chain(self.votes.iter().cloned().map(Entry::Vote))
            .chain(self.certificate.iter().cloned().map(Entry::Certificate))
            .chain(self.conflict.iter().cloned().map(Entry::Conflict))
            .chain(batches.map(|(seq, body)| Entry::Batch { seq: *seq, body: body.clone() }))
            .chain(self.changes.iter().cloned().map(Entry::Change))
            .chain(std::iter::once(Entry::End { cut: self.cut }))
    }

    /// Writes it in the place of an earlier one; durable when this returns.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn write(&self, disk: &mut impl Disk) -> Result<(), DiskError> {
        let draft = FileName::EvidenceDraft;
        disk.remove(draft)?;
        let mut bytes = Vec::with_capacity(2 * PIECE);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.resize(HEADER, 0);
        let mut at = 0;
        for entry in self.entries() {
            // A batch is bounded far below a frame, and a value by what a page may hold.
            let entry = entry.encode().expect("whatever is kept came in a frame or in a page");
            bytes.extend_from_slice(&(entry.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&crc32c::crc32c(&entry).to_le_bytes());
            bytes.extend_from_slice(&entry);
            if bytes.len() >= PIECE {
                disk.write_at(draft, at, &bytes)?;
                at += bytes.len() as u64;
                bytes.clear();
            }
        }
        disk.write_at(draft, at, &bytes)?;
        publish(disk, draft, FileName::Divergence, true)
    }

    /// Reads what is there, if anything is. What rot left out counts as cut.
    ///
    /// # Errors
    /// [`CaseError`] if not even what was found can be read.
    pub fn read(disk: &mut impl Disk) -> Result<Option<Self>, CaseError> {
        let file = FileName::Divergence;
        let Some(length) = disk.len(file)? else { return Ok(None) };
        let header = read_padded(disk, file, 0, HEADER)?;
        if header[..8] != MAGIC[..] {
            return Err(CaseError::Damaged);
        }
        let found = u16::from_le_bytes([header[8], header[9]]);
        if found > VERSION {
            return Err(CaseError::FutureVersion { found });
        }
        let mut at = HEADER as u64;
        let Some(Entry::Found { divergence, proven, agreed }) = next(disk, &mut at, length)? else {
            return Err(CaseError::Damaged);
        };
        let (votes, batches, changes) = (Vec::new(), Batches::default(), Vec::new());
        let (certificate, conflict, cut) = (None, Vec::new(), true);
        let mut case =
            Self { divergence, proven, agreed, votes, certificate, batches, changes, conflict, cut };
        while let Some(entry) = next(disk, &mut at, length)? {
            match entry {
                Entry::Found { .. } => break,
                Entry::Vote(vote) => case.votes.push(vote),
                Entry::Certificate(certificate) => case.certificate = Some(certificate),
                Entry::Batch { seq, body } => case.batches.0.push((seq, body)),
                Entry::Change(change) => case.changes.push(change),
                Entry::Conflict(proof) => case.conflict.push(proof),
                Entry::End { cut } => {
                    case.cut = cut;
                    break;
                }
            }
        }
        Ok(Some(case))
    }
}

fn body_bytes(body: &Arc<Body>) -> usize {
    body.batch.requests.iter().map(|request| request.bytes()).sum()
}

/// The entry at `at`, which moves behind it; none if none is whole there.
fn next(disk: &mut impl Disk, at: &mut u64, length: u64) -> Result<Option<Entry>, DiskError> {
    let prefix = read_padded(disk, FileName::Divergence, *at, PREFIX)?;
    let number = |from: usize| {
        u32::from_le_bytes([prefix[from], prefix[from + 1], prefix[from + 2], prefix[from + 3]])
    };
    let bytes = u64::from(number(0));
    let end = *at + PREFIX as u64 + bytes;
    if bytes == 0 || bytes > codec::FRAME_BYTES_MAX as u64 + 1 || end > length {
        return Ok(None);
    }
    let entry = read_padded(disk, FileName::Divergence, *at + PREFIX as u64, bytes as usize)?;
    *at = end;
    let whole = crc32c::crc32c(&entry) == number(4);
    Ok(Entry::decode(&entry).filter(|_| whole))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
