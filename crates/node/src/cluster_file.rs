//! The cluster file: one public TOML file that describes a whole cluster, the same on every machine.
//!
//! A [`ClusterFile`] exists only if everything in it was checked: bounds, keys, addresses, and that its id is the
//! hash of its own genesis configuration. What is wrong with a file is said with its line and the fix.

mod error;
mod parameters;
mod parse;
mod preset;
#[cfg(test)]
mod tests;
mod write;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use quorate_protocol::codec;
use quorate_protocol::committee::{Committee, CommitteeError};
use quorate_protocol::crypto::{HashTag, Hasher, SecretKey};
use quorate_protocol::parameters::{Context, Parameters};
use quorate_protocol::types::{ClusterId, Epoch, PublicKey, ReplicaId};

pub(crate) use error::nearest;
pub use error::{ClusterFileError, Problem};
pub use parameters::{NAMES as PARAMETERS, read as read_parameters};
pub use preset::Preset;
pub use quorate_host::journal::Durability;

use crate::sections;

/// Most bytes a cluster file or preset may have.
pub const CLUSTER_FILE_BYTES_MAX: u64 = 8 << 20;
/// Most client keys a cluster file may list.
pub const CLIENTS_MAX: usize = 65_536;
/// Most verifier threads of one replica.
pub const VERIFIER_THREADS_MAX: u16 = 64;

/// A cluster file that was checked.
#[derive(Debug, Clone)]
pub struct ClusterFile {
    name: String,
    application: String,
    id: ClusterId,
    randomness: [u8; 32],
    testing: bool,
    allow_f0: bool,
    clients: Clients,
    node: NodeDefaults,
    replicas: Vec<ReplicaEntry>,
    committee: Arc<Committee>,
    parameters: Arc<Parameters>,
}

/// Who may connect as a client. This is admission at the connection; whether a request is valid is its signature
/// alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clients {
    /// Anybody.
    Open,
    /// The holders of these keys.
    Listed(Vec<PublicKey>),
}

impl Clients {
    /// Whether the holder of `key` may connect.
    #[must_use]
    pub fn admits(&self, key: &PublicKey) -> bool {
        match self {
            Self::Open => true,
            Self::Listed(keys) => keys.contains(key),
        }
    }
}

/// Where one replica listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// For the other replicas, over QUIC.
    pub peer: SocketAddr,
    /// For clients, over QUIC.
    pub client: SocketAddr,
    /// For its operator, over HTTP.
    pub admin: SocketAddr,
}

/// One replica of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaEntry {
    /// Its position in the list.
    pub id: ReplicaId,
    /// Its public key.
    pub key: PublicKey,
    /// Where it listens.
    pub addresses: Addresses,
}

/// Local tuning of a replica, for its own machine: not part of what replicas must have alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeDefaults {
    /// Threads that only check signatures; with 0 the connections' own thread does.
    pub verifier_threads: u16,
    /// Where operations execute.
    pub execution: Execution,
    /// What survives which failure.
    pub durability: Durability,
}

impl Default for NodeDefaults {
    fn default() -> Self {
        Self { verifier_threads: 0, execution: Execution::Shared, durability: Durability::Sync }
    }
}

/// Where operations execute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Execution {
    /// On the thread that steps the protocol: least hand-over, right for few cores and quick operations.
    Shared,
    /// On a thread of its own.
    OwnThread,
}

/// A cluster before it has keys and an identity.
#[derive(Debug, Clone)]
pub struct Draft {
    /// What people call it: letters, digits, `-`, `_` and `.`, at most 64.
    pub name: String,
    /// The application that every replica runs; the same alphabet.
    pub application: String,
    /// Whether replicas accept a Byzantine behaviour.
    pub testing: bool,
    /// Whether fewer than four replicas, which tolerate no Byzantine one, are accepted.
    pub allow_f0: bool,
    /// Who may connect.
    pub clients: Clients,
    /// Protocol constants; timers are rounded down to whole milliseconds, the unit of the file.
    pub parameters: Parameters,
    /// Local tuning.
    pub node: NodeDefaults,
    /// Where each replica listens, in order of id.
    pub addresses: Vec<Addresses>,
}

/// Why no cluster could be generated from a draft.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// Too few replicas, or too many.
    #[error(transparent)]
    Committee(#[from] CommitteeError),
    /// The operating system gave no randomness, and keys are made of nothing else.
    #[error("no randomness for keys: {0}; fix: see why the system's random source is unavailable")]
    Randomness(getrandom::Error),
    /// Something in the draft that no cluster file may say.
    #[error(transparent)]
    Contents(#[from] ClusterFileError),
}

impl ClusterFile {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// [`ClusterFileError`] names the file, the line, the key and the fix.
    pub fn load(path: &Path) -> Result<Self, ClusterFileError> {
        let text = sections::read(path, CLUSTER_FILE_BYTES_MAX);
        let unreadable = |why| ClusterFileError::Unreadable { file: path.to_owned(), why };
        Self::parse(&text.map_err(unreadable)?, path)
    }

    /// Checks the text of a cluster file; `path` is what errors call it.
    ///
    /// # Errors
    /// As [`ClusterFile::load`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ClusterFileError> {
        Ok(parse::cluster_file(text, path)?)
    }

    /// Makes fresh keys for every replica, and the file that names them. The keys are in order of replica id.
    ///
    /// # Errors
    /// [`GenerateError`] says what in the draft cannot be.
    pub fn generate(draft: Draft) -> Result<(Self, Vec<SecretKey>), GenerateError> {
        let mut keys = Vec::with_capacity(draft.addresses.len());
        for _ in &draft.addresses {
            keys.push(SecretKey::from_seed(&random()?));
        }
        let publics: Vec<PublicKey> = keys.iter().map(SecretKey::public).collect();
        Ok((Self::found(draft, &publics)?, keys))
    }

    /// A new cluster of replicas that made their own keys; these are in order of replica id.
    ///
    /// # Errors
    /// [`GenerateError`] says what in the draft cannot be.
    pub fn found(draft: Draft, keys: &[PublicKey]) -> Result<Self, GenerateError> {
        let committee = Arc::new(Committee::new(keys, draft.allow_f0)?);
        let replicas = committee.replicas().zip(keys).zip(draft.addresses);
        let replicas =
            replicas.map(|((id, key), addresses)| ReplicaEntry { id, key: *key, addresses }).collect();
        let mut file = Self {
            name: draft.name,
            application: draft.application,
            id: ClusterId(quorate_protocol::types::Digest::ZERO),
            randomness: random()?,
            testing: draft.testing,
            allow_f0: draft.allow_f0,
            clients: draft.clients,
            node: draft.node,
            replicas,
            committee,
            parameters: Arc::new(parameters::in_milliseconds(draft.parameters)),
        };
        file.id = file.genesis_id();
        // Read back what will be written: a generated file passes every check that a loaded one does.
        Ok(Self::parse(&file.to_toml(), Path::new("the generated cluster file"))?)
    }

    /// The id that follows from the genesis configuration: everything that all replicas must agree on for ever, or
    /// until a reconfiguration. Addresses, admission and local tuning may differ and change.
    fn genesis_id(&self) -> ClusterId {
        let keys: Vec<PublicKey> = self.replicas.iter().map(|replica| replica.key).collect();
        let mut hasher = Hasher::new(HashTag::Cluster);
        let flags = (self.testing, self.allow_f0);
        codec::encode_into(&(&self.name, &self.application, flags, keys, &*self.parameters), &mut hasher);
        hasher.update(&self.randomness);
        ClusterId(hasher.finish())
    }

    /// The file's text, with a comment for everything that is not obvious.
    #[must_use]
    pub fn to_toml(&self) -> String {
        write::to_toml(self)
    }

    /// What a replica, its border and its clients know of the cluster.
    #[must_use]
    pub fn context(&self) -> Context {
        Context {
            cluster: self.id,
            epoch: Epoch(0),
            committee: Arc::clone(&self.committee),
            parameters: Arc::clone(&self.parameters),
        }
    }

    /// One replica, if the cluster has it.
    #[must_use]
    pub fn replica(&self, id: ReplicaId) -> Option<&ReplicaEntry> {
        self.replicas.get(usize::from(id.0))
    }

    /// Every replica, in order of id.
    #[must_use]
    pub fn replicas(&self) -> &[ReplicaEntry] {
        &self.replicas
    }

    /// What people call the cluster.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The application that every replica runs.
    #[must_use]
    pub fn application(&self) -> &str {
        &self.application
    }

    /// The cluster's identity.
    #[must_use]
    pub fn id(&self) -> ClusterId {
        self.id
    }

    /// Whether replicas accept a Byzantine behaviour.
    #[must_use]
    pub fn testing(&self) -> bool {
        self.testing
    }

    /// Who may connect as a client.
    #[must_use]
    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    /// Local tuning, where a replica's operator says nothing else.
    #[must_use]
    pub fn node(&self) -> NodeDefaults {
        self.node
    }
}

/// 32 bytes that nobody else knows.
pub(crate) fn random() -> Result<[u8; 32], GenerateError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(GenerateError::Randomness)?;
    Ok(bytes)
}
