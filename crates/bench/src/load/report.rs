//! What became of the calls: of one machine, or of several that began together.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::dump;
use super::phases::Measured;
use super::series::{self, Bucket};

/// What became of the calls.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LoadReport {
    /// Calls whose matching replies reached their client within the measured time, whenever they were due.
    pub matched: u64,
    /// Calls that ended otherwise than with a result, or not at all, those that were not measured too.
    pub failed: u64,
    /// Calls submitted, those that were not measured too.
    pub submitted: u64,
    /// Measured time.
    pub measured: Duration,
    /// Latency of the matched calls, in microseconds.
    #[serde(with = "dump")]
    pub latency: Histogram<u64>,
    /// The same for each phase of the run that there was.
    pub phases: Vec<Measured>,
    /// Highest slot of any accepted answer.
    pub highest: u64,
    /// Requests sent during the run, each with one signature.
    pub bundles: u64,
    /// Operations in them.
    pub operations: u64,
    /// Requests sent again.
    pub retries: u64,
    /// Replies that contradicted accepted answers.
    pub dissents: u64,
    /// Calls that were due within the measured time.
    pub offered: u64,
    /// Of these, those that were sent.
    pub sent: u64,
    /// Of these, those that were answered, however late.
    pub answered: u64,
    /// Of those sent, those that were sent more than 10 ms after they were due.
    pub missed_schedule: u64,
    /// Latency in microseconds of the calls that were due within the measured time and sent. One that was never answered
    /// counts as one that took until it was given up.
    #[serde(with = "dump")]
    pub due_latency: Histogram<u64>,
    /// Answers of each tenth of a second of the measured time.
    pub series: Vec<Bucket>,
    /// First answers of the views that came up within the measured time.
    pub views: Vec<ViewSeen>,
    /// Requests with bad signatures that were sent beside the load.
    pub badly_signed: u64,
}

/// A view that clients heard of.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ViewSeen {
    /// Which.
    pub view: u64,
    /// When its first answer was accepted, in seconds since the measured time began.
    pub at_s: f64,
}

impl LoadReport {
    /// Calls of the measured time that were sent and never answered.
    #[must_use]
    pub fn timed_out(&self) -> u64 {
        self.sent.saturating_sub(self.answered)
    }

    /// Calls per second whose matching replies reached their client within the measured time.
    #[must_use]
    pub fn throughput_rps(&self) -> f64 {
        let seconds = self.measured.as_secs_f64();
        if seconds > 0.0 { self.matched as f64 / seconds } else { 0.0 }
    }

    /// Calls due per second.
    #[must_use]
    pub fn offered_rps(&self) -> f64 {
        let seconds = self.measured.as_secs_f64();
        if seconds > 0.0 { self.offered as f64 / seconds } else { 0.0 }
    }

    /// What several machines report of load that they began together, as one report. Their measured time is the longest
    /// of any, and series are added tenth by tenth, so that they are as far apart as the beginnings were: a round trip.
    #[must_use]
    pub fn merge(reports: Vec<Self>) -> Option<Self> {
        let mut reports = reports.into_iter();
        let first = reports.next()?;
        Some(reports.fold(first, Self::and))
    }

    fn and(mut self, other: Self) -> Self {
        // Histograms of this crate have the same bounds, so that nothing can be out of them.
        let _ = self.latency.add(&other.latency);
        let _ = self.due_latency.add(&other.due_latency);
        series::merge(&mut self.series, &other.series);
        for measured in other.phases {
            match self.phases.iter_mut().find(|own| own.phase == measured.phase) {
                Some(own) => own.add(&measured),
                None => self.phases.push(measured),
            }
        }
        for seen in other.views {
            match self.views.iter_mut().find(|own| own.view == seen.view) {
                Some(own) => own.at_s = own.at_s.min(seen.at_s),
                None => self.views.push(seen),
            }
        }
        self.views.sort_by_key(|seen| seen.view);
        self.measured = self.measured.max(other.measured);
        self.highest = self.highest.max(other.highest);
        for (own, more) in [
            (&mut self.matched, other.matched),
            (&mut self.failed, other.failed),
            (&mut self.submitted, other.submitted),
            (&mut self.bundles, other.bundles),
            (&mut self.operations, other.operations),
            (&mut self.retries, other.retries),
            (&mut self.dissents, other.dissents),
            (&mut self.offered, other.offered),
            (&mut self.sent, other.sent),
            (&mut self.answered, other.answered),
            (&mut self.missed_schedule, other.missed_schedule),
            (&mut self.badly_signed, other.badly_signed),
        ] {
            *own += more;
        }
        self
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::load::Phase;

    fn report(calls: u64, took_us: u64, views: &[(u64, f64)]) -> LoadReport {
        let mut latency = dump::empty(3);
        latency.saturating_record_n(took_us, calls);
        let measured =
            Measured { phase: Phase::Before, time: Duration::from_secs(2), latency: latency.clone() };
        LoadReport {
            matched: calls,
            failed: 1,
            submitted: calls + 1,
            measured: Duration::from_secs(2),
            latency: latency.clone(),
            phases: vec![measured],
            highest: calls,
            bundles: 10,
            operations: calls,
            retries: 0,
            dissents: 2,
            offered: calls + 3,
            sent: calls + 1,
            answered: calls,
            missed_schedule: 1,
            due_latency: latency,
            series: Vec::new(),
            views: views.iter().map(|(view, at_s)| ViewSeen { view: *view, at_s: *at_s }).collect(),
            badly_signed: 0,
        }
    }

    #[test]
    fn what_several_machines_report_is_added_up_and_counts_one_time() {
        let merged = LoadReport::merge(vec![
            report(100, 1_000, &[(1, 0.5)]),
            report(300, 9_000, &[(1, 0.4), (2, 1.0)]),
        ])
        .unwrap();
        assert_eq!((merged.throughput_rps(), merged.offered_rps()), (200.0, 203.0));
        assert_eq!((merged.timed_out(), merged.missed_schedule, merged.bundles), (2, 2, 20));
        assert!((8_900..9_100).contains(&merged.due_latency.value_at_quantile(0.5)));
        assert_eq!(
            merged.views.iter().map(|seen| (seen.view, seen.at_s)).collect::<Vec<_>>(),
            [(1, 0.4), (2, 1.0)]
        );
        assert_eq!(merged.phases[0].time, Duration::from_secs(2));
        assert!(LoadReport::merge(Vec::new()).is_none());
    }

    #[test]
    fn a_report_that_travelled_says_the_same() {
        let told = report(12_345, 77_777, &[(3, 0.1)]);
        let text = serde_json::to_string(&told).unwrap();
        let again: LoadReport = serde_json::from_str(&text).unwrap();
        assert_eq!(again.latency, told.latency);
        assert_eq!(serde_json::to_string(&again).unwrap(), text);
    }
}
