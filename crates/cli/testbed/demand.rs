//! How much load there is to be, of what kind, and what must be there before it.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use quorate_apps::kv;
use quorate_bench::load::{KEY_BYTES, Load, LoadConfig, Manner, Workload};
use quorate_node::cluster_file::ClusterFile;
use serde::Serialize;

use super::amount::{Rate, told};
use super::{Args, PEAK, WARM_UP};
use crate::own::Own;

/// Bytes of an operation, unless they are given.
const PAYLOAD_BYTES: u32 = 128;
/// Bytes of an entry of a store that is filled, unless they are given.
const ENTRY_BYTES: u32 = 1024;
/// Bytes of a value that says which put wrote it.
const VALUE_BYTES_MIN: usize = 8;
/// Between two lines about how far the filling has come, where nobody is looking.
const PROGRESS: Duration = Duration::from_secs(10);

/// What is asked of the cluster.
#[derive(Debug, Clone, Copy)]
pub(super) struct Demand {
    workload: Workload,
    payload: u32,
    clients: u16,
    rate: Option<Rate>,
}

/// What was done before the run.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Prepared {
    /// Entries that the store was filled with.
    pub(crate) preloaded_keys: u64,
    /// Bytes of their keys and values.
    pub(crate) preloaded_bytes: u64,
    /// How long that took.
    pub(crate) preload_s: f64,
    /// Operations a second with every client in a hurry; null if that was not measured.
    #[serde(rename = "peak_rps")]
    pub(crate) peak: Option<f64>,
    /// Operations due each second; null if each client is in a hurry.
    #[serde(rename = "rate_rps")]
    pub(crate) rate: Option<f64>,
}

impl Demand {
    /// What the arguments ask for.
    pub(super) fn new(args: &Args) -> anyhow::Result<Self> {
        let usual = if args.preload.is_some() { ENTRY_BYTES } else { PAYLOAD_BYTES };
        let payload = match &args.own {
            Some(own) => own.operations().bytes(),
            None => args.payload.unwrap_or(usual),
        };
        let workload = if args.own.is_some() { Some(Workload::Own) } else { Workload::of(&args.application) };
        let mut workload = workload.context("no workload for this application")?;
        if let Workload::Kv(keys) = &mut workload {
            let most = kv::VALUE_BYTES_MAX + KEY_BYTES;
            if payload as usize > most {
                bail!("--payload {payload}: an entry of kv has at most {most} bytes");
            }
            keys.filled = args.preload.map_or(Ok(0), |bytes| filled(bytes, payload, args.clients))?;
            let hot = args.hot.unwrap_or(100);
            // A conversion that does not fit ends at the largest number.
            keys.cold = (u64::MAX as f64 * (1.0 - f64::from(hot) / 100.0)) as u64;
        } else if args.preload.is_some() {
            bail!("--preload fills a store, and `{}` has no keys; use --application kv", args.application);
        }
        if args.hot.is_some() && args.preload.is_none() {
            bail!("--hot is about the keys of a store that is filled; say how far with --preload");
        }
        Ok(Self { workload, payload, clients: args.clients, rate: args.rate })
    }

    /// Bytes of each operation, about.
    pub(super) fn payload(&self) -> u32 {
        self.payload
    }

    /// Entries that the store is filled with.
    pub(super) fn preloaded_keys(&self) -> u64 {
        match self.workload {
            Workload::Kv(keys) => keys.filled * u64::from(self.clients),
            Workload::Counter | Workload::Ledger | Workload::Lock | Workload::Null | Workload::Own => 0,
        }
    }

    pub(super) fn config(&self, args: &Args, file: &ClusterFile) -> LoadConfig {
        LoadConfig {
            context: file.context(),
            replicas: file.replicas().iter().map(|replica| replica.addresses.client).collect(),
            clients: usize::from(args.clients),
            in_flight: usize::from(args.in_flight),
            bundle_max: usize::from(args.bundle),
            workload: self.workload,
            payload: self.payload as usize,
            manner: Manner::default(),
            own: args.own.as_ref().map(Own::operations),
        }
    }

    /// Fills the store and measures the peak, as far as either was asked for.
    pub(super) async fn prepare(&self, load: &mut Load) -> anyhow::Result<Prepared> {
        let mut prepared = Prepared { preloaded_keys: self.preloaded_keys(), ..Prepared::default() };
        if prepared.preloaded_keys > 0 {
            let entry = entry_bytes(self.payload);
            prepared.preloaded_bytes = prepared.preloaded_keys * entry;
            prepared.preload_s = self.fill(load, entry).await?;
        }
        prepared.rate = match self.rate {
            None => None,
            Some(Rate::PerSecond(rate)) => Some(rate),
            Some(Rate::OfPeak(per_cent)) => {
                let peak = load.peak(WARM_UP, PEAK).await;
                if peak < 1.0 {
                    bail!(
                        "no operation was answered in {PEAK:?}, so there is no peak to take {per_cent} % of"
                    );
                }
                let rate = peak * per_cent / 100.0;
                eprintln!(
                    "a peak of {peak:.0} operations a second; {rate:.0} are due each second from now on"
                );
                prepared.peak = Some(peak);
                Some(rate)
            }
        };
        Ok(prepared)
    }

    async fn fill(&self, load: &mut Load, entry: u64) -> anyhow::Result<f64> {
        let (began, watched) = (Instant::now(), stderr().is_terminal());
        let mut last = began;
        let mut progress = |done: u64, of: u64| {
            let line = format!("preloading: {} of {}", told(done * entry), told(of * entry));
            if watched {
                // A terminal that is gone is no reason to stop a run.
                drop(write!(stderr(), "\r{line}\x1b[K"));
            } else if last.elapsed() >= PROGRESS {
                last = Instant::now();
                eprintln!("{line}");
            }
        };
        load.fill(&mut progress).await?;
        let seconds = began.elapsed().as_secs_f64();
        let clear = if watched { "\r\x1b[K" } else { "" };
        eprintln!("{clear}preloaded in {seconds:.1} s");
        Ok(seconds)
    }
}

/// Bytes of a key and its value.
fn entry_bytes(payload: u32) -> u64 {
    u64::from(payload).max((KEY_BYTES + VALUE_BYTES_MIN) as u64)
}

/// Keys of each client that make so many bytes together.
fn filled(bytes: u64, payload: u32, clients: u16) -> anyhow::Result<u64> {
    let entry = entry_bytes(payload);
    let keys = bytes.div_ceil(entry).div_ceil(u64::from(clients));
    let all = keys.saturating_mul(u64::from(clients)).saturating_mul(entry + kv::ENTRY_BYTES as u64);
    let most = kv::STATE_BYTES_MAX;
    if all > most {
        bail!(
            "--preload: {} in entries of {entry} B take {}, and kv holds {} at most",
            told(bytes),
            told(all),
            told(most)
        );
    }
    Ok(keys)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser;
    use quorate_bench::load::Keys;

    use super::*;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        args: Args,
    }

    fn demand(words: &str) -> anyhow::Result<Demand> {
        let words = std::iter::once("testbed").chain(words.split_whitespace());
        Demand::new(&Alone::try_parse_from(words)?.args)
    }

    #[test]
    fn a_preload_is_so_many_keys_of_each_client() {
        let keys = |words: &str| demand(words).unwrap().workload;
        let filled = |filled| Workload::Kv(Keys { filled, cold: 0 });
        assert_eq!(keys("--preload 16MiB"), filled(1_024));
        assert_eq!(keys("--preload 16MiB --payload 128"), filled(8_192));
        assert_eq!(keys("--preload 1 --clients 3"), filled(1));
        assert_eq!(keys("--payload 9"), filled(0));
        let payloads = ["", "--preload 1MiB", "--payload 77"].map(|words| demand(words).unwrap().payload());
        assert_eq!(payloads, [128, 1_024, 77]);
    }

    #[test]
    fn demands_that_cannot_be_met_are_refused_with_what_can() {
        for (words, fix) in [
            ("--preload 1MiB --application counter", "`counter` has no keys; use --application kv"),
            ("--preload 1MiB --application null", "use --application kv"),
            ("--preload 900GiB", "and kv holds "),
            ("--payload 100000", "an entry of kv has at most 65552 bytes"),
            ("--preload 256MB", "KiB, MiB or GiB"),
            ("--hot 10", "say how far with --preload"),
            ("--preload 1MiB --hot 0", "1..=100"),
            ("--rate 150%", "at most 100%"),
            ("--rate 0", "at least 1"),
            ("--rate soon", "such as 5000"),
        ] {
            let error = demand(words).unwrap_err().to_string();
            assert!(error.contains(fix), "{words}: {error}");
        }
        assert!(demand("--payload 100000 --application null").is_ok());
    }
}
