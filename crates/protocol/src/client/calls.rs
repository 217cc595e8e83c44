//! The calls of a session, by number: what waits, what is out, what was answered. A queue indexed by number.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use super::CallId;
use super::ballot::Ballot;
use crate::message::{Outcome, Run};
use crate::request::Operations;
use crate::types::{Digest, Number, Seq};

/// Bytes of the length before each operation.
const LENGTH_BYTES: usize = 4;
/// How many answered calls are kept, to be compared with what comes later. Replicas answer nearly at once, so the others'
/// answers to these are nearly all that comes; and what is kept is looked at often, so it should fit a processor's cache.
/// A replica that answers later than this is not found out by it, nor believed.
const ANSWERED_KEPT: u64 = 256;

/// One call, by its number.
#[derive(Debug)]
pub(crate) struct Call {
    /// Digest of the operation, known when it is signed.
    pub(crate) digest: Option<Digest>,
    /// The bundle it went out in.
    pub(crate) bundle: u64,
    /// Whether its caller still waits for the answer.
    pub(crate) wanted: bool,
    pub(crate) state: State,
}

/// How far a call is.
#[derive(Debug)]
pub(crate) enum State {
    /// In no request yet.
    Waiting(Bytes),
    /// Out. What replicas said of it, unless they said it of a whole run only.
    Open(Option<Box<Ballot>>),
    /// Answered. Kept for a while, to notice replicas that answer otherwise later.
    Answered { seq: Seq, outcome: Outcome },
}

/// The next bundle, if it were cut now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) operations: u64,
    /// Whether another operation would not fit.
    pub(crate) full: bool,
}

/// All calls of a session that are not settled and forgotten.
#[derive(Debug)]
pub(crate) struct Calls {
    queue: VecDeque<Call>,
    /// Number of the queue's first call.
    base: u64,
    /// Lowest number that is not answered.
    ack: u64,
    /// Lowest number that was never sent.
    unsent: u64,
    /// What a number and its call's id differ by: ids go on when a new session counts from 1 again.
    offset: u64,
    /// Bytes of the answers kept below `ack`.
    kept_bytes: u64,
    window: u64,
    /// Answers kept below `ack`, at most.
    kept_max: u64,
    kept_bytes_max: u64,
}

impl Calls {
    pub(crate) fn new(window: u64, kept_bytes_max: u64) -> Self {
        let (queue, kept_max) = (VecDeque::new(), window.min(ANSWERED_KEPT));
        Self { queue, base: 1, ack: 1, unsent: 1, offset: 0, kept_bytes: 0, window, kept_max, kept_bytes_max }
    }

    /// Takes the next number, unless the window is full.
    pub(crate) fn push(&mut self, operation: Bytes) -> Option<CallId> {
        let number = self.end();
        if number >= self.ack + self.window {
            return None;
        }
        let state = State::Waiting(operation);
        self.queue.push_back(Call { digest: None, bundle: 0, wanted: true, state });
        Some(self.id(Number(number)))
    }

    /// The call's caller has gone.
    pub(crate) fn cancel(&mut self, call: CallId) {
        let number = call.0.checked_sub(self.offset).map(Number);
        if let Some(call) = number.and_then(|number| self.get_mut(number)) {
            call.wanted = false;
        }
    }

    pub(crate) fn get_mut(&mut self, number: Number) -> Option<&mut Call> {
        let index = usize::try_from(number.0.checked_sub(self.base)?).ok()?;
        self.queue.get_mut(index)
    }

    pub(crate) fn id(&self, number: Number) -> CallId {
        CallId(self.offset + number.0)
    }

    /// Lowest number whose answer is not accepted.
    pub(crate) fn ack(&self) -> Number {
        Number(self.ack)
    }

    /// Lowest number that is not forgotten.
    pub(crate) fn oldest(&self) -> Number {
        Number(self.base)
    }

    /// Whether a run answers just what is out under its numbers, and nobody has said anything of these calls by themselves.
    pub(crate) fn expects(&self, run: &Run) -> bool {
        let Some(places) = self.places(run) else { return false };
        let untouched = |call: &Call| matches!(call.state, State::Open(None));
        self.queue
            .range(places)
            .zip(run.operations())
            .all(|(call, digest)| untouched(call) && call.digest == Some(digest))
    }

    /// Whether some call was never sent.
    pub(crate) fn any_waiting(&self) -> bool {
        self.unsent < self.end()
    }

    /// Calls that have no answer yet.
    pub(crate) fn unanswered(&self) -> usize {
        let from = usize::try_from(self.ack - self.base).unwrap_or(usize::MAX);
        self.queue.iter().skip(from).filter(|call| !call.is_answered()).count()
    }

    /// How many waiting calls fit in one request of at most so many operations and bytes; at least one.
    pub(crate) fn next_bundle(&self, operations_max: u64, bytes_max: usize) -> Option<Shape> {
        let (mut operations, mut bytes) = (0, 0);
        for call in self.queue.range(self.index_of_unsent()..) {
            let State::Waiting(operation) = &call.state else { break };
            bytes += LENGTH_BYTES + operation.len();
            if operations > 0 && bytes > bytes_max {
                return Some(Shape { operations, full: true });
            }
            operations += 1;
            if operations >= operations_max {
                return Some(Shape { operations, full: true });
            }
        }
        (operations > 0).then_some(Shape { operations, full: false })
    }

    /// Takes the next `operations` waiting calls into a bundle: its first number and its operations.
    pub(crate) fn cut(&mut self, operations: u64, bundle: u64) -> (Number, Operations) {
        let first = self.unsent;
        let start = self.index_of_unsent();
        let end = start + usize::try_from(operations).expect("a bundle has at most 4096 operations");
        let framed = Operations::new(self.queue.range(start..end).filter_map(|call| match &call.state {
            State::Waiting(operation) => Some(operation.as_ref()),
            State::Open(_) | State::Answered { .. } => None,
        }));
        for call in self.queue.range_mut(start..end) {
            call.state = State::Open(None);
            call.bundle = bundle;
        }
        self.unsent += operations;
        (Number(first), framed)
    }

    /// Notes an accepted answer, and forgets old ones.
    pub(crate) fn answer(&mut self, number: Number, seq: Seq, outcome: Outcome) {
        let Some(call) = self.get_mut(number) else { return };
        call.state = State::Answered { seq, outcome };
        self.settle();
    }

    /// Notes the accepted answers of a run, and forgets old ones. Tells the bundle of each call; gives back what callers
    /// wait for.
    pub(crate) fn answer_run(&mut self, run: &Run, mut answered: impl FnMut(u64)) -> Vec<(Number, Outcome)> {
        let Some(places) = self.places(run) else { return Vec::new() };
        let mut wanted = Vec::with_capacity(run.count());
        for (call, (number, outcome)) in self.queue.range_mut(places).zip(run.outcomes()) {
            answered(call.bundle);
            if call.wanted {
                wanted.push((number, outcome.clone()));
            }
            call.state = State::Answered { seq: run.seq(), outcome };
        }
        self.settle();
        wanted
    }

    /// Moves the acknowledgement over what is answered, and forgets what was answered long ago.
    fn settle(&mut self) {
        let from = usize::try_from(self.ack - self.base).expect("the queue holds at most two windows");
        for call in self.queue.range(from..).take_while(|call| call.is_answered()) {
            self.kept_bytes += call.kept_bytes();
            self.ack += 1;
        }
        while self.ack - self.base > self.kept_max || self.kept_bytes > self.kept_bytes_max {
            let Some(call) = self.queue.pop_front() else { break };
            self.kept_bytes -= call.kept_bytes();
            self.base += 1;
        }
        assert!(self.base <= self.ack && self.ack <= self.unsent, "only calls that were sent are answered");
    }

    /// Ends the session: hands back the wanted calls that are out, keeps those that were never sent, numbered anew.
    pub(crate) fn restart(&mut self) -> Vec<CallId> {
        let out = self.queue.drain(..self.index_of_unsent());
        let offset = self.offset;
        let lost = (self.base..)
            .zip(out)
            .filter(|(_, call)| call.wanted && !call.is_answered())
            .map(|(number, _)| CallId(offset + number))
            .collect();
        self.offset += self.unsent - 1;
        (self.base, self.ack, self.unsent, self.kept_bytes) = (1, 1, 1, 0);
        lost
    }

    /// Where in the queue the calls of a run are; none if some of them are not there.
    fn places(&self, run: &Run) -> Option<Range<usize>> {
        let start = usize::try_from(run.first().0.checked_sub(self.base)?).ok()?;
        let end = start.checked_add(run.count())?;
        (end <= self.queue.len()).then_some(start..end)
    }

    fn end(&self) -> u64 {
        self.base + self.queue.len() as u64
    }

    fn index_of_unsent(&self) -> usize {
        usize::try_from(self.unsent - self.base).expect("the queue holds at most two windows")
    }
}

impl Call {
    pub(crate) fn is_answered(&self) -> bool {
        matches!(self.state, State::Answered { .. })
    }

    fn kept_bytes(&self) -> u64 {
        match &self.state {
            State::Answered { outcome: Outcome::Done(result), .. } => result.len() as u64,
            State::Answered { .. } | State::Waiting(_) | State::Open(_) => 0,
        }
    }
}
