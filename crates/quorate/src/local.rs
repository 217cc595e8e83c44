//! A cluster within one process: real replicas with real keys over real QUIC on the loopback interface.

use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use quorate_host::journal::Reserve;
use quorate_node::cluster_file::{Clients, ClusterFile, Draft, NodeDefaults};
use quorate_node::init::{Admission, InitError, Written, free_addresses, init};
use quorate_protocol::application::Application;
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::parameters::Parameters;
use tokio::sync::oneshot;

use crate::client::{Client, ConnectError};
use crate::replica::{Replica, RunError};

/// How long a replica may take to end when it is told to.
const FAREWELL: Duration = Duration::from_secs(10);

/// Why there is no local cluster.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// It could not be made.
    #[error(transparent)]
    Init(#[from] InitError),
    /// No folder, no ports or no thread for it.
    #[error("a local cluster needs a temporary folder, free ports and a thread for each replica: {0}")]
    System(#[from] std::io::Error),
    /// The operating system gave no randomness.
    #[error("no randomness for a client's key: {0}")]
    Randomness(getrandom::Error),
    /// A client could not start.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// A replica ended.
    #[error("a replica ended: {0}")]
    Replica(#[from] RunError),
}

/// Replicas of one application, each on a thread of its own, in a temporary folder. For trials, examples and tests:
/// all of it ends with the value. `quorate init` and [`Replica`] are for clusters that stay.
#[derive(Debug)]
pub struct LocalCluster {
    file: ClusterFile,
    replicas: Vec<Running>,
    _folder: tempfile::TempDir,
}

#[derive(Debug)]
struct Running {
    stop: Option<oneshot::Sender<()>>,
    thread: JoinHandle<Result<(), RunError>>,
}

impl LocalCluster {
    /// Starts `n` replicas of an application in its first state.
    ///
    /// # Errors
    /// [`LocalError`].
    pub fn start<A: Application + Default>(n: u16) -> Result<Self, LocalError> {
        let folder = tempfile::Builder::new().prefix("quorate-").tempdir()?;
        let draft = Draft {
            name: "local".to_owned(),
            application: "own".to_owned(),
            testing: true,
            allow_f0: n < 4,
            clients: Clients::Open,
            parameters: Parameters::default(),
            node: NodeDefaults::default(),
            addresses: free_addresses(n)?,
        };
        let Written { cluster, layout, .. } = init(folder.path(), draft, Admission::Open, Reserve::Records)?;
        let path = layout.cluster_file();
        let replicas = (0..n).map(|id| start_one::<A>(path.clone(), id)).collect::<Result<_, _>>()?;
        Ok(Self { file: cluster, replicas, _folder: folder })
    }

    /// The cluster's public file.
    #[must_use]
    pub fn file(&self) -> &ClusterFile {
        &self.file
    }

    /// A new client, with a key of its own.
    ///
    /// # Errors
    /// [`LocalError::Connect`] or [`LocalError::Randomness`].
    pub async fn client<A: Application>(&self) -> Result<Client<A>, LocalError> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(LocalError::Randomness)?;
        Ok(Client::connect(&self.file, SecretKey::from_seed(&seed)).await?)
    }

    /// Stops one replica, as a crash would for the others. The rest goes on while a quorum is left.
    ///
    /// # Errors
    /// What the replica ended with, if it ended by itself before.
    pub fn stop_replica(&mut self, id: u16) -> Result<(), LocalError> {
        match self.replicas.get_mut(usize::from(id)).and_then(|running| running.stop.take()) {
            Some(stop) => drop(stop.send(())),
            None => return Ok(()),
        }
        Ok(())
    }
}

fn start_one<A: Application + Default>(cluster: PathBuf, id: u16) -> Result<Running, std::io::Error> {
    let (stop, stopped) = oneshot::channel();
    let body = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| RunError::Node(error.into()))?;
        let done = runtime.block_on(Replica::new(&cluster, id).run(A::default(), async {
            // An error means that the cluster is gone, which is an end as well.
            drop(stopped.await);
        }));
        runtime.shutdown_timeout(FAREWELL);
        done
    };
    let thread = std::thread::Builder::new().name(format!("replica {id}")).spawn(body)?;
    Ok(Running { stop: Some(stop), thread })
}

impl Drop for LocalCluster {
    fn drop(&mut self) {
        for running in &mut self.replicas {
            drop(running.stop.take());
        }
        for running in self.replicas.drain(..) {
            // A replica that panicked has said so; nobody is left to be told otherwise.
            drop(running.thread.join());
        }
    }
}
