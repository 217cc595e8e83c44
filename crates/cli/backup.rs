//! `quorate backup`: a copy of a stopped replica's folder.

use std::path::PathBuf;
use std::process::ExitCode;

use quorate_host::backup::Purpose;
use quorate_host::journal::Reserve;

use crate::copying::{self, Job};

const EXAMPLES: &str = "Examples:
  quorate backup data/replica-2 --to /mnt/replica-2          a copy, which never votes
  quorate backup data/replica-2 --to /mnt/replica-2 --move   one that takes the right to vote to another machine

A copy does not know what the replica says after it was made, so nobody may vote from it under the same key while the
original can. Restored, it executes, catches up and serves the state. With `--move` the original gives its right to
vote away before the copy gets it, and does not start any more. The replica's key is not in the copy.";

/// Arguments of `quorate backup`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The data folder of a replica that is not running
    data: PathBuf,
    /// Where the copy goes: a folder that does not exist, or an empty one
    #[arg(long)]
    to: PathBuf,
    /// Give the right to vote to the copy: this folder does not start any more, whatever comes after
    #[arg(long = "move")]
    moving: bool,
    /// Copy the folder though something in it is damaged; what it is will be said
    #[arg(long)]
    damaged: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { data, to, moving, damaged, json } = args;
    let purpose = if moving { Purpose::Carry } else { Purpose::Keep };
    copying::run(&Job { from: data, to, purpose, damaged, reserve: Reserve::Records, restores: false, json })
}
