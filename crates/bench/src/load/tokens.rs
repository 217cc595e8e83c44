//! The load on the ledger: whose the accounts are, who gives them tokens, and who sends them to whom.
//!
//! A transfer carries its account's nonce, so it is told apart from every other one, and what became of it can be read
//! from the ledger afterwards. Each client numbers its own, which is why they have to execute in the order in which they
//! were asked.

use std::time::Duration;

use bytes::Bytes;
use quorate_apps::ledger::{Account, Command, Reply};
use quorate_node::client::Caller;
use quorate_protocol::codec;
use quorate_protocol::crypto::SecretKey;

use super::read::ask;
use super::{LoadConfig, LoadError, join_all};
use crate::audit::Observed;

/// Tokens that an account gets: more than it can send one by one, and all of them together fit 64 bits.
const ENDOWMENT: u64 = 1 << 40;
/// Operations of which the last reads.
const TURN: u64 = 4;

/// The accounts of all clients, and the nonce of the first transfer from each.
#[derive(Debug)]
pub(super) struct Purses {
    accounts: Vec<Account>,
    nonces: Vec<u64>,
}

/// The key of a client's account.
pub(super) fn key(config: &LoadConfig, client: usize) -> SecretKey {
    let mut seed = config.context.cluster.0.0;
    for (byte, part) in seed.iter_mut().zip((client as u64 + 1).to_le_bytes()) {
        *byte ^= part;
    }
    SecretKey::from_seed(&seed)
}

fn accounts(config: &LoadConfig) -> Vec<Account> {
    (0..config.clients).map(|client| Account(key(config, client).public().0)).collect()
}

/// Transfers among the first so many operations behind the one that makes a session.
pub(crate) fn transfers_before(index: u64) -> u64 {
    let step = index.saturating_sub(1);
    step - step / TURN
}

/// Whether that operation is a transfer.
pub(crate) fn transfers(index: u64) -> bool {
    index.checked_sub(1).is_some_and(|step| step % TURN != TURN - 1)
}

impl Purses {
    /// Gives tokens to every account that has none, by the word of the first client.
    pub(super) async fn endow(
        config: &LoadConfig,
        callers: &[Caller],
        patience: Duration,
    ) -> Result<Self, LoadError> {
        if config.manner.first_client > 0 {
            return Err(LoadError::OtherMachines);
        }
        let accounts = accounts(config);
        let read = callers.iter().zip(&accounts).map(|(caller, of)| balance(caller, *of, patience));
        let (mut nonces, mut poor) = (Vec::new(), Vec::new());
        for (account, held) in accounts.iter().zip(join_all(read).await) {
            let (tokens, nonce) = held?;
            nonces.push(nonce);
            if tokens == 0 {
                poor.push(*account);
            }
        }
        if let (Some(issuer), Some(caller), Some(nonce)) =
            (accounts.first(), callers.first(), nonces.first_mut())
        {
            let issues: Vec<Command> =
                (*nonce..).zip(&poor).map(|(nonce, to)| issue(*issuer, *to, nonce)).collect();
            for issued in join_all(issues.iter().map(|command| ask(caller, command, patience))).await {
                match issued? {
                    Reply::Moved { .. } => {}
                    other => return Err(LoadError::NoTokens(format!("{other:?}"))),
                }
            }
            *nonce += poor.len() as u64;
        }
        Ok(Self { accounts, nonces })
    }

    /// The nonce of each client's first transfer.
    pub(super) fn nonces(&self) -> Vec<u64> {
        self.nonces.clone()
    }

    /// The `index`th operation of a client.
    pub(super) fn operation(&self, client: usize, index: u64) -> Bytes {
        let (from, first) = (self.accounts[client], self.nonces[client]);
        let command = if transfers(index) {
            let before = transfers_before(index);
            let others = self.accounts.len() as u64;
            // Everybody sends to everybody in turn.
            let to = usize::try_from((client as u64 + 1 + before) % others).unwrap_or_default();
            Command::Transfer { from, to: self.accounts[to], amount: 1, nonce: first + before }
        } else {
            Command::Balance { of: from }
        };
        codec::encode_serde(&command).expect("the workload's commands encode").into()
    }
}

fn issue(from: Account, to: Account, nonce: u64) -> Command {
    Command::Issue { from, to, amount: ENDOWMENT, nonce }
}

/// What an account has, and the nonce that is due.
async fn balance(caller: &Caller, of: Account, patience: Duration) -> Result<(u64, u64), LoadError> {
    match ask(caller, &Command::Balance { of }, patience).await? {
        Reply::Holds { balance, nonce } => Ok((balance, nonce)),
        _ => Err(LoadError::Unread),
    }
}

/// What the ledger says of the accounts of the load, to somebody who reads only.
pub(super) async fn observe(
    caller: &Caller,
    config: &LoadConfig,
    patience: Duration,
) -> Result<Observed, LoadError> {
    let read = accounts(config).into_iter().map(|of| balance(caller, of, patience));
    let held: Vec<(u64, u64)> = join_all(read).await.into_iter().collect::<Result<_, _>>()?;
    let Reply::Supply { tokens, .. } = ask(caller, &Command::Supply, patience).await? else {
        return Err(LoadError::Unread);
    };
    let sum: u64 = held.iter().map(|(balance, _)| balance).sum();
    Ok(Observed::Tokens { nonces: held.iter().map(|(_, nonce)| *nonce).collect(), balanced: sum == tokens })
}

#[cfg(test)]
mod tests {
    use quorate_apps::ledger::Ledger;
    use quorate_protocol::application::{Application, Context};
    use quorate_protocol::types::{ClientId, PublicKey};

    use super::*;

    #[test]
    fn a_client_that_is_heard_in_order_is_refused_nothing() {
        let accounts: Vec<Account> = (1..4).map(|byte| Account([byte; 32])).collect();
        let by = |account: &Account| Context::for_test(ClientId::of(&PublicKey(account.0)));
        let mut ledger = Ledger::default();
        for (nonce, to) in (0..).zip(&accounts) {
            let issued = ledger.apply(&by(&accounts[0]), issue(accounts[0], *to, nonce));
            assert!(matches!(issued, Reply::Moved { .. }), "{issued:?}");
        }
        let purses = Purses { accounts: accounts.clone(), nonces: vec![3, 0, 0] };
        for index in 1..200 {
            for (client, account) in accounts.iter().enumerate() {
                let operation = purses.operation(client, index);
                let command = codec::decode_serde(&operation).expect("it was encoded a moment ago");
                let reply = ledger.apply(&by(account), command);
                let expected = matches!(reply, Reply::Moved { .. }) == transfers(index);
                assert!(expected && !matches!(reply, Reply::Refused(_)), "{index}: {reply:?}");
            }
        }
    }
}
