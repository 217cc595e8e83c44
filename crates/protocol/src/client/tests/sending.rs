//! Numbers, bundles, acknowledgements, retries.

use super::*;

/// First number, operations and acknowledgement of each request sent.
fn shapes(sent: &[(To, Arc<Request>)]) -> Vec<(u64, usize, u64)> {
    sent.iter().map(|(_, request)| (request.first().0, request.len(), request.ack().0)).collect()
}

#[test]
fn what_waits_is_cut_into_bundles_of_consecutive_numbers() {
    let mut world = World::open(4, |options, _| {
        options.bundle_max = 4;
        options.bundles_in_flight = 4;
    });
    world.submit_many(10);
    world.poll();
    assert_eq!(shapes(&world.sent), [(1, 4, 1), (5, 4, 1), (9, 2, 1)]);
    assert!(
        world.sent.iter().all(|(to, request)| *to == To::Replica(R0) && request.kind() == Kind::Operations)
    );
}

#[test]
fn a_bundle_of_one_signs_each_operation() {
    let mut world = World::open(4, |options, _| {
        options.bundle_max = 1;
        options.fifo = true;
    });
    world.submit_many(100);
    world.poll();
    assert_eq!(world.sent.len(), 100);
    assert!(world.sent.iter().all(|(_, request)| request.len() == 1 && request.kind() == Kind::Fifo));
}

#[test]
fn a_bundle_that_is_not_full_waits_until_it_holds_its_share_of_what_is_out() {
    let mut world = World::open(4, |options, _| {
        options.bundle_max = 8;
        options.bundles_in_flight = 2;
    });
    for _ in 0..12 {
        world.submit(b"add");
        world.poll();
    }
    assert_eq!(shapes(&world.sent), [(1, 1, 1), (2, 1, 1), (3, 1, 1), (4, 2, 1), (6, 3, 1), (9, 4, 1)]);
    let sent = world.take_sent();
    for (_, request) in &sent[3..5] {
        for operation in 0..request.len() {
            world.answer(R0, request, operation, 12, result(b""));
            world.answer(R1, request, operation, 12, result(b""));
        }
    }
    world.submit_many(3);
    world.poll();
    assert!(world.sent.is_empty(), "3 are less than half of 7");
    world.submit_many(1);
    world.poll();
    assert_eq!(shapes(&world.take_sent()), [(13, 4, 1)]);
    world.submit_many(8);
    world.poll();
    assert_eq!(shapes(&world.sent), [(17, 8, 1)], "a full one goes at once");
}

#[test]
fn bundles_of_a_hurried_client_do_not_stay_small() {
    let mut world = World::open(4, |options, _| options.bundle_max = 64);
    for _ in 0..64 {
        world.submit(b"add");
        world.poll();
    }
    assert!(world.sent.len() > 8, "they start small");
    for slot in 12..44 {
        let oldest = world.sent.remove(0).1;
        for operation in 0..oldest.len() {
            world.answer(R0, &oldest, operation, slot, result(b""));
            world.answer(R1, &oldest, operation, slot, result(b""));
        }
        // Whoever keeps 64 calls under way makes one for each that is answered.
        world.submit_many(oldest.len());
        world.poll();
    }
    let last: Vec<_> = world.sent.iter().map(|(_, request)| request.len()).collect();
    assert!(!last.is_empty() && last.iter().all(|operations| *operations >= 22), "{last:?} of 64");
}

#[test]
fn a_bundle_is_no_larger_than_a_batch_may_be() {
    let mut world = World::open(4, |_, parameters| {
        parameters.operation_bytes_max = 1000;
        parameters.batch_bytes_max = 1000 + 1024;
    });
    world.submit(&[1; 1000]);
    world.submit(&[2; 500]);
    world.submit(&[3; 500]);
    world.submit(&[4; 1000]);
    world.poll();
    assert_eq!(shapes(&world.sent), [(1, 2, 1), (3, 2, 1)]);
    let refused = world.client.submit(Bytes::from(vec![0; 1001]));
    assert_eq!(refused, Err(SubmitError::TooLarge { bytes: 1001, most: 1000 }));
}

#[test]
fn the_window_bounds_what_is_unanswered_and_an_answer_at_its_foot_makes_room() {
    let mut world = World::open(4, |options, parameters| {
        parameters.client_window = 8;
        options.bundle_max = 8;
    });
    world.submit_many(8);
    assert_eq!(world.client.submit(Bytes::new()), Err(SubmitError::WindowFull(8)));
    world.poll();
    let request = world.take_sent().remove(0).1;
    for replica in [R0, R1] {
        world.answer(replica, &request, 3, 12, result(b""));
    }
    assert_eq!(
        world.client.submit(Bytes::new()),
        Err(SubmitError::WindowFull(8)),
        "number 1 is still unanswered"
    );
    for replica in [R0, R1] {
        world.answer(replica, &request, 0, 12, result(b""));
    }
    assert_eq!(world.client.submit(Bytes::new()), Ok(CallId(9)));
    assert_eq!(world.client.submit(Bytes::new()), Err(SubmitError::WindowFull(8)));
}

#[test]
fn the_acknowledgement_rises_over_answered_numbers_only() {
    let mut world = World::open(4, |options, _| options.bundle_max = 1);
    world.submit_many(3);
    world.poll();
    let requests = world.take_sent();
    let answer = |world: &mut World, index: usize| {
        for replica in [R0, R1] {
            world.answer(replica, &requests[index].1, 0, 12, result(b""));
        }
    };
    answer(&mut world, 1);
    assert_eq!(world.done.len(), 1, "answers need not come in order");
    assert_eq!(world.one(b"add").1.ack(), Number(1));
    answer(&mut world, 0);
    assert_eq!(world.one(b"add").1.ack(), Number(3));
    answer(&mut world, 2);
    assert_eq!(world.one(b"add").1.ack(), Number(4));
}

#[test]
fn a_cancelled_call_is_not_reported_but_its_number_is_driven_to_its_end() {
    let mut world = World::open(4, |_, _| {});
    let (call, request) = world.one(b"add");
    let waiting = world.submit(b"never sent yet");
    world.client.cancel(call);
    world.client.cancel(waiting);
    world.client.cancel(CallId(12_345));
    world.wait();
    assert!(world.take_sent().iter().any(|(_, sent)| sent == &request));
    for replica in [R0, R1] {
        world.answer(replica, &request, 0, 12, result(b""));
    }
    assert!(world.done.is_empty());
    assert_eq!(world.one(b"add").1.ack(), Number(2));
}

#[test]
fn a_retry_is_the_same_bytes_to_everyone_ever_more_rarely() {
    let mut world = World::open(4, |_, _| {});
    let (_, request) = world.one(b"add");
    let mut waits = Vec::new();
    for _ in 0..8 {
        let before = world.now;
        world.wait();
        waits.push(world.now.since(before));
        assert_eq!(world.take_sent(), [(To::Everyone, request.clone())]);
    }
    let nominal = [300_000, 600_000, 1_200_000, 2_400_000, 4_800_000, 5_000_000, 5_000_000, 5_000_000];
    for (wait, nominal) in waits.iter().zip(nominal) {
        assert!((nominal - nominal / 4..=nominal + nominal / 4).contains(wait), "{wait} for {nominal}");
    }
    assert_eq!(world.client.counters().retries, 8);
}

#[test]
fn the_first_retry_follows_the_timeout_of_the_cluster_unless_it_is_chosen() {
    let first_wait = |timeout_us: u64, chosen_us: u64| {
        let mut world = World::open(4, |options, parameters| {
            options.retry_timeout_us = chosen_us;
            parameters.timeout_us = timeout_us;
        });
        world.one(b"add");
        let before = world.now;
        world.wait();
        world.now.since(before)
    };
    for (timeout_us, chosen_us, nominal) in [
        (4_000_000, 0, 2_400_000),
        (500_000, 0, 300_000),
        (60_000_000, 0, 5_000_000),
        (4_000_000, 70_000, 70_000),
    ] {
        let wait = first_wait(timeout_us, chosen_us);
        assert!((nominal - nominal / 4..=nominal + nominal / 4).contains(&wait), "{wait} for {nominal}");
    }
}

/// How long a call waits until it is sent again.
fn until_sent_again(world: &mut World) -> u64 {
    world.one(b"add");
    let before = world.now;
    while world.sent.is_empty() {
        world.wait();
    }
    world.now.since(before)
}

/// Makes 30 calls, one after the other, each of which is answered after so long; says how many of the last ten were sent
/// again.
fn call_and_wait(world: &mut World, took_us: u64) -> u64 {
    let mut retries = 0;
    for slot in 12..42 {
        if slot == 32 {
            retries = world.client.counters().retries;
        }
        let (_, request) = world.one(b"add");
        let answered = world.now.plus(took_us);
        while world.client.deadline().is_some_and(|at| at < answered) {
            world.wait();
        }
        world.now = answered;
        world.take_sent();
        for replica in [R0, R1] {
            world.answer(replica, &request, 0, slot, result(b""));
        }
    }
    assert_eq!(world.client.counters().accepted, 30);
    world.client.counters().retries - retries
}

fn is_about(wait: u64, nominal: u64) -> bool {
    (nominal * 73 / 100..=nominal * 5 / 4).contains(&wait)
}

#[test]
fn the_first_retry_waits_twice_what_answers_take_and_never_longer_than_two_t0() {
    // What answers take; the chosen wait, if any; whether there is a watchdog; what the next request waits, about.
    for (took_us, chosen_us, watchdog, nominal) in [
        (1_000, 0, false, 300_000),
        (200_000, 0, false, 400_000),
        (280_000, 0, false, 560_000),
        (390_000, 0, false, 780_000),
        (950_000, 0, false, 600_000),
        (220_000, 0, true, 300_000),
        (220_000, 310_000, false, 310_000),
    ] {
        let mut world = World::open(4, |options, parameters| {
            options.retry_timeout_us = chosen_us;
            parameters.timeout_us = 500_000;
            parameters.watchdog = watchdog;
        });
        call_and_wait(&mut world, took_us);
        let wait = until_sent_again(&mut world);
        assert!(is_about(wait, nominal) && wait <= 1_000_000, "{wait} for {nominal}");
    }
}

#[test]
fn who_joins_a_queue_learns_how_long_it_is_although_its_first_calls_are_sent_twice() {
    let mut world = World::open(4, |_, parameters| parameters.timeout_us = 500_000);
    let retries = call_and_wait(&mut world, 390_000);
    assert!(world.client.counters().retries > 0);
    assert_eq!(retries, 0, "the last ten are sent once");
}

#[test]
fn a_primary_that_serves_only_what_was_sent_twice_does_not_make_clients_wait_longer_and_longer() {
    let mut world = World::open(4, |_, parameters| parameters.timeout_us = 500_000);
    for slot in 12..42 {
        let (_, request) = world.one(b"add");
        let retries = world.client.counters().retries;
        while world.client.counters().retries == retries {
            world.wait();
        }
        world.now = world.now.plus(10_000);
        world.take_sent();
        for replica in [R0, R1] {
            world.answer(replica, &request, 0, slot, result(b""));
        }
    }
    let wait = until_sent_again(&mut world);
    assert!(wait <= 750_000, "{wait}: six fifths of T0, and a quarter");
}

#[test]
fn refusals_neither_wait_for_what_answers_take_nor_tell_anything_of_it() {
    let mut world = World::open(4, |_, parameters| parameters.timeout_us = 500_000);
    let (_, request) = world.one(b"add");
    world.busy(R0, &request);
    world.now = world.now.plus(250_000);
    for replica in [R0, R1] {
        world.answer(replica, &request, 0, 12, result(b""));
    }
    let wait = until_sent_again(&mut world);
    assert!(is_about(wait, 300_000), "{wait}");
    let mut world = World::open(4, |_, parameters| parameters.timeout_us = 500_000);
    call_and_wait(&mut world, 280_000);
    let (_, request) = world.one(b"add");
    world.busy(R0, &request);
    let before = world.now;
    while world.sent.is_empty() {
        world.wait();
    }
    let wait = world.now.since(before);
    assert!(wait <= 750_000, "{wait}: twice three fifths of T0, and a quarter");
}

#[test]
fn a_liar_that_refuses_what_was_sent_again_keeps_nobody_from_learning_how_long_a_queue_is() {
    let mut world = World::open(4, |_, parameters| parameters.timeout_us = 500_000);
    for slot in 12..42 {
        let (_, request) = world.one(b"add");
        let answered = world.now.plus(390_000);
        while world.client.deadline().is_some_and(|at| at < answered) {
            world.wait();
            world.busy(R2, &request);
        }
        world.now = answered;
        world.take_sent();
        for replica in [R0, R1] {
            world.answer(replica, &request, 0, slot, result(b""));
        }
    }
    let wait = until_sent_again(&mut world);
    assert!(wait > 500_000, "{wait}");
}

#[test]
fn what_the_registration_took_is_what_the_first_call_expects() {
    let mut world = World::new(4, |_, parameters| parameters.timeout_us = 500_000);
    world.link_all(Seq(10), View(0));
    world.poll();
    let request = world.take_sent().remove(0).1;
    world.now = world.now.plus(290_000);
    for replica in world.weak() {
        world.answer(replica, &request, 0, 11, Outcome::Registered);
    }
    let wait = until_sent_again(&mut world);
    assert!(is_about(wait, 580_000), "{wait}");
}

#[test]
fn a_lost_link_to_the_primary_sends_to_everyone_at_once() {
    let mut world = World::open(4, |_, _| {});
    let (_, request) = world.one(b"add");
    world.client.on_link(world.now, R2, None);
    world.poll();
    assert!(world.take_sent().is_empty(), "a backup's link does not matter");
    world.client.on_link(world.now, R0, None);
    assert_eq!(world.client.deadline(), Some(world.now));
    world.poll();
    assert_eq!(world.take_sent(), [(To::Everyone, request)]);
    world.submit(b"add");
    world.poll();
    assert_eq!(world.take_sent()[0].0, To::Everyone);
}

#[test]
fn what_nobody_has_but_a_replica_that_says_goodbye_is_sent_elsewhere_at_once_whoever_leads_by_now() {
    let mut world = World::open(4, |_, _| {});
    let (_, request) = world.one(b"add");
    // Answers to somebody else's calls say that another one leads.
    for replica in [R1, R2] {
        world.replies(replica, Epoch(0), View(1), Vec::new());
    }
    assert_eq!(world.client.view(), View(1));
    let (_, later) = world.one(b"add");
    world.client.on_link(world.now, R0, None);
    world.poll();
    assert_eq!(world.take_sent(), [(To::Everyone, request)], "the other one is with the new primary");
    world.client.on_link(world.now, R1, None);
    world.poll();
    assert_eq!(world.take_sent(), [(To::Everyone, later)]);
}

#[test]
fn nothing_is_sent_into_the_void_and_everything_when_links_are_back() {
    let mut world = World::open(4, |_, _| {});
    let (_, request) = world.one(b"add");
    for replica in [R0, R1, R2, R3] {
        world.client.on_link(world.now, replica, None);
    }
    world.now = world.now.plus(3_600_000_000);
    world.submit(b"later");
    world.poll();
    assert!(world.sent.is_empty());
    assert_eq!(world.client.deadline(), None);
    world.client.on_link(world.now, R1, Some((Seq(20), View(0))));
    world.client.on_link(world.now, R2, Some((Seq(20), View(0))));
    world.poll();
    let sent = world.take_sent();
    assert_eq!(sent[0], (To::Everyone, request));
    assert_eq!(shapes(&sent)[1], (2, 1, 1));
}

#[test]
fn a_busy_replica_delays_a_retry_but_cannot_prevent_it() {
    let mut world = World::open(4, |_, _| {});
    let (_, request) = world.one(b"add");
    let sent = world.now;
    (0..100).for_each(|_| world.busy(R0, &request));
    world.now = sent.plus(375_000);
    world.poll();
    assert!(world.sent.is_empty());
    world.now = sent.plus(750_000);
    world.poll();
    assert_eq!(world.take_sent(), [(To::Everyone, request.clone())]);
    assert_eq!(world.client.counters().busy, 100);
    let sent = world.now;
    [R0, R1, R2, R3].iter().for_each(|replica| world.busy(*replica, &request));
    world.now = sent.plus(1_700_000);
    world.poll();
    assert!(world.sent.is_empty(), "so many cannot lie: the cluster is busy");
    world.now = sent.plus(3_000_000);
    world.poll();
    assert_eq!(world.take_sent(), [(To::Everyone, request)]);
}

#[test]
fn an_operation_ordered_too_early_travels_again_with_a_fresh_acknowledgement() {
    let mut world = World::open(4, |options, _| options.bundle_max = 3);
    world.submit_many(3);
    world.poll();
    let request = world.take_sent().remove(0).1;
    for replica in [R0, R1] {
        world.answer(replica, &request, 0, 12, result(b"5"));
        world.answer(replica, &request, 1, 12, Outcome::Window);
        world.answer(replica, &request, 2, 12, Outcome::Window);
    }
    assert_eq!(world.done.len(), 1, "no room in the reply cache is no answer");
    world.wait();
    let sent = world.take_sent();
    assert_eq!(shapes(&sent), [(2, 2, 2)]);
    assert_eq!(sent[0].0, To::Replica(R0));
    for replica in [R2, R1] {
        world.answer(replica, &sent[0].1, 0, 13, result(b"6"));
        world.answer(replica, &sent[0].1, 1, 13, result(b"7"));
    }
    assert_eq!(world.done.len(), 3);
    assert_eq!((world.client.counters().dissents, world.client.deadline()), (0, None));
}

#[test]
fn one_replica_cannot_make_an_operation_travel_again() {
    let mut world = World::open(4, |_, _| {});
    let (_, request) = world.one(b"add");
    let deadline = world.client.deadline();
    for seq in 12..20 {
        world.answer(R3, &request, 0, seq, Outcome::Window);
    }
    assert_eq!(world.client.deadline(), deadline);
    assert_eq!(world.client.counters().postponed, 0);
}
