//! Reading the file of a network.

use std::path::{Path, PathBuf};

use quorate_node::emulation::{Rule, RuleProblem};
use quorate_node::sections;
use serde::Deserialize;

use super::{ClientRegions, KNOWN, LOOPBACK, Network, REGIONS_MAX};

/// Most bytes the file of a network may have.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why a network cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// No file, and no name of one.
    #[error(
        "there is no network `{name}`; fix: write {}, `{LOOPBACK}`, or the path of a network's file",
        known()
    )]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// The file could not be read.
    #[error("{}: cannot be read: {why}; fix: pass the path of a network's file", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// The file is no network.
    #[error("{}:{line}: {why}; fix: compare it with configs/networks/wan-world.toml", .file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser said.
        why: String,
    },
    /// A value means nothing.
    #[error("{}: `{key}` {problem}; fix: {fix}", .file.display())]
    Value {
        /// The file.
        file: PathBuf,
        /// The key, with where it stands.
        key: String,
        /// What is wrong with it.
        problem: String,
        /// What to do about it.
        fix: String,
    },
    /// A rule cannot be emulated.
    #[error("{}: {place}: {problem}", .file.display())]
    Rule {
        /// The file.
        file: PathBuf,
        /// Which rule.
        place: String,
        /// What is wrong with it.
        problem: RuleProblem,
    },
}

/// The file, as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    about: String,
    #[serde(default)]
    source: String,
    #[serde(default)]
    measured: String,
    #[serde(default = "spread")]
    clients: String,
    #[serde(default)]
    link: Rule,
    region: Vec<Region>,
    #[serde(default)]
    between: Vec<Between>,
}

/// A region, and the round trips from it to every region of the file, itself included, in their order.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Region {
    name: String,
    round_trip_ms: Vec<f64>,
}

/// A directed link that is unlike the others.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Between {
    from: String,
    to: String,
    rule: Rule,
}

fn spread() -> String {
    "spread".to_owned()
}

fn known() -> String {
    KNOWN.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

impl Network {
    /// The network of a name, or of the file at a path that is absolute or relative to `folder`; none for the machine's own.
    ///
    /// # Errors
    /// [`NetworkError`] names the file, the place in it, and the fix.
    pub fn find(name: &str, folder: &Path) -> Result<Option<Self>, NetworkError> {
        if name == LOOPBACK {
            return Ok(None);
        }
        if let Some((name, text)) = KNOWN.iter().find(|(known, _)| *known == name) {
            return Self::parse(text, &Path::new("configs/networks").join(format!("{name}.toml"))).map(Some);
        }
        if Path::new(name).extension().is_none_or(|extension| extension != "toml") {
            return Err(NetworkError::Unknown { name: name.to_owned() });
        }
        Self::load(&folder.join(name)).map(Some)
    }

    /// Reads and checks the file at `path`; the network is called what the file is, without its extension.
    ///
    /// # Errors
    /// As [`Network::find`].
    pub fn load(path: &Path) -> Result<Self, NetworkError> {
        let unreadable = |why| NetworkError::Unreadable { file: path.to_owned(), why };
        Self::parse(&sections::read(path, FILE_BYTES_MAX).map_err(unreadable)?, path)
    }

    /// Checks the text of a file; `path` is what errors and the network are called by.
    ///
    /// # Errors
    /// As [`Network::find`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, NetworkError> {
        let raw: Raw = toml::from_str(text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            let line = 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
            NetworkError::Malformed { file: path.to_owned(), line, why: error.message().replace('\n', " ") }
        })?;
        Reading { file: path, raw: &raw }.network()
    }
}

/// A file on its way to a network.
struct Reading<'a> {
    file: &'a Path,
    raw: &'a Raw,
}

impl Reading<'_> {
    fn network(&self) -> Result<Network, NetworkError> {
        let raw = self.raw;
        self.check_names()?;
        if raw.link.delay_us > 0 {
            let fix = "leave it out; delays are half of `round_trip_ms`, or stand in [[between]]";
            return Err(self.value("link.delay_us", "stands for every link".to_owned(), fix));
        }
        let links = raw.region.iter().map(|from| self.links_from(from)).collect::<Result<Vec<_>, _>>()?;
        let clients = match raw.clients.as_str() {
            "spread" => ClientRegions::Spread,
            name => ClientRegions::One(self.region("clients", name)?),
        };
        let mut network = Network {
            name: self.file.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            about: raw.about.clone(),
            source: raw.source.clone(),
            measured: raw.measured.clone(),
            regions: raw.region.iter().map(|region| region.name.clone()).collect(),
            clients,
            links,
        };
        for between in &raw.between {
            let (from, to) =
                (self.region("between.from", &between.from)?, self.region("between.to", &between.to)?);
            let delay_us = match between.rule.delay_us {
                0 => network.links[from][to].delay_us,
                delay_us => delay_us,
            };
            let rule = Rule { delay_us, ..between.rule };
            self.check_rule(&rule, &format!("[[between]] from {} to {}", between.from, between.to))?;
            network.links[from][to] = rule;
        }
        Ok(network)
    }

    fn check_names(&self) -> Result<(), NetworkError> {
        let regions = &self.raw.region;
        if regions.is_empty() || regions.len() > REGIONS_MAX {
            let problem = format!("stands {} times", regions.len());
            return Err(self.value("[[region]]", problem, &format!("have 1 to {REGIONS_MAX} regions")));
        }
        for (index, region) in regions.iter().enumerate() {
            if region.name.trim().is_empty() || region.name == "spread" {
                return Err(self.value("region.name", format!("is `{}`", region.name), "name a region"));
            }
            if regions[..index].iter().any(|earlier| earlier.name == region.name) {
                let problem = format!("is `{}` twice", region.name);
                return Err(self.value("region.name", problem, "make the two differ"));
            }
        }
        Ok(())
    }

    /// The links that leave a region. Half of a round trip is the way there: that is what can be known from round trips,
    /// and what they add up to again.
    fn links_from(&self, from: &Region) -> Result<Vec<Rule>, NetworkError> {
        let (found, wanted) = (from.round_trip_ms.len(), self.raw.region.len());
        let key = format!("round_trip_ms of {}", from.name);
        if found != wanted {
            let problem = format!("has {found} figures for {wanted} regions");
            return Err(self.value(
                &key,
                problem,
                "write one for each region, its own included, in their order",
            ));
        }
        let link = |(to, round_trip_ms): (&Region, &f64)| {
            if !(0.0..=10_000.0).contains(round_trip_ms) {
                let problem = format!("has {round_trip_ms}");
                return Err(self.value(&key, problem, "write milliseconds from 0 to 10000"));
            }
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is 0 to 5 million"
            )]
            let delay_us = (round_trip_ms * 500.0).round() as u64;
            let rule = Rule { delay_us, ..self.raw.link };
            self.check_rule(&rule, &format!("the link from {} to {}", from.name, to.name))?;
            Ok(rule)
        };
        self.raw.region.iter().zip(&from.round_trip_ms).map(link).collect()
    }

    fn region(&self, key: &str, name: &str) -> Result<usize, NetworkError> {
        let found = self.raw.region.iter().position(|region| region.name == name);
        found.ok_or_else(|| {
            let names: Vec<&str> = self.raw.region.iter().map(|region| region.name.as_str()).collect();
            let fix = format!("write one of {}", names.join(", "));
            self.value(key, format!("is `{name}`, which is no region of this file"), &fix)
        })
    }

    fn check_rule(&self, rule: &Rule, place: &str) -> Result<(), NetworkError> {
        rule.check().map_err(|problem| NetworkError::Rule {
            file: self.file.to_owned(),
            place: place.to_owned(),
            problem,
        })
    }

    fn value(&self, key: &str, problem: String, fix: &str) -> NetworkError {
        NetworkError::Value { file: self.file.to_owned(), key: key.to_owned(), problem, fix: fix.to_owned() }
    }
}
