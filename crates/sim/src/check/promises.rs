//! I7: nothing that binds a replica leaves before it is on stable storage.

use std::collections::{BTreeMap, BTreeSet};

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
    stable: Seq,
}

impl Promises {
    /// A record is on stable storage.
    ///
    /// # Errors
    /// A new vote in a view that the replica had left for good.
    pub fn durable(&mut self, record: &Record) -> Result<(), String> {
        match record {
            Record::Vote { prepare, .. } => {
                let left = self.view_changes.last().copied().unwrap_or_default();
                let new = self.votes.insert(*prepare);
                need(!new || prepare.view >= left, || {
                    format!("{prepare:?} after its VIEW-CHANGE to {left}")
                })?;
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
            Record::Stable(certificate) => self.stable = self.stable.max(certificate.statement.seq),
            Record::Horizon { .. } | Record::Healed | Record::Standing(_) => {}
        }
        Ok(())
    }

    /// The view and the low watermark that a replica with these promises may not fall back behind.
    #[must_use]
    pub fn standing(&self) -> (View, Seq) {
        let left = self.view_changes.last().copied().unwrap_or_default();
        (left.max(self.new_views.last().copied().unwrap_or_default()), self.stable)
    }

    /// A replica came back with these records: everything that still binds it must be among them.
    ///
    /// # Errors
    /// What it forgot.
    pub fn kept_by(&self, found: &Self) -> Result<(), String> {
        let ((view, low), (view_found, low_found)) = (self.standing(), found.standing());
        need(view_found >= view && low_found >= low, || {
            format!("{view} and watermark {low}: it came back to {view_found} and {low_found}")
        })?;
        let binding = |vote: &&Prepare| vote.seq > low_found && vote.view == view_found;
        let lost = self.votes.iter().filter(binding).find(|vote| !found.votes.contains(vote));
        need(lost.is_none(), || format!("its vote {lost:?}"))?;
        let above = self.prepared.iter().filter(|certified| certified.seq > low_found);
        let mut newest: BTreeMap<Seq, View> = BTreeMap::new();
        for certified in above {
            let view = newest.entry(certified.seq).or_default();
            *view = certified.view.max(*view);
        }
        let kept = |(seq, view): &(&Seq, &View)| {
            found.prepared.iter().any(|certified| certified.seq == **seq && certified.view >= **view)
        };
        let lost = newest.iter().find(|place| !kept(place));
        need(lost.is_none(), || format!("its prepared certificate of {lost:?}"))
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
            | PeerMessage::Forward(_)
            | PeerMessage::Transfer(_)
            | PeerMessage::Testimony(_) => Ok(()),
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
