//! Who is gone when, as far as a plan can tell before it runs: faults that could not happen, and clusters that would be
//! left with too few replicas, are refused at once.

use anyhow::bail;
use quorate_bench::cluster::Deed;
use quorate_protocol::committee::faults;

use super::plan::{Planned, Who};

/// A replica that is gone: killed, or paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Absence {
    /// None is whoever was the primary: only the run can tell.
    replica: Option<u16>,
    by: Deed,
}

/// Sees that each planned deed can be done, and that at most f replicas are gone for good.
pub(super) fn check(plan: &[Planned], replicas: u16) -> anyhow::Result<()> {
    let mut gone = Vec::new();
    let tolerated = faults(usize::from(replicas));
    for planned in plan {
        let after = match planned.requests {
            Some(requests) => format!("{requests} requests"),
            None => format!("{} s", planned.after.as_secs_f64()),
        };
        if planned.requests.is_some() && gone.len() > tolerated {
            bail!(
                "{} after {after} cannot be done: no request is answered while {} of {replicas} replicas are gone; bring \
                 one back by the clock",
                flag(*planned),
                gone.len()
            );
        }
        match (step(&mut gone, *planned, replicas), planned.of_series) {
            // What a series does is given by chance; one that finds nothing to do says so in the report.
            (Ok(()), _) | (Err(_), true) => {}
            (Err(why), false) => bail!("{} after {after} cannot be done: {why}", flag(*planned)),
        }
    }
    if gone.len() > tolerated {
        bail!(
            "{} of {replicas} replicas would be gone at the end, and {tolerated} may be: no operation would be answered \
             any more; bring some back with --restart-all, --restart or --resume",
            gone.len()
        );
    }
    Ok(())
}

/// As it was typed, but for the time.
fn flag(planned: Planned) -> String {
    let deed = planned.deed.verb();
    match planned.who {
        Who::Replica(replica) => format!("--{deed} {replica}"),
        Who::Primary => format!("--{deed} primary"),
        Who::Last => format!("--{deed} last"),
        Who::All => format!("--{deed}-all"),
    }
}

fn step(gone: &mut Vec<Absence>, planned: Planned, replicas: u16) -> Result<(), String> {
    let Planned { deed, who, .. } = planned;
    match deed {
        Deed::Kill | Deed::Pause => take(gone, deed, who, replicas),
        // Whoever is gone so comes back like one that was killed.
        Deed::Stop => take(gone, Deed::Kill, who, replicas),
        Deed::Restart => bring(gone, Deed::Kill, who),
        Deed::Resume => bring(gone, Deed::Pause, who),
    }
}

fn take(gone: &mut Vec<Absence>, by: Deed, who: Who, replicas: u16) -> Result<(), String> {
    match who {
        Who::Replica(replica) => {
            let before = gone.iter().position(|absence| absence.replica == Some(replica));
            if let Some(at) = before {
                if (gone[at].by, by) != (Deed::Pause, Deed::Kill) {
                    return Err(format!("replica {replica} is gone by then; bring it back before"));
                }
                gone.remove(at);
            }
            gone.push(Absence { replica: Some(replica), by });
        }
        Who::Primary | Who::Last => gone.push(Absence { replica: None, by }),
        Who::All => {
            let dead = |id| gone.contains(&Absence { replica: Some(id), by });
            if (0..replicas).all(dead) {
                return Err("all replicas are gone by then; bring some back before".to_owned());
            }
            *gone = (0..replicas).map(|id| Absence { replica: Some(id), by }).collect();
        }
    }
    Ok(())
}

fn bring(gone: &mut Vec<Absence>, by: Deed, who: Who) -> Result<(), String> {
    let (done, fault) = match by {
        Deed::Pause => ("paused", "--pause"),
        Deed::Kill | Deed::Restart | Deed::Resume | Deed::Stop => ("killed", "--kill"),
    };
    let none = || format!("nobody was {done} and is still gone by then; {fault} somebody before");
    match who {
        Who::Replica(replica) => {
            if let Some(known) = gone.iter().position(|absence| absence.replica == Some(replica)) {
                match gone[known].by {
                    Deed::Pause if by == Deed::Kill => {
                        return Err(format!("replica {replica} is paused, not killed; use --resume"));
                    }
                    Deed::Kill if by == Deed::Pause => {
                        return Err(format!("replica {replica} is killed, not paused; use --restart"));
                    }
                    Deed::Kill | Deed::Pause | Deed::Restart | Deed::Resume | Deed::Stop => {}
                }
                gone.remove(known);
                return Ok(());
            }
            // It may be the one that was the primary.
            let perhaps = gone.iter().rposition(|absence| *absence == Absence { replica: None, by });
            let running = || format!("replica {replica} runs by then; {fault} it before");
            gone.remove(perhaps.ok_or_else(running)?);
        }
        Who::Last | Who::Primary => {
            let last = gone.iter().rposition(|absence| absence.by == by).ok_or_else(none)?;
            gone.remove(last);
        }
        Who::All => {
            let before = gone.len();
            gone.retain(|absence| absence.by != by);
            if gone.len() == before {
                return Err(none());
            }
        }
    }
    Ok(())
}
