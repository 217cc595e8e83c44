//! A point of the record: what the runs of a cell say together.

use std::collections::BTreeMap;

use super::marks;
use super::once::Once;
use super::seek::Found;
use super::stage::primary_of;
use super::{CellMeasured, RunError, label};
use crate::cost::{Costs, Shape};
use crate::figure::Plan;
use crate::limits::Limits;
use crate::load::dump;
use crate::record::{Calls, Cell, Model, Point, Run};
use crate::search;
use crate::statistics::{Summary, is_steady, median};

/// Names and contents of files.
pub(super) type Files = Vec<(String, Vec<u8>)>;

/// Cores that replicas have, and those of all machines.
type Cores = (usize, usize);

/// More of the cores at work than that, and there are no more.
const BUSY: f64 = 0.9;
/// More calls than that part of those offered left late, and clients had no room for them.
const LATE: f64 = 0.03;

/// The point of a cell, as far as it was measured, and the latency histograms of its runs. Without a number it says why.
pub(super) fn of(
    (number, cell): (usize, &Cell),
    measured: (CellMeasured, Result<(), RunError>),
    (limits, cores): (&Limits, Cores),
) -> (Point, Files) {
    let (mut point, files, costs) = gathered((number, cell), measured, cores);
    if !point.runs.is_empty() {
        point.model = Model::of(&Shape::of(cell, &costs), limits);
    }
    (point, files)
}

/// Everything but what the model says.
fn gathered(
    (number, cell): (usize, &Cell),
    (measured, ended): (CellMeasured, Result<(), RunError>),
    cores: Cores,
) -> (Point, Files, Costs) {
    let mut point =
        Point { cell: cell.clone(), cpu_bound: usize::from(cell.n) > cores.0, ..Point::default() };
    let (mut files, mut costs) = (Files::new(), Costs::default());
    searched(&mut point, &measured);
    let CellMeasured { runs, asked, .. } = &measured;
    match ended {
        Ok(()) => {}
        Err(RunError::Interrupted) if !runs.is_empty() => {
            point.notes.push(format!("interrupted: {} of {asked} runs were made", runs.len()));
        }
        Err(error) => {
            point.problem = Some(match error {
                RunError::Interrupted => "interrupted: nothing was measured".to_owned(),
                error => error.to_string(),
            });
            return (point, files, costs);
        }
    }
    for (run, once) in (1..).zip(runs) {
        let (name, content) = histogram((number, cell), run, once);
        point.runs.push(told(once, name.clone()));
        files.push((name, content));
        note(&mut point, once);
        point.network_check.add(&once.network, run);
        costs.add(&once.costs);
    }
    // Every verdict was good, or there would be an error in place of these runs.
    point.agreement = true;
    let offered: Vec<f64> = runs.iter().map(|once| once.report.offered_rps()).collect();
    point.offered_rps = median(&offered);
    let summary = Summary::of(&point.runs);
    point.throughput_rps = summary.throughput_rps.median;
    (point.ci_low, point.ci_high) = (summary.throughput_rps.low, summary.throughput_rps.high);
    point.p50_us = summary.p50_us.median;
    point.p99_us = summary.p99_us.median;
    point.p999_us = summary.p999_us.median;
    costs.write_to(&mut point);
    judge(&mut point, &measured, cores);
    let liars = liar_notes(&point.runs, &measured.plan, cell.n);
    point.notes.extend(liars);
    (point, files, costs)
}

/// What was tried on the way to the point, whether or not it has a number.
fn searched(point: &mut Point, measured: &CellMeasured) {
    let Some(found) = &measured.found else { return };
    point.search.clone_from(&found.trials);
    point.network_check.expected_p50_us = found.expected_us;
    point.search_end = found.end.map_or_else(String::new, |end| end.words().to_owned());
    point.search_gap = gap(found, measured).map_or(0.0, |(gap, _)| gap);
}

/// By how much the lowest load that was too much is above the peak, and whether its latency was.
fn gap(found: &Found, measured: &CellMeasured) -> Option<(f64, f64)> {
    let best = found.best.map(|best| best.offered_rps);
    let peak = if measured.is_peak { measured.rate.or(best) } else { best };
    search::gap(&found.trials, peak?).map(|(gap, lowest)| (gap, lowest.p99_us))
}

/// Whether the runs were within the limits, and what kept them from more.
fn judge(point: &mut Point, measured: &CellMeasured, (replica_cores, all_cores): Cores) {
    let within = point.runs.iter().filter(|run| run.within).count();
    point.runs_within = u32::try_from(within).unwrap_or(u32::MAX);
    let cores = |us: f64| us * point.throughput_rps / 1e6;
    point.cores_used = cores(point.cpu_us_per_request);
    let clients_us = point.cpu_us_per_request_by_role.get("clients").copied().unwrap_or(0.0);
    let busy = |used: f64, there: usize| there > 0 && used > BUSY * there as f64;
    let Calls { offered, missed_schedule, .. } = point.calls;
    let is_open = measured.rate.is_some();
    let too_late = |(_, p99_us): (f64, f64)| p99_us > f64::from(point.cell.p99_limit_ms) * 1e3;
    let found = measured.found.as_ref().filter(|_| measured.is_peak);
    let by = if busy(point.cores_used, all_cores)
        || busy(cores((point.cpu_us_per_request - clients_us).max(0.0)), replica_cores)
    {
        "processor"
    } else if is_open && measured.plan.strikes.is_empty() && missed_schedule as f64 > LATE * offered as f64 {
        "clients"
    } else if found.and_then(|found| gap(found, measured)).is_some_and(too_late) {
        "latency limit"
    } else {
        ""
    };
    by.clone_into(&mut point.saturated_by);
}

/// What became of a liar that was the first primary, by the views in which runs were measured.
fn liar_notes(runs: &[Run], plan: &Plan, n: u16) -> Vec<String> {
    let lies = |view: u64| plan.liars.contains_key(&primary_of(view, n));
    if !lies(0) {
        return Vec::new();
    }
    let mut notes: BTreeMap<String, usize> = BTreeMap::new();
    for run in runs {
        let (view, primary) = (run.view_at_start, primary_of(run.view_at_start, n));
        let what = if !lies(view) {
            format!(
                "the liar was deposed before the measured time; what is measured is view {view} with replica {primary} as \
                 primary"
            )
        } else if run.view_at_end > view {
            format!(
                "the liar was deposed within the measured time: it began in view {view} and ended in view {}",
                run.view_at_end
            )
        } else {
            continue;
        };
        *notes.entry(what).or_default() += 1;
    }
    let all = runs.len();
    let told = |(note, count): (String, usize)| match count == all {
        true => note,
        false => format!("in {count} of {all} runs {note}"),
    };
    notes.into_iter().map(told).collect()
}

/// Adds what is summed over runs.
fn note(point: &mut Point, once: &Once) {
    let report = &once.report;
    let Calls { offered, sent, matched, timed_out, missed_schedule } = &mut point.calls;
    for (sum, more) in [
        (offered, report.offered),
        (sent, report.sent),
        (matched, report.answered),
        (timed_out, report.timed_out()),
        (missed_schedule, report.missed_schedule),
        (&mut point.retransmissions, report.retries),
    ] {
        *sum += more;
    }
    for (name, told) in &once.lies {
        *point.lies.entry(name.clone()).or_default() += told;
    }
}

/// One run, as the record tells it.
fn told(once: &Once, histogram: String) -> Run {
    let report = &once.report;
    let series = marks::moments(&report.series, report.measured.as_secs_f64());
    let quantile = |share: f64| report.due_latency.value_at_quantile(share) as f64;
    Run {
        throughput_rps: report.throughput_rps(),
        p50_us: quantile(0.5),
        p99_us: quantile(0.99),
        p999_us: quantile(0.999),
        steady: is_steady(&series),
        histogram,
        within: once.within,
        view_at_start: once.views.0,
        view_at_end: once.views.1,
        marks: marks::marks(&once.struck, &report.views, &series),
        series,
    }
}

/// The file of a run's latency histogram.
fn histogram((number, cell): (usize, &Cell), run: usize, once: &Once) -> (String, Vec<u8>) {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
    let Cell { f, scenario, network, payload, durability, rate, bundle, batch, .. } = cell;
    let share = rate.replace('%', "pct");
    let words =
        format!("f{f}-{scenario}-{network}-{payload}B-{durability}-{share}-bundle{bundle}-batch{batch}");
    // Names of networks and behaviours are as long as somebody wants.
    let words: String = words.chars().take(150).map(plain).collect();
    let name = format!("histograms/{number:03}-{words}-run-{run}.hlog");
    let title = format!("{}, run {run}", label(cell));
    (name, dump::log(&once.report.due_latency, &title, once.report.measured).into_bytes())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
