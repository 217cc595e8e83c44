//! D11: a primary that fills backups' journals with batches for far slots, each of which one replica only is shown, and
//! then says nothing any more.

use std::sync::Arc;

use quorate_protocol::crypto::SecretKey;
use quorate_protocol::message::{PeerMessage, PrePrepare};
use quorate_protocol::request::{Draft, Kind, Operations, Request};
use quorate_protocol::types::{Number, ReplicaId, Session, View};

use super::lab::{Lab, T0, calm, newest_open_view};
use super::puppets::{Pens, prepare};

/// The first primary.
const LIAR: u16 = 0;
/// Slots between two checkpoints of a small state, and between the watermarks.
const K: u64 = 8;
const L: u64 = 8 * K;
/// Bytes that change between two checkpoints, if they are a twelfth of the state.
const CHECKPOINT_BYTES: u64 = 4096;
/// Entries of the state, and bytes of each: many times as much.
const ENTRIES: u64 = 48;
const ENTRY_BYTES: usize = 1900;
const OPERATION_BYTES: usize = 2048;
const BATCH_BYTES: usize = 3072;

/// An idle cluster with a state that is large for its parameters: no multiple of K need be a checkpoint.
fn cluster() -> Lab {
    let mut setting = calm(4, 1);
    let parameters = &mut setting.parameters;
    (parameters.checkpoint_interval, parameters.window) = (K, L);
    parameters.checkpoint_bytes = CHECKPOINT_BYTES;
    (parameters.operation_bytes_max, parameters.batch_bytes_max) =
        (OPERATION_BYTES as u64, BATCH_BYTES as u64);
    let mut lab = Lab::new(&setting, 1);
    for key in 0..ENTRIES {
        lab.ask(0, &format!("put k{key} {}", "x".repeat(ENTRY_BYTES)));
        lab.await_that("the state grows", 4 * T0, Lab::is_answered);
    }
    lab.run(T0);
    assert!(lab.is_at_rest() && newest_open_view(&lab) == View(0));
    lab
}

/// A request of so many bytes and some more, of a client without a session.
fn request(pens: &Pens, bytes: usize) -> Arc<Request> {
    let operations = Operations::new(vec![7; bytes].chunks(OPERATION_BYTES));
    let (session, first, ack, kind) = (Session(1), Number(1), Number(1), Kind::Operations);
    let draft = Draft { session, first, ack, kind, operations };
    Arc::new(Request::sign(&SecretKey::from_seed(&[99; 32]), pens.context.cluster, draft))
}

/// The liar proposes in the slots that are open, the farthest first, batches that nobody but this replica sees: large ones
/// while they find room, then smaller ones.
fn crowd(lab: &mut Lab, victim: u16) {
    let pens = Pens::of(lab.world.context());
    let (mut bytes, mut seq) = (BATCH_BYTES - 256, lab.replica(victim).watermarks().1.0);
    while bytes >= ENTRY_BYTES / 2 {
        assert!(seq > lab.executed(), "all slots are filled, and there is room");
        let body = pens.batch(lab.world.now(), vec![request(&pens, bytes)]);
        let signed = pens.sign(LIAR, prepare(0, seq, body.digest));
        let message =
            PeerMessage::PrePrepare(PrePrepare { prepare: signed, batch: Some(body.batch.clone()) });
        lab.world.inject(ReplicaId(LIAR), ReplicaId(victim), &message);
        lab.run(4_000);
        if lab.count(&[&format!("{victim} -> all: PREPARE v0 n{seq} ")]) == 0 {
            bytes /= 2;
        }
        seq -= 1;
    }
    assert!(lab.replica(victim).lacks_room());
}

// Of a large state a checkpoint is due only when much has changed, which null batches never bring about, or when half a
// window has passed: several multiples of K lie on the way.
#[test]
fn d11_a_primary_that_fills_journals_with_far_slots_of_a_large_state_and_falls_silent_stops_nobody() {
    for victims in [&[1][..], &[2], &[1, 2, 3]] {
        let mut lab = cluster();
        lab.world.distrust(ReplicaId(LIAR));
        lab.world.crash(ReplicaId(LIAR)).unwrap();
        victims.iter().for_each(|victim| crowd(&mut lab, *victim));
        let (low, _) = lab.replica(1).watermarks();
        let due = lab.world.context().parameters.checkpoint_due_by(low);
        let next = lab.executed().next_multiple_of(K);
        assert!(next < due.0, "the next multiple of K is no checkpoint: {low}, {next}, {due}");
        lab.ask(0, &format!("put k0 {}", "y".repeat(ENTRY_BYTES)));
        lab.await_that(&format!("the cluster serves again, {victims:?} crowded"), 40 * T0, Lab::is_answered);
        let nulls = lab.count(&["-> all: PRE-PREPARE", "null"]);
        assert!(lab.executed() > due.0 && nulls > 0, "null batches brought the checkpoint: {nulls}");
        let free = |lab: &Lab| lab.is_at_rest() && lab.alive().iter().all(|replica| !replica.lacks_room());
        lab.await_that("nobody lacks room any more", 40 * T0, free);
    }
}
