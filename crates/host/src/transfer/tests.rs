//! F1: what a state transfer makes of sources that lie, stall, forget, or answer what nobody asked.

mod lies;
mod moving;
mod pages;
mod resuming;
mod serving;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use quorate_protocol::codec::{Blob, List};
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::executor::{State, Summary};
use quorate_protocol::map::{Chunk, Map};
use quorate_protocol::parameters::Parameters;
use quorate_protocol::types::{ClusterId, Digest, Epoch};

use super::asking::{ANSWER_US, CHUNKS_ON_THE_WAY};
use super::fetching::{GRACE_US, KEEPING_MAX, STUCK_US};
use super::*;
use crate::disk::MemoryDisk;
use crate::store::{Finished, Store};

const ME: ReplicaId = ReplicaId(3);
const BEGIN: Time = Time(1_000_000);
/// Bytes of a value that fills a chunk by itself, for two of them are more than a chunk may have.
const VALUE_BYTES: usize = 60 << 10;

fn context(n: u8) -> Context {
    let keys: Vec<_> = (1..=n).map(|seed| SecretKey::from_seed(&[seed; 32]).public()).collect();
    Context {
        cluster: ClusterId(Digest([9; 32])),
        epoch: Epoch(0),
        committee: Arc::new(Committee::new(&keys, false).unwrap()),
        parameters: Arc::new(Parameters::default()),
    }
}

fn state_of(seq: u64, application: Map) -> State {
    State {
        seq: Seq(seq),
        time: Time(4),
        history: Digest([5; 32]),
        config: Digest([3; 32]),
        application,
        sessions: Map::new(),
    }
}

/// A state with a chunk for each tag.
fn state(seq: u64, tags: &[u8]) -> State {
    let mut map = Map::new();
    for (key, tag) in (0..).zip(tags) {
        map.insert(&[key], &[*tag; VALUE_BYTES]).unwrap();
    }
    assert_eq!(map.chunks().len(), tags.len(), "each entry is a chunk");
    state_of(seq, map)
}

/// A state whose chunks have many pages of many entries.
fn fine_state(seq: u64, entries: u32) -> State {
    let mut map = Map::new();
    for entry in 0..entries {
        map.insert(&entry.to_be_bytes(), &[entry as u8; 100]).unwrap();
    }
    state_of(seq, map)
}

fn proof(state: &State) -> Certificate<Checkpoint> {
    let statement = Checkpoint { seq: state.seq, root: state.root(), epoch_end: Seq::MAX };
    Certificate { statement, signatures: List(Vec::new()) }
}

fn meta(state: &State) -> Transfer {
    Transfer::Meta { summary: Box::new(state.summary()), chunks: List(state.chunk_digests()) }
}

fn chunk(state: &State, index: u32) -> Transfer {
    let wire = state.chunks().nth(index as usize).unwrap().encode();
    Transfer::Chunk { seq: state.seq, index, bytes: Blob(wire.into()) }
}

fn is_chunk(part: &Transfer) -> bool {
    matches!(part, Transfer::FetchChunk { .. })
}

/// What a source makes of its own answer: one, none, or several others.
type Lie = Box<dyn Fn(Transfer) -> Vec<Transfer>>;

/// A replica's side of transfers, with its store.
struct Site {
    transfers: Transfers,
    store: Store<MemoryDisk>,
}

impl Site {
    fn new(context: &Context, id: ReplicaId, disk: MemoryDisk) -> Self {
        Self { transfers: Transfers::new(context, id), store: Store::open(disk, true).unwrap() }
    }

    /// Saves a state as if it had been made here: what it is made of does not know where others keep theirs.
    fn has(&mut self, state: &State) {
        let chunks = state.chunks().map(|chunk| Arc::new(Chunk::decode(&chunk.encode()).unwrap()));
        self.store.save(&State::assemble(&state.summary(), chunks.collect()).unwrap()).unwrap();
    }

    /// What others are to have by now, read from the store.
    fn serve(&mut self, now: Time) -> Vec<Post> {
        let mut posts = Vec::new();
        loop {
            self.transfers.pump(now);
            let Some(job) = self.transfers.take_serving_job() else { return posts };
            let Finished::Served { to, part } = self.store.run(job).unwrap() else { panic!("it serves") };
            posts.extend(self.transfers.served(now, to, part));
        }
    }
}

/// A replica that fetches, and those that it asks.
struct Bench {
    context: Context,
    now: Time,
    fetcher: Site,
    servers: BTreeMap<ReplicaId, Site>,
    lies: BTreeMap<ReplicaId, Lie>,
    /// Chunks that each source sent, whole or in part.
    sent: BTreeMap<ReplicaId, u64>,
    asked: Vec<(ReplicaId, Transfer)>,
    /// Most bytes of chunks that ever waited for the store.
    held_most: usize,
    /// Jobs that the fetcher's store does in a millisecond.
    pace: usize,
    /// Chunks that the store has kept, and after how many of them the process dies.
    kept: u64,
    dies_after: Option<u64>,
    /// Times that execution let go of its state.
    released: u64,
    pauses_at_release: bool,
}

impl Bench {
    /// Replica 3 of n; the others have this state.
    fn new(n: u8, state: &State) -> Self {
        let context = context(n);
        let others: Vec<ReplicaId> = context.committee.replicas().filter(|id| *id != ME).collect();
        let serving = others.into_iter().map(|id| (id, Site::new(&context, id, MemoryDisk::new())));
        let mut bench = Self {
            now: BEGIN,
            fetcher: Site::new(&context, ME, MemoryDisk::new()),
            servers: serving.collect(),
            context,
            lies: BTreeMap::new(),
            sent: BTreeMap::new(),
            asked: Vec::new(),
            held_most: 0,
            pace: usize::MAX,
            kept: 0,
            dies_after: None,
            released: 0,
            pauses_at_release: false,
        };
        bench.all_have(state);
        bench
    }

    fn all_have(&mut self, state: &State) {
        self.servers.values_mut().for_each(|server| server.has(state));
    }

    fn aim(&mut self, state: &State) {
        self.fetcher.transfers.aim(self.now, &proof(state));
        self.fetcher.transfers.hurry(self.now);
    }

    fn lies(&mut self, id: u16, lie: impl Fn(Transfer) -> Vec<Transfer> + 'static) {
        self.lies.insert(ReplicaId(id), Box::new(lie));
    }

    /// Lets questions and answers pass, each taking a millisecond, until the state is whole, or nothing happens any more,
    /// or the process is dead.
    fn run(&mut self, seconds: u64) -> Option<State> {
        let end = self.now.plus(seconds * 1_000_000);
        let mut busy = false;
        while self.now < end && !self.is_dead() {
            let mut at = self.fetcher.transfers.deadline();
            for server in self.servers.values() {
                at = at.into_iter().chain(server.transfers.deadline()).min();
            }
            self.now = at.or(busy.then_some(self.now))?.max(self.now.plus(1_000));
            self.exchange();
            let mut left = self.pace;
            while left > 0
                && !self.is_dead()
                && let Some(finished) = self.next_job()
            {
                left -= 1;
                if let Some(state) = self.finish(finished) {
                    return Some(state);
                }
            }
            busy = left == 0;
        }
        None
    }

    fn exchange(&mut self) {
        for Post { to, part } in self.fetcher.transfers.pump(self.now) {
            self.asked.push((to, part.clone()));
            let server = self.servers.get_mut(&to).expect("only others are asked");
            server.transfers.take(self.now, ME, part);
        }
        for (id, server) in &mut self.servers {
            for Post { part, .. } in server.serve(self.now) {
                let parts = self.lies.get(id).map_or_else(|| vec![part.clone()], |lie| lie(part.clone()));
                for part in parts {
                    *self.sent.entry(*id).or_default() +=
                        u64::from(matches!(part, Transfer::Chunk { .. } | Transfer::Pages { .. }));
                    self.fetcher.transfers.take(self.now, *id, part);
                    self.held_most = self.held_most.max(self.fetcher.transfers.held_bytes());
                }
            }
        }
    }

    fn next_job(&mut self) -> Option<Finished> {
        if self.fetcher.transfers.take_whole().is_some() {
            self.released += 1;
            self.fetcher.transfers.released(Vec::new());
            if self.is_dead() {
                return None;
            }
        }
        let job = self.fetcher.transfers.take_fetching_job()?;
        assert!(self.fetcher.transfers.take_fetching_job().is_none(), "one thing at a time");
        Some(self.fetcher.store.run(job).unwrap())
    }

    /// Gives back the state once execution can go on from it.
    fn finish(&mut self, finished: Finished) -> Option<State> {
        match finished {
            Finished::Planned { seq, have, pages } => {
                self.fetcher.transfers.planned(self.now, seq, &have, pages);
            }
            Finished::Lost { index } => self.fetcher.transfers.lost(index),
            Finished::Kept { index } => {
                self.kept += 1;
                self.fetcher.transfers.kept(self.now, index);
            }
            Finished::Adopted(state) => {
                self.fetcher.transfers.adopted();
                let target = self.fetcher.transfers.installing().expect("it goes on from it");
                assert_eq!((target.seq, target.root), (state.seq, state.root()));
                self.fetcher.transfers.installed(self.now);
                return Some(*state);
            }
            Finished::Saved(_) | Finished::Served { .. } | Finished::Pruned { .. } | Finished::Preserved => {
                panic!("nobody wanted {finished:?}")
            }
        }
        None
    }

    fn is_dead(&self) -> bool {
        let paused = self.pauses_at_release && self.released > 0;
        paused || self.dies_after.is_some_and(|after| self.kept >= after)
    }

    /// The fetcher's process is gone, and another one goes on from its disk; `disk` may do something to that.
    fn restart(&mut self, disk: impl FnOnce(&mut MemoryDisk)) {
        let mut copy = self.fetcher.store.disk().clone();
        disk(&mut copy);
        self.fetcher = Site::new(&self.context, ME, copy);
        (self.kept, self.dies_after) = (0, None);
        self.asked.clear();
    }

    fn counters(&self) -> Counters {
        self.fetcher.transfers.counters()
    }

    fn progress(&self) -> Progress {
        self.fetcher.transfers.progress().expect("it has begun")
    }
}

fn flip(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    bytes.into()
}

#[test]
fn f1_a_state_comes_whole_from_all_the_others_together() {
    let state = state(128, &[1, 2, 3, 4, 5, 6, 7]);
    let mut bench = Bench::new(4, &state);
    bench.aim(&state);
    assert_eq!(bench.run(1).unwrap(), state);
    assert_eq!(bench.sent.len(), 3, "{:?}", bench.sent);
    assert!(bench.sent.values().all(|chunks| *chunks >= 2), "{:?}", bench.sent);
    let counters = bench.counters();
    let bytes: usize = state.chunks().map(|chunk| chunk.encode().len()).sum();
    let last_us = counters.last_us;
    let expected = Counters {
        started: 1,
        completed: 1,
        chunks: 7,
        fetched_bytes: bytes as u64,
        last_us,
        ..Counters::default()
    };
    assert_eq!(counters, expected);
    assert!(last_us > 0 && last_us <= bench.now.since(BEGIN));
    assert_eq!((bench.fetcher.transfers.progress(), bench.fetcher.transfers.held_bytes()), (None, 0));
    assert!(bench.now.since(BEGIN) < 100_000, "without faults no timeout passes");
    assert_eq!(bench.released, 1);
    // It is on the disk, as if it had been made here.
    bench.restart(|_| ());
    assert_eq!(bench.fetcher.store.load(Seq(128)).unwrap(), state);
}

#[test]
fn f1_a_state_without_anything_in_it_comes_too() {
    let state = state(128, &[]);
    let mut bench = Bench::new(4, &state);
    bench.aim(&state);
    assert_eq!(bench.run(1).unwrap(), state);
    assert_eq!((bench.counters().completed, bench.counters().chunks), (1, 0));
}

#[test]
fn f1_a_state_of_many_small_entries_comes_as_the_same_pages() {
    let state = fine_state(128, 3000);
    assert!(state.chunks().count() > 3 && state.chunks().all(|chunk| chunk.pages().len() > 1));
    let mut bench = Bench::new(4, &state);
    bench.aim(&state);
    let fetched = bench.run(1).unwrap();
    assert_eq!((fetched.root(), fetched.chunk_digests()), (state.root(), state.chunk_digests()));
}

#[test]
fn the_log_has_a_moment_to_make_up_for_it_and_longer_while_it_does() {
    let state = state(128, &[1]);
    let mut transfers = Transfers::new(&context(4), ME);
    transfers.aim(BEGIN, &proof(&state));
    let half = GRACE_US / 2;
    for step in 1..=10 {
        let now = BEGIN.plus(step * half);
        assert!(transfers.pump(now).is_empty(), "the log goes on making up for it");
        transfers.postpone(now);
    }
    let now = BEGIN.plus(10 * half + GRACE_US);
    assert_eq!(transfers.pump(now).len(), 1, "it does not any more");
    transfers.postpone(now);
    assert_eq!(transfers.progress().map(|progress| progress.seq), Some(Seq(128)), "what has begun goes on");
    transfers.cancel();
    assert_eq!((transfers.progress(), transfers.deadline().is_some()), (None, false));
}

#[test]
fn once_execution_has_no_state_a_transfer_does_not_stop_although_the_log_made_up_for_it() {
    let state = state(128, &[1, 2]);
    let mut bench = Bench::new(4, &state);
    bench.pauses_at_release = true;
    bench.aim(&state);
    assert!(bench.run(1).is_none() && bench.released == 1);
    bench.fetcher.transfers.cancel();
    assert_eq!(bench.progress().have, 2);
    bench.pauses_at_release = false;
    assert_eq!(bench.run(1).unwrap(), state);
    // Before that it does.
    let newer = self::state(256, &[1, 3]);
    bench.all_have(&newer);
    bench.dies_after = Some(3);
    bench.aim(&newer);
    assert!(bench.run(1).is_none());
    bench.fetcher.transfers.cancel();
    assert_eq!(
        (bench.fetcher.transfers.progress(), bench.fetcher.transfers.take_fetching_job().is_none()),
        (None, true)
    );
}
