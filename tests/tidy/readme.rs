//! What the README shows must be what the repository holds.

use super::{assert_none, root};

const EXAMPLE: &str = "crates/quorate/examples/counter.rs";
/// Lines that a replicated application may take, `main` included.
const EXAMPLE_LINES_MAX: usize = 40;
/// Lines of a page that is read to its end.
const README_LINES_MAX: usize = 150;

fn complaints(readme: &str, example: &str) -> Vec<String> {
    let mut found = Vec::new();
    if !readme.contains(&format!("```rust\n{example}```\n")) {
        found.push(format!("README.md does not show {EXAMPLE} as it is"));
    }
    for (name, text, most) in
        [("README.md", readme, README_LINES_MAX), (EXAMPLE, example, EXAMPLE_LINES_MAX - 1)]
    {
        if text.lines().count() > most {
            found.push(format!("{name} has more than {most} lines"));
        }
    }
    found
}

#[test]
fn the_readme_shows_the_example_that_runs_and_both_are_short() {
    let read = |path: &str| std::fs::read_to_string(root().join(path)).expect("the repository has this file");
    assert_eq!(complaints("```rust\nother\n```\n", "fn main() {}\n").len(), 1, "the rule cannot fail");
    assert_eq!(complaints(&"line\n".repeat(151), &"line\n".repeat(40)).len(), 3, "the rule cannot fail");
    assert_none(&complaints(&read("README.md"), &read(EXAMPLE)));
}
