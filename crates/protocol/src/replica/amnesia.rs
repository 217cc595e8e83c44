//! A replica that may have forgotten promises: what it keeps to itself, and how it gets well.
//!
//! Its journal was lost, its superblock was not; so it knows how far its promises may have reached, and that is its
//! *box*. It comes back in the highest view it may have voted in, and waits there for the NEW-VIEW. Then it takes part
//! like everybody, except that nothing leaves it that could contradict what it forgot. The box goes when everything in
//! it is below the low watermark and its view is over.

use std::collections::BTreeMap;

use super::{Out, Replica, Status};
use crate::certificate::Certificate;
use crate::message::{Commit, Prepare, Status as Standing};
use crate::mutant::{self, Mutant};
use crate::process::{Alarm, Record};
use crate::standing::{Exclusion, Standing as Word};
use crate::types::{Epoch, ReplicaId, Seq, Time, View};

/// How long a replica's allowance of null batches lasts, in microseconds.
const ALLOWANCE_US: u64 = 3_600_000_000;

/// How far the promises reached that a replica may have forgotten: any vote in an earlier view, and in this one those
/// up to `high`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AmnesiaBox {
    /// The epoch in which it forgot.
    pub epoch: Epoch,
    /// Highest view it may have voted in.
    pub view: View,
    /// Highest slot it may have voted at.
    pub high: Seq,
}

impl AmnesiaBox {
    /// Whether a vote may have been cast there and forgotten.
    fn holds_vote(&self, view: (Epoch, View), seq: Seq) -> bool {
        let last = (self.epoch, self.view);
        view < last || (view == last && seq <= self.high)
    }

    /// Whether a VIEW-CHANGE or NEW-VIEW for this view may have been sent and forgotten, or would have to show
    /// certificates that may be forgotten.
    fn holds_view_change(&self, view: (Epoch, View), low: Seq) -> bool {
        view <= (self.epoch, self.view) || (low < self.high && !mutant::is(Mutant::M39))
    }
}

/// What a replica knows of forgotten promises, its own and others'.
#[derive(Debug, Clone, Default)]
pub(super) struct Amnesia {
    own: Option<AmnesiaBox>,
    pleas: BTreeMap<ReplicaId, Plea>,
}

/// A replica said that it votes for nothing new up to a slot. What it was given stays noted, or it could ask for ever.
#[derive(Debug, Clone, Copy)]
struct Plea {
    high: Seq,
    since: Time,
    given: u64,
}

impl Replica {
    /// What this replica may have promised and forgot, while that binds it.
    #[must_use]
    pub fn amnesia(&self) -> Option<AmnesiaBox> {
        self.amnesia.own
    }

    /// Whether this replica still keeps anything back because of what it may have forgotten. Once the box's slots are
    /// stable and the box's view, or a later one, is open here, it votes on all that is open and may leave its view: the
    /// box is then only kept until that view is over, because a restart would need it.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        let here = (self.context.epoch, self.view);
        self.amnesia.own.is_some_and(|forgot| {
            let open = self.status == Status::Normal && here >= (forgot.epoch, forgot.view);
            !open || self.log.low() < forgot.high
        })
    }

    /// Replicas, this one included, that say of themselves that they may have forgotten promises. With more than f of
    /// them, no view opens any more.
    #[must_use]
    pub fn amnesiacs(&self) -> usize {
        let low = self.log.low();
        let others = self.amnesia.pleas.iter().filter(|(id, plea)| **id != self.id && plea.high > low);
        others.count() + usize::from(self.amnesia.own.is_some_and(|forgot| forgot.high > low))
    }

    /// Comes back as an amnesiac: in the last view it may have voted in, which only its NEW-VIEW opens. View 0 has
    /// none.
    pub(super) fn come_back_in(&mut self, forgot: AmnesiaBox) {
        self.amnesia.own = Some(forgot);
        if forgot.epoch == self.context.epoch && forgot.view > View(0) && !mutant::is(Mutant::M26) {
            self.view = forgot.view;
            self.status = Status::Recovering;
        }
    }

    /// Whether no forgotten vote of this replica can contradict one in `view` at `seq`.
    pub(super) fn may_vote(&self, view: View, seq: Seq) -> bool {
        let view = (self.context.epoch, view);
        self.amnesia.own.is_none_or(|forgot| !forgot.holds_vote(view, seq)) || mutant::is(Mutant::M26)
    }

    /// Whether this replica may leave for a view, or open it.
    pub(super) fn may_change_to(&self, view: View) -> bool {
        let (view, low) = ((self.context.epoch, view), self.log.low());
        self.amnesia.own.is_none_or(|forgot| !forgot.holds_view_change(view, low))
    }

    /// Lets go of the box once nothing in it can matter: all its slots are stable, and its view is over for this
    /// replica. Both are in records before this one.
    pub(super) fn leave_box(&mut self, out: &mut Out<'_>) {
        if self.amnesia.own.is_some() && self.may_change_to(self.view) {
            self.amnesia.own = None;
            self.persist(Record::Healed, out);
        }
    }

    /// Notes what a replica says of its own box.
    pub(super) fn note_plea(&mut self, from: ReplicaId, status: &Standing, now: Time) {
        let high = status.amnesia_high.unwrap_or(Seq(0));
        let plea = self.amnesia.pleas.entry(from).or_insert(Plea { high, since: now, given: 0 });
        plea.high = high;
    }

    /// Who opened a view was free to; what it said before is old.
    pub(super) fn forget_plea(&mut self, of: ReplicaId) {
        if let Some(plea) = self.amnesia.pleas.get_mut(&of) {
            plea.high = Seq(0);
        }
    }

    /// Whether the primary says of itself that it can propose nothing here. It will not be asked again, even while no
    /// client wants anything: its view is over.
    pub(super) fn primary_is_bound(&self) -> bool {
        let plea = self.amnesia.pleas.get(&self.primary());
        plea.is_some_and(|plea| plea.high > self.committed)
    }

    /// As primary without other work: orders null batches until the low watermark passes an amnesiac's box, each time up to
    /// where a checkpoint is due. One at a time, and for each replica no more in an hour than a box may need, so that a
    /// liar cannot keep the others busy: a box ends within the window, and the last checkpoint that is due below its end
    /// may be one slot below it.
    pub(super) fn heal_others(&mut self, out: &mut Out<'_>) {
        let idle = self.pool.is_empty() && self.committed >= Seq(self.next.0 - 1);
        let open = self.next <= self.log.high() && self.may_vote(self.view, self.next);
        if !self.is_primary() || !idle || !open || self.checkpoint_is_due() {
            return;
        }
        let (next, low, parameters) = (self.next, self.log.low(), self.parameters());
        // Where the window begins counts within an interval.
        let allowance =
            parameters.checkpoint_due_by(Seq(parameters.window)).0 + parameters.checkpoint_interval;
        for plea in self.amnesia.pleas.values_mut().filter(|plea| plea.high > low) {
            if out.now.since(plea.since) >= ALLOWANCE_US {
                (plea.since, plea.given) = (out.now, 0);
            }
            if plea.given < allowance {
                plea.given += 1;
                self.next = next.next();
                self.propose_at(next, None, out);
                return;
            }
        }
    }

    /// Others hold a statement in `view` at `seq` that only this replica's key can have signed. If this replica never
    /// said it, its folder is an older copy, or somebody else has its key: it says nothing any more.
    fn meet_itself(&mut self, view: View, seq: Seq, out: &mut Out<'_>) {
        if mutant::is(Mutant::M42) {
            return;
        }
        let why = Exclusion::Unremembered { view, seq, wrong: None };
        self.exclude(why, Alarm::Unremembered { view, seq }, out);
    }

    /// Who is out knows that it does not remember everything, and says nothing that could contradict it.
    fn is_out(&self) -> bool {
        matches!(self.standing, Word::Out(_))
    }

    /// Looks for a promise of this replica beyond the horizon that its disk remembers. False: there is one.
    pub(super) fn knows_view(&mut self, signer: ReplicaId, view: View, out: &mut Out<'_>) -> bool {
        let known = signer != self.id || view <= self.promised.0 || self.is_out();
        if !known {
            self.meet_itself(view, Seq(0), out);
        }
        known
    }

    /// The same for prepared certificates of others, which name who prepared.
    pub(super) fn knows_prepares<'a>(
        &mut self,
        certificates: impl Iterator<Item = &'a Certificate<Prepare>>,
        out: &mut Out<'_>,
    ) -> bool {
        if self.is_out() {
            return true;
        }
        let (me, promised) = (self.id, self.promised);
        let mut mine = certificates.filter(|held| held.signatures.iter().any(|(signer, _)| *signer == me));
        let beyond = mine.find(|held| held.statement.view > promised.0 || held.statement.seq > promised.1);
        if let Some(Prepare { view, seq, .. }) = beyond.map(|held| held.statement) {
            self.meet_itself(view, seq, out);
        }
        beyond.is_none()
    }

    /// The same for commit certificates. Whoever sent a COMMIT holds a prepared certificate at least as new, and knows
    /// in its own view that it was sent.
    pub(super) fn knows_commit(&mut self, certificate: &Certificate<Commit>, out: &mut Out<'_>) -> bool {
        let Commit { view, seq, .. } = certificate.statement;
        if self.is_out() || certificate.signatures.iter().all(|(signer, _)| *signer != self.id) {
            return true;
        }
        let beyond = view > self.promised.0 || seq > self.promised.1;
        let here = view == self.view && self.status == Status::Normal;
        let slot = self.log.get(seq).filter(|_| seq > self.log.low() && self.may_vote(view, seq));
        let unsaid = slot.is_some_and(|slot| {
            let newest = slot.prepared.as_ref().map(|held| held.statement.view);
            newest < Some(view) || (here && !slot.sent_commit)
        });
        if beyond || unsaid {
            self.meet_itself(view, seq, out);
        }
        !beyond && !unsaid
    }
}
