//! What is measured, said the same way everywhere.

use std::fmt::Write as _;

use super::arrange::{Across, has_number, problem, short_name};
use super::chart::{duration, short};
use crate::record::Point;

/// Under every figure that shows throughput.
pub(crate) const THROUGHPUT: &str = "Throughput (goodput) is calls whose f+1 matching replies reached their client within \
                                     the measured time, per second; batches are never counted as calls.";
/// Under every figure that shows latency.
pub(crate) const LATENCY: &str = "Latency runs from the moment a call was due, not from when it was sent, until its f+1 \
                                  matching replies were there.";
/// Under every figure with points.
pub(crate) const HOLLOW: &str = "Hollow points have more replicas than the machine has cores, so they tell of the machine \
                                 as well as of the protocol.";

/// Which load points were measured at.
pub(crate) fn loads<'a>(points: impl Iterator<Item = &'a Point>) -> String {
    let (mut peak, mut given, mut closed) = (false, false, false);
    let (mut one, mut several) = (false, false);
    for point in points {
        one |= point.interval().is_none();
        several |= point.interval().is_some();
        match (point.cell.load.as_str(), point.cell.rate.as_str()) {
            ("closed", _) | (_, "closed") => closed = true,
            (_, "peak") => peak = true,
            _ => given = true,
        }
    }
    let mut words = String::from(match (one, several) {
        (true, false) => "Each point is one run, which has no interval.",
        (false, true) => "Each point is the median of its runs; bars are 95 % intervals.",
        (true, true) => {
            "Each point is the median of its runs; bars are 95 % intervals, which one run does not have."
        }
        (false, false) => return String::new(),
    });
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
    let bound = if point.cpu_bound { "; more replicas than cores" } else { "" };
    let mut interval = match point.interval() {
        Some((low, high)) => format!("95 %: {} to {}", short(low), short(high)),
        None => "one run".to_owned(),
    };
    if let Some(peak) = point.peak() {
        let _ = write!(interval, "; peak: {peak}");
    }
    if !point.saturated_by.is_empty() {
        let _ = write!(interval, "; limited by: {}", short_name(&point.saturated_by));
    }
    format!(
        "{place}: {} calls/s ({interval}), p50 {}, p99 {}{bound}",
        short(point.throughput_rps),
        duration(point.p50_us),
        duration(point.p99_us)
    )
}
