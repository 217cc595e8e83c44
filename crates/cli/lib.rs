//! What the program `quorate` does: one file per subcommand, each with its `Args` and its `run`.
//!
//! It is a library so that a program of somebody's own application has the same subcommands, by the same code: its
//! replicas are `quorate replica`, its trials are `quorate testbed`, and nothing is written twice.

#[macro_use]
mod out;

mod backup;
mod belonging;
mod bench;
#[cfg(feature = "byzantine")]
mod byzantine;
mod check;
mod client;
mod controlled;
mod copying;
mod divergence;
mod evidence;
mod init;
mod logging;
mod new;
mod own;
mod recording;
mod replica;
mod restore;
#[cfg(feature = "byzantine")]
mod simulate;
mod status;
mod testbed;
mod view;
mod why;

use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

pub use self::own::Own;

/// Byzantine-fault-tolerant replication: PBFT with signed messages over QUIC.
#[derive(Debug, Parser)]
#[command(name = "quorate", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    logging: logging::Args,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed (the error names the fix), 2 wrong usage.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a new cluster: one public cluster.toml, a key file per replica and client, formatted data folders
    Init(init::Args),
    /// Run one replica of a cluster
    Replica(replica::Args),
    /// Ask a cluster something, and see who vouches for the answer
    Client(client::Args),
    /// Show where every replica of a cluster stands
    Status(status::Args),
    /// Say what every replica waits for, of whom, and since when
    Why(why::Args),
    /// Show a recorded run in a browser, or write it as one page
    View(view::Args),
    /// Look into the folder of a stopped replica, and say what to do about what is wrong with it
    Check(check::Args),
    /// Say why the state of a stopped replica was another than the others', by replaying what led to it
    Divergence(divergence::Args),
    /// Proof that replicas lied: list what a folder keeps, and check a file that anybody gave you
    Evidence(evidence::Args),
    /// Copy the folder of a stopped replica: as a copy that never votes, or to move the replica to another machine
    Backup(backup::Args),
    /// Make a replica's folder of a copy
    Restore(restore::Args),
    /// Run a whole cluster on this machine for a while, with load, and check that its replicas agree
    Testbed(Box<testbed::Args>),
    /// Run clusters in virtual time, with faults and liars: scenarios and seeds, a verdict on each, replay and shrinking
    #[cfg(feature = "byzantine")]
    Simulate(Box<simulate::Args>),
    /// Measure figures of throughput and latency, and what this machine can do at most
    Bench(bench::Args),
    /// Make a crate for an application of your own: it compiles, runs in the testbed, and is tested under faults
    New(new::Args),
}

/// Does what the command line says, and gives back the exit code. With an application of one's own, that is what
/// replicas run, clients ask and the testbed loads.
#[must_use]
pub fn run(own: Option<Own>) -> ExitCode {
    let cli = own::parse(own.as_ref());
    let logging = cli.logging;
    logging.begin();
    let done = match cli.command {
        Command::Init(args) => init::run(args, own.as_ref()),
        Command::Replica(mut args) => {
            args.own = own;
            replica::run(args)
        }
        Command::Client(mut args) => {
            args.own = own;
            client::run(args)
        }
        Command::Status(args) => status::run(args),
        Command::Why(args) => why::run(args),
        Command::View(args) => view::run(args),
        Command::Check(args) => check::run(args),
        Command::Divergence(mut args) => {
            args.own = own;
            divergence::run(args)
        }
        Command::Evidence(args) => evidence::run(args),
        Command::Backup(args) => backup::run(args),
        Command::Restore(args) => restore::run(args),
        Command::Testbed(mut args) => {
            args.own = own;
            args.logs = logging.of_replicas();
            testbed::run(&args)
        }
        #[cfg(feature = "byzantine")]
        Command::Simulate(args) => Ok(simulate::run(&args)),
        Command::Bench(args) => bench::run(args),
        Command::New(args) => new::run(&args),
    };
    let done = done.and_then(|code| out::finish().map(|()| code));
    done.unwrap_or_else(|error| {
        logging.fail(&error);
        ExitCode::FAILURE
    })
}

/// A write beyond the limit on file sizes shall be an error that is told, not a signal that kills us without a word. A
/// handler makes it one, and lasts as long as the process.
pub(crate) fn survive_file_size_limits() -> std::io::Result<()> {
    /// Its number on every system that we run on.
    const SIGXFSZ: i32 = 25;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _inside = runtime.enter();
    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::from_raw(SIGXFSZ)).map(drop)
}

/// Lets other processes of this machine go first. Threads inherit it from whoever starts them, so this comes before any
/// other thread does.
pub(crate) fn give_way(level: u8) -> anyhow::Result<()> {
    let level = i32::from(level);
    if level > 0 {
        rustix::process::setpriority_process(None, level)
            .with_context(|| format!("--nice {level}: the system refuses"))?;
    }
    Ok(())
}

/// The program as it was called, so that the commands we print can be typed as they stand.
pub(crate) fn program() -> String {
    quoted(&std::env::args().next().unwrap_or_else(|| "quorate".to_owned()))
}

/// A word of a command, in quotes where a shell would otherwise take it for something else.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+=:,@%".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_that_a_shell_would_change_are_quoted() {
        for (word, expected) in [
            ("/tmp/a-b_c.d", "/tmp/a-b_c.d"),
            ("my cluster", "'my cluster'"),
            ("it's", "'it'\\''s'"),
            ("$HOME", "'$HOME'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }
}
