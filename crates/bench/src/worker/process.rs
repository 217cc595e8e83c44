//! One replica's process, and the ones it had before.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use quorate_node::init::Layout;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use super::footprint::{DiskUse, Footprint, peak_memory};
use super::usage::ProcessTime;
use super::{Logs, WorkerError};

/// How much of a log is looked at for its last lines.
const TAIL_BYTES: u64 = 8 << 10;
/// Replicas let others go first. The load of a machine runs on one thread, for clients that have machines of their own
/// elsewhere; beside sixteen replicas on two processors it would get an eighth of one, and what it measured would be how
/// long it waited for that.
const GIVE_WAY: u8 = 10;
/// How long a process may take to hear a line.
const HEARING: Duration = Duration::from_secs(1);

/// What is run, and what it is told besides whose replica it is.
pub(super) struct Program {
    pub(super) path: PathBuf,
    pub(super) logs: Logs,
    pub(super) reply_bytes: u32,
    pub(super) liars: BTreeMap<u16, String>,
    pub(super) seed: u64,
    /// Whether replicas do what they are told on their standard input.
    pub(super) controlled: bool,
}

impl Program {
    /// Starts a replica's process.
    pub(super) fn start(&self, replica: u16, layout: &Layout, member: &Member) -> Result<Child, WorkerError> {
        let opened = File::options().create(true).append(true).open(&member.log);
        let words = opened.map_err(|error| {
            let path = member.log.clone();
            WorkerError::Io { path, deed: "write the log", error }
        })?;
        let mut command = Command::new(&self.path);
        command
            .arg("replica")
            .arg(replica.to_string())
            .arg("--cluster")
            .arg(layout.cluster_file())
            .arg(format!("--reply-bytes={}", self.reply_bytes))
            .arg(format!("--nice={GIVE_WAY}"))
            .arg("--exit-with-stdin");
        if let Some(behaviour) = self.liars.get(&replica) {
            // In one word each: a behaviour is never taken for another argument.
            command.arg(format!("--byzantine={behaviour}")).arg(format!("--byzantine-seed={}", self.seed));
        }
        if let Some(path) = &member.emulation {
            command.arg("--emulate").arg(path);
        }
        if self.controlled {
            command.arg("--controlled");
        }
        if let Some(format) = &self.logs.format {
            command.env("QUORATE_LOG_FORMAT", format);
        }
        let filter = self.logs.filter.clone().map(OsString::from).or_else(|| std::env::var_os("QUORATE_LOG"));
        let spawned = command
            .env("QUORATE_LOG", filter.unwrap_or_else(|| "warn".into()))
            // Held open as long as this process lives: its end is how replicas learn that they are alone.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(words)
            // Ctrl-C in a terminal reaches the whole group; whoever started the replicas ends them.
            .process_group(0)
            .kill_on_drop(true)
            .spawn();
        spawned.map_err(|error| WorkerError::Process { replica, deed: "start", error })
    }
}

/// One replica of this machine.
pub(super) struct Member {
    /// Its process; none before the first start.
    pub(super) child: Option<Child>,
    pub(super) log: PathBuf,
    pub(super) emulation: Option<PathBuf>,
    pub(super) is_paused: bool,
    footprint: Footprint,
    /// What its earlier processes took.
    before: ProcessTime,
}

impl Member {
    pub(super) fn new(log: PathBuf, emulation: Option<PathBuf>) -> Self {
        let (footprint, before) = (Footprint::default(), ProcessTime::default());
        Self { child: None, log, emulation, is_paused: false, footprint, before }
    }

    /// Its process, as long as nobody has waited for its end: until then its id is no other process's.
    fn id(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    pub(super) fn runs(&self) -> bool {
        self.id().is_some()
    }

    /// Looks what it takes of the machine; gives back the most that it ever took.
    pub(super) fn survey(&mut self, disk: DiskUse) -> Footprint {
        self.footprint.memory = self.footprint.memory.max(self.id().and_then(peak_memory));
        self.footprint.disk = self.footprint.disk.max(disk);
        self.footprint
    }

    /// What all its processes took of the processors.
    pub(super) fn time(&self) -> ProcessTime {
        let mut time = self.before.clone();
        if let Some(id) = self.id() {
            time.add(&ProcessTime::of(id));
        }
        time
    }

    pub(super) fn begin_kill(&mut self, replica: u16) -> Result<(), WorkerError> {
        self.before = self.time();
        let Some(child) = &mut self.child else { return Ok(()) };
        // One that ended by itself is dead as well.
        if child.id().is_some() {
            child.start_kill().map_err(|error| WorkerError::Process { replica, deed: "kill", error })?;
        }
        Ok(())
    }

    pub(super) async fn end_kill(&mut self, replica: u16) -> Result<(), WorkerError> {
        let Some(mut child) = self.child.take() else { return Ok(()) };
        self.is_paused = false;
        let waited = child.wait().await;
        waited.map(drop).map_err(|error| WorkerError::Process { replica, deed: "wait for", error })
    }

    /// Waits until a process that was asked to stop has ended; ends it, if that takes too long.
    pub(super) async fn end_gently(&mut self, replica: u16, patience: Duration) -> Result<(), WorkerError> {
        self.before = self.time();
        let Some(mut child) = self.child.take() else { return Ok(()) };
        self.is_paused = false;
        // Whoever waits closes it otherwise, which is another way to end a replica, and a hastier one.
        let _open = child.stdin.take();
        let waited = match tokio::time::timeout(patience, child.wait()).await {
            Ok(waited) => waited.map(drop),
            Err(_) => child.kill().await,
        };
        waited.map_err(|error| WorkerError::Process { replica, deed: "wait for", error })
    }

    pub(super) async fn signal(&mut self, replica: u16, signal: &'static str) -> Result<(), WorkerError> {
        // A child that nobody has waited for keeps its id, so the signal reaches no other process.
        let Some(id) = self.id() else { return Ok(()) };
        let sent = Command::new("kill").args(["-s", signal, &id.to_string()]).status().await;
        let sent = sent.map_err(|error| WorkerError::Process {
            replica,
            deed: "signal (with the program `kill`, which has to be installed)",
            error,
        })?;
        if !sent.success() {
            return Err(WorkerError::Signal { replica, signal });
        }
        self.is_paused = signal == "STOP";
        Ok(())
    }

    /// Says a line to its process.
    pub(super) async fn tell(&mut self, replica: u16, line: &str) -> Result<(), WorkerError> {
        let failed = |error| WorkerError::Process { replica, deed: "tell something to", error };
        let Some(input) = self.child.as_mut().and_then(|child| child.stdin.as_mut()) else {
            return Err(failed(ErrorKind::BrokenPipe.into()));
        };
        // A process that is stopped reads nothing, and a pipe has room for many lines.
        let told = tokio::time::timeout(HEARING, input.write_all(line.as_bytes())).await;
        told.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into())).map_err(failed)
    }

    /// How it ended, if it did so by itself.
    pub(super) fn ended(&mut self, replica: u16) -> Result<Option<ExitStatus>, WorkerError> {
        let Some(child) = &mut self.child else { return Ok(None) };
        child.try_wait().map_err(|error| WorkerError::Process { replica, deed: "look at", error })
    }

    /// The last lines of its log.
    pub(super) fn last_words(&self) -> String {
        tail(&self.log).unwrap_or_default()
    }

    pub(super) fn begin_stop(&mut self) {
        if let Some(child) = &mut self.child {
            drop(child.stdin.take());
        }
    }

    pub(super) async fn end_stop(&mut self, farewell: Duration) {
        let Some(mut child) = self.child.take() else { return };
        // Who is stopped sees no end of its input.
        let patience = if self.is_paused { Duration::ZERO } else { farewell };
        if tokio::time::timeout(patience, child.wait()).await.is_err() {
            // It is a process that this one started, and it had its time.
            drop(child.kill().await);
        }
    }
}

fn tail(log: &Path) -> std::io::Result<String> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().rev().take(3).collect();
    Ok(lines.into_iter().rev().collect::<Vec<_>>().join(" | "))
}
