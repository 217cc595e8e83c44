//! State transfer: how a replica that was away for longer than the others keep their log comes back.
//!
//! A stable checkpoint's certificate names a root, and everything that is fetched proves itself against that root. So a
//! source can withhold the state, which makes the replica ask somebody else, but it cannot make up any of it. What
//! travels goes between hosts, in chunks, from store to store: no side ever holds a state in memory for it. The replica
//! only says which certificate it wants installed and hears when it is. It votes on meanwhile: neither its view nor its
//! votes depend on what it has executed.
//!
//! Chunks stay in the store under their digests. So whoever dies while it fetches goes on where it was, a target that
//! moves on costs what changed, and so does a state of which an older one is here. Where something is here, the digests
//! of a chunk's pages come first, and then only the pages that are not here: changes all over a state touch a page or
//! two of every chunk.

mod asking;
mod contents;
mod fetching;
mod serving;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::sync::Arc;

use quorate_protocol::certificate::Certificate;
use quorate_protocol::committee::Committee;
use quorate_protocol::map::Map;
use quorate_protocol::message::{Checkpoint, Transfer};
use quorate_protocol::parameters::Context;
use quorate_protocol::types::{ReplicaId, Seq, Time};

use crate::store::{Job, PageIndex};
use fetching::Fetching;
use serving::Serving;

/// Something for another replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    /// To whom.
    pub to: ReplicaId,
    /// What.
    pub part: Transfer,
}

/// What was transferred so far, both ways.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Transfers begun; one whose target moves on counts once.
    pub started: u64,
    /// States that came whole, and that execution went on from.
    pub completed: u64,
    /// Targets that were given up for a newer one.
    pub moved: u64,
    /// Chunks that came and were right, whole or in part.
    pub chunks: u64,
    /// Bytes of those, and of lists of pages.
    pub fetched_bytes: u64,
    /// Chunks that were here already: of an older state, of an earlier target, or from before a restart.
    pub reused: u64,
    /// Pages that were here already, of other chunks than those.
    pub reused_pages: u64,
    /// Bytes of the states that came whole that need not be fetched for them.
    pub reused_bytes: u64,
    /// Answers that were wrong, or that nobody had asked for.
    pub refused: u64,
    /// Sources banned for a wrong answer, each until the next target.
    pub banned: u64,
    /// Questions that were not answered in time.
    pub stalled: u64,
    /// How long the last transfer took that ended well, from its first question on, in microseconds.
    pub last_us: u64,
    /// Chunks served to others.
    pub served_chunks: u64,
    /// Bytes served to others.
    pub served_bytes: u64,
    /// Questions of others that were dropped because they had too many waiting.
    pub questions_dropped: u64,
    /// Replicas for which a state is kept right now because they fetch it.
    pub leases: u64,
}

/// How far a transfer has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The state's slot.
    pub seq: Seq,
    /// Chunks that are in the store here, so that nobody has to send them again.
    pub have: usize,
    /// Chunks there are; none while that is not known.
    pub of: Option<usize>,
    /// Chunks that were here before any was fetched.
    pub reused: usize,
    /// Who is asked right now, ascending.
    pub from: Vec<ReplicaId>,
}

impl std::fmt::Display for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.of {
            Some(of) => write!(f, "transferring {}/{of} chunks of slot {}", self.have, self.seq)?,
            None => write!(f, "transferring slot {}", self.seq)?,
        }
        let mut before = " from ";
        for source in &self.from {
            write!(f, "{before}{source}")?;
            before = ",";
        }
        if self.reused > 0 { write!(f, " ({} were here)", self.reused) } else { Ok(()) }
    }
}

/// Both sides of state transfer at one replica.
#[derive(Debug)]
pub struct Transfers {
    fetching: Fetching,
    serving: Serving,
    /// Something was taken in that may have to be answered or followed by a question.
    stirred: bool,
}

impl Transfers {
    /// Of replica `me`, with nothing to fetch.
    #[must_use]
    pub fn new(context: &Context, me: ReplicaId) -> Self {
        let committee: &Committee = &context.committee;
        let sources: Vec<ReplicaId> = committee.replicas().filter(|id| *id != me).collect();
        let fetching = Fetching::new(sources, committee.weak_quorum());
        Self { fetching, serving: Serving::new(committee.size()), stirred: false }
    }

    /// Wants the state that this certificate proves. It begins after a moment in which the log may make up for it.
    pub fn aim(&mut self, now: Time, certificate: &Certificate<Checkpoint>) {
        self.fetching.aim(now, certificate.statement);
        self.stirred = true;
    }

    /// The log makes up for some of it: a transfer that has not begun waits for another moment.
    pub fn postpone(&mut self, now: Time) {
        self.fetching.postpone(now);
    }

    /// The log cannot make up for it: begins at once.
    pub fn hurry(&mut self, now: Time) {
        self.fetching.hurry(now);
    }

    /// The log made up for all of it. Where execution has let go of its state already, the transfer goes on.
    pub fn cancel(&mut self) {
        self.fetching.cancel();
    }

    /// Whether there is nothing to do, and nothing will be without a call.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        !self.stirred && self.fetching.is_idle() && self.serving.is_idle()
    }

    /// States that stay although newer ones are stable, because others fetch them.
    #[must_use]
    pub fn leased(&self) -> Vec<Seq> {
        self.serving.leased()
    }

    /// Whether a state that had to stay need not any more, since this was last asked.
    pub fn take_lapsed(&mut self) -> bool {
        self.serving.take_lapsed()
    }

    /// Takes what another replica says.
    pub fn take(&mut self, now: Time, from: ReplicaId, part: Transfer) {
        self.stirred = true;
        match part {
            Transfer::FetchMeta { .. }
            | Transfer::FetchChunk { .. }
            | Transfer::FetchDigests { .. }
            | Transfer::FetchPages { .. } => self.serving.ask(now, from, part),
            Transfer::Meta { summary, chunks } => self.fetching.meta(now, from, *summary, chunks.0),
            Transfer::Chunk { seq, index, bytes } => self.fetching.chunk(now, from, seq, index, bytes.0),
            Transfer::Digests { seq, index, pages } => self.fetching.digests(now, from, seq, index, pages.0),
            Transfer::Pages { seq, index, bytes } => self.fetching.pages(now, from, seq, index, bytes.0),
            Transfer::Lacks { seq } => self.fetching.lacks(now, from, seq),
        }
    }

    /// What is to be asked by now. Whatever others may have by now is a job afterwards.
    pub fn pump(&mut self, now: Time) -> Vec<Post> {
        self.stirred = false;
        let mut posts = Vec::new();
        self.fetching.pump(now, &mut posts);
        self.serving.pump(now);
        posts
    }

    /// What the store is to do next for a transfer that goes on here: one thing at a time.
    pub fn take_fetching_job(&mut self) -> Option<Job> {
        self.fetching.take_job()
    }

    /// What the store is to do next for somebody else.
    pub fn take_serving_job(&mut self) -> Option<Job> {
        self.serving.take_job()
    }

    /// The store has looked which chunks of the state after `seq` are here, and which pages for the others.
    pub fn planned(&mut self, now: Time, seq: Seq, have: &[bool], pages: Arc<PageIndex>) {
        self.fetching.planned(now, seq, have, pages);
        self.stirred = true;
    }

    /// The store has put the chunk away that it was given.
    pub fn kept(&mut self, now: Time, index: u32) {
        self.fetching.kept(now, index);
        self.stirred = true;
    }

    /// The store has not got the pages that were to be here of a chunk that it was given the rest of.
    pub fn lost(&mut self, index: u32) {
        self.fetching.lost(index);
        self.stirred = true;
    }

    /// Whether execution has let go of its state, and the store is to put another together.
    #[must_use]
    pub fn is_adopting(&self) -> bool {
        self.fetching.is_adopting()
    }

    /// The store has put the state together.
    pub fn adopted(&mut self) {
        self.fetching.adopted();
    }

    /// The store has read what somebody asked for.
    pub fn served(&mut self, now: Time, to: ReplicaId, part: Transfer) -> Option<Post> {
        self.stirred = true;
        self.serving.served(now, to, part)
    }

    /// The slot of a state of which the store has everything, once: execution is to let go of the state it has.
    pub fn take_whole(&mut self) -> Option<Seq> {
        self.fetching.take_whole()
    }

    /// Execution has let go of its state, for the one that is in the store; what is left of it goes to the store, too.
    pub fn released(&mut self, old: Vec<Map>) {
        self.fetching.released(old);
    }

    /// Execution has come further by itself than the state in the store.
    pub fn outrun(&mut self, now: Time) {
        self.fetching.outrun(now);
        self.stirred = true;
    }

    /// The certified checkpoint that execution is to go on from, while it does.
    #[must_use]
    pub fn installing(&self) -> Option<Checkpoint> {
        self.fetching.installing()
    }

    /// Execution went on from it, and so will a restart.
    pub fn installed(&mut self, now: Time) {
        self.fetching.installed(now);
        self.stirred = true;
    }

    /// When [`Transfers::pump`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        if self.stirred {
            return Some(Time(0));
        }
        self.fetching.deadline().into_iter().chain(self.serving.deadline()).min()
    }

    /// How far the current transfer has come, if one has begun.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        self.fetching.progress()
    }

    /// What was transferred so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let Counters { served_chunks, served_bytes, questions_dropped, leases, .. } = self.serving.counters();
        Counters { served_chunks, served_bytes, questions_dropped, leases, ..self.fetching.counters() }
    }

    /// Bytes of chunks that wait for the store.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.fetching.held_bytes()
    }
}
