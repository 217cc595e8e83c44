//! A primary that opens its view twice: each NEW-VIEW is valid, and the two rest on different VIEW-CHANGEs.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_protocol::codec::List;
use quorate_protocol::message::{NamedViewChange, NewView, ViewChange};
use quorate_protocol::process::{Effect, Event, Say};
use quorate_protocol::types::{Digest, ReplicaId};

use super::Behaviour;
use super::stage::{Acts, Saying, Stage};
use super::wrong_view_change::omitting;

#[derive(Debug, Default)]
pub(super) struct TwoNewViews {
    /// The newest VIEW-CHANGE of each.
    heard: BTreeMap<ReplicaId, Arc<NamedViewChange>>,
    /// The second VIEW-CHANGE of its own that its second NEW-VIEW rests on.
    second: Option<(Digest, ViewChange)>,
}

impl TwoNewViews {
    /// Another quorum of VIEW-CHANGEs for the same view: with a second one of its own, or with somebody else's.
    fn other(&mut self, stage: &Stage<'_>, truth: &NewView) -> Option<NewView> {
        let me = stage.me();
        let mut named: Vec<(ReplicaId, Digest)> = truth.view_changes.to_vec();
        let mine = self.heard.get(&me).filter(|held| held.view == truth.view);
        if let Some(omits) = mine.and_then(|held| omitting(held)) {
            let digest = stage.signer.sign(omits.clone()).shared().digest();
            self.second = Some((digest, omits));
            match named.iter_mut().find(|(signer, _)| *signer == me) {
                Some(place) => place.1 = digest,
                None => *named.last_mut()? = (me, digest),
            }
        } else {
            let left_out = self.heard.values().find(|held| {
                held.view == truth.view && !named.iter().any(|(signer, _)| *signer == held.signer)
            })?;
            *named.first_mut()? = (left_out.signer, left_out.digest());
        }
        named.sort_by_key(|(signer, _)| *signer);
        Some(NewView { view: truth.view, view_changes: List(named) })
    }
}

impl Behaviour for TwoNewViews {
    fn event(&mut self, stage: &mut Stage<'_>, event: &mut Event, acts: &mut Acts) -> bool {
        match event {
            Event::ViewChange(message) => {
                let newer = self.heard.get(&message.signer).is_none_or(|held| held.view <= message.view);
                let (mine, second) = (message.signer == stage.me(), self.second.as_ref());
                if newer && !(mine && second.is_some_and(|(digest, _)| *digest == message.digest())) {
                    self.heard.insert(message.signer, Arc::clone(message));
                }
                true
            }
            Event::FetchViewChange { from, digest, .. } => {
                let asked = self.second.as_ref().filter(|(second, _)| second == digest);
                if let Some((_, second)) = asked.filter(|_| *from != stage.me()) {
                    acts.say(*from, Say::ViewChange(second.clone()));
                }
                true
            }
            _ => true,
        }
    }

    fn say(&mut self, stage: &mut Stage<'_>, saying: Saying, out: &mut Vec<Effect>) {
        let Say::NewView(truth) = saying.message.clone() else { return out.push(saying.effect()) };
        if !stage.is_tempted(truth.view, None) {
            return out.push(saying.effect());
        }
        let Some(other) = self.other(stage, &truth) else { return out.push(saying.effect()) };
        let second = self.second.as_ref().map(|(_, second)| Say::ViewChange(second.clone()));
        let half = stage.half();
        let lie = |_| second.clone().into_iter().chain([Say::NewView(other.clone())]).collect();
        stage.tell(saying, &half, lie, out);
    }
}
