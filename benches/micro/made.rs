//! What is measured on: a committee with its keys, clients that go on where they stopped, batches, votes, and the frames
//! and events that they come as.

use std::sync::Arc;

use quorate_protocol::codec::{self, List};
use quorate_protocol::committee::Committee;
use quorate_protocol::crypto::{Digest, SecretKey};
use quorate_protocol::message::{Commit, PeerMessage, PrePrepare, Prepare};
use quorate_protocol::parameters::{Context, Parameters};
use quorate_protocol::process::Event;
use quorate_protocol::request::{Batch, Draft, Kind, Nondet, Operations, Registration, Request};
use quorate_protocol::signed::Signer;
use quorate_protocol::types::{ClientId, ClusterId, Epoch, Number, ReplicaId, Seq, Session, Time, View};
use quorate_protocol::verify::{Incoming, Verifier};

/// When everything happens.
pub(crate) const NOW: Time = Time(5);
/// Clients that there are.
const CLIENTS: u64 = 16;

const PAYLOAD: [u8; 128] = [7; 128];
const REGISTRATION: Registration = Registration { nonce: 1, expires: Seq(1000) };

/// A replica's key; those of clients begin at 100.
pub(crate) fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn client_key(client: u64) -> SecretKey {
    key(100 + u8::try_from(client).expect("there are 16 clients"))
}

/// A cluster of `n` replicas, as `quorate init` makes it.
pub(crate) fn context(n: u8) -> Context {
    context_of(n, Parameters::default())
}

pub(crate) fn context_of(n: u8, parameters: Parameters) -> Context {
    let keys: Vec<_> = (0..n).map(|id| key(id + 1).public()).collect();
    Context {
        cluster: ClusterId(Digest([9; 32])),
        epoch: Epoch(0),
        committee: Arc::new(Committee::new(&keys, false).expect("distinct keys are a committee")),
        parameters: Arc::new(parameters),
    }
}

pub(crate) fn quorum(context: &Context) -> u8 {
    u8::try_from(context.committee.quorum()).expect("there are few replicas")
}

pub(crate) fn signer(context: &Context, id: u8) -> Signer {
    Signer::new(Arc::new(key(id + 1)), context.cluster, Epoch(0), ReplicaId(u16::from(id)))
}

/// The session that a client has; see [`registrations`].
fn session(client: u64) -> Session {
    REGISTRATION.session(ClientId::of(&client_key(client).public()))
}

/// Operations of 128 bytes under one signature. What came before them is acknowledged.
fn request(context: &Context, client: u64, first: u64, operations: usize) -> Arc<Request> {
    let draft = Draft {
        session: session(client),
        first: Number(first),
        ack: Number(first),
        kind: Kind::Operations,
        operations: Operations::new(std::iter::repeat_n(&PAYLOAD[..], operations)),
    };
    Arc::new(Request::sign(&client_key(client), context.cluster, draft))
}

/// The batch of a slot. In each next slot every client goes on where it stopped in the one before.
pub(crate) fn batch(context: &Context, slot: u64, requests: u64, operations: usize) -> Batch {
    let of_client = requests.div_ceil(CLIENTS);
    let request = |index| {
        let before = (slot - 1) * of_client + index / CLIENTS;
        request(context, index % CLIENTS, 1 + before * operations as u64, operations)
    };
    Batch { nondet: Nondet { time: NOW }, requests: List((0..requests).map(request).collect()) }
}

/// The batch that gives every client its session.
pub(crate) fn registrations(context: &Context) -> Batch {
    let operation = codec::encode(&REGISTRATION).expect("a registration encodes");
    let register = |client| {
        let draft = Draft {
            session: session(client),
            first: Number(0),
            ack: Number(0),
            kind: Kind::Register,
            operations: Operations::new([&operation[..]].into_iter()),
        };
        Arc::new(Request::sign(&client_key(client), context.cluster, draft))
    };
    Batch { nondet: Nondet { time: NOW }, requests: List((0..CLIENTS).map(register).collect()) }
}

/// What the first primary sends.
pub(crate) fn proposal(context: &Context, seq: Seq, batch: &Batch) -> PeerMessage {
    let prepare = Prepare { view: View(0), seq, digest: batch.digest(context.cluster) };
    let prepare = signer(context, 0).sign(prepare).into_inner();
    PeerMessage::PrePrepare(PrePrepare { prepare, batch: Some(batch.clone()) })
}

/// What a replica's host takes in one after the other.
pub(crate) enum Arrival {
    /// What another replica sent.
    Frame(ReplicaId, Vec<u8>),
    /// What this one said itself.
    Own(Event),
}

pub(crate) fn frame(from: u8, message: &PeerMessage) -> Arrival {
    Arrival::Frame(ReplicaId(u16::from(from)), codec::encode(message).expect("a message encodes"))
}

/// The slot as backup 1 sees it, where nothing is lost: the proposal, everybody's PREPARE and everybody's COMMIT.
pub(crate) fn slot(context: &Context, seq: Seq, batch: &Batch) -> Vec<Arrival> {
    let n = u8::try_from(context.committee.size()).expect("there are few replicas");
    let digest = batch.digest(context.cluster);
    let prepare = |id| signer(context, id).sign(Prepare { view: View(0), seq, digest });
    let commit = |id| signer(context, id).sign(Commit { view: View(0), seq, digest });
    let mut arrivals =
        vec![frame(0, &proposal(context, seq, batch)), Arrival::Own(Event::Prepare(prepare(1)))];
    arrivals.extend((2..n).map(|id| frame(id, &PeerMessage::Prepare(prepare(id).into_inner()))));
    arrivals.push(Arrival::Own(Event::Commit(commit(1))));
    let others = (0..n).filter(|id| *id != 1);
    arrivals.extend(others.map(|id| frame(id, &PeerMessage::Commit(commit(id).into_inner()))));
    arrivals
}

/// The event that a message becomes.
pub(crate) fn event(verifier: &mut Verifier, incoming: Incoming) -> Event {
    let verdict = verifier.verify(vec![incoming]).into_iter().next();
    verdict.expect("one message, one verdict").expect("it is signed well")
}
