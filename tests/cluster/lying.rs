//! Replicas that lie on purpose, as processes: only where they may, never in secret, and to no avail.

use quorate_protocol::types::ReplicaId;
use serde_json::Value;

use super::processes::{Cluster, block, quorate, text, until};

/// Runs a short testbed with these words; gives back its exit code, what it wrote for programs, and for people.
fn testbed(words: &str) -> (Option<i32>, Value, String) {
    let usual = "testbed --clients 4 --in-flight 4 --json - --duration";
    let words: Vec<&str> = usual.split(' ').chain(words.split(' ')).collect();
    let output = quorate(&words);
    let said = text(&output.stderr);
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no report: {said}"));
    (output.status.code(), report, said)
}

/// Nothing that a client was told is gone, whoever lied.
#[track_caller]
fn is_harmless(report: &Value) {
    let harm = ["failed", "lost", "duplicated"].map(|name| report[name].as_u64());
    assert_eq!(harm, [Some(0); 3], "{report}");
    assert!(report["matched"].as_u64().is_some_and(|count| count > 0), "{report}");
}

fn told(report: &Value, liar: usize, name: &str) -> u64 {
    report["lies"][liar]["told"][name]
        .as_u64()
        .unwrap_or_else(|| panic!("{name} was not asked for: {report}"))
}

#[test]
fn a_replica_lies_only_in_a_cluster_that_was_made_for_trials() {
    let cluster = Cluster::init(&[]);
    let said = cluster.refused(2, &["--byzantine", "equivocate+mute"]);
    for part in
        ["replica 2 is to lie (equivocate+mute)", "`testing = false`", "fix: ", "`quorate init --testing`"]
    {
        assert!(said.contains(part), "`{part}` is missing from: {said}");
    }
    assert!(!said.contains("serving"), "{said}");
    let trial = Cluster::init(&["--testing"]);
    let said = trial.refused(2, &["--byzantine", "equivocat"]);
    assert!(said.contains("`equivocat` is no lie") && said.contains("equivocate-commit"), "{said}");
}

#[test]
fn who_lies_says_so_at_its_start_in_its_status_in_its_metrics_and_at_its_end() {
    let mut cluster = Cluster::init(&["--testing"]);
    for honest in [0, 1, 3] {
        cluster.start(honest);
    }
    cluster.start_with(2, &["--byzantine", "equivocate-prepare+bad-chunks"]);
    block(cluster.until_linked());
    cluster.answers(&["kv", "put", "a", "1"], "stored\n");
    let told = block(until("a lie", async || {
        cluster.status(2).await.filter(|status| status.lies["equivocate-prepare"] > 0)
    }));
    assert_eq!(told.lies["bad-chunks"], 0, "nobody fetches anything");
    // Votes beyond a quorum are not looked at, so it takes a few slots until somebody looks at both.
    block(until("an alarm that names its proof", async || {
        cluster.answers(&["kv", "put", "a", "1"], "replaced\n");
        for id in [0, 1, 3] {
            let proof = cluster.layout.data(ReplicaId(id)).join("evidence-2-two-prepares");
            let words = format!("; the proof is {}: `quorate evidence verify` shows it", proof.display());
            let alarms = cluster.status(usize::from(id)).await?.alarms;
            if alarms.iter().any(|alarm| alarm.contains(&words)) {
                return Some(());
            }
        }
        None
    }));
    assert_eq!(told.counter("quorate_lies_total"), told.lies.values().sum::<u64>());
    assert_eq!(
        told.counter("quorate_lies_total{lie=\"equivocate-prepare\"}"),
        told.lies["equivocate-prepare"]
    );
    let honest = block(cluster.status(1)).unwrap();
    assert!(honest.lies.is_empty() && !honest.counters.iter().any(|(name, _)| name.contains("lies")));
    let file = cluster.layout.cluster_file();
    let table = text(&quorate(&["status", "--cluster", file.to_str().unwrap()]).stdout);
    assert!(table.contains("normal, lies on purpose: bad-chunks 0, equivocate-prepare "), "{table}");
    let loud = "THIS REPLICA LIES ON PURPOSE (equivocate-prepare+bad-chunks)";
    assert!(table.contains(&format!("replica 2: {loud}")) && table.matches("LIES").count() == 1, "{table}");
    cluster.stop(2);
    let log = cluster.log(2);
    let (first, last) =
        (log.find(loud).unwrap(), log.find("lies told: bad-chunks 0, equivocate-prepare ").unwrap());
    assert!(first < last && log[..first].lines().count() < 4, "{log}");
    cluster.answers(&["kv", "get", "a"], "1\n");
}

#[test]
fn a_backup_that_equivocates_in_a_testbed_is_counted_and_the_others_agree() {
    let (code, report, said) = testbed("1s --byzantine 2:equivocate --byzantine 2:lying-replies");
    assert_eq!(code, Some(0), "{said}");
    is_harmless(&report);
    assert!(told(&report, 0, "equivocate") > 0 && told(&report, 0, "lying-replies") > 0, "{report}");
    assert_eq!(
        report["lies"][0]["behaviours"],
        serde_json::json!(["equivocate", "lying-replies"]),
        "{report}"
    );
    let verdict = "all 3 correct replicas executed the same history; replica 2 lied";
    assert_eq!((&report["verdict"], &report["agreement"]), (&verdict.into(), &true.into()));
    assert!(
        said.contains("\nlies         replica 2 told equivocate ") && !said.contains("warning: "),
        "{said}"
    );
    assert!(report["proofs"]["replica 2 signed two different PREPAREs"].is_array(), "{report}");
    let proven = "\nproof        replica 2 signed two different PREPAREs; on disk at ";
    assert!(said.contains(proven) && said.contains("--folder keeps them for `quorate evidence`"), "{said}");
}

#[test]
fn a_primary_that_equivocates_in_a_testbed_loses_its_place_and_nothing_else_is_lost() {
    let (code, report, said) = testbed("3s --application counter --byzantine 0:equivocate");
    assert_eq!(code, Some(0), "{said}");
    is_harmless(&report);
    assert!(told(&report, 0, "equivocate") > 0, "{report}");
}

// Whom a lie about COMMITs reaches is a moment late. What it executes of the time before the load was counted as load.
#[test]
fn what_a_late_replica_executes_of_the_time_before_the_load_is_not_called_executed_twice() {
    let (code, report, said) = testbed("500ms --byzantine 2:equivocate-commit");
    assert_eq!(code, Some(0), "{said}");
    is_harmless(&report);
    assert!(told(&report, 0, "equivocate-commit") > 0, "{report}");
}

#[test]
fn a_liar_that_finds_nothing_to_lie_about_fails_the_run() {
    let (code, report, said) = testbed("500ms --byzantine 2:null-only");
    assert_eq!((code, &report["agreement"]), (Some(1), &false.into()), "{said}");
    assert!(report["verdict"].as_str().unwrap().starts_with("NO LIE: replica 2 "), "{report}");
    assert!(said.contains("replica 2 told null-only 0: `null-only` is told as primary only"), "{said}");
    is_harmless(&report);
}

#[test]
fn more_liars_than_are_tolerated_are_allowed_with_a_plain_warning() {
    let (_, report, said) = testbed("500ms --byzantine 2:delay:by=1ms --byzantine 3:delay:by=1ms");
    let warning = "warning: 2 of 4 replicas lie, and the cluster tolerates 1: nothing is promised";
    assert!(said.contains(warning), "{said}");
    assert_eq!(report["lies"].as_array().map(Vec::len), Some(2), "{report}");
    assert!(told(&report, 0, "delay") > 0 && told(&report, 1, "delay") > 0, "{report}");
}

#[test]
fn lies_of_a_process_that_is_killed_are_in_the_report() {
    let (code, report, said) = testbed("2s --byzantine 2:equivocate:until=500ms --kill 2@800ms");
    assert_eq!(code, Some(0), "{said}");
    assert!(told(&report, 0, "equivocate") > 0, "{report}");
    assert!(said.contains("while another one is gone, nothing is promised"), "{said}");
}

#[test]
fn every_behaviour_is_in_the_help_of_those_who_take_it() {
    for command in ["testbed", "replica"] {
        let help = text(&quorate(&[command, "--help"]).stdout);
        for (name, sentence) in quorate_host::byzantine::NAMES {
            assert!(help.contains(&format!("  {name} ")) && help.contains(sentence), "{command}: {name}");
        }
    }
}
