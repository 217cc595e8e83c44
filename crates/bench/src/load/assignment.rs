//! Load as a machine is told of it, which may be another one than decides about it.

use std::net::IpAddr;
use std::time::Duration;

use quorate_node::cluster_file::ClusterFile;
use serde::{Deserialize, Serialize};

use super::{LoadConfig, Manner, Source, Workload};

/// Which clients a machine is to run, and what they ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// What they ask.
    pub workload: Workload,
    /// Independent clients, each with a key of its own.
    pub clients: u16,
    /// Calls that each keeps in flight; at a rate, whether it may have more is in its manner.
    pub in_flight: u16,
    /// Most operations the client library puts under one signature.
    pub bundle: u16,
    /// Bytes of each operation, about.
    pub payload: u32,
    /// Where they sit, and who signs badly beside them.
    pub manner: Manner,
    /// How long each may take to get a session, in milliseconds.
    pub patience_ms: u64,
}

/// One stretch of load.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Stint {
    /// Load before the measured time, in milliseconds.
    pub warm_up_ms: u64,
    /// The measured time, in milliseconds.
    pub measure_ms: u64,
    /// Calls due each second, of all clients of this machine together; none if each client is in a hurry.
    pub rate: Option<f64>,
}

/// How far a stint is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peek {
    /// Calls made since it began.
    pub submitted: u64,
    /// Calls answered by enough replicas alike.
    pub matched: u64,
    /// Calls that ended otherwise.
    pub failed: u64,
    /// Highest slot of any accepted answer.
    pub highest: u64,
    /// Median latency since the last look, in microseconds.
    pub p50_us: u64,
    /// 99 in a hundred were faster.
    pub p99_us: u64,
    /// Whether it is over, and every answer is there or given up.
    pub over: bool,
}

impl Assignment {
    /// What the clients of a machine need to know that others reach at `host`.
    #[must_use]
    pub fn config(&self, file: &ClusterFile, host: IpAddr) -> LoadConfig {
        let mut manner = self.manner.clone();
        if manner.sources.is_empty() {
            manner.sources.push(Source { bind: host, ..Source::default() });
        }
        LoadConfig {
            context: file.context(),
            replicas: file.replicas().iter().map(|replica| replica.addresses.client).collect(),
            clients: usize::from(self.clients),
            in_flight: usize::from(self.in_flight),
            bundle_max: usize::from(self.bundle),
            workload: self.workload,
            payload: self.payload as usize,
            manner,
            own: None,
        }
    }

    /// How long each client may take to get a session.
    #[must_use]
    pub fn patience(&self) -> Duration {
        Duration::from_millis(self.patience_ms)
    }
}

impl Stint {
    /// Load before the measured time.
    #[must_use]
    pub fn warm_up(&self) -> Duration {
        Duration::from_millis(self.warm_up_ms)
    }

    /// The measured time.
    #[must_use]
    pub fn measure(&self) -> Duration {
        Duration::from_millis(self.measure_ms)
    }
}
