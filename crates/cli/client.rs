//! `quorate client`: ask a cluster something, and see who vouches for the answer.

mod counter;
mod kv;
mod ledger;
mod lock;
mod reading;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use quorate_apps::ledger::Account;
use quorate_node::client::{self, Caller, Report};
use quorate_node::cluster_file::ClusterFile;
use quorate_node::init::Layout;
use quorate_node::key_file;
use quorate_node::transport::{ClientTransportConfig, Limits, Remote};
use quorate_protocol::client::{Answer, Options};
use quorate_protocol::message::Outcome;
use serde::Serialize;
use serde_json::Value;

use self::counter::Counter;
use self::kv::Kv;
use self::ledger::Ledger;
use self::lock::Lock;
use self::reading::Reading;
use crate::own::Own;

const EXAMPLES: &str = "Examples:
  quorate client kv put a 1
  quorate client kv get a
  quorate client kv get a --read fast                   without a slot, in a cluster made with `fast_reads`
  quorate client kv cas a 1 2
  quorate client counter add 5 --cluster prod/cluster.toml --key me.pem
  quorate client ledger transfer 40 --to 3d40..5b8c     forty tokens to the account with that public key
  quorate client lock hold leader -- ./serve            run a program while, and only while, this client leads
  quorate client raw 68656c6c6f         bytes in hex, for an application of your own

Exit codes: 0 answered, 1 not answered in time or refused, 3 answered, and some replica said otherwise, 4 answered: \
there is no such key to get or delete, cas found another value, somebody else or nobody has the lock, or its lease was lost.";

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
    /// How to read; what cannot be read so is ordered, and the answer says so
    #[arg(long, global = true, value_enum, value_name = "KIND", default_value_t)]
    read: Reading,
    /// Also print the name that the operation has in the logs of clients and replicas
    #[arg(long, short, global = true)]
    verbose: bool,
    #[command(subcommand)]
    application: Application,
    /// The application of the program that this is
    #[arg(skip)]
    pub(crate) own: Option<Own>,
}

#[derive(Debug, clap::Subcommand)]
enum Application {
    /// The key-value store
    #[command(subcommand)]
    Kv(Kv),
    /// The counter
    #[command(subcommand)]
    Counter(Counter),
    /// The ledger of tokens
    #[command(subcommand)]
    Ledger(Ledger),
    /// Locks with leases
    #[command(subcommand)]
    Lock(Lock),
    /// The application of a program of one's own: a command in JSON, and the reply as well
    #[command(hide = true)]
    Call {
        /// The command in JSON
        command: String,
    },
    /// Any application: bytes in, bytes out, in hex
    Raw {
        /// The operation in hex, two digits for each byte
        operation: String,
    },
}

impl Args {
    fn patience(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

/// What an application answered.
struct Told {
    /// For people; nothing where a key was read that is not there.
    text: Option<String>,
    /// For programs, if that is more than the text.
    fields: Option<Value>,
    /// Whether what was asked for was found, or done.
    found: bool,
}

impl Told {
    fn found(text: String) -> Self {
        Self { text: Some(text), fields: None, found: true }
    }

    fn with_fields(self, fields: Value) -> Self {
        Self { fields: Some(fields), ..self }
    }
}

/// What is printed.
#[derive(Debug, Serialize)]
struct Printed {
    /// Null where a key was read that is not there; fields where the application has some.
    reply: Value,
    sequence: u64,
    view: u64,
    vouched_by: Vec<u16>,
    dissented: Vec<u16>,
    /// Which kind of read it is: `ordered`, `fast`, `session` or `stale`.
    read: &'static str,
    /// Why it was ordered although that was not asked for.
    fallback: Option<&'static str>,
    /// The name that the operation has in logs; null of one that was not ordered.
    request: Option<String>,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let cluster = ClusterFile::load(&args.cluster)?;
    check_application(&args.application, cluster.application(), args.own.as_ref())?;
    let folder = args.cluster.parent().filter(|folder| !folder.as_os_str().is_empty());
    let layout = Layout::new(folder.unwrap_or_else(|| Path::new(".")));
    let key = key_file::load(&args.key.clone().unwrap_or_else(|| layout.client_key(0)))?;
    let own = Account(key.public().0);
    if let Application::Ledger(Ledger::Account) = &args.application {
        println!("{own}");
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let replicas: Vec<SocketAddr> =
            cluster.replicas().iter().map(|replica| replica.addresses.client).collect();
        let context = cluster.context();
        let quorum = context.committee.quorum();
        let transport =
            ClientTransportConfig { context, key: Arc::new(key), replicas, limits: Limits::default() };
        let caller = client::connect(transport, None, Options { brief: true, ..Options::new(0) }).await?;
        if let Application::Lock(Lock::Hold(hold)) = &args.application {
            return hold.run(&caller, args.patience()).await;
        }
        let operation = operation(&args, own, &caller).await?;
        let answered = caller.read_within(operation, args.read.into(), args.patience()).await;
        let report = caller.report().await;
        let cause =
            report.as_ref().map_or_else(String::new, |report| likely_cause(report, quorum, &args.cluster));
        let request = report.and_then(|report| report.newest).map(|id| id.to_string());
        if args.verbose
            && let Some(request) = &request
        {
            eprintln!("request {request}");
        }
        caller.close().await;
        match answered {
            Ok(answer) => print(&args, own, (&answer, request)),
            Err(error) => bail!("{error}{cause}"),
        }
    })
}

/// What may have kept an answer from coming, and the command that tells more, each on a line of its own.
fn likely_cause(report: &Report, quorum: usize, cluster: &Path) -> String {
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
        let (program, cluster) = (crate::program(), cluster.display());
        cause += &format!(
            "\n  {up} replicas can be reached, and they did not agree even on a session for this client: is there a quorum?\n  \
             try: {program} status --cluster {cluster}\n  if one serves there, this key may have as many sessions as one may \
             have (`sessions_per_client_max`), all in use"
        );
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

fn check_application(asked: &Application, running: &str, own: Option<&Own>) -> anyhow::Result<()> {
    let name = match asked {
        Application::Call { .. } => own.map(Own::name).with_context(|| {
            format!("`call` is for programs of one's own application (`quorate new`); use `client {running}`, or `raw`")
        })?,
        Application::Kv(_) => "kv",
        Application::Counter(_) => "counter",
        Application::Ledger(_) => "ledger",
        Application::Lock(_) => "lock",
        Application::Raw { .. } => return Ok(()),
    };
    if name != running {
        bail!("this cluster runs `{running}`, not `{name}`; use `quorate client {running}`, or `raw`");
    }
    Ok(())
}

/// The operation in bytes. Some follow from what the application says before.
async fn operation(args: &Args, own: Account, caller: &Caller) -> anyhow::Result<Bytes> {
    Ok(match &args.application {
        Application::Raw { operation } => unhex(operation)?.into(),
        Application::Call { command } => own_application(args)?.encode(command)?.into(),
        Application::Counter(command) => command.encode()?,
        Application::Kv(command) => command.encode()?,
        Application::Lock(command) => command.encode()?,
        Application::Ledger(command) => command.encode((own, caller, args.patience())).await?,
    })
}

fn own_application(args: &Args) -> anyhow::Result<&Own> {
    args.own.as_ref().context("this program has no application of its own")
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

fn print(
    args: &Args,
    own: Account,
    (answer, request): (&Answer, Option<String>),
) -> anyhow::Result<ExitCode> {
    let ids = |set: &quorate_protocol::client::ReplicaSet| {
        set.iter().map(|replica| replica.0).collect::<Vec<u16>>()
    };
    let told = match &answer.outcome {
        Outcome::Done(bytes) => told(args, own, bytes)?,
        Outcome::Rejected => {
            bail!("the cluster does not understand this operation; does it run this application?")
        }
        refused => bail!("the cluster agreed not to execute this: {refused:?}"),
    };
    let (vouched_by, dissented) = (ids(&answer.voters), ids(&answer.dissenters));
    let code = match (told.found, dissented.is_empty()) {
        (_, false) => ExitCode::from(3),
        (false, true) => ExitCode::from(NOT_FOUND),
        (true, true) => ExitCode::SUCCESS,
    };
    let reply = told.fields.unwrap_or_else(|| told.text.clone().into());
    let (sequence, view) = (answer.seq.0, answer.view.0);
    let (read, fallback) = (reading::word(answer.how), reading::reason(answer.how));
    let printed = Printed { reply, sequence, view, vouched_by, dissented, read, fallback, request };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&printed)?);
        return Ok(code);
    }
    let names = |who: &[u16]| who.iter().map(u16::to_string).collect::<Vec<_>>().join(", ");
    match &told.text {
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
        "{}sequence {}, view {}, vouched for by replicas {}{dissent}",
        reading::preface(answer.how),
        printed.sequence,
        printed.view,
        names(&printed.vouched_by)
    );
    Ok(code)
}

/// What the application answered.
fn told(args: &Args, own: Account, reply: &[u8]) -> anyhow::Result<Told> {
    match &args.application {
        Application::Raw { .. } => Ok(Told::found(reply.iter().map(|byte| format!("{byte:02x}")).collect())),
        Application::Call { .. } => {
            let reply = own_application(args)?.show(reply)?;
            Ok(Told::found(reply.to_string()).with_fields(reply))
        }
        Application::Counter(_) => counter::told(reply),
        Application::Kv(_) => kv::told(reply),
        Application::Ledger(_) => ledger::told(reply),
        Application::Lock(command) => lock::told(command, own, reply),
    }
}
