//! The metrics there are. The list is the table that operators read, and there is no second one: a metric's type and
//! help are what the table says.

use std::sync::LazyLock;

/// The page with the table.
const PAGE: &str = include_str!("../../../../docs/metrics.md");

/// How a metric behaves, in the words of Prometheus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from 0 at the replica's start.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How often something took how long: several series, each of which only grows.
    Histogram,
}

impl Kind {
    /// The word for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One row of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its labels, besides that of the replica.
    pub labels: Vec<&'static str>,
    /// How it behaves.
    pub kind: Kind,
    /// What it counts or is measured in; empty where there is no such thing.
    pub unit: &'static str,
    /// What it says.
    pub meaning: &'static str,
    /// When that is no good news; empty where it is none on its own.
    pub worry: &'static str,
}

impl Metric {
    /// Reads a row; none if the line is something else.
    fn read(line: &'static str) -> Option<Self> {
        let cells: Vec<&str> = line.strip_prefix("| `quorate_")?.strip_suffix('|')?.split('|').collect();
        let [name, kind, unit, meaning, worry] = cells[..] else { return None };
        let name = &line["| `".len().."| `quorate_".len() + name.trim_end().len()];
        let name = name.strip_suffix('`')?;
        let (name, labels) = match name.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}')?.split(',').collect()),
            None => (name, Vec::new()),
        };
        let kinds = [Kind::Counter, Kind::Gauge, Kind::Histogram];
        let kind = kinds.into_iter().find(|known| known.word() == kind.trim())?;
        Some(Self { name, labels, kind, unit: unit.trim(), meaning: meaning.trim(), worry: worry.trim() })
    }

    /// Whether it is there only where a network is emulated, or a replica lies on purpose.
    #[must_use]
    pub fn is_for_trials(&self) -> bool {
        self.name == "quorate_lies_total" || self.name.starts_with("quorate_emulation_")
    }
}

/// Every metric, in the order of the table.
#[must_use]
pub fn all() -> &'static [Metric] {
    static ALL: LazyLock<Vec<Metric>> = LazyLock::new(|| PAGE.lines().filter_map(Metric::read).collect());
    &ALL
}

/// The metric of a name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Metric> {
    all().iter().find(|metric| metric.name == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What is wrong with a row.
    fn complaints(metric: &Metric) -> Vec<String> {
        let Metric { name, kind, unit, meaning, .. } = metric;
        let stem = name.strip_suffix("_total").unwrap_or(name);
        let mut complaints = Vec::new();
        let mut unless = |right: bool, what: &str| {
            if !right {
                complaints.push(format!("{name}: {what}"));
            }
        };
        let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
        unless(name.chars().all(plain), "its name has something besides small letters");
        unless(
            name.ends_with("_total") == (*kind == Kind::Counter),
            "counters, and no others, end in `_total`",
        );
        for base in ["seconds", "bytes", "ratio"] {
            unless(stem.ends_with(&format!("_{base}")) == (*unit == base), "its unit is not in its name");
        }
        for other in ["microseconds", "milliseconds", "ms", "us", "percent", "kilobytes"] {
            unless(!name.split('_').any(|word| word == other), "it has another unit than the base unit");
        }
        unless(*kind != Kind::Histogram || *unit == "seconds", "histograms are of times");
        unless(meaning.len() > 10 && !meaning.ends_with('.'), "say what it means, without a full stop");
        complaints
    }

    #[test]
    fn every_row_of_the_table_is_understood_and_has_its_unit_in_its_name() {
        let rows = PAGE.lines().filter(|line| line.starts_with("| `"));
        assert_eq!(rows.count(), all().len(), "a row was not understood");
        let names: BTreeSet<&str> = all().iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), all().len(), "a metric is there twice");
        let found: Vec<String> = all().iter().flat_map(complaints).collect();
        assert!(found.is_empty(), "{found:#?}");
    }

    #[test]
    fn a_row_that_is_wrong_is_found() {
        let good =
            "| `quorate_sync_seconds{phase,peer}` | histogram | seconds | How long a sync takes | never |";
        let read = Metric::read(good).expect("a row");
        assert_eq!((read.name, &read.labels[..]), ("quorate_sync_seconds", &["phase", "peer"][..]));
        assert_eq!(
            (read.kind, read.meaning, read.worry),
            (Kind::Histogram, "How long a sync takes", "never")
        );
        assert!(complaints(&read).is_empty());
        for bad in [
            "| `quorate_sync_microseconds` | gauge | microseconds | How long a sync takes | |",
            "| `quorate_sync_seconds_total` | gauge | seconds | How long syncs take | |",
            "| `quorate_syncs` | counter | syncs | How many syncs there were | |",
            "| `quorate_sync_time` | gauge | seconds | How long a sync takes | |",
            "| `quorate_sync_seconds` | gauge | seconds | Time | |",
        ] {
            assert!(!complaints(&Metric::read(bad).expect("a row")).is_empty(), "{bad}");
        }
        for none in ["| name | type | unit | meaning | when to worry |", "| `quorate_x` | counter |", ""] {
            assert_eq!(Metric::read(none), None);
        }
    }
}
