//! What replicas say alike of many calls is compared, counted and accepted as a whole.
//!
//! Replicas that executed the same batches cut the same runs, so what comes second is nearly always, byte for byte, what
//! came first. Nothing rests on that. A run that is cut otherwise (a repeated answer, a retry, a liar) is counted call by
//! call, and so are those that have a number in common with it from then on: the votes, answers and dissents are the same as
//! if every answer had come alone.

use std::collections::BTreeMap;

use super::ballot::{Ballot, Candidate, ReplicaSet};
use super::calls::State;
use super::registering::Standing;
use super::{Answer, Client, ClientEffect, How};
use crate::message::Run;
use crate::types::{Number, ReplicaId, Time};

/// The runs of a session that count as a whole, by their first number. No two have a number in common, and each has a call
/// that is not forgotten.
#[derive(Debug, Default)]
pub(super) struct Runs {
    /// Given by too few replicas yet. All that was said of their calls is this.
    open: BTreeMap<Number, OpenRun>,
    /// Accepted.
    accepted: BTreeMap<Number, Run>,
}

/// A run of results of the very operations that are out, and who gave it.
#[derive(Debug)]
struct OpenRun {
    run: Run,
    voters: ReplicaSet,
}

impl Runs {
    /// The session is over.
    pub(super) fn clear(&mut self) {
        self.open.clear();
        self.accepted.clear();
    }

    fn is_open(&self, run: &Run) -> bool {
        self.open.get(&run.first()).is_some_and(|open| open.run == *run)
    }

    fn is_accepted(&self, run: &Run) -> bool {
        self.accepted.get(&run.first()) == Some(run)
    }

    /// First numbers of open runs that have a number in common with this one.
    fn overlapping(&self, run: &Run) -> impl Iterator<Item = Number> {
        let first = run.first();
        // They follow each other, so the ends rise as the beginnings do.
        let before = self.open.range(..run.end()).rev();
        before.take_while(move |(_, open)| open.run.end() > first).map(|(first, _)| *first)
    }

    /// Keeps an accepted run; those that begin before the oldest call that is not forgotten go.
    fn accept(&mut self, run: Run, oldest: Number) {
        self.accepted.insert(run.first(), run);
        while let Some(entry) = self.accepted.first_entry()
            && *entry.key() < oldest
        {
            entry.remove();
        }
    }
}

impl Client {
    /// A replica answers operations.
    pub(super) fn on_run(&mut self, now: Time, from: ReplicaId, run: Run, effects: &mut Vec<ClientEffect>) {
        let ours = matches!(&self.standing, Standing::Open(session) if *session == run.session());
        if ours && run.end() <= self.calls.oldest() {
            self.counters.stale += run.count() as u64;
            return;
        }
        let rest = if ours { self.count_whole((now, from), run, effects) } else { Some(run) };
        let Some(run) = rest else { return };
        if ours {
            self.take_apart(&run);
        }
        for reply in run.replies() {
            self.on_reply(now, from, reply, effects);
        }
    }

    /// Counts a run as a whole, where that is the same as counting its answers; else gives it back.
    fn count_whole(
        &mut self,
        (now, from): (Time, ReplicaId),
        run: Run,
        effects: &mut Vec<ClientEffect>,
    ) -> Option<Run> {
        if run.first() < self.calls.oldest() {
            return Some(run);
        }
        if self.runs.is_accepted(&run) {
            return None;
        }
        let (first, bytes) = (run.first(), run.result_bytes());
        let held_bytes = self.peers[usize::from(from.0)].held_bytes;
        if held_bytes.saturating_add(bytes) > self.context.parameters.reply_cache_bytes_max {
            return Some(run);
        }
        if !self.runs.is_open(&run) {
            let is_first = run.is_all_results()
                && self.runs.overlapping(&run).next().is_none()
                && self.calls.expects(&run);
            if !is_first {
                return Some(run);
            }
            self.runs.open.insert(first, OpenRun { run, voters: ReplicaSet::default() });
        }
        let open = self.runs.open.get_mut(&first)?;
        if open.voters.insert(from) {
            self.peers[usize::from(from.0)].held_bytes += bytes;
            if open.voters.len() >= self.needed() {
                self.accept_run(now, first, effects);
            }
        }
        None
    }

    /// Enough replicas give this run. Nobody has said anything else of its calls.
    fn accept_run(&mut self, now: Time, first: Number, effects: &mut Vec<ClientEffect>) {
        let Some(OpenRun { run, voters }) = self.runs.open.remove(&first) else { return };
        for replica in voters.iter() {
            self.peers[usize::from(replica.0)].held_bytes -= run.result_bytes();
        }
        let (bundles, backoff) = (&mut self.bundles, &mut self.backoff);
        let answered = self.calls.answer_run(&run, |bundle| {
            if let Some(took) = bundles.answered(now, bundle) {
                backoff.learn(took);
            }
        });
        self.counters.accepted += run.count() as u64;
        self.answered = self.answered.max(run.seq());
        let (seq, view, dissenters, how) = (run.seq(), self.view, ReplicaSet::default(), How::Ordered);
        for (number, outcome) in answered {
            let id = self.calls.id(number);
            self.conclude(id, Answer { outcome, seq, number, view, voters, dissenters, how }, effects);
        }
        self.runs.accept(run, self.calls.oldest());
    }

    /// From now on, what open runs say of calls that this one answers, too, counts call by call.
    fn take_apart(&mut self, run: &Run) {
        let overlapping: Vec<_> = self.runs.overlapping(run).collect();
        for first in overlapping {
            let Some(OpenRun { run, voters }) = self.runs.open.remove(&first) else { continue };
            for reply in run.replies() {
                let candidate = Candidate { seq: reply.seq, outcome: reply.outcome, voters };
                if let Some(call) = self.calls.get_mut(reply.number) {
                    call.state = State::Open(Some(Box::new(Ballot::from(candidate))));
                }
            }
        }
    }
}

#[cfg(test)]
impl Client {
    /// Whether the books agree: what is held of each replica, and what stands open and accepted, is what calls say, and
    /// within its bounds.
    ///
    /// # Panics
    /// If they do not.
    pub(super) fn audit(&mut self) {
        let mut held = vec![0; self.peers.len()];
        let mut hold = |voters: ReplicaSet, bytes| {
            voters.iter().for_each(|replica| held[usize::from(replica.0)] += bytes);
        };
        let oldest = self.calls.oldest().0;
        let numbers = || (oldest..).map(Number);
        let count = numbers().take_while(|number| self.calls.get_mut(*number).is_some()).count();
        for number in numbers().take(count) {
            let Some(State::Open(Some(ballot))) = self.calls.get_mut(number).map(|call| &call.state) else {
                continue;
            };
            for candidate in ballot.candidates() {
                assert!(candidate.voters.len() < self.context.committee.quorum());
                hold(candidate.voters, candidate.outcome.bytes() as u64);
            }
        }
        let mut free = Number(0);
        for (first, open) in &self.runs.open {
            assert!(*first == open.run.first() && free <= *first, "no two have a number in common");
            assert!(!open.voters.is_empty() && open.voters.len() < self.context.committee.quorum());
            assert!(self.calls.expects(&open.run), "only this was said of calls that are out");
            hold(open.voters, open.run.result_bytes());
            free = open.run.end();
        }
        let most = self.context.parameters.reply_cache_bytes_max;
        assert_eq!(held, self.peers.iter().map(|peer| peer.held_bytes).collect::<Vec<_>>());
        assert!(held.iter().all(|held| *held <= most));
        for run in self.runs.accepted.values() {
            for number in (run.first().0.max(oldest)..run.end().0).map(Number) {
                assert!(self.calls.get_mut(number).is_some_and(|call| call.is_answered()));
            }
        }
        let bound = usize::try_from(2 * self.context.parameters.client_window).unwrap_or(usize::MAX);
        assert!(count <= bound && self.runs.accepted.len() <= bound, "{} runs", self.runs.accepted.len());
    }
}
