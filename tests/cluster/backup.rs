//! `quorate backup` and `quorate restore`: of all folders of a replica at most one votes.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use quorate_node::status::Status;
use quorate_protocol::types::ReplicaId;
use serde_json::Value;
use tempfile::NamedTempFile;

use super::processes::{Cluster, block, quorate, text, until};

/// A window so small that who was away for a while needs a state.
fn serving() -> Cluster {
    let mut preset = NamedTempFile::new().unwrap();
    write!(preset, "[parameters]\ncheckpoint_interval = 8\nwindow = 16\n").unwrap();
    Cluster::serving(&["--preset", preset.path().to_str().unwrap()])
}

fn data(cluster: &Cluster, id: u16) -> PathBuf {
    cluster.layout.data(ReplicaId(id))
}

fn word(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn backup(from: &Path, to: &Path, more: &[&str]) -> Output {
    quorate(&[&["backup", word(from), "--to", word(to)], more].concat())
}

fn restore(from: &Path, to: &Path, more: &[&str]) -> Output {
    quorate(&[&["restore", word(from), "--to", word(to)], more].concat())
}

#[track_caller]
fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[track_caller]
fn refused(output: &Output, words: &str) {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(words) && said.contains("fix: "), "{said}");
}

fn check(folder: &Path) -> Value {
    let output = quorate(&["check", word(folder), "--json"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)))
}

fn until_status(cluster: &Cluster, id: usize, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
    block(until(what, async || cluster.status(id).await.filter(&wanted)))
}

/// Asks for something that the cluster cannot do, and sees that nothing commits.
fn nothing_commits(cluster: &Cluster, id: usize) {
    let before = block(cluster.status(id)).unwrap().committed;
    let file = cluster.layout.cluster_file();
    let asked = quorate(&["client", "--cluster", word(&file), "--timeout", "3", "kv", "put", "stuck", "1"]);
    assert_eq!(asked.status.code(), Some(1), "{}", text(&asked.stdout));
    assert_eq!(block(cluster.status(id)).unwrap().committed, before);
}

#[test]
fn c9_a_restored_copy_catches_up_and_serves_and_does_not_count_as_a_voter() {
    let mut cluster = serving();
    cluster.answers(&["kv", "put", "a", "1"], "stored\n");
    block(cluster.until_agreed());
    cluster.kill(2);
    let (folder, copy) = (data(&cluster, 3), cluster.path().join("copy"));
    cluster.stop(3);
    done(&backup(&folder, &copy, &[]));
    cluster.start(3);
    block(cluster.until_linked());
    for value in 0..40 {
        cluster.answers(&["kv", "put", &format!("key {value}"), &value.to_string()], "stored\n");
    }
    let executed = block(cluster.until_agreed());
    // The original is lost, and the copy takes its place: what replica 3 voted for since then is in no folder.
    cluster.kill(3);
    fs::remove_dir_all(&folder).unwrap();
    done(&restore(&copy, &folder, &[]));
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    // It comes back from those who were there, and the one that was away comes back from it alone.
    cluster.start(3);
    let out = until_status(&cluster, 3, "it to catch up", |status| status.executed >= executed);
    assert_eq!(out.status, "out", "{out:?}");
    assert!(out.warnings.iter().chain(&out.alarms).any(|words| words.contains("is a copy")), "{out:?}");
    cluster.kill_some(&[0, 1]);
    cluster.start(2);
    until_status(&cluster, 2, "a state of replica 3", |status| status.executed >= executed);
    nothing_commits(&cluster, 2);
    // Three voters of four are a quorum, with the fourth looking on.
    (0..2).for_each(|id| cluster.start(id));
    block(cluster.until_linked());
    cluster.answers(&["kv", "put", "a", "2"], "replaced\n");
    block(cluster.until_agreed());
    // Two are none, though three replicas run.
    cluster.kill(2);
    nothing_commits(&cluster, 0);
    cluster.start(2);
    cluster.answers(&["kv", "get", "a"], "2\n");
    assert_eq!(block(cluster.status(3)).unwrap().status, "out");
    cluster.stop(3);
    refused(&backup(&folder, &cluster.path().join("again"), &["--move"]), "no right to vote that could move");
}

#[test]
fn c9_a_replica_that_moves_votes_from_its_new_folder_and_from_no_other() {
    let mut cluster = serving();
    cluster.answers(&["kv", "put", "a", "1"], "stored\n");
    block(cluster.until_agreed());
    let (folder, copy) = (data(&cluster, 3), cluster.path().join("copy"));
    refused(&backup(&folder, &copy, &["--move"]), "a running replica has it");
    assert!(!copy.exists());
    cluster.stop(3);
    done(&backup(&folder, &copy, &["--move"]));
    let said = done(&backup(&folder, &copy, &["--move"]));
    assert!(said.contains("copied      before"), "given again, it has nothing left to do: {said}");
    let said = cluster.refused(3, &[]);
    assert!(said.contains("its right to vote was moved") && said.contains("fix: "), "{said}");
    let said = cluster.refused(3, &["--data", word(&copy)]);
    assert!(
        said.contains("carries the right to vote") && said.contains("`quorate restore --moved`"),
        "{said}"
    );
    refused(&backup(&folder, &cluster.path().join("other"), &["--move"]), "which is not there");
    let original = cluster.path().join("original");
    fs::rename(&folder, &original).unwrap();
    done(&restore(&copy, &folder, &["--moved"]));
    refused(&restore(&copy, &cluster.path().join("second"), &["--moved"]), "which is not there");
    cluster.start(3);
    block(cluster.until_linked());
    assert_eq!(block(cluster.status(3)).unwrap().status, "normal");
    cluster.kill(2);
    cluster.answers(&["kv", "put", "a", "2"], "replaced\n");
    for folder in [&original, &copy] {
        assert!(cluster.refused(3, &["--data", word(folder)]).contains("its right to vote was moved"));
        assert_eq!(check(folder)["votes"], false);
    }
    // A copy of what gave its right to vote away is still a copy.
    let late = cluster.path().join("late");
    done(&restore(&original, &late, &[]));
    assert_eq!(check(&late)["starts"], true);
    assert_eq!(check(&late)["votes"], false);
}

#[test]
fn a_copy_is_private_whole_and_without_what_is_no_replicas() {
    let cluster = Cluster::init(&[]);
    let (folder, copy) = (data(&cluster, 0), cluster.path().join("copies/replica-0"));
    fs::write(folder.join("notes.txt"), "mine").unwrap();
    symlink("/etc", folder.join("elsewhere")).unwrap();
    let output = backup(&folder, &copy, &["--json"]);
    let object: Value = serde_json::from_str(&done(&output)).unwrap();
    assert_eq!(object["left_out"], Value::from(vec!["elsewhere", "notes.txt"]), "{object}");
    assert_eq!((&object["replica"], &object["copy_votes"]), (&Value::from(0), &Value::from(false)));
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o700);
    let mut names = Vec::new();
    for file in fs::read_dir(&copy).unwrap().map(Result::unwrap) {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        names.push(file.file_name().into_string().unwrap());
    }
    names.sort_unstable();
    assert_eq!(names, ["journal", "lock", "superblock"]);
    let checked = check(&copy);
    assert_eq!(
        (&checked["sound"], &checked["copy"], &checked["votes"]),
        (&true.into(), &true.into(), &false.into())
    );
    assert_eq!(checked["starts"], true, "{checked}");
    // What is there is never written over, what was cut short starts no replica, and says what to do.
    refused(&backup(&folder, &copy, &[]), "something is there already (journal, superblock)");
    refused(&backup(&folder, &folder.join("inside"), &[]), "inside the folder that is copied");
    fs::remove_file(copy.join("superblock")).unwrap();
    assert!(cluster.refused(0, &["--data", word(&copy)]).contains("lost its superblock"));
    refused(&restore(&copy, &cluster.path().join("new"), &[]), "no superblock to be trusted");
    refused(&backup(&folder, &copy, &[]), "may be removed");
    let keys = cluster.layout.keys();
    refused(&backup(&folder, &keys, &["--move"]), "something is there already (client-0.pem, ");
    assert!(!keys.join("lock").exists(), "what is no copy is not even locked");
    assert!(!cluster.path().join("new").exists(), "what fails leaves nothing behind");
    // A link in the place of a replica's own file is not followed.
    fs::rename(folder.join("journal"), cluster.path().join("journal")).unwrap();
    symlink(cluster.path().join("journal"), folder.join("journal")).unwrap();
    refused(&backup(&folder, &cluster.path().join("new"), &[]), "a link or a folder where a file belongs");
}

#[test]
fn a_damaged_folder_is_copied_only_by_who_knows_that_it_is() {
    let cluster = Cluster::init(&[]);
    let (folder, copy) = (data(&cluster, 1), cluster.path().join("copy"));
    fs::remove_file(folder.join("journal")).unwrap();
    refused(&backup(&folder, &copy, &[]), "the folder is damaged: promises are lost: its journal is gone");
    assert!(!copy.exists());
    let said = done(&backup(&folder, &copy, &["--damaged"]));
    assert!(said.contains("damaged     promises are lost: its journal is gone"), "{said}");
    assert!(said.contains("keys        none are in it"), "{said}");
    refused(&restore(&copy, &cluster.path().join("new"), &[]), "pass `--damaged`");
    done(&restore(&copy, &cluster.path().join("new"), &["--damaged"]));
}

#[test]
fn a_copy_for_which_there_is_no_room_leaves_nothing_behind_and_the_original_as_it_was() {
    let cluster = Cluster::init(&[]);
    let (folder, copy) = (data(&cluster, 1), cluster.path().join("copy"));
    let limited = |arguments: &[&str]| {
        let mut child = Command::new("sh");
        // 4 MiB, in blocks of 512 bytes.
        child.args(["-c", "ulimit -f 8192; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_quorate")]);
        child.args(arguments).stdin(Stdio::null()).output().unwrap()
    };
    for moving in [&["--move"][..], &[]] {
        let output = limited(&[&["backup", word(&folder), "--to", word(&copy)], moving].concat());
        refused(&output, "no space is left there");
        assert!(!copy.exists(), "{}", text(&output.stderr));
        assert_eq!(check(&folder)["votes"], true);
    }
    fs::create_dir(&copy).unwrap();
    fs::set_permissions(&copy, Permissions::from_mode(0o755)).unwrap();
    done(&backup(&folder, &copy, &[]));
    assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o700, "nobody else looks into it");
}
