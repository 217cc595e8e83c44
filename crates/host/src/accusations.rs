//! Accusations as files: each proves by itself, to anybody who has the cluster file, that one replica lied.
//!
//! A file holds what the liar signed, and the cluster and epoch that it signed it for; no file refers to another, and
//! none is believed for where it came from. There is one for each replica and offence, so their number is bounded.

use quorate_protocol::accusation::{Accusation, NotProof, Offence};
use quorate_protocol::codec::{self, CodecError};
use quorate_protocol::parameters::Context;
use quorate_protocol::types::{ClusterId, Epoch, ReplicaId};

use crate::disk::{Disk, DiskError, FileName, publish, read_padded};

const MAGIC: &[u8; 8] = b"QUORACCU";
const VERSION: u16 = 1;
/// Magic, version, zeros, length of what follows, its checksum.
const HEADER: usize = 24;
const BODY_MAX: usize = codec::FRAME_BYTES_MAX;

/// An accusation, and the cluster that it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exhibit {
    /// The cluster.
    pub cluster: ClusterId,
    /// The epoch.
    pub epoch: Epoch,
    /// Who lied, and the proof.
    pub accusation: Accusation,
}

/// Why a file proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExhibitError {
    /// It begins otherwise.
    #[error(
        "this is no evidence file: it does not begin like one; fix: pass one that `quorate evidence list` names"
    )]
    NotEvidence,
    /// It ends too early.
    #[error("the file is cut short: it has {found} bytes of {expected}; fix: copy it again")]
    Truncated {
        /// Bytes there are.
        found: u64,
        /// Bytes it says it has.
        expected: u64,
    },
    /// It goes on too long.
    #[error("{0} bytes follow the evidence, which are no part of it; fix: copy it again")]
    Trailing(u64),
    /// A later program wrote it.
    #[error("the file has format {found}, this program knows {VERSION}; fix: use the program that wrote it")]
    FutureVersion {
        /// The format found.
        found: u16,
    },
    /// Its checksum is not that of its bytes.
    #[error("the file is damaged: its checksum is not that of its bytes; fix: copy it again")]
    Damaged,
    /// Its bytes are no accusation.
    #[error("what the file holds is no accusation: {0}")]
    Malformed(#[from] CodecError),
    /// It is about another cluster.
    #[error("it is evidence of {0:?}, not of this one; fix: pass that cluster's file with `--cluster`")]
    OtherCluster(ClusterId),
    /// It is about another epoch.
    #[error("it is evidence of epoch {found}, and this cluster file is of epoch {ours}", found = .found.0, ours = .ours.0)]
    OtherEpoch {
        /// Its epoch.
        found: Epoch,
        /// The cluster file's.
        ours: Epoch,
    },
    /// It proves nothing.
    #[error("it proves nothing: {0}")]
    NotProof(#[from] NotProof),
}

impl Exhibit {
    /// The accusation in the cluster that it was made in.
    #[must_use]
    pub fn new(context: &Context, accusation: Accusation) -> Self {
        Self { cluster: context.cluster, epoch: context.epoch, accusation }
    }

    /// What its file is called in a replica's folder.
    #[must_use]
    pub fn file(&self) -> FileName {
        FileName::Accusation(self.accusation.culprit(), self.accusation.offence())
    }

    /// The bytes of its file.
    ///
    /// # Errors
    /// If it shows a VIEW-CHANGE that fills a frame to the last bytes.
    pub fn encode(&self) -> Result<Vec<u8>, CodecError> {
        let body = codec::encode(&(self.cluster, self.epoch, self.accusation.clone()))?;
        let mut bytes = Vec::with_capacity(HEADER + body.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.resize(HEADER - 8, 0);
        bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
        bytes.extend_from_slice(&body);
        Ok(bytes)
    }

    /// Reads the bytes of a file. Nothing in it is believed yet: [`Exhibit::check`] is to be asked.
    ///
    /// # Errors
    /// [`ExhibitError`] says what is wrong with the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, ExhibitError> {
        let Some((header, body)) = bytes.split_at_checked(HEADER) else {
            let begun = bytes.len().min(MAGIC.len());
            let like = bytes[..begun] == MAGIC[..begun];
            let truncated = ExhibitError::Truncated { found: bytes.len() as u64, expected: HEADER as u64 };
            return Err(if like { truncated } else { ExhibitError::NotEvidence });
        };
        if header[..8] != MAGIC[..] {
            return Err(ExhibitError::NotEvidence);
        }
        let found = u16::from_le_bytes([header[8], header[9]]);
        if found > VERSION {
            return Err(ExhibitError::FutureVersion { found });
        }
        let number =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let (length, have) = (number(HEADER - 8) as usize, body.len());
        if found == 0 || header[10..HEADER - 8].iter().any(|byte| *byte != 0) || length > BODY_MAX {
            return Err(ExhibitError::Damaged);
        }
        if have < length {
            let [found, expected] = [bytes.len() as u64, (HEADER + length) as u64];
            return Err(ExhibitError::Truncated { found, expected });
        }
        if have > length {
            return Err(ExhibitError::Trailing((have - length) as u64));
        }
        if crc32c::crc32c(body) != number(HEADER - 4) {
            return Err(ExhibitError::Damaged);
        }
        let (cluster, epoch, accusation) = codec::decode(body)?;
        Ok(Self { cluster, epoch, accusation })
    }

    /// Whether it proves what it says, in the cluster that `context` describes.
    ///
    /// # Errors
    /// [`ExhibitError`] names what does not hold.
    pub fn check(&self, context: &Context) -> Result<(), ExhibitError> {
        if self.cluster != context.cluster {
            return Err(ExhibitError::OtherCluster(self.cluster));
        }
        if self.epoch != context.epoch {
            return Err(ExhibitError::OtherEpoch { found: self.epoch, ours: context.epoch });
        }
        Ok(self.accusation.check(context)?)
    }
}

/// What stands in one file of a folder.
pub type Found = (ReplicaId, Offence, Result<Exhibit, ExhibitError>);

/// Every accusation in a folder, by whom and of what.
///
/// # Errors
/// If the disk cannot be read.
pub fn list(disk: &mut impl Disk) -> Result<Vec<Found>, DiskError> {
    let names = disk.list()?;
    let mut files: Vec<FileName> = names.iter().filter_map(|name| FileName::parse(name)).collect();
    files.sort_unstable();
    let mut found = Vec::new();
    for file in files {
        if let FileName::Accusation(culprit, offence) = file {
            found.push((culprit, offence, read(disk, file)?));
        }
    }
    Ok(found)
}

fn read(disk: &mut impl Disk, file: FileName) -> Result<Result<Exhibit, ExhibitError>, DiskError> {
    let length = disk.len(file)?.unwrap_or(0);
    let most = (HEADER + BODY_MAX) as u64;
    if length > most {
        return Ok(Err(ExhibitError::Trailing(length - most)));
    }
    let bytes = read_padded(disk, file, 0, usize::try_from(length).unwrap_or(usize::MAX))?;
    Ok(Exhibit::decode(&bytes))
}

/// Writes an accusation down, durably, unless one of this replica and offence is there: the first is as good as any.
///
/// # Errors
/// If the disk fails.
pub fn keep(disk: &mut impl Disk, exhibit: &Exhibit) -> Result<(), DiskError> {
    let file = exhibit.file();
    // One that rot spoiled makes room, and one that somebody put there who took it for another.
    let like = |held: Exhibit| {
        (held.cluster, held.epoch, held.file()) == (exhibit.cluster, exhibit.epoch, exhibit.file())
    };
    if disk.len(file)?.is_some() && read(disk, file)?.is_ok_and(like) {
        return Ok(());
    }
    let Ok(bytes) = exhibit.encode() else { return Ok(()) };
    let draft = FileName::EvidenceDraft;
    disk.remove(draft)?;
    disk.write_at(draft, 0, &bytes)?;
    publish(disk, draft, file, true)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
