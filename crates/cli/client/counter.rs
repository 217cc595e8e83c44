//! The counter, from a terminal.

use bytes::Bytes;
use quorate_apps::counter;
use quorate_protocol::codec;

use super::Told;

/// What can be asked of it.
#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum Counter {
    /// Add a number, which may be negative
    Add {
        /// The number, from -2^63 to 2^63 - 1
        #[arg(allow_negative_numbers = true)]
        amount: i64,
    },
    /// Read the value
    Get,
}

impl Counter {
    /// The operation in bytes.
    pub(super) fn encode(&self) -> anyhow::Result<Bytes> {
        let command = match self {
            Self::Add { amount } => counter::Command::Add(*amount),
            Self::Get => counter::Command::Get,
        };
        Ok(codec::encode_serde(&command)?.into())
    }
}

/// What it answered.
pub(super) fn told(reply: &[u8]) -> anyhow::Result<Told> {
    Ok(Told::found(codec::decode_serde::<i64>(reply)?.to_string()))
}
