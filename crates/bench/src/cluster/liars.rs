//! Replicas that lie on purpose: who tells which lies, and how often each was told.

use std::collections::{BTreeMap, BTreeSet};

use quorate_node::sins::{advice, in_words};
use quorate_node::status::Status;
use serde::Serialize;

/// Behaviours of one replica that are remembered.
const BEHAVIOURS_MAX: usize = 64;

/// Everybody who lies.
#[derive(Debug, Clone, Default)]
pub struct Liars {
    /// What each is told to do, as its process is told.
    behaviours: BTreeMap<u16, Vec<String>>,
    /// Those of them who began while the cluster ran, because somebody wanted to see what follows.
    turned: BTreeSet<u16>,
    /// What earlier processes of each have told.
    told: BTreeMap<u16, BTreeMap<String, u64>>,
    seed: u64,
}

/// One liar in a report. Field names are part of the interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lying {
    /// Which replica.
    pub replica: u16,
    /// What it was to do.
    pub behaviours: Vec<String>,
    /// How often it did, by the name of the behaviour.
    pub told: BTreeMap<String, u64>,
}

impl Liars {
    /// These replicas do these things, with the chance that a seed gives.
    #[must_use]
    pub fn new(behaviours: BTreeMap<u16, Vec<String>>, seed: u64) -> Self {
        Self { behaviours, turned: BTreeSet::new(), told: BTreeMap::new(), seed }
    }

    /// Whether nobody lies.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.behaviours.is_empty()
    }

    /// Whether a replica lies.
    #[must_use]
    pub fn is_liar(&self, replica: u16) -> bool {
        self.behaviours.contains_key(&replica)
    }

    /// A replica lies from now on. It stays a liar when it is told to be honest again: what it told is told.
    pub fn turn(&mut self, replica: u16, behaviour: &str) {
        let known = self.behaviours.entry(replica).or_insert_with(|| {
            self.turned.insert(replica);
            Vec::new()
        });
        if known.len() < BEHAVIOURS_MAX && !known.iter().any(|one| one == behaviour) {
            known.push(behaviour.to_owned());
        }
    }

    /// Whether a run shows nothing if this replica told no lie: not if it was to lie for a moment only.
    #[must_use]
    pub fn must_lie(&self, replica: u16) -> bool {
        self.is_liar(replica) && !self.turned.contains(&replica)
    }

    /// In order of id.
    #[must_use]
    pub fn ids(&self) -> Vec<u16> {
        self.behaviours.keys().copied().collect()
    }

    /// What a replica is to do, several behaviours joined by `+`; none if it is honest.
    #[must_use]
    pub fn behaviour(&self, replica: u16) -> Option<String> {
        self.behaviours.get(&replica).map(|behaviours| behaviours.join("+"))
    }

    /// Where the chance in lies comes from.
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// What only those say who do not lie.
    #[must_use]
    pub fn trusted(&self, statuses: &[Option<Status>]) -> Vec<Option<Status>> {
        let honest = |status: &Option<Status>| status.clone().filter(|status| !self.is_liar(status.replica));
        statuses.iter().map(honest).collect()
    }

    /// A process is about to end, which said this last.
    pub fn note_end(&mut self, status: &Status) {
        if self.is_liar(status.replica) {
            add(self.told.entry(status.replica).or_default(), &status.lies);
        }
    }

    /// What came of each, where those that still run say this.
    #[must_use]
    pub fn report(&self, statuses: &[Option<Status>]) -> Vec<Lying> {
        let lying = |(replica, behaviours): (&u16, &Vec<String>)| {
            let mut told = self.told.get(replica).cloned().unwrap_or_default();
            let last = statuses.iter().flatten().find(|status| status.replica == *replica);
            last.into_iter().for_each(|status| add(&mut told, &status.lies));
            Lying { replica: *replica, behaviours: behaviours.clone(), told }
        };
        self.behaviours.iter().map(lying).collect()
    }
}

fn add(told: &mut BTreeMap<String, u64>, more: &BTreeMap<String, u64>) {
    for (name, count) in more {
        *told.entry(name.clone()).or_default() += count;
    }
}

impl Lying {
    /// Whether it told none at all: then the run has tried nothing.
    #[must_use]
    pub fn told_none(&self) -> bool {
        self.told.values().sum::<u64>() == 0
    }

    /// For people.
    #[must_use]
    pub fn line(&self) -> String {
        let Self { replica, behaviours, told } = self;
        if told.is_empty() {
            return format!("replica {replica} did not say (it was to tell {})", behaviours.join("+"));
        }
        let needs = if self.told_none() { advice(told.keys().map(String::as_str)) } else { String::new() };
        let colon = if needs.is_empty() { "" } else { ": " };
        format!("replica {replica} told {}{colon}{needs}", in_words(told))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn liars(behaviours: &[&str]) -> Liars {
        Liars::new(BTreeMap::from([(2, behaviours.iter().map(ToString::to_string).collect())]), 7)
    }

    fn status(replica: u16, lies: &[(&str, u64)]) -> Option<Status> {
        let lies = lies.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        Some(Status { replica, lies, ..Status::default() })
    }

    #[test]
    fn the_lies_of_a_replica_are_told_to_its_process_and_to_no_other() {
        let liars = liars(&["mute", "delay:by=200ms", "equivocate"]);
        assert_eq!(liars.behaviour(2).as_deref(), Some("mute+delay:by=200ms+equivocate"));
        assert_eq!((liars.behaviour(1), liars.ids(), liars.seed()), (None, vec![2], 7));
    }

    #[test]
    fn lies_of_a_process_that_was_killed_are_counted_with_those_of_the_next() {
        let mut told = liars(&["mute", "equivocate"]);
        told.note_end(&status(2, &[("mute", 3), ("equivocate", 0)]).unwrap());
        told.note_end(&status(1, &[]).unwrap());
        let [lying] = &told.report(&[status(1, &[]), status(2, &[("mute", 4), ("equivocate", 0)])])[..]
        else {
            panic!("there is one liar")
        };
        assert_eq!(lying.line(), "replica 2 told equivocate 0, mute 7");
        assert!(!lying.told_none());
        assert!(told.trusted(&[status(1, &[]), status(2, &[])])[1].is_none());
        told.turn(1, "mute");
        told.turn(2, "mute");
        assert!(told.is_liar(1) && !told.must_lie(1) && told.must_lie(2) && !told.must_lie(0));
        let silent = &liars(&["mute"]).report(&[None])[0];
        assert!(silent.told_none() && silent.line().contains("did not say"), "{}", silent.line());
    }
}
