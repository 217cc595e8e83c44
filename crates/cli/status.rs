//! `quorate status`: where every replica of a cluster stands.

mod rows;
mod screen;
mod watch;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use quorate_node::admin;
use quorate_node::cluster_file::ClusterFile;
use quorate_node::sins::in_words;
use quorate_node::status::{Heard, Status};
use quorate_protocol::committee::Committee;

use crate::testbed::amount::told;
use crate::why::seconds;

/// A replica says something every second; one that was silent for longer is worth a line, in milliseconds.
const SILENT_MS: u64 = 2_000;

/// Arguments of `quorate status`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 a quorum answers and executes, and no more than f replicas have forgotten votes, \
                        1 not. With `--watch` 0 when it is told to stop, or nobody reads any more."
)]
pub(crate) struct Args {
    /// The cluster file
    #[arg(long, default_value = "cluster.toml")]
    cluster: PathBuf,
    /// How long to wait for the replicas, which are asked at the same time, in seconds, at most 60
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
    /// Print one JSON array instead of a table; with `--watch` one JSON object a line
    #[arg(long)]
    json: bool,
    /// Look again every so many seconds, at most 3600, until Ctrl-C: in a terminal in the same place, and what has changed
    /// stands out
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "1")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=3600))]
    watch: Option<u64>,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let cluster = ClusterFile::load(&args.cluster)?;
    if let Some(seconds) = args.watch {
        let Args { timeout: timeout_seconds, json, .. } = args;
        let how = watch::Watching { every: Duration::from_secs(seconds), timeout_seconds, json };
        return watch::run(&cluster, &how);
    }
    let answers = ask_all::<Status>(&cluster, None, ("/status", args.timeout), |status| &status.cluster)?;
    if args.json {
        let found: Vec<_> = answers.iter().map(|(_, answer)| answer.as_ref().ok()).collect();
        println!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        print_table(&answers);
    }
    let found: Vec<&Status> = answers.iter().filter_map(|(_, answer)| answer.as_ref().ok()).collect();
    let committee = &cluster.context().committee;
    let troubles = [no_quorum(&found, committee), forgetful(&found, committee)];
    if !args.json {
        troubles.iter().flatten().for_each(|words| println!("{words}"));
    }
    let well = troubles.iter().all(Option::is_none);
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Asks the replicas of a cluster, or one of them; what answers for another cluster is no answer.
pub(crate) fn ask_all<T: serde::de::DeserializeOwned + Send + 'static>(
    cluster: &ClusterFile,
    only: Option<u16>,
    what: (&'static str, u64),
    named: impl Fn(&T) -> &String,
) -> anyhow::Result<Vec<(u16, anyhow::Result<T>)>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(ask_each(cluster, only, what, named))
}

/// As [`ask_all`], on a runtime that there is.
async fn ask_each<T: serde::de::DeserializeOwned + Send + 'static>(
    cluster: &ClusterFile,
    only: Option<u16>,
    (path, timeout_seconds): (&'static str, u64),
    named: impl Fn(&T) -> &String,
) -> anyhow::Result<Vec<(u16, anyhow::Result<T>)>> {
    let asked = cluster.replicas().iter().filter(|replica| only.is_none_or(|id| id == replica.id.0));
    let (ids, places): (Vec<_>, Vec<_>) =
        asked.map(|replica| (replica.id.0, replica.addresses.admin)).unzip();
    let answers = ask_places::<T>(&places, path, timeout_seconds).await?;
    let answers = places.iter().zip(answers);
    let answers = answers.map(|(place, answer)| of_cluster(answer, (cluster, *place), &named));
    Ok(ids.into_iter().zip(answers).collect())
}

/// Asks all of them at once, so that those who do not answer keep nobody waiting in turn.
async fn ask_places<T: serde::de::DeserializeOwned + Send + 'static>(
    places: &[SocketAddr],
    path: &'static str,
    timeout_seconds: u64,
) -> anyhow::Result<Vec<anyhow::Result<T>>> {
    let patience = Duration::from_secs(timeout_seconds);
    let ask = |address| tokio::spawn(admin::fetch_within::<T>(address, path, patience));
    let asked: Vec<_> = places.iter().map(|address| ask(*address)).collect();
    let mut answers = Vec::with_capacity(asked.len());
    for answer in asked {
        answers.push(answer.await?.map_err(anyhow::Error::from));
    }
    Ok(answers)
}

fn print_table(answers: &[(u16, anyhow::Result<Status>)]) {
    println!("{HEADER}");
    for (id, answer) in answers {
        match answer {
            Ok(status) => println!("{}", line(status)),
            Err(error) => println!("{id:>7}  {error}"),
        }
    }
    for (id, status) in answers.iter().filter_map(|(id, answer)| Some((id, answer.as_ref().ok()?))) {
        for down in &status.links_down {
            println!("replica {id} has no link to replica {}: {}", down.replica, down.why);
        }
        for heard in status.heard.iter().filter(|heard| heard.ms_ago > SILENT_MS) {
            silence(*id, heard, answers).iter().for_each(|words| println!("{words}"));
        }
        for words in status.warnings.iter().chain(&status.alarms).chain(&remembered(status)) {
            println!("replica {id}: {words}");
        }
    }
    let found = answers.iter().filter_map(|(_, answer)| answer.as_ref().ok());
    if let Some(words) = storage(found) {
        println!("{words}");
    }
}

/// That a replica was not heard for long, and what may be the reason, if there is anything to look for: who has halted
/// says so itself.
fn silence(id: u16, heard: &Heard, answers: &[(u16, anyhow::Result<Status>)]) -> Option<String> {
    let (silent, ago) = (heard.replica, seconds(heard.ms_ago));
    let asked = answers.iter().find(|(other, _)| *other == silent).map(|(_, answer)| answer.as_ref().ok());
    let reason = match asked.flatten().map(|status| status.status.as_str()) {
        Some("halted") => return None,
        Some(_) => "it answers here, so look at the network between the two",
        None => "is it running?",
    };
    Some(format!("replica {id} last heard replica {silent} {ago} ago; {reason}"))
}

/// Proofs of an earlier life, which no alarm of this one is about.
fn remembered(status: &Status) -> Vec<String> {
    let told = |accused: &&String| status.alarms.iter().any(|alarm| alarm.starts_with(accused.as_str()));
    let untold = status.accused.iter().filter(|accused| !told(accused));
    untold
        .map(|accused| {
            format!("its folder keeps proof that {accused}; `quorate evidence list` names the file")
        })
        .collect()
}

/// What the states take, where there are any.
fn storage<'a>(found: impl Iterator<Item = &'a Status> + Clone) -> Option<String> {
    let state = found.clone().map(|status| status.state_bytes).max().filter(|bytes| *bytes > 0)?;
    let most = found.max_by_key(|status| status.snapshots_bytes)?;
    let (snapshots, journal) = (told(most.snapshots_bytes), told(most.journal_bytes));
    Some(format!(
        "state {}; on disk at most {snapshots} in snapshots (replica {}) and up to {journal} in the journal",
        told(state),
        most.replica
    ))
}

/// Only who is in an open view, and is not behind it, executes.
fn no_quorum(found: &[&Status], committee: &Committee) -> Option<String> {
    let (quorum, all) = (committee.quorum(), committee.size());
    let working = found.iter().filter(|status| status.status == "normal").count();
    (working < quorum).then(|| format!("no quorum: {working} of {all} replicas execute, {quorum} are needed"))
}

/// With more than f that have forgotten votes of sequences that are not stable anywhere, no view opens any more.
fn forgetful(found: &[&Status], committee: &Committee) -> Option<String> {
    let stable = found.iter().map(|status| status.low).max()?;
    let bound = |status: &&&Status| {
        status.status == "recovering" && status.forgot.is_some_and(|forgot| forgot.high > stable)
    };
    let (forgetful, faults) = (found.iter().filter(bound).count(), committee.faults());
    (forgetful > faults).then(|| {
        format!(
            "{forgetful} replicas have forgotten votes, more than f = {faults}: unless the others recover their journals \
             the cluster does not serve again; fix: keep the data folders, and make a new cluster with `quorate init`"
        )
    })
}

/// An answer, unless it is about another cluster than the one that was asked about.
fn of_cluster<T>(
    answer: anyhow::Result<T>,
    (cluster, address): (&ClusterFile, SocketAddr),
    named: impl Fn(&T) -> &String,
) -> anyhow::Result<T> {
    let answer = answer?;
    let (ours, theirs) = (cluster.id().0.to_string(), named(&answer));
    if *theirs != ours {
        bail!("{address} answers for another cluster, {theirs}; is another one running on these ports?");
    }
    Ok(answer)
}

/// What stands above the lines.
pub(crate) const HEADER: &str =
    "replica  role     view  committed   executed  stable  waiting  links  status";

/// One replica's line.
pub(crate) fn line(status: &Status) -> String {
    let role = if status.primary == status.replica { "primary" } else { "backup" };
    format!(
        "{:>7}  {role:<7}  {:>4}  {:>9}  {:>9}  {:>6}  {:>7}  {:>2}/{:<2}  {}",
        status.replica,
        status.view,
        status.committed,
        status.executed,
        status.low,
        status.pooled,
        status.links_up.len(),
        status.replicas.saturating_sub(1),
        status.status,
    ) + &remark(status)
}

/// A few words. What a replica's past leaves of its word takes a line, and is among its warnings.
fn remark(status: &Status) -> String {
    if !status.lies.is_empty() {
        return format!(", lies on purpose: {}", in_words(&status.lies));
    }
    if !status.transfer.is_empty() {
        return format!(", {}", status.transfer);
    }
    // Nothing to worry about: a start in this view would find it bound again, and well at once.
    let settled = status.forgot.filter(|_| status.status == "normal");
    settled.map_or(String::new(), |forgot| format!(", lost a journal in view {}", forgot.view))
}

#[cfg(test)]
mod tests {
    use quorate_node::status::Forgot;
    use quorate_protocol::crypto::SecretKey;

    use super::*;

    fn status(word: &str, high: Option<u64>) -> Status {
        let forgot = high.map(|high| Forgot { view: 0, high });
        Status { status: word.to_owned(), forgot, low: 8, ..Status::default() }
    }

    fn committee() -> Committee {
        let keys = [0, 1, 2, 3].map(|seed| SecretKey::from_seed(&[seed; 32]).public());
        Committee::new(&keys, false).expect("four replicas are a committee")
    }

    #[test]
    fn what_the_past_leaves_of_a_word_makes_no_table_wide_and_stands_below_it() {
        let standing = "out: its folder is a copy that was made of another one ".repeat(4);
        let out = Status { standing, ..status("out", None) };
        assert!(line(&out).ends_with("  out") && line(&out).len() < 90, "{}", line(&out));
    }

    #[test]
    fn who_is_silent_because_it_halted_is_not_asked_whether_it_runs() {
        let heard = Heard { replica: 1, ms_ago: 5_000, ..Heard::default() };
        let said = |answer: anyhow::Result<Status>| silence(0, &heard, &[(1, answer)]);
        assert_eq!(said(Ok(status("halted", None))), None);
        let words = "replica 0 last heard replica 1 5.0 s ago; is it running?";
        assert_eq!(said(Err(anyhow::anyhow!("no answer"))).as_deref(), Some(words));
        let words = said(Ok(status("normal", None))).unwrap_or_default();
        assert!(words.ends_with("it answers here, so look at the network between the two"), "{words}");
    }

    #[test]
    fn proofs_of_an_earlier_life_are_told_once_and_not_beside_the_alarm_about_them() {
        let accused = "replica 2 signed two different PREPAREs".to_owned();
        let mut found = Status { accused: vec![accused.clone()], ..status("normal", None) };
        let words = remembered(&found);
        assert!(
            words.len() == 1 && words[0].contains(&accused) && words[0].contains("evidence list"),
            "{words:?}"
        );
        found.alarms.push(format!("{accused} for sequence 3 in view 0"));
        assert_eq!(remembered(&found), [""; 0]);
    }

    #[test]
    fn who_changes_views_does_not_execute_and_is_no_part_of_a_quorum() {
        let (normal, changing) = (status("normal", None), status("view-changing", None));
        assert_eq!(no_quorum(&[&normal, &normal, &normal], &committee()), None);
        assert!(no_quorum(&[&normal, &normal, &status("stopping", None)], &committee()).is_some());
        let words = no_quorum(&[&normal, &changing, &changing], &committee());
        assert_eq!(words.as_deref(), Some("no quorum: 1 of 4 replicas execute, 3 are needed"));
    }

    #[test]
    fn the_largest_state_and_the_most_disk_are_told_and_nothing_before_the_first_checkpoint() {
        let mut replicas: Vec<Status> = (0..4)
            .map(|replica| Status { replica, journal_bytes: 64 << 20, ..status("normal", None) })
            .collect();
        assert_eq!(storage(replicas.iter()), None);
        (replicas[1].state_bytes, replicas[1].snapshots_bytes) = (9 << 20, 10 << 20);
        (replicas[2].state_bytes, replicas[2].snapshots_bytes) = (8 << 20, 30 << 20);
        let words = storage(replicas.iter()).unwrap_or_default();
        let expected = "state 9.0 MiB; on disk at most 30.0 MiB in snapshots (replica 2) and up to 64.0 MiB in the journal";
        assert_eq!(words, expected);
    }

    #[test]
    fn many_who_are_there_and_do_not_answer_take_no_longer_than_one() {
        let silent: Vec<_> = (0..4)
            .map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("the loopback has a free port"))
            .collect();
        let address = |listener: &std::net::TcpListener| listener.local_addr().expect("it is bound");
        let places: Vec<_> = silent.iter().map(address).collect();
        let begun = std::time::Instant::now();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let asking = ask_places::<Status>(&places, "/status", 1);
        let answers = runtime.expect("a runtime starts").block_on(asking).expect("no task panics");
        assert!(answers.len() == 4 && answers.iter().all(Result::is_err));
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    }

    #[test]
    fn more_than_f_that_have_forgotten_votes_are_told() {
        let (well, settled) = (status("normal", None), status("normal", Some(8)));
        let (bound, healing) = (status("recovering", Some(16)), status("recovering", Some(8)));
        assert_eq!(forgetful(&[], &committee()), None);
        assert_eq!(forgetful(&[&well, &settled, &healing, &bound], &committee()), None);
        let words = forgetful(&[&well, &well, &bound, &bound], &committee()).unwrap_or_default();
        assert!(words.starts_with("2 replicas have forgotten votes, more than f = 1: "), "{words}");
    }
}
