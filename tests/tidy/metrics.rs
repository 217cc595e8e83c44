//! Metrics are named in one place, and whoever else names one names one that there is.

use std::collections::BTreeSet;

use quorate_node::status::metrics::{self, Kind};

use super::{assert_none, texts};

/// Words that begin like a metric and are none: our crates, and what operators call their things in examples.
const OTHERS: &[&str] = &[
    "quorate_apps",
    "quorate_bench",
    "quorate_cli",
    "quorate_host",
    "quorate_node",
    "quorate_protocol",
    "quorate_sim",
];

/// Whether there is a series of this name, in the units of `/metrics` or of `/status`.
fn is_known(word: &str) -> bool {
    let name = word.replace("_microseconds", "_seconds").replace("_percent", "_ratio");
    let of_histogram = |stem: &str| metrics::find(stem).is_some_and(|metric| metric.kind == Kind::Histogram);
    let stem = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
    metrics::find(&name).is_some() || stem.is_some_and(of_histogram)
}

/// Words of a text that look like metrics, each with the line it is on.
fn words(text: &str) -> Vec<(usize, &str)> {
    let part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        for (at, _) in line.match_indices("quorate_") {
            let word = &line[at..at + line[at..].find(|letter| !part(letter)).unwrap_or(line.len() - at)];
            let begins = !line[..at].chars().next_back().is_some_and(part);
            // What goes on with something else is a part of a name, such as of a family of metrics, or of a template.
            if begins && !word.ends_with('_') {
                found.push((number, word));
            }
        }
    }
    found
}

fn complaints(path: &str, text: &str) -> Vec<String> {
    let strange = |word: &str| !OTHERS.contains(&word) && !is_known(word);
    let found = words(text).into_iter().filter(|(_, word)| strange(word));
    found.map(|(number, word)| format!("{path}:{number}: `{word}` is no metric of docs/metrics.md")).collect()
}

/// Rust names many things; metrics are those in quotes.
fn quoted(text: &str) -> String {
    let keep = |line: &str| -> String {
        let named = line.match_indices("\"quorate_").map(|(at, _)| &line[at + 1..]);
        named.map(|rest| rest.split('"').next().unwrap_or_default().to_owned() + " ").collect()
    };
    text.lines().map(|line| keep(line) + "\n").collect()
}

#[test]
fn whoever_names_a_metric_names_one_that_there_is() {
    let page = "`quorate_view`, quorate_phase_seconds_bucket{phase=\"x\"}, the quorate_node crate, `quorate_emulation_`";
    assert_none(&complaints("docs/a.md", page));
    for wrong in ["rate(quorate_views[5m])", "`quorate_view_sum`", "quorate_behind"] {
        assert_eq!(complaints("docs/a.md", wrong).len(), 1, "{wrong}");
    }
    let code = "use quorate_protocol::types; f(\"quorate_journal_used_percent\"); g(\"quorate_veiw\");";
    assert_eq!(complaints("a.rs", &quoted(code)).len(), 1);

    let mut looked_at = 0;
    let mut found = Vec::new();
    for file in texts() {
        // Tests of the reading and the writing of metrics make some up.
        let made_up = file.path.starts_with("crates/node/src/status") || file.path.starts_with("tests/tidy/");
        let text = match file.path.rsplit_once('.') {
            Some((_, "rs")) if !made_up => quoted(&file.text),
            Some((_, "md")) => file.text.clone(),
            _ => continue,
        };
        looked_at += words(&text).len();
        found.extend(complaints(&file.path, &text));
    }
    assert!(looked_at > 200, "there are names to look at: {looked_at}");
    assert_none(&found);
}

/// The alert rules of a page: the lines of its `yaml` blocks that are expressions.
fn rules(page: &str) -> Vec<&str> {
    let blocks = page.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.flat_map(str::lines).filter_map(|line| line.trim().strip_prefix("expr: ")).collect()
}

/// Labels that an expression asks for and its metric does not have, and metrics that do not exist.
fn wrong_in(rule: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for (_, word) in words(rule) {
        let stem = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| word.strip_suffix(suffix));
        let metric = metrics::find(word).or_else(|| metrics::find(stem?));
        let Some(metric) = metric else {
            wrong.push(format!("`{word}` is no metric"));
            continue;
        };
        let behind = rule.split_once(word).map_or("", |(_, behind)| behind);
        let selector =
            behind.strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(inside, _)| inside);
        let asked =
            selector.split(',').filter_map(|part| part.split_once(['=', '!'])).map(|(label, _)| label.trim());
        let known: BTreeSet<&str> =
            metric.labels.iter().copied().chain(["replica", "job", "instance"]).collect();
        let unknown = asked.filter(|label| !known.contains(label));
        wrong.extend(unknown.map(|label| format!("`{word}` has no label `{label}`")));
    }
    wrong
}

#[test]
fn every_alert_rule_asks_for_metrics_and_labels_that_there_are() {
    assert_eq!(wrong_in("increase(quorate_alarms_total{kind=\"split\"}[1h]) > 0"), [""; 0]);
    assert_eq!(wrong_in("quorate_alarms_total{sort=~\"split\"} > 0").len(), 1);
    assert_eq!(wrong_in("quorate_alarm_total > 0").len(), 1);
    let page =
        texts().into_iter().find(|file| file.path == "docs/operating.md").expect("the operator's guide");
    let rules = rules(&page.text);
    assert!(rules.len() >= 5, "there are rules to look at: {rules:?}");
    let wrong: Vec<String> = rules.iter().flat_map(|rule| wrong_in(rule)).collect();
    assert_none(&wrong);
}
