//! Which faults were asked for, and when each is due.

use std::str::FromStr;
use std::time::Duration;

use anyhow::bail;
use quorate_bench::cluster::Deed;

use super::{Args, absent};

/// Whom a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    Replica(u16),
    /// Whoever is the primary at that time.
    Primary,
    /// Whoever was killed or paused last and is still gone.
    Last,
    All,
}

/// When a fault is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// So long after the load began.
    Once(Duration),
    /// Every so often.
    Every(Duration),
    /// When so many requests were answered since the replica went.
    After(u64),
}

/// A replica and a time, as in `0@3s`, `primary@3s`, `primary@every:5s` or `0@after:100000`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) who: Who,
    pub(crate) when: When,
}

impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fix = "write a replica and a time, such as 0@3s or primary@3s";
        let (who, when) = text.split_once('@').ok_or(fix)?;
        let who = match who {
            "primary" => Who::Primary,
            "last" => Who::Last,
            number => Who::Replica(number.parse().map_err(|_| fix)?),
        };
        let when = match when.split_once(':') {
            Some(("every", period)) => When::Every(super::duration(period)?),
            Some(("after", requests)) => match requests.parse() {
                Ok(requests) if requests > 0 => When::After(requests),
                _ => {
                    return Err("write a number of requests behind `after:`, such as after:100000".to_owned());
                }
            },
            Some(_) | None => When::Once(super::duration(when)?),
        };
        Ok(Self { who, when })
    }
}

/// One fault to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Planned {
    /// Since the load began. With `requests`, when what it makes up for is due.
    pub(crate) after: Duration,
    /// Not before so many requests were answered since the replica went.
    pub(crate) requests: Option<u64>,
    pub(crate) deed: Deed,
    pub(crate) who: Who,
    /// One of many that `every:` stands for.
    pub(crate) of_series: bool,
}

impl Planned {
    fn at(after: Duration, deed: Deed, who: Who) -> Self {
        Self { after, requests: None, deed, who, of_series: false }
    }

    /// One that follows from how the cluster stands.
    pub(crate) fn now(deed: Deed, who: Who) -> Self {
        Self::at(Duration::ZERO, deed, who)
    }
}

/// Everything that was asked for, in order of time.
pub(crate) fn plan(args: &Args) -> anyhow::Result<Vec<Planned>> {
    let mut plan = Vec::new();
    let mut random = SplitMix(args.seed);
    let asked = [
        (Deed::Kill, &args.kill),
        (Deed::Stop, &args.stop),
        (Deed::Restart, &args.restart),
        (Deed::Pause, &args.pause),
        (Deed::Resume, &args.resume),
    ];
    let mut counted = Vec::new();
    for (deed, faults) in asked {
        for At { who, when } in faults {
            check(deed, *who, args.replicas)?;
            match when {
                When::Once(after) => plan.push(Planned::at(*after, deed, *who)),
                When::Every(period) => {
                    plan.extend(series(deed, *who, *period, (args.duration, &mut random))?)
                }
                When::After(_) if deed.undone_by().is_some() => {
                    bail!("`after:` is for --restart and --resume; say when to {} with a time", deed.verb())
                }
                When::After(requests) => counted.push((deed, *who, *requests)),
            }
        }
    }
    let all = |deed, times: &[Duration]| {
        times.iter().map(|after| Planned::at(*after, deed, Who::All)).collect::<Vec<_>>()
    };
    plan.extend(all(Deed::Kill, &args.kill_all));
    plan.extend(all(Deed::Restart, &args.restart_all));
    if let Some(late) = plan.iter().find(|planned| planned.after > args.duration) {
        bail!("a fault after {:?} would come too late; lengthen --duration", late.after);
    }
    plan.sort_unstable();
    for (deed, who, requests) in counted {
        let after = undoes(&plan, deed, who);
        plan.push(Planned { requests: Some(requests), ..Planned::at(after, deed, who) });
    }
    plan.sort_unstable();
    absent::check(&plan, args.replicas)?;
    Ok(plan)
}

/// When the fault is due that somebody comes back from after so many requests; never, if there is none.
fn undoes(plan: &[Planned], deed: Deed, who: Who) -> Duration {
    let mut faults = plan.iter().filter(|fault| fault.deed.undone_by() == Some(deed) && !fault.of_series);
    let found = match who {
        Who::Last | Who::Primary => faults.next_back(),
        Who::Replica(_) | Who::All => {
            let named = faults.clone().find(|fault| fault.who == who);
            // It may be the one that was the primary.
            named.or_else(|| faults.find(|fault| matches!(fault.who, Who::Primary | Who::All)))
        }
    };
    found.map_or(Duration::MAX, |fault| fault.after)
}

fn check(deed: Deed, who: Who, replicas: u16) -> anyhow::Result<()> {
    match (deed.undone_by(), who) {
        (_, Who::Replica(replica)) if replica >= replicas => {
            bail!("there is no replica {replica}; they are numbered from 0 to {}", replicas - 1)
        }
        (None, Who::Primary) => {
            bail!("who is gone is nobody's primary; restart or resume `last`, or a replica by its number")
        }
        (Some(_), Who::Last) => bail!("`last` is for --restart and --resume; name a replica, or `primary`"),
        (_, Who::Replica(_) | Who::Primary | Who::Last | Who::All) => Ok(()),
    }
}

/// One fault in each period, in its first quarter at random, made up for half a period later: so whoever comes back has
/// a quarter of the period to catch up before the next one goes.
fn series(
    deed: Deed,
    who: Who,
    period: Duration,
    (duration, random): (Duration, &mut SplitMix),
) -> anyhow::Result<Vec<Planned>> {
    let Some(undo) = deed.undone_by() else {
        bail!(
            "`every:` is for --kill and --pause, which restart or resume their replicas half a period later"
        );
    };
    let mut planned = Vec::new();
    let mut begin = Duration::ZERO;
    while begin + period <= duration {
        let offset = period.mul_f64(random.fraction() / 4.0);
        let after = begin + offset;
        planned.push(Planned { of_series: true, ..Planned::at(after, deed, who) });
        let back = if who == Who::Primary { Who::Last } else { who };
        planned.push(Planned { of_series: true, ..Planned::at(after + period / 2, undo, back) });
        begin += period;
    }
    Ok(planned)
}

/// A small generator: the same seed, the same faults.
struct SplitMix(u64);

impl SplitMix {
    /// From 0 up to, but not, 1.
    fn fraction(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) as f64 / 2.0_f64.powi(64)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        args: Args,
    }

    fn planned(words: &str) -> anyhow::Result<Vec<Planned>> {
        let words = std::iter::once("testbed").chain(words.split_whitespace());
        plan(&Alone::try_parse_from(words)?.args)
    }

    #[test]
    fn faults_come_in_order_of_time() {
        let plan = planned(
            "--restart last@6s --kill primary@3s --kill-all 8s --restart-all 9s --pause 2@1s --resume 2@2s",
        )
        .unwrap();
        let told: Vec<_> = plan.iter().map(|fault| (fault.after.as_secs(), fault.deed, fault.who)).collect();
        let expected = [
            (1, Deed::Pause, Who::Replica(2)),
            (2, Deed::Resume, Who::Replica(2)),
            (3, Deed::Kill, Who::Primary),
            (6, Deed::Restart, Who::Last),
            (8, Deed::Kill, Who::All),
            (9, Deed::Restart, Who::All),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_series_kills_once_in_each_period_and_restarts_half_a_period_later() {
        let words = "--kill primary@every:5s --duration 250s --seed 7";
        let plan = planned(words).unwrap();
        let kills: Vec<Duration> =
            plan.iter().filter(|fault| fault.deed == Deed::Kill).map(|fault| fault.after).collect();
        assert_eq!((kills.len(), plan.len()), (50, 100));
        for (index, after) in kills.iter().enumerate() {
            let within = after.as_secs_f64() - 5.0 * index as f64;
            assert!((0.0..1.25).contains(&within), "kill {index} after {after:?}");
        }
        for pair in plan.chunks(2) {
            let [kill, restart] = pair else { panic!("faults come in pairs") };
            assert_eq!((restart.deed, restart.who), (Deed::Restart, Who::Last));
            assert_eq!(restart.after, kill.after + Duration::from_millis(2500));
        }
        assert_eq!(planned(words).unwrap(), plan, "the same seed, the same faults");
        assert_ne!(planned("--kill primary@every:5s --duration 250s --seed 8").unwrap(), plan);
    }

    #[test]
    fn a_fault_is_a_replica_and_a_time() {
        let at = |text: &str| text.parse::<At>();
        let once = |who, milliseconds| Ok(At { who, when: When::Once(Duration::from_millis(milliseconds)) });
        assert_eq!(at("2@1500ms"), once(Who::Replica(2), 1500));
        assert_eq!(at("primary@3s"), once(Who::Primary, 3000));
        assert_eq!(at("last@3s"), once(Who::Last, 3000));
        let every = When::Every(Duration::from_secs(5));
        assert_eq!(at("primary@every:5s"), Ok(At { who: Who::Primary, when: every }));
        assert_eq!(at("3@after:100000"), Ok(At { who: Who::Replica(3), when: When::After(100_000) }));
        for wrong in [
            "",
            "3s",
            "x@3s",
            "0@",
            "0@soon",
            "-1@3s",
            "0@every:",
            "backup@1s",
            "0@after:",
            "0@after:0",
            "0@after:5s",
            "0@then:5s",
        ] {
            assert!(at(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn faults_that_make_no_sense_are_refused_with_what_would() {
        for (words, fix) in [
            ("--kill 4@1s", "numbered from 0 to 3"),
            ("--kill 0@11s", "lengthen --duration"),
            ("--restart primary@1s", "restart or resume `last`"),
            ("--kill last@1s", "name a replica, or `primary`"),
            ("--restart 0@every:2s", "`every:` is for --kill and --pause"),
            ("--kill-all 1s", "4 of 4 replicas would be gone at the end, and 1 may be"),
            ("--kill 0@1s --pause 1@2s", "2 of 4 replicas would be gone"),
            ("--kill primary@1s --kill primary@2s", "bring some back with --restart-all"),
            ("--kill 0@1s --kill 0@2s", "--kill 0 after 2 s cannot be done: replica 0 is gone by then"),
            ("--restart 0@1s", "--restart 0 after 1 s cannot be done: replica 0 runs by then"),
            ("--resume 0@1500ms", "--resume 0 after 1.5 s cannot be done: replica 0 runs by then"),
            ("--pause 0@1s --restart 0@2s", "is paused, not killed; use --resume"),
            ("--kill 0@1s --resume 0@2s", "is killed, not paused; use --restart"),
            ("--restart last@1s", "nobody was killed"),
            ("--pause 0@1s --restart last@2s", "nobody was killed"),
            ("--restart-all 1s", "--restart-all after 1 s cannot be done: nobody was killed"),
            ("--kill-all 1s --kill-all 2s --restart-all 3s", "all replicas are gone by then"),
            ("--kill 3@after:1000", "say when to kill with a time"),
            (
                "--restart 3@after:1000",
                "--restart 3 after 1000 requests cannot be done: replica 3 runs by then",
            ),
            ("--pause 3@1s --restart 3@after:9", "is paused, not killed; use --resume"),
            (
                "--kill 3@1s --kill 2@1s --restart 3@after:9",
                "no request is answered while 2 of 4 replicas are gone",
            ),
        ] {
            let error = planned(words).unwrap_err().to_string();
            assert!(error.contains(fix), "{words}: {error}");
        }
    }

    #[test]
    fn faults_that_may_make_sense_are_planned() {
        for words in [
            "--kill 0@1s",
            "--replicas 7 --kill 0@1s --pause 1@1s",
            "--pause 0@1s --kill 0@2s --restart 0@3s",
            "--kill 0@1s --kill 1@1s --restart-all 2s",
            // Whether replica 3 was the primary, and is gone, shows only when the plan runs.
            "--kill primary@1s --restart 3@2s --kill 2@3s",
            "--kill 0@1s --kill-all 2s --restart-all 3s",
            "--kill 0@every:2s --kill-all 3s --restart-all 4s",
            "--kill 3@1s --restart 3@after:1000",
            "--kill 3@1s --restart 3@after:1000 --kill 3@9s",
            "--kill primary@1s --restart last@after:1000 --pause 2@2s --resume 2@after:1000",
            "--kill primary@1s --restart 0@after:1000",
        ] {
            let error = planned(words).err();
            assert!(error.is_none(), "{words}: {error:?}");
        }
    }
}
