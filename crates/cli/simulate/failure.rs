//! What is said and kept of a run that was not as expected: the way to see it again, and the least that makes it fail.

use std::fmt;
use std::panic;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use quorate_sim::check::Violation;
use quorate_sim::scenario::expect::{Expect, Run, Surprise};
use quorate_sim::scenario::file::ScenarioFile;
use quorate_sim::scenario::{Outcome, Scenario};
use quorate_sim::shrink::{Budget, Shrunk, shrink};
use quorate_sim::words::first_line;
use quorate_sim::world::World;

use super::{Args, Case, picture};

/// How long a run is shrunk that nobody asked to shrink.
const SHRINK: Duration = Duration::from_secs(20);
/// And one that somebody asked for.
const SHRINK_ASKED: Duration = Duration::from_secs(600);
/// Most runs of either.
const RUNS_MAX: u64 = 20_000;
/// Where regressions are, from the root of the project.
const REGRESSIONS: &str = "tests/regressions";

/// Why a run is not as expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// What ended it early, if that was not expected.
    violation: Option<Violation>,
    surprises: Vec<Surprise>,
    /// Hashes of two runs that should be one.
    differs: Option<(u64, u64)>,
}

impl Failure {
    /// What is wrong with a run, and with a second one of the same scenario, if there was one.
    pub(super) fn of(expect: &Expect, run: &Run, again: Option<u64>) -> Option<Self> {
        let surprises = expect.surprises(run);
        let first = run.outcome.hash;
        let differs = again.filter(|again| *again != first).map(|again| (first, again));
        let violation = run.violation.clone().filter(|_| !surprises.is_empty());
        (!surprises.is_empty() || differs.is_some()).then_some(Self { violation, surprises, differs })
    }

    /// Whether two runs of one scenario were not the same, and how.
    pub(super) fn differs(&self) -> Option<(u64, u64)> {
        self.differs
    }

    /// In one line.
    pub(super) fn brief(&self) -> String {
        first_line(&self.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told: Vec<String> = self.surprises.iter().map(ToString::to_string).collect();
        if let Some((one, other)) = self.differs {
            told.push(format!("two runs of it differ: hash {one:016x} and {other:016x}"));
        }
        f.write_str(&told.join("; "))
    }
}

/// Runs a scenario for whoever looks for a smaller one.
fn attempt(scenario: &Scenario) -> Result<Outcome, Violation> {
    let run = scenario.examine(&mut World::new(&scenario.setting));
    run.violation.map_or(Ok(run.outcome), Err)
}

/// The least of a scenario that still fails so, if it was ended by something that can be looked for.
fn shrunk(case: &Case, failure: &Failure, time: Duration) -> Option<Shrunk> {
    failure.violation.as_ref()?;
    let started = Instant::now();
    let go_on = || started.elapsed() < time;
    // Of a thousand runs that panic on purpose one report is enough.
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let shrunk = shrink(&case.scenario, &Budget { runs_max: RUNS_MAX, go_on: &go_on }, attempt);
    panic::set_hook(hook);
    shrunk
}

/// Prints what a failing run shrinks to, draws it, and keeps it where that was asked for.
pub(super) fn tell(args: &Args, case: &Case, failure: &Failure) -> anyhow::Result<()> {
    let asked = args.shrink || args.regression.is_some();
    let shrunk = shrunk(case, failure, if asked { SHRINK_ASKED } else { SHRINK });
    if let Some(shrunk) = &shrunk {
        super::voice(args).say(&format!("\nwhat it shrinks to:\n{shrunk}"));
    }
    let smallest = shrunk.as_ref().map_or(&case.scenario, |shrunk| &shrunk.scenario);
    let path = args.picture.clone().unwrap_or_else(|| default_picture(&case.name));
    super::voice(args).say("");
    picture::save(args, &case.name, smallest, &path)?;
    if let Some(name) = &args.regression {
        let path = keep(name, case, failure, smallest)?;
        let kept = format!("kept as {}; `cargo test regressions` runs it from now on", path.display());
        super::voice(args).say(&kept);
    } else if smallest.overwhelmed().is_none() {
        super::voice(args).say(&format!("keep it: {} --regression what_went_wrong", case.replay));
    }
    Ok(())
}

/// A place for a picture that nobody gave a name.
fn default_picture(name: &str) -> PathBuf {
    std::env::temp_dir()
        .join(format!("quorate-{}.svg", name.replace(|letter: char| !letter.is_alphanumeric(), "-")))
}

/// Where a regression of this name is to be kept.
pub(super) fn room_for(name: &str) -> anyhow::Result<PathBuf> {
    let folder = Path::new(REGRESSIONS);
    anyhow::ensure!(
        folder.is_dir(),
        "there is no folder {REGRESSIONS} here to keep {name}.toml in; fix: run this in the root of the project"
    );
    let path = folder.join(format!("{name}.toml"));
    anyhow::ensure!(!path.exists(), "{} is there already; fix: choose another name", path.display());
    Ok(path)
}

/// Writes a scenario where the tests find it, if that is what somebody who reads it again finds in it.
fn keep(name: &str, case: &Case, failure: &Failure, scenario: &Scenario) -> anyhow::Result<PathBuf> {
    let path = room_for(name)?;
    let about = format!("Found as {}: {}", case.name, failure.brief());
    let text = ScenarioFile { about, scenario: scenario.clone(), expect: case.expect.clone() }.to_toml();
    let again = ScenarioFile::parse(&text, &path)?;
    let run = again.scenario.examine(&mut World::new(&again.scenario.setting));
    anyhow::ensure!(
        failure.differs.is_some() || Failure::of(&again.expect, &run, None).is_some(),
        "what it shrank to does not fail when it is read from a file, so it is not kept; fix: keep the whole run with \
         `{} --save`",
        case.replay
    );
    std::fs::write(&path, text).with_context(|| format!("{}: cannot be written", path.display()))?;
    Ok(path)
}
