//! What must not get worse: counts per call that do not depend on how fast the machine is, held against the numbers that
//! stand in the figure's own file.
//!
//! Times differ from machine to machine and from one minute to the next; how many frames, signatures, syncs and bytes a
//! call costs does not, once the load says how many operations a batch has. So these are bounded closely enough to notice
//! a frame too many, on any machine.

use std::fmt;

use serde_json::Value;

use crate::figure::Guard;
use crate::record::{Cell, Point};

/// More than this many times what was expected is a failure.
const MOST: f64 = 1.10;
/// Less than this many times as well: so much is not saved by chance, and the number guards nothing any more.
const LEAST: f64 = 0.5;

/// A bound that was not kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Breach {
    /// The line of the figure's file that has the guard.
    pub line: usize,
    /// The cell, in words.
    pub cell: String,
    /// What is wrong.
    pub fault: Fault,
}

/// How a bound was not kept.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// The cell has no number.
    NoNumber {
        /// Why.
        problem: String,
    },
    /// It costs more than the bound allows, or what it costs is no number.
    More {
        /// Which column of `points.csv`.
        column: String,
        /// What was expected.
        expected: f64,
        /// What was measured.
        found: f64,
    },
    /// It costs less than half.
    Less {
        /// Which column of `points.csv`.
        column: String,
        /// What was expected.
        expected: f64,
        /// What was measured.
        found: f64,
    },
}

/// Holds points against a figure's guards; nothing if all are kept. Cells that were not measured, because only some were
/// asked for, are not held against anything.
#[must_use]
pub fn check(guards: &[Guard], cells: &[Cell], points: &[Point]) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for guard in guards {
        for point in measured(guard, cells, points) {
            let faults = match &point.problem {
                Some(problem) => vec![Fault::NoNumber { problem: problem.clone() }],
                None => faults(guard, point),
            };
            let breach = |fault| Breach { line: guard.line, cell: words(&point.cell), fault };
            breaches.extend(faults.into_iter().map(breach));
        }
    }
    breaches
}

/// What these points say in the place of what the guards expect, for whoever means to renew them: for each guard the
/// line that it begins at, and the lines that belong there. Of several cells the dearest counts.
#[must_use]
pub fn renewed(guards: &[Guard], cells: &[Cell], points: &[Point]) -> Vec<(usize, String)> {
    let of = |guard: &Guard| {
        let dearest = |column: &String| {
            let found = measured(guard, cells, points).filter(|point| point.problem.is_none());
            found.filter_map(|point| number(point, column)).max_by(f64::total_cmp)
        };
        let lines = guard.expected.keys().filter_map(|column| Some((column, dearest(column)?)));
        (guard.line, lines.map(|(column, found)| format!("{column} = {found:.3}\n")).collect())
    };
    guards.iter().map(of).collect()
}

fn measured<'a>(guard: &'a Guard, cells: &'a [Cell], points: &'a [Point]) -> impl Iterator<Item = &'a Point> {
    let cells = guard.cells.iter().filter_map(|place| cells.get(*place));
    cells.filter_map(|cell| points.iter().find(|point| point.cell == *cell))
}

fn faults(guard: &Guard, point: &Point) -> Vec<Fault> {
    let fault = |(column, expected): (&String, &f64)| {
        let (found, expected) = (number(point, column).unwrap_or(f64::NAN), *expected);
        let column = column.clone();
        // What is no number keeps no bound.
        if found.is_nan() || found > expected * MOST {
            Some(Fault::More { column, expected, found })
        } else if found < expected * LEAST {
            Some(Fault::Less { column, expected, found })
        } else {
            None
        }
    };
    guard.expected.iter().filter_map(fault).collect()
}

fn number(point: &Point, column: &str) -> Option<f64> {
    serde_json::to_value(point).ok()?.get(column).and_then(Value::as_f64)
}

fn words(cell: &Cell) -> String {
    let Cell { n, scenario, network, payload, reply, durability, .. } = cell;
    format!("n = {n}, {scenario}, {network}, {payload} B / {reply} B, {durability}")
}

/// What went wrong, and what to do about it.
impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "guard at line {} ({}): ", self.line, self.cell)?;
        match &self.fault {
            Fault::NoNumber { problem } => write!(f, "there is no number: {problem}"),
            Fault::More { column, expected, found } => write!(
                f,
                "{column} is {found:.3}, and {expected:.3} when the file was written; 10 % more are allowed; fix: find out \
                 what a call costs now that it did not; only if that is wanted, write the new number there, and why into \
                 the same commit"
            ),
            Fault::Less { column, expected, found } => write!(
                f,
                "{column} is {found:.3}, and {expected:.3} when the file was written: less than half; fix: if a call costs \
                 so much less now, write the new number there, or it guards nothing; if it does not, find out what is \
                 not counted any more"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(n: u16) -> Cell {
        Cell { f: 1, n, scenario: "none".to_owned(), network: "loopback".to_owned(), ..Cell::default() }
    }

    fn point(n: u16, messages: f64) -> Point {
        Point {
            cell: cell(n),
            messages_per_request: messages,
            syncs_per_request: 2.0,
            signatures_made_per_request: 0.0,
            ..Point::default()
        }
    }

    fn guard(cells: &[usize], expected: &[(&str, f64)]) -> Guard {
        let expected = expected.iter().map(|(column, number)| ((*column).to_owned(), *number)).collect();
        Guard { line: 17, cells: cells.to_vec(), expected }
    }

    /// What is said of one cell that sends so many messages, of which 10 are expected.
    fn said_of(found: f64) -> Vec<String> {
        let guard = guard(&[0], &[("messages_per_request", 10.0)]);
        let breaches = check(&[guard], &[cell(4)], &[point(4, found)]);
        breaches.iter().map(Breach::to_string).collect()
    }

    #[test]
    fn a_tenth_more_is_a_regression_and_what_is_within_it_is_not() {
        for kept in [10.0, 10.9, 9.1, 5.1] {
            assert_eq!(said_of(kept), Vec::<String>::new(), "{kept}");
        }
        let more = said_of(11.2).concat();
        assert!(more.contains("messages_per_request is 11.200, and 10.000 when"), "{more}");
        assert!(more.contains("line 17 (n = 4, none, loopback") && more.contains("fix:"), "{more}");
        assert!(said_of(4.9).concat().contains("less than half"));
        assert_eq!(said_of(f64::NAN).len(), 1, "what is no number is not kept");
        // What was free must stay free.
        let free = guard(&[0], &[("signatures_made_per_request", 0.0)]);
        let mut costs = point(4, 1.0);
        assert_eq!(check(std::slice::from_ref(&free), &[cell(4)], std::slice::from_ref(&costs)), []);
        costs.signatures_made_per_request = 0.001;
        assert_eq!(check(&[free], &[cell(4)], &[costs]).len(), 1);
    }

    #[test]
    fn a_cell_without_a_number_fails_and_one_that_was_left_out_does_not() {
        let both = guard(&[0, 1], &[("messages_per_request", 10.0)]);
        let cells = [cell(4), cell(7)];
        let failed = Point { problem: Some("the histories differ".to_owned()), ..point(7, 0.0) };
        let breaches = check(std::slice::from_ref(&both), &cells, &[point(4, 10.0), failed]);
        assert!(
            breaches.len() == 1 && breaches[0].to_string().contains("the histories differ"),
            "{breaches:?}"
        );
        assert_eq!(check(&[both], &cells, &[point(4, 10.0)]), []);
    }

    #[test]
    fn every_cell_of_a_guard_and_every_column_is_looked_at() {
        let guard = guard(&[0, 1], &[("messages_per_request", 10.0), ("syncs_per_request", 1.0)]);
        let breaches = check(&[guard], &[cell(4), cell(7)], &[point(7, 20.0), point(4, 10.5)]);
        let found: Vec<_> = breaches.iter().map(|breach| breach.cell.clone()).collect();
        assert!(found.len() == 3 && found[0].contains("n = 4") && found[2].contains("n = 7"), "{breaches:?}");
    }

    #[test]
    fn what_was_measured_can_be_written_in_the_place_of_what_was_expected() {
        let guard = guard(&[0, 1], &[("messages_per_request", 10.0)]);
        let points = [point(4, 12.3456), point(7, 11.0)];
        let text = "messages_per_request = 12.346\n".to_owned();
        assert_eq!(renewed(&[guard], &[cell(4), cell(7)], &points), [(17, text)]);
    }
}
