//! A replicated counter: the smallest application there is.

use quorate_protocol::application::{Application, Context};
use serde::{Deserialize, Serialize};

/// One number. It begins at 0 and wraps around.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    value: i64,
}

/// What can be asked of a [`Counter`]. The reply is its value afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Adds a number, which may be negative.
    Add(i64),
    /// Reads the value.
    Get,
}

impl Application for Counter {
    type Command = Command;
    type Reply = i64;

    fn apply(&mut self, _context: &Context, command: Command) -> i64 {
        match command {
            Command::Add(amount) => self.value = self.value.wrapping_add(amount),
            Command::Get => {}
        }
        self.value
    }

    fn query(&self, command: Command) -> Option<i64> {
        match command {
            Command::Add(_) => None,
            Command::Get => Some(self.value),
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_protocol::types::{ClientId, Digest};

    use super::{Application, Command, Context, Counter};

    #[test]
    fn it_counts_up_and_down_and_around() {
        let context = Context::for_test(ClientId(Digest::ZERO));
        let mut counter = Counter::default();
        assert_eq!(counter.apply(&context, Command::Add(5)), 5);
        assert_eq!(counter.apply(&context, Command::Add(-7)), -2);
        assert_eq!(counter.apply(&context, Command::Get), -2);
        assert_eq!(counter.apply(&context, Command::Add(i64::MIN)), i64::MAX - 1);
    }

    #[test]
    fn only_reads_skip_ordering() {
        let counter = Counter { value: 3 };
        assert_eq!(counter.query(Command::Get), Some(3));
        assert_eq!(counter.query(Command::Add(1)), None);
    }
}
