//! Replicas that lie on purpose: who tells which lies, and how often each was told.

use std::collections::BTreeMap;
#[cfg(feature = "byzantine")]
use std::str::FromStr;

use anyhow::bail;
use quorate_node::sins::in_words;
use quorate_node::status::Status;
use quorate_protocol::committee::faults;
use serde::Serialize;

use super::Args;
use super::plan::Planned;

/// A replica and its lies, as in `2:equivocate` or `2:mute+delay:by=200ms`.
#[cfg(feature = "byzantine")]
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Accused {
    replica: u16,
    sins: Vec<quorate_host::byzantine::Sin>,
}

#[cfg(feature = "byzantine")]
impl FromStr for Accused {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fix = "write a replica and what it does, such as 2:equivocate or 2:mute+delay:by=200ms";
        let (replica, sins) = text.split_once(':').ok_or(fix)?;
        let replica = replica.parse().map_err(|_| fix)?;
        Ok(Self { replica, sins: crate::byzantine::sins(sins)? })
    }
}

/// Everybody who lies.
#[derive(Debug, Clone, Default)]
pub(crate) struct Liars {
    /// What each is told to do, as its process is told.
    behaviours: BTreeMap<u16, Vec<String>>,
    /// What earlier processes of each have told.
    told: BTreeMap<u16, BTreeMap<String, u64>>,
    seed: u64,
}

/// One liar in a report. Field names are part of the interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Lying {
    pub(crate) replica: u16,
    /// What it was to do.
    pub(crate) behaviours: Vec<String>,
    /// How often it did, by the name of the behaviour.
    pub(crate) told: BTreeMap<String, u64>,
}

impl Liars {
    /// Those whom the arguments name.
    pub(crate) fn new(args: &Args) -> anyhow::Result<Self> {
        let mut behaviours: BTreeMap<u16, Vec<String>> = BTreeMap::new();
        for (replica, sins) in asked(args) {
            if replica >= args.replicas {
                bail!("there is no replica {replica}; they are numbered from 0 to {}", args.replicas - 1);
            }
            behaviours.entry(replica).or_default().extend(sins);
        }
        Ok(Self { behaviours, told: BTreeMap::new(), seed: args.seed })
    }

    /// What has to be said before a run of which nobody can tell how it should end.
    pub(crate) fn warning(&self, replicas: u16, plan: &[Planned]) -> Option<String> {
        let (liars, f) = (self.behaviours.len(), faults(usize::from(replicas)));
        if liars > f {
            return Some(format!(
                "warning: {liars} of {replicas} replicas lie, and the cluster tolerates {f}: nothing is promised, whatever \
                 the verdict"
            ));
        }
        (liars > 0 && liars == f && !plan.is_empty()).then(|| {
            format!(
                "warning: {liars} of {replicas} replicas lie, and the cluster tolerates {f}: while another one is gone, \
                 nothing is promised"
            )
        })
    }

    pub(crate) fn is_liar(&self, replica: u16) -> bool {
        self.behaviours.contains_key(&replica)
    }

    /// In order of id.
    pub(crate) fn ids(&self) -> Vec<u16> {
        self.behaviours.keys().copied().collect()
    }

    /// What a replica's process is to be told besides the usual.
    pub(crate) fn words(&self, replica: u16) -> Vec<String> {
        let Some(behaviours) = self.behaviours.get(&replica) else { return Vec::new() };
        let (joined, seed) = (behaviours.join("+"), self.seed.to_string());
        ["--byzantine".to_owned(), joined, "--byzantine-seed".to_owned(), seed].into()
    }

    /// What only those say who do not lie.
    pub(crate) fn trusted(&self, statuses: &[Option<Status>]) -> Vec<Option<Status>> {
        let honest = |status: &Option<Status>| status.clone().filter(|status| !self.is_liar(status.replica));
        statuses.iter().map(honest).collect()
    }

    /// A process is about to end, which said this last.
    pub(crate) fn note_end(&mut self, status: &Status) {
        if self.is_liar(status.replica) {
            add(self.told.entry(status.replica).or_default(), &status.lies);
        }
    }

    /// What came of each, where those that still run say this.
    pub(crate) fn report(&self, statuses: &[Option<Status>]) -> Vec<Lying> {
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

#[cfg(feature = "byzantine")]
fn asked(args: &Args) -> Vec<(u16, Vec<String>)> {
    let of = |accused: &Accused| (accused.replica, accused.sins.iter().map(ToString::to_string).collect());
    args.byzantine.iter().map(of).collect()
}

/// A program without lies takes no orders to lie.
#[cfg(not(feature = "byzantine"))]
fn asked(_args: &Args) -> Vec<(u16, Vec<String>)> {
    Vec::new()
}

impl Lying {
    /// Whether it told none at all: then the run has tried nothing.
    pub(crate) fn told_none(&self) -> bool {
        self.told.values().sum::<u64>() == 0
    }

    /// For people.
    pub(crate) fn line(&self) -> String {
        let Self { replica, behaviours, told } = self;
        if told.is_empty() {
            return format!("replica {replica} did not say (it was to tell {})", behaviours.join("+"));
        }
        format!("replica {replica} told {}", in_words(told))
    }
}

#[cfg(test)]
#[cfg(feature = "byzantine")]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        args: Args,
    }

    fn liars(words: &str) -> Result<(Liars, Vec<Planned>), String> {
        let words = std::iter::once("testbed").chain(words.split_whitespace());
        let args = Alone::try_parse_from(words).map_err(|error| error.to_string())?.args;
        let plan = super::super::plan::plan(&args).map_err(|error| error.to_string())?;
        Ok((Liars::new(&args).map_err(|error| error.to_string())?, plan))
    }

    fn status(replica: u16, lies: &[(&str, u64)]) -> Option<Status> {
        let lies = lies.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        Some(Status { replica, lies, ..Status::default() })
    }

    #[test]
    fn the_lies_of_a_replica_are_told_to_its_process_and_to_no_other() {
        let (liars, _) =
            liars("--byzantine 2:mute+delay:by=200ms --byzantine 2:equivocate --seed 7").unwrap();
        let expected = ["--byzantine", "mute+delay:by=200ms+equivocate", "--byzantine-seed", "7"];
        assert_eq!(liars.words(2), expected);
        assert_eq!((liars.words(1).len(), liars.ids()), (0, vec![2]));
    }

    #[test]
    fn accusations_that_make_no_sense_are_refused_with_what_would() {
        for (words, fix) in [
            ("--byzantine equivocate", "such as 2:equivocate"),
            ("--byzantine x:equivocate", "such as 2:equivocate"),
            ("--byzantine 2:", "equivocate"),
            ("--byzantine 2:lie", "equivocate"),
            ("--byzantine 4:equivocate", "numbered from 0 to 3"),
        ] {
            let error = liars(words).map(drop).unwrap_err();
            assert!(error.contains(fix), "{words}: {error}");
        }
    }

    #[test]
    fn more_liars_than_are_tolerated_are_allowed_with_a_plain_warning() {
        let warning = |words: &str| {
            let (liars, plan) = liars(words).unwrap();
            liars.warning(if words.contains("-n 7") { 7 } else { 4 }, &plan)
        };
        assert_eq!((warning(""), warning("--byzantine 2:mute"), warning("--kill 0@1s")), (None, None, None));
        let two = warning("--byzantine 2:mute --byzantine 3:mute").unwrap();
        assert!(
            two.contains("2 of 4 replicas lie, and the cluster tolerates 1: nothing is promised"),
            "{two}"
        );
        assert_eq!(warning("-n 7 --byzantine 2:mute --byzantine 3:mute"), None);
        let killed = warning("--byzantine 2:mute --kill 0@1s --restart 0@2s").unwrap();
        assert!(killed.contains("while another one is gone, nothing is promised"), "{killed}");
    }

    #[test]
    fn lies_of_a_process_that_was_killed_are_counted_with_those_of_the_next() {
        let (mut liars, _) = liars("--byzantine 2:mute+equivocate").unwrap();
        liars.note_end(&status(2, &[("mute", 3), ("equivocate", 0)]).unwrap());
        liars.note_end(&status(1, &[]).unwrap());
        let [lying] = &liars.report(&[status(1, &[]), status(2, &[("mute", 4), ("equivocate", 0)])])[..]
        else {
            panic!("there is one liar")
        };
        assert_eq!(lying.line(), "replica 2 told equivocate 0, mute 7");
        assert!(!lying.told_none());
        assert!(liars.trusted(&[status(1, &[]), status(2, &[])])[1].is_none());
        let silent = &self::liars("--byzantine 2:mute").unwrap().0.report(&[None])[0];
        assert!(silent.told_none() && silent.line().contains("did not say"), "{}", silent.line());
    }
}
