//! Seeded worlds: each seed is a cluster with its misfortunes, checked after every step, that must come to rest once
//! they end. `QUORATE_SEEDS=2000` runs more, `QUORATE_SEED=17` one.

mod costs;
mod crashes;
mod disks;
mod scenarios;
#[allow(clippy::unwrap_used)]
mod transfers;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use quorate_apps::{counter, kv};
use quorate_protocol::application::machine;
use quorate_protocol::codec::encode_serde;
use quorate_protocol::types::{ReplicaId, Time};
use quorate_sim::app::Service;
use quorate_sim::network::{Cut, Profile};
use quorate_sim::rng::Rng;
use quorate_sim::scenario::{Load, Outcome, Scenario};
use quorate_sim::world::{Fault, Injected, Setting};

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
    let (mut slots, mut views, mut transfers, mut injected) = (0, 0, 0, Injected::default());
    let (mut liars, mut lies) = (0, BTreeMap::<&str, u64>::new());
    for seed in seeds.clone() {
        let scenario = Scenario::of(seed);
        match verdict(seed, &scenario) {
            Ok(outcome) => {
                slots += outcome.executed;
                views += outcome.view;
                transfers += outcome.transfers;
                injected += outcome.injected;
                liars += outcome.lies.len();
                for (sin, told) in outcome.lies.values().flatten() {
                    *lies.entry(*sin).or_default() += told;
                }
                // One in a hundred is lived through twice.
                if seed % 100 == 0 {
                    assert_eq!(scenario.run().as_ref(), Ok(&outcome), "seed {seed} gives another world");
                    println!("seed {seed}: hash {:016x}, {} events", outcome.hash, outcome.events);
                }
            }
            Err(why) => failed.push(why),
        }
    }
    println!("{slots} slots, {views} views, {transfers} states fetched; {injected:?}");
    println!("{liars} liars, who told {lies:?}");
    assert!(failed.is_empty(), "{} of {seeds:?} failed\n{}", failed.len(), failed.join("\n"));
    if seeds.end - seeds.start >= 100 {
        assert!(slots > 1000 && views > 20, "the seeds do too little: {slots} slots, {views} views");
        let Injected { outages, unsynced, restarts, repaired, refused, boxed, .. } = injected;
        assert!(outages > 100 && restarts > 100 && unsynced > 10, "processes hardly die: {injected:?}");
        assert!(repaired > 5 && refused + boxed > 0, "disks hardly fail: {injected:?}");
        assert!(injected.clocks > 30 && injected.pauses > 30, "clocks are right: {injected:?}");
        assert!(injected.repeated > 0, "nobody says its VIEW-CHANGE again after a restart: {injected:?}");
        assert!(transfers > 0, "no replica was ever away for long");
        let told = lies.values().filter(|told| **told > 0).count();
        assert!(liars > 20 && told > 10, "hardly anybody lies: {liars} liars, {lies:?}");
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
    let store = Service::new(|| machine(kv::Store::default()), store_command);
    let counter = Service::new(|| machine(counter::Counter::default()), counter_command);
    for seed in 0..10 {
        for service in [&store, &counter] {
            let outcome =
                verdict(seed, &Scenario::with(seed, service.clone())).unwrap_or_else(|why| panic!("{why}"));
            assert!(outcome.accepted > 0);
        }
    }
}

/// A calm cluster of four with a client that asks so many things, one at a time.
fn steady(commands: u64) -> Scenario {
    let mut setting = Setting::calm(4);
    setting.parameters.timeout_us = 500_000;
    setting.parameters.timeout_max_us = 8_000_000;
    setting.parameters.checkpoint_interval = 512;
    setting.parameters.window = 1024;
    let load = Load { commands, in_flight: 2, bundle: 1, think_us: 10_000, ..Load::default() };
    let heal_at = Time(1_000_000).plus(commands * 10_000);
    Scenario { setting, faults: Vec::new(), heal_at, clients: vec![load] }
}

fn outcome(what: &str, scenario: &Scenario) -> Outcome {
    scenario.run().unwrap_or_else(|violation| panic!("{what}: {violation}"))
}

#[test]
fn a_partition_of_everybody_during_a_view_change_heals_without_new_requests() {
    // The primary crashes with a request on its way; then nobody hears anybody, for longer and longer.
    for seconds in [1, 3, 10] {
        let mut scenario = steady(5);
        let (start, end) = (Time(1_010_000), Time(1_010_000 + seconds * 1_000_000));
        scenario.setting.cuts = vec![Cut { from: u64::MAX, to: u64::MAX, start, end }];
        scenario.faults = vec![(start, Fault::Crash(ReplicaId(0)))];
        scenario.heal_at = end;
        let outcome = outcome("partition", &scenario);
        assert!(outcome.view >= 1 && outcome.accepted == 5);
        assert!(outcome.recovery_us < 4_000_000, "it took {} us", outcome.recovery_us);
    }
}

#[test]
fn halves_of_a_cluster_that_hear_only_themselves_fork_nothing() {
    // Two halves of six are quorums to whoever counts 2f + 1. Three of five and two of them are no better off.
    for (replicas, half) in [(6, 0b010_101), (5, 0b10_101), (4, 0b0101)] {
        for seed in 0..3 {
            let mut scenario = steady(30);
            scenario.setting.seed = seed;
            scenario.setting.replicas = replicas;
            // Lost answers make clients ask both halves.
            scenario.setting.profile = Profile { loss: 100_000, jitter_us: 2_000, ..Profile::calm(1_000) };
            let rest = ((1 << replicas) - 1) & !half;
            let (start, end) = (Time(1_050_000 + seed * 30_000), Time(6_000_000));
            let cut = |from, to| Cut { from, to, start, end };
            scenario.setting.cuts = vec![cut(half, rest), cut(rest, half)];
            scenario.heal_at = end;
            scenario.clients = vec![scenario.clients[0]; 3];
            assert_eq!(outcome("halves", &scenario).accepted, 90, "n = {replicas}, seed {seed}");
        }
    }
}
