//! A figure, measured in rounds: in the first one a search in each cell for the load it bears, and in every round a run of
//! each cell, until all have enough. So the runs of a cell lie as far apart as they can, and a minute in which the machine
//! is slow is one run of many cells, and not all runs of one.
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

use self::bearing::Step;
use self::once::Once;
pub use self::provenance::COMMIT;
use self::seek::{Found, Known};
use self::stage::{Described, Set};
use crate::cluster::{ClusterError, Hand};
use crate::figure::{Figure, FigureError, Plan, Rate, ScenarioError};
use crate::limits::{Limits, file_system_of};
use crate::network::NetworkError;
use crate::record::{Cell, Record, Trial};
use crate::search::End;
use crate::statistics::median;
use crate::worker::WorkerError;

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
    /// Nobody knows what to ask.
    #[error("there is no workload for the application `{0}`")]
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
    let cores = (cores, stage::all_cores(&machines));
    let mut parts: Vec<Part<'_>> = cells.iter().filter_map(|at| Part::of(figure, *at)).collect();
    let in_memory = in_memory(&machines);
    measured.interrupted = !in_rounds((figure, &mut parts), (&mut set, in_memory), &mut watch).await;
    for (number, part) in (1..).zip(parts) {
        let Part { cell, measured: mut told, ended, .. } = part;
        measured.finished += usize::from(ended.is_some());
        // What an interruption left untouched is not there.
        if ended.is_none() && told.is_untouched() {
            continue;
        }
        let ended = ended.unwrap_or(Err(RunError::Interrupted));
        // Whatever ended it, what was tried is told.
        if ended.is_err() {
            told.settle();
        }
        let (point, histograms) = point::of((number, cell), (told, ended), (&measured.record.limits, cores));
        measured.record.points.push(point);
        measured.histograms.extend(histograms);
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

/// A cell that is being measured.
struct Part<'a> {
    cell: &'a Cell,
    /// How long it takes, as was guessed before.
    guessed: Duration,
    measured: CellMeasured,
    /// How it ended; none if it wants more runs.
    ended: Option<Result<(), RunError>>,
}

impl<'a> Part<'a> {
    fn of(figure: &'a Figure, at: usize) -> Option<Self> {
        let cell = figure.cells().get(at)?;
        let measured = CellMeasured { asked: figure.runs, ..CellMeasured::default() };
        Some(Self { cell, guessed: figure.estimate_of(at), measured, ended: None })
    }

    /// Seconds of what was guessed that are behind.
    fn behind_s(&self) -> f64 {
        let CellMeasured { runs, asked, .. } = &self.measured;
        let part = if self.ended.is_some() { 1.0 } else { (runs.len() as f64 / f64::from(*asked)).min(0.9) };
        self.guessed.as_secs_f64() * part
    }
}

/// Gives every cell a run in its turn, until all have enough; false if somebody wanted it to end before.
async fn in_rounds(
    (figure, parts): (&Figure, &mut Vec<Part<'_>>),
    (set, in_memory): (&mut Set, Option<(String, String)>),
    watch: &mut Watch<'_>,
) -> bool {
    let (mut known, began) = (Known::default(), Instant::now());
    while parts.iter().any(|part| part.ended.is_none()) {
        for number in 0..parts.len() {
            watch.over = over(parts, began);
            let part = &mut parts[number];
            if part.ended.is_some() {
                continue;
            }
            (watch.cell, watch.label) = (number + 1, label(part.cell));
            let one = (figure, part.cell);
            part.ended = match in_memory.clone().filter(|_| part.cell.durability == "sync") {
                Some((machine, kind)) => Some(Err(RunError::InMemory { machine, kind })),
                None => match one_more(one, &mut part.measured, (set, &mut known), watch).await {
                    Ok(is_enough) => is_enough.then_some(Ok(())),
                    Err(RunError::Interrupted) => return false,
                    Err(error) => Some(Err(error)),
                },
            };
        }
    }
    true
}

/// When everything should be over: as was guessed, corrected by how wrong the guesses were so far.
fn over(parts: &[Part<'_>], began: Instant) -> Instant {
    let all: f64 = parts.iter().map(|part| part.guessed.as_secs_f64()).sum();
    let behind: f64 = parts.iter().map(Part::behind_s).sum();
    let took_s = began.elapsed().as_secs_f64();
    let correction = if behind > 0.0 { (took_s / behind.max(1.0)).clamp(0.2, 5.0) } else { 1.0 };
    Instant::now() + Duration::from_secs_f64((all - behind).max(0.0) * correction)
}

/// What came of a cell so far.
#[derive(Default)]
pub(crate) struct CellMeasured {
    found: Option<Found>,
    /// The load of the runs, in calls per second; none in a closed loop, and before there is one.
    rate: Option<f64>,
    runs: Vec<Once>,
    /// At a peak, the load of each run, and whether it was within the limits.
    steps: Vec<Step>,
    /// Runs that are asked for.
    asked: u16,
    /// Whether the load was looked for, so that runs have to bear it.
    is_peak: bool,
    /// Whether it is known what happens in it and which load its runs begin with.
    has_begun: bool,
    plan: Plan,
}

/// Measures a cell once more, and before the first time what load it bears. What is there before an error stays. Gives back
/// whether there are runs enough.
async fn one_more(
    (figure, cell): (&Figure, &Cell),
    measured: &mut CellMeasured,
    (set, known): (&mut Set, &mut Known),
    watch: &mut Watch<'_>,
) -> Result<bool, RunError> {
    if !measured.has_begun {
        begin((figure, cell), measured, (set, known), watch).await?;
        measured.has_begun = true;
    }
    let limits = seek::limits(figure, cell);
    if let Next::Run(rate) = measured.next(limits.p99_us)? {
        let (run, of) = (measured.runs.len() + 1, figure.runs);
        let at = rate.map_or_else(|| "closed loop".to_owned(), |rate| format!("{rate:.0} calls/s"));
        let of = if measured.is_peak { " around the peak".to_owned() } else { format!(" of {of}") };
        watch.doing(format!("run {run}{of}, {at}"));
        let mut once = once::measure((figure, cell), (&measured.plan, rate), set, watch).await?;
        once.within = limits.sustains(&once.trial());
        measured.note(once, rate);
    }
    let is_enough = measured.next(limits.p99_us)? == Next::Enough;
    if is_enough {
        measured.settle();
    }
    Ok(is_enough)
}

/// Finds out what happens in a cell and which load its runs begin with.
async fn begin(
    (figure, cell): (&Figure, &Cell),
    measured: &mut CellMeasured,
    (set, known): (&mut Set, &mut Known),
    watch: &mut Watch<'_>,
) -> Result<(), RunError> {
    measured.plan = figure.plan(cell)?;
    let plan = measured.plan.clone();
    measured.rate = match figure.rate(cell) {
        Rate::Closed => None,
        Rate::PerSecond(rate) => Some(rate),
        rate @ (Rate::Peak | Rate::Share(_)) => {
            let calm = Plan { strikes: Vec::new(), ..plan };
            let found = measured.found.insert(known.of(cell).unwrap_or_default());
            if found.best.is_none() {
                seek::seek((figure, cell, known.near(cell)), (&calm, found), set, watch).await?;
                known.note(cell, found);
            }
            let share = if let Rate::Share(share) = rate { share } else { 1.0 };
            found.best.map(|best| best.offered_rps * share)
        }
    };
    measured.is_peak = matches!(figure.rate(cell), Rate::Peak) && measured.plan.strikes.is_empty();
    Ok(())
}

/// What is to be done with a cell.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Next {
    /// Another run, at so many calls per second; none in a closed loop.
    Run(Option<f64>),
    Enough,
}

impl CellMeasured {
    /// Whether nothing was measured yet.
    fn is_untouched(&self) -> bool {
        self.runs.is_empty() && self.found.as_ref().is_none_or(|found| found.trials.is_empty())
    }

    /// What is next.
    ///
    /// # Errors
    /// [`RunError::Unborne`] if there is no load that is borne.
    fn next(&self, limit_us: f64) -> Result<Next, RunError> {
        let asked = usize::from(self.asked);
        let Some(found_rps) = self.rate.filter(|_| self.is_peak) else {
            return Ok(if self.runs.len() < asked { Next::Run(self.rate) } else { Next::Enough });
        };
        match bearing::next(found_rps, &self.steps, asked) {
            bearing::Next::Run(rate) => Ok(Next::Run(Some(rate))),
            bearing::Next::Enough => Ok(Next::Enough),
            bearing::Next::Unborne => {
                let last = self.runs.iter().rev().find(|once| !once.within).map(Once::trial);
                Err(RunError::Unborne { last: last.unwrap_or_default(), limit_us })
            }
        }
    }

    fn note(&mut self, once: Once, rate: Option<f64>) {
        if let Some(rate) = rate.filter(|_| self.is_peak) {
            self.steps.push((rate, once.within));
        }
        self.runs.push(once);
    }

    /// There are runs enough: those that count stay, and what the others say becomes part of the search.
    fn settle(&mut self) {
        if !self.is_peak {
            return;
        }
        let counted = bearing::counted(&self.steps, usize::from(self.asked));
        let runs = std::mem::take(&mut self.runs);
        let (steps, mut trials) = (std::mem::take(&mut self.steps), Vec::new());
        for (at, (once, (offered_rps, sustained))) in runs.into_iter().zip(steps).enumerate() {
            if counted.contains(&at) {
                self.steps.push((offered_rps, sustained));
                self.runs.push(once);
            } else {
                trials.push(Trial { offered_rps, sustained, ..once.trial() });
            }
        }
        let loads: Vec<f64> = self.steps.iter().map(|(rate, _)| *rate).collect();
        self.rate = Some(median(&loads));
        if let Some(found) = &mut self.found {
            // Who did not bear a run has an upper end, however the search ended.
            if trials.iter().any(|trial| !trial.sustained) {
                found.end = Some(End::Converged);
            }
            found.trials.extend(trials);
        }
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
