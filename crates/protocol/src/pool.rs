//! Requests that wait to be ordered: bounded, fair between clients, first come first served within one.
//!
//! Each other replica has room of its own here, because it gives up a primary that does not order what it passed on:
//! clients that fill a primary's pool must not make that happen. So a replica passes on and times no more than has
//! room at the primary ([`owed`]), and the primary serves each replica, and its own clients, in turn.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::message::BusyReason;
use crate::mutant::{self, Mutant};
use crate::parameters::{Parameters, Quota};
use crate::request::{Batch, Request};
use crate::types::{ClientId, Number, ReplicaId, Session};

mod owed;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

pub(crate) use owed::{Owed, Patience};

/// A request and which of its numbers were not ordered yet.
#[derive(Debug, Clone)]
struct Entry {
    request: Arc<Request>,
    /// Ranges of numbers, both ends included, that no committed batch contained.
    open: Vec<(u64, u64)>,
    /// Whether its client sent it here.
    own: bool,
    /// The replicas that passed it on.
    forwarded_by: Vec<ReplicaId>,
    /// Proposed in this view, and not committed yet.
    proposed: bool,
    /// Its turn among what was passed on, once it was.
    turn: Option<u64>,
}

impl Entry {
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

    fn room(&self) -> Quota {
        room_of(&self.request)
    }
}

fn room_of(request: &Request) -> Quota {
    Quota { operations: request.len() as u64, bytes: request.bytes() as u64 }
}

/// One client's requests.
#[derive(Debug, Clone, Default)]
struct Client {
    /// By session, first number and arrival: the last number.
    numbers: BTreeMap<(Session, u64, u64), u64>,
    /// Those it sent here itself that are not proposed, by arrival.
    waiting: BTreeSet<u64>,
    /// Operations that it sent here itself.
    operations: u64,
    /// No request of it that is here has more operations.
    longest: u64,
    /// Its place among those whose turn comes, while it has something to propose.
    ticket: u64,
}

impl Client {
    /// Requests that have a number of `first..=last` of this session: arrival, first and last number.
    fn overlapping(&self, session: Session, first: u64, last: u64) -> impl Iterator<Item = (u64, u64, u64)> {
        let lowest = first.saturating_sub(self.longest.saturating_sub(1));
        // What a client asks for the first time lies beyond all that it has here.
        let beyond = |((of, low, _), _): (&(Session, u64, u64), _)| {
            *of == session && low.saturating_add(self.longest) <= first
        };
        let met = !self.numbers.last_key_value().is_some_and(beyond);
        let near = met.then(|| self.numbers.range((session, lowest, 0)..=(session, last, u64::MAX)));
        near.into_iter()
            .flatten()
            .filter(move |(_, high)| **high >= first)
            .map(|((_, low, arrival), high)| (*arrival, *low, *high))
    }
}

/// What another replica passed on.
#[derive(Debug, Clone, Default)]
struct Peer {
    used: Quota,
    /// What is not proposed of it, by arrival: a replica passes on in the order in which it gives up the primary.
    waiting: BTreeSet<u64>,
}

/// How much may wait here, and for whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rooms {
    /// Operations that one client may have waiting.
    client_operations: u64,
    /// For this replica's own clients.
    own: Quota,
    /// For each other replica.
    peer: Quota,
    /// What this replica passes on and times.
    timed: Quota,
}

impl Rooms {
    pub(crate) fn of(parameters: &Parameters, replicas: usize) -> Self {
        Self {
            client_operations: 2 * parameters.client_window,
            own: Quota { operations: parameters.pool_operations_max, bytes: parameters.pool_bytes_max },
            peer: parameters.forward_room(replicas),
            timed: parameters.forward_quota(replicas),
        }
    }
}

/// Requests that wait.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    rooms: Rooms,
    /// By arrival, counted from 1.
    entries: BTreeMap<u64, Entry>,
    clients: BTreeMap<ClientId, Client>,
    peers: BTreeMap<ReplicaId, Peer>,
    own: Quota,
    /// Clients with something to propose, in whose turn it is.
    turn: BTreeMap<u64, ClientId>,
    tickets: u64,
    /// Whose request was proposed last: this replica's own client's, or one that a replica passed on.
    served: Option<ReplicaId>,
    /// Requests that ever came.
    arrivals: u64,
    operations: u64,
    waiting_operations: u64,
    owed: Owed,
    /// Entries looked at, so that tests can count what an operation costs.
    #[cfg(test)]
    visited: u64,
}

/// What is taken from the pool for one batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) requests: u64,
    pub(crate) bytes: u64,
}

impl Pool {
    pub(crate) fn new(rooms: Rooms) -> Self {
        Self {
            rooms,
            entries: BTreeMap::new(),
            clients: BTreeMap::new(),
            peers: BTreeMap::new(),
            own: Quota::default(),
            turn: BTreeMap::new(),
            tickets: 0,
            served: None,
            arrivals: 0,
            operations: 0,
            waiting_operations: 0,
            owed: Owed::new(rooms.timed),
            #[cfg(test)]
            visited: 0,
        }
    }

    /// Takes out everything, as it came, each with the replica that passed it on if its client did not send it here.
    pub(crate) fn drain(&mut self) -> Vec<(Arc<Request>, Option<ReplicaId>)> {
        let rest = Self { arrivals: self.arrivals, tickets: self.tickets, ..Self::new(self.rooms) };
        let entries = std::mem::replace(self, rest).entries.into_values();
        let from = |entry: &Entry| entry.forwarded_by.first().copied().filter(|_| !entry.own);
        entries.map(|entry| (from(&entry), entry)).map(|(from, entry)| (entry.request, from)).collect()
    }

    /// Takes a request in from its client, or from the replica that passed it on, unless it waits for them already.
    ///
    /// # Errors
    /// There is no room for it.
    pub(crate) fn add(&mut self, request: &Arc<Request>, from: Option<ReplicaId>) -> Result<(), BusyReason> {
        let (first, last) = (request.first().0, request.last().0);
        // The first valid request of a number is kept: whichever is ordered takes it from all that have it.
        let covering = self.clients.get(&request.client()).and_then(|client| {
            let mut near = client.overlapping(request.session(), first, last);
            near.find(|(_, low, high)| *low <= first && *high >= last)
        });
        if let Some((arrival, ..)) = covering {
            let entry = self.entries.get(&arrival).expect("a client's numbers are those of entries");
            let known = from.map_or(entry.own, |peer| entry.forwarded_by.contains(&peer));
            if known {
                return Ok(());
            }
            let (client, room) = (entry.request.client(), entry.room());
            self.check_room(client, room, from)?;
            self.charge(arrival, from);
            return Ok(());
        }
        self.check_room(request.client(), room_of(request), from)?;
        self.arrivals += 1;
        let arrival = self.arrivals;
        let held = self.clients.entry(request.client()).or_default();
        held.numbers.insert((request.session(), first, arrival), last);
        held.longest = held.longest.max(request.len() as u64);
        self.operations += request.len() as u64;
        self.waiting_operations += request.len() as u64;
        let (open, request) = (vec![(first, last)], Arc::clone(request));
        let entry =
            Entry { request, open, own: false, forwarded_by: Vec::new(), proposed: false, turn: None };
        self.entries.insert(arrival, entry);
        self.charge(arrival, from);
        Ok(())
    }

    fn check_room(&self, client: ClientId, room: Quota, from: Option<ReplicaId>) -> Result<(), BusyReason> {
        if let Some(peer) = from {
            let used = self.peers.get(&peer).map_or(Quota::default(), |peer| peer.used);
            return if used.plus(room).fits(self.rooms.peer) { Ok(()) } else { Err(BusyReason::PoolFull) };
        }
        let operations = self.clients.get(&client).map_or(0, |client| client.operations);
        if operations > 0 && operations + room.operations > self.rooms.client_operations {
            return Err(BusyReason::ClientQuota);
        }
        if self.own.plus(room).fits(self.rooms.own) { Ok(()) } else { Err(BusyReason::PoolFull) }
    }

    /// Whoever brings a request pays for it with room, and has it served when its own turn comes.
    fn charge(&mut self, arrival: u64, from: Option<ReplicaId>) {
        let entry = self.entries.get_mut(&arrival).expect("what is charged for is here");
        let room = entry.room();
        if let Some(peer) = from {
            entry.forwarded_by.push(peer);
            let held = self.peers.entry(peer).or_default();
            held.used = held.used.plus(room);
        } else {
            entry.own = true;
            self.own = self.own.plus(room);
            let client = self.clients.get_mut(&entry.request.client()).expect("an entry has its client");
            client.operations += room.operations;
            self.owed.want(arrival);
        }
        self.queue(arrival);
    }

    /// Puts an entry that is not proposed where those who brought it find it.
    fn queue(&mut self, arrival: u64) {
        let entry = self.entries.get(&arrival).expect("what is queued is here");
        if entry.proposed {
            return;
        }
        for peer in &entry.forwarded_by {
            let held = self.peers.get_mut(peer).expect("who passed on an entry has room for it");
            held.waiting.insert(arrival);
        }
        if entry.own {
            let id = entry.request.client();
            let client = self.clients.get_mut(&id).expect("an entry has its client");
            if client.waiting.is_empty() {
                client.ticket = issue(&mut self.turn, &mut self.tickets, id);
            }
            client.waiting.insert(arrival);
        }
    }

    /// The opposite: nobody's turn is spent on it any more. Who was served by it goes behind all others.
    fn unqueue(&mut self, arrival: u64) {
        let entry = self.entries.get(&arrival).expect("what is taken is here");
        for peer in &entry.forwarded_by {
            self.peers.get_mut(peer).map(|held| held.waiting.remove(&arrival));
        }
        let id = entry.request.client();
        let Some(client) = self.clients.get_mut(&id) else { return };
        let its_turn = client.waiting.first() == Some(&arrival);
        if client.waiting.remove(&arrival) && (its_turn || client.waiting.is_empty()) {
            self.turn.remove(&client.ticket);
            if !client.waiting.is_empty() {
                client.ticket = issue(&mut self.turn, &mut self.tickets, id);
            }
        }
    }

    /// The next requests to propose within the limits: the replicas and this one's clients in turn; of the clients
    /// one after the other, of a replica what it passed on first.
    pub(crate) fn take(&mut self, limits: Limits) -> Vec<Arc<Request>> {
        let mut taken = Vec::new();
        let mut bytes = 0;
        while (taken.len() as u64) < limits.requests {
            let Some((source, arrival)) = self.next() else { break };
            let entry = self.entries.get_mut(&arrival).expect("what waits is here");
            bytes += entry.request.bytes() as u64;
            if bytes > limits.bytes {
                break;
            }
            entry.proposed = true;
            self.served = source;
            self.waiting_operations -= entry.request.len() as u64;
            taken.push(Arc::clone(&entry.request));
            self.unqueue(arrival);
        }
        taken
    }

    /// Whose turn it is, and with what.
    fn next(&self) -> Option<(Option<ReplicaId>, u64)> {
        let of_client = self.turn.first_key_value().and_then(|(_, client)| self.clients.get(client));
        let own = of_client.and_then(|client| client.waiting.first()).map(|arrival| (None, *arrival));
        let first = |(id, peer): (&ReplicaId, &Peer)| Some((Some(*id), *peer.waiting.first()?));
        let sources = || own.into_iter().chain(self.peers.iter().filter_map(first));
        sources().find(|(source, _)| *source > self.served).or_else(|| sources().next())
    }

    /// Operations that nobody proposed in this view.
    pub(crate) fn waiting_operations(&self) -> u64 {
        self.waiting_operations
    }

    /// What waits, by arrival: session, first number, how many numbers are open, and whether it is proposed.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = (u64, u64, usize, bool)> {
        let entries = self.entries.values();
        entries.map(|entry| {
            let request = &entry.request;
            (request.session().0, request.first().0, entry.open.len(), entry.proposed)
        })
    }

    /// Whether nothing waits to be ordered.
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Operations that wait to be ordered.
    pub(crate) fn operations(&self) -> u64 {
        self.operations
    }

    /// Requests that were here and were ordered, or whose turn has passed.
    fn left(&self) -> u64 {
        self.arrivals - self.entries.len() as u64
    }

    /// A batch committed: its numbers leave, whatever request carried them. So do numbers that a request in it
    /// acknowledges: nobody orders those any more. Says whether that was all that one of this replica's clients asked.
    pub(crate) fn ordered(&mut self, batch: &Batch) -> bool {
        let mut served = false;
        for request in batch.requests.iter() {
            if self.entries.is_empty() {
                break;
            }
            served |= self.ordered_numbers(request);
        }
        served
    }

    fn ordered_numbers(&mut self, request: &Request) -> bool {
        let Some(client) = self.clients.get(&request.client()) else { return false };
        let (first, last, acknowledged) =
            (request.first().0, request.last().0, request.ack().0.saturating_sub(1));
        let session = request.session();
        let lowest = client.numbers.first_key_value().map(|((of, low, _), _)| (*of, *low));
        let old = (acknowledged > 0 && lowest.is_some_and(|lowest| lowest <= (session, acknowledged)))
            .then(|| client.numbers.range((session, 1, 0)..=(session, acknowledged, u64::MAX)));
        let old = old.into_iter().flatten().map(|((_, _, arrival), _)| *arrival);
        let met = client.overlapping(session, first, last).map(|(arrival, ..)| arrival);
        let touched: Vec<u64> = met.chain(old).collect();
        let mut served = false;
        for arrival in touched {
            // One may be met on both ways.
            let Some(entry) = self.entries.get_mut(&arrival) else { continue };
            if mutant::is(Mutant::M28) && entry.request.signature() != request.signature() {
                continue;
            }
            #[cfg(test)]
            (self.visited += 1);
            entry.close(first, last);
            if acknowledged > 0 {
                entry.close(1, acknowledged);
            }
            if entry.open.is_empty() {
                served |= entry.own;
                // What is proposed waits for nobody's turn.
                if !entry.proposed {
                    self.unqueue(arrival);
                }
                self.remove(arrival);
            }
        }
        served
    }

    fn remove(&mut self, arrival: u64) {
        let entry = self.entries.remove(&arrival).expect("what is removed is here");
        let (room, id) = (entry.room(), entry.request.client());
        self.operations -= room.operations;
        if !entry.proposed {
            self.waiting_operations -= room.operations;
        }
        for peer in &entry.forwarded_by {
            let held = self.peers.get_mut(peer).expect("who passed on an entry has room for it");
            held.used = held.used.minus(room);
            if held.used == Quota::default() {
                self.peers.remove(peer);
            }
        }
        let client = self.clients.get_mut(&id).expect("an entry has its client");
        client.numbers.remove(&(entry.request.session(), entry.request.first().0, arrival));
        if entry.own {
            client.operations -= room.operations;
            self.own = self.own.minus(room);
            self.owed.settle(arrival, entry.turn, room);
        }
        if client.numbers.is_empty() {
            self.clients.remove(&id);
        }
    }

    /// In a new view everything that did not commit is to be proposed again, oldest first, except what the new view
    /// re-proposes itself; and the new primary has its time.
    pub(crate) fn reset(&mut self, reproposed: &[Arc<crate::request::Body>]) {
        self.turn.clear();
        self.waiting_operations = 0;
        self.clients.values_mut().for_each(|client| client.waiting.clear());
        self.peers.values_mut().for_each(|peer| peer.waiting.clear());
        let requests = reproposed.iter().flat_map(|body| body.batch.requests.iter());
        let reproposed: BTreeSet<_> = requests.map(|request| name_of(request)).collect();
        let arrivals: Vec<u64> = self.entries.keys().copied().collect();
        for arrival in arrivals {
            let entry = self.entries.get_mut(&arrival).expect("it was listed just now");
            #[cfg(test)]
            (self.visited += 1);
            entry.proposed = reproposed.contains(&name_of(&entry.request));
            entry.turn = None;
            if !entry.proposed {
                self.waiting_operations += entry.request.len() as u64;
            }
            self.queue(arrival);
        }
        self.owed.start_again();
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
