//! `quorate bench`: what this machine can do at most.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use quorate_bench::limits::{self, EchoProgram, Effort, Options};

/// Arguments of `quorate bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Measure what this machine could do at most: signatures, hashes, codec, round trips, syncs (about 5 seconds)
    Limits(LimitsArgs),
    /// The other process of a round trip
    #[command(hide = true)]
    LimitsEcho,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  quorate bench limits                        a table
  quorate bench limits --json limits.json     the table, and all of it in a file
  quorate bench limits --json | jq .signatures.verify_batch_256_us.median")]
struct LimitsArgs {
    /// Write JSON to FILE besides the table, or to standard output in its place
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    json: Option<Option<PathBuf>>,
    /// Folder whose disk is measured, may be repeated [default: the system's temporary one and the current one]
    #[arg(long)]
    dir: Vec<PathBuf>,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Limits(args) => run_limits(args),
        Command::LimitsEcho => {
            limits::echo()?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn run_limits(args: LimitsArgs) -> anyhow::Result<ExitCode> {
    let mut options = Options { effort: Effort::Full, progress: show_progress, ..Options::default() };
    if !args.dir.is_empty() {
        limits::check_folders(&args.dir)?;
        options.dirs = args.dir;
    }
    options.echo = std::env::current_exe()
        .ok()
        .map(|program| EchoProgram { program, arguments: vec!["bench".into(), "limits-echo".into()] });
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

/// One line on a terminal, written over by the next and wiped by an empty one; nothing in a log.
fn show_progress(what: &str) {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        let line = if what.is_empty() { String::new() } else { format!("measuring: {what} ...") };
        // Progress that nobody can see any more is no reason to stop.
        let _ = write!(stderr, "\r\x1b[K{line}").and_then(|()| stderr.flush());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        args: Args,
    }

    fn limits_args(arguments: &[&str]) -> LimitsArgs {
        let all = ["bench", "limits"].iter().chain(arguments);
        match Alone::try_parse_from(all).unwrap().args.command {
            Command::Limits(args) => args,
            Command::LimitsEcho => panic!("another subcommand"),
        }
    }

    #[test]
    fn the_arguments_are_consistent() {
        Alone::command().debug_assert();
    }

    #[test]
    fn json_goes_to_standard_output_unless_a_file_is_named() {
        assert_eq!(limits_args(&[]).json, None);
        assert_eq!(limits_args(&["--json"]).json, Some(None));
        assert_eq!(
            limits_args(&["--json", "x.json", "--dir", "a", "--dir", "b"]).json,
            Some(Some("x.json".into()))
        );
        assert_eq!(limits_args(&["--json", "--dir", "a"]).dir, [PathBuf::from("a")]);
    }

    #[test]
    fn the_other_process_is_not_in_the_help() {
        assert!(!Alone::command().render_long_help().to_string().contains("echo"));
        assert!(Alone::try_parse_from(["bench", "limits-echo"]).is_ok());
    }
}
