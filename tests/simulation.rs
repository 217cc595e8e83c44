//! Seeded worlds: each seed is a cluster with its misfortunes, checked after every step, that must come to rest once
//! they end. `QUORATE_SEEDS=2000` runs more, `QUORATE_SEED=17` one.

use std::panic::{AssertUnwindSafe, catch_unwind};

use quorate_apps::{counter, kv};
use quorate_protocol::application::machine;
use quorate_protocol::codec::encode_serde;
use quorate_sim::app::Service;
use quorate_sim::rng::Rng;
use quorate_sim::scenario::{Outcome, Scenario};

const SEEDS: u64 = 200;

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

/// What went wrong with a seed, and the one command that shows it again.
fn verdict(seed: u64, scenario: &Scenario) -> Result<Outcome, String> {
    let replay = format!("QUORATE_SEED={seed} cargo test --test quorate simulation::seeds -- --nocapture");
    match catch_unwind(AssertUnwindSafe(|| scenario.run())) {
        Ok(Ok(outcome)) => Ok(outcome),
        Ok(Err(violation)) => Err(format!("seed {seed}: {violation}\n  replay: {replay}")),
        Err(_) => Err(format!("seed {seed}: it panicked\n  replay: {replay}")),
    }
}

#[test]
fn seeds_hold_every_invariant_and_come_to_rest() {
    let seeds = match number("QUORATE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("QUORATE_SEEDS").unwrap_or(SEEDS),
    };
    let mut failed = Vec::new();
    let (mut slots, mut views, mut excused) = (0, 0, 0);
    for seed in seeds.clone() {
        let scenario = Scenario::of(seed);
        match verdict(seed, &scenario) {
            Ok(outcome) => {
                slots += outcome.executed;
                views += outcome.view;
                excused += u64::from(outcome.excused);
                // One in a hundred is lived through twice.
                if seed % 100 == 0 {
                    assert_eq!(scenario.run().as_ref(), Ok(&outcome), "seed {seed} gives another world");
                    println!("seed {seed}: hash {:016x}, {} events", outcome.hash, outcome.events);
                }
            }
            Err(why) => failed.push(why),
        }
    }
    println!("{slots} slots, {views} views, {excused} excused");
    assert!(failed.is_empty(), "{} of {seeds:?} failed\n{}", failed.len(), failed.join("\n"));
    if seeds.end - seeds.start >= 100 {
        assert!(slots > 1000 && views > 20, "the seeds do too little: {slots} slots, {views} views");
        assert!(excused * 20 < seeds.end - seeds.start, "too many seeds prove nothing: {excused}");
    }
}

fn store_command(rng: &mut Rng) -> Vec<u8> {
    let key = format!("k{}", rng.below(4));
    let value = kv::Value(rng.any().to_le_bytes().to_vec());
    let command = match rng.below(4) {
        0 => kv::Command::Get { key },
        1 => kv::Command::Put { key, value },
        2 => kv::Command::Delete { key },
        _ => kv::Command::CompareAndSwap { key, expected: None, new: Some(value) },
    };
    encode_serde(&command).expect("a command encodes")
}

fn counter_command(rng: &mut Rng) -> Vec<u8> {
    let amount = i64::try_from(rng.below(100)).unwrap_or(0);
    encode_serde(&counter::Command::Add(amount)).expect("a command encodes")
}

#[test]
fn ready_applications_live_through_the_same_misfortunes() {
    let store = Service { machine: || machine(kv::Store::default()), command: store_command };
    let counter = Service { machine: || machine(counter::Counter::default()), command: counter_command };
    for seed in 0..10 {
        for service in [store, counter] {
            let outcome = verdict(seed, &Scenario::with(seed, service)).unwrap_or_else(|why| panic!("{why}"));
            assert!(outcome.excused || outcome.accepted > 0);
        }
    }
}
