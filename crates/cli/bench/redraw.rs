//! `quorate bench report`: a report drawn again, from what an earlier one kept.

use std::path::PathBuf;
use std::process::ExitCode;

use quorate_bench::record::Record;
use quorate_bench::report;

/// Arguments of `quorate bench report`.
#[derive(Debug, clap::Args)]
pub(super) struct ReportArgs {
    /// Folder that `quorate bench FILE --out DIR` wrote, or its points.json; its histograms stay as they are
    dir: PathBuf,
}

pub(super) fn run(args: &ReportArgs) -> anyhow::Result<ExitCode> {
    let record = Record::load(&args.dir)?;
    // Beside its points.json, if that was named. Histograms are not touched, so a sample without them is drawn, too.
    let folder = if args.dir.is_file() { args.dir.parent().unwrap_or(&args.dir) } else { &args.dir };
    let written = report::write(&record, &[], folder)?;
    println!("{}", written.page.display());
    Ok(ExitCode::SUCCESS)
}
