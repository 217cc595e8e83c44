//! `quorate init`: a new cluster in a folder.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use quorate_host::journal::Reserve;
use quorate_node::cluster_file::{Clients, Draft, Preset};
use quorate_node::init::{Admission, Written, addresses, init};
use quorate_protocol::committee::{faults, quorum};

use crate::own::{self, Own};

const EXAMPLES: &str = "Examples:
  quorate init                                          four replicas on this machine, in the current folder
  quorate init trial --replicas 7                       seven, of which two may fail
  quorate init prod --clients 3 --preset configs/wan.toml \\
      --host 192.0.2.1,192.0.2.2,192.0.2.3,192.0.2.4    one machine each, and three clients, nobody else";

/// Arguments of `quorate init`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Folder of the new cluster; nothing in it is overwritten
    #[arg(default_value = ".")]
    folder: PathBuf,
    /// Replicas, n; they tolerate floor((n-1)/3) Byzantine ones
    #[arg(long, short = 'n', default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    replicas: u16,
    /// Address of every replica, or one for each, separated by commas
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.1")]
    host: Vec<IpAddr>,
    /// First port; replicas on one host take three each from here on
    #[arg(long, default_value_t = 24_000, value_parser = clap::value_parser!(u16).range(1..))]
    base_port: u16,
    /// Application that every replica runs: `kv`, `counter`, `ledger`, `lock`, `null`, or one of your own program
    #[arg(long, default_value = "kv")]
    application: String,
    /// What to call the cluster
    #[arg(long, default_value = "quorate")]
    name: String,
    /// Who may connect: `open`, or the number of client keys to make
    #[arg(long, default_value = "open", value_parser = admission)]
    clients: Admission,
    /// File with [parameters] and [node] sections that take the place of the defaults
    #[arg(long)]
    preset: Option<PathBuf>,
    /// Allow linearizable reads without ordering; every answer to a client then needs a quorum of equal ones
    #[arg(long)]
    fast_reads: bool,
    /// Let replicas accept a Byzantine behaviour
    #[arg(long)]
    testing: bool,
    /// Accept one to three replicas, which tolerate no Byzantine one
    #[arg(long)]
    allow_f0: bool,
    /// Take the journals' whole space at once, about 650 MiB each: it cannot run short later, and syncs are quicker
    #[arg(long)]
    reserve: bool,
}

fn admission(text: &str) -> Result<Admission, String> {
    if text == "open" {
        return Ok(Admission::Open);
    }
    text.parse().map(Admission::Listed).map_err(|_| "write `open` or a number of clients".to_owned())
}

pub(crate) fn run(args: Args, own: Option<&Own>) -> anyhow::Result<ExitCode> {
    crate::survive_file_size_limits()?;
    print!("{}", report(&make(args)?, &crate::program(), own));
    Ok(ExitCode::SUCCESS)
}

fn make(args: Args) -> anyhow::Result<Written> {
    let mut preset = args.preset.as_deref().map(Preset::load).transpose()?.unwrap_or_default();
    preset.parameters.fast_reads |= args.fast_reads;
    let draft = Draft {
        name: args.name,
        application: args.application,
        testing: args.testing,
        allow_f0: args.allow_f0,
        clients: Clients::Open,
        parameters: preset.parameters,
        node: preset.node,
        addresses: addresses(&args.host, args.replicas, args.base_port)?,
    };
    let reserve = if args.reserve { Reserve::Whole } else { Reserve::Records };
    Ok(init(&args.folder, draft, args.clients, reserve)?)
}

/// What was written, and what to type next.
fn report(written: &Written, program: &str, own: Option<&Own>) -> String {
    let Written { cluster, layout, client_keys } = written;
    let n = cluster.replicas().len();
    let last = n.saturating_sub(1);
    let file = layout.cluster_file();
    let mut text = format!(
        "{}: {n} replicas, {} of them may be Byzantine; {} equal votes decide; cluster {}\n",
        file.display(),
        faults(n),
        quorum(n),
        cluster.id().0,
    );
    let keys = layout.keys();
    text += &format!("{}: {n} replica keys (replica-0 to replica-{last})", keys.display());
    text += &match client_keys.len() {
        0 => " and no client key\n".to_owned(),
        1 => " and 1 client key (client-0)\n".to_owned(),
        count => format!(" and {count} client keys (client-0 to client-{})\n", count - 1),
    };
    text += "\nOne public file describes the cluster; each key belongs on its own machine only.\n";
    if cluster.testing() {
        text += "Its replicas may be told to lie (`quorate replica --byzantine`): a cluster for trials, never where it matters.\n";
    }
    text + &next(written, program, own)
}

/// What to type next.
fn next(written: &Written, program: &str, own: Option<&Own>) -> String {
    let Written { cluster, layout, client_keys } = written;
    let application = cluster.application();
    if own::machine(own, application, 0).is_none() {
        let known = own::names(own);
        return format!(
            "Next, your own program: `{application}` is none of the ready applications ({known}), so `{program} replica` \
             cannot run it. It loads the cluster file, and for replica N the key in keys/replica-N.pem and the data folder \
             data/replica-N.\n"
        );
    }
    let file = crate::quoted(&layout.cluster_file().to_string_lossy());
    let mut text = "Next, one command per replica, each in a terminal of its own:\n".to_owned();
    for entry in cluster.replicas() {
        text += &format!("  {program} replica {} --cluster {file}\n", entry.id);
    }
    let example = match (own, application) {
        (Some(own), _) => Some(format!("call {}", crate::quoted(own.example()))),
        (None, "kv") => Some("kv put hello world".to_owned()),
        (None, "counter") => Some("counter add 1".to_owned()),
        (None, _) => None,
    };
    if let (Some(example), [_, ..]) = (example, client_keys.as_slice()) {
        text += &format!("then:\n  {program} client --cluster {file} {example}\n");
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Alone {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn the_arguments_are_consistent() {
        Alone::command().debug_assert();
    }

    #[test]
    fn the_report_names_what_was_written_and_the_next_commands() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let words = ["init", path, "--clients", "2", "--testing"];
        let written = make(Alone::try_parse_from(words).unwrap().args).unwrap();
        assert!(written.cluster.testing());
        let text = report(&written, "quorate", None);
        assert!(text.contains("4 replicas, 1 of them may be Byzantine; 3 equal votes decide"), "{text}");
        assert!(
            text.contains("4 replica keys (replica-0 to replica-3) and 2 client keys (client-0 to client-1)")
        );
        for id in 0..4 {
            let command = format!("  quorate replica {id} --cluster {path}/cluster.toml\n");
            assert!(text.contains(&command), "{text}");
        }
        assert!(
            text.ends_with(&format!("  quorate client --cluster {path}/cluster.toml kv put hello world\n"))
        );
        assert!(!text.contains("your own program"), "{text}");
        assert!(text.contains("may be told to lie") && text.contains("never where it matters"), "{text}");
    }

    #[test]
    fn an_application_of_ones_own_is_pointed_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let words = ["init", path, "--application", "auction"];
        let text = report(&make(Alone::try_parse_from(words).unwrap().args).unwrap(), "quorate", None);
        assert!(
            text.contains("`auction` is none of the ready applications (") && text.contains("kv"),
            "{text}"
        );
        assert!(!text.contains("replica 0 --cluster"), "a command that cannot work: {text}");
    }

    #[test]
    fn a_path_with_a_space_is_quoted_in_the_commands() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("my cluster");
        let written = make(Alone::try_parse_from(["init", path.to_str().unwrap()]).unwrap().args).unwrap();
        let text = report(&written, "quorate", None);
        assert!(text.contains(&format!("replica 3 --cluster '{}/cluster.toml'\n", path.display())), "{text}");
    }

    #[test]
    fn clients_are_open_or_a_number() {
        assert_eq!(admission("open"), Ok(Admission::Open));
        assert_eq!(admission("3"), Ok(Admission::Listed(3)));
        for bad in ["", "shut", "-1", "65536"] {
            assert!(admission(bad).is_err());
        }
    }
}
