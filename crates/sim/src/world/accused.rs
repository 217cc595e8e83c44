//! I8: what replicas hold against each other.

use std::collections::{BTreeMap, BTreeSet};

use quorate_host::accusations::Found;
use quorate_protocol::accusation::Offence;
use quorate_protocol::types::ReplicaId;

use super::World;
use crate::check::{Checked, Violation};
use crate::node::Node;

impl World {
    /// Replicas that run and that nobody expects to lie: what they say of others is to be believed.
    fn honest(&self) -> impl Iterator<Item = &Node> {
        let nodes = self.nodes.iter();
        nodes.filter(|node| !self.crashed.contains(&node.id()) && !self.checks.is_liar(node.id()))
    }

    /// Whom honest replicas that run accuse, by what is in their folders.
    #[must_use]
    pub fn accused(&self) -> BTreeSet<ReplicaId> {
        self.proofs().into_keys().collect()
    }

    /// What each of them is accused of.
    #[must_use]
    pub fn proofs(&self) -> BTreeMap<ReplicaId, BTreeSet<Offence>> {
        let mut proofs: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        let found = self.honest().flat_map(|node| node.store().accusations().unwrap_or_default());
        for (culprit, offence, _) in found.filter(|(_, _, exhibit)| exhibit.is_ok()) {
            proofs.entry(culprit).or_default().insert(offence);
        }
        proofs
    }

    /// Checks every accusation that honest replicas keep in their folders.
    ///
    /// # Errors
    /// [`Violation::FalseAlarm`] names the first that does not prove what it says, or whom it is about did not lie.
    pub fn check_accusations(&self) -> Checked {
        for node in self.honest() {
            let replica = node.id();
            let wrong = |alarm: String| Err(Violation::FalseAlarm { replica, alarm });
            let found = match node.store().accusations() {
                Ok(found) => found,
                Err(error) => return wrong(format!("its accusations cannot be read: {error}")),
            };
            let told = node.host().accused();
            for (culprit, offence, exhibit) in &found {
                if let Some(why) = self.unfounded(&(*culprit, *offence, exhibit.clone())) {
                    return wrong(format!("its folder says that replica {culprit} {offence}: {why}"));
                }
            }
            if let Some((offence, culprit)) = told.iter().find(|(_, culprit)| !self.checks.is_liar(*culprit))
            {
                return wrong(format!("it says that replica {culprit} {offence}, and it did not"));
            }
        }
        Ok(())
    }

    fn unfounded(&self, (culprit, offence, exhibit): &Found) -> Option<String> {
        let exhibit = match exhibit {
            Ok(exhibit) => exhibit,
            Err(error) => return Some(error.to_string()),
        };
        if let Err(error) = exhibit.check(&self.context) {
            return Some(error.to_string());
        }
        let named = (exhibit.accusation.culprit(), exhibit.accusation.offence());
        if named != (*culprit, *offence) {
            return Some("the file is about something else".to_owned());
        }
        (!self.checks.is_liar(*culprit)).then(|| "it is correct".to_owned())
    }
}
