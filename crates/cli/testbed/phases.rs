//! What a fault cost those who were not struck by it: each phase of a run against the one before any fault.

use std::time::Duration;

use quorate_bench::load::{Measured, Phase};
use serde::Serialize;

/// How long the first phase lasts at least if others are held against it.
const FIRST: Duration = Duration::from_secs(1);

/// One phase in a report. Field names are part of the interface.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PhaseReport {
    phase: Phase,
    seconds: f64,
    /// Operations due in it that were answered; those that were open when a fault happened count for the fault.
    operations: u64,
    throughput_rps: f64,
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
    /// The 99th percentile in that of the first phase, before any fault; null if that was shorter than a second, or
    /// one of the two had no answers.
    p99_ratio: Option<f64>,
}

/// Every phase of a run; none of a run that has one only.
pub(super) fn phases(measured: &[Measured]) -> Vec<PhaseReport> {
    if measured.len() < 2 {
        return Vec::new();
    }
    let p99_us = |measured: &Measured| measured.latency.value_at_quantile(0.99);
    let holds = |one: &&Measured| one.phase == Phase::Before && one.time >= FIRST && !one.latency.is_empty();
    let first = measured.iter().find(holds).map(p99_us);
    let told = |one: &Measured| {
        let (seconds, operations) = (one.time.as_secs_f64(), one.latency.len());
        let ratio = |first: u64| p99_us(one) as f64 / first.max(1) as f64;
        PhaseReport {
            phase: one.phase,
            seconds,
            operations,
            throughput_rps: if seconds > 0.0 { operations as f64 / seconds } else { 0.0 },
            p50_us: one.latency.value_at_quantile(0.5),
            p99_us: p99_us(one),
            max_us: one.latency.max(),
            p99_ratio: first.filter(|_| operations > 0).map(ratio),
        }
    };
    measured.iter().map(told).collect()
}

impl PhaseReport {
    /// For people.
    pub(super) fn line(&self) -> String {
        let Self { seconds, throughput_rps, .. } = self;
        let [p50, p99, most] = [self.p50_us, self.p99_us, self.max_us].map(|us| us as f64 / 1000.0);
        let ratio = match (self.phase, self.p99_ratio) {
            (Phase::Before, _) => String::new(),
            (_, Some(ratio)) => format!(", p99 {ratio:.2} times that before"),
            (_, None) => ", p99 - times that before".to_owned(),
        };
        let name = self.phase.name();
        format!(
            "{name:<11}  {seconds:>6.1} s, {throughput_rps:.0} per second, p50 {p50:.2} ms, p99 {p99:.2} ms, at most \
             {most:.2} ms{ratio}"
        )
    }
}

#[cfg(test)]
mod tests {
    use quorate_bench::load::Histogram;

    use super::*;

    fn measured(phase: Phase, latencies_us: &[u64]) -> Measured {
        let mut latency = Histogram::new_with_bounds(1, 120_000_000, 3).expect("bounds that make sense");
        latencies_us.iter().for_each(|latency_us| latency.saturating_record(*latency_us));
        Measured { phase, time: Duration::from_secs(2), latency }
    }

    #[test]
    fn each_phase_is_held_against_the_one_before_any_fault() {
        let run = [
            measured(Phase::Before, &[1_000; 100]),
            measured(Phase::Away, &[1_000, 2_000, 2_000]),
            measured(Phase::CatchingUp, &[]),
        ];
        let told = phases(&run);
        let ratios: Vec<Option<f64>> = told.iter().map(|phase| phase.p99_ratio).collect();
        assert!(
            matches!(ratios[..], [Some(first), Some(away), None] if first == 1.0 && (1.9..2.1).contains(&away))
        );
        assert_eq!(
            told[1].line(),
            "away            2.0 s, 2 per second, p50 2.00 ms, p99 2.00 ms, at most 2.00 ms, p99 2.00 times that before"
        );
        assert!(!told[0].line().contains("times"));
        assert!(told[2].line().ends_with(", p99 - times that before"), "nothing was answered in it");
        assert!(phases(&run[..1]).is_empty(), "a run without a fault has no phases");
    }

    #[test]
    fn nothing_is_held_against_less_than_a_second() {
        let before =
            |ms| Measured { time: Duration::from_millis(ms), ..measured(Phase::Before, &[1_000; 100]) };
        let parted = || measured(Phase::Parted, &[2_000; 100]);
        let told = phases(&[before(999), parted()]);
        assert!(told.iter().all(|phase| phase.p99_ratio.is_none()), "{told:?}");
        assert!(
            told[1].line().starts_with("parted ") && told[1].line().ends_with(", p99 - times that before")
        );
        assert!(serde_json::to_value(&told[1]).is_ok_and(|told| told["p99_ratio"].is_null()), "{told:?}");
        assert!(phases(&[before(1_000), parted()])[1].p99_ratio.is_some());
    }
}
