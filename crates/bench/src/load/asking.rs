//! Which operation a client asks next: a function of its number and of how many it asked before.

use std::sync::Arc;

use bytes::Bytes;

use super::tokens::Purses;
use super::{LoadConfig, Operations, Workload};

/// What all clients ask.
#[derive(Debug, Clone)]
pub(super) struct Questions {
    workload: Workload,
    payload: usize,
    clients: u64,
    own: Option<Operations>,
    purses: Option<Arc<Purses>>,
}

impl Questions {
    pub(super) fn new(config: &LoadConfig) -> Self {
        let LoadConfig { workload, payload, clients, own, .. } = config;
        let (clients, own) = (*clients as u64, own.clone());
        Self { workload: *workload, payload: *payload, clients, own, purses: None }
    }

    /// From now on, clients have accounts with tokens.
    pub(super) fn endow(&mut self, purses: Arc<Purses>) {
        self.purses = Some(purses);
    }

    /// The `index`th operation of a client.
    pub(super) fn operation(&self, client: usize, index: u64) -> Bytes {
        match (&self.own, &self.purses) {
            // Each number is asked once, by one client.
            (Some(own), _) => own.make(index.wrapping_mul(self.clients).wrapping_add(client as u64)),
            (None, Some(purses)) => purses.operation(client, index),
            (None, None) => self.workload.operation(client, index, self.payload),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_operation_of_ones_own_is_asked_once_and_none_is_left_out() {
        let own = Some(Operations::new(|number| number.to_le_bytes().to_vec()));
        let questions = Questions { workload: Workload::Own, payload: 0, clients: 3, own, purses: None };
        let asked: BTreeSet<Bytes> = (0..3)
            .flat_map(|client| (0..100).map(move |index| (client, index)))
            .map(|(client, index)| questions.operation(client, index))
            .collect();
        let all = (0..300_u64).map(|number| Bytes::copy_from_slice(&number.to_le_bytes())).collect();
        assert_eq!(asked, all);
    }
}
