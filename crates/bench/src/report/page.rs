//! The page: one file, nothing fetched, no script. What files or people named goes through `escape`.

use std::fmt::Write as _;

use super::arrange::{Arrangement, has_number, short_name};
use super::chart::{Sheet, count, duration, escape, inline, seconds, short, style};
use super::drawing::Drawing;
use super::tables;
use crate::limits::Limits;
use crate::record::{Point, Record};

const STYLE: &str = include_str!("style.css");
/// Latency histograms that the page links to at most; all of them are in the folder.
const HISTOGRAMS_MAX: usize = 400;

/// The whole page.
pub(super) fn page(record: &Record, arrangement: Option<&Arrangement<'_>>, drawings: &[Drawing]) -> String {
    let mut out = String::new();
    let title = escape(&record.title);
    // Nothing is fetched and no script runs, whatever a name in a record tries.
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none';style-src 'unsafe-inline'\">\
         <meta name=\"color-scheme\" content=\"light dark\"><title>{title}</title>\
         <style>{STYLE}{}</style></head>\n<body><main>\n<header><h1>{title}</h1>",
        style()
    );
    if !record.about.is_empty() {
        let _ = write!(out, "<p class=\"lead\">{}</p>", escape(&record.about));
    }
    out.push_str(&lead(record));
    out.push_str(&facts(record));
    out.push_str(&warnings(record));
    out.push_str(&contents(drawings));
    out.push_str("</header>\n");
    for drawing in drawings {
        out.push_str(&figure(drawing));
    }
    out.push_str(&tables::points(&record.points, arrangement));
    out.push_str(MEANING);
    out.push_str(&tables::limits(record));
    out.push_str(&repeat(record));
    out.push_str(&provenance(record));
    out.push_str("</main></body></html>\n");
    out
}

/// `a, b and c`, each once, in the order met.
fn listed(words: impl Iterator<Item = String>) -> String {
    let mut known: Vec<String> = Vec::new();
    for word in words {
        if !known.contains(&word) {
            known.push(word);
        }
    }
    if known.len() > 8 {
        let more = known.len() - 7;
        known.truncate(7);
        known.push(format!("{more} more"));
    }
    match known.split_last() {
        None => String::new(),
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
    }
}

/// What went wrong on purpose.
fn scenarios(points: &[Point]) -> String {
    let names = || points.iter().map(|point| short_name(&point.cell.scenario));
    let several = names().any(|name| names().next() != Some(name));
    match (several, names().next()) {
        (false, Some(name)) if name == "none" => "nothing going wrong".into(),
        (false, _) => format!("scenario {}", listed(names())),
        (true, _) => format!("scenarios {}", listed(names())),
    }
}

/// How many runs points are of: those that have a number, for of the others none counts.
fn measured(points: &[Point]) -> String {
    let runs = || points.iter().filter(|point| has_number(point)).map(|point| point.runs.len());
    match (runs().min(), runs().max()) {
        (None, _) | (_, None) => "No point has a number.".to_owned(),
        (_, Some(0 | 1)) => "Every point is one run, so it has no interval.".to_owned(),
        (Some(least), Some(most)) if least == most => {
            format!("Every point is the median of {most} runs, with its 95 % interval.")
        }
        (Some(least), Some(most)) => {
            format!("Points are medians of {} to {most} runs, with 95 % intervals.", least.max(1))
        }
    }
}

fn lead(record: &Record) -> String {
    let points = &record.points;
    if points.is_empty() {
        return "<p class=\"lead\">Nothing was measured: this record has no points.</p>".into();
    }
    let each = |name: fn(&Point) -> String| listed(points.iter().map(name));
    let mut sizes: Vec<u16> = points.iter().map(|point| point.cell.n).collect();
    sizes.sort_unstable();
    let sizes = listed(sizes.into_iter().map(|n| n.to_string()));
    let text = format!(
        "Clusters of {sizes} replicas, each a process of its own, and their clients over QUIC on {}: operations of {} bytes, \
         durability {}, {}. {} A run after which correct replicas did not agree has no number.",
        each(|point| short_name(&point.cell.network)),
        each(|point| point.cell.payload.to_string()),
        each(|point| short_name(&point.cell.durability)),
        scenarios(points),
        measured(points),
    );
    format!("<p class=\"lead\">{}</p>", escape(&text))
}

fn fact(out: &mut String, name: &str, value: &str, more: &str) {
    let (value, more) = (escape(value), escape(more));
    let _ = write!(out, "<div><dt>{name}</dt><dd>{value}<small>{more}</small></dd></div>");
}

fn facts(record: &Record) -> String {
    let mut out = String::from("<dl class=\"facts\">");
    let place = |point: &Point| {
        let cell = &point.cell;
        format!("{}, f = {}, {}", short_name(&cell.scenario), cell.f, short_name(&cell.network))
    };
    let numbered = || record.points.iter().filter(|point| has_number(point));
    // What the cluster does while nothing goes wrong; faulty replicas do no work, which makes others look faster.
    let calm = || numbered().filter(|point| point.cell.scenario == "none");
    let all = numbered().filter(|_| calm().next().is_none());
    if let Some(best) = calm().chain(all).max_by(|a, b| a.throughput_rps.total_cmp(&b.throughput_rps)) {
        let more = format!("{}; p99 {}", place(best), duration(best.p99_us));
        fact(&mut out, "Highest goodput", &format!("{} calls/s", short(best.throughput_rps)), &more);
    }
    let fastest = numbered().filter(|point| point.p50_us > 0.0).min_by(|a, b| a.p50_us.total_cmp(&b.p50_us));
    if let Some(fastest) = fastest {
        let more = format!("{} at {} calls/s", place(fastest), short(fastest.throughput_rps));
        fact(&mut out, "Lowest median latency", &duration(fastest.p50_us), &more);
    }
    let (all, with) = (record.points.len(), numbered().count());
    let more = if all == 0 {
        "nothing was measured"
    } else if all == with {
        "correct replicas agreed in every run"
    } else if with == 0 {
        "the table says why they have none"
    } else {
        "the table says why others have none"
    };
    fact(&mut out, "Points with a number", &format!("{with} of {all}"), more);
    let machine = &record.limits.machine;
    fact(
        &mut out,
        "Machine",
        &format!("{} cores", machine.cores),
        &format!("{}, {}", machine.cpu, machine.kernel),
    );
    out.push_str("</dl>");
    out
}

fn warnings(record: &Record) -> String {
    let mut all: Vec<String> = record.provenance.warnings.clone();
    let Limits { build, udp, machine, .. } = &record.limits;
    let known = |all: &[String], word: &str| all.iter().any(|warning| warning.contains(word));
    if build.profile != "release" && !known(&all, "release build") {
        all.push("This was no release build: numbers to look at, not to publish.".into());
    }
    if machine.busy() && !known(&all, "busy") {
        all.push("The machine was busy with something else before this began.".into());
    }
    if let Some(fix) =
        udp.fix.as_ref().filter(|fix| !all.iter().any(|warning| warning.contains(fix.as_str())))
    {
        all.push(format!(
            "UDP buffers are smaller than wanted, so packets are lost under load; allow more: {fix}"
        ));
    }
    let off = record.points.iter().filter(|point| !point.network_check.off.is_empty()).count();
    if off > 0 {
        let points = if off == 1 { "one point".to_owned() } else { format!("{off} points") };
        all.push(format!("The emulated network of {points} was not what it says: see below the table."));
    }
    let numbered = || record.points.iter().filter(|point| has_number(point));
    let unsteady = numbered().filter(|point| point.runs.iter().any(|run| !run.steady)).count();
    if unsteady > 0 {
        let points = numbered().count();
        all.push(format!(
            "{unsteady} of {points} points: some run was not steady; see the notes in the table."
        ));
    }
    if all.is_empty() {
        return String::new();
    }
    let items: String =
        all.iter().map(|warning| format!("<li>{}</li>", escape(&sentence(warning)))).collect();
    format!(
        "<div class=\"warn\" role=\"note\"><strong>Before you trust a number</strong><ul>{items}</ul></div>"
    )
}

/// With a capital letter.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn contents(drawings: &[Drawing]) -> String {
    let mut out = String::from("<nav aria-label=\"Contents\">");
    for drawing in drawings {
        let _ = write!(out, "<a href=\"#{}\">{}</a>", drawing.name, escape(&drawing.title));
    }
    for (name, title) in [
        ("points", "Points"),
        ("meaning", "What is measured"),
        ("limits", "Limits of the machine"),
        ("repeat", "Repeat it"),
        ("provenance", "Provenance"),
    ] {
        let _ = write!(out, "<a href=\"#{name}\">{title}</a>");
    }
    out.push_str("</nav>");
    out
}

fn figure(drawing: &Drawing) -> String {
    let Drawing { name, title, caption, key, panels } = drawing;
    let mut out = format!("<section id=\"{name}\"><h2>{}</h2><figure><ul class=\"key\">", escape(title));
    for entry in &key.entries {
        let _ = write!(out, "<li>{}{}</li>", inline(&entry.sample.sheet()), escape(&entry.words));
    }
    out.push_str("</ul><div class=\"panels\">");
    out.extend(panels.iter().map(|panel: &Sheet| inline(panel)));
    let _ = writeln!(
        out,
        "</div><figcaption>{} As a file: <a href=\"figures/{name}.svg\">SVG</a>, <a href=\"figures/{name}.png\">PNG</a>.\
         </figcaption></figure></section>",
        escape(&caption.join(" "))
    );
    out
}

const MEANING: &str = "<section id=\"meaning\"><h2>What is measured</h2><dl class=\"meaning\">\
<dt>Throughput, or goodput</dt><dd>Calls whose f+1 matching replies reached their client within the measured time, \
per second. Batches are never counted as calls, and neither is what was sent, ordered or executed without being \
answered. An answer counts when it comes, so those to calls of just before may make it a little more than was \
offered.</dd>\
<dt>Latency</dt><dd>From the moment a call was due until its f+1 matching replies were there. In an open loop calls are \
due at a rate, whether or not earlier ones were answered, so a slow moment is charged with everything that waited for it; \
in a closed loop a call is due when the one before it was answered.</dd>\
<dt>The point of a cell</dt><dd>The highest goodput, of all loads tried, at which the 99th percentile of latency stayed \
within the limit and at least 98 % of what was offered was answered; the median of its runs.</dd>\
<dt>95 %</dt><dd>Student's interval around the mean of the runs, widened to take in their median, which is the number \
shown: wide where runs are few, as it should be. <code>quorate bench diff</code> says which differences exceed the \
noise. One run has no interval.</dd>\
<dt>No number</dt><dd>A run that failed, in which correct replicas did not agree, or in which a liar told no lie, has no \
number: the row says why.</dd>\
<dt>More replicas than cores</dt><dd>Replicas share cores, so the point tells of the machine as well as of the protocol. \
In figures it is hollow. That does not say that the cores were busy.</dd></dl></section>\n";

fn repeat(record: &Record) -> String {
    let command = escape(&record.provenance.command);
    format!(
        "<section id=\"repeat\"><h2>Repeat it</h2><p>The whole configuration is <a href=\"figure.toml\">figure.toml</a>, \
         beside this page. Build the same commit with <code>cargo build --release</code>, then:</p>\
         <pre tabindex=\"0\">quorate bench figure.toml --out again\nquorate bench diff . again</pre>\
         <p>The second line says which differences exceed the noise. This page was made by</p>\
         <pre tabindex=\"0\">{command}</pre>\
         <p>and is drawn again from its points by <code>quorate bench report .</code></p></section>\n"
    )
}

fn provenance(record: &Record) -> String {
    let (provenance, Limits { build, machine, .. }) = (&record.provenance, &record.limits);
    let unknown = |text: &str| if text.is_empty() { "unknown".to_owned() } else { text.to_owned() };
    let cores = format!("{}, {} cores", machine.cpu, machine.cores);
    let build = format!("{}, {}, {}, {}", build.program, build.profile, build.compiler, build.target);
    let rows = [
        ("Began", unknown(&provenance.began)),
        ("Took", seconds(provenance.took_s)),
        ("Commit", unknown(&provenance.commit)),
        ("Program", build),
        ("Processor", cores),
        ("Kernel", machine.kernel.clone()),
        ("Machines", unknown(&provenance.machines.join(", "))),
        ("File system", unknown(&provenance.file_system)),
    ];
    let rows: String =
        rows.iter().map(|(name, value)| format!("<dt>{name}</dt><dd>{}</dd>", escape(value))).collect();
    format!(
        "<section id=\"provenance\"><h2>Provenance</h2><dl class=\"plain\">{rows}</dl>\
         <details><summary>The whole configuration</summary><pre tabindex=\"0\">{}</pre></details>{}\
         <p>For programs: <a href=\"points.csv\">points.csv</a>, <a href=\"points.json\">points.json</a>; for people who \
         keep papers: <a href=\"provenance.txt\">provenance.txt</a>.</p></section>\n",
        escape(&record.configuration),
        histograms(&record.points)
    )
}

/// Whether a name can only be a file beside the page: then it may be linked to.
pub(super) fn is_plain(name: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty()
            && part.len() <= 200
            && !part.starts_with('.')
            && part.chars().all(|letter| letter.is_ascii_alphanumeric() || "._-+".contains(letter))
    };
    let parts: Vec<&str> = name.split('/').collect();
    parts.len() <= 2 && parts.into_iter().all(part)
}

fn histograms(points: &[Point]) -> String {
    let runs = points.iter().flat_map(|point| &point.runs);
    let names: Vec<&str> =
        runs.map(|run| run.histogram.as_str()).filter(|name| is_plain(name)).take(HISTOGRAMS_MAX).collect();
    if names.is_empty() {
        return String::new();
    }
    let links: Vec<String> = names.iter().map(|name| format!("<a href=\"{name}\">{name}</a>")).collect();
    format!(
        "<details><summary>Latency histograms, one for each of {} runs</summary>\
         <p>In the log format of HdrHistogram, which its tools read.</p>\
         <p>{}</p></details>",
        count(names.len() as u64),
        links.join(" · ")
    )
}

/// Sentences that stand under the figures, for tests.
#[cfg(test)]
pub(super) const DEFINITIONS: [&str; 2] = [super::words::THROUGHPUT, super::words::LATENCY];
