//! Claims about the replica, each a branch that published code got wrong. Whole clusters live in the simulator.

mod amnesia;
mod answering;
mod certificates;
mod checkpoint;
mod divergence;
mod fingerprint;
mod installed;
mod liveness;
mod normal;
mod oracle;
mod recovery;
mod resilience;
mod retire;
mod room;
mod stray;
mod testimony;
mod verification;
mod view_change;
mod waits;

use std::sync::Arc;

use super::*;
use crate::codec::List;
use crate::committee::Committee;
use crate::crypto::SecretKey;
use crate::message::{NewView, PeerMessage, ViewChange};
use crate::request::{Batch, Body, Draft, Kind, Nondet, Operations};
use crate::signed::{Signer, Statement};
use crate::standing::{Evidence, Standing};
use crate::types::{ClusterId, Epoch, Number, Session};

/// One replica, the keys of all, and everything it said.
struct Bench {
    context: Context,
    signers: Vec<Signer>,
    replica: Replica,
    now: Time,
    said: Vec<Say>,
    executed: Vec<Seq>,
    alarms: Vec<Alarm>,
    installs: Vec<Seq>,
    looked_up: usize,
    forwarded: usize,
    bodies_kept: Vec<Digest>,
    evidence: Vec<Evidence>,
    standings: Vec<Standing>,
}

/// A client's request for one operation.
fn signed_request(bench: &Bench, number: u64) -> Verified<Arc<Request>> {
    let key = SecretKey::from_seed(&[77; 32]);
    let operations = Operations::new(std::iter::once(&b"x"[..]));
    let (first, ack, kind) = (Number(number), Number(1), Kind::Operations);
    let draft = Draft { session: Session(1), first, ack, kind, operations };
    Verified::vouch(Arc::new(Request::sign(&key, bench.context.cluster, draft)))
}

fn context(n: u16) -> (Context, Vec<Signer>) {
    let keys: Vec<_> =
        (0..n).map(|id| Arc::new(SecretKey::from_seed(&[u8::try_from(id).unwrap() + 1; 32]))).collect();
    let public: Vec<_> = keys.iter().map(|key| key.public()).collect();
    let (cluster, epoch) = (ClusterId(Digest([9; 32])), Epoch(0));
    let parameters = Parameters { checkpoint_interval: 4, window: 8, ..Parameters::default() };
    let committee = Arc::new(Committee::new(&public, false).unwrap());
    let signers =
        (0..n).map(ReplicaId).zip(keys).map(|(id, key)| Signer::new(key, cluster, epoch, id)).collect();
    (Context { cluster, epoch, committee, parameters: Arc::new(parameters) }, signers)
}

impl Bench {
    /// Replica `me` of `n`, at the beginning.
    fn new(n: u16, me: u16) -> Self {
        let (context, signers) = context(n);
        let replica = Replica::new(context.clone(), ReplicaId(me));
        let (said, executed, alarms, installs) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let now = Time(1_000_000);
        let bodies_kept = Vec::new();
        Self {
            context,
            signers,
            replica,
            now,
            said,
            executed,
            alarms,
            installs,
            looked_up: 0,
            forwarded: 0,
            bodies_kept,
            evidence: Vec::new(),
            standings: Vec::new(),
        }
    }

    /// Replica `me` of four, at the beginning, in a cluster with other parameters.
    fn with(me: u16, parameters: impl FnOnce(&mut Parameters)) -> Self {
        let mut bench = Self::new(4, me);
        parameters(Arc::make_mut(&mut bench.context.parameters));
        bench.replica = Replica::new(bench.context.clone(), ReplicaId(me));
        bench
    }

    /// Steps the replica; its own words come back to it as a host brings them back.
    fn step(&mut self, event: Event) {
        let mut effects = Vec::new();
        self.replica.step(self.now, event, &mut effects);
        for effect in effects {
            match effect {
                Effect::Send { to, message, .. } => {
                    self.said.push(message.clone());
                    if to == Recipient::Everyone {
                        self.hear_itself(message);
                    }
                }
                Effect::Execute { seq, .. } => self.executed.push(seq),
                Effect::Alarm(alarm) => self.alarms.push(alarm),
                Effect::Install(certificate) => self.installs.push(certificate.statement.seq),
                Effect::Forward { .. } => self.forwarded += 1,
                Effect::Persist(Record::Body { body, .. }) => self.bodies_kept.push(body.digest),
                Effect::LookUp(requests) => self.looked_up += requests.len(),
                Effect::Preserve(evidence) => self.evidence.push(*evidence),
                Effect::Persist(Record::Standing(standing)) => self.standings.push(standing),
                Effect::Persist(_) | Effect::Refuse { .. } => {}
            }
        }
    }

    fn hear_itself(&mut self, message: Say) {
        let me = &self.signers[usize::from(self.replica.id().0)];
        let event = match message {
            Say::PrePrepare { prepare, .. } => Event::PrePrepare { prepare: me.sign(prepare), body: None },
            Say::Prepare(vote) => Event::Prepare(me.sign(vote)),
            Say::Commit(vote) => Event::Commit(me.sign(vote)),
            Say::Checkpoint(vote) => Event::Checkpoint(me.sign(vote)),
            Say::ViewChange(message) => Event::ViewChange(me.sign(message).shared()),
            Say::NewView(message) => Event::NewView(me.sign(message)),
            Say::Relay(_) => return,
        };
        self.step(event);
    }

    fn sign<S: Statement>(&self, id: u16, body: S) -> Verified<Signed<S>> {
        self.signers[usize::from(id)].sign(body)
    }

    fn body(&self, tag: u64) -> Arc<Body> {
        let batch = Batch { nondet: Nondet { time: Time(1_000_000 + tag) }, requests: List(Vec::new()) };
        Body::new(batch, self.context.cluster)
    }

    fn pre_prepare(&mut self, vote: Prepare, body: Option<&Arc<Body>>) {
        let primary = self.context.committee.primary(vote.view);
        let prepare = self.sign(primary.0, vote);
        let body = body.map(|body| Verified::vouch(Arc::clone(body)));
        self.step(Event::PrePrepare { prepare, body });
    }

    fn prepare(&mut self, id: u16, vote: Prepare) {
        let vote = self.sign(id, vote);
        self.step(Event::Prepare(vote));
    }

    fn commit(&mut self, id: u16, vote: Prepare) {
        let vote = self.sign(id, Commit { view: vote.view, seq: vote.seq, digest: vote.digest });
        self.step(Event::Commit(vote));
    }

    fn certificate<S: Statement>(&self, statement: S, signers: &[u16]) -> Certificate<S> {
        let signed = signers.iter().map(|id| self.sign(*id, statement.clone()));
        let signatures = signed.map(|signed| (signed.signer, signed.signature)).collect();
        Certificate { statement, signatures: List(signatures) }
    }

    fn view_change(
        &self,
        id: u16,
        view: u64,
        prepared: Vec<Certificate<Prepare>>,
    ) -> Verified<Arc<NamedViewChange>> {
        self.sign(id, ViewChange { view: View(view), stable: None, prepared: List(prepared) }).shared()
    }

    /// A NEW-VIEW of the view's primary that names these.
    fn new_view(&self, view: u64, named: &[&Verified<Arc<NamedViewChange>>]) -> Verified<Signed<NewView>> {
        let named = named.iter().map(|message| (message.signer, message.digest())).collect();
        let primary = self.context.committee.primary(View(view));
        self.sign(primary.0, NewView { view: View(view), view_changes: List(named) })
    }

    fn prepares(&self) -> Vec<Prepare> {
        self.said
            .iter()
            .filter_map(|say| if let Say::Prepare(vote) = say { Some(*vote) } else { None })
            .collect()
    }

    fn commits(&self) -> Vec<Commit> {
        self.said
            .iter()
            .filter_map(|say| if let Say::Commit(vote) = say { Some(*vote) } else { None })
            .collect()
    }

    fn view_changes(&self) -> Vec<&ViewChange> {
        self.said
            .iter()
            .filter_map(|say| if let Say::ViewChange(message) = say { Some(message) } else { None })
            .collect()
    }

    fn relayed(&self) -> Vec<&PeerMessage> {
        self.said
            .iter()
            .filter_map(|say| if let Say::Relay(message) = say { Some(message) } else { None })
            .collect()
    }

    /// Lets time pass until nothing is due any more.
    fn pass(&mut self, microseconds: u64) {
        let end = self.now.plus(microseconds);
        while let Some(at) = self.replica.deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.step(Event::Timeout);
        }
        self.now = end;
    }
}

fn vote(view: u64, seq: u64, digest: Digest) -> Prepare {
    Prepare { view: View(view), seq: Seq(seq), digest }
}
