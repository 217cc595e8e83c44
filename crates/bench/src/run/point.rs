//! A point of the record: what the runs of a cell say together.

use super::marks;
use super::once::Once;
use super::{CellMeasured, RunError, label};
use crate::cost::{Costs, Shape};
use crate::limits::Limits;
use crate::load::dump;
use crate::record::{Calls, Cell, Model, Point, Run};
use crate::statistics::{Summary, is_steady, median};

/// Names and contents of files.
pub(super) type Files = Vec<(String, Vec<u8>)>;

/// The point of a cell whose replicas have so many cores, and the latency histograms of its runs. Without a number it
/// says why.
pub(super) fn of(
    (number, cell): (usize, &Cell),
    measured: Result<CellMeasured, RunError>,
    (limits, cores): (&Limits, usize),
) -> (Point, Files) {
    let mut point = Point { cell: cell.clone(), cpu_bound: usize::from(cell.n) > cores, ..Point::default() };
    let CellMeasured { found, runs } = match measured {
        Ok(measured) => measured,
        Err(error) => {
            point.problem = Some(error.to_string());
            return (point, Files::new());
        }
    };
    point.search = found.map_or_else(Vec::new, |found| found.trials);
    let mut files = Files::new();
    for (run, once) in (1..).zip(&runs) {
        let (name, content) = histogram((number, cell), run, once);
        point.runs.push(told(once, name.clone()));
        files.push((name, content));
        note(&mut point, once);
        point.network_check.add(&once.network, run);
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
    let mut costs = Costs::default();
    runs.iter().for_each(|once| costs.add(&once.costs));
    costs.write_to(&mut point);
    point.model = Model::of(&Shape::of(cell, &costs), limits);
    (point, files)
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
        marks: marks::marks(&once.struck, &report.views, &series),
        series,
    }
}

/// The file of a run's latency histogram.
fn histogram((number, cell): (usize, &Cell), run: usize, once: &Once) -> (String, Vec<u8>) {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter } else { '-' };
    let words: String =
        format!("f{}-{}-{}", cell.f, cell.scenario, cell.network).chars().map(plain).collect();
    let name = format!("histograms/{number:03}-{words}-run-{run}.hlog");
    let title = format!("{}, run {run}", label(cell));
    (name, dump::log(&once.report.due_latency, &title, once.report.measured).into_bytes())
}
