//! Targets that move on, and chunks that are here already.

use super::*;

const ALL: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];
/// The same but for one chunk.
const CHANGED: [u8; 8] = [1, 2, 3, 4, 5, 6, 99, 8];

/// Nobody sends this chunk of the state after this slot.
fn withhold(bench: &mut Bench, of: u64, chunk: u32) {
    for id in 0..3 {
        bench.lies(id, move |part| match part {
            Transfer::Chunk { index, seq, .. } if (seq, index) == (Seq(of), chunk) => Vec::new(),
            other => vec![other],
        });
    }
}

/// What sources have is this state and no other.
fn forget_all_but(bench: &mut Bench, state: &State) {
    for server in bench.servers.values_mut() {
        server.store = Store::open(MemoryDisk::new(), true).unwrap();
        server.has(state);
    }
}

#[test]
fn f1_a_target_that_moves_on_keeps_the_chunks_that_are_the_same() {
    let (one, two) = (state(128, &ALL), state(256, &CHANGED));
    let mut bench = Bench::new(4, &one);
    // Of the first state everything but one chunk comes.
    withhold(&mut bench, 128, 3);
    bench.aim(&one);
    assert_eq!(bench.run(1), None);
    assert_eq!(bench.progress().have, 7);
    bench.aim(&one);
    assert_eq!(bench.progress().have, 7, "the same target is no news");
    forget_all_but(&mut bench, &two);
    bench.aim(&two);
    bench.aim(&one);
    assert_eq!(bench.run(2), Some(two.clone()));
    let counters = bench.counters();
    assert_eq!((counters.started, counters.completed, counters.moved), (1, 1, 1), "it never moves back");
    // The one that never came and the one that changed had to come.
    assert_eq!((counters.reused, counters.chunks), (6, 7 + 2));
    let bytes = two.chunks().next().unwrap().bytes();
    assert_eq!(counters.reused_bytes, two.summary().bytes() - 2 * bytes);
}

#[test]
fn f1_a_target_stays_while_it_comes_and_the_next_one_costs_what_changed() {
    let (one, two, three) = (state(128, &ALL), state(256, &[1; 8]), state(384, &CHANGED));
    let mut bench = Bench::new(4, &one);
    bench.pace = 1;
    bench.dies_after = Some(3);
    bench.aim(&one);
    assert_eq!(bench.run(1), None);
    bench.dies_after = None;
    // Checkpoints become stable faster than a state comes.
    bench.all_have(&two);
    bench.all_have(&three);
    bench.aim(&two);
    bench.aim(&three);
    assert_eq!(bench.run(1), Some(one), "the first target was still there to be had");
    assert_eq!(bench.run(1), Some(three), "the last one is what is wanted then");
    let counters = bench.counters();
    assert_eq!((counters.started, counters.completed, counters.moved), (2, 2, 0));
    assert_eq!((counters.reused, counters.chunks), (7, 8 + 1));
}

#[test]
fn f1_one_source_that_says_it_lacks_the_state_does_not_make_a_target_move() {
    let (one, two) = (state(128, &ALL), state(256, &CHANGED));
    let mut bench = Bench::new(4, &one);
    bench.pace = 1;
    bench.dies_after = Some(1);
    bench.lies(0, |part| match part {
        Transfer::Chunk { seq, .. } => vec![Transfer::Lacks { seq }],
        other => vec![other],
    });
    bench.aim(&one);
    assert_eq!(bench.run(1), None);
    bench.dies_after = None;
    bench.aim(&two);
    assert_eq!(bench.run(1), Some(one));
    assert!(bench.asked.iter().any(|(to, part)| to.0 == 0 && is_chunk(part)), "it was asked, and it said so");
    assert_eq!(bench.counters().moved, 0);
}

#[test]
fn f1_a_target_of_which_nothing_comes_is_given_up_for_a_newer_one() {
    let (one, two) = (state(128, &ALL), state(256, &CHANGED));
    let mut bench = Bench::new(4, &one);
    withhold(&mut bench, 128, 3);
    bench.aim(&one);
    assert_eq!(bench.run(1), None);
    // Nobody says that it lacks it.
    bench.all_have(&two);
    let since = bench.now;
    bench.aim(&two);
    assert_eq!(bench.run(5), Some(two));
    let took = bench.now.since(since);
    assert!(took < STUCK_US + 200_000, "{took} us");
    assert_eq!(bench.counters().moved, 1);
}

#[test]
fn f1_a_target_that_changes_before_anybody_was_asked_is_not_asked_for() {
    let (one, two) = (state(128, &ALL), state(256, &CHANGED));
    let mut bench = Bench::new(4, &one);
    bench.all_have(&two);
    bench.fetcher.transfers.aim(bench.now, &proof(&one));
    bench.aim(&two);
    assert_eq!(bench.run(1), Some(two));
    let seq = |part: &Transfer| match part {
        Transfer::FetchMeta { seq } | Transfer::FetchChunk { seq, .. } => *seq,
        other => panic!("{other:?} is no question"),
    };
    assert!(bench.asked.iter().all(|(_, part)| seq(part) == Seq(256)));
}

#[test]
fn f1_a_ban_ends_with_the_next_target() {
    let (one, two) = (state(128, &[1, 2, 3]), state(256, &[4, 5, 6]));
    let mut bench = Bench::new(4, &one);
    for id in 0..3 {
        bench.lies(id, |part| match part {
            Transfer::Chunk { seq: Seq(128), index, bytes } => {
                vec![Transfer::Chunk { seq: Seq(128), index, bytes: Blob(flip(&bytes)) }]
            }
            other => vec![other],
        });
    }
    bench.aim(&one);
    assert_eq!(bench.run(5), None, "more liars than a cluster tolerates can withhold a state");
    assert_eq!(bench.counters().banned, 3);
    bench.all_have(&two);
    let since = bench.now;
    bench.aim(&two);
    assert_eq!(bench.run(5), Some(two));
    assert!(bench.now.since(since) < 200_000, "nobody is waited for who cannot be asked");
}

#[test]
fn f1_what_an_older_state_of_its_own_has_is_not_fetched() {
    let (old, new) = (state(128, &ALL), state(384, &CHANGED));
    let mut bench = Bench::new(4, &new);
    bench.fetcher.has(&old);
    bench.aim(&new);
    assert_eq!(bench.run(1), Some(new.clone()));
    let counters = bench.counters();
    assert_eq!((counters.reused, counters.chunks), (7, 1));
    // The list of its pages, none of which is here, and the length of the one that it has.
    let besides = 32 + 4;
    assert_eq!(counters.reused_bytes + counters.fetched_bytes, new.summary().bytes() + besides);
    assert_eq!(bench.sent.values().sum::<u64>(), 1);
}

#[test]
fn f1_a_state_that_is_here_whole_is_not_fetched_at_all() {
    let state = state(128, &ALL);
    let mut bench = Bench::new(4, &state);
    bench.fetcher.has(&state);
    bench.aim(&state);
    assert_eq!(bench.run(1), Some(state));
    assert_eq!((bench.counters().reused, bench.counters().chunks), (8, 0));
}
