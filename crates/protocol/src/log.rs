//! The slots between the watermarks, and what is known about each.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::certificate::{Certificate, Tally};
use crate::message::{Commit, Prepare};
use crate::mutant::{self, Mutant};
use crate::request::Body;
use crate::signed::Verified;
use crate::types::{Digest, Seq, Time, View};

/// What stands between a slot and its execution.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nobody said anything about it.
    #[default]
    Empty,
    /// Others vote, and the proposal is not here.
    Proposal,
    /// The batch is not here.
    Body,
    /// The clock here refuses the proposal.
    Clock,
    /// This replica's PREPARE is not durable.
    PrepareOnDisk,
    /// PREPAREs are missing.
    Prepares,
    /// This replica's COMMIT is not durable.
    CommitOnDisk,
    /// COMMITs are missing.
    Commits,
    /// Nothing of its own.
    Done,
}

/// Everything known about one sequence number.
#[derive(Debug, Clone, Default)]
pub(crate) struct Slot {
    /// The first valid proposal of the current view.
    pub(crate) proposal: Option<Prepare>,
    /// The proposal follows from a NEW-VIEW, or had this replica's vote before a restart: no check of our own may
    /// refuse it.
    pub(crate) decided_by_new_view: bool,
    /// Bodies this replica holds: of the proposal, of what it voted for in any view, of what prepared or committed; and of
    /// the last view's proposal until the next view opens, which may propose it again.
    pub(crate) bodies: Vec<Arc<Body>>,
    /// Digests of the bodies that are in the journal.
    pub(crate) kept: Vec<Digest>,
    pub(crate) prepares: Tally<Prepare>,
    pub(crate) commits: Tally<Commit>,
    /// The prepared certificate of the highest view. Nothing but a stable checkpoint clears it.
    pub(crate) prepared: Option<Verified<Certificate<Prepare>>>,
    pub(crate) committed: Option<Verified<Certificate<Commit>>>,
    /// In the current view.
    pub(crate) sent_prepare: bool,
    /// Operations of the batch that this replica proposed here, as primary.
    pub(crate) proposed_operations: u64,
    /// In the current view.
    pub(crate) sent_commit: bool,
    /// In the current view: our clock refused the proposal, and the operator was told.
    pub(crate) clock_refused: bool,
    /// What it last waited for, and since when; for operators only.
    pub(crate) phase: Phase,
    pub(crate) since: Time,
}

impl Slot {
    /// The body with this digest, if it is here.
    pub(crate) fn body(&self, digest: &Digest) -> Option<&Arc<Body>> {
        self.bodies.iter().find(|body| body.digest == *digest)
    }

    /// Whether a body with this digest is of use here.
    pub(crate) fn wants(&self, digest: &Digest) -> bool {
        self.names(digest) && self.body(digest).is_none()
    }

    /// Whether this digest is proposed, or prepared or committed.
    fn names(&self, digest: &Digest) -> bool {
        self.proposal.is_some_and(|proposal| proposal.digest == *digest)
            || self.committed.as_ref().is_some_and(|certificate| certificate.statement.digest == *digest)
            || self.prepared.as_ref().is_some_and(|certificate| certificate.statement.digest == *digest)
    }

    /// Lets go of the bodies that this replica did not vote for and that nothing names any more. Of those that it voted
    /// for a certificate may surface in any later view, and then it is one of those who have to have them.
    pub(crate) fn forget_bodies(&mut self) {
        if mutant::is(Mutant::M59) {
            return;
        }
        let mut bodies = std::mem::take(&mut self.bodies);
        bodies.retain(|body| self.kept.contains(&body.digest) || self.names(&body.digest));
        self.bodies = bodies;
    }

    /// How many bodies are here that this replica voted for, and how many others.
    pub(crate) fn count_bodies(&self) -> (u64, u64) {
        let voted = self.bodies.iter().filter(|body| self.kept.contains(&body.digest)).count() as u64;
        (voted, self.bodies.len() as u64 - voted)
    }

    /// Keeps a prepared certificate if it is of a higher view than the one held, and not beyond `view`.
    pub(crate) fn learn_prepared(&mut self, certificate: Verified<Certificate<Prepare>>, view: View) {
        let rank = certificate.statement.view;
        let held = self.prepared.as_ref().map(|held| held.statement.view);
        if rank <= view && held.is_none_or(|held| held < rank && !mutant::is(Mutant::M47)) {
            self.prepared = Some(certificate);
            self.forget_bodies();
        }
    }

    /// Forgets what belongs to one view only.
    pub(crate) fn leave_view(&mut self) {
        self.proposal = None;
        self.decided_by_new_view = false;
        self.sent_prepare = false;
        self.sent_commit = false;
        self.clock_refused = false;
    }
}

/// Bytes of batches at most that are kept below the low watermark for others only.
const TAIL_BYTES_MAX: u64 = 16 << 20;

/// Windows below the low watermark whose slots are kept at most until they execute, and bytes of their batches, seen to
/// have committed or not; but the first window is always kept. Whoever fetches a state sees what commits meanwhile, and
/// needs it for going on from that state: the others have let go of it by then, and would have done so again when the
/// next state has come.
pub(crate) const BACKLOG_WINDOWS: u64 = 16;
const BACKLOG_BYTES_MAX: u64 = 96 << 20;

/// Slots in `(base, low + window]`, where `base` is at most `low`: slots stay until they executed, and the last ones
/// below `low` for a while longer, because whoever missed no more than these then needs no state transfer.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    base: Seq,
    low: Seq,
    window: u64,
    /// How many slots below `low` are kept although they executed.
    tail_max: u64,
    /// Slots above it are kept although they executed.
    tail: Seq,
    /// Slots above it are kept if they have not executed.
    backlog: Seq,
    slots: VecDeque<Slot>,
}

impl Log {
    pub(crate) fn new(window: u64, tail_max: u64) -> Self {
        let (base, low, tail, backlog) = (Seq(0), Seq(0), Seq(0), Seq(0));
        let mut log = Self { base, low, window, tail_max, tail, backlog, slots: VecDeque::new() };
        log.fill();
        log
    }

    fn fill(&mut self) {
        let length =
            usize::try_from(self.high().0 - self.base.0).expect("a few windows of at most 4096 slots");
        self.slots.resize_with(length, Slot::default);
    }

    /// The low watermark: the newest stable checkpoint.
    pub(crate) fn low(&self) -> Seq {
        self.low
    }

    /// The high watermark: no slot above it is voted on.
    pub(crate) fn high(&self) -> Seq {
        self.low.plus(self.window)
    }

    fn index(&self, seq: Seq) -> Option<usize> {
        let offset = seq.0.checked_sub(self.base.0)?.checked_sub(1)?;
        usize::try_from(offset).ok().filter(|index| *index < self.slots.len())
    }

    /// A slot between the watermarks: the only ones that are voted on.
    pub(crate) fn open(&mut self, seq: Seq) -> Option<&mut Slot> {
        if seq <= self.low {
            return None;
        }
        let index = self.index(seq)?;
        self.slots.get_mut(index)
    }

    /// A slot that is kept, whether or not it is below the low watermark.
    pub(crate) fn get(&self, seq: Seq) -> Option<&Slot> {
        self.slots.get(self.index(seq)?)
    }

    /// Like [`Self::get`], to change.
    pub(crate) fn get_mut(&mut self, seq: Seq) -> Option<&mut Slot> {
        let index = self.index(seq)?;
        self.slots.get_mut(index)
    }

    /// Whether a slot is so old that nobody keeps it for others, whatever is kept here.
    pub(crate) fn is_past(&self, seq: Seq) -> bool {
        seq.0 <= self.low.0.saturating_sub(self.window)
    }

    /// Every slot that is kept.
    pub(crate) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter()
    }

    /// Slots between the watermarks, ascending.
    pub(crate) fn open_slots(&self) -> impl Iterator<Item = (Seq, &Slot)> {
        let below =
            usize::try_from(self.low.0 - self.base.0).expect("the base is a few windows below at most");
        (self.low.0 + 1..).map(Seq).zip(self.slots.iter().skip(below))
    }

    /// Slots between the watermarks, ascending, to change.
    pub(crate) fn open_slots_mut(&mut self) -> impl Iterator<Item = (Seq, &mut Slot)> {
        let below =
            usize::try_from(self.low.0 - self.base.0).expect("the base is a few windows below at most");
        (self.low.0 + 1..).map(Seq).zip(self.slots.iter_mut().skip(below))
    }

    /// Raises the low watermark; keeps slots above `executing` to be executed, a window of them and some more.
    pub(crate) fn raise(&mut self, low: Seq, executing: Seq) {
        assert!(low >= self.low, "watermarks only rise");
        self.low = low;
        for offset in self.base.0 + 1..=low.0 {
            let Some(slot) = self.get_mut(Seq(offset)) else { continue };
            slot.prepares = Tally::default();
            slot.prepared = None;
            slot.proposal = None;
            // CHECKPOINTs may overtake COMMITs: one that has yet to arrive must still find its slot, votes and body.
            if let Some(digest) = slot.committed.as_ref().map(|certificate| certificate.statement.digest) {
                slot.commits = Tally::default();
                slot.bodies.retain(|body| body.digest == digest);
            }
        }
        self.tail = self.reach(self.tail_max, TAIL_BYTES_MAX);
        let window = Seq(low.0.saturating_sub(self.window));
        self.backlog = self.reach(self.window.saturating_mul(BACKLOG_WINDOWS), BACKLOG_BYTES_MAX).min(window);
        self.release(executing);
        self.fill();
    }

    /// The slot above which are the last ones below the low watermark, so many at most and not too many bytes.
    fn reach(&self, slots_max: u64, bytes_max: u64) -> Seq {
        let (mut bytes, mut first) = (0, self.low);
        while first > self.base && self.low.0 - first.0 < slots_max {
            // One that is not seen to have committed may still be, and has the bodies of every view until then.
            let bodies = self.get(first).into_iter().flat_map(|slot| &slot.bodies);
            let requests = bodies.flat_map(|body| body.batch.requests.iter());
            bytes += requests.map(|request| request.bytes() as u64).sum::<u64>();
            if bytes > bytes_max {
                break;
            }
            first = Seq(first.0 - 1);
        }
        first
    }

    /// Drops slots that are below the low watermark and its tail, and were handed to the executor.
    pub(crate) fn release(&mut self, executing: Seq) {
        let base = self.low.min(executing).min(self.tail).max(self.backlog).max(self.base);
        let gone = usize::try_from(base.0 - self.base.0).unwrap_or(usize::MAX).min(self.slots.len());
        self.slots.drain(..gone);
        self.base = base;
    }
}
