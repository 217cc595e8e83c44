//! Latency against throughput: what a search went through, for each f.

use super::arrange::{Across, Arrangement, Line, Panel, Stop, has_number};
use super::chart::{
    Axis, Ink, Key, Look, Marker, Plot, Range, Sample, Scale, Sheet, Stroke, duration, short,
};
use super::drawing::{Drawing, HIGH, WIDE};
use super::words;
use crate::record::Trial;

const LOGARITHMIC_FROM: f64 = 12.0;
const P99_DASH: &[f64] = &[2.0, 2.0];

/// Everything that was tried at a cell, in order of load: trials of the search, and points at given rates.
fn tried(stop: &Stop<'_>) -> Vec<Trial> {
    let numbered = || stop.all.iter().filter(|point| has_number(point));
    let searched = numbered().flat_map(|point| point.search.iter().copied());
    let given = numbered().filter(|point| point.search.is_empty() && stop.all.len() > 1).map(|point| Trial {
        offered_rps: point.offered_rps,
        throughput_rps: point.throughput_rps,
        p50_us: point.p50_us,
        p99_us: point.p99_us,
        sustained: true,
        ..Trial::default()
    });
    let usable = |trial: &Trial| trial.throughput_rps > 0.0 && trial.p50_us > 0.0;
    let mut all: Vec<Trial> = searched.chain(given).filter(usable).collect();
    all.sort_by(|a, b| a.offered_rps.total_cmp(&b.offered_rps));
    // A bound for files that nobody's search wrote.
    all.truncate(200);
    all
}

/// Draws it; none if no load was tried besides those that points are of.
pub(super) fn draw(arrangement: &Arrangement<'_>) -> Option<Drawing> {
    let curves =
        || arrangement.panels.iter().flat_map(|panel| panel.lines.iter().map(move |line| (panel, line)));
    let drawn: Vec<(&Panel<'_>, &Line<'_>)> =
        curves().filter(|(_, line)| line.stops.iter().any(|stop| !tried(stop).is_empty())).collect();
    let trials: Vec<Trial> = drawn.iter().flat_map(|(_, line)| line.stops.iter().flat_map(tried)).collect();
    if trials.is_empty() {
        return None;
    }
    let most = super::arrange::PANELS_MAX;
    let panels = drawn.iter().take(most).filter_map(|(panel, line)| {
        let (x, y) = axes(panel)?;
        Some(draw_panel(arrangement, panel, line, (&x, &y)))
    });
    let panels = panels.collect();
    let caption = vec![
        "Every load that was tried on the way to a point. Rings are where the runs of the chosen load ended, which are \
         longer than trials; what is far beyond the limit ends at the upper edge."
            .into(),
        words::LATENCY.into(),
        words::THROUGHPUT.into(),
    ];
    let key = key(&arrangement.across, trials.iter().any(|trial| !trial.sustained));
    let title = "Latency against throughput".into();
    let mut drawing = Drawing { name: "latency-vs-throughput", title, caption, key, panels };
    drawing.left_out(drawn.len().saturating_sub(most));
    Some(drawing)
}

fn key(across: &Across, unsustained: bool) -> Key {
    let mut key = Key::default();
    for at in 0..across.names.len().min(40) {
        key.add(Sample::Line(Look::of(at)), across.said(at));
    }
    key.add(Sample::Stroke(Stroke::new(Ink::Faint, 1.2).dashed(P99_DASH)), "p99 of the same loads");
    key.add(Sample::Ring, "the load that was chosen");
    if unsustained {
        key.add(Sample::Marker(Marker::Cross, Ink::Bad, false), "more than was sustained");
    }
    key
}

/// The same for all lines that share a panel in other figures, so that scenarios can be compared.
fn axes(panel: &Panel<'_>) -> Option<(Axis, Axis)> {
    let trials: Vec<Trial> = panel.lines.iter().flat_map(|line| line.stops.iter().flat_map(tried)).collect();
    let rates = trials.iter().map(|trial| trial.throughput_rps);
    let x = axis(rates, (48.0, WIDE - 14.0), "calls per second", short)?;
    // Queues that grew while nothing was sustained would leave no room for what was.
    let sustained =
        trials.iter().filter(|trial| trial.sustained).map(|trial| trial.p99_us).fold(0.0, f64::max);
    let most = if sustained > 0.0 { sustained * 3.0 } else { f64::MAX };
    let times = trials.iter().flat_map(|trial| [trial.p50_us, trial.p99_us]).map(|time| time.min(most));
    let y = axis(times, (HIGH - 38.0, 46.0), "latency, p50 (line) and p99 (dotted)", duration)?;
    Some((x, y))
}

fn axis(
    values: impl Iterator<Item = f64>,
    (from, to): (f64, f64),
    label: &str,
    name: fn(f64) -> String,
) -> Option<Axis> {
    let range = Range::of(values)?;
    let logarithmic = range.ratio() > LOGARITHMIC_FROM;
    let scale =
        if logarithmic { Scale::logarithmic(range, from, to) } else { Scale::linear(range.high, from, to) };
    let ticks = scale.ticks(5).into_iter().map(|tick| (tick, name(tick))).collect();
    let label = if logarithmic { format!("{label} (logarithmic)") } else { label.to_owned() };
    Some(Axis { scale, ticks, label })
}

fn draw_panel(
    arrangement: &Arrangement<'_>,
    panel: &Panel<'_>,
    line: &Line<'_>,
    (x, y): (&Axis, &Axis),
) -> Sheet {
    let name = arrangement.lines.get(line.number).map_or("", String::as_str);
    let title = arrangement.named(name, panel);
    let mut plot = Plot::new((WIDE, HIGH), &title, &format!("Latency against throughput, {title}"));
    plot.frame(x, y);
    for stop in &line.stops {
        let (look, trials) = (Look::of(stop.at), tried(stop));
        let place = |trial: &Trial, time: f64| (x.scale.at(trial.throughput_rps), y.scale.at(time));
        let tails: Vec<_> = trials.iter().map(|trial| place(trial, trial.p99_us)).collect();
        plot.sheet.line(&tails, Stroke::new(look.stroke.ink, 1.1).dashed(P99_DASH));
        let middles: Vec<_> = trials.iter().map(|trial| place(trial, trial.p50_us)).collect();
        plot.sheet.line(&middles, look.stroke);
        if has_number(stop.best) && !trials.is_empty() {
            let (throughput_rps, p50_us) = (stop.best.throughput_rps, stop.best.p50_us);
            let at = (x.scale.at(throughput_rps), y.scale.at(p50_us));
            let told = words::tell(&format!("chosen: {name}"), &arrangement.across, stop.at, stop.best);
            plot.sheet.titled(&told, |sheet| sheet.ring(at, 8.0, look.stroke.ink));
        }
        for trial in &trials {
            let told = format!(
                "{}: {} calls/s offered, {} answered, p50 {}, p99 {}{}",
                arrangement.across.said(stop.at),
                short(trial.offered_rps),
                short(trial.throughput_rps),
                duration(trial.p50_us),
                duration(trial.p99_us),
                if trial.sustained { "" } else { "; not sustained" }
            );
            let marker = if trial.sustained { look.marker } else { Marker::Cross };
            let ink = if trial.sustained { look.stroke.ink } else { Ink::Bad };
            plot.sheet.titled(&told, |sheet| sheet.marker(place(trial, trial.p50_us), marker, ink, false));
        }
    }
    plot.sheet
}
