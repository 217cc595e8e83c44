//! Load: independent callers, each with some calls in flight or calling at a rate, and what became of every call.

mod calls;
mod live;
mod pace;
mod phases;
mod read;
mod workload;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

pub use hdrhistogram::Histogram;
use quorate_node::client::{self, Caller, ConnectError};
use quorate_node::transport::{ClientTransportConfig, Limits, SharedEndpoint, TransportError, bind};
use quorate_protocol::client::Options;
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::message::Outcome;
use quorate_protocol::parameters::Context;
use tokio::task::JoinSet;

use self::calls::{Stretch, work};
pub use self::live::Live;
use self::pace::Pace;
pub use self::phases::{Measured, Phase};
pub use self::workload::{KEY_BYTES, Keys, Workload};

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
    /// The state could not be read after the run.
    #[error("the cluster did not say what it holds; see `quorate why`")]
    Unread,
    /// The operating system gave no randomness.
    #[error("no randomness for keys: {0}")]
    Randomness(getrandom::Error),
}

/// What became of the calls.
#[derive(Debug, Clone)]
pub struct LoadReport {
    /// Calls whose matching replies reached their client within the measured time.
    pub matched: u64,
    /// Calls that ended otherwise than with a result, or not at all.
    pub failed: u64,
    /// Calls submitted, those that were not measured too.
    pub submitted: u64,
    /// Measured time.
    pub measured: Duration,
    /// Latency of the matched calls, in microseconds.
    pub latency: Histogram<u64>,
    /// The same for each phase of the run that there was.
    pub phases: Vec<Measured>,
    /// Highest slot of any accepted answer.
    pub highest: u64,
    /// Requests sent during the run, each with one signature.
    pub bundles: u64,
    /// Operations in them.
    pub operations: u64,
    /// Requests sent again.
    pub retries: u64,
    /// Replies that contradicted accepted answers.
    pub dissents: u64,
}

/// Clients that are connected and registered.
pub struct Load {
    config: LoadConfig,
    callers: Vec<Caller>,
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
        let socket = bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let endpoint = SharedEndpoint::new(socket, &limits)?;
        let mut callers = Vec::with_capacity(config.clients);
        for _ in 0..config.clients {
            let transport = ClientTransportConfig {
                context: config.context.clone(),
                key: Arc::new(new_key()?),
                replicas: config.replicas.clone(),
                limits: limits.clone(),
            };
            let options = Options { bundle_max: config.bundle_max, ..Options::new(0) };
            callers.push(client::connect(transport, Some(endpoint.clone()), options).await?);
        }
        let live = Arc::new(Live::new(config.workload));
        let next = vec![1; callers.len()];
        let load = Self { config, callers, live, next };
        let first = load.callers.iter().enumerate().map(|(client, caller)| {
            load.live.ledger().submitted(client, 0);
            let operation = load.config.workload.operation(client, 0, load.config.payload);
            async move { caller.call_within(operation, patience).await }
        });
        for (client, answer) in join_all(first).await.into_iter().enumerate() {
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
        let begin = Instant::now() + warm_up;
        self.live.end.send_replace(begin + duration);
        self.live.phases().measure(begin);
        let tasks = self.work((self.room(rate), u64::MAX), rate);
        Running { load: self, tasks, begin, before }
    }

    /// Calls that each client may have in flight at a rate: those of a second, but no more than its session has room
    /// for.
    fn room(&self, rate: Option<f64>) -> usize {
        let Some(rate) = rate else { return self.config.in_flight };
        let of_a_second = (rate / self.callers.len() as f64).ceil();
        let window = usize::try_from(self.config.context.parameters.client_window).unwrap_or(usize::MAX);
        // A conversion that does not fit ends at the largest number.
        (of_a_second as usize).max(self.config.in_flight).min(window)
    }

    /// Lets all clients work side by side.
    fn work(&self, (in_flight, limit): (usize, u64), rate: Option<f64>) -> JoinSet<(usize, u64)> {
        let LoadConfig { workload, payload, .. } = self.config;
        let stretch = Stretch { live: self.live(), workload, payload, in_flight, limit };
        let (clients, start) = (self.callers.len(), Instant::now());
        let mut tasks = JoinSet::new();
        for (client, (caller, next)) in self.callers.iter().zip(&self.next).enumerate() {
            let pace = rate.map(|rate| Pace::new(rate, (client, clients), start));
            let worked = work((client, caller.clone()), stretch.clone(), *next, pace);
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
}

impl Running {
    /// Waits until the load's time is over, which others may extend, and for all answers.
    pub async fn finish(self) -> LoadReport {
        let Self { mut load, tasks, begin, before } = self;
        load.join(tasks).await;
        let live = load.live();
        let ended = Instant::now().min(live.end());
        let after = load.counted().await;
        for caller in &load.callers {
            caller.close().await;
        }
        let (latency, phases) = live.phases().finish(ended);
        LoadReport {
            matched: latency.len(),
            failed: live.failed.load(Ordering::Relaxed),
            submitted: live.submitted.load(Ordering::Relaxed),
            measured: ended.saturating_duration_since(begin),
            latency,
            phases,
            highest: live.highest.load(Ordering::Relaxed),
            bundles: after.bundles - before.bundles,
            operations: after.operations - before.operations,
            retries: after.retries,
            dissents: after.dissents,
        }
    }
}

fn new_key() -> Result<SecretKey, LoadError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(LoadError::Randomness)?;
    Ok(SecretKey::from_seed(&seed))
}

/// Runs futures side by side; there are as many as clients.
async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
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
