//! The page of the acceptance suite says what is tested, and what it says is so.

use std::collections::{BTreeMap, BTreeSet};

use super::{Text, assert_none, root, texts};

/// Rows whose tests are something else than functions of their name.
const OTHERWISE: &[(&str, &str)] =
    &[("A1", "fuzz targets, and the replay of their corpus"), ("B5", "the mutants, which are another build")];

/// Rows of the tables on a page, and the files that each names.
fn rows(page: &str) -> BTreeMap<String, Vec<String>> {
    let row = |line: &str| {
        let cells: Vec<&str> = line.strip_prefix('|')?.split('|').map(str::trim).collect();
        let (name, files) = (*cells.first()?, *cells.get(2)?);
        let numbered = name.len() > 1 && name[1..].bytes().all(|byte| byte.is_ascii_digit());
        let files = files.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        numbered.then(|| (name.to_owned(), files))
    };
    page.lines().filter_map(row).collect()
}

/// The row that a test function belongs to, by its name: `D4` of `fn d4_links()`.
fn row_of(line: &str) -> Option<String> {
    let name = line.trim_start().trim_start_matches("async ").strip_prefix("fn ")?;
    let (row, _) = name.split_once('_')?;
    let (letter, number) = (row.get(..1)?, row.get(1..)?);
    let is_row = ("a"..="g").contains(&letter) && !number.is_empty();
    (is_row && number.bytes().all(|byte| byte.is_ascii_digit())).then(|| row.to_uppercase())
}

/// Which rows the tests of a file belong to.
fn tested(files: &[Text]) -> BTreeMap<String, BTreeSet<&str>> {
    let mut tested = BTreeMap::<String, BTreeSet<&str>>::new();
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        let mut lines = file.text.lines().map(str::trim).peekable();
        while let Some(line) = lines.next() {
            let is_test = line.starts_with("#[test]") || line.starts_with("#[tokio::test");
            let row = lines.peek().filter(|_| is_test).and_then(|next| row_of(next));
            row.map(|row| tested.entry(row).or_default().insert(&file.path));
        }
    }
    tested
}

fn complaints(page: &str, files: &[Text]) -> Vec<String> {
    let (rows, tested) = (rows(page), tested(files));
    let mut complaints = Vec::new();
    for (row, named) in &rows {
        let has = tested.get(row).cloned().unwrap_or_default();
        let otherwise = OTHERWISE.iter().any(|(known, _)| known == row);
        if named.is_empty() {
            complaints.push(format!("{row}: the page does not say where its tests are"));
        }
        for file in named {
            if !otherwise && !has.contains(file.as_str()) {
                complaints.push(format!("{row}: no test in {file} begins with `{}_`", row.to_lowercase()));
            }
        }
    }
    for (row, files) in tested.iter().filter(|(row, _)| !rows.contains_key(*row)) {
        complaints.push(format!("{row}: tests in {files:?}, and no row of docs/acceptance.md"));
    }
    complaints
}

#[test]
fn every_row_of_the_acceptance_suite_has_the_tests_that_its_page_names() {
    let text = |path: &str, text: &str| Text { path: path.to_owned(), text: text.to_owned() };
    let page = "| row | a | b | c |\n|---|---|---|---|\n| D4 | loss | `tests/d.rs` | 3 s |\n";
    let good = [text("tests/d.rs", "#[test]\nfn d4_loss() {}\n#[test]\nfn other() {}\n")];
    assert_none(&complaints(page, &good));
    assert_eq!(complaints(page, &[text("tests/e.rs", "#[test]\nfn d4_loss() {}\n")]).len(), 1);
    assert_eq!(complaints(page, &[text("tests/d.rs", "fn d4_loss() {}\n")]).len(), 1, "it is no test");
    assert_eq!(complaints("", &good).len(), 1, "a test without a row");
    assert_eq!(complaints("| D4 | loss | - | 3 s |", &good).len(), 1, "a row without a place");

    let page =
        std::fs::read_to_string(root().join("docs/acceptance.md")).expect("there is docs/acceptance.md");
    let found = rows(&page);
    assert!(found.len() > 40, "the page was understood: {:?}", found.keys());
    assert_none(&complaints(&page, &texts()));
    let missing = |file: &&String| !root().join(file).exists();
    let missing: Vec<String> = found.values().flatten().filter(missing).cloned().collect();
    assert_none(&missing);
}
