//! What a whole is made of: a call's time by phase, and its processor time by role.

use super::arrange::{Arrangement, Panel, Stop, has_number};
use super::chart::{Key, Sample, Sheet, Stack, StackRow, duration};
use super::drawing::{Drawing, WIDE};
use super::words;
use crate::record::Point;

/// Parts that are told apart; the smallest of more are one.
const PARTS_MAX: usize = 8;
/// Rows of a panel at most.
const ROWS_MAX: usize = 60;
const REST: &str = "other";

/// Names and sizes of a point's parts.
type Parts = fn(&Point) -> Vec<(String, f64)>;

/// Where the time of a call goes; none where phases were not measured.
pub(super) fn phases(arrangement: &Arrangement<'_>) -> Option<Drawing> {
    let parts: Parts = |point| point.phases.iter().map(|time| (time.phase.clone(), time.mean_us)).collect();
    let caption = vec![
        "Mean time of a call in each phase, in the order in which a call goes through them; what is left of its \
         latency is the client's and the network's between."
            .into(),
        words::LATENCY.into(),
        "Each bar was measured at the load of its point, so bars of higher loads hold more waiting.".into(),
    ];
    draw(arrangement, parts, ("phases", "Where the time of a call goes", "mean time of a call"), caption)
}

/// Who computes for a call; none where processor time was not measured.
pub(super) fn roles(arrangement: &Arrangement<'_>) -> Option<Drawing> {
    let parts: Parts = |point| {
        let roles = &point.cpu_us_per_request_by_role;
        let mut parts: Vec<(String, f64)> = roles.iter().map(|(role, us)| (role.clone(), *us)).collect();
        parts.sort_by(|a, b| a.0.cmp(&b.0));
        parts
    };
    let caption = vec![
        "Processor time of all replicas and clients, per call whose f+1 matching replies reached their client; batches \
         are never counted as calls."
            .into(),
        "On a machine whose cores are all busy, throughput is cores divided by this.".into(),
    ];
    let words = ("processor", "Processor time of a call, by role", "processor time per call, all processes");
    draw(arrangement, parts, words, caption)
}

fn usable(value: f64) -> f64 {
    if value.is_finite() { value.clamp(0.0, 1e15) } else { 0.0 }
}

/// Names of the parts in the order in which they are met; of too many, the largest.
fn names(arrangement: &Arrangement<'_>, parts: Parts) -> Vec<String> {
    let mut sums: Vec<(String, f64)> = Vec::new();
    let lines = arrangement.panels.iter().flat_map(|panel| &panel.lines);
    for stop in lines.flat_map(|line| &line.stops).filter(|stop| has_number(stop.best)) {
        for (name, value) in parts(stop.best) {
            match sums.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => *sum += usable(value),
                None => sums.push((name, usable(value))),
            }
        }
    }
    if sums.len() > PARTS_MAX {
        let mut sizes: Vec<f64> = sums.iter().map(|(_, sum)| *sum).collect();
        sizes.sort_by(|a, b| b.total_cmp(a));
        let least = sizes[PARTS_MAX - 2];
        sums.retain(|(_, sum)| *sum >= least);
        sums.truncate(PARTS_MAX - 1);
        sums.push((REST.into(), 0.0));
    }
    sums.into_iter().map(|(name, _)| name).collect()
}

fn draw(
    arrangement: &Arrangement<'_>,
    parts: Parts,
    (name, title, axis): (&'static str, &str, &str),
    caption: Vec<String>,
) -> Option<Drawing> {
    let names = names(arrangement, parts);
    if names.is_empty() {
        return None;
    }
    let stacks = arrangement.panels.iter().map(|panel| (panel, stack(arrangement, panel, parts, &names)));
    let stacks = stacks.filter(|(_, stack)| !stack.rows.is_empty());
    let panels: Vec<Sheet> =
        stacks.map(|(panel, stack)| stack.sheet(WIDE, &panel.title, axis, duration)).collect();
    let mut key = Key::default();
    for (at, name) in names.iter().enumerate() {
        key.add(Sample::Part(at), name);
    }
    Some(Drawing { name, title: title.into(), caption, key, panels })
}

fn stack(arrangement: &Arrangement<'_>, panel: &Panel<'_>, parts: Parts, names: &[String]) -> Stack {
    let mut stack = Stack::default();
    for line in &panel.lines {
        let measured = |stop: &&Stop<'_>| !has_number(stop.best) || !parts(stop.best).is_empty();
        let stops: Vec<&Stop<'_>> = line.stops.iter().filter(measured).collect();
        if !stops.iter().any(|stop| has_number(stop.best)) || stack.rows.len() + stops.len() >= ROWS_MAX {
            continue;
        }
        let heading = arrangement.lines.get(line.number).cloned().unwrap_or_default();
        stack.rows.push(StackRow::Heading(heading.clone()));
        for stop in stops {
            let name = arrangement.across.names.get(stop.at).cloned().unwrap_or_default();
            if !has_number(stop.best) {
                stack.rows.push(StackRow::Bar { name, parts: Vec::new(), note: "no number".into() });
                continue;
            }
            let all = parts(stop.best);
            let total: f64 = all.iter().map(|(_, value)| usable(*value)).sum();
            let said = arrangement.across.said(stop.at);
            let tell = |part: &str, value: f64| {
                format!("{heading}, {said}: {part} {} of {}", duration(value), duration(total))
            };
            let mut bars: Vec<(usize, f64, String)> = Vec::new();
            for (at, name) in names.iter().enumerate() {
                let here = |other: &String| {
                    if name == REST { !names.contains(other) || other == REST } else { other == name }
                };
                let value: f64 =
                    all.iter().filter(|(other, _)| here(other)).map(|(_, value)| usable(*value)).sum();
                bars.push((at, value, tell(name, value)));
            }
            stack.rows.push(StackRow::Bar { name, parts: bars, note: duration(total) });
        }
    }
    stack
}
