//! How a node starts: the folder, the sockets, the roles.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use quorate_host::execution::Execution;
use quorate_host::host::Host;
use quorate_host::journal::Durability;
use quorate_host::start::{Life, StartError, Started, begin};
use quorate_host::superblock::{Identity, Superblock};
use quorate_protocol::parameters::Context;
use quorate_protocol::signed::Signer;
use quorate_protocol::types::{Seq, View};
use quorate_protocol::verify::{Checks, Verifier};
use tokio::sync::mpsc;

use crate::admin;
use crate::clock::Clock;
use crate::cluster_file::{Clients, Execution as ExecutionLayout};
use crate::file_disk::FileDisk;
use crate::roles::{Executing, JournalReport, Returns, Storing, Verification, Writing};
use crate::transport::{self, Admission, Limits, TransportConfig};

use super::{INBOX_MAX, Links, Node, NodeConfig, NodeError, Progress};

impl Node<FileDisk> {
    /// Opens the data folder, binds the addresses, and starts to answer; [`Node::run`] does the rest.
    ///
    /// # Errors
    /// [`NodeError`] names what is wrong and what to do about it.
    pub async fn start(config: NodeConfig) -> Result<Self, NodeError> {
        let NodeConfig { cluster, id, key, data, machine, tuning, mut sins, emulation } = config;
        let entry = cluster.replica(id).ok_or(NodeError::NoSuchReplica(id))?.clone();
        if !sins.is_empty() && !cluster.testing() {
            return Err(NodeError::NotTesting { replica: id, sins });
        }
        if emulation.is_some() && !cluster.testing() {
            return Err(NodeError::EmulationNotTesting { replica: id });
        }
        let machine = sins.corrupt_machine(machine);
        let context = cluster.context();
        let identity = Identity { cluster: context.cluster, replica: id, key: key.public() };
        let clock = Clock::default();
        if !data.is_dir() {
            return Err(NodeError::NoFolder { path: data });
        }
        let life = Life { context: context.clone(), identity, durability: tuning.durability };
        let (back, returns) = mpsc::unbounded_channel();
        let (folder, now) = (data.clone(), clock.now());
        let (storing, started) = Storing::begin(&back, move || {
            let disk = FileDisk::open(&folder).map_err(StartError::Disk)?;
            begin(disk, life, machine, now)
        })?;
        let started = started.map_err(|why| NodeError::Folder { path: data.clone(), why: Box::new(why) })?;
        let (forgot, mended) = (started.report.amnesia, mended(&started));
        let peer_socket = transport::bind(entry.addresses.peer)?;
        let client_socket = transport::bind(entry.addresses.client)?;
        let (inbound, inbox) = mpsc::channel(INBOX_MAX);
        let progress = Arc::new(Progress::default());
        let standing = {
            let progress = Arc::clone(&progress);
            Arc::new(move || {
                (Seq(progress.executed.load(Ordering::Relaxed)), View(progress.view.load(Ordering::Relaxed)))
            })
        };
        let key = Arc::new(key);
        let transport = transport::start(
            TransportConfig {
                context: context.clone(),
                id,
                key: Arc::clone(&key),
                peer_addresses: cluster.replicas().iter().map(|replica| replica.addresses.peer).collect(),
                peer_socket,
                client_socket,
                admission: match cluster.clients() {
                    Clients::Open => Admission::Open,
                    Clients::Listed(keys) => Admission::Listed(keys.iter().copied().collect::<BTreeSet<_>>()),
                },
                limits: Limits::default(),
                emulation: emulation.clone(),
                standing,
            },
            inbound,
        )
        .await?;
        let (asks, questions) = mpsc::channel(64);
        let admin = admin::serve(entry.addresses.admin, asks)
            .await
            .map_err(|error| NodeError::Admin { address: entry.addresses.admin, error })?;
        let Started { replica, executor, effects, journal, writer, accused, .. } = started;
        if let Some(words) = super::amnesia::words(&replica, forgot) {
            tracing::warn!("{words}");
        }
        let told_amnesia = !replica.is_bound();
        let mut warnings: Vec<String> = transport.warnings().iter().map(ToString::to_string).collect();
        warnings.extend(slow_signatures());
        warnings.extend(mended);
        warnings.extend(super::control::liar(&sins));
        if emulation.is_some() {
            warnings.push("its network is an emulated one, which delays and loses on purpose".to_owned());
        }
        let mut host = Host::new(replica, Signer::new(key, context.cluster, context.epoch, id), journal);
        let mut links =
            Links { transport, keys: BTreeMap::new(), clients: BTreeMap::new(), cut: BTreeSet::new() };
        sins.corrupt(&mut host, &context, clock.now());
        host.recall(accused);
        host.resume(clock.now(), effects, &mut links);
        let shown = super::live::Shown::new(clock.now(), host.replica());
        let execution = Execution::new(executor, &context.parameters);
        Ok(Self {
            started: clock.now(),
            told_view: (View(0), true),
            told_behind: 0,
            clock,
            host,
            links,
            peers: super::peers::Peers::default(),
            verification: verification(&context, tuning.verifier_threads, &back)?,
            executing: match tuning.execution {
                ExecutionLayout::Shared => Executing::Here(Box::new(execution)),
                ExecutionLayout::OwnThread => Executing::thread(execution, back.clone())?,
            },
            writing: match tuning.durability {
                Durability::Sync => Writing::thread(writer, back.clone())?,
                Durability::Os | Durability::None => Writing::here(writer),
            },
            storing,
            inbox,
            returns,
            questions,
            progress,
            refused_frames: 0,
            invalid_logged: 0,
            checks: vec![Checks::default(); usize::from(tuning.verifier_threads.max(1))],
            journal: JournalReport::default(),
            alarms: Vec::new(),
            alarmed: super::counted::AlarmCounts::default(),
            followed: super::following::Followed::default(),
            data: std::path::absolute(&data).unwrap_or(data),
            warnings,
            forgot,
            told_amnesia,
            durability: tuning.durability,
            sins,
            emulation,
            admin,
            shown,
            orders: None,
            testing: cluster.testing(),
            _back: back,
        })
    }
}

/// What of the folder was damaged, and could be mended.
fn mended(started: &Started<FileDisk>) -> Vec<String> {
    let (copies, pieces) = (started.superblock_copies, started.report.repaired);
    let mut mended = Vec::new();
    if copies < Superblock::COPIES {
        let all = Superblock::COPIES;
        mended.push(format!(
            "only {copies} of {all} copies of the superblock were good; the others are mended; look after the disk"
        ));
    }
    if pieces > 0 {
        let words = "damaged in one of two copies of the journal, and mended";
        mended.push(format!("{words}: {pieces} of its pieces; look after the disk"));
    }
    if !started.report.missing_bodies.is_empty() {
        let lost = started.report.missing_bodies.len();
        mended.push(format!("batches that the journal lost, and that others are asked for: {lost}"));
    }
    if let Some(seq) = started.lost_state {
        let words = "is damaged, and was fetched from the other replicas or will be";
        mended.push(format!("the state at sequence {seq} in the data folder {words}"));
    }
    mended
}

fn verification(context: &Context, threads: u16, returns: &Returns) -> Result<Verification, NodeError> {
    let verifier = || {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(NodeError::Randomness)?;
        Ok::<_, NodeError>(Verifier::new(context.clone(), secret))
    };
    if threads == 0 {
        return Ok(Verification::Here(Box::new(verifier()?)));
    }
    let verifiers = (0..threads).map(|_| verifier()).collect::<Result<Vec<_>, _>>()?;
    Ok(Verification::threads(verifiers, returns)?)
}

/// The fast backend is a matter of one line in `.cargo/config.toml`; without it every signature costs twice as much.
fn slow_signatures() -> Option<String> {
    let built = cfg!(curve25519_dalek_backend = "avx512") || !cfg!(target_arch = "x86_64");
    (!built).then(|| {
        "built without the fast signature backend; build with \
         RUSTFLAGS='--cfg curve25519_dalek_backend=\"avx512\"' or keep .cargo/config.toml"
            .to_owned()
    })
}
