//! Checkpoints and garbage collection (OSDI '99, section 4.3).

use std::collections::BTreeMap;

use super::{Out, Replica};
use crate::certificate::{Added, Certificate, Tally};
use crate::message::Checkpoint;
use crate::process::{Alarm, Effect, Record};
use crate::signed::{Signed, Verified};
use crate::types::{Digest, Seq};

impl Replica {
    /// The executor has come to `seq`; where a checkpoint was due its snapshot is durable already.
    pub(super) fn on_executed(&mut self, seq: Seq, root: Option<Digest>, out: &mut Out<'_>) {
        // What had been under way when the state was found wrong follows from it.
        if self.unmended().is_some() {
            return;
        }
        assert!(seq <= self.handed, "the executor reports what it was handed");
        self.executed = self.executed.max(seq);
        self.log.release(self.handed.min(self.executed));
        let Some(root) = root else { return };
        self.roots.insert(seq, root);
        let ours = Checkpoint { seq, root, epoch_end: Seq::MAX };
        if seq > self.log.low() && !self.is_mute() {
            self.say_checkpoint(seq, root, out);
        }
        match self.stable.clone().filter(|certificate| certificate.statement.seq == seq) {
            Some(certificate) if certificate.statement.root != root => {
                let batches = self.batches_until(seq);
                self.contradicted(&certificate, ours, batches, out);
            }
            Some(_) => self.agreed = self.agreed.max(seq),
            None => self.compare_roots(seq, out),
        }
    }

    pub(super) fn on_checkpoint(&mut self, vote: &Verified<Signed<Checkpoint>>, out: &mut Out<'_>) {
        let seq = vote.seq;
        // Where a checkpoint is due, only the executor knows: at any slot at which enough changed.
        if seq <= self.log.low() {
            return self.doubt_checkpoint(vote, out);
        }
        if seq > self.log.high() {
            self.note_far(vote, out);
            return;
        }
        let quorum = self.quorum();
        match self.checkpoints.entry(seq).or_default().add(vote, quorum) {
            Added::Noted => {
                self.compare_roots(seq, out);
                self.notice_split(seq, out);
            }
            Added::Quorum(certificate) => self.on_stable(certificate, out),
            Added::Conflict(one, other) => self.alarm(Alarm::ConflictingCheckpoints(one, other), out),
        }
    }

    /// A CHECKPOINT beyond the window: f + 1 of them prove that this replica is behind.
    fn note_far(&mut self, vote: &Verified<Signed<Checkpoint>>, out: &mut Out<'_>) {
        let newer = self.far_checkpoints.get(&vote.signer).is_none_or(|known| known.seq < vote.seq);
        if newer {
            self.far_checkpoints.insert(vote.signer, vote.clone());
        }
        if self.far_checkpoints.len() >= self.context.committee.weak_quorum() {
            self.ask_status(out);
        }
    }

    /// A checkpoint is stable: everything at or below it may go.
    pub(super) fn on_stable(&mut self, certificate: Verified<Certificate<Checkpoint>>, out: &mut Out<'_>) {
        let Checkpoint { seq, root, .. } = certificate.statement;
        if seq <= self.log.low() {
            return;
        }
        self.counters.stable_checkpoints += 1;
        self.persist(Record::Stable((*certificate).clone()), out);
        let ours = self.roots.get(&seq).copied();
        let wrong = ours.filter(|ours| *ours != root).map(|ours| (ours, self.batches_until(seq)));
        if ours == Some(root) {
            self.agreed = seq;
        }
        self.log.raise(seq, self.handed.min(self.executed));
        self.fetches.retain(|seq| self.log.get(seq).is_some());
        self.committed = self.committed.max(seq);
        self.next = self.next.max(seq.next());
        self.settle_checkpoint(&certificate, out);
        self.checkpoints = self.checkpoints.split_off(&seq.next());
        self.roots = self.roots.split_off(&seq);
        let far: BTreeMap<_, _> = std::mem::take(&mut self.far_checkpoints);
        self.stable = Some(certificate.clone());
        let proven = wrong.is_some();
        if let Some((ours, batches)) = wrong {
            let ours = Checkpoint { seq, root: ours, epoch_end: Seq::MAX };
            self.contradicted(&certificate, ours, batches, out);
        }
        for (replica, vote) in far {
            if vote.seq > self.log.high() {
                self.far_checkpoints.insert(replica, vote);
            } else {
                self.on_checkpoint(&vote, out);
            }
        }
        // Those votes may have made a newer checkpoint stable, which has said by itself what is to be installed.
        if self.log.low() > seq {
            return;
        }
        if self.behind() && !proven {
            out.push(Effect::Install(certificate.into_inner()));
            self.ask_status(out);
        }
        self.use_room(out);
        self.deliver(out);
    }

    /// Whether the stable checkpoint is past what can still be executed from the log: others let go, with their
    /// slots, of the certificates and bodies that are missing here. Or it is past a state that was found wrong here, and
    /// what would be executed follows from that.
    #[must_use]
    pub fn behind(&self) -> bool {
        if let Some(divergence) = self.unmended() {
            return self.log.low() >= divergence.seq;
        }
        (self.handed.0 + 1..=self.log.low().0).map(Seq).any(|seq| {
            let slot = self.log.get(seq);
            let committed = slot.and_then(|slot| slot.committed.as_ref()).map(|held| held.statement.digest);
            let executable =
                |digest| digest == self.null || slot.is_some_and(|slot| slot.body(&digest).is_some());
            !committed.is_some_and(executable)
        })
    }

    /// f + 1 replicas agree on a root that is not ours: at least one of them is correct, so we are wrong.
    fn compare_roots(&mut self, seq: Seq, out: &mut Out<'_>) {
        let Some(root) = self.roots.get(&seq).copied() else { return };
        let Some(tally) = self.checkpoints.get(&seq) else { return };
        let others = other_root(tally, root, self.context.committee.weak_quorum());
        if !others.is_empty() {
            self.outvoted(others, Checkpoint { seq, root, epoch_end: Seq::MAX }, out);
        }
    }

    /// Highest slot handed to the executor: nothing is lacking up to here.
    #[must_use]
    pub fn handed(&self) -> Seq {
        self.handed
    }

    /// Whether the next slot to execute is in nobody's log any more: nothing but a state helps.
    #[must_use]
    pub fn lost_its_place(&self) -> bool {
        self.behind() && (self.unmended().is_some() || self.log.is_past(self.handed.next()))
    }

    /// Execution has a state again: the one it had. What was kept back goes to it.
    pub(super) fn on_kept(&mut self, out: &mut Out<'_>) {
        self.released = false;
        self.deliver(out);
    }

    /// A certified state is in place of all slots up to `seq`. Neither view nor votes change by it; everything that may
    /// have waited for it is looked at again.
    pub(super) fn on_installed(&mut self, seq: Seq, root: Digest, out: &mut Out<'_>) {
        self.released = false;
        self.cover(seq, out);
        match self.unmended() {
            Some(divergence) if seq < divergence.seq => return,
            Some(divergence) => {
                self.go_back();
                self.mend(divergence, seq, out);
            }
            None if seq <= self.executed => return self.deliver(out),
            None => self.executed = seq,
        }
        self.agreed = self.agreed.max(seq);
        self.handed = self.handed.max(seq);
        self.committed = self.committed.max(seq);
        self.next = self.next.max(seq.next());
        self.log.release(self.handed.min(self.executed));
        let (low, handed) = (self.log.low(), self.handed);
        self.fetches.retain(|seq| seq > handed || seq > low);
        if seq >= low {
            self.roots.insert(seq, root);
        }
        if seq >= low && !self.is_mute() {
            self.say_checkpoint(seq, root, out);
        }
        // Some of what waits here executed in slots that this replica never saw: a timer started by those would not be
        // stopped by anything.
        let waiting = self.pool.drain().into_iter();
        let waiting: Vec<_> = waiting.map(|(request, from)| (Verified::vouch(request), from)).collect();
        if !waiting.is_empty() {
            out.push(Effect::LookUp(waiting));
        }
        for seq in (handed.min(low).0 + 1..=self.log.high().0).map(Seq) {
            self.advance(seq, out);
        }
        self.try_enter(out);
        if self.behind()
            && let Some(stable) = &self.stable
        {
            out.push(Effect::Install((**stable).clone()));
        }
        self.timers.status_now(out.now);
    }
}

/// `enough` CHECKPOINTs that agree on a root other than `ours`; none if there are not as many.
fn other_root(tally: &Tally<Checkpoint>, ours: Digest, enough: usize) -> Vec<Signed<Checkpoint>> {
    let mut others = tally.votes().map(|(_, vote)| *vote).filter(|vote| vote.root != ours);
    let Some(theirs) = others.find(|vote| tally.count(vote) >= enough) else { return Vec::new() };
    let equal = tally.votes().filter(|(_, vote)| **vote == theirs);
    equal.filter_map(|(signer, _)| tally.vote_of(signer)).take(enough).collect()
}
