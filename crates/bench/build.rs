//! Tells the crate what it is compiled by and how, which reports name beside every number.

use std::path::Path;
use std::process::Command;

fn main() {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let version = Command::new(variable("RUSTC")).arg("--version").output();
    let compiler = version.ok().and_then(|output| String::from_utf8(output.stdout).ok()).unwrap_or_default();
    // How the signature library chooses, too: what is asked for by name, or else what every target has.
    let named = variable("CARGO_CFG_CURVE25519_DALEK_BACKEND");
    let features = variable("CARGO_CFG_TARGET_FEATURE");
    let everywhere = |name| features.split(',').any(|feature| feature == name);
    let avx512 = named == "avx512" || named.is_empty() && everywhere("avx512ifma") && everywhere("avx512vl");
    println!("cargo::rustc-env=QUORATE_COMPILER={}", compiler.trim());
    println!("cargo::rustc-env=QUORATE_COMMIT={}", commit());
    println!("cargo::rustc-env=QUORATE_TARGET={}", variable("TARGET"));
    println!("cargo::rustc-env=QUORATE_PROFILE={}", variable("PROFILE"));
    println!("cargo::rustc-check-cfg=cfg(avx512_signatures)");
    if avx512 && variable("CARGO_CFG_TARGET_ARCH") == "x86_64" {
        println!("cargo::rustc-cfg=avx512_signatures");
    }
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=QUORATE_COMMIT");
}

/// The commit this is built from, with `-dirty` if tracked files differed from it when this crate was last built; empty
/// without a repository. Whoever builds from an archive says it in QUORATE_COMMIT.
fn commit() -> String {
    if let Ok(named) = std::env::var("QUORATE_COMMIT") {
        return named.trim().to_owned();
    }
    // Every commit adds a line there; the index would change whenever somebody looks.
    if let Some(folder) = git(&["rev-parse", "--absolute-git-dir"]) {
        let log = Path::new(&folder).join("logs/HEAD");
        if log.exists() {
            println!("cargo::rerun-if-changed={}", log.display());
        }
    }
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return String::new() };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]);
    if changed.is_some_and(|changed| !changed.is_empty()) { commit + "-dirty" } else { commit }
}

fn git(words: &[&str]) -> Option<String> {
    let output = Command::new("git").args(words).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}
