//! The live page of a testbed, and its recording: what every replica says of itself, on one clock, with what the clients
//! get and what is done to the cluster; and the commands that a person gives at the page.

mod clock;
mod collector;
mod deeds;
mod stage;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use quorate_bench::cluster::{Cluster, Deed};
use quorate_bench::load::Live;
use quorate_host::live::{About, Excerpt, Header, Load, Moment, Source as Recorder, VERSION, Weight};
use quorate_node::cluster_file::ClusterFile;
use quorate_node::live::{COMMANDS, Deed as Command, Server, Source};
use quorate_protocol::committee::{faults, quorum};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use self::deeds::Broken;
pub(super) use self::deeds::PageDeed;
use self::stage::{Shared, Stage, wall_us};
use super::Args;
use super::faults::{ASKED_MAX, Faults, milliseconds};
use super::table::Sample;
use crate::recording::{BYTES_MAX, RecordingFile};

/// Commands that may wait for the one before them.
const WAITING_MAX: usize = 4;
/// How long a command may take: a replica that is started reads its journal first.
const OBEYED: Duration = Duration::from_secs(15);
/// A page that asked this recently is open.
const OPEN: Duration = Duration::from_secs(3);
/// How long the last words wait for a page to fetch them; one that nobody looks at asks every two seconds.
const LAST_WORDS: Duration = Duration::from_millis(2_500);
/// Between two looks whether it has.
const LOOK: Duration = Duration::from_millis(50);

/// What somebody at the page wants, and where the answer goes.
#[derive(Debug)]
pub(super) struct Asked {
    command: Command,
    answer: oneshot::Sender<Result<String, String>>,
}

/// What the server shows, and where commands go.
struct Door {
    stage: Shared,
    asked: mpsc::Sender<Asked>,
    /// Whether somebody carries out commands: not before the clients are there, and not after the end.
    open: Arc<AtomicBool>,
}

impl Source for Door {
    async fn excerpt(&self, from: u64) -> Option<Excerpt> {
        Some(self.stage.lock().excerpt(from))
    }

    fn control(&self) -> bool {
        true
    }

    async fn obey(&self, command: Command) -> Result<String, String> {
        if !self.open.load(Ordering::Relaxed) {
            return Err("the run has not begun, or is over; try again when clients are answered".to_owned());
        }
        let (answer, answered) = oneshot::channel();
        let full = |_| "too many commands at once; wait for those before to be done".to_owned();
        self.asked.try_send(Asked { command, answer }).map_err(full)?;
        match tokio::time::timeout(OBEYED, answered).await {
            Ok(Ok(done)) => done,
            Ok(Err(_)) => Err("the run ended before this could be done; start another testbed".to_owned()),
            Err(_) => Err(format!("not done within {} s; see what the page shows", OBEYED.as_secs())),
        }
    }
}

/// The page and the recording of a run, as far as either was asked for.
pub(super) struct Web {
    stage: Shared,
    server: Option<Server>,
    asked: mpsc::Receiver<Asked>,
    open: Arc<AtomicBool>,
    followers: JoinSet<()>,
    /// When the load began.
    began: Instant,
    /// What was done at the page.
    page_deeds: Vec<PageDeed>,
    /// Deeds and dissents that were told of.
    deeds: usize,
    dissents: Vec<u64>,
    broken: Broken,
    /// What was promised no more at any time, and stays so.
    lost: Option<String>,
}

impl Web {
    /// Makes the recording's file and binds the page's port, before anything else is started; nothing if neither was
    /// asked for.
    pub(super) async fn open(args: &Args) -> anyhow::Result<Option<Self>> {
        if args.web.is_none() && args.record.is_none() {
            return Ok(None);
        }
        let header = header(args);
        // In a file there is nothing to command.
        let recorded = Header { control: false, commands: Vec::new(), ..header.clone() };
        let most = args.record_max.unwrap_or(BYTES_MAX);
        let record = |path| RecordingFile::create(path, most, &recorded);
        let file = args.record.as_deref().map(record).transpose()?;
        let stage = Shared::new(Stage::new(header, file));
        let (sender, asked) = mpsc::channel(WAITING_MAX);
        let open = Arc::new(AtomicBool::new(false));
        let server = match args.web {
            Some(port) => {
                let door = Door { stage: stage.clone(), asked: sender, open: Arc::clone(&open) };
                Some(Server::start(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), Arc::new(door)).await?)
            }
            None => None,
        };
        let (followers, dissents) = (JoinSet::new(), vec![0; usize::from(args.replicas)]);
        Ok(Some(Self {
            stage,
            server,
            asked,
            open,
            followers,
            began: Instant::now(),
            page_deeds: Vec::new(),
            deeds: 0,
            dissents,
            broken: Broken::default(),
            lost: None,
        }))
    }

    /// Where the page is, with the token that opens it.
    pub(super) fn url(&self) -> Option<String> {
        self.server.as_ref().map(Server::url)
    }

    /// The replicas are being started.
    pub(super) fn follow(&mut self, file: &ClusterFile) {
        let addresses: Vec<SocketAddr> =
            file.replicas().iter().map(|replica| replica.addresses.admin).collect();
        self.followers = collector::follow(&self.stage, &addresses);
    }

    /// The load begins: from now on commands are carried out.
    pub(super) fn begin(&mut self) {
        self.began = Instant::now();
        self.open.store(true, Ordering::Relaxed);
        self.stage.lock().happened(None, Weight::Note, "the clients begin".to_owned());
    }

    /// What somebody at the page wants next.
    pub(super) async fn asked(&mut self) -> Asked {
        match self.asked.recv().await {
            Some(asked) => asked,
            // Nobody can ask any more.
            None => std::future::pending().await,
        }
    }

    /// Carries out a command, and answers whoever gave it.
    pub(super) async fn obey(
        &mut self,
        asked: Asked,
        (cluster, faults): (&mut Cluster, &mut Faults),
        live: &Live,
    ) {
        let Asked { command, answer } = asked;
        let at_ms = milliseconds(self.began.elapsed());
        let done = if self.page_deeds.len() < ASKED_MAX {
            deeds::carry_out(&command, (cluster, faults), live).await
        } else {
            Err(format!("{ASKED_MAX} deeds are enough for one run; start another"))
        };
        // Whom a replica is told to be it says itself, and who is killed is told with the other faults.
        if let (Ok(done), Command::Partition { .. } | Command::Heal) = (&done, &command) {
            self.stage.lock().happened(None, Weight::Deed, done.clone());
        }
        if let Ok(done) = &done {
            self.page_deeds.push(PageDeed { at_ms, command, done: done.clone() });
        }
        self.note(cluster, faults);
        // Whoever closed the page does not wait for it.
        drop(answer.send(done));
    }

    /// Tells what was done to replicas since this was last called, and what it means.
    pub(super) fn note(&mut self, cluster: &Cluster, faults: &Faults) {
        let mut stage = self.stage.lock();
        for (deed, replicas) in faults.after(self.deeds) {
            for replica in replicas {
                match deed {
                    Deed::Kill | Deed::Stop => stage.struck(*replica, true),
                    Deed::Restart => stage.struck(*replica, false),
                    // Its silence is what there is to see of it.
                    Deed::Pause | Deed::Resume => {}
                }
                stage.happened(Some(*replica), Weight::Deed, format!("{} replica {replica}", deed.done()));
            }
        }
        self.deeds = faults.count();
        let broken = Broken::of(cluster);
        if broken != self.broken {
            if broken.agreement != self.broken.agreement
                && let Some(what) = &broken.agreement
            {
                stage.happened(None, Weight::Alarm, what.clone());
                self.lost = Some(what.clone());
            }
            match (&self.broken.answers, &broken.answers) {
                (_, Some(what)) if broken.answers != self.broken.answers => {
                    stage.happened(None, Weight::Warning, what.clone());
                }
                (Some(_), None) if broken.agreement.is_none() => {
                    let what =
                        "enough honest replicas reach each other again: answers are promised".to_owned();
                    stage.happened(None, Weight::Note, what);
                }
                _ => {}
            }
            self.broken = broken;
        }
    }

    /// What the clients got since the last sample, and who answered otherwise than the others. Writes what the file
    /// lacks.
    pub(super) fn sample(&mut self, sample: &Sample, live: &Live) {
        let mut stage = self.stage.lock();
        let some = |us: u64| (us > 0).then_some(us);
        let load = Load {
            t: stage.now_us(),
            per_second: sample.per_second,
            p50_us: some(sample.p50_us),
            p99_us: some(sample.p99_us),
            done: sample.done,
            in_flight: sample.in_flight,
            failed: sample.failed,
        };
        stage.push(Moment::Load(load));
        for (replica, (count, seq)) in live.dissents() {
            let Some(told) = self.dissents.get_mut(usize::from(replica)).filter(|told| **told < count) else {
                continue;
            };
            let says = format!("{} other answers than enough replicas gave alike", count - *told);
            *told = count;
            stage.disagrees(replica, seq, (About::Reply, says, "what clients accepted".to_owned()));
        }
        if let Some(trouble) = stage.flush() {
            eprintln!("warning: {trouble}");
        }
    }

    /// The load is over: no command is carried out any more, and whoever is parted is brought together, for a verdict on
    /// replicas that cannot hear each other would be one on that.
    pub(super) async fn end(&mut self, cluster: &mut Cluster) {
        self.open.store(false, Ordering::Relaxed);
        if cluster.parted().is_some() {
            // One that cannot be told is one that the verdict will not find.
            drop(cluster.heal().await);
            let what = "the load is over: mended all links for the verdict".to_owned();
            self.stage.lock().happened(None, Weight::Deed, what);
        }
    }

    /// The verdict is there; what replicas say while they are stopped is no part of the run.
    pub(super) fn rest(&mut self) {
        self.followers.abort_all();
    }

    /// What was done at the page.
    pub(super) fn page_deeds(&self) -> Vec<PageDeed> {
        self.page_deeds.clone()
    }

    /// What was promised until more lied than the cluster bears.
    pub(super) fn lost(&self) -> Option<String> {
        self.lost.clone()
    }

    /// Ends the recording with the verdict, shows it to a page that is open, and says where the recording is.
    async fn finish(self, lines: Vec<String>) {
        let trouble = {
            let mut stage = self.stage.lock();
            let t = stage.now_us();
            stage.push(Moment::Verdict { t, lines });
            stage.flush()
        };
        if let Some(trouble) = trouble {
            eprintln!("warning: {trouble}");
        }
        if let Some(file) = self.stage.lock().file() {
            let (path, size) = (file.path(), super::amount::told(file.bytes()));
            let look = format!("{} view {}", crate::program(), crate::quoted(&path.to_string_lossy()));
            eprintln!("recording: {} ({size}); {look}", path.display());
        }
        let until = tokio::time::Instant::now() + LAST_WORDS;
        while self.server.is_some() && tokio::time::Instant::now() < until {
            let shown = self.stage.lock().shown();
            let waits = shown.is_some_and(|(at, all)| at.elapsed() < OPEN && !all);
            if !waits {
                break;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Ends the recording and the page, if there are any, with these last words.
pub(super) async fn finish(web: Option<Web>, words: String) {
    if let Some(web) = web {
        web.finish(words.lines().map(str::to_owned).collect()).await;
    }
}

/// What the recording is of.
fn header(args: &Args) -> Header {
    let n = usize::from(args.replicas);
    let small = |number: usize| u16::try_from(number).unwrap_or(u16::MAX);
    Header {
        version: VERSION,
        source: Recorder::Testbed,
        title: format!("testbed of {n} replicas, application {}", args.application),
        n: args.replicas,
        f: small(faults(n)),
        q: small(quorum(n)),
        control: args.web.is_some(),
        commands: if args.web.is_some() { COMMANDS.map(str::to_owned).into() } else { Vec::new() },
        behaviours: deeds::behaviours(),
        began: wall_us(),
        over: false,
    }
}
