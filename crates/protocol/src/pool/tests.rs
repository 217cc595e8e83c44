//! Claims about the pool: who has room in it, whose turn it is, what leaves it, and what that costs.

use super::*;
use crate::codec::List;
use crate::crypto::SecretKey;
use crate::request::{Body, Draft, Kind, Nondet, Operations};
use crate::types::{ClusterId, Digest, Time};

const CLUSTER: ClusterId = ClusterId(Digest([9; 32]));
const ALL: Limits = Limits { requests: 100, bytes: 1 << 20 };
const PATIENCE: Patience = Patience { least_us: 1000, each_ns: 0, repeat_us: 100, overtaken_max: 1_000_000 };

fn acknowledging(client: u8, (first, count): (u64, u64), ack: u64) -> Arc<Request> {
    let operations = Operations::new((0..count).map(|_| &b"x"[..]));
    let (first, ack, kind) = (Number(first), Number(ack), Kind::Operations);
    let draft = Draft { session: Session(1), first, ack, kind, operations };
    Arc::new(Request::sign(&SecretKey::from_seed(&[client; 32]), CLUSTER, draft))
}

fn request(client: u8, first: u64, count: u64) -> Arc<Request> {
    acknowledging(client, (first, count), 1)
}

fn batch(requests: &[&Arc<Request>]) -> Batch {
    let requests = List(requests.iter().map(|request| Arc::clone(request)).collect());
    Batch { nondet: Nondet::default(), requests }
}

/// Room for 64 operations of clients, 16 of each other replica, of which 8 are timed.
fn empty() -> Pool {
    let bytes = 1 << 20;
    let room = |operations| Quota { operations, bytes };
    Pool::new(Rooms { client_operations: 32, own: room(64), peer: room(16), timed: room(8) })
}

fn pool(requests: &[&Arc<Request>]) -> Pool {
    let mut pool = empty();
    for request in requests {
        assert_eq!(pool.add(request, None), Ok(()));
    }
    pool
}

/// Whether nothing at all is left, in any index.
fn is_bare(pool: &Pool) -> bool {
    pool.is_empty()
        && pool.clients.is_empty()
        && pool.peers.is_empty()
        && pool.turn.is_empty()
        && pool.own == Quota::default()
        && (pool.operations, pool.waiting_operations) == (0, 0)
        && !pool.owes()
}

#[test]
fn numbers_leave_every_request_that_has_them() {
    let (part, whole, rest) = (request(1, 1, 4), request(1, 1, 8), request(1, 5, 4));
    let mut pool = pool(&[&part, &whole]);
    pool.ordered(&batch(&[&part]));
    assert!(!pool.is_empty());
    assert!(pool.ordered(&batch(&[&rest])));
    assert!(is_bare(&pool), "all numbers were ordered, so nothing is owed to anybody");
}

#[test]
fn numbers_that_a_later_request_acknowledges_leave_although_nobody_orders_them() {
    // Its client sent 1 to 4 to this replica only, late, and went on with the primary.
    let (late, overlap) = (request(1, 1, 4), request(1, 3, 3));
    let mut pool = pool(&[&late, &overlap]);
    assert_eq!(pool.operations(), 7);
    pool.ordered(&batch(&[&acknowledging(1, (6, 1), 5)]));
    assert_eq!(pool.operations(), 3, "number 5 is owed still");
    pool.ordered(&batch(&[&acknowledging(1, (7, 1), 6)]));
    assert!(is_bare(&pool));
}

#[test]
fn clients_take_turns_and_who_was_ordered_elsewhere_loses_its_turn() {
    let requests: Vec<_> = [(1, 1), (1, 2), (2, 1), (3, 1)]
        .into_iter()
        .map(|(client, first)| request(client, first, 1))
        .collect();
    let mut pool = pool(&requests.iter().collect::<Vec<_>>());
    pool.ordered(&batch(&[&requests[2]]));
    let taken = pool.take(ALL);
    assert_eq!(taken, [&requests[0], &requests[3], &requests[1]].map(Arc::clone));
    assert!(pool.take(ALL).is_empty());
    pool.ordered(&batch(&[&requests[0], &requests[1], &requests[3]]));
    assert!(is_bare(&pool));
}

#[test]
fn replicas_take_turns_with_this_ones_clients_and_each_is_served_in_its_order() {
    let own: Vec<_> = (1..=6).map(|client| request(client, 1, 1)).collect();
    let mut pool = pool(&own.iter().collect::<Vec<_>>());
    let passed: Vec<_> = (11..=14).map(|client| request(client, 1, 1)).collect();
    for (request, from) in passed.iter().zip([1, 1, 2, 1]) {
        assert_eq!(pool.add(request, Some(ReplicaId(from))), Ok(()));
    }
    let expected = [&passed[0], &passed[2], &own[0], &passed[1], &own[1], &passed[3], &own[2]];
    assert_eq!(pool.take(Limits { requests: 7, ..ALL }), expected.map(Arc::clone));
}

#[test]
fn clients_that_fill_a_pool_leave_what_replicas_pass_on_its_room_and_no_replica_takes_more() {
    let mut pool = empty();
    for client in 1..=64 {
        assert_eq!(pool.add(&request(client, 1, 1), None), Ok(()));
    }
    assert_eq!(pool.add(&request(65, 1, 1), None), Err(BusyReason::PoolFull));
    for peer in [1, 2] {
        for number in 1..=4 {
            assert_eq!(pool.add(&request(100 + peer, 4 * number, 4), Some(ReplicaId(peer.into()))), Ok(()));
        }
        let more = pool.add(&request(150, 1, 1), Some(ReplicaId(peer.into())));
        assert_eq!(more, Err(BusyReason::PoolFull));
    }
    assert_eq!(pool.operations(), 64 + 2 * 16);
    // What is ordered gives its room back.
    pool.ordered(&batch(&[&request(101, 4, 4)]));
    assert_eq!(pool.add(&request(150, 1, 4), Some(ReplicaId(1))), Ok(()));
    assert_eq!(pool.add(&request(151, 1, 1), Some(ReplicaId(2))), Err(BusyReason::PoolFull));
}

#[test]
fn a_request_that_a_replica_passed_on_first_is_its_clients_own_once_that_brings_it() {
    let request = request(1, 1, 1);
    let mut pool = empty();
    assert_eq!(pool.add(&request, Some(ReplicaId(3))), Ok(()));
    assert!(!pool.owes(), "a liar that passes on to backups starts no timer of theirs");
    assert_eq!(pool.add(&request, None), Ok(()));
    assert_eq!(pool.add(&request, None), Ok(()));
    assert!(pool.owes(), "and keeps nobody from starting his own");
    assert_eq!((pool.operations(), pool.own.operations), (1, 1));
    pool.ordered(&batch(&[&request]));
    assert!(is_bare(&pool));
}

#[test]
fn no_more_is_timed_than_the_primary_has_room_for_and_the_rest_follows_in_order() {
    let requests: Vec<_> = (1..=4).map(|client| request(client, 1, 4)).collect();
    let mut pool = pool(&requests.iter().collect::<Vec<_>>());
    assert_eq!(pool.pass_on(Time(0), PATIENCE), requests[..2]);
    assert!(pool.pass_on(Time(1), PATIENCE).is_empty());
    pool.ordered(&batch(&[&requests[1]]));
    assert_eq!(pool.pass_on(Time(2), PATIENCE), requests[2..3]);
    assert_eq!(pool.longest().unwrap().request, requests[0]);
    pool.ordered(&batch(&[&requests[0], &requests[2], &requests[3]]));
    assert!(is_bare(&pool));
    assert_eq!(pool.owed.used, Quota::default());
}

#[test]
fn what_may_be_lost_is_passed_on_again_less_and_less_often_and_in_turn() {
    let requests: Vec<_> = (1..=3).map(|client| request(client, 1, 1)).collect();
    let mut pool = pool(&requests.iter().collect::<Vec<_>>());
    assert_eq!(pool.pass_on(Time(0), PATIENCE).len(), 3);
    let two = Quota { operations: 2, bytes: 1 << 20 };
    let mut again = |now| pool.pass_on_again(Time(now), Time(now), two);
    assert!(again(49).is_empty());
    assert_eq!(again(50), requests[..2]);
    assert_eq!(again(50), requests[2..]);
    assert!(again(74).is_empty());
    assert_eq!((again(75).len(), again(75).len(), again(124).len()), (2, 1, 0));
    assert_eq!(again(125), requests[..2]);
    // One that is larger than the limit goes alone.
    let small = Quota { operations: 2, bytes: 1 };
    assert_eq!(pool.pass_on_again(Time(125), Time(u64::MAX), small).len(), 1);
}

#[test]
fn patience_stands_still_while_nobody_can_be_blamed() {
    let request = request(1, 1, 1);
    let mut pool = pool(&[&request]);
    pool.pass_on(Time(100), PATIENCE);
    let ends = |pool: &Pool| pool.starves_at(Time(0), PATIENCE).unwrap();
    assert_eq!(ends(&pool), Time(1100));
    pool.suspend(true, Time(200));
    pool.suspend(true, Time(300));
    pool.suspend(false, Time(700));
    assert_eq!(ends(&pool), Time(1600));
    pool.excuse(u64::MAX);
    assert_eq!(ends(&pool), Time(u64::MAX), "no number overflows");
}

#[test]
fn patience_grows_with_what_was_passed_on_before_and_with_nothing_else_that_waits() {
    let patience = Patience { least_us: 0, each_ns: 1_000_000, ..PATIENCE };
    let mut pool = empty();
    for number in 1..=16 {
        assert_eq!(pool.add(&request(100, number, 1), Some(ReplicaId(1))), Ok(()));
    }
    // Eight are passed on, and two have to wait for room.
    let own: Vec<_> = (1..=10).map(|client| request(client, 1, 1)).collect();
    own.iter().for_each(|request| assert_eq!(pool.add(request, None), Ok(())));
    assert_eq!(pool.pass_on(Time(0), patience), own[..8]);
    let ends = |pool: &Pool| pool.starves_at(Time(0), patience).unwrap();
    for (done, request) in (1..).zip(&own[..4]) {
        assert_eq!(ends(&pool), Time(1000 * done));
        pool.ordered(&batch(&[request]));
    }
    // Four of them wait when the others have their turn.
    assert_eq!(pool.pass_on(Time(100), patience), own[8..]);
    pool.ordered(&batch(&own[4..8].iter().collect::<Vec<_>>()));
    assert_eq!(ends(&pool), Time(5100));
}

#[test]
fn what_came_later_and_is_ordered_first_is_counted_and_what_came_earlier_is_not() {
    let patience = Patience { overtaken_max: 10, ..PATIENCE };
    let earlier: Vec<_> = (1..=20).map(|client| request(client, 1, 1)).collect();
    let mut pool = empty();
    for request in &earlier {
        assert_eq!(pool.add(request, Some(ReplicaId(1 + u16::from(request.client().0.0[0] & 1)))), Ok(()));
    }
    let victim = request(77, 1, 1);
    assert_eq!(pool.add(&victim, None), Ok(()));
    pool.pass_on(Time(0), patience);
    assert!(
        !pool.ordered(&batch(&earlier.iter().collect::<Vec<_>>())),
        "nobody asked this replica for these"
    );
    assert_eq!(pool.starves_at(Time(5), patience), Some(Time(1000)));
    for number in 1..=10 {
        assert_eq!(pool.starves_at(Time(5), patience), Some(Time(1000)), "after {number}");
        let later = request(78, number, 1);
        assert_eq!(pool.add(&later, None), Ok(()));
        pool.ordered(&batch(&[&later]));
    }
    assert_eq!(pool.starves_at(Time(5), patience), Some(Time(5)));
    // A new primary is asked anew.
    pool.reset(&[]);
    assert_eq!(pool.starves_at(Time(5), patience), None);
    assert_eq!(pool.pass_on(Time(6), patience), [victim]);
    assert_eq!(pool.starves_at(Time(6), patience), Some(Time(1006)));
}

#[test]
fn a_new_view_proposes_again_what_it_does_not_repropose() {
    let (one, two) = (request(1, 1, 1), request(2, 1, 1));
    let mut pool = pool(&[&one, &two]);
    assert_eq!(pool.take(ALL).len(), 2);
    pool.reset(&[Body::new(batch(&[&two]), CLUSTER)]);
    assert_eq!(pool.waiting_operations(), 1);
    assert_eq!(pool.take(ALL), [one]);
}

#[test]
fn a_new_view_looks_at_each_request_once_and_a_batch_at_none_that_it_does_not_order() {
    let bytes = 1 << 24;
    let room = Quota { operations: 10_000, bytes };
    let mut pool = Pool::new(Rooms { client_operations: 10_000, own: room, peer: room, timed: room });
    let requests: Vec<_> =
        (1..=400).map(|number| request(1 + u8::try_from(number % 4).unwrap(), number, 1)).collect();
    requests.iter().for_each(|request| assert_eq!(pool.add(request, None), Ok(())));
    let some = |some: &[Arc<Request>]| Body::new(batch(&some.iter().collect::<Vec<_>>()), CLUSTER);
    let bodies: Vec<_> = requests.chunks(40).map(some).collect();
    pool.visited = 0;
    pool.reset(&bodies[..5]);
    assert_eq!((pool.visited, pool.waiting_operations()), (400, 200));
    pool.visited = 0;
    for body in bodies.iter().rev() {
        pool.ordered(&body.batch);
    }
    assert_eq!(pool.visited, 400, "one entry for each request that was ordered, in any order");
    assert!(is_bare(&pool));
}
