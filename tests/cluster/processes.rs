//! Clusters of processes for tests: made by `quorate init`, started, killed, asked.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::future::Future;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use bytes::Bytes;
use quorate_apps::kv;
use quorate_node::admin::{self, HistoryHead};
use quorate_node::client::{self, Caller};
use quorate_node::cluster_file::ClusterFile;
use quorate_node::init::{Layout, PORTS_PER_REPLICA};
use quorate_node::key_file;
use quorate_node::status::Status;
use quorate_node::transport::{ClientTransportConfig, Limits};
use quorate_protocol::client::Options;
use quorate_protocol::codec;
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::types::ReplicaId;
use tempfile::TempDir;

/// How long anything may take on a slow and busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at something that another process does.
const LOOK: Duration = Duration::from_millis(20);
/// Where the search for ports begins: below those that the system gives to whoever asks for any.
const FIRST_PORT: u16 = 10_000;
/// Ports that are searched.
const PORTS: u16 = 20_000;

/// Lets a future run to its end.
pub(super) fn block<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Looks again and again until there is something.
pub(super) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        let mut tick = tokio::time::interval(LOOK);
        loop {
            tick.tick().await;
            if let Some(found) = look().await {
                return found;
            }
        }
    };
    let found = tokio::time::timeout(PATIENCE, looking).await;
    found.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// Runs the program to its end.
pub(super) fn quorate(arguments: &[&str]) -> Output {
    program().args(arguments).stdin(Stdio::null()).output().unwrap()
}

pub(super) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quorate"));
    command.env("QUORATE_LOG", "info");
    command
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The first of as many consecutive ports that nobody has.
fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Another run of these tests begins somewhere else.
    let offset = u16::try_from(std::process::id() % 199 * 100).unwrap();
    loop {
        let next = NEXT.fetch_add(count, Ordering::Relaxed);
        assert!(next < PORTS, "no free ports were found");
        let first = FIRST_PORT + (offset + next) % PORTS;
        let free = |port| {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok()
        };
        if (first..first + count).all(free) {
            return first;
        }
    }
}

/// A cluster in a temporary folder. Its processes end with it.
pub(super) struct Cluster {
    pub(super) folder: TempDir,
    pub(super) file: ClusterFile,
    pub(super) layout: Layout,
    members: Vec<Option<Child>>,
    /// What the replicas last said of themselves, for whoever has to find out why a test failed.
    seen: RefCell<BTreeMap<usize, Status>>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for id in 0..self.members.len() {
            self.kill(id);
        }
        if std::thread::panicking() {
            for id in 0..self.members.len() {
                eprintln!("--- replica {id} said:\n{}", self.log(id));
                if let Some(Status { view, status, low, committed, executed, alarms, .. }) =
                    self.seen.borrow().get(&id)
                {
                    eprintln!(
                        "view {view} {status}, low {low}, committed {committed}, executed {executed} {alarms:?}"
                    );
                }
            }
        }
    }
}

impl Cluster {
    /// Four replicas made by the program, with these further arguments; none is running.
    pub(super) fn init(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_ports(4 * PORTS_PER_REPLICA).to_string();
        let path = folder.path().to_str().unwrap();
        let made = quorate(&[&["init", path, "--base-port", &port], arguments].concat());
        assert!(made.status.success(), "{}", text(&made.stderr));
        let layout = Layout::new(folder.path());
        let file = ClusterFile::load(&layout.cluster_file()).unwrap();
        let members = file.replicas().iter().map(|_| None).collect();
        Self { folder, file, layout, members, seen: RefCell::default() }
    }

    /// Four replicas, running and linked.
    pub(super) fn serving(arguments: &[&str]) -> Self {
        let mut cluster = Self::init(arguments);
        for id in 0..cluster.members.len() {
            cluster.start(id);
        }
        block(cluster.until_linked());
        cluster
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// What one types to start a replica, from `replica` on.
    pub(super) fn words(&self, id: usize) -> Vec<String> {
        let file = self.layout.cluster_file().to_str().unwrap().to_owned();
        vec!["replica".into(), id.to_string(), "--cluster".into(), file]
    }

    /// Tries to start a replica that must refuse, with further arguments; gives back what it said.
    pub(super) fn refused(&self, id: usize, arguments: &[&str]) -> String {
        let words = self.words(id);
        let mut child = program();
        child.args(&words).args(arguments).arg("--exit-with-stdin").stdin(Stdio::null());
        let output = child.output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        said
    }

    pub(super) fn start(&mut self, id: usize) {
        self.start_with(id, &[]);
    }

    /// Starts a replica with further arguments.
    pub(super) fn start_with(&mut self, id: usize, arguments: &[&str]) {
        let log = self.path().join(format!("replica-{id}.log"));
        let words = OpenOptions::new().create(true).append(true).open(log).unwrap();
        let mut command = program();
        // Its standard input ends with this process, should that be killed, and the replica with it.
        command.args(self.words(id)).args(arguments).arg("--exit-with-stdin").stdin(Stdio::piped());
        let child = command.stdout(Stdio::null()).stderr(words).spawn().unwrap();
        assert!(self.members[id].replace(child).is_none(), "replica {id} runs already");
    }

    /// SIGKILL, as a power cut of one machine; nothing happens if it does not run.
    pub(super) fn kill(&mut self, id: usize) {
        if let Some(mut child) = self.members[id].take() {
            // It is a child of this process that nobody has waited for, so the id is still its own.
            drop(child.kill());
            drop(child.wait());
        }
    }

    /// Lets a replica end by itself, as an operator does.
    pub(super) fn stop(&mut self, id: usize) {
        let mut child = self.members[id].take().unwrap();
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success(), "{}", self.log(id));
    }

    /// Writes a line to a replica's standard input.
    pub(super) fn tell(&mut self, id: usize, line: &str) {
        let child = self.members[id].as_mut().unwrap();
        writeln!(child.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Sends a signal to a replica that runs.
    pub(super) fn signal(&self, id: usize, signal: &str) {
        // It is a child of this process that nobody has waited for, so the id is still its own.
        let process = self.members[id].as_ref().unwrap().id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &process]).status().unwrap();
        assert!(sent.success(), "replica {id} took no SIG{signal}");
    }

    /// Waits until a replica that was told to stop has stopped as it should.
    pub(super) async fn until_stopped(&mut self, id: usize) {
        let mut child = self.members[id].take().unwrap();
        // Whoever waits for a child closes its input first, which would be another way to stop it.
        let status = until("it stops", async || child.try_wait().unwrap()).await;
        assert!(status.success(), "{status}: {}", self.log(id));
    }

    /// A power cut of several machines: none of them is left to see another one go.
    pub(super) fn kill_some(&mut self, ids: &[usize]) {
        for id in ids {
            if let Some(child) = &mut self.members[*id] {
                drop(child.kill());
            }
        }
        ids.iter().for_each(|id| self.kill(*id));
    }

    pub(super) fn log(&self, id: usize) -> String {
        fs::read_to_string(self.path().join(format!("replica-{id}.log"))).unwrap_or_default()
    }

    pub(super) async fn status(&self, id: usize) -> Option<Status> {
        let status: Option<Status> =
            admin::fetch(self.file.replicas()[id].addresses.admin, "/status").await.ok();
        self.seen.borrow_mut().extend(status.clone().map(|status| (id, status)));
        status
    }

    /// Waits until every replica that runs has a link to every other that runs.
    pub(super) async fn until_linked(&self) {
        let running = self.running();
        until("links between all replicas", async || {
            for id in &running {
                if self.status(*id).await?.links_up.len() + 1 < running.len() {
                    return None;
                }
            }
            Some(())
        })
        .await;
    }

    fn running(&self) -> Vec<usize> {
        (0..self.members.len()).filter(|id| self.members[*id].is_some()).collect()
    }

    /// Waits until all that run have executed as much, and something; then compares their histories there.
    pub(super) async fn until_agreed(&self) -> u64 {
        self.until_enough_agree(self.running().len()).await
    }

    /// Waits until `enough` replicas have executed as much as any; then compares their histories there.
    pub(super) async fn until_enough_agree(&self, enough: usize) -> u64 {
        let (seq, equal) = until("equally far replicas", async || {
            let mut executed = Vec::new();
            for id in self.running() {
                executed.push((id, self.status(id).await?.executed));
            }
            let most = executed.iter().map(|(_, seq)| *seq).max().filter(|seq| *seq > 0)?;
            let equal: Vec<usize> =
                executed.iter().filter(|(_, seq)| *seq == most).map(|(id, _)| *id).collect();
            (equal.len() >= enough).then_some((most, equal))
        })
        .await;
        let mut heads = Vec::new();
        for id in equal {
            heads.push(self.history(id, seq).await.expect("what was executed last is remembered"));
        }
        assert!(heads.windows(2).all(|pair| pair[0] == pair[1]), "histories differ at {seq}: {heads:?}");
        seq
    }

    /// Head of a replica's history after a slot, while it remembers that.
    pub(super) async fn history(&self, id: usize, seq: u64) -> Option<String> {
        let admin = self.file.replicas()[id].addresses.admin;
        let head: HistoryHead = admin::fetch(admin, &format!("/history?seq={seq}")).await.unwrap();
        head.head
    }

    /// Waits until a replica has counted something.
    pub(super) fn until_counted(&self, id: usize, name: &str, at_least: u64) {
        block(until(name, async || {
            self.status(id).await.filter(|status| status.counter(name) >= at_least).map(drop)
        }));
    }

    /// Runs `quorate client` with these words behind its options.
    pub(super) fn client(&self, arguments: &[&str]) -> Output {
        let file = self.layout.cluster_file().to_str().unwrap().to_owned();
        quorate(&[&["client", "--cluster", &file, "--timeout", "30"], arguments].concat())
    }

    /// What `quorate client` prints, to the letter.
    #[track_caller]
    pub(super) fn answers(&self, arguments: &[&str], expected: &str) {
        let output = self.client(arguments);
        let said = format!("{arguments:?} said on standard error:\n{}", text(&output.stderr));
        assert_eq!(text(&output.stdout), expected, "{said}");
        assert!(output.status.success(), "{said}");
    }

    pub(super) fn client_key(&self, client: u16) -> SecretKey {
        key_file::load(&self.layout.client_key(client)).unwrap()
    }

    pub(super) fn replica_key(&self, id: u16) -> SecretKey {
        key_file::load(&self.layout.replica_key(ReplicaId(id))).unwrap()
    }

    /// How a client of the library connects.
    pub(super) fn client_config(&self, key: SecretKey) -> ClientTransportConfig {
        ClientTransportConfig {
            context: self.file.context(),
            key: Arc::new(key),
            replicas: self.file.replicas().iter().map(|entry| entry.addresses.client).collect(),
            limits: Limits::default(),
        }
    }

    /// A client of the library.
    pub(super) async fn caller(&self, key: SecretKey) -> Caller {
        client::connect(self.client_config(key), None, Options::new(0)).await.unwrap()
    }
}

pub(super) fn put(key: &str, value: &str) -> Bytes {
    let command = kv::Command::Put { key: key.to_owned(), value: kv::Value(value.as_bytes().to_vec()) };
    codec::encode_serde(&command).unwrap().into()
}

pub(super) fn get(key: &str) -> Bytes {
    codec::encode_serde(&kv::Command::Get { key: key.to_owned() }).unwrap().into()
}
