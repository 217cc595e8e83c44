//! D10, D11: primaries that do as little as they may.

use quorate_protocol::types::{ReplicaId, Seq, View};
use quorate_sim::network::Profile;
use quorate_sim::scenario::Scenario;
use quorate_sim::world::{Setting, World};

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

/// A cluster whose replicas look after the rate of their primaries.
fn watched(replicas: u16, tune: impl Fn(&mut Setting)) -> Lab {
    let mut setting = calm(replicas, 1);
    setting.parameters.watchdog = true;
    tune(&mut setting);
    let mut lab = Lab::of(World::new(&setting));
    lab.register(4, |options| options.bundle_max = 1);
    lab
}

/// One that orders some 500 calls a second at most, whoever asks.
fn guarded(replicas: u16) -> Lab {
    watched(replicas, |setting| {
        (setting.parameters.batch_requests_max, setting.parameters.pipeline_depth) = (8, 1);
        setting.profile = Profile::calm(5_000);
    })
}

/// One as it comes: batches and a pipeline of the usual size, on links of which none is like the other.
fn usual(replicas: u16) -> Lab {
    watched(replicas, |setting| setting.profile = Profile { jitter_us: 3_000, ..Profile::calm(4_000) })
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

/// Stretches of time that were held against primaries, by all replicas together.
fn judged(lab: &Lab) -> u64 {
    lab.world.nodes().iter().map(|node| node.replica().counters().slices_judged).sum()
}

/// A primary that is slow by so much with each proposal.
fn late_by(microseconds: u64) -> String {
    format!("delay:by={}ms,kinds=pre-prepare", microseconds / 1_000)
}

#[test]
fn d10_with_a_watchdog_primaries_that_delay_every_proposal_lose_their_seats_to_one_that_does_not() {
    for (mut lab, replicas, by) in
        [(guarded(4), 4, 9 * T0 / 10), (guarded(7), 7, 9 * T0 / 10), (usual(4), 4, 4 * T0 / 5)]
    {
        employ(&mut lab, 8);
        let calm = answers(&mut lab, 2 * T0);
        let delay = late_by(by);
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

// A client asks everybody after three fifths of T0; what it bears until then reaches no replica that could hold it
// against the primary. This is what is left: what is out is served about once in each delay.
#[test]
fn d10_delays_that_clients_bear_are_noticed_by_nobody_and_all_calls_that_are_out_are_served_in_each() {
    for by in [60_000, 100_000, 150_000] {
        let mut lab = usual(4);
        employ(&mut lab, 8);
        lab.run(4 * T0);
        lab.corrupt(0, &[&late_by(by)]);
        lab.run(4 * T0);
        let floor = answers(&mut lab, 10 * T0);
        let most = 32 * 10 * T0 / by;
        println!("{by} us: {floor} calls of {most}");
        assert!(floor <= most && floor * 2 >= most, "{by} us: {floor} of {most}");
        assert_eq!((judged(&lab), complaints(&lab), newest_open_view(&lab)), (0, 0, View(0)));
    }
}

// Each batch is kept from one backup until it has committed there, so that each of them knows for a while of a batch of
// which it cannot say how much it is.
#[test]
fn d10_who_keeps_each_batch_from_one_backup_in_turn_is_as_slow_as_it_is() {
    let mut lab = guarded(4);
    employ(&mut lab, 8);
    lab.run(2 * T0);
    let next = lab.executed() + 5;
    let kept = |at| format!("withhold-bodies:to={},seq={}..{}", 1 + at % 3, next + at, next + at + 1);
    let sins: Vec<String> = std::iter::once(late_by(9 * T0 / 10)).chain((0..200).map(kept)).collect();
    lab.corrupt(0, &sins.iter().map(String::as_str).collect::<Vec<_>>());
    lab.await_that("it loses its seat", 30 * T0, |lab| newest_open_view(lab) == View(1));
    println!("{:?}", lab.world.lies());
    assert!(complaints(&lab) >= 2 && lab.world.lies()[&ReplicaId(0)]["withhold-bodies"] > 5);
}

// A call takes a third of T0 here, so a slice has three batches or two; the best of them has more than any rate that
// lasts. And what was missed of the votes once comes at once, more than any slice brings.
#[test]
fn d10_a_watchdog_unseats_nobody_for_the_best_slice_or_for_what_was_caught_up_with() {
    let mut lab = watched(4, |setting| {
        (setting.parameters.batch_requests_max, setting.parameters.pipeline_depth) = (8, 1);
        setting.profile = Profile::calm(53_000);
    });
    employ(&mut lab, 60);
    lab.run(80 * T0);
    println!("{} judged, views {:?}", judged(&lab), lab.views());
    assert!(judged(&lab) > 100);
    assert_eq!((complaints(&lab), lab.view_changes()), (0, 0));

    let mut lab = guarded(4);
    employ(&mut lab, 8);
    lab.run(4 * T0);
    for id in 1..4 {
        lab.stop(None, Some(id), "commit", true);
        lab.run(9 * T0 / 10);
        lab.heal();
        lab.run(4 * T0);
    }
    let views = lab.views();
    employ(&mut lab, 60);
    lab.run(16 * T0);
    println!("{} judged, views {views:?}, then {:?}", judged(&lab), lab.views());
    assert!(judged(&lab) > 10);
    assert_eq!((complaints(&lab), lab.views()), (0, views));
}

// Loads of other shapes bring other rates, waits and pauses; none of that is the fault of a primary. Of 240 calls
// that are out many wait for longer than their clients have patience, and reach every replica; and the last client tells
// everybody of each call at once.
#[test]
fn d10_a_watchdog_lets_correct_primaries_keep_their_seats_while_the_load_rises_and_falls() {
    for (mut lab, narrow, most, long) in [(guarded(4), true, 60, 10 * T0), (usual(4), false, 16, 4 * T0)] {
        let mut done = Vec::new();
        for in_flight in [8, 1, most, 2, most, 1] {
            employ(&mut lab, in_flight);
            done.push(answers(&mut lab, long));
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
        println!(
            "{done:?} calls, {calls} that everybody knew of; {} judged, {:?}",
            judged(&lab),
            lab.views()
        );
        assert!(done[1] * 3 < done[0], "load fell");
        if narrow {
            assert!(done[2] * 2 < done[0] * 3, "load rose beyond what is served");
            assert!(judged(&lab) > 0, "nobody waited for long");
        }
        assert_eq!((complaints(&lab), lab.view_changes()), (0, 0));
    }
}

// The worlds of other rows, in which everything goes wrong at once: a watchdog makes none of them unsafe or stand still.
#[test]
fn d10_drawn_worlds_with_a_watchdog_hold_every_invariant_and_answer_every_request() {
    let (mut changes, mut blamed, mut judged) = (0, 0, 0);
    for seed in 2_000_000..2_000_080 {
        let mut scenario = Scenario::of(seed);
        scenario.setting.parameters.watchdog = true;
        scenario.clients.iter_mut().for_each(|load| (load.commands, load.in_flight) = (100, 6));
        let mut world = World::new(&scenario.setting);
        let run = scenario.examine(&mut world);
        assert!(run.violation.is_none() && run.verdict.is_good(), "seed {seed}: {}", run.verdict);
        for counters in world.nodes().iter().map(|node| node.replica().counters()) {
            changes += counters.view_changes;
            blamed += counters.slow_primaries;
            judged += counters.slices_judged;
        }
    }
    println!(
        "{changes} views left, {blamed} of them because of the rate, of which {judged} slices were judged"
    );
    assert!(changes > 0 && judged > 0 && blamed <= changes / 4);
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
