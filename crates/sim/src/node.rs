//! One simulated replica: the real host with the real roles around it, each as slow as the seed says.

mod moments;

use std::collections::VecDeque;
use std::fmt::Display;
use std::sync::Arc;

use bytes::Bytes;
use quorate_host::byzantine::{Liar, Lies, Sin, WrongExecutions, corrupt_machine};
use quorate_host::disk::{DiskFailure, MemoryDisk};
use quorate_host::execution::{Done, Execution, Task};
use quorate_host::folder::format_folder;
use quorate_host::host::{Host, Link};
use quorate_host::journal::{self, Durability, Group, Recovered, Reserve, Shape, Writer};
use quorate_host::lane::Class;
use quorate_host::live::Moment;
use quorate_host::start::{Life, StartError, Started, begin};
use quorate_host::store::{Finished as StoreFinished, Store};
use quorate_host::superblock::{Identity, SnapshotPointer, Superblock};
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::parameters::Context;
use quorate_protocol::process::Event;
use quorate_protocol::replica::Replica;
use quorate_protocol::request::Body;
use quorate_protocol::signed::Signer;
use quorate_protocol::types::{ClientId, Digest, ReplicaId, Seq, Time};
use quorate_protocol::verify::{Invalid, Verifier};

use crate::app::Service;
use crate::memo::Memo;
use crate::rng::Rng;
use moments::Moments;

/// How long the roles of a replica take, in microseconds at most; how long exactly is drawn each time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Costs {
    /// To verify what waits.
    pub verify_us: u64,
    /// To write and sync a group.
    pub write_us: u64,
    /// To execute what waits.
    pub execute_us: u64,
    /// To store a state.
    pub store_us: u64,
}

/// What a replica sends.
#[derive(Debug, Clone)]
pub enum Sent {
    /// To one replica.
    Replica(ReplicaId, Bytes),
    /// To all others.
    Others(Bytes),
    /// To a client.
    Client(ClientId, Bytes),
}

/// The links of a simulated replica: what is sent is collected, and the world takes it from there.
#[derive(Debug, Default)]
struct Outbox {
    sent: Vec<Sent>,
}

impl Link for Outbox {
    fn send(&mut self, to: ReplicaId, _class: Class, frame: Bytes) {
        self.sent.push(Sent::Replica(to, frame));
    }
    fn broadcast(&mut self, _class: Class, frame: Bytes) {
        self.sent.push(Sent::Others(frame));
    }
    fn reply(&mut self, client: ClientId, frame: Bytes) {
        self.sent.push(Sent::Client(client, frame));
    }
}

/// A role of a replica that works beside the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Checks signatures.
    Verifier,
    /// Writes the journal.
    Journal,
    /// Executes batches.
    Executor,
    /// Stores states.
    Store,
    /// Points the superblock at one that is stored.
    Pointer,
}

/// A slot that was executed.
#[derive(Debug, Clone)]
pub struct ExecutedSlot {
    /// The slot.
    pub seq: Seq,
    /// Its batch.
    pub body: Option<Arc<Body>>,
    /// Head of the history after it.
    pub history: Digest,
    /// It came as part of a state, together with all slots before it.
    pub installed: bool,
}

/// What a replica is made of.
#[derive(Debug)]
pub struct Seat<'a> {
    /// What the cluster agreed on.
    pub context: &'a Context,
    /// Its place in the cluster.
    pub id: ReplicaId,
    /// Its key.
    pub key: [u8; 32],
    /// What it replicates.
    pub service: &'a Service,
    /// What is known about signatures; none if each is checked every time.
    pub memo: Option<&'a Memo>,
    /// Its lies, and the seed that all liars share.
    pub sins: (&'a [Sin], u64),
}

impl Seat<'_> {
    fn identity(&self) -> Identity {
        let key = SecretKey::from_seed(&self.key).public();
        Identity { cluster: self.context.cluster, replica: self.id, key }
    }

    fn shape(&self) -> Shape {
        Shape::of(&self.context.parameters, self.context.committee.size())
    }

    fn verifier(&self) -> Verifier {
        let mut secret = [0; 32];
        secret[0] = u8::try_from(self.id.0 % 256).unwrap_or(0);
        let context = self.context.clone();
        match self.memo {
            Some(memo) => Verifier::asking(context, memo.checker(secret)),
            None => Verifier::new(context, secret),
        }
    }
}

/// What a role finished.
#[derive(Debug)]
pub enum Finished {
    /// Nothing that outlives the process.
    Nothing,
    /// A group is on stable storage.
    Durable(Group),
    /// The state after a slot, with its root, is on stable storage, and a restart finds it.
    Stored(Seq, Digest),
}

/// A replica, and what its roles are doing.
pub struct Node {
    id: ReplicaId,
    /// Counts its process's lives, so that what a dead one began is not finished by the next.
    life: u32,
    /// The state that this life began with, and its root.
    began_with: Option<(Seq, Digest)>,
    moments: Moments,
    host: Host,
    verifier: Verifier,
    /// What checking a signature takes, in nanoseconds.
    signature_ns: u64,
    execution: Execution,
    writer: Writer<MemoryDisk>,
    store: Store<MemoryDisk>,
    verifying: Option<Vec<Result<Event, Invalid>>>,
    executing: Option<Vec<Done>>,
    /// Handed to the disk, and not synced yet.
    writing: Option<Group>,
    storing: Option<Box<StoreFinished>>,
    /// What the superblock is being pointed at.
    pointing: Option<SnapshotPointer>,
    executed: VecDeque<ExecutedSlot>,
    outbox: Outbox,
    /// Lies that its application told.
    executions: WrongExecutions,
    failure: Option<String>,
}

impl Node {
    /// A replica that begins, with a disk that was just formatted.
    ///
    /// # Panics
    /// If the disk in memory fails, which nobody told it to.
    #[must_use]
    pub fn new(seat: &Seat<'_>, now: Time) -> Self {
        let mut disk = MemoryDisk::new();
        // Sparse: what is never written costs nothing.
        format_folder(&mut disk, seat.identity(), seat.shape(), Reserve::Records)
            .expect("an empty folder takes a format");
        Self::start(seat, disk, now, 0).expect("a folder that was just formatted starts")
    }

    /// A replica that goes on from its disk, as the node's does.
    ///
    /// # Errors
    /// [`StartError`] if it does not start from this disk.
    pub fn start(seat: &Seat<'_>, disk: MemoryDisk, now: Time, life: u32) -> Result<Self, StartError> {
        let Seat { context, id, key, service, .. } = seat;
        let lived =
            Life { context: (*context).clone(), identity: seat.identity(), durability: Durability::Sync };
        let (machine, executions) = corrupt_machine(service.machine_of(*id), seat.sins.0, seat.sins.1);
        let (started, store) = begin(disk, lived, machine, now)?;
        let Started { replica, executor, effects, journal, writer, state, accused, .. } = started;
        let key = Arc::new(SecretKey::from_seed(key));
        let mut host = Host::new(replica, Signer::new(key, context.cluster, context.epoch, *id), journal);
        if let (sins @ [_, ..], seed) = seat.sins {
            host.corrupt(Liar::new(sins, seed, context, *id, now));
        }
        let mut outbox = Outbox::default();
        let began_with = state.map(|pointer| (pointer.seq, pointer.root));
        host.recall(accused);
        host.resume(now, effects, &mut outbox);
        Ok(Self {
            id: *id,
            life,
            began_with,
            moments: Moments::default(),
            host,
            verifier: seat.verifier(),
            signature_ns: 0,
            execution: Execution::new(executor, &context.parameters),
            writer,
            store,
            verifying: None,
            executing: None,
            writing: None,
            storing: None,
            pointing: None,
            executed: VecDeque::new(),
            outbox,
            executions,
            failure: None,
        })
    }

    /// The records that a replica would find on this disk; none if its journal is damaged.
    #[must_use]
    pub fn find(seat: &Seat<'_>, disk: &mut MemoryDisk) -> Vec<Recovered> {
        let Ok((superblock, _)) = Superblock::read(disk) else { return Vec::new() };
        journal::inspect(disk, &superblock, seat.shape()).map_or_else(|_| Vec::new(), |(records, _)| records)
    }

    /// The state that this life began with, and its root.
    #[must_use]
    pub fn began_with(&self) -> Option<(Seq, Digest)> {
        self.began_with
    }

    /// How far its disk remembers that it may have voted, and answered where reads are fast.
    #[must_use]
    pub fn horizon(&self) -> Seq {
        self.writer.superblock().high_promised
    }

    /// A copy of its disk as it is, to be looked at.
    pub fn copy_disk(&mut self) -> MemoryDisk {
        self.writer.disk().clone()
    }

    /// Takes the disk from a process that is dead.
    pub fn take_disk(&mut self) -> MemoryDisk {
        std::mem::take(self.writer.disk())
    }

    /// Which life of its process this is, from 0.
    #[must_use]
    pub fn life(&self) -> u32 {
        self.life
    }
    /// Moments at which the process could have died so far: before and after each operation of the disk, each
    /// batch, each state, and before each frame.
    #[must_use]
    pub fn moments(&self) -> u64 {
        self.moments.count()
    }
    /// Lets the process die at its `nth` moment, counted from 1.
    pub fn die_at(&mut self, nth: u64) {
        self.moments.die_at(nth);
    }
    /// Whether it died at the moment it was told to.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.moments.is_dead()
    }
    /// Whether its votes are bound by what it may have forgotten.
    #[must_use]
    pub fn is_boxed(&self) -> bool {
        self.writer.superblock().amnesia.is_some()
    }

    /// Its place in the cluster.
    #[must_use]
    pub fn id(&self) -> ReplicaId {
        self.id
    }
    /// The host, to be looked at.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }
    /// The replica, to be looked at.
    #[must_use]
    pub fn replica(&self) -> &Replica {
        self.host.replica()
    }
    /// The states it has stored, to be looked at.
    #[must_use]
    pub fn store(&self) -> &Store<MemoryDisk> {
        &self.store
    }
    /// The executor, to be looked at.
    #[must_use]
    pub fn execution(&self) -> &Execution {
        &self.execution
    }
    /// Signatures it checked in this life.
    #[must_use]
    pub fn signatures_checked(&self) -> u64 {
        self.verifier.checks().signatures
    }
    /// Syncs of its journal in this life.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.writer.counters().syncs
    }
    /// Why it had to stop, if it had.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref().or(self.host.failed())
    }
    /// When it wants to be ticked.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.host.deadline()
    }

    /// From now on it lies.
    pub fn corrupt(&mut self, context: &Context, sins: &[Sin], seed: u64, now: Time) {
        self.host.corrupt(Liar::new(sins, seed, context, self.id, now));
    }

    /// It lies no more; says how often it did.
    pub fn repent(&mut self) -> Lies {
        let mut lies = self.host.repent();
        std::mem::take(&mut self.executions).add_to(&mut lies);
        lies
    }

    /// How often it lied in this life, by name of the sin.
    #[must_use]
    pub fn lies(&self) -> Lies {
        let mut lies = self.host.lies();
        self.executions.add_to(&mut lies);
        lies
    }

    /// Somebody records: what it sees of each slot is kept for [`Node::seen`], in this life.
    pub fn watch(&mut self, now: Time) {
        self.host.watch(now, true);
    }

    /// What it saw of slots since this was last asked, for a recording that began at `began` by its clock.
    pub fn seen(&mut self, now: Time, began: Time) -> Vec<Moment> {
        self.host.moments(now, began)
    }

    /// A frame of another replica arrives.
    pub fn peer_frame(&mut self, now: Time, from: ReplicaId, frame: &[u8]) {
        // What the border refuses is counted there.
        let _refused = self.host.peer_frame(now, from, frame);
    }

    /// A frame of a client arrives.
    pub fn client_frame(&mut self, key: &quorate_protocol::types::PublicKey, frame: &[u8]) {
        let _refused = self.host.client_frame((key, frame), &mut self.outbox);
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Time) {
        self.host.tick(now, &mut self.outbox);
    }

    /// The process is asked to stop.
    pub fn retire(&mut self, now: Time) {
        self.host.retire(now, &mut self.outbox);
    }

    /// A link to another replica came up.
    pub fn link_up(&mut self, now: Time) {
        self.host.link_up(now, &mut self.outbox);
    }

    /// A role has done what it was doing.
    ///
    /// # Panics
    /// If it was doing nothing.
    pub fn done(&mut self, now: Time, role: Role) -> Finished {
        match role {
            Role::Verifier => {
                let verdicts = self.verifying.take().expect("it was verifying");
                self.host.verified(now, verdicts, &mut self.outbox);
                Finished::Nothing
            }
            Role::Journal => {
                let group = self.writing.take().expect("it was writing");
                let Some(position) = self.on_disk(|node| node.writer.sync()) else {
                    return Finished::Nothing;
                };
                if self.moments.pass() {
                    self.host.durable(now, position, &mut self.outbox);
                }
                Finished::Durable(group)
            }
            Role::Executor => {
                let done = self.executing.take().expect("it was executing");
                self.host.executed(now, done, &mut self.outbox);
                Finished::Nothing
            }
            Role::Store => {
                let finished = self.storing.take().expect("it was storing");
                if self.moments.pass() {
                    self.host.stored(now, *finished, &mut self.outbox);
                }
                Finished::Nothing
            }
            Role::Pointer => {
                let pointer = self.pointing.take().expect("it was pointing");
                if self.moments.pass() {
                    self.host.pointed(now, pointer, &mut self.outbox);
                }
                Finished::Stored(pointer.seq, pointer.root)
            }
        }
    }

    /// From now on, until its process dies, checking a signature takes it so many nanoseconds.
    pub fn charge_signatures(&mut self, signature_ns: u64) {
        self.signature_ns = signature_ns;
    }

    /// Gives work to the roles that have none; says which began, and how long they will take.
    pub fn begin(&mut self, costs: Costs, rng: &mut Rng) -> Vec<(Role, u64)> {
        let mut begun = Vec::new();
        if self.verifying.is_none() && self.host.border().ready() > 0 {
            let unverified = self.host.take_unverified();
            let checked = self.verifier.checks().signatures;
            self.verifying = Some(self.verifier.verify(unverified));
            let signatures = self.verifier.checks().signatures - checked;
            let takes_us = signatures * self.signature_ns / 1_000;
            begun.push((Role::Verifier, takes_us + rng.below(costs.verify_us + 1)));
        }
        if self.executing.is_none() {
            let tasks = self.host.take_tasks();
            if !tasks.is_empty() {
                self.executing = Some(tasks.into_iter().map_while(|task| self.execute(task)).collect());
                begun.push((Role::Executor, rng.below(costs.execute_us + 1)));
            }
        }
        if self.writing.is_none()
            && let Some(group) = self.host.take_group()
            && self.moments.pass()
            && self.on_disk(|node| node.writer.write(&group, false)).is_some()
        {
            self.writing = Some(group);
            begun.push((Role::Journal, rng.below(costs.write_us + 1)));
        }
        if self.storing.is_none()
            && let Some(job) = self.host.take_job()
            && self.moments.pass()
            && let Some(finished) = self.on_disk(|node| node.store.run(job))
        {
            self.storing = Some(Box::new(finished));
            begun.push((Role::Store, rng.below(costs.store_us + 1)));
        }
        if self.pointing.is_none()
            && let Some(pointer) = self.host.take_pointer()
            && self.moments.pass()
            && self.on_disk(|node| node.writer.point_to(pointer)).is_some()
        {
            self.pointing = Some(pointer);
            begun.push((Role::Pointer, rng.below(costs.write_us + 1)));
        }
        begun
    }

    /// Lets a role use the disk. Each operation of the disk is a moment at which the process can die; it dies in the
    /// middle of it, which a disk that fails there shows as well as one whose power went.
    fn on_disk<T, E: Display>(&mut self, act: impl FnOnce(&mut Self) -> Result<T, E>) -> Option<T> {
        let left = self.moments.left();
        let disk = self.writer.disk();
        let before = disk.operations();
        if let Some(left) = left {
            disk.fail(before + left, DiskFailure::Failed("its process died".to_owned()));
        }
        let done = act(self);
        let operations = self.writer.disk().operations() - before;
        if !self.moments.pass_many(operations) {
            return None;
        }
        match done {
            Ok(done) => Some(done),
            Err(error) => {
                self.failure = Some(error.to_string());
                None
            }
        }
    }

    fn execute(&mut self, task: Task) -> Option<Done> {
        if !self.moments.pass() {
            return None;
        }
        let before = self.execution.executor().executed();
        let (body, installed) = match &task {
            Task::Execute { body, .. } => (body.clone(), false),
            Task::Install(_) => (None, true),
            Task::Screen(_) | Task::Query { .. } | Task::Release { .. } => (None, false),
        };
        let done = self.execution.run(task);
        let seq = self.execution.executor().executed();
        if seq > before {
            let history = self.execution.history(seq).unwrap_or(Digest::ZERO);
            self.executed.push_back(ExecutedSlot { seq, body, history, installed });
        }
        self.moments.pass().then_some(done)
    }

    /// Slots executed since this was last asked.
    pub fn take_executed(&mut self) -> VecDeque<ExecutedSlot> {
        std::mem::take(&mut self.executed)
    }

    /// Alarms raised since this was last asked.
    pub fn take_alarms(&mut self) -> Vec<quorate_protocol::process::Alarm> {
        self.host.take_alarms()
    }

    /// What it sent since this was last asked.
    pub fn take_sent(&mut self) -> Vec<Sent> {
        let sent = std::mem::take(&mut self.outbox.sent);
        sent.into_iter().take_while(|_| self.moments.pass()).collect()
    }
}
