//! Latency, apart for each phase of a run: what a fault costs those who are not struck by it.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::dump;
use super::series::{Bucket, Series};

/// A call that is sent so long after it was due missed its schedule.
const LATE: Duration = Duration::from_millis(10);

/// How a run stands, as far as those are concerned who are gone and come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Nobody was gone yet.
    Before,
    /// Somebody is gone.
    Away,
    /// Links between replicas are cut.
    Parted,
    /// Nobody is gone or cut off, and somebody who was gone is not where the others are.
    CatchingUp,
    /// Everybody is back.
    After,
}

impl Phase {
    /// All of them, in order.
    pub const ALL: [Self; 5] = [Self::Before, Self::Away, Self::Parted, Self::CatchingUp, Self::After];

    /// Whether something is wrong in it that calls may have to wait for.
    fn is_fault(self) -> bool {
        matches!(self, Self::Away | Self::Parted)
    }

    /// In words that fit a column.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::Away => "away",
            Self::Parted => "parted",
            Self::CatchingUp => "catching up",
            Self::After => "after",
        }
    }
}

/// What was measured in one phase.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measured {
    /// Which.
    pub phase: Phase,
    /// How long it lasted within the measured time, all its turns together.
    pub time: Duration,
    /// Latency in microseconds of the calls that were due in it, and of those that were open when it began if it began
    /// with a fault.
    #[serde(with = "dump")]
    pub latency: Histogram<u64>,
}

impl Measured {
    /// The same phase at the same time, on another machine.
    pub(super) fn add(&mut self, other: &Self) {
        // Histograms of this crate have the same bounds, so that nothing can be out of them.
        let _ = self.latency.add(&other.latency);
        self.time = self.time.max(other.time);
    }
}

/// The calls that were due within the measured time.
#[derive(Debug, Clone)]
pub(super) struct Due {
    pub(super) sent: u64,
    /// There was no room for them until the end.
    pub(super) unsent: u64,
    /// Sent more than [`LATE`] after they were due.
    pub(super) late: u64,
    pub(super) answered: u64,
    /// Of those sent; one without an answer took until it was given up.
    pub(super) latency: Histogram<u64>,
}

/// All that was measured.
#[derive(Debug)]
pub(super) struct Found {
    /// Latency of answers that came within the measured time.
    pub(super) all: Histogram<u64>,
    pub(super) phases: Vec<Measured>,
    pub(super) due: Due,
    pub(super) series: Vec<Bucket>,
}

/// Latencies of one run.
#[derive(Debug)]
pub(super) struct Phases {
    /// From when on anything is measured; none while nothing is.
    begin: Option<Instant>,
    /// When each phase began, after the first.
    turns: Vec<(Instant, Phase)>,
    entered: Instant,
    times: [Duration; Phase::ALL.len()],
    each: [Histogram<u64>; Phase::ALL.len()],
    all: Histogram<u64>,
    /// What matched since it was last taken.
    recent: Histogram<u64>,
    due: Due,
    series: Series,
}

impl Default for Phases {
    fn default() -> Self {
        Self {
            begin: None,
            turns: Vec::new(),
            entered: Instant::now(),
            times: [Duration::ZERO; Phase::ALL.len()],
            each: std::array::from_fn(|_| new_histogram()),
            all: new_histogram(),
            recent: new_histogram(),
            due: Due { sent: 0, unsent: 0, late: 0, answered: 0, latency: new_histogram() },
            series: Series::default(),
        }
    }
}

impl Phases {
    /// Measures from `begin` on.
    pub(super) fn measure(&mut self, begin: Instant) {
        self.begin = Some(begin);
    }

    fn current(&self) -> Phase {
        self.turns.last().map_or(Phase::Before, |(_, phase)| *phase)
    }

    pub(super) fn enter(&mut self, phase: Phase, now: Instant) {
        let current = self.current();
        if let Some(begin) = self.begin {
            self.times[current as usize] += now.saturating_duration_since(self.entered.max(begin));
        }
        self.entered = now;
        if phase != current {
            self.turns.push((now, phase));
        }
    }

    /// The phase that a call counts for: the one it was due in, even if its answer comes in the next. If there was no
    /// fault then, and one happened before the answer came at `now`, it counts for that: it had to wait for it.
    fn phase_of(&self, due: Instant, now: Instant) -> Phase {
        let since = self.turns.partition_point(|(began, _)| *began <= due);
        let first = since.checked_sub(1).map_or(Phase::Before, |at| self.turns[at].1);
        let met = self.turns[since..].iter().take_while(|(began, _)| *began <= now).map(|(_, phase)| *phase);
        std::iter::once(first).chain(met).find(|phase| phase.is_fault()).unwrap_or(first)
    }

    /// An answer came at `now` to a call that was due at `due`.
    pub(super) fn record(&mut self, due: Instant, now: Instant, end: Instant) {
        let took = now.saturating_duration_since(due);
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.recent.saturating_record(took_us);
        let Some(begin) = self.begin else { return };
        if (begin..end).contains(&now) {
            self.all.saturating_record(took_us);
            self.series.record(took_us, now, begin);
        }
        if (begin..end).contains(&due) {
            self.each[self.phase_of(due, now) as usize].saturating_record(took_us);
            self.due.answered += 1;
            self.due.latency.saturating_record(took_us);
        }
    }

    /// Calls that were due then were sent at `now`.
    pub(super) fn note_sent(&mut self, dues: &[Instant], now: Instant, end: Instant) {
        let Some(begin) = self.begin else { return };
        for due in dues.iter().filter(|due| (begin..end).contains(due)) {
            self.due.sent += 1;
            self.due.late += u64::from(now.saturating_duration_since(*due) > LATE);
        }
    }

    /// A call that was due then was sent, and is given up at `now`.
    pub(super) fn note_lost(&mut self, due: Instant, now: Instant, end: Instant) {
        if self.begin.is_some_and(|begin| (begin..end).contains(&due)) {
            let took = now.saturating_duration_since(due).as_micros();
            self.due.latency.saturating_record(u64::try_from(took).unwrap_or(u64::MAX));
        }
    }

    /// A call that was due then was never sent.
    pub(super) fn note_unsent(&mut self, due: Instant, end: Instant) {
        let within = self.begin.is_some_and(|begin| (begin..end).contains(&due));
        self.due.unsent += u64::from(within);
    }

    pub(super) fn take_recent(&mut self) -> (u64, u64) {
        let found = (self.recent.value_at_quantile(0.5), self.recent.value_at_quantile(0.99));
        self.recent.reset();
        found
    }

    /// Everything that was measured until `end`: all of it, and each phase that there was.
    pub(super) fn finish(&mut self, end: Instant) -> Found {
        self.enter(self.current(), end);
        let measured = |phase: Phase| Measured {
            phase,
            time: self.times[phase as usize],
            latency: self.each[phase as usize].clone(),
        };
        let there = |measured: &Measured| !measured.time.is_zero() || !measured.latency.is_empty();
        let phases = Phase::ALL.into_iter().map(measured).filter(there).collect();
        let series = self.begin.map_or_else(Vec::new, |begin| self.series.finish(end, begin));
        Found { all: self.all.clone(), phases, due: self.due.clone(), series }
    }
}

fn new_histogram() -> Histogram<u64> {
    dump::empty(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which phases there were, how long each was in milliseconds, and how many calls counted for it.
    fn told(found: &Found) -> Vec<(Phase, u128, u64)> {
        found.phases.iter().map(|one| (one.phase, one.time.as_millis(), one.latency.len())).collect()
    }

    #[test]
    fn a_call_counts_for_the_phase_it_was_due_in() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let (mut phases, end) = (Phases::default(), at(1_000));
        phases.record(at(50), at(60), end);
        phases.measure(at(100));
        // Due before anything was measured, answered since.
        phases.record(at(90), at(110), end);
        phases.record(at(150), at(190), end);
        phases.enter(Phase::Away, at(200));
        phases.enter(Phase::CatchingUp, at(500));
        // Nobody has to wait for the end of a fault.
        phases.record(at(450), at(550), end);
        phases.enter(Phase::Away, at(600));
        phases.record(at(700), at(800), end);
        // Due in time, answered late.
        phases.record(at(950), at(1_050), end);
        let found = phases.finish(end);
        assert_eq!(found.all.len(), 4);
        assert_eq!(
            told(&found),
            [(Phase::Before, 100, 1), (Phase::Away, 700, 3), (Phase::CatchingUp, 100, 0)]
        );
        let before = &found.phases[0].latency;
        assert!(before.max() >= 40_000 && before.max() < 41_000);
    }

    #[test]
    fn a_call_that_was_open_when_a_fault_happened_counts_for_the_fault() {
        let start = Instant::now() + Duration::from_millis(1);
        let at = |ms| start + Duration::from_millis(ms);
        let (mut phases, end) = (Phases::default(), at(2_000));
        phases.measure(start);
        phases.record(at(80), at(90), end);
        phases.enter(Phase::Away, at(100));
        // It waited for another primary.
        phases.record(at(90), at(700), end);
        phases.enter(Phase::CatchingUp, at(800));
        phases.enter(Phase::After, at(900));
        phases.enter(Phase::Parted, at(1_000));
        phases.enter(Phase::After, at(1_500));
        // These waited until it was over.
        phases.record(at(950), at(1_600), end);
        phases.record(at(850), at(1_600), end);
        // A call of a fault is one of that fault, also if there is another.
        phases.record(at(150), at(1_600), end);
        phases.record(at(1_550), at(1_600), end);
        let found = phases.finish(end);
        let expected = [
            (Phase::Before, 100, 1),
            (Phase::Away, 700, 2),
            (Phase::Parted, 500, 2),
            (Phase::CatchingUp, 100, 0),
            (Phase::After, 600, 1),
        ];
        assert_eq!(told(&found), expected);
        assert!(found.phases[0].latency.max() < 11_000, "the fault made none of those before it slow");
    }
}
