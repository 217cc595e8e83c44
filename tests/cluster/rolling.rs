//! G4: replicas that are stopped in good order and started again, one after the other, while clients go on calling.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_apps::counter::Command;
use quorate_node::client::{self, Caller};
use quorate_node::transport::ClientTransportConfig;
use quorate_protocol::client::Options;
use quorate_protocol::codec;
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::message::Outcome;
use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::task::JoinSet;

use super::processes::{Cluster, PATIENCE, block, quorate, text, until};

/// Clients that call all the time, each one call after the other.
const CLIENTS: u8 = 6;
/// The base timeout of these clusters. It is long, for this machine may be busy, and nobody shall wait for it: whoever has
/// an answer sooner had it by a hand-over.
const TIMEOUT: Duration = Duration::from_secs(3);

fn rounds() -> usize {
    if std::env::var_os("QUORATE_NIGHTLY").is_some_and(|value| value == "1") { 20 } else { 3 }
}

fn preset(timeout: Duration) -> NamedTempFile {
    let preset = NamedTempFile::new().unwrap();
    fs::write(preset.path(), format!("[parameters]\ntimeout_ms = {}\n", timeout.as_millis())).unwrap();
    preset
}

/// What clients were told.
#[derive(Default)]
struct Told {
    answered: Vec<Instant>,
    failed: Vec<String>,
    retries: u64,
}

/// Clients on a thread of their own, so that waiting for a process does not stop them.
struct Load {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Told>,
}

impl Load {
    fn begin(cluster: &Cluster) -> Self {
        let keys = (0..CLIENTS).map(|client| SecretKey::from_seed(&[100 + client; 32]));
        let configs: Vec<_> = keys.map(|key| cluster.client_config(key)).collect();
        let over = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&over);
        Self { over, thread: std::thread::spawn(move || block(call_all(configs, ends))) }
    }

    fn end(self) -> Told {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

async fn call_all(configs: Vec<ClientTransportConfig>, over: Arc<AtomicBool>) -> Told {
    let mut clients = JoinSet::new();
    for config in configs {
        clients.spawn(call_until(config, Arc::clone(&over)));
    }
    let mut all = Told::default();
    for told in clients.join_all().await {
        all.answered.extend(told.answered);
        all.failed.extend(told.failed);
        all.retries += told.retries;
    }
    all.answered.sort_unstable();
    all
}

async fn call_until(config: ClientTransportConfig, over: Arc<AtomicBool>) -> Told {
    let caller = client::connect(config, None, Options::new(0)).await.unwrap();
    let mut told = Told::default();
    while !over.load(Ordering::Relaxed) {
        match count(&caller, Command::Add(1)).await {
            Ok(_) => told.answered.push(Instant::now()),
            Err(why) => told.failed.push(why),
        }
    }
    told.retries = caller.report().await.map_or(0, |report| report.counters.retries);
    told
}

/// What the counter stands at after a command.
async fn count(caller: &Caller, command: Command) -> Result<i64, String> {
    let operation = Bytes::from(codec::encode_serde(&command).unwrap());
    let answer = caller.call_within(operation, PATIENCE).await.map_err(|error| error.to_string())?;
    match answer.outcome {
        Outcome::Done(result) => codec::decode_serde(&result).map_err(|error| format!("{error:?}")),
        other => Err(format!("{other:?}")),
    }
}

/// Waits until a replica that was started takes part in the view of the others and has executed what they had.
async fn until_back(cluster: &Cluster, id: usize) {
    let mut most = None;
    until("it has caught up", async || {
        let mut statuses = Vec::new();
        for id in 0..4 {
            statuses.push(cluster.status(id).await?);
        }
        let least = most.replace(statuses.iter().map(|status| status.executed).max()?);
        let view = statuses[id].view;
        let together = |status: &quorate_node::status::Status| {
            status.view == view && status.status == "normal" && status.links_up.len() == 3
        };
        (statuses[id].executed >= least? && statuses.iter().all(together)).then_some(())
    })
    .await;
}

/// The longest time between two answers from a moment on, before the next stop.
fn pause(answered: &[Instant], from: Instant, to: Instant) -> Duration {
    let within: Vec<Instant> = answered.iter().copied().filter(|at| (from..to).contains(at)).collect();
    let moments: Vec<Instant> = std::iter::once(from).chain(within).chain([to]).collect();
    moments.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}

#[test]
fn g4_a_rolling_restart_under_load_fails_no_call_and_changes_a_view_only_for_a_primary_that_was_stopped() {
    let preset = preset(TIMEOUT);
    let preset = preset.path().to_str().unwrap();
    let mut cluster = Cluster::serving(&["--application", "counter", "--preset", preset]);
    let load = Load::begin(&cluster);
    block(until("the load has begun", async || {
        cluster.status(0).await.filter(|status| status.executed > 20).map(drop)
    }));
    let (mut stops, mut primaries) = (Vec::new(), 0);
    for _ in 0..rounds() {
        for id in 0..4 {
            let led = block(cluster.status(id)).unwrap().primary == u16::try_from(id).unwrap();
            let began = Instant::now();
            cluster.signal(id, "TERM");
            block(cluster.until_stopped(id));
            stops.push((id, led, began, began.elapsed()));
            if led {
                primaries += 1;
                let handed_over = cluster.log(id).matches("handed over").count();
                assert!(handed_over > 0, "{}", cluster.log(id));
            }
            cluster.start(id);
            block(until_back(&cluster, id));
        }
    }
    let told = load.end();
    assert!(told.failed.is_empty(), "{:?}", told.failed);
    let ends = stops.iter().skip(1).map(|stop| stop.2).chain([Instant::now()]);
    for ((id, led, began, took), end) in stops.iter().zip(ends) {
        let longest = pause(&told.answered, *began, end);
        let what = if *led { "primary" } else { "backup" };
        println!("{what} {id} stopped in {took:?}; longest time without an answer {longest:?}");
        assert!(longest < TIMEOUT, "replica {id}, {what}: {longest:?}");
    }
    println!("{} answers, {} retries, {primaries} primaries stopped", told.answered.len(), told.retries);
    block(async {
        let caller = cluster.caller(cluster.client_key(0)).await;
        let counted = count(&caller, Command::Get).await.unwrap();
        assert_eq!(usize::try_from(counted).unwrap(), told.answered.len(), "everything executed once");
        cluster.until_agreed().await;
        let view = cluster.status(0).await.unwrap().view;
        assert!(
            primaries > 0 && view <= primaries,
            "{view} views for {primaries} primaries that were stopped"
        );
    });
}

/// A cluster whose timeout is beyond anybody's patience here.
fn patient() -> Cluster {
    Cluster::serving(&["--preset", preset(2 * PATIENCE).path().to_str().unwrap()])
}

fn until_said(cluster: &Cluster, id: usize, words: &str) {
    block(until(words, async || cluster.log(id).contains(words).then_some(())));
}

#[test]
fn a_primary_that_waits_for_its_successor_says_that_it_is_stopping_and_ends_at_once_at_a_second_signal() {
    let mut cluster = patient();
    // They keep their links for a while, and answer nothing.
    cluster.signal(1, "STOP");
    cluster.signal(2, "STOP");
    cluster.signal(0, "TERM");
    until_said(&cluster, 0, "hands its view over");
    assert_eq!(block(cluster.status(0)).unwrap().status, "stopping");
    let admin = cluster.file.replicas()[0].addresses.admin;
    let live: Value = block(quorate_node::admin::fetch(admin, "/live?from=0")).unwrap();
    assert!(live.to_string().contains("\"state\":\"stopping\""), "{live}");
    // Two of them do not answer, and soon their links will be given up.
    let file = cluster.layout.cluster_file();
    let table = text(&quorate(&["status", "--cluster", file.to_str().unwrap()]).stdout);
    let row = |id: usize| table.lines().nth(id + 1).unwrap_or_default();
    assert!(row(0).ends_with("  stopping") && row(3).starts_with("      3"), "{table}");
    assert!(table.contains("no quorum: "), "who stops is not counted on: {table}");
    cluster.signal(0, "INT");
    block(cluster.until_stopped(0));
}

#[test]
fn a_primary_that_nobody_can_succeed_does_not_wait() {
    let mut cluster = patient();
    for backup in [2, 3] {
        cluster.signal(backup, "TERM");
        block(cluster.until_stopped(backup));
    }
    block(until("the primary has heard their goodbyes", async || {
        cluster.status(0).await.filter(|status| status.links_up == [1]).map(drop)
    }));
    cluster.signal(0, "TERM");
    block(cluster.until_stopped(0));
    assert!(cluster.log(0).contains("nobody has taken its view over"), "{}", cluster.log(0));
}

#[test]
fn g4_a_testbed_restarts_every_replica_in_turn_and_loses_nothing() {
    let preset = preset(TIMEOUT);
    let words =
        "testbed --application counter --clients 4 --in-flight 4 --duration 2s --rolling --json - --preset";
    let words: Vec<&str> = words.split(' ').chain(preset.path().to_str()).collect();
    let output = quorate(&words);
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}\n{error}");
    let report: Value =
        serde_json::from_str(&out).expect("nothing but one JSON object goes to standard output");
    let done: Vec<&str> =
        report["faults"].as_array().unwrap().iter().filter_map(|fault| fault["deed"].as_str()).collect();
    assert_eq!(done, ["stop", "restart"].repeat(4), "{report}");
    let back = report["rejoined"].as_array().unwrap();
    assert!(back.len() == 4 && back.iter().all(|back| back["rejoined"] == true), "{report}");
    let counts = ["failed", "lost", "duplicated"].map(|name| report[name].as_u64());
    assert_eq!(counts, [Some(0); 3], "{report}");
    assert!(report["view_changes"].as_u64().is_some_and(|views| (1..=4).contains(&views)), "{report}");
}
