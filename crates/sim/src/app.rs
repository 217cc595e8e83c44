//! A small application whose commands and replies are words, so that traces can be read.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use quorate_protocol::application::{ApplicationError, Context, RejectedCommand, StateMachine};
use quorate_protocol::map::Map;
use quorate_protocol::types::ReplicaId;

use crate::rng::Rng;

type MakeMachine = dyn Fn(Option<ReplicaId>) -> Box<dyn StateMachine> + Send + Sync;
type MakeCommand = dyn Fn(&mut Rng) -> Vec<u8> + Send + Sync;

/// What a world replicates, and what its clients ask of it.
#[derive(Clone)]
pub struct Service {
    machine: Arc<MakeMachine>,
    command: Arc<MakeCommand>,
}

impl Service {
    /// Of a function that makes an application in its first state, and one that makes up a command.
    #[must_use]
    pub fn new(
        machine: impl Fn() -> Box<dyn StateMachine> + Send + Sync + 'static,
        command: impl Fn(&mut Rng) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        Self::of_each(move |_| machine(), command)
    }

    /// As [`Service::new`], of machines that know whose they are; nobody's is that of the checkers.
    #[must_use]
    pub fn of_each(
        machine: impl Fn(Option<ReplicaId>) -> Box<dyn StateMachine> + Send + Sync + 'static,
        command: impl Fn(&mut Rng) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        Self { machine: Arc::new(machine), command: Arc::new(command) }
    }

    /// The same application, asked something else.
    #[must_use]
    pub fn with_command(self, command: impl Fn(&mut Rng) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self { command: Arc::new(command), ..self }
    }

    /// Another application, asked the same.
    #[must_use]
    pub fn with_machine(self, machine: impl Fn() -> Box<dyn StateMachine> + Send + Sync + 'static) -> Self {
        Self { machine: Arc::new(move |_| machine()), ..self }
    }

    /// The application in its first state, for nobody.
    #[must_use]
    pub fn machine(&self) -> Box<dyn StateMachine> {
        (self.machine)(None)
    }

    /// The application in its first state, for a life of a replica.
    #[must_use]
    pub fn machine_of(&self, replica: ReplicaId) -> Box<dyn StateMachine> {
        (self.machine)(Some(replica))
    }

    /// A command.
    #[must_use]
    pub fn command(&self, rng: &mut Rng) -> Vec<u8> {
        (self.command)(rng)
    }
}

impl Default for Service {
    fn default() -> Self {
        Self::new(|| Box::new(Words::default()), Words::command)
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").finish_non_exhaustive()
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

    fn query(&self, command: &[u8]) -> Option<Bytes> {
        let text = std::str::from_utf8(command).ok()?;
        let words: Vec<&str> = text.split_whitespace().collect();
        let ["get", key] = words.as_slice() else { return None };
        Some(self.get(key).unwrap_or_else(|| "none".to_owned()).into())
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
