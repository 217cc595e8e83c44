//! What a running node says of itself.

use quorate_host::disk::Disk;
use quorate_host::journal::Shape;
use quorate_host::lane::LaneCounts;
use quorate_protocol::replica::Replica;
use quorate_protocol::standing::Standing;

use super::{Node, amnesia};
use crate::status::{Forgot, Heard, LinkDown, Status};
use crate::transport::Remote;
use crate::why::{Waiting, Why};

/// A replica says something every second. One that was silent for so long over a link that is up may be gone, though
/// the link does not know it yet; in microseconds.
const SILENT_US: u64 = 2_000_000;

impl<D: Disk + Send + 'static> Node<D> {
    pub(super) fn status(&self) -> Status {
        let replica = self.host.replica();
        let (low, high) = replica.watermarks();
        let (links, now) = (self.links.reports(), self.clock.now());
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
            journal_used_percent: self.writing.report().unwrap_or(self.journal).counters.used_percent,
            durability: self.durability.to_string(),
            clients: self.links.keys.len() as u64,
            counters: self.counters(&links),
            gauges: self.gauges(),
            taken: self.taken(),
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
                let sum = |of: fn(&LaneCounts) -> u64| link.lanes.iter().map(|(_, lane)| of(lane)).sum();
                status.heard.push(Heard {
                    replica: replica.0,
                    ms_ago: heard / 1000,
                    rtt_us,
                    window_bytes: link.window_bytes,
                    messages: sum(|lane| lane.sent_frames),
                    bytes: sum(|lane| lane.sent_bytes),
                });
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
        for link in self.links.reports() {
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
}

fn status_word(replica: &Replica) -> &'static str {
    match replica.status() {
        quorate_protocol::replica::Status::Halted => "halted",
        quorate_protocol::replica::Status::Out => "out",
        quorate_protocol::replica::Status::Diverged => "diverged",
        _ if replica.is_bound() => "recovering",
        // Whoever stops is not waited for, whatever else it is about.
        _ if replica.is_retiring() => "stopping",
        _ if replica.behind() => "behind",
        // Without a box it never is.
        quorate_protocol::replica::Status::Recovering => "recovering",
        quorate_protocol::replica::Status::Normal => "normal",
        quorate_protocol::replica::Status::ViewChanging => "view-changing",
    }
}
