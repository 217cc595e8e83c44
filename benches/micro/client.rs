//! What a client does besides waiting: bundles cut, signed and encoded, and answers compared until enough are equal.

use std::sync::Arc;

use bytes::Bytes;
use quorate_protocol::client::{Client, ClientEffect, Options};
use quorate_protocol::codec::{self, Blob};
use quorate_protocol::message::{ClientFrame, ClientMessage, Outcome, Replies, Reply};
use quorate_protocol::parameters::Context;
use quorate_protocol::request::Request;
use quorate_protocol::types::{ClientId, Epoch, ReplicaId, Seq, View};

use crate::made::{self, NOW};
use crate::table::{Bench, Each};

const KEY: u8 = 99;

pub(crate) fn measure(bench: &mut Bench) {
    answers(bench, 4, "in a run", false);
    answers(bench, 4, "one by one", true);
    answers(bench, 16, "in a run", false);
    let context = made::context(4);
    for calls in [1, 64] {
        bench.measure(
            &format!("client: calls, {calls} to a request in a frame"),
            Each(calls, "call"),
            || open(&context),
            |mut client| {
                let request = ask(&context, &mut client, calls);
                let frame = codec::encode(&ClientFrame::Request(request)).expect("a request encodes");
                (client, frame)
            },
        );
    }
}

/// Every replica answers the whole bundle, those beyond the f + 1 that are needed as well. Backwards no answer continues
/// the one before it, so that each is a run of its own.
fn answers(bench: &mut Bench, n: u8, how: &str, backwards: bool) {
    let context = made::context(n);
    let request = ask(&context, &mut open(&context), 64);
    let mut answers = replies(&request, Seq(12), &Outcome::Done(Blob(vec![7; 16].into())));
    if backwards {
        answers.reverse();
    }
    let frame = codec::encode(&message(&answers)).expect("answers encode");
    bench.measure(
        &format!("client: a bundle of 64 answered {how} by {n} replicas"),
        Each(64, "call"),
        || {
            let mut client = open(&context);
            ask(&context, &mut client, 64);
            client
        },
        |mut client| {
            let mut effects = Vec::new();
            for replica in context.committee.replicas() {
                let message = codec::decode::<ClientMessage>(&frame).expect("answers decode");
                client.on_message(NOW, replica, message, &mut effects);
            }
            assert_eq!(client.counters().accepted, 64);
            (client, effects)
        },
    );
}

/// A client with a session.
fn open(context: &Context) -> Client {
    let mut client = Client::new(context.clone(), ClientId::of(&made::key(KEY).public()), Options::new(42));
    for replica in context.committee.replicas() {
        client.on_link(NOW, replica, Some((Seq(10), View(0))));
    }
    let registration = signed(context, &mut client);
    let needed = u16::try_from(context.committee.weak_quorum()).expect("there are few replicas");
    for replica in (0..needed).map(ReplicaId) {
        let answer = replies(&registration, Seq(11), &Outcome::Registered);
        client.on_message(NOW, replica, message(&answer), &mut Vec::new());
    }
    assert!(client.session().is_some());
    client
}

fn ask(context: &Context, client: &mut Client, calls: usize) -> Arc<Request> {
    for _ in 0..calls {
        client.submit(Bytes::from_static(&[7; 128])).expect("there is room for a bundle");
    }
    let request = signed(context, client);
    assert_eq!(request.len(), calls);
    request
}

/// Does what a client's driver does until there is something to send.
fn signed(context: &Context, client: &mut Client) -> Arc<Request> {
    let mut effects = Vec::new();
    client.poll(NOW, &mut effects);
    let draft = effects.into_iter().find_map(|effect| match effect {
        ClientEffect::Sign { draft, .. } => Some(draft),
        _ => None,
    });
    let draft = draft.expect("something is to be signed");
    let request = Arc::new(Request::sign(&made::key(KEY), context.cluster, draft));
    client.signed(&request);
    request
}

/// What each correct replica answers to a request.
fn replies(request: &Request, seq: Seq, outcome: &Outcome) -> Vec<Reply> {
    let session = request.session();
    let reply = |(number, operation, _)| Reply { seq, session, number, operation, outcome: outcome.clone() };
    request.operations().map(reply).collect()
}

fn message(replies: &[Reply]) -> ClientMessage {
    ClientMessage::Replies { epoch: Epoch(0), view: View(0), replies: Replies::of(replies) }
}
