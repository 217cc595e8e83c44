//! What goes wrong during a run, and when: replicas that are killed or stopped, and come back.

use std::time::{Duration, Instant};

use quorate_bench::load::Live;
use quorate_node::status::Status;
use serde::Serialize;

use super::cluster::Cluster;
use super::plan::{Deed, Planned, Who};
use super::rejoin::{Rejoined, Returns};

/// How long a fault waits for a primary to strike at, where there is none for a moment.
const NO_PRIMARY: Duration = Duration::from_secs(2);

/// What tells that answers come again.
#[derive(Debug, Clone, Copy)]
enum Sign {
    /// An answer of a later view than this one.
    ViewBeyond(u64),
    /// The first answer after enough replicas came back.
    Probe(usize),
    /// The fault is not one that stops answers.
    None,
}

/// One fault that happened.
#[derive(Debug)]
struct Fault {
    at: Instant,
    deed: Deed,
    replicas: Vec<u16>,
    /// Why it could not be done, if it was done to nobody.
    could_not: Option<String>,
    sign: Sign,
}

/// A fault in a report. Field names are part of the interface.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct FaultReport {
    /// Since the load began.
    pub(crate) at_ms: u64,
    pub(crate) deed: Deed,
    pub(crate) replicas: Vec<u16>,
    /// Why it could not be done; null if it was done.
    pub(crate) could_not: Option<String>,
    /// The view whose primary it struck at; null if it was no primary's.
    pub(crate) primary_of_view: Option<u64>,
    /// From the fault to the first new answer; null if it stops none, or none came.
    pub(crate) recovery_ms: Option<u64>,
}

/// Faults to come, in order, and those that came.
#[derive(Debug)]
pub(crate) struct Faults {
    began: Instant,
    /// The next one last, to be taken off the end.
    plan: Vec<Planned>,
    came: Vec<Fault>,
    returns: Returns,
}

impl Faults {
    pub(crate) fn new(mut plan: Vec<Planned>) -> Self {
        plan.reverse();
        Self { began: Instant::now(), plan, came: Vec::new(), returns: Returns::default() }
    }

    /// The load begins.
    pub(crate) fn begin(&mut self) {
        self.began = Instant::now();
    }

    /// When the next fault is due, counted from the beginning of the load.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.plan.last().map(|planned| planned.after)
    }

    /// Whether somebody is on its way back, and has to be watched.
    pub(crate) fn is_watching(&self) -> bool {
        self.returns.is_watching()
    }

    /// Looks how far those that came back have come.
    pub(crate) fn look(&mut self, statuses: &[Option<Status>]) {
        self.returns.look(statuses, Instant::now());
    }

    /// Does what is due.
    pub(crate) async fn strike(&mut self, cluster: &mut Cluster, live: &Live) -> anyhow::Result<()> {
        let Some(Planned { deed, who, .. }) = self.plan.pop() else { return Ok(()) };
        let reign = match (deed, who) {
            (Deed::Kill | Deed::Pause, Who::Replica(_) | Who::Primary) => primary(cluster, who).await,
            (Deed::Kill | Deed::Pause, Who::All | Who::Last) | (Deed::Restart | Deed::Resume, _) => None,
        };
        let targets = self.targets(deed, who, (reign, cluster));
        let replicas: Vec<u16> =
            targets.iter().copied().filter(|replica| cluster.allows(deed, *replica)).collect();
        let could_not = replicas.is_empty().then(|| could_not(who, targets.first().copied(), cluster));
        let stood = !cluster.has_quorum();
        let struck = reign.filter(|(primary, _)| replicas.contains(primary)).map(|(_, view)| view);
        let before = match deed {
            Deed::Kill if who == Who::All => cluster.statuses().await,
            Deed::Kill | Deed::Restart | Deed::Pause | Deed::Resume => Vec::new(),
        };
        self.returns.look(&before, Instant::now());
        let at = Instant::now();
        match deed {
            Deed::Kill => cluster.kill(&replicas).await?,
            Deed::Restart => cluster.restart(&replicas)?,
            Deed::Pause => cluster.pause(&replicas).await?,
            Deed::Resume => cluster.resume(&replicas).await?,
        }
        let mut sign = struck.map_or(Sign::None, Sign::ViewBeyond);
        match deed {
            Deed::Kill | Deed::Pause => self.returns.gone(&replicas),
            Deed::Restart | Deed::Resume => {
                self.returns.back(&replicas, self.began, at);
                if stood && cluster.has_quorum() {
                    sign = Sign::Probe(live.probe());
                }
            }
        }
        self.came.push(Fault { at, deed, replicas, could_not, sign });
        Ok(())
    }

    /// Whom a fault is meant for; it may not be possible with each of them.
    fn targets(&self, deed: Deed, who: Who, (reign, cluster): (Option<(u16, u64)>, &Cluster)) -> Vec<u16> {
        match who {
            Who::Replica(replica) => vec![replica],
            Who::Primary => reign.map(|(primary, _)| primary).into_iter().collect(),
            Who::All => (0..cluster.size()).collect(),
            Who::Last => {
                let gone =
                    self.came.iter().rev().filter(|fault| matches!(fault.deed, Deed::Kill | Deed::Pause));
                let mut gone = gone.flat_map(|fault| &fault.replicas);
                gone.find(|replica| cluster.allows(deed, **replica)).copied().into_iter().collect()
            }
        }
    }

    /// What is left to be told when the run is over.
    pub(crate) fn report(&self, live: &Live) -> Vec<FaultReport> {
        let told = |fault: &Fault| {
            let answered = match fault.sign {
                Sign::ViewBeyond(view) => live.first_answer_beyond(view, fault.at),
                Sign::Probe(probe) => live.probed(probe),
                Sign::None => None,
            };
            FaultReport {
                at_ms: milliseconds(fault.at.duration_since(self.began)),
                deed: fault.deed,
                replicas: fault.replicas.clone(),
                could_not: fault.could_not.clone(),
                primary_of_view: match fault.sign {
                    Sign::ViewBeyond(view) => Some(view),
                    Sign::Probe(_) | Sign::None => None,
                },
                recovery_ms: answered.map(|at| milliseconds(at.duration_since(fault.at))),
            }
        };
        self.came.iter().map(told).collect()
    }

    /// Which of those that came back caught up, and how soon.
    pub(crate) fn rejoined(&mut self, statuses: &[Option<Status>]) -> Vec<Rejoined> {
        self.returns.finish(statuses, Instant::now())
    }
}

/// Why nothing was done to those whom a fault was meant for.
fn could_not(who: Who, target: Option<u16>, cluster: &Cluster) -> String {
    match (who, target) {
        (Who::Primary, _) => "primary: there was none".to_owned(),
        (Who::Replica(_), Some(replica)) => format!("{replica}: it was {}", cluster.standing(replica)),
        (Who::All, _) => "anybody: no replica was in that state".to_owned(),
        (Who::Last | Who::Replica(_), _) => "anybody: nobody was gone".to_owned(),
    }
}

pub(crate) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The primary and its view, as the replicas in the newest view see it. One that is named may be any; who strikes at
/// the primary waits a moment until there is one.
async fn primary(cluster: &Cluster, who: Who) -> Option<(u16, u64)> {
    let until = Instant::now() + NO_PRIMARY;
    loop {
        let statuses = cluster.statuses().await;
        let newest = statuses.iter().flatten().max_by_key(|status| status.view);
        let reign = newest.map(|status| (status.primary, status.view));
        let serves = |(primary, view): &(u16, u64)| {
            let itself = statuses.get(usize::from(*primary)).and_then(Option::as_ref);
            itself.is_some_and(|status| status.view == *view && status.status == "normal")
        };
        if let Some(reign) = reign.filter(serves) {
            return Some(reign);
        }
        if who != Who::Primary || Instant::now() > until {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
