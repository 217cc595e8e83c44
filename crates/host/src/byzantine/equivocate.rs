//! A primary that shows some backups one batch and the others another: both valid, both signed, at one place. As a backup
//! it does with its PREPAREs what it does with its proposals, which carry the primary's PREPARE. Whoever asks for the other
//! batch gets it, so that it can prepare, and commit in a later view, as well as the first one.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_protocol::codec::List;
use quorate_protocol::message::{PeerMessage, Prepare};
use quorate_protocol::process::{Effect, Event, Say};
use quorate_protocol::request::{Batch, Body, Nondet};
use quorate_protocol::types::{Digest, Seq};

use super::Behaviour;
use super::equivocate_votes::EquivocateVotes;
use super::stage::{Acts, Saying, Stage};

/// Other batches that it can show again.
const OTHERS_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct Equivocate {
    as_backup: EquivocateVotes,
    others: BTreeMap<(Seq, Digest), Arc<Body>>,
}

impl Equivocate {
    pub(super) fn new() -> Self {
        Self { as_backup: EquivocateVotes::prepares(), others: BTreeMap::new() }
    }
}

/// Another batch of the same requests: they come in another order, and at another time.
fn other(stage: &Stage<'_>, body: &Body) -> Arc<Body> {
    let Batch { nondet, requests } = &body.batch;
    let requests = requests.iter().rev().cloned().collect();
    let batch = Batch { nondet: Nondet { time: nondet.time.plus(1) }, requests: List(requests) };
    Body::new(batch, stage.replica.context().cluster)
}

impl Behaviour for Equivocate {
    fn event(&mut self, stage: &mut Stage<'_>, event: &mut Event, acts: &mut Acts) -> bool {
        if let Event::FetchBody { from, seq, digest } = event
            && let Some(body) = self.others.get(&(*seq, *digest)).filter(|_| *from != stage.me())
        {
            let batch = body.batch.clone();
            acts.say(*from, Say::Relay(PeerMessage::Body { seq: *seq, batch }));
            return false;
        }
        self.as_backup.event(stage, event, acts)
    }

    fn say(&mut self, stage: &mut Stage<'_>, saying: Saying, out: &mut Vec<Effect>) {
        let Say::PrePrepare { prepare, body: Some(body) } = &saying.message else {
            return self.as_backup.say(stage, saying, out);
        };
        if !stage.is_tempted(prepare.view, Some(prepare.seq)) {
            return out.push(saying.effect());
        }
        let body = other(stage, body);
        let prepare = Prepare { digest: body.digest, ..*prepare };
        let half = stage.half();
        self.others.insert((prepare.seq, prepare.digest), Arc::clone(&body));
        if self.others.len() > OTHERS_MAX {
            self.others.pop_first();
        }
        // Whoever counts a proposal and a PREPARE of its author as two votes prepares what too few vouch for.
        let lie = |_| {
            let proposal = Say::PrePrepare { prepare, body: Some(Arc::clone(&body)) };
            vec![proposal, Say::Prepare(prepare)]
        };
        stage.tell(saying, &half, lie, out);
    }
}
