//! Tables of the page: every point with what happened to it, and the limits of the machine.

use std::fmt::Write as _;

use super::arrange::{Arrangement, problem, short_name};
use super::chart::{bytes, count, duration, escape, short};
use super::goodput::ceiling;
use crate::limits::{Limits, Spread};
use crate::record::{Cell, LinkCost, NetworkCheck, Point, Record};

/// Notes of a record in a row, and how long one may be.
const NOTES_MAX: usize = 8;
const NOTE_MAX: usize = 300;
/// Rows on the page at most; the files have all.
const ROWS_MAX: usize = 600;

/// A coordinate that is a column where it differs between points.
struct Coordinate {
    name: &'static str,
    of: fn(&Cell) -> String,
    word: bool,
}

const COORDINATES: [Coordinate; 17] = [
    Coordinate { name: "scenario", of: |cell| short_name(&cell.scenario), word: true },
    Coordinate { name: "network", of: |cell| short_name(&cell.network), word: true },
    Coordinate { name: "payload", of: |cell| format!("{} B", cell.payload), word: false },
    Coordinate { name: "reply", of: |cell| format!("{} B", cell.reply), word: false },
    Coordinate { name: "durability", of: |cell| short_name(&cell.durability), word: true },
    Coordinate { name: "application", of: |cell| short_name(&cell.application), word: true },
    Coordinate { name: "load", of: |cell| short_name(&cell.load), word: true },
    Coordinate { name: "rate", of: |cell| short_name(&cell.rate), word: true },
    Coordinate { name: "clients", of: |cell| cell.clients.to_string(), word: false },
    Coordinate { name: "in flight", of: |cell| cell.in_flight.to_string(), word: false },
    Coordinate { name: "bundle", of: |cell| cell.bundle.to_string(), word: false },
    Coordinate { name: "batch", of: |cell| cell.batch.to_string(), word: false },
    Coordinate { name: "pipeline", of: |cell| cell.pipeline.to_string(), word: false },
    Coordinate { name: "window", of: |cell| cell.window.to_string(), word: false },
    Coordinate { name: "K", of: |cell| cell.checkpoint_interval.to_string(), word: false },
    Coordinate { name: "T0", of: |cell| format!("{} ms", cell.timeout_ms), word: false },
    Coordinate { name: "layout", of: |cell| short_name(&cell.layout), word: true },
];

/// A number of a point: its name, what it is per, and its words.
type Number = (&'static str, &'static str, fn(&Point) -> String);

/// What came out.
const RESULTS: [Number; 6] = [
    ("goodput", "calls/s", |point| match point.peak().as_deref() {
        Some("at least") => format!("\u{2265} {}", short(point.throughput_rps)),
        _ => short(point.throughput_rps),
    }),
    ("95 %", "from .. to", interval),
    ("offered", "calls/s", |point| short(point.offered_rps)),
    ("p50", "", |point| duration(point.p50_us)),
    ("p99", "", |point| duration(point.p99_us)),
    ("p99.9", "", |point| duration(point.p999_us)),
];

/// What it took.
const COSTS: [Number; 10] = [
    ("batch", "calls", |point| short(point.batch_mean)),
    ("bundle", "calls", |point| short(point.bundle_mean)),
    ("messages", "per call", |point| short(point.messages_per_request)),
    ("checked", "signatures per call", |point| short(point.signatures_verified_per_request)),
    ("bytes", "per call", |point| bytes(point.bytes_per_request)),
    ("syncs", "per call", |point| short(point.syncs_per_request)),
    ("processor", "per call", |point| duration(point.cpu_us_per_request)),
    ("of it", "a correct replica", |point| duration(point.cpu_us_per_request_per_replica)),
    ("cores", "at work", |point| match point.cores_used {
        used if used > 0.0 => short(used),
        _ => String::new(),
    }),
    ("memory", "of a replica", |point| bytes(point.peak_memory_bytes as f64)),
];

/// What the emulation did, and what it should have done.
const NETWORK: [Number; 7] = [
    ("expected", "p50 of the messages alone", |point| match point.network_check.expected_p50_us {
        us if us > 0.0 => duration(us),
        _ => "nobody can say".into(),
    }),
    ("measured", "p50", |point| duration(point.p50_us)),
    ("round trips", "checked", |point| count(point.network_check.round_trips)),
    ("off", "of them", |point| point.network_check.off.len().to_string()),
    ("late", "mean", |point| duration(point.network_check.late_us)),
    ("lost", "by chance", |point| count(point.network_check.lost)),
    ("dropped", "for want of room", |point| count(point.network_check.dropped)),
];
/// What went over links between replicas.
const LINKS: [Number; 5] = [
    ("round trips", "at rest", round_trips),
    ("heaviest link", "bytes per call", |point| {
        heaviest(point).map_or_else(String::new, |link| bytes(link.bytes_per_request))
    }),
    ("it leads", "from, to", |point| {
        heaviest(point).map_or_else(String::new, |link| format!("{} \u{2192} {}", link.from, link.to))
    }),
    ("busiest sender", "bytes per call to all", |point| bytes(busiest(&point.links))),
    ("model", "of the primary", |point| bytes(point.model.primary_bytes_per_request)),
];
/// Deviations that the page lists.
const OFF_MAX: usize = 20;

/// The shortest and the longest that were measured.
fn round_trips(point: &Point) -> String {
    let known = || point.links.iter().map(|link| link.round_trip_us).filter(|us| *us > 0.0);
    let (least, most) = (known().fold(f64::INFINITY, f64::min), known().fold(0.0, f64::max));
    if most > 0.0 { format!("{} .. {}", duration(least), duration(most)) } else { String::new() }
}

fn heaviest(point: &Point) -> Option<&LinkCost> {
    point.links.iter().max_by(|one, other| one.bytes_per_request.total_cmp(&other.bytes_per_request))
}

/// Bytes for each call that the replica sent the others which sent them most.
fn busiest(links: &[LinkCost]) -> f64 {
    let of_one = links.chunk_by(|one, other| one.from == other.from);
    of_one.map(|links| links.iter().map(|link| link.bytes_per_request).sum()).fold(0.0, f64::max)
}

fn interval(point: &Point) -> String {
    // One run has none: the cell stays empty, as it does in points.csv.
    let ends = point.interval().map(|(low, high)| format!("{} .. {}", short(low), short(high)));
    ends.unwrap_or_default()
}

/// The tables of all points: what came out, and what it took.
pub(super) fn points(points: &[Point], arrangement: Option<&Arrangement<'_>>) -> String {
    let mut out = String::from("<section id=\"points\"><h2>Points</h2>");
    let Some(first) = points.first() else {
        return out + "<p>There are none.</p></section>\n";
    };
    let differs = |coordinate: &&Coordinate| {
        let here = (coordinate.of)(&first.cell);
        coordinate.name == "scenario" || points.iter().any(|point| (coordinate.of)(&point.cell) != here)
    };
    let apart: Vec<&Coordinate> = COORDINATES.iter().filter(differs).collect();
    let same = COORDINATES.iter().filter(|coordinate| !differs(coordinate));
    let same: Vec<String> =
        same.map(|coordinate| format!("{} {}", coordinate.name, (coordinate.of)(&first.cell))).collect();
    let _ = write!(
        out,
        "<p>The same for all: {}. Numbers are rounded; <a href=\"points.csv\">points.csv</a> has them whole.</p>",
        escape(&same.join(", "))
    );
    let table = Table { points: points.iter().collect(), apart };
    table.write(&mut out, "Points", &RESULTS, Some(notes));
    out.push_str("<h3>What a call took</h3>");
    table.write(&mut out, "Costs", &COSTS, None);
    table.links(&mut out);
    table.networks(&mut out);
    if points.len() > ROWS_MAX {
        let _ = write!(out, "<p>{} more points are in points.csv.</p>", points.len() - ROWS_MAX);
    }
    if let Some(left_out) = arrangement.map(|all| all.left_out).filter(|left_out| *left_out > 0) {
        let _ = write!(out, "<p>{left_out} groups of points are in this table and in no figure.</p>");
    }
    out + "</section>\n"
}

/// Points as rows, with the coordinates that differ.
struct Table<'a> {
    points: Vec<&'a Point>,
    apart: Vec<&'a Coordinate>,
}

impl Table<'_> {
    /// Links between replicas, where they were counted.
    fn links(&self, out: &mut String) {
        let points: Vec<&Point> =
            self.points.iter().copied().filter(|point| !point.links.is_empty()).collect();
        if points.is_empty() {
            return;
        }
        out.push_str(
            "<h3>Links between replicas</h3><p>Of messages to replicas alone, as those say that do not lie. Every link is \
             under <code>links</code> in points.json. The model is of all that a primary sends, its replies too; it knows \
             of no heartbeats, states, and bodies that are asked for.</p>",
        );
        Self { points, apart: self.apart.clone() }.write(out, "Links", &LINKS, None);
    }

    /// Emulated networks, where there are some.
    fn networks(&self, out: &mut String) {
        let emulated = |point: &&Point| point.network_check != NetworkCheck::default();
        let points: Vec<&Point> = self.points.iter().copied().filter(emulated).collect();
        if points.is_empty() {
            return;
        }
        out.push_str(
            "<h3>Emulated networks against what was measured on them</h3><p>Expected is the latency that the messages of \
             a call alone cause on this network; what was measured above it are queues, processors and disks. Round \
             trips between replicas were measured before the load.</p>",
        );
        let off = points.iter().flat_map(|point| &point.network_check.off).take(OFF_MAX);
        let off: String = off.map(|off| format!("<li>{}</li>", escape(off))).collect();
        Self { points, apart: self.apart.clone() }.write(out, "Emulated networks", &NETWORK, None);
        if !off.is_empty() {
            let _ = write!(out, "<p>Not what the network says:</p><ul>{off}</ul>");
        }
    }

    fn write(&self, out: &mut String, name: &str, numbers: &[Number], notes: Option<fn(&Point) -> String>) {
        let _ = write!(
            out,
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{name}\"><table><thead><tr>\
             <th scope=\"col\">f</th><th scope=\"col\">n</th>"
        );
        for Coordinate { name, word, .. } in &self.apart {
            let _ = write!(out, "<th scope=\"col\"{}>{name}</th>", class(*word));
        }
        for (name, unit, _) in numbers {
            let _ = write!(out, "<th scope=\"col\">{name}<small>{unit}</small></th>");
        }
        if notes.is_some() {
            out.push_str("<th scope=\"col\" class=\"word\">notes</th>");
        }
        out.push_str("</tr></thead><tbody>");
        for point in self.points.iter().copied().take(ROWS_MAX) {
            self.row(out, point, numbers, notes);
        }
        out.push_str("</tbody></table></div>");
    }

    fn row(&self, out: &mut String, point: &Point, numbers: &[Number], notes: Option<fn(&Point) -> String>) {
        let cell = &point.cell;
        let _ = write!(out, "<tr><th scope=\"row\">{}</th><td>{}</td>", cell.f, cell.n);
        for Coordinate { of, word, .. } in &self.apart {
            let _ = write!(out, "<td{}>{}</td>", class(*word), escape(&of(cell)));
        }
        if let Some(problem) = problem(point) {
            let columns = numbers.len() + usize::from(notes.is_some());
            let why = if notes.is_some() { format!("no number: {problem}") } else { "no number".into() };
            let _ = write!(out, "<td class=\"none\" colspan=\"{columns}\">{}</td></tr>", escape(&why));
            return;
        }
        for (.., number) in numbers {
            let _ = write!(out, "<td>{}</td>", escape(&number(point)));
        }
        if let Some(notes) = notes {
            let _ = write!(out, "<td class=\"note\">{}</td>", escape(&notes(point)));
        }
        out.push_str("</tr>");
    }
}

fn class(word: bool) -> &'static str {
    if word { " class=\"word\"" } else { "" }
}

/// What happened besides, in words.
fn notes(point: &Point) -> String {
    let mut notes = Vec::new();
    if point.cpu_bound {
        notes.push("more replicas than cores".to_owned());
    }
    notes.extend(limit(point));
    match point.peak().as_deref() {
        Some("at least") => notes.push("peak: at least this, no load was too much".to_owned()),
        Some(within) => notes.push(format!("peak: {within}")),
        None => {}
    }
    notes.extend(views(point));
    let unsteady = point.runs.iter().filter(|run| !run.steady).count();
    if unsteady > 0 {
        notes.push(format!("{unsteady} of {} runs not steady", point.runs.len()));
    }
    let calls = &point.calls;
    for (number, one, many) in [
        (point.view_changes, "view change", "view changes"),
        (calls.timed_out, "call timed out", "calls timed out"),
        (calls.missed_schedule, "call sent late", "calls sent late"),
        (point.retransmissions, "retransmission", "retransmissions"),
        (point.drops, "frame dropped", "frames dropped"),
    ] {
        match number {
            0 => {}
            1 => notes.push(format!("1 {one}")),
            _ => notes.push(format!("{} {many}", count(number))),
        }
    }
    let lies = point
        .lies
        .iter()
        .take(6)
        .map(|(name, number)| format!("{} \u{d7} {}", count(*number), short_name(name)));
    let lies: Vec<String> = lies.collect();
    if !lies.is_empty() {
        notes.push(format!("lies told: {}", lies.join(", ")));
    }
    notes.extend(point.notes.iter().take(NOTES_MAX).map(|note| short_note(note)));
    notes.join("; ")
}

/// What kept a point from more, where that is known.
fn limit(point: &Point) -> Option<String> {
    let by = short_name(&point.saturated_by);
    (!by.is_empty()).then(|| format!("limited by: {by}"))
}

/// The views that runs were measured in, where that is not the first one alone.
fn views(point: &Point) -> Option<String> {
    let views = || point.runs.iter().flat_map(|run| [run.view_at_start, run.view_at_end]);
    let (first, last) = (views().min()?, views().max()?);
    match (first, last) {
        (0, 0) => None,
        (first, last) if first == last => Some(format!("measured in view {first}")),
        (first, last) => Some(format!("measured in views {first} to {last}")),
    }
}

/// A note of a record, no longer than a row can bear.
fn short_note(note: &str) -> String {
    if note.chars().count() <= NOTE_MAX {
        return note.to_owned();
    }
    note.chars().take(NOTE_MAX - 1).chain(['…']).collect()
}

/// What the machine can do at most, from the same run.
pub(super) fn limits(record: &Record) -> String {
    let limits = &record.limits;
    let mut out = String::from(
        "<section id=\"limits\"><h2>Limits of the machine</h2><p>Measured in the same run, through the code that replicas \
         run, each alone.</p><div class=\"scroll small\" tabindex=\"0\" role=\"region\" aria-label=\"Limits\"><table><thead><tr>\
         <th scope=\"col\" class=\"word\">what</th><th scope=\"col\">median</th><th scope=\"col\">least</th>\
         <th scope=\"col\">most</th></tr></thead><tbody>",
    );
    let mut add = |name: &str, spread: &Spread| {
        let [median, min, max] = [spread.median, spread.min, spread.max].map(|us| escape(&duration(us)));
        let name = escape(name);
        let _ = write!(
            out,
            "<tr><th scope=\"row\" class=\"word\">{name}</th><td>{median}</td><td>{min}</td><td>{max}</td></tr>"
        );
    };
    let signatures = &limits.signatures;
    add("Ed25519, sign (s)", &signatures.sign_us);
    add("Ed25519, verify one", &signatures.verify_us);
    add("Ed25519, verify one of a batch of 16", &signatures.verify_batch_16_us);
    add("Ed25519, verify one of a batch of 256 (v)", &signatures.verify_batch_256_us);
    add("SHA-256 of 512 B", &limits.hashing.sha256_512_b_us);
    if let Some(trip) = &limits.quic.between_processes {
        add("QUIC round trip between two processes, p50", &trip.p50_us);
        add("QUIC round trip between two processes, p99", &trip.p99_us);
    }
    for disk in &limits.disks {
        let kind = disk.file_system.as_ref().map_or("unknown file system", |system| system.kind.as_str());
        if let Some(sync) = &disk.sync_256_b {
            let spread = Spread { median: sync.p50_us, min: sync.min_us, max: sync.max_us };
            add(&format!("append 256 B and sync, {kind} at {}", disk.dir.display()), &spread);
        }
    }
    out.push_str("</tbody></table></div>");
    out.push_str(&ceilings(record));
    let whole = escape(&limits.to_string());
    let _ = writeln!(
        out,
        "<details><summary>All limits, as <code>quorate bench limits</code> says them</summary>\
         <pre tabindex=\"0\">{whole}</pre></details></section>"
    );
    out
}

fn ceilings(record: &Record) -> String {
    let mut sizes: Vec<u16> = record.points.iter().map(|point| point.cell.n).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let limits: &Limits = &record.limits;
    let rows = sizes.iter().take(64).map(|n| (n, ceiling(limits, *n))).filter(|(_, rps)| *rps > 0.0);
    let rows: String = rows
        .map(|(n, rps)| format!("<tr><th scope=\"row\">{n}</th><td>{}</td></tr>", escape(&short(rps))))
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    format!(
        "<h3>Ceiling for one signature per call</h3><p>cores / (n v + s): every call is signed once and checked \
         by each of n replicas, all on this machine, and nothing else costs anything.</p><div class=\"scroll small\" \
         tabindex=\"0\" role=\"region\" aria-label=\"Ceilings\"><table><thead><tr><th scope=\"col\">n</th><th scope=\"col\">\
         calls/s at most</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )
}
