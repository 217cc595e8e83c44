//! What a replica waits for, of whom, and since when: for an operator who asks why nothing happens.
//!
//! Nothing here decides anything. Steps leave a few times behind (`mark`, `stamp`); the answer is made when it is asked
//! for.

use std::collections::BTreeMap;

use super::{AmnesiaBox, Replica, Status, Unserved};
use crate::log::Phase;
use crate::message::Checkpoint;
use crate::process::Alarm;
use crate::standing::Standing;
use crate::types::{ReplicaId, Seq, Time, View};

/// Slots that one answer speaks of, the lowest first.
const SLOTS_MAX: usize = 4;

/// How long a replica that came back leaves it to the others to say what became of what it voted for, in microseconds.
/// They say it at once if they are there; then it is no news who has voted.
const RETURN_US: u64 = 1_000_000;

/// One thing that a replica waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// What it is.
    pub reason: Reason,
    /// For how long, in microseconds.
    pub for_us: u64,
    /// In how many microseconds the replica leaves the view because of it; none if it does not.
    pub gives_up_us: Option<u64>,
    /// In how many microseconds it says or asks again what may have been lost; none if nobody else can help.
    pub again_us: Option<u64>,
}

/// Votes that are here, and those that are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Votes {
    /// Whose equal votes are here.
    pub have: Vec<ReplicaId>,
    /// Whose are not, or say something else.
    pub missing: Vec<ReplicaId>,
    /// How many are needed.
    pub needed: usize,
}

/// What leaves only when it is on stable storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// The vote for a proposal, or the proposal itself.
    Prepare(Seq),
    /// The vote for a prepared batch.
    Commit(Seq),
    /// The vote to leave for a view.
    ViewChange(View),
    /// The message that opens a view.
    NewView(View),
}

/// Everything a replica can wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Nothing is pending.
    Idle,
    /// Requests are here that the primary has not brought to commit.
    Requests {
        /// Operations in them.
        operations: u64,
        /// Who should propose them.
        primary: ReplicaId,
    },
    /// The request of a client that waits longest here, whatever else the primary gets committed.
    Unserved {
        /// The request.
        unserved: Unserved,
    },
    /// As primary: requests wait until batches that are on their way commit.
    Pipeline {
        /// Operations that wait.
        operations: u64,
        /// Batches on their way.
        flying: u64,
    },
    /// Others vote on a slot, and the proposal did not come.
    Proposal {
        /// The slot.
        seq: Seq,
        /// Who should have proposed.
        primary: ReplicaId,
    },
    /// A slot's batch is known by its digest only.
    Body {
        /// The slot.
        seq: Seq,
        /// Who is asked next; replicas are asked in turn.
        next: ReplicaId,
    },
    /// The proposal's time is too far from the clock here to be voted for.
    Clock {
        /// The slot.
        seq: Seq,
    },
    /// A promise of this replica's own is not on stable storage yet.
    Disk {
        /// Which.
        promise: Promise,
    },
    /// It has just come back: others know whether the slots committed that it voted for before.
    Returned {
        /// The first of those slots.
        first: Seq,
        /// The last of them.
        last: Seq,
    },
    /// PREPAREs for a proposal.
    Prepares {
        /// The slot.
        seq: Seq,
        /// Which.
        votes: Votes,
    },
    /// COMMITs for a prepared batch.
    Commits {
        /// The slot.
        seq: Seq,
        /// Which.
        votes: Votes,
    },
    /// The application executes what was committed.
    Execution {
        /// The slot that is next.
        seq: Seq,
        /// The highest slot that it was given.
        handed: Seq,
    },
    /// The snapshot of a checkpoint is being stored.
    Snapshot {
        /// The checkpoint.
        seq: Seq,
    },
    /// CHECKPOINTs that make one stable.
    Checkpoints {
        /// The checkpoint.
        seq: Seq,
        /// Which.
        votes: Votes,
        /// Nothing more can be proposed until it is.
        window_full: bool,
    },
    /// No slot is left between the watermarks.
    WindowFull {
        /// The high watermark.
        high: Seq,
        /// The checkpoint that would raise it.
        checkpoint: Seq,
    },
    /// Replicas that are still in an older view.
    ViewChanges {
        /// The view this replica left for.
        view: View,
        /// Who is there.
        votes: Votes,
    },
    /// The NEW-VIEW of the next primary.
    NewView {
        /// The view.
        view: View,
        /// Its primary.
        primary: ReplicaId,
    },
    /// VIEW-CHANGEs that a NEW-VIEW names.
    NewViewParts {
        /// The view.
        view: View,
        /// Its primary.
        primary: ReplicaId,
        /// Whose are missing.
        missing: Vec<ReplicaId>,
    },
    /// The state of a checkpoint: the log that leads to it is gone everywhere.
    State {
        /// What this replica has executed.
        executed: Seq,
        /// The checkpoint.
        stable: Seq,
    },
    /// It may have forgotten votes of its view: somebody has to show how that opened.
    Recovering {
        /// The view.
        view: View,
        /// Its primary.
        primary: ReplicaId,
    },
    /// It may have forgotten votes, and casts none where it may have.
    Forgotten {
        /// Where it may have.
        forgot: AmnesiaBox,
        /// The newest stable checkpoint: it votes again when that has reached what it may have forgotten.
        stable: Seq,
    },
    /// A certified state in the place of its own, which was wrong.
    Diverged {
        /// What speaks against it.
        standing: Standing,
        /// The newest stable checkpoint.
        stable: Seq,
    },
    /// No vote and no answer ever again; what else it does goes on.
    Out {
        /// What speaks against it.
        standing: Standing,
    },
    /// Nothing any more.
    Halted {
        /// What it found.
        alarm: Option<Alarm>,
    },
}

/// When things last changed; written at the end of every step.
#[derive(Debug, Clone, Default)]
pub(super) struct Marks {
    standing: Option<(View, Status)>,
    standing_since: Time,
    committed: (Seq, Time),
    executed: (Seq, Time),
    /// Execution is past where a checkpoint is due at the latest, and none is made.
    due: Option<Time>,
    announced: BTreeMap<Seq, Time>,
    pending: Option<Time>,
    full: Option<Time>,
    forgot: Option<Time>,
    behind: Option<Time>,
    candidate: Option<Time>,
    quorum: Option<Time>,
    /// The highest slot that it remembered a proposal for when it came back, and when that was.
    returned: Option<(Seq, Time)>,
    /// What made the replica halt.
    pub(super) halted_by: Option<Alarm>,
}

fn note(mark: &mut Option<Time>, on: bool, now: Time) {
    *mark = if on { mark.or(Some(now)) } else { None };
}

fn follow(mark: &mut (Seq, Time), seq: Seq, now: Time) {
    if mark.0 != seq {
        *mark = (seq, now);
    }
}

impl Replica {
    /// Notes what changed in a step: a few comparisons.
    pub(super) fn mark(&mut self, now: Time) {
        let standing = (self.view, self.status());
        let full = self.next > self.log.high() || self.committed >= self.log.high();
        let (low, announced) = (self.log.low(), self.roots.last_key_value().map(|(seq, _)| *seq));
        let due = announced.is_none_or(|seq| seq <= low) && self.executed >= self.checkpoint_due();
        let (quorum, forgot) = (self.waiting().new_view.is_some(), self.is_bound());
        let marks = &mut self.marks;
        if marks.standing.is_none() {
            let (committed, executed) = ((self.committed, now), (self.executed, now));
            *marks = Marks { committed, executed, ..Marks::default() };
        }
        if marks.standing != Some(standing) {
            (marks.standing, marks.standing_since) = (Some(standing), now);
        }
        follow(&mut marks.committed, self.committed, now);
        follow(&mut marks.executed, self.executed, now);
        if let Some(seq) = announced.filter(|seq| *seq > low && !marks.announced.contains_key(seq)) {
            marks.announced = marks.announced.split_off(&low.next());
            marks.announced.insert(seq, now);
        }
        note(&mut marks.due, due, now);
        note(&mut marks.pending, !self.pool.is_empty(), now);
        note(&mut marks.full, full, now);
        note(&mut marks.forgot, forgot, now);
        note(&mut marks.behind, low > self.handed, now);
        note(&mut marks.candidate, !self.candidates.is_empty(), now);
        note(&mut marks.quorum, quorum, now);
    }

    /// Notes what is open after a return.
    pub(super) fn mark_return(&mut self, now: Time) {
        self.mark(now);
        let slots = self.log.open_slots().filter(|(_, slot)| slot.proposal.is_some());
        self.marks.returned = slots.map(|(seq, _)| (seq, now)).last();
    }

    /// Notes since when a slot is in its phase.
    pub(super) fn stamp(&mut self, seq: Seq, now: Time) {
        let phase = self.phase(seq);
        if let Some(slot) = self.log.get_mut(seq).filter(|slot| slot.phase != phase) {
            (slot.phase, slot.since) = (phase, now);
        }
    }

    /// What stands between a slot and its execution.
    fn phase(&self, seq: Seq) -> Phase {
        let Some(slot) = self.log.get(seq).filter(|_| seq > self.handed) else { return Phase::Done };
        if self.fetches.missed(seq).is_some() {
            return Phase::Body;
        }
        if slot.committed.is_some() {
            return Phase::Done;
        }
        let Some(proposal) = slot.proposal else {
            let prepared = slot.prepares.votes().any(|(_, vote)| vote.view == self.view);
            let touched = prepared || slot.commits.votes().next().is_some();
            return if touched { Phase::Proposal } else { Phase::Empty };
        };
        if slot.clock_refused {
            Phase::Clock
        } else if !slot.sent_prepare && !self.may_vote(self.view, seq) {
            // It casts no vote there; the box says so, once for all slots.
            Phase::Done
        } else if slot.prepares.vote_of(self.id).is_none_or(|vote| vote.body != proposal) {
            Phase::PrepareOnDisk
        } else if !slot.sent_commit {
            Phase::Prepares
        } else if slot.commits.vote_of(self.id).is_some_and(|vote| vote.view == self.view) {
            Phase::Commits
        } else {
            Phase::CommitOnDisk
        }
    }

    /// Everything this replica waits for at `now`, what holds up most first; never empty, and bounded.
    #[must_use]
    pub fn waits(&self, now: Time) -> Vec<Wait> {
        let mut waits = match self.status() {
            Status::Halted => {
                let reason = Reason::Halted { alarm: self.marks.halted_by.clone() };
                return vec![self.wait(reason, self.marks.standing_since, now)];
            }
            Status::ViewChanging => vec![self.view_change_wait(now)],
            Status::Recovering => {
                let reason = Reason::Recovering { view: self.view, primary: self.primary() };
                vec![self.wait(reason, self.marks.standing_since, now)]
            }
            Status::Diverged => vec![self.divergence_wait(now)],
            Status::Out => {
                let reason = Reason::Out { standing: self.standing() };
                let mut waits = vec![self.wait(reason, self.marks.standing_since, now)];
                waits.extend(self.state_waits(now));
                return waits;
            }
            Status::Normal => self.slot_waits(now),
        };
        if let Some(forgot) = self.amnesia().filter(|forgot| self.log.low() < forgot.high) {
            let reason = Reason::Forgotten { forgot, stable: self.log.low() };
            waits.push(self.wait(reason, self.marks.forgot.unwrap_or(now), now));
        }
        waits.extend(self.candidate_wait(now));
        waits.extend(self.state_waits(now));
        waits.extend(self.request_waits(now));
        if waits.is_empty() {
            let Marks { standing_since, committed, executed, .. } = self.marks;
            waits.push(self.wait(Reason::Idle, standing_since.max(committed.1).max(executed.1), now));
        }
        waits
    }

    fn divergence_wait(&self, now: Time) -> Wait {
        let reason = Reason::Diverged { standing: self.standing(), stable: self.log.low() };
        self.wait(reason, self.marks.standing_since, now)
    }

    fn wait(&self, reason: Reason, since: Time, now: Time) -> Wait {
        let timers = self.waiting();
        let (retransmit, status) = self.timers.again();
        let (gives_up, again) = match &reason {
            Reason::Unserved { unserved } => (unserved.gives_up, status),
            Reason::Requests { .. }
            | Reason::Proposal { .. }
            | Reason::Prepares { .. }
            | Reason::Commits { .. } => (timers.progress, status),
            Reason::Body { seq, .. } => (timers.progress, self.fetches.next(*seq).map(|(_, at)| at)),
            Reason::Clock { .. } => (timers.progress, None),
            Reason::ViewChanges { .. } | Reason::NewView { .. } | Reason::NewViewParts { .. } => {
                (timers.new_view, retransmit)
            }
            Reason::Checkpoints { .. }
            | Reason::State { .. }
            | Reason::Diverged { .. }
            | Reason::Returned { .. }
            | Reason::Recovering { .. }
            | Reason::Forgotten { .. } => (None, status),
            Reason::Idle
            | Reason::Pipeline { .. }
            | Reason::Disk { .. }
            | Reason::Execution { .. }
            | Reason::Snapshot { .. }
            | Reason::WindowFull { .. }
            | Reason::Out { .. }
            | Reason::Halted { .. } => (None, None),
        };
        let left = |at: Time| at.since(now);
        // Its timer runs like everybody's, but it may not leave.
        let gives_up = gives_up.filter(|_| self.may_change_to(self.view.next()));
        // Before the first step nothing was noted.
        let since = if self.marks.standing.is_some() { since } else { now };
        Wait { reason, for_us: now.since(since), gives_up_us: gives_up.map(left), again_us: again.map(left) }
    }

    /// Slots above what was handed over, as far as somebody said something about them.
    fn slot_waits(&self, now: Time) -> Vec<Wait> {
        let mut waits = Vec::new();
        let mut first = self.handed.next();
        let returned = self.marks.returned.filter(|(_, at)| now.since(*at) < RETURN_US);
        if let Some((last, at)) = returned.filter(|(last, _)| *last >= first) {
            waits.push(self.wait(Reason::Returned { first, last }, at, now));
            first = last.next();
        }
        for seq in (first.0..=self.log.high().0).map(Seq) {
            let phase = self.phase(seq);
            let Some(slot) = self.log.get(seq) else { continue };
            let reason = match phase {
                Phase::Empty | Phase::Done => continue,
                Phase::Proposal => Reason::Proposal { seq, primary: self.primary() },
                Phase::Body => {
                    let Some((next, _)) = self.fetches.next(seq) else { continue };
                    // Nobody asks itself: its turn goes to the one behind it.
                    let behind =
                        ReplicaId((next.0 + 1) % u16::try_from(self.context.committee.size()).unwrap_or(1));
                    let next = if next == self.id { behind } else { next };
                    Reason::Body { seq, next }
                }
                Phase::Clock => Reason::Clock { seq },
                Phase::PrepareOnDisk => Reason::Disk { promise: Promise::Prepare(seq) },
                Phase::CommitOnDisk => Reason::Disk { promise: Promise::Commit(seq) },
                Phase::Prepares => {
                    let vote = |id| slot.prepares.vote_of(id).map(|vote| vote.body);
                    Reason::Prepares { seq, votes: self.votes(|id| vote(id) == slot.proposal) }
                }
                Phase::Commits => {
                    let ours = slot.commits.vote_of(self.id).map(|vote| vote.body);
                    let vote = |id| slot.commits.vote_of(id).map(|vote| vote.body);
                    Reason::Commits { seq, votes: self.votes(|id| vote(id) == ours) }
                }
            };
            // A view that was entered after the slot's last change found it as it is.
            let since = if slot.phase == phase { slot.since } else { self.marks.standing_since };
            waits.push(self.wait(reason, since, now));
            if waits.len() == SLOTS_MAX {
                break;
            }
        }
        waits
    }

    fn votes(&self, here: impl Fn(ReplicaId) -> bool) -> Votes {
        let (have, missing) = self.context.committee.replicas().partition(|id| here(*id));
        Votes { have, missing, needed: self.quorum() }
    }

    fn view_change_wait(&self, now: Time) -> Wait {
        let (view, primary) = (self.view, self.primary());
        let since = self.marks.standing_since;
        let at_least = |id| match id == self.id {
            true => true,
            false => self.view_changes.get(&id).is_some_and(|held| held.view >= view),
        };
        let exactly = |id| self.view_changes.get(&id).is_some_and(|held| held.view == view);
        let (there, ready) = (self.votes(at_least), self.votes(exactly));
        if self.my_view_change.is_none() && self.may_change_to(view) {
            return self.wait(Reason::Disk { promise: Promise::ViewChange(view) }, since, now);
        }
        if there.have.len() < there.needed {
            return self.wait(Reason::ViewChanges { view, votes: there }, since, now);
        }
        let since = self.marks.quorum.unwrap_or(since);
        if primary != self.id {
            return self.wait(Reason::NewView { view, primary }, since, now);
        }
        let reason = match self.opening == Some(view) {
            true => Reason::Disk { promise: Promise::NewView(view) },
            false => Reason::ViewChanges { view, votes: ready },
        };
        self.wait(reason, since, now)
    }

    /// A NEW-VIEW that cannot be followed yet.
    fn candidate_wait(&self, now: Time) -> Option<Wait> {
        let candidates = self.candidates.iter().map(|(primary, candidate)| (*primary, candidate.lacks()));
        let (primary, (view, missing)) = candidates.max_by_key(|(_, (view, _))| *view)?;
        let since = self.marks.candidate.unwrap_or(now);
        Some(self.wait(Reason::NewViewParts { view, primary, missing }, since, now))
    }

    /// The executor, the snapshot and the checkpoint.
    fn state_waits(&self, now: Time) -> Vec<Wait> {
        let mut waits = Vec::new();
        let (low, marks) = (self.log.low(), &self.marks);
        if self.behind() {
            let reason = Reason::State { executed: self.executed, stable: low };
            waits.push(self.wait(reason, marks.behind.unwrap_or(now), now));
        }
        if self.executed < self.handed {
            let seq = self.executed.next();
            let since = self.log.get(seq).map_or(marks.executed.1, |slot| slot.since.max(marks.executed.1));
            waits.push(self.wait(Reason::Execution { seq, handed: self.handed }, since, now));
        }
        if let Some(since) = marks.due.filter(|_| !self.is_mute()) {
            waits.push(self.wait(Reason::Snapshot { seq: self.checkpoint_due() }, since, now));
        }
        if let Some((seq, root)) = self.roots.range(low.next()..).next() {
            let ours = Checkpoint { seq: *seq, root: *root, epoch_end: Seq::MAX };
            let tally = self.checkpoints.get(seq);
            let vote = |id| tally.and_then(|tally| tally.vote_of(id)).map(|vote| vote.body);
            let votes = self.votes(|id| vote(id) == Some(ours));
            let reason = Reason::Checkpoints { seq: *seq, votes, window_full: marks.full.is_some() };
            waits.push(self.wait(reason, marks.announced.get(seq).copied().unwrap_or(now), now));
        }
        waits
    }

    fn request_waits(&self, now: Time) -> Vec<Wait> {
        let mut waits = Vec::new();
        let marks = &self.marks;
        let Some(pending) = marks.pending.map(|since| since.max(marks.committed.1)) else { return waits };
        if self.status != Status::Normal {
            return waits;
        }
        if let Some(since) = marks.full {
            let (high, low) = (self.log.high(), self.log.low());
            let announced = self.roots.range(low.next()..).next().map(|(seq, _)| *seq);
            let checkpoint = announced.unwrap_or_else(|| self.checkpoint_due());
            waits.push(self.wait(Reason::WindowFull { high, checkpoint }, since, now));
        }
        let primary = self.primary();
        let (operations, flying) =
            (self.pool.operations(), (self.next.0 - 1).saturating_sub(self.committed.0));
        let unproposed = self.pool.waiting_operations();
        if primary != self.id {
            waits.push(self.wait(Reason::Requests { operations, primary }, pending, now));
            if let Some(unserved) = self.unserved() {
                waits.push(self.wait(Reason::Unserved { unserved }, unserved.since, now));
            }
        } else if unproposed > 0 && flying > 0 {
            waits.push(self.wait(Reason::Pipeline { operations: unproposed, flying }, pending, now));
        }
        waits
    }
}
