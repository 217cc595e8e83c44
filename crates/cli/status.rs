//! `quorate status`: where every replica of a cluster stands.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use quorate_node::admin;
use quorate_node::cluster_file::ClusterFile;
use quorate_node::status::Status;

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
        let ours = cluster.id().0.to_string();
        let answer = answer.and_then(|status| match status.cluster == ours {
            true => Ok(status),
            false => bail!(
                "{address} answers for another cluster, {}; is another one running on these ports?",
                status.cluster
            ),
        });
        answers.push((replica.id.0, answer));
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
    )
}
