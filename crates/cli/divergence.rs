//! `quorate divergence`: what a replica computed otherwise than the others, and which request it was.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use quorate_host::disk::Disk;
use quorate_host::divergence::{Case, Culprit, Key, Report, Verdict, Which, report};
use quorate_host::store::Store;
use quorate_host::superblock::Superblock;
use quorate_node::cluster_file::ClusterFile;
use quorate_node::file_disk::FileDisk;
use quorate_protocol::application::StateMachine;
use quorate_protocol::executor::State;
use quorate_protocol::standing::{Divergence, Proof};
use quorate_protocol::types::{Digest, ReplicaId, Seq, Signature};
use serde_json::{Value, json};

use crate::own::{self, Own};

const EXAMPLES: &str = "Examples:
  quorate divergence data/replica-2                              with ./cluster.toml and its application
  quorate divergence data/replica-2 --cluster prod/cluster.toml  replays what led to the wrong state

Run the very program that the replica ran. It looks, and changes nothing.

Exit codes: 0 the replica's state was never found to be wrong, 1 it was (or it cannot be told).";

/// Bytes of a key or a value that are shown.
const SHOWN_MAX: usize = 64;

/// Arguments of `quorate divergence`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The data folder of a replica that is not running
    data: PathBuf,
    /// The cluster file that it belongs to
    #[arg(long, default_value = "cluster.toml")]
    cluster: PathBuf,
    /// The application that it ran [default: the cluster file's]
    #[arg(long, value_name = "NAME")]
    application: Option<String>,
    /// Bytes of each reply of the application `null`
    #[arg(long, default_value_t = 0)]
    reply_bytes: usize,
    /// What the replica was told with `quorate replica --byzantine`, if it was: then its application is replayed with
    /// that fault, another way each time
    #[cfg(feature = "byzantine")]
    #[arg(long, value_name = "BEHAVIOUR")]
    byzantine: Vec<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// The application of the program that this is
    #[arg(skip)]
    pub(crate) own: Option<Own>,
}

/// What there is to tell.
struct Finding {
    replica: ReplicaId,
    case: Case,
    report: anyhow::Result<Report>,
    /// Whether the replay was told to compute something else on purpose.
    asked_for: bool,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let cluster = ClusterFile::load(&args.cluster)?;
    let data = args.data.display();
    let mut disk = crate::check::examine(&args.data)?;
    let (superblock, _) = Superblock::read(&mut disk).with_context(|| format!("{data}"))?;
    if superblock.identity.cluster != cluster.id() {
        bail!("{data}: it belongs to another cluster; fix: pass its cluster file with `--cluster`");
    }
    let replica = superblock.identity.replica;
    let Some(case) = Case::read(&mut disk).with_context(|| format!("{data}"))? else {
        if args.json {
            println!("null");
        } else {
            println!("replica {replica} keeps no evidence: its state was never found to be wrong");
        }
        return Ok(ExitCode::SUCCESS);
    };
    let replayed = replay(&args, &cluster, disk, &case);
    let finding = Finding { replica, case, report: replayed, asked_for: is_asked_for(&args) };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&object(&finding))?);
    } else {
        let mut page = String::new();
        // Writing to a string cannot fail.
        let _ = write_page(&mut page, &finding);
        print!("{page}");
    }
    Ok(ExitCode::FAILURE)
}

fn replay(args: &Args, cluster: &ClusterFile, disk: FileDisk, case: &Case) -> anyhow::Result<Report> {
    let name = args.application.as_deref().unwrap_or(cluster.application());
    let machine = || own::machine(args.own.as_ref(), name, args.reply_bytes);
    if machine().is_none() {
        let known = own::names(args.own.as_ref());
        bail!(
            "this program has no application `{name}`, only {known}; fix: run the program that the replica ran"
        );
    }
    let mut store = Store::open(disk, false)?;
    let before = if case.agreed > Seq(0) { Some(load(&mut store, case.agreed)?) } else { None };
    let right = load(&mut store, case.divergence.seq).ok();
    let right = right.filter(|state| state.root() == case.divergence.theirs);
    let corrupt = corruption(args)?;
    let fresh = || corrupt(machine().expect("it was there a moment ago"));
    Ok(report(&cluster.context(), &fresh, case, before.as_ref(), right.as_ref())?)
}

/// What makes the application that of a replica that executed wrongly on purpose.
#[cfg(feature = "byzantine")]
fn corruption(args: &Args) -> anyhow::Result<impl Fn(Box<dyn StateMachine>) -> Box<dyn StateMachine>> {
    let sins = crate::byzantine::all_sins(&args.byzantine)?;
    let made = std::cell::Cell::new(0);
    Ok(move |machine| {
        made.set(made.get() + 1);
        quorate_host::byzantine::corrupt_machine(machine, &sins, made.get()).0
    })
}

#[cfg(feature = "byzantine")]
fn is_asked_for(args: &Args) -> bool {
    !args.byzantine.is_empty()
}

#[cfg(not(feature = "byzantine"))]
fn is_asked_for(_args: &Args) -> bool {
    false
}

#[cfg(not(feature = "byzantine"))]
fn corruption(_args: &Args) -> anyhow::Result<impl Fn(Box<dyn StateMachine>) -> Box<dyn StateMachine>> {
    Ok(|machine| machine)
}

fn load<D: Disk>(store: &mut Store<D>, seq: Seq) -> anyhow::Result<State> {
    store.load(seq).with_context(|| format!("the state at sequence {seq}, which the replay needs"))
}

fn write_page(page: &mut String, Finding { replica, case, report, asked_for }: &Finding) -> std::fmt::Result {
    let divergence = case.divergence;
    writeln!(page, "replica      {replica}")?;
    if !case.conflict.is_empty() {
        return write_conflict(page, case);
    }
    writeln!(
        page,
        "found at     checkpoint {}, the first that differs; {} was right",
        divergence.seq,
        last_right(case)
    )?;
    writeln!(page, "root here    {}", divergence.ours)?;
    writeln!(page, "root there   {}, {}", divergence.theirs, witnesses(case))?;
    if !case.proven {
        writeln!(page, "             but nobody is proven wrong: the others differ among themselves, too")?;
    }
    writeln!(page, "batches      {} of {} are here", case.batches.0.len(), divergence.seq.0 - case.agreed.0)?;
    if case.cut {
        writeln!(page, "             not all of the wrong state was kept, so its keys cannot be named")?;
    }
    let report = match report {
        Ok(report) => report,
        Err(error) => return writeln!(page, "verdict      nothing was replayed: {error:#}"),
    };
    if let Some(root) = report.replayed {
        writeln!(page, "replayed to  {root}")?;
    }
    if let Some(Culprit { seq, client, session, number, operation }) = report.culprit {
        writeln!(page, "request      operation {number} of session {session} of client {}", client.0)?;
        writeln!(
            page,
            "             in sequence {seq}, digest {operation}: the first that writes a key that differs"
        )?;
    }
    let (ours, theirs) = sides(report.verdict);
    for (index, key) in report.keys.iter().enumerate() {
        let name = if index == 0 { "keys" } else { "" };
        writeln!(page, "{name:<13}{}", named(key))?;
        let from = first_shown(key);
        writeln!(page, "             {ours:<8} {}", shown(key.ours.as_deref(), from))?;
        writeln!(page, "             {theirs:<8} {}", shown(key.theirs.as_deref(), from))?;
    }
    if report.differing > report.keys.len() as u64 {
        writeln!(page, "             and {} more", report.differing - report.keys.len() as u64)?;
    }
    match (report.verdict, asked_for) {
        (Verdict::NotDeterministic, true) => writeln!(page, "verdict      {ASKED_FOR}"),
        (found, _) => writeln!(page, "verdict      {}", verdict(found)),
    }
}

/// What is kept of two certificates that exclude each other. There is nothing to replay.
fn write_conflict(page: &mut String, case: &Case) -> std::fmt::Result {
    let Divergence { seq, ours, theirs } = case.divergence;
    writeln!(page, "found at     sequence {seq}: two certificates that exclude each other")?;
    writeln!(page, "one names    {ours}")?;
    writeln!(page, "one names    {theirs}")?;
    for proof in &case.conflict {
        let (what, digest, signers) = conflict(proof);
        writeln!(page, "certificate  {digest} {what} by replicas {}", in_a_row(&signers))?;
    }
    writeln!(
        page,
        "verdict      more replicas are faulty than the cluster tolerates: who signed both is; fix: stop all replicas and \
         keep their data folders as evidence"
    )
}

/// What a certificate says, of what, and who signed it.
fn conflict(proof: &Proof) -> (&'static str, Digest, Vec<u16>) {
    let ids = |signatures: &[(ReplicaId, Signature)]| signatures.iter().map(|(id, _)| id.0).collect();
    match proof {
        Proof::Committed(held) => ("committed", held.statement.digest, ids(&held.signatures)),
        Proof::Prepared(held) => ("prepared", held.statement.digest, ids(&held.signatures)),
        Proof::Stable(held) => ("stable", held.statement.root, ids(&held.signatures)),
    }
}

fn in_a_row(ids: &[u16]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn last_right(case: &Case) -> String {
    match case.agreed {
        Seq(0) => "the beginning".to_owned(),
        agreed => format!("checkpoint {agreed}"),
    }
}

fn signers(case: &Case) -> Vec<u16> {
    let certificate = case.certificate.iter().flat_map(|certificate| certificate.signatures.iter());
    let signers = certificate.map(|(signer, _)| *signer).chain(case.votes.iter().map(|vote| vote.signer));
    signers.map(|signer| signer.0).collect()
}

fn witnesses(case: &Case) -> String {
    let signers = signers(case);
    let proof = if case.certificate.is_some() { "in a certificate" } else { "in CHECKPOINTs" };
    match signers.is_empty() {
        true => "as the journal says".to_owned(),
        false => format!("{proof} of replicas {}", in_a_row(&signers)),
    }
}

/// What the two values of a key are.
fn sides(verdict: Verdict) -> (&'static str, &'static str) {
    match verdict {
        Verdict::Once | Verdict::Third => ("here", "replayed"),
        Verdict::Always => ("replayed", "there"),
        Verdict::NotDeterministic => ("once", "again"),
        Verdict::Missing(..) => ("here", "there"),
    }
}

fn named(key: &Key) -> String {
    let shown = shown(Some(&key.key), 0);
    match key.which {
        Which::Application => shown,
        Which::Sessions => format!("{shown} (a session)"),
    }
}

/// From which byte on two values are shown: from the beginning, unless what differs would be cut off.
fn first_shown(key: &Key) -> usize {
    let (Some(ours), Some(theirs)) = (&key.ours, &key.theirs) else { return 0 };
    let equal = ours.iter().zip(theirs).take_while(|(one, other)| one == other).count();
    if equal < SHOWN_MAX { 0 } else { equal - SHOWN_MAX / 4 }
}

/// What is shown of some bytes.
fn excerpt(bytes: &[u8], from: usize) -> &[u8] {
    let rest = bytes.get(from..).unwrap_or_default();
    &rest[..rest.len().min(SHOWN_MAX)]
}

/// Bytes in quotes, with what is no printable ASCII escaped, and cut.
fn shown(bytes: Option<&[u8]>, from: usize) -> String {
    let Some(bytes) = bytes else { return "nothing".to_owned() };
    let cut = excerpt(bytes, from);
    let (words, all) = (cut.escape_ascii(), bytes.len());
    let more = if from + cut.len() < all { "..." } else { "" };
    match from {
        0 if more.is_empty() => format!("\"{words}\""),
        0 => format!("\"{words}\"{more} ({all} bytes)"),
        from => format!("...\"{words}\"{more} (from byte {from} of {all})"),
    }
}

/// Two replays differ, and were told to.
const ASKED_FOR: &str = "the fault that was asked for with `--byzantine` is what differs: it computes something else in \
                         each replay, so this says nothing about the application; replayed without it, the batches show \
                         what the application makes of them";

fn verdict(verdict: Verdict) -> String {
    match verdict {
        Verdict::Once => "this replica computed it wrongly once: replayed, the batches lead to the state that the others \
                          have; fix: test its memory, or replace the machine, and look whether it ran the same program"
            .to_owned(),
        Verdict::Always => "this program always computes it so: the others run another version of it, or it reads what \
                            only this machine has (files, the environment, floats); fix: run the same program everywhere"
            .to_owned(),
        Verdict::NotDeterministic => "the application is not deterministic: two replays of the same batches differ; fix: \
                                      let it read nothing but its state, its commands and its context (no clock, no \
                                      randomness, no order of a hash map)"
            .to_owned(),
        Verdict::Third => "the replay leads to a third state: this is not the program that the replica ran, or the \
                           application reads what is not in its commands; fix: replay with the program that the replica \
                           ran"
            .to_owned(),
        Verdict::Missing(first, last) => {
            let which =
                if first == last { format!("that of sequence {first}") } else { format!("some of {first} to {last}") };
            format!("batches are missing, {which}: what led to the wrong state cannot be replayed")
        }
    }
}

fn object(Finding { replica, case, report, asked_for }: &Finding) -> Value {
    let (word, error) = match report {
        Ok(Report { verdict: Verdict::NotDeterministic, .. }) if *asked_for => (Some("asked-for"), None),
        Ok(report) => (Some(in_a_word(report.verdict)), None),
        Err(error) => (None, Some(format!("{error:#}"))),
    };
    let report = report.as_ref().ok();
    let culprit = report.and_then(|report| report.culprit);
    let text = |bytes: &Option<Vec<u8>>, from: usize| {
        bytes.as_ref().map(|bytes| excerpt(bytes, from).escape_ascii().to_string())
    };
    let key = |key: &Key| {
        json!({
            "key": text(&Some(key.key.clone()), 0),
            "of": match key.which { Which::Application => "application", Which::Sessions => "sessions" },
            "ours": text(&key.ours, first_shown(key)),
            "theirs": text(&key.theirs, first_shown(key)),
            "from_byte": first_shown(key),
        })
    };
    json!({
        "replica": replica.0,
        "checkpoint": case.divergence.seq.0,
        "agreed": case.agreed.0,
        "ours": case.divergence.ours.to_string(),
        "theirs": case.divergence.theirs.to_string(),
        "witnesses": signers(case),
        "proven": case.proven,
        "batches": case.batches.0.len(),
        "cut": case.cut,
        "conflict": case.conflict.iter().map(conflict).map(|(what, digest, signers)| json!({
            "says": what,
            "digest": digest.to_string(),
            "signers": signers,
        })).collect::<Vec<_>>(),
        "verdict": word,
        "error": error,
        "replayed": report.and_then(|report| report.replayed).map(|root| root.to_string()),
        "request": culprit.map(|culprit| json!({
            "sequence": culprit.seq.0,
            "client": culprit.client.0.to_string(),
            "session": culprit.session.0,
            "number": culprit.number.0,
            "operation": culprit.operation.to_string(),
        })),
        "differing": report.map(|report| report.differing),
        "keys": report.map(|report| report.keys.iter().map(key).collect::<Vec<_>>()),
    })
}

fn in_a_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Once => "once",
        Verdict::Always => "always",
        Verdict::NotDeterministic => "not-deterministic",
        Verdict::Third => "third",
        Verdict::Missing(..) => "missing",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(ours: &[u8], theirs: &[u8]) -> (String, String) {
        let (ours, theirs) = (Some(ours.to_vec()), Some(theirs.to_vec()));
        let key = Key { which: Which::Application, key: b"k".to_vec(), ours, theirs };
        let from = first_shown(&key);
        (shown(key.ours.as_deref(), from), shown(key.theirs.as_deref(), from))
    }

    #[test]
    fn what_differs_in_two_long_values_is_never_cut_off() {
        assert_eq!(values(b"1", b"2"), ("\"1\"".to_owned(), "\"2\"".to_owned()));
        let (mut ours, theirs) = ([b'a'; 200], [b'a'; 200]);
        ours[3] = b'b';
        let (one, other) = values(&ours, &theirs);
        assert!(
            one.starts_with("\"aaabaa") && one.ends_with("\"... (200 bytes)") && one != other,
            "{one} {other}"
        );
        ours[3] = b'a';
        ours[199] = b'b';
        let (one, other) = values(&ours, &theirs);
        assert_eq!(one, format!("...\"{}b\" (from byte 183 of 200)", "a".repeat(16)));
        assert_ne!(one, other);
        assert!(
            values(&ours[..199], &theirs).0.contains("(from byte 183 of 199)"),
            "a value that ends earlier differs"
        );
    }
}
