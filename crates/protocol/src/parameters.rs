//! What every replica of a cluster must have configured alike.

use std::sync::Arc;

use crate::codec::{Decode, Encode, FRAME_BYTES_MAX};
use crate::committee::{Committee, quorum};
use crate::crypto::HashTag;
use crate::map::CHUNKS_ROOM;
use crate::message::WINDOW_MAX;
use crate::request::BATCH_REQUESTS_MAX;
use crate::signed::digest_of;
use crate::snapshot::chunks_of_sessions;
use crate::types::{ClusterId, Digest, Epoch, Seq};

/// Protocol constants of a cluster. All replicas have the same; the hello compares their digest.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Parameters {
    /// Slots between two checkpoints, K; half a window may pass of a state with more than twelve times
    /// `checkpoint_bytes`.
    pub checkpoint_interval: u64,
    /// Bytes that may be ordered, or change in the application's state where it counts them, between two checkpoints, or
    /// a twelfth of the state if that is more; 0 for no bound.
    pub checkpoint_bytes: u64,
    /// Slots between the watermarks, L: a multiple of K, at least 2 K, at most [`WINDOW_MAX`].
    pub window: u64,
    /// Batches that may be in agreement at once.
    pub pipeline_depth: u64,
    /// Operations one session may have outstanding, W.
    pub client_window: u64,
    /// Most bytes of one batch.
    pub batch_bytes_max: u64,
    /// Most requests of one batch.
    pub batch_requests_max: u64,
    /// Most bytes of one operation.
    pub operation_bytes_max: u64,
    /// Most bytes of one operation's result.
    pub reply_bytes_max: u64,
    /// Most bytes of unacknowledged results one session keeps. Times `sessions_max` it is memory that clients can make
    /// every replica use, and keep in its snapshots: 2 GiB by default; see [`Parameters::session_bytes_bound`]. Like all
    /// of this it is chosen when the cluster is made. [`Parameters::check`] refuses what could fill the sessions' map.
    pub reply_cache_bytes_max: u64,
    /// Sessions one client may have.
    pub sessions_per_client_max: u64,
    /// Sessions of all clients.
    pub sessions_max: u64,
    /// Operations of its own clients a replica keeps waiting; see [`Parameters::forward_room`] for the others'.
    pub pool_operations_max: u64,
    /// Bytes of its own clients' requests a replica keeps waiting.
    pub pool_bytes_max: u64,
    /// How far a proposal's time may be from a backup's clock, in microseconds.
    pub time_tolerance_us: u64,
    /// Base of the progress and new-view timers, T0, in microseconds.
    pub timeout_us: u64,
    /// Longest timer, in microseconds.
    pub timeout_max_us: u64,
    /// Whether a primary must keep up with the best rate of the last n views while requests wait long; otherwise replicas
    /// leave its view.
    pub watchdog: bool,
    /// Whether reads may be linearizable without being ordered. Clients then wait for a quorum of equal answers to
    /// everything, and replicas answer nothing before it is durable how far they may have answered.
    pub fast_reads: bool,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            checkpoint_interval: 128,
            checkpoint_bytes: 8 << 20,
            window: 512,
            pipeline_depth: 4,
            client_window: 1024,
            batch_bytes_max: 1 << 20,
            batch_requests_max: 1024,
            operation_bytes_max: 256 << 10,
            reply_bytes_max: 256 << 10,
            reply_cache_bytes_max: 512 << 10,
            sessions_per_client_max: 8,
            sessions_max: 4096,
            pool_operations_max: 65_536,
            pool_bytes_max: 64 << 20,
            time_tolerance_us: 30_000_000,
            timeout_us: 500_000,
            timeout_max_us: 60_000_000,
            watchdog: false,
            fast_reads: false,
        }
    }
}

/// A parameter that cannot be, and what it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` = {value}: {fix}")]
pub struct ParameterError {
    /// Name in the cluster file.
    pub name: &'static str,
    /// What it was.
    pub value: u64,
    /// What to do.
    pub fix: &'static str,
}

impl Parameters {
    /// Checks every bound.
    ///
    /// # Errors
    /// The first parameter that is out of its bounds.
    pub fn check(&self) -> Result<(), ParameterError> {
        let at_least_one = [
            ("checkpoint_interval", self.checkpoint_interval),
            ("pipeline_depth", self.pipeline_depth),
            ("client_window", self.client_window),
            ("batch_bytes_max", self.batch_bytes_max),
            ("batch_requests_max", self.batch_requests_max),
            ("operation_bytes_max", self.operation_bytes_max),
            ("reply_bytes_max", self.reply_bytes_max),
            ("sessions_per_client_max", self.sessions_per_client_max),
            ("sessions_max", self.sessions_max),
            ("pool_operations_max", self.pool_operations_max),
            ("pool_bytes_max", self.pool_bytes_max),
            ("timeout_us", self.timeout_us),
        ];
        if let Some((name, value)) = at_least_one.into_iter().find(|(_, value)| *value == 0) {
            return Err(ParameterError { name, value, fix: "must be at least 1" });
        }
        let most = [
            ("window", self.window, WINDOW_MAX as u64, "must be at most 4096"),
            ("client_window", self.client_window, 4096, "must be at most 4096"),
            (
                "batch_requests_max",
                self.batch_requests_max,
                BATCH_REQUESTS_MAX as u64,
                "must be at most 16384",
            ),
            ("batch_bytes_max", self.batch_bytes_max, 4 << 20, "must be at most 4 MiB"),
            ("operation_bytes_max", self.operation_bytes_max, 1 << 20, "must be at most 1 MiB"),
            ("reply_bytes_max", self.reply_bytes_max, 1 << 20, "must be at most 1 MiB"),
            ("reply_cache_bytes_max", self.reply_cache_bytes_max, 4 << 20, "must be at most 4 MiB"),
            ("timeout_us", self.timeout_us, self.timeout_max_us, "must be at most `timeout_max_us`"),
            ("sessions_max", self.sessions_max, 1 << 20, "must be at most 1048576"),
            ("timeout_max_us", self.timeout_max_us, 3_600_000_000, "must be at most one hour"),
        ];
        if let Some((name, value, _, fix)) = most.into_iter().find(|(_, value, limit, _)| value > limit) {
            return Err(ParameterError { name, value, fix });
        }
        if !self.window.is_multiple_of(self.checkpoint_interval) || self.window < 2 * self.checkpoint_interval
        {
            let fix = "must be a multiple of `checkpoint_interval`, and at least twice as much";
            return Err(ParameterError { name: "window", value: self.window, fix });
        }
        if self.reply_cache_bytes_max < 2 * self.reply_bytes_max {
            let fix = "must be at least twice `reply_bytes_max`";
            return Err(ParameterError {
                name: "reply_cache_bytes_max",
                value: self.reply_cache_bytes_max,
                fix,
            });
        }
        if chunks_of_sessions(self.sessions_max, self.saved_bytes_of_session()) > CHUNKS_ROOM as u64 {
            let fix = "so many sessions, each with `reply_cache_bytes_max` and 64 bytes for each number of \
                       `client_window`, may not fit their map, which holds 1 GiB of small sessions and 4 GiB of large \
                       ones in the worst case; lower one of the three";
            return Err(ParameterError { name: "sessions_max", value: self.sessions_max, fix });
        }
        if self.batch_bytes_max < self.operation_bytes_max + 1024 {
            let fix = "must be at least `operation_bytes_max` and 1 KiB more";
            return Err(ParameterError { name: "batch_bytes_max", value: self.batch_bytes_max, fix });
        }
        Ok(())
    }
}

impl Parameters {
    /// The slot after which a checkpoint is due at the latest if the last one is of `last`, however large the state and
    /// however little of it changed: the first multiple of K that is half a window on. At least two of them fit the
    /// window, so that it does not run full between them.
    #[must_use]
    pub fn checkpoint_due_by(&self, last: Seq) -> Seq {
        let interval = self.checkpoint_interval;
        let far = last.plus(interval.max(self.window / 2));
        far.0.checked_next_multiple_of(interval).map_or(Seq::MAX, Seq)
    }

    /// Bytes that all sessions of all clients can take at each replica: their unacknowledged results, 128 bytes for
    /// each number of a window, and 512 for the session.
    #[must_use]
    pub fn session_bytes_bound(&self) -> u64 {
        self.sessions_max.saturating_mul(self.bytes_of_session())
    }

    /// Bytes of a session at most as it is saved: its results, 64 bytes for each number of a window, and 256.
    pub(crate) fn saved_bytes_of_session(&self) -> u64 {
        self.reply_cache_bytes_max.saturating_add(self.client_window.saturating_mul(64)).saturating_add(256)
    }

    fn bytes_of_session(&self) -> u64 {
        let numbers = self.client_window.saturating_mul(128).saturating_add(512);
        self.reply_cache_bytes_max.saturating_add(numbers)
    }

    /// Bodies that a replica's journal holds at most. Who has voted for two thirds of that votes for no more that are
    /// new, until a checkpoint is stable; the last third is for what a NEW-VIEW decided, or what prepared.
    #[must_use]
    pub fn bodies_max(&self) -> u64 {
        4 * (self.window + self.checkpoint_interval)
    }

    /// Bytes of those at most, with what the journal adds to each.
    #[must_use]
    pub fn body_bytes_max(&self) -> u64 {
        let body = self.batch_bytes_max.saturating_add(512);
        (self.window + self.checkpoint_interval).saturating_mul(body)
    }

    /// Checks what depends on the number of replicas as well: a VIEW-CHANGE that proves a full window must fit a frame.
    ///
    /// # Errors
    /// The first parameter that is out of its bounds.
    pub fn check_for(&self, replicas: usize) -> Result<(), ParameterError> {
        self.check()?;
        let certificate = 64 + 66 * quorum(replicas) as u64;
        if self.window.saturating_add(2).saturating_mul(certificate) > FRAME_BYTES_MAX as u64 {
            let fix = "with so many replicas a view change of a full window exceeds a frame; lower it";
            return Err(ParameterError { name: "window", value: self.window, fix });
        }
        Ok(())
    }
}

/// How many requests may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quota {
    /// Operations in them.
    pub operations: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Quota {
    pub(crate) fn plus(self, other: Self) -> Self {
        let operations = self.operations.saturating_add(other.operations);
        Self { operations, bytes: self.bytes.saturating_add(other.bytes) }
    }

    pub(crate) fn minus(self, other: Self) -> Self {
        Self { operations: self.operations - other.operations, bytes: self.bytes - other.bytes }
    }

    pub(crate) fn fits(self, most: Self) -> bool {
        self.operations <= most.operations && self.bytes <= most.bytes
    }
}

impl Parameters {
    /// What a replica passes on to the primary and times, at most: a share of the pool, so that all replicas together
    /// reserve half of a pool at most while they are few; and never less than the largest request.
    #[must_use]
    pub fn forward_quota(&self, replicas: usize) -> Quota {
        let share = 4 * replicas.max(1) as u64;
        Quota {
            operations: self.client_window.max(self.pool_operations_max / share),
            bytes: self.batch_bytes_max.max(self.pool_bytes_max / share),
        }
    }

    /// What a replica has room for of each other one, besides its own clients' requests. Twice the quota: what
    /// committed there and not yet here must not cost the next its place.
    #[must_use]
    pub fn forward_room(&self, replicas: usize) -> Quota {
        let quota = self.forward_quota(replicas);
        quota.plus(quota)
    }

    /// Operations that can wait at one replica, those that the others passed on among them.
    #[must_use]
    pub fn pooled_operations_bound(&self, replicas: usize) -> u64 {
        let others = replicas.saturating_sub(1) as u64;
        let forwarded = self.forward_room(replicas).operations.saturating_mul(others);
        self.pool_operations_max.saturating_add(forwarded)
    }
}

/// What a replica, its border and its clients know of their cluster.
#[derive(Debug, Clone)]
pub struct Context {
    /// The cluster.
    pub cluster: ClusterId,
    /// The epoch.
    pub epoch: Epoch,
    /// Its replicas.
    pub committee: Arc<Committee>,
    /// Its constants.
    pub parameters: Arc<Parameters>,
}

impl Context {
    /// Digest of what must be configured alike: cluster, epoch, keys in order, parameters.
    #[must_use]
    pub fn config_digest(&self) -> Digest {
        let keys: Vec<_> = self
            .committee
            .replicas()
            .filter_map(|id| self.committee.key(id))
            .map(|key| key.public())
            .collect();
        digest_of(HashTag::Config, &(self.cluster, self.epoch, keys, &*self.parameters))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_take_bounded_memory_by_default_and_at_most() {
        let default = Parameters::default();
        assert!(default.session_bytes_bound() <= 3 << 30, "{}", default.session_bytes_bound());
        let more = Parameters { sessions_max: default.sessions_max + 1, ..default.clone() };
        assert!(default.session_bytes_bound() < more.session_bytes_bound());
    }

    #[test]
    fn sessions_that_might_not_fit_their_map_are_refused() {
        let default = Parameters::default();
        assert_eq!(default.check(), Ok(()));
        let refused = |parameters: &Parameters| parameters.check().map_err(|error| error.name);
        let large = Parameters { sessions_max: 992, reply_cache_bytes_max: 4 << 20, ..default.clone() };
        assert!(large.check().is_ok() && large.session_bytes_bound() > 4_200_000_000, "nearly 4 GiB");
        assert_eq!(refused(&Parameters { sessions_max: 993, ..large }), Err("sessions_max"));
        let small = Parameters {
            sessions_max: 771_319,
            client_window: 1,
            reply_bytes_max: 512,
            reply_cache_bytes_max: 1024,
            ..default
        };
        assert!(small.check().is_ok() && small.session_bytes_bound() > 1_040_000_000, "nearly 1 GiB");
        assert_eq!(refused(&Parameters { sessions_max: 771_320, ..small }), Err("sessions_max"));
    }

    #[test]
    fn a_checkpoint_is_due_before_the_window_that_begins_with_the_last_one_ends() {
        let due = |interval, window, last| {
            let parameters = Parameters { checkpoint_interval: interval, window, ..Parameters::default() };
            parameters.checkpoint_due_by(Seq(last)).0
        };
        assert_eq!([0, 1, 127, 128, 129].map(|last| due(128, 512, last)), [256, 384, 384, 384, 512]);
        for (interval, window) in [(1, 2), (4, 8), (4, 12), (4, 16), (128, 512), (2048, 4096)] {
            for last in 0..=2 * interval {
                let by = due(interval, window, last);
                let (slots, multiple) = (by - last, by.is_multiple_of(interval));
                assert!(
                    multiple && slots >= interval && slots < window,
                    "{interval}, {window}: {last}, {by}"
                );
            }
        }
        assert_eq!(due(128, 512, u64::MAX), u64::MAX);
    }

    #[test]
    fn a_window_is_refused_whose_view_change_no_frame_could_hold() {
        let wide = Parameters { window: 4096, checkpoint_interval: 1024, ..Parameters::default() };
        assert_eq!(wide.check_for(4), Ok(()));
        assert_eq!(wide.check_for(31), Ok(()), "5.9 MB");
        assert_eq!(wide.check_for(100).map_err(|error| error.name), Err("window"));
        assert_eq!(Parameters::default().check_for(100), Ok(()));
    }
}
