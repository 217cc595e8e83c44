//! The host: everything between a replica's effects and the world, and nothing of the world itself.
//!
//! It decodes what links deliver, has it verified, steps the replica, signs what the replica says, keeps it back until
//! what it rests on is durable, hands the replica's own messages back to it, and passes batches to the executor. Who
//! drives it decides which thread verifies, writes and executes; the simulator drives the very same code.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use quorate_protocol::certificate::Certificate;
use quorate_protocol::message::{BusyReason, Checkpoint, ClientFrame, PeerMessage, Reply};
use quorate_protocol::mutant::{self, Mutant};
use quorate_protocol::process::{Alarm, Effect, Event, Process, Record};
use quorate_protocol::replica::Replica;
use quorate_protocol::request::Request;
use quorate_protocol::signed::{Signed, Signer, Verified};
use quorate_protocol::standing::{Evidence, Standing};
use quorate_protocol::types::{ClientId, Number, Position, PublicKey, ReplicaId, Seq, Session, Time};
use quorate_protocol::verify::{Incoming, Invalid};

use crate::border::{Border, Refusal};
use crate::execution::{Done, Screening, Task};
use crate::following::{Following, Step};
use crate::gate::Gate;
use crate::journal::{Group, Journal};
use crate::lane::Class;
use crate::live::Moment;
use crate::phases::{PhaseTimes, Phases};
use crate::transfer::Transfers;

mod accusations;
mod counters;
mod divergence;
#[cfg(feature = "byzantine")]
mod lying;
mod reading;
mod saying;
mod transfers;

pub use counters::HostCounters;
pub use transfers::{InstallError, JOBS_AT_ONCE, StoringError};

use accusations::Accusations;
use reading::{Answers, Queries};
#[cfg(feature = "byzantine")]
pub(crate) use saying::seal;
use saying::{Outgoing, encode};
use transfers::Storing;

/// Requests whose numbers are remembered to tell retries from new ones.
const SEEN_MAX: usize = 65_536;
/// Requests that may wait to be verified before clients are told to come back later.
const UNVERIFIED_MAX: usize = 8_192;

/// The links of a replica. None of these ever waits: what a link cannot take is dropped and counted there.
pub trait Link {
    /// To one other replica.
    fn send(&mut self, to: ReplicaId, class: Class, frame: Bytes);
    /// To all other replicas.
    fn broadcast(&mut self, class: Class, frame: Bytes);
    /// To a client, over its own connection.
    fn reply(&mut self, client: ClientId, frame: Bytes);
}

/// What became of a frame that was let in.
pub type Received = Result<(), Refusal>;

/// One replica with everything around it that is not the world.
#[derive(Debug)]
pub struct Host {
    replica: Replica,
    signer: Signer,
    border: Border,
    gate: Gate<Outgoing>,
    answers: Answers,
    queries: Queries,
    journal: Journal,
    events: VecDeque<Event>,
    effects: Vec<Effect>,
    tasks: VecDeque<Task>,
    storing: Storing,
    alarms: Vec<Alarm>,
    seen: BTreeMap<(ClientId, Session), Number>,
    /// The newest state that is stored here, or had to be fetched.
    state_of: Seq,
    transfers: Transfers,
    /// The state that the replica asked for in this step.
    wanted: Option<Certificate<Checkpoint>>,
    /// Where the replica's log had got when this was last looked at, and its low watermark.
    caught_up_to: Seq,
    served_low: Seq,
    /// What proves that this replica's state is wrong, until it is given to whoever stores it.
    evidence: Option<Box<Evidence>>,
    /// Who is proven to have lied, and what of that is to be stored.
    accusations: Accusations,
    failed: Option<String>,
    /// Up to where the disk had synced, and since when it has not got beyond that while messages wait for it.
    disk: (Position, Option<Time>),
    newest_invalid: Option<Invalid>,
    counters: HostCounters,
    phases: Phases,
    following: Following,
    /// What it says instead of the truth, if it lies.
    #[cfg(feature = "byzantine")]
    liar: Option<Box<crate::byzantine::Liar>>,
}

impl Host {
    /// A host for a replica, with the key that it signs with and the journal that it promises in.
    #[must_use]
    pub fn new(replica: Replica, signer: Signer, journal: Journal) -> Self {
        let state_of = replica.executed();
        let mut gate = Gate::default();
        // What the journal held when it was opened is durable: nothing can have been waiting for it.
        drop(gate.open(journal.last()));
        let answers = Answers::new(replica.answers_from(), journal.last());
        Self {
            signer,
            border: Border::default(),
            gate,
            answers,
            queries: Queries::default(),
            journal,
            events: VecDeque::new(),
            effects: Vec::new(),
            tasks: VecDeque::new(),
            storing: Storing::new(replica.executed()),
            alarms: Vec::new(),
            seen: BTreeMap::new(),
            state_of,
            phases: Phases::new(replica.context().parameters.window),
            following: Following::default(),
            transfers: Transfers::new(replica.context(), replica.id()),
            wanted: None,
            caught_up_to: Seq(0),
            served_low: Seq(0),
            replica,
            evidence: None,
            accusations: Accusations::default(),
            failed: None,
            disk: (Position(0), None),
            newest_invalid: None,
            counters: HostCounters::default(),
            #[cfg(feature = "byzantine")]
            liar: None,
        }
    }

    /// Does what a recovered replica wants first.
    pub fn resume(&mut self, now: Time, effects: Vec<Effect>, link: &mut impl Link) {
        #[cfg(feature = "byzantine")]
        self.tell_liar(now);
        for effect in effects {
            self.interpret(effect, link);
        }
        self.run(now, link);
    }

    /// The replica, to be looked at.
    #[must_use]
    pub fn replica(&self) -> &Replica {
        &self.replica
    }
    /// The border, to be looked at.
    #[must_use]
    pub fn border(&self) -> &Border {
        &self.border
    }
    /// What the host did so far.
    #[must_use]
    pub fn counters(&self) -> HostCounters {
        self.counters
    }
    /// How long operations took in each phase.
    #[must_use]
    pub fn phase_times(&self) -> PhaseTimes {
        self.phases.times()
    }
    /// Whether it is noted what becomes of each operation.
    pub fn follow(&mut self, on: bool) {
        self.following.turn(on);
    }
    /// What became of operations since this was last asked, while it is noted.
    pub fn take_steps(&mut self) -> VecDeque<Step> {
        self.following.take()
    }
    /// Somebody watches: what this replica sees of each slot is kept for [`Host::moments`], until nobody asked for ten
    /// seconds, or `always`.
    pub fn watch(&mut self, now: Time, always: bool) {
        self.phases.watch(now, &self.replica, always);
    }
    /// What changed since this was last asked, for a recording that began at `began`; nothing if nobody watches.
    pub fn moments(&mut self, now: Time, began: Time) -> Vec<Moment> {
        self.phases.moments(now, began)
    }
    /// Messages and answers that wait for the disk.
    #[must_use]
    pub fn waiting_for_disk(&self) -> usize {
        self.gate.waiting() + self.answers.waiting()
    }
    /// Since when the disk has not got any further while messages wait for it.
    #[must_use]
    pub fn disk_stands_since(&self) -> Option<Time> {
        self.disk.1
    }
    /// Why this replica must stop, if it must.
    #[must_use]
    pub fn failed(&self) -> Option<&str> {
        self.failed.as_deref()
    }

    /// Takes a frame of another replica.
    ///
    /// # Errors
    /// [`Refusal`]: the fault of the channel that delivered it.
    pub fn peer_frame(&mut self, now: Time, from: ReplicaId, frame: &[u8]) -> Received {
        self.border.peer_frame(now, from, frame, &self.replica)?;
        if let Some(heard) = self.border.take_heard().filter(|_| self.phases.is_watched()) {
            self.phases.heard(now, from, heard, &self.replica);
        }
        self.take_part_of_state(now, from);
        Ok(())
    }

    /// Takes a frame of a client; `key` is what its connection proved.
    ///
    /// # Errors
    /// [`Refusal`]: the fault of the connection that delivered it.
    pub fn client_frame(&mut self, (key, frame): (&PublicKey, &[u8]), link: &mut impl Link) -> Received {
        self.counters.client_frames_in += 1;
        self.counters.client_bytes_in += frame.len() as u64;
        match self.border.client_frame(key, frame)? {
            ClientFrame::Request(request) => self.take_request(request, link),
            ClientFrame::Query(query) => self.take_query(ClientId::of(key), query, link),
        }
        Ok(())
    }

    fn take_request(&mut self, request: Arc<Request>, link: &mut impl Link) {
        if self.border.requests() >= UNVERIFIED_MAX || self.tasks.len() >= UNVERIFIED_MAX {
            self.refuse(&request, BusyReason::VerifierFull, link);
        } else if self
            .seen
            .get(&(request.client(), request.session()))
            .is_some_and(|last| request.first() <= *last)
        {
            self.tasks.push_back(Task::Screen(Screening::Before(request)));
        } else {
            self.border.admit(request);
        }
    }

    /// Notes that numbers of a session up to `last` were sent or executed here; gives back what was noted before.
    fn note(&mut self, client: ClientId, session: Session, last: Number) -> Option<Number> {
        if self.seen.len() >= SEEN_MAX && !self.seen.contains_key(&(client, session)) {
            self.seen.clear();
        }
        let before = self.seen.get(&(client, session)).copied();
        self.seen.insert((client, session), before.map_or(last, |before| before.max(last)));
        before
    }

    /// What executed is not new any more, whoever had proposed it.
    fn note_executed(&mut self, client: ClientId, replies: &[Reply]) {
        for of_session in replies.chunk_by(|one, other| one.session == other.session) {
            if let Some(last) = of_session.iter().map(|reply| reply.number).max() {
                self.note(client, of_session[0].session, last);
            }
        }
    }

    /// Whether none of a verified request's numbers can have executed: they are beyond all that executed here, or was
    /// sent `before`, and beyond all that waits to be executed. Only the primary needs to know without asking the executor.
    fn is_new(&self, request: &Request, before: Option<Number>) -> bool {
        self.replica.primary() == self.replica.id()
            && before.is_some_and(|last| request.first() > last)
            && !self.replica.ordered_since(self.replica.executed(), request)
    }

    /// What waits to be verified.
    pub fn take_unverified(&mut self) -> Vec<Incoming> {
        self.border.take(&self.replica, true)
    }
    /// The same, of what replicas sent alone: it does not wait for as many clients as there are.
    pub fn take_unverified_of_replicas(&mut self) -> Vec<Incoming> {
        self.border.take(&self.replica, false)
    }
    /// What waits to be written, if anything does.
    pub fn take_group(&mut self) -> Option<Group> {
        self.journal.take_group()
    }
    /// Alarms raised since this was last asked.
    pub fn take_alarms(&mut self) -> Vec<Alarm> {
        std::mem::take(&mut self.alarms)
    }

    /// What verification refused last, since this was last asked.
    pub fn take_invalid(&mut self) -> Option<Invalid> {
        self.newest_invalid.take()
    }

    /// Takes what verification made of messages.
    pub fn verified(&mut self, now: Time, verdicts: Vec<Result<Event, Invalid>>, link: &mut impl Link) {
        let mut together = Vec::new();
        for verdict in verdicts {
            match verdict {
                Err(invalid) => {
                    self.counters.invalid += 1;
                    self.counters.invalid_by_kind[invalid.kind()] += 1;
                    self.newest_invalid = Some(invalid);
                }
                Ok(Event::Requests { requests, forwarded_by }) => {
                    for request in requests {
                        self.following.received(&request, forwarded_by);
                        let before = self.note(request.client(), request.session(), request.last());
                        // Only now it is known to be of its client: anybody can make up what arrives.
                        if forwarded_by.is_none() && before.is_none_or(|last| request.first() > last) {
                            self.phases.arrived(now, &request);
                        }
                        if self.is_new(&request, before) && forwarded_by.is_none() {
                            together.push(request);
                        } else if self.tasks.len() < UNVERIFIED_MAX {
                            self.tasks.push_back(Task::Screen(Screening::After { request, forwarded_by }));
                        } else if forwarded_by.is_none() {
                            self.refuse(&request, BusyReason::VerifierFull, link);
                        }
                    }
                }
                Ok(event) => self.events.push_back(event),
            }
        }
        if !together.is_empty() {
            self.events.push_back(Event::Requests { requests: together, forwarded_by: None });
        }
        self.run(now, link);
    }

    /// Takes what execution did.
    pub fn executed(&mut self, now: Time, done: impl IntoIterator<Item = Done>, link: &mut impl Link) {
        #[cfg(feature = "byzantine")]
        self.tell_liar(now);
        let mut together = Vec::new();
        for done in done {
            match done {
                Done::Executed { seq, replies, fresh, sessions, state } => {
                    self.counters.operations += fresh as u64;
                    self.counters.sessions = sessions;
                    self.phases.executed(now, seq);
                    self.following.executed(seq);
                    let answers = !replies.is_empty() && !self.replica.is_mute();
                    for (client, replies) in replies {
                        self.note_executed(client, &replies);
                        self.reply(client, replies, link);
                    }
                    if answers {
                        self.phases.replied(now, seq);
                    }
                    let early = state.as_ref().filter(|_| mutant::is(Mutant::M48)).map(|state| state.root());
                    state.into_iter().for_each(|state| self.queue_state(state));
                    self.events.push_back(Event::Executed { seq, root: early });
                }
                Done::Known { client, replies } => {
                    self.counters.retries_known += 1;
                    if !replies.is_empty() {
                        self.reply(client, replies, link);
                    }
                }
                Done::Queried { client, fast, reply } => self.queried(client, fast, reply, link),
                Done::Fresh { screening, executed } => together.extend(self.pass_fresh(screening, executed)),
                Done::Released { old } => self.released(old),
                Done::Outran => self.outran(now),
                Done::Installed => self.installed(),
                Done::NotInstalled { seq, why } => self.failed = Some(InstallError { seq, why }.to_string()),
                Done::Failed { seq, why } => {
                    self.failed = Some(format!("no checkpoint can be made at slot {seq}: {why}"));
                }
            }
        }
        if !together.is_empty() {
            self.events.push_back(Event::Requests { requests: together, forwarded_by: None });
        }
        self.run(now, link);
    }

    /// What becomes of a request that had not executed when it was looked up: to the verifiers, or to the pool, or,
    /// if it was ordered meanwhile, back to be looked up again.
    fn pass_fresh(&mut self, screening: Screening, executed: Seq) -> Option<Verified<Arc<Request>>> {
        if self.replica.ordered_since(executed, screening.request()) {
            self.tasks.push_back(Task::Screen(screening));
            return None;
        }
        match screening {
            Screening::Before(request) => self.border.admit(request),
            Screening::After { request, forwarded_by: None } => return Some(request),
            Screening::After { request, forwarded_by } => {
                self.events.push_back(Event::Requests { requests: vec![request], forwarded_by });
            }
        }
        None
    }

    /// Everything up to `position` is on stable storage.
    pub fn durable(&mut self, now: Time, position: Position, link: &mut impl Link) {
        #[cfg(feature = "byzantine")]
        self.tell_liar(now);
        for outgoing in self.gate.open(position) {
            self.release(outgoing, link);
        }
        for (client, frame) in self.answers.open(position) {
            self.answer(client, frame, link);
        }
        self.run(now, link);
    }

    /// A link to a replica came up: both sides may have missed what was said meanwhile.
    pub fn link_up(&mut self, now: Time, link: &mut impl Link) {
        self.events.push_back(Event::LinkUp);
        self.run(now, link);
    }

    /// The process is about to stop: what the replica leads is handed over before it does.
    pub fn retire(&mut self, now: Time, link: &mut impl Link) {
        self.events.push_back(Event::Retire);
        self.run(now, link);
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: Time, link: &mut impl Link) {
        self.border.tick(now);
        if self.replica.deadline().is_some_and(|at| at <= now) {
            self.events.push_back(Event::Timeout);
        }
        #[cfg(feature = "byzantine")]
        self.lie_by_itself(now, link);
        self.run(now, link);
    }

    /// When [`Host::tick`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let others = self.border.deadline().into_iter().chain(self.transfers.deadline());
        #[cfg(feature = "byzantine")]
        let others = others.chain(self.liar.as_ref().and_then(|liar| liar.deadline()));
        self.replica.deadline().into_iter().chain(others).min()
    }

    /// Steps the replica through its events, its own messages among them, until none is left.
    fn run(&mut self, now: Time, link: &mut impl Link) {
        #[cfg(feature = "byzantine")]
        self.tell_liar(now);
        while let Some(event) = self.events.pop_front() {
            #[cfg(feature = "byzantine")]
            let event = match &self.liar {
                None => event,
                Some(_) => match self.hear(event, link) {
                    Some(event) => event,
                    None => continue,
                },
            };
            self.phases.hears(now, &event);
            let mut effects = std::mem::take(&mut self.effects);
            self.replica.step(now, event, &mut effects);
            for effect in effects.drain(..) {
                self.phases.note(now, &effect);
                self.following.note(&effect);
                self.interpret(effect, link);
            }
            self.effects = effects;
        }
        self.tend_transfers(now, link);
        let (durable, moved) = (self.gate.durable(), self.gate.durable() != self.disk.0);
        let since = if moved { Some(now) } else { self.disk.1.or(Some(now)) };
        self.disk = (durable, since.filter(|_| self.gate.waiting() > 0));
    }

    fn interpret(&mut self, effect: Effect, link: &mut impl Link) {
        #[cfg(feature = "byzantine")]
        if self.liar.is_some() {
            return self.interpret_falsely(effect, link);
        }
        self.obey(effect, link);
    }

    fn obey(&mut self, effect: Effect, link: &mut impl Link) {
        match effect {
            Effect::Persist(record) => self.persist(&record),
            Effect::Send { to, message, after } => {
                let outgoing = self.prepare(to, message);
                if let Some(outgoing) = self.gate.pass(after, outgoing) {
                    self.release(outgoing, link);
                }
            }
            Effect::Execute { seq, body } => self.tasks.push_back(Task::Execute { seq, body }),
            Effect::Forward { to, request } => {
                let frame = encode(&PeerMessage::Forward(request));
                self.send(to, Class::Bulk, frame, link);
            }
            Effect::Refuse { request, reason } => self.refuse(&request, reason, link),
            Effect::Install(certificate) => self.want_state(&certificate),
            Effect::Preserve(evidence) => self.preserve(evidence),
            Effect::LookUp(requests) => self.look_up(requests),
            Effect::Alarm(alarm) => self.tell(alarm),
        }
    }

    /// A record that quotes what this replica signs carries the signed bytes, so that after a restart the very same
    /// bytes are sent again.
    fn persist(&mut self, record: &Record) {
        let signed = match record {
            Record::ViewChange(message) => Some(encode(&*self.signer.sign(message.clone()))),
            Record::NewView { new_view, signature, .. } => Some(match signature {
                Some(signature) => {
                    let signer = self.replica.context().committee.primary(new_view.view);
                    encode(&Signed { body: new_view.clone(), signer, signature: *signature })
                }
                None => encode(&*self.signer.sign(new_view.clone())),
            }),
            Record::Vote { .. }
            | Record::Body { .. }
            | Record::Prepared(_)
            | Record::Stable(_)
            | Record::Horizon { .. }
            | Record::Healed
            | Record::Standing(_) => None,
        };
        let position = self.journal.append(record, signed.as_deref());
        if let Record::Horizon { high, .. } = record {
            self.answers.promised(*high, position);
        }
        self.reclaim();
    }

    /// Lets the journal forget what the stable checkpoint covers, once the state that takes its place is stored here,
    /// or is known to have to be fetched.
    fn reclaim(&mut self) {
        let low = self.replica.watermarks().0;
        if self.state_of >= low {
            self.journal.reclaim(low);
        }
    }
}
