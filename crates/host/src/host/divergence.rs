//! What a host does when its replica finds its state to be wrong, or its word worth nothing.

use quorate_protocol::replica::Status;

use super::{Evidence, Host, Standing};

impl Host {
    /// Keeps proof for whoever stores states. Those that wait to be stored follow from the one that is wrong.
    pub(super) fn preserve(&mut self, evidence: Box<Evidence>) {
        if evidence.proven {
            self.drop_states_from(evidence.divergence.seq);
        }
        self.evidence = Some(evidence);
    }

    /// Whether nothing that its replica signed may leave any more.
    pub(super) fn is_out(&self) -> bool {
        let excluded = matches!(self.replica.standing(), Standing::Out(_));
        excluded || self.replica.status() == Status::Halted
    }
}
