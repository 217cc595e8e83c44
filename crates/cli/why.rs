//! `quorate why`: what every replica waits for, of whom, and since when.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use quorate_bench::cluster::named;
use quorate_node::cluster_file::ClusterFile;
use quorate_node::why::{Waiting, Why};
use quorate_protocol::committee::Committee;

use crate::status::ask_all;

const EXAMPLES: &str = "Examples:
  quorate why                                    every replica of ./cluster.toml
  quorate why --replica 2                        one of them
  quorate why --json | jq '.[].waits[].what'     for programs

Exit codes: 0 every replica that was asked answers, 1 not.";

/// Arguments of `quorate why`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The cluster file
    #[arg(long, default_value = "cluster.toml")]
    cluster: PathBuf,
    /// Ask this replica only, counted from 0 [default: all of them]
    #[arg(long, value_name = "N")]
    replica: Option<u16>,
    /// How long to wait for the replicas, which are asked at the same time, in seconds, at most 60
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
    /// Print one JSON array, with null for a replica that does not answer
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let cluster = ClusterFile::load(&args.cluster)?;
    let replicas = cluster.replicas();
    if let Some(id) = args.replica.filter(|id| usize::from(*id) >= replicas.len()) {
        bail!("there is no replica {id}; they are numbered from 0 to {}", replicas.len() - 1);
    }
    let answers = ask_all::<Why>(&cluster, args.replica, ("/why", args.timeout), |why| &why.cluster)?;
    if args.json {
        let found: Vec<_> = answers.iter().map(|(_, answer)| answer.as_ref().ok()).collect();
        println!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        let halted = |why: &&Why| why.status == "halted";
        let found = answers.iter().filter_map(|(_, answer)| answer.as_ref().ok());
        let halted: Vec<u16> = found.filter(halted).map(|why| why.replica).collect();
        for (id, answer) in &answers {
            match answer {
                Ok(why) => print!("{}", paragraph(why, &halted)),
                Err(error) => println!("replica {id}: {error}"),
            }
        }
        let silent = answers.iter().filter(|(_, answer)| answer.is_err()).map(|(id, _)| *id);
        let silent: Vec<u16> = silent.filter(|_| args.replica.is_none()).collect();
        let file = args.cluster.to_string_lossy();
        print!("{}", no_quorum(&silent, &cluster.context().committee, &file).unwrap_or_default());
    }
    let all = answers.iter().all(|(_, answer)| answer.is_ok());
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// That too few replicas answer for anything to commit, and how many have to be started, if it is so. Who asked one
/// replica knows nothing of the others.
fn no_quorum(silent: &[u16], committee: &Committee, file: &str) -> Option<String> {
    let (all, quorum) = (committee.size(), committee.quorum());
    let answer = all.saturating_sub(silent.len());
    let (lacking, first) = (quorum.checked_sub(answer).filter(|lacking| *lacking > 0)?, silent.first()?);
    let those = match (silent.len(), lacking) {
        (1, _) => "it".to_owned(),
        (of, lacking) if of == lacking => "all of them".to_owned(),
        (_, lacking) => format!("{lacking} of them"),
    };
    let start = format!("{} replica {first} --cluster {}", crate::program(), crate::quoted(file));
    Some(format!(
        "no quorum: {answer} of {all} replicas answer, and nothing commits before {quorum} do; {} {} not; fix: start {those}: \
         `{start}`{}\n",
        named(silent),
        if silent.len() == 1 { "does" } else { "do" },
        if lacking > 1 { ", and so on" } else { "" },
    ))
}

/// One replica: where it is, and a line for each thing it waits for, none if that is nothing. Who has halted is silent
/// for a known reason.
fn paragraph(why: &Why, halted: &[u16]) -> String {
    let Why { replica, view, primary, status, .. } = why;
    let role = if primary == replica { "its primary".to_owned() } else { format!("primary {primary}") };
    let mut text = format!("replica {replica}, {status}, view {view}, {role}");
    if let [Waiting { reason, for_ms, .. }] = &why.waits[..]
        && reason == "idle"
    {
        let since = for_ms.map_or(String::new(), |ms| format!(" for {}", seconds(ms)));
        return format!("{text}: idle{since}, no request is pending\n");
    }
    text.push('\n');
    for wait in &why.waits {
        text.push_str(&format!("  {}\n", sentence(wait, halted)));
    }
    text
}

fn sentence(wait: &Waiting, halted: &[u16]) -> String {
    if let ("silence", [silent], Some(ms)) = (&*wait.reason, &wait.missing[..], wait.for_ms) {
        let why = if halted.contains(silent) { "it has halted" } else { "stopped or killed?" };
        return format!("replica {silent} has been silent for {} ({why})", seconds(ms));
    }
    let mut sentence = format!("waits for {}", wait.what);
    if let Some(ms) = wait.for_ms {
        sentence.push_str(&format!("; for {}", seconds(ms)));
    }
    if let Some(ms) = wait.again_in_ms {
        // The batch that is missing is asked for here and there, all else everywhere.
        let whom = match (&*wait.reason, &wait.missing[..]) {
            ("body", [next]) => format!("replica {next}"),
            _ => "all".to_owned(),
        };
        sentence.push_str(&format!(", asks {whom} again in {}", seconds(ms)));
    }
    if let Some(ms) = wait.gives_up_in_ms {
        sentence.push_str(&format!(", leaves the view in {}", seconds(ms)));
    }
    sentence
}

/// Milliseconds as people read them: `0.21 s`, `6.1 s`, `2 min`.
pub(crate) fn seconds(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{:.2} s", ms as f64 / 1000.0),
        1_000..120_000 => format!("{:.1} s", ms as f64 / 1000.0),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        _ => format!("{} h", ms / 3_600_000),
    }
}

#[cfg(test)]
mod tests {
    use quorate_protocol::crypto::SecretKey;

    use super::*;

    #[test]
    fn too_few_who_answer_are_counted_and_those_who_do_not_are_named_with_how_many_to_start() {
        let committee = |size: u8| {
            let keys: Vec<_> = (0..size).map(|seed| SecretKey::from_seed(&[seed; 32]).public()).collect();
            Committee::new(&keys, false).expect("keys that differ are a committee")
        };
        let told = |silent: &[u16], size| no_quorum(silent, &committee(size), "my trial/cluster.toml");
        assert_eq!((told(&[], 4), told(&[2], 4), told(&[0, 3], 7)), (None, None, None));
        let two = told(&[0, 2], 4).unwrap_or_default();
        let words = "no quorum: 2 of 4 replicas answer, and nothing commits before 3 do; replicas 0 and 2 do not; fix: \
                     start 1 of them: `";
        assert!(two.starts_with(words), "{two}");
        assert!(two.ends_with(" replica 0 --cluster 'my trial/cluster.toml'`\n"), "{two}");
        let none = told(&[0, 1, 2, 3], 4).unwrap_or_default();
        assert!(none.contains("0 of 4 replicas answer") && none.contains("start 3 of them"), "{none}");
        assert!(none.ends_with("`, and so on\n"), "{none}");
        // Six replicas need four, where 2f+1 would be three.
        assert!(told(&[3, 4, 5], 6).unwrap_or_default().contains("before 4 do"));
    }

    #[test]
    fn a_wait_is_one_sentence_with_its_times() {
        let wait = Waiting {
            reason: "new-view".to_owned(),
            what: "the NEW-VIEW of view 4 from replica 0, its primary".to_owned(),
            for_ms: Some(2_130),
            gives_up_in_ms: Some(1_870),
            again_in_ms: Some(120),
            ..Waiting::default()
        };
        let expected = "waits for the NEW-VIEW of view 4 from replica 0, its primary; for 2.1 s, asks all again \
                        in 0.12 s, leaves the view in 1.9 s";
        assert_eq!(sentence(&wait, &[]), expected);
        let body = Waiting { reason: "body".to_owned(), missing: vec![2], again_in_ms: Some(50), ..wait };
        assert!(
            sentence(&body, &[]).contains(", asks replica 2 again in 0.05 s"),
            "{}",
            sentence(&body, &[])
        );
    }

    #[test]
    fn a_silent_replica_is_named_and_for_how_long_it_has_been_silent() {
        let wait = Waiting {
            reason: "silence".to_owned(),
            missing: vec![1],
            for_ms: Some(2_040),
            ..Waiting::default()
        };
        assert_eq!(sentence(&wait, &[]), "replica 1 has been silent for 2.0 s (stopped or killed?)");
        assert_eq!(sentence(&wait, &[1]), "replica 1 has been silent for 2.0 s (it has halted)");
    }

    #[test]
    fn a_replica_that_waits_for_nothing_takes_one_line() {
        let idle = Waiting { reason: "idle".to_owned(), for_ms: Some(3_200), ..Waiting::default() };
        let mut why = Why { status: "normal".to_owned(), primary: 1, waits: vec![idle], ..Why::default() };
        assert_eq!(
            paragraph(&why, &[]),
            "replica 0, normal, view 0, primary 1: idle for 3.2 s, no request is pending\n"
        );
        why.waits.push(Waiting { what: "a link".to_owned(), ..Waiting::default() });
        assert_eq!(paragraph(&why, &[]).lines().count(), 3);
    }

    #[test]
    fn times_are_as_long_as_people_read_them() {
        let words = [0, 999, 1_000, 119_999, 120_000, 7_200_000].map(seconds);
        assert_eq!(words, ["0.00 s", "1.00 s", "1.0 s", "120.0 s", "2 min", "2 h"]);
    }
}
