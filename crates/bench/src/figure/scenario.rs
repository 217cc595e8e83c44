//! What goes wrong in a cell: a short name in the file, and who does what when in a cluster of a certain size.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use quorate_node::cluster_file::Problem;

use crate::cluster::Deed;

/// Connections over which a client signs badly.
const BAD_CONNECTIONS: u16 = 100;
/// The part of client traffic that they are.
const BAD_SHARE: f64 = 0.5;
/// By how much a slow replica is late if nothing else is said.
const LATE: &str = "by=100ms";

/// Forms of a scenario, for errors and documents.
pub const FORMS: &[(&str, &str)] = &[
    ("none", "nothing"),
    ("crash:K", "K backups are killed before anything is measured, and stay away"),
    (
        "crash-primary@T",
        "the primary is killed at T of the measured time (`:back=T2`: and starts again so much later)",
    ),
    ("pause-primary@T", "the primary is stopped at T (`:back=T2`: and goes on so much later)"),
    ("silent:K", "K backups say nothing; `silent-primary`: replica 0, which is the first primary"),
    (
        "equivocate:K",
        "K backups vote for one batch before some and for another before the others; `equivocate-primary`",
    ),
    ("delay:K", "K backups say everything late (`:by=200ms`); `delay-primary`: its proposals are late"),
    ("lying-replies:K", "K backups answer clients with wrong results; `lying-replies-primary`"),
    ("flood:K", "K backups send rubbish as fast as they may (`:rate=2000` a second); `flood-primary`"),
    (
        "bad-signatures",
        "half of client traffic is badly signed, from 100 connections that come back when closed",
    ),
    (
        "lie:K:BEHAVIOUR",
        "K backups show any behaviour of `quorate replica --byzantine`; `lie-primary:BEHAVIOUR`",
    ),
];

/// Why a text is no scenario, or no scenario for a cluster; in words that follow the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScenarioError {
    /// Nothing that goes wrong is called so.
    #[error("is `{0}`, which is no scenario")]
    Unknown(String),
    /// It needs to know how many replicas.
    #[error("is `{0}`, which does not say how many replicas")]
    Count(String, String),
    /// It needs to know when.
    #[error("is `{0}`, which does not say when")]
    When(String, String),
    /// Something stands behind it that does not belong there.
    #[error("is `{0}`, which ends in `{1}`")]
    Rest(String, String, &'static str),
    /// A behaviour that a replica cannot show.
    #[error("is `{0}`: {1}")]
    Behaviour(String, String),
    /// More replicas are faulty than the cluster tolerates.
    #[error("is `{scenario}`, which makes {faulty} of {n} replicas faulty; they tolerate {f}")]
    TooMany {
        /// The scenario.
        scenario: String,
        /// Replicas that are faulty in it.
        faulty: u16,
        /// Replicas.
        n: u16,
        /// How many may be faulty.
        f: u16,
    },
    /// There are not so many backups.
    #[error("is `{scenario}`, which takes {asked} backups; {n} replicas have {}", .n.saturating_sub(1))]
    Backups {
        /// The scenario.
        scenario: String,
        /// Backups that it takes.
        asked: u16,
        /// Replicas.
        n: u16,
    },
}

impl ScenarioError {
    /// What to do about it.
    #[must_use]
    pub fn fix(&self) -> String {
        let forms = || FORMS.iter().map(|(form, _)| format!("`{form}`")).collect::<Vec<_>>().join(", ");
        match self {
            Self::Unknown(_) => format!("write one of {}", forms()),
            Self::Count(_, word) => {
                format!("write `{word}:f`, `{word}:f-1` or a number from 1, such as `{word}:1`")
            }
            Self::When(_, word) => {
                format!("write `{word}@2s` or `{word}@500ms`, counted in the measured time")
            }
            Self::Rest(_, _, fix) => (*fix).to_owned(),
            Self::Behaviour(..) => {
                "write it as for `quorate replica --byzantine`, whose help lists all".to_owned()
            }
            Self::TooMany { .. } => {
                "write `f` for the number, leave those cells out with [[skip]], or say `beyond_f = true`"
                    .to_owned()
            }
            Self::Backups { .. } => "write a smaller number, or `f`".to_owned(),
        }
    }

    pub(super) fn problem(&self) -> Problem {
        Problem::Rule { what: self.to_string(), fix: self.fix() }
    }
}

/// How many replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// So many.
    Number(u16),
    /// As many as are tolerated.
    F,
    /// One less than are tolerated.
    LessThanF,
}

impl Count {
    /// The number where f are tolerated.
    #[must_use]
    pub fn of(self, f: u16) -> u16 {
        match self {
            Self::Number(number) => number,
            Self::F => f,
            Self::LessThanF => f.saturating_sub(1),
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::F => f.write_str("f"),
            Self::LessThanF => f.write_str("f-1"),
        }
    }
}

/// Who lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// Replica 0, the primary of the first view.
    Primary,
    /// So many of those with the highest ids.
    Backups(Count),
}

/// What happens to the primary during the measured time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outage {
    /// Its process is killed.
    Crash,
    /// Its process is stopped.
    Pause,
}

/// What goes wrong in a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scenario {
    /// Nothing.
    None,
    /// Backups are gone from the beginning.
    Crash(Count),
    /// The primary goes at some time of the measured time, and comes back so much later, if that is said.
    Outage {
        /// How it goes.
        kind: Outage,
        /// When.
        at: Duration,
        /// After how long it comes back.
        back: Option<Duration>,
    },
    /// Replicas lie.
    Lie {
        /// One of the names of [`FORMS`], or `lie`.
        name: &'static str,
        /// Who does.
        who: Who,
        /// Settings of the behaviour, or the whole behaviour of `lie`; empty for the usual.
        how: String,
    },
    /// Clients sign badly.
    BadSignatures,
}

/// The behaviour of the workshop that says nothing.
const MUTE: &str = "mute";
/// Names of lies, and the behaviour of the workshop that each is.
const LIES: &[(&str, &str)] = &[
    ("silent", MUTE),
    ("equivocate", "equivocate"),
    ("delay", "delay"),
    ("lying-replies", "lying-replies"),
    ("flood", "flood"),
    ("lie", ""),
];

/// Who does what when in one cluster.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Replicas that are killed before anything is measured.
    pub crashed: Vec<u16>,
    /// Who lies, and the behaviours of each, as `quorate replica --byzantine` takes them.
    pub liars: BTreeMap<u16, Vec<String>>,
    /// What happens during the measured time, in order.
    pub strikes: Vec<Strike>,
    /// Clients that sign badly.
    pub bad_clients: Option<BadClients>,
}

impl Plan {
    /// Replicas of which nothing is expected: those that are gone for a while or for good, and those that lie.
    #[must_use]
    pub fn faulty(&self) -> u16 {
        let struck = self.strikes.iter().filter(|strike| strike.deed.takes_away()).count();
        u16::try_from(self.crashed.len() + self.liars.len() + struck).unwrap_or(u16::MAX)
    }

    /// Replicas that say nothing from the beginning. Who lies otherwise may still be waited for.
    #[must_use]
    pub fn absent(&self) -> Vec<u16> {
        let mute = |told: &[String]| told.iter().any(|behaviour| behaviour.starts_with(MUTE));
        let silent = self.liars.iter().filter(|(_, told)| mute(told)).map(|(id, _)| *id);
        self.crashed.iter().copied().chain(silent).collect()
    }
}

/// Clients that sign badly, and connect again when they are closed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BadClients {
    /// Their connections.
    pub connections: u16,
    /// The part of all client traffic that they send.
    pub share: f64,
}

/// Something that happens during the measured time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strike {
    /// Since the measured time began.
    pub after: Duration,
    /// What.
    pub deed: Deed,
    /// To whom.
    pub whom: Whom,
}

/// Whom a strike hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    /// Whoever is primary then.
    Primary,
    /// Whoever was struck last.
    Last,
}

impl Scenario {
    /// The same with numbers for `f` and `f-1`: what it means where f are tolerated.
    #[must_use]
    pub fn at(&self, f: u16) -> Self {
        let number = |count: Count| Count::Number(count.of(f));
        match self {
            Self::Crash(count) => Self::Crash(number(*count)),
            Self::Lie { name, who: Who::Backups(count), how } => {
                Self::Lie { name, who: Who::Backups(number(*count)), how: how.clone() }
            }
            Self::None | Self::Outage { .. } | Self::Lie { .. } | Self::BadSignatures => self.clone(),
        }
    }

    /// Who does what in a cluster of `n` replicas that tolerates `f`. None: nobody does anything, because `f-1` is 0.
    ///
    /// # Errors
    /// [`ScenarioError`] if more than f replicas would be faulty, which `beyond_f` allows, or there are not so many.
    pub fn plan(&self, n: u16, f: u16, beyond_f: bool) -> Result<Option<Plan>, ScenarioError> {
        let mut plan = Plan::default();
        match self {
            Self::None => {}
            Self::Crash(count) => plan.crashed = self.backups(*count, n, f)?,
            Self::Outage { kind, at, back } => {
                let (down, up) = match kind {
                    Outage::Crash => (Deed::Kill, Deed::Restart),
                    Outage::Pause => (Deed::Pause, Deed::Resume),
                };
                plan.strikes.push(Strike { after: *at, deed: down, whom: Whom::Primary });
                let back = back.map(|back| Strike { after: *at + back, deed: up, whom: Whom::Last });
                plan.strikes.extend(back);
            }
            Self::Lie { name, who, how } => {
                let who = match who {
                    Who::Primary => vec![0],
                    Who::Backups(count) => self.backups(*count, n, f)?,
                };
                plan.liars.extend(who.into_iter().map(|id| (id, vec![self.behaviour(name, how)])));
            }
            Self::BadSignatures => {
                let (connections, share) = (BAD_CONNECTIONS, BAD_SHARE);
                plan.bad_clients = Some(BadClients { connections, share });
            }
        }
        let faulty = plan.faulty();
        if faulty > f && !beyond_f {
            return Err(ScenarioError::TooMany { scenario: self.to_string(), faulty, n, f });
        }
        Ok((plan != Plan::default() || *self == Self::None).then_some(plan))
    }

    /// The highest ids, in ascending order: none of them is the first primary.
    fn backups(&self, count: Count, n: u16, f: u16) -> Result<Vec<u16>, ScenarioError> {
        let asked = count.of(f);
        if asked >= n {
            return Err(ScenarioError::Backups { scenario: self.to_string(), asked, n });
        }
        Ok((n - asked..n).collect())
    }

    /// A behaviour as `quorate replica --byzantine` takes it.
    fn behaviour(&self, name: &str, how: &str) -> String {
        let sin = LIES.iter().find(|(known, _)| *known == name).map_or("", |(_, sin)| *sin);
        let is_primary = matches!(self, Self::Lie { who: Who::Primary, .. });
        let mut settings: Vec<&str> = how.split(',').filter(|word| !word.is_empty()).collect();
        if sin.is_empty() {
            return how.to_owned();
        }
        if sin == "delay" {
            let says = |settings: &[&str], word: &str| settings.iter().any(|known| known.starts_with(word));
            if !says(&settings, "by=") {
                settings.push(LATE);
            }
            if is_primary && !says(&settings, "kinds=") {
                settings.push("kinds=pre-prepare");
            }
        }
        if settings.is_empty() { sin.to_owned() } else { format!("{sin}:{}", settings.join(",")) }
    }

    /// When the last thing happens during the measured time, if any does.
    #[must_use]
    pub fn last_strike(&self) -> Option<Duration> {
        match self {
            Self::Outage { at, back, .. } => Some(*at + back.unwrap_or_default()),
            Self::None | Self::Crash(_) | Self::Lie { .. } | Self::BadSignatures => None,
        }
    }
}

impl FromStr for Scenario {
    type Err = ScenarioError;

    fn from_str(text: &str) -> Result<Self, ScenarioError> {
        let text = text.trim();
        let word = &text[..text.find([':', '@']).unwrap_or(text.len())];
        let rest = &text[word.len()..];
        let plain = |scenario| match rest {
            "" => Ok(scenario),
            _ => Err(ScenarioError::Rest(text.into(), rest.into(), "end it there")),
        };
        match word {
            "none" => return plain(Self::None),
            "bad-signatures" => return plain(Self::BadSignatures),
            "crash" => {
                let (count, rest) = count(text, rest)?;
                return match rest {
                    "" => Ok(Self::Crash(count)),
                    _ => Err(ScenarioError::Rest(text.into(), rest.into(), "end it there")),
                };
            }
            "crash-primary" => return outage(Outage::Crash, text, rest),
            "pause-primary" => return outage(Outage::Pause, text, rest),
            _ => {}
        }
        let is_primary = word.ends_with("-primary");
        let stem = word.strip_suffix("-primary").unwrap_or(word);
        let known = LIES.iter().find(|(name, _)| *name == stem);
        let (name, _) = known.ok_or_else(|| ScenarioError::Unknown(text.into()))?;
        let (who, rest) = match is_primary {
            true => (Who::Primary, rest),
            false => count(text, rest).map(|(count, rest)| (Who::Backups(count), rest))?,
        };
        let how = rest.strip_prefix(':').unwrap_or_default();
        if !rest.is_empty() && how.is_empty() {
            return Err(ScenarioError::Rest(
                text.into(),
                rest.into(),
                "write `:` and settings, such as `:by=200ms`, or end it before",
            ));
        }
        let scenario = Self::Lie { name, who, how: how.into() };
        check_behaviour(&scenario.behaviour(name, how))
            .map_err(|why| ScenarioError::Behaviour(text.into(), why))?;
        Ok(scenario)
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::BadSignatures => f.write_str("bad-signatures"),
            Self::Crash(count) => write!(f, "crash:{count}"),
            Self::Outage { kind, at, back } => {
                let name = match kind {
                    Outage::Crash => "crash-primary",
                    Outage::Pause => "pause-primary",
                };
                write!(f, "{name}@{}", words_of(*at))?;
                back.map_or(Ok(()), |back| write!(f, ":back={}", words_of(back)))
            }
            Self::Lie { name, who, how } => {
                match who {
                    Who::Primary => write!(f, "{name}-primary")?,
                    Who::Backups(count) => write!(f, "{name}:{count}")?,
                }
                if how.is_empty() { Ok(()) } else { write!(f, ":{how}") }
            }
        }
    }
}

/// The count behind a name, and what is behind the count.
fn count<'a>(scenario: &str, rest: &'a str) -> Result<(Count, &'a str), ScenarioError> {
    let word = scenario.strip_suffix(rest).unwrap_or(scenario);
    let missing = || ScenarioError::Count(scenario.into(), word.into());
    let behind = rest.strip_prefix(':').ok_or_else(missing)?;
    let (text, rest) = behind.split_at(behind.find(':').unwrap_or(behind.len()));
    let count = match text {
        "f" => Count::F,
        "f-1" => Count::LessThanF,
        number => Count::Number(number.parse().ok().filter(|number| *number > 0).ok_or_else(missing)?),
    };
    Ok((count, rest))
}

fn outage(kind: Outage, text: &str, rest: &str) -> Result<Scenario, ScenarioError> {
    let word = text.strip_suffix(rest).unwrap_or(text);
    let missing = || ScenarioError::When(text.into(), word.into());
    let behind = rest.strip_prefix('@').ok_or_else(missing)?;
    let (at, rest) = behind.split_at(behind.find(':').unwrap_or(behind.len()));
    let at = time(at).ok_or_else(missing)?;
    let back = match rest {
        "" => None,
        _ => {
            let back = rest.strip_prefix(":back=").and_then(time).filter(|back| !back.is_zero());
            let wrong =
                || ScenarioError::Rest(word.into(), rest.into(), "write `:back=` and a time such as 2s");
            Some(back.ok_or_else(wrong)?)
        }
    };
    Ok(Scenario::Outage { kind, at, back })
}

/// `2s`, `1500ms`.
fn time(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|letter: char| !letter.is_ascii_digit())?);
    let number: u32 = number.parse().ok()?;
    match unit {
        "s" => Some(Duration::from_secs(number.into())),
        "ms" => Some(Duration::from_millis(number.into())),
        _ => None,
    }
}

fn words_of(time: Duration) -> String {
    match time.as_millis() {
        whole if whole.is_multiple_of(1000) => format!("{}s", whole / 1000),
        other => format!("{other}ms"),
    }
}

/// Sees that a replica takes the behaviour.
#[cfg(feature = "byzantine")]
fn check_behaviour(behaviour: &str) -> Result<(), String> {
    let sin: Result<quorate_host::byzantine::Sin, _> = behaviour.parse();
    sin.map(drop).map_err(|error| error.to_string())
}

/// A program without liars measures none.
#[cfg(not(feature = "byzantine"))]
fn check_behaviour(_behaviour: &str) -> Result<(), String> {
    Err("this program was built without replicas that lie (feature `byzantine`)".to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
