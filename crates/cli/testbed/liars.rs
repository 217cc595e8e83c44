//! Replicas that lie on purpose: who is told to tell which lies.

use std::collections::BTreeMap;
#[cfg(feature = "byzantine")]
use std::str::FromStr;

use anyhow::bail;
use quorate_bench::cluster::Liars;
use quorate_protocol::committee::faults;

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

/// Those whom the arguments name.
pub(crate) fn liars(args: &Args) -> anyhow::Result<Liars> {
    let mut behaviours: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for (replica, sins) in asked(args) {
        if replica >= args.replicas {
            bail!("there is no replica {replica}; they are numbered from 0 to {}", args.replicas - 1);
        }
        behaviours.entry(replica).or_default().extend(sins);
    }
    Ok(Liars::new(behaviours, args.seed))
}

/// What has to be said before a run of which nobody can tell how it should end.
pub(crate) fn warning(liars: &Liars, replicas: u16, plan: &[Planned]) -> Option<String> {
    let (liars, f) = (liars.ids().len(), faults(usize::from(replicas)));
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

    fn asked_for(words: &str) -> Result<(Liars, Vec<Planned>), String> {
        let words = std::iter::once("testbed").chain(words.split_whitespace());
        let args = Alone::try_parse_from(words).map_err(|error| error.to_string())?.args;
        let plan = super::super::plan::plan(&args).map_err(|error| error.to_string())?;
        Ok((liars(&args).map_err(|error| error.to_string())?, plan))
    }

    #[test]
    fn what_is_said_of_a_replica_in_several_words_is_all_told_to_it() {
        let (liars, _) =
            asked_for("--byzantine 2:mute+delay:by=200ms --byzantine 2:equivocate --seed 7").unwrap();
        assert_eq!(liars.behaviour(2).as_deref(), Some("mute+delay:by=200ms+equivocate"));
        assert_eq!((liars.ids(), liars.seed()), (vec![2], 7));
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
            let error = asked_for(words).map(drop).unwrap_err();
            assert!(error.contains(fix), "{words}: {error}");
        }
    }

    #[test]
    fn more_liars_than_are_tolerated_are_allowed_with_a_plain_warning() {
        let warning = |words: &str| {
            let (liars, plan) = asked_for(words).unwrap();
            super::warning(&liars, if words.contains("-n 7") { 7 } else { 4 }, &plan)
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
}
