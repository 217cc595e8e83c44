//! From a scenario to the tables of a file.

use quorate_host::disk::Crash;
use quorate_protocol::parameters::Parameters;
use quorate_protocol::types::Time;

use super::ScenarioFile;
use super::document::{
    Asking, Clocking, Clocks, Constants, Crashing, Document, Links, Lying, OneWay, Partition, Pausing, Roles,
    Spoiling, Spoilt, Unsynced, Where,
};
use super::values::{Bits, Micros, Offset, Placed, Share, Who};
use crate::damage::{Part, Rot};
use crate::network::Cut;
use crate::scenario::BEGINNING;
use crate::world::{Fault, Outage, Whom};

pub(super) fn write(file: &ScenarioFile) -> Document {
    let (scenario, setting) = (&file.scenario, &file.scenario.setting);
    let (profile, costs) = (setting.profile, setting.costs);
    let mut document = Document {
        about: file.about.clone(),
        replicas: setting.replicas.into(),
        seed: Bits(setting.seed),
        heal: time(scenario.heal_at).into(),
        check_every_signature: setting.check_every_signature,
        expect: file.expect.clone(),
        parameters: constants(&setting.parameters).map(Placed::from),
        network: Links {
            delay: Micros(profile.delay_us),
            jitter: Micros(profile.jitter_us),
            loss: Share(profile.loss),
            duplication: Share(profile.duplication),
            reordering: Share(profile.stragglers),
            reordering_delay: Micros(profile.straggle_us),
        },
        costs: Roles {
            verify: Micros(costs.verify_us),
            write: Micros(costs.write_us),
            execute: Micros(costs.execute_us),
            store: Micros(costs.store_us),
        },
        clocks: Clocks { epoch: Micros(setting.epoch_us), skew: Micros(setting.skew_us) },
        partition: Vec::new(),
        one_way: Vec::new(),
        crash: Vec::new(),
        disk: Vec::new(),
        clock: Vec::new(),
        pause: Vec::new(),
        byzantine: Vec::new(),
        client: Vec::new(),
    };
    for (id, sins) in &setting.liars {
        let lying = sins.iter().map(|sin| Lying { replica: id.0, behaviour: sin.to_string() }.into());
        document.byzantine.extend(lying);
    }
    add_cuts(&mut document, &setting.cuts);
    for (at, fault) in &scenario.faults {
        add_fault(&mut document, *at, *fault);
    }
    for load in &scenario.clients {
        let (in_flight, bundle) = (load.in_flight as u64, load.bundle as u64);
        let (commands, think, reads) = (load.commands, Micros(load.think_us), load.reads.into());
        let asking = Asking { commands, in_flight, bundle, think, reads };
        document.client.push(asking.into());
    }
    document
}

fn time(at: Time) -> Micros {
    Micros(at.since(BEGINNING))
}

/// What differs from the defaults.
fn constants(parameters: &Parameters) -> Option<Constants> {
    let (mut said, mut usual) = (parameters.clone(), Parameters::default());
    let mut differ = [None; 17];
    let none = Constants::default();
    let fields = none.fields(&mut said).into_iter().zip(none.fields(&mut usual));
    for (differs, ((said, _), (usual, _))) in differ.iter_mut().zip(fields) {
        *differs = (*said != *usual).then_some(*said);
    }
    let [
        checkpoint_interval,
        checkpoint_bytes,
        window,
        pipeline_depth,
        client_window,
        batch_bytes_max,
        batch_requests_max,
        operation_bytes_max,
        reply_bytes_max,
        reply_cache_bytes_max,
        sessions_per_client_max,
        sessions_max,
        pool_operations_max,
        pool_bytes_max,
        time_tolerance,
        timeout,
        timeout_max,
    ] = differ;
    let constants = Constants {
        checkpoint_interval,
        checkpoint_bytes,
        window,
        pipeline_depth,
        client_window,
        batch_bytes_max,
        batch_requests_max,
        operation_bytes_max,
        reply_bytes_max,
        reply_cache_bytes_max,
        sessions_per_client_max,
        sessions_max,
        pool_operations_max,
        pool_bytes_max,
        time_tolerance: time_tolerance.map(Micros),
        timeout: timeout.map(Micros),
        timeout_max: timeout_max.map(Micros),
        watchdog: (said.watchdog != usual.watchdog).then_some(said.watchdog),
        fast_reads: (said.fast_reads != usual.fast_reads).then_some(said.fast_reads),
    };
    (constants != none).then_some(constants)
}

/// Two cuts that are each other's reverse are a partition.
fn add_cuts(document: &mut Document, cuts: &[Cut]) {
    let replicas = document.replicas.value;
    let ids = |bits: u64| -> Vec<u16> { (0..replicas).filter(|id| bits >> id & 1 == 1).collect() };
    let mut rest = cuts;
    while let [cut, others @ ..] = rest {
        let (start, end) = (time(cut.start), time(cut.end));
        let (from, to) = (ids(cut.from), ids(cut.to));
        let reverse = Cut { from: cut.to, to: cut.from, ..*cut };
        // A cut that ends before it starts cuts nothing.
        if cut.end <= cut.start {
            rest = others;
        } else if others.first() == Some(&reverse) && cut.from & cut.to == 0 {
            document.partition.push(Partition { groups: vec![from, to], start, end }.into());
            rest = &others[1..];
        } else {
            document.one_way.push(OneWay { from, to, start, end }.into());
            rest = others;
        }
    }
}

fn add_fault(document: &mut Document, at: Time, fault: Fault) {
    let at = time(at);
    let for_good =
        |replica| Crashing { replica, at, restart: None, moment: None, clock: None, gently: false };
    match fault {
        Fault::Crash(id) => document.crash.push(for_good(Who::One(id.0)).into()),
        Fault::CrashPrimary => document.crash.push(for_good(Who::Primary).into()),
        Fault::Outage(whom, outage) => {
            let who = match whom {
                Whom::One(id) => Who::One(id.0),
                Whom::Primary => Who::Primary,
                Whom::Everyone => Who::All,
            };
            add_outage(document, at, (who, None), outage);
        }
        Fault::Doom(id, moment, outage) => add_outage(document, at, (Who::One(id.0), Some(moment)), outage),
        Fault::ClockJump(id, by_us) => {
            let jump = Some(Micros(by_us));
            document.clock.push(Clocking { replica: id.0, at, jump, drift_ppm: None }.into());
        }
        Fault::ClockDrift(id, ppm) => {
            let drift_ppm = Some(ppm);
            document.clock.push(Clocking { replica: id.0, at, jump: None, drift_ppm }.into());
        }
        // Who sleeps until before now is awake at once.
        Fault::Pause(id, until) if time(until).0 > at.0 => {
            document.pause.push(Pausing { replica: id.0, at, until: time(until) }.into());
        }
        // What follows from other tables: who is down starts again, and everything heals.
        Fault::Pause(..) | Fault::Start(_) | Fault::Heal => {}
    }
}

fn add_outage(document: &mut Document, at: Micros, (replica, moment): (Who, Option<u64>), outage: Outage) {
    let (restart, clock) = (Micros(outage.down_us), outage.clock_us.map(Offset));
    if outage.left == Crash::Keep && outage.damage.is_none() {
        let (restart, gently) = (Some(restart), outage.gently && moment.is_none());
        document.crash.push(Crashing { replica, at, restart, moment, clock, gently }.into());
        return;
    }
    let (unsynced, survivors, torn_bytes) = match outage.left {
        Crash::Keep => (Unsynced::Kept, None, None),
        Crash::Forget => (Unsynced::Lost, None, None),
        Crash::Some { mask, torn } => {
            (Unsynced::Torn, Some(Bits(mask)), Some(u32::try_from(torn).unwrap_or(u32::MAX)))
        }
    };
    let (damage, bits) = match outage.damage.map(|damage| damage.rot) {
        None => (None, None),
        Some(Rot::Flips(bits)) => (Some(Spoilt::Flips), Some(bits)),
        Some(Rot::Misdirected) => (Some(Spoilt::Misdirected), None),
        Some(Rot::Lost) => (Some(Spoilt::LostWrite), None),
        Some(Rot::Copies) => (Some(Spoilt::Copies), None),
    };
    let part = match outage.damage.map(|damage| damage.part) {
        None | Some(Part::Journal) => Where::Journal,
        Some(Part::Superblock) => Where::Superblock,
        Some(Part::Snapshot) => Where::Snapshot,
    };
    let seed = Bits(outage.damage.map_or(0, |damage| damage.seed));
    let spoiling = Spoiling {
        replica,
        at,
        restart,
        moment,
        clock,
        unsynced,
        survivors,
        torn_bytes,
        damage,
        part,
        bits,
        seed,
    };
    document.disk.push(spoiling.into());
}
