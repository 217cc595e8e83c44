//! The cluster of an exploration, and its words: each is signed once, and goes through the real verifier once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use quorate_protocol::certificate::Certificate;
use quorate_protocol::codec::List;
use quorate_protocol::committee::Committee;
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::message::{
    Commit, NamedViewChange, NewView, PeerMessage, PrePrepare, Prepare, ViewChange,
};
use quorate_protocol::parameters::{Context, Parameters};
use quorate_protocol::process::Event;
use quorate_protocol::request::{Batch, Body, Draft, Kind, Nondet, Operations, Request, null_digest};
use quorate_protocol::signed::{Signed, Signer};
use quorate_protocol::types::{ClusterId, Digest, Epoch, Number, ReplicaId, Seq, Session, Time, View};
use quorate_protocol::verify::{Incoming, Verifier};

use super::action::{Lie, SLOTS, Shown, Spot, VALUES, replicas};

/// Everything but a timer happens at this time.
pub(crate) const NOW: Time = Time(1_000_000);
/// Replicas of the cluster.
pub(crate) const REPLICAS: u16 = 4;

/// Something that can be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Word {
    /// A proposal of the primary of its view, with its batch.
    Proposal(Spot),
    /// A PREPARE.
    Prepare(ReplicaId, Spot),
    /// A COMMIT.
    Commit(ReplicaId, Spot),
    /// A VIEW-CHANGE.
    ViewChange(Shown),
    /// A NEW-VIEW of the primary of its view.
    NewView(u8, [Shown; 3]),
    /// A batch by its value, fetched for a slot.
    Body(usize, u64),
}

#[derive(Debug)]
struct Drawers {
    verifier: Verifier,
    events: BTreeMap<Word, Option<Event>>,
    view_changes: Vec<Arc<NamedViewChange>>,
    shown: BTreeMap<Digest, Shown>,
}

/// The cluster and its words.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) context: Context,
    pub(crate) liar: ReplicaId,
    pub(crate) signers: Vec<Signer>,
    pub(crate) requests: [Event; 2],
    pub(crate) digests: [Digest; VALUES],
    bodies: [Option<Arc<Body>>; VALUES],
    drawers: Mutex<Drawers>,
}

impl Desk {
    pub(crate) fn new(liar: ReplicaId, slots: u64) -> Self {
        let keys: Vec<_> = (1..=4).map(|seed| Arc::new(SecretKey::from_seed(&[seed; 32]))).collect();
        let public: Vec<_> = keys.iter().map(|key| key.public()).collect();
        let (cluster, epoch) = (ClusterId(Digest([9; 32])), Epoch(0));
        // One request in a batch, and one timer that comes before all others.
        let parameters = Parameters {
            checkpoint_interval: slots,
            window: slots,
            batch_requests_max: 1,
            timeout_us: 1_000,
            timeout_max_us: 1_000,
            ..Parameters::default()
        };
        let committee = Arc::new(Committee::new(&public, false).expect("four keys are a committee"));
        let context = Context { cluster, epoch, committee, parameters: Arc::new(parameters) };
        let signer = |(id, key)| Signer::new(key, cluster, epoch, ReplicaId(id));
        let signers = (0..REPLICAS).zip(keys).map(signer).collect();
        let client = SecretKey::from_seed(&[77; 32]);
        let request = |number: u64| {
            let operations = Operations::new(std::iter::once(&b"x"[..]));
            let (first, ack, kind) = (Number(number), Number(1), Kind::Operations);
            let draft = Draft { session: Session(1), first, ack, kind, operations };
            Arc::new(Request::sign(&client, cluster, draft))
        };
        let requests = [request(1), request(2)];
        let body = |request: &Arc<Request>| {
            let requests = List(vec![Arc::clone(request)]);
            Body::new(Batch { nondet: Nondet { time: NOW }, requests }, cluster)
        };
        let (one, other) = (body(&requests[0]), body(&requests[1]));
        let digests = [one.digest, other.digest, null_digest(cluster)];
        let mut verifier = Verifier::new(context.clone(), [5; 32]);
        let requests = requests.map(|request| {
            let checked = verifier.verify(vec![Incoming::Client(request)]);
            checked.into_iter().next().and_then(Result::ok).expect("the client's signature is good")
        });
        let drawers =
            Drawers { verifier, events: BTreeMap::new(), view_changes: Vec::new(), shown: BTreeMap::new() };
        let drawers = Mutex::new(drawers);
        Self { context, liar, signers, requests, digests, bodies: [Some(one), Some(other), None], drawers }
    }

    /// The correct replicas, in order.
    pub(crate) fn correct(&self) -> [ReplicaId; 3] {
        let mut ids = (0..REPLICAS).map(ReplicaId).filter(|id| *id != self.liar);
        std::array::from_fn(|_| ids.next().expect("three of four are correct"))
    }

    pub(crate) fn primary(&self, view: usize) -> ReplicaId {
        self.context.committee.primary(View(view as u64))
    }

    pub(crate) fn value_of(&self, digest: &Digest) -> Option<usize> {
        self.digests.iter().position(|known| known == digest)
    }

    /// Where a vote is, if it is about anything that is explored.
    pub(crate) fn spot(&self, view: View, seq: Seq, digest: &Digest) -> Option<Spot> {
        let view = usize::try_from(view.0).ok().filter(|view| *view < super::action::VIEWS)?;
        let slot = usize::try_from(seq.0).ok()?.checked_sub(1).filter(|slot| *slot < SLOTS)?;
        Some(Spot::new(view, slot, self.value_of(digest)?))
    }

    fn prepare(&self, spot: Spot) -> Prepare {
        Prepare { view: spot.of_view(), seq: spot.seq(), digest: self.digests[spot.value()] }
    }

    fn signer(&self, id: ReplicaId) -> &Signer {
        &self.signers[usize::from(id.0)]
    }

    /// The event of a word, as the verifier lets it through; none if it refuses it.
    pub(crate) fn event(&self, word: Word) -> Option<Event> {
        let mut drawers = self.drawers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = drawers.events.get(&word) {
            return known.clone();
        }
        let message = self.message(word, &mut drawers);
        let event = message.and_then(|(from, message)| {
            let checked = drawers.verifier.verify(vec![Incoming::Peer { from, message }]);
            checked.into_iter().next().and_then(Result::ok)
        });
        drawers.events.insert(word, event.clone());
        event
    }

    fn message(&self, word: Word, drawers: &mut Drawers) -> Option<(ReplicaId, PeerMessage)> {
        Some(match word {
            Word::Proposal(spot) => {
                let primary = self.primary(spot.view());
                let prepare = self.signer(primary).sign(self.prepare(spot)).into_inner();
                let batch = self.bodies[spot.value()].as_ref().map(|body| body.batch.clone());
                (primary, PeerMessage::PrePrepare(PrePrepare { prepare, batch }))
            }
            Word::Prepare(signer, spot) => {
                let vote = self.signer(signer).sign(self.prepare(spot)).into_inner();
                (signer, PeerMessage::Prepare(vote))
            }
            Word::Commit(signer, spot) => {
                let Prepare { view, seq, digest } = self.prepare(spot);
                let vote = self.signer(signer).sign(Commit { view, seq, digest }).into_inner();
                (signer, PeerMessage::Commit(vote))
            }
            Word::ViewChange(shown) => {
                let message = self.view_change(shown, drawers)?;
                (message.signer, PeerMessage::ViewChange(message))
            }
            Word::NewView(view, named) => {
                let mut members = Vec::new();
                for shown in named {
                    let member = self.view_change(shown, drawers)?;
                    members.push((member.signer, member.digest()));
                }
                members.sort_unstable_by_key(|(signer, _)| *signer);
                let primary = self.primary(usize::from(view));
                let body = NewView { view: View(u64::from(view)), view_changes: List(members) };
                (primary, PeerMessage::NewView(self.signer(primary).sign(body).into_inner()))
            }
            Word::Body(value, seq) => {
                let batch = self.bodies[value].as_ref()?.batch.clone();
                (self.liar, PeerMessage::Body { seq: Seq(seq), batch })
            }
        })
    }

    fn view_change(&self, shown: Shown, drawers: &mut Drawers) -> Option<Arc<NamedViewChange>> {
        match shown {
            Shown::Said(index) => drawers.view_changes.get(usize::from(index)).cloned(),
            Shown::Lied(lie) => {
                let message = Arc::new(NamedViewChange::from(self.lie(lie)));
                drawers.shown.insert(message.digest(), shown);
                Some(message)
            }
        }
    }

    fn lie(&self, lie: Lie) -> Signed<ViewChange> {
        let certificate = |(spot, signers): (Spot, u8)| {
            let statement = self.prepare(spot);
            let sign = |id| (id, self.signer(id).sign(statement).signature);
            Certificate { statement, signatures: List(replicas(signers).map(sign).collect()) }
        };
        let prepared = List(lie.prepared.into_iter().flatten().map(certificate).collect());
        let body = ViewChange { view: View(u64::from(lie.view)), stable: None, prepared };
        self.signer(self.liar).sign(body).into_inner()
    }

    /// A correct replica's VIEW-CHANGE gets its name here.
    pub(crate) fn note(&self, message: &Arc<NamedViewChange>) -> Shown {
        let mut drawers = self.drawers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = drawers.shown.get(&message.digest()) {
            return *known;
        }
        let index = u16::try_from(drawers.view_changes.len()).expect("fewer than 65,536 view changes");
        drawers.view_changes.push(Arc::clone(message));
        drawers.shown.insert(message.digest(), Shown::Said(index));
        Shown::Said(index)
    }

    /// The name of a VIEW-CHANGE that a NEW-VIEW names.
    pub(crate) fn shown(&self, digest: &Digest) -> Option<Shown> {
        let drawers = self.drawers.lock().unwrap_or_else(PoisonError::into_inner);
        drawers.shown.get(digest).copied()
    }
}
