//! What goes wrong in a seed's world before it heals.

use quorate_host::disk::Crash;
use quorate_protocol::committee::faults;
use quorate_protocol::types::{ReplicaId, Time};

use super::{BEGINNING, replica};
use crate::damage::{Damage, Part, Rot};
use crate::network::Cut;
use crate::rng::Rng;
use crate::world::{Fault, Outage, Whom};

/// How far a clock is off that everybody notices, in microseconds: an hour.
const HOUR_US: u64 = 3_600_000_000;

/// Who may be hit by what, and what was drawn so far.
pub(super) struct Misfortunes<'a> {
    rng: &'a mut Rng,
    n: u64,
    /// Whether whoever misses something soon needs a state transfer; then at most f replicas miss anything.
    short: bool,
    heal_at: Time,
    victims: Vec<ReplicaId>,
    /// How many of the victims may be lost for good: crashed, their disks damaged, their clocks far off.
    lost_max: usize,
    /// Those of the victims.
    pub(super) lost: Vec<ReplicaId>,
    pub(super) cuts: Vec<Cut>,
    pub(super) faults: Vec<(Time, Fault)>,
}

impl<'a> Misfortunes<'a> {
    pub(super) fn draw(rng: &'a mut Rng, replicas: u16, short: bool, heal_at: Time) -> Self {
        let (f, n) = (faults(replicas.into()), u64::from(replicas));
        let first = rng.below(n);
        let victims = (0..f as u64).map(|offset| replica((first + offset) % n)).collect();
        let (cuts, faults) = (Vec::new(), Vec::new());
        let lost = Vec::new();
        let mut drawn = Self { rng, n, short, heal_at, victims, lost_max: f, lost, cuts, faults };
        drawn.crashes();
        drawn.partitions();
        drawn.flaps();
        drawn.pauses();
        drawn.outages();
        drawn.rot();
        drawn.clocks();
        drawn.lost = drawn.victims[..drawn.lost_max].to_vec();
        drawn
    }

    /// Some time before everything heals. Most of the work is done early, so rather early.
    fn within(&mut self) -> Time {
        let span = self.heal_at.since(BEGINNING) >> self.rng.below(4);
        BEGINNING.plus(self.rng.below(span))
    }

    fn anybody(&mut self) -> ReplicaId {
        replica(self.rng.below(self.n))
    }

    /// Somebody who may miss something.
    fn somebody(&mut self) -> ReplicaId {
        if self.short { *self.rng.pick(&self.victims) } else { self.anybody() }
    }

    /// Somebody who may be lost for good.
    fn lost(&mut self) -> Option<ReplicaId> {
        (self.lost_max > 0).then(|| *self.rng.pick(&self.victims[..self.lost_max]))
    }

    /// At most f replicas stop for good.
    fn crashes(&mut self) {
        let crashes = self.rng.below(self.victims.len() as u64 + 1);
        if crashes > 0 && self.rng.chance(300_000) {
            let at = self.within();
            self.faults.push((at, Fault::CrashPrimary));
            // Nobody knows who that will be: one fewer may be lost besides.
            self.lost_max -= 1;
            return;
        }
        for id in self.victims.clone().into_iter().take(usize::try_from(crashes).unwrap_or(0)) {
            let at = self.within();
            self.faults.push((at, Fault::Crash(id)));
        }
    }

    fn partitions(&mut self) {
        let everyone = (1_u64 << self.n) - 1;
        let victims = self.victims.iter().fold(0, |bits, id| bits | 1 << id.0);
        let primary_crashes = self.faults.iter().any(|(_, fault)| *fault == Fault::CrashPrimary);
        for _ in 0..self.rng.below(4) {
            let (one, other) = (self.within(), self.within());
            let (start, end) = (one.min(other), one.max(other));
            let chosen = match self.short {
                true => victims,
                false if self.rng.chance(300_000) => self.half(),
                false => self.rng.below(everyone) + 1,
            };
            if self.short && primary_crashes {
                continue;
            }
            let rest = everyone & !chosen;
            match self.rng.below(4) {
                // Split in two, either way.
                0 => {
                    self.cuts.push(Cut { from: chosen, to: rest, start, end });
                    self.cuts.push(Cut { from: rest, to: chosen, start, end });
                }
                // Cannot speak.
                1 => self.cuts.push(Cut { from: chosen, to: rest, start, end }),
                // Cannot hear.
                2 => self.cuts.push(Cut { from: rest, to: chosen, start, end }),
                // Nobody hears anybody.
                _ if !self.short => self.cuts.push(Cut { from: everyone, to: everyone, start, end }),
                _ => {}
            }
        }
    }

    /// Half of the replicas: what a quorum must be larger than.
    fn half(&mut self) -> u64 {
        let mut chosen = 0_u64;
        while u64::from(chosen.count_ones()) < self.n / 2 {
            chosen |= 1 << self.rng.below(self.n);
        }
        chosen
    }

    /// A link that comes and goes: of one replica with all others, one way or both.
    fn flaps(&mut self) {
        if !self.rng.chance(200_000) {
            return;
        }
        let (id, start) = (self.somebody(), self.within());
        let one = 1_u64 << id.0;
        let rest = ((1_u64 << self.n) - 1) & !one;
        let ways: &[(u64, u64)] = match self.rng.below(3) {
            0 => &[(one, rest)],
            1 => &[(rest, one)],
            _ => &[(one, rest), (rest, one)],
        };
        let period = self.rng.between(10_000, 400_000);
        let broken = self.rng.between(period / 4, period);
        for turn in 0..self.rng.between(3, 20) {
            let start = start.plus(turn * period);
            let end = start.plus(broken).min(self.heal_at);
            self.cuts.extend(ways.iter().map(|(from, to)| Cut { from: *from, to: *to, start, end }));
        }
    }

    fn pauses(&mut self) {
        for _ in 0..self.rng.below(3) {
            let (id, start) = (self.somebody(), self.within());
            let end = start.plus(self.rng.between(1_000, 2_000_000)).min(self.heal_at);
            self.faults.push((start, Fault::Pause(id, end)));
        }
    }

    /// Processes die, one or all at once, and come back from whole disks: nobody is lost.
    fn outages(&mut self) {
        if !self.rng.chance(600_000) {
            return;
        }
        for _ in 0..self.rng.between(1, 4) {
            let whom = match self.rng.below(6) {
                0 => Whom::Everyone,
                1 => Whom::Primary,
                _ => Whom::One(self.anybody()),
            };
            let (at, outage) = (self.within(), self.outage());
            let fault = match whom {
                Whom::One(id) if self.rng.chance(600_000) => {
                    Fault::Doom(id, self.rng.between(1, 40), Outage { gently: false, ..outage })
                }
                _ => Fault::Outage(whom, outage),
            };
            self.faults.push((at, fault));
        }
    }

    fn outage(&mut self) -> Outage {
        let left = match self.rng.below(4) {
            0 => Crash::Keep,
            1 => Crash::Forget,
            _ => {
                Crash::Some { mask: self.rng.any(), torn: usize::try_from(self.rng.below(600)).unwrap_or(0) }
            }
        };
        let down_us = *self.rng.pick(&[0, 1_000, 30_000, 300_000, 2_000_000]);
        let clock_us = self.rng.chance(200_000).then(|| self.rng.below(2_000_000) as i64 - 1_000_000);
        // Who loses nothing, and is down for a while, is asked to stop.
        let gently = left == Crash::Keep && down_us != 0 && clock_us.is_none();
        Outage { left, clock_us, gently, ..Outage::clean(down_us) }
    }

    /// The disk of somebody who may be lost is damaged while its process is down.
    fn rot(&mut self) {
        if !self.rng.chance(250_000) {
            return;
        }
        let Some(id) = self.lost() else { return };
        let at = self.within();
        let damage = damage(self.rng);
        // Rot of what a power cut had just left half written is more than a journal can tell apart.
        let outage = Outage { left: Crash::Keep, damage: Some(damage), gently: false, ..self.outage() };
        self.faults.push((at, Fault::Outage(Whom::One(id), outage)));
    }

    /// Clocks that gain and lose, and that jump: a little for anybody, an hour for those who may be lost.
    fn clocks(&mut self) {
        if !self.rng.chance(250_000) {
            return;
        }
        for _ in 0..self.rng.between(1, 3) {
            let (at, anybody) = (self.within(), self.anybody());
            let fault = match (self.rng.below(4), self.lost()) {
                (0, _) => Fault::ClockJump(anybody, self.rng.below(2_000_000)),
                (1, Some(id)) => Fault::ClockJump(id, HOUR_US),
                (2, Some(id)) => {
                    let off_us = *self.rng.pick(&[-1, 1]) * HOUR_US as i64;
                    let outage = Outage { clock_us: Some(off_us), gently: false, ..self.outage() };
                    Fault::Outage(Whom::One(id), outage)
                }
                _ => Fault::ClockDrift(anybody, self.rng.below(100_000) as i64 - 50_000),
            };
            self.faults.push((at, fault));
        }
    }
}

/// Any damage to any part of a disk.
pub(super) fn damage(rng: &mut Rng) -> Damage {
    let rot = match rng.below(5) {
        0 => Rot::Misdirected,
        1 => Rot::Lost,
        2 => Rot::Copies,
        _ => Rot::Flips(u8::try_from(rng.between(1, 20)).unwrap_or(1)),
    };
    let part = *rng.pick(&[Part::Journal, Part::Journal, Part::Superblock, Part::Snapshot]);
    Damage { rot, part, seed: rng.any() }
}
