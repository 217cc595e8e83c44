//! A client: numbers operations, sends them in bundles, and believes an answer only when enough replicas give it.
//!
//! A pure machine like a replica. It reads no clock, holds no key and knows no socket: its driver passes the time,
//! signs the drafts it asks for, hands each signed request back through [`Client::signed`], and sends it. After
//! every change (calls submitted, a message, a link up or down, a deadline) the driver calls [`Client::poll`].
//!
//! An answer is accepted when f + 1 distinct replicas of one epoch give it: the same session, number, operation,
//! slot and outcome (OSDI '99, section 4.1); q of them in a cluster with fast reads. One replica alone is believed about
//! nothing, its view included. Reads need not be ordered: see [`Client::read`].

mod ballot;
mod bundles;
mod calls;
mod interface;
mod reading;
mod registering;
mod retry;
mod runs;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;

pub use ballot::ReplicaSet;
use ballot::{Candidate, Cast};
use bundles::Bundles;
use calls::{Calls, State};
pub use interface::{
    Answer, CallId, ClientEffect, Counters, How, Needed, Obstacle, Options, READS_OUT_MAX, Read, ReadId,
    SubmitError, To,
};
use reading::Reads;
use registering::Standing;
use retry::{Backoff, Outgoing};
use runs::Runs;

use crate::message::{ClientMessage, Outcome, Reply};
use crate::mutant::{self, Mutant};
use crate::parameters::Context;
use crate::request::{Draft, Kind, OPERATIONS_MAX, Operations, Request};
use crate::types::{ClientId, Number, ReplicaId, Seq, Session, Time, View};

/// Bytes of a batch that are not operations, when it holds one request: signature, key, numbers, lengths.
const BATCH_OVERHEAD_BYTES: u64 = 512;
/// Most bytes of a bundle of several operations: larger frames cost latency and save nothing.
const BUNDLE_BYTES_MAX: usize = 1 << 20;

/// What is known of one replica.
#[derive(Debug, Clone, Copy, Default)]
struct Peer {
    up: bool,
    /// Whether it ever said hello.
    heard: bool,
    executed: Seq,
    view: View,
    /// Bytes of its results that wait for a second voice.
    held_bytes: u64,
    dissents: u64,
}

/// The client's side of the protocol.
#[derive(Debug)]
pub struct Client {
    context: Context,
    id: ClientId,
    options: Options,
    peers: Vec<Peer>,
    /// View that f + 1 replicas have reached.
    view: View,
    /// Highest slot of an accepted answer.
    answered: Seq,
    standing: Standing,
    calls: Calls,
    runs: Runs,
    bundles: Bundles,
    reads: Reads,
    backoff: Backoff,
    counters: Counters,
}

impl Client {
    /// A client with no session yet; it registers one as soon as f + 1 replicas have said hello, a brief one when
    /// something is to be ordered, too.
    #[must_use]
    pub fn new(context: Context, id: ClientId, options: Options) -> Self {
        let parameters = &context.parameters;
        let calls = Calls::new(parameters.client_window, parameters.reply_cache_bytes_max);
        let most_us = options.retry_timeout_max_us;
        let least_us = (parameters.timeout_us / 5 * 3).min(most_us);
        let first_us = match options.retry_timeout_us {
            // A watchdog lives on complaints about what takes longer than it did.
            0 if parameters.watchdog => least_us..=least_us,
            0 => least_us..=(parameters.timeout_us / 5).saturating_mul(8).min(most_us),
            chosen => chosen..=chosen,
        };
        let backoff = Backoff::new(first_us, most_us, options.nonce);
        Self {
            peers: vec![Peer::default(); context.committee.size()],
            view: View(0),
            answered: Seq(0),
            // Who is here for a moment may want only to read.
            standing: Standing::new(!options.brief),
            calls,
            runs: Runs::default(),
            bundles: Bundles::new(),
            reads: Reads::new(options.nonce),
            backoff,
            counters: Counters::default(),
            context,
            id,
            options,
        }
    }

    /// Takes a call. It leaves with the next [`Client::poll`] that finds room for it.
    ///
    /// # Errors
    /// [`SubmitError`] if the operation is too large, or as many are unanswered as the client window allows.
    pub fn submit(&mut self, operation: Bytes) -> Result<CallId, SubmitError> {
        let parameters = &self.context.parameters;
        let (bytes, most) = (operation.len(), parameters.operation_bytes_max);
        if bytes as u64 > most {
            return Err(SubmitError::TooLarge { bytes, most });
        }
        self.calls.push(operation).ok_or(SubmitError::WindowFull(parameters.client_window))
    }

    /// The caller no longer waits: no answer will be reported. The operation still executes, because its number must
    /// be answered before the acknowledgement can pass it.
    pub fn cancel(&mut self, call: CallId) {
        self.calls.cancel(call);
    }

    /// Takes the request that a [`ClientEffect::Sign`] asked for.
    pub fn signed(&mut self, request: &Arc<Request>) {
        match &mut self.standing {
            Standing::Registering(registering) => registering.signed(request),
            Standing::Open(session) if *session == request.session() => {
                for (number, digest, _) in request.operations() {
                    if let Some(call) = self.calls.get_mut(number) {
                        call.digest = Some(digest);
                    }
                }
                let bundle = self.calls.get_mut(request.first()).map(|call| call.bundle);
                if let Some(bundle) = bundle.and_then(|id| self.bundles.get_mut(id)) {
                    bundle.out.request = Some(request.clone());
                }
            }
            Standing::Open(_) | Standing::Outside { .. } => {}
        }
    }

    /// A replica said something on its own authenticated channel.
    pub fn on_message(
        &mut self,
        now: Time,
        from: ReplicaId,
        message: ClientMessage,
        effects: &mut Vec<ClientEffect>,
    ) {
        if self.context.committee.key(from).is_none() {
            return;
        }
        match message {
            ClientMessage::Replies { epoch, .. } if epoch != self.context.epoch => {
                self.counters.other_epoch += 1
            }
            ClientMessage::Replies { view, replies, .. } => {
                self.learn_view(from, view);
                for run in replies.into_runs() {
                    self.on_run(now, from, run, effects);
                }
            }
            ClientMessage::Busy { session, first, .. } => self.on_busy(now, from, session, first),
            ClientMessage::Query { epoch, .. } if epoch != self.context.epoch => {
                self.counters.other_epoch += 1
            }
            ClientMessage::Query { view, reply, .. } => {
                self.learn_view(from, view);
                self.on_query_reply(now, from, reply, effects);
            }
        }
    }

    /// The link to a replica came up, with what its hello says it has executed and its view; or it went down.
    pub fn on_link(&mut self, now: Time, replica: ReplicaId, hello: Option<(Seq, View)>) {
        let weak = self.context.committee.weak_quorum();
        let before = self.links_up();
        let Some(peer) = self.peers.get_mut(usize::from(replica.0)) else { return };
        peer.up = hello.is_some();
        if let Some((executed, view)) = hello {
            peer.heard = true;
            peer.executed = peer.executed.max(executed);
            self.learn_view(replica, view);
            if before < weak && self.links_up() >= weak {
                self.hurry(now, None);
            }
        } else {
            self.hurry(now, Some(replica));
        }
    }

    /// Sends what waits and what is due.
    pub fn poll(&mut self, now: Time, effects: &mut Vec<ClientEffect>) {
        if self.links_up() == 0 {
            return;
        }
        self.poll_reads(now, effects);
        self.poll_registration(now, effects);
        let Standing::Open(session) = self.standing else { return };
        for id in self.bundles.due(now) {
            self.retry(now, session, id, effects);
        }
        self.cut(now, session, effects);
    }

    /// When to call [`Client::poll`] if nothing else happens first.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        if self.links_up() == 0 {
            return None;
        }
        let calls = match &self.standing {
            Standing::Open(_) => self.bundles.deadline(),
            Standing::Registering(registering) => Some(registering.due()),
            Standing::Outside { not_before, .. } => self.wants_session().then_some(*not_before),
        };
        calls.into_iter().chain(self.reads.deadline()).min()
    }

    /// What it has done and seen.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Dissents of one replica.
    #[must_use]
    pub fn dissents_of(&self, replica: ReplicaId) -> u64 {
        self.peers.get(usize::from(replica.0)).map_or(0, |peer| peer.dissents)
    }

    /// View that f + 1 replicas have reached.
    #[must_use]
    pub fn view(&self) -> View {
        self.view
    }

    /// The session that calls go to, once the cluster has registered it.
    #[must_use]
    pub fn session(&self) -> Option<Session> {
        match &self.standing {
            Standing::Open(session) => Some(*session),
            Standing::Registering(_) | Standing::Outside { .. } => None,
        }
    }

    /// Calls and reads that have no answer yet.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.calls.unanswered() + self.reads.len()
    }

    fn on_reply(&mut self, now: Time, from: ReplicaId, reply: Reply, effects: &mut Vec<ClientEffect>) {
        match &self.standing {
            Standing::Open(session) if *session == reply.session => {
                self.on_operation_reply(now, from, reply, effects);
            }
            Standing::Registering(registering) if registering.session() == reply.session => {
                self.on_registration_reply(now, from, reply);
            }
            Standing::Open(_) | Standing::Registering(_) | Standing::Outside { .. } => {
                self.counters.stale += 1
            }
        }
    }

    fn on_operation_reply(
        &mut self,
        now: Time,
        from: ReplicaId,
        reply: Reply,
        effects: &mut Vec<ClientEffect>,
    ) {
        let number = reply.number;
        if number < self.calls.ack() && self.calls.get_mut(number).is_none() {
            self.counters.stale += 1;
            return;
        }
        match self.cast(from, reply) {
            Cast::Noted => {}
            Cast::Dissent => self.dissent(from),
            Cast::Decided(decided) => self.decide(now, number, decided, effects),
        }
    }

    /// Counts what a replica answers under a number of the session.
    fn cast(&mut self, from: ReplicaId, reply: Reply) -> Cast {
        let needed = self.needed();
        let held_bytes_max = self.context.parameters.reply_cache_bytes_max;
        let Some(call) = self.calls.get_mut(reply.number) else { return Cast::Dissent };
        let ours = call.digest == Some(reply.operation);
        let ballot = match &mut call.state {
            State::Waiting(_) => return Cast::Dissent,
            State::Answered { seq, outcome } => {
                let same = ours && *seq == reply.seq && *outcome == reply.outcome;
                let comparable = outcome.is_result() && reply.outcome.is_result();
                return if comparable && !same { Cast::Dissent } else { Cast::Noted };
            }
            State::Open(ballot) => ballot.get_or_insert_default(),
        };
        let counted = ballot.has_result_of(from);
        let bytes = if counted { 0 } else { reply.outcome.bytes() as u64 };
        let held_bytes = &mut self.peers[usize::from(from.0)].held_bytes;
        // A correct replica keeps every result that we have not accepted, so it cannot have more of them than its
        // cache holds. Whoever sends more lies, and must not fill our memory.
        let fits = *held_bytes + bytes <= held_bytes_max;
        if !ours || !fits || !answers_operation(&reply.outcome) {
            ballot.accuse(from);
            return Cast::Dissent;
        }
        *held_bytes += bytes;
        ballot.vote(from, reply.seq, reply.outcome, needed)
    }

    /// Enough replicas give this answer.
    fn decide(&mut self, now: Time, number: Number, decided: Candidate, effects: &mut Vec<ClientEffect>) {
        let Some(call) = self.calls.get_mut(number) else { return };
        let State::Open(Some(ballot)) = &call.state else { return };
        let (bundle, wanted) = (call.bundle, call.wanted);
        if matches!(decided.outcome, Outcome::Window | Outcome::Gap) {
            return self.postpone(now, bundle);
        }
        let dissenters = ballot.dissenters(&decided);
        for candidate in ballot.candidates().chain([&decided]) {
            for replica in candidate.voters.iter() {
                self.peers[usize::from(replica.0)].held_bytes -= candidate.outcome.bytes() as u64;
            }
        }
        let id = self.calls.id(number);
        self.calls.answer(number, decided.seq, decided.outcome.clone());
        if let Some(took) = self.bundles.answered(now, bundle) {
            self.backoff.learn(took);
        }
        self.counters.accepted += 1;
        self.answered = self.answered.max(decided.seq);
        for replica in dissenters.iter() {
            self.dissent(replica);
        }
        let lost = decided.outcome == Outcome::NoSession;
        let (outcome, seq, voters) = (decided.outcome, decided.seq, decided.voters);
        let how = How::Ordered;
        let answer = Answer { outcome, seq, number, view: self.view, voters, dissenters, how };
        if lost {
            self.lose_session(now, &answer, effects);
        }
        if wanted {
            self.conclude(id, answer, effects);
        }
    }

    /// Whoever waits for a call hears its answer, which may be that of a read.
    fn conclude(&mut self, call: CallId, answer: Answer, effects: &mut Vec<ClientEffect>) {
        effects.push(match self.reads.take_ordered(call) {
            Some((read, how)) => ClientEffect::Read { read, answer: Answer { how, ..answer } },
            None => ClientEffect::Done { call, answer },
        });
    }

    /// The operation was ordered too early to execute. It travels again, and soon: what it waits for, room in the
    /// replicas' reply caches or an operation before it, is about to happen.
    fn postpone(&mut self, now: Time, id: u64) {
        self.counters.postponed += 1;
        let Some(bundle) = self.bundles.get_mut(id) else { return };
        if !bundle.postponed {
            bundle.postponed = true;
            bundle.out.hold(now.plus(self.backoff.pause(bundle.out.attempts) / 8));
            let due = bundle.out.due;
            self.bundles.moved(due);
        }
    }

    /// A replica has no room for a request.
    fn on_busy(&mut self, now: Time, from: ReplicaId, session: Session, first: Number) {
        self.counters.busy += 1;
        let weak = self.context.committee.weak_quorum();
        match &mut self.standing {
            Standing::Registering(registering) if registering.session() == session => {
                registering.refused(now, from, weak, &mut self.backoff);
            }
            Standing::Open(current) if *current == session => {
                let bundle = self.calls.get_mut(first).map(|call| call.bundle);
                if let Some(bundle) = bundle.and_then(|id| self.bundles.get_mut(id)) {
                    bundle.out.refused(now, from, weak, &mut self.backoff);
                }
            }
            Standing::Open(_) | Standing::Registering(_) | Standing::Outside { .. } => {}
        }
    }

    /// Sends a bundle that is due again: the same bytes to everyone, or what is left of a postponed one anew.
    fn retry(&mut self, now: Time, session: Session, id: u64, effects: &mut Vec<ClientEffect>) {
        let to = self.target();
        let Some(bundle) = self.bundles.get_mut(id) else { return };
        let postponed = std::mem::take(&mut bundle.postponed);
        bundle.out.again(now, &mut self.backoff);
        let (due, request) = (bundle.out.due, bundle.out.request.clone());
        self.bundles.moved(due);
        let Some(request) = request else { return };
        self.counters.retries += 1;
        let redraft = if postponed { self.redraft(&request, session) } else { None };
        effects.push(match redraft {
            Some(draft) => ClientEffect::Sign { to, draft },
            None => ClientEffect::Send { to: To::Everyone, request },
        });
    }

    /// What is unanswered of a request, with the acknowledgement of today: only that makes room in reply caches.
    fn redraft(&mut self, request: &Request, session: Session) -> Option<Draft> {
        let calls = &mut self.calls;
        let mut open = |number| calls.get_mut(number).is_some_and(|call| !call.is_answered());
        let first = request.operations().map(|(number, _, _)| number).find(|number| open(*number))?;
        let last = request.operations().map(|(number, _, _)| number).filter(|number| open(*number)).last()?;
        let left = request.operations().filter(|(number, _, _)| (first..=last).contains(number));
        let operations = Operations::new(left.map(|(_, _, operation)| operation));
        Some(Draft { session, first, ack: self.calls.ack(), kind: request.kind(), operations })
    }

    /// Cuts what waits into bundles.
    fn cut(&mut self, now: Time, session: Session, effects: &mut Vec<ClientEffect>) {
        let parameters = &self.context.parameters;
        let operations_max = self.options.bundle_max.clamp(1, OPERATIONS_MAX) as u64;
        let bytes = parameters.batch_bytes_max.saturating_sub(BATCH_OVERHEAD_BYTES);
        let bytes_max = usize::try_from(bytes).unwrap_or(usize::MAX).min(BUNDLE_BYTES_MAX);
        let kind = if self.options.fifo { Kind::Fifo } else { Kind::Operations };
        while let Some(shape) = self.calls.next_bundle(operations_max, bytes_max) {
            let worth = shape.operations.saturating_mul(self.options.bundles_in_flight.max(1));
            if !shape.full && worth < self.bundles.operations() {
                break;
            }
            let (first, operations) = self.calls.cut(shape.operations, self.bundles.next_id());
            let to = self.target();
            self.bundles.push(shape.operations, Outgoing::new(now, &mut self.backoff, to));
            self.counters.bundles += 1;
            self.counters.operations += shape.operations;
            let draft = Draft { session, first, ack: self.calls.ack(), kind, operations };
            effects.push(ClientEffect::Sign { to, draft });
        }
    }

    /// The cluster forgot the session. What is out may or may not have executed; what was never sent waits for the
    /// next session.
    fn lose_session(&mut self, now: Time, evidence: &Answer, effects: &mut Vec<ClientEffect>) {
        self.counters.sessions_lost += 1;
        let lost = self.calls.restart();
        for call in lost {
            self.conclude(call, evidence.clone(), effects);
        }
        self.runs.clear();
        self.bundles.clear();
        for peer in &mut self.peers {
            peer.held_bytes = 0;
        }
        self.standing = Standing::Outside { not_before: now, rejections: 0, wanted: false };
    }

    /// What nobody has but a replica that cannot be reached is sent elsewhere at once; everything, if none is named.
    fn hurry(&mut self, now: Time, gone: Option<ReplicaId>) {
        self.bundles.hurry(now, gone);
        if let Standing::Registering(registering) = &mut self.standing {
            registering.hurry(now, gone);
        }
    }

    fn dissent(&mut self, replica: ReplicaId) {
        self.counters.dissents += 1;
        if let Some(peer) = self.peers.get_mut(usize::from(replica.0)) {
            peer.dissents += 1;
        }
    }

    /// The (f + 1)-th largest of the reported views is not above what some correct replica has reached.
    fn learn_view(&mut self, from: ReplicaId, view: View) {
        let Some(peer) = self.peers.get_mut(usize::from(from.0)) else { return };
        if std::mem::replace(&mut peer.view, view) != view {
            let views = self.peers.iter().map(|peer| peer.view).collect();
            self.view = nth_largest(views, self.context.committee.faults());
        }
    }

    fn primary(&self) -> ReplicaId {
        self.context.committee.primary(self.view)
    }

    /// The primary first; everyone if it cannot be reached.
    fn target(&self) -> To {
        let primary = self.primary();
        let up = self.peers.get(usize::from(primary.0)).is_some_and(|peer| peer.up);
        if up { To::Replica(primary) } else { To::Everyone }
    }

    fn needed(&self) -> usize {
        let fast = self.context.parameters.fast_reads && !mutant::is(Mutant::M29);
        match self.options.needed {
            Needed::WeakQuorum if mutant::is(Mutant::M46) => self.context.committee.faults(),
            Needed::WeakQuorum if !fast => self.context.committee.weak_quorum(),
            Needed::WeakQuorum | Needed::Quorum => self.context.committee.quorum(),
        }
    }

    fn links_up(&self) -> usize {
        self.peers.iter().filter(|peer| peer.up).count()
    }
}

/// The value that `above` others are not below; the least if there are not so many.
fn nth_largest<T: Ord + Copy + Default>(mut values: Vec<T>, above: usize) -> T {
    values.sort_unstable_by(|one, other| other.cmp(one));
    values.get(above).copied().unwrap_or_default()
}

/// Whether a correct replica can answer an operation so.
fn answers_operation(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Done(_) | Outcome::Rejected | Outcome::TooLarge => true,
        Outcome::NoSession | Outcome::Old | Outcome::Window | Outcome::Gap => true,
        Outcome::Expired | Outcome::Full | Outcome::Registered => false,
    }
}
