//! A replica as a process: the host, driven by sockets, files, threads and the clock.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use quorate_host::disk::{Disk, DiskError, DiskFailure, FileName};
use quorate_host::host::{Host, Link};
use quorate_host::journal::{Amnesia, Durability, JournalError};
use quorate_host::lane::Class;
use quorate_host::live::{Excerpt, Weight};
use quorate_host::start::StartError;
use quorate_protocol::application::StateMachine;
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::process::Alarm;
use quorate_protocol::types::{ClientId, Digest, PublicKey, ReplicaId, Seq, Time, View};
use quorate_protocol::verify::Checks;
use tokio::sync::{mpsc, oneshot};

use crate::admin;
use crate::clock::Clock;
use crate::cluster_file::{ClusterFile, NodeDefaults};
use crate::emulation::Emulation;
use crate::roles::{Back, Executing, JournalReport, Returns, Storing, Verification, Writing};
use crate::sins::{self, Sins};
use crate::status::Status;
use crate::transport::{Inbound, LinkId, LinkReport, Remote, Transport, TransportError};
use crate::why::Why;

mod amnesia;
mod control;
mod counted;
pub(crate) mod following;
mod leaving;
mod live;
mod peers;
mod report;
mod start;

pub use control::Control;

/// Bursts of frames that may wait for the protocol.
const INBOX_MAX: usize = 1024;
/// Bursts taken out of the inbox before anything else is looked at.
const BURST_MAX: usize = 256;
/// Messages that may wait for a role before no more are taken in.
const WAITING_MAX: usize = 8192;
/// Slots and lookups that may wait to be executed before no more is taken in.
const TASKS_MAX: usize = 1024;
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
    /// What it lies about; only in a cluster for trials.
    pub sins: Sins,
    /// The network it believes to be in; only in a cluster for trials.
    pub emulation: Option<Emulation>,
}

/// Why a node did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The cluster file has no such replica.
    #[error("the cluster file has no replica {0}; its replicas are numbered from 0")]
    NoSuchReplica(ReplicaId),
    /// It is to lie in a cluster that is not for trials.
    #[error(
        "replica {replica} is to lie ({sins}), and its cluster file says `testing = false`; fix: try lies in a cluster that is \
         made for them, with `quorate init --testing`; `testing` is part of a cluster's id, so a cluster that matters \
         cannot be turned into one"
    )]
    NotTesting {
        /// The replica.
        replica: ReplicaId,
        /// What it was to lie about.
        sins: Sins,
    },
    /// It is to believe in another network in a cluster that is not for trials.
    #[error(
        "replica {replica} is to emulate a network, which delays and loses what it sends, and its cluster file says \
         `testing = false`; fix: leave `--emulate` out, or try networks in a cluster that is made for trials, with \
         `quorate init --testing`"
    )]
    EmulationNotTesting {
        /// The replica.
        replica: ReplicaId,
    },
    /// There is no data folder.
    #[error(
        "{}: there is no data folder; fix: pass `--data`, or make a new cluster with `quorate init`; if this replica \
         has voted and its disk is lost, it must not be made anew under its key, for it cannot know what it voted \
         for: leave it out, the others go on without it",
        .path.display()
    )]
    NoFolder {
        /// Where it should be.
        path: PathBuf,
    },
    /// What is in the data folder, or its disk, keeps the replica from starting.
    #[error("{}: {}", .path.display(), of_folder(.why))]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        why: Box<StartError>,
    },
    /// The journal cannot be written any more.
    #[error("the replica stops rather than promise what it cannot keep: {0}")]
    Journal(JournalError),
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
    Thread(std::io::Error),
    /// A thread ended by a panic.
    #[error("the {0} thread panicked; the replica stops rather than go on without it")]
    RoleDied(&'static str),
    /// The operating system gave no randomness.
    #[error("no randomness: {0}")]
    Randomness(getrandom::Error),
    /// A state cannot be made, stored or installed.
    #[error("{0}")]
    State(String),
}

// Not as their sources: an error that says what its source says would say it twice in one line.
impl From<JournalError> for NodeError {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

impl From<std::io::Error> for NodeError {
    fn from(error: std::io::Error) -> Self {
        Self::Thread(error)
    }
}

/// Who holds the folder matters, not that its lock is in a file.
fn of_folder(why: &StartError) -> String {
    match why {
        StartError::Disk(DiskError { kind: kind @ DiskFailure::Locked, .. }) => kind.to_string(),
        why => why.to_string(),
    }
}

/// Questions to a running node.
pub(crate) enum Question {
    Status(oneshot::Sender<Box<Status>>),
    Why(oneshot::Sender<Box<Why>>),
    History(Seq, oneshot::Sender<Option<Digest>>),
    Live(u64, oneshot::Sender<Excerpt>),
}

/// The links, as the host sees them.
struct Links {
    transport: Transport,
    keys: BTreeMap<LinkId, PublicKey>,
    clients: BTreeMap<ClientId, Vec<LinkId>>,
    /// Replicas with which no frame is exchanged, for a trial, though there is a link.
    cut: BTreeSet<ReplicaId>,
}

impl Link for Links {
    fn send(&mut self, to: ReplicaId, class: Class, frame: Bytes) {
        if !self.cut.contains(&to) {
            self.transport.send(Remote::Replica(to), class, frame);
        }
    }
    fn broadcast(&mut self, class: Class, frame: Bytes) {
        self.transport.broadcast_except(&self.cut, class, &frame);
    }
    fn reply(&mut self, client: ClientId, frame: Bytes) {
        for link in self.clients.get(&client).into_iter().flatten() {
            self.transport.send(Remote::Client(*link), Class::Proposals, frame.clone());
        }
    }
}

impl Links {
    /// How the links are. One that is cut for a trial is up, and of no use.
    fn reports(&self) -> Vec<LinkReport> {
        let mut reports = self.transport.links();
        for report in &mut reports {
            if let Remote::Replica(id) = report.remote
                && self.cut.contains(&id)
            {
                report.up = false;
                report.trouble = Some("cut, for a trial".to_owned());
            }
        }
        reports
    }

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
    started: Time,
    told_view: (View, bool),
    told_behind: u64,
    host: Host,
    links: Links,
    peers: peers::Peers,
    verification: Verification,
    executing: Executing,
    writing: Writing<D>,
    storing: Storing,
    inbox: mpsc::Receiver<Inbound>,
    returns: mpsc::UnboundedReceiver<Back>,
    questions: mpsc::Receiver<Question>,
    progress: Arc<Progress>,
    refused_frames: u64,
    /// How often refused messages were logged: each time when they have doubled.
    invalid_logged: u32,
    checks: Vec<Checks>,
    journal: JournalReport,
    alarms: Vec<String>,
    alarmed: counted::AlarmCounts,
    followed: following::Followed,
    /// Its data folder, for whoever wants to look at a proof in it.
    data: PathBuf,
    warnings: Vec<String>,
    /// Why this start found promises lost, if it did.
    forgot: Option<Amnesia>,
    /// Whether the log says that nothing is forgotten any more.
    told_amnesia: bool,
    durability: Durability,
    sins: Sins,
    emulation: Option<Emulation>,
    admin: admin::Admin,
    shown: live::Shown,
    /// Who may tell it what, in a cluster for trials.
    orders: Option<mpsc::Receiver<Control>>,
    testing: bool,
    /// Keeps `returns` open when no role has a thread of its own.
    _back: Returns,
}

/// What hellos say of this replica; read by connection tasks.
#[derive(Debug, Default)]
struct Progress {
    executed: AtomicU64,
    view: AtomicU64,
}

impl<D: Disk + Send + 'static> Node<D> {
    /// What the operator should know.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Runs until `stop` is ready, and then until another replica leads in the place of this one, and what it said has
    /// reached the disk and the links; until `at_once` is ready, which waits for nobody; or until the replica must not go
    /// on. A stop in good order takes little more than the cluster's base timeout at most.
    ///
    /// # Errors
    /// [`NodeError`] says why it must not.
    pub async fn run(
        mut self,
        stop: impl Future<Output = ()>,
        at_once: impl Future<Output = ()>,
    ) -> Result<(), NodeError> {
        let (mut stop, mut at_once) = (std::pin::pin!(stop), std::pin::pin!(at_once));
        let mut leaving: Option<leaving::Leaving> = None;
        let mut bursts = Vec::with_capacity(BURST_MAX);
        let mut returned = Vec::with_capacity(BURST_MAX);
        let ended = loop {
            let deadline = self.host.deadline().map(|at| self.clock.instant(at).into());
            if let Some(leaving) = leaving.as_ref().filter(|leaving| self.may_go(leaving)) {
                break self.settle(leaving).await;
            }
            let patience = leaving.as_ref().map(|leaving| leaving.until);
            tokio::select! {
                biased;
                () = &mut at_once => break Ok(()),
                () = &mut stop, if leaving.is_none() => leaving = Some(self.prepare_to_leave()),
                _ = self.returns.recv_many(&mut returned, BURST_MAX) => {
                    for back in returned.drain(..) {
                        if let Err(error) = self.take_back(back) {
                            break_with(&mut self.warnings, &error);
                            return self.close(Err(error)).await;
                        }
                    }
                }
                // What comes in faster than it is verified and executed stays on its link.
                _ = self.inbox.recv_many(&mut bursts, BURST_MAX), if !self.crowded() => {
                    for inbound in bursts.drain(..) {
                        self.take_in(inbound);
                    }
                }
                Some(question) = self.questions.recv() => self.answer(question),
                order = control::next(&mut self.orders) => self.obey(order),
                // What the last round left.
                () = std::future::ready(()), if self.has_left_something() => {}
                () = sleep_until(deadline), if deadline.is_some() => {}
                () = sleep_until(patience), if patience.is_some() => {}
            }
            // Not only when nothing else is ready: whoever floods us must not stop our timers.
            let now = self.clock.now();
            if self.host.deadline().is_some_and(|at| at <= now) {
                self.host.tick(now, &mut self.links);
            }
            if let Err(error) = self.pump() {
                break Err(error);
            }
        };
        self.close(ended).await
    }

    async fn close(self, ended: Result<(), NodeError>) -> Result<(), NodeError> {
        self.confess();
        drop(self.admin);
        self.links.transport.close().await;
        // The store lets go of its files before the journal says that everything is durable.
        self.storing.close();
        let closed = self.writing.close();
        // Why the replica stopped says more than that its journal, which may be the reason, did not close.
        ended.and(closed.map_err(NodeError::from))
    }

    fn has_left_something(&self) -> bool {
        let unverified = self.host.border().requests() > 0 && self.verification.waiting() == 0;
        unverified || self.host.tasks_left() > 0 || self.host.has_queries()
    }

    /// Whether more is under way than the roles should have waiting for them.
    fn crowded(&self) -> bool {
        // What is left to be executed holds batches, which the log does not count any more.
        self.verification.waiting() >= WAITING_MAX
            || self.executing.waiting() >= WAITING_MAX
            || self.host.tasks_left() >= TASKS_MAX
    }

    fn take_in(&mut self, inbound: Inbound) {
        let now = self.clock.now();
        match inbound {
            Inbound::Up { remote: Remote::Client(link), key, .. } => self.links.up(link, key),
            Inbound::Down { remote: Remote::Client(link), .. } => self.links.down(link),
            Inbound::Up { remote: Remote::Replica(replica), .. } => {
                tracing::info!(replica = replica.0, "link up");
                self.happened(format!("link to replica {replica} up"), Weight::Note);
                self.peers.up(replica, now);
                self.host.link_up(now, &mut self.links);
            }
            Inbound::Down { remote: Remote::Replica(replica), why } => {
                tracing::info!(replica = replica.0, why, "link down");
                self.happened(format!("link to replica {replica} down: {why}"), Weight::Warning);
                self.peers.down(replica, now);
            }
            Inbound::Frames { from: Remote::Replica(replica), .. } if self.links.cut.contains(&replica) => {}
            Inbound::Frames { from: Remote::Replica(replica), frames, .. } => {
                self.peers.heard(replica, now);
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
                    if let Err(refusal) = self.host.client_frame((&key, &frame), &mut self.links) {
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
            Back::Died(role) => return Err(NodeError::RoleDied(role)),
            Back::Done(done) => self.host.executed(now, [done], &mut self.links),
            Back::Written(position, counters) => {
                self.journal = counters;
                self.writing.written();
                self.host.durable(now, position?, &mut self.links);
            }
            Back::Pointed(pointed, counters) => {
                self.journal = counters;
                self.writing.pointed();
                self.host.pointed(now, pointed?, &mut self.links);
            }
            Back::Stored(finished, counters) => {
                self.storing.finished(counters);
                match *finished {
                    Ok(finished) => self.host.stored(now, finished, &mut self.links),
                    Err(why) => self.host.not_stored(why),
                }
            }
        }
        Ok(())
    }

    /// Gives every role what waits for it, until nothing does.
    fn pump(&mut self) -> Result<(), NodeError> {
        // Of clients one job at a time, and of slots to execute one portion: before the next one the links are read, for
        // votes may have come.
        let mut clients = self.verification.waiting() == 0;
        let mut executes = true;
        loop {
            let mut busy = false;
            let unverified = if std::mem::take(&mut clients) {
                self.host.take_unverified()
            } else {
                self.host.take_unverified_of_replicas()
            };
            if !unverified.is_empty() {
                busy = true;
                if let Some((verdicts, checks)) = self.verification.check(unverified) {
                    self.checks[0] = checks;
                    self.host.verified(self.clock.now(), verdicts, &mut self.links);
                }
            }
            let tasks = if executes { self.host.take_tasks() } else { VecDeque::new() };
            busy |= !tasks.is_empty();
            let done = self.executing.run(tasks);
            if !done.is_empty() {
                executes = self.host.tasks_left() == 0 && !self.host.has_queries();
                self.host.executed(self.clock.now(), done, &mut self.links);
            }
            if self.writing.ready()
                && let Some(group) = self.host.take_group()
                && let Some(written) = self.writing.write(group)
            {
                busy = true;
                self.host.durable(self.clock.now(), written?, &mut self.links);
            }
            while let Some(job) = self.host.take_job() {
                self.storing.run(job);
            }
            if self.writing.takes_pointer()
                && let Some(pointer) = self.host.take_pointer()
                && let Some(pointed) = self.writing.point(pointer)
            {
                busy = true;
                self.host.pointed(self.clock.now(), pointed?, &mut self.links);
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
            self.alarmed.count(&alarm);
            let words = self.with_proof(&alarm);
            self.show_alarm(&alarm, &words);
            let alarm = words;
            tracing::error!("{alarm}");
            if self.alarms.len() < ALARMS_MAX {
                self.alarms.push(alarm);
            }
        }
        self.follow();
        self.tell_news();
        self.notice();
        self.progress.executed.store(self.host.replica().executed().0, Ordering::Relaxed);
        self.progress.view.store(self.host.replica().view().0, Ordering::Relaxed);
        match self.host.failed() {
            Some(why) => Err(NodeError::State(why.to_owned())),
            None => Ok(()),
        }
    }

    /// An alarm, and where the proof is kept if it comes with one.
    fn with_proof(&self, alarm: &Alarm) -> String {
        let Some(proof) = alarm.accusation() else { return alarm.to_string() };
        let file = self.data.join(FileName::Accusation(proof.culprit(), proof.offence()).to_string());
        format!(
            "{alarm}; the proof is {}: `quorate evidence verify` shows it to anybody who has the cluster file",
            file.display()
        )
    }

    /// Logs what an operator wants to know when it changes: the view, and falling behind.
    fn tell_news(&mut self) {
        let replica = self.host.replica();
        let view = (replica.view(), replica.status() == quorate_protocol::replica::Status::Normal);
        if self.told_view != view {
            self.told_view = view;
            let (view, primary) = (replica.view().0, replica.primary().0);
            if self.told_view.1 {
                tracing::info!(view, primary, "in view");
            } else if replica.status() == quorate_protocol::replica::Status::ViewChanging {
                tracing::info!(view, "left for view");
            }
        }
        if !self.told_amnesia && !replica.is_bound() {
            self.told_amnesia = true;
            tracing::info!("healed: what this replica may have forgotten binds it no more");
        }
        let behind = self.host.counters().behind;
        if self.told_behind != behind {
            self.told_behind = behind;
            let (stable, executed) = (replica.watermarks().0.0, replica.executed().0);
            let meanwhile = if replica.is_mute() { "says nothing" } else { "votes" };
            tracing::info!(executed, stable, "behind: {meanwhile}, and makes up for what it missed");
        }
    }

    /// A liar says what it did, however it ends.
    fn confess(&self) {
        let told = self.sins.told(&self.host);
        if !told.is_empty() {
            let told = sins::in_words(&told);
            tracing::warn!(replica = self.host.replica().id().0, "lies told: {told}");
        }
    }

    fn answer(&mut self, question: Question) {
        match question {
            Question::Status(answer) => drop(answer.send(Box::new(self.status()))),
            Question::Why(answer) => drop(answer.send(Box::new(self.why()))),
            Question::History(seq, answer) => self.executing.history(seq, answer),
            Question::Live(from, answer) => drop(answer.send(self.live(from))),
        }
    }
}

fn break_with(warnings: &mut Vec<String>, error: &NodeError) {
    tracing::error!(%error, "stopping");
    warnings.push(error.to_string());
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    if let Some(deadline) = deadline {
        tokio::time::sleep_until(deadline).await;
    }
}
