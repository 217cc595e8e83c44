//! The normal case, and what others say that must not harm.

use super::*;
use crate::codec::Blob;
use crate::crypto::SecretKey;
use crate::message::Status as Standing;
use crate::request::{Draft, Kind, Operations, Request};
use crate::types::{Number, Session};

#[test]
fn a_body_that_comes_late_is_voted_for_when_it_comes() {
    let mut bench = Bench::new(4, 1);
    let body = bench.body(1);
    bench.pre_prepare(vote(0, 1, body.digest), None);
    assert!(bench.prepares().is_empty(), "nobody vouches for a batch it does not hold");
    bench.pass(60_000);
    assert!(matches!(bench.relayed()[0], PeerMessage::FetchBody { seq: Seq(1), .. }));
    bench.step(Event::Body { seq: Seq(1), body: Verified::vouch(Arc::clone(&body)) });
    assert_eq!(bench.prepares(), [vote(0, 1, body.digest)]);
}

#[test]
fn a_body_is_given_more_time_where_batches_come_slowly() {
    let asked_after = |gap_us: u64, certified: bool| {
        let mut bench = Bench::with(1, |parameters| parameters.window = 64);
        for seq in 1..=40 {
            let body = bench.body(seq);
            let this = vote(0, seq, body.digest);
            // Something is owed all the time.
            bench.pre_prepare(this, Some(&body));
            bench.pass(gap_us);
            [0, 2, 3].into_iter().for_each(|id| bench.commit(id, this));
            assert_eq!(bench.replica.committed(), Seq(seq));
        }
        // They committed it, and it is not here; or the primary says that it proposed it, having been asked.
        let late = vote(0, 41, bench.body(41).digest);
        bench.said.clear();
        if certified {
            [0, 2, 3].into_iter().for_each(|id| bench.commit(id, late));
        } else {
            bench.pre_prepare(late, None);
        }
        let before = bench.now;
        let asks = |say: &&PeerMessage| matches!(say, PeerMessage::FetchBody { .. });
        while !bench.relayed().iter().any(asks) {
            bench.pass(5_000);
        }
        bench.now.since(before)
    };
    assert_eq!(asked_after(5_000, true), 50_000);
    assert!((120_000..=130_000).contains(&asked_after(65_000, true)));
    assert_eq!(asked_after(140_000, true), 150_000, "at most");
    assert_eq!([5_000, 140_000].map(|gap_us| asked_after(gap_us, false)), [50_000, 150_000]);
}

#[test]
fn votes_that_come_before_the_proposal_count() {
    let mut bench = Bench::new(4, 1);
    let body = bench.body(1);
    let this = vote(0, 1, body.digest);
    for id in [2, 3] {
        bench.prepare(id, this);
        bench.commit(id, this);
    }
    assert!(bench.executed.is_empty());
    bench.pre_prepare(this, Some(&body));
    assert_eq!((bench.prepares().len(), bench.commits().len()), (1, 1));
    assert_eq!(bench.executed, [Seq(1)]);
}

#[test]
fn the_primary_has_one_vote() {
    let mut bench = Bench::new(4, 1);
    let body = bench.body(1);
    let this = vote(0, 1, body.digest);
    bench.pre_prepare(this, Some(&body));
    bench.prepare(0, this);
    assert!(bench.commits().is_empty(), "the primary's proposal, its PREPARE and ours are two votes");
    bench.prepare(2, this);
    assert_eq!(bench.commits().len(), 1);
}

#[test]
fn the_first_proposal_stays_and_a_second_one_is_evidence() {
    let mut bench = Bench::new(4, 1);
    let (first, second) = (bench.body(1), bench.body(2));
    bench.pre_prepare(vote(0, 1, first.digest), Some(&first));
    bench.pre_prepare(vote(0, 1, second.digest), Some(&second));
    assert_eq!(bench.prepares(), [vote(0, 1, first.digest)]);
    assert!(matches!(bench.alarms[..], [Alarm::ConflictingPrepares(..)]));
}

#[test]
fn one_bad_vote_does_not_poison_the_others() {
    let mut bench = Bench::new(4, 1);
    let (body, other) = (bench.body(1), bench.body(2));
    let this = vote(0, 1, body.digest);
    bench.prepare(2, vote(0, 1, other.digest));
    bench.pre_prepare(this, Some(&body));
    bench.prepare(2, this);
    assert!(bench.commits().is_empty(), "who voted otherwise does not vote again");
    bench.prepare(3, this);
    assert_eq!(bench.commits().len(), 1);
}

#[test]
fn nothing_is_recorded_outside_the_watermarks() {
    let mut bench = Bench::new(4, 1);
    let before = bench.replica.footprint();
    let body = bench.body(1);
    for seq in [0, 9, 1_000, u64::MAX] {
        bench.pre_prepare(vote(0, seq, body.digest), Some(&body));
        bench.prepare(2, vote(0, seq, body.digest));
        bench.commit(2, vote(0, seq, body.digest));
    }
    assert_eq!(bench.replica.footprint(), before);
}

fn standing(low: Seq) -> Standing {
    Standing {
        epoch: Epoch(0),
        view: View(u64::MAX),
        changing: true,
        low,
        executed: Seq(u64::MAX),
        committed: Blob(vec![255; 4].into()),
        prepared: Blob(Vec::new().into()),
        bodies: Blob(Vec::new().into()),
        view_changes: Blob(Vec::new().into()),
        new_view: View(u64::MAX),
        amnesia_high: None,
    }
}

#[test]
fn a_status_with_absurd_numbers_is_harmless() {
    for low in [Seq(0), Seq(u64::MAX - 1), Seq::MAX] {
        let mut bench = Bench::new(4, 1);
        bench.step(Event::Status { from: ReplicaId(2), status: standing(low) });
        assert!(bench.relayed().is_empty());
    }
}

#[test]
fn who_halts_executes_nothing_more_and_waits_for_nothing() {
    let mut bench = Bench::new(4, 1);
    let (body, other) = (bench.body(1), bench.body(2));
    let this = vote(0, 1, body.digest);
    bench.pre_prepare(this, Some(&body));
    [0, 2, 3].into_iter().for_each(|id| bench.commit(id, this));
    assert_eq!(bench.executed, [Seq(1)]);
    // More than f liars sign another batch for a slot that has executed here.
    let lie = Commit { view: View(1), seq: Seq(1), digest: other.digest };
    let lie = Verified::vouch(bench.certificate(lie, &[0, 2, 3]));
    bench.step(Event::CommitCertificate(lie));
    assert_eq!(bench.replica.status(), Status::Halted);
    assert!(matches!(bench.alarms[..], [Alarm::Agreement { seq: Seq(1), .. }]));
    assert_eq!(bench.replica.deadline(), None, "a deadline that nobody answers keeps its host spinning");
    [0, 2, 3].into_iter().for_each(|id| bench.commit(id, vote(0, 2, other.digest)));
    assert_eq!(bench.executed, [Seq(1)]);
}

#[test]
fn a_request_as_large_as_a_batch_is_proposed_and_no_empty_batch_instead() {
    let mut bench = Bench::new(4, 0);
    let key = SecretKey::from_seed(&[77; 32]);
    let (first, empty) = (Number(1), Operations::new(std::iter::empty()));
    let draft =
        |operations| Draft { session: Session(1), first, ack: first, kind: Kind::Operations, operations };
    let overhead = Request::sign(&key, bench.context.cluster, draft(empty)).bytes();
    let most = usize::try_from(bench.context.parameters.batch_bytes_max).unwrap();
    // Five operations of at most 256 KiB, each behind its length, fill a batch to the last byte.
    let rest = most - overhead - 5 * 4;
    let pieces = [rest / 5, rest / 5, rest / 5, rest / 5, rest - 4 * (rest / 5)].map(|bytes| vec![0; bytes]);
    let operations = Operations::new(pieces.iter().map(Vec::as_slice));
    let request = Request::sign(&key, bench.context.cluster, draft(operations));
    assert_eq!(request.bytes(), most);
    bench.step(Event::Requests { requests: vec![Verified::vouch(Arc::new(request))], forwarded_by: None });
    let proposed: Vec<usize> = bench
        .said
        .iter()
        .filter_map(|say| if let Say::PrePrepare { body: Some(body), .. } = say { Some(body) } else { None })
        .map(|body| body.batch.requests.len())
        .collect();
    assert_eq!(proposed, [1]);
}

#[test]
fn a_stable_checkpoint_past_a_missing_body_needs_a_transfer_and_past_held_ones_does_not() {
    for held in [true, false] {
        let mut bench = Bench::new(4, 1);
        for seq in 1..=4 {
            let body = bench.body(seq);
            let this = vote(0, seq, body.digest);
            bench.pre_prepare(this, (held || seq != 3).then_some(&body));
            [0, 2, 3].into_iter().for_each(|id| bench.commit(id, this));
        }
        assert_eq!(bench.replica.committed(), Seq(4));
        let checkpoint = Checkpoint { seq: Seq(4), root: Digest([8; 32]), epoch_end: Seq::MAX };
        let stable = Verified::vouch(bench.certificate(checkpoint, &[0, 2, 3]));
        bench.step(Event::StableCertificate(stable));
        // Whoever made it stable lets go of its bodies: nobody can send slot 3 any more.
        assert_eq!(bench.installs, if held { Vec::new() } else { vec![Seq(4)] });
        assert_eq!(bench.replica.watermarks(), (Seq(4), Seq(12)));
    }
}

#[test]
fn only_the_batch_that_would_be_voted_for_now_is_looked_at() {
    let mut bench = Bench::new(4, 1);
    let (one, other) = (bench.body(1), bench.body(2));
    assert!(bench.replica.needs_batch(&vote(0, 1, one.digest)));
    assert!(!bench.replica.needs_batch(&vote(4, 1, one.digest)), "its view has not opened");
    bench.pre_prepare(vote(0, 1, one.digest), None);
    assert!(bench.replica.needs_batch(&vote(0, 1, one.digest)), "it has yet to come");
    assert!(!bench.replica.needs_batch(&vote(0, 1, other.digest)), "the first proposal is the only one");
}
