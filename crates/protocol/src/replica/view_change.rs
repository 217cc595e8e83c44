//! View changes (OSDI '99, section 4.4), with signatures: a NEW-VIEW carries evidence only, and what is proposed again
//! is a function of that evidence which every replica computes for itself.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::{Out, Replica, Status};
use crate::certificate::Certificate;
use crate::codec::List;
use crate::message::{Checkpoint, NamedViewChange, NewView, PeerMessage, Prepare, ViewChange};
use crate::mutant::{self, Mutant};
use crate::process::{Effect, Recipient, Record, Say};
use crate::signed::{Signed, Verified};
use crate::standing::Proof;
use crate::types::{Digest, Position, ReplicaId, Seq, View};

/// The NEW-VIEW that opened a view, with the VIEW-CHANGEs it names: kept to be shown to others.
#[derive(Debug, Clone)]
pub(super) struct OpenView {
    pub(super) new_view: Verified<Signed<NewView>>,
    pub(super) view_changes: Vec<Arc<NamedViewChange>>,
}

/// A NEW-VIEW whose VIEW-CHANGEs are not all here yet, and those that are, kept apart so that nobody can overwrite them.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    new_view: Verified<Signed<NewView>>,
    pub(super) collected: Vec<Arc<NamedViewChange>>,
    /// How often the others were asked for the rest.
    asked: u32,
}

/// So often is asked for the VIEW-CHANGEs of one NEW-VIEW. Whoever entered its view shows it again.
const ASKED_MAX: u32 = 40;

impl Candidate {
    fn keep(&mut self, message: &Arc<NamedViewChange>) {
        if self.lacks_this(message) {
            self.collected.push(Arc::clone(message));
        }
    }

    /// The view it opens, and whose VIEW-CHANGEs are missing.
    pub(super) fn lacks(&self) -> (View, Vec<ReplicaId>) {
        let here = |signer: ReplicaId| self.collected.iter().any(|held| held.signer == signer);
        let named = self.new_view.view_changes.iter().map(|(signer, _)| *signer);
        (self.new_view.view, named.filter(|signer| !here(*signer)).collect())
    }

    /// Whether it names this very VIEW-CHANGE and does not have it.
    pub(super) fn lacks_this(&self, message: &NamedViewChange) -> bool {
        let have = self.collected.iter().any(|held| held.signer == message.signer);
        !have && self.new_view.view_changes.contains(&(message.signer, message.digest()))
    }

    pub(super) fn new_view(&self) -> &Signed<NewView> {
        &self.new_view
    }

    pub(super) fn is_for(&self, view: View) -> bool {
        self.new_view.view == view
    }

    /// What it is about and what it lacks, as a number.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.new_view.view_changes.iter().for_each(|(signer, digest)| (signer.0, digest).hash(&mut hasher));
        self.collected.iter().for_each(|held| held.signer.0.hash(&mut hasher));
        self.new_view.view.0.hash(&mut hasher);
        hasher.finish()
    }

    fn is_complete(&self) -> bool {
        let named = mutant::is(Mutant::M6) && self.lacks().1.is_empty();
        named || self.collected.len() == self.new_view.view_changes.len()
    }
}

/// What a new view proposes again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reproposals {
    /// The newest stable checkpoint among the view changes; none at the beginning of the epoch.
    pub stable: Option<Certificate<Checkpoint>>,
    /// Digest for every slot above it, up to the last that prepared anywhere; the null batch fills gaps.
    pub slots: Vec<(Seq, Digest)>,
}

/// Two things that cannot both be, unless more than f replicas are faulty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contradiction {
    /// The slot.
    pub seq: Seq,
    /// One digest.
    pub one: Digest,
    /// The other.
    pub other: Digest,
}

/// What follows from a quorum of VIEW-CHANGEs: for each slot the certificate of the HIGHEST view wins.
///
/// # Errors
/// [`Contradiction`] if two certificates of one view, or two stable checkpoints of one slot, differ.
pub fn reproposals(
    view_changes: &[Arc<NamedViewChange>],
    null: Digest,
) -> Result<Reproposals, Contradiction> {
    let mut stable: Option<&Certificate<Checkpoint>> = None;
    for certificate in view_changes.iter().filter_map(|message| message.stable.as_ref()) {
        let (seq, root) = (certificate.statement.seq, certificate.statement.root);
        match stable.map(|held| held.statement) {
            Some(held) if mutant::is(Mutant::M10) && held.seq <= seq => {}
            Some(held) if held.seq >= seq && mutant::is(Mutant::M10) => stable = Some(certificate),
            Some(held) if held.seq == seq && held.root != root => {
                return Err(Contradiction { seq, one: held.root, other: root });
            }
            Some(held) if held.seq >= seq => {}
            _ => stable = Some(certificate),
        }
    }
    let low = stable.map_or(Seq(0), |certificate| certificate.statement.seq);
    let mut best: BTreeMap<Seq, Prepare> = BTreeMap::new();
    let certificates = view_changes.iter().flat_map(|message| message.prepared.iter());
    for prepare in certificates.map(|certificate| certificate.statement).filter(|prepare| prepare.seq > low) {
        match best.get(&prepare.seq) {
            Some(held) if held.view != prepare.view && mutant::is(Mutant::M1) => {}
            Some(held) if held.view > prepare.view || *held == prepare => {}
            Some(held) if held.view == prepare.view && mutant::is(Mutant::M11) => {
                best.insert(prepare.seq, if prepare.digest < held.digest { prepare } else { *held });
            }
            Some(held) if held.view == prepare.view => {
                return Err(Contradiction { seq: prepare.seq, one: held.digest, other: prepare.digest });
            }
            _ => {
                best.insert(prepare.seq, prepare);
            }
        }
    }
    let mut last = best.last_key_value().map_or(low, |(seq, _)| *seq);
    if mutant::is(Mutant::M32) {
        last = Seq(last.0.saturating_sub(1)).max(low);
    }
    if mutant::is(Mutant::M45) {
        last = (low.0 + 1..=last.0).map(Seq).take_while(|seq| best.contains_key(seq)).last().unwrap_or(low);
    }
    let known = |seq| best.get(&seq).filter(|_| !mutant::is(Mutant::M9));
    let digest_at = |seq| known(seq).map_or(null, |prepare| prepare.digest);
    let slots = (low.0 + 1..=last.0).map(Seq).map(|seq| (seq, digest_at(seq))).collect();
    Ok(Reproposals { stable: stable.cloned(), slots })
}

/// A certificate for this digest at this slot that one of the VIEW-CHANGEs shows: the newest.
fn proof_in(view_changes: &[Arc<NamedViewChange>], seq: Seq, digest: Digest) -> Option<Proof> {
    let prepared = view_changes.iter().flat_map(|message| message.prepared.iter());
    let prepared = prepared.filter(|shown| (shown.statement.seq, shown.statement.digest) == (seq, digest));
    let mut stable = view_changes.iter().filter_map(|message| message.stable.as_ref());
    let stable = stable.find(|shown| (shown.statement.seq, shown.statement.root) == (seq, digest));
    let prepared = prepared.max_by_key(|shown| shown.statement.view);
    let prepared = prepared.map(|shown| Proof::Prepared(shown.clone()));
    prepared.or_else(|| stable.map(|shown| Proof::Stable(shown.clone())))
}

impl Replica {
    /// Replicas, this one included, whose newest VIEW-CHANGE is for `view` or later.
    pub(super) fn replicas_at_or_above(&self, view: View) -> usize {
        let others =
            self.view_changes.iter().filter(|(id, held)| **id != self.id && held.view >= view).count();
        others + usize::from(self.view >= view)
    }

    /// Leaves the view: from now on nothing of an older view is decided here any more.
    /// An amnesiac that must not say so stays, and enters by NEW-VIEW only.
    pub(super) fn start_view_change(&mut self, view: View, out: &mut Out<'_>) {
        // No view comes after the last there is.
        if view == self.view || !self.may_change_to(view) || self.is_mute() {
            return;
        }
        assert!(view > self.view, "views only grow");
        self.view = view;
        self.status = Status::ViewChanging;
        self.counters.view_changes += 1;
        self.timers.restart();
        self.settle_strays(out.now);
        for (_, slot) in self.log.open_slots_mut() {
            slot.leave_view();
            if mutant::is(Mutant::M12) {
                slot.prepared = None;
            }
        }
        let prepared = self.log.open_slots().filter_map(|(_, slot)| slot.prepared.as_ref());
        let message = ViewChange {
            view,
            stable: self.stable.as_ref().map(|certificate| (**certificate).clone()),
            prepared: List(prepared.map(|certificate| (**certificate).clone()).collect()),
        };
        self.my_view_change = None;
        self.promise(view, Seq(0), out);
        let after = self.persist(Record::ViewChange(message.clone()), out);
        Self::say(Say::ViewChange(message), after, out);
        self.try_enter(out);
    }

    /// Sends the same bytes again, to whoever may have missed them.
    pub(super) fn repeat_view_change(&mut self, out: &mut Out<'_>) {
        if let Some(mine) = self.my_view_change.as_ref().filter(|_| !self.is_mute()) {
            Self::say(Say::Relay(PeerMessage::ViewChange(mine.clone())), Position(0), out);
        }
    }

    pub(super) fn on_view_change(&mut self, message: Verified<Arc<NamedViewChange>>, out: &mut Out<'_>) {
        let signer = message.signer;
        if !self.knows_view(signer, message.view, out) || !self.knows_prepares(message.prepared.iter(), out) {
            return;
        }
        self.doubt_view_change(&message, out);
        let mine = signer == self.id && self.may_change_to(message.view);
        if mine && message.view == self.view && self.my_view_change.is_none() {
            self.my_view_change = Some(Arc::clone(&message));
        }
        if self.view_changes.get(&signer).is_none_or(|held| held.view < message.view) {
            self.view_changes.insert(signer, message.clone());
        } else if mutant::is(Mutant::M7) {
            let newer =
                |id: &ReplicaId| self.view_changes.get(id).is_none_or(|held| held.view < message.view);
            let seat = self.context.committee.replicas().filter(|id| *id != self.id).find(newer);
            self.view_changes.insert(seat.unwrap_or(signer), message.clone());
        }
        if mutant::is(Mutant::M22) {
            self.chosen.push(Arc::clone(&message));
        }
        for candidate in self.candidates.values_mut() {
            candidate.keep(&message);
        }
        self.join(out);
        self.try_open(out);
        self.try_enter(out);
    }

    /// If f + 1 others are beyond this view, at least one correct replica is: join the highest view that one waits in.
    fn join(&mut self, out: &mut Out<'_>) {
        let others = self.view_changes.iter().filter(|(id, _)| **id != self.id);
        let mut views: Vec<View> =
            others.map(|(_, held)| held.view).filter(|view| *view > self.view).collect();
        views.sort_unstable_by(|one, other| other.cmp(one));
        let mut place = self.context.committee.faults() + usize::from(mutant::is(Mutant::M16));
        if mutant::is(Mutant::M44) {
            place = 0;
        }
        if let Some(view) = views.get(place).copied() {
            // One of them may be the primary, who hands this view over for the other.
            if view == self.view.next() {
                self.leave_deserted(out);
            }
            if view > self.view {
                self.start_view_change(view, out);
            }
        }
    }

    /// As the new primary: opens the view with a quorum of VIEW-CHANGEs for exactly this view, once.
    fn try_open(&mut self, out: &mut Out<'_>) {
        let opened = self.new_view.as_ref().is_some_and(|open| open.new_view.view >= self.view);
        let said = self.opening == Some(self.view);
        let changing = self.status == Status::ViewChanging && !self.is_mute() && !self.is_retiring();
        if !changing || self.primary() != self.id || opened || said {
            return;
        }
        let exact = self.view_changes.values().filter(|held| held.view == self.view);
        let chosen: Vec<_> = exact.take(self.quorum()).map(|held| Arc::clone(held)).collect();
        if chosen.len() < self.quorum() {
            return;
        }
        self.opening = Some(self.view);
        let named = chosen.iter().map(|message| (message.signer, message.digest())).collect();
        let message = NewView { view: self.view, view_changes: List(named) };
        self.chosen = chosen.clone();
        let after = self.persist(
            Record::NewView { new_view: message.clone(), signature: None, view_changes: chosen },
            out,
        );
        Self::say(Say::NewView(message), after, out);
    }

    /// Whether this replica may enter `view` by a NEW-VIEW; never the one it is in, nor an older one.
    pub(super) fn may_enter(&self, view: View) -> bool {
        let between =
            matches!(self.status, Status::ViewChanging | Status::Recovering) || mutant::is(Mutant::M8);
        view > self.view || (view == self.view && between)
    }

    pub(super) fn on_new_view(&mut self, message: Verified<Signed<NewView>>, out: &mut Out<'_>) {
        self.doubt_new_view(&message, out);
        if !self.may_enter(message.view) || !self.knows_view(message.signer, message.view, out) {
            return;
        }
        let signer = message.signer;
        // Whoever repeats an old NEW-VIEW of this signer must not drive out its newer one.
        let known = self.candidates.get(&signer);
        if known.is_some_and(|known| known.new_view.view > message.view) {
            return;
        }
        let asked = known.map_or(0, |known| known.asked);
        let mut candidate = Candidate { new_view: message, collected: Vec::new(), asked };
        for held in self.view_changes.values() {
            candidate.keep(held);
        }
        if signer == self.id {
            self.chosen.iter().for_each(|held| candidate.keep(held));
        }
        if let Some(known) = self.candidates.remove(&signer) {
            known.collected.iter().for_each(|held| candidate.keep(held));
        }
        self.candidates.insert(signer, candidate);
        self.try_enter(out);
        self.timers.fetch = Some(self.fetches.may_ask_for_views().max(out.now));
    }

    /// Asks for the VIEW-CHANGEs that a candidate names and that are not here: one candidate at a time, in turn.
    pub(super) fn fetch_view_changes(&mut self, out: &mut Out<'_>) {
        if self.candidates.is_empty() || self.fetches.may_ask_for_views() > out.now {
            return;
        }
        self.fetches.asked_for_views(out.now);
        let turn =
            self.candidates.iter().min_by_key(|(_, candidate)| (candidate.asked, candidate.new_view.view));
        let Some(signer) = turn.map(|(signer, _)| *signer) else { return };
        let Some(candidate) = self.candidates.get_mut(&signer) else { return };
        candidate.asked += 1;
        let view = candidate.new_view.view;
        let have: Vec<ReplicaId> = candidate.collected.iter().map(|held| held.signer).collect();
        for (signer, digest) in
            candidate.new_view.view_changes.iter().filter(|(signer, _)| !have.contains(signer))
        {
            self.counters.fetches += 1;
            let message = PeerMessage::FetchViewChange { view, signer: *signer, digest: *digest };
            Self::say(Say::Relay(message), Position(0), out);
        }
        if candidate.asked >= ASKED_MAX {
            self.candidates.remove(&signer);
        }
    }

    pub(super) fn on_fetch_view_change(
        &mut self,
        from: ReplicaId,
        (view, signer, digest): (View, ReplicaId, Digest),
        out: &mut Out<'_>,
    ) {
        if from == self.id {
            return;
        }
        let shown = self.new_view.iter().flat_map(|open| &open.view_changes);
        let current = self.view_changes.get(&signer).map(|held| &**held);
        let collected = self.candidates.values().flat_map(|candidate| &candidate.collected);
        let mut held = shown.chain(&self.chosen).chain(collected).chain(current);
        let found = held.find(|held| held.signer == signer && held.view == view && held.digest() == digest);
        if let Some(found) = found.filter(|_| self.fetches.may_serve(from, digest, out.now)) {
            let message = Say::Relay(PeerMessage::ViewChange(found.clone()));
            out.push(Effect::Send { to: Recipient::Replica(from), message, after: Position(0) });
        }
    }

    /// Enters the view of a candidate once every VIEW-CHANGE it names is here.
    pub(super) fn try_enter(&mut self, out: &mut Out<'_>) {
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.retain(|_, held| self.may_enter(held.new_view.view));
        self.candidates = candidates;
        let complete = self.candidates.iter().filter(|(_, candidate)| candidate.is_complete());
        let highest =
            complete.max_by_key(|(_, candidate)| candidate.new_view.view).map(|(signer, _)| *signer);
        let Some(candidate) = highest.and_then(|signer| self.candidates.remove(&signer)) else { return };
        let Candidate { new_view, collected: mut view_changes, .. } = candidate;
        view_changes.sort_by_key(|message| message.signer);
        if view_changes.iter().any(|message| message.view != new_view.view) {
            // Signed proof that this primary is faulty. It must not choose how far the views advance, so only those
            // who wait for it move on.
            if new_view.view == self.view && self.replicas_at_or_above(self.view) >= self.quorum() {
                self.start_view_change(self.view.next(), out);
            }
            return;
        }
        match reproposals(&view_changes, self.null) {
            Ok(reproposals) => self.enter(new_view, view_changes, reproposals, out),
            Err(found) => {
                let proofs = |digest| proof_in(&view_changes, found.seq, digest);
                let conflict = [proofs(found.one), proofs(found.other)].into_iter().flatten();
                self.disagree(found, conflict, out);
            }
        }
    }

    fn enter(
        &mut self,
        new_view: Verified<Signed<NewView>>,
        view_changes: Vec<Arc<NamedViewChange>>,
        reproposals: Reproposals,
        out: &mut Out<'_>,
    ) {
        let view = new_view.view;
        self.view = view;
        self.status = Status::Normal;
        self.timers.restart();
        self.settle_strays(out.now);
        self.settle_ahead();
        self.forget_plea(new_view.signer);
        // Its own it made durable before it sent it, unless that was before it forgot.
        if self.opening != Some(view) {
            self.promise(view, Seq(0), out);
            let signature = Some(new_view.signature);
            let new_view = new_view.body.clone();
            self.persist(Record::NewView { new_view, signature, view_changes: view_changes.clone() }, out);
        }
        self.new_view = Some(OpenView { new_view, view_changes });
        self.show_entry(out);
        for (_, slot) in self.log.open_slots_mut() {
            slot.leave_view();
        }
        let low = reproposals.stable.as_ref().map_or(Seq(0), |certificate| certificate.statement.seq);
        self.new_view_floor = reproposals.slots.last().map_or(low, |(seq, _)| *seq);
        if mutant::is(Mutant::M31) {
            self.new_view_floor = Seq(0);
        } else if let Some(stable) = reproposals.stable {
            // It was checked as part of the VIEW-CHANGE that carried it.
            self.on_stable(Verified::vouch(stable), out);
            if self.status == Status::Halted {
                return;
            }
        }
        let quorum = self.quorum();
        for (seq, digest) in reproposals.slots {
            if !self.repropose(Prepare { view, seq, digest }, out) {
                return;
            }
        }
        self.next = self.new_view_floor.max(self.log.low()).next();
        let primary = self.primary();
        for (seq, slot) in self.log.open_slots_mut() {
            if let Some(certificate) = slot.prepares.quorum(view, quorum) {
                slot.learn_prepared(certificate, view);
            }
            let early = slot.prepares.vote_of(primary).filter(|vote| vote.view == view);
            if let Some(vote) = early.filter(|_| seq > self.new_view_floor) {
                slot.proposal.get_or_insert(vote.body);
            }
            slot.forget_bodies();
        }
        let slots: Vec<Seq> =
            self.log.open_slots().filter(|(_, slot)| slot.proposal.is_some()).map(|(seq, _)| seq).collect();
        let bodies: Vec<_> = slots
            .iter()
            .filter_map(|seq| {
                let slot = self.log.get(*seq)?;
                slot.body(&slot.proposal?.digest).cloned()
            })
            .collect();
        self.pool.reset(&bodies);
        for seq in slots {
            self.advance(seq, out);
        }
    }

    /// Makes what the NEW-VIEW decided the only proposal of its slot. False: it contradicts what executed here.
    fn repropose(&mut self, prepare: Prepare, out: &mut Out<'_>) -> bool {
        let Some(slot) = self.log.open(prepare.seq) else { return true };
        if let Some(certificate) = &slot.committed {
            if certificate.statement.view >= prepare.view {
                return true;
            }
            if certificate.statement.digest != prepare.digest {
                let (one, other) = (certificate.statement.digest, prepare.digest);
                let found = Contradiction { seq: prepare.seq, one, other };
                // If nobody showed a certificate for this slot, the NEW-VIEW proves that, which the journal has.
                let opened = self.new_view.as_ref();
                let shown = opened.and_then(|held| proof_in(&held.view_changes, found.seq, found.other));
                let committed = Proof::Committed((**certificate).clone());
                self.disagree(found, std::iter::once(committed).chain(shown), out);
                return false;
            }
        }
        slot.proposal = Some(prepare);
        slot.decided_by_new_view = true;
        true
    }
}
