//! What tests and scripts do to a world besides letting it turn.

use quorate_host::disk::MemoryDisk;
use quorate_protocol::codec;
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::message::PeerMessage;
use quorate_protocol::types::{ReplicaId, Time};

use super::happening::Happening;
use super::{Fault, Rule, World, secret};
use crate::check::Checked;
use crate::node::Costs;
use crate::picture::Mark;

impl World {
    /// From now on every message is written down; [`World::take_trace`] has the lines.
    pub fn keep_trace(&mut self) {
        self.trace = Some(Vec::new());
    }
    /// What was written down since this was last asked.
    pub fn take_trace(&mut self) -> Vec<String> {
        self.take_timed_trace().into_iter().map(|(_, line)| line).collect()
    }
    /// The same, each line with its time.
    pub fn take_timed_trace(&mut self) -> Vec<(Time, String)> {
        self.trace.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// From now on a byte costs the replica that sends it so many nanoseconds of its line.
    pub fn charge_bytes(&mut self, byte_ns: u64) {
        self.network.charge(byte_ns);
    }

    /// From now on checking a signature takes every replica that runs so many nanoseconds.
    pub fn charge_signatures(&mut self, signature_ns: u64) {
        self.nodes.iter_mut().for_each(|node| node.charge_signatures(signature_ns));
    }

    /// Loses or keeps back frames from now on.
    pub fn add_rule(&mut self, rule: Rule) {
        self.rules.push(rule);
    }
    /// Ends all rules.
    pub fn clear_rules(&mut self) {
        self.rules.clear();
    }
    /// Delivers what was kept back.
    pub fn release_held(&mut self) {
        for (from, to, frame) in std::mem::take(&mut self.held) {
            self.push(self.now, Happening::Frame { from, to, frame });
        }
    }
    /// Nothing is expected of this replica any more: a test speaks in its name.
    pub fn distrust(&mut self, replica: ReplicaId) {
        self.checks.distrust(replica);
    }
    /// A copy of a replica's disk as it is, to be looked at.
    pub fn copy_disk(&mut self, replica: ReplicaId) -> MemoryDisk {
        self.nodes[usize::from(replica.0)].copy_disk()
    }
    /// The key of a replica, for tests that speak in its name.
    #[must_use]
    pub fn secret_of(replica: ReplicaId) -> SecretKey {
        SecretKey::from_seed(&secret(1, replica.0.into()))
    }
    /// The key of a client, by its place among the world's clients, for tests that sign requests by hand.
    #[must_use]
    pub fn secret_of_client(client: usize) -> SecretKey {
        SecretKey::from_seed(&secret(2, client as u64))
    }
    /// What its replicas know of signatures, if one checks for all.
    #[cfg(test)]
    pub(crate) fn memo(&self) -> Option<&crate::memo::Memo> {
        self.memo.as_ref()
    }
    /// Delivers a frame that its replica never sent.
    pub fn inject(&mut self, from: ReplicaId, to: ReplicaId, message: &PeerMessage) {
        let frame = codec::encode(message).expect("a message made for a test fits a frame").into();
        self.push(self.now, Happening::Frame { from, to, frame });
    }

    /// Puts a replica out of action for good, or for a while, or everything right.
    pub(super) fn suffer(&mut self, fault: Fault) -> Checked {
        match fault {
            Fault::Crash(replica) => return self.crash(replica),
            Fault::CrashPrimary => {
                if let Some(leader) = self.leader() {
                    return self.crash(leader);
                }
            }
            Fault::Outage(whom, outage) => return self.outage(whom, outage),
            Fault::Start(replica) => return self.start(replica),
            Fault::ClockJump(replica, by_us) => self.jump(replica, by_us),
            Fault::ClockDrift(replica, ppm) => self.drift(replica, ppm),
            Fault::Pause(replica, until) => self.pause(replica, until),
            Fault::Doom(replica, moments, outage) => self.doom_soon(replica, moments, outage),
            Fault::Heal => {
                self.note(|| Mark::Everywhere("everything heals".to_owned()));
                self.network.heal();
                self.asleep.clear();
                self.costs = Costs::default();
                self.healed = Some(self.now);
                self.dooms.clear();
                for (replica, outage) in self.those_who_stop() {
                    self.kill(replica, outage)?;
                }
                let absent: Vec<ReplicaId> = self.absent.keys().copied().collect();
                return absent.into_iter().try_for_each(|replica| self.start(replica));
            }
        }
        Ok(())
    }
}
