//! `quorate status --watch`: looks again and again, and ends when it is told to, or when nobody reads.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::processes::{Cluster, block, program, until};

/// Begins to watch a cluster; gives back the process and what it prints.
fn watch(cluster: &Cluster, words: &[&str]) -> (Child, impl Iterator<Item = String> + use<>) {
    let file = cluster.layout.cluster_file();
    let mut command = program();
    command.args(["status", "--watch", "1", "--cluster", file.to_str().unwrap()]).args(words);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    (child, out.lines().map_while(Result::ok))
}

fn ended(mut child: Child) -> Option<i32> {
    block(until("the end of the watch", async || child.try_wait().unwrap())).code()
}

#[test]
fn a_watch_tells_every_replica_once_an_interval_and_ends_when_it_is_interrupted() {
    let mut cluster = Cluster::serving(&[]);
    let (child, mut lines) = watch(&cluster, &["--json"]);
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap()).unwrap() };
    let first = next();
    assert!(first["at_ms"].as_u64().unwrap() > 1_600_000_000_000 && first["troubles"].is_array(), "{first}");
    assert_eq!(first["replicas"].as_array().unwrap().len(), 4);
    assert!(first["replicas"][0]["seen"]["executed_per_second"].is_null(), "one look tells no rate: {first}");
    cluster.answers(&["kv", "put", "a", "1"], "stored\n");
    // It may have looked in the middle of it.
    let told = (0..10).map(|_| next()).find(|line| {
        let seen = &line["replicas"][0]["seen"];
        seen["executed_per_second"].as_f64().is_some_and(|rate| rate > 0.0)
            && seen["agreement_p99_us"].is_u64()
    });
    assert!(told.is_some(), "a put is executed, and agreed on in some time");
    cluster.kill(3);
    let gone = (0..10).map(|_| next()).find(|line| line["replicas"][3]["seen"].is_null()).unwrap();
    assert!(gone["replicas"][3]["error"].as_str().unwrap().contains("is the replica running?"), "{gone}");
    let sent = Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    assert_eq!(ended(child), Some(0));
}

#[test]
fn a_watch_that_is_no_terminal_prints_plain_tables_and_ends_when_nobody_reads() {
    let cluster = Cluster::serving(&[]);
    let (child, mut lines) = watch(&cluster, &[]);
    let mut table = || -> Vec<String> { lines.by_ref().take_while(|line| !line.is_empty()).collect() };
    for _ in 0..2 {
        let table = table();
        assert!(table[0].contains("4 of 4 replicas answer"), "{table:?}");
        assert!(table[1].starts_with("id  view  primary") && table[1].contains("clients"), "{table:?}");
        assert_eq!(table.iter().filter(|line| line.contains("3/3  normal")).count(), 4, "{table:?}");
        assert!(table.iter().all(|line| !line.contains('\x1b')), "{table:?}");
    }
    drop(lines);
    assert_eq!(ended(child), Some(0));
}
