//! A ledger: accounts by name, and money that moves between them.

use std::collections::BTreeMap;

use quorate::{Application, Context};
use serde::{Deserialize, Serialize};

/// The state: what each account holds. Every replica has it.
#[derive(Default, Serialize, Deserialize)]
pub struct Ledger(BTreeMap<String, u64>);

/// What clients ask. The reply is what `to` holds then, or why nothing was done.
#[derive(Debug, Serialize, Deserialize)]
pub enum Command {
    Deposit { to: String, amount: u64 },
    Transfer { from: String, to: String, amount: u64 },
}

impl Application for Ledger {
    type Command = Command;
    type Reply = Result<u64, String>;

    /// Depends on nothing but the state, the command and the context: all replicas must do the same.
    fn apply(&mut self, _context: &Context, command: Command) -> Self::Reply {
        let (to, amount) = match command {
            Command::Deposit { to, amount } => (to, amount),
            Command::Transfer { from, to, amount } => {
                let balance = self.0.get_mut(&from).ok_or("no such account")?;
                *balance = balance.checked_sub(amount).ok_or("not enough money")?;
                (to, amount)
            }
        };
        let balance = self.0.entry(to).or_default();
        *balance = balance.saturating_add(amount);
        Ok(*balance)
    }
}

/// What the testbed's clients and the tests ask: the `n`th command of a load.
pub fn operation(n: u64) -> Command {
    let [from, to] = [n % 10, n % 7].map(|account| format!("account-{account}"));
    let amount = 1 + n % 5;
    match n % 3 {
        0 => Command::Deposit { to, amount },
        _ => Command::Transfer { from, to, amount },
    }
}
