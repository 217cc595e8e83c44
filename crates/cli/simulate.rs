//! `quorate simulate`: whole clusters in virtual time, with faults and liars, and a verdict on each.

mod failure;
mod output;
mod picture;
mod progress;
mod recorded;
mod sweep;

use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::Instant;

use anyhow::Context as _;
use quorate_protocol::types::Time;
use quorate_sim::scenario::Scenario;
use quorate_sim::scenario::expect::{Expect, Run};
use quorate_sim::scenario::file::ScenarioFile;
use quorate_sim::shrink::schedule;
use quorate_sim::world::World;

use self::failure::Failure;
use self::output::Voice;
use self::sweep::{Sweep, Totals};

const EXAMPLES: &str = "Examples:
  quorate simulate configs/scenarios/equivocating-primary.toml
                                                    one world, told as a file, and what it shows
  quorate simulate --seeds 0..10000                 ten thousand worlds, each drawn from its number
  quorate simulate --replay 17                      one of them again
  quorate simulate --replay 17 --trace 17.txt --picture 17.svg
                                                    every message of it as text; and a picture from the first lie or
                                                    crash on, or of what led to the end if something went wrong
  quorate simulate --replay 17 --picture 17.svg --from 1.2s --until 1.5s
                                                    that part of it; times are those of traces and pictures
  quorate simulate --replay 17 --save 17.toml       as a scenario file, to be read and changed
  quorate simulate --seed 17 --record 17.jsonl      what a live page would have shown; `quorate view 17.jsonl` does
  quorate simulate --replay 17 --regression what_went_wrong
                                                    a failing one, shrunk, as tests/regressions/what_went_wrong.toml,
                                                    which the tests run for ever
  quorate simulate --seeds 0..10000 --json -        what was run and found, for a program to read

A number gives everything: the cluster and its parameters, links that lose, repeat and reorder, partitions, crashes and
power cuts, damaged disks, wrong clocks, up to f liars, and what clients ask. After every step the invariants are checked;
then everything but the liars heals, and every request must be answered within a bound. One scenario or number is run
twice, and the hash of everything that happened must be the same.

The verdict says whether the run was safe (no two replicas executed different things, and nothing that a client was told
is lost), live (once everything healed, everything was answered in time), linearizable (what clients saw has one order),
bounded (no replica kept more than its configuration allows) and accountable (whoever is accused is proven to have lied,
and did).

configs/scenarios/README.md says what each scenario shows, and how a scenario is written.

Exit codes: 0 everything was as expected; 1 it was not, and the way to see it again is printed; 2 wrong usage, or a file
that cannot be read or written.";

/// Seeds that one sweep may have.
const SEEDS_MAX: u64 = 1 << 40;

/// Arguments of `quorate simulate`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["scenario", "seeds", "replay"]))]
pub(crate) struct Args {
    /// A scenario file; configs/scenarios has one for every behaviour and fault
    scenario: Option<PathBuf>,
    /// Run many worlds, each drawn from a number: all from FROM to one below END, for example 0..10000
    #[arg(long, value_name = "FROM..END", value_parser = seeds)]
    seeds: Option<Range<u64>>,
    /// Run the world of one number
    #[arg(long, visible_alias = "seed", value_name = "SEED")]
    replay: Option<u64>,
    /// Shrink every run that fails, not only the first, and until nothing more can go
    #[arg(long)]
    shrink: bool,
    /// Write every message to this file; `-` for standard output
    #[arg(long, value_name = "FILE", conflicts_with = "seeds")]
    trace: Option<PathBuf>,
    /// Draw the messages as an SVG, from the first lie or crash on; of a run that fails, the end of what it shrank to
    #[arg(long, value_name = "FILE.svg")]
    picture: Option<PathBuf>,
    /// Record the run for `quorate view`: what each replica saw of each slot, views, votes, faults, lies and the verdict
    #[arg(long, value_name = "FILE", conflicts_with = "seeds")]
    record: Option<PathBuf>,
    /// Draw from this time on, for example 1.25s or 1250ms; worlds begin at 1s
    #[arg(long, value_name = "TIME", value_parser = picture::time, requires = "picture")]
    from: Option<Time>,
    /// Draw up to this time
    #[arg(long, value_name = "TIME", value_parser = picture::time, requires = "picture")]
    until: Option<Time>,
    /// Write one JSON object about the runs to this file; `-` for standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the world as a scenario file
    #[arg(long, value_name = "FILE.toml", conflicts_with = "seeds")]
    save: Option<PathBuf>,
    /// Keep the first run that fails, shrunk, as tests/regressions/NAME.toml of the current folder, the project's root
    #[arg(long, value_name = "NAME", value_parser = regression_name)]
    regression: Option<String>,
    /// Threads [default: one for each core]
    #[arg(long, requires = "seeds")]
    threads: Option<NonZeroUsize>,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let wrong = || "write two numbers with .. between them, the first below the second: 0..10000".to_owned();
    let (from, end) = text.split_once("..").ok_or_else(wrong)?;
    let (from, end) = (from.parse::<u64>().map_err(|_| wrong())?, end.parse::<u64>().map_err(|_| wrong())?);
    if from >= end {
        return Err(wrong());
    }
    if end - from > SEEDS_MAX { Err(format!("at most {SEEDS_MAX} at once")) } else { Ok(from..end) }
}

fn regression_name(text: &str) -> Result<String, String> {
    let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    match !text.is_empty() && text.chars().all(plain) {
        true => Ok(text.to_owned()),
        false => Err("write what went wrong in small letters, digits and _".to_owned()),
    }
}

pub(crate) fn run(args: &Args) -> ExitCode {
    // Before anything is run that somebody would wait for in vain.
    let room = args.regression.as_deref().map_or(Ok(()), |name| failure::room_for(name).map(drop));
    let held = room.and_then(|()| run_what_is_named(args));
    match held {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run_what_is_named(args: &Args) -> anyhow::Result<bool> {
    match (&args.scenario, &args.seeds, args.replay) {
        (Some(path), ..) => run_file(args, path),
        (_, Some(seeds), _) => run_seeds(args, seeds.clone()),
        (.., replay) => replay_seed(args, replay.unwrap_or(0)),
    }
}

fn voice(args: &Args) -> Voice {
    Voice::beside(&[&args.trace, &args.json, &args.save, &args.picture])
}

/// Lets a scenario happen, and notes every message of it if that was asked for.
fn examine(args: &Args, scenario: &Scenario) -> (Run, Vec<String>) {
    let mut world = World::new(&scenario.setting);
    if args.trace.is_some() {
        world.keep_trace();
    }
    let run = scenario.examine(&mut world);
    let trace = world.take_timed_trace().into_iter();
    let trace = trace.map(|(at, line)| format!("{}.{:06}  {line}", at.0 / 1_000_000, at.0 % 1_000_000));
    (run, trace.collect())
}

fn run_file(args: &Args, path: &Path) -> anyhow::Result<bool> {
    let ScenarioFile { about, scenario, expect } = ScenarioFile::load(path)?;
    let name = path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    voice(args).say(&format!("{name}{}{about}\n", if about.is_empty() { "" } else { ": " }));
    voice(args).say(&schedule(&scenario).join("\n"));
    let replay = format!("{} simulate {}", crate::program(), crate::quoted(&path.to_string_lossy()));
    let overwhelmed = scenario.overwhelmed();
    if let Some(words) = &overwhelmed {
        anyhow::ensure!(
            args.regression.is_none(),
            "{}: {words}: nothing is promised then, so a test of it could never pass; fix: take out what is too much, or add \
             replicas",
            path.display()
        );
        voice(args).say(&format!(
            "\nwarning: {words}; with more than f nothing is promised, so what goes wrong here is no fault of the protocol"
        ));
    }
    let about = if about.is_empty() { name.clone() } else { about };
    one(args, &Case { name, about, scenario, expect, replay })
}

fn replay_seed(args: &Args, seed: u64) -> anyhow::Result<bool> {
    let scenario = Scenario::of(seed);
    voice(args).say(&format!("seed {seed}\n"));
    voice(args).say(&schedule(&scenario).join("\n"));
    let replay = format!("{} simulate --replay {seed}", crate::program());
    // Nobody can draw a lie that is sure to be told.
    let expect = Expect { lies: false, ..Expect::default() };
    let name = format!("seed {seed}");
    one(args, &Case { about: name.clone(), name, scenario, expect, replay })
}

/// One scenario that is run, and what is expected of it.
struct Case {
    name: String,
    /// What it is about, in a sentence.
    about: String,
    scenario: Scenario,
    expect: Expect,
    replay: String,
}

/// Runs one scenario twice and tells everything about it.
fn one(args: &Args, case: &Case) -> anyhow::Result<bool> {
    let started = Instant::now();
    let (run, trace) = examine(args, &case.scenario);
    let again = case.scenario.examine(&mut World::new(&case.scenario.setting)).outcome.hash;
    let wall_s = started.elapsed().as_secs_f64();
    let failure = Failure::of(&case.expect, &run, Some(again));
    voice(args).say(&output::told(&run, again));
    voice(args).say(&output::compared(&case.expect.findings(&run), failure.as_ref()));
    if let Some(path) = &args.trace {
        output::write(path, &(trace.join("\n") + "\n"))?;
        output::say_where(voice(args), "trace", path, "");
    }
    if let Some(path) = &args.record {
        recorded::save(args, case, path)?;
    }
    if let Some(path) = &args.save {
        let (about, scenario, expect) = (case.about.clone(), case.scenario.clone(), case.expect.clone());
        output::write(path, &ScenarioFile { about, scenario, expect }.to_toml())?;
        output::say_where(voice(args), "saved", path, "");
    }
    let mut totals = Totals::default();
    totals.add(0, &case.scenario, &run, failure.as_ref());
    if let Some(path) = &args.json {
        output::write(path, &output::json(&totals, wall_s, 1, &[(0, failure.clone())], Some(&run)))?;
        output::say_where(voice(args), "json", path, "");
    }
    if let Some(failure) = failure {
        voice(args).say(&format!("replay: {}", case.replay));
        failure::tell(args, case, &failure)?;
        return Ok(false);
    }
    if let Some(path) = &args.picture {
        picture::save(args, &case.name, &case.scenario, path)?;
    }
    Ok(true)
}

fn run_seeds(args: &Args, seeds: Range<u64>) -> anyhow::Result<bool> {
    let threads = match args.threads {
        Some(threads) => threads,
        None => {
            available_parallelism().context("cannot tell how many cores there are; fix: pass --threads")?
        }
    };
    let Sweep { totals, failed, wall_s } = sweep::run(seeds.clone(), threads);
    voice(args).say(&output::summary(&totals, wall_s, threads.get(), &seeds));
    if let Some(path) = &args.json {
        let failed: Vec<_> = failed.iter().map(|(seed, failure)| (*seed, Some(failure.clone()))).collect();
        output::write(path, &output::json(&totals, wall_s, threads.get(), &failed, None))?;
    }
    for (index, (seed, failure)) in failed.iter().enumerate() {
        let replay = format!("{} simulate --replay {seed}", crate::program());
        voice(args).say(&format!("\nseed {seed}: {}\nreplay: {replay}", failure.brief()));
        if index == 0 || args.shrink {
            let expect = Expect { lies: false, ..Expect::default() };
            let (name, scenario) = (format!("seed {seed}"), Scenario::of(*seed));
            let case = Case { about: name.clone(), name, scenario, expect, replay };
            failure::tell(args, &case, failure)?;
        }
    }
    let told = failed.len() as u64;
    if totals.violations > told {
        voice(args).say(&format!("\nand {} more", totals.violations - told));
    }
    Ok(totals.violations == 0)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn the_arguments_are_consistent_and_name_one_thing_to_run() {
        Alone::command().debug_assert();
        for good in [&["x", "a.toml"][..], &["x", "--seeds", "0..3"], &["x", "--seed", "7"]] {
            assert!(Alone::try_parse_from(good).is_ok(), "{good:?}");
        }
        for bad in [
            &["x"][..],
            &["x", "a.toml", "--replay", "7"],
            &["x", "--seeds", "0..3", "--replay", "7"],
            &["x", "--seeds", "3..3"],
            &["x", "--seeds", "7"],
            &["x", "--seeds", "0..3", "--trace", "a.txt"],
            &["x", "--seeds", "0..3", "--record", "a.jsonl"],
            &["x", "--replay", "7", "--regression", "Not a name"],
        ] {
            assert!(Alone::try_parse_from(bad).is_err(), "{bad:?}");
        }
        assert_eq!(seeds("5..17"), Ok(5..17));
    }
}
