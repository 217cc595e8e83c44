//! The choice of a new view against a naive one, and the arithmetic of quorums.

use proptest::prelude::*;

use super::*;
use crate::committee::{faults, quorum};

/// One VIEW-CHANGE as numbers: stable checkpoint in intervals, and for slots after it the view and batch that prepared.
type Said = (u64, Vec<Option<(u64, u8)>>);

/// By the book: for every slot look at every certificate of every VIEW-CHANGE.
fn naive(said: &[Said], null: Digest) -> Option<(u64, Vec<Digest>)> {
    let low = said.iter().map(|(stable, _)| stable * 4).max()?;
    let at = |seq: u64| {
        let entry = move |(stable, slots): &Said| {
            let index = seq.checked_sub(stable * 4 + 1)?;
            slots.get(usize::try_from(index).ok()?).copied().flatten()
        };
        said.iter().filter_map(entry).collect::<Vec<_>>()
    };
    let last = (low + 1..low + 40).filter(|seq| !at(*seq).is_empty()).max().unwrap_or(low);
    let mut digests = Vec::new();
    for seq in low + 1..=last {
        let entries = at(seq);
        // Two digests of one view are impossible with at most f faults, even below the highest view.
        let contradicts = |one: &(u64, u8)| entries.iter().any(|other| other.0 == one.0 && other.1 != one.1);
        let best = entries.iter().max_by_key(|(view, _)| *view);
        if best.is_some_and(contradicts) {
            return None;
        }
        digests.push(best.map_or(null, |(_, batch)| Digest([*batch; 32])));
    }
    Some((low, digests))
}

fn message(bench: &Bench, id: u16, said: &Said) -> Arc<Signed<ViewChange>> {
    let (stable, slots) = said;
    let low = stable * 4;
    let checkpoint = Checkpoint { seq: Seq(low), root: Digest([42; 32]), epoch_end: Seq::MAX };
    let stable = (low > 0).then(|| Certificate { statement: checkpoint, signatures: List(Vec::new()) });
    let prepared = (low + 1..).zip(slots).filter_map(|(seq, slot)| {
        let (view, batch) = (*slot)?;
        Some(Certificate { statement: vote(view, seq, Digest([batch; 32])), signatures: List(Vec::new()) })
    });
    let body = ViewChange { view: View(9), stable, prepared: List(prepared.collect()) };
    Arc::new(bench.sign(id, body).into_inner())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_new_view_proposes_what_the_naive_choice_proposes(
        said in proptest::collection::vec(
            (0_u64..3, proptest::collection::vec(proptest::option::of((0_u64..5, 0_u8..2)), 0..8)), 3..6),
        one_batch_per_view in any::<bool>(),
        turn in 0_usize..6,
    ) {
        let mut said = said;
        if one_batch_per_view {
            // Make what is drawn possible: the batch follows from slot and view.
            for (stable, slots) in &mut said {
                for (seq, slot) in (*stable * 4 + 1..).zip(slots) {
                    *slot = slot.map(|(view, _)| (view, u8::try_from((seq + view) % 2).unwrap()));
                }
            }
        }
        let bench = Bench::new(7, 0);
        let null = bench.replica.null;
        let mut messages: Vec<_> = (0..).zip(&said).map(|(id, said)| message(&bench, id, said)).collect();
        let expected = naive(&said, null);
        prop_assert!(!one_batch_per_view || expected.is_some());
        let turn = turn % messages.len();
        messages.rotate_left(turn);
        let found = reproposals(&messages, null);
        match (expected, found) {
            (Some((low, digests)), Ok(found)) => {
                prop_assert_eq!(found.stable.map_or(Seq(0), |stable| stable.statement.seq), Seq(low));
                let slots: Vec<_> = (low + 1..).map(Seq).zip(digests).collect();
                prop_assert_eq!(found.slots, slots);
            }
            // A contradiction below the highest view shows only if it is met first; it is one all the same.
            (Some(_), Err(_)) => prop_assert!(!one_batch_per_view),
            (None, found) => prop_assert!(found.is_err()),
        }
    }
}

#[test]
fn two_roots_of_one_stable_checkpoint_contradict_each_other() {
    let bench = Bench::new(4, 0);
    let with_root = |id, root| {
        let checkpoint = Checkpoint { seq: Seq(4), root: Digest([root; 32]), epoch_end: Seq::MAX };
        let stable = Some(Certificate { statement: checkpoint, signatures: List(Vec::new()) });
        Arc::new(
            bench.sign(id, ViewChange { view: View(1), stable, prepared: List(Vec::new()) }).into_inner(),
        )
    };
    assert!(reproposals(&[with_root(0, 1), with_root(1, 1)], bench.replica.null).is_ok());
    assert!(reproposals(&[with_root(0, 1), with_root(1, 2)], bench.replica.null).is_err());
}

#[test]
fn two_quorums_share_a_correct_replica_and_the_correct_ones_are_a_quorum() {
    for n in 1..=200 {
        let (f, q) = (faults(n), quorum(n));
        assert!(3 * f < n, "n = {n}");
        assert!(2 * q - n > f, "n = {n}: two quorums share f + 1");
        assert!(q <= n - f, "n = {n}: the correct ones are a quorum");
        assert!(q == 1 || 2 * (q - 1) < n + f + 1, "n = {n}: no smaller quorum would do");
    }
    assert_eq!([4, 5, 6, 7, 8, 9, 10].map(quorum), [3, 4, 4, 5, 6, 6, 7]);
}

#[test]
fn every_two_quorums_of_a_small_committee_meet_in_more_than_f() {
    for n in 1..=10_u32 {
        let (f, q) = (faults(n as usize), quorum(n as usize));
        let quorums: Vec<u32> = (0..1_u32 << n).filter(|set| set.count_ones() as usize == q).collect();
        for one in &quorums {
            assert!(quorums.iter().all(|other| (one & other).count_ones() as usize > f), "n = {n}");
        }
    }
}
