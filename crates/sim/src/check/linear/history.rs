//! What clients asked, when, and what they were answered; in memory, and as text that one can write by hand.
//!
//! A line is `CLIENT INVOKED..RETURNED ACTION KEY [..] -> ANSWER`, with `never` for an operation without an answer:
//!
//! ```text
//! a 0..10 put x 1 -> done
//! b 5..12 get x -> 1
//! c 6..20 swap x 1 2 -> differs 7
//! c 7..never add x 3
//! ```

use std::fmt;
use std::str::FromStr;

/// What an operation does to its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Reads.
    Get,
    /// Writes.
    Put(String),
    /// Removes.
    Delete,
    /// Adds to the number that is there, or to 0.
    Add(i64),
    /// Writes, or removes, if the value is the expected one.
    Swap {
        /// What must be there; none if nothing may be.
        expected: Option<String>,
        /// What shall be there; none to remove it.
        new: Option<String>,
    },
}

/// How it was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It was done, and nothing is said about the value.
    Done,
    /// The value, after the operation.
    Value(Option<String>),
    /// It was done; whether the key was there before.
    Was(bool),
    /// The value was the expected one.
    Swapped,
    /// The value was not the expected one, but this.
    Differs(Option<String>),
}

/// One operation of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Who asked.
    pub client: String,
    /// What it is about.
    pub key: String,
    /// What was asked.
    pub action: Action,
    /// When it was asked, in any unit.
    pub invoked: u64,
    /// When it was answered, and how; none if it was not, so that it may have happened at any time since, or never.
    pub returned: Option<(u64, Answer)>,
}

/// Operations in any order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History(pub Vec<Operation>);

/// Why a text is no history.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, `{text}`: {why}")]
pub struct HistoryError {
    /// Which line, from 1.
    pub line: usize,
    /// The line.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

/// The word for a value that is not there.
const NONE: &str = "none";

fn value(word: &str) -> Option<String> {
    (word != NONE).then(|| word.to_owned())
}

fn word(value: Option<&str>) -> &str {
    value.unwrap_or(NONE)
}

fn action(words: &[&str]) -> Result<(String, Action), &'static str> {
    let (key, action) = match words {
        ["get", key] => (key, Action::Get),
        ["put", key, new] => (key, Action::Put((*new).to_owned())),
        ["delete", key] => (key, Action::Delete),
        ["add", key, amount] => {
            (key, Action::Add(amount.parse().map_err(|_| "the amount is no whole number")?))
        }
        ["swap", key, expected, new] => (key, Action::Swap { expected: value(expected), new: value(new) }),
        _ => return Err("the actions are: get K, put K V, delete K, add K N, swap K EXPECTED NEW"),
    };
    Ok(((*key).to_owned(), action))
}

fn answer(words: &[&str], action: &Action) -> Result<Answer, &'static str> {
    Ok(match (action, words) {
        (Action::Put(_), ["done"]) => Answer::Done,
        (Action::Put(_) | Action::Delete, ["was", "there"]) => Answer::Was(true),
        (Action::Put(_) | Action::Delete, ["was", "absent"]) => Answer::Was(false),
        (Action::Swap { .. }, ["swapped"]) => Answer::Swapped,
        (Action::Swap { .. }, ["differs", read]) => Answer::Differs(value(read)),
        (Action::Get | Action::Add(_), [read]) => Answer::Value(value(read)),
        _ => {
            return Err(
                "the answers are: VALUE, `none`, done, was there, was absent, swapped, differs VALUE; and not every \
                        action gets each",
            );
        }
    })
}

fn operation(line: &str) -> Result<Operation, &'static str> {
    let (asked, answered) = match line.split_once("->") {
        Some((asked, answered)) => (asked, Some(answered)),
        None => (line, None),
    };
    let words: Vec<&str> = asked.split_whitespace().collect();
    let [client, times, words @ ..] = &words[..] else { return Err("a client and two times come first") };
    let (invoked, returned) = times.split_once("..").ok_or("the times are written like 3..7 or 3..never")?;
    let number = |word: &str| word.parse::<u64>().map_err(|_| "a time is a whole number, or `never`");
    let invoked = number(invoked)?;
    let (key, action) = action(words)?;
    let returned = match (returned, answered) {
        ("never", None) => None,
        ("never", Some(_)) => return Err("what never returned has no answer"),
        (at, Some(words)) => {
            let words: Vec<&str> = words.split_whitespace().collect();
            Some((number(at)?, answer(&words, &action)?))
        }
        (_, None) => return Err("an operation that returned has an answer"),
    };
    if returned.as_ref().is_some_and(|(at, _)| *at < invoked) {
        return Err("it is answered before it is asked");
    }
    Ok(Operation { client: (*client).to_owned(), key, action, invoked, returned })
}

impl FromStr for History {
    type Err = HistoryError;

    /// Empty lines and those that begin with `#` are skipped.
    fn from_str(text: &str) -> Result<Self, HistoryError> {
        let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
        let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
        let named = |(at, line): (usize, &str)| {
            operation(line).map_err(|why| HistoryError { line: at, text: line.to_owned(), why })
        };
        Ok(Self(lines.map(named).collect::<Result<_, _>>()?))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "get",
            Self::Put(_) => "put",
            Self::Delete => "delete",
            Self::Add(_) => "add",
            Self::Swap { .. } => "swap",
        })
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Value(read) => f.write_str(word(read.as_deref())),
            Self::Was(there) => f.write_str(if *there { "was there" } else { "was absent" }),
            Self::Swapped => f.write_str("swapped"),
            Self::Differs(read) => write!(f, "differs {}", word(read.as_deref())),
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}..", self.client, self.invoked)?;
        match &self.returned {
            Some((at, _)) => write!(f, "{at}")?,
            None => write!(f, "never")?,
        }
        write!(f, " {} {}", self.action, self.key)?;
        match &self.action {
            Action::Get | Action::Delete => {}
            Action::Put(new) => write!(f, " {new}")?,
            Action::Add(amount) => write!(f, " {amount}")?,
            Action::Swap { expected, new } => {
                write!(f, " {} {}", word(expected.as_deref()), word(new.as_deref()))?;
            }
        }
        self.returned.as_ref().map_or(Ok(()), |(_, answer)| write!(f, " -> {answer}"))
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|operation| writeln!(f, "{operation}"))
    }
}
