//! The normal case: propose, prepare, commit, execute (OSDI '99, section 4.2).

use std::sync::Arc;

use super::room::Share;
use super::{Contradiction, Out, Replica, Status};
use crate::certificate::{Added, Certificate};
use crate::codec::List;
use crate::message::{Commit, Prepare};
use crate::mutant::{self, Mutant};
use crate::pool::Limits;
use crate::process::{Alarm, Effect, Record, Say};
use crate::request::{Batch, Body, Nondet};
use crate::signed::{Signed, Verified};
use crate::standing::Proof;
use crate::types::{Position, Seq, Time};

impl Replica {
    /// As primary: cuts batches while the pipeline has room. No timer: an idle pipeline takes what is there at once, a
    /// busy one waits until what is there is worth as much as what is on its way, so batches grow with load.
    pub(super) fn propose(&mut self, out: &mut Out<'_>) {
        while self.is_primary() && self.next <= self.log.high() && self.pool.waiting_operations() > 0 {
            if !self.may_vote(self.view, self.next) {
                return;
            }
            let flying = self.next.0 - 1 - self.committed.0.min(self.next.0 - 1);
            if flying >= self.parameters().pipeline_depth {
                return;
            }
            if flying > 0 && self.pool.waiting_operations() < self.flying_operations() {
                return;
            }
            let body = if self.finds_room_to_propose() {
                Some(self.cut_batch(out.now))
            } else if self.checkpoint_is_due() {
                return;
            } else {
                None
            };
            let seq = self.next;
            self.next = seq.next();
            self.propose_at(seq, body, out);
        }
    }

    fn cut_batch(&mut self, now: Time) -> Arc<Body> {
        let limits = Limits {
            requests: self.parameters().batch_requests_max,
            bytes: self.parameters().batch_bytes_max,
        };
        let requests = self.pool.take(limits);
        let batch = Batch { nondet: Nondet { time: now }, requests: List(requests) };
        Body::new(batch, self.context.cluster)
    }

    /// Operations of the largest batch that is proposed and not committed.
    fn flying_operations(&self) -> u64 {
        let flying = (self.committed.0 + 1..self.next.0).map(Seq).filter_map(|seq| self.log.get(seq));
        flying.map(|slot| slot.proposed_operations).max().unwrap_or(1)
    }

    /// Makes a body durable, once: a view change proposes the same ones again, and the journal's room is for a window.
    fn keep(&mut self, seq: Seq, body: Option<&Arc<Body>>, out: &mut Out<'_>) {
        let Some((body, slot)) = body.zip(self.log.get_mut(seq)) else { return };
        if !slot.kept.contains(&body.digest) {
            slot.kept.push(body.digest);
            self.room.keep(seq, body);
            self.persist(Record::Body { seq, body: Arc::clone(body) }, out);
        }
    }

    /// Assigns a batch, or the null batch, to a slot: durable first, so that no restart can assign another.
    pub(super) fn propose_at(&mut self, seq: Seq, body: Option<Arc<Body>>, out: &mut Out<'_>) {
        let digest = body.as_ref().map_or(self.null, |body| body.digest);
        let prepare = Prepare { view: self.view, seq, digest };
        self.promise(self.view, seq, out);
        self.keep(seq, body.as_ref(), out);
        let after = self.persist(Record::Vote { prepare, primary: None }, out);
        let slot = self.log.open(seq).expect("the primary proposes between its watermarks");
        slot.proposal = Some(prepare);
        slot.sent_prepare = true;
        slot.proposed_operations = body.as_ref().map_or(0, |body| body.batch.operations() as u64);
        slot.bodies.extend(body.clone());
        self.counters.proposed += 1;
        Self::say(Say::PrePrepare { prepare, body }, after, out);
    }

    pub(super) fn on_pre_prepare(
        &mut self,
        prepare: &Verified<Signed<Prepare>>,
        body: Option<Verified<Arc<Body>>>,
        out: &mut Out<'_>,
    ) {
        self.record_prepare(prepare, out);
        if let Some(body) = body {
            self.record_body(prepare.seq, &body);
        }
        self.advance(prepare.seq, out);
        if mutant::is(Mutant::M19)
            && let Some(slot) = self.log.open(prepare.seq)
        {
            slot.sent_prepare |= slot.proposal == Some(prepare.body);
        }
        self.notice_gap(prepare.seq, out);
    }

    pub(super) fn on_prepare(&mut self, prepare: &Verified<Signed<Prepare>>, out: &mut Out<'_>) {
        self.record_prepare(prepare, out);
        self.advance(prepare.seq, out);
    }

    /// A PREPARE is a fact about its signer, whatever view this replica is in; of the primary it is the proposal too.
    fn record_prepare(&mut self, prepare: &Verified<Signed<Prepare>>, out: &mut Out<'_>) {
        let (view, quorum, primary) = (self.view, self.quorum(), self.primary());
        let Some(slot) = self.log.open(prepare.seq) else { return };
        let twice = mutant::is(Mutant::M4) && slot.prepares.count(&prepare.body) + 2 == quorum && {
            let proposer = self.context.committee.primary(prepare.view);
            let proposal = slot.prepares.vote_of(proposer);
            prepare.signer == proposer || proposal.is_some_and(|vote| vote.body == prepare.body)
        };
        match slot.prepares.add(prepare, quorum - usize::from(twice)) {
            Added::Noted => {}
            Added::Quorum(certificate) => slot.learn_prepared(certificate, view),
            Added::Conflict(one, other) => {
                self.alarm(Alarm::ConflictingPrepares(one, other), out);
                return;
            }
        }
        self.doubt_prepares(prepare.seq, prepare.view, out);
        if prepare.view == view && prepare.signer == primary && self.status == Status::Normal {
            self.accept_proposal(prepare);
        }
    }

    /// The first proposal of a view for a slot is the only one.
    fn accept_proposal(&mut self, prepare: &Signed<Prepare>) {
        if prepare.seq <= self.new_view_floor && !mutant::is(Mutant::M33) {
            return;
        }
        let replaceable = mutant::is(Mutant::M31) || mutant::is(Mutant::M33);
        let Some(slot) = self.log.open(prepare.seq) else { return };
        if replaceable && slot.decided_by_new_view && slot.proposal != Some(prepare.body) {
            (slot.proposal, slot.sent_prepare) = (None, false);
        }
        slot.proposal.get_or_insert(prepare.body);
    }

    pub(super) fn record_body(&mut self, seq: Seq, body: &Arc<Body>) {
        let Some(slot) = self.log.get_mut(seq) else { return };
        if slot.wants(&body.digest) {
            slot.bodies.push(Arc::clone(body));
        }
    }

    pub(super) fn on_body(&mut self, seq: Seq, body: &Verified<Arc<Body>>, out: &mut Out<'_>) {
        self.record_body(seq, body);
        self.advance(seq, out);
    }

    pub(super) fn on_commit(&mut self, commit: &Verified<Signed<Commit>>, out: &mut Out<'_>) {
        let quorum = self.quorum();
        let ahead = commit.seq > self.farthest && commit.view >= self.view;
        let weak = self.context.committee.weak_quorum();
        let Some(slot) = self.log.get_mut(commit.seq) else { return };
        let added = slot.commits.add(commit, quorum);
        if ahead && slot.commits.count(&commit.body) >= weak {
            self.note_ahead(commit.seq);
        }
        match added {
            Added::Noted => {}
            Added::Quorum(certificate) => self.learn_committed(certificate, out),
            Added::Conflict(one, other) => self.alarm(Alarm::ConflictingCommits(one, other), out),
        }
        self.doubt_commit(commit, out);
        self.advance(commit.seq, out);
    }

    pub(super) fn on_commit_certificate(
        &mut self,
        certificate: Verified<Certificate<Commit>>,
        out: &mut Out<'_>,
    ) {
        let seq = certificate.statement.seq;
        if seq > self.log.high() || !self.knows_commit(&certificate, out) {
            return;
        }
        self.learn_committed(certificate, out);
        self.watchdog.hears_late(true);
        self.advance(seq, out);
        self.watchdog.hears_late(false);
    }

    /// q COMMITs prove a batch committed, whichever view this replica is in and whether or not it prepared it.
    fn learn_committed(&mut self, certificate: Verified<Certificate<Commit>>, out: &mut Out<'_>) {
        let Commit { view, seq, digest } = certificate.statement;
        let Some(slot) = self.log.get_mut(seq) else { return };
        match &slot.committed {
            Some(held) if held.statement.digest != digest => {
                let found = Contradiction { seq, one: held.statement.digest, other: digest };
                let conflict = [held.clone(), certificate].map(|proof| Proof::Committed(proof.into_inner()));
                self.disagree(found, conflict, out);
            }
            Some(_) => {}
            None => {
                slot.committed = Some(certificate);
                self.note_ahead(seq);
                self.doubt_prepares(seq, view, out);
                self.doubt_commits(seq, view, out);
            }
        }
    }

    /// The only place that moves a slot. Idempotent; called after every fact recorded about the slot.
    pub(super) fn advance(&mut self, seq: Seq, out: &mut Out<'_>) {
        let left = self.status == Status::ViewChanging && mutant::is(Mutant::M21);
        if (self.status == Status::Normal || left) && !self.is_mute() && self.log.open(seq).is_some() {
            self.try_prepare(seq, out);
            self.try_commit(seq, out);
        }
        self.fetch_missing(seq, out);
        self.stamp(seq, out.now);
        self.deliver(out);
    }

    /// Votes for the accepted proposal once its body is here and sound.
    fn try_prepare(&mut self, seq: Seq, out: &mut Out<'_>) {
        let Some(slot) = self.log.get(seq) else { return };
        let Some(prepare) = slot.proposal.filter(|_| !slot.sent_prepare) else { return };
        if !self.may_vote(prepare.view, seq) {
            return;
        }
        let body = slot.body(&prepare.digest).cloned();
        if body.is_none() && prepare.digest != self.null {
            return;
        }
        let decided = slot.decided_by_new_view && !mutant::is(Mutant::M18);
        let checked = decided || slot.committed.is_some();
        let primary = slot.prepares.vote_of(self.primary()).filter(|vote| vote.body == prepare);
        if let Some(body) = &body
            && !checked
            && !self.time_is_plausible(body.batch.nondet.time, out.now)
        {
            return self.refuse_time(seq, body.batch.nondet.time, out);
        }
        let share = if checked { Share::Decided } else { Share::New };
        if !self.finds_room(seq, &prepare.digest, share) {
            return;
        }
        self.promise(prepare.view, seq, out);
        self.keep(seq, body.as_ref(), out);
        let record = Record::Vote { prepare, primary: primary.map(|vote| vote.signature) };
        let after = self.persist(record, out);
        let slot = self.log.get_mut(seq).expect("the slot was there");
        (slot.sent_prepare, slot.clock_refused) = (true, false);
        let after = if mutant::is(Mutant::M23) { Position(0) } else { after };
        Self::say(Say::Prepare(prepare), after, out);
    }

    /// Says COMMIT once the proposal prepared in this very view and the certificate is durable.
    fn try_commit(&mut self, seq: Seq, out: &mut Out<'_>) {
        let Some(slot) = self.log.get(seq) else { return };
        let Some(certificate) = slot.prepared.as_ref().filter(|_| !slot.sent_commit) else { return };
        let Prepare { view, digest, .. } = certificate.statement;
        if (view != self.view && !mutant::is(Mutant::M21))
            || !self.may_vote(view, seq)
            || (digest != self.null && slot.body(&digest).is_none())
        {
            return;
        }
        let record = Record::Prepared((**certificate).clone());
        let body = slot.body(&digest).cloned();
        if !self.finds_room(seq, &digest, Share::Decided) {
            return;
        }
        self.promise(view, seq, out);
        self.keep(seq, body.as_ref(), out);
        let after = self.persist(record, out);
        self.log.get_mut(seq).expect("the slot was there").sent_commit = true;
        let after = if mutant::is(Mutant::M24) { Position(0) } else { after };
        Self::say(Say::Commit(Commit { view, seq, digest }), after, out);
    }

    /// Hands committed slots to the executor: in order, without gaps, once.
    pub(super) fn deliver(&mut self, out: &mut Out<'_>) {
        if self.status == Status::Halted || self.unmended().is_some() {
            return;
        }
        while let Some(useful) = self.commit_next(out.now) {
            // A client may ask again what was ordered and could not execute: that is served, too.
            let served = self.hand_over(out);
            self.note_progress(useful || served, out.now);
        }
        self.hand_over(out);
    }

    /// The next slot in order committed: says whether that was of use to anybody, which is judged now, however far
    /// behind the executor is. A body that is missing here is held, and judged, by f + 1 correct replicas.
    fn commit_next(&mut self, now: Time) -> Option<bool> {
        let seq = self.committed.next();
        let slot = self.log.get(seq)?;
        let digest = slot.committed.as_ref()?.statement.digest;
        let useful = match slot.body(&digest) {
            _ if digest == self.null => mutant::is(Mutant::M20),
            None => true,
            Some(body) => {
                self.pace.committed(body.batch.requests.len() as u64, now);
                let fresh = self.ordered.commit(seq, &body.batch, self.executed);
                self.watchdog.committed(fresh, now);
                fresh.is_some()
            }
        };
        self.committed = seq;
        Some(useful)
    }

    /// Hands over what it can; says whether that served somebody who waits here.
    fn hand_over(&mut self, out: &mut Out<'_>) -> bool {
        let mut served = false;
        while self.handed < self.committed && !self.released {
            let seq = self.handed.next();
            let Some(slot) = self.log.get(seq) else { break };
            // A stable checkpoint may have passed slots that this replica never saw commit.
            let Some(digest) = slot.committed.as_ref().map(|certificate| certificate.statement.digest) else {
                break;
            };
            let body = slot.body(&digest).cloned();
            if body.is_none() && digest != self.null {
                break;
            }
            self.handed = seq;
            self.cover(seq, out);
            let late = self.ordered.hand_over(seq, body.as_ref().map(|body| &body.batch), self.executed);
            self.watchdog.committed_late(late, out.now);
            self.counters.committed += 1;
            if let Some(body) = &body {
                self.counters.committed_operations += body.batch.operations() as u64;
                self.counters.committed_requests += body.batch.requests.len() as u64;
                served |= self.pool.ordered(&body.batch);
            }
            out.push(Effect::Execute { seq, body });
        }
        served
    }
}
