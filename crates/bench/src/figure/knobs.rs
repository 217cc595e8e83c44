//! What a cell consists of: the name of each coordinate, which is a column of `points.csv` and a key of the file, what
//! it may be, and where it stands in a [`Cell`].

use std::fmt;
use std::str::FromStr;

use quorate_node::cluster_file::{Execution, Problem, VERIFIER_THREADS_MAX};
use quorate_node::sections::FromToml;
use toml::de::DeValue;

use super::Rate;
use super::scenario::Scenario;
use crate::record::Cell;

/// Most replicas of a cluster that is measured.
pub(super) const REPLICAS_MAX: u64 = 100;
/// The rate of a closed loop, which asks for as much as is answered.
pub(super) const CLOSED: &str = "closed";
/// The rate that a search finds.
const PEAK: &str = "peak";
/// Most calls per second that anything here can be asked for.
pub(super) const RPS_MAX: f64 = 10_000_000.0;
/// Longest name of a network, which may be the path of a file.
const PATH_MAX: usize = 1024;
/// How much of a wrong word an error repeats.
const WORD_MAX: usize = 64;

/// One coordinate of a cell.
#[derive(Debug)]
pub(super) struct Knob {
    pub(super) name: &'static str,
    kind: Kind,
    field: fn(&mut Cell) -> Field<'_>,
}

/// What a coordinate may be.
#[derive(Debug)]
enum Kind {
    /// A number from one to another.
    Number(u64, u64),
    /// One of these words.
    Word(&'static [&'static str]),
    Scenario,
    Network,
    Layout,
    Rate,
}

/// A coordinate's place in a cell.
enum Field<'a> {
    Short(&'a mut u16),
    Long(&'a mut u32),
    Word(&'a mut String),
}

const fn number(name: &'static str, from: u64, to: u64, field: fn(&mut Cell) -> Field<'_>) -> Knob {
    Knob { name, kind: Kind::Number(from, to), field }
}

const fn word(name: &'static str, words: &'static [&'static str], field: fn(&mut Cell) -> Field<'_>) -> Knob {
    Knob { name, kind: Kind::Word(words), field }
}

/// Every coordinate, in the order in which cells are measured: those behind vary first.
pub(super) static KNOBS: [Knob; 19] = [
    word("application", &crate::load::APPLICATIONS, |cell| Field::Word(&mut cell.application)),
    Knob { name: "network", kind: Kind::Network, field: |cell| Field::Word(&mut cell.network) },
    word("durability", &["sync", "os", "none"], |cell| Field::Word(&mut cell.durability)),
    number("payload", 0, 131_072, |cell| Field::Long(&mut cell.payload)),
    number("reply", 0, 131_072, |cell| Field::Long(&mut cell.reply)),
    word("load", &["open", CLOSED], |cell| Field::Word(&mut cell.load)),
    number("clients", 1, 1024, |cell| Field::Short(&mut cell.clients)),
    number("in_flight", 1, 4096, |cell| Field::Short(&mut cell.in_flight)),
    number("bundle", 1, 1024, |cell| Field::Short(&mut cell.bundle)),
    number("batch", 1, 16_777_216, |cell| Field::Long(&mut cell.batch)),
    number("window", 2, 4096, |cell| Field::Long(&mut cell.window)),
    number("checkpoint_interval", 1, 2048, |cell| Field::Long(&mut cell.checkpoint_interval)),
    number("pipeline", 1, 4096, |cell| Field::Long(&mut cell.pipeline)),
    number("timeout_ms", 1, 3_600_000, |cell| Field::Long(&mut cell.timeout_ms)),
    number("p99_limit_ms", 1, 60_000, |cell| Field::Long(&mut cell.p99_limit_ms)),
    Knob { name: "layout", kind: Kind::Layout, field: |cell| Field::Word(&mut cell.layout) },
    Knob { name: "scenario", kind: Kind::Scenario, field: |cell| Field::Word(&mut cell.scenario) },
    // A file has one of these two; what it has varies behind the scenario.
    number("f", 1, (REPLICAS_MAX - 1) / 3, |cell| Field::Short(&mut cell.f)),
    number("n", 4, REPLICAS_MAX, |cell| Field::Short(&mut cell.n)),
];

/// The load a cell is measured at; the peak comes first, so that one search serves all that differ in it alone.
pub(super) static RATE: Knob =
    Knob { name: "rate", kind: Kind::Rate, field: |cell| Field::Word(&mut cell.rate) };

/// The coordinate of a name.
pub(super) fn knob(name: &str) -> Option<&'static Knob> {
    KNOBS.iter().chain([&RATE]).find(|knob| knob.name == name)
}

impl Knob {
    /// Reads a value, and says it as a cell does.
    pub(super) fn read(&self, value: &DeValue<'_>) -> Result<String, Problem> {
        match self.kind {
            Kind::Number(from, to) => {
                let number = u64::from_toml(value)?;
                let fix = || format!("write a number from {from} to {to}");
                match (from..=to).contains(&number) {
                    true => Ok(number.to_string()),
                    false => Err(Problem::Rule { what: format!("is {number}"), fix: fix() }),
                }
            }
            Kind::Word(words) => {
                let text = text(value, "a word in quotes")?;
                let listed = words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
                match words.contains(&text) {
                    true => Ok(text.to_owned()),
                    false => Err(rule(text, &format!("write one of {listed}"))),
                }
            }
            Kind::Scenario => {
                let scenario = text(value, "a scenario in quotes")?.parse::<Scenario>();
                scenario.map(|scenario| scenario.to_string()).map_err(|error| error.problem())
            }
            Kind::Network => {
                let text = text(value, "the name of a network in quotes")?;
                // Whether there is such a network is seen where the figure's folder is known.
                match !text.is_empty() && text.len() <= PATH_MAX {
                    true => Ok(text.to_owned()),
                    false => Err(rule(text, "write \"loopback\", or the name of a network such as \"lan\"")),
                }
            }
            Kind::Layout => {
                let text = text(value, "a layout in quotes")?;
                let layout = text.parse::<Layout>();
                layout.map(|layout| layout.to_string()).map_err(|LayoutError| rule(text, LAYOUTS))
            }
            Kind::Rate => rate(value),
        }
    }

    /// Gives a cell the coordinate that was read.
    pub(super) fn put(&self, cell: &mut Cell, value: &str) {
        // What was read is within the bounds of its field.
        match (self.field)(cell) {
            Field::Short(field) => *field = value.parse().unwrap_or(*field),
            Field::Long(field) => *field = value.parse().unwrap_or(*field),
            Field::Word(field) => value.clone_into(field),
        }
    }

    /// A cell's coordinate as it is read.
    pub(super) fn get(&self, cell: &Cell) -> String {
        match (self.field)(&mut cell.clone()) {
            Field::Short(field) => field.to_string(),
            Field::Long(field) => field.to_string(),
            Field::Word(field) => field.clone(),
        }
    }
}

fn rule(text: &str, fix: &str) -> Problem {
    let found: String = text.chars().take(WORD_MAX).collect();
    Problem::Rule { what: format!("is `{found}`"), fix: fix.to_owned() }
}

pub(super) fn text<'a>(value: &'a DeValue<'_>, expected: &'static str) -> Result<&'a str, Problem> {
    value.as_str().ok_or(Problem::Kind { expected, found: value.type_str() })
}

fn rate(value: &DeValue<'_>) -> Result<String, Problem> {
    let fix = "write \"peak\", a share of it such as \"50%\", or calls per second such as 5000";
    let (said, rate) = match value {
        DeValue::String(text) if text.as_ref() == CLOSED => {
            return Err(rule(text, "write `load = \"closed\"`; a closed loop has no rate"));
        }
        DeValue::String(text) => (text.as_ref(), text.parse::<Rate>().ok()),
        DeValue::Integer(number) => {
            (number.as_str(), number.as_str().parse().ok().filter(|_| number.radix() == 10))
        }
        DeValue::Float(number) => (number.as_str(), number.as_str().parse().ok()),
        other => {
            let expected = "\"peak\", a share of it such as \"50%\", or calls per second";
            return Err(Problem::Kind { expected, found: other.type_str() });
        }
    };
    rate.map(|rate| rate.to_string()).ok_or_else(|| rule(said, fix))
}

/// A text that is no rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no rate; write `peak`, a share of it such as `50%`, calls per second such as `5000`, or `closed`")]
pub struct RateError;

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let number = |text: &str, most: f64| {
            let number = text.parse::<f64>().ok().filter(|number| *number > 0.0 && *number <= most);
            number.ok_or(RateError)
        };
        match (text, text.strip_suffix('%')) {
            (PEAK, _) => Ok(Self::Peak),
            (CLOSED, _) => Ok(Self::Closed),
            (_, Some(share)) => number(share, 100.0).map(|share| Self::Share(share / 100.0)),
            (rate, None) => number(rate, RPS_MAX).map(Self::PerSecond),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peak => f.write_str(PEAK),
            Self::Closed => f.write_str(CLOSED),
            // A share of 0.07 times a hundred is not quite 7.
            Self::Share(share) => write!(f, "{}%", (share * 1e6).round() / 1e4),
            Self::PerSecond(rate) => write!(f, "{rate}"),
        }
    }
}

const LAYOUTS: &str = "write \"one-thread\", \"execution\", \"verifiers:2\" or \"verifiers:2+execution\", with 1 to 64 verifiers";

/// Which roles of a replica have threads of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Threads that only check signatures.
    pub verifiers: u16,
    /// Where operations execute.
    pub execution: Execution,
}

/// A text that is no layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no layout; {LAYOUTS}")]
pub struct LayoutError;

impl FromStr for Layout {
    type Err = LayoutError;

    fn from_str(text: &str) -> Result<Self, LayoutError> {
        let (verifiers, rest) = match text.strip_prefix("verifiers:") {
            None => (0, text),
            Some(behind) => {
                let (count, rest) = behind.split_at(behind.find('+').unwrap_or(behind.len()));
                let count = count.parse().ok().filter(|count| (1..=VERIFIER_THREADS_MAX).contains(count));
                (count.ok_or(LayoutError)?, rest)
            }
        };
        let execution = match (verifiers, rest) {
            (0, "one-thread") | (1.., "") => Execution::Shared,
            (0, "execution") | (1.., "+execution") => Execution::OwnThread,
            _ => return Err(LayoutError),
        };
        Ok(Self { verifiers, execution })
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.verifiers, self.execution) {
            (0, Execution::Shared) => f.write_str("one-thread"),
            (0, Execution::OwnThread) => f.write_str("execution"),
            (count, Execution::Shared) => write!(f, "verifiers:{count}"),
            (count, Execution::OwnThread) => write!(f, "verifiers:{count}+execution"),
        }
    }
}
