//! What a cluster did around a fault: throughput and latency over time, and what happened when.

use super::arrange::{Arrangement, PANELS_MAX};
use super::chart::{
    Anchor, Axis, Ink, Key, Marker, Plot, Range, Sample, Scale, Sheet, Stroke, Words, duration, short, width,
};
use super::drawing::{Drawing, WIDE};
use super::words;
use crate::record::{Mark, Moment, Point, Run};

const HIGH: f64 = 370.0;
/// Moments of a run that are drawn at most.
const MOMENTS_MAX: usize = 600;
/// Marks of a run that are drawn at most.
const MARKS_MAX: usize = 40;
/// What may happen, and how its line looks.
const KINDS: [(&str, Ink, &[f64]); 4] = [
    ("fault", Ink::Bad, &[]),
    ("detection", Ink::Series(4), &[5.0, 3.0]),
    ("view change", Ink::Series(3), &[2.0, 2.5]),
    ("recovery", Ink::Series(2), &[9.0, 3.0, 2.0, 3.0]),
];

fn kind(mark: &Mark) -> (usize, Ink, &'static [f64]) {
    let known = KINDS.iter().position(|(name, ..)| *name == mark.what);
    known.map_or((7, Ink::Faint, &[]), |at| (at, KINDS[at].1, KINDS[at].2))
}

/// The run to show: the one with marks whose throughput is nearest to the point's.
fn shown(point: &Point) -> Option<&Run> {
    let marked = point.runs.iter().filter(|run| !run.marks.is_empty() && run.series.len() > 1);
    marked.min_by(|a, b| {
        let far = |run: &Run| (run.throughput_rps - point.throughput_rps).abs();
        far(a).total_cmp(&far(b))
    })
}

/// Draws it; none where nothing happened in any run.
pub(super) fn draw(arrangement: &Arrangement<'_>) -> Option<Drawing> {
    let mut panels = Vec::new();
    let mut left_out = 0;
    for panel in &arrangement.panels {
        for line in &panel.lines {
            let name = arrangement.lines.get(line.number).map_or("", String::as_str);
            for stop in &line.stops {
                let runs = stop.all.iter().filter(|point| point.problem.is_none());
                let Some(run) = runs.filter_map(|point| shown(point)).next() else { continue };
                if panels.len() == PANELS_MAX {
                    left_out += 1;
                    continue;
                }
                let title = format!("{name}, {}", arrangement.across.said(stop.at));
                let title = arrangement.named(&title, panel);
                panels.push(draw_panel(&title, run));
            }
        }
    }
    if panels.is_empty() {
        return None;
    }
    let mut key = Key::default();
    for (at, (name, ink, dash)) in KINDS.iter().enumerate() {
        key.add(Sample::Stroke(Stroke::new(*ink, 1.6).dashed(dash)), format!("{} {name}", at + 1));
    }
    let caption = vec![
        "One run of each point, the one nearest to the median; numbered lines are what was done and seen, and when.".into(),
        words::THROUGHPUT.into(),
        words::LATENCY.into(),
    ];
    let title = "Around a fault".into();
    let mut drawing = Drawing { name: "series", title, caption, key, panels };
    drawing.left_out(left_out);
    Some(drawing)
}

fn draw_panel(title: &str, run: &Run) -> Sheet {
    let step = run.series.len().div_ceil(MOMENTS_MAX).max(1);
    let moments: Vec<&Moment> =
        run.series.iter().step_by(step).filter(|moment| moment.at_s.is_finite()).collect();
    let ends = moments.iter().map(|moment| moment.at_s).chain(run.marks.iter().map(|mark| mark.at_s));
    let (first, last) = ends.fold((0.0_f64, 0.0_f64), |(low, high), at| (low.min(at), high.max(at)));
    let mut plot = Plot::new((WIDE, HIGH), title, &format!("Throughput and latency over time: {title}"));
    let split = 208.0;
    let time = Scale::exact(first, last, plot.left, plot.right);
    let ticks = time.ticks(6).into_iter().map(|tick| (tick, short(tick))).collect();
    let none = Axis { scale: time, ticks: Vec::new(), label: String::new() };
    let x = Axis { scale: time, ticks, label: "seconds since the measured time began".into() };

    let most = Range::of(moments.iter().map(|moment| moment.throughput_rps)).map_or(1.0, |range| range.high);
    let upper = Scale::linear(most, split, 62.0);
    (plot.top, plot.bottom) = (62.0, split);
    plot.frame(&none, &axis(upper, upper.ticks(4), short, "calls per second"));
    let through: Vec<_> =
        moments.iter().map(|moment| (time.at(moment.at_s), upper.at(moment.throughput_rps))).collect();
    plot.sheet.line(&through, Stroke::new(Ink::Series(0), 1.6));

    let bottom = HIGH - 38.0;
    (plot.top, plot.bottom) = (split + 34.0, bottom);
    let range =
        Range::of(moments.iter().map(|moment| moment.p99_us)).unwrap_or(Range { low: 1.0, high: 1.0 });
    let lower = if range.ratio() > 12.0 {
        Scale::logarithmic(range, bottom, plot.top)
    } else {
        Scale::linear(range.high, bottom, plot.top)
    };
    let label = if range.ratio() > 12.0 { "p99 latency (logarithmic)" } else { "p99 latency" };
    plot.frame(&x, &axis(lower, lower.ticks(4), duration, label));
    // Moments without an answer have no latency: a gap, not a zero.
    for stretch in moments.split(|moment| moment.p99_us.is_nan() || moment.p99_us <= 0.0) {
        let through: Vec<_> =
            stretch.iter().map(|moment| (time.at(moment.at_s), lower.at(moment.p99_us))).collect();
        plot.sheet.line(&through, Stroke::new(Ink::Series(1), 1.4));
    }
    marks(&mut plot.sheet, run, &time, (46.0, split, split + 34.0, bottom));
    plot.sheet
}

fn axis(scale: Scale, ticks: Vec<f64>, name: fn(f64) -> String, label: &str) -> Axis {
    Axis { scale, ticks: ticks.into_iter().map(|tick| (tick, name(tick))).collect(), label: label.into() }
}

/// Lines through both frames, and a number at each line's head that tells its kind without its colour.
fn marks(sheet: &mut Sheet, run: &Run, time: &Scale, (head, middle, second, foot): (f64, f64, f64, f64)) {
    let mut free = [f64::NEG_INFINITY; 2];
    for mark in run.marks.iter().filter(|mark| mark.at_s.is_finite()).take(MARKS_MAX) {
        let (at, ink, dash) = kind(mark);
        let x = time.at(mark.at_s);
        let told = format!("{} s: {}: {}", short(mark.at_s), mark.what, mark.detail);
        let number = if at < KINDS.len() { (at + 1).to_string() } else { "•".into() };
        let half = width(&number, 10.0) / 2.0 + 1.0;
        // A second row where the first is taken; where both are, the line is there without its number.
        let row = free.iter().position(|end| x - half > *end);
        sheet.titled(&told, |sheet| {
            let stroke = Stroke::new(ink, 1.3).dashed(dash);
            sheet.line(&[(x, head + 12.0), (x, middle)], stroke);
            sheet.line(&[(x, second), (x, foot)], stroke);
            sheet.marker((x, head + 14.0), Marker::Of(at), ink, false);
            if let Some(row) = row {
                let look = Words::new(10.0, ink, Anchor::Middle).bold();
                sheet.text((x, head + 7.0 - 10.0 * row as f64), &number, look);
            }
        });
        if let Some(row) = row {
            free[row] = x + half;
        }
    }
}
