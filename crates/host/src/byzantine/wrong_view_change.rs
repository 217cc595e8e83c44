//! A replica that leaves out of its VIEW-CHANGEs what it prepared: well signed, well formed, and not the truth.

use quorate_protocol::codec::List;
use quorate_protocol::message::{PeerMessage, ViewChange};
use quorate_protocol::process::{Effect, Say};
use quorate_protocol::types::ReplicaId;

use super::Behaviour;
use super::stage::{Saying, Stage};

#[derive(Debug)]
pub(super) struct WrongViewChange;

/// The VIEW-CHANGE that a replica says, whether for the first time or again.
pub(super) fn own_view_change(me: ReplicaId, message: &Say) -> Option<&ViewChange> {
    match message {
        Say::ViewChange(message) => Some(message),
        Say::Relay(PeerMessage::ViewChange(message)) if message.signer == me => Some(&message.body),
        _ => None,
    }
}

/// The same without what it prepared; if it prepared nothing, without its stable checkpoint; none if it has neither.
pub(super) fn omitting(truth: &ViewChange) -> Option<ViewChange> {
    let nothing = List(Vec::new());
    match (&truth.prepared.is_empty(), &truth.stable) {
        (false, stable) => Some(ViewChange { view: truth.view, stable: stable.clone(), prepared: nothing }),
        (true, Some(_)) => Some(ViewChange { view: truth.view, stable: None, prepared: nothing }),
        (true, None) => None,
    }
}

impl Behaviour for WrongViewChange {
    fn say(&mut self, stage: &mut Stage<'_>, saying: Saying, out: &mut Vec<Effect>) {
        let truth = own_view_change(stage.me(), &saying.message);
        let Some((view, lie)) = truth.and_then(|truth| Some((truth.view, omitting(truth)?))) else {
            return out.push(saying.effect());
        };
        if !stage.is_tempted(view, None) {
            return out.push(saying.effect());
        }
        let targets = stage.targets();
        stage.tell(saying, &targets, |_| vec![Say::ViewChange(lie.clone())], out);
    }
}
