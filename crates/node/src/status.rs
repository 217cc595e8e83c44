//! What a replica says of itself to its operator.

mod help;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
    /// `normal`, `view-changing`, `behind` (it misses more than the others' logs hold, and cannot execute), `recovering`
    /// (it may have forgotten votes; see `forgot`), `diverged` (its state was wrong, and it fetches another), `out` (it
    /// executes and serves, and never votes or answers again; see `standing`) or `halted`.
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
    /// What it counts, by the name of its metric.
    pub counters: Vec<(String, u64)>,
    /// What goes up and down, by the name of its metric, besides what has a field of its own.
    #[serde(default)]
    pub gauges: Vec<(String, u64)>,
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
}

impl Status {
    /// A counter by name; 0 if there is none of that name.
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        self.counters.iter().find(|(found, _)| found == name).map_or(0, |(_, value)| *value)
    }

    /// In the text form that Prometheus reads.
    #[must_use]
    pub fn prometheus(&self) -> String {
        let mut text = String::new();
        let gauges = [
            ("quorate_view", self.view),
            ("quorate_low_watermark", self.low),
            ("quorate_high_watermark", self.high),
            ("quorate_committed_sequence", self.committed),
            ("quorate_executed_sequence", self.executed),
            ("quorate_pooled_operations", self.pooled),
            ("quorate_waiting_for_disk_messages", self.waiting_for_disk),
            ("quorate_state_bytes", self.state_bytes),
            ("quorate_snapshots_bytes", self.snapshots_bytes),
            ("quorate_journal_bytes", self.journal_bytes),
            ("quorate_journal_used_percent", self.journal_used_percent),
            ("quorate_peer_links_up", self.links_up.len() as u64),
            ("quorate_client_links_up", self.clients),
        ];
        for (name, value) in gauges {
            text.push_str(&self.metric("gauge", name, value));
        }
        for (name, value) in &self.gauges {
            text.push_str(&self.metric("gauge", name, *value));
        }
        for (name, value) in &self.counters {
            text.push_str(&self.metric("counter", name, *value));
        }
        text
    }

    fn metric(&self, kind: &str, name: &str, value: u64) -> String {
        let help = help::help(name).map_or(String::new(), |help| format!("# HELP {name} {help}.\n"));
        format!("{help}# TYPE {name} {kind}\n{name}{{replica=\"{}\"}} {value}\n", self.replica)
    }
}
