//! The world: hosts, clients, links and a clock that jumps from one happening to the next.

mod accused;
mod calls;
mod controls;
mod happening;
mod liars;
mod links;
mod outages;
mod recording;
mod setting;
mod sketching;
mod tap;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use quorate_protocol::client::{Options, Read};
use quorate_protocol::codec;
use quorate_protocol::committee::Committee;
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::message::ClientFrame;
use quorate_protocol::parameters::Context;
use quorate_protocol::replica::Status;
use quorate_protocol::request::{Request, null_digest};
use quorate_protocol::types::{ClusterId, Digest, Epoch, ReplicaId, Time};

use crate::app::Service;
use crate::check::{Checked, Checks, Violation, memory};
use crate::client::{Accepted, Doings, SimClient};
use crate::clock::Clock;
use crate::memo::Memo;
use crate::network::{Network, Party};
use crate::node::{Costs, Finished, Node, Role, Seat};
use crate::picture::{Mark, Sketch};
use crate::recording::Recording;
use crate::rng::Rng;
use crate::trace;

pub use calls::Call;
use calls::Calls;
use happening::Happening;
use liars::Liars;
use outages::Absence;
pub use outages::Injected;
pub use setting::{Fault, Outage, Rule, Setting, Whom};
pub use tap::Passed;

/// Happenings after which a world is given up.
const EVENTS_MAX: u64 = 50_000_000;

/// Happenings from one look at what a replica keeps to the next.
const MEMORY_EVERY: u64 = 8;

/// Time between two things that a process takes up after its sleep, in microseconds.
const DRAIN_US: u64 = 20;

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
    clocks: Vec<Clock>,
    epoch_us: u64,
    /// What is known about signatures, unless each is checked every time.
    memo: Option<Memo>,
    wakes: BTreeMap<Party, Time>,
    /// Processes that do not run: for good, or until they are started again.
    crashed: BTreeSet<ReplicaId>,
    /// Those of them that will be started again.
    absent: BTreeMap<ReplicaId, Absence>,
    /// Processes that were asked to stop, and have not gone yet.
    stopping: BTreeMap<ReplicaId, outages::Stopping>,
    /// What happens to those who die at a moment that a test chose.
    dooms: BTreeMap<ReplicaId, (Outage, Vec<ReplicaId>)>,
    /// Replicas whose disks were damaged at some time.
    damaged: BTreeSet<ReplicaId>,
    injected: Injected,
    /// Until when a process sleeps, and how much waits for it by now.
    asleep: BTreeMap<ReplicaId, (Time, u64)>,
    clients: Vec<SimClient>,
    think_us: u64,
    last_requests: BTreeMap<usize, Arc<Request>>,
    checks: Checks,
    liars: Liars,
    rules: Vec<Rule>,
    held: VecDeque<(ReplicaId, ReplicaId, Bytes)>,
    trace: Option<Vec<(Time, String)>>,
    passed: Option<Vec<(Time, Passed)>>,
    sketch: Option<Sketch>,
    recording: Option<Box<Recording>>,
    accepted: u64,
    calls: Calls,
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
        Self::of(setting, ClusterId(Digest([7; 32])), Epoch(0))
    }

    /// The same of another cluster or another epoch, whose replicas and clients have the same keys.
    ///
    /// # Panics
    /// As [`World::new`].
    #[must_use]
    pub fn of(setting: &Setting, cluster: ClusterId, epoch: Epoch) -> Self {
        let keys: Vec<_> =
            (0..u64::from(setting.replicas)).map(|id| SecretKey::from_seed(&secret(1, id))).collect();
        let keys: Vec<_> = keys.iter().map(SecretKey::public).collect();
        let context = Context {
            cluster,
            epoch,
            committee: Arc::new(Committee::new(&keys, false).expect("keys of a world differ and are strong")),
            parameters: Arc::new(setting.parameters.clone()),
        };
        let mut rng = Rng::new(setting.seed);
        let now = Time(1_000_000);
        let memo = (!setting.check_every_signature).then(Memo::default);
        let mut off = || i64::try_from(setting.epoch_us + rng.below(setting.skew_us + 1)).unwrap_or(0);
        let clocks: Vec<Clock> = keys.iter().map(|_| Clock::new(now, off())).collect();
        let liars = Liars::new(setting.liars.clone(), setting.seed);
        let begin = |id: ReplicaId| {
            let key = secret(1, id.0.into());
            let (service, memo, sins) = (&setting.service, memo.as_ref(), liars.sins_of(id));
            let seat = Seat { context: &context, id, key, service, memo, sins };
            Node::new(&seat, clocks[usize::from(id.0)].says(now))
        };
        let nodes: Vec<Node> = context.committee.replicas().map(begin).collect();
        let mut world = Self {
            null: null_digest(context.cluster),
            checks: Checks::new(&context, &setting.service),
            service: setting.service.clone(),
            liars,
            costs: setting.costs,
            network: Network::new(setting.profile, setting.cuts.clone()),
            now,
            queue: BTreeMap::new(),
            ties: 0,
            clocks,
            epoch_us: setting.epoch_us,
            memo,
            nodes,
            wakes: BTreeMap::new(),
            crashed: BTreeSet::new(),
            absent: BTreeMap::new(),
            stopping: BTreeMap::new(),
            dooms: BTreeMap::new(),
            damaged: BTreeSet::new(),
            injected: Injected::default(),
            asleep: BTreeMap::new(),
            clients: Vec::new(),
            think_us: 0,
            last_requests: BTreeMap::new(),
            rules: Vec::new(),
            held: VecDeque::new(),
            trace: None,
            passed: None,
            sketch: None,
            recording: None,
            accepted: 0,
            calls: Calls::default(),
            events: 0,
            hash: 0xcbf2_9ce4_8422_2325,
            healed: None,
            rng,
            context,
        };
        for liar in setting.liars.keys() {
            world.checks.distrust(*liar);
        }
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
    /// Whether a replica has crashed and was not started again.
    #[must_use]
    pub fn is_crashed(&self, id: ReplicaId) -> bool {
        self.crashed.contains(&id)
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
        self.read(client, command, Read::Ordered)
    }

    /// A client asks something now, to be read so.
    ///
    /// # Errors
    /// What a checker finds wrong with that.
    pub fn read(&mut self, client: usize, command: &[u8], read: Read) -> Checked {
        let doings = self.clients[client].ask(self.now, command.to_vec(), read);
        self.client_did(client, doings)
    }

    /// From now on a client that is employed reads so.
    pub fn read_as(&mut self, client: usize, read: Read) {
        self.clients[client].reads = read;
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
        let frame = ClientFrame::from(request.clone());
        let frame: Bytes = codec::encode(&frame).expect("a request fits a frame").into();
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
            if let Some((until, waiting)) = self.asleep.get_mut(&node).filter(|(until, _)| *until > self.now)
            {
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
        self.hash = happening.hash_after(self.hash, self.now);
        self.note_happening(&happening);
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
            Happening::Done { node, role, life } => self.role_done(node, role, life),
            Happening::Wake { node } => self.wake(node),
            Happening::LinkUp { node } => {
                let now = self.clock(node);
                self.nodes[usize::from(node.0)].link_up(now);
                self.node_did(node)
            }
            Happening::Reply { from, to, frame } => {
                let doings = self.clients[to].frame(self.now, from, &frame);
                self.client_did(to, doings)
            }
            Happening::ClientWake { client } => {
                if !self.is_due(Party::Client(client)) {
                    return Ok(());
                }
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
        self.clocks[usize::from(node.0)].says(self.now)
    }

    fn say(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push((self.now, line()));
        }
    }

    fn role_done(&mut self, node: ReplicaId, role: Role, life: u32) -> Checked {
        let now = self.clock(node);
        let doer = &mut self.nodes[usize::from(node.0)];
        if doer.life() != life {
            return Ok(());
        }
        match doer.done(now, role) {
            Finished::Nothing => {}
            Finished::Durable(group) => {
                self.checks.promised(node, group.horizon());
                self.checks.durable(node, group.records())?;
            }
            Finished::Stored(seq, root) => self.checks.stored(node, seq, root)?,
        }
        self.node_did(node)
    }

    fn wake(&mut self, node: ReplicaId) -> Checked {
        if !self.is_due(Party::Replica(node)) {
            return Ok(());
        }
        let now = self.clock(node);
        self.nodes[usize::from(node.0)].tick(now);
        self.node_did(node)
    }

    fn ask_something(&mut self, client: usize) -> Checked {
        while self.clients[client].wants_to_ask() {
            self.clients[client].to_do -= 1;
            let command = self.service.command(&mut self.rng);
            let reads = self.clients[client].reads;
            let is_read = reads != Read::Ordered && self.service.machine().query(&command).is_some();
            self.read(client, &command, if is_read { reads } else { Read::Ordered })?;
        }
        Ok(())
    }

    /// Looks at what a replica did in its step: gives its roles work, checks, and sends what it sent.
    fn node_did(&mut self, id: ReplicaId) -> Checked {
        let node = &mut self.nodes[usize::from(id.0)];
        let life = node.life();
        for (role, delay) in node.begin(self.costs, &mut self.rng) {
            self.push(self.now.plus(delay), Happening::Done { node: id, role, life });
        }
        let node = &mut self.nodes[usize::from(id.0)];
        let (executed, alarms, sent) = (node.take_executed(), node.take_alarms(), node.take_sent());
        for slot in executed {
            self.note_executed(id, &slot);
            self.note(|| Mark::Executes(id, slot.seq, slot.installed));
            if slot.installed {
                self.say(|| format!("{id} installs the state after n{}", slot.seq));
                self.checks.installed(id, slot.seq, slot.history)?;
                continue;
            }
            self.say(|| format!("{id} executes n{}", slot.seq));
            self.checks.executed(id, slot.seq, slot.body.as_ref(), slot.history)?;
        }
        for alarm in alarms {
            self.say(|| format!("{id} raises an alarm: {}", trace::alarm(&alarm)));
            self.note_alarm(id, &alarm);
            self.checks.alarm(id, &alarm)?;
        }
        for sent in sent {
            self.route(id, sent)?;
        }
        if self.node(id).is_dead() {
            return self.die(id);
        }
        self.look_at(id)?;
        self.let_go(id)
    }

    fn look_at(&mut self, id: ReplicaId) -> Checked {
        self.note_standing(id);
        let node = &self.nodes[usize::from(id.0)];
        let replica = node.replica();
        let (view, low) = (replica.view(), replica.watermarks().0);
        if !self.checks.is_liar(id) {
            if let Some(why) = node.failure() {
                return Err(Violation::Stopped { replica: id, why: why.to_owned() });
            }
            if replica.status() == Status::Halted {
                return Err(Violation::Stopped { replica: id, why: "it halted".to_owned() });
            }
        }
        // What is kept does not come and go within a few steps, and counting it is slow.
        if self.events.is_multiple_of(MEMORY_EVERY) {
            memory(id, &replica.footprint(), &self.context)?;
        }
        self.checks.stands(id, view, low)?;
        let Some(deadline) = node.deadline() else { return Ok(()) };
        let at = self.clocks[usize::from(id.0)].when(deadline).max(self.now.plus(1));
        self.wake_at(Party::Replica(id), at, Happening::Wake { node: id });
        Ok(())
    }

    /// Whether an alarm is the one that is set, which it is no more then. Each that rang early, and was set again, would
    /// ring for ever beside it.
    fn is_due(&mut self, party: Party) -> bool {
        let due = self.wakes.get(&party).is_none_or(|set| *set <= self.now);
        if due {
            self.wakes.remove(&party);
        }
        due
    }

    /// Sets an alarm clock, unless an earlier one is set; whoever wakes too early sets it anew.
    fn wake_at(&mut self, party: Party, at: Time, happening: Happening) {
        if self.wakes.get(&party).is_none_or(|set| *set > at) {
            self.wakes.insert(party, at);
            self.push(at, happening);
        }
    }

    fn client_did(&mut self, client: usize, doings: Doings) -> Checked {
        if let Some(asked) = doings.asked {
            self.calls.asked(self.now, client, asked);
        }
        for request in &doings.signed {
            self.checks.client_signed(request);
            self.last_requests.insert(client, Arc::clone(request));
        }
        for (to, request) in doings.sent {
            self.send(client, to, &request);
        }
        for query in &doings.queries {
            self.send_query(client, query);
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
        self.calls.answered(self.now, (client, accepted.asked), &accepted.answer);
        self.note(|| {
            let outcome = trace::outcome(&accepted.answer.outcome);
            let words = format!("accepts {outcome} for \"{}\"", accepted.command.escape_ascii());
            Mark::Says(Party::Client(client), words)
        });
        self.say(|| {
            let voters: Vec<String> = accepted.answer.voters.iter().map(|id| id.to_string()).collect();
            let outcome = trace::outcome(&accepted.answer.outcome);
            let command = accepted.command.escape_ascii();
            format!(
                "client {} accepts {outcome} for \"{command}\" with votes of {}",
                client + 1,
                voters.join(",")
            )
        });
        if self.clients[client].wants_to_ask() {
            let think = self.rng.below(self.think_us + 1);
            self.push(self.now.plus(think), Happening::Ask { client });
        }
        let Some(operation) = accepted.operation(self.clients[client].id()) else { return Ok(()) };
        self.checks.accepted(operation, accepted.answer.seq, &accepted.answer.outcome)
    }
}
