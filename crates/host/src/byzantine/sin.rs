//! Lies as text: a name, and when it is told.

use std::fmt;
use std::str::FromStr;

use quorate_protocol::types::{ClientId, Digest};

use super::trigger::{self, Trigger};

/// Every lie there is: its name, and what a replica that tells it does.
pub const NAMES: &[(&str, &str)] = &[
    ("mute", "says nothing, or nothing to some, or nothing of some kinds (to=1+3, kinds=pre-prepare+reply)"),
    ("delay", "says everything late, or some kinds of it (by=200ms, kinds=pre-prepare)"),
    (
        "equivocate",
        "shows some replicas one batch and the others another: proposes so as primary, votes so as backup (to=: who sees the \
         other)",
    ),
    ("equivocate-prepare", "votes PREPARE for one batch before some and for another before the others"),
    ("equivocate-commit", "votes COMMIT for one batch before some and for another before the others"),
    ("equivocate-checkpoint", "names one state before some and another before the others"),
    ("wrong-digest", "proposes batches under, and votes for, a digest that is no batch's"),
    (
        "withhold-bodies",
        "as primary proposes digests and keeps the batches; gives nobody a batch that was asked for",
    ),
    (
        "censor",
        "never proposes or passes on what a client asks (client=HEX; otherwise the first one it hears)",
    ),
    ("duplicate-requests", "as primary orders every request twice, and those of the batch before once more"),
    ("null-only", "as primary hides all requests from itself and orders null batches, so that slots pass"),
    ("jump-watermark", "as primary proposes at the far end of the window and leaves a gap"),
    ("forged-certificates", "shows certificates with signatures that nobody made, alone and in VIEW-CHANGEs"),
    ("stale-certificates", "shows its oldest certificates instead of its newest, alone and in VIEW-CHANGEs"),
    ("wrong-view-change", "leaves out of its VIEW-CHANGEs what it prepared, and signs them"),
    ("two-new-views", "opens its view with one NEW-VIEW before some and with another before the others"),
    ("rush-view-changes", "sends VIEW-CHANGEs for ever higher views (every=50ms)"),
    ("lying-replies", "answers clients with a wrong result, another one each time (words=: this one)"),
    ("colluding-replies", "answers clients with a wrong result, the same as all liars with its seed"),
    ("bad-chunks", "answers replicas that fetch a state with damaged parts of it"),
    ("stall-transfer", "never answers replicas that fetch a state"),
    ("shrink-transfer", "answers replicas that fetch a state with a lower one and fewer chunks each time"),
    ("flood", "sends votes, questions and rubbish as fast as it may (rate=2000 a second)"),
    ("replay-old", "sends again what it and others said long ago (every=5ms)"),
    ("broken-bytes", "damages frames after they were encoded"),
    (
        "wrong-execution",
        "executes commands with another last byte, so that its own state goes wrong (only seq= and probability= count)",
    ),
    ("twins", "runs two replicas under its one key, each of which knows and tells one half of the others"),
];

/// Why a text is no lie.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SinError {
    /// There is no such lie.
    #[error("`{0}` is no lie that a replica can tell; there are {list}", list = names())]
    Unknown(String),
    /// A lie is told otherwise.
    #[error("`{sin}` has no setting `{word}`; it has {known}")]
    Setting {
        /// The lie.
        sin: &'static str,
        /// What it was told.
        word: String,
        /// What there is.
        known: String,
    },
    /// A setting's value is none.
    #[error("`{sin}`: `{name}={value}` must be {fix}")]
    Value {
        /// The lie.
        sin: &'static str,
        /// The setting.
        name: &'static str,
        /// What it was told.
        value: String,
        /// What it may be told.
        fix: &'static str,
    },
    /// A setting is there twice.
    #[error("`{sin}`: `{name}` is there twice; leave one out")]
    Twice {
        /// The lie.
        sin: &'static str,
        /// The setting.
        name: String,
    },
}

fn names() -> String {
    NAMES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

/// What kinds of message there are for a lie that is about some of them; the last is what clients get.
pub(super) const KINDS: &[&str] = &[
    "pre-prepare",
    "prepare",
    "commit",
    "checkpoint",
    "view-change",
    "new-view",
    "commit-certificate",
    "stable-certificate",
    "status",
    "fetch-body",
    "body",
    "fetch-view-change",
    "forward",
    "transfer",
    "testimony",
    "reply",
];

/// What a lie consists of, besides when it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Deed {
    Mute { kinds: Vec<&'static str> },
    Delay { by_us: u64, kinds: Vec<&'static str> },
    Equivocate,
    EquivocatePrepare,
    EquivocateCommit,
    EquivocateCheckpoint,
    WrongDigest,
    WithholdBodies,
    Censor { client: Option<ClientId> },
    DuplicateRequests,
    NullOnly,
    JumpWatermark,
    ForgedCertificates,
    StaleCertificates,
    WrongViewChange,
    TwoNewViews,
    RushViewChanges { every_us: u64 },
    LyingReplies { words: Option<String> },
    ColludingReplies,
    BadChunks,
    StallTransfer,
    ShrinkTransfer,
    Flood { rate: u64 },
    ReplayOld { every_us: u64 },
    BrokenBytes,
    WrongExecution,
    Twins,
}

/// By how much messages are late if nothing else is said.
const LATE_US: u64 = 200_000;
/// How often views are rushed if nothing else is said.
const RUSH_US: u64 = 50_000;
/// How often something old is said again if nothing else is said.
const REPLAY_US: u64 = 5_000;
/// Messages per second of a flood if nothing else is said, and at most.
const FLOOD_RATE: u64 = 2_000;
const FLOOD_RATE_MAX: u64 = 100_000;

/// One lie, and when it is told: `equivocate`, `delay:by=200ms`,
/// `equivocate:view=0..2,seq=10..,after=3s,until=9s,probability=0.5,to=1+3`.
#[derive(Debug, Clone, PartialEq)]
pub struct Sin {
    pub(super) deed: Deed,
    pub(super) trigger: Trigger,
}

impl Sin {
    /// Its name, which is one of [`NAMES`].
    #[must_use]
    pub fn name(&self) -> &'static str {
        NAMES[self.place()].0
    }

    /// Where it stands among [`NAMES`].
    fn place(&self) -> usize {
        match self.deed {
            Deed::Mute { .. } => 0,
            Deed::Delay { .. } => 1,
            Deed::Equivocate => 2,
            Deed::EquivocatePrepare => 3,
            Deed::EquivocateCommit => 4,
            Deed::EquivocateCheckpoint => 5,
            Deed::WrongDigest => 6,
            Deed::WithholdBodies => 7,
            Deed::Censor { .. } => 8,
            Deed::DuplicateRequests => 9,
            Deed::NullOnly => 10,
            Deed::JumpWatermark => 11,
            Deed::ForgedCertificates => 12,
            Deed::StaleCertificates => 13,
            Deed::WrongViewChange => 14,
            Deed::TwoNewViews => 15,
            Deed::RushViewChanges { .. } => 16,
            Deed::LyingReplies { .. } => 17,
            Deed::ColludingReplies => 18,
            Deed::BadChunks => 19,
            Deed::StallTransfer => 20,
            Deed::ShrinkTransfer => 21,
            Deed::Flood { .. } => 22,
            Deed::ReplayOld { .. } => 23,
            Deed::BrokenBytes => 24,
            Deed::WrongExecution => 25,
            Deed::Twins => 26,
        }
    }
}

impl FromStr for Sin {
    type Err = SinError;

    fn from_str(text: &str) -> Result<Self, SinError> {
        let (name, settings) = text.trim().split_once(':').unwrap_or((text.trim(), ""));
        let known = NAMES.iter().find(|(known, _)| *known == name);
        let Some((name, _)) = known else { return Err(SinError::Unknown(name.to_owned())) };
        let mut arguments = Arguments::new(name, settings)?;
        let deed = deed(name, &mut arguments)?;
        let trigger = Trigger::take(&mut arguments)?;
        arguments.end()?;
        Ok(Self { deed, trigger })
    }
}

fn deed(name: &'static str, arguments: &mut Arguments<'_>) -> Result<Deed, SinError> {
    Ok(match name {
        "mute" => Deed::Mute { kinds: arguments.kinds()? },
        "delay" => Deed::Delay { by_us: arguments.time("by")?.unwrap_or(LATE_US), kinds: arguments.kinds()? },
        "equivocate" => Deed::Equivocate,
        "equivocate-prepare" => Deed::EquivocatePrepare,
        "equivocate-commit" => Deed::EquivocateCommit,
        "equivocate-checkpoint" => Deed::EquivocateCheckpoint,
        "wrong-digest" => Deed::WrongDigest,
        "withhold-bodies" => Deed::WithholdBodies,
        "censor" => {
            let client = |text: &str| text.parse::<Digest>().ok().map(ClientId);
            Deed::Censor { client: arguments.take("client", "the 64 digits of a client's name", client)? }
        }
        "duplicate-requests" => Deed::DuplicateRequests,
        "null-only" => Deed::NullOnly,
        "jump-watermark" => Deed::JumpWatermark,
        "forged-certificates" => Deed::ForgedCertificates,
        "stale-certificates" => Deed::StaleCertificates,
        "wrong-view-change" => Deed::WrongViewChange,
        "two-new-views" => Deed::TwoNewViews,
        "rush-view-changes" => Deed::RushViewChanges { every_us: arguments.period()?.unwrap_or(RUSH_US) },
        "lying-replies" => {
            let words = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            Deed::LyingReplies { words: arguments.take("words", "an answer without commas", words)? }
        }
        "colluding-replies" => Deed::ColludingReplies,
        "bad-chunks" => Deed::BadChunks,
        "stall-transfer" => Deed::StallTransfer,
        "shrink-transfer" => Deed::ShrinkTransfer,
        "flood" => {
            let rate = |text: &str| text.parse().ok().filter(|rate| (1..=FLOOD_RATE_MAX).contains(rate));
            let fix = "messages per second, from 1 to 100000";
            Deed::Flood { rate: arguments.take("rate", fix, rate)?.unwrap_or(FLOOD_RATE) }
        }
        "replay-old" => Deed::ReplayOld { every_us: arguments.period()?.unwrap_or(REPLAY_US) },
        "broken-bytes" => Deed::BrokenBytes,
        "wrong-execution" => Deed::WrongExecution,
        _ => Deed::Twins,
    })
}

impl fmt::Display for Sin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = |kinds: &[&str]| (!kinds.is_empty()).then(|| format!("kinds={}", kinds.join("+")));
        let every = |every_us: u64| format!("every={}", trigger::time(every_us));
        let mut words: Vec<String> = Vec::new();
        match &self.deed {
            Deed::Mute { kinds: some } => words.extend(kinds(some)),
            Deed::Delay { by_us, kinds: some } => {
                words.push(format!("by={}", trigger::time(*by_us)));
                words.extend(kinds(some));
            }
            Deed::Censor { client } => {
                words.extend(client.map(|client| format!("client={}", hexadecimal(&client.0))));
            }
            Deed::RushViewChanges { every_us } if *every_us != RUSH_US => words.push(every(*every_us)),
            Deed::ReplayOld { every_us } if *every_us != REPLAY_US => words.push(every(*every_us)),
            Deed::LyingReplies { words: Some(answer) } => words.push(format!("words={answer}")),
            Deed::Flood { rate } if *rate != FLOOD_RATE => words.push(format!("rate={rate}")),
            _ => {}
        }
        words.extend(self.trigger.words());
        f.write_str(self.name())?;
        if words.is_empty() { Ok(()) } else { write!(f, ":{}", words.join(",")) }
    }
}

fn hexadecimal(digest: &Digest) -> String {
    digest.0.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What stands behind a lie's name, each setting to be taken once.
pub(super) struct Arguments<'a> {
    sin: &'static str,
    left: Vec<(&'a str, &'a str)>,
    asked: Vec<&'static str>,
    /// What the last setting that was taken said.
    value: String,
}

impl<'a> Arguments<'a> {
    fn new(sin: &'static str, text: &'a str) -> Result<Self, SinError> {
        let mut left: Vec<(&str, &str)> = Vec::new();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            if left.iter().any(|(known, _)| *known == name) {
                return Err(SinError::Twice { sin, name: name.to_owned() });
            }
            left.push((name, value));
        }
        Ok(Self { sin, left, asked: Vec::new(), value: String::new() })
    }

    /// A setting's value, if it is there; `fix` says what it may be.
    pub(super) fn take<T>(
        &mut self,
        name: &'static str,
        fix: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, SinError> {
        self.asked.push(name);
        let Some(at) = self.left.iter().position(|(known, _)| *known == name) else { return Ok(None) };
        let (_, value) = self.left.remove(at);
        value.clone_into(&mut self.value);
        parse(value).map(Some).ok_or_else(|| self.wrong(name, fix))
    }

    /// The value that was taken last is wrong.
    pub(super) fn wrong(&self, name: &'static str, fix: &'static str) -> SinError {
        SinError::Value { sin: self.sin, name, value: self.value.clone(), fix }
    }

    pub(super) fn time(&mut self, name: &'static str) -> Result<Option<u64>, SinError> {
        self.take(name, "a time like `3s`, `200ms` or `50us`", trigger::microseconds)
    }

    fn period(&mut self) -> Result<Option<u64>, SinError> {
        let period = |text: &str| trigger::microseconds(text).filter(|us| *us >= 100);
        self.take("every", "a time of 100us or more", period)
    }

    fn kinds(&mut self) -> Result<Vec<&'static str>, SinError> {
        let kind = |word: &str| KINDS.iter().find(|kind| **kind == word).copied();
        let kinds = |text: &str| text.split('+').map(kind).collect();
        let fix = "kinds of message with `+` between them: pre-prepare, prepare, commit, checkpoint, view-change, \
                   new-view, commit-certificate, stable-certificate, status, fetch-body, body, fetch-view-change, \
                   forward, transfer, testimony, reply";
        Ok(self.take("kinds", fix, kinds)?.unwrap_or_default())
    }

    fn end(self) -> Result<(), SinError> {
        let Some((word, _)) = self.left.first() else { return Ok(()) };
        Err(SinError::Setting { sin: self.sin, word: (*word).to_owned(), known: self.asked.join(", ") })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
