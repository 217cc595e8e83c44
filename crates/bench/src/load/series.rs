//! What happened when: answers and their latency, in buckets of a tenth of a second.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::dump::{self, Pairs};

/// Length of a bucket.
pub const BUCKET: Duration = Duration::from_millis(100);
/// Buckets of one run at most: two hours. What comes later is in none.
const BUCKETS_MAX: usize = 72_000;
/// Digits of latency in a bucket: less than a per cent off, in a few hundred bytes.
const DIGITS: u8 = 2;

/// The answers of a tenth of a second.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// How many there were.
    pub answers: u64,
    /// Their latencies in microseconds, and how often each.
    pub(crate) latencies: Pairs,
}

impl Bucket {
    /// 99 in a hundred were faster, in microseconds; 0 for none.
    #[must_use]
    pub fn p99_us(&self) -> u64 {
        dump::from_pairs(&self.latencies, DIGITS).value_at_quantile(0.99)
    }

    fn add(&mut self, other: &Self) {
        let mut latency = dump::from_pairs(&self.latencies, DIGITS);
        // Both have the same bounds, so that nothing can be out of them.
        let _ = latency.add(dump::from_pairs(&other.latencies, DIGITS));
        self.answers += other.answers;
        self.latencies = dump::pairs(&latency);
    }
}

/// Bucket by bucket, what several loads that began together were answered.
pub(super) fn merge(into: &mut Vec<Bucket>, other: &[Bucket]) {
    into.resize(into.len().max(other.len()), Bucket::default());
    into.iter_mut().zip(other).for_each(|(into, other)| into.add(other));
}

/// A series that grows. Only the newest bucket is a histogram.
#[derive(Debug)]
pub(super) struct Series {
    closed: Vec<Bucket>,
    current: Histogram<u64>,
}

impl Default for Series {
    fn default() -> Self {
        Self { closed: Vec::new(), current: dump::empty(DIGITS) }
    }
}

impl Series {
    /// An answer that took so long came at `now`; the series began at `begin`.
    pub(super) fn record(&mut self, took_us: u64, now: Instant, begin: Instant) {
        self.close_until(now, begin);
        self.current.saturating_record(took_us);
    }

    /// Everything until `end`.
    pub(super) fn finish(&mut self, end: Instant, begin: Instant) -> Vec<Bucket> {
        self.close_until(end, begin);
        if !self.current.is_empty() {
            self.close();
        }
        self.closed.clone()
    }

    /// Answers are taken by one thread in order, so that a bucket which time has left is complete.
    fn close_until(&mut self, now: Instant, begin: Instant) {
        let passed = now.saturating_duration_since(begin).as_nanos() / BUCKET.as_nanos();
        let passed = usize::try_from(passed).unwrap_or(usize::MAX).min(BUCKETS_MAX);
        while self.closed.len() < passed {
            self.close();
        }
    }

    fn close(&mut self) {
        self.closed.push(Bucket { answers: self.current.len(), latencies: dump::pairs(&self.current) });
        self.current.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(answers: &[(u64, u64)], end_ms: u64) -> Vec<Bucket> {
        let begin = Instant::now();
        let mut series = Series::default();
        for (at_ms, took_us) in answers {
            series.record(*took_us, begin + Duration::from_millis(*at_ms), begin);
        }
        series.finish(begin + Duration::from_millis(end_ms), begin)
    }

    #[test]
    fn every_answer_is_in_the_tenth_of_a_second_it_came_in_and_a_gap_is_empty() {
        let told = series(&[(0, 500), (99, 700), (310, 9_000)], 500);
        let counts: Vec<u64> = told.iter().map(|bucket| bucket.answers).collect();
        assert_eq!(counts, [2, 0, 0, 1, 0]);
        assert!((9_000..9_100).contains(&told[3].p99_us()), "{}", told[3].p99_us());
        assert_eq!(told[1].p99_us(), 0);
    }

    #[test]
    fn series_of_several_machines_are_merged_with_their_latencies() {
        let mut one = series(&[(10, 1_000)], 100);
        merge(&mut one, &series(&[(20, 3_000), (150, 5_000)], 200));
        assert_eq!(one.iter().map(|bucket| bucket.answers).collect::<Vec<_>>(), [2, 1]);
        assert!((3_000..3_050).contains(&one[0].p99_us()), "{}", one[0].p99_us());
    }
}
