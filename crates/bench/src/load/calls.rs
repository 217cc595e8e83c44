//! One client at work: it keeps some calls in flight, or calls whenever a call is due.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;
use quorate_node::client::{CallStream, Caller, Tagged};
use quorate_protocol::client::Answer;
use quorate_protocol::message::Outcome;
use tokio::time::sleep_until;

use super::asking::Questions;
use super::live::Accepted;
use super::pace::Pace;
use super::{GIVE_UP, Live};

/// What all clients do for a while.
#[derive(Debug, Clone)]
pub(super) struct Stretch {
    pub(super) live: Arc<Live>,
    pub(super) questions: Questions,
    pub(super) in_flight: usize,
    /// Operations from this one on are for later.
    pub(super) limit: u64,
}

/// One client at work.
struct Work {
    client: usize,
    stretch: Stretch,
    /// When calls are due; none if each is due as soon as there is room.
    pace: Option<Pace>,
    index: u64,
    /// The tag of a call is its place among those in flight; its index is kept there, and when it was due.
    started: Vec<(u64, Instant)>,
    free: Vec<u64>,
    next: Vec<(u64, Bytes)>,
    /// When those of `next` were due.
    dues: Vec<Instant>,
}

/// Works until the load's end, or the stretch's limit, from the `index`th operation on; waits for all answers. Gives
/// back the index of the first operation that is left.
pub(super) async fn work(
    (client, caller): (usize, Caller),
    stretch: Stretch,
    index: u64,
    pace: Option<Pace>,
) -> u64 {
    let calls = caller.stream(stretch.in_flight);
    let started = vec![(0, Instant::now()); stretch.in_flight];
    let free = (0..stretch.in_flight as u64).collect();
    let (next, dues) = (Vec::new(), Vec::new());
    let mut work = Work { client, stretch, pace, index, started, free, next, dues };
    let lost = call(&mut work, calls).await;
    work.end(lost);
    work.index
}

/// Gives back how many calls got no answer.
async fn call(work: &mut Work, mut calls: CallStream) -> u64 {
    let mut hopeless = work.stretch.live.hopeless.subscribe();
    loop {
        let end = work.stretch.live.end();
        work.gather(Instant::now(), end);
        if calls.submit(&mut work.next).await.is_err() {
            return calls.in_flight() as u64;
        }
        let wake = work.wake(end);
        if calls.in_flight() == 0 && wake.is_none() {
            return 0;
        }
        let answers = tokio::select! {
            answers = calls.next(), if calls.in_flight() > 0 => answers,
            () = sleep_until(wake.unwrap_or(end).into()), if wake.is_some() => continue,
            // The end may have moved meanwhile.
            () = sleep_until((end + GIVE_UP).into()) => if work.stretch.live.end() > end { continue } else { None },
            _ = hopeless.wait_for(|given_up| *given_up) => None,
        };
        let Some(answers) = answers else { return calls.in_flight() as u64 };
        work.take(answers);
    }
}

impl Work {
    fn is_open(&self, now: Instant, end: Instant) -> bool {
        let owes = || self.pace.as_ref().is_some_and(|pace| pace.owes(now, end));
        (now < end || owes()) && self.index < self.stretch.limit && !*self.stretch.live.hopeless.borrow()
    }

    /// Makes the calls that are due, as many as there is room for.
    fn gather(&mut self, now: Instant, end: Instant) {
        if !self.is_open(now, end) {
            return;
        }
        let first = self.index;
        while self.index < self.stretch.limit && !self.free.is_empty() {
            let due = match &mut self.pace {
                Some(pace) => pace.take(now.min(end)),
                None => Some(now),
            };
            let (Some(due), Some(tag)) = (due, self.free.last().copied()) else { break };
            self.free.pop();
            self.started[usize::try_from(tag).unwrap_or_default()] = (self.index, due);
            self.next.push((tag, self.stretch.questions.operation(self.client, self.index)));
            self.dues.push(due);
            self.index += 1;
        }
        self.stretch.live.note_submitted(self.client, first..self.index);
        self.stretch.live.phases().note_sent(&self.dues, now, end);
        self.dues.clear();
    }

    /// Notes what is left over: calls without an answer, and those that were due and never sent.
    fn end(&mut self, lost: u64) {
        let (now, live) = (Instant::now(), Arc::clone(&self.stretch.live));
        live.failed.fetch_add(lost, Ordering::Relaxed);
        let (end, mut phases) = (live.end(), live.phases());
        if lost > 0 {
            let free: BTreeSet<u64> = self.free.iter().copied().collect();
            let tagged = (0_u64..).zip(&self.started).filter(|(tag, _)| !free.contains(tag));
            tagged.for_each(|(_, (_, due))| phases.note_lost(*due, now, end));
        }
        while let Some(due) = self.pace.as_mut().and_then(|pace| pace.take(end)) {
            phases.note_unsent(due, end);
        }
    }

    /// When to look again though no answer comes.
    fn wake(&self, end: Instant) -> Option<Instant> {
        let next = self.pace.as_ref()?.next();
        (self.is_open(Instant::now(), end) && !self.free.is_empty()).then_some(next.min(end))
    }

    fn take(&mut self, answers: Vec<Tagged>) {
        let (now, live) = (Instant::now(), &self.stretch.live);
        for (tag, answer) in answers {
            self.free.push(tag);
            let (index, due) = self.started[usize::try_from(tag).unwrap_or_default()];
            match answer {
                Ok(Answer { outcome: Outcome::Done(ref reply), seq, view, dissenters, .. }) => {
                    live.note_dissenters(&dissenters, seq);
                    live.ledger().answered(self.client, index, seq.0, reply);
                    live.note(Accepted { place: (seq, view), due }, now);
                }
                Ok(_) | Err(_) => {
                    live.failed.fetch_add(1, Ordering::Relaxed);
                    live.phases().note_lost(due, now, live.end());
                }
            }
        }
    }
}
