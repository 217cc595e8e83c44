//! What the callers ask, and of which keys.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use quorate_apps::{counter, kv, ledger, lock};
use quorate_protocol::codec;
use serde::{Deserialize, Serialize};

/// Applications that there is a workload for.
pub const APPLICATIONS: [&str; 5] = ["counter", "kv", "ledger", "lock", "null"];

/// Keys that each client writes in turn, in a store that began empty.
const KEYS_PER_CLIENT: u64 = 64;
/// Operations on a filled store of which the first writes a new key.
const NEW_KEY_EVERY: u64 = 128;
/// Bytes of every key.
pub const KEY_BYTES: usize = 16;
/// Bits of a client's own keys in a key's number.
const KEY_BITS: u32 = 40;
/// How often a key is drawn until it lies where puts go; a share of one per cent is missed once in 30000 times.
const DRAWS_MAX: u64 = 1024;
/// Operations of one's own that are measured.
const SAMPLES: u64 = 64;
/// Locks that all clients want.
const LOCKS: u64 = 16;

/// What the callers ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Workload {
    /// Three puts and a get, in turn.
    Kv(Keys),
    /// Additions to one counter.
    Counter,
    /// Three transfers of one token from the client's account to those of the others, and a read of its balance, in turn.
    Ledger,
    /// Three attempts to take one of a few locks, and a question who has it, in turn. Whoever has it then keeps it for
    /// another tenth of a second.
    Lock,
    /// Bytes without meaning.
    Null,
    /// What [`Operations`] make up.
    Own,
}

/// What clients ask of an application that is none of the ready ones: the first operation of all, the second, and so on.
#[derive(Clone)]
pub struct Operations(Arc<dyn Fn(u64) -> Vec<u8> + Send + Sync>);

impl Operations {
    /// Those that a function makes, each asked once.
    #[must_use]
    pub fn new(make: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self(Arc::new(make))
    }

    pub(super) fn make(&self, number: u64) -> Bytes {
        (self.0)(number).into()
    }

    /// Bytes of one of them, about: the mean of the first.
    #[must_use]
    pub fn bytes(&self) -> u32 {
        let all: usize = (0..SAMPLES).map(|number| (self.0)(number).len()).sum();
        u32::try_from(all as u64 / SAMPLES).unwrap_or(u32::MAX)
    }
}

impl fmt::Debug for Operations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Operations").finish_non_exhaustive()
    }
}

/// Which keys a client's operations are about. Only one client writes a key, so it knows what must be there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// Keys that each client puts before anything else: one each with its first operations. What follows writes to any
    /// of them at random, and now and then to a new one. With none, few keys are written in turn.
    pub filled: u64,
    /// So many of all 2^64 names, the last ones, are not written any more once the store is filled.
    pub cold: u64,
}

impl Keys {
    /// Which of its keys a client's `index`th operation is about.
    pub(crate) fn key(self, client: usize, index: u64) -> u64 {
        let Some(step) = index.checked_sub(self.filled) else { return index };
        match self.filled {
            0 => step / 4 % KEYS_PER_CLIENT,
            // What was put just before.
            _ if self.reads(index) => self.put(client, index - 1),
            _ => self.put(client, index),
        }
    }

    /// The same, of a put to a store that is filled.
    fn put(self, client: usize, index: u64) -> u64 {
        let step = index - self.filled;
        let is_hot = |key: &u64| Self::number(client, *key) <= u64::MAX - self.cold;
        let new = self.filled + step / NEW_KEY_EVERY;
        if step.is_multiple_of(NEW_KEY_EVERY) && is_hot(&new) {
            return new;
        }
        let draw = |attempt: u64| scramble(index.wrapping_add(attempt << KEY_BITS)) % self.filled;
        (0..DRAWS_MAX).map(draw).find(is_hot).unwrap_or_else(|| draw(0))
    }

    /// Whether that operation is a read.
    pub(crate) fn reads(self, index: u64) -> bool {
        index.checked_sub(self.filled).is_some_and(|step| step % 4 == 3)
    }

    /// What a client's key is called. Names lie all over the key space, whoever they belong to.
    pub(crate) fn name(client: usize, key: u64) -> String {
        format!("{:016x}", Self::number(client, key))
    }

    /// A key's name as a number.
    fn number(client: usize, key: u64) -> u64 {
        scramble((client as u64) << KEY_BITS | key)
    }
}

/// One to one, and without any order to be seen.
fn scramble(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl Workload {
    /// The workload for an application.
    #[must_use]
    pub fn of(application: &str) -> Option<Self> {
        match application {
            "kv" => Some(Self::Kv(Keys::default())),
            "counter" => Some(Self::Counter),
            "ledger" => Some(Self::Ledger),
            "lock" => Some(Self::Lock),
            "null" => Some(Self::Null),
            _ => None,
        }
    }

    /// Operations of each client that fill the store, before those that are the load.
    pub(crate) fn filled(self) -> u64 {
        match self {
            Self::Kv(keys) => keys.filled,
            Self::Counter | Self::Ledger | Self::Lock | Self::Null | Self::Own => 0,
        }
    }

    /// The `index`th operation of a client, of about `payload` bytes; what depends on more than that is made by
    /// [`Questions`](super::asking::Questions).
    pub(crate) fn operation(self, client: usize, index: u64, payload: usize) -> Bytes {
        let encoded = match self {
            Self::Null => return Bytes::from(vec![index.to_le_bytes()[0]; payload]),
            Self::Own => return Bytes::new(),
            Self::Ledger => codec::encode_serde(&ledger::Command::Supply),
            Self::Lock => {
                let name = format!("lock-{}", (client as u64).wrapping_add(index) % LOCKS);
                match index % 4 {
                    3 => codec::encode_serde(&lock::Command::Holder { name }),
                    _ => codec::encode_serde(&lock::Command::Acquire { name, lease_us: lock::LEASE_US_MIN }),
                }
            }
            Self::Counter => codec::encode_serde(&counter::Command::Add(1)),
            Self::Kv(keys) => {
                let key = Keys::name(client, keys.key(client, index));
                if keys.reads(index) {
                    codec::encode_serde(&kv::Command::Get { key })
                } else {
                    // A value begins with the number of the put that wrote it, for the audit.
                    let mut value = index.to_le_bytes().to_vec();
                    value.resize(payload.saturating_sub(key.len()).max(value.len()), value[0]);
                    codec::encode_serde(&kv::Command::Put { key, value: kv::Value(value) })
                }
            }
        };
        encoded.expect("the workload's commands encode").into()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_store_is_filled_with_every_key_once_and_then_written_at_random() {
        let keys = Keys { filled: 1_000, cold: 0 };
        let filling: Vec<u64> = (0..1_000).map(|index| keys.key(3, index)).collect();
        assert_eq!(filling, (0..1_000).collect::<Vec<_>>());
        assert!((0..1_000).all(|index| !keys.reads(index)));
        let puts = (1_000..5_000).filter(|index| !keys.reads(*index)).map(|index| keys.key(3, index));
        let (new, old): (Vec<u64>, Vec<u64>) = puts.partition(|key| *key >= 1_000);
        assert_eq!(new, (1_000..1_032).collect::<Vec<_>>(), "each new key once");
        let distinct: BTreeSet<u64> = old.into_iter().collect();
        assert!(distinct.len() > 900, "2968 random writes reach nearly all of 1000 keys: {}", distinct.len());
    }

    #[test]
    fn a_read_is_of_the_key_that_was_put_just_before() {
        for (filled, cold) in [(0, 0), (77, 0), (77, u64::MAX / 2)] {
            let keys = Keys { filled, cold };
            for index in (keys.filled..keys.filled + 1_000).filter(|index| keys.reads(*index)) {
                assert_eq!(keys.key(1, index), keys.key(1, index - 1));
                assert!(!keys.reads(index - 1));
            }
        }
    }

    #[test]
    fn what_is_cold_is_filled_and_not_written_any_more() {
        let keys = Keys { filled: 1_000, cold: u64::MAX / 10 * 9 };
        let is_cold = |index: u64| Keys::name(2, keys.key(2, index)).as_str() >= "1999999999999a00";
        assert!((800..1_000).contains(&(0..1_000).filter(|index| is_cold(*index)).count()));
        assert_eq!((1_000..5_000).filter(|index| is_cold(*index)).count(), 0);
        let new = (1_000..50_000).filter(|index| !keys.reads(*index) && keys.key(2, *index) >= 1_000).count();
        assert!(
            (10..80).contains(&new),
            "one put in 128 is to a new key, and one new key in ten is not cold: {new}"
        );
    }

    #[test]
    fn names_of_all_clients_differ_and_lie_all_over_the_key_space() {
        let names: BTreeSet<String> =
            (0..16).flat_map(|client| (0..500).map(move |key| Keys::name(client, key))).collect();
        assert_eq!(names.len(), 16 * 500);
        assert!(names.iter().all(|name| name.len() == KEY_BYTES));
        let first = |letter: char| names.iter().filter(|name| name.starts_with(letter)).count();
        assert!("0123456789abcdef".chars().all(|letter| (350..650).contains(&first(letter))));
    }

    #[test]
    fn every_application_that_is_listed_has_a_workload_that_it_understands() {
        use quorate_protocol::application::Context;
        use quorate_protocol::types::{ClientId, Digest};
        let context = Context::for_test(ClientId(Digest::ZERO));
        for name in APPLICATIONS {
            let workload = Workload::of(name).expect("it is listed");
            let mut machine = quorate_apps::by_name(name, 0).expect("it is a ready one");
            for index in 0..8 {
                let operation = workload.operation(1, index, 64);
                assert!(machine.apply(&context, &operation).is_ok(), "{name}: operation {index}");
            }
        }
        assert!(Workload::of("none").is_none());
    }

    #[test]
    fn a_put_has_about_the_bytes_that_were_asked_for() {
        let workload = Workload::Kv(Keys { filled: 10, cold: 0 });
        for payload in [1_024, 65_536] {
            let bytes = workload.operation(0, 3, payload).len();
            assert!((payload..payload + 32).contains(&bytes), "{bytes}");
        }
    }
}
