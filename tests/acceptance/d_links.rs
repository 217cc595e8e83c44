//! D3, D4, D8: links that are cut, that lose, and that flap.

use quorate_protocol::replica::Status;
use quorate_protocol::types::{ReplicaId, View};
use quorate_sim::network::Profile;
use quorate_sim::rng::Rng;

use super::lab::{Lab, T0, calm, newest_open_view};

/// Sets of the twelve links among four replicas: each link, all of one replica's one way or both ways, halves, all of
/// them, and some that chance picks. Bit 4 a + b is the link from a to b.
fn link_sets(random: usize) -> Vec<u64> {
    let link = |from: u64, to: u64| 1_u64 << (4 * from + to);
    let between = |from: u64, to: u64| {
        let links =
            (0..16).filter(|at| from >> (at / 4) & 1 == 1 && to >> (at % 4) & 1 == 1 && at / 4 != at % 4);
        links.fold(0, |set, at| set | 1 << at)
    };
    let mut sets: Vec<u64> =
        (0..4).flat_map(|from| (0..4).filter(move |to| from != *to).map(move |to| link(from, to))).collect();
    for one in 0..4 {
        let (alone, rest) = (1 << one, 0b1111 & !(1 << one));
        sets.extend([
            between(alone, rest),
            between(rest, alone),
            between(alone, rest) | between(rest, alone),
        ]);
    }
    for half in [0b0011, 0b0101, 0b1001] {
        sets.push(between(half, 0b1111 & !half) | between(0b1111 & !half, half));
    }
    sets.push(between(0b1111, 0b1111));
    let mut rng = Rng::new(3);
    sets.extend((0..random).map(|_| rng.any() & between(0b1111, 0b1111)));
    sets
}

/// Links are lost from the moment the first replica leaves its view. They heal, and nobody asks anything. Says whether
/// no new view had opened by then.
fn a_view_change_meets(links: u64, cut_us: u64) -> bool {
    let mut lab = Lab::quiet(&calm(4, links), 1);
    lab.cut(0b0001, 0b1110);
    lab.ask(0, "add k 1");
    lab.repeat(0, &[1, 2, 3]);
    lab.await_that("somebody leaves", 2 * T0, |lab| lab.view_changes() > 0);
    lab.heal();
    for at in (0..16).filter(|at| links >> at & 1 == 1) {
        lab.cut(1 << (at / 4), 1 << (at % 4));
    }
    let before = lab.stopped();
    lab.run(cut_us);
    assert!(lab.stopped() > before, "{links:04x}: nothing was lost");
    let waits = lab.executed() < 2;
    lab.heal();
    let most = 2 * lab.timeout();
    // A replica that waited for the new view alone may be one ahead; it follows by certificates.
    let all_executed = |lab: &Lab| {
        lab.executed() >= 2 && lab.alive().iter().all(|replica| replica.executed().0 == lab.executed())
    };
    let opened = |lab: &Lab| newest_open_view(lab) > View(0) && lab.members(newest_open_view(lab)) >= 3;
    let what = "a quorum is in a new view, and what was asked has executed everywhere";
    lab.await_that(what, most, |lab| opened(lab) && all_executed(lab));
    let executed = lab.executed();
    lab.ask(0, "add k 1");
    lab.await_that("it serves", 2 * T0, |lab| lab.executed() > executed);
    waits
}

// Would miss a loss of one message of many over a link that works; D4 has that. Links heal all at once here.
#[test]
fn d3_whatever_links_a_view_change_loses_it_ends_when_they_heal_without_new_traffic() {
    let sets = link_sets(120);
    let mut waiting = 0;
    for (index, links) in (0_u64..).zip(&sets) {
        waiting += usize::from(a_view_change_meets(*links, T0 / 5 + index * 37_000 % (6 * T0)));
    }
    println!("{} sets of links, {waiting} of which kept the view from opening", sets.len());
    assert!(waiting > sets.len() / 4, "only {waiting} of {} kept the view from opening", sets.len());
}

/// What a steady load over bad links came to.
struct Lossy {
    /// The largest gap between the fastest and the slowest replica, in slots.
    gap: u64,
    view_changes: u64,
    /// Batches that had to be asked for.
    fetches: u64,
}

/// A steady load over links that lose so many frames of a million, repeat and reorder.
fn lossy(loss: u64, seed: u64) -> Lossy {
    let mut setting = calm(4, seed);
    (setting.parameters.checkpoint_interval, setting.parameters.window) = (32, 128);
    // Three round trips of jitter, and stragglers that some fifty frames overtake.
    setting.profile = Profile {
        loss,
        duplication: 50_000,
        jitter_us: 6_000,
        stragglers: 20_000,
        straggle_us: 50_000,
        ..Profile::calm(1_000)
    };
    let mut lab = Lab::with(&setting, 2, |options| options.retry_timeout_max_us = 1_000_000);
    for client in 0..2 {
        lab.world.employ(client, 100, 2, 10_000);
    }
    let (mut gap, end) = (0, lab.world.now().plus(120 * T0));
    while !lab.is_answered() {
        assert!(lab.world.now() < end, "no progress with {loss} of a million lost");
        lab.run(5_000);
        let executed: Vec<u64> = lab.alive().iter().map(|replica| replica.executed().0).collect();
        gap = gap.max(executed.iter().max().unwrap() - executed.iter().min().unwrap());
    }
    lab.await_that("everybody catches up", 20 * T0, |lab| {
        lab.alive().iter().all(|replica| replica.executed().0 == lab.executed())
    });
    // A batch that must be asked for was lost on its way.
    let fetches = lab.alive().iter().map(|replica| replica.counters().fetches).sum();
    Lossy { gap, view_changes: lab.view_changes(), fetches }
}

// Would miss links that lose only frames of one size or kind. Frames are lost one by one; the batches among them, which
// had to be asked for, are counted.
#[test]
fn d4_five_percent_of_loss_change_no_view_and_twenty_stop_no_progress() {
    for (loss, gap_most, fetches_least) in [(10_000, 32, 3), (50_000, 48, 20), (200_000, 128, 60)] {
        let mut fetched = 0;
        for seed in 0..3 {
            let Lossy { gap, view_changes, fetches } = lossy(loss, seed);
            println!(
                "{loss} of a million lost: gap {gap} slots, {view_changes} view changes, {fetches} fetched"
            );
            assert!(loss > 50_000 || view_changes == 0, "{loss} lost, seed {seed}: {view_changes}");
            assert!(gap <= gap_most, "{loss} lost, seed {seed}: somebody lags {gap} slots");
            fetched += fetches;
        }
        assert!(fetched >= fetches_least, "{loss} lost: only {fetched} batches were");
    }
}

/// One replica's links fail one way again and again for a thousand timeouts.
fn flap(from: u64, to: u64) {
    let mut setting = calm(4, from);
    // Checkpoints pass while it is away; it misses a few slots each time, and no more than others still have.
    (setting.parameters.checkpoint_interval, setting.parameters.window) = (32, 128);
    let mut lab = Lab::new(&setting, 1);
    let mut rng = Rng::new(from);
    let end = lab.world.now().plus(1_000 * T0);
    lab.world.employ(0, 900, 1, 2 * T0);
    let mut flaps = 0;
    while lab.world.now() < end {
        lab.cut(from, to);
        lab.run(rng.between(T0 / 10, 3 * T0));
        lab.heal();
        lab.run(rng.between(T0 / 20, T0));
        flaps += 1;
        let views = lab.views();
        assert_eq!(views[..3], [0, 0, 0], "the others stay where they are");
        assert!(views[3] <= 1, "a lone replica does not run ahead: view {}", views[3]);
    }
    let stopped = lab.stopped();
    assert!(flaps > 300 && stopped > 200, "{flaps} flaps, {stopped} lost");
    lab.await_that("all is answered", 20 * T0, Lab::is_answered);
    lab.await_that("the flapper executes everything", 4 * T0, |lab| {
        lab.replica(3).executed().0 == lab.executed()
    });
    assert!(
        lab.executed() > 200
            && lab.world.nodes().iter().take(3).all(|node| { node.replica().counters().view_changes == 0 })
    );
    // Who hears everything has no reason to leave, however badly it is heard.
    let left = lab.replica(3).status() == Status::ViewChanging;
    assert_eq!(left, to == 0b1000, "a test of a replica that left alone, or of one that did not");
    // Without the first primary nothing commits unless the flapper votes.
    lab.world.crash(ReplicaId(0)).unwrap();
    lab.ask(0, "add k 1");
    lab.await_that("the next view serves", 4 * T0, Lab::is_answered);
    assert_eq!(lab.replica(3).view(), View(1));
    assert!(lab.count(&["3 -> all: COMMIT v1"]) > 0);
}

// Would miss two flappers at once, which with n = 4 are more than f.
#[test]
fn d8_a_lone_flapper_moves_nobody_executes_everything_and_votes_again_from_the_next_view_on() {
    flap(0b1000, 0b0111);
    flap(0b0111, 0b1000);
}
