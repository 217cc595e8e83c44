//! `quorate replica`: one replica, until it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use quorate_node::cluster_file::{Addresses, ClusterFile, Durability};
use quorate_node::emulation::{Emulation, EmulationFile};
use quorate_node::init::Layout;
use quorate_node::key_file;
use quorate_node::node::{Node, NodeConfig};
use quorate_node::sins::Sins;
use quorate_protocol::types::ReplicaId;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use crate::controlled::{Listener, ORDERS_MAX};
use crate::own::{self, Own};

const EXAMPLES: &str = "Examples:
  quorate replica 0                              replica 0 of ./cluster.toml
  quorate replica 2 --cluster prod/cluster.toml  key and data are looked for beside the cluster file

SIGTERM or Ctrl-C stops it in good order: a primary hands its view over to the next one first, which takes little more
than the cluster's base timeout at most, and clients turn to the others at once. A second signal ends it at once.
Exit codes: 0 stopped as it was told; 1 it could not start, or must not go on.";

/// Arguments of `quorate replica`.
#[derive(Debug, clap::Args)]
#[command(after_help = help())]
pub(crate) struct Args {
    /// Which replica of the cluster file, counted from 0
    id: u16,
    /// The cluster file
    #[arg(long, default_value = "cluster.toml")]
    cluster: PathBuf,
    /// The replica's key file [default: keys/replica-ID.pem beside the cluster file]
    #[arg(long)]
    key: Option<PathBuf>,
    /// The replica's data folder, made by `quorate init` [default: data/replica-ID beside the cluster file]
    #[arg(long)]
    data: Option<PathBuf>,
    /// What a promise waits for before it leaves: sync (the disk has it), os (the system has it; lost with the power) or
    /// none [default: the cluster file's]
    #[arg(long)]
    durability: Option<Durability>,
    /// Bytes of each reply of the application `null`
    #[arg(long, default_value_t = 0)]
    reply_bytes: usize,
    /// Lie: one of the behaviours below, or several joined by `+`; only in a cluster that `quorate init --testing` made
    #[cfg(feature = "byzantine")]
    #[arg(long, value_name = "BEHAVIOUR")]
    byzantine: Vec<String>,
    /// Where the chance in lies comes from; replicas with one seed collude
    #[cfg(feature = "byzantine")]
    #[arg(long, default_value_t = 1)]
    byzantine_seed: u64,
    /// Emulate the network that this file tells of on everything sent; only in a cluster that `quorate init --testing`
    /// made
    #[arg(long, value_name = "FILE")]
    emulate: Option<PathBuf>,
    /// Give way to other processes of this machine: 0 not at all, 19 the most
    #[arg(long, value_name = "LEVEL", default_value_t = 0, value_parser = clap::value_parser!(u8).range(..=19))]
    nice: u8,
    /// Stop when standard input ends, as it does when whoever started this replica is gone
    #[arg(long)]
    exit_with_stdin: bool,
    /// Take orders from standard input, a line each, as a testbed gives them
    #[arg(long, hide = true)]
    controlled: bool,
    /// The application of the program that this is
    #[arg(skip)]
    pub(crate) own: Option<Own>,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    crate::survive_file_size_limits()?;
    crate::give_way(args.nice)?;
    let (sins, seed) = (sins(&args)?, seed(&args));
    let emulation = args.emulate.as_deref().map(EmulationFile::load).transpose()?.map(Emulation::new);
    let cluster = ClusterFile::load(&args.cluster)?;
    let id = ReplicaId(args.id);
    let folder = args.cluster.parent().filter(|folder| !folder.as_os_str().is_empty());
    let layout = Layout::new(folder.unwrap_or_else(|| std::path::Path::new(".")));
    let key = key_file::load_for(&args.key.unwrap_or_else(|| layout.replica_key(id)), &cluster, id)?;
    let data = args.data.unwrap_or_else(|| layout.data(id));
    let own = args.own.as_ref();
    let machine = own::machine(own, cluster.application(), args.reply_bytes).with_context(|| {
        let (file, known) = (args.cluster.display(), own::names(own));
        let (application, usual) = (cluster.application(), own::usual(own));
        format!(
            "{file}: its application is `{application}`, and this program has only {known}; fix: run the program that \
             has `{application}`, or make another cluster with `quorate init --application {usual}`: the application is \
             part of a cluster's id, so it cannot be changed in the file"
        )
    })?;
    let mut tuning = cluster.node();
    tuning.durability = args.durability.unwrap_or(tuning.durability);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let addresses = cluster.replica(id).map(|entry| entry.addresses);
        let folder = data.clone();
        let replicas = u16::try_from(cluster.replicas().len()).unwrap_or(u16::MAX);
        let config = NodeConfig { cluster, id, key, data, machine, tuning, sins, emulation };
        let mut node = Node::start(config).await?;
        let mut listener = None;
        if args.controlled {
            let (orders, received) = mpsc::channel(ORDERS_MAX);
            node = node.controlled(received);
            listener = Some(Listener { orders, replicas, seed });
        }
        for warning in node.warnings() {
            tracing::warn!("{warning}");
        }
        if let Some(Addresses { peer, client, admin }) = addresses {
            tracing::info!(replica = id.0, %peer, %client, %admin, durability = %tuning.durability, "serving");
        }
        let (stop, at_once) = orders(args.exit_with_stdin, listener)?;
        node.run(stop, at_once).await.with_context(|| folder.display().to_string())?;
        tracing::info!(replica = id.0, "stopped");
        Ok(ExitCode::SUCCESS)
    })
}

#[cfg(feature = "byzantine")]
fn sins(args: &Args) -> anyhow::Result<Sins> {
    let sins = Sins::new(crate::byzantine::all_sins(&args.byzantine)?, args.byzantine_seed);
    Ok(if args.controlled { sins.switchable() } else { sins })
}

#[cfg(feature = "byzantine")]
fn seed(args: &Args) -> u64 {
    args.byzantine_seed
}

#[cfg(not(feature = "byzantine"))]
fn seed(_args: &Args) -> u64 {
    0
}

#[cfg(not(feature = "byzantine"))]
fn sins(_args: &Args) -> anyhow::Result<Sins> {
    Ok(Sins::default())
}

fn help() -> String {
    #[cfg(feature = "byzantine")]
    return format!("{EXAMPLES}\n\n{}", crate::byzantine::listed());
    #[cfg(not(feature = "byzantine"))]
    return EXAMPLES.to_owned();
}

/// Ready when to stop in good order, at the first signal; and when to stop at once, at the second, or when whoever started
/// this replica is gone.
fn orders(
    exit_with_stdin: bool,
    listener: Option<Listener>,
) -> std::io::Result<(impl Future<Output = ()>, impl Future<Output = ()>)> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (first, stop) = oneshot::channel::<()>();
    let (second, at_once) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let mut orphaned = std::pin::pin!(orphaned(exit_with_stdin, listener));
        let mut first = Some(first);
        loop {
            tokio::select! {
                () = &mut orphaned => break,
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            let Some(first) = first.take() else { break };
            // Nobody waits for it if the replica has stopped by itself.
            let _ = first.send(());
        }
        let _ = second.send(());
    });
    Ok((async { drop(stop.await) }, async { drop(at_once.await) }))
}

/// Ready when standard input ends, if that is what is waited for. What comes in before is for the listener.
async fn orphaned(exit_with_stdin: bool, listener: Option<Listener>) {
    let (gone, orphaned) = tokio::sync::oneshot::channel::<()>();
    if exit_with_stdin || listener.is_some() {
        std::thread::spawn(move || {
            // The read ends when the other end is closed, however its owner died.
            match listener {
                Some(listener) => listener.listen(std::io::stdin().lock()),
                None => drop(std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())),
            }
            if exit_with_stdin {
                drop(gone);
            } else {
                std::mem::forget(gone);
            }
        });
    } else {
        std::mem::forget(gone);
    }
    drop(orphaned.await);
}

/// Ready when somebody wants this program to stop.
pub(crate) async fn stop(exit_with_stdin: bool) {
    let terminate = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = orphaned(exit_with_stdin, None) => {}
        () = terminate => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
