//! Processes that die wherever they can die with a difference, and come back from their disks.
//! `QUORATE_CRASHES=500` dies at so many such moments of each run, `QUORATE_CRASHES=all` at every one.

use quorate_protocol::types::{ReplicaId, Time};
use quorate_sim::network::Profile;
use quorate_sim::rng::Rng;
use quorate_sim::scenario::{Load, Outcome, Scenario};
use quorate_sim::world::{Fault, Injected, Outage, Setting, World};

use quorate_host::disk::Crash;

/// Commands of the recorded run, one in a batch.
const COMMANDS: u64 = 200;

/// Moments of each run that are died at.
const SAMPLE: u64 = 12;

/// Two hundred batches, a checkpoint after every eighth, and a primary that sleeps long enough to be replaced.
fn recorded() -> Scenario {
    let mut setting = Setting::calm(4);
    setting.profile = Profile { jitter_us: 500, ..Profile::calm(1_000) };
    setting.parameters.timeout_us = 200_000;
    setting.parameters.timeout_max_us = 1_600_000;
    setting.parameters.checkpoint_interval = 8;
    setting.parameters.window = 32;
    setting.parameters.pipeline_depth = 4;
    setting.parameters.batch_requests_max = 1;
    setting.costs.write_us = 1_000;
    setting.costs.execute_us = 300;
    setting.costs.store_us = 2_000;
    let sleep = Fault::Pause(ReplicaId(0), Time(1_600_000));
    let load = Load { commands: COMMANDS, in_flight: 6, bundle: 1, think_us: 0, ..Load::default() };
    Scenario {
        setting,
        faults: vec![(Time(1_110_000), sleep)],
        heal_at: Time(2_300_000),
        clients: vec![load],
    }
}

/// What is on the disk of a process that died at its `nth` moment.
fn left(nth: u64) -> Crash {
    let mut rng = Rng::new(nth);
    match rng.below(4) {
        0 => Crash::Keep,
        1 => Crash::Forget,
        _ => Crash::Some { mask: rng.any(), torn: usize::try_from(rng.below(600)).unwrap_or(0) },
    }
}

/// The recorded run, in which a replica dies at its `nth` moment, and others with it.
fn with_a_death(victim: ReplicaId, nth: u64, others: &[ReplicaId]) -> Outcome {
    let scenario = recorded();
    let mut world = World::new(&scenario.setting);
    let outage = Outage { left: left(nth), ..Outage::clean(20_000) };
    world.doom(victim, nth, outage, others);
    let outcome = scenario.run_in(&mut world);
    outcome.unwrap_or_else(|violation| panic!("{victim} dies at moment {nth} with {others:?}: {violation}"))
}

/// Some moments of a run with so many, or all of them.
fn sample(moments: u64) -> Vec<u64> {
    let wanted = match std::env::var("QUORATE_CRASHES") {
        Ok(all) if all == "all" => return (1..=moments).collect(),
        Ok(wanted) => wanted.parse().unwrap_or_else(|_| panic!("QUORATE_CRASHES={wanted} is no number")),
        Err(_) => SAMPLE,
    };
    // A prime stride meets every kind of moment sooner or later.
    (0..wanted).map(|turn| 1 + (turn * 7_919 + turn * moments / wanted) % moments).collect()
}

/// Lets a victim die at a sample of its moments, and others with it each time.
fn die(victim: u16, others: &[u16]) -> Injected {
    let scenario = recorded();
    let mut world = World::new(&scenario.setting);
    let calm = scenario.run_in(&mut world).unwrap_or_else(|violation| panic!("nobody dies: {violation}"));
    assert!(calm.view == 1 && calm.executed >= COMMANDS, "the run is not what it should be: {calm:?}");
    let moments = world.node(ReplicaId(victim)).moments();
    assert!(moments > 10 * COMMANDS, "only {moments} moments to die at");
    let others: Vec<ReplicaId> = others.iter().map(|id| ReplicaId(*id)).collect();
    let (mut all, mut behind, mut runs) = (Injected::default(), 0, 0);
    for nth in sample(moments) {
        let outcome = with_a_death(ReplicaId(victim), nth, &others);
        assert!(outcome.accepted == COMMANDS, "moment {nth}: {outcome:?}");
        assert_eq!(outcome.injected.outages, 1 + others.len() as u64, "moment {nth} was not reached");
        assert_eq!(outcome.injected.restarts, outcome.injected.outages);
        all += outcome.injected;
        behind += outcome.behind;
        runs += 1;
    }
    println!("{runs} of {moments} moments of replica {victim} with {others:?}: {behind} behind, {all:?}");
    assert!(all.power_cuts > 0, "no power cut was drawn: {all:?}");
    all
}

#[test]
fn c7_one_replica_dies_anywhere_and_breaks_no_promise() {
    // The primary that is replaced, the one that replaces it, and a backup.
    let mut all = Injected::default();
    for victim in [0, 1, 2] {
        all += die(victim, &[]);
    }
    assert!(all.unsynced > 3, "hardly any write was hit: {all:?}");
    assert!(all.repeated > 0, "nobody said its VIEW-CHANGE again: {all:?}");
}

#[test]
fn c7_more_than_f_replicas_die_at_once_and_break_no_promise() {
    let mut all = die(1, &[3]);
    all += die(2, &[0]);
    assert!(all.unsynced > 3 && all.repeated > 0, "hardly anything was hit: {all:?}");
}

#[test]
fn c7_all_replicas_die_at_once_and_break_no_promise() {
    let mut all = die(0, &[1, 2, 3]);
    all += die(1, &[0, 2, 3]);
    assert!(all.unsynced > 3 && all.repeated > 0, "hardly anything was hit: {all:?}");
}
