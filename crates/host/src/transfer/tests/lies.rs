//! Sources that lie about what the state consists of, about its chunks, or that do not answer.

use super::*;

/// The wire form with the first two pages in one.
fn other_pages(wire: &Bytes) -> Bytes {
    let length = |at: usize| u32::from_le_bytes(wire[at..at + 4].try_into().unwrap()) as usize;
    let (first, second) = (length(0), length(4 + length(0)));
    let mut joined = u32::try_from(first + second).unwrap().to_le_bytes().to_vec();
    joined.extend_from_slice(&wire[4..4 + first]);
    joined.extend_from_slice(&wire[8 + first..]);
    joined.into()
}

#[test]
fn f1_a_wrong_chunk_bans_its_source_and_comes_from_another() {
    let state = fine_state(128, 4000);
    let chunks = state.chunks().count();
    assert!(chunks >= 7 && state.chunks().all(|chunk| chunk.pages().len() >= 2), "{chunks}");
    let another = state.chunks().next().unwrap().encode();
    // A byte flipped, one too few, one too many, nothing, another chunk of the same state, the same entries in other
    // pages, pages that are longer than all there is.
    let lies: [fn(Bytes, &[u8]) -> Bytes; 7] = [
        |wire, _| flip(&wire),
        |wire, _| wire.slice(..wire.len() - 1),
        |wire, _| [&wire[..], &[0]].concat().into(),
        |_, _| Bytes::new(),
        |wire, another| if wire == another { flip(&wire) } else { another.to_vec().into() },
        |wire, _| other_pages(&wire),
        |wire, _| [&[0xff; 4], &wire[4..]].concat().into(),
    ];
    for (number, lie) in lies.into_iter().enumerate() {
        let mut bench = Bench::new(4, &state);
        let another = another.clone();
        bench.lies(1, move |part| match part {
            Transfer::Chunk { seq, index, bytes } => {
                vec![Transfer::Chunk { seq, index, bytes: Blob(lie(bytes.0, &another)) }]
            }
            other => vec![other],
        });
        bench.aim(&state);
        assert_eq!(bench.run(1).as_ref(), Some(&state), "lie {number}");
        assert!(bench.sent[&ReplicaId(1)] > 0, "it was asked, and it lied");
        assert_eq!((bench.counters().banned, bench.counters().chunks), (1, chunks as u64), "lie {number}");
        let first = bench.asked.iter().position(|(to, part)| to.0 == 1 && is_chunk(part)).unwrap();
        let asked_again = bench.asked[first..].iter().filter(|(to, _)| to.0 == 1).count();
        assert!(asked_again <= chunks.div_ceil(3), "whoever lied is asked no more: {asked_again}");
    }
}

#[test]
fn f1_a_lie_about_what_the_state_consists_of_is_seen_before_any_of_it_is_fetched() {
    let good = state(128, &[1, 2, 3]);
    let another = state(128, &[1, 2, 4]);
    let summary = |change: fn(&mut Summary)| {
        let mut summary = good.summary();
        change(&mut summary);
        summary
    };
    let digests = good.chunk_digests();
    let with = |change: fn(&mut Vec<Digest>)| {
        let mut digests = digests.clone();
        change(&mut digests);
        digests
    };
    let parent =
        quorate_protocol::crypto::merkle_root(quorate_protocol::crypto::HashTag::ChunkNode, &digests[..2]);
    let lies = vec![
        (another.summary(), another.chunk_digests()),
        (summary(|summary| summary.application.chunks = 1 << 40), digests.clone()),
        (summary(|summary| summary.application.chunks = u64::MAX), digests.clone()),
        (summary(|summary| summary.application.bytes = u64::MAX), digests.clone()),
        (summary(|summary| summary.history = Digest([6; 32])), digests.clone()),
        (summary(|summary| std::mem::swap(&mut summary.application, &mut summary.sessions)), digests.clone()),
        (good.summary(), Vec::new()),
        (good.summary(), with(|digests| digests.truncate(2))),
        (good.summary(), with(|digests| digests.push(digests[2]))),
        (good.summary(), with(|digests| digests.swap(0, 1))),
        // The parents of the leaves have the same root: number and place of the leaves are checked as well.
        (good.summary(), vec![parent, digests[2]]),
    ];
    for (number, (summary, chunks)) in lies.into_iter().enumerate() {
        let mut bench = Bench::new(4, &good);
        for liar in 0..2 {
            let lie = Transfer::Meta { summary: Box::new(summary), chunks: List(chunks.clone()) };
            bench.lies(liar, move |part| match part {
                Transfer::Meta { .. } => vec![lie.clone()],
                other => vec![other],
            });
        }
        // With slot 128 it begins with replica 2; both liars come first when it begins with replica 0.
        bench.fetcher.transfers.fetching.rotate(128);
        bench.aim(&good);
        assert_eq!(bench.run(1).as_ref(), Some(&good), "lie {number}");
        let counters = bench.counters();
        assert!(counters.banned >= 1, "lie {number} was told: {counters:?}");
        assert_eq!(bench.sent.values().sum::<u64>(), 3, "no chunk was fetched for a lie");
    }
}

#[test]
fn f1_more_bytes_than_its_chunks_can_have_are_not_fetched_whoever_certified_them() {
    let state = state(128, &[1, 2]);
    let mut summary = state.summary();
    summary.application.bytes = 1 << 20;
    let chunks = List(state.chunk_digests());
    let mut bench = Bench::new(4, &state);
    for id in 0..3 {
        let lie = Transfer::Meta { summary: Box::new(summary), chunks: chunks.clone() };
        bench.lies(
            id,
            move |part| if matches!(part, Transfer::Meta { .. }) { vec![lie.clone()] } else { vec![part] },
        );
    }
    let statement = Checkpoint { seq: Seq(128), root: summary.root(), epoch_end: Seq::MAX };
    let certificate = Certificate { statement, signatures: List(Vec::new()) };
    bench.fetcher.transfers.aim(bench.now, &certificate);
    assert_eq!(bench.run(5), None);
    assert_eq!(bench.counters().banned, 3);
    assert!(!bench.asked.iter().any(|(_, part)| is_chunk(part)));
}

#[test]
fn f1_whoever_has_the_state_no_more_or_shows_an_older_one_is_passed_over_and_believed_later() {
    let (old, new) = (state(64, &[9]), state(128, &[1, 2, 3]));
    let mut bench = Bench::new(4, &new);
    // Replica 0 never had it; replica 1 answers with a state that it had before: heights shrink.
    bench.servers.insert(ReplicaId(0), Site::new(&context(4), ReplicaId(0), MemoryDisk::new()));
    let shown = meta(&old);
    bench.lies(
        1,
        move |part| if matches!(part, Transfer::Meta { .. }) { vec![shown.clone()] } else { vec![part] },
    );
    bench.fetcher.transfers.fetching.rotate(128);
    bench.aim(&new);
    assert_eq!(bench.run(5), Some(new));
    let counters = bench.counters();
    assert_eq!(
        (counters.banned, counters.refused),
        (0, 1),
        "neither of these is a lie about the state wanted"
    );
    assert!(counters.stalled >= 1, "the older state was no answer");
    let mut asked: Vec<_> = bench.asked.iter().map(|(to, _)| to.0).collect();
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(asked, [0, 1, 2], "all were asked");
}

#[test]
fn f1_a_source_that_dies_or_is_slow_costs_one_timeout_and_not_the_transfer() {
    let state = state(128, &[1, 2, 3, 4, 5, 6, 7, 8]);
    let mut bench = Bench::new(4, &state);
    bench.lies(0, |_| Vec::new());
    bench.lies(1, |part| if matches!(part, Transfer::Chunk { .. }) { Vec::new() } else { vec![part] });
    bench.aim(&state);
    assert_eq!(bench.run(10), Some(state));
    let counters = bench.counters();
    assert!(counters.stalled >= 2 && counters.banned == 0, "{counters:?}");
    assert!(bench.now.since(BEGIN) < 3 * ANSWER_US, "it took {} us", bench.now.since(BEGIN));
}

#[test]
fn f1_nothing_is_fetched_from_the_dead_and_it_goes_on_when_they_are_back() {
    let state = state(128, &[1, 2]);
    let mut bench = Bench::new(4, &state);
    (0..3).for_each(|id| bench.lies(id, |_| Vec::new()));
    bench.aim(&state);
    assert_eq!(bench.run(20), None);
    let asked = bench.asked.len() as u64;
    assert!(asked > 0 && asked <= 20 * 1_000_000 / ANSWER_US * 3, "{asked} questions in 20 s");
    bench.lies.clear();
    assert_eq!(bench.run(2), Some(state));
}

#[test]
fn f1_what_nobody_asked_for_is_dropped_and_counted_and_takes_no_memory() {
    let state = state(128, &[1, 2, 3, 4, 5, 6, 7]);
    let mut bench = Bench::new(4, &state);
    let push = |bench: &mut Bench, part: Transfer| {
        bench.fetcher.transfers.take(bench.now, ReplicaId(0), part);
    };
    // Without a transfer.
    [meta(&state), chunk(&state, 0), Transfer::Lacks { seq: Seq(128) }]
        .into_iter()
        .for_each(|part| push(&mut bench, part));
    assert_eq!(bench.counters().refused, 3);
    bench.aim(&state);
    let asked = bench.fetcher.transfers.pump(bench.now);
    let [Post { to, .. }] = asked.as_slice() else { panic!("one is asked first: {asked:?}") };
    let to = *to;
    assert_ne!(to, ReplicaId(0));
    // Of another source than the one that was asked; of another slot; before the contents are known.
    push(&mut bench, meta(&state));
    push(&mut bench, chunk(&state, 0));
    push(&mut bench, Transfer::Lacks { seq: Seq(128) });
    push(&mut bench, Transfer::Chunk { seq: Seq(64), index: 0, bytes: Blob(Bytes::new()) });
    assert_eq!((bench.counters().refused, bench.fetcher.transfers.held_bytes()), (7, 0));
    bench.fetcher.transfers.take(bench.now, to, meta(&state));
    // The right answer once more, before and after the store has said what is here, and chunks that were never asked
    // of this source, or do not exist.
    push(&mut bench, meta(&state));
    let planned = bench.next_job().unwrap();
    assert!(bench.finish(planned).is_none());
    push(&mut bench, meta(&state));
    push(&mut bench, chunk(&state, 6));
    push(&mut bench, Transfer::Chunk { seq: Seq(128), index: u32::MAX, bytes: Blob(Bytes::new()) });
    let counters = bench.counters();
    assert_eq!((counters.refused, counters.banned, bench.fetcher.transfers.held_bytes()), (11, 0, 0));
    // Everything that is asked comes twice and three times; it is kept once.
    for id in 0..3 {
        bench.lies(id, |part| vec![part.clone(), part.clone(), part]);
    }
    assert_eq!(bench.run(2), Some(state));
    assert_eq!((bench.counters().chunks, bench.kept), (7, 7));
}

#[test]
fn f1_what_is_on_its_way_and_what_is_held_is_bounded_whatever_the_sources_do() {
    let tags: Vec<u8> = (0..100).collect();
    let state = state(128, &tags);
    let mut bench = Bench::new(7, &state);
    // Nobody ever sends the last chunk; everybody sends the others again and again. And the disk is slow.
    for id in bench.servers.keys().copied().collect::<Vec<_>>() {
        bench.lies(id.0, |part| match part {
            Transfer::Chunk { index: 99, .. } => Vec::new(),
            other => vec![other.clone(), other],
        });
    }
    bench.pace = 1;
    bench.aim(&state);
    assert_eq!(bench.run(120), None);
    let chunk_bytes = state.chunks().map(|chunk| chunk.encode().len()).max().unwrap();
    let most = (KEEPING_MAX + CHUNKS_ON_THE_WAY) * chunk_bytes;
    assert!(bench.held_most > 0 && bench.held_most <= most, "{} of {most}", bench.held_most);
    assert!(bench.asked.len() < 100 + 2 + 2 * 120 * 6, "{}", bench.asked.len());
    let progress = bench.progress();
    assert!(progress.from.len() <= 6);
    assert!(progress.to_string().starts_with("transferring 99/100 chunks of slot 128"), "{progress}");
}
