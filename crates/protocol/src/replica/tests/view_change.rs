//! View changes: who may move a replica on, and what must survive.

use super::*;
use crate::crypto::SecretKey;
use crate::request::{Draft, Kind, Operations, Request};
use crate::types::{Number, Session, Signature};

/// A replica of view 1 that everybody is in, with what each VIEW-CHANGE says prepared.
fn open(bench: &mut Bench, view: u64, from: &[u16], prepared: &[Certificate<Prepare>]) {
    let messages: Vec<_> = from.iter().map(|id| bench.view_change(*id, view, prepared.to_vec())).collect();
    for message in &messages {
        bench.step(Event::ViewChange(message.clone()));
    }
    let new_view = bench.new_view(view, &messages.iter().collect::<Vec<_>>());
    bench.step(Event::NewView(new_view));
}

#[test]
fn f_plus_1_others_take_a_replica_along_and_f_do_not() {
    let mut bench = Bench::new(4, 2);
    let message = bench.view_change(3, 5, Vec::new());
    bench.step(Event::ViewChange(message));
    assert_eq!(bench.replica.view(), View(0));
    let absurd = bench.view_change(3, u64::MAX, Vec::new());
    bench.step(Event::ViewChange(absurd));
    let message = bench.view_change(1, 5, Vec::new());
    bench.step(Event::ViewChange(message));
    // The second highest: at least one correct replica waits there, whatever the highest says.
    assert_eq!((bench.replica.view(), bench.replica.status()), (View(5), Status::ViewChanging));
}

#[test]
fn a_view_change_is_repeated_until_its_view_opens_and_always_the_same() {
    let mut bench = Bench::new(4, 1);
    let body = bench.body(1);
    bench.pre_prepare(vote(0, 1, body.digest), Some(&body));
    bench.pass(3_000_000);
    assert_eq!(bench.view_changes().len(), 1, "alone it does not run ahead");
    let relayed = bench.relayed().into_iter();
    let repeated: Vec<_> = relayed
        .filter_map(|say| if let PeerMessage::ViewChange(message) = say { Some(message) } else { None })
        .collect();
    assert!(repeated.len() > 5);
    assert!(
        repeated.iter().all(|message| message.body == *bench.view_changes()[0] && message == &repeated[0])
    );
}

#[test]
fn who_left_a_view_prepares_and_commits_nothing_in_it() {
    let mut bench = Bench::new(4, 1);
    let body = bench.body(1);
    let this = vote(0, 1, body.digest);
    bench.pre_prepare(this, Some(&body));
    [0, 3].into_iter().for_each(|id| {
        let message = bench.view_change(id, 1, Vec::new());
        bench.step(Event::ViewChange(message));
    });
    assert_eq!(bench.replica.view(), View(1));
    bench.said.clear();
    [2, 3].into_iter().for_each(|id| bench.prepare(id, this));
    let later = bench.body(2);
    bench.pre_prepare(vote(0, 2, later.digest), Some(&later));
    assert!(bench.commits().is_empty() && bench.prepares().is_empty());
    // A quorum of COMMITs is a fact in any view.
    [0, 2, 3].into_iter().for_each(|id| bench.commit(id, this));
    assert_eq!(bench.executed, [Seq(1)]);
}

#[test]
fn what_prepared_is_told_in_every_later_view_change() {
    let mut bench = Bench::new(4, 2);
    let body = bench.body(1);
    let this = vote(0, 1, body.digest);
    bench.pre_prepare(this, Some(&body));
    [1, 3].into_iter().for_each(|id| bench.prepare(id, this));
    assert_eq!(bench.commits().len(), 1);
    for view in 1..4 {
        [0, 1].into_iter().for_each(|id| {
            let message = bench.view_change(id, view, Vec::new());
            bench.step(Event::ViewChange(message));
        });
        let told = bench.view_changes();
        let told = told.last().unwrap();
        assert_eq!(told.view, View(view));
        assert_eq!(told.prepared.iter().map(|held| held.statement).collect::<Vec<_>>(), [this]);
    }
}

#[test]
fn a_new_view_is_entered_once_and_never_an_older_one() {
    let mut bench = Bench::new(4, 2);
    open(&mut bench, 1, &[0, 1, 3], &[]);
    assert_eq!((bench.replica.view(), bench.replica.status()), (View(1), Status::Normal));
    let body = bench.body(7);
    let prepared = bench.certificate(vote(0, 1, body.digest), &[0, 1, 3]);
    bench.said.clear();
    open(&mut bench, 1, &[0, 1, 3], std::slice::from_ref(&prepared));
    assert!(bench.said.is_empty(), "a second NEW-VIEW of the same view changes nothing");
    open(&mut bench, 2, &[0, 1, 3], &[]);
    open(&mut bench, 1, &[0, 1, 3], &[]);
    assert_eq!(bench.replica.view(), View(2));
}

#[test]
fn what_a_new_view_decides_no_proposal_replaces() {
    let mut bench = Bench::new(4, 2);
    let (old, other, null) = (bench.body(1), bench.body(2), bench.replica.null);
    let prepared = bench.certificate(vote(0, 2, old.digest), &[0, 1, 3]);
    open(&mut bench, 1, &[0, 1, 3], &[prepared]);
    // The gap below what prepared is filled with the null batch; the body of the rest is missing here.
    assert_eq!(bench.prepares(), [vote(1, 1, null)]);
    bench.pre_prepare(vote(1, 2, other.digest), Some(&other));
    assert_eq!(bench.prepares(), [vote(1, 1, null)]);
    bench.step(Event::Body { seq: Seq(2), body: Verified::vouch(Arc::clone(&old)) });
    assert_eq!(bench.prepares(), [vote(1, 1, null), vote(1, 2, old.digest)]);
}

#[test]
fn a_new_view_of_a_far_view_keeps_out_no_other() {
    let mut bench = Bench::new(4, 2);
    // Replica 3 opens view 4003 and names what nobody has.
    let phantom: Vec<_> = (0..3).map(|id| bench.view_change(id, 4003, Vec::new())).collect();
    let far = bench.new_view(4003, &phantom.iter().collect::<Vec<_>>());
    bench.step(Event::NewView(far));
    open(&mut bench, 1, &[0, 1, 3], &[]);
    assert_eq!((bench.replica.view(), bench.replica.status()), (View(1), Status::Normal));
    bench.pass(10_000_000);
    assert_eq!(bench.replica.footprint().candidates, 0, "nobody is asked for ever");
}

#[test]
fn a_false_new_view_does_not_choose_how_far_views_advance() {
    let mut bench = Bench::new(4, 2);
    let real: Vec<_> = [0, 1, 3].into_iter().map(|id| bench.view_change(id, 1, Vec::new())).collect();
    bench.step(Event::ViewChange(real[0].clone()));
    bench.step(Event::ViewChange(real[1].clone()));
    assert_eq!(bench.replica.view(), View(1));
    bench.step(Event::ViewChange(real[2].clone()));
    // Replica 3 opens a view of its liking with VIEW-CHANGEs to view 1.
    let far = bench.new_view(4003, &real.iter().collect::<Vec<_>>());
    bench.step(Event::NewView(far));
    assert_eq!(bench.replica.view(), View(1));
}

#[test]
fn a_false_new_view_of_the_awaited_view_is_reason_to_go_on() {
    let mut bench = Bench::new(4, 2);
    let old: Vec<_> = [0, 1, 3].into_iter().map(|id| bench.view_change(id, 1, Vec::new())).collect();
    old[..2].iter().for_each(|message| bench.step(Event::ViewChange(message.clone())));
    // The awaited primary, replica 1, names VIEW-CHANGEs to another view, one of them after the fact.
    let next: Vec<_> = [0, 3].into_iter().map(|id| bench.view_change(id, 5, Vec::new())).collect();
    next.iter().for_each(|message| bench.step(Event::ViewChange(message.clone())));
    assert_eq!(bench.replica.view(), View(5));
    let mine = bench.replica.view_changes[&ReplicaId(2)].clone();
    let false_one = bench.new_view(5, &[&old[1], &mine, &next[1]]);
    bench.step(Event::NewView(false_one));
    bench.step(Event::ViewChange(old[1].clone()));
    assert_eq!(bench.replica.view(), View(6));
}

#[test]
fn a_new_primary_keeps_the_view_changes_it_chose() {
    let mut bench = Bench::new(4, 1);
    let chosen: Vec<_> = [2, 3].into_iter().map(|id| bench.view_change(id, 1, Vec::new())).collect();
    bench.step(Event::ViewChange(chosen[0].clone()));
    // Its NEW-VIEW waits for the disk; meanwhile one of those it named moves on.
    let mut effects = Vec::new();
    bench.replica.step(bench.now, Event::ViewChange(chosen[1].clone()), &mut effects);
    let said = |effects: &[Effect]| {
        effects.iter().find_map(|effect| match effect {
            Effect::Send { message: Say::ViewChange(message), .. } => Some(message.clone()),
            _ => None,
        })
    };
    let mine = bench.sign(1, said(&effects).unwrap()).shared();
    let mut effects = Vec::new();
    bench.replica.step(bench.now, Event::ViewChange(mine), &mut effects);
    let new_view = effects.iter().find_map(|effect| match effect {
        Effect::Send { message: Say::NewView(message), .. } => Some(message.clone()),
        _ => None,
    });
    let ahead = bench.view_change(2, 9, Vec::new());
    bench.step(Event::ViewChange(ahead));
    let new_view = bench.sign(1, new_view.unwrap());
    bench.step(Event::NewView(new_view));
    assert_eq!((bench.replica.view(), bench.replica.status()), (View(1), Status::Normal));
}

/// A VIEW-CHANGE without a signature: a replica is told only what was verified, and does not look.
fn unsigned(id: u16, view: u64) -> Verified<Arc<NamedViewChange>> {
    let body = ViewChange { view: View(view), stable: None, prepared: List(Vec::new()) };
    Verified::vouch(Signed { body, signer: ReplicaId(id), signature: Signature([0; 64]) }).shared()
}

/// Replica 2 of four, with timeouts of a millisecond to 64, waiting for view 1 with all others.
fn between_views() -> Bench {
    let mut bench = Bench::new(4, 2);
    let parameters =
        Parameters { timeout_us: 1_000, timeout_max_us: 64_000, ..(*bench.context.parameters).clone() };
    bench.context.parameters = Arc::new(parameters);
    bench.replica = Replica::new(bench.context.clone(), ReplicaId(2));
    // The primary last: by then two others have left, whose timers fired.
    [3, 1, 0].into_iter().for_each(|id| bench.step(Event::ViewChange(unsigned(id, 1))));
    assert_eq!((bench.replica.view(), bench.replica.status()), (View(1), Status::ViewChanging));
    bench
}

/// Lets the new-view timer of `bench` fire, and the others follow; says how long it ran.
fn fails(bench: &mut Bench) -> u64 {
    let (start, view) = (bench.now, bench.replica.view());
    let mut effects = Vec::new();
    for _ in 0..10 {
        if bench.replica.view() == view {
            bench.now = bench.replica.deadline().unwrap();
            bench.replica.step(bench.now, Event::Timeout, &mut effects);
        }
    }
    assert_eq!(bench.replica.view(), View(view.0 + 1), "its timer fires");
    for id in [0, 2, 3] {
        let message = Event::ViewChange(unsigned(id, view.0 + 1));
        bench.replica.step(bench.now, message, &mut effects);
    }
    bench.now.since(start)
}

// Would miss replicas that disagree about the newest view that worked; D1 to D4 have clusters that do.
#[test]
fn d7_a_hundred_thousand_view_changes_wait_as_long_as_they_should_and_then_a_view_works() {
    let mut bench = between_views();
    let last = 100_000;
    for view in 1..=last {
        let expected = 1_000_u64.checked_shl(u32::try_from(view).unwrap().min(6)).unwrap();
        assert_eq!(fails(&mut bench), expected, "in view {view}");
        assert_eq!(bench.replica.view(), View(view + 1));
    }
    assert_eq!(bench.replica.counters().view_changes, last + 1);
    // Some view works at last: after an interval of useful commits the timeout is what it was at the beginning.
    open(&mut bench, last + 4, &[0, 1, 3], &[]);
    assert_eq!(bench.replica.status(), Status::Normal);
    for seq in 1..=4 {
        assert_eq!(bench.replica.waiting().timeout_us, 64_000, "before slot {seq}");
        let body = useful(&bench, seq);
        let this = vote(last + 4, seq, body.digest);
        bench.pre_prepare(this, Some(&body));
        [0, 1, 3].into_iter().for_each(|id| bench.commit(id, this));
    }
    assert_eq!(bench.replica.committed(), Seq(4));
    assert_eq!(bench.replica.waiting().timeout_us, 1_000);
}

/// A batch with a request in it.
fn useful(bench: &Bench, number: u64) -> Arc<Body> {
    let key = SecretKey::from_seed(&[77; 32]);
    let operations = Operations::new(std::iter::once(&b"x"[..]));
    let (first, ack, kind) = (Number(number), Number(1), Kind::Operations);
    let draft = Draft { session: Session(1), first, ack, kind, operations };
    let request = Arc::new(Request::sign(&key, bench.context.cluster, draft));
    let batch = Batch { nondet: Nondet { time: bench.now }, requests: List(vec![request]) };
    Body::new(batch, bench.context.cluster)
}

// The function alone: it would miss timers that do not ask it.
#[test]
fn d7_timeouts_double_with_the_view_up_to_the_cap_and_no_number_overflows() {
    let parameters = Parameters::default();
    let at = |view, good| crate::timer::timeout(&parameters, View(view), View(good));
    assert_eq!((at(0, 0), at(1, 0), at(3, 1)), (500_000, 1_000_000, 2_000_000));
    assert_eq!((at(7, 0), at(u64::MAX, 0), at(5, 9)), (60_000_000, 60_000_000, 500_000));
    let longest = Parameters { timeout_us: u64::MAX, timeout_max_us: u64::MAX, ..Parameters::default() };
    for view in [0, 1, 63, 64, 65, u64::from(u32::MAX) + 1, u64::MAX] {
        assert_eq!(crate::timer::timeout(&longest, View(view), View(0)), u64::MAX);
    }
}

// Would miss a view number that wraps on the wire; the encoding has fixed widths.
#[test]
fn d7_the_last_view_and_the_end_of_time_are_survived() {
    let mut bench = between_views();
    [0, 3].into_iter().for_each(|id| bench.step(Event::ViewChange(unsigned(id, u64::MAX - 2))));
    assert_eq!(bench.replica.view(), View(u64::MAX - 2));
    fails(&mut bench);
    fails(&mut bench);
    assert_eq!(bench.replica.view(), View(u64::MAX));
    // There is no view after it. Whoever leads a cluster there has more than f replicas; it may stop, not break.
    for _ in 0..100 {
        bench.now = bench.replica.deadline().unwrap_or(bench.now.plus(64_000));
        bench.step(Event::Timeout);
    }
    assert_eq!(bench.replica.view(), View(u64::MAX));
    let mut bench = between_views();
    bench.now = Time(u64::MAX - 100_000);
    for _ in 0..100 {
        bench.step(Event::Timeout);
        bench.now = bench.now.max(bench.replica.deadline().unwrap_or(Time(u64::MAX)));
    }
    assert_eq!(bench.now, Time(u64::MAX));
}

// Would miss a host that hands over the timeout before what waits in its queues.
#[test]
fn d7_a_process_that_slept_ten_timeouts_blames_nobody_before_it_has_heard_what_it_missed() {
    // The primary of a view that works.
    let mut bench = Bench::new(4, 1);
    let body = bench.body(1);
    bench.pre_prepare(vote(0, 1, body.digest), Some(&body));
    bench.now = bench.now.plus(10 * 500_000);
    bench.step(Event::Timeout);
    assert_eq!(bench.replica.view(), View(0));
    bench.pass(600_000);
    assert_eq!(bench.replica.view(), View(1), "when it is awake it waits as long as everybody");
    // And the one who is to open the next.
    let mut bench = between_views();
    let timeout = bench.replica.waiting().timeout_us;
    bench.now = bench.now.plus(10 * timeout);
    bench.step(Event::Timeout);
    assert_eq!(bench.replica.view(), View(1));
    bench.pass(timeout + 1);
    assert_eq!(bench.replica.view(), View(2));
}

/// Replica 2, where the batch `body` committed at slot 1 with COMMITs of this view and executed.
fn executed_in(view: u64, body: &Arc<Body>) -> Bench {
    let mut bench = Bench::new(4, 2);
    let this = vote(0, 1, body.digest);
    bench.pre_prepare(this, Some(body));
    [0, 1, 3].into_iter().for_each(|id| bench.commit(id, vote(view, 1, body.digest)));
    assert_eq!(bench.executed, [Seq(1)]);
    bench.said.clear();
    bench
}

// Would miss the race of COMMITs and NEW-VIEW in a cluster, which the simulation of C12 has.
#[test]
fn c12_a_new_view_repeats_what_executed_without_executing_it_and_must_not_contradict_it() {
    let spare = Bench::new(4, 2);
    let (body, other) = (spare.body(1), spare.body(2));
    let certificate = |digest| spare.certificate(vote(0, 1, digest), &[0, 1, 3]);
    let mut bench = executed_in(0, &body);
    open(&mut bench, 1, &[0, 1, 3], &[certificate(body.digest)]);
    assert_eq!(bench.prepares(), [vote(1, 1, body.digest)], "others may need its vote");
    [0, 1, 3].into_iter().for_each(|id| bench.commit(id, vote(1, 1, body.digest)));
    assert_eq!((&bench.executed[..], bench.replica.status()), (&[Seq(1)][..], Status::Normal));
    // More than f liars prepared another batch where this one committed before.
    let mut bench = executed_in(0, &body);
    open(&mut bench, 1, &[0, 1, 3], &[certificate(other.digest)]);
    assert_eq!(bench.replica.status(), Status::Halted);
    // Whose proposal it had, and who prepared another one, is shown by the certificate.
    let told = &bench.alarms[..];
    let liar =
        |alarm: &Alarm| matches!(alarm, Alarm::ConflictingPrepares(one, _) if one.signer == ReplicaId(0));
    assert!(matches!(told, [one, Alarm::Agreement { seq: Seq(1), .. }] if liar(one)), "{told:?}");
    assert!(bench.prepares().is_empty());
    // It committed in a view after this one: what a late NEW-VIEW of an older view says about it does not matter.
    let mut bench = executed_in(3, &body);
    open(&mut bench, 1, &[0, 1, 3], &[certificate(other.digest)]);
    assert_eq!((bench.replica.view(), bench.replica.status()), (View(1), Status::Normal));
    assert!(bench.prepares().is_empty());
    assert!(bench.alarms.iter().all(|alarm| alarm.accusation().is_some()), "{:?}", bench.alarms);
}
