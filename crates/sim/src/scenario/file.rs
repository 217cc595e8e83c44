//! Scenarios as text: a TOML file becomes a [`Scenario`] with what is expected of it, and a scenario such a file again,
//! so that what a seed drew can be kept, read and changed by hand.
//!
//! Times count from the world's beginning. Every error names the file, the line, the key and the fix.

mod document;
mod reading;
#[cfg(test)]
mod tests;
mod values;
mod writing;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::Scenario;
use super::expect::Expect;
use document::Document;

/// Most bytes of a scenario file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A scenario, what it is about, and what is expected of it.
#[derive(Debug, Clone)]
pub struct ScenarioFile {
    /// What it is about, in a sentence.
    pub about: String,
    /// The scenario.
    pub scenario: Scenario,
    /// What is expected of it.
    pub expect: Expect,
}

/// Why a scenario file was not accepted: which file, where in it, and the fix.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioFileError {
    /// The file could not be read at all.
    #[error("{}: cannot be read: {why}; fix: pass the path of a scenario, such as one of configs/scenarios", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// The text is not TOML, or a key or value is none that a scenario has.
    #[error("{}:{line}: `{key}`: {why}", .file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What stands there.
        key: String,
        /// What is wrong with it, and what may stand there instead.
        why: String,
    },
    /// Something that every scenario has is not there, so no line can be named.
    #[error("{}: there is no `{key}`; fix: {fix}", .file.display())]
    Lacks {
        /// The file.
        file: PathBuf,
        /// What is not there.
        key: &'static str,
        /// What to write.
        fix: &'static str,
    },
    /// A value that does not fit the rest of the file.
    #[error("{}:{line}: `{key}` {problem}; fix: {}", .file.display(), .problem.fix())]
    At {
        /// The file.
        file: PathBuf,
        /// The line of the table, from 1.
        line: usize,
        /// The key, with its table.
        key: &'static str,
        /// What is wrong with it.
        problem: Problem,
    },
}

/// What is wrong with a value in the light of the others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// There is no such replica.
    #[error("names replica {found}, but there are {replicas}")]
    Nobody {
        /// The replica named.
        found: u16,
        /// How many there are.
        replicas: u16,
    },
    /// A number out of its bounds.
    #[error("is {found}")]
    Bounds {
        /// What it is.
        found: String,
        /// The least that it may be.
        least: String,
        /// The most that it may be.
        most: String,
    },
    /// A constant of the protocol that cannot be.
    #[error("has {0}")]
    Parameter(quorate_protocol::parameters::ParameterError),
    /// A behaviour that does not exist.
    #[error("is no behaviour: {0}")]
    Behaviour(String),
    /// Something ends before it starts.
    #[error("is not later than the start")]
    Ends,
    /// Two keys that exclude each other, or one that needs another.
    #[error("{0}")]
    Combination(&'static str, &'static str),
}

impl Problem {
    /// What to do about it.
    #[must_use]
    pub fn fix(&self) -> String {
        match self {
            Self::Nobody { replicas, .. } => {
                format!("write a number from 0 to {}", replicas.saturating_sub(1))
            }
            Self::Bounds { least, most, .. } => format!("write something from {least} to {most}"),
            Self::Parameter(error) => format!("it {}", error.fix),
            Self::Behaviour(_) => "write a behaviour such as \"equivocate\" or \"delay:by=200ms\"".into(),
            Self::Ends => "write a later time".into(),
            Self::Combination(_, fix) => (*fix).into(),
        }
    }
}

impl ScenarioFile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ScenarioFileError`] names the line and the fix.
    pub fn load(path: &Path) -> Result<Self, ScenarioFileError> {
        let unreadable = |why| ScenarioFileError::Unreadable { file: path.to_owned(), why };
        let mut text = String::new();
        let file = File::open(path).map_err(unreadable)?;
        file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
        if text.len() as u64 > FILE_BYTES_MAX {
            return Err(unreadable(std::io::Error::other("it has more than 1 MiB")));
        }
        Self::parse(&text, path)
    }

    /// Reads a text; `path` is what errors call it.
    ///
    /// # Errors
    /// [`ScenarioFileError`] names the line and the fix.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ScenarioFileError> {
        let document: Document = toml::from_str(text).map_err(|error| malformed(text, path, &error))?;
        if document.client.is_empty() {
            return Err(lacking(path, CLIENT));
        }
        reading::read(document).map_err(|wrong| ScenarioFileError::At {
            file: path.to_owned(),
            line: line_of(text, wrong.at),
            key: wrong.key,
            problem: wrong.problem,
        })
    }

    /// The text that [`ScenarioFile::parse`] makes this of. The application is not part of it: a scenario file is about
    /// the words of [`Words`](crate::app::Words).
    ///
    /// # Panics
    /// Never: what a scenario consists of is TOML.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(&writing::write(self)).expect("a document holds strings, numbers, lists and tables")
    }
}

/// Something wrong, and where its table stands.
struct Wrong {
    at: usize,
    key: &'static str,
    problem: Problem,
}

/// What every scenario has, and how it is written.
const REQUIRED: [(&str, &str); 3] = [
    ("replicas", "write how many there are above the first table, such as `replicas = 4`"),
    ("heal", "write when everything heals above the first table, such as `heal = \"2s\"`"),
    CLIENT,
];
const CLIENT: (&str, &str) =
    ("[[client]]", "somebody has to ask something: add a table `[[client]]` with `commands = 20` in it");

fn lacking(path: &Path, (key, fix): (&'static str, &'static str)) -> ScenarioFileError {
    ScenarioFileError::Lacks { file: path.to_owned(), key, fix }
}

fn malformed(text: &str, path: &Path, error: &toml::de::Error) -> ScenarioFileError {
    let missing = error.message().strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
    let required = REQUIRED
        .iter()
        .find(|(key, _)| missing.is_some_and(|missing| key.trim_matches(['[', ']']) == missing));
    if let Some(required) = required {
        return lacking(path, *required);
    }
    // A parser may stop behind the last byte; the line is then the last one that has text.
    let at = error.span().map_or(0, |span| span.start).min(text.trim_end().len());
    let line = line_of(text, at);
    let key = text.lines().nth(line - 1).unwrap_or_default().trim().chars().take(64).collect();
    let why = match missing {
        Some(missing) => {
            format!("this table has no `{missing}`; fix: add it, as configs/scenarios/README.md says")
        }
        None => error.message().trim().replace('\n', "; "),
    };
    ScenarioFileError::Malformed { file: path.to_owned(), line, key, why }
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}
