//! The key-value store, from a terminal.

use anyhow::bail;
use bytes::Bytes;
use quorate_apps::kv;
use quorate_protocol::codec;

use super::Told;

/// What can be asked of it.
#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum Kv {
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

impl Kv {
    /// The operation in bytes.
    pub(super) fn encode(&self) -> anyhow::Result<Bytes> {
        let value = |text: &str| kv::Value(text.as_bytes().to_vec());
        let command = match self.clone() {
            Self::Get { key } => kv::Command::Get { key },
            Self::Put { key, value: new } => kv::Command::Put { key, value: value(&new) },
            Self::Delete { key } => kv::Command::Delete { key },
            Self::Cas { key, expected, new } => {
                kv::Command::CompareAndSwap { key, expected: Some(value(&expected)), new: Some(value(&new)) }
            }
            Self::Scan { prefix, limit } => kv::Command::Scan { prefix, after: String::new(), limit },
        };
        Ok(codec::encode_serde(&command)?.into())
    }
}

/// What it answered.
pub(super) fn told(reply: &[u8]) -> anyhow::Result<Told> {
    Ok(match codec::decode_serde::<kv::Reply>(reply)? {
        kv::Reply::Refused(refusal) => bail!("refused: {}", refusal_of(refusal)),
        kv::Reply::Value(Some(value)) => Told::found(text_of(&value)),
        kv::Reply::Value(None) => Told { text: None, fields: None, found: false },
        reply => {
            let lacks = matches!(reply, kv::Reply::Deleted { existed: false } | kv::Reply::Differs { .. });
            Told { found: !lacks, ..Told::found(describe(&reply)) }
        }
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

fn describe(reply: &kv::Reply) -> String {
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
