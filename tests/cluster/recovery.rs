//! Replicas that are killed come back as what they were, and the others go on without them.

use std::fs;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quorate_apps::kv;
use quorate_node::client::Caller;
use quorate_protocol::codec;
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::message::Outcome;
use tempfile::NamedTempFile;
use tokio::task::JoinSet;

use super::processes::{Cluster, PATIENCE, block, put, until};

/// Seeds of the writers' keys.
const WRITERS: RangeInclusive<u8> = 100..=107;

#[test]
fn a_killed_backup_is_not_missed_and_catches_up_when_it_is_back() {
    let mut cluster = Cluster::serving(&[]);
    cluster.answers(&["kv", "put", "a", "1"], "stored\n");
    cluster.answers(&["kv", "get", "a"], "1\n");
    cluster.kill(3);
    cluster.answers(&["kv", "put", "a", "2"], "replaced\n");
    cluster.start(3);
    let caught_up = block(cluster.until_agreed());
    cluster.answers(&["kv", "get", "a"], "2\n");
    assert!(block(cluster.until_agreed()) > caught_up);
    let status = block(cluster.status(0)).unwrap();
    assert_eq!(status.view, 0, "nobody had a reason to change the view");
}

#[test]
fn a_killed_primary_is_replaced_and_follows_the_next_one_when_it_is_back() {
    let mut cluster = Cluster::serving(&[]);
    cluster.answers(&["kv", "put", "a", "1"], "stored\n");
    cluster.kill(0);
    cluster.answers(&["kv", "put", "b", "2"], "stored\n");
    assert!(block(cluster.status(1)).unwrap().view >= 1);
    cluster.start(0);
    block(cluster.until_agreed());
    cluster.answers(&["kv", "get", "b"], "2\n");
    block(cluster.until_agreed());
    let status = block(cluster.status(0)).unwrap();
    assert_eq!(status.status, "normal");
    assert!(status.view >= 1, "it must not return to the view it led");
}

#[test]
fn a_replica_that_did_not_sync_comes_back_bound_after_a_crash_and_not_after_a_clean_stop() {
    let preset = NamedTempFile::new().unwrap();
    fs::write(preset.path(), "[node]\ndurability = \"os\"\n").unwrap();
    let mut cluster = Cluster::serving(&["--preset", preset.path().to_str().unwrap()]);
    cluster.answers(&["kv", "put", "a", "1"], "stored\n");
    cluster.stop(3);
    cluster.answers(&["kv", "put", "a", "2"], "replaced\n");
    cluster.start(3);
    block(cluster.until_agreed());
    assert_eq!(block(cluster.status(3)).unwrap().status, "normal");
    for _ in 0..2 {
        cluster.kill(3);
        cluster.start(3);
        let status = block(until("an answer", async || cluster.status(3).await));
        assert!(status.status == "recovering" && status.forgot.is_some(), "{status:?}");
        let said = status.warnings.join("\n");
        assert!(said.contains("its durability is not `sync`") && said.contains("killed at once"), "{said}");
    }
    block(cluster.until_linked());
    cluster.answers(&["kv", "get", "a"], "2\n");
    block(cluster.until_agreed());
}

#[test]
fn a_key_may_start_any_number_of_short_clients() {
    let cluster = Cluster::serving(&[]);
    for number in 0..12 {
        cluster.answers(&["kv", "put", &format!("k{number}"), "x"], "stored\n");
    }
}

/// Writes numbered keys without pause until the cluster is gone; says how many were acknowledged.
async fn write_until_gone(caller: Caller, writer: u8) -> usize {
    let patience = Duration::from_secs(2);
    let mut acknowledged = 0;
    while caller.call_within(put(&format!("{writer}/{acknowledged}"), "x"), patience).await.is_ok() {
        acknowledged += 1;
    }
    acknowledged
}

#[test]
fn every_acknowledged_write_survives_that_all_replicas_are_killed_at_once() {
    // Few slots between checkpoints, so that there are snapshots, and a journal that goes on from them.
    let preset = NamedTempFile::new().unwrap();
    fs::write(preset.path(), "[parameters]\ncheckpoint_interval = 32\nwindow = 128\n").unwrap();
    let mut cluster = Cluster::serving(&["--preset", preset.path().to_str().unwrap()]);
    let written = block(async {
        let mut writers = JoinSet::new();
        for writer in WRITERS {
            let caller = cluster.caller(SecretKey::from_seed(&[writer; 32])).await;
            writers.spawn(async move { (writer, write_until_gone(caller, writer).await) });
        }
        until("a few checkpoints", async || {
            cluster.status(0).await.filter(|status| status.low >= 96).map(drop)
        })
        .await;
        cluster.kill_some(&[0, 1, 2, 3]);
        writers.join_all().await
    });
    assert!(written.iter().all(|(_, count)| *count > 0), "{written:?}");
    for id in 0..4 {
        cluster.start(id);
    }
    block(async {
        let caller = cluster.caller(cluster.client_key(0)).await;
        for (writer, count) in written {
            let keys = keys_of(&caller, writer).await;
            // What was not acknowledged may have been written too.
            assert!(
                (count..=count + 1).contains(&keys),
                "writer {writer}: {count} acknowledged, {keys} are there"
            );
        }
        // One whose snapshot was still being written is behind the others' now, and waits for theirs.
        cluster.until_enough_agree(3).await;
    });
}

#[test]
fn a_replica_comes_back_from_its_snapshot_and_finds_the_rest_with_the_others() {
    let preset = NamedTempFile::new().unwrap();
    fs::write(preset.path(), "[parameters]\ncheckpoint_interval = 32\nwindow = 128\n").unwrap();
    let mut cluster = Cluster::serving(&["--preset", preset.path().to_str().unwrap()]);
    block(async {
        let caller = cluster.caller(cluster.client_key(0)).await;
        for number in 0..40 {
            caller.call_within(put(&number.to_string(), "x"), PATIENCE).await.unwrap();
        }
        for id in 0..4 {
            let stable = async || cluster.status(id).await.filter(|status| status.low >= 32).map(drop);
            until("a stable checkpoint", stable).await;
        }
    });
    cluster.answers(&["kv", "get", "39"], "x\n");
    cluster.kill(2);
    cluster.answers(&["kv", "put", "after", "it"], "stored\n");
    cluster.start(2);
    let seq = block(cluster.until_agreed());
    assert_eq!(block(cluster.history(2, 31)), None, "it begins with its snapshot");
    assert!(block(cluster.history(2, 32)).is_some() && seq > 40);
}

#[test]
fn acknowledged_writes_survive_a_series_of_crashes_under_load() {
    // No checkpoint falls due, so whoever comes back finds all it lacks in the others' logs.
    let preset = NamedTempFile::new().unwrap();
    fs::write(preset.path(), "[parameters]\ncheckpoint_interval = 2048\nwindow = 4096\n").unwrap();
    let mut cluster = Cluster::serving(&["--preset", preset.path().to_str().unwrap()]);
    let everyone = [0, 1, 2, 3];
    let series: [&[usize]; 6] = [&[3], &[0], &everyone, &[1, 2], &[1], &everyone];
    let (acknowledged, keys) = block(async {
        let written = Arc::new(AtomicUsize::new(0));
        let caller = cluster.caller(cluster.client_key(0)).await;
        let writer = tokio::spawn(write_steadily(caller.clone(), Arc::clone(&written)));
        for victims in series {
            let before = written.load(Ordering::Relaxed);
            until("some writes", async || (written.load(Ordering::Relaxed) >= before + 10).then_some(()))
                .await;
            cluster.kill_some(victims);
            if victims.len() == 1 {
                let before = written.load(Ordering::Relaxed);
                until("writes without it", async || {
                    (written.load(Ordering::Relaxed) >= before + 10).then_some(())
                })
                .await;
            }
            victims.iter().for_each(|id| cluster.start(*id));
            cluster.until_linked().await;
        }
        let before = written.load(Ordering::Relaxed);
        until("writes in the end", async || (written.load(Ordering::Relaxed) >= before + 10).then_some(()))
            .await;
        writer.abort();
        (written.load(Ordering::Relaxed), keys_of(&caller, 0).await)
    });
    assert!(
        (acknowledged..=acknowledged + 1).contains(&keys),
        "{acknowledged} acknowledged, {keys} are there"
    );
    block(cluster.until_agreed());
}

/// Writes a numbered key a hundred times a second, and counts what is acknowledged.
async fn write_steadily(caller: Caller, written: Arc<AtomicUsize>) {
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    loop {
        tick.tick().await;
        let key = format!("0/{}", written.load(Ordering::Relaxed));
        caller.call(put(&key, "x")).await.unwrap();
        written.fetch_add(1, Ordering::Relaxed);
    }
}

/// How many keys a writer has written.
async fn keys_of(caller: &Caller, writer: u8) -> usize {
    let (mut keys, mut after) = (0, String::new());
    loop {
        let prefix = format!("{writer}/");
        let command = codec::encode_serde(&kv::Command::Scan { prefix, after, limit: 1000 }).unwrap();
        let answer = caller.call_within(command.into(), PATIENCE).await.unwrap();
        let Outcome::Done(bytes) = answer.outcome else { panic!("not executed: {:?}", answer.outcome) };
        let kv::Reply::Entries { entries, more } = codec::decode_serde(&bytes).unwrap() else {
            panic!("a scan lists entries")
        };
        keys += entries.len();
        match entries.last().filter(|_| more) {
            Some((last, _)) => after = last.clone(),
            None => return keys,
        }
    }
}

#[test]
fn a_replica_that_was_away_for_many_checkpoints_under_load_comes_back_with_the_state_of_the_others() {
    let preset = NamedTempFile::new().unwrap();
    fs::write(preset.path(), "[parameters]\ncheckpoint_interval = 8\nwindow = 32\n").unwrap();
    let mut cluster = Cluster::serving(&["--preset", preset.path().to_str().unwrap()]);
    block(async {
        let written = Arc::new(AtomicUsize::new(0));
        let caller = cluster.caller(cluster.client_key(0)).await;
        let writer = tokio::spawn(write_steadily(caller.clone(), Arc::clone(&written)));
        let some_more = async |count| {
            let before = written.load(Ordering::Relaxed);
            let enough = async || (written.load(Ordering::Relaxed) >= before + count).then_some(());
            until("writes", enough).await;
        };
        some_more(10).await;
        cluster.kill(3);
        let left = cluster.status(0).await.unwrap().executed;
        some_more(100).await;
        cluster.start(3);
        // It catches up although the others go on.
        until("a state transfer", async || {
            let status = cluster.status(3).await?;
            let came = status.counter("quorate_transfers_completed_total") > 0 && status.executed > left + 64;
            (came && status.status == "normal").then_some(())
        })
        .await;
        some_more(50).await;
        writer.abort();
    });
    let seq = block(cluster.until_agreed());
    assert_eq!(block(cluster.history(3, 1)), None, "its history begins with the state that it fetched");
    // And it votes: without another one nothing commits that it does not vote for.
    cluster.kill(2);
    cluster.answers(&["kv", "put", "after", "it"], "stored\n");
    assert!(block(cluster.until_enough_agree(3)) > seq);
    let served: u64 = [0, 1]
        .map(|id| block(cluster.status(id)).unwrap().counter("quorate_transfer_served_bytes_total"))
        .iter()
        .sum();
    assert!(served > 0 || block(cluster.status(3)).unwrap().counter("quorate_transfer_chunks_total") > 0);
}
