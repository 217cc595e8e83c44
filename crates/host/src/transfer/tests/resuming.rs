//! Whoever dies while it fetches goes on where it was.

use super::*;
use crate::disk::{Crash, Disk, FileName};

const ALL: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

/// Fetches until the store has kept so many chunks, and dies.
fn dies_after(chunks: u64) -> (State, Bench) {
    let state = state(128, &ALL);
    let mut bench = Bench::new(4, &state);
    bench.dies_after = Some(chunks);
    bench.aim(&state);
    assert_eq!(bench.run(1), None);
    assert_eq!(bench.kept, chunks, "it died there");
    (state, bench)
}

#[test]
fn f1_a_process_that_is_killed_at_any_chunk_fetches_only_the_rest() {
    for chunks in 0..=8 {
        let (state, mut bench) = dies_after(chunks);
        bench.restart(|disk| disk.crash(Crash::Keep));
        bench.aim(&state);
        assert_eq!(bench.run(1), Some(state));
        let counters = bench.counters();
        assert_eq!((counters.reused, counters.chunks), (chunks, 8 - chunks));
        let asked = bench.asked.iter().filter(|(_, part)| is_chunk(part)).count() as u64;
        assert_eq!(asked, 8 - chunks, "nothing that was here was asked for");
    }
}

#[test]
fn f1_a_process_that_is_killed_again_and_again_gets_the_whole_state_in_the_end() {
    let (state, mut bench) = dies_after(1);
    for life in 1..8 {
        bench.restart(|disk| disk.crash(Crash::Keep));
        bench.dies_after = Some(1);
        bench.aim(&state);
        assert_eq!(bench.run(1), None);
        assert_eq!((bench.counters().reused, bench.kept), (life, 1));
    }
    bench.restart(|disk| disk.crash(Crash::Keep));
    bench.aim(&state);
    assert_eq!(bench.run(1), Some(state));
    assert_eq!((bench.counters().reused, bench.counters().chunks), (8, 0));
}

#[test]
fn f1_a_power_cut_at_any_chunk_costs_chunks_and_never_the_state() {
    let cuts =
        [Crash::Forget, Crash::Some { mask: 0b0101_0101, torn: 1_000 }, Crash::Some { mask: !1, torn: 0 }];
    for chunks in 0..=8 {
        for cut in cuts {
            let (state, mut bench) = dies_after(chunks);
            bench.restart(|disk| disk.crash(cut));
            bench.aim(&state);
            assert_eq!(bench.run(1), Some(state));
            let counters = bench.counters();
            assert!(counters.reused <= chunks, "{counters:?}");
            assert_eq!(counters.reused + counters.chunks, 8);
        }
    }
}

#[test]
fn f1_a_process_that_is_killed_when_everything_is_there_asks_for_no_chunk() {
    let (state, mut bench) = dies_after(8);
    // Before execution lets go of its state, before the store puts the new one together, and after it has.
    for job in 0..3 {
        bench.restart(|disk| disk.crash(Crash::Keep));
        if job > 0 {
            bench.pauses_at_release = true;
            bench.released = 0;
            bench.aim(&state);
            assert_eq!(bench.run(1), None);
            assert_eq!(bench.released, 1);
            bench.pauses_at_release = false;
        }
        if job > 1 {
            let Some(Finished::Adopted(adopted)) = bench.next_job() else { panic!("it puts it together") };
            assert_eq!(*adopted, state);
        }
    }
    bench.restart(|disk| disk.crash(Crash::Forget));
    bench.aim(&state);
    assert_eq!(bench.run(1), Some(state));
    assert_eq!((bench.counters().reused, bench.counters().chunks), (8, 0), "what is put together is durable");
}

#[test]
fn f1_a_chunk_that_rots_while_the_process_is_dead_is_fetched_again() {
    let (state, mut bench) = dies_after(5);
    bench.restart(|disk| {
        disk.crash(Crash::Keep);
        let names = disk.list().unwrap();
        let mut files = names.iter().rev().filter_map(|name| FileName::parse(name));
        let segment = files.find(|file| matches!(file, FileName::Segment(_))).expect("chunks are somewhere");
        disk.flip(segment, 100_000, 0x10);
    });
    bench.aim(&state);
    assert_eq!(bench.run(1), Some(state));
    assert_eq!((bench.counters().reused, bench.counters().chunks), (4, 4));
}

#[test]
fn f1_what_rots_before_it_is_put_together_is_found_and_fetched_by_the_next_process() {
    let state = state(128, &ALL);
    let mut bench = Bench::new(4, &state);
    bench.pauses_at_release = true;
    bench.aim(&state);
    assert_eq!(bench.run(1), None);
    bench.fetcher.store.disk().flip(FileName::Segment(0), 100_000, 0x10);
    bench.fetcher.store.disk().flip(FileName::Segment(1), 100_000, 0x10);
    bench.pauses_at_release = false;
    let job = bench.fetcher.transfers.take_fetching_job().unwrap();
    let error = bench.fetcher.store.run(job).unwrap_err();
    assert!(error.is_damage() && bench.fetcher.transfers.is_adopting(), "{error}");
    bench.restart(|_| ());
    bench.aim(&state);
    assert_eq!(bench.run(1), Some(state));
    assert_eq!((bench.counters().reused, bench.counters().chunks), (7, 1));
}

#[test]
fn f1_chunks_of_a_target_that_moved_on_while_the_process_was_dead_are_used_for_the_next_one() {
    let (one, mut bench) = dies_after(5);
    let two = state(256, &[1, 2, 3, 4, 99, 6, 7, 8]);
    for server in bench.servers.values_mut() {
        server.store = Store::open(MemoryDisk::new(), true).unwrap();
        server.has(&two);
    }
    bench.restart(|disk| disk.crash(Crash::Keep));
    bench.aim(&one);
    assert_eq!(bench.run(1), None, "nobody has it any more");
    bench.aim(&two);
    assert_eq!(bench.run(2), Some(two));
    let counters = bench.counters();
    assert_eq!((counters.reused, counters.chunks), (4, 4));
}
