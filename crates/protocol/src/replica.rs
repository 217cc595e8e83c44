//! A PBFT replica as a function of its events (OSDI '99, section 4; TOCS '02, section 2).
//!
//! Handlers record one fact and call `advance`, which alone moves a slot; so the order in which facts arrive cannot
//! matter.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::accusation::Offence;
use crate::certificate::{Certificate, Tally};
use crate::log::Log;
use crate::message::{Checkpoint, Commit, NamedViewChange, Prepare};
use crate::ordered::Ordered;
use crate::parameters::{Context, Parameters};
use crate::pool::{Pool, Rooms};
use crate::process::{Alarm, Effect, Event, Process, Recipient, Record, Say};
use crate::request::{Request, null_digest};
use crate::signed::{Signed, Verified};
use crate::standing::Standing;
use crate::types::{Digest, Position, ReplicaId, Seq, Time, View};

mod amnesia;
mod answering;
mod catch_up;
mod checkpoint;
mod clock;
mod divergence;
mod fairness;
mod fingerprint;
mod footprint;
mod need;
mod normal;
mod recover;
mod retire;
mod room;
mod stray;
mod testimony;
mod timers;
mod view_change;
mod waits;
mod watchdog;

pub use amnesia::AmnesiaBox;
pub use fairness::Unserved;
pub use footprint::Footprint;
pub use recover::{Memory, Unrecoverable};
pub use timers::Waiting;
pub use view_change::{Contradiction, Reproposals, reproposals};
pub use waits::{Promise, Reason, Votes, Wait};

/// Whether a replica takes part in its view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Votes in its view.
    Normal,
    /// Left its view; waits for the next one to open.
    ViewChanging,
    /// May have forgotten what it promised in its view; waits until somebody shows it how that view opened.
    Recovering,
    /// Found its state to be wrong: neither votes nor answers until it has a certified one.
    Diverged,
    /// Executes and serves states; never votes or answers again, because its past speaks against it.
    Out,
    /// Found itself or the cluster wrong; says nothing any more.
    Halted,
}

/// Votes of the border that a quorum still lacks; see [`Replica::need_prepare`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// It cannot matter any more: drop it unverified.
    Useless,
    /// Verify it at once.
    Now,
    /// It may wait until this many equal votes, itself included, are there to be verified together.
    Together(usize),
}

/// One replica.
#[derive(Debug, Clone)]
pub struct Replica {
    context: Context,
    id: ReplicaId,
    null: Digest,
    view: View,
    status: Status,
    log: Log,
    /// Highest slot up to which all committed here.
    committed: Seq,
    /// Highest slot handed to the executor.
    handed: Seq,
    /// Highest slot the executor reported.
    executed: Seq,
    /// Execution has let go of its state, or is about to: it is handed nothing. The log, which has bounds, keeps that.
    released: bool,
    /// Next slot this replica proposes at, as primary.
    next: Seq,
    /// Slots up to here were decided by the NEW-VIEW that opened the view.
    new_view_floor: Seq,
    pool: Pool,
    ordered: Ordered,
    pace: fairness::Pace,
    watchdog: watchdog::Watchdog,
    clock: clock::Clock,
    stable: Option<Verified<Certificate<Checkpoint>>>,
    checkpoints: BTreeMap<Seq, Tally<Checkpoint>>,
    /// Of each replica, its highest CHECKPOINT beyond the window.
    far_checkpoints: BTreeMap<ReplicaId, Verified<Signed<Checkpoint>>>,
    roots: BTreeMap<Seq, Digest>,
    view_changes: BTreeMap<ReplicaId, Verified<Arc<NamedViewChange>>>,
    my_view_change: Option<Arc<NamedViewChange>>,
    new_view: Option<view_change::OpenView>,
    /// By signer: its latest NEW-VIEW of which not all VIEW-CHANGEs are here yet. One that lies keeps out no other.
    candidates: BTreeMap<ReplicaId, view_change::Candidate>,
    /// The VIEW-CHANGEs that the NEW-VIEW of this replica's own names.
    chosen: Vec<Arc<NamedViewChange>>,
    /// The newest view that this replica opened as its primary.
    opening: Option<View>,
    position: Position,
    promised: (View, Seq),
    /// No answer that counts as a fast read is of an earlier slot.
    answers_from: Seq,
    /// The farthest slot that others have committed, as far as this replica knows.
    farthest: Seq,
    timers: timers::Timers,
    fetches: catch_up::Fetches,
    room: room::Room,
    /// What replicas were shown to be guilty of.
    accused: BTreeSet<(Offence, ReplicaId)>,
    /// What others were shown of late, or will be shown soon.
    displays: BTreeMap<(Offence, ReplicaId), testimony::Display>,
    /// The votes for the newest stable checkpoint.
    settled: Option<(Seq, Tally<Checkpoint>)>,
    counters: Counters,
    amnesia: amnesia::Amnesia,
    standing: Standing,
    /// Up to here it may have voted for wrong states before it came back, and does not know; 0 if its state never was.
    unsure: Seq,
    /// The last checkpoint at which the state here was the certified one.
    agreed: Seq,
    /// The first checkpoint since then at which correct replicas were seen to disagree; none if not above it.
    split: Seq,
    /// Its process is about to stop; as primary it leaves its seat at this time at the latest.
    retiring: Option<Time>,
    /// Whether it has passed over a view of its own since then.
    passed_over: bool,
    strays: stray::Strays,
    marks: waits::Marks,
}

/// What a replica did, for its operator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Batches proposed as primary.
    pub proposed: u64,
    /// Batches committed.
    pub committed: u64,
    /// Operations in them.
    pub committed_operations: u64,
    /// Requests in them.
    pub committed_requests: u64,
    /// Views entered or left for, beyond the first.
    pub view_changes: u64,
    /// Of those, views that this replica left because their primary was slower than others were.
    pub slow_primaries: u64,
    /// Slices of time in which clients waited long, and that the watchdog held against what was done before.
    pub slices_judged: u64,
    /// Checkpoints that became stable.
    pub stable_checkpoints: u64,
    /// Alarms raised.
    pub alarms: u64,
    /// Bodies and view changes asked for.
    pub fetches: u64,
}

impl Process for Replica {
    fn step(&mut self, now: Time, event: Event, effects: &mut Vec<Effect>) {
        if self.status == Status::Halted {
            return;
        }
        self.notice_sleep(now);
        let mut out = Out { now, effects };
        match event {
            Event::Requests { requests, forwarded_by } => self.on_requests(&requests, forwarded_by, &mut out),
            Event::PrePrepare { prepare, body } => self.on_pre_prepare(&prepare, body, &mut out),
            Event::Prepare(prepare) => self.on_prepare(&prepare, &mut out),
            Event::Commit(commit) => self.on_commit(&commit, &mut out),
            Event::Checkpoint(checkpoint) => self.on_checkpoint(&checkpoint, &mut out),
            Event::ViewChange(message) => self.on_view_change(message, &mut out),
            Event::NewView(message) => self.on_new_view(message, &mut out),
            Event::CommitCertificate(certificate) => self.on_commit_certificate(certificate, &mut out),
            Event::StableCertificate(certificate) => self.on_stable(certificate, &mut out),
            Event::Testimony(sworn) => self.on_testimony(&sworn, &mut out),
            Event::Status { from, status } => self.on_status(from, &status, &mut out),
            Event::Body { seq, body } => self.on_body(seq, &body, &mut out),
            Event::FetchBody { from, seq, digest } => self.on_fetch_body(from, seq, digest, &mut out),
            Event::FetchViewChange { from, view, signer, digest } => {
                self.on_fetch_view_change(from, (view, signer, digest), &mut out);
            }
            Event::Executed { seq, root } => self.on_executed(seq, root, &mut out),
            Event::Installed { seq, root } => self.on_installed(seq, root, &mut out),
            Event::Releasing => self.released = true,
            Event::Kept => self.on_kept(&mut out),
            Event::LinkUp => self.ask_status(&mut out),
            Event::Timeout => self.on_timeout(&mut out),
            Event::Retire => self.on_retire(now),
        }
        self.propose(&mut out);
        self.heal_others(&mut out);
        self.leave_box(&mut out);
        self.leave_deserted(&mut out);
        self.pass_on(&mut out);
        self.watch_rate(&mut out);
        self.watch(now);
        self.mark(now);
    }

    fn deadline(&self) -> Option<Time> {
        // Who has halted waits for nothing; a deadline that nobody answers would keep its host spinning.
        if self.status == Status::Halted { None } else { self.timers.deadline() }
    }
}

/// The time of a step, and where its effects go.
pub(crate) struct Out<'a> {
    now: Time,
    effects: &'a mut Vec<Effect>,
}

impl Out<'_> {
    fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }
}

impl Replica {
    /// A replica at the beginning of its epoch.
    ///
    /// # Panics
    /// If the committee has no such replica.
    #[must_use]
    pub fn new(context: Context, id: ReplicaId) -> Self {
        assert!(context.committee.key(id).is_some(), "a replica is a member of its committee");
        let parameters = Arc::clone(&context.parameters);
        let rooms = Rooms::of(&parameters, context.committee.size());
        Self {
            null: null_digest(context.cluster),
            log: Log::new(context.parameters.window, context.parameters.checkpoint_interval),
            context,
            id,
            view: View(0),
            status: Status::Normal,
            committed: Seq(0),
            handed: Seq(0),
            executed: Seq(0),
            released: false,
            next: Seq(1),
            new_view_floor: Seq(0),
            pool: Pool::new(rooms),
            ordered: Ordered::new(&parameters),
            pace: fairness::Pace::default(),
            watchdog: watchdog::Watchdog::default(),
            clock: clock::Clock::default(),
            stable: None,
            checkpoints: BTreeMap::new(),
            far_checkpoints: BTreeMap::new(),
            roots: BTreeMap::new(),
            view_changes: BTreeMap::new(),
            my_view_change: None,
            new_view: None,
            candidates: BTreeMap::new(),
            chosen: Vec::new(),
            opening: None,
            position: Position(0),
            promised: (View(0), Seq(0)),
            answers_from: Seq(0),
            farthest: Seq(0),
            timers: timers::Timers::default(),
            fetches: catch_up::Fetches::default(),
            room: room::Room::default(),
            accused: BTreeSet::new(),
            displays: BTreeMap::new(),
            settled: None,
            counters: Counters::default(),
            amnesia: amnesia::Amnesia::default(),
            standing: Standing::Normal,
            unsure: Seq(0),
            agreed: Seq(0),
            split: Seq(0),
            retiring: None,
            passed_over: false,
            strays: stray::Strays::default(),
            marks: waits::Marks::default(),
        }
    }

    /// This replica's id.
    #[must_use]
    pub fn id(&self) -> ReplicaId {
        self.id
    }
    /// Its view.
    #[must_use]
    pub fn view(&self) -> View {
        self.view
    }
    /// Whether it takes part in that view.
    #[must_use]
    pub fn status(&self) -> Status {
        match self.standing {
            _ if self.status == Status::Halted => Status::Halted,
            Standing::Diverged { mended: false, .. } => Status::Diverged,
            Standing::Out(_) => Status::Out,
            Standing::Normal | Standing::Diverged { mended: true, .. } => self.status,
        }
    }
    /// The primary of its view.
    #[must_use]
    pub fn primary(&self) -> ReplicaId {
        self.context.committee.primary(self.view)
    }
    /// Its low and high watermarks.
    #[must_use]
    pub fn watermarks(&self) -> (Seq, Seq) {
        (self.log.low(), self.log.high())
    }
    /// Highest slot up to which all committed here.
    #[must_use]
    pub fn committed(&self) -> Seq {
        self.committed
    }
    /// Highest slot the executor reported.
    #[must_use]
    pub fn executed(&self) -> Seq {
        self.executed
    }
    /// Operations that wait to be ordered here.
    #[must_use]
    pub fn pooled(&self) -> u64 {
        self.pool.operations()
    }
    /// What it did so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }
    /// The highest view it ever voted in or left for, and the highest slot it may have voted at: what its disk remembers.
    #[must_use]
    pub fn promised(&self) -> (View, Seq) {
        self.promised
    }
    /// What it and its cluster agreed on beforehand.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }

    fn parameters(&self) -> &Parameters {
        &self.context.parameters
    }

    fn quorum(&self) -> usize {
        self.context.committee.quorum()
    }

    /// Whether it is the one who proposes.
    fn is_primary(&self) -> bool {
        let leads = self.status == Status::Normal && self.primary() == self.id;
        leads && !self.is_mute() && !self.is_retiring() && !self.is_yielding()
    }

    /// Appends a record; later sends may rest on the position returned.
    fn persist(&mut self, record: Record, out: &mut Out<'_>) -> Position {
        self.position = Position(self.position.0 + 1);
        out.push(Effect::Persist(record));
        self.position
    }

    /// Raises the durable horizon where a vote in `view` at `seq` would exceed it.
    fn promise(&mut self, view: View, seq: Seq, out: &mut Out<'_>) {
        if view > self.promised.0 || seq > self.promised.1 {
            self.promised = (self.promised.0.max(view), self.promised.1.max(self.log.high()));
            let (view, high) = self.promised;
            self.persist(Record::Horizon { view, high }, out);
        }
    }

    fn say(message: Say, after: Position, out: &mut Out<'_>) {
        out.push(Effect::Send { to: Recipient::Everyone, message, after });
    }

    fn alarm(&mut self, alarm: Alarm, out: &mut Out<'_>) {
        let accused = alarm.accusation().map(|found| (found.offence(), found.culprit()));
        self.counters.alarms += 1;
        // The first proof is as good as a thousand, which would bury what else is wrong.
        if accused.is_some_and(|accused| !self.accused.insert(accused)) {
            return;
        }
        if matches!(alarm, Alarm::Agreement { .. } | Alarm::Diverged { .. } | Alarm::Unremembered { .. }) {
            self.marks.halted_by = Some(alarm.clone());
        }
        out.push(Effect::Alarm(alarm));
    }

    /// Clients' requests: pooled, and passed on to the primary, where that is somebody else, at the end of the step.
    fn on_requests(
        &mut self,
        requests: &[Verified<Arc<Request>>],
        forwarded_by: Option<ReplicaId>,
        out: &mut Out<'_>,
    ) {
        for request in requests {
            match self.pool.add(request, forwarded_by) {
                Err(reason) if forwarded_by.is_none() => {
                    out.push(Effect::Refuse { request: Arc::clone(request), reason });
                }
                Ok(()) | Err(_) => {}
            }
        }
    }

    /// Whether a number of this request was ordered in a slot after `executed`: then it is being executed, and must
    /// not be pooled again.
    #[must_use]
    pub fn ordered_since(&self, executed: Seq, request: &Request) -> bool {
        self.ordered.between(executed, self.handed, request)
    }

    /// How urgently the border should verify a PREPARE.
    #[must_use]
    pub fn need_prepare(&self, vote: &Signed<Prepare>) -> Need {
        let odd = self.is_odd_prepare(vote);
        let Some(slot) = self.votable(vote.seq) else {
            return if odd { Need::Now } else { Need::Useless };
        };
        if vote.view != self.view || self.status != Status::Normal || vote.signer == self.primary() {
            return Need::Now;
        }
        match slot.prepares.vote_of(vote.signer) {
            Some(known) if known.body == vote.body => return Need::Useless,
            // One that was proven to lie needs no second proof.
            Some(known) if known.view == vote.view => return if odd { Need::Now } else { Need::Useless },
            _ if odd => return Need::Now,
            _ => {}
        }
        let prepared = slot.prepared.as_ref().is_some_and(|held| held.statement == vote.body);
        if prepared { Need::Useless } else { Need::Together(self.missing(slot.prepares.count(&vote.body))) }
    }

    /// How urgently the border should verify a COMMIT.
    #[must_use]
    pub fn need_commit(&self, vote: &Signed<Commit>) -> Need {
        if self.is_odd_commit(vote) {
            return Need::Now;
        }
        let slot = self.log.get(vote.seq).filter(|slot| vote.seq > self.handed && slot.committed.is_none());
        let Some(slot) = slot else { return Need::Useless };
        match slot.commits.vote_of(vote.signer) {
            Some(known) if known.body == vote.body => Need::Useless,
            // One that was proven to lie needs no second proof.
            Some(known) if known.view == vote.view => Need::Useless,
            _ => Need::Together(self.missing(slot.commits.count(&vote.body))),
        }
    }

    /// Whether the batch that comes with a proposal is of use: one that would be voted for now, or as soon as the view
    /// opens that is on its way, or that prepared or committed; and is not here yet. Any other would be verified, at the
    /// price of all its requests, to be dropped.
    #[must_use]
    pub fn needs_batch(&self, prepare: &Prepare) -> bool {
        let slot = self.log.get(prepare.seq).filter(|_| self.may_need_body(prepare.seq));
        slot.is_some_and(|slot| {
            let opening = |candidate: &view_change::Candidate| candidate.is_for(prepare.view);
            let present = prepare.view == self.view || self.candidates.values().any(opening);
            let first =
                present && slot.proposal.is_none_or(|held| held == *prepare || held.view < prepare.view);
            slot.body(&prepare.digest).is_none() && (first || slot.wants(&prepare.digest))
        })
    }

    /// A slot about which votes still matter: between the watermarks, and not committed.
    fn votable(&self, seq: Seq) -> Option<&crate::log::Slot> {
        if seq <= self.log.low() || seq > self.log.high() {
            return None;
        }
        self.log.get(seq).filter(|slot| slot.committed.is_none())
    }

    fn missing(&self, counted: usize) -> usize {
        self.quorum().saturating_sub(counted).max(1)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::wildcard_enum_match_arm)]
mod tests;
