//! A ledger of tokens: accounts by public key, transfers that their owners sign.
//!
//! Whoever asks is known by key, because the framework admits no command without its client's signature; a transfer needs
//! no other. Each transfer also carries the *nonce* of the account it is from, which counts that account's transfers: one
//! that is asked for again by a client that never heard the answer, even years later and in another session, is refused
//! and moves nothing twice.
//!
//! There are as many tokens as were issued, and only one account may issue them: the one that did so first.

use std::fmt;
use std::ops::Bound;
use std::str::FromStr;

use quorate_protocol::application::{Application, ApplicationError, Context, Snapshot};
use quorate_protocol::map::Map;
use quorate_protocol::types::{ClientId, PublicKey};
use serde::{Deserialize, Serialize};

/// Most accounts that ever had a token. Every replica holds them in memory, about 60 bytes each.
pub const ACCOUNTS_MAX: u64 = 1 << 22;
/// Bytes of an account's name.
const NAME_BYTES: usize = 32;
/// Where the map says who issues, and how much there is. No account has so short a name.
const ISSUER: &[u8] = b"issuer";

/// An account: the Ed25519 public key of whoever it belongs to. Tokens sent to a key that nobody holds are gone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Account(pub [u8; NAME_BYTES]);

/// What can be asked of a [`Ledger`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Makes tokens: [`Reply::Moved`] with what the receiver has then. Whoever does it first is the only one who may.
    Issue {
        /// Whose word it is: the account of the client that asks.
        from: Account,
        /// Whose they are.
        to: Account,
        /// How many.
        amount: u64,
        /// The nonce of `from`.
        nonce: u64,
    },
    /// Moves tokens from one account to another: [`Reply::Moved`] with what the sender has then.
    Transfer {
        /// Whose they are now: the account of the client that asks.
        from: Account,
        /// Whose they shall be.
        to: Account,
        /// How many.
        amount: u64,
        /// The nonce of `from`: how many commands of that account changed anything so far.
        nonce: u64,
    },
    /// Reads an account: [`Reply::Holds`].
    Balance {
        /// Which.
        of: Account,
    },
    /// Reads how many tokens there are: [`Reply::Supply`].
    Supply,
}

/// What a [`Ledger`] answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// It was done.
    Moved {
        /// Tokens of the account that the command names first, or of the receiver of what was issued.
        balance: u64,
        /// The nonce that `from` has to use next.
        nonce: u64,
    },
    /// What an account has.
    Holds {
        /// Its tokens.
        balance: u64,
        /// The nonce it has to use next.
        nonce: u64,
    },
    /// All tokens.
    Supply {
        /// How many.
        tokens: u64,
        /// Who may make more; none while there are none.
        issuer: Option<Account>,
    },
    /// Nothing was done.
    Refused(Refusal),
}

/// Why a command was not carried out. It changed nothing, the nonce neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The client that asked does not hold the key of the account.
    NotYours,
    /// Another nonce is due: the command was carried out before, or one that comes before it was not.
    Nonce {
        /// The one that is due.
        due: u64,
    },
    /// There are not so many tokens in the account.
    Insufficient {
        /// How many there are.
        balance: u64,
    },
    /// Another account issues tokens.
    NotIssuer,
    /// A transfer of nothing.
    Nothing,
    /// There would be more tokens than 2^64 - 1.
    Overflow,
    /// There are [`ACCOUNTS_MAX`] accounts; no new one can receive anything.
    Full,
}

/// What is known of one account.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Holding {
    balance: u64,
    nonce: u64,
}

/// Who issues, and how much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Issue {
    by: Account,
    supply: u64,
}

/// The accounts, in an authenticated map: a checkpoint costs what changed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ledger {
    accounts: Map,
}

impl Application for Ledger {
    type Command = Command;
    type Reply = Reply;

    fn apply(&mut self, context: &Context, command: Command) -> Reply {
        let done = match command {
            Command::Issue { from, to, amount, nonce } => {
                self.authorise(context, from, nonce, amount).and_then(|_| self.issue((from, to), amount))
            }
            Command::Transfer { from, to, amount, nonce } => self
                .authorise(context, from, nonce, amount)
                .and_then(|holding| self.transfer((from, holding), to, amount)),
            Command::Balance { .. } | Command::Supply => return self.read(command).unwrap_or(NOTHING),
        };
        done.unwrap_or_else(Reply::Refused)
    }

    fn query(&self, command: Command) -> Option<Reply> {
        self.read(command)
    }
}

/// What everybody has who was never heard of.
const NOTHING: Reply = Reply::Holds { balance: 0, nonce: 0 };

impl Ledger {
    fn read(&self, command: Command) -> Option<Reply> {
        match command {
            Command::Balance { of } => {
                let Holding { balance, nonce } = self.holding(of);
                Some(Reply::Holds { balance, nonce })
            }
            Command::Supply => {
                let issued = self.issued();
                let tokens = issued.map_or(0, |issue| issue.supply);
                Some(Reply::Supply { tokens, issuer: issued.map(|issue| issue.by) })
            }
            Command::Issue { .. } | Command::Transfer { .. } => None,
        }
    }

    /// Whether the client may act for an account, with this nonce: what the account has.
    fn authorise(
        &self,
        context: &Context,
        from: Account,
        nonce: u64,
        amount: u64,
    ) -> Result<Holding, Refusal> {
        if ClientId::of(&PublicKey(from.0)) != context.client() {
            return Err(Refusal::NotYours);
        }
        let holding = self.holding(from);
        if holding.nonce != nonce {
            return Err(Refusal::Nonce { due: holding.nonce });
        }
        if amount == 0 { Err(Refusal::Nothing) } else { Ok(holding) }
    }

    fn issue(&mut self, (from, to): (Account, Account), amount: u64) -> Result<Reply, Refusal> {
        let issued = self.issued().unwrap_or(Issue { by: from, supply: 0 });
        if issued.by != from {
            return Err(Refusal::NotIssuer);
        }
        let supply = issued.supply.checked_add(amount).ok_or(Refusal::Overflow)?;
        self.admit(&[from, to])?;
        let mut value = from.0.to_vec();
        value.extend(supply.to_le_bytes());
        self.put(ISSUER, &value);
        // No account has more than all tokens together, so nothing overflows from here on.
        self.change(to, |holding| holding.balance += amount);
        self.change(from, |holding| holding.nonce += 1);
        Ok(Reply::Moved { balance: self.holding(to).balance, nonce: self.holding(from).nonce })
    }

    fn transfer(
        &mut self,
        (from, holding): (Account, Holding),
        to: Account,
        amount: u64,
    ) -> Result<Reply, Refusal> {
        if holding.balance < amount {
            return Err(Refusal::Insufficient { balance: holding.balance });
        }
        self.admit(&[to])?;
        self.change(from, |holding| {
            holding.balance -= amount;
            holding.nonce += 1;
        });
        self.change(to, |holding| holding.balance += amount);
        let Holding { balance, nonce } = self.holding(from);
        Ok(Reply::Moved { balance, nonce })
    }

    /// Whether there is room for those of these accounts that are new.
    fn admit(&self, accounts: &[Account]) -> Result<(), Refusal> {
        let new = accounts.iter().filter(|account| self.accounts.get(&account.0).is_none()).count() as u64;
        if new > 0 && self.accounts.len() + new > ACCOUNTS_MAX { Err(Refusal::Full) } else { Ok(()) }
    }

    fn holding(&self, account: Account) -> Holding {
        self.accounts.get(&account.0).and_then(Holding::read).unwrap_or_default()
    }

    fn issued(&self) -> Option<Issue> {
        self.accounts.get(ISSUER).and_then(Issue::read)
    }

    fn change(&mut self, account: Account, by: impl FnOnce(&mut Holding)) {
        let mut holding = self.holding(account);
        by(&mut holding);
        let mut value = holding.balance.to_le_bytes().to_vec();
        value.extend(holding.nonce.to_le_bytes());
        self.put(&account.0, &value);
    }

    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.accounts.insert(key, value).expect("entries of an account are small, and there are not so many");
    }
}

impl Holding {
    fn read(value: &[u8]) -> Option<Self> {
        let (balance, nonce) = value.split_first_chunk()?;
        let nonce = nonce.try_into().ok()?;
        Some(Self { balance: u64::from_le_bytes(*balance), nonce: u64::from_le_bytes(nonce) })
    }
}

impl Issue {
    fn read(value: &[u8]) -> Option<Self> {
        let (by, supply) = value.split_first_chunk()?;
        Some(Self { by: Account(*by), supply: u64::from_le_bytes(supply.try_into().ok()?) })
    }
}

impl Snapshot for Ledger {
    const SAVES_ANEW: bool = true;

    fn save(&mut self, map: &mut Map) -> Result<(), ApplicationError> {
        self.accounts.save(map)
    }

    fn load(map: &Map) -> Result<Self, ApplicationError> {
        let strange = |what: &str| ApplicationError::Decode(what.to_owned());
        let (mut sum, mut supply) = (0_u64, 0);
        for (key, value) in map.range(Bound::Unbounded, Bound::Unbounded) {
            if key == ISSUER {
                supply = Issue::read(value).ok_or_else(|| strange("no issuer is written so"))?.supply;
                continue;
            }
            let holding = Holding::read(value).filter(|_| key.len() == NAME_BYTES);
            let holding = holding.ok_or_else(|| strange("an entry is no account"))?;
            sum = sum.checked_add(holding.balance).ok_or_else(|| strange("too many tokens"))?;
        }
        if sum != supply {
            return Err(strange("the accounts do not hold what was issued"));
        }
        Ok(Self { accounts: map.clone() })
    }

    fn changed_bytes(&self) -> u64 {
        self.accounts.changed_bytes()
    }
}

/// The 64 digits of the key.
impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&PublicKey(self.0), f)
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is no account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoAccount;

impl fmt::Display for NoAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an account is a public key: 64 digits from 0 to f")
    }
}

impl std::error::Error for NoAccount {}

impl FromStr for Account {
    type Err = NoAccount;

    fn from_str(text: &str) -> Result<Self, NoAccount> {
        text.parse().map(|PublicKey(key)| Self(key)).map_err(|_| NoAccount)
    }
}

#[cfg(test)]
mod tests;
