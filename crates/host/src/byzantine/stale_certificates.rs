//! A replica that shows its oldest certificates instead of its newest: each of them is genuine.

use std::collections::BTreeMap;

use quorate_protocol::certificate::Certificate;
use quorate_protocol::codec::List;
use quorate_protocol::message::{Checkpoint, Commit, PeerMessage, Prepare, ViewChange};
use quorate_protocol::process::{Effect, Record, Say};
use quorate_protocol::types::Seq;

use super::Behaviour;
use super::stage::{Saying, Stage};
use super::wrong_view_change::own_view_change;

/// Certificates of slots that it remembers.
const PREPARED_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct StaleCertificates {
    stable: Option<Certificate<Checkpoint>>,
    committed: Option<Certificate<Commit>>,
    /// Of each slot the first one.
    prepared: BTreeMap<Seq, Certificate<Prepare>>,
}

impl StaleCertificates {
    fn note(&mut self, effect: &Effect) {
        match effect {
            Effect::Persist(Record::Stable(held)) => {
                self.stable.get_or_insert_with(|| held.clone());
            }
            Effect::Persist(Record::Prepared(held)) if self.prepared.len() < PREPARED_MAX => {
                self.prepared.entry(held.statement.seq).or_insert_with(|| held.clone());
            }
            _ => {}
        }
    }

    /// A VIEW-CHANGE as it would have been long ago, all of whose certificates are good.
    fn stale_view_change(&self, stage: &Stage<'_>, truth: &ViewChange) -> ViewChange {
        let older = |held: &&Certificate<Checkpoint>| held.statement.seq < truth.low();
        let stable = self.stable.as_ref().filter(older).cloned();
        let low = stable.as_ref().map_or(Seq(0), |held| held.statement.seq);
        let high = low.plus(stage.replica.context().parameters.window);
        let within = self.prepared.range(low.next()..=high).map(|(_, held)| held);
        let prepared = within.filter(|held| held.statement.view < truth.view).cloned().collect();
        ViewChange { view: truth.view, stable, prepared: List(prepared) }
    }

    fn lie(&self, stage: &Stage<'_>, message: &Say) -> Option<Say> {
        if let Some(truth) = own_view_change(stage.me(), message) {
            let stale = self.stale_view_change(stage, truth);
            return (stale != *truth).then_some(Say::ViewChange(stale));
        }
        let stale = match message {
            Say::Relay(PeerMessage::StableCertificate(held)) => {
                let older = self.stable.clone().filter(|old| old.statement.seq < held.statement.seq);
                PeerMessage::StableCertificate(older?)
            }
            Say::Relay(PeerMessage::CommitCertificate(held)) => {
                let older = self.committed.clone().filter(|old| old.statement.seq < held.statement.seq);
                PeerMessage::CommitCertificate(older?)
            }
            _ => return None,
        };
        Some(Say::Relay(stale))
    }
}

impl Behaviour for StaleCertificates {
    fn effect(&mut self, effect: &Effect) -> bool {
        self.note(effect);
        true
    }

    fn say(&mut self, stage: &mut Stage<'_>, saying: Saying, out: &mut Vec<Effect>) {
        if let Say::Relay(PeerMessage::CommitCertificate(held)) = &saying.message {
            self.committed.get_or_insert_with(|| held.clone());
        }
        match self.lie(stage, &saying.message) {
            Some(lie) if stage.is_tempted(stage.replica.view(), None) => {
                let targets = stage.targets();
                stage.tell(saying, &targets, |_| vec![lie.clone()], out);
            }
            _ => out.push(saying.effect()),
        }
    }
}
