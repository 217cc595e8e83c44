//! The log of single operations: what becomes of each, under one name on all replicas.
//!
//! Each operation has a span with its name from its first step here until its client is answered, and each step is an
//! event in it. Both have a target of their own, so that a filter can ask for them alone; without it, and at levels
//! above DEBUG, nothing is noted and nothing formatted.

use std::collections::BTreeMap;

use quorate_host::disk::Disk;
use quorate_host::following::{OperationId, Step, What};
use quorate_protocol::client::To;
use quorate_protocol::request::Request;
use tracing::{Level, Span};

use super::Node;

/// Whose events these are, as filters name them.
pub(crate) const TARGET: &str = "quorate::request";
/// Operations at most whose spans are open. Of more that are under way, some get another span with the same name.
const OPEN_MAX: usize = 16_384;

/// The spans of operations that are under way.
#[derive(Debug, Default)]
pub(super) struct Followed {
    open: BTreeMap<OperationId, Span>,
}

impl<D: Disk + Send + 'static> Node<D> {
    /// Logs what became of operations, if anybody wants to know.
    pub(super) fn follow(&mut self) {
        let wanted = tracing::enabled!(target: TARGET, Level::DEBUG);
        self.host.follow(wanted);
        if wanted {
            let replica = self.host.replica().id().0;
            for step in self.host.take_steps() {
                self.followed.log(replica, &step);
            }
        }
    }
}

impl Followed {
    fn log(&mut self, replica: u16, step: &Step) {
        for id in &step.operations {
            self.span(replica, *id).in_scope(|| tell(step.what));
            if matches!(step.what, What::Replied(_) | What::TurnedAway(_)) {
                self.open.remove(id);
            }
        }
    }

    fn span(&mut self, replica: u16, id: OperationId) -> &Span {
        if self.open.len() >= OPEN_MAX && !self.open.contains_key(&id) {
            self.open.pop_first();
        }
        let new = || tracing::debug_span!(target: TARGET, "request", %id, replica);
        self.open.entry(id).or_insert_with(new)
    }
}

/// A client's own first step, and each time that it asks again.
pub(crate) fn sent(to: To, request: &Request) {
    for id in OperationId::all_of(request) {
        let span = tracing::debug_span!(target: TARGET, "request", %id);
        span.in_scope(|| match to {
            To::Replica(to) => tracing::debug!(target: TARGET, to = to.0, "sent"),
            To::Everyone => tracing::debug!(target: TARGET, "sent to everyone"),
        });
    }
}

fn tell(what: What) {
    match what {
        What::Received => tracing::debug!(target: TARGET, "received"),
        What::ReceivedFrom(from) => tracing::debug!(target: TARGET, from = from.0, "received, passed on"),
        What::PassedOn(to) => tracing::debug!(target: TARGET, to = to.0, "passed on"),
        What::TurnedAway(why) => tracing::debug!(target: TARGET, ?why, "turned away"),
        What::Proposed(view, seq) => {
            tracing::debug!(target: TARGET, view = view.0, seq = seq.0, "proposed in slot");
        }
        What::Voted(view, seq) => {
            tracing::debug!(target: TARGET, view = view.0, seq = seq.0, "voted for in slot");
        }
        What::Prepared(view, seq) => {
            tracing::debug!(target: TARGET, view = view.0, seq = seq.0, "prepared");
        }
        What::Committed(seq) => tracing::debug!(target: TARGET, seq = seq.0, "committed"),
        What::Executed(seq) => tracing::debug!(target: TARGET, seq = seq.0, "executed"),
        What::Replied(seq) => tracing::debug!(target: TARGET, seq = seq.0, "replied"),
    }
}
