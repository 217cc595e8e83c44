//! The load that a cell bears: trials on one cluster, for as long as it is healthy.

use super::once::{self, stint, trial};
use super::stage::{Set, Stage};
use super::{RunError, Watch};
use crate::figure::{Figure, Plan};
use crate::load::LoadReport;
use crate::record::{Cell, Trial};
use crate::search::{Limits, Search};

/// The first load of a search is so much of what a closed loop was answered: the most that a cluster does within limits
/// on latency is rarely less.
const FIRST_OF_PEAK: f64 = 0.7;

/// What a search found.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// The highest load that was sustained.
    pub(super) best: Trial,
    pub(super) trials: Vec<Trial>,
}

/// The last search: cells that differ in nothing but their rate follow each other.
#[derive(Debug, Default)]
pub(super) struct Known {
    last: Option<(Cell, Found)>,
}

impl Known {
    pub(super) fn of(&self, cell: &Cell) -> Option<Found> {
        let (known, found) = self.last.as_ref()?;
        (*known == without_rate(cell)).then(|| found.clone())
    }

    pub(super) fn note(&mut self, cell: &Cell, found: &Found) {
        self.last = Some((without_rate(cell), found.clone()));
    }
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

/// Looks for the most that a cell bears.
pub(super) async fn seek(
    (figure, cell): (&Figure, &Cell),
    plan: &Plan,
    set: &mut Set,
    watch: &mut Watch<'_>,
) -> Result<Found, RunError> {
    let mut seeker = Seeker { figure, cell, plan, stage: None };
    let sought = seeker.seek(set, watch).await;
    if let Some(stage) = seeker.stage.take() {
        stage.strike(set).await;
    }
    let search = sought?;
    let trials = search.trials().to_vec();
    let least_rps = trials.iter().map(|trial| trial.offered_rps).fold(f64::INFINITY, f64::min);
    match search.best() {
        Some(best) => Ok(Found { best, trials }),
        None => Err(RunError::Unsustained { least_rps }),
    }
}

struct Seeker<'a> {
    figure: &'a Figure,
    cell: &'a Cell,
    plan: &'a Plan,
    stage: Option<Stage>,
}

impl Seeker<'_> {
    async fn seek(&mut self, set: &mut Set, watch: &mut Watch<'_>) -> Result<Search, RunError> {
        let mut limits = limits(self.figure, self.cell);
        if self.figure.trials.first_rps.is_none() {
            watch.doing("a closed loop, for a first rate");
            let peak = self.attempt(None, set, watch).await?.throughput_rps();
            if peak < 1.0 {
                return Err(RunError::Nothing("not even one at a time".to_owned()));
            }
            limits.first_rps = peak * FIRST_OF_PEAK;
        }
        let mut search = Search::new(limits);
        while let Some(offered) = search.next() {
            watch.doing(format!("trial {}, {offered:.0} calls/s", search.trials().len() + 1));
            let report = self.attempt(Some(offered), set, watch).await?;
            search.note(trial(&report));
        }
        self.part(set).await?;
        Ok(search)
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
        let stint = stint(self.figure.trials.warm_up, self.figure.trials.measure, rate);
        let work = async {
            let before = newest_view(stage).await;
            let (report, _) = once::load(stage, (stint, &[])).await?;
            let after = newest_view(stage).await;
            Ok((report, before == after))
        };
        let (report, calm) = Watch::unless_stopped(&mut stop, work).await?;
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

/// The newest view of any correct replica.
async fn newest_view(stage: &mut Stage) -> Option<u64> {
    let statuses = stage.cluster.statuses().await;
    stage.correct(&statuses).iter().map(|status| status.view).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_search_serves_cells_that_differ_in_nothing_but_their_rate() {
        let cell = |rate: &str, f| Cell { rate: rate.to_owned(), f, ..Cell::default() };
        let mut known = Known::default();
        assert!(known.of(&cell("peak", 1)).is_none());
        known.note(&cell("peak", 1), &Found { best: Trial::default(), trials: Vec::new() });
        assert!(known.of(&cell("70%", 1)).is_some());
        assert!(known.of(&cell("peak", 2)).is_none());
    }
}
