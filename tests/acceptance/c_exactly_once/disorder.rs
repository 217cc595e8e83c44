//! Whatever is ordered, in whatever order and however often, against the book.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_protocol::message::Outcome;
use quorate_protocol::request::{Kind, Request};
use quorate_protocol::types::{ReplicaId, Seq, Session, View};
use quorate_sim::rng::Rng;

use super::super::book::Command;
use super::super::lab::{Lab, T0, number};
use super::{LARGE, Requests, Stage, TOO_LARGE, W, setting};

/// Seeds of disorder; a nightly run says how many in `QUORATE_SEEDS`.
const SEEDS: u64 = 12;

/// Requests of all kinds, in and out of order, many of them not for the first time.
struct Mischief {
    rng: Rng,
    signed: Vec<(usize, Arc<Request>)>,
    sessions: Vec<(usize, Session)>,
    registrations: Vec<(u64, Seq)>,
}

impl Mischief {
    fn new(stage: &Stage, seed: u64) -> Self {
        let clients = 0..stage.lab.world.clients().len();
        let sessions = clients.map(|client| (client, stage.session(client))).collect();
        Self { rng: Rng::new(seed), signed: Vec::new(), sessions, registrations: Vec::new() }
    }

    fn request(&mut self, stage: &mut Stage) -> (usize, Arc<Request>) {
        if !self.signed.is_empty() && self.rng.chance(400_000) {
            return self.rng.pick(&self.signed).clone();
        }
        let made = if self.rng.chance(120_000) { self.registration(stage) } else { self.operations(stage) };
        self.signed.push(made.clone());
        made
    }

    fn registration(&mut self, stage: &mut Stage) -> (usize, Arc<Request>) {
        let client = usize::try_from(self.rng.below(3)).unwrap();
        let (nonce, expires) = match self.registrations.is_empty() || self.rng.chance(700_000) {
            true => (stage.nonce(), stage.book.executed.plus(self.rng.below(80))),
            false => *self.rng.pick(&self.registrations),
        };
        let (request, session) = stage.register(client, nonce, expires);
        self.registrations.push((nonce, expires));
        self.sessions.push((client, session));
        (client, request)
    }

    fn operations(&mut self, stage: &mut Stage) -> (usize, Arc<Request>) {
        let (client, session) = *self.rng.pick(&self.sessions);
        // What a session is at by now is nobody's secret; around that, and rarely far from it.
        let reached = stage.book.reached(stage.id(client), session);
        let first = match self.rng.below(20) {
            0 => self.rng.any().clamp(1, u64::MAX - 8),
            _ => (reached + self.rng.below(W + 6)).saturating_sub(4).max(1),
        };
        let ack = match self.rng.below(20) {
            0 => first,
            _ => first.saturating_sub(self.rng.below(2 * W)).max(1),
        };
        let kind = if self.rng.chance(200_000) { Kind::Fifo } else { Kind::Operations };
        let commands: Vec<Command> = (0..self.rng.between(1, 4)).map(|_| self.command()).collect();
        (client, stage.ask_in(client, session, (first, ack, kind), &commands))
    }

    fn command(&mut self) -> Command {
        match self.rng.below(12) {
            0 => Command::Fill(LARGE),
            1 => Command::Fill(TOO_LARGE),
            _ => Command::Note(self.rng.below(100)),
        }
    }

    fn batch(&mut self, stage: &mut Stage) -> Requests {
        (0..self.rng.below(5)).map(|_| self.request(stage).1).collect()
    }
}

/// A lying primary's disorder, during which a replica misses so much that it fetches the state; then a view change
/// with some of it half agreed on; then a correct primary whom clients send the same disorder.
fn live_through(seed: u64) -> Stage {
    let mut stage = Stage::new(&setting(7, seed), 3).usurp();
    let mut mischief = Mischief::new(&stage, seed);
    let away = ReplicaId(u16::try_from(1 + seed % 6).unwrap());
    for round in 0..40 {
        if round == 8 {
            stage.lab.cut(1 << away.0, 0b0111_1111);
            stage.lab.cut(0b0111_1111, 1 << away.0);
            stage.deaf = Some(away);
        }
        if round == 28 {
            stage.lab.heal();
            stage.deaf = None;
            let fetched = |lab: &Lab| lab.world.node(away).host().transfer_counters().completed > 0;
            stage.lab.await_that("it fetches the state", 40 * T0, |lab| fetched(lab) && lab.is_at_rest());
        }
        let batch = mischief.batch(&mut stage);
        let seq = stage.propose(&batch);
        stage.run(if mischief.rng.chance(500_000) { 20_000 } else { 1_000 });
        if seq.0.is_multiple_of(2) {
            let caught_up = |lab: &Lab| lab.executed() == seq.0;
            stage.lab.await_that("it executes", 4 * T0, caught_up);
            stage.run(20_000);
        }
    }
    stage.lab.stop(None, None, "commit", false);
    for _ in 0..3 {
        let batch = mischief.batch(&mut stage);
        stage.propose(&batch);
        stage.run(1_000);
    }
    for round in 0..40 {
        let (client, request) = mischief.request(&mut stage);
        let to = if round < 5 { 1..7 } else { mischief.rng.between(1, 4)..mischief.rng.between(4, 7) };
        for to in to {
            let to = ReplicaId(u16::try_from(to).unwrap());
            stage.lab.world.send_request(client, to, &request);
        }
        stage.run(if round < 5 { 10_000 } else { 100_000 });
        if round == 4 {
            let left = |lab: &Lab| lab.alive().iter().all(|replica| replica.view() >= View(1));
            stage.lab.await_that("they leave the view", 8 * T0, left);
            stage.lab.heal();
        }
    }
    stage.lab.await_that("all is quiet", 40 * T0, |lab| {
        lab.is_at_rest() && lab.alive().iter().all(|replica| replica.pooled() == 0)
    });
    stage.run(4 * T0);
    stage.agrees();
    stage
}

#[test]
fn c6_whatever_is_ordered_and_replayed_is_executed_and_answered_by_the_book() {
    let (mut ended, mut evicted, mut repeated, mut executed) = (BTreeMap::new(), 0, 0, 0);
    for seed in 0..number("QUORATE_SEEDS").unwrap_or(SEEDS) {
        let stage = live_through(seed);
        for (_, reply) in stage.book.replies.values().flatten() {
            let kind = match reply.outcome {
                Outcome::Done(_) => "Done".to_owned(),
                ref other => format!("{other:?}"),
            };
            *ended.entry(kind).or_insert(0) += 1;
        }
        evicted += stage.book.evicted.len();
        repeated += stage.book.repeated;
        executed += stage.book.ledger.executed.len();
    }
    println!("{executed} executed, {repeated} repeated, {evicted} sessions evicted; {ended:?}");
    for kind in ["Done", "NoSession", "Old", "Window", "Gap", "Expired", "Full", "Registered", "TooLarge"] {
        assert!(ended.get(kind).is_some_and(|count| *count >= 5), "too few of {kind}: {ended:?}");
    }
    assert!(evicted >= 5 && repeated >= 100 && executed >= 100);
}
