//! Rounds, and what is said of them: the median, and the noise beside it.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::Effort;

impl Effort {
    /// Rounds of each measurement.
    pub(super) fn rounds(self) -> usize {
        match self {
            // Many short ones: some of them run between what else the machine does.
            Self::Full => 11,
            Self::Smoke => 1,
        }
    }

    /// One number for a measurement to publish, another for a look.
    pub(super) fn choose(self, full: usize, smoke: usize) -> usize {
        match self {
            Self::Full => full,
            Self::Smoke => smoke,
        }
    }
}

/// The same thing measured in several rounds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Spread {
    /// The round in the middle.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// What to say of these rounds; zeros of none.
    #[must_use]
    pub fn of(mut rounds: Vec<f64>) -> Self {
        rounds.iter_mut().for_each(|value| *value = tenths_of_nanoseconds(*value));
        rounds.sort_by(f64::total_cmp);
        let first = rounds.first().copied().unwrap_or_default();
        let last = rounds.last().copied().unwrap_or_default();
        Self { median: percentile(&rounds, 50), min: first, max: last }
    }
}

/// Microseconds without the digits that mean nothing, so that JSON stays readable and comes back the same.
pub(super) fn tenths_of_nanoseconds(microseconds: f64) -> f64 {
    (microseconds * 1e4).round() / 1e4
}

/// The value that `percent` of the ascending values do not exceed; 0 of none.
pub(super) fn percentile(ascending: &[f64], percent: usize) -> f64 {
    let rank = (ascending.len() * percent).div_ceil(100).max(1);
    ascending.get(rank - 1).copied().unwrap_or_default()
}

/// Microseconds that `work` takes, divided by the number of things it does.
pub(super) fn each_us(count: usize, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    microseconds_since(start) / count.max(1) as f64
}

pub(super) fn microseconds_since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e6
}

/// Runs `work`, which does `count` things, once in vain and then in rounds.
pub(super) fn rounds_us(effort: Effort, count: usize, mut work: impl FnMut()) -> Spread {
    work();
    Spread::of((0..effort.rounds()).map(|_| each_us(count, &mut work)).collect())
}
