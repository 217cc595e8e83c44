//! What a correct replica said, in all its lives: it votes once for one place, and leaves views for good.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_protocol::message::{NamedViewChange, NewView, PeerMessage, ViewChange};
use quorate_protocol::signed::Signed;
use quorate_protocol::types::{Digest, ReplicaId, Seq, View};

/// The statements of one replica.
#[derive(Debug, Clone, Default)]
pub struct Said {
    prepares: BTreeMap<(View, Seq), Digest>,
    commits: BTreeMap<(Seq, View), Digest>,
    checkpoints: BTreeMap<Seq, Digest>,
    view_changes: BTreeMap<View, Arc<NamedViewChange>>,
    new_views: BTreeMap<View, Signed<NewView>>,
    /// The last view that it left in an earlier life.
    left_before: Option<View>,
    repeated: u64,
}

impl Said {
    /// Its process was started again.
    pub fn live_again(&mut self) {
        self.left_before = self.view_changes.last_key_value().map(|(view, _)| *view);
    }

    /// VIEW-CHANGEs of an earlier life that it said again.
    #[must_use]
    pub fn repeated(&self) -> u64 {
        self.repeated
    }

    /// It says this now.
    ///
    /// # Errors
    /// What contradicts something that it said before.
    pub fn hear(&mut self, replica: ReplicaId, message: &PeerMessage) -> Result<(), String> {
        match message {
            PeerMessage::Prepare(vote) if vote.signer == replica => {
                let before = *self.prepares.entry((vote.view, vote.seq)).or_insert(vote.digest);
                same(before == vote.digest, || format!("{:?}", vote.body))
            }
            PeerMessage::PrePrepare(proposal) if proposal.prepare.signer == replica => {
                let vote = &proposal.prepare;
                let before = *self.prepares.entry((vote.view, vote.seq)).or_insert(vote.digest);
                same(before == vote.digest, || format!("{:?}", vote.body))
            }
            PeerMessage::Commit(vote) if vote.signer == replica => {
                let before = self.commits.insert((vote.seq, vote.view), vote.digest);
                same(before.is_none_or(|before| before == vote.digest), || format!("{:?}", vote.body))?;
                let mut left = self.view_changes.range(vote.view.next()..).map(|(_, left)| left);
                same(before.is_some() || left.all(|left| covers(left, vote.view, vote.seq)), || {
                    format!("{:?} in a view that it had left without it", vote.body)
                })
            }
            PeerMessage::Checkpoint(vote) if vote.signer == replica => {
                let before = *self.checkpoints.entry(vote.seq).or_insert(vote.root);
                same(before == vote.root, || format!("{:?}", vote.body))
            }
            PeerMessage::ViewChange(message) if message.signer == replica => self.leave(message),
            PeerMessage::NewView(message) if message.signer == replica => {
                let before = self.new_views.entry(message.view).or_insert_with(|| message.clone());
                same(before == message, || format!("another NEW-VIEW of {}", message.view))
            }
            // What others signed is theirs; what nobody signs binds nobody.
            _ => Ok(()),
        }
    }

    /// The very same VIEW-CHANGE for one view, always, with all that it committed to.
    fn leave(&mut self, message: &Arc<NamedViewChange>) -> Result<(), String> {
        if let Some(before) = self.view_changes.get(&message.view) {
            self.repeated += u64::from(self.left_before >= Some(message.view));
            return same(before == message, || format!("another VIEW-CHANGE to {}", message.view));
        }
        let above = self.commits.range((message.low().next(), View(0))..);
        let missing = above
            .map(|(place, _)| *place)
            .find(|(seq, view)| *view < message.view && !covers(message, *view, *seq));
        self.view_changes.insert(message.view, Arc::clone(message));
        same(missing.is_none(), || {
            format!("a VIEW-CHANGE to {} without what it committed to: {missing:?}", message.view)
        })
    }
}

/// Whether a VIEW-CHANGE shows that the slot was prepared in that view or a later one, or is stable.
fn covers(message: &ViewChange, view: View, seq: Seq) -> bool {
    let shows = || {
        let prepared = &message.prepared;
        let place = prepared.binary_search_by(|certificate| certificate.statement.seq.cmp(&seq));
        place.is_ok_and(|place| prepared[place].statement.view >= view)
    };
    seq <= message.low() || shows()
}

fn same(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}
