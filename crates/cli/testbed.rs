//! `quorate testbed`: a whole cluster on this machine for a while, with load, a live table and a verdict.

mod absent;
mod against;
pub(crate) mod amount;
mod demand;
mod ended;
mod faults;
mod liars;
mod machine;
mod phases;
mod plan;
mod proofs;
mod rejoin;
mod report;
mod rolling;
mod table;
mod telling;
mod web;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::builder::ArgPredicate;
use quorate_bench::cluster::{Cluster, ClusterConfig, Hand, Liars, Verdict};
use quorate_bench::load::{GIVE_UP, Live, Load, LoadReport, Running};
use quorate_bench::worker::{Home, Logs, Worker};
use quorate_node::cluster_file::{Durability, Preset};
use quorate_node::init::Layout;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use self::against::Earlier;
use self::amount::Rate;
use self::demand::Demand;
use self::faults::Faults;
use self::plan::{At, plan};
use self::report::{Report, Run, Statuses};
use self::table::{Sampler, Table};
use self::web::{Asked, Web};
use crate::own::Own;

const EXAMPLES: &str = "Examples:
  quorate testbed                                       four replicas, ten seconds, key-value load
  quorate testbed --web                                 a page in the browser: look, kill, part, and let somebody lie
  quorate testbed --replicas 7 --application counter
  quorate testbed --clients 1 --in-flight 1 --payload 128 --application null --durability none
  quorate testbed --kill primary@3s --restart last@6s   the primary dies, another takes over, it comes back
  quorate testbed --kill-all 4s --restart-all 5s        a power cut: nothing that was acknowledged may be lost
  quorate testbed --rolling                             every replica in turn is stopped in good order and comes back
  quorate testbed --pause primary@3s --resume last@8s   the primary stops (SIGSTOP) and goes on
  quorate testbed --application counter --duration 250s --kill primary@every:5s
                                                        50 primaries die at random times and come back
  quorate testbed --byzantine 2:equivocate              one replica lies; the others agree
  quorate testbed --json result.json                    what was measured, for a program to read
  quorate testbed --kill primary@3s --record run.jsonl  what the page would show, for `quorate view run.jsonl`
  quorate testbed --preload 256MiB                      full load on a large state
  quorate testbed --preload 256MiB --rate 50% --kill 3@10s --restart 3@after:100000
                                                        a replica misses 100000 requests at half of peak load

After the load the state is read back and compared with every accepted answer. With --application counter both `lost`
and `duplicated` are exact; with kv a put that is missing is lost, and `duplicated` is known while some replica ran
throughout.

At most f replicas may be gone at the end; those that are left must agree then. With `after:` the load goes on until
those who come back have caught up, and then for 10 s more, or for --duration if that is less.

With --web a page of this machine shows the run, at an address with a token that is printed on a line of its own. At the
page replicas can be killed, restarted, parted from each other and told to lie: the testbed's cluster is one for trials
(`testing = true` in its cluster file), where that is allowed. More of it than the cluster bears is allowed too; page and
verdict say what is promised no more. The run goes on until Ctrl-C, a day at most, and ends with the verdict, for which
all links are mended; a second Ctrl-C ends everything at once. --record keeps the same for later.

With --preload the clients first put so many bytes of entries; then three of four operations put to one of those keys
at random, or to one of the part that --hot leaves, and one put in 128 to a new key; each fourth operation reads the
key that was put before it. With --rate calls are due at a fixed rate whether or not answers come, and latency counts
from when a call was due; without it each client keeps --in-flight calls under way.

What checkpoints cost shows in two runs, of which the first makes hardly any:
  quorate testbed --preload 256MiB --preset configs/few-checkpoints.toml --json few.json
  quorate testbed --preload 256MiB --against few.json

Exit codes: 0 progress was made, all replicas agree, and nothing was lost or executed twice; 1 not; 130 interrupted.";

/// How long the cluster may take to come up, and its clients to register.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long replicas may take to come to rest after the load, one that fetches a whole state among them.
const REST: Duration = Duration::from_secs(60);
/// How long a cluster that did badly may take to say what it holds.
const DOUBT: Duration = Duration::from_secs(3);
/// Between two looks at replicas that come back.
const LOOK: Duration = Duration::from_millis(200);
/// Load before the measured time.
const WARM_UP: Duration = Duration::from_millis(1000);
/// How long the peak is measured.
const PEAK: Duration = Duration::from_secs(5);
/// How long the load goes on at most after a plan whose end nobody could tell.
const SETTLE: Duration = Duration::from_secs(10);
/// How long it goes on at most beyond its duration.
const EXTENSION_MAX: Duration = Duration::from_secs(900);

/// Whether a flag was given, whatever it says.
const IS_PRESENT: ArgPredicate = ArgPredicate::IsPresent;
/// How long a run lasts at most that somebody is to end: a day.
const ENDLESS: &str = "1440m";
/// Operations due each second where somebody looks: a page on the same machine keeps up.
const FOLLOWED: &str = "100";

/// Arguments of `quorate testbed`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = help())]
pub(crate) struct Args {
    /// Replicas, n, from 4 to 31; they tolerate floor((n-1)/3) Byzantine ones
    #[arg(long, short = 'n', default_value_t = 4, value_parser = clap::value_parser!(u16).range(4..=31))]
    replicas: u16,
    /// Independent clients, each with a key and a session of its own, at most 1024
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    clients: u16,
    /// Calls that each client keeps in flight, at most 1024
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    in_flight: u16,
    /// Most operations that the client library puts under one signature; 1 signs each on its own, at most
    /// 1024
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    bundle: u16,
    /// How long to measure after a second of warming up, for example 10s, 500ms or 2m; with --web until Ctrl-C, unless it
    /// is given
    #[arg(long, default_value = "10s", default_value_if("web", IS_PRESENT, ENDLESS), value_parser = duration)]
    duration: Duration,
    /// What the replicas run
    #[arg(long, default_value = "kv", value_parser = clap::builder::PossibleValuesParser::new(quorate_bench::load::APPLICATIONS))]
    application: String,
    /// Bytes of each operation, about, at most 131072; of each key with its value, with kv [default: 128, or 1024 with
    /// --preload]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=131_072))]
    payload: Option<u32>,
    /// Fill the store first with so many bytes of keys and values, for example 256MiB
    #[arg(long, value_name = "SIZE", value_parser = amount::bytes)]
    preload: Option<u64>,
    /// Once the store is filled, write only to so many per cent of the key space, its first part, so that the rest of the
    /// state stays as it is [default: 100]
    #[arg(long, value_name = "PER CENT", value_parser = clap::value_parser!(u8).range(1..=100))]
    hot: Option<u8>,
    /// Operations due each second, for example 5000, or a share of the most that the cluster answers, for example 50%,
    /// which is measured before [default: each client is in a hurry; with --web 100, which a page can follow]
    #[arg(long, default_value_if("web", IS_PRESENT, FOLLOWED))]
    rate: Option<Rate>,
    /// Bytes of each reply of the application `null`
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=131_072))]
    reply_bytes: u32,
    /// What a promise waits for before it leaves: sync (the disk has it), os (the system has it; lost with the power) or
    /// none
    #[arg(long, default_value = "sync")]
    durability: Durability,
    /// Kill a replica (SIGKILL) so long after the load began: 0@3s, primary@3s for whoever is primary then, or
    /// primary@every:5s for one in every 5 s at a random time, restarted half of that later; may be repeated
    #[arg(long, value_name = "WHO@WHEN")]
    kill: Vec<At>,
    /// Ask a replica to stop in good order (SIGTERM), as for --kill: a primary hands its view over first; may be repeated
    #[arg(long, value_name = "WHO@WHEN")]
    stop: Vec<At>,
    /// Stop every replica in turn in good order and start it again, as soon as the one before has caught up, so many
    /// times; the load goes on until then [default: once, if it is not said how often]
    #[arg(long, value_name = "ROUNDS", num_args = 0..=1, default_missing_value = "1")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1000))]
    rolling: Option<u16>,
    /// Start a killed replica again: 0@6s, last@6s for whoever is gone since last, or 0@after:100000 when so many
    /// requests were answered since it went; may be repeated
    #[arg(long, value_name = "WHO@WHEN")]
    restart: Vec<At>,
    /// Stop a replica's process (SIGSTOP), as for --kill; may be repeated
    #[arg(long, value_name = "WHO@WHEN")]
    pause: Vec<At>,
    /// Let a stopped process go on (SIGCONT), as for --restart; may be repeated
    #[arg(long, value_name = "WHO@WHEN")]
    resume: Vec<At>,
    /// Kill all replicas at once so long after the load began, for example 3s; may be repeated
    #[arg(long, value_name = "WHEN", value_parser = duration)]
    kill_all: Vec<Duration>,
    /// Start all killed replicas again, for example 4s; may be repeated
    #[arg(long, value_name = "WHEN", value_parser = duration)]
    restart_all: Vec<Duration>,
    /// Let a replica lie, for example 2:equivocate or 2:mute+delay:by=200ms (the behaviours are below); may be repeated.
    /// Agreement is checked among the others, and a liar that finds nothing to lie about fails the run
    #[cfg(feature = "byzantine")]
    #[arg(long, value_name = "WHO:BEHAVIOUR")]
    byzantine: Vec<liars::Accused>,
    /// Where the random times of `every:`, and the chance in lies, come from: the same seed, the same times
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// File with [parameters] and [node] sections that take the place of the defaults
    #[arg(long)]
    preset: Option<PathBuf>,
    /// Folder for keys, data and logs; kept [default: a temporary one, removed at the end]
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Compare with an earlier run, whose --json wrote this file
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// Show the run in a browser of this machine, and take commands there; at this port, or at one that is free
    #[arg(long, value_name = "PORT", num_args = 0..=1, default_missing_value = "0")]
    web: Option<u16>,
    /// Record what the page shows to a new file, a line for each moment, for `quorate view`
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    /// Where a recording ends, for example 1GiB [default: 256MiB]
    #[arg(long, value_name = "SIZE", requires = "record", value_parser = amount::bytes)]
    record_max: Option<u64>,
    /// Write one JSON object about the run to this file; `-` for standard output
    #[arg(long)]
    json: Option<PathBuf>,
    /// The application of the program that this is
    #[arg(skip)]
    pub(crate) own: Option<Own>,
    /// How its replicas log
    #[arg(skip)]
    pub(crate) logs: Logs,
}

fn help() -> String {
    #[cfg(feature = "byzantine")]
    return format!("{EXAMPLES}\n\n{}", crate::byzantine::listed());
    #[cfg(not(feature = "byzantine"))]
    return EXAMPLES.to_owned();
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
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

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    crate::survive_file_size_limits()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // From here on a signal no longer ends this process at once, but waits to be looked at.
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let (plan, liars) = (plan(args)?, liars::liars(args)?);
        let warning = liars::warning(&liars, args.replicas, &plan);
        let mut faults = Faults::new(plan).rolling(rolling::Rolling::new(args)?);
        let demand = Demand::new(args)?;
        let earlier = args.against.as_deref().map(|path| Earlier::load(path, (args, &demand))).transpose()?;
        let preset = args.preset.as_deref().map(Preset::load).transpose()?.unwrap_or_default();
        check_writable(args.json.as_deref())?;
        let mut web = Web::open(args).await?;
        telling::announce(args, web.as_ref());
        warning.iter().for_each(|words| eprintln!("{words}"));
        let mut cluster = start(args, preset, liars).await?;
        let (stop, stopped) = watch::channel(false);
        let gently = args.web.is_some().then_some(&stop);
        let done = tokio::select! {
            done = measure((args, demand), (&mut cluster, &mut faults), (&mut web, stopped)) => done.map(Some),
            () = interrupted((&mut interrupt, &mut terminate), gently) => Ok(None),
        };
        web.iter_mut().for_each(Web::rest);
        cluster.stop().await;
        match done {
            Err(error) => {
                web::finish(web, format!("the run failed: {error:#}")).await;
                Err(error)
            }
            Ok(None) => {
                web::finish(web, "interrupted, so there is no verdict".to_owned()).await;
                eprintln!("\ninterrupted; everything is cleaned up");
                Ok(ExitCode::from(130))
            }
            Ok(Some(mut report)) => {
                report.compare(earlier.zip(args.against.as_deref()));
                telling::print_end(args, &report);
                web::finish(web, report.summary()).await;
                report
                    .write(args.json.as_deref())
                    .context("the run is over, but its report cannot be written")?;
                Ok(if report.agreement && report.matched > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
            }
        }
    })
}

/// Ready when somebody wants everything to end. Whoever looks at the page wants the verdict: then the first Ctrl-C ends
/// the load only.
async fn interrupted(
    (interrupt, terminate): (&mut Signal, &mut Signal),
    gently: Option<&watch::Sender<bool>>,
) {
    if let Some(stop) = gently {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => return,
        }
        stop.send_replace(true);
        eprintln!("\nending the load, for the verdict; another Ctrl-C ends everything at once");
    }
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

/// Starts the replicas as processes of this machine.
async fn start(args: &Args, preset: Preset, liars: Liars) -> anyhow::Result<Cluster> {
    let home = args.folder.clone().map_or(Home::Temporary, Home::Kept);
    let worker = Worker::local(std::env::current_exe()?, home).logging(args.logs.clone());
    let mut preset = preset;
    preset.node.durability = args.durability;
    let config = ClusterConfig {
        name: "testbed".to_owned(),
        replicas: args.replicas,
        application: args.application.clone(),
        preset,
        reply_bytes: args.reply_bytes,
        liars,
        emulate: None,
        places: Vec::new(),
        controlled: args.web.is_some(),
    };
    Ok(Cluster::start(config, &mut vec![Hand::Here(Box::new(worker))]).await?)
}

async fn measure(
    (args, demand): (&Args, Demand),
    (cluster, faults): (&mut Cluster, &mut Faults),
    (web, stopped): (&mut Option<Web>, watch::Receiver<bool>),
) -> anyhow::Result<Report> {
    web.iter_mut().for_each(|web| web.follow(cluster.file()));
    cluster.wait_until_up(PATIENCE).await?;
    if let (Some(_), Some(folder)) = (web.as_ref().and_then(Web::url), cluster.folder()) {
        let file = Layout::new(&folder).cluster_file();
        eprintln!("what its replicas wait for: {} why --cluster {}", crate::program(), file.display());
    }
    let config = demand.config(args, cluster.file());
    let connected = ended::or(cluster, Load::connect(config.clone(), PATIENCE)).await?;
    let mut load = match connected {
        Ok(load) => load,
        Err(error) => return Err(anyhow::Error::from(error).context(cluster.last_words().await)),
    };
    let live = load.live();
    let at_start = cluster.at_rest(DOUBT).await;
    let prepared = match ended::or(cluster, demand.prepare(&mut load)).await? {
        Ok(prepared) => prepared,
        Err(error) => return Err(error.context(cluster.last_words().await)),
    };
    let before = cluster.statuses().await;
    let running = load.begin(WARM_UP, args.duration, prepared.rate).await;
    let settle = SETTLE.min(args.duration);
    let outcome = watched(running, (cluster, faults), (&live, settle), (web, stopped)).await?;
    faults.give_up(&live, cluster);
    let highest = live.highest.load(Ordering::Relaxed);
    // A cluster without a quorum catches up with nothing any more, nor does a replica that ended.
    let all_run = ended::check(cluster).await?;
    let rest = if cluster.has_quorum() && all_run { REST } else { DOUBT };
    let (statuses, verdict) = cluster.verdict(highest, rest).await;
    let verdict = match (outcome.failed, verdict) {
        (count, Verdict::Agreement { .. } | Verdict::TooFew(_)) if count > 0 => Verdict::Unanswered(count),
        (_, verdict) => verdict,
    };
    cluster.survey().await;
    let rejoined = faults.rejoined(&statuses);
    // A cluster that cannot be asked what it holds has said so in its verdict.
    let patience = if verdict.is_good() { PATIENCE } else { DOUBT };
    let observed = Load::observe(&config, patience).await.ok().flatten();
    let audit = observed.and_then(|observed| live.ledger().audit(&observed));
    let faults = faults.report(&live);
    let lies = cluster.liars().report(&statuses);
    // What a liar says of itself is no measurement.
    let [at_start, before, after] = [&at_start, &before, &statuses].map(|told| cluster.liars().trusted(told));
    let statuses = Statuses { at_start: &at_start, before: &before, after: &after };
    let lost = web.as_ref().and_then(Web::lost);
    let page_deeds = web.as_ref().map_or_else(Vec::new, Web::page_deeds);
    let run = Run { load: &outcome, statuses, faults, page_deeds, rejoined, audit, prepared, lies, lost };
    Ok(Report::new((args, demand.payload()), cluster, run, verdict))
}

/// Waits for the load's end, with a table of what happens where somebody is looking, and with the faults that were asked
/// for.
async fn watched(
    running: Running,
    (cluster, faults): (&mut Cluster, &mut Faults),
    (live, settle): (&Arc<Live>, Duration),
    (web, mut stopped): (&mut Option<Web>, watch::Receiver<bool>),
) -> anyhow::Result<LoadReport> {
    let (mut table, mut sampler) = (Table::new(), Sampler::new(live));
    web.iter_mut().for_each(Web::begin);
    faults.begin();
    let began = tokio::time::Instant::now();
    let latest = live.end() + EXTENSION_MAX;
    let mut load = std::pin::pin!(running.finish());
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut told, mut over, mut ended) = (false, false, false);
    loop {
        web.iter_mut().for_each(|web| web.note(cluster, faults));
        let next = faults.next().filter(|_| !ended);
        if faults.is_unfinished(cluster) && !ended {
            live.extend((Instant::now() + settle).min(latest));
        }
        tokio::select! {
            outcome = &mut load => {
                table.finish();
                return Ok(outcome);
            }
            () = tokio::time::sleep_until(began + next.unwrap_or_default()), if next.is_some() => {
                faults.strike(cluster, live).await?;
            }
            _ = stopped.wait_for(|stopped| *stopped), if !ended => {
                ended = true;
                live.end_now();
            }
            asked = asked(web), if !over => {
                if let Some(web) = web {
                    web.obey(asked, (cluster, faults), live).await;
                }
            }
            () = tokio::time::sleep_until(live.end().into()), if !over => {
                // Others may have put it off meanwhile.
                over = live.end() <= Instant::now();
                if let Some(web) = web.as_mut().filter(|_| over) {
                    web.end(cluster).await;
                }
            }
            () = tokio::time::sleep_until((live.end() + DOUBT).into()), if !told => {
                told = true;
                say_what_is_waited_for(cluster, live);
            }
            // Whoever waits for an answer knows of no earlier end.
            () = tokio::time::sleep_until((live.end() + GIVE_UP).into()), if ended && !live.is_given_up() => {
                live.give_up();
            }
            _ = look.tick(), if faults.is_watching() => faults.look(cluster, live).await?,
            _ = tick.tick() => {
                ended::too_many(cluster).await?;
                cluster.survey().await;
                let sample = sampler.take(live);
                web.iter_mut().for_each(|web| web.sample(&sample, live));
                if table.is_watched() {
                    table.draw(&cluster.statuses().await, &sample, live);
                }
            }
        }
    }
}

/// What somebody at the page wants next, if there is a page.
async fn asked(web: &mut Option<Web>) -> Asked {
    match web {
        Some(web) => web.asked().await,
        None => std::future::pending().await,
    }
}

/// The load is over, and some operations still have no answer.
fn say_what_is_waited_for(cluster: &Cluster, live: &Live) {
    if cluster.has_quorum() {
        eprintln!("the load is over; waiting for the last answers, {} s at most", GIVE_UP.as_secs());
    } else {
        let (gone, all) = (cluster.absent().len(), cluster.size());
        eprintln!("the load is over, and {gone} of {all} replicas are gone; there will be no more answers");
        live.give_up();
    }
}

/// Sees that the report can be written, before anybody waits for it; leaves no file behind.
fn check_writable(path: Option<&Path>) -> anyhow::Result<()> {
    let Some(path) = path.filter(|path| *path != Path::new("-")) else { return Ok(()) };
    let there = path.metadata().ok();
    // A pipe or a device is written once: whoever reads it would take the end of a trial for the end.
    if there.as_ref().is_some_and(|there| !there.is_file() && !there.is_dir()) {
        return Ok(());
    }
    let opened = std::fs::File::options().create(true).append(true).open(path);
    drop(opened.with_context(|| format!("--json {}: cannot be written; name another file", path.display()))?);
    if there.is_none() {
        std::fs::remove_file(path)?;
    }
    Ok(())
}
