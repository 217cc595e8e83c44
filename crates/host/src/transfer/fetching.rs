//! The fetching side: one certified state at a time, from all replicas in turn, into the store.
//!
//! What the state consists of comes first, then the store is asked which of its chunks are here already: of an older
//! state, of a target before, or from before a restart. The others are fetched, or only those of their pages that are
//! not here, and each that is right is put into the store at once. When the store has all of them, execution lets go of
//! its old state, the store puts the new one together, and execution goes on from there.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use quorate_protocol::map::{Chunk, Map};
use quorate_protocol::message::{Bits, Checkpoint, Summary, Transfer};
use quorate_protocol::mutant::{self, Mutant};
use quorate_protocol::types::{Digest, ReplicaId, Seq, Time};

use super::asking::{ANSWER_US, Asked, Asking, Part};
use super::contents::{Contents, Place, is_sound};
use super::{Counters, Post, Progress};
use crate::store::{Job, PageIndex};

/// How long the log may try to make up for what is missing before a state is fetched, in microseconds. It tries anew
/// with every slot that it makes up for.
pub(super) const GRACE_US: u64 = 300_000;
/// A target of which nothing came for so long is given up for a newer one, in microseconds.
pub(super) const STUCK_US: u64 = 4 * ANSWER_US;
/// Chunks that wait for the store, or are on their way to it, before no more are asked for.
pub(super) const KEEPING_MAX: usize = 32;

/// How far a transfer has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// What the state consists of is asked for.
    Contents,
    /// The store looks what of it is here.
    Planning,
    /// Chunks are fetched.
    Chunks,
    /// The store has all of them.
    Whole,
    /// Execution is to let go of its state. From here on there is no way back.
    Releasing,
    /// The store puts the state together.
    Adopting,
    /// Execution is to go on from it, and the superblock to point at it.
    Installing,
}

#[derive(Debug)]
struct Attempt {
    target: Checkpoint,
    /// The newest state that was wanted since.
    next: Option<Checkpoint>,
    begin_at: Time,
    begun_at: Option<Time>,
    /// When something of the target came last.
    came_at: Time,
    stage: Stage,
    contents: Option<Contents>,
    asking: Asking,
}

/// Whose job the store does.
#[derive(Debug, Clone, Copy)]
struct Out {
    seq: Seq,
    bytes: usize,
}

/// Fetches states.
#[derive(Debug)]
pub(super) struct Fetching {
    sources: Vec<ReplicaId>,
    /// So many sources are not all liars.
    weak_quorum: usize,
    attempt: Option<Attempt>,
    /// What waits for the store, and of which target it is.
    jobs: VecDeque<(Seq, Job)>,
    out: Option<Out>,
    counters: Counters,
}

impl Fetching {
    pub(super) fn new(sources: Vec<ReplicaId>, weak_quorum: usize) -> Self {
        let (jobs, counters) = (VecDeque::new(), Counters::default());
        Self { sources, weak_quorum, attempt: None, jobs, out: None, counters }
    }

    /// A transfer stays with its target while somebody sends it, for those who do so pin it: under load a newer
    /// checkpoint is stable before one of a large state has come, and the next one before that.
    pub(super) fn aim(&mut self, now: Time, target: Checkpoint) {
        match &mut self.attempt {
            Some(attempt) if attempt.next.unwrap_or(attempt.target).seq >= target.seq => {}
            Some(attempt) if attempt.begun_at.is_none() => attempt.target = target,
            Some(attempt) => attempt.next = Some(target),
            None => self.attempt = Some(Attempt::new(target, now.plus(GRACE_US), &self.sources)),
        }
    }

    pub(super) fn postpone(&mut self, now: Time) {
        if let Some(attempt) = self.attempt.as_mut().filter(|attempt| attempt.begun_at.is_none()) {
            attempt.begin_at = now.plus(GRACE_US);
        }
    }

    pub(super) fn hurry(&mut self, now: Time) {
        if let Some(attempt) = self.attempt.as_mut().filter(|attempt| attempt.begun_at.is_none()) {
            attempt.begin_at = attempt.begin_at.min(now);
        }
    }

    pub(super) fn cancel(&mut self) {
        if self.attempt.as_ref().is_some_and(|attempt| attempt.stage < Stage::Releasing) {
            self.attempt = None;
            self.jobs.clear();
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.attempt.is_none()
    }

    pub(super) fn is_adopting(&self) -> bool {
        self.attempt.as_ref().is_some_and(|attempt| attempt.stage == Stage::Adopting)
    }

    /// The attempt that an answer about `seq` belongs to, if `from` was asked `what`; the question is then answered.
    fn answered(&mut self, from: ReplicaId, seq: Seq, what: Asked) -> Option<&mut Attempt> {
        let attempt = self.attempt.as_mut().filter(|attempt| attempt.target.seq == seq);
        let attempt = attempt.and_then(|attempt| attempt.asking.settle(from, what).then_some(attempt));
        if attempt.is_none() {
            self.counters.refused += 1;
        }
        attempt
    }

    pub(super) fn meta(&mut self, now: Time, from: ReplicaId, summary: Summary, digests: Vec<Digest>) {
        let Some(attempt) = self.answered(from, summary.seq, None) else { return };
        if attempt.stage != Stage::Contents {
            return;
        }
        if !is_sound(&summary, &digests, attempt.target.root) {
            self.ban(from, None);
            return;
        }
        attempt.asking.have(from, None);
        let (seq, digests): (_, Arc<[Digest]>) = (summary.seq, digests.into());
        attempt.came_at = now;
        attempt.stage = Stage::Planning;
        attempt.contents = Some(Contents::new(summary, Arc::clone(&digests)));
        self.jobs.push_back((seq, Job::Plan { seq, digests }));
    }

    /// The store has looked what is here.
    pub(super) fn planned(&mut self, now: Time, seq: Seq, have: &[bool], pages: Arc<PageIndex>) {
        self.out = None;
        let attempt = self.attempt.as_mut().filter(|attempt| attempt.target.seq == seq);
        let Some(attempt) = attempt.filter(|attempt| attempt.stage == Stage::Planning) else { return };
        let Some(contents) = &mut attempt.contents else { return };
        attempt.came_at = now;
        attempt.stage = Stage::Chunks;
        contents.plan(have);
        self.counters.reused += contents.reused as u64;
        let first = if pages.is_empty() { Part::Whole } else { Part::Digests };
        contents.pages = pages;
        for (index, place) in (0..).zip(&contents.places) {
            if *place == Place::Missing {
                attempt.asking.want(Some((index, first)));
            }
        }
        attempt.look();
    }

    pub(super) fn chunk(&mut self, now: Time, from: ReplicaId, seq: Seq, index: u32, wire: Bytes) {
        let what = Some((index, Part::Whole));
        let Some(attempt) = self.answered(from, seq, what) else { return };
        let Some((contents, digest)) = attempt.missing(index) else { return };
        // Its digest also fixes how it is cut into pages.
        let pages = Chunk::digests_of_wire(&wire).unwrap_or_default();
        let proven = Chunk::digest_of_pages(&pages) == digest || mutant::is(Mutant::M40);
        if pages.is_empty() || !proven {
            self.ban(from, what);
            return;
        }
        contents.arrived(index, &wire, pages.len());
        attempt.came_at = now;
        attempt.asking.have(from, what);
        self.counters.chunks += 1;
        self.counters.fetched_bytes += wire.len() as u64;
        self.jobs.push_back((seq, Job::Keep { index, digest, wire }));
    }

    /// The digests of a chunk's pages: what of it is not here is fetched, and if all of it is, nothing.
    pub(super) fn digests(&mut self, now: Time, from: ReplicaId, seq: Seq, index: u32, pages: Vec<Digest>) {
        let what = Some((index, Part::Digests));
        let Some(attempt) = self.answered(from, seq, what) else { return };
        let Some((contents, digest)) = attempt.missing(index) else { return };
        if contents.lists.contains_key(&index) {
            return;
        }
        if Chunk::digest_of_pages(&pages) != digest {
            self.ban(from, what);
            return;
        }
        let here = pages.iter().filter(|page| contents.pages.has(page)).count();
        let (list_bytes, pages): (_, Arc<[Digest]>) = (pages.len() as u64 * 32, pages.into());
        if here > 0 {
            contents.lists.insert(index, Arc::clone(&pages));
        }
        let complete = here == pages.len();
        if complete {
            contents.arrived(index, &[], 0);
        }
        attempt.came_at = now;
        attempt.asking.have(from, what);
        match (complete, here) {
            (true, _) => self.jobs.push_back((seq, Job::Patch { index, digest, pages, wire: Bytes::new() })),
            (false, 0) => attempt.asking.want(Some((index, Part::Whole))),
            (false, _) => attempt.asking.want(Some((index, Part::Pages))),
        }
        self.counters.fetched_bytes += list_bytes;
    }

    /// Those pages of a chunk that are not here.
    pub(super) fn pages(&mut self, now: Time, from: ReplicaId, seq: Seq, index: u32, wire: Bytes) {
        let what = Some((index, Part::Pages));
        let Some(attempt) = self.answered(from, seq, what) else { return };
        let Some((contents, digest)) = attempt.missing(index) else { return };
        let Some(pages) = contents.lists.get(&index).map(Arc::clone) else { return };
        let came = Chunk::digests_of_wire(&wire).unwrap_or_default();
        if !pages.iter().filter(|page| !contents.pages.has(page)).eq(&came) {
            self.ban(from, what);
            return;
        }
        contents.arrived(index, &wire, came.len());
        attempt.came_at = now;
        attempt.asking.have(from, what);
        self.counters.chunks += 1;
        self.counters.fetched_bytes += wire.len() as u64;
        self.jobs.push_back((seq, Job::Patch { index, digest, pages, wire }));
    }

    /// The store has put a chunk away.
    pub(super) fn kept(&mut self, now: Time, index: u32) {
        let Some(Out { seq, .. }) = self.out.take() else { return };
        let attempt = self.attempt.as_mut().filter(|attempt| attempt.target.seq == seq);
        let Some(attempt) = attempt.filter(|attempt| attempt.stage == Stage::Chunks) else { return };
        let Some(contents) = &mut attempt.contents else { return };
        let Some((_, place)) = contents.chunk(index) else { return };
        if *place == Place::Arrived {
            *place = Place::Kept;
            contents.kept += 1;
            if let Some(pages) = contents.lists.remove(&index) {
                let here = pages.iter().filter(|page| contents.pages.has(page)).count();
                self.counters.reused_pages += here as u64;
                self.counters.reused += u64::from(here == pages.len());
            }
            attempt.came_at = now;
            attempt.look();
        }
    }

    /// The store cannot make a chunk of what came and what is here: it has to come whole.
    pub(super) fn lost(&mut self, index: u32) {
        let Some(Out { seq, .. }) = self.out.take() else { return };
        let attempt = self.attempt.as_mut().filter(|attempt| attempt.target.seq == seq);
        let Some(attempt) = attempt.filter(|attempt| attempt.stage == Stage::Chunks) else { return };
        let Some(contents) = &mut attempt.contents else { return };
        contents.lists.remove(&index);
        let Some((_, place)) = contents.chunk(index) else { return };
        if *place == Place::Arrived {
            *place = Place::Missing;
            attempt.asking.want(Some((index, Part::Whole)));
        }
    }

    pub(super) fn lacks(&mut self, now: Time, from: ReplicaId, seq: Seq) {
        let attempt = self.attempt.as_mut().filter(|attempt| attempt.target.seq == seq);
        match attempt {
            Some(attempt) if attempt.asking.is_asked(from) => attempt.asking.lacks(from, now),
            // It says so for each question, and the first time was enough.
            Some(attempt) if attempt.asking.is_resting(from, now) => {}
            _ => self.counters.refused += 1,
        }
    }

    /// A wrong answer: this source is asked nothing any more, and `what` is asked of somebody else.
    fn ban(&mut self, from: ReplicaId, what: Asked) {
        self.counters.refused += 1;
        let Some(attempt) = &mut self.attempt else { return };
        self.counters.banned += u64::from(attempt.asking.ban(from));
        attempt.asking.want(what);
    }

    /// The slot of a state that is whole in the store, once: execution is to let go of the state it has.
    pub(super) fn take_whole(&mut self) -> Option<Seq> {
        let attempt = self.attempt.as_mut().filter(|attempt| attempt.stage == Stage::Whole)?;
        attempt.stage = Stage::Releasing;
        Some(attempt.target.seq)
    }

    /// Execution has let go of its state.
    pub(super) fn released(&mut self, old: Vec<Map>) {
        let attempt = self.attempt.as_mut().filter(|attempt| attempt.stage == Stage::Releasing);
        let Some(attempt) = attempt else { return };
        let Some(contents) = &mut attempt.contents else { return };
        attempt.stage = Stage::Adopting;
        // Nothing is looked for any more.
        contents.pages = Arc::default();
        let (summary, digests) = (Box::new(contents.summary), Arc::clone(&contents.digests));
        self.jobs.push_back((summary.seq, Job::Adopt { summary, digests, old }));
    }

    /// Execution has come further by itself.
    pub(super) fn outrun(&mut self, now: Time) {
        self.jobs.clear();
        self.go_on(now);
    }

    /// The store has put the state together.
    pub(super) fn adopted(&mut self) {
        self.out = None;
        if let Some(attempt) = self.attempt.as_mut().filter(|attempt| attempt.stage == Stage::Adopting) {
            attempt.stage = Stage::Installing;
        }
    }

    /// Root of the state that execution went on from.
    pub(super) fn installing(&self) -> Option<Checkpoint> {
        let attempt = self.attempt.as_ref().filter(|attempt| attempt.stage == Stage::Installing)?;
        Some(attempt.target)
    }

    /// The superblock points at the state: that was all.
    pub(super) fn installed(&mut self, now: Time) {
        if let Some(attempt) = &self.attempt {
            self.counters.completed += 1;
            self.counters.last_us = attempt.begun_at.map_or(0, |begun| now.since(begun));
            let bytes = |held: &Contents| held.summary.bytes().saturating_sub(held.fetched_bytes);
            self.counters.reused_bytes += attempt.contents.as_ref().map_or(0, bytes);
        }
        self.go_on(now);
    }

    /// Begins with what was wanted meanwhile, if anything was.
    fn go_on(&mut self, now: Time) {
        let next = self.attempt.take().and_then(|attempt| attempt.next);
        self.attempt = next.map(|next| Attempt::new(next, now.plus(GRACE_US), &self.sources));
    }

    /// What the store is to do next: one thing at a time.
    pub(super) fn take_job(&mut self) -> Option<Job> {
        if self.out.is_some() {
            return None;
        }
        let (seq, job) = self.jobs.pop_front()?;
        self.out = Some(Out { seq, bytes: bytes_of(&job) });
        Some(job)
    }

    /// Whether the store keeps up with what comes.
    fn has_room(&self) -> bool {
        self.jobs.len() + usize::from(self.out.is_some()) < KEEPING_MAX
    }

    pub(super) fn pump(&mut self, now: Time, posts: &mut Vec<Post>) {
        let (has_room, weak_quorum) = (self.has_room(), self.weak_quorum);
        let Some(attempt) = self.attempt.as_mut().filter(|attempt| attempt.begin_at <= now) else { return };
        if attempt.begun_at.is_none() {
            (attempt.begun_at, attempt.came_at) = (Some(now), now);
            self.counters.started += 1;
        }
        if attempt.is_lost(now, has_room, weak_quorum)
            && let Some(next) = attempt.next.take()
        {
            attempt.move_on(now, next);
            self.counters.moved += 1;
        }
        if !attempt.is_asking() {
            return;
        }
        self.counters.stalled += attempt.asking.expire(now);
        let seq = attempt.target.seq;
        while has_room && let Some((to, what)) = attempt.asking.next(now) {
            let part = match what {
                None => Transfer::FetchMeta { seq },
                Some((index, Part::Digests)) => Transfer::FetchDigests { seq, index },
                Some((index, Part::Pages)) => {
                    Transfer::FetchPages { seq, index, wanted: attempt.lacking(index) }
                }
                Some((index, Part::Whole)) => Transfer::FetchChunk { seq, index },
            };
            posts.push(Post { to, part });
        }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        let attempt = self.attempt.as_ref()?;
        if attempt.begun_at.is_none() {
            return Some(attempt.begin_at);
        }
        if !attempt.is_asking() {
            return None;
        }
        let has_room = self.has_room();
        let stuck = attempt.next.filter(|_| has_room).map(|_| attempt.stuck_at());
        attempt.asking.deadline(has_room).into_iter().chain(stuck).min()
    }

    pub(super) fn progress(&self) -> Option<Progress> {
        let attempt = self.attempt.as_ref().filter(|attempt| attempt.begun_at.is_some())?;
        let contents = attempt.contents.as_ref();
        Some(Progress {
            seq: attempt.target.seq,
            have: contents.map_or(0, |held| held.kept),
            of: contents.map(|held| held.digests.len()),
            reused: contents.map_or(0, |held| held.reused),
            from: attempt.asking.asked(),
        })
    }

    pub(super) fn counters(&self) -> Counters {
        self.counters
    }

    pub(super) fn held_bytes(&self) -> usize {
        let waiting: usize = self.jobs.iter().map(|(_, job)| bytes_of(job)).sum();
        waiting + self.out.map_or(0, |out| out.bytes)
    }
}

impl Attempt {
    fn new(target: Checkpoint, begin_at: Time, sources: &[ReplicaId]) -> Self {
        Self {
            target,
            next: None,
            begin_at,
            begun_at: None,
            came_at: begin_at,
            stage: Stage::Contents,
            contents: None,
            asking: Asking::new(sources, target.seq.0),
        }
    }

    /// What was fetched for the target before is in the store, where the plan for the next one finds it.
    fn move_on(&mut self, now: Time, target: Checkpoint) {
        self.target = target;
        self.came_at = now;
        self.stage = Stage::Contents;
        self.contents = None;
        self.asking.begin_anew();
    }

    /// What the target consists of and the digest of a chunk, if that is still missing.
    fn missing(&mut self, index: u32) -> Option<(&mut Contents, Digest)> {
        let contents = self.contents.as_mut()?;
        let (digest, place) = contents.chunk(index)?;
        (*place == Place::Missing).then_some((contents, digest))
    }

    /// Pages of a chunk that are not here.
    fn lacking(&self, index: u32) -> Bits {
        let contents = self.contents.as_ref();
        let list = contents.and_then(|held| Some((held, held.lists.get(&index)?)));
        list.map_or_else(Bits::default, |(held, pages)| {
            Bits::of(pages.iter().map(|page| !held.pages.has(page)))
        })
    }

    fn is_asking(&self) -> bool {
        matches!(self.stage, Stage::Contents | Stage::Chunks)
    }

    /// Whether a newer target is better than this one. A source alone cannot bring that about, for then a liar could keep
    /// a transfer from ever ending.
    fn is_lost(&self, now: Time, has_room: bool, weak_quorum: usize) -> bool {
        let stuck = has_room && self.stuck_at() <= now;
        let gone = self.asking.lacking() >= weak_quorum || self.asking.has_nobody();
        self.is_asking() && (stuck || gone)
    }

    /// When the target is given up for a newer one unless something of it comes; sooner where nothing of it is here.
    fn stuck_at(&self) -> Time {
        self.came_at.plus(if self.stage == Stage::Contents { ANSWER_US } else { STUCK_US })
    }

    /// Whether that was the last chunk.
    fn look(&mut self) {
        if self.contents.as_ref().is_some_and(|held| held.kept == held.digests.len()) {
            self.stage = Stage::Whole;
        }
    }
}

fn bytes_of(job: &Job) -> usize {
    if let Job::Keep { wire, .. } | Job::Patch { wire, .. } = job { wire.len() } else { 0 }
}

#[cfg(test)]
impl Fetching {
    /// Whoever is asked first with this slot is asked last.
    pub(super) fn rotate(&mut self, seq: u64) {
        let count = self.sources.len();
        self.sources.rotate_right(usize::try_from(seq).map_or(0, |seq| seq % count));
    }
}
