//! States of which an older one is here, and of whose chunks nearly every one changed, a little each.

use super::*;
use crate::disk::{Crash, Disk, FileName};

/// Entries of 104 bytes, a dozen and more of them on a page and hundreds in a chunk.
const ENTRIES: u32 = 12_000;
/// There is at least one of so many entries in each chunk.
const EVERY: usize = 250;

fn fine(seq: u64) -> State {
    fine_state(seq, ENTRIES)
}

/// The state with other values under every so many keys, which stay where they are.
fn change(state: &State, seq: u64, every: usize) -> State {
    let mut map = state.application.clone();
    let value = [&[seq as u8][..], &[0xee; 99]].concat();
    for key in (0..ENTRIES).step_by(every).chain([ENTRIES - 1]) {
        map.insert(&key.to_be_bytes(), &value).unwrap();
    }
    state_of(seq, map)
}

/// Digests of all pages.
fn pages(state: &State) -> Vec<(Digest, usize)> {
    let pages = state.chunks().flat_map(|chunk| chunk.pages());
    pages.map(|page| (page.digest(), page.bytes().len())).collect()
}

/// The fetcher has the first of these states, the others the second.
fn bench(old: &State, new: &State) -> Bench {
    let mut bench = Bench::new(4, new);
    bench.fetcher.has(old);
    bench.aim(new);
    bench
}

fn asked(bench: &Bench, which: impl Fn(&Transfer) -> bool) -> usize {
    bench.asked.iter().filter(|(_, part)| which(part)).count()
}

fn is_about_pages(part: &Transfer) -> bool {
    matches!(part, Transfer::FetchDigests { .. } | Transfer::FetchPages { .. })
}

#[test]
fn f1_changes_all_over_a_state_cost_the_pages_that_they_touch_and_not_a_byte_more() {
    let (old, new) = (fine(128), change(&fine(128), 256, EVERY));
    let (here, wanted) = (pages(&old), pages(&new));
    let missing: Vec<usize> =
        wanted.iter().filter(|page| !here.contains(page)).map(|(_, bytes)| *bytes).collect();
    let of = new.chunks().count() as u64;
    assert!(of >= 20 && missing.len() >= 40 && missing.len() * 8 < wanted.len(), "{of} {}", missing.len());
    let mut bench = bench(&old, &new);
    assert_eq!(bench.run(1).as_ref(), Some(&new));
    let counters = bench.counters();
    assert_eq!((counters.reused, counters.chunks), (0, of), "every chunk changed");
    assert_eq!(counters.reused_pages, (wanted.len() - missing.len()) as u64);
    let bytes = missing.iter().sum::<usize>() as u64;
    assert_eq!(counters.reused_bytes, new.summary().bytes() - bytes);
    let lengths_and_lists = (4 * missing.len() + 32 * wanted.len()) as u64;
    assert_eq!(counters.fetched_bytes, bytes + lengths_and_lists);
    assert_eq!((counters.refused, counters.stalled, asked(&bench, is_chunk)), (0, 0, 0));
    assert!(bench.now.since(BEGIN) < 200_000, "without faults no timeout passes");
    bench.restart(|disk| disk.crash(Crash::Forget));
    assert_eq!(
        bench.fetcher.store.load(Seq(256)).unwrap(),
        new,
        "and it is as durable as one that came whole"
    );
}

#[test]
fn f1_the_chase_after_a_state_that_goes_on_changing_costs_less_each_time() {
    let mut state = fine(128);
    let mut bench = Bench::new(4, &state);
    let (mut before, mut costs) = (0, Vec::new());
    // The first round takes long, so that much changes meanwhile; the next one takes less.
    for (seq, every) in [(128, None), (129, Some(30)), (130, Some(60)), (131, Some(120)), (132, Some(240))] {
        if let Some(every) = every {
            state = change(&state, seq, every);
            bench.all_have(&state);
        }
        bench.aim(&state);
        assert_eq!(bench.run(2).as_ref(), Some(&state));
        let bytes = bench.counters().fetched_bytes;
        costs.push(bytes - before);
        before = bytes;
    }
    assert!(costs.windows(2).all(|pair| pair[1] < pair[0] * 7 / 10), "{costs:?}");
    let counters = bench.counters();
    assert_eq!((counters.completed, counters.moved), (5, 0));
    // What is fetched in pages is spread over the segments of all rounds, which do not stay for ever.
    let bytes = state.summary().bytes();
    assert!(bench.fetcher.store.used() < 4 * bytes, "{} for {bytes}", bench.fetcher.store.used());
}

#[test]
fn f1_pages_are_used_again_however_they_are_cut_into_chunks() {
    let old = fine(128);
    let mut map = old.application.clone();
    // Where the first entries go and others come, the chunks behind are joined and cut elsewhere.
    (0..2_000).for_each(|key: u32| assert!(map.remove(&key.to_be_bytes())));
    for key in (5_000..9_000_u32).step_by(3) {
        map.insert(&[&key.to_be_bytes()[..], b"new"].concat(), &[7; 100]).unwrap();
    }
    let new = state_of(256, map);
    let mut bench = bench(&old, &new);
    assert_eq!(bench.run(1).as_ref(), Some(&new));
    let counters = bench.counters();
    assert!(counters.reused > 0 && counters.reused_pages > 40, "{counters:?}");
    assert_eq!(counters.reused + counters.chunks, new.chunks().count() as u64);
    assert!(counters.fetched_bytes < new.summary().bytes() * 6 / 10, "{counters:?}");
}

#[test]
fn pages_are_asked_for_only_where_that_pays() {
    let (old, new) = (fine(128), change(&fine(128), 256, EVERY));
    // Nothing is here.
    let mut nothing = Bench::new(4, &new);
    nothing.aim(&new);
    assert_eq!(nothing.run(1).as_ref(), Some(&new));
    assert_eq!(asked(&nothing, is_about_pages), 0);
    // Nearly everything is.
    let mut map = old.application.clone();
    map.insert(&9_u32.to_be_bytes(), &[8; 100]).unwrap();
    let little = state_of(256, map);
    let mut little_changed = bench(&old, &little);
    assert_eq!(little_changed.run(1), Some(little));
    assert_eq!((asked(&little_changed, is_about_pages), asked(&little_changed, is_chunk)), (0, 1));
    // Something is here, but none of what is wanted.
    let mut different = bench(&state(128, &[1, 2, 3]), &new);
    assert_eq!(different.run(1).as_ref(), Some(&new));
    let chunks = new.chunks().count();
    assert_eq!((asked(&different, is_about_pages), asked(&different, is_chunk)), (chunks, chunks));
    assert_eq!(different.counters().reused_pages, 0);
}

#[test]
fn f1_a_lie_about_pages_bans_its_source_and_does_no_harm() {
    let (old, new) = (fine(128), change(&fine(128), 256, EVERY));
    let another = new.chunks().nth(1).unwrap().pages()[2].digest();
    // A digest of another page, one too few, one too many, none, two in the wrong order, one of them again and again.
    let lists: [fn(&mut Vec<Digest>, Digest); 6] = [
        |pages, another| pages[1] = another,
        |pages, _| pages.truncate(pages.len() - 1),
        |pages, _| pages.push(pages[0]),
        |pages, _| pages.clear(),
        |pages, _| pages.swap(0, 1),
        |pages, another| *pages = vec![another; pages.len()],
    ];
    let lies = lists.map(|lie| {
        Box::new(move |part| match part {
            Transfer::Digests { seq, index, mut pages } => {
                lie(&mut pages.0, another);
                vec![Transfer::Digests { seq, index, pages }]
            }
            other => vec![other],
        }) as Lie
    });
    // A byte flipped, one too few, one too many, nothing, a page too many, all in one, a length beyond the end.
    let bytes: [fn(Bytes) -> Bytes; 7] = [
        |wire| flip(&wire),
        |wire| wire.slice(..wire.len() - 1),
        |wire| [&wire[..], &[0]].concat().into(),
        |_| Bytes::new(),
        |wire| [&wire[..], &wire[..]].concat().into(),
        |wire| [&(wire.len() as u32 - 4).to_le_bytes(), &wire[4..], &[0; 4]].concat().into(),
        |wire| [&[0xff; 4], &wire[4..]].concat().into(),
    ];
    let more = bytes.map(|lie| {
        Box::new(move |part| match part {
            Transfer::Pages { seq, index, bytes } => {
                vec![Transfer::Pages { seq, index, bytes: Blob(lie(bytes.0)) }]
            }
            other => vec![other],
        }) as Lie
    });
    for (number, lie) in lies.into_iter().chain(more).enumerate() {
        let mut bench = bench(&old, &new);
        bench.lies.insert(ReplicaId(1), lie);
        assert_eq!(bench.run(2).as_ref(), Some(&new), "lie {number}");
        let counters = bench.counters();
        assert_eq!((counters.banned, counters.chunks), (1, new.chunks().count() as u64), "lie {number}");
    }
}

#[test]
fn f1_pages_that_nobody_asked_for_are_dropped_and_counted() {
    let (old, new) = (fine(128), change(&fine(128), 256, EVERY));
    let mut bench = bench(&old, &new);
    let chunk = new.chunks().next().unwrap();
    let digests = List(chunk.page_digests());
    let wire = Blob(chunk.encode_pages(|page| page == 0).into());
    let parts = [
        Transfer::Digests { seq: new.seq, index: 0, pages: digests },
        Transfer::Pages { seq: new.seq, index: 0, bytes: wire },
    ];
    for part in parts.clone() {
        bench.fetcher.transfers.take(bench.now, ReplicaId(0), part);
    }
    assert_eq!(bench.counters().refused, 2);
    // Whoever is asked for digests, and sends pages as well, each again and again.
    bench.lies(0, move |part| {
        let more = parts.iter().flat_map(|part| std::iter::repeat_n(part.clone(), 5));
        std::iter::once(part).chain(more).collect()
    });
    assert_eq!(bench.run(2).as_ref(), Some(&new));
    let counters = bench.counters();
    assert!(counters.refused > 20 && counters.banned == 0, "{counters:?}");
    assert_eq!(counters.chunks, new.chunks().count() as u64);
}

#[test]
fn f1_a_source_that_sends_lists_and_no_pages_costs_one_timeout() {
    let (old, new) = (fine(128), change(&fine(128), 256, EVERY));
    for about in [true, false] {
        let mut bench = bench(&old, &new);
        bench.lies(2, move |part| match part {
            Transfer::Pages { .. } if about => Vec::new(),
            Transfer::Digests { .. } if !about => Vec::new(),
            other => vec![other],
        });
        assert_eq!(bench.run(5).as_ref(), Some(&new));
        assert!(bench.counters().stalled > 0 && bench.counters().banned == 0);
        assert!(bench.now.since(BEGIN) < 2 * ANSWER_US, "it took {} us", bench.now.since(BEGIN));
    }
}

#[test]
fn f1_a_process_that_is_killed_at_any_chunk_made_of_pages_fetches_only_the_rest() {
    let (old, new) = (fine(128), change(&fine(128), 256, EVERY));
    let of = new.chunks().count() as u64;
    for (chunks, cut) in (0..=of).flat_map(|chunks| [(chunks, Crash::Keep), (chunks, Crash::Forget)]) {
        let mut bench = bench(&old, &new);
        bench.dies_after = Some(chunks);
        assert_eq!(bench.run(1), None);
        assert_eq!(bench.kept, chunks, "it died there");
        bench.restart(|disk| disk.crash(cut));
        assert_eq!(bench.fetcher.store.load(Seq(128)).as_ref(), Ok(&old), "what it had stays whole");
        bench.aim(&new);
        assert_eq!(bench.run(1).as_ref(), Some(&new));
        let counters = bench.counters();
        assert_eq!(counters.reused + counters.chunks, of);
        assert!(counters.fetched_bytes < new.summary().bytes() / 2, "{counters:?}");
        assert_eq!(counters.reused, if cut == Crash::Keep { chunks } else { 0 }, "{cut:?}");
    }
}

#[test]
fn f1_where_a_page_rots_that_was_to_be_used_its_chunk_comes_whole() {
    let (old, new) = (fine(128), change(&fine(128), 256, EVERY));
    let mut bench = bench(&old, &new);
    bench.dies_after = Some(3);
    assert_eq!(bench.run(1), None);
    let disk = bench.fetcher.store.disk();
    let names = disk.list().unwrap();
    let segment = names.iter().find_map(|name| match FileName::parse(name) {
        Some(file @ FileName::Segment(_)) => Some(file),
        _ => None,
    });
    let segment = segment.expect("the old state stands somewhere");
    for at in [200_000, 400_000, 600_000, 800_000] {
        disk.flip(segment, at, 0x10);
    }
    bench.dies_after = None;
    assert_eq!(bench.run(2).as_ref(), Some(&new));
    let whole = asked(&bench, is_chunk);
    assert!((1..=4).contains(&whole), "{whole} chunks were asked for once more");
    assert_eq!(bench.counters().banned, 0, "nobody else is to blame for it");
    bench.restart(|disk| disk.crash(Crash::Forget));
    assert_eq!(bench.fetcher.store.load(Seq(256)).unwrap(), new);
}
