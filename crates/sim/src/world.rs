//! The world: hosts, clients, links and a clock that jumps from one happening to the next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use quorate_protocol::client::{Options, To};
use quorate_protocol::codec;
use quorate_protocol::committee::Committee;
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::message::{ClientMessage, PeerMessage};
use quorate_protocol::parameters::{Context, Parameters};
use quorate_protocol::replica::Status;
use quorate_protocol::request::{Request, null_digest};
use quorate_protocol::types::{ClusterId, Digest, Epoch, ReplicaId, Time};

use crate::app::Service;
use crate::check::{Checked, Checks, Violation, memory};
use crate::client::{Accepted, Doings, SimClient};
use crate::network::{Cut, Network, Party, Profile};
use crate::node::{Costs, Node, Role, Seat, Sent};
use crate::rng::Rng;
use crate::trace;

/// Happenings after which a world is given up.
const EVENTS_MAX: u64 = 20_000_000;

/// Time between two things that a process takes up after its sleep, in microseconds.
const DRAIN_US: u64 = 20;

/// What a world is made of.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Where all its chance comes from.
    pub seed: u64,
    /// Replicas.
    pub replicas: u16,
    /// What they agreed on.
    pub parameters: Parameters,
    /// The links.
    pub profile: Profile,
    /// When which of them are cut.
    pub cuts: Vec<Cut>,
    /// How slow the roles of a replica are.
    pub costs: Costs,
    /// By how much clocks differ at most, in microseconds.
    pub skew_us: u64,
    /// What is replicated.
    pub service: Service,
}

impl Setting {
    /// Calm links, fast disks, equal clocks.
    #[must_use]
    pub fn calm(replicas: u16) -> Self {
        Self {
            seed: 1,
            replicas,
            parameters: Parameters::default(),
            profile: Profile::calm(1_000),
            cuts: Vec::new(),
            costs: Costs::default(),
            skew_us: 0,
            service: Service::default(),
        }
    }
}

/// Something bad that is to happen, or the end of all that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A replica stops for good.
    Crash(ReplicaId),
    /// Whoever is the primary of the highest view stops for good.
    CrashPrimary,
    /// A replica's process sleeps.
    Pause(ReplicaId, Time),
    /// Links heal and sleepers wake.
    Heal,
}

#[derive(Debug)]
enum Happening {
    Frame { from: ReplicaId, to: ReplicaId, frame: Bytes },
    Request { from: usize, to: ReplicaId, frame: Bytes },
    Reply { from: ReplicaId, to: usize, frame: Bytes },
    Done { node: ReplicaId, role: Role },
    Wake { node: ReplicaId },
    ClientWake { client: usize },
    Ask { client: usize },
    Fault(Fault),
}

impl Happening {
    fn node(&self) -> Option<ReplicaId> {
        match self {
            Self::Frame { to, .. } | Self::Request { to, .. } => Some(*to),
            Self::Done { node, .. } | Self::Wake { node } => Some(*node),
            Self::Reply { .. } | Self::ClientWake { .. } | Self::Ask { .. } | Self::Fault(_) => None,
        }
    }

    fn is_timer(&self) -> bool {
        matches!(self, Self::Wake { .. } | Self::ClientWake { .. })
    }
}

/// What a faulty replica sends instead of what its host sends: the one outbound seam.
pub trait Seam {
    /// Replaces something that the replica `from` sends.
    fn replace(&mut self, now: Time, from: ReplicaId, sent: Sent) -> Vec<Sent>;
}

/// Frames that a test loses or keeps back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Whose; anybody's if none.
    pub from: Option<ReplicaId>,
    /// To whom; to anybody if none.
    pub to: Option<ReplicaId>,
    /// Of which kind, in the words of [`trace::kind`]; of any if none.
    pub kind: Option<String>,
    /// Whether they can be delivered later.
    pub hold: bool,
}

/// A cluster, its clients, and everything between them.
pub struct World {
    context: Context,
    null: Digest,
    service: Service,
    costs: Costs,
    network: Network,
    rng: Rng,
    now: Time,
    queue: BTreeMap<(Time, u64), Happening>,
    ties: u64,
    nodes: Vec<Node>,
    skews: Vec<u64>,
    wakes: BTreeMap<Party, Time>,
    crashed: BTreeSet<ReplicaId>,
    /// Until when a process sleeps, and how much waits for it by now.
    asleep: BTreeMap<ReplicaId, (Time, u64)>,
    clients: Vec<SimClient>,
    think_us: u64,
    last_requests: BTreeMap<usize, Arc<Request>>,
    checks: Checks,
    seams: BTreeMap<ReplicaId, Box<dyn Seam>>,
    rules: Vec<Rule>,
    held: VecDeque<(ReplicaId, ReplicaId, Bytes)>,
    trace: Option<Vec<String>>,
    accepted: u64,
    events: u64,
    hash: u64,
    healed: Option<Time>,
}

fn secret(role: u8, index: u64) -> [u8; 32] {
    let mut seed = [role; 32];
    seed[..8].copy_from_slice(&index.to_le_bytes());
    seed
}

impl World {
    /// A world in which nothing has happened yet.
    ///
    /// # Panics
    /// If the setting has fewer than four replicas.
    #[must_use]
    pub fn new(setting: &Setting) -> Self {
        let keys: Vec<_> = (0..u64::from(setting.replicas)).map(|id| SecretKey::from_seed(&secret(1, id))).collect();
        let keys: Vec<_> = keys.iter().map(SecretKey::public).collect();
        let context = Context {
            cluster: ClusterId(Digest([7; 32])),
            epoch: Epoch(0),
            committee: Arc::new(Committee::new(&keys, false).expect("keys of a world differ and are strong")),
            parameters: Arc::new(setting.parameters.clone()),
        };
        let mut rng = Rng::new(setting.seed);
        let seat = |id: ReplicaId| {
            Seat { context: &context, id, key: secret(1, id.0.into()), service: setting.service }
        };
        let nodes: Vec<Node> = context.committee.replicas().map(|id| Node::new(&seat(id))).collect();
        let mut world = Self {
            null: null_digest(context.cluster),
            checks: Checks::new(&context, setting.service),
            service: setting.service,
            costs: setting.costs,
            network: Network::new(setting.profile, setting.cuts.clone()),
            now: Time(1_000_000),
            queue: BTreeMap::new(),
            ties: 0,
            skews: nodes.iter().map(|_| rng.below(setting.skew_us + 1)).collect(),
            nodes,
            wakes: BTreeMap::new(),
            crashed: BTreeSet::new(),
            asleep: BTreeMap::new(),
            clients: Vec::new(),
            think_us: 0,
            last_requests: BTreeMap::new(),
            seams: BTreeMap::new(),
            rules: Vec::new(),
            held: VecDeque::new(),
            trace: None,
            accepted: 0,
            events: 0,
            hash: 0xcbf2_9ce4_8422_2325,
            healed: None,
            rng,
            context,
        };
        for id in world.context.committee.replicas() {
            world.push(world.now, Happening::Wake { node: id });
        }
        world
    }

    /// What the cluster agreed on.
    #[must_use]
    pub fn context(&self) -> &Context {
        &self.context
    }
    /// The digest of the null batch.
    #[must_use]
    pub fn null(&self) -> Digest {
        self.null
    }
    /// The virtual time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }
    /// A hash of everything that happened so far.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }
    /// How much happened so far.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }
    /// Answers that clients accepted so far.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted
    }
    /// The replicas.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }
    /// One replica.
    ///
    /// # Panics
    /// If there is none of this number.
    #[must_use]
    pub fn node(&self, id: ReplicaId) -> &Node {
        &self.nodes[usize::from(id.0)]
    }
    /// The clients.
    #[must_use]
    pub fn clients(&self) -> &[SimClient] {
        &self.clients
    }
    /// Whether a replica has crashed.
    #[must_use]
    pub fn is_crashed(&self, id: ReplicaId) -> bool {
        self.crashed.contains(&id)
    }

    /// From now on every message is written down; [`World::take_trace`] has the lines.
    pub fn keep_trace(&mut self) {
        self.trace = Some(Vec::new());
    }
    /// What was written down since this was last asked.
    pub fn take_trace(&mut self) -> Vec<String> {
        self.trace.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Loses or keeps back frames from now on.
    pub fn add_rule(&mut self, rule: Rule) {
        self.rules.push(rule);
    }
    /// Ends all rules.
    pub fn clear_rules(&mut self) {
        self.rules.clear();
    }
    /// Delivers what was kept back.
    pub fn release_held(&mut self) {
        for (from, to, frame) in std::mem::take(&mut self.held) {
            self.push(self.now, Happening::Frame { from, to, frame });
        }
    }
    /// Puts a seam before a replica's links; it is a liar from now on.
    pub fn corrupt(&mut self, replica: ReplicaId, seam: Box<dyn Seam>) {
        self.checks.distrust(replica);
        self.seams.insert(replica, seam);
    }
    /// Nothing is expected of this replica any more: a test speaks in its name.
    pub fn distrust(&mut self, replica: ReplicaId) {
        self.checks.distrust(replica);
    }
    /// The key of a replica, for tests that speak in its name.
    #[must_use]
    pub fn secret_of(replica: ReplicaId) -> SecretKey {
        SecretKey::from_seed(&secret(1, replica.0.into()))
    }
    /// Delivers a frame that its replica never sent.
    pub fn inject(&mut self, from: ReplicaId, to: ReplicaId, message: &PeerMessage) {
        let frame = codec::encode(message).expect("a message made for a test fits a frame").into();
        self.push(self.now, Happening::Frame { from, to, frame });
    }

    /// Adds a client, connected to all replicas; it begins by registering.
    ///
    /// # Errors
    /// What a checker finds wrong with that.
    pub fn add_client(&mut self, tune: impl FnOnce(&mut Options)) -> Result<usize, Violation> {
        let index = self.clients.len();
        let mut options = Options::new(index as u64 + 1);
        tune(&mut options);
        self.clients.push(SimClient::new(&self.context, secret(2, index as u64), options));
        let doings = self.clients[index].connect(self.now);
        self.client_did(index, doings)?;
        Ok(index)
    }

    /// Gives a client commands to make up and ask, so many out at a time, each a while after an answer.
    pub fn employ(&mut self, client: usize, commands: u64, in_flight: usize, think_us: u64) {
        self.think_us = think_us;
        let employed = &mut self.clients[client];
        (employed.to_do, employed.in_flight) = (commands, in_flight);
        self.push(self.now, Happening::Ask { client });
    }

    /// A client asks something now.
    ///
    /// # Errors
    /// What a checker finds wrong with that.
    pub fn ask(&mut self, client: usize, command: &[u8]) -> Checked {
        let doings = self.clients[client].ask(self.now, command.to_vec());
        self.client_did(client, doings)
    }

    /// A client sends its last request once more, to one replica, as it is.
    pub fn resend(&mut self, client: usize, to: ReplicaId) {
        if let Some(request) = self.last_requests.get(&client).cloned() {
            self.say(|| format!("client {} -> {to}: {}", client + 1, trace::request(&request)));
            self.send_request(client, to, &request);
        }
    }

    /// Sends a request that was made by hand, in a client's name.
    pub fn send_request(&mut self, client: usize, to: ReplicaId, request: &Request) {
        self.checks.client_signed(request);
        let frame: Bytes = codec::encode(request).expect("a request fits a frame").into();
        self.push(self.now, Happening::Request { from: client, to, frame });
    }

    /// Something bad happens at a time.
    pub fn schedule(&mut self, at: Time, fault: Fault) {
        self.push(at, Happening::Fault(fault));
    }

    /// When the next happening is, and whether it is only a timer.
    #[must_use]
    pub fn next(&self) -> Option<(Time, bool)> {
        self.queue.first_key_value().map(|((at, _), happening)| (*at, happening.is_timer()))
    }

    /// Lets everything happen until a time.
    ///
    /// # Errors
    /// The first violation.
    pub fn run_until(&mut self, end: Time) -> Checked {
        while self.next().is_some_and(|(at, _)| at <= end) {
            self.step()?;
        }
        self.now = self.now.max(end);
        Ok(())
    }

    /// Lets everything happen until only timers are left, of which none fires within `quiet_us`.
    ///
    /// # Errors
    /// The first violation.
    pub fn run_until_idle(&mut self, quiet_us: u64) -> Checked {
        let mut quiet_from = self.now;
        while let Some((at, timer)) = self.next() {
            if timer && at > quiet_from.plus(quiet_us) {
                return Ok(());
            }
            self.step()?;
            if !timer {
                quiet_from = self.now;
            }
        }
        Ok(())
    }

    /// Lets the next thing happen.
    ///
    /// # Errors
    /// What a checker finds wrong afterwards.
    pub fn step(&mut self) -> Checked {
        let Some(((at, _), happening)) = self.queue.pop_first() else { return Ok(()) };
        self.now = self.now.max(at);
        if let Some(node) = happening.node() {
            if self.crashed.contains(&node) {
                return Ok(());
            }
            if let Some((until, waiting)) = self.asleep.get_mut(&node).filter(|(until, _)| *until > self.now) {
                *waiting += 1;
                let at = until.plus(*waiting * DRAIN_US);
                self.push(at, happening);
                return Ok(());
            }
        }
        self.events += 1;
        if self.events > EVENTS_MAX {
            return Err(Violation::Livelock(EVENTS_MAX));
        }
        self.note(&happening);
        match happening {
            Happening::Frame { from, to, frame } => {
                let now = self.clock(to);
                self.nodes[usize::from(to.0)].peer_frame(now, from, &frame);
                self.node_did(to)
            }
            Happening::Request { from, to, frame } => {
                let key = self.clients[from].key();
                self.nodes[usize::from(to.0)].client_frame(&key, &frame);
                self.node_did(to)
            }
            Happening::Done { node, role } => self.role_done(node, role),
            Happening::Wake { node } => self.wake(node),
            Happening::Reply { from, to, frame } => {
                let doings = self.clients[to].frame(self.now, from, &frame);
                self.client_did(to, doings)
            }
            Happening::ClientWake { client } => {
                self.wakes.remove(&Party::Client(client));
                let doings = self.clients[client].poll(self.now);
                self.client_did(client, doings)
            }
            Happening::Ask { client } => self.ask_something(client),
            Happening::Fault(fault) => self.suffer(fault),
        }
    }

    fn push(&mut self, at: Time, happening: Happening) {
        self.ties += 1;
        self.queue.insert((at.max(self.now), self.ties), happening);
    }

    /// What a replica's clock says.
    fn clock(&self, node: ReplicaId) -> Time {
        self.now.plus(self.skews[usize::from(node.0)])
    }

    fn note(&mut self, happening: &Happening) {
        let mut hash = self.hash;
        let mut mix = |bytes: &[u8]| {
            for byte in bytes {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        };
        mix(&self.now.0.to_le_bytes());
        match happening {
            Happening::Frame { from, to, frame } => {
                mix(&[1]);
                mix(&from.0.to_le_bytes());
                mix(&to.0.to_le_bytes());
                mix(frame);
            }
            Happening::Request { from, to, frame } => {
                mix(&[2]);
                mix(&from.to_le_bytes());
                mix(&to.0.to_le_bytes());
                mix(frame);
            }
            Happening::Reply { from, to, frame } => {
                mix(&[3]);
                mix(&from.0.to_le_bytes());
                mix(&to.to_le_bytes());
                mix(frame);
            }
            Happening::Done { node, role } => {
                mix(&[4, *role as u8]);
                mix(&node.0.to_le_bytes());
            }
            Happening::Wake { node } => mix(&[5, node.0.to_le_bytes()[0]]),
            Happening::ClientWake { client } => mix(&[6, client.to_le_bytes()[0]]),
            Happening::Ask { client } => mix(&[7, client.to_le_bytes()[0]]),
            Happening::Fault(_) => mix(&[8]),
        }
        self.hash = hash;
    }

    fn say(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(line());
        }
    }

    fn role_done(&mut self, node: ReplicaId, role: Role) -> Checked {
        let doer = &self.nodes[usize::from(node.0)];
        match role {
            Role::Journal => {
                if let Some(group) = doer.group() {
                    self.checks.durable(node, group.records());
                }
            }
            Role::Store => {
                if let Some((seq, root)) = doer.storing() {
                    self.checks.stored(node, seq, root)?;
                }
            }
            Role::Verifier | Role::Executor => {}
        }
        let now = self.clock(node);
        self.nodes[usize::from(node.0)].done(now, role);
        self.node_did(node)
    }

    fn wake(&mut self, node: ReplicaId) -> Checked {
        self.wakes.remove(&Party::Replica(node));
        let now = self.clock(node);
        self.nodes[usize::from(node.0)].tick(now);
        self.node_did(node)
    }

    fn ask_something(&mut self, client: usize) -> Checked {
        while self.clients[client].wants_to_ask() {
            self.clients[client].to_do -= 1;
            let command = (self.service.command)(&mut self.rng);
            self.ask(client, &command)?;
        }
        Ok(())
    }

    /// Puts a replica out of action for good, or for a while, or everything right.
    fn suffer(&mut self, fault: Fault) -> Checked {
        match fault {
            Fault::Crash(replica) => return self.crash(replica),
            Fault::CrashPrimary => {
                let alive = self.nodes.iter().filter(|node| !self.crashed.contains(&node.id()));
                let leader = alive.max_by_key(|node| node.replica().view()).map(|node| node.replica().primary());
                if let Some(leader) = leader {
                    return self.crash(leader);
                }
            }
            Fault::Pause(replica, until) => {
                self.asleep.insert(replica, (until, 0));
            }
            Fault::Heal => {
                self.network.heal();
                self.asleep.clear();
                self.costs = Costs::default();
                self.healed = Some(self.now);
            }
        }
        Ok(())
    }

    /// Stops a replica for good. Its clients notice.
    ///
    /// # Errors
    /// What a checker finds wrong with what clients do then.
    pub fn crash(&mut self, replica: ReplicaId) -> Checked {
        self.crashed.insert(replica);
        for client in 0..self.clients.len() {
            let doings = self.clients[client].link(self.now, replica, None);
            self.client_did(client, doings)?;
        }
        Ok(())
    }

    /// Looks at what a replica did in its step: gives its roles work, checks, and sends what it sent.
    fn node_did(&mut self, id: ReplicaId) -> Checked {
        let node = &mut self.nodes[usize::from(id.0)];
        for (role, delay) in node.begin(self.costs, &mut self.rng) {
            self.push(self.now.plus(delay), Happening::Done { node: id, role });
        }
        let node = &mut self.nodes[usize::from(id.0)];
        let (executed, alarms, sent) = (node.take_executed(), node.take_alarms(), node.take_sent());
        for slot in executed {
            self.say(|| format!("{id} executes n{}", slot.seq));
            self.checks.executed(id, slot.seq, slot.body.as_ref(), slot.history)?;
        }
        for alarm in alarms {
            self.say(|| format!("{id} raises an alarm: {}", alarm_text(&alarm)));
            self.checks.alarm(id, &alarm)?;
        }
        for sent in sent {
            let sent = match self.seams.get_mut(&id) {
                Some(seam) => seam.replace(self.now, id, sent),
                None => vec![sent],
            };
            for sent in sent {
                self.route(id, sent)?;
            }
        }
        self.look_at(id)
    }

    fn look_at(&mut self, id: ReplicaId) -> Checked {
        let node = &self.nodes[usize::from(id.0)];
        let (replica, skew) = (node.replica(), self.skews[usize::from(id.0)]);
        let (view, low) = (replica.view(), replica.watermarks().0);
        if !self.checks.is_liar(id) {
            if let Some(why) = node.failure() {
                return Err(Violation::Stopped { replica: id, why: why.to_owned() });
            }
            if replica.status() == Status::Halted {
                return Err(Violation::Stopped { replica: id, why: "it halted".to_owned() });
            }
        }
        memory(id, &replica.footprint(), &self.context)?;
        self.checks.stands(id, view, low)?;
        let Some(deadline) = node.deadline() else { return Ok(()) };
        let at = Time(deadline.0.saturating_sub(skew)).max(self.now.plus(1));
        self.wake_at(Party::Replica(id), at, Happening::Wake { node: id });
        Ok(())
    }

    /// Sets an alarm clock, unless an earlier one is set; whoever wakes too early sets it anew.
    fn wake_at(&mut self, party: Party, at: Time, happening: Happening) {
        if self.wakes.get(&party).is_none_or(|set| *set > at) {
            self.wakes.insert(party, at);
            self.push(at, happening);
        }
    }

    fn client_did(&mut self, client: usize, doings: Doings) -> Checked {
        for request in &doings.signed {
            self.checks.client_signed(request);
            self.last_requests.insert(client, Arc::clone(request));
        }
        for (to, request) in doings.sent {
            self.send(client, to, &request);
        }
        for accepted in doings.accepted {
            self.accept(client, &accepted)?;
        }
        if let Some(at) = self.clients[client].deadline() {
            let at = at.max(self.now.plus(1));
            self.wake_at(Party::Client(client), at, Happening::ClientWake { client });
        }
        Ok(())
    }

    fn accept(&mut self, client: usize, accepted: &Accepted) -> Checked {
        self.accepted += 1;
        self.say(|| {
            let voters: Vec<String> = accepted.answer.voters.iter().map(|id| id.to_string()).collect();
            let outcome = trace::outcome(&accepted.answer.outcome);
            let command = accepted.command.escape_ascii();
            format!("client {} accepts {outcome} for \"{command}\" with votes of {}", client + 1, voters.join(","))
        });
        if self.clients[client].wants_to_ask() {
            let think = self.rng.below(self.think_us + 1);
            self.push(self.now.plus(think), Happening::Ask { client });
        }
        let Some(operation) = accepted.operation(self.clients[client].id()) else { return Ok(()) };
        self.checks.accepted(operation, accepted.answer.seq, &accepted.answer.outcome)
    }

    fn send(&mut self, client: usize, to: To, request: &Request) {
        let frame: Bytes = codec::encode(request).expect("a client's request fits a frame").into();
        let targets: Vec<ReplicaId> = match to {
            To::Replica(id) => vec![id],
            To::Everyone => self.context.committee.replicas().collect(),
        };
        self.say(|| {
            let to = if let [id] = targets.as_slice() { id.to_string() } else { "all".to_owned() };
            format!("client {} -> {to}: {}", client + 1, trace::request(request))
        });
        for to in targets {
            let (here, there) = (Party::Client(client), Party::Replica(to));
            for at in self.network.arrivals(self.now, here, there, &mut self.rng) {
                self.push(at, Happening::Request { from: client, to, frame: frame.clone() });
            }
        }
    }

    fn route(&mut self, from: ReplicaId, sent: Sent) -> Checked {
        let (targets, frame) = match sent {
            Sent::Client(client, frame) => {
                self.route_reply(from, client, &frame);
                return Ok(());
            }
            Sent::Replica(to, frame) => (vec![to], frame),
            Sent::Others(frame) => (self.context.committee.replicas().filter(|id| *id != from).collect(), frame),
        };
        let Ok(message) = codec::decode::<PeerMessage>(&frame) else { return Ok(()) };
        self.checks.sent(from, &message)?;
        let mut suffix = String::new();
        let kind = trace::kind(&message);
        let (all, targets_of) = (targets.len() > 1, targets.clone());
        let mut through = Vec::new();
        for to in targets {
            match self.rules.iter().find(|rule| rule.catches(from, to, kind)).map(|rule| rule.hold) {
                None => through.push(to),
                Some(hold) => {
                    suffix.push_str(&format!(" [{} to {to}]", if hold { "held" } else { "lost" }));
                    if hold {
                        self.held.push_back((from, to, frame.clone()));
                    }
                }
            }
        }
        if !matches!(message, PeerMessage::Status(_)) {
            let null = self.null;
            self.say(|| {
                let to = if all { "all".to_owned() } else { targets_of[0].to_string() };
                format!("{from} -> {to}: {}{suffix}", trace::message(&message, &null))
            });
        }
        for to in through {
            let (here, there) = (Party::Replica(from), Party::Replica(to));
            for at in self.network.arrivals(self.now, here, there, &mut self.rng) {
                self.push(at, Happening::Frame { from, to, frame: frame.clone() });
            }
        }
        Ok(())
    }

    fn route_reply(&mut self, from: ReplicaId, client: quorate_protocol::types::ClientId, frame: &Bytes) {
        let Some(index) = self.clients.iter().position(|known| known.id() == client) else { return };
        if self.trace.is_some()
            && let Ok(message) = codec::decode::<ClientMessage>(frame)
        {
            self.say(|| format!("{from} -> client {}: {}", index + 1, trace::reply(&message)));
        }
        let (here, there) = (Party::Replica(from), Party::Client(index));
        for at in self.network.arrivals(self.now, here, there, &mut self.rng) {
            self.push(at, Happening::Reply { from, to: index, frame: frame.clone() });
        }
    }
}

impl Rule {
    fn catches(&self, from: ReplicaId, to: ReplicaId, kind: &str) -> bool {
        self.from.is_none_or(|id| id == from)
            && self.to.is_none_or(|id| id == to)
            && self.kind.as_deref().is_none_or(|wanted| wanted == kind)
    }
}

fn alarm_text(alarm: &quorate_protocol::process::Alarm) -> String {
    use quorate_protocol::process::Alarm;
    match alarm {
        Alarm::ConflictingPrepares(one, _) => format!("two PREPAREs of {} at n{}", one.signer, one.seq),
        Alarm::ConflictingCommits(one, _) => format!("two COMMITs of {} at n{}", one.signer, one.seq),
        Alarm::ConflictingCheckpoints(one, _) => format!("two CHECKPOINTs of {} at n{}", one.signer, one.seq),
        Alarm::Agreement { seq, .. } => format!("two certificates at n{seq} exclude each other"),
        Alarm::Diverged { seq, .. } => format!("its state differs at n{seq}"),
        Alarm::ClockDisagrees { seq, .. } => format!("the time of n{seq} is not plausible"),
    }
}
