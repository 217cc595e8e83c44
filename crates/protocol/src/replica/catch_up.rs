//! Nothing relies on being delivered once: replicas say where they stand and are sent what they lack.

use std::collections::{BTreeMap, BTreeSet};

use super::timers::STATUS_BUSY_US;
use super::{Out, Replica, Status};
use crate::codec::Blob;
use crate::message::{NamedViewChange, PeerMessage, PrePrepare, Status as Standing};
use crate::mutant::{self, Mutant};
use crate::process::{Effect, Recipient, Say};
use crate::types::{Digest, Position, ReplicaId, Seq, Time, View};

/// How long a body may be on its way before it is asked for, at least, in microseconds.
const FETCH_AFTER_US: u64 = 50_000;
/// As many times what is usual between two batches it may be, within `STATUS_BUSY_US`: one of 30 large ones takes its time,
/// and a second one would take the next one's.
const FETCH_GAPS: u64 = 2;
/// Answers to one STATUS at most; things served to one replica between two pauses at most.
const ANSWERS_MAX: usize = 64;
/// Between two answers to one replica, in microseconds.
pub(super) const ANSWER_PAUSE_US: u64 = 100_000;

/// Bodies that are missing, and whom to ask next.
#[derive(Debug, Clone, Default)]
pub(super) struct Fetches {
    missing: BTreeMap<Seq, Missing>,
    answered: BTreeMap<ReplicaId, Time>,
    served: BTreeMap<ReplicaId, Served>,
    /// From when on everybody may be asked for VIEW-CHANGEs again.
    views_at: Time,
}

/// What one replica asked for since when.
#[derive(Debug, Clone, Default)]
struct Served {
    since: Time,
    digests: BTreeSet<Digest>,
}

#[derive(Debug, Clone, Copy)]
struct Missing {
    digest: Digest,
    ask_at: Time,
    turn: u16,
}

impl Fetches {
    pub(super) fn len(&self) -> usize {
        self.missing.len()
    }

    /// From when on everybody may be asked for VIEW-CHANGEs again: however many NEW-VIEWs a liar makes up.
    pub(super) fn may_ask_for_views(&self) -> Time {
        self.views_at
    }

    pub(super) fn asked_for_views(&mut self, now: Time) {
        self.views_at = now.plus(FETCH_AFTER_US);
    }

    /// Whether to serve a replica what it asks for and is here: a question is short and its answer long, so each thing
    /// is served once per pause, and not too many.
    pub(super) fn may_serve(&mut self, to: ReplicaId, digest: Digest, now: Time) -> bool {
        let served = self.served.entry(to).or_default();
        if now.since(served.since) >= ANSWER_PAUSE_US {
            *served = Served { since: now, digests: BTreeSet::new() };
        }
        served.digests.len() < ANSWERS_MAX && served.digests.insert(digest)
    }

    /// Forgets what is missing at slots that are not kept any more.
    pub(super) fn retain(&mut self, is_kept: impl Fn(Seq) -> bool) {
        self.missing.retain(|seq, _| is_kept(*seq));
    }

    /// Who is asked next for a slot's batch, and when.
    pub(super) fn next(&self, seq: Seq) -> Option<(ReplicaId, Time)> {
        self.missing.get(&seq).map(|missing| (ReplicaId(missing.turn), missing.ask_at))
    }

    /// Digest of the batch that was missed at this slot.
    pub(super) fn missed(&self, seq: Seq) -> Option<Digest> {
        self.missing.get(&seq).map(|missing| missing.digest)
    }
}

fn relay(to: ReplicaId, message: PeerMessage, out: &mut Out<'_>) {
    let to = Recipient::Replica(to);
    out.push(Effect::Send { to, message: Say::Relay(message), after: Position(0) });
}

fn bits<const MAX: usize>(flags: impl Iterator<Item = bool>) -> Blob<MAX> {
    let mut bytes = Vec::new();
    for (index, flag) in flags.enumerate().take(MAX * 8) {
        if index % 8 == 0 {
            bytes.push(0_u8);
        }
        if let Some(last) = bytes.last_mut() {
            *last |= u8::from(flag) << (index % 8);
        }
    }
    Blob(bytes.into())
}

fn bit<const MAX: usize>(bits: &Blob<MAX>, index: u64) -> bool {
    let byte = usize::try_from(index / 8).ok().and_then(|at| bits.get(at));
    byte.is_some_and(|byte| byte >> (index % 8) & 1 == 1)
}

impl Replica {
    /// Whether a batch at this slot may still be needed: to be executed, or to be vouched for. A replica that came back
    /// with a state beyond the low watermark has executed slots whose batches it never vouched for, and others may
    /// need its vote there.
    pub(super) fn may_need_body(&self, seq: Seq) -> bool {
        seq > self.handed || seq > self.log.low()
    }

    /// A digest at a slot that was proposed, prepared or committed and whose batch is not here.
    fn missing_body(&self, seq: Seq) -> Option<Digest> {
        let slot = self.log.get(seq).filter(|_| self.may_need_body(seq))?;
        let lacks = |digest: &Digest| *digest != self.null && slot.body(digest).is_none();
        if let Some(committed) = &slot.committed {
            return Some(committed.statement.digest).filter(lacks);
        }
        // A quorum may have prepared another batch than the one this replica was shown.
        let prepared = slot.prepared.as_ref().map(|certificate| certificate.statement.digest);
        prepared.filter(lacks).or(slot.proposal.map(|proposal| proposal.digest).filter(lacks))
    }

    pub(super) fn fetch_missing(&mut self, seq: Seq, out: &mut Out<'_>) {
        match self.missing_body(seq) {
            None => {
                self.fetches.missing.remove(&seq);
            }
            Some(digest) if self.fetches.missing.get(&seq).is_none_or(|known| known.digest != digest) => {
                let missing = self.first_question(seq, digest, out.now);
                self.fetches.missing.insert(seq, missing);
            }
            Some(_) => {}
        }
    }

    /// When to ask for a batch first, and whom. The primary is about to send it, as a rule. What is certified a quorum has:
    /// somebody else is asked, and not by everybody the same one. Of what is only proposed nobody else may have anything.
    fn first_question(&self, seq: Seq, digest: Digest, now: Time) -> Missing {
        let (me, primary) = (self.id.0, self.primary().0);
        let slot = self.log.get(seq);
        let committed = slot.and_then(|slot| Some(slot.committed.as_ref()?.statement.digest));
        let prepared = slot.and_then(|slot| Some(slot.prepared.as_ref()?.statement.digest));
        let certified = [committed, prepared].contains(&Some(digest));
        let most_us = STATUS_BUSY_US.min(self.parameters().timeout_us / 3).max(FETCH_AFTER_US);
        let usual_us = self.timers.gap_us().saturating_mul(FETCH_GAPS).clamp(FETCH_AFTER_US, most_us);
        let n = u16::try_from(self.context.committee.size()).expect("n is at most 256");
        let behind = u16::try_from(seq.0 % u64::from(n)).expect("it is below n");
        let mut others = (1..n).map(|step| (me + behind + step) % n).filter(|id| *id != me && *id != primary);
        let turn = others.next().filter(|_| certified).unwrap_or(primary);
        Missing { digest, ask_at: now.plus(usual_us), turn }
    }

    pub(super) fn watch_fetches(&mut self, now: Time) {
        let next = self.fetches.missing.values().map(|missing| missing.ask_at).min();
        let candidate = (!self.candidates.is_empty()).then(|| now.plus(FETCH_AFTER_US));
        self.timers.fetch = match (self.timers.fetch, next.into_iter().chain(candidate).min()) {
            (Some(set), Some(wanted)) => Some(set.min(wanted)),
            (_, wanted) => wanted,
        };
    }

    /// Asks for every body that is overdue, each time somebody else.
    pub(super) fn fetch_again(&mut self, out: &mut Out<'_>) {
        self.timers.fetch = None;
        let (me, needed) = (self.id, self.handed.min(self.log.low()));
        let n = u16::try_from(self.context.committee.size()).expect("n is at most 256");
        self.fetches.missing.retain(|seq, _| *seq > needed);
        for (seq, missing) in &mut self.fetches.missing {
            if missing.ask_at > out.now {
                continue;
            }
            missing.turn = if missing.turn % n == me.0 { missing.turn + 1 } else { missing.turn } % n;
            self.counters.fetches += 1;
            relay(ReplicaId(missing.turn), PeerMessage::FetchBody { seq: *seq, digest: missing.digest }, out);
            missing.turn = (missing.turn + 1) % n;
            missing.ask_at = out.now.plus(2 * FETCH_AFTER_US);
        }
        self.fetch_view_changes(out);
    }

    pub(super) fn on_fetch_body(&mut self, from: ReplicaId, seq: Seq, digest: Digest, out: &mut Out<'_>) {
        let body = self.log.get(seq).and_then(|slot| slot.body(&digest));
        if let Some(body) = body.filter(|_| self.fetches.may_serve(from, digest, out.now)) {
            relay(from, PeerMessage::Body { seq, batch: body.batch.clone() }, out);
        }
    }

    /// A primary proposes no further than its pipeline beyond what committed: whoever sees a proposal twice as far ahead
    /// has missed something, and finds it with the others as long as they still have it.
    pub(super) fn notice_gap(&mut self, proposed: Seq, out: &mut Out<'_>) {
        let depth = self.parameters().pipeline_depth;
        if proposed > self.committed.plus(depth.saturating_mul(2)) {
            self.ask_status(out);
        }
    }

    /// Asks everyone for what is missing, soon.
    pub(super) fn ask_status(&mut self, out: &mut Out<'_>) {
        self.timers.status_now(out.now.plus(FETCH_AFTER_US));
    }

    pub(super) fn say_status(&mut self, out: &mut Out<'_>) {
        let standing = self.own_status();
        Self::say(Say::Relay(PeerMessage::Status(standing)), Position(0), out);
    }

    /// What it would say of itself now.
    #[must_use]
    pub fn own_status(&self) -> Standing {
        let view = self.view;
        let slots = || self.log.open_slots().map(|(_, slot)| slot);
        let holds = |id| self.view_changes.get(&id).is_some_and(|held| held.view == view);
        Standing {
            epoch: self.context.epoch,
            view,
            changing: matches!(self.status, Status::ViewChanging | Status::Recovering),
            low: self.log.low(),
            executed: self.handed,
            committed: bits(slots().map(|slot| slot.committed.is_some())),
            prepared: bits(slots().map(|slot| slot.sent_commit)),
            bodies: bits(
                slots().map(|slot| slot.proposal.is_some_and(|held| slot.body(&held.digest).is_some())),
            ),
            view_changes: bits(self.context.committee.replicas().map(holds)),
            new_view: self.new_view.as_ref().map_or(View(0), |open| open.new_view.view),
            amnesia_high: self.amnesia().map(|forgot| forgot.high),
        }
    }

    /// Sends a replica what it lacks and we have; each rule on its own, always the stored bytes.
    pub(super) fn on_status(&mut self, from: ReplicaId, status: &Standing, out: &mut Out<'_>) {
        if from == self.id || status.epoch != self.context.epoch {
            return;
        }
        self.hear(from);
        self.note_plea(from, status, out.now);
        self.note_stray(from, status, out.now);
        if self.fetches.answered.get(&from).is_some_and(|at| out.now.since(*at) < ANSWER_PAUSE_US) {
            return;
        }
        self.fetches.answered.insert(from, out.now);
        self.answer_view(from, status, out);
        if let Some(stable) = self.stable.as_ref().filter(|stable| stable.statement.seq > status.low) {
            relay(from, PeerMessage::StableCertificate((**stable).clone()), out);
        }
        let low = status.low;
        for tally in self.checkpoints.range(low.next()..).map(|(_, tally)| tally) {
            if let Some(vote) = tally.vote_of(self.id).filter(|_| !self.is_mute()) {
                relay(from, PeerMessage::Checkpoint(vote), out);
            }
        }
        self.answer_tail(from, status, out);
        self.answer_slots(from, status, out);
    }

    fn answer_view(&self, from: ReplicaId, status: &Standing, out: &mut Out<'_>) {
        let opened = self.new_view.as_ref().filter(|open| open.new_view.view > status.new_view);
        if let Some(open) = opened.filter(|_| !mutant::is(Mutant::M34)) {
            relay(from, PeerMessage::NewView((*open.new_view).clone()), out);
        }
        let changing = self.status == Status::ViewChanging && !self.is_mute();
        if !changing || status.view > self.view {
            return;
        }
        let lacks = |id: ReplicaId| status.view < self.view || !bit(&status.view_changes, u64::from(id.0));
        if let Some(mine) = self.my_view_change.as_ref().filter(|_| lacks(self.id)) {
            relay(from, PeerMessage::ViewChange(mine.clone()), out);
        }
        let shown = |held: &NamedViewChange| self.primary() == self.id && held.view == self.view;
        for (_, held) in self.view_changes.iter().filter(|(_, held)| shown(held)) {
            if held.signer != self.id && lacks(held.signer) {
                relay(from, PeerMessage::ViewChange((**held).clone()), out);
            }
        }
        // Its primary may have told only some that it left, or have stopped as soon as it had.
        let primary = self.context.committee.primary(status.view);
        let left = self.view_changes.get(&primary).filter(|held| held.view > status.view && !shown(held));
        if let Some(held) = left.filter(|held| held.signer != self.id && held.signer != from) {
            relay(from, PeerMessage::ViewChange((**held).clone()), out);
        }
    }

    /// Who executes less than the checkpoint it knows is sent what we still have of the slots between, in order. That is
    /// less than a state, and a replica that was away for a moment would otherwise fetch one after the other.
    fn answer_tail(&self, from: ReplicaId, status: &Standing, out: &mut Out<'_>) {
        let below = (status.executed.0.saturating_add(1)..=status.low.0).take(ANSWERS_MAX).map(Seq);
        let committed = below.map_while(|seq| self.log.get(seq)?.committed.as_ref());
        for certificate in committed {
            relay(from, PeerMessage::CommitCertificate((**certificate).clone()), out);
        }
    }

    fn answer_slots(&self, from: ReplicaId, status: &Standing, out: &mut Out<'_>) {
        let mut answers = 0;
        let last = status.low.plus(self.parameters().window);
        for seq in (status.low.next().0..=last.0.min(self.log.high().0)).map(Seq) {
            let offset = seq.0 - status.low.0 - 1;
            let Some(slot) = self.log.get(seq).filter(|_| !bit(&status.committed, offset)) else { continue };
            if answers >= ANSWERS_MAX {
                return;
            }
            if let Some(certificate) = &slot.committed {
                relay(from, PeerMessage::CommitCertificate((**certificate).clone()), out);
                answers += 1;
                continue;
            }
            if self.is_mute() {
                continue;
            }
            let prepare = slot.prepares.vote_of(self.id).filter(|vote| vote.view == self.view);
            if let Some(prepare) = prepare.filter(|_| !bit(&status.prepared, offset)) {
                let proposal = self.primary() == self.id && seq > self.new_view_floor;
                let message = if proposal {
                    PeerMessage::PrePrepare(PrePrepare { prepare, batch: None })
                } else {
                    PeerMessage::Prepare(prepare)
                };
                relay(from, message, out);
                answers += 1;
            }
            if let Some(commit) = slot.commits.vote_of(self.id) {
                relay(from, PeerMessage::Commit(commit), out);
                answers += 1;
            }
        }
    }
}
