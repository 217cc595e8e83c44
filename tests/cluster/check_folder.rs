//! `quorate check`: what it finds in the folder of a replica that stopped, and that it changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use quorate_protocol::types::ReplicaId;
use serde_json::Value;

use super::processes::{Cluster, block, quorate, text, until};

/// Where the records of a journal begin: behind its header and two seals.
const RECORDS_AT: u64 = 3 * 4096;

fn folder_of(cluster: &Cluster, id: u16) -> PathBuf {
    cluster.layout.data(ReplicaId(id))
}

/// Runs `quorate check` and sees that it changed nothing.
fn check(folder: &Path, arguments: &[&str]) -> Output {
    let contents = || -> BTreeMap<_, _> {
        let files = fs::read_dir(folder).unwrap().map(Result::unwrap);
        files.map(|file| (file.file_name(), file.metadata().unwrap().modified().unwrap())).collect()
    };
    let before = contents();
    let output = quorate(&[&["check", folder.to_str().unwrap()], arguments].concat());
    assert_eq!(contents(), before, "a check changes nothing");
    output
}

fn object(folder: &Path) -> (Option<i32>, Value) {
    let output = check(folder, &["--json"]);
    let value = serde_json::from_slice(&output.stdout);
    (output.status.code(), value.unwrap_or_else(|_| panic!("{}", text(&output.stderr))))
}

fn flip(file: &Path, at: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

#[test]
fn a_folder_is_looked_at_when_its_replica_has_stopped() {
    let mut cluster = Cluster::serving(&[]);
    cluster.answers(&["kv", "put", "a", "1"], "stored\n");
    let folder = folder_of(&cluster, 2);
    let refused = quorate(&["check", folder.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("a running replica has it; fix: stop it first"), "{refused:?}");
    cluster.kill(2);
    let (code, found) = object(&folder);
    assert_eq!((code, &found["sound"]), (Some(0), &Value::Bool(true)), "{found}");
    assert_eq!(
        (&found["superblock"]["replica"], &found["superblock"]["copies_good"]),
        (&2.into(), &4.into())
    );
    assert!(found["journal"]["records"].as_u64().unwrap() >= 3, "a body, a vote and a certificate: {found}");
    let file = cluster.layout.cluster_file();
    let page = check(&folder, &["--cluster", file.to_str().unwrap()]);
    assert_eq!(page.status.code(), Some(0));
    assert!(
        text(&page.stdout).contains("verdict     sound: the replica can start"),
        "{}",
        text(&page.stdout)
    );

    let damage = || {
        flip(&folder.join("journal"), RECORDS_AT + 100);
        flip(&folder.join("journal"), 2);
        flip(&folder.join("superblock"), 100);
    };
    damage();
    let (code, found) = object(&folder);
    assert_eq!((code, &found["journal"]["repaired"]), (Some(0), &2.into()), "{found}");
    assert_eq!(found["superblock"]["copies_good"], 3);
    assert!(found["verdict"].as_str().unwrap().contains("is mended at its start"), "{found}");
    let page = text(&check(&folder, &[]).stdout);
    assert!(page.contains("as far as this folder shows"), "{page}");
    assert!(page.contains("damaged in one of two copies: 2 of its pieces"), "{page}");
    assert!(!page.contains("   0 ") && !page.contains("slot"), "{page}");

    cluster.start(2);
    let status = block(until("an answer", async || cluster.status(2).await));
    for words in [
        "only 3 of 4 copies of the superblock were good; the others are mended",
        "damaged in one of two copies of the journal, and mended: 2 of its pieces",
    ] {
        assert!(status.warnings.iter().any(|warning| warning.starts_with(words)), "{:?}", status.warnings);
        assert_eq!(cluster.log(2).matches(words).count(), 1, "{}", cluster.log(2));
    }
    cluster.kill(2);
    let (_, found) = object(&folder);
    assert_eq!((&found["journal"]["repaired"], &found["superblock"]["copies_good"]), (&0.into(), &4.into()));

    fs::rename(folder.join("journal"), folder.join("elsewhere")).unwrap();
    let (code, found) = object(&folder);
    assert_eq!((code, &found["sound"]), (Some(1), &Value::Bool(false)), "{found}");
    assert_eq!(found["journal"]["amnesia"], "its journal is gone");
    assert!(found["verdict"].as_str().unwrap().contains("may have forgotten votes"), "{found}");
    assert_eq!(found["foreign"], Value::from(vec!["elsewhere"]));
}

#[test]
fn a_folder_that_lost_its_journal_and_its_state_is_told_both() {
    let preset = tempfile::NamedTempFile::new().unwrap();
    fs::write(preset.path(), "[parameters]\ncheckpoint_interval = 8\nwindow = 16\n").unwrap();
    let mut cluster = Cluster::serving(&["--preset", preset.path().to_str().unwrap()]);
    for value in 0..8 {
        cluster.client(&["kv", "put", "a", &value.to_string()]);
    }
    let status = block(until("a checkpoint", async || cluster.status(2).await.filter(|it| it.low >= 8)));
    let folder = folder_of(&cluster, 2);
    cluster.stop(2);
    fs::remove_file(folder.join("journal")).unwrap();
    let states: Vec<_> = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    let states = states.iter().filter(|path| path.to_str().unwrap().contains("snapshot"));
    assert!(states.map(|path| flip(path, 100)).count() > 0, "{status:?}");
    let (code, found) = object(&folder);
    let verdict = found["verdict"].as_str().unwrap();
    assert_eq!(code, Some(1), "{found}");
    assert!(verdict.contains("its journal is gone; the state at sequence "), "{verdict}");
    assert!(
        verdict.contains("it stays out of every vote") && verdict.contains("it fetches a state"),
        "{verdict}"
    );
}

#[test]
fn a_folder_of_another_cluster_and_none_at_all_are_told_apart() {
    let (cluster, other) = (Cluster::init(&[]), Cluster::init(&[]));
    let folder = folder_of(&cluster, 0);
    let file = other.layout.cluster_file();
    let output = check(&folder, &["--cluster", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stdout);
    let (ours, theirs) = (cluster.file.id().0.to_string(), other.file.id().0.to_string());
    assert!(said.contains(&format!("it belongs to cluster {ours}, not to {theirs}")), "{said}");

    let empty = tempfile::tempdir().unwrap();
    let output = check(empty.path(), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stdout).contains("verdict     this folder was not formatted"),
        "{}",
        text(&output.stdout)
    );
    assert_eq!(text(&output.stdout).matches("was not formatted").count(), 1, "once is enough");
    let nowhere = empty.path().join("nowhere");
    let output = quorate(&["check", nowhere.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("there is no such folder; fix:"), "{}", text(&output.stderr));
}
