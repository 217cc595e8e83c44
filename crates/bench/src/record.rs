//! What a benchmark found: everything that reports draw, files keep and `bench diff` compares.
//!
//! Field names are part of the interface: `points.json` is this, and the columns of `points.csv` are the plain fields of
//! a [`Point`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::limits::Limits;

/// One figure, measured: the whole of `points.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What the figure is called.
    pub title: String,
    /// What it shows, in a sentence or two; empty if nobody said.
    #[serde(default)]
    pub about: String,
    /// Which pictures its report has, in order, by the names that a figure's file has for them; none means all.
    #[serde(default)]
    pub draw: Vec<String>,
    /// The file it was made from, whole.
    pub configuration: String,
    /// When, where and by which program.
    pub provenance: Provenance,
    /// What the machine could do at most, measured in the same run.
    pub limits: Limits,
    /// One for each cell of the figure, in the order they were asked for.
    pub points: Vec<Point>,
}

/// Where figures come from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// Wall clock at the beginning, RFC 3339, UTC.
    pub began: String,
    /// Seconds the whole took.
    pub took_s: f64,
    /// Commit the program was built from, with `-dirty` if the tree had changes; empty if unknown.
    pub commit: String,
    /// The command, as it was given.
    pub command: String,
    /// File system of the replicas' data folders.
    pub file_system: String,
    /// Machines that took part, by name; one for a run on one machine.
    pub machines: Vec<String>,
    /// What a reader has to know: the machine was busy, socket buffers are small, and the like.
    pub warnings: Vec<String>,
}

/// What was asked for: the coordinates of a point.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Byzantine replicas tolerated.
    pub f: u16,
    /// Replicas.
    pub n: u16,
    /// What goes wrong, as the figure says it: `none`, `crash:f`, `silent:1`, `equivocate-primary`, ...
    pub scenario: String,
    /// Name of the emulated network, `loopback` for none.
    pub network: String,
    /// Bytes of each operation.
    pub payload: u32,
    /// Bytes of each reply.
    pub reply: u32,
    /// `sync`, `os` or `none`.
    pub durability: String,
    /// What the replicas run.
    pub application: String,
    /// `open` (calls are due at a rate) or `closed` (each client keeps calls in flight).
    pub load: String,
    /// Independent clients.
    pub clients: u16,
    /// Calls each may have in flight (open loop: at most; closed loop: always).
    pub in_flight: u16,
    /// Most operations the client library puts under one signature.
    pub bundle: u16,
    /// Most operations in a batch.
    pub batch: u32,
    /// Slots between the watermarks.
    pub window: u32,
    /// Slots between checkpoints, K.
    pub checkpoint_interval: u32,
    /// First timeout of a view, T0, in milliseconds.
    pub timeout_ms: u32,
    /// Which roles have threads of their own.
    pub layout: String,
    /// Batches that may be in agreement at once.
    pub pipeline: u32,
    /// The 99th percentile of latency that still counts as sustained, in milliseconds.
    pub p99_limit_ms: u32,
    /// Which load it is measured at: `peak` (the most that is sustained), a share of that such as `50%`, calls per
    /// second such as `5000`, or `closed`.
    pub rate: String,
}

/// One point: medians over its runs, intervals, and why it is where it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Its coordinates.
    #[serde(flatten)]
    pub cell: Cell,
    /// Why it has no number; then all numbers are zero.
    pub problem: Option<String>,
    /// Calls due per second.
    pub offered_rps: f64,
    /// Calls per second whose f+1 matching replies reached their client within the measured time: the median of runs.
    pub throughput_rps: f64,
    /// Lower end of the interval of `throughput_rps` at 95 %.
    pub ci_low: f64,
    /// Upper end.
    pub ci_high: f64,
    /// Latency from when a call was due, in microseconds: medians over runs of each run's quantile.
    pub p50_us: f64,
    /// 99 of 100 calls were faster.
    pub p99_us: f64,
    /// 999 of 1000 calls were faster.
    pub p999_us: f64,
    /// Signatures checked by correct replicas, all together, per call.
    pub signatures_verified_per_request: f64,
    /// Signatures made by correct replicas, all together, per call.
    pub signatures_made_per_request: f64,
    /// Frames between correct replicas and clients, per call.
    pub messages_per_request: f64,
    /// Bytes of those.
    pub bytes_per_request: f64,
    /// Syncs of a correct replica's journal per call, mean over replicas.
    pub syncs_per_request: f64,
    /// Syncs of a correct replica's journal per batch.
    pub syncs_per_batch: f64,
    /// Processor time of all replicas and clients per call, in microseconds.
    pub cpu_us_per_request: f64,
    /// Operations in a batch.
    pub batch_mean: f64,
    /// Operations in a request, which is what a client signs.
    pub bundle_mean: f64,
    /// Whether replicas outnumber cores: then the point tells of the machine as well. It is no measurement; what ran out
    /// is in `saturated_by`.
    pub cpu_bound: bool,
    /// Processor time of all replicas and clients for each second of load: how many cores were at work. A report shows it
    /// beside `saturated_by`.
    #[serde(default)]
    pub cores_used: f64,
    /// What kept the point from more, in words to be shown as they are: `processor` (more than 90 % of the cores were at
    /// work), `clients` (more than 3 % of the calls left late, for want of room at their clients), `latency limit` (more
    /// load was answered, but too late); empty if none of them is known to have.
    #[serde(default)]
    pub saturated_by: String,
    /// How the search for the load ended, to be shown beside a peak: `bracketed` (a load that is `search_gap` higher was
    /// too much), `out of trials` (as `bracketed`, but the gap is wider than was asked for, or nothing was too much yet
    /// and the gap is 0: the peak may be higher), `unsaturated` (the most that can be offered was borne), `nothing
    /// sustained`; empty where nothing was searched for, or the search was broken off.
    #[serde(default)]
    pub search_end: String,
    /// By how much the lowest load that was too much is above the one that was borne: 0.05 for 5 %. 0 if none was.
    #[serde(default)]
    pub search_gap: f64,
    /// Runs that were within the limits: 99 % of the calls that were answered were fast enough, and 98 % of those due were
    /// answered. Of a peak it is the majority at least; a report says so where it is not all of them.
    #[serde(default)]
    pub runs_within: u32,
    /// Whether the histories of all correct replicas were the same, in every run.
    pub agreement: bool,
    /// What became of the calls, all runs together.
    pub calls: Calls,
    /// Views that correct replicas left, at most by one of them, all runs together.
    pub view_changes: u64,
    /// Frames dropped because a lane was full, all runs together.
    pub drops: u64,
    /// Requests sent again by clients, all runs together.
    pub retransmissions: u64,
    /// Most memory that a replica's process had.
    pub peak_memory_bytes: u64,
    /// Processor time per call in microseconds, by role: `verify`, `journal`, `clients`, ...
    pub cpu_us_per_request_by_role: BTreeMap<String, f64>,
    /// Processor time of one correct replica per operation that it committed, in microseconds: what faults cost those who
    /// have none.
    pub cpu_us_per_request_per_replica: f64,
    /// Mean time a call spends in each phase, in order, in microseconds.
    pub phases: Vec<PhaseTime>,
    /// How often each lie was told by those who lie, all runs together.
    pub lies: BTreeMap<String, u64>,
    /// What the analytic model says of this cell.
    pub model: Model,
    /// On an emulated network: what the network says, and whether that is what was measured.
    #[serde(default)]
    pub network_check: NetworkCheck,
    /// What went over each link from one replica to another, as those say that do not lie.
    #[serde(default)]
    pub links: Vec<LinkCost>,
    /// The offered loads that were tried on the way to the point; empty where the load was given.
    pub search: Vec<Trial>,
    /// The runs that medians are of.
    pub runs: Vec<Run>,
    /// What a reader of this point has to know, in sentences to be shown with it.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// An emulated network, checked against what was measured on it. All zero on the machine's own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct NetworkCheck {
    /// Median latency that the messages of a call alone cause, in microseconds: what is above it are queues, processors and
    /// disks. 0 where nobody can say, such as while the primary is silent.
    pub expected_p50_us: f64,
    /// Round trips between two correct replicas each that were measured before the load, all runs together.
    pub round_trips: u64,
    /// Those that were not what the network says, in words.
    pub off: Vec<String>,
    /// Datagrams that correct replicas lost by the network's chance, all runs together.
    pub lost: u64,
    /// Those they dropped because too many bytes waited for a link.
    pub dropped: u64,
    /// How much later than they were due delayed datagrams left under load, in microseconds: the mean over runs.
    pub late_us: f64,
}

/// What went over one link between replicas, one way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct LinkCost {
    /// Who sent.
    pub from: u16,
    /// Who received.
    pub to: u16,
    /// Round-trip time in microseconds as QUIC measured it at rest, before the load; 0 if it had not yet.
    pub round_trip_us: f64,
    /// Messages for each call.
    pub messages_per_request: f64,
    /// Their bytes for each call.
    pub bytes_per_request: f64,
}

/// What became of calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calls {
    /// Due.
    pub offered: u64,
    /// Sent.
    pub sent: u64,
    /// Answered by f+1 matching replies.
    pub matched: u64,
    /// Never answered.
    pub timed_out: u64,
    /// Sent more than 10 ms after they were due, for want of room at the client.
    pub missed_schedule: u64,
}

/// One phase of a call's way.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PhaseTime {
    /// `request`, `pre-prepare`, `prepare`, `commit`, `execute`, `reply`, and `client`, which is what is left.
    pub phase: String,
    /// Mean, in microseconds.
    pub mean_us: f64,
}

/// What the message pattern alone says of a cell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Model {
    /// Frames per batch among replicas.
    pub messages_per_batch: f64,
    /// Signatures checked per batch, all replicas together, those of clients not counted.
    pub verifications_per_batch: f64,
    /// Bytes that the primary sends for each call.
    pub primary_bytes_per_request: f64,
    /// Calls per second that signatures leave possible on this machine at the measured batch and bundle size.
    pub ceiling_rps: f64,
}

/// One offered load of a search.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Calls due per second.
    pub offered_rps: f64,
    /// Calls answered per second.
    pub throughput_rps: f64,
    /// Median latency in microseconds.
    pub p50_us: f64,
    /// 99 % of calls were faster.
    pub p99_us: f64,
    /// The part of the calls due within the measured time that was answered, from 0 to 1. Records of earlier programs do
    /// not say, and have 0.
    #[serde(default)]
    pub answered_share: f64,
    /// Whether it was within the limits: p99, and 98 % of the calls that were due.
    pub sustained: bool,
}

/// One run of a point.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Calls answered per second.
    pub throughput_rps: f64,
    /// Quantiles of latency in microseconds.
    pub p50_us: f64,
    /// 99 %.
    pub p99_us: f64,
    /// 99.9 %.
    pub p999_us: f64,
    /// Whether throughput was steady: the second half of the measured time within 10 % of the first.
    pub steady: bool,
    /// Whether p99 and goodput were within the limits of the cell.
    #[serde(default)]
    pub within: bool,
    /// The newest view of a correct replica just before the measured time.
    #[serde(default)]
    pub view_at_start: u64,
    /// The same once the load was over.
    #[serde(default)]
    pub view_at_end: u64,
    /// Name of the file with its whole latency histogram, beside the report.
    pub histogram: String,
    /// What happened when.
    pub series: Vec<Moment>,
    /// What was done, and seen, at which moment.
    pub marks: Vec<Mark>,
}

/// A tenth of a second or so of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// Seconds since the measured time began.
    pub at_s: f64,
    /// Calls answered per second.
    pub throughput_rps: f64,
    /// 99 % of those were faster, in microseconds.
    pub p99_us: f64,
}

/// Something that happened in a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// Seconds since the measured time began.
    pub at_s: f64,
    /// `fault`, `detection`, `view change` or `recovery`.
    pub what: String,
    /// In words.
    pub detail: String,
}
