//! Runs count as if each of their answers had come alone.

use std::ops::Range;

use proptest::prelude::*;

use super::*;

/// A result for each number, the same from every correct replica.
fn truth(number: Number) -> Outcome {
    result(&number.0.to_le_bytes())
}

/// What a correct replica answers to these operations of a request.
fn honest(request: &Request, which: Range<usize>, seq: u64) -> Vec<Reply> {
    which
        .map(|offset| reply_to(request, offset, seq, truth(Number(request.first().0 + offset as u64))))
        .collect()
}

impl World {
    /// `from` says all of this in one message.
    fn says(&mut self, from: ReplicaId, replies: &[Reply]) {
        self.replies(from, Epoch(0), View(0), replies.to_vec());
    }

    /// Submits so many calls, and sends them as one bundle.
    fn bundle(&mut self, calls: usize) -> Arc<Request> {
        self.submit_many(calls);
        self.poll();
        let request = self.take_sent().remove(0).1;
        assert_eq!(request.len(), calls);
        request
    }

    fn held_bytes(&self) -> Vec<u64> {
        self.client.peers.iter().map(|peer| peer.held_bytes).collect()
    }

    fn numbers_done(&self) -> Vec<u64> {
        self.done.iter().map(|(_, answer)| answer.number.0).collect()
    }
}

#[test]
fn a_run_of_f_plus_one_replicas_answers_all_its_calls() {
    let mut world = World::open(4, |_, _| {});
    let request = world.bundle(8);
    let run = honest(&request, 0..8, 12);
    world.says(R1, &run);
    assert!(world.done.is_empty());
    assert_eq!(world.held_bytes(), [0, 64, 0, 0]);
    world.says(R3, &run);
    assert_eq!(world.numbers_done(), [1, 2, 3, 4, 5, 6, 7, 8]);
    for (call, answer) in &world.done {
        assert_eq!((&answer.outcome, answer.seq), (&truth(answer.number), Seq(12)));
        assert_eq!(answer.voters.iter().collect::<Vec<_>>(), [R1, R3]);
        assert!(answer.dissenters.is_empty());
        assert_eq!(call.0, answer.number.0);
    }
    assert_eq!((world.client.deadline(), world.client.unanswered()), (None, 0));
    assert_eq!(world.held_bytes(), [0; 4]);
    assert_eq!(world.one(b"add").1.ack(), Number(9));
}

#[test]
fn a_replica_that_repeats_its_run_has_one_vote() {
    let mut world = World::open(4, |_, _| {});
    let request = world.bundle(8);
    for _ in 0..5 {
        world.says(R1, &honest(&request, 0..8, 12));
        world.says(R1, &honest(&request, 2..4, 12));
    }
    assert!(world.done.is_empty());
    assert_eq!((world.client.counters().dissents, world.held_bytes()), (0, vec![0, 64, 0, 0]));
}

#[test]
fn runs_that_are_cut_differently_make_the_same_answers() {
    let mut world = World::open(4, |_, _| {});
    let request = world.bundle(8);
    world.says(R0, &honest(&request, 0..8, 12));
    world.says(R1, &honest(&request, 0..3, 12));
    assert_eq!(world.numbers_done(), [1, 2, 3]);
    world.says(R2, &honest(&request, 2..6, 12));
    assert_eq!(world.numbers_done(), [1, 2, 3, 4, 5, 6]);
    world.says(R1, &honest(&request, 3..8, 12));
    assert_eq!(world.numbers_done(), [1, 2, 3, 4, 5, 6, 7, 8]);
    world.says(R3, &honest(&request, 0..8, 12));
    assert_eq!((world.client.counters().dissents, world.held_bytes()), (0, vec![0; 4]));
}

#[test]
fn one_false_answer_in_a_run_leaves_the_others_standing_and_names_its_replica() {
    let mut world = World::open(4, |_, _| {});
    let request = world.bundle(8);
    let mut lie = honest(&request, 0..8, 12);
    lie[2].outcome = result(b"a lie");
    world.says(R3, &lie);
    world.says(R0, &honest(&request, 0..8, 12));
    assert_eq!(world.numbers_done(), [1, 2, 4, 5, 6, 7, 8]);
    world.says(R1, &honest(&request, 0..8, 12));
    let answer = &world.done.last().unwrap().1;
    assert_eq!((answer.number, &answer.outcome), (Number(3), &truth(Number(3))));
    assert_eq!(answer.dissenters.iter().collect::<Vec<_>>(), [R3]);
    assert_eq!((world.client.dissents_of(R3), world.client.counters().dissents), (1, 1));
}

#[test]
fn runs_that_differ_in_anything_do_not_match() {
    let change: [fn(&mut Vec<Reply>); 5] = [
        |run| run.iter_mut().for_each(|reply| reply.seq = Seq(13)),
        |run| run.iter_mut().for_each(|reply| reply.session = Session(reply.session.0 ^ 1)),
        |run| run.iter_mut().for_each(|reply| reply.operation = Digest([1; 32])),
        |run| run.iter_mut().for_each(|reply| reply.outcome = Outcome::Rejected),
        |run| run.iter_mut().for_each(|reply| reply.number = Number(reply.number.0 + 4)),
    ];
    for change in change {
        for honest_first in [true, false] {
            let mut world = World::open(4, |_, _| {});
            let request = world.bundle(8);
            let run = honest(&request, 0..4, 12);
            let mut other = run.clone();
            change(&mut other);
            let (one, two) = if honest_first { (run, other) } else { (other, run) };
            world.says(R1, &one);
            world.says(R2, &two);
            assert!(world.done.is_empty());
        }
    }
}

#[test]
fn a_run_that_contradicts_an_accepted_one_is_counted_even_if_late() {
    let mut world = World::open(4, |_, _| {});
    let request = world.bundle(8);
    let run = honest(&request, 0..8, 12);
    for replica in [R0, R1, R2, R2] {
        world.says(replica, &run);
    }
    assert_eq!((world.client.counters().dissents, world.client.counters().stale), (0, 0));
    let mut lie = run;
    lie[7].outcome = result(b"a lie");
    world.says(R3, &lie);
    assert_eq!(world.client.dissents_of(R3), 1);
}

#[test]
fn the_last_256_answers_are_held_against_what_comes_later() {
    let mut world = World::open(4, |options, _| options.bundle_max = 64);
    world.submit_many(320);
    world.poll();
    let requests: Vec<_> = world.take_sent().into_iter().map(|(_, request)| request).collect();
    for (request, replica) in requests.iter().flat_map(|request| [(request, R0), (request, R1)]) {
        world.says(replica, &honest(request, 0..64, 12));
    }
    assert_eq!((requests.len(), world.done.len()), (5, 320));
    let lie = |request: &Request| {
        let mut lie = honest(request, 0..64, 12);
        lie.iter_mut().for_each(|reply| reply.outcome = result(b"a lie"));
        lie
    };
    world.says(R3, &lie(&requests[0]));
    assert_eq!((world.client.counters().dissents, world.client.counters().stale), (0, 64));
    world.says(R3, &lie(&requests[1]));
    assert_eq!((world.client.dissents_of(R3), world.client.counters().stale), (64, 64));
}

#[test]
fn a_run_of_which_a_part_is_forgotten_is_repeated_without_harm() {
    let mut world = World::open(4, |options, parameters| {
        options.bundle_max = 16;
        parameters.client_window = 16;
    });
    let run = honest(&world.bundle(8), 0..8, 12);
    for replica in [R0, R1] {
        world.says(replica, &run);
    }
    // Counted one by one, because the last of them is said to be otherwise.
    let request = world.bundle(16);
    let mut lie = honest(&request, 0..16, 13);
    lie[15].outcome = result(b"a lie");
    world.says(R3, &lie);
    for replica in [R0, R1] {
        world.says(replica, &honest(&request, 0..12, 13));
    }
    assert_eq!((world.done.len(), world.client.calls.oldest()), (20, Number(5)));
    world.says(R2, &run);
    let counters = world.client.counters();
    assert_eq!((counters.stale, counters.dissents), (4, 0), "of the others is known what they were");
    world.client.audit();
}

#[test]
fn no_more_runs_are_kept_than_answers() {
    let mut world = World::open(4, |options, parameters| {
        options.bundle_max = 1;
        parameters.client_window = 16;
    });
    for seq in 12..112 {
        let request = world.bundle(1);
        for replica in [R0, R1, R2] {
            world.says(replica, &honest(&request, 0..1, seq));
            world.client.audit();
        }
    }
    assert_eq!((world.done.len(), world.client.counters().stale), (100, 0));
}

#[test]
fn a_liar_cannot_fill_the_memory_with_runs() {
    let mut world = World::open(4, |_, parameters| {
        parameters.reply_bytes_max = 1000;
        parameters.reply_cache_bytes_max = 2000;
    });
    let request = world.bundle(5);
    let mut lie = honest(&request, 0..5, 12);
    lie.iter_mut().for_each(|reply| reply.outcome = result(&[3; 1000]));
    world.says(R3, &lie);
    assert_eq!(world.client.dissents_of(R3), 3, "more results than a correct replica keeps");
    assert_eq!(world.held_bytes(), [0, 0, 0, 2000]);
    world.says(R0, &honest(&request, 0..5, 12));
    world.says(R1, &honest(&request, 0..5, 12));
    assert_eq!((world.done.len(), world.held_bytes()), (5, vec![0; 4]));
}

#[test]
fn a_lost_session_takes_the_runs_of_its_calls_along() {
    let mut world = World::open(4, |options, _| options.bundle_max = 4);
    world.submit_many(8);
    world.poll();
    let sent = world.take_sent();
    world.says(R2, &honest(&sent[0].1, 0..4, 12));
    for replica in [R0, R3] {
        world.answer(replica, &sent[1].1, 0, 13, Outcome::NoSession);
    }
    assert_eq!((world.done.len(), world.client.session()), (8, None));
    assert_eq!(world.held_bytes(), [0; 4]);
    world.submit_many(4);
    world.poll();
    let register = world.take_sent().remove(0).1;
    for replica in [R1, R2] {
        world.answer(replica, &register, 0, 20, Outcome::Registered);
    }
    world.poll();
    let request = world.take_sent().remove(0).1;
    world.says(R0, &honest(&sent[0].1, 0..4, 12));
    world.says(R1, &honest(&request, 0..4, 21));
    assert_eq!(world.done.len(), 8, "the old session's answers are no answers in the new one");
    world.says(R3, &honest(&request, 0..4, 21));
    assert_eq!(world.done.len(), 12);
}

/// What a replica says: who, from which operation on, of how many, in which slot, and in which way.
type Said = (u16, usize, usize, u64, u8);

/// Replies to consecutive operations, true in one slot and in one way only.
fn said_of(operations: &[(Arc<Request>, usize)], (_, start, count, seq, way): Said) -> Vec<Reply> {
    let which = &operations[start.min(operations.len())..(start + count).min(operations.len())];
    let mut replies: Vec<_> = which
        .iter()
        .map(|(request, offset)| {
            let number = Number(request.first().0 + *offset as u64);
            let outcome = match way {
                5 => Outcome::Window,
                6 => Outcome::Rejected,
                7 if start == 0 => Outcome::NoSession,
                8 => result(&[8; 30]),
                _ => truth(number),
            };
            reply_to(request, *offset, seq, outcome)
        })
        .collect();
    let middle = replies.len() / 2;
    match (way, replies.get_mut(middle)) {
        (3, Some(reply)) => reply.operation = Digest([9; 32]),
        (4, Some(reply)) => reply.outcome = result(b"a lie"),
        (9, Some(reply)) => reply.number = Number(77),
        _ => {}
    }
    replies
}

/// Two clients that do and hear the same: one of them in runs, the other one by one.
struct Pair {
    whole: World,
    alone: World,
    /// All that they sent in this session.
    operations: Vec<(Arc<Request>, usize)>,
}

impl Pair {
    fn open(n: u8, bundle_max: usize, cache_bytes: u64, fast_reads: bool) -> Self {
        let open = || {
            let mut world = World::new(n, |options, parameters| {
                options.bundle_max = bundle_max;
                options.bundles_in_flight = 16;
                parameters.client_window = 16;
                parameters.reply_bytes_max = 32;
                parameters.reply_cache_bytes_max = cache_bytes;
                parameters.fast_reads = fast_reads;
            });
            world.link_all(Seq(10), View(0));
            world.poll();
            let request = world.take_sent().remove(0).1;
            for replica in world.context.committee.replicas() {
                world.answer(replica, &request, 0, 11, Outcome::Registered);
            }
            world
        };
        Self { whole: open(), alone: open(), operations: Vec::new() }
    }

    fn submit(&mut self, calls: usize) {
        for world in [&mut self.whole, &mut self.alone] {
            for _ in 0..calls {
                let _ = world.client.submit(Bytes::from_static(b"add"));
            }
            world.poll();
        }
        let (sent, same) = (self.whole.take_sent(), self.alone.take_sent());
        assert_eq!(sent, same);
        let each = |(_, request): (To, Arc<Request>)| (0..request.len()).map(move |at| (request.clone(), at));
        self.operations.extend(sent.into_iter().flat_map(each));
    }

    fn hear(&mut self, said: Said) {
        let (from, replies) = (ReplicaId(said.0), said_of(&self.operations, said));
        let Self { whole, alone, .. } = self;
        whole.says(from, &replies);
        for reply in replies {
            let mut effects = Vec::new();
            alone.client.on_reply(alone.now, from, reply, &mut effects);
            alone.perform(effects);
        }
        whole.client.audit();
        alone.client.audit();
        assert_eq!(whole.done, alone.done);
        assert_eq!(whole.held_bytes(), alone.held_bytes());
        assert_eq!(whole.client.counters(), alone.client.counters());
        for replica in whole.context.committee.replicas() {
            assert_eq!(whole.client.dissents_of(replica), alone.client.dissents_of(replica));
        }
        assert_eq!(whole.client.calls.ack(), alone.client.calls.ack());
        assert_eq!(whole.client.calls.oldest(), alone.client.calls.oldest());
        assert_eq!(whole.client.unanswered(), alone.client.unanswered());
        assert_eq!(whole.client.deadline(), alone.client.deadline());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_runs_count_as_if_their_answers_had_come_one_by_one(
        n in 4_u8..8,
        bundle_max in 1_usize..8,
        cache_bytes in 64_u64..300,
        fast_reads: bool,
        said in proptest::collection::vec((0_u16..8, 0_usize..16, 1_usize..16, 12_u64..14, 0_u8..10), 0..60),
    ) {
        let mut pair = Pair::open(n, bundle_max, cache_bytes, fast_reads);
        pair.submit(16);
        for said in said.into_iter().filter(|said| said.0 < u16::from(n)) {
            pair.hear(said);
        }
    }

    // Many honest runs between false ones, so that calls are answered, forgotten, and said again something of.
    #[test]
    fn runs_that_reach_below_what_is_kept_and_above_what_was_sent_count_as_if_they_had_come_one_by_one(
        n in 4_u8..6,
        bundle_max in 1_usize..17,
        cache_bytes in 100_u64..300,
        steps in proptest::collection::vec(
            (1_usize..17, 0_usize..40, proptest::collection::vec((0_u16..6, 0_usize..8, 1_usize..17, 0_u8..24), 0..8)),
            1..12,
        ),
    ) {
        let mut pair = Pair::open(n, bundle_max, cache_bytes, false);
        for (calls, back, said) in steps {
            pair.submit(calls);
            let begin = pair.operations.len().saturating_sub(back);
            for (from, start, count, way) in said.into_iter().filter(|said| said.0 < u16::from(n)) {
                let way = if way == 7 || way > 9 { 0 } else { way };
                pair.hear((from, begin + start, count, 12, way));
            }
        }
    }
}
