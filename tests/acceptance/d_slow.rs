//! D10, D11: primaries that do as little as they may.

use quorate_protocol::types::{Seq, View};
use quorate_sim::network::Profile;
use quorate_sim::scenario::Scenario;
use quorate_sim::world::World;

use super::lab::{Lab, T0, calm, newest_open_view};

fn cluster() -> Lab {
    let mut setting = calm(4, 1);
    (setting.parameters.checkpoint_interval, setting.parameters.window) = (8, 32);
    let mut lab = Lab::new(&setting, 4);
    answered_in(&mut lab, 4);
    lab
}

/// Four clients with eight calls out each; says how long so many calls of each take.
fn answered_in(lab: &mut Lab, commands: u64) -> u64 {
    (0..4).for_each(|client| lab.world.employ(client, commands, 8, 0));
    lab.await_that("everything is answered", 400 * T0, Lab::is_answered)
}

// Without a watchdog a primary keeps its seat that serves everybody slowly. What it can do is bounded, and this is the
// bound.
#[test]
fn d10_a_primary_that_delays_every_proposal_to_just_below_the_timeout_serves_all_at_one_pipeline_a_timeout() {
    let calm = answered_in(&mut cluster(), 64);
    let mut lab = cluster();
    let by = 9 * T0 / 10;
    lab.corrupt(0, &[&format!("delay:by={}ms,kinds=pre-prepare", by / 1_000)]);
    let slow = answered_in(&mut lab, 64);
    println!("{calm} us without it, {slow} us with it, in view {}", newest_open_view(&lab));
    assert!(lab.lies(0) > 0, "it delayed nothing");
    assert!(slow > 4 * calm, "it was slow: {slow} us");
    // Each round of calls waits for one proposal at most, whoever proposes.
    assert!(slow <= 64 / 8 * (by + 20_000), "{slow} us for eight rounds of calls");
}

/// A cluster whose replicas look after the rate of their primaries, and order some 500 calls a second at most.
fn guarded(replicas: u16) -> Lab {
    let mut setting = calm(replicas, 1);
    setting.parameters.watchdog = true;
    (setting.parameters.batch_requests_max, setting.parameters.pipeline_depth) = (8, 1);
    setting.profile = Profile::calm(5_000);
    let mut lab = Lab::of(World::new(&setting));
    lab.register(4, |options| options.bundle_max = 1);
    lab
}

/// Each client has so many calls out from now on.
fn employ(lab: &mut Lab, in_flight: usize) {
    (0..4).for_each(|client| lab.world.employ(client, 1 << 30, in_flight, 0));
}

/// Answers in so many microseconds of time.
fn answers(lab: &mut Lab, for_us: u64) -> u64 {
    let before = lab.world.accepted();
    lab.run(for_us);
    lab.world.accepted() - before
}

/// No client asks anything more.
fn dismiss(lab: &mut Lab) {
    (0..4).for_each(|client| lab.world.employ(client, 0, 1, 0));
    lab.await_that("everything is answered", 20 * T0, Lab::is_answered);
}

/// Complaints about primaries that were slower than others, of all replicas together.
fn complaints(lab: &Lab) -> u64 {
    lab.world.nodes().iter().map(|node| node.replica().counters().slow_primaries).sum()
}

#[test]
fn d10_with_a_watchdog_primaries_that_delay_every_proposal_lose_their_seats_to_one_that_does_not() {
    for replicas in [4, 7] {
        let mut lab = guarded(replicas);
        employ(&mut lab, 8);
        let calm = answers(&mut lab, 2 * T0);
        let delay = format!("delay:by={}ms,kinds=pre-prepare", 9 * T0 / 10_000);
        // As many as may be faulty, one after the other.
        let slow = (replicas - 1) / 3;
        (0..slow).for_each(|id| lab.corrupt(id, &[&delay]));
        let floor = answers(&mut lab, 2 * T0);
        let honest = View(u64::from(slow));
        let took = lab.await_that("a correct primary serves", 200 * T0, |lab| {
            newest_open_view(lab) == honest && lab.members(honest) > usize::from(replicas - slow) - 1
        });
        lab.run(T0);
        let again = answers(&mut lab, 2 * T0);
        println!("{replicas}: {calm} calls a second, {floor}, and {took} us later {again}");
        assert!(lab.lies(0) > 0 && floor * 10 < calm, "it was slow: {floor} of {calm}");
        assert!(again * 2 >= calm, "{again} of {calm}");
        assert!(honest <= View(10) && complaints(&lab) >= u64::from(replicas - slow) / 2);
    }
}

// Loads of other shapes bring other rates, waits and pauses; none of that is the fault of a primary. Of 240 calls
// that are out many wait for longer than their clients have patience, and reach every replica; and the last client tells
// everybody of each call at once.
#[test]
fn d10_a_watchdog_lets_correct_primaries_keep_their_seats_while_the_load_rises_and_falls() {
    let mut lab = guarded(4);
    let mut done = Vec::new();
    for in_flight in [8, 1, 60, 2, 60, 1] {
        employ(&mut lab, in_flight);
        done.push(answers(&mut lab, 10 * T0));
        dismiss(&mut lab);
        lab.run(4 * T0);
    }
    let (mut calls, end) = (0, lab.world.now().plus(12 * T0));
    while lab.world.now() < end {
        lab.ask(0, "add k 1");
        lab.repeat(0, &[0, 1, 2, 3]);
        lab.await_that("one is answered", T0, Lab::is_answered);
        calls += 1;
    }
    println!("{done:?} calls, and {calls} that everybody knew of; views {:?}", lab.views());
    assert!(done[2] * 2 < done[0] * 3 && done[1] * 3 < done[0], "load rose beyond what is served, and fell");
    assert_eq!((complaints(&lab), lab.view_changes()), (0, 0));
}

// The worlds of other rows, in which everything goes wrong at once: a watchdog makes none of them unsafe or stand still.
#[test]
fn d10_drawn_worlds_with_a_watchdog_hold_every_invariant_and_answer_every_request() {
    let (mut changes, mut blamed) = (0, 0);
    for seed in 2_000_000..2_000_030 {
        let mut scenario = Scenario::of(seed);
        scenario.setting.parameters.watchdog = true;
        scenario.clients.iter_mut().for_each(|load| (load.commands, load.in_flight) = (100, 6));
        let mut world = World::new(&scenario.setting);
        let run = scenario.examine(&mut world);
        assert!(run.violation.is_none() && run.verdict.is_good(), "seed {seed}: {}", run.verdict);
        let counters = world.nodes().iter().map(|node| node.replica().counters());
        let (left, slow) = counters.fold((0, 0), |(left, slow), counters| {
            (left + counters.view_changes, slow + counters.slow_primaries)
        });
        (changes, blamed) = (changes + left, blamed + slow);
    }
    println!("{changes} views left, {blamed} of them because of the rate");
    assert!(changes > 0 && blamed <= changes / 4);
}

/// Whether the primary has to go for it: then soon, and the window is of use again.
fn abused(sin: &str) -> (Lab, u64) {
    let mut lab = cluster();
    lab.corrupt(0, &[sin]);
    let took = answered_in(&mut lab, 8);
    println!("{sin}: {} lies, {took} us, view {}", lab.lies(0), newest_open_view(&lab));
    assert!(lab.lies(0) > 0, "{sin}: no lie was told");
    (lab, took)
}

#[test]
fn d11_who_leaves_gaps_or_orders_nothing_fills_them_or_loses_its_seat_and_the_window_recovers() {
    for sin in ["jump-watermark", "null-only"] {
        let (mut lab, took) = abused(sin);
        // A gap may be filled in time, by its own later proposals; an order of nothing is never of use.
        let view = newest_open_view(&lab);
        assert!(view == View(1) || (view == View(0) && sin == "jump-watermark"), "{sin}: {view}");
        assert!(took <= 4 * T0, "{sin}: {took} us");
        // Several windows later everything is as if nothing had been.
        let executed = lab.executed();
        let calm = answered_in(&mut lab, 200);
        assert!(lab.executed() > executed && calm < 40 * T0);
        lab.await_that("the window moves on", 8 * T0, |lab| {
            let (low, _) = lab.replica(1).watermarks();
            low > Seq(executed)
        });
        assert!(newest_open_view(&lab) <= View(1), "{sin}: nobody else lost a seat");
    }
}

#[test]
fn d11_requests_that_are_ordered_twice_cost_slots_and_execute_once() {
    let (lab, took) = abused("duplicate-requests");
    assert!(took <= 8 * T0, "{took} us");
    // That each executed once is what every answer is compared with.
    assert!(lab.executed() > 0);
}
