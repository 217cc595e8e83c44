//! What one replica may ask of the verifier per second, beyond its votes.
//!
//! A VIEW-CHANGE, a NEW-VIEW, a certificate or a batch that was asked for costs its sender nothing and its reader many
//! signatures. Each channel has a bucket of messages and one of signatures; what exceeds them is dropped unverified.
//! A correct replica never comes near: it answers 64 questions in 100 ms, and of what it sends again nothing is
//! charged, because it is recognised.

use std::collections::{BTreeMap, VecDeque};

use quorate_protocol::committee::Committee;
use quorate_protocol::message::{NamedViewChange, Prepare};
use quorate_protocol::parameters::Context;
use quorate_protocol::types::{Digest, ReplicaId, Time};

/// What a message that costs many signatures is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A VIEW-CHANGE.
    ViewChange,
    /// A NEW-VIEW.
    NewView,
    /// A commit or stable certificate.
    Certificate,
    /// A batch that was missed.
    Body,
    /// What others signed.
    Testimony,
}

impl Kind {
    /// A word for each, in their order, to count by.
    pub const NAMES: [&str; 5] = ["view_change", "new_view", "certificate", "body", "testimony"];
}

/// Messages per second that any replica may send: thrice what a correct one answers.
const MESSAGES: u64 = 2_000;
/// Certificates per second, likewise.
const CERTIFICATES: u64 = 1_000;
/// How many seconds' worth may come at once.
const BURST: u64 = 4;
/// VIEW-CHANGEs of one signer that are recognised when they come again.
const RECOGNISED: usize = 8;
/// One token is so many parts; a part comes every microsecond for each token per second.
const PARTS: u64 = 1_000_000;

/// Tokens that come with time, up to a limit.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    parts: u64,
    at: Time,
}

impl Bucket {
    fn full(per_second: u64, now: Time) -> Self {
        Self { parts: Self::limit(per_second), at: now }
    }

    fn limit(per_second: u64) -> u64 {
        per_second.saturating_mul(BURST).saturating_mul(PARTS)
    }

    fn fill(&mut self, per_second: u64, now: Time) {
        let come = now.since(self.at).saturating_mul(per_second);
        self.parts = self.parts.saturating_add(come).min(Self::limit(per_second));
        self.at = self.at.max(now);
    }

    fn holds(&self, tokens: u64) -> bool {
        self.parts >= tokens.saturating_mul(PARTS)
    }

    fn spend(&mut self, tokens: u64) {
        self.parts = self.parts.saturating_sub(tokens.saturating_mul(PARTS));
    }
}

/// What each channel may still ask, and what has been let through of late.
#[derive(Debug, Default)]
pub(super) struct Allowances {
    /// Of each channel: messages, and signatures.
    buckets: BTreeMap<ReplicaId, (Bucket, Bucket)>,
    /// How many signatures under one statement were paid for: of n replicas there are n, however many certificates
    /// show a quorum of them.
    paid: BTreeMap<Prepare, u64>,
    /// By signer: its latest VIEW-CHANGEs.
    recognised: BTreeMap<ReplicaId, VecDeque<Digest>>,
}

impl Allowances {
    /// Charges a channel for a message of so many signatures; false, and no charge, if it has asked too much.
    pub(super) fn charge(&mut self, now: Time, from: ReplicaId, signatures: u64, context: &Context) -> bool {
        let (messages, certificates) = rates(context);
        let fresh = || (Bucket::full(messages, now), Bucket::full(certificates, now));
        let (count, cost) = self.buckets.entry(from).or_insert_with(fresh);
        count.fill(messages, now);
        cost.fill(certificates, now);
        if !count.holds(1) || !cost.holds(signatures) {
            return false;
        }
        count.spend(1);
        cost.spend(signatures);
        true
    }

    /// Signatures that a VIEW-CHANGE will have checked, about.
    pub(super) fn signatures_of(&self, message: &NamedViewChange, committee: &Committee) -> u64 {
        let (n, quorum) = (committee.size() as u64, committee.quorum() as u64);
        let open = |prepare: &Prepare| n.saturating_sub(self.paid.get(prepare).copied().unwrap_or(0));
        let prepared = message.prepared.iter().map(|shown| open(&shown.statement).clamp(1, quorum));
        1 + quorum * u64::from(message.stable.is_some()) + prepared.sum::<u64>()
    }

    /// A VIEW-CHANGE is let through: what it shows is not charged again, and it is recognised when it comes again.
    pub(super) fn note(&mut self, message: &NamedViewChange, context: &Context) {
        let window = usize::try_from(context.parameters.window).unwrap_or(usize::MAX);
        if self.paid.len() > window.saturating_mul(2) {
            self.paid.clear();
        }
        for shown in message.prepared.iter() {
            *self.paid.entry(shown.statement).or_default() += context.committee.quorum() as u64;
        }
        let known = self.recognised.entry(message.signer).or_default();
        if known.len() >= RECOGNISED {
            known.pop_front();
        }
        known.push_back(message.digest());
    }

    /// Whether these very bytes were let through before.
    pub(super) fn recognises(&self, message: &NamedViewChange) -> bool {
        self.recognised.get(&message.signer).is_some_and(|known| known.contains(&message.digest()))
    }
}

/// Messages and signatures per second. A new primary may have to show a full window of everybody's votes at once.
fn rates(context: &Context) -> (u64, u64) {
    let (n, quorum) = (context.committee.size() as u64, context.committee.quorum() as u64);
    (MESSAGES + 20 * n, context.parameters.window.saturating_mul(n) + CERTIFICATES * quorum)
}
