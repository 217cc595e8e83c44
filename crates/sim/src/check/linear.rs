//! Whether what clients saw has an order: one that does not contradict the times at which they asked and were answered,
//! and in which every answer is the one that a single copy would have given (Herlihy and Wing, TOPLAS '90).
//!
//! Keys are independent of each other, so each is looked at alone. The search is that of Wing and Gong, with Lowe's
//! memory of the places it has been at: it takes operations one after the other that may come next, goes back where none
//! fits, and enters no place twice. Two things make thousands of concurrent operations possible: a read that fits is taken
//! at once, for it can be in nobody's way, and of the others the one goes first that was answered first. The search has a
//! bound, for the question is hard in general; whoever reaches it is told that nobody knows.

mod history;
mod model;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub use history::{Action, Answer, History, HistoryError, Operation};
pub use model::{Value, of_words, operation_of_words};
use model::{after, changes, is_read, may_answer};

/// Steps that a search takes at most, unless told otherwise.
pub const STEPS_MAX: u64 = 500_000;

/// What a search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// There is an order.
    Linearizable,
    /// There is none.
    Violation(Box<Witness>),
    /// The search was given up.
    Undecided {
        /// The key that it was at.
        key: String,
        /// Steps it had taken.
        steps: u64,
    },
}

/// How far a search came that found no order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// The key.
    pub key: String,
    /// How many answered operations were put in an order, at best.
    pub fitting: usize,
    /// How many there are.
    pub answered: usize,
    /// What the key held then.
    pub value: Value,
    /// The answered operation that had to come next, and could not.
    pub stuck: Operation,
}

impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.value.as_deref().unwrap_or("nothing");
        write!(
            f,
            "key {:?}: {} of {} answers fit one order, after which it holds {value}; `{}` fits nowhere",
            self.key, self.fitting, self.answered, self.stuck
        )
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Linearizable => f.write_str("there is an order"),
            Self::Violation(witness) => write!(f, "{witness}"),
            Self::Undecided { key, steps } => {
                write!(
                    f,
                    "undecided: key {key:?} has so many concurrent operations that {steps} steps were not enough"
                )
            }
        }
    }
}

/// Looks for an order of all operations, each key alone; the first key that has none ends the search.
///
/// `steps_max` bounds the search of each key: its time, and the memory for places that it has been at.
#[must_use]
pub fn check(history: &History, steps_max: u64) -> Finding {
    let mut keys: BTreeMap<&str, Vec<&Operation>> = BTreeMap::new();
    for operation in &history.0 {
        keys.entry(&operation.key).or_default().push(operation);
    }
    let mut undecided = None;
    for (key, operations) in keys {
        match Search::new(operations, steps_max).run() {
            Found::Order => {}
            Found::None(witness) => return Finding::Violation(witness),
            Found::Nothing(steps) => {
                undecided.get_or_insert(Finding::Undecided { key: key.to_owned(), steps });
            }
        }
    }
    undecided.unwrap_or(Finding::Linearizable)
}

enum Found {
    Order,
    None(Box<Witness>),
    Nothing(u64),
}

/// Where a search has been: what was taken, and the value then.
type Place = (usize, Vec<u64>, Vec<u64>, Value);

/// Which of two lists an operation is in, and where.
#[derive(Debug, Clone, Copy)]
enum Pick {
    Answered(usize),
    Open(usize),
}

/// A choice that was made, and those that are left.
struct Choice {
    /// The value before it.
    value: Value,
    /// What was taken since the choice before: reads, and then what was chosen.
    taken: Vec<Pick>,
    /// What may be chosen instead, the next one last.
    left: Vec<Pick>,
}

/// The search for an order of the operations on one key.
struct Search<'a> {
    /// Operations with an answer, by when they were asked.
    answered: Vec<&'a Operation>,
    /// Those without one that may have happened, and changed something.
    open: Vec<&'a Operation>,
    done: Vec<bool>,
    open_done: Vec<bool>,
    /// Everything before it is taken.
    first: usize,
    left: usize,
    value: Value,
    been: BTreeSet<Place>,
    best: Option<Witness>,
    steps: u64,
    steps_max: u64,
}

impl<'a> Search<'a> {
    fn new(operations: Vec<&'a Operation>, steps_max: u64) -> Self {
        let (mut answered, mut open): (Vec<_>, Vec<_>) =
            operations.into_iter().partition(|operation| operation.returned.is_some());
        answered.sort_by_key(|operation| (operation.invoked, operation.returned.as_ref().map(|(at, _)| *at)));
        let shows = shown_by(&answered);
        open.retain(|operation| operation.action != Action::Get);
        // What a write without an answer wrote need not have been there, if nobody saw it.
        open.retain(|operation| match (&shows, &operation.action) {
            (Some(shown), Action::Put(value)) => shown.contains(value.as_str()),
            _ => true,
        });
        open.sort_by_key(|operation| operation.invoked);
        let (done, open_done) = (vec![false; answered.len()], vec![false; open.len()]);
        let left = answered.len();
        let (been, best) = (BTreeSet::new(), None);
        Self { answered, open, done, open_done, first: 0, left, value: None, been, best, steps: 0, steps_max }
    }

    fn run(mut self) -> Found {
        let mut choices: Vec<Choice> = Vec::new();
        loop {
            let mut taken = self.take_reads();
            if self.left == 0 {
                return Found::Order;
            }
            let mut left = if self.is_new_place() { self.candidates() } else { Vec::new() };
            self.note_best();
            // Back to the last choice that has another one left.
            while left.is_empty() {
                self.untake(&taken);
                let Some(choice) = choices.pop() else { return Found::None(self.witness()) };
                self.value = choice.value;
                (taken, left) = (choice.taken, choice.left);
                if let Some(chosen) = taken.pop() {
                    self.untake(&[chosen]);
                }
            }
            self.steps += 1;
            if self.steps > self.steps_max {
                return Found::Nothing(self.steps);
            }
            let value = self.value.clone();
            if let Some(pick) = left.pop() {
                self.value = after(&value, &self.operation(pick).action);
                self.take(pick);
                taken.push(pick);
            }
            choices.push(Choice { value, taken, left });
        }
    }

    fn operation(&self, pick: Pick) -> &'a Operation {
        match pick {
            Pick::Answered(at) => self.answered[at],
            Pick::Open(at) => self.open[at],
        }
    }

    fn take(&mut self, pick: Pick) {
        match pick {
            Pick::Answered(at) => {
                self.done[at] = true;
                self.left -= 1;
                while self.done.get(self.first) == Some(&true) {
                    self.first += 1;
                }
            }
            Pick::Open(at) => self.open_done[at] = true,
        }
    }

    fn untake(&mut self, picks: &[Pick]) {
        for pick in picks {
            match *pick {
                Pick::Answered(at) => {
                    self.done[at] = false;
                    self.left += 1;
                    self.first = self.first.min(at);
                }
                Pick::Open(at) => self.open_done[at] = false,
            }
        }
    }

    /// Answered operations of which any may come next: those asked before any of the others was answered.
    fn next(&self) -> Vec<usize> {
        let mut first_answer = u64::MAX;
        let mut next = Vec::new();
        for at in self.first..self.answered.len() {
            let operation = self.answered[at];
            if operation.invoked > first_answer {
                break;
            }
            if !self.done[at] {
                next.push(at);
                first_answer = first_answer.min(answered_at(operation));
            }
        }
        next.retain(|at| self.answered[*at].invoked <= first_answer);
        next
    }

    /// Takes every read that fits, whatever it was asked as: wherever it would be taken later, it can be taken now.
    fn take_reads(&mut self) -> Vec<Pick> {
        let mut taken = Vec::new();
        loop {
            let fits = |at: &usize| {
                let operation = self.answered[*at];
                is_read(operation) && may_answer(&self.value, operation)
            };
            let reads: Vec<usize> = self.next().into_iter().filter(fits).collect();
            if reads.is_empty() {
                return taken;
            }
            for at in reads {
                self.take(Pick::Answered(at));
                taken.push(Pick::Answered(at));
            }
        }
    }

    /// What fits and changes the value; the one that was answered first last, where it is chosen first.
    fn candidates(&self) -> Vec<Pick> {
        let mut next = self.next();
        let first_answer = next.iter().map(|at| answered_at(self.answered[*at])).min().unwrap_or(0);
        next.retain(|at| may_answer(&self.value, self.answered[*at]));
        // A write of what is there already is no read: it may be needed later.
        next.sort_by_key(|at| answered_at(self.answered[*at]));
        let asked = |at: &usize| !self.open_done[*at] && self.open[*at].invoked <= first_answer;
        let mut open: Vec<usize> = (0..self.open.len()).filter(asked).collect();
        open.retain(|at| changes(&self.value, &self.open[*at].action));
        // Of equal ones without an answer the first is as good as any.
        let mut seen: Vec<&Action> = Vec::new();
        open.retain(|at| {
            let action = &self.open[*at].action;
            let new = !seen.contains(&action);
            seen.push(action);
            new
        });
        let open = open.into_iter().rev().map(Pick::Open);
        open.chain(next.into_iter().rev().map(Pick::Answered)).collect()
    }

    fn is_new_place(&mut self) -> bool {
        let bits = |flags: &[bool]| {
            let mut words = vec![0_u64; flags.len().div_ceil(64)];
            for (at, _) in flags.iter().enumerate().filter(|(_, flag)| **flag) {
                words[at / 64] |= 1 << (at % 64);
            }
            while words.last() == Some(&0) {
                words.pop();
            }
            words
        };
        let place = (self.first, bits(&self.done[self.first..]), bits(&self.open_done), self.value.clone());
        self.been.insert(place)
    }

    fn note_best(&mut self) {
        let (answered, fitting) = (self.answered.len(), self.answered.len() - self.left);
        if self.best.as_ref().is_some_and(|best| best.fitting >= fitting) {
            return;
        }
        let stuck = self.next().into_iter().min_by_key(|at| answered_at(self.answered[*at]));
        let Some(stuck) = stuck.map(|at| self.answered[at].clone()) else { return };
        self.best =
            Some(Witness { key: stuck.key.clone(), fitting, answered, value: self.value.clone(), stuck });
    }

    fn witness(self) -> Box<Witness> {
        Box::new(self.best.expect("whoever found no order was stuck somewhere"))
    }
}

fn answered_at(operation: &Operation) -> u64 {
    operation.returned.as_ref().map_or(u64::MAX, |(at, _)| *at)
}

/// Values that some answer shows; none if an answer may depend on values that it does not show.
fn shown_by<'a>(answered: &[&'a Operation]) -> Option<BTreeSet<&'a str>> {
    let mut shown = BTreeSet::new();
    for operation in answered {
        match (&operation.action, operation.returned.as_ref().map(|(_, answer)| answer)) {
            (Action::Get, Some(Answer::Value(value))) => shown.extend(value.as_deref()),
            (Action::Put(_), Some(Answer::Done)) => {}
            _ => return None,
        }
    }
    Some(shown)
}
