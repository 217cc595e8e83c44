//! What several runs say together: medians, intervals, whether a run was steady, and whether two sets of runs differ.
//!
//! Intervals are Student's t intervals at 95 % around the mean of the runs, widened to take in the median where that is
//! outside: runs are few, three or five, and with so few neither order statistics nor resampling reach 95 %. Nothing
//! here is drawn at random, so the same runs always say the same.

use crate::record::{Moment, Run};

/// Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom.
const T_95: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];
/// The same of the normal distribution, for more.
const Z_95: f64 = 1.960;
/// The second half of a steady run differs from the first by so much at most.
const STEADY: f64 = 0.10;

/// A median, and where the mean of ever more runs would be expected.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Interval {
    /// The median of the runs.
    pub median: f64,
    /// Lower end, at 95 %; never below zero, for nothing that is measured here is.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// Of some runs. One run has no width, which says nothing about how far the next would be from it; none is zero.
    #[must_use]
    pub fn of(samples: &[f64]) -> Self {
        let median = median(samples);
        let half = half_width(samples);
        let mean = mean(samples);
        Self { median, low: (mean - half).min(median).max(0.0), high: (mean + half).max(median) }
    }

    /// Whether no value lies in both.
    #[must_use]
    pub fn is_apart_from(&self, other: &Self) -> bool {
        self.high < other.low || other.high < self.low
    }
}

/// What the runs of a point say together.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Summary {
    /// Calls answered per second.
    pub throughput_rps: Interval,
    /// Quantiles of latency, in microseconds: of each, the median over runs and its interval.
    pub p50_us: Interval,
    /// 99 %.
    pub p99_us: Interval,
    /// 99.9 %.
    pub p999_us: Interval,
    /// Whether every run was steady.
    pub steady: bool,
}

impl Summary {
    /// Of all runs of a point.
    #[must_use]
    pub fn of(runs: &[Run]) -> Self {
        let interval = |of: fn(&Run) -> f64| Interval::of(&runs.iter().map(of).collect::<Vec<_>>());
        Self {
            throughput_rps: interval(|run| run.throughput_rps),
            p50_us: interval(|run| run.p50_us),
            p99_us: interval(|run| run.p99_us),
            p999_us: interval(|run| run.p999_us),
            steady: !runs.is_empty() && runs.iter().all(|run| run.steady),
        }
    }
}

/// The value in the middle, or the mean of the two there; zero of none.
#[must_use]
pub fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.len() % 2, sorted.get(middle)) {
        (_, None) => 0.0,
        (1, Some(value)) => *value,
        (_, Some(upper)) => f64::midpoint(sorted[middle - 1], *upper),
    }
}

/// The mean; zero of none.
#[must_use]
pub fn mean(samples: &[f64]) -> f64 {
    if samples.is_empty() { 0.0 } else { samples.iter().sum::<f64>() / samples.len() as f64 }
}

/// The variance that the samples let expect of where they are from; zero of fewer than two.
#[must_use]
pub fn variance(samples: &[f64]) -> f64 {
    if samples.len() < 2 {
        return 0.0;
    }
    let mean = mean(samples);
    let squares: f64 = samples.iter().map(|sample| (sample - mean).powi(2)).sum();
    squares / (samples.len() - 1) as f64
}

/// Half of the width of the t interval at 95 % around the mean; zero of fewer than two.
fn half_width(samples: &[f64]) -> f64 {
    let Some(freedom) = samples.len().checked_sub(1).filter(|freedom| *freedom > 0) else { return 0.0 };
    let t = T_95.get(freedom - 1).copied().unwrap_or(Z_95);
    t * (variance(samples) / samples.len() as f64).sqrt()
}

/// Whether a run was steady: throughput in the second half of its measured time within 10 % of that in the first. One
/// with fewer than two moments is not known to be.
#[must_use]
pub fn is_steady(series: &[Moment]) -> bool {
    if series.len() < 2 {
        return false;
    }
    let (first, second) = series.split_at(series.len() / 2);
    // With an odd number the moment in the middle belongs to neither half.
    let second = &second[second.len() - first.len()..];
    let of = |half: &[Moment]| mean(&half.iter().map(|moment| moment.throughput_rps).collect::<Vec<_>>());
    let (first, second) = (of(first), of(second));
    first > 0.0 && (second - first).abs() <= STEADY * first
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 0.001 * expected.abs().max(1.0), "{found}, not {expected}");
    }

    #[test]
    fn the_median_is_the_value_in_the_middle_whatever_the_order() {
        near(median(&[3.0, 1.0, 2.0]), 2.0);
        near(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
        near(median(&[7.0]), 7.0);
        near(median(&[]), 0.0);
    }

    #[test]
    fn an_interval_is_the_one_of_the_textbook() {
        // Mean 4, standard deviation 1, three values: 4 +- 4.303 / sqrt(3).
        let Interval { median, low, high } = Interval::of(&[3.0, 4.0, 5.0]);
        near(median, 4.0);
        near(low, 1.5157);
        near(high, 6.4843);
        // Student's sleep data, drug 2: mean 2.33, interval 0.898 to 3.762.
        let sleep = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4];
        let Interval { low, high, .. } = Interval::of(&sleep);
        near(low, 0.8977);
        near(high, 3.7624);
        let wide: Vec<f64> = (0..100).map(f64::from).collect();
        // Mean 49.5, standard deviation 29.011: 1.96 standard errors.
        near(Interval::of(&wide).low, 49.5 - 1.96 * 2.9011);
    }

    #[test]
    fn an_interval_has_its_median_in_it_and_nothing_below_zero() {
        let skewed = Interval::of(&[10.0; 30].into_iter().chain([10_000.0]).collect::<Vec<_>>());
        assert!(skewed.low <= skewed.median && skewed.median <= skewed.high);
        near(Interval::of(&[0.0, 0.0, 9.0]).low, 0.0);
        let one = Interval::of(&[5.0]);
        assert_eq!((one.low, one.median, one.high), (5.0, 5.0, 5.0));
        assert_eq!(Interval::of(&[]), Interval::default());
    }

    #[test]
    fn intervals_are_apart_only_if_they_share_no_value() {
        let interval = |low, high| Interval { median: low, low, high };
        assert!(interval(1.0, 2.0).is_apart_from(&interval(2.1, 3.0)));
        assert!(interval(2.1, 3.0).is_apart_from(&interval(1.0, 2.0)));
        assert!(!interval(1.0, 2.1).is_apart_from(&interval(2.1, 3.0)));
        assert!(!interval(1.0, 5.0).is_apart_from(&interval(2.0, 3.0)));
    }

    fn series(of: &[f64]) -> Vec<Moment> {
        let moment = |(at, throughput_rps): (u32, &f64)| Moment {
            at_s: f64::from(at),
            throughput_rps: *throughput_rps,
            ..Moment::default()
        };
        (0..).zip(of).map(moment).collect()
    }

    #[test]
    fn a_run_is_steady_if_its_halves_answer_alike() {
        assert!(is_steady(&series(&[100.0, 100.0, 100.0, 91.0, 91.0])));
        assert!(is_steady(&series(&[100.0, 120.0, 0.0, 100.0, 102.0])), "the middle belongs to no half");
        assert!(!is_steady(&series(&[100.0, 100.0, 80.0, 80.0])));
        assert!(!is_steady(&series(&[80.0, 80.0, 100.0, 100.0])), "it has not warmed up");
        assert!(!is_steady(&series(&[0.0, 0.0])) && !is_steady(&series(&[1.0])) && !is_steady(&[]));
    }

    #[test]
    fn a_point_is_the_median_of_its_runs_and_steady_if_all_are() {
        let run = |rps: f64, steady| Run {
            throughput_rps: rps,
            p50_us: rps / 10.0,
            p99_us: rps / 5.0,
            p999_us: rps,
            steady,
            ..Run::default()
        };
        let summary = Summary::of(&[run(100.0, true), run(300.0, true), run(200.0, true)]);
        near(summary.throughput_rps.median, 200.0);
        near(summary.p50_us.median, 20.0);
        near(summary.p99_us.median, 40.0);
        near(summary.p999_us.median, 200.0);
        assert!(summary.steady && summary.throughput_rps.low < 100.0 && summary.throughput_rps.high > 300.0);
        assert!(!Summary::of(&[run(1.0, true), run(1.0, false)]).steady);
        assert!(!Summary::of(&[]).steady);
    }
}
