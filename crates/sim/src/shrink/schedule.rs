//! What a scenario does, in words: a line for each happening, in the order of time.

use quorate_host::disk::Crash;
use quorate_protocol::types::{ReplicaId, Time};

use crate::damage::{Damage, Part, Rot};
use crate::network::{Cut, Profile};
use crate::node::Costs;
use crate::scenario::{BEGINNING, Scenario};
use crate::words::{count, moment, replicas, span};
use crate::world::{Fault, Outage, Whom};

/// The lines of a scenario: first what is so from the beginning, then what happens when.
#[must_use]
pub fn schedule(scenario: &Scenario) -> Vec<String> {
    let mut lines = vec![cluster(scenario)];
    lines.extend(links(scenario));
    lines.extend(liars(scenario));
    lines.extend(clients(scenario));
    let mut happenings: Vec<(Time, String)> = Vec::new();
    happenings.extend(scenario.setting.cuts.iter().map(|cut| (cut.start, cut_of(cut))));
    happenings.extend(scenario.faults.iter().map(|(at, fault)| (*at, told(fault))));
    happenings.push((scenario.heal_at, told(&Fault::Heal)));
    // Stable: what happens at one time stays in the order in which it was listed.
    happenings.sort_by_key(|(at, _)| *at);
    lines.extend(happenings.into_iter().map(|(at, what)| format!("{:>9}  {what}", moment(at))));
    lines
}

/// Parts of a million, as a percentage.
fn percent(parts: u64) -> String {
    let (whole, rest) = (parts / 10_000, parts % 10_000);
    if rest == 0 { format!("{whole} %") } else { format!("{whole}.{:02} %", rest / 100) }
}

fn cluster(scenario: &Scenario) -> String {
    let parameters = &scenario.setting.parameters;
    format!(
        "from {}: {} replicas, seed {}; a checkpoint every {} slots, a window of {}, batches of at most {}, {} in \
         agreement at a time, timeout {}",
        moment(BEGINNING),
        scenario.setting.replicas,
        scenario.setting.seed,
        parameters.checkpoint_interval,
        parameters.window,
        parameters.batch_requests_max,
        parameters.pipeline_depth,
        span(parameters.timeout_us),
    )
}

fn links(scenario: &Scenario) -> Vec<String> {
    let Profile { delay_us, jitter_us, loss, duplication, stragglers, straggle_us } =
        scenario.setting.profile;
    let mut links = vec![format!("frames take {}", span(delay_us))];
    if jitter_us > 0 {
        links.push(format!("and up to {} more", span(jitter_us)));
    }
    if loss > 0 {
        links.push(format!("{} are lost", percent(loss)));
    }
    if duplication > 0 {
        links.push(format!("{} come twice", percent(duplication)));
    }
    if stragglers > 0 {
        links.push(format!("{} are up to {} late", percent(stragglers), span(straggle_us)));
    }
    let mut lines = vec![links.join(", ")];
    let Costs { verify_us, write_us, execute_us, store_us } = scenario.setting.costs;
    if scenario.setting.costs != Costs::default() {
        lines.push(format!(
            "to verify takes up to {}, to write {}, to execute {}, to store a state {}",
            span(verify_us),
            span(write_us),
            span(execute_us),
            span(store_us)
        ));
    }
    if scenario.setting.skew_us > 0 {
        lines.push(format!("clocks differ by up to {}", span(scenario.setting.skew_us)));
    }
    lines
}

fn liars(scenario: &Scenario) -> impl Iterator<Item = String> {
    let liars = scenario.setting.liars.iter();
    liars.flat_map(|(id, sins)| sins.iter().map(move |sin| format!("replica {id} lies: {sin}")))
}

fn clients(scenario: &Scenario) -> impl Iterator<Item = String> {
    scenario.clients.iter().enumerate().map(|(index, load)| {
        let mut line = format!("client {} asks {}", index + 1, count(load.commands, "command"));
        if load.commands > 1 {
            line.push_str(&format!(", {} at a time", load.in_flight));
        }
        if load.bundle > 1 {
            line.push_str(&format!(", up to {} under one signature", load.bundle));
        }
        if load.think_us > 0 {
            line.push_str(&format!(", each up to {} after an answer", span(load.think_us)));
        }
        line
    })
}

fn members(bits: u64) -> String {
    let ids: Vec<u16> = (0..64).filter(|id| bits >> id & 1 == 1).collect();
    replicas(&ids)
}

fn cut_of(cut: &Cut) -> String {
    format!("frames from {} to {} are lost until {}", members(cut.from), members(cut.to), moment(cut.end))
}

/// Something bad, in words.
fn told(fault: &Fault) -> String {
    match fault {
        Fault::Crash(id) => format!("replica {id} crashes for good"),
        Fault::CrashPrimary => "the primary crashes for good".to_owned(),
        Fault::Outage(whom, outage) => format!("{} {}", who(whom), outage_of(outage)),
        Fault::Doom(id, moments, outage) => {
            let later = count(*moments, "moment");
            format!("{later} later, in the middle of something, replica {id} {}", outage_of(outage))
        }
        Fault::Start(id) => format!("replica {id} is started"),
        Fault::ClockJump(id, by_us) => format!("the clock of replica {id} jumps ahead by {}", span(*by_us)),
        Fault::ClockDrift(id, ppm) => {
            let verb = if *ppm < 0 { "loses" } else { "gains" };
            format!("the clock of replica {id} {verb} {} a second", span(ppm.unsigned_abs()))
        }
        Fault::Pause(id, until) => format!("replica {id} sleeps until {}", moment(*until)),
        Fault::Heal => "everything heals".to_owned(),
    }
}

fn who(whom: &Whom) -> String {
    match whom {
        Whom::One(ReplicaId(id)) => format!("replica {id}"),
        Whom::Primary => "the primary".to_owned(),
        Whom::Everyone => "every replica".to_owned(),
    }
}

fn outage_of(outage: &Outage) -> String {
    let mut words = match outage.left {
        Crash::Keep if outage.gently => "stops when it has handed over what it leads".to_owned(),
        Crash::Keep => "crashes".to_owned(),
        Crash::Forget => "loses power and every unsynced write".to_owned(),
        Crash::Some { .. } => "loses power and some unsynced writes".to_owned(),
    };
    if let Some(damage) = outage.damage {
        words.push_str(&format!(", {}", damage_of(damage)));
    }
    words.push_str(&format!(", and is started {} later", span(outage.down_us)));
    if let Some(off_us) = outage.clock_us {
        let way = if off_us < 0 { "slow" } else { "fast" };
        words.push_str(&format!(" with a clock {} {way}", span(off_us.unsigned_abs())));
    }
    words
}

fn damage_of(damage: Damage) -> String {
    let part = match damage.part {
        Part::Superblock => "superblock",
        Part::Journal => "journal",
        Part::Snapshot => "stored state",
    };
    match damage.rot {
        Rot::Flips(bits) => format!("{bits} bits of its {part} flip"),
        Rot::Misdirected => format!("a write to its {part} landed elsewhere"),
        Rot::Lost => format!("a write to its {part} never reached the disk"),
        Rot::Copies => format!("every copy of a part of its {part} rots"),
    }
}
