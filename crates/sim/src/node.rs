//! One simulated replica: the real host with the real roles around it, each as slow as the seed says.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use quorate_host::disk::MemoryDisk;
use quorate_host::execution::{Done, Execution, Task};
use quorate_host::host::{Host, Link};
use quorate_host::journal::{self, Durability, Group, Reserve, Shape, Writer};
use quorate_host::lane::Class;
use quorate_host::superblock::{Identity, SnapshotPointer, Superblock};
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::executor::Executor;
use quorate_protocol::parameters::Context;
use quorate_protocol::process::Event;
use quorate_protocol::replica::Replica;
use quorate_protocol::request::Body;
use quorate_protocol::signed::Signer;
use quorate_protocol::types::{ClientId, Digest, Position, ReplicaId, Seq, Time};
use quorate_protocol::verify::{Invalid, Verifier};

use crate::app::Service;
use crate::rng::Rng;

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
    pub service: Service,
}

/// A replica, and what its roles are doing.
pub struct Node {
    id: ReplicaId,
    host: Host,
    verifier: Verifier,
    execution: Execution,
    writer: Writer<MemoryDisk>,
    verifying: Option<Vec<Result<Event, Invalid>>>,
    executing: Option<Vec<Done>>,
    writing: Option<(Position, Group)>,
    storing: Option<(Seq, Digest)>,
    executed: VecDeque<ExecutedSlot>,
    outbox: Outbox,
    failure: Option<String>,
}

impl Node {
    /// A replica that begins, with an empty disk.
    ///
    /// # Panics
    /// If the disk in memory fails, which nobody told it to.
    #[must_use]
    pub fn new(seat: &Seat<'_>) -> Self {
        let Seat { context, id, key, service } = seat;
        let key = SecretKey::from_seed(key);
        let identity = Identity { cluster: context.cluster, replica: *id, key: key.public() };
        let mut disk = MemoryDisk::new();
        let superblock = Superblock::format(&mut disk, identity).expect("an empty folder takes a format");
        // Sparse: what is never written costs nothing.
        let shape = Shape::of(&context.parameters, context.committee.size());
        journal::create(&mut disk, &superblock, shape, Reserve::Records).expect("a disk in memory works");
        let opened = journal::open(disk, superblock, shape, Durability::Sync).expect("a new journal opens");
        let replica = Replica::new((*context).clone(), *id);
        let mut secret = [0; 32];
        secret[0] = u8::try_from(id.0 % 256).unwrap_or(0);
        Self {
            id: *id,
            host: Host::new(
                replica,
                Signer::new(Arc::new(key), context.cluster, context.epoch, *id),
                opened.journal,
            ),
            verifier: Verifier::new((*context).clone(), secret),
            execution: Execution::new(Executor::new((*context).clone(), (service.machine)())),
            writer: opened.writer,
            verifying: None,
            executing: None,
            writing: None,
            storing: None,
            executed: VecDeque::new(),
            outbox: Outbox::default(),
            failure: None,
        }
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
    /// The executor, to be looked at.
    #[must_use]
    pub fn execution(&self) -> &Execution {
        &self.execution
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

    /// A frame of another replica arrives.
    pub fn peer_frame(&mut self, now: Time, from: ReplicaId, frame: &[u8]) {
        // What the border refuses is counted there.
        let _refused = self.host.peer_frame(now, from, frame);
    }

    /// A frame of a client arrives.
    pub fn client_frame(&mut self, key: &quorate_protocol::types::PublicKey, frame: &[u8]) {
        let _refused = self.host.client_frame(key, frame, &mut self.outbox);
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Time) {
        self.host.tick(now, &mut self.outbox);
    }

    /// A role has done what it was doing.
    ///
    /// # Panics
    /// If it was doing nothing.
    pub fn done(&mut self, now: Time, role: Role) {
        match role {
            Role::Verifier => {
                let verdicts = self.verifying.take().expect("it was verifying");
                self.host.verified(now, verdicts, &mut self.outbox);
            }
            Role::Journal => {
                let (position, _) = self.writing.take().expect("it was writing");
                self.host.durable(now, position, &mut self.outbox);
            }
            Role::Executor => {
                let done = self.executing.take().expect("it was executing");
                self.host.executed(now, done, &mut self.outbox);
            }
            Role::Store => {
                let (seq, root) = self.storing.take().expect("it was storing");
                self.host.stored(now, seq, root, &mut self.outbox);
            }
        }
    }

    /// The group that is being written: durable once its role is done.
    #[must_use]
    pub fn group(&self) -> Option<&Group> {
        self.writing.as_ref().map(|(_, group)| group)
    }

    /// The state that is being stored.
    #[must_use]
    pub fn storing(&self) -> Option<(Seq, Digest)> {
        self.storing
    }

    /// Gives work to the roles that have none; says which began, and how long they will take.
    pub fn begin(&mut self, costs: Costs, rng: &mut Rng) -> Vec<(Role, u64)> {
        let mut begun = Vec::new();
        if self.verifying.is_none() && self.host.border().ready() > 0 {
            let unverified = self.host.take_unverified();
            self.verifying = Some(self.verifier.verify(unverified));
            begun.push((Role::Verifier, rng.below(costs.verify_us + 1)));
        }
        if self.executing.is_none() {
            let tasks = self.host.take_tasks();
            if !tasks.is_empty() {
                self.executing = Some(tasks.into_iter().map(|task| self.execute(task)).collect());
                begun.push((Role::Executor, rng.below(costs.execute_us + 1)));
            }
        }
        if self.writing.is_none()
            && let Some(group) = self.host.take_group()
        {
            match self.writer.write(&group, true) {
                Ok(position) => {
                    self.writing = Some((position, group));
                    begun.push((Role::Journal, rng.below(costs.write_us + 1)));
                }
                Err(error) => self.failure = Some(error.to_string()),
            }
        }
        if self.storing.is_none()
            && let Some(state) = self.host.take_state()
        {
            let pointer = SnapshotPointer { seq: state.seq, root: state.root };
            match self.writer.store_snapshot(pointer, &state.snapshot) {
                Ok(()) => {
                    self.storing = Some((state.seq, state.root));
                    begun.push((Role::Store, rng.below(costs.store_us + 1)));
                }
                Err(error) => self.failure = Some(error.to_string()),
            }
        }
        begun
    }

    fn execute(&mut self, task: Task) -> Done {
        let slot = match &task {
            Task::Execute { seq, body, .. } => Some((*seq, body.clone())),
            Task::Screen(_) => None,
        };
        let done = self.execution.run(task);
        if let Some((seq, body)) = slot {
            let history = self.execution.history(seq).unwrap_or(Digest::ZERO);
            self.executed.push_back(ExecutedSlot { seq, body, history });
        }
        done
    }

    /// Slots executed since this was last asked.
    pub fn take_executed(&mut self) -> VecDeque<ExecutedSlot> {
        std::mem::take(&mut self.executed)
    }

    /// Alarms raised since this was last asked.
    pub fn take_alarms(&mut self) -> Vec<quorate_protocol::process::Alarm> {
        self.host.take_alarms()
    }

    /// What it sent since this was last asked. The one outbound seam: whoever makes a replica lie in its frames or
    /// its replies stands here.
    pub fn take_sent(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.outbox.sent)
    }
}
