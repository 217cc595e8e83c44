//! `quorate testbed`: a verdict and numbers for programs, and nothing left behind.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::processes::{block, program, quorate, text, until};

/// Runs a short testbed with these words; gives back what it wrote for programs.
fn report(words: &[&str]) -> Value {
    let usual = ["testbed", "--clients", "4", "--in-flight", "4", "--json", "-"];
    let short = if words.contains(&"--duration") { &[][..] } else { &["--duration", "500ms"] };
    let output = quorate(&[&usual, short, words].concat());
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}\n{error}");
    assert!(error.contains("all replicas executed the same history"), "{error}");
    serde_json::from_str(&out).expect("nothing but one JSON object goes to standard output")
}

#[track_caller]
fn is_good(report: &Value, replicas: u64, faults: u64) {
    assert_eq!(report["replicas"], replicas);
    assert_eq!(report["f"], faults);
    let duration = report["duration_s"].as_f64().unwrap();
    assert!((0.4..5.0).contains(&duration), "{duration}");
    let matched = report["matched"].as_u64().unwrap();
    assert!(matched > 0);
    let rate = report["throughput_rps"].as_f64().unwrap();
    assert!((rate * duration - matched as f64).abs() < 1.0, "{report}");
    let (p50, p99) = (report["p50_us"].as_u64().unwrap(), report["p99_us"].as_u64().unwrap());
    assert!(0 < p50 && p50 <= p99, "{report}");
    assert!(report["view_changes"].is_u64());
    assert_eq!(report["agreement"], true);
    assert_eq!(report["verdict"], "all replicas executed the same history");
    assert!(report["build"].as_str().unwrap().starts_with("quorate "));
}

#[test]
fn four_replicas_with_a_key_value_store_that_syncs_agree() {
    let report = report(&[]);
    is_good(&report, 4, 1);
    assert_eq!(report["application"], "kv");
    assert_eq!(report["durability"], "sync");
}

#[test]
fn seven_replicas_with_a_counter_and_the_systems_durability_agree() {
    let report = report(&["--replicas", "7", "--application", "counter", "--durability", "os"]);
    is_good(&report, 7, 2);
    assert_eq!(report["application"], "counter");
    assert_eq!(report["durability"], "os");
}

#[test]
fn four_replicas_with_nothing_to_do_and_no_durability_agree() {
    let report = report(&["--application", "null", "--reply-bytes", "64", "--durability", "none"]);
    is_good(&report, 4, 1);
    assert_eq!(report["application"], "null");
    assert_eq!(report["durability"], "none");
}

#[test]
fn the_replicas_of_a_testbed_log_what_it_was_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("kept");
    let log = ["--log", "warn,quorate=debug", "--log-format", "json"];
    report(&[&["--folder", kept.to_str().unwrap()][..], &log].concat());
    for id in 0..4 {
        let said = fs::read_to_string(kept.join(format!("replica-{id}.log"))).unwrap();
        let levels: Vec<Value> = said
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap_or_else(|why| panic!("{why}: {line}")))
            .map(|line| line["level"].clone())
            .collect();
        assert!(levels.contains(&"DEBUG".into()), "replica {id} said {said}");
    }
}

#[test]
fn a_killed_primary_is_replaced_and_nothing_is_lost_or_executed_twice() {
    let report = report(&["--duration", "4s", "--kill", "primary@1500ms", "--restart", "last@2500ms"]);
    // One is enough; a busy machine may need another.
    assert!(report["view_changes"].as_u64().is_some_and(|count| count >= 1), "{report}");
    assert!(report["recovery_ms"].as_u64().is_some_and(|took| took > 0), "{report}");
    assert_eq!(
        (&report["failed"], &report["lost"], &report["duplicated"]),
        (&0.into(), &0.into(), &0.into())
    );
    assert_eq!(report["faults"][0]["replicas"][0], 0, "{report}");
    assert_eq!(report["faults"][0]["primary_of_view"], 0, "{report}");
    assert_eq!(report["recovery_ms"], report["recoveries_ms"][0], "{report}");
    // Whoever had called when the primary died waited for the next one, and that is what its death cost.
    let away = report["phases"].as_array().unwrap().iter().find(|phase| phase["phase"] == "away").unwrap();
    let longest_ms = away["max_us"].as_u64().unwrap() / 1_000;
    assert!(longest_ms >= report["recovery_ms"].as_u64().unwrap() / 2, "{report}");
    assert!(away["p99_ratio"].is_null(), "there was no second before it to hold it against: {report}");
    assert_eq!(report["rejoined"][0]["replica"], 0, "{report}");
    assert_eq!(report["rejoined"][0]["rejoined"], true, "{report}");
}

#[test]
fn a_power_cut_of_all_replicas_loses_nothing_that_was_acknowledged() {
    let words =
        ["--application", "counter", "--duration", "4s", "--kill-all", "1500ms", "--restart-all", "2s"];
    let report = report(&words);
    assert_eq!(
        (&report["failed"], &report["lost"], &report["duplicated"]),
        (&0.into(), &0.into(), &0.into())
    );
    assert_eq!(report["faults"][0]["replicas"].as_array().unwrap().len(), 4, "{report}");
    let rejoined = report["rejoined"].as_array().unwrap();
    assert_eq!(rejoined.len(), 4, "{report}");
    assert!(rejoined.iter().all(|back| back["rejoined"] == true), "{report}");
    // Answers came again after the restart, so what was acknowledged before it was read from what the disks held.
    assert!(report["recoveries_ms"][0].as_u64().is_some(), "{report}");
}

#[test]
fn a_paused_primary_is_replaced_and_follows_when_it_goes_on() {
    let report = report(&["--duration", "4s", "--pause", "primary@1s", "--resume", "last@3s"]);
    assert!(report["view_changes"].as_u64().is_some_and(|count| count >= 1), "{report}");
    assert_eq!(report["faults"][0]["deed"], "pause", "{report}");
    assert!(report["faults"][0]["recovery_ms"].as_u64().is_some_and(|took| took > 0), "{report}");
    assert_eq!((&report["rejoined"][0]["rejoined"], &report["lost"]), (&true.into(), &0.into()), "{report}");
}

#[test]
fn a_ledger_loses_no_transfer_and_does_none_twice_while_its_primary_dies() {
    // Each operation signed on its own: what orders a client's transfers is its session, not the bundle they share.
    let words = "--application ledger --bundle 1 --duration 3s --kill primary@1s --restart last@2s";
    let words: Vec<&str> = words.split_whitespace().collect();
    let report = report(&words);
    assert_eq!((&report["application"], &report["failed"]), (&"ledger".into(), &0.into()), "{report}");
    assert_eq!((&report["lost"], &report["duplicated"]), (&0.into(), &0.into()), "{report}");
    assert!(report["view_changes"].as_u64().is_some_and(|count| count >= 1), "{report}");
}

#[test]
fn four_replicas_with_locks_that_all_clients_want_agree() {
    let report = report(&["--application", "lock", "--durability", "none"]);
    is_good(&report, 4, 1);
    assert_eq!(report["application"], "lock");
}

/// Every deed of a plan was done, everybody who was gone caught up, and clients were told nothing that was not so.
#[track_caller]
fn survived(report: &Value, deeds: usize, back: usize) {
    assert_eq!(report["faults"].as_array().unwrap().len(), deeds, "{report}");
    let rejoined = report["rejoined"].as_array().unwrap();
    assert_eq!(rejoined.len(), back, "{report}");
    assert!(rejoined.iter().all(|back| back["rejoined"] == true), "{report}");
    assert_eq!(
        (&report["failed"], &report["lost"], &report["duplicated"]),
        (&0.into(), &0.into(), &0.into())
    );
}

#[test]
fn g1_replicas_killed_one_by_one_and_all_at_once_lose_and_repeat_nothing() {
    let words = "--application counter --duration 8s --kill primary@800ms --restart last@2s --kill 2@2900ms \
                 --restart 2@3900ms --kill-all 5s --restart-all 5600ms --kill primary@7s --restart last@7500ms";
    let report = report(&words.split_whitespace().collect::<Vec<_>>());
    survived(&report, 8, 7);
    assert!(report["view_changes"].as_u64().is_some_and(|count| count >= 1), "{report}");
}

#[test]
fn g2_f_plus_1_replicas_that_stop_for_a_while_stop_the_cluster_and_go_on_with_it() {
    let words =
        "--application counter --duration 6s --pause 0@1s --pause 2@1s --resume 0@3s --resume 2@3200ms";
    let report = report(&words.split_whitespace().collect::<Vec<_>>());
    survived(&report, 4, 2);
    assert!(
        report["recovery_ms"].as_u64().is_some_and(|took| took >= 1_900),
        "two of four decide nothing: {report}"
    );
}

#[test]
fn faults_that_cannot_be_are_refused_before_anything_starts() {
    let output = quorate(&["testbed", "--kill", "last@1s"]);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("name a replica, or `primary`") && !error.contains("starting"), "{error}");
}

#[test]
fn a_plan_that_leaves_too_few_replicas_is_refused_before_anything_starts() {
    let output = quorate(&["testbed", "--kill-all", "1s", "--duration", "3s"]);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("--restart-all") && !error.contains("starting"), "{error}");
}

#[test]
fn a_replica_that_stays_away_is_named_and_the_others_are_judged() {
    let usual = ["testbed", "--clients", "4", "--in-flight", "4", "--json", "-", "--duration", "500ms"];
    let output = quorate(&[&usual[..], &["--kill", "3@200ms"]].concat());
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{error}");
    let sentence = "3 of 4 replicas executed the same history, replica 3 was not there at the end";
    assert!(error.contains(sentence) && error.contains(" ms, at most "), "{error}");
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&report["verdict"], &report["agreement"]), (&sentence.into(), &true.into()));
    assert_eq!(report["absent"], serde_json::json!([3]), "{report}");
}

#[test]
fn a_cluster_that_lost_more_than_f_replicas_is_not_called_good_nor_waited_for() {
    let words = ["testbed", "--duration", "1s", "--clients", "2", "--in-flight", "2", "--json", "-"];
    // Which replica is the primary only the run can tell; it is not 3, so that cannot be started again.
    let faults = ["--kill", "primary@300ms", "--restart", "3@400ms", "--kill", "2@500ms"];
    let output = quorate(&[&words[..], &faults].concat());
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("2 of 4 replicas are gone; there will be no more answers"), "{error}");
    assert!(error.contains("could not restart 3: it was running"), "{error}");
    let report: Value = serde_json::from_str(&text(&output.stdout)).unwrap();
    assert_eq!(report["agreement"], false);
    assert_eq!(report["failed"], 4, "every call in flight was given up: {report}");
    assert!(report["verdict"].as_str().unwrap().starts_with("STALLED: 4 operations"), "{report}");
    assert_eq!(report["faults"][1]["replicas"], serde_json::json!([]), "{report}");
    assert_eq!(report["rejoined"], serde_json::json!([]), "nobody came back: {report}");
}

/// A testbed that runs until it is stopped, and where its temporary folder is.
struct Running {
    child: Child,
    temporary: TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Processes whose command line names something in this folder.
fn processes_in(folder: &Path) -> Vec<u32> {
    let named = |id: u32| {
        let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        text(&line).contains(folder.to_str().unwrap())
    };
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    ids.filter(|id| named(*id)).collect()
}

impl Running {
    /// Starts one and waits until its replicas run.
    fn start() -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let mut command = program();
        command.args(["testbed", "--duration", "10m", "--clients", "1"]).env("TMPDIR", temporary.path());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let running = Self { child, temporary };
        running.until_processes(4);
        running
    }

    fn until_processes(&self, count: usize) {
        let folder = self.temporary.path();
        block(until("as many processes", async || (processes_in(folder).len() == count).then_some(())));
    }
}

#[test]
fn a_killed_testbed_leaves_no_replica_behind() {
    let mut running = Running::start();
    running.child.kill().unwrap();
    running.child.wait().unwrap();
    running.until_processes(0);
}

#[test]
fn an_interrupted_testbed_leaves_neither_a_replica_nor_a_file_behind() {
    for signal in ["INT", "TERM"] {
        let mut running = Running::start();
        let id = running.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
        let status = running.child.wait().unwrap();
        assert_eq!(status.code(), Some(130), "SIG{signal}");
        assert_eq!(processes_in(running.temporary.path()), [0; 0]);
        assert_eq!(fs::read_dir(running.temporary.path()).unwrap().count(), 0, "the folder is removed");
    }
}
