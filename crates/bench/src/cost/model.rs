//! What the message pattern alone says: counted from the protocol as it is written here, not fitted to anything measured.
//!
//! Of a batch that n replicas agree on without a fault, with quorum q and a checkpoint every K slots:
//!
//! - the primary sends n-1 PRE-PREPAREs, each backup n-1 PREPAREs, each replica n-1 COMMITs, and every K slots n-1
//!   CHECKPOINTs: `n (n-1) (2 + 1/K)` frames;
//! - a replica checks what its quorum still lacks and drops the rest unseen. It never checks its own word, so that is q-1
//!   PREPAREs, the PRE-PREPARE being the primary's, q-1 COMMITs and every K slots q-1 CHECKPOINTs: `n (q-1) (2 + 1/K)`
//!   signatures;
//! - each replica makes one signature under its PRE-PREPARE or PREPARE, one under its COMMIT, and every K slots one under
//!   its CHECKPOINT: `n (2 + 1/K)`.
//!
//! What replicas say every second, whether anything happens or not, is not of any batch and not in this.

use quorate_protocol::codec::{Blob, Frames, encoded_len};
use quorate_protocol::committee::quorum;
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::message::{ClientMessage, Outcome, PeerMessage, Prepare, Replies, Reply};
use quorate_protocol::request::{Draft, Kind, Request};
use quorate_protocol::signed::Signed;
use quorate_protocol::types::{ClusterId, Digest, Epoch, Number, ReplicaId, Seq, Session, Signature, View};

use super::Costs;
use crate::limits::{Limits, Signatures};
use crate::record::{Cell, Model};

/// What the model is of: a cluster, and how its batches were filled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// Replicas.
    pub n: usize,
    /// Slots between checkpoints, K.
    pub checkpoint_interval: u32,
    /// Bytes of each operation.
    pub payload: usize,
    /// Bytes of each reply.
    pub reply: usize,
    /// Clients that call.
    pub clients: usize,
    /// Operations in a batch, mean.
    pub batch: f64,
    /// Operations under one signature of a client, mean.
    pub bundle: f64,
}

impl Shape {
    /// Of a cell, as its batches and bundles were measured to be.
    #[must_use]
    pub fn of(cell: &Cell, costs: &Costs) -> Self {
        Self {
            n: cell.n.into(),
            checkpoint_interval: cell.checkpoint_interval,
            payload: cell.payload as usize,
            reply: cell.reply as usize,
            clients: cell.clients.into(),
            batch: super::ratio(costs.operations, costs.batches),
            bundle: super::ratio(costs.operations, costs.requests),
        }
    }

    /// Votes of each replica in a slot, its share of a checkpoint's among them.
    fn votes(&self) -> f64 {
        2.0 + 1.0 / f64::from(self.checkpoint_interval.max(1))
    }

    /// Frames per batch among replicas.
    #[must_use]
    pub fn messages(&self) -> f64 {
        (self.n * self.n.saturating_sub(1)) as f64 * self.votes()
    }

    /// Signatures of replicas that are checked per batch, by all of them together.
    #[must_use]
    pub fn verifications(&self) -> f64 {
        (self.n * quorum(self.n).saturating_sub(1)) as f64 * self.votes()
    }

    /// Signatures that replicas make per batch.
    #[must_use]
    pub fn signings(&self) -> f64 {
        self.n as f64 * self.votes()
    }

    /// Bytes of frames that the primary sends for each call: the batch to every backup, its votes, and its replies.
    #[must_use]
    pub fn primary_bytes(&self) -> f64 {
        if self.batch <= 0.0 || self.bundle <= 0.0 {
            return 0.0;
        }
        let (one, two) = (request_bytes(1, self.payload), request_bytes(2, self.payload));
        let operation = (two - one) as f64;
        let request = (one as f64 - operation) + operation * self.bundle;
        // A PRE-PREPARE is a vote, the primary's time, and the requests behind their number.
        let per_batch = vote_bytes() as f64 * self.votes() + PROPOSAL_BYTES;
        let to_backups = self.n.saturating_sub(1) as f64 * (request / self.bundle + per_batch / self.batch);
        let clients = (self.batch / self.bundle).clamp(1.0, self.clients.max(1) as f64);
        let (one, two) = (replies_bytes(1, self.reply), replies_bytes(2, self.reply));
        let reply = (two - one) as f64;
        to_backups + reply + (one as f64 - reply) * clients / self.batch
    }

    /// Calls per second that signatures leave possible: all cores do nothing else.
    #[must_use]
    pub fn ceiling(&self, signatures: &Signatures, cores: usize) -> f64 {
        if self.batch <= 0.0 || self.bundle <= 0.0 {
            return 0.0;
        }
        let sign_us = signatures.sign_us.median;
        let of_requests = self.n as f64 * request_us(signatures, self.batch / self.bundle, self.clients);
        let of_votes = self.verifications() * vote_us(signatures, quorum(self.n).saturating_sub(1));
        let per_call =
            (sign_us + of_requests) / self.bundle + (of_votes + self.signings() * sign_us) / self.batch;
        if per_call <= 0.0 { 0.0 } else { cores as f64 * 1e6 / per_call }
    }
}

impl Model {
    /// What the message pattern says of this shape on this machine.
    #[must_use]
    pub fn of(shape: &Shape, limits: &Limits) -> Self {
        Self {
            messages_per_batch: shape.messages(),
            verifications_per_batch: shape.verifications(),
            primary_bytes_per_request: shape.primary_bytes(),
            ceiling_rps: shape.ceiling(&limits.signatures, limits.machine.cores),
        }
    }
}

/// Of a PRE-PREPARE: that it has a batch, the primary's time, and how many requests.
const PROPOSAL_BYTES: f64 = 1.0 + 8.0 + 8.0;

fn vote_bytes() -> usize {
    let body = Prepare { view: View(0), seq: Seq(0), digest: Digest([0; 32]) };
    encoded_len(&PeerMessage::Prepare(Signed { body, signer: ReplicaId(0), signature: Signature([0; 64]) }))
}

/// Of a frame that answers so many operations of one client, which are one run.
fn replies_bytes(operations: u64, reply: usize) -> usize {
    let outcome = Outcome::Done(Blob(vec![0; reply].into()));
    let reply = |number| Reply {
        seq: Seq(0),
        session: Session(0),
        number: Number(number),
        operation: Digest([0; 32]),
        outcome: outcome.clone(),
    };
    let replies: Vec<_> = (0..operations).map(reply).collect();
    encoded_len(&ClientMessage::Replies { epoch: Epoch(0), view: View(0), replies: Replies::of(&replies) })
}

fn request_bytes(operations: usize, payload: usize) -> usize {
    let operation = vec![0; payload];
    let draft = Draft {
        session: Session(0),
        first: Number(1),
        ack: Number(1),
        kind: Kind::Operations,
        operations: Frames::new(std::iter::repeat_n(&operation[..], operations)),
    };
    Request::sign(&SecretKey::from_seed(&[0; 32]), ClusterId(Digest([0; 32])), draft).bytes()
}

/// Microseconds to check one of so many requests together. What was measured for the next smaller number counts.
fn request_us(signatures: &Signatures, requests: f64, clients: usize) -> f64 {
    let few = clients <= 16;
    let spread = match requests {
        requests if requests < 8.0 => &signatures.verify_us,
        requests if requests < 16.0 && few => &signatures.verify_batch_8_of_16_keys_us,
        requests if requests < 16.0 => &signatures.verify_batch_8_us,
        requests if requests < 64.0 && few => &signatures.verify_batch_16_of_16_keys_us,
        requests if requests < 64.0 => &signatures.verify_batch_16_us,
        requests if requests < 256.0 && few => &signatures.verify_batch_64_of_16_keys_us,
        requests if requests < 256.0 => &signatures.verify_batch_64_us,
        _ if few => &signatures.verify_batch_256_of_16_keys_us,
        _ => &signatures.verify_batch_256_us,
    };
    spread.median
}

/// Microseconds to check one of so many votes together, each by another key.
fn vote_us(signatures: &Signatures, votes: usize) -> f64 {
    let spread = match votes {
        0..8 => &signatures.verify_us,
        8..16 => &signatures.verify_batch_8_us,
        16..64 => &signatures.verify_batch_16_us,
        _ => &signatures.verify_batch_64_us,
    };
    spread.median
}
