//! When calls are due that do not wait for answers.

use std::time::{Duration, Instant};

/// Calls that come due within so long leave together, as those of a program that does many things at once do: a client
/// that signed each of them on its own would cost the replicas more than the same load of a client in a hurry.
const TICK_NS: u64 = 10_000_000;
/// So long after the end calls are made that were due before it.
const CATCH_UP: Duration = Duration::from_secs(5);

/// When each call of one client is due.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    first: Instant,
    gap_ns: u64,
    sent: u64,
}

impl Pace {
    /// Of client number `client` of `clients` that make so many calls a second all together, from `start` on. Their
    /// ticks are spread, and so are the calls of all of them where each makes fewer than one in a tick.
    pub(super) fn new(per_second: f64, (client, clients): (usize, usize), start: Instant) -> Self {
        // A conversion that does not fit ends at the largest number: a call that is never due.
        let gap_ns = (1e9 * clients as f64 / per_second) as u64;
        let part = |whole_ns: u64| {
            let part = u128::from(whole_ns) * client as u128 / (clients as u128).max(1);
            u64::try_from(part).unwrap_or(u64::MAX)
        };
        let first_ns = part(TICK_NS).saturating_add(part(gap_ns) / TICK_NS * TICK_NS);
        let first = start.checked_add(Duration::from_nanos(first_ns)).unwrap_or(start);
        Self { first, gap_ns, sent: 0 }
    }

    /// When the next call is due.
    pub(super) fn next(&self) -> Instant {
        let due_ns = self.sent.saturating_mul(self.gap_ns).div_ceil(TICK_NS).saturating_mul(TICK_NS);
        self.first.checked_add(Duration::from_nanos(due_ns)).unwrap_or(self.first)
    }

    /// The next call, if it is due: when it was.
    pub(super) fn take(&mut self, now: Instant) -> Option<Instant> {
        let due = Some(self.next()).filter(|due| *due <= now)?;
        self.sent += 1;
        Some(due)
    }

    /// Whether a load that ends at `end` has calls to make at `now`, because they were due before and found no room: a pile
    /// that stays the same is no failure, and latency tells how long the calls in it waited. Not for ever.
    pub(super) fn owes(&self, now: Instant, end: Instant) -> bool {
        self.next() < end && now < end + CATCH_UP
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(pace: &mut Pace, now: Instant) -> usize {
        std::iter::from_fn(|| pace.take(now)).count()
    }

    #[test]
    fn as_many_calls_are_due_as_the_rate_says() {
        let start = Instant::now();
        for (per_second, in_ten_seconds) in [(16.0, 10), (4_800.0, 3_000), (1_000_000.0, 625_000)] {
            let mut pace = Pace::new(per_second, (0, 16), start);
            let count = due(&mut pace, start + Duration::from_secs(10));
            let expected = in_ten_seconds..=in_ten_seconds + in_ten_seconds / 500 + 1;
            assert!(expected.contains(&count), "{per_second}: {count}");
        }
    }

    #[test]
    fn calls_of_one_tick_are_due_together_and_late_ones_keep_their_time() {
        let start = Instant::now();
        let mut pace = Pace::new(1_000.0, (0, 1), start);
        assert_eq!(due(&mut pace, start), 1);
        assert_eq!(due(&mut pace, start + Duration::from_millis(9)), 0);
        assert_eq!(due(&mut pace, start + Duration::from_millis(10)), 10);
        assert_eq!(pace.next(), start + Duration::from_millis(20));
        // Nobody could take them for a second: they count from when they were due.
        assert_eq!(pace.take(start + Duration::from_secs(1)), Some(start + Duration::from_millis(20)));
    }

    #[test]
    fn the_ticks_of_clients_are_spread() {
        let start = Instant::now();
        let firsts: Vec<Duration> =
            (0..4).map(|client| Pace::new(400.0, (client, 4), start).next().duration_since(start)).collect();
        assert_eq!(firsts, [0, 2_500, 5_000, 7_500].map(Duration::from_micros));
    }

    #[test]
    fn clients_that_call_rarely_do_not_all_call_at_once() {
        let start = Instant::now();
        let mut all: Vec<Pace> = (0..16).map(|client| Pace::new(160.0, (client, 16), start)).collect();
        for tenth in 0..20 {
            let now = start + Duration::from_millis(50 * tenth + 49);
            let calls: usize = all.iter_mut().map(|pace| due(pace, now)).sum();
            assert!((7..=9).contains(&calls), "{calls} of 8 calls in 50 ms");
        }
    }

    #[test]
    fn what_was_due_before_the_end_is_owed_for_five_seconds_and_nothing_that_was_due_later() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pace = Pace::new(100.0, (0, 1), start);
        assert!(pace.owes(at(20), at(20)) && pace.owes(at(5_019), at(20)));
        assert!(!pace.owes(at(5_020), at(20)), "a pile that is never worked off ends the load all the same");
        assert_eq!(due(&mut pace, at(19)), 2);
        assert!(!pace.owes(at(20), at(20)), "the next one is due at the end itself");
    }
}
