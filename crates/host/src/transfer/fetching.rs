//! The fetching side: one certified state at a time, from all replicas in turn.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use quorate_protocol::executor::State;
use quorate_protocol::message::{CHUNK_BYTES, CHUNKS_MAX, Checkpoint, Summary, Transfer};
use quorate_protocol::snapshot::{chunk_digest, chunk_root};
use quorate_protocol::types::{Digest, ReplicaId, Seq, Time};

use super::{Counters, Post, Progress};

/// How long the log may try to make up for what is missing before a state is fetched, in microseconds. It tries anew
/// with every slot that it makes up for.
pub(super) const GRACE_US: u64 = 300_000;
/// How long a source has for an answer, in microseconds.
pub(super) const ANSWER_US: u64 = 500_000;
/// How long a source that did not answer, or has nothing, is left in peace, in microseconds.
pub(super) const REST_US: u64 = 500_000;
/// Chunks on their way at once, in all and from one source.
pub(super) const CHUNKS_ON_THE_WAY: usize = 6;
const CHUNKS_OF_ONE_SOURCE: usize = 3;
/// Overdue questions whose answers are still taken.
const LATE_MAX: usize = 256;

/// A question that waits for its answer: which chunk, or none for the summary.
type Asked = Option<u32>;

#[derive(Debug, Clone, Copy)]
struct Ask {
    source: ReplicaId,
    until: Time,
}

#[derive(Debug)]
struct Source {
    id: ReplicaId,
    banned: bool,
    rests_until: Time,
}

/// What the target consists of.
#[derive(Debug)]
struct Contents {
    summary: Summary,
    digests: Vec<Digest>,
    chunks: Vec<Option<Bytes>>,
    have: usize,
}

#[derive(Debug)]
struct Job {
    target: Checkpoint,
    begin_at: Time,
    begun: bool,
    contents: Option<Contents>,
    /// What is neither here nor asked for.
    wanted: BTreeSet<Asked>,
    asks: BTreeMap<Asked, Ask>,
    /// Questions that were asked again elsewhere; a slow answer is as good as a fast one.
    late: BTreeSet<(ReplicaId, Asked)>,
    sources: Vec<Source>,
    turn: usize,
    /// Chunks of the target before, by digest, until the next one's contents are known.
    old: BTreeMap<Digest, Bytes>,
}

/// Fetches states.
#[derive(Debug)]
pub(super) struct Fetching {
    sources: Vec<ReplicaId>,
    bytes_max: u64,
    job: Option<Job>,
    counters: Counters,
}

impl Fetching {
    pub(super) fn new(sources: Vec<ReplicaId>, bytes_max: u64) -> Self {
        Self { sources, bytes_max, job: None, counters: Counters::default() }
    }

    pub(super) fn aim(&mut self, now: Time, target: Checkpoint) {
        match &mut self.job {
            Some(job) if job.target.seq >= target.seq => {}
            Some(job) => job.move_on(target),
            None => self.job = Some(Job::new(target, now.plus(GRACE_US), &self.sources)),
        }
    }

    pub(super) fn postpone(&mut self, now: Time) {
        if let Some(job) = self.job.as_mut().filter(|job| !job.begun) {
            job.begin_at = now.plus(GRACE_US);
        }
    }

    pub(super) fn hurry(&mut self, now: Time) {
        if let Some(job) = self.job.as_mut().filter(|job| !job.begun) {
            job.begin_at = job.begin_at.min(now);
        }
    }

    pub(super) fn cancel(&mut self) {
        self.job = None;
    }

    pub(super) fn is_idle(&self) -> bool {
        self.job.is_none()
    }

    /// The job that an answer about `seq` belongs to, if `from` was asked `what`; the question is then answered.
    fn answered(&mut self, from: ReplicaId, seq: Seq, what: Asked) -> Option<&mut Job> {
        let job = self.job.as_mut().filter(|job| job.target.seq == seq);
        let job = job.and_then(|job| job.settle(from, what).then_some(job));
        if job.is_none() {
            self.counters.refused += 1;
        }
        job
    }

    pub(super) fn meta(&mut self, from: ReplicaId, summary: Summary, digests: Vec<Digest>) -> Option<State> {
        let bytes_max = self.bytes_max;
        let job = self.answered(from, summary.seq, None)?;
        if job.contents.is_some() {
            return None;
        }
        if !is_sound(&summary, &digests, job.target.root, bytes_max) {
            self.ban(from, None);
            return None;
        }
        job.have(None);
        let reused = job.open(summary, digests);
        self.counters.reused += reused as u64;
        self.finish()
    }

    pub(super) fn chunk(&mut self, from: ReplicaId, seq: Seq, index: u32, bytes: Bytes) -> Option<State> {
        let job = self.answered(from, seq, Some(index))?;
        let contents = job.contents.as_mut()?;
        let place = usize::try_from(index).ok()?;
        let (digest, chunk) = contents.digests.get(place).zip(contents.chunks.get_mut(place))?;
        if chunk.is_some() {
            return None;
        }
        if chunk_digest(&bytes) != *digest {
            self.ban(from, Some(index));
            return None;
        }
        *chunk = Some(bytes);
        contents.have += 1;
        job.have(Some(index));
        self.counters.chunks += 1;
        self.finish()
    }

    pub(super) fn lacks(&mut self, now: Time, from: ReplicaId, seq: Seq) {
        let job = self.job.as_mut().filter(|job| job.target.seq == seq);
        let asked = job.and_then(|job| job.asks.values().any(|ask| ask.source == from).then_some(job));
        let Some(job) = asked else {
            // It says so for each question, and the first time was enough.
            self.counters.refused += u64::from(!self.is_resting(from, now));
            return;
        };
        job.take_back(from);
        job.rest(from, now);
    }

    /// A wrong answer: this source is asked nothing any more, and `what` is asked of somebody else.
    fn ban(&mut self, from: ReplicaId, what: Asked) {
        self.counters.refused += 1;
        let Some(job) = &mut self.job else { return };
        if let Some(source) = job.sources.iter_mut().find(|source| source.id == from) {
            self.counters.banned += u64::from(!std::mem::replace(&mut source.banned, true));
        }
        job.late.retain(|(source, _)| *source != from);
        job.take_back(from);
        if !job.asks.contains_key(&what) {
            job.wanted.insert(what);
        }
    }

    fn is_resting(&self, id: ReplicaId, now: Time) -> bool {
        let mut sources = self.job.iter().flat_map(|job| &job.sources);
        sources.any(|source| source.id == id && source.rests_until > now)
    }

    fn finish(&mut self) -> Option<State> {
        let whole = |job: &mut Job| job.contents.as_ref().is_some_and(|held| held.have == held.digests.len());
        let Contents { summary, digests, chunks, .. } = self.job.take_if(whole)?.contents?;
        let mut snapshot = Vec::with_capacity(usize::try_from(summary.bytes).unwrap_or(0));
        chunks.iter().flatten().for_each(|chunk| snapshot.extend_from_slice(chunk));
        self.counters.completed += 1;
        let (seq, root) = (summary.seq, summary.root());
        Some(State { seq, root, summary, chunks: Arc::from(digests), snapshot: snapshot.into() })
    }

    pub(super) fn pump(&mut self, now: Time, posts: &mut Vec<Post>) {
        let Some(job) = self.job.as_mut().filter(|job| job.begin_at <= now) else { return };
        if !std::mem::replace(&mut job.begun, true) {
            self.counters.started += 1;
        }
        self.counters.stalled += job.expire(now);
        while job.asks.len() < CHUNKS_ON_THE_WAY
            && let Some(what) = job.wanted.first().copied()
            && let Some(source) = job.next_source(now)
        {
            job.wanted.remove(&what);
            job.asks.insert(what, Ask { source, until: now.plus(ANSWER_US) });
            let seq = job.target.seq;
            let part = match what {
                None => Transfer::FetchMeta { seq },
                Some(index) => Transfer::FetchChunk { seq, index },
            };
            posts.push(Post { to: source, part });
        }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        let job = self.job.as_ref()?;
        if !job.begun {
            return Some(job.begin_at);
        }
        let answers = job.asks.values().map(|ask| ask.until);
        let room = job.asks.len() < CHUNKS_ON_THE_WAY && !job.wanted.is_empty();
        let rested = job.sources.iter().filter(|source| room && job.has_room(source));
        answers.chain(rested.map(|source| source.rests_until)).min()
    }

    pub(super) fn progress(&self) -> Option<Progress> {
        let job = self.job.as_ref().filter(|job| job.begun)?;
        let from: BTreeSet<ReplicaId> = job.asks.values().map(|ask| ask.source).collect();
        let contents = job.contents.as_ref();
        Some(Progress {
            seq: job.target.seq,
            have: contents.map_or(0, |held| held.have),
            of: contents.map(|held| held.digests.len()),
            from: from.into_iter().collect(),
        })
    }

    pub(super) fn counters(&self) -> Counters {
        self.counters
    }

    pub(super) fn held_bytes(&self) -> usize {
        let Some(job) = &self.job else { return 0 };
        let chunks = job.contents.iter().flat_map(|held| held.chunks.iter().flatten());
        chunks.chain(job.old.values()).map(Bytes::len).sum()
    }
}

impl Job {
    fn new(target: Checkpoint, begin_at: Time, sources: &[ReplicaId]) -> Self {
        let source = |id: &ReplicaId| Source { id: *id, banned: false, rests_until: Time(0) };
        Self {
            target,
            begin_at,
            begun: false,
            contents: None,
            wanted: BTreeSet::from([None]),
            asks: BTreeMap::new(),
            late: BTreeSet::new(),
            sources: sources.iter().map(source).collect(),
            turn: usize::try_from(target.seq.0).unwrap_or(0) % sources.len().max(1),
            old: BTreeMap::new(),
        }
    }

    /// A newer checkpoint is stable: what was fetched for the older one is kept by its digest, and everybody is believed
    /// again.
    fn move_on(&mut self, target: Checkpoint) {
        if let Some(Contents { digests, chunks, .. }) = self.contents.take() {
            let here = digests.into_iter().zip(chunks);
            self.old = here.filter_map(|(digest, chunk)| Some((digest, chunk?))).collect();
        }
        self.target = target;
        self.wanted = BTreeSet::from([None]);
        self.asks.clear();
        self.late.clear();
        self.sources.iter_mut().for_each(|source| (source.banned, source.rests_until) = (false, Time(0)));
    }

    /// Takes over what the target consists of; says how many chunks of it are here already.
    fn open(&mut self, summary: Summary, digests: Vec<Digest>) -> usize {
        let old = std::mem::take(&mut self.old);
        let chunks: Vec<Option<Bytes>> = digests.iter().map(|digest| old.get(digest).cloned()).collect();
        let missing = (0..).zip(&chunks).filter(|(_, chunk)| chunk.is_none()).map(|(index, _)| Some(index));
        self.wanted.extend(missing);
        let have = chunks.iter().flatten().count();
        self.contents = Some(Contents { summary, digests, chunks, have });
        have
    }

    /// Whether `from` was asked `what`; it is not any more.
    fn settle(&mut self, from: ReplicaId, what: Asked) -> bool {
        let asked = self.asks.get(&what).is_some_and(|ask| ask.source == from);
        if asked {
            self.asks.remove(&what);
        }
        self.late.remove(&(from, what)) || asked
    }

    /// This is here now. Who was asked for it meanwhile answers in vain, and is not to blame for it.
    fn have(&mut self, what: Asked) {
        self.wanted.remove(&what);
        if let Some(ask) = self.asks.remove(&what) {
            self.late.insert((ask.source, what));
        }
    }

    /// What this source was asked is to be asked of others.
    fn take_back(&mut self, from: ReplicaId) {
        let asked: Vec<Asked> =
            self.asks.iter().filter(|(_, ask)| ask.source == from).map(|(what, _)| *what).collect();
        for what in asked {
            self.asks.remove(&what);
            self.wanted.insert(what);
        }
    }

    fn rest(&mut self, from: ReplicaId, now: Time) {
        if let Some(source) = self.sources.iter_mut().find(|source| source.id == from) {
            source.rests_until = now.plus(REST_US);
        }
    }

    /// Gives up waiting for overdue answers; says how many these were.
    fn expire(&mut self, now: Time) -> u64 {
        let overdue: Vec<(Asked, ReplicaId)> = self
            .asks
            .iter()
            .filter(|(_, ask)| ask.until <= now)
            .map(|(what, ask)| (*what, ask.source))
            .collect();
        for (what, source) in &overdue {
            self.asks.remove(what);
            self.wanted.insert(*what);
            self.late.insert((*source, *what));
            self.rest(*source, now);
        }
        while self.late.len() > LATE_MAX {
            self.late.pop_first();
        }
        overdue.len() as u64
    }

    /// Whether a source may be asked one thing more, once it has rested.
    fn has_room(&self, source: &Source) -> bool {
        let asked = self.asks.values().filter(|ask| ask.source == source.id).count();
        !source.banned && asked < CHUNKS_OF_ONE_SOURCE
    }

    /// Whose turn it is to be asked.
    fn next_source(&mut self, now: Time) -> Option<ReplicaId> {
        let count = self.sources.len();
        let mut turns = (0..count).map(|offset| (self.turn + offset) % count);
        let turn = turns.find(|turn| {
            let source = &self.sources[*turn];
            source.rests_until <= now && self.has_room(source)
        })?;
        self.turn = (turn + 1) % count;
        Some(self.sources[turn].id)
    }
}

/// Whether this is what the certified root is the digest of. Number and bytes of the chunks are under the root, so that
/// nobody can invent them.
fn is_sound(summary: &Summary, digests: &[Digest], root: Digest, bytes_max: u64) -> bool {
    let chunks = digests.len() as u64;
    summary.root() == root
        && summary.bytes > 0
        && summary.bytes <= bytes_max
        && digests.len() <= CHUNKS_MAX
        && chunks == summary.chunks
        && chunks == summary.bytes.div_ceil(CHUNK_BYTES as u64)
        && chunk_root(digests) == summary.chunk_root
}

#[cfg(test)]
impl Fetching {
    /// Whoever is asked first with slot 128 is asked last.
    pub(super) fn rotate(&mut self) {
        let first = 128 % self.sources.len();
        self.sources.rotate_right(first);
    }

    /// No state may have more bytes.
    pub(super) fn cap(&mut self, bytes_max: u64) {
        self.bytes_max = bytes_max;
    }
}
