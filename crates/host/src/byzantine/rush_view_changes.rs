//! A replica that leaves every view at once, for ever higher ones, and would take everybody with it.

use quorate_protocol::certificate::Certificate;
use quorate_protocol::codec::List;
use quorate_protocol::message::{Checkpoint, ViewChange};
use quorate_protocol::process::{Effect, Record, Say};
use quorate_protocol::types::{Time, View};

use super::Behaviour;
use super::stage::{Acts, Stage};

#[derive(Debug)]
pub(super) struct RushViewChanges {
    every_us: u64,
    at: Time,
    /// The last view that it left for.
    view: View,
    stable: Option<Certificate<Checkpoint>>,
}

impl RushViewChanges {
    pub(super) fn new(every_us: u64, now: Time) -> Self {
        Self { every_us, at: now, view: View(0), stable: None }
    }
}

impl Behaviour for RushViewChanges {
    fn effect(&mut self, effect: &Effect) -> bool {
        if let Effect::Persist(Record::Stable(held)) = effect {
            self.stable = Some(held.clone());
        }
        true
    }

    fn deadline(&self) -> Option<Time> {
        Some(self.at)
    }

    fn wake(&mut self, stage: &mut Stage<'_>, acts: &mut Acts) {
        self.at = stage.now.plus(self.every_us);
        let view = self.view.max(stage.replica.view()).next();
        if !stage.is_tempted(view, None) {
            return;
        }
        self.view = view;
        let message = ViewChange { view, stable: self.stable.clone(), prepared: List(Vec::new()) };
        let targets = stage.targets();
        stage.count(targets.len());
        targets.into_iter().for_each(|to| acts.say(to, Say::ViewChange(message.clone())));
    }
}
