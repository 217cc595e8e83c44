//! Byzantine-fault-tolerant replication: implement one trait, run it on four machines, believe only f + 1 equal replies.
//!
//! Implement [`Application`]: a state, and what a command does to it. Every correct replica executes the same commands
//! in the same order, each once (PBFT, Castro and Liskov, OSDI '99). A [`Client`] sends signed commands and accepts a
//! reply when so many replicas give it that a correct one is among them.

mod client;
mod local;
#[cfg(feature = "program")]
mod program;
mod replica;
#[cfg(feature = "simulation")]
pub mod simulation;

pub use client::{CallError, Client, ConnectError, Outcome, Report};
pub use local::{LocalCluster, LocalError};
#[cfg(feature = "program")]
pub use program::program;
pub use quorate_node::client::{CallStream, Caller};
pub use quorate_node::cluster_file::{ClusterFile, ClusterFileError};
pub use quorate_node::key_file::{self, KeyFileError};
pub use quorate_node::node::NodeError;
pub use quorate_protocol::application::{Application, ApplicationError, Context, Snapshot};
pub use quorate_protocol::client::{Answer, How, Needed, Obstacle, Options, Read, ReplicaSet};
pub use quorate_protocol::crypto::SecretKey;
pub use quorate_protocol::map::{Map, MapError};
pub use quorate_protocol::types::{ClientId, Digest, PublicKey, ReplicaId, Seq, Time, View};
pub use replica::{Replica, RunError};
