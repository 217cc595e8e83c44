//! What waits to be verified, and whose turn it is.
//!
//! Replicas come before clients, votes before what may be late, and within a class replicas take turns by the
//! signatures that they ask for. So a flood of requests delays no vote beyond the batch that is being verified, and a
//! replica that floods delays itself.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use quorate_protocol::message::PeerMessage;
use quorate_protocol::request::Request;
use quorate_protocol::types::ReplicaId;
use quorate_protocol::verify::Incoming;

/// Signatures of votes and proposals in one job, about. Four times what one batch of the verifier takes.
const URGENT_MAX: u64 = 2_048;
/// Signatures of everything else that replicas send in one job, about; one message at least.
const BULK_MAX: u64 = 1_024;
/// Requests of clients in one job: what the verifier checks in one batch. A vote may be waiting behind them.
const REQUESTS_MAX: usize = 512;
/// Signatures that one replica is granted before it is the next one's turn.
const TURN: u64 = 32;
/// Messages of one replica that may wait in one class.
const MESSAGES_MAX: usize = 4_096;
/// Bytes of one replica that may wait in one class.
const BYTES_MAX: usize = 32 << 20;

/// A message of a replica with what it costs.
#[derive(Debug)]
struct Waiting {
    arrival: u64,
    signatures: u64,
    bytes: usize,
    message: PeerMessage,
}

/// What one replica waits for in one class.
#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    /// What it was granted and has not used; nothing while it has nothing to ask.
    granted: u64,
}

impl Line {
    fn pop(&mut self) -> Option<Waiting> {
        let next = self.waiting.front()?.signatures;
        self.granted = self.granted.checked_sub(next)?;
        let next = self.waiting.pop_front()?;
        self.bytes -= next.bytes;
        Some(next)
    }
}

/// One class of messages of all replicas.
#[derive(Debug, Default)]
struct Lines {
    lines: BTreeMap<ReplicaId, Line>,
    waiting: usize,
    /// Who comes first next time.
    turn: ReplicaId,
}

impl Lines {
    /// Takes a message in; false if its sender has too much waiting.
    fn push(&mut self, from: ReplicaId, item: Waiting) -> bool {
        let line = self.lines.entry(from).or_default();
        if line.waiting.len() >= MESSAGES_MAX || (line.bytes + item.bytes > BYTES_MAX && line.bytes > 0) {
            return false;
        }
        line.bytes += item.bytes;
        line.waiting.push_back(item);
        self.waiting += 1;
        true
    }

    /// Takes out messages of about `most` signatures, the replicas in turn.
    fn take(&mut self, most: u64, taken: &mut Vec<(u64, Incoming)>) {
        let mut signatures = 0;
        while self.waiting > 0 && signatures < most {
            let next = self.lines.range(self.turn..).chain(self.lines.range(..self.turn));
            let mut waiting = next.filter(|(_, line)| !line.waiting.is_empty());
            let Some(from) = waiting.next().map(|(id, _)| *id) else { return };
            let Some(line) = self.lines.get_mut(&from) else { return };
            line.granted += TURN;
            while signatures < most
                && let Some(Waiting { arrival, signatures: cost, message, .. }) = line.pop()
            {
                signatures += cost;
                self.waiting -= 1;
                taken.push((arrival, Incoming::Peer { from, message }));
            }
            if line.waiting.is_empty() {
                line.granted = 0;
            }
            self.turn = ReplicaId(from.0.wrapping_add(1));
        }
    }
}

/// Everything that waits to be verified.
#[derive(Debug, Default)]
pub(super) struct Queue {
    urgent: Lines,
    bulk: Lines,
    requests: VecDeque<(u64, Arc<Request>)>,
    arrivals: u64,
}

impl Queue {
    /// Takes in a message that progress depends on, of so many signatures and bytes; false if its sender has too much
    /// waiting.
    pub(super) fn urgent(&mut self, from: ReplicaId, message: PeerMessage, size: (u64, usize)) -> bool {
        let item = self.item(message, size);
        self.urgent.push(from, item)
    }

    /// Takes in any other message of a replica.
    pub(super) fn bulk(&mut self, from: ReplicaId, message: PeerMessage, size: (u64, usize)) -> bool {
        let item = self.item(message, size);
        self.bulk.push(from, item)
    }

    fn item(&mut self, message: PeerMessage, (signatures, bytes): (u64, usize)) -> Waiting {
        let signatures = signatures.clamp(1, URGENT_MAX);
        Waiting { arrival: self.arrival(), signatures, bytes, message }
    }

    /// Takes in a client's request. Its host has bounded how many wait.
    pub(super) fn request(&mut self, request: Arc<Request>) {
        let arrival = self.arrival();
        self.requests.push_back((arrival, request));
    }

    fn arrival(&mut self) -> u64 {
        self.arrivals += 1;
        self.arrivals
    }

    /// The next job: all that replicas wait for, within bounds, and of clients' requests no more than a batch.
    pub(super) fn take(&mut self, clients: bool) -> Vec<Incoming> {
        let mut taken = Vec::new();
        self.urgent.take(URGENT_MAX, &mut taken);
        self.bulk.take(BULK_MAX, &mut taken);
        let requests = if clients { self.requests.len().min(REQUESTS_MAX) } else { 0 };
        let requests = self.requests.drain(..requests);
        taken.extend(requests.map(|(arrival, request)| (arrival, Incoming::Client(request))));
        // All of a job are verified together; among them what came first goes first.
        taken.sort_unstable_by_key(|(arrival, _)| *arrival);
        taken.into_iter().map(|(_, incoming)| incoming).collect()
    }

    /// How many messages wait.
    pub(super) fn len(&self) -> usize {
        self.urgent.waiting + self.bulk.waiting + self.requests.len()
    }

    /// How many requests of clients wait.
    pub(super) fn requests(&self) -> usize {
        self.requests.len()
    }
}
