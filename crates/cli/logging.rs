//! What is logged, and how: on standard error, as text for people or as one JSON object a line for programs.

use std::io::IsTerminal;

use quorate_bench::worker::Logs;
use tracing_subscriber::EnvFilter;

/// What an operator wants to know when nobody says otherwise.
const USUAL: &str = "warn,quorate_cli::replica=info,quorate_node::node=info";

/// Arguments of every command that are about its log.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Log, on standard error")]
pub(crate) struct Args {
    /// What to log: a level such as `debug`, or levels by origin, as in `warn,quorate=debug`; the replicas of a testbed log
    /// the same, each into its file
    #[arg(long = "log", global = true, env = "QUORATE_LOG", hide_env_values = true, value_name = "FILTER")]
    #[arg(value_parser = checked)]
    filter: Option<String>,
    /// As lines for people, or as one JSON object a line
    #[arg(long = "log-format", global = true, env = "QUORATE_LOG_FORMAT", hide_env_values = true)]
    #[arg(value_name = "FORMAT", default_value = "text")]
    format: Format,
}

/// How a log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    // Without a doc line each, so that they take no lines of every command's help.
    Text,
    Json,
}

/// A filter that can be read.
fn checked(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|why| {
        format!(
            "{why}; write a level (error, warn, info, debug, trace), or some like `quorate=debug`, by commas"
        )
    })
}

impl Args {
    /// Logs from now on.
    pub(crate) fn begin(&self) {
        let filter = EnvFilter::new(self.filter.as_deref().unwrap_or(USUAL));
        let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
        // Or a log that nobody reads any more would end a replica.
        let log = log.log_internal_errors(false);
        match self.format {
            Format::Text => log.with_ansi(std::io::stderr().is_terminal()).init(),
            Format::Json => log.json().flatten_event(true).with_span_list(false).init(),
        }
    }

    /// How replicas log that this process starts.
    pub(crate) fn of_replicas(&self) -> Logs {
        let format = match self.format {
            Format::Text => "text",
            Format::Json => "json",
        };
        Logs { filter: self.filter.clone(), format: Some(format.to_owned()) }
    }

    /// Says why a command failed, in the form that whoever reads its log expects.
    pub(crate) fn fail(&self, error: &anyhow::Error) {
        match self.format {
            Format::Text => eprintln!("error: {error:#}"),
            Format::Json => tracing::error!("{error:#}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_cannot_be_read_is_refused_with_what_can_be_written() {
        for good in ["debug", USUAL, "warn,quorate::request=debug", ""] {
            assert_eq!(checked(good).as_deref(), Ok(good));
        }
        let refused = checked("quorate=loud").expect_err("there is no such level");
        assert!(refused.contains("error, warn, info, debug, trace"), "{refused}");
    }
}
