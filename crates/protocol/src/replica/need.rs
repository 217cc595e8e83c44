//! What is worth verifying: the border asks before it spends a signature check, or a hundred thousand of them.

use super::{Replica, Status};
use crate::certificate::Certificate;
use crate::message::{Checkpoint, Commit, NamedViewChange, NewView};
use crate::signed::Signed;
use crate::types::{Digest, Seq};

impl Replica {
    /// Whether a NEW-VIEW waits for this very VIEW-CHANGE.
    #[must_use]
    pub fn lacks_view_change(&self, message: &NamedViewChange) -> bool {
        self.candidates.values().any(|candidate| candidate.lacks_this(message))
    }

    /// Whether a VIEW-CHANGE that no NEW-VIEW waits for can still matter: it says more of its signer than is known,
    /// and is of a view that has not opened here yet.
    #[must_use]
    pub fn needs_view_change(&self, message: &NamedViewChange) -> bool {
        let known = self.view_changes.get(&message.signer);
        if known.is_some_and(|known| known.digest() == message.digest()) {
            return false;
        }
        // What it is said to have signed itself, or what others prove it took part in, a replica that may have
        // forgotten must hear.
        if message.signer == self.id || self.status == Status::Recovering {
            return true;
        }
        if self.is_odd_view_change(message) {
            return true;
        }
        let opened = self.status == Status::Normal && message.view == self.view;
        known.is_none_or(|known| known.view < message.view) && message.view >= self.view && !opened
    }

    /// Whether a NEW-VIEW may still open a view here.
    #[must_use]
    pub fn needs_new_view(&self, message: &Signed<NewView>) -> bool {
        self.may_enter(message.view) || self.is_odd_new_view(message)
    }

    /// Whether a CHECKPOINT says anything that is not known yet.
    #[must_use]
    pub fn needs_checkpoint(&self, vote: &Signed<Checkpoint>) -> bool {
        if vote.seq <= self.log.low() {
            return self.is_odd_checkpoint(vote);
        }
        let counted = self.checkpoints.get(&vote.seq).and_then(|tally| tally.vote_of(vote.signer));
        let far = self.far_checkpoints.get(&vote.signer);
        counted.is_none_or(|counted| counted.body != vote.body)
            && far.is_none_or(|far| far.seq < vote.seq || vote.seq <= self.log.high())
    }

    /// Whether a commit certificate proves anything new: that its slot committed, or that agreement is broken.
    #[must_use]
    pub fn needs_commit_certificate(&self, certificate: &Certificate<Commit>) -> bool {
        let Some(slot) = self.log.get(certificate.statement.seq) else { return false };
        slot.committed.as_ref().is_none_or(|held| held.statement.digest != certificate.statement.digest)
    }

    /// Whether a stable certificate would raise the low watermark.
    #[must_use]
    pub fn needs_stable_certificate(&self, certificate: &Certificate<Checkpoint>) -> bool {
        certificate.statement.seq > self.log.low()
    }

    /// Digest of the batch that was missed at this slot; nothing else is worth a look there.
    #[must_use]
    pub fn missed_body(&self, seq: Seq) -> Option<Digest> {
        self.fetches.missed(seq)
    }
}
