//! What a running node says of itself.

use quorate_host::border::Kind;
use quorate_host::disk::Disk;
use quorate_host::journal::Shape;
use quorate_protocol::replica::Replica;
use quorate_protocol::standing::Standing;
use quorate_protocol::verify::Invalid;

use super::{Node, amnesia, measures};
use crate::status::{Forgot, Heard, LinkDown, Status};
use crate::transport::{LinkReport, RefusalKind, Remote};
use crate::why::{Waiting, Why};

/// A replica says something every second. One that was silent for so long over a link that is up may be gone, though
/// the link does not know it yet; in microseconds.
const SILENT_US: u64 = 2_000_000;

impl<D: Disk + Send + 'static> Node<D> {
    pub(super) fn status(&self) -> Status {
        let replica = self.host.replica();
        let (low, high) = replica.watermarks();
        let (links, now) = (self.links.transport.links(), self.clock.now());
        let stored = self.storing.counters();
        let mut status = Status {
            replica: replica.id().0,
            replicas: u16::try_from(replica.context().committee.size()).unwrap_or(u16::MAX),
            epoch: replica.context().epoch.0,
            view: replica.view().0,
            primary: replica.primary().0,
            status: status_word(replica).to_owned(),
            transfer: self.host.transfer_progress().map_or_else(String::new, |progress| progress.to_string()),
            cluster: replica.context().cluster.0.to_string(),
            low: low.0,
            high: high.0,
            committed: replica.committed().0,
            executed: replica.executed().0,
            pooled: replica.pooled(),
            waiting_for_disk: self.host.waiting_for_disk() as u64,
            state_bytes: stored.state_bytes,
            snapshots_bytes: stored.used_bytes,
            journal_bytes: Shape::of(&replica.context().parameters, replica.context().committee.size())
                .file_bytes(),
            journal_used_percent: self.writing.counters().unwrap_or(self.journal).used_percent,
            durability: self.durability.to_string(),
            clients: self.links.keys.len() as u64,
            counters: self.counters(&links),
            gauges: self.gauges(&links),
            lies: self.sins.told(&self.host),
            forgot: replica.amnesia().map(|forgot| Forgot { view: forgot.view.0, high: forgot.high.0 }),
            warnings: self.warnings.iter().cloned().chain(amnesia::words(replica, self.forgot)).collect(),
            alarms: self.alarms.clone(),
            accused: self
                .host
                .accused()
                .iter()
                .map(|(offence, id)| format!("replica {id} {offence}"))
                .collect(),
            started: self.started.0,
            build: crate::BUILD.to_owned(),
            ..Status::default()
        };
        if replica.lacks_room() {
            let why = "its journal has no room for more batches: it votes for no new ones until a checkpoint is stable";
            status.warnings.push(why.to_owned());
        }
        let standing = replica.standing();
        if standing != Standing::Normal {
            status.standing = standing.to_string();
            status.warnings.push(format!("what its past leaves of this replica's word: {standing}"));
        }
        // Who is bound itself has said so.
        status.warnings.extend(amnesia::too_many(replica).filter(|_| !replica.is_bound()));
        for link in links {
            let Remote::Replica(replica) = link.remote else { continue };
            status.alarms.extend(link.rivals.map(|places| amnesia::rivals(replica, places)));
            if link.up {
                status.links_up.push(replica.0);
                let heard = self.peers.last_heard(replica).map_or(0, |heard| now.since(heard));
                let rtt_us =
                    link.round_trip.map_or(0, |time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
                status.heard.push(Heard { replica: replica.0, ms_ago: heard / 1000, rtt_us });
            } else {
                let why = link.trouble.unwrap_or_else(|| "not reached yet".to_owned());
                status.links_down.push(LinkDown { replica: replica.0, why });
            }
        }
        status
    }

    /// What this replica waits for: the protocol's reasons, and those of the world around it.
    pub(super) fn why(&self) -> Why {
        let (replica, now) = (self.host.replica(), self.clock.now());
        let mut waits: Vec<Waiting> = replica.waits(now).into_iter().map(Waiting::from).collect();
        let kept = self.host.waiting_for_disk();
        if let Some(since) = self.host.disk_stands_since().filter(|_| kept > 0) {
            let messages = if kept == 1 { "message" } else { "messages" };
            let what = format!("its disk: {kept} {messages} must not leave before it has synced");
            waits.push(Waiting::outside("disk", what, Some(now.since(since))));
        }
        if let Some(progress) = self.host.transfer_progress() {
            waits.push(Waiting::transfer(&progress));
        }
        for link in self.links.transport.links() {
            let Remote::Replica(other) = link.remote else { continue };
            let changed = self.peers.changed(other).unwrap_or(self.started);
            let heard = self.peers.last_heard(other).map_or(0, |heard| now.since(heard));
            if !link.up {
                let why = link.trouble.unwrap_or_else(|| "not reached yet".to_owned());
                let what = format!("a link to replica {other}: {why}");
                waits.push(Waiting::outside("link", what, Some(now.since(changed))).of(other));
            } else if heard > SILENT_US {
                let what = format!("a word of replica {other} (stopped or killed?)");
                waits.push(Waiting::outside("silence", what, Some(heard)).of(other));
            }
        }
        // Who waits for somebody else does not wait for nothing.
        if waits.len() > 1 {
            waits.retain(|wait| wait.reason != "idle");
        }
        Why {
            cluster: replica.context().cluster.0.to_string(),
            replica: replica.id().0,
            view: replica.view().0,
            primary: replica.primary().0,
            status: status_word(replica).to_owned(),
            timeout_ms: replica.waiting().timeout_us / 1000,
            waits,
        }
    }

    fn gauges(&self, links: &[LinkReport]) -> Vec<(String, u64)> {
        let transfers = self.host.transfer_counters();
        let named = [
            ("quorate_transfer_leases", transfers.leases),
            ("quorate_transfer_last_microseconds", transfers.last_us),
        ];
        let mut all: Vec<_> = named.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        all.extend(links.iter().filter_map(measures::round_trip));
        all
    }

    fn counters(&self, links: &[LinkReport]) -> Vec<(String, u64)> {
        let protocol = self.host.replica().counters();
        let host = self.host.counters();
        let border = self.host.border().counters();
        let transfers = self.host.transfer_counters();
        let journal = self.writing.counters().unwrap_or(self.journal);
        let stored = self.storing.counters();
        let mut named = vec![
            ("quorate_batches_committed_total", protocol.committed),
            ("quorate_requests_committed_total", protocol.committed_requests),
            ("quorate_operations_committed_total", protocol.committed_operations),
            ("quorate_operations_executed_total", host.operations),
            ("quorate_batches_proposed_total", protocol.proposed),
            ("quorate_view_changes_total", protocol.view_changes),
            ("quorate_slow_primaries_total", protocol.slow_primaries),
            ("quorate_slices_judged_total", protocol.slices_judged),
            ("quorate_stable_checkpoints_total", protocol.stable_checkpoints),
            ("quorate_alarms_total", protocol.alarms),
            ("quorate_accusations_total", self.host.accused().len() as u64),
            ("quorate_fetches_total", protocol.fetches),
            ("quorate_statements_signed_total", host.signed),
            ("quorate_signatures_verified_total", self.checks.iter().map(|checks| checks.signatures).sum()),
            ("quorate_signature_equations_total", self.checks.iter().map(|checks| checks.equations).sum()),
            ("quorate_messages_invalid_total", host.invalid),
            ("quorate_frames_refused_total", self.refused_frames),
            ("quorate_frames_malformed_total", border.malformed),
            ("quorate_frames_truncated_total", border.truncated),
            ("quorate_frames_trailing_total", border.trailing),
            ("quorate_frames_not_canonical_total", border.not_canonical),
            ("quorate_frames_too_long_total", border.too_long),
            ("quorate_messages_of_impostors_total", border.impostors),
            ("quorate_votes_useless_total", border.useless),
            ("quorate_votes_overdue_total", border.overdue),
            ("quorate_view_changes_repeated_total", border.repeated),
            ("quorate_messages_crowded_out_total", border.crowded_out),
            ("quorate_retries_known_total", host.retries_known),
            ("quorate_requests_busy_total", host.busy),
            ("quorate_peer_frames_out_total", host.frames_out),
            ("quorate_peer_bytes_out_total", host.bytes_out),
            ("quorate_client_frames_in_total", host.client_frames_in),
            ("quorate_client_bytes_in_total", host.client_bytes_in),
            ("quorate_client_frames_out_total", host.client_frames_out),
            ("quorate_client_bytes_out_total", host.client_bytes_out),
            ("quorate_journal_syncs_total", journal.syncs),
            ("quorate_journal_bytes_total", journal.bytes),
            ("quorate_journal_groups_total", journal.groups),
            ("quorate_states_stored_total", stored.states),
            ("quorate_store_bytes_total", stored.bytes),
            ("quorate_store_bytes_moved_total", stored.moved_bytes),
            ("quorate_store_segments_deleted_total", stored.deleted),
            ("quorate_store_chunks_damaged_total", stored.damaged),
            ("quorate_behind_total", host.behind),
            ("quorate_transfers_started_total", transfers.started),
            ("quorate_transfers_completed_total", transfers.completed),
            ("quorate_transfer_targets_moved_total", transfers.moved),
            ("quorate_transfer_chunks_total", transfers.chunks),
            ("quorate_transfer_bytes_total", transfers.fetched_bytes),
            ("quorate_transfer_chunks_reused_total", transfers.reused),
            ("quorate_transfer_pages_reused_total", transfers.reused_pages),
            ("quorate_transfer_bytes_reused_total", transfers.reused_bytes),
            ("quorate_transfer_answers_refused_total", transfers.refused),
            ("quorate_transfer_answers_overdue_total", transfers.stalled),
            ("quorate_transfer_sources_banned_total", transfers.banned),
            ("quorate_transfer_chunks_served_total", transfers.served_chunks),
            ("quorate_transfer_bytes_served_total", transfers.served_bytes),
            ("quorate_transfer_questions_dropped_total", transfers.questions_dropped),
        ];
        let transport = self.links.transport.counters();
        named.extend([
            ("quorate_links_up_total", transport.links_up.get()),
            ("quorate_links_down_total", transport.links_down.get()),
            ("quorate_handshakes_total", transport.handshakes.get()),
            ("quorate_links_knocked_for_total", transport.knocks.get()),
            ("quorate_links_of_rivals_total", transport.rivals.get()),
            ("quorate_frames_dropped_total", transport.frames_dropped.iter().map(|count| count.get()).sum()),
        ]);
        named.extend(measures::packets(transport, links));
        named.extend(measures::phases(self.host.phase_times(), transport));
        let mut all: Vec<_> = named.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let kinds = Invalid::KINDS.into_iter().zip(host.invalid_by_kind);
        all.extend(kinds.map(|(kind, count)| (format!("quorate_messages_invalid_{kind}_total"), count)));
        let kinds = Kind::NAMES.into_iter().zip(border.over_allowance);
        all.extend(
            kinds.map(|(kind, count)| (format!("quorate_messages_over_allowance_{kind}_total"), count)),
        );
        let name = |kind: RefusalKind| format!("quorate_links_refused_{}_total", kind.name());
        all.extend(RefusalKind::ALL.map(|kind| (name(kind), transport.refused(kind))));
        let by_others = RefusalKind::ALL.map(|kind| transport.refused_by_others(kind)).iter().sum();
        all.push(("quorate_links_refused_by_others_total".to_owned(), by_others));
        // Of an honest replica there is nothing to count, not even a zero.
        let lies = self.sins.told(&self.host);
        if !lies.is_empty() {
            all.push(("quorate_lies_total".to_owned(), lies.values().sum()));
        }
        let name = |sin: String| format!("quorate_lies_{}_total", sin.replace('-', "_"));
        all.extend(lies.into_iter().map(|(sin, count)| (name(sin), count)));
        let emulated = self.emulation.iter().flat_map(|emulation| emulation.counters().named());
        all.extend(emulated.map(|(name, count)| (name.to_owned(), count)));
        all
    }
}

fn status_word(replica: &Replica) -> &'static str {
    match replica.status() {
        quorate_protocol::replica::Status::Halted => "halted",
        quorate_protocol::replica::Status::Out => "out",
        quorate_protocol::replica::Status::Diverged => "diverged",
        _ if replica.is_bound() => "recovering",
        _ if replica.behind() => "behind",
        // Without a box it never is.
        quorate_protocol::replica::Status::Recovering => "recovering",
        quorate_protocol::replica::Status::Normal => "normal",
        quorate_protocol::replica::Status::ViewChanging => "view-changing",
    }
}
