//! What clients asked and were answered, and when: for whoever judges what they saw.

use std::collections::BTreeMap;

use quorate_protocol::client::CallId;
use quorate_protocol::message::Outcome;
use quorate_protocol::types::Time;

use super::World;

/// Calls that are written down at most.
const CALLS_MAX: usize = 100_000;

/// One call of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The client, by its place among the world's clients.
    pub client: usize,
    /// What it asked.
    pub command: Vec<u8>,
    /// When.
    pub invoked: Time,
    /// When it accepted an answer, and which; none if it accepted none.
    pub returned: Option<(Time, Outcome)>,
}

/// All calls so far.
#[derive(Debug, Default)]
pub(super) struct Calls {
    made: Vec<Call>,
    open: BTreeMap<(usize, CallId), usize>,
    left_out: bool,
}

impl Calls {
    pub(super) fn asked(&mut self, now: Time, client: usize, (call, command): (CallId, Vec<u8>)) {
        if self.made.len() >= CALLS_MAX {
            self.left_out = true;
            return;
        }
        self.open.insert((client, call), self.made.len());
        self.made.push(Call { client, command, invoked: now, returned: None });
    }

    pub(super) fn answered(&mut self, now: Time, call: (usize, CallId), outcome: &Outcome) {
        if let Some(made) = self.open.remove(&call).and_then(|at| self.made.get_mut(at)) {
            made.returned = Some((now, outcome.clone()));
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
