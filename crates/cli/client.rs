//! `quorate client`: ask a cluster something, and see who vouches for the answer.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use quorate_apps::{counter, kv};
use quorate_node::client::{self, Caller};
use quorate_node::cluster_file::ClusterFile;
use quorate_node::init::Layout;
use quorate_node::key_file;
use quorate_node::transport::{ClientTransportConfig, Limits, Remote};
use quorate_protocol::client::{Answer, Options};
use quorate_protocol::codec;
use quorate_protocol::message::Outcome;
use serde::Serialize;

const EXAMPLES: &str = "Examples:
  quorate client kv put a 1
  quorate client kv get a
  quorate client kv cas a 1 2
  quorate client counter add 5 --cluster prod/cluster.toml --key me.pem
  quorate client raw 68656c6c6f         bytes in hex, for an application of your own

Exit codes: 0 answered, 1 not answered in time or refused, 3 answered, and some replica said otherwise, 4 answered: \
there is no such key to get or delete, or cas found another value.";

/// The exit code that tells a key that is not there from every value it could have, and a change that was not made
/// from one that was.
const NOT_FOUND: u8 = 4;

/// Arguments of `quorate client`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The cluster file
    #[arg(long, global = true, default_value = "cluster.toml")]
    cluster: PathBuf,
    /// The client's key file [default: keys/client-0.pem beside the cluster file]
    // Keys of the store have the other name.
    #[arg(id = "key_file", long = "key", value_name = "KEY", global = true)]
    key: Option<PathBuf>,
    /// How long to wait for an answer, in seconds, at most 3600
    #[arg(long, global = true, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// Print one JSON object
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    application: Application,
}

#[derive(Debug, clap::Subcommand)]
enum Application {
    /// The key-value store
    #[command(subcommand)]
    Kv(Kv),
    /// The counter
    #[command(subcommand)]
    Counter(Counter),
    /// Any application: bytes in, bytes out, in hex
    Raw {
        /// The operation in hex, two digits for each byte
        operation: String,
    },
}

#[derive(Debug, Clone, clap::Subcommand)]
enum Kv {
    /// Read a key's value; prints nothing and exits with 4 if there is no such key
    Get {
        /// The key, of at most 1024 bytes
        key: String,
    },
    /// Set a key's value
    Put {
        /// The key, of at most 1024 bytes
        key: String,
        /// Its new value, of at most 64 KiB
        value: String,
    },
    /// Remove a key; exits with 4 if there is no such key
    Delete {
        /// The key, of at most 1024 bytes
        key: String,
    },
    /// Set a key's value if it is the expected one; exits with 4 if it is not
    Cas {
        /// The key, of at most 1024 bytes
        key: String,
        /// The value it must have now
        expected: String,
        /// Its new value, of at most 64 KiB
        new: String,
    },
    /// List keys that begin with a prefix
    Scan {
        /// What the keys begin with; all keys without it
        #[arg(default_value = "")]
        prefix: String,
        /// Most entries; the store gives at most 1000
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
}

#[derive(Debug, clap::Subcommand)]
enum Counter {
    /// Add a number, which may be negative
    Add {
        /// The number, from -2^63 to 2^63 - 1
        #[arg(allow_negative_numbers = true)]
        amount: i64,
    },
    /// Read the value
    Get,
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Printed {
    /// Null where a key was read that is not there.
    reply: Option<String>,
    sequence: u64,
    view: u64,
    vouched_by: Vec<u16>,
    dissented: Vec<u16>,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let cluster = ClusterFile::load(&args.cluster)?;
    check_application(&args.application, cluster.application())?;
    let folder = args.cluster.parent().filter(|folder| !folder.as_os_str().is_empty());
    let layout = Layout::new(folder.unwrap_or_else(|| Path::new(".")));
    let key = key_file::load(&args.key.clone().unwrap_or_else(|| layout.client_key(0)))?;
    let operation = encode(&args.application)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let replicas: Vec<SocketAddr> =
            cluster.replicas().iter().map(|replica| replica.addresses.client).collect();
        let context = cluster.context();
        let quorum = context.committee.quorum();
        let transport =
            ClientTransportConfig { context, key: Arc::new(key), replicas, limits: Limits::default() };
        let caller = client::connect(transport, None, Options { brief: true, ..Options::new(0) }).await?;
        let answered = caller.call_within(operation, Duration::from_secs(args.timeout)).await;
        let cause = likely_cause(&caller, quorum, &args.cluster).await;
        caller.close().await;
        match answered {
            Ok(answer) => print(&args, &answer),
            Err(error) => bail!("{error}{cause}"),
        }
    })
}

/// What may have kept an answer from coming, and the command that tells more, each on a line of its own.
async fn likely_cause(caller: &Caller, quorum: usize, cluster: &Path) -> String {
    let Some(report) = caller.report().await else { return String::new() };
    let down = report.links.iter().filter(|link| !link.up).filter_map(|link| match link.remote {
        Remote::Replica(replica) => Some((replica.0, link.trouble.as_deref())),
        Remote::Client(_) => None,
    });
    let down: Vec<_> = down.collect();
    let up = report.links.len() - down.len();
    let mut cause = String::new();
    if up < quorum {
        let all = report.links.len();
        cause += &format!("\n  {up} of {all} replicas can be reached, {quorum} are needed{}", missing(&down));
        cause += &format!("\n  try: {} status --cluster {}", crate::program(), cluster.display());
    } else if report.session.is_none() && report.counters.registrations > 0 {
        cause +=
            "\n  the cluster has not given this client a session: one key may have `sessions_per_client_max`";
    } else {
        cause += &format!("\n  try: {} why --cluster {}", crate::program(), cluster.display());
    }
    cause
}

/// Who cannot be reached, and the reason that most of them share, as one of them has it.
fn missing(down: &[(u16, Option<&str>)]) -> String {
    let told = |trouble: &Option<&str>| trouble.map_or("nobody has answered yet".to_owned(), str::to_owned);
    let shared = |trouble: &Option<&str>| down.iter().filter(|(_, other)| other == trouble).count();
    let most = down.iter().rev().max_by_key(|(_, trouble)| (trouble.is_some(), shared(trouble)));
    let names: Vec<String> = down.iter().map(|(replica, _)| replica.to_string()).collect();
    let names = names.join(", ");
    match (most, down.len()) {
        (None, _) => String::new(),
        (Some((replica, trouble)), 1) => format!("; replica {replica}: {}", told(trouble)),
        (Some((replica, trouble)), _) => {
            format!("; not reached: {names}; replica {replica}: {}", told(trouble))
        }
    }
}

fn check_application(asked: &Application, running: &str) -> anyhow::Result<()> {
    let name = match asked {
        Application::Kv(_) => "kv",
        Application::Counter(_) => "counter",
        Application::Raw { .. } => return Ok(()),
    };
    if name != running {
        bail!("this cluster runs `{running}`, not `{name}`; use `quorate client {running}`, or `raw`");
    }
    Ok(())
}

fn encode(application: &Application) -> anyhow::Result<Bytes> {
    let value = |text: &str| kv::Value(text.as_bytes().to_vec());
    Ok(match application {
        Application::Raw { operation } => unhex(operation)?.into(),
        Application::Counter(command) => codec::encode_serde(&match command {
            Counter::Add { amount } => counter::Command::Add(*amount),
            Counter::Get => counter::Command::Get,
        })?
        .into(),
        Application::Kv(command) => codec::encode_serde(&match command.clone() {
            Kv::Get { key } => kv::Command::Get { key },
            Kv::Put { key, value: new } => kv::Command::Put { key, value: value(&new) },
            Kv::Delete { key } => kv::Command::Delete { key },
            Kv::Cas { key, expected, new } => {
                kv::Command::CompareAndSwap { key, expected: Some(value(&expected)), new: Some(value(&new)) }
            }
            Kv::Scan { prefix, limit } => kv::Command::Scan { prefix, after: String::new(), limit },
        })?
        .into(),
    })
}

fn unhex(text: &str) -> anyhow::Result<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        bail!("`{text}` is not hex; write two digits for each byte");
    }
    let byte = |at: usize| u8::from_str_radix(text.get(at..at + 2).unwrap_or_default(), 16);
    (0..text.len())
        .step_by(2)
        .map(|at| byte(at).with_context(|| format!("`{text}` is not hex; write two digits for each byte")))
        .collect()
}

fn print(args: &Args, answer: &Answer) -> anyhow::Result<ExitCode> {
    let ids = |set: &quorate_protocol::client::ReplicaSet| {
        set.iter().map(|replica| replica.0).collect::<Vec<u16>>()
    };
    let (reply, done) = match &answer.outcome {
        Outcome::Done(bytes) => describe(&args.application, bytes)?,
        Outcome::Rejected => {
            bail!("the cluster does not understand this operation; does it run this application?")
        }
        refused => bail!("the cluster agreed not to execute this: {refused:?}"),
    };
    let (vouched_by, dissented) = (ids(&answer.voters), ids(&answer.dissenters));
    let code = match (done, dissented.is_empty()) {
        (_, false) => ExitCode::from(3),
        (false, true) => ExitCode::from(NOT_FOUND),
        (true, true) => ExitCode::SUCCESS,
    };
    let printed = Printed { reply, sequence: answer.seq.0, view: answer.view.0, vouched_by, dissented };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&printed)?);
        return Ok(code);
    }
    let names = |who: &[u16]| who.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    match &printed.reply {
        Some(reply) => println!("{reply}"),
        // On standard output it would look like a value.
        None => eprintln!("there is no such key"),
    }
    let dissent = if printed.dissented.is_empty() {
        String::new()
    } else {
        format!("; OTHERWISE said replicas {}", names(&printed.dissented))
    };
    eprintln!(
        "sequence {}, view {}, vouched for by replicas {}{dissent}",
        printed.sequence,
        printed.view,
        names(&printed.vouched_by)
    );
    Ok(code)
}

/// What the application answered, nothing if it has no value for a key; and whether it found what was asked for.
fn describe(application: &Application, reply: &[u8]) -> anyhow::Result<(Option<String>, bool)> {
    Ok(match application {
        Application::Raw { .. } => (Some(reply.iter().map(|byte| format!("{byte:02x}")).collect()), true),
        Application::Counter(_) => (Some(codec::decode_serde::<i64>(reply)?.to_string()), true),
        Application::Kv(_) => match codec::decode_serde::<kv::Reply>(reply)? {
            kv::Reply::Refused(refusal) => bail!("refused: {}", refusal_of(refusal)),
            kv::Reply::Value(value) => (value.as_ref().map(text_of), value.is_some()),
            reply => {
                let lacks =
                    matches!(reply, kv::Reply::Deleted { existed: false } | kv::Reply::Differs { .. });
                (Some(describe_kv(&reply)), !lacks)
            }
        },
    })
}

fn refusal_of(refusal: kv::Refusal) -> String {
    match refusal {
        kv::Refusal::KeyTooLong => format!("a key may have {} bytes", kv::KEY_BYTES_MAX),
        kv::Refusal::ValueTooLong => format!("a value may have {} bytes", kv::VALUE_BYTES_MAX),
        kv::Refusal::StoreFull => {
            format!("the store is full at {} bytes; delete something", kv::STATE_BYTES_MAX)
        }
    }
}

fn text_of(value: &kv::Value) -> String {
    String::from_utf8_lossy(&value.0).into_owned()
}

fn describe_kv(reply: &kv::Reply) -> String {
    match reply {
        kv::Reply::Refused(refusal) => refusal_of(*refusal),
        kv::Reply::Value(value) => value.as_ref().map_or_else(String::new, text_of),
        kv::Reply::Stored { replaced } => if *replaced { "replaced" } else { "stored" }.to_owned(),
        kv::Reply::Deleted { existed } => if *existed { "deleted" } else { "was not there" }.to_owned(),
        kv::Reply::Swapped => "swapped".to_owned(),
        kv::Reply::Differs { current: Some(value) } => {
            format!("not swapped: the value is {}", text_of(value))
        }
        kv::Reply::Differs { current: None } => "not swapped: there is no such key".to_owned(),
        kv::Reply::Entries { entries, more } => {
            let lines = entries.iter().map(|(key, value)| format!("{key} = {}", text_of(value)));
            let rest = more.then(|| "(more behind these)".to_owned());
            lines.chain(rest).collect::<Vec<_>>().join("\n")
        }
    }
}
