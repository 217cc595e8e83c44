//! Twins: one replica runs twice, with one key and two memories, and the network decides which of the two is heard by
//! whom. Out of correct code and partitions come equivocation, forgetting, and lies nobody thought of.
//!
//! A scenario is a sequence of rounds. In each the five processes are divided into at most three groups; whoever is in
//! another group hears nothing, and what is said meanwhile is lost to it. A round is longer than the progress timer, so
//! each has its own view where it serves nobody; which replica leads it follows from its number, so the choice of leaders
//! is the choice of the twin. A last round has everybody together. The twins hear different clients.
//!
//! The processes are the real `Replica`s and all that travels between them passes the real verifier or was just signed;
//! checkpoints are due every second slot, and a state is fetched in no time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use quorate_protocol::codec::encode;
use quorate_protocol::committee::Committee;
use quorate_protocol::crypto::{HashTag, Hasher, SecretKey};
use quorate_protocol::message::{PeerMessage, PrePrepare, Prepare};
use quorate_protocol::parameters::{Context, Parameters};
use quorate_protocol::process::{Effect, Event, Process, Recipient, Say};
use quorate_protocol::replica::{Replica, Status};
use quorate_protocol::request::{Draft, Kind, Operations, Request};
use quorate_protocol::signed::{Signer, Verified};
use quorate_protocol::types::{ClusterId, Digest, Epoch, Number, ReplicaId, Seq, Session, Time, View};
use quorate_protocol::verify::{Incoming, Verifier};

use crate::memo::Memo;

/// Processes: four replicas, and the second process of one of them.
const PROCESSES: usize = 5;
/// Groups of a round at most.
const GROUPS_MAX: u8 = 3;
/// How long a round takes; the base timeout is 500 ms.
const ROUND_US: u64 = 700_000;
/// Events in one round at most: more is a run that does not come to rest.
const EVENTS_MAX: usize = 20_000;

/// Who is with whom: the group of each process.
pub type Groups = [u8; PROCESSES];

/// All scenarios of so many rounds.
#[derive(Debug)]
pub struct Space {
    rounds: u32,
    groups: Vec<Groups>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenario {
    /// The replica that runs twice; its second process is the last one.
    pub twin: ReplicaId,
    /// Who is with whom, round after round.
    pub rounds: Vec<Groups>,
}

impl Space {
    /// All scenarios of so many rounds.
    #[must_use]
    pub fn new(rounds: u32) -> Self {
        let mut groups = Vec::new();
        for number in 0..u32::from(GROUPS_MAX).pow(5) {
            let mut rest = number;
            let found: Groups = std::array::from_fn(|_| {
                let group = rest % u32::from(GROUPS_MAX);
                rest /= u32::from(GROUPS_MAX);
                u8::try_from(group).unwrap_or(0)
            });
            // Groups have no names: the first process is in the first, and each new one has the next number.
            let mut next = 0;
            let named = found.iter().all(|group| {
                next += u8::from(*group == next);
                *group < next
            });
            if named {
                groups.push(found);
            }
        }
        Self { rounds, groups }
    }

    /// How many there are.
    #[must_use]
    pub fn size(&self) -> u64 {
        4 * (self.groups.len() as u64).pow(self.rounds)
    }

    /// So many of them, none twice, spread over all: those from the `first` on in an order that steps through all.
    pub fn sample(&self, first: u64, count: u64) -> impl Iterator<Item = Scenario> {
        let size = self.size();
        // A step that shares no factor with the size comes to every scenario once before it comes to any twice.
        let step = (size / 5 * 3..).find(|step| *step > 0 && gcd(*step, size) == 1).unwrap_or(1);
        (first..first.saturating_add(count).min(size)).map(move |turn| {
            let place = u128::from(turn) * u128::from(step) % u128::from(size);
            self.scenario(u64::try_from(place).unwrap_or(0))
        })
    }

    fn scenario(&self, mut number: u64) -> Scenario {
        let twin = ReplicaId(u16::try_from(number % 4).unwrap_or(0));
        number /= 4;
        let kinds = self.groups.len() as u64;
        let rounds = (0..self.rounds).map(|_| {
            let groups = self.groups[usize::try_from(number % kinds).unwrap_or(0)];
            number /= kinds;
            groups
        });
        Scenario { twin, rounds: rounds.collect() }
    }
}

fn gcd(one: u64, other: u64) -> u64 {
    if other == 0 { one } else { gcd(other, one % other) }
}

/// What happened in a scenario.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ran {
    /// Slots that some correct replica executed.
    pub executed: u64,
    /// The newest view that a correct replica was in.
    pub view: u64,
    /// Places at which the twins voted differently.
    pub equivocated: u64,
    /// Checkpoints that correct replicas voted for.
    pub checkpoints: u64,
    /// What was violated.
    pub violated: Vec<String>,
}

/// One process.
#[derive(Debug)]
struct One {
    id: ReplicaId,
    core: Replica,
    /// The digest of all that executed, in order.
    chain: Digest,
    executed: BTreeMap<Seq, Digest>,
    view: View,
}

/// A vote's place: view, slot, digest.
type Place = (View, Seq, Digest);

/// A cluster with a twin; made once, and used for one scenario after the other.
#[derive(Debug)]
pub struct Stage {
    context: Context,
    signers: Vec<Signer>,
    verifier: Verifier,
    requests: Vec<Verified<Arc<Request>>>,
    signed: BTreeMap<(ReplicaId, Vec<u8>), Event>,
}

impl Stage {
    /// A stage for scenarios of up to eight rounds.
    #[must_use]
    pub fn new() -> Self {
        let keys: Vec<_> = (1..=4).map(|seed| Arc::new(SecretKey::from_seed(&[seed; 32]))).collect();
        let public: Vec<_> = keys.iter().map(|key| key.public()).collect();
        let (cluster, epoch) = (ClusterId(Digest([8; 32])), Epoch(0));
        let parameters = Parameters { checkpoint_interval: 2, window: 4, ..Parameters::default() };
        let committee = Arc::new(Committee::new(&public, false).expect("four keys are a committee"));
        let context = Context { cluster, epoch, committee, parameters: Arc::new(parameters) };
        let signer = |(id, key)| Signer::new(key, cluster, epoch, ReplicaId(id));
        let signers = (0..4).zip(keys).map(signer).collect();
        let mut verifier = Verifier::asking(context.clone(), Memo::default().checker([3; 32]));
        let client = SecretKey::from_seed(&[78; 32]);
        let requests = (1..=32).map(|number| {
            let operations = Operations::new(std::iter::once(&b"x"[..]));
            let (first, ack, kind) = (Number(number), Number(1), Kind::Operations);
            let draft = Draft { session: Session(1), first, ack, kind, operations };
            Incoming::Client(Arc::new(Request::sign(&client, cluster, draft)))
        });
        let checked = verifier.verify(requests.collect());
        let requests = checked.into_iter().filter_map(|event| match event {
            Ok(Event::Requests { mut requests, .. }) => requests.pop(),
            _ => None,
        });
        let requests = requests.collect();
        Self { context, signers, verifier, requests, signed: BTreeMap::new() }
    }

    /// Runs a scenario.
    pub fn run(&mut self, scenario: &Scenario) -> Ran {
        let ids = (0..4).map(ReplicaId).chain([scenario.twin]);
        let processes = ids.map(|id| One {
            id,
            core: Replica::new(self.context.clone(), id),
            chain: Digest::ZERO,
            executed: BTreeMap::new(),
            view: View(0),
        });
        let processes = processes.collect();
        let mut play = Play {
            twin: scenario.twin,
            stage: self,
            processes,
            groups: [0; PROCESSES],
            now: Time(1_000_000),
            mail: VecDeque::new(),
            prepares: BTreeMap::new(),
            commits: BTreeMap::new(),
            roots: BTreeMap::new(),
            ran: Ran::default(),
        };
        for (round, groups) in scenario.rounds.iter().chain([&[0; PROCESSES]]).enumerate() {
            play.round(round, *groups);
        }
        play.close()
    }
}

impl Default for Stage {
    fn default() -> Self {
        Self::new()
    }
}

/// A scenario as it runs.
struct Play<'a> {
    twin: ReplicaId,
    stage: &'a mut Stage,
    processes: Vec<One>,
    groups: Groups,
    now: Time,
    /// To whom, what.
    mail: VecDeque<(usize, Event)>,
    /// Who voted where, whichever process it was.
    prepares: BTreeMap<Place, BTreeSet<ReplicaId>>,
    commits: BTreeMap<Place, BTreeSet<ReplicaId>>,
    roots: BTreeMap<Seq, Digest>,
    ran: Ran,
}

impl Play<'_> {
    fn is_correct(&self, process: usize) -> bool {
        self.processes[process].id != self.twin
    }

    fn violate(&mut self, what: String) {
        self.ran.violated.push(what);
    }

    fn round(&mut self, round: usize, groups: Groups) {
        self.groups = groups;
        self.mail.clear();
        // One client speaks to all but the second twin, another one to that alone.
        for process in 0..PROCESSES {
            let number = 2 * round + usize::from(process == PROCESSES - 1);
            let Some(request) = self.stage.requests.get(number).cloned() else { continue };
            let requests = Event::Requests { requests: vec![request], forwarded_by: None };
            self.mail.push_back((process, requests));
        }
        let end = self.now.plus(ROUND_US);
        for _ in 0..EVENTS_MAX {
            if let Some((to, event)) = self.mail.pop_front() {
                self.step(to, event);
                continue;
            }
            let due = (0..PROCESSES).filter_map(|process| {
                let at = self.processes[process].core.deadline()?.max(self.now);
                Some((at, process))
            });
            match due.min() {
                Some((at, process)) if at <= end => {
                    self.now = at;
                    self.step(process, Event::Timeout);
                }
                _ => {
                    self.now = end;
                    return;
                }
            }
        }
        self.violate("a round did not come to rest".to_owned());
    }

    fn step(&mut self, at: usize, event: Event) {
        let mut effects = Vec::new();
        self.processes[at].core.step(self.now, event, &mut effects);
        for effect in effects {
            match effect {
                Effect::Send { to, message, .. } => self.send(at, to, message),
                Effect::Execute { seq, body } => {
                    let null = quorate_protocol::request::null_digest(self.stage.context.cluster);
                    let digest = body.map_or(null, |body| body.digest);
                    let process = &mut self.processes[at];
                    let mut hasher = Hasher::new(HashTag::Verified);
                    hasher.update(&process.chain.0).update(&digest.0);
                    process.chain = hasher.finish();
                    process.executed.insert(seq, digest);
                    let root = seq.0.is_multiple_of(2).then_some(process.chain);
                    self.mail.push_front((at, Event::Executed { seq, root }));
                }
                Effect::Install(certificate) => {
                    let (seq, root) = (certificate.statement.seq, certificate.statement.root);
                    self.processes[at].chain = root;
                    self.mail.push_front((at, Event::Installed { seq, root }));
                }
                Effect::Forward { to, request } => {
                    self.deliver(at, Recipient::Replica(to), &PeerMessage::Forward(request));
                }
                Effect::Persist(_)
                | Effect::Refuse { .. }
                | Effect::Preserve(_)
                | Effect::LookUp(_)
                | Effect::Alarm(_) => {}
            }
        }
        self.watch(at);
    }

    /// Who hears what `from` says.
    fn hearers(&self, from: usize, to: Recipient) -> Vec<usize> {
        let near = |process: &usize| *process != from && self.groups[*process] == self.groups[from];
        let meant = |process: &usize| match to {
            Recipient::Everyone => self.processes[*process].id != self.processes[from].id,
            Recipient::Replica(id) => self.processes[*process].id == id,
        };
        (0..PROCESSES).filter(near).filter(meant).collect()
    }

    fn send(&mut self, from: usize, to: Recipient, message: Say) {
        let Some(event) = self.sign(from, &message) else {
            if let Say::Relay(message) = message {
                self.deliver(from, to, &message);
            }
            return;
        };
        if to == Recipient::Everyone {
            self.mail.push_front((from, event.clone()));
        }
        let event = match (event, message) {
            (Event::PrePrepare { prepare, .. }, Say::PrePrepare { body, .. }) => {
                let batch = body.map(|body| body.batch.clone());
                let message = PrePrepare { prepare: prepare.into_inner(), batch };
                return self.deliver(from, to, &PeerMessage::PrePrepare(message));
            }
            (event, _) => event,
        };
        for process in self.hearers(from, to) {
            self.mail.push_back((process, event.clone()));
        }
    }

    /// What was signed by others passes the verifier, whoever sends it.
    fn deliver(&mut self, from: usize, to: Recipient, message: &PeerMessage) {
        let id = self.processes[from].id;
        for process in self.hearers(from, to) {
            let incoming = Incoming::Peer { from: id, message: message.clone() };
            let checked = self.stage.verifier.verify(vec![incoming]);
            self.mail.extend(checked.into_iter().flatten().map(|event| (process, event)));
        }
    }

    /// The words of a process as everybody hears them; each is signed once in the life of the stage.
    fn sign(&mut self, from: usize, message: &Say) -> Option<Event> {
        let id = self.processes[from].id;
        self.note(from, message);
        let name = match message {
            Say::PrePrepare { prepare, .. } => encode(&(1_u8, *prepare)),
            Say::Prepare(vote) => encode(&(2_u8, *vote)),
            Say::Commit(vote) => encode(&(3_u8, *vote)),
            Say::Checkpoint(vote) => encode(&(4_u8, *vote)),
            Say::ViewChange(message) => encode(&(5_u8, message.clone())),
            Say::NewView(message) => encode(&(6_u8, message.clone())),
            Say::Relay(_) => return None,
        };
        let name = (id, name.ok()?);
        if let Some(known) = self.stage.signed.get(&name) {
            return Some(known.clone());
        }
        let signer = &self.stage.signers[usize::from(id.0)];
        let event = match message.clone() {
            Say::PrePrepare { prepare, .. } => {
                Event::PrePrepare { prepare: signer.sign(prepare), body: None }
            }
            Say::Prepare(vote) => Event::Prepare(signer.sign(vote)),
            Say::Commit(vote) => Event::Commit(signer.sign(vote)),
            Say::Checkpoint(vote) => Event::Checkpoint(signer.sign(vote)),
            Say::ViewChange(message) => Event::ViewChange(signer.sign(message).shared()),
            Say::NewView(message) => Event::NewView(signer.sign(message)),
            Say::Relay(_) => return None,
        };
        if self.stage.signed.len() > 100_000 {
            self.stage.signed.clear();
        }
        self.stage.signed.insert(name, event.clone());
        Some(event)
    }

    fn note(&mut self, from: usize, message: &Say) {
        let id = self.processes[from].id;
        match message {
            Say::PrePrepare { prepare: vote, .. } | Say::Prepare(vote) => {
                let Prepare { view, seq, digest } = *vote;
                self.prepares.entry((view, seq, digest)).or_default().insert(id);
            }
            Say::Commit(vote) => {
                self.commits.entry((vote.view, vote.seq, vote.digest)).or_default().insert(id);
            }
            Say::Checkpoint(vote) if self.is_correct(from) => {
                self.ran.checkpoints += 1;
                let known = *self.roots.entry(vote.seq).or_insert(vote.root);
                if known != vote.root {
                    self.violate(format!("I5: two roots at {:?}", vote.seq));
                }
            }
            Say::Checkpoint(_) | Say::ViewChange(_) | Say::NewView(_) | Say::Relay(_) => {}
        }
    }

    /// I6, and that no correct replica stops; a twin that meets its own words may.
    fn watch(&mut self, at: usize) {
        let (view, status) = (self.processes[at].core.view(), self.processes[at].core.status());
        if view < self.processes[at].view {
            self.violate(format!("I6: process {at} went back to {view:?}"));
        }
        self.processes[at].view = view;
        let stopped = matches!(status, Status::Halted | Status::Out | Status::Diverged);
        if stopped && self.is_correct(at) {
            self.violate(format!("correct process {at} is {status:?}"));
        }
    }

    fn close(mut self) -> Ran {
        let quorum = self.stage.context.committee.quorum();
        let correct: Vec<usize> = (0..PROCESSES).filter(|process| self.is_correct(*process)).collect();
        let mut order: BTreeMap<Seq, Digest> = BTreeMap::new();
        for process in &correct {
            for (seq, digest) in self.processes[*process].executed.clone() {
                if *order.entry(seq).or_insert(digest) != digest {
                    self.violate(format!("I1: two batches executed at {seq:?}"));
                }
            }
        }
        let certified = |votes: &BTreeMap<Place, BTreeSet<ReplicaId>>| -> Vec<Place> {
            votes.iter().filter(|(_, signers)| signers.len() >= quorum).map(|(place, _)| *place).collect()
        };
        let (prepared, committed) = (certified(&self.prepares), certified(&self.commits));
        for pair in prepared.windows(2) {
            if (pair[0].0, pair[0].1) == (pair[1].0, pair[1].1) {
                self.violate(format!("I2: two certificates: {pair:?}"));
            }
        }
        let mut decided: BTreeMap<Seq, Digest> = BTreeMap::new();
        for (_, seq, digest) in committed {
            if *decided.entry(seq).or_insert(digest) != digest {
                self.violate(format!("I3: two batches committed at {seq:?}"));
            }
        }
        for (seq, digest) in &order {
            if decided.get(seq) != Some(digest) {
                self.violate(format!("I4: what executed at {seq:?} did not commit"));
            }
        }
        let mut twin: BTreeMap<(View, Seq), u64> = BTreeMap::new();
        for ((view, seq, _), _) in self.prepares.iter().filter(|(_, signers)| signers.contains(&self.twin)) {
            *twin.entry((*view, *seq)).or_default() += 1;
        }
        self.ran.equivocated = twin.values().filter(|digests| **digests > 1).count() as u64;
        self.ran.executed = order.len() as u64;
        self.ran.view = correct.iter().map(|process| self.processes[*process].view.0).max().unwrap_or(0);
        self.ran
    }
}
