//! What this machine could do at most: signatures, hashes, encoding, round trips and syncs, each measured alone.
//!
//! A figure of a cluster says little without the ceiling it is under. Every number here is taken through the code that
//! a replica runs, in a few rounds, so that the median can be read with its noise beside it.

mod codec;
mod disk;
mod machine;
mod quic;
mod signatures;
mod table;
mod timing;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use self::codec::{Encoding, Hashing};
pub use self::disk::{Disk, FileSystem, SyncLatency, UnusableFolder, check_folders, file_system_of};
pub use self::machine::{Build, Machine, UdpBuffers};
pub use self::quic::{EchoError, EchoProgram, Quic, RoundTrip, echo};
pub use self::signatures::Signatures;
pub use self::timing::Spread;

/// Sizes of committees that ceilings are given for.
pub const COMMITTEES: [usize; 5] = [4, 7, 10, 16, 31];

/// How much to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effort {
    /// About five seconds: numbers to publish.
    Full,
    /// A fraction of a second: enough to see that everything works, and nothing else.
    Smoke,
}

/// What to measure, and where.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folders whose file systems are measured; of several in one file system, the first.
    pub dirs: Vec<PathBuf>,
    /// How to start the other process of a round trip; none leaves that measurement out.
    pub echo: Option<EchoProgram>,
    /// How much to measure.
    pub effort: Effort,
    /// Is told what is being measured, as it begins.
    pub progress: fn(&str),
}

impl Default for Options {
    /// The system's temporary folder and the current one; no second process; in silence.
    fn default() -> Self {
        let dirs = vec![std::env::temp_dir(), PathBuf::from(".")];
        Self { dirs, echo: None, effort: Effort::Full, progress: |_| {} }
    }
}

/// What one machine can do, and which machine and build it was.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// The machine.
    pub machine: Machine,
    /// The program that measured.
    pub build: Build,
    /// What the kernel grants to UDP sockets.
    pub udp: UdpBuffers,
    /// Ed25519, on one core.
    pub signatures: Signatures,
    /// SHA-256, on one core.
    pub hashing: Hashing,
    /// The codec, on one core.
    pub encoding: Encoding,
    /// Round trips over loopback.
    pub quic: Quic,
    /// Syncs, one entry per file system.
    pub disks: Vec<Disk>,
    /// What one signature per operation leaves possible, for each of [`COMMITTEES`].
    pub ceilings: Vec<Ceiling>,
}

/// Operations per second that no cluster of `replicas` on this machine, clients included, can exceed while each operation
/// is signed by itself and every replica checks every signature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ceiling {
    /// Replicas, n.
    pub replicas: usize,
    /// Each operation from another client.
    pub operations_per_second: f64,
    /// All operations from 16 clients, whose keys are shared within a batch.
    pub operations_per_second_of_16_keys: f64,
}

impl Ceiling {
    /// The ceiling for `replicas` on a machine of `cores`.
    #[must_use]
    pub fn of(replicas: usize, cores: usize, signatures: &Signatures) -> Self {
        let sign_us = signatures.sign_us.median;
        let with =
            |verify_us: &Spread| ceiling_per_second(replicas, cores, verify_us.median, sign_us).round();
        Self {
            replicas,
            operations_per_second: with(&signatures.verify_batch_256_us),
            operations_per_second_of_16_keys: with(&signatures.verify_batch_256_of_16_keys_us),
        }
    }
}

/// `cores / (n * v + s)`: one signature is made once and checked by each replica. Costs in microseconds, result per second.
#[must_use]
pub fn ceiling_per_second(replicas: usize, cores: usize, verify_us: f64, sign_us: f64) -> f64 {
    cores as f64 * 1e6 / (replicas as f64 * verify_us + sign_us)
}

/// Measures this machine. Takes about five seconds, uses one core except for the round trips, and never fails: what
/// could not be measured says why.
#[must_use]
pub fn measure(options: &Options) -> Limits {
    let Options { dirs, echo, effort, progress } = options;
    progress("machine");
    let machine = Machine::here();
    progress("Ed25519");
    let signatures = signatures::measure(*effort);
    progress("SHA-256");
    let hashing = codec::measure_hashing(*effort);
    progress("encoding");
    let encoding = codec::measure_encoding(*effort);
    progress("QUIC");
    let quic = quic::measure(echo.as_ref(), *effort);
    progress("syncs");
    let disks = disk::measure(dirs, *effort);
    let ceilings = COMMITTEES.iter().map(|n| Ceiling::of(*n, machine.cores, &signatures)).collect();
    let (build, udp) = (Build::this(), UdpBuffers::here());
    Limits { machine, build, udp, signatures, hashing, encoding, quic, disks, ceilings }
}
