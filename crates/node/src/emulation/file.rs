//! The emulation file: what a process is told of the network around it, a rule for each link that leaves it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::sections;

/// Most bytes an emulation file may have.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// Most links an emulation file may name.
pub const LINKS_MAX: usize = 4096;
/// Shortest delay that is emulated as what it is, in microseconds.
pub const DELAY_US_MIN: u64 = 100;
/// Longest delay, in microseconds: longer than light takes to the moon and back.
const DELAY_US_MAX: u64 = 5_000_000;
/// Narrowest link, in bytes per second.
const BANDWIDTH_MIN: u64 = 1000;
/// Widest link worth a rule, in bytes per second: 100 Gbit/s.
const BANDWIDTH_MAX: u64 = 12_500_000_000;
/// Fewest bytes that may wait for a link: two datagrams.
const QUEUE_BYTES_MIN: u64 = 4096;
/// Most bytes that may wait for a link.
const QUEUE_BYTES_MAX: u64 = 64 << 20;
/// Bytes that may wait for a link, unless its rule says otherwise.
const QUEUE_BYTES: u64 = 1 << 20;

/// What datagrams meet on their way, by where they go.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmulationFile {
    /// Where chance comes from.
    #[serde(default)]
    pub seed: u64,
    /// The rule of each link. The most exact target counts: an address with its port, then an address, then `anywhere`.
    /// Who matches none meets nothing.
    #[serde(default, rename = "link")]
    pub links: BTreeMap<Target, Rule>,
}

/// The other end of a link: `127.0.0.1:7101`, `127.0.0.1` (any port) or `anywhere`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Target {
    /// One socket.
    Socket(SocketAddr),
    /// Every socket of a host.
    Host(IpAddr),
    /// Everybody else.
    Anywhere,
}

/// What a datagram meets on one link, in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// How long it is under way, in microseconds: 0, or at least [`DELAY_US_MIN`].
    pub delay_us: u64,
    /// At most how much longer, in microseconds; evenly spread from 0 to this. 0, or at least [`DELAY_US_MIN`].
    pub jitter_us: u64,
    /// Whether a datagram with less jitter may overtake one with more. Otherwise their order is kept.
    pub jitter_reorders: bool,
    /// Share of datagrams that are lost, each by a chance of its own.
    pub loss: f64,
    /// Share of datagrams that are held back for `reorder_us` more, so that later ones overtake them.
    pub reorder: f64,
    /// How long those are held back, in microseconds; at least [`DELAY_US_MIN`] if any are.
    pub reorder_us: u64,
    /// How many bytes pass in a second; 0 for any number.
    pub bandwidth_bytes_per_second: u64,
    /// How many bytes may wait for room on the link; what comes when they do is dropped.
    pub queue_bytes: u64,
    /// Where this link's chance comes from, besides the file's seed; from its place in the file if 0.
    pub seed: u64,
}

impl Default for Rule {
    fn default() -> Self {
        Self {
            delay_us: 0,
            jitter_us: 0,
            jitter_reorders: false,
            loss: 0.0,
            reorder: 0.0,
            reorder_us: 0,
            bandwidth_bytes_per_second: 0,
            queue_bytes: QUEUE_BYTES,
            seed: 0,
        }
    }
}

/// Why an emulation file was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum EmulationError {
    /// It could not be read.
    #[error("{}: cannot be read: {why}; fix: pass the path of an emulation file", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// It is no emulation file.
    #[error(
        "{}:{line}: {why}; fix: write `seed = 1` and sections such as [link.\"127.0.0.1:7101\"] with `delay_us = 40000`",
        .file.display()
    )]
    Malformed {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser said.
        why: String,
    },
    /// A rule says what cannot be emulated.
    #[error("{}: [link.\"{link}\"]: {problem}", .file.display())]
    Rule {
        /// The file.
        file: PathBuf,
        /// The link.
        link: Target,
        /// What is wrong with it.
        problem: RuleProblem,
    },
    /// Too many links.
    #[error("{}: {found} links, more than {LINKS_MAX}; fix: name hosts rather than sockets", .file.display())]
    TooMany {
        /// The file.
        file: PathBuf,
        /// How many there are.
        found: usize,
    },
}

/// What is wrong with one key of a rule.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("`{key}` is {value}; fix: write {fix}")]
pub struct RuleProblem {
    /// The key.
    pub key: &'static str,
    /// What it says.
    pub value: String,
    /// What it may say.
    pub fix: String,
}

impl EmulationFile {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// [`EmulationError`] names the file, where in it, and the fix.
    pub fn load(path: &Path) -> Result<Self, EmulationError> {
        let unreadable = |why| EmulationError::Unreadable { file: path.to_owned(), why };
        Self::parse(&sections::read(path, FILE_BYTES_MAX).map_err(unreadable)?, path)
    }

    /// Checks the text of a file; `path` is what errors call it.
    ///
    /// # Errors
    /// As [`EmulationFile::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, EmulationError> {
        let file: Self = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let line = 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
            EmulationError::Malformed { file: path.to_owned(), line, why: error.message().replace('\n', " ") }
        })?;
        if file.links.len() > LINKS_MAX {
            return Err(EmulationError::TooMany { file: path.to_owned(), found: file.links.len() });
        }
        for (link, rule) in &file.links {
            rule.check().map_err(|problem| EmulationError::Rule {
                file: path.to_owned(),
                link: *link,
                problem,
            })?;
        }
        Ok(file)
    }

    /// The text of the file.
    #[must_use]
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("numbers and flags under names are TOML")
    }

    /// The rule for a destination, and the target by which it was found.
    #[must_use]
    pub fn rule_for(&self, destination: SocketAddr) -> Option<(Target, &Rule)> {
        let found = |target| Some((target, self.links.get(&target)?));
        Target::of(destination).into_iter().find_map(found)
    }
}

impl Rule {
    /// Whether a datagram meets nothing at all.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        let Self { delay_us, jitter_us, loss, reorder, bandwidth_bytes_per_second, .. } = *self;
        (delay_us, jitter_us, bandwidth_bytes_per_second) == (0, 0, 0) && loss + reorder == 0.0
    }

    /// Refuses what cannot be emulated.
    ///
    /// # Errors
    /// [`RuleProblem`] names the key and the fix.
    pub fn check(&self) -> Result<(), RuleProblem> {
        let problem = |key, value: String, fix: String| Err(RuleProblem { key, value, fix });
        let times =
            [("delay_us", self.delay_us), ("jitter_us", self.jitter_us), ("reorder_us", self.reorder_us)];
        for (key, value) in times {
            if value > 0 && !(DELAY_US_MIN..=DELAY_US_MAX).contains(&value) {
                let fix =
                    format!("0, or {DELAY_US_MIN} to {DELAY_US_MAX}: a thread is not woken more exactly");
                return problem(key, value.to_string(), fix);
            }
        }
        for (key, value) in [("loss", self.loss), ("reorder", self.reorder)] {
            if !(0.0..1.0).contains(&value) {
                return problem(key, value.to_string(), "a share, from 0 to below 1".to_owned());
            }
        }
        if self.reorder > 0.0 && self.reorder_us == 0 {
            let fix = format!("{DELAY_US_MIN} or more, or `reorder = 0`");
            return problem("reorder_us", self.reorder_us.to_string(), fix);
        }
        let width = self.bandwidth_bytes_per_second;
        if width > 0 && !(BANDWIDTH_MIN..=BANDWIDTH_MAX).contains(&width) {
            let fix = format!("0, or {BANDWIDTH_MIN} to {BANDWIDTH_MAX}");
            return problem("bandwidth_bytes_per_second", width.to_string(), fix);
        }
        if !(QUEUE_BYTES_MIN..=QUEUE_BYTES_MAX).contains(&self.queue_bytes) {
            let fix = format!("{QUEUE_BYTES_MIN} to {QUEUE_BYTES_MAX}");
            return problem("queue_bytes", self.queue_bytes.to_string(), fix);
        }
        Ok(())
    }
}

impl Target {
    /// What a destination may be known by, the most exact first.
    pub(super) fn of(destination: SocketAddr) -> [Self; 3] {
        // A socket for both kinds of addresses writes the old ones in the form of the new.
        let host = destination.ip().to_canonical();
        [Self::Socket(SocketAddr::new(host, destination.port())), Self::Host(host), Self::Anywhere]
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "anywhere" {
            return Ok(Self::Anywhere);
        }
        let socket = text.parse().map(Self::Socket);
        let target = socket.or_else(|_| text.parse().map(Self::Host));
        target.map_err(|_| {
            format!("`{text}` is no target of a link, which is `127.0.0.1:7101`, `127.0.0.1` or `anywhere`")
        })
    }
}

impl TryFrom<String> for Target {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Target> for String {
    fn from(target: Target) -> Self {
        target.to_string()
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(address) => write!(f, "{address}"),
            Self::Host(address) => write!(f, "{address}"),
            Self::Anywhere => f.write_str("anywhere"),
        }
    }
}
