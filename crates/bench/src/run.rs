//! A figure, measured: cell after cell, each a search for the load it bears and a few runs at that load.
//!
//! Every run has a cluster of its own, with fresh keys and empty folders, so that no run inherits the past of another.
//! The trials of one search share a cluster for as long as it is healthy: they only find out which load the runs shall
//! have, and what they leave behind is the same kind of load. Whatever happens in one cell, the next one is measured.

mod bearing;
mod faults;
mod marks;
mod once;
mod point;
mod provenance;
mod seek;
mod stage;

use std::time::{Duration, Instant};

use tokio::sync::watch;

use self::bearing::Next;
use self::once::Once;
pub use self::provenance::COMMIT;
use self::seek::{Found, Known};
use self::stage::{Described, Set};
use crate::cluster::{ClusterError, Hand};
use crate::figure::{Figure, FigureError, Plan, Rate, ScenarioError};
use crate::limits::{Limits, file_system_of};
use crate::network::NetworkError;
use crate::record::{Cell, Record, Trial};
use crate::worker::WorkerError;

/// A run at the peak that a search found may turn out to be too much; then so much less is tried.
const STEP_BACK: f64 = 0.9;
/// How often. If it still is, the cell has no number: what is not sustained is no peak.
const STEPS_BACK_MAX: usize = 4;

/// Why a cell has no number.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A machine.
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// The scenario.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// The network.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// An emulated network on several machines, which have one of their own.
    #[error("`{0}` is emulated on one machine; leave out either it or the other machines")]
    Emulated(String),
    /// Nobody knows what to ask.
    #[error("there is no workload for the application `{0}`; take kv, counter or null")]
    NoWorkload(String),
    /// A machine whose disk is none.
    #[error(
        "machine `{machine}` keeps its replicas' folders in {kind}, which lives in memory, and `sync` would measure no disk \
         there; start its agent with `--folder` and a folder on a disk"
    )]
    InMemory {
        /// The machine.
        machine: String,
        /// Its file system.
        kind: String,
    },
    /// Nothing was answered.
    #[error("no call was answered; {0}")]
    Nothing(String),
    /// No load was sustained.
    #[error(
        "none of the {tried} loads tried was sustained (lowest {:.0} calls/s: p99 {}, limit {}; {:.1} % of the calls \
         answered); {}",
        .lowest.offered_rps, words_of(.lowest.p99_us), words_of(*.limit_us), .lowest.answered_share * 100.0,
        fix_of(*.expected_us, *.limit_us)
    )]
    Unsustained {
        /// How many.
        tried: usize,
        /// The lowest of them.
        lowest: Trial,
        /// The limit of p99, in microseconds.
        limit_us: f64,
        /// What the emulated network alone takes in the median, in microseconds; 0 if nobody knows.
        expected_us: f64,
    },
    /// What the search found was more than runs bear, and so was what was tried in its place.
    #[error(
        "most runs were out of the limits at the peak that the search found, and still at {:.0} calls/s (p99 {}, limit \
         {}; {:.1} % of the calls answered); give trials more time with `measure_ms` under `[search]`",
        .last.offered_rps, words_of(.last.p99_us), words_of(*.limit_us), .last.answered_share * 100.0
    )]
    Unborne {
        /// The last run at the lowest load.
        last: Trial,
        /// The limit of p99, in microseconds.
        limit_us: f64,
    },
    /// Agreement, as the testbed defines it.
    #[error("{0}")]
    Verdict(String),
    /// A fault that could not strike.
    #[error("{0}")]
    Fault(String),
    /// Somebody wants it to end.
    #[error("interrupted")]
    Interrupted,
}

/// A latency in words.
fn words_of(us: f64) -> String {
    if us < 10_000.0 { format!("{:.1} ms", us / 1e3) } else { format!("{:.0} ms", us / 1e3) }
}

/// What to do where nothing was sustained.
fn fix_of(expected_us: f64, limit_us: f64) -> String {
    if expected_us > limit_us {
        let alone = words_of(expected_us);
        format!("the network alone takes {alone} in the median, so allow more with `p99_limit_ms`")
    } else {
        "allow more with `p99_limit_ms`, or begin lower with `first_rps` under `[search]`".to_owned()
    }
}

/// What else is needed besides the figure.
pub struct Setting {
    /// The cells to measure, by their places among those of the figure.
    pub cells: Vec<usize>,
    /// This machine and the others, in the order of the figure: this one first.
    pub hands: Vec<Hand>,
    /// Clients run on these of them.
    pub client_places: Vec<usize>,
    /// Replicas run on these of them.
    pub replica_places: Vec<usize>,
    /// What the machine could do at most, measured just now.
    pub limits: Limits,
    /// The command, as it was given.
    pub command: String,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Which cell, from 1.
    pub cell: usize,
    /// Of how many.
    pub cells: usize,
    /// Which one, in words.
    pub label: String,
    /// What is going on.
    pub doing: String,
    /// What is left of all, about.
    pub left: Duration,
}

/// A record, and the files that its runs name.
#[derive(Debug, Clone)]
pub struct Measured {
    /// The figure's record; after an interruption, what there is of it.
    pub record: Record,
    /// Names and contents of latency histograms.
    pub histograms: Vec<(String, Vec<u8>)>,
    /// Whether somebody wanted it to end early.
    pub interrupted: bool,
    /// Cells that were measured to their end, with a number or without. After an interruption the record has one point
    /// more: the runs of a cell that was not.
    pub finished: usize,
}

/// What is told to whoever watches, and who may want it to end.
pub(crate) struct Watch<'a> {
    told: &'a mut dyn FnMut(&Progress),
    stop: watch::Receiver<bool>,
    /// When everything should be over, as far as is known.
    over: Instant,
    cell: usize,
    cells: usize,
    label: String,
}

impl Watch<'_> {
    fn doing(&mut self, what: impl Into<String>) {
        let progress = Progress {
            cell: self.cell,
            cells: self.cells,
            label: self.label.clone(),
            doing: what.into(),
            left: self.over.saturating_duration_since(Instant::now()),
        };
        (self.told)(&progress);
    }

    /// Work, unless somebody wants it to end before.
    async fn unless_stopped<T>(
        stop: &mut watch::Receiver<bool>,
        work: impl Future<Output = Result<T, RunError>>,
    ) -> Result<T, RunError> {
        tokio::select! {
            done = work => done,
            // A sender that is gone wants nothing.
            () = async { if stop.wait_for(|stop| *stop).await.is_err() { std::future::pending().await } } => {
                Err(RunError::Interrupted)
            }
        }
    }
}

/// Measures a figure. Cells that cannot be measured say why; `stop` ends it early, with what there is.
///
/// # Errors
/// [`FigureError::InMemory`] if cells sync, and the data folder is in memory.
pub async fn measure(
    figure: &Figure,
    setting: Setting,
    told: &mut dyn FnMut(&Progress),
    stop: watch::Receiver<bool>,
) -> Result<Measured, FigureError> {
    let Setting { cells, hands, client_places, replica_places, limits, command } = setting;
    let began = Instant::now();
    let folder = figure.data_folder()?;
    let mut provenance = provenance::begin(&command);
    provenance.file_system = file_system_of(&folder).map_or_else(|| "unknown".to_owned(), |found| found.kind);
    let mut set = Set::new(hands, client_places, replica_places);
    let machines = set.describe(figure).await;
    let cores = stage::cores(&machines);
    let chosen: Vec<&Cell> = cells.iter().filter_map(|at| figure.cells().get(*at)).collect();
    provenance.warnings = provenance::warnings(&limits, cores, &chosen);
    provenance.machines = machines.iter().map(|described| described.name.clone()).collect();
    let mut watch = Watch { told, stop, over: began, cell: 0, cells: cells.len(), label: String::new() };
    let (title, configuration) = (figure.title.clone(), figure.text.clone());
    let (about, draw) =
        (figure.about.clone(), figure.draw.iter().map(|chart| chart.name().to_owned()).collect());
    let record = Record { title, about, draw, configuration, provenance, limits, points: Vec::new() };
    let mut measured = Measured { record, histograms: Vec::new(), interrupted: false, finished: 0 };
    let mut known = Known::default();
    for (number, at) in cells.iter().enumerate() {
        let Some(cell) = figure.cells().get(*at) else { continue };
        watch.cell = number + 1;
        watch.label = label(cell);
        watch.over = over(figure, &cells, (number, began));
        let mut told = CellMeasured::default();
        let ended = match in_memory(&machines).filter(|_| cell.durability == "sync") {
            Some((machine, kind)) => Err(RunError::InMemory { machine, kind }),
            None => measure_cell((figure, cell), &mut told, (&mut set, &mut known), &mut watch).await,
        };
        measured.interrupted = matches!(ended, Err(RunError::Interrupted));
        let cores = (cores, stage::all_cores(&machines));
        let (point, histograms) =
            point::of((number + 1, cell), (told, ended), (&measured.record.limits, cores));
        measured.record.points.push(point);
        measured.histograms.extend(histograms);
        if measured.interrupted {
            break;
        }
        measured.finished += 1;
    }
    set.dismiss().await;
    measured.record.provenance.took_s = began.elapsed().as_secs_f64();
    Ok(measured)
}

/// A machine with replicas whose folders are in memory, and in which file system.
fn in_memory(machines: &[Described]) -> Option<(String, String)> {
    let is_one =
        |of: &&Described| of.has_replicas && ["tmpfs", "ramfs"].contains(&of.machine.file_system.as_str());
    machines.iter().find(is_one).map(|of| (of.name.clone(), of.machine.file_system.clone()))
}

/// When everything should be over once so many cells are done: as was guessed, corrected by how wrong the guesses were so
/// far.
fn over(figure: &Figure, cells: &[usize], (done, began): (usize, Instant)) -> Instant {
    let guessed =
        |cells: &[usize]| -> f64 { cells.iter().map(|at| figure.estimate_of(*at).as_secs_f64()).sum() };
    let (behind, ahead) = cells.split_at(done);
    let took_s = began.elapsed().as_secs_f64();
    let correction = if done == 0 { 1.0 } else { (took_s / guessed(behind).max(1.0)).clamp(0.2, 5.0) };
    Instant::now() + Duration::from_secs_f64(guessed(ahead) * correction)
}

/// What came of a cell so far.
#[derive(Default)]
pub(crate) struct CellMeasured {
    found: Option<Found>,
    /// The load of the runs, in calls per second; none in a closed loop, and before there is one.
    rate: Option<f64>,
    runs: Vec<Once>,
    /// Runs that are asked for.
    asked: u16,
    /// Whether the load was looked for, so that runs have to bear it.
    is_peak: bool,
    /// Runs that were made anew at a lower load.
    stepped_back: bool,
    plan: Plan,
}

/// Measures a cell, as far as it comes: what is there before an error stays.
async fn measure_cell(
    (figure, cell): (&Figure, &Cell),
    measured: &mut CellMeasured,
    (set, known): (&mut Set, &mut Known),
    watch: &mut Watch<'_>,
) -> Result<(), RunError> {
    let plan = figure.plan(cell)?;
    measured.plan = plan.clone();
    measured.asked = figure.runs;
    measured.rate = match figure.rate(cell) {
        Rate::Closed => None,
        Rate::PerSecond(rate) => Some(rate),
        rate @ (Rate::Peak | Rate::Share(_)) => {
            let calm = Plan { strikes: Vec::new(), ..plan.clone() };
            let found = measured.found.insert(known.of(cell).unwrap_or_default());
            if found.best.is_none() {
                seek::seek((figure, cell, known.near(cell)), (&calm, found), set, watch).await?;
                known.note(cell, found);
            }
            let share = if let Rate::Share(share) = rate { share } else { 1.0 };
            found.best.map(|best| best.offered_rps * share)
        }
    };
    measured.is_peak = matches!(figure.rate(cell), Rate::Peak) && plan.strikes.is_empty();
    let limits = seek::limits(figure, cell);
    let mut steps_back = 0;
    loop {
        match bearing::after(&measured.runs, figure.runs, measured.is_peak) {
            Next::Enough => return Ok(()),
            Next::Run => {}
            Next::Less => {
                steps_back += 1;
                measured.step_back(limits.p99_us, steps_back)?;
            }
        }
        let (run, of) = (measured.runs.len() + 1, figure.runs);
        let at = measured.rate.map_or_else(|| "closed loop".to_owned(), |rate| format!("{rate:.0} calls/s"));
        watch.doing(format!("run {run} of {of}, {at}"));
        let mut once = once::measure((figure, cell), (&plan, measured.rate), set, watch).await?;
        once.within = limits.sustains(&once.trial());
        measured.runs.push(once);
    }
}

impl CellMeasured {
    /// Less is tried: the runs so far become trials of the search.
    fn step_back(&mut self, limit_us: f64, steps_back: usize) -> Result<(), RunError> {
        let runs = std::mem::take(&mut self.runs);
        let trials = runs.iter().map(|once| Trial { sustained: once.within, ..once.trial() });
        let trials: Vec<Trial> = trials.collect();
        let last = trials.iter().rev().find(|trial| !trial.sustained).copied().unwrap_or_default();
        if let Some(found) = &mut self.found {
            found.trials.extend(trials);
        }
        if steps_back > STEPS_BACK_MAX {
            return Err(RunError::Unborne { last, limit_us });
        }
        self.stepped_back = true;
        self.rate = self.rate.map(|rate| rate * STEP_BACK);
        Ok(())
    }
}

/// A cell in words that fit a line: what sets it apart from most.
#[must_use]
pub fn label(cell: &Cell) -> String {
    let Cell { f, n, scenario, network, payload, durability, load, rate, bundle, batch, .. } = cell;
    format!(
        "f={f} n={n} {scenario}, {network}, {payload} B, {durability}, {load} {rate}, bundle {bundle}, batch {batch}"
    )
}
