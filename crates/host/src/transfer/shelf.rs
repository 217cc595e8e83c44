//! The serving side: states that others may ask for, and how much of them each may have in a second.

use std::collections::{BTreeMap, VecDeque};

use quorate_protocol::codec::{Blob, List};
use quorate_protocol::executor::State;
use quorate_protocol::message::{CHUNK_BYTES, Transfer};
use quorate_protocol::types::{ReplicaId, Seq, Time};

use super::{Counters, Post};

/// Bytes served to one replica per second: a liar can take that much of a link, and no more.
pub(super) const RATE_BYTES: u64 = 16 << 20;
/// Bytes served to one replica at once after a pause.
pub(super) const BURST_BYTES: u64 = 4 << 20;
/// What an answer costs at least, so that short ones are bounded in number as well.
const ANSWER_BYTES_MIN: u64 = 16 << 10;
/// Questions of one replica that wait; it never has more on its way if it is correct.
pub(super) const QUESTIONS_MAX: usize = 16;

/// What one replica asked, and how much it may still have.
#[derive(Debug, Clone)]
struct Asker {
    questions: VecDeque<Transfer>,
    tokens: u64,
    since: Time,
}

/// States of this replica, and who asks for them.
///
/// Kept are the newest state that a stable checkpoint covers, the one before it, and all newer ones: while a cluster
/// lacks one replica, the checkpoint that another one fetches is the newest until that one is back, however many states
/// the rest made meanwhile. These are at most one for each checkpoint of the window, and two.
#[derive(Debug)]
pub(super) struct Shelf {
    states: BTreeMap<Seq, State>,
    askers: Vec<Asker>,
    counters: Counters,
}

impl Shelf {
    pub(super) fn new(replicas: usize) -> Self {
        let asker = Asker { questions: VecDeque::new(), tokens: BURST_BYTES, since: Time(0) };
        Self { states: BTreeMap::new(), askers: vec![asker; replicas], counters: Counters::default() }
    }

    pub(super) fn put(&mut self, state: State) {
        self.states.insert(state.seq, state);
    }

    pub(super) fn stable(&mut self, low: Seq) {
        let mut covered = self.states.range(..=low).rev().map(|(seq, _)| *seq);
        let Some(oldest) = covered.by_ref().take(2).last() else { return };
        if covered.next().is_some() {
            self.states = self.states.split_off(&oldest);
        }
    }

    pub(super) fn ask(&mut self, from: ReplicaId, question: Transfer) {
        let Some(asker) = self.askers.get_mut(usize::from(from.0)) else { return };
        if asker.questions.len() >= QUESTIONS_MAX || asker.questions.contains(&question) {
            self.counters.questions_dropped += 1;
            return;
        }
        asker.questions.push_back(question);
    }

    pub(super) fn is_idle(&self) -> bool {
        self.askers.iter().all(|asker| asker.questions.is_empty())
    }

    pub(super) fn pump(&mut self, now: Time, posts: &mut Vec<Post>) {
        for (to, asker) in (0..).map(ReplicaId).zip(&mut self.askers) {
            let earned = RATE_BYTES.saturating_mul(now.since(asker.since)) / 1_000_000;
            if earned > 0 {
                asker.tokens = asker.tokens.saturating_add(earned).min(BURST_BYTES);
                asker.since = now;
            }
            while let Some(question) = asker.questions.front() {
                let cost = cost(&self.states, question);
                if cost > asker.tokens {
                    break;
                }
                asker.tokens -= cost;
                let part = answer(&self.states, question);
                asker.questions.pop_front();
                if !matches!(part, Transfer::Lacks { .. }) {
                    self.counters.served_bytes += cost;
                }
                posts.push(Post { to, part });
            }
        }
    }

    pub(super) fn deadline(&self) -> Option<Time> {
        let next = |asker: &Asker| {
            let lacking = cost(&self.states, asker.questions.front()?).saturating_sub(asker.tokens);
            Some(asker.since.plus(lacking.saturating_mul(1_000_000).div_ceil(RATE_BYTES).max(1)))
        };
        self.askers.iter().filter_map(next).min()
    }

    pub(super) fn counters(&self) -> Counters {
        self.counters
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.states.values().map(|state| state.snapshot.len()).sum()
    }
}

/// The bytes of a chunk of a state that is here.
fn chunk_of(states: &BTreeMap<Seq, State>, seq: Seq, index: u32) -> Option<bytes::Bytes> {
    let snapshot = &states.get(&seq)?.snapshot;
    let start = usize::try_from(index).ok()?.checked_mul(CHUNK_BYTES)?;
    (start < snapshot.len()).then(|| snapshot.slice(start..snapshot.len().min(start + CHUNK_BYTES)))
}

fn cost(states: &BTreeMap<Seq, State>, question: &Transfer) -> u64 {
    let bytes = match question {
        Transfer::FetchMeta { seq } => states.get(seq).map_or(0, |state| state.chunks.len() * 32),
        Transfer::FetchChunk { seq, index } => chunk_of(states, *seq, *index).map_or(0, |bytes| bytes.len()),
        Transfer::Meta { .. } | Transfer::Chunk { .. } | Transfer::Lacks { .. } => 0,
    };
    // Whatever it is, a full bucket pays for it.
    (bytes as u64).clamp(ANSWER_BYTES_MIN, BURST_BYTES)
}

fn answer(states: &BTreeMap<Seq, State>, question: &Transfer) -> Transfer {
    let (seq, answer) = match question {
        Transfer::FetchMeta { seq } => {
            let meta = |state: &State| Transfer::Meta {
                summary: Box::new(state.summary),
                chunks: List(state.chunks.to_vec()),
            };
            (*seq, states.get(seq).map(meta))
        }
        Transfer::FetchChunk { seq, index } => {
            let bytes = chunk_of(states, *seq, *index);
            (*seq, bytes.map(|bytes| Transfer::Chunk { seq: *seq, index: *index, bytes: Blob(bytes) }))
        }
        Transfer::Meta { summary, .. } => (summary.seq, None),
        Transfer::Chunk { seq, .. } | Transfer::Lacks { seq } => (*seq, None),
    };
    answer.unwrap_or(Transfer::Lacks { seq })
}
