//! Disks that lose writes, tear them, rot and put them elsewhere.

use quorate_apps::counter;
use quorate_host::disk::{Crash, MemoryDisk};
use quorate_host::folder::format_folder;
use quorate_host::journal::{Durability, Reserve, Shape};
use quorate_host::start::{Life, Started, begin};
use quorate_host::superblock::Identity;
use quorate_protocol::application::machine;
use quorate_protocol::certificate::Certificate;
use quorate_protocol::codec::List;
use quorate_protocol::message::Checkpoint;
use quorate_protocol::parameters::Context;
use quorate_protocol::process::{Effect, Record};
use quorate_protocol::types::{Digest, ReplicaId, Seq, Time};
use quorate_sim::damage::{Damage, Part, Rot};
use quorate_sim::network::Profile;
use quorate_sim::rng::Rng;
use quorate_sim::scenario::{Load, Outcome, Scenario};
use quorate_sim::world::{Fault, Injected, Outage, Setting, Whom, World};

/// A cluster under load whose links lose a little, so that votes are sent again after restarts.
fn busy(seed: u64) -> Scenario {
    let mut setting = Setting::calm(4);
    setting.seed = seed;
    setting.profile = Profile { jitter_us: 2_000, loss: 20_000, ..Profile::calm(500) };
    setting.parameters.timeout_us = 150_000;
    setting.parameters.timeout_max_us = 600_000;
    setting.parameters.checkpoint_interval = 12;
    setting.parameters.window = 32;
    setting.parameters.pipeline_depth = 4;
    setting.parameters.batch_requests_max = 2;
    setting.costs.write_us = 2_000;
    setting.costs.store_us = 2_000;
    let load = Load { commands: 60, in_flight: 4, bundle: 2, think_us: 2_000, ..Load::default() };
    Scenario { setting, faults: Vec::new(), heal_at: Time(1_600_000), clients: vec![load] }
}

fn outcome(what: &str, scenario: &Scenario) -> Outcome {
    let mut world = World::new(&scenario.setting);
    let outcome = scenario.run_in(&mut world);
    let outcome = outcome.unwrap_or_else(|violation| panic!("{what}: {violation}"));
    assert!(outcome.accepted == 60, "{what}: {outcome:?}");
    outcome
}

fn at(rng: &mut Rng) -> Time {
    Time(rng.between(1_050_000, 1_400_000))
}

#[test]
fn c8_writes_that_a_power_cut_loses_or_tears_were_never_promised() {
    let mut all = Injected::default();
    for seed in 0..24 {
        let mut rng = Rng::new(seed);
        let mut scenario = busy(seed);
        for _ in 0..4 {
            let left = match rng.below(3) {
                0 => Crash::Forget,
                _ => Crash::Some { mask: rng.any(), torn: usize::try_from(rng.below(600)).unwrap_or(0) },
            };
            let whom = match rng.below(3) {
                0 => Whom::Everyone,
                1 => Whom::Primary,
                _ => Whom::One(ReplicaId(u16::try_from(rng.below(4)).unwrap_or(0))),
            };
            let outage = Outage { left, ..Outage::clean(rng.below(30_000)) };
            scenario.faults.push((at(&mut rng), Fault::Outage(whom, outage)));
        }
        let outcome = outcome(&format!("power cuts of seed {seed}"), &scenario);
        assert_eq!(outcome.injected.restarts, outcome.injected.outages, "a power cut damages nothing");
        all += outcome.injected;
    }
    assert!(all.power_cuts > 100 && all.unsynced > 30, "nothing was lost: {all:?}");
}

/// Damages one part of one replica's disk in one way, again and again in other places.
fn spoil(part: Part, rot: Rot, seeds: u64) -> Injected {
    let mut all = Injected::default();
    for seed in 0..seeds {
        let mut rng = Rng::new(seed);
        let mut scenario = busy(seed);
        let victim = ReplicaId(u16::try_from(rng.below(4)).unwrap_or(0));
        let damage = Damage { rot, part, seed: rng.any() };
        let outage = Outage { damage: Some(damage), ..Outage::clean(rng.below(30_000)) };
        scenario.faults.push((at(&mut rng), Fault::Outage(Whom::One(victim), outage)));
        all += outcome(&format!("{rot:?} of {part:?}, seed {seed}"), &scenario).injected;
    }
    println!("{rot:?} of {part:?}: {all:?}");
    assert!(all.damaged * 2 > seeds, "hardly any disk was damaged: {all:?}");
    assert_eq!(all.repaired + all.refused, all.outages, "somebody was forgotten: {all:?}");
    all
}

#[test]
fn c8_rot_anywhere_is_repaired_or_keeps_the_replica_from_voting() {
    for part in [Part::Journal, Part::Superblock] {
        for rot in [Rot::Flips(1), Rot::Misdirected, Rot::Lost] {
            let all = spoil(part, rot, 6);
            assert!(all.repaired > all.boxed, "what is written twice survives rot in one place: {all:?}");
        }
        spoil(part, Rot::Flips(12), 6);
        // What is lost in every copy was promised to somebody.
        let all = spoil(part, Rot::Copies, 8);
        assert!(all.refused + all.boxed > 0, "{part:?} is not needed: {all:?}");
    }
    let mut states = Injected::default();
    for rot in [Rot::Flips(3), Rot::Lost] {
        states += spoil(Part::Snapshot, rot, 6);
    }
    assert!(states.restarts > 0 && states.refused == 0, "a state is somebody else's too: {states:?}");
}

/// What a folder holds of a replica that executed slot 1 otherwise than a quorum did, and noticed.
fn diverged(context: &Context) -> (MemoryDisk, Life) {
    let identity = Identity {
        cluster: context.cluster,
        replica: ReplicaId(0),
        key: World::secret_of(ReplicaId(0)).public(),
    };
    let life = Life { context: context.clone(), identity, durability: Durability::Sync };
    let mut disk = MemoryDisk::new();
    let shape = Shape::of(&context.parameters, context.committee.size());
    format_folder(&mut disk, identity, shape, Reserve::Records).expect("the folder is empty");
    let started = begin(disk, life.clone(), machine(counter::Counter::default()), Time(1));
    let (started, mut store) = started.expect("it was only formatted");
    let Started { mut executor, mut journal, mut writer, .. } = started;
    executor.execute(Seq(1), None);
    let state = executor.checkpoint().expect("a counter is small");
    let pointer = store.save(&state).expect("the disk works");
    writer.point_to(pointer).expect("the disk works");
    let statement = Checkpoint { seq: Seq(1), root: Digest([9; 32]), epoch_end: Seq::MAX };
    journal.append(&Record::Stable(Certificate { statement, signatures: List(Vec::new()) }), None);
    writer.write(&journal.take_group().expect("a record waits"), true).expect("the disk works");
    (writer.close().expect("the disk works"), life)
}

#[test]
fn c10_a_state_that_contradicts_its_certificate_is_not_started_from_but_fetched_anew() {
    let world = World::new(&Setting::calm(4));
    let (disk, life) = diverged(world.context());
    let started = begin(disk, life, machine(counter::Counter::default()), Time(2));
    let (started, _) = started.expect("a state is not its own alone");
    let Started { executor, effects, lost_state, replica, .. } = started;
    let from = (lost_state, executor.executed());
    assert_eq!(from, (Some(Seq(1)), Seq(0)), "it starts from a state that its certificate contradicts");
    assert!(replica.behind());
    assert!(
        effects.iter().any(|effect| matches!(effect, Effect::Install(_))),
        "it asks for the certified state"
    );
}
