//! What a replica does not start with: each time the culprit and the fix are named, and nothing is touched.

use std::fs::{self, Permissions};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use quorate_protocol::types::ReplicaId;

use super::processes::{Cluster, block, quorate, text, until};

#[track_caller]
fn names(said: &str, all: &[&str]) {
    for part in all {
        assert!(said.contains(part), "`{part}` is missing from:\n{said}");
    }
}

#[test]
fn a_port_in_use_is_named_together_with_the_fix() {
    let cluster = Cluster::init(&[]);
    let addresses = cluster.file.replicas()[0].addresses;
    for address in [addresses.peer, addresses.client] {
        let holder = UdpSocket::bind(address).unwrap();
        let fix =
            "is in use; stop the program that has it, or give this replica another port in the cluster file";
        names(&cluster.refused(0, &[]), &[&format!("{address} {fix}")]);
        drop(holder);
    }
    let _holder = TcpListener::bind(addresses.admin).unwrap();
    let admin = addresses.admin.to_string();
    names(&cluster.refused(0, &[]), &[&admin, "in use", "change `admin_address` of this replica"]);
}

#[test]
fn a_key_file_that_is_missing_or_not_this_replicas_or_readable_by_others_is_refused() {
    let cluster = Cluster::init(&[]);
    let path = |id| cluster.layout.replica_key(ReplicaId(id)).to_str().unwrap().to_owned();
    let (own, other) = (path(0), path(1));
    names(
        &cluster.refused(0, &["--key", &other]),
        &[&other, "this is replica 1's key, not replica 0's; fix: pass the key file of replica 0"],
    );
    let nowhere = format!("{own}.away");
    names(&cluster.refused(0, &["--key", &nowhere]), &[&nowhere, "there is no key file; fix:", "`--key`"]);
    fs::set_permissions(&own, Permissions::from_mode(0o644)).unwrap();
    names(&cluster.refused(0, &[]), &[&own, "644", &format!("fix: chmod 600 {own}")]);
    let client = quorate(&[
        "client",
        "--cluster",
        cluster.layout.cluster_file().to_str().unwrap(),
        "--key",
        &own,
        "kv",
        "get",
        "a",
    ]);
    assert_eq!(client.status.code(), Some(1));
    names(&text(&client.stderr), &[&format!("fix: chmod 600 {own}")]);
}

#[test]
fn a_cluster_file_that_is_wrong_is_refused_with_its_line_and_the_fix() {
    let cluster = Cluster::init(&[]);
    let path = cluster.layout.cluster_file();
    let good = fs::read_to_string(&path).unwrap();
    let name = path.to_str().unwrap().to_owned();
    let line = |text: &str| 1 + good.lines().position(|line| line.starts_with(text)).unwrap();
    let cases = [
        ("checkpoint_interval = 128", "checkpoint_interval = \"many\"", "checkpoint_interval"),
        ("checkpoint_interval = 128", "checkpoint_intreval = 128", "checkpoint_intreval"),
        ("window = 512", "window = 100", "window"),
        ("durability = \"sync\"", "durability = \"often\"", "durability"),
        ("epoch = 0", "epoch = ", "epoch"),
        ("testing = false", "testing = true", "id"),
    ];
    for (from, to, key) in cases {
        fs::write(&path, good.replacen(from, to, 1)).unwrap();
        let at = line(if key == "id" { "id = " } else { from });
        names(&cluster.refused(0, &[]), &[&format!("{name}:{at}: "), key, "fix: "]);
    }
    fs::remove_file(&path).unwrap();
    names(&cluster.refused(0, &[]), &[&name, "fix: pass the path of a file that `quorate init` wrote"]);
    fs::write(&path, good).unwrap();
    names(&cluster.refused(4, &[]), &["replica 4", "0 to 3"]);
}

#[test]
fn a_data_folder_of_somebody_else_is_refused() {
    let (ours, theirs) = (Cluster::init(&[]), Cluster::init(&[]));
    let neighbour = ours.layout.data(ReplicaId(1));
    let said = ours.refused(0, &["--data", neighbour.to_str().unwrap()]);
    names(&said, &["the folder of replica 1, not of replica 0", "`--data`"]);
    let foreign = theirs.layout.data(ReplicaId(0));
    let said = ours.refused(0, &["--data", foreign.to_str().unwrap()]);
    let (own, other) = (ours.file.id().0.to_string(), theirs.file.id().0.to_string());
    names(&said, &[&own[..8], &other[..8], "`--data`"]);
}

#[test]
fn a_folder_that_was_never_formatted_is_refused() {
    let cluster = Cluster::init(&[]);
    let empty = tempfile::tempdir().unwrap();
    let said = cluster.refused(0, &["--data", empty.path().to_str().unwrap()]);
    names(&said, &["was not formatted", "`quorate init`"]);
    let nowhere = empty.path().join("nowhere");
    let said = cluster.refused(0, &["--data", nowhere.to_str().unwrap()]);
    names(&said, &[nowhere.to_str().unwrap(), "`quorate init`"]);
    assert!(!nowhere.exists(), "a replica makes no folder of its own");
}

#[test]
fn a_second_process_on_one_folder_is_refused_and_the_first_goes_on() {
    let mut cluster = Cluster::init(&[]);
    cluster.start(0);
    block(until("the first process", async || cluster.status(0).await));
    let folder = cluster.layout.data(ReplicaId(0));
    names(
        &cluster.refused(0, &[]),
        &["another process uses this folder; stop it first", folder.to_str().unwrap()],
    );
    assert!(!cluster.refused(0, &[]).contains("locking"), "who has it matters, and not how that is known");
    assert!(block(cluster.status(0)).is_some());
}

#[test]
fn an_application_that_the_program_has_not_is_refused_with_what_can_be_done() {
    let cluster = Cluster::init(&["--application", "zork"]);
    let file = cluster.layout.cluster_file();
    let said = cluster.refused(0, &[]);
    names(&said, &[file.to_str().unwrap(), "its application is `zork`", "cannot be changed in the file"]);
    // As the error says: the id covers it.
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("\"zork\"", "\"kv\"")).unwrap();
    names(&cluster.refused(0, &[]), &["does not match the configuration"]);
}

#[test]
fn a_limit_on_file_sizes_is_an_error_and_a_cluster_that_was_not_made_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let new = folder.path().join("new");
    let words = ["--fsize=65536", env!("CARGO_BIN_EXE_quorate"), "init", new.to_str().unwrap()];
    let Ok(output) = Command::new("prlimit").args(words).output() else {
        eprintln!("UNVERIFIED: no `prlimit` here");
        return;
    };
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "no signal: {:?} {said}", output.status);
    names(&said, &["no space is left on the disk", "limit on file sizes", "run `quorate init` again"]);
    assert_eq!(said.matches("no space is left").count(), 1, "{said}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "what was made is removed");
    let made = quorate(&["init", new.to_str().unwrap()]);
    assert!(made.status.success(), "{}", text(&made.stderr));
    // A replica says it too, with its folder, and once.
    let data = new.join("data/replica-0");
    let cluster = new.join("cluster.toml");
    let limited = [
        "--fsize=4096",
        env!("CARGO_BIN_EXE_quorate"),
        "replica",
        "0",
        "--cluster",
        cluster.to_str().unwrap(),
    ];
    let output = Command::new("prlimit").args(limited).output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "no signal: {:?} {said}", output.status);
    let error = said.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
    names(error, &[data.to_str().unwrap(), "no space is left on the disk"]);
    assert_eq!(error.matches("no space is left").count(), 1, "{said}");
}

#[test]
fn a_preset_or_a_report_that_cannot_be_used_is_named_before_anything_starts() {
    let missing = quorate(&["testbed", "--preset", "no-such-preset.toml"]);
    let said = text(&missing.stderr);
    names(&said, &["no-such-preset.toml", "fix: pass the path of a preset"]);
    assert!(missing.status.code() == Some(1) && !said.contains("starting"), "{said}");
    let nowhere = quorate(&["testbed", "--json", "/nowhere/report.json"]);
    let said = text(&nowhere.stderr);
    names(&said, &["--json /nowhere/report.json: cannot be written"]);
    assert!(nowhere.status.code() == Some(1) && !said.contains("starting"), "{said}");
}

#[test]
fn a_folder_that_cannot_be_measured_is_refused_before_anything_is() {
    let output = quorate(&["bench", "limits", "--dir", "/nowhere"]);
    let said = text(&output.stderr);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), String::new()), "{said}");
    names(&said, &["nothing can be written in /nowhere"]);
}
