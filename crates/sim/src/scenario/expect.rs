//! What is expected of a run: that everything holds, or that something does not, and what must have happened.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Outcome;
use crate::check::Violation;
use crate::verdict::{Judgement, Verdict};

/// What a run is expected to show. Everything holds, every liar lies, and nothing is counted, unless it is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// Whether the run is safe.
    #[serde(skip_serializing_if = "is_true")]
    pub safe: bool,
    /// Whether it is live.
    #[serde(skip_serializing_if = "is_true")]
    pub live: bool,
    /// Whether what clients saw has an order.
    #[serde(skip_serializing_if = "is_true")]
    pub linearizable: bool,
    /// Whether memory stays bounded.
    #[serde(skip_serializing_if = "is_true")]
    pub bounded: bool,
    /// Whether every accusation is just.
    #[serde(skip_serializing_if = "is_true")]
    pub accountable: bool,
    /// Whether every liar lies at least once.
    #[serde(skip_serializing_if = "is_true")]
    pub lies: bool,
    /// Exactly these replicas are proven to have lied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accused: Option<Vec<u16>>,
    /// So often something happens at least.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub at_least: BTreeMap<Count, u64>,
    /// So often something happens at most.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub at_most: BTreeMap<Count, u64>,
}

fn is_true(value: &bool) -> bool {
    *value
}

impl Default for Expect {
    fn default() -> Self {
        Self {
            safe: true,
            live: true,
            linearizable: true,
            bounded: true,
            accountable: true,
            lies: true,
            accused: None,
            at_least: BTreeMap::new(),
            at_most: BTreeMap::new(),
        }
    }
}

/// Something that is counted in every run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Count {
    /// The highest view.
    Views,
    /// The highest slot executed.
    Executed,
    /// Answers that clients accepted.
    Accepted,
    /// States that replicas fetched.
    Transfers,
    /// Lies told.
    Lies,
    /// Processes that died for good.
    Crashes,
    /// Processes that died and were started again.
    Outages,
    /// Of these, those that forgot unsynced writes.
    PowerCuts,
    /// Of these, those that had unsynced writes.
    Unsynced,
    /// Disks that were damaged.
    Damaged,
    /// Replicas that were started again.
    Restarts,
    /// Of these, those that came back bound by what they may have forgotten.
    Boxed,
    /// Replicas that did not start from a damaged disk.
    Refused,
    /// Clocks that went wrong.
    Clocks,
    /// Processes that slept.
    Pauses,
    /// Milliseconds from healing to the end.
    RecoveryMs,
}

impl Count {
    /// How often it happened.
    #[must_use]
    pub fn of(self, outcome: &Outcome) -> u64 {
        let injected = &outcome.injected;
        match self {
            Self::Views => outcome.view,
            Self::Executed => outcome.executed,
            Self::Accepted => outcome.accepted,
            Self::Transfers => outcome.transfers,
            Self::Lies => outcome.lies_told(),
            Self::Crashes => injected.crashes,
            Self::Outages => injected.outages,
            Self::PowerCuts => injected.power_cuts,
            Self::Unsynced => injected.unsynced,
            Self::Damaged => injected.damaged,
            Self::Restarts => injected.restarts,
            Self::Boxed => injected.boxed,
            Self::Refused => injected.refused,
            Self::Clocks => injected.clocks,
            Self::Pauses => injected.pauses,
            Self::RecoveryMs => outcome.recovery_us / 1_000,
        }
    }
}

/// How a run ended: what happened in it, and what it showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What happened, up to the violation if there was one.
    pub outcome: Outcome,
    /// What ended it, if something went wrong.
    pub violation: Option<Violation>,
    /// What it showed.
    pub verdict: Verdict,
    /// Who is proven to have lied.
    pub accused: Vec<u16>,
}

/// Something that was expected and did not come, or came and was not expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Surprise {
    /// A judgement is another one than expected.
    #[error("{name} was expected to be {}, but: {judgement}", if *.expected { "held" } else { "violated" })]
    Judgement {
        /// Which.
        name: &'static str,
        /// Whether it was to hold.
        expected: bool,
        /// What it is.
        judgement: Judgement,
    },
    /// A replica told no lie although it was to lie.
    #[error("{0}")]
    Honest(Violation),
    /// Others are accused than those who were to be.
    #[error("accused: expected {expected:?}, but it is {found:?}")]
    Accused {
        /// Who was to be.
        expected: Vec<u16>,
        /// Who is.
        found: Vec<u16>,
    },
    /// Something happened too seldom or too often.
    #[error("{count}: expected {bound} {limit}, but it is {found}")]
    Count {
        /// What.
        count: Count,
        /// Whether the limit is the least or the most.
        bound: &'static str,
        /// How often it was to happen.
        limit: u64,
        /// How often it did.
        found: u64,
    },
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl Expect {
    /// What is otherwise than expected; nothing if the run shows what it was to show.
    #[must_use]
    pub fn surprises(&self, run: &Run) -> Vec<Surprise> {
        let mut found = Vec::new();
        let expected = [self.safe, self.live, self.linearizable, self.bounded, self.accountable];
        for ((name, judgement), expected) in run.verdict.judgements().into_iter().zip(expected) {
            if judgement.violated() == expected {
                found.push(Surprise::Judgement { name, expected, judgement: judgement.clone() });
            }
        }
        if self.lies {
            let honest = run.outcome.lies.iter().filter(|(_, lies)| lies.values().sum::<u64>() == 0);
            found.extend(honest.map(|(id, _)| Surprise::Honest(Violation::NoLie { replica: *id })));
        }
        if let Some(expected) = &self.accused
            && *expected != run.accused
        {
            found.push(Surprise::Accused { expected: expected.clone(), found: run.accused.clone() });
        }
        let counted = |count: &Count| count.of(&run.outcome);
        for (count, limit) in &self.at_least {
            let (count, limit, times) = (*count, *limit, counted(count));
            if times < limit {
                found.push(Surprise::Count { count, bound: "at least", limit, found: times });
            }
        }
        for (count, limit) in &self.at_most {
            let (count, limit, times) = (*count, *limit, counted(count));
            if times > limit {
                found.push(Surprise::Count { count, bound: "at most", limit, found: times });
            }
        }
        found
    }
}
