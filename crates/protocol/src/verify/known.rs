//! Votes under certificates that were found good: each is checked once, however many certificates show it.

use std::collections::BTreeMap;

use crate::crypto::{HashTag, Hasher};
use crate::parameters::Context;
use crate::signed::{CLIENT_SIGNER, Statement, signing_bytes};
use crate::types::{Digest, ReplicaId, Signature};

/// The most votes that one generation remembers, whatever the size of the cluster.
const VOTES_MAX: usize = 131_072;
/// What one generation remembers at least.
const VOTES_MIN: usize = 16_384;

/// Good votes by what they state; the replicas' alone, so that no flood of clients can push them out.
///
/// Of one replica under one statement the newest signature is kept: whoever signs one thing many times crowds out
/// himself only. Two generations; the older one goes when the newer is full.
#[derive(Debug)]
pub(super) struct Known {
    young: BTreeMap<Digest, BTreeMap<ReplicaId, Signature>>,
    old: BTreeMap<Digest, BTreeMap<ReplicaId, Signature>>,
    votes: usize,
    votes_max: usize,
}

impl Known {
    /// Room for a full window of everybody's votes, twice.
    pub(super) fn new(context: &Context) -> Self {
        let window = usize::try_from(context.parameters.window).unwrap_or(usize::MAX);
        let votes_max = window.saturating_mul(context.committee.size()).clamp(VOTES_MIN, VOTES_MAX);
        Self { young: BTreeMap::new(), old: BTreeMap::new(), votes: 0, votes_max }
    }

    /// What a certificate states, with its tag: a PREPARE is no COMMIT here either.
    pub(super) fn name<S: Statement>(statement: &S, context: &Context) -> Digest {
        let mut hasher = Hasher::new(HashTag::Verified);
        hasher.update(signing_bytes(statement, context.cluster, context.epoch, CLIENT_SIGNER).as_ref());
        hasher.finish()
    }

    /// The good votes for a statement, to be asked about many signers at once.
    pub(super) fn of(&self, statement: &Digest) -> Votes<'_> {
        Votes { young: self.young.get(statement), old: self.old.get(statement) }
    }

    /// A vote was found good.
    pub(super) fn insert(&mut self, Vote { statement, signer, signature }: Vote) {
        if self.votes >= self.votes_max {
            self.old = std::mem::take(&mut self.young);
            self.votes = 0;
        }
        if self.young.entry(statement).or_default().insert(signer, signature).is_none() {
            self.votes += 1;
        }
    }
}

/// A vote under a certificate, by the name of what it states.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vote {
    pub(super) statement: Digest,
    pub(super) signer: ReplicaId,
    pub(super) signature: Signature,
}

/// The good votes for one statement.
#[derive(Debug, Clone, Copy)]
pub(super) struct Votes<'a> {
    young: Option<&'a BTreeMap<ReplicaId, Signature>>,
    old: Option<&'a BTreeMap<ReplicaId, Signature>>,
}

impl Votes<'_> {
    /// Whether this very signature was found good.
    pub(super) fn contain(&self, signer: ReplicaId, signature: &Signature) -> bool {
        [self.young, self.old].into_iter().flatten().any(|votes| votes.get(&signer) == Some(signature))
    }
}
