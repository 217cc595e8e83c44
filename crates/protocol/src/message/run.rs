//! Replies on the wire. What one replica answers to consecutive numbers of one session in one slot travels as one run: it
//! says once what these answers have in common. Replicas that executed the same batches cut the same runs, so a client
//! mostly compares two runs as bytes, however many answers they hold.

use std::ops::Range;

use bytes::Bytes;

use super::{Outcome, REPLY_BYTES_MAX, Reply};
use crate::codec::{self, Blob, Decode, Encode, List, Parse, WireMin, parsed};
use crate::request::OPERATIONS_MAX;
use crate::types::{Digest, Number, Seq, Session};

#[cfg(test)]
mod tests;

/// Most runs in one frame.
pub const RUNS_MAX: usize = 65_536;
/// Most answers in one run: as many as a session can have that are not acknowledged.
pub const RUN_ANSWERS_MAX: usize = OPERATIONS_MAX;
/// Most bytes of the outcomes of one run.
pub const RUN_BYTES_MAX: usize = 2 * REPLY_BYTES_MAX;

const DIGEST_BYTES: usize = 32;
/// Bytes of an outcome besides its result: which one it is, and how long the result is.
const OUTCOME_BYTES: usize = 8;
/// Results of runs whose outcomes take no more bytes share the memory of their run. Those of longer ones have their own: who
/// keeps a short one should not keep megabytes.
const SHARED_BYTES_MAX: usize = 64 << 10;
/// Which outcome has a result.
const DONE: u32 = 0;

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct RunWire {
    seq: Seq,
    session: Session,
    first: Number,
    /// The operations' digests, one after the other.
    operations: Blob<{ DIGEST_BYTES * RUN_ANSWERS_MAX }>,
    /// Their outcomes, each as it is encoded, one after the other.
    outcomes: Blob<RUN_BYTES_MAX>,
}

/// Answers of one replica to operations with consecutive numbers of one session that were ordered in one slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    wire: RunWire,
    count: usize,
    result_bytes: u64,
    all_results: bool,
}

impl Parse for Run {
    type Wire = RunWire;

    fn parse(wire: RunWire) -> Result<Self, &'static str> {
        let count = wire.operations.len() / DIGEST_BYTES;
        if count == 0 || !wire.operations.len().is_multiple_of(DIGEST_BYTES) {
            return Err("a run of replies answers no operation, or a part of one");
        }
        if wire.first.0.checked_add(count as u64).is_none() {
            return Err("the numbers of a run of replies overflow");
        }
        let (mut found, mut end, mut result_bytes, mut all_results) = (0, 0, 0, true);
        for place in places(&wire.outcomes) {
            found += 1;
            end = place.result.end;
            result_bytes += place.result.len() as u64;
            all_results &= outcome_of(place.tag, Bytes::new()).is_some_and(|outcome| outcome.is_result());
        }
        if found != count || end != wire.outcomes.len() {
            return Err("a run of replies has not one outcome for each operation");
        }
        Ok(Self { wire, count, result_bytes, all_results })
    }

    fn wire(&self) -> &RunWire {
        &self.wire
    }
}
parsed!(Run);

impl WireMin for Run {
    const WIRE_MIN: usize = 8 + 8 + 8 + 4 + DIGEST_BYTES + 4 + 4;
}

impl Run {
    /// Slot in which the operations were ordered.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.wire.seq
    }
    /// The operations' session.
    #[must_use]
    pub fn session(&self) -> Session {
        self.wire.session
    }
    /// Number of the first operation.
    #[must_use]
    pub fn first(&self) -> Number {
        self.wire.first
    }
    /// The number after that of the last operation.
    #[must_use]
    pub fn end(&self) -> Number {
        Number(self.wire.first.0.saturating_add(self.count as u64))
    }
    /// How many answers it holds; at least one.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }
    /// Bytes of all results together.
    #[must_use]
    pub fn result_bytes(&self) -> u64 {
        self.result_bytes
    }
    /// Whether each of its operations was executed, now or before.
    #[must_use]
    pub fn is_all_results(&self) -> bool {
        self.all_results
    }

    /// Digests of the operations that executed under its numbers, in their order.
    pub fn operations(&self) -> impl Iterator<Item = Digest> {
        let digests = self.wire.operations.chunks_exact(DIGEST_BYTES);
        digests.map(|digest| Digest(digest.try_into().expect("a digest has 32 bytes")))
    }

    /// Each number, and how its operation ended. Results share the memory of the run if it is short.
    pub fn outcomes(&self) -> impl Iterator<Item = (Number, Outcome)> {
        let all = &self.wire.outcomes;
        let outcomes = places(all).filter_map(|Place { tag, result }| {
            let shares = all.len() <= SHARED_BYTES_MAX;
            outcome_of(tag, if shares { all.slice(result) } else { Bytes::copy_from_slice(&all[result]) })
        });
        self.numbers().zip(outcomes)
    }

    /// Each answer alone. Results have memory of their own, so that who keeps one does not keep all.
    pub fn replies(&self) -> impl Iterator<Item = Reply> {
        let outcomes = places(&self.wire.outcomes).filter_map(move |Place { tag, result }| {
            outcome_of(tag, Bytes::copy_from_slice(&self.wire.outcomes[result]))
        });
        let (seq, session) = (self.wire.seq, self.wire.session);
        self.numbers().zip(self.operations()).zip(outcomes).map(move |((number, operation), outcome)| Reply {
            seq,
            session,
            number,
            operation,
            outcome,
        })
    }

    fn numbers(&self) -> impl Iterator<Item = Number> + use<> {
        let first = self.wire.first.0;
        (0_u64..).map(move |offset| Number(first.wrapping_add(offset)))
    }

    /// One run of all these, of which each continues the one before it.
    fn of(first: &Reply, replies: &[Reply]) -> Self {
        let result_bytes: usize = replies.iter().map(|reply| reply.outcome.bytes()).sum();
        let mut operations = Vec::with_capacity(DIGEST_BYTES * replies.len());
        let mut outcomes = Vec::with_capacity(OUTCOME_BYTES * replies.len() + result_bytes);
        for reply in replies {
            operations.extend_from_slice(&reply.operation.0);
            codec::append(&reply.outcome, &mut outcomes).expect("a result is far shorter than a frame");
        }
        let wire = RunWire {
            seq: first.seq,
            session: first.session,
            first: first.number,
            operations: Blob(operations.into()),
            outcomes: Blob(outcomes.into()),
        };
        let all_results = replies.iter().all(|reply| reply.outcome.is_result());
        Self { wire, count: replies.len(), result_bytes: result_bytes as u64, all_results }
    }
}

/// Answers in the order in which they were given, in runs.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Replies(List<Run, RUNS_MAX>);

impl Replies {
    /// These answers in their order, in as few runs as that allows.
    #[must_use]
    pub fn of(replies: &[Reply]) -> Self {
        let mut runs = Vec::new();
        let mut rest = replies;
        while let Some(first) = rest.first() {
            let (run, later) = rest.split_at(run_length(rest));
            runs.push(Run::of(first, run));
            rest = later;
        }
        Self(List(runs))
    }

    /// The runs, in their order.
    #[must_use]
    pub fn runs(&self) -> &[Run] {
        &self.0.0
    }

    /// The runs, to be kept.
    #[must_use]
    pub fn into_runs(self) -> Vec<Run> {
        self.0.0
    }

    /// Each answer alone, as [`Run::replies`] gives it.
    pub fn iter(&self) -> impl Iterator<Item = Reply> {
        self.runs().iter().flat_map(|run| run.replies())
    }
}

/// How many of these replies make the first run; at least one if there is one.
fn run_length(replies: &[Reply]) -> usize {
    let mut bytes = 0;
    for (at, reply) in replies.iter().enumerate().take(RUN_ANSWERS_MAX) {
        bytes += OUTCOME_BYTES + reply.outcome.bytes();
        if at > 0 && (bytes > RUN_BYTES_MAX || !continues(&replies[at - 1], reply)) {
            return at;
        }
    }
    replies.len().min(RUN_ANSWERS_MAX)
}

fn continues(before: &Reply, reply: &Reply) -> bool {
    before.number.0.checked_add(1) == Some(reply.number.0)
        && before.session == reply.session
        && before.seq == reply.seq
}

/// Where an outcome stands.
struct Place {
    /// Which one it is.
    tag: u32,
    /// Where its result is; ends where the outcome does.
    result: Range<usize>,
}

/// The outcomes that stand one after the other; ends where none stands.
fn places(outcomes: &[u8]) -> impl Iterator<Item = Place> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let place = place_at(outcomes, at)?;
        at = place.result.end;
        Some(place)
    })
}

fn place_at(outcomes: &[u8], at: usize) -> Option<Place> {
    let (tag, start) = word_at(outcomes, at)?;
    if tag != DONE {
        return outcome_of(tag, Bytes::new()).map(|_| Place { tag, result: start..start });
    }
    let (length, start) = word_at(outcomes, start)?;
    let end = start.checked_add(length as usize)?;
    let exists = length as usize <= REPLY_BYTES_MAX && end <= outcomes.len();
    exists.then_some(Place { tag, result: start..end })
}

fn word_at(bytes: &[u8], at: usize) -> Option<(u32, usize)> {
    let word = bytes.get(at..)?.first_chunk::<4>()?;
    Some((u32::from_le_bytes(*word), at + 4))
}

/// The outcome that is encoded with this tag, and this result if it has one; none if there is no such outcome.
fn outcome_of(tag: u32, result: Bytes) -> Option<Outcome> {
    Some(match tag {
        DONE => Outcome::Done(Blob(result)),
        1 => Outcome::NoSession,
        2 => Outcome::Old,
        3 => Outcome::Window,
        4 => Outcome::Gap,
        5 => Outcome::Expired,
        6 => Outcome::Full,
        7 => Outcome::Registered,
        8 => Outcome::Rejected,
        9 => Outcome::TooLarge,
        _ => return None,
    })
}
