//! A run against an earlier one: what a difference between two configurations costs.

use std::path::Path;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use super::Args;
use super::demand::Demand;

/// What an earlier run says of itself.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Earlier {
    replicas: u16,
    application: String,
    payload_bytes: u32,
    clients: u16,
    in_flight: u16,
    bundle_max: u16,
    durability: String,
    preloaded_keys: u64,
    hot_per_cent: u8,
    throughput_rps: f64,
    p99_us: u64,
    checkpoints: u64,
}

/// One run against another, in a report. Field names are part of the interface.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Against {
    earlier: String,
    throughput_ratio: f64,
    p99_ratio: f64,
    earlier_throughput_rps: f64,
    earlier_checkpoints: u64,
}

impl Earlier {
    /// The report in this file, if that run was like the one that is to come.
    pub(super) fn load(path: &Path, (args, demand): (&Args, &Demand)) -> anyhow::Result<Self> {
        let name = format!("--against {}", path.display());
        let text = std::fs::read_to_string(path).with_context(|| format!("{name}: cannot be read"))?;
        let fix = || format!("{name}: no report of `quorate testbed --json`; make one with this program");
        let earlier: Self = serde_json::from_str(&text).with_context(fix)?;
        let now = Self {
            replicas: args.replicas,
            application: args.application.clone(),
            payload_bytes: demand.payload(),
            clients: args.clients,
            in_flight: args.in_flight,
            bundle_max: args.bundle,
            durability: args.durability.to_string(),
            preloaded_keys: demand.preloaded_keys(),
            hot_per_cent: args.hot.unwrap_or(100),
            ..earlier.clone()
        };
        if now != earlier {
            bail!(
                "{name}: that run was not like this one; run both with the same --replicas, --clients, --in-flight, \
                 --bundle, --application, --payload, --durability, --preload and --hot"
            );
        }
        Ok(earlier)
    }

    /// How a run compares with this one.
    pub(super) fn compare(&self, path: &Path, (throughput_rps, p99_us): (f64, u64)) -> Against {
        Against {
            earlier: path.display().to_string(),
            throughput_ratio: throughput_rps / self.throughput_rps.max(f64::MIN_POSITIVE),
            p99_ratio: p99_us as f64 / self.p99_us.max(1) as f64,
            earlier_throughput_rps: self.throughput_rps,
            earlier_checkpoints: self.checkpoints,
        }
    }
}

impl Against {
    /// For people.
    pub(super) fn line(&self) -> String {
        format!(
            "against      {}: {:.1} % of its {:.0} per second, p99 {:.2} times as long; {} checkpoints there",
            self.earlier,
            100.0 * self.throughput_ratio,
            self.earlier_throughput_rps,
            self.p99_ratio,
            self.earlier_checkpoints
        )
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        args: Args,
    }

    fn load(path: &Path, words: &str) -> anyhow::Result<Earlier> {
        let words = std::iter::once("testbed").chain(words.split_whitespace());
        let args = Alone::try_parse_from(words)?.args;
        Earlier::load(path, (&args, &Demand::new(&args)?))
    }

    #[test]
    fn a_run_is_held_against_one_of_the_same_kind_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("first.json");
        let error = load(&path, "").unwrap_err().to_string();
        assert!(error.contains("cannot be read"), "{error}");
        std::fs::write(&path, "{}").unwrap();
        let error = load(&path, "").unwrap_err().to_string();
        assert!(error.contains("no report of `quorate testbed --json`"), "{error}");
        let report = r#"{"replicas": 4, "application": "kv", "payload_bytes": 1024, "clients": 16, "in_flight": 16,
            "bundle_max": 64, "durability": "sync", "preloaded_keys": 1024, "hot_per_cent": 100,
            "throughput_rps": 1000.0, "p99_us": 2000, "checkpoints": 1, "whatever": "else"}"#;
        std::fs::write(&path, report).unwrap();
        let error = load(&path, "").unwrap_err().to_string();
        assert!(error.contains("the same --replicas"), "{error}");
        let earlier = load(&path, "--preload 1MiB").unwrap();
        assert_eq!(
            earlier.compare(Path::new("first.json"), (920.0, 3_000)).line(),
            "against      first.json: 92.0 % of its 1000 per second, p99 1.50 times as long; 1 checkpoints there"
        );
    }
}
