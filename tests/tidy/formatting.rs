//! Formatting is rustfmt's business, with rustfmt.toml.

use std::process::Command;

use super::root;

/// What rustfmt would change in `arguments`, or nothing.
fn differences(arguments: &[&str]) -> Option<String> {
    let output = Command::new(env!("CARGO")).current_dir(root()).arg("fmt").args(arguments).output();
    let output = output.expect("cargo runs this test, so it runs");
    let shown =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if shown.contains("is not installed") || shown.contains("no such command") {
        println!("UNVERIFIED: formatting, because rustfmt is not installed");
        return None;
    }
    (!output.status.success()).then_some(shown)
}

#[test]
fn every_file_is_formatted() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let sample = folder.path().join("sample.rs");
    std::fs::write(&sample, "fn  f( ){}").expect("a file in it");
    let path = sample.to_str().expect("temporary folders have plain names");
    // What it says about the bad sample is not for who reads this test's output.
    let rustfmt = Command::new("rustfmt").args(["--check", "--edition", "2024", path]).output();
    assert!(
        rustfmt.is_ok_and(|output| !output.status.success()),
        "the check cannot fail: rustfmt accepts a bad sample"
    );
    let found = differences(&["--all", "--check", "--", "-l"]);
    assert!(found.is_none(), "run `cargo fmt --all`:\n{}", found.unwrap_or_default());
}
