//! The replicas' processes and the load of one machine.
//!
//! A worker does what [`Order`]s say, whether they come from the same process or over a control link. It runs its own
//! program only, with arguments that it makes itself, and writes under its own folder only. Everything that it started
//! ends with it: processes are killed when they are dropped, and end by themselves when their standard input does.

mod footprint;
mod loading;
mod orders;
mod process;
mod site;
mod usage;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use quorate_host::journal::Reserve;
use quorate_node::cluster_file::{Addresses, ClusterFile, ClusterFileError};
use quorate_node::init::{InitError, free_addresses_on, install};
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::types::{PublicKey, ReplicaId};

pub use self::footprint::{DiskUse, Footprint};
use self::loading::Loading;
pub use self::orders::{
    Answer, Control, End, Installation, Machine, Order, PIECE_BYTES_MAX, REPLICAS_MAX, Recruit,
    TEXT_BYTES_MAX,
};
use self::process::{Member, Program};
use self::site::Site;
pub use self::usage::{LOAD_THREAD, ProcessTime, Usage};
use crate::limits::file_system_of;
use crate::load::LoadError;

/// Where a worker writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Home {
    /// Into a temporary folder for each cluster, which is removed with it.
    Temporary,
    /// The same, inside this folder: whoever measures a disk names one that is on it.
    Within(PathBuf),
    /// Into this folder, which is kept. It has room for one cluster.
    Kept(PathBuf),
}

/// How replicas log, each into a file of its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Logs {
    /// What, as the program's `--log` takes it; if none is given what `QUORATE_LOG` says, or else warnings.
    pub filter: Option<String>,
    /// As what, as the program's `--log-format` takes it; if none is given what `QUORATE_LOG_FORMAT` says.
    pub format: Option<String>,
}

/// What a worker needs to know.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// The program `quorate`.
    pub program: PathBuf,
    /// Where to write.
    pub home: Home,
    /// Where others reach the replicas and clients of this machine.
    pub host: IpAddr,
    /// How the replicas log.
    pub logs: Logs,
}

/// Why an order was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// It makes no sense now.
    #[error("{0}")]
    Senseless(&'static str),
    /// A replica that this machine does not run.
    #[error("replica {0} is not one of this machine's")]
    Stranger(u16),
    /// More replicas than one machine runs, or a text that is too long.
    #[error("{what}: {found}, and {most} at most; use more machines, or less of it")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// How much there is.
        found: usize,
        /// How much there may be.
        most: usize,
    },
    /// The cluster file is none.
    #[error(transparent)]
    ClusterFile(#[from] ClusterFileError),
    /// The cluster's files cannot be written.
    #[error(transparent)]
    Init(#[from] InitError),
    /// No free ports.
    #[error("no free ports on {host}: {error}; is it an address of this machine?")]
    Ports {
        /// The address.
        host: IpAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// A file or folder.
    #[error("{}: cannot {deed}: {error}", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What was tried.
        deed: &'static str,
        /// What the system says.
        error: std::io::Error,
    },
    /// A process.
    #[error("cannot {deed} replica {replica}: {error}")]
    Process {
        /// Whose.
        replica: u16,
        /// What was tried.
        deed: &'static str,
        /// What the system says.
        error: std::io::Error,
    },
    /// A signal was not taken.
    #[error("replica {replica} took no SIG{signal}")]
    Signal {
        /// Which replica.
        replica: u16,
        /// Which signal.
        signal: &'static str,
    },
    /// The system gave no randomness.
    #[error("no randomness for keys: {0}")]
    Randomness(getrandom::Error),
    /// The load.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The thread of load is gone.
    #[error("the clients' thread ended; see what it said last")]
    LoadGone,
    /// The answer is one to another order.
    #[error("the answer is one to another order; is the agent of another version?")]
    Answer,
    /// Another machine could not do it, or cannot be reached.
    #[error("the machine at {machine}: {why}")]
    There {
        /// Which.
        machine: String,
        /// What it says, or why it says nothing.
        why: String,
    },
}

/// The replicas' processes and the load of one machine.
pub struct Worker {
    config: WorkerConfig,
    /// Keys and addresses of replicas whose cluster has no file yet.
    recruits: BTreeMap<u16, (SecretKey, Addresses)>,
    site: Option<Site>,
    load: Option<Loading>,
    /// What clients took that are disconnected by now.
    load_before: ProcessTime,
}

impl Worker {
    /// One that has done nothing yet.
    #[must_use]
    pub fn new(config: WorkerConfig) -> Self {
        let load_before = ProcessTime::default();
        Self { config, recruits: BTreeMap::new(), site: None, load: None, load_before }
    }

    /// One on this machine alone, whose replicas nobody else reaches.
    #[must_use]
    pub fn local(program: PathBuf, home: Home) -> Self {
        let (host, logs) = (Ipv4Addr::LOCALHOST.into(), Logs::default());
        Self::new(WorkerConfig { program, home, host, logs })
    }

    /// The same, whose replicas log so.
    #[must_use]
    pub fn logging(mut self, logs: Logs) -> Self {
        self.config.logs = logs;
        self
    }

    /// The folder of the cluster that it is part of.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        self.site.as_ref().map(|site| site.folder.as_path())
    }

    /// Carries out one order. None takes longer than clients have to get a session, or replicas to end.
    ///
    /// # Errors
    /// [`WorkerError`] says what could not be done.
    pub async fn carry_out(&mut self, order: Order) -> Result<Answer, WorkerError> {
        match order {
            Order::Describe => Ok(Answer::Machine(self.describe())),
            Order::Recruit { replicas, avoid } => self.recruit(&replicas, &avoid).map(Answer::Recruits),
            Order::Install(installation) => self.install(*installation).map(done),
            Order::Spawn(replicas) => self.site()?.spawn(&replicas).map(done),
            Order::Kill(replicas) => self.site()?.kill(&replicas).await.map(done),
            Order::Retire(replicas) => self.site()?.retire(&replicas).await.map(done),
            Order::Pause(replicas) => self.site()?.signal("STOP", &replicas).await.map(done),
            Order::Resume(replicas) => self.site()?.signal("CONT", &replicas).await.map(done),
            Order::Ended => self.site()?.ended().map(Answer::Ended),
            Order::Control { replicas, control } => self.site()?.control(&replicas, &control).await.map(done),
            Order::Statuses(replicas) => Ok(Answer::Statuses(self.site()?.statuses(&replicas).await)),
            Order::Heads { seq, replicas } => Ok(Answer::Heads(self.site()?.heads(seq, &replicas).await)),
            Order::Survey => Ok(Answer::Footprints(self.site()?.survey())),
            Order::Usage => Ok(Answer::Usage(self.usage())),
            Order::LastWords => Ok(Answer::Words(self.site()?.last_words())),
            Order::Log { replica, from } => self.site()?.log(replica, from).map(Answer::Piece),
            Order::LoadConnect(_)
            | Order::LoadBegin(_)
            | Order::LoadPeek
            | Order::LoadGiveUp
            | Order::LoadFinish
            | Order::LoadStop => self.carry_out_load(order).await,
            Order::Stop => {
                self.stop().await;
                Ok(Answer::Done)
            }
        }
    }

    async fn carry_out_load(&mut self, order: Order) -> Result<Answer, WorkerError> {
        const NONE: WorkerError = WorkerError::Senseless("no clients are connected; connect some first");
        match order {
            Order::LoadConnect(assignment) => {
                if self.load.is_some() {
                    return Err(WorkerError::Senseless(
                        "clients are connected already; disconnect them first",
                    ));
                }
                let host = self.config.host;
                let config = assignment.config(&self.site()?.file, host);
                let patience = assignment.patience();
                self.load = Some(Loading::connect(config, patience).await?);
                Ok(Answer::Done)
            }
            Order::LoadBegin(stint) => self.load.as_ref().ok_or(NONE)?.begin(stint).await.map(done),
            Order::LoadPeek => self.load.as_ref().ok_or(NONE)?.peek().await.map(Answer::Peek),
            Order::LoadGiveUp => self.load.as_ref().ok_or(NONE)?.give_up().await.map(done),
            Order::LoadFinish => {
                let report = self.load.as_ref().ok_or(NONE)?.finish().await?;
                Ok(Answer::Report(report.map(Box::new)))
            }
            _ => {
                self.stop_load().await;
                Ok(Answer::Done)
            }
        }
    }

    /// What machine this is.
    #[must_use]
    pub fn describe(&self) -> Machine {
        let folder = match &self.config.home {
            Home::Temporary => std::env::temp_dir(),
            // One that is to be made lies where the folders above it do.
            Home::Within(folder) | Home::Kept(folder) => {
                folder.ancestors().find(|folder| folder.exists()).unwrap_or(folder).to_owned()
            }
        };
        let folder = if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Machine {
            name: name.trim().to_owned(),
            cores: u16::try_from(cores).unwrap_or(u16::MAX),
            file_system: file_system_of(&folder).map_or_else(|| "unknown".to_owned(), |found| found.kind),
            build: quorate_node::BUILD.to_owned(),
        }
    }

    fn site(&mut self) -> Result<&mut Site, WorkerError> {
        self.site.as_mut().ok_or(WorkerError::Senseless("there is no cluster here; install one first"))
    }

    fn recruit(&mut self, replicas: &[u16], avoid: &[u16]) -> Result<Vec<Recruit>, WorkerError> {
        if self.site.is_some() {
            return Err(WorkerError::Senseless("a cluster is here already; stop it first"));
        }
        at_most("replicas on one machine", replicas.len(), REPLICAS_MAX)?;
        self.recruits.clear();
        let count = u16::try_from(replicas.len()).unwrap_or(u16::MAX);
        let host = self.config.host;
        let free =
            free_addresses_on(host, count, avoid).map_err(|error| WorkerError::Ports { host, error })?;
        let mut made = Vec::new();
        for (replica, addresses) in replicas.iter().zip(free) {
            let key = new_key()?;
            made.push(Recruit::new(key.public(), addresses));
            self.recruits.insert(*replica, (key, addresses));
        }
        Ok(made)
    }

    /// Writes everything that the recruits need to run.
    fn install(&mut self, installation: Installation) -> Result<(), WorkerError> {
        if self.site.is_some() {
            return Err(WorkerError::Senseless("a cluster is here already; stop it first"));
        }
        let Installation { cluster, reply_bytes, liars, seed, emulations, controlled } = installation;
        at_most("bytes of the cluster file", cluster.len(), TEXT_BYTES_MAX)?;
        let file = ClusterFile::parse(&cluster, Path::new("the cluster file of the controller"))?;
        if !file.testing() {
            return Err(WorkerError::Senseless(
                "the cluster is not one for trials; its file has to say `testing = true`",
            ));
        }
        let recruits = std::mem::take(&mut self.recruits);
        for (replica, (key, _)) in &recruits {
            if key_in(&file, *replica) != Some(key.public()) {
                return Err(WorkerError::Stranger(*replica));
            }
        }
        let (folder, temporary) = self.make_folder(file.name())?;
        let keys: Vec<_> = recruits.iter().map(|(replica, (key, _))| (ReplicaId(*replica), key)).collect();
        // With a client's key, so that whoever keeps the folder can ask the cluster.
        let client = [new_key()?];
        let written = install(&folder, file.clone(), &keys, (&client, Reserve::Records))?;
        let (path, logs) = (self.config.program.clone(), self.config.logs.clone());
        let program = Program { path, logs, reply_bytes, liars, seed, controlled };
        let mut members = BTreeMap::new();
        for replica in recruits.into_keys() {
            let emulation = match emulations.get(&replica) {
                Some(text) => Some(write_emulation(&folder, replica, text)?),
                None => None,
            };
            let log = folder.join(format!("replica-{replica}.log"));
            members.insert(replica, Member::new(log, emulation));
        }
        self.site = Some(Site { file, layout: written.layout, program, members, temporary, folder });
        Ok(())
    }

    fn make_folder(&self, name: &str) -> Result<(PathBuf, Option<tempfile::TempDir>), WorkerError> {
        let prefix = format!("quorate-{name}-");
        let mut builder = tempfile::Builder::new();
        let builder = builder.prefix(&prefix);
        let (made, above) = match &self.config.home {
            Home::Kept(folder) => return Ok((folder.clone(), None)),
            Home::Temporary => (builder.tempdir(), std::env::temp_dir()),
            Home::Within(folder) => (builder.tempdir_in(folder), folder.clone()),
        };
        let failed = |error| WorkerError::Io { path: above, deed: "make a temporary folder", error };
        let temporary = made.map_err(failed)?;
        Ok((temporary.path().to_owned(), Some(temporary)))
    }

    fn usage(&self) -> Usage {
        let mut usage = Usage::default();
        if let Some(site) = &self.site {
            usage.replicas = site.members.iter().map(|(replica, member)| (*replica, member.time())).collect();
        }
        usage.load = self.load_before.clone();
        usage.load.add(&self.load.as_ref().map_or_else(ProcessTime::default, |_| Loading::time()));
        usage
    }

    async fn stop_load(&mut self) {
        if let Some(load) = self.load.take() {
            self.load_before.add(&Loading::time());
            load.stop().await;
        }
    }

    /// Ends everything that was started, gently first.
    async fn stop(&mut self) {
        self.stop_load().await;
        self.load_before = ProcessTime::default();
        self.recruits.clear();
        if let Some(mut site) = self.site.take() {
            site.stop().await;
            // Its own removal would say nothing of what it could not remove, either.
            drop(site.temporary);
        }
    }
}

fn done((): ()) -> Answer {
    Answer::Done
}

fn at_most(what: &'static str, found: usize, most: usize) -> Result<(), WorkerError> {
    if found > most { Err(WorkerError::TooMuch { what, found, most }) } else { Ok(()) }
}

fn key_in(file: &ClusterFile, replica: u16) -> Option<PublicKey> {
    file.replica(ReplicaId(replica)).map(|entry| entry.key)
}

/// A key that nobody else has.
pub(crate) fn new_key() -> Result<SecretKey, WorkerError> {
    let mut seed = zeroize::Zeroizing::new([0; 32]);
    getrandom::fill(&mut seed[..]).map_err(WorkerError::Randomness)?;
    Ok(SecretKey::from_seed(&seed))
}

/// The file that tells a replica which network to emulate.
fn write_emulation(folder: &Path, replica: u16, text: &str) -> Result<PathBuf, WorkerError> {
    at_most("bytes of an emulated network", text.len(), TEXT_BYTES_MAX)?;
    let path = folder.join(format!("emulation-{replica}.toml"));
    let failed = |error| WorkerError::Io { path: path.clone(), deed: "write the emulated network", error };
    std::fs::write(&path, text).map_err(failed)?;
    Ok(path)
}
