//! A primary that orders null batches only: slots pass, and nobody is served.
//!
//! Its replica never hears of requests, and hears of all others that they came back without their journals, for whom an
//! idle primary orders null batches. So what it says is its honest word, and only what it heard was none.

use std::collections::BTreeMap;

use quorate_protocol::message::Status;
use quorate_protocol::process::{Effect, Event, Say};
use quorate_protocol::replica::Status as Standing;
use quorate_protocol::types::{ReplicaId, Time};

use super::Behaviour;
use super::stage::{Acts, Saying, Stage};

/// How often it hears so.
const EVERY_US: u64 = 20_000;

#[derive(Debug)]
pub(super) struct NullOnly {
    at: Time,
    /// What each of the others said of itself last.
    standing: BTreeMap<ReplicaId, Status>,
}

impl NullOnly {
    pub(super) fn new(now: Time) -> Self {
        Self { at: now, standing: BTreeMap::new() }
    }
}

impl Behaviour for NullOnly {
    fn event(&mut self, stage: &mut Stage<'_>, event: &mut Event, _acts: &mut Acts) -> bool {
        let view = stage.replica.view();
        match event {
            Event::Requests { .. } | Event::Status { .. } if !stage.is_tempted(view, None) => true,
            Event::Requests { .. } => false,
            Event::Status { from, status } => {
                self.standing.insert(*from, status.clone());
                if stage.trigger.is_for(*from) {
                    status.amnesia_high = Some(stage.replica.watermarks().1);
                }
                true
            }
            _ => true,
        }
    }

    fn say(&mut self, stage: &mut Stage<'_>, saying: Saying, out: &mut Vec<Effect>) {
        if matches!(saying.message, Say::PrePrepare { body: None, .. }) && stage.is_time() {
            stage.count(1);
        }
        out.push(saying.effect());
    }

    fn deadline(&self) -> Option<Time> {
        Some(self.at)
    }

    fn wake(&mut self, stage: &mut Stage<'_>, acts: &mut Acts) {
        self.at = stage.now.plus(EVERY_US);
        let replica = stage.replica;
        let reigns = replica.primary() == replica.id() && replica.status() == Standing::Normal;
        if !reigns || !stage.is_tempted(replica.view(), None) {
            return;
        }
        for from in stage.targets() {
            let mut status = self.standing.get(&from).cloned().unwrap_or_else(|| replica.own_status());
            status.amnesia_high = Some(replica.watermarks().1);
            acts.events.push(Event::Status { from, status });
        }
    }
}
