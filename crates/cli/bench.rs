//! `quorate bench`: figures of throughput and latency, and what this machine can do at most.

mod agent;
mod diff;
mod limits;
mod redraw;
mod run;
mod words;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use self::limits::LimitsArgs;
use self::redraw::ReportArgs;
use self::run::FigureArgs;

/// The report needs a folder, and a plan needs none.
const USAGE: &str = "quorate bench [OPTIONS] --out <DIR> <FILE>
       quorate bench [OPTIONS] --dry-run <FILE>
       quorate bench <COMMAND>";

/// Arguments of `quorate bench`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true, override_usage = USAGE)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    figure: FigureArgs,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Measure what this machine could do at most: signatures, hashes, codec, round trips, syncs (about 5 seconds)
    Limits(LimitsArgs),
    /// Draw a report again, from the points.json of an earlier one
    Report(ReportArgs),
    /// Say which differences between two reports of one figure exceed the noise
    Diff(diff::DiffArgs),
    /// Let a controller on another machine run replicas and clients on this one
    Agent(agent::AgentArgs),
    /// Print the public key of a key file for a controller or an agent; make the file if there is none
    Key(agent::KeyArgs),
    /// The other process of a round trip
    #[command(hide = true)]
    LimitsEcho,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        None => run::run(&args.figure),
        Some(Command::Limits(args)) => limits::run_limits(args),
        Some(Command::Report(args)) => redraw::run(&args),
        Some(Command::Diff(args)) => diff::run(&args),
        Some(Command::Agent(args)) => agent::run(args),
        Some(Command::Key(args)) => agent::run_key(&args),
        Some(Command::LimitsEcho) => {
            quorate_bench::limits::echo()?;
            Ok(ExitCode::SUCCESS)
        }
    }
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
    use std::path::PathBuf;

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
            Some(Command::Limits(args)) => args,
            _ => panic!("another subcommand"),
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
