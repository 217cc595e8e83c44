//! Room for bodies in the journal. A body that this replica voted for stays until its slot is stable, whatever view
//! proposed it, because a certificate for it may surface in any later view. So many views can propose more bodies than
//! a journal holds; before it is full this replica votes for no more of them, rather than stop.
//!
//! Nothing comes to rest by that. Certificates and checkpoints are still recorded. What a NEW-VIEW decided, and what
//! prepared, may take the last third of the room. A primary without room proposes null batches, which need none, up to
//! where a checkpoint is due at the latest, which frees some; and primaries change until it is the turn of one without
//! room.

use std::collections::VecDeque;

use super::{Out, Replica};
use crate::mutant::{self, Mutant};
use crate::parameters::Parameters;
use crate::request::Body;
use crate::types::{Digest, Seq};

/// What the journal adds to a body, at most.
const OVERHEAD: u64 = 256;

/// What the bodies in the journal take, as the journal sees it: a ring, whose space is free only from its oldest end.
#[derive(Debug, Clone, Default)]
pub(super) struct Room {
    kept: VecDeque<(Seq, u64)>,
    bytes: u64,
    /// Whether a vote waits for room.
    withheld: bool,
}

/// How much of the room something may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    /// New proposals: two thirds.
    New,
    /// What others rely on already: all.
    Decided,
}

impl Room {
    pub(super) fn keep(&mut self, seq: Seq, body: &Body) {
        let bytes = weight(body);
        self.kept.push_back((seq, bytes));
        self.bytes += bytes;
    }

    pub(super) fn release(&mut self, low: Seq) {
        while let Some((_, bytes)) = self.kept.pop_front_if(|(seq, _)| *seq <= low) {
            self.bytes -= bytes;
        }
    }

    fn takes(&self, bytes: u64, share: Share, parameters: &Parameters) -> bool {
        let part = |most: u64| match share {
            Share::New => most - most / 3,
            Share::Decided => most,
        };
        (self.kept.len() as u64) < part(parameters.bodies_max())
            && self.bytes + bytes <= part(parameters.body_bytes_max())
    }
}

fn weight(body: &Body) -> u64 {
    OVERHEAD + body.batch.requests.iter().map(|request| request.bytes() as u64).sum::<u64>()
}

impl Replica {
    /// Whether it withholds votes until a stable checkpoint frees room in its journal.
    #[must_use]
    pub fn lacks_room(&self) -> bool {
        self.room.withheld
    }

    /// Whether a vote for a batch at a slot finds room. If not, the slot is looked at again when there is more.
    pub(super) fn finds_room(&mut self, seq: Seq, digest: &Digest, share: Share) -> bool {
        let Some(slot) = self.log.get(seq).filter(|slot| !slot.kept.contains(digest)) else { return true };
        let Some(body) = slot.body(digest) else { return true };
        let found = self.room.takes(weight(body), share, &self.context.parameters);
        self.room.withheld |= !found;
        found
    }

    /// As primary: whether the largest batch finds room.
    pub(super) fn finds_room_to_propose(&mut self) -> bool {
        let largest = self.parameters().batch_bytes_max + OVERHEAD;
        let found = self.room.takes(largest, Share::New, &self.context.parameters);
        self.room.withheld |= !found;
        found
    }

    /// Whether a checkpoint is due in what was proposed, or is already made: null batches, which change nothing, bring
    /// none nearer any more. Of a large state none need be due at the next multiple of K, and only execution knows how
    /// large the state is; so this is where one is due whatever it is.
    pub(super) fn checkpoint_is_due(&self) -> bool {
        let (last, low) = (Seq(self.next.0 - 1), self.log.low());
        if mutant::is(Mutant::M57) {
            return last.0.is_multiple_of(self.parameters().checkpoint_interval) && last > low;
        }
        last >= self.checkpoint_due()
    }

    /// Where the next checkpoint is due at the latest; one may be made before.
    pub(super) fn checkpoint_due(&self) -> Seq {
        self.parameters().checkpoint_due_by(self.log.low())
    }

    /// A checkpoint is stable: votes that waited for room are cast.
    pub(super) fn use_room(&mut self, out: &mut Out<'_>) {
        self.room.release(self.log.low());
        if std::mem::take(&mut self.room.withheld) {
            for seq in (self.log.low().0 + 1..=self.log.high().0).map(Seq) {
                self.advance(seq, out);
            }
        }
    }
}
