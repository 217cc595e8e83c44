//! Who keeps a primary in its seat, who loses it, and who cannot take it: requests that wait, batches that are of no
//! use, clocks that disagree, processes that sleep.

use super::*;
use crate::request::{Draft, Kind, Operations};
use crate::types::{Number, Session};

const T0: u64 = 500_000;

/// A request of a client: its numbers, and what it acknowledges.
fn acknowledging(bench: &Bench, client: u8, (first, count): (u64, u64), ack: u64) -> Arc<Request> {
    let operations = Operations::new((0..count).map(|_| &b"x"[..]));
    let (first, ack, kind) = (Number(first), Number(ack), Kind::Operations);
    let draft = Draft { session: Session(1), first, ack, kind, operations };
    Arc::new(Request::sign(&SecretKey::from_seed(&[100 + client; 32]), bench.context.cluster, draft))
}

fn request(bench: &Bench, client: u8, first: u64) -> Arc<Request> {
    acknowledging(bench, client, (first, 1), 1)
}

/// Replica `me` of four; the first primary is replica 0.
fn with(me: u16, parameters: impl FnOnce(&mut Parameters)) -> Bench {
    let mut bench = Bench::with(me, parameters);
    // Time begins with the first step.
    bench.step(Event::LinkUp);
    bench
}

fn ask(bench: &mut Bench, request: &Arc<Request>) {
    let requests = vec![Verified::vouch(Arc::clone(request))];
    bench.step(Event::Requests { requests, forwarded_by: None });
}

/// The primary of view 0 orders these in the next slot and everybody agrees, also about every fourth state.
fn order(bench: &mut Bench, requests: &[&Arc<Request>]) {
    let seq = bench.replica.committed().next();
    let requests = List(requests.iter().map(|request| Arc::clone(request)).collect());
    let body = Body::new(Batch { nondet: Nondet { time: bench.now }, requests }, bench.context.cluster);
    let this = vote(0, seq.0, body.digest);
    bench.pre_prepare(this, Some(&body));
    [0, 2, 3].into_iter().for_each(|id| bench.commit(id, this));
    assert_eq!(bench.replica.committed(), seq);
    let root = Digest([8; 32]);
    let due = seq.0.is_multiple_of(4);
    bench.step(Event::Executed { seq, root: due.then_some(root) });
    if due {
        let stable = bench.certificate(Checkpoint { seq, root, epoch_end: Seq::MAX }, &[0, 2, 3]);
        bench.step(Event::StableCertificate(Verified::vouch(stable)));
    }
}

fn is_content(bench: &Bench) -> bool {
    (bench.replica.view(), bench.replica.status()) == (View(0), Status::Normal)
}

/// Client 2 is served, one request in a batch, and nobody else, until this replica leaves the view. Says how long.
fn collude(bench: &mut Bench) -> u64 {
    let (mut number, start) = (0, bench.now);
    while is_content(bench) {
        number += 1;
        let colluder = request(bench, 2, number);
        ask(bench, &colluder);
        order(bench, &[&colluder]);
        bench.pass(400_000);
        assert!(bench.now.since(start) < 60_000_000, "something useful committed all the time");
    }
    bench.now.since(start)
}

#[test]
fn d9_a_primary_that_drops_one_client_and_colludes_with_another_loses_its_seat_in_time() {
    let mut bench = with(2, |_| {});
    let victim = request(&bench, 1, 1);
    ask(&mut bench, &victim);
    let took = collude(&mut bench);
    assert!((20 * T0..=21 * T0).contains(&took), "{took}");
    // The next primary is asked at once, and has its own time.
    let forwarded = bench.forwarded;
    let named = [0, 1, 3].map(|id| bench.view_change(id, 1, Vec::new()));
    named.iter().for_each(|message| bench.step(Event::ViewChange(message.clone())));
    let new_view = bench.new_view(1, &named.iter().collect::<Vec<_>>());
    bench.step(Event::NewView(new_view));
    assert_eq!((bench.replica.view(), bench.replica.status()), (View(1), Status::Normal));
    assert_eq!(bench.forwarded, forwarded + 1);
    let unserved = bench.replica.unserved().unwrap();
    assert_eq!(
        (unserved.client, unserved.primary, unserved.since),
        (victim.client(), ReplicaId(1), bench.now)
    );
    assert!(unserved.gives_up >= Some(bench.now.plus(20 * T0)));
}

#[test]
fn d9_a_primary_that_fills_its_backups_with_what_it_never_orders_buys_no_time() {
    let mut bench = with(2, |_| {});
    let room = bench.context.parameters.forward_room(4).operations;
    assert_eq!(room, 8_192);
    let filling = (1..=room).map(|number| request(&bench, 2, 1_000 + number)).map(Verified::vouch);
    let requests = filling.collect();
    bench.step(Event::Requests { requests, forwarded_by: Some(ReplicaId(0)) });
    let victim = request(&bench, 1, 1);
    ask(&mut bench, &victim);
    assert_eq!(bench.replica.pooled(), room + 1, "all of it is here, and has room");
    let took = collude(&mut bench);
    assert!((20 * T0..=21 * T0).contains(&took), "{took}");
}

#[test]
fn d9_a_primary_that_orders_whole_pools_of_later_requests_first_loses_its_seat_at_once() {
    let mut bench = with(1, |parameters| parameters.pool_operations_max = 3);
    let victim = request(&bench, 1, 1);
    ask(&mut bench, &victim);
    for number in 1..=4 * 3 {
        assert!(is_content(&bench), "before {number}");
        let later = request(&bench, 2, number);
        ask(&mut bench, &later);
        order(&mut bench, &[&later]);
        bench.pass(1_000);
    }
    assert!(!is_content(&bench));
}

#[test]
fn d13_a_slow_primary_that_serves_in_turn_keeps_its_seat_however_many_wait() {
    let mut bench = with(1, |_| {});
    let crowd: Vec<_> = (1..=60).map(|client| request(&bench, client, 1)).collect();
    crowd.iter().for_each(|request| ask(&mut bench, request));
    let start = bench.now;
    for request in &crowd {
        bench.pass(450_000);
        order(&mut bench, &[request]);
        assert!(is_content(&bench), "{:?} after {}", bench.replica.unserved(), bench.now.since(start));
    }
    assert!(bench.now.since(start) > 50 * T0, "the last waited longer than anybody waits alone");
}

#[test]
fn d13_a_slow_primary_that_serves_bursts_of_every_replica_in_turn_keeps_its_seat() {
    let mut bench = with(1, |_| {});
    let burst: Vec<_> = (1..=60).map(|client| request(&bench, client, 1)).collect();
    let requests = burst.iter().map(|request| Verified::vouch(Arc::clone(request))).collect();
    bench.step(Event::Requests { requests, forwarded_by: None });
    let start = bench.now;
    for (number, request_here) in (1..).zip(&burst) {
        // The primary has as many of its own clients, and of each other replica.
        for elsewhere in [61, 62, 63] {
            bench.pass(200_000);
            let request = request(&bench, elsewhere, number);
            order(&mut bench, &[&request]);
        }
        bench.pass(200_000);
        order(&mut bench, &[request_here]);
        assert!(is_content(&bench), "{:?} after {}", bench.replica.unserved(), bench.now.since(start));
    }
    assert!(bench.now.since(start) > 90 * T0, "the last waited far longer than anybody waits alone");
    assert_eq!(bench.replica.pooled(), 0);
}

#[test]
fn d13_what_a_client_says_to_one_and_otherwise_to_another_starts_no_timer_for_ever() {
    // The same number with two operations: this one to a backup, the other to the primary.
    let mut bench = with(1, |_| {});
    let (here, there) = (acknowledging(&bench, 1, (1, 2), 1), acknowledging(&bench, 1, (1, 3), 1));
    ask(&mut bench, &here);
    assert!(bench.replica.waiting().progress.is_some());
    order(&mut bench, &[&there]);
    assert_eq!((bench.replica.pooled(), bench.replica.waiting().progress), (0, None));
    // What the client told the primary that it needs no more; the primary rightly drops what is passed on to it.
    let late = acknowledging(&bench, 1, (4, 2), 1);
    ask(&mut bench, &late);
    assert!(bench.replica.waiting().progress.is_some());
    let later = acknowledging(&bench, 1, (6, 1), 6);
    order(&mut bench, &[&later]);
    assert_eq!((bench.replica.pooled(), bench.replica.waiting().progress), (0, None));
    bench.pass(60_000_000);
    assert!(is_content(&bench));
}

#[test]
fn d13_what_was_ordered_and_has_yet_to_execute_is_not_pooled_however_late_it_comes_again() {
    let mut bench = with(1, |_| {});
    let (old, new) = (acknowledging(&bench, 1, (1, 4), 1), acknowledging(&bench, 1, (5, 1), 5));
    let part = request(&bench, 1, 3);
    let body = |requests: &[&Arc<Request>]| {
        let requests = List(requests.iter().map(|request| Arc::clone(request)).collect());
        Body::new(Batch { nondet: Nondet { time: bench.now }, requests }, bench.context.cluster)
    };
    let bodies = [body(&[&old]), body(&[&new])];
    for (seq, body) in (1..).zip(&bodies) {
        let this = vote(0, seq, body.digest);
        bench.pre_prepare(this, Some(body));
        [0, 2, 3].into_iter().for_each(|id| bench.commit(id, this));
    }
    assert!([&old, &part, &new].iter().all(|request| bench.replica.ordered_since(Seq(0), request)));
    // An executor that is at slot 1 answers what executed there, but does not know yet what slot 2 acknowledges.
    assert!([&old, &part].iter().all(|request| bench.replica.ordered_since(Seq(1), request)));
    assert!([&old, &part, &new].iter().all(|request| !bench.replica.ordered_since(Seq(2), request)));
    assert!(!bench.replica.ordered_since(Seq(0), &request(&bench, 2, 1)));
}

#[test]
fn d13_clients_that_fill_a_backup_make_it_time_no_more_than_the_primary_has_room_for() {
    let mut bench = with(1, |parameters| {
        parameters.client_window = 4;
        parameters.pool_operations_max = 64;
    });
    assert_eq!(bench.context.parameters.forward_quota(4).operations, 4);
    let crowd: Vec<_> = (1..=40).map(|client| request(&bench, client, 1)).collect();
    crowd.iter().for_each(|request| ask(&mut bench, request));
    assert_eq!(bench.forwarded, 4);
    // What the primary was not asked for starts no timer: 36 wait here, far longer than anybody times.
    for (index, request) in crowd.iter().enumerate() {
        bench.pass(200_000);
        order(&mut bench, &[request]);
        assert!(bench.forwarded >= (index + 5).min(40), "its room goes to the next");
    }
    assert!(is_content(&bench));
    assert_eq!(bench.replica.pooled(), 0);
}

#[test]
fn d13_a_replica_that_passes_on_to_backups_starts_no_timer_of_theirs() {
    let mut bench = with(1, |_| {});
    let requests = vec![Verified::vouch(request(&bench, 1, 1))];
    bench.step(Event::Requests { requests, forwarded_by: Some(ReplicaId(3)) });
    assert_eq!((bench.replica.pooled(), bench.forwarded), (1, 0));
    bench.pass(60_000_000);
    assert!(is_content(&bench));
}

#[test]
fn a_primary_that_is_full_of_its_own_clients_proposes_what_is_passed_on_to_it() {
    let mut bench = with(0, |parameters| {
        parameters.pool_operations_max = 8;
        parameters.pipeline_depth = 1;
    });
    let own: Vec<_> = (1..=9).map(|client| request(&bench, client, 1)).collect();
    own.iter().for_each(|request| ask(&mut bench, request));
    assert_eq!(bench.replica.pooled(), 8, "no room for the ninth");
    let passed = request(&bench, 50, 1);
    let requests = vec![Verified::vouch(Arc::clone(&passed))];
    bench.step(Event::Requests { requests, forwarded_by: Some(ReplicaId(3)) });
    let proposals = |bench: &Bench| -> Vec<Arc<Body>> {
        let said = bench.said.iter();
        said.filter_map(|say| if let Say::PrePrepare { body, .. } = say { body.clone() } else { None })
            .collect()
    };
    let first = vote(0, 1, proposals(&bench)[0].digest);
    [1, 2].into_iter().for_each(|id| bench.prepare(id, first));
    [0, 1, 2].into_iter().for_each(|id| bench.commit(id, first));
    assert_eq!(proposals(&bench)[1].batch.requests[0], passed, "it is the turn of replica 3");
    assert_eq!(bench.replica.unserved().unwrap().gives_up, None, "a primary gives up nobody for being slow");
}

#[test]
fn d11_batches_that_order_nothing_new_keep_no_primary_in_its_seat_while_somebody_waits() {
    for waits in [true, false] {
        let mut bench = with(1, |parameters| parameters.window = 64);
        let (old, asked) = (request(&bench, 2, 1), request(&bench, 1, 1));
        order(&mut bench, &[&old]);
        // A proposal that is on its way runs the timer in either case.
        let far = vote(0, 60, bench.body(9).digest);
        bench.pre_prepare(far, None);
        if waits {
            ask(&mut bench, &asked);
        }
        let start = bench.now;
        while is_content(&bench) && bench.now.since(start) < 4 * T0 {
            order(&mut bench, &[&old, &old]);
            bench.pass(200_000);
        }
        assert_eq!(is_content(&bench), !waits);
        assert!(!waits || bench.now.since(start) <= T0 + 200_000);
    }
}

#[test]
fn d11_a_proposal_at_the_far_end_of_the_window_is_no_progress() {
    let mut bench = with(1, |_| {});
    let body = bench.body(1);
    for _ in 0..6 {
        bench.pre_prepare(vote(0, 8, body.digest), Some(&body));
        [0, 2, 3].into_iter().for_each(|id| bench.commit(id, vote(0, 8, body.digest)));
        bench.pass(100_000);
    }
    assert_eq!((bench.replica.committed(), bench.replica.view()), (Seq(0), View(1)));
}

#[test]
fn a_batch_whose_body_is_missing_here_is_judged_by_those_who_hold_it() {
    let mut bench = with(1, |_| {});
    let asked = request(&bench, 1, 1);
    ask(&mut bench, &asked);
    let until = bench.replica.waiting().progress.unwrap();
    bench.pass(100_000);
    let body = bench.body(1);
    [0, 2, 3].into_iter().for_each(|id| bench.commit(id, vote(0, 1, body.digest)));
    assert_eq!(bench.replica.committed(), Seq(1));
    assert!(bench.replica.waiting().progress > Some(until));
}

#[test]
fn a_proposal_ahead_of_the_clock_is_voted_for_when_its_time_has_come_and_told_of_once() {
    let mut bench = with(1, |_| {});
    let tolerance = bench.context.parameters.time_tolerance_us;
    let at = |bench: &Bench, time| {
        Body::new(Batch { nondet: Nondet { time }, requests: List(Vec::new()) }, bench.context.cluster)
    };
    let early = at(&bench, bench.now.plus(tolerance + 300_000));
    let this = vote(0, 1, early.digest);
    bench.pre_prepare(this, Some(&early));
    for _ in 0..10 {
        bench.prepare(2, this);
    }
    // Nor is there an alarm for each slot that the same clock refuses.
    let never = at(&bench, Time(u64::MAX));
    bench.pre_prepare(vote(0, 2, never.digest), Some(&never));
    assert_eq!((bench.prepares().len(), bench.alarms.len()), (0, 1), "{:?}", bench.alarms);
    assert!(matches!(bench.alarms[0], Alarm::ClockDisagrees { seq: Seq(1), .. }));
    bench.pass(299_999);
    assert!(bench.prepares().is_empty());
    bench.pass(1);
    assert_eq!(bench.prepares(), [this]);
    assert!(is_content(&bench));
}

#[test]
fn what_came_while_a_process_slept_is_not_too_old_and_what_comes_later_is() {
    let mut bench = with(1, |_| {});
    let minutes = 10 * 60_000_000;
    let before = bench.now;
    let old = |bench: &Bench, tag| {
        let (time, requests) = (Time(before.0 + tag), List(Vec::new()));
        Body::new(Batch { nondet: Nondet { time }, requests }, bench.context.cluster)
    };
    bench.now = before.plus(minutes);
    for seq in 1..=4 {
        let body = old(&bench, seq);
        bench.pre_prepare(vote(0, seq, body.digest), Some(&body));
    }
    assert_eq!((bench.prepares().len(), bench.alarms.len()), (4, 0), "{:?}", bench.alarms);
    assert!(is_content(&bench));
    // The same from a primary whose clock is wrong: this process was awake all the time.
    let mut bench = with(1, |_| {});
    bench.pass(minutes);
    for seq in 1..=4 {
        let body = old(&bench, seq);
        bench.pre_prepare(vote(0, seq, body.digest), Some(&body));
    }
    assert_eq!((bench.prepares().len(), bench.alarms.len()), (0, 1));
    // Sleep excuses nothing for long.
    let mut bench = with(1, |_| {});
    bench.now = before.plus(minutes);
    bench.step(Event::Timeout);
    bench.pass(5 * T0);
    let body = old(&bench, 1);
    bench.pre_prepare(vote(0, 1, body.digest), Some(&body));
    assert_eq!((bench.prepares().len(), bench.alarms.len()), (0, 1));
}

#[test]
fn a_storm_of_messages_keeps_no_timer_from_firing_and_sleep_does() {
    for flooded in [true, false] {
        let mut bench = with(1, |_| {});
        let (asked, body) = (request(&bench, 1, 1), bench.body(1));
        ask(&mut bench, &asked);
        let until = bench.replica.waiting().progress.unwrap();
        let storm = bench.sign(2, vote(0, 1, body.digest));
        for _ in 0..1_000 {
            bench.now = bench.now.plus(1_000);
            if flooded {
                bench.step(Event::Prepare(storm.clone()));
                assert_eq!(bench.replica.waiting().progress, Some(until), "no step moves it");
            }
        }
        // The host comes to its timers at last, a whole timeout late.
        bench.step(Event::Timeout);
        assert_eq!(is_content(&bench), !flooded);
    }
}

#[test]
fn time_that_this_process_slept_is_not_time_that_a_request_waited() {
    let mut bench = with(1, |_| {});
    let victim = request(&bench, 1, 1);
    ask(&mut bench, &victim);
    let mut number = 0;
    let mut serve = |bench: &mut Bench, seconds: u64| {
        for _ in 0..seconds * 4 {
            if !is_content(bench) {
                return;
            }
            number += 1;
            let other = request(bench, 2, number);
            order(bench, &[&other]);
            bench.pass(250_000);
        }
    };
    serve(&mut bench, 8);
    bench.now = bench.now.plus(60_000_000);
    bench.step(Event::Timeout);
    serve(&mut bench, 1);
    assert!(is_content(&bench), "{:?} at {:?}", bench.replica.unserved(), bench.now);
    serve(&mut bench, 2);
    assert!(!is_content(&bench));
}

#[test]
fn d13_clients_that_ask_again_and_again_what_could_not_execute_unseat_nobody() {
    let mut bench = with(1, |_| {});
    let pair = [request(&bench, 1, 1), request(&bench, 2, 1)];
    pair.iter().for_each(|request| order(&mut bench, &[request]));
    // No room for their replies: the numbers stay theirs, and the executor says that they have to be ordered again.
    ask(&mut bench, &pair[1]);
    for turn in 0..20 {
        ask(&mut bench, &pair[turn % 2]);
        bench.pass(100_000);
        order(&mut bench, &[&pair[(turn + 1) % 2]]);
        assert_eq!(bench.replica.pooled(), 1, "somebody always waits");
    }
    assert!(is_content(&bench));
}

#[test]
fn batches_of_views_that_were_left_are_not_looked_at() {
    let mut bench = with(2, |_| {});
    let of = |view, seq| vote(view, seq, Digest([7; 32]));
    assert!(bench.replica.needs_batch(&of(0, 1)) && !bench.replica.needs_batch(&of(3, 8)));
    assert!(!bench.replica.needs_batch(&of(0, 9)), "beyond the window");
    let left = [0, 3].map(|id| bench.view_change(id, 1, Vec::new()));
    left.iter().for_each(|message| bench.step(Event::ViewChange(message.clone())));
    assert_eq!((bench.replica.view(), bench.replica.status()), (View(1), Status::ViewChanging));
    assert!(!bench.replica.needs_batch(&of(0, 1)));
    assert!(bench.replica.needs_batch(&of(1, 1)));
}

/// What happens besides the batches that commit, one after the other.
#[derive(Default)]
struct Besides {
    /// Two others commit what is further ahead than a primary proposes.
    left_out: bool,
    /// This slot committed before all others.
    certified: Option<u64>,
    /// The others are in this view.
    others_in: u64,
    /// No checkpoint becomes stable.
    no_checkpoint: bool,
    /// A link comes up then.
    link_up_at: Option<u64>,
}

/// When this replica says where it stands, while `commits` says of each moment whether a batch commits then; one request
/// waits all the time. In milliseconds; and whether the primary kept its seat.
fn standings(besides: &Besides, commits: impl Fn(u64) -> bool) -> (Vec<u64>, bool) {
    let mut bench = with(1, |parameters| parameters.window = 64);
    let waiting = request(&bench, 1, 1);
    ask(&mut bench, &waiting);
    let batch = |bench: &Bench, seq: Seq| {
        let requests = List(vec![request(bench, 2, seq.0)]);
        Body::new(Batch { nondet: Nondet { time: Time(seq.0) }, requests }, bench.context.cluster)
    };
    let ahead = 2 * bench.context.parameters.pipeline_depth + 1;
    let mut said = Vec::new();
    if let Some(seq) = besides.certified {
        let commit = Commit { view: View(0), seq: Seq(seq), digest: batch(&bench, Seq(seq)).digest };
        let certificate = Verified::vouch(bench.certificate(commit, &[0, 2, 3]));
        bench.step(Event::CommitCertificate(certificate));
    }
    for ms in (0..3_000).step_by(10) {
        bench.said.clear();
        if besides.link_up_at == Some(ms) {
            bench.step(Event::LinkUp);
        }
        if commits(ms) {
            let seq = bench.replica.committed().next();
            let body = batch(&bench, seq);
            let this = vote(0, seq.0, body.digest);
            bench.pre_prepare(this, Some(&body));
            let theirs = vote(besides.others_in, seq.0, body.digest);
            [0, 2, 3].into_iter().for_each(|id| bench.commit(id, theirs));
            assert_eq!(bench.replica.committed(), seq);
            if besides.left_out {
                let far = vote(0, seq.plus(ahead).0, batch(&bench, seq.plus(ahead)).digest);
                [2, 3].into_iter().for_each(|id| bench.commit(id, far));
            }
            let root = Digest([8; 32]);
            let due = seq.0.is_multiple_of(4);
            bench.step(Event::Executed { seq, root: due.then_some(root) });
            if due && !besides.no_checkpoint {
                let stable = bench.certificate(Checkpoint { seq, root, epoch_end: Seq::MAX }, &[0, 2, 3]);
                bench.step(Event::StableCertificate(Verified::vouch(stable)));
            }
        }
        bench.pass(10_000);
        if bench.relayed().iter().any(|message| matches!(message, PeerMessage::Status(_))) {
            said.push(ms);
        }
    }
    (said, is_content(&bench))
}

#[test]
fn while_batches_commit_one_after_the_other_standings_are_said_once_a_second_and_soon_when_they_stop() {
    let nothing = Besides::default();
    let (steady, is_content) = standings(&nothing, |ms| ms % 50 == 0);
    assert!(is_content && (2..=4).contains(&steady.len()), "{steady:?}");
    assert!(steady.windows(2).all(|pair| pair[1] - pair[0] <= 1_150), "{steady:?}");
    // What comes slowly has stopped after three times what is usual.
    let (slow, _) = standings(&nothing, |ms| ms % 150 == 0 && ms < 2_000);
    assert!(slow.iter().filter(|ms| (1_000..2_100).contains(*ms)).count() <= 2, "{slow:?}");
    assert!(slow.iter().any(|ms| (2_180..=2_210).contains(ms)), "half of T0 later: {slow:?}");
    // Slower than a standing is worth waiting for.
    let (slow, is_content) = standings(&nothing, |ms| ms % 400 == 0);
    assert!(is_content && slow.len() >= 6, "{slow:?}");
    let (stops, _) = standings(&nothing, |ms| ms % 50 == 0 && ms < 1_500);
    let after = stops.iter().find(|ms| **ms >= 1_450);
    assert!(after.is_some_and(|ms| *ms <= 1_610), "{stops:?}");
    assert!(stops.iter().filter(|ms| **ms > 1_500).count() >= 2, "{stops:?}");
    // The faster they came, the sooner.
    let (stops, _) = standings(&nothing, |ms| ms < 1_500);
    let after = stops.iter().find(|ms| **ms >= 1_490);
    assert!(after.is_some_and(|ms| *ms <= 1_580) && stops[0] < 1_000 && stops.len() <= 14, "{stops:?}");
    // Somebody came, and may have missed something.
    let link_up = Besides { link_up_at: Some(700), ..Besides::default() };
    let (asked, _) = standings(&link_up, |ms| ms % 50 == 0);
    assert!(asked.iter().any(|ms| (740..=760).contains(ms)) && asked.len() <= 5, "{asked:?}");
}

#[test]
fn who_is_left_out_says_so_however_steadily_a_liar_lets_it_have_one_batch_after_the_other() {
    let (said, _) = standings(&Besides { left_out: true, ..Besides::default() }, |ms| ms % 50 == 0);
    assert!(said.len() >= 15, "{said:?}");
}

#[test]
fn who_is_left_out_says_so_also_where_what_is_far_ahead_is_certified_and_where_the_others_left_its_view() {
    let early = |besides: &Besides| {
        let (said, _) = standings(besides, |ms| ms % 50 == 0 && ms < 1_500);
        said.into_iter().filter(|ms| *ms < 1_500).count()
    };
    let certified = early(&Besides { certified: Some(50), ..Besides::default() });
    let later = early(&Besides { others_in: 1, ..Besides::default() });
    let nothing = early(&Besides::default());
    assert!(certified >= 8 && later >= 8 && nothing <= 4, "{certified} {later} {nothing}");
}

#[test]
fn what_f_plus_1_said_was_committed_far_ahead_does_not_outlive_its_view() {
    let mut bench = with(2, |parameters| parameters.window = 64);
    let said = |bench: &mut Bench, ms: u64| {
        bench.said.clear();
        (0..ms / 10).for_each(|_| bench.pass(10_000));
        bench.relayed().iter().filter(|message| matches!(message, PeerMessage::Status(_))).count()
    };
    // A liar, and somebody who had prepared it.
    [0, 3].into_iter().for_each(|id| bench.commit(id, vote(0, 50, Digest([7; 32]))));
    assert!(said(&mut bench, 3_000) >= 15, "it is left out");
    let left = [0, 1, 3].map(|id| bench.view_change(id, 1, Vec::new()));
    left.iter().for_each(|message| bench.step(Event::ViewChange(message.clone())));
    let new_view = bench.new_view(1, &left.iter().collect::<Vec<_>>());
    bench.step(Event::NewView(new_view));
    assert_eq!((bench.replica.view(), bench.replica.status()), (View(1), Status::Normal));
    said(&mut bench, 1_000);
    assert!((2..=4).contains(&said(&mut bench, 3_000)), "nothing is missing");
    // Nor does what comes late of it.
    [0, 3].into_iter().for_each(|id| bench.commit(id, vote(0, 51, Digest([7; 32]))));
    assert!((2..=4).contains(&said(&mut bench, 3_000)));
}

#[test]
fn calls_that_come_now_and_then_are_no_slow_batches() {
    let mut bench = with(1, |parameters| parameters.window = 64);
    for number in 1..=20 {
        bench.pass(300_000);
        let waiting = request(&bench, 1, number);
        ask(&mut bench, &waiting);
        bench.pass(5_000);
        order(&mut bench, &[&waiting]);
    }
    bench.pass(300_000);
    assert_eq!(bench.replica.committed(), Seq(20));
    // Of the next one this replica gets the certificate only, and not in vain asks soon.
    let commit = Commit { view: View(0), seq: Seq(21), digest: Digest([7; 32]) };
    let certificate = Verified::vouch(bench.certificate(commit, &[0, 2, 3]));
    bench.said.clear();
    bench.step(Event::CommitCertificate(certificate));
    bench.pass(60_000);
    assert!(bench.relayed().iter().any(|message| matches!(message, PeerMessage::FetchBody { .. })));
}

#[test]
fn no_standing_is_said_when_nobody_would_answer_it_yet() {
    let steady = |until: u64| standings(&Besides::default(), move |ms| ms % 50 == 0 && ms < until).0;
    // The others have just answered one, and pause.
    let said = *steady(3_000).iter().find(|ms| **ms > 1_000).unwrap();
    let stopped = steady((said / 50) * 50 + 1);
    let next = *stopped.iter().find(|ms| **ms > said).unwrap();
    assert!((said + 110..=said + 130).contains(&next), "{said}, then {next}: {stopped:?}");
}

#[test]
fn a_checkpoint_that_is_overdue_is_asked_for_while_batches_commit() {
    // Half of the window, 32 slots, has committed after 1.55 seconds.
    let (said, _) = standings(&Besides { no_checkpoint: true, ..Besides::default() }, |ms| ms % 50 == 0);
    let (before, after): (Vec<u64>, Vec<u64>) = said.iter().partition(|ms| **ms < 1_550);
    assert!(before.len() <= 3 && after.len() >= 8, "{before:?} {after:?}");
    assert!(after.windows(2).all(|pair| pair[1] - pair[0] <= 160), "{after:?}");
}
