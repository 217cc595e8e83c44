//! What a run of the testbed comes to: a few lines for people, one JSON object for programs.

use std::path::Path;

use anyhow::Context as _;
use quorate_bench::audit::Audit;
use quorate_bench::limits::file_system_of;
use quorate_bench::load::LoadReport;
use quorate_node::status::Status;
use quorate_protocol::committee::faults;
use serde::Serialize;

use super::Args;
use super::cluster::Cluster;
use super::faults::FaultReport;
use super::rejoin::Rejoined;

/// Whether the replicas agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Their histories are equal up to every accepted answer and beyond; these few were gone on purpose.
    Agreement(Vec<u16>),
    /// These replicas' histories differ from the first one's.
    Diverged(Vec<u16>),
    /// These replicas did not come as far as accepted answers do, or as the others.
    Behind(Vec<u16>),
    /// The replicas that run agree, and this many operations got no answer.
    Unanswered(u64),
    /// They agree on a history that lacks acknowledged operations, or has some twice.
    Unfaithful { lost: u64, duplicated: u64 },
    /// No answer was accepted at all.
    NoProgress,
    /// These replicas did not answer.
    Unreachable(Vec<u16>),
    /// These replicas were gone on purpose, more than the cluster tolerates.
    TooFew(Vec<u16>),
}

impl Verdict {
    pub(crate) fn is_good(&self) -> bool {
        matches!(self, Self::Agreement(_))
    }

    fn sentence(&self, replicas: u16) -> String {
        match self {
            Self::Agreement(absent) => match absent.as_slice() {
                [] => "all replicas executed the same history".to_owned(),
                [_, more @ ..] => {
                    let there = usize::from(replicas).saturating_sub(absent.len());
                    let were = if more.is_empty() { "was" } else { "were" };
                    let gone = named(absent);
                    format!(
                        "{there} of {replicas} replicas executed the same history, {gone} {were} not there at the end"
                    )
                }
            },
            Self::Diverged(who) => {
                format!("DIVERGED: the histories of replicas {who:?} differ from replica 0's")
            }
            Self::Behind(who) => {
                format!("INCOMPLETE: replicas {who:?} did not catch up with the others in time")
            }
            Self::Unanswered(count) => format!(
                "STALLED: {count} operations were never answered; more replicas are gone than the cluster tolerates"
            ),
            Self::Unfaithful { lost, duplicated } => {
                format!("LOST: {lost} acknowledged operations are gone, and {duplicated} executed twice")
            }
            Self::NoProgress => "NO PROGRESS: no answer was accepted".to_owned(),
            Self::Unreachable(who) => format!("UNKNOWN: replicas {who:?} do not answer"),
            Self::TooFew(who) => format!(
                "UNKNOWN: {} of {replicas} replicas were not there at the end, more than the cluster tolerates",
                who.len()
            ),
        }
    }
}

/// `replica 0`, or `replicas 0 and 3`.
fn named(replicas: &[u16]) -> String {
    match replicas {
        [] => "nobody".to_owned(),
        [one] => format!("replica {one}"),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(ToString::to_string).collect();
            format!("replicas {} and {last}", first.join(", "))
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
    /// The longest of `recoveries_ms`; null if there is none.
    recovery_ms: Option<u64>,
    recovery_p50_ms: Option<u64>,
    recovery_p99_ms: Option<u64>,
    /// In order: from each strike at a primary to the first answer of a later view, and from each start of all replicas
    /// to the first answer.
    recoveries_ms: Vec<u64>,
    /// Everything that was done to replicas, in order.
    faults: Vec<FaultReport>,
    /// Each replica that came back: whether it caught up, and how soon.
    rejoined: Vec<Rejoined>,
    /// Operations whose answer was accepted and whose effect is gone from the replicated state; `failed` counts those
    /// that were not answered. Null if the state could not be read, or says nothing.
    lost: Option<u64>,
    /// Operations that executed more than once; null where nothing can tell (see the help of `quorate testbed`).
    duplicated: Option<u64>,
    /// Replicas that were killed or paused and did not come back.
    absent: Vec<u16>,
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

/// The smallest value that so many per cent of all do not exceed.
fn quantile(values: &[u64], per_cent: usize) -> Option<u64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * per_cent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// What a report is made of.
pub(crate) struct Run<'a> {
    pub(crate) load: &'a LoadReport,
    pub(crate) before: &'a [Option<Status>],
    pub(crate) after: &'a [Option<Status>],
    pub(crate) faults: Vec<FaultReport>,
    pub(crate) rejoined: Vec<Rejoined>,
    pub(crate) audit: Option<Audit>,
}

impl Run<'_> {
    /// What the audit found; where it cannot tell, what a replica that ran throughout counted.
    fn lost_and_duplicated(&self) -> (Option<u64>, Option<u64>) {
        let (load, executed) = (self.load, self.executed());
        let answered = load.submitted.saturating_sub(load.failed);
        let lost = executed.map(|executed| answered.saturating_sub(executed));
        let duplicated = executed.map(|executed| executed.saturating_sub(load.submitted));
        match self.audit {
            Some(audit) => (Some(audit.lost), audit.duplicated.or(duplicated)),
            None => (lost, duplicated),
        }
    }

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
    pub(crate) fn new(args: &Args, cluster: &Cluster, run: Run<'_>, verdict: Verdict) -> Self {
        let Run { load, before, after, .. } = run;
        let (lost, duplicated) = run.lost_and_duplicated();
        let verdict = match (lost.unwrap_or(0), duplicated.unwrap_or(0)) {
            (0, 0) => verdict,
            (lost, duplicated) if verdict.is_good() => Verdict::Unfaithful { lost, duplicated },
            _ => verdict,
        };
        let recoveries: Vec<u64> = run.faults.iter().filter_map(|fault| fault.recovery_ms).collect();
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
            recovery_ms: recoveries.iter().copied().max(),
            recovery_p50_ms: quantile(&recoveries, 50),
            recovery_p99_ms: quantile(&recoveries, 99),
            recoveries_ms: recoveries,
            faults: run.faults,
            rejoined: run.rejoined,
            lost,
            duplicated,
            absent: cluster.absent(),
            agreement: verdict.is_good(),
            sentence: verdict.sentence(args.replicas),
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
             latency      p50 {:.2} ms, p99 {:.2} ms, at most {:.2} ms\n\
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
            self.max_us as f64 / 1000.0,
            self.of_faults(),
            self.view_changes,
            self.frames_dropped,
            self.busy,
            self.retries,
            self.dissents,
            self.sentence,
        )
    }

    /// What was done to replicas and what came of it, where anything was done or lost.
    fn of_faults(&self) -> String {
        let mut text = String::new();
        for fault in &self.faults {
            text.push_str(&format!("fault        {}\n", told(fault)));
        }
        if let (true, Some(p50), Some(p99), Some(longest)) =
            (self.recoveries_ms.len() > 1, self.recovery_p50_ms, self.recovery_p99_ms, self.recovery_ms)
        {
            let count = self.recoveries_ms.len();
            let line =
                format!("{count} times, next answer after p50 {p50} ms, p99 {p99} ms, at most {longest} ms");
            text.push_str(&format!("recovery     {line}\n"));
        }
        if !self.rejoined.is_empty() {
            let (all, back) =
                (self.rejoined.len(), self.rejoined.iter().filter(|back| back.rejoined).count());
            let longest = self.rejoined.iter().filter_map(|back| back.after_ms).max();
            let soon = longest.map_or(String::new(), |ms| format!(", the slowest after {ms} ms"));
            text.push_str(&format!("rejoined     {back} of {all} replicas that came back caught up{soon}\n"));
        }
        let unknown = |count: Option<u64>| count.map_or("unknown".to_owned(), |count| count.to_string());
        let harmless =
            self.failed == 0 && self.lost == Some(0) && self.duplicated.is_none_or(|count| count == 0);
        if !self.faults.is_empty() || !harmless {
            text.push_str(&format!(
                "operations   {} unanswered, {} lost, {} executed twice\n",
                self.failed,
                unknown(self.lost),
                unknown(self.duplicated)
            ));
        }
        text
    }

    /// Writes the JSON object where it was asked for.
    pub(crate) fn write(&self, path: Option<&Path>) -> anyhow::Result<()> {
        let Some(path) = path else { return Ok(()) };
        let text = serde_json::to_string_pretty(self)?;
        if path == Path::new("-") {
            println!("{text}");
        } else {
            std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}

/// `after 3.2 s: kill 0, primary of view 4; next answer after 612 ms`.
fn told(fault: &FaultReport) -> String {
    let (at, deed) = (fault.at_ms as f64 / 1000.0, fault.deed.verb());
    if let Some(why) = &fault.could_not {
        return format!("after {at:.1} s: could not {deed} {why}");
    }
    let who: Vec<String> = fault.replicas.iter().map(ToString::to_string).collect();
    let who = who.join(", ");
    let reign = fault.primary_of_view.map_or(String::new(), |view| format!(", primary of view {view}"));
    let next = fault.recovery_ms.map_or(String::new(), |ms| format!("; next answer after {ms} ms"));
    format!("after {at:.1} s: {deed} {who}{reign}{next}")
}

#[cfg(test)]
mod tests {
    use super::super::plan::Deed;
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let values: Vec<u64> = (1..=50).rev().collect();
        assert_eq!([50, 99, 100].map(|per_cent| quantile(&values, per_cent)), [Some(25), Some(50), Some(50)]);
        assert_eq!((quantile(&[7], 50), quantile(&[], 50)), (Some(7), None));
    }

    #[test]
    fn a_fault_is_told_in_one_line() {
        let fault = FaultReport {
            at_ms: 3_212,
            deed: Deed::Kill,
            replicas: vec![0],
            could_not: None,
            primary_of_view: Some(4),
            recovery_ms: Some(612),
        };
        assert_eq!(told(&fault), "after 3.2 s: kill 0, primary of view 4; next answer after 612 ms");
        let (replicas, could_not) = (Vec::new(), Some("3: it was running".to_owned()));
        let vain = FaultReport {
            deed: Deed::Restart,
            replicas,
            could_not,
            primary_of_view: None,
            recovery_ms: None,
            ..fault
        };
        assert_eq!(told(&vain), "after 3.2 s: could not restart 3: it was running");
    }

    #[test]
    fn who_was_not_there_at_the_end_is_named() {
        for (absent, said) in [
            (vec![], "all replicas executed the same history"),
            (vec![0], "6 of 7 replicas executed the same history, replica 0 was not there at the end"),
            (
                vec![0, 3],
                "5 of 7 replicas executed the same history, replicas 0 and 3 were not there at the end",
            ),
        ] {
            assert_eq!(Verdict::Agreement(absent).sentence(7), said);
        }
    }
}
