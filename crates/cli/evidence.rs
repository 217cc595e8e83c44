//! `quorate evidence`: who lied, and the proof.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use quorate_host::accusations::{Exhibit, ExhibitError};
use quorate_host::disk::FileName;
use quorate_node::cluster_file::ClusterFile;
use quorate_protocol::accusation::Offence;
use quorate_protocol::codec::FRAME_BYTES_MAX;
use serde_json::{Value, json};

use crate::belonging::cluster_option;

const EXAMPLES: &str = "Examples:
  quorate evidence list data/replica-0                        what this replica can prove of others
  quorate evidence verify data/replica-0/evidence-2-two-prepares --cluster cluster.toml

Both may be asked while the replica runs. A file of evidence holds what a replica signed, and needs nothing but the
cluster file to be checked: it proves the same wherever it came from.

Exit codes: 0 there is nothing but good evidence, 1 a file proves nothing or cannot be read, 2 wrong usage.";

/// Most bytes of a file that is looked at.
const FILE_MAX: u64 = FRAME_BYTES_MAX as u64 + 1024;

/// Arguments of `quorate evidence`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// List what a replica's folder keeps, whether or not the replica runs
    List {
        /// The data folder
        data: PathBuf,
        /// Print one JSON array
        #[arg(long)]
        json: bool,
    },
    /// Check files of evidence, wherever they came from
    Verify {
        /// The files
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// The cluster file of the cluster that they are about
        #[arg(long, default_value = "cluster.toml")]
        cluster: PathBuf,
        /// Print one JSON array
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (told, json) = match args.what {
        What::List { data, json } => (list(&data)?, json),
        What::Verify { files, cluster, json } => (verify(&files, &cluster)?, json),
    };
    let good = told.iter().all(|told| told.found.is_ok());
    if json {
        println!("{}", serde_json::to_string_pretty(&told.iter().map(Told::object).collect::<Vec<_>>())?);
    } else if told.is_empty() {
        println!("no evidence: this replica found nobody to lie");
    } else {
        print!("{}", told.iter().map(Told::page).collect::<Vec<_>>().join("\n"));
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A file, and what came of it.
struct Told {
    file: PathBuf,
    /// Whether it was checked against a cluster file.
    checked: bool,
    found: Result<Exhibit, String>,
}

fn list(data: &Path) -> anyhow::Result<Vec<Told>> {
    let files = files(data).with_context(|| {
        format!("{}: cannot be listed; fix: pass the data folder of a replica", data.display())
    })?;
    let told = |file: PathBuf| {
        let found = read(&file).with_context(|| file.display().to_string())?;
        let found = Exhibit::decode(&found).map_err(|error| error.to_string());
        Ok(Told { file, checked: false, found })
    };
    files.into_iter().map(told).collect()
}

/// The evidence in a folder. Its lock is left alone: each of these files is written once, and is whole or refused.
fn files(data: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(data)? {
        let name = entry?.file_name();
        names.extend(
            name.to_str().and_then(FileName::parse).filter(|name| matches!(name, FileName::Accusation(..))),
        );
    }
    names.sort_unstable();
    Ok(names.into_iter().map(|name| data.join(name.to_string())).collect())
}

fn verify(files: &[PathBuf], cluster: &Path) -> anyhow::Result<Vec<Told>> {
    let context = ClusterFile::load(cluster)?.context();
    let check = |file: &PathBuf| {
        let bytes = read(file).with_context(|| file.display().to_string())?;
        let exhibit = Exhibit::decode(&bytes).and_then(|exhibit| exhibit.check(&context).map(|()| exhibit));
        Ok(Told {
            file: file.clone(),
            checked: true,
            found: exhibit.map_err(|error: ExhibitError| error.to_string()),
        })
    };
    files.iter().map(check).collect()
}

/// No more of a file than evidence may have, and a byte that shows that there is more.
fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(file)?.take(FILE_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Told {
    fn page(&self) -> String {
        let mut page = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut page);
        page
    }

    fn write(&self, page: &mut String) -> std::fmt::Result {
        writeln!(page, "file      {}", self.file.display())?;
        let exhibit = match &self.found {
            Ok(exhibit) => exhibit,
            Err(why) => return writeln!(page, "REFUSED   {why}"),
        };
        let accusation = &exhibit.accusation;
        let (culprit, offence) = (accusation.culprit(), accusation.offence());
        let [first, second] = accusation.statements();
        writeln!(page, "who       replica {culprit} of {:?}, epoch {}", exhibit.cluster, exhibit.epoch.0)?;
        writeln!(page, "what      it {offence}")?;
        writeln!(page, "first     {first}")?;
        writeln!(page, "second    {second}")?;
        writeln!(page, "why       {}", offence.why())?;
        if self.checked {
            writeln!(page, "PROVEN    both signatures are replica {culprit}'s, for this cluster and epoch")?;
            writeln!(page, "do        {}", remedy(offence))
        } else {
            let (program, file) = (crate::program(), crate::quoted(&self.file.to_string_lossy()));
            let folders: Vec<&Path> = self.file.parent().into_iter().collect();
            let cluster = cluster_option(exhibit.cluster, &folders);
            writeln!(page, "check     {program} evidence verify {file} {cluster}")
        }
    }

    fn object(&self) -> Value {
        match &self.found {
            Err(why) => json!({"file": self.file, "refused": why}),
            Ok(exhibit) => {
                let accusation = &exhibit.accusation;
                json!({
                    "file": self.file,
                    "replica": accusation.culprit().0,
                    "offence": accusation.offence().name(),
                    "statements": accusation.statements(),
                    "why": accusation.offence().why(),
                    "cluster": exhibit.cluster.0.0.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
                    "epoch": exhibit.epoch.0,
                    "proven": self.checked,
                })
            }
        }
    }
}

/// What an operator does about it.
fn remedy(offence: Offence) -> &'static str {
    match offence {
        Offence::Checkpoints => {
            "take it off the network; find out who has its key, and ask `quorate divergence` what it computed otherwise"
        }
        Offence::Prepares
        | Offence::Commits
        | Offence::ViewChanges
        | Offence::NewViews
        | Offence::Withheld => {
            "take it off the network, and find out who has its key, or which folder of it was restored from a copy"
        }
    }
}
