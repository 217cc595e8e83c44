//! A replica as a process: the host, driven by sockets, files, threads and the clock.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use bytes::Bytes;
use quorate_host::disk::Disk;
use quorate_host::execution::Execution;
use quorate_host::host::{Host, Link};
use quorate_host::journal::{self, Amnesia, Counters as JournalCounters, Durability, JournalError, Opened, Shape};
use quorate_host::snapshots;
use quorate_host::lane::Class;
use quorate_host::superblock::{Identity, Superblock, SuperblockError};
use quorate_protocol::application::StateMachine;
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::executor::Executor;
use quorate_protocol::parameters::Context;
use quorate_protocol::process::Effect;
use quorate_protocol::replica::{Memory, Replica, Unrecoverable};
use quorate_protocol::signed::Signer;
use quorate_protocol::types::{ClientId, Digest, PublicKey, ReplicaId, Seq, Time, View};
use quorate_protocol::verify::{Invalid, Verifier};
use tokio::sync::{mpsc, oneshot};

use crate::admin;
use crate::clock::Clock;
use crate::cluster_file::{Clients, ClusterFile, Execution as ExecutionLayout, NodeDefaults};
use crate::file_disk::FileDisk;
use crate::roles::{Back, Executing, Returns, Verification, Writing};
use crate::status::{LinkDown, Status};
use crate::transport::{self, Admission, Inbound, LinkId, Limits, RefusalKind, Remote, Transport, TransportConfig, TransportError};

/// Bursts of frames that may wait for the protocol.
const INBOX_MAX: usize = 1024;
/// Bursts taken out of the inbox before anything else is looked at.
const BURST_MAX: usize = 256;
/// Alarms that a status shows.
const ALARMS_MAX: usize = 64;

/// What a node needs to run one replica.
pub struct NodeConfig {
    /// The cluster.
    pub cluster: ClusterFile,
    /// Which replica of it.
    pub id: ReplicaId,
    /// Its key.
    pub key: SecretKey,
    /// Its data folder, formatted by `quorate init`.
    pub data: PathBuf,
    /// What it runs.
    pub machine: Box<dyn StateMachine>,
    /// Local tuning.
    pub tuning: NodeDefaults,
}

/// Why a node did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The cluster file has no such replica.
    #[error("the cluster file has no replica {0}; its replicas are numbered from 0")]
    NoSuchReplica(ReplicaId),
    /// The data folder is not this replica's, or not formatted.
    #[error(transparent)]
    Superblock(#[from] SuperblockError),
    /// Votes may have been forgotten: the replica stays out rather than vote twice.
    #[error(
        "this replica may have forgotten votes ({0:?}) and stays out rather than vote twice; \
         give it a new key and a new folder, or restore nothing and leave it stopped"
    )]
    Amnesia(Option<Amnesia>),
    /// The journal's records contradict each other.
    #[error(transparent)]
    Unrecoverable(#[from] Unrecoverable),
    /// The state on the disk cannot be used.
    #[error("the state at slot {0} cannot be loaded: {1}")]
    State(Seq, String),
    /// The disk cannot be used.
    #[error(transparent)]
    Disk(#[from] quorate_host::disk::DiskError),
    /// The journal cannot be written any more.
    #[error("the replica stops rather than promise what it cannot keep: {0}")]
    Journal(#[from] JournalError),
    /// The network cannot be used.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The admin endpoint cannot be used.
    #[error("cannot serve the admin endpoint at {address}: {error}; change `admin_address` of this replica")]
    Admin {
        /// Its address.
        address: std::net::SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
    /// The operating system gave no randomness.
    #[error("no randomness: {0}")]
    Randomness(getrandom::Error),
    /// The application's state cannot be written down.
    #[error("{0}")]
    Application(String),
}

/// Questions to a running node.
pub(crate) enum Question {
    Status(oneshot::Sender<Box<Status>>),
    History(Seq, oneshot::Sender<Option<Digest>>),
}

/// The links, as the host sees them.
struct Links {
    transport: Transport,
    keys: BTreeMap<LinkId, PublicKey>,
    clients: BTreeMap<ClientId, Vec<LinkId>>,
}

impl Link for Links {
    fn send(&mut self, to: ReplicaId, class: Class, frame: Bytes) {
        self.transport.send(Remote::Replica(to), class, frame);
    }
    fn broadcast(&mut self, class: Class, frame: Bytes) {
        self.transport.broadcast(class, &frame);
    }
    fn reply(&mut self, client: ClientId, frame: Bytes) {
        for link in self.clients.get(&client).into_iter().flatten() {
            self.transport.send(Remote::Client(*link), Class::Proposals, frame.clone());
        }
    }
}

impl Links {
    fn up(&mut self, link: LinkId, key: PublicKey) {
        self.keys.insert(link, key);
        self.clients.entry(ClientId::of(&key)).or_default().push(link);
    }

    fn down(&mut self, link: LinkId) {
        let Some(key) = self.keys.remove(&link) else { return };
        let client = ClientId::of(&key);
        if let Some(links) = self.clients.get_mut(&client) {
            links.retain(|other| *other != link);
            if links.is_empty() {
                self.clients.remove(&client);
            }
        }
    }
}

/// A replica that is ready to run.
pub struct Node<D: Disk> {
    clock: Clock,
    host: Host,
    links: Links,
    verification: Verification,
    executing: Executing,
    writing: Writing<D>,
    inbox: mpsc::Receiver<Inbound>,
    returns: mpsc::UnboundedReceiver<Back>,
    questions: mpsc::Receiver<Question>,
    progress: Arc<Progress>,
    refused_frames: u64,
    /// How often refused messages were logged: each time when they have doubled.
    invalid_logged: u32,
    checks: Vec<u64>,
    journal: JournalCounters,
    alarms: Vec<String>,
    warnings: Vec<String>,
    durability: Durability,
    admin: tokio::task::JoinHandle<()>,
    /// Keeps `returns` open when no role has a thread of its own.
    _back: Returns,
}

/// What hellos say of this replica; read by connection tasks.
#[derive(Debug, Default)]
struct Progress {
    executed: AtomicU64,
    view: AtomicU64,
}

impl Node<FileDisk> {
    /// Opens the data folder, binds the addresses, and starts to answer; [`Node::run`] does the rest.
    ///
    /// # Errors
    /// [`NodeError`] names what is wrong and what to do about it.
    pub async fn start(config: NodeConfig) -> Result<Self, NodeError> {
        let NodeConfig { cluster, id, key, data, machine, tuning } = config;
        let entry = cluster.replica(id).ok_or(NodeError::NoSuchReplica(id))?.clone();
        let context = cluster.context();
        let identity = Identity { cluster: context.cluster, replica: id, key: key.public() };
        let clock = Clock::default();
        let recovered = recover(FileDisk::open(&data)?, &identity, &context, (machine, tuning.durability), clock.now())?;
        let peer_socket = transport::bind(entry.addresses.peer)?;
        let client_socket = transport::bind(entry.addresses.client)?;
        let (inbound, inbox) = mpsc::channel(INBOX_MAX);
        let progress = Arc::new(Progress::default());
        let standing = {
            let progress = Arc::clone(&progress);
            Arc::new(move || {
                (Seq(progress.executed.load(Ordering::Relaxed)), View(progress.view.load(Ordering::Relaxed)))
            })
        };
        let key = Arc::new(key);
        let transport = transport::start(
            TransportConfig {
                context: context.clone(),
                id,
                key: Arc::clone(&key),
                peer_addresses: cluster.replicas().iter().map(|replica| replica.addresses.peer).collect(),
                peer_socket,
                client_socket,
                admission: match cluster.clients() {
                    Clients::Open => Admission::Open,
                    Clients::Listed(keys) => Admission::Listed(keys.iter().copied().collect::<BTreeSet<_>>()),
                },
                limits: Limits::default(),
                standing,
            },
            inbound,
        )
        .await?;
        let (asks, questions) = mpsc::channel(64);
        let admin = admin::serve(entry.addresses.admin, asks)
            .await
            .map_err(|error| NodeError::Admin { address: entry.addresses.admin, error })?;
        let (back, returns) = mpsc::unbounded_channel();
        let Recovery { replica, executor, effects, journal, writer } = recovered;
        let mut warnings: Vec<String> = transport.warnings().iter().map(ToString::to_string).collect();
        warnings.extend(slow_signatures());
        let mut host = Host::new(replica, Signer::new(key, context.cluster, context.epoch, id), journal);
        let mut links = Links { transport, keys: BTreeMap::new(), clients: BTreeMap::new() };
        host.resume(clock.now(), effects, &mut links);
        Ok(Self {
            clock,
            host,
            links,
            verification: verification(&context, tuning.verifier_threads, &back)?,
            executing: match tuning.execution {
                ExecutionLayout::Shared => Executing::Here(Box::new(Execution::new(executor))),
                ExecutionLayout::OwnThread => Executing::thread(Execution::new(executor), back.clone())?,
            },
            writing: match tuning.durability {
                Durability::Sync => Writing::thread(writer, back.clone())?,
                Durability::Os | Durability::None => Writing::Here(Box::new(writer)),
            },
            inbox,
            returns,
            questions,
            progress,
            refused_frames: 0,
            invalid_logged: 0,
            checks: vec![0; usize::from(tuning.verifier_threads.max(1))],
            journal: JournalCounters::default(),
            alarms: Vec::new(),
            warnings,
            durability: tuning.durability,
            admin,
            _back: back,
        })
    }
}

/// What comes out of a data folder.
struct Recovery {
    replica: Replica,
    executor: Executor,
    effects: Vec<Effect>,
    journal: journal::Journal,
    writer: journal::Writer<FileDisk>,
}

/// Reads what the replica promised and where its state stood; a folder that was only formatted has neither.
fn recover(
    mut disk: FileDisk,
    identity: &Identity,
    context: &Context,
    (machine, durability): (Box<dyn StateMachine>, Durability),
    now: Time,
) -> Result<Recovery, NodeError> {
    let superblock = Superblock::open(&mut disk, identity)?;
    let promised = (superblock.view_promised, superblock.high_promised);
    let pointer = superblock.snapshot;
    let executor = match &pointer {
        None => Executor::new(context.clone(), machine),
        Some(pointer) => {
            let broken = |error: String| NodeError::State(pointer.seq, error);
            let (_, bytes) = snapshots::load(&mut disk, pointer.seq).map_err(|error| broken(error.to_string()))?;
            let restored = Executor::restore(context.clone(), machine, &bytes, pointer.root);
            restored.map_err(|error| broken(error.to_string()))?
        }
    };
    let shape = Shape::of(&context.parameters, context.committee.size());
    let Opened { journal, writer, records, report } = journal::open(disk, superblock, shape, durability)?;
    // Opening a damaged journal puts the box into the superblock, where every later start finds it.
    if writer.superblock().amnesia.is_some() {
        return Err(NodeError::Amnesia(report.amnesia));
    }
    let memory = Memory {
        records: records.into_iter().map(|recovered| (recovered.record, recovered.signed)).collect(),
        position: journal.last(),
        promised,
        state: pointer.map(|pointer| (pointer.seq, pointer.root)),
    };
    let mut effects = Vec::new();
    let replica = Replica::recover(context.clone(), identity.replica, memory, now, &mut effects)?;
    Ok(Recovery { replica, executor, effects, journal, writer })
}

fn verification(
    context: &Context,
    threads: u16,
    returns: &Returns,
) -> Result<Verification, NodeError> {
    let verifier = || {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(NodeError::Randomness)?;
        Ok::<_, NodeError>(Verifier::new(context.clone(), secret))
    };
    if threads == 0 {
        return Ok(Verification::Here(Box::new(verifier()?)));
    }
    let verifiers = (0..threads).map(|_| verifier()).collect::<Result<Vec<_>, _>>()?;
    Ok(Verification::threads(verifiers, returns)?)
}

/// The fast backend is a matter of one line in `.cargo/config.toml`; without it every signature costs twice as much.
fn slow_signatures() -> Option<String> {
    let built = cfg!(curve25519_dalek_backend = "avx512") || !cfg!(target_arch = "x86_64");
    (!built).then(|| {
        "built without the fast signature backend; build with \
         RUSTFLAGS='--cfg curve25519_dalek_backend=\"avx512\"' or keep .cargo/config.toml"
            .to_owned()
    })
}

impl<D: Disk + Send + 'static> Node<D> {
    /// What the operator should know.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Runs until `stop` is ready, or until the replica must not go on.
    ///
    /// # Errors
    /// [`NodeError`] says why it must not.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Result<(), NodeError> {
        let mut stop = std::pin::pin!(stop);
        let mut bursts = Vec::with_capacity(BURST_MAX);
        let mut returned = Vec::with_capacity(BURST_MAX);
        let ended = loop {
            let deadline = self.host.deadline().map(|at| self.clock.instant(at).into());
            tokio::select! {
                biased;
                () = &mut stop => break Ok(()),
                _ = self.returns.recv_many(&mut returned, BURST_MAX) => {
                    for back in returned.drain(..) {
                        if let Err(error) = self.take_back(back) {
                            break_with(&mut self.warnings, &error);
                            return self.close(Err(error)).await;
                        }
                    }
                }
                _ = self.inbox.recv_many(&mut bursts, BURST_MAX) => {
                    for inbound in bursts.drain(..) {
                        self.take_in(inbound);
                    }
                }
                Some(question) = self.questions.recv() => self.answer(question),
                () = sleep_until(deadline), if deadline.is_some() => {
                    self.host.tick(self.clock.now(), &mut self.links);
                }
            }
            if let Err(error) = self.pump() {
                break Err(error);
            }
        };
        self.close(ended).await
    }

    async fn close(self, ended: Result<(), NodeError>) -> Result<(), NodeError> {
        self.admin.abort();
        self.links.transport.close().await;
        self.writing.close()?;
        ended
    }

    fn take_in(&mut self, inbound: Inbound) {
        let now = self.clock.now();
        match inbound {
            Inbound::Up { remote: Remote::Client(link), key, .. } => self.links.up(link, key),
            Inbound::Down { remote: Remote::Client(link), .. } => self.links.down(link),
            Inbound::Up { remote: Remote::Replica(replica), .. } => {
                tracing::debug!(replica = replica.0, "link up");
                self.host.link_up(now, &mut self.links);
            }
            Inbound::Down { remote: Remote::Replica(replica), why } => {
                tracing::debug!(replica = replica.0, why, "link down");
            }
            Inbound::Frames { from: Remote::Replica(replica), frames, .. } => {
                for frame in frames {
                    if let Err(refusal) = self.host.peer_frame(now, replica, &frame) {
                        self.refused_frames += 1;
                        // However many come, the log grows with the logarithm of their number only.
                        if self.refused_frames.is_power_of_two() {
                            let refused = self.refused_frames;
                            tracing::warn!(replica = replica.0, %refusal, refused, "a replica's frame is refused");
                        }
                    }
                }
            }
            Inbound::Frames { from: Remote::Client(link), frames, .. } => {
                let Some(key) = self.links.keys.get(&link).copied() else { return };
                for frame in frames {
                    if let Err(refusal) = self.host.client_frame(&key, &frame, &mut self.links) {
                        self.refused_frames += 1;
                        tracing::info!(%refusal, "a client is disconnected");
                        self.links.transport.disconnect(link, &refusal.to_string());
                        break;
                    }
                }
            }
        }
    }

    fn take_back(&mut self, back: Back) -> Result<(), NodeError> {
        let now = self.clock.now();
        match back {
            Back::Verdicts { verdicts, checks, worker } => {
                self.checks[worker] = checks;
                self.host.verified(now, verdicts, &mut self.links);
                self.verification.finished(worker);
            }
            Back::Done(done) => self.host.executed(now, done, &mut self.links),
            Back::Written(position, counters) => {
                self.journal = counters;
                self.writing.written();
                self.host.durable(now, position?, &mut self.links);
            }
            Back::Stored(stored, counters) => {
                self.journal = counters;
                self.writing.stored();
                let (seq, root) = stored?;
                self.host.stored(now, seq, root, &mut self.links);
            }
        }
        Ok(())
    }

    /// Gives every role what waits for it, until nothing does.
    fn pump(&mut self) -> Result<(), NodeError> {
        loop {
            let mut busy = false;
            let unverified = self.host.take_unverified();
            if !unverified.is_empty() {
                busy = true;
                if let Some((verdicts, checks)) = self.verification.check(unverified) {
                    self.checks[0] = checks;
                    self.host.verified(self.clock.now(), verdicts, &mut self.links);
                }
            }
            let tasks = self.host.take_tasks();
            for done in self.executing.run(tasks) {
                busy = true;
                self.host.executed(self.clock.now(), done, &mut self.links);
            }
            if self.writing.ready()
                && let Some(group) = self.host.take_group()
                && let Some(written) = self.writing.write(group)
            {
                busy = true;
                self.host.durable(self.clock.now(), written?, &mut self.links);
            }
            while let Some(state) = self.host.take_state() {
                if let Some(stored) = self.writing.store(state) {
                    busy = true;
                    let (seq, root) = stored?;
                    self.host.stored(self.clock.now(), seq, root, &mut self.links);
                }
            }
            if !busy {
                break;
            }
        }
        let invalid = self.host.counters().invalid;
        if let Some(newest) = self.host.take_invalid()
            && invalid.ilog2() >= self.invalid_logged
        {
            self.invalid_logged = invalid.ilog2() + 1;
            tracing::warn!(why = %newest, invalid, "a message is refused");
        }
        for alarm in self.host.take_alarms() {
            tracing::error!(?alarm, "alarm");
            if self.alarms.len() < ALARMS_MAX {
                self.alarms.push(format!("{alarm:?}"));
            }
        }
        self.progress.executed.store(self.host.replica().executed().0, Ordering::Relaxed);
        self.progress.view.store(self.host.replica().view().0, Ordering::Relaxed);
        match self.host.failed() {
            Some(why) => Err(NodeError::Application(why.to_owned())),
            None => Ok(()),
        }
    }

    fn answer(&mut self, question: Question) {
        match question {
            Question::Status(answer) => drop(answer.send(Box::new(self.status()))),
            Question::History(seq, answer) => self.executing.history(seq, answer),
        }
    }

    fn status(&self) -> Status {
        let replica = self.host.replica();
        let (low, high) = replica.watermarks();
        let links = self.links.transport.links();
        let mut status = Status {
            replica: replica.id().0,
            replicas: u16::try_from(replica.context().committee.size()).unwrap_or(u16::MAX),
            epoch: replica.context().epoch.0,
            view: replica.view().0,
            primary: replica.primary().0,
            status: status_word(replica.status()).to_owned(),
            low: low.0,
            high: high.0,
            committed: replica.committed().0,
            executed: replica.executed().0,
            pooled: replica.pooled(),
            waiting_for_disk: self.host.waiting_for_disk() as u64,
            durability: self.durability.to_string(),
            clients: self.links.keys.len() as u64,
            counters: self.counters(),
            warnings: self.warnings.clone(),
            alarms: self.alarms.clone(),
            build: crate::BUILD.to_owned(),
            ..Status::default()
        };
        for link in links {
            let Remote::Replica(replica) = link.remote else { continue };
            if link.up {
                status.links_up.push(replica.0);
            } else {
                let why = link.trouble.unwrap_or_else(|| "not reached yet".to_owned());
                status.links_down.push(LinkDown { replica: replica.0, why });
            }
        }
        status
    }

    fn counters(&self) -> Vec<(String, u64)> {
        let protocol = self.host.replica().counters();
        let host = self.host.counters();
        let border = self.host.border().counters();
        let journal = self.writing.counters().unwrap_or(self.journal);
        let mut named = vec![
            ("quorate_batches_committed_total", protocol.committed),
            ("quorate_requests_committed_total", protocol.committed_requests),
            ("quorate_operations_committed_total", protocol.committed_operations),
            ("quorate_operations_executed_total", host.operations),
            ("quorate_batches_proposed_total", protocol.proposed),
            ("quorate_view_changes_total", protocol.view_changes),
            ("quorate_stable_checkpoints_total", protocol.stable_checkpoints),
            ("quorate_alarms_total", protocol.alarms),
            ("quorate_fetches_total", protocol.fetches),
            ("quorate_statements_signed_total", host.signed),
            ("quorate_signature_equations_total", self.checks.iter().sum()),
            ("quorate_messages_invalid_total", host.invalid),
            ("quorate_frames_refused_total", self.refused_frames),
            ("quorate_frames_malformed_total", border.malformed),
            ("quorate_frames_truncated_total", border.truncated),
            ("quorate_frames_trailing_total", border.trailing),
            ("quorate_frames_not_canonical_total", border.not_canonical),
            ("quorate_frames_too_long_total", border.too_long),
            ("quorate_messages_of_impostors_total", border.impostors),
            ("quorate_votes_useless_total", border.useless),
            ("quorate_votes_overdue_total", border.overdue),
            ("quorate_retries_known_total", host.retries_known),
            ("quorate_requests_busy_total", host.busy),
            ("quorate_peer_frames_out_total", host.frames_out),
            ("quorate_peer_bytes_out_total", host.bytes_out),
            ("quorate_journal_syncs_total", journal.syncs),
            ("quorate_journal_bytes_total", journal.bytes),
            ("quorate_journal_groups_total", journal.groups),
            ("quorate_behind_total", host.behind),
        ];
        let transport = self.links.transport.counters();
        named.extend([
            ("quorate_links_up_total", transport.links_up.get()),
            ("quorate_links_down_total", transport.links_down.get()),
            ("quorate_handshakes_total", transport.handshakes.get()),
            ("quorate_frames_dropped_total", transport.frames_dropped.iter().map(|count| count.get()).sum()),
        ]);
        let mut all: Vec<_> = named.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let kinds = Invalid::KINDS.into_iter().zip(host.invalid_by_kind);
        all.extend(kinds.map(|(kind, count)| (format!("quorate_messages_invalid_{kind}_total"), count)));
        let name = |kind: RefusalKind| format!("quorate_links_refused_{}_total", kind.name());
        all.extend(RefusalKind::ALL.map(|kind| (name(kind), transport.refused(kind))));
        all
    }
}

fn break_with(warnings: &mut Vec<String>, error: &NodeError) {
    tracing::error!(%error, "stopping");
    warnings.push(error.to_string());
}

fn status_word(status: quorate_protocol::replica::Status) -> &'static str {
    match status {
        quorate_protocol::replica::Status::Normal => "normal",
        quorate_protocol::replica::Status::ViewChanging => "view-changing",
        quorate_protocol::replica::Status::Halted => "halted",
    }
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    if let Some(deadline) = deadline {
        tokio::time::sleep_until(deadline).await;
    }
}
