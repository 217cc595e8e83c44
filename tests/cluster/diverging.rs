//! An application that is made to compute something else on purpose, on one replica of a cluster for trials: that replica
//! finds out, falls silent, gets the state of the others, and its folder says which request and which keys it was.

use std::io::Write;

use quorate_protocol::types::ReplicaId;
use serde_json::Value;
use tempfile::NamedTempFile;

use super::processes::{Cluster, PATIENCE, block, put, quorate, text, until};

/// Its second interval of eight slots.
const WRONG: &str = "wrong-execution:seq=9..17";

/// What `quorate divergence` says of a stopped replica's folder, in these further words.
fn divergence(cluster: &Cluster, id: u16, more: &[&str]) -> (Option<i32>, String) {
    let (folder, file) = (cluster.layout.data(ReplicaId(id)), cluster.layout.cluster_file());
    let words = ["divergence", folder.to_str().unwrap(), "--cluster", file.to_str().unwrap()];
    let output = quorate(&[&words[..], more].concat());
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

fn write(cluster: &Cluster, keys: std::ops::Range<u32>) {
    block(async {
        let caller = cluster.caller(cluster.client_key(0)).await;
        for key in keys {
            caller.call_within(put(&format!("key-{key}"), &format!("value {key}")), PATIENCE).await.unwrap();
        }
    });
}

#[test]
fn c10_a_replica_that_computes_otherwise_falls_silent_and_its_folder_names_request_and_keys() {
    let mut preset = NamedTempFile::new().unwrap();
    write!(preset, "[parameters]\ncheckpoint_interval = 8\nwindow = 16\n").unwrap();
    let mut cluster = Cluster::init(&["--testing", "--preset", preset.path().to_str().unwrap()]);
    // Nobody gives it another state, so that it can be looked at in its silence.
    for id in 0..3 {
        cluster.start_with(id, &["--byzantine", "stall-transfer"]);
    }
    cluster.start_with(3, &["--byzantine", WRONG]);
    block(cluster.until_linked());
    write(&cluster, 0..24);
    let found = block(until("it to find out", async || {
        cluster.status(3).await.filter(|status| status.status == "diverged")
    }));
    assert!(found.lies["wrong-execution"] >= 8, "{found:?}");
    assert!(found.standing.contains("wrong at checkpoint 16; it neither votes nor answers"), "{found:?}");
    let alarms = found.alarms.join("\n");
    assert!(alarms.contains("ask `quorate divergence` which request did it"), "{alarms}");
    // Three of four are a quorum, but it does not vote.
    cluster.kill(2);
    let file = cluster.layout.cluster_file().to_str().unwrap().to_owned();
    let words = ["client", "--cluster", &file, "--timeout", "2", "kv", "put", "silent", "1"];
    assert_eq!(quorate(&words).status.code(), Some(1), "two of four decided something");
    assert_eq!(block(cluster.status(3)).unwrap().status, "diverged");
    // One that serves is enough: it votes again, with the state of the others.
    cluster.start(2);
    block(until("it to be mended", async || {
        let status = cluster.status(3).await?;
        (status.status == "normal" && status.counter("quorate_transfers_completed_total") > 0).then_some(())
    }));
    block(cluster.until_agreed());
    cluster.answers(&["kv", "put", "after", "it"], "stored\n");
    cluster.stop(3);

    let (code, page) = divergence(&cluster, 3, &[]);
    assert_eq!(code, Some(1), "{page}");
    for part in [
        "found at     checkpoint 16, the first that differs; checkpoint 8 was right",
        "batches      8 of 8 are here",
        "in sequence 9, digest ",
        "\nkeys         \"key-",
        "verdict      this replica computed it wrongly once: replayed, the batches lead to the state that the others have",
    ] {
        assert!(page.contains(part), "`{part}` is missing from:\n{page}");
    }
    let (_, page) = divergence(&cluster, 3, &["--json"]);
    let report: Value = serde_json::from_str(&page).unwrap();
    assert_eq!((&report["checkpoint"], &report["agreed"]), (&16.into(), &8.into()), "{report}");
    assert_eq!((&report["request"]["sequence"], &report["verdict"]), (&9.into(), &"once".into()), "{report}");
    let keys = report["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 8, "{report}");
    for key in keys {
        let (ours, theirs) = (key["ours"].as_str().unwrap(), key["theirs"].as_str().unwrap());
        assert!(key["key"].as_str().unwrap().starts_with("key-") && ours != theirs, "{report}");
        assert!(theirs.starts_with("value ") && ours.starts_with("value"), "{report}");
    }
    // Replayed as what it ran: a program that does something else each time.
    let (code, page) = divergence(&cluster, 3, &["--byzantine", WRONG]);
    assert_eq!(code, Some(1), "{page}");
    assert!(
        page.contains("verdict      the fault that was asked for with `--byzantine` is what differs"),
        "{page}"
    );
    assert!(!page.contains("not deterministic"), "the application is not to blame for it: {page}");
    assert!(page.contains("in sequence 9, digest "), "{page}");
    let (code, page) = divergence(&cluster, 0, &[]);
    assert!(code == Some(1) && page.contains("a running replica has it; fix: stop it first"), "{page}");
    cluster.stop(0);
    let (code, page) = divergence(&cluster, 0, &[]);
    assert_eq!((code, page.contains("its state was never found to be wrong")), (Some(0), true), "{page}");
}
