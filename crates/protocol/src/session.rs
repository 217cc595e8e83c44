//! Sessions: what makes every operation execute once.
//!
//! A session remembers the reply of every operation that its client has not acknowledged. A number is executed already
//! exactly if it has such a reply or lies at or below the floor, so one ring of replies is also the executed set.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::codec::{Decode, Encode};
use crate::message::Outcome;
use crate::parameters::Parameters;
use crate::request::Registration;
use crate::types::{ClientId, Digest, Number, Seq, Session};

/// What was answered under one number, as a retry will be answered again.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Answer {
    /// Slot in which the operation executed.
    pub(crate) seq: Seq,
    /// Digest of the operation that executed.
    pub(crate) operation: Digest,
    /// How it ended.
    pub(crate) outcome: Outcome,
}

impl Answer {
    fn bytes(&self) -> u64 {
        match &self.outcome {
            Outcome::Done(reply) => reply.len() as u64,
            Outcome::NoSession
            | Outcome::Old
            | Outcome::Window
            | Outcome::Gap
            | Outcome::Expired
            | Outcome::Full
            | Outcome::Registered
            | Outcome::Rejected
            | Outcome::TooLarge => 0,
        }
    }
}

/// What is to be done about one operation.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Judgement<'a> {
    /// Execute it.
    Execute,
    /// It executed already: this was the answer.
    Known(&'a Answer),
    /// It may not execute.
    Refuse(Outcome),
}

/// The limits of a cluster's sessions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) window: u64,
    reply_bytes: u64,
    cache_bytes: u64,
    per_client: u64,
    total: u64,
    life: u64,
}

impl Limits {
    pub(crate) fn of(parameters: &Parameters) -> Self {
        Self {
            window: parameters.client_window,
            reply_bytes: parameters.reply_bytes_max,
            cache_bytes: parameters.reply_cache_bytes_max,
            per_client: parameters.sessions_per_client_max,
            total: parameters.sessions_max,
            life: parameters.window.saturating_mul(8),
        }
    }
}

/// One session of one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SessionState {
    /// Slot of the registration.
    pub(crate) registered: Seq,
    /// Digest of the registration.
    pub(crate) registration: Digest,
    /// Last slot at which the session cannot be evicted.
    pub(crate) expires: Seq,
    /// Last slot in which one of its operations executed.
    pub(crate) active: Seq,
    /// Highest number that executed.
    pub(crate) highest: Number,
    /// Numbers up to this one are acknowledged.
    pub(crate) floor: Number,
    /// Answers to the numbers from `floor + 1` on.
    answers: VecDeque<Option<Answer>>,
    bytes: u64,
    /// Whether it is among those that changed since the sessions were last saved.
    touched: bool,
}

impl SessionState {
    pub(crate) fn new(registered: Seq, registration: Digest, expires: Seq) -> Self {
        Self {
            registered,
            registration,
            expires,
            active: registered,
            highest: Number(0),
            floor: Number(0),
            answers: VecDeque::new(),
            bytes: 0,
            touched: false,
        }
    }

    /// The client has accepted every answer below `ack`.
    pub(crate) fn acknowledge(&mut self, ack: Number) {
        let floor = ack.0.saturating_sub(1);
        let Some(distance) = floor.checked_sub(self.floor.0) else { return };
        let gone = usize::try_from(distance).unwrap_or(usize::MAX).min(self.answers.len());
        self.bytes -= self.answers.drain(..gone).flatten().map(|answer| answer.bytes()).sum::<u64>();
        self.floor = Number(floor);
    }

    /// Decides about one number: the first rule that applies.
    pub(crate) fn judge(&self, number: Number, fifo: bool, limits: &Limits) -> Judgement<'_> {
        if number <= self.floor {
            return Judgement::Refuse(Outcome::Old);
        }
        if let Some(answer) = self.answer(number) {
            return Judgement::Known(answer);
        }
        if number.0 - self.floor.0 > limits.window || self.bytes + limits.reply_bytes > limits.cache_bytes {
            return Judgement::Refuse(Outcome::Window);
        }
        if fifo && self.highest.0.checked_add(1) != Some(number.0) {
            return Judgement::Refuse(Outcome::Gap);
        }
        Judgement::Execute
    }

    /// The answer that a number got, unless it is acknowledged.
    pub(crate) fn answer(&self, number: Number) -> Option<&Answer> {
        let index = number.0.checked_sub(self.floor.0)?.checked_sub(1)?;
        self.answers.get(usize::try_from(index).ok()?)?.as_ref()
    }

    /// Notes that a number has executed; it was judged so.
    pub(crate) fn remember(&mut self, number: Number, answer: Answer) {
        assert!(number > self.floor, "an acknowledged number does not execute");
        let index = usize::try_from(number.0 - self.floor.0 - 1).expect("the client window is at most 4096");
        if self.answers.len() <= index {
            self.answers.resize(index + 1, None);
        }
        self.bytes += answer.bytes();
        self.highest = self.highest.max(number);
        self.active = answer.seq;
        let before = self.answers[index].replace(answer);
        assert!(before.is_none(), "a number executes once");
    }

    /// Every answer that is kept, ascending.
    pub(crate) fn answers(&self) -> impl Iterator<Item = (Number, &Answer)> {
        let numbers = (1_u64..).map(|offset| Number(self.floor.0.saturating_add(offset)));
        numbers.zip(&self.answers).filter_map(|(number, answer)| Some((number, answer.as_ref()?)))
    }

    /// Bytes of the replies that are kept.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Every session of every client, bounded by the cluster's parameters.
#[derive(Debug)]
pub(crate) struct Sessions {
    limits: Limits,
    table: BTreeMap<(ClientId, Session), SessionState>,
    // What follows is derived from the table and the slot, so that finding whom to evict costs no walk over it.
    /// Sessions that cannot be evicted yet, by the slot up to which they cannot.
    protected: BTreeSet<(Seq, ClientId, Session)>,
    /// How many of its sessions a client may lose; no zeros.
    evictable: BTreeMap<ClientId, u64>,
    /// The same, ordered: whoever loses one next is last.
    ranking: BTreeSet<(u64, Reverse<ClientId>)>,
    /// Sessions that changed, came or went since they were last saved: at most as many as there are and were evicted.
    touched: Vec<(ClientId, Session)>,
}

impl Sessions {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            table: BTreeMap::new(),
            protected: BTreeSet::new(),
            evictable: BTreeMap::new(),
            ranking: BTreeSet::new(),
            touched: Vec::new(),
        }
    }

    /// Sessions that changed, came or went since this was last asked.
    pub(crate) fn take_touched(&mut self) -> Vec<(ClientId, Session)> {
        let touched = std::mem::take(&mut self.touched);
        for key in &touched {
            if let Some(state) = self.table.get_mut(key) {
                state.touched = false;
            }
        }
        touched
    }

    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn get(&self, client: ClientId, session: Session) -> Option<&SessionState> {
        self.table.get(&(client, session))
    }

    pub(crate) fn get_mut(&mut self, client: ClientId, session: Session) -> Option<&mut SessionState> {
        let state = self.table.get_mut(&(client, session))?;
        if !std::mem::replace(&mut state.touched, true) {
            self.touched.push((client, session));
        }
        Some(state)
    }

    /// Every session, ascending by client and session.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ClientId, Session, &SessionState)> {
        self.table.iter().map(|((client, session), state)| (*client, *session, state))
    }

    /// Slot `seq` begins: sessions whose protection ended before it may be evicted.
    pub(crate) fn advance(&mut self, seq: Seq) {
        while let Some(&(expires, client, _)) = self.protected.first()
            && expires < seq
        {
            self.protected.pop_first();
            let count = self.evictable.get(&client).copied().unwrap_or(0);
            self.set_evictable(client, count, count + 1);
        }
    }

    /// Executes a registration in slot `seq`; says what to answer.
    pub(crate) fn register(
        &mut self,
        seq: Seq,
        (client, session): (ClientId, Session),
        registration: Option<Registration>,
        operation: Digest,
    ) -> Answer {
        if let Some(state) = self.get(client, session) {
            let outcome = Outcome::Registered;
            return Answer { seq: state.registered, operation: state.registration, outcome };
        }
        let refuse = |outcome| Answer { seq, operation, outcome };
        // A registration that could come again after its session was evicted would revive it with an empty executed
        // set, and then every old request would execute again.
        let Some(registration) = registration.filter(|registration| {
            registration.session(client) == session
                && (seq..=seq.plus(self.limits.life)).contains(&registration.expires)
        }) else {
            return refuse(Outcome::Expired);
        };
        if !self.make_room(client) {
            return refuse(Outcome::Full);
        }
        self.insert(client, session, SessionState::new(seq, operation, registration.expires));
        refuse(Outcome::Registered)
    }

    /// Adds a session that is not there. Its protection counts from the next [`Sessions::advance`].
    pub(crate) fn insert(&mut self, client: ClientId, session: Session, mut state: SessionState) {
        if !std::mem::replace(&mut state.touched, true) {
            self.touched.push((client, session));
        }
        self.protected.insert((state.expires, client, session));
        let before = self.table.insert((client, session), state);
        assert!(before.is_none(), "a session is registered once");
    }

    /// Evicts a session if `client` could not have another one otherwise; says whether there is room then.
    fn make_room(&mut self, client: ClientId) -> bool {
        let own = self.of_client(client).count() as u64;
        if own >= self.limits.per_client {
            return self.evict_from(client);
        }
        if self.table.len() as u64 >= self.limits.total {
            let Some(&(_, Reverse(richest))) = self.ranking.last() else { return false };
            return self.evict_from(richest);
        }
        true
    }

    /// Evicts the least recently active session of a client that may be.
    fn evict_from(&mut self, client: ClientId) -> bool {
        let candidates = self.of_client(client);
        let candidates = candidates
            .filter(|(session, state)| !self.protected.contains(&(state.expires, client, *session)));
        let Some((_, session)) = candidates.map(|(session, state)| (state.active, session)).min() else {
            return false;
        };
        if self.table.remove(&(client, session)).is_some_and(|state| !state.touched) {
            self.touched.push((client, session));
        }
        let count = self.evictable.get(&client).copied().expect("an unprotected session is counted");
        self.set_evictable(client, count, count - 1);
        true
    }

    fn of_client(&self, client: ClientId) -> impl Iterator<Item = (Session, &SessionState)> {
        let range = self.table.range((client, Session(0))..=(client, Session(u64::MAX)));
        range.map(|((_, session), state)| (*session, state))
    }

    fn set_evictable(&mut self, client: ClientId, old: u64, new: u64) {
        self.ranking.remove(&(old, Reverse(client)));
        if new == 0 {
            self.evictable.remove(&client);
        } else {
            self.evictable.insert(client, new);
            self.ranking.insert((new, Reverse(client)));
        }
    }
}
