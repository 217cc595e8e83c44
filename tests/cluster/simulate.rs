//! `quorate simulate`: scenarios and seeds, what is said of those that fail, and exit codes that mean something.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use super::processes::{program, quorate, text};

/// A world that cannot be live: two of four are gone for good.
const TOO_MANY: &str = r#"
about = "Two of four die"
replicas = 4
heal = "500ms"

[parameters]
timeout = "100ms"
timeout_max = "200ms"

[network]
duplication = 0.1

[[crash]]
replica = 1
at = "100ms"

[[crash]]
replica = 2
at = "100ms"

[[pause]]
replica = 3
at = "100ms"
until = "200ms"

[[client]]
commands = 5
think = "100ms"
"#;

fn simulate(folder: &Path, words: &[&str]) -> Output {
    program().current_dir(folder).arg("simulate").args(words).output().unwrap()
}

#[test]
fn a_scenario_that_shows_what_it_says_ends_with_a_verdict_and_code_0() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/scenarios/equivocating-prepares.toml");
    let output = quorate(&["simulate", path.to_str().unwrap(), "--trace", "-"]);
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{out}");
    let said = text(&output.stderr);
    for words in ["safe ", "live ", "accountable ", "lies: replica 2 told", "as expected", "hash "] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(out.lines().all(|line| line.starts_with(|first: char| first.is_ascii_digit())), "only the trace");
    assert!(out.contains("PRE-PREPARE v0"), "{out}");
}

#[test]
fn a_scenario_that_fails_says_how_to_see_it_again_shrinks_and_becomes_a_regression() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(file("tests/regressions")).unwrap();
    std::fs::write(file("two.toml"), TOO_MANY).unwrap();
    let words = ["two.toml", "--picture", "two.svg", "--regression", "two_of_four_die"];
    let output = simulate(folder.path(), &words);
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{out}\n{}", text(&output.stderr));
    for words in
        ["simulate two.toml", "live          VIOLATED", "what it shrinks to", "replica 1 crashes for good"]
    {
        assert!(out.contains(words), "{words}: {out}");
    }
    let shrunk = out.split_once("what it shrinks to").unwrap().1;
    assert!(!shrunk.contains("replica 3 sleeps") && !shrunk.contains("twice"), "{shrunk}");
    assert!(std::fs::read_to_string(file("two.svg")).unwrap().starts_with("<svg"));
    let kept = std::fs::read_to_string(file("tests/regressions/two_of_four_die.toml")).unwrap();
    assert!(kept.contains("[[crash]]") && !kept.contains("[[pause]]"), "{kept}");
    // What was kept fails in the same way, and nothing that is there is written over.
    let output = simulate(folder.path(), &["tests/regressions/two_of_four_die.toml"]);
    assert_eq!(output.status.code(), Some(1));
    let output = simulate(folder.path(), &words);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("choose another name"));
}

#[test]
fn seeds_are_told_to_programs_in_one_object_and_a_drawn_world_can_be_saved_and_run_as_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let output = simulate(folder.path(), &["--seeds", "20..24", "--threads", "2", "--json", "-"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let report: Value =
        serde_json::from_str(&text(&output.stdout)).expect("nothing else is on standard output");
    assert_eq!(
        (&report["seeds"], &report["violations"], &report["liveness_failures"]),
        (&4.into(), &0.into(), &0.into())
    );
    for key in
        ["steps", "virtual_s", "wall_s", "batches", "faulty_batches_per_s", "faulty_batches_per_s_per_core"]
    {
        assert!(report[key].as_f64().is_some_and(|value| value > 0.0), "{key}: {report}");
    }
    assert!(report["lies"].is_object() && report["injected"]["restarts"].is_u64());
    let hash = |output: &Output| {
        let out = text(&output.stdout);
        out.lines().find(|line| line.starts_with("hash ")).expect("a run has a hash").to_owned()
    };
    let replayed = simulate(folder.path(), &["--replay", "20", "--save", "20.toml"]);
    assert_eq!(replayed.status.code(), Some(0));
    assert_eq!(hash(&replayed), hash(&simulate(folder.path(), &["20.toml"])));
}

#[test]
fn what_cannot_be_run_is_refused_with_code_2_and_the_fix() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bad.toml"), TOO_MANY.replace("think", "thinks")).unwrap();
    for (words, said) in [
        (&["bad.toml"][..], "bad.toml:28: `thinks = \"100ms\"`: unknown field `thinks`"),
        (&["absent.toml"], "configs/scenarios"),
        (&["--seeds", "5"], "0..10000"),
        (&[], "--seeds"),
    ] {
        let output = simulate(folder.path(), words);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(text(&output.stderr).contains(said), "{words:?}: {}", text(&output.stderr));
    }
}
