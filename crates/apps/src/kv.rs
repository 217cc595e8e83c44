//! A replicated ordered map from text to bytes.
//!
//! It lives in an authenticated map, so that a checkpoint costs what changed since the last one, however much there is.

use std::fmt;
use std::ops::Bound;

use quorate_protocol::application::{Application, ApplicationError, Context, Snapshot};
use quorate_protocol::map::Map;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Most bytes of a key.
pub const KEY_BYTES_MAX: usize = 1024;
/// Most bytes of a value.
pub const VALUE_BYTES_MAX: usize = 64 << 10;
/// Most entries one scan returns.
pub const SCAN_ENTRIES_MAX: usize = 1000;
/// Most bytes of keys and values one scan returns.
pub const SCAN_BYTES_MAX: usize = 128 << 10;
/// Most bytes of all keys and values, each with [`ENTRY_BYTES`] more. Every replica holds them in memory.
pub const STATE_BYTES_MAX: u64 = 1 << 30;
/// What an entry takes besides its key and value: their two lengths.
pub const ENTRY_BYTES: usize = 6;

/// A value: any bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Value(pub Vec<u8>);

/// The map.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Store {
    entries: Map,
}

impl Snapshot for Store {
    const SAVES_ANEW: bool = true;

    fn save(&mut self, map: &mut Map) -> Result<(), ApplicationError> {
        self.entries.save(map)
    }

    fn load(map: &Map) -> Result<Self, ApplicationError> {
        let is_text = |(key, _): (&[u8], &[u8])| std::str::from_utf8(key).is_ok();
        if !map.range(Bound::Unbounded, Bound::Unbounded).all(is_text) {
            return Err(ApplicationError::Decode("a key is no text".to_owned()));
        }
        Ok(Self { entries: map.clone() })
    }

    fn changed_bytes(&self) -> u64 {
        self.entries.changed_bytes()
    }
}

/// What can be asked of a [`Store`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Reads the value of a key: [`Reply::Value`].
    Get {
        /// The key.
        key: String,
    },
    /// Sets the value of a key: [`Reply::Stored`].
    Put {
        /// The key.
        key: String,
        /// Its new value.
        value: Value,
    },
    /// Removes a key: [`Reply::Deleted`].
    Delete {
        /// The key.
        key: String,
    },
    /// Sets or removes a key if its value is the expected one: [`Reply::Swapped`], otherwise [`Reply::Differs`].
    CompareAndSwap {
        /// The key.
        key: String,
        /// What must be there; none if nothing may be.
        expected: Option<Value>,
        /// What shall be there; none to remove it.
        new: Option<Value>,
    },
    /// Lists entries, ascending by key: [`Reply::Entries`].
    Scan {
        /// What the keys begin with.
        prefix: String,
        /// The last key of the previous scan, to go on behind it; empty for the first.
        after: String,
        /// Most entries wanted; at most [`SCAN_ENTRIES_MAX`] are returned.
        limit: u32,
    },
}

/// What a [`Store`] answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// The value, if the key is there.
    Value(Option<Value>),
    /// The value is set.
    Stored {
        /// Whether another value was there before.
        replaced: bool,
    },
    /// The key is not there now.
    Deleted {
        /// Whether it was there before.
        existed: bool,
    },
    /// The value was the expected one, and is the new one now.
    Swapped,
    /// The value is not the expected one, and stays.
    Differs {
        /// What is there.
        current: Option<Value>,
    },
    /// Entries, ascending by key.
    Entries {
        /// Keys and values.
        entries: Vec<(String, Value)>,
        /// Whether there are more behind the last.
        more: bool,
    },
    /// Nothing was done.
    Refused(Refusal),
}

/// Why a command was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The key has more than [`KEY_BYTES_MAX`] bytes.
    KeyTooLong,
    /// The value has more than [`VALUE_BYTES_MAX`] bytes.
    ValueTooLong,
    /// The map would take more than [`STATE_BYTES_MAX`] bytes. Delete something.
    StoreFull,
}

impl Application for Store {
    type Command = Command;
    type Reply = Reply;

    fn apply(&mut self, _context: &Context, command: Command) -> Reply {
        match command {
            Command::Get { key } => self.get(&key),
            Command::Put { key, value } => match self.set(&key, Some(&value)) {
                Ok(replaced) => Reply::Stored { replaced },
                Err(refusal) => Reply::Refused(refusal),
            },
            Command::Delete { key } => match self.set(&key, None) {
                Ok(existed) => Reply::Deleted { existed },
                Err(refusal) => Reply::Refused(refusal),
            },
            Command::CompareAndSwap { key, expected, new } => {
                self.compare_and_swap(&key, expected.as_ref(), new.as_ref())
            }
            Command::Scan { prefix, after, limit } => self.scan(&prefix, &after, limit),
        }
    }

    fn query(&self, command: Command) -> Option<Reply> {
        match command {
            Command::Get { key } => Some(self.get(&key)),
            Command::Scan { prefix, after, limit } => Some(self.scan(&prefix, &after, limit)),
            Command::Put { .. } | Command::Delete { .. } | Command::CompareAndSwap { .. } => None,
        }
    }
}

impl Store {
    /// Entries in the map.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.entries.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Bytes of all entries.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.entries.bytes()
    }

    fn value(&self, key: &str) -> Option<Value> {
        self.entries.get(key.as_bytes()).map(|value| Value(value.to_vec()))
    }

    fn get(&self, key: &str) -> Reply {
        Reply::Value(self.value(key))
    }

    /// Sets or removes a key; says whether it was there.
    fn set(&mut self, key: &str, value: Option<&Value>) -> Result<bool, Refusal> {
        self.set_within(STATE_BYTES_MAX, key, value)
    }

    fn set_within(&mut self, most: u64, key: &str, value: Option<&Value>) -> Result<bool, Refusal> {
        if key.len() > KEY_BYTES_MAX {
            return Err(Refusal::KeyTooLong);
        }
        let Some(Value(value)) = value else {
            return Ok(self.entries.remove(key.as_bytes()));
        };
        if value.len() > VALUE_BYTES_MAX {
            return Err(Refusal::ValueTooLong);
        }
        let old = self.entries.get(key.as_bytes()).map_or(0, |old| entry_bytes(key, old));
        let bytes = self.entries.bytes() - old as u64 + entry_bytes(key, value) as u64;
        if bytes > most {
            return Err(Refusal::StoreFull);
        }
        self.entries.insert(key.as_bytes(), value).map_err(|_| Refusal::StoreFull)
    }

    fn compare_and_swap(&mut self, key: &str, expected: Option<&Value>, new: Option<&Value>) -> Reply {
        let current = self.value(key);
        if current.as_ref() != expected {
            return Reply::Differs { current };
        }
        match self.set(key, new) {
            Ok(_) => Reply::Swapped,
            Err(refusal) => Reply::Refused(refusal),
        }
    }

    fn scan(&self, prefix: &str, after: &str, limit: u32) -> Reply {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(SCAN_ENTRIES_MAX);
        // Without a key to go on behind, even the empty key is one to return.
        let first = after.is_empty() || after < prefix;
        let from = if first { Bound::Included(prefix.as_bytes()) } else { Bound::Excluded(after.as_bytes()) };
        let mut matching = self.entries.range(from, Bound::Unbounded);
        let (mut entries, mut bytes) = (Vec::new(), 0);
        while let Some((key, value)) = matching.next().filter(|(key, _)| key.starts_with(prefix.as_bytes())) {
            let key = String::from_utf8_lossy(key).into_owned();
            bytes += entry_bytes(&key, value);
            if entries.len() == limit || bytes > SCAN_BYTES_MAX {
                return Reply::Entries { entries, more: true };
            }
            entries.push((key, Value(value.to_vec())));
        }
        Reply::Entries { entries, more: false }
    }
}

fn entry_bytes(key: &str, value: &[u8]) -> usize {
    ENTRY_BYTES + key.len() + value.len()
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().to_vec())
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

// A derived form would write the bytes as a list of numbers, one call for each.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(ValueVisitor)
    }
}

struct ValueVisitor;

impl Visitor<'_> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Value, E> {
        Ok(Value(bytes.to_vec()))
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Value, E> {
        Ok(Value(bytes))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
