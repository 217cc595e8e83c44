//! `quorate new`: what it writes, what it says, and what it refuses. That the crate compiles and does what its page says
//! is shown by `.ci/scaffold`, which takes minutes.

use std::collections::BTreeSet;

use super::processes::{program, quorate, text};

#[test]
fn a_new_crate_is_written_and_the_next_commands_are_said() {
    let above = tempfile::tempdir().unwrap();
    let folder = above.path().join("my-auction");
    let output = quorate(&["new", folder.to_str().unwrap()]);
    let said = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    for command in ["cargo test", "cargo run -- testbed", "--byzantine 2:equivocate"] {
        assert!(said.contains(command), "{said}");
    }
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
    let checkout = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).canonicalize().unwrap();
    let dependency = format!("quorate = {{ path = \"{}/crates/quorate\" }}", checkout.display());
    assert!(read("Cargo.toml").contains(&dependency), "{}", read("Cargo.toml"));
    assert!(read(".cargo/config.toml").contains("curve25519_dalek_backend"));
    assert!(read("src/main.rs").contains("quorate::program::<Ledger>(\"my-auction\", operation)"));
    assert!(read("tests/faults.rs").contains("lying(\"equivocate\")"));

    let again = quorate(&["new", folder.to_str().unwrap()]);
    let error = text(&again.stderr);
    assert_eq!(again.status.code(), Some(1), "{error}");
    assert!(error.contains("nothing is overwritten; fix: give the name of a new folder"), "{error}");
}

#[test]
fn what_init_makes_in_a_new_crate_is_not_for_its_repository() {
    let above = tempfile::tempdir().unwrap();
    let folder = above.path().join("my-auction");
    assert!(quorate(&["new", folder.to_str().unwrap()]).status.success());
    let entries = || -> BTreeSet<String> {
        let entries = std::fs::read_dir(&folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    };
    let before = entries();
    let ignored = std::fs::read_to_string(folder.join(".gitignore")).unwrap();
    let is_ignored = |entry: &String| ignored.lines().any(|line| line == format!("/{entry}"));
    assert!(before.iter().all(|entry| !is_ignored(entry)), "{ignored}");
    for words in [&["init"][..], &["init", "trial"]] {
        let made = program().args(words).current_dir(&folder).output().unwrap();
        assert!(made.status.success(), "{}", text(&made.stderr));
    }
    let made: Vec<String> = entries().difference(&before).cloned().collect();
    assert_eq!(made, ["cluster.toml", "data", "keys", "trial"]);
    assert!(made.iter().all(is_ignored), "{made:?}: {ignored}");
}

#[test]
fn a_name_that_cargo_would_refuse_is_refused_with_one_that_it_takes() {
    let above = tempfile::tempdir().unwrap();
    let folder = above.path().join("9 lives");
    let output = quorate(&["new", folder.to_str().unwrap()]);
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(
        error.contains("`9 lives` cannot name a crate") && error.contains("take `app-9-lives`"),
        "{error}"
    );
    assert!(!folder.exists(), "nothing is left behind");
}
