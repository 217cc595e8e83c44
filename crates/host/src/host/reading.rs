//! Queries: what clients ask without having it ordered. And, where reads are fast, answers that wait until it is durable
//! how far this replica may have answered.
//!
//! Queries touch nothing of the protocol. They wait in queues of their own, bounded for each client and for all together,
//! and go to execution in turn of their clients, a few at a time, behind every slot that is ready: whoever asks without
//! end takes the time that is left over.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;

use bytes::Bytes;
use quorate_protocol::client::READS_OUT_MAX;
use quorate_protocol::message::{ClientMessage, Found, Query, QueryReply, Unanswered};
use quorate_protocol::mutant::{self, Mutant};
use quorate_protocol::types::{ClientId, Position, Seq};

use super::{Host, Link, encode};
use crate::execution::Task;
use crate::gate::Gate;

/// Queries that wait, of all clients together.
const QUERIES_MAX: usize = 4096;
/// Bytes of those.
const QUERY_BYTES_MAX: usize = 16 << 20;
/// Bytes of those of one client, but for its first.
const CLIENT_BYTES_MAX: usize = QUERY_BYTES_MAX / 16;
/// Queries that execution has at once: on one thread, what else is due waits for so many.
const QUERIES_AT_ONCE: usize = 8;
/// Bytes of answers that wait for the horizon at once; whoever gets none asks again.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// What an answer takes besides its bytes, about.
const ANSWER_OVERHEAD_BYTES: usize = 128;

/// Queries that wait, and those that execution has.
#[derive(Debug, Default)]
pub(super) struct Queries {
    waiting: BTreeMap<ClientId, VecDeque<Query>>,
    count: usize,
    bytes: usize,
    /// Whose turn was last.
    last: Option<ClientId>,
    /// Those that execution has.
    out: usize,
}

impl Queries {
    /// Takes a query in, if there is room for it.
    fn put(&mut self, client: ClientId, query: Query) -> bool {
        let bytes = query.command.len();
        let mine = self.waiting.get(&client);
        let of_client = mine.map_or(0, VecDeque::len);
        let bytes_of_client: usize = mine.into_iter().flatten().map(|query| query.command.len()).sum();
        let greedy = of_client > 0 && bytes_of_client + bytes > CLIENT_BYTES_MAX;
        let full = self.count >= QUERIES_MAX || self.bytes + bytes > QUERY_BYTES_MAX;
        if greedy || full || of_client >= READS_OUT_MAX {
            return false;
        }
        self.count += 1;
        self.bytes += bytes;
        self.waiting.entry(client).or_default().push_back(query);
        true
    }

    /// The client whose turn it is.
    fn next(&self) -> Option<ClientId> {
        let behind = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let mut later = self.waiting.range((behind, Bound::Unbounded));
        later.next().or_else(|| self.waiting.first_key_value()).map(|(client, _)| *client)
    }

    /// What execution is given next: one query of each client in turn.
    fn take(&mut self) -> Vec<Task> {
        let mut tasks = Vec::new();
        while self.out < QUERIES_AT_ONCE
            && let Some(client) = self.next()
        {
            self.last = Some(client);
            let Some(queue) = self.waiting.get_mut(&client) else { break };
            if let Some(query) = queue.pop_front() {
                self.count -= 1;
                self.bytes -= query.command.len();
                self.out += 1;
                tasks.push(Task::Query { client, query });
            }
            if queue.is_empty() {
                self.waiting.remove(&client);
            }
        }
        tasks
    }

    fn has_work(&self) -> bool {
        self.count > 0 && self.out < QUERIES_AT_ONCE
    }
}

/// Which slots may be answered from, and what waits until they may.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// Slots up to here are covered once this position is durable; ascending in both.
    horizons: VecDeque<(Seq, Position)>,
    waiting: Gate<(ClientId, Bytes)>,
    /// Bytes of what waits.
    bytes: usize,
}

fn cost(frame: &Bytes) -> usize {
    frame.len() + ANSWER_OVERHEAD_BYTES
}

impl Answers {
    /// Of a replica that starts; slots up to `covered` are covered already, and the journal is durable up to `last`.
    pub(super) fn new(covered: Seq, last: Position) -> Self {
        let mut waiting = Gate::default();
        drop(waiting.open(last));
        Self { horizons: VecDeque::from([(covered, Position(0))]), waiting, bytes: 0 }
    }

    /// The horizon that the superblock gets with this position.
    pub(super) fn promised(&mut self, high: Seq, position: Position) {
        if self.horizons.back().is_none_or(|(covered, _)| *covered < high) {
            self.horizons.push_back((high, position));
        }
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.waiting()
    }

    /// What an answer from a slot rests on; none if nothing covers that yet.
    fn position(&self, seq: Seq) -> Option<Position> {
        self.horizons.iter().find(|(covered, _)| *covered >= seq).map(|(_, position)| *position)
    }

    /// Everything up to `durable` is on stable storage: gives back what rested on it.
    pub(super) fn open(&mut self, durable: Position) -> Vec<(ClientId, Bytes)> {
        while self.horizons.get(1).is_some_and(|(_, position)| *position <= durable) {
            self.horizons.pop_front();
        }
        let released = self.waiting.open(durable);
        self.bytes -= released.iter().map(|(_, frame)| cost(frame)).sum::<usize>();
        released
    }

    /// Takes an answer from a slot: gives it back if it may leave at once. One that nothing covers yet, or that there is no
    /// room for, is dropped.
    fn pass(&mut self, seq: Seq, answer: (ClientId, Bytes)) -> Option<(ClientId, Bytes)> {
        let (after, bytes) = (self.position(seq)?, cost(&answer.1));
        if self.bytes + bytes > ANSWER_BYTES_MAX {
            return None;
        }
        let passed = self.waiting.pass(after, answer);
        self.bytes += if passed.is_some() { 0 } else { bytes };
        passed
    }
}

impl Host {
    /// Takes a client's query, or says at once that it is not answered.
    pub(super) fn take_query(&mut self, client: ClientId, query: Query, link: &mut impl Link) {
        self.counters.queries += 1;
        let (number, fast) = (query.number, query.fast);
        let parameters = &self.replica.context().parameters;
        let why = if fast && !parameters.fast_reads {
            Some(Unanswered::NotOffered)
        } else if query.command.len() as u64 > parameters.operation_bytes_max {
            Some(Unanswered::NeedsOrder)
        } else if self.replica.is_mute() || self.replica.behind() || self.has_no_state() {
            Some(Unanswered::NotReady)
        } else {
            (!self.queries.put(client, query)).then_some(Unanswered::Busy)
        };
        if let Some(why) = why {
            let (executed, found) = (self.replica.executed(), Found::Nothing(why));
            self.answer_query(client, QueryReply { number, executed, found }, None, link);
        }
    }

    /// What execution is given after the slots that are ready.
    pub(super) fn take_queries(&mut self) -> Vec<Task> {
        self.queries.take()
    }

    /// Whether queries wait that execution could be given.
    #[must_use]
    pub fn has_queries(&self) -> bool {
        !self.has_no_state() && self.queries.has_work()
    }

    /// Execution has answered a query.
    pub(super) fn queried(
        &mut self,
        client: ClientId,
        fast: bool,
        mut reply: QueryReply,
        link: &mut impl Link,
    ) {
        self.queries.out = self.queries.out.saturating_sub(1);
        let early = reply.executed < self.replica.answers_from() && !mutant::is(Mutant::M53);
        if self.replica.is_mute() || (fast && early) {
            reply.found = Found::Nothing(Unanswered::NotReady);
        }
        let from = Some(reply.executed).filter(|_| fast && matches!(reply.found, Found::Reply(_)));
        self.answer_query(client, reply, from, link);
    }

    /// Sends an answer to a query; one that counts as a fast read is `from` a slot.
    fn answer_query(&mut self, client: ClientId, reply: QueryReply, from: Option<Seq>, link: &mut impl Link) {
        self.counters.queries_unanswered += u64::from(matches!(reply.found, Found::Nothing(_)));
        #[cfg(feature = "byzantine")]
        let reply = self.query_falsely(client, reply);
        let (epoch, view) = (self.replica.context().epoch, self.replica.view());
        let frame = encode(&ClientMessage::Query { epoch, view, reply });
        match from {
            Some(seq) => self.answer_from(seq, (client, frame), link),
            None => self.answer(client, frame, link),
        }
    }

    /// Sends a client something about a slot: where reads are fast, once it is durable that this replica may have answered
    /// so far, so that after a restart it does not go back.
    pub(super) fn answer_from(&mut self, seq: Seq, (client, frame): (ClientId, Bytes), link: &mut impl Link) {
        if !self.replica.context().parameters.fast_reads || mutant::is(Mutant::M52) {
            return self.answer(client, frame, link);
        }
        // A state that was just installed is covered in a moment. Whoever asked asks again.
        if let Some((client, frame)) = self.answers.pass(seq, (client, frame)) {
            self.answer(client, frame, link);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use quorate_protocol::codec::Blob;

    use super::*;

    fn client(byte: u8) -> ClientId {
        ClientId(quorate_protocol::types::Digest([byte; 32]))
    }

    fn query(number: u64, bytes: usize) -> Query {
        Query { number, fast: true, command: Blob(vec![0; bytes].into()) }
    }

    fn numbers(tasks: &[Task]) -> Vec<(ClientId, u64)> {
        let asked = tasks.iter().filter_map(|task| match task {
            Task::Query { client, query } => Some((*client, query.number)),
            _ => None,
        });
        asked.collect()
    }

    #[test]
    fn clients_are_served_in_turn_however_much_one_of_them_asks() {
        let mut queries = Queries::default();
        for number in 0..5 {
            assert!(queries.put(client(1), query(number, 1)));
        }
        assert!(queries.put(client(2), query(9, 1)));
        let taken = numbers(&queries.take());
        let (one, two) = (client(1), client(2));
        assert_eq!(taken, [(one, 0), (two, 9), (one, 1), (one, 2), (one, 3), (one, 4)]);
        assert_eq!((queries.count, queries.bytes, queries.waiting.len()), (0, 0, 0));
    }

    #[test]
    fn one_client_has_its_quota_and_all_of_them_have_one() {
        let mut queries = Queries::default();
        let taken = (0..200).filter(|number| queries.put(client(1), query(*number, 1))).count();
        assert_eq!(taken, READS_OUT_MAX);
        assert!(queries.put(client(2), query(0, 1)), "another one has room");
        assert!(!queries.put(client(2), query(1, CLIENT_BYTES_MAX)), "not for that much");
        assert!(queries.put(client(201), query(0, CLIENT_BYTES_MAX + 1)), "the first one always has");
        assert!(!queries.put(client(3), query(0, QUERY_BYTES_MAX)), "there are bytes waiting already");
        let many = (3..=200).map(client).flat_map(|client| (0..30).map(move |number| (client, number)));
        let taken = many.filter(|(client, number)| queries.put(*client, query(*number, 1))).count();
        assert_eq!(taken + READS_OUT_MAX + 2, QUERIES_MAX);
    }

    #[test]
    fn execution_never_has_more_than_its_share() {
        let mut queries = Queries::default();
        for number in 0..60 {
            assert!(queries.put(client(1), query(number, 1)) && queries.put(client(2), query(number, 1)));
        }
        assert_eq!(queries.take().len(), QUERIES_AT_ONCE);
        assert!(!queries.has_work() && queries.take().is_empty());
        queries.out -= 1;
        assert!(queries.has_work());
        assert_eq!(queries.take().len(), 1);
    }

    #[test]
    fn an_answer_waits_for_the_horizon_that_covers_its_slot() {
        let mut answers = Answers::new(Seq(10), Position(4));
        assert_eq!(answers.position(Seq(10)), Some(Position(0)));
        assert_eq!(answers.position(Seq(11)), None, "nothing covers it");
        answers.promised(Seq(20), Position(7));
        answers.promised(Seq(20), Position(8));
        answers.promised(Seq(30), Position(9));
        assert_eq!(answers.position(Seq(11)), Some(Position(7)));
        assert_eq!(answers.position(Seq(21)), Some(Position(9)));
        let frame = Bytes::from_static(b"x");
        assert_eq!(answers.pass(Seq(31), (client(1), frame.clone())), None, "nothing covers it");
        assert_eq!(answers.pass(Seq(10), (client(1), frame.clone())), Some((client(1), frame.clone())));
        assert_eq!(answers.pass(Seq(11), (client(1), frame.clone())), None);
        let large = Bytes::from(vec![0; ANSWER_BYTES_MAX]);
        assert_eq!(answers.pass(Seq(11), (client(1), large)), None, "there is no room for it");
        assert!(answers.open(Position(6)).is_empty());
        assert_eq!(answers.open(Position(7)), [(client(1), frame)]);
        assert_eq!(answers.bytes, 0);
        assert_eq!(answers.horizons.len(), 2, "what is durable is kept once");
        assert!(answers.position(Seq(1)) <= Some(Position(7)));
    }
}
