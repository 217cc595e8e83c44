//! What becomes of every operation at this replica, for a log in which a person follows one of them through all
//! replicas.
//!
//! An operation is named by the beginning of its digest, which its client, and every replica that sees it, computes for
//! itself. Nothing is noted while nobody asks: then it costs a look at one flag for each effect.

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use quorate_protocol::message::{BusyReason, Reply};
use quorate_protocol::process::{Effect, Record};
use quorate_protocol::request::{Body, Request};
use quorate_protocol::types::{Digest, ReplicaId, Seq, View};

/// Slots at most whose operations are remembered: as many as a window may have.
const SLOTS_MAX: usize = 4_096;
/// Operations at most of which steps wait to be taken.
const OPERATIONS_MAX: usize = 1 << 18;

/// The name of an operation in logs: the first eight bytes of its digest, written as sixteen hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct OperationId(u64);

impl OperationId {
    /// Of the operation with this digest.
    #[must_use]
    pub fn of(digest: &Digest) -> Self {
        let [a, b, c, d, e, f, g, h, ..] = digest.0;
        Self(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }

    /// Those that a request carries, in its order.
    #[must_use]
    pub fn all_of(request: &Request) -> Vec<Self> {
        request.operations().map(|(_, digest, _)| Self::of(&digest)).collect()
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What became of operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Their client sent them, and its signature is good.
    Received,
    /// Another replica passed them on, and their client's signature is good.
    ReceivedFrom(ReplicaId),
    /// This replica passed them on to the primary.
    PassedOn(ReplicaId),
    /// There was no room for them.
    TurnedAway(BusyReason),
    /// This replica, the primary, proposes them.
    Proposed(View, Seq),
    /// This replica votes for the proposal that has them.
    Voted(View, Seq),
    /// A quorum votes for that.
    Prepared(View, Seq),
    /// Their place is certain, and so are all before it.
    Committed(Seq),
    /// They have executed here.
    Executed(Seq),
    /// Their client was answered.
    Replied(Seq),
}

/// One step of operations that went it together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What became of them.
    pub what: What,
    /// The operations.
    pub operations: Vec<OperationId>,
}

/// Notes what becomes of operations while somebody wants to know.
#[derive(Debug, Default)]
pub(crate) struct Following {
    on: bool,
    steps: VecDeque<Step>,
    /// Operations in `steps`.
    noted: usize,
    /// The batches on their way, by slot, with the digest that votes name.
    slots: BTreeMap<Seq, (Digest, Vec<OperationId>)>,
}

impl Following {
    /// Notes steps from now on, or none any more.
    pub(crate) fn turn(&mut self, on: bool) {
        if self.on && !on {
            *self = Self::default();
        }
        self.on = on;
    }

    /// The steps since this was last asked, in order.
    pub(crate) fn take(&mut self) -> VecDeque<Step> {
        self.noted = 0;
        std::mem::take(&mut self.steps)
    }

    /// A request came, and is its client's.
    pub(crate) fn received(&mut self, request: &Request, passed_on_by: Option<ReplicaId>) {
        if self.on {
            let what = passed_on_by.map_or(What::Received, What::ReceivedFrom);
            self.push(what, OperationId::all_of(request));
        }
    }

    /// A request was not taken.
    pub(crate) fn turned_away(&mut self, request: &Request, reason: BusyReason) {
        if self.on {
            self.push(What::TurnedAway(reason), OperationId::all_of(request));
        }
    }

    /// A client was answered.
    pub(crate) fn replied(&mut self, replies: &[Reply]) {
        if !self.on {
            return;
        }
        for of_slot in replies.chunk_by(|one, other| one.seq == other.seq) {
            let operations = of_slot.iter().map(|reply| OperationId::of(&reply.operation)).collect();
            self.push(What::Replied(of_slot[0].seq), operations);
        }
    }

    /// What the replica wants tells how far a slot is.
    pub(crate) fn note(&mut self, effect: &Effect) {
        if !self.on {
            return;
        }
        match effect {
            Effect::Forward { to, request } => {
                self.push(What::PassedOn(*to), OperationId::all_of(request));
            }
            Effect::Persist(Record::Body { seq, body }) => self.remember(*seq, body),
            Effect::Persist(Record::Vote { prepare, primary }) => {
                let (view, seq) = (prepare.view, prepare.seq);
                let what = if primary.is_none() { What::Proposed(view, seq) } else { What::Voted(view, seq) };
                self.push(what, self.of_slot(seq, &prepare.digest));
            }
            Effect::Persist(Record::Prepared(certificate)) => {
                let statement = &certificate.statement;
                let operations = self.of_slot(statement.seq, &statement.digest);
                self.push(What::Prepared(statement.view, statement.seq), operations);
            }
            Effect::Execute { seq, body: Some(body) } => {
                self.remember(*seq, body);
                self.push(What::Committed(*seq), self.of_slot(*seq, &body.digest));
            }
            Effect::Persist(_)
            | Effect::Execute { body: None, .. }
            | Effect::Send { .. }
            | Effect::Refuse { .. }
            | Effect::Install(_)
            | Effect::Preserve(_)
            | Effect::LookUp(_)
            | Effect::Alarm(_) => {}
        }
    }

    /// A slot has executed, and none at or below it is on its way any more.
    pub(crate) fn executed(&mut self, seq: Seq) {
        if !self.on {
            return;
        }
        let later = self.slots.split_off(&Seq(seq.0.saturating_add(1)));
        let mut done = std::mem::replace(&mut self.slots, later);
        if let Some((_, operations)) = done.remove(&seq) {
            self.push(What::Executed(seq), operations);
        }
    }

    fn remember(&mut self, seq: Seq, body: &Arc<Body>) {
        let of_requests = body.batch.requests.iter().flat_map(|request| OperationId::all_of(request));
        self.slots.insert(seq, (body.digest, of_requests.collect()));
        if self.slots.len() > SLOTS_MAX {
            self.slots.pop_first();
        }
    }

    /// The operations of a batch, if it is the one that is known of the slot.
    fn of_slot(&self, seq: Seq, digest: &Digest) -> Vec<OperationId> {
        let known = self.slots.get(&seq).filter(|(known, _)| known == digest);
        known.map_or_else(Vec::new, |(_, operations)| operations.clone())
    }

    /// Steps that nobody takes make room for newer ones.
    fn push(&mut self, what: What, operations: Vec<OperationId>) {
        if operations.is_empty() {
            return;
        }
        self.noted += operations.len();
        self.steps.push_back(Step { what, operations });
        while self.noted > OPERATIONS_MAX
            && let Some(oldest) = self.steps.pop_front()
        {
            self.noted -= oldest.operations.len();
        }
    }
}
