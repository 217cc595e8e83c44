//! A replica whose own past speaks against it: its state is not the one that enough others have, or it met proof that
//! its word counts for nothing.
//!
//! It stops voting and answering in the very step in which it learns so, and its superblock says so before anything
//! else is written. One wrong state may be the work of a broken memory chip: the replica keeps the evidence, fetches a
//! certified state and takes part again. One that is wrong twice stays out.

use super::{Contradiction, Out, Replica, Status};
use crate::certificate::Certificate;
use crate::message::Checkpoint;
use crate::process::{Alarm, Effect, Record};
use crate::signed::Signed;
use crate::standing::{Batches, Divergence, Evidence, Exclusion, Proof, Standing};
use crate::types::Seq;

impl Replica {
    /// What this replica's past leaves of its word.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Whether it keeps to itself: no vote, no proposal, no view change, no reply.
    #[must_use]
    pub fn is_mute(&self) -> bool {
        self.status == Status::Halted || self.standing.is_mute()
    }

    /// The checkpoint at which its state was wrong, while no certified one has taken its place.
    pub(super) fn unmended(&self) -> Option<Divergence> {
        match self.standing {
            Standing::Diverged { divergence, mended: false } => Some(divergence),
            Standing::Normal | Standing::Diverged { mended: true, .. } | Standing::Out(_) => None,
        }
    }

    /// Stops for good: what made it stop will be true after every restart.
    pub(super) fn exclude(&mut self, why: Exclusion, alarm: Alarm, out: &mut Out<'_>) {
        self.status = Status::Halted;
        // That too many are faulty is worse than whatever kept only this one out.
        let worse = |held: Exclusion| why.halts() && !held.halts();
        let stays = matches!(self.standing, Standing::Out(held) if !worse(held));
        if !stays {
            // States that follow from a wrong one are not to be used, whatever else is known of this replica.
            let wrong = self.standing.unmended();
            self.standing = Standing::Out(why.with_wrong(why.wrong().or(wrong)));
            self.persist(Record::Standing(self.standing), out);
        }
        self.alarm(alarm, out);
    }

    /// Two certificates exclude each other: more replicas are faulty than the cluster tolerates. What proves it is kept,
    /// for nobody can say any more which of the two holds.
    pub(super) fn disagree(
        &mut self,
        found: Contradiction,
        conflict: impl IntoIterator<Item = Proof>,
        out: &mut Out<'_>,
    ) {
        let Contradiction { seq, one, other } = found;
        let divergence = Divergence { seq, ours: one, theirs: other };
        let evidence = self.evidence(divergence, (Vec::new(), None), Batches::default());
        let conflict = conflict.into_iter().collect();
        out.push(Effect::Preserve(Box::new(Evidence { proven: false, conflict, ..evidence })));
        let why = Exclusion::Contradiction { seq, one, other, wrong: None };
        self.exclude(why, Alarm::Agreement { seq, one, other }, out);
    }

    /// The slots between the last checkpoint that was right and one that is not, as far as they are still here.
    pub(super) fn batches_until(&self, seq: Seq) -> Batches {
        let batch = |seq| {
            let slot = self.log.get(seq)?;
            let digest = slot.committed.as_ref()?.statement.digest;
            let body = slot.body(&digest).cloned();
            (body.is_some() || digest == self.null).then_some((seq, body))
        };
        let here = self.log.slots().count() as u64;
        let after = self.agreed.0.max(seq.0.saturating_sub(here));
        Batches((after + 1..=seq.0).map(Seq).filter_map(batch).collect())
    }

    /// The state here is not what a certificate says.
    pub(super) fn contradicted(
        &mut self,
        by: &Certificate<Checkpoint>,
        ours: Checkpoint,
        batches: Batches,
        out: &mut Out<'_>,
    ) {
        let divergence = Divergence { seq: ours.seq, ours: ours.root, theirs: by.statement.root };
        self.diverged(self.evidence(divergence, (Vec::new(), Some(by.clone())), batches), out);
    }

    /// The state here is not what f + 1 replicas say: at least one of them is correct, so this one is wrong.
    pub(super) fn outvoted(&mut self, by: Vec<Signed<Checkpoint>>, ours: Checkpoint, out: &mut Out<'_>) {
        let Some(theirs) = by.first().map(|vote| vote.root) else { return };
        let divergence = Divergence { seq: ours.seq, ours: ours.root, theirs };
        let batches = self.batches_until(ours.seq);
        self.diverged(self.evidence(divergence, (by, None), batches), out);
    }

    fn evidence(
        &self,
        divergence: Divergence,
        (votes, certificate): (Vec<Signed<Checkpoint>>, Option<Certificate<Checkpoint>>),
        batches: Batches,
    ) -> Evidence {
        let (agreed, conflict) = (self.agreed, Vec::new());
        Evidence { divergence, proven: true, agreed, votes, certificate, batches, conflict }
    }

    /// Notices that a checkpoint cannot become stable any more, because correct replicas have different states: an
    /// application that is not deterministic leaves f + 1 equal ones perhaps to nobody. Who is wrong is not known, so
    /// nobody stops; the window fills, and operators hear why.
    pub(super) fn notice_split(&mut self, seq: Seq, out: &mut Out<'_>) {
        let Some(tally) = self.checkpoints.get(&seq).filter(|_| !self.is_mute() && self.split <= self.agreed)
        else {
            return;
        };
        let Some(ours) = self.roots.get(&seq).copied() else { return };
        let votes: Vec<Signed<Checkpoint>> = tally.votes().filter_map(|(id, _)| tally.vote_of(id)).collect();
        let most = |of: &dyn Fn(&&Signed<Checkpoint>) -> bool| {
            votes.iter().filter(|vote| of(vote)).max_by_key(|vote| tally.count(&vote.body))
        };
        let best = most(&|_| true).map_or(0, |vote| tally.count(&vote.body));
        let missing = self.context.committee.size() - votes.len();
        let Some(theirs) = most(&|vote| vote.root != ours).map(|vote| vote.root) else { return };
        if best + missing >= self.quorum() {
            return;
        }
        self.split = seq;
        let (divergence, batches) = (Divergence { seq, ours, theirs }, self.batches_until(seq));
        let evidence = Evidence { proven: false, ..self.evidence(divergence, (votes, None), batches) };
        out.push(Effect::Preserve(Box::new(evidence)));
        self.alarm(Alarm::Split { seq }, out);
    }

    fn diverged(&mut self, evidence: Evidence, out: &mut Out<'_>) {
        if self.unmended().is_some() {
            return;
        }
        let divergence = evidence.divergence;
        let Divergence { seq, ours, theirs } = divergence;
        // What executes here from now on follows from a wrong state.
        self.roots.clear();
        if self.standing == Standing::Normal {
            self.standing = Standing::Diverged { divergence, mended: false };
            self.persist(Record::Standing(self.standing), out);
            out.push(Effect::Preserve(Box::new(evidence)));
            self.alarm(Alarm::Diverged { seq, ours, theirs, again: false }, out);
            self.fetch_certified(out);
        } else {
            out.push(Effect::Preserve(Box::new(evidence)));
            let alarm = Alarm::Diverged { seq, ours, theirs, again: true };
            self.exclude(Exclusion::DivergedAgain(divergence), alarm, out);
        }
    }

    /// Asks for a certified state in the place of the wrong one; if none is certified yet, for its certificate.
    pub(super) fn fetch_certified(&mut self, out: &mut Out<'_>) {
        if self.behind()
            && let Some(stable) = &self.stable
        {
            out.push(Effect::Install((**stable).clone()));
        }
        self.ask_status(out);
    }

    /// A certified state is in the place of the wrong one. What executed beyond it executes again.
    pub(super) fn mend(&mut self, divergence: Divergence, seq: Seq, out: &mut Out<'_>) {
        self.standing = Standing::Diverged { divergence, mended: true };
        self.persist(Record::Standing(self.standing), out);
        (self.executed, self.handed) = (seq, seq);
        self.marks.halted_by = None;
        if self.status == Status::Normal {
            // A restart in between left it to now to say again what it had said before. What it learnt while it was mute
            // it has not voted on: that is for whoever goes through the slots next.
            let (view, position) = (self.view, self.position);
            let slots: Vec<Seq> = self.log.open_slots().map(|(seq, _)| seq).collect();
            for seq in slots {
                self.repeat_votes(view, seq, position, out);
            }
        }
        self.repeat_view_change(out);
    }
}
