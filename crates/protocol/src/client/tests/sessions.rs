//! How sessions begin and end.

use super::*;

#[test]
fn a_session_is_registered_once_f_plus_one_replicas_said_hello() {
    let mut world = World::new(4, |_, _| {});
    world.client.on_link(world.now, R0, Some((Seq(100), View(0))));
    world.poll();
    assert!(world.sent.is_empty(), "one replica may lie about how far the cluster is");
    world.client.on_link(world.now, R1, Some((Seq(u64::MAX), View(7))));
    world.poll();
    let (to, request) = world.take_sent().remove(0);
    assert_eq!((to, request.kind()), (To::Replica(R0), Kind::Register));
    assert_eq!(request.registration().unwrap().expires, Seq(100 + 4 * world.context.parameters.window));
    world.submit(b"waits");
    world.poll();
    assert!(world.sent.is_empty());
    world.answer(R0, &request, 0, 101, Outcome::Registered);
    world.answer(R1, &request, 0, 101, Outcome::Registered);
    world.poll();
    assert_eq!(world.take_sent()[0].1.session(), request.session());
}

#[test]
fn an_expired_registration_is_replaced_by_one_that_knows_better() {
    let mut world = World::new(4, |_, _| {});
    world.client.on_link(world.now, R0, Some((Seq(900_000), View(0))));
    world.client.on_link(world.now, R3, Some((Seq(0), View(0))));
    world.poll();
    let stale = world.take_sent().remove(0).1;
    assert_eq!(stale.registration().unwrap().expires, Seq(2048), "a liar said so");
    world.answer(R0, &stale, 0, 900_001, Outcome::Expired);
    world.answer(R3, &stale, 0, 900_001, Outcome::Registered);
    world.answer(R1, &stale, 0, 900_001, Outcome::Expired);
    world.poll();
    let request = world.take_sent().remove(0).1;
    assert_eq!(request.registration().unwrap().expires, Seq(900_001 + 2048));
    assert_ne!(request.session(), stale.session());
    world.answer(R0, &stale, 0, 900_001, Outcome::Registered);
    world.answer(R1, &stale, 0, 900_001, Outcome::Registered);
    assert_eq!(world.client.session(), None);
}

#[test]
fn a_brief_session_asks_for_few_slots_and_for_more_when_that_was_too_few() {
    let mut world = World::new(4, |options, _| options.brief = true);
    world.link_all(Seq(100), View(0));
    world.poll();
    assert!(world.take_sent().is_empty(), "who is here for a moment may want only to read");
    world.submit(b"add");
    world.poll();
    let mut at = 100;
    for slots in [12, 12, 48, 192, 768, 2048, 2048] {
        let request = world.take_sent().remove(0).1;
        assert_eq!(request.registration().unwrap().expires, Seq(at + slots));
        at += 3000;
        for replica in [R0, R1] {
            world.answer(replica, &request, 0, at, Outcome::Expired);
        }
        world.wait();
    }
}

#[test]
fn a_brief_session_asks_for_no_more_slots_because_a_replica_stands_still() {
    let mut world = World::new(4, |options, _| options.brief = true);
    world.client.on_link(world.now, R0, Some((Seq(400), View(0))));
    world.client.on_link(world.now, R3, Some((Seq(256), View(0))));
    world.submit(b"add");
    world.poll();
    let stale = world.take_sent().remove(0).1;
    assert_eq!(stale.registration().unwrap().expires, Seq(256 + 12));
    world.answer(R0, &stale, 0, 401, Outcome::Expired);
    world.answer(R1, &stale, 0, 401, Outcome::Expired);
    world.wait();
    assert_eq!(world.take_sent().remove(0).1.registration().unwrap().expires, Seq(401 + 12));
}

#[test]
fn a_full_cluster_is_asked_again_with_the_same_registration() {
    let mut world = World::new(4, |_, _| {});
    world.link_all(Seq(0), View(0));
    world.poll();
    let request = world.take_sent().remove(0).1;
    for seq in [5, 9] {
        world.answer(R0, &request, 0, seq, Outcome::Full);
        world.answer(R1, &request, 0, seq, Outcome::Full);
        let before = world.now;
        world.wait();
        assert!(world.now.since(before) >= 600_000);
        assert_eq!(world.take_sent(), [(To::Everyone, request.clone())]);
    }
    world.answer(R2, &request, 0, 12, Outcome::Registered);
    world.answer(R1, &request, 0, 12, Outcome::Registered);
    assert_eq!(world.client.session(), Some(request.session()));
}

#[test]
fn a_registration_without_an_answer_is_repeated_and_replaced_only_when_its_time_may_have_passed() {
    let mut world = World::new(4, |_, _| {});
    world.link_all(Seq(0), View(0));
    world.poll();
    let request = world.take_sent().remove(0).1;
    for _ in 0..20 {
        world.wait();
        assert_eq!(world.take_sent(), [(To::Everyone, request.clone())]);
    }
    world.link_all(Seq(5000), View(0));
    world.wait();
    assert_ne!(world.take_sent()[0].1.session(), request.session());
}

#[test]
fn a_lost_session_is_a_typed_outcome_and_later_calls_get_a_new_one() {
    let mut world = World::open(4, |options, _| {
        options.bundle_max = 2;
        options.bundles_in_flight = 1;
    });
    let calls: Vec<_> = (0..3).map(|_| world.submit(b"add")).collect();
    world.poll();
    let (old, sent) = (world.client.session(), world.take_sent());
    assert_eq!(sent.len(), 1, "the third call waits");
    world.answer(R3, &sent[0].1, 0, 12, Outcome::NoSession);
    world.answer(R0, &sent[0].1, 0, 14, Outcome::NoSession);
    assert!(world.done.is_empty());
    world.answer(R3, &sent[0].1, 0, 14, Outcome::NoSession);
    let lost: Vec<_> = world.done.drain(..).map(|(call, answer)| (call, answer.outcome)).collect();
    assert_eq!(lost, [(calls[1], Outcome::NoSession), (calls[0], Outcome::NoSession)]);
    world.poll();
    let register = world.take_sent().remove(0).1;
    assert_eq!(register.kind(), Kind::Register);
    for replica in [R1, R2] {
        world.answer(replica, &register, 0, 20, Outcome::Registered);
    }
    assert_ne!(world.client.session(), old);
    world.poll();
    let request = world.take_sent().remove(0).1;
    assert_eq!((request.first(), request.ack(), request.len()), (Number(1), Number(1), 1));
    world.answer(R0, &sent[0].1, 1, 12, result(b"old session"));
    for replica in [R1, R2] {
        world.answer(replica, &request, 0, 21, result(b"5"));
    }
    assert_eq!(world.done.len(), 1);
    assert_eq!((world.done[0].0, &world.done[0].1.outcome), (calls[2], &result(b"5")));
    assert_eq!(world.client.counters().sessions_lost, 1);
}

#[test]
fn a_lost_session_is_not_replaced_before_a_call_wants_one() {
    let mut world = World::open(4, |_, _| {});
    let (_, request) = world.one(b"add");
    world.answer(R0, &request, 0, 14, Outcome::NoSession);
    world.answer(R3, &request, 0, 14, Outcome::NoSession);
    world.poll();
    assert!(world.sent.is_empty());
    assert_eq!(world.client.deadline(), None);
    assert_eq!(world.submit(b"add"), CallId(2));
    world.poll();
    assert_eq!(world.take_sent()[0].1.kind(), Kind::Register);
}
