//! Who is asked for what: every source in turn, each for a little at a time, and none of them for ever.

use std::collections::{BTreeMap, BTreeSet};

use quorate_protocol::types::{ReplicaId, Time};

/// How long a source has for an answer, in microseconds.
pub(super) const ANSWER_US: u64 = 500_000;
/// How long a source that did not answer, or has nothing, is left in peace, in microseconds.
pub(super) const REST_US: u64 = 500_000;
/// Chunks on their way at once, in all and from one source: about 1.5 MiB, and 4 MiB a source at the very most, which
/// one that serves at its rate sends well before anybody loses patience.
pub(super) const CHUNKS_ON_THE_WAY: usize = 32;
pub(super) const CHUNKS_OF_ONE_SOURCE: usize = 16;
/// Overdue questions whose answers are still taken.
const LATE_MAX: usize = 1024;

/// What is asked of a chunk. Pages follow their digests before the digests of another chunk do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Part {
    /// The digests of its pages.
    Digests,
    /// Those of its pages that are not here.
    Pages,
    /// All of it.
    Whole,
}

/// A question that waits for its answer: what of which chunk, or none for what the state consists of.
pub(super) type Asked = Option<(u32, Part)>;

#[derive(Debug, Clone, Copy)]
struct Ask {
    source: ReplicaId,
    until: Time,
}

#[derive(Debug)]
struct Source {
    id: ReplicaId,
    banned: bool,
    /// It said that it lacks the target, and sent nothing of it since.
    lacks: bool,
    rests_until: Time,
}

/// The questions about one target.
#[derive(Debug)]
pub(super) struct Asking {
    /// What is neither here nor asked for.
    wanted: BTreeSet<Asked>,
    asks: BTreeMap<Asked, Ask>,
    /// Questions that were asked again elsewhere; a slow answer is as good as a fast one.
    late: BTreeSet<(ReplicaId, Asked)>,
    sources: Vec<Source>,
    turn: usize,
}

impl Asking {
    /// Of these sources, what the target consists of first; `turn` says who comes first.
    pub(super) fn new(sources: &[ReplicaId], turn: u64) -> Self {
        let source = |id: &ReplicaId| Source { id: *id, banned: false, lacks: false, rests_until: Time(0) };
        let count = sources.len().max(1) as u64;
        Self {
            wanted: BTreeSet::from([None]),
            asks: BTreeMap::new(),
            late: BTreeSet::new(),
            sources: sources.iter().map(source).collect(),
            turn: usize::try_from(turn % count).unwrap_or(0),
        }
    }

    /// For another target: everybody is believed again.
    pub(super) fn begin_anew(&mut self) {
        self.wanted = BTreeSet::from([None]);
        self.asks.clear();
        self.late.clear();
        for source in &mut self.sources {
            (source.banned, source.lacks, source.rests_until) = (false, false, Time(0));
        }
    }

    pub(super) fn want(&mut self, what: Asked) {
        if !self.asks.contains_key(&what) {
            self.wanted.insert(what);
        }
    }

    /// Whether `from` was asked `what`; it is not any more.
    pub(super) fn settle(&mut self, from: ReplicaId, what: Asked) -> bool {
        let asked = self.asks.get(&what).is_some_and(|ask| ask.source == from);
        if asked {
            self.asks.remove(&what);
        }
        self.late.remove(&(from, what)) || asked
    }

    /// This came, from `from`. Whoever else was asked for it meanwhile answers in vain, and is not to blame for it.
    pub(super) fn have(&mut self, from: ReplicaId, what: Asked) {
        self.wanted.remove(&what);
        if let Some(ask) = self.asks.remove(&what) {
            self.late.insert((ask.source, what));
        }
        if let Some(source) = self.source(from) {
            source.lacks = false;
        }
    }

    /// Whether `from` is asked anything.
    pub(super) fn is_asked(&self, from: ReplicaId) -> bool {
        self.asks.values().any(|ask| ask.source == from)
    }

    pub(super) fn is_resting(&self, from: ReplicaId, now: Time) -> bool {
        self.sources.iter().any(|source| source.id == from && source.rests_until > now)
    }

    /// It has not got what it is asked for: others are asked, and it again after a rest.
    pub(super) fn lacks(&mut self, from: ReplicaId, now: Time) {
        self.take_back(from);
        if let Some(source) = self.source(from) {
            source.lacks = true;
            source.rests_until = now.plus(REST_US);
        }
    }

    /// It is asked nothing any more. Says whether that is new.
    pub(super) fn ban(&mut self, from: ReplicaId) -> bool {
        self.late.retain(|(source, _)| *source != from);
        self.take_back(from);
        self.source(from).is_some_and(|source| !std::mem::replace(&mut source.banned, true))
    }

    /// Sources that lack the target.
    pub(super) fn lacking(&self) -> usize {
        self.sources.iter().filter(|source| source.lacks).count()
    }

    /// Whether nobody is left to be asked.
    pub(super) fn has_nobody(&self) -> bool {
        self.sources.iter().all(|source| source.lacks || source.banned)
    }

    /// Gives up waiting for overdue answers; says how many these were.
    pub(super) fn expire(&mut self, now: Time) -> u64 {
        let overdue: Vec<(Asked, ReplicaId)> = self
            .asks
            .iter()
            .filter(|(_, ask)| ask.until <= now)
            .map(|(what, ask)| (*what, ask.source))
            .collect();
        for (what, from) in &overdue {
            self.asks.remove(what);
            self.wanted.insert(*what);
            self.late.insert((*from, *what));
            if let Some(source) = self.source(*from) {
                source.rests_until = now.plus(REST_US);
            }
        }
        while self.late.len() > LATE_MAX {
            self.late.pop_first();
        }
        overdue.len() as u64
    }

    /// The next question, and whom to ask it; it is on its way then.
    pub(super) fn next(&mut self, now: Time) -> Option<(ReplicaId, Asked)> {
        if self.asks.len() >= CHUNKS_ON_THE_WAY {
            return None;
        }
        let what = self.wanted.first().copied()?;
        let count = self.sources.len();
        let mut turns = (0..count).map(|offset| (self.turn + offset) % count);
        let turn = turns.find(|turn| {
            let source = &self.sources[*turn];
            source.rests_until <= now && self.has_room(source)
        })?;
        self.turn = (turn + 1) % count;
        let source = self.sources[turn].id;
        self.wanted.remove(&what);
        self.asks.insert(what, Ask { source, until: now.plus(ANSWER_US) });
        Some((source, what))
    }

    /// When an answer is overdue, or, where `more` may be asked, somebody has rested who can be asked.
    pub(super) fn deadline(&self, more: bool) -> Option<Time> {
        let answers = self.asks.values().map(|ask| ask.until);
        let room = more && self.asks.len() < CHUNKS_ON_THE_WAY && !self.wanted.is_empty();
        let rested = self.sources.iter().filter(|source| room && self.has_room(source));
        answers.chain(rested.map(|source| source.rests_until)).min()
    }

    /// Who is asked right now, ascending.
    pub(super) fn asked(&self) -> Vec<ReplicaId> {
        let asked: BTreeSet<ReplicaId> = self.asks.values().map(|ask| ask.source).collect();
        asked.into_iter().collect()
    }

    /// Whether a source may be asked one thing more, once it has rested.
    fn has_room(&self, source: &Source) -> bool {
        let asked = self.asks.values().filter(|ask| ask.source == source.id).count();
        !source.banned && asked < CHUNKS_OF_ONE_SOURCE
    }

    /// What this source was asked is to be asked of others.
    fn take_back(&mut self, from: ReplicaId) {
        let mine = self.asks.iter().filter(|(_, ask)| ask.source == from);
        let asked: Vec<Asked> = mine.map(|(what, _)| *what).collect();
        for what in asked {
            self.asks.remove(&what);
            self.wanted.insert(what);
        }
    }

    fn source(&mut self, id: ReplicaId) -> Option<&mut Source> {
        self.sources.iter_mut().find(|source| source.id == id)
    }
}
