//! The book must hold together: every chapter is in its summary, every link leads somewhere, no command hides.
//!
//! `.ci/book` builds it and runs its commands; what is here needs nothing but the text.

use std::collections::{BTreeMap, BTreeSet};

use super::{assert_none, root};

/// Where the chapters are.
const CHAPTERS: &str = "book/src";
/// Lists the chapters, and is none.
const SUMMARY: &str = "SUMMARY.md";
/// What a line begins with that is a command. Output that does, too, is told in the text instead.
const COMMANDS: &[&str] =
    &["quorate", "cargo", "curl", "kill", "export", "openssl", "scp", "ssh", "sudo", "$"];
/// Other names of a shell's language, whose blocks nobody runs.
const SHELLS: &[&str] = &["bash", "console", "shell", "shell-session", "zsh"];

/// Chapters by the names of their files, with the pages of `docs` that they include.
fn chapters() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(root().join(CHAPTERS)).expect("there is a book").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if let (true, Ok(text)) = (name.ends_with(".md"), std::fs::read_to_string(entry.path())) {
            found.insert(name, whole(&text));
        }
    }
    found
}

fn whole(chapter: &str) -> String {
    let included = |line: &str| {
        let path = line.strip_prefix("{{#include ../../")?.strip_suffix("}}")?;
        let is_page = path.starts_with("docs/") && path.ends_with(".md");
        is_page
            .then(|| std::fs::read_to_string(root().join(path)).unwrap_or_else(|why| panic!("{path}: {why}")))
    };
    let line = |line: &str| included(line).unwrap_or_else(|| format!("{line}\n"));
    chapter.lines().map(line).collect()
}

/// What stands between two lines of backticks.
struct Block<'a> {
    kind: &'a str,
    /// Line at which it begins.
    number: usize,
    lines: Vec<&'a str>,
}

/// Lines outside of blocks, each with its number; and the blocks.
fn parts(chapter: &str) -> (Vec<(usize, &str)>, Vec<Block<'_>>) {
    let (mut prose, mut blocks, mut inside) = (Vec::new(), Vec::<Block>::new(), false);
    for (number, line) in (1..).zip(chapter.lines()) {
        match (line.strip_prefix("```"), inside) {
            (Some(_), true) => inside = false,
            (Some(kind), false) => {
                blocks.push(Block { kind, number, lines: Vec::new() });
                inside = true;
            }
            (None, true) => blocks.last_mut().expect("a block has begun").lines.push(line),
            (None, false) => prose.push((number, line)),
        }
    }
    (prose, blocks)
}

/// The names of a chapter's headings in links, as the builder of the book makes them.
fn anchors(chapter: &str) -> BTreeSet<String> {
    let kept = |letter: char| match letter {
        letter if letter.is_alphanumeric() || "_-".contains(letter) => Some(letter.to_ascii_lowercase()),
        letter => letter.is_whitespace().then_some('-'),
    };
    let prose = parts(chapter).0;
    let headings = prose.iter().filter(|(_, line)| line.starts_with('#'));
    headings.map(|(_, line)| line.trim_matches(['#', ' ']).chars().filter_map(kept).collect()).collect()
}

fn links(line: &str) -> impl Iterator<Item = &str> {
    let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.starts_with("http"))
}

fn broken_links(chapters: &BTreeMap<String, String>) -> Vec<String> {
    let mut complaints = Vec::new();
    let listed: BTreeSet<&str> =
        chapters.get(SUMMARY).into_iter().flat_map(|summary| links(summary)).collect();
    for (name, chapter) in chapters {
        if name != SUMMARY && !listed.contains(name.as_str()) {
            complaints.push(format!("{name}: {SUMMARY} does not list it"));
        }
        for (number, line) in parts(chapter).0 {
            for target in links(line) {
                let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
                let file: &str = if file.is_empty() { name } else { file };
                let leads = match chapters.get(file) {
                    Some(other) => anchor.is_empty() || anchors(other).contains(anchor),
                    // What is outside of the chapters' folder is not in the book.
                    None => !file.contains("..") && root().join(CHAPTERS).join(file).is_file(),
                };
                if !leads {
                    complaints.push(format!("{name}:{number}: `{target}` leads nowhere in the book"));
                }
            }
        }
    }
    complaints
}

fn hidden_commands(chapters: &BTreeMap<String, String>) -> Vec<String> {
    let mut complaints = Vec::new();
    for (name, chapter) in chapters {
        for Block { kind, number, lines } in parts(chapter).1 {
            let command = |line: &&str| COMMANDS.iter().any(|word| line.split(' ').next() == Some(word));
            let shown = kind.is_empty() || kind == "text";
            if SHELLS.contains(&kind) || shown && lines.iter().any(command) {
                complaints.push(format!(
                    "{name}:{number}: nobody runs these commands; begin the block with ```sh, and if they cannot be run, \
                     say why in a line `*Not run: why.*` above it"
                ));
            }
        }
    }
    complaints
}

fn sample(text: &str) -> BTreeMap<String, String> {
    let summary = (SUMMARY.to_owned(), "- [A](a.md)\n".to_owned());
    BTreeMap::from([summary, ("a.md".to_owned(), text.to_owned())])
}

#[test]
fn every_chapter_is_listed_and_every_link_of_the_book_leads_somewhere() {
    let good = "# One `two` three\n[x](#one-two-three) [y](a.md#four)\n```text\n[z](no.md)\n```\n## Four\n";
    assert_none(&broken_links(&sample(good)));
    for bad in ["[x](b.md)", "[x](#five)", "![x](pictures/none.svg)", "[x](../../README.md)"] {
        assert_eq!(broken_links(&sample(bad)).len(), 1, "the rule cannot fail: it accepts {bad}");
    }
    let unlisted = BTreeMap::from([("b.md".to_owned(), String::new())]);
    assert_eq!(
        broken_links(&unlisted).len(),
        1,
        "the rule cannot fail: it accepts a chapter that nobody finds"
    );
    let found = chapters();
    assert!(found.len() > 5, "the book was understood: {:?}", found.keys());
    assert_none(&broken_links(&found));
}

#[test]
fn every_command_of_the_book_is_run_or_says_why_not() {
    assert_none(&hidden_commands(&sample(
        "```sh\nquorate init\n```\n```text\nverdict\n```\n```toml\nquorate = 1\n```\n",
    )));
    for bad in ["```text\nquorate init\n```\n", "```\nx\ncargo test\n```\n", "```bash\nls\n```\n"] {
        assert_eq!(hidden_commands(&sample(bad)).len(), 1, "the rule cannot fail: it accepts {bad}");
    }
    assert_none(&hidden_commands(&chapters()));
}
