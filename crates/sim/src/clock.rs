//! What a replica takes for the time: monotonic while it runs, and not everybody's.

use quorate_protocol::types::Time;

/// A clock that may be wrong and may run wrong, but never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock {
    /// The world's time at which it was set.
    set_at: Time,
    /// What it was set to.
    set_to: Time,
    /// Microseconds that it gains, or loses, per second.
    drift_ppm: i64,
}

/// Fastest gain and loss, in millionths: a tenth. A clock that lost everything would never come to its next alarm.
const DRIFT_MAX: i64 = 100_000;

fn moved(time: Time, by_us: i64) -> Time {
    Time(time.0.saturating_add_signed(by_us))
}

impl Clock {
    /// A clock that runs right from `now` on, but is off by so much.
    #[must_use]
    pub fn new(now: Time, off_us: i64) -> Self {
        Self { set_at: now, set_to: moved(now, off_us), drift_ppm: 0 }
    }

    /// What it says at a time of the world.
    #[must_use]
    pub fn says(&self, now: Time) -> Time {
        let passed = now.since(self.set_at);
        let gained = i128::from(passed) * i128::from(self.drift_ppm) / 1_000_000;
        moved(self.set_to.plus(passed), i64::try_from(gained).unwrap_or(0))
    }

    /// The first time of the world at which it says `time` or later.
    #[must_use]
    pub fn when(&self, time: Time) -> Time {
        let wanted = i128::from(time.since(self.set_to));
        let rate = i128::from(1_000_000 + self.drift_ppm);
        let passed = (wanted * 1_000_000 + rate - 1) / rate;
        self.set_at.plus(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    /// It jumps forwards, as it does for a process that slept with its whole machine.
    pub fn jump(&mut self, now: Time, by_us: u64) {
        (self.set_to, self.set_at) = (self.says(now).plus(by_us), now);
    }

    /// It runs fast or slow from now on, by at most a tenth.
    pub fn drift(&mut self, now: Time, ppm: i64) {
        (self.set_to, self.set_at) = (self.says(now), now);
        self.drift_ppm = ppm.clamp(-DRIFT_MAX, DRIFT_MAX);
    }

    /// How far it is from the world's time, in microseconds.
    #[must_use]
    pub fn off_us(&self, now: Time) -> u64 {
        self.says(now).0.abs_diff(now.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_never_goes_back_and_wakes_whoever_asked_it_in_time() {
        let mut clock = Clock::new(Time(1_000), -300);
        let mut before = clock.says(Time(1_000));
        assert_eq!(before, Time(700));
        for (step, ppm) in [(1, 0), (2, 50_000), (3, -50_000), (4, -5_000_000), (5, 7)] {
            let now = Time(1_000 + step * 100_000);
            if step % 2 == 0 {
                clock.jump(now, 40);
            }
            clock.drift(now, ppm);
            let says = clock.says(now);
            assert!(says > before, "{says:?} after {before:?}");
            before = says;
            for alarm in [says.plus(1), says.plus(999), says.plus(123_456)] {
                let at = clock.when(alarm);
                assert!(clock.says(at) >= alarm, "woken too early at {at:?}");
                assert!(clock.says(Time(at.0 - 2)) < alarm, "woken too late at {at:?}");
            }
        }
    }

    #[test]
    fn an_alarm_in_the_past_is_now() {
        let clock = Clock::new(Time(1_000), 0);
        assert_eq!(clock.when(Time(5)), Time(1_000));
    }
}
