//! A real replica whose disk takes no more: it says so and stops, the others go on, and it comes back.

use std::fs::OpenOptions;
use std::process::{Command, Stdio};

use quorate_protocol::types::ReplicaId;

use super::processes::{Cluster, block, quorate, text, until};

#[test]
fn e7_a_replica_whose_disk_takes_no_more_stops_and_says_so_and_comes_back_when_there_is_room() {
    let mut cluster = Cluster::init(&[]);
    (0..3).for_each(|id| cluster.start(id));
    let log = cluster.path().join("full.log");
    let words = OpenOptions::new().create(true).append(true).open(&log).unwrap();
    // Whoever ignores the signal that comes with it sees the limit as an error, like a full disk.
    let mut child = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_quorate")])
        .args(cluster.words(3))
        .arg("--exit-with-stdin")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(words)
        .spawn()
        .unwrap();
    block(until("a fourth replica", async || cluster.status(3).await.map(drop)));
    cluster.answers(&["kv", "put", "before", "1"], "stored\n");
    let limit =
        Command::new("prlimit").args([format!("--pid={}", child.id()), "--fsize=65536".to_owned()]).status();
    if !limit.is_ok_and(|status| status.success()) {
        eprintln!("UNVERIFIED: no `prlimit` here that may limit the files of a process");
        drop(child.kill());
        drop(child.wait());
        return;
    }
    let ended = block(until("the end of a replica without room", async || {
        assert!(cluster.client(&["kv", "put", "after", "2"]).status.success(), "three of four serve");
        child.try_wait().unwrap()
    }));
    let said = std::fs::read_to_string(&log).unwrap();
    assert_eq!(ended.code(), Some(1), "{said}");
    for part in ["stops rather than promise", "writing `journal`", "no space is left", "fix: make room there"]
    {
        assert!(said.contains(part), "`{part}` is missing from: {said}");
    }
    let checked = quorate(&["check", cluster.layout.data(ReplicaId(3)).to_str().unwrap()]);
    assert!(checked.status.success(), "{}", text(&checked.stdout));
    cluster.answers(&["kv", "get", "after"], "2\n");
    cluster.start(3);
    block(cluster.until_agreed());
}
