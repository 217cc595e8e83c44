//! The replicated state, read back by clients of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quorate_apps::{counter, kv};
use quorate_node::client::{self, Caller};
use quorate_node::transport::{ClientTransportConfig, Limits};
use quorate_protocol::client::Options;
use quorate_protocol::codec;
use quorate_protocol::message::Outcome;

use super::{Load, LoadConfig, LoadError, Workload, join_all, new_key, tokens};
use crate::audit::{Observed, number_in};

/// Clients that read a filled store, each a part of the key space.
const READERS: usize = 4;
/// What names of keys begin with.
const FIRSTS: &str = "0123456789abcdef";

impl Load {
    /// Reads the replicated state through clients of its own; none for an application whose state says nothing.
    ///
    /// # Errors
    /// [`LoadError`] if the cluster does not answer.
    pub async fn observe(config: &LoadConfig, patience: Duration) -> Result<Option<Observed>, LoadError> {
        match config.workload {
            Workload::Lock | Workload::Null | Workload::Own => Ok(None),
            Workload::Ledger => {
                let caller = reader(config).await?;
                let observed = tokens::observe(&caller, config, patience).await;
                caller.close().await;
                observed.map(Some)
            }
            Workload::Counter => {
                let caller = reader(config).await?;
                let value = ask(&caller, &counter::Command::Get, patience).await;
                caller.close().await;
                value.map(|value| Some(Observed::Counter(value)))
            }
            Workload::Kv(keys) if keys.filled == 0 => {
                read(config, "", patience).await.map(|entries| Some(Observed::Kv(entries)))
            }
            Workload::Kv(_) => {
                // A large one takes thousands of scans, each an ordered operation.
                let parts = FIRSTS.len() / READERS;
                let firsts = (0..READERS).map(|reader| &FIRSTS[reader * parts..(reader + 1) * parts]);
                let read = join_all(firsts.map(|firsts| read(config, firsts, patience))).await;
                let mut all = BTreeMap::new();
                for part in read {
                    all.append(&mut part?);
                }
                Ok(Some(Observed::Kv(all)))
            }
        }
    }
}

async fn reader(config: &LoadConfig) -> Result<Caller, LoadError> {
    let transport = ClientTransportConfig {
        context: config.context.clone(),
        key: Arc::new(new_key()?),
        replicas: config.replicas.clone(),
        limits: Limits::default(),
    };
    Ok(client::connect(transport, None, Options::new(0)).await?)
}

/// Reads the entries whose names begin with one of these letters, or all.
async fn read(
    config: &LoadConfig,
    firsts: &str,
    patience: Duration,
) -> Result<BTreeMap<String, Option<u64>>, LoadError> {
    let caller = reader(config).await?;
    let mut all = BTreeMap::new();
    let prefixes: Vec<String> = match firsts {
        "" => vec![String::new()],
        firsts => firsts.chars().map(String::from).collect(),
    };
    for prefix in prefixes {
        scan(&caller, prefix, patience, &mut all).await?;
    }
    caller.close().await;
    Ok(all)
}

async fn scan(
    caller: &Caller,
    prefix: String,
    patience: Duration,
    all: &mut BTreeMap<String, Option<u64>>,
) -> Result<(), LoadError> {
    let mut after = String::new();
    loop {
        let limit = u32::try_from(kv::SCAN_ENTRIES_MAX).unwrap_or(u32::MAX);
        let scan = kv::Command::Scan { prefix: prefix.clone(), after: after.clone(), limit };
        let kv::Reply::Entries { entries, more } = ask(caller, &scan, patience).await? else {
            return Err(LoadError::Unread);
        };
        if let Some((last, _)) = entries.last() {
            after.clone_from(last);
        }
        all.extend(entries.into_iter().map(|(key, value)| (key, number_in(&value))));
        if !more {
            return Ok(());
        }
    }
}

/// One operation whose reply is read.
pub(super) async fn ask<C: serde::Serialize, R: serde::de::DeserializeOwned>(
    caller: &Caller,
    command: &C,
    patience: Duration,
) -> Result<R, LoadError> {
    let operation = codec::encode_serde(command).expect("commands encode");
    let answer = caller.call_within(operation.into(), patience).await;
    match answer.map(|answer| answer.outcome) {
        Ok(Outcome::Done(reply)) => codec::decode_serde(&reply).map_err(|_| LoadError::Unread),
        Ok(_) | Err(_) => Err(LoadError::Unread),
    }
}
