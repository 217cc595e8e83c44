//! I7: nothing that binds a replica leaves before it is on stable storage.

use std::collections::BTreeSet;

use quorate_protocol::message::{PeerMessage, Prepare};
use quorate_protocol::process::Record;
use quorate_protocol::types::{Digest, ReplicaId, Seq, View};

/// What one replica has made durable.
#[derive(Debug, Clone, Default)]
pub struct Promises {
    votes: BTreeSet<Prepare>,
    bodies: BTreeSet<(Seq, Digest)>,
    prepared: BTreeSet<Prepare>,
    view_changes: BTreeSet<View>,
    new_views: BTreeSet<View>,
    states: BTreeSet<Seq>,
}

impl Promises {
    /// A record is on stable storage.
    pub fn durable(&mut self, record: &Record) {
        match record {
            Record::Vote { prepare, .. } => {
                self.votes.insert(*prepare);
            }
            Record::Body { seq, body } => {
                self.bodies.insert((*seq, body.digest));
            }
            Record::Prepared(certificate) => {
                self.prepared.insert(certificate.statement);
            }
            Record::ViewChange(message) => {
                self.view_changes.insert(message.view);
            }
            Record::NewView { new_view, .. } => {
                self.new_views.insert(new_view.view);
            }
            Record::Stable(_) | Record::Horizon { .. } => {}
        }
    }

    /// The state after a slot is on stable storage.
    pub fn stored(&mut self, seq: Seq) {
        self.states.insert(seq);
    }

    /// Whether the replica may send this.
    ///
    /// # Errors
    /// What it may not send yet.
    pub fn allows(&self, replica: ReplicaId, message: &PeerMessage) -> Result<(), String> {
        match message {
            PeerMessage::Prepare(vote) if vote.signer == replica => self.allows_vote(&vote.body, None),
            PeerMessage::PrePrepare(proposal) if proposal.prepare.signer == replica => {
                let body = proposal.batch.is_some().then_some(proposal.prepare.digest);
                self.allows_vote(&proposal.prepare.body, body)
            }
            PeerMessage::Commit(vote) if vote.signer == replica => {
                let prepare = Prepare { view: vote.view, seq: vote.seq, digest: vote.digest };
                need(self.prepared.contains(&prepare), || format!("{:?}", vote.body))
            }
            PeerMessage::Checkpoint(vote) if vote.signer == replica => {
                need(self.states.contains(&vote.seq), || format!("{:?}", vote.body))
            }
            PeerMessage::ViewChange(message) if message.signer == replica => {
                need(self.view_changes.contains(&message.view), || {
                    format!("the VIEW-CHANGE to {}", message.view)
                })
            }
            PeerMessage::NewView(message) if message.signer == replica => {
                need(self.new_views.contains(&message.view), || format!("the NEW-VIEW of {}", message.view))
            }
            PeerMessage::Prepare(_)
            | PeerMessage::PrePrepare(_)
            | PeerMessage::Commit(_)
            | PeerMessage::Checkpoint(_)
            | PeerMessage::ViewChange(_)
            | PeerMessage::NewView(_)
            | PeerMessage::CommitCertificate(_)
            | PeerMessage::StableCertificate(_)
            | PeerMessage::Status(_)
            | PeerMessage::FetchBody { .. }
            | PeerMessage::Body { .. }
            | PeerMessage::FetchViewChange { .. }
            | PeerMessage::Forward(_) => Ok(()),
        }
    }

    /// A vote needs its record, and the body it vouches for.
    fn allows_vote(&self, vote: &Prepare, body: Option<Digest>) -> Result<(), String> {
        let holds = body.is_none_or(|digest| self.bodies.contains(&(vote.seq, digest)));
        need(self.votes.contains(vote) && holds, || format!("{vote:?}"))
    }
}

fn need(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}
