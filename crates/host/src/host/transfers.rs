//! What a host does about states: those that execution makes are stored before their checkpoints are announced, one that
//! its replica wants is fetched and takes the place of the one here, and others are given what they ask for.

use quorate_protocol::certificate::Certificate;
use quorate_protocol::executor::{RestoreError, State};
use quorate_protocol::map::Map;
use quorate_protocol::message::{Checkpoint, PeerMessage};
use quorate_protocol::process::Event;
use quorate_protocol::replica::Status;
use quorate_protocol::signed::Verified;
use quorate_protocol::standing::Standing;
use quorate_protocol::types::{ReplicaId, Seq, Time};

use super::{Arc, Class, Host, Link, Request, Screening, Task, VecDeque, encode};
use crate::store::{Finished, Job, StoreError};
use crate::superblock::SnapshotPointer;
use crate::transfer::{Counters, Post, Progress};

/// States that wait for the store at most.
const STATES_MAX: usize = 2;
/// Slots that are executed at once, at most.
const SLOTS_AT_ONCE: usize = 16;
/// Jobs that the store has at once, at most: enough that it never waits for the next, few enough that a state that has
/// to be saved is not behind many of them.
pub const JOBS_AT_ONCE: usize = 4;

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

/// Why a replica stops because its store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoringError {
    /// A state was fetched, and before it was put together some of it rotted.
    #[error(
        "the state that was fetched cannot be put together: {0}; restart this replica: it keeps what of it is whole, \
         and fetches the rest again"
    )]
    Fetched(StoreError),
    /// States are not stored any more.
    #[error("states are not stored any more: {0}")]
    Store(StoreError),
}

/// What is under way between a host and its store.
#[derive(Debug, Default)]
pub(super) struct Storing {
    /// States that wait to be saved.
    states: VecDeque<Box<State>>,
    /// The last job was to save one of them.
    saves: bool,
    /// One of them is being saved.
    saving: bool,
    /// Jobs that the store has.
    out: usize,
    /// States that are durable, and that the superblock is to point at.
    pointers: VecDeque<SnapshotPointer>,
    /// The state that it points at.
    newest: Seq,
    /// States may have become superfluous.
    prune: bool,
    /// Execution has no state, or is about to have none: nothing is given to it but the one that was fetched.
    empty: bool,
    /// Bytes of all states on disk, when the store last said.
    used: u64,
}

impl Storing {
    /// Of a replica whose superblock points at the state after `newest`.
    pub(super) fn new(newest: Seq) -> Self {
        Self { newest, prune: true, ..Self::default() }
    }
}

impl Host {
    /// What is to be executed next, in order: not all that waits, for whoever comes back with a state has many batches to
    /// execute, which are dropped as they are, and votes meanwhile. While execution has no state it is given nothing but
    /// the next one.
    pub fn take_tasks(&mut self) -> VecDeque<Task> {
        let mut tasks = self.take_slots();
        if !self.storing.empty {
            tasks.extend(self.take_queries());
        }
        tasks
    }

    fn take_slots(&mut self) -> VecDeque<Task> {
        if self.storing.empty {
            return VecDeque::new();
        }
        let is_last = {
            let mut slots = 0;
            move |task: &Task| {
                slots += usize::from(matches!(task, Task::Execute { .. }));
                slots == SLOTS_AT_ONCE || matches!(task, Task::Release { .. })
            }
        };
        let Some(last) = self.tasks.iter().position(is_last) else { return std::mem::take(&mut self.tasks) };
        self.storing.empty = matches!(self.tasks[last], Task::Release { .. });
        let later = self.tasks.split_off(last + 1);
        std::mem::replace(&mut self.tasks, later)
    }

    /// Whether execution has no state to be asked about, or is about to have none.
    pub(super) fn has_no_state(&self) -> bool {
        self.storing.empty
    }

    /// How much [`Host::take_tasks`] left, queries not counted.
    #[must_use]
    pub fn tasks_left(&self) -> usize {
        if self.storing.empty { 0 } else { self.tasks.len() }
    }

    /// What the store is to do next, in the order in which this gives it out; [`Host::stored`] or [`Host::not_stored`]
    /// takes what came of it. At most [`JOBS_AT_ONCE`] are out at once.
    pub fn take_job(&mut self) -> Option<Job> {
        if self.storing.out >= JOBS_AT_ONCE {
            return None;
        }
        let job = self.next_job();
        self.storing.out += usize::from(job.is_some());
        job
    }

    /// The proof of what was wrong goes before the state that takes its place; a checkpoint before what others want, and
    /// before what this replica lacks. But not one after the other: where the disk is slower than checkpoints come, a
    /// replica that is behind would never be given what it asks for.
    fn next_job(&mut self) -> Option<Job> {
        if let Some(evidence) = self.evidence.take() {
            return Some(Job::Preserve(evidence));
        }
        if let Some(exhibit) = self.accusations.take() {
            return Some(Job::Accuse(exhibit));
        }
        if !std::mem::take(&mut self.storing.saves)
            && let Some(job) = self.next_save()
        {
            return Some(job);
        }
        self.next_other_job().or_else(|| self.next_save())
    }

    fn next_save(&mut self) -> Option<Job> {
        let state = self.storing.states.pop_front()?;
        (self.storing.saves, self.storing.saving) = (true, true);
        Some(Job::Save(state))
    }

    fn next_other_job(&mut self) -> Option<Job> {
        if let Some(job) = self.transfers.take_fetching_job() {
            return Some(job);
        }
        if std::mem::take(&mut self.storing.prune) {
            let (newest, stable) = (self.storing.newest, self.replica.watermarks().0);
            return Some(Job::Prune { newest, stable, leased: self.transfers.leased() });
        }
        self.transfers.take_serving_job()
    }

    /// Takes what the store did.
    pub fn stored(&mut self, now: Time, finished: Finished, link: &mut impl Link) {
        self.storing.out = self.storing.out.saturating_sub(1);
        match finished {
            // What follows from a wrong state is not started from.
            Finished::Saved(pointer) => {
                self.storing.saving = false;
                if self.wrong_from().is_none_or(|wrong| pointer.seq < wrong) {
                    self.storing.pointers.push_back(pointer);
                }
            }
            Finished::Planned { seq, have, pages } => self.transfers.planned(now, seq, &have, pages),
            Finished::Preserved => {}
            Finished::Kept { index } => self.transfers.kept(now, index),
            Finished::Lost { index } => self.transfers.lost(index),
            Finished::Adopted(state) => {
                self.transfers.adopted();
                self.storing.empty = false;
                self.tasks.push_front(Task::Install(state));
            }
            Finished::Served { to, part } => {
                let post = self.transfers.served(now, to, part);
                post.into_iter().for_each(|post| self.post(post, link));
            }
            Finished::Pruned { used } => self.storing.used = used,
        }
        self.run(now, link);
    }

    /// The store did not do what it was asked: the replica has to stop.
    pub fn not_stored(&mut self, why: StoreError) {
        let fetched = self.transfers.is_adopting() && why.is_damage();
        let error = if fetched { StoringError::Fetched(why) } else { StoringError::Store(why) };
        self.failed = Some(error.to_string());
    }

    /// A state that is durable, and that the superblock is to point at; [`Host::pointed`] is told when it does.
    pub fn take_pointer(&mut self) -> Option<SnapshotPointer> {
        self.storing.pointers.pop_front()
    }

    /// The superblock points at a state: a restart begins with it, and its checkpoint may be announced.
    pub fn pointed(&mut self, now: Time, pointer: SnapshotPointer, link: &mut impl Link) {
        let SnapshotPointer { seq, root } = pointer;
        self.state_of = self.state_of.max(seq);
        (self.storing.newest, self.storing.prune) = (seq, true);
        self.reclaim();
        let installed =
            self.transfers.installing().is_some_and(|state| (state.seq, state.root) == (seq, root));
        let event = if installed {
            self.transfers.installed(now);
            // What executed in the slots between was never noted here: every request is looked up again.
            self.seen.clear();
            Event::Installed { seq, root }
        } else {
            Event::Executed { seq, root: Some(root) }
        };
        self.events.push_back(event);
        self.run(now, link);
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

    /// Bytes of all states on disk, when the store last said.
    #[must_use]
    pub fn state_bytes_on_disk(&self) -> u64 {
        self.storing.used
    }

    pub(super) fn take_part_of_state(&mut self, now: Time, from: ReplicaId) {
        if let Some(part) = self.border.take_part() {
            self.transfers.take(now, from, part);
        }
    }

    pub(super) fn want_state(&mut self, certificate: &Certificate<Checkpoint>) {
        self.counters.behind += 1;
        self.state_of = self.state_of.max(certificate.statement.seq);
        self.reclaim();
        self.wanted = Some(certificate.clone());
    }

    /// Lets a state wait for the store. When too many wait the oldest is left out, for a later checkpoint makes up for it.
    pub(super) fn queue_state(&mut self, state: Box<State>) {
        if self.wrong_from().is_some_and(|wrong| state.seq >= wrong) {
            return;
        }
        // Nobody waits for a vote on what is stable: who makes up for what it missed stores what it can on the way, and
        // keeps no more of its past in memory.
        let stable = state.seq < self.replica.watermarks().0;
        if stable && (self.storing.saving || !self.storing.states.is_empty()) {
            return;
        }
        if self.storing.states.len() >= STATES_MAX {
            self.storing.states.pop_front();
        }
        self.storing.states.push_back(state);
    }

    /// States of this slot and later ones are wrong: nothing is to become of those that are under way.
    pub(super) fn drop_states_from(&mut self, seq: Seq) {
        self.storing.states.retain(|state| state.seq < seq);
        self.storing.pointers.retain(|pointer| pointer.seq < seq);
    }

    /// The slot from which on the states here are wrong, while no certified one has taken their place.
    fn wrong_from(&self) -> Option<Seq> {
        match self.replica.standing() {
            Standing::Diverged { divergence, mended: false } => Some(divergence.seq),
            // It found out in this life. A later one starts from a state that was right, and computes others.
            Standing::Out(why) if self.replica.status() == Status::Halted => {
                why.wrong().map(|wrong| wrong.seq)
            }
            Standing::Normal | Standing::Diverged { mended: true, .. } | Standing::Out(_) => None,
        }
    }

    /// Execution has let go of its state. Those that wait to be saved are older than the one that comes, and would be a
    /// second one in memory.
    pub(super) fn released(&mut self, old: Vec<Map>) {
        self.storing.states.clear();
        if self.wrong_from().is_some() {
            // What was handed over followed from the wrong state, and is handed over again.
            self.tasks.retain(|task| !matches!(task, Task::Execute { .. }));
        }
        self.transfers.released(old);
    }

    /// Execution has come further by itself than the state that was fetched.
    pub(super) fn outran(&mut self, now: Time) {
        self.storing.empty = false;
        self.transfers.outrun(now);
        self.events.push_back(Event::Kept);
    }

    /// Execution went on from a fetched state, which is durable: the replica hears of it once a restart would, too.
    pub(super) fn installed(&mut self) {
        let state = self.transfers.installing();
        let pointer = state.map(|state| SnapshotPointer { seq: state.seq, root: state.root });
        self.storing.pointers.extend(pointer);
    }

    pub(super) fn look_up(&mut self, requests: Vec<(Verified<Arc<Request>>, Option<ReplicaId>)>) {
        let screen = |(request, forwarded_by)| Task::Screen(Screening::After { request, forwarded_by });
        self.tasks.extend(requests.into_iter().map(screen));
    }

    fn post(&mut self, post: Post, link: &mut impl Link) {
        #[cfg(feature = "byzantine")]
        let Some(post) = self.post_falsely(post) else { return };
        self.send(post.to, Class::Bulk, encode(&PeerMessage::Transfer(post.part)), link);
    }

    /// After every step: what the replica's standing means to transfers, and what these have to say.
    pub(super) fn tend_transfers(&mut self, now: Time, link: &mut impl Link) {
        if let Some(certificate) = self.wanted.take() {
            self.transfers.aim(now, &certificate);
        }
        let low = self.replica.watermarks().0;
        if self.served_low != low {
            self.served_low = low;
            self.storing.prune = true;
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
            self.post(post, link);
        }
        self.storing.prune |= self.transfers.take_lapsed();
        if let Some(seq) = self.transfers.take_whole() {
            let wrong = self.wrong_from().is_some_and(|wrong| wrong <= seq);
            self.tasks.push_back(Task::Release { seq, wrong });
            // The first thing the replica hears next: what is ordered from now on waits in its log, not in memory here.
            self.events.push_back(Event::Releasing);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
