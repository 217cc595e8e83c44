//! `quorate bench limits`: what this machine can do at most.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use quorate_bench::limits::{self, EchoProgram, Effort, Options};

use super::show_progress;

/// Arguments of `quorate bench limits`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  quorate bench limits                        a table
  quorate bench limits --json limits.json     the table, and all of it in a file
  quorate bench limits --json | jq .signatures.verify_batch_256_us.median")]
pub(super) struct LimitsArgs {
    /// Write JSON to FILE besides the table, or to standard output in its place
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    pub(super) json: Option<Option<PathBuf>>,
    /// Folder whose disk is measured, may be repeated [default: the system's temporary one and the current one]
    #[arg(long)]
    pub(super) dir: Vec<PathBuf>,
}

pub(super) fn run_limits(args: LimitsArgs) -> anyhow::Result<ExitCode> {
    let mut options = Options { effort: Effort::Full, progress: show_progress, ..Options::default() };
    if !args.dir.is_empty() {
        limits::check_folders(&args.dir)?;
        options.dirs = args.dir;
    }
    options.echo = echo_program();
    let limits = limits::measure(&options);
    show_progress("");
    let json = || serde_json::to_string_pretty(&limits).context("the limits have no JSON form");
    match args.json {
        Some(None) => println!("{}", json()?),
        Some(Some(file)) => {
            std::fs::write(&file, json()? + "\n")
                .with_context(|| format!("cannot write {}", file.display()))?;
            print!("{limits}");
        }
        None => print!("{limits}"),
    }
    Ok(ExitCode::SUCCESS)
}

/// The other process of a round trip is this program again.
pub(super) fn echo_program() -> Option<EchoProgram> {
    let program = std::env::current_exe().ok()?;
    Some(EchoProgram { program, arguments: vec!["bench".into(), "limits-echo".into()] })
}
