//! A program of one's own: the application of `quorate new`, in the testbed, with replicas that die and lie.
//!
//! There is no harness, because this file is two programs: with a word in its environment it is the one that is tested,
//! whose testbed starts itself again for every replica.

#[path = "../../cli/new/template/lib.rs"]
#[allow(missing_docs, unreachable_pub)]
mod my_ledger;

use std::process::{Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

use quorate::{Application, Context};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Says that this process is the program, not its test; and of which application.
const IS_PROGRAM: &str = "QUORATE_TEST_IS_PROGRAM";

/// The application that panics.
const FRAGILE: &str = "fragile";

type Test = fn();

const TESTS: [(&str, Test); 4] = [
    (
        "a_killed_primary_of_ones_own_application_is_replaced",
        a_killed_primary_of_ones_own_application_is_replaced,
    ),
    (
        "an_equivocating_replica_of_ones_own_application_is_outvoted",
        an_equivocating_replica_of_ones_own_application_is_outvoted,
    ),
    ("help_and_refusals_are_those_of_the_program", help_and_refusals_are_those_of_the_program),
    (
        "a_testbed_whose_application_panics_everywhere_ends_at_once_and_says_where",
        a_testbed_whose_application_panics_everywhere_ends_at_once_and_says_where,
    ),
];

/// Bears no number above nine hundred, and has a way of saying so that no application may have.
#[derive(Default, Serialize, Deserialize)]
struct Fragile;

impl Application for Fragile {
    type Command = u64;
    type Reply = u64;

    fn apply(&mut self, _context: &Context, number: u64) -> u64 {
        assert!(number < 900, "{number} is too heavy");
        number
    }
}

fn main() -> ExitCode {
    match std::env::var(IS_PROGRAM).as_deref() {
        Ok(FRAGILE) => return quorate::program::<Fragile>(FRAGILE, |n| n),
        Ok(_) => return quorate::program::<my_ledger::Ledger>("my-ledger", my_ledger::operation),
        Err(_) => {}
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    let listed = words.iter().any(|word| word == "--list");
    let filter = words.iter().find(|word| !word.starts_with('-')).cloned().unwrap_or_default();
    for (name, test) in TESTS.iter().filter(|(name, _)| name.contains(&filter)) {
        if listed {
            println!("{name}: test");
        } else {
            test();
            println!("test {name} ... ok");
        }
    }
    ExitCode::SUCCESS
}

fn run(words: &[&str]) -> Output {
    run_with("my-ledger", words)
}

fn run_with(application: &str, words: &[&str]) -> Output {
    let program = std::env::current_exe().expect("a process has a program");
    let mut command = Command::new(program);
    command.args(words).env(IS_PROGRAM, application).stdin(Stdio::null());
    command.output().expect("this program can be started again")
}

/// What a short testbed with these words reports.
fn testbed(words: &[&str]) -> Value {
    let usual = ["testbed", "--clients", "4", "--in-flight", "4", "--json", "-"];
    let output = run(&[&usual[..], words].concat());
    let (out, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{error}");
    let report: Value = serde_json::from_str(&out).expect("it is one JSON object");
    assert_eq!(
        (&report["application"], &report["agreement"]),
        (&"my-ledger".into(), &true.into()),
        "{report}"
    );
    assert!(report["matched"].as_u64().is_some_and(|matched| matched > 0), "{report}");
    report
}

fn a_killed_primary_of_ones_own_application_is_replaced() {
    let report = testbed(&["--duration", "4s", "--kill", "primary@1s", "--restart", "last@2500ms"]);
    assert!(report["view_changes"].as_u64().is_some_and(|count| count >= 1), "{report}");
    assert_eq!(
        (&report["verdict"], &report["failed"]),
        (&"all replicas executed the same history".into(), &0.into())
    );
}

fn an_equivocating_replica_of_ones_own_application_is_outvoted() {
    // The first primary, so that it has something to say to everybody.
    let report = testbed(&["--duration", "2s", "--byzantine", "0:equivocate"]);
    let verdict = report["verdict"].as_str().unwrap_or_default();
    assert_eq!(verdict, "all 3 correct replicas executed the same history; replica 0 lied", "{report}");
}

fn help_and_refusals_are_those_of_the_program() {
    let help = run(&["--help"]);
    let text = String::from_utf8_lossy(&help.stdout);
    assert!(text.contains("my-ledger") && text.contains("testbed") && !text.contains("simulate"), "{text}");
    let other = run(&["testbed", "--application", "kv"]);
    let error = String::from_utf8_lossy(&other.stderr);
    assert!(!other.status.success() && error.contains("my-ledger"), "{error}");
}

fn a_testbed_whose_application_panics_everywhere_ends_at_once_and_says_where() {
    let began = Instant::now();
    let output = run_with(FRAGILE, &["testbed", "--duration", "2m", "--clients", "4", "--in-flight", "4"]);
    let (took, error) = (began.elapsed(), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(took < Duration::from_secs(60), "it waited for {took:?}: {error}");
    assert!(error.contains(" of 4 replicas ended by themselves"), "{error}");
    let place = format!("panicked at {}:", file!());
    assert!(error.contains(&place) && error.contains(" is too heavy"), "{error}");
    assert!(error.contains("fix: a command may not make the application panic"), "{error}");
}
