//! Watches an application on all replicas of a world at once: whether each command does the same everywhere, and
//! whether a state that is restored from its snapshot goes on as the one that it was taken of.
//!
//! After every command each machine's reply and state are held against those of all others. What differs first is what
//! somebody has to look at: the request, who did what with it, and the keys in which their states differ. And before
//! every call it is noted which one it is, so that a panic leaves what caused it.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use quorate_protocol::application::{ApplicationError, Context, RejectedCommand, StateMachine};
use quorate_protocol::map::Map;
use quorate_protocol::types::{ClientId, Digest, Number, ReplicaId, Seq, Session};

/// Keys that are named at most.
pub const KEYS_MAX: usize = 10;

/// Who executed something: a machine of a replica, in one of its lives, or that of the checkers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// A replica, in the so many-th life of its process, counted from 1.
    Replica(ReplicaId, u64),
    /// The one that executes the log beside the cluster.
    Reference,
    /// A copy that was restored from a snapshot just before the command.
    Restored,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replica(id, 1) => write!(f, "replica {id}"),
            Self::Replica(id, life) => write!(f, "replica {id} (restarted, life {life})"),
            Self::Reference => f.write_str("the reference execution"),
            Self::Restored => f.write_str("a copy restored from the snapshot before it"),
        }
    }
}

/// Where a command was ordered, and what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Whose.
    pub client: ClientId,
    /// Its number in its session.
    pub number: Number,
    /// The slot.
    pub seq: Seq,
    /// Its bytes.
    pub command: Vec<u8>,
}

/// What some machines made of a command, all the same.
#[derive(Debug, Clone)]
pub struct Group {
    /// Who.
    pub who: Vec<Who>,
    /// What they replied.
    pub reply: Result<Bytes, RejectedCommand>,
    /// Why their state could not be written down, if it could not.
    pub failure: Option<ApplicationError>,
    /// Their state afterwards.
    pub state: Map,
}

/// A command that did not do the same everywhere.
#[derive(Debug, Clone)]
pub struct Difference {
    /// The first such command in the order of execution.
    pub asked: Asked,
    /// Who made what of it: the largest group first. Only one if the state could not be written down at all.
    pub groups: Vec<Group>,
    /// Keys whose values differ between the first two states, at most [`KEYS_MAX`].
    pub keys: Vec<Vec<u8>>,
}

/// What a machine is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// To execute this.
    Execute(Asked),
    /// To answer this command without executing it.
    Query(Vec<u8>),
    /// To write its state down, after it has executed this, if it has executed anything.
    Save(Option<Asked>),
    /// To take up a state that was written down.
    Load,
}

/// A place in the order of execution, by client, session and number in a slot.
type Place = (Seq, ClientId, Session, Number);

#[derive(Debug)]
struct Executed {
    asked: Asked,
    /// How many were executed anywhere before this was first.
    order: u64,
    groups: Vec<Group>,
}

/// What all machines of a world did.
#[derive(Debug, Clone, Default)]
pub struct Witness {
    record: Arc<Mutex<Record>>,
}

#[derive(Debug, Default)]
struct Record {
    executed: BTreeMap<Place, Executed>,
    lives: BTreeMap<ReplicaId, u64>,
    /// Who is doing what just now.
    doing: Option<(Who, Deed)>,
}

impl Asked {
    fn of(context: &Context, command: &[u8]) -> Self {
        let (client, number, seq) = (context.client(), context.number(), context.seq());
        Self { client, number, seq, command: command.to_vec() }
    }
}

impl Witness {
    /// A machine that does what `machine` does, and is watched. `fresh` makes another one to restore snapshots into,
    /// which only the reference needs.
    #[must_use]
    pub fn watch(
        &self,
        replica: Option<ReplicaId>,
        machine: Box<dyn StateMachine>,
        fresh: impl FnOnce() -> Box<dyn StateMachine>,
    ) -> Box<dyn StateMachine> {
        let who = self.begin(replica);
        let restored = (who == Who::Reference).then(|| self.noted(Who::Restored, fresh()));
        let machine = self.noted(who, machine);
        Box::new(Watched { witness: self.clone(), who, machine, restored, state: Map::new(), changed: 0 })
    }

    /// A machine that does what `machine` does, and of which is known what it is doing when it panics. What comes of it is
    /// not held against anything.
    #[must_use]
    pub fn attend(
        &self,
        replica: Option<ReplicaId>,
        machine: Box<dyn StateMachine>,
    ) -> Box<dyn StateMachine> {
        self.noted(self.begin(replica), machine)
    }

    fn noted(&self, who: Who, machine: Box<dyn StateMachine>) -> Box<dyn StateMachine> {
        Box::new(Noted { witness: self.clone(), who, machine, last: None })
    }

    /// A machine begins, in the next life of a replica.
    fn begin(&self, replica: Option<ReplicaId>) -> Who {
        let Some(id) = replica else { return Who::Reference };
        let mut record = self.lock();
        let life = record.lives.entry(id).or_default();
        *life += 1;
        Who::Replica(id, *life)
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        // A panic elsewhere leaves the record whole: every entry is written at once.
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a machine do something. Should it panic, that stays noted.
    fn during<T>(&self, who: Who, deed: Deed, act: impl FnOnce() -> T) -> T {
        self.lock().doing = Some((who, deed));
        let done = act();
        self.lock().doing = None;
        done
    }

    /// Who was doing what when the world panicked; none if that was no application's doing.
    #[must_use]
    pub fn doing(&self) -> Option<(Who, Deed)> {
        self.lock().doing.clone()
    }

    fn note(&self, context: &Context, command: &[u8], seen: Group) {
        let mut record = self.lock();
        let place = (context.seq(), context.client(), context.session(), context.number());
        let order = record.executed.len() as u64;
        let first = || Executed { asked: Asked::of(context, command), order, groups: Vec::new() };
        let executed = record.executed.entry(place).or_insert_with(first);
        let root = seen.state.root();
        let same = |group: &&mut Group| {
            group.reply == seen.reply && group.failure == seen.failure && group.state.root() == root
        };
        match executed.groups.iter_mut().find(same) {
            Some(group) => group.who.extend(seen.who),
            None => executed.groups.push(seen),
        }
    }

    /// The first command that did not do the same everywhere, or whose state could not be written down.
    #[must_use]
    pub fn difference(&self) -> Option<Difference> {
        let record = self.lock();
        let wrong = |executed: &&Executed| {
            executed.groups.len() > 1 || executed.groups.iter().any(|group| group.failure.is_some())
        };
        let first = record.executed.values().filter(wrong).min_by_key(|executed| executed.order)?;
        let mut groups = first.groups.clone();
        groups.sort_by_key(|group| std::cmp::Reverse(group.who.len()));
        let keys = match groups.as_slice() {
            [one, other, ..] => differing(&one.state, &other.state),
            _ => Vec::new(),
        };
        Some(Difference { asked: first.asked.clone(), groups, keys })
    }

    /// Commands that were executed, each counted once.
    #[must_use]
    pub fn executed(&self) -> usize {
        self.lock().executed.len()
    }
}

/// The first keys in which two maps differ.
fn differing(one: &Map, other: &Map) -> Vec<Vec<u8>> {
    let entries = |map: &Map| -> BTreeMap<Vec<u8>, Vec<u8>> {
        let all = map.range(Bound::Unbounded, Bound::Unbounded);
        all.map(|(key, value)| (key.to_vec(), value.to_vec())).collect()
    };
    let (one, other) = (entries(one), entries(other));
    let mut keys: Vec<Vec<u8>> = one.keys().chain(other.keys()).cloned().collect();
    keys.sort();
    keys.dedup();
    keys.retain(|key| one.get(key) != other.get(key));
    keys.truncate(KEYS_MAX);
    keys
}

/// A machine of which is known what it is doing.
struct Noted {
    witness: Witness,
    who: Who,
    machine: Box<dyn StateMachine>,
    /// What it executed last.
    last: Option<Asked>,
}

impl StateMachine for Noted {
    fn apply(&mut self, context: &Context, command: &[u8]) -> Result<Bytes, RejectedCommand> {
        let Self { witness, who, machine, last } = self;
        let asked = Asked::of(context, command);
        *last = Some(asked.clone());
        witness.during(*who, Deed::Execute(asked), || machine.apply(context, command))
    }

    fn query(&self, command: &[u8]) -> Option<Bytes> {
        self.witness.during(self.who, Deed::Query(command.to_vec()), || self.machine.query(command))
    }

    fn save(&mut self, map: &mut Map) -> Result<(), ApplicationError> {
        let Self { witness, who, machine, last } = self;
        witness.during(*who, Deed::Save(last.clone()), || machine.save(map))
    }

    fn saves_anew(&self) -> bool {
        self.machine.saves_anew()
    }

    fn load(&mut self, map: &Map) -> Result<(), ApplicationError> {
        let Self { witness, who, machine, last } = self;
        *last = None;
        witness.during(*who, Deed::Load, || machine.load(map))
    }

    fn changed_bytes(&self) -> u64 {
        self.machine.changed_bytes()
    }

    fn release(&mut self) {
        self.machine.release();
    }
}

/// A machine whose every step is written down.
struct Watched {
    witness: Witness,
    who: Who,
    machine: Box<dyn StateMachine>,
    /// What snapshots are restored into before the next command.
    restored: Option<Box<dyn StateMachine>>,
    /// The state after the last command.
    state: Map,
    /// Bytes that changed since the last real save: looking at the state counts as a save to the machine.
    changed: u64,
}

impl Watched {
    fn look(machine: &mut Box<dyn StateMachine>, state: &mut Map) -> Result<(), ApplicationError> {
        if machine.saves_anew() {
            *state = Map::new();
        }
        machine.save(state)
    }

    fn see(&mut self, context: &Context, command: &[u8], reply: &Result<Bytes, RejectedCommand>) {
        self.changed = self.changed.saturating_add(self.machine.changed_bytes());
        let failure = Self::look(&mut self.machine, &mut self.state).err();
        let (who, state) = (vec![self.who], self.state.clone());
        self.witness.note(context, command, Group { who, reply: reply.clone(), failure, state });
    }

    /// The same command, on a copy that knows only what the snapshot says.
    fn try_restored(&mut self, context: &Context, command: &[u8]) {
        let Some(copy) = &mut self.restored else { return };
        // The first command finds no state yet: nobody restores the empty map.
        if self.state.is_empty() {
            return;
        }
        let mut state = self.state.clone();
        let loaded = copy.load(&state);
        let (reply, failure) = match loaded {
            Ok(()) => (copy.apply(context, command), Self::look(copy, &mut state).err()),
            Err(error) => (Err(RejectedCommand), Some(error)),
        };
        self.witness.note(context, command, Group { who: vec![Who::Restored], reply, failure, state });
    }
}

impl StateMachine for Watched {
    fn apply(&mut self, context: &Context, command: &[u8]) -> Result<Bytes, RejectedCommand> {
        self.try_restored(context, command);
        let reply = self.machine.apply(context, command);
        self.see(context, command, &reply);
        reply
    }

    fn query(&self, command: &[u8]) -> Option<Bytes> {
        self.machine.query(command)
    }

    fn save(&mut self, map: &mut Map) -> Result<(), ApplicationError> {
        self.changed = 0;
        self.machine.save(map)
    }

    fn saves_anew(&self) -> bool {
        self.machine.saves_anew()
    }

    fn load(&mut self, map: &Map) -> Result<(), ApplicationError> {
        (self.state, self.changed) = (map.clone(), 0);
        self.machine.load(map)
    }

    fn changed_bytes(&self) -> u64 {
        self.changed.saturating_add(self.machine.changed_bytes())
    }

    fn release(&mut self) {
        self.state = Map::new();
        self.machine.release();
    }
}

impl Group {
    /// The digest of their state.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.state.root()
    }
}
