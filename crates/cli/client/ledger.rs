//! The ledger of tokens, from a terminal.

use std::time::Duration;

use anyhow::bail;
use bytes::Bytes;
use quorate_apps::ledger::{ACCOUNTS_MAX, Account, Command, Refusal, Reply};
use quorate_node::client::Caller;
use quorate_protocol::codec;
use quorate_protocol::message::Outcome;
use serde_json::json;

use super::Told;

/// What can be asked of it. The account that acts is that of the client's key.
#[derive(Debug, Clone, clap::Subcommand)]
pub(crate) enum Ledger {
    /// Make tokens; whoever does it first is the only one who may
    Issue {
        /// How many
        amount: u64,
        /// Whose they are: a public key of 64 digits [default: the own account]
        #[arg(long)]
        to: Option<Account>,
        /// The nonce of the own account [default: the one that is due; give it to repeat a command safely]
        #[arg(long)]
        nonce: Option<u64>,
    },
    /// Move tokens from the own account to another
    Transfer {
        /// How many
        amount: u64,
        /// Whose they shall be: a public key of 64 digits
        #[arg(long)]
        to: Account,
        /// The nonce of the own account [default: the one that is due; give it to repeat a command safely]
        #[arg(long)]
        nonce: Option<u64>,
    },
    /// Read how many tokens an account has, and which nonce is due
    Balance {
        /// A public key of 64 digits [default: the own account]
        account: Option<Account>,
    },
    /// Read how many tokens there are
    Supply,
    /// Print the own account, without asking anybody to do anything
    Account,
}

impl Ledger {
    /// The operation in bytes; asks for the nonce that is due where none was given.
    pub(super) async fn encode(
        &self,
        (own, caller, patience): (Account, &Caller, Duration),
    ) -> anyhow::Result<Bytes> {
        let due = async |given: Option<u64>| match given {
            Some(nonce) => anyhow::Ok(nonce),
            None => due(own, caller, patience).await,
        };
        let command = match *self {
            Self::Issue { amount, to, nonce } => {
                Command::Issue { from: own, to: to.unwrap_or(own), amount, nonce: due(nonce).await? }
            }
            Self::Transfer { amount, to, nonce } => {
                Command::Transfer { from: own, to, amount, nonce: due(nonce).await? }
            }
            Self::Balance { account } => Command::Balance { of: account.unwrap_or(own) },
            Self::Supply => Command::Supply,
            Self::Account => Command::Balance { of: own },
        };
        Ok(codec::encode_serde(&command)?.into())
    }
}

/// The nonce that an account has to use next.
async fn due(own: Account, caller: &Caller, patience: Duration) -> anyhow::Result<u64> {
    let read = codec::encode_serde(&Command::Balance { of: own })?;
    let answer = caller.call_within(read.into(), patience).await?;
    match answer.outcome {
        Outcome::Done(reply) => match codec::decode_serde(&reply)? {
            Reply::Holds { nonce, .. } => Ok(nonce),
            other => bail!("the ledger answered {other:?} to the question for a balance"),
        },
        refused => bail!("the cluster agreed not to execute this: {refused:?}"),
    }
}

/// What it answered.
pub(super) fn told(reply: &[u8]) -> anyhow::Result<Told> {
    let holding = |balance: u64, nonce: u64| json!({ "balance": balance, "next_nonce": nonce });
    let (text, fields) = match codec::decode_serde::<Reply>(reply)? {
        Reply::Refused(refusal) => bail!("refused: {}", refusal_of(refusal)),
        Reply::Moved { balance, nonce } => {
            (format!("done; balance {balance}, next nonce {nonce}"), holding(balance, nonce))
        }
        Reply::Holds { balance, nonce } => {
            (format!("balance {balance}, next nonce {nonce}"), holding(balance, nonce))
        }
        Reply::Supply { tokens, issuer } => {
            let by = issuer.map_or_else(String::new, |issuer| format!(", issued by {issuer}"));
            let issuer = issuer.map(|issuer| issuer.to_string());
            (format!("{tokens} tokens{by}"), json!({ "tokens": tokens, "issuer": issuer }))
        }
    };
    Ok(Told::found(text).with_fields(fields))
}

fn refusal_of(refusal: Refusal) -> String {
    match refusal {
        Refusal::NotYours => "the account belongs to another key; give that one with --key".to_owned(),
        Refusal::Nonce { due } => {
            format!("nonce {due} is due: what you ask for was done before, or something else was")
        }
        Refusal::Insufficient { balance } => format!("the account has {balance} tokens"),
        Refusal::NotIssuer => {
            "another account issues the tokens; see `quorate client ledger supply`".to_owned()
        }
        Refusal::Nothing => "a transfer is of one token at least".to_owned(),
        Refusal::Overflow => "there can be no more than 2^64 - 1 tokens".to_owned(),
        Refusal::Full => format!("there are {ACCOUNTS_MAX} accounts, and room for no more"),
    }
}
