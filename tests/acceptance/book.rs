//! What every operation must be answered, by a model that is as naive as the rules allow; and an application that
//! writes down what it executed.

use std::collections::{BTreeMap, BTreeSet};

use quorate_protocol::application::{Application, Context, machine};
use quorate_protocol::codec::{self, Blob};
use quorate_protocol::message::{Outcome, Reply};
use quorate_protocol::parameters::Parameters;
use quorate_protocol::request::{Body, Kind, Registration, Request};
use quorate_protocol::types::{ClientId, Digest, Number, Seq, Session};
use quorate_sim::app::Service;
use quorate_sim::rng::Rng;
use serde::{Deserialize, Serialize};

/// What clients ask of a [`Ledger`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Command {
    /// Writes a number down; the reply is how many commands executed, this one included.
    Note(u64),
    /// The same with a reply of so many bytes.
    Fill(u64),
    /// Without ordering: the whole ledger.
    Look,
}

impl Command {
    pub(super) fn bytes(&self) -> Vec<u8> {
        codec::encode_serde(self).unwrap()
    }

    pub(super) fn random(rng: &mut Rng) -> Vec<u8> {
        Self::Note(rng.below(1_000)).bytes()
    }
}

/// Client, session and number of an operation.
pub(super) type Place = ([u8; 32], u64, u64);

/// Every command that ever executed, under its place. One that executes twice is there twice, and shifts all replies
/// after it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ledger {
    pub(super) executed: BTreeMap<Place, Vec<u64>>,
    total: u64,
}

impl Ledger {
    pub(super) fn service() -> Service {
        Service::new(|| machine(Self::default()), Command::random)
    }

    fn note(&mut self, place: Place, command: &Command) -> Vec<u8> {
        let (value, reply_bytes) = match command {
            Command::Note(value) => (*value, 8),
            Command::Fill(bytes) => (*bytes, usize::try_from(*bytes).unwrap()),
            Command::Look => (0, 8),
        };
        self.executed.entry(place).or_default().push(value);
        self.total += 1;
        self.total.to_le_bytes().into_iter().cycle().take(reply_bytes).collect()
    }
}

impl Application for Ledger {
    type Command = Command;
    type Reply = Vec<u8>;

    fn apply(&mut self, context: &Context, command: Command) -> Vec<u8> {
        self.note((context.client().0.0, context.session().0, context.number().0), &command)
    }

    fn query(&self, _command: Command) -> Option<Vec<u8>> {
        Some(codec::encode_serde(self).unwrap())
    }
}

/// One session as the book has it.
#[derive(Debug)]
struct Account {
    registered: Reply,
    expires: Seq,
    active: Seq,
    highest: u64,
    floor: u64,
    answers: BTreeMap<u64, Reply>,
}

/// Executes what was ordered, by the rules for sessions and nothing else.
#[derive(Debug)]
pub(super) struct Book {
    parameters: Parameters,
    pub(super) ledger: Ledger,
    pub(super) executed: Seq,
    accounts: BTreeMap<(ClientId, Session), Account>,
    /// By slot: what is to be answered, and to whom.
    pub(super) replies: BTreeMap<Seq, Vec<(ClientId, Reply)>>,
    pub(super) evicted: BTreeSet<(ClientId, Session)>,
    /// Operations that were ordered again after they had executed.
    pub(super) repeated: u64,
}

impl Book {
    pub(super) fn new(parameters: &Parameters) -> Self {
        Self {
            parameters: parameters.clone(),
            ledger: Ledger::default(),
            executed: Seq(0),
            accounts: BTreeMap::new(),
            replies: BTreeMap::new(),
            evicted: BTreeSet::new(),
            repeated: 0,
        }
    }

    /// How everything in a slot ended, in order.
    pub(super) fn outcomes(&self, seq: Seq) -> Vec<Outcome> {
        self.replies[&seq].iter().map(|(_, reply)| reply.outcome.clone()).collect()
    }

    /// The highest number of a session that executed.
    pub(super) fn reached(&self, client: ClientId, session: Session) -> u64 {
        self.accounts.get(&(client, session)).map_or(0, |account| account.highest)
    }

    pub(super) fn has(&self, client: ClientId, session: Session) -> bool {
        self.accounts.contains_key(&(client, session))
    }

    pub(super) fn execute(&mut self, seq: Seq, body: Option<&Body>) {
        assert_eq!(seq, self.executed.next());
        self.executed = seq;
        let mut replies = Vec::new();
        for request in body.iter().flat_map(|body| body.batch.requests.iter()) {
            for (number, operation, command) in request.operations() {
                let key = (request.client(), request.session());
                let refused = |outcome| Reply { seq, session: key.1, number, operation, outcome };
                let ended = match request.kind() {
                    Kind::Register => {
                        self.register(refused(Outcome::Registered), key, request.registration())
                    }
                    Kind::Operations | Kind::Fifo => {
                        self.operation(seq, request, (number, operation, command))
                    }
                };
                replies.push((request.client(), ended.unwrap_or_else(refused)));
            }
        }
        self.replies.insert(seq, replies);
    }

    fn operation(
        &mut self,
        seq: Seq,
        request: &Request,
        (number, operation, command): (Number, Digest, &[u8]),
    ) -> Result<Reply, Outcome> {
        let (client, session) = (request.client(), request.session());
        let account = self.accounts.get_mut(&(client, session)).ok_or(Outcome::NoSession)?;
        account.floor = account.floor.max(request.ack().0 - 1);
        let floor = account.floor;
        account.answers.retain(|number, _| *number > floor);
        if number.0 <= floor {
            return Err(Outcome::Old);
        }
        if let Some(known) = account.answers.get(&number.0) {
            self.repeated += 1;
            return Ok(known.clone());
        }
        let kept: u64 = account.answers.values().map(|reply| reply.outcome.bytes() as u64).sum();
        let full = kept + self.parameters.reply_bytes_max > self.parameters.reply_cache_bytes_max;
        if number.0 > floor.saturating_add(self.parameters.client_window) || full {
            return Err(Outcome::Window);
        }
        if request.kind() == Kind::Fifo && number.0 != account.highest + 1 {
            return Err(Outcome::Gap);
        }
        let outcome = match codec::decode_serde::<Command>(command) {
            Err(_) => Outcome::Rejected,
            Ok(command) => {
                let reply = self.ledger.note((client.0.0, session.0, number.0), &command);
                let reply = codec::encode_serde(&reply).unwrap();
                let fits = reply.len() as u64 <= self.parameters.reply_bytes_max;
                if fits { Outcome::Done(Blob(reply.into())) } else { Outcome::TooLarge }
            }
        };
        let reply = Reply { seq, session, number, operation, outcome };
        (account.active, account.highest) = (seq, account.highest.max(number.0));
        account.answers.insert(number.0, reply.clone());
        Ok(reply)
    }

    fn register(
        &mut self,
        answer: Reply,
        (client, session): (ClientId, Session),
        registration: Option<Registration>,
    ) -> Result<Reply, Outcome> {
        if let Some(account) = self.accounts.get(&(client, session)) {
            return Ok(account.registered.clone());
        }
        let (now, last) = (answer.seq, answer.seq.plus(8 * self.parameters.window));
        let in_time = |asked: &Registration| now <= asked.expires && asked.expires <= last;
        let asked = registration.filter(in_time).ok_or(Outcome::Expired)?;
        let own = self.accounts.keys().filter(|(owner, _)| *owner == client).count() as u64;
        if own >= self.parameters.sessions_per_client_max {
            self.evict(now, Some(client))?;
        } else if self.accounts.len() as u64 >= self.parameters.sessions_max {
            self.evict(now, self.richest(now))?;
        }
        let account = Account {
            registered: answer.clone(),
            expires: asked.expires,
            active: now,
            highest: 0,
            floor: 0,
            answers: BTreeMap::new(),
        };
        self.accounts.insert((client, session), account);
        Ok(answer)
    }

    fn evictable(&self, now: Seq) -> impl Iterator<Item = (ClientId, Session, Seq)> {
        let gone = self.accounts.iter().filter(move |(_, account)| account.expires < now);
        gone.map(|((client, session), account)| (*client, *session, account.active))
    }

    /// Who has most sessions to lose; the smallest of equals.
    fn richest(&self, now: Seq) -> Option<ClientId> {
        let clients: BTreeSet<ClientId> = self.evictable(now).map(|(client, ..)| client).collect();
        let count = |client: ClientId| self.evictable(now).filter(|(owner, ..)| *owner == client).count();
        clients.into_iter().rev().max_by_key(|client| count(*client))
    }

    fn evict(&mut self, now: Seq, from: Option<ClientId>) -> Result<(), Outcome> {
        let candidates = self.evictable(now).filter(|(client, ..)| Some(*client) == from);
        let oldest = candidates.min_by_key(|(_, session, active)| (*active, *session));
        let (client, session, _) = oldest.ok_or(Outcome::Full)?;
        self.accounts.remove(&(client, session));
        self.evicted.insert((client, session));
        Ok(())
    }
}
