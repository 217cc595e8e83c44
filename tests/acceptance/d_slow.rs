//! D10, D11: primaries that do as little as they may.

use quorate_protocol::types::{Seq, View};

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

// There is no watchdog for the rate of a primary that serves everybody: it keeps its seat, because views would change
// for ever where the network is as slow as it. What it can do is bounded, and this is the bound.
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
