//! Executes batches in order: sessions make every operation execute once, and the application does the rest.
//!
//! An executor is a function of the ordered batches alone. It reads no clock; the time an application sees is agreed.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use bytes::Bytes;

use crate::application::{self, ApplicationError, StateMachine};
use crate::codec::Blob;
use crate::crypto::{HashTag, Hasher};
use crate::map::Map;
use crate::message::{Outcome, Reply};
use crate::mutant::{self, Mutant};
use crate::parameters::Context;
use crate::request::{Body, Kind, Request, null_digest};
use crate::session::{Answer, Judgement, Limits, Sessions};
use crate::snapshot;
pub use crate::snapshot::{CheckpointError, RestoreError, State, Summary};
use crate::types::{ClientId, Digest, Number, Seq, Session, Time};

#[cfg(test)]
mod tests;

/// Slots of which the head of the history is remembered.
pub const HISTORY_KEPT: usize = 8192;

/// The session table, the application and the history of one replica.
pub struct Executor {
    null: Digest,
    config: Digest,
    reply_bytes_max: usize,
    machine: Box<dyn StateMachine>,
    sessions: Sessions,
    /// Application and sessions as they were written last; the application only if it is written into that again.
    saved: (Map, Map),
    /// Bytes of both, the application's too where no copy of it is kept.
    saved_bytes: u64,
    /// The machine has no state.
    released: bool,
    executed: Seq,
    time: Time,
    /// Bytes of the batches since the last checkpoint.
    ordered_bytes: u64,
    /// Heads of the history after `executed` (last) and the slots before it.
    heads: VecDeque<Digest>,
    counters: Counters,
}

/// What executing one slot did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executed {
    /// The slot.
    pub seq: Seq,
    /// Answers for each client, in the order of the batch; clients in order of first appearance.
    pub replies: Vec<(ClientId, Vec<Reply>)>,
    /// Operations that executed, each for the first time.
    pub fresh: usize,
    /// Digest of the batch, or of the null batch.
    pub digest: Digest,
    /// Head of the history after the slot.
    pub history: Digest,
}

/// What an executor has done since it was made, and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Slots executed, null batches included.
    pub slots: u64,
    /// Operations executed for the first time.
    pub operations: u64,
    /// Operations that had executed before and were answered again.
    pub duplicates: u64,
    /// Operations that were ordered and might not execute.
    pub refused: u64,
    /// Sessions there are.
    pub sessions: u64,
    /// Bytes of the replies that clients have not acknowledged.
    pub cached_bytes: u64,
}

impl Executor {
    /// An executor at the beginning of history, with the application's first state.
    #[must_use]
    pub fn new(context: Context, machine: Box<dyn StateMachine>) -> Self {
        let reply_bytes_max = usize::try_from(context.parameters.reply_bytes_max).unwrap_or(usize::MAX);
        Self {
            null: null_digest(context.cluster),
            config: context.config_digest(),
            reply_bytes_max,
            machine,
            sessions: Sessions::new(Limits::of(&context.parameters)),
            saved: (Map::new(), Map::new()),
            saved_bytes: 0,
            released: false,
            executed: Seq(0),
            time: Time(0),
            ordered_bytes: 0,
            heads: VecDeque::from([Digest::ZERO]),
            counters: Counters::default(),
        }
    }

    /// The executor that made a state, as it was then. `machine` may be in any state; it takes that one.
    ///
    /// # Errors
    /// [`RestoreError`] if the state is of another configuration, or `machine` is another application.
    pub fn restore(
        context: Context,
        machine: Box<dyn StateMachine>,
        state: State,
    ) -> Result<Self, RestoreError> {
        let mut executor = Self::new(context, machine);
        executor.install(state)?;
        Ok(executor)
    }

    /// Takes the place of the executor that made a state, as it was then. Counters go on.
    ///
    /// # Errors
    /// [`RestoreError`] as of [`Executor::restore`]. The application may be in any state then: nothing must be executed
    /// any more.
    pub fn install(&mut self, state: State) -> Result<(), RestoreError> {
        if state.config != self.config {
            return Err(RestoreError::OtherConfiguration);
        }
        drop(self.release());
        let sessions = snapshot::load_sessions(&state.sessions, self.sessions.limits())?;
        self.machine.load(&state.application)?;
        self.released = false;
        self.saved = (state.application.clone(), state.sessions);
        let again = self.save_application()?;
        if again.root() != state.application.root() {
            return Err(RestoreError::Unfaithful);
        }
        self.sessions = sessions;
        self.saved_bytes = again.bytes() + self.saved.1.bytes();
        (self.executed, self.time) = (state.seq, state.time);
        self.heads = VecDeque::from([state.history]);
        self.ordered_bytes = 0;
        Ok(())
    }

    /// Lets go of the memory that the state takes. Nothing may be executed before the next [`Executor::install`]. Gives
    /// back what takes long to drop, so that somebody else can do that.
    pub fn release(&mut self) -> Vec<Map> {
        let (mut application, sessions) = std::mem::take(&mut self.saved);
        if !self.released && self.machine.saves_anew() {
            // What cannot be saved is dropped here.
            application = self.save_application().unwrap_or_default();
        }
        self.released = true;
        self.machine.release();
        self.sessions = Sessions::new(self.sessions.limits());
        vec![application, sessions]
    }

    /// Executes a slot: in order, without gaps, exactly once. No body stands for the null batch.
    ///
    /// # Panics
    /// If `seq` is not the one after [`Executor::executed`]: executing another would make this replica another state.
    pub fn execute(&mut self, seq: Seq, body: Option<&Body>) -> Executed {
        assert_eq!(seq, self.executed.next(), "slots execute in order");
        self.sessions.advance(seq);
        let fresh_before = self.counters.operations;
        let mut replies = Vec::new();
        if let Some(body) = body {
            self.time = self.time.max(body.batch.nondet.time);
            let mut position = BTreeMap::new();
            for request in body.batch.requests.iter() {
                self.ordered_bytes = self.ordered_bytes.saturating_add(request.bytes() as u64);
                let client = request.client();
                let at = *position.entry(client).or_insert_with(|| {
                    replies.push((client, Vec::new()));
                    replies.len() - 1
                });
                self.execute_request(seq, request, 0..usize::MAX, &mut replies[at].1);
            }
        }
        let digest = body.map_or(self.null, |body| body.digest);
        let history = self.append_history(seq, digest);
        self.executed = seq;
        self.counters.slots += 1;
        let fresh = self.counters.operations - fresh_before;
        Executed { seq, replies, fresh: usize::try_from(fresh).unwrap_or(usize::MAX), digest, history }
    }

    /// Executes one operation of the slot that is next, after those before it, for whoever wants to watch what it does.
    /// The slot does not count as executed, so nothing but its other operations may follow.
    ///
    /// # Panics
    /// If `seq` is not the one after [`Executor::executed`].
    pub fn rehearse(&mut self, seq: Seq, body: &Body, request: &Request, operation: usize) -> Option<Reply> {
        assert_eq!(seq, self.executed.next(), "slots execute in order");
        self.sessions.advance(seq);
        self.time = self.time.max(body.batch.nondet.time);
        let mut replies = Vec::new();
        self.execute_request(seq, request, operation..operation + 1, &mut replies);
        replies.pop()
    }

    fn execute_request(
        &mut self,
        seq: Seq,
        request: &Request,
        which: Range<usize>,
        replies: &mut Vec<Reply>,
    ) {
        replies.reserve(request.len());
        match request.kind() {
            Kind::Register => self.execute_registration(seq, request, replies),
            Kind::Operations | Kind::Fifo => self.execute_operations(seq, request, which, replies),
        }
    }

    fn execute_registration(&mut self, seq: Seq, request: &Request, replies: &mut Vec<Reply>) {
        let key = (request.client(), request.session());
        let Some((_, operation, _)) = request.operations().next() else { return };
        let answer = self.sessions.register(seq, key, request.registration(), operation);
        replies.push(reply_of(request.session(), Number(0), answer));
    }

    fn execute_operations(
        &mut self,
        seq: Seq,
        request: &Request,
        which: Range<usize>,
        replies: &mut Vec<Reply>,
    ) {
        let fifo = request.kind() == Kind::Fifo;
        let limits = self.sessions.limits();
        let Some(session) = self.sessions.get_mut(request.client(), request.session()) else {
            self.counters.refused += request.len() as u64;
            replies.extend(request.operations().map(|(number, operation, _)| {
                reply_of(request.session(), number, Answer { seq, operation, outcome: Outcome::NoSession })
            }));
            return;
        };
        session.acknowledge(request.ack());
        let mut context = application::Context {
            client: request.client(),
            session: request.session(),
            number: request.first(),
            operation: Digest::ZERO,
            seq,
            time: self.time,
            history: self.heads.back().copied().expect("the head of the history is always kept"),
        };
        for (number, operation, command) in request.operations().take(which.end).skip(which.start) {
            let answer = match session.judge(number, fifo, &limits) {
                Judgement::Known(answer) => {
                    self.counters.duplicates += 1;
                    if mutant::is(Mutant::M27) {
                        (context.number, context.operation) = (number, operation);
                        apply(&mut *self.machine, &context, command, self.reply_bytes_max);
                    }
                    answer.clone()
                }
                Judgement::Refuse(outcome) => {
                    self.counters.refused += 1;
                    Answer { seq, operation, outcome }
                }
                Judgement::Execute => {
                    self.counters.operations += 1;
                    (context.number, context.operation) = (number, operation);
                    let outcome = apply(&mut *self.machine, &context, command, self.reply_bytes_max);
                    let answer = Answer { seq, operation, outcome };
                    session.remember(number, answer.clone());
                    answer
                }
            };
            replies.push(reply_of(request.session(), number, answer));
        }
    }

    fn append_history(&mut self, seq: Seq, batch: Digest) -> Digest {
        let mut hasher = Hasher::new(HashTag::History);
        let head = self.heads.back().expect("the head of the history is always kept");
        hasher.update(&head.0).u64(seq.0).update(&batch.0);
        let head = hasher.finish();
        if self.heads.len() == HISTORY_KEPT {
            self.heads.pop_front();
        }
        self.heads.push_back(head);
        head
    }

    /// Answers a retry: a reply for each operation of the request that executed and is not acknowledged; none if the
    /// request has to be ordered to be answered.
    #[must_use]
    pub fn cached(&self, request: &Request) -> Vec<Reply> {
        let Some(session) = self.sessions.get(request.client(), request.session()) else { return Vec::new() };
        match request.kind() {
            Kind::Register => {
                let outcome = Outcome::Registered;
                let answer = Answer { seq: session.registered, operation: session.registration, outcome };
                vec![reply_of(request.session(), Number(0), answer)]
            }
            Kind::Operations | Kind::Fifo => {
                let known =
                    request.operations().filter_map(|(number, _, _)| Some((number, session.answer(number)?)));
                known.map(|(number, answer)| reply_of(request.session(), number, answer.clone())).collect()
            }
        }
    }

    /// Answers a command from the state as it is, without ordering it; none if the application wants it ordered.
    #[must_use]
    pub fn query(&self, command: &[u8]) -> Option<Bytes> {
        self.machine.query(command).filter(|reply| reply.len() <= self.reply_bytes_max)
    }

    /// Last executed slot.
    #[must_use]
    pub fn executed(&self) -> Seq {
        self.executed
    }

    /// The agreed time after the last executed slot.
    #[must_use]
    pub fn time(&self) -> Time {
        self.time
    }

    /// Numbers of a session up to this one are acknowledged; none if there is no such session.
    #[must_use]
    pub fn floor(&self, client: ClientId, session: Session) -> Option<Number> {
        self.sessions.get(client, session).map(|state| state.floor)
    }

    /// Head of the history after a slot: `h_n = H(History || h_(n-1) || n || batch digest)`, `h_0` all zeros. Kept for
    /// the last [`HISTORY_KEPT`] slots, of a restored executor from its snapshot's slot on.
    #[must_use]
    pub fn history(&self, seq: Seq) -> Option<Digest> {
        let back = usize::try_from(self.executed.0.checked_sub(seq.0)?).ok()?;
        let index = self.heads.len().checked_sub(1)?.checked_sub(back)?;
        self.heads.get(index).copied()
    }

    /// Sessions there are.
    #[must_use]
    pub fn sessions(&self) -> u64 {
        self.sessions.len() as u64
    }

    /// What was done since this executor was made, and what it holds. Takes time in the number of sessions.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            sessions: self.sessions(),
            cached_bytes: self.sessions.iter().map(|(_, _, state)| state.bytes()).sum(),
            ..self.counters
        }
    }

    /// Bytes that changed since the last checkpoint, of the application's state where it counts them, or that were
    /// ordered since, whichever are more; the same everywhere.
    #[must_use]
    pub fn changed_bytes(&self) -> u64 {
        self.machine.changed_bytes().max(self.ordered_bytes)
    }

    /// Bytes of the state at the last checkpoint, the same everywhere.
    #[must_use]
    pub fn saved_bytes(&self) -> u64 {
        self.saved_bytes
    }

    /// The replicated state after the last executed slot, whose root is voted for (OSDI '99, section 4.3). Costs what
    /// changed since the last one; what is hashed is hashed when the root is asked for.
    ///
    /// # Errors
    /// [`CheckpointError`] says what keeps the state from being written.
    pub fn checkpoint(&mut self) -> Result<State, CheckpointError> {
        let application = self.save_application()?;
        snapshot::save_sessions(&mut self.sessions, &mut self.saved.1)?;
        self.ordered_bytes = 0;
        self.saved_bytes = application.bytes() + self.saved.1.bytes();
        Ok(State {
            seq: self.executed,
            time: self.time,
            history: self.heads.back().copied().expect("the head of the history is always kept"),
            config: self.config,
            application,
            sessions: self.saved.1.clone(),
        })
    }

    /// The application's state. A copy of it is kept only where the next one is written into it: whatever is changed while
    /// there is a copy has to be copied first.
    fn save_application(&mut self) -> Result<Map, ApplicationError> {
        if self.machine.saves_anew() {
            self.saved.0 = Map::new();
            let mut map = Map::new();
            self.machine.save(&mut map)?;
            return Ok(map);
        }
        self.machine.save(&mut self.saved.0)?;
        Ok(self.saved.0.clone())
    }
}

impl std::fmt::Debug for Executor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "executor after slot {}, {:?}", self.executed, self.counters())
    }
}

fn apply(
    machine: &mut dyn StateMachine,
    context: &application::Context,
    command: &[u8],
    reply_bytes_max: usize,
) -> Outcome {
    match machine.apply(context, command) {
        Ok(reply) if reply.len() <= reply_bytes_max => Outcome::Done(Blob(reply)),
        Ok(_) => Outcome::TooLarge,
        Err(application::RejectedCommand) => Outcome::Rejected,
    }
}

fn reply_of(session: Session, number: Number, answer: Answer) -> Reply {
    let Answer { seq, operation, outcome } = answer;
    Reply { seq, session, number, operation, outcome }
}
