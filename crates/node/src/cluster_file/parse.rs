//! From the text of a cluster file to a [`ClusterFile`]: every check, each with the line it is about.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use quorate_protocol::committee::{Committee, CommitteeError};
use quorate_protocol::crypto::VerifyingKey;
use quorate_protocol::parameters::Parameters;
use quorate_protocol::types::{ClusterId, Digest, PublicKey, ReplicaId};
use toml::de::DeValue;

use super::error::Problem;
use super::{
    Addresses, CLIENTS_MAX, Clients, ClusterFile, Durability, Execution, NodeDefaults, ReplicaEntry,
    VERIFIER_THREADS_MAX, parameters,
};
use crate::sections::{FromToml, Misplaced, Section, Source};

const TOP: &[&str] = &[
    "name",
    "application",
    "id",
    "randomness",
    "epoch",
    "testing",
    "allow_f0",
    "clients",
    "parameters",
    "node",
    "replica",
];
const NODE: &[&str] = &["verifier_threads", "execution", "durability"];
const REPLICA: &[&str] = &["id", "key", "peer_address", "client_address", "admin_address"];

/// The longest name of a cluster or application.
const NAME_BYTES_MAX: usize = 64;

pub(super) fn cluster_file(text: &str, path: &Path) -> Result<ClusterFile, Misplaced> {
    let source = Source::new(text, path);
    let table = source.parse()?;
    let top = Section::open(source, "", &table, TOP)?;
    let name = top.required::<Name>("name")?.value.0;
    let application = top.required::<Name>("application")?.value.0;
    let id = top.required::<Digest>("id")?;
    let randomness = top.required::<Digest>("randomness")?.value.0;
    check_epoch(&source, &top)?;
    let testing = top.optional::<bool>("testing")?.is_some_and(|flag| flag.value);
    let allow_f0 = top.optional::<bool>("allow_f0")?.is_some_and(|flag| flag.value);
    let node = node_defaults(&source, &top)?;
    let replicas = replicas(&source, &top)?;
    let section = top.section("parameters", parameters::NAMES)?;
    let parameters = parameters::read(&source, section.as_ref(), Parameters::default(), replicas.len())?;
    let committee = committee(&source, &top, &replicas, allow_f0)?;
    let clients = clients(&source, &top, &committee)?;
    let file = ClusterFile {
        name,
        application,
        id: ClusterId(id.value),
        randomness,
        testing,
        allow_f0,
        clients,
        node,
        replicas: replicas.into_iter().map(|replica| replica.entry).collect(),
        committee: Arc::new(committee),
        parameters: Arc::new(parameters),
    };
    let expected = file.genesis_id();
    if expected != file.id {
        return Err(id.error(&source, Problem::ClusterId { expected: expected.0 }));
    }
    Ok(file)
}

fn check_epoch(source: &Source<'_>, top: &Section<'_>) -> Result<(), Misplaced> {
    match top.optional::<u64>("epoch")? {
        Some(epoch) if epoch.value != 0 => Err(epoch.error(source, Problem::Epoch { found: epoch.value })),
        _ => Ok(()),
    }
}

pub(super) fn node_defaults(source: &Source<'_>, top: &Section<'_>) -> Result<NodeDefaults, Misplaced> {
    let mut node = NodeDefaults::default();
    let Some(section) = top.section("node", NODE)? else { return Ok(node) };
    if let Some(threads) = section.optional::<u16>("verifier_threads")? {
        if threads.value > VERIFIER_THREADS_MAX {
            let problem = Problem::Value { expected: "a number up to 64", found: threads.value.to_string() };
            return Err(threads.error(source, problem));
        }
        node.verifier_threads = threads.value;
    }
    if let Some(execution) = section.optional("execution")? {
        node.execution = execution.value;
    }
    if let Some(durability) = section.optional("durability")? {
        node.durability = durability.value;
    }
    Ok(node)
}

/// A replica and where the file says so.
struct LocatedReplica {
    entry: ReplicaEntry,
    key_at: usize,
}

/// The replicas in order of id, which are `0..n`, with addresses that nobody shares.
fn replicas(source: &Source<'_>, top: &Section<'_>) -> Result<Vec<LocatedReplica>, Misplaced> {
    let sections = top.sections("replica", REPLICA)?;
    let mut ids = BTreeMap::new();
    let mut addresses = BTreeMap::new();
    for section in &sections {
        let id = section.required::<u16>("id")?;
        if usize::from(id.value) >= sections.len() {
            return Err(id.error(source, Problem::Gap { found: id.value, replicas: sections.len() }));
        }
        let key = section.required::<PublicKey>("key")?;
        let mut address = |name| -> Result<SocketAddr, Misplaced> {
            let address = section.required::<Reachable>(name)?;
            match addresses.insert(address.value.0, address.at) {
                Some(first) => Err(address.error(source, Problem::Duplicate { first: source.line(first) })),
                None => Ok(address.value.0),
            }
        };
        let addresses = Addresses {
            peer: address("peer_address")?,
            client: address("client_address")?,
            admin: address("admin_address")?,
        };
        let entry = ReplicaEntry { id: ReplicaId(id.value), key: key.value, addresses };
        if let Some((first, _)) = ids.insert(id.value, (id.at, LocatedReplica { entry, key_at: key.at })) {
            return Err(id.error(source, Problem::Duplicate { first: source.line(first) }));
        }
    }
    Ok(ids.into_values().map(|(_, replica)| replica).collect())
}

fn committee(
    source: &Source<'_>,
    top: &Section<'_>,
    replicas: &[LocatedReplica],
    allow_f0: bool,
) -> Result<Committee, Misplaced> {
    let keys: Vec<PublicKey> = replicas.iter().map(|replica| replica.entry.key).collect();
    let key_at = |id: ReplicaId| replicas.get(usize::from(id.0)).map_or(0, |replica| replica.key_at);
    Committee::new(&keys, allow_f0).map_err(|error| match error {
        CommitteeError::Key(id, why) => source.error(key_at(id), "replica.key".into(), Problem::Key(why)),
        CommitteeError::DuplicateKey(one, other) => {
            let (first, second) = (key_at(one).min(key_at(other)), key_at(one).max(key_at(other)));
            source.error(second, "replica.key".into(), Problem::Duplicate { first: source.line(first) })
        }
        CommitteeError::Size(_) | CommitteeError::NoTolerance(_) => {
            let at =
                top.sections("replica", REPLICA).ok().and_then(|sections| sections.last().map(Section::at));
            source.error(at.unwrap_or(0), "replica".into(), Problem::Committee(error))
        }
    })
}

/// `"open"`, or keys that are usable, distinct, and no replica's.
fn clients(source: &Source<'_>, top: &Section<'_>, committee: &Committee) -> Result<Clients, Misplaced> {
    let expected = "\"open\" or a list of public keys";
    let listed = top.required::<Present>("clients")?;
    let Some(value) = top.raw("clients") else { return Err(listed.error(source, Problem::Missing)) };
    let array = match value.value {
        DeValue::String(text) if text.as_ref() == "open" => return Ok(Clients::Open),
        DeValue::String(text) => {
            return Err(value.error(source, Problem::Value { expected, found: text.to_string() }));
        }
        other => {
            let kind = || value.error(source, Problem::Kind { expected, found: other.type_str() });
            other.as_array().ok_or_else(kind)?
        }
    };
    if array.len() > CLIENTS_MAX {
        return Err(value.error(source, Problem::TooMany { found: array.len(), most: CLIENTS_MAX }));
    }
    let mut places: BTreeMap<PublicKey, usize> = BTreeMap::new();
    let mut keys = Vec::with_capacity(array.len());
    for member in array.iter() {
        let at = member.span().start;
        let error = |problem| source.error(at, value.key.clone(), problem);
        let key = PublicKey::from_toml(member.get_ref()).map_err(error)?;
        VerifyingKey::new(key).map_err(|why| error(Problem::Key(why)))?;
        if let Some(replica) = committee.id_of(&key) {
            let found = format!("the key of replica {replica}");
            return Err(error(Problem::Value { expected: "a key that no replica has", found }));
        }
        if let Some(first) = places.insert(key, at) {
            return Err(error(Problem::Duplicate { first: source.line(first) }));
        }
        keys.push(key);
    }
    Ok(Clients::Listed(keys))
}

/// Any value; says only that the key is there.
struct Present;

impl FromToml for Present {
    fn from_toml(_: &DeValue<'_>) -> Result<Self, Problem> {
        Ok(Self)
    }
}

/// A name that needs no quoting in any shell, file name or TOML string.
struct Name(String);

impl FromToml for Name {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Problem> {
        let expected = "1 to 64 letters, digits, `-`, `_` or `.`";
        let text = text(value, "a name in quotes")?;
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if text.is_empty() || text.len() > NAME_BYTES_MAX || !plain {
            return Err(Problem::Value { expected, found: text.chars().take(NAME_BYTES_MAX).collect() });
        }
        Ok(Self(text.to_owned()))
    }
}

/// An address that somebody else can connect to.
struct Reachable(SocketAddr);

impl FromToml for Reachable {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Problem> {
        let expected = "an IP address and port that others can reach, such as \"192.0.2.7:4000\"";
        let text = text(value, "an address in quotes")?;
        match text.parse::<SocketAddr>() {
            Ok(address) if address.port() != 0 && !address.ip().is_unspecified() => Ok(Self(address)),
            _ => Err(Problem::Value { expected, found: text.chars().take(NAME_BYTES_MAX).collect() }),
        }
    }
}

fn text<'a>(value: &'a DeValue<'_>, expected: &'static str) -> Result<&'a str, Problem> {
    value.as_str().ok_or(Problem::Kind { expected, found: value.type_str() })
}

impl FromToml for u64 {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Problem> {
        let expected = "a whole number, 0 or more";
        let found = value.type_str();
        let integer = value.as_integer().ok_or(Problem::Kind { expected, found })?;
        Self::from_str_radix(integer.as_str(), integer.radix()).map_err(|_| Problem::Value {
            expected,
            found: integer.as_str().chars().take(NAME_BYTES_MAX).collect(),
        })
    }
}

impl FromToml for u16 {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Problem> {
        let wide = u64::from_toml(value)?;
        let problem = |_| Problem::Value { expected: "a number up to 65535", found: wide.to_string() };
        Self::try_from(wide).map_err(problem)
    }
}

impl FromToml for bool {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Problem> {
        value.as_bool().ok_or(Problem::Kind { expected: "true or false", found: value.type_str() })
    }
}

impl FromToml for Digest {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Problem> {
        text(value, "64 hexadecimal digits in quotes")?.parse().map_err(Problem::Hex)
    }
}

impl FromToml for PublicKey {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Problem> {
        text(value, "64 hexadecimal digits in quotes")?.parse().map_err(Problem::Hex)
    }
}

impl FromToml for Execution {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Problem> {
        let expected = "\"shared\" or \"own-thread\"";
        match text(value, expected)? {
            "shared" => Ok(Self::Shared),
            "own-thread" => Ok(Self::OwnThread),
            other => Err(Problem::Value { expected, found: other.chars().take(NAME_BYTES_MAX).collect() }),
        }
    }
}

impl FromToml for Durability {
    fn from_toml(value: &DeValue<'_>) -> Result<Self, Problem> {
        let expected = "\"sync\", \"os\" or \"none\"";
        match text(value, expected)? {
            "sync" => Ok(Self::Sync),
            "os" => Ok(Self::Os),
            "none" => Ok(Self::None),
            other => Err(Problem::Value { expected, found: other.chars().take(NAME_BYTES_MAX).collect() }),
        }
    }
}
