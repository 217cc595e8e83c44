//! The load that a cell bears: trials on one cluster, for as long as it is healthy.

use std::time::Duration;

use super::once::{self, Loaded, stint, trial};
use super::stage::{Set, Stage, expected_of};
use super::{RunError, Watch};
use crate::figure::{Figure, Plan};
use crate::load::LoadReport;
use crate::record::{Cell, Trial};
use crate::search::{End, Limits, Search};

/// The first load of a search is so much of what a closed loop was answered: the most that a cluster does within limits
/// on latency is rarely less.
const FIRST_OF_PEAK: f64 = 0.7;
/// A closed loop that was far above the limit makes it so much less at most.
const SLOW_MOST: f64 = 0.05;
/// Where calls take long, on an emulated network or with many replicas for each processor, load warms up for so many calls
/// one after the other, and so much longer.
const WARM_UP_WAYS: u32 = 3;
const WARM_UP_MORE: Duration = Duration::from_secs(1);
/// No network takes longer.
const MINUTE_US: f64 = 60e6;

/// What a search found, as far as it came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    /// The highest load that was sustained.
    pub(super) best: Option<Trial>,
    pub(super) trials: Vec<Trial>,
    /// How it ended; none if it was broken off.
    pub(super) end: Option<End>,
    /// Median latency that the emulated network alone causes, in microseconds; 0 if there is none, or nobody knows.
    pub(super) expected_us: f64,
}

/// What earlier searches found.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The last one: cells that differ in nothing but their rate follow each other.
    last: Option<(Cell, Found)>,
    /// What was sustained of cells that differ in more than their scenario, the newest of each: at most one for each cell of
    /// the figure.
    peaks: Vec<(Cell, f64)>,
}

impl Known {
    pub(super) fn of(&self, cell: &Cell) -> Option<Found> {
        let (known, found) = self.last.as_ref()?;
        (*known == without_rate(cell)).then(|| found.clone())
    }

    pub(super) fn note(&mut self, cell: &Cell, found: &Found) {
        self.last = Some((without_rate(cell), found.clone()));
        let alike = without_scenario(cell);
        if let Some(best) = found.best {
            self.peaks.retain(|(known, _)| *known != alike);
            self.peaks.push((alike, best.throughput_rps));
        }
    }

    /// About what a cell is expected to sustain: what it did in another scenario.
    pub(super) fn near(&self, cell: &Cell) -> Option<f64> {
        let alike = without_scenario(cell);
        self.peaks.iter().find(|(known, _)| *known == alike).map(|(_, peak)| *peak)
    }
}

fn without_scenario(cell: &Cell) -> Cell {
    Cell { scenario: String::new(), ..without_rate(cell) }
}

fn without_rate(cell: &Cell) -> Cell {
    Cell { rate: String::new(), ..cell.clone() }
}

/// What counts as sustained in a cell.
pub(super) fn limits(figure: &Figure, cell: &Cell) -> Limits {
    let p99_us = f64::from(cell.p99_limit_ms) * 1e3;
    // Clients that may have no more in flight cannot ask for more than that in each latency.
    let first = figure.trials.first_rps.unwrap_or_else(|| f64::from(cell.clients) * 100.0);
    Limits { trials_max: usize::from(figure.trials.most), ..Limits::new(p99_us, first) }
}

/// The first load of a search where a closed loop was answered so, and the network alone takes so long in the median: no
/// more than clients have room for, and less the further the loop was above the limit.
fn first_rps(cell: &Cell, closed: &Trial, (limit_us, expected_us): (f64, f64)) -> f64 {
    let in_flight = f64::from(cell.clients) * f64::from(cell.in_flight);
    let room = if expected_us > 0.0 { in_flight * 1e6 / expected_us } else { f64::INFINITY };
    let slow = (limit_us / closed.p99_us.max(1.0)).clamp(SLOW_MOST, 1.0);
    closed.throughput_rps.min(room) * FIRST_OF_PEAK * slow
}

/// Load before anything is measured: on an emulated network of long ways, until the first calls have been answered, and
/// those that were due meanwhile.
pub(super) fn warm_up(asked: Duration, expected_us: f64) -> Duration {
    if expected_us > 0.0 {
        let ways = Duration::from_secs_f64(expected_us.min(MINUTE_US) / 1e6);
        asked.max(ways * WARM_UP_WAYS + WARM_UP_MORE)
    } else {
        asked
    }
}

/// The same once it is known what calls take as a rule: at the beginning of a load those pile up that a cluster of many
/// replicas on few processors serves in batches, and whoever measures then measures the pile.
fn warm_up_after(asked: Duration, usual_us: f64) -> Duration {
    let is_slow = usual_us * f64::from(WARM_UP_WAYS) > asked.as_secs_f64() * 1e6;
    if is_slow { warm_up(asked, usual_us) } else { asked }
}

/// Looks for the most that a cell bears, from `near` on if about so much is expected. What was tried is noted as it comes,
/// also if there is no end.
pub(super) async fn seek(
    (figure, cell, near): (&Figure, &Cell, Option<f64>),
    (plan, found): (&Plan, &mut Found),
    set: &mut Set,
    watch: &mut Watch<'_>,
) -> Result<(), RunError> {
    found.expected_us = expected_of((figure, cell), plan).unwrap_or(0.0);
    let warm_up = warm_up(figure.trials.warm_up, found.expected_us);
    let mut seeker = Seeker { figure, cell, near, plan, warm_up, stage: None };
    let sought = seeker.seek(found, set, watch).await;
    if let Some(stage) = seeker.stage.take() {
        stage.strike(set).await;
    }
    sought?;
    if found.best.is_some() {
        return Ok(());
    }
    let lowest = found.trials.iter().min_by(|one, other| one.offered_rps.total_cmp(&other.offered_rps));
    let lowest = lowest.copied().unwrap_or_default();
    let limit_us = limits(figure, cell).p99_us;
    let expected_us = found.expected_us;
    Err(RunError::Unsustained { tried: found.trials.len(), lowest, limit_us, expected_us })
}

struct Seeker<'a> {
    figure: &'a Figure,
    cell: &'a Cell,
    near: Option<f64>,
    plan: &'a Plan,
    warm_up: Duration,
    stage: Option<Stage>,
}

impl Seeker<'_> {
    async fn seek(
        &mut self,
        found: &mut Found,
        set: &mut Set,
        watch: &mut Watch<'_>,
    ) -> Result<(), RunError> {
        let mut limits = limits(self.figure, self.cell);
        if let Some(near) = self.near {
            limits = limits.near(near);
        } else if self.figure.trials.first_rps.is_none() {
            watch.doing("a closed loop, for a first rate");
            let closed = trial(&self.attempt(None, set, watch).await?);
            if closed.throughput_rps < 1.0 {
                return Err(RunError::Nothing("not even one at a time".to_owned()));
            }
            limits.first_rps = first_rps(self.cell, &closed, (limits.p99_us, found.expected_us));
        }
        let mut search = Search::new(limits);
        while let Some(offered) = search.next() {
            watch.doing(format!("trial {}, {offered:.0} calls/s", search.trials().len() + 1));
            let report = self.attempt(Some(offered), set, watch).await?;
            search.note(trial(&report));
            found.trials = search.trials().to_vec();
        }
        self.part(set).await?;
        (found.best, found.end) = (search.best(), search.end());
        Ok(())
    }

    /// One trial, on the cluster that is there or on a new one.
    async fn attempt(
        &mut self,
        rate: Option<f64>,
        set: &mut Set,
        watch: &mut Watch<'_>,
    ) -> Result<LoadReport, RunError> {
        let mut stop = watch.stop.clone();
        if self.stage.is_none() {
            let setting = Stage::set((self.figure, self.cell), self.plan, set);
            self.stage = Some(Watch::unless_stopped(&mut stop, setting).await?);
        }
        let Some(stage) = &mut self.stage else { return Err(RunError::Interrupted) };
        let stint = stint(self.warm_up, self.figure.trials.measure_of(self.cell), rate);
        let work = async {
            let before = stage.newest_view().await;
            let Loaded { report, .. } = once::load(stage, (stint, &[])).await?;
            let after = stage.newest_view().await;
            Ok((report, before == after))
        };
        let (report, calm) = Watch::unless_stopped(&mut stop, work).await?;
        let usual_us =
            (report.due_latency.value_at_quantile(0.5) as f64).min(limits(self.figure, self.cell).p99_us);
        self.warm_up = self.warm_up.max(warm_up_after(self.figure.trials.warm_up, usual_us));
        // Too much load may have cost a primary its seat, and calls their answers: the next trial begins anew.
        if !calm || report.timed_out() > 0 {
            self.part(set).await?;
        }
        Ok(report)
    }

    /// Ends the cluster, if its replicas agree.
    async fn part(&mut self, set: &mut Set) -> Result<(), RunError> {
        let Some(mut stage) = self.stage.take() else { return Ok(()) };
        let highest = stage.cluster.peek().await.map(|peek| peek.highest);
        let agreed = match highest {
            Ok(highest) => once::agreed(&mut stage, highest).await.map(drop),
            Err(error) => Err(error.into()),
        };
        stage.strike(set).await;
        agreed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_search_serves_cells_that_differ_in_nothing_but_their_rate() {
        let cell = |rate: &str, f| Cell { rate: rate.to_owned(), f, ..Cell::default() };
        let mut known = Known::default();
        assert!(known.of(&cell("peak", 1)).is_none());
        known.note(&cell("peak", 1), &Found::default());
        assert!(known.of(&cell("70%", 1)).is_some());
        assert!(known.of(&cell("peak", 2)).is_none());
    }

    #[test]
    fn a_search_begins_near_what_the_same_cluster_sustained_in_another_scenario() {
        let cell = |scenario: &str, f| Cell { scenario: scenario.to_owned(), f, ..Cell::default() };
        let best = |throughput_rps| Found {
            best: Some(Trial { throughput_rps, ..Trial::default() }),
            ..Found::default()
        };
        let mut known = Known::default();
        known.note(&cell("none", 1), &best(1000.0));
        known.note(&cell("none", 2), &best(500.0));
        assert_eq!(known.near(&cell("crash:f", 1)), Some(1000.0));
        known.note(&cell("crash:f", 1), &best(1200.0));
        known.note(&cell("silent:f", 1), &Found::default());
        assert_eq!(known.near(&cell("equivocate:f", 1)), Some(1200.0));
        assert_eq!(known.near(&cell("none", 3)), None);
        let near = Limits::new(1e5, 10.0).near(1000.0);
        let mut search = Search::new(near);
        assert_eq!(search.next(), Some(900.0));
        search.note(Trial {
            throughput_rps: 900.0,
            offered_rps: 900.0,
            answered_share: 1.0,
            ..Trial::default()
        });
        assert_eq!(search.next(), Some(1125.0), "it does not grow far beyond what is expected");
    }

    #[test]
    fn a_search_begins_where_clients_have_room_and_lower_the_later_a_closed_loop_was() {
        let cell = Cell { clients: 4, in_flight: 25, ..Cell::default() };
        let closed = |throughput_rps, p99_us| Trial { throughput_rps, p99_us, ..Trial::default() };
        let near = |found: f64, expected: f64| {
            assert!((found - expected).abs() < 0.01 * expected, "{found}, not {expected}");
        };
        // Fast enough, no network: as ever.
        near(first_rps(&cell, &closed(10_000.0, 20_000.0), (100_000.0, 0.0)), 7_000.0);
        // A hundred calls in flight, each of which takes 200 ms on the way: no more than 500 a second.
        near(first_rps(&cell, &closed(10_000.0, 20_000.0), (100_000.0, 200_000.0)), 350.0);
        // Four times too late.
        near(first_rps(&cell, &closed(400.0, 400_000.0), (100_000.0, 200_000.0)), 70.0);
        // Later than anything: not less than a twentieth of that, for a moment may have been bad.
        near(first_rps(&cell, &closed(400.0, 1e9), (100_000.0, 0.0)), 14.0);
    }

    #[test]
    fn trials_on_long_ways_warm_up_for_three_calls_and_a_second() {
        let asked = Duration::from_millis(500);
        assert_eq!(warm_up(asked, 0.0), asked);
        assert_eq!(warm_up(asked, 300_000.0), Duration::from_millis(1_900));
        assert_eq!(warm_up(Duration::from_secs(5), 300_000.0), Duration::from_secs(5));
    }

    #[test]
    fn trials_warm_up_for_longer_where_calls_take_a_good_part_of_it() {
        let asked = Duration::from_millis(500);
        assert_eq!(warm_up_after(asked, 7_000.0), asked);
        assert_eq!(warm_up_after(asked, 160_000.0), asked);
        assert_eq!(warm_up_after(asked, 200_000.0), Duration::from_millis(1_600));
    }

    #[test]
    fn a_search_that_found_nothing_says_what_it_tried() {
        let lowest = Trial { offered_rps: 81.4, p99_us: 612_345.0, answered_share: 1.0, ..Trial::default() };
        let told = |limit_us, expected_us| {
            RunError::Unsustained { tried: 8, lowest, limit_us, expected_us }.to_string()
        };
        let said = "none of the 8 loads tried was sustained (lowest 81 calls/s: p99 612 ms, limit 500 ms; 100.0 % of";
        let error = told(5e5, 2e5);
        assert!(error.starts_with(said) && error.contains("`first_rps` under `[search]`"), "{error}");
        // Less load does not make the ways shorter.
        let error = told(5e5, 6e5);
        assert!(
            error
                .ends_with("the network alone takes 600 ms in the median, so allow more with `p99_limit_ms`")
        );
    }
}
