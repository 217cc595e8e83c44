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
    proposed: bool,
    /// Ranges of numbers, both ends included, that no committed batch contained.
    open: Vec<(u64, u64)>,
}

impl Entry {
    fn new(request: Arc<Request>) -> Self {
        let open = vec![(request.first().0, request.last().0)];
        Self { request, proposed: false, open }
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

/// Requests that wait, by client.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    clients: BTreeMap<ClientId, VecDeque<Entry>>,
    /// Clients with something to propose, in whose turn it is.
    turn: VecDeque<ClientId>,
    operations: u64,
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
        let queue = self.clients.entry(client).or_default();
        let known = queue.iter().any(|entry| {
            entry.request.session() == request.session()
                && entry.request.first() <= request.first()
                && entry.request.last() >= request.last()
        });
        if known {
            return Ok(false);
        }
        let waiting: u64 = queue.iter().map(|entry| entry.request.len() as u64).sum();
        let refusal = if waiting + request.len() as u64 > 2 * parameters.client_window {
            Some(BusyReason::ClientQuota)
        } else if self.operations + request.len() as u64 > parameters.pool_operations_max
            || self.bytes + request.bytes() as u64 > parameters.pool_bytes_max
        {
            Some(BusyReason::PoolFull)
        } else {
            None
        };
        if let Some(reason) = refusal {
            if queue.is_empty() {
                self.clients.remove(&client);
            }
            return Err(reason);
        }
        if queue.iter().all(|entry| entry.proposed) {
            self.turn.push_back(client);
        }
        self.operations += request.len() as u64;
        self.bytes += request.bytes() as u64;
        queue.push_back(Entry::new(request.clone()));
        Ok(true)
    }

    /// The next requests to propose, one of each client in turn, within the limits.
    pub(crate) fn take(&mut self, limits: Limits) -> Vec<Arc<Request>> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while (taken.len() as u64) < limits.requests {
            let Some(client) = self.turn.pop_front() else { break };
            let queue = self.clients.get_mut(&client).expect("whose turn it is has a queue");
            let mut waiting = queue.iter_mut().filter(|entry| !entry.proposed);
            let entry = waiting.next().expect("whose turn it is has something to propose");
            let size = entry.request.bytes() as u64;
            if bytes + size > limits.bytes {
                self.turn.push_front(client);
                break;
            }
            bytes += size;
            entry.proposed = true;
            taken.push(entry.request.clone());
            if waiting.next().is_some() {
                self.turn.push_back(client);
            }
        }
        taken
    }

    /// Requests that nobody proposed yet.
    pub(crate) fn waiting(&self) -> bool {
        !self.turn.is_empty()
    }

    /// How many operations nobody proposed yet, counted up to `enough`.
    pub(crate) fn waiting_operations(&self, enough: usize) -> usize {
        let mut count = 0;
        for client in &self.turn {
            let queue = self.clients.get(client).expect("whose turn it is has a queue");
            count += queue.iter().filter(|entry| !entry.proposed).map(|entry| entry.request.len()).sum::<usize>();
            if count >= enough {
                break;
            }
        }
        count
    }

    /// Whether anything waits to be ordered.
    pub(crate) fn is_empty(&self) -> bool {
        self.clients.is_empty()
    }

    /// Requests for a new primary: all that wait, whether proposed in an older view or not.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Request>> {
        self.clients.values().flatten().map(|entry| &entry.request)
    }

    /// Operations that wait.
    pub(crate) fn operations(&self) -> u64 {
        self.operations
    }

    /// A batch committed: its numbers leave, whatever request carried them. Says whether any was waiting here.
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
        let (first, last) = (request.first().0, request.last().0);
        let had_turn = queue.iter().any(|entry| !entry.proposed);
        let (operations, bytes) = (&mut self.operations, &mut self.bytes);
        let mut index = 0;
        while let Some(entry) = queue.get_mut(index) {
            let other = entry.request.session() != request.session();
            if other || entry.request.first().0 > last || entry.request.last().0 < first {
                index += 1;
                continue;
            }
            entry.close(first, last);
            let exact = entry.request.first().0 == first && entry.request.last().0 == last;
            if entry.open.is_empty() {
                *operations -= entry.request.len() as u64;
                *bytes -= entry.request.bytes() as u64;
                queue.remove(index);
            } else {
                index += 1;
            }
            if exact {
                break;
            }
        }
        if had_turn && queue.iter().all(|entry| entry.proposed) {
            self.turn.retain(|waiting| *waiting != client);
        }
        if queue.is_empty() {
            self.clients.remove(&client);
        }
    }

    /// In a new view everything that did not commit is to be proposed again, oldest first, except what the new view
    /// re-proposes itself.
    pub(crate) fn reset(&mut self, reproposed: &[Arc<crate::request::Body>]) {
        self.turn.clear();
        for (client, queue) in &mut self.clients {
            for entry in queue.iter_mut() {
                entry.proposed = reproposed.iter().any(|body| body.batch.requests.contains(&entry.request));
            }
            if queue.iter().any(|entry| !entry.proposed) {
                self.turn.push_back(*client);
            }
        }
    }
}
