//! The metrics of a running replica, read by a strict reader of the text form and held against the table of metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;

use quorate_node::status::metrics::{self, Kind};

use super::processes::{Cluster, block, until};

/// A metric as a replica gives it.
#[derive(Debug, Default)]
struct Family {
    help: String,
    kind: String,
    /// By everything that stands before the value.
    samples: BTreeMap<String, Sample>,
}

#[derive(Debug)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Sample {
    fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| label == name).map(|(_, value)| value.as_str())
    }
}

fn is_name(text: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    text.starts_with(letter) && text.chars().all(|c| letter(c) || c.is_ascii_digit())
}

/// Labels of the form `a="1",b="2"`, with the three escapes that there are.
fn labels(text: &str) -> Result<Vec<(String, String)>, String> {
    let (mut labels, mut rest) = (Vec::new(), text);
    loop {
        let (name, behind) = rest.split_once("=\"").ok_or(format!("no label: {rest}"))?;
        let (mut value, mut end, mut letters) = (String::new(), None, behind.char_indices());
        while let Some((at, letter)) = letters.next() {
            match letter {
                '"' => {
                    end = Some(at);
                    break;
                }
                '\\' => value.push(match letters.next() {
                    Some((_, 'n')) => '\n',
                    Some((_, escaped @ ('\\' | '"'))) => escaped,
                    _ => return Err(format!("no such escape: {behind}")),
                }),
                '\n' => return Err("a line ends in a label".to_owned()),
                letter => value.push(letter),
            }
        }
        let end = end.ok_or(format!("a label has no end: {behind}"))?;
        if !is_name(name) || labels.iter().any(|(known, _)| known == name) {
            return Err(format!("`{name}` is no name of a label, or there twice"));
        }
        labels.push((name.to_owned(), value));
        match behind[end + 1..].strip_prefix(',') {
            Some(more) => rest = more,
            None if behind.len() == end + 1 => return Ok(labels),
            None => return Err(format!("what is that: {}", &behind[end + 1..])),
        }
    }
}

/// Reads the text form as strictly as it can be read: help, then type, then all samples of a metric, each metric once.
fn read(text: &str) -> Result<BTreeMap<String, Family>, String> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut current = String::new();
    if !text.ends_with('\n') {
        return Err("the last line has no end".to_owned());
    }
    for line in text.lines() {
        let wrong = |why: &str| Err(format!("{why}: {line}"));
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').ok_or(format!("no help: {line}"))?;
            if families.contains_key(name) || !is_name(name) {
                return wrong("a metric is there twice, or has no good name");
            }
            current = name.to_owned();
            families.insert(current.clone(), Family { help: help.to_owned(), ..Family::default() });
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').ok_or(format!("no type: {line}"))?;
            let family = families.get_mut(name).filter(|_| name == current);
            let family = family.ok_or(format!("a type without help just before it: {line}"))?;
            if !family.kind.is_empty() || !["counter", "gauge", "histogram"].contains(&kind) {
                return wrong("a second type, or none that there is");
            }
            family.kind = kind.to_owned();
        } else {
            let (series, value) = line.rsplit_once(' ').ok_or(format!("no sample: {line}"))?;
            let (name, inside) = series.split_once('{').ok_or(format!("no labels: {line}"))?;
            let labels = labels(inside.strip_suffix('}').ok_or(format!("no end of labels: {line}"))?)?;
            let value = value.parse::<f64>().map_err(|error| format!("{error}: {line}"))?;
            let family = families.get_mut(&current).filter(|family| !family.kind.is_empty());
            let family = family.ok_or(format!("a sample before its type: {line}"))?;
            let suffixes: &[&str] =
                if family.kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            if !name.strip_prefix(&current).is_some_and(|suffix| suffixes.contains(&suffix)) {
                return wrong("a sample among those of another metric");
            }
            let sample = Sample { name: name.to_owned(), labels, value };
            if !value.is_finite() || family.samples.insert(series.to_owned(), sample).is_some() {
                return wrong("no finite number, or a series that is there twice");
            }
        }
    }
    Ok(families)
}

#[test]
fn the_reader_refuses_what_is_not_the_text_form() {
    let head = "# HELP a_total A.\n# TYPE a_total counter\n";
    let good = format!("{head}a_total{{b=\"1\",c=\"x \\\"y\\\" \\\\ \\n\"}} 1\na_total{{b=\"2\"}} 0.5\n");
    let read_well = read(&good).unwrap();
    assert_eq!(read_well["a_total"].samples.len(), 2);
    for bad in [
        "a_total{b=\"1\"} 1\n".to_owned(),
        "# TYPE a_total counter\na_total{b=\"1\"} 1\n".to_owned(),
        format!("{head}a_total{{b=\"1\"}} 1"),
        format!("{head}a_total{{b=\"1\"}} 1\na_total{{b=\"1\"}} 2\n"),
        format!("{head}a_total{{b=\"1\",b=\"2\"}} 1\n"),
        format!("{head}a_total{{b=\"1\"}} one\n"),
        format!("{head}a_total{{b=\"1\"}} NaN\n"),
        format!("{head}a_total{{b=\"1\" }} 1\n"),
        format!("{head}a_total{{b=\"\\t\"}} 1\n"),
        format!("{head}b_total{{b=\"1\"}} 1\n"),
        format!("{head}a_total_bucket{{b=\"1\"}} 1\n"),
        format!("{head}{head}"),
        format!("{head}\n"),
    ] {
        assert!(read(&bad).is_err(), "this was read: {bad}");
    }
}

/// What a replica's admin endpoint answers to a scrape.
fn scrape(cluster: &Cluster, id: usize) -> BTreeMap<String, Family> {
    let address = cluster.file.replicas()[id].addresses.admin;
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.0 200"), "{head}");
    assert!(head.to_lowercase().contains("content-type: text/plain; version=0.0.4"), "{head}");
    read(body).unwrap_or_else(|why| panic!("{why}\n{body}"))
}

/// Holds what a replica gives against the table: names, types, helps and labels.
#[track_caller]
fn is_in_the_table(found: &BTreeMap<String, Family>, id: usize) {
    for metric in metrics::all() {
        let Some(family) = found.get(metric.name) else {
            assert!(metric.is_for_trials(), "{} is in the table, and not given", metric.name);
            continue;
        };
        assert_eq!(family.kind, metric.kind.word(), "{}", metric.name);
        assert_eq!(family.help, format!("{}.", metric.meaning), "{}", metric.name);
        assert!(!family.samples.is_empty(), "{}", metric.name);
        for (series, sample) in &family.samples {
            assert_eq!(sample.label("replica"), Some(&*id.to_string()), "{series}");
            let labels: BTreeSet<&str> = sample.labels.iter().map(|(name, _)| name.as_str()).collect();
            let mut expected: BTreeSet<&str> = metric.labels.iter().copied().chain(["replica"]).collect();
            expected.extend(series.starts_with(&format!("{}_bucket", metric.name)).then_some("le"));
            assert_eq!(labels, expected, "{series}");
        }
    }
    let unknown: Vec<&String> = found.keys().filter(|name| metrics::find(name).is_none()).collect();
    assert!(unknown.is_empty(), "given, and not in docs/metrics.md: {unknown:?}");
}

/// Buckets grow with their bounds, and the last one has all.
#[track_caller]
fn is_a_histogram(name: &str, family: &Family) {
    let without_bound = |sample: &Sample| -> Vec<(String, String)> {
        sample.labels.iter().filter(|(label, _)| label != "le").cloned().collect()
    };
    let of = |suffix: &str| {
        let name = format!("{name}{suffix}");
        family.samples.values().filter(move |sample| sample.name == name)
    };
    let bound = |sample: &&Sample| match sample.label("le") {
        Some("+Inf") => f64::INFINITY,
        bound => bound.unwrap().parse().unwrap(),
    };
    for count in of("_count") {
        let mut buckets: Vec<&Sample> =
            of("_bucket").filter(|bucket| without_bound(bucket) == count.labels).collect();
        buckets.sort_by(|one, other| bound(one).total_cmp(&bound(other)));
        assert!(buckets.len() > 10, "{count:?}");
        assert!(buckets.windows(2).all(|pair| pair[0].value <= pair[1].value), "{buckets:?}");
        let last = buckets.last().unwrap();
        assert!(bound(last).is_infinite() && last.value == count.value, "{last:?} {count:?}");
        let sum = of("_sum").find(|sum| sum.labels == count.labels).unwrap();
        assert!(sum.value >= 0.0 && (sum.value > 0.0) <= (count.value > 0.0), "{sum:?} {count:?}");
    }
}

#[test]
fn metrics_are_what_the_table_says_and_text_that_prometheus_reads() {
    let cluster = Cluster::serving(&[]);
    cluster.answers(&["kv", "put", "a", "1"], "stored\n");
    let before = scrape(&cluster, 1);
    cluster.answers(&["kv", "put", "a", "2"], "replaced\n");
    let committed = |found: &BTreeMap<String, Family>| -> f64 {
        found["quorate_operations_executed_total"].samples.values().map(|sample| sample.value).sum()
    };
    // It is one of those that need not have executed it when the client is answered.
    let after = block(until("the second put", async || {
        Some(scrape(&cluster, 1)).filter(|found| committed(found) > committed(&before))
    }));
    for found in [&before, &after] {
        is_in_the_table(found, 1);
        let histograms = found.iter().filter(|(_, family)| family.kind == Kind::Histogram.word());
        histograms.for_each(|(name, family)| is_a_histogram(name, family));
    }
    for (name, family) in &after {
        for (series, sample) in family.samples.iter().filter(|_| family.kind != "gauge") {
            let earlier = before[name].samples[series].value;
            assert!(sample.value >= earlier && earlier >= 0.0, "{series}: {} after {earlier}", sample.value);
        }
    }
    let count: usize = after.values().map(|family| family.samples.len()).sum();
    assert!(count < 400, "as many series as a scrape of one replica of four should have: {count}");

    let value = |series: &str| -> f64 {
        let of = after.values().find_map(|family| family.samples.get(series));
        of.unwrap_or_else(|| panic!("there is no {series}")).value
    };
    for peer in [0, 2, 3] {
        assert_eq!(value(&format!("quorate_link_up{{replica=\"1\",peer=\"{peer}\"}}")), 1.0);
        assert!(value(&format!("quorate_link_round_trip_seconds{{replica=\"1\",peer=\"{peer}\"}}")) > 0.0);
    }
    assert_eq!(value("quorate_status{replica=\"1\",status=\"normal\"}"), 1.0);
    assert_eq!(value("quorate_peer_links_up{replica=\"1\"}"), 3.0);
    assert_eq!(
        value("quorate_warnings{replica=\"1\"}"),
        block(cluster.status(1)).unwrap().warnings.len() as f64
    );
    for more_than_nothing in [
        "quorate_agreement_seconds_count{replica=\"1\"}",
        "quorate_phase_seconds_sum{replica=\"1\",phase=\"pre_prepare\"}",
        "quorate_phase_seconds_count{replica=\"1\",phase=\"execute\"}",
        "quorate_journal_sync_seconds_count{replica=\"1\"}",
        "quorate_sessions{replica=\"1\"}",
        "quorate_process_resident_bytes{replica=\"1\"}",
        "quorate_start_time_seconds{replica=\"1\"}",
        "quorate_progress_timeout_seconds{replica=\"1\"}",
    ] {
        assert!(value(more_than_nothing) > 0.0, "{more_than_nothing}");
    }
}
