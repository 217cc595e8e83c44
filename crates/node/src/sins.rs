//! A replica that lies on purpose: what its node is told of that, and what it tells its operator.
//!
//! This exists for trials. A node refuses it unless its cluster file says `testing = true`, which is part of the cluster's
//! id; built without the feature `byzantine`, nothing here can hold a lie.

use std::collections::BTreeMap;

#[cfg(feature = "byzantine")]
use quorate_host::byzantine::{self, Liar, Lies, Sin, WrongExecutions};
use quorate_host::host::Host;
use quorate_protocol::application::StateMachine;
use quorate_protocol::parameters::Context;
use quorate_protocol::types::Time;

/// The lies that a replica is to tell; none, unless somebody who tests says otherwise.
#[derive(Debug, Clone, Default)]
pub struct Sins {
    #[cfg(feature = "byzantine")]
    list: Vec<Sin>,
    #[cfg(feature = "byzantine")]
    seed: u64,
    #[cfg(feature = "byzantine")]
    executions: WrongExecutions,
}

#[cfg(feature = "byzantine")]
impl Sins {
    /// These, with the chance that a seed gives. Liars with one seed collude where a lie is one that can be colluded in.
    #[must_use]
    pub fn new(list: Vec<Sin>, seed: u64) -> Self {
        Self { list, seed, executions: WrongExecutions::default() }
    }

    /// Whether the replica is an honest one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The machine of whoever has these lies to tell, which is another one if one of them is about execution.
    pub(crate) fn corrupt_machine(&mut self, machine: Box<dyn StateMachine>) -> Box<dyn StateMachine> {
        let (machine, executions) = byzantine::corrupt_machine(machine, &self.list, self.seed);
        self.executions = executions;
        machine
    }

    /// Makes a host a liar's; leaves it as it is if there are no lies to tell.
    pub(crate) fn corrupt(&self, host: &mut Host, context: &Context, now: Time) {
        if !self.list.is_empty() {
            let id = host.replica().id();
            host.corrupt(Liar::new(&self.list, self.seed, context, id, now));
        }
    }

    /// How often each of them was told so far, those never told among them.
    pub(crate) fn told(&self, host: &Host) -> BTreeMap<String, u64> {
        let mut lies: Lies = host.lies();
        self.executions.add_to(&mut lies);
        let asked = self.list.iter().map(|sin| (sin.name().to_owned(), 0));
        let mut told: BTreeMap<String, u64> = asked.collect();
        told.extend(lies.into_iter().map(|(name, count)| (name.to_owned(), count)));
        told
    }
}

#[cfg(not(feature = "byzantine"))]
impl Sins {
    /// Whether the replica is an honest one: it always is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        true
    }

    pub(crate) fn corrupt_machine(&mut self, machine: Box<dyn StateMachine>) -> Box<dyn StateMachine> {
        machine
    }

    pub(crate) fn corrupt(&self, _host: &mut Host, _context: &Context, _now: Time) {}

    pub(crate) fn told(&self, _host: &Host) -> BTreeMap<String, u64> {
        BTreeMap::new()
    }
}

impl std::fmt::Display for Sins {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        #[cfg(feature = "byzantine")]
        for (index, sin) in self.list.iter().enumerate() {
            let joint = if index > 0 { "+" } else { "" };
            write!(f, "{joint}{sin}")?;
        }
        #[cfg(not(feature = "byzantine"))]
        f.write_str("none")?;
        Ok(())
    }
}

/// What each of these lies needs to be told, and how to let that happen; nothing in a program without lies.
#[cfg(feature = "byzantine")]
#[must_use]
pub fn advice<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    byzantine::advice(names)
}

/// A program without lies has no advice for liars.
#[cfg(not(feature = "byzantine"))]
#[must_use]
pub fn advice<'a>(_names: impl IntoIterator<Item = &'a str>) -> String {
    String::new()
}

/// Lies for an operator to read: `equivocate 12, mute 0`.
#[must_use]
pub fn in_words(told: &BTreeMap<String, u64>) -> String {
    told.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}
