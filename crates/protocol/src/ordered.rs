//! Which operation numbers were ordered: what makes a batch new, and what has yet to execute.
//!
//! Sessions know this for sure, but they belong to the executor, which may be far behind. What is remembered here is a
//! function of the batches that committed since this replica started, and decides nothing but timers and lookups. So
//! it may forget: a number that it does not know counts as new.

use std::collections::{BTreeMap, BTreeSet};

use crate::parameters::Parameters;
use crate::request::{Batch, Kind, Request};
use crate::types::{ClientId, Seq, Session};

/// What requests ask for: how many they are, their operations and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Work(pub(crate) [u64; 3]);

impl Work {
    fn of(request: &Request) -> Self {
        Self([1, request.len(), request.bytes()].map(|count| count as u64))
    }

    pub(crate) fn add(&mut self, more: Self) {
        self.0.iter_mut().zip(more.0).for_each(|(sum, more)| *sum = sum.saturating_add(more));
    }

    /// Whether it is anything at all.
    pub(crate) fn is_some(self) -> bool {
        self != Self::default()
    }
}

/// Numbers that are next to each other, up to `last`, and the newest slot that ordered any of them.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    last: u64,
    seq: Seq,
}

/// The numbers of one session.
#[derive(Debug, Clone, Default)]
struct Numbers {
    /// Numbers up to here are acknowledged by what was ordered.
    floor: u64,
    /// The slot that said so.
    raised: Seq,
    /// The newest slot that registers the session.
    registered: Option<Seq>,
    /// The newest slot that ordered anything of it.
    newest: Seq,
    /// What was ordered, by the first number; disjoint, and all but the first stretch above the floor.
    taken: BTreeMap<u64, Stretch>,
}

impl Numbers {
    fn acknowledge(&mut self, ack: u64, seq: Seq) {
        let floor = ack.saturating_sub(1);
        if floor <= self.floor {
            return;
        }
        (self.floor, self.raised) = (floor, self.raised.max(seq));
        while let Some(first) = self.taken.first_entry().filter(|first| first.get().last <= floor) {
            first.remove();
        }
    }

    /// Whether nothing from `first` on was ordered yet, as with what a client asks for the first time.
    fn is_beyond(&self, first: u64) -> bool {
        self.taken.last_key_value().is_none_or(|(_, stretch)| stretch.last < first)
    }

    /// Stretches that have a number in `first..=last`.
    fn within(&self, first: u64, last: u64) -> impl Iterator<Item = (u64, Stretch)> {
        let before = self.taken.range(..first).next_back().filter(|(_, stretch)| stretch.last >= first);
        let begun = (first <= last).then(|| self.taken.range(first..=last));
        before.into_iter().chain(begun.into_iter().flatten()).map(|(low, stretch)| (*low, *stretch))
    }

    /// Marks `first..=last` as ordered in `seq`; says whether any of them was not ordered before.
    fn take(&mut self, first: u64, last: u64, seq: Seq) -> bool {
        if self.is_beyond(first) {
            self.append(first, last, seq);
            return true;
        }
        let known: Vec<_> = self.within(first, last).collect();
        let (mut next, mut fresh) = (first, false);
        for (low, Stretch { last: high, seq: held }) in known {
            self.taken.remove(&low);
            if low < first {
                self.taken.insert(low, Stretch { last: first - 1, seq: held });
            }
            if high > last {
                self.taken.insert(last + 1, Stretch { last: high, seq: held });
            }
            let (from, to) = (low.max(first), high.min(last));
            if from > next {
                fresh = true;
                self.taken.insert(next, Stretch { last: from - 1, seq });
            }
            // A batch that comes late, because its body did, does not make newer ones older.
            self.taken.insert(from, Stretch { last: to, seq: held.max(seq) });
            next = to + 1;
        }
        if next <= last {
            fresh = true;
            self.taken.insert(next, Stretch { last, seq });
        }
        fresh
    }

    /// Marks what lies beyond all that was ordered: one stretch for what a batch has of a client in a row.
    fn append(&mut self, first: u64, last: u64, seq: Seq) {
        match self.taken.last_entry().map(std::collections::btree_map::OccupiedEntry::into_mut) {
            Some(end) if end.seq == seq && end.last + 1 == first => end.last = last,
            _ => drop(self.taken.insert(first, Stretch { last, seq })),
        }
    }

    /// Joins what lies right before `first`, so that a client that acknowledges nothing leaves one stretch behind.
    fn join_before(&mut self, first: u64, executed: Seq) {
        let mut before = self.taken.range(..first).rev();
        let Some(((high, later), (low, earlier))) = before.next().zip(before.next()) else { return };
        let settled = later.seq <= executed && earlier.seq <= executed;
        if earlier.last.checked_add(1) == Some(*high) && (settled || later.seq == earlier.seq) {
            let (high, low, last, seq) = (*high, *low, later.last, later.seq.max(earlier.seq));
            self.taken.remove(&high);
            self.taken.insert(low, Stretch { last, seq });
        }
    }
}

/// The numbers of every session that was heard of lately.
#[derive(Debug, Clone)]
pub(crate) struct Ordered {
    client_window: u64,
    sessions: BTreeMap<(ClientId, Session), Numbers>,
    /// Committed slots whose numbers were noted before the slot could be handed to the executor.
    ahead: BTreeSet<Seq>,
    /// Sessions and stretches.
    weight: usize,
    /// More than this is kept of nothing but what has yet to execute.
    weight_max: usize,
    /// At this weight old sessions are forgotten next.
    sweep_at: usize,
}

impl Ordered {
    pub(crate) fn new(parameters: &Parameters) -> Self {
        let weight_max = parameters.sessions_max.saturating_add(parameters.pool_operations_max);
        let weight_max = usize::try_from(weight_max).unwrap_or(usize::MAX);
        Self {
            client_window: parameters.client_window,
            sessions: BTreeMap::new(),
            ahead: BTreeSet::new(),
            weight: 0,
            weight_max,
            sweep_at: weight_max,
        }
    }

    /// A batch committed in order; says what it has of requests with a number that was not ordered before.
    pub(crate) fn commit(&mut self, seq: Seq, batch: &Batch, executed: Seq) -> Work {
        self.ahead.insert(seq);
        self.note(seq, batch, executed)
    }

    /// A batch goes to the executor. Where its body came after it committed, its numbers are noted only now, and what is
    /// new of it is said now.
    pub(crate) fn hand_over(&mut self, seq: Seq, batch: Option<&Batch>, executed: Seq) -> Work {
        let mut noted = false;
        while self.ahead.first().is_some_and(|first| *first <= seq) {
            noted = self.ahead.pop_first() == Some(seq);
        }
        let late = batch.filter(|_| !noted);
        late.map_or_else(Work::default, |batch| self.note(seq, batch, executed))
    }

    fn note(&mut self, seq: Seq, batch: &Batch, executed: Seq) -> Work {
        let mut fresh = Work::default();
        for request in batch.requests.iter() {
            if self.note_request(seq, request, executed) {
                fresh.add(Work::of(request));
            }
        }
        if self.weight > self.sweep_at {
            self.sweep(executed);
        }
        fresh
    }

    fn note_request(&mut self, seq: Seq, request: &Request, executed: Seq) -> bool {
        let before = self.sessions.len();
        let numbers = self.sessions.entry((request.client(), request.session())).or_default();
        let held = numbers.taken.len();
        numbers.newest = numbers.newest.max(seq);
        let fresh = if request.kind() == Kind::Register {
            let unknown = numbers.registered.is_none();
            numbers.registered = numbers.registered.max(Some(seq));
            unknown
        } else {
            numbers.acknowledge(request.ack().0, seq);
            // What lies outside the client's window does not execute, so ordering it helps nobody.
            let first = request.first().0.max(numbers.floor.saturating_add(1));
            let end = numbers.floor.saturating_add(self.client_window).min(u64::MAX - 1);
            let last = request.last().0.min(end);
            let stretches = numbers.taken.len();
            let fresh = first <= last && numbers.take(first, last, seq);
            if numbers.taken.len() > stretches {
                numbers.join_before(first, executed);
            }
            fresh
        };
        let holds = numbers.taken.len();
        self.weight = self.weight + holds + self.sessions.len() - held - before;
        fresh
    }

    /// Whether a number of this request, or what acknowledges one, was ordered in a slot of `after + 1 ..= until`.
    pub(crate) fn between(&self, after: Seq, until: Seq, request: &Request) -> bool {
        let Some(numbers) = self.sessions.get(&(request.client(), request.session())) else { return false };
        let between = |seq: Seq| after < seq && seq <= until;
        if request.kind() == Kind::Register {
            return numbers.registered.is_some_and(between);
        }
        let (first, last) = (request.first().0, request.last().0);
        if numbers.is_beyond(first) {
            return first <= numbers.floor && between(numbers.raised);
        }
        (first <= numbers.floor && between(numbers.raised))
            || numbers.within(first, last).any(|(_, stretch)| between(stretch.seq))
    }

    /// Forgets the half of the sessions that were ordered least recently, but nothing that has yet to execute: that
    /// is bounded by the log.
    fn sweep(&mut self, executed: Seq) {
        let idle = self.sessions.values().map(|numbers| numbers.newest).filter(|newest| *newest <= executed);
        let mut idle: Vec<Seq> = idle.collect();
        let middle = idle.len() / 2;
        if !idle.is_empty() {
            let (_, cut, _) = idle.select_nth_unstable(middle);
            let cut = *cut;
            self.sessions.retain(|_, numbers| numbers.newest > cut);
        }
        self.weight = self.sessions.values().map(|numbers| 1 + numbers.taken.len()).sum();
        self.sweep_at = self.weight_max.max(2 * self.weight);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::codec::List;
    use crate::crypto::SecretKey;
    use crate::request::{Draft, Nondet, Operations};
    use crate::types::{ClusterId, Digest, Number};

    fn request(client: u8, (first, count, ack): (u64, u64, u64)) -> Arc<Request> {
        let operations = Operations::new((0..count).map(|_| &b"x"[..]));
        let (first, ack, kind) = (Number(first), Number(ack), Kind::Operations);
        let draft = Draft { session: Session(1), first, ack, kind, operations };
        let cluster = ClusterId(Digest([9; 32]));
        Arc::new(Request::sign(&SecretKey::from_seed(&[client; 32]), cluster, draft))
    }

    fn batch(requests: &[&Arc<Request>]) -> Batch {
        let requests = List(requests.iter().map(|request| Arc::clone(request)).collect());
        Batch { nondet: Nondet::default(), requests }
    }

    fn ordered() -> Ordered {
        Ordered::new(&Parameters { client_window: 16, ..Parameters::default() })
    }

    #[test]
    fn a_batch_is_new_if_one_of_its_numbers_is() {
        let mut ordered = ordered();
        let mut commit =
            |seq, numbers| ordered.commit(Seq(seq), &batch(&[&request(1, numbers)]), Seq(0)).is_some();
        assert!(commit(1, (1, 4, 1)));
        assert!(!commit(2, (2, 2, 1)), "both were ordered");
        assert!(commit(3, (4, 2, 1)), "the second was not");
        assert!(!commit(4, (1, 5, 1)));
        assert!(commit(5, (6, 1, 6)));
        assert!(!commit(6, (3, 3, 1)), "the client has had the answers to these");
        assert!(!commit(7, (6 + 16, 1, 1)), "it is beyond the window, so it does not execute");
        assert!(commit(8, (5 + 16, 1, 1)));
    }

    #[test]
    fn what_a_batch_has_of_new_requests_is_what_they_ask_for_without_the_copies() {
        let mut ordered = ordered();
        let (one, other) = (request(1, (1, 3, 1)), request(2, (1, 1, 1)));
        let mut both = Work::of(&one);
        both.add(Work::of(&other));
        assert_eq!((both.0[0], both.0[1]), (2, 4));
        assert_eq!(ordered.commit(Seq(1), &batch(&[&one, &other, &one]), Seq(0)), both);
        assert_eq!(ordered.commit(Seq(2), &batch(&[&one, &other]), Seq(0)), Work::default());
    }

    #[test]
    fn a_registration_is_new_once() {
        let mut ordered = ordered();
        let operations = Operations::new(std::iter::once(&b"x"[..]));
        let (first, ack, kind) = (Number(0), Number(0), Kind::Register);
        let draft = Draft { session: Session(1), first, ack, kind, operations };
        let cluster = ClusterId(Digest([9; 32]));
        let registration = Arc::new(Request::sign(&SecretKey::from_seed(&[1; 32]), cluster, draft));
        assert!(ordered.commit(Seq(1), &batch(&[&registration]), Seq(0)).is_some());
        assert!(ordered.between(Seq(0), Seq(1), &registration));
        assert!(!ordered.between(Seq(1), Seq(1), &registration));
        assert!(!ordered.commit(Seq(2), &batch(&[&registration]), Seq(0)).is_some());
    }

    #[test]
    fn a_slot_whose_body_came_late_is_noted_when_it_is_handed_over() {
        let mut ordered = ordered();
        let (late, early) = (request(1, (1, 3, 1)), request(1, (2, 1, 1)));
        assert!(ordered.commit(Seq(2), &batch(&[&early]), Seq(0)).is_some());
        assert_eq!(ordered.hand_over(Seq(1), Some(&batch(&[&late])), Seq(0)), Work::of(&late));
        assert!(ordered.between(Seq(0), Seq(1), &late));
        assert!(!ordered.between(Seq(0), Seq(1), &early), "slot 2 will take it out of the pool again");
        assert_eq!(ordered.hand_over(Seq(2), Some(&batch(&[&early])), Seq(0)), Work::default());
        assert!(ordered.between(Seq(1), Seq(2), &early));
        assert!(ordered.ahead.is_empty());
    }

    /// Against a plain scan of everything that was ordered, which is what this replaces.
    #[test]
    fn a_lookup_finds_what_a_scan_of_all_slots_finds() {
        let (mut ordered, mut slots) = (Ordered::new(&Parameters::default()), Vec::new());
        let mut random = 7_u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let mut seen: BTreeSet<(u8, u64)> = BTreeSet::new();
        for seq in 1..=400_u64 {
            let executed = Seq(seq.saturating_sub(1 + next(12)));
            let client = 1 + u8::try_from(next(3)).unwrap();
            let request = request(client, (1 + next(60), 1 + next(9), 1));
            let numbers = request.first().0..=request.last().0;
            let fresh = numbers.clone().filter(|number| seen.insert((client, *number))).count() > 0;
            let new = ordered.commit(Seq(seq), &batch(&[&request]), executed);
            assert_eq!(new.is_some(), fresh, "slot {seq}");
            ordered.hand_over(Seq(seq), Some(&batch(&[&request])), executed);
            slots.push(request);
            let asked = self::request(1 + u8::try_from(next(3)).unwrap(), (1 + next(60), 1 + next(5), 1));
            let scan =
                (executed.0 + 1..=seq).any(|slot| slots[usize::try_from(slot - 1).unwrap()].overlaps(&asked));
            assert_eq!(ordered.between(executed, Seq(seq), &asked), scan, "slot {seq}");
        }
        let stretches = |numbers: &Numbers| 1 + numbers.taken.len();
        assert_eq!(ordered.weight, ordered.sessions.values().map(stretches).sum::<usize>());
    }

    #[test]
    fn what_is_remembered_stays_small_and_never_loses_what_has_yet_to_execute() {
        let parameters = Parameters { sessions_max: 4, pool_operations_max: 4, ..Parameters::default() };
        let mut ordered = Ordered::new(&parameters);
        let lasting = request(1, (1, 1, 1));
        ordered.commit(Seq(1), &batch(&[&lasting]), Seq(0));
        for client in 2..=200_u8 {
            let executed = Seq(u64::from(client) - 1);
            ordered.commit(Seq(u64::from(client)), &batch(&[&request(client, (1, 1, 1))]), executed);
            assert!(ordered.weight <= ordered.sweep_at && ordered.sweep_at <= 16);
        }
        assert!(!ordered.between(Seq(0), Seq(200), &lasting), "long executed, and forgotten");
        // Nothing executes any more: nothing is forgotten.
        let held: Vec<_> = (1..=50_u8).map(|client| request(client, (2, 1, 1))).collect();
        for (seq, request) in (201..).zip(&held) {
            ordered.commit(Seq(seq), &batch(&[request]), Seq(200));
        }
        assert!(held.iter().all(|request| ordered.between(Seq(200), Seq(250), request)));
        // A client that acknowledges nothing leaves one stretch, not one for each request.
        for number in 3..=1000 {
            ordered.commit(Seq(300 + number), &batch(&[&request(1, (number, 1, 1))]), Seq(299 + number));
        }
        assert!(ordered.weight <= ordered.sweep_at && ordered.sweep_at <= 210);
    }
}
