//! A small application whose commands and replies are words, so that traces can be read.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_protocol::application::{ApplicationError, Context, RejectedCommand, StateMachine};

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
    entries: BTreeMap<String, String>,
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
}

impl StateMachine for Words {
    fn apply(&mut self, _context: &Context, command: &[u8]) -> Result<Bytes, RejectedCommand> {
        let text = std::str::from_utf8(command).map_err(|_| RejectedCommand)?;
        let words: Vec<&str> = text.split_whitespace().collect();
        let reply = match words.as_slice() {
            ["put", key, value] => {
                self.entries.insert((*key).to_owned(), (*value).to_owned());
                "ok".to_owned()
            }
            ["add", key, amount] => {
                let amount: i64 = amount.parse().map_err(|_| RejectedCommand)?;
                let entry = self.entries.entry((*key).to_owned()).or_default();
                let sum = entry.parse::<i64>().unwrap_or(0).wrapping_add(amount);
                *entry = sum.to_string();
                sum.to_string()
            }
            ["get", key] => self.entries.get(*key).cloned().unwrap_or_else(|| "none".to_owned()),
            _ => return Err(RejectedCommand),
        };
        Ok(reply.into())
    }

    fn snapshot(&self) -> Result<Vec<u8>, ApplicationError> {
        let lines = self.entries.iter().map(|(key, value)| format!("{key} {value}\n"));
        Ok(lines.collect::<String>().into_bytes())
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), ApplicationError> {
        let wrong = || ApplicationError::Decode("a line is no key and value".to_owned());
        let text = std::str::from_utf8(snapshot).map_err(|_| wrong())?;
        let entry = |line: &str| line.split_once(' ').map(|(key, value)| (key.to_owned(), value.to_owned()));
        self.entries = text.lines().map(|line| entry(line).ok_or_else(wrong)).collect::<Result<_, _>>()?;
        Ok(())
    }
}
