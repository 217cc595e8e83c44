//! One replica's process, and the ones it had before.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use quorate_node::init::Layout;
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use super::footprint::{DiskUse, Footprint, peak_memory};
use super::orders::End;
use super::usage::ProcessTime;
use super::{Logs, WorkerError};

/// How much of a log is looked at for its last lines: a panic may have a backtrace behind it.
const TAIL_BYTES: u64 = 64 << 10;
/// The last lines that are told of a log without a panic.
const LAST_LINES: usize = 3;
/// Lines of a panic's message that are told.
const PANIC_LINES_MAX: usize = 5;
/// The signal that nobody sends to itself.
const SIGKILL: i32 = 9;
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
    /// How much of the log its earlier processes wrote.
    log_before: u64,
    footprint: Footprint,
    /// What its earlier processes took.
    before: ProcessTime,
}

impl Member {
    pub(super) fn new(log: PathBuf, emulation: Option<PathBuf>) -> Self {
        let (footprint, before) = (Footprint::default(), ProcessTime::default());
        Self { child: None, log, emulation, is_paused: false, log_before: 0, footprint, before }
    }

    /// It has a new process.
    pub(super) fn begin(&mut self, child: Child, log_before: u64) {
        (self.child, self.is_paused, self.log_before) = (Some(child), false, log_before);
    }

    /// How long its log is.
    pub(super) fn log_bytes(&self) -> u64 {
        self.log.metadata().map_or(0, |log| log.len())
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

    /// How it ended, if it did and nobody here ended it.
    pub(super) fn ended(&mut self, replica: u16) -> Result<Option<End>, WorkerError> {
        let Some(child) = &mut self.child else { return Ok(None) };
        let status = child.try_wait();
        let status = status.map_err(|error| WorkerError::Process { replica, deed: "look at", error })?;
        Ok(status.map(|status| self.end(replica, status)))
    }

    fn end(&self, replica: u16, status: ExitStatus) -> End {
        let said = self.said().unwrap_or_default();
        let panic = panic_in(&said);
        let panicked = panic.is_some();
        let words = panic.unwrap_or_else(|| last_lines(&said));
        let by_others = status.success() || status.signal() == Some(SIGKILL);
        End { replica, by_others, panicked, words: format!("({status}): {words}") }
    }

    /// What its process said last: of a panic where it was and what it says.
    pub(super) fn last_words(&self) -> String {
        let said = self.said().unwrap_or_default();
        panic_in(&said).unwrap_or_else(|| last_lines(&said))
    }

    /// The end of what its process wrote into its log.
    fn said(&self) -> std::io::Result<String> {
        let mut file = File::open(&self.log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES).max(self.log_before)))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
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

/// `panicked at src/lib.rs:7:9: what it said`, of the last panic in a log.
fn panic_in(log: &str) -> Option<String> {
    let begins = |line: &&str| line.starts_with("thread '") && line.contains(" panicked at ");
    let lines: Vec<&str> = log.lines().collect();
    let at = lines.iter().rposition(begins)?;
    let (_, place) = lines[at].split_once(" panicked at ")?;
    let is_message = |line: &&&str| !line.starts_with("note: ") && !line.starts_with("stack backtrace:");
    let message: Vec<&str> =
        lines[at + 1..].iter().take_while(is_message).take(PANIC_LINES_MAX).map(|line| line.trim()).collect();
    Some(format!("panicked at {} {}", place.trim_end(), message.join(" ")).trim_end().to_owned())
}

fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().rev().take(LAST_LINES).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const LOG: &str = "\nthread 'main' (81) panicked at src/lib.rs:31:22:\nattempt to subtract\nwith overflow\n\
                       note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n";

    #[test]
    fn of_a_panic_its_place_and_message_are_told_and_of_other_ends_the_last_lines() {
        let told = "panicked at src/lib.rs:31:22: attempt to subtract with overflow";
        assert_eq!(panic_in(LOG).as_deref(), Some(told));
        let traced =
            LOG.replace("note: run with", "stack backtrace:\n   0: rust_begin_unwind\nnote: run with");
        assert_eq!(panic_in(&traced).as_deref(), Some(told));
        let twice =
            format!("thread 'main' panicked at src/main.rs:1:1:\nbefore\n{LOG}error: a thread panicked\n");
        assert_eq!(panic_in(&twice).as_deref(), Some(told));
        assert_eq!(panic_in("WARN a client said: thread 'main' panicked at home\n"), None);
        assert_eq!(last_lines("a\nb\nc\nd\n"), "b | c | d");
    }

    #[test]
    fn what_an_earlier_process_said_is_not_what_this_one_ended_with() {
        let folder = tempfile::tempdir().unwrap();
        let mut member = Member::new(folder.path().join("log"), None);
        std::fs::write(&member.log, LOG).unwrap();
        let of = |member: &Member, status| member.end(2, ExitStatus::from_raw(status));
        let panicked = of(&member, 101 << 8);
        assert!(panicked.panicked && !panicked.by_others, "{panicked:?}");
        assert!(panicked.words.starts_with("(exit status: 101): panicked at src/lib.rs"), "{panicked:?}");
        member.log_before = member.log_bytes();
        std::fs::write(&member.log, format!("{LOG}error: no room\n")).unwrap();
        let other = of(&member, 1 << 8);
        assert!(!other.panicked && other.words == "(exit status: 1): error: no room", "{other:?}");
        assert!(of(&member, SIGKILL).by_others && of(&member, 0).by_others && !of(&member, 6).by_others);
    }
}
