//! Looking for the most that a cluster answers within the limits: which load to offer next, and when it is enough.
//!
//! Nothing here measures anything. The offered load grows while it is sustained, and falls while it is not; then the
//! gap between the highest load that was sustained and the lowest that was not is halved until it is small enough.
//! Whatever the cluster does, the number of trials is bounded.

use crate::record::Trial;

/// By how much the load grows at first where nothing is known.
const GROWTH: f64 = 2.0;
/// By how much it grows at first from a load near which the most is expected.
const NEAR_GROWTH: f64 = 1.25;
/// The first load is so much of what is expected.
const BELOW: f64 = 0.9;
/// By how much it grows after so many trials.
const LATER_GROWTH: f64 = 1.5;
const LATER: usize = 2;
/// By how much it falls while nothing was sustained yet: the further it was beyond the limit, the more.
const FALL: f64 = 4.0;
const LEAST_FALL: f64 = 1.25;
/// Of what was offered, so much has to be answered within the measured time as well: else calls pile up, and only a short
/// time keeps the pile small.
const PACE: f64 = 0.95;
/// Who answers all in time and so much within the measured time hardly fell behind.
const HARDLY: f64 = 0.9;
/// Calls per second that pace does not depend on: of few calls, one at either end of the measured time is a large part.
const PACE_RPS: f64 = 2.0;
/// Loads that differ by less are the same one.
const SAME: f64 = 0.005;
/// Calls per second that are not worth a trial.
const LEAST_RPS: f64 = 1.0;

/// What is sustained, and how long the search may take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// The 99th percentile of latency may be so long, in microseconds.
    pub p99_us: f64,
    /// So much of the calls due within the measured time must be answered, from 0 to 1.
    pub share: f64,
    /// What to offer first, in calls per second: better too little than too much.
    pub first_rps: f64,
    /// By how much the load grows at first, while nothing was too much yet.
    pub first_growth: f64,
    /// The most that the load's machine can offer.
    pub max_rps: f64,
    /// The gap that is small enough: 0.05 for 5 %.
    pub precision: f64,
    /// Trials at most.
    pub trials_max: usize,
}

impl Limits {
    /// Limits on latency alone; the rest as usual.
    #[must_use]
    pub fn new(p99_us: f64, first_rps: f64) -> Self {
        let first_growth = GROWTH;
        Self {
            p99_us,
            share: 0.98,
            first_rps,
            first_growth,
            max_rps: 10_000_000.0,
            precision: 0.05,
            trials_max: 12,
        }
    }

    /// The same, where about so much is expected to be sustained.
    #[must_use]
    pub fn near(self, expected_rps: f64) -> Self {
        Self { first_rps: expected_rps * BELOW, first_growth: NEAR_GROWTH, ..self }
    }

    /// Whether what came of a trial, or of a run, is within these limits.
    #[must_use]
    pub fn sustains(&self, trial: &Trial) -> bool {
        self.keeps_up(trial) && trial.p99_us <= self.p99_us
    }

    /// How much a trial says that was not sustained.
    fn failed(&self, trial: &Trial) -> Failed {
        let in_time = trial.answered_share >= self.share && trial.p99_us <= self.p99_us;
        let hardly = in_time && trial.throughput_rps >= HARDLY * trial.offered_rps;
        if hardly { Failed::Hardly } else { Failed::Once }
    }

    /// Whether the calls were answered, however late each of them was.
    fn keeps_up(&self, trial: &Trial) -> bool {
        trial.throughput_rps > 0.0
            && trial.answered_share >= self.share
            && trial.throughput_rps >= PACE * trial.offered_rps - PACE_RPS
    }
}

/// How a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The gap between what was sustained and what was not is small enough.
    Converged,
    /// The most that can be offered was sustained: the cluster may be able to do more.
    Unsaturated,
    /// Nothing was sustained.
    Nothing,
    /// So many trials were not enough; the best one stands all the same.
    OutOfTrials,
}

impl End {
    /// In words that a record keeps.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Converged => "bracketed",
            Self::Unsaturated => "unsaturated",
            Self::Nothing => "nothing sustained",
            Self::OutOfTrials => "out of trials",
        }
    }
}

/// By how much the lowest load that was too much is above the one that was borne, and that trial; none if none was.
#[must_use]
pub fn gap(trials: &[Trial], borne_rps: f64) -> Option<(f64, Trial)> {
    let above = |trial: &&Trial| !trial.sustained && trial.offered_rps > borne_rps * (1.0 + SAME);
    let lowest =
        trials.iter().filter(above).min_by(|one, other| one.offered_rps.total_cmp(&other.offered_rps))?;
    (borne_rps > 0.0).then(|| (lowest.offered_rps / borne_rps - 1.0, *lowest))
}

/// How much a failed load says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failed {
    /// Everything was answered in time, and fell a little behind.
    Hardly,
    /// It was too much.
    Once,
    /// It was so twice.
    Twice,
}

/// A search under way.
#[derive(Debug, Clone)]
pub struct Search {
    limits: Limits,
    trials: Vec<Trial>,
    next: Option<f64>,
    end: Option<End>,
}

impl Search {
    /// Begins with the first load of the limits, or with the most that can be offered if that is less.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let first = limits.first_rps.min(limits.max_rps).max(LEAST_RPS);
        Self { limits, trials: Vec::new(), next: Some(first), end: None }
    }

    /// What to offer next, in calls per second; none once it is over.
    #[must_use]
    pub fn next(&self) -> Option<f64> {
        self.next
    }

    /// What came of that. Whether it was sustained is decided here.
    pub fn note(&mut self, trial: Trial) {
        let Some(offered_rps) = self.next else { return };
        let sustained = self.limits.sustains(&trial);
        // What was asked for is what the search reasons about, whatever a clock made of it.
        let trial = Trial { sustained, offered_rps, ..trial };
        self.trials.push(trial);
        self.end = self.judge();
        self.next = if self.end.is_some() { None } else { Some(self.choose(trial)) };
        if self.end.is_none() && self.trials.len() >= self.limits.trials_max {
            self.next = None;
            self.end = Some(if self.low().is_some() { End::OutOfTrials } else { End::Nothing });
        }
    }

    /// The highest load that was sustained.
    fn low(&self) -> Option<f64> {
        let sustained = self.trials.iter().filter(|trial| trial.sustained);
        sustained.map(|trial| trial.offered_rps).max_by(f64::total_cmp)
    }

    /// The lowest load above that one which was not, and how much that says. Who bore more later was only unlucky before.
    fn high(&self) -> Option<(f64, Failed)> {
        let low = self.low().unwrap_or(0.0);
        let failed = |trial: &&Trial| !trial.sustained && trial.offered_rps > low;
        let failed = || self.trials.iter().filter(failed);
        let lowest = failed().min_by(|one, other| one.offered_rps.total_cmp(&other.offered_rps))?;
        let high = lowest.offered_rps;
        let times = failed().filter(|trial| trial.offered_rps <= high * (1.0 + SAME)).count();
        Some((high, if times > 1 { Failed::Twice } else { self.limits.failed(lowest) }))
    }

    /// Whether it is over, except for want of trials.
    fn judge(&self) -> Option<End> {
        match (self.low(), self.high()) {
            (Some(low), None) if low >= self.limits.max_rps => Some(End::Unsaturated),
            (None, Some((high, _))) if high <= LEAST_RPS => Some(End::Nothing),
            (Some(low), Some((high, Failed::Twice))) if self.is_narrow(low, high) => Some(End::Converged),
            _ => None,
        }
    }

    fn is_narrow(&self, low: f64, high: f64) -> bool {
        high <= low * (1.0 + self.limits.precision)
    }

    fn choose(&self, last: Trial) -> f64 {
        match (self.low(), self.high()) {
            // One bad moment of the machine must not end a search: what was too much is tried once more.
            (Some(low), Some((high, failed))) if failed == Failed::Hardly || self.is_narrow(low, high) => {
                high
            }
            (Some(low), Some((high, _))) => self.between(low, high),
            (Some(low), None) => {
                let growth = if self.trials.len() <= LATER { self.limits.first_growth } else { LATER_GROWTH };
                (low * growth).min(self.limits.max_rps)
            }
            (None, Some((high, _))) => self.below(high, last).max(LEAST_RPS),
            (None, None) => self.limits.first_rps,
        }
    }

    /// A load below one that was too much, while nothing was sustained. What came through tells how far to fall, as long
    /// as it came in time; what came late is believed once, for it may be late at any load near that.
    fn below(&self, high: f64, last: Trial) -> f64 {
        let late = last.p99_us / self.limits.p99_us;
        let least = if late.is_finite() { high / late.clamp(LEAST_FALL, FALL) } else { high / FALL };
        let told = last.throughput_rps * 0.9;
        let near = if late <= 1.0 || self.trials.len() == 1 { high * 0.9 } else { high * 0.5 };
        let tells = !self.limits.keeps_up(&last) && told > high / FALL && told < near;
        if tells { told } else { least }
    }

    /// A load in the gap. What came through of a load that was too much is about what there is: it is tried, then a
    /// little more than it. Where that tells nothing, the middle.
    fn between(&self, low: f64, high: f64) -> f64 {
        let swamped = |trial: &&Trial| !self.limits.keeps_up(trial);
        let through = self.trials.iter().filter(swamped).map(|trial| trial.throughput_rps);
        let through = through.fold(0.0, f64::max);
        let (about, more) = (through * 0.97, low * (1.0 + self.limits.precision * 0.9));
        if about > low * 1.02 && about < high * 0.95 {
            about
        } else if low >= about && low <= through && more < high {
            more
        } else {
            (low * high).sqrt()
        }
    }

    /// The trial that was sustained and answered most.
    #[must_use]
    pub fn best(&self) -> Option<Trial> {
        let sustained = self.trials.iter().filter(|trial| trial.sustained);
        sustained.max_by(|one, other| one.throughput_rps.total_cmp(&other.throughput_rps)).copied()
    }

    /// Every trial so far, in order.
    #[must_use]
    pub fn trials(&self) -> &[Trial] {
        &self.trials
    }

    /// How it ended, once it is over.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        self.end
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
