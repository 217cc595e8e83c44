//! Replicas that say what a test makes them say, signed with their own keys, to the one that speaks for itself.

use std::sync::Arc;

use quorate_protocol::certificate::Certificate;
use quorate_protocol::codec::List;
use quorate_protocol::message::{
    Checkpoint, Commit, NamedViewChange, NewView, PeerMessage, PrePrepare, Prepare, ViewChange,
};
use quorate_protocol::parameters::Context;
use quorate_protocol::process::Event;
use quorate_protocol::request::{Batch, Body, Nondet, Request, null_digest};
use quorate_protocol::signed::{Signed, Signer, Statement};
use quorate_protocol::types::{Digest, ReplicaId, Seq, Time, View};
use quorate_protocol::verify::{Incoming, Invalid, Verifier};
use quorate_sim::world::{Setting, World};

use super::lab::Lab;

/// Signs for every replica of a cluster.
pub(super) struct Pens {
    pub(super) context: Context,
}

impl Pens {
    pub(super) fn of(context: &Context) -> Self {
        Self { context: context.clone() }
    }

    pub(super) fn null(&self) -> Digest {
        null_digest(self.context.cluster)
    }

    pub(super) fn sign<S: Statement>(&self, id: u16, body: S) -> Signed<S> {
        let key = Arc::new(World::secret_of(ReplicaId(id)));
        let signer = Signer::new(key, self.context.cluster, self.context.epoch, ReplicaId(id));
        signer.sign(body).into_inner()
    }

    /// A certificate with these signatures, be they enough or not.
    pub(super) fn certificate<S: Statement>(&self, ids: &[u16], statement: &S) -> Certificate<S> {
        let signatures =
            ids.iter().map(|id| (ReplicaId(*id), self.sign(*id, statement.clone()).signature)).collect();
        Certificate { statement: statement.clone(), signatures: List(signatures) }
    }

    /// A VIEW-CHANGE that shows these.
    pub(super) fn view_change(
        &self,
        id: u16,
        view: u64,
        stable: Option<Certificate<Checkpoint>>,
        prepared: &[Certificate<Prepare>],
    ) -> Arc<NamedViewChange> {
        let body = ViewChange { view: View(view), stable, prepared: List(prepared.to_vec()) };
        Arc::new(self.sign(id, body).into())
    }

    /// The NEW-VIEW of this view's primary that names these, as they stand.
    pub(super) fn new_view(&self, view: u64, named: &[Arc<NamedViewChange>]) -> Signed<NewView> {
        let named = named.iter().map(|message| (message.signer, message.digest())).collect();
        let primary = self.context.committee.primary(View(view));
        self.sign(primary.0, NewView { view: View(view), view_changes: List(named) })
    }

    /// What a replica makes of something that another one sends.
    pub(super) fn judge(&self, from: u16, message: PeerMessage) -> Result<Event, Invalid> {
        let mut verifier = Verifier::new(self.context.clone(), [7; 32]);
        verifier.verify(vec![Incoming::Peer { from: ReplicaId(from), message }]).remove(0)
    }

    /// A batch of these requests; one of none differs from others of none by its time.
    pub(super) fn batch(&self, time: Time, requests: Vec<Arc<Request>>) -> Arc<Body> {
        Body::new(Batch { nondet: Nondet { time }, requests: List(requests) }, self.context.cluster)
    }
}

/// The vote for a batch.
pub(super) fn prepare(view: u64, seq: u64, digest: Digest) -> Prepare {
    Prepare { view: View(view), seq: Seq(seq), digest }
}

/// A cluster of four of which one replica speaks for itself. The others are gone; a test speaks in their names.
/// What made the sessions of its clients has executed.
pub(super) struct Puppets {
    pub(super) lab: Lab,
    pub(super) pens: Pens,
    subject: u16,
}

impl Puppets {
    pub(super) fn around(subject: u16, setting: &Setting, clients: usize) -> Self {
        let mut lab = Lab::quiet(setting, clients);
        for id in (0..4).filter(|id| *id != subject) {
            lab.world.distrust(ReplicaId(id));
            lab.world.crash(ReplicaId(id)).unwrap();
        }
        let pens = Pens::of(lab.world.context());
        lab.said();
        Self { lab, pens, subject }
    }

    /// Somebody says this to the replica, which thinks about it.
    pub(super) fn say(&mut self, from: u16, message: &PeerMessage) {
        self.lab.world.inject(ReplicaId(from), ReplicaId(self.subject), message);
        self.lab.run(5_000);
    }

    /// These replicas vote for a batch.
    pub(super) fn prepare(&mut self, ids: &[u16], vote: Prepare) {
        for id in ids {
            let message = PeerMessage::Prepare(self.pens.sign(*id, vote));
            self.say(*id, &message);
        }
    }

    /// These replicas say that a batch prepared.
    pub(super) fn commit(&mut self, ids: &[u16], Prepare { view, seq, digest }: Prepare) {
        for id in ids {
            let message = PeerMessage::Commit(self.pens.sign(*id, Commit { view, seq, digest }));
            self.say(*id, &message);
        }
    }

    /// The primary of this view proposes a batch, or the null batch.
    pub(super) fn propose(&mut self, view: u64, seq: u64, body: Option<&Arc<Body>>) -> Prepare {
        let primary = self.pens.context.committee.primary(View(view)).0;
        let vote = prepare(view, seq, body.map_or(self.pens.null(), |body| body.digest));
        let batch = body.map(|body| body.batch.clone());
        let message = PrePrepare { prepare: self.pens.sign(primary, vote), batch };
        self.say(primary, &PeerMessage::PrePrepare(message));
        vote
    }

    /// These VIEW-CHANGEs arrive, each from its signer.
    pub(super) fn leave(&mut self, messages: &[Arc<NamedViewChange>]) {
        for message in messages {
            self.say(message.signer.0, &PeerMessage::ViewChange(Arc::clone(message)));
        }
    }

    /// A view opens with these VIEW-CHANGEs.
    pub(super) fn open(&mut self, view: u64, named: &[Arc<NamedViewChange>]) {
        self.leave(named);
        let message = self.pens.new_view(view, named);
        self.say(message.signer.0, &PeerMessage::NewView(message));
        self.leave(named);
    }

    /// The view that the replica is in.
    pub(super) fn view(&self) -> u64 {
        self.lab.replica(self.subject).view().0
    }

    /// How often it said what begins so, to everybody.
    pub(super) fn heard(&mut self, words: &str) -> usize {
        let words = format!("{} -> all: {words}", self.subject);
        self.lab.count(&[&words])
    }
}
