//! A replica that never proposes, and never passes on, what one client asks.

use quorate_protocol::process::Event;
use quorate_protocol::types::ClientId;

use super::Behaviour;
use super::stage::{Acts, Stage};

#[derive(Debug)]
pub(super) struct Censor {
    /// None: the first client that is heard.
    victim: Option<ClientId>,
}

impl Censor {
    pub(super) fn new(victim: Option<ClientId>) -> Self {
        Self { victim }
    }
}

impl Behaviour for Censor {
    fn event(&mut self, stage: &mut Stage<'_>, event: &mut Event, _acts: &mut Acts) -> bool {
        let Event::Requests { requests, .. } = event else { return true };
        let first = requests.first().map(|request| request.client());
        let Some(victim) = self.victim.or(first) else { return true };
        let view = stage.replica.view();
        if !requests.iter().any(|request| request.client() == victim) || !stage.is_tempted(view, None) {
            return true;
        }
        self.victim = Some(victim);
        let before = requests.len();
        requests.retain(|request| request.client() != victim);
        stage.count(before - requests.len());
        !requests.is_empty()
    }
}
