//! What a client takes for the answer to a read that was not ordered, and what becomes of the others.

use super::*;
use crate::message::{Found, QueryReply, Unanswered};

/// A client of a cluster with fast reads, with its session.
fn fast(n: u8) -> World {
    let mut world = World::new(n, |_, parameters| parameters.fast_reads = true);
    world.link_all(Seq(10), View(0));
    world.poll();
    let request = world.take_sent().remove(0).1;
    for replica in world.context.committee.replicas().take(world.context.committee.quorum()) {
        world.answer(replica, &request, 0, 11, Outcome::Registered);
    }
    assert_eq!(world.client.session(), Some(request.session()));
    world
}

impl World {
    /// Asks one read; gives back the query that left.
    fn ask(&mut self, read: Read) -> Query {
        self.client.read(Bytes::from_static(b"get"), read).unwrap();
        self.poll();
        self.asked.pop().unwrap()
    }

    fn found(&mut self, from: ReplicaId, query: &Query, executed: u64, found: Found) {
        let reply = QueryReply { number: query.number, executed: Seq(executed), found };
        let message = ClientMessage::Query { epoch: Epoch(0), view: View(0), reply };
        let mut effects = Vec::new();
        self.client.on_message(self.now, from, message, &mut effects);
        self.perform(effects);
        self.poll();
    }

    fn finds(&mut self, from: ReplicaId, query: &Query, executed: u64, result: &[u8]) {
        self.found(from, query, executed, Found::Reply(Blob(Bytes::copy_from_slice(result))));
    }

    /// Each replica answers from a slot, with the number of that slot.
    fn find(&mut self, query: &Query, executed: &[(ReplicaId, u64)]) {
        for (from, seq) in executed {
            self.finds(*from, query, *seq, seq.to_string().as_bytes());
        }
    }

    /// The query that left last.
    fn again(&mut self) -> Query {
        self.asked.pop().expect("they were asked again")
    }

    fn finds_nothing(&mut self, from: ReplicaId, query: &Query, why: Unanswered) {
        self.found(from, query, 0, Found::Nothing(why));
    }

    /// Replicas answer what was ordered last.
    fn order(&mut self, from: &[ReplicaId], seq: u64, outcome: &Outcome) {
        let request = self.sent.last().unwrap().1.clone();
        from.iter().for_each(|replica| self.answer(*replica, &request, 0, seq, outcome.clone()));
    }
}

#[test]
fn a_quorum_that_finds_the_same_in_one_slot_is_a_fast_read() {
    let mut world = fast(4);
    let query = world.ask(Read::Fast);
    assert!(query.fast && query.command.as_ref() == b"get");
    world.finds(R3, &query, 12, b"5");
    world.finds(R0, &query, 12, b"5");
    assert!(world.read.is_empty(), "f + 1 are not enough");
    world.finds(R0, &query, 12, b"5");
    assert!(world.read.is_empty(), "nobody counts twice");
    world.finds(R1, &query, 12, b"5");
    let (_, answer) = world.read.remove(0);
    assert_eq!((answer.outcome, answer.seq, answer.how), (result(b"5"), Seq(12), How::Read(Read::Fast)));
    assert_eq!(answer.voters.iter().collect::<Vec<_>>(), [R0, R1, R3]);
    assert!(world.take_sent().is_empty(), "nothing was ordered");
    assert_eq!(world.client.unanswered(), 0);
}

#[test]
fn equal_results_of_different_slots_are_no_fast_read() {
    let mut world = fast(4);
    let query = world.ask(Read::Fast);
    world.finds(R0, &query, 12, b"0");
    world.finds(R1, &query, 14, b"0");
    world.finds(R2, &query, 12, b"0");
    assert!(world.read.is_empty() && world.sent.is_empty());
    world.finds(R3, &query, 13, b"1");
    assert!(world.read.is_empty() && world.sent.is_empty());
    let again = world.again();
    world.finds(R0, &again, 15, b"0");
    world.finds(R1, &again, 14, b"0");
    world.finds(R2, &again, 12, b"0");
    assert!(world.sent.is_empty());
    world.finds(R3, &again, 13, b"1");
    assert!(world.read.is_empty() && world.asked.is_empty());
    assert_eq!(world.sent.len(), 1, "it is ordered as soon as no quorum is left");
    world.order(&[R0, R1, R2], 15, &result(b"0"));
    let (_, answer) = world.read.remove(0);
    assert_eq!((answer.seq, answer.how), (Seq(15), How::Instead(Read::Fast, Obstacle::Differed)));
    assert!(world.done.is_empty(), "nobody called anything");
}

#[test]
fn what_was_written_takes_a_quorum_of_replies_where_reads_are_fast() {
    let mut world = fast(4);
    let (_, request) = world.one(b"put");
    world.answer(R0, &request, 0, 12, result(b"ok"));
    world.answer(R1, &request, 0, 12, result(b"ok"));
    assert!(world.done.is_empty(), "two replicas may be the only ones that have it");
    world.answer(R2, &request, 0, 12, result(b"ok"));
    assert_eq!(world.done.len(), 1);
}

#[test]
fn a_session_read_takes_f_plus_one_that_are_as_far_as_the_client_was_told() {
    let mut world = World::open(4, |_, _| {});
    let (_, request) = world.one(b"put");
    world.answer(R0, &request, 0, 20, result(b"ok"));
    world.answer(R1, &request, 0, 20, result(b"ok"));
    let query = world.ask(Read::Session);
    assert!(!query.fast);
    world.finds(R2, &query, 19, b"old");
    world.finds(R3, &query, 19, b"old");
    assert!(world.read.is_empty(), "it was told of slot 20");
    world.finds(R0, &query, 21, b"new");
    world.finds(R1, &query, 21, b"new");
    assert_eq!((world.read[0].1.seq, world.read[0].1.how), (Seq(21), How::Read(Read::Session)));
    // What it was told is where the next one begins.
    let query = world.ask(Read::Session);
    world.finds(R0, &query, 20, b"older");
    world.finds(R1, &query, 20, b"older");
    world.finds(R2, &query, 21, b"new");
    assert_eq!((world.read.len(), world.sent.len()), (1, 0));
    world.finds(R3, &query, 22, b"new");
    assert_eq!((world.read.len(), world.sent.len()), (1, 0), "no two are equally far");
    let again = world.again();
    world.finds(R0, &again, 20, b"older");
    world.finds(R1, &again, 20, b"older");
    world.finds(R2, &again, 23, b"new");
    world.finds(R3, &again, 24, b"new");
    assert_eq!((world.read.len(), world.sent.len()), (1, 1), "and still no two");
    world.order(&[R0, R1], 23, &result(b"new"));
    assert_eq!(world.read[1].1.how, How::Instead(Read::Session, Obstacle::Differed));
}

#[test]
fn a_stale_read_takes_f_plus_one_of_any_slot_and_promises_nothing_more() {
    let mut world = World::open(4, |_, _| {});
    let (_, request) = world.one(b"put");
    world.answer(R0, &request, 0, 20, result(b"ok"));
    world.answer(R1, &request, 0, 20, result(b"ok"));
    let query = world.ask(Read::Stale);
    world.finds(R2, &query, 3, b"old");
    world.finds(R3, &query, 3, b"old");
    assert_eq!((world.read[0].1.seq, world.read[0].1.how), (Seq(3), How::Read(Read::Stale)));
    let query = world.ask(Read::Stale);
    world.finds(R2, &query, 30, b"new");
    world.finds(R3, &query, 30, b"new");
    let query = world.ask(Read::Session);
    world.finds(R0, &query, 20, b"seen");
    world.finds(R1, &query, 20, b"seen");
    assert_eq!(world.read[2].1.seq, Seq(20), "a stale read raises no floor");
}

#[test]
fn f_liars_make_up_no_read_and_are_found_out() {
    for read in [Read::Fast, Read::Session, Read::Stale] {
        let mut world = fast(7);
        let query = world.ask(read);
        for liar in [R5, R6] {
            world.finds(liar, &query, 12, b"lie");
        }
        assert!(world.read.is_empty(), "{read:?}");
        for honest in [R0, R1, R2, R3, R4] {
            world.finds(honest, &query, 12, b"truth");
        }
        let (_, answer) = world.read.remove(0);
        assert_eq!(answer.outcome, result(b"truth"), "{read:?}");
        assert_eq!(answer.dissenters.iter().collect::<Vec<_>>(), [R5, R6], "{read:?}");
        assert_eq!(world.client.dissents_of(R5), 1);
    }
}

#[test]
fn an_answer_of_a_slot_that_nobody_reached_makes_nothing_true() {
    let mut world = fast(4);
    let query = world.ask(Read::Fast);
    world.finds(R3, &query, u64::MAX, b"future");
    for honest in [R0, R1, R2] {
        world.finds(honest, &query, 12, b"now");
    }
    assert_eq!(world.read.remove(0).1.seq, Seq(12));
}

#[test]
fn a_command_that_needs_order_is_ordered_as_soon_as_a_correct_replica_says_so() {
    let mut world = fast(4);
    let query = world.ask(Read::Fast);
    world.finds_nothing(R3, &query, Unanswered::NeedsOrder);
    assert!(world.sent.is_empty(), "one may lie");
    world.finds_nothing(R1, &query, Unanswered::NeedsOrder);
    assert_eq!(world.sent.len(), 1);
    world.order(&[R0, R1, R2], 12, &result(b"ok"));
    assert_eq!(world.read[0].1.how, How::Instead(Read::Fast, Obstacle::NeedsOrder));
    let counters = world.client.counters();
    assert_eq!((counters.reads, counters.reads_unordered, counters.reads_fallen_back), (1, 0, 1));
}

#[test]
fn a_fast_read_is_ordered_at_once_where_there_are_none() {
    let mut world = World::open(4, |_, _| {});
    world.client.read(Bytes::from_static(b"get"), Read::Fast).unwrap();
    world.poll();
    assert!(world.asked.is_empty());
    world.order(&[R0, R1], 12, &result(b"5"));
    assert_eq!(world.read[0].1.how, How::Instead(Read::Fast, Obstacle::NotOffered));
}

#[test]
fn a_read_that_too_few_answer_is_ordered_when_its_time_is_over() {
    let mut world = fast(4);
    let query = world.ask(Read::Fast);
    world.finds(R0, &query, 12, b"5");
    world.finds(R1, &query, 12, b"5");
    let asked_at = world.now;
    world.wait();
    assert_eq!(world.sent.len(), 1, "waited for {}", world.now.since(asked_at));
    assert!(world.now.since(asked_at) < 1_000_000);
    world.finds(R2, &query, 12, b"5");
    assert!(world.read.is_empty(), "too late");
    world.order(&[R0, R1, R2], 13, &result(b"5"));
    assert_eq!(world.read[0].1.how, How::Instead(Read::Fast, Obstacle::TooFew));
}

#[test]
fn a_broken_link_is_not_waited_for_and_too_few_links_are_for_a_while() {
    let mut world = fast(4);
    let query = world.ask(Read::Fast);
    world.finds(R0, &query, 12, b"5");
    world.finds(R1, &query, 13, b"5");
    world.client.on_link(world.now, R2, None);
    world.poll();
    world.again();
    assert!(world.sent.is_empty(), "a quorum is out of reach, and three are left to be asked again");
    world.client.on_link(world.now, R3, None);
    world.poll();
    assert_eq!(world.sent.len(), 1, "two cannot be one");
    world.take_sent();
    world.client.read(Bytes::from_static(b"get"), Read::Fast).unwrap();
    world.poll();
    assert!(world.asked.is_empty(), "two links are no quorum");
    world.client.on_link(world.now, R3, Some((Seq(12), View(0))));
    world.poll();
    assert_eq!(world.asked.len(), 1, "three are");
}

#[test]
fn who_was_a_slot_behind_joins_the_others_when_it_is_asked_again() {
    let mut world = fast(4);
    let query = world.ask(Read::Fast);
    world.find(&query, &[(R0, 12), (R1, 12), (R2, 13), (R3, 13)]);
    let again = world.again();
    assert!(again.number != query.number && again.fast && again.command == query.command);
    assert!(world.read.is_empty() && world.sent.is_empty());
    world.find(&again, &[(R0, 13)]);
    let (_, answer) = world.read.remove(0);
    assert_eq!((answer.outcome, answer.seq, answer.how), (result(b"13"), Seq(13), How::Read(Read::Fast)));
    assert_eq!(answer.voters.iter().collect::<Vec<_>>(), [R0, R2, R3]);
    assert!(answer.dissenters.is_empty(), "who was at slot 12 told the truth");
    let Counters { reads, reads_unordered, reads_asked_again, reads_fallen_back, .. } =
        world.client.counters();
    assert_eq!((reads, reads_unordered, reads_asked_again, reads_fallen_back), (1, 1, 1, 0));
    world.find(&again, &[(R1, 13), (R2, 13)]);
    assert_eq!((world.read.len(), world.client.unanswered()), (0, 0));
}

#[test]
fn who_answers_both_attempts_alike_is_one_voice() {
    let mut world = fast(4);
    let query = world.ask(Read::Fast);
    world.find(&query, &[(R0, 12), (R1, 13), (R2, 14), (R3, 15)]);
    let again = world.again();
    world.find(&again, &[(R3, 15), (R3, 15), (R0, 15)]);
    world.find(&query, &[(R3, 15), (R0, 15), (R1, 15)]);
    assert!(world.read.is_empty(), "there are two of them, and one answer of each to each attempt counts");
    world.find(&again, &[(R1, 15)]);
    assert_eq!(world.read.remove(0).1.voters.iter().collect::<Vec<_>>(), [R0, R1, R3]);
}

#[test]
fn a_late_answer_to_the_first_attempt_counts_beside_those_to_the_second() {
    let mut world = fast(4);
    let query = world.ask(Read::Fast);
    world.find(&query, &[(R0, 12), (R1, 12), (R2, 13)]);
    assert!(world.asked.is_empty(), "the fourth may decide it");
    world.wait();
    let again = world.again();
    world.find(&again, &[(R2, 14)]);
    world.find(&query, &[(R3, 12)]);
    assert_eq!(world.read.remove(0).1.seq, Seq(12));
    let counters = world.client.counters();
    assert_eq!((counters.reads_asked_again, counters.stale), (1, 0));
}

#[test]
fn who_says_nothing_is_waited_for_as_long_again_as_the_others_took() {
    let mut world = fast(4);
    let begun = world.now;
    let query = world.ask(Read::Fast);
    world.now = begun.plus(4_000);
    world.find(&query, &[(R0, 12), (R1, 12), (R2, 13)]);
    world.wait();
    assert_eq!(world.now.since(begun), 8_000);
    let again = world.again();
    world.now = world.now.plus(3_000);
    world.find(&again, &[(R0, 14), (R1, 15), (R2, 16)]);
    assert!(world.sent.is_empty());
    world.wait();
    assert_eq!((world.now.since(begun), world.sent.len()), (14_000, 1), "then it is ordered");
    assert!(world.asked.is_empty(), "twice is enough");
    world.order(&[R0, R1, R2], 17, &result(b"17"));
    assert_eq!(world.read[0].1.how, How::Instead(Read::Fast, Obstacle::Differed));
    let counters = world.client.counters();
    assert_eq!((counters.reads_asked_again, counters.reads_fallen_back), (1, 1));
}

#[test]
fn a_second_attempt_that_nobody_answers_is_over_when_the_first_would_have_been() {
    let mut world = fast(4);
    let query = world.ask(Read::Fast);
    let due = world.client.deadline().unwrap();
    world.now = world.now.plus(1_000);
    world.find(&query, &[(R0, 12), (R1, 13), (R2, 14)]);
    world.again();
    assert_eq!(world.client.deadline(), Some(due));
    world.wait();
    assert_eq!((world.now, world.sent.len(), world.asked.len()), (due, 1, 0));
}

#[test]
fn a_client_that_is_to_ask_once_has_what_differs_ordered_at_once() {
    for (attempts, asked, ordered) in [(0, 0, 1), (1, 0, 1), (2, 1, 0), (u64::MAX, 1, 0)] {
        let mut world = World::open(4, |options, _| options.read_attempts = attempts);
        let query = world.ask(Read::Session);
        world.find(&query, &[(R0, 12), (R1, 13), (R2, 14), (R3, 15)]);
        assert_eq!((world.asked.len(), world.sent.len()), (asked, ordered), "{attempts}");
        if let Some(again) = world.asked.pop() {
            world.find(&again, &[(R0, 16), (R1, 17), (R2, 18), (R3, 19)]);
            assert_eq!((world.asked.len(), world.sent.len()), (0, 1), "twice is enough");
        }
    }
}

#[test]
fn nobody_is_asked_again_what_needs_order_or_too_few_can_answer_or_there_is_no_time_for() {
    let first = |say: &dyn Fn(&mut World, &Query)| {
        let mut world = fast(4);
        let query = world.ask(Read::Fast);
        say(&mut world, &query);
        assert_eq!((world.asked.len(), world.sent.len()), (0, 1));
        world.order(&[R0, R1, R2], 20, &result(b"5"));
        (world.read[0].1.how, world.client.counters().reads_asked_again)
    };
    let refused = |why| {
        move |world: &mut World, query: &Query| {
            [R0, R1].iter().for_each(|replica| world.finds_nothing(*replica, query, why));
        }
    };
    let instead = |obstacle| (How::Instead(Read::Fast, obstacle), 0);
    assert_eq!(first(&refused(Unanswered::NeedsOrder)), instead(Obstacle::NeedsOrder));
    assert_eq!(first(&refused(Unanswered::NotReady)), instead(Obstacle::TooFew));
    let links_break = |world: &mut World, query: &Query| {
        world.find(query, &[(R0, 12), (R1, 13)]);
        [R2, R3].iter().for_each(|replica| world.client.on_link(world.now, *replica, None));
        world.poll();
    };
    assert_eq!(first(&links_break), instead(Obstacle::Differed));
    let late = |world: &mut World, query: &Query| {
        world.find(query, &[(R0, 12), (R1, 13)]);
        world.wait();
    };
    assert_eq!(first(&late), instead(Obstacle::Differed));
}

#[test]
fn who_was_not_asked_is_not_heard() {
    let mut world = fast(4);
    world.client.on_link(world.now, R3, None);
    let query = world.ask(Read::Fast);
    world.client.on_link(world.now, R3, Some((Seq(12), View(0))));
    for replica in [R0, R1, R3] {
        world.finds(replica, &query, 12, b"5");
    }
    assert_eq!((world.read.len(), world.client.counters().stale), (0, 1));
    world.finds(R2, &query, 12, b"5");
    assert_eq!(world.read.len(), 1);
}

#[test]
fn answers_to_other_reads_and_of_strangers_do_not_count() {
    let mut world = fast(4);
    let query = world.ask(Read::Fast);
    let other = Query { number: query.number + 1, ..query.clone() };
    for replica in [R0, R1, R2, R3] {
        world.finds(replica, &other, 12, b"5");
    }
    for stranger in [4, 255, u16::MAX].map(ReplicaId) {
        world.finds(stranger, &query, 12, b"5");
    }
    assert!(world.read.is_empty() && world.sent.is_empty());
    assert_eq!(world.client.counters().stale, 4);
}

#[test]
fn reads_are_bounded_and_those_beyond_the_quota_wait_for_room() {
    let mut world = fast(4);
    let taken = (0..2000).take_while(|_| world.client.read(Bytes::new(), Read::Fast).is_ok()).count();
    assert_eq!(taken, 1024);
    world.poll();
    assert_eq!(world.asked.len(), READS_OUT_MAX);
    let first = world.asked.remove(0);
    for replica in [R0, R1, R2] {
        world.finds(replica, &first, 12, b"5");
    }
    assert_eq!((world.read.len(), world.asked.len()), (1, READS_OUT_MAX));
    let long = Bytes::from(vec![0; 1 << 20]);
    assert!(matches!(world.client.read(long, Read::Fast), Err(SubmitError::TooLarge { .. })));
}

#[test]
fn a_read_that_was_ordered_and_lost_its_session_says_so() {
    let mut world = World::open(4, |_, _| {});
    world.client.read(Bytes::from_static(b"put"), Read::Ordered).unwrap();
    world.poll();
    world.order(&[R0, R1], 12, &Outcome::NoSession);
    assert_eq!((world.read.len(), world.done.len()), (1, 0));
    let answer = &world.read[0].1;
    assert_eq!((&answer.outcome, answer.how), (&Outcome::NoSession, How::Ordered));
}

const R4: ReplicaId = ReplicaId(4);
const R5: ReplicaId = ReplicaId(5);
const R6: ReplicaId = ReplicaId(6);
