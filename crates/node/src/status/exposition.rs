//! A status in the text form that Prometheus reads, version 0.0.4.
//!
//! Counters and gauges of a status are named like their series, label included, in whole microseconds and percent; here
//! they become seconds and ratios, in decimal and without a rounding.

use std::collections::BTreeMap;
use std::fmt::Write;

use quorate_host::spent::BOUNDS_US;

use super::metrics;
use super::{Status, Taken, WORDS};

/// One line behind the name of its metric.
struct Sample {
    suffix: &'static str,
    /// Of the form `a="1",b="2"`, without that of the replica; may be empty.
    labels: String,
    value: String,
}

/// All samples of a status, by metric.
#[derive(Default)]
struct Samples(BTreeMap<String, Vec<Sample>>);

/// The text for a status, each metric behind its help and its type.
pub(super) fn text(status: &Status) -> String {
    let mut samples = Samples::default();
    samples.take_fields(status);
    samples.take_links(status);
    for (series, value) in status.gauges.iter().chain(&status.counters) {
        samples.take(series, *value);
    }
    status.taken.iter().for_each(|taken| samples.take_histogram(taken));
    let mut text = String::new();
    for metric in metrics::all() {
        if let Some(found) = samples.0.remove(metric.name) {
            let help = metric.meaning.replace('\\', "\\\\");
            put(&mut text, format_args!("# HELP {} {help}.\n", metric.name));
            print(&mut text, status.replica, (metric.name, metric.kind.word()), &found);
        }
    }
    // What the table does not have is shown all the same; a test sees to it that there is nothing.
    for (name, found) in samples.0 {
        print(&mut text, status.replica, (&name, "untyped"), &found);
    }
    text
}

fn print(text: &mut String, replica: u16, (name, kind): (&str, &str), samples: &[Sample]) {
    put(text, format_args!("# TYPE {name} {kind}\n"));
    for Sample { suffix, labels, value } in samples {
        let comma = if labels.is_empty() { "" } else { "," };
        put(text, format_args!("{name}{suffix}{{replica=\"{replica}\"{comma}{labels}}} {value}\n"));
    }
}

fn put(text: &mut String, words: std::fmt::Arguments<'_>) {
    text.write_fmt(words).expect("a string takes everything");
}

impl Samples {
    fn push(&mut self, name: &str, labels: String, value: String) {
        self.0.entry(name.to_owned()).or_default().push(Sample { suffix: "", labels, value });
    }

    /// A series as a status names it.
    fn take(&mut self, series: &str, value: u64) {
        let (name, labels) = split(series);
        let (name, value) = based(name, value);
        self.push(&name, labels.to_owned(), value);
    }

    fn take_fields(&mut self, status: &Status) {
        let build = escaped(&status.build);
        let labels = format!("build=\"{build}\",durability=\"{}\"", escaped(&status.durability));
        self.push("quorate_build_info", labels, "1".to_owned());
        for word in WORDS {
            let is = u64::from(status.status == word);
            self.take(&format!("quorate_status{{status=\"{word}\"}}"), is);
        }
        for (name, value) in [
            ("quorate_start_time_microseconds", status.started),
            ("quorate_warnings", status.warnings.len() as u64),
            ("quorate_accusations", status.accused.len() as u64),
            ("quorate_view", status.view),
            ("quorate_primary", u64::from(status.primary)),
            ("quorate_is_primary", u64::from(status.primary == status.replica)),
            ("quorate_low_watermark", status.low),
            ("quorate_high_watermark", status.high),
            ("quorate_committed_sequence", status.committed),
            ("quorate_executed_sequence", status.executed),
            ("quorate_pooled_operations", status.pooled),
            ("quorate_waiting_for_disk_messages", status.waiting_for_disk),
            ("quorate_state_bytes", status.state_bytes),
            ("quorate_snapshots_bytes", status.snapshots_bytes),
            ("quorate_journal_file_bytes", status.journal_bytes),
            ("quorate_journal_used_percent", status.journal_used_percent),
            ("quorate_peer_links_up", status.links_up.len() as u64),
            ("quorate_client_links_up", status.clients),
        ] {
            self.take(name, value);
        }
    }

    fn take_links(&mut self, status: &Status) {
        let down = status.links_down.iter().map(|down| (down.replica, 0));
        let mut links: BTreeMap<u16, u64> = status.links_up.iter().map(|replica| (*replica, 1)).collect();
        links.extend(down);
        for (peer, up) in links {
            self.take(&format!("quorate_link_up{{peer=\"{peer}\"}}"), up);
        }
        for heard in &status.heard {
            let (peer, silent_us) = (heard.replica, heard.ms_ago.saturating_mul(1000));
            self.take(&format!("quorate_link_silent_microseconds{{peer=\"{peer}\"}}"), silent_us);
            self.take(&format!("quorate_link_round_trip_microseconds{{peer=\"{peer}\"}}"), heard.rtt_us);
            self.take(&format!("quorate_link_window_bytes{{peer=\"{peer}\"}}"), heard.window_bytes);
            self.take(&format!("quorate_link_sent_frames{{peer=\"{peer}\"}}"), heard.messages);
            self.take(&format!("quorate_link_sent_bytes{{peer=\"{peer}\"}}"), heard.bytes);
        }
    }

    /// How often something took no longer than each bound, how long all together, and how often.
    fn take_histogram(&mut self, taken: &Taken) {
        let (name, labels) = split(&taken.series);
        let (name, sum) = based(name, taken.spent.sum_us);
        let comma = if labels.is_empty() { "" } else { "," };
        let mut count = 0_u64;
        let bounds = BOUNDS_US.into_iter().map(seconds).chain(["+Inf".to_owned()]);
        let samples = self.0.entry(name).or_default();
        for (bound, more) in bounds.zip(taken.spent.within) {
            count = count.saturating_add(more);
            let labels = format!("{labels}{comma}le=\"{bound}\"");
            samples.push(Sample { suffix: "_bucket", labels, value: count.to_string() });
        }
        samples.push(Sample { suffix: "_sum", labels: labels.to_owned(), value: sum });
        samples.push(Sample { suffix: "_count", labels: labels.to_owned(), value: count.to_string() });
    }
}

/// A series as its name and its labels, which are without braces.
fn split(series: &str) -> (&str, &str) {
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    (name, labels.trim_end_matches('}'))
}

/// Name and value in the base unit.
fn based(name: &str, value: u64) -> (String, String) {
    if name.contains("_microseconds") {
        (name.replace("_microseconds", "_seconds"), seconds(value))
    } else if let Some(stem) = name.strip_suffix("_percent") {
        (format!("{stem}_ratio"), decimal(value, 100))
    } else {
        (name.to_owned(), value.to_string())
    }
}

fn seconds(us: u64) -> String {
    decimal(us, 1_000_000)
}

/// A whole number by a power of ten, without needless zeros.
fn decimal(value: u64, by: u64) -> String {
    let digits = by.ilog10() as usize;
    let text = format!("{}.{:0digits$}", value / by, value % by);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use quorate_host::spent::Spent;

    use super::*;

    #[test]
    fn times_and_shares_are_told_in_their_base_units_to_the_last_digit() {
        for (us, expected) in [
            (0, "0"),
            (1, "0.000001"),
            (250, "0.00025"),
            (2_500_000, "2.5"),
            (10_000_000, "10"),
            (u64::MAX, "18446744073709.551615"),
        ] {
            assert_eq!(seconds(us), expected);
        }
        assert_eq!(based("quorate_a_percent", 7), ("quorate_a_ratio".to_owned(), "0.07".to_owned()));
        let told = based("quorate_late_microseconds_total", 1_500);
        assert_eq!(told, ("quorate_late_seconds_total".to_owned(), "0.0015".to_owned()));
    }

    #[test]
    fn a_metric_is_told_with_its_help_its_type_and_all_its_series_together() {
        let mut spent = Spent::default();
        spent.add(300, 2);
        spent.add(60_000_000, 1);
        let status = Status {
            replica: 3,
            build: "a \"b\"\\".to_owned(),
            durability: "sync".to_owned(),
            status: "view-changing".to_owned(),
            counters: vec![
                ("quorate_alarms_total{kind=\"split\"}".to_owned(), 1),
                ("quorate_unheard_of".to_owned(), 9),
                ("quorate_alarms_total{kind=\"clock\"}".to_owned(), 2),
            ],
            taken: vec![Taken { series: "quorate_phase_microseconds{phase=\"commit\"}".to_owned(), spent }],
            ..Status::default()
        };
        let text = text(&status);
        let alarms = "# TYPE quorate_alarms_total counter\nquorate_alarms_total{replica=\"3\",kind=\"split\"} \
                      1\nquorate_alarms_total{replica=\"3\",kind=\"clock\"} 2\n";
        assert!(text.contains(alarms), "{text}");
        for line in [
            "quorate_build_info{replica=\"3\",build=\"a \\\"b\\\"\\\\\",durability=\"sync\"} 1",
            "quorate_status{replica=\"3\",status=\"view-changing\"} 1",
            "quorate_status{replica=\"3\",status=\"normal\"} 0",
            "quorate_phase_seconds_bucket{replica=\"3\",phase=\"commit\",le=\"0.00025\"} 0",
            "quorate_phase_seconds_bucket{replica=\"3\",phase=\"commit\",le=\"0.0005\"} 2",
            "quorate_phase_seconds_bucket{replica=\"3\",phase=\"commit\",le=\"10\"} 2",
            "quorate_phase_seconds_bucket{replica=\"3\",phase=\"commit\",le=\"+Inf\"} 3",
            "quorate_phase_seconds_sum{replica=\"3\",phase=\"commit\"} 60.0006",
            "quorate_phase_seconds_count{replica=\"3\",phase=\"commit\"} 3",
            "# TYPE quorate_unheard_of untyped",
        ] {
            assert!(text.lines().any(|found| found == line), "`{line}` is missing from:\n{text}");
        }
        assert_eq!(text.matches("# TYPE quorate_alarms_total ").count(), 1);
    }
}
