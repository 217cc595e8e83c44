//! Round trips over loopback, through the transport that replicas use: two replicas of one committee, one of which sends
//! back whatever it gets.
//!
//! The other replica is once a task of the same thread and once a process of its own. The keys are known to all, which
//! does no harm: the links carry zeros, and live as long as the measurement.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use quorate_host::lane::Class;
use quorate_node::transport::{
    Admission, Inbound, Limits, Remote, Transport, TransportConfig, TransportError, bind, start,
};
use quorate_protocol::committee::Committee;
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::parameters::{Context, Parameters};
use quorate_protocol::types::{ClusterId, Digest, Epoch, ReplicaId, Seq, View};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::Effort;
use super::timing::{Spread, microseconds_since, percentile};

/// Bytes of each frame.
const FRAME_BYTES: usize = 200;
/// How long to wait for a link, and for a frame.
const PATIENCE: Duration = Duration::from_secs(5);
/// Events that may wait in an inbox.
const INBOX_MAX: usize = 64;
/// The replica that measures; it dials, because its id is lower.
const PINGER: ReplicaId = ReplicaId(0);
const ECHO: ReplicaId = ReplicaId(1);

/// How to start a process that calls [`echo`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EchoProgram {
    /// The executable.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// Round trips of 200 bytes, one at a time, over QUIC on loopback.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Quic {
    /// Whether the processes were bound to cores. They never are: the scheduler puts them where it puts replicas.
    pub pinned: bool,
    /// Between two processes.
    pub between_processes: Option<RoundTrip>,
    /// Between two tasks of one thread.
    pub within_one_thread: Option<RoundTrip>,
    /// Why a measurement is missing.
    pub trouble: Option<String>,
}

/// Microseconds there and back. The spread is over rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RoundTrip {
    /// Half of a round's trips took no longer.
    pub p50_us: Spread,
    /// 99 in a hundred took no longer.
    pub p99_us: Spread,
}

/// Why there was no round trip.
#[derive(Debug, thiserror::Error)]
pub enum EchoError {
    /// A socket or the other process could not be used.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The transport did not start.
    #[error("{0}")]
    Transport(#[from] TransportError),
    /// The other process said something else than its address.
    #[error("the other process wrote `{0}` where its address belongs; it must be the same program")]
    Address(String),
    /// Nothing came.
    #[error("{0} did not come within 5 seconds; does a firewall stop UDP on 127.0.0.1?")]
    Silence(&'static str),
    /// The link ended.
    #[error("the link ended: {0}")]
    Down(String),
    /// The measuring thread panicked.
    #[error("the measurement failed")]
    Panicked,
}

/// Measures both.
pub(super) fn measure(program: Option<&EchoProgram>, effort: Effort) -> Quic {
    let mut trouble = Vec::new();
    let mut keep = |what: &str, result: Result<RoundTrip, EchoError>| {
        result.map_err(|error| trouble.push(format!("{what}: {error}"))).ok()
    };
    let within_one_thread = keep("within one thread", apart(|| block_on(within_one_thread(effort))));
    let between_processes = program.and_then(|program| {
        keep("between processes", apart(|| block_on(between_processes(program, effort))))
    });
    let trouble = (!trouble.is_empty()).then(|| trouble.join("; "));
    Quic { pinned: false, between_processes, within_one_thread, trouble }
}

/// Does something on a thread of its own, because the caller's may be running a runtime already.
fn apart(work: impl FnOnce() -> Result<RoundTrip, EchoError> + Send) -> Result<RoundTrip, EchoError> {
    std::thread::scope(|scope| scope.spawn(work).join().unwrap_or(Err(EchoError::Panicked)))
}

fn block_on<T>(work: impl Future<Output = Result<T, EchoError>>) -> Result<T, EchoError> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

/// One end.
struct End {
    transport: Transport,
    inbox: mpsc::Receiver<Inbound>,
    other: Remote,
}

impl End {
    async fn start(
        id: ReplicaId,
        other: ReplicaId,
        socket: UdpSocket,
        at: SocketAddr,
    ) -> Result<Self, EchoError> {
        let secret = |id: ReplicaId| SecretKey::from_seed(&[id.0.to_le_bytes()[0] + 1; 32]);
        let keys = [PINGER, ECHO].map(|id| secret(id).public());
        let context = Context {
            cluster: ClusterId(Digest([0x11; 32])),
            epoch: Epoch(0),
            committee: Arc::new(Committee::new(&keys, true).expect("two derived keys are a committee")),
            parameters: Arc::new(Parameters::default()),
        };
        let (sender, inbox) = mpsc::channel(INBOX_MAX);
        let config = TransportConfig {
            context,
            id,
            key: Arc::new(secret(id)),
            peer_addresses: vec![at; keys.len()],
            peer_socket: socket,
            client_socket: loopback()?,
            admission: Admission::Listed(BTreeSet::new()),
            limits: Limits::default(),
            emulation: None,
            standing: Arc::new(|| (Seq(0), View(0))),
        };
        Ok(Self { transport: start(config, sender).await?, inbox, other: Remote::Replica(other) })
    }

    async fn next(&mut self, what: &'static str) -> Result<Inbound, EchoError> {
        let event = tokio::time::timeout(PATIENCE, self.inbox.recv()).await;
        event.ok().flatten().ok_or(EchoError::Silence(what))
    }

    async fn up(&mut self) -> Result<(), EchoError> {
        while !matches!(self.next("a link").await?, Inbound::Up { .. }) {}
        Ok(())
    }

    /// The frames that come next.
    async fn frames(&mut self) -> Result<Vec<Bytes>, EchoError> {
        loop {
            match self.next("a frame").await? {
                Inbound::Frames { frames, .. } => return Ok(frames),
                Inbound::Down { why, .. } => return Err(EchoError::Down(why)),
                Inbound::Up { .. } => {}
            }
        }
    }

    /// Sends everything back, until the link ends or nothing comes for a while.
    async fn echo(mut self) -> Result<(), EchoError> {
        self.up().await?;
        loop {
            for frame in self.frames().await? {
                self.transport.send(self.other, Class::Votes, frame);
            }
        }
    }

    async fn measure(mut self, effort: Effort) -> Result<RoundTrip, EchoError> {
        self.up().await?;
        let trips = effort.choose(500, 20);
        let _ = self.round(trips / 2).await?;
        let (mut halves, mut tails) = (Vec::new(), Vec::new());
        for _ in 0..effort.rounds() {
            let taken = self.round(trips).await?;
            halves.push(percentile(&taken, 50));
            tails.push(percentile(&taken, 99));
        }
        self.transport.close().await;
        Ok(RoundTrip { p50_us: Spread::of(halves), p99_us: Spread::of(tails) })
    }

    /// Microseconds of each trip, ascending.
    async fn round(&mut self, trips: usize) -> Result<Vec<f64>, EchoError> {
        let frame = Bytes::from_static(&[0; FRAME_BYTES]);
        let mut taken = Vec::with_capacity(trips);
        for _ in 0..trips {
            let start = Instant::now();
            self.transport.send(self.other, Class::Votes, frame.clone());
            self.frames().await?;
            taken.push(microseconds_since(start));
        }
        taken.sort_by(f64::total_cmp);
        Ok(taken)
    }
}

fn loopback() -> Result<UdpSocket, EchoError> {
    Ok(bind((Ipv4Addr::LOCALHOST, 0).into())?)
}

async fn within_one_thread(effort: Effort) -> Result<RoundTrip, EchoError> {
    let socket = loopback()?;
    let address = socket.local_addr()?;
    let echo = End::start(ECHO, PINGER, socket, address).await?;
    let task = tokio::spawn(echo.echo());
    let result = End::start(PINGER, ECHO, loopback()?, address).await?.measure(effort).await;
    task.abort();
    result
}

/// A process that does not outlive its measurement.
struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        // It may have ended by itself; either way nothing of it is left.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn between_processes(program: &EchoProgram, effort: Effort) -> Result<RoundTrip, EchoError> {
    let mut command = Command::new(&program.program);
    command.args(&program.arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = Guarded(command.spawn()?);
    let mut line = String::new();
    if let Some(output) = child.0.stdout.take() {
        BufReader::new(output).read_line(&mut line)?;
    }
    let address = line.trim().parse().map_err(|_| EchoError::Address(line.trim().to_owned()))?;
    End::start(PINGER, ECHO, loopback()?, address).await?.measure(effort).await
}

/// Is the other process: writes its address to standard output, and sends everything back until the link ends.
///
/// # Errors
/// [`EchoError`] if it never had a link. The end of a link is the end of its work.
pub fn echo() -> Result<(), EchoError> {
    block_on(async {
        let socket = loopback()?;
        let address = socket.local_addr()?;
        let end = End::start(ECHO, PINGER, socket, address).await?;
        writeln!(std::io::stdout(), "{address}")?;
        match end.echo().await {
            Err(EchoError::Down(_)) => Ok(()),
            result => result,
        }
    })
}
