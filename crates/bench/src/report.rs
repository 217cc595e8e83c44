//! A measured figure as people and programs read it: a page, pictures, a table, and the record itself.
//!
//! A report is a function of its [`Record`]: nothing is measured here, and what is drawn once can be drawn again. The
//! page fetches nothing and runs no script. Numbers are rounded for readers and whole in files.

mod arrange;
mod chart;
mod columns;
mod costs;
mod drawing;
mod files;
mod goodput;
mod latency;
mod page;
mod parts;
mod series;
mod tables;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use self::arrange::{Arrangement, has_number};
use self::drawing::Drawing;
use crate::record::{Point, Record};

/// Names of the figures' files, without what follows the dot.
const FIGURES: [&str; 6] =
    ["throughput-vs-f", "latency-vs-throughput", "phases", "costs", "processor", "series"];

/// Files of one report, as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The page.
    pub page: PathBuf,
    /// Every file, the page last, in the order written.
    pub files: Vec<PathBuf>,
}

/// Why a report was not written, or not read.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file or folder could not be written.
    #[error("cannot write {}: {cause}; name a folder that you may write to, with room on its disk", path.display())]
    Unwritable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// A record could not be read.
    #[error(
        "cannot read {}: {cause}; name the folder that `quorate bench FILE --out DIR` wrote, or its points.json",
        path.display()
    )]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// A file is there, and is no record.
    #[error(
        "{}:{}:{}: this is no record of a figure: {cause}; measure again, or use the version that wrote it",
        path.display(), cause.line(), cause.column()
    )]
    NoRecord {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        cause: serde_json::Error,
    },
    /// A histogram would have been written elsewhere.
    #[error("a histogram is named `{name}`; use letters, digits, `.`, `_`, `-`, `+`, and at most one folder")]
    Name {
        /// What it is named.
        name: String,
    },
    /// A picture could not be drawn.
    #[error("cannot draw {}: {why}; put fewer points into one figure", path.display())]
    Picture {
        /// Which.
        path: PathBuf,
        /// Why not.
        why: String,
    },
}

/// Writes the whole report of a figure into a folder, which is made if it is not there.
///
/// `histograms` are names and contents of the files that runs name. Each file is written whole or not at all, the record
/// first, so that whatever fails later can be drawn again from it, and the page last.
///
/// # Errors
/// [`ReportError`] names the file and the fix.
pub fn write(record: &Record, histograms: &[(String, Vec<u8>)], out: &Path) -> Result<Written, ReportError> {
    if let Some((name, _)) = histograms.iter().find(|(name, _)| !page::is_plain(name)) {
        return Err(ReportError::Name { name: name.clone() });
    }
    let record = &readable(record);
    files::folder(&out.join("figures"))?;
    let json = serde_json::to_string_pretty(record)
        .map_err(|cause| ReportError::NoRecord { path: out.join("points.json"), cause })?;
    let mut written = vec![files::write(&out.join("points.json"), (json + "\n").as_bytes())?];
    for (name, bytes) in histograms {
        let path = out.join(name);
        files::folder(path.parent().unwrap_or(out))?;
        written.push(files::write(&path, bytes)?);
    }
    written.push(files::write(&out.join("points.csv"), columns::csv(&record.points).as_bytes())?);
    written.push(files::write(&out.join("figure.toml"), record.configuration.as_bytes())?);
    written.push(files::write(&out.join("provenance.txt"), provenance(record).as_bytes())?);

    let arrangement = arrange::arrange(&record.points);
    let drawings = arrangement.as_ref().map_or_else(Vec::new, |arrangement| drawings(record, arrangement));
    for name in FIGURES {
        let [svg, png] = ["svg", "png"].map(|kind| out.join("figures").join(format!("{name}.{kind}")));
        let Some(drawing) = drawings.iter().find(|drawing| drawing.name == name) else {
            files::remove(&svg)?;
            files::remove(&png)?;
            continue;
        };
        let sheet = drawing.whole();
        written.push(files::write(&svg, chart::file(&sheet).as_bytes())?);
        let picture = chart::png(&sheet)
            .map_err(|why| ReportError::Picture { path: png.clone(), why: why.to_string() })?;
        written.push(files::write(&png, &picture)?);
    }
    let text = page::page(record, arrangement.as_ref(), &drawings);
    let page = files::write(&out.join("report.html"), text.as_bytes())?;
    written.push(page.clone());
    Ok(Written { page, files: written })
}

/// Everything that was asked for and that there are points for, in the order asked; else in that in which a reader asks.
fn drawings(record: &Record, arrangement: &Arrangement<'_>) -> Vec<Drawing> {
    let mut goodput = goodput::draw(arrangement, &record.limits);
    goodput.left_out(arrangement.left_out);
    let mut all = vec![goodput];
    all.extend(latency::draw(arrangement));
    all.extend(parts::phases(arrangement));
    all.extend(costs::draw(arrangement));
    all.extend(parts::roles(arrangement));
    all.extend(series::draw(arrangement));
    // Processor time is a cost, with a picture of its own.
    let place = |drawing: &Drawing| {
        let name = if drawing.name == "processor" { "costs" } else { drawing.name };
        record.draw.iter().position(|asked| asked == name)
    };
    if !record.draw.is_empty() {
        all.retain(|drawing| place(drawing).is_some());
        all.sort_by_key(place);
    }
    all
}

/// The record with every point that JSON could not hold, for a number that is none, replaced by one that says so: a
/// record that is written can be read.
fn readable(record: &Record) -> Record {
    let mut record = record.clone();
    for point in &mut record.points {
        let text = serde_json::to_string(point).unwrap_or_default();
        if serde_json::from_str::<Point>(&text).is_err() {
            let problem =
                Some("a number came out as none at all (not finite), so nothing else of it counts".into());
            *point = Point { cell: point.cell.clone(), problem, ..Point::default() };
        }
    }
    record
}

/// Provenance as text, for those who keep papers.
fn provenance(record: &Record) -> String {
    let provenance = &record.provenance;
    let warnings: String = provenance.warnings.iter().map(|warning| format!("! {warning}\n")).collect();
    format!(
        "{}\n\nBegan     {}\nTook      {}\nCommit    {}\nCommand   {}\nFiles     {}\nMachines  {}\n{warnings}\n{}\n\
         Configuration\n\n{}\n",
        record.title,
        provenance.began,
        chart::seconds(provenance.took_s),
        provenance.commit,
        provenance.command,
        provenance.file_system,
        provenance.machines.join(", "),
        record.limits,
        record.configuration
    )
}

/// Removes latency histograms that lie in the folder of a report, and that no run of the record names.
///
/// # Errors
/// [`ReportError`] names the file.
pub fn remove_stale_histograms(record: &Record, out: &Path) -> Result<(), ReportError> {
    let folder = out.join("histograms");
    let Ok(entries) = std::fs::read_dir(&folder) else { return Ok(()) };
    let runs = record.points.iter().flat_map(|point| &point.runs);
    let named: BTreeSet<PathBuf> = runs.map(|run| out.join(&run.histogram)).collect();
    let stale = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "hlog") && !named.contains(path);
    for path in entries.flatten().map(|entry| entry.path()).filter(stale) {
        files::remove(&path)?;
    }
    Ok(())
}

impl Point {
    /// How near a peak is to the most that the cluster bears, as its search left it: `at least`, or `within -0/+26 %`. None
    /// where nothing was searched for, or nothing was found.
    #[must_use]
    pub fn peak(&self) -> Option<String> {
        let is_peak = self.cell.rate == "peak" && has_number(self);
        match self.search_end.as_str() {
            "bracketed" | "out of trials" if is_peak && self.search_gap > 0.0 => {
                Some(format!("within -0/+{:.0} %", (self.search_gap * 100.0).max(1.0)))
            }
            "out of trials" | "unsaturated" if is_peak => Some("at least".to_owned()),
            _ => None,
        }
    }

    /// The interval of its throughput at 95 %; none where one run, or none, says nothing about noise.
    #[must_use]
    pub fn interval(&self) -> Option<(f64, f64)> {
        (self.runs.len() > 1 && self.ci_high >= self.ci_low).then_some((self.ci_low, self.ci_high))
    }
}

impl Record {
    /// Reads a record back: from `points.json`, or from the folder of a report.
    ///
    /// # Errors
    /// [`ReportError`] names the file, the place in it and the fix.
    pub fn load(path: &Path) -> Result<Self, ReportError> {
        let path = if path.is_dir() { path.join("points.json") } else { path.to_owned() };
        let text = std::fs::read_to_string(&path)
            .map_err(|cause| ReportError::Unreadable { path: path.clone(), cause })?;
        serde_json::from_str(&text).map_err(|cause| ReportError::NoRecord { path, cause })
    }
}
