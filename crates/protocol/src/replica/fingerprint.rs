//! Which replicas are as good as equal: what a state explorer must know to meet each state once.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::{Replica, Status};
use crate::certificate::{Certificate, Ranked, Tally};
use crate::log::Slot;
use crate::message::{Commit, Prepare};
use crate::types::{Digest, View};

impl Replica {
    /// Equal for two replicas of one id that answer whatever happens to them with the same votes, proposals, view changes
    /// and executions, if it reaches them in the same step of the clock.
    ///
    /// Left out is what decides no more than when something happens, or what its operator and its peers are told: timers,
    /// counters, pace, marks, allowances, what is asked for and was served, what may accuse others. Signatures are left out
    /// as well: of one statement all are as good. Without `votes` so are votes, VIEW-CHANGEs of views that this replica does
    /// not open, and bodies: for explorers that deliver whole quorums, and any of these whenever it may matter.
    ///
    /// Every field is named here, so that a new one has to be thought about.
    #[must_use]
    pub fn fingerprint(&self, votes: bool) -> u64 {
        let Self {
            context: _,
            id,
            null: _,
            view,
            status,
            log,
            committed,
            handed,
            executed,
            released,
            next,
            new_view_floor,
            pool,
            ordered: _,
            pace: _,
            watchdog: _,
            clock: _,
            stable,
            checkpoints,
            far_checkpoints,
            roots,
            // These four are looked at by `hash_views`.
            view_changes: _,
            my_view_change: _,
            new_view: _,
            candidates: _,
            chosen: _,
            opening,
            position: _,
            promised,
            // It decides what clients are told, and nothing else.
            answers_from: _,
            // It decides when STATUS is said.
            farthest: _,
            timers: _,
            fetches: _,
            room: _,
            accused: _,
            displays: _,
            settled: _,
            counters: _,
            amnesia,
            standing,
            unsure,
            agreed,
            split,
            retiring,
            passed_over,
            strays,
            marks: _,
        } = self;
        let mut hasher = DefaultHasher::new();
        let h = &mut hasher;
        (id.0, view.0, *status as u8, released, log.low().0).hash(h);
        (committed.0, handed.0, executed.0, next.0, new_view_floor.0, agreed.0, split.0).hash(h);
        for slot in log.slots() {
            hash_slot(slot, votes, h);
        }
        for waiting in pool.waiting() {
            waiting.hash(h);
        }
        stable.as_ref().map(|held| (held.statement.seq.0, held.statement.root)).hash(h);
        for (seq, tally) in checkpoints {
            seq.0.hash(h);
            tally.votes().for_each(|(signer, vote)| (signer.0, vote.root).hash(h));
        }
        for (signer, vote) in far_checkpoints {
            (signer.0, vote.seq.0, vote.root).hash(h);
        }
        for (seq, root) in roots {
            (seq.0, root).hash(h);
        }
        self.hash_views(votes, h);
        (opening.map(|view| view.0), promised.0.0, promised.1.0, unsure.0).hash(h);
        (retiring.is_some(), passed_over, strays.leaves_at().is_some()).hash(h);
        format!("{amnesia:?}{standing:?}").hash(h);
        hasher.finish()
    }

    /// What is known of view changes. Of the VIEW-CHANGEs of others the views count, and what they say where this replica
    /// may yet open the view. Whose view is to come and who left it will not be waited for.
    fn hash_views(&self, votes: bool, h: &mut impl Hasher) {
        let opens = self.primary() == self.id
            && self.status == Status::ViewChanging
            && self.opening != Some(self.view);
        let lap = self.context.committee.size() as u64;
        for (signer, held) in &self.view_changes {
            let mut to_come = (self.view.0..held.view.0.min(self.view.0.saturating_add(lap))).map(View);
            let deserts = to_come.any(|view| self.context.committee.primary(view) == *signer);
            let may_name = held.view > self.view || (held.view == self.view && opens);
            if may_name && self.context.committee.primary(held.view) == self.id {
                (signer.0, held.digest()).hash(h);
            } else if votes || deserts {
                (signer.0, held.view.0).hash(h);
            }
        }
        self.my_view_change.as_ref().map(|held| held.view.0).hash(h);
        self.new_view.as_ref().map(|held| held.new_view.view.0).hash(h);
        for (signer, candidate) in &self.candidates {
            (signer.0, candidate.fingerprint()).hash(h);
        }
    }
}

fn hash_slot(slot: &Slot, votes: bool, h: &mut impl Hasher) {
    let Slot {
        proposal,
        decided_by_new_view,
        bodies,
        kept,
        prepares,
        commits,
        prepared,
        committed,
        sent_prepare,
        proposed_operations,
        sent_commit,
        clock_refused: _,
        phase: _,
        since: _,
    } = slot;
    proposal.map(|held| (held.view.0, held.digest)).hash(h);
    (decided_by_new_view, sent_prepare, sent_commit, proposed_operations).hash(h);
    prepared.as_ref().map(|held| (vote_of(&held.statement), signers(held))).hash(h);
    committed.as_ref().map(|held| (held.statement.view.0, held.statement.digest)).hash(h);
    if votes {
        let mut held: Vec<_> = bodies.iter().map(|body| body.digest).collect();
        let mut kept = kept.clone();
        held.sort_unstable();
        kept.sort_unstable();
        (held, kept).hash(h);
        hash_tally(prepares, vote_of, h);
        hash_tally(commits, |vote: &Commit| (vote.view.0, vote.digest), h);
    }
}

fn vote_of(vote: &Prepare) -> (u64, u64, Digest) {
    (vote.view.0, vote.seq.0, vote.digest)
}

fn hash_tally<S: Ranked, K: Hash>(tally: &Tally<S>, key: impl Fn(&S) -> K, h: &mut impl Hasher) {
    for (signer, vote) in tally.votes() {
        (signer.0, key(vote)).hash(h);
    }
    0xff_u8.hash(h);
}

fn signers<S>(certificate: &Certificate<S>) -> Vec<u16> {
    certificate.signatures.iter().map(|(signer, _)| signer.0).collect()
}
