//! Requests that wait to be ordered: bounded, fair between clients, first come first served within one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::message::BusyReason;
use crate::parameters::Parameters;
use crate::request::{Batch, Request};
use crate::types::ClientId;

/// A request and which of its numbers were not ordered yet.
#[derive(Debug, Clone)]
struct Entry {
    request: Arc<Request>,
    /// Ranges of numbers, both ends included, that no committed batch contained.
    open: Vec<(u64, u64)>,
}

impl Entry {
    fn new(request: Arc<Request>) -> Self {
        let open = vec![(request.first().0, request.last().0)];
        Self { request, open }
    }

    /// Takes the numbers `first..=last` out of what is open.
    fn close(&mut self, first: u64, last: u64) {
        let mut rest = Vec::new();
        for (low, high) in self.open.drain(..) {
            if low < first {
                rest.push((low, high.min(first - 1)));
            }
            if high > last {
                rest.push((low.max(last + 1), high));
            }
        }
        rest.retain(|(low, high)| low <= high);
        self.open = rest;
    }
}

/// One client's requests, oldest first.
#[derive(Debug, Default)]
struct Queue {
    /// Not proposed in this view.
    waiting: VecDeque<Entry>,
    /// Proposed, and not committed yet.
    proposed: VecDeque<Entry>,
    operations: u64,
}

impl Queue {
    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.proposed.iter().chain(&self.waiting)
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.proposed.is_empty()
    }
}

/// Requests that wait, by client.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    clients: BTreeMap<ClientId, Queue>,
    /// Clients with something to propose, in whose turn it is.
    turn: VecDeque<ClientId>,
    operations: u64,
    waiting_operations: u64,
    bytes: u64,
}

/// What is taken from the pool for one batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) requests: u64,
    pub(crate) bytes: u64,
}

impl Pool {
    /// Takes a request in, unless it waits here already or there is no room.
    pub(crate) fn add(
        &mut self,
        request: &Arc<Request>,
        parameters: &Parameters,
    ) -> Result<bool, BusyReason> {
        let client = request.client();
        let (count, bytes) = (request.len() as u64, request.bytes() as u64);
        if let Some(queue) = self.clients.get(&client) {
            let covers = |entry: &Entry| {
                entry.request.session() == request.session()
                    && entry.request.first() <= request.first()
                    && entry.request.last() >= request.last()
            };
            if queue.entries().any(covers) {
                return Ok(false);
            }
            if queue.operations + count > 2 * parameters.client_window {
                return Err(BusyReason::ClientQuota);
            }
        }
        if self.operations + count > parameters.pool_operations_max
            || self.bytes + bytes > parameters.pool_bytes_max
        {
            return Err(BusyReason::PoolFull);
        }
        let queue = self.clients.entry(client).or_default();
        if queue.waiting.is_empty() {
            self.turn.push_back(client);
        }
        queue.operations += count;
        self.operations += count;
        self.waiting_operations += count;
        self.bytes += bytes;
        queue.waiting.push_back(Entry::new(Arc::clone(request)));
        Ok(true)
    }

    /// The next requests to propose, one of each client in turn, within the limits.
    pub(crate) fn take(&mut self, limits: Limits) -> Vec<Arc<Request>> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while (taken.len() as u64) < limits.requests {
            let Some(client) = self.turn.pop_front() else { break };
            let queue = self.clients.get_mut(&client).expect("whose turn it is has a queue");
            let entry = queue.waiting.pop_front().expect("whose turn it is has something to propose");
            bytes += entry.request.bytes() as u64;
            if bytes > limits.bytes {
                queue.waiting.push_front(entry);
                self.turn.push_front(client);
                break;
            }
            self.waiting_operations -= entry.request.len() as u64;
            taken.push(Arc::clone(&entry.request));
            queue.proposed.push_back(entry);
            if !queue.waiting.is_empty() {
                self.turn.push_back(client);
            }
        }
        taken
    }

    /// Operations that nobody proposed in this view.
    pub(crate) fn waiting_operations(&self) -> u64 {
        self.waiting_operations
    }

    /// Whether nothing waits to be ordered.
    pub(crate) fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Requests for a new primary: all that wait, whether proposed in an older view or not.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Request>> {
        self.clients.values().flat_map(Queue::entries).map(|entry| &entry.request)
    }

    /// Operations that wait to be ordered.
    pub(crate) fn operations(&self) -> u64 {
        self.operations
    }

    /// A batch committed: its numbers leave, whatever request carried them.
    pub(crate) fn ordered(&mut self, batch: &Batch) {
        if self.clients.is_empty() {
            return;
        }
        for request in batch.requests.iter() {
            self.ordered_numbers(request);
        }
    }

    fn ordered_numbers(&mut self, request: &Request) {
        let client = request.client();
        let Some(queue) = self.clients.get_mut(&client) else { return };
        let had_turn = !queue.waiting.is_empty();
        let (_, proposed) = close(&mut queue.proposed, request);
        let (waiting_operations, waiting) = close(&mut queue.waiting, request);
        for entry in proposed.iter().chain(&waiting) {
            queue.operations -= entry.request.len() as u64;
            self.operations -= entry.request.len() as u64;
            self.bytes -= entry.request.bytes() as u64;
        }
        self.waiting_operations -= waiting_operations;
        if had_turn && queue.waiting.is_empty() {
            self.turn.retain(|other| *other != client);
        }
        if queue.is_empty() {
            self.clients.remove(&client);
        }
    }

    /// In a new view everything that did not commit is to be proposed again, oldest first, except what the new view
    /// re-proposes itself.
    pub(crate) fn reset(&mut self, reproposed: &[Arc<crate::request::Body>]) {
        self.turn.clear();
        self.waiting_operations = 0;
        let again =
            |entry: &Entry| reproposed.iter().any(|body| body.batch.requests.contains(&entry.request));
        for (client, queue) in &mut self.clients {
            let mut entries = std::mem::take(&mut queue.proposed);
            entries.append(&mut queue.waiting);
            (queue.proposed, queue.waiting) = entries.into_iter().partition(again);
            self.waiting_operations +=
                queue.waiting.iter().map(|entry| entry.request.len() as u64).sum::<u64>();
            if !queue.waiting.is_empty() {
                self.turn.push_back(*client);
            }
        }
    }
}

/// Takes the numbers of `request` out of `entries`; gives back the entries that have none left, and their operations.
fn close(entries: &mut VecDeque<Entry>, request: &Request) -> (u64, Vec<Entry>) {
    let (first, last) = (request.first().0, request.last().0);
    let (mut operations, mut closed) = (0, Vec::new());
    let mut index = 0;
    while let Some(entry) = entries.get_mut(index) {
        if !entry.request.overlaps(request) {
            index += 1;
            continue;
        }
        let exact = entry.request.first().0 == first && entry.request.last().0 == last;
        entry.close(first, last);
        if entry.open.is_empty() {
            operations += entry.request.len() as u64;
            closed.extend(entries.remove(index));
        } else {
            index += 1;
        }
        if exact {
            break;
        }
    }
    (operations, closed)
}
