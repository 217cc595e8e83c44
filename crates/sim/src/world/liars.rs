//! Who lies in a world, from when on, and how often it did.

use std::collections::BTreeMap;

use quorate_host::byzantine::{Lies, Sin};
use quorate_protocol::types::ReplicaId;

use super::World;

/// The liars of a world.
#[derive(Debug, Default)]
pub(super) struct Liars {
    sins: BTreeMap<ReplicaId, Vec<Sin>>,
    /// What all their chance comes from.
    seed: u64,
    /// Lies of lives that are over.
    before: BTreeMap<ReplicaId, Lies>,
}

impl Liars {
    pub(super) fn new(sins: BTreeMap<ReplicaId, Vec<Sin>>, seed: u64) -> Self {
        Self { sins, seed, before: BTreeMap::new() }
    }

    /// A replica's lies, and their seed.
    pub(super) fn sins_of(&self, replica: ReplicaId) -> (&[Sin], u64) {
        (self.sins.get(&replica).map_or(&[], Vec::as_slice), self.seed)
    }

    /// What a replica told until now belongs to a life that is over.
    pub(super) fn bury(&mut self, replica: ReplicaId, lies: Lies) {
        add(self.before.entry(replica).or_default(), lies);
    }
}

fn add(sum: &mut Lies, lies: Lies) {
    for (name, count) in lies {
        *sum.entry(name).or_default() += count;
    }
}

impl World {
    /// From now on, and in its later lives, a replica lies, and nothing is expected of it any more. Its application lies
    /// from its next life on.
    pub fn corrupt(&mut self, replica: ReplicaId, sins: &[Sin]) {
        self.checks.distrust(replica);
        self.liars.bury(replica, self.nodes[usize::from(replica.0)].repent());
        self.liars.sins.insert(replica, sins.to_vec());
        let (now, seed) = (self.clock(replica), self.liars.seed);
        self.nodes[usize::from(replica.0)].corrupt(&self.context, sins, seed, now);
        self.wake_soon(replica);
    }

    /// How many lies a replica told in all its lives, and what it has to tell, if it is one of those who lie.
    pub(super) fn lies_of(&self, replica: ReplicaId) -> (u64, Option<String>) {
        let (sins, _) = self.liars.sins_of(replica);
        let now: u64 = self.node(replica).lies().values().sum();
        let before: u64 = self.liars.before.get(&replica).map_or(0, |lies| lies.values().sum());
        let told: Vec<String> = sins.iter().map(ToString::to_string).collect();
        (now + before, (!told.is_empty()).then(|| told.join("+")))
    }

    /// Whether nothing is expected of a replica, because it lies or a test speaks in its name.
    #[must_use]
    pub fn is_liar(&self, replica: ReplicaId) -> bool {
        self.checks.is_liar(replica)
    }

    /// How many lies each liar told in all its lives, by name of the sin; those it never told are there with 0.
    #[must_use]
    pub fn lies(&self) -> BTreeMap<ReplicaId, Lies> {
        let told = |replica: &ReplicaId| {
            let mut lies = self.node(*replica).lies();
            add(&mut lies, self.liars.before.get(replica).cloned().unwrap_or_default());
            (*replica, lies)
        };
        self.liars.sins.keys().map(told).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
