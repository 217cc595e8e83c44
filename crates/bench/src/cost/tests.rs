//! Claims about what a call costs.

use super::*;
use crate::limits::{Signatures, Spread, ceiling_per_second};
use crate::record::{Cell, LinkCost};
use crate::worker::ProcessTime;
use quorate_node::status::{Heard, Taken};

fn status(replica: u16, counters: &[(&str, u64)]) -> Status {
    let named = counters.iter().map(|(name, value)| (format!("quorate_{name}_total"), *value));
    Status { replica, started: 1, counters: named.collect(), ..Status::default() }
}

/// Every counter that is read, as it is after so much of everything.
fn after(replica: u16, much: u64) -> Status {
    let counters = [
        ("signatures_verified", 30),
        ("statements_signed", 20),
        ("peer_sent_frames", 60),
        ("peer_sent_bytes", 6_000),
        ("client_received_frames", 10),
        ("client_received_bytes", 1_000),
        ("client_sent_frames", 10),
        ("client_sent_bytes", 500),
        ("journal_syncs", 20),
        ("batches_committed", 10),
        ("requests_committed", 50),
        ("operations_committed", 100),
        ("view_changes", 1),
        ("frames_dropped", 2),
        ("packets_lost", 3),
    ];
    let spent = quorate_host::spent::Spent { sum_us: 40_000 * much, count: 100 * much, ..Default::default() };
    let taken = vec![Taken { series: series_of("prepare"), spent }];
    Status { taken, ..status(replica, &counters.map(|(name, value)| (name, value * much))) }
}

fn costs(before: &[Status], after: &[Status]) -> Costs {
    Costs::between(before, after, Used::default(), Served { calls: 100, latency_us: 200_000 })
}

fn point(costs: &Costs) -> Point {
    let mut point = Point::default();
    costs.write_to(&mut point);
    point
}

#[test]
fn a_call_costs_what_all_correct_replicas_did_for_it() {
    let before: Vec<_> = (0..4).map(|id| after(id, 1)).collect();
    let later: Vec<_> = (0..4).map(|id| after(id, 2)).collect();
    let found = point(&costs(&before, &later));
    let per_call = [
        (found.signatures_verified_per_request, 1.2),
        (found.signatures_made_per_request, 0.8),
        (found.messages_per_request, 3.2),
        (found.bytes_per_request, 300.0),
        (found.syncs_per_request, 0.2),
        (found.syncs_per_batch, 2.0),
        (found.batch_mean, 10.0),
        (found.bundle_mean, 2.0),
    ];
    for (place, (found, expected)) in per_call.into_iter().enumerate() {
        assert!((found - expected).abs() < 1e-9, "{place}: {found} and not {expected}");
    }
    assert_eq!((found.view_changes, found.drops), (1, 8), "views of one replica, drops of all");
}

#[test]
fn liars_do_not_count_and_neither_does_what_a_process_did_before_it_began() {
    let before: Vec<_> = (0..4).map(|id| after(id, 5)).collect();
    let mut later: Vec<_> = (0..4).map(|id| after(id, 6)).collect();
    // Asked to lie, and has not yet.
    later[1].lies.insert("silent".to_owned(), 0);
    // Was started again, and its counters with it.
    later[2] = Status { started: 2, ..after(2, 3) };
    // Is gone.
    later.pop();
    let found = costs(&before, &later);
    assert_eq!((found.replicas, found.signatures_verified), (2, 30 + 90));
    assert_eq!(found.view_changes, 3);
    // One that nobody asked before, and one that was asked twice: no counter goes backwards.
    let odd = costs(&[after(0, 9)], &[after(0, 6), after(7, 1)]);
    assert_eq!((odd.replicas, odd.signatures_verified), (2, 30));
}

#[test]
fn what_went_over_each_link_is_counted_for_each_call_and_from_anew_where_it_came_up_again() {
    let status = |started: u64, heard: &[(u16, u64, u64)]| {
        let heard = heard.iter().map(|(replica, messages, rtt_us)| Heard {
            replica: *replica,
            rtt_us: *rtt_us,
            messages: *messages,
            bytes: messages * 10,
            ..Heard::default()
        });
        Status { replica: 3, started, heard: heard.collect(), ..Status::default() }
    };
    let before = [status(1, &[(0, 100, 80), (1, 100, 0)])];
    let mut found = costs(&before, &[status(1, &[(0, 150, 900), (1, 30, 900), (2, 20, 900)])]);
    found.add(&costs(&before, &[status(1, &[(0, 250, 900)])]));
    // A process that was started again knows nothing of the links that it had.
    found.add(&costs(&before, &[status(2, &[(0, 40, 900)])]));
    let links = point(&found).links;
    let told = |link: &LinkCost| (link.from, link.to, link.messages_per_request * 300.0, link.round_trip_us);
    assert_eq!(
        links.iter().map(told).collect::<Vec<_>>(),
        [(3, 0, 240.0, 80.0), (3, 1, 30.0, 0.0), (3, 2, 20.0, 0.0)]
    );
    assert!(
        links.iter().all(|link| (link.bytes_per_request - 10.0 * link.messages_per_request).abs() < 1e-9)
    );
    let liar = Status { lies: [("silent".to_owned(), 1)].into(), ..status(1, &[(0, 9, 9)]) };
    assert!(
        point(&costs(&before, &[liar])).links.is_empty(),
        "what a liar says of its links is not believed"
    );
}

#[test]
fn without_a_call_or_a_replica_everything_is_zero_and_a_number() {
    let nothing = Costs::between(&[], &[], Used::default(), Served::default());
    assert_eq!(point(&nothing), point(&Costs::default()));
    let idle = [after(0, 1)];
    let mut found = point(&Costs::between(&idle, &idle, Used::default(), Served::default()));
    assert_eq!(found.cpu_us_per_request_by_role.remove("clients"), Some(0.0));
    assert_eq!(found, Point::default());
    assert_eq!(Shape::of(&Cell::default(), &nothing).primary_bytes(), 0.0);
}

#[test]
fn runs_are_added_before_anything_is_divided() {
    let one = costs(&[after(0, 1)], &[after(0, 2)]);
    let mut three = one.clone();
    three.add(&one);
    three.add(&costs(&[], &[after(0, 1)]));
    assert_eq!((three.served.calls, three.peer_frames, three.replicas), (300, 180, 3));
    assert_eq!(point(&three).messages_per_request, point(&one).messages_per_request);
    assert_eq!(three.view_changes, 3, "each run left a view of its own");
    assert_eq!(three.phases[2], Spent { sum_us: 120_000, count: 300 });
}

#[test]
fn phases_and_what_is_left_of_a_call_make_up_its_latency() {
    let found = point(&costs(&[], &[after(0, 1)])).phases;
    let names: Vec<_> = found.iter().map(|time| time.phase.as_str()).collect();
    assert_eq!(names, ["request", "pre-prepare", "prepare", "commit", "execute", "reply", "client"]);
    let sum: f64 = found.iter().map(|time| time.mean_us).sum();
    assert!((sum - 2_000.0).abs() < 1e-9, "{found:?}");
    assert!((found[2].mean_us - 400.0).abs() < 1e-9, "{found:?}");
    let short = Served { calls: 100, latency_us: 100 };
    let left = point(&Costs::between(&[], &[after(0, 1)], Used::default(), short)).phases;
    assert_eq!(left.last().map(|time| time.mean_us), Some(0.0), "no time is less than none");
}

#[test]
fn processor_time_is_told_by_role_and_none_of_it_is_lost() {
    let threads = |named: &[(&str, u64)]| named.iter().map(|(name, us)| ((*name).to_owned(), *us)).collect();
    let replica = |total_us: u64, named: &[(&str, u64)]| ProcessTime { total_us, threads_us: threads(named) };
    let mut usage = Usage { load: replica(500, &[("load-0", 500)]), ..Usage::default() };
    usage.replicas.insert(0, replica(1_000, &[("quorate", 600), ("verifier", 300), ("journal", 40)]));
    usage.replicas.insert(1, replica(800, &[("quorate", 500), ("execution", 200), ("tokio-rt-worker", 100)]));
    let served = Served { calls: 100, latency_us: 0 };
    let found = point(&Costs::between(&[], &[], Used::of(&usage, &[0, 1], 4096), served));
    let by_role: Vec<_> = found.cpu_us_per_request_by_role.into_iter().collect();
    let expected = [
        ("blocking", 1.0),
        ("clients", 5.0),
        ("execute", 2.0),
        ("journal", 0.4),
        ("other", 0.6),
        ("protocol", 11.0),
        ("verify", 3.0),
    ];
    assert_eq!(by_role, expected.map(|(role, us)| (role.to_owned(), us)));
    assert!((found.cpu_us_per_request - 23.0).abs() < 1e-9);
    assert_eq!(found.peak_memory_bytes, 4096);
}

#[test]
fn a_correct_replicas_processor_time_has_nothing_of_a_liars_in_it() {
    let of = |total_us| ProcessTime { total_us, ..ProcessTime::default() };
    let usage = Usage { replicas: [(0, of(300)), (1, of(500)), (2, of(9_000))].into(), load: of(70) };
    let used = Used::of(&usage, &[0, 1], 0);
    assert_eq!((used.correct_us, used.clients_us), (800, 70));
    // Both committed the same hundred operations.
    let mut costs = Costs { used, operations: 200, ..Costs::default() };
    costs.add(&costs.clone());
    assert!((point(&costs).cpu_us_per_request_per_replica - 4.0).abs() < 1e-9);
}

fn shape(n: usize, batch: f64, bundle: f64) -> Shape {
    Shape { n, checkpoint_interval: 128, payload: 128, reply: 8, clients: 4, batch, bundle }
}

#[test]
fn the_model_counts_the_classic_pattern() {
    let of = |n| {
        let shape = Shape { checkpoint_interval: 4, ..shape(n, 10.0, 1.0) };
        (shape.messages(), shape.verifications(), shape.signings())
    };
    // 3 PRE-PREPAREs, 9 PREPAREs, 12 COMMITs, and 12 CHECKPOINTs every 4 slots; of each kind 2 are checked by each.
    assert_eq!(of(4), (3.0 + 9.0 + 12.0 + 3.0, 8.0 + 8.0 + 2.0, 4.0 + 4.0 + 1.0));
    assert_eq!(of(1), (0.0, 0.0, 2.25));
    assert_eq!(of(0), (0.0, 0.0, 0.0));
}

#[test]
fn larger_batches_and_bundles_cost_a_call_less_and_more_replicas_more() {
    let bytes = |n, batch, bundle| shape(n, batch, bundle).primary_bytes();
    assert!(bytes(4, 1.0, 1.0) > bytes(4, 10.0, 1.0) && bytes(4, 10.0, 1.0) > bytes(4, 10.0, 10.0));
    assert!(bytes(7, 10.0, 10.0) > bytes(4, 10.0, 10.0));
    // Never less than the operation itself to every backup.
    assert!(bytes(4, 1e6, 1e3) > 3.0 * 128.0 && bytes(4, 1e6, 1e3) < 3.0 * 150.0 + 100.0);
    assert_eq!(shape(4, 0.0, 1.0).primary_bytes(), 0.0);
}

/// Dearer alone than together, and by many keys than by few.
fn signatures() -> Signatures {
    let us = |us: f64| Spread { median: us, min: us, max: us };
    Signatures {
        sign_us: us(10.0),
        verify_us: us(30.0),
        verify_batch_8_us: us(20.0),
        verify_batch_16_us: us(18.0),
        verify_batch_64_us: us(16.0),
        verify_batch_256_us: us(14.0),
        verify_batch_8_of_16_keys_us: us(20.0),
        verify_batch_16_of_16_keys_us: us(17.0),
        verify_batch_64_of_16_keys_us: us(12.0),
        verify_batch_256_of_16_keys_us: us(10.0),
    }
}

#[test]
fn the_ceiling_is_what_signatures_alone_leave() {
    let ceiling = |shape: Shape| shape.ceiling(&signatures(), 2);
    // Of batches without end only the clients' signatures are left.
    let endless = shape(4, 1e12, 1.0);
    assert!((ceiling(endless) - ceiling_per_second(4, 2, 10.0, 10.0)).abs() < 1e-3);
    let many = Shape { clients: 100, ..endless };
    assert!((ceiling(many) - ceiling_per_second(4, 2, 14.0, 10.0)).abs() < 1e-3);
    // One at a time: every signature is checked alone. 4 checks and a signature of the client's; 4 * 2 * (2 + 1/128)
    // checks and 4 * (2 + 1/128) signatures of replicas.
    let votes = 2.0 + 1.0 / 128.0;
    let alone_us = 4.0 * 30.0 + 10.0 + 8.0 * votes * 30.0 + 4.0 * votes * 10.0;
    assert!((ceiling(shape(4, 1.0, 1.0)) - 2e6 / alone_us).abs() < 1e-6);
    assert!(ceiling(shape(4, 16.0, 16.0)) > 15.9 * ceiling(shape(4, 1.0, 1.0)));
    assert_eq!(ceiling(shape(4, 0.0, 0.0)), 0.0);
}
