//! The execution role: the executor, its retries and its checkpoints, wherever it runs.

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::sync::Arc;

use quorate_protocol::codec::Blob;
use quorate_protocol::executor::{Executed, Executor, RestoreError, State};
use quorate_protocol::map::Map;
use quorate_protocol::message::{Found, Query, QueryReply, Reply, Unanswered};
use quorate_protocol::parameters::Parameters;
use quorate_protocol::request::{Body, Request};
use quorate_protocol::signed::Verified;
use quorate_protocol::types::{ClientId, Digest, ReplicaId, Seq};

/// Of a large state a checkpoint is not due before this part has changed, one of so many: writes at random touch every
/// chunk of it between two checkpoints, so that each of these costs in proportion to the state.
const CHANGED_SHARE: u64 = 12;

/// What the execution role is asked to do, in order.
#[derive(Debug, Clone)]
pub enum Task {
    /// Execute a slot.
    Execute {
        /// The slot.
        seq: Seq,
        /// The batch; none for the null batch.
        body: Option<Arc<Body>>,
    },
    /// Answer a request from the replies that are kept, or say that it has to be ordered.
    Screen(Screening),
    /// Answer a client's query from the state as it is.
    Query {
        /// The client.
        client: ClientId,
        /// What it asks.
        query: Query,
    },
    /// Let go of the state, unless execution has come as far as this slot by itself: the state after it is here and is
    /// to be loaded, and there should not be two of them in memory. Nothing but [`Task::Install`] may follow.
    Release {
        /// The slot.
        seq: Seq,
        /// The state is wrong, however far execution has come.
        wrong: bool,
    },
    /// Go on from a state that was fetched and is certified.
    Install(Box<State>),
}

/// A request that may have executed already.
#[derive(Debug, Clone)]
pub enum Screening {
    /// Not verified yet: a look at the replies may save that.
    Before(Arc<Request>),
    /// Verified, and to be pooled if it has not executed.
    After {
        /// The request.
        request: Verified<Arc<Request>>,
        /// The replica that passed it on, if one did.
        forwarded_by: Option<ReplicaId>,
    },
}

impl Screening {
    /// The request, whether verified or not.
    #[must_use]
    pub fn request(&self) -> &Arc<Request> {
        match self {
            Self::Before(request) => request,
            Self::After { request, .. } => request,
        }
    }
}

/// What the execution role did.
#[derive(Debug)]
pub enum Done {
    /// Executed a slot.
    Executed {
        /// The slot.
        seq: Seq,
        /// Answers by client.
        replies: Vec<(ClientId, Vec<Reply>)>,
        /// Operations that executed for the first time.
        fresh: usize,
        /// Sessions there are now.
        sessions: u64,
        /// The state after it, where a checkpoint was due.
        state: Option<Box<State>>,
    },
    /// Every operation of a request had executed: here are its answers, none if they were acknowledged.
    Known {
        /// The client.
        client: ClientId,
        /// The answers.
        replies: Vec<Reply>,
    },
    /// Answered a query.
    Queried {
        /// The client.
        client: ClientId,
        /// Whether the answer counts as a fast read.
        fast: bool,
        /// The answer.
        reply: QueryReply,
    },
    /// A request that has to be ordered.
    Fresh {
        /// The request.
        screening: Screening,
        /// The slot up to which this was found.
        executed: Seq,
    },
    /// Let go of the state.
    Released {
        /// What is left of it, to be dropped elsewhere.
        old: Vec<Map>,
    },
    /// Kept the state, which is of a later slot than the one that was fetched.
    Outran,
    /// Went on from a fetched state.
    Installed,
    /// A certified state was not taken, and what the application is now nobody knows; the replica has to stop.
    NotInstalled {
        /// The slot.
        seq: Seq,
        /// Why.
        why: RestoreError,
    },
    /// The application's state cannot be written down; the replica has to stop.
    Failed {
        /// The slot.
        seq: Seq,
        /// Why, for the operator.
        why: String,
    },
}

/// Executes tasks one after the other, and says when a checkpoint is due: a function of what was executed alone, so that
/// replicas make theirs after the same slots.
#[derive(Debug)]
pub struct Execution {
    executor: Executor,
    /// Say when a checkpoint is due.
    parameters: Parameters,
    /// The slot of the last checkpoint.
    last: Seq,
    /// The last state that was installed, which covers all slots up to here.
    installed: Seq,
    released: bool,
}

impl Execution {
    /// Starts from an executor, in a cluster with these parameters.
    #[must_use]
    pub fn new(executor: Executor, parameters: &Parameters) -> Self {
        let last = executor.executed();
        Self { executor, parameters: parameters.clone(), last, installed: Seq(0), released: false }
    }

    /// The executor, to be asked.
    #[must_use]
    pub fn executor(&self) -> &Executor {
        &self.executor
    }

    /// Head of the history after a slot, while it is remembered.
    #[must_use]
    pub fn history(&self, seq: Seq) -> Option<Digest> {
        self.executor.history(seq)
    }

    /// Does one task.
    ///
    /// # Panics
    /// If there is no state to do it with, because of [`Task::Release`].
    pub fn run(&mut self, task: Task) -> Done {
        let is_install = matches!(task, Task::Install(_));
        assert!(is_install || !self.released, "whatever comes between Release and Install is kept back");
        match task {
            // It was handed over before the replica knew of the state that came instead.
            Task::Execute { seq, .. } if seq <= self.installed => Done::Executed {
                seq,
                replies: Vec::new(),
                fresh: 0,
                sessions: self.executor.sessions(),
                state: None,
            },
            Task::Execute { seq, body } => self.execute(seq, body.as_deref()),
            Task::Release { seq, wrong } if !wrong && seq <= self.executor.executed() => Done::Outran,
            Task::Release { .. } => {
                self.released = true;
                Done::Released { old: self.executor.release() }
            }
            Task::Install(state) => self.install(state),
            Task::Query { client, query } => {
                let Query { number, fast, command } = query;
                let found = match self.executor.query(&command) {
                    Some(reply) => Found::Reply(Blob(reply)),
                    None => Found::Nothing(Unanswered::NeedsOrder),
                };
                let reply = QueryReply { number, executed: self.executor.executed(), found };
                Done::Queried { client, fast, reply }
            }
            Task::Screen(screening) => {
                let request = screening.request();
                let replies = self.executor.cached(request);
                // A correct client never asks for what it acknowledged; anybody else may have kept its old requests.
                let floor = self.executor.floor(request.client(), request.session());
                let acknowledged = floor.is_some_and(|floor| replies.is_empty() && request.last() <= floor);
                if replies.len() == request.len() || acknowledged {
                    Done::Known { client: request.client(), replies }
                } else {
                    Done::Fresh { screening, executed: self.executor.executed() }
                }
            }
        }
    }

    fn install(&mut self, state: Box<State>) -> Done {
        let seq = state.seq;
        match self.executor.install(*state) {
            Ok(()) => {
                (self.installed, self.last, self.released) = (seq, seq, false);
                Done::Installed
            }
            Err(why) => Done::NotInstalled { seq, why },
        }
    }

    fn execute(&mut self, seq: Seq, body: Option<&Body>) -> Done {
        let Executed { replies, fresh, .. } = self.executor.execute(seq, body);
        if !self.is_due(seq) {
            return Done::Executed { seq, replies, fresh, sessions: self.executor.sessions(), state: None };
        }
        self.last = seq;
        match self.executor.checkpoint() {
            Ok(state) => {
                let (sessions, state) = (self.executor.sessions(), Some(Box::new(state)));
                Done::Executed { seq, replies, fresh, sessions, state }
            }
            Err(error) => Done::Failed { seq, why: error.to_string() },
        }
    }

    /// Whether a checkpoint is due after a slot: of a small state after every K slots, of a large one only where it is due
    /// at the latest, and of either when much has changed. All of this is the same wherever the same was executed.
    fn is_due(&self, seq: Seq) -> bool {
        let (interval, bytes) = (self.parameters.checkpoint_interval, self.parameters.checkpoint_bytes);
        let part = self.executor.saved_bytes() / CHANGED_SHARE;
        let large = bytes > 0 && part > bytes;
        let much_changed = bytes > 0 && self.executor.changed_bytes() >= bytes.max(part);
        let long_ago = !large || seq >= self.parameters.checkpoint_due_by(self.last);
        much_changed || seq.0.is_multiple_of(interval) && long_ago
    }
}
