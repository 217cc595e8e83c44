//! A slot in a replica: its steps alone, and from the frames on, with everything that is decoded and checked.

use std::sync::Arc;

use quorate_host::border::Border;
use quorate_protocol::message::{Commit, Prepare};
use quorate_protocol::parameters::Context;
use quorate_protocol::process::{Event, Process};
use quorate_protocol::replica::Replica;
use quorate_protocol::request::Request;
use quorate_protocol::signed::Verified;
use quorate_protocol::types::{ReplicaId, Seq, View};
use quorate_protocol::verify::{Incoming, Verifier};

use crate::made::{self, Arrival, NOW};
use crate::table::{Bench, Each};

/// Slots in a row, fewer than a checkpoint is due after.
const SLOTS: usize = 64;

pub(crate) fn measure(bench: &mut Bench) {
    for n in [4, 16] {
        steps_of_a_backup(bench, n);
    }
    steps_of_a_primary(bench);
    for n in [4, 16] {
        receipt(bench, n);
    }
}

fn steps_of_a_backup(bench: &mut Bench, n: u8) {
    let context = made::context(n);
    let mut verifier = Verifier::new(context.clone(), [3; 32]);
    let events: Vec<Event> =
        (1..=SLOTS as u64).flat_map(|slot| heard(&context, &mut verifier, slot)).collect();
    bench.measure(
        &format!("step: slots of 64 requests, proposal to commit, n = {n}"),
        Each(SLOTS, "slot"),
        || (Replica::new(context.clone(), ReplicaId(1)), events.clone()),
        |(mut replica, events)| {
            let mut effects = Vec::new();
            for event in events {
                replica.step(NOW, event, &mut effects);
                effects.clear();
            }
            assert_eq!(replica.committed(), Seq(SLOTS as u64));
            replica
        },
    );
}

/// The events of a slot at backup 1 as far as they matter: no vote is beyond the quorum, for none comes through then.
fn heard(context: &Context, verifier: &mut Verifier, slot: u64) -> Vec<Event> {
    let (seq, quorum) = (Seq(slot), made::quorum(context));
    let batch = made::batch(context, slot, 64, 1);
    let digest = batch.digest(context.cluster);
    let message = made::proposal(context, seq, &batch);
    let mut events = vec![made::event(verifier, Incoming::Peer { from: ReplicaId(0), message })];
    let prepare = |id| made::signer(context, id).sign(Prepare { view: View(0), seq, digest });
    let commit = |id| made::signer(context, id).sign(Commit { view: View(0), seq, digest });
    events.extend((1..quorum).map(prepare).map(Event::Prepare));
    events.extend((0..quorum).map(commit).map(Event::Commit));
    events.push(Event::Executed { seq, root: None });
    events
}

/// A batch is cut, hashed, and handed out to be written and sent.
fn steps_of_a_primary(bench: &mut Bench) {
    let context = made::context(4);
    for (name, requests, operations) in
        [("64 requests of one operation", 64, 1), ("8 bundles of 64 operations", 8, 64)]
    {
        let batch = made::batch(&context, 1, requests, operations);
        let requests = verified(&context, &batch.requests);
        bench.measure(
            &format!("step: {name} to a proposal"),
            Each(batch.operations(), "operation"),
            || {
                let event = Event::Requests { requests: requests.clone(), forwarded_by: None };
                (Replica::new(context.clone(), ReplicaId(0)), event)
            },
            |(mut replica, event)| {
                let mut effects = Vec::new();
                replica.step(NOW, event, &mut effects);
                assert_eq!(replica.counters().proposed, 1);
                (replica, effects)
            },
        );
    }
}

fn verified(context: &Context, requests: &[Arc<Request>]) -> Vec<Verified<Arc<Request>>> {
    let mut verifier = Verifier::new(context.clone(), [3; 32]);
    let incoming = requests.iter().cloned().map(Incoming::Client).collect();
    let events = verifier.verify(incoming).into_iter().map(|verdict| verdict.expect("it is signed well"));
    let requests = events.map(|event| match event {
        Event::Requests { requests, .. } => requests,
        other => panic!("a request becomes no {other:?}"),
    });
    requests.flatten().collect()
}

/// Bundles, so that most of what is checked are votes.
fn receipt(bench: &mut Bench, n: u8) {
    let context = made::context(n);
    let slots = (1..=16).map(|slot| made::slot(&context, Seq(slot), &made::batch(&context, slot, 1, 64)));
    let arrivals: Vec<Arrival> = slots.flatten().collect();
    let quorum = u64::from(made::quorum(&context));
    bench.measure(
        &format!("border, verify, step: slots of one bundle, n = {n}"),
        Each(16, "slot"),
        || (Replica::new(context.clone(), ReplicaId(1)), Verifier::new(context.clone(), [3; 32])),
        |(mut replica, mut verifier)| {
            receive(&mut replica, &mut verifier, &arrivals);
            assert_eq!(replica.committed(), Seq(16));
            // The bundle, the proposal, and what the quorums of PREPAREs and COMMITs still lack then.
            assert_eq!(verifier.checks().signatures, 16 * (2 + quorum - 2 + quorum - 1));
            replica
        },
    );
}

/// Takes what arrives through border, verifier and replica, as a host does.
pub(crate) fn receive(replica: &mut Replica, verifier: &mut Verifier, arrivals: &[Arrival]) {
    let (mut border, mut effects) = (Border::default(), Vec::new());
    for arrival in arrivals {
        match arrival {
            Arrival::Frame(from, frame) => {
                border.peer_frame(NOW, *from, frame, replica).expect("it is a message of that replica");
            }
            Arrival::Own(event) => replica.step(NOW, event.clone(), &mut effects),
        }
        let job = border.take(replica, true);
        for event in verifier.verify(job) {
            replica.step(NOW, event.expect("it is signed well"), &mut effects);
        }
        effects.clear();
    }
}
