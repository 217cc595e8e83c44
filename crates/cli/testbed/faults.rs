//! What goes wrong during a run, and when: replicas that are killed or stopped, and come back.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use quorate_bench::cluster::{Cluster, Deed};
use quorate_bench::load::{Live, Phase};
use quorate_bench::worker::WorkerError;
use quorate_node::status::Status;
use serde::Serialize;

use super::plan::{Planned, Who};
use super::rejoin::{Rejoined, Returns};
use super::rolling::Rolling;

/// How long a fault waits for a primary to strike at, where there is none for a moment.
const NO_PRIMARY: Duration = Duration::from_secs(2);

/// Deeds of one run that somebody may ask for while it runs.
pub(super) const ASKED_MAX: usize = 10_000;

/// Load before the first replica goes in a rolling restart.
const CALM: Duration = Duration::from_secs(2);

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
    /// Those that have their time, the next one last, to be taken off the end.
    plan: Vec<Planned>,
    /// Those that wait for requests.
    counted: Vec<Planned>,
    /// Whether any was to wait for requests, so that the plan takes as long as it takes.
    is_open_ended: bool,
    came: Vec<Fault>,
    returns: Returns,
    /// Every replica in turn, if that was asked for.
    rolling: Rolling,
    /// Whether anything was done yet.
    is_struck: bool,
}

impl Faults {
    pub(crate) fn new(plan: Vec<Planned>) -> Self {
        let (counted, mut plan): (Vec<_>, Vec<_>) =
            plan.into_iter().partition(|planned| planned.requests.is_some());
        plan.reverse();
        let is_open_ended = !counted.is_empty();
        let (came, returns, rolling) = (Vec::new(), Returns::default(), Rolling::default());
        let began = Instant::now();
        Self { began, plan, counted, is_open_ended, came, returns, rolling, is_struck: false }
    }

    /// The same, and every replica in turn.
    pub(crate) fn rolling(self, rolling: Rolling) -> Self {
        Self { is_open_ended: self.is_open_ended || rolling.is_unfinished(), rolling, ..self }
    }

    /// The load begins.
    pub(crate) fn begin(&mut self) {
        self.began = Instant::now();
    }

    /// When the next fault is due, counted from the beginning of the load.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.plan.last().map(|planned| planned.after)
    }

    /// Whether somebody is on its way back, or waits for requests to be, and has to be watched.
    pub(crate) fn is_watching(&self) -> bool {
        self.returns.is_watching() || !self.counted.is_empty() || self.rolling.is_unfinished()
    }

    /// Whether the load must go on for the sake of those who come back after so many requests. Where none are answered
    /// any more, and nobody will come back by the clock, it need not.
    pub(crate) fn is_unfinished(&self, cluster: &Cluster) -> bool {
        self.is_open_ended && (!self.plan.is_empty() || self.is_watching() && cluster.has_quorum())
    }

    /// Looks how far those that came back have come, and brings back whose requests were answered.
    pub(crate) async fn look(&mut self, cluster: &mut Cluster, live: &Live) -> anyhow::Result<()> {
        if !self.is_watching() {
            return Ok(());
        }
        let statuses = cluster.statuses().await;
        self.returns.look(&statuses, Instant::now());
        let all_are_back = !self.returns.is_watching() && self.began.elapsed() >= CALM;
        if let Some((deed, replica)) = self.rolling.next(&statuses, all_are_back) {
            self.carry_out(Planned::now(deed, Who::Replica(replica)), cluster, live).await?;
        }
        let matched = live.matched.load(Ordering::Relaxed);
        let is_due = |planned: &Planned| {
            let mut targets = self.targets(planned.deed, planned.who, (None, cluster)).into_iter();
            let missed = targets.next().and_then(|replica| self.returns.missed(replica, matched));
            missed >= planned.requests
        };
        if let Some(due) = self.counted.iter().position(is_due) {
            let planned = self.counted.remove(due);
            self.carry_out(planned, cluster, live).await?;
        }
        self.enter_phase(cluster, live);
        Ok(())
    }

    /// Does what is due by its time.
    pub(crate) async fn strike(&mut self, cluster: &mut Cluster, live: &Live) -> anyhow::Result<()> {
        let Some(planned) = self.plan.pop() else { return Ok(()) };
        self.carry_out(planned, cluster, live).await?;
        self.enter_phase(cluster, live);
        Ok(())
    }

    /// Does something to a replica because somebody asks for it now.
    pub(crate) async fn do_now(
        &mut self,
        (deed, replica): (Deed, u16),
        cluster: &mut Cluster,
        live: &Live,
    ) -> anyhow::Result<()> {
        self.carry_out(Planned::now(deed, Who::Replica(replica)), cluster, live).await?;
        self.enter_phase(cluster, live);
        Ok(())
    }

    /// How many faults came so far, those that could not be among them.
    pub(crate) fn count(&self) -> usize {
        self.came.len()
    }

    /// What was done to whom, but for the first so many faults.
    pub(crate) fn after(&self, known: usize) -> impl Iterator<Item = (Deed, &[u16])> {
        self.came.iter().skip(known).map(|fault| (fault.deed, fault.replicas.as_slice()))
    }

    /// Cuts the links between these groups because somebody asks for it now.
    pub(crate) async fn part(
        &mut self,
        sides: &[Vec<u16>],
        cluster: &mut Cluster,
        live: &Live,
    ) -> Result<(), WorkerError> {
        // A call that is open now may wait for links to be mended.
        live.enter(Phase::Parted);
        self.is_struck = true;
        cluster.part(sides).await
    }

    /// Mends all links because somebody asks for it now.
    pub(crate) async fn heal(&mut self, cluster: &mut Cluster, live: &Live) -> Result<(), WorkerError> {
        let healed = cluster.heal().await;
        self.enter_phase(cluster, live);
        healed
    }

    fn enter_phase(&self, cluster: &Cluster, live: &Live) {
        if !self.is_struck {
            return;
        }
        live.enter(match self.returns.is_watching() {
            _ if cluster.parted().is_some() => Phase::Parted,
            _ if !cluster.absent().is_empty() => Phase::Away,
            true => Phase::CatchingUp,
            false => Phase::After,
        });
    }

    async fn carry_out(
        &mut self,
        planned: Planned,
        cluster: &mut Cluster,
        live: &Live,
    ) -> anyhow::Result<()> {
        let Planned { deed, who, .. } = planned;
        let reign = match (deed, who) {
            (Deed::Kill | Deed::Pause | Deed::Stop, Who::Replica(_) | Who::Primary) => {
                primary(cluster, who).await
            }
            (Deed::Kill | Deed::Pause | Deed::Stop, Who::All | Who::Last)
            | (Deed::Restart | Deed::Resume, _) => None,
        };
        let targets = self.targets(deed, who, (reign, cluster));
        let replicas: Vec<u16> =
            targets.iter().copied().filter(|replica| cluster.allows(deed, *replica)).collect();
        let could_not = replicas.is_empty().then(|| could_not(who, targets.first().copied(), cluster));
        let stood = !cluster.has_quorum();
        let struck = reign.filter(|(primary, _)| replicas.contains(primary)).map(|(_, view)| view);
        let before = match deed {
            Deed::Pause => cluster.statuses().await,
            Deed::Kill if who == Who::All => cluster.statuses().await,
            Deed::Kill | Deed::Restart | Deed::Resume | Deed::Stop => Vec::new(),
        };
        self.returns.look(&before, Instant::now());
        let (at, matched) = (Instant::now(), live.matched.load(Ordering::Relaxed));
        self.is_struck |= !replicas.is_empty();
        if deed.takes_away() && !replicas.is_empty() && cluster.parted().is_none() {
            // Not when it is gone: until then calls wait for it.
            live.enter(Phase::Away);
        }
        cluster.strike(deed, &replicas).await?;
        let mut sign = struck.map_or(Sign::None, Sign::ViewBeyond);
        match deed {
            Deed::Kill | Deed::Pause | Deed::Stop => self.returns.gone(&replicas, matched, &before),
            Deed::Restart | Deed::Resume => {
                self.returns.back(&replicas, matched, (self.began, at));
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
                let gone = self.came.iter().rev().filter(|fault| fault.deed.takes_away());
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

    /// The load is over: whoever still waits for requests will not come back.
    pub(crate) fn give_up(&mut self, live: &Live, cluster: &Cluster) {
        let matched = live.matched.load(Ordering::Relaxed);
        for planned in std::mem::take(&mut self.counted) {
            let Planned { deed, who, requests, .. } = planned;
            let target = self.targets(deed, who, (None, cluster)).first().copied();
            let missed = target.and_then(|replica| Some((replica, self.returns.missed(replica, matched)?)));
            let could_not = match (missed, requests) {
                (Some((replica, missed)), Some(requests)) => {
                    format!("{replica}: {missed} of {requests} requests were answered since it went")
                }
                _ => could_not(who, target, cluster),
            };
            let (replicas, sign) = (Vec::new(), Sign::None);
            self.came.push(Fault { at: Instant::now(), deed, replicas, could_not: Some(could_not), sign });
        }
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
async fn primary(cluster: &mut Cluster, who: Who) -> Option<(u16, u64)> {
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
