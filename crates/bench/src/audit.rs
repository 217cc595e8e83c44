//! What clients were told, compared with what the replicas hold.
//!
//! The ledger notes every operation that was submitted and every answer that was accepted. Afterwards the replicated
//! state is read, and whatever an answer promised and the state does not have is lost.
//!
//! *Counter*: every operation adds 1, so its answer is its place in the order: each value can be given once. A value
//! that two answers have, or one above the final value, belongs to an operation that is gone; values that nobody was
//! told, beyond the operations that were never answered, belong to operations that executed twice. Both are exact.
//!
//! *Ledger*: every transfer carries its account's next nonce, so an account's nonce counts those that executed. One below
//! an acknowledged transfer's is a loss, and so is a sum of all accounts other than what was issued; one above that of
//! every transfer that was asked for is one that executed twice. Both are exact.
//!
//! *Key-value store*: every put writes its own number, and only one client writes a key. A read, during the run or at
//! the end, must show the put that was acknowledged at the highest slot before it, or one that was never answered. To
//! execute a put twice leaves a trace only where a newer one was overwritten, and then that one is lost.

use std::collections::{BTreeMap, VecDeque};

use quorate_apps::{kv, ledger};
use quorate_protocol::codec;

use crate::load::{Keys, Workload, transfers, transfers_before};

/// Puts of one key that are remembered: more than can be under way, so the newest acknowledged one is among them.
const PUTS_MAX: usize = 1024;

/// The replicated state after a run, as a client read it.
#[derive(Debug, Clone)]
pub enum Observed {
    /// The counter's value.
    Counter(i64),
    /// Every entry of the store: its key, and the number of the put that its value says it is of.
    Kv(BTreeMap<String, Option<u64>>),
    /// The ledger.
    Tokens {
        /// Of each client's account, in order: the nonce that is due.
        nonces: Vec<u64>,
        /// Whether the accounts have together what was issued.
        balanced: bool,
    },
}

/// What a comparison came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Audit {
    /// Answers that were compared with the state.
    pub answers: u64,
    /// Operations whose answer was accepted and whose effect is gone.
    pub lost: u64,
    /// Operations that executed more than once; none where the application cannot tell.
    pub duplicated: Option<u64>,
}

/// What clients were told.
#[derive(Debug)]
pub enum Ledger {
    /// By users of a counter.
    Counter(CounterLedger),
    /// By users of a store.
    Kv(KvLedger),
    /// By users of a ledger.
    Tokens(TokensLedger),
    /// Nothing that could be compared.
    Nothing,
}

impl Ledger {
    /// An empty one.
    #[must_use]
    pub fn new(workload: Workload) -> Self {
        match workload {
            Workload::Counter => Self::Counter(CounterLedger::default()),
            Workload::Kv(keys) => Self::Kv(KvLedger { workload: keys, ..KvLedger::default() }),
            Workload::Ledger => Self::Tokens(TokensLedger::default()),
            Workload::Lock | Workload::Null | Workload::Own => Self::Nothing,
        }
    }

    /// Accounts begin with these nonces, in order of their clients.
    pub fn endow(&mut self, nonces: Vec<u64>) {
        if let Self::Tokens(ledger) = self {
            ledger.acknowledged.clone_from(&nonces);
            ledger.asked.clone_from(&nonces);
            ledger.first = nonces;
        }
    }

    /// A client submits its `index`th operation.
    pub fn submitted(&mut self, client: usize, index: u64) {
        match self {
            Self::Counter(ledger) => ledger.submitted += 1,
            Self::Kv(ledger) => ledger.submitted(client, index),
            Self::Tokens(ledger) => ledger.submitted(client, index),
            Self::Nothing => {}
        }
    }

    /// A client accepted an answer to it, executed at slot `seq`.
    pub fn answered(&mut self, client: usize, index: u64, seq: u64, reply: &[u8]) {
        match self {
            Self::Counter(ledger) => ledger.answered(codec::decode_serde::<i64>(reply).ok()),
            Self::Kv(ledger) => {
                ledger.answered(client, index, seq, codec::decode_serde::<kv::Reply>(reply).ok());
            }
            Self::Tokens(ledger) => {
                ledger.answered(client, index, codec::decode_serde::<ledger::Reply>(reply).ok());
            }
            Self::Nothing => {}
        }
    }

    /// Compares with the state; none if it is not the state of this application.
    #[must_use]
    pub fn audit(&self, observed: &Observed) -> Option<Audit> {
        match (self, observed) {
            (Self::Counter(ledger), Observed::Counter(value)) => Some(ledger.audit(*value)),
            (Self::Kv(ledger), Observed::Kv(entries)) => Some(ledger.audit(entries)),
            (Self::Tokens(ledger), Observed::Tokens { nonces, balanced }) => {
                Some(ledger.audit(nonces, *balanced))
            }
            (
                Self::Counter(_) | Self::Kv(_) | Self::Tokens(_) | Self::Nothing,
                Observed::Counter(_) | Observed::Kv(_) | Observed::Tokens { .. },
            ) => None,
        }
    }
}

/// Values that answers gave.
#[derive(Debug, Default)]
pub struct CounterLedger {
    submitted: u64,
    answered: u64,
    /// One bit for each value that an answer gave, from 1.
    given: Vec<u64>,
    /// Answers that gave a value which another had given, or none at all.
    repeated: u64,
}

impl CounterLedger {
    fn answered(&mut self, value: Option<i64>) {
        self.answered += 1;
        let place = value.and_then(|value| usize::try_from(value.checked_sub(1)?).ok());
        // No value can be above the number of operations; a larger one is not worth the memory.
        let Some(place) = place.filter(|place| (*place as u64) < self.submitted.saturating_mul(2)) else {
            self.repeated += 1;
            return;
        };
        let (word, bit) = (place / 64, 1_u64 << (place % 64));
        if self.given.len() <= word {
            self.given.resize(word + 1, 0);
        }
        if self.given[word] & bit != 0 {
            self.repeated += 1;
        }
        self.given[word] |= bit;
    }

    fn audit(&self, value: i64) -> Audit {
        let last = u64::try_from(value).unwrap_or(0);
        let given = |place: &u64| {
            let word = usize::try_from(place / 64).ok().and_then(|word| self.given.get(word));
            word.is_some_and(|word| word >> (place % 64) & 1 == 1)
        };
        let all = self.given.iter().map(|word| u64::from(word.count_ones())).sum::<u64>();
        let within = (0..last.min(self.given.len() as u64 * 64)).filter(given).count() as u64;
        let unanswered = self.submitted - self.answered.min(self.submitted);
        Audit {
            answers: self.answered,
            lost: self.repeated + (all - within),
            duplicated: Some((last - within).saturating_sub(unanswered)),
        }
    }
}

/// What became of the puts of one key, oldest first: their numbers, and where they executed once they were answered.
#[derive(Debug, Default)]
struct Puts {
    known: VecDeque<(u64, Option<u64>)>,
}

impl Puts {
    /// Whether a read at slot `at` may show this put, or none.
    fn may_show(&self, seen: Option<u64>, at: u64) -> bool {
        let acknowledged = self.known.iter().filter_map(|(_, seq)| *seq).filter(|seq| *seq < at);
        let Some(newest) = acknowledged.max() else { return true };
        let shown = seen.and_then(|seen| self.known.iter().find(|(index, _)| *index == seen));
        shown.is_some_and(|(_, seq)| seq.is_none_or(|seq| seq >= newest))
    }
}

/// What the users of a store were told.
#[derive(Debug, Default)]
pub struct KvLedger {
    workload: Keys,
    /// Of each client, each of its keys.
    keys: Vec<Vec<Puts>>,
    answers: u64,
    lost: u64,
}

impl KvLedger {
    fn puts(&mut self, client: usize, index: u64) -> Option<&mut Puts> {
        let key = usize::try_from(self.workload.key(client, index)).ok()?;
        self.keys.get_mut(client)?.get_mut(key)
    }

    fn submitted(&mut self, client: usize, index: u64) {
        if self.workload.reads(index) {
            return;
        }
        // Clients and their keys are numbered without gaps, but for those whose first put comes soon.
        let key = usize::try_from(self.workload.key(client, index)).unwrap_or_default();
        if self.keys.len() <= client {
            self.keys.resize_with(client + 1, Vec::new);
        }
        if self.keys[client].len() <= key {
            self.keys[client].resize_with(key + 1, Puts::default);
        }
        let puts = &mut self.keys[client][key];
        puts.known.push_back((index, None));
        if puts.known.len() > PUTS_MAX {
            puts.known.pop_front();
        }
    }

    fn answered(&mut self, client: usize, index: u64, seq: u64, reply: Option<kv::Reply>) {
        self.answers += 1;
        let reads = self.workload.reads(index);
        let Some(puts) = self.puts(client, index) else { return };
        let as_promised = match reply {
            Some(kv::Reply::Stored { .. }) if !reads => {
                let put = puts.known.iter_mut().rev().find(|(known, _)| *known == index);
                put.map(|put| put.1 = Some(seq)).is_some()
            }
            Some(kv::Reply::Value(value)) if reads => puts.may_show(value.as_ref().and_then(number_in), seq),
            _ => false,
        };
        self.lost += u64::from(!as_promised);
    }

    fn audit(&self, entries: &BTreeMap<String, Option<u64>>) -> Audit {
        let all = self.keys.iter().zip(0..).flat_map(|(keys, client)| {
            keys.iter().zip(0..).map(move |(puts, key)| (Keys::name(client, key), puts))
        });
        let gone = all.filter(|(name, puts)| !puts.may_show(entries.get(name).copied().flatten(), u64::MAX));
        Audit { answers: self.answers, lost: self.lost + gone.count() as u64, duplicated: None }
    }
}

/// What the users of a ledger were told. Each list has an entry for every client.
#[derive(Debug, Default)]
pub struct TokensLedger {
    /// Nonces before the load.
    first: Vec<u64>,
    /// The nonce that would be due if everything had executed that was asked for.
    asked: Vec<u64>,
    /// The highest nonce that an answer called the next one.
    acknowledged: Vec<u64>,
    answers: u64,
    /// Answers that cannot be: every account has tokens, and its transfers execute in the order of their nonces.
    refused: u64,
}

impl TokensLedger {
    fn submitted(&mut self, client: usize, index: u64) {
        let (Some(first), true) = (self.first.get(client), transfers(index)) else { return };
        let after = first + transfers_before(index) + 1;
        self.asked[client] = self.asked[client].max(after);
    }

    fn answered(&mut self, client: usize, index: u64, reply: Option<ledger::Reply>) {
        self.answers += 1;
        match (reply, self.acknowledged.get_mut(client)) {
            (Some(ledger::Reply::Moved { nonce, .. }), Some(acknowledged)) if transfers(index) => {
                *acknowledged = (*acknowledged).max(nonce);
            }
            (Some(ledger::Reply::Holds { .. } | ledger::Reply::Supply { .. }), _) if !transfers(index) => {}
            _ => self.refused += 1,
        }
    }

    fn audit(&self, nonces: &[u64], balanced: bool) -> Audit {
        let beyond = |some: &[u64], others: &[u64]| -> u64 {
            some.iter().zip(others).map(|(one, other)| one.saturating_sub(*other)).sum()
        };
        let lost = beyond(&self.acknowledged, nonces) + self.refused + u64::from(!balanced);
        Audit { answers: self.answers, lost, duplicated: Some(beyond(nonces, &self.asked)) }
    }
}

/// The number of the put that wrote this value.
pub(crate) fn number_in(value: &kv::Value) -> Option<u64> {
    value.0.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use quorate_apps::counter::{self, Counter};
    use quorate_apps::kv::Store;
    use quorate_protocol::application::{Application, Context};
    use quorate_protocol::types::{ClientId, Digest};

    use super::*;

    /// A store that begins empty.
    const KV: Workload = Workload::Kv(Keys { filled: 0, cold: 0 });

    fn context() -> Context {
        Context::for_test(ClientId(Digest::ZERO))
    }

    /// An application that runs alone, and what becomes of each operation there.
    struct Alone<A> {
        application: A,
        ledger: Ledger,
        seq: u64,
    }

    impl<A: Application> Alone<A> {
        fn new(application: A, workload: Workload) -> Self {
            Self { application, ledger: Ledger::new(workload), seq: 0 }
        }

        /// Executes an operation; the client hears of it or not.
        fn run(&mut self, workload: Workload, index: u64, is_told: bool) {
            self.ledger.submitted(0, index);
            let reply = self.execute(workload, index);
            if is_told {
                self.ledger.answered(0, index, self.seq, &reply);
            }
        }

        fn execute(&mut self, workload: Workload, index: u64) -> Vec<u8> {
            let operation = workload.operation(0, index, 32);
            let command = codec::decode_serde::<A::Command>(&operation).unwrap();
            self.seq += 1;
            codec::encode_serde(&self.application.apply(&context(), command)).unwrap()
        }
    }

    fn value(counter: &mut Counter) -> Observed {
        Observed::Counter(counter.apply(&context(), counter::Command::Get))
    }

    fn entries(store: &mut Store) -> Observed {
        let command = kv::Command::Scan { prefix: String::new(), after: String::new(), limit: 1000 };
        let kv::Reply::Entries { entries, more: false } = store.apply(&context(), command) else {
            panic!("the test's store is small");
        };
        Observed::Kv(entries.into_iter().map(|(key, value)| (key, number_in(&value))).collect())
    }

    #[test]
    fn a_counter_that_did_everything_once_loses_nothing() {
        let mut alone = Alone::new(Counter::default(), Workload::Counter);
        (0..500).for_each(|index| alone.run(Workload::Counter, index, index % 7 != 0));
        let audit = alone.ledger.audit(&value(&mut alone.application)).unwrap();
        assert_eq!(audit, Audit { answers: 428, lost: 0, duplicated: Some(0) });
    }

    #[test]
    fn a_counter_that_forgot_acknowledged_operations_is_caught_whatever_follows() {
        for later in [0, 3, 50] {
            let mut alone = Alone::new(Counter::default(), Workload::Counter);
            (0..90).for_each(|index| alone.run(Workload::Counter, index, true));
            let before = alone.application.clone();
            (90..100).for_each(|index| alone.run(Workload::Counter, index, true));
            alone.application = before;
            (100..100 + later).for_each(|index| alone.run(Workload::Counter, index, true));
            let audit = alone.ledger.audit(&value(&mut alone.application)).unwrap();
            assert_eq!(audit.lost, 10, "with {later} operations after the loss");
            assert_eq!(audit.duplicated, Some(0));
        }
    }

    #[test]
    fn a_counter_that_executed_an_operation_twice_is_caught() {
        let mut alone = Alone::new(Counter::default(), Workload::Counter);
        (0..10).for_each(|index| alone.run(Workload::Counter, index, true));
        alone.execute(Workload::Counter, 4);
        (10..20).for_each(|index| alone.run(Workload::Counter, index, true));
        let audit = alone.ledger.audit(&value(&mut alone.application)).unwrap();
        assert_eq!(audit, Audit { answers: 20, lost: 0, duplicated: Some(1) });
    }

    #[test]
    fn a_store_that_did_everything_loses_nothing_though_answers_are_missing() {
        let mut alone = Alone::new(Store::default(), KV);
        (0..2_000).for_each(|index| alone.run(KV, index, index % 5 != 0));
        let audit = alone.ledger.audit(&entries(&mut alone.application)).unwrap();
        assert_eq!(audit, Audit { answers: 1_600, lost: 0, duplicated: None });
    }

    #[test]
    fn a_store_that_forgot_its_last_acknowledged_puts_is_caught_at_the_end() {
        let mut alone = Alone::new(Store::default(), KV);
        (0..400).for_each(|index| alone.run(KV, index, true));
        let before = alone.application.clone();
        // Three puts and a read of each of two keys.
        (400..408).for_each(|index| alone.run(KV, index, true));
        assert_eq!(alone.ledger.audit(&entries(&mut alone.application)).unwrap().lost, 0);
        alone.application = before;
        assert_eq!(alone.ledger.audit(&entries(&mut alone.application)).unwrap().lost, 2);
    }

    #[test]
    fn a_store_that_forgot_a_put_which_was_read_since_is_caught_though_it_was_written_over() {
        let mut alone = Alone::new(Store::default(), KV);
        (0..2).for_each(|index| alone.run(KV, index, true));
        let before = alone.application.clone();
        alone.run(KV, 2, true);
        alone.application = before;
        alone.run(KV, 3, true);
        (4..600).for_each(|index| alone.run(KV, index, true));
        assert_eq!(alone.ledger.audit(&entries(&mut alone.application)).unwrap().lost, 1);
    }

    #[test]
    fn a_filled_store_that_lost_a_key_nobody_wrote_since_is_caught() {
        let keys = Keys { filled: 500, cold: 0 };
        let workload = Workload::Kv(keys);
        let mut alone = Alone::new(Store::default(), workload);
        (0..600).for_each(|index| alone.run(workload, index, index % 9 != 0));
        assert_eq!(alone.ledger.audit(&entries(&mut alone.application)).unwrap().lost, 0);
        let untouched = (1..500)
            .filter(|key| key % 9 != 0)
            .find(|key| (500..600).all(|index| keys.key(0, index) != *key));
        let key = Keys::name(0, untouched.expect("100 operations do not reach 500 keys"));
        alone.application.apply(&context(), kv::Command::Delete { key });
        assert_eq!(alone.ledger.audit(&entries(&mut alone.application)).unwrap().lost, 1);
    }

    #[test]
    fn a_put_that_was_never_answered_may_be_there_or_not() {
        for executes in [true, false] {
            let mut alone = Alone::new(Store::default(), KV);
            alone.run(KV, 0, true);
            alone.ledger.submitted(0, 1);
            if executes {
                alone.execute(KV, 1);
            }
            alone.run(KV, 3, true);
            assert_eq!(alone.ledger.audit(&entries(&mut alone.application)).unwrap().lost, 0);
        }
    }

    #[test]
    fn transfers_that_are_gone_or_came_twice_and_tokens_that_are_missing_are_caught() {
        let mut ledger = Ledger::new(Workload::Ledger);
        ledger.endow(vec![2, 0]);
        let moved = |nonce| codec::encode_serde(&ledger::Reply::Moved { balance: 5, nonce }).unwrap();
        for index in 0..7 {
            ledger.submitted(0, index);
            ledger.submitted(1, index);
        }
        // The operations 1, 2 and 3 are transfers, 4 is a read, and 5 and 6 are transfers again.
        (1..4).for_each(|index| ledger.answered(0, index, 1, &moved(2 + index)));
        let audit = |nonces: [u64; 2], balanced| {
            let Audit { lost, duplicated, .. } =
                ledger.audit(&Observed::Tokens { nonces: nonces.to_vec(), balanced }).unwrap();
            (lost, duplicated.unwrap())
        };
        assert_eq!(audit([5, 0], true), (0, 0));
        assert_eq!(audit([7, 5], true), (0, 0), "what was never answered may have executed");
        assert_eq!(audit([4, 0], true), (1, 0), "an acknowledged transfer is gone");
        assert_eq!(audit([8, 0], true), (0, 1), "more transfers than were asked for");
        assert_eq!(audit([5, 0], false), (1, 0), "tokens are missing");
        assert_eq!(ledger.audit(&Observed::Counter(1)), None);
        let refused = ledger::Reply::Refused(ledger::Refusal::Nonce { due: 1 });
        ledger.answered(1, 1, 1, &codec::encode_serde(&refused).unwrap());
        let audit = ledger.audit(&Observed::Tokens { nonces: vec![5, 0], balanced: true }).unwrap();
        assert_eq!(audit.lost, 1, "a transfer in its turn was refused");
    }

    #[test]
    fn answers_that_cannot_be_are_losses() {
        let mut ledger = Ledger::new(KV);
        ledger.submitted(0, 0);
        ledger.answered(0, 0, 1, b"nonsense");
        assert_eq!(ledger.audit(&Observed::Kv(BTreeMap::new())).unwrap().lost, 1);
        let mut ledger = Ledger::new(Workload::Counter);
        ledger.submitted(0, 0);
        ledger.answered(0, 0, 1, &codec::encode_serde(&i64::MAX).unwrap());
        assert_eq!(ledger.audit(&Observed::Counter(1)).unwrap().lost, 1);
        assert_eq!(ledger.audit(&Observed::Kv(BTreeMap::new())), None);
    }
}
