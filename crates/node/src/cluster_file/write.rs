//! The text of a cluster file, with comments for whoever opens it.

use std::fmt::Write as _;

use quorate_protocol::types::Digest;

use super::parameters::{KNOBS, SWITCHES};
use super::{Addresses, Clients, ClusterFile, Durability, Execution, ReplicaEntry};

pub(super) fn to_toml(file: &ClusterFile) -> String {
    let mut text = String::new();
    let (n, f, q) = (file.committee.size(), file.committee.faults(), file.committee.quorum());
    let clients = match &file.clients {
        Clients::Open => "\"open\"".to_owned(),
        Clients::Listed(keys) if keys.is_empty() => "[]".to_owned(),
        Clients::Listed(keys) => {
            let lines: String = keys.iter().map(|key| format!("    \"{key}\",\n")).collect();
            format!("[\n{lines}]")
        }
    };
    let top = format!(
        "# A Quorate cluster: {n} replicas tolerate {f} Byzantine; {q} equal votes decide.\n\
         # Every replica and client reads the same file. It holds no secret.\n\n\
         name = \"{}\"\n\
         # What every replica runs.\n\
         application = \"{}\"\n\
         # Hash of name, application, flags, keys, parameters and the randomness: change one, and it is another cluster.\n\
         id = \"{}\"\n\
         randomness = \"{}\"\n\
         epoch = 0\n\
         # With true, replicas accept a Byzantine behaviour. Never where it matters.\n\
         testing = {}\n\
         # With true, one to three replicas are accepted, which tolerate no Byzantine one.\n\
         allow_f0 = {}\n\
         # Who may connect: \"open\", or a list of public keys.\n\
         clients = {clients}\n",
        file.name,
        file.application,
        file.id.0,
        Digest(file.randomness),
        file.testing,
        file.allow_f0,
    );
    text.push_str(&top);
    parameters(&mut text, file);
    node(&mut text, file);
    for replica in &file.replicas {
        entry(&mut text, replica);
    }
    text
}

fn parameters(text: &mut String, file: &ClusterFile) {
    text.push_str(
        "\n# The same on every replica. A name in _bytes_max is in bytes, one in _ms in milliseconds.\n",
    );
    text.push_str("[parameters]\n");
    let mut parameters = (*file.parameters).clone();
    for knob in &KNOBS {
        let setting = format!("{} = {}", knob.name, *(knob.field)(&mut parameters) / knob.scale);
        push_line(text, &format!("{setting:<36}# {}", knob.about));
    }
    for switch in &SWITCHES {
        let setting = format!("{} = {}", switch.name, *(switch.field)(&mut parameters));
        push_line(text, &format!("{setting:<36}# {}", switch.about));
    }
}

fn node(text: &mut String, file: &ClusterFile) {
    let execution = match file.node.execution {
        Execution::Shared => "shared",
        Execution::OwnThread => "own-thread",
    };
    let durability = match file.node.durability {
        Durability::Sync => "sync",
        Durability::Os => "os",
        Durability::None => "none",
    };
    text.push_str("\n# Local tuning; replicas may differ in it.\n[node]\n");
    let threads = format!("verifier_threads = {}", file.node.verifier_threads);
    push_line(text, &format!("{threads:<36}# threads that only check signatures; 0 for none of their own"));
    let execution = format!("execution = \"{execution}\"");
    push_line(text, &format!("{execution:<36}# or \"own-thread\""));
    let durability = format!("durability = \"{durability}\"");
    push_line(
        text,
        &format!(
            "{durability:<36}# \"os\" and \"none\" are for trials: after a crash a replica is `recovering`"
        ),
    );
}

fn entry(text: &mut String, replica: &ReplicaEntry) {
    let Addresses { peer, client, admin } = replica.addresses;
    let (id, key) = (replica.id, replica.key);
    push_line(text, &format!("\n[[replica]]\nid = {id}\nkey = \"{key}\"\npeer_address = \"{peer}\""));
    push_line(text, &format!("client_address = \"{client}\"\nadmin_address = \"{admin}\""));
}

fn push_line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("writing to a string cannot fail");
}
