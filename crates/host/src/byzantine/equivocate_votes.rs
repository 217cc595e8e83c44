//! A replica that casts its votes twice: for one thing before some, for another before the others.

use std::collections::BTreeMap;

use quorate_protocol::message::{Checkpoint, Commit, PeerMessage, Prepare};
use quorate_protocol::process::{Effect, Event, Say};
use quorate_protocol::types::{Digest, ReplicaId, Seq, View};

use super::Behaviour;
use super::stage::{Acts, Saying, Stage};

/// Places of which it remembers what others voted for.
const PLACES_MAX: usize = 1024;

/// Which votes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Prepare,
    Commit,
    Checkpoint,
}

#[derive(Debug)]
pub(super) struct EquivocateVotes {
    phase: Phase,
    /// What others were heard to vote for, two things for each place at most.
    heard: BTreeMap<(Seq, View), Vec<Digest>>,
}

impl EquivocateVotes {
    fn new(phase: Phase) -> Self {
        Self { phase, heard: BTreeMap::new() }
    }
    pub(super) fn prepares() -> Self {
        Self::new(Phase::Prepare)
    }
    pub(super) fn commits() -> Self {
        Self::new(Phase::Commit)
    }
    pub(super) fn checkpoints() -> Self {
        Self::new(Phase::Checkpoint)
    }

    /// What somebody else votes for, which somebody might complete a quorum of; otherwise what nobody can have.
    fn other(&self, stage: &Stage<'_>, view: View, seq: Seq, digest: Digest) -> Digest {
        let heard = self.heard.get(&(seq, view)).into_iter().flatten();
        heard.copied().find(|other| *other != digest).unwrap_or_else(|| stage.made_up("vote", view, seq))
    }

    /// View and slot of a vote of this phase and of this replica, and the other vote.
    fn lie(&self, stage: &Stage<'_>, message: &Say) -> Option<(View, Seq, Say)> {
        match (self.phase, own_vote(stage.me(), message)?) {
            (Phase::Prepare, Vote::Prepare(vote)) => {
                let digest = self.other(stage, vote.view, vote.seq, vote.digest);
                Some((vote.view, vote.seq, Say::Prepare(Prepare { digest, ..vote })))
            }
            (Phase::Commit, Vote::Commit(vote)) => {
                let digest = self.other(stage, vote.view, vote.seq, vote.digest);
                Some((vote.view, vote.seq, Say::Commit(Commit { digest, ..vote })))
            }
            (Phase::Checkpoint, Vote::Checkpoint(vote)) => {
                let root = self.other(stage, View(0), vote.seq, vote.root);
                Some((stage.replica.view(), vote.seq, Say::Checkpoint(Checkpoint { root, ..vote })))
            }
            _ => None,
        }
    }
}

/// A vote.
pub(super) enum Vote {
    Prepare(Prepare),
    Commit(Commit),
    Checkpoint(Checkpoint),
}

/// The vote that a replica casts by saying this, whether for the first time or again.
pub(super) fn own_vote(me: ReplicaId, message: &Say) -> Option<Vote> {
    match message {
        Say::Prepare(vote) => Some(Vote::Prepare(*vote)),
        Say::Commit(vote) => Some(Vote::Commit(*vote)),
        Say::Checkpoint(vote) => Some(Vote::Checkpoint(*vote)),
        Say::Relay(PeerMessage::Prepare(vote)) if vote.signer == me => Some(Vote::Prepare(vote.body)),
        Say::Relay(PeerMessage::Commit(vote)) if vote.signer == me => Some(Vote::Commit(vote.body)),
        Say::Relay(PeerMessage::Checkpoint(vote)) if vote.signer == me => Some(Vote::Checkpoint(vote.body)),
        Say::PrePrepare { .. } | Say::ViewChange(_) | Say::NewView(_) | Say::Relay(_) => None,
    }
}

impl Behaviour for EquivocateVotes {
    fn event(&mut self, _stage: &mut Stage<'_>, event: &mut Event, _acts: &mut Acts) -> bool {
        let (place, digest) = match (self.phase, &*event) {
            (Phase::Prepare, Event::PrePrepare { prepare: vote, .. } | Event::Prepare(vote)) => {
                ((vote.seq, vote.view), vote.digest)
            }
            (Phase::Commit, Event::Commit(vote)) => ((vote.seq, vote.view), vote.digest),
            (Phase::Checkpoint, Event::Checkpoint(vote)) => ((vote.seq, View(0)), vote.root),
            _ => return true,
        };
        let heard = self.heard.entry(place).or_default();
        if heard.len() < 2 && !heard.contains(&digest) {
            heard.push(digest);
        }
        if self.heard.len() > PLACES_MAX {
            self.heard.pop_first();
        }
        true
    }

    fn say(&mut self, stage: &mut Stage<'_>, saying: Saying, out: &mut Vec<Effect>) {
        match self.lie(stage, &saying.message) {
            Some((view, seq, lie)) if stage.is_tempted(view, Some(seq)) => {
                let half = stage.half();
                stage.tell(saying, &half, |_| vec![lie.clone()], out);
            }
            _ => out.push(saying.effect()),
        }
    }
}
