//! What a replica must not forget: its votes, what they rest on, and the bodies it vouches for.
//!
//! **One file, one sync.** Everything stands in one preallocated file, so that a group of records needs one
//! `fdatasync`:
//!
//! ```text
//! header | seal | seal | records | certificates | bodies | header | seal | seal | records | certificates
//! `------------- first copy --------------------'          `------------ second copy ---------------'
//! ```
//!
//! Records have 256 bytes and are chained by checksums. What does not fit into one (certificates, VIEW-CHANGEs,
//! NEW-VIEWs) stands in the area of certificates, batches in that of bodies; the record says where, and has the
//! checksum. Everything but bodies, which any peer can send again, is written twice, at least 1 MiB apart.
//!
//! **Torn or rotten.** A record says up to which one everything was durable when it was written, and after each sync a
//! seal says so too. So recovery can tell a record that was never promised (a power cut hit its group; it is cut) from
//! one that was and is lost (amnesia: the votes it may have held bind the replica, see
//! [`AmnesiaBox`](crate::superblock::AmnesiaBox)).
//!
//! **Rings.** The three areas are rings. A record goes when nothing needs it any more: its slot is stable, its view
//! was left, or a newer one takes its place. What is needed still and stands in the way is carried forward; a body's
//! bytes stay and only its record moves. So views may change for ever within a journal sized for the window. Space is
//! used again only when it is durable that it may be: a record or seal that says so must have been synced first.
//!
//! **Roles.** [`Journal`] belongs to the thread that steps the protocol and only collects; [`Writer`] belongs to the
//! disk's thread, encodes and writes. `tests` holds the claims.

pub(crate) mod layout;
pub(crate) mod payload;
mod recovery;
mod rings;
mod scan;
mod writer;

use quorate_protocol::codec::CodecError;
use quorate_protocol::process::Record;
use quorate_protocol::standing::Standing;
use quorate_protocol::types::{ClusterId, Position, ReplicaId, Seq, View};

use crate::disk::DiskError;

pub use layout::Shape;
pub use recovery::{Amnesia, Opened, Recovered, RecoveryReport, Reserve, create, inspect, open};
pub use writer::{Counters, Usage, Writer};

/// What survives which failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Every group is synced before what rests on it leaves. Survives power cuts of all replicas at once.
    #[default]
    Sync,
    /// Written, not synced. Survives a clean stop. After a crash the replica cannot tell what it lost, so it comes
    /// back as an amnesiac, which the others must outvote: crashes of more than f replicas at once stop the cluster
    /// for good. For trials and benchmarks.
    Os,
    /// Not even written. Every restart is a crash as under [`Durability::Os`]. For benchmarks.
    None,
}

impl std::fmt::Display for Durability {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sync => "sync",
            Self::Os => "os",
            Self::None => "none",
        })
    }
}

impl std::str::FromStr for Durability {
    type Err = UnknownDurability;

    fn from_str(word: &str) -> Result<Self, UnknownDurability> {
        match word {
            "sync" => Ok(Self::Sync),
            "os" => Ok(Self::Os),
            "none" => Ok(Self::None),
            _ => Err(UnknownDurability),
        }
    }
}

/// A word that names no durability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "durability is `sync` (survives power cuts), `os` (survives a clean stop) or `none` (forgets everything)"
)]
pub struct UnknownDurability;

/// Why the journal cannot be used, or no longer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// The disk failed, now or before; nothing is written after a failure.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// An area is full: too many slots wait for a stable checkpoint.
    #[error("the journal's {area} are full ({bytes} bytes); the replica stops until a checkpoint is stable")]
    Full {
        /// Which area.
        area: Area,
        /// Its size.
        bytes: u64,
    },
    /// The disk lost both copies of a record while the replica ran.
    #[error(
        "record {slot} of the journal is damaged in both copies; restart the replica, which will find out what it may have forgotten"
    )]
    Rotten {
        /// Which record of the file, counted from 1.
        slot: u64,
    },
    /// A record has a part that no frame may have.
    #[error("record {position} cannot be written: {error}")]
    Unencodable {
        /// The record.
        position: Position,
        /// What is wrong with it.
        error: CodecError,
    },
    /// The writer failed before and takes nothing more.
    #[error("the journal failed before and takes nothing more ({0}); restart the replica")]
    Failed(Box<JournalError>),
    /// It stands in the wrong folder.
    #[error("this journal belongs to replica {replica} of {cluster:?}; put the right one in its place")]
    OtherOwner {
        /// Its cluster.
        cluster: ClusterId,
        /// Its replica.
        replica: ReplicaId,
    },
    /// An older program wrote it.
    #[error(
        "this journal has format {found}, which an older program wrote and this one does not read, for batches have other \
         digests now; fix: start a new cluster with this program, or go on with the older program"
    )]
    PastVersion {
        /// The format found.
        found: u16,
    },
    /// A later program wrote it.
    #[error("this journal has format {found}, this program knows {known}; use the program that wrote it", known = layout::VERSION)]
    FutureVersion {
        /// The format found.
        found: u16,
    },
}

impl JournalError {
    /// It has this format, which this program does not read.
    fn of_version(found: u16) -> Self {
        if found < layout::VERSION { Self::PastVersion { found } } else { Self::FutureVersion { found } }
    }
}

/// One of the journal's three rings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    /// Records.
    Records,
    /// Certificates, VIEW-CHANGEs and NEW-VIEWs.
    Certificates,
    /// Batches.
    Bodies,
}

impl std::fmt::Display for Area {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Records => "records",
            Self::Certificates => "certificates",
            Self::Bodies => "bodies",
        })
    }
}

/// A record on its way to the disk.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) position: Position,
    pub(crate) record: Record,
    pub(crate) signed: Option<Vec<u8>>,
}

/// Records that become durable together. Bodies are shared, and encoded only by the [`Writer`].
#[derive(Debug, Clone, Default)]
pub struct Group {
    pub(crate) entries: Vec<Entry>,
    pub(crate) horizon: Option<(View, Seq)>,
    pub(crate) reclaim: Option<Seq>,
    /// The box in the superblock goes, once the rest of the group is durable.
    pub(crate) healed: bool,
    /// What the superblock says of the replica's word, before the rest of the group is written.
    pub(crate) standing: Option<Standing>,
    last: Position,
}

impl Group {
    /// Position of its last record.
    #[must_use]
    pub fn last(&self) -> Position {
        self.last
    }

    /// Its records, in order, the horizon not among them.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.entries.iter().map(|entry| &entry.record)
    }

    /// How far its replica may vote and, where reads are fast, answer, once this is durable; none if that does not change.
    #[must_use]
    pub fn horizon(&self) -> Option<Seq> {
        self.horizon.map(|(_, high)| high)
    }

    /// Records in it, the horizon not counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds no record but perhaps a horizon.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Collects records into groups. Touches no disk and never waits.
///
/// What it holds is bounded by what a replica may record before the sends that rest on it leave: a few records per
/// slot of the window.
#[derive(Debug, Default)]
pub struct Journal {
    pending: Group,
    last: Position,
    taken: Position,
}

impl Journal {
    pub(crate) fn after(last: Position) -> Self {
        Self { pending: Group::default(), last, taken: last }
    }

    /// Adds a record to the pending group, with the bytes that the host signed for it. Returns its position.
    pub fn append(&mut self, record: &Record, signed: Option<&[u8]>) -> Position {
        self.last.0 += 1;
        match record {
            Record::Horizon { view, high } => {
                let (old_view, old_high) = self.pending.horizon.unwrap_or_default();
                self.pending.horizon = Some((old_view.max(*view), old_high.max(*high)));
            }
            Record::Healed => self.pending.healed = true,
            Record::Standing(standing) => self.pending.standing = Some(*standing),
            Record::Vote { .. }
            | Record::Body { .. }
            | Record::Prepared(_)
            | Record::ViewChange(_)
            | Record::NewView { .. }
            | Record::Stable(_) => {
                let entry =
                    Entry { position: self.last, record: record.clone(), signed: signed.map(<[u8]>::to_vec) };
                self.pending.entries.push(entry);
            }
        }
        self.last
    }

    /// Lets everything at or below a slot go, from the next group on. The slot is stable, its certificate was
    /// appended before, and so was a snapshot not older than it, or it is known that one must be fetched.
    pub fn reclaim(&mut self, stable: Seq) {
        self.pending.reclaim = self.pending.reclaim.max(Some(stable));
    }

    /// Position of the last record appended.
    #[must_use]
    pub fn last(&self) -> Position {
        self.last
    }

    /// Records that wait for [`Journal::take_group`], horizons included.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.last.0 - self.taken.0
    }

    /// Takes the pending group, if there is one, so that it can be written while new records are appended.
    pub fn take_group(&mut self) -> Option<Group> {
        if self.pending() == 0 {
            return None;
        }
        self.taken = self.last;
        let next = Group { entries: Vec::with_capacity(self.pending.entries.len()), ..Group::default() };
        let mut group = std::mem::replace(&mut self.pending, next);
        group.last = self.last;
        Some(group)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
