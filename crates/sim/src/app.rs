//! A small application whose commands and replies are words, so that traces can be read.

use bytes::Bytes;
use quorate_protocol::application::{ApplicationError, Context, RejectedCommand, StateMachine};
use quorate_protocol::map::Map;

use crate::rng::Rng;

/// What a world replicates, and what its clients ask of it.
#[derive(Debug, Clone, Copy)]
pub struct Service {
    /// Makes an application in its first state.
    pub machine: fn() -> Box<dyn StateMachine>,
    /// Makes up a command.
    pub command: fn(&mut Rng) -> Vec<u8>,
}

impl Default for Service {
    fn default() -> Self {
        Self { machine: || Box::new(Words::default()), command: Words::command }
    }
}

/// A map from words to words: `put a 1`, `add a 2`, `get a`.
#[derive(Debug, Clone, Default)]
pub struct Words {
    entries: Map,
}

impl Words {
    fn command(rng: &mut Rng) -> Vec<u8> {
        let key = rng.below(5);
        let amount = rng.below(100);
        match rng.below(3) {
            0 => format!("put k{key} {amount}"),
            1 => format!("add k{key} {amount}"),
            _ => format!("get k{key}"),
        }
        .into_bytes()
    }

    fn get(&self, key: &str) -> Option<String> {
        self.entries.get(key.as_bytes()).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), RejectedCommand> {
        self.entries.insert(key.as_bytes(), value.as_bytes()).map(drop).map_err(|_| RejectedCommand)
    }
}

impl StateMachine for Words {
    fn apply(&mut self, _context: &Context, command: &[u8]) -> Result<Bytes, RejectedCommand> {
        let text = std::str::from_utf8(command).map_err(|_| RejectedCommand)?;
        let words: Vec<&str> = text.split_whitespace().collect();
        let reply = match words.as_slice() {
            ["put", key, value] => {
                self.set(key, value)?;
                "ok".to_owned()
            }
            ["add", key, amount] => {
                let amount: i64 = amount.parse().map_err(|_| RejectedCommand)?;
                let before = self.get(key).and_then(|value| value.parse::<i64>().ok());
                let sum = before.unwrap_or(0).wrapping_add(amount).to_string();
                self.set(key, &sum)?;
                sum
            }
            ["get", key] => self.get(key).unwrap_or_else(|| "none".to_owned()),
            _ => return Err(RejectedCommand),
        };
        Ok(reply.into())
    }

    fn save(&mut self, map: &mut Map) -> Result<(), ApplicationError> {
        map.clone_from(&self.entries);
        self.entries.seal();
        Ok(())
    }

    fn load(&mut self, map: &Map) -> Result<(), ApplicationError> {
        self.entries = map.clone();
        Ok(())
    }

    fn changed_bytes(&self) -> u64 {
        self.entries.changed_bytes()
    }
}
