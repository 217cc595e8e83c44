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

/// A world that cannot be live though nobody is faulty but one: links are slower than the longest timeout.
fn too_slow() -> String {
    TOO_MANY
        .replace("Two of four die", "Links are too slow")
        .replace("[network]", "[network]\ndelay = \"150ms\"")
        .replace("[[crash]]\nreplica = 2\nat = \"100ms\"\n", "")
}

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
    for words in [
        "safe ",
        "live ",
        "accountable ",
        "lies: replica 2 told",
        "\nproof: replica 2 signed two different PREPAREs\n",
        "\nas expected:\n  nothing was found against its being safe, live,",
        "\n  every liar lied\n  replica 2 is proven to have lied, and nobody else\n",
        ", on both of two runs: every message and its time are in it",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!said.contains("warning"), "{said}");
    assert!(out.lines().all(|line| line.starts_with(|first: char| first.is_ascii_digit())), "only the trace");
    assert!(out.contains("PRE-PREPARE v0"), "{out}");
}

#[test]
fn a_scenario_that_fails_says_how_to_see_it_again_shrinks_and_becomes_a_regression() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    std::fs::create_dir_all(file("tests/regressions")).unwrap();
    std::fs::write(file("slow.toml"), too_slow()).unwrap();
    let words = ["slow.toml", "--picture", "slow.svg", "--regression", "slow_links"];
    let output = simulate(folder.path(), &words);
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{out}\n{}", text(&output.stderr));
    for words in [
        "simulate slow.toml",
        "live          VIOLATED: 13.7 s after everything healed, requests are still unanswered",
        "NOT as expected:\n  it should be live, and it is not: ",
        "what it shrinks to",
        "frames take 150 ms",
        "picture: slow.svg",
    ] {
        assert!(out.contains(words), "{words}: {out}");
    }
    assert_eq!(
        out.matches("\n  replica 1 crashed for good").count(),
        1,
        "where each stands is told once: {out}"
    );
    let shrunk = out.split_once("what it shrinks to").unwrap().1;
    assert!(!shrunk.contains("replica 3 sleeps") && !shrunk.contains("twice"), "{shrunk}");
    assert!(std::fs::read_to_string(file("slow.svg")).unwrap().starts_with("<svg"));
    let kept = std::fs::read_to_string(file("tests/regressions/slow_links.toml")).unwrap();
    assert!(kept.contains("delay = \"150ms\"") && !kept.contains("[[pause]]"), "{kept}");
    // What was kept fails in the same way, and nothing that is there is written over, or run in vain.
    let output = simulate(folder.path(), &["tests/regressions/slow_links.toml"]);
    assert_eq!(output.status.code(), Some(1));
    let output = simulate(folder.path(), &words);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("choose another name") && output.stdout.is_empty());
}

#[test]
fn more_faults_than_are_tolerated_are_told_and_never_kept_as_a_regression() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("two.toml"), TOO_MANY).unwrap();
    let output = simulate(folder.path(), &["two.toml", "--picture", "two.svg"]);
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{out}");
    let warning = "warning: replicas 1 and 2 are faulty in it, and 4 replicas tolerate f = 1; with more than f nothing is";
    assert!(out.contains(warning) && !out.contains("--regression"), "{out}");
    // Nothing is run before it is clear that there is nowhere to keep it.
    let words = ["two.toml", "--regression", "two_of_four_die"];
    let output = simulate(folder.path(), &words);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    assert!(text(&output.stderr).contains("run this in the root of the project"), "{output:?}");
    std::fs::create_dir_all(folder.path().join("tests/regressions")).unwrap();
    let output = simulate(folder.path(), &words);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("so a test of it could never pass"), "{output:?}");
    assert!(std::fs::read_dir(folder.path().join("tests/regressions")).unwrap().next().is_none());
}

#[test]
fn what_is_written_of_a_good_run_is_named_and_a_saved_scenario_keeps_its_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/scenarios/equivocating-primary.toml");
    let path = path.to_str().unwrap();
    let output = simulate(folder.path(), &[path, "--save", "again.toml", "--picture", "lie.svg"]);
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{out}");
    assert!(out.contains("\nsaved: again.toml\n") && out.contains("\npicture: lie.svg (from 1."), "{out}");
    let saved = std::fs::read_to_string(folder.path().join("again.toml")).unwrap();
    let about = "about = \"A primary that proposes different batches to different backups\"\n";
    assert!(saved.starts_with(about), "{saved}");
    let svg = std::fs::read_to_string(folder.path().join("lie.svg")).unwrap();
    assert!(
        svg.contains(">lies: equivocate<") && svg.contains(">proof: 0, two-prepares<"),
        "the first lie is in it"
    );
    let times = ["--from", "1.1s", "--until", "1150ms"];
    let output = simulate(folder.path(), &[&[path, "--picture", "lie.svg"][..], &times].concat());
    assert_eq!(output.status.code(), Some(0));
    let svg = std::fs::read_to_string(folder.path().join("lie.svg")).unwrap();
    assert!(!svg.contains(">lies: equivocate<") && svg.contains(" came before these, "), "another part is");
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
