//! The verdict on a run that is over: five sentences, each with its reason.
//!
//! *Safe*: nothing happened that agreement, integrity, validity and durability forbid. *Live*: once everything healed,
//! every request was answered in time. *Linearizable*: what clients saw has an order. *Bounded*: no replica kept more
//! than its configuration allows. *Accountable*: whoever was seen to lie is proven to lie, and nobody else is.

use std::fmt;

use quorate_protocol::client::Read;
use quorate_protocol::message::Outcome;
use serde::Serialize;

use crate::check::linear::{Finding, History, Operation, STEPS_MAX, check, operation_of_words};
use crate::check::{Violation, memory};
use crate::world::{Call, World};

/// Whether something that a run was to show was so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// It was.
    Held,
    /// It was not, and why.
    Violated(String),
    /// Nobody can say, and why.
    NotChecked(String),
}

impl Judgement {
    /// Whether it was so.
    #[must_use]
    pub fn held(&self) -> bool {
        *self == Self::Held
    }

    /// Whether it was not.
    #[must_use]
    pub fn violated(&self) -> bool {
        matches!(self, Self::Violated(_))
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held => f.write_str("held"),
            Self::Violated(why) => write!(f, "VIOLATED: {why}"),
            Self::NotChecked(why) => write!(f, "not checked: {why}"),
        }
    }
}

/// What a run showed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Agreement, integrity, validity, durability, and what correct replicas must not do.
    pub safe: Judgement,
    /// After everything healed, every request was answered within a bound.
    pub live: Judgement,
    /// What clients saw has an order that the real one does not contradict.
    pub linearizable: Judgement,
    /// What replicas kept follows from the configuration.
    pub bounded: Judgement,
    /// Every accusation is a proof, and names a liar.
    pub accountable: Judgement,
}

impl Verdict {
    /// The verdict on a world whose run is over; `ended` is the violation that ended it, if one did. What clients saw is
    /// judged where they asked the application [`Words`](crate::app::Words).
    #[must_use]
    pub fn of(world: &World, ended: Option<&Violation>) -> Self {
        Self::reading(world, ended, &words)
    }

    /// The same of another application, whose commands and replies `reader` understands.
    #[must_use]
    pub fn reading(world: &World, ended: Option<&Violation>, reader: &Reader) -> Self {
        let blame = ended.map(|violation| (touches(violation), violation.to_string()));
        let judge = |aspect: Aspect| match &blame {
            None => Judgement::Held,
            Some((touched, why)) if *touched == aspect => Judgement::Violated(why.clone()),
            Some(_) => Judgement::NotChecked("the run did not come to its end".to_owned()),
        };
        let (safe, live, mut bounded) = (judge(Aspect::Safe), judge(Aspect::Live), judge(Aspect::Bounded));
        if bounded.held() {
            bounded = kept(world);
        }
        let accountable = match judge(Aspect::Accountable) {
            Judgement::Violated(why) => Judgement::Violated(why),
            // What is in the folders can be looked at however the run ended.
            Judgement::Held | Judgement::NotChecked(_) => match world.check_accusations() {
                Ok(()) => Judgement::Held,
                Err(violation) => Judgement::Violated(violation.to_string()),
            },
        };
        // A run that ended early is safe as far as it went, if that is not why it ended.
        let safe = if safe.violated() || blame.is_none() {
            safe
        } else {
            Judgement::NotChecked("nothing unsafe happened before the run ended early".to_owned())
        };
        Self { safe, live, linearizable: ordered(world, reader), bounded, accountable }
    }

    /// Each judgement with its name.
    #[must_use]
    pub fn judgements(&self) -> [(&'static str, &Judgement); 5] {
        [
            ("safe", &self.safe),
            ("live", &self.live),
            ("linearizable", &self.linearizable),
            ("bounded", &self.bounded),
            ("accountable", &self.accountable),
        ]
    }

    /// Whether nothing was violated.
    #[must_use]
    pub fn is_good(&self) -> bool {
        !self.judgements().iter().any(|(_, judgement)| judgement.violated())
    }
}

/// How an application's command, with the time at which it was asked, and its reply, with the time at which it was
/// accepted, are one operation on one key; none if they are not.
pub type Reader = dyn Fn(&str, (u64, &[u8]), Option<(u64, &[u8])>) -> Option<Operation>;

fn words(client: &str, asked: (u64, &[u8]), answered: Option<(u64, &[u8])>) -> Option<Operation> {
    operation_of_words(client, asked, answered)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Aspect {
    Safe,
    Live,
    Bounded,
    Accountable,
}

/// What a violation is about.
fn touches(violation: &Violation) -> Aspect {
    match violation {
        Violation::NoProgress { .. } | Violation::Livelock(_) => Aspect::Live,
        Violation::Memory { .. } => Aspect::Bounded,
        Violation::FalseAlarm { .. } => Aspect::Accountable,
        _ => Aspect::Safe,
    }
}

/// I9 once more, of everybody, at the end; during a run it is looked at every few steps.
fn kept(world: &World) -> Judgement {
    let mut nodes = world.nodes().iter();
    let found = nodes.find_map(|node| memory(node.id(), &node.replica().footprint(), world.context()).err());
    found.map_or(Judgement::Held, |violation| Judgement::Violated(violation.to_string()))
}

/// Whether what clients saw has an order.
fn ordered(world: &World, reader: &Reader) -> Judgement {
    let unknown = |why: &str| Judgement::NotChecked(why.to_owned());
    let Some(calls) = world.calls() else { return unknown("more was asked than is kept") };
    let mut history = History::default();
    // What session and stale reads give need not have a place in one order for all.
    let promised = |call: &&Call| matches!(call.read, Read::Ordered | Read::Fast);
    for call in calls.iter().filter(promised) {
        let client = format!("client-{}", call.client + 1);
        let returned = match &call.returned {
            Some((at, Outcome::Done(reply))) => Some((at.0, &***reply)),
            // It may have executed, and what came of it is not known.
            None | Some((_, Outcome::NoSession)) => None,
            // It did nothing.
            Some(_) => continue,
        };
        match reader(&client, (call.invoked.0, &call.command), returned) {
            Some(operation) => history.0.push(operation),
            None => {
                return unknown("the clients ask something else than one key of a key-value store each time");
            }
        }
    }
    if history.0.is_empty() {
        return unknown("the clients asked nothing");
    }
    match check(&history, STEPS_MAX) {
        Finding::Linearizable => Judgement::Held,
        Finding::Violation(witness) => Judgement::Violated(witness.to_string()),
        undecided @ Finding::Undecided { .. } => Judgement::NotChecked(undecided.to_string()),
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, judgement)) in self.judgements().into_iter().enumerate() {
            let end = if index == 4 { "" } else { "\n" };
            write!(f, "{name:<13} {judgement}{end}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
