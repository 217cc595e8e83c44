//! What a client believes, and what it does not.

#![allow(clippy::unwrap_used)]

mod acceptance;
mod model;
mod reading;
mod runs;
mod sending;
mod sessions;

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::codec::Blob;
use crate::committee::Committee;
use crate::crypto::SecretKey;
use crate::message::{BusyReason, Query, Replies};
use crate::parameters::Parameters;
use crate::types::{ClusterId, Digest, Epoch};

/// A client with its driver's part done by hand: signs what it asks for and keeps what it sends.
struct World {
    client: Client,
    key: SecretKey,
    context: Context,
    now: Time,
    sent: Vec<(To, Arc<Request>)>,
    asked: Vec<Query>,
    done: Vec<(CallId, Answer)>,
    read: Vec<(ReadId, Answer)>,
}

fn context(n: u8, parameters: Parameters) -> Context {
    let keys: Vec<_> = (0..n).map(|id| SecretKey::from_seed(&[id + 1; 32]).public()).collect();
    Context {
        cluster: ClusterId(Digest([7; 32])),
        epoch: Epoch(0),
        committee: Arc::new(Committee::new(&keys, false).unwrap()),
        parameters: Arc::new(parameters),
    }
}

fn result(bytes: &[u8]) -> Outcome {
    Outcome::Done(Blob(Bytes::copy_from_slice(bytes)))
}

impl World {
    fn new(n: u8, change: impl FnOnce(&mut Options, &mut Parameters)) -> Self {
        let (mut options, mut parameters) = (Options::new(42), Parameters::default());
        change(&mut options, &mut parameters);
        parameters.check().unwrap();
        let key = SecretKey::from_seed(&[99; 32]);
        let context = context(n, parameters);
        let client = Client::new(context.clone(), ClientId::of(&key.public()), options);
        let (sent, asked, done, read) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { client, key, context, now: Time(1_000_000), sent, asked, done, read }
    }

    /// A client whose links are up and whose session is registered.
    fn open(n: u8, change: impl FnOnce(&mut Options, &mut Parameters)) -> Self {
        let mut world = Self::new(n, change);
        world.link_all(Seq(10), View(0));
        world.poll();
        let request = world.take_sent().remove(0).1;
        for replica in world.weak() {
            world.answer(replica, &request, 0, 11, Outcome::Registered);
        }
        assert_eq!(world.client.session(), Some(request.session()));
        world
    }

    fn link_all(&mut self, executed: Seq, view: View) {
        for replica in self.context.committee.replicas() {
            self.client.on_link(self.now, replica, Some((executed, view)));
        }
    }

    fn weak(&self) -> Vec<ReplicaId> {
        self.context.committee.replicas().take(self.context.committee.weak_quorum()).collect()
    }

    fn submit(&mut self, operation: &[u8]) -> CallId {
        self.client.submit(Bytes::copy_from_slice(operation)).unwrap()
    }

    fn submit_many(&mut self, calls: usize) -> Vec<CallId> {
        (0..calls).map(|_| self.submit(b"add")).collect()
    }

    fn poll(&mut self) {
        let mut effects = Vec::new();
        self.client.poll(self.now, &mut effects);
        self.perform(effects);
    }

    /// Waits until the client asks to be polled.
    fn wait(&mut self) {
        self.now = self.client.deadline().unwrap().max(self.now);
        self.poll();
    }

    fn perform(&mut self, effects: Vec<ClientEffect>) {
        for effect in effects {
            match effect {
                ClientEffect::Sign { to, draft } => {
                    let request = Arc::new(Request::sign(&self.key, self.context.cluster, draft));
                    let parameters = &self.context.parameters;
                    let operation_bytes_max = usize::try_from(parameters.operation_bytes_max).unwrap();
                    request.check(parameters.client_window, operation_bytes_max).unwrap();
                    self.client.signed(&request);
                    self.sent.push((to, request));
                }
                ClientEffect::Send { to, request } => self.sent.push((to, request)),
                ClientEffect::Ask { query } => self.asked.push(query),
                ClientEffect::Done { call, answer } => self.done.push((call, answer)),
                ClientEffect::Read { read, answer } => self.read.push((read, answer)),
            }
        }
    }

    fn take_sent(&mut self) -> Vec<(To, Arc<Request>)> {
        std::mem::take(&mut self.sent)
    }

    /// Submits one call, and sends it alone.
    fn one(&mut self, operation: &[u8]) -> (CallId, Arc<Request>) {
        let call = self.submit(operation);
        self.poll();
        (call, self.take_sent().remove(0).1)
    }

    fn replies(&mut self, from: ReplicaId, epoch: Epoch, view: View, replies: Vec<Reply>) {
        let mut effects = Vec::new();
        let message = ClientMessage::Replies { epoch, view, replies: Replies::of(&replies) };
        self.client.on_message(self.now, from, message, &mut effects);
        self.perform(effects);
    }

    fn reply(&mut self, from: ReplicaId, reply: Reply) {
        self.replies(from, Epoch(0), View(0), vec![reply]);
    }

    /// `from` answers the operation at `offset` in `request`.
    fn answer(&mut self, from: ReplicaId, request: &Request, offset: usize, seq: u64, outcome: Outcome) {
        self.reply(from, reply_to(request, offset, seq, outcome));
    }

    fn busy(&mut self, from: ReplicaId, request: &Request) {
        let (session, first) = (request.session(), request.first());
        let message = ClientMessage::Busy { session, first, reason: BusyReason::PoolFull };
        self.client.on_message(self.now, from, message, &mut Vec::new());
    }
}

fn reply_to(request: &Request, offset: usize, seq: u64, outcome: Outcome) -> Reply {
    let (number, operation, _) = request.operations().nth(offset).unwrap();
    Reply { seq: Seq(seq), session: request.session(), number, operation, outcome }
}

const R0: ReplicaId = ReplicaId(0);
const R1: ReplicaId = ReplicaId(1);
const R2: ReplicaId = ReplicaId(2);
const R3: ReplicaId = ReplicaId(3);
