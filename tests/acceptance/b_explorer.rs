//! B1: every run of the real replica within a bound, by an explicit-state model checker.
//!
//! What must be met is asserted with what must hold: a search that lost its way finds nothing and proves nothing. Efforts
//! are counted in steps, so that a search is the same on a slow machine; by night they are what two hours on two cores
//! allow.

use std::time::Duration;

use quorate_protocol::types::ReplicaId;
use quorate_sim::explore::{Bounds, Effort, Explored, Grain, explore, wander};

/// Everything that a search of views up to 1 must meet.
const MET: [&str; 3] = [
    "a batch commits in the last view",
    "the last slot executes everywhere",
    "two batches prepared at one slot in two views",
];
/// More than any search takes that ends by itself.
const TO_THE_END: usize = usize::MAX;

/// Steps of a search by night that does not end by itself.
const NIGHT: usize = 100_000_000;
/// States that such a search sees at least.
const NIGHT_STATES: usize = 5_000_000;

fn nightly() -> bool {
    std::env::var_os("QUORATE_NIGHTLY").is_some_and(|value| value == "1")
}

fn bounds(liar: u16, views: usize, restarts: u8) -> Bounds {
    Bounds { liar: ReplicaId(liar), slots: 1, views, restarts, grain: Grain::Quorums }
}

fn effort(steps: usize) -> Effort {
    Effort { steps, patience: Duration::from_secs(if nightly() { 7_200 } else { 600 }), threads: 2 }
}

/// Nothing is violated, what must be met was, and at least so many states were seen.
fn judge(bounds: Bounds, explored: &Explored, states: usize, met: &[&str]) {
    println!(
        "{bounds:?}: {} states, {} steps, {} different replicas, runs of up to {} steps",
        explored.states, explored.steps, explored.replicas, explored.depth
    );
    assert!(explored.violated.is_empty(), "{bounds:?}: {:#?}", explored.violated);
    assert!(explored.states >= states, "{bounds:?}: {} states are too few", explored.states);
    for name in met {
        assert!(explored.met.contains(name), "{bounds:?}: never met: {name}");
    }
}

// Within this bound the search ends by itself. How many states there are differs by a hundredth from run to run: of
// replicas that are as good as equal the one that was met first goes on. Kills M4, M9, M12, M21.
#[test]
fn b1_no_run_of_one_slot_and_two_views_breaks_agreement_whoever_lies() {
    for (liar, states) in (0..4).zip([256_000, 57_000, 69_000, 108_000]) {
        let bounds = bounds(liar, 2, 0);
        judge(bounds, &explore(bounds, effort(TO_THE_END)), states, &MET);
    }
}

// The same bound with one crash and restart of any correct replica, at any moment. Kills M23, M24.
#[test]
fn b1_no_run_with_a_restart_breaks_agreement_whoever_lies() {
    for (liar, states) in (0..4).zip([2_150_000, 500_000, 550_000, 875_000]) {
        let bounds = bounds(liar, 2, 1);
        judge(bounds, &explore(bounds, effort(TO_THE_END)), states, &MET);
    }
}

// Depth first through three views: that is where an older certificate can win. Kills M1, where the liar is the first
// primary. At night the search ends by itself for the second and the third one.
#[test]
fn b1_runs_of_three_views_break_no_agreement_as_far_as_the_effort_goes() {
    let efforts = if nightly() {
        [22_700_000, 11_000_000, 4_700_000, 13_100_000].map(|states| (TO_THE_END, states))
    } else {
        [(4_000_000, 300_000); 4]
    };
    for (liar, (steps, states)) in (0..4).zip(efforts) {
        let bounds = bounds(liar, 3, 0);
        judge(bounds, &explore(bounds, effort(steps)), states, &[]);
    }
}

// The same with a restart.
#[test]
fn b1_runs_of_three_views_with_a_restart_break_no_agreement_as_far_as_the_effort_goes() {
    let (steps, states) = if nightly() { (NIGHT, NIGHT_STATES) } else { (1_000_000, 100_000) };
    for liar in 0..4 {
        let bounds = bounds(liar, 3, 1);
        judge(bounds, &explore(bounds, effort(steps)), states, &[]);
    }
}

// Walks drawn at random: two slots, three views, a restart. They cover no bound, and reach what no search does in time.
// Each search remembers the replicas it met, of which walks meet many: so there are many short ones.
#[test]
fn b1_random_runs_of_two_slots_and_three_views_break_no_agreement() {
    let seeds = if nightly() { 100 } else { 1 };
    for liar in 0..4 {
        let bounds = Bounds { slots: 2, ..bounds(liar, 3, 1) };
        for seed in 0..seeds {
            let seed = u64::from(liar) + 4 * seed;
            judge(bounds, &wander(bounds, seed, effort(10_000)), 300, &[]);
        }
    }
}

// One vote after the other, in any order, also before the proposal: delivering them as quorums leaves nothing out.
#[test]
fn b1_single_votes_in_any_order_break_no_agreement_as_far_as_the_effort_goes() {
    let (steps, states) = if nightly() { (NIGHT, NIGHT_STATES) } else { (3_000_000, 400_000) };
    for liar in 0..2 {
        let bounds = Bounds { grain: Grain::Votes, ..bounds(liar, 1, 0) };
        judge(bounds, &explore(bounds, effort(steps)), states, &MET[..2]);
    }
}
