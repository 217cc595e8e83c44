//! The test kit on applications that are right, and on three that are wrong in the usual ways.
#![cfg(feature = "simulation")]

use std::collections::{BTreeMap, HashMap};
use std::panic;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use quorate::simulation::{self, Failure, Named, Rng};
use quorate::{Application, ApplicationError, Context, Map, Snapshot};
use serde::{Deserialize, Serialize};

/// The process has one panic hook, and who looks at it or changes it is alone.
fn hook() -> MutexGuard<'static, ()> {
    static HOOK: Mutex<()> = Mutex::new(());
    HOOK.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug, Serialize, Deserialize)]
enum Command {
    Deposit { account: u8, amount: u64 },
    Total,
}

fn command(rng: &mut Rng) -> Command {
    match rng.below(3) {
        0 => Command::Total,
        _ => Command::Deposit { account: u8::try_from(rng.below(4)).unwrap_or(0), amount: rng.below(100) },
    }
}

fn named(failure: Failure) -> Named {
    match failure {
        Failure::NonDeterministic { named, .. } => *named,
        Failure::Panicked { .. } | Failure::Violated { .. } => panic!("it is named: {failure}"),
    }
}

/// Money, and when each account was last touched, by the agreed time.
#[derive(Default, Serialize, Deserialize)]
struct Ledger {
    accounts: BTreeMap<u8, (u64, u64)>,
}

impl Application for Ledger {
    type Command = Command;
    type Reply = u64;

    fn apply(&mut self, context: &Context, command: Command) -> u64 {
        match command {
            Command::Deposit { account, amount } => {
                let (balance, touched) = self.accounts.entry(account).or_default();
                (*balance, *touched) = (balance.saturating_add(amount), context.time().0);
                *balance
            }
            Command::Total => self.accounts.values().map(|(balance, _)| balance).sum(),
        }
    }
}

#[test]
fn an_application_that_is_right_stands_a_swarm_of_faults() {
    let summary = simulation::swarm(Ledger::default, command).seeds(0..12).check();
    let summary = summary.unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(summary.worlds, 12);
    assert!(summary.commands > 200 && summary.accepted >= summary.commands, "{summary:?}");
    assert!(summary.restarts > 0 && summary.view > 0, "there were faults: {summary:?}");
}

#[test]
fn one_replica_of_each_world_lies_as_it_is_told_and_the_application_stands_it() {
    let summary = simulation::swarm(Ledger::default, command).lying("equivocate").seeds(0..12).check();
    let summary = summary.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(summary.lies > 0 && summary.worlds == 12, "{summary:?}");
    let wrong =
        panic::catch_unwind(|| simulation::swarm(Ledger::default, command).lying("equivocat").seeds(0..1));
    let said = wrong.expect_err("there is no such behaviour");
    let said = said.downcast_ref::<String>().expect("it says what is wrong");
    assert!(said.contains("equivocate"), "{said}");
}

#[test]
fn a_replica_that_is_told_to_execute_wrongly_is_not_taken_for_an_application_that_does() {
    let summary = simulation::swarm(Ledger::default, command).lying("wrong-execution").seeds(0..12).check();
    let summary = summary.unwrap_or_else(|failure| panic!("{failure}"));
    assert!(summary.lies > 0, "{summary:?}");
}

/// Answers with the first account in the order of a hash map, which every process draws anew.
#[derive(Default)]
struct Hashed {
    balances: Map,
}

impl Snapshot for Hashed {
    const SAVES_ANEW: bool = true;
    fn save(&mut self, map: &mut Map) -> Result<(), ApplicationError> {
        self.balances.save(map)
    }
    fn load(map: &Map) -> Result<Self, ApplicationError> {
        Ok(Self { balances: map.clone() })
    }
}

impl Application for Hashed {
    type Command = Command;
    type Reply = Option<u8>;

    fn apply(&mut self, _context: &Context, command: Command) -> Option<u8> {
        if let Command::Deposit { account, amount } = command {
            self.balances.insert(&[b'a' + account], &amount.to_be_bytes()).ok()?;
            return None;
        }
        let keys = b"abcd".iter().filter_map(|key| self.balances.get(&[*key]).map(|_| *key));
        let unordered: HashMap<u8, ()> = keys.map(|key| (key, ())).collect();
        let first = *unordered.keys().next()?;
        self.balances.insert(b"last", &[first]).ok()?;
        Some(first)
    }
}

#[test]
fn an_answer_in_the_order_of_a_hash_map_is_named_with_request_replicas_and_key() {
    let failure = simulation::swarm(Hashed::default, command).check().expect_err("the order differs");
    let text = failure.to_string();
    let named = named(failure);
    assert_eq!(named.command, "Total", "{text}");
    assert!(named.request.starts_with("request ") && named.request.contains("in slot"), "{text}");
    assert!(named.outcomes.len() >= 2 && named.outcomes.iter().all(|made| !made.who.is_empty()), "{text}");
    assert_ne!(named.outcomes[0].reply, named.outcomes[1].reply, "{text}");
    assert!(
        named.outcomes.iter().any(|made| made.who.iter().any(|who| who.starts_with("replica"))),
        "{text}"
    );
    assert_eq!(named.keys, ["key \"last\""], "{text}");
}

static CALLS: AtomicU64 = AtomicU64::new(0);

/// Counts its calls in a static, which all replicas of one process share and no two processes do.
#[derive(Default, Serialize, Deserialize)]
struct Global {
    last: u64,
}

impl Application for Global {
    type Command = Command;
    type Reply = ();

    fn apply(&mut self, _context: &Context, command: Command) {
        if let Command::Deposit { .. } = command {
            self.last = CALLS.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[test]
fn a_global_counter_is_named_although_every_reply_is_the_same() {
    let failure = simulation::swarm(Global::default, command).check().expect_err("the count differs");
    let text = failure.to_string();
    let named = named(failure);
    assert!(named.command.starts_with("Deposit {"), "{text}");
    assert!(named.outcomes.len() >= 2 && named.outcomes.iter().all(|made| made.reply == "()"), "{text}");
    assert_eq!(named.keys, ["piece 0"], "{text}");
}

/// Forgets a part of its state whenever it is restored.
#[derive(Default, Serialize, Deserialize)]
struct Forgetful {
    total: u64,
    #[serde(skip)]
    deposits: u64,
}

impl Application for Forgetful {
    type Command = Command;
    type Reply = u64;

    fn apply(&mut self, _context: &Context, command: Command) -> u64 {
        match command {
            Command::Deposit { amount, .. } => {
                self.deposits += 1;
                self.total = self.total.saturating_add(amount);
                self.deposits
            }
            Command::Total => self.total,
        }
    }
}

#[test]
fn a_state_that_is_not_all_in_the_snapshot_is_named() {
    let failure = simulation::swarm(Forgetful::default, command).check().expect_err("deposits are forgotten");
    let text = failure.to_string();
    let named = named(failure);
    assert!(named.command.starts_with("Deposit {"), "{text}");
    let restored = |who: &String| who.starts_with("a copy restored");
    assert!(named.outcomes.iter().any(|made| made.who.iter().any(restored)), "{text}");
}

#[test]
fn a_swarm_that_fails_points_at_the_line_of_the_test_that_ran_it() {
    let _alone = hook();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let place = info.location().map(|place| (place.file().to_owned(), place.line()));
        noted.lock().unwrap_or_else(PoisonError::into_inner).extend(place);
    }));
    let swarm = simulation::swarm(Forgetful::default, command);
    let (ran, line) = (panic::catch_unwind(panic::AssertUnwindSafe(|| swarm.run())), line!());
    panic::set_hook(before);
    assert!(ran.is_err());
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(seen.iter().any(|(file, at)| file == file!() && *at == line), "{seen:?}");
}

/// Bears no more than so much money, and has a way of saying so that no application may have.
#[derive(Default, Serialize, Deserialize)]
struct Fragile {
    total: u64,
}

impl Application for Fragile {
    type Command = Command;
    type Reply = u64;

    fn apply(&mut self, _context: &Context, command: Command) -> u64 {
        if let Command::Deposit { amount, .. } = command {
            self.total += amount;
        }
        assert!(self.total < 50, "it is too heavy");
        self.total
    }
}

/// Where it panics.
fn fragile_line() -> usize {
    let sought = "assert!(self.total < 50,";
    1 + include_str!("simulation.rs").lines().position(|line| line.trim().starts_with(sought)).unwrap_or(0)
}

#[test]
fn a_panic_is_named_with_seed_line_request_and_command() {
    let _alone = hook();
    let failure = simulation::swarm(Fragile::default, command).seeds(5..9).check().expect_err("it panics");
    let text = failure.to_string();
    let Failure::Panicked { seed, panicked } = failure else { panic!("{text}") };
    let place = format!("{}:{}:", file!(), fragile_line());
    assert!(panicked.place.is_some_and(|told| told.starts_with(&place)), "{place}: {text}");
    assert_eq!(panicked.message, "it is too heavy", "{text}");
    assert!(panicked.request.starts_with("request ") && panicked.request.contains("in slot"), "{text}");
    assert!(panicked.command.is_some_and(|command| command.starts_with("Deposit {")), "{text}");
    let begins = format!("seed {seed}: the application panicked at {place}");
    assert!((5..9).contains(&seed) && text.starts_with(&begins) && text.contains("refuse it"), "{text}");
    assert!(text.contains(": Deposit {"), "{text}");
}

#[test]
fn a_replica_that_lies_and_panics_first_is_no_reason_to_know_less_of_the_panic() {
    let _alone = hook();
    let swarm = || simulation::swarm(Fragile::default, command).lying("equivocate");
    let worlds = (0..8).map(|seed| swarm().seeds(seed..seed + 1).check());
    let failures: Vec<Failure> = worlds.filter_map(Result::err).collect();
    // Of a few commands none may be heavy.
    assert!(failures.len() >= 5, "{failures:?}");
    for failure in failures {
        let is_named = matches!(&failure, Failure::Panicked { panicked, .. } if panicked.place.is_some());
        assert!(is_named, "{failure}");
    }
}

#[test]
fn the_hook_of_a_process_is_the_same_after_a_panic_was_looked_at_and_other_panics_go_on() {
    let _alone = hook();
    let count = Arc::new(AtomicU64::new(0));
    let (counted, before, here) = (Arc::clone(&count), panic::take_hook(), std::thread::current().id());
    panic::set_hook(Box::new(move |_| {
        // Other tests panic on purpose, too.
        let ours = std::thread::current().id() == here;
        counted.fetch_add(u64::from(ours), Ordering::Relaxed);
    }));
    let failed = simulation::swarm(Fragile::default, command).check().is_err();
    // Once as it was found; where it was is looked for behind this one's back.
    let found = count.load(Ordering::Relaxed);
    let lazy = simulation::swarm(Ledger::default, |_: &mut Rng| panic!("nothing comes to my mind"));
    let went_on = panic::catch_unwind(panic::AssertUnwindSafe(|| lazy.seeds(0..1).check().is_ok()));
    let after = count.load(Ordering::Relaxed);
    panic::set_hook(before);
    assert!(failed && went_on.is_err());
    assert_eq!((found, after), (1, 2));
}
