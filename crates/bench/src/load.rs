//! Closed-loop load: independent callers, each with some calls in flight, and what became of every call.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
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
use quorate_protocol::types::{Seq, View};
use tokio::sync::watch;

use crate::audit::{Ledger, Observed};

/// Keys that each client writes in turn, in the key-value workload.
const KEYS_PER_CLIENT: u64 = 64;
/// How long after the end of the load an answer is waited for.
pub const GIVE_UP: Duration = Duration::from_secs(20);
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
    pub(crate) fn operation(self, client: usize, index: u64, payload: usize) -> Bytes {
        let encoded = match self {
            Self::Null => return Bytes::from(vec![index.to_le_bytes()[0]; payload]),
            Self::Counter => codec::encode_serde(&counter::Command::Add(1)),
            Self::Kv => {
                let key = format!("client-{client}/{}", kv_key(index));
                // A value begins with the number of the put that wrote it, for the audit.
                let mut value = index.to_le_bytes().to_vec();
                value.resize(payload.saturating_sub(key.len()).max(value.len()), value[0]);
                let value = kv::Value(value);
                codec::encode_serde(&if kv_reads(index) {
                    kv::Command::Get { key }
                } else {
                    kv::Command::Put { key, value }
                })
            }
        };
        encoded.expect("the workload's commands encode").into()
    }
}

/// Which of its keys a client's `index`th operation is about, in the key-value workload.
pub(crate) fn kv_key(index: u64) -> u64 {
    index / 4 % KEYS_PER_CLIENT
}

/// Whether that operation is a read.
pub(crate) fn kv_reads(index: u64) -> bool {
    index % 4 == 3
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
    /// The state could not be read after the run.
    #[error("the cluster did not say what it holds; see `quorate why`")]
    Unread,
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
    hopeless: watch::Sender<bool>,
    newest_view: AtomicU64,
    /// Latency in microseconds of what matched since it was last taken.
    recent: Mutex<Histogram<u64>>,
    /// When the first answer of each view was accepted.
    views: Mutex<BTreeMap<u64, Instant>>,
    /// Moments after which the first accepted answer is looked for, and when that came.
    probes: Mutex<Vec<Option<Instant>>>,
    probing: AtomicBool,
    ledger: Mutex<Ledger>,
}

impl Live {
    fn new(workload: Workload) -> Self {
        Self {
            matched: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            submitted: AtomicU64::new(0),
            highest: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            hopeless: watch::Sender::new(false),
            newest_view: AtomicU64::new(0),
            recent: Mutex::new(new_histogram()),
            views: Mutex::new(BTreeMap::new()),
            probes: Mutex::new(Vec::new()),
            probing: AtomicBool::new(false),
            ledger: Mutex::new(Ledger::new(workload)),
        }
    }

    /// Waits for no answer any more: the load ends at once, and what is in flight counts as failed.
    pub fn give_up(&self) {
        self.hopeless.send_replace(true);
    }

    /// What clients were told so far.
    pub fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes when the next answer is accepted; gives back the number under which [`Live::probed`] knows it.
    pub fn probe(&self) -> usize {
        let mut probes = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
        probes.push(None);
        self.probing.store(true, Ordering::Relaxed);
        probes.len() - 1
    }

    /// When the first answer after a [`Live::probe`] was accepted, if one was.
    #[must_use]
    pub fn probed(&self, probe: usize) -> Option<Instant> {
        self.probes.lock().unwrap_or_else(PoisonError::into_inner).get(probe).copied().flatten()
    }

    /// When the first answer of a view beyond `view` was accepted after `since`, if one was.
    #[must_use]
    pub fn first_answer_beyond(&self, view: u64, since: Instant) -> Option<Instant> {
        let views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        views.range(view + 1..).map(|(_, at)| *at).find(|at| *at >= since)
    }

    fn note_submitted(&self, client: usize, indices: Range<u64>) {
        self.submitted.fetch_add(indices.end - indices.start, Ordering::Relaxed);
        let mut ledger = self.ledger();
        indices.for_each(|index| ledger.submitted(client, index));
    }

    fn note(&self, (seq, view): (Seq, View), took_us: u64, now: Instant) {
        self.matched.fetch_add(1, Ordering::Relaxed);
        self.highest.fetch_max(seq.0, Ordering::Relaxed);
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).saturating_record(took_us);
        if self.probing.swap(false, Ordering::Relaxed) {
            let mut probes = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
            probes.iter_mut().for_each(|probe| *probe = probe.or(Some(now)));
        }
        if self.newest_view.fetch_max(view.0, Ordering::Relaxed) < view.0 {
            self.views.lock().unwrap_or_else(PoisonError::into_inner).entry(view.0).or_insert(now);
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
        let load = Self { config, callers, live };
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

    /// Reads the replicated state through a client of its own; none for an application whose state says nothing.
    ///
    /// # Errors
    /// [`LoadError`] if the cluster does not answer.
    pub async fn observe(config: &LoadConfig, patience: Duration) -> Result<Option<Observed>, LoadError> {
        let transport = ClientTransportConfig {
            context: config.context.clone(),
            key: Arc::new(new_key()?),
            replicas: config.replicas.clone(),
            limits: Limits::default(),
        };
        let caller = client::connect(transport, None, Options::new(0)).await?;
        let observed = match config.workload {
            Workload::Counter => read_counter(&caller, patience).await.map(Some),
            Workload::Kv => read_store(&caller, patience).await.map(Some),
            Workload::Null => Ok(None),
        };
        caller.close().await;
        observed
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

fn new_key() -> Result<SecretKey, LoadError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(LoadError::Randomness)?;
    Ok(SecretKey::from_seed(&seed))
}

/// One operation whose reply is read.
async fn ask<C: serde::Serialize, R: serde::de::DeserializeOwned>(
    caller: &Caller,
    command: &C,
    patience: Duration,
) -> Result<R, LoadError> {
    let operation = codec::encode_serde(command).expect("commands encode");
    let answer = caller.call_within(operation.into(), patience).await;
    match answer.map(|answer| answer.outcome) {
        Ok(Outcome::Done(reply)) => codec::decode_serde(&reply).map_err(|_| LoadError::Unread),
        Ok(_) | Err(_) => Err(LoadError::Unread),
    }
}

async fn read_counter(caller: &Caller, patience: Duration) -> Result<Observed, LoadError> {
    ask(caller, &counter::Command::Get, patience).await.map(Observed::Counter)
}

async fn read_store(caller: &Caller, patience: Duration) -> Result<Observed, LoadError> {
    let (mut all, mut after) = (BTreeMap::new(), String::new());
    loop {
        let limit = u32::try_from(kv::SCAN_ENTRIES_MAX).unwrap_or(u32::MAX);
        let scan = kv::Command::Scan { prefix: String::new(), after: after.clone(), limit };
        let kv::Reply::Entries { entries, more } = ask(caller, &scan, patience).await? else {
            return Err(LoadError::Unread);
        };
        if let Some((last, _)) = entries.last() {
            after.clone_from(last);
        }
        all.extend(entries);
        if !more {
            return Ok(Observed::Kv(all));
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
    let mut hopeless = live.hopeless.subscribe();
    let mut calls = caller.stream(config.in_flight);
    // The tag of a call is its place among those in flight; its start and its index are kept there.
    let mut started = vec![(Instant::now(), 0); config.in_flight];
    let mut free: Vec<u64> = (0..config.in_flight as u64).collect();
    let mut index = 1_u64;
    let mut next = Vec::with_capacity(config.in_flight);
    loop {
        let now = Instant::now();
        if now < end && !live.stop.load(Ordering::Relaxed) {
            let fresh = free.drain(..).zip(index..);
            let before = next.len();
            for (tag, index) in fresh {
                started[usize::try_from(tag).unwrap_or_default()] = (now, index);
                next.push((tag, config.workload.operation(client, index, config.payload)));
            }
            let added = (next.len() - before) as u64;
            live.note_submitted(client, index..index + added);
            index += added;
            if calls.submit(&mut next).await.is_err() {
                return latency;
            }
        }
        if calls.in_flight() == 0 {
            return latency;
        }
        let patience = tokio::time::timeout_at((end + GIVE_UP).into(), calls.next());
        let answers = tokio::select! {
            answers = patience => answers.ok().flatten(),
            _ = hopeless.wait_for(|given_up| *given_up) => None,
        };
        let Some(answers) = answers else {
            live.failed.fetch_add(calls.in_flight() as u64, Ordering::Relaxed);
            return latency;
        };
        let now = Instant::now();
        for (tag, answer) in answers {
            free.push(tag);
            let place = usize::try_from(tag).unwrap_or_default();
            let (began, index) = started[place];
            let took = now.saturating_duration_since(began);
            let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            match answer {
                Ok(Answer { outcome: Outcome::Done(ref reply), seq, view, .. }) => {
                    live.ledger().answered(client, index, seq.0, reply);
                    live.note((seq, view), took_us, now);
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
