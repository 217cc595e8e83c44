//! One simulated client: the real client machine in a closed loop.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use quorate_protocol::client::{Answer, CallId, Client, ClientEffect, Options, To};
use quorate_protocol::codec;
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::message::{ClientMessage, Outcome};
use quorate_protocol::parameters::Context;
use quorate_protocol::request::Request;
use quorate_protocol::types::{ClientId, Number, PublicKey, ReplicaId, Seq, Session, Time, View};

/// An answer that a client accepted.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// The call.
    pub call: CallId,
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
    /// The call that it makes just now, and its command.
    pub asked: Option<(CallId, Vec<u8>)>,
    /// Requests it signed just now.
    pub signed: Vec<Arc<Request>>,
    /// Requests it sends.
    pub sent: Vec<(To, Arc<Request>)>,
    /// Answers it accepted.
    pub accepted: Vec<Accepted>,
}

/// A client, its key, and what it waits for.
pub struct SimClient {
    key: SecretKey,
    context: Context,
    client: Client,
    calls: BTreeMap<CallId, Vec<u8>>,
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
        Self { key, context: context.clone(), client, calls: BTreeMap::new(), to_do: 0, in_flight: 1 }
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

    /// Asks something. What finds no room is forgotten.
    pub fn ask(&mut self, now: Time, command: Vec<u8>) -> Doings {
        let call = self.client.submit(Bytes::from(command.clone())).ok();
        if let Some(call) = call {
            self.calls.insert(call, command.clone());
        }
        Doings { asked: call.map(|call| (call, command)), ..self.poll(now) }
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
                ClientEffect::Done { call, answer } => {
                    let command = self.calls.remove(&call).unwrap_or_default();
                    let session = self.client.session();
                    doings.accepted.push(Accepted { call, command, session, answer });
                }
            }
        }
        doings
    }
}

impl Accepted {
    /// What to ask the reference about; nothing where the session was lost and with it the certainty.
    #[must_use]
    pub fn operation(&self, client: ClientId) -> Option<(ClientId, Session, Number)> {
        if self.answer.outcome == Outcome::NoSession {
            return None;
        }
        self.session.map(|session| (client, session, self.answer.number))
    }
}
