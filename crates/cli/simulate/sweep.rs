//! Many seeds on all cores. A seed's world is made and lives in one thread, so how many there are changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use quorate_protocol::types::ReplicaId;
use quorate_sim::check::Violation;
use quorate_sim::scenario::Scenario;
use quorate_sim::scenario::expect::{Expect, Run};
use quorate_sim::world::{Injected, World};

use super::failure::Failure;
use super::progress::Progress;

/// Failing seeds that are told of.
const FAILED_MAX: usize = 20;
/// One seed in so many is lived through twice.
const TWICE: u64 = 100;
/// So often somebody looks whether there is something to draw.
const LOOK: Duration = Duration::from_millis(200);

/// What a sweep came to.
pub(super) struct Sweep {
    pub(super) totals: Totals,
    /// The first seeds that failed.
    pub(super) failed: Vec<(u64, Failure)>,
    pub(super) wall_s: f64,
}

/// What all runs together did.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) seeds: u64,
    pub(super) steps: u64,
    pub(super) virtual_us: u64,
    pub(super) violations: u64,
    pub(super) liveness_failures: u64,
    /// Batches that committed.
    pub(super) batches: u64,
    /// Of these, those in worlds in which something went wrong.
    pub(super) faulty_batches: u64,
    pub(super) accepted: u64,
    pub(super) views: u64,
    pub(super) transfers: u64,
    /// Worlds with liars.
    pub(super) with_liars: u64,
    /// Of these, those in which a lie was told.
    pub(super) lied_in: u64,
    pub(super) injected: Injected,
    pub(super) lies: BTreeMap<&'static str, u64>,
    /// Of the hashes of all runs, whatever their order.
    pub(super) hash: u64,
    pub(super) replayed: u64,
}

impl Totals {
    pub(super) fn add(&mut self, seed: u64, scenario: &Scenario, run: &Run, failure: Option<&Failure>) {
        let outcome = &run.outcome;
        self.seeds += 1;
        self.steps += outcome.events;
        self.virtual_us += outcome.virtual_us;
        self.violations += u64::from(failure.is_some());
        let late = matches!(run.violation, Some(Violation::NoProgress { .. } | Violation::Livelock(_)));
        self.liveness_failures += u64::from(late && failure.is_some());
        self.batches += outcome.executed;
        self.faulty_batches += if scenario.is_faulty() { outcome.executed } else { 0 };
        self.accepted += outcome.accepted;
        self.views += outcome.view;
        self.transfers += outcome.transfers;
        self.with_liars += u64::from(!outcome.lies.is_empty());
        self.lied_in += u64::from(outcome.lies_told() > 0);
        self.injected += outcome.injected;
        for lies in outcome.lies.values() {
            lies.iter().for_each(|(sin, told)| *self.lies.entry(*sin).or_default() += told);
        }
        self.hash = self.hash.wrapping_add(outcome.hash.rotate_left((seed % 64) as u32));
    }
}

/// One seed's run.
struct Lived {
    seed: u64,
    scenario: Scenario,
    run: Run,
    again: Option<u64>,
}

fn live(seed: u64) -> Lived {
    let scenario = Scenario::of(seed);
    let run = scenario.examine(&mut World::new(&scenario.setting));
    // Where every signature is checked a run is slow; those of the middle of each hundred are as good.
    let again = seed % TWICE == TWICE / 2;
    let again = again.then(|| scenario.examine(&mut World::new(&scenario.setting)).outcome.hash);
    Lived { seed, scenario, run, again }
}

fn work(next: &AtomicU64, end: u64, to: &SyncSender<Lived>) {
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        // Who collects is gone only when the program ends.
        if seed >= end || to.send(live(seed)).is_err() {
            return;
        }
    }
}

/// Lives through every seed.
pub(super) fn run(seeds: Range<u64>, threads: NonZeroUsize) -> Sweep {
    let started = Instant::now();
    let next = AtomicU64::new(seeds.start);
    let mut progress = Progress::new(seeds.end - seeds.start);
    let (mut totals, mut failed) = (Totals::default(), Vec::new());
    let mut numbers: BTreeSet<u64> = BTreeSet::new();
    let expect = Expect { lies: false, ..Expect::default() };
    thread::scope(|scope| {
        let (to, from) = sync_channel(threads.get());
        for _ in 0..threads.get() {
            let (to, next) = (to.clone(), &next);
            scope.spawn(move || work(next, seeds.end, &to));
        }
        drop(to);
        loop {
            match from.recv_timeout(LOOK) {
                Ok(Lived { seed, scenario, run, again }) => {
                    totals.replayed += u64::from(again.is_some());
                    let failure = Failure::of(&expect, &run, again);
                    totals.add(seed, &scenario, &run, failure.as_ref());
                    if let Some(failure) = failure {
                        numbers.insert(seed);
                        failed.push((seed, failure));
                        failed.sort_by_key(|(seed, _)| *seed);
                        failed.truncate(FAILED_MAX);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            progress.draw(totals.seeds, totals.violations);
        }
    });
    progress.finish();
    Sweep { totals, failed, wall_s: started.elapsed().as_secs_f64() }
}

/// Who told how many lies.
pub(super) fn lies_of(run: &Run) -> Vec<(ReplicaId, &'static str, u64)> {
    let each = |(id, lies): (&ReplicaId, &BTreeMap<&'static str, u64>)| {
        lies.iter().map(|(sin, told)| (*id, *sin, *told)).collect::<Vec<_>>()
    };
    run.outcome.lies.iter().flat_map(each).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seeds_come_to_the_same_on_any_number_of_threads() {
        let one = run(20..24, NonZeroUsize::new(1).unwrap());
        let three = run(20..24, NonZeroUsize::new(3).unwrap());
        let told =
            |sweep: &Sweep| (sweep.totals.hash, sweep.totals.seeds, sweep.totals.steps, sweep.totals.batches);
        assert_eq!(told(&one), told(&three));
        assert_eq!((one.totals.seeds, one.totals.violations), (4, 0));
        assert_ne!(one.totals.hash, run(21..25, NonZeroUsize::new(1).unwrap()).totals.hash);
    }
}
