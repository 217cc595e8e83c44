//! `quorate check`: what is in a stopped replica's folder, and what to do about it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use quorate_host::disk::DiskFailure;
use quorate_host::folder::{FolderReport, check_folder};
use quorate_host::journal::{JournalError, RecoveryReport, Shape};
use quorate_host::snapshots::SnapshotError;
use quorate_host::superblock::{Superblock, SuperblockError};
use quorate_node::cluster_file::ClusterFile;
use quorate_node::file_disk::FileDisk;
use quorate_protocol::parameters::Parameters;
use serde_json::{Value, json};

const EXAMPLES: &str = "Examples:
  quorate check data/replica-2                          looks, and changes nothing
  quorate check data/replica-2 --cluster cluster.toml   and sees that it belongs to this cluster

Exit codes: 0 the replica can start and remembers everything, 1 not (the last line says what to do).";

/// Arguments of `quorate check`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The data folder of a replica that is not running
    data: PathBuf,
    /// The cluster file that it should belong to
    #[arg(long)]
    cluster: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What was found, and what follows from it.
struct Finding {
    report: FolderReport,
    sound: bool,
    verdict: String,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let cluster = args.cluster.as_deref().map(ClusterFile::load).transpose()?;
    let data = args.data.display();
    if !args.data.is_dir() {
        bail!("{data}: there is no such folder; fix: pass the data folder of a replica");
    }
    let mut disk = match FileDisk::examine(&args.data) {
        Ok(disk) => disk,
        Err(error) if error.kind == DiskFailure::Locked => {
            bail!("{data}: a running replica has it; fix: stop it first, or ask it with `quorate status`")
        }
        Err(error) => return Err(error).context(format!("{data}")),
    };
    let shape = match &cluster {
        Some(cluster) => Shape::of(&cluster.context().parameters, cluster.replicas().len()),
        None => Shape::of(&Parameters::default(), 4),
    };
    let report = check_folder(&mut disk, shape).with_context(|| format!("{data}"))?;
    let foreign = report.superblock.as_ref().ok().zip(cluster.as_ref());
    let foreign = foreign.and_then(|((superblock, _), cluster)| not_of(superblock, cluster));
    let sound = report.is_sound() && foreign.is_none();
    let verdict = foreign.unwrap_or_else(|| verdict(&report));
    let finding = Finding { report, sound, verdict };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&object(&finding))?);
    } else {
        print!("{}", page(&finding));
    }
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Why a folder is none of this cluster, if it is not.
fn not_of(superblock: &Superblock, cluster: &ClusterFile) -> Option<String> {
    let found = superblock.identity;
    if found.cluster != cluster.id() {
        let (found, expected) = (found.cluster.0, cluster.id().0);
        return Some(format!(
            "it belongs to cluster {found}, not to {expected}; fix: pass the cluster file it was made with"
        ));
    }
    match cluster.replica(found.replica) {
        None => Some(format!("the cluster file has no replica {}, whose folder this is", found.replica.0)),
        Some(entry) if entry.key != found.key => Some(format!(
            "it was written under another key than the cluster file has for replica {}; fix: check the key",
            found.replica.0
        )),
        Some(_) => None,
    }
}

/// What to do.
fn verdict(report: &FolderReport) -> String {
    let superblock = match &report.superblock {
        Ok((superblock, _)) => superblock,
        Err(error) => return error.to_string(),
    };
    let journal = match &report.journal {
        Some(Ok(journal)) => journal,
        Some(Err(error)) => return error.to_string(),
        None => return SuperblockError::NotFormatted.to_string(),
    };
    // No start gets over that one.
    let mut errors = report.snapshots.iter().filter_map(|(_, state)| state.as_ref().err());
    if let Some(error) = errors.find(|error| matches!(error, SnapshotError::FutureVersion { .. })) {
        return error.to_string();
    }
    let troubles = troubles(report, superblock, journal);
    if !troubles.is_empty() {
        let found: Vec<&str> = troubles.iter().map(|trouble| &*trouble.found).collect();
        let then: Vec<&str> = troubles.iter().map(|trouble| trouble.then).collect();
        let mut verdict = format!("{}; fix: start it, and {}", found.join("; "), then.join(", and "));
        if journal.amnesia.is_some() {
            verdict += "; do not put an older copy in its place";
        }
        return verdict;
    }
    // An older copy of a folder is as whole as the folder was then.
    let mut verdict =
        "sound: the replica can start, and remembers everything as far as this folder shows".to_owned();
    let (copies, repaired) = (report.superblock.as_ref().map_or(0, |(_, good)| *good), journal.repaired);
    if copies < Superblock::COPIES || repaired > 0 {
        verdict += "; what is damaged has a good copy and is mended at its start; look after the disk";
    }
    if !journal.missing_bodies.is_empty() {
        verdict += "; it fetches the batches that are missing from the others";
    }
    verdict
}

/// Something that a start gets over, but not with a full memory.
struct Trouble {
    found: String,
    then: &'static str,
}

fn troubles(report: &FolderReport, superblock: &Superblock, journal: &RecoveryReport) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    match (&journal.amnesia, &superblock.amnesia) {
        (Some(found), _) if has_voted(superblock) => troubles.push(Trouble {
            found: format!("the replica may have forgotten votes: {found}"),
            then: "it stays out of every vote that it may have cast before",
        }),
        (Some(found), _) => troubles.push(Trouble {
            found: format!("{found}, but the replica has never voted"),
            then: "it makes a new one",
        }),
        (None, Some(forgot)) => troubles.push(Trouble {
            found: format!(
                "the replica has lost a journal before: it casts no vote up to view {} and sequence {}",
                forgot.view.0, forgot.high.0
            ),
            then: "it heals once the others have come so far",
        }),
        (None, None) => {}
    }
    let named = superblock.snapshot.map(|pointer| pointer.seq);
    let lost = named.and_then(|seq| match report.snapshots.iter().find(|(found, _)| *found == seq) {
        Some((_, Ok(_))) => None,
        Some((_, Err(_))) => Some(format!("the state at sequence {seq} cannot be used")),
        None => Some(format!("the state at sequence {seq} is gone")),
    });
    let then = "it fetches a state from the others";
    troubles.extend(lost.map(|found| Trouble { found, then }));
    troubles
}

fn has_voted(superblock: &Superblock) -> bool {
    superblock.view_promised.0 > 0 || superblock.high_promised.0 > 0
}

fn page(finding: &Finding) -> String {
    let mut page = String::new();
    // Writing to a string cannot fail.
    let _ = write_page(&mut page, finding);
    page
}

fn write_page(page: &mut String, Finding { report, verdict, .. }: &Finding) -> std::fmt::Result {
    match &report.superblock {
        Ok((superblock, good)) => {
            let Superblock { identity, view_promised, high_promised, .. } = superblock;
            writeln!(page, "superblock  {good} of 4 copies are good, generation {}", superblock.generation)?;
            writeln!(page, "            replica {} of cluster {}", identity.replica.0, identity.cluster.0)?;
            if has_voted(superblock) {
                let (view, high) = (view_promised.0, high_promised.0);
                writeln!(page, "            may have voted up to view {view} and sequence {high}")?;
            } else {
                writeln!(page, "            has never voted")?;
            }
            if let Some(forgot) = superblock.amnesia {
                writeln!(
                    page,
                    "            forgot what it voted up to view {} and sequence {}",
                    forgot.view.0, forgot.high.0
                )?;
            }
        }
        Err(error) => writeln!(page, "superblock  {}", in_short(error))?,
    }
    match &report.journal {
        Some(Ok(journal)) => write_journal(page, journal)?,
        Some(Err(_)) => writeln!(page, "journal     cannot be used")?,
        None => writeln!(page, "journal     not looked at: nothing says whose it should be")?,
    }
    if report.snapshots.is_empty() {
        writeln!(page, "snapshots   none")?;
    }
    for (index, (seq, state)) in report.snapshots.iter().enumerate() {
        let name = if index == 0 { "snapshots " } else { "          " };
        match state {
            Ok(bytes) => writeln!(page, "{name}  sequence {seq}: {bytes} bytes")?,
            Err(error) => writeln!(page, "{name}  sequence {seq}: {error}")?,
        }
    }
    if !report.foreign.is_empty() {
        writeln!(page, "others      files that are no replica's: {}", report.foreign.join(", "))?;
    }
    writeln!(page, "verdict     {verdict}")
}

fn write_journal(page: &mut String, journal: &RecoveryReport) -> std::fmt::Result {
    let RecoveryReport { amnesia, records, cut, repaired, missing_bodies, usage } = journal;
    let first = match (amnesia, *records) {
        (Some(_), _) => "promises are lost".to_owned(),
        (None, 0) => "empty".to_owned(),
        (None, records) => format!("{records} records stand"),
    };
    writeln!(page, "journal     {first}")?;
    if *cut > 0 {
        writeln!(page, "            {cut} at the end were promised to nobody and are cut")?;
    }
    if *repaired > 0 {
        writeln!(page, "            damaged in one of two copies: {repaired} of its pieces")?;
    }
    for (seq, digest) in missing_bodies {
        writeln!(page, "            the batch {digest} of sequence {seq} is missing")?;
    }
    let (records, certificates, bodies) = (usage.records, usage.certificates, usage.bodies);
    if records.max(certificates).max(bodies) == 0 {
        return Ok(());
    }
    writeln!(
        page,
        "            {records}% of its records, {certificates}% of its certificates, {bodies}% of its bodies are used"
    )
}

/// What the verdict says at length.
fn in_short(error: &SuperblockError) -> String {
    match error {
        SuperblockError::NotFormatted => "none".to_owned(),
        SuperblockError::Damaged { valid } => format!("damaged: {valid} of 4 copies are valid"),
        SuperblockError::FutureVersion { .. } => "of a later program".to_owned(),
        _ => "cannot be used".to_owned(),
    }
}

fn object(Finding { report, sound, verdict }: &Finding) -> Value {
    let superblock = match &report.superblock {
        Ok((superblock, good)) => json!({
            "copies_good": good,
            "generation": superblock.generation,
            "cluster": superblock.identity.cluster.0.to_string(),
            "replica": superblock.identity.replica.0,
            "view_promised": superblock.view_promised.0,
            "high_promised": superblock.high_promised.0,
            "snapshot": superblock.snapshot.map(|pointer| pointer.seq.0),
            "forgot": superblock.amnesia.map(|forgot| json!({"view": forgot.view.0, "high": forgot.high.0})),
        }),
        Err(error) => json!({ "error": error.to_string() }),
    };
    let snapshots = report.snapshots.iter().map(|(seq, state)| match state {
        Ok(bytes) => json!({"sequence": seq.0, "bytes": bytes}),
        Err(error) => json!({"sequence": seq.0, "error": error.to_string()}),
    });
    json!({
        "sound": sound,
        "verdict": verdict,
        "superblock": superblock,
        "journal": report.journal.as_ref().map(journal_object),
        "snapshots": snapshots.collect::<Vec<_>>(),
        "foreign": report.foreign,
    })
}

fn journal_object(journal: &Result<RecoveryReport, JournalError>) -> Value {
    let journal = match journal {
        Ok(journal) => journal,
        Err(error) => return json!({ "error": error.to_string() }),
    };
    let missing = journal.missing_bodies.iter();
    json!({
        "amnesia": journal.amnesia.map(|found| found.to_string()),
        "records": journal.records,
        "cut": journal.cut,
        "repaired": journal.repaired,
        "missing_bodies": missing.map(|(seq, digest)| json!({"sequence": seq.0, "digest": digest.to_string()})).collect::<Vec<_>>(),
        "used_percent": {
            "records": journal.usage.records,
            "certificates": journal.usage.certificates,
            "bodies": journal.usage.bodies,
        },
    })
}
