//! What no source file may say, and what each must.

use super::{assert_none, root, texts};

/// From a file's path and text to complaints about it.
type Rule = fn(&str, &str) -> Vec<String>;

/// Lines of code a file may have before it must be split by meaning.
const LINES_MAX: usize = 700;
/// Lines of code from which on somebody should ask whether there is a second meaning in the file.
const LINES_NOTED: usize = 500;

/// Shows that the rule reports every bad sample and no good one, and then that it has no complaint about any file.
#[track_caller]
fn holds(rule: Rule, bad: &[(&str, &str)], good: &[(&str, &str)]) {
    for (path, text) in bad {
        assert!(!rule(path, text).is_empty(), "the rule cannot fail: it accepts `{text}` in {path}");
    }
    for (path, text) in good {
        assert_none(&rule(path, text));
    }
    let complaints: Vec<String> = texts().iter().flat_map(|file| rule(&file.path, &file.text)).collect();
    assert_none(&complaints);
}

fn is_rust(path: &str) -> bool {
    path.ends_with(".rs")
}

fn is_test(path: &str) -> bool {
    let folders = ["tests/", "benches/", "examples/"];
    folders.iter().any(|folder| path.starts_with(folder) || path.contains(&format!("/{folder}")))
        || path.ends_with("/tests.rs")
        || path.ends_with("_tests.rs")
}

/// The line, counted from 0, at which a file's own test module starts; tests stand last.
fn tests_start(lines: &[&str]) -> usize {
    let gate = |at: &usize| lines[*at].trim() == "#[cfg(test)]";
    let opens = |at: &usize| {
        let behind = lines[at + 1..].iter().map(|line| line.trim()).find(|line| !line.starts_with("#["));
        behind.is_some_and(|line| line.contains("mod ") && line.ends_with('{'))
    };
    (0..lines.len()).filter(gate).find(opens).unwrap_or(lines.len())
}

/// Lines without their comments, each with its number from 1.
fn code<'a>(lines: &'a [&'a str]) -> impl Iterator<Item = (usize, &'a str)> {
    let uncommented = |line: &'a str| match line.find(" // ") {
        Some(at) => &line[..at],
        None => line,
    };
    let lines = (1..).zip(lines.iter().copied()).filter(|(_, line)| !line.trim_start().starts_with("//"));
    lines.map(move |(number, line)| (number, uncommented(line)))
}

/// The part of a file that is not test code.
fn production<'a>(path: &str, lines: &'a [&'a str]) -> &'a [&'a str] {
    if is_test(path) { &[] } else { &lines[..tests_start(lines)] }
}

fn complain<'a>(
    path: &str,
    lines: impl Iterator<Item = (usize, &'a str)>,
    words: &[&str],
    why: &str,
) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, line) in lines {
        for word in words.iter().filter(|word| line.contains(**word)) {
            complaints.push(format!("{path}:{number}: `{word}`: {why}"));
        }
    }
    complaints
}

fn unfinished(path: &str, text: &str) -> Vec<String> {
    if !is_rust(path) {
        return Vec::new();
    }
    let words = [
        concat!("to", "do!"),
        concat!("unimple", "mented!"),
        concat!("db", "g!("),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("TO", "DO"),
        concat!("To be ", "written"),
        concat!("#[ig", "nore]"),
    ];
    complain(path, (1..).zip(text.lines()), &words, "finish it")
}

#[test]
fn nothing_is_left_unfinished() {
    let bad = [
        concat!("fn f() { to", "do!() }"),
        concat!("// FIX", "ME: later"),
        concat!("let x = db", "g!(y);"),
        concat!("//! To be ", "written."),
    ];
    for sample in bad {
        holds(unfinished, &[("crates/node/src/a.rs", sample)], &[("crates/node/src/a.rs", "fn done() {}")]);
    }
}

fn unwraps(path: &str, text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    if !is_rust(path) || !path.starts_with("crates/") {
        return Vec::new();
    }
    let why = "return an error, or say with `expect` why it cannot fail";
    complain(path, code(production(path, &lines)), &[".unwrap()"], why)
}

#[test]
fn only_tests_unwrap() {
    let in_tests =
        "fn f() {}\n#[cfg(test)]\n#[allow(clippy::unwrap_used)]\nmod tests {\n    x.unwrap();\n}\n";
    let declared = "#[cfg(test)]\nmod tests;\nfn f() { x.unwrap(); }\n";
    holds(
        unwraps,
        &[("crates/host/src/a.rs", "fn f() { x.unwrap(); }"), ("crates/host/src/a.rs", declared)],
        &[
            ("crates/host/src/a.rs", in_tests),
            ("crates/host/src/tests.rs", "x.unwrap();"),
            ("crates/host/src/a.rs", "/// Never `x.unwrap()`."),
        ],
    );
}

fn sleeps(path: &str, text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    if !is_rust(path) {
        return Vec::new();
    }
    let from = production(path, &lines).len();
    let why = "a test waits for an event, or has virtual time";
    complain(path, code(&lines).filter(|(number, _)| *number > from), &[concat!("sle", "ep(")], why)
}

#[test]
fn no_test_sleeps() {
    let sample = concat!("std::thread::sle", "ep(x);");
    let inside = format!("fn f() {{}}\n#[cfg(test)]\nmod tests {{\n    {sample}\n}}\n");
    holds(
        sleeps,
        &[("tests/cluster.rs", sample), ("crates/node/src/a.rs", &inside)],
        &[("crates/node/src/a.rs", sample), ("crates/node/src/a.rs", &format!("{sample}\n{}", "fn g() {}"))],
    );
}

/// A path that exists on the machine of whoever wrote it.
fn machine_paths(path: &str, text: &str) -> Vec<String> {
    let folders = ["work", "root", "home", "Users", "farm"];
    let mut complaints = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        for folder in folders {
            let pattern = format!("/{folder}/");
            let starts = |(at, _)| {
                let before: Option<char> = line[..at].chars().next_back();
                before.is_none_or(|c| !c.is_ascii_alphanumeric() && !"_.-}/".contains(c))
            };
            if line.match_indices(&pattern).any(starts) {
                complaints.push(format!("{path}:{number}: `{pattern}` is a place on one machine only"));
            }
        }
    }
    complaints
}

#[test]
fn no_file_names_a_place_on_one_machine() {
    let sample = format!("let path = \"/{}/me\";", "home");
    holds(
        machine_paths,
        &[("README.md", &sample), (".ci/run", &format!("cd /{}/x", "work"))],
        &[("README.md", "see crates/work/x and https://example.invalid/home/")],
    );
}

fn header(path: &str, text: &str) -> Vec<String> {
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let said = first.strip_prefix("//!").is_some_and(|rest| rest.trim().len() > 10);
    if is_rust(path) && !said {
        return vec![format!("{path}:1: begin with `//!`: what the file is and why it exists")];
    }
    Vec::new()
}

#[test]
fn every_source_file_says_what_it_is() {
    holds(
        header,
        &[
            ("crates/a/src/b.rs", "use std::fs;\n//! late"),
            ("crates/a/src/b.rs", "//! b"),
            ("tests/b.rs", ""),
        ],
        &[("crates/a/src/b.rs", "\n//! Reads the files of a replica."), ("Cargo.toml", "[package]")],
    );
}

fn length(path: &str, text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let count = production(path, &lines).len();
    if is_rust(path) && count > LINES_MAX {
        return vec![format!("{path}: {count} lines, more than {LINES_MAX}: split it by meaning")];
    }
    if is_rust(path) && count > LINES_NOTED {
        println!("{path}: {count} lines; is there a second meaning in it?");
    }
    Vec::new()
}

#[test]
fn no_source_file_is_too_long() {
    let long = "let a = 1;\n".repeat(LINES_MAX + 1);
    let tested = format!("fn f() {{}}\n#[cfg(test)]\nmod tests {{\n{long}}}\n");
    holds(
        length,
        &[("crates/a/src/b.rs", &long)],
        &[("crates/a/src/tests.rs", &long), ("crates/a/src/b.rs", &tested)],
    );
}

fn width(path: &str, text: &str) -> Vec<String> {
    if !is_rust(path) || is_test(path) {
        return Vec::new();
    }
    let wide = (1..).zip(text.lines()).filter(|(_, line)| line.chars().count() > 140);
    wide.map(|(number, _)| format!("{path}:{number}: break this line")).collect()
}

#[test]
fn no_line_needs_scrolling() {
    holds(
        width,
        &[("crates/a/src/b.rs", &"x".repeat(141))],
        &[("crates/a/src/b.rs", &"x".repeat(140)), ("tests/a.rs", &"x".repeat(500))],
    );
}

fn unsafe_code(path: &str, text: &str) -> Vec<String> {
    let words = [
        concat!("unsa", "fe {"),
        concat!("unsa", "fe fn"),
        concat!("unsa", "fe impl"),
        concat!("(unsa", "fe_code)"),
    ];
    let lines: Vec<&str> = text.lines().collect();
    if is_rust(path) {
        complain(path, code(&lines), &words, "there is none in this house")
    } else {
        Vec::new()
    }
}

#[test]
fn there_is_no_unsafe_code() {
    holds(
        unsafe_code,
        &[
            ("crates/a/src/b.rs", concat!("let x = unsa", "fe { y() };")),
            ("crates/a/src/b.rs", concat!("#![allow(unsa", "fe_code)]")),
        ],
        &[("crates/a/src/b.rs", "// unsafe without a lock")],
    );
}

/// A package takes the workspace's lints, and the workspace forbids.
fn lints(path: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    if path == "Cargo.toml" && !text.contains("unsafe_code = \"forbid\"") {
        complaints.push(format!("{path}: forbid unsafe code"));
    }
    if path.ends_with("Cargo.toml") && !text.contains("[lints]\nworkspace = true") {
        complaints.push(format!("{path}: add `[lints]` with `workspace = true`"));
    }
    complaints
}

#[test]
fn every_package_has_the_lints_of_the_house() {
    let package = "[package]\nname = \"a\"\n[lints]\nworkspace = true\n";
    holds(
        lints,
        &[("crates/a/Cargo.toml", "[package]\nname = \"a\"\n"), ("Cargo.toml", package)],
        &[("crates/a/Cargo.toml", package)],
    );
}

/// Who may use what: a dependency has one owner, so that replacing it changes one place.
const OWNERS: &[(&[&str], &[&str])] = &[
    (&["bincode"], &["crates/protocol/src/codec.rs"]),
    (
        &["ed25519_dalek", "curve25519_dalek", "sha2"],
        &["crates/protocol/src/crypto.rs", "crates/protocol/src/crypto/"],
    ),
    (
        &["quinn", "quinn_proto", "rustls", "ring", "socket2"],
        &["crates/node/src/transport.rs", "crates/node/src/transport/", "crates/bench/src/round_trip"],
    ),
    (
        &["toml"],
        &[
            "crates/node/src/cluster_file",
            "crates/node/src/emulation/file.rs",
            "crates/node/src/sections.rs",
            "crates/bench/src/",
            "crates/sim/src/",
        ],
    ),
    (&["axum"], &["crates/node/src/admin", "crates/node/src/live"]),
    (&["clap"], &["crates/cli/"]),
    (&["hdrhistogram"], &["crates/bench/src/"]),
    (&["tiny_skia", "ttf_parser", "dejavu"], &["crates/bench/src/report/chart/"]),
    (&["crc32c"], &["crates/host/src/"]),
];

/// Whether a line of code names the crate `name`: as the start of a path, or alone in a `use`.
fn names_crate(line: &str, name: &str) -> bool {
    let starts_word = |at: usize| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':' && c != '"')
    };
    let used = line.trim_start().trim_start_matches("pub ").strip_prefix("use ").unwrap_or_default();
    let alone = used.strip_prefix(name).is_some_and(|rest| rest.starts_with(';') || rest.starts_with(" as "));
    alone || line.match_indices(&format!("{name}::")).any(|(at, _)| starts_word(at))
}

fn owners(path: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let lines: Vec<&str> = text.lines().collect();
    // The samples of this rule are no use of anything.
    let looked_at = is_rust(path) && !path.starts_with("tests/tidy/");
    for (names, places) in OWNERS.iter().filter(|_| looked_at) {
        if places.iter().any(|place| path.starts_with(place)) {
            continue;
        }
        for (number, line) in code(&lines) {
            for name in names.iter().filter(|name| names_crate(line, name)) {
                complaints.push(format!("{path}:{number}: `{name}` belongs to {}", places.join(", ")));
            }
        }
    }
    complaints
}

#[test]
fn every_dependency_has_one_owner() {
    holds(
        owners,
        &[
            ("crates/protocol/src/message.rs", "use bincode::Encode;"),
            ("crates/host/src/journal.rs", "let x = bincode::encode_to_vec(y);"),
            ("crates/node/src/key_file.rs", "use ed25519_dalek::SigningKey;"),
            ("crates/bench/src/load.rs", "    pub use quinn;"),
            ("crates/sim/src/clock.rs", "use sha2 as hash;"),
        ],
        &[
            ("crates/protocol/src/codec.rs", "use bincode::Encode;"),
            ("crates/node/src/transport/tls.rs", "use rustls::Error;"),
            ("crates/sim/src/a.rs", "let a = String::new(); // bincode::Encode is elsewhere"),
            ("crates/sim/src/a.rs", "use crate::ring::Buffer; use std::string::String;"),
        ],
    );
}

#[test]
fn the_pages_that_readers_are_sent_to_exist() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("there is a README.md");
    assert!(readme.lines().count() <= 150, "README.md is a page, not a book");
    let broken = |text: &str| -> Vec<String> {
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let local = links.filter(|link| !link.starts_with("http") && !link.starts_with('#'));
        local.filter(|link| !root().join(link).exists()).map(str::to_owned).collect()
    };
    assert_eq!(broken("[a](no/such.md) [b](README.md)"), ["no/such.md"]);
    for page in ["README.md", "ARCHITECTURE.md", "STYLE.md", "CHANGELOG.md", "keys/README.md"] {
        let text = std::fs::read_to_string(root().join(page)).unwrap_or_else(|why| panic!("{page}: {why}"));
        assert_none(&broken(&text));
    }
}
