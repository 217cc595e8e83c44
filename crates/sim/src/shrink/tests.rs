//! What is left of a scenario that failed: few things, and all of them needed.

use quorate_protocol::types::{ReplicaId, Time};

use super::*;
use crate::scenario::Load;
use crate::world::{Fault, Outage, Rule, Setting, Whom, World};

const ALWAYS: &dyn Fn() -> bool = &|| true;

fn budget(runs_max: u64) -> Budget<'static> {
    Budget { runs_max, go_on: ALWAYS }
}

/// A seed's world in which more replicas stop for good than it tolerates, among all its other misfortunes.
fn overwhelmed(seed: u64) -> Scenario {
    let mut scenario = Scenario::of(seed);
    let f = quorate_protocol::committee::faults(scenario.setting.replicas.into());
    for id in 0..=u16::try_from(f).unwrap_or(0) {
        scenario.faults.push((Time(1_100_000 + u64::from(id)), Fault::Crash(ReplicaId(id))));
    }
    // Who fails waits for ever: as short as possible.
    scenario.setting.parameters.timeout_max_us = scenario.setting.parameters.timeout_us;
    scenario
}

fn crashes(scenario: &Scenario) -> usize {
    let crash = |(_, fault): &&(Time, Fault)| matches!(fault, Fault::Crash(_) | Fault::CrashPrimary);
    scenario.faults.iter().filter(crash).count()
}

#[test]
fn more_crashes_than_a_cluster_tolerates_shrink_to_just_these() {
    let failing = overwhelmed(11);
    let before = entries(&failing).len();
    let shrunk = shrink(&failing, &budget(400), Scenario::run).expect("it fails");
    assert!(matches!(shrunk.violation, Violation::NoProgress { .. }), "{shrunk}");
    assert!(shrunk.minimal, "{shrunk}");
    let scenario = &shrunk.scenario;
    let f = quorate_protocol::committee::faults(scenario.setting.replicas.into());
    assert_eq!((crashes(scenario), scenario.faults.len()), (f + 1, f + 1), "{shrunk}");
    assert!(scenario.setting.cuts.is_empty() && scenario.clients.len() == 1, "{shrunk}");
    assert_eq!(scenario.clients[0].commands, 1, "{shrunk}");
    assert!(before > entries(scenario).len() + 3, "there was something to take out: {before}");
    for entry in entries(scenario) {
        let without = without(scenario, &[entry]);
        assert!(without.run().is_ok(), "{entry:?} is needed");
    }
    let told = shrunk.to_string();
    assert!(
        told.contains("then: ") && !told.contains("\n  replica "),
        "where each stands is told once: {told}"
    );
    let again = shrink(&failing, &budget(400), Scenario::run).expect("it fails");
    assert_eq!((again.runs, again.to_string()), (shrunk.runs, shrunk.to_string()), "deterministic");
}

#[test]
fn a_world_whose_commits_are_lost_needs_one_command_and_no_misfortune() {
    let mut failing = Scenario::of(3);
    failing.setting.parameters.timeout_max_us = failing.setting.parameters.timeout_us;
    let no_commits = |scenario: &Scenario| {
        let mut world = World::new(&scenario.setting);
        world.add_rule(Rule { from: None, to: None, kind: Some("commit".to_owned()), hold: false });
        scenario.run_in(&mut world)
    };
    let shrunk = shrink(&failing, &budget(400), no_commits).expect("nothing commits");
    let scenario = &shrunk.scenario;
    assert!(shrunk.minimal && entries(scenario).len() == 1, "{shrunk}");
    assert_eq!((scenario.setting.replicas, scenario.clients[0].commands), (4, 1), "{shrunk}");
    assert_eq!((scenario.setting.profile.loss, scenario.setting.profile.jitter_us), (0, 0), "{shrunk}");
}

#[test]
fn what_does_not_fail_is_not_shrunk_and_a_spent_budget_is_told() {
    assert!(shrink(&Scenario::of(1), &budget(10), Scenario::run).is_none());
    let shrunk = shrink(&overwhelmed(11), &budget(3), Scenario::run).expect("it fails");
    assert!(shrunk.runs <= 3 && !shrunk.minimal);
    assert!(shrunk.to_string().ends_with("(3 runs; the budget ended first)"), "{shrunk}");
    let no_time = Budget { runs_max: 100, go_on: &|| false };
    let shrunk = shrink(&overwhelmed(11), &no_time, Scenario::run).expect("it fails");
    assert_eq!((shrunk.runs, shrunk.minimal), (1, false), "one run says that it fails");
}

#[test]
fn fewer_replicas_are_tried_only_where_the_faults_stay_lawful() {
    let mut scenario = Scenario {
        setting: Setting::calm(7),
        faults: vec![(Time(2_000_000), Fault::Crash(ReplicaId(0)))],
        heal_at: Time(3_000_000),
        clients: vec![Load { commands: 1, in_flight: 1, bundle: 1, think_us: 0, ..Load::default() }],
    };
    let sizes = |scenario: &Scenario| -> Vec<u16> {
        let simpler = simpler(scenario).into_iter().map(|simpler| simpler.setting.replicas);
        simpler.filter(|n| *n < scenario.setting.replicas).collect()
    };
    assert_eq!(sizes(&scenario), [4, 5]);
    scenario.faults.push((Time(2_000_000), Fault::CrashPrimary));
    assert_eq!(sizes(&scenario), [0_u16; 0], "four replicas do not tolerate two faults");
    scenario.faults[0].1 = Fault::Outage(Whom::One(ReplicaId(6)), Outage::clean(5));
    assert_eq!(sizes(&scenario), [0_u16; 0], "the sixth is named");
}

#[test]
fn a_schedule_tells_what_happens_in_the_order_of_time() {
    let mut scenario = Scenario {
        setting: Setting::calm(4),
        faults: vec![
            (Time(2_000_000), Fault::Crash(ReplicaId(3))),
            (Time(1_250_000), Fault::Outage(Whom::Primary, Outage::clean(300_000))),
        ],
        heal_at: Time(3_000_000),
        clients: vec![Load { commands: 2, in_flight: 1, bundle: 1, think_us: 0, ..Load::default() }],
    };
    scenario.setting.cuts =
        vec![crate::network::Cut { from: 0b0001, to: 0b1110, start: Time(1_100_500), end: Time(2_500_000) }];
    let lines = schedule(&scenario);
    assert!(lines[0].starts_with("from 1.000 s: 4 replicas, seed 1;"), "{lines:?}");
    assert_eq!(lines[1..3], ["frames take 1 ms", "client 1 asks 2 commands, 1 at a time"]);
    assert_eq!(
        lines[3..],
        [
            "1.100500 s  frames from replica 0 to replicas 1, 2 and 3 are lost until 2.500 s",
            "  1.250 s  the primary crashes, and is started 300 ms later",
            "  2.000 s  replica 3 crashes for good",
            "  3.000 s  everything heals",
        ]
    );
}
