//! What is expected of a run: that everything holds, or that something does not, and what must have happened.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use quorate_protocol::accusation::Offence;
use quorate_protocol::types::ReplicaId;
use serde::{Deserialize, Serialize};

use super::Outcome;
use crate::check::Violation;
use crate::verdict::{Judgement, Verdict};
use crate::words::{first_line, replicas};

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
    /// Replicas that were asked to stop while they led a view, and handed it over.
    HandedOver,
    /// Milliseconds from healing to the end.
    RecoveryMs,
}

impl Count {
    /// What it is, in words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Views => "the highest view",
            Self::Executed => "the highest slot executed",
            Self::Accepted => "the number of answers that clients accepted",
            Self::Transfers => "the number of states fetched",
            Self::Lies => "the number of lies told",
            Self::Crashes => "the number of crashes for good",
            Self::Outages => "the number of crashes with a restart",
            Self::PowerCuts => "the number of power cuts",
            Self::Unsynced => "the number of crashes that lost unsynced writes",
            Self::Damaged => "the number of damaged disks",
            Self::Restarts => "the number of restarts",
            Self::Boxed => "the number of restarts bound by what may be forgotten",
            Self::Refused => "the number of starts that a damaged disk prevented",
            Self::Clocks => "the number of clocks that went wrong",
            Self::Pauses => "the number of processes that slept",
            Self::HandedOver => "the number of views handed over by replicas that were asked to stop",
            Self::RecoveryMs => "the time from healing to the end, in milliseconds,",
        }
    }

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
            Self::HandedOver => injected.handed_over,
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
    /// What each of them is proven to have done.
    pub proofs: BTreeMap<ReplicaId, BTreeSet<Offence>>,
}

/// Something that was expected and did not come, or came and was not expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Surprise {
    /// A judgement is another one than expected.
    #[error("{}", otherwise(name, *.expected, .judgement))]
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
    #[error("{} should be proven to have lied, and {}", replicas(.expected), proven(.found))]
    Accused {
        /// Who was to be.
        expected: Vec<u16>,
        /// Who is.
        found: Vec<u16>,
    },
    /// Something happened too seldom or too often.
    #[error("{} should be {bound} {limit}, and it is {found} (`{count}`)", .count.words())]
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

fn otherwise(name: &str, expected: bool, judgement: &Judgement) -> String {
    match (expected, judgement) {
        (true, Judgement::Violated(why)) => format!("it should be {name}, and it is not: {why}"),
        (true, judgement) => format!("it should be {name}: {judgement}"),
        (false, Judgement::Held) => format!("it should not be {name}, and it is"),
        (false, judgement) => format!("it should not be {name}: {judgement}"),
    }
}

/// `replicas 0 and 1 are`, `nobody is`.
fn proven(accused: &[u16]) -> String {
    let are = if accused.len() > 1 { "are" } else { "is" };
    format!("{} {are}", replicas(accused))
}

/// Something that was expected of a run, and whether it was so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What, and how it was.
    pub words: String,
    /// Whether it was as expected.
    pub met: bool,
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

impl Expect {
    /// All that is expected of a run, with what it was.
    #[must_use]
    pub fn findings(&self, run: &Run) -> Vec<Finding> {
        let surprises = self.surprises(run);
        let judged = |surprise: &Surprise| matches!(surprise, Surprise::Judgement { .. });
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        let expected = [self.safe, self.live, self.linearizable, self.bounded, self.accountable];
        for ((name, judgement), expected) in run.verdict.judgements().into_iter().zip(expected) {
            if judgement.violated() != expected {
                let list = if expected { &mut good } else { &mut bad };
                list.push(name);
            }
        }
        let mut met = Vec::new();
        if !good.is_empty() {
            met.push(format!("nothing was found against its being {}", good.join(", ")));
        }
        if !bad.is_empty() {
            met.push(format!("it is not {}", bad.join(", ")));
        }
        let honest = surprises.iter().any(|surprise| matches!(surprise, Surprise::Honest(_)));
        if self.lies && !run.outcome.lies.is_empty() && !honest {
            met.push("every liar lied".to_owned());
        }
        if let Some(expected) = self.accused.as_ref().filter(|expected| **expected == run.accused) {
            met.push(format!("{} proven to have lied, and nobody else", proven(expected)));
        }
        let bounds = [("at least", &self.at_least), ("at most", &self.at_most)];
        for (bound, (count, limit)) in
            bounds.iter().flat_map(|(bound, all)| all.iter().map(move |one| (*bound, one)))
        {
            let found = count.of(&run.outcome);
            if (bound == "at least" && found >= *limit) || (bound == "at most" && found <= *limit) {
                met.push(format!("{} is {bound} {limit}: it is {found}", count.words()));
            }
        }
        // A verdict that is not as it should be is told with all that is known about it; the rest fits in a line.
        let unmet = surprises.iter().map(|surprise| match judged(surprise) {
            true => first_line(&surprise.to_string()),
            false => surprise.to_string(),
        });
        let unmet = unmet.map(|words| Finding { words, met: false });
        unmet.chain(met.into_iter().map(|words| Finding { words, met: true })).collect()
    }

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
            found.extend(honest.map(|(id, lies)| {
                let advice = quorate_host::byzantine::advice(lies.keys().copied());
                Surprise::Honest(Violation::NoLie { replica: *id, advice })
            }));
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
