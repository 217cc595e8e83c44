//! Closed-loop load: independent callers, each with some calls in flight, and what became of every call.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use quorate_apps::{counter, kv};
use quorate_node::client::{self, Caller, ConnectError};
use quorate_node::transport::{ClientTransportConfig, Limits, SharedEndpoint, TransportError, bind};
use quorate_protocol::client::{Answer, Options};
use quorate_protocol::codec;
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::message::Outcome;
use quorate_protocol::parameters::Context;

/// Keys that each client writes in turn, in the key-value workload.
const KEYS_PER_CLIENT: u64 = 64;
/// How long after the end of the load an answer is waited for.
const GIVE_UP: Duration = Duration::from_secs(20);
/// Longest latency that is recorded, in microseconds.
const LATENCY_US_MAX: u64 = 120_000_000;

/// What the callers ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// Three puts and a get, in turn.
    Kv,
    /// Additions to one counter.
    Counter,
    /// Bytes without meaning.
    Null,
}

impl Workload {
    /// The workload for an application.
    #[must_use]
    pub fn of(application: &str) -> Option<Self> {
        match application {
            "kv" => Some(Self::Kv),
            "counter" => Some(Self::Counter),
            "null" => Some(Self::Null),
            _ => None,
        }
    }

    /// The `index`th operation of a client, of about `payload` bytes.
    fn operation(self, client: usize, index: u64, payload: usize) -> Bytes {
        let encoded = match self {
            Self::Null => return Bytes::from(vec![index.to_le_bytes()[0]; payload]),
            Self::Counter => codec::encode_serde(&counter::Command::Add(1)),
            Self::Kv => {
                let key = format!("client-{client}/{}", index / 4 % KEYS_PER_CLIENT);
                let value = kv::Value(vec![index.to_le_bytes()[0]; payload.saturating_sub(key.len()).max(1)]);
                codec::encode_serde(&if index % 4 == 3 {
                    kv::Command::Get { key }
                } else {
                    kv::Command::Put { key, value }
                })
            }
        };
        encoded.expect("the workload's commands encode").into()
    }
}

/// How much load, of what kind.
#[derive(Debug, Clone)]
pub struct LoadConfig {
    /// The cluster.
    pub context: Context,
    /// Where its replicas take clients, in order of id.
    pub replicas: Vec<SocketAddr>,
    /// Independent clients, each with a key of its own.
    pub clients: usize,
    /// Calls that each client keeps in flight.
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
    /// The operating system gave no randomness.
    #[error("no randomness for keys: {0}")]
    Randomness(getrandom::Error),
}

/// What is counted while the load runs.
#[derive(Debug)]
pub struct Live {
    /// Operations answered by enough replicas alike, since the load began.
    pub matched: AtomicU64,
    /// Operations answered otherwise than with a result, or not at all.
    pub failed: AtomicU64,
    /// Operations submitted once every client had its session.
    pub submitted: AtomicU64,
    /// Highest slot of any accepted answer.
    pub highest: AtomicU64,
    /// Set to end the load.
    pub stop: AtomicBool,
    newest_view: AtomicU64,
    /// Latency in microseconds of what matched since it was last taken.
    recent: Mutex<Histogram<u64>>,
    /// When the first answer of each view was accepted.
    views: Mutex<BTreeMap<u64, Instant>>,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            matched: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            submitted: AtomicU64::new(0),
            highest: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            newest_view: AtomicU64::new(0),
            recent: Mutex::new(new_histogram()),
            views: Mutex::new(BTreeMap::new()),
        }
    }
}

impl Live {
    /// When the first answer of a view beyond `view` was accepted after `since`, if one was.
    #[must_use]
    pub fn first_answer_beyond(&self, view: u64, since: Instant) -> Option<Instant> {
        let views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        views.range(view + 1..).map(|(_, at)| *at).find(|at| *at >= since)
    }

    fn note(&self, answer: &Answer, took_us: u64, now: Instant) {
        self.matched.fetch_add(1, Ordering::Relaxed);
        self.highest.fetch_max(answer.seq.0, Ordering::Relaxed);
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(took_us);
        if self.newest_view.fetch_max(answer.view.0, Ordering::Relaxed) < answer.view.0 {
            self.views.lock().unwrap_or_else(PoisonError::into_inner).entry(answer.view.0).or_insert(now);
        }
    }

    /// The median and the 99th percentile, in microseconds, of what matched since the last call.
    pub fn take_latency(&self) -> (u64, u64) {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let found = (recent.value_at_quantile(0.5), recent.value_at_quantile(0.99));
        recent.reset();
        found
    }
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
    /// Highest slot of any accepted answer.
    pub highest: u64,
    /// Requests sent, each with one signature.
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
            let mut seed = [0; 32];
            getrandom::fill(&mut seed).map_err(LoadError::Randomness)?;
            let transport = ClientTransportConfig {
                context: config.context.clone(),
                key: Arc::new(SecretKey::from_seed(&seed)),
                replicas: config.replicas.clone(),
                limits: limits.clone(),
            };
            let options = Options { bundle_max: config.bundle_max, ..Options::new(0) };
            callers.push(client::connect(transport, Some(endpoint.clone()), options).await?);
        }
        let load = Self { config, callers, live: Arc::new(Live::default()) };
        let first = load.callers.iter().enumerate().map(|(client, caller)| {
            let operation = load.config.workload.operation(client, 0, load.config.payload);
            async move { caller.call_within(operation, patience).await }
        });
        for answer in join_all(first).await {
            match answer {
                Ok(answer) => {
                    load.live.highest.fetch_max(answer.seq.0, Ordering::Relaxed);
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

    /// Runs for `duration` after a `warm_up` that is not measured, or until told to stop; waits for all answers.
    pub async fn run(self, warm_up: Duration, duration: Duration) -> LoadReport {
        let begin = Instant::now() + warm_up;
        let window = (begin, begin + duration);
        let tasks: Vec<_> = self
            .callers
            .iter()
            .enumerate()
            .map(|(client, caller)| {
                let caller = caller.clone();
                tokio::spawn(keep_in_flight(
                    client,
                    caller,
                    self.config.clone(),
                    Arc::clone(&self.live),
                    window,
                ))
            })
            .collect();
        let mut latency = new_histogram();
        let (mut bundles, mut operations, mut retries, mut dissents) = (0, 0, 0, 0);
        for task in tasks {
            if let Ok(of_client) = task.await {
                latency.add(&of_client).expect("all histograms have one shape");
            }
        }
        let ended = Instant::now().min(window.1);
        for caller in &self.callers {
            if let Some(report) = caller.report().await {
                bundles += report.counters.bundles;
                operations += report.counters.operations;
                retries += report.counters.retries;
                dissents += report.counters.dissents;
            }
            caller.close().await;
        }
        LoadReport {
            matched: latency.len(),
            failed: self.live.failed.load(Ordering::Relaxed),
            submitted: self.live.submitted.load(Ordering::Relaxed),
            measured: ended.saturating_duration_since(begin),
            latency,
            highest: self.live.highest.load(Ordering::Relaxed),
            bundles,
            operations,
            retries,
            dissents,
        }
    }
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

fn new_histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("the bounds are constants that make sense")
}

async fn keep_in_flight(
    client: usize,
    caller: Caller,
    config: LoadConfig,
    live: Arc<Live>,
    (begin, end): (Instant, Instant),
) -> Histogram<u64> {
    let mut latency = new_histogram();
    let mut calls = caller.stream(config.in_flight);
    // The tag of a call is its place among those in flight; its start is kept there.
    let mut started = vec![Instant::now(); config.in_flight];
    let mut free: Vec<u64> = (0..config.in_flight as u64).collect();
    let mut index = 1_u64;
    let mut next = Vec::with_capacity(config.in_flight);
    loop {
        let now = Instant::now();
        if now < end && !live.stop.load(Ordering::Relaxed) {
            for tag in free.drain(..) {
                started[usize::try_from(tag).unwrap_or_default()] = now;
                next.push((tag, config.workload.operation(client, index, config.payload)));
                index += 1;
            }
            live.submitted.fetch_add(next.len() as u64, Ordering::Relaxed);
            if calls.submit(&mut next).await.is_err() {
                return latency;
            }
        }
        if calls.in_flight() == 0 {
            return latency;
        }
        let patience = tokio::time::timeout_at((end + GIVE_UP).into(), calls.next());
        let Ok(Some(answers)) = patience.await else {
            live.failed.fetch_add(calls.in_flight() as u64, Ordering::Relaxed);
            return latency;
        };
        let now = Instant::now();
        for (tag, answer) in answers {
            free.push(tag);
            let place = usize::try_from(tag).unwrap_or_default();
            let took = now.saturating_duration_since(started[place]);
            let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            match answer {
                Ok(answer) if matches!(answer.outcome, Outcome::Done(_)) => {
                    live.note(&answer, took_us, now);
                    if (begin..end).contains(&now) {
                        latency.saturating_record(took_us);
                    }
                }
                Ok(_) | Err(_) => {
                    live.failed.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}
