//! One TOML file is one figure: what is measured, under which load, with which faults, and what is drawn of it.
//!
//! Everything that a cell consists of may be one value or several; several are a dimension, and the figure's cells are
//! all combinations but those that the file skips. A [`Figure`] exists only if every cell of it makes sense.

mod cells;
mod knobs;
mod outlook;
mod reading;
mod scenario;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod values;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use quorate_node::cluster_file::Preset;
use quorate_node::sections::{self, Misplaced};
use quorate_protocol::parameters::Parameters;
use quorate_protocol::types::PublicKey;

use crate::limits::file_system_of;
use crate::network::{LOOPBACK, Network, NetworkError};
use crate::record::Cell;

pub use knobs::{Layout, LayoutError, RateError};
pub use outlook::{Doubt, Outlook};
pub use scenario::{BadClients, Count, FORMS, Outage, Plan, Scenario, ScenarioError, Strike, Who, Whom};

/// Most bytes of a figure's file.
pub const FIGURE_BYTES_MAX: u64 = 1 << 20;
/// How long a cluster takes to start and to stop, about, and one more replica of it.
const TURN: Duration = Duration::from_millis(2500);
const TURN_OF_REPLICA: Duration = Duration::from_millis(100);

/// A figure to be measured.
#[derive(Debug, Clone)]
pub struct Figure {
    /// What it is called.
    pub title: String,
    /// What it shows, in a sentence or two; for the head of the report. May be empty.
    pub about: String,
    /// The whole file.
    pub text: String,
    /// Where the file is.
    pub path: PathBuf,
    /// Load before anything is measured, in every run.
    pub warm_up: Duration,
    /// Measured time of a run.
    pub measure: Duration,
    /// Runs of each cell.
    pub runs: u16,
    /// How loads are tried on the way to a peak.
    pub trials: Trials,
    /// Where the chance in lies, networks and arrivals comes from.
    pub seed: u64,
    /// Where the replicas' data folders are made; the system's temporary folder if that is not said.
    pub folder: Option<PathBuf>,
    /// Machines that take part besides this one.
    pub machines: Vec<Machine>,
    /// Whether scenarios may make more than f replicas faulty.
    pub beyond_f: bool,
    /// What must not get worse, for continuous integration.
    pub guards: Vec<Guard>,
    /// Which pictures the report draws, in order; all, if the file does not say.
    pub draw: Vec<Chart>,
    /// Combinations that were left out though nobody skipped them, and why, in words.
    pub dropped: Vec<String>,
    cells: Vec<Cell>,
    parameters: Parameters,
}

/// How loads are tried on the way to a peak: shorter than runs, and so many at most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trials {
    /// Load before anything is measured.
    pub warm_up: Duration,
    /// Measured time; see [`Self::measure_of`].
    pub measure: Duration,
    /// Trials at most.
    pub most: u16,
    /// The first load, in calls per second; none: a short closed loop finds one.
    pub first_rps: Option<f64>,
}

impl Default for Trials {
    fn default() -> Self {
        let (warm_up, measure) = (Duration::from_secs(1), Duration::from_secs(2));
        Self { warm_up, measure, most: 8, first_rps: None }
    }
}

impl Trials {
    /// On an emulated network a trial measures for so many times what a call may take: what a load leaves piled up at the
    /// end is then told from calls that are merely on their way.
    const LIMITS: u32 = 3;
    /// It does not measure longer for that.
    const LONGEST: Duration = Duration::from_secs(10);

    /// Measured time of a trial of this cell.
    #[must_use]
    pub fn measure_of(&self, cell: &Cell) -> Duration {
        if cell.network == LOOPBACK {
            return self.measure;
        }
        let limit = Duration::from_millis(cell.p99_limit_ms.into());
        self.measure.max((limit * Self::LIMITS).min(Self::LONGEST))
    }
}

/// Which load a cell is measured at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    /// The most that is sustained, which a search finds.
    Peak,
    /// A share of that, from 0 to 1. What strikes during the measured time strikes in no trial of the search.
    Share(f64),
    /// So many calls per second.
    PerSecond(f64),
    /// As much as a closed loop asks.
    Closed,
}

/// A machine that an agent runs on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// What people call it.
    pub name: String,
    /// Where its agent listens.
    pub address: SocketAddr,
    /// The agent's public key.
    pub key: PublicKey,
    /// What it is for.
    pub runs: Runs,
}

impl Machine {
    /// Whether it is for this, among others.
    #[must_use]
    pub fn does(&self, runs: Runs) -> bool {
        [Runs::Both, runs].contains(&self.runs)
    }
}

/// What a machine is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Runs {
    /// Replicas and clients.
    #[default]
    Both,
    /// Replicas alone.
    Replicas,
    /// Clients alone.
    Clients,
}

/// What some cells cost when the file was written, whatever the machine.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Guard {
    /// The line of the file that says so, from 1.
    pub line: usize,
    /// Positions in [`Figure::cells`] of the cells it is about; one at least.
    pub cells: Vec<usize>,
    /// What was measured, by column of `points.csv`; one at least.
    pub expected: BTreeMap<String, f64>,
}

/// A picture in a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Chart {
    /// Goodput against f, a line for each scenario.
    ThroughputVsF,
    /// Latency against throughput, for each f.
    LatencyVsThroughput,
    /// Where the time of a call goes.
    Phases,
    /// Cost of a call against the model.
    Costs,
    /// Throughput over time, around faults.
    Series,
}

impl Chart {
    /// All of them, and what a file calls them.
    pub const ALL: [(Self, &str); 5] = [
        (Self::ThroughputVsF, "throughput-vs-f"),
        (Self::LatencyVsThroughput, "latency-vs-throughput"),
        (Self::Phases, "phases"),
        (Self::Costs, "costs"),
        (Self::Series, "series"),
    ];

    /// What a file calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(chart, _)| *chart == self).map_or("", |(_, name)| name)
    }
}

/// Why a figure's file was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum FigureError {
    /// The file could not be read at all.
    #[error("{}: cannot be read: {why}; fix: pass the path of a figure, such as configs/bench/smoke.toml", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// Something in it is wrong.
    #[error(transparent)]
    Misplaced(#[from] Misplaced),
    /// A sync that the disk never sees costs nothing, and the figure would say so.
    #[error(
        "{}: replicas with durability `sync` would keep their data in {}, which is {kind} and has no disk; fix: write \
         `folder = \"...\"` with a folder on a disk", .file.display(), .folder.display()
    )]
    InMemory {
        /// The figure's file.
        file: PathBuf,
        /// The folder of the data.
        folder: PathBuf,
        /// What the file system is called.
        kind: String,
    },
}

impl Figure {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// [`FigureError`] names the file, the line, the key and the fix.
    pub fn load(path: &Path) -> Result<Self, FigureError> {
        let unreadable = |why| FigureError::Unreadable { file: path.to_owned(), why };
        Self::parse(&sections::read(path, FIGURE_BYTES_MAX).map_err(unreadable)?, path)
    }

    /// Checks the text of a figure; `path` is what errors call it, and networks are found beside it.
    ///
    /// # Errors
    /// As [`Figure::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, FigureError> {
        Ok(reading::figure(text, path)?)
    }

    /// Everything that is to be measured, in order. Cells that differ in nothing but their rate follow each other, the
    /// peak first, so that one search serves them all.
    #[must_use]
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// The protocol's constants and the local tuning of a cell's replicas.
    #[must_use]
    pub fn preset(&self, cell: &Cell) -> Preset {
        cells::preset(&self.parameters, cell)
    }

    /// Who does what when in a cell. Never fails for a cell of this figure.
    ///
    /// # Errors
    /// [`ScenarioError`] for a cell of another one.
    pub fn plan(&self, cell: &Cell) -> Result<Plan, ScenarioError> {
        let scenario: Scenario = cell.scenario.parse()?;
        Ok(scenario.plan(cell.n, cell.f, self.beyond_f)?.unwrap_or_default())
    }

    /// The load that a cell is measured at.
    #[must_use]
    pub fn rate(&self, cell: &Cell) -> Rate {
        cells::rate(cell)
    }

    /// The network that a cell is measured on; none for the machine's own. Networks of files are read again.
    ///
    /// # Errors
    /// [`NetworkError`] if the file is another one by now.
    pub fn network(&self, cell: &Cell) -> Result<Option<Network>, NetworkError> {
        Network::find(&cell.network, folder_of(&self.path))
    }

    /// The folder under which data folders are made, once it is known that syncs mean something there.
    ///
    /// # Errors
    /// [`FigureError::InMemory`] if a cell syncs and the folder is in memory.
    pub fn data_folder(&self) -> Result<PathBuf, FigureError> {
        let folder = self.folder.clone().unwrap_or_else(std::env::temp_dir);
        let syncs = self.cells.iter().any(|cell| cell.durability == "sync");
        // A folder that is to be made lies where the nearest one above it does.
        let existing = folder.ancestors().find(|above| above.is_dir()).unwrap_or(&folder);
        match file_system_of(existing).filter(|found| found.in_memory && syncs) {
            Some(found) => Err(FigureError::InMemory { file: self.path.clone(), folder, kind: found.kind }),
            None => Ok(folder),
        }
    }

    /// How long all of it takes, about.
    #[must_use]
    pub fn estimate(&self) -> Duration {
        (0..self.cells.len()).map(|at| self.estimate_of(at)).sum()
    }

    /// How long the cell at this position takes, about: one whose load an earlier search has found takes its runs alone.
    #[must_use]
    pub fn estimate_of(&self, at: usize) -> Duration {
        let Some(cell) = self.cells.get(at) else { return Duration::ZERO };
        let run = TURN + TURN_OF_REPLICA * u32::from(cell.n) + self.warm_up + self.measure;
        // Around a peak some runs are out of the limits, and others are made for them.
        let asked = u32::from(self.runs);
        let runs = run * if matches!(self.rate(cell), Rate::Peak) { (asked * 5).div_ceil(3) } else { asked };
        let searches = matches!(self.rate(cell), Rate::Peak | Rate::Share(_));
        let is_found = |other: &Cell| Cell { rate: cell.rate.clone(), ..other.clone() } == *cell;
        let found = self.cells[..at]
            .iter()
            .any(|other| matches!(self.rate(other), Rate::Peak | Rate::Share(_)) && is_found(other));
        if searches && !found {
            // The closed loop that comes first takes as long as a trial.
            let trial = self.trials.warm_up + self.trials.measure_of(cell);
            return runs
                + TURN
                + TURN_OF_REPLICA * u32::from(cell.n)
                + trial * (u32::from(self.trials.most) + 1);
        }
        runs
    }
}

/// A cell's coordinates, by the columns of `points.csv`, in the order in which cells are measured.
#[must_use]
pub fn coordinates(cell: &Cell) -> Vec<(&'static str, String)> {
    knobs::KNOBS.iter().chain([&knobs::RATE]).map(|knob| (knob.name, knob.get(cell))).collect()
}

/// The folder that a figure's file is in.
fn folder_of(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new(""))
}
