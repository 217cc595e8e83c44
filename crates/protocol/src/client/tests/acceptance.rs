//! What makes an answer, and what does not.

use super::*;

#[test]
fn f_plus_one_equal_replies_make_an_answer() {
    let mut world = World::open(4, |_, _| {});
    let (call, request) = world.one(b"add");
    world.answer(R2, &request, 0, 12, result(b"5"));
    assert!(world.done.is_empty());
    world.answer(R0, &request, 0, 12, result(b"5"));
    let (done, answer) = world.done.remove(0);
    assert_eq!(done, call);
    assert_eq!((answer.outcome, answer.seq, answer.number), (result(b"5"), Seq(12), Number(1)));
    assert_eq!(answer.voters.iter().collect::<Vec<_>>(), [R0, R2]);
    assert!(answer.dissenters.is_empty());
}

#[test]
fn f_liars_never_get_a_false_answer_accepted() {
    for (n, f) in [(4_u8, 1_u16), (7, 2), (10, 3), (6, 1)] {
        let mut world = World::open(n, |_, _| {});
        let (_, request) = world.one(b"add");
        let liars: Vec<_> = (0..f).map(ReplicaId).collect();
        for _ in 0..3 {
            for liar in &liars {
                world.answer(*liar, &request, 0, 12, result(b"lie"));
            }
        }
        assert!(world.done.is_empty());
        for honest in (f..=2 * f).map(ReplicaId) {
            world.answer(honest, &request, 0, 12, result(b"truth"));
        }
        let (_, answer) = world.done.remove(0);
        assert_eq!(answer.outcome, result(b"truth"));
        assert_eq!(answer.dissenters.iter().collect::<Vec<_>>(), liars);
        assert_eq!(world.client.dissents_of(liars[0]), 1);
    }
}

#[test]
fn f_plus_one_colluding_liars_do_deceive_the_client() {
    let mut world = World::open(4, |_, _| {});
    let (_, request) = world.one(b"add");
    for liar in [R1, R3] {
        world.answer(liar, &request, 0, 12, result(b"lie"));
    }
    assert_eq!(
        world.done.remove(0).1.outcome,
        result(b"lie"),
        "this is the limit that the committee's size sets"
    );
    world.answer(R0, &request, 0, 12, result(b"truth"));
    assert_eq!(world.client.counters().dissents, 1, "but the contradiction is noticed");
}

#[test]
fn a_replica_that_repeats_itself_has_one_vote() {
    let mut world = World::open(4, |_, _| {});
    let (_, request) = world.one(b"add");
    for _ in 0..10 {
        world.answer(R1, &request, 0, 12, result(b"5"));
    }
    assert!(world.done.is_empty());
    assert_eq!(world.client.counters().dissents, 0);
}

#[test]
fn a_replica_that_changes_its_answer_stays_with_the_first_and_is_a_dissenter() {
    let mut world = World::open(4, |_, _| {});
    let (_, request) = world.one(b"add");
    world.answer(R1, &request, 0, 12, result(b"5"));
    world.answer(R1, &request, 0, 12, result(b"6"));
    world.answer(R2, &request, 0, 12, result(b"6"));
    assert!(world.done.is_empty());
    world.answer(R3, &request, 0, 12, result(b"5"));
    let answer = world.done.remove(0).1;
    assert_eq!(answer.outcome, result(b"5"));
    assert_eq!(answer.dissenters.iter().collect::<Vec<_>>(), [R1, R2]);
}

#[test]
fn replies_that_differ_in_anything_do_not_match() {
    let change: [fn(&mut Reply); 4] = [
        |reply| reply.seq = Seq(13),
        |reply| reply.number = Number(2),
        |reply| reply.operation = Digest([1; 32]),
        |reply| reply.session = Session(reply.session.0 ^ 1),
    ];
    for change in change {
        let mut world = World::open(4, |_, _| {});
        world.submit(b"add");
        world.submit(b"add");
        world.poll();
        let request = world.take_sent().remove(0).1;
        let honest = reply_to(&request, 0, 12, result(b"5"));
        let mut other = honest.clone();
        change(&mut other);
        world.reply(R1, honest);
        world.reply(R2, other);
        assert!(world.done.is_empty());
    }
}

#[test]
fn replies_of_another_epoch_never_count() {
    let mut world = World::open(4, |_, _| {});
    let (_, request) = world.one(b"add");
    let reply = reply_to(&request, 0, 12, result(b"5"));
    world.reply(R0, reply.clone());
    for replica in [R1, R2, R3] {
        world.replies(replica, Epoch(1), View(9), vec![reply.clone()]);
    }
    assert!(world.done.is_empty());
    assert_eq!((world.client.view(), world.client.counters().other_epoch), (View(0), 3));
}

#[test]
fn a_result_of_an_operation_that_was_never_signed_is_a_dissent() {
    let mut world = World::open(4, |_, _| {});
    let (_, request) = world.one(b"add");
    let mut ahead = reply_to(&request, 0, 12, result(b"5"));
    ahead.number = Number(77);
    let mut digest = reply_to(&request, 0, 12, result(b"5"));
    digest.operation = Digest([1; 32]);
    for replica in [R1, R2] {
        world.reply(replica, ahead.clone());
        world.reply(replica, digest.clone());
        world.answer(replica, &request, 0, 12, Outcome::Registered);
    }
    assert!(world.done.is_empty());
    assert_eq!(world.client.counters().dissents, 6);
}

#[test]
fn a_stranger_has_no_vote() {
    let mut world = World::open(4, |_, _| {});
    let (_, request) = world.one(b"add");
    world.answer(R1, &request, 0, 12, result(b"5"));
    for stranger in [4, 255, 256, u16::MAX].map(ReplicaId) {
        world.answer(stranger, &request, 0, 12, result(b"5"));
        world.client.on_link(world.now, stranger, Some((Seq(1), View(1))));
    }
    assert!(world.done.is_empty());
}

#[test]
fn a_quorum_is_needed_where_the_caller_says_so() {
    let mut world = World::new(4, |options, _| options.needed = Needed::Quorum);
    world.link_all(Seq(0), View(0));
    world.poll();
    let register = world.take_sent().remove(0).1;
    for replica in [R0, R1, R2] {
        assert_eq!(world.client.session(), None);
        world.answer(replica, &register, 0, 1, Outcome::Registered);
    }
    let (_, request) = world.one(b"add");
    world.answer(R0, &request, 0, 12, result(b"5"));
    world.answer(R1, &request, 0, 12, result(b"5"));
    assert!(world.done.is_empty());
    world.answer(R3, &request, 0, 12, result(b"5"));
    assert_eq!(world.done.remove(0).1.voters.len(), 3);
}

#[test]
fn the_view_is_believed_when_f_plus_one_replicas_have_reached_it() {
    let mut world = World::open(4, |_, _| {});
    world.replies(R1, Epoch(0), View(u64::MAX), vec![]);
    assert_eq!(world.client.view(), View(0));
    world.replies(R2, Epoch(0), View(3), vec![]);
    assert_eq!(world.client.view(), View(3));
    world.submit(b"add");
    world.poll();
    assert_eq!(world.take_sent()[0].0, To::Replica(R3));
}

#[test]
fn a_liar_cannot_fill_the_memory_with_results() {
    let mut world = World::open(4, |options, parameters| {
        options.bundle_max = 1;
        parameters.reply_bytes_max = 1000;
        parameters.reply_cache_bytes_max = 2000;
    });
    world.submit_many(5);
    world.poll();
    let requests = world.take_sent();
    for (_, request) in &requests {
        world.answer(R3, request, 0, 12, result(&[3; 1000]));
    }
    assert_eq!(world.client.dissents_of(R3), 3, "more results than a correct replica keeps");
    for (_, request) in &requests {
        world.answer(R0, request, 0, 12, result(b"x"));
        world.answer(R1, request, 0, 12, result(b"x"));
    }
    assert_eq!(world.done.len(), 5);
    let (_, request) = world.one(b"add");
    world.answer(R3, &request, 0, 13, result(&[3; 1000]));
    world.answer(R0, &request, 0, 13, result(&[3; 1000]));
    assert_eq!(world.done.len(), 6, "what was decided makes room again");
}

#[test]
fn an_answer_that_contradicts_an_accepted_one_is_counted_even_if_late() {
    let mut world = World::open(4, |_, _| {});
    let (_, request) = world.one(b"add");
    world.answer(R0, &request, 0, 12, result(b"5"));
    world.answer(R1, &request, 0, 12, result(b"5"));
    world.answer(R2, &request, 0, 12, result(b"5"));
    world.answer(R2, &request, 0, 14, Outcome::Old);
    assert_eq!(world.client.counters().dissents, 0);
    world.answer(R3, &request, 0, 12, result(b"6"));
    assert_eq!(world.client.dissents_of(R3), 1);
}
