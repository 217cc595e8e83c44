//! I4 and I10: what executing the ordered log gives if every operation executes once, by a model of a few lines.

use std::collections::{BTreeMap, BTreeSet};

use quorate_protocol::application::{Context, StateMachine};
use quorate_protocol::codec::Blob;
use quorate_protocol::message::Outcome;
use quorate_protocol::request::{Body, Kind, Request};
use quorate_protocol::types::{ClientId, Digest, Number, Seq, Session, Time};

/// The log, executed by the book. It knows neither eviction nor the bounds of windows and caches: worlds whose
/// clients exceed those must not ask it.
pub struct Reference {
    machine: Box<dyn StateMachine>,
    window: u64,
    /// The latest time of any batch so far.
    time: Time,
    sessions: BTreeSet<(ClientId, Session)>,
    answers: BTreeMap<(ClientId, Session, Number), (Seq, Outcome)>,
}

impl Reference {
    /// A model of `machine` with the cluster's window of slots.
    #[must_use]
    pub fn new(machine: Box<dyn StateMachine>, window: u64) -> Self {
        Self { machine, window, time: Time(0), sessions: BTreeSet::new(), answers: BTreeMap::new() }
    }

    /// Executes the batch of a slot, after a history with this head.
    pub fn execute(&mut self, seq: Seq, body: &Body, history: Digest) {
        self.time = self.time.max(body.batch.nondet.time);
        for request in body.batch.requests.iter() {
            match request.kind() {
                Kind::Register => self.register(seq, request),
                Kind::Operations | Kind::Fifo => self.operations(seq, request, history),
            }
        }
    }

    fn register(&mut self, seq: Seq, request: &Request) {
        let Some(registration) = request.registration() else { return };
        if (seq..=seq.plus(8 * self.window)).contains(&registration.expires) {
            self.sessions.insert((request.client(), request.session()));
        }
    }

    fn operations(&mut self, seq: Seq, request: &Request, history: Digest) {
        let session = (request.client(), request.session());
        if !self.sessions.contains(&session) {
            return;
        }
        for (number, operation, command) in request.operations() {
            let key = (session.0, session.1, number);
            if self.answers.contains_key(&key) {
                continue;
            }
            let context = Context::for_test(session.0).in_slot(seq, self.time, history);
            let context = context.of_operation(session.1, number, operation);
            let reply = self.machine.apply(&context, command);
            let outcome = reply.map_or(Outcome::Rejected, |reply| Outcome::Done(Blob(reply)));
            self.answers.insert(key, (seq, outcome));
        }
    }

    /// The only answer to an operation that is right, once it is ordered.
    #[must_use]
    pub fn answer(&self, operation: (ClientId, Session, Number)) -> Option<&(Seq, Outcome)> {
        self.answers.get(&operation)
    }
}
