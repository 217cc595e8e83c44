//! The processes of a testbed: started, asked, and gone when the testbed is, however it ends.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use quorate_host::journal::Reserve;
use quorate_node::admin::{self, HistoryHead};
use quorate_node::cluster_file::{ClusterFile, Draft, Preset};
use quorate_node::init::{Admission, Layout, free_addresses, init};
use quorate_node::status::Status;
use quorate_protocol::committee::faults;
use quorate_protocol::types::ReplicaId;
use tokio::process::{Child, Command};

use super::Args;
use super::footprint::{DiskUse, peak_memory};
use super::liars::Liars;
use super::plan::Deed;
use super::verdict::Verdict;

/// A replica's process may take this long to end by itself.
const FAREWELL: Duration = Duration::from_secs(3);

/// One replica's process and where its words go.
struct Member {
    child: Child,
    log: PathBuf,
    state: State,
    footprint: Footprint,
}

/// The most that a replica ever took, whichever process it was.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Footprint {
    /// Bytes; none where the system does not say.
    pub(crate) memory: Option<u64>,
    pub(crate) disk: DiskUse,
}

/// What was done to a replica on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    /// Killed, and not started again.
    Dead,
    /// Stopped (SIGSTOP), and not resumed.
    Paused,
}

/// Replicas as processes of this machine.
pub(crate) struct Cluster {
    file: ClusterFile,
    members: Vec<Member>,
    folder: PathBuf,
    reply_bytes: u32,
    liars: Liars,
    /// Removes the folder when the testbed ends, unless the user named one.
    _temporary: Option<tempfile::TempDir>,
}

impl Cluster {
    /// Makes keys, configuration and data folders, and starts every replica.
    pub(crate) async fn start(args: &Args, preset: Preset, liars: Liars) -> anyhow::Result<Self> {
        let (folder, temporary) = match &args.folder {
            Some(folder) => (folder.clone(), None),
            None => {
                let temporary = tempfile::Builder::new().prefix("quorate-testbed-").tempdir()?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        let mut draft = Draft {
            name: "testbed".to_owned(),
            application: args.application.clone(),
            testing: true,
            allow_f0: false,
            clients: quorate_node::cluster_file::Clients::Open,
            parameters: preset.parameters,
            node: preset.node,
            addresses: free_addresses(args.replicas).context("no free ports on the loopback interface")?,
        };
        draft.node.durability = args.durability;
        let written = init(&folder, draft, Admission::Open, Reserve::Records)?;
        let (file, reply_bytes) = (written.cluster, args.reply_bytes);
        let members = Vec::new();
        let mut cluster = Self { file, members, folder, reply_bytes, liars, _temporary: temporary };
        for id in 0..args.replicas {
            let member = cluster.spawn(ReplicaId(id))?;
            cluster.members.push(member);
        }
        Ok(cluster)
    }

    fn spawn(&self, id: ReplicaId) -> anyhow::Result<Member> {
        let log = self.folder.join(format!("replica-{id}.log"));
        let words = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("cannot write {}", log.display()))?;
        let child = Command::new(std::env::current_exe()?)
            .arg("replica")
            .arg(id.to_string())
            .arg("--cluster")
            .arg(Layout::new(&self.folder).cluster_file())
            .args(["--reply-bytes", &self.reply_bytes.to_string(), "--exit-with-stdin"])
            .args(self.liars.words(id.0))
            .env("QUORATE_LOG", std::env::var_os("QUORATE_LOG").unwrap_or_else(|| "warn".into()))
            // Held open as long as this process lives: its end is how replicas learn that they are alone.
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(words)
            // Ctrl-C in a terminal reaches the whole group; the testbed ends its replicas itself.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start a replica")?;
        Ok(Member { child, log, state: State::Running, footprint: Footprint::default() })
    }

    /// Looks what every replica takes of the machine.
    pub(crate) fn survey(&mut self) {
        let layout = Layout::new(&self.folder);
        for (id, member) in (0..).zip(&mut self.members) {
            let memory = member.child.id().and_then(peak_memory);
            member.footprint.memory = member.footprint.memory.max(memory);
            let disk = DiskUse::of(&layout.data(ReplicaId(id)));
            member.footprint.disk = member.footprint.disk.max(disk);
        }
    }

    /// The most that each replica took at any survey, in order of id.
    pub(crate) fn footprints(&self) -> Vec<Footprint> {
        self.members.iter().map(|member| member.footprint).collect()
    }

    /// Kills replicas, as a power cut would: all of them before any is waited for.
    pub(crate) async fn kill(&mut self, replicas: &[u16]) -> anyhow::Result<()> {
        // Its memory is forgotten with it, and so are its lies.
        self.survey();
        self.hear_confessions(replicas).await;
        for replica in replicas {
            let Some(member) = self.members.get_mut(usize::from(*replica)) else { continue };
            member.child.start_kill().with_context(|| format!("cannot kill replica {replica}"))?;
            member.state = State::Dead;
        }
        for replica in replicas {
            let Some(member) = self.members.get_mut(usize::from(*replica)) else { continue };
            member.child.wait().await.with_context(|| format!("cannot wait for replica {replica}"))?;
        }
        Ok(())
    }

    /// Notes which lies the liars among these have told, before they are gone.
    async fn hear_confessions(&mut self, replicas: &[u16]) {
        for replica in replicas {
            let entry = self.file.replicas().get(usize::from(*replica)).filter(|_| self.lives(*replica));
            let Some(entry) = entry.filter(|entry| self.liars.is_liar(entry.id.0)) else { continue };
            if let Ok(status) = admin::fetch::<Status>(entry.addresses.admin, "/status").await {
                self.liars.note_end(&status);
            }
        }
    }

    /// Starts replicas that were killed.
    pub(crate) fn restart(&mut self, replicas: &[u16]) -> anyhow::Result<()> {
        for replica in replicas {
            let place = usize::from(*replica);
            let footprint = self.members[place].footprint;
            self.members[place] = Member { footprint, ..self.spawn(ReplicaId(*replica))? };
        }
        Ok(())
    }

    /// Stops replicas (SIGSTOP): they keep everything, and do nothing.
    pub(crate) async fn pause(&mut self, replicas: &[u16]) -> anyhow::Result<()> {
        self.signal("STOP", replicas, State::Paused).await
    }

    /// Lets them go on (SIGCONT).
    pub(crate) async fn resume(&mut self, replicas: &[u16]) -> anyhow::Result<()> {
        self.signal("CONT", replicas, State::Running).await
    }

    async fn signal(&mut self, signal: &str, replicas: &[u16], to: State) -> anyhow::Result<()> {
        for replica in replicas {
            let Some(member) = self.members.get_mut(usize::from(*replica)) else { continue };
            // A child that nobody has waited for keeps its id, so the signal reaches no other process.
            let Some(id) = member.child.id() else { continue };
            let sent = Command::new("kill").args(["-s", signal, &id.to_string()]).status().await;
            let sent = sent.context("pausing a replica takes the program `kill`; install it")?;
            if !sent.success() {
                bail!("replica {replica} took no SIG{signal}");
            }
            member.state = to;
        }
        Ok(())
    }

    /// How many replicas there are.
    pub(crate) fn size(&self) -> u16 {
        u16::try_from(self.members.len()).unwrap_or(u16::MAX)
    }

    fn is(&self, replica: u16, state: State) -> bool {
        self.members.get(usize::from(replica)).is_some_and(|member| member.state == state)
    }

    /// Whether a deed can be done to a replica now.
    pub(crate) fn allows(&self, deed: Deed, replica: u16) -> bool {
        match deed {
            Deed::Kill => self.is(replica, State::Running) || self.is(replica, State::Paused),
            Deed::Pause => self.is(replica, State::Running),
            Deed::Restart => self.is(replica, State::Dead),
            Deed::Resume => self.is(replica, State::Paused),
        }
    }

    /// What a replica does, in a word.
    pub(crate) fn standing(&self, replica: u16) -> &'static str {
        match self.members.get(usize::from(replica)).map(|member| member.state) {
            Some(State::Running) => "running",
            Some(State::Dead) | None => "killed",
            Some(State::Paused) => "paused",
        }
    }

    /// Whether a replica should be running.
    pub(crate) fn lives(&self, replica: u16) -> bool {
        self.is(replica, State::Running)
    }

    /// The replicas that were killed or paused and are still gone.
    pub(crate) fn absent(&self) -> Vec<u16> {
        (0..self.size()).filter(|replica| !self.lives(*replica)).collect()
    }

    /// Whether so many replicas run that operations can be answered.
    pub(crate) fn has_quorum(&self) -> bool {
        self.absent().len() <= faults(self.members.len())
    }

    /// Those who lie on purpose.
    pub(crate) fn liars(&self) -> &Liars {
        &self.liars
    }

    pub(crate) fn file(&self) -> &ClusterFile {
        &self.file
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Waits until every replica has a link to every other; nobody waits for a liar's links.
    pub(crate) async fn wait_until_up(&mut self, patience: Duration) -> anyhow::Result<()> {
        let until = Instant::now() + patience;
        loop {
            let statuses = self.statuses().await;
            let honest = self.members.len() - self.liars.ids().len();
            let complete = |status: &Option<Status>| {
                let linked = |status: &Status| {
                    let others = status.links_up.iter().filter(|other| !self.liars.is_liar(**other));
                    self.liars.is_liar(status.replica) || others.count() + 1 == honest
                };
                status.as_ref().is_some_and(linked)
            };
            if statuses.iter().all(complete) {
                return Ok(());
            }
            for member in &mut self.members {
                if let Some(code) = member.child.try_wait()? {
                    bail!("a replica ended at its start ({code}): {}", tail(&member.log));
                }
            }
            if Instant::now() > until {
                bail!("the replicas did not all reach each other within {patience:?}; {}", self.last_words());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What the replicas said last, where one said anything.
    pub(crate) fn last_words(&self) -> String {
        let words = self.members.iter().map(|member| tail(&member.log)).find(|words| !words.is_empty());
        words.unwrap_or_else(|| "the replicas' logs are empty".to_owned())
    }

    /// The status of every replica; none of one that does not answer, or was killed.
    pub(crate) async fn statuses(&self) -> Vec<Option<Status>> {
        let mut statuses = Vec::new();
        for replica in self.file.replicas() {
            statuses.push(match self.lives(replica.id.0) {
                true => admin::fetch(replica.addresses.admin, "/status").await.ok(),
                false => None,
            });
        }
        statuses
    }

    /// The status of every replica once those that run and do not lie have executed the same, or after so long. What is
    /// counted from an earlier moment has operations of before in it, at whoever was a little late.
    pub(crate) async fn at_rest(&self, patience: Duration) -> Vec<Option<Status>> {
        let until = Instant::now() + patience;
        loop {
            let statuses = self.statuses().await;
            let correct = statuses.iter().flatten().filter(|status| self.counts(status.replica));
            let mut executed = correct.map(|status| status.executed);
            let first = executed.next();
            if executed.all(|seq| Some(seq) == first) || Instant::now() > until {
                return statuses;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether something is expected of a replica: that it runs, and does not lie.
    fn counts(&self, replica: u16) -> bool {
        self.lives(replica) && !self.liars.is_liar(replica)
    }

    /// Waits until the replicas that run and do not lie are at rest beyond `highest`, and compares their histories there.
    /// Gives back what all said last.
    pub(crate) async fn verdict(&self, highest: u64, patience: Duration) -> (Vec<Option<Status>>, Verdict) {
        let until = Instant::now() + patience;
        let mut statuses = self.statuses().await;
        let absent = self.absent();
        if absent.len() == self.members.len() {
            return (statuses, Verdict::TooFew(absent));
        }
        loop {
            let silent = (0..).zip(&statuses).filter(|(id, status)| status.is_none() && self.counts(*id));
            let silent: Vec<u16> = silent.map(|(id, _)| id).collect();
            if !silent.is_empty() && Instant::now() > until {
                return (statuses, Verdict::Unreachable(silent));
            }
            let correct = statuses.iter().flatten().filter(|status| self.counts(status.replica));
            let executed = correct.clone().map(|status| status.executed);
            let (least, most) = (executed.clone().min().unwrap_or(0), executed.max().unwrap_or(0));
            if least == most && least >= highest && silent.is_empty() {
                break;
            }
            if Instant::now() > until {
                let behind = correct.filter(|status| status.executed < most.max(highest));
                let behind = behind.map(|status| status.replica).collect();
                return (statuses, Verdict::Behind(behind));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            statuses = self.statuses().await;
        }
        let verdict = if highest == 0 { Verdict::NoProgress } else { self.compare(highest).await };
        (statuses, verdict)
    }

    /// Compares the heads of the histories: equal heads mean equal histories all the way down.
    async fn compare(&self, seq: u64) -> Verdict {
        let mut heads = Vec::new();
        for replica in self.file.replicas().iter().filter(|replica| self.counts(replica.id.0)) {
            let head: Result<HistoryHead, _> =
                admin::fetch(replica.addresses.admin, &format!("/history?seq={seq}")).await;
            match head.ok().and_then(|head| head.head) {
                Some(head) => heads.push((replica.id.0, head)),
                None => return Verdict::Unreachable(vec![replica.id.0]),
            }
        }
        let first = heads.first().map(|(_, head)| head.clone()).unwrap_or_default();
        let others: Vec<u16> = heads.iter().filter(|(_, head)| *head != first).map(|(id, _)| *id).collect();
        let (absent, liars) = (self.absent(), self.liars.ids());
        match others.is_empty() {
            true if self.has_quorum() => Verdict::Agreement { absent, liars },
            true => Verdict::TooFew(absent),
            false => Verdict::Diverged(others),
        }
    }

    /// Ends every replica, gently first.
    pub(crate) async fn stop(&mut self) {
        for member in &mut self.members {
            drop(member.child.stdin.take());
        }
        for member in &mut self.members {
            // Who is stopped sees no end of its input.
            let patience = if member.state == State::Paused { Duration::ZERO } else { FAREWELL };
            if tokio::time::timeout(patience, member.child.wait()).await.is_err() {
                // It is a process that this one started, and it had its time.
                drop(member.child.kill().await);
            }
        }
    }
}

fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(3).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}
