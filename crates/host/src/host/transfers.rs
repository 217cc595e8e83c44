//! What a host does about states that travel: its replica wants one, others ask for those that are here.

use quorate_protocol::certificate::Certificate;
use quorate_protocol::executor::{RestoreError, State};
use quorate_protocol::message::{Checkpoint, PeerMessage};
use quorate_protocol::process::Event;
use quorate_protocol::signed::Verified;
use quorate_protocol::types::{Digest, ReplicaId, Seq, Time};

use super::{Arc, BTreeMap, Class, Host, Link, Request, Screening, Task, encode};
use crate::transfer::{Counters, Progress};

/// States that wait for the disk at most.
const STATES_MAX: usize = 2;

/// Why a replica stops although the state it fetched is the one that a quorum certified.
#[derive(Debug, thiserror::Error)]
#[error(
    "the state after slot {seq}, which a quorum certified, cannot be installed: {why}; restart this replica, with the \
     same program as the others if it is another"
)]
pub struct InstallError {
    /// The slot.
    pub seq: Seq,
    /// What is wrong with it here.
    pub why: RestoreError,
}

fn is_of(installing: &BTreeMap<Seq, Digest>, state: &State) -> bool {
    installing.get(&state.seq) == Some(&state.root)
}

impl Host {
    /// Keeps states that were found at the start, to be served.
    pub fn shelve(&mut self, states: Vec<State>) {
        for state in states {
            self.transfers.shelve(state);
        }
        self.transfers.stable(self.replica.watermarks().0);
    }

    /// How far the current state transfer has come, if one has begun.
    #[must_use]
    pub fn transfer_progress(&self) -> Option<Progress> {
        self.transfers.progress()
    }

    /// What was transferred so far, both ways.
    #[must_use]
    pub fn transfer_counters(&self) -> Counters {
        self.transfers.counters()
    }

    pub(super) fn take_part_of_state(&mut self, now: Time, from: ReplicaId) {
        let Some(part) = self.border.take_part() else { return };
        if let Some(state) = self.transfers.take(now, from, part) {
            self.tasks.push_back(Task::Install(Box::new(state)));
        }
    }

    pub(super) fn want_state(&mut self, certificate: &Certificate<Checkpoint>) {
        self.counters.behind += 1;
        self.state_of = self.state_of.max(certificate.statement.seq);
        self.reclaim();
        self.wanted = Some(certificate.clone());
    }

    /// Execution went on from a fetched state: stored as a checkpoint is, before the replica hears of it.
    pub(super) fn installed(&mut self, state: Box<State>) {
        self.transfers.shelve((*state).clone());
        // While the disk stored the one before, another was fetched: one that still waits is of no use any more.
        let (states, installing) = (&mut self.states, &mut self.installing);
        states.retain(|waiting| !is_of(installing, waiting) || installing.remove(&waiting.seq).is_none());
        self.installing.insert(state.seq, state.root);
        self.queue_state(state);
    }

    /// Lets a state wait for the disk. When too many wait the oldest is left out, for a later checkpoint makes up for
    /// it; but not a fetched one, for which the replica waits.
    pub(super) fn queue_state(&mut self, state: Box<State>) {
        if self.states.len() >= STATES_MAX {
            let needless = self.states.iter().position(|waiting| !is_of(&self.installing, waiting));
            drop(needless.and_then(|index| self.states.remove(index)));
        }
        self.states.push_back(state);
    }

    /// What a stored state means to the replica.
    pub(super) fn event_of_stored(&mut self, seq: Seq, root: Digest) -> Event {
        if self.installing.get(&seq) != Some(&root) {
            return Event::Executed { seq, root: Some(root) };
        }
        self.installing.remove(&seq);
        // What executed in the slots between was never noted here: every request is looked up again.
        self.seen.clear();
        Event::Installed { seq, root }
    }

    pub(super) fn look_up(&mut self, requests: Vec<(Verified<Arc<Request>>, Option<ReplicaId>)>) {
        let screen = |(request, forwarded_by)| Task::Screen(Screening::After { request, forwarded_by });
        self.tasks.extend(requests.into_iter().map(screen));
    }

    /// After every step: what the replica's standing means to transfers, and what these have to say.
    pub(super) fn tend_transfers(&mut self, now: Time, link: &mut impl Link) {
        if let Some(certificate) = self.wanted.take() {
            self.transfers.aim(now, &certificate);
        }
        let low = self.replica.watermarks().0;
        if self.served_low != low {
            self.served_low = low;
            self.transfers.stable(low);
        }
        if self.transfers.is_idle() {
            return;
        }
        let handed = self.replica.handed();
        if !self.replica.behind() {
            self.transfers.cancel();
        } else if self.replica.lost_its_place() {
            self.transfers.hurry(now);
        } else if self.caught_up_to != handed {
            self.transfers.postpone(now);
        }
        self.caught_up_to = handed;
        for post in self.transfers.pump(now) {
            self.send(post.to, Class::Bulk, encode(&PeerMessage::Transfer(post.part)), link);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;
    use quorate_protocol::committee::Committee;
    use quorate_protocol::crypto::SecretKey;
    use quorate_protocol::executor::Summary;
    use quorate_protocol::parameters::{Context, Parameters};
    use quorate_protocol::replica::Replica;
    use quorate_protocol::signed::Signer;
    use quorate_protocol::types::{ClientId, ClusterId, Epoch};

    use super::*;
    use crate::execution::Done;
    use crate::journal::Journal;

    const NOW: Time = Time(1_000);

    struct Nowhere;

    impl Link for Nowhere {
        fn send(&mut self, _to: ReplicaId, _class: Class, _frame: Bytes) {}
        fn broadcast(&mut self, _class: Class, _frame: Bytes) {}
        fn reply(&mut self, _client: ClientId, _frame: Bytes) {}
    }

    fn host() -> Host {
        let keys: Vec<_> = (1..=4).map(|seed| Arc::new(SecretKey::from_seed(&[seed; 32]))).collect();
        let public: Vec<_> = keys.iter().map(|key| key.public()).collect();
        let (cluster, epoch) = (ClusterId(Digest([9; 32])), Epoch(0));
        let committee = Arc::new(Committee::new(&public, false).unwrap());
        let context = Context { cluster, epoch, committee, parameters: Arc::new(Parameters::default()) };
        let signer = Signer::new(Arc::clone(&keys[3]), cluster, epoch, ReplicaId(3));
        Host::new(Replica::new(context, ReplicaId(3)), signer, Journal::default())
    }

    fn fetched(seq: u64) -> Done {
        let digest = Digest([u8::try_from(seq % 251).unwrap(); 32]);
        let summary = Summary {
            seq: Seq(seq),
            application: digest,
            sessions: digest,
            config: digest,
            time: NOW,
            chunk_root: digest,
            chunks: 1,
            bytes: 1,
            history: digest,
        };
        let (chunks, snapshot) = (Arc::from(vec![digest]), Bytes::from_static(b"x"));
        let state = State { seq: Seq(seq), root: summary.root(), summary, chunks, snapshot };
        Done::Installed { state: Some(Box::new(state)) }
    }

    #[test]
    fn f1_another_state_that_comes_while_the_disk_stores_one_takes_its_turn() {
        let mut host = host();
        host.executed(NOW, [fetched(128)], &mut Nowhere);
        let first = host.take_state().unwrap();
        host.executed(NOW, [fetched(256)], &mut Nowhere);
        host.executed(NOW, [fetched(384)], &mut Nowhere);
        host.stored(NOW, first.seq, first.root, &mut Nowhere);
        assert_eq!(host.replica().executed(), Seq(128));
        let last = host.take_state().unwrap();
        assert_eq!(last.seq, Seq(384), "one that is out of date before the disk has it is not stored");
        assert!(host.take_state().is_none());
        host.stored(NOW, last.seq, last.root, &mut Nowhere);
        assert_eq!((host.replica().executed(), host.installing.len()), (Seq(384), 0));
    }
}
