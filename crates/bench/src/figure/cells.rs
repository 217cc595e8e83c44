//! From a figure's dimensions to its cells: every combination that is not skipped, each of which must make sense.

use std::collections::BTreeSet;

use quorate_node::cluster_file::{NodeDefaults, Preset, Problem};
use quorate_node::sections::{Located, Misplaced, Source};
use quorate_protocol::committee::faults;
use quorate_protocol::parameters::{ParameterError, Parameters};

use super::knobs::{CLOSED, Knob, Layout, RATE, knob};
use super::{Figure, Rate, Scenario};
use crate::network::LOOPBACK;
use crate::record::Cell;

/// Most cells of a figure: days of measuring.
pub(super) const CELLS_MAX: usize = 4096;
/// Bundles of a batch where nothing else is said.
const BATCH_REQUESTS: u32 = 1024;

/// One coordinate, and what the file says it may be.
pub(super) struct Dimension {
    pub(super) knob: &'static Knob,
    pub(super) values: Vec<Located<String>>,
}

/// Coordinates, each with values of which one is enough: which cells something is about.
pub(super) struct Filter {
    pub(super) at: usize,
    pub(super) key: String,
    pub(super) wanted: Vec<Dimension>,
}

impl Filter {
    /// Whether it is about a cell.
    pub(super) fn takes(&self, cell: &Cell) -> bool {
        self.wanted.iter().all(|dimension| {
            let found = dimension.knob.get(cell);
            dimension.values.iter().any(|value| value.value == found)
        })
    }
}

/// Cells that differ from the others in more than their coordinates say.
pub(super) struct Adjustment {
    pub(super) of: Filter,
    pub(super) to: Vec<(&'static Knob, Located<String>)>,
}

/// What the file says of cells.
pub(super) struct Layers {
    pub(super) dimensions: Vec<Dimension>,
    pub(super) adjustments: Vec<Adjustment>,
    pub(super) skips: Vec<Filter>,
    /// Where there is no better place for an error.
    pub(super) at: usize,
}

/// A cell of which the file says nothing.
pub(super) fn usual(parameters: &Parameters) -> Cell {
    let number = |wide: u64| u32::try_from(wide).unwrap_or(u32::MAX);
    Cell {
        scenario: "none".into(),
        network: LOOPBACK.into(),
        payload: 128,
        durability: "sync".into(),
        application: "null".into(),
        load: "open".into(),
        clients: 16,
        in_flight: 64,
        bundle: 64,
        window: number(parameters.window),
        checkpoint_interval: number(parameters.checkpoint_interval),
        timeout_ms: number(parameters.timeout_us / 1000),
        p99_limit_ms: 100,
        layout: "one-thread".into(),
        pipeline: number(parameters.pipeline_depth),
        rate: "peak".into(),
        ..Cell::default()
    }
}

/// Every combination, in order, and in words what was left out though nobody skipped it.
pub(super) fn combine(
    source: &Source<'_>,
    layers: &Layers,
    figure: &Figure,
) -> Result<(Vec<Cell>, Vec<String>), Misplaced> {
    let product = layers.dimensions.iter().map(|dimension| dimension.values.len());
    let product = product.fold(1_usize, usize::saturating_mul);
    if product > CELLS_MAX {
        let (what, fix) = (
            format!("makes {product} cells, more than {CELLS_MAX}"),
            "give some keys fewer values, or make several figures",
        );
        let widest = layers.dimensions.iter().max_by_key(|dimension| dimension.values.len());
        let at = widest.and_then(|dimension| dimension.values.first()).map_or(layers.at, |value| value.at);
        let key = widest.map_or("title", |dimension| dimension.knob.name);
        return Err(source.error(at, key.into(), Problem::Rule { what, fix: fix.into() }));
    }
    let mut cells = vec![usual(&figure.parameters)];
    for dimension in &layers.dimensions {
        let with = |cell: &Cell| -> Vec<Cell> {
            let with = |value: &Located<String>| {
                let mut cell = cell.clone();
                dimension.knob.put(&mut cell, &value.value);
                cell
            };
            dimension.values.iter().map(with).collect()
        };
        cells = cells.iter().flat_map(with).collect();
    }
    keep(source, layers, figure, cells)
}

/// Completes cells, and keeps those that are neither skipped nor there already.
fn keep(
    source: &Source<'_>,
    layers: &Layers,
    figure: &Figure,
    cells: Vec<Cell>,
) -> Result<(Vec<Cell>, Vec<String>), Misplaced> {
    let (mut kept, mut dropped): (Vec<Cell>, Vec<String>) = (Vec::new(), Vec::new());
    let mut adjusted = vec![false; layers.adjustments.len()];
    let mut skipped = vec![false; layers.skips.len()];
    let mut known = BTreeSet::new();
    for mut cell in cells {
        complete(&mut cell, &layers.adjustments, &mut adjusted);
        let skip = layers.skips.iter().zip(&mut skipped).filter(|(skip, _)| skip.takes(&cell));
        if skip.map(|(_, used)| *used = true).count() > 0 {
            continue;
        }
        match check(source, layers, figure, &cell)? {
            None if known.insert(format!("{cell:?}")) => kept.push(cell),
            None => {}
            Some(why) if dropped.contains(&why) => {}
            Some(why) => dropped.push(why),
        }
    }
    let filters = layers.adjustments.iter().map(|adjustment| &adjustment.of).zip(adjusted);
    for (filter, used) in filters.chain(layers.skips.iter().zip(skipped)) {
        if !used {
            return Err(unused(source, filter));
        }
    }
    if kept.is_empty() {
        return Err(nothing_left(source, layers, &dropped));
    }
    Ok((kept, dropped))
}

/// Nothing is left: because everything was skipped, or because scenarios are nobody's.
fn nothing_left(source: &Source<'_>, layers: &Layers, dropped: &[String]) -> Misplaced {
    if let Some(skip) = layers.skips.first() {
        let (what, fix) = ("leaves nothing to measure".into(), "skip less".into());
        return source.error(skip.at, skip.key.clone(), Problem::Rule { what, fix });
    }
    let scenario = layers.dimensions.iter().find(|dimension| dimension.knob.name == "scenario");
    let at = scenario.and_then(|dimension| dimension.values.first()).map_or(layers.at, |value| value.at);
    let what = match dropped.first() {
        Some(why) => format!("leaves nothing to measure: {}", why.trim_end_matches(": left out")),
        None => "leaves nothing to measure".to_owned(),
    };
    let fix = "write a larger `f`, or a scenario that makes somebody faulty there".into();
    source.error(at, "scenario".into(), Problem::Rule { what, fix })
}

/// A filter that is about no cell says something else than whoever wrote it meant.
pub(super) fn unused(source: &Source<'_>, filter: &Filter) -> Misplaced {
    let (what, fix) = ("is about no cell of this figure", "correct its keys, or remove it");
    source.error(filter.at, filter.key.clone(), Problem::Rule { what: what.into(), fix: fix.into() })
}

/// What follows from the coordinates that the file gives.
fn complete(cell: &mut Cell, adjustments: &[Adjustment], adjusted: &mut [bool]) {
    if cell.n == 0 {
        cell.n = cell.f.saturating_mul(3).saturating_add(1);
    }
    cell.f = u16::try_from(faults(usize::from(cell.n))).unwrap_or(u16::MAX);
    if cell.load == CLOSED {
        RATE.put(cell, CLOSED);
    }
    for (adjustment, used) in adjustments.iter().zip(adjusted) {
        if adjustment.of.takes(cell) {
            *used = true;
            adjustment.to.iter().for_each(|(knob, value)| knob.put(cell, &value.value));
        }
    }
    if cell.batch == 0 {
        cell.batch = BATCH_REQUESTS.saturating_mul(cell.bundle.into());
    }
}

/// Sees that a cell makes sense. A reason not to measure it, if there is one that is nobody's mistake.
fn check(
    source: &Source<'_>,
    layers: &Layers,
    figure: &Figure,
    cell: &Cell,
) -> Result<Option<String>, Misplaced> {
    let wrong =
        |name: &str, problem: Problem| Err(source.error(place(layers, name, cell), name.into(), problem));
    let rule = |name: &str, what: &str, fix: &str| {
        wrong(name, Problem::Rule { what: what.to_owned(), fix: fix.to_owned() })
    };
    if cell.batch < cell.bundle.into() {
        let what = format!("is {}, less than `bundle`, which is {}", cell.batch, cell.bundle);
        return rule("batch", &what, "write at least as much: a batch has whole bundles");
    }
    if cell.reply > 0 && cell.application != "null" {
        let what = format!("is {}, and the replies of `{}` are its own", cell.reply, cell.application);
        return rule("reply", &what, "leave it out, or say `application = \"null\"`");
    }
    let preset = preset(&figure.parameters, cell);
    if let Err(error) = preset.parameters.check_for(usize::from(cell.n)) {
        let (name, problem) = parameter_problem(error, cell);
        return wrong(name, problem);
    }
    if u64::from(cell.payload) > preset.parameters.operation_bytes_max {
        return rule(
            "payload",
            "is more than `operation_bytes_max` of [parameters]",
            "write less, or raise that",
        );
    }
    if u64::from(cell.reply) > preset.parameters.reply_bytes_max {
        return rule("reply", "is more than `reply_bytes_max` of [parameters]", "write less, or raise that");
    }
    let Ok(scenario) = cell.scenario.parse::<Scenario>() else { return Ok(None) };
    if scenario.last_strike().is_some_and(|last| last >= figure.measure) {
        let what = format!("is `{scenario}`, which goes on after the measured time");
        return rule("scenario", &what, "write an earlier time, or a longer `measure_ms`");
    }
    match scenario.plan(cell.n, cell.f, figure.beyond_f) {
        Err(error) => wrong("scenario", error.problem()),
        Ok(None) => Ok(Some(format!("`{scenario}` is nobody where f = {}: left out", cell.f))),
        Ok(Some(_)) => Ok(None),
    }
}

/// Where a cell's coordinate comes from.
fn place(layers: &Layers, name: &str, cell: &Cell) -> usize {
    let found = knob(name).map(|knob| knob.get(cell)).unwrap_or_default();
    let adjusted = layers.adjustments.iter().filter(|adjustment| adjustment.of.takes(cell));
    let adjusted = adjusted.flat_map(|adjustment| &adjustment.to);
    let mut adjusted = adjusted.filter(|(knob, value)| knob.name == name && value.value == found);
    if let Some((_, value)) = adjusted.next_back() {
        return value.at;
    }
    let mut dimensions = layers.dimensions.iter().filter(|dimension| dimension.knob.name == name);
    let values = dimensions.next().map(|dimension| &dimension.values);
    let value = values.and_then(|values| values.iter().find(|value| value.value == found).or(values.first()));
    value.map_or(layers.at, |value| value.at)
}

/// A constant of the protocol, as the coordinate that it comes from.
fn parameter_problem(error: ParameterError, cell: &Cell) -> (&'static str, Problem) {
    let (name, value) = match error.name {
        "batch_requests_max" => ("batch", u64::from(cell.batch)),
        "client_window" => ("in_flight", u64::from(cell.in_flight)),
        "pipeline_depth" => ("pipeline", error.value),
        "timeout_us" => ("timeout_ms", error.value / 1000),
        "timeout_max_us" => ("timeout_ms", error.value / 1000),
        "checkpoint_interval" => ("checkpoint_interval", error.value),
        "window" => ("window", error.value),
        other => (other, error.value),
    };
    let fix = match name {
        "batch" => "a batch has at most 16384 bundles of `bundle` calls each".to_owned(),
        _ => format!("it {}", error.fix.replace("timeout_max_us", "timeout_max_ms")),
    };
    (name, Problem::Parameter { value, fix })
}

/// The protocol's constants and the local tuning of a cell's replicas.
pub(super) fn preset(parameters: &Parameters, cell: &Cell) -> Preset {
    let parameters = Parameters {
        checkpoint_interval: cell.checkpoint_interval.into(),
        window: cell.window.into(),
        pipeline_depth: cell.pipeline.into(),
        batch_requests_max: u64::from(cell.batch / u32::from(cell.bundle.max(1))).max(1),
        client_window: parameters.client_window.max(cell.in_flight.into()),
        timeout_us: u64::from(cell.timeout_ms) * 1000,
        ..parameters.clone()
    };
    let usual = NodeDefaults::default();
    let layout = cell.layout.parse::<Layout>().ok();
    let node = NodeDefaults {
        verifier_threads: layout.map_or(usual.verifier_threads, |layout| layout.verifiers),
        execution: layout.map_or(usual.execution, |layout| layout.execution),
        durability: cell.durability.parse().unwrap_or(usual.durability),
    };
    Preset { parameters, node }
}

/// The load that a cell is measured at.
pub(super) fn rate(cell: &Cell) -> Rate {
    cell.rate.parse().unwrap_or(Rate::Peak)
}
