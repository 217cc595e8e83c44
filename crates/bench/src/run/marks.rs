//! What happened around a fault: when it was noticed, when another view served, and when all was as before.

use crate::load::{BUCKET, Bucket, ViewSeen};
use crate::record::{Mark, Moment};

/// So much of the goodput before a fault is a recovery.
const RECOVERED: f64 = 0.95;
/// Moments that it has to last.
const LASTING: usize = 5;

/// A fault that struck.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Struck {
    /// Seconds since the measured time began.
    pub(super) at_s: f64,
    /// What was done to whom.
    pub(super) detail: String,
    /// Whether it takes somebody away, so that something is to be noticed and to recover.
    pub(super) takes_away: bool,
    /// The view in which it struck.
    pub(super) view: u64,
    /// When a correct replica was first seen to leave that view, and which.
    pub(super) noticed: Option<(f64, u16)>,
}

/// A run bucket by bucket; what is left of a bucket at the end is left out.
pub(super) fn moments(series: &[Bucket], measured_s: f64) -> Vec<Moment> {
    let length_s = BUCKET.as_secs_f64();
    let whole = (measured_s / length_s + 1e-6).floor();
    let moment = |(index, bucket): (usize, &Bucket)| Moment {
        at_s: index as f64 * length_s,
        throughput_rps: bucket.answers as f64 / length_s,
        p99_us: bucket.p99_us() as f64,
    };
    // A conversion that does not fit ends at the largest number.
    series.iter().take(whole as usize).enumerate().map(moment).collect()
}

/// Everything that is marked in a run, in order of time.
pub(super) fn marks(struck: &[Struck], views: &[ViewSeen], series: &[Moment]) -> Vec<Mark> {
    let mut marks: Vec<Mark> = struck.iter().flat_map(|fault| around(fault, views, series)).collect();
    let seen =
        |seen: &ViewSeen| mark(seen.at_s, "view change", format!("first answer of view {}", seen.view));
    marks.extend(views.iter().map(seen));
    // What recovers with the first answer of a view recovers because of it.
    marks.sort_by(|one, other| {
        let is_last = |mark: &Mark| mark.what == "recovery";
        one.at_s.total_cmp(&other.at_s).then(is_last(one).cmp(&is_last(other)))
    });
    marks
}

fn mark(at_s: f64, what: &str, detail: String) -> Mark {
    Mark { at_s, what: what.to_owned(), detail }
}

fn around(fault: &Struck, views: &[ViewSeen], series: &[Moment]) -> Vec<Mark> {
    let mut marks = vec![mark(fault.at_s, "fault", fault.detail.clone())];
    if !fault.takes_away {
        return marks;
    }
    if let Some((at_s, replica)) = fault.noticed {
        marks.push(mark(at_s, "detection", format!("replica {replica} left view {}", fault.view)));
    }
    if let Some(Recovery { at_s, before, after }) = recovery(fault.at_s, series) {
        // The moment in which another view first answers begins before that.
        let within = at_s..at_s + BUCKET.as_secs_f64();
        let served = views.iter().map(|seen| seen.at_s).filter(|seen| within.contains(seen));
        let detail = format!("{after:.0} calls/s again, {before:.0} before the fault");
        marks.push(mark(served.fold(at_s, f64::max), "recovery", detail));
    }
    marks
}

/// When goodput was as before, and what it was then and before.
struct Recovery {
    at_s: f64,
    before: f64,
    after: f64,
}

/// The first moment after a fault from which on goodput is as it was before: in that moment, and in the mean. A backlog
/// that is drained makes up for nothing: no moment counts for more than there was before.
fn recovery(fault_s: f64, series: &[Moment]) -> Option<Recovery> {
    let first = series.iter().position(|moment| moment.at_s >= fault_s)?;
    // The moment of the fault itself is neither before nor after it.
    let before = mean(&series[..first.saturating_sub(1)])?;
    let least = RECOVERED * before;
    let starts = first..series.len().saturating_sub(LASTING - 1);
    let capped = |moment: &Moment| Moment { throughput_rps: moment.throughput_rps.min(before), ..*moment };
    let lasting = |start: usize| series[start..start + LASTING].iter().map(capped).collect::<Vec<_>>();
    let mut lasting = starts.filter_map(|start| Some((start, mean(&lasting(start))?)));
    let (start, after) =
        lasting.find(|(start, after)| series[*start].throughput_rps >= least && *after >= least)?;
    Some(Recovery { at_s: series[start].at_s, before, after })
}

fn mean(moments: &[Moment]) -> Option<f64> {
    let sum: f64 = moments.iter().map(|moment| moment.throughput_rps).sum();
    let mean = sum / moments.len() as f64;
    (mean > 0.0).then_some(mean)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(rates: &[f64]) -> Vec<Moment> {
        let moment = |(index, rate): (usize, &f64)| Moment {
            at_s: index as f64 / 10.0,
            throughput_rps: *rate,
            p99_us: 0.0,
        };
        rates.iter().enumerate().map(moment).collect()
    }

    fn told(marks: &[Mark]) -> Vec<(u32, &str)> {
        // Tenths of seconds.
        marks.iter().map(|mark| ((mark.at_s * 10.0).round() as u32, mark.what.as_str())).collect()
    }

    #[test]
    fn a_primary_that_is_killed_is_noticed_and_replaced_and_all_is_as_before() {
        let mut rates = vec![1_000.0; 40];
        rates[11..20].fill(0.0);
        rates[20] = 5_000.0;
        rates[22] = 900.0;
        let fault = Struck {
            at_s: 1.05,
            detail: "replica 0 was killed".to_owned(),
            takes_away: true,
            view: 0,
            noticed: Some((1.6, 3)),
        };
        let marks = marks(&[fault], &[ViewSeen { view: 1, at_s: 2.04 }], &series(&rates));
        let expected = [(11, "fault"), (16, "detection"), (20, "view change"), (20, "recovery")];
        assert_eq!(told(&marks), expected);
        assert_eq!(marks[3].detail, "980 calls/s again, 1000 before the fault");
        assert_eq!(marks[1].detail, "replica 3 left view 0");
    }

    #[test]
    fn a_backlog_that_is_drained_is_no_recovery() {
        let mut rates = vec![1_000.0; 40];
        rates[11..20].fill(0.0);
        // The backlog comes at once, and then half of the goodput for a while.
        rates[20] = 5_000.0;
        rates[21..25].fill(500.0);
        assert_eq!(recovery(1.05, &series(&rates)).map(|of| (of.at_s * 10.0).round()), Some(25.0));
        rates[21..].fill(500.0);
        assert!(recovery(1.05, &series(&rates)).is_none());
    }

    #[test]
    fn a_backlog_in_the_mean_is_no_recovery_while_nothing_is_answered() {
        let mut rates = vec![1_000.0; 30];
        rates[11..15].fill(0.0);
        rates[15] = 9_000.0;
        assert_eq!(recovery(1.05, &series(&rates)).map(|of| (of.at_s * 10.0).round()), Some(15.0));
    }

    #[test]
    fn what_never_recovers_has_no_mark_for_it() {
        let mut rates = vec![1_000.0; 30];
        rates[11..].fill(900.0);
        assert!(recovery(1.05, &series(&rates)).is_none());
        assert!(recovery(9.0, &series(&rates)).is_none());
        assert!(recovery(0.0, &series(&rates)).is_none());
    }

    #[test]
    fn a_tenth_of_a_second_is_told_as_calls_per_second_and_a_part_of_one_is_not() {
        let mut series = vec![Bucket::default(); 4];
        series.iter_mut().for_each(|bucket| bucket.answers = 7);
        let told = moments(&series, 0.35);
        assert_eq!(told.len(), 3);
        assert_eq!((told[2].throughput_rps, (told[2].at_s * 10.0).round()), (70.0, 2.0));
    }
}
