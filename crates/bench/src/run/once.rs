//! One stretch of load on one cluster, and what came of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use quorate_node::status::Status;

use super::faults::Faults;
use super::marks::Struck;
use super::stage::{Set, Stage, expected_of, newest};
use super::{RunError, Watch, seek};
use crate::cluster::Verdict;
use crate::cost::{Costs, Served};
use crate::figure::{Figure, Plan, Strike};
use crate::load::{LoadReport, Stint};
use crate::record::{Cell, NetworkCheck, Trial};

/// Between two looks whether all answers are there, once the load is over.
const LOOK: Duration = Duration::from_millis(20);
/// So long before the measured time everybody is asked which view it is.
const ASKING: Duration = Duration::from_millis(50);
/// How long answers are waited for that cannot come, because too few replicas are left.
const DOUBT: Duration = Duration::from_secs(3);
/// How long replicas may take to come to rest after the load.
const REST: Duration = Duration::from_secs(60);
/// What bad clients are called among the lies.
const BAD_SIGNATURES: &str = "bad-signatures";

/// One run.
pub(crate) struct Once {
    pub(super) report: LoadReport,
    pub(super) costs: Costs,
    pub(super) struck: Vec<Struck>,
    /// How often each lie was told.
    pub(super) lies: BTreeMap<String, u64>,
    /// Of the emulated network, if there is one.
    pub(super) network: NetworkCheck,
    /// The newest view of a correct replica just before the measured time, and once the load was over.
    pub(super) views: (u64, u64),
    /// Whether it was within the limits.
    pub(super) within: bool,
}

impl Once {
    /// As a search sees it, which decides whether it was sustained.
    pub(super) fn trial(&self) -> Trial {
        trial(&self.report)
    }
}

/// What came of a load, for a search.
pub(super) fn trial(report: &LoadReport) -> Trial {
    Trial {
        offered_rps: report.offered_rps(),
        throughput_rps: report.throughput_rps(),
        p50_us: report.due_latency.value_at_quantile(0.5) as f64,
        p99_us: report.due_latency.value_at_quantile(0.99) as f64,
        answered_share: answered_share(report),
        sustained: false,
    }
}

/// The part of the calls due within the measured time that was answered. Answers that came within that time to calls
/// due before it are none of these.
fn answered_share(report: &LoadReport) -> f64 {
    if report.offered == 0 { 0.0 } else { report.answered as f64 / report.offered as f64 }
}

/// One run, on a cluster of its own.
pub(super) async fn measure(
    (figure, cell): (&Figure, &Cell),
    (plan, rate): (&Plan, Option<f64>),
    set: &mut Set,
    watch: &mut Watch<'_>,
) -> Result<Once, RunError> {
    let mut stop = watch.stop.clone();
    let setting = Stage::set((figure, cell), plan, set);
    let mut stage = Watch::unless_stopped(&mut stop, setting).await?;
    let expected_us = expected_of((figure, cell), plan).unwrap_or(0.0);
    let stint = stint(seek::warm_up(figure.warm_up, expected_us), figure.measure, rate);
    let run = run(&mut stage, (stint, plan));
    let done = Watch::unless_stopped(&mut stop, run).await;
    stage.strike(set).await;
    done
}

async fn run(stage: &mut Stage, (stint, plan): (Stint, &Plan)) -> Result<Once, RunError> {
    // What the whole load cost is counted from rest to rest, the warming up included: then nothing is cut in two.
    let before = stage.calm().await?;
    let Loaded { report, struck, view } = load(stage, (stint, &plan.strikes)).await?;
    if report.matched == 0 {
        return Err(RunError::Nothing(stage.cluster.last_words().await));
    }
    let after = agreed(stage, report.highest).await?;
    let mut lies = confess(stage, &after)?;
    if plan.bad_clients.is_some() {
        if report.badly_signed == 0 {
            return Err(no_lie("no client signed badly"));
        }
        lies.insert(BAD_SIGNATURES.to_owned(), report.badly_signed);
    }
    let calls = report.submitted.saturating_sub(report.failed);
    // A conversion that does not fit ends at the largest number.
    let served = Served { calls, latency_us: (report.due_latency.mean() * calls as f64) as u64 };
    let after = stage.correct(&after);
    let used = stage.used(&after).await?;
    let costs = Costs::between(&before, &after, used, served);
    let network = stage.network_check((&before, &after), (plan, view));
    let views = (view, newest(&after).unwrap_or(view));
    Ok(Once { report, costs, struck, lies, network, views, within: false })
}

/// What came of one stretch of load.
pub(super) struct Loaded {
    pub(super) report: LoadReport,
    pub(super) struck: Vec<Struck>,
    /// The newest view of a correct replica just before the measured time.
    pub(super) view: u64,
}

/// One stretch of load, with what strikes during it. Everybody is asked for the view just before the measured time;
/// during it nobody is asked anything, except after a fault.
pub(super) async fn load(
    stage: &mut Stage,
    (stint, strikes): (Stint, &[Strike]),
) -> Result<Loaded, RunError> {
    stage.cluster.begin(stint).await?;
    let begin = Instant::now() + stint.warm_up();
    let end = begin + stint.measure();
    tokio::time::sleep_until((begin - ASKING.min(stint.warm_up())).into()).await;
    let view = stage.newest_view().await.unwrap_or_default();
    let mut faults = Faults::new(strikes, begin);
    let mut given_up = false;
    loop {
        let now = Instant::now();
        let look = end.max(now + LOOK);
        let wake = faults.next(now).map_or(look, |next| next.min(look));
        tokio::time::sleep_until(wake.into()).await;
        faults.act(stage).await?;
        let now = Instant::now();
        if now < end || faults.is_looking() && now < end + DOUBT {
            continue;
        }
        if !given_up && now > end + DOUBT && !stage.cluster.has_quorum() {
            given_up = true;
            stage.cluster.give_up().await?;
        }
        if stage.cluster.peek().await?.over {
            break;
        }
    }
    let report = stage.cluster.finish().await?;
    Ok(Loaded { report, struck: faults.into_struck(), view })
}

/// What everybody says when the correct replicas have come to rest and agree.
pub(super) async fn agreed(stage: &mut Stage, highest: u64) -> Result<Vec<Option<Status>>, RunError> {
    let rest = if stage.cluster.has_quorum() { REST } else { DOUBT };
    let (statuses, verdict) = stage.cluster.verdict(highest, rest).await;
    match verdict {
        Verdict::Agreement { .. } => Ok(statuses),
        verdict => Err(RunError::Verdict(verdict.sentence(stage.cluster.size()))),
    }
}

/// How often each lie was told; a liar that told none has shown nothing.
fn confess(stage: &Stage, statuses: &[Option<Status>]) -> Result<BTreeMap<String, u64>, RunError> {
    let mut lies: BTreeMap<String, u64> = BTreeMap::new();
    let lying = stage.cluster.liars().report(statuses);
    let honest: Vec<u16> =
        lying.iter().filter(|lying| lying.told_none()).map(|lying| lying.replica).collect();
    if !honest.is_empty() {
        let verdict = Verdict::NoLie(honest);
        return Err(RunError::Verdict(verdict.sentence(stage.cluster.size())));
    }
    for (name, count) in lying.into_iter().flat_map(|lying| lying.told) {
        *lies.entry(name).or_default() += count;
    }
    Ok(lies)
}

fn no_lie(what: &str) -> RunError {
    RunError::Verdict(format!("NO LIE: {what}, so nothing was tried; give it more time"))
}

pub(super) fn stint(warm_up: Duration, measure: Duration, rate: Option<f64>) -> Stint {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Stint { warm_up_ms: ms(warm_up), measure_ms: ms(measure), rate }
}
