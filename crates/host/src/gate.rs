//! The release gate: what rests on a promise leaves only when the promise is on stable storage.

use std::collections::VecDeque;

use quorate_protocol::types::Position;

/// Things that wait for journal positions, in the order in which they were said.
#[derive(Debug)]
pub struct Gate<T> {
    durable: Position,
    waiting: VecDeque<(Position, T)>,
}

impl<T> Default for Gate<T> {
    fn default() -> Self {
        Self { durable: Position(0), waiting: VecDeque::new() }
    }
}

impl<T> Gate<T> {
    /// Takes something that rests on `after`; gives it back if that is durable already.
    #[must_use]
    pub fn pass(&mut self, after: Position, item: T) -> Option<T> {
        if after <= self.durable {
            return Some(item);
        }
        self.waiting.push_back((after, item));
        None
    }

    /// Everything up to `durable` is on stable storage: gives back what rested on it.
    pub fn open(&mut self, durable: Position) -> Vec<T> {
        self.durable = self.durable.max(durable);
        let mut released = Vec::new();
        let mut still = VecDeque::new();
        for (after, item) in self.waiting.drain(..) {
            if after <= self.durable {
                released.push(item);
            } else {
                still.push_back((after, item));
            }
        }
        self.waiting = still;
        released
    }

    /// What is on stable storage.
    #[must_use]
    pub fn durable(&self) -> Position {
        self.durable
    }

    /// How many things wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}
