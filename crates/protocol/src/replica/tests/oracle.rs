//! B3 and B4: the arithmetic of quorums, and the choice of a new view against one made by the book.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::*;
use crate::committee::{faults, quorum};

/// One VIEW-CHANGE as numbers.
#[derive(Debug, Clone)]
struct Told {
    /// Stable checkpoint, in intervals of four slots.
    stable: u64,
    /// Which of two roots it has.
    root: u8,
    /// For the slots after it: the view and batch that prepared, if one did.
    slots: Vec<Option<(u64, u8)>>,
}

/// What a new view must propose.
#[derive(Debug, PartialEq, Eq)]
enum ByTheBook {
    /// The newest checkpoint, and a batch for every slot after it up to the last that prepared anywhere.
    Proposes(u64, Vec<Digest>),
    /// Two quorums contradict each other where it counts: more than f replicas are faulty.
    Alarm,
}

/// OSDI '99, section 4.4, read as it is written and slowly: min-s is the newest stable checkpoint told, max-s the
/// highest slot told to have prepared; for each slot between them the certificate with the highest view, or null.
fn by_the_book(all: &[Told], null: Digest) -> ByTheBook {
    let min_s = all.iter().map(|told| told.stable * 4).max().unwrap_or(0);
    let newest: Vec<u8> = all.iter().filter(|told| told.stable * 4 == min_s).map(|told| told.root).collect();
    if min_s > 0 && newest.iter().any(|root| *root != newest[0]) {
        return ByTheBook::Alarm;
    }
    let mut certificates = Vec::new();
    for told in all {
        for (seq, slot) in (told.stable * 4 + 1..).zip(&told.slots) {
            certificates.extend(slot.map(|(view, batch)| (seq, view, batch)));
        }
    }
    let max_s = certificates.iter().map(|(seq, ..)| *seq).max().unwrap_or(0).max(min_s);
    let mut proposed = Vec::new();
    for seq in min_s + 1..=max_s {
        let here: Vec<_> = certificates.iter().filter(|(slot, ..)| *slot == seq).collect();
        let Some(highest) = here.iter().map(|(_, view, _)| *view).max() else {
            proposed.push(null);
            continue;
        };
        let winners: Vec<u8> =
            here.iter().filter(|(_, view, _)| *view == highest).map(|(.., batch)| *batch).collect();
        if winners.iter().any(|batch| *batch != winners[0]) {
            return ByTheBook::Alarm;
        }
        proposed.push(Digest([winners[0]; 32]));
    }
    ByTheBook::Proposes(min_s, proposed)
}

/// Whether two of them contradict each other at all: below what counts an alarm is allowed and not demanded.
fn contradict_somewhere(all: &[Told]) -> bool {
    let facts = || {
        all.iter().flat_map(|told| {
            let slots = (told.stable * 4 + 1..).zip(&told.slots);
            slots.filter_map(|(seq, slot)| slot.map(|(view, batch)| (seq, view, batch)))
        })
    };
    let roots = || all.iter().filter(|told| told.stable > 0).map(|told| (told.stable, told.root));
    facts().any(|one| facts().any(|other| one.0 == other.0 && one.1 == other.1 && one.2 != other.2))
        || roots().any(|one| roots().any(|other| one.0 == other.0 && one.1 != other.1))
}

fn message(bench: &Bench, id: u16, told: &Told) -> Arc<NamedViewChange> {
    let low = told.stable * 4;
    let checkpoint = Checkpoint { seq: Seq(low), root: Digest([40 + told.root; 32]), epoch_end: Seq::MAX };
    let stable = (low > 0).then(|| Certificate { statement: checkpoint, signatures: List(Vec::new()) });
    let prepared = (low + 1..).zip(&told.slots).filter_map(|(seq, slot)| {
        let (view, batch) = (*slot)?;
        Some(Certificate { statement: vote(view, seq, Digest([batch; 32])), signatures: List(Vec::new()) })
    });
    let body = ViewChange { view: View(9), stable, prepared: List(prepared.collect()) };
    bench.sign(id, body).shared().into_inner()
}

/// Quorums of VIEW-CHANGEs, in any order: mostly possible ones, in which slot and view decide the batch, and some that
/// only more than f liars can bring about.
fn quorums_of_view_changes() -> impl Strategy<Value = (Vec<Told>, bool)> {
    let slots = proptest::collection::vec(proptest::option::of((0_u64..5, 0_u8..2)), 0..8);
    let told = (0_u64..4, 0_u8..2, slots).prop_map(|(stable, root, slots)| Told { stable, root, slots });
    let all = proptest::collection::vec(told, 3..6).prop_shuffle();
    (all, proptest::bool::weighted(0.7)).prop_map(|(mut all, possible)| {
        for told in all.iter_mut().filter(|_| possible) {
            told.root = 0;
            for (seq, slot) in (told.stable * 4 + 1..).zip(&mut told.slots) {
                *slot = slot.map(|(view, _)| (view, u8::try_from((seq + view) % 2).unwrap()));
            }
        }
        (all, possible)
    })
}

// Takes VIEW-CHANGEs as valid, which A6 sees to. Would miss a choice that is right here and not acted upon: the tests
// of view changes and the simulator's checkers look at what is voted for.
#[test]
fn b4_a_new_view_proposes_what_the_book_says_or_raises_the_alarm() {
    let mut runner = TestRunner::new(cases(4_000));
    let bench = Bench::new(7, 0);
    let null = bench.replica.null;
    let (lower_beaten, holes, checkpoints, alarms) = (Cell::new(0), Cell::new(0), Cell::new(0), Cell::new(0));
    let count = |counter: &Cell<u32>, so: bool| counter.set(counter.get() + u32::from(so));
    let checked = runner.run(&quorums_of_view_changes(), |(all, possible)| {
        let expected = by_the_book(&all, null);
        let mut messages: Vec<_> = (0..).zip(&all).map(|(id, told)| message(&bench, id, told)).collect();
        let found = reproposals(&messages, null);
        prop_assert!(!possible || expected != ByTheBook::Alarm);
        count(&alarms, expected == ByTheBook::Alarm);
        count(&checkpoints, all.iter().any(|told| told.stable != all[0].stable));
        if let ByTheBook::Proposes(min_s, proposed) = &expected {
            count(&holes, proposed.contains(&null));
            count(&lower_beaten, all.len() > 1 && a_lower_view_comes_first(&all, *min_s));
        }
        match (&expected, found) {
            (ByTheBook::Proposes(min_s, proposed), Ok(found)) => {
                prop_assert_eq!(found.stable.as_ref().map_or(0, |stable| stable.statement.seq.0), *min_s);
                let slots: Vec<_> = (min_s + 1..).map(Seq).zip(proposed.iter().copied()).collect();
                prop_assert_eq!(&found.slots, &slots);
                // Replicas hold the same messages in other orders.
                for _ in 0..messages.len() {
                    messages.rotate_left(1);
                    prop_assert!(
                        contradict_somewhere(&all) || reproposals(&messages, null).as_ref() == Ok(&found)
                    );
                }
                messages.reverse();
                prop_assert!(contradict_somewhere(&all) || reproposals(&messages, null) == Ok(found));
            }
            (ByTheBook::Proposes(..), Err(_)) => prop_assert!(contradict_somewhere(&all)),
            (ByTheBook::Alarm, found) => prop_assert!(found.is_err()),
        }
        Ok::<(), TestCaseError>(())
    });
    checked.unwrap_or_else(|why| panic!("{why}"));
    let counts = [&lower_beaten, &holes, &checkpoints, &alarms].map(Cell::get);
    assert!(counts.iter().all(|count| *count > 200), "too few of a kind prove little: {counts:?}");
}

/// So many random cases; three hundred times as many at night.
fn cases(day: u32) -> Config {
    let nightly = std::env::var_os("QUORATE_NIGHTLY").is_some_and(|value| value == "1");
    let cases = if nightly { 300 * day } else { day };
    Config { cases, failure_persistence: None, ..Config::default() }
}

// The choice is acted upon: whoever enters the view has these proposals and no others, or halts.
#[test]
fn b4_a_replica_enters_a_view_with_what_the_book_says_in_whatever_order_it_hears_of_it() {
    let mut runner = TestRunner::new(cases(600));
    let (entered, halted, behind) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let count = |counter: &Cell<u32>| counter.set(counter.get() + 1);
    let orders =
        proptest::sample::select(vec![[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]);
    let checked = runner.run(&(quorums_of_view_changes(), orders), |((all, _), order)| {
        let mut bench = Bench::new(4, 0);
        let (all, null) = (&all[..3], bench.replica.null);
        let messages: Vec<_> = (1..).zip(all).map(|(id, told)| message(&bench, id, told)).collect();
        let named = messages.iter().map(|message| (message.signer, message.digest())).collect();
        let primary = bench.context.committee.primary(View(9));
        let new_view = bench.sign(primary.0, NewView { view: View(9), view_changes: List(named) });
        bench.step(Event::NewView(new_view));
        for place in order {
            bench.step(Event::ViewChange(Verified::vouch(Arc::clone(&messages[place]))));
        }
        match by_the_book(all, null) {
            ByTheBook::Proposes(min_s, proposed) if bench.replica.status() == Status::Normal => {
                count(&entered);
                behind.set(behind.get() + u32::from(min_s > 0));
                prop_assert_eq!(bench.replica.watermarks().0, Seq(min_s));
                for (seq, digest) in (min_s + 1..=min_s + 8)
                    .map(Seq)
                    .zip(proposed.iter().copied().map(Some).chain(std::iter::repeat(None)))
                {
                    let expected = digest.map(|digest| vote(9, seq.0, digest));
                    let held = bench.replica.log.get(seq).and_then(|slot| slot.proposal);
                    prop_assert_eq!(held, expected);
                    let voted = bench.prepares().iter().any(|vote| vote.seq == seq && vote.view == View(9));
                    prop_assert_eq!(voted, digest == Some(null), "null needs no body; {:?}", seq);
                }
                prop_assert_eq!(bench.replica.new_view_floor, Seq(min_s + proposed.len() as u64));
            }
            ByTheBook::Proposes(..) => prop_assert!(contradict_somewhere(all)),
            ByTheBook::Alarm => {
                count(&halted);
                prop_assert_eq!(bench.replica.status(), Status::Halted);
                prop_assert!(bench.prepares().is_empty());
            }
        }
        Ok::<(), TestCaseError>(())
    });
    checked.unwrap_or_else(|why| panic!("{why}"));
    let counts = [&entered, &halted, &behind].map(Cell::get);
    assert!(counts.iter().all(|count| *count > 10), "too few of a kind prove little: {counts:?}");
}

/// Whether taking the first certificate of a slot instead of that of the highest view would choose another batch.
fn a_lower_view_comes_first(all: &[Told], low: u64) -> bool {
    let at = |told: &Told, seq: u64| {
        let index = seq.checked_sub(told.stable * 4 + 1)?;
        told.slots.get(usize::try_from(index).ok()?).copied().flatten()
    };
    (low + 1..low + 9).any(|seq| {
        let here: Vec<_> = all.iter().filter_map(|told| at(told, seq)).collect();
        let highest = here.iter().max_by_key(|(view, _)| *view);
        highest.is_some_and(|highest| here[0].0 < highest.0 && here[0].1 != highest.1)
    })
}

#[test]
fn b4_two_roots_of_one_stable_checkpoint_contradict_each_other() {
    let bench = Bench::new(4, 0);
    let with_root = |id, root| message(&bench, id, &Told { stable: 1, root, slots: Vec::new() });
    assert!(reproposals(&[with_root(0, 1), with_root(1, 1)], bench.replica.null).is_ok());
    assert!(reproposals(&[with_root(0, 1), with_root(1, 0)], bench.replica.null).is_err());
}

// Would miss a place that counts for itself instead of asking the committee; the simulation of B3 has five and six.
#[test]
fn b3_two_quorums_share_a_correct_replica_and_the_correct_ones_are_a_quorum() {
    for n in 1..=200 {
        let (f, q) = (faults(n), quorum(n));
        assert!(3 * f < n && 3 * (f + 1) >= n, "n = {n}: f is as large as can be");
        assert!(2 * q - n > f, "n = {n}: two quorums share f + 1");
        assert!(q <= n - f, "n = {n}: the correct ones are a quorum");
        assert!(q == 1 || 2 * (q - 1) < n + f + 1, "n = {n}: no smaller quorum would do");
        assert!(q > f, "n = {n}: a correct replica is in every quorum");
    }
    assert_eq!([4, 5, 6, 7, 8, 9, 10, 13, 31, 100].map(quorum), [3, 4, 4, 5, 6, 6, 7, 9, 21, 67]);
}

#[test]
fn b3_every_two_quorums_of_a_small_committee_meet_in_more_than_f_and_smaller_sets_do_not() {
    for n in 1..=10_u32 {
        let (f, q) = (faults(n as usize), quorum(n as usize));
        let sets = |size: usize| (0..1_u32 << n).filter(move |set| set.count_ones() as usize == size);
        let meet = |one: u32, other: u32| (one & other).count_ones() as usize;
        assert!(sets(q).all(|one| sets(q).all(|other| meet(one, other) > f)), "n = {n}");
        let smaller = sets(q - 1).any(|one| sets(q - 1).any(|other| meet(one, other) <= f));
        assert!(smaller, "n = {n}: a quorum is no larger than it must be");
    }
}
