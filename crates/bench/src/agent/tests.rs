//! Orders over a link, to an agent in the same process.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use quorate_node::cluster_file::{Addresses, Clients, ClusterFile, Draft, NodeDefaults};
use quorate_protocol::parameters::Parameters;

use super::*;
use crate::worker::{Home, Installation, Logs, Machine, REPLICAS_MAX, Recruit, TEXT_BYTES_MAX};

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

/// An agent that has no program to start, and whose clusters lie in this folder.
fn agent(folder: &tempfile::TempDir) -> Agent {
    let worker = WorkerConfig {
        program: PathBuf::from("/nonexistent/quorate"),
        home: Home::Within(folder.path().to_owned()),
        host: Ipv4Addr::LOCALHOST.into(),
        logs: Logs::default(),
    };
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Agent::open(AgentConfig { listen, key: key(1), controller: key(2).public(), worker }).unwrap()
}

/// Lets somebody talk to an agent.
async fn with_agent<T>(agent: &Agent, controller: impl AsyncFnOnce(Link) -> T) -> T {
    let driven = async {
        let link = Link::connect(agent.address(), &key(2), key(1).public()).await.unwrap();
        controller(link).await
    };
    tokio::select! {
        () = agent.serve(&|_| {}) => panic!("it serves as long as it is there"),
        done = driven => done,
    }
}

/// A cluster file of these recruits.
fn file(recruits: &[Recruit], testing: bool) -> ClusterFile {
    let draft = Draft {
        name: "here".to_owned(),
        application: "null".to_owned(),
        testing,
        allow_f0: false,
        clients: Clients::Open,
        parameters: Parameters::default(),
        node: NodeDefaults::default(),
        addresses: recruits.iter().map(Recruit::addresses).collect::<Vec<Addresses>>(),
    };
    let keys: Vec<PublicKey> = recruits.iter().map(Recruit::public).collect();
    ClusterFile::found(draft, &keys).unwrap()
}

async fn recruited(link: &Link, avoid: Vec<u16>) -> Vec<Recruit> {
    let order = Order::Recruit { replicas: vec![0, 1, 2, 3], avoid };
    match link.carry_out(order).await.unwrap() {
        Answer::Recruits(recruits) => recruits,
        other => panic!("{other:?}"),
    }
}

fn install(file: &ClusterFile) -> Order {
    let installation = Installation { cluster: file.to_toml(), ..Installation::default() };
    Order::Install(Box::new(installation))
}

#[tokio::test]
async fn an_agent_writes_in_its_folder_only_and_removes_that_when_it_is_told_to_stop() {
    let folder = tempfile::tempdir().unwrap();
    with_agent(&agent(&folder), async |link| {
        let machine = link.carry_out(Order::Describe).await.unwrap();
        assert!(matches!(machine, Answer::Machine(Machine { cores, .. }) if cores > 0));
        let recruits = recruited(&link, Vec::new()).await;
        link.carry_out(install(&file(&recruits, true))).await.unwrap();
        let made: Vec<_> = std::fs::read_dir(folder.path()).unwrap().flatten().collect();
        assert_eq!(made.len(), 1);
        assert!(made[0].path().join("data").join("replica-3").is_dir(), "{made:?}");
        let failed = link.carry_out(Order::Spawn(vec![0])).await.unwrap_err().to_string();
        assert!(failed.contains("cannot start replica 0") && failed.contains("127.0.0.1:"), "{failed}");
        link.carry_out(Order::Stop).await.unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    })
    .await;
}

#[tokio::test]
async fn what_a_lost_controller_left_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let agent = agent(&folder);
    with_agent(&agent, async |link| {
        let recruits = recruited(&link, Vec::new()).await;
        link.carry_out(install(&file(&recruits, true))).await.unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        drop(link);
        // Whoever is served next comes after everything of the last one is gone.
        let next = loop {
            match Link::connect(agent.address(), &key(2), key(1).public()).await {
                Ok(next) => break next,
                Err(error) => assert!(error.to_string().contains("serves the controller at"), "{error}"),
            }
        };
        next.carry_out(Order::Describe).await.unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    })
    .await;
}

#[tokio::test]
async fn orders_that_make_no_sense_are_refused_in_words_and_do_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    with_agent(&agent(&folder), async |link| {
        let why = async |order: Order| link.carry_out(order).await.unwrap_err().to_string();
        assert!(why(Order::Spawn(vec![0])).await.contains("install one first"));
        assert!(why(Order::LoadPeek).await.contains("connect some first"));
        let crowd = (0..=u16::try_from(REPLICAS_MAX).unwrap()).collect();
        assert!(why(Order::Recruit { replicas: crowd, avoid: Vec::new() }).await.contains("64 at most"));
        let recruits = recruited(&link, Vec::new()).await;
        assert!(why(install(&file(&recruits, false))).await.contains("not one for trials"));
        let recruits = recruited(&link, Vec::new()).await;
        let others = [&recruits[1..], &recruits[..1]].concat();
        assert!(why(install(&file(&others, true))).await.contains("is not one of this machine's"));
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        let installation = Installation { cluster: long, ..Installation::default() };
        assert!(why(Order::Install(Box::new(installation))).await.contains("bytes of the cluster file"));
        let recruits = recruited(&link, Vec::new()).await;
        link.carry_out(install(&file(&recruits, true))).await.unwrap();
        assert!(why(Order::Kill(vec![7])).await.contains("replica 7 is not one of this machine's"));
        assert!(why(Order::Log { replica: 0, from: 0 }).await.contains("cannot read the log"));
        assert!(why(Order::Recruit { replicas: vec![0], avoid: Vec::new() }).await.contains("stop it first"));
    })
    .await;
}

#[tokio::test]
async fn ports_that_another_machine_has_chosen_are_avoided() {
    let folder = tempfile::tempdir().unwrap();
    with_agent(&agent(&folder), async |link| {
        let avoid: Vec<u16> = (0..u16::MAX).step_by(2).collect();
        let recruits = recruited(&link, avoid.clone()).await;
        let of = |recruit: &Recruit| [recruit.peer, recruit.client, recruit.admin].map(|at| at.port());
        assert!(recruits.iter().flat_map(of).all(|port| !avoid.contains(&port)), "{recruits:?}");
    })
    .await;
}

#[tokio::test]
async fn what_is_no_order_is_answered_with_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let agent = agent(&folder);
    let asked = async {
        let address = agent.address();
        let link = quorate_node::transport::dial_agent(address, &key(2), key(1).public()).await.unwrap();
        let answer = link.ask(b"{\"Run\":\"/bin/sh\"}", Duration::from_secs(10)).await.unwrap();
        String::from_utf8(answer).unwrap()
    };
    tokio::select! {
        () = agent.serve(&|_| {}) => panic!("it serves as long as it is there"),
        answer = asked => assert!(answer.contains("does not understand the order"), "{answer}"),
    }
}

#[tokio::test]
async fn an_agent_that_nobody_could_reach_is_refused() {
    let worker = WorkerConfig {
        program: PathBuf::new(),
        home: Home::Temporary,
        host: Ipv4Addr::UNSPECIFIED.into(),
        logs: Logs::default(),
    };
    let listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let opened = Agent::open(AgentConfig { listen, key: key(1), controller: key(2).public(), worker });
    assert!(matches!(opened.map(drop), Err(AgentError::Anywhere(_))));
}
