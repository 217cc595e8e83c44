//! A replica that comes back: what it promised, read from its journal, and what it says again because of it.

use std::sync::Arc;

use super::{AmnesiaBox, Out, Replica, Status};
use crate::certificate::Certificate;
use crate::codec;
use crate::message::{Checkpoint, Commit, NamedViewChange, NewView, Prepare, ViewChange};
use crate::mutant::{self, Mutant};
use crate::parameters::Context;
use crate::process::{Alarm, Effect, Record, Say};
use crate::signed::{Signed, Verified};
use crate::standing::{Exclusion, Standing};
use crate::types::{Digest, Position, ReplicaId, Seq, Time, View};

use super::view_change::{OpenView, reproposals};

/// What a replica's disk remembers of it.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// The journal's records that stand, in order, each with the bytes that were signed with it.
    pub records: Vec<(Record, Option<Vec<u8>>)>,
    /// The journal's last position.
    pub position: Position,
    /// The durable horizon: highest view and slot it may have voted in.
    pub promised: (View, Seq),
    /// The newest state that is on the disk, if any, and its root.
    pub state: Option<(Seq, Digest)>,
    /// How far the promises reached that the journal lost, if it did.
    pub amnesia: Option<AmnesiaBox>,
    /// What the superblock says of its word. The state is one that this does not condemn.
    pub standing: Standing,
    /// The newest slot, not beyond the state, at which a state here is known to be the certified one; 0 if none is.
    pub agreed: Seq,
}

/// A journal that no correct replica writes. The replica stays out rather than guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the journal's {0}; restore this replica under a new key rather than let it vote")]
pub struct Unrecoverable(&'static str);

/// The newest stable certificate among the records, and whether it has a record of its own: the one that a NEW-VIEW
/// brought is recorded after it, and a crash may have come between.
fn newest_stable(records: &[(Record, Option<Vec<u8>>)]) -> (Option<Certificate<Checkpoint>>, bool) {
    let (mut recorded, mut shown) = (None, None);
    for (record, _) in records {
        match record {
            Record::Stable(certificate) => recorded = newer(recorded, certificate),
            Record::NewView { view_changes, .. } => {
                let stable = view_changes.iter().filter_map(|message| message.stable.as_ref());
                shown = stable.fold(shown, newer);
            }
            _ => {}
        }
    }
    let seq = |held: Option<&Certificate<Checkpoint>>| held.map(|held| held.statement.seq);
    if seq(recorded) >= seq(shown) { (recorded.cloned(), true) } else { (shown.cloned(), false) }
}

fn newer<'a>(
    held: Option<&'a Certificate<Checkpoint>>,
    other: &'a Certificate<Checkpoint>,
) -> Option<&'a Certificate<Checkpoint>> {
    Some(held.filter(|held| held.statement.seq >= other.statement.seq).unwrap_or(other))
}

impl Replica {
    /// A replica that remembers. It votes in no view that it left, and for nothing else where it voted before; what it
    /// says again is, byte for byte, what it said.
    ///
    /// # Errors
    /// [`Unrecoverable`] if the records contradict each other.
    pub fn recover(
        context: Context,
        id: ReplicaId,
        memory: Memory,
        now: Time,
        effects: &mut Vec<Effect>,
    ) -> Result<Self, Unrecoverable> {
        let mut replica = Self::new(context, id);
        replica.position = memory.position;
        (replica.promised, replica.standing) = (memory.promised, memory.standing);
        if mutant::is(Mutant::M38) {
            replica.standing = Standing::Normal;
        }
        // Its CHECKPOINTs are in no journal. Those for wrong states lie in the window that began no later than where it was
        // found to be wrong.
        let window = replica.parameters().window;
        replica.unsure = replica.standing.divergence().map_or(Seq(0), |wrong| wrong.seq.plus(window));
        if let Some((seq, root)) = memory.state {
            (replica.executed, replica.handed, replica.committed) = (seq, seq, seq);
            replica.roots.insert(seq, root);
        }
        if let Some(forgot) = memory.amnesia {
            replica.come_back_in(forgot);
        }
        // Watermarks first: records of slots below them are of no use.
        let (stable, recorded) = newest_stable(&memory.records);
        if let Some(certificate) = stable {
            let Checkpoint { seq, root, .. } = certificate.statement;
            let contradicted = memory.state.is_some_and(|(of, ours)| of == seq && ours != root);
            if contradicted && !mutant::is(Mutant::M41) {
                return Err(Unrecoverable("stable certificate is of another state than the one on the disk"));
            }
            replica.log.raise(seq, replica.handed);
            replica.committed = replica.committed.max(seq);
            replica.stable = Some(Verified::vouch(certificate));
        }
        replica.log.release(replica.handed);
        // A state beyond that one was computed here, and never compared with anybody's.
        replica.agreed = match memory.state {
            Some((seq, _)) if seq == replica.log.low() => seq,
            _ => memory.agreed.min(replica.executed),
        };
        // The journal forgets a NEW-VIEW before the votes of its view: those bind nobody in the view that came after.
        let newest = memory.records.iter().filter_map(|(record, _)| match record {
            Record::ViewChange(message) => Some(message.view),
            Record::NewView { new_view, .. } => Some(new_view.view),
            _ => None,
        });
        let newest = newest.max().unwrap_or_default();
        for (record, signed) in memory.records {
            if matches!(&record, Record::Vote { prepare, .. } if prepare.view < newest) {
                continue;
            }
            replica.remember(record, signed.as_deref())?;
        }
        replica.go_back();
        let mut out = Out { now, effects };
        // It may have stopped between the state that it installed and the horizon that covers it.
        replica.cover(replica.executed, &mut out);
        if let Some(certificate) = replica.stable.clone().filter(|_| !recorded) {
            replica.persist(Record::Stable(certificate.into_inner()), &mut out);
        }
        if let Standing::Out(Exclusion::Contradiction { seq, one, other, .. }) = replica.standing {
            // What made it stop is as true as before.
            replica.status = Status::Halted;
            replica.marks.halted_by = Some(Alarm::Agreement { seq, one, other });
            return Ok(replica);
        }
        replica.resume(&mut out)?;
        Ok(replica)
    }

    fn remember(&mut self, record: Record, signed: Option<&[u8]>) -> Result<(), Unrecoverable> {
        match record {
            Record::Stable(_) | Record::Healed | Record::Standing(_) => {}
            Record::Horizon { view, high } => {
                self.promised = (self.promised.0.max(view), self.promised.1.max(high));
            }
            Record::Body { seq, body } => {
                self.room.keep(seq, &body);
                if body.batch.digest(self.context.cluster) != body.digest {
                    return Err(Unrecoverable("body is not the one it is named after"));
                }
                let slot = self.log.open(seq);
                if let Some(slot) = slot.filter(|slot| slot.body(&body.digest).is_none()) {
                    slot.kept.push(body.digest);
                    slot.bodies.push(body);
                }
            }
            Record::Vote { prepare, .. } => self.remember_vote(prepare)?,
            Record::Prepared(certificate) => {
                let Prepare { view, seq, .. } = certificate.statement;
                let mine = self.view;
                if let Some(slot) = self.log.open(seq) {
                    slot.learn_prepared(Verified::vouch(certificate), view.max(mine));
                }
            }
            Record::ViewChange(message) => self.remember_view_change(&message, signed)?,
            Record::NewView { new_view, view_changes, .. } => {
                let signed = signed.and_then(|bytes| codec::decode::<Signed<NewView>>(bytes).ok());
                let signed = signed.filter(|signed| signed.body == new_view);
                let signed = signed.ok_or(Unrecoverable("NEW-VIEW lacks its signature"))?;
                self.remember_new_view(Verified::vouch(signed), view_changes)?;
            }
        }
        Ok(())
    }

    fn remember_vote(&mut self, prepare: Prepare) -> Result<(), Unrecoverable> {
        if prepare.view < self.view {
            return Ok(());
        }
        if prepare.view > self.view {
            return Err(Unrecoverable("votes are of a view that it never entered"));
        }
        let Some(slot) = self.log.open(prepare.seq) else { return Ok(()) };
        if slot.proposal.is_some_and(|held| held != prepare) {
            return Err(Unrecoverable("votes contradict each other"));
        }
        slot.proposal = Some(prepare);
        slot.sent_prepare = true;
        self.next = self.next.max(prepare.seq.next());
        Ok(())
    }

    fn remember_view_change(
        &mut self,
        message: &ViewChange,
        signed: Option<&[u8]>,
    ) -> Result<(), Unrecoverable> {
        let signed = signed.and_then(|bytes| codec::decode::<NamedViewChange>(bytes).ok());
        let signed = signed.filter(|signed| signed.body == *message && signed.signer == self.id);
        let signed = Arc::new(signed.ok_or(Unrecoverable("VIEW-CHANGE lacks its signature"))?);
        self.view_changes.insert(self.id, Verified::vouch(Arc::clone(&signed)));
        if message.view > self.view && !mutant::is(Mutant::M25) {
            self.view = message.view;
            self.status = Status::ViewChanging;
            self.my_view_change = Some(signed);
            for (_, slot) in self.log.open_slots_mut() {
                slot.leave_view();
            }
        }
        Ok(())
    }

    fn remember_new_view(
        &mut self,
        new_view: Verified<Signed<NewView>>,
        view_changes: Vec<Arc<NamedViewChange>>,
    ) -> Result<(), Unrecoverable> {
        let view = new_view.view;
        if view < self.view {
            return Ok(());
        }
        let contradiction = Unrecoverable("NEW-VIEW names view changes that contradict each other");
        let reproposals = reproposals(&view_changes, self.null).map_err(|_| contradiction)?;
        self.view = view;
        self.status = Status::Normal;
        self.opening = (new_view.signer == self.id).then_some(view);
        let low = reproposals.stable.as_ref().map_or(Seq(0), |certificate| certificate.statement.seq);
        self.new_view_floor = reproposals.slots.last().map_or(low, |(seq, _)| *seq);
        for (_, slot) in self.log.open_slots_mut() {
            slot.leave_view();
        }
        for (seq, digest) in reproposals.slots {
            if let Some(slot) = self.log.open(seq) {
                slot.proposal = Some(Prepare { view, seq, digest });
                slot.decided_by_new_view = true;
            }
        }
        self.new_view = Some(OpenView { new_view, view_changes });
        self.next = self.new_view_floor.max(self.log.low()).next();
        Ok(())
    }

    /// Says again what it said in its view, and asks what it missed.
    fn resume(&mut self, out: &mut Out<'_>) -> Result<(), Unrecoverable> {
        self.next = self.next.max(self.log.low().next());
        self.room.release(self.log.low());
        if self.promised.0 < self.view {
            return Err(Unrecoverable("view is beyond the horizon in the superblock"));
        }
        self.timers.trust(self.view);
        let (view, position) = (self.view, self.position);
        if self.status == Status::Normal {
            let slots: Vec<Seq> = self.log.open_slots().map(|(seq, _)| seq).collect();
            for seq in slots {
                if let Some(slot) = self.log.get_mut(seq) {
                    // A certificate from the journal: its COMMIT was said, or nobody can tell that it was not.
                    let prepared = slot.prepared.as_ref().map(|certificate| certificate.statement.view);
                    slot.sent_commit = prepared == Some(view);
                }
                if !self.is_mute() {
                    self.repeat_votes(view, seq, position, out);
                }
                self.advance(seq, out);
            }
        }
        let mut roots = self.roots.iter();
        let newest = roots.next_back().filter(|(seq, _)| **seq > self.log.low());
        if let Some((seq, root)) = newest.filter(|_| !self.is_mute()) {
            self.say_checkpoint(*seq, *root, out);
        }
        if self.behind()
            && let Some(stable) = &self.stable
        {
            out.push(Effect::Install((**stable).clone()));
        }
        self.repeat_view_change(out);
        self.say_status(out);
        self.watch(out.now);
        self.mark_return(out.now);
        Ok(())
    }

    /// Says again what it has said at a slot, and nothing that it has not: what it learnt since may rest on no record.
    pub(super) fn repeat_votes(&mut self, view: View, seq: Seq, position: Position, out: &mut Out<'_>) {
        let primary = self.primary() == self.id && seq > self.new_view_floor;
        let null = self.null;
        let Some(slot) = self.log.get_mut(seq) else { return };
        if slot.proposal.is_some_and(|held| held.digest != null && slot.body(&held.digest).is_none()) {
            // Its disk lost the body. The vote binds, but vouches for the body only when that is here again.
            slot.decided_by_new_view |= slot.sent_prepare;
            slot.sent_prepare = false;
        }
        if let Some(prepare) = slot.proposal.filter(|_| slot.sent_prepare) {
            let body = slot.body(&prepare.digest).cloned();
            if primary {
                Self::say(Say::PrePrepare { prepare, body }, position, out);
            } else {
                Self::say(Say::Prepare(prepare), position, out);
            }
        }
        let prepared = slot.prepared.as_ref().map(|certificate| certificate.statement);
        if let Some(Prepare { digest, .. }) =
            prepared.filter(|prepare| (slot.sent_commit || mutant::is(Mutant::M37)) && prepare.view == view)
        {
            Self::say(Say::Commit(Commit { view, seq, digest }), position, out);
        }
    }
}
