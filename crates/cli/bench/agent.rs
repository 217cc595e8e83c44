//! `quorate bench agent`: this machine's replicas and clients, for a benchmark that is driven from another one.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use quorate_bench::agent::{Agent, AgentConfig, own_key};
use quorate_bench::worker::{Home, Logs, Worker, WorkerConfig};
use quorate_node::key_file::{self, KeyFileError};
use quorate_protocol::types::PublicKey;

/// Arguments of `quorate bench agent`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Once, on the machine that drives:
  quorate bench key controller.pem                    makes a key file, and prints the public key
On each other machine, with an address of its own:
  quorate bench key agent.pem
  quorate bench agent --listen 192.0.2.7:24500 --key agent.pem --controller PUBLIC_KEY

What the agent prints belongs into the file of the figure. It carries out the orders of that one controller: it runs
replicas and clients of clusters for trials, with its own program, and writes into temporary folders that it removes. All
of it ends when the controller says so, is gone, or cannot be reached for six seconds. Replicas and clients use free UDP
ports of the address.")]
pub(crate) struct AgentArgs {
    /// Address of this machine, where the controller, replicas and clients of other machines reach it
    #[arg(long, value_name = "ADDRESS")]
    listen: SocketAddr,
    /// This agent's key file, made by `quorate bench key`
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Public key of the controller, as `quorate bench key` printed it there
    #[arg(long, value_name = "PUBLIC_KEY")]
    controller: PublicKey,
    /// Folder on the disk that replicas are to use, for temporary ones inside [default: the system's]
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Stop when standard input ends, as it does when whoever started this agent is gone
    #[arg(long)]
    exit_with_stdin: bool,
}

/// Arguments of `quorate bench key`.
#[derive(Debug, clap::Args)]
pub(crate) struct KeyArgs {
    /// The key file; made, readable by its owner only, if there is none
    file: PathBuf,
}

pub(crate) fn run_key(args: &KeyArgs) -> anyhow::Result<ExitCode> {
    println!("{}", own_key(&args.file)?.public());
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn run(args: AgentArgs) -> anyhow::Result<ExitCode> {
    crate::survive_file_size_limits()?;
    let key = key_file::load(&args.key).map_err(|error| match error {
        KeyFileError::Missing { path } => {
            anyhow::anyhow!(
                "{0}: there is no key file; fix: make one with `quorate bench key {0}`",
                path.display()
            )
        }
        error => error.into(),
    })?;
    let public = key.public();
    let worker = WorkerConfig {
        program: std::env::current_exe()?,
        home: args.folder.map_or(Home::Temporary, Home::Within),
        host: args.listen.ip(),
        logs: Logs::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let config =
            AgentConfig { listen: args.listen, key, controller: args.controller, worker: worker.clone() };
        let agent = Agent::open(config)?;
        let (name, address) = (Worker::new(worker).describe().name, agent.address());
        println!("[[machine]]\nname = \"{name}\"\naddress = \"{address}\"\nkey = \"{public}\"");
        eprintln!("waiting for the controller {}", args.controller);
        tokio::select! {
            () = agent.serve(&|words| eprintln!("{words}")) => {}
            () = crate::replica::stop(args.exit_with_stdin) => {}
        }
        agent.close().await;
        Ok(ExitCode::SUCCESS)
    })
}
