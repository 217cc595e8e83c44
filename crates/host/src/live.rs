//! What a person may see of a cluster while it works: one form for a live page, a recorded run and a simulator's trace.
//!
//! A recording is a list of [`Moment`]s, in a file one JSON object a line, of which the first is a [`Header`]. Times are
//! microseconds since the recording began. Whoever reads one ignores what it does not know, so that an old page shows a
//! new recording.

mod lanes;
mod ring;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use quorate_protocol::replica::{Replica, Status};
use serde::{Deserialize, Serialize};

pub(crate) use self::lanes::{Heard, Lanes};
pub use self::ring::{EXCERPT_BYTES_MAX, EXCERPT_MAX, Excerpt, RING_MAX, Ring};

/// The version of the form that this program writes.
pub const VERSION: u16 = 1;

/// One thing that a page shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Moment {
    /// What the recording is of; the first of all.
    Header(Header),
    /// Where a replica stands.
    Replica(Stand),
    /// What one replica saw of one slot. A later one of the same replica, view and slot takes its place.
    Slot(SlotLane),
    /// What the clients got.
    Load(Load),
    /// Something that happened.
    Event(Happening),
    /// Somebody says something else than the others.
    Disagreement(Disagreement),
    /// How a run ended.
    Verdict {
        /// When, in microseconds of the recording.
        t: u64,
        /// In words.
        lines: Vec<String>,
    },
}

/// What a recording is of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The version of the form.
    pub version: u16,
    /// Who recorded.
    pub source: Source,
    /// What a page calls it.
    pub title: String,
    /// Replicas.
    pub n: u16,
    /// Faulty ones that are borne.
    pub f: u16,
    /// Equal votes that decide.
    pub q: u16,
    /// Whether the page may do something to the cluster, and not only look.
    #[serde(default)]
    pub control: bool,
    /// What it may do.
    #[serde(default)]
    pub commands: Vec<String>,
    /// Lies that it may have told.
    #[serde(default)]
    pub behaviours: Vec<String>,
    /// When the recording began, in microseconds of the wall clock; 0 where there is none.
    #[serde(default)]
    pub began: u64,
    /// Whether nothing more will come: then a page that gets it from a server plays it, and does not follow it.
    #[serde(default)]
    pub over: bool,
}

/// Who recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// A testbed, of all its replicas.
    Testbed,
    /// A replica, of itself.
    #[default]
    Replica,
    /// A simulator.
    Simulation,
}

/// Where a replica stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stand {
    /// When, in microseconds of the recording.
    pub t: u64,
    /// Which replica.
    pub id: u16,
    /// Whether it runs.
    pub up: bool,
    /// What it is doing.
    pub state: State,
    /// Its view.
    pub view: u64,
    /// The primary of that view.
    pub primary: u16,
    /// Highest slot executed.
    pub executed: u64,
    /// Highest slot up to which all committed.
    pub committed: u64,
    /// Its newest stable checkpoint.
    pub stable: u64,
    /// Its low watermark.
    pub low: u64,
    /// Its high watermark.
    pub high: u64,
    /// To whom it has a link, by id; to itself it has one.
    pub links: Vec<bool>,
    /// The lies that it has to tell, if it lies on purpose.
    pub behaviour: Option<String>,
    /// How many it told.
    pub lies: u64,
    /// How many alarms it raised.
    pub alarms: u64,
    /// Operations that wait there to be ordered.
    pub pending: u64,
}

/// What a replica is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// It takes part.
    #[default]
    #[serde(rename = "normal")]
    Normal,
    /// It left a view, and the next one is not open yet.
    #[serde(rename = "changing view")]
    ChangingView,
    /// It fetches what it missed.
    #[serde(rename = "catching up")]
    CatchingUp,
    /// It was told to stop, and hands over what it leads.
    #[serde(rename = "stopping")]
    Stopping,
    /// It may have forgotten votes, or its state was wrong: it is silent where that matters until it is mended.
    #[serde(rename = "healing")]
    Healing,
    /// It executes, and its word counts no more.
    #[serde(rename = "out")]
    Out,
    /// It found that more replicas are faulty than are borne, or that its key is used elsewhere.
    #[serde(rename = "halted")]
    Halted,
    /// It does not run.
    #[serde(rename = "stopped")]
    Stopped,
    /// Whoever records does not hear of it.
    #[serde(rename = "unreachable")]
    Unreachable,
}

/// What one replica saw of one slot; what did not happen there, or not yet, is none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotLane {
    /// When this was written, in microseconds of the recording.
    pub t: u64,
    /// Which replica.
    pub replica: u16,
    /// In which view.
    pub view: u64,
    /// The slot.
    pub seq: u64,
    /// Operations in its batch.
    pub operations: u64,
    /// The batch that `prepares` and `commits` are votes for, as it is named in a [`Disagreement`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<String>,
    /// When the oldest of its requests was found to be of its client, which sent it to this replica.
    pub request: Option<u64>,
    /// When the proposal was made here, or arrived.
    pub proposed: Option<u64>,
    /// Who voted PREPARE for it, and when that arrived; the primary's proposal is its vote.
    pub prepares: Vec<(u16, u64)>,
    /// When this replica had a prepared certificate.
    pub prepared: Option<u64>,
    /// Who voted COMMIT for it, and when that arrived.
    pub commits: Vec<(u16, u64)>,
    /// Who voted for another batch, PREPARE or COMMIT, when that arrived, and for which.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub otherwise: Vec<(u16, u64, String)>,
    /// When it had committed, and all slots before it.
    pub committed: Option<u64>,
    /// When it had executed.
    pub executed: Option<u64>,
    /// When its replies were given to the links.
    pub replied: Option<u64>,
}

/// What the clients got since the last of these.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// When, in microseconds of the recording.
    pub t: u64,
    /// Operations done in a second.
    pub per_second: u64,
    /// Half of them took no longer, in microseconds; none if there were none.
    pub p50_us: Option<u64>,
    /// Ninety-nine of a hundred took no longer, in microseconds; none if there were none.
    pub p99_us: Option<u64>,
    /// Operations done since the beginning.
    pub done: u64,
    /// Operations under way.
    pub in_flight: u64,
    /// Operations that failed since the beginning.
    pub failed: u64,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happening {
    /// When, in microseconds of the recording.
    pub t: u64,
    /// To which replica, if to one.
    pub replica: Option<u16>,
    /// What, in words.
    pub what: String,
    /// How much it matters.
    pub weight: Weight,
}

/// How much something matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// As it goes.
    Note,
    /// Somebody should look at it.
    Warning,
    /// Somebody lies, or is broken.
    Alarm,
    /// Somebody at the page or at the command line did it.
    Deed,
}

/// Somebody says something else than the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disagreement {
    /// When that was seen, in microseconds of the recording.
    pub t: u64,
    /// Who.
    pub replica: u16,
    /// At which slot.
    pub seq: u64,
    /// About what.
    pub about: About,
    /// What it says.
    pub says: String,
    /// What the others say, or whoever saw it.
    pub others: String,
}

/// What replicas may disagree about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum About {
    /// The batch of a slot: a vote for another one than this replica voted for.
    Batch,
    /// What was executed.
    History,
    /// The state at a checkpoint.
    Checkpoint,
    /// What a client was answered.
    Reply,
}

impl State {
    /// What a replica that runs is doing.
    #[must_use]
    pub fn of(replica: &Replica) -> Self {
        match replica.status() {
            Status::Halted => Self::Halted,
            Status::Out => Self::Out,
            Status::Diverged | Status::Recovering => Self::Healing,
            _ if replica.is_bound() => Self::Healing,
            _ if replica.is_retiring() => Self::Stopping,
            _ if replica.behind() => Self::CatchingUp,
            Status::Normal => Self::Normal,
            Status::ViewChanging => Self::ChangingView,
        }
    }
}

impl Moment {
    /// When it was, in microseconds of the recording; a header was before everything.
    #[must_use]
    pub fn at(&self) -> u64 {
        match self {
            Self::Header(_) => 0,
            Self::Replica(stand) => stand.t,
            Self::Slot(slot) => slot.t,
            Self::Load(load) => load.t,
            Self::Event(event) => event.t,
            Self::Disagreement(disagreement) => disagreement.t,
            Self::Verdict { t, .. } => *t,
        }
    }

    /// Bytes that it takes as it is written, about, and rather more than it does.
    #[must_use]
    pub fn weight(&self) -> usize {
        const PLAIN: usize = 320;
        let lists = match self {
            Self::Header(header) => {
                let names = header.commands.iter().chain(&header.behaviours);
                header.title.len() + names.map(|name| name.len() + 3).sum::<usize>()
            }
            Self::Replica(stand) => 6 * stand.links.len() + stand.behaviour.as_ref().map_or(0, String::len),
            Self::Slot(slot) => 25 * (slot.prepares.len() + slot.commits.len()) + 40 * slot.otherwise.len(),
            Self::Event(event) => event.what.len(),
            Self::Disagreement(wrong) => wrong.says.len() + wrong.others.len(),
            Self::Verdict { lines, .. } => lines.iter().map(|line| line.len() + 3).sum(),
            Self::Load(_) => 0,
        };
        PLAIN + lists
    }

    /// The same on the clock of another recording, which began so many microseconds earlier (or, if negative, later).
    /// What was before it began was at its beginning.
    #[must_use]
    pub fn shifted(mut self, earlier_us: i64) -> Self {
        let shift = |t: &mut u64| *t = t.saturating_add_signed(earlier_us);
        match &mut self {
            Self::Header(_) => {}
            Self::Replica(stand) => shift(&mut stand.t),
            Self::Slot(slot) => {
                let SlotLane {
                    t,
                    request,
                    proposed,
                    prepares,
                    prepared,
                    commits,
                    otherwise,
                    committed,
                    executed,
                    replied,
                    ..
                } = slot;
                shift(t);
                let steps = [request, proposed, prepared, committed, executed, replied];
                steps.into_iter().flatten().for_each(shift);
                prepares.iter_mut().chain(commits).for_each(|(_, at)| shift(at));
                otherwise.iter_mut().for_each(|(_, at, _)| shift(at));
            }
            Self::Load(load) => shift(&mut load.t),
            Self::Event(event) => shift(&mut event.t),
            Self::Disagreement(disagreement) => shift(&mut disagreement.t),
            Self::Verdict { t, .. } => shift(t),
        }
        self
    }
}
