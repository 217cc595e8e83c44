//! What a call costs against what the message pattern alone says.

use super::arrange::{Arrangement, Panel, has_number};
use super::chart::{Axis, Look, Plot, Range, Sample, Scale, Sheet, bytes, duration, short};
use super::drawing::{Drawing, HIGH, WIDE, aside, behind, key_of_lines, key_of_marks};
use super::goodput::MODEL;
use super::words;
use crate::record::Point;

/// One thing that a call costs.
struct Cost {
    name: &'static str,
    measured: fn(&Point) -> f64,
    /// What the model says, where it says something.
    model: Option<fn(&Point) -> f64>,
    said: fn(f64) -> String,
}

fn per(value: f64, of: f64) -> f64 {
    if of > 0.0 { value / of } else { 0.0 }
}

const COSTS: [Cost; 5] = [
    Cost {
        name: "messages per call",
        measured: |point| point.messages_per_request,
        model: Some(|point| per(point.model.messages_per_batch, point.batch_mean)),
        said: short,
    },
    Cost {
        name: "signatures checked per call",
        measured: |point| point.signatures_verified_per_request,
        model: Some(|point| {
            per(point.model.verifications_per_batch, point.batch_mean)
                + per(f64::from(point.cell.n), point.bundle_mean)
        }),
        said: short,
    },
    Cost {
        name: "bytes sent per call",
        measured: |point| point.bytes_per_request,
        // The model has the primary's egress only, which is no part of what is drawn here that could be told apart.
        model: None,
        said: bytes,
    },
    Cost {
        name: "syncs of a replica's journal per call",
        measured: |point| point.syncs_per_request,
        model: None,
        said: short,
    },
    Cost {
        name: "processor time per call, all processes",
        measured: |point| point.cpu_us_per_request,
        model: None,
        said: duration,
    },
];

/// Draws it; none where nothing was counted.
pub(super) fn draw(arrangement: &Arrangement<'_>) -> Option<Drawing> {
    let most = super::arrange::PANELS_MAX;
    let mut panels = Vec::new();
    for panel in &arrangement.panels {
        panels.extend(COSTS.iter().filter_map(|cost| draw_panel(arrangement, panel, cost)));
    }
    if panels.is_empty() {
        return None;
    }
    let left_out = panels.len().saturating_sub(most);
    panels.truncate(most);
    let mut key = key_of_lines(arrangement);
    let first = arrangement.lines.first().map_or("", String::as_str);
    key.add(Sample::Stroke(MODEL), format!("model, at the batches and bundles of `{first}`"));
    key_of_marks(arrangement, &mut key);
    let caption = vec![
        "Everything is divided by calls whose f+1 matching replies reached their client; batches are never counted as \
         calls."
            .into(),
        "The model counts the protocol's own pattern: of messages those among replicas alone, of signatures the votes of \
         a quorum and each client's signature once per replica; what lies above it is clients' frames, resending, \
         heartbeats and faults. Of bytes it knows the primary's egress only (`model.primary_bytes_per_request` in \
         points.csv), so there is no line beside the bytes of all."
            .into(),
        words::HOLLOW.into(),
    ];
    let title = "Cost of a call against the model".into();
    let mut drawing = Drawing { name: "costs", title, caption, key, panels };
    drawing.left_out(left_out);
    Some(drawing)
}

fn draw_panel(arrangement: &Arrangement<'_>, panel: &Panel<'_>, cost: &Cost) -> Option<Sheet> {
    let stops = || panel.lines.iter().flat_map(|line| &line.stops).filter(|stop| has_number(stop.best));
    let modelled = |point: &Point| cost.model.map_or(0.0, |model| model(point));
    let values = stops().flat_map(|stop| [(cost.measured)(stop.best), modelled(stop.best)]);
    let range = Range::of(values)?;
    if !stops().any(|stop| (cost.measured)(stop.best) > 0.0) {
        return None;
    }
    let label = format!("Cost of a call: {}, {}", cost.name, panel.title);
    let mut plot = Plot::new((WIDE, HIGH), cost.name, &label);
    let logarithmic = range.ratio() > 40.0;
    let (from, to) = (plot.bottom, plot.top);
    let scale =
        if logarithmic { Scale::logarithmic(range, from, to) } else { Scale::linear(range.high, from, to) };
    let label = if logarithmic { format!("{} (logarithmic)", panel.title) } else { panel.title.clone() };
    let y = Axis {
        scale,
        ticks: scale.ticks(5).into_iter().map(|tick| (tick, (cost.said)(tick))).collect(),
        label,
    };
    let x = arrangement.across.axis(plot.left, plot.right);
    plot.frame(&x, &y);
    let across = &arrangement.across;
    for line in &panel.lines {
        let look = Look::of(line.number);
        let name = arrangement.lines.get(line.number).map_or("", String::as_str);
        let beside = aside(line.number, arrangement);
        let left = |at: usize| x.scale.at(across.place(at)) + beside;
        let stops: Vec<_> = line.stops.iter().filter(|stop| has_number(stop.best)).collect();
        if line.number == 0 && cost.model.is_some() {
            let through = stops.iter().map(|stop| (left(stop.at) - beside, scale.at(modelled(stop.best))));
            let frame = (plot.left, plot.right);
            plot.sheet.line(&behind(through.collect(), frame), MODEL);
        }
        let place = |point: &Point, at: usize| (left(at), scale.at((cost.measured)(point)));
        let through: Vec<_> = stops.iter().map(|stop| place(stop.best, stop.at)).collect();
        plot.sheet.line(&through, look.stroke);
        for stop in stops {
            let measured = (cost.said)((cost.measured)(stop.best));
            let model = match cost.model {
                Some(model) => format!("; model {}", (cost.said)(model(stop.best))),
                None => String::new(),
            };
            let told = format!("{name}, {}: {measured} {}{model}", across.said(stop.at), cost.name);
            plot.sheet.titled(&told, |sheet| {
                sheet.marker(place(stop.best, stop.at), look.marker, look.stroke.ink, stop.best.cpu_bound);
            });
        }
    }
    Some(plot.sheet)
}
