//! Replicas that answer clients wrongly, each by itself or all alike.

use quorate_protocol::codec::Blob;
use quorate_protocol::message::{Found, Outcome, QueryReply, Reply};
use quorate_protocol::types::ClientId;

use super::Behaviour;
use super::chance::Chance;
use super::stage::Stage;

#[derive(Debug)]
pub(super) struct LyingReplies {
    words: Option<String>,
}

impl LyingReplies {
    pub(super) fn new(words: Option<String>) -> Self {
        Self { words }
    }
}

/// Says that an operation was executed and had this result, or, of one that was not to be executed, the opposite of what
/// happened. Whether that is another answer.
fn answer(reply: &mut Reply, result: Vec<u8>) -> bool {
    let other = match &reply.outcome {
        Outcome::Registered => Outcome::Full,
        _ => Outcome::Done(Blob(result.into())),
    };
    let lies = other != reply.outcome;
    reply.outcome = other;
    lies
}

/// Says that this was found in the state. Whether that is another answer.
fn find(reply: &mut QueryReply, result: Vec<u8>) -> bool {
    let found = Found::Reply(Blob(result.into()));
    let lies = found != reply.found;
    reply.found = found;
    lies
}

impl Behaviour for LyingReplies {
    fn reply(&mut self, stage: &mut Stage<'_>, _client: ClientId, reply: &mut Reply) {
        let view = stage.replica.view();
        // Who is to say certain words says nothing else that is wrong.
        if self.words.is_some() && !matches!(reply.outcome, Outcome::Done(_)) {
            return;
        }
        if !stage.is_tempted(view, Some(reply.seq)) {
            return;
        }
        let result = match &self.words {
            Some(words) => words.clone().into_bytes(),
            None => stage.chance.bytes().to_vec(),
        };
        let lies = answer(reply, result);
        stage.count(usize::from(lies));
    }

    fn query(&mut self, stage: &mut Stage<'_>, _client: ClientId, reply: &mut QueryReply) {
        if !stage.is_tempted(stage.replica.view(), Some(reply.executed)) {
            return;
        }
        let result = match &self.words {
            Some(words) => words.clone().into_bytes(),
            None => stage.chance.bytes().to_vec(),
        };
        let lies = find(reply, result);
        stage.count(usize::from(lies));
    }
}

/// The same to every operation, whoever of the liars is asked.
#[derive(Debug)]
pub(super) struct ColludingReplies;

impl Behaviour for ColludingReplies {
    fn reply(&mut self, stage: &mut Stage<'_>, _client: ClientId, reply: &mut Reply) {
        if !stage.is_tempted(stage.replica.view(), Some(reply.seq)) {
            return;
        }
        let mut result = Chance::of([stage.seed, reply.session.0, reply.number.0]);
        let lies = answer(reply, result.bytes().to_vec());
        stage.count(usize::from(lies));
    }

    fn query(&mut self, stage: &mut Stage<'_>, _client: ClientId, reply: &mut QueryReply) {
        if !stage.is_tempted(stage.replica.view(), Some(reply.executed)) {
            return;
        }
        let mut result = Chance::of([stage.seed, reply.executed.0, reply.number]);
        let lies = find(reply, result.bytes().to_vec());
        stage.count(usize::from(lies));
    }
}
