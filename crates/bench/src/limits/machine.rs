//! Which machine, which build, and what the kernel grants: numbers mean nothing without them.

use std::fs;

use quorate_node::transport::Limits as TransportLimits;
use serde::{Deserialize, Serialize};

/// The machine that was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The processor's own name.
    pub cpu: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// Operating system and version of its kernel.
    pub kernel: String,
    /// Processes that wanted a core, over the last minute before the measurement; none where the system does not say.
    pub load_average_1_min: Option<f64>,
}

impl Machine {
    /// The machine this runs on.
    #[must_use]
    pub fn here() -> Self {
        let release =
            setting("/proc/sys/kernel/osrelease").unwrap_or_else(|| "of unknown version".to_owned());
        let load = setting("/proc/loadavg");
        Self {
            cpu: cpu().unwrap_or_else(|| format!("unknown {} processor", std::env::consts::ARCH)),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: format!("{} {release}", std::env::consts::OS),
            load_average_1_min: load.and_then(|text| text.split(' ').next()?.parse().ok()),
        }
    }

    /// Whether others were using the machine before the measurement began.
    #[must_use]
    pub fn busy(&self) -> bool {
        self.load_average_1_min.is_some_and(|load| load > 0.5 * self.cores as f64)
    }
}

fn setting(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn cpu() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, name)| name.trim().to_owned())
}

/// The program that measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// Name and version.
    pub program: String,
    /// The compiler.
    pub compiler: String,
    /// What it was compiled for.
    pub target: String,
    /// Profile it was compiled with.
    pub profile: String,
    /// Whether signatures can use AVX-512, if the processor has it.
    pub avx512_signatures_compiled_in: bool,
    /// Whether they do.
    pub avx512_signatures_in_use: bool,
}

impl Build {
    /// This program.
    #[must_use]
    pub fn this() -> Self {
        let compiled_in = cfg!(avx512_signatures);
        Self {
            program: quorate_node::BUILD.to_owned(),
            compiler: env!("QUORATE_COMPILER").to_owned(),
            target: env!("QUORATE_TARGET").to_owned(),
            profile: env!("QUORATE_PROFILE").to_owned(),
            avx512_signatures_compiled_in: compiled_in,
            avx512_signatures_in_use: compiled_in && processor_has_avx512(),
        }
    }
}

/// What the signature library asks of the processor before it takes that path.
fn processor_has_avx512() -> bool {
    #[cfg(target_arch = "x86_64")]
    let found =
        std::arch::is_x86_feature_detected!("avx512ifma") && std::arch::is_x86_feature_detected!("avx512vl");
    #[cfg(not(target_arch = "x86_64"))]
    let found = false;
    found
}

/// Kernel limits on the buffers of a UDP socket, in bytes; none where the system does not say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UdpBuffers {
    /// What a replica asks for.
    pub wanted_bytes: usize,
    /// Most it gets to receive.
    pub rmem_max_bytes: Option<usize>,
    /// Most it gets to send.
    pub wmem_max_bytes: Option<usize>,
    /// The command that allows what is wanted, if that is not allowed now.
    pub fix: Option<String>,
}

impl UdpBuffers {
    /// What this kernel allows.
    #[must_use]
    pub fn here() -> Self {
        let limit = |name: &str| setting(&format!("/proc/sys/net/core/{name}"))?.parse().ok();
        Self::judge(TransportLimits::default().socket_bytes, limit("rmem_max"), limit("wmem_max"))
    }

    pub(super) fn judge(wanted_bytes: usize, rmem: Option<usize>, wmem: Option<usize>) -> Self {
        let short = |(name, limit): (&str, Option<usize>)| {
            limit
                .is_some_and(|limit| limit < wanted_bytes)
                .then(|| format!(" net.core.{name}={wanted_bytes}"))
        };
        let settings: String =
            [("rmem_max", rmem), ("wmem_max", wmem)].into_iter().filter_map(short).collect();
        let fix = (!settings.is_empty()).then(|| format!("sysctl -w{settings}"));
        Self { wanted_bytes, rmem_max_bytes: rmem, wmem_max_bytes: wmem, fix }
    }
}
