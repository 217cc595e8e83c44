//! The clock of a replica or client: monotonic, set to the wall clock once, when it is made.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use quorate_protocol::types::Time;

/// Microseconds that never go backwards, and are about the wall clock's.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    wall_us: u64,
}

impl Default for Clock {
    fn default() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), wall_us: u64::try_from(wall.as_micros()).unwrap_or(u64::MAX) }
    }
}

impl Clock {
    /// The time now.
    #[must_use]
    pub fn now(&self) -> Time {
        let elapsed = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        Time(self.wall_us).plus(elapsed)
    }

    /// The instant at which [`Clock::now`] will be `time`.
    #[must_use]
    pub fn instant(&self, time: Time) -> Instant {
        self.started + Duration::from_micros(time.since(Time(self.wall_us)))
    }
}
