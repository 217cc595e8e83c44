//! What can be made simpler in a scenario without taking it out.

use quorate_host::disk::Crash;
use quorate_protocol::committee::faults;
use quorate_protocol::types::{ReplicaId, Time};

use crate::network::Cut;
use crate::node::Costs;
use crate::scenario::Scenario;
use crate::world::{Fault, Outage, Whom};

/// Steps from coarse to fine to which times are rounded, in microseconds.
const ROUND_US: [u64; 3] = [1_000_000, 100_000, 10_000];

/// What a scenario of fewer replicas has: the sizes that tolerate one fault less.
const SIZES: [u16; 3] = [4, 5, 7];

/// Scenarios that are simpler by one step each, those worth most first.
pub(super) fn simpler(scenario: &Scenario) -> Vec<Scenario> {
    let mut found = Vec::new();
    found.extend(SIZES.iter().filter_map(|n| with_replicas(scenario, *n)));
    loads(scenario, &mut found);
    links(scenario, &mut found);
    outages(scenario, &mut found);
    times(scenario, &mut found);
    found
}

fn changed(scenario: &Scenario, change: impl FnOnce(&mut Scenario)) -> Scenario {
    let mut other = scenario.clone();
    change(&mut other);
    other
}

/// With fewer replicas, if everybody who is named is among them and no more are lost than they tolerate, unless more
/// were lost before.
fn with_replicas(scenario: &Scenario, n: u16) -> Option<Scenario> {
    let named = scenario.faults.iter().filter_map(|(_, fault)| hit(fault)).all(|id| id.0 < n)
        && scenario.setting.liars.keys().all(|id| id.0 < n);
    let lawful = |n: u16| scenario.broken(n).len() <= faults(n.into());
    let smaller = n < scenario.setting.replicas && named && (lawful(n) || !lawful(scenario.setting.replicas));
    smaller.then(|| {
        changed(scenario, |other| {
            other.setting.replicas = n;
            let here = (1_u64 << n) - 1;
            for cut in &mut other.setting.cuts {
                (cut.from, cut.to) = (cut.from & here, cut.to & here);
            }
            other.setting.cuts.retain(|cut| cut.from != 0 && cut.to != 0);
        })
    })
}

/// Whom a fault hits by name.
fn hit(fault: &Fault) -> Option<ReplicaId> {
    match fault {
        Fault::Crash(id)
        | Fault::Doom(id, ..)
        | Fault::Outage(Whom::One(id), _)
        | Fault::Start(id)
        | Fault::ClockJump(id, _)
        | Fault::ClockDrift(id, _)
        | Fault::Pause(id, _) => Some(*id),
        Fault::CrashPrimary | Fault::Outage(Whom::Primary | Whom::Everyone, _) | Fault::Heal => None,
    }
}

/// Smaller numbers than `now`, the smallest first.
fn fewer(now: u64, least: u64) -> Vec<u64> {
    let mut steps = vec![least, now / 2, now - now / 4, now.saturating_sub(1)];
    steps.retain(|step| (least..now).contains(step));
    steps.dedup();
    steps
}

fn loads(scenario: &Scenario, found: &mut Vec<Scenario>) {
    for (index, load) in scenario.clients.iter().enumerate() {
        let mut with = |change: &dyn Fn(&mut crate::scenario::Load)| {
            found.push(changed(scenario, |other| change(&mut other.clients[index])));
        };
        for commands in fewer(load.commands, 1) {
            with(&|load| load.commands = commands);
        }
        for in_flight in fewer(load.in_flight as u64, 1) {
            with(&|load| load.in_flight = usize::try_from(in_flight).unwrap_or(1));
        }
        if load.bundle > 1 {
            with(&|load| load.bundle = 1);
        }
        if load.think_us > 0 {
            with(&|load| load.think_us = 0);
        }
    }
}

fn links(scenario: &Scenario, found: &mut Vec<Scenario>) {
    let setting = &scenario.setting;
    let profile = setting.profile;
    let mut with = |wanted: bool, change: &dyn Fn(&mut crate::world::Setting)| {
        if wanted {
            found.push(changed(scenario, |other| change(&mut other.setting)));
        }
    };
    with(profile.loss > 0, &|setting| setting.profile.loss = 0);
    with(profile.duplication > 0, &|setting| setting.profile.duplication = 0);
    with(profile.stragglers > 0, &|setting| {
        (setting.profile.stragglers, setting.profile.straggle_us) = (0, 0);
    });
    with(profile.jitter_us > 0, &|setting| setting.profile.jitter_us = 0);
    with(setting.costs != Costs::default(), &|setting| setting.costs = Costs::default());
    with(setting.skew_us > 0, &|setting| setting.skew_us = 0);
    with(setting.parameters.pipeline_depth > 1, &|setting| setting.parameters.pipeline_depth = 1);
    with(setting.check_every_signature, &|setting| setting.check_every_signature = false);
}

fn outages(scenario: &Scenario, found: &mut Vec<Scenario>) {
    for (index, (_, fault)) in scenario.faults.iter().enumerate() {
        let (whom, outage) = match fault {
            Fault::Outage(whom, outage) => (*whom, *outage),
            Fault::Doom(replica, _, outage) => {
                // To die between two steps is simpler than in the middle of one.
                let change = Fault::Outage(Whom::One(*replica), *outage);
                found.push(changed(scenario, |other| other.faults[index].1 = change));
                continue;
            }
            Fault::Crash(_)
            | Fault::CrashPrimary
            | Fault::Start(_)
            | Fault::ClockJump(..)
            | Fault::ClockDrift(..)
            | Fault::Pause(..)
            | Fault::Heal => continue,
        };
        let mut with = |wanted: bool, simpler: Outage| {
            if wanted {
                let change = Fault::Outage(whom, simpler);
                found.push(changed(scenario, |other| other.faults[index].1 = change));
            }
        };
        with(outage.damage.is_some(), Outage { damage: None, ..outage });
        with(outage.clock_us.is_some(), Outage { clock_us: None, ..outage });
        with(outage.left != Crash::Keep, Outage { left: Crash::Keep, ..outage });
        with(matches!(outage.left, Crash::Some { .. }), Outage { left: Crash::Forget, ..outage });
        with(outage.down_us > 1_000, Outage { down_us: 1_000, ..outage });
        with(outage.gently, Outage { gently: false, ..outage });
    }
}

/// Rounder times, and an earlier end of all misfortunes: never before the last of them.
fn times(scenario: &Scenario, found: &mut Vec<Scenario>) {
    let last = last_misfortune(scenario);
    for to in ROUND_US {
        let heal_at = up(last.plus(1), to);
        if last < scenario.heal_at && heal_at < scenario.heal_at {
            found.push(changed(scenario, |other| other.heal_at = heal_at));
        }
    }
    for (index, (at, _)) in scenario.faults.iter().enumerate() {
        for to in ROUND_US {
            let round = up(*at, to);
            if round != *at && round < scenario.heal_at {
                found.push(changed(scenario, |other| other.faults[index].0 = round));
                break;
            }
        }
    }
    for (index, cut) in scenario.setting.cuts.iter().enumerate() {
        for to in ROUND_US {
            let Cut { start, end, .. } = *cut;
            let (start, end) = (Time(start.0 / to * to), up(end, to).min(scenario.heal_at));
            if (start, end) != (cut.start, cut.end) {
                found.push(changed(scenario, |other| {
                    (other.setting.cuts[index].start, other.setting.cuts[index].end) = (start, end);
                }));
                break;
            }
        }
    }
}

/// When the last thing goes wrong, or is over by itself.
fn last_misfortune(scenario: &Scenario) -> Time {
    let faults = scenario.faults.iter().map(|(at, fault)| match fault {
        Fault::Pause(_, until) => *until,
        Fault::Crash(_)
        | Fault::CrashPrimary
        | Fault::Outage(..)
        | Fault::Doom(..)
        | Fault::Start(_)
        | Fault::ClockJump(..)
        | Fault::ClockDrift(..)
        | Fault::Heal => *at,
    });
    let cuts = scenario.setting.cuts.iter().map(|cut| cut.start);
    faults.chain(cuts).max().unwrap_or(crate::scenario::BEGINNING)
}

fn up(time: Time, to: u64) -> Time {
    Time(time.0.div_ceil(to).saturating_mul(to))
}
