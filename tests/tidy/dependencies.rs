//! What the lock file may hold: licences, sources, versions, features.
//!
//! Advisories are not looked at here: the database of advisories is not part of the source, and is not fetched.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use super::{array, assert_none, metadata, root, string};

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Licences that ask for no more than their text.
const LICENCES: &[&str] = &[
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "0BSD",
    "CC0-1.0",
    "ISC",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Packages that must not come in, and why.
const BANNED: &[(&str, &str)] = &[
    (
        "aws-lc-rs",
        "a second TLS provider makes the process-wide default ambiguous, which panics; ring is ours",
    ),
    ("aws-lc-sys", "as aws-lc-rs"),
    ("openssl-sys", "there is one TLS stack, and it is not C"),
    ("postcard", "there is one codec"),
    ("rkyv", "there is one codec"),
];

/// Packages that must have exactly this version, and why.
///
/// bincode: its maintenance has ended (RUSTSEC-2025-0141, unmaintained, no vulnerability), 3.0.0 is an empty release
/// that does not compile, and any other version might encode differently. `codec.rs` alone knows it, bounds it, and
/// has tests of its bytes, so that another library with the same bytes can take its place.
const PINNED: &[(&str, &str)] = &[("bincode", "2.0.1")];

/// Packages we name that others bring in a second version of, and who does.
const TWICE: &[(&str, &str)] = &[
    ("getrandom", "ring 0.17 asks for 0.2"),
    ("sha2", "ed25519-consensus, the independent judge in the tests of signatures, asks for 0.9"),
];

/// A package of the lock file.
#[derive(Debug, Default, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Locked {
    name: String,
    version: String,
    source: Option<String>,
}

/// The packages of a lock file.
fn locked(text: &str) -> Vec<Locked> {
    let value = |block: &str, key: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "))?;
        Some(line.trim_matches('"').to_owned())
    };
    let package = |block: &str| {
        let (name, version) = (value(block, "name")?, value(block, "version")?);
        Some(Locked { name, version, source: value(block, "source") })
    };
    text.split("[[package]]").skip(1).filter_map(package).collect()
}

fn lock_file() -> Vec<Locked> {
    let packages =
        locked(&std::fs::read_to_string(root().join("Cargo.lock")).expect("there is a Cargo.lock"));
    assert!(packages.len() > 100, "the lock file was understood");
    packages
}

fn sources(packages: &[Locked]) -> Vec<String> {
    let strange = |package: &&Locked| match &package.source {
        None => !package.name.starts_with("quorate"),
        Some(source) => source != CRATES_IO,
    };
    packages.iter().filter(strange).map(|package| format!("{package:?} is not from crates.io")).collect()
}

#[test]
fn every_package_is_from_crates_io() {
    let sample = "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"git+https://example.invalid/a\"\n\n\
                  [[package]]\nname = \"b\"\nversion = \"1.0.0\"\n";
    assert_eq!(sources(&locked(sample)).len(), 2);
    assert_none(&sources(&lock_file()));
}

fn versions(packages: &[Locked], ours: &BTreeSet<String>) -> Vec<String> {
    let mut found: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in packages {
        found.entry(&package.name).or_default().push(&package.version);
    }
    let mut complaints = Vec::new();
    for (name, versions) in &found {
        let excused = TWICE.iter().any(|(twice, _)| twice == name);
        if ours.contains(*name) && versions.len() > 1 && !excused {
            complaints.push(format!(
                "{name} is there in versions {}; we name it, so have one",
                versions.join(", ")
            ));
        }
        if excused && versions.len() == 1 {
            complaints.push(format!("{name} is there once; remove it from TWICE"));
        }
        if let Some((_, why)) = BANNED.iter().find(|(banned, _)| banned == name) {
            complaints.push(format!("{name} is banned: {why}"));
        }
        if let Some((_, pinned)) =
            PINNED.iter().find(|(pinned, version)| pinned == name && versions != &[*version])
        {
            complaints.push(format!("{name} is {}, not {pinned}", versions.join(", ")));
        }
    }
    complaints
}

#[test]
fn what_we_name_is_there_once_and_what_we_ban_is_not() {
    let package =
        |name: &str, version: &str| Locked { name: name.into(), version: version.into(), source: None };
    let ours = BTreeSet::from(["quinn".to_owned(), "getrandom".to_owned()]);
    for bad in [
        vec![package("quinn", "0.10.0"), package("quinn", "0.11.0")],
        vec![package("aws-lc-rs", "1.0.0")],
        vec![package("bincode", "2.0.2")],
        vec![package("getrandom", "0.4.0")],
    ] {
        assert_eq!(versions(&bad, &ours).len(), 1, "{bad:?} must be refused");
    }
    assert_none(&versions(
        &[package("a", "1.0.0"), package("a", "2.0.0"), package("bincode", "2.0.1")],
        &ours,
    ));

    let workspace = metadata(&["--no-deps"]);
    let dependencies =
        array(&workspace, "packages").iter().flat_map(|package| array(package, "dependencies"));
    let ours: BTreeSet<String> =
        dependencies.map(|dependency| string(dependency, "name").to_owned()).collect();
    assert!(ours.contains("quinn") && ours.contains("sha2"));
    assert_none(&versions(&lock_file(), &ours));
}

/// Whether a licence expression is well formed and can be met with [`LICENCES`] alone.
fn allowed(expression: &str) -> bool {
    let spaced =
        expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ").replace(" WITH ", "~");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    either(&tokens, &mut at) == Some(true) && at == tokens.len()
}

fn either(tokens: &[&str], at: &mut usize) -> Option<bool> {
    let mut met = both(tokens, at)?;
    while tokens.get(*at) == Some(&"OR") {
        *at += 1;
        met |= both(tokens, at)?;
    }
    Some(met)
}

fn both(tokens: &[&str], at: &mut usize) -> Option<bool> {
    let mut met = single(tokens, at)?;
    while tokens.get(*at) == Some(&"AND") {
        *at += 1;
        met &= single(tokens, at)?;
    }
    Some(met)
}

fn single(tokens: &[&str], at: &mut usize) -> Option<bool> {
    let token = tokens.get(*at)?;
    *at += 1;
    if *token != "(" {
        return Some(LICENCES.contains(&token.replace('~', " WITH ").as_str()));
    }
    let met = either(tokens, at)?;
    *at += 1;
    (tokens.get(*at - 1) == Some(&")")).then_some(met)
}

fn licences(packages: &[Value]) -> Vec<String> {
    let mut complaints = Vec::new();
    for package in packages {
        let licence = package["license"].as_str().unwrap_or("none");
        if !allowed(licence) {
            complaints.push(format!("{} has the licence {licence}", string(package, "name")));
        }
    }
    complaints
}

/// Features that would change what a package promises, wherever in the tree they are switched on.
fn features(nodes: &[Value]) -> Vec<String> {
    let legacy =
        |node: &&Value| array(node, "features").iter().any(|feature| feature == "legacy_compatibility");
    let complaint =
        |node| format!("{}: legacy_compatibility lets signatures be altered by anybody", string(node, "id"));
    nodes.iter().filter(legacy).map(complaint).collect()
}

/// The triple that this compiler compiles for; packages of other systems are not downloaded only to be looked at.
fn host() -> String {
    let output = Command::new("rustc").arg("-vV").output().expect("rustc compiled this test, so it runs");
    let text = String::from_utf8(output.stdout).expect("rustc prints text");
    let line = text.lines().find_map(|line| line.strip_prefix("host: "));
    line.expect("rustc says what it compiles for").to_owned()
}

#[test]
fn every_licence_allows_use_and_no_feature_weakens_signatures() {
    for bad in
        ["GPL-3.0", "MIT AND GPL-3.0", "none", "MIT OR", "(MIT", "MIT)", "", "(MIT OR ISC) AND AGPL-3.0"]
    {
        assert!(!allowed(bad), "`{bad}` must be refused");
    }
    for good in ["MIT/Apache-2.0", "GPL-3.0 OR MIT", "(MIT OR GPL-3.0) AND Unicode-3.0"] {
        assert!(allowed(good), "`{good}` is allowed");
    }
    assert_eq!(licences(&[serde_json::json!({ "name": "a", "license": "GPL-2.0" })]).len(), 1);
    assert_eq!(licences(&[serde_json::json!({ "name": "a", "license": null })]).len(), 1);
    assert_eq!(
        features(&[serde_json::json!({ "id": "a", "features": ["fast", "legacy_compatibility"] })]).len(),
        1
    );

    let metadata = metadata(&["--filter-platform", &host()]);
    let packages = array(&metadata, "packages");
    assert!(packages.len() > 100, "there are packages to look at");
    assert_none(&licences(packages));
    let nodes = array(&metadata["resolve"], "nodes");
    let dalek = nodes.iter().find(|node| string(node, "id").contains("ed25519-dalek"));
    assert!(dalek.is_some_and(|node| !array(node, "features").is_empty()), "features are listed");
    assert_none(&features(nodes));
}
