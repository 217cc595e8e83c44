//! A replica that proposes its batches under a digest that is no batch's, and votes for such digests.

use quorate_protocol::message::{Commit, Prepare};
use quorate_protocol::process::{Effect, Say};
use quorate_protocol::types::{Seq, View};

use super::Behaviour;
use super::equivocate_votes::{Vote, own_vote};
use super::stage::{Saying, Stage};

#[derive(Debug)]
pub(super) struct WrongDigest;

/// View and slot of a vote or proposal, and the same for nothing.
fn lie(stage: &Stage<'_>, message: &Say) -> Option<(View, Seq, Say)> {
    let nothing = |view, seq| stage.made_up("digest", view, seq);
    if let Say::PrePrepare { prepare, body } = message {
        let Prepare { view, seq, .. } = *prepare;
        let prepare = Prepare { view, seq, digest: nothing(view, seq) };
        return Some((view, seq, Say::PrePrepare { prepare, body: body.clone() }));
    }
    match own_vote(stage.me(), message)? {
        Vote::Prepare(Prepare { view, seq, .. }) => {
            Some((view, seq, Say::Prepare(Prepare { view, seq, digest: nothing(view, seq) })))
        }
        Vote::Commit(Commit { view, seq, .. }) => {
            Some((view, seq, Say::Commit(Commit { view, seq, digest: nothing(view, seq) })))
        }
        Vote::Checkpoint(_) => None,
    }
}

impl Behaviour for WrongDigest {
    fn say(&mut self, stage: &mut Stage<'_>, saying: Saying, out: &mut Vec<Effect>) {
        match lie(stage, &saying.message) {
            Some((view, seq, lie)) if stage.is_tempted(view, Some(seq)) => {
                let targets = stage.targets();
                stage.tell(saying, &targets, |_| vec![lie.clone()], out);
            }
            _ => out.push(saying.effect()),
        }
    }
}
