//! `quorate restore`: a replica's folder made of a copy.

use std::path::PathBuf;
use std::process::ExitCode;

use quorate_host::backup::Purpose;
use quorate_host::journal::Reserve;

use crate::copying::{self, Job};

const EXAMPLES: &str = "Examples:
  quorate restore /mnt/replica-2 --to data/replica-2           a replica that executes and serves, and never votes
  quorate restore /mnt/replica-2 --to data/replica-2 --moved   the replica itself, of a copy made with `backup --move`

The replica's key file and the cluster file are not in the copy and must be there, too.";

/// Arguments of `quorate restore`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// A folder that `quorate backup` made
    copy: PathBuf,
    /// The new data folder: one that does not exist, or is empty
    #[arg(long)]
    to: PathBuf,
    /// Take the right to vote that the copy carries, which thereby loses it: only for one of `quorate backup --move`
    #[arg(long)]
    moved: bool,
    /// Restore the copy though something in it is damaged; what it is will be said
    #[arg(long)]
    damaged: bool,
    /// Take the journal's whole space at once, as `quorate init --reserve` does
    #[arg(long)]
    reserve: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { copy, to, moved, damaged, reserve, json } = args;
    let purpose = if moved { Purpose::Settle } else { Purpose::Keep };
    let reserve = if reserve { Reserve::Whole } else { Reserve::Records };
    copying::run(&Job { from: copy, to, purpose, damaged, reserve, restores: true, json })
}
