//! `quorate status --watch`: looks again and again, until it is told to stop or nobody reads any more.

use std::io::{IsTerminal, stdout};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use quorate_node::cluster_file::ClusterFile;
use quorate_node::status::Status;
use serde::Serialize;
use tokio::time::MissedTickBehavior;

use super::rows::{Row, rows};
use super::screen::{Frame, Screen};
use super::{ask_each, forgetful, no_quorum};
use crate::out;

/// What is seen of a cluster in one look.
pub(super) struct Look {
    pub(super) at: Instant,
    pub(super) answers: Vec<(u16, anyhow::Result<Status>)>,
}

/// How to look.
pub(super) struct Watching {
    pub(super) every: Duration,
    pub(super) timeout_seconds: u64,
    pub(super) json: bool,
}

/// One line of JSON. Field names are part of the interface.
#[derive(Serialize)]
struct Line<'a> {
    /// Milliseconds since 1970.
    at_ms: u64,
    replicas: &'a [Row],
    troubles: &'a [String],
}

pub(super) fn run(cluster: &ClusterFile, how: &Watching) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut screen = Screen::new(stdout().is_terminal() && !how.json);
        let watched = tokio::select! {
            () = interrupted() => Ok(()),
            watched = watch(cluster, how, &mut screen) => watched,
        };
        screen.leave();
        watched.map(|()| ExitCode::SUCCESS)
    })
}

/// Looks until nobody reads what is said.
async fn watch(cluster: &ClusterFile, how: &Watching, screen: &mut Screen) -> anyhow::Result<()> {
    let mut tick = tokio::time::interval(how.every);
    // A cluster that answers late is not asked twice at once.
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before: Option<Look> = None;
    while !out::reader_is_gone() {
        tick.tick().await;
        let asked = ("/status", how.timeout_seconds);
        let answers = ask_each::<Status>(cluster, None, asked, |status| &status.cluster).await?;
        let look = Look { at: Instant::now(), answers };
        let (rows, troubles) = (rows(&look, before.as_ref()), troubles(cluster, &look));
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        if how.json {
            let at_ms = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
            println!("{}", serde_json::to_string(&Line { at_ms, replicas: &rows, troubles: &troubles })?);
        } else {
            screen.show(&Frame { at, cluster: cluster.id().0.to_string(), rows, troubles });
        }
        before = Some(look);
    }
    Ok(())
}

/// What keeps the cluster from serving, and what replicas say that their operator should mend.
fn troubles(cluster: &ClusterFile, look: &Look) -> Vec<String> {
    let found = || look.answers.iter().filter_map(|(_, answer)| answer.as_ref().ok());
    let (all, committee): (Vec<&Status>, _) = (found().collect(), &cluster.context().committee);
    let mut troubles: Vec<String> =
        [no_quorum(&all, committee), forgetful(&all, committee)].into_iter().flatten().collect();
    for status in found() {
        let words = status.alarms.iter().chain(&status.warnings);
        troubles.extend(words.map(|words| format!("replica {}: {words}", status.replica)));
    }
    troubles
}

/// Ready when somebody wants this program to stop.
async fn interrupted() {
    let terminated = async {
        match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}
