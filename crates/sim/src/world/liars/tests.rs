//! Every lie that there is, told by f of n replicas with their real keys: the others stay safe, and serve everybody.

use quorate_host::byzantine::NAMES;
use quorate_protocol::types::Time;

use super::*;
use crate::network::Cut;
use crate::scenario::{Load, Scenario, describe};
use crate::world::{Fault, Outage, Setting, Whom};

/// When everything is well but the liars.
const HEALED: Time = Time(4_000_000);

/// Small windows, so that checkpoints and states matter; two clients that ask all the time.
fn scenario(replicas: u16, seed: u64) -> Scenario {
    let mut setting = Setting::calm(replicas);
    setting.seed = seed;
    let parameters = &mut setting.parameters;
    (parameters.checkpoint_interval, parameters.window) = (8, 16);
    (parameters.timeout_us, parameters.timeout_max_us) = (300_000, 2_400_000);
    parameters.batch_requests_max = 4;
    setting.profile.jitter_us = 500;
    setting.costs.write_us = 500;
    let load = Load { commands: 40, in_flight: 3, bundle: 1, think_us: 200_000, ..Load::default() };
    Scenario { setting, faults: Vec::new(), heal_at: HEALED, clients: vec![load; 2] }
}

/// A primary that sleeps, so that views change.
fn sleeps(scenario: &mut Scenario, id: u16) {
    scenario.faults.push((Time(1_300_000), Fault::Pause(ReplicaId(id), Time(2_300_000))));
}

/// A replica that is cut off from the others, and needs what they have when it is back.
fn is_cut_off(scenario: &mut Scenario, id: u16) {
    let (one, rest) = (1 << id, ((1 << scenario.setting.replicas) - 1) & !(1 << id));
    let (start, end) = (Time(1_100_000), Time(3_900_000));
    scenario.setting.cuts =
        [(one, rest), (rest, one)].map(|(from, to)| Cut { from, to, start, end }).to_vec();
}

/// Lets replicas lie until everybody is served; how many lies each told.
fn lives(scenario: &Scenario, liars: &[(u16, &str)]) -> Vec<u64> {
    let mut scenario = scenario.clone();
    for (id, text) in liars {
        let sins = text.split(' ').map(|sin| sin.parse().unwrap()).collect();
        scenario.setting.liars.insert(ReplicaId(*id), sins);
    }
    let mut world = World::new(&scenario.setting);
    let outcome = scenario.run_in(&mut world);
    let outcome = outcome.unwrap_or_else(|violation| {
        panic!(
            "{liars:?} of {}, seed {}: {violation}{}",
            scenario.setting.replicas,
            scenario.setting.seed,
            describe(&world)
        )
    });
    assert_eq!(outcome.accepted, 80, "{liars:?}");
    let told = world.lies();
    liars.iter().map(|(id, _)| told[&ReplicaId(*id)].values().sum()).collect()
}

/// What has to happen for this lie to be told at all.
fn occasion(name: &str, scenario: &mut Scenario, liar: u16) {
    let last = scenario.setting.replicas - 1;
    match name {
        "wrong-view-change" | "stale-certificates" | "two-new-views" => sleeps(scenario, 0),
        "bad-chunks" | "stall-transfer" | "shrink-transfer" => {
            is_cut_off(scenario, last - u16::from(liar == last))
        }
        _ => {}
    }
}

/// Who tells it: as primary what a primary tells, as backup the rest.
fn teller(name: &str) -> u16 {
    match name {
        "equivocate" | "withhold-bodies" | "censor" | "duplicate-requests" | "null-only"
        | "jump-watermark" | "twins" => 0,
        _ => 1,
    }
}

fn one_liar_of(replicas: u16, name: &str, seeds: std::ops::Range<u64>) {
    let mut lies = 0;
    for seed in seeds {
        let (mut scenario, liar) = (scenario(replicas, seed), teller(name));
        occasion(name, &mut scenario, liar);
        lies += lives(&scenario, &[(liar, name)])[0];
    }
    println!("{name}: {lies} lies among {replicas}");
    assert!(lies > 0, "{name} was told among {replicas}");
}

fn every_lie_of(replicas: u16) {
    for (name, _) in NAMES {
        one_liar_of(replicas, name, 1..3);
    }
}

#[test]
fn one_liar_of_four_is_borne_whatever_the_lie() {
    every_lie_of(4);
}

#[test]
fn one_liar_of_six_is_borne_whatever_the_lie() {
    every_lie_of(6);
}

#[test]
fn two_liars_of_seven_are_borne_whatever_they_both_tell() {
    for (name, _) in NAMES {
        let mut scenario = scenario(7, 5);
        occasion(name, &mut scenario, 1);
        let told = lives(&scenario, &[(0, name), (1, name)]);
        println!("{name}: {told:?} lies among 7");
        assert!(told.iter().sum::<u64>() > 0, "{name}");
    }
}

#[test]
fn liars_who_do_several_things_at_once_are_borne() {
    for (seed, sins) in (1..).zip([
        "equivocate equivocate-commit wrong-view-change two-new-views",
        "twins delay:by=30ms,probability=0.5 broken-bytes:probability=0.1",
        "flood replay-old rush-view-changes forged-certificates",
        "equivocate-prepare stale-certificates colluding-replies bad-chunks",
        "jump-watermark duplicate-requests withhold-bodies:to=2 mute:kinds=commit",
        "censor null-only:until=2s equivocate-checkpoint lying-replies",
    ]) {
        let mut scenario = scenario(7, seed);
        sleeps(&mut scenario, 0);
        let told = lives(&scenario, &[(1, sins), (3, sins)]);
        assert!(told.iter().all(|told| *told > 0), "{sins}: {told:?}");
    }
}

#[test]
fn a_liar_that_dies_lies_again_when_it_is_back_and_its_lies_are_summed() {
    let outage = Outage::clean(300_000);
    for name in ["equivocate", "twins", "wrong-digest", "jump-watermark", "duplicate-requests"] {
        let mut scenario = scenario(4, 3);
        scenario.faults.push((Time(1_500_000), Fault::Outage(Whom::One(ReplicaId(0)), outage)));
        scenario.setting.liars.insert(ReplicaId(0), vec![name.parse().unwrap()]);
        let mut world = World::new(&scenario.setting);
        scenario.run_in(&mut world).unwrap();
        assert_eq!(world.injected().restarts, 1);
        let last: u64 = world.node(ReplicaId(0)).lies().values().sum();
        let whole: u64 = world.lies()[&ReplicaId(0)].values().sum();
        assert!(whole > last, "{name}: {whole} lies in both lives, {last} in the second");
    }
}

#[test]
fn a_seed_gives_the_same_lies_again_and_another_one_others() {
    let run = |seed| {
        let mut scenario = scenario(4, seed);
        let sins = ["equivocate:probability=0.5", "broken-bytes:probability=0.05", "flood:rate=200"];
        let sins = sins.map(|sin| sin.parse().unwrap()).to_vec();
        scenario.setting.liars.insert(ReplicaId(0), sins);
        let mut world = World::new(&scenario.setting);
        let outcome = scenario.run_in(&mut world).unwrap();
        (outcome.hash, world.lies())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).0, run(2).0);
}

#[test]
fn a_lie_is_told_when_and_where_its_triggers_say_and_nowhere_else() {
    let told = |sin: &str| lives(&scenario(4, 1), &[(0, sin)])[0];
    assert_eq!(told("mute:view=7"), 0);
    assert_eq!(told("mute:after=3600s"), 0);
    assert_eq!((told("equivocate:seq=3,view=0,to=1"), told("equivocate:seq=3..5,view=0,to=1+2")), (1, 4));
    let (always, seldom) = (told("delay:by=1ms"), told("delay:by=1ms,probability=0.1"));
    assert!(seldom * 5 < always && seldom * 20 > always, "{seldom} of {always}");
    assert!(told("mute:to=2,until=500ms") > 0);
}

#[test]
fn f_colluding_answers_are_not_believed_and_more_are() {
    let told = lives(&scenario(7, 1), &[(1, "colluding-replies"), (2, "colluding-replies")]);
    assert!(told.iter().all(|told| *told >= 80));
    // f + 1 who tell the same can make a client believe anything; who lies by himself is not believed by anybody.
    for (sin, believed) in [("colluding-replies", 1), ("lying-replies", 0)] {
        let mut world = World::new(&scenario(4, 1).setting);
        let client = world.add_client(|_| {}).unwrap();
        world.run_until(Time(1_500_000)).unwrap();
        let before = world.accepted();
        (1..4).for_each(|id| world.corrupt(ReplicaId(id), &[sin.parse().unwrap()]));
        world.ask(client, b"put a 1").unwrap();
        world.run_until(Time(3_000_000)).unwrap();
        assert_eq!(world.accepted() - before, believed, "{sin}");
    }
}
