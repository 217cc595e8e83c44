//! What a call costs: messages, signatures, syncs, processor time and time in each phase, from what replicas said of
//! themselves before and after the measured time.
//!
//! Everything is kept as whole sums, over all correct replicas and all runs of a point, and divided once, at the end. A
//! replica that lies is no replica that this counts; one that is gone at the end took what it counted with it; one that
//! was started again counts from its start.

use std::collections::BTreeMap;

use quorate_node::status::Status;
use serde::{Deserialize, Serialize};

use crate::record::{PhaseTime, Point};
use crate::worker::Usage;

mod links;
mod model;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub use self::links::Links;
pub use self::model::Shape;

/// The phases that replicas measure, in the order in which a call goes through them.
pub const PHASES: [&str; 6] = ["request", "pre-prepare", "prepare", "commit", "execute", "reply"];
/// What is left of a call's time: the client's own, and what the networks between it and the replicas take.
pub const CLIENT: &str = "client";

/// The name of threads that had ended when it was looked at, of which only the sum is known.
const ENDED: &str = "(ended)";

/// What was used during the measured time, as the system counts it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// Processor time in microseconds of the replicas' threads, by the names of those.
    pub threads_us: BTreeMap<String, u64>,
    /// Of all threads of correct replicas together, in microseconds.
    pub correct_us: u64,
    /// Processor time in microseconds of whatever calls.
    pub clients_us: u64,
    /// Most memory that a replica's process had.
    pub peak_memory_bytes: u64,
}

impl Used {
    /// Of the replicas' processes and the load, over the measured time; who is correct is said by `correct`.
    #[must_use]
    pub fn of(usage: &Usage, correct: &[u16], peak_memory_bytes: u64) -> Self {
        let mut threads_us = BTreeMap::new();
        let (mut ended_us, mut correct_us) = (0, 0);
        for (replica, process) in &usage.replicas {
            if correct.contains(replica) {
                correct_us += process.total_us;
            }
            for (thread, spent_us) in &process.threads_us {
                *threads_us.entry(thread.clone()).or_default() += spent_us;
            }
            let running: u64 = process.threads_us.values().sum();
            ended_us += process.total_us.saturating_sub(running);
        }
        if ended_us > 0 {
            threads_us.insert(ENDED.to_owned(), ended_us);
        }
        Self { threads_us, correct_us, clients_us: usage.load.total_us, peak_memory_bytes }
    }
}

/// What callers saw in the measured time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// Calls that were answered.
    pub calls: u64,
    /// Microseconds that these took, all together.
    pub latency_us: u64,
}

/// How long something took, summed over all that went through it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// All together, in microseconds.
    pub sum_us: u64,
    /// How many.
    pub count: u64,
}

/// Whole sums over correct replicas and runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Costs {
    /// Calls and their latency.
    pub served: Served,
    /// Signatures checked.
    pub signatures_verified: u64,
    /// Signatures made.
    pub signatures_made: u64,
    /// Frames sent to replicas.
    pub peer_frames: u64,
    /// Bytes of those.
    pub peer_bytes: u64,
    /// Frames to and from clients.
    pub client_frames: u64,
    /// Bytes of those.
    pub client_bytes: u64,
    /// Syncs of journals.
    pub syncs: u64,
    /// Batches committed, once for each replica.
    pub batches: u64,
    /// Requests in them.
    pub requests: u64,
    /// Operations in those.
    pub operations: u64,
    /// Replicas that were counted, once for each run.
    pub replicas: u64,
    /// Views left, at most by one replica, of all runs together.
    pub view_changes: u64,
    /// Frames that were given up because a lane was full.
    pub drops: u64,
    /// Packets of QUIC that were declared lost, and sent again.
    pub packets_lost: u64,
    /// What went over each link between replicas.
    pub links: Links,
    /// Time in each of [`PHASES`].
    pub phases: [Spent; PHASES.len()],
    /// Processor time and memory.
    pub used: Used,
}

impl Costs {
    /// Of one run: what replicas counted between two statuses of each.
    #[must_use]
    pub fn between(before: &[Status], after: &[Status], used: Used, served: Served) -> Self {
        let mut costs = Self { served, used, ..Self::default() };
        for after in after.iter().filter(|status| status.lies.is_empty()) {
            let mut first = before.iter().filter(|before| before.replica == after.replica);
            // The counters of a replica that was started again began at nothing.
            let before = first.find(|before| before.started == after.started);
            let grown = |name: &str| {
                let earlier = before.map_or(0, |before| before.counter(name));
                after.counter(name).saturating_sub(earlier)
            };
            costs.count(&grown);
            costs.links.count(before, after);
            for (spent, phase) in costs.phases.iter_mut().zip(PHASES) {
                let series = series_of(phase);
                let (now, earlier) = (after.taken(&series), before.map(|before| before.taken(&series)));
                let earlier = earlier.unwrap_or_default();
                spent.sum_us += now.sum_us.saturating_sub(earlier.sum_us);
                spent.count += now.count.saturating_sub(earlier.count);
            }
        }
        costs
    }

    /// Adds what one replica counted.
    fn count(&mut self, grown: &impl Fn(&str) -> u64) {
        self.replicas += 1;
        self.signatures_verified += grown("quorate_signatures_verified_total");
        self.signatures_made += grown("quorate_statements_signed_total");
        self.peer_frames += grown("quorate_peer_sent_frames_total");
        self.peer_bytes += grown("quorate_peer_sent_bytes_total");
        for way in ["received", "sent"] {
            self.client_frames += grown(&format!("quorate_client_{way}_frames_total"));
            self.client_bytes += grown(&format!("quorate_client_{way}_bytes_total"));
        }
        self.syncs += grown("quorate_journal_syncs_total");
        self.batches += grown("quorate_batches_committed_total");
        self.requests += grown("quorate_requests_committed_total");
        self.operations += grown("quorate_operations_committed_total");
        self.view_changes = self.view_changes.max(grown("quorate_view_changes_total"));
        self.drops += grown("quorate_frames_dropped_total");
        self.packets_lost += grown("quorate_packets_lost_total");
    }

    /// Adds another run of the same point.
    pub fn add(&mut self, run: &Self) {
        let Self { served, used, phases, links, .. } = self;
        links.add(&run.links);
        served.calls += run.served.calls;
        served.latency_us += run.served.latency_us;
        used.clients_us += run.used.clients_us;
        used.correct_us += run.used.correct_us;
        used.peak_memory_bytes = used.peak_memory_bytes.max(run.used.peak_memory_bytes);
        for (thread, spent) in &run.used.threads_us {
            *used.threads_us.entry(thread.clone()).or_default() += spent;
        }
        for (spent, more) in phases.iter_mut().zip(run.phases) {
            spent.sum_us += more.sum_us;
            spent.count += more.count;
        }
        let sums = [
            (&mut self.signatures_verified, run.signatures_verified),
            (&mut self.signatures_made, run.signatures_made),
            (&mut self.peer_frames, run.peer_frames),
            (&mut self.peer_bytes, run.peer_bytes),
            (&mut self.client_frames, run.client_frames),
            (&mut self.client_bytes, run.client_bytes),
            (&mut self.syncs, run.syncs),
            (&mut self.batches, run.batches),
            (&mut self.requests, run.requests),
            (&mut self.operations, run.operations),
            (&mut self.replicas, run.replicas),
            (&mut self.view_changes, run.view_changes),
            (&mut self.drops, run.drops),
            (&mut self.packets_lost, run.packets_lost),
        ];
        for (sum, more) in sums {
            *sum += more;
        }
    }

    /// Fills in the fields of a point that tell what its calls cost. Without a call that was answered they are zero.
    pub fn write_to(&self, point: &mut Point) {
        let calls = self.served.calls;
        point.signatures_verified_per_request = ratio(self.signatures_verified, calls);
        point.signatures_made_per_request = ratio(self.signatures_made, calls);
        point.messages_per_request = ratio(self.peer_frames + self.client_frames, calls);
        point.bytes_per_request = ratio(self.peer_bytes + self.client_bytes, calls);
        point.syncs_per_request = self.syncs_per_request();
        point.syncs_per_batch = ratio(self.syncs, self.batches);
        point.batch_mean = ratio(self.operations, self.batches);
        point.bundle_mean = ratio(self.operations, self.requests);
        point.view_changes = self.view_changes;
        point.drops = self.drops;
        point.peak_memory_bytes = self.used.peak_memory_bytes;
        let roles = self.roles_us();
        point.cpu_us_per_request = ratio(roles.values().sum(), calls);
        point.cpu_us_per_request_by_role =
            roles.into_iter().map(|(role, spent_us)| (role.to_owned(), ratio(spent_us, calls))).collect();
        point.cpu_us_per_request_per_replica = ratio(self.used.correct_us, self.operations);
        point.phases = self.phase_times();
        point.links = self.links.per(calls);
    }

    /// Each operation is committed once by each replica: so a replica's syncs per call are those of all by what all
    /// committed, and its processor time is, too.
    fn syncs_per_request(&self) -> f64 {
        ratio(self.syncs, self.operations)
    }

    /// Processor time by role, the callers' under `clients`.
    fn roles_us(&self) -> BTreeMap<&'static str, u64> {
        let mut roles = BTreeMap::from([("clients", self.used.clients_us)]);
        for (thread, spent_us) in &self.used.threads_us {
            *roles.entry(role_of(thread)).or_default() += spent_us;
        }
        roles
    }

    /// Mean times of the phases, and what is left of the calls' own mean. None where nothing was measured.
    fn phase_times(&self) -> Vec<PhaseTime> {
        if self.phases.iter().all(|spent| spent.count == 0) {
            return Vec::new();
        }
        let mean = |spent: &Spent| ratio(spent.sum_us, spent.count);
        let mut times: Vec<_> = PHASES
            .iter()
            .zip(&self.phases)
            .map(|(phase, spent)| PhaseTime { phase: (*phase).to_owned(), mean_us: mean(spent) })
            .collect();
        let replicas: f64 = self.phases.iter().map(mean).sum();
        let left = (ratio(self.served.latency_us, self.served.calls) - replicas).max(0.0);
        times.push(PhaseTime { phase: CLIENT.to_owned(), mean_us: left });
        times
    }
}

/// The name that a replica has for its times in a phase.
fn series_of(phase: &str) -> String {
    format!("quorate_phase_microseconds{{phase=\"{}\"}}", phase.replace('-', "_"))
}

/// The role of a thread of a replica's process, by its name. The thread that has none of its own is the program's first,
/// which runs the protocol and the network.
#[must_use]
pub fn role_of(thread: &str) -> &'static str {
    match thread {
        "verifier" => "verify",
        "execution" => "execute",
        "journal" => "journal",
        "store" => "store",
        quorate_node::emulation::THREAD => "emulation",
        ENDED => "other",
        // Look-ups and files that the runtime waits for elsewhere.
        _ if thread.starts_with("tokio-") => "blocking",
        _ => "protocol",
    }
}

fn ratio(sum: u64, count: u64) -> f64 {
    if count == 0 { 0.0 } else { sum as f64 / count as f64 }
}
