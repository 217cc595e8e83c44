//! Reads that are not ordered, by real processes: who may be gone, who may lie, and what is said of each answer.

use quorate_node::client::Caller;
use quorate_protocol::client::{Answer, How, Obstacle, Read};
use quorate_protocol::message::Outcome;
use quorate_protocol::types::ReplicaId;
use serde_json::Value;

use super::processes::{Cluster, block, get, put, text, until};

/// The value that an answer to `get` shows.
fn value(answer: &Answer) -> String {
    let Outcome::Done(reply) = &answer.outcome else { panic!("{answer:?}") };
    let reply = quorate_protocol::codec::decode_serde(reply).unwrap();
    let quorate_apps::kv::Reply::Value(Some(value)) = reply else { panic!("{reply:?}") };
    text(&value.0)
}

/// Writes, and reads at once what was just acknowledged.
async fn write_and_read(caller: &Caller, to: &str, read: Read) -> Answer {
    let written = caller.call(put("a", to)).await.unwrap();
    let answer = caller.read(get("a"), read).await.unwrap();
    assert_eq!(value(&answer), to, "{answer:?}");
    assert!(answer.seq >= written.seq, "{answer:?} is of before slot {}", written.seq);
    answer
}

/// Writes and reads until a read came about as it was asked for: replicas need not be equally far at once.
async fn until_read(caller: &Caller, read: Read) -> Answer {
    let mut turn = 0;
    until("a read that is not ordered", async || {
        turn += 1;
        let answer = write_and_read(caller, &format!("value {turn}"), read).await;
        (answer.how == How::Read(read)).then_some(answer)
    })
    .await
}

#[test]
fn a_fast_read_sees_what_was_just_acknowledged_with_one_replica_gone_and_one_just_back() {
    let mut cluster = Cluster::serving(&["--fast-reads"]);
    block(async {
        let caller = cluster.caller(cluster.client_key(0)).await;
        let answer = until_read(&caller, Read::Fast).await;
        assert!(answer.voters.len() >= 3 && answer.dissenters.is_empty(), "{answer:?}");
        cluster.kill(3);
        let answer = until_read(&caller, Read::Fast).await;
        assert_eq!(answer.voters.iter().collect::<Vec<_>>(), [0, 1, 2].map(ReplicaId), "{answer:?}");
    });
    // It does not know how far it had answered, only how far it may have. Until it is there it is of no use for fast reads.
    cluster.start(3);
    block(async {
        cluster.until_linked().await;
        cluster.kill(2);
        let caller = cluster.caller(cluster.client_key(0)).await;
        let answer = write_and_read(&caller, "without it", Read::Fast).await;
        let How::Instead(Read::Fast, why) = answer.how else { panic!("{answer:?}") };
        assert!(matches!(why, Obstacle::TooFew | Obstacle::Differed), "{answer:?}");
        let counters = caller.report().await.unwrap().counters;
        assert_eq!((counters.reads, counters.reads_fallen_back), (1, 1));
        let answer = until_read(&caller, Read::Session).await;
        assert!(answer.voters.len() >= 2, "a session read takes f + 1");
    });
    cluster.until_counted(3, "quorate_queries_unanswered_total", 1);
}

#[test]
fn a_liar_is_outvoted_in_every_kind_of_read_and_a_cluster_without_fast_reads_says_so() {
    let mut cluster = Cluster::init(&["--testing"]);
    for id in [0, 1, 3] {
        cluster.start(id);
    }
    cluster.start_with(2, &["--byzantine", "lying-replies"]);
    block(async {
        cluster.until_linked().await;
        let caller = cluster.caller(cluster.client_key(0)).await;
        for read in [Read::Session, Read::Stale] {
            until_read(&caller, read).await;
        }
        let answer = write_and_read(&caller, "in order", Read::Fast).await;
        assert_eq!(answer.how, How::Instead(Read::Fast, Obstacle::NotOffered));
        caller.close().await;
    });
}

#[test]
fn the_client_program_says_which_kind_of_read_it_was_and_who_vouches_for_it() {
    let cluster = Cluster::serving(&["--fast-reads"]);
    cluster.answers(&["kv", "put", "a", "1"], "stored\n");
    block(cluster.until_agreed());
    let said = |words: &[&str]| {
        let output = cluster.client(words);
        assert_eq!(text(&output.stdout), "1\n", "{}", text(&output.stderr));
        // The log of its links comes first.
        text(&output.stderr).lines().last().unwrap_or_default().to_owned()
    };
    let ordered = said(&["kv", "get", "a"]);
    assert!(ordered.starts_with("sequence "), "{ordered}");
    block(cluster.until_agreed());
    let fast = said(&["kv", "get", "a", "--read", "fast"]);
    assert!(fast.starts_with("fast read, linearizable: sequence "), "{fast}");
    assert!(said(&["kv", "get", "a", "--read", "session"]).starts_with("session read, "));
    assert!(said(&["kv", "get", "a", "--read", "stale"]).starts_with("stale read, "));
    let printed = cluster.client(&["--json", "kv", "get", "a", "--read", "fast"]);
    let printed: Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!((&printed["read"], &printed["fallback"]), (&"fast".into(), &Value::Null), "{printed}");
    assert!(printed["vouched_by"].as_array().is_some_and(|who| who.len() >= 3), "{printed}");
    let written = cluster.client(&["kv", "put", "a", "2", "--read", "fast"]);
    let written = text(&written.stderr).lines().last().unwrap_or_default().to_owned();
    let why = "ordered, not a fast read: the application answers this only in order: sequence ";
    assert!(written.starts_with(why), "{written}");
}
