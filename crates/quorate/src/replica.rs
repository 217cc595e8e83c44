//! A replica of an application of one's own.

use std::path::{Path, PathBuf};

use quorate_node::cluster_file::{ClusterFile, ClusterFileError, NodeDefaults};
use quorate_node::init::Layout;
use quorate_node::key_file::{self, KeyFileError};
use quorate_node::node::{Node, NodeConfig, NodeError};
use quorate_node::sins::Sins;
use quorate_protocol::application::{Application, machine};
use quorate_protocol::types::ReplicaId;

/// Why a replica did not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The cluster file.
    #[error(transparent)]
    Cluster(#[from] ClusterFileError),
    /// The key file.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The replica itself.
    #[error(transparent)]
    Node(#[from] NodeError),
}

/// One replica of a cluster that `quorate init` has made, ready to run an application.
#[derive(Debug, Clone)]
pub struct Replica {
    cluster: PathBuf,
    id: ReplicaId,
    tuning: Option<NodeDefaults>,
}

impl Replica {
    /// The replica `id` of the cluster file at `cluster`. Its key and data folder lie beside that file, as
    /// `quorate init` put them.
    #[must_use]
    pub fn new(cluster: &Path, id: u16) -> Self {
        Self { cluster: cluster.to_owned(), id: ReplicaId(id), tuning: None }
    }

    /// Local tuning other than the cluster file's.
    #[must_use]
    pub fn with_tuning(self, tuning: NodeDefaults) -> Self {
        Self { tuning: Some(tuning), ..self }
    }

    /// Runs `application` until `stop` is ready, and then until another replica leads in the place of this one, for little
    /// more than the cluster's base timeout at most. Call it on a runtime of one thread, which it has for itself.
    ///
    /// # Errors
    /// [`RunError`] says what is wrong and what to do about it.
    pub async fn run<A: Application>(
        self,
        application: A,
        stop: impl Future<Output = ()>,
    ) -> Result<(), RunError> {
        let cluster = ClusterFile::load(&self.cluster)?;
        let folder = self.cluster.parent().filter(|folder| !folder.as_os_str().is_empty());
        let layout = Layout::new(folder.unwrap_or(Path::new(".")));
        let key = key_file::load_for(&layout.replica_key(self.id), &cluster, self.id)?;
        let tuning = self.tuning.unwrap_or_else(|| cluster.node());
        let data = layout.data(self.id);
        let (id, machine, sins) = (self.id, machine(application), Sins::default());
        let config = NodeConfig { cluster, id, key, data, machine, tuning, sins, emulation: None };
        Node::start(config).await?.run(stop, std::future::pending()).await?;
        Ok(())
    }
}
