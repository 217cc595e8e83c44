//! What a host says: signing and encoding messages, letting them out once what they rest on is durable, and answering
//! clients.

use std::sync::Arc;

use bytes::Bytes;
use quorate_protocol::codec;
use quorate_protocol::message::{BusyReason, ClientMessage, PeerMessage, PrePrepare, Replies, Reply};
use quorate_protocol::process::{Event, Recipient, Say};
use quorate_protocol::request::Request;
use quorate_protocol::signed::Signer;
use quorate_protocol::types::{ClientId, ReplicaId};

use super::{Host, Link};
#[cfg(feature = "byzantine")]
use crate::byzantine::End;
use crate::lane::Class;

/// Bytes of replies in one frame, about.
const REPLY_FRAME_BYTES: usize = 1 << 20;

/// A message that is signed and encoded, and waits for what it rests on.
#[derive(Debug)]
pub(super) struct Outgoing {
    to: Recipient,
    class: Class,
    frame: Bytes,
    /// The same message as an event, where the replica is among its own audience.
    own: Option<Event>,
}

impl Host {
    /// Signs and encodes a message, once for all who get it.
    pub(super) fn prepare(&mut self, to: Recipient, message: Say) -> Outgoing {
        let repeated = matches!(message, Say::Relay(_));
        self.counters.signed += u64::from(!repeated);
        self.counters.repeated += u64::from(repeated);
        let (message, own) = seal(&self.signer, message);
        let heard = to == Recipient::Everyone || to == Recipient::Replica(self.replica.id());
        Outgoing { to, class: class_of(&message), frame: encode(&message), own: own.filter(|_| heard) }
    }

    /// Sends a message whose promise is durable, and hands it back to the replica where that is in its audience.
    pub(super) fn release(&mut self, outgoing: Outgoing, link: &mut impl Link) {
        let Outgoing { to, class, frame, own } = outgoing;
        // What it had decided to say before it learnt that it must not.
        if own.is_some() && self.is_out() {
            return;
        }
        match to {
            Recipient::Everyone => self.broadcast(class, frame, link),
            // Whoever lies tells itself something else than the others.
            Recipient::Replica(to) if to == self.replica.id() => {}
            Recipient::Replica(to) => self.send(to, class, frame, link),
        }
        self.events.extend(own);
    }

    pub(super) fn broadcast(&mut self, class: Class, frame: Bytes, link: &mut impl Link) {
        #[cfg(feature = "byzantine")]
        if self.liar.is_some() && self.splits(class, &frame, link) {
            return;
        }
        let others = self.replica.context().committee.size() as u64 - 1;
        self.counters.frames_out += others;
        self.counters.bytes_out += others * frame.len() as u64;
        link.broadcast(class, frame);
    }

    pub(super) fn send(&mut self, to: ReplicaId, class: Class, frame: Bytes, link: &mut impl Link) {
        #[cfg(feature = "byzantine")]
        let frame = match &self.liar {
            None => frame,
            Some(_) => match self.pack(End::Replica(to), class, frame) {
                Some(frame) => frame,
                None => return,
            },
        };
        self.put(to, class, frame, link);
    }

    pub(super) fn put(&mut self, to: ReplicaId, class: Class, frame: Bytes, link: &mut impl Link) {
        self.counters.frames_out += 1;
        self.counters.bytes_out += frame.len() as u64;
        link.send(to, class, frame);
    }

    pub(super) fn refuse(&mut self, request: &Request, reason: BusyReason, link: &mut impl Link) {
        self.counters.busy += 1;
        self.following.turned_away(request, reason);
        let message = ClientMessage::Busy { session: request.session(), first: request.first(), reason };
        self.answer(request.client(), encode(&message), link);
    }

    pub(super) fn answer(&mut self, client: ClientId, frame: Bytes, link: &mut impl Link) {
        #[cfg(feature = "byzantine")]
        let frame = match &self.liar {
            None => frame,
            Some(_) => match self.pack(End::Client(client), Class::Bulk, frame) {
                Some(frame) => frame,
                None => return,
            },
        };
        self.counters.client_frames_out += 1;
        self.counters.client_bytes_out += frame.len() as u64;
        link.reply(client, frame);
    }

    /// Answers a client: few frames, none larger than a link takes.
    pub(super) fn reply(&mut self, client: ClientId, replies: Vec<Reply>, link: &mut impl Link) {
        // Who found its state to be wrong answers from it no more.
        if self.replica.is_mute() {
            return;
        }
        #[cfg(feature = "byzantine")]
        let replies = self.reply_falsely(client, replies);
        self.following.replied(&replies);
        let (epoch, view) = (self.replica.context().epoch, self.replica.view());
        // Nobody is told of a later slot than this one.
        let last = replies.iter().map(|reply| reply.seq).max().unwrap_or_default();
        let mut rest = replies.as_slice();
        loop {
            let (frame, later) = rest.split_at(fitting(rest));
            let message = encode(&ClientMessage::Replies { epoch, view, replies: Replies::of(frame) });
            self.answer_from(last, (client, message), link);
            if later.is_empty() {
                return;
            }
            rest = later;
        }
    }
}

/// How many of these replies, from the first on, go into one frame; at least one if there is one. All replicas find the same
/// of the same replies, or clients could not compare their runs at once.
fn fitting(replies: &[Reply]) -> usize {
    let mut bytes = 0;
    let fits = |reply: &&Reply| {
        bytes += 128 + reply.outcome.bytes();
        bytes <= REPLY_FRAME_BYTES
    };
    replies.iter().take_while(fits).count().max(replies.len().min(1))
}

/// A message as it travels, and as its author hears it; what needs no signature of ours has no author here.
pub(crate) fn seal(signer: &Signer, message: Say) -> (PeerMessage, Option<Event>) {
    match message {
        Say::PrePrepare { prepare, body } => {
            let prepare = signer.sign(prepare);
            let batch = body.as_ref().map(|body| body.batch.clone());
            let proposal = PrePrepare { prepare: (*prepare).clone(), batch };
            (PeerMessage::PrePrepare(proposal), Some(Event::PrePrepare { prepare, body: None }))
        }
        Say::Prepare(vote) => {
            let vote = signer.sign(vote);
            (PeerMessage::Prepare((*vote).clone()), Some(Event::Prepare(vote)))
        }
        Say::Commit(vote) => {
            let vote = signer.sign(vote);
            (PeerMessage::Commit((*vote).clone()), Some(Event::Commit(vote)))
        }
        Say::Checkpoint(vote) => {
            let vote = signer.sign(vote);
            (PeerMessage::Checkpoint((*vote).clone()), Some(Event::Checkpoint(vote)))
        }
        Say::ViewChange(message) => {
            let message = signer.sign(message).shared();
            (PeerMessage::ViewChange(Arc::clone(&message)), Some(Event::ViewChange(message)))
        }
        Say::NewView(message) => {
            let message = signer.sign(message);
            (PeerMessage::NewView((*message).clone()), Some(Event::NewView(message)))
        }
        Say::Relay(message) => (message, None),
    }
}

fn class_of(message: &PeerMessage) -> Class {
    match message {
        PeerMessage::Prepare(_)
        | PeerMessage::Commit(_)
        | PeerMessage::Checkpoint(_)
        | PeerMessage::Status(_)
        | PeerMessage::CommitCertificate(_)
        | PeerMessage::StableCertificate(_)
        | PeerMessage::Testimony(_)
        | PeerMessage::FetchBody { .. }
        | PeerMessage::FetchViewChange { .. } => Class::Votes,
        PeerMessage::PrePrepare(_) | PeerMessage::NewView(_) => Class::Proposals,
        PeerMessage::ViewChange(_)
        | PeerMessage::Body { .. }
        | PeerMessage::Forward(_)
        | PeerMessage::Transfer(_) => Class::Bulk,
    }
}

/// What we build ourselves is bounded by the parameters, far below a frame's limit.
pub(super) fn encode<T: codec::Encode>(message: &T) -> Bytes {
    codec::encode(message).expect("our own messages are bounded below a frame").into()
}

#[cfg(test)]
mod tests {
    use quorate_protocol::codec::Blob;
    use quorate_protocol::message::Outcome;
    use quorate_protocol::types::{Digest, Number, Seq, Session};

    use super::*;

    fn replies(count: u64, bytes: usize) -> Vec<Reply> {
        let outcome = Outcome::Done(Blob(vec![7; bytes].into()));
        let reply = |number| Reply {
            seq: Seq(1),
            session: Session(2),
            number: Number(number),
            operation: Digest([3; 32]),
            outcome: outcome.clone(),
        };
        (1..=count).map(reply).collect()
    }

    #[test]
    fn a_frame_of_replies_has_about_a_mebibyte_at_most_and_always_one_reply() {
        assert_eq!(fitting(&[]), 0);
        assert_eq!(fitting(&replies(3, REPLY_FRAME_BYTES)), 1, "one alone travels however long it is");
        let many = replies(2_000, 1_000);
        let first = fitting(&many);
        assert!((800..1_000).contains(&first), "{first}");
        let frame = encode(&Replies::of(&many[..first]));
        assert!(
            frame.len() <= REPLY_FRAME_BYTES && frame.len() > REPLY_FRAME_BYTES / 10 * 9,
            "{}",
            frame.len()
        );
        assert_eq!(Replies::of(&many[..first]).runs().len(), 1);
    }
}
