//! Load: independent callers, each with some calls in flight or calling at a rate, and what became of every call.

mod asking;
mod assignment;
mod calls;
pub mod dump;
mod hostile;
mod live;
mod pace;
mod phases;
mod read;
mod report;
mod series;
mod tokens;
mod workload;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

pub use hdrhistogram::Histogram;
use quorate_node::client::{self, Caller, ConnectError};
use quorate_node::emulation::{Emulation, EmulationError, EmulationFile};
use quorate_node::transport::{ClientTransportConfig, Limits, SharedEndpoint, TransportError, bind};
use quorate_protocol::client::Options;
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::message::Outcome;
use quorate_protocol::parameters::Context;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use self::asking::Questions;
pub use self::assignment::{Assignment, Peek, Stint};
use self::calls::{Stretch, work};
use self::hostile::Hostile;
pub use self::live::Live;
use self::pace::Pace;
pub use self::phases::{Measured, Phase};
pub use self::report::{LoadReport, ViewSeen};
pub use self::series::{BUCKET, Bucket};
use self::tokens::Purses;
pub(crate) use self::tokens::{transfers, transfers_before};
pub use self::workload::{APPLICATIONS, KEY_BYTES, Keys, Operations, Workload};

/// How long after the end of the load an answer is waited for.
pub const GIVE_UP: Duration = Duration::from_secs(20);
/// Calls that each client keeps in flight at least while it fills the store.
const FILLING_IN_FLIGHT: usize = 64;
/// How long the filling may stand still.
const STALLED: Duration = Duration::from_secs(60);
/// Between two words about how far it has come.
const PROGRESS: Duration = Duration::from_secs(1);
/// Longer than any run.
const A_DAY: Duration = Duration::from_secs(86_400);

/// How much load, of what kind.
#[derive(Debug, Clone)]
pub struct LoadConfig {
    /// The cluster.
    pub context: Context,
    /// Where its replicas take clients, in order of id.
    pub replicas: Vec<SocketAddr>,
    /// Independent clients, each with a key of its own.
    pub clients: usize,
    /// Calls that each client keeps in flight; one that calls at a rate may have more.
    pub in_flight: usize,
    /// Most operations the client library puts under one signature.
    pub bundle_max: usize,
    /// What they ask.
    pub workload: Workload,
    /// Bytes of each operation, about.
    pub payload: usize,
    /// Where from, and beside whom.
    pub manner: Manner,
    /// What they ask of an application that is none of the ready ones.
    pub own: Option<Operations>,
}

/// Where clients sit, and what else they are told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manner {
    /// The sockets they share, in order; clients beyond those are at the last one. None: one on the loopback interface.
    pub sources: Vec<Source>,
    /// Number of the first client; those of several machines must not write each other's keys.
    pub first_client: u16,
    /// Whether a client that calls at a rate may have the calls of a whole second in flight, rather than `in_flight`.
    pub stretches: bool,
    /// Connections beside them that sign badly, and come back every second; 0 for none.
    pub bad_signers: u16,
}

impl Default for Manner {
    fn default() -> Self {
        Self { sources: Vec::new(), first_client: 0, stretches: true, bad_signers: 0 }
    }
}

/// A socket that clients share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Address that it is bound to, with any free port.
    pub bind: IpAddr,
    /// What the network is made to do to what is sent from it, as an emulation file says it.
    pub emulation: Option<String>,
    /// Clients that are there.
    pub clients: u16,
}

impl Default for Source {
    fn default() -> Self {
        Self { bind: Ipv4Addr::LOCALHOST.into(), emulation: None, clients: u16::MAX }
    }
}

/// Why there is no load.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The socket.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// A client.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Clients could not register in time.
    #[error("the cluster gave no client a session within {0:?}; see the replicas' logs")]
    NoSession(Duration),
    /// The store could not be filled.
    #[error(
        "the store could not be filled: {failed} of {of} puts were not carried out; see the replicas' logs"
    )]
    NotFilled {
        /// Puts without the answer that they were done.
        failed: u64,
        /// All puts.
        of: u64,
    },
    /// Accounts without tokens, which can send none.
    #[error(
        "the ledger gave the load's accounts no tokens: {0}; use a new cluster, or one with this load only"
    )]
    NoTokens(String),
    /// Accounts of clients that the first machine does not know.
    #[error("the load of `ledger` comes from one machine, whose first client gives all others tokens")]
    OtherMachines,
    /// The state could not be read after the run.
    #[error("the cluster did not say what it holds; see `quorate why`")]
    Unread,
    /// The emulated network.
    #[error(transparent)]
    Emulation(#[from] EmulationError),
    /// The operating system gave no randomness.
    #[error("no randomness for keys: {0}")]
    Randomness(getrandom::Error),
}

/// Clients that are connected and registered.
pub struct Load {
    config: LoadConfig,
    callers: Vec<Caller>,
    questions: Questions,
    live: Arc<Live>,
    /// Of each client: its next operation.
    next: Vec<u64>,
}

/// What all clients' libraries counted.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    bundles: u64,
    operations: u64,
    retries: u64,
    dissents: u64,
}

impl Load {
    /// Connects every client, and waits until each has a session.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn connect(config: LoadConfig, patience: Duration) -> Result<Self, LoadError> {
        let limits = Limits::default();
        let mut callers = Vec::with_capacity(config.clients);
        for endpoint in endpoints(&config, &limits)? {
            let transport = ClientTransportConfig {
                context: config.context.clone(),
                key: Arc::new(key(&config, callers.len())?),
                replicas: config.replicas.clone(),
                limits: limits.clone(),
            };
            // Transfers are numbered by their account, and one that comes too early is refused.
            let fifo = config.workload == Workload::Ledger;
            let options = Options { bundle_max: config.bundle_max, fifo, ..Options::new(0) };
            callers.push(client::connect(transport, Some(endpoint), options).await?);
        }
        let live = Arc::new(Live::new(config.workload));
        let next = vec![1; callers.len()];
        let questions = Questions::new(&config);
        let mut load = Self { config, callers, questions, live, next };
        let first_client = usize::from(load.config.manner.first_client);
        let first = load.callers.iter().zip(first_client..).map(|(caller, client)| {
            load.live.ledger().submitted(client, 0);
            let operation = load.questions.operation(client, 0);
            async move { caller.call_within(operation, patience).await }
        });
        for (client, answer) in (first_client..).zip(join_all(first).await) {
            match answer {
                Ok(answer) => {
                    load.live.highest.fetch_max(answer.seq.0, Ordering::Relaxed);
                    if let Outcome::Done(reply) = &answer.outcome {
                        load.live.ledger().answered(client, 0, answer.seq.0, reply);
                    }
                }
                Err(_) => return Err(LoadError::NoSession(patience)),
            }
        }
        if load.config.workload == Workload::Ledger {
            let purses = Arc::new(Purses::endow(&load.config, &load.callers, patience).await?);
            load.live.ledger().endow(purses.nonces());
            load.questions.endow(purses);
        }
        Ok(load)
    }

    /// Counts that others may watch while the load runs.
    #[must_use]
    pub fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live)
    }

    /// Fills the store with the keys of the workload; tells every second how many of how many are there.
    ///
    /// # Errors
    /// [`LoadError::NotFilled`] if a put was not carried out, or none was for a minute.
    pub async fn fill(&mut self, mut told: impl FnMut(u64, u64)) -> Result<(), LoadError> {
        let filled = self.config.workload.filled();
        let of = filled.saturating_sub(1) * self.callers.len() as u64;
        let in_flight = self.config.in_flight.max(FILLING_IN_FLIGHT);
        self.live.extend(Instant::now() + A_DAY);
        let mut tasks = self.work((in_flight, filled), None);
        let mut tick = tokio::time::interval(PROGRESS);
        let (mut last, mut moved) = (0, Instant::now());
        loop {
            tokio::select! {
                done = tasks.join_next() => match done {
                    Some(done) => self.note_done(done.ok()),
                    None => break,
                },
                _ = tick.tick() => {
                    let done = self.live.matched.load(Ordering::Relaxed);
                    told(done, of);
                    if done > last {
                        (last, moved) = (done, Instant::now());
                    } else if moved.elapsed() > STALLED {
                        self.live.give_up();
                    }
                }
            }
        }
        let failed = of.saturating_sub(self.live.matched.load(Ordering::Relaxed));
        if failed > 0 { Err(LoadError::NotFilled { failed, of }) } else { Ok(()) }
    }

    /// How many operations a second the cluster answers at most: with every client in a hurry, for `time` after a
    /// `warm_up`.
    pub async fn peak(&mut self, warm_up: Duration, time: Duration) -> f64 {
        self.live.end.send_replace(Instant::now() + warm_up + time);
        let tasks = self.work((self.config.in_flight, u64::MAX), None);
        let live = self.live();
        let count = || (live.matched.load(Ordering::Relaxed), Instant::now());
        tokio::time::sleep(warm_up).await;
        let (before, began) = count();
        tokio::time::sleep(time).await;
        let (after, ended) = count();
        self.join(tasks).await;
        (after - before) as f64 / ended.duration_since(began).as_secs_f64()
    }

    /// Begins to run for `duration` after a `warm_up` that is not measured. With a `rate`, so many calls are due each
    /// second, and their latency counts from then; without one every client is in a hurry.
    pub async fn begin(self, warm_up: Duration, duration: Duration, rate: Option<f64>) -> Running {
        let before = self.counted().await;
        // Without them none of their requests is counted, which says that nothing was tried.
        let hostile = Hostile::start(&self.config, self.live(), &self.callers).ok().flatten();
        let begin = Instant::now() + warm_up;
        self.live.end.send_replace(begin + duration);
        self.live.phases().measure(begin);
        let tasks = self.work((self.room(rate), u64::MAX), rate);
        Running { load: self, tasks, begin, before, hostile }
    }

    /// Ends all clients.
    pub async fn close(self) {
        for caller in &self.callers {
            caller.close().await;
        }
    }

    /// Calls that each client may have in flight at a rate: those of a second, but no more than its session has room
    /// for.
    fn room(&self, rate: Option<f64>) -> usize {
        let Some(rate) = rate.filter(|_| self.config.manner.stretches) else { return self.config.in_flight };
        let of_a_second = (rate / self.callers.len() as f64).ceil();
        let window = usize::try_from(self.config.context.parameters.client_window).unwrap_or(usize::MAX);
        // A conversion that does not fit ends at the largest number.
        (of_a_second as usize).max(self.config.in_flight).min(window)
    }

    /// Lets all clients work side by side.
    fn work(&self, (in_flight, limit): (usize, u64), rate: Option<f64>) -> JoinSet<(usize, u64)> {
        let stretch = Stretch { live: self.live(), questions: self.questions.clone(), in_flight, limit };
        let (clients, start) = (self.callers.len(), Instant::now());
        let mut tasks = JoinSet::new();
        for (client, (caller, next)) in self.callers.iter().zip(&self.next).enumerate() {
            let pace = rate.map(|rate| Pace::new(rate, (client, clients), start));
            let number = usize::from(self.config.manner.first_client) + client;
            let worked = work((number, caller.clone()), stretch.clone(), *next, pace);
            tasks.spawn(async move { (client, worked.await) });
        }
        tasks
    }

    async fn join(&mut self, mut tasks: JoinSet<(usize, u64)>) {
        while let Some(done) = tasks.join_next().await {
            self.note_done(done.ok());
        }
    }

    fn note_done(&mut self, done: Option<(usize, u64)>) {
        let Some((client, next)) = done else { return };
        if let Some(of_client) = self.next.get_mut(client) {
            *of_client = next;
        }
    }

    async fn counted(&self) -> Counted {
        let mut counted = Counted::default();
        for caller in &self.callers {
            let Some(report) = caller.report().await else { continue };
            counted.bundles += report.counters.bundles;
            counted.operations += report.counters.operations;
            counted.retries += report.counters.retries;
            counted.dissents += report.counters.dissents;
        }
        counted
    }
}

/// Load that runs.
pub struct Running {
    load: Load,
    tasks: JoinSet<(usize, u64)>,
    begin: Instant,
    before: Counted,
    hostile: Option<Hostile>,
}

impl Running {
    /// Waits until the load's time is over, which others may extend, and for all answers; ends the clients.
    pub async fn finish(self) -> LoadReport {
        let (load, report) = self.stop().await;
        load.close().await;
        report
    }

    /// As [`Running::finish`], but the clients stay connected, for another stretch of load.
    pub async fn stop(self) -> (Load, LoadReport) {
        let Self { mut load, tasks, begin, before, hostile } = self;
        load.join(tasks).await;
        let live = load.live();
        let ended = Instant::now().min(live.end());
        let badly_signed = hostile.map_or(0, Hostile::stop);
        let after = load.counted().await;
        let found = live.phases().finish(ended);
        let report = LoadReport {
            matched: found.all.len(),
            failed: live.failed.load(Ordering::Relaxed),
            submitted: live.submitted.load(Ordering::Relaxed),
            measured: ended.saturating_duration_since(begin),
            latency: found.all,
            phases: found.phases,
            highest: live.highest.load(Ordering::Relaxed),
            bundles: after.bundles - before.bundles,
            operations: after.operations - before.operations,
            retries: after.retries - before.retries,
            dissents: after.dissents - before.dissents,
            offered: found.due.sent + found.due.unsent,
            sent: found.due.sent,
            answered: found.due.answered,
            missed_schedule: found.due.late,
            due_latency: found.due.latency,
            series: found.series,
            views: live.views_since(begin),
            badly_signed,
        };
        load.live = Arc::new(live.succeed());
        (load, report)
    }
}

/// The socket of each client, in order.
fn endpoints(config: &LoadConfig, limits: &Limits) -> Result<Vec<SharedEndpoint>, LoadError> {
    let mut endpoints = Vec::with_capacity(config.clients);
    let mut sources = config.manner.sources.iter().peekable();
    if sources.peek().is_none() {
        endpoints.resize(config.clients, endpoint(&Source::default(), limits)?);
    }
    while let Some(source) = sources.next() {
        let left = config.clients - endpoints.len();
        let here = if sources.peek().is_some() { usize::from(source.clients).min(left) } else { left };
        if here > 0 {
            endpoints.resize(endpoints.len() + here, endpoint(source, limits)?);
        }
    }
    Ok(endpoints)
}

/// A socket where clients sit.
fn endpoint(source: &Source, limits: &Limits) -> Result<SharedEndpoint, LoadError> {
    let socket = bind(SocketAddr::new(source.bind, 0))?;
    let Some(text) = &source.emulation else { return Ok(SharedEndpoint::new(socket, limits)?) };
    let file = EmulationFile::parse(text, Path::new("the clients' network"))?;
    Ok(SharedEndpoint::new_emulated(socket, limits, &Emulation::new(file))?)
}

/// The key of a client. Those of a ledger's clients are known to whoever knows the cluster, one for trials: so a load that
/// is connected again finds its accounts, and whoever reads the state afterwards does, too.
fn key(config: &LoadConfig, client: usize) -> Result<SecretKey, LoadError> {
    if config.workload == Workload::Ledger { Ok(tokens::key(config, client)) } else { new_key() }
}

fn new_key() -> Result<SecretKey, LoadError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(LoadError::Randomness)?;
    Ok(SecretKey::from_seed(&seed))
}

/// Runs futures side by side; there are as many as clients.
pub(crate) async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut pending: Vec<_> = futures.map(Box::pin).collect();
    let mut done: Vec<Option<F::Output>> = pending.iter().map(|_| None).collect();
    std::future::poll_fn(move |context| {
        for (future, slot) in pending.iter_mut().zip(&mut done).filter(|(_, slot)| slot.is_none()) {
            if let std::task::Poll::Ready(output) = future.as_mut().poll(context) {
                *slot = Some(output);
            }
        }
        if done.iter().all(Option::is_some) {
            return std::task::Poll::Ready(done.iter_mut().filter_map(Option::take).collect());
        }
        std::task::Poll::Pending
    })
    .await
}
