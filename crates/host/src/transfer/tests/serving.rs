//! E4: what others may have of the states here, and for how long these stay for them.

use quorate_protocol::message::Bits;

use super::*;
use crate::store::Job;
use crate::transfer::serving::{
    ANSWER_BYTES_MIN, BURST_BYTES, LEASE_MARGIN_US, LEASE_US, PAGES_BYTES_MIN, QUESTIONS_MAX, RATE_BYTES,
    READS_MAX,
};

const ASKER: ReplicaId = ReplicaId(1);

fn server(states: &[&State]) -> Site {
    let mut server = Site::new(&context(4), ReplicaId(0), MemoryDisk::new());
    states.iter().for_each(|state| server.has(state));
    server
}

fn ask(server: &mut Site, now: Time, from: ReplicaId, seq: u64, index: u32) {
    server.transfers.take(now, from, Transfer::FetchChunk { seq: Seq(seq), index });
}

/// Whether the state of this slot is served.
fn serves(server: &mut Site, now: Time, seq: u64) -> bool {
    server.transfers.take(now, ReplicaId(2), Transfer::FetchMeta { seq: Seq(seq) });
    let answers = server.serve(now);
    matches!(answers.as_slice(), [Post { part: Transfer::Meta { .. }, .. }])
}

#[test]
fn e4_a_replica_that_asks_without_end_gets_its_rate_and_no_more() {
    let state = state(128, &[1, 2, 3, 4]);
    let mut server = server(&[&state]);
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
                server.transfers.take(now, ASKER, question);
            }
        }
        for post in server.serve(now) {
            assert_eq!(post.to, ASKER);
            answers += 1;
            if let Transfer::Chunk { bytes, .. } = post.part {
                served += bytes.len() as u64;
            }
        }
    }
    // What is read at once is charged when it is there.
    let ahead = (READS_MAX * (64 << 10)) as u64;
    let most = BURST_BYTES + seconds * RATE_BYTES + ahead;
    assert!(served <= most && served > most / 4, "{served} of {most}");
    assert!(answers <= most / ANSWER_BYTES_MIN, "{answers} answers");
    let counters = server.transfers.counters();
    assert!(counters.questions_dropped > 0 && counters.served_bytes >= served);
    assert_eq!(counters.leases, 1);
    // Whoever asks for the first time is served at once all the same.
    let now = BEGIN.plus(seconds * 1_000_000);
    ask(&mut server, now, ReplicaId(2), 128, 0);
    assert!(server.serve(now).iter().any(|post| post.to == ReplicaId(2)));
}

#[test]
fn e4_a_replica_that_asks_for_lists_and_pages_without_end_gets_so_many_a_second_and_no_more() {
    let state = state(128, &[1, 2, 3, 4]);
    let mut server = server(&[&state]);
    let (mut answers, seconds) = (0, 3);
    for millisecond in 0..seconds * 1000 {
        let now = BEGIN.plus(millisecond * 1000);
        for index in 0..4 {
            server.transfers.take(now, ASKER, Transfer::FetchDigests { seq: Seq(128), index });
            let wanted = Bits::of([false, index > 1].into_iter());
            server.transfers.take(now, ASKER, Transfer::FetchPages { seq: Seq(128), index, wanted });
        }
        answers += server.serve(now).len() as u64;
    }
    let most = (BURST_BYTES + seconds * RATE_BYTES) / PAGES_BYTES_MIN + READS_MAX as u64;
    assert!(answers <= most && answers > most / 2, "{answers} of {most}");
}

#[test]
fn questions_beyond_the_rate_wait_and_are_answered_in_time() {
    let tags: Vec<u8> = (0..120).collect();
    let state = state(128, &tags);
    let mut server = server(&[&state]);
    let (mut now, mut answered, mut bytes) = (BEGIN, 0, 0);
    for index in 0..120 {
        ask(&mut server, now, ASKER, 128, index);
        let mut posts = server.serve(now);
        while posts.is_empty() {
            now = now.max(server.transfers.deadline().expect("it waits for its turn"));
            posts = server.serve(now);
        }
        for post in posts {
            let Transfer::Chunk { bytes: wire, .. } = post.part else { panic!("{post:?}") };
            (answered, bytes) = (answered + 1, bytes + wire.len() as u64);
        }
    }
    assert_eq!(answered, 120);
    let least = (bytes - BURST_BYTES) * 1_000_000 / RATE_BYTES;
    let took = now.since(BEGIN);
    assert!(took + 10_000 >= least && took < least + 100_000, "{took} us, about {least}");
    for index in 0..2 * QUESTIONS_MAX as u32 {
        ask(&mut server, now, ASKER, 128, index);
    }
    assert_eq!(server.transfers.counters().questions_dropped, QUESTIONS_MAX as u64);
}

#[test]
fn the_store_reads_two_chunks_for_one_replica_at_once_and_they_take_turns() {
    let state = state(128, &[1, 2, 3, 4, 5, 6]);
    let mut server = server(&[&state]);
    for index in 0..6 {
        ask(&mut server, BEGIN, ReplicaId(2), 128, index);
    }
    for index in 0..6 {
        ask(&mut server, BEGIN, ReplicaId(1), 128, index);
    }
    let mut order = Vec::new();
    loop {
        server.transfers.pump(BEGIN);
        let mut jobs = Vec::new();
        while let Some(job) = server.transfers.take_serving_job() {
            jobs.push(job);
        }
        if jobs.is_empty() {
            break;
        }
        for of in [1, 2] {
            let reads = jobs.iter().filter(|job| matches!(job, Job::Serve { to, .. } if to.0 == of)).count();
            assert_eq!(reads, READS_MAX);
        }
        for job in jobs {
            let Finished::Served { to, part } = server.store.run(job).unwrap() else { panic!("it serves") };
            order.push(server.transfers.served(BEGIN, to, part).unwrap().to.0);
        }
    }
    assert_eq!(order.len(), 12);
    assert!(order.chunks(2).all(|pair| pair.contains(&1) && pair.contains(&2)), "{order:?}");
}

#[test]
fn a_state_stays_while_somebody_fetches_it_and_goes_afterwards() {
    let states: Vec<State> = [128, 256, 384, 512].map(|seq| state(seq, &[1, 2, seq as u8 % 7])).into();
    let mut server = server(&[&states[0]]);
    ask(&mut server, BEGIN, ASKER, 128, 0);
    assert_eq!(server.serve(BEGIN).len(), 1);
    for (state, seq) in states.iter().zip([128, 256, 384, 512]) {
        server.has(state);
        server.store.prune(Seq(seq), Seq(seq), &server.transfers.leased()).unwrap();
    }
    assert_eq!(server.store.list(), [Seq(128), Seq(384), Seq(512)], "one of them is what somebody fetches");
    // Each question renews it.
    let mut now = BEGIN;
    for index in [1, 2] {
        now = now.plus(LEASE_US - 1);
        ask(&mut server, now, ASKER, 128, index);
        assert!(matches!(server.serve(now).as_slice(), [Post { part: Transfer::Chunk { .. }, .. }]));
        assert!(!server.transfers.take_lapsed() && server.transfers.leased() == [Seq(128)]);
    }
    // Nobody has to ask for it to end.
    let end = server.transfers.deadline().unwrap();
    assert_eq!(end, now.plus(LEASE_US));
    server.transfers.pump(end);
    assert!(server.transfers.take_lapsed() && server.transfers.leased().is_empty());
    server.store.prune(Seq(512), Seq(512), &[]).unwrap();
    ask(&mut server, end, ASKER, 128, 0);
    let answers = server.serve(end);
    assert!(
        matches!(answers.as_slice(), [Post { part: Transfer::Lacks { seq: Seq(128) }, .. }]),
        "{answers:?}"
    );
}

#[test]
fn e4_whoever_pins_states_for_mischief_pins_one_and_not_for_ever() {
    let mut server = server(&[]);
    let mut now = BEGIN;
    let mut pinned = BEGIN;
    // It asks about the oldest state there is, again and again, and about others in between.
    let states: Vec<State> = (1..=40).map(|seq| state(seq, &[seq as u8])).collect();
    let mut oldest_kept = 0;
    for (state, seq) in states.iter().zip(1..) {
        server.has(state);
        for _ in 0..4 {
            now = now.plus(LEASE_US / 2);
            let oldest = server.store.list()[0].0;
            if oldest > oldest_kept {
                (oldest_kept, pinned) = (oldest, now);
            }
            for asked in [oldest, oldest + 1, seq, oldest] {
                server.transfers.take(now, ASKER, Transfer::FetchMeta { seq: Seq(asked) });
                assert_eq!(server.serve(now).len(), 1);
            }
            assert!(server.transfers.leased().len() <= 1);
            server.store.prune(Seq(seq), Seq(seq), &server.transfers.leased()).unwrap();
            assert!(server.store.list().len() <= 3, "the last two, and one");
            assert!(now.since(pinned) < LEASE_MARGIN_US + 2 * LEASE_US, "state {oldest} since {pinned:?}");
        }
    }
    assert!(oldest_kept > 10);
}

#[test]
fn a_larger_state_stays_for_longer_however_often_somebody_asks_how_large_it_is() {
    let tags: Vec<u8> = (0..100).collect();
    let large = state(128, &tags);
    let mut server = server(&[&large]);
    let longest = large.summary().bytes() * 4_000_000 / RATE_BYTES + LEASE_MARGIN_US;
    let mut now = BEGIN;
    loop {
        server.transfers.take(now, ASKER, Transfer::FetchMeta { seq: Seq(128) });
        server.serve(now);
        if server.transfers.leased().is_empty() {
            break;
        }
        assert!(now.since(BEGIN) <= longest);
        now = now.plus(LEASE_US / 4);
    }
    assert!(now.since(BEGIN) >= longest && longest > LEASE_MARGIN_US + 1_000_000);
    // Nor does it begin again.
    server.transfers.take(now, ASKER, Transfer::FetchMeta { seq: Seq(128) });
    assert!(server.transfers.leased().is_empty());
    server.transfers.take(now, ASKER, Transfer::FetchMeta { seq: Seq(129) });
    assert_eq!(server.transfers.leased(), [Seq(129)], "another state is another matter");
}

#[test]
fn the_stable_state_is_served_however_many_newer_ones_wait_to_be_stable() {
    let mut server = server(&[&state(4, &[4])]);
    server.store.prune(Seq(4), Seq(4), &[]).unwrap();
    for seq in [8, 12, 16] {
        server.has(&state(seq, &[seq as u8]));
        server.store.prune(Seq(seq), Seq(4), &[]).unwrap();
    }
    // Executed up to the high watermark, which does not rise while too few vote for a checkpoint.
    let now = BEGIN.plus(1_000_000);
    assert!([4, 8, 12, 16].into_iter().all(|seq| serves(&mut server, now.plus(seq), seq)));
    server.store.prune(Seq(16), Seq(12), &[]).unwrap();
    let now = now.plus(1_000_000);
    let kept: Vec<u64> =
        [4, 8, 12, 16].into_iter().filter(|seq| serves(&mut server, now.plus(*seq), *seq)).collect();
    assert_eq!(kept, [8, 12, 16], "the last two that are stable, and what is newer");
}
