//! What `quorate bench` says to people.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use quorate_bench::figure::{Doubt, Figure, Outlook};
use quorate_bench::limits::Ceiling;
use quorate_bench::network::NetworkError;
use quorate_bench::record::{Cell, Point, Record};
use serde_json::{Value, json};

/// Coordinates that stand in every table.
const ALWAYS: [&str; 4] = ["f", "n", "scenario", "network"];
/// Those that stand in one only if they differ between its cells, with what each is called there.
const OTHERS: [(&str, &str); 15] = [
    ("application", "application"),
    ("durability", "disk"),
    ("payload", "payload"),
    ("reply", "reply"),
    ("load", "load"),
    ("rate", "rate"),
    ("clients", "clients"),
    ("in_flight", "in flight"),
    ("bundle", "bundle"),
    ("batch", "batch"),
    ("window", "window"),
    ("checkpoint_interval", "K"),
    ("pipeline", "pipeline"),
    ("timeout_ms", "T0 ms"),
    ("layout", "layout"),
];

/// The coordinates of some cells: what is the same in all of them once, the rest in columns.
struct Coordinates {
    same: String,
    /// The names, and then one row for each cell.
    rows: Vec<Vec<String>>,
}

impl Coordinates {
    fn of(cells: &[&Cell]) -> Self {
        let cells: Vec<_> = cells.iter().filter_map(|cell| serde_json::to_value(cell).ok()).collect();
        let text = |cell: &Value, name: &str| match cell.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => String::new(),
        };
        let mut columns: Vec<(&str, &str)> = ALWAYS.map(|name| (name, name)).into();
        let mut same = Vec::new();
        for (name, told) in OTHERS {
            let first = cells.first().map(|cell| text(cell, name)).unwrap_or_default();
            if cells.iter().all(|cell| text(cell, name) == first) {
                same.push(format!("{told} {first}"));
            } else {
                columns.push((name, told));
            }
        }
        let names = columns.iter().map(|(_, told)| (*told).to_owned()).collect();
        let row = |cell| columns.iter().map(|(name, _)| text(cell, name)).collect();
        let rows = std::iter::once(names).chain(cells.iter().map(row)).collect();
        Self { same: same.join(", "), rows }
    }

    /// The lines of a table, the names first, each as wide as the widest.
    fn lines(&self) -> Vec<String> {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|text| text.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &Vec<String>| {
            let padded = row.iter().zip(&widths).map(|(text, width)| format!("{text:<width$}"));
            padded.collect::<Vec<_>>().join("  ")
        };
        self.rows.iter().map(line).collect()
    }
}

/// The cells of a figure, and how long each takes.
///
/// # Errors
/// [`NetworkError`] if the file of a network is another one by now.
pub(super) fn plan(figure: &Figure, cells: &[usize]) -> Result<String, NetworkError> {
    let chosen: Vec<&Cell> = cells.iter().filter_map(|at| figure.cells().get(*at)).collect();
    let coordinates = Coordinates::of(&chosen);
    let mut text = format!("{}\nall of them: {}\n\n", figure.title, coordinates.same);
    let mut lines = coordinates.lines().into_iter();
    let outlooks = chosen.iter().map(|cell| figure.outlook(cell)).collect::<Result<Vec<_>, _>>()?;
    let emulated = outlooks.iter().any(Option::is_some);
    let expected =
        if emulated { format!("  {:>12}  {:>15}", "expected p50", "calls/s at most") } else { String::new() };
    // Writing to a text never fails.
    let _ = writeln!(text, "{}{expected}  about", lines.next().unwrap_or_default());
    for ((at, line), outlook) in cells.iter().zip(lines).zip(&outlooks) {
        let expected = match outlook {
            Some(Outlook { expected_p50, most_rps, .. }) => {
                format!("  {:>9.1} ms  {most_rps:>15.0}", milliseconds(*expected_p50))
            }
            None if emulated => format!("  {:>12}  {:>15}", "-", "-"),
            None => String::new(),
        };
        let _ = writeln!(text, "{line}{expected}  {}", time(figure.estimate_of(*at)));
    }
    let all = cells.iter().map(|at| figure.estimate_of(*at)).sum();
    let number = if cells.len() == 1 { "1 cell".to_owned() } else { format!("{} cells", cells.len()) };
    let _ = writeln!(text, "\n{number}, about {} in all", time(all));
    if emulated {
        text.push_str(
            "\nExpected is the median that the messages of a call alone take on the emulated network; at most as many calls\n\
             per second as `clients` times `in_flight` in each of those.\n",
        );
    }
    text.push_str(&doubts(&chosen, &outlooks));
    Ok(text)
}

/// The same for programs: the columns of each cell, and what is known of it before.
///
/// # Errors
/// As [`plan`].
pub(super) fn plan_json(figure: &Figure, cells: &[usize]) -> Result<Value, NetworkError> {
    let mut told = Vec::new();
    for at in cells {
        let Some(cell) = figure.cells().get(*at) else { continue };
        let outlook = figure.outlook(cell)?;
        let expected = outlook.as_ref().map(|outlook| milliseconds(outlook.expected_p50));
        told.push(json!({
            "cell": cell,
            "about_s": figure.estimate_of(*at).as_secs_f64(),
            "expected_p50_ms": expected,
            "most_rps": outlook.map(|outlook| outlook.most_rps),
        }));
    }
    let all: Duration = cells.iter().map(|at| figure.estimate_of(*at)).sum();
    Ok(json!({ "title": figure.title, "about_s": all.as_secs_f64(), "cells": told }))
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// What does not fit the networks: a line for each value and network, however many cells have it.
fn doubts(cells: &[&Cell], outlooks: &[Option<Outlook>]) -> String {
    let mut found: BTreeMap<(&str, Doubt), (usize, Duration)> = BTreeMap::new();
    for (cell, outlook) in cells.iter().zip(outlooks) {
        for doubt in outlook.iter().flat_map(|outlook| &outlook.doubts) {
            let (cells, worst) = found.entry((cell.network.as_str(), *doubt)).or_default();
            *cells += 1;
            *worst = (*worst).max(outlook.as_ref().map_or(Duration::ZERO, |outlook| outlook.expected_p50));
        }
    }
    let mut text = String::new();
    for ((network, Doubt { key, value, what, then }), (cells, worst)) in found {
        let worst = milliseconds(worst);
        let cells = if cells == 1 { "1 cell".to_owned() } else { format!("{cells} cells") };
        let _ = writeln!(
            text,
            "warning      {network}: {key} = {value} {what} ({worst:.0} ms at worst, {cells}): {then}"
        );
    }
    text
}

/// A time as people plan with it.
pub(super) fn time(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
    }
}

/// The points, and what this machine leaves possible.
pub(super) fn table(record: &Record) -> String {
    let cells: Vec<&Cell> = record.points.iter().map(|point| &point.cell).collect();
    let coordinates = Coordinates::of(&cells);
    let mut text = format!("{}\nall of them: {}\n\n", record.title, coordinates.same);
    let mut lines = coordinates.lines().into_iter();
    let _ = writeln!(
        text,
        "{}  {:>9} {:>9} {:>15} {:>8} {:>8} {:>7} {:>7} {:>6} {:>6}",
        lines.next().unwrap_or_default(),
        "offered/s",
        "calls/s",
        "95 %",
        "p50 ms",
        "p99 ms",
        "checked",
        "cpu us",
        "batch",
        "bundle"
    );
    for (point, line) in record.points.iter().zip(lines) {
        let _ = writeln!(text, "{line}  {}", numbers(point));
    }
    if record.points.iter().any(|point| point.cpu_bound) {
        text.push_str(
            "\n* more replicas than cores: the point tells of the machine as well as of the protocol\n",
        );
    }
    text.push('\n');
    text.push_str(&ceilings(record));
    for warning in &record.provenance.warnings {
        let _ = writeln!(text, "warning      {warning}");
    }
    text
}

fn numbers(point: &Point) -> String {
    if let Some(problem) = &point.problem {
        return format!("no number: {problem}");
    }
    let ms = |us: f64| us / 1000.0;
    // One run has none.
    let interval = point.interval().map(|(low, high)| format!("{low:.0}..{high:.0}")).unwrap_or_default();
    let mut text = format!(
        "{:>9.0} {:>9.0} {interval:>15} {:>8.2} {:>8.2} {:>7.2} {:>7.0} {:>6.1} {:>6.1}",
        point.offered_rps,
        point.throughput_rps,
        ms(point.p50_us),
        ms(point.p99_us),
        point.signatures_verified_per_request,
        point.cpu_us_per_request,
        point.batch_mean,
        point.bundle_mean,
    );
    if point.cpu_bound {
        text.push_str(" *");
    }
    if point.runs.iter().any(|run| !run.steady) {
        text.push_str(" not steady");
    }
    let limit = Some(&point.saturated_by).filter(|by| !by.is_empty()).map(|by| format!("limited by: {by}"));
    let peak = point.peak().map(|peak| format!("peak: {peak}"));
    let notes: Vec<String> = peak.into_iter().chain(limit).chain(point.notes.iter().cloned()).collect();
    if !notes.is_empty() {
        let _ = write!(text, "  {}", notes.join("; "));
    }
    text
}

/// One line for each size of cluster.
fn ceilings(record: &Record) -> String {
    let mut sizes: Vec<u16> = record.points.iter().map(|point| point.cell.n).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let cores = record.limits.machine.cores;
    let of = |n: &u16| {
        let ceiling = Ceiling::of(usize::from(*n), cores, &record.limits.signatures);
        format!("{:.0} (n = {n})", ceiling.operations_per_second)
    };
    let all: Vec<String> = sizes.iter().map(of).collect();
    format!("ceiling      {} calls/s with one signature for each, all cores together\n", all.join(", "))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_same_in_all_cells_is_told_once() {
        let cell = |f, batch| Cell { f, batch, scenario: "none".to_owned(), payload: 128, ..Cell::default() };
        let coordinates = Coordinates::of(&[&cell(1, 16), &cell(10, 400)]);
        assert!(coordinates.same.contains("payload 128") && !coordinates.same.contains("batch"));
        assert_eq!(
            coordinates.lines(),
            [
                "f   n  scenario  network  batch",
                "1   0  none               16   ",
                "10  0  none               400  "
            ]
        );
    }

    #[test]
    fn the_plan_for_programs_has_every_cell_with_its_columns_and_how_long_it_takes() {
        let text = "title = 'x'\nf = [1, 2]\ndurability = 'none'\nnetwork = ['loopback', 'wan-europe']\n";
        let figure = Figure::parse(text, std::path::Path::new("x.toml")).unwrap();
        let plan = plan_json(&figure, &[1, 2]).unwrap();
        let cells = plan["cells"].as_array().unwrap();
        assert_eq!(cells.len(), 2);
        for (told, meant) in cells.iter().zip(&figure.cells()[1..3]) {
            assert_eq!(told["cell"], serde_json::to_value(meant).unwrap());
            assert_eq!(told["expected_p50_ms"].is_null(), meant.network == "loopback");
        }
        let sum: f64 = cells.iter().filter_map(|cell| cell["about_s"].as_f64()).sum();
        assert!(sum > 0.0 && (plan["about_s"].as_f64().unwrap() - sum).abs() < 0.01);
    }

    #[test]
    fn times_are_told_in_what_people_plan_with() {
        let told = [3, 61, 3_700].map(|seconds| time(Duration::from_secs(seconds)));
        assert_eq!(told, ["3 s", "1 min 1 s", "1 h 1 min"]);
    }
}
