//! A primary that orders every request twice, and those of the batch before once more: each must execute once all the same.

use std::sync::Arc;

use quorate_protocol::codec::List;
use quorate_protocol::message::Prepare;
use quorate_protocol::parameters::Parameters;
use quorate_protocol::process::{Effect, Say};
use quorate_protocol::request::{Batch, Body, Request};

use super::Behaviour;
use super::stage::{Saying, Stage};

#[derive(Debug, Default)]
pub(super) struct DuplicateRequests {
    before: Vec<Arc<Request>>,
}

/// As many as a batch may hold.
fn fitting(parameters: &Parameters, wanted: impl Iterator<Item = Arc<Request>>) -> Vec<Arc<Request>> {
    let mut bytes: u64 = 0;
    let mut requests: Vec<Arc<Request>> = Vec::new();
    for request in wanted {
        bytes = bytes.saturating_add(request.bytes() as u64);
        if bytes > parameters.batch_bytes_max || requests.len() as u64 >= parameters.batch_requests_max {
            break;
        }
        requests.push(request);
    }
    requests
}

impl Behaviour for DuplicateRequests {
    fn say(&mut self, stage: &mut Stage<'_>, saying: Saying, out: &mut Vec<Effect>) {
        let Say::PrePrepare { prepare, body: Some(body) } = &saying.message else {
            return out.push(saying.effect());
        };
        let context = stage.replica.context();
        let asked = &body.batch.requests;
        let again = asked.iter().rev().chain(&self.before).cloned();
        let twice = fitting(&context.parameters, asked.iter().cloned().chain(again));
        self.before = asked.to_vec();
        if twice.len() <= asked.len() || !stage.is_tempted(prepare.view, Some(prepare.seq)) {
            return out.push(saying.effect());
        }
        let batch = Batch { nondet: body.batch.nondet, requests: List(twice) };
        let body = Body::new(batch, context.cluster);
        let prepare = Prepare { digest: body.digest, ..*prepare };
        let targets = stage.targets();
        let lie = |_| vec![Say::PrePrepare { prepare, body: Some(Arc::clone(&body)) }];
        stage.tell(saying, &targets, lie, out);
    }
}
