//! F5: whoever signs two things that exclude each other is proven to have lied, in a file that needs nothing but the
//! cluster's keys; and nobody else ever is, whatever happens to his process and his disk.

use std::collections::BTreeSet;
use std::sync::Arc;

use quorate_host::accusations::Exhibit;
use quorate_protocol::accusation::Offence;
use quorate_protocol::certificate::Certificate;
use quorate_protocol::codec::{self, List};
use quorate_protocol::message::{Commit, NamedViewChange, NewView, PeerMessage, Prepare, ViewChange};
use quorate_protocol::signed::{Signed, Signer, Statement};
use quorate_protocol::types::{Digest, ReplicaId, Time, View};
use quorate_sim::network::{Cut, Profile};
use quorate_sim::scenario::{Load, Scenario};
use quorate_sim::world::{Injected, Outage, Passed, World};

use super::lab::{Lab, T0, calm, number};

/// Runs without a liar: as many as fit the gate, and the nightly number of them.
const RUNS: u64 = 120;
const RUNS_NIGHTLY: u64 = 10_000;

/// A cluster of four under some load, with a liar. Links are a little uneven, so that votes come in any order.
fn with_liar(liar: u16, sin: &str, seed: u64) -> Scenario {
    let mut setting = calm(4, seed);
    setting.profile = Profile { jitter_us: 3_000, ..Profile::calm(1_000) };
    setting.parameters.timeout_max_us = 4 * T0;
    setting.liars.insert(ReplicaId(liar), vec![sin.parse().unwrap()]);
    let load = Load { commands: 40, in_flight: 4, bundle: 1, think_us: 20_000, ..Load::default() };
    Scenario { setting, faults: Vec::new(), heal_at: Time(4_000_000), clients: vec![load; 2] }
}

/// The same while its first primary hears and is heard by nobody for a while, so that a view changes.
fn and_a_view_change(mut scenario: Scenario) -> Scenario {
    let (start, end) = (Time(1_150_000), Time(3_500_000));
    let cut = |from, to| Cut { from, to, start, end };
    scenario.setting.cuts = vec![cut(0b0001, 0b1110), cut(0b1110, 0b0001)];
    scenario
}

/// What was proven of whom at the end, by everything that honest replicas stored; each file was checked by itself.
fn proven(world: &World) -> BTreeSet<(Offence, u16)> {
    let honest = world.nodes().iter().filter(|node| !world.is_liar(node.id()));
    let stored = honest.flat_map(|node| node.store().accusations().unwrap());
    let check = |(culprit, offence, exhibit): (ReplicaId, Offence, Result<Exhibit, _>)| {
        let bytes = exhibit.unwrap().encode().unwrap();
        Exhibit::decode(&bytes).unwrap().check(world.context()).unwrap();
        (offence, culprit.0)
    };
    stored.map(check).collect()
}

/// Lets it happen; the lie must have been told, nothing but that may be wrong, and it is proven.
fn convicted(scenario: &Scenario, offence: Offence) {
    let (liar, sins) = scenario.setting.liars.first_key_value().unwrap();
    let mut world = World::new(&scenario.setting);
    let run = scenario.examine(&mut world);
    assert_eq!(run.violation, None, "{sins:?}");
    assert!(run.verdict.is_good() && run.verdict.accountable.held(), "{sins:?}\n{}", run.verdict);
    assert!(run.outcome.lies_told() > 0, "{sins:?} was never told");
    let found = proven(&world);
    assert!(found.contains(&(offence, liar.0)), "{sins:?}: {found:?}, {:?}", run.outcome.lies);
    assert!(found.iter().all(|(_, culprit)| *culprit == liar.0), "{found:?}");
    assert_eq!(run.accused, [liar.0]);
}

#[test]
fn f5_two_proposals_and_two_votes_are_proven_though_nobody_was_sent_both() {
    for seed in 0..3 {
        for (liar, sin, offence) in [
            (0, "equivocate", Offence::Prepares),
            (3, "equivocate-prepare", Offence::Prepares),
            (3, "equivocate-commit", Offence::Commits),
        ] {
            convicted(&with_liar(liar, sin, seed), offence);
        }
    }
}

#[test]
fn f5_two_states_are_proven_though_nobody_was_told_both() {
    for seed in 0..3 {
        let mut scenario = with_liar(3, "equivocate-checkpoint", seed);
        let parameters = &mut scenario.setting.parameters;
        (parameters.checkpoint_interval, parameters.window) = (8, 64);
        convicted(&scenario, Offence::Checkpoints);
    }
}

#[test]
fn f5_a_view_change_that_withholds_and_two_new_views_are_proven() {
    for seed in 0..3 {
        convicted(&and_a_view_change(with_liar(3, "wrong-view-change", seed)), Offence::Withheld);
        convicted(&and_a_view_change(with_liar(1, "two-new-views", seed)), Offence::NewViews);
    }
}

#[test]
fn f5_twins_with_one_key_are_proven_to_be_two() {
    for seed in 0..3 {
        let scenario = with_liar(0, "twins", seed);
        let mut world = World::new(&scenario.setting);
        let run = scenario.examine(&mut world);
        assert_eq!(run.violation, None);
        assert!(run.verdict.is_good(), "{}", run.verdict);
        assert!(run.outcome.lies_told() > 0, "the two never said different things");
        assert_eq!(run.accused, [0], "{:?}", run.outcome.lies);
    }
}

/// Signs in the name of a replica of this world.
fn signed<S: Statement>(lab: &Lab, id: u16, body: S) -> Signed<S> {
    let context = lab.world.context();
    let key = Arc::new(World::secret_of(ReplicaId(id)));
    Signer::new(key, context.cluster, context.epoch, ReplicaId(id)).sign(body).into_inner()
}

/// The certificate of something that a replica of this world committed to.
fn some_certificate(lab: &mut Lab) -> Certificate<Prepare> {
    let passed = lab.world.take_passed().into_iter();
    let frames = passed
        .filter_map(|(_, passed)| if let Passed::Frame { frame, .. } = passed { Some(frame) } else { None });
    let messages = frames.filter_map(|frame| codec::decode::<PeerMessage>(&frame).ok());
    let mut commits = messages
        .filter_map(|message| if let PeerMessage::Commit(vote) = message { Some(vote) } else { None });
    let Commit { view, seq, digest } = commits.next().unwrap().body;
    let prepare = Prepare { view, seq, digest };
    // One signs one thing always in one way: these are their votes.
    let signatures = (0..3).map(|id| (ReplicaId(id), signed(lab, id, prepare).signature)).collect();
    Certificate { statement: prepare, signatures: List(signatures) }
}

#[test]
fn f5_two_view_changes_of_which_each_replica_was_sent_one_are_proven_when_the_view_opens() {
    let mut lab = Lab::new(&calm(4, 5), 1);
    lab.world.keep_passed();
    lab.ask(0, "put a 1");
    lab.await_that("it is answered", 10 * T0, Lab::is_answered);
    let certificate = some_certificate(&mut lab);
    lab.world.stop_passed();
    // Replica 3 says nothing of its own any more.
    lab.world.distrust(ReplicaId(3));
    lab.cut(0b1000, 0b0111);
    let leaves = |shown| ViewChange { view: View(1), stable: None, prepared: List(shown) };
    let (one, other) = (signed(&lab, 3, leaves(Vec::new())), signed(&lab, 3, leaves(vec![certificate])));
    for (to, message) in [(0, &one), (1, &one), (2, &other)] {
        let named = Arc::new(NamedViewChange::from(message.clone()));
        lab.world.inject(ReplicaId(3), ReplicaId(to), &PeerMessage::ViewChange(named));
    }
    lab.run(10_000);
    let only_withheld =
        |lab: &Lab| proven(&lab.world).iter().all(|(offence, _)| *offence == Offence::Withheld);
    assert!(only_withheld(&lab), "nobody knows of both: {:?}", proven(&lab.world));
    // The primary falls silent; the others change the view, and replica 1 opens the next.
    lab.stop(Some(0), None, "pre-prepare", false);
    lab.ask(0, "put b 2");
    lab.await_that("the view changes and opens", 40 * T0, |lab| lab.members(View(1)) >= 3);
    let found = |lab: &Lab| proven(&lab.world).contains(&(Offence::ViewChanges, 3));
    lab.await_that("replica 3 is accused", 10 * T0, found);
    assert_eq!(lab.world.accused(), BTreeSet::from([ReplicaId(3)]));
}

#[test]
fn f5_a_proof_that_is_shown_to_one_replica_is_stored_once_and_survives_its_restart() {
    let mut lab = Lab::new(&calm(4, 6), 1);
    lab.world.distrust(ReplicaId(3));
    let named = |digest: u8| {
        let of = |id| (ReplicaId(id), Digest([digest; 32]));
        NewView { view: View(3), view_changes: List(vec![of(0), of(1), of(2)]) }
    };
    for digest in [1, 2, 3, 4] {
        let message = signed(&lab, 3, named(digest));
        lab.world.inject(ReplicaId(3), ReplicaId(1), &PeerMessage::NewView(message));
        lab.run(20_000);
    }
    let accused = |lab: &Lab| lab.world.node(ReplicaId(1)).host().accused().clone();
    assert_eq!(accused(&lab), BTreeSet::from([(Offence::NewViews, ReplicaId(3))]));
    let before = lab.world.node(ReplicaId(1)).store().accusations().unwrap();
    lab.world.go_down(ReplicaId(1), Outage::clean(100_000)).unwrap();
    lab.run(500_000);
    assert_eq!(lab.world.injected().restarts, 1);
    assert_eq!(accused(&lab), BTreeSet::from([(Offence::NewViews, ReplicaId(3))]), "it is not forgotten");
    let again = [signed(&lab, 3, named(5)), signed(&lab, 3, named(6))];
    for message in again {
        lab.world.inject(ReplicaId(3), ReplicaId(1), &PeerMessage::NewView(message));
    }
    lab.run(50_000);
    assert_eq!(lab.world.node(ReplicaId(1)).store().accusations().unwrap(), before, "nor written again");
    assert!(lab.world.check_accusations().is_ok());
}

#[test]
fn f5_nobody_is_accused_in_runs_with_restarts_and_amnesia_and_no_liar() {
    let nightly = number("QUORATE_NIGHTLY").is_some();
    let runs = if nightly { RUNS_NIGHTLY } else { RUNS };
    let (mut injected, mut views, mut transfers) = (Injected::default(), 0, 0);
    for seed in 0..runs {
        let mut scenario = Scenario::of(700_000 + seed);
        scenario.setting.liars.clear();
        let mut world = World::new(&scenario.setting);
        let outcome =
            scenario.run_in(&mut world).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        assert!(world.accused().is_empty(), "seed {seed}: {:?}", world.accused());
        injected += outcome.injected;
        views += outcome.view;
        transfers += outcome.transfers;
    }
    println!("{runs} runs, {views} views, {transfers} states fetched, nobody accused; {injected:?}");
    let Injected { restarts, unsynced, boxed, repaired, repeated, .. } = injected;
    assert!(restarts > runs / 2 && unsynced > runs / 20 && repaired > 0, "{injected:?}");
    assert!(boxed > 0 && repeated > 0 && views > runs / 5, "{injected:?}, {views} views");
}
