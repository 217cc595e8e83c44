//! F1: what a state transfer makes of sources that lie, stall, forget, or answer what nobody asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use quorate_protocol::codec::{Blob, List};
use quorate_protocol::committee::Committee;
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::executor::Summary;
use quorate_protocol::message::CHUNK_BYTES;
use quorate_protocol::parameters::Parameters;
use quorate_protocol::snapshot::{chunk_digests, chunk_root};
use quorate_protocol::types::{ClusterId, Digest, Epoch};

use super::fetching::{ANSWER_US, CHUNKS_ON_THE_WAY, GRACE_US};
use super::shelf::{BURST_BYTES, QUESTIONS_MAX, RATE_BYTES};
use super::*;

const ME: ReplicaId = ReplicaId(3);
const BEGIN: Time = Time(1_000_000);

fn context(n: u8) -> Context {
    let keys: Vec<_> = (1..=n).map(|seed| SecretKey::from_seed(&[seed; 32]).public()).collect();
    Context {
        cluster: ClusterId(Digest([9; 32])),
        epoch: Epoch(0),
        committee: Arc::new(Committee::new(&keys, false).unwrap()),
        parameters: Arc::new(Parameters::default()),
    }
}

/// A state with a chunk for each tag; the last one is short.
fn state(seq: u64, tags: &[u8]) -> State {
    let mut bytes: Vec<u8> = tags.iter().flat_map(|tag| vec![*tag; CHUNK_BYTES]).collect();
    bytes.truncate(bytes.len() - 1000);
    let chunks = chunk_digests(&bytes);
    let summary = Summary {
        seq: Seq(seq),
        application: Digest([1; 32]),
        sessions: Digest([2; 32]),
        config: Digest([3; 32]),
        time: Time(4),
        chunk_root: chunk_root(&chunks),
        chunks: chunks.len() as u64,
        bytes: bytes.len() as u64,
        history: Digest([5; 32]),
    };
    let root = summary.root();
    State { seq: Seq(seq), root, summary, chunks: chunks.into(), snapshot: bytes.into() }
}

fn proof(state: &State) -> Certificate<Checkpoint> {
    let statement = Checkpoint { seq: state.seq, root: state.root, epoch_end: Seq::MAX };
    Certificate { statement, signatures: List(Vec::new()) }
}

/// What a source makes of its own answer: one, none, or several others.
type Lie = Box<dyn Fn(Transfer) -> Vec<Transfer>>;

/// A replica that fetches, and those that it asks.
struct Bench {
    now: Time,
    fetcher: Transfers,
    servers: BTreeMap<ReplicaId, Transfers>,
    lies: BTreeMap<ReplicaId, Lie>,
    /// Chunks that each source sent.
    sent: BTreeMap<ReplicaId, u64>,
    asked: Vec<(ReplicaId, Transfer)>,
    held_most: usize,
}

impl Bench {
    /// Replica 3 of n; the others have this state.
    fn new(n: u8, state: &State) -> Self {
        let context = context(n);
        let others = context.committee.replicas().filter(|id| *id != ME);
        let serving = others.map(|id| {
            let mut server = Transfers::new(&context, id);
            server.shelve(state.clone());
            (id, server)
        });
        Self {
            now: BEGIN,
            fetcher: Transfers::new(&context, ME),
            servers: serving.collect(),
            lies: BTreeMap::new(),
            sent: BTreeMap::new(),
            asked: Vec::new(),
            held_most: 0,
        }
    }

    fn aim(&mut self, state: &State) {
        self.fetcher.aim(self.now, &proof(state));
        self.fetcher.hurry(self.now);
    }

    fn lies(&mut self, id: u16, lie: impl Fn(Transfer) -> Vec<Transfer> + 'static) {
        self.lies.insert(ReplicaId(id), Box::new(lie));
    }

    /// Lets questions and answers pass, each taking a millisecond, until the state is whole or nothing happens any more.
    fn run(&mut self, seconds: u64) -> Option<State> {
        let end = self.now.plus(seconds * 1_000_000);
        while self.now < end {
            let mut at = self.fetcher.deadline();
            for server in self.servers.values() {
                at = at.into_iter().chain(server.deadline()).min();
            }
            self.now = at?.max(self.now.plus(1_000));
            for Post { to, part } in self.fetcher.pump(self.now) {
                self.asked.push((to, part.clone()));
                let server = self.servers.get_mut(&to).expect("only others are asked");
                assert_eq!(server.take(self.now, ME, part), None);
            }
            for (id, server) in &mut self.servers {
                for Post { part, .. } in server.pump(self.now) {
                    let parts = self.lies.get(id).map_or_else(|| vec![part.clone()], |lie| lie(part.clone()));
                    for part in parts {
                        let chunk = u64::from(matches!(part, Transfer::Chunk { .. }));
                        *self.sent.entry(*id).or_default() += chunk;
                        let state = self.fetcher.take(self.now, *id, part);
                        self.held_most = self.held_most.max(self.fetcher.held_bytes());
                        if state.is_some() {
                            return state;
                        }
                    }
                }
            }
        }
        None
    }

    fn counters(&self) -> Counters {
        self.fetcher.counters()
    }
}

fn flip(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes[0] ^= 1;
    bytes.into()
}

#[test]
fn f1_a_state_comes_whole_from_all_the_others_together() {
    let state = state(128, &[1, 2, 3, 4, 5, 6, 7]);
    let mut bench = Bench::new(4, &state);
    bench.aim(&state);
    assert_eq!(bench.run(1), Some(state));
    assert_eq!(bench.sent.len(), 3, "{:?}", bench.sent);
    assert!(bench.sent.values().all(|chunks| *chunks >= 2), "{:?}", bench.sent);
    let expected = Counters { started: 1, completed: 1, chunks: 7, ..Counters::default() };
    assert_eq!(bench.counters(), expected);
    assert_eq!((bench.fetcher.progress(), bench.fetcher.held_bytes()), (None, 0));
    assert!(bench.now.since(BEGIN) < 100_000, "without faults no timeout passes");
}

#[test]
fn f1_a_wrong_chunk_bans_its_source_and_comes_from_another() {
    let state = state(128, &[1, 2, 3, 4, 5, 6, 7]);
    // One byte flipped, one byte too few, another chunk of the same state.
    let lies: [fn(u32, Bytes) -> Transfer; 3] = [
        |index, bytes| Transfer::Chunk { seq: Seq(128), index, bytes: Blob(flip(&bytes)) },
        |index, bytes| Transfer::Chunk { seq: Seq(128), index, bytes: Blob(bytes.slice(1..)) },
        |index, _| Transfer::Chunk {
            seq: Seq(128),
            index,
            bytes: Blob(vec![index as u8 + 2; CHUNK_BYTES].into()),
        },
    ];
    for lie in lies {
        let mut bench = Bench::new(4, &state);
        bench.lies(1, move |part| match part {
            Transfer::Chunk { index, bytes, .. } => vec![lie(index, bytes.0)],
            other => vec![other],
        });
        bench.aim(&state);
        assert_eq!(bench.run(1).as_ref(), Some(&state));
        assert!(bench.sent[&ReplicaId(1)] > 0, "it was asked, and it lied");
        assert_eq!(bench.counters().banned, 1);
        let first = bench.asked.iter().position(|(to, part)| to.0 == 1 && is_chunk(part)).unwrap();
        let asked_again = bench.asked[first..].iter().filter(|(to, _)| to.0 == 1).count();
        assert!(asked_again <= 3, "whoever lied is asked no more: {asked_again}");
    }
}

fn is_chunk(part: &Transfer) -> bool {
    matches!(part, Transfer::FetchChunk { .. })
}

#[test]
fn f1_a_lie_about_what_the_state_consists_of_is_seen_before_any_of_it_is_fetched() {
    let good = state(128, &[1, 2, 3]);
    let another = state(128, &[1, 2, 4]);
    let summary = |change: fn(&mut Summary)| {
        let mut summary = good.summary;
        change(&mut summary);
        summary
    };
    let digests = good.chunks.to_vec();
    let with = |change: fn(&mut Vec<Digest>)| {
        let mut digests = digests.clone();
        change(&mut digests);
        digests
    };
    let lies = vec![
        (another.summary, another.chunks.to_vec()),
        (summary(|summary| summary.chunks = 1 << 40), digests.clone()),
        (summary(|summary| summary.bytes = u64::MAX), digests.clone()),
        (summary(|summary| summary.history = Digest([6; 32])), digests.clone()),
        (good.summary, Vec::new()),
        (good.summary, with(|digests| digests.truncate(2))),
        (good.summary, with(|digests| digests.push(digests[2]))),
        (good.summary, with(|digests| digests.swap(0, 1))),
        // The parents of the leaves have the same root: number and place of the leaves are checked as well.
        (good.summary, vec![chunk_root(&digests[..2]), digests[2]]),
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
        let good = State { seq: Seq(128), ..good.clone() };
        bench.fetcher.fetching.rotate();
        bench.aim(&good);
        assert_eq!(bench.run(1).as_ref(), Some(&good), "lie {number}");
        let counters = bench.counters();
        assert!(counters.banned >= 1, "lie {number} was told: {counters:?}");
        assert_eq!(bench.sent.values().sum::<u64>(), 3, "no chunk was fetched for a lie");
    }
}

#[test]
fn f1_whoever_has_the_state_no_more_or_shows_an_older_one_is_passed_over_and_believed_later() {
    let (old, new) = (state(64, &[9]), state(128, &[1, 2, 3]));
    let mut bench = Bench::new(4, &new);
    // Replica 0 never had it; replica 1 answers with a state that it had before: heights shrink.
    let context = context(4);
    bench.servers.insert(ReplicaId(0), Transfers::new(&context, ReplicaId(0)));
    let shown = Transfer::Meta { summary: Box::new(old.summary), chunks: List(old.chunks.to_vec()) };
    bench.lies(
        1,
        move |part| if matches!(part, Transfer::Meta { .. }) { vec![shown.clone()] } else { vec![part] },
    );
    bench.fetcher.fetching.rotate();
    bench.aim(&new);
    assert_eq!(bench.run(5), Some(new));
    let counters = bench.counters();
    assert_eq!(
        (counters.banned, counters.refused),
        (0, 1),
        "neither of these is a lie about the state wanted"
    );
    assert!(counters.stalled >= 1, "the older state was no answer");
    let asked: BTreeSet<_> = bench.asked.iter().map(|(to, _)| to.0).collect();
    assert_eq!(asked.len(), 3, "all were asked");
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
    (0..3).filter(|id| *id != ME.0).for_each(|id| bench.lies(id, |_| Vec::new()));
    bench.aim(&state);
    assert_eq!(bench.run(20), None);
    let asked = bench.asked.len() as u64;
    assert!(asked <= 20 * 1_000_000 / ANSWER_US * 3, "{asked} questions in 20 s");
    bench.lies.clear();
    assert_eq!(bench.run(2), Some(state));
}

#[test]
fn f1_a_target_that_moves_on_keeps_the_chunks_that_are_the_same() {
    let (one, two) = (state(128, &[1, 2, 3, 4, 5, 6, 7, 8]), state(256, &[1, 2, 3, 4, 5, 6, 99, 8]));
    let mut bench = Bench::new(4, &one);
    // Of the first state everything but one chunk comes.
    for id in 0..3 {
        bench.lies(id, |part| match part {
            Transfer::Chunk { index: 3, bytes, seq: Seq(128) } if bytes.len() == CHUNK_BYTES => Vec::new(),
            other => vec![other],
        });
    }
    bench.aim(&one);
    assert_eq!(bench.run(1), None);
    assert_eq!(bench.fetcher.progress().unwrap().have, 7);
    bench.aim(&one);
    assert_eq!(bench.fetcher.progress().unwrap().have, 7, "the same target is no news");
    for server in bench.servers.values_mut() {
        server.shelve(two.clone());
        server.stable(Seq(256));
    }
    bench.aim(&two);
    bench.aim(&one);
    assert_eq!(bench.fetcher.progress().unwrap().seq, Seq(256), "it never moves back");
    assert_eq!(bench.run(1), Some(two));
    let counters = bench.counters();
    assert_eq!((counters.started, counters.completed), (1, 1));
    // The last chunks are short, and the same; the one that never came and the one that changed had to come.
    assert_eq!((counters.reused, counters.chunks), (6, 7 + 2));
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
    bench.servers.values_mut().for_each(|server| server.shelve(two.clone()));
    bench.aim(&two);
    assert_eq!(bench.run(5), Some(two));
}

#[test]
fn f1_what_nobody_asked_for_is_dropped_and_counted_and_takes_no_memory() {
    let state = state(128, &[1, 2, 3, 4, 5, 6, 7]);
    let chunk = |index: u32| {
        let start = index as usize * CHUNK_BYTES;
        let end = state.snapshot.len().min(start + CHUNK_BYTES);
        Transfer::Chunk { seq: Seq(128), index, bytes: Blob(state.snapshot.slice(start..end)) }
    };
    let meta = Transfer::Meta { summary: Box::new(state.summary), chunks: List(state.chunks.to_vec()) };
    let mut bench = Bench::new(4, &state);
    let push = |bench: &mut Bench, part: &Transfer| {
        assert_eq!(bench.fetcher.take(bench.now, ReplicaId(0), part.clone()), None);
    };
    // Without a transfer.
    [meta.clone(), chunk(0), Transfer::Lacks { seq: Seq(128) }]
        .iter()
        .for_each(|part| push(&mut bench, part));
    assert_eq!(bench.counters().refused, 3);
    bench.aim(&state);
    let asked = bench.fetcher.pump(bench.now);
    let [Post { to, .. }] = asked.as_slice() else { panic!("one is asked first: {asked:?}") };
    assert_ne!(*to, ReplicaId(0));
    // Of another source than the one that was asked; of another slot; before the contents are known.
    push(&mut bench, &meta);
    push(&mut bench, &chunk(0));
    push(&mut bench, &Transfer::Lacks { seq: Seq(128) });
    push(&mut bench, &Transfer::Chunk { seq: Seq(64), index: 0, bytes: Blob(Bytes::new()) });
    assert_eq!((bench.counters().refused, bench.fetcher.held_bytes()), (7, 0));
    let to = *to;
    assert_eq!(bench.fetcher.take(bench.now, to, meta.clone()), None);
    // The right answer, twice, and chunks that were never asked of this source, or do not exist.
    push(&mut bench, &meta);
    push(&mut bench, &chunk(6));
    push(&mut bench, &Transfer::Chunk { seq: Seq(128), index: u32::MAX, bytes: Blob(Bytes::new()) });
    let counters = bench.counters();
    assert_eq!((counters.refused, counters.banned, bench.fetcher.held_bytes()), (10, 0, 0));
    // Everything that is asked comes twice and three times; it is kept once.
    for id in 0..3 {
        bench.lies(id, |part| vec![part.clone(), part.clone(), part]);
    }
    assert_eq!(bench.run(2), Some(state.clone()));
    assert!(bench.held_most <= state.snapshot.len());
    assert_eq!(bench.counters().chunks, 7);
}

#[test]
fn f1_what_is_on_its_way_and_what_is_held_is_bounded_whatever_the_sources_do() {
    let state = state(128, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    let mut bench = Bench::new(7, &state);
    // Nobody ever sends the last chunk; everybody sends the others again and again.
    for id in bench.servers.keys().copied().collect::<Vec<_>>() {
        bench.lies(id.0, |part| match part {
            Transfer::Chunk { index: 11, .. } => Vec::new(),
            other => vec![other.clone(), other],
        });
    }
    bench.aim(&state);
    assert_eq!(bench.run(120), None);
    assert!(bench.held_most <= state.snapshot.len());
    assert!(bench.asked.len() < 12 + 2 + 2 * 120 * CHUNKS_ON_THE_WAY, "{}", bench.asked.len());
    let progress = bench.fetcher.progress().unwrap();
    assert!(progress.from.len() <= CHUNKS_ON_THE_WAY);
    assert!(progress.to_string().starts_with("transferring 11/12 chunks of slot 128"), "{progress}");
}

#[test]
fn f1_a_state_larger_than_the_parameters_allow_is_not_fetched() {
    let state = state(128, &[1, 2]);
    let mut bench = Bench::new(4, &state);
    bench.fetcher.fetching.cap(state.snapshot.len() as u64 - 1);
    bench.aim(&state);
    assert_eq!(bench.run(5), None);
    assert!(!bench.asked.iter().any(|(_, part)| is_chunk(part)));
}

#[test]
fn the_log_has_a_moment_to_make_up_for_it_and_longer_while_it_does() {
    let state = state(128, &[1]);
    let mut bench = Bench::new(4, &state);
    bench.fetcher.aim(BEGIN, &proof(&state));
    let half = GRACE_US / 2;
    for step in 1..=10 {
        let now = BEGIN.plus(step * half);
        assert!(bench.fetcher.pump(now).is_empty(), "the log goes on making up for it");
        bench.fetcher.postpone(now);
    }
    let now = BEGIN.plus(10 * half + GRACE_US);
    assert_eq!(bench.fetcher.pump(now).len(), 1, "it does not any more");
    bench.fetcher.postpone(now);
    assert_eq!(
        bench.fetcher.progress().map(|progress| progress.seq),
        Some(Seq(128)),
        "what has begun goes on"
    );
    bench.fetcher.cancel();
    assert_eq!((bench.fetcher.progress(), bench.fetcher.deadline().is_some()), (None, false));
}

#[test]
fn a_replica_that_asks_without_end_gets_its_rate_and_no_more() {
    let state = state(128, &[1, 2, 3, 4]);
    let mut server = Transfers::new(&context(4), ReplicaId(0));
    server.shelve(state);
    let (mut served, mut answers) = (0, 0);
    let seconds = 10;
    for millisecond in 0..seconds * 1000 {
        let now = BEGIN.plus(millisecond * 1000);
        for index in 0..8 {
            for question in [
                Transfer::FetchChunk { seq: Seq(128), index },
                Transfer::FetchMeta { seq: Seq(128) },
                Transfer::FetchMeta { seq: Seq(index.into()) },
            ] {
                assert_eq!(server.take(now, ReplicaId(1), question), None);
            }
        }
        for post in server.pump(now) {
            assert_eq!(post.to, ReplicaId(1));
            answers += 1;
            if let Transfer::Chunk { bytes, .. } = post.part {
                served += bytes.len() as u64;
            }
        }
    }
    let most = BURST_BYTES + seconds * RATE_BYTES;
    assert!(served <= most && served > 0, "{served} of {most}");
    assert!(answers <= most / (16 << 10), "{answers} answers");
    assert!(server.counters().questions_dropped > 0);
    // Whoever asks for the first time is served at once all the same.
    let now = BEGIN.plus(seconds * 1_000_000);
    let chunk = Transfer::FetchChunk { seq: Seq(128), index: 0 };
    assert_eq!(server.take(now, ReplicaId(2), chunk), None);
    assert!(server.pump(now).iter().any(|post| post.to == ReplicaId(2)));
}

#[test]
fn questions_beyond_the_rate_wait_and_are_answered_in_time() {
    let state = state(128, &[7; 40]);
    let mut server = Transfers::new(&context(4), ReplicaId(0));
    server.shelve(state.clone());
    let mut now = BEGIN;
    let mut answered = 0;
    for index in 0..40 {
        assert_eq!(server.take(now, ReplicaId(1), Transfer::FetchChunk { seq: Seq(128), index }), None);
        answered += server.pump(now).len();
        while let Some(at) = server.deadline() {
            now = now.max(at);
            answered += server.pump(now).len();
        }
    }
    assert_eq!(answered, 40);
    let least = (state.snapshot.len() as u64 - BURST_BYTES) * 1_000_000 / RATE_BYTES;
    let took = now.since(BEGIN);
    assert!(took >= least && took < least + 100_000, "{took} us, at least {least}");
    for index in 0..2 * QUESTIONS_MAX as u32 {
        assert_eq!(server.take(now, ReplicaId(1), Transfer::FetchChunk { seq: Seq(128), index }), None);
    }
    assert_eq!(server.counters().questions_dropped, QUESTIONS_MAX as u64);
}

#[test]
fn the_stable_state_is_served_however_many_newer_ones_wait_to_be_stable() {
    let mut server = Transfers::new(&context(4), ReplicaId(0));
    let has = |server: &mut Transfers, seq| {
        // Long after the last time, so that there is room.
        let now = Time(u64::MAX / 2).plus(seq);
        assert_eq!(server.take(now, ReplicaId(1), Transfer::FetchMeta { seq: Seq(seq) }), None);
        let answers = server.pump(now);
        matches!(answers.as_slice(), [Post { part: Transfer::Meta { .. }, .. }])
    };
    server.shelve(state(4, &[4]));
    server.stable(Seq(4));
    for seq in [8, 12, 16] {
        server.shelve(state(seq, &[seq as u8]));
        server.stable(Seq(4));
    }
    // Executed up to the high watermark, which does not rise while too few vote for a checkpoint.
    assert!([4, 8, 12, 16].into_iter().all(|seq| has(&mut server, seq)));
    server.stable(Seq(12));
    let kept: Vec<u64> = [4, 8, 12, 16].into_iter().filter(|seq| has(&mut server, *seq)).collect();
    assert_eq!(kept, [8, 12, 16], "the last two that are stable, and what is newer");
    assert_eq!(server.held_bytes(), 3 * state(4, &[4]).snapshot.len());
}
