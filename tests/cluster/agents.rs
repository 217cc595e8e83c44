//! `quorate bench agent`: clusters on machines that an agent serves, and nothing left on them.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};

use quorate_bench::agent::{Link, LinkError, own_key};
use quorate_bench::cluster::{Cluster, ClusterConfig, Deed, Hand, Liars, Verdict};
use quorate_bench::load::{Assignment, Manner, Stint, Workload};
use quorate_node::cluster_file::{Durability, Preset};
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::types::PublicKey;
use tempfile::TempDir;

use serde_json::Value;

use super::processes::{PATIENCE, block, quorate, text, until};

/// A figure of one cell; its machines follow.
const FIGURE: &str = r#"
title = "machines"
load = "closed"
durability = "none"
clients = 2
in_flight = 4
warm_up_ms = 200
measure_ms = 500
runs = 1
"#;

/// Tells a test that it is a controller in a process of its own: the agents' addresses and keys, in turn.
const AGENTS: &str = "QUORATE_TEST_AGENTS";
/// The same: the controller's key file.
const KEY: &str = "QUORATE_TEST_KEY";
/// Says that the controller is to stay until it is killed.
const HOLD: &str = "QUORATE_TEST_HOLD";
/// What a controller says when its cluster is up.
const HOLDING: &str = "holding";
/// The test that a controller in a process of its own runs.
const DRIVE: &str = "cluster::agents::two_agents_run_one_cluster_with_load_to_agreement";

/// An agent's process, its folder, and what it says.
struct Agent {
    child: Child,
    stdin: Option<ChildStdin>,
    words: Receiver<String>,
    folder: TempDir,
    address: SocketAddr,
    key: PublicKey,
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Both fail only if it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A controller's key, in a file.
struct Controller {
    folder: TempDir,
    key: SecretKey,
}

impl Controller {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = own_key(&folder.path().join("controller.pem")).unwrap();
        Self { folder, key }
    }

    fn path(&self) -> String {
        self.folder.path().join("controller.pem").to_str().unwrap().to_owned()
    }
}

impl Agent {
    /// Starts one at this address.
    fn at(host: IpAddr, controller: &Controller) -> Self {
        Self::behind(&[], host, controller)
    }

    /// The same, by way of another program. What that one starts waits for a line before it goes on.
    fn behind(way: &[&str], host: IpAddr, controller: &Controller) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("agent.pem");
        let made = quorate(&["bench", "key", path.to_str().unwrap()]);
        let key: PublicKey = text(&made.stdout).trim().parse().unwrap();
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        let listen = SocketAddr::new(host, 0).to_string();
        let controller = controller.key.public().to_string();
        let own = [env!("CARGO_BIN_EXE_quorate"), "bench", "agent", "--exit-with-stdin"];
        let mut words: Vec<&str> = [way, &own[..]].concat();
        words.extend(["--listen", &listen, "--controller", &controller]);
        words.extend(["--key", path.to_str().unwrap(), "--folder", data.to_str().unwrap()]);
        let mut child = Command::new(words[0])
            .args(&words[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stderr) = (child.stdin.take(), child.stderr.take().unwrap());
        let address = SocketAddr::new(host, 0);
        Self { child, stdin, words: heard(stderr), folder, address, key }
    }

    /// Reads what it prints for the file of a figure.
    fn listening(mut self) -> Self {
        let lines = BufReader::new(self.child.stdout.take().unwrap()).lines();
        let found = lines.map_while(Result::ok).take(8).find_map(|line| {
            let address = line.strip_prefix("address = ")?.trim_matches('"').to_owned();
            Some(address)
        });
        self.address = found.expect("an agent that listens says where").parse().unwrap();
        self
    }

    /// Waits until it says something of this kind.
    fn hear(&self, what: &str) -> String {
        loop {
            let line = self.words.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("it never said: {what}"));
            if line.contains(what) {
                return line;
            }
        }
    }

    /// The processes that it started and that run, by their ids.
    fn children(&self) -> Vec<u32> {
        children_of(self.child.id())
    }

    /// Whether there is nothing in the folder for its clusters.
    fn is_clean(&self) -> bool {
        fs::read_dir(self.folder.path().join("data")).unwrap().next().is_none()
    }
}

fn heard(stderr: ChildStderr) -> Receiver<String> {
    let (say, words) = sync_channel(1024);
    std::thread::spawn(move || {
        let lines = BufReader::new(stderr).lines().map_while(Result::ok);
        lines.map_while(|line| say.send(line).ok()).for_each(drop);
    });
    words
}

fn children_of(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_child = |id: &u32| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let behind = stat.rsplit_once(')').map_or("", |(_, behind)| behind);
        let mut fields = behind.split_whitespace();
        let (state, of) = (fields.next(), fields.next().and_then(|id| id.parse::<u32>().ok()));
        of == Some(parent) && state != Some("Z")
    };
    ids.filter(is_child).collect()
}

fn config() -> ClusterConfig {
    let mut preset = Preset::default();
    preset.node.durability = Durability::None;
    ClusterConfig {
        name: "agents".to_owned(),
        replicas: 4,
        application: "null".to_owned(),
        preset,
        reply_bytes: 16,
        liars: Liars::default(),
        emulate: None,
        places: Vec::new(),
        controlled: false,
    }
}

async fn hands(agents: &[(SocketAddr, PublicKey)], key: &SecretKey) -> Vec<Hand> {
    let mut hands = Vec::new();
    for (address, agent) in agents {
        hands.push(Hand::There(Link::connect(*address, key, *agent).await.unwrap()));
    }
    hands
}

/// A cluster on these agents, up, and its hands.
async fn cluster(hands: &mut Vec<Hand>) -> Cluster {
    let mut cluster = Cluster::start(config(), hands).await.unwrap();
    cluster.wait_until_up(PATIENCE).await.unwrap();
    cluster
}

/// Load on a cluster of several machines, one replica killed and started again meanwhile, and what came of it.
async fn drive(agents: &[(SocketAddr, PublicKey)], key: &SecretKey) {
    let mut hands = hands(agents, key).await;
    let mut cluster = cluster(&mut hands).await;
    assert_eq!(cluster.machines().len(), agents.len());
    let assignment = |first_client| Assignment {
        workload: Workload::Null,
        clients: 3,
        in_flight: 8,
        bundle: 8,
        payload: 64,
        manner: Manner { first_client, ..Manner::default() },
        patience_ms: 20_000,
    };
    cluster.start_load(vec![(0, assignment(0)), (1, assignment(3))]).await.unwrap();
    let before = cluster.usage().await.unwrap();
    for rate in [None, Some(400.0)] {
        cluster.begin(Stint { warm_up_ms: 100, measure_ms: 700, rate }).await.unwrap();
        if rate.is_some() {
            cluster.strike(Deed::Kill, &[3]).await.unwrap();
            cluster.strike(Deed::Restart, &[3]).await.unwrap();
        }
        let report = cluster.finish().await.unwrap();
        assert!(report.matched > 50 && report.failed == 0, "{report:?}");
        let (statuses, verdict) = cluster.verdict(report.highest, PATIENCE).await;
        assert_eq!(verdict, Verdict::Agreement { absent: Vec::new(), liars: Vec::new() }, "{statuses:?}");
    }
    let used = cluster.usage().await.unwrap().since(&before);
    assert_eq!(used.replicas.len(), 4);
    assert!(used.replicas.values().all(|time| time.total_us > 0) && used.load.total_us > 0, "{used:?}");
    cluster.survey().await;
    assert!(cluster.footprints().iter().all(|of| of.memory.is_some() && of.disk.total() > 0));
    assert!(cluster.log(0, 100).await.unwrap().len() <= 100);
    cluster.stop().await;
    // The same machines serve the next cluster.
    let mut hands = cluster.into_hands();
    let next = self::cluster(&mut hands).await;
    for mut hand in next.into_hands() {
        hand.close().await;
    }
}

/// The agents that a controller in a process of its own is told of.
fn told() -> Option<(Vec<(SocketAddr, PublicKey)>, SecretKey)> {
    let words = std::env::var(AGENTS).ok()?;
    let words: Vec<&str> = words.split_whitespace().collect();
    let agents = words.chunks(2).map(|pair| (pair[0].parse().unwrap(), pair[1].parse().unwrap())).collect();
    Some((agents, own_key(Path::new(&std::env::var(KEY).unwrap())).unwrap()))
}

/// This test program as a controller of these agents in a process of its own, by way of another program or not.
fn controller_process(way: &[&str], agents: &[Agent], controller: &Controller) -> Command {
    let own = std::env::current_exe().unwrap();
    let words = [way, &[own.to_str().unwrap(), DRIVE, "--exact", "--nocapture"]].concat();
    let mut told = String::new();
    agents.iter().for_each(|agent| write!(told, "{} {} ", agent.address, agent.key).unwrap());
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).env(AGENTS, told).env(KEY, controller.path());
    command
}

#[test]
fn two_agents_run_one_cluster_with_load_to_agreement() {
    if let Some((agents, key)) = told() {
        return block(async {
            if std::env::var_os(HOLD).is_none() {
                return drive(&agents, &key).await;
            }
            let mut hands = hands(&agents, &key).await;
            let _cluster = cluster(&mut hands).await;
            println!("\n{HOLDING}");
            // Until it is killed, or whoever started it is.
            let (gone, alone) = tokio::sync::oneshot::channel::<()>();
            std::thread::spawn(move || {
                while std::io::stdin().read(&mut [0]).is_ok_and(|read| read > 0) {}
                drop(gone);
            });
            assert!(alone.await.is_err(), "nothing is sent");
        });
    }
    let controller = Controller::new();
    let agents = [1, 2].map(|_| Agent::at([127, 0, 0, 1].into(), &controller).listening());
    let known: Vec<_> = agents.iter().map(|agent| (agent.address, agent.key)).collect();
    block(drive(&known, &controller.key));
    for agent in agents {
        agent.hear("is gone, and everything it had started");
        assert!(agent.is_clean() && agent.children().is_empty(), "{:?}", agent.children());
    }
}

/// The only point of a figure that is measured on these agents, each with what it runs.
fn measured(more: &str, agents: &[(&Agent, &str)], controller: &Controller) -> Value {
    let mut figure = format!("{FIGURE}{more}");
    for (number, (agent, runs)) in agents.iter().enumerate() {
        let (address, key) = (agent.address, agent.key);
        let table =
            format!("name = \"{number}\"\naddress = \"{address}\"\nkey = \"{key}\"\nruns = \"{runs}\"\n");
        write!(figure, "\n[[machine]]\n{table}").unwrap();
    }
    let file = controller.folder.path().join("figure.toml");
    fs::write(&file, &figure).unwrap();
    let out = tempfile::tempdir().unwrap();
    let out = out.path().join("report");
    let places = [file.to_str().unwrap(), "--out", out.to_str().unwrap()];
    let done = quorate(&[&["bench"], &places[..], &["--key", &controller.path(), "--json"]].concat());
    assert!(done.status.success(), "{figure}\n{}", text(&done.stderr));
    let record: Value = serde_json::from_slice(&done.stdout).unwrap();
    let points = record["points"].as_array().unwrap();
    assert_eq!((points.len(), &points[0]["agreement"]), (1, &Value::Bool(true)), "{record:#}");
    assert!(points[0]["throughput_rps"].as_f64().is_some_and(|rate| rate > 0.0), "{record:#}");
    points[0].clone()
}

#[test]
fn a_figure_is_measured_on_agents_with_replicas_and_clients_apart_or_on_one_that_emulates_a_network() {
    let controller = Controller::new();
    let [one, other] = [1, 2].map(|_| Agent::at([127, 0, 0, 1].into(), &controller).listening());
    measured("", &[(&one, "replicas"), (&other, "clients")], &controller);
    for agent in [&one, &other] {
        agent.hear("is gone, and everything it had started");
    }
    let emulated = measured("network = \"wan-europe\"\n", &[(&one, "both")], &controller);
    let p50 = emulated["p50_us"].as_f64().unwrap();
    let expected = emulated["network_check"]["expected_p50_us"].as_f64().unwrap();
    assert!(expected > 10_000.0 && p50 >= expected * 0.9, "{p50} of {expected}");
}

#[test]
fn two_agents_in_two_network_namespaces_run_one_cluster_with_load_to_agreement() {
    match namespaces() {
        Ok((agents, controller)) => {
            let first = agents[0].child.id().to_string();
            let way = ["nsenter", "--net", "--target", &first];
            let output =
                controller_process(&way, &agents, &controller).stdin(Stdio::null()).output().unwrap();
            assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
            assert!(text(&output.stdout).contains("1 passed"), "{}", text(&output.stdout));
            assert!(agents.iter().all(|agent| agent.children().is_empty()));
        }
        Err(why) => println!("UNVERIFIED: two agents in two network namespaces: {why}"),
    }
}

/// Two agents, each in a namespace of its own, with a cable between the two. The namespaces go with their agents.
fn namespaces() -> Result<([Agent; 2], Controller), String> {
    // It says that it is there, waits for its cable, and becomes the agent.
    const WAIT: &str = "ip link set lo up && echo there >&2 && read line && exec \"$@\"";
    let run = |words: &[&str]| -> Result<(), String> {
        let done = Command::new(words[0]).args(&words[1..]).output();
        let done = done.map_err(|error| format!("`{}`: {error}", words[0]))?;
        let why = || format!("`{}`: {}", words.join(" "), text(&done.stderr).trim());
        if done.status.success() { Ok(()) } else { Err(why()) }
    };
    run(&["unshare", "--net", "true"])?;
    run(&["ip", "-V"])?;
    run(&["nsenter", "--version"])?;
    let controller = Controller::new();
    let hosts = ["10.231.77.1", "10.231.77.2"];
    let agents = hosts.map(|host| {
        let way = ["unshare", "--net", "sh", "-c", WAIT, "agent"];
        Agent::behind(&way, host.parse().unwrap(), &controller)
    });
    agents.iter().for_each(|agent| drop(agent.hear("there")));
    let [one, other] = [0, 1].map(|agent: usize| agents[agent].child.id().to_string());
    let cable = ["ip", "link", "add", "cable", "netns", &one, "type", "veth", "peer", "name", "cable"];
    run(&[&cable[..], &["netns", &other]].concat())?;
    for (process, host) in [(&one, hosts[0]), (&other, hosts[1])] {
        let inside = ["nsenter", "--net", "--target", process, "ip"];
        run(&[&inside[..], &["address", "add", &format!("{host}/24"), "dev", "cable"]].concat())?;
        run(&[&inside[..], &["link", "set", "cable", "up"]].concat())?;
    }
    let agents = agents.map(|mut agent| {
        agent.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
        agent.listening()
    });
    Ok((agents, controller))
}

#[test]
fn a_controller_or_an_agent_that_dies_leaves_no_replica_behind() {
    let controller = Controller::new();
    let agents = [Agent::at([127, 0, 0, 1].into(), &controller).listening()];
    let mut held = controller_process(&[], &agents, &controller)
        .env(HOLD, "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(held.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == HOLDING), "the cluster came up");
    let [agent] = agents;
    assert_eq!(agent.children().len(), 4);
    held.kill().unwrap();
    held.wait().unwrap();
    agent.hear("is gone, and everything it had started");
    assert!(agent.is_clean() && agent.children().is_empty(), "{:?}", agent.children());

    let known = [(agent.address, agent.key)];
    block(async {
        let mut hands = hands(&known, &controller.key).await;
        let _cluster = cluster(&mut hands).await;
        let replicas = agent.children();
        assert_eq!(replicas.len(), 4);
        drop(agent);
        let gone = |id: &u32| {
            let line = fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
            !line.contains("--exit-with-stdin")
        };
        until("the replicas of a killed agent end", async || replicas.iter().all(gone).then_some(())).await;
    });
}

#[test]
fn a_controller_with_another_key_and_a_second_one_are_refused_in_words_that_help() {
    let (controller, stranger) = (Controller::new(), Controller::new());
    let agent = Agent::at([127, 0, 0, 1].into(), &controller).listening();
    block(async {
        let refused = Link::connect(agent.address, &stranger.key, agent.key).await.map(drop).unwrap_err();
        assert!(matches!(refused, LinkError::NotOurs { .. }), "{refused}");
        let ours = format!("--controller {}", stranger.key.public());
        assert!(refused.to_string().contains(&ours), "{refused}");
        agent.hear("did not prove the controller's key");
        let wrong = Link::connect(agent.address, &controller.key, stranger.key.public()).await;
        assert!(matches!(wrong.map(drop), Err(LinkError::NotTheirs { .. })));
        let first = Link::connect(agent.address, &controller.key, agent.key).await.unwrap();
        let here = agent.hear("is here");
        let second = Link::connect(agent.address, &controller.key, agent.key).await.map(drop).unwrap_err();
        let address = here.split_whitespace().find_map(|word| word.parse::<SocketAddr>().ok()).unwrap();
        assert!(second.to_string().contains(&format!("serves the controller at {address}")), "{second}");
        agent.hear("refused a second controller");
        first.close().await;
        agent.hear("is gone");
        Link::connect(agent.address, &controller.key, agent.key).await.unwrap();
    });
}
