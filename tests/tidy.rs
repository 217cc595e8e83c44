//! The house rules, as tests: layers, owners, words, sizes, licences. See STYLE.md.
//!
//! Every rule is a function from text to complaints, and every test first shows that its rule complains about a bad
//! sample: a check that cannot fail checks nothing.

mod acceptance;
mod book;
mod dependencies;
mod formatting;
mod layers;
mod metrics;
mod readme;
mod source;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The folder of the workspace.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A text file of the workspace: its path from the root, and what it says.
struct Text {
    path: String,
    text: String,
}

/// Folders and files that are ours; everything else at the root is made by tools.
const OURS: &[&str] = &[
    ".cargo",
    ".ci",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.toml",
    "README.md",
    "STYLE.md",
    "benches",
    "book",
    "clippy.toml",
    "configs",
    "crates",
    "docs",
    "examples",
    "fuzz",
    "keys",
    "rustfmt.toml",
    "tests",
];

/// Every text file of ours, in order of path.
fn texts() -> Vec<Text> {
    let mut paths = Vec::new();
    for name in OURS {
        collect(&root().join(name), &mut paths);
    }
    paths.sort();
    let read = |path: PathBuf| {
        let text = String::from_utf8(std::fs::read(&path).ok()?).ok()?;
        let path = path.strip_prefix(root()).expect("it was found under the root");
        Some(Text { path: path.to_string_lossy().into_owned(), text })
    };
    paths.into_iter().filter_map(read).collect()
}

fn collect(path: &Path, paths: &mut Vec<PathBuf>) {
    if path.is_file() && path.extension().is_none_or(|extension| extension != "pem") {
        paths.push(path.to_owned());
    }
    let Ok(entries) = std::fs::read_dir(path) else { return };
    for entry in entries.flatten() {
        collect(&entry.path(), paths);
    }
}

/// What `cargo metadata` says with these further arguments.
fn metadata(arguments: &[&str]) -> Value {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root()).args(["metadata", "--locked", "--format-version", "1"]).args(arguments);
    let output = cargo.output().expect("cargo runs this test, so it runs");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
}

/// A string inside JSON that is there because the format says so.
fn string<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("cargo metadata has a string `{key}`"))
}

/// An array inside JSON that is there because the format says so.
fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().unwrap_or_else(|| panic!("cargo metadata has an array `{key}`"))
}

/// Fails with all complaints, one in a line.
#[track_caller]
fn assert_none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}
