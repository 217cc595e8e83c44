//! How runs are told: for people, and for programs.

use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use quorate_sim::scenario::expect::{Finding, Run};
use quorate_sim::world::Injected;
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
        print!("{text}");
        return Ok(());
    }
    std::fs::write(path, text).with_context(|| {
        format!("{}: cannot be written; fix: name a file in a folder that exists", path.display())
    })
}

/// Says where something was written, unless whoever asked for it has it before him.
pub(super) fn say_where(voice: Voice, what: &str, path: &Path, more: &str) {
    if path != Path::new("-") {
        voice.say(&format!("{what}: {}{more}", path.display()));
    }
}

/// One run, for people; `again` is the hash of a second run of the same scenario.
pub(super) fn told(run: &Run, again: u64) -> String {
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
    let done = in_words(&outcome.injected);
    if !done.is_empty() {
        text += &format!("done to it: {}\n", done.join(", "));
    }
    for (id, sin, told) in lies_of(run) {
        text += &format!("lies: replica {id} told {told} of `{sin}`\n");
    }
    text += &proofs(run);
    let first = outcome.hash;
    text += &match again == first {
        true => format!("hash {first:016x}, on both of two runs: every message and its time are in it\n"),
        false => format!("hash {first:016x}, but {again:016x} on a second run\n"),
    };
    text + &format!("\n{}\n", run.verdict)
}

/// Who is proven to have lied, and which liar is not.
fn proofs(run: &Run) -> String {
    let mut text = String::new();
    for (id, offences) in &run.proofs {
        let offences: Vec<String> = offences.iter().map(ToString::to_string).collect();
        text += &format!("proof: replica {id} {}\n", offences.join(", and "));
    }
    let unproven = run.outcome.lies.iter().filter(|(_, lies)| lies.values().any(|told| *told > 0));
    for (id, _) in unproven.filter(|(id, _)| !run.proofs.contains_key(id)) {
        text += &format!(
            "no proof against replica {id}: nobody holds two things signed by it that exclude each other\n"
        );
    }
    text
}

/// What was expected, and how it was.
pub(super) fn compared(findings: &[Finding], failure: Option<&Failure>) -> String {
    let list = |met: bool| -> String {
        let lines = findings.iter().filter(|finding| finding.met == met);
        lines.map(|finding| format!("\n  {}", finding.words)).collect()
    };
    let Some(failure) = failure else { return format!("as expected:{}\n", list(true)) };
    let mut unmet = list(false);
    if let Some((one, other)) = failure.differs() {
        unmet += &format!(
            "\n  two runs of it should be the same, and they differ: hash {one:016x} and {other:016x}"
        );
    }
    format!("NOT as expected:{unmet}\nas expected:{}\n", list(true))
}

/// What was done to a world, each with its number.
fn in_words(injected: &Injected) -> Vec<String> {
    let words = |name| match name {
        "crashes" => ("crash for good", "crashes for good"),
        "outages" => ("crash with a restart to come", "crashes with a restart to come"),
        "power_cuts" => ("power cut", "power cuts"),
        "unsynced" => ("crash that lost unsynced writes", "crashes that lost unsynced writes"),
        "damaged" => ("damaged disk", "damaged disks"),
        "restarts" => ("restart", "restarts"),
        "repaired" => ("restart from a damaged disk", "restarts from damaged disks"),
        "boxed" => ("restart bound by what may be forgotten", "restarts bound by what may be forgotten"),
        "refused" => ("start that a damaged disk prevented", "starts that damaged disks prevented"),
        "clocks" => ("clock gone wrong", "clocks gone wrong"),
        "pauses" => ("process asleep for a while", "processes asleep for a while"),
        "handed_over" => {
            ("view handed over by who was to stop", "views handed over by those who were to stop")
        }
        _ => ("VIEW-CHANGE said again after a restart", "VIEW-CHANGEs said again after a restart"),
    };
    let counts = self::injected(injected).into_iter().filter(|(_, count)| *count > 0);
    counts
        .map(|(name, count)| match (count, words(name)) {
            (1, (one, _)) => format!("1 {one}"),
            (count, (_, many)) => format!("{count} {many}"),
        })
        .collect()
}

fn injected(injected: &Injected) -> [(&'static str, u64); 13] {
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
        ("handed_over", injected.handed_over),
        ("repeated", injected.repeated),
    ]
}

/// Many runs, for people.
pub(super) fn summary(totals: &Totals, wall_s: f64, threads: usize, seeds: &Range<u64>) -> String {
    let (rate, per_core) = rates(totals, wall_s, threads);
    let mut text = format!(
        "seeds {}..{}: {} failed, {} of them not live; {} were run twice; hash of all {:016x}\n",
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
    let counts = in_words(&totals.injected);
    text += &format!(
        "{} answers, {} views, {} states fetched; {}\n",
        totals.accepted,
        totals.views,
        totals.transfers,
        counts.join(", ")
    );
    let lies: Vec<String> = totals.lies.iter().map(|(sin, told)| format!("{sin} {told}")).collect();
    text + &format!(
        "liars in {} of the seeds, who told lies in {}: {}\n",
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
