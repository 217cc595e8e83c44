//! What a command does when nobody reads what it says: it comes to its end, and does not panic.

use std::fs::OpenOptions;
use std::process::{Command, Stdio};

use super::processes::{Cluster, program, text};

/// Commands that say much, little, in tables, as JSON, and on standard error.
fn commands(cluster: &Cluster) -> Vec<(Vec<String>, i32)> {
    let file = cluster.layout.cluster_file().to_str().unwrap().to_owned();
    let data = cluster.layout.data(quorate_protocol::types::ReplicaId(0)).to_str().unwrap().to_owned();
    let scenario = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/scenarios/calm.toml");
    let lines = [
        (format!("status --cluster {file}"), 1),
        (format!("status --json --cluster {file}"), 1),
        (format!("why --cluster {file}"), 1),
        (format!("check {data} --cluster {file}"), 0),
        (format!("evidence list {data}"), 0),
        (format!("divergence {data} --cluster {file}"), 0),
        (format!("simulate {scenario}"), 0),
        (format!("simulate {scenario} --trace -"), 0),
        ("simulate no-such.toml".to_owned(), 2),
        ("--help".to_owned(), 0),
    ];
    lines.into_iter().map(|(line, code)| (line.split(' ').map(str::to_owned).collect(), code)).collect()
}

fn started(words: &[String], stdout: Stdio, stderr: Stdio) -> std::process::Output {
    let mut command: Command = program();
    command.args(words).stdout(stdout).stderr(stderr).spawn().unwrap().wait_with_output().unwrap()
}

#[test]
fn a_reader_that_is_gone_ends_no_command_before_its_time_and_changes_no_exit_code() {
    let cluster = Cluster::init(&[]);
    let gone = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        Stdio::from(writer)
    };
    for (words, code) in commands(&cluster) {
        let output = started(&words, gone(), Stdio::piped());
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
        assert!(!said.contains("panicked") && !said.contains("pipe"), "{words:?}: {said}");
        let output = started(&words, gone(), gone());
        assert_eq!(output.status.code(), Some(code), "{words:?} with both gone");
    }
}

#[test]
fn a_full_disk_under_standard_output_is_an_error() {
    let full = || Stdio::from(OpenOptions::new().write(true).open("/dev/full").unwrap());
    let scenario = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/scenarios/calm.toml").to_owned();
    let output = started(&["simulate".to_owned(), scenario], full(), Stdio::piped());
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(
        said.contains("error: standard output cannot be written: ") && !said.contains("panicked"),
        "{said}"
    );
}
