//! What a running node counts and measures, by the names of its series. The page of metrics says what each means.

use quorate_host::border::Kind;
use quorate_host::disk::Disk;
use quorate_host::spent::Spent;
use quorate_protocol::process::Alarm;
use quorate_protocol::verify::Invalid;

use super::Node;
use crate::status::Taken;
use crate::transport::{Counter, Counters, LinkReport, RefusalKind};

/// Words for the classes of streams, by their index.
const CLASSES: [&str; 3] = ["votes", "proposals", "bulk"];

/// Series and their values.
type Series = Vec<(String, u64)>;

/// Alarms raised so far, of each kind.
#[derive(Debug, Default)]
pub(super) struct AlarmCounts([u64; AlarmCounts::KINDS.len()]);

impl AlarmCounts {
    const KINDS: [&str; 11] = [
        "conflicting_prepares",
        "conflicting_commits",
        "conflicting_checkpoints",
        "conflicting_view_changes",
        "conflicting_new_views",
        "withheld",
        "agreement",
        "diverged",
        "split",
        "clock",
        "unremembered",
    ];

    pub(super) fn count(&mut self, alarm: &Alarm) {
        let kind = match alarm {
            Alarm::ConflictingPrepares(..) => 0,
            Alarm::ConflictingCommits(..) => 1,
            Alarm::ConflictingCheckpoints(..) => 2,
            Alarm::ConflictingViewChanges(..) => 3,
            Alarm::ConflictingNewViews(..) => 4,
            Alarm::Withheld(..) => 5,
            Alarm::Agreement { .. } => 6,
            Alarm::Diverged { .. } => 7,
            Alarm::Split { .. } => 8,
            Alarm::ClockDisagrees { .. } => 9,
            Alarm::Unremembered { .. } => 10,
        };
        self.0[kind] += 1;
    }
}

impl<D: Disk + Send + 'static> Node<D> {
    /// What goes up and down, besides what has a field of its own in a status.
    pub(super) fn gauges(&self) -> Series {
        let (replica, transfers) = (self.host.replica(), self.host.transfer_counters());
        let unverified = self.host.border().requests() + self.verification.waiting();
        let unexecuted = self.host.tasks_left() + self.executing.waiting();
        let stalled_us = match self.host.disk_stands_since() {
            Some(since) if self.host.waiting_for_disk() > 0 => self.clock.now().since(since),
            _ => 0,
        };
        named([
            ("quorate_progress_timeout_microseconds", replica.waiting().timeout_us),
            ("quorate_unverified_messages", unverified as u64),
            ("quorate_unexecuted_tasks", unexecuted as u64),
            ("quorate_sessions", self.host.counters().sessions),
            ("quorate_disk_stalled_microseconds", stalled_us),
            ("quorate_transfer_leases", transfers.leases),
            ("quorate_transfer_last_microseconds", transfers.last_us),
        ])
        .chain(resident_bytes().map(|bytes| ("quorate_process_resident_bytes".to_owned(), bytes)))
        .collect()
    }

    /// How long things took. The host's clock ends when it hands a reply to its link; the transport times the rest.
    pub(super) fn taken(&self) -> Vec<Taken> {
        let (times, journal) = (self.host.phase_times(), self.writing.report().unwrap_or(self.journal));
        let reply = self.links.transport.counters().client_waits.get();
        let phases = [
            ("request", times.request),
            ("pre_prepare", times.pre_prepare),
            ("prepare", times.prepare),
            ("commit", times.commit),
            ("execute", times.execute),
            ("reply", reply),
        ];
        let taken = |series: String, spent: Spent| Taken { series, spent };
        let mut all: Vec<Taken> = phases
            .into_iter()
            .map(|(phase, spent)| taken(labelled("quorate_phase_microseconds", "phase", phase), spent))
            .collect();
        all.push(taken("quorate_agreement_microseconds".to_owned(), times.agreement));
        all.push(taken("quorate_journal_sync_microseconds".to_owned(), journal.synced));
        all
    }

    /// What only grows.
    pub(super) fn counters(&self, links: &[LinkReport]) -> Series {
        let mut all: Series = self.counted_by_protocol().collect();
        all.extend(self.counted_at_the_border());
        all.extend(self.counted_on_disk());
        all.extend(self.counted_by_transfers());
        let transport = self.links.transport.counters();
        all.extend(counted_by_links(transport));
        all.extend(packets(transport, links));
        // Of an honest replica there is nothing to count, not even a zero.
        let lies = self.sins.told(&self.host);
        all.extend(lies.into_iter().map(|(lie, count)| (labelled("quorate_lies_total", "lie", &lie), count)));
        all.extend(self.emulation.iter().flat_map(|emulation| named(emulation.counters().named())));
        all
    }

    fn counted_by_protocol(&self) -> impl Iterator<Item = (String, u64)> {
        let (protocol, host) = (self.host.replica().counters(), self.host.counters());
        let plain = named([
            ("quorate_batches_committed_total", protocol.committed),
            ("quorate_requests_committed_total", protocol.committed_requests),
            ("quorate_operations_committed_total", protocol.committed_operations),
            ("quorate_operations_executed_total", host.operations),
            ("quorate_batches_proposed_total", protocol.proposed),
            ("quorate_view_changes_total", protocol.view_changes),
            ("quorate_slow_primaries_total", protocol.slow_primaries),
            ("quorate_slices_judged_total", protocol.slices_judged),
            ("quorate_stable_checkpoints_total", protocol.stable_checkpoints),
            ("quorate_fetches_total", protocol.fetches),
            ("quorate_statements_signed_total", host.signed),
            ("quorate_messages_repeated_total", host.repeated),
            ("quorate_retries_known_total", host.retries_known),
            ("quorate_requests_busy_total", host.busy),
            ("quorate_queries_total", host.queries),
            ("quorate_queries_unanswered_total", host.queries_unanswered),
            ("quorate_behind_total", host.behind),
        ]);
        plain.chain(by_kind(
            "quorate_alarms_total",
            "kind",
            AlarmCounts::KINDS.into_iter().zip(self.alarmed.0),
        ))
    }

    fn counted_at_the_border(&self) -> impl Iterator<Item = (String, u64)> {
        let (host, border) = (self.host.counters(), self.host.border().counters());
        let invalid = Invalid::KINDS.into_iter().zip(host.invalid_by_kind);
        let over_allowance = Kind::NAMES.into_iter().zip(border.over_allowance);
        let plain = named([
            ("quorate_signatures_verified_total", self.checks.iter().map(|checks| checks.signatures).sum()),
            ("quorate_signature_equations_total", self.checks.iter().map(|checks| checks.equations).sum()),
            ("quorate_frames_refused_total", self.refused_frames),
            ("quorate_admin_requests_refused_total", self.admin.refused()),
            ("quorate_frames_malformed_total", border.malformed),
            ("quorate_frames_truncated_total", border.truncated),
            ("quorate_frames_trailing_total", border.trailing),
            ("quorate_frames_not_canonical_total", border.not_canonical),
            ("quorate_frames_too_long_total", border.too_long),
            ("quorate_messages_of_impostors_total", border.impostors),
            ("quorate_messages_crowded_out_total", border.crowded_out),
            ("quorate_votes_useless_total", border.useless),
            ("quorate_votes_overdue_total", border.overdue),
            ("quorate_view_changes_repeated_total", border.repeated),
            ("quorate_peer_sent_frames_total", host.frames_out),
            ("quorate_peer_sent_bytes_total", host.bytes_out),
            ("quorate_client_received_frames_total", host.client_frames_in),
            ("quorate_client_received_bytes_total", host.client_bytes_in),
            ("quorate_client_sent_frames_total", host.client_frames_out),
            ("quorate_client_sent_bytes_total", host.client_bytes_out),
        ]);
        let invalid = by_kind("quorate_messages_invalid_total", "kind", invalid);
        plain.chain(invalid).chain(by_kind("quorate_messages_over_allowance_total", "kind", over_allowance))
    }

    fn counted_on_disk(&self) -> impl Iterator<Item = (String, u64)> {
        let (journal, stored) =
            (self.writing.report().unwrap_or(self.journal).counters, self.storing.counters());
        named([
            ("quorate_journal_syncs_total", journal.syncs),
            ("quorate_journal_groups_total", journal.groups),
            ("quorate_journal_records_total", journal.records),
            ("quorate_journal_carried_records_total", journal.carried),
            ("quorate_journal_written_bytes_total", journal.bytes),
            ("quorate_superblock_stores_total", journal.superblocks),
            ("quorate_states_stored_total", stored.states),
            ("quorate_store_written_bytes_total", stored.bytes),
            ("quorate_store_moved_bytes_total", stored.moved_bytes),
            ("quorate_store_segments_deleted_total", stored.deleted),
            ("quorate_store_chunks_damaged_total", stored.damaged),
        ])
    }

    fn counted_by_transfers(&self) -> impl Iterator<Item = (String, u64)> {
        let transfers = self.host.transfer_counters();
        named([
            ("quorate_transfers_started_total", transfers.started),
            ("quorate_transfers_completed_total", transfers.completed),
            ("quorate_transfer_targets_moved_total", transfers.moved),
            ("quorate_transfer_chunks_total", transfers.chunks),
            ("quorate_transfer_bytes_total", transfers.fetched_bytes),
            ("quorate_transfer_chunks_reused_total", transfers.reused),
            ("quorate_transfer_pages_reused_total", transfers.reused_pages),
            ("quorate_transfer_reused_bytes_total", transfers.reused_bytes),
            ("quorate_transfer_answers_refused_total", transfers.refused),
            ("quorate_transfer_answers_overdue_total", transfers.stalled),
            ("quorate_transfer_sources_banned_total", transfers.banned),
            ("quorate_transfer_chunks_served_total", transfers.served_chunks),
            ("quorate_transfer_served_bytes_total", transfers.served_bytes),
            ("quorate_transfer_questions_dropped_total", transfers.questions_dropped),
        ])
    }
}

fn counted_by_links(transport: &Counters) -> impl Iterator<Item = (String, u64)> {
    let plain = named([
        ("quorate_links_up_total", transport.links_up.get()),
        ("quorate_links_down_total", transport.links_down.get()),
        ("quorate_links_knocked_for_total", transport.knocks.get()),
        ("quorate_links_of_rivals_total", transport.rivals.get()),
        ("quorate_dials_total", transport.dials.get()),
        ("quorate_handshakes_total", transport.handshakes.get()),
        ("quorate_handshakes_retried_total", transport.retries.get()),
        ("quorate_frames_unlinked_total", transport.frames_unlinked.get()),
        ("quorate_received_bytes_total", transport.bytes_in.get()),
        ("quorate_sent_bytes_total", transport.bytes_out.get()),
    ]);
    let by_class = |name, counters: &[Counter; 3]| {
        by_kind(name, "class", CLASSES.into_iter().zip([0, 1, 2].map(|class| counters[class].get())))
    };
    let received = by_class("quorate_frames_received_total", &transport.frames_in);
    let dropped = by_class("quorate_frames_dropped_total", &transport.frames_dropped);
    let refused = RefusalKind::ALL.map(|kind| (kind.name(), transport.refused(kind)));
    let by_others = RefusalKind::ALL.map(|kind| (kind.name(), transport.refused_by_others(kind)));
    let refused = by_kind("quorate_links_refused_total", "reason", refused);
    let by_others = by_kind("quorate_links_refused_by_others_total", "reason", by_others);
    plain.chain(received).chain(dropped).chain(refused).chain(by_others)
}

/// Packets of the links that have ended, and of those that are up.
fn packets(transport: &Counters, links: &[LinkReport]) -> impl Iterator<Item = (String, u64)> {
    let sent: u64 = links.iter().map(|link| link.packets_sent).sum();
    let lost: u64 = links.iter().map(|link| link.packets_lost).sum();
    named([
        ("quorate_packets_sent_total", transport.packets_sent.get().saturating_add(sent)),
        ("quorate_packets_lost_total", transport.packets_lost.get().saturating_add(lost)),
    ])
}

fn named<'a>(counted: impl IntoIterator<Item = (&'a str, u64)>) -> impl Iterator<Item = (String, u64)> {
    counted.into_iter().map(|(name, value)| (name.to_owned(), value))
}

fn by_kind(
    name: &'static str,
    label: &'static str,
    counted: impl IntoIterator<Item = (&'static str, u64)>,
) -> impl Iterator<Item = (String, u64)> {
    counted.into_iter().map(move |(kind, value)| (labelled(name, label, kind), value))
}

fn labelled(name: &str, label: &str, value: &str) -> String {
    format!("{name}{{{label}=\"{value}\"}}")
}

/// Memory of this process, where the system has a file about it.
fn resident_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes << 10)
}
