//! Reads that are not ordered: each replica says what it finds in its last executed state and of which slot that is, and
//! so many must have found the same in the same slot.
//!
//! A *fast* read takes a quorum. Whatever was acknowledged before it began was, in a cluster with fast reads, answered by
//! a quorum as well; the two share a correct replica, which never goes back; so the slot is not before any of that.
//! Equal results of different slots would not do: a result can be old and new at once, and what lay between was seen.
//! A *session* read takes f + 1, so at least one correct replica, and a slot that is not before anything this client was
//! answered. A *stale* one takes f + 1 and any slot.
//!
//! Replicas whose answers are of different slots are asked once more: as soon as no answer that is missing could help, or
//! what is missing takes twice as long as what came. Answers to both attempts count together, one voice of each replica
//! for what is found in one slot: all of them were given after the read began, which is what the argument above needs of
//! them. So a replica that was a slot behind the first time joins those that were not. The second attempt has what the
//! first one left of the time: no read is ordered later because of it.
//!
//! What does not come about so, because replicas are not equally far, answer too late or do not answer such commands
//! without order, is ordered like any other call.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::ballot::ReplicaSet;
use super::{Answer, CallId, Client, ClientEffect, How, Obstacle, READS_OUT_MAX, Read, ReadId, SubmitError};
use crate::codec::Blob;
use crate::message::{Found, Outcome, Query, QueryReply, REPLY_BYTES_MAX, Unanswered};
use crate::mutant::{self, Mutant};
use crate::types::{Number, ReplicaId, Seq, Time};

/// Reads that wait to be asked or ordered, and those that are out.
const READS_MAX: usize = 1024;
/// How often replicas are asked the same, at most. Queries bear the read's number and which attempt they are, so reads are
/// numbered in steps of this.
const ATTEMPTS_MAX: u64 = 2;
/// So long those who have not answered are waited for at least, in microseconds: about what a busy thread takes for a round.
const PATIENCE_US_MIN: u64 = 1_000;

/// The reads of a client that have no answer.
#[derive(Debug)]
pub(super) struct Reads {
    next: u64,
    /// To be asked once there is room, and links to enough replicas.
    waiting: VecDeque<Waiting>,
    out: BTreeMap<ReadId, Out>,
    /// To be ordered once there is room for another call.
    to_order: VecDeque<(ReadId, Bytes, How)>,
    /// On their way as calls.
    ordered: BTreeMap<CallId, (ReadId, How)>,
}

#[derive(Debug)]
struct Waiting {
    id: ReadId,
    command: Bytes,
    read: Read,
    /// When it is ordered instead, if there are not enough links by then; set when it is looked at first.
    due: Option<Time>,
}

/// A read that replicas were asked.
#[derive(Debug)]
struct Out {
    command: Bytes,
    read: Read,
    /// Answers from before this slot do not count.
    floor: Seq,
    /// When it is ordered instead, however often it was asked.
    due: Time,
    /// When whoever has not answered the newest attempt is not waited for any more; set once enough have, and differ.
    patience: Option<Time>,
    /// The newest last.
    attempts: Vec<Attempt>,
    needs_order: ReplicaSet,
    not_offered: ReplicaSet,
    /// Somebody answered from before the floor.
    lagged: bool,
    /// At most one for each replica and attempt.
    candidates: Vec<Candidate>,
}

/// Replicas were asked.
#[derive(Debug)]
struct Attempt {
    at: Time,
    asked: ReplicaSet,
    /// Who answered it, whatever that was; the first answer is the one that counts.
    said: ReplicaSet,
}

/// What was found in the state of a slot, and by whom.
#[derive(Debug)]
struct Candidate {
    executed: Seq,
    result: Blob<REPLY_BYTES_MAX>,
    voters: ReplicaSet,
}

impl Reads {
    /// `nonce` makes their names differ from those of another client with the same key, whose answers come here, too.
    pub(super) fn new(nonce: u64) -> Self {
        Self {
            next: nonce.wrapping_mul(ATTEMPTS_MAX),
            waiting: VecDeque::new(),
            out: BTreeMap::new(),
            to_order: VecDeque::new(),
            ordered: BTreeMap::new(),
        }
    }

    /// Reads that are neither answered nor on their way as calls.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.out.len() + self.to_order.len()
    }

    /// When something is to be given up; none if nothing waits for time.
    pub(super) fn deadline(&self) -> Option<Time> {
        let out = self.out.values().map(|out| out.patience.map_or(out.due, |end| end.min(out.due)));
        // Without room among those that are out, time alone changes nothing for the others.
        let room = self.out.len() < READS_OUT_MAX;
        out.chain(self.waiting.iter().filter_map(|waiting| waiting.due.filter(|_| room))).min()
    }

    /// The read that this call was made for, and how it came to be one.
    pub(super) fn take_ordered(&mut self, call: CallId) -> Option<(ReadId, How)> {
        self.ordered.remove(&call)
    }

    fn order(&mut self, id: ReadId, command: Bytes, how: How) {
        self.to_order.push_back((id, command, how));
    }
}

/// The read that a query of this number asked, and in which attempt.
fn asked_by(number: u64) -> (ReadId, usize) {
    let attempt = number % ATTEMPTS_MAX;
    (ReadId(number - attempt), usize::try_from(attempt).unwrap_or(usize::MAX))
}

impl Out {
    /// Takes down who answered which attempt. Returns whether the answer counts; none if nobody asked.
    fn hears(&mut self, from: ReplicaId, attempt: usize) -> Option<bool> {
        let attempt = self.attempts.get_mut(attempt)?;
        attempt.asked.contains(from).then(|| attempt.said.insert(from))
    }

    /// Once enough have answered the newest attempt that they could have decided, the others get as long again. Otherwise
    /// one replica that says nothing would cost every read whose answers differ all its time.
    fn set_patience(&mut self, now: Time, needed: usize) {
        let Some(newest) = self.attempts.last() else { return };
        if self.patience.is_none() && newest.said.len() >= needed && self.shortage() == Obstacle::Differed {
            self.patience = Some(now.plus(now.since(newest.at).max(PATIENCE_US_MIN)));
        }
    }

    fn counts_from(&self, executed: Seq) -> bool {
        match self.read {
            Read::Fast | Read::Session => executed >= self.floor,
            Read::Ordered | Read::Stale => true,
        }
    }

    /// Counts what a replica found.
    fn vote(&mut self, from: ReplicaId, executed: Seq, result: Blob<REPLY_BYTES_MAX>) {
        if !self.counts_from(executed) {
            self.lagged = true;
            return;
        }
        let anywhere = self.read == Read::Fast && mutant::is(Mutant::M54);
        let same = |candidate: &&mut Candidate| {
            candidate.result == result && (candidate.executed == executed || anywhere)
        };
        match self.candidates.iter_mut().find(same) {
            Some(candidate) => drop(candidate.voters.insert(from)),
            None => {
                let voters = ReplicaSet::from_iter([from]);
                self.candidates.push(Candidate { executed, result, voters });
            }
        }
    }

    fn decided(&self, needed: usize) -> Option<usize> {
        self.candidates.iter().position(|candidate| candidate.voters.len() >= needed)
    }

    /// Why no answer can come about any more, while these replicas can be heard; none if one can.
    fn obstacle(&self, up: ReplicaSet, needed: usize, weak: usize) -> Option<Obstacle> {
        if self.needs_order.len() >= weak {
            return Some(Obstacle::NeedsOrder);
        }
        if self.not_offered.len() >= weak {
            return Some(Obstacle::NotOffered);
        }
        let newest = self.attempts.last()?;
        let may_answer = |id: &ReplicaId| !newest.said.contains(*id) && up.contains(*id);
        let left: ReplicaSet = newest.asked.iter().filter(may_answer).collect();
        let with_those = |candidate: &Candidate| {
            let mut voters = candidate.voters;
            voters.extend(left);
            voters.len()
        };
        let most = self.candidates.iter().map(with_those).max().unwrap_or(left.len());
        (most < needed).then_some(self.shortage())
    }

    /// What to say of it where there are not enough. It is said to the caller only, so one voice may do.
    fn shortage(&self) -> Obstacle {
        match (self.lagged, self.candidates.len()) {
            (true, _) | (false, 2..) => Obstacle::Differed,
            (false, 0) if !self.needs_order.is_empty() => Obstacle::NeedsOrder,
            (false, 0 | 1) => Obstacle::TooFew,
        }
    }
}

impl Client {
    /// Takes a read. It leaves with the next [`Client::poll`] that finds room, and links to enough replicas.
    ///
    /// # Errors
    /// [`SubmitError`] if the command is too large, or too many reads have no answer.
    pub fn read(&mut self, command: Bytes, read: Read) -> Result<ReadId, SubmitError> {
        let (bytes, most) = (command.len(), self.context.parameters.operation_bytes_max);
        if bytes as u64 > most {
            return Err(SubmitError::TooLarge { bytes, most });
        }
        if self.reads.len() >= READS_MAX {
            return Err(SubmitError::ReadsFull(READS_MAX));
        }
        let id = ReadId(self.reads.next);
        self.reads.next = self.reads.next.wrapping_add(ATTEMPTS_MAX);
        self.counters.reads += 1;
        match read {
            Read::Ordered => self.reads.order(id, command, How::Ordered),
            Read::Fast if !self.context.parameters.fast_reads => {
                self.order_instead(id, command, read, Obstacle::NotOffered);
            }
            Read::Fast | Read::Session | Read::Stale => {
                self.reads.waiting.push_back(Waiting { id, command, read, due: None });
            }
        }
        Ok(id)
    }

    /// Asks what waits, gives up what is due, and submits what is to be ordered.
    pub(super) fn poll_reads(&mut self, now: Time, effects: &mut Vec<ClientEffect>) {
        self.give_up_reads(now, effects);
        self.ask_reads(now, effects);
        while let Some((id, command, how)) = self.reads.to_order.pop_front() {
            match self.calls.push(command.clone()) {
                Some(call) => drop(self.reads.ordered.insert(call, (id, how))),
                None => {
                    self.reads.to_order.push_front((id, command, how));
                    break;
                }
            }
        }
    }

    /// A replica answered a query.
    pub(super) fn on_query_reply(
        &mut self,
        now: Time,
        from: ReplicaId,
        reply: QueryReply,
        effects: &mut Vec<ClientEffect>,
    ) {
        let QueryReply { number, executed, found } = reply;
        let (id, attempt) = asked_by(number);
        let out = self.reads.out.get_mut(&id);
        let Some(counts) = out.and_then(|out| out.hears(from, attempt)) else {
            self.counters.stale += 1;
            return;
        };
        let Some(out) = self.reads.out.get_mut(&id).filter(|_| counts) else { return };
        match found {
            Found::Nothing(Unanswered::NeedsOrder) => drop(out.needs_order.insert(from)),
            Found::Nothing(Unanswered::NotOffered) => drop(out.not_offered.insert(from)),
            Found::Nothing(Unanswered::NotReady | Unanswered::Busy) => {}
            // No correct replica gives a longer one, and nobody is to fill our memory.
            Found::Reply(result) if result.len() as u64 > self.context.parameters.reply_bytes_max => {
                self.dissent(from);
            }
            Found::Reply(result) => out.vote(from, executed, result),
        }
        self.settle_read(now, id, effects);
    }

    fn settle_read(&mut self, now: Time, id: ReadId, effects: &mut Vec<ClientEffect>) {
        let Some(out) = self.reads.out.get(&id) else { return };
        let (needed, weak) = (self.voices(out.read), self.context.committee.weak_quorum());
        if let Some(at) = out.decided(needed) {
            self.answer_read(id, at, effects);
        } else if let Some(obstacle) = out.obstacle(self.up(), needed, weak) {
            self.give_up_read(now, id, obstacle, effects);
        } else if let Some(out) = self.reads.out.get_mut(&id) {
            out.set_patience(now, needed);
        }
    }

    /// Enough replicas found the same.
    fn answer_read(&mut self, id: ReadId, at: usize, effects: &mut Vec<ClientEffect>) {
        let Some(mut out) = self.reads.out.remove(&id) else { return };
        let Candidate { executed: seq, result, voters } = out.candidates.swap_remove(at);
        let mut dissenters = ReplicaSet::default();
        // One slot has one state. What was found in that of another slot may be as true.
        for other in out.candidates.iter().filter(|other| other.executed == seq) {
            dissenters.extend(other.voters);
        }
        for replica in dissenters.iter() {
            self.dissent(replica);
        }
        self.counters.reads_unordered += 1;
        match out.read {
            Read::Fast | Read::Session => self.answered = self.answered.max(seq),
            // It promises nothing about what comes after it.
            Read::Ordered | Read::Stale => {}
        }
        let (outcome, how) = (Outcome::Done(result), How::Read(out.read));
        let answer = Answer { outcome, seq, number: Number(0), view: self.view, voters, dissenters, how };
        effects.push(ClientEffect::Read { read: id, answer });
    }

    /// What no answer to this attempt can decide is asked once more, if that may help, or ordered.
    fn give_up_read(&mut self, now: Time, id: ReadId, obstacle: Obstacle, effects: &mut Vec<ClientEffect>) {
        let Some(mut out) = self.reads.out.remove(&id) else { return };
        if obstacle == Obstacle::Differed && self.may_ask_again(now, &out) {
            self.counters.reads_asked_again += 1;
            out.patience = None;
            self.ask(now, id, out, effects);
        } else {
            self.order_instead(id, out.command, out.read, obstacle);
        }
    }

    fn may_ask_again(&self, now: Time, out: &Out) -> bool {
        let attempts = self.options.read_attempts.clamp(1, ATTEMPTS_MAX);
        let left = (out.attempts.len() as u64) < attempts && now < out.due;
        left && self.up().len() >= self.voices(out.read)
    }

    fn order_instead(&mut self, id: ReadId, command: Bytes, read: Read, obstacle: Obstacle) {
        self.counters.reads_fallen_back += 1;
        self.reads.order(id, command, How::Instead(read, obstacle));
    }

    /// What came to no answer in time, or cannot any more because a link broke, is given up.
    fn give_up_reads(&mut self, now: Time, effects: &mut Vec<ClientEffect>) {
        let (up, weak) = (self.up(), self.context.committee.weak_quorum());
        let hopeless = |(id, out): (&ReadId, &Out)| {
            let over = out.due <= now || out.patience.is_some_and(|end| end <= now);
            let late = over.then(|| out.shortage());
            let obstacle = late.or_else(|| out.obstacle(up, self.voices(out.read), weak))?;
            Some((*id, obstacle))
        };
        let hopeless: Vec<_> = self.reads.out.iter().filter_map(hopeless).collect();
        for (id, obstacle) in hopeless {
            self.give_up_read(now, id, obstacle, effects);
        }
    }

    /// Asks everybody, for as long as there is room.
    fn ask_reads(&mut self, now: Time, effects: &mut Vec<ClientEffect>) {
        let up = self.up();
        for mut waiting in std::mem::take(&mut self.reads.waiting) {
            let due = waiting.due.unwrap_or_else(|| now.plus(self.backoff.pause(0)));
            waiting.due = Some(due);
            if self.reads.out.len() >= READS_OUT_MAX {
                self.reads.waiting.push_back(waiting);
            } else if up.len() >= self.voices(waiting.read) {
                let Waiting { id, command, read, .. } = waiting;
                let out = self.begin(now, command, read);
                self.ask(now, id, out, effects);
            } else if due <= now {
                let Waiting { id, command, read, .. } = waiting;
                self.order_instead(id, command, read, Obstacle::TooFew);
            } else {
                self.reads.waiting.push_back(waiting);
            }
        }
    }

    fn begin(&mut self, now: Time, command: Bytes, read: Read) -> Out {
        Out {
            command,
            read,
            floor: self.answered,
            due: now.plus(self.backoff.pause(0)),
            patience: None,
            attempts: Vec::new(),
            needs_order: ReplicaSet::default(),
            not_offered: ReplicaSet::default(),
            lagged: false,
            candidates: Vec::new(),
        }
    }

    /// Asks everybody who can be reached, for the first time or again.
    fn ask(&mut self, now: Time, id: ReadId, mut out: Out, effects: &mut Vec<ClientEffect>) {
        let number = id.0 + out.attempts.len() as u64;
        let query = Query { number, fast: out.read == Read::Fast, command: Blob(out.command.clone()) };
        out.attempts.push(Attempt { at: now, asked: self.up(), said: ReplicaSet::default() });
        self.reads.out.insert(id, out);
        effects.push(ClientEffect::Ask { query });
    }

    /// How many replicas must have found the same.
    fn voices(&self, read: Read) -> usize {
        match read {
            Read::Ordered | Read::Fast => self.context.committee.quorum(),
            Read::Session | Read::Stale => self.context.committee.weak_quorum(),
        }
    }

    fn up(&self) -> ReplicaSet {
        let peers = (0..).map(ReplicaId).zip(&self.peers);
        peers.filter(|(_, peer)| peer.up).map(|(id, _)| id).collect()
    }
}
