//! What four hosts record of a slot while somebody watches them, in virtual time.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use quorate_protocol::application::{ApplicationError, Context as Told, RejectedCommand, StateMachine};
use quorate_protocol::codec::{self, Frames};
use quorate_protocol::committee::Committee;
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::executor::Executor;
use quorate_protocol::map::Map;
use quorate_protocol::message::ClientFrame;
use quorate_protocol::parameters::{Context, Parameters};
use quorate_protocol::replica::Replica;
use quorate_protocol::request::{Draft, Kind, Registration, Request};
use quorate_protocol::signed::Signer;
use quorate_protocol::types::{ClientId, ClusterId, Digest, Epoch, Number, ReplicaId, Seq, Time};
use quorate_protocol::verify::Verifier;

use super::*;
use crate::execution::Execution;
use crate::host::{Host, Link};
use crate::journal::Journal;
use crate::lane::Class;

const CLUSTER: ClusterId = ClusterId(Digest([9; 32]));
const BEGAN: Time = Time(1_000_000);

/// A machine that understands nothing: clients register, and that is all.
struct Still;

impl StateMachine for Still {
    fn apply(&mut self, _context: &Told, _command: &[u8]) -> Result<Bytes, RejectedCommand> {
        Err(RejectedCommand)
    }
    fn save(&mut self, _map: &mut Map) -> Result<(), ApplicationError> {
        Ok(())
    }
    fn load(&mut self, _map: &Map) -> Result<(), ApplicationError> {
        Ok(())
    }
}

/// What a host sent: to one replica, or to all others.
#[derive(Default)]
struct Sent(Vec<(Option<ReplicaId>, Bytes)>);

impl Link for Sent {
    fn send(&mut self, to: ReplicaId, _class: Class, frame: Bytes) {
        self.0.push((Some(to), frame));
    }
    fn broadcast(&mut self, _class: Class, frame: Bytes) {
        self.0.push((None, frame));
    }
    fn reply(&mut self, _client: ClientId, _frame: Bytes) {}
}

struct Party {
    host: Host,
    verifier: Verifier,
    execution: Execution,
    sent: Sent,
}

impl Party {
    /// Does what there is to do, until there is nothing.
    fn work(&mut self, now: Time) {
        loop {
            let unverified = self.host.take_unverified();
            let (tasks, group) = (self.host.take_tasks(), self.host.take_group());
            if unverified.is_empty() && tasks.is_empty() && group.is_none() {
                return;
            }
            let verdicts = self.verifier.verify(unverified);
            self.host.verified(now, verdicts, &mut self.sent);
            if let Some(group) = group {
                self.host.durable(now, group.last(), &mut self.sent);
            }
            let done: Vec<_> = tasks.into_iter().map(|task| self.execution.run(task)).collect();
            self.host.executed(now, done, &mut self.sent);
        }
    }
}

/// Four hosts, and frames between them that take ten microseconds each, one after the other.
struct Four {
    now: Time,
    parties: Vec<Party>,
    frames: VecDeque<(ReplicaId, ReplicaId, Bytes)>,
}

impl Four {
    fn new() -> Self {
        let keys: Vec<_> = (1..=4).map(|seed| Arc::new(SecretKey::from_seed(&[seed; 32]))).collect();
        let public: Vec<_> = keys.iter().map(|key| key.public()).collect();
        let committee = Arc::new(Committee::new(&public, false).unwrap());
        let parameters = Arc::new(Parameters::default());
        let context = Context { cluster: CLUSTER, epoch: Epoch(0), committee, parameters };
        let party = |(id, key)| {
            let signer = Signer::new(key, CLUSTER, Epoch(0), id);
            Party {
                host: Host::new(Replica::new(context.clone(), id), signer, Journal::default()),
                verifier: Verifier::new(context.clone(), [1; 32]),
                execution: Execution::new(
                    Executor::new(context.clone(), Box::new(Still)),
                    &context.parameters,
                ),
                sent: Sent::default(),
            }
        };
        let parties = (0..).map(ReplicaId).zip(keys).map(party).collect();
        Self { now: BEGAN, parties, frames: VecDeque::new() }
    }

    /// A client asks the primary for a session, and everybody does what follows from that.
    fn order(&mut self, nonce: u64) {
        let key = SecretKey::from_seed(&[77; 32]);
        let registration = Registration { nonce, expires: Seq(1_000) };
        let draft = Draft {
            session: registration.session(ClientId::of(&key.public())),
            first: Number(0),
            ack: Number(0),
            kind: Kind::Register,
            operations: Frames::new(std::iter::once(&codec::encode(&registration).unwrap()[..])),
        };
        let request = ClientFrame::Request(Arc::new(Request::sign(&key, CLUSTER, draft)));
        let frame = codec::encode(&request).unwrap();
        let primary = &mut self.parties[0];
        primary.host.client_frame((&key.public(), &frame), &mut primary.sent).unwrap();
        self.work(0);
        while let Some((from, to, frame)) = self.frames.pop_front() {
            self.now = self.now.plus(10);
            let to = usize::from(to.0);
            self.parties[to].host.peer_frame(self.now, from, &frame).unwrap();
            self.work(to);
        }
    }

    fn work(&mut self, id: usize) {
        let party = &mut self.parties[id];
        party.work(self.now);
        let from = ReplicaId(u16::try_from(id).unwrap());
        for (to, frame) in std::mem::take(&mut party.sent.0) {
            let all = (0..4).map(ReplicaId).filter(|other| *other != from);
            let audience = all.filter(|other| to.is_none_or(|to| to == *other));
            self.frames.extend(audience.map(|to| (from, to, frame.clone())));
        }
    }

    fn watch(&mut self, always: bool) {
        let now = self.now;
        self.parties.iter_mut().for_each(|party| party.host.watch(now, always));
    }

    /// The lanes that a replica shows now.
    fn lanes(&mut self, id: usize) -> Vec<SlotLane> {
        let moments = self.parties[id].host.moments(self.now, BEGAN);
        let lane = |moment| match moment {
            Moment::Slot(lane) => lane,
            other => panic!("everybody is honest: {other:?}"),
        };
        moments.into_iter().map(lane).collect()
    }
}

#[test]
fn the_lane_of_a_committed_slot_holds_every_phase_in_order_and_every_vote() {
    let mut four = Four::new();
    four.watch(false);
    four.order(1);
    for id in 0..4_u16 {
        let lanes = four.lanes(usize::from(id));
        let [lane] = &lanes[..] else { panic!("replica {id} shows one slot: {lanes:?}") };
        assert_eq!((lane.replica, lane.view, lane.seq, lane.operations), (id, 0, 1, 1), "{lane:?}");
        // All four votes, though three decide and the border verifies no more than these.
        for votes in [&lane.prepares, &lane.commits] {
            let mut signers: Vec<u16> = votes.iter().map(|(signer, _)| *signer).collect();
            signers.sort_unstable();
            assert_eq!(signers, [0, 1, 2, 3], "replica {id}: {lane:?}");
            assert!(votes.is_sorted_by_key(|(_, at)| *at), "{lane:?}");
        }
        assert_eq!(lane.request.is_some(), id == 0, "the client asked the primary: {lane:?}");
        let order = [
            lane.request.or(lane.proposed),
            lane.proposed,
            Some(lane.prepares[2].1),
            lane.prepared,
            Some(lane.commits[2].1),
            lane.committed,
            lane.executed,
            lane.replied,
        ];
        let times: Vec<u64> = order.into_iter().flatten().collect();
        assert_eq!(times.len(), order.len(), "replica {id} shows every phase: {lane:?}");
        assert!(times.is_sorted(), "replica {id}: {lane:?}");
        assert!(lane.executed > lane.proposed && lane.t >= times[7], "{lane:?}");
        assert_eq!(four.lanes(usize::from(id)), [], "nothing has changed since");
    }
}

#[test]
fn nothing_is_recorded_when_nobody_watches_or_has_watched_for_ten_seconds() {
    let mut four = Four::new();
    four.order(1);
    assert_eq!(four.lanes(0), [], "nobody watched");
    four.watch(false);
    assert_eq!(four.lanes(0), [], "what was before is not known");
    four.order(2);
    assert_eq!(four.lanes(0).iter().map(|lane| lane.seq).collect::<Vec<_>>(), [2]);
    four.now = four.now.plus(10_000_001);
    four.order(3);
    assert_eq!(four.lanes(0), [], "nobody watches any more");
    four.watch(true);
    four.now = four.now.plus(10_000_001);
    four.order(4);
    assert_eq!(four.lanes(0).iter().map(|lane| lane.seq).collect::<Vec<_>>(), [4], "it was told to go on");
}
