//! What clients asked and were answered, and when: for whoever judges what they saw.

use std::collections::BTreeMap;

use quorate_protocol::client::{Answer, How, Read};
use quorate_protocol::message::Outcome;
use quorate_protocol::types::{Seq, Time};

use super::World;
use crate::client::Asked;

/// Calls that are written down at most.
const CALLS_MAX: usize = 100_000;

/// One call or read of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The client, by its place among the world's clients.
    pub client: usize,
    /// What it asked.
    pub command: Vec<u8>,
    /// How it was to be read.
    pub read: Read,
    /// When.
    pub invoked: Time,
    /// When it accepted an answer, and which; none if it accepted none.
    pub returned: Option<(Time, Outcome)>,
    /// The slot that the answer is of, and how it came about.
    pub found: Option<(Seq, How)>,
}

/// All calls so far.
#[derive(Debug, Default)]
pub(super) struct Calls {
    made: Vec<Call>,
    open: BTreeMap<(usize, Asked), usize>,
    left_out: bool,
}

impl Calls {
    pub(super) fn asked(&mut self, now: Time, client: usize, (asked, command, read): (Asked, Vec<u8>, Read)) {
        if self.made.len() >= CALLS_MAX {
            self.left_out = true;
            return;
        }
        self.open.insert((client, asked), self.made.len());
        self.made.push(Call { client, command, read, invoked: now, returned: None, found: None });
    }

    pub(super) fn answered(&mut self, now: Time, asked: (usize, Asked), answer: &Answer) {
        if let Some(made) = self.open.remove(&asked).and_then(|at| self.made.get_mut(at)) {
            made.returned = Some((now, answer.outcome.clone()));
            made.found = Some((answer.seq, answer.how));
        }
    }
}

impl World {
    /// What clients asked and were answered, in the order in which it was asked; none if that is too much to be kept.
    #[must_use]
    pub fn calls(&self) -> Option<&[Call]> {
        (!self.calls.left_out).then_some(&self.calls.made)
    }
}
