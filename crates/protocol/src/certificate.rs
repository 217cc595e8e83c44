//! Quorums as values: the tally that collects votes, the certificate that proves one.

use std::collections::BTreeMap;

use crate::codec::{Decode, Encode, List, WireMin};
use crate::committee::REPLICAS_MAX;
use crate::message::{Checkpoint, Commit, Prepare};
use crate::signed::{Signed, Statement, Verified};
use crate::types::{ReplicaId, Signature, View};

/// Exactly q signatures of q distinct replicas, ascending, under one statement.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Certificate<S> {
    /// What the quorum states.
    pub statement: S,
    /// Who signed, and how.
    pub signatures: List<(ReplicaId, Signature), REPLICAS_MAX>,
}

impl WireMin for Certificate<Prepare> {
    const WIRE_MIN: usize = 48 + 4;
}

/// Votes have a rank: of two votes of one replica the higher-ranked one counts.
pub trait Ranked: Statement + Copy + Ord {
    /// The view of a vote; constant where views do not matter.
    fn rank(&self) -> View;
}

impl Ranked for Prepare {
    fn rank(&self) -> View {
        self.view
    }
}
impl Ranked for Commit {
    fn rank(&self) -> View {
        self.view
    }
}
impl Ranked for Checkpoint {
    fn rank(&self) -> View {
        View(0)
    }
}

/// What became of a vote that was added to a tally.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Added<S> {
    /// Counted, or known already, or of lower rank than the replica's vote here.
    Noted,
    /// It completed a quorum.
    Quorum(Verified<Certificate<S>>),
    /// The replica cast two different votes of one rank: evidence against it. The first one stays.
    Conflict(Signed<S>, Signed<S>),
}

/// One vote per replica, the highest-ranked: bounded by the committee's size.
#[derive(Debug, Clone)]
pub struct Tally<S> {
    votes: BTreeMap<ReplicaId, (S, Signature)>,
}

impl<S> Default for Tally<S> {
    fn default() -> Self {
        Self { votes: BTreeMap::new() }
    }
}

impl<S: Ranked> Tally<S> {
    /// Adds a vote; says when it completes a quorum of equal votes.
    pub fn add(&mut self, vote: &Verified<Signed<S>>, quorum: usize) -> Added<S> {
        if let Some((old, signature)) = self.votes.get(&vote.signer) {
            if *old == vote.body || old.rank() > vote.body.rank() {
                return Added::Noted;
            }
            if old.rank() == vote.body.rank() {
                let first = Signed { body: *old, signer: vote.signer, signature: *signature };
                return Added::Conflict(first, (**vote).clone());
            }
        }
        self.votes.insert(vote.signer, (vote.body, vote.signature));
        if self.count(&vote.body) == quorum {
            return Added::Quorum(self.certificate(&vote.body, quorum));
        }
        Added::Noted
    }

    /// Replicas that cast exactly this vote.
    #[must_use]
    pub fn count(&self, statement: &S) -> usize {
        self.votes.values().filter(|(vote, _)| vote == statement).count()
    }

    /// The vote of one replica that counts here.
    #[must_use]
    pub fn vote_of(&self, replica: ReplicaId) -> Option<Signed<S>> {
        let (body, signature) = self.votes.get(&replica)?;
        Some(Signed { body: *body, signer: replica, signature: *signature })
    }

    /// A certificate of exactly `rank`, if a quorum voted alike in it.
    #[must_use]
    pub fn quorum(&self, rank: View, quorum: usize) -> Option<Verified<Certificate<S>>> {
        let mut votes = self.votes.values().map(|(vote, _)| vote).filter(|vote| vote.rank() == rank);
        votes.find(|vote| self.count(vote) >= quorum).map(|vote| self.certificate(vote, quorum))
    }

    /// Every vote that counts here.
    pub fn votes(&self) -> impl Iterator<Item = (ReplicaId, &S)> {
        self.votes.iter().map(|(replica, (vote, _))| (*replica, vote))
    }

    /// Every signature in it was verified when it was added, so the certificate is.
    fn certificate(&self, statement: &S, quorum: usize) -> Verified<Certificate<S>> {
        let equal = self.votes.iter().filter(|(_, (vote, _))| vote == statement);
        let signatures = equal.map(|(replica, (_, signature))| (*replica, *signature)).take(quorum).collect();
        Verified::vouch(Certificate { statement: *statement, signatures: List(signatures) })
    }
}
