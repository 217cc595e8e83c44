//! What a running node says of itself.

use quorate_host::disk::Disk;
use quorate_protocol::replica::Replica;
use quorate_protocol::verify::Invalid;

use super::Node;
use crate::status::{LinkDown, Status};
use crate::transport::{RefusalKind, Remote};

impl<D: Disk + Send + 'static> Node<D> {
    pub(super) fn status(&self) -> Status {
        let replica = self.host.replica();
        let (low, high) = replica.watermarks();
        let links = self.links.transport.links();
        let mut status = Status {
            replica: replica.id().0,
            replicas: u16::try_from(replica.context().committee.size()).unwrap_or(u16::MAX),
            epoch: replica.context().epoch.0,
            view: replica.view().0,
            primary: replica.primary().0,
            status: status_word(replica).to_owned(),
            cluster: replica.context().cluster.0.to_string(),
            low: low.0,
            high: high.0,
            committed: replica.committed().0,
            executed: replica.executed().0,
            pooled: replica.pooled(),
            waiting_for_disk: self.host.waiting_for_disk() as u64,
            durability: self.durability.to_string(),
            clients: self.links.keys.len() as u64,
            counters: self.counters(),
            warnings: self.warnings.clone(),
            alarms: self.alarms.clone(),
            started: self.started.0,
            build: crate::BUILD.to_owned(),
            ..Status::default()
        };
        for link in links {
            let Remote::Replica(replica) = link.remote else { continue };
            if link.up {
                status.links_up.push(replica.0);
            } else {
                let why = link.trouble.unwrap_or_else(|| "not reached yet".to_owned());
                status.links_down.push(LinkDown { replica: replica.0, why });
            }
        }
        status
    }

    fn counters(&self) -> Vec<(String, u64)> {
        let protocol = self.host.replica().counters();
        let host = self.host.counters();
        let border = self.host.border().counters();
        let journal = self.writing.counters().unwrap_or(self.journal);
        let mut named = vec![
            ("quorate_batches_committed_total", protocol.committed),
            ("quorate_requests_committed_total", protocol.committed_requests),
            ("quorate_operations_committed_total", protocol.committed_operations),
            ("quorate_operations_executed_total", host.operations),
            ("quorate_batches_proposed_total", protocol.proposed),
            ("quorate_view_changes_total", protocol.view_changes),
            ("quorate_stable_checkpoints_total", protocol.stable_checkpoints),
            ("quorate_alarms_total", protocol.alarms),
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
            ("quorate_retries_known_total", host.retries_known),
            ("quorate_requests_busy_total", host.busy),
            ("quorate_peer_frames_out_total", host.frames_out),
            ("quorate_peer_bytes_out_total", host.bytes_out),
            ("quorate_journal_syncs_total", journal.syncs),
            ("quorate_journal_bytes_total", journal.bytes),
            ("quorate_journal_groups_total", journal.groups),
            ("quorate_behind_total", host.behind),
        ];
        let transport = self.links.transport.counters();
        named.extend([
            ("quorate_links_up_total", transport.links_up.get()),
            ("quorate_links_down_total", transport.links_down.get()),
            ("quorate_handshakes_total", transport.handshakes.get()),
            ("quorate_frames_dropped_total", transport.frames_dropped.iter().map(|count| count.get()).sum()),
        ]);
        let mut all: Vec<_> = named.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let kinds = Invalid::KINDS.into_iter().zip(host.invalid_by_kind);
        all.extend(kinds.map(|(kind, count)| (format!("quorate_messages_invalid_{kind}_total"), count)));
        let name = |kind: RefusalKind| format!("quorate_links_refused_{}_total", kind.name());
        all.extend(RefusalKind::ALL.map(|kind| (name(kind), transport.refused(kind))));
        let by_others = RefusalKind::ALL.map(|kind| transport.refused_by_others(kind)).iter().sum();
        all.push(("quorate_links_refused_by_others_total".to_owned(), by_others));
        all
    }
}

fn status_word(replica: &Replica) -> &'static str {
    match replica.status() {
        quorate_protocol::replica::Status::Halted => "halted",
        _ if replica.behind() => "behind",
        quorate_protocol::replica::Status::Normal => "normal",
        quorate_protocol::replica::Status::ViewChanging => "view-changing",
    }
}
