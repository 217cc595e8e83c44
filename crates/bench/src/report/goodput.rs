//! Goodput against f, a line for each scenario, under what signatures leave possible.

use super::arrange::{Arrangement, Line, Panel, has_number};
use super::chart::{Axis, Entry, Ink, Look, Marker, Plot, Range, Sample, Scale, Sheet, Stroke, short};
use super::drawing::{Drawing, HIGH, WIDE, aside, behind, key_of_lines, key_of_marks};
use super::words;
use crate::limits::{Limits, ceiling_per_second};
use crate::record::Point;

/// From this ratio on between the largest and the least, equal ratios have equal distances.
const LOGARITHMIC_FROM: f64 = 15.0;

pub(super) const CEILING: Stroke = Stroke::new(Ink::Ceiling, 1.1).dashed(&[10.0, 4.0]);
pub(super) const MODEL: Stroke = Stroke::new(Ink::Model, 1.1).dashed(&[3.0, 3.0]);

const CEILING_WORDS: &str = "The ceiling is what Ed25519 alone leaves this machine if every call is signed by itself and \
                             every replica checks it; clients that bundle calls under one signature may rise above it.";

/// Draws it.
pub(super) fn draw(arrangement: &Arrangement<'_>, limits: &Limits) -> Drawing {
    // What nothing was measured against says nothing.
    let numbers = all(arrangement).count();
    let ceiling = |n: u16| if numbers == 0 { 0.0 } else { ceiling(limits, n) };
    let canvas = Canvas { arrangement, scale: scale(arrangement, &ceiling), ceiling: &ceiling };
    let panels = arrangement.panels.iter();
    let panels: Vec<Sheet> = panels.map(|panel| canvas.panel(panel)).collect();
    let mut key = key_of_lines(arrangement);
    if all(arrangement).any(|point| ceiling(point.cell.n) > 0.0) {
        let words = "ceiling at one signature per call: cores / (n v + s)";
        key.entries.push(Entry { sample: Sample::Stroke(CEILING), words: words.into() });
    }
    if let Some(name) =
        arrangement.lines.first().filter(|_| all(arrangement).any(|p| p.model.ceiling_rps > 0.0))
    {
        let words = format!("model: what signatures allow at the batches and bundles of `{name}`");
        key.entries.push(Entry { sample: Sample::Stroke(MODEL), words });
    }
    key_of_marks(arrangement, &mut key);
    let mut caption = vec![words::THROUGHPUT.to_owned()];
    caption.extend(Some(words::loads(all(arrangement))).filter(|words| !words.is_empty()));
    if all(arrangement).any(|point| point.cpu_bound) {
        caption.push(words::HOLLOW.into());
    }
    if all(arrangement).any(|point| ceiling(point.cell.n) > 0.0) {
        caption.push(CEILING_WORDS.into());
    }
    if numbers == 0 {
        caption.push("No cell has a number: the table says why.".into());
    }
    let title =
        format!("Goodput against {}", arrangement.across.label.split([',', '(']).next().unwrap_or("f"));
    Drawing { name: "throughput-vs-f", title: title.trim().to_owned(), caption, key, panels }
}

/// What one signature per call leaves possible for n replicas; 0 where signatures were not measured.
pub(super) fn ceiling(limits: &Limits, n: u16) -> f64 {
    let (verify, sign) = (limits.signatures.verify_batch_256_us.median, limits.signatures.sign_us.median);
    let found = ceiling_per_second(n.into(), limits.machine.cores, verify, sign);
    if found.is_finite() && found > 0.0 { found } else { 0.0 }
}

fn stops<'a>(panel: &'a Panel<'a>) -> impl Iterator<Item = &'a Point> {
    panel.lines.iter().flat_map(|line| &line.stops).map(|stop| stop.best).filter(|point| has_number(point))
}

fn all<'a>(arrangement: &'a Arrangement<'a>) -> impl Iterator<Item = &'a Point> {
    arrangement.panels.iter().flat_map(stops)
}

/// One for all panels, so that they can be compared.
fn scale(arrangement: &Arrangement<'_>, ceiling: &impl Fn(u16) -> f64) -> Axis {
    // A lower end far below its point, as of three runs that differ, may leave the paper; the point may not.
    let ends = |point: &Point| {
        let (low, high) = point.interval().unwrap_or((point.throughput_rps, point.throughput_rps));
        [point.throughput_rps, high, low.max(point.throughput_rps / 3.0)]
    };
    let measured = || all(arrangement).flat_map(ends);
    let behind = all(arrangement).flat_map(|point| [point.model.ceiling_rps, ceiling(point.cell.n)]);
    let range = Range::of(measured().chain(behind)).unwrap_or(Range { low: 1.0, high: 1.0 });
    let (from, to) = (HIGH - 38.0, 46.0);
    let logarithmic = range.ratio() > LOGARITHMIC_FROM;
    let scale = if logarithmic {
        Scale::logarithmic(range, from, to)
    } else {
        Scale::linear(range.high * 1.04, from, to)
    };
    let label = if logarithmic { "calls per second (logarithmic)" } else { "calls per second" };
    // Without a number the scale is nobody's.
    let ticks = if all(arrangement).next().is_some() { scale.ticks(5) } else { Vec::new() };
    let ticks = ticks.into_iter().map(|tick| (tick, short(tick))).collect();
    Axis { scale, ticks, label: label.into() }
}

struct Canvas<'a, F> {
    arrangement: &'a Arrangement<'a>,
    scale: Axis,
    ceiling: &'a F,
}

impl<F: Fn(u16) -> f64> Canvas<'_, F> {
    fn panel(&self, panel: &Panel<'_>) -> Sheet {
        let label = format!("Goodput, {}. The table below has the numbers.", panel.title);
        let mut plot = Plot::new((WIDE, HIGH), &panel.title, &label);
        let x = self.arrangement.across.axis(plot.left, plot.right);
        plot.frame(&x, &self.scale);
        self.behind(&mut plot, &x, panel);
        crowded(&mut plot, &x, self.arrangement, panel);
        for line in &panel.lines {
            self.line(&mut plot, &x, line);
        }
        plot.sheet
    }

    fn behind(&self, plot: &mut Plot, x: &Axis, panel: &Panel<'_>) {
        let across = &self.arrangement.across;
        let mut ceilings: Vec<(usize, f64)> = Vec::new();
        for stop in panel.lines.iter().flat_map(|line| &line.stops) {
            let ceiling = (self.ceiling)(stop.best.cell.n);
            if ceiling > 0.0 && !ceilings.iter().any(|(at, _)| *at == stop.at) {
                ceilings.push((stop.at, ceiling));
            }
        }
        ceilings.sort_by_key(|(at, _)| *at);
        let first = panel.lines.iter().find(|line| line.number == 0);
        let modelled = first.iter().flat_map(|line| &line.stops).filter(|stop| has_number(stop.best));
        let modelled =
            modelled.map(|stop| (stop.at, stop.best.model.ceiling_rps)).filter(|(_, rps)| *rps > 0.0);
        for (values, stroke, name) in [
            (ceilings, CEILING, "ceiling at one signature per call"),
            (modelled.collect(), MODEL, "model: what signatures allow at the measured batches and bundles"),
        ] {
            if values.is_empty() {
                continue;
            }
            let place = |at: usize, value: f64| (x.scale.at(across.place(at)), self.scale.scale.at(value));
            let through = values.iter().map(|(at, value)| place(*at, *value)).collect();
            let through = behind(through, (plot.left, plot.right));
            let said: Vec<String> = values
                .iter()
                .map(|(at, value)| format!("{} at {}", short(*value), across.said(*at)))
                .collect();
            plot.sheet.titled(&format!("{name}: {}", said.join(", ")), |sheet| sheet.line(&through, stroke));
        }
    }

    fn line(&self, plot: &mut Plot, x: &Axis, line: &Line<'_>) {
        let (look, across) = (Look::of(line.number), &self.arrangement.across);
        let name = self.arrangement.lines.get(line.number).map_or("", String::as_str);
        let y = |value: f64| self.scale.scale.at(value);
        let beside = aside(line.number, self.arrangement);
        let left = |at: usize| x.scale.at(across.place(at)) + beside;
        let measured = || line.stops.iter().filter(|stop| has_number(stop.best));
        let through: Vec<(f64, f64)> =
            measured().map(|stop| (left(stop.at), y(stop.best.throughput_rps))).collect();
        plot.sheet.line(&through, look.stroke);
        for stop in measured() {
            let Some((low, high)) = stop.best.interval() else { continue };
            plot.sheet.interval(left(stop.at), (y(low), y(high)), look.stroke.ink);
        }
        for stop in &line.stops {
            let told = words::tell(name, across, stop.at, stop.best);
            plot.sheet.titled(&told, |sheet| {
                if has_number(stop.best) {
                    let place = (left(stop.at), y(stop.best.throughput_rps));
                    sheet.marker(place, look.marker, look.stroke.ink, stop.best.cpu_bound);
                } else {
                    sheet.marker((left(stop.at), HIGH - 45.0), Marker::Cross, look.stroke.ink, false);
                }
            });
        }
    }
}

/// Says where replicas share cores, so that points tell of the machine as well.
pub(super) fn crowded(plot: &mut Plot, x: &Axis, arrangement: &Arrangement<'_>, panel: &Panel<'_>) {
    let stops = || panel.lines.iter().flat_map(|line| &line.stops).filter(|stop| has_number(stop.best));
    let bound = || stops().filter(|stop| stop.best.cpu_bound).map(|stop| stop.at);
    let (Some(first), Some(last)) = (bound().min(), bound().max()) else { return };
    if stops().all(|stop| stop.best.cpu_bound) {
        plot.remark("hollow: more replicas than cores");
        return;
    }
    let place = |at: usize| x.scale.at(arrangement.across.place(at));
    let (from, to) = ((place(first) - 16.0).max(plot.left), (place(last) + 16.0).min(plot.right));
    let y = plot.top - 2.0;
    let stroke = Stroke::new(Ink::Axis, 1.0);
    plot.sheet.line(&[(from, y + 4.0), (from, y), (to, y), (to, y + 4.0)], stroke);
    let look = super::chart::Words::new(11.0, Ink::Faint, super::chart::Anchor::End);
    plot.sheet.text((to, y - 4.0), "more replicas than cores", look);
}
