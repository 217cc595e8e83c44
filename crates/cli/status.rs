//! `quorate status`: where every replica of a cluster stands.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use quorate_node::admin;
use quorate_node::cluster_file::ClusterFile;
use quorate_node::status::Status;

use crate::why::seconds;

/// A replica says something every second; one that was silent for longer is worth a line, in milliseconds.
const SILENT_MS: u64 = 2_000;

/// Arguments of `quorate status`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 a quorum answers and executes, 1 not.")]
pub(crate) struct Args {
    /// The cluster file
    #[arg(long, default_value = "cluster.toml")]
    cluster: PathBuf,
    /// Print one JSON array instead of a table
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let cluster = ClusterFile::load(&args.cluster)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut answers = Vec::new();
    for replica in cluster.replicas() {
        let address = replica.addresses.admin;
        let answer =
            runtime.block_on(admin::fetch::<Status>(address, "/status")).map_err(anyhow::Error::from);
        answers.push((replica.id.0, of_cluster(answer, (&cluster, address), |status| &status.cluster)));
    }
    if args.json {
        let found: Vec<_> = answers.iter().map(|(_, answer)| answer.as_ref().ok()).collect();
        println!("{}", serde_json::to_string_pretty(&found)?);
    } else {
        println!("{HEADER}");
        for (id, answer) in &answers {
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
                let ago = seconds(heard.ms_ago);
                println!("replica {id} last heard replica {} {ago} ago; is it running?", heard.replica);
            }
            for words in status.warnings.iter().chain(&status.alarms) {
                println!("replica {id}: {words}");
            }
        }
    }
    let working = answers.iter().filter_map(|(_, answer)| answer.as_ref().ok());
    let working = working.filter(|status| status.status != "halted" && status.status != "behind").count();
    let quorum = cluster.context().committee.quorum();
    let enough = working >= quorum;
    if !enough && !args.json {
        println!(
            "no quorum: {working} of {} replicas execute, {quorum} are needed",
            cluster.replicas().len()
        );
    }
    Ok(if enough { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// An answer, unless it is about another cluster than the one that was asked about.
pub(crate) fn of_cluster<T>(
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
    ) + &if status.transfer.is_empty() { String::new() } else { format!(", {}", status.transfer) }
}
