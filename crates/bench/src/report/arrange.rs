//! Which points share a panel and which a line: from the coordinates that differ, whatever those are.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::chart::{Axis, Scale};
use crate::record::{Cell, Point};

/// Panels of one drawing at most; tables and files have the rest.
pub(crate) const PANELS_MAX: usize = 24;
/// How long a name from a file may be on a page.
const NAME_MAX: usize = 60;

/// What a line may stand for, the first that differs.
const LINES: [&str; 12] = [
    "scenario",
    "durability",
    "load",
    "layout",
    "application",
    "network",
    "bundle",
    "pipeline",
    "batch",
    "payload",
    "reply",
    "in_flight",
];
/// What may lie along the paper, the first that differs.
const ACROSS: [&str; 11] = [
    "f",
    "n",
    "payload",
    "reply",
    "batch",
    "bundle",
    "pipeline",
    "in_flight",
    "clients",
    "window",
    "checkpoint_interval",
];

type Coordinates = BTreeMap<String, Value>;

/// Whether a point has a number: its runs ended, and correct replicas agreed in all of them.
pub(crate) fn has_number(point: &Point) -> bool {
    point.problem.is_none() && point.agreement
}

/// Why a point has no number, in words; none if it has one.
pub(crate) fn problem(point: &Point) -> Option<&str> {
    match &point.problem {
        Some(problem) => Some(problem),
        None if !point.agreement => Some("correct replicas did not agree, so it has no number"),
        None => None,
    }
}

/// Points in order: panels, lines in them, and points along each.
#[derive(Debug, Clone)]
pub(crate) struct Arrangement<'a> {
    /// Along the paper.
    pub(crate) across: Across,
    /// Names of lines, by their numbers.
    pub(crate) lines: Vec<String>,
    /// In the order in which the figure asked for them.
    pub(crate) panels: Vec<Panel<'a>>,
    /// Panels that there was no room for.
    pub(crate) left_out: usize,
}

impl Arrangement<'_> {
    /// A name for a part of a panel: with the panel's, where there are several.
    pub(crate) fn named(&self, part: &str, panel: &Panel<'_>) -> String {
        if self.panels.len() > 1 { format!("{part} · {}", panel.title) } else { part.to_owned() }
    }
}

/// Points that are compared with one another.
#[derive(Debug, Clone)]
pub(crate) struct Panel<'a> {
    /// What they have in common.
    pub(crate) title: String,
    /// In order of their numbers.
    pub(crate) lines: Vec<Line<'a>>,
}

/// Points that differ in one thing only.
#[derive(Debug, Clone)]
pub(crate) struct Line<'a> {
    /// Its number: the same in every panel.
    pub(crate) number: usize,
    /// For each place along the paper, what was measured there: at its peak, or wherever it was best, first.
    pub(crate) stops: Vec<Stop<'a>>,
}

/// What was measured at one cell, at one rate or several.
#[derive(Debug, Clone)]
pub(crate) struct Stop<'a> {
    /// Number of its place along the paper.
    pub(crate) at: usize,
    /// The point to show where there is room for one.
    pub(crate) best: &'a Point,
    /// All of them.
    pub(crate) all: Vec<&'a Point>,
}

/// The values along the paper.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Across {
    key: String,
    values: Vec<f64>,
    /// What people call them, in order.
    pub(crate) names: Vec<String>,
    /// What they are.
    pub(crate) label: String,
}

impl Across {
    /// An axis of them.
    pub(crate) fn axis(&self, from: f64, to: f64) -> Axis {
        let places = (0..self.values.len()).map(|at| self.place(at));
        let ticks = places.zip(self.names.iter().cloned()).collect();
        let (low, high) = (self.place(0), self.place(self.values.len().saturating_sub(1)));
        let margin = ((high - low) * 0.09).max(0.5);
        let scale = Scale::exact(low - margin, high + margin, from, to);
        Axis { scale, ticks, label: self.label.clone() }
    }

    /// Where value number `at` lies: numbers of replicas by their size, other things one after the other.
    pub(crate) fn place(&self, at: usize) -> f64 {
        let by_size = matches!(self.key.as_str(), "f" | "n");
        if by_size { self.values.get(at).copied().unwrap_or_default() } else { at as f64 }
    }

    /// The value, as it is said within a sentence: `f = 2`.
    pub(crate) fn said(&self, at: usize) -> String {
        let name = self.values.get(at).copied().unwrap_or_default();
        format!("{} = {name}", self.key.replace('_', " "))
    }
}

fn coordinates(cell: &Cell) -> Coordinates {
    match serde_json::to_value(cell) {
        Ok(Value::Object(map)) => map.into_iter().collect(),
        _ => Coordinates::new(),
    }
}

/// A coordinate in words.
fn say(key: &str, value: &Value) -> String {
    let text = match value {
        Value::String(text) => short_name(text),
        other => other.to_string(),
    };
    match key {
        "scenario" | "network" | "application" => text,
        "payload" => format!("{text} B operations"),
        "reply" => format!("{text} B replies"),
        "durability" | "layout" => format!("{key} {text}"),
        "load" => format!("{text} loop"),
        "timeout_ms" => format!("T0 {text} ms"),
        "p99_limit_ms" => format!("p99 \u{2264} {text} ms"),
        "clients" => format!("{text} clients"),
        "in_flight" => format!("{text} in flight"),
        "checkpoint_interval" => format!("K = {text}"),
        _ => format!("{} {text}", key.replace('_', " ")),
    }
}

/// A name from a file, no longer than a page can bear.
pub(crate) fn short_name(text: &str) -> String {
    if text.chars().count() <= NAME_MAX {
        return text.to_owned();
    }
    text.chars().take(NAME_MAX - 1).chain(['…']).collect()
}

/// Puts points in order. None if there are none.
pub(crate) fn arrange(points: &[Point]) -> Option<Arrangement<'_>> {
    let all: Vec<(Coordinates, &Point)> =
        points.iter().map(|point| (coordinates(&point.cell), point)).collect();
    if all.is_empty() {
        return None;
    }
    let differing = differing(&all);
    let differs = |key: &&str| differing.contains(*key);
    let key_across = ACROSS.iter().copied().find(differs).unwrap_or("f");
    let key_line = LINES.iter().copied().filter(|key| *key != key_across).find(differs).unwrap_or("scenario");
    let apart: Vec<&String> = differing.iter().filter(|key| *key != key_across && *key != key_line).collect();
    let apart: Vec<&String> = apart.into_iter().filter(|key| !follows(&all, key, key_across)).collect();

    let across = values_across(&all, key_across);
    let mut lines: Vec<String> = Vec::new();
    let mut panels: Vec<Panel<'_>> = Vec::new();
    let mut left_out: BTreeSet<String> = BTreeSet::new();
    for (coordinates, point) in &all {
        let value = |key: &str| coordinates.get(key).unwrap_or(&Value::Null);
        let title = title(coordinates, &apart);
        let line = say(key_line, value(key_line));
        let number = position(&mut lines, line);
        let stop = value(key_across).as_f64().unwrap_or_default();
        let at = across.values.iter().position(|value| *value == stop).unwrap_or_default();
        if !panels.iter().any(|panel| panel.title == title) {
            if panels.len() == PANELS_MAX {
                left_out.insert(title);
                continue;
            }
            panels.push(Panel { title: title.clone(), lines: Vec::new() });
        }
        if let Some(panel) = panels.iter_mut().find(|panel| panel.title == title) {
            panel.add(number, at, point);
        }
    }
    for line in panels.iter_mut().flat_map(|panel| &mut panel.lines) {
        line.stops.sort_by_key(|stop| stop.at);
    }
    panels.iter_mut().for_each(|panel| panel.lines.sort_by_key(|line| line.number));
    Some(Arrangement { across, lines, panels, left_out: left_out.len() })
}

fn position(names: &mut Vec<String>, name: String) -> usize {
    names.iter().position(|known| *known == name).unwrap_or_else(|| {
        names.push(name);
        names.len() - 1
    })
}

impl<'a> Panel<'a> {
    fn add(&mut self, number: usize, at: usize, point: &'a Point) {
        let index = self.lines.iter().position(|line| line.number == number).unwrap_or_else(|| {
            self.lines.push(Line { number, stops: Vec::new() });
            self.lines.len() - 1
        });
        let stops = &mut self.lines[index].stops;
        match stops.iter_mut().find(|stop| stop.at == at) {
            Some(stop) => {
                if better(point, stop.best) {
                    stop.best = point;
                }
                stop.all.push(point);
            }
            None => stops.push(Stop { at, best: point, all: vec![point] }),
        }
    }
}

/// Whether one point stands for a cell rather than another that differs in its rate: a peak does, then the most.
fn better(one: &Point, other: &Point) -> bool {
    let peak = |point: &Point| matches!(point.cell.rate.as_str(), "peak" | "closed");
    let rank = |point: &Point| (has_number(point), peak(point));
    match rank(one).cmp(&rank(other)) {
        std::cmp::Ordering::Equal => one.throughput_rps > other.throughput_rps,
        order => order.is_gt(),
    }
}

/// Coordinates that are not the same everywhere. The rate is none of them: a line of rates is a curve of its own.
fn differing(all: &[(Coordinates, &Point)]) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    if let Some((first, _)) = all.first() {
        for (coordinates, _) in all {
            let differs = |key: &&String| coordinates.get(*key) != first.get(*key);
            keys.extend(coordinates.keys().filter(differs).cloned());
        }
    }
    keys.remove("rate");
    keys
}

/// Whether a coordinate follows from another, as n does from f.
fn follows(all: &[(Coordinates, &Point)], key: &str, from: &str) -> bool {
    let mut known: BTreeMap<String, &Value> = BTreeMap::new();
    all.iter().all(|(coordinates, _)| {
        let (Some(value), Some(by)) = (coordinates.get(key), coordinates.get(from)) else { return true };
        *known.entry(by.to_string()).or_insert(value) == value
    })
}

fn values_across(all: &[(Coordinates, &Point)], key: &str) -> Across {
    let number = |coordinates: &Coordinates| coordinates.get(key).and_then(Value::as_f64).unwrap_or_default();
    let mut values: Vec<f64> = all.iter().map(|(coordinates, _)| number(coordinates)).collect();
    values.sort_by(f64::total_cmp);
    values.dedup();
    let label = match key {
        "f" => "f, Byzantine replicas tolerated (n replicas)".to_owned(),
        "n" => "n, replicas".to_owned(),
        "payload" => "bytes of an operation".to_owned(),
        "reply" => "bytes of a reply".to_owned(),
        "batch" => "most operations in a batch".to_owned(),
        "bundle" => "most operations under one signature of a client".to_owned(),
        "in_flight" => "calls in flight of each client".to_owned(),
        other => other.replace('_', " "),
    };
    let name = |value: &f64| {
        let here = all.iter().filter(|(coordinates, _)| number(coordinates) == *value);
        let sizes: BTreeSet<u16> = here.map(|(_, point)| point.cell.n).collect();
        match sizes.first() {
            Some(n) if key == "f" && sizes.len() == 1 => format!("{value} (n={n})"),
            _ => value.to_string(),
        }
    };
    let names = values.iter().map(name).collect();
    Across { key: key.to_owned(), values, names, label }
}

/// What sets a panel apart; where nothing does, what its points have in common.
fn title(coordinates: &Coordinates, apart: &[&String]) -> String {
    let always = ["network".to_owned(), "payload".to_owned(), "durability".to_owned()];
    let keys: Vec<&String> = if apart.is_empty() { always.iter().collect() } else { apart.to_vec() };
    let mut words = Vec::new();
    // The network first: it tells most.
    for key in keys
        .iter()
        .filter(|key| *key.as_str() == *"network")
        .chain(keys.iter().filter(|key| *key.as_str() != *"network"))
    {
        words.push(say(key, coordinates.get(*key).unwrap_or(&Value::Null)));
    }
    words.join(" · ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(f: u16, scenario: &str, network: &str, throughput_rps: f64) -> Point {
        let (scenario, network) = (scenario.to_owned(), network.to_owned());
        let cell = Cell { f, n: 3 * f + 1, scenario, network, rate: "peak".into(), ..Cell::default() };
        Point { cell, agreement: true, throughput_rps, ..Point::default() }
    }

    fn shape(points: &[Point]) -> Vec<(String, Vec<(usize, usize)>)> {
        let Some(arrangement) = arrange(points) else { return Vec::new() };
        let lines =
            |panel: &Panel<'_>| panel.lines.iter().map(|line| (line.number, line.stops.len())).collect();
        arrangement.panels.iter().map(|panel| (panel.title.clone(), lines(panel))).collect()
    }

    #[test]
    fn f_lies_along_the_paper_scenarios_are_lines_and_networks_panels() {
        let mut points = Vec::new();
        for network in ["loopback", "world"] {
            for scenario in ["none", "crash:f"] {
                points.extend([2, 1, 3].map(|f| point(f, scenario, network, 10.0)));
            }
        }
        let lines = vec![(0, 3), (1, 3)];
        assert_eq!(shape(&points), [("loopback".into(), lines.clone()), ("world".into(), lines)]);
        let arrangement = arrange(&points).expect("there are points");
        assert_eq!(arrangement.across.names, ["1 (n=4)", "2 (n=7)", "3 (n=10)"]);
        assert_eq!(arrangement.lines, ["none", "crash:f"]);
    }

    #[test]
    fn where_f_is_one_number_whatever_else_differs_takes_its_place() {
        let mut points = vec![point(1, "none", "loopback", 1.0), point(1, "none", "loopback", 2.0)];
        points[0].cell.bundle = 64;
        points[1].cell.bundle = 1;
        let arrangement = arrange(&points).expect("there are points");
        assert_eq!(arrangement.across.names, ["1", "64"]);
        assert_eq!(arrangement.panels.len(), 1);
        assert_eq!(arrangement.across.place(1), 1.0, "one after the other, not by size");
    }

    #[test]
    fn of_several_rates_the_peak_stands_for_the_cell_and_what_has_no_number_for_nothing() {
        let mut points = vec![point(1, "none", "loopback", 9.0), point(1, "none", "loopback", 5.0)];
        points[0].cell.rate = "50%".into();
        let best = |points: &[Point]| {
            arrange(points).map(|all| all.panels[0].lines[0].stops[0].best.throughput_rps).unwrap_or_default()
        };
        assert_eq!(best(&points), 5.0);
        points[1].agreement = false;
        assert_eq!(best(&points), 9.0);
    }

    #[test]
    fn panels_are_bounded_and_those_left_out_are_counted() {
        let points: Vec<Point> = (0..40).map(|at| point(1, "none", &format!("network {at}"), 1.0)).collect();
        // One network after the other is a line each; two things that differ make panels.
        let mut more = points.clone();
        more.iter_mut().for_each(|point| point.cell.scenario = "crash:f".into());
        more.extend(points);
        let arrangement = arrange(&more).expect("there are points");
        assert_eq!((arrangement.panels.len(), arrangement.left_out), (PANELS_MAX, 40 - PANELS_MAX));
        assert!(arrange(&[]).is_none());
    }
}
