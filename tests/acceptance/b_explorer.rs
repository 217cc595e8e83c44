//! B1: every run of the real replica within a bound, by an explicit-state model checker.
//!
//! What must be met is asserted with what must hold: a search that lost its way finds nothing and proves nothing.

use std::time::Duration;

use quorate_protocol::types::ReplicaId;
use quorate_sim::explore::{Bounds, Explored, Grain, explore, wander};

/// Everything that a search of views up to 1 must meet.
const MET: [&str; 3] = [
    "a batch commits in the last view",
    "the last slot executes everywhere",
    "two batches prepared at one slot in two views",
];

fn nightly() -> bool {
    std::env::var_os("QUORATE_NIGHTLY").is_some_and(|value| value == "1")
}

fn bounds(liar: u16, views: usize, restarts: u8) -> Bounds {
    Bounds { liar: ReplicaId(liar), slots: 1, views, restarts, grain: Grain::Quorums }
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
        judge(bounds, &explore(bounds, 2, Duration::from_secs(120)), states, &MET);
    }
}

// The same bound with one crash and restart of any correct replica, at any moment.
#[test]
fn b1_no_run_with_a_restart_breaks_agreement_whoever_lies() {
    for (liar, states) in (0..4).zip([2_150_000, 500_000, 550_000, 875_000]) {
        let bounds = bounds(liar, 2, 1);
        judge(bounds, &explore(bounds, 2, Duration::from_secs(180)), states, &MET);
    }
}

// Depth first through three views, as far as the time goes: that is where an older certificate can win. Kills M1, where
// the liar is the first primary. At night the search ends for the second one.
#[test]
fn b1_runs_of_three_views_break_no_agreement_as_far_as_the_time_goes() {
    let (seconds, least) = if nightly() {
        ([1_000; 4], [3_000_000, 11_000_000, 3_000_000, 3_000_000])
    } else {
        ([15, 5, 5, 5], [20_000; 4])
    };
    for (liar, (seconds, least)) in (0..4).zip(seconds.into_iter().zip(least)) {
        let bounds = bounds(liar, 3, 0);
        judge(bounds, &explore(bounds, 2, Duration::from_secs(seconds)), least, &[]);
    }
}

// The same with a restart; by day a glance.
#[test]
fn b1_runs_of_three_views_with_a_restart_break_no_agreement_as_far_as_the_time_goes() {
    let seconds = if nightly() { 500 } else { 1 };
    for liar in 0..4 {
        let bounds = bounds(liar, 3, 1);
        judge(bounds, &explore(bounds, 2, Duration::from_secs(seconds)), 1_000, &[]);
    }
}

// Walks drawn at random: two slots, three views, a restart. They cover no bound, and reach what no search does in time.
#[test]
fn b1_random_runs_of_two_slots_and_three_views_break_no_agreement() {
    let seconds = if nightly() { 150 } else { 3 };
    for liar in 0..4 {
        let bounds = Bounds { slots: 2, ..bounds(liar, 3, 1) };
        judge(bounds, &wander(bounds, u64::from(liar), 2, Duration::from_secs(seconds)), 300, &[]);
    }
}

// One vote after the other, in any order, also before the proposal: delivering them as quorums leaves nothing out.
#[test]
fn b1_single_votes_in_any_order_break_no_agreement_as_far_as_the_time_goes() {
    let seconds = if nightly() { 300 } else { 4 };
    for liar in 0..2 {
        let bounds = Bounds { grain: Grain::Votes, ..bounds(liar, 1, 0) };
        judge(bounds, &explore(bounds, 2, Duration::from_secs(seconds)), 50_000, &MET[..2]);
    }
}
