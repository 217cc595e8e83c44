//! What a scenario file may say: one struct for each table, the same for reading and for writing.

use quorate_protocol::client::Read;
use serde::{Deserialize, Serialize};

use super::values::{Bits, Micros, Offset, Placed, Share, Who};
use crate::scenario::expect::Expect;

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn one() -> u64 {
    1
}

fn is_one(number: &u64) -> bool {
    *number == 1
}

/// The whole file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    #[serde(default)]
    pub(super) about: String,
    pub(super) replicas: Placed<u16>,
    #[serde(default)]
    pub(super) seed: Bits,
    pub(super) heal: Placed<Micros>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) check_every_signature: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) expect: Expect,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parameters: Option<Placed<Constants>>,
    #[serde(default)]
    pub(super) network: Links,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) costs: Roles,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) clocks: Clocks,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) partition: Vec<Placed<Partition>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) one_way: Vec<Placed<OneWay>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) crash: Vec<Placed<Crashing>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) disk: Vec<Placed<Spoiling>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) clock: Vec<Placed<Clocking>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) pause: Vec<Placed<Pausing>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) byzantine: Vec<Placed<Lying>>,
    pub(super) client: Vec<Placed<Asking>>,
}

/// Constants of the protocol that differ from the defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Constants {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) checkpoint_interval: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) checkpoint_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) window: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pipeline_depth: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) client_window: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) batch_bytes_max: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) batch_requests_max: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) operation_bytes_max: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reply_bytes_max: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reply_cache_bytes_max: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sessions_per_client_max: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sessions_max: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pool_operations_max: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pool_bytes_max: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) time_tolerance: Option<Micros>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timeout: Option<Micros>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) timeout_max: Option<Micros>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) watchdog: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fast_reads: Option<bool>,
}

/// How every link behaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Links {
    pub(super) delay: Micros,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) jitter: Micros,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) loss: Share,
    #[serde(skip_serializing_if = "is_default")]
    pub(super) duplication: Share,
    /// Frames that all others overtake.
    #[serde(skip_serializing_if = "is_default")]
    pub(super) reordering: Share,
    /// By how much those are late at most.
    #[serde(skip_serializing_if = "is_default")]
    pub(super) reordering_delay: Micros,
}

impl Default for Links {
    fn default() -> Self {
        Self {
            delay: Micros(1_000),
            jitter: Micros(0),
            loss: Share(0),
            duplication: Share(0),
            reordering: Share(0),
            reordering_delay: Micros(0),
        }
    }
}

/// How slow the roles of a replica are at most.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Roles {
    pub(super) verify: Micros,
    pub(super) write: Micros,
    pub(super) execute: Micros,
    pub(super) store: Micros,
}

/// How wrong clocks are from the beginning.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Clocks {
    /// What all of them say more than the world's time.
    pub(super) epoch: Micros,
    /// By how much they differ at most.
    pub(super) skew: Micros,
}

/// Groups that hear only themselves.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Partition {
    pub(super) groups: Vec<Vec<u16>>,
    pub(super) start: Micros,
    pub(super) end: Micros,
}

/// Frames of some that do not come to others.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OneWay {
    pub(super) from: Vec<u16>,
    pub(super) to: Vec<u16>,
    pub(super) start: Micros,
    pub(super) end: Micros,
}

/// A process that dies, for good or for a while; its disk is as it left it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Crashing {
    pub(super) replica: Who,
    pub(super) at: Micros,
    /// For how long it is down; for good if that is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) restart: Option<Micros>,
    /// It dies at this one of its moments after that time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) moment: Option<u64>,
    /// How far its clock is off when it comes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) clock: Option<Offset>,
    /// Whether it is asked to stop, and hands over first what it leads.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) gently: bool,
}

/// A process that dies while something happens to its disk, and comes back.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Spoiling {
    pub(super) replica: Who,
    pub(super) at: Micros,
    pub(super) restart: Micros,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) moment: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) clock: Option<Offset>,
    /// What becomes of writes that were not synced.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) unsynced: Unsynced,
    /// With `torn`: which of them survive, a bit for each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) survivors: Option<Bits>,
    /// With `torn`: how many bytes of the last of those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) torn_bytes: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) damage: Option<Spoilt>,
    /// What is damaged.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) part: Where,
    /// With `flips`: how many bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) bits: Option<u8>,
    /// Where exactly the damage is.
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) seed: Bits,
}

/// What a power cut leaves of unsynced writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Unsynced {
    #[default]
    Kept,
    Lost,
    Torn,
}

/// How a disk is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Spoilt {
    Flips,
    Misdirected,
    LostWrite,
    Copies,
}

/// Which file of a replica is damaged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Where {
    #[default]
    Journal,
    Superblock,
    Snapshot,
}

/// A clock that goes wrong: it jumps forwards, or gains or loses from now on.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Clocking {
    pub(super) replica: u16,
    pub(super) at: Micros,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) jump: Option<Micros>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) drift_ppm: Option<i64>,
}

/// A process that sleeps.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pausing {
    pub(super) replica: u16,
    pub(super) at: Micros,
    pub(super) until: Micros,
}

/// A lie and who tells it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lying {
    pub(super) replica: u16,
    pub(super) behaviour: String,
}

/// What a client asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asking {
    pub(super) commands: u64,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub(super) in_flight: u64,
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub(super) bundle: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) think: Micros,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) reads: Reads,
}

/// How a client reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Reads {
    #[default]
    Ordered,
    Fast,
    Session,
    Stale,
}

impl From<Reads> for Read {
    fn from(reads: Reads) -> Self {
        match reads {
            Reads::Ordered => Self::Ordered,
            Reads::Fast => Self::Fast,
            Reads::Session => Self::Session,
            Reads::Stale => Self::Stale,
        }
    }
}

impl From<Read> for Reads {
    fn from(read: Read) -> Self {
        match read {
            Read::Ordered => Self::Ordered,
            Read::Fast => Self::Fast,
            Read::Session => Self::Session,
            Read::Stale => Self::Stale,
        }
    }
}
