//! From the tables of a file to a scenario: what one table cannot know about the others is checked here.

use std::collections::BTreeMap;

use quorate_host::byzantine::Sin;
use quorate_host::disk::Crash;
use quorate_protocol::parameters::Parameters;
use quorate_protocol::types::{ReplicaId, Time};

use super::document::{
    Asking, Clocking, Constants, Crashing, Document, Links, Lying, OneWay, Partition, Pausing, Roles,
    Spoiling, Spoilt, Unsynced, Where,
};
use super::values::{Micros, Offset, Placed, Who};
use super::{Problem, ScenarioFile, Wrong};
use crate::app::Service;
use crate::damage::{Damage, Part, Rot};
use crate::network::{Cut, Profile};
use crate::node::Costs;
use crate::scenario::{BEGINNING, Load, Scenario};
use crate::world::{Fault, Outage, Setting, Whom};

/// The longest time that a file can name: a virtual day.
const TIME_MAX_US: u64 = 86_400_000_000;
/// The longest that links and roles can take: longer than any timer makes sense.
const DELAY_MAX_US: u64 = 60_000_000;
/// Most commands of one client.
const COMMANDS_MAX: u64 = 1_000_000;
/// Most clients.
const CLIENTS_MAX: usize = 64;
/// Most things that can be scheduled.
const ENTRIES_MAX: usize = 10_000;

type Checked<T> = Result<T, Wrong>;

pub(super) fn read(document: Document) -> Checked<ScenarioFile> {
    let replicas = document.replicas.value;
    if !(4..=64).contains(&replicas) {
        return Err(bounds(document.replicas.at, "replicas", replicas, (4, 64)));
    }
    let reader = Reader { replicas };
    let parameters = reader.parameters(document.parameters)?;
    let mut cuts = reader.partitions(&document.partition)?;
    cuts.extend(reader.one_ways(&document.one_way)?);
    let faults = reader.faults(&document.crash, &document.disk, &document.clock, &document.pause)?;
    let entries = cuts.len() + faults.len();
    if entries > ENTRIES_MAX {
        return Err(bounds(0, "crash", entries, (0, ENTRIES_MAX)));
    }
    let setting = Setting {
        seed: document.seed.0,
        replicas,
        parameters,
        profile: profile(&document.network)?,
        cuts,
        costs: costs(&document.costs)?,
        epoch_us: time(0, "clocks.epoch", document.clocks.epoch)?,
        skew_us: time(0, "clocks.skew", document.clocks.skew)?,
        check_every_signature: document.check_every_signature,
        service: Service::default(),
        liars: reader.liars(&document.byzantine)?,
    };
    let heal_at = moment(document.heal.at, "heal", document.heal.value)?;
    let clients = clients(&document.client)?;
    if let Some(accused) = &document.expect.accused {
        accused.iter().try_for_each(|id| reader.known(0, "expect.accused", *id).map(drop))?;
    }
    let scenario = Scenario { setting, faults, heal_at, clients };
    Ok(ScenarioFile { about: document.about, scenario, expect: document.expect })
}

fn wrong(at: usize, key: &'static str, problem: Problem) -> Wrong {
    Wrong { at, key, problem }
}

fn bounds<T: ToString>(at: usize, key: &'static str, found: T, (least, most): (T, T)) -> Wrong {
    let (found, least, most) = (found.to_string(), least.to_string(), most.to_string());
    wrong(at, key, Problem::Bounds { found, least, most })
}

/// A length of time that is not absurd.
fn time(at: usize, key: &'static str, found: Micros) -> Checked<u64> {
    most(at, key, found, TIME_MAX_US)
}

fn most(at: usize, key: &'static str, found: Micros, most: u64) -> Checked<u64> {
    if found.0 > most {
        return Err(bounds(at, key, found, (Micros(0), Micros(most))));
    }
    Ok(found.0)
}

/// A time of the world.
fn moment(at: usize, key: &'static str, found: Micros) -> Checked<Time> {
    Ok(BEGINNING.plus(time(at, key, found)?))
}

/// A time that comes after another.
fn later(at: usize, key: &'static str, start: Time, end: Micros) -> Checked<Time> {
    let end = moment(at, key, end)?;
    if end <= start {
        return Err(wrong(at, key, Problem::Ends));
    }
    Ok(end)
}

fn profile(links: &Links) -> Checked<Profile> {
    Ok(Profile {
        delay_us: most(0, "network.delay", links.delay, DELAY_MAX_US)?,
        jitter_us: most(0, "network.jitter", links.jitter, DELAY_MAX_US)?,
        loss: links.loss.0,
        duplication: links.duplication.0,
        stragglers: links.reordering.0,
        straggle_us: most(0, "network.reordering_delay", links.reordering_delay, DELAY_MAX_US)?,
    })
}

fn costs(roles: &Roles) -> Checked<Costs> {
    Ok(Costs {
        verify_us: most(0, "costs.verify", roles.verify, DELAY_MAX_US)?,
        write_us: most(0, "costs.write", roles.write, DELAY_MAX_US)?,
        execute_us: most(0, "costs.execute", roles.execute, DELAY_MAX_US)?,
        store_us: most(0, "costs.store", roles.store, DELAY_MAX_US)?,
    })
}

fn clients(tables: &[Placed<Asking>]) -> Checked<Vec<Load>> {
    if !(1..=CLIENTS_MAX).contains(&tables.len()) {
        let at = tables.get(CLIENTS_MAX).map_or(0, |table| table.at);
        return Err(bounds(at, "client", tables.len(), (1, CLIENTS_MAX)));
    }
    tables.iter().map(client).collect()
}

fn client(table: &Placed<Asking>) -> Checked<Load> {
    let Asking { commands, in_flight, bundle, think, reads } = table.value;
    let between = |key, found: u64, least: u64, most: u64| {
        let found = (least..=most).contains(&found).then_some(found).ok_or(found);
        found.map_err(|found| bounds(table.at, key, found, (least, most)))
    };
    Ok(Load {
        commands: between("client.commands", commands, 0, COMMANDS_MAX)?,
        in_flight: between("client.in_flight", in_flight, 1, 1024)? as usize,
        bundle: between("client.bundle", bundle, 1, 1024)? as usize,
        think_us: most(table.at, "client.think", think, DELAY_MAX_US)?,
        reads: reads.into(),
    })
}

/// What tables are read against.
struct Reader {
    replicas: u16,
}

impl Reader {
    fn known(&self, at: usize, key: &'static str, found: u16) -> Checked<ReplicaId> {
        if found >= self.replicas {
            return Err(wrong(at, key, Problem::Nobody { found, replicas: self.replicas }));
        }
        Ok(ReplicaId(found))
    }

    fn group(&self, at: usize, key: &'static str, ids: &[u16]) -> Checked<u64> {
        ids.iter().try_fold(0, |bits, id| Ok(bits | 1 << self.known(at, key, *id)?.0))
    }

    fn parameters(&self, table: Option<Placed<Constants>>) -> Checked<Parameters> {
        let mut parameters = Parameters::default();
        let Some(Placed { at, value }) = table else { return Ok(parameters) };
        for (field, said) in value.fields(&mut parameters) {
            *field = said.unwrap_or(*field);
        }
        parameters.watchdog = value.watchdog.unwrap_or(parameters.watchdog);
        parameters.fast_reads = value.fast_reads.unwrap_or(parameters.fast_reads);
        match parameters.check_for(self.replicas.into()) {
            Ok(()) => Ok(parameters),
            Err(error) => Err(wrong(at, "parameters", Problem::Parameter(error))),
        }
    }

    fn liars(&self, tables: &[Placed<Lying>]) -> Checked<BTreeMap<ReplicaId, Vec<Sin>>> {
        let mut liars: BTreeMap<ReplicaId, Vec<Sin>> = BTreeMap::new();
        for Placed { at, value } in tables {
            let id = self.known(*at, "byzantine.replica", value.replica)?;
            let sin: Sin = value.behaviour.parse().map_err(|error: quorate_host::byzantine::SinError| {
                wrong(*at, "byzantine.behaviour", Problem::Behaviour(error.to_string()))
            })?;
            liars.entry(id).or_default().push(sin);
        }
        Ok(liars)
    }

    fn partitions(&self, tables: &[Placed<Partition>]) -> Checked<Vec<Cut>> {
        let mut cuts = Vec::new();
        for Placed { at, value } in tables {
            let start = moment(*at, "partition.start", value.start)?;
            let end = later(*at, "partition.end", start, value.end)?;
            let groups = value.groups.iter().map(|ids| self.group(*at, "partition.groups", ids));
            let groups = groups.collect::<Checked<Vec<u64>>>()?;
            for (index, one) in groups.iter().enumerate() {
                for other in &groups[index + 1..] {
                    cuts.push(Cut { from: *one, to: *other, start, end });
                    cuts.push(Cut { from: *other, to: *one, start, end });
                }
            }
        }
        Ok(cuts)
    }

    fn one_ways(&self, tables: &[Placed<OneWay>]) -> Checked<Vec<Cut>> {
        let cut = |Placed { at, value }: &Placed<OneWay>| {
            let start = moment(*at, "one_way.start", value.start)?;
            let end = later(*at, "one_way.end", start, value.end)?;
            let from = self.group(*at, "one_way.from", &value.from)?;
            Ok(Cut { from, to: self.group(*at, "one_way.to", &value.to)?, start, end })
        };
        tables.iter().map(cut).collect()
    }

    fn faults(
        &self,
        crashes: &[Placed<Crashing>],
        disks: &[Placed<Spoiling>],
        clocks: &[Placed<Clocking>],
        pauses: &[Placed<Pausing>],
    ) -> Checked<Vec<(Time, Fault)>> {
        let mut faults = Vec::new();
        for table in crashes {
            faults.push(self.crash(table.at, &table.value)?);
        }
        for table in disks {
            faults.push(self.disk(table.at, &table.value)?);
        }
        for table in clocks {
            faults.push(self.clock(table.at, &table.value)?);
        }
        for Placed { at, value } in pauses {
            let id = self.known(*at, "pause.replica", value.replica)?;
            let start = moment(*at, "pause.at", value.at)?;
            faults.push((start, Fault::Pause(id, later(*at, "pause.until", start, value.until)?)));
        }
        Ok(faults)
    }

    fn crash(&self, at: usize, table: &Crashing) -> Checked<(Time, Fault)> {
        let time = moment(at, "crash.at", table.at)?;
        if let Some(restart) = table.restart {
            if table.gently && table.moment.is_some() {
                let why =
                    "is a moment in the middle of something, and who is asked to stop ends what it does";
                return Err(wrong(at, "crash.moment", Problem::Combination(why, "leave one of them out")));
            }
            let clock_us = off(at, "crash.clock", table.clock)?;
            let outage = Outage { clock_us, gently: table.gently, ..Outage::clean(restart.0) };
            most(at, "crash.restart", restart, TIME_MAX_US)?;
            return Ok((time, self.outage(at, "crash.replica", (table.replica, table.moment), outage)?));
        }
        if table.clock.is_some() || table.moment.is_some() || table.gently {
            let why = "is down for good, but the table says more of it";
            return Err(wrong(at, "crash.restart", Problem::Combination(why, "say when it restarts")));
        }
        let fault = match table.replica {
            Who::One(id) => Fault::Crash(self.known(at, "crash.replica", id)?),
            Who::Primary => Fault::CrashPrimary,
            Who::All => {
                let why = "stops everybody for good";
                return Err(wrong(at, "crash.replica", Problem::Combination(why, "say when they restart")));
            }
        };
        Ok((time, fault))
    }

    fn disk(&self, at: usize, table: &Spoiling) -> Checked<(Time, Fault)> {
        let time = moment(at, "disk.at", table.at)?;
        let combination = |key, why, fix| Err(wrong(at, key, Problem::Combination(why, fix)));
        let left = match (table.unsynced, table.survivors, table.torn_bytes) {
            (Unsynced::Kept, None, None) => Crash::Keep,
            (Unsynced::Lost, None, None) => Crash::Forget,
            (Unsynced::Torn, mask, torn) => {
                // Half of the writes, the last one cut within its head, unless it is said.
                let mask = mask.map_or(0x5555_5555_5555_5555, |mask| mask.0);
                Crash::Some { mask, torn: torn.map_or(100, |torn| torn as usize) }
            }
            (Unsynced::Kept | Unsynced::Lost, ..) => {
                let why = "says how writes are torn, but none is";
                return combination("disk.survivors", why, "write `unsynced = \"torn\"`");
            }
        };
        let rot = match (table.damage, table.bits) {
            (Some(Spoilt::Flips), bits) => Some(Rot::Flips(bits.unwrap_or(1))),
            (_, Some(_)) => {
                return combination("disk.bits", "flips nothing", "write `damage = \"flips\"`");
            }
            (Some(Spoilt::Misdirected), None) => Some(Rot::Misdirected),
            (Some(Spoilt::LostWrite), None) => Some(Rot::Lost),
            (Some(Spoilt::Copies), None) => Some(Rot::Copies),
            (None, None) => None,
        };
        if rot.is_none() && left == Crash::Keep {
            let fix = "say what is `unsynced`, or what `damage` there is, or write `[[crash]]`";
            return combination("disk.damage", "is missing: nothing happens to the disk", fix);
        }
        let part = match table.part {
            Where::Journal => Part::Journal,
            Where::Superblock => Part::Superblock,
            Where::Snapshot => Part::Snapshot,
        };
        let damage = rot.map(|rot| Damage { rot, part, seed: table.seed.0 });
        let down_us = most(at, "disk.restart", table.restart, TIME_MAX_US)?;
        let clock_us = off(at, "disk.clock", table.clock)?;
        let outage = Outage { left, damage, clock_us, ..Outage::clean(down_us) };
        Ok((time, self.outage(at, "disk.replica", (table.replica, table.moment), outage)?))
    }

    /// A process dies at once, or at one of its next moments.
    fn outage(
        &self,
        at: usize,
        key: &'static str,
        (who, moment): (Who, Option<u64>),
        outage: Outage,
    ) -> Checked<Fault> {
        match (who, moment) {
            (Who::One(id), None) => Ok(Fault::Outage(Whom::One(self.known(at, key, id)?), outage)),
            (Who::One(id), Some(moment)) => Ok(Fault::Doom(self.known(at, key, id)?, moment, outage)),
            (Who::Primary, None) => Ok(Fault::Outage(Whom::Primary, outage)),
            (Who::All, None) => Ok(Fault::Outage(Whom::Everyone, outage)),
            (Who::Primary | Who::All, Some(_)) => {
                let why = "is not one replica, whose moments could be counted";
                Err(wrong(at, key, Problem::Combination(why, "name one replica, or leave `moment` out")))
            }
        }
    }

    fn clock(&self, at: usize, table: &Clocking) -> Checked<(Time, Fault)> {
        let id = self.known(at, "clock.replica", table.replica)?;
        let fault = match (table.jump, table.drift_ppm) {
            (Some(jump), None) => Fault::ClockJump(id, time(at, "clock.jump", jump)?),
            (None, Some(ppm)) if ppm.abs() <= 100_000 => Fault::ClockDrift(id, ppm),
            (None, Some(ppm)) => return Err(bounds(at, "clock.drift_ppm", ppm, (-100_000, 100_000))),
            (Some(_), Some(_)) | (None, None) => {
                let why = "needs one of `jump` and `drift_ppm`";
                return Err(wrong(at, "clock", Problem::Combination(why, "write one table for each")));
            }
        };
        Ok((moment(at, "clock.at", table.at)?, fault))
    }
}

fn off(at: usize, key: &'static str, found: Option<Offset>) -> Checked<Option<i64>> {
    let Some(Offset(off_us)) = found else { return Ok(None) };
    if off_us.unsigned_abs() > TIME_MAX_US {
        let most = i64::try_from(TIME_MAX_US).unwrap_or(i64::MAX);
        return Err(bounds(at, key, Offset(off_us), (Offset(-most), Offset(most))));
    }
    Ok(Some(off_us))
}

impl Constants {
    /// Each constant, and what the file says of it.
    pub(super) fn fields<'a>(&self, into: &'a mut Parameters) -> [(&'a mut u64, Option<u64>); 17] {
        let micros = |said: Option<Micros>| said.map(|said| said.0);
        [
            (&mut into.checkpoint_interval, self.checkpoint_interval),
            (&mut into.checkpoint_bytes, self.checkpoint_bytes),
            (&mut into.window, self.window),
            (&mut into.pipeline_depth, self.pipeline_depth),
            (&mut into.client_window, self.client_window),
            (&mut into.batch_bytes_max, self.batch_bytes_max),
            (&mut into.batch_requests_max, self.batch_requests_max),
            (&mut into.operation_bytes_max, self.operation_bytes_max),
            (&mut into.reply_bytes_max, self.reply_bytes_max),
            (&mut into.reply_cache_bytes_max, self.reply_cache_bytes_max),
            (&mut into.sessions_per_client_max, self.sessions_per_client_max),
            (&mut into.sessions_max, self.sessions_max),
            (&mut into.pool_operations_max, self.pool_operations_max),
            (&mut into.pool_bytes_max, self.pool_bytes_max),
            (&mut into.time_tolerance_us, micros(self.time_tolerance)),
            (&mut into.timeout_us, micros(self.timeout)),
            (&mut into.timeout_max_us, micros(self.timeout_max)),
        ]
    }
}
