//! What operators read: the table, the exit code, the metrics, and the error of a client that waits in vain.

use std::io::{Read, Write};
use std::net::TcpStream;

use quorate_node::admin;
use quorate_node::why::{Waiting, Why};

use super::processes::{Cluster, block, get, quorate, text, until};

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
        "\n  2 of 4 replicas can be reached, 3 are needed; not reached: 2, 3; replica ",
        "status --cluster ",
    ] {
        assert!(said.contains(part), "`{part}` is missing from: {said}");
    }
    let error = said.lines().skip_while(|line| !line.starts_with("error: "));
    assert_eq!(error.clone().count(), 3, "what, why and what to do, each on its line: {said}");
    assert!(error.clone().all(|line| line.len() < 160), "{said}");
    assert_eq!(said.matches("error: ").count(), 1, "{said}");
    assert!(!said.contains("lost:"), "what never was there cannot be lost: {said}");
}

/// What the admin endpoint of replica 1 answers: the head, and the body.
fn page(cluster: &Cluster, path: &str) -> (String, String) {
    let address = cluster.file.replicas()[1].addresses.admin;
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[test]
fn the_admin_endpoint_says_what_can_be_asked_of_it() {
    let mut cluster = Cluster::init(&[]);
    cluster.start(1);
    block(until("replica 1", async || cluster.status(1).await));
    for (path, code, part) in [
        ("/", "200", "Ask for /status, /why, /metrics, "),
        ("/nowhere", "404", "There is nothing here. Ask for /status"),
        ("/history", "400", "Say which slot"),
        ("/history?seq=first", "400", "/history?seq=1"),
    ] {
        let (head, body) = page(&cluster, path);
        assert!(head.starts_with(&format!("HTTP/1.0 {code}")), "{path}: {head}");
        assert!(body.contains(part) && body.lines().count() == 1, "{path}: {body}");
    }
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

/// What a replica waits for.
async fn why(cluster: &Cluster, id: usize) -> Option<Why> {
    admin::fetch(cluster.file.replicas()[id].addresses.admin, "/why").await.ok()
}

fn found<'a>(why: &'a Why, reason: &str) -> Option<&'a Waiting> {
    why.waits.iter().find(|wait| wait.reason == reason)
}

/// Runs `quorate why` with these words behind its options.
fn asked_why(cluster: &Cluster, words: &[&str]) -> (Option<i32>, String) {
    let file = cluster.layout.cluster_file();
    let output = quorate(&[&["why", "--cluster", file.to_str().unwrap()], words].concat());
    (output.status.code(), text(&output.stdout))
}

#[test]
fn a_backup_names_the_primary_that_it_waits_for_and_says_until_when() {
    // Time enough to ask before it is given up.
    let preset = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(preset.path(), "[parameters]\ntimeout_ms = 20000\n").unwrap();
    let mut cluster = Cluster::serving(&["--preset", preset.path().to_str().unwrap()]);
    block(until("replicas without a task", async || {
        let why = why(&cluster, 1).await?;
        found(&why, "idle").filter(|_| why.waits.len() == 1).map(drop)
    }));
    let (code, said) = asked_why(&cluster, &[]);
    assert_eq!((code, said.matches(", no request is pending").count()), (Some(0), 4), "{said}");

    cluster.kill(0);
    let waited = block(async {
        let caller = cluster.caller(cluster.client_key(0)).await;
        tokio::select! {
            answer = caller.call(get("a")) => panic!("without its primary the cluster gave {answer:?}"),
            waited = until("a reason to wait", async || {
                // The client asks one replica first and then all.
                let (one, two) = (why(&cluster, 1).await?, why(&cluster, 2).await?);
                found(&two, "requests")?;
                // And who has just started blames nobody before it has heard a quorum.
                let blames = |wait: &&Waiting| wait.for_ms > Some(0) && wait.gives_up_in_ms.is_some();
                found(&one, "requests").filter(blames).cloned()
            }) => waited,
        }
    });
    assert_eq!(waited.missing, [0], "{waited:?}");
    let whole = waited.for_ms.unwrap() + waited.gives_up_in_ms.unwrap();
    // The request may have come a moment before that quorum was heard, and the primary's time begins then.
    assert!((19_990..21_000).contains(&whole), "{waited:?}");
    let (code, said) = asked_why(&cluster, &["--replica", "2"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("replica 2, normal, view 0, primary 0\n"), "{said}");
    assert!(
        said.contains("waits for replica 0, the primary, to get 1 pending operation committed; for "),
        "{said}"
    );
    assert!(said.contains("leaves the view in "), "{said}");
    let (code, said) = asked_why(&cluster, &["--json"]);
    assert_eq!(code, Some(1), "replica 0 does not answer: {said}");
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert!(json[0].is_null() && json[3]["waits"][0]["what"].is_string(), "{said}");
}

#[test]
fn who_waits_for_a_quorum_names_who_is_missing_and_which_links_are_down() {
    let mut cluster = Cluster::serving(&[]);
    cluster.answers(&["kv", "put", "a", "1"], "stored\n");
    cluster.kill_some(&[0, 1]);
    block(async {
        let caller = cluster.caller(cluster.client_key(0)).await;
        let seen = until("the view change and the links", async || {
            let why = why(&cluster, 2).await?;
            let changes = found(&why, "view-changes")?;
            let links = why.waits.iter().filter(|wait| wait.reason == "link").count();
            let (mut missing, have) = (changes.missing.clone(), changes.have.clone());
            missing.sort_unstable();
            // Of a view that it has just left for, it may not have heard the other one yet.
            (links == 2 && have.len() == 2).then_some((have, missing, changes.needed))
        });
        tokio::select! {
            answer = caller.call(get("a")) => panic!("two of four replicas gave {answer:?}"),
            seen = seen => assert_eq!(seen, (vec![2, 3], vec![0, 1], Some(3))),
        }
    });
    let (code, said) = asked_why(&cluster, &[]);
    let too_few = "no quorum: 2 of 4 replicas answer, and nothing commits before 3 do; replicas 0 and 1 do not; fix: \
                   start 1 of them: `";
    assert!(code == Some(1) && said.lines().last().unwrap().starts_with(too_few), "{said}");
    let (_, said) = asked_why(&cluster, &["--replica", "2"]);
    assert!(!said.contains("no quorum"), "nobody else was asked: {said}");
    assert!(said.contains("VIEW-CHANGE for view") && said.contains("not of 0 and 1; for "), "{said}");
    assert!(said.contains("waits for a link to replica 0: ") && said.contains("to replica 1: "), "{said}");
}

#[test]
fn a_replica_that_was_killed_is_missed_before_its_links_are_known_to_be_down() {
    let mut cluster = Cluster::serving(&[]);
    cluster.kill(3);
    let silent = block(until("silence", async || {
        let why = why(&cluster, 0).await?;
        found(&why, "silence").cloned()
    }));
    assert_eq!(silent.missing, [3]);
    let status = block(cluster.status(0)).unwrap();
    assert!(status.links_up.contains(&3), "the link is not known to be down yet: {status:?}");
    let heard = status.heard.iter().find(|heard| heard.replica == 3).unwrap();
    assert!(heard.ms_ago > 2_000, "{heard:?}");
    let (_, said) = asked_why(&cluster, &["--replica", "0"]);
    assert!(said.contains("\n  replica 3 has been silent for "), "{said}");
    assert!(!said.contains("waits for nothing"), "it waits for replica 3: {said}");
    let (_, table) = self::status(&cluster);
    assert!(table.contains("replica 0 last heard replica 3 "), "{table}");
}

#[test]
fn a_key_that_is_not_there_is_no_value_whatever_the_value_could_be() {
    let cluster = Cluster::serving(&[]);
    let missing = cluster.client(&["kv", "get", "a"]);
    assert_eq!((missing.status.code(), text(&missing.stdout)), (Some(4), String::new()));
    assert!(text(&missing.stderr).contains("there is no such key"), "{}", text(&missing.stderr));
    let json = |words: &[&str]| -> serde_json::Value {
        serde_json::from_slice(&cluster.client(&[&["--json"], words].concat()).stdout).unwrap()
    };
    assert!(json(&["kv", "get", "a"])["reply"].is_null());
    let deleted = cluster.client(&["kv", "delete", "a"]);
    assert_eq!((deleted.status.code(), &*text(&deleted.stdout)), (Some(4), "was not there\n"));
    let swapped = cluster.client(&["kv", "cas", "a", "1", "2"]);
    assert_eq!(swapped.status.code(), Some(4), "{}", text(&swapped.stdout));
    for value in ["(none)", "", "null"] {
        assert_eq!(cluster.client(&["kv", "put", "a", value]).status.code(), Some(0));
        cluster.answers(&["kv", "get", "a"], &format!("{value}\n"));
        assert_eq!(json(&["kv", "get", "a"])["reply"], value);
    }
    cluster.answers(&["kv", "cas", "a", "null", "2"], "swapped\n");
    cluster.answers(&["kv", "delete", "a"], "deleted\n");
}

#[test]
fn options_of_the_client_may_stand_behind_what_it_is_to_do() {
    let cluster = Cluster::serving(&[]);
    let file = cluster.layout.cluster_file();
    let words =
        ["client", "kv", "put", "a", "1", "--cluster", file.to_str().unwrap(), "--timeout", "30", "--json"];
    let output = quorate(&words);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("\"reply\": \"stored\""), "{}", text(&output.stdout));
}
