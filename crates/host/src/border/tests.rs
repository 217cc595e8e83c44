//! Claims about the border.

use quorate_protocol::certificate::Certificate;
use quorate_protocol::codec::List;
use quorate_protocol::committee::Committee;
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::message::{Checkpoint, ViewChange};
use quorate_protocol::parameters::{Context, Parameters};
use quorate_protocol::process::{Event, Process};
use quorate_protocol::request::{Batch, Draft, Kind as RequestKind, Nondet, Operations};
use quorate_protocol::signed::{Signer, Verified};
use quorate_protocol::types::{ClusterId, Digest, Epoch, Number, Seq, Session, Signature, View};

use super::*;

const NOW: Time = Time(1_000);

fn replica_1_of_4() -> (Replica, Vec<Signer>) {
    let keys: Vec<_> = (1..=4).map(|seed| Arc::new(SecretKey::from_seed(&[seed; 32]))).collect();
    let public: Vec<_> = keys.iter().map(|key| key.public()).collect();
    let (cluster, epoch) = (ClusterId(Digest([9; 32])), Epoch(0));
    let committee = Arc::new(Committee::new(&public, false).unwrap());
    let context = Context { cluster, epoch, committee, parameters: Arc::new(Parameters::default()) };
    let signers = (0..).map(ReplicaId).zip(keys).map(|(id, key)| Signer::new(key, cluster, epoch, id));
    (Replica::new(context, ReplicaId(1)), signers.collect())
}

fn commit_of(signer: &Signer) -> Verified<Signed<Commit>> {
    signer.sign(Commit { view: View(0), seq: Seq(1), digest: Digest([5; 32]) })
}

fn peer((from, message): (ReplicaId, PeerMessage)) -> Incoming {
    Incoming::Peer { from, message }
}

fn arrive(border: &mut Border, from: u16, message: &PeerMessage, replica: &Replica) {
    border.peer_frame(NOW, ReplicaId(from), &codec::encode(message).unwrap(), replica).unwrap();
}

#[test]
fn a_vote_that_was_counted_already_takes_no_other_one_with_it() {
    let (mut replica, signers) = replica_1_of_4();
    let mut border = Border::default();
    for from in [2, 3] {
        let vote = commit_of(&signers[usize::from(from)]).into_inner();
        arrive(&mut border, from, &PeerMessage::Commit(vote), &replica);
    }
    assert!(border.take(&replica, true).is_empty(), "two votes are no quorum");
    // The first of them was under way already when it came again.
    replica.step(NOW, Event::Commit(commit_of(&signers[2])), &mut Vec::new());
    assert!(border.take(&replica, true).is_empty());
    replica.step(NOW, Event::Commit(commit_of(&signers[0])), &mut Vec::new());
    let ready = border.take(&replica, true);
    assert_eq!(ready, [peer(commit(commit_of(&signers[3]).into_inner()))]);
    assert_eq!(border.counters().useless, 1);
}

#[test]
fn a_batch_that_nobody_asked_for_is_not_verified() {
    let (replica, _) = replica_1_of_4();
    let mut border = Border::default();
    let batch = Batch { nondet: Nondet::default(), requests: codec::List(Vec::new()) };
    arrive(&mut border, 2, &PeerMessage::Body { seq: Seq(1), batch }, &replica);
    assert!(border.take(&replica, true).is_empty());
}

fn request(seed: u8, first: u64) -> Arc<Request> {
    let draft = Draft {
        session: Session(1),
        first: Number(first),
        ack: Number(1),
        kind: RequestKind::Operations,
        operations: Operations::new(std::iter::once(&[seed; 8][..])),
    };
    Arc::new(Request::sign(&SecretKey::from_seed(&[seed; 32]), ClusterId(Digest([9; 32])), draft))
}

fn checkpoint_of(signer: &Signer, root: u64) -> PeerMessage {
    let mut digest = [7; 32];
    digest[..8].copy_from_slice(&root.to_le_bytes());
    let vote = Checkpoint { seq: Seq(128), root: Digest(digest), epoch_end: Seq::MAX };
    PeerMessage::Checkpoint(signer.sign(vote).into_inner())
}

fn requests_in(job: &[Incoming]) -> usize {
    job.iter().filter(|incoming| matches!(incoming, Incoming::Client(_))).count()
}

#[test]
fn a_flood_of_requests_delays_a_vote_by_no_more_than_one_job() {
    let (replica, signers) = replica_1_of_4();
    let mut border = Border::default();
    let flood = request(50, 1);
    for _ in 0..5_000 {
        border.admit(Arc::clone(&flood));
    }
    arrive(&mut border, 2, &checkpoint_of(&signers[2], 1), &replica);
    let job = border.take(&replica, true);
    assert!(
        job.contains(&peer((ReplicaId(2), checkpoint_of(&signers[2], 1)))),
        "the vote is in the next job"
    );
    // And the job stays one that is worth its batch, not the whole flood.
    assert_eq!(requests_in(&job), 512);
    assert_eq!(border.requests(), 5_000 - 512);
    // A host that has served clients in this round leaves them for the next.
    arrive(&mut border, 3, &checkpoint_of(&signers[3], 1), &replica);
    let job = border.take(&replica, false);
    assert_eq!((job.len(), requests_in(&job)), (1, 0));
}

#[test]
fn a_replica_that_floods_delays_itself_alone() {
    let (replica, signers) = replica_1_of_4();
    let mut border = Border::default();
    for root in 0..5_000 {
        arrive(&mut border, 0, &checkpoint_of(&signers[0], root), &replica);
    }
    assert!(border.counters().crowded_out > 0, "it has room for some thousands only");
    for root in 0..20 {
        arrive(&mut border, 2, &checkpoint_of(&signers[2], root), &replica);
        arrive(&mut border, 3, &checkpoint_of(&signers[3], root), &replica);
    }
    let job = border.take(&replica, true);
    let is_of = |one: &&Incoming, id| matches!(one, Incoming::Peer { from, .. } if *from == ReplicaId(id));
    let of = |id| job.iter().filter(|one| is_of(one, id)).count();
    assert_eq!((of(2), of(3)), (20, 20), "all that the others sent is in the next job");
    assert!(of(0) >= 1_000, "and the rest of it is not wasted");
    assert!(border.ready() > 0);
}

#[test]
fn what_one_replica_holds_back_takes_nothing_from_the_room_of_another() {
    let (replica, signers) = replica_1_of_4();
    let mut border = Border::default();
    // Distinct votes of one signer, for digests that nobody else votes for: they wait to be a quorum for ever.
    for digest in 0_u32..5_000 {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&digest.to_le_bytes());
        let vote = signers[0].sign(Commit { view: View(0), seq: Seq(1), digest: Digest(bytes) }).into_inner();
        arrive(&mut border, 0, &PeerMessage::Commit(vote), &replica);
    }
    drop(border.take(&replica, true));
    let vote = commit_of(&signers[2]).into_inner();
    arrive(&mut border, 2, &PeerMessage::Commit(vote), &replica);
    let job = border.take(&replica, true);
    let of_2 = job.iter().any(|one| matches!(one, Incoming::Peer { from: ReplicaId(2), .. }));
    assert!(!of_2, "a vote is still held until it is one of a quorum");
    assert_eq!(border.deadline(), Some(NOW.plus(2_000)));
}

fn leaving(signer: &Signer, view: u64, slots: u64) -> Arc<NamedViewChange> {
    let statement = |seq| Prepare { view: View(0), seq: Seq(seq), digest: Digest([5; 32]) };
    let signatures: Vec<_> = (0..3).map(|id| (ReplicaId(id), Signature([1; 64]))).collect();
    let certificate = |seq| Certificate { statement: statement(seq), signatures: List(signatures.clone()) };
    let prepared = List((1..=slots).map(certificate).collect());
    signer.sign(ViewChange { view: View(view), stable: None, prepared }).shared().into_inner()
}

fn view_changes_in(job: &[Incoming]) -> usize {
    let is = |one: &&Incoming| matches!(one, Incoming::Peer { message: PeerMessage::ViewChange(_), .. });
    job.iter().filter(is).count()
}

#[test]
fn a_view_change_that_comes_again_is_recognised() {
    let (mut replica, signers) = replica_1_of_4();
    let mut border = Border::default();
    let message = leaving(&signers[2], 1, 3);
    for _ in 0..100 {
        // From its author each 200 ms, and from the new primary.
        for from in [2, 3] {
            arrive(&mut border, from, &PeerMessage::ViewChange(Arc::clone(&message)), &replica);
        }
    }
    assert_eq!(view_changes_in(&border.take(&replica, true)), 1);
    assert_eq!(border.counters().repeated, 199);
    let real = signers[3].sign(ViewChange { view: View(1), stable: None, prepared: List(Vec::new()) });
    replica.step(NOW, Event::ViewChange(real.clone().shared()), &mut Vec::new());
    // Another border, as after a restart, knows it from its replica.
    let mut border = Border::default();
    arrive(&mut border, 3, &PeerMessage::ViewChange(real.shared().into_inner()), &replica);
    assert_eq!((view_changes_in(&border.take(&replica, true)), border.counters().useless), (0, 1));
}

#[test]
fn a_view_change_for_a_view_that_works_is_of_no_use() {
    let (replica, signers) = replica_1_of_4();
    let mut border = Border::default();
    let message = signers[2].sign(ViewChange { view: View(0), stable: None, prepared: List(Vec::new()) });
    arrive(&mut border, 2, &PeerMessage::ViewChange(message.shared().into_inner()), &replica);
    assert_eq!((border.ready(), border.counters().useless), (0, 1));
}

/// How many VIEW-CHANGEs and signatures of replica 2's channel are verified in `seconds`, of one every `pause_us`.
fn let_through(slots: u64, seconds: u64, pause_us: u64) -> (u64, u64) {
    let (replica, signers) = replica_1_of_4();
    let mut border = Border::default();
    let mut through = 0;
    for turn in 0..seconds * 1_000_000 / pause_us {
        let message = PeerMessage::ViewChange(leaving(&signers[2], 1 + turn, slots));
        let now = NOW.plus(turn * pause_us);
        border.peer_frame(now, ReplicaId(2), &codec::encode(&message).unwrap(), &replica).unwrap();
        through += view_changes_in(&border.take(&replica, true)) as u64;
    }
    (through, border.counters().over_allowance[Kind::ViewChange as usize])
}

#[test]
fn a_replica_cannot_make_others_verify_more_than_its_allowance() {
    // With room for 4 * 512 votes and 1000 certificates of three per second, four seconds' worth at once.
    let (through, dropped) = let_through(512, 2, 1_000);
    assert_eq!(through + dropped, 2_000);
    assert!(through * 512 <= 6 * (4 * 512 + 3_000), "{through} went through");
    assert!(dropped > 1_000);
}

#[test]
fn a_correct_replica_is_never_over_its_allowance() {
    // A new view every 200 ms, each with all of the window: faster than any timer.
    let (through, dropped) = let_through(512, 20, 200_000);
    assert_eq!((through, dropped), (100, 0));
    // And 64 answers in 100 ms, for a minute.
    let (replica, signers) = replica_1_of_4();
    let mut border = Border::default();
    for round in 0_u64..600 {
        for seq in 1..=64 {
            let statement = Commit { view: View(round), seq: Seq(seq), digest: Digest([5; 32]) };
            let signed = |id: u16| (ReplicaId(id), signers[usize::from(id)].sign(statement).signature);
            let signatures = if round % 100 == 0 { (0..3).map(signed).collect() } else { Vec::new() };
            let proof =
                PeerMessage::CommitCertificate(Certificate { statement, signatures: List(signatures) });
            let now = NOW.plus(round * 100_000);
            border.peer_frame(now, ReplicaId(3), &codec::encode(&proof).unwrap(), &replica).unwrap();
        }
        assert_eq!(border.take(&replica, true).len(), 64);
    }
    assert_eq!(border.counters().over_allowance, [0; Kind::NAMES.len()]);
}

#[test]
fn only_the_author_of_a_proposal_has_its_batch_verified() {
    let (replica, signers) = replica_1_of_4();
    let mut border = Border::default();
    let batch = Batch { nondet: Nondet::default(), requests: List(vec![request(50, 1)]) };
    let digest = batch.digest(ClusterId(Digest([9; 32])));
    let prepare = signers[0].sign(Prepare { view: View(0), seq: Seq(1), digest }).into_inner();
    let proposal = PeerMessage::PrePrepare(PrePrepare { prepare, batch: Some(batch) });
    let mut batches_from = |from| {
        arrive(&mut border, from, &proposal, &replica);
        let job = border.take(&replica, true);
        let with_batch = |one: &&Incoming| matches!(one, Incoming::Peer { message: PeerMessage::PrePrepare(shown), .. } if shown.batch.is_some());
        (job.len(), job.iter().filter(with_batch).count())
    };
    assert_eq!(batches_from(0), (1, 1));
    assert_eq!(batches_from(2), (1, 0));
}
