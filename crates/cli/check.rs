//! `quorate check`: what is in a stopped replica's folder, and what to do about it.

mod usage;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use quorate_host::disk::DiskFailure;
use quorate_host::folder::{FolderReport, check_folder};
use quorate_host::journal::{JournalError, RecoveryReport, Shape};
use quorate_host::store::Spare;
use quorate_host::superblock::{Exclusion, Standing, Superblock, SuperblockError};
use quorate_node::cluster_file::ClusterFile;
use quorate_node::file_disk::FileDisk;
use quorate_protocol::parameters::Parameters;
use serde_json::{Value, json};
use usage::Usage;

use crate::copying::bytes;

const EXAMPLES: &str = "Examples:
  quorate check data/replica-2                          looks, and changes nothing
  quorate check data/replica-2 --cluster cluster.toml   and sees that it belongs to this cluster

Exit codes: 0 the replica can start, remembers everything and votes, or the folder is a whole copy; 1 not (the last
line says what to do).";

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
    usage: Usage,
    sound: bool,
    verdict: String,
}

/// The folder of a stopped replica, to be looked at.
pub(crate) fn examine(folder: &Path) -> anyhow::Result<FileDisk> {
    let data = folder.display();
    if !folder.is_dir() {
        bail!("{data}: there is no such folder; fix: pass the data folder of a replica");
    }
    match FileDisk::examine(folder) {
        Ok(disk) => Ok(disk),
        Err(error) if error.kind == DiskFailure::Locked => {
            bail!("{data}: a running replica has it; fix: stop it first, or ask it with `quorate status`")
        }
        Err(error) => Err(error).context(format!("{data}")),
    }
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let cluster = args.cluster.as_deref().map(ClusterFile::load).transpose()?;
    let data = args.data.display();
    let mut disk = examine(&args.data)?;
    let shape = match &cluster {
        Some(cluster) => Shape::of(&cluster.context().parameters, cluster.replicas().len()),
        None => Shape::of(&Parameters::default(), 4),
    };
    let report = check_folder(&mut disk, shape).with_context(|| format!("{data}"))?;
    let usage = Usage::of(&mut disk, &args.data).with_context(|| format!("{data}"))?;
    let foreign = report.superblock.as_ref().ok().zip(cluster.as_ref());
    let foreign = foreign.and_then(|((superblock, _), cluster)| not_of(superblock, cluster));
    let sound = report.is_sound() && foreign.is_none();
    let verdict = foreign.unwrap_or_else(|| verdict(&report));
    let finding = Finding { report, usage, sound, verdict };
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
    if let Some(error) = report.of_another_program() {
        return error.to_string();
    }
    if let Standing::Out(why) = superblock.standing
        && why.is_elsewhere()
    {
        return format!("no replica starts from this folder: {why}");
    }
    let troubles = troubles(report, superblock, journal);
    if !troubles.is_empty() {
        let found: Vec<&str> = troubles.iter().map(|trouble| &*trouble.found).collect();
        let then: Vec<&str> = troubles.iter().map(|trouble| trouble.then).collect();
        let mut verdict = format!("{}; fix: start it, and {}", found.join("; "), then.join(", and "));
        if journal.amnesia.is_some() {
            verdict += "; do not put an older copy in its place";
        }
        if superblock.standing.is_mute() {
            verdict += "; it casts no vote: ";
            verdict += &superblock.standing.to_string();
        }
        return verdict;
    }
    let mut verdict = in_good_order(superblock.standing);
    let (copies, repaired) = (report.superblock.as_ref().map_or(0, |(_, good)| *good), journal.repaired);
    if copies < Superblock::COPIES || repaired > 0 {
        verdict += "; what is damaged has a good copy and is mended at its start; look after the disk";
    }
    if !journal.missing_bodies.is_empty() {
        verdict += "; it fetches the batches that are missing from the others";
    }
    verdict
}

/// What comes of a folder in which nothing is missing. An older copy of a folder is as whole as the folder was then.
fn in_good_order(standing: Standing) -> String {
    let starts = "sound: the replica can start, and remembers everything as far as this folder shows";
    match standing {
        Standing::Normal => starts.to_owned(),
        Standing::Diverged { mended: true, .. } => format!("{starts}; {standing}"),
        Standing::Diverged { mended: false, .. } => {
            format!("{standing}; fix: start it, and it fetches that from the others")
        }
        Standing::Out(Exclusion::Copied { .. }) => {
            "a whole copy: a replica that starts from it executes, catches up and serves its state, and never votes; \
             restore it with `quorate restore`"
                .to_owned()
        }
        Standing::Out(_) => standing.to_string(),
    }
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

fn write_page(page: &mut String, Finding { report, usage, verdict, .. }: &Finding) -> std::fmt::Result {
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
            writeln!(page, "standing    {}", in_a_word(superblock.standing))?;
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
            Ok(length) => writeln!(page, "{name}  sequence {seq}: whole, {}", bytes(*length))?,
            Err(error) => writeln!(page, "{name}  sequence {seq}: {error}")?,
        }
    }
    let Spare { chunks, bytes: spare } = report.spare;
    if chunks > 0 {
        let spare = bytes(spare);
        writeln!(
            page,
            "            {chunks} chunks besides, {spare}: of older states, or fetched for a newer one"
        )?;
    }
    if usage.evidence {
        writeln!(
            page,
            "divergence  proof that a state was wrong is kept; `quorate divergence` says what led to it"
        )?;
    }
    for (index, line) in usage.lines().iter().enumerate() {
        let name = if index == 0 { "disk use  " } else { "          " };
        writeln!(page, "{name}  {line}")?;
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

/// Whether the replica's word counts.
fn in_a_word(standing: Standing) -> String {
    match standing {
        Standing::Normal => "takes part".to_owned(),
        Standing::Diverged { divergence, mended } => {
            let then = if mended {
                "and was fetched anew: takes part"
            } else {
                "and is to be fetched anew: does not vote"
            };
            format!("its state was wrong at checkpoint {}, {then}", divergence.seq)
        }
        Standing::Out(Exclusion::Copied { number, .. }) => {
            format!("a copy, number {number:016x}: never votes")
        }
        Standing::Out(Exclusion::Carrier { number, .. }) => {
            format!(
                "a copy, number {number:016x}, that carries the right to vote: does not start before it is restored"
            )
        }
        Standing::Out(Exclusion::Moved { number, .. }) => {
            format!("moved to the copy with the number {number:016x}: does not start any more")
        }
        Standing::Out(
            Exclusion::Contradiction { .. } | Exclusion::Unremembered { .. } | Exclusion::DivergedAgain(_),
        ) => "out for good: never votes".to_owned(),
    }
}

/// The number of a copy; of one only.
fn copy_number(standing: Standing) -> Option<u64> {
    match standing {
        Standing::Out(Exclusion::Copied { number, .. } | Exclusion::Carrier { number, .. }) => Some(number),
        Standing::Normal | Standing::Diverged { .. } | Standing::Out(_) => None,
    }
}

fn object(Finding { report, usage, sound, verdict }: &Finding) -> Value {
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
    let standing = report.superblock.as_ref().ok().map(|(superblock, _)| superblock.standing);
    let outlook = report.outlook();
    let copy = standing.and_then(copy_number);
    json!({
        "sound": sound,
        "verdict": verdict,
        "starts": outlook.starts,
        "remembers": outlook.remembers,
        "votes": outlook.votes,
        "copy": copy.is_some(),
        "copy_number": copy.map(|number| format!("{number:016x}")),
        "standing": standing.map(in_a_word),
        "divergence_evidence": usage.evidence,
        "spare_chunks": report.spare.chunks,
        "disk_use": usage.object(),
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
