//! D13: clients that would like to see a correct primary unseated.

use quorate_protocol::request::{Draft, Kind, Operations, Request};
use quorate_protocol::types::{Number, ReplicaId};
use quorate_sim::world::World;

use super::lab::{Lab, T0, calm};

/// A request of this client's own session with numbers of its liking.
fn request(lab: &Lab, client: usize, first: u64, commands: &[String]) -> Request {
    let session = lab.world.clients()[client].machine().session().expect("it is registered");
    let operations = Operations::new(commands.iter().map(|command| command.as_bytes()));
    let (first, ack, kind) = (Number(first), Number(1), Kind::Operations);
    let draft = Draft { session, first, ack, kind, operations };
    Request::sign(&World::secret_of_client(client), lab.world.context().cluster, draft)
}

fn send(lab: &mut Lab, client: usize, to: &[u16], request: &Request) {
    to.iter().for_each(|id| lab.world.send_request(client, ReplicaId(*id), request));
}

fn commands(what: &str, count: u64) -> Vec<String> {
    (0..count).map(|at| format!("add {what} {at}")).collect()
}

/// Long enough for every timer that runs to fire; then nobody waits for anything and nobody changed views.
fn nobody_is_blamed(lab: &mut Lab, what: &str) {
    lab.run(30 * T0);
    assert_eq!(lab.view_changes(), 0, "{what}: views changed, to {:?}", lab.views());
    let pools: Vec<u64> = lab.alive().iter().map(|replica| replica.pooled()).collect();
    assert_eq!(pools, [0, 0, 0, 0], "{what}: somebody still waits");
    assert!(lab.is_at_rest(), "{what}");
}

// Would miss two clients that share a key, who are one client to everybody.
#[test]
fn d13_two_operations_under_one_number_leave_no_timer_running() {
    // The same numbers, or bundles that overlap in part; one for the primary and one for the backups, then crosswise.
    for (to_primary, to_backups) in [((1, 1), (1, 1)), ((1, 3), (2, 3)), ((2, 3), (1, 3)), ((1, 4), (2, 2))] {
        let mut lab = Lab::quiet(&calm(4, 1), 1);
        let one = request(&lab, 0, to_primary.0, &commands("one", to_primary.1));
        let other = request(&lab, 0, to_backups.0, &commands("other", to_backups.1));
        assert!(one.overlaps(&other));
        send(&mut lab, 0, &[1, 2, 3], &other);
        send(&mut lab, 0, &[0], &one);
        lab.run(T0);
        send(&mut lab, 0, &[0], &other);
        send(&mut lab, 0, &[1, 2, 3], &one);
        assert!(lab.executed() > 1, "they were ordered");
        nobody_is_blamed(&mut lab, &format!("{to_primary:?} and {to_backups:?}"));
    }
}

// Would miss retries that were bundled anew, whose numbers overlap what executed only in part.
#[test]
fn d13_a_request_that_comes_late_or_just_as_it_commits_starts_no_timer() {
    let mut pooled = 0;
    for offset in (0..8_000).step_by(250).chain([T0 / 2, 3 * T0]) {
        let mut lab = Lab::quiet(&calm(4, 1), 1);
        lab.ask(0, "add k 1");
        lab.run(offset);
        pooled += u64::from(lab.executed() < 2);
        lab.repeat(0, &[0, 1, 2, 3]);
        lab.run(offset);
        lab.repeat(0, &[3]);
        nobody_is_blamed(&mut lab, &format!("{offset} us later"));
        assert_eq!(lab.count(&["executes n2"]), 4);
    }
    assert!(pooled > 8, "only {pooled} of them came before the commit");
}

// Would miss a primary that drops what is passed on to it: that one deserves its view change.
#[test]
fn d13_a_request_that_only_backups_get_reaches_the_primary() {
    for to in [&[1][..], &[3], &[1, 2, 3]] {
        let mut lab = Lab::quiet(&calm(4, 1), 1);
        let before = lab.executed();
        let asked = request(&lab, 0, 1, &commands("k", 2));
        send(&mut lab, 0, to, &asked);
        lab.await_that("it executes", T0 / 2, |lab| lab.executed() > before);
        assert!(lab.count(&["FORWARD"]) > 0, "somebody passed it on");
        nobody_is_blamed(&mut lab, &format!("to {to:?}"));
    }
}

/// Client 0 keeps the primary's pool full for so long, or until every backup is rid of what it waits for. Says how many
/// requests it took.
fn flood_until_served(lab: &mut Lab, most: u64, before: impl Fn(&mut Lab)) -> u64 {
    let (mut next, end, mut asked) = (1, lab.world.now().plus(most), false);
    while lab.world.now() < end {
        while lab.replica(0).pooled() < ROOM {
            let flood = request(lab, 0, next, &commands("flood", 1));
            send(lab, 0, &[0], &flood);
            next += 1;
            lab.run(0);
        }
        if !asked && next > 2 * ROOM {
            before(lab);
            asked = true;
        }
        lab.run(500);
        if asked && (1..4).all(|id| lab.replica(id).pooled() == 0) && next > 3 * ROOM {
            break;
        }
    }
    next
}

/// Operations that a replica's pool has room for in the test of a full one.
const ROOM: u64 = 32;

// The primary's pool is kept full by one client, so that it has no room left for what backups pass on for another.
// Would miss many clients that fill it together; to the pool they are as one.
#[test]
fn d13_a_pool_that_one_client_keeps_full_costs_the_primary_no_seat_and_another_client_no_answer() {
    let mut setting = calm(4, 1);
    setting.parameters.pool_operations_max = ROOM;
    (setting.parameters.batch_requests_max, setting.parameters.pipeline_depth) = (1, 1);
    let mut lab = Lab::quiet(&setting, 2);
    let victim = request(&lab, 1, 1, &commands("victim", 1));
    let taken = flood_until_served(&mut lab, 8 * T0, |lab| {
        assert_eq!(lab.replica(0).pooled(), ROOM, "the pool is full");
        send(lab, 1, &[1, 2, 3], &victim);
        lab.run(4_000);
        assert!(
            (1..4).all(|id| lab.replica(id).pooled() == 1),
            "every backup waits for the other client's request"
        );
    });
    println!("{taken} requests of the client that floods");
    assert!((1..4).all(|id| lab.replica(id).pooled() == 0), "the other client is not served");
    nobody_is_blamed(&mut lab, "a full pool");
}
