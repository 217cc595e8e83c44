//! Locks with leases, for programs that must not do something twice at once: the holder of `name` is its leader.
//!
//! A lock is held until its lease ends by the agreed time, unless it is renewed or released before. The agreed time runs
//! with the replicas' clocks, so a holder that stopped for long may find that it lost the lock while it slept: what it
//! does to the outside carries its *fencing token*, and whatever it acts on refuses a smaller token than one it has seen.
//! Tokens only grow, over all locks together.
//!
//! A holder is a client's key, not a session: it may renew and release after a restart, if it kept the token.

use std::ops::Bound;

use quorate_protocol::application::{Application, ApplicationError, Context, Snapshot};
use quorate_protocol::map::Map;
use quorate_protocol::types::{ClientId, Digest};
use serde::{Deserialize, Serialize};

/// Most bytes of a lock's name.
pub const NAME_BYTES_MAX: usize = 256;
/// Shortest lease, in microseconds: a tenth of a second.
pub const LEASE_US_MIN: u64 = 100_000;
/// Longest lease, in microseconds: a day.
pub const LEASE_US_MAX: u64 = 86_400_000_000;
/// Most locks held at once. Every replica holds them in memory, about 700 bytes each at most.
pub const LOCKS_MAX: u64 = 1 << 18;

/// Leases that have ended which one command removes; more than it can add, so that few are ever left.
const SWEPT: usize = 2;
/// First byte of the map's keys: locks by name, the same by when they end, and the newest token.
const BY_NAME: u8 = 0;
const BY_END: u8 = 1;
const TOKEN: &[u8] = &[2];

/// A lock that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Hash of the key of the client that holds it.
    pub holder: [u8; 32],
    /// Its fencing token.
    pub token: u64,
    /// When the lease ends: agreed time, in microseconds.
    pub until_us: u64,
}

/// What can be asked of [`Locks`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Takes a lock if nobody has it, or lengthens the lease if the client has it: [`Reply::Granted`], otherwise
    /// [`Reply::Taken`].
    Acquire {
        /// Which lock.
        name: String,
        /// How long, in microseconds.
        lease_us: u64,
    },
    /// Lengthens a lease that the client has under this token: [`Reply::Granted`], otherwise [`Reply::Lost`].
    Renew {
        /// Which lock.
        name: String,
        /// The token that it was granted with.
        token: u64,
        /// How long from now on, in microseconds.
        lease_us: u64,
    },
    /// Gives a lock back that the client has under this token: [`Reply::Released`], otherwise [`Reply::Lost`].
    Release {
        /// Which lock.
        name: String,
        /// The token that it was granted with.
        token: u64,
    },
    /// Who holds a lock: [`Reply::Holder`].
    Holder {
        /// Which lock.
        name: String,
    },
}

/// What [`Locks`] answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The client holds the lock.
    Granted(Held),
    /// Somebody else does.
    Taken(Held),
    /// The client does not hold the lock under that token any more.
    Lost,
    /// The lock is free.
    Released,
    /// Who holds it; none if nobody does.
    Holder(Option<Held>),
    /// Nothing was done.
    Refused(Refusal),
}

/// Why a command was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The name is empty or has more than [`NAME_BYTES_MAX`] bytes.
    Name,
    /// The lease is shorter than [`LEASE_US_MIN`] or longer than [`LEASE_US_MAX`].
    Lease,
    /// [`LOCKS_MAX`] locks are held.
    Full,
}

/// All locks that are held, in an authenticated map.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Locks {
    entries: Map,
}

impl Application for Locks {
    type Command = Command;
    type Reply = Reply;

    fn apply(&mut self, context: &Context, command: Command) -> Reply {
        let (now_us, ClientId(Digest(client))) = (context.time().0, context.client());
        self.sweep(now_us);
        match command {
            Command::Acquire { name, lease_us } => self.acquire(&name, lease_us, (client, now_us)),
            Command::Renew { name, token, lease_us } => match self.held_as(&name, token, (client, now_us)) {
                Some(held) => self.grant(&name, lease_us, (held, now_us)),
                None => Reply::Lost,
            },
            Command::Release { name, token } => match self.held_as(&name, token, (client, now_us)) {
                Some(held) => {
                    self.remove(&name, held);
                    Reply::Released
                }
                None => Reply::Lost,
            },
            Command::Holder { name } => Reply::Holder(self.held(&name, now_us)),
        }
    }
}

impl Locks {
    fn acquire(&mut self, name: &str, lease_us: u64, (client, now_us): ([u8; 32], u64)) -> Reply {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Reply::Refused(Refusal::Name);
        }
        match self.held(name, now_us) {
            Some(held) if held.holder != client => return Reply::Taken(held),
            Some(held) => return self.grant(name, lease_us, (held, now_us)),
            None => {}
        }
        if self.entries.len() / 2 >= LOCKS_MAX {
            return Reply::Refused(Refusal::Full);
        }
        let token = self.entries.get(TOKEN).map_or(0, number).saturating_add(1);
        let reply = self.grant(name, lease_us, (Held { holder: client, token, until_us: 0 }, now_us));
        if matches!(reply, Reply::Granted(_)) {
            self.put(TOKEN, &token.to_le_bytes());
        }
        reply
    }

    /// Lets a lock be held for so long from now on. A lease that is renewed never ends sooner than it would have.
    fn grant(&mut self, name: &str, lease_us: u64, (held, now_us): (Held, u64)) -> Reply {
        if !(LEASE_US_MIN..=LEASE_US_MAX).contains(&lease_us) {
            return Reply::Refused(Refusal::Lease);
        }
        self.remove(name, held);
        let held = Held { until_us: now_us.saturating_add(lease_us).max(held.until_us), ..held };
        let mut value = held.holder.to_vec();
        value.extend(held.token.to_le_bytes());
        value.extend(held.until_us.to_le_bytes());
        self.put(&by_name(name), &value);
        self.put(&by_end(name, held.until_us), &[]);
        Reply::Granted(held)
    }

    /// Who holds a lock now.
    fn held(&self, name: &str, now_us: u64) -> Option<Held> {
        self.entries.get(&by_name(name)).and_then(Held::read).filter(|held| now_us < held.until_us)
    }

    /// The same, if it is this client under this token.
    fn held_as(&self, name: &str, token: u64, (client, now_us): ([u8; 32], u64)) -> Option<Held> {
        self.held(name, now_us).filter(|held| held.holder == client && held.token == token)
    }

    /// Forgets leases that have ended.
    fn sweep(&mut self, now_us: u64) {
        for _ in 0..SWEPT {
            let first = self.entries.range(Bound::Included(&[BY_END]), Bound::Excluded(TOKEN)).next();
            let Some((until_us, name)) = first.and_then(|(key, _)| ended(key)) else { return };
            if until_us > now_us {
                return;
            }
            let name = name.to_owned();
            self.entries.remove(&by_name(&name));
            self.entries.remove(&by_end(&name, until_us));
        }
    }

    fn remove(&mut self, name: &str, held: Held) {
        // What is written under the name may be a lease that ended and was not swept yet.
        let written = self.entries.get(&by_name(name)).and_then(Held::read).unwrap_or(held);
        self.entries.remove(&by_name(name));
        self.entries.remove(&by_end(name, written.until_us));
    }

    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.entries.insert(key, value).expect("entries of a lock are small, and there are not so many");
    }
}

impl Held {
    fn read(value: &[u8]) -> Option<Self> {
        let (holder, rest) = value.split_first_chunk()?;
        let (token, until) = rest.split_first_chunk()?;
        let until_us = u64::from_le_bytes(until.try_into().ok()?);
        Some(Self { holder: *holder, token: u64::from_le_bytes(*token), until_us })
    }
}

fn number(value: &[u8]) -> u64 {
    value.try_into().map_or(0, u64::from_le_bytes)
}

fn by_name(name: &str) -> Vec<u8> {
    [&[BY_NAME], name.as_bytes()].concat()
}

/// Ascends with the end of the lease.
fn by_end(name: &str, until_us: u64) -> Vec<u8> {
    [&[BY_END], until_us.to_be_bytes().as_slice(), name.as_bytes()].concat()
}

/// What [`by_end`] made a key of.
fn ended(key: &[u8]) -> Option<(u64, &str)> {
    let (until_us, name) = key.strip_prefix(&[BY_END])?.split_first_chunk()?;
    Some((u64::from_be_bytes(*until_us), std::str::from_utf8(name).ok()?))
}

impl Snapshot for Locks {
    const SAVES_ANEW: bool = true;

    fn save(&mut self, map: &mut Map) -> Result<(), ApplicationError> {
        self.entries.save(map)
    }

    fn load(map: &Map) -> Result<Self, ApplicationError> {
        let is_ours = |(key, value): (&[u8], &[u8])| match key.first() {
            Some(&BY_NAME) => {
                let name = std::str::from_utf8(&key[1..]).ok();
                let held = name.zip(Held::read(value));
                held.is_some_and(|(name, held)| map.get(&by_end(name, held.until_us)).is_some())
            }
            Some(&BY_END) => {
                let name = ended(key).map(|(_, name)| name);
                name.is_some_and(|name| map.get(&by_name(name)).is_some())
            }
            _ => key == TOKEN && value.len() == 8,
        };
        if !map.range(Bound::Unbounded, Bound::Unbounded).all(is_ours) {
            return Err(ApplicationError::Decode("an entry is no lock".to_owned()));
        }
        Ok(Self { entries: map.clone() })
    }

    fn changed_bytes(&self) -> u64 {
        self.entries.changed_bytes()
    }
}

#[cfg(test)]
mod tests;
