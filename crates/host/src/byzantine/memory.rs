//! What a liar's honest half has said, so that it never learns what was said in its name besides.

use std::collections::BTreeSet;

use quorate_protocol::process::{Effect, Event, Say};
use quorate_protocol::replica::Replica;
use quorate_protocol::types::{ReplicaId, Seq, View};

/// The COMMITs that a replica said, in this life, above its low watermark.
#[derive(Debug, Default)]
pub(super) struct Said {
    commits: BTreeSet<(Seq, View)>,
}

impl Said {
    /// The replica wants this.
    pub(super) fn note(&mut self, replica: &Replica, effect: &Effect) {
        if let Effect::Send { message: Say::Commit(vote), .. } = effect {
            self.commits.insert((vote.seq, vote.view));
            self.commits = self.commits.split_off(&(replica.watermarks().0.next(), View(0)));
        }
    }

    /// Whether the replica would find in this event something signed by itself that it never said, and halt.
    pub(super) fn meets_itself(&self, replica: &Replica, event: &Event) -> bool {
        let (me, (view, seq)) = (replica.id(), replica.promised());
        let signed = |signers: &[(ReplicaId, _)]| signers.iter().any(|(signer, _)| *signer == me);
        match event {
            Event::ViewChange(message) => {
                let beyond = message.signer == me && message.view > view;
                beyond
                    || message.prepared.iter().any(|held| {
                        let shown = held.statement;
                        signed(&held.signatures) && (shown.view > view || shown.seq > seq)
                    })
            }
            Event::NewView(message) => message.signer == me && message.view > view,
            Event::CommitCertificate(proof) => {
                let shown = proof.statement;
                signed(&proof.signatures) && !self.commits.contains(&(shown.seq, shown.view))
            }
            _ => false,
        }
    }
}
