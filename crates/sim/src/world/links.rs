//! Where frames go: through the rules of a test and the links of the network, to happen later.

use std::sync::Arc;

use bytes::Bytes;
use quorate_protocol::client::To;
use quorate_protocol::codec;
use quorate_protocol::message::{ClientFrame, ClientMessage, PeerMessage, Query};
use quorate_protocol::request::Request;
use quorate_protocol::types::{ClientId, ReplicaId};

use super::World;
use super::happening::Happening;
use super::sketching::fates;
use crate::check::Checked;
use crate::network::Party;
use crate::node::Sent;
use crate::picture::Fate;
use crate::trace;

impl World {
    pub(super) fn send(&mut self, client: usize, to: To, request: &Arc<Request>) {
        let frame = ClientFrame::Request(Arc::clone(request));
        let frame: Bytes = codec::encode(&frame).expect("a client's request fits a frame").into();
        let targets: Vec<ReplicaId> = match to {
            To::Replica(id) => vec![id],
            To::Everyone => self.context.committee.replicas().collect(),
        };
        self.say(|| {
            let to = if let [id] = targets.as_slice() { id.to_string() } else { "all".to_owned() };
            format!("client {} -> {to}: {}", client + 1, trace::request(request))
        });
        let mut copies = Vec::new();
        for to in targets {
            let (here, there) = (Party::Client(client), Party::Replica(to));
            let arrivals = self.network.arrivals(self.now, here, there, &mut self.rng);
            copies.extend(fates(to, &arrivals));
            for at in arrivals {
                self.push(at, Happening::Request { from: client, to, frame: frame.clone() });
            }
        }
        self.note_request(client, request, copies);
    }

    pub(super) fn send_query(&mut self, client: usize, query: &Query) {
        let frame = ClientFrame::Query(query.clone());
        let frame: Bytes = codec::encode(&frame).expect("a client's query fits a frame").into();
        self.say(|| format!("client {} -> all: {}", client + 1, trace::query(query)));
        self.checks.asked(self.clients[client].id(), query);
        let mut copies = Vec::new();
        for to in self.context.committee.replicas() {
            let (here, there) = (Party::Client(client), Party::Replica(to));
            let arrivals = self.network.arrivals(self.now, here, there, &mut self.rng);
            copies.extend(fates(to, &arrivals));
            for at in arrivals {
                self.push(at, Happening::Request { from: client, to, frame: frame.clone() });
            }
        }
        self.note_query(client, query, copies);
    }

    pub(super) fn route(&mut self, from: ReplicaId, sent: Sent) -> Checked {
        let (targets, frame) = match sent {
            Sent::Client(client, frame) => {
                return self.route_reply(from, client, &frame);
            }
            Sent::Replica(to, frame) => (vec![to], frame),
            Sent::Others(frame) => {
                (self.context.committee.replicas().filter(|id| *id != from).collect(), frame)
            }
        };
        let Ok(message) = codec::decode::<PeerMessage>(&frame) else { return Ok(()) };
        self.checks.sent(from, &message)?;
        if let Some(memo) = self.memo.as_ref().filter(|_| !self.checks.is_liar(from)) {
            memo.vouch(&self.context, from, &message);
        }
        let mut suffix = String::new();
        let kind = trace::kind(&message);
        let (all, targets_of) = (targets.len() > 1, targets.clone());
        let mut through = Vec::new();
        let mut copies = Vec::new();
        for to in targets {
            match self.rules.iter().find(|rule| rule.catches(from, to, kind)).map(|rule| rule.hold) {
                None => through.push(to),
                Some(hold) => {
                    suffix.push_str(&format!(" [{} to {to}]", if hold { "held" } else { "lost" }));
                    copies.push((to, if hold { Fate::Held } else { Fate::Lost }));
                    if hold {
                        self.held.push_back((from, to, frame.clone()));
                    }
                }
            }
        }
        if !matches!(message, PeerMessage::Status(_) | PeerMessage::Testimony(_)) {
            let null = self.null;
            self.say(|| {
                let to = if all { "all".to_owned() } else { targets_of[0].to_string() };
                format!("{from} -> {to}: {}{suffix}", trace::message(&message, &null))
            });
        }
        for to in through {
            let (here, there) = (Party::Replica(from), Party::Replica(to));
            let left = self.network.leaves(self.now, here, frame.len());
            let arrivals = self.network.arrivals(left, here, there, &mut self.rng);
            copies.extend(fates(to, &arrivals));
            for at in arrivals {
                self.push(at, Happening::Frame { from, to, frame: frame.clone() });
            }
        }
        self.note_peer(from, &message, copies);
        Ok(())
    }

    fn route_reply(&mut self, from: ReplicaId, client: ClientId, frame: &Bytes) -> Checked {
        let Some(index) = self.clients.iter().position(|known| known.id() == client) else { return Ok(()) };
        if (self.trace.is_some() || self.context.parameters.fast_reads)
            && let Ok(message) = codec::decode::<ClientMessage>(frame)
        {
            self.checks.told(from, client, &message)?;
            self.say(|| format!("{from} -> client {}: {}", index + 1, trace::reply(&message)));
        }
        let (here, there) = (Party::Replica(from), Party::Client(index));
        let left = self.network.leaves(self.now, here, frame.len());
        let arrivals = self.network.arrivals(left, here, there, &mut self.rng);
        self.note_reply(from, index, frame, &arrivals);
        for at in arrivals {
            self.push(at, Happening::Reply { from, to: index, frame: frame.clone() });
        }
        Ok(())
    }
}
