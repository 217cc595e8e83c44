//! What the primary owes this replica's own clients: which of their requests are passed on, and how long they wait.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Pool;
use crate::mutant::{self, Mutant};
use crate::parameters::Quota;
use crate::request::Request;
use crate::types::Time;

/// How long a request may wait while others are served.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// At least this long, in microseconds.
    pub(crate) least_us: u64,
    /// For each place among the requests that were passed on and wait, in nanoseconds.
    pub(crate) each_ns: u64,
    /// A request is passed on again after half of this, then less and less often; in microseconds.
    pub(crate) repeat_us: u64,
    /// So many requests that came after it may commit before it.
    pub(crate) overtaken_max: u64,
}

impl Patience {
    /// Of who has nobody to blame but itself.
    pub(crate) const ENDLESS: Self =
        Self { least_us: u64::MAX, each_ns: 0, repeat_us: u64::MAX, overtaken_max: u64::MAX };

    fn allows(self, place: u64) -> u64 {
        self.least_us.max(place.saturating_mul(self.each_ns) / 1000)
    }
}

/// A request that was passed on.
#[derive(Debug, Clone, Copy)]
struct Timed {
    arrival: u64,
    since: Time,
    /// Its place among those that were passed on and wait; the first is 1. What other replicas passed on to this one is
    /// ahead of nothing at the primary.
    place: u64,
    /// When its patience began and ends, on the clock that stands still while nobody can be blamed.
    began: Time,
    until: Time,
    /// When it is passed on again, and how long after that the next time.
    again: Time,
    pause: u64,
    /// Other requests that had come when it was passed on.
    came: u64,
}

/// The requests that this replica's clients sent here, in the order in which they are passed on.
#[derive(Debug, Clone)]
pub(crate) struct Owed {
    room: Quota,
    pub(super) used: Quota,
    /// Arrivals for which the primary has no room yet.
    queue: BTreeSet<u64>,
    /// By turn. Turns only grow, so the first was passed on first.
    timed: BTreeMap<u64, Timed>,
    turns: u64,
    /// Alarms, by time and turn. Of endless patience there are none.
    until: BTreeSet<(Time, u64)>,
    again: BTreeSet<(Time, u64)>,
    /// How long in all nobody could be blamed, in microseconds; and since when that is so now.
    excused: u64,
    excused_since: Option<Time>,
    /// Requests that had come when the primary was last let off.
    forgiven: u64,
}

/// What waits longest.
#[derive(Debug, Clone)]
pub(crate) struct Longest {
    pub(crate) request: Arc<Request>,
    pub(crate) since: Time,
    pub(crate) until: Time,
}

impl Owed {
    pub(super) fn new(room: Quota) -> Self {
        Self {
            room,
            used: Quota::default(),
            queue: BTreeSet::new(),
            timed: BTreeMap::new(),
            turns: 0,
            until: BTreeSet::new(),
            again: BTreeSet::new(),
            excused: 0,
            excused_since: None,
            forgiven: 0,
        }
    }

    pub(super) fn want(&mut self, arrival: u64) {
        self.queue.insert(arrival);
    }

    /// A request is owed no more: one that has its turn, or waits for it.
    pub(super) fn settle(&mut self, arrival: u64, turn: Option<u64>, room: Quota) {
        let Some(turn) = turn else {
            self.queue.remove(&arrival);
            return;
        };
        self.used = self.used.minus(room);
        let timed = self.timed.remove(&turn).expect("every turn is somebody's");
        self.until.remove(&(timed.until, turn));
        self.again.remove(&(timed.again, turn));
    }

    /// A new primary is owed nothing yet: it gets everything anew. Entries give up their turns.
    pub(super) fn start_again(&mut self) {
        self.queue.extend(self.timed.values().map(|timed| timed.arrival));
        let (room, turns) = (self.room, self.turns);
        let (queue, excused_since) = (std::mem::take(&mut self.queue), self.excused_since);
        *self = Self { turns, queue, excused_since, ..Self::new(room) };
    }

    /// The clock that stands still while nobody can be blamed.
    fn clock(&self, now: Time) -> Time {
        Time(now.since(Time(self.excused)))
    }

    /// When the first patience ends.
    fn ends(&self) -> Option<Time> {
        self.until.first().map(|(until, _)| until.plus(self.excused))
    }
}

impl Pool {
    /// Whether this replica's clients wait for anything.
    pub(crate) fn owes(&self) -> bool {
        !self.owed.timed.is_empty() || !self.owed.queue.is_empty()
    }

    /// Whether some of what this replica's clients sent here was not passed on yet.
    pub(crate) fn has_to_pass_on(&self) -> bool {
        !self.owed.queue.is_empty()
    }

    /// Requests that it is the primary's turn to serve: as many as it has room for, those that came first.
    pub(crate) fn pass_on(&mut self, now: Time, patience: Patience) -> Vec<Arc<Request>> {
        let mut requests = Vec::new();
        let pooled = mutant::is(Mutant::M58).then_some(self.entries.len());
        while let Some(arrival) = self.owed.queue.first().copied() {
            let entry = self.entries.get_mut(&arrival).expect("what is owed is here");
            let used = self.owed.used.plus(entry.room());
            if !used.fits(self.owed.room) {
                break;
            }
            self.owed.used = used;
            self.owed.queue.pop_first();
            requests.push(Arc::clone(&entry.request));
            let owed = &mut self.owed;
            owed.turns += 1;
            let pause = patience.repeat_us / 4;
            let began = owed.clock(now);
            let place = pooled.unwrap_or(owed.timed.len() + 1) as u64;
            let timed = Timed {
                arrival,
                since: now,
                place,
                began,
                until: began.plus(patience.allows(place)),
                again: now.plus(patience.repeat_us / 2),
                pause,
                came: self.arrivals - 1,
            };
            entry.turn = Some(owed.turns);
            if timed.until < Time(u64::MAX) {
                owed.until.insert((timed.until, owed.turns));
                owed.again.insert((timed.again, owed.turns));
            }
            owed.timed.insert(owed.turns, timed);
        }
        requests
    }

    /// Requests that may have been lost on their way or found no room: those whose time it is by `due`, the first
    /// first, at most `limits` of them.
    pub(crate) fn pass_on_again(&mut self, now: Time, due: Time, limits: Quota) -> Vec<Arc<Request>> {
        let (mut requests, mut used) = (Vec::new(), Quota::default());
        let mut turns = Vec::new();
        for (_, turn) in self.owed.again.iter().take_while(|(again, _)| *again <= due) {
            let timed = self.owed.timed.get(turn).expect("every turn is somebody's");
            let entry = self.entries.get(&timed.arrival).expect("what is owed is here");
            used = used.plus(Quota { operations: 1, bytes: entry.room().bytes });
            if !requests.is_empty() && !used.fits(limits) {
                break;
            }
            requests.push(Arc::clone(&entry.request));
            turns.push(*turn);
        }
        for turn in turns {
            let timed = self.owed.timed.get_mut(&turn).expect("it was found just now");
            self.owed.again.remove(&(timed.again, turn));
            timed.again = now.plus(timed.pause);
            timed.pause = timed.pause.saturating_mul(2);
            self.owed.again.insert((timed.again, turn));
        }
        requests
    }

    /// When the primary is given up for letting somebody wait while it serves others: when the first patience ends, or
    /// at once if too many requests that came later were ordered before the one that was passed on first.
    pub(crate) fn starves_at(&self, now: Time, patience: Patience) -> Option<Time> {
        if self.is_overtaken(patience) { Some(now) } else { self.owed.ends() }
    }

    fn is_overtaken(&self, patience: Patience) -> bool {
        // Those that had come and are here no more: only what exceeds them came later.
        let later = |first: &Timed| self.left().saturating_sub(first.came.max(self.owed.forgiven));
        self.owed.timed.first_key_value().is_some_and(|(_, first)| later(first) >= patience.overtaken_max)
    }

    /// Somebody's time is over. True if he has to wait longer, because by now it is known that everybody waits long.
    pub(crate) fn has_patience(&mut self, now: Time, patience: Patience) -> bool {
        let Some((until, turn)) = self.owed.until.first().copied() else { return true };
        let timed = self.owed.timed.get(&turn).expect("every turn is somebody's");
        let longer = timed.began.plus(patience.allows(timed.place));
        if self.is_overtaken(patience) || longer <= self.owed.clock(now) {
            return false;
        }
        let timed = self.owed.timed.get_mut(&turn).expect("every turn is somebody's");
        timed.until = longer;
        self.owed.until.remove(&(until, turn));
        self.owed.until.insert((longer, turn));
        true
    }

    /// Nobody could be blamed for so long: everybody waits this much longer.
    pub(crate) fn excuse(&mut self, longer_us: u64) {
        self.owed.excused = self.owed.excused.saturating_add(longer_us);
    }

    /// The primary was to be given up and could not be: it is let off, for so long.
    pub(crate) fn forgive(&mut self, longer_us: u64) {
        self.excuse(longer_us);
        self.owed.forgiven = self.arrivals;
    }

    /// While `on`, nobody can be blamed, and patience does not run out.
    pub(crate) fn suspend(&mut self, on: bool, now: Time) {
        match (on, self.owed.excused_since) {
            (true, None) => self.owed.excused_since = Some(now),
            (false, Some(since)) => {
                self.owed.excused_since = None;
                self.excuse(now.since(since));
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    /// When the request was passed on that was passed on first of those that wait.
    pub(crate) fn waits_since(&self) -> Option<Time> {
        self.owed.timed.first_key_value().map(|(_, timed)| timed.since)
    }

    /// The request that was passed on first of those that wait.
    pub(crate) fn longest(&self) -> Option<Longest> {
        let (_, timed) = self.owed.timed.first_key_value()?;
        let request = Arc::clone(&self.entries.get(&timed.arrival)?.request);
        Some(Longest { request, since: timed.since, until: timed.until.plus(self.owed.excused) })
    }
}
