//! A replica that was away: what it is sent below its watermark, and what it does with a state that was fetched for it.

use super::*;
use crate::codec::Blob;
use crate::message::{Status as Standing, Transfer};
use crate::verify::{Incoming, Invalid, Verifier};

const ROOT: Digest = Digest([8; 32]);

fn stable(bench: &Bench, seq: u64) -> Verified<Certificate<Checkpoint>> {
    let checkpoint = Checkpoint { seq: Seq(seq), root: ROOT, epoch_end: Seq::MAX };
    Verified::vouch(bench.certificate(checkpoint, &[0, 2, 3]))
}

/// Commits a slot and, if told to, reports it as executed.
fn commit_slot(bench: &mut Bench, seq: u64, execute: bool) {
    let body = bench.body(seq);
    let this = vote(0, seq, body.digest);
    bench.pre_prepare(this, Some(&body));
    [0, 2, 3].into_iter().for_each(|id| bench.commit(id, this));
    if execute {
        bench.step(Event::Executed { seq: Seq(seq), root: None });
    }
}

/// Replica 1 knows that slot 12 is stable, and has nothing of it.
fn behind() -> Bench {
    let mut bench = Bench::new(4, 1);
    let certificate = stable(&bench, 12);
    bench.step(Event::StableCertificate(certificate));
    assert!(bench.replica.behind() && bench.replica.lost_its_place());
    assert_eq!(bench.installs, [Seq(12)]);
    bench
}

#[test]
fn f1_an_installed_state_moves_execution_and_neither_view_nor_votes() {
    let mut bench = behind();
    // It votes meanwhile, between its new watermarks, and in a view that others took it to.
    commit_slot(&mut bench, 13, false);
    assert_eq!(bench.prepares().len(), 1);
    let (view, commits, prepares) = (bench.replica.view(), bench.commits(), bench.prepares());
    assert!(bench.executed.is_empty());
    bench.said.clear();
    bench.step(Event::Installed { seq: Seq(12), root: ROOT });
    assert_eq!(bench.executed, [Seq(13)], "what had committed above it executes at once");
    assert!(!bench.replica.behind());
    assert_eq!((bench.replica.view(), bench.replica.status()), (view, Status::Normal));
    assert!(bench.prepares().is_empty() && bench.commits().is_empty() && bench.view_changes().is_empty());
    assert!(prepares.len() == 1 && commits.len() <= 1);
    let checkpoint = Checkpoint { seq: Seq(12), root: ROOT, epoch_end: Seq::MAX };
    assert!(bench.said.contains(&Say::Checkpoint(checkpoint)), "it has that state now, and says so");
    bench.said.clear();
    bench.pass(1_000);
    assert!(
        bench.relayed().iter().any(|message| matches!(message, PeerMessage::Status(_))),
        "asks for the rest"
    );
    // A state that comes too late changes nothing.
    bench.step(Event::Executed { seq: Seq(13), root: None });
    bench.step(Event::Installed { seq: Seq(12), root: ROOT });
    assert_eq!((bench.replica.executed(), bench.executed.len()), (Seq(13), 1));
}

#[test]
fn f1_a_state_that_is_still_too_old_leads_to_the_next_one() {
    let mut bench = behind();
    let certificate = stable(&bench, 28);
    bench.step(Event::StableCertificate(certificate));
    bench.step(Event::Installed { seq: Seq(12), root: ROOT });
    assert_eq!(bench.installs, [Seq(12), Seq(28), Seq(28)]);
    bench.step(Event::Installed { seq: Seq(28), root: ROOT });
    assert!(!bench.replica.behind());
    assert_eq!(bench.installs.len(), 3);
}

#[test]
fn what_waited_since_before_a_state_was_installed_is_looked_up_and_times_nobody() {
    let mut bench = behind();
    let waiting = signed_request(&bench, 1);
    bench.step(Event::Requests { requests: vec![waiting.clone()], forwarded_by: None });
    assert_eq!(bench.replica.waiting().progress, None, "who cannot execute cannot know whether it is owed");
    bench.step(Event::Installed { seq: Seq(12), root: ROOT });
    assert_eq!(bench.looked_up, 1);
    assert_eq!((bench.replica.pooled(), bench.replica.waiting().progress), (0, None));
    bench.pass(10_000_000);
    assert_eq!(bench.replica.view(), View(0));
    // What had not executed comes back, and is owed then.
    bench.step(Event::Requests { requests: vec![waiting], forwarded_by: None });
    assert!(bench.replica.waiting().progress.is_some());
}

fn standing(low: u64, executed: u64) -> Standing {
    Standing {
        epoch: Epoch(0),
        view: View(0),
        changing: false,
        low: Seq(low),
        executed: Seq(executed),
        committed: Blob::default(),
        prepared: Blob::default(),
        bodies: Blob::default(),
        view_changes: Blob::default(),
        new_view: View(0),
        amnesia_high: None,
    }
}

#[test]
fn slots_below_the_watermark_are_kept_for_one_interval_and_sent_to_who_lacks_them() {
    let mut bench = Bench::new(4, 1);
    (1..=8).for_each(|seq| commit_slot(&mut bench, seq, true));
    let certificate = stable(&bench, 8);
    bench.step(Event::StableCertificate(certificate));
    bench.said.clear();
    let shown = |bench: &Bench| -> Vec<u64> {
        let seq = |message: &&PeerMessage| match message {
            PeerMessage::CommitCertificate(proof) => Some(proof.statement.seq.0),
            _ => None,
        };
        bench.relayed().iter().filter_map(seq).collect()
    };
    // K = 4: of slots 1 to 8 the last four.
    bench.step(Event::Status { from: ReplicaId(2), status: standing(8, 5) });
    assert_eq!(shown(&bench), [6, 7, 8]);
    bench.said.clear();
    bench.step(Event::Status { from: ReplicaId(3), status: standing(8, 3) });
    assert!(shown(&bench).is_empty(), "the rest without the first is of no use: it needs a state");
    // A liar's numbers cost nothing.
    bench.now = bench.now.plus(1_000_000);
    bench.step(Event::Status { from: ReplicaId(3), status: standing(u64::MAX, 0) });
    bench.now = bench.now.plus(1_000_000);
    bench.step(Event::Status { from: ReplicaId(3), status: standing(u64::MAX, u64::MAX) });
    // Their bodies are served as well.
    bench.said.clear();
    let digest = bench.body(6).digest;
    bench.step(Event::FetchBody { from: ReplicaId(2), seq: Seq(6), digest });
    assert_eq!(bench.relayed().len(), 1);
    let kept = bench.replica.footprint();
    assert_eq!((kept.slots, kept.bodies), (4 + 8, 4));
    assert_eq!(kept.commits, 0, "votes go when a checkpoint is stable, their certificate stays");
}

#[test]
fn a_proposal_far_ahead_makes_a_replica_ask_what_it_missed() {
    let asks = |seq: u64| {
        let mut bench = Bench::new(4, 1);
        let parameters = Parameters { pipeline_depth: 2, ..Parameters::clone(&bench.context.parameters) };
        let context = Context { parameters: Arc::new(parameters), ..bench.context.clone() };
        bench.replica = Replica::new(context, ReplicaId(1));
        let body = bench.body(seq);
        bench.pre_prepare(vote(0, seq, body.digest), Some(&body));
        bench.pass(60_000);
        bench.relayed().iter().any(|message| matches!(message, PeerMessage::Status(_)))
    };
    assert!(!asks(4), "two pipelines explain it, one of them not committed here yet");
    assert!(asks(5));
}

#[test]
fn parts_of_states_are_no_business_of_a_verifier() {
    let bench = Bench::new(4, 1);
    let mut verifier = Verifier::new(bench.context.clone(), [5; 32]);
    let message = PeerMessage::Transfer(Transfer::Lacks { seq: Seq(8) });
    let verdict = verifier.verify(vec![Incoming::Peer { from: ReplicaId(2), message }]).swap_remove(0);
    assert_eq!(verdict.err(), Some(Invalid::NotForReplicas));
}

#[test]
fn f1_bodies_below_the_low_watermark_are_bounded_though_no_slot_is_seen_to_commit() {
    let mut bench = Bench::new(4, 1);
    let held = |bench: &Bench| {
        let bodies = bench.replica.log.slots().flat_map(|slot| &slot.bodies);
        bodies.flat_map(|body| body.batch.requests.iter()).map(|request| request.bytes() as u64).sum::<u64>()
    };
    let body_of = |bench: &Bench, tag: u64| {
        let key = SecretKey::from_seed(&[77; 32]);
        let operations = Operations::new(std::iter::repeat_n(&[7; 250_000][..], 4));
        let (first, ack, kind) = (Number(tag), Number(1), Kind::Operations);
        let draft = Draft { session: Session(1), first, ack, kind, operations };
        let requests = List(vec![Arc::new(Request::sign(&key, bench.context.cluster, draft))]);
        let batch = Batch { nondet: Nondet { time: Time(1_000_000 + tag) }, requests };
        Body::new(batch, bench.context.cluster)
    };
    let (mut most, mut one) = (0, 0);
    for window in 0..16_u64 {
        for seq in window * 8 + 1..=window * 8 + 8 {
            let body = body_of(&bench, seq);
            bench.pre_prepare(vote(0, seq, body.digest), Some(&body));
        }
        let all = held(&bench);
        one = if window == 0 { all } else { one };
        let certificate = stable(&bench, window * 8 + 8);
        bench.step(Event::StableCertificate(certificate));
        most = most.max(held(&bench));
    }
    assert!(one >= 8_000_000 && most >= 16 << 20, "they are kept for a while: {most}");
    assert!(most <= (96 << 20) + one, "{most} bytes");
}
