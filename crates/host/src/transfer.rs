//! State transfer: how a replica that was away for longer than the others keep their log comes back.
//!
//! A stable checkpoint's certificate names a root, and everything that is fetched proves itself against that root. So a
//! source can withhold the state, which makes the replica ask somebody else, but it cannot make up any of it. What
//! travels goes between hosts; the replica only says which certificate it wants installed and hears when it is. It
//! votes on meanwhile: neither its view nor its votes depend on what it has executed.
//!
//! A transfer that a restart interrupts begins anew: chunks are kept in memory only.

mod fetching;
mod shelf;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use quorate_protocol::certificate::Certificate;
use quorate_protocol::committee::Committee;
use quorate_protocol::executor::State;
use quorate_protocol::message::{Checkpoint, Transfer, snapshot_bytes_max};
use quorate_protocol::parameters::Context;
use quorate_protocol::types::{ReplicaId, Seq, Time};

use fetching::Fetching;
use shelf::Shelf;

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
    /// States that came whole.
    pub completed: u64,
    /// Chunks that came and were right.
    pub chunks: u64,
    /// Chunks of an earlier target that the next one has too.
    pub reused: u64,
    /// Answers that were wrong, or that nobody had asked for.
    pub refused: u64,
    /// Sources banned for a wrong answer, each until the next target.
    pub banned: u64,
    /// Questions that were not answered in time.
    pub stalled: u64,
    /// Bytes served to others.
    pub served_bytes: u64,
    /// Questions of others that were dropped because they had too many waiting.
    pub questions_dropped: u64,
}

/// How far a transfer has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The state's slot.
    pub seq: Seq,
    /// Chunks that are here.
    pub have: usize,
    /// Chunks there are; none while that is not known.
    pub of: Option<usize>,
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
        Ok(())
    }
}

/// Both sides of state transfer at one replica.
#[derive(Debug)]
pub struct Transfers {
    fetching: Fetching,
    shelf: Shelf,
    /// Something was taken in that may have to be answered or followed by a question.
    stirred: bool,
}

impl Transfers {
    /// Of replica `me`, with nothing to serve and nothing to fetch.
    #[must_use]
    pub fn new(context: &Context, me: ReplicaId) -> Self {
        let committee: &Committee = &context.committee;
        let sources: Vec<ReplicaId> = committee.replicas().filter(|id| *id != me).collect();
        let fetching = Fetching::new(sources, snapshot_bytes_max(&context.parameters));
        Self { fetching, shelf: Shelf::new(committee.size()), stirred: false }
    }

    /// Keeps a state to be served: one that was made here, or fetched, or found at the start.
    pub fn shelve(&mut self, state: State) {
        self.shelf.put(state);
    }

    /// States at or below the second newest that is covered by the stable checkpoint `low` may go.
    pub fn stable(&mut self, low: Seq) {
        self.shelf.stable(low);
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

    /// The log made up for all of it.
    pub fn cancel(&mut self) {
        self.fetching.cancel();
    }

    /// Whether there is nothing to do, and nothing will be without a call.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        !self.stirred && self.fetching.is_idle() && self.shelf.is_idle()
    }

    /// Takes what another replica says; gives back the state once it is whole.
    #[must_use]
    pub fn take(&mut self, now: Time, from: ReplicaId, part: Transfer) -> Option<State> {
        self.stirred = true;
        match part {
            Transfer::FetchMeta { .. } | Transfer::FetchChunk { .. } => {
                self.shelf.ask(from, part);
                None
            }
            Transfer::Meta { summary, chunks } => self.fetching.meta(from, *summary, chunks.0),
            Transfer::Chunk { seq, index, bytes } => self.fetching.chunk(from, seq, index, bytes.0),
            Transfer::Lacks { seq } => {
                self.fetching.lacks(now, from, seq);
                None
            }
        }
    }

    /// What is to be asked and answered by now.
    pub fn pump(&mut self, now: Time) -> Vec<Post> {
        self.stirred = false;
        let mut posts = Vec::new();
        self.fetching.pump(now, &mut posts);
        self.shelf.pump(now, &mut posts);
        posts
    }

    /// When [`Transfers::pump`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        if self.stirred {
            return Some(Time(0));
        }
        self.fetching.deadline().into_iter().chain(self.shelf.deadline()).min()
    }

    /// How far the current transfer has come, if one has begun.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        self.fetching.progress()
    }

    /// What was transferred so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let Counters { served_bytes, questions_dropped, .. } = self.shelf.counters();
        Counters { served_bytes, questions_dropped, ..self.fetching.counters() }
    }

    /// Bytes of chunks and states that are held.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.fetching.held_bytes() + self.shelf.held_bytes()
    }
}
