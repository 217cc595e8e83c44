//! What a run of the testbed comes to: a few lines for people, one JSON object for programs.

use std::path::Path;
use std::time::Duration;

use quorate_bench::limits::file_system_of;
use quorate_bench::load::LoadReport;
use quorate_node::status::Status;
use quorate_protocol::committee::faults;
use serde::Serialize;

use super::Args;
use super::cluster::Cluster;

/// Whether the replicas agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Their histories are equal up to every accepted answer and beyond.
    Agreement,
    /// These replicas' histories differ from the first one's.
    Diverged(Vec<u16>),
    /// These replicas did not come as far as accepted answers do, or as the others.
    Behind(Vec<u16>),
    /// These replicas miss more than the others' logs still hold.
    TooFarBehind(Vec<u16>),
    /// The replicas that run agree, and this many operations got no answer.
    Unanswered(u64),
    /// No answer was accepted at all.
    NoProgress,
    /// These replicas did not answer.
    Unreachable(Vec<u16>),
}

impl Verdict {
    fn sentence(&self) -> String {
        match self {
            Self::Agreement => "all replicas executed the same history".to_owned(),
            Self::Diverged(who) => {
                format!("DIVERGED: the histories of replicas {who:?} differ from replica 0's")
            }
            Self::Behind(who) => {
                format!("INCOMPLETE: replicas {who:?} did not catch up with the others in time")
            }
            Self::TooFarBehind(who) => format!(
                "INCOMPLETE: replicas {who:?} were away for longer than the others keep their log, and the state \
                 itself cannot be fetched yet"
            ),
            Self::Unanswered(count) => format!(
                "STALLED: {count} operations were never answered; more replicas are gone than the cluster tolerates"
            ),
            Self::NoProgress => "NO PROGRESS: no answer was accepted".to_owned(),
            Self::Unreachable(who) => format!("UNKNOWN: replicas {who:?} do not answer"),
        }
    }
}

/// One run. Field names are part of the interface.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    replicas: u16,
    f: usize,
    application: String,
    payload_bytes: u32,
    clients: u16,
    in_flight: u16,
    bundle_max: u16,
    durability: String,
    file_system: String,
    duration_s: f64,
    pub(crate) matched: u64,
    failed: u64,
    throughput_rps: f64,
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
    batch_mean: f64,
    bundle_mean: f64,
    /// Signatures that all replicas together checked, alone or in batches, for each operation.
    signatures_verified_per_operation: f64,
    statements_signed: u64,
    syncs_per_batch: f64,
    peer_frames_per_batch: f64,
    frames_dropped: u64,
    busy: u64,
    retries: u64,
    dissents: u64,
    view_changes: u64,
    /// From a primary's death to the first answer of a later view; null if no primary was killed.
    recovery_ms: Option<u64>,
    /// Operations that were answered and did not execute; `failed` counts those that were not answered.
    lost: u64,
    /// Operations that executed more often than they were called; null if no replica ran throughout.
    duplicated: Option<u64>,
    pub(crate) agreement: bool,
    #[serde(rename = "verdict")]
    sentence: String,
    #[serde(skip)]
    pub(crate) verdict: Verdict,
    build: String,
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// What a report is made of.
pub(crate) struct Run<'a> {
    pub(crate) load: &'a LoadReport,
    pub(crate) before: &'a [Option<Status>],
    pub(crate) after: &'a [Option<Status>],
    pub(crate) recovery: Option<Duration>,
}

impl Run<'_> {
    /// Operations that executed for the first time during the load, on a replica that ran throughout.
    fn executed(&self) -> Option<u64> {
        let name = "quorate_operations_executed_total";
        let both = self.before.iter().zip(self.after).filter_map(|(before, after)| {
            let (before, after) = (before.as_ref()?, after.as_ref()?);
            // A replica that was started again has begun to count anew.
            let throughout = after.started == before.started;
            throughout.then(|| after.counter(name).saturating_sub(before.counter(name)))
        });
        both.max()
    }
}

impl Report {
    pub(crate) fn new(args: &Args, cluster: &Cluster, run: &Run<'_>, verdict: Verdict) -> Self {
        let Run { load, before, after, .. } = *run;
        let counted = |name: &str, statuses: &[Option<Status>]| -> u64 {
            statuses.iter().flatten().map(|status| status.counter(name)).sum()
        };
        let grown = |name: &str| counted(name, after).saturating_sub(counted(name, before));
        let batches = grown("quorate_batches_committed_total");
        let operations = grown("quorate_operations_committed_total");
        let seconds = load.measured.as_secs_f64();
        Self {
            replicas: args.replicas,
            f: faults(usize::from(args.replicas)),
            application: args.application.clone(),
            payload_bytes: args.payload,
            clients: args.clients,
            in_flight: args.in_flight,
            bundle_max: args.bundle,
            durability: args.durability.to_string(),
            file_system: file_system_of(cluster.folder())
                .map_or_else(|| "unknown".to_owned(), |found| found.kind),
            duration_s: seconds,
            matched: load.matched,
            failed: load.failed,
            throughput_rps: if seconds > 0.0 { load.matched as f64 / seconds } else { 0.0 },
            p50_us: load.latency.value_at_quantile(0.5),
            p99_us: load.latency.value_at_quantile(0.99),
            max_us: load.latency.max(),
            batch_mean: share(operations, batches),
            bundle_mean: share(load.operations, load.bundles),
            signatures_verified_per_operation: share(grown("quorate_signatures_verified_total"), operations)
                * f64::from(args.replicas),
            statements_signed: grown("quorate_statements_signed_total"),
            syncs_per_batch: share(grown("quorate_journal_syncs_total"), batches),
            peer_frames_per_batch: share(grown("quorate_peer_frames_out_total"), batches)
                * f64::from(args.replicas),
            frames_dropped: grown("quorate_frames_dropped_total"),
            busy: grown("quorate_requests_busy_total"),
            retries: load.retries,
            dissents: load.dissents,
            view_changes: after.iter().flatten().map(|status| status.view).max().unwrap_or(0),
            recovery_ms: run.recovery.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
            lost: run
                .executed()
                .map_or(0, |executed| load.submitted.saturating_sub(load.failed).saturating_sub(executed)),
            duplicated: run.executed().map(|executed| executed.saturating_sub(load.submitted)),
            agreement: verdict == Verdict::Agreement,
            sentence: verdict.sentence(),
            verdict,
            build: quorate_node::BUILD.to_owned(),
        }
    }

    /// For people.
    pub(crate) fn summary(&self) -> String {
        let Self { replicas, f, clients, in_flight, application, payload_bytes, .. } = self;
        format!(
            "{replicas} replicas (f = {f}), {clients} clients with {in_flight} calls in flight, application \
             {application}, {payload_bytes} B\n\
             durability {} on {}, mean batch {:.1} operations, mean bundle {:.1}, {:.2} signatures checked per \
             operation\n\n\
             matched      {} operations in {:.1} s: {:.0} per second\n\
             latency      p50 {:.2} ms, p99 {:.2} ms\n\
             {}trouble      {} view changes, {} dropped frames, {} busy, {} retries, {} dissents\n\
             verdict      {}",
            self.durability,
            self.file_system,
            self.batch_mean,
            self.bundle_mean,
            self.signatures_verified_per_operation,
            self.matched,
            self.duration_s,
            self.throughput_rps,
            self.p50_us as f64 / 1000.0,
            self.p99_us as f64 / 1000.0,
            self.faults(),
            self.view_changes,
            self.frames_dropped,
            self.busy,
            self.retries,
            self.dissents,
            self.sentence,
        )
    }

    /// A line about what was lost, where anything was killed or lost.
    fn faults(&self) -> String {
        let duplicated = self.duplicated.map_or("unknown".to_owned(), |count| count.to_string());
        match self.recovery_ms {
            None if self.lost + self.failed == 0 && self.duplicated.is_none_or(|count| count == 0) => {
                String::new()
            }
            None => format!(
                "faults       {} operations unanswered, {} lost, {duplicated} executed twice\n",
                self.failed, self.lost
            ),
            Some(took) => format!(
                "faults       next answer {took} ms after the primary's death, {} operations \
                 unanswered, {} lost, {duplicated} executed twice\n",
                self.failed, self.lost
            ),
        }
    }

    /// Writes the JSON object where it was asked for.
    pub(crate) fn write(&self, path: Option<&Path>) -> anyhow::Result<()> {
        let Some(path) = path else { return Ok(()) };
        let text = serde_json::to_string_pretty(self)?;
        if path == Path::new("-") {
            println!("{text}");
        } else {
            std::fs::write(path, text + "\n")?;
        }
        Ok(())
    }
}
