//! What is measured, said the same way everywhere.

use super::arrange::{Across, has_number, problem};
use super::chart::{duration, short};
use crate::record::Point;

/// Under every figure that shows throughput.
pub(crate) const THROUGHPUT: &str = "Throughput (goodput) is requests whose f+1 matching replies reached their client \
                                     inside the measuring window, per second; batches are never counted as requests.";
/// Under every figure that shows latency.
pub(crate) const LATENCY: &str = "Latency runs from the moment a call was due, not from when it was sent, until its f+1 \
                                  matching replies were there.";
/// Under every figure with points.
pub(crate) const HOLLOW: &str = "Hollow points are CPU-bound: replicas outnumber the cores they share, so the point \
                                 tells of the machine, not of the protocol.";

/// Which load points were measured at.
pub(crate) fn loads<'a>(points: impl Iterator<Item = &'a Point>) -> String {
    let (mut peak, mut given, mut closed) = (false, false, false);
    for point in points {
        match (point.cell.load.as_str(), point.cell.rate.as_str()) {
            ("closed", _) | (_, "closed") => closed = true,
            (_, "peak") => peak = true,
            _ => given = true,
        }
    }
    let mut words = String::from("Each point is the median of its runs; bars are 95 % intervals.");
    if peak {
        words.push_str(" The load was searched for: the highest within the limit of latency.");
    }
    if given {
        words.push_str(" Where the load was given rather than searched for, the table says which.");
    }
    if closed {
        words.push_str(
            " Closed loop: a client calls again when it was answered, so slow moments are offered less.",
        );
    }
    words
}

/// A point in a sentence, for those who point at it.
pub(crate) fn tell(line: &str, across: &Across, at: usize, point: &Point) -> String {
    let place = format!("{line}, {} (n = {})", across.said(at), point.cell.n);
    if !has_number(point) {
        return format!("{place}: no number. {}", problem(point).unwrap_or_default());
    }
    let bound = if point.cpu_bound { "; CPU-bound" } else { "" };
    format!(
        "{place}: {} requests/s (95 %: {} to {}), p50 {}, p99 {}{bound}",
        short(point.throughput_rps),
        short(point.ci_low),
        short(point.ci_high),
        duration(point.p50_us),
        duration(point.p99_us)
    )
}
