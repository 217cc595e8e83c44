//! Votes held back until they can be verified together.

use std::collections::BTreeMap;

use quorate_protocol::replica::Need;
use quorate_protocol::signed::Signed;
use quorate_protocol::types::{ReplicaId, Time};

/// Votes held back at most of one signer: whoever says a thousand things at once uses up his own room.
const HELD_MAX: usize = 1024;
/// How long a vote is held back at most, in microseconds.
pub(super) const HOLD_US: u64 = 2_000;

/// Votes that say the same, and since when the first of them waits.
#[derive(Debug)]
struct Equal<S> {
    since: Time,
    votes: Vec<Signed<S>>,
}

/// Votes that wait to be a quorum. Each came over its own signer's channel.
#[derive(Debug)]
pub(super) struct Held<S> {
    votes: BTreeMap<S, Equal<S>>,
    of_signer: BTreeMap<ReplicaId, usize>,
}

impl<S> Default for Held<S> {
    fn default() -> Self {
        Self { votes: BTreeMap::new(), of_signer: BTreeMap::new() }
    }
}

impl<S: Ord + Copy> Held<S> {
    /// Takes a vote in; gives back what is to be verified now. None: it is of no use.
    pub(super) fn sort(&mut self, need: Need, now: Time, vote: Signed<S>) -> Option<Vec<Signed<S>>> {
        match need {
            Need::Useless => None,
            Need::Now => Some(vec![vote]),
            Need::Together(_) if self.count(vote.signer) >= HELD_MAX => Some(vec![vote]),
            Need::Together(together) => Some(self.hold(now, vote, together)),
        }
    }

    fn count(&self, signer: ReplicaId) -> usize {
        self.of_signer.get(&signer).copied().unwrap_or(0)
    }

    /// Holds a vote; gives back all that say the same once `together` of them are here.
    fn hold(&mut self, now: Time, vote: Signed<S>, together: usize) -> Vec<Signed<S>> {
        let body = vote.body;
        let equal = self.votes.entry(body).or_insert(Equal { since: now, votes: Vec::new() });
        if equal.votes.iter().all(|held| held.signer != vote.signer) {
            *self.of_signer.entry(vote.signer).or_default() += 1;
            equal.votes.push(vote);
        }
        if equal.votes.len() >= together { self.take(&body) } else { Vec::new() }
    }

    fn take(&mut self, body: &S) -> Vec<Signed<S>> {
        let taken = self.votes.remove(body).map(|equal| equal.votes).unwrap_or_default();
        taken.iter().for_each(|vote| forget(&mut self.of_signer, vote.signer));
        taken
    }

    /// Takes out what was held too long.
    pub(super) fn overdue(&mut self, now: Time) -> Vec<Signed<S>> {
        let late = |equal: &Equal<S>| now.since(equal.since) >= HOLD_US;
        let bodies: Vec<S> =
            self.votes.iter().filter(|(_, equal)| late(equal)).map(|(body, _)| *body).collect();
        bodies.iter().flat_map(|body| self.take(body)).collect()
    }

    /// Takes out what a quorum needs by now, and drops what it does not need any more; says how much that was.
    pub(super) fn settle(&mut self, need: impl Fn(&Signed<S>) -> Need) -> (Vec<Signed<S>>, u64) {
        let (mut needed, mut useless) = (Vec::new(), 0);
        let bodies: Vec<S> = self.votes.keys().copied().collect();
        for body in bodies {
            let Some(equal) = self.votes.get_mut(&body) else { continue };
            // Each vote for itself: one that was counted already says nothing about those held with it.
            let of_signer = &mut self.of_signer;
            equal.votes.retain(|vote| {
                let keep = need(vote) != Need::Useless;
                if !keep {
                    useless += 1;
                    forget(of_signer, vote.signer);
                }
                keep
            });
            match equal.votes.first().map(&need) {
                Some(Need::Together(together)) if equal.votes.len() < together => {}
                Some(_) => needed.extend(self.take(&body)),
                None => drop(self.votes.remove(&body)),
            }
        }
        (needed, useless)
    }

    /// Since when the oldest vote waits.
    pub(super) fn oldest(&self) -> Option<Time> {
        self.votes.values().map(|equal| equal.since).min()
    }
}

fn forget(of_signer: &mut BTreeMap<ReplicaId, usize>, signer: ReplicaId) {
    let Some(count) = of_signer.get_mut(&signer) else { return };
    *count -= 1;
    if *count == 0 {
        of_signer.remove(&signer);
    }
}
