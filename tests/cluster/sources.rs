//! A replica that comes back with nothing fetches the whole state, whatever becomes of those who serve it: they lie about
//! chunks, say nothing, send less, or die; and whatever becomes of itself meanwhile.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use quorate_node::client::Caller;
use quorate_node::status::Status;
use tempfile::NamedTempFile;
use tokio::task::JoinSet;

use super::processes::{Cluster, PATIENCE, block, put, until};

/// Bytes of a value: with its key nearly a chunk.
const VALUE_BYTES: usize = 60 << 10;
/// Writes that are under way at once.
const AT_ONCE: usize = 32;

/// A slot for each write, and few of them in a log, so that who is away for a moment needs a state.
const SHORT_LOG: &str = "[parameters]\ncheckpoint_interval = 8\nwindow = 16\nbatch_requests_max = 1\n\
                         batch_bytes_max = 140000\noperation_bytes_max = 70000\n";

const CHUNKS: &str = "quorate_transfer_chunks_total";
const BYTES: &str = "quorate_transfer_bytes_total";
const REUSED_BYTES: &str = "quorate_transfer_reused_bytes_total";
const REFUSED: &str = "quorate_transfer_answers_refused_total";
const OVERDUE: &str = "quorate_transfer_answers_overdue_total";
const BANNED: &str = "quorate_transfer_sources_banned_total";
const MOVED: &str = "quorate_transfer_targets_moved_total";
const COMPLETED: &str = "quorate_transfers_completed_total";

/// Replicas that hold a state of so many chunks and more, all but `away`, which never ran; and what each is told besides.
fn without(away: usize, chunks: usize, told: &[(usize, &str)]) -> Cluster {
    let mut preset = NamedTempFile::new().unwrap();
    write!(preset, "{SHORT_LOG}").unwrap();
    let mut cluster = Cluster::init(&["--testing", "--preset", preset.path().to_str().unwrap()]);
    for id in (0..4).filter(|id| *id != away) {
        let lies = told.iter().find(|(liar, _)| *liar == id).map(|(_, lies)| *lies);
        cluster.start_with(id, &lies.map_or(Vec::new(), |lies| vec!["--byzantine", lies]));
    }
    block(async {
        cluster.until_linked().await;
        let caller = cluster.caller(cluster.client_key(0)).await;
        fill(&caller, chunks).await;
        let most = cluster.status(0).await.unwrap().executed;
        // What the others' logs still hold would need no state; and each of them shall have that one to give.
        for id in (0..4).filter(|id| *id != away) {
            let stable = async || cluster.status(id).await.filter(|now| now.low + 16 > most);
            until("a stable checkpoint", stable).await;
        }
    });
    cluster
}

async fn fill(caller: &Caller, chunks: usize) {
    let mut writes = JoinSet::new();
    for number in 0..chunks {
        if writes.len() >= AT_ONCE {
            writes.join_next().await;
        }
        let (caller, value) = (caller.clone(), format!("{number:08}").repeat(VALUE_BYTES / 8));
        writes.spawn(async move {
            caller.call_within(put(&format!("large/{number}"), &value), PATIENCE).await.unwrap()
        });
    }
    writes.join_all().await;
}

/// Waits until a replica has fetched a state, executed as much as the others and votes.
fn until_back(cluster: &Cluster, id: usize) -> Status {
    let back = block(until("the state, whole", async || {
        cluster.status(id).await.filter(|now| now.counter(COMPLETED) > 0 && now.status == "normal")
    }));
    block(cluster.until_agreed());
    back
}

/// Waits until a replica has fetched so many chunks and more, and not all of them.
fn until_fetched(cluster: &Cluster, id: usize, chunks: u64) -> Status {
    let found = block(until("some chunks", async || {
        cluster.status(id).await.filter(|now| now.counter(CHUNKS) >= chunks)
    }));
    assert!(
        !found.transfer.is_empty() && found.counter(COMPLETED) == 0,
        "it is too quick for this: {found:?}"
    );
    found
}

/// A replica that comes back while replica 1 alone is there, and the others after that has lied to it; or else the others
/// might have served it before its link to the liar was up.
fn back_among(told: &str) -> (Cluster, Status) {
    let mut cluster = without(3, 64, &[(1, told)]);
    cluster.kill(0);
    cluster.kill(2);
    cluster.start(3);
    block(until("a lie", async || cluster.status(1).await.filter(|now| now.lies.values().sum::<u64>() > 0)));
    cluster.start(0);
    cluster.start(2);
    let back = until_back(&cluster, 3);
    (cluster, back)
}

#[test]
fn f1_a_source_that_lies_about_chunks_is_banned_and_the_others_serve() {
    let (cluster, back) = back_among("bad-chunks");
    assert!(back.counter(REFUSED) > 0 && back.counter(BANNED) > 0, "{back:?}");
    cluster.answers(&["kv", "get", "large/63"], &("00000063".repeat(VALUE_BYTES / 8) + "\n"));
}

#[test]
fn f1_a_source_that_stalls_is_counted_and_the_others_serve() {
    let (_cluster, back) = back_among("stall-transfer");
    assert!(back.counter(OVERDUE) > 0, "{back:?}");
    // Silence is no proof of anything.
    assert_eq!((back.counter(REFUSED), back.counter(BANNED)), (0, 0), "{back:?}");
}

#[test]
fn f1_a_source_that_sends_less_each_time_keeps_nobody_from_coming_back() {
    let (_cluster, back) = back_among("shrink-transfer");
    let noticed = [REFUSED, OVERDUE, BANNED].map(|name| back.counter(name));
    assert!(noticed.iter().sum::<u64>() > 0, "{noticed:?}");
}

#[test]
fn f1_the_only_source_that_serves_dies_and_the_target_moves_on() {
    // Two of three say nothing, so that all comes from the third; and at 16 MiB a second that takes a while.
    let mut cluster = without(3, 256, &[(0, "stall-transfer"), (1, "stall-transfer")]);
    cluster.start(3);
    let first = until_fetched(&cluster, 3, 80);
    cluster.kill(2);
    // Nobody gives the rest of that state any more, and the others get to later checkpoints.
    cluster.start_with(2, &["--byzantine", &format!("stall-transfer:seq=0..{}", first.low + 1)]);
    block(async {
        let caller = cluster.caller(cluster.client_key(0)).await;
        for number in 0..32 {
            let write = put(&format!("meanwhile/{}", number % 4), &number.to_string());
            caller.call_within(write, PATIENCE).await.unwrap();
        }
    });
    let back = until_back(&cluster, 3);
    assert!(back.low > first.low, "{back:?}");
    assert!(back.counter(MOVED) > 0 && back.counter(OVERDUE) > 0, "first {first:?}, then {back:?}");
    // What it had of the first target it did not fetch again.
    let (fetched, reused) = (back.counter(BYTES), back.counter(REUSED_BYTES));
    assert!(
        reused >= 80 * (VALUE_BYTES as u64) / 2 && fetched < 20 << 20,
        "{fetched} fetched, {reused} reused"
    );
}

#[test]
fn f1_a_replica_that_is_killed_again_and_again_while_it_fetches_goes_on_where_it_was() {
    // One source, so that it takes a while.
    let mut cluster = without(3, 256, &[(0, "stall-transfer"), (1, "stall-transfer")]);
    let mut before = 0;
    for _ in 0..4 {
        cluster.start(3);
        before += until_fetched(&cluster, 3, 20).counter(BYTES);
        cluster.kill(3);
    }
    cluster.start(3);
    let back = until_back(&cluster, 3);
    let (fetched, reused) = (back.counter(BYTES), back.counter(REUSED_BYTES));
    // A kill loses what was on its way and not stored yet.
    let kept = before / 2;
    assert!(before >= 4 * 20 * (VALUE_BYTES as u64) / 2, "{before}");
    assert!(reused >= kept, "{before} fetched before the kills, {reused} of that was there");
    assert!(fetched + kept <= back.state_bytes, "{fetched} fetched in the end: {back:?}");
}

#[test]
fn f1_a_replica_that_becomes_the_primary_while_it_fetches_leads_without_the_state() {
    let mut cluster = without(1, 192, &[(2, "stall-transfer:probability=0.2"), (3, "stall-transfer")]);
    cluster.start(1);
    until_fetched(&cluster, 1, 20);
    // Replica 1 is next. Without it there is no quorum.
    cluster.kill(0);
    let written = Arc::new(AtomicUsize::new(0));
    let led = block(async {
        let caller = cluster.caller(cluster.client_key(0)).await;
        let writer = tokio::spawn({
            let written = Arc::clone(&written);
            async move {
                for number in 0.. {
                    caller.call_within(put(&format!("under/{}", number % 8), "x"), PATIENCE).await.unwrap();
                    written.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        let led = until("batches of a primary that has no state", async || {
            let status = cluster.status(1).await?;
            let proposed = status.counter("quorate_batches_proposed_total");
            let answered = written.load(Ordering::Relaxed) > 0;
            (answered && status.primary == 1 && proposed > 0).then_some(status)
        })
        .await;
        writer.abort();
        led
    });
    assert!(!led.transfer.is_empty() && led.counter(COMPLETED) == 0, "it had the state by then: {led:?}");
    assert_eq!((led.view, led.status.as_str()), (1, "behind"), "{led:?}");
    let back = until_back(&cluster, 1);
    assert_eq!((back.view, back.primary), (1, 1), "nobody had a reason to leave its view: {back:?}");
    cluster.start(0);
    block(cluster.until_linked());
    cluster.answers(&["kv", "put", "after", "it"], "stored\n");
    block(cluster.until_agreed());
}
