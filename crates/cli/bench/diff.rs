//! `quorate bench diff`: which differences between two reports of one figure exceed the noise.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use quorate_bench::difference::Difference;
use quorate_bench::record::Record;

/// What a program is told that could not compare or judge: 1 says that something differs.
const TROUBLE: u8 = 2;

const EXAMPLES: &str = "Examples:
  quorate bench diff before after                two folders that `quorate bench FILE --out DIR` wrote
  quorate bench diff a/points.json b --json | jq '.rows[] | select(.verdict == \"worse\")'

Throughput is judged in every cell, p50 and p99 where the load was given (at a peak latency says where the search stopped).
Two values differ if the 95 % intervals of their runs (Student's t) share no value, and the medians are 5 % (throughput),
10 % (p50) or 25 % (p99) apart at least. A peak lies between the load that was borne and the lowest that was too much: its
interval reaches up to there, and medians must differ by 10 %. Costs of a call that changed by 10 % are shown, and not judged.

Exit codes: 0 nothing differs by more than the noise; 1 something does, or a cell is or has a number in one of them only;
2 the two cannot be compared, or nothing could be judged: noise is known from two runs of a cell on.";

/// Arguments of `quorate bench diff`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DiffArgs {
    /// Folder of a report, or its points.json
    a: PathBuf,
    /// The same of another run of the same figure
    b: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &DiffArgs) -> anyhow::Result<ExitCode> {
    let between = || -> anyhow::Result<Difference> {
        let (a, b) = (Record::load(&args.a)?, Record::load(&args.b)?);
        Difference::between(&a, &b)
            .with_context(|| format!("cannot compare {} with {}", args.a.display(), args.b.display()))
    };
    let difference = match between() {
        Ok(difference) => difference,
        Err(error) => {
            eprintln!("error: {error:#}");
            return Ok(ExitCode::from(TROUBLE));
        }
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&difference)?);
    } else {
        println!("{difference}");
    }
    Ok(match (difference.differs, difference.judged) {
        (true, _) => ExitCode::FAILURE,
        (false, 0) => ExitCode::from(TROUBLE),
        (false, _) => ExitCode::SUCCESS,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use quorate_bench::limits::{Effort, Options, measure};
    use quorate_bench::record::{Cell, Point, Provenance, Run};

    use super::*;

    /// A report with one cell of this many replicas, whose three runs answered about so many calls a second.
    fn write(n: u16, rps: f64) -> tempfile::TempDir {
        write_runs(n, rps, 3)
    }

    fn write_runs(n: u16, rps: f64, runs: usize) -> tempfile::TempDir {
        let run = |factor: f64| Run { throughput_rps: rps * factor, ..Run::default() };
        let cell = Cell { n, rate: "peak".into(), ..Cell::default() };
        let runs = [0.99, 1.0, 1.01].map(run).into_iter().take(runs).collect();
        let point = Point { cell, runs, ..Point::default() };
        let options = Options { dirs: Vec::new(), effort: Effort::Smoke, ..Options::default() };
        let record = Record {
            title: "a".into(),
            about: String::new(),
            draw: Vec::new(),
            configuration: String::new(),
            provenance: Provenance::default(),
            limits: measure(&options),
            points: vec![point],
        };
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("points.json"), serde_json::to_string(&record).unwrap()).unwrap();
        folder
    }

    #[test]
    fn the_exit_code_tells_a_difference_from_none_and_from_trouble() {
        let code = |a: &std::path::Path, b: &std::path::Path| {
            let args = DiffArgs { a: a.to_owned(), b: b.to_owned(), json: false };
            run(&args).unwrap()
        };
        let (before, same, more, other) =
            (write(4, 1000.0), write(4, 1005.0), write(4, 1200.0), write(7, 1000.0));
        assert_eq!(code(before.path(), same.path()), ExitCode::SUCCESS);
        assert_eq!(code(before.path(), &same.path().join("points.json")), ExitCode::SUCCESS);
        assert_eq!(code(before.path(), more.path()), ExitCode::FAILURE);
        assert_eq!(code(before.path(), other.path()), ExitCode::from(TROUBLE), "nothing in common");
        assert_eq!(code(before.path(), &same.path().join("none")), ExitCode::from(TROUBLE));
        let single = write_runs(4, 1000.0, 1);
        assert_eq!(code(single.path(), single.path()), ExitCode::from(TROUBLE), "nothing could be judged");
    }
}
