//! What operators read: the table, the exit code, the metrics, and the error of a client that waits in vain.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::processes::{Cluster, quorate, text};

/// Runs `quorate status`; gives back its exit code and its table.
fn status(cluster: &Cluster) -> (Option<i32>, String) {
    let file = cluster.layout.cluster_file();
    let output = quorate(&["status", "--cluster", file.to_str().unwrap()]);
    (output.status.code(), text(&output.stdout))
}

#[test]
fn status_succeeds_while_a_quorum_answers_and_names_who_does_not() {
    let mut cluster = Cluster::serving(&[]);
    let (code, table) = status(&cluster);
    assert_eq!(code, Some(0), "{table}");
    assert_eq!(table.lines().count(), 5, "a head and a line for each replica:\n{table}");
    assert_eq!(table.matches("primary").count(), 1, "{table}");
    assert_eq!(table.matches("3/3   normal").count(), 4, "{table}");
    cluster.kill(3);
    let (code, table) = status(&cluster);
    assert_eq!(code, Some(0), "three of four are a quorum:\n{table}");
    let address = cluster.file.replicas()[3].addresses.admin;
    assert!(table.contains(&format!("      3  no answer from {address}")), "{table}");
    assert!(table.contains("is the replica running?"), "{table}");
    cluster.kill(2);
    let (code, table) = status(&cluster);
    assert_eq!(code, Some(1), "two of four are none:\n{table}");
    let file = cluster.layout.cluster_file();
    let words = ["client", "--cluster", file.to_str().unwrap(), "--timeout", "1", "kv", "get", "a"];
    let client = quorate(&words);
    assert_eq!(client.status.code(), Some(1));
    let said = text(&client.stderr);
    for part in [
        "no answer of enough replicas within 1s",
        "no link to replica 2, 3: ",
        "fix: see that `quorate status`",
    ] {
        assert!(said.contains(part), "`{part}` is missing from: {said}");
    }
    assert_eq!(said.matches("error: ").count(), 1, "{said}");
}

#[test]
fn metrics_are_text_that_prometheus_reads() {
    let cluster = Cluster::serving(&[]);
    cluster.answers(&["kv", "put", "a", "1"], "stored\n");
    let address = cluster.file.replicas()[1].addresses.admin;
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.0 200") && head.contains("text/plain"), "{head}");
    let mut lines = body.lines();
    while let (Some(kind), Some(value)) = (lines.next(), lines.next()) {
        let mut words = kind.strip_prefix("# TYPE ").unwrap().split(' ');
        let (name, kind) = (words.next().unwrap(), words.next().unwrap());
        assert!(kind == "gauge" || (kind == "counter" && name.ends_with("_total")), "{name} {kind}");
        let value = value.strip_prefix(&format!("{name}{{replica=\"1\"}} ")).unwrap();
        value.parse::<u64>().unwrap();
    }
    assert!(body.contains("\nquorate_peer_links_up{replica=\"1\"} 3\n"), "{body}");
}

#[test]
fn status_is_not_fooled_by_another_cluster_on_the_same_ports() {
    let cluster = Cluster::serving(&[]);
    let folder = tempfile::tempdir().unwrap();
    let port = cluster.file.replicas()[0].addresses.peer.port().to_string();
    let made = quorate(&["init", folder.path().to_str().unwrap(), "--base-port", &port]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    let file = folder.path().join("cluster.toml");
    let output = quorate(&["status", "--cluster", file.to_str().unwrap()]);
    let table = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{table}");
    assert_eq!(table.matches("answers for another cluster").count(), 4, "{table}");
    assert!(table.contains("no quorum: 0 of 4 replicas execute, 3 are needed"), "{table}");
}

#[test]
fn a_refusal_of_the_application_is_an_error_that_names_the_bound() {
    let cluster = Cluster::serving(&[]);
    let output = cluster.client(&["kv", "put", &"k".repeat(1025), "1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("refused: a key may have 1024 bytes"), "{}", text(&output.stderr));
}
