//! Scenario files: each shows what it says, together they show every behaviour and every kind of fault, and what once went
//! wrong is run for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use quorate_host::byzantine::NAMES;
use quorate_sim::scenario::Outcome;
use quorate_sim::scenario::file::ScenarioFile;
use quorate_sim::world::World;

/// The scenario files of a folder, in order of name.
fn files(folder: &str) -> Vec<(String, ScenarioFile)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = std::fs::read_dir(&folder).expect("the folder is part of the project").flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    let load = |path: PathBuf| {
        let name = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
        (name, ScenarioFile::load(&path).unwrap_or_else(|error| panic!("{error}")))
    };
    paths.into_iter().map(load).collect()
}

/// Runs a file and says what is otherwise than it says.
fn surprises(name: &str, file: &ScenarioFile) -> (Outcome, Vec<String>) {
    let run = file.scenario.examine(&mut World::new(&file.scenario.setting));
    let found = file.expect.surprises(&run);
    (run.outcome, found.iter().map(|surprise| format!("{name}: {surprise}")).collect())
}

#[test]
fn every_scenario_shows_what_it_says_and_every_behaviour_has_one_in_which_it_lies() {
    let (mut wrong, mut told, mut faults) =
        (Vec::new(), BTreeMap::<&str, u64>::new(), BTreeMap::<&str, u64>::new());
    for (name, file) in files("configs/scenarios") {
        assert!(!file.about.is_empty(), "{name} does not say what it is about");
        let (outcome, surprises) = surprises(&name, &file);
        wrong.extend(surprises);
        for lies in outcome.lies.values() {
            lies.iter().for_each(|(sin, count)| *told.entry(*sin).or_insert(0) += count);
        }
        let injected = outcome.injected;
        for (kind, count) in [
            ("crashes", injected.crashes),
            ("restarts", injected.restarts),
            ("power cuts", injected.power_cuts),
            ("unsynced writes", injected.unsynced),
            ("damaged disks", injected.damaged),
            ("clocks", injected.clocks),
            ("sleepers", injected.pauses),
            ("states fetched", outcome.transfers),
            ("cuts", file.scenario.setting.cuts.len() as u64),
        ] {
            *faults.entry(kind).or_default() += count;
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
    let untold: Vec<_> = NAMES
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| told.get(name).is_none_or(|told| *told == 0))
        .collect();
    assert!(untold.is_empty(), "no scenario shows {untold:?}");
    let absent: Vec<_> = faults.iter().filter(|(_, count)| **count == 0).collect();
    assert!(absent.is_empty(), "no scenario has {absent:?}");
}

#[test]
fn the_page_of_scenarios_has_a_line_for_each() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/scenarios/README.md");
    let page = std::fs::read_to_string(page).expect("there is a page");
    let lines: Vec<&str> = page.lines().filter(|line| line.starts_with("| [")).collect();
    let listed: BTreeSet<String> = lines
        .iter()
        .filter_map(|line| Some(line.strip_prefix("| [")?.split_once("](")?.0.to_owned()))
        .collect();
    let there: BTreeSet<String> = files("configs/scenarios").into_iter().map(|(name, _)| name).collect();
    assert_eq!(listed, there);
    assert_eq!(lines.len(), there.len(), "one line for each");
    for line in lines {
        let (file, expected) = line.split_once(") | ").expect("a line says what to expect");
        assert!(file.ends_with(".toml") && expected.len() > 10, "{line}");
    }
}

#[test]
fn regressions_hold_what_they_were_kept_for() {
    let wrong: Vec<String> =
        files("tests/regressions").iter().flat_map(|(name, file)| surprises(name, file).1).collect();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn the_whole_scenario_that_the_page_shows_is_one_and_runs() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/scenarios/README.md");
    let page = std::fs::read_to_string(&page).expect("there is a page");
    let text = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
    let text = text.expect("it shows a scenario");
    let file = ScenarioFile::parse(text, Path::new("README.md")).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(surprises("README.md", &file).1, [""; 0]);
    // Each line of it is needed, or it would not be the smallest.
    for line in text.lines().filter(|line| line.contains('=')) {
        let error = ScenarioFile::parse(&text.replace(line, ""), Path::new("README.md"));
        assert!(error.is_err(), "nobody misses `{line}`");
    }
}
