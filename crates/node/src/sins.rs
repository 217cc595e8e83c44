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
    /// Whether it may be told other ones while it runs.
    #[cfg(feature = "byzantine")]
    switchable: bool,
    /// How often it told those that it does not tell any more.
    #[cfg(feature = "byzantine")]
    past: Lies,
}

#[cfg(feature = "byzantine")]
impl Sins {
    /// These, with the chance that a seed gives. Liars with one seed collude where a lie is one that can be colluded in.
    #[must_use]
    pub fn new(list: Vec<Sin>, seed: u64) -> Self {
        Self { list, seed, ..Self::default() }
    }

    /// Whether the replica is an honest one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The machine of whoever has these lies to tell, which is another one if one of them is about execution.
    pub(crate) fn corrupt_machine(&mut self, machine: Box<dyn StateMachine>) -> Box<dyn StateMachine> {
        let corrupt =
            if self.switchable { byzantine::switchable_machine } else { byzantine::corrupt_machine };
        let (machine, executions) = corrupt(machine, &self.list, self.seed);
        self.executions = executions;
        machine
    }

    /// May be told other lies while it runs. A cluster that is not for trials refuses that all the same.
    #[must_use]
    pub fn switchable(self) -> Self {
        Self { switchable: true, ..self }
    }

    /// From now on a running host tells these instead of those that it told before, and none if there are none.
    pub(crate) fn switch(&mut self, to: Sins, host: &mut Host, now: Time) {
        self.executions.switch(&to.list);
        // Who never lied and is not to lie stays as it is.
        if !self.list.is_empty() || !to.list.is_empty() {
            let (context, id) = (host.replica().context().clone(), host.replica().id());
            for (name, told) in host.turn(Liar::new(&to.list, to.seed, &context, id, now)) {
                *self.past.entry(name).or_default() += told;
            }
        }
        self.list = to.list;
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
        for (name, told) in &self.past {
            *lies.entry(*name).or_default() += told;
        }
        self.executions.add_to(&mut lies);
        // A machine that may be told to lie and never was is no liar's.
        lies.retain(|_, told| *told > 0);
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

    /// There is nothing to switch on.
    #[must_use]
    pub fn switchable(self) -> Self {
        self
    }

    pub(crate) fn switch(&mut self, _to: Sins, _host: &mut Host, _now: Time) {}

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
