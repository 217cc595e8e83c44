//! When a lie is told, and to whom.

use std::collections::BTreeSet;
use std::fmt;

use quorate_protocol::types::{ReplicaId, Seq, Time, View};

use super::chance::Chance;
use super::sin::Arguments;
use super::sin::SinError;

/// One in a million is the smallest chance there is.
const CERTAIN: u32 = 1_000_000;

/// Numbers from one on, up to but not including another, if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    from: u64,
    end: Option<u64>,
}

impl Span {
    const ALL: Self = Self { from: 0, end: None };

    fn contains(self, number: u64) -> bool {
        number >= self.from && self.end.is_none_or(|end| number < end)
    }

    fn parse(text: &str) -> Option<Self> {
        let span = match text.split_once("..") {
            None => {
                let from = text.parse().ok()?;
                Self { from, end: Some(u64::checked_add(from, 1)?) }
            }
            Some((from, end)) => Self {
                from: if from.is_empty() { 0 } else { from.parse().ok()? },
                end: if end.is_empty() { None } else { Some(end.parse().ok()?) },
            },
        };
        span.end.is_none_or(|end| end > span.from).then_some(span)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.from, self.end) {
            (from, Some(end)) if from.checked_add(1) == Some(end) => write!(f, "{from}"),
            (from, Some(end)) => write!(f, "{from}..{end}"),
            (from, None) => write!(f, "{from}.."),
        }
    }
}

/// When a lie is told, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trigger {
    view: Span,
    seq: Span,
    /// Microseconds since the replica began to lie.
    after_us: u64,
    until_us: Option<u64>,
    /// So many times in a million.
    probability: u32,
    /// To these alone; none: to everybody whom the lie is for.
    to: Option<BTreeSet<ReplicaId>>,
}

impl Default for Trigger {
    fn default() -> Self {
        let (view, seq) = (Span::ALL, Span::ALL);
        Self { view, seq, after_us: 0, until_us: None, probability: CERTAIN, to: None }
    }
}

/// What is being said when a lie might be told instead.
#[derive(Debug, Clone, Copy)]
pub(super) struct Occasion {
    /// Since the replica began to lie.
    pub(super) elapsed_us: u64,
    pub(super) view: View,
    /// None for what is about no slot.
    pub(super) seq: Option<Seq>,
}

impl Trigger {
    pub(super) fn take(arguments: &mut Arguments<'_>) -> Result<Self, SinError> {
        let all = Self::default();
        let span = "a number, or a range like `0..2`, `10..` or `..5`";
        let view = arguments.take("view", span, Span::parse)?.unwrap_or(all.view);
        let seq = arguments.take("seq", span, Span::parse)?.unwrap_or(all.seq);
        let (after_us, until_us) = (arguments.time("after")?, arguments.time("until")?);
        if let (Some(after), Some(until)) = (after_us, until_us)
            && until <= after
        {
            return Err(arguments.wrong("until", "a time after the one that `after=` says"));
        }
        let chance = "a number above 0 and up to 1, like `0.5`";
        let probability = arguments.take("probability", chance, probability)?.unwrap_or(CERTAIN);
        let to = arguments.take("to", "numbers of replicas with `+` between them, like `1+3`", replicas)?;
        Ok(Self { view, seq, after_us: after_us.unwrap_or(0), until_us, probability, to })
    }

    /// Whether it is its time.
    pub(super) fn is_time(&self, elapsed_us: u64) -> bool {
        elapsed_us >= self.after_us && self.until_us.is_none_or(|until| elapsed_us < until)
    }

    /// When its time begins, and when it ends, in microseconds since the replica began to lie.
    pub(super) fn times(&self, began: Time) -> (Time, Option<Time>) {
        (began.plus(self.after_us), self.until_us.map(|until| began.plus(until)))
    }

    /// Whether the lie is told now.
    pub(super) fn pulls(&self, occasion: Occasion, chance: &mut Chance) -> bool {
        let place = match occasion.seq {
            Some(seq) => self.seq.contains(seq.0),
            // What is about no slot is not about these either.
            None => self.seq == Span::ALL,
        };
        self.is_time(occasion.elapsed_us)
            && self.view.contains(occasion.view.0)
            && place
            && (self.probability >= CERTAIN || chance.below(CERTAIN.into()) < self.probability.into())
    }

    /// Whether the lie is for this replica.
    pub(super) fn is_for(&self, replica: ReplicaId) -> bool {
        self.to.as_ref().is_none_or(|to| to.contains(&replica))
    }

    /// Whether it says for whom the lie is.
    pub(super) fn names_targets(&self) -> bool {
        self.to.is_some()
    }

    /// What is not as by default, in words that can be read again.
    pub(super) fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        if self.view != Span::ALL {
            words.push(format!("view={}", self.view));
        }
        if self.seq != Span::ALL {
            words.push(format!("seq={}", self.seq));
        }
        if self.after_us > 0 {
            words.push(format!("after={}", time(self.after_us)));
        }
        words.extend(self.until_us.map(|until| format!("until={}", time(until))));
        if self.probability != CERTAIN {
            words.push(format!("probability={}", f64::from(self.probability) / f64::from(CERTAIN)));
        }
        if let Some(to) = &self.to {
            let to: Vec<String> = to.iter().map(ToString::to_string).collect();
            words.push(format!("to={}", to.join("+")));
        }
        words
    }
}

fn probability(text: &str) -> Option<u32> {
    let number: f64 = text.parse().ok()?;
    let parts = (number * f64::from(CERTAIN)).round();
    let possible = parts >= 1.0 && parts <= f64::from(CERTAIN);
    // In these bounds it is a whole number of 32 bits.
    possible.then_some(parts as u32)
}

fn replicas(text: &str) -> Option<BTreeSet<ReplicaId>> {
    text.split('+').map(|word| word.parse().ok().map(ReplicaId)).collect()
}

/// Microseconds in the largest unit that says them exactly.
pub(super) fn time(us: u64) -> String {
    match us {
        us if us.is_multiple_of(1_000_000) => format!("{}s", us / 1_000_000),
        us if us.is_multiple_of(1_000) => format!("{}ms", us / 1_000),
        us => format!("{us}us"),
    }
}

/// Microseconds of `3s`, `200ms`, `50us`.
pub(super) fn microseconds(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().ok()?;
    match &text[digits.len()..] {
        "us" => Some(number),
        "ms" => number.checked_mul(1_000),
        "s" => number.checked_mul(1_000_000),
        _ => None,
    }
}
