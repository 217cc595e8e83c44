//! Clients beside the measured ones that sign badly, and come back over a new connection every second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use quorate_node::client::Caller;
use quorate_node::transport::{
    self, ClientInbound, ClientTransport, ClientTransportConfig, Limits, SharedEndpoint,
};
use quorate_protocol::codec;
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::message::ClientFrame;
use quorate_protocol::request::{Draft, Kind, Operations, Registration, Request};
use quorate_protocol::types::{ClientId, Number, Seq};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Live, LoadConfig, LoadError, endpoint, new_key};

/// How long each keeps a connection before it comes back over a new one.
const LIFE: Duration = Duration::from_secs(1);
/// Between two bursts of one of them.
const TICK: Duration = Duration::from_millis(20);
/// Bursts of words of replicas that may wait for one of them.
const INBOX_MAX: usize = 64;
/// Bad requests that may be owed: whoever cannot send as many as the others gives up the rest.
const OWED_MAX: u64 = 4096;

/// Clients that sign badly. They go when this is dropped.
pub(super) struct Hostile {
    _tasks: JoinSet<()>,
    counts: Arc<Counts>,
}

/// What all of them share.
#[derive(Debug, Default)]
struct Counts {
    /// Bad requests to be sent, for as many good ones were.
    owed: AtomicU64,
    sent: AtomicU64,
}

/// One of them: what it needs for every new connection, and its part of what is owed.
struct Stranger {
    config: LoadConfig,
    key: Arc<SecretKey>,
    endpoint: SharedEndpoint,
    request: Bytes,
    of: u64,
    counts: Arc<Counts>,
}

impl Hostile {
    /// Starts them, if any are asked for: as many as make so many connections with all replicas together. They send as
    /// many requests as the measured clients do.
    pub(super) fn start(
        config: &LoadConfig,
        live: Arc<Live>,
        measured: &[Caller],
    ) -> Result<Option<Self>, LoadError> {
        let Some(caller) = measured.first().filter(|_| config.manner.bad_signers > 0) else {
            return Ok(None);
        };
        // A socket of their own: the measured clients must not wait behind their handshakes.
        let source = config.manner.sources.first().cloned().unwrap_or_default();
        let endpoint = endpoint(&source, &Limits::default())?;
        let (counts, mut tasks) = (Arc::new(Counts::default()), JoinSet::new());
        let strangers = usize::from(config.manner.bad_signers).div_ceil(config.replicas.len().max(1));
        for _ in 0..strangers {
            let key = Arc::new(new_key()?);
            let stranger = Stranger {
                config: config.clone(),
                request: badly_signed(config, &key),
                key,
                endpoint: endpoint.clone(),
                of: strangers as u64,
                counts: Arc::clone(&counts),
            };
            tasks.spawn(stranger.come_and_go());
        }
        tasks.spawn(owe(caller.clone(), live, Arc::clone(&counts)));
        Ok(Some(Self { _tasks: tasks, counts }))
    }

    /// Ends them, and says how many bad requests were sent, each to all replicas.
    pub(super) fn stop(self) -> u64 {
        self.counts.sent.load(Ordering::Relaxed)
    }
}

/// Sees how many requests the measured clients send, so that as many bad ones are.
async fn owe(caller: Caller, live: Arc<Live>, counts: Arc<Counts>) {
    let mut tick = tokio::time::interval(TICK);
    let mut before = live.submitted.load(Ordering::Relaxed);
    loop {
        tick.tick().await;
        let Some(report) = caller.report().await else { return };
        let after = live.submitted.load(Ordering::Relaxed);
        // One client's bundles are as large as any other's.
        let (operations, bundles) = (report.counters.operations.max(1), report.counters.bundles.max(1));
        let requests = (after - before).saturating_mul(bundles).div_ceil(operations);
        before = after;
        let more = (counts.owed.load(Ordering::Relaxed) + requests).min(OWED_MAX);
        // All of them work on one thread, so nobody has taken any meanwhile.
        counts.owed.store(more, Ordering::Relaxed);
    }
}

impl Stranger {
    /// Connects, signs badly for a while, goes, and comes back.
    async fn come_and_go(self) {
        loop {
            let (sender, mut inbox) = mpsc::channel(INBOX_MAX);
            let config = ClientTransportConfig {
                context: self.config.context.clone(),
                key: Arc::clone(&self.key),
                replicas: self.config.replicas.clone(),
                limits: Limits::default(),
            };
            // Whoever cannot even begin is in nobody's way; that none was sent is told at the end.
            let Ok(transport) = transport::connect(config, Some(self.endpoint.clone()), sender).await else {
                return;
            };
            self.sign_badly(&transport, &mut inbox).await;
            transport.close().await;
        }
    }

    async fn sign_badly(&self, transport: &ClientTransport, inbox: &mut mpsc::Receiver<ClientInbound>) {
        let end = tokio::time::sleep(LIFE);
        tokio::pin!(end);
        let mut tick = tokio::time::interval(TICK);
        let mut is_up = false;
        loop {
            tokio::select! {
                inbound = inbox.recv() => match inbound {
                    Some(ClientInbound::Up { .. }) => is_up = true,
                    Some(ClientInbound::Down { .. } | ClientInbound::Frames { .. }) => {}
                    None => return,
                },
                _ = tick.tick(), if is_up => self.burst(transport),
                () = &mut end => return,
            }
        }
    }

    /// Its part of what is owed, to all replicas.
    fn burst(&self, transport: &ClientTransport) {
        let owed = self.counts.owed.load(Ordering::Relaxed);
        let burst = owed.div_ceil(self.of);
        self.counts.owed.store(owed - burst, Ordering::Relaxed);
        (0..burst).for_each(|_| transport.broadcast(&self.request));
        self.counts.sent.fetch_add(burst, Ordering::Relaxed);
    }
}

/// A request in its right form, signed for another cluster: only its signature is wrong.
fn badly_signed(config: &LoadConfig, key: &SecretKey) -> Bytes {
    let registration = Registration { nonce: 1, expires: Seq(u64::MAX) };
    let session = registration.session(ClientId::of(&key.public()));
    let operation = config.workload.operation(0, 0, config.payload);
    let operations = Operations::new(std::iter::once(&operation[..]));
    let draft = Draft { session, first: Number(1), ack: Number(0), kind: Kind::Operations, operations };
    let mut cluster = config.context.cluster;
    cluster.0.0[0] ^= 1;
    let frame = ClientFrame::from(Request::sign(key, cluster, draft));
    codec::encode(&frame).expect("a request encodes").into()
}
