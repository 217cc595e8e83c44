//! What a replica says of itself to its operator.

mod exposition;
pub mod metrics;

use std::collections::BTreeMap;

use quorate_host::spent::{PLACES, Spent};
use serde::{Deserialize, Serialize};

/// All words that [`Status::status`] may be.
pub const WORDS: [&str; 8] =
    ["normal", "view-changing", "behind", "stopping", "recovering", "diverged", "out", "halted"];

/// A replica's state at one moment. Counters count since its start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The cluster's id, in hex.
    pub cluster: String,
    /// Which replica.
    pub replica: u16,
    /// How many there are.
    pub replicas: u16,
    /// Its epoch.
    pub epoch: u64,
    /// Its view.
    pub view: u64,
    /// The primary of that view.
    pub primary: u16,
    /// `normal`, `view-changing`, `behind` (it misses more than the others' logs hold, and cannot execute), `stopping` (it
    /// was told to stop, and hands over what it leads), `recovering` (it may have forgotten votes; see `forgot`), `diverged`
    /// (its state was wrong, and it fetches another), `out` (it executes and serves, and never votes or answers again; see
    /// `standing`) or `halted`.
    pub status: String,
    /// What its past leaves of its word, if that is not all of it.
    #[serde(default)]
    pub standing: String,
    /// Until the view is over in which it may have forgotten votes: how far they may have reached. It binds nothing any
    /// more once `status` is not `recovering`.
    pub forgot: Option<Forgot>,
    /// How far it has come in fetching a state, if it fetches one.
    #[serde(default)]
    pub transfer: String,
    /// The low watermark: its newest stable checkpoint.
    pub low: u64,
    /// The high watermark.
    pub high: u64,
    /// Highest slot up to which all committed.
    pub committed: u64,
    /// Highest slot executed.
    pub executed: u64,
    /// Operations that wait to be ordered.
    pub pooled: u64,
    /// Messages that wait for the disk.
    pub waiting_for_disk: u64,
    /// Bytes of the state of its newest checkpoint: the pages of the application's map and of the sessions'.
    #[serde(default)]
    pub state_bytes: u64,
    /// Bytes that its snapshots take on the disk, all together.
    #[serde(default)]
    pub snapshots_bytes: u64,
    /// Most bytes that its journal takes on the disk, and will in time.
    #[serde(default)]
    pub journal_bytes: u64,
    /// How full the fullest part of its journal is; room is made when it is needed, so a full one may be in order.
    pub journal_used_percent: u64,
    /// `sync`, `os` or `none`.
    pub durability: String,
    /// Replicas it has a link to, itself not counted.
    pub links_up: Vec<u16>,
    /// Replicas it has no link to, and why.
    pub links_down: Vec<LinkDown>,
    /// When those of `links_up` were last heard.
    #[serde(default)]
    pub heard: Vec<Heard>,
    /// Clients connected.
    pub clients: u64,
    /// What it counts, by the name of its series: that of its metric, with microseconds for seconds, and its label.
    pub counters: Vec<(String, u64)>,
    /// What goes up and down, by the name of its series, besides what has a field of its own.
    #[serde(default)]
    pub gauges: Vec<(String, u64)>,
    /// How long things took, by the name of their series.
    #[serde(default)]
    pub taken: Vec<Taken>,
    /// If it lies on purpose: how often it told each of its lies, by name.
    #[serde(default)]
    pub lies: BTreeMap<String, u64>,
    /// What its operator should know and mend.
    pub warnings: Vec<String>,
    /// Alarms, the newest last; at most 64.
    pub alarms: Vec<String>,
    /// What other replicas are proven to have done, in this life or an earlier one; the folder keeps the proof.
    #[serde(default)]
    pub accused: Vec<String>,
    /// When it started, in microseconds of the wall clock: tells one run of a replica from the next.
    pub started: u64,
    /// Which program it runs.
    pub build: String,
}

/// What a replica may have forgotten: it votes in no earlier view, and in this one only above `high`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forgot {
    /// The last view it may have voted in.
    pub view: u64,
    /// The highest slot it may have voted at.
    pub high: u64,
}

/// How long something took.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// The name of its series, with microseconds for seconds.
    pub series: String,
    /// How long.
    #[serde(flatten, with = "spent")]
    pub spent: Spent,
}

/// Times as JSON. A program of another version may have other bounds: what we do not know, we do not read.
mod spent {
    use serde::{Deserializer, Serializer};

    use super::{Deserialize, PLACES, Serialize, Spent};

    #[derive(Serialize, Deserialize)]
    struct Told {
        sum_us: u64,
        count: u64,
        within: Vec<u64>,
    }

    pub(super) fn serialize<S: Serializer>(spent: &Spent, to: S) -> Result<S::Ok, S::Error> {
        Told { sum_us: spent.sum_us, count: spent.count, within: spent.within.to_vec() }.serialize(to)
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<Spent, D::Error> {
        let Told { sum_us, count, within } = Told::deserialize(from)?;
        let mut known = [0; PLACES];
        known.iter_mut().zip(within).for_each(|(known, told)| *known = told);
        Ok(Spent { sum_us, count, within: known })
    }
}

/// A link that is down.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkDown {
    /// The replica at its end.
    pub replica: u16,
    /// Why, as far as is known.
    pub why: String,
}

/// When a replica was last heard.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// The replica.
    pub replica: u16,
    /// Milliseconds since then.
    pub ms_ago: u64,
    /// Round-trip time to it in microseconds, as QUIC measures it.
    #[serde(default)]
    pub rtt_us: u64,
    /// Bytes that may be under way to it unacknowledged, as QUIC's congestion control allows.
    #[serde(default)]
    pub window_bytes: u64,
    /// Messages handed to the link to it since that came up.
    #[serde(default)]
    pub messages: u64,
    /// Their bytes.
    #[serde(default)]
    pub bytes: u64,
}

impl Status {
    /// A counter by name; all of them together if it has a label that the name does not say; 0 if there is none of that
    /// name.
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        let meant = |found: &str| {
            found.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('{'))
        };
        self.counters.iter().filter(|(found, _)| meant(found)).map(|(_, value)| value).sum()
    }

    /// How long something took, by the name of its series; nothing if there is none of that name.
    #[must_use]
    pub fn taken(&self, series: &str) -> Spent {
        let found = self.taken.iter().find(|taken| taken.series == series);
        found.map_or_else(Spent::default, |taken| taken.spent)
    }

    /// In the text form that Prometheus reads.
    #[must_use]
    pub fn prometheus(&self) -> String {
        exposition::text(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_with_a_label_is_found_as_it_is_and_as_a_part_of_all_of_them() {
        let named = |name: &str, value| (name.to_owned(), value);
        let counters = vec![
            named("quorate_lies_total{lie=\"mute\"}", 2),
            named("quorate_lies_total{lie=\"delay\"}", 3),
            named("quorate_lies_totally", 50),
            named("quorate_behind_total", 7),
        ];
        let status = Status { counters, ..Status::default() };
        assert_eq!(status.counter("quorate_lies_total{lie=\"mute\"}"), 2);
        assert_eq!(status.counter("quorate_lies_total"), 5);
        assert_eq!((status.counter("quorate_behind_total"), status.counter("quorate_behind")), (7, 0));
    }

    #[test]
    fn what_took_how_long_comes_through_json_and_a_longer_list_of_bounds_is_no_error() {
        let mut spent = Spent::default();
        spent.add(300, 2);
        let taken = vec![Taken { series: "quorate_agreement_microseconds".to_owned(), spent }];
        let status = Status { taken, ..Status::default() };
        let json = serde_json::to_string(&status).expect("a status is JSON");
        let back: Status = serde_json::from_str(&json).expect("and back");
        assert_eq!(back.taken("quorate_agreement_microseconds"), spent);
        assert_eq!(back.taken("quorate_other_microseconds"), Spent::default());
        let longer = json.replace("\"within\":[", "\"within\":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,");
        assert_ne!(longer, json);
        let back: Status = serde_json::from_str(&longer).expect("more bounds than we know");
        assert_eq!(back.taken("quorate_agreement_microseconds").within.iter().sum::<u64>(), 16);
    }
}
