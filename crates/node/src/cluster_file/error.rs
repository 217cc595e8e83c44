//! What can be wrong with a cluster file, and what to do about each.

use std::path::PathBuf;

use quorate_protocol::committee::{CommitteeError, REPLICAS_MAX};
use quorate_protocol::crypto::{HexError, KeyError};
use quorate_protocol::types::Digest;

use crate::sections::Misplaced;

/// Why a cluster file or preset was not accepted: which file, where in it, and the fix.
#[derive(Debug, thiserror::Error)]
pub enum ClusterFileError {
    /// The file could not be read at all.
    #[error("{}: cannot be read: {why}; fix: pass the path of a file that `quorate init` wrote", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// A preset could not be read at all.
    #[error(
        "{}: cannot be read: {why}; fix: pass the path of a preset, which is a file with the sections [parameters] and \
         [node] of a cluster file, or leave it out", .file.display()
    )]
    UnreadablePreset {
        /// The file.
        file: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// Something in the file is wrong.
    #[error("{}:{line}: `{key}` {problem}; fix: {}", .file.display(), .problem.fix())]
    At {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The key, with its section.
        key: String,
        /// What is wrong with it.
        problem: Box<Problem>,
    },
}

/// What is wrong with one key of a cluster file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The text is not TOML.
    #[error("is not TOML: {why}")]
    Malformed {
        /// What the parser said.
        why: String,
    },
    /// A key that means nothing here; most often a misspelt one.
    #[error("is not a key of this section")]
    Unknown {
        /// The known key most like it.
        nearest: Option<&'static str>,
        /// All known keys.
        known: &'static [&'static str],
    },
    /// A key that must be there is not.
    #[error("is missing")]
    Missing,
    /// A value of another type.
    #[error("is {found}, not {expected}")]
    Kind {
        /// What belongs there.
        expected: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// A value of the right type that means nothing.
    #[error("is `{found}`, not {expected}")]
    Value {
        /// What belongs there.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// A digest or key that is not hexadecimal.
    #[error("has {0}")]
    Hex(HexError),
    /// A key that is no usable public key.
    #[error("is unusable: {0}")]
    Key(KeyError),
    /// What must be unique stands here for the second time.
    #[error("is the same as the one in line {first}")]
    Duplicate {
        /// Line of the first.
        first: usize,
    },
    /// Replica ids are not `0..n`.
    #[error("is {found}, but the ids of {replicas} replicas are 0 to {}", .replicas.saturating_sub(1))]
    Gap {
        /// The id.
        found: u16,
        /// How many replicas the file has.
        replicas: usize,
    },
    /// Too few replicas, or too many.
    #[error("is no committee: {0}")]
    Committee(CommitteeError),
    /// More entries than a list may have.
    #[error("has {found} entries, more than {most}")]
    TooMany {
        /// How many there are.
        found: usize,
        /// How many there may be.
        most: usize,
    },
    /// A protocol constant out of its bounds.
    #[error("is {value}")]
    Parameter {
        /// The value, in the unit of the file.
        value: u64,
        /// What it may be.
        fix: String,
    },
    /// An epoch that only a reconfiguration can have opened.
    #[error("is {found}, and this version cannot check what opened it")]
    Epoch {
        /// The epoch.
        found: u64,
    },
    /// What files of another kind may not say.
    #[error("{what}")]
    Rule {
        /// What is wrong.
        what: String,
        /// What to do.
        fix: String,
    },
    /// The id is not the hash of the genesis configuration.
    #[error("does not match the configuration, whose id is {expected}")]
    ClusterId {
        /// What the configuration hashes to.
        expected: Digest,
    },
}

impl From<Misplaced> for ClusterFileError {
    fn from(Misplaced { file, line, key, problem }: Misplaced) -> Self {
        Self::At { file, line, key, problem }
    }
}

impl Problem {
    /// What to do about it.
    #[must_use]
    pub fn fix(&self) -> String {
        match self {
            Self::Malformed { .. } => "correct the TOML in that line".into(),
            Self::Unknown { nearest: Some(nearest), .. } => format!("write `{nearest}`"),
            Self::Unknown { nearest: None, known } => format!("remove it; known are {}", known.join(", ")),
            Self::Missing => "add it; a fresh file of `quorate init` shows its form".into(),
            Self::Kind { expected, .. } | Self::Value { expected, .. } => format!("write {expected}"),
            Self::Hex(_) => "write 64 hexadecimal digits, as `quorate init` does".into(),
            Self::Key(_) => "take the public key of the replica's or client's own key file".into(),
            Self::Duplicate { .. } => "make the two differ".into(),
            Self::Gap { .. } => "number the replicas from 0, without gaps".into(),
            Self::Committee(CommitteeError::NoTolerance(_)) => {
                "add `[[replica]]` sections until there are 4, or say `allow_f0 = true`".into()
            }
            Self::Committee(_) => {
                format!("have 1 to {REPLICAS_MAX} `[[replica]]` sections, each with its own key")
            }
            Self::TooMany { .. } => "shorten it; `clients = \"open\"` admits everybody".into(),
            Self::Parameter { fix, .. } => fix.clone(),
            Self::Rule { fix, .. } => fix.clone(),
            Self::Epoch { .. } => "write `epoch = 0`".into(),
            Self::ClusterId { expected } => format!(
                "undo the change of name, application, flags, keys or parameters; or, for another cluster with \
                 empty data folders, write `id = \"{expected}\"`"
            ),
        }
    }
}

/// The known name that is most like `unknown`, if one is like it.
pub(crate) fn nearest(unknown: &str, known: &'static [&'static str]) -> Option<&'static str> {
    let near = known.iter().map(|name| (distance(unknown, name), *name)).min()?;
    (near.0 <= near.1.len().div_ceil(3)).then_some(near.1)
}

/// Letters to insert, remove or replace to turn one name into the other.
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}
