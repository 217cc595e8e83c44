//! From a scenario that fails to the few things in it that make it fail.
//!
//! First whole entries go: faults, cuts, lies, clients, by delta debugging (Zeller and Hildebrandt, TSE '02), halves
//! first and then ever smaller parts, until no single one can go. Then what is left is made simpler: fewer commands and
//! replicas, calmer links, shorter outages, rounder times. A change is kept only if the same kind of violation comes of
//! it. The same scenario and the same number of runs give the same result.

mod entries;
mod schedule;
mod simpler;
#[cfg(test)]
mod tests;

use std::fmt;
use std::mem::discriminant;

use crate::check::Violation;
use crate::scenario::{Outcome, Scenario};
use crate::words::first_line;
use entries::{entries, without};
pub use schedule::schedule;
use simpler::simpler;

/// Seeds under which a scenario that is smaller by one entry is tried: what goes takes with it what it drew, so that the
/// links' chance is another one afterwards.
const SEEDS: u64 = 3;

/// How long somebody may look for a smaller scenario.
pub struct Budget<'a> {
    /// Most runs.
    pub runs_max: u64,
    /// Asked before every run whether there is still time: who has a clock looks at it here.
    pub go_on: &'a dyn Fn() -> bool,
}

/// What is left of a scenario that failed.
#[derive(Debug, Clone)]
pub struct Shrunk {
    /// It fails still.
    pub scenario: Scenario,
    /// With this.
    pub violation: Violation,
    /// Runs it took.
    pub runs: u64,
    /// Whether nothing that is left can go; not known if the budget was spent first.
    pub minimal: bool,
}

impl fmt::Display for Shrunk {
    /// The schedule, a line for each happening, and the violation in the end, in a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in schedule(&self.scenario) {
            writeln!(f, "{line}")?;
        }
        writeln!(f, "then: {}", first_line(&self.violation.to_string()))?;
        let left = if self.minimal { "each of these is needed" } else { "the budget ended first" };
        write!(f, "({} runs; {left})", self.runs)
    }
}

/// Makes a failing scenario smaller while `run` says that it fails with the same kind of violation. None if it does not
/// fail at all.
pub fn shrink(
    failing: &Scenario,
    budget: &Budget<'_>,
    mut run: impl FnMut(&Scenario) -> Result<Outcome, Violation>,
) -> Option<Shrunk> {
    let violation = run(failing).err()?;
    let best = Shrunk { scenario: failing.clone(), violation, runs: 1, minimal: false };
    let mut search = Search { best, budget, run: &mut run, spent: false };
    loop {
        let before = search.best.runs;
        let smaller = search.remove_entries();
        let simpler = search.simplify();
        if search.spent || !(smaller || simpler) {
            break;
        }
        debug_assert!(search.best.runs > before, "who found something has run something");
    }
    search.best.minimal = !search.spent;
    Some(search.best)
}

struct Search<'a, R> {
    best: Shrunk,
    budget: &'a Budget<'a>,
    run: &'a mut R,
    /// Whether there was something to try and no budget for it.
    spent: bool,
}

impl<R: FnMut(&Scenario) -> Result<Outcome, Violation>> Search<'_, R> {
    /// Takes a candidate if it fails in the same way.
    fn try_out(&mut self, candidate: Scenario) -> bool {
        if self.spent || self.best.runs >= self.budget.runs_max || !(self.budget.go_on)() {
            self.spent = true;
            return false;
        }
        self.best.runs += 1;
        match (self.run)(&candidate) {
            Err(violation) if discriminant(&violation) == discriminant(&self.best.violation) => {
                (self.best.scenario, self.best.violation) = (candidate, violation);
                true
            }
            Err(_) | Ok(_) => false,
        }
    }

    /// Removes entries, many at a time and then few, until none can go alone. Says whether any went.
    fn remove_entries(&mut self) -> bool {
        let mut any = false;
        let mut part = entries(&self.best.scenario).len().div_ceil(2);
        while part > 0 && !self.spent {
            let went = self.remove_parts(part);
            any |= went;
            // What could not go before can perhaps go now that others are gone.
            part = if part == 1 { usize::from(went) } else { part.div_ceil(2) };
        }
        any
    }

    fn remove_parts(&mut self, part: usize) -> bool {
        let (mut from, mut any) = (0, false);
        loop {
            let all = entries(&self.best.scenario);
            let Some(some) = all.get(from..(from + part).min(all.len())).filter(|some| !some.is_empty())
            else {
                return any;
            };
            let candidate = without(&self.best.scenario, some);
            let seeds = if part == 1 { SEEDS } else { 1 };
            let seed = candidate.setting.seed;
            let went = (0..seeds).any(|more| {
                let mut candidate = candidate.clone();
                candidate.setting.seed = seed.wrapping_add(more);
                self.try_out(candidate)
            });
            any |= went;
            if !went {
                from += part;
            }
        }
    }

    /// Makes what is left simpler, a step at a time. Says whether any step could be made.
    fn simplify(&mut self) -> bool {
        let (mut next, mut any) = (0, false);
        while !self.spent {
            let Some(candidate) = simpler(&self.best.scenario).into_iter().nth(next) else { break };
            if self.try_out(candidate) {
                any = true;
            } else {
                next += 1;
            }
        }
        any
    }
}
