//! One simulated client: the real client machine in a closed loop.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use quorate_protocol::client::{Answer, CallId, Client, ClientEffect, How, Options, Read, ReadId, To};
use quorate_protocol::codec;
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::message::{ClientMessage, Outcome, Query};
use quorate_protocol::parameters::Context;
use quorate_protocol::request::Request;
use quorate_protocol::types::{ClientId, Number, PublicKey, ReplicaId, Seq, Session, Time, View};

/// What a client asked: a call, or a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asked {
    /// To be ordered.
    Call(CallId),
    /// To be read.
    Read(ReadId),
}

/// An answer that a client accepted.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// What was asked.
    pub asked: Asked,
    /// What it had asked.
    pub command: Vec<u8>,
    /// The session it was asked in.
    pub session: Option<Session>,
    /// The answer.
    pub answer: Answer,
}

/// What a client does.
#[derive(Debug, Default)]
pub struct Doings {
    /// What it asks just now, with what command, and how it is read.
    pub asked: Option<(Asked, Vec<u8>, Read)>,
    /// Requests it signed just now.
    pub signed: Vec<Arc<Request>>,
    /// Requests it sends.
    pub sent: Vec<(To, Arc<Request>)>,
    /// Queries it sends to everybody.
    pub queries: Vec<Query>,
    /// Answers it accepted.
    pub accepted: Vec<Accepted>,
}

/// A client, its key, and what it waits for.
pub struct SimClient {
    key: SecretKey,
    context: Context,
    client: Client,
    calls: BTreeMap<Asked, Vec<u8>>,
    /// How it reads.
    pub reads: Read,
    /// Commands it has yet to ask.
    pub to_do: u64,
    /// Calls it keeps out at a time.
    pub in_flight: usize,
}

impl SimClient {
    /// A client that has yet to register.
    #[must_use]
    pub fn new(context: &Context, seed: [u8; 32], options: Options) -> Self {
        let key = SecretKey::from_seed(&seed);
        let client = Client::new(context.clone(), ClientId::of(&key.public()), options);
        let (calls, reads) = (BTreeMap::new(), Read::Ordered);
        Self { key, context: context.clone(), client, calls, reads, to_do: 0, in_flight: 1 }
    }

    /// The key its connections prove.
    #[must_use]
    pub fn key(&self) -> PublicKey {
        self.key.public()
    }
    /// Its name.
    #[must_use]
    pub fn id(&self) -> ClientId {
        ClientId::of(&self.key.public())
    }
    /// The machine, to be looked at.
    #[must_use]
    pub fn machine(&self) -> &Client {
        &self.client
    }
    /// Whether it has nothing to ask and nothing to wait for.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.to_do == 0 && self.calls.is_empty()
    }
    /// Whether it wants to ask something now.
    #[must_use]
    pub fn wants_to_ask(&self) -> bool {
        self.to_do > 0 && self.calls.len() < self.in_flight
    }
    /// Calls without an answer.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.calls.len()
    }
    /// When it wants to be polled.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.client.deadline()
    }

    /// Links to all replicas come up.
    pub fn connect(&mut self, now: Time) -> Doings {
        for replica in self.context.committee.replicas() {
            self.client.on_link(now, replica, Some((Seq(0), View(0))));
        }
        self.poll(now)
    }

    /// The link to a replica breaks, or comes back with what its hello says.
    pub fn link(&mut self, now: Time, replica: ReplicaId, hello: Option<(Seq, View)>) -> Doings {
        self.client.on_link(now, replica, hello);
        self.poll(now)
    }

    /// Asks something, to be read so. What finds no room is forgotten.
    pub fn ask(&mut self, now: Time, command: Vec<u8>, read: Read) -> Doings {
        let bytes = Bytes::from(command.clone());
        let asked = match read {
            Read::Ordered => self.client.submit(bytes).ok().map(Asked::Call),
            Read::Fast | Read::Session | Read::Stale => self.client.read(bytes, read).ok().map(Asked::Read),
        };
        if let Some(asked) = asked {
            self.calls.insert(asked, command.clone());
        }
        Doings { asked: asked.map(|asked| (asked, command, read)), ..self.poll(now) }
    }

    /// A frame of a replica arrives.
    pub fn frame(&mut self, now: Time, from: ReplicaId, frame: &[u8]) -> Doings {
        let mut effects = Vec::new();
        if let Ok(message) = codec::decode::<ClientMessage>(frame) {
            self.client.on_message(now, from, message, &mut effects);
        }
        let mut doings = self.perform(effects);
        let more = self.poll(now);
        doings.signed.extend(more.signed);
        doings.sent.extend(more.sent);
        doings.queries.extend(more.queries);
        doings.accepted.extend(more.accepted);
        doings
    }

    /// Time has passed.
    pub fn poll(&mut self, now: Time) -> Doings {
        let mut effects = Vec::new();
        self.client.poll(now, &mut effects);
        self.perform(effects)
    }

    fn perform(&mut self, effects: Vec<ClientEffect>) -> Doings {
        let mut doings = Doings::default();
        for effect in effects {
            match effect {
                ClientEffect::Sign { to, draft } => {
                    let request = Arc::new(Request::sign(&self.key, self.context.cluster, draft));
                    self.client.signed(&request);
                    doings.signed.push(Arc::clone(&request));
                    doings.sent.push((to, request));
                }
                ClientEffect::Send { to, request } => doings.sent.push((to, request)),
                ClientEffect::Ask { query } => doings.queries.push(query),
                ClientEffect::Done { call, answer } => {
                    doings.accepted.push(self.accept(Asked::Call(call), answer));
                }
                ClientEffect::Read { read, answer } => {
                    doings.accepted.push(self.accept(Asked::Read(read), answer));
                }
            }
        }
        doings
    }

    fn accept(&mut self, asked: Asked, answer: Answer) -> Accepted {
        let command = self.calls.remove(&asked).unwrap_or_default();
        Accepted { asked, command, session: self.client.session(), answer }
    }
}

impl Accepted {
    /// What to ask the reference about; nothing where the session was lost and with it the certainty, or where nothing was
    /// ordered.
    #[must_use]
    pub fn operation(&self, client: ClientId) -> Option<(ClientId, Session, Number)> {
        if self.answer.outcome == Outcome::NoSession || matches!(self.answer.how, How::Read(_)) {
            return None;
        }
        self.session.map(|session| (client, session, self.answer.number))
    }
}
