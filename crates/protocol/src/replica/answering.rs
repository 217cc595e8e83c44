//! How far a replica may have answered, where reads are fast.
//!
//! Fast reads are linearizable because a correct replica never goes back: what it answers after something was
//! acknowledged with its help is of no earlier slot. So the superblock's horizon, which bounds what it voted, bounds what
//! it answered, too: it is raised before a slot beyond it executes, and answers rest on that. And a replica that starts
//! again, or whose wrong state was replaced by an older one, gives no such answer before it is as far as the horizon says.

use super::{Out, Replica};
use crate::types::Seq;

impl Replica {
    /// The first slot that fast reads may be answered from. What this replica answered before it came back was of no later
    /// one.
    #[must_use]
    pub fn answers_from(&self) -> Seq {
        self.answers_from
    }

    /// A slot is about to be answered from.
    pub(super) fn cover(&mut self, seq: Seq, out: &mut Out<'_>) {
        if self.parameters().fast_reads {
            self.promise(self.promised.0, seq, out);
        }
    }

    /// Whether a slot committed, or f + 1 replicas of this view say so, that is further ahead than a primary proposes: this
    /// replica is left out. Or any beyond its own, in a cluster whose clients wait for a quorum of answers: one of them is
    /// needed from here, and a primary that leaves this replica out may see to it that nobody else asks for it.
    pub(super) fn trails(&self) -> bool {
        let ahead = self.parameters().pipeline_depth.saturating_mul(2);
        let ahead = if self.parameters().fast_reads { 0 } else { ahead };
        self.farthest > self.committed.plus(ahead)
    }

    /// Others have committed this slot; at least one that is correct.
    pub(super) fn note_ahead(&mut self, seq: Seq) {
        self.farthest = self.farthest.max(seq);
    }

    /// A view opened: only what is certified will be there in it for certain.
    pub(super) fn settle_ahead(&mut self) {
        let certified = self.log.open_slots().filter(|(_, slot)| slot.committed.is_some());
        self.farthest = certified.map(|(seq, _)| seq).max().unwrap_or_default();
    }

    /// What was answered so far may have been of later slots than what will be.
    pub(super) fn go_back(&mut self) {
        self.answers_from = self.answers_from.max(self.promised.1);
    }
}
