//! Processes that die, what of their disks survives, and how they come back.

use quorate_host::disk::{Crash, FileName, MemoryDisk};
use quorate_host::start::StartError;
use quorate_protocol::types::{ReplicaId, Time};

use super::happening::Happening;
use super::{Fault, Outage, Whom, World, secret};
use crate::check::{Checked, Violation};
use crate::clock::Clock;
use crate::network::Party;
use crate::node::{Node, Seat};
use crate::picture::Mark;

/// Writes to a journal that are never synced: the two copies of a seal.
const SEALS: usize = 2;

/// A process that is down, until somebody starts it again.
#[derive(Debug)]
pub(super) struct Absence {
    disk: MemoryDisk,
    outage: Outage,
}

/// A process that was asked to stop.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stopping {
    /// When it goes, though nobody took over.
    until: Time,
    /// Whether it led a view when it was asked.
    leads: bool,
    outage: Outage,
}

/// What was done to a world, so that whoever wanted it can tell that it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Injected {
    /// Processes that died for good.
    pub crashes: u64,
    /// Processes that died and were started again, or were to be.
    pub outages: u64,
    /// Of these, those that forgot unsynced writes, or some of them.
    pub power_cuts: u64,
    /// Of these, those that had written something to the journal and not synced it yet.
    pub unsynced: u64,
    /// Disks that were damaged while their replica was down.
    pub damaged: u64,
    /// Replicas that were started again and went on.
    pub restarts: u64,
    /// Of these, those whose disk had been damaged.
    pub repaired: u64,
    /// Of these, those that came back bound by what they may have forgotten.
    pub boxed: u64,
    /// Replicas with damaged disks that did not start again.
    pub refused: u64,
    /// Clocks that jumped or began to drift, and clocks that were off by more than before after a restart.
    pub clocks: u64,
    /// Processes that slept.
    pub pauses: u64,
    /// VIEW-CHANGEs said again, byte for byte, by a process that was started after they were first said.
    pub repeated: u64,
    /// Processes that were asked to stop and went when nobody needed them any more, of those that led a view.
    pub handed_over: u64,
}

impl std::ops::AddAssign for Injected {
    fn add_assign(&mut self, other: Self) {
        self.crashes += other.crashes;
        self.outages += other.outages;
        self.power_cuts += other.power_cuts;
        self.unsynced += other.unsynced;
        self.damaged += other.damaged;
        self.restarts += other.restarts;
        self.repaired += other.repaired;
        self.boxed += other.boxed;
        self.refused += other.refused;
        self.clocks += other.clocks;
        self.pauses += other.pauses;
        self.repeated += other.repeated;
        self.handed_over += other.handed_over;
    }
}

impl World {
    /// What was done to this world so far.
    #[must_use]
    pub fn injected(&self) -> Injected {
        Injected { repeated: self.checks.repeated(), ..self.injected }
    }

    /// Lets a replica's process die at its `nth` moment, and others together with it.
    pub fn doom(&mut self, replica: ReplicaId, nth: u64, outage: Outage, others: &[ReplicaId]) {
        self.nodes[usize::from(replica.0)].die_at(nth);
        self.dooms.insert(replica, (outage, others.to_vec()));
    }

    /// Who leads the highest view that anybody is in.
    pub(super) fn leader(&self) -> Option<ReplicaId> {
        let alive = self.nodes.iter().filter(|node| !self.crashed.contains(&node.id()));
        alive.max_by_key(|node| node.replica().view()).map(|node| node.replica().primary())
    }

    /// Stops a replica for good. Its clients notice.
    ///
    /// # Errors
    /// What a checker finds wrong with what clients do then.
    pub fn crash(&mut self, replica: ReplicaId) -> Checked {
        self.absent.remove(&replica);
        self.stopping.remove(&replica);
        if !self.crashed.insert(replica) {
            return Ok(());
        }
        self.injected.crashes += 1;
        self.note(|| Mark::Down(replica));
        self.record_standing(replica);
        self.hang_up(replica)
    }

    /// A process dies at a moment that was chosen for it.
    pub(super) fn die(&mut self, replica: ReplicaId) -> Checked {
        let (outage, others) = self.dooms.remove(&replica).unwrap_or((Outage::clean(0), Vec::new()));
        std::iter::once(replica).chain(others).try_for_each(|replica| self.go_down(replica, outage))
    }

    pub(super) fn outage(&mut self, whom: Whom, outage: Outage) -> Checked {
        let whom: Vec<ReplicaId> = match whom {
            Whom::One(replica) => vec![replica],
            Whom::Primary => self.leader().into_iter().collect(),
            Whom::Everyone => self.context.committee.replicas().collect(),
        };
        if outage.gently {
            return whom.into_iter().try_for_each(|replica| self.ask_to_stop(replica, outage));
        }
        whom.into_iter().try_for_each(|replica| self.go_down(replica, outage))
    }

    /// A process is asked to stop. It goes by itself, as that of a node does; it is started again when it has been down
    /// for so long.
    ///
    /// # Errors
    /// What a checker finds wrong with what it does then.
    pub fn ask_to_stop(&mut self, replica: ReplicaId, outage: Outage) -> Checked {
        if self.crashed.contains(&replica) || self.stopping.contains_key(&replica) {
            return Ok(());
        }
        // Who sleeps hears nothing.
        if self.asleep.get(&replica).is_some_and(|(until, _)| *until > self.now) {
            return self.go_down(replica, outage);
        }
        let timeout = self.context.parameters.timeout_us;
        let leads = self.node(replica).replica().primary() == replica;
        let until = self.now.plus(timeout + timeout / 4);
        self.stopping.insert(replica, Stopping { until, leads, outage });
        self.say(|| format!("{replica} is asked to stop"));
        self.note(|| Mark::Says(Party::Replica(replica), "is asked to stop".to_owned()));
        let now = self.clock(replica);
        self.nodes[usize::from(replica.0)].retire(now);
        self.node_did(replica)
    }

    /// Those who were asked to stop and have not gone yet.
    pub(super) fn those_who_stop(&self) -> Vec<(ReplicaId, Outage)> {
        self.stopping.iter().map(|(replica, stopping)| (*replica, stopping.outage)).collect()
    }

    /// Lets a process go that was asked to, once nobody needs it any more, or its time is over.
    pub(super) fn let_go(&mut self, replica: ReplicaId) -> Checked {
        let Some(Stopping { until, leads, outage }) = self.stopping.get(&replica).copied() else {
            return Ok(());
        };
        let host = self.node(replica).host();
        let done = host.replica().is_dispensable();
        if self.now < until && (!done || host.waiting_for_disk() > 0) {
            return Ok(());
        }
        self.injected.handed_over += u64::from(leads && done);
        self.go_down(replica, outage)
    }

    /// A process dies; it is started again when its time has come.
    ///
    /// # Errors
    /// What a checker finds wrong with what clients do then.
    pub fn go_down(&mut self, replica: ReplicaId, outage: Outage) -> Checked {
        if self.crashed.contains(&replica) {
            return Ok(());
        }
        self.push(self.now.plus(outage.down_us), Happening::Fault(Fault::Start(replica)));
        self.kill(replica, outage)
    }

    /// A process dies, until somebody starts it again.
    ///
    /// # Errors
    /// What a checker finds wrong with what clients do then.
    pub fn kill(&mut self, replica: ReplicaId, outage: Outage) -> Checked {
        self.stopping.remove(&replica);
        if !self.crashed.insert(replica) {
            return Ok(());
        }
        self.record_lanes(replica, true);
        let mut disk = self.nodes[usize::from(replica.0)].take_disk();
        self.liars.bury(replica, self.nodes[usize::from(replica.0)].repent());
        self.note(|| Mark::Down(replica));
        self.injected.outages += 1;
        self.injected.unsynced += u64::from(disk.unsynced(FileName::Journal) > SEALS);
        self.injected.power_cuts += u64::from(outage.left != Crash::Keep);
        disk.crash(outage.left);
        if let Some(damage) = outage.damage
            && damage.apply(&mut disk).unwrap_or(false)
        {
            self.injected.damaged += 1;
            self.damaged.insert(replica);
        }
        self.record_standing(replica);
        self.asleep.remove(&replica);
        self.wakes.remove(&Party::Replica(replica));
        self.absent.insert(replica, Absence { disk, outage });
        self.hang_up(replica)
    }

    /// Starts a process that is down from its disk, if it is there.
    ///
    /// # Errors
    /// If it does not start although nothing happened to its disk, or has forgotten something; and what a checker
    /// finds in its first step.
    pub fn start(&mut self, replica: ReplicaId) -> Checked {
        let Some(Absence { mut disk, outage }) = self.absent.remove(&replica) else { return Ok(()) };
        if let Some(off_us) = outage.clock_us {
            self.injected.clocks += 1;
            self.checks.distrust_clocks();
            let off_us = off_us.saturating_add_unsigned(self.epoch_us);
            self.clocks[usize::from(replica.0)] = Clock::new(self.now, off_us);
        }
        let (now, sound) = (self.clock(replica), !self.damaged.contains(&replica));
        let life = self.node(replica).life() + 1;
        let key = secret(1, replica.0.into());
        let (context, memo) = (&self.context, self.memo.as_ref());
        let sins = self.liars.sins_of(replica);
        let seat = Seat { context, id: replica, key, service: &self.service, memo, sins };
        let found = Node::find(&seat, &mut disk);
        let node = match Node::start(&seat, disk, now, life) {
            Ok(node) => node,
            Err(error) => return self.refused(replica, &error, sound),
        };
        self.note(|| Mark::Up(replica));
        self.injected.restarts += 1;
        self.injected.repaired += u64::from(outage.damage.is_some());
        self.injected.boxed += u64::from(node.is_boxed());
        let state = node.began_with();
        self.checks.promised(replica, Some(node.horizon()));
        self.nodes[usize::from(replica.0)] = node;
        self.crashed.remove(&replica);
        self.record_start(replica);
        self.checks.restarted(replica, found.iter().map(|found| &found.record), state, sound)?;
        self.connect(replica)?;
        self.node_did(replica)
    }

    /// A replica stays out: lawful for a damaged disk alone, and for a liar.
    fn refused(&mut self, replica: ReplicaId, error: &StartError, sound: bool) -> Checked {
        if sound && !self.checks.is_liar(replica) {
            return Err(Violation::Stopped { replica, why: error.to_string() });
        }
        self.injected.refused += 1;
        self.say(|| format!("{replica} does not start: {error}"));
        Ok(())
    }

    fn hang_up(&mut self, replica: ReplicaId) -> Checked {
        for client in 0..self.clients.len() {
            let doings = self.clients[client].link(self.now, replica, None);
            self.client_did(client, doings)?;
        }
        Ok(())
    }

    /// Links come up between a process that was started and all others.
    fn connect(&mut self, replica: ReplicaId) -> Checked {
        for other in self.context.committee.replicas().filter(|other| *other != replica) {
            let (here, there) = (Party::Replica(replica), Party::Replica(other));
            for at in self.network.arrivals(self.now, here, there, &mut self.rng) {
                self.push(at, Happening::LinkUp { node: other });
                self.push(at, Happening::LinkUp { node: replica });
            }
        }
        let stands = self.node(replica).replica();
        let hello = Some((stands.executed(), stands.view()));
        for client in 0..self.clients.len() {
            let doings = self.clients[client].link(self.now, replica, hello);
            self.client_did(client, doings)?;
        }
        Ok(())
    }

    /// A process dies within its next moments.
    pub(super) fn doom_soon(&mut self, replica: ReplicaId, moments: u64, outage: Outage) {
        let nth = self.node(replica).moments() + moments.max(1);
        self.doom(replica, nth, outage, &[]);
    }

    /// A replica's process sleeps until a time.
    pub fn pause(&mut self, replica: ReplicaId, until: Time) {
        self.injected.pauses += 1;
        self.note(|| Mark::Sleeps(replica, until));
        self.asleep.insert(replica, (until, 0));
    }

    /// The clock of a replica that is down will be off by so much when it is started again. Says whether it is down.
    pub fn reset_clock(&mut self, replica: ReplicaId, off_us: i64) -> bool {
        let absence = self.absent.get_mut(&replica);
        absence.map(|absence| absence.outage.clock_us = Some(off_us)).is_some()
    }

    /// The clock of a replica jumps forwards.
    pub fn jump(&mut self, replica: ReplicaId, by_us: u64) {
        self.injected.clocks += 1;
        self.note(|| Mark::Says(Party::Replica(replica), "its clock jumps".to_owned()));
        self.checks.distrust_clocks();
        self.record_lanes(replica, true);
        self.clocks[usize::from(replica.0)].jump(self.now, by_us);
        self.wake_soon(replica);
    }

    pub(super) fn drift(&mut self, replica: ReplicaId, ppm: i64) {
        self.injected.clocks += 1;
        self.note(|| Mark::Says(Party::Replica(replica), "its clock drifts".to_owned()));
        self.checks.distrust_clocks();
        self.clocks[usize::from(replica.0)].drift(self.now, ppm);
        self.wake_soon(replica);
    }

    /// Whoever's clock was changed looks at its alarms anew.
    pub(super) fn wake_soon(&mut self, replica: ReplicaId) {
        self.wakes.remove(&Party::Replica(replica));
        self.push(self.now, Happening::Wake { node: replica });
    }
}
