//! `quorate testbed`: a whole cluster on this machine for a while, with load, a live table and a verdict.

mod cluster;
mod faults;
mod report;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use quorate_bench::load::{Live, Load, LoadConfig, LoadReport, Workload};
use quorate_node::cluster_file::Durability;
use tokio::signal::unix::{SignalKind, signal};

use self::cluster::Cluster;
use self::faults::{At, Faults};
use self::report::{Report, Run, Verdict};
use self::table::Table;

const EXAMPLES: &str = "Examples:
  quorate testbed                                       four replicas, ten seconds, key-value load
  quorate testbed --replicas 7 --application counter
  quorate testbed --clients 1 --in-flight 1 --payload 128 --application null --durability none
  quorate testbed --kill 0@3s                           the primary dies, another takes over
  quorate testbed --json result.json                    what was measured, for a program to read

Exit codes: 0 progress was made and all replicas agree, 1 not, 130 interrupted.";

/// How long the cluster may take to come up, and its clients to register.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long replicas may take to come to rest after the load.
const REST: Duration = Duration::from_secs(20);
/// Load before the measured time.
const WARM_UP: Duration = Duration::from_millis(1000);

/// Arguments of `quorate testbed`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Replicas, n; they tolerate floor((n-1)/3) Byzantine ones
    #[arg(long, short = 'n', default_value_t = 4, value_parser = clap::value_parser!(u16).range(4..=31))]
    replicas: u16,
    /// Independent clients, each with a key and a session of its own
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    clients: u16,
    /// Calls that each client keeps in flight
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    in_flight: u16,
    /// Most operations that the client library puts under one signature; 1 signs each on its own
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    bundle: u16,
    /// How long to measure, for example 10s, 500ms or 2m
    #[arg(long, default_value = "10s", value_parser = duration)]
    duration: Duration,
    /// What the replicas run
    #[arg(long, default_value = "kv", value_parser = clap::builder::PossibleValuesParser::new(quorate_apps::NAMES))]
    application: String,
    /// Bytes of each operation, about
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=131_072))]
    payload: u32,
    /// Bytes of each reply of the application `null`
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=131_072))]
    reply_bytes: u32,
    /// What a promise waits for before it leaves: sync, os or none
    #[arg(long, default_value = "sync")]
    durability: Durability,
    /// Kill a replica (SIGKILL) so long after the load began, as in 0@3s; may be given several times
    #[arg(long)]
    kill: Vec<At>,
    /// Start a killed replica again so long after the load began, as in 0@6s; may be given several times
    #[arg(long)]
    restart: Vec<At>,
    /// File with [parameters] and [node] sections that take the place of the defaults
    #[arg(long)]
    preset: Option<PathBuf>,
    /// Folder for keys, data and logs; kept [default: a temporary one, removed at the end]
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Write one JSON object about the run to this file; `-` for standard output
    #[arg(long)]
    json: Option<PathBuf>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) =
        text.split_at(text.find(|letter: char| letter.is_ascii_alphabetic()).unwrap_or(text.len()));
    let milliseconds = match unit {
        "ms" => 1.0,
        "s" | "" => 1000.0,
        "m" => 60_000.0,
        _ => return Err("write a number with ms, s or m behind it, such as 10s".to_owned()),
    };
    let number: f64 =
        number.parse().map_err(|_| "write a number with ms, s or m behind it, such as 10s".to_owned())?;
    let total = number * milliseconds / 1000.0;
    match Duration::try_from_secs_f64(total) {
        Ok(duration) if (0.1..=86_400.0).contains(&total) => Ok(duration),
        _ => Err("at least 100ms and at most a day".to_owned()),
    }
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // From here on a signal no longer ends this process at once, but waits to be looked at.
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        eprintln!(
            "starting {} replica processes on this machine, then load for {:?}",
            args.replicas, args.duration
        );
        if let Some(at) = args.kill.iter().chain(&args.restart).find(|at| at.replica >= args.replicas) {
            anyhow::bail!(
                "there is no replica {}; they are numbered from 0 to {}",
                at.replica,
                args.replicas - 1
            );
        }
        if let Some(at) = args.kill.iter().chain(&args.restart).find(|at| at.after > args.duration) {
            anyhow::bail!("a fault after {:?} would come too late; lengthen --duration", at.after);
        }
        let mut cluster = Cluster::start(&args).await?;
        let done = tokio::select! {
            done = measure(&args, &mut cluster) => done.map(Some),
            _ = interrupt.recv() => Ok(None),
            _ = terminate.recv() => Ok(None),
        };
        cluster.stop().await;
        match done? {
            None => {
                eprintln!("\ninterrupted; everything is cleaned up");
                Ok(ExitCode::from(130))
            }
            Some(report) => {
                report
                    .write(args.json.as_deref())
                    .context("the run is over, but its report cannot be written")?;
                Ok(if report.agreement && report.matched > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
            }
        }
    })
}

async fn measure(args: &Args, cluster: &mut Cluster) -> anyhow::Result<Report> {
    cluster.wait_until_up(PATIENCE).await?;
    let workload = Workload::of(&args.application).context("no workload for this application")?;
    let config = LoadConfig {
        context: cluster.file().context(),
        replicas: cluster.file().replicas().iter().map(|replica| replica.addresses.client).collect(),
        clients: usize::from(args.clients),
        in_flight: usize::from(args.in_flight),
        bundle_max: usize::from(args.bundle),
        workload,
        payload: usize::try_from(args.payload)?,
    };
    let load = match Load::connect(config, PATIENCE).await {
        Ok(load) => load,
        Err(error) => return Err(anyhow::Error::from(error).context(cluster.last_words())),
    };
    let live = load.live();
    let before = cluster.statuses().await;
    let mut faults = Faults::new(&args.kill, &args.restart);
    let outcome = watched(args, (cluster, &mut faults), load, &live).await?;
    let highest = live.highest.load(Ordering::Relaxed);
    let (statuses, verdict) = cluster.verdict(highest, REST).await;
    let verdict = match outcome.failed {
        count if count > 0 && verdict == Verdict::Agreement => Verdict::Unanswered(count),
        _ => verdict,
    };
    let run = Run { load: &outcome, before: &before, after: &statuses, recovery: faults.recovery(&live) };
    let report = Report::new(args, cluster, &run, verdict);
    print_end(args, &report);
    Ok(report)
}

/// Runs the load, with a table of what happens where somebody is looking, and with the faults that were asked for.
async fn watched(
    args: &Args,
    (cluster, faults): (&mut Cluster, &mut Faults),
    load: Load,
    live: &Arc<Live>,
) -> anyhow::Result<LoadReport> {
    let mut table = Table::new(args.duration);
    let began = tokio::time::Instant::now();
    let mut load = std::pin::pin!(load.run(WARM_UP, args.duration));
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    loop {
        let next = faults.next();
        tokio::select! {
            outcome = &mut load => {
                table.finish();
                return Ok(outcome);
            }
            () = tokio::time::sleep_until(began + next.unwrap_or_default()), if next.is_some() => {
                faults.strike(cluster).await?;
            }
            _ = tick.tick() => {
                if table.is_watched() {
                    let statuses = cluster.statuses().await;
                    table.draw(&statuses, live.matched.load(Ordering::Relaxed), live.take_latency());
                }
            }
        }
    }
}

/// For people, and out of the way of a program that reads standard output.
fn print_end(args: &Args, report: &Report) {
    let hint = if args.replicas == 4 {
        "testbed --replicas 7 --application counter   (seven replicas, of which two may fail)"
    } else {
        "init trial   (a cluster of your own that stays)"
    };
    let mut text = report.summary();
    if report.verdict == Verdict::Agreement {
        text.push_str(&format!("\n\ntry next     {} {hint}", crate::program()));
    }
    if args.json.as_deref() == Some(std::path::Path::new("-")) {
        eprintln!("{text}");
    } else {
        println!("{text}");
    }
}
