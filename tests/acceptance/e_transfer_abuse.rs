//! E4: a replica that asks everybody for states, without end and without need.

use bytes::Bytes;
use quorate_protocol::application::{ApplicationError, Context, RejectedCommand, StateMachine};
use quorate_protocol::map::Map;
use quorate_protocol::message::{Bits, PeerMessage, Transfer};
use quorate_protocol::types::{ReplicaId, Seq};
use quorate_sim::app::Service;
use quorate_sim::rng::Rng;
use quorate_sim::world::{Passed, World};

use super::lab::{Lab, calm};

/// The liar, and those it asks.
const LIAR: ReplicaId = ReplicaId(3);
const SERVERS: [u16; 3] = [0, 1, 2];
/// What a replica serves to one other: so much in a second, and so much at once after a pause.
const RATE_BYTES: u64 = 16 << 20;
const BURST_BYTES: u64 = 4 << 20;
/// What a chunk can take besides, and the questions about it that are being answered at once.
const AT_ONCE_BYTES: u64 = 2 * (256 << 10);
/// A byte on a line of a gigabit per second, in nanoseconds.
const BYTE_NS: u64 = 8;
/// Between two looks at the cluster, and between two questions to each server, in microseconds.
const SLICE: u64 = 100;
const QUESTION_EVERY: u64 = 1_000;
/// Slots between checkpoints.
const INTERVAL: u64 = 16;
/// Entries of the state, of a kibibyte each.
const ENTRIES: u16 = 8192;

/// A state of eight mebibytes, of which each command changes an entry.
struct Heap {
    entries: Map,
}

impl Heap {
    fn machine() -> Box<dyn StateMachine> {
        let mut heap = Self { entries: Map::new() };
        (0..ENTRIES).for_each(|key| heap.write(key, 0));
        Box::new(heap)
    }

    fn write(&mut self, key: u16, value: u8) {
        self.entries.insert(&key.to_be_bytes(), &[value; 1 << 10]).unwrap();
    }

    fn service() -> Service {
        Service::new(Self::machine, Self::command)
    }

    fn command(rng: &mut Rng) -> Vec<u8> {
        rng.any().to_le_bytes()[..3].to_vec()
    }
}

impl StateMachine for Heap {
    fn apply(&mut self, _context: &Context, command: &[u8]) -> Result<Bytes, RejectedCommand> {
        let [low, high, value] = *command else { return Err(RejectedCommand) };
        self.write(u16::from_le_bytes([low, high]) % ENTRIES, value);
        Ok(Bytes::new())
    }
    fn save(&mut self, map: &mut Map) -> Result<(), ApplicationError> {
        self.entries.seal();
        map.clone_from(&self.entries);
        Ok(())
    }
    fn load(&mut self, map: &Map) -> Result<(), ApplicationError> {
        self.entries.clone_from(map);
        Ok(())
    }
    fn changed_bytes(&self) -> u64 {
        self.entries.changed_bytes()
    }
}

/// A cluster with a state, on lines on which every byte takes its time, and disks that do.
fn cluster() -> Lab {
    let mut setting = calm(4, 1);
    (setting.parameters.checkpoint_interval, setting.parameters.window) = (INTERVAL, 4 * INTERVAL);
    (setting.costs.write_us, setting.costs.store_us) = (500, 500);
    setting.service = Heap::service();
    let mut lab = Lab::of(World::new(&setting));
    lab.world.charge_bytes(BYTE_NS);
    lab.register(1, |_| {});
    // Whatever replica 3 is made to say, it is what a liar says.
    lab.world.distrust(LIAR);
    lab.world.employ(0, 3 * INTERVAL, 1, 0);
    lab.await_that("there is a state to ask for", 20_000_000, |lab| {
        lab.is_answered() && lab.replica(0).watermarks().0 >= Seq(2 * INTERVAL) && lab.is_at_rest()
    });
    lab
}

/// The liar's questions.
struct Greed {
    asked: u64,
    next: u32,
    /// It asks for lists of pages and for none of the pages, which is little to send and as much to read.
    lists: bool,
}

impl Greed {
    /// Asks everybody for the next part of the newest state.
    fn ask(&mut self, lab: &mut Lab) {
        for server in SERVERS {
            let seq = lab.replica(server).watermarks().0;
            let index = self.next % 100;
            let question = match self.next % 32 {
                even if self.lists && even % 2 == 0 => Transfer::FetchDigests { seq, index },
                _ if self.lists => Transfer::FetchPages { seq, index, wanted: Bits::default() },
                0 => Transfer::FetchMeta { seq },
                _ => Transfer::FetchChunk { seq, index },
            };
            lab.world.inject(LIAR, ReplicaId(server), &PeerMessage::Transfer(question));
            self.asked += 1;
        }
        self.next += 1;
    }
}

/// What a while of work came to.
#[derive(Debug, Default)]
struct Work {
    /// Of each answer, in microseconds, ascending.
    latencies: Vec<u64>,
    took_us: u64,
    /// Bytes that each server sent the liar in frames that are no votes.
    sent: [u64; 3],
    states_most: usize,
    used_most: u64,
}

impl Work {
    fn percentile(&self, percent: usize) -> u64 {
        self.latencies[self.latencies.len() * percent / 100]
    }
}

/// A client asks one thing after the other; the liar asks, too, or does not.
fn work(lab: &mut Lab, commands: u64, mut greed: Option<&mut Greed>) -> Work {
    let (mut work, start) = (Work::default(), lab.world.now());
    lab.world.keep_passed();
    let mut rng = Rng::new(7);
    let mut question_at = start;
    for _ in 0..commands {
        let asked_at = lab.world.now();
        lab.world.ask(0, &Heap::command(&mut rng)).unwrap();
        let mut answered = None;
        // The client thinks for a while after each answer.
        while answered.is_none() || lab.world.now().since(asked_at) < 15_000 {
            if let Some(greed) = greed.as_deref_mut().filter(|_| question_at <= lab.world.now()) {
                question_at = lab.world.now().plus(QUESTION_EVERY);
                greed.ask(lab);
            }
            lab.run(SLICE);
            if answered.is_none() && lab.is_answered() {
                answered = Some(lab.world.now().since(asked_at));
            }
        }
        work.latencies.extend(answered);
        look(lab, &mut work);
    }
    work.took_us = lab.world.now().since(start);
    work.latencies.sort_unstable();
    work
}

fn look(lab: &mut Lab, work: &mut Work) {
    for (_, passed) in lab.world.take_passed() {
        if let Passed::Frame { from, to: LIAR, frame } = passed
            && frame.len() > 2048
        {
            work.sent[usize::from(from.0)] += frame.len() as u64;
        }
    }
    for server in SERVERS.map(ReplicaId) {
        let node = lab.world.node(server);
        assert!(node.host().transfer_counters().leases <= 1, "one state at most is kept for one that asks");
        work.states_most = work.states_most.max(node.store().list().len());
        work.used_most = work.used_most.max(node.store().used());
    }
}

#[test]
fn e4_who_asks_for_states_without_end_gets_what_the_rate_allows_and_delays_nobody() {
    let calm = work(&mut cluster(), 200, None);
    let mut lab = cluster();
    let mut greed = Greed { asked: 0, next: 0, lists: false };
    let greedy = work(&mut lab, 200, Some(&mut greed));
    let allowed = BURST_BYTES + AT_ONCE_BYTES + RATE_BYTES * greedy.took_us / 1_000_000;
    println!(
        "calm {} and {} us, greedy {} and {} us in the middle and at most but for one in a hundred; {:?} bytes of {allowed} \
         in {} us; {} and {} states, {} and {} KiB on disk",
        calm.percentile(50),
        calm.percentile(99),
        greedy.percentile(50),
        greedy.percentile(99),
        greedy.sent,
        greedy.took_us,
        calm.states_most,
        greedy.states_most,
        calm.used_most >> 10,
        greedy.used_most >> 10
    );
    assert_eq!(calm.sent, [0; 3]);
    for server in SERVERS {
        let counters = lab.world.node(ReplicaId(server)).host().transfer_counters();
        let sent = greedy.sent[usize::from(server)];
        assert!(sent <= allowed && counters.served_bytes <= allowed, "{sent}, {counters:?}");
        assert!(sent >= allowed * 8 / 10, "it did not ask for all it could get: {sent} of {allowed}");
        assert!(counters.questions_dropped > 100, "its questions do not pile up: {counters:?}");
    }
    assert!(
        greedy.percentile(99) <= 2 * calm.percentile(99) && greedy.percentile(50) <= 2 * calm.percentile(50)
    );
    assert!(greedy.states_most <= calm.states_most + 1, "nor do states that it pins");
    assert!(greedy.used_most <= calm.used_most + (16 << 20));
    assert_eq!((lab.view_changes(), lab.is_at_rest()), (0, true));
}

#[test]
fn e4_who_asks_for_lists_of_pages_without_end_delays_nobody_either() {
    let calm = work(&mut cluster(), 100, None);
    let mut lab = cluster();
    let mut greed = Greed { asked: 0, next: 0, lists: true };
    let greedy = work(&mut lab, 100, Some(&mut greed));
    println!(
        "calm {} and {} us, greedy {} and {} us in the middle and at most but for one in a hundred",
        calm.percentile(50),
        calm.percentile(99),
        greedy.percentile(50),
        greedy.percentile(99)
    );
    assert!(
        greedy.percentile(99) <= 2 * calm.percentile(99) && greedy.percentile(50) <= 2 * calm.percentile(50)
    );
    let allowed = BURST_BYTES + AT_ONCE_BYTES + RATE_BYTES * greedy.took_us / 1_000_000;
    for server in SERVERS {
        let counters = lab.world.node(ReplicaId(server)).host().transfer_counters();
        assert!(counters.served_chunks > 100 && counters.served_bytes < allowed / 2, "{counters:?}");
        assert!(counters.served_chunks <= allowed / (8 << 10), "{counters:?}");
    }
    assert_eq!((lab.view_changes(), lab.is_at_rest()), (0, true));
}

// A lease lasts four times as long as it takes to fetch the state at the rate, and half a minute more.
#[test]
fn e4_a_state_that_nobody_fetches_in_earnest_is_not_kept_for_ever() {
    let mut lab = cluster();
    let pinned = lab.replica(0).watermarks().0;
    let holds = |lab: &Lab| SERVERS.map(|id| lab.world.node(ReplicaId(id)).store().list().contains(&pinned));
    let mut held_s = 0;
    for second in 0..60 {
        for server in SERVERS {
            let question =
                [Transfer::FetchMeta { seq: pinned }, Transfer::FetchChunk { seq: pinned, index: 0 }];
            for question in question {
                lab.world.inject(LIAR, ReplicaId(server), &PeerMessage::Transfer(question));
            }
        }
        lab.world.employ(0, 20, 1, 0);
        lab.run(1_000_000);
        if holds(&lab) == [true; 3] {
            held_s = second + 1;
        }
    }
    println!("the state of slot {pinned} was kept for {held_s} s, until slot {}", lab.executed());
    assert!(lab.replica(0).watermarks().0 > pinned.plus(20 * INTERVAL), "many newer ones came");
    assert!((30..=40).contains(&held_s), "it was kept for {held_s} s");
    assert_eq!(holds(&lab), [false; 3]);
    assert_eq!(lab.view_changes(), 0);
}
