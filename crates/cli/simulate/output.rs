//! How runs are told: for people, and for programs.

use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use quorate_sim::check::Violation;
use quorate_sim::picture::{Subject, draw};
use quorate_sim::scenario::expect::Run;
use quorate_sim::world::{Injected, World};
use serde_json::{Map, Value, json};

use super::failure::Failure;
use super::sweep::{Totals, lies_of};

/// Where people are told something: standard output, unless a program reads that.
#[derive(Debug, Clone, Copy)]
pub(super) struct Voice {
    aside: bool,
}

impl Voice {
    /// Beside what these files take of standard output.
    pub(super) fn beside(files: &[&Option<PathBuf>]) -> Self {
        Self { aside: files.iter().any(|file| file.as_deref() == Some(Path::new("-"))) }
    }

    pub(super) fn say(self, text: &str) {
        if self.aside {
            eprintln!("{text}");
        } else {
            println!("{text}");
        }
    }
}

/// Writes to a file, or to standard output.
pub(super) fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    if path == Path::new("-") {
        return std::io::stdout().write_all(text.as_bytes()).context("standard output is gone");
    }
    std::fs::write(path, text).with_context(|| {
        format!("{}: cannot be written; fix: name a file in a folder that exists", path.display())
    })
}

/// What happened last in a world, if it was noted.
pub(super) fn picture(world: &mut World, title: &str, violation: Option<&Violation>) -> Option<String> {
    let sketch = world.take_sketch()?;
    Some(draw(&sketch, &Subject::of(world, title, violation)))
}

/// One run, for people.
pub(super) fn told(run: &Run) -> String {
    let outcome = &run.outcome;
    let mut text = format!(
        "\n{} answers, {} slots executed, view {}, {} states fetched; {} steps, {:.3} s of virtual time, {:.3} s after \
         healing\n",
        outcome.accepted,
        outcome.executed,
        outcome.view,
        outcome.transfers,
        outcome.events,
        outcome.virtual_us as f64 / 1e6,
        outcome.recovery_us as f64 / 1e6,
    );
    let counts: Vec<String> = injected(&outcome.injected)
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{count} {}", name.replace('_', " ")))
        .collect();
    if !counts.is_empty() {
        text += &format!("injected: {}\n", counts.join(", "));
    }
    for (id, sin, told) in lies_of(run) {
        text += &format!("lies: replica {id} told {told} of `{sin}`\n");
    }
    text + &format!("hash {:016x}\n\n{}\n", outcome.hash, run.verdict)
}

fn injected(injected: &Injected) -> [(&'static str, u64); 12] {
    [
        ("crashes", injected.crashes),
        ("outages", injected.outages),
        ("power_cuts", injected.power_cuts),
        ("unsynced", injected.unsynced),
        ("damaged", injected.damaged),
        ("restarts", injected.restarts),
        ("repaired", injected.repaired),
        ("boxed", injected.boxed),
        ("refused", injected.refused),
        ("clocks", injected.clocks),
        ("pauses", injected.pauses),
        ("repeated", injected.repeated),
    ]
}

/// Many runs, for people.
pub(super) fn summary(totals: &Totals, wall_s: f64, threads: usize, seeds: &Range<u64>) -> String {
    let (rate, per_core) = rates(totals, wall_s, threads);
    let mut text = format!(
        "seeds {}..{}: {} failed, {} of them not live; {} lived through twice, hash {:016x}\n",
        seeds.start, seeds.end, totals.violations, totals.liveness_failures, totals.replayed, totals.hash
    );
    text += &format!(
        "{} steps in {:.0} s of virtual time, {wall_s:.1} s of wall time on {threads} threads\n",
        totals.steps,
        totals.virtual_us as f64 / 1e6
    );
    text += &format!(
        "{} batches committed, {} of them under faults: {rate:.0} per second of wall time, {per_core:.0} per core\n",
        totals.batches, totals.faulty_batches
    );
    let counts = injected(&totals.injected).into_iter().filter(|(_, count)| *count > 0);
    let counts: Vec<String> =
        counts.map(|(name, count)| format!("{count} {}", name.replace('_', " "))).collect();
    text += &format!(
        "{} answers, {} views, {} states fetched; {}\n",
        totals.accepted,
        totals.views,
        totals.transfers,
        counts.join(", ")
    );
    let lies: Vec<String> = totals.lies.iter().map(|(sin, told)| format!("{sin} {told}")).collect();
    text + &format!(
        "liars in {} seeds, who lied in {}: {}\n",
        totals.with_liars,
        totals.lied_in,
        if lies.is_empty() { "nothing".to_owned() } else { lies.join(", ") }
    )
}

/// Batches under faults per second, on all cores and on one.
fn rates(totals: &Totals, wall_s: f64, threads: usize) -> (f64, f64) {
    let rate = totals.faulty_batches as f64 / wall_s.max(0.001);
    (rate, rate / threads as f64)
}

/// Runs, for programs; `failed` are those that were not as expected, `run` the only one.
pub(super) fn json(
    totals: &Totals,
    wall_s: f64,
    threads: usize,
    failed: &[(u64, Option<Failure>)],
    run: Option<&Run>,
) -> String {
    let (rate, per_core) = rates(totals, wall_s, threads);
    let injected: Map<String, Value> =
        injected(&totals.injected).into_iter().map(|(name, count)| (name.to_owned(), count.into())).collect();
    let failures: Vec<Value> = failed
        .iter()
        .filter_map(|(seed, failure)| Some(json!({ "seed": seed, "why": failure.as_ref()?.to_string() })))
        .collect();
    let value = json!({
        "seeds": totals.seeds,
        "steps": totals.steps,
        "virtual_s": totals.virtual_us as f64 / 1e6,
        "violations": totals.violations,
        "liveness_failures": totals.liveness_failures,
        "wall_s": wall_s,
        "threads": threads,
        "batches": totals.batches,
        "faulty_batches": totals.faulty_batches,
        "faulty_batches_per_s": rate,
        "faulty_batches_per_s_per_core": per_core,
        "accepted": totals.accepted,
        "views": totals.views,
        "transfers": totals.transfers,
        "seeds_with_liars": totals.with_liars,
        "seeds_lied_in": totals.lied_in,
        "lies": totals.lies,
        "injected": injected,
        "replayed": totals.replayed,
        "hash": format!("{:016x}", totals.hash),
        "failures": failures,
        "verdict": run.map(|run| &run.verdict),
    });
    format!("{value:#}\n")
}
