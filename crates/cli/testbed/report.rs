//! What a run of the testbed comes to: a few lines for people, one JSON object for programs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use quorate_bench::audit::Audit;
use quorate_bench::cluster::{Cluster, Lying, Verdict};
use quorate_bench::limits::file_system_of;
use quorate_bench::load::LoadReport;
use quorate_node::status::Status;
use quorate_protocol::committee::faults;
use serde::Serialize;

use super::Args;
use super::against::{Against, Earlier};
use super::amount::told as bytes_told;
use super::demand::Prepared;
use super::faults::FaultReport;
use super::machine::{MachineUse, machine_use};
use super::phases::{PhaseReport, phases};
use super::proofs::{lines as proof_lines, proofs};
use super::rejoin::Rejoined;
use super::web::PageDeed;

/// Returns that are told one by one.
const RETURNS_MAX: usize = 4;

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
    #[serde(flatten)]
    prepared: Prepared,
    hot_per_cent: u8,
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
    /// Checkpoints that became stable during the run, at the replica that saw most of them.
    checkpoints: u64,
    /// Latency while somebody was gone and came back, against that before; empty if nobody was.
    phases: Vec<PhaseReport>,
    /// The longest of `recoveries_ms`; null if there is none.
    recovery_ms: Option<u64>,
    recovery_p50_ms: Option<u64>,
    recovery_p99_ms: Option<u64>,
    /// In order: from each strike at a primary to the first answer of a later view, and from each start of all replicas
    /// to the first answer.
    recoveries_ms: Vec<u64>,
    /// Everything that was done to replicas, in order.
    faults: Vec<FaultReport>,
    /// What was done at the live page, in order; kills and restarts are among the faults as well.
    page_deeds: Vec<PageDeed>,
    /// Each replica that came back: whether it caught up, and how soon.
    rejoined: Vec<Rejoined>,
    /// Operations whose answer was accepted and whose effect is gone from the replicated state; `failed` counts those
    /// that were not answered. Null if the state could not be read, or says nothing.
    lost: Option<u64>,
    /// Operations that executed more than once; null where nothing can tell (see the help of `quorate testbed`).
    duplicated: Option<u64>,
    /// Who lied on purpose, and how often.
    pub(crate) lies: Vec<Lying>,
    /// What the others hold proof of that a replica did, and who holds it.
    proofs: BTreeMap<String, Vec<u16>>,
    #[serde(skip)]
    folder: Option<PathBuf>,
    /// Replicas that were killed or paused and did not come back.
    absent: Vec<u16>,
    /// Memory and disk.
    #[serde(flatten)]
    machine: MachineUse,
    /// Against the earlier run that was named; null if none was.
    against: Option<Against>,
    pub(crate) agreement: bool,
    #[serde(rename = "verdict")]
    sentence: String,
    /// What was promised no more, and why, if somebody at the page let more replicas lie than the cluster bears; null
    /// otherwise.
    promise_lost: Option<String>,
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
    pub(crate) statuses: Statuses<'a>,
    pub(crate) faults: Vec<FaultReport>,
    pub(crate) page_deeds: Vec<PageDeed>,
    pub(crate) rejoined: Vec<Rejoined>,
    pub(crate) audit: Option<Audit>,
    pub(crate) prepared: Prepared,
    pub(crate) lies: Vec<Lying>,
    /// What was promised until more lied than the cluster bears.
    pub(crate) lost: Option<String>,
}

/// What the replicas said of themselves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Statuses<'a> {
    /// Before any operation but the clients' first.
    pub(crate) at_start: &'a [Option<Status>],
    /// Before the run.
    pub(crate) before: &'a [Option<Status>],
    /// After it.
    pub(crate) after: &'a [Option<Status>],
}

impl Statuses<'_> {
    /// By how much a counter has grown during the run, all replicas together.
    fn grown(&self, name: &str) -> u64 {
        let counted = |statuses: &[Option<Status>]| -> u64 {
            statuses.iter().flatten().map(|status| status.counter(name)).sum()
        };
        counted(self.after).saturating_sub(counted(self.before))
    }

    /// By how much it has grown at each replica that ran all the time since `since`.
    fn grown_at(self, since: &[Option<Status>], name: &str) -> impl Iterator<Item = u64> {
        since.iter().zip(self.after).filter_map(move |(before, after)| {
            let (before, after) = (before.as_ref()?, after.as_ref()?);
            // A replica that was started again has begun to count anew.
            let throughout = after.started == before.started;
            throughout.then(|| after.counter(name).saturating_sub(before.counter(name)))
        })
    }
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

    /// Operations that executed for the first time since the clients' first, on a replica that ran throughout.
    fn executed(&self) -> Option<u64> {
        self.statuses.grown_at(self.statuses.at_start, "quorate_operations_executed_total").max()
    }
}

impl Report {
    pub(crate) fn new(
        (args, payload): (&Args, u32),
        cluster: &Cluster,
        run: Run<'_>,
        verdict: Verdict,
    ) -> Self {
        let Run { load, statuses, .. } = run;
        let (lost, duplicated) = run.lost_and_duplicated();
        let verdict = match (lost.unwrap_or(0), duplicated.unwrap_or(0)) {
            (0, 0) => verdict,
            (lost, duplicated) if verdict.is_good() => Verdict::Unfaithful { lost, duplicated },
            _ => verdict,
        };
        let idle: Vec<u16> =
            run.lies.iter().filter(|lying| lying.told_none()).map(|lying| lying.replica).collect();
        let idle: Vec<u16> = idle.into_iter().filter(|replica| cluster.liars().must_lie(*replica)).collect();
        let verdict = if verdict.is_good() && !idle.is_empty() { Verdict::NoLie(idle) } else { verdict };
        let recoveries: Vec<u64> = run.faults.iter().filter_map(|fault| fault.recovery_ms).collect();
        let grown = |name: &str| statuses.grown(name);
        let batches = grown("quorate_batches_committed_total");
        let operations = grown("quorate_operations_committed_total");
        let checkpoints = statuses.grown_at(statuses.before, "quorate_stable_checkpoints_total");
        let seconds = load.measured.as_secs_f64();
        Self {
            replicas: args.replicas,
            f: faults(usize::from(args.replicas)),
            application: args.application.clone(),
            payload_bytes: payload,
            clients: args.clients,
            in_flight: args.in_flight,
            bundle_max: args.bundle,
            durability: args.durability.to_string(),
            file_system: cluster
                .folder()
                .and_then(|folder| file_system_of(&folder))
                .map_or_else(|| "unknown".to_owned(), |found| found.kind),
            prepared: run.prepared,
            hot_per_cent: args.hot.unwrap_or(100),
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
            peer_frames_per_batch: share(grown("quorate_peer_sent_frames_total"), batches)
                * f64::from(args.replicas),
            frames_dropped: grown("quorate_frames_dropped_total"),
            busy: grown("quorate_requests_busy_total"),
            retries: load.retries,
            dissents: load.dissents,
            view_changes: statuses.after.iter().flatten().map(|status| status.view).max().unwrap_or(0),
            checkpoints: checkpoints.max().unwrap_or(0),
            phases: phases(&load.phases),
            recovery_ms: recoveries.iter().copied().max(),
            recovery_p50_ms: quantile(&recoveries, 50),
            recovery_p99_ms: quantile(&recoveries, 99),
            recoveries_ms: recoveries,
            faults: run.faults,
            page_deeds: run.page_deeds,
            rejoined: run.rejoined,
            lost,
            duplicated,
            lies: run.lies,
            proofs: proofs(statuses.after),
            folder: args.folder.clone(),
            absent: cluster.absent(),
            machine: machine_use(&cluster.footprints(), statuses.after),
            against: None,
            agreement: verdict.is_good(),
            sentence: verdict.sentence(args.replicas),
            promise_lost: run.lost,
            verdict,
            build: quorate_node::BUILD.to_owned(),
        }
    }

    /// Holds it against an earlier one, if there is one.
    pub(crate) fn compare(&mut self, earlier: Option<(Earlier, &Path)>) {
        let found = (self.throughput_rps, self.p99_us);
        self.against = earlier.map(|(earlier, path)| earlier.compare(path, found));
    }

    /// For people.
    pub(crate) fn summary(&self) -> String {
        let Self { replicas, f, clients, in_flight, application, payload_bytes, .. } = self;
        let calling = match self.prepared.rate {
            Some(rate) => format!("that call {rate:.0} times a second"),
            None => format!("with {in_flight} calls in flight"),
        };
        format!(
            "{replicas} replicas (f = {f}), {clients} clients {calling}, application {application}, {payload_bytes} B\n\
             durability {} on {}, mean batch {:.1} operations, mean bundle {:.1}, {:.2} signatures checked per \
             operation\n\n\
             {}matched      {} operations in {:.1} s: {:.0} per second\n\
             latency      p50 {:.2} ms, p99 {:.2} ms, at most {:.2} ms\n\
             {}{}{}{}\
             verdict      {}{}",
            self.durability,
            self.file_system,
            self.batch_mean,
            self.bundle_mean,
            self.signatures_verified_per_operation,
            self.of_preparation(),
            self.matched,
            self.duration_s,
            self.throughput_rps,
            self.p50_us as f64 / 1000.0,
            self.p99_us as f64 / 1000.0,
            self.max_us as f64 / 1000.0,
            self.of_comparison(),
            self.of_faults(),
            self.machine.lines(self.checkpoints),
            self.of_trouble(),
            self.sentence,
            self.promise_lost.as_ref().map_or(String::new(), |lost| format!("\npromise      {lost}")),
        )
    }

    /// What was there before the run, where anything was.
    fn of_preparation(&self) -> String {
        let Prepared { preloaded_keys, preloaded_bytes, preload_s, peak, rate } = self.prepared;
        let mut text = String::new();
        if preloaded_keys > 0 {
            let bytes = bytes_told(preloaded_bytes);
            text.push_str(&format!("preloaded    {bytes} in {preloaded_keys} keys, in {preload_s:.1} s\n"));
        }
        if let Some(peak) = peak {
            text.push_str(&format!(
                "peak         {peak:.0} per second, with {} calls in flight\n",
                self.in_flight
            ));
        }
        // Half a per cent may be due and not sent when the load ends.
        if let Some(rate) = rate.filter(|rate| self.throughput_rps < 0.98 * rate) {
            let share = 100.0 * self.throughput_rps / rate;
            text.push_str(&format!(
                "fell behind  {share:.0} % of the operations that were due were answered\n"
            ));
        }
        text
    }

    /// What went wrong on the way, and how often.
    fn of_trouble(&self) -> String {
        let s = |count: u64| if count == 1 { "" } else { "s" };
        let Self { view_changes, frames_dropped, busy, retries, dissents, .. } = *self;
        let retries_told = if retries == 1 { "retry" } else { "retries" };
        format!(
            "trouble      {view_changes} view change{}, {frames_dropped} dropped frame{}, {busy} busy, {retries} \
             {retries_told}, {dissents} dissent{}\n",
            s(view_changes),
            s(frames_dropped),
            s(dissents),
        )
    }

    /// How it compares with an earlier run, where one was named.
    fn of_comparison(&self) -> String {
        self.against.as_ref().map_or(String::new(), |against| against.line() + "\n")
    }

    /// What was done to replicas and what came of it, where anything was done or lost.
    fn of_faults(&self) -> String {
        let mut text = String::new();
        for phase in &self.phases {
            text.push_str(&format!("{}\n", phase.line()));
        }
        for fault in &self.faults {
            text.push_str(&format!("fault        {}\n", told(fault)));
        }
        for line in self.page_deeds.iter().filter_map(PageDeed::line) {
            text.push_str(&format!("page         {line}\n"));
        }
        if let (true, Some(p50), Some(p99), Some(longest)) =
            (self.recoveries_ms.len() > 1, self.recovery_p50_ms, self.recovery_p99_ms, self.recovery_ms)
        {
            let count = self.recoveries_ms.len();
            let line =
                format!("{count} times, next answer after p50 {p50} ms, p99 {p99} ms, at most {longest} ms");
            text.push_str(&format!("recovery     {line}\n"));
        }
        text.push_str(&self.of_returns());
        for lying in &self.lies {
            text.push_str(&format!("lies         {}\n", lying.line()));
        }
        text.push_str(&proof_lines(&self.proofs, self.folder.as_deref()));
        let unknown = |count: Option<u64>| count.map_or("unknown".to_owned(), |count| count.to_string());
        let harmless =
            self.failed == 0 && self.lost == Some(0) && self.duplicated.is_none_or(|count| count == 0);
        if !self.faults.is_empty() || !self.lies.is_empty() || !harmless {
            text.push_str(&format!(
                "operations   {} unanswered, {} lost, {} executed twice\n",
                self.failed,
                unknown(self.lost),
                unknown(self.duplicated)
            ));
        }
        text
    }

    /// Who came back, and what that took: each of a few, or all together.
    fn of_returns(&self) -> String {
        if self.rejoined.len() <= RETURNS_MAX {
            return self.rejoined.iter().map(|back| format!("rejoined     {}\n", back.line())).collect();
        }
        let (all, back) = (self.rejoined.len(), self.rejoined.iter().filter(|back| back.rejoined).count());
        let longest = self.rejoined.iter().filter_map(|back| back.after_ms).max();
        let soon = longest.map_or(String::new(), |ms| format!(", the slowest after {ms} ms"));
        format!("rejoined     {back} of {all} replicas that came back caught up{soon}\n")
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
    use quorate_bench::cluster::Deed;

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
}
