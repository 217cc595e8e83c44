//! Whether two records of one figure differ by more than their noise: `quorate bench diff A B`.
//!
//! What is judged is what a cell was measured for: its throughput, and its latency where the load was given. At a peak
//! latency is not judged: it says where the search stopped, not what the cluster does. Two values differ if the 95 %
//! intervals of their runs share no value, and their medians are apart by a least share besides, because machines have
//! better and worse hours that runs next to each other do not show. A peak lies between the load that was borne and the
//! lowest that was too much, so its interval reaches up to there, and searches stop a step apart by chance.

use std::fmt;

use serde::Serialize;

use crate::figure::{Rate, coordinates};
use crate::limits::Limits;
use crate::record::{Cell, Point, Record, Run};
use crate::statistics::Interval;

/// What is judged, and the least difference that counts, as a share of the first.
#[derive(Debug, Clone, Copy)]
struct Measure {
    name: &'static str,
    of: fn(&Run) -> f64,
    more_is_better: bool,
    least: f64,
    /// Whether it is judged at a peak too.
    at_peak: bool,
}

const MEASURES: [Measure; 3] = [
    Measure {
        name: "throughput_rps",
        of: |run| run.throughput_rps,
        more_is_better: true,
        least: 0.05,
        at_peak: true,
    },
    Measure { name: "p50_us", of: |run| run.p50_us, more_is_better: false, least: 0.10, at_peak: false },
    Measure { name: "p99_us", of: |run| run.p99_us, more_is_better: false, least: 0.25, at_peak: false },
];

/// The least difference of two peaks that counts: a step of the search on either side.
const LEAST_AT_PEAK: f64 = 0.10;

/// What is shown where it changed, and not judged: it is of all runs together, so nothing is known of its noise.
#[derive(Debug, Clone, Copy)]
struct Cost {
    name: &'static str,
    of: fn(&Point) -> f64,
}

const COSTS: [Cost; 7] = [
    Cost { name: "cpu_us_per_request", of: |point| point.cpu_us_per_request },
    Cost { name: "messages_per_request", of: |point| point.messages_per_request },
    Cost { name: "bytes_per_request", of: |point| point.bytes_per_request },
    Cost { name: "signatures_verified_per_request", of: |point| point.signatures_verified_per_request },
    Cost { name: "signatures_made_per_request", of: |point| point.signatures_made_per_request },
    Cost { name: "syncs_per_request", of: |point| point.syncs_per_request },
    Cost { name: "batch_mean", of: |point| point.batch_mean },
];
/// The change from which on it is shown.
const SHOWN: f64 = 0.10;
/// Machines whose signatures differ by more are not compared without a word.
const SAME_SPEED: f64 = 0.05;

/// What became of a measure from A to B.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing that exceeds the noise.
    Same,
    /// B is better by more than the noise.
    Better,
    /// B is worse by more than the noise.
    Worse,
    /// One run says nothing about noise.
    Unknown,
    /// Shown, and not judged.
    Shown,
}

impl Verdict {
    /// In a word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Unknown => "unknown",
            Self::Shown => "not judged",
        }
    }
}

/// One measure of one cell in both records. Field names are part of the interface.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The cell.
    pub cell: Cell,
    /// Column of `points.csv`.
    pub measure: &'static str,
    /// In A: the median of the runs, or the value of all of them.
    pub a: f64,
    /// In B.
    pub b: f64,
    /// From A to B, as a share of A; 0.1 is 10 % more.
    pub change: f64,
    /// Half of both intervals together, as a share of A: by so much medians are apart by chance.
    pub noise: f64,
    /// What that means.
    pub verdict: Verdict,
}

/// A cell that has a number in one record only. Field names are part of the interface.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Lost {
    /// The cell.
    pub cell: Cell,
    /// Why A has no number; none if it has.
    pub a: Option<String>,
    /// Why B has none.
    pub b: Option<String>,
}

/// Two records of one figure, held against each other. Field names are part of the interface.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// Whether anything differs by more than the noise, or is or has a number in one of them only.
    pub differs: bool,
    /// Measures that could be judged: those of cells with two runs at least in both.
    pub judged: usize,
    /// Every measure of every cell that has a number in both.
    pub rows: Vec<Row>,
    /// Cells with a number in one only.
    pub lost: Vec<Lost>,
    /// Cells that A alone has.
    pub only_in_a: Vec<Cell>,
    /// Cells that B alone has.
    pub only_in_b: Vec<Cell>,
    /// What else to know: different machines, builds, few runs.
    pub notes: Vec<String>,
}

/// Two records that have no cell in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the two have no cell in common; name two reports of one figure")]
pub struct NothingInCommon;

impl Difference {
    /// From `a` to `b`.
    ///
    /// # Errors
    /// [`NothingInCommon`], for then nothing is compared.
    pub fn between(a: &Record, b: &Record) -> Result<Self, NothingInCommon> {
        let mut difference = Self {
            differs: false,
            judged: 0,
            rows: Vec::new(),
            lost: Vec::new(),
            only_in_a: missing(a, b),
            only_in_b: missing(b, a),
            notes: notes(a, b),
        };
        let mut matched = false;
        for one in &a.points {
            let Some(other) = b.points.iter().find(|other| other.cell == one.cell) else { continue };
            matched = true;
            difference.compare(one, other);
        }
        if !matched {
            return Err(NothingInCommon);
        }
        let counts = |row: &Row| matches!(row.verdict, Verdict::Better | Verdict::Worse);
        difference.judged =
            difference.rows.iter().filter(|row| counts(row) || row.verdict == Verdict::Same).count();
        difference.differs = difference.rows.iter().any(counts)
            || [difference.lost.len(), difference.only_in_a.len(), difference.only_in_b.len()] != [0; 3];
        Ok(difference)
    }

    fn compare(&mut self, a: &Point, b: &Point) {
        match (&a.problem, &b.problem) {
            (Some(_), Some(_)) => return,
            (None, None) => {}
            (one, other) => {
                self.lost.push(Lost { cell: a.cell.clone(), a: one.clone(), b: other.clone() });
                return;
            }
        }
        let at_peak = is_peak(a);
        for measure in MEASURES.iter().filter(|measure| measure.at_peak || !at_peak) {
            self.rows.push(judge(measure, a, b));
        }
        for Cost { name, of } in COSTS {
            let (one, other) = (of(a), of(b));
            let change = change(one, other);
            let cell = a.cell.clone();
            let verdict = Verdict::Shown;
            self.rows.push(Row { cell, measure: name, a: one, b: other, change, noise: 0.0, verdict });
        }
    }
}

/// Whether its load was looked for.
fn is_peak(point: &Point) -> bool {
    matches!(point.cell.rate.parse(), Ok(Rate::Peak))
}

fn judge(measure: &Measure, a: &Point, b: &Point) -> Row {
    let interval = |point: &Point| {
        let interval = Interval::of(&point.runs.iter().map(measure.of).collect::<Vec<_>>());
        let reach = if measure.at_peak && is_peak(point) { 1.0 + point.search_gap } else { 1.0 };
        Interval { high: interval.high * reach, ..interval }
    };
    let (one, other) = (interval(a), interval(b));
    let least = if is_peak(a) { measure.least.max(LEAST_AT_PEAK) } else { measure.least };
    let change = change(one.median, other.median);
    let half = |interval: &Interval| (interval.high - interval.low) / 2.0;
    let noise = if one.median > 0.0 { (half(&one) + half(&other)) / one.median } else { 0.0 };
    let verdict = if a.runs.len().min(b.runs.len()) < 2 {
        Verdict::Unknown
    } else if !one.is_apart_from(&other) || change.abs() < least {
        Verdict::Same
    } else if (change > 0.0) == measure.more_is_better {
        Verdict::Better
    } else {
        Verdict::Worse
    };
    let (cell, name) = (a.cell.clone(), measure.name);
    Row { cell, measure: name, a: one.median, b: other.median, change, noise, verdict }
}

/// As a share of the first; of nothing, everything is the whole.
fn change(a: f64, b: f64) -> f64 {
    if a == b {
        0.0
    } else if a == 0.0 {
        1.0
    } else {
        (b - a) / a
    }
}

/// Cells of one that the other does not have.
fn missing(of: &Record, from: &Record) -> Vec<Cell> {
    let absent = of.points.iter().filter(|one| from.points.iter().all(|other| other.cell != one.cell));
    absent.map(|point| point.cell.clone()).collect()
}

/// What two numbers of these records cannot say.
fn notes(a: &Record, b: &Record) -> Vec<String> {
    let mut notes = Vec::new();
    let (one, other) = (&a.limits.machine, &b.limits.machine);
    if (&one.cpu, one.cores) != (&other.cpu, other.cores) {
        notes.push(format!(
            "A ran on {} cores of {}, B on {} of {}: compare each with its own ceiling",
            one.cores, one.cpu, other.cores, other.cpu
        ));
    }
    let speed = |limits: &Limits| limits.signatures.verify_batch_256_us.median;
    let slower = change(speed(&a.limits), speed(&b.limits));
    if slower.abs() > SAME_SPEED {
        notes.push(format!(
            "a signature took B's machine {:.0} % of the time that it took A's: the machines, or their hours, differ",
            (1.0 + slower) * 100.0
        ));
    }
    if a.limits.build.profile != b.limits.build.profile {
        notes.push(format!("A is a {} build, B a {} build", a.limits.build.profile, b.limits.build.profile));
    }
    if a.provenance.file_system != b.provenance.file_system {
        notes.push(format!(
            "A kept its data on {}, B on {}",
            or_unknown(&a.provenance.file_system),
            or_unknown(&b.provenance.file_system)
        ));
    }
    notes
}

fn or_unknown(text: &str) -> &str {
    if text.is_empty() { "an unknown file system" } else { text }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))?;
        for Lost { cell, a, b } in &self.lost {
            let (which, why) = a.as_ref().map_or(("B", b), |_| ("A", a));
            let why = why.as_deref().unwrap_or_default();
            writeln!(f, "{which} has no number for {}: {why}", self.name(cell))?;
        }
        let shown = |row: &&Row| row.verdict != Verdict::Shown || row.change.abs() >= SHOWN;
        let rows: Vec<&Row> = self.rows.iter().filter(shown).collect();
        let names: Vec<String> = rows.iter().map(|row| self.name(&row.cell)).collect();
        let width = names.iter().map(String::len).max().unwrap_or(0).max("cell".len());
        if !rows.is_empty() {
            let (measure, a, b) = ("measure", "A", "B");
            writeln!(f, "{:<width$}  {measure:<31} {a:>12} {b:>12} {:>9} {:>8}", "cell", "change", "noise")?;
        }
        for (row, name) in rows.iter().zip(&names) {
            let Row { measure, verdict, .. } = row;
            let (a, b) = (number(row.a), number(row.b));
            let change = format!("{:+.1} %", row.change * 100.0);
            let noise = match verdict {
                Verdict::Shown | Verdict::Unknown => "-".to_owned(),
                Verdict::Same | Verdict::Better | Verdict::Worse => format!("{:.1} %", row.noise * 100.0),
            };
            let word = verdict.word();
            writeln!(f, "{name:<width$}  {measure:<31} {a:>12} {b:>12} {change:>9} {noise:>8}  {word}")?;
        }
        let only = [("A", self.only_in_a.len()), ("B", self.only_in_b.len())];
        for (which, count) in only.into_iter().filter(|(_, count)| *count > 0) {
            let (cells, are) = if count == 1 { ("cell", "is") } else { ("cells", "are") };
            writeln!(f, "{count} {cells} {are} in {which} only, and not compared")?;
        }
        self.conclude(f)
    }
}

impl Difference {
    fn conclude(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |verdict| self.rows.iter().filter(|row| row.verdict == verdict).count();
        let (better, worse) = (count(Verdict::Better), count(Verdict::Worse));
        let judged = self.judged;
        match (self.differs, judged) {
            (false, 0) => f.write_str(
                "nothing could be judged: it takes numbers, and two runs of each cell to know the noise",
            ),
            (false, _) => {
                write!(f, "none of {judged} measures differs by more than the noise")?;
                let loud = |row: &&Row| row.verdict == Verdict::Same && row.noise > SHOWN;
                match self.rows.iter().filter(loud).count() {
                    0 => Ok(()),
                    loud => write!(
                        f,
                        "; that of {loud} is above 10 %: more `runs` and `trials`, or a machine with nothing else to do, would show more"
                    ),
                }
            }
            (true, 0) => write!(f, "no measure could be judged; {}", self.one_sided()),
            (true, _) => {
                write!(f, "{better} of {judged} measures are better in B, {worse} are worse")?;
                let one_sided = self.one_sided();
                if one_sided.is_empty() { Ok(()) } else { write!(f, "; {one_sided}") }
            }
        }
    }

    /// What one of them has and the other has not, in words; empty if nothing.
    fn one_sided(&self) -> String {
        let mut words = Vec::new();
        match self.lost.len() {
            0 => {}
            1 => words.push("1 cell has a number in one of them only".to_owned()),
            lost => words.push(format!("{lost} cells have a number in one of them only")),
        }
        match self.only_in_a.len() + self.only_in_b.len() {
            0 => {}
            1 => words.push("1 cell is in one of them only".to_owned()),
            only => words.push(format!("{only} cells are in one of them only")),
        }
        words.join("; ")
    }

    /// What tells a cell from the other cells.
    fn name(&self, cell: &Cell) -> String {
        let all: Vec<&Cell> =
            self.rows.iter().map(|row| &row.cell).chain(self.lost.iter().map(|lost| &lost.cell)).collect();
        let of = coordinates(cell);
        let varies = |at: usize| all.iter().any(|other| coordinates(other)[at].1 != of[at].1);
        // Everybody knows f who knows n.
        let told = (0..of.len()).filter(|at| !matches!(of[*at].0, "f" | "n" | "scenario") && varies(*at));
        let told = told.map(|at| format!(" {}={}", of[at].0, of[at].1)).collect::<String>();
        format!("n={} scenario={}{told}", cell.n, cell.scenario)
    }
}

/// With as many digits as anybody reads.
fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 1000.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
