//! What a host does with the proof that a replica lied: it keeps it, and tells its operator, once.

use std::collections::{BTreeSet, VecDeque};

use quorate_protocol::accusation::Offence;
use quorate_protocol::process::Alarm;
use quorate_protocol::types::ReplicaId;

use super::Host;
use crate::accusations::Exhibit;

/// Who is proven to have lied. One proof for each replica and offence.
#[derive(Debug, Default)]
pub(super) struct Accusations {
    known: BTreeSet<(Offence, ReplicaId)>,
    to_store: VecDeque<Box<Exhibit>>,
}

impl Accusations {
    /// What is to be stored next.
    pub(super) fn take(&mut self) -> Option<Box<Exhibit>> {
        self.to_store.pop_front()
    }
}

impl Host {
    /// The folder has proof of these already.
    pub fn recall(&mut self, accused: BTreeSet<(Offence, ReplicaId)>) {
        self.accusations.known.extend(accused);
    }

    /// What replicas are proven to have done, in this life or an earlier one.
    #[must_use]
    pub fn accused(&self) -> &BTreeSet<(Offence, ReplicaId)> {
        &self.accusations.known
    }

    /// Passes an alarm on. An accusation is stored as well; one that was stored in an earlier life is not told again.
    pub(super) fn tell(&mut self, alarm: Alarm) {
        if let Some(accusation) = alarm.accusation() {
            if !self.accusations.known.insert((accusation.offence(), accusation.culprit())) {
                return;
            }
            let exhibit = Exhibit::new(self.replica.context(), accusation);
            self.accusations.to_store.push_back(Box::new(exhibit));
        }
        self.alarms.push(alarm);
    }
}
