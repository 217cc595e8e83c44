//! What the replicas say about one operation: one vote each, compared in full, never believed one by one.

use std::fmt;

use crate::committee::REPLICAS_MAX;
use crate::message::Outcome;
use crate::types::{ReplicaId, Seq};

/// A set of replicas, one bit each.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct ReplicaSet([u64; REPLICAS_MAX / 64]);

impl ReplicaSet {
    /// Adds a replica. Returns whether it was missing; a number that no committee has is never added.
    pub fn insert(&mut self, replica: ReplicaId) -> bool {
        let (word, bit) = Self::place(replica);
        let Some(word) = self.0.get_mut(word) else { return false };
        let missing = *word & bit == 0;
        *word |= bit;
        missing
    }

    /// Removes a replica.
    pub fn remove(&mut self, replica: ReplicaId) {
        let (word, bit) = Self::place(replica);
        if let Some(word) = self.0.get_mut(word) {
            *word &= !bit;
        }
    }

    /// Adds all replicas of another set.
    pub fn extend(&mut self, other: Self) {
        for (word, more) in self.0.iter_mut().zip(other.0) {
            *word |= more;
        }
    }

    /// Whether a replica is in it.
    #[must_use]
    pub fn contains(&self, replica: ReplicaId) -> bool {
        let (word, bit) = Self::place(replica);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }

    /// How many replicas are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether nobody is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == Self::default().0
    }

    /// Its members, ascending.
    pub fn iter(&self) -> impl Iterator<Item = ReplicaId> + use<> {
        (0_u16..).step_by(64).zip(self.0).flat_map(|(first, mut word)| {
            std::iter::from_fn(move || {
                let bit = u16::try_from(word.trailing_zeros()).ok().filter(|bit| *bit < 64)?;
                word &= word - 1;
                Some(ReplicaId(first + bit))
            })
        })
    }

    fn place(replica: ReplicaId) -> (usize, u64) {
        (usize::from(replica.0 / 64), 1 << (replica.0 % 64))
    }
}

impl FromIterator<ReplicaId> for ReplicaSet {
    fn from_iter<I: IntoIterator<Item = ReplicaId>>(replicas: I) -> Self {
        let mut set = Self::default();
        for replica in replicas {
            set.insert(replica);
        }
        set
    }
}

impl fmt::Debug for ReplicaSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// One answer, and who gave it.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) seq: Seq,
    pub(crate) outcome: Outcome,
    pub(crate) voters: ReplicaSet,
}

/// What became of a vote.
#[derive(Debug)]
pub(crate) enum Cast {
    /// It counts now, or counted before.
    Noted,
    /// The replica had answered otherwise; its first answer stays.
    Dissent,
    /// Enough replicas give this answer.
    Decided(Candidate),
}

/// The votes on one operation. Each replica stands in one candidate at most, so there are at most n.
#[derive(Debug, Default)]
pub(crate) struct Ballot {
    /// Almost always the only one; it costs no allocation.
    first: Option<Candidate>,
    others: Vec<Candidate>,
    /// Replicas that contradicted themselves, or answered another operation under this number.
    liars: ReplicaSet,
}

impl From<Candidate> for Ballot {
    /// What was counted elsewhere so far.
    fn from(candidate: Candidate) -> Self {
        Self { first: Some(candidate), ..Self::default() }
    }
}

impl Ballot {
    /// Counts a reply. An executed result binds its replica. The other outcomes are given anew every time the
    /// operation is ordered, so a later slot replaces them.
    pub(crate) fn vote(&mut self, from: ReplicaId, seq: Seq, outcome: Outcome, needed: usize) -> Cast {
        let standing =
            self.first.iter().chain(&self.others).find(|candidate| candidate.voters.contains(from));
        if let Some(standing) = standing {
            if standing.seq == seq && standing.outcome == outcome {
                return Cast::Noted;
            }
            if standing.outcome.is_result() {
                self.liars.insert(from);
                return Cast::Dissent;
            }
            if !outcome.is_result() && seq <= standing.seq {
                return Cast::Noted;
            }
            self.withdraw(from);
        }
        self.count(from, seq, outcome, needed)
    }

    /// Notes that a replica said something no correct one says.
    pub(crate) fn accuse(&mut self, replica: ReplicaId) {
        self.liars.insert(replica);
    }

    /// Whether this replica's result counts here.
    pub(crate) fn has_result_of(&self, replica: ReplicaId) -> bool {
        self.candidates().any(|candidate| candidate.outcome.is_result() && candidate.voters.contains(replica))
    }

    /// Replicas whose standing answer contradicts the decided one, or that lied on the way.
    pub(crate) fn dissenters(&self, decided: &Candidate) -> ReplicaSet {
        let mut dissenters = self.liars;
        for candidate in self.candidates().filter(|candidate| contradicts(candidate, decided)) {
            dissenters.extend(candidate.voters);
        }
        dissenters
    }

    /// Everything that was answered and not decided.
    pub(crate) fn candidates(&self) -> impl Iterator<Item = &Candidate> {
        self.first.iter().chain(&self.others)
    }

    fn count(&mut self, from: ReplicaId, seq: Seq, outcome: Outcome, needed: usize) -> Cast {
        let same = |candidate: &Candidate| candidate.seq == seq && candidate.outcome == outcome;
        if let Some(first) = self.first.as_mut().filter(|first| same(first)) {
            first.voters.insert(from);
            if first.voters.len() >= needed {
                return self.first.take().map_or(Cast::Noted, Cast::Decided);
            }
            return Cast::Noted;
        }
        if let Some(index) = self.others.iter().position(same) {
            self.others[index].voters.insert(from);
            if self.others[index].voters.len() >= needed {
                return Cast::Decided(self.others.swap_remove(index));
            }
            return Cast::Noted;
        }
        let fresh = Candidate { seq, outcome, voters: ReplicaSet::from_iter([from]) };
        if needed <= 1 {
            return Cast::Decided(fresh);
        }
        if self.first.is_none() {
            self.first = Some(fresh)
        } else {
            self.others.push(fresh)
        }
        Cast::Noted
    }

    fn withdraw(&mut self, replica: ReplicaId) {
        for candidate in self.first.iter_mut().chain(&mut self.others) {
            candidate.voters.remove(replica);
        }
        self.first = self.first.take().filter(|candidate| !candidate.voters.is_empty());
        self.others.retain(|candidate| !candidate.voters.is_empty());
    }
}

/// Two results of one operation must be equal, slot included. Other outcomes depend on the slot in which they were
/// given, and those that are not final contradict nothing.
fn contradicts(candidate: &Candidate, decided: &Candidate) -> bool {
    match &candidate.outcome {
        Outcome::Window | Outcome::Gap | Outcome::Full => false,
        Outcome::Done(_) | Outcome::Rejected | Outcome::TooLarge => {
            candidate.seq != decided.seq || candidate.outcome != decided.outcome
        }
        Outcome::NoSession | Outcome::Old | Outcome::Expired | Outcome::Registered => {
            candidate.outcome != decided.outcome
        }
    }
}
