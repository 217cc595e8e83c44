//! A test kit: an application of yours under a swarm of faults, in a few lines.
//!
//! Every seed is a cluster of its own in virtual time: the real replicas and clients, with links that lose, delay and
//! repeat, crashes, restarts, power cuts, rotten disks and wrong clocks. Each world is checked for what replication
//! promises, and your application for what it must do for that: the same for the same commands, and again after its
//! state was written down and read. What differs is named: the request, who did what with it, and the keys. So is the
//! request at which your application panics, with the line. Some replicas lie, and [`Swarm::lying`] says how.
//!
//! ```
//! use quorate::simulation::{self, Rng};
//! use quorate::{Application, Context};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Default, Serialize, Deserialize)]
//! struct Counter(i64);
//!
//! impl Application for Counter {
//!     type Command = i64;
//!     type Reply = i64;
//!
//!     fn apply(&mut self, _context: &Context, amount: i64) -> i64 {
//!         self.0 = self.0.wrapping_add(amount);
//!         self.0
//!     }
//! }
//!
//! // In a `#[test]` of yours:
//! let random = |rng: &mut Rng| i64::try_from(rng.below(100)).unwrap_or(0);
//! simulation::swarm(Counter::default, random).seeds(0..3).run();
//! ```
//!
//! Most of the time goes into the cluster, not into your application, and a debug build of it is about ten times slower
//! than an optimised one. Let Cargo optimise what you depend on, and nothing of your own, in your workspace's
//! `Cargo.toml`; it is compiled once:
//!
//! ```toml
//! [profile.dev.package."*"]
//! opt-level = 3
//! ```
//!
//! A state that lives in a [`Map`](crate::Map) is tried in the same way; its keys are what a failure names.
//!
//! ```
//! use quorate::simulation::{self, Rng};
//! use quorate::{Application, ApplicationError, Context, Map, Snapshot};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Debug, Serialize, Deserialize)]
//! enum Command {
//!     Put { key: String, value: String },
//!     Get { key: String },
//! }
//!
//! #[derive(Default)]
//! struct Store {
//!     entries: Map,
//! }
//!
//! impl Snapshot for Store {
//!     // What is saved is the map itself, whatever was saved before.
//!     const SAVES_ANEW: bool = true;
//!
//!     fn save(&mut self, map: &mut Map) -> Result<(), ApplicationError> {
//!         self.entries.save(map)
//!     }
//!
//!     fn load(map: &Map) -> Result<Self, ApplicationError> {
//!         Ok(Self { entries: map.clone() })
//!     }
//! }
//!
//! impl Application for Store {
//!     type Command = Command;
//!     /// The value, or why it was not stored.
//!     type Reply = Result<Option<String>, String>;
//!
//!     fn apply(&mut self, _context: &Context, command: Command) -> Self::Reply {
//!         match command {
//!             Command::Get { key } => {
//!                 let value = self.entries.get(key.as_bytes());
//!                 Ok(value.map(|value| String::from_utf8_lossy(value).into_owned()))
//!             }
//!             Command::Put { key, value } => {
//!                 // A full map refuses, on all replicas alike.
//!                 let stored = self.entries.insert(key.as_bytes(), value.as_bytes());
//!                 stored.map(|_| None).map_err(|full| full.to_string())
//!             }
//!         }
//!     }
//! }
//!
//! let random = |rng: &mut Rng| {
//!     let key = format!("key-{}", rng.below(20));
//!     if rng.below(2) == 0 { Command::Get { key } } else { Command::Put { key, value: "x".repeat(100) } }
//! };
//! simulation::swarm(Store::default, random).seeds(0..3).run();
//! ```

mod panicked;

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use quorate_host::byzantine::Sin;
use quorate_protocol::application::{Application, RejectedCommand, StateMachine, machine};
use quorate_protocol::codec;
use quorate_protocol::types::ReplicaId;
use quorate_sim::app::Service;
use quorate_sim::check::Violation;
use quorate_sim::scenario::{Outcome, Scenario, message_of};
use quorate_sim::shrink::{Budget, schedule, shrink};
use quorate_sim::witness::{Asked, Deed, Difference, Group, Who, Witness};

pub use panicked::Panicked;
pub use quorate_sim::rng::Rng;

/// Seeds that are run unless told otherwise.
const SEEDS: Range<u64> = 0..30;

/// Runs that a failing seed is made smaller with.
const SHRINK_RUNS_MAX: u64 = 150;

type Describe = Arc<dyn Fn(&[u8]) -> String + Send + Sync>;
type NewMachine = Arc<dyn Fn() -> Box<dyn StateMachine> + Send + Sync>;
type MakeCommand = Arc<dyn Fn(&mut Rng) -> Vec<u8> + Send + Sync>;

/// An application, what is asked of it, and in how many worlds.
pub struct Swarm {
    machine: NewMachine,
    command: MakeCommand,
    show_command: Describe,
    show_reply: Describe,
    seeds: Range<u64>,
    lies: Option<Vec<Sin>>,
}

/// A swarm for an application that `new` makes in its first state, and of which clients ask what `command` makes up.
#[must_use]
pub fn swarm<A>(
    new: impl Fn() -> A + Send + Sync + 'static,
    command: impl Fn(&mut Rng) -> A::Command + Send + Sync + 'static,
) -> Swarm
where
    A: Application,
    A::Command: fmt::Debug,
    A::Reply: fmt::Debug,
{
    let encoded = move |rng: &mut Rng| {
        codec::encode_serde(&command(rng))
            .expect("commands are of types that serde describes with a known length")
    };
    Swarm {
        machine: Arc::new(move || machine(new())),
        command: Arc::new(encoded),
        show_command: Arc::new(shown::<A::Command>),
        show_reply: Arc::new(shown::<A::Reply>),
        seeds: SEEDS,
        lies: None,
    }
}

fn shown<T: serde::de::DeserializeOwned + fmt::Debug>(bytes: &[u8]) -> String {
    codec::decode_serde::<T>(bytes)
        .map_or_else(|_| bytes.escape_ascii().to_string(), |value| format!("{value:?}"))
}

/// What a swarm did to an application that stood it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Summary {
    /// Worlds.
    pub worlds: u64,
    /// Commands that the application executed, each counted once.
    pub commands: u64,
    /// Answers that clients accepted.
    pub accepted: u64,
    /// Processes that were started again.
    pub restarts: u64,
    /// States that replicas fetched from others.
    pub transfers: u64,
    /// The highest view that any world reached.
    pub view: u64,
    /// Lies that replicas told.
    pub lies: u64,
}

/// Why an application did not stand it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// One command did not do the same everywhere.
    #[error("seed {seed}: the application is not deterministic\n{named}")]
    NonDeterministic {
        /// The world.
        seed: u64,
        /// The request, who did what with it, and the keys in which their states differ.
        named: Box<Named>,
    },
    /// The application panicked. On machines of their own all replicas would stop there, again after each restart.
    #[error("seed {seed}: {panicked}")]
    Panicked {
        /// The world.
        seed: u64,
        /// The line, what it says, and the request.
        panicked: Box<Panicked>,
    },
    /// The cluster did what it must not. That is a fault of this library.
    #[error("seed {seed}: {violation}\n{schedule}")]
    Violated {
        /// The world.
        seed: u64,
        /// What is wrong.
        violation: Box<Violation>,
        /// The smallest world found in which it is, a line for each happening.
        schedule: String,
    },
}

/// A command that did not do the same everywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Named {
    /// The client that asked, its number for it, and the slot in which it was ordered.
    pub request: String,
    /// The command, as `Debug` shows it.
    pub command: String,
    /// Who executed it and what came of it, the largest group first. The state is shown by the start of its digest.
    pub outcomes: Vec<Made>,
    /// Keys in which the first two states differ; those of a state that serde writes are its pieces of 4 KiB, by number.
    pub keys: Vec<String>,
}

/// What some did with a command, all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Made {
    /// Replicas, the reference execution beside the cluster, or the copy that was restored from a snapshot.
    pub who: Vec<String>,
    /// The reply, as `Debug` shows it.
    pub reply: String,
    /// The state afterwards.
    pub state: String,
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {}: {}", self.request, self.command)?;
        for Made { who, reply, state } in &self.outcomes {
            writeln!(f, "  {}: replied {reply}, {state}", who.join(", "))?;
        }
        if !self.keys.is_empty() {
            writeln!(f, "  their states differ in {}", self.keys.join(", "))?;
        }
        write!(
            f,
            "  a command may depend on nothing but the state and its context: no order of a HashMap, no clock, no \
             randomness, nothing static; and all of the state must be in the snapshot"
        )
    }
}

impl Swarm {
    /// The worlds to run; the first 30 unless told otherwise. A failure names its seed: run `seed..seed + 1` again.
    #[must_use]
    pub fn seeds(self, seeds: Range<u64>) -> Self {
        Self { seeds, ..self }
    }

    /// Lets one replica of each world behave like this, as `quorate testbed --byzantine` has it, such as `equivocate`;
    /// otherwise some worlds have liars of any kind. A world whose seed takes as many replicas as it tolerates has none.
    ///
    /// # Panics
    /// If there is no such behaviour; it says which there are.
    #[must_use]
    #[track_caller]
    pub fn lying(self, behaviour: &str) -> Self {
        match behaviour.parse() {
            Ok(sin) => Self { lies: Some(vec![sin]), ..self },
            Err(error) => panic!("{error}"),
        }
    }

    /// Runs all worlds.
    ///
    /// # Panics
    /// At the first one that goes wrong, with all that is known about it; the place is where this was called.
    #[track_caller]
    pub fn run(&self) {
        if let Err(failure) = self.check() {
            panic!("{failure}");
        }
    }

    /// Runs all worlds.
    ///
    /// # Errors
    /// [`Failure`] of the first one that goes wrong.
    pub fn check(&self) -> Result<Summary, Failure> {
        let mut summary = Summary::default();
        for seed in self.seeds.clone() {
            let witness = Witness::default();
            let scenario = self.watched_scenario(seed, &witness);
            // Nobody looks at the world that a panic leaves.
            let outcome = catch_unwind(AssertUnwindSafe(|| scenario.run()));
            // What follows from non-determinism is no news: replicas stop, states differ, answers are wrong.
            if let Some(difference) = witness.difference() {
                let named = Box::new(self.name(&difference));
                return Err(Failure::NonDeterministic { seed, named });
            }
            match outcome {
                Ok(Ok(outcome)) => summary.add(&witness, &outcome),
                Ok(Err(violation)) => return Err(self.explain(seed, violation)),
                Err(panic) => return Err(self.panicked(seed, &witness, panic)),
            }
        }
        Ok(summary)
    }

    /// The world of a seed, in which nobody is watched.
    fn scenario(&self, seed: u64) -> Scenario {
        match &self.lies {
            Some(sins) => Scenario::lying(seed, self.bare(), sins),
            None => Scenario::with(seed, self.bare()),
        }
    }

    /// The same, in which a witness watches the application.
    fn watched_scenario(&self, seed: u64, witness: &Witness) -> Scenario {
        let mut scenario = self.scenario(seed);
        let liars = scenario.setting.liars.keys().copied().collect();
        scenario.setting.service = self.watched(witness, liars);
        scenario
    }

    /// The application with somebody who watches every machine of one world, and compares all but those of liars: what they
    /// compute may be a lie, and is no fault of the application.
    fn watched(&self, witness: &Witness, liars: BTreeSet<ReplicaId>) -> Service {
        let (make, witness, command) =
            (Arc::clone(&self.machine), witness.clone(), Arc::clone(&self.command));
        let machine = move |replica: Option<ReplicaId>| match replica {
            Some(id) if liars.contains(&id) => witness.attend(replica, make()),
            _ => witness.watch(replica, make(), || make()),
        };
        Service::of_each(machine, move |rng| command(rng))
    }

    fn bare(&self) -> Service {
        let (make, command) = (Arc::clone(&self.machine), Arc::clone(&self.command));
        Service::new(move || make(), move |rng| command(rng))
    }

    /// Every run has a witness of its own: what two worlds do under one place is not the same.
    fn explain(&self, seed: u64, violation: Violation) -> Failure {
        let failing = self.scenario(seed);
        let budget = Budget { runs_max: SHRINK_RUNS_MAX, go_on: &|| true };
        let schedule = match shrink(&failing, &budget, Scenario::run) {
            Some(shrunk) => shrunk.to_string(),
            None => schedule(&failing).join("\n"),
        };
        Failure::Violated { seed, violation: Box::new(violation), schedule }
    }

    /// What a panic of the application was about. Any other, such as one of whoever makes up commands, goes on.
    fn panicked(&self, seed: u64, witness: &Witness, panic: Box<dyn Any + Send>) -> Failure {
        let Some((who, deed)) = witness.doing() else { resume_unwind(panic) };
        let again = || drop(self.watched_scenario(seed, &Witness::default()).run());
        let (request, command) = match &deed {
            Deed::Execute(asked) => (request(asked), Some(&asked.command)),
            Deed::Query(command) => ("a read without order".to_owned(), Some(command)),
            Deed::Save(Some(asked)) => {
                (format!("writing its state down after {}", request(asked)), Some(&asked.command))
            }
            Deed::Save(None) => ("writing its state down".to_owned(), None),
            Deed::Load => ("taking up a state that was written down".to_owned(), None),
        };
        let panicked = Panicked {
            place: panicked::place_of(again),
            message: message_of(panic.as_ref()),
            request,
            command: command.map(|command| (self.show_command)(command)),
            who: who.to_string(),
        };
        Failure::Panicked { seed, panicked: Box::new(panicked) }
    }

    fn name(&self, difference: &Difference) -> Named {
        let asked = &difference.asked;
        let made = |group: &Group| {
            let reply = match &group.reply {
                Ok(reply) => (self.show_reply)(reply),
                Err(RejectedCommand) => "nothing, it did not understand the command".to_owned(),
            };
            let state = match &group.failure {
                Some(failure) => format!("and its state cannot be written down: {failure}"),
                None => {
                    let digits: String =
                        group.root().0[..4].iter().map(|byte| format!("{byte:02x}")).collect();
                    format!("state {digits}")
                }
            };
            Made { who: group.who.iter().map(Who::to_string).collect(), reply, state }
        };
        let key = |key: &Vec<u8>| match <[u8; 4]>::try_from(key.as_slice()) {
            Ok(number) if number[0] == 0 => format!("piece {}", u32::from_be_bytes(number)),
            _ => format!("key \"{}\"", key.escape_ascii()),
        };
        Named {
            request: request(asked),
            command: (self.show_command)(&asked.command),
            outcomes: difference.groups.iter().map(made).collect(),
            keys: difference.keys.iter().map(key).collect(),
        }
    }
}

/// A request, and where it was ordered.
fn request(asked: &Asked) -> String {
    format!("request {} of client {:?} in slot {}", asked.number, asked.client, asked.seq)
}

impl fmt::Debug for Swarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Swarm").field("seeds", &self.seeds).finish_non_exhaustive()
    }
}

impl Summary {
    fn add(&mut self, witness: &Witness, outcome: &Outcome) {
        self.worlds += 1;
        self.commands += witness.executed() as u64;
        self.accepted += outcome.accepted;
        self.restarts += outcome.injected.restarts;
        self.transfers += outcome.transfers;
        self.view = self.view.max(outcome.view);
        self.lies += outcome.lies_told();
    }
}
