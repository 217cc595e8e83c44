//! `quorate new`: what it writes, what it says, and what it refuses. That the crate compiles and does what its page says
//! is shown by `.ci/scaffold`, which takes minutes.

use super::processes::{quorate, text};

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
