//! What goes wrong during a run, and when: replicas that are killed, and started again.

use std::str::FromStr;
use std::time::{Duration, Instant};

use quorate_bench::load::Live;

use super::cluster::Cluster;

/// A replica and a time, as in `0@3s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) replica: u16,
    pub(crate) after: Duration,
}

impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fix = "write a replica and a time, such as 0@3s";
        let (replica, after) = text.split_once('@').ok_or(fix)?;
        Ok(Self { replica: replica.parse().map_err(|_| fix)?, after: super::duration(after)? })
    }
}

/// What is done to a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Deed {
    Kill,
    Restart,
}

/// One fault that happened.
#[derive(Debug)]
struct Killed {
    at: Instant,
    /// The view it was killed in, if it was that view's primary.
    reign: Option<u64>,
}

/// Faults to come, in order, and those that came.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    plan: Vec<(Duration, Deed, u16)>,
    killed: Vec<Killed>,
}

impl Faults {
    pub(crate) fn new(kills: &[At], restarts: &[At]) -> Self {
        let kills = kills.iter().map(|at| (at.after, Deed::Kill, at.replica));
        let restarts = restarts.iter().map(|at| (at.after, Deed::Restart, at.replica));
        let mut plan: Vec<_> = kills.chain(restarts).collect();
        // The next one last, to be taken off the end.
        plan.sort_by(|one, other| other.cmp(one));
        Self { plan, killed: Vec::new() }
    }

    /// When the next fault is due, counted from the beginning of the load.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.plan.last().map(|(after, _, _)| *after)
    }

    /// Does what is due.
    pub(crate) async fn strike(&mut self, cluster: &mut Cluster) -> anyhow::Result<()> {
        let Some((_, deed, replica)) = self.plan.pop() else { return Ok(()) };
        match deed {
            Deed::Kill => {
                let status = cluster.statuses().await.into_iter().nth(usize::from(replica)).flatten();
                let reign = status.filter(|status| status.primary == replica).map(|status| status.view);
                cluster.kill(replica).await?;
                self.killed.push(Killed { at: Instant::now(), reign });
            }
            Deed::Restart => cluster.restart(replica).await?,
        }
        Ok(())
    }

    /// The longest time from a primary's death to the first accepted answer of a later view; none if no primary died,
    /// or none was replaced.
    pub(crate) fn recovery(&self, live: &Live) -> Option<Duration> {
        let recovered = self.killed.iter().filter_map(|killed| {
            let answered = live.first_answer_beyond(killed.reign?, killed.at)?;
            Some(answered.duration_since(killed.at))
        });
        recovered.max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_come_in_order_of_time() {
        let at = |replica, seconds| At { replica, after: Duration::from_secs(seconds) };
        let mut faults = Faults::new(&[at(0, 3), at(1, 9)], &[at(0, 6)]);
        let mut order = Vec::new();
        while let Some((after, deed, replica)) = faults.plan.pop() {
            order.push((after.as_secs(), deed, replica));
        }
        assert_eq!(order, [(3, Deed::Kill, 0), (6, Deed::Restart, 0), (9, Deed::Kill, 1)]);
    }

    #[test]
    fn a_fault_is_a_replica_and_a_time() {
        assert_eq!("2@1500ms".parse(), Ok(At { replica: 2, after: Duration::from_millis(1500) }));
        for wrong in ["", "3s", "x@3s", "0@", "0@soon", "-1@3s"] {
            assert!(wrong.parse::<At>().is_err(), "{wrong}");
        }
    }
}
