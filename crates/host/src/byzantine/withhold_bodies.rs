//! A replica that keeps batches to itself: proposes their digests, and gives nobody a batch that was asked for.

use quorate_protocol::message::PeerMessage;
use quorate_protocol::process::{Effect, Say};

use super::Behaviour;
use super::stage::{Saying, Stage};

#[derive(Debug)]
pub(super) struct WithholdBodies;

impl Behaviour for WithholdBodies {
    fn say(&mut self, stage: &mut Stage<'_>, saying: Saying, out: &mut Vec<Effect>) {
        let (view, seq, bare) = match &saying.message {
            Say::PrePrepare { prepare, body: Some(_) } => {
                let bare = Say::PrePrepare { prepare: *prepare, body: None };
                (prepare.view, prepare.seq, vec![bare])
            }
            Say::Relay(PeerMessage::Body { seq, .. }) => (stage.replica.view(), *seq, Vec::new()),
            _ => return out.push(saying.effect()),
        };
        if !stage.is_tempted(view, Some(seq)) {
            return out.push(saying.effect());
        }
        let targets = stage.targets();
        stage.tell(saying, &targets, |_| bare.clone(), out);
    }
}
