//! Requests that wait to be ordered: bounded, fair between clients, first come first served within one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::message::BusyReason;
use crate::parameters::Parameters;
use crate::request::{Batch, Request};
use crate::types::{ClientId, Number, Session};

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
    /// Some requests have numbers in common, so one that is ordered may take them from several.
    overlapping: bool,
    /// Its place among those whose turn comes, while it has something to propose.
    ticket: u64,
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
    turn: BTreeMap<u64, ClientId>,
    tickets: u64,
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
        let mut overlapping = false;
        if let Some(queue) = self.clients.get(&client) {
            let covers = |entry: &Entry| {
                entry.request.session() == request.session()
                    && entry.request.first() <= request.first()
                    && entry.request.last() >= request.last()
            };
            if queue.entries().any(covers) {
                return Ok(false);
            }
            overlapping = queue.overlapping || queue.entries().any(|entry| entry.request.overlaps(request));
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
        queue.overlapping = overlapping;
        if queue.waiting.is_empty() {
            queue.ticket = issue(&mut self.turn, &mut self.tickets, client);
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
            let Some((ticket, client)) = self.turn.pop_first() else { break };
            let queue = self.clients.get_mut(&client).expect("whose turn it is has a queue");
            let entry = queue.waiting.pop_front().expect("whose turn it is has something to propose");
            bytes += entry.request.bytes() as u64;
            if bytes > limits.bytes {
                queue.waiting.push_front(entry);
                self.turn.insert(ticket, client);
                break;
            }
            self.waiting_operations -= entry.request.len() as u64;
            taken.push(Arc::clone(&entry.request));
            queue.proposed.push_back(entry);
            if !queue.waiting.is_empty() {
                queue.ticket = issue(&mut self.turn, &mut self.tickets, client);
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
        let (_, proposed) = close(&mut queue.proposed, request, queue.overlapping);
        let (waiting_operations, waiting) = close(&mut queue.waiting, request, queue.overlapping);
        for entry in proposed.iter().chain(&waiting) {
            queue.operations -= entry.request.len() as u64;
            self.operations -= entry.request.len() as u64;
            self.bytes -= entry.request.bytes() as u64;
        }
        self.waiting_operations -= waiting_operations;
        if had_turn && queue.waiting.is_empty() {
            self.turn.remove(&queue.ticket);
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
        let requests = reproposed.iter().flat_map(|body| body.batch.requests.iter());
        let reproposed: BTreeSet<_> = requests.map(|request| name_of(request)).collect();
        let again = |entry: &Entry| reproposed.contains(&name_of(&entry.request));
        for (client, queue) in &mut self.clients {
            let mut entries = std::mem::take(&mut queue.proposed);
            entries.append(&mut queue.waiting);
            (queue.proposed, queue.waiting) = entries.into_iter().partition(again);
            self.waiting_operations +=
                queue.waiting.iter().map(|entry| entry.request.len() as u64).sum::<u64>();
            if !queue.waiting.is_empty() {
                queue.ticket = issue(&mut self.turn, &mut self.tickets, *client);
            }
        }
    }
}

/// Puts a client behind all whose turn comes before it.
fn issue(turn: &mut BTreeMap<u64, ClientId>, tickets: &mut u64, client: ClientId) -> u64 {
    *tickets += 1;
    turn.insert(*tickets, client);
    *tickets
}

/// The numbers that a request takes, of which client and session.
fn name_of(request: &Request) -> (ClientId, Session, Number, Number) {
    (request.client(), request.session(), request.first(), request.last())
}

/// Takes the numbers of `request` out of `entries`; gives back the entries that have none left, and their operations.
/// While none has numbers in common with another, the one of exactly these numbers is the only one.
fn close(entries: &mut VecDeque<Entry>, request: &Request, overlapping: bool) -> (u64, Vec<Entry>) {
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
        if exact && !overlapping {
            break;
        }
    }
    (operations, closed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::codec::List;
    use crate::crypto::SecretKey;
    use crate::request::{Body, Draft, Kind, Nondet, Operations};
    use crate::types::{ClusterId, Digest};

    const CLUSTER: ClusterId = ClusterId(Digest([9; 32]));

    fn request(client: u8, first: u64, count: u64) -> Arc<Request> {
        let operations = Operations::new((0..count).map(|_| &b"x"[..]));
        let (first, ack, kind) = (Number(first), Number(1), Kind::Operations);
        let draft = Draft { session: Session(1), first, ack, kind, operations };
        Arc::new(Request::sign(&SecretKey::from_seed(&[client; 32]), CLUSTER, draft))
    }

    fn batch(requests: &[&Arc<Request>]) -> Batch {
        let requests = List(requests.iter().map(|request| Arc::clone(request)).collect());
        Batch { nondet: Nondet::default(), requests }
    }

    fn pool(requests: &[&Arc<Request>]) -> Pool {
        let mut pool = Pool::default();
        for request in requests {
            assert_eq!(pool.add(request, &Parameters::default()), Ok(true));
        }
        pool
    }

    const ALL: Limits = Limits { requests: 100, bytes: 1 << 20 };

    #[test]
    fn numbers_leave_every_request_that_has_them() {
        let (part, whole, rest) = (request(1, 1, 4), request(1, 1, 8), request(1, 5, 4));
        let mut pool = pool(&[&part, &whole]);
        pool.ordered(&batch(&[&part]));
        pool.ordered(&batch(&[&rest]));
        assert!(pool.is_empty(), "all numbers were ordered, so nothing is owed to anybody");
        assert_eq!((pool.operations(), pool.waiting_operations(), pool.bytes), (0, 0, 0));
    }

    #[test]
    fn clients_take_turns_and_who_was_ordered_elsewhere_loses_its_turn() {
        let requests: Vec<_> = [(1, 1), (1, 2), (2, 1), (3, 1)]
            .into_iter()
            .map(|(client, first)| request(client, first, 1))
            .collect();
        let mut pool = pool(&requests.iter().collect::<Vec<_>>());
        pool.ordered(&batch(&[&requests[2]]));
        let taken = pool.take(ALL);
        assert_eq!(taken, [&requests[0], &requests[3], &requests[1]].map(Arc::clone));
        assert!(pool.take(ALL).is_empty());
        pool.ordered(&batch(&[&requests[0], &requests[1], &requests[3]]));
        assert!(pool.is_empty() && pool.turn.is_empty());
    }

    #[test]
    fn a_new_view_proposes_again_what_it_does_not_repropose() {
        let (one, two) = (request(1, 1, 1), request(2, 1, 1));
        let mut pool = pool(&[&one, &two]);
        assert_eq!(pool.take(ALL).len(), 2);
        pool.reset(&[Body::new(batch(&[&two]), CLUSTER)]);
        assert_eq!(pool.take(ALL), [one]);
    }
}
