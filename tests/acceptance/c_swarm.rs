//! C1: drawn worlds with every kind of fault at once, liars among them; the invariants after every step, then everything
//! but the liars heals, and every request must be answered within a bound.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use quorate_sim::scenario::Scenario;
use quorate_sim::scenario::expect::Run;
use quorate_sim::world::World;

/// The first seed: not those that other tests take.
const FIRST: u64 = 1_000_000;
const SEEDS: u64 = 200;
const SEEDS_NIGHTLY: u64 = 10_000;

/// Lives through so many seeds on both cores.
fn swarm(seeds: u64) -> Vec<(u64, Scenario, Run)> {
    let next = AtomicU64::new(0);
    let work = || {
        let mut lived = Vec::new();
        loop {
            let seed = FIRST + next.fetch_add(1, Ordering::Relaxed);
            if seed >= FIRST + seeds {
                return lived;
            }
            let scenario = Scenario::of(seed);
            let run = scenario.examine(&mut World::new(&scenario.setting));
            lived.push((seed, scenario, run));
        }
    };
    thread::scope(|scope| {
        let workers = [scope.spawn(work), scope.spawn(work)];
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    })
}

#[test]
fn c1_drawn_worlds_with_faults_and_liars_hold_every_invariant_and_answer_every_request() {
    let nightly = std::env::var_os("QUORATE_NIGHTLY").is_some_and(|value| value == "1");
    let lived = swarm(if nightly { SEEDS_NIGHTLY } else { SEEDS });
    let wrong: Vec<String> = lived
        .iter()
        .filter(|(.., run)| run.violation.is_some() || !run.verdict.is_good())
        .map(|(seed, _, run)| format!("quorate simulate --replay {seed}\n{}", run.verdict))
        .collect();
    assert!(wrong.is_empty(), "{} of {} failed\n{}", wrong.len(), lived.len(), wrong.join("\n"));
    // What the row asks for was there.
    let sizes: BTreeMap<u16, usize> = lived.iter().fold(BTreeMap::new(), |mut sizes, (_, scenario, _)| {
        *sizes.entry(scenario.setting.replicas).or_default() += 1;
        sizes
    });
    assert_eq!(sizes.keys().copied().collect::<Vec<_>>(), [4, 5, 6, 7, 10]);
    let with = |what: fn(&Scenario) -> bool| lived.iter().filter(|(_, scenario, _)| what(scenario)).count();
    for (name, count) in [
        ("loss", with(|scenario| scenario.setting.profile.loss > 0)),
        ("duplication", with(|scenario| scenario.setting.profile.duplication > 0)),
        ("reordering", with(|scenario| scenario.setting.profile.stragglers > 0)),
        ("delay", with(|scenario| scenario.setting.profile.delay_us >= 5_000)),
        ("partitions", with(|scenario| !scenario.setting.cuts.is_empty())),
        ("liars", with(|scenario| !scenario.setting.liars.is_empty())),
    ] {
        assert!(count > lived.len() / 10, "{name} in {count} of {} worlds", lived.len());
    }
    let sum = |what: fn(&Run) -> u64| lived.iter().map(|(.., run)| what(run)).sum::<u64>();
    assert!(sum(|run| run.outcome.injected.crashes) > 20 && sum(|run| run.outcome.injected.restarts) > 100);
    assert!(sum(|run| run.outcome.injected.handed_over) > 3, "hardly any view is handed over");
    assert!(sum(|run| u64::from(run.outcome.lies_told() > 0)) > 30, "liars hardly lie");
}
