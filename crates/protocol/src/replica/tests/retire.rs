//! A replica that is to stop gives up its seat, and a view ends with its primary.

use super::*;

const T0: u64 = 500_000;

/// A client asks something.
fn ask(bench: &mut Bench, number: u64) {
    let request = signed_request(bench, number);
    bench.step(Event::Requests { requests: vec![request], forwarded_by: None });
}

fn proposals(bench: &Bench) -> Vec<Prepare> {
    let proposed = |say: &Say| if let Say::PrePrepare { prepare, .. } = say { Some(*prepare) } else { None };
    bench.said.iter().filter_map(proposed).collect()
}

/// These replicas leave for a view, and show nothing.
fn leave(bench: &mut Bench, from: &[u16], view: u64) -> Vec<Verified<Arc<NamedViewChange>>> {
    let messages: Vec<_> = from.iter().map(|id| bench.view_change(*id, view, Vec::new())).collect();
    messages.iter().for_each(|message| bench.step(Event::ViewChange(message.clone())));
    messages
}

/// A view opens without this replica's VIEW-CHANGE.
fn open(bench: &mut Bench, from: &[u16], view: u64) {
    let messages = leave(bench, from, view);
    let new_view = bench.new_view(view, &messages.iter().collect::<Vec<_>>());
    bench.step(Event::NewView(new_view));
}

#[test]
fn a_primary_that_retires_lets_what_is_on_its_way_commit_and_then_hands_over_what_waits() {
    let mut bench = Bench::new(4, 0);
    ask(&mut bench, 1);
    bench.step(Event::Retire);
    ask(&mut bench, 2);
    assert_eq!(proposals(&bench).len(), 1, "it orders nothing new");
    assert_eq!((bench.replica.view(), bench.replica.is_dispensable()), (View(0), false));
    let this = proposals(&bench)[0];
    [1, 2, 3].into_iter().for_each(|id| bench.commit(id, this));
    assert_eq!(bench.executed, [Seq(1)]);
    assert_eq!((bench.replica.view(), bench.replica.status()), (View(1), Status::ViewChanging));
    assert_eq!((bench.view_changes().len(), bench.replica.is_dispensable()), (1, false));
    assert_eq!(bench.forwarded, 0, "nobody leads yet");
    open(&mut bench, &[1, 2, 3], 1);
    assert_eq!((bench.replica.status(), bench.forwarded), (Status::Normal, 1), "what waited is passed on");
    assert!(bench.replica.is_dispensable());
}

#[test]
fn a_primary_that_retires_waits_a_quarter_of_the_timeout_for_what_does_not_commit() {
    let mut bench = Bench::new(4, 0);
    ask(&mut bench, 1);
    bench.step(Event::Retire);
    bench.pass(T0 / 4 - 1);
    assert_eq!(bench.replica.view(), View(0));
    bench.step(Event::Retire);
    bench.pass(1);
    assert_eq!((bench.replica.view(), bench.replica.status()), (View(1), Status::ViewChanging));
}

#[test]
fn who_retires_opens_no_view_and_everybody_passes_over_its_own() {
    let mut bench = Bench::new(4, 1);
    bench.step(Event::Retire);
    assert!(bench.replica.is_dispensable(), "a backup has nothing to hand over");
    leave(&mut bench, &[2, 3], 1);
    assert_eq!((bench.replica.view(), bench.replica.status()), (View(2), Status::ViewChanging));
    leave(&mut bench, &[0], 1);
    assert!(!bench.said.iter().any(|say| matches!(say, Say::NewView(_))));
    // Another one hears of it, and waits for no view that will not open.
    let mut other = Bench::new(4, 3);
    leave(&mut other, &[1], 2);
    assert_eq!(other.replica.view(), View(0), "it leads another view");
    leave(&mut other, &[0], 1);
    assert_eq!(other.replica.view(), View(2));
}

#[test]
fn a_replica_alone_has_nobody_to_hand_over_to() {
    let key = SecretKey::from_seed(&[1; 32]);
    let (mut context, _) = context(4);
    context.committee = Arc::new(Committee::new(&[key.public()], true).unwrap());
    let mut replica = Replica::new(context, ReplicaId(0));
    replica.step(Time(1_000_000), Event::Retire, &mut Vec::new());
    assert_eq!((replica.view(), replica.is_dispensable()), (View(0), true));
}

#[test]
fn views_that_were_all_left_are_passed_over_once_around_and_no_further() {
    let mut bench = Bench::new(4, 3);
    leave(&mut bench, &[0], u64::MAX);
    assert_eq!(bench.replica.view(), View(1));
    // More than f are ahead now: a correct one is, so far may be gone.
    leave(&mut bench, &[1], 9);
    assert_eq!(bench.replica.view(), View(9));
    leave(&mut bench, &[2], u64::MAX);
    assert_eq!(bench.replica.view(), View(u64::MAX));
    bench.pass(100 * T0);
    assert_eq!(bench.replica.view(), View(u64::MAX), "there is no view after it");
}

#[test]
fn who_is_left_behind_is_shown_that_its_primary_left() {
    let mut bench = Bench::new(4, 3);
    let told = leave(&mut bench, &[0], 1);
    let behind = crate::message::Status { view: View(0), changing: false, ..bench.replica.own_status() };
    let shown = |bench: &Bench| {
        let relayed = bench.relayed().into_iter();
        let of_it = |say: &&PeerMessage| matches!(say, PeerMessage::ViewChange(held) if *held == *told[0]);
        relayed.filter(of_it).count()
    };
    bench.step(Event::Status { from: ReplicaId(1), status: behind.clone() });
    assert_eq!(shown(&bench), 1, "somebody told this one alone, or stopped right after");
    bench.step(Event::Status { from: ReplicaId(0), status: behind.clone() });
    assert_eq!(shown(&bench), 1, "it knows that itself");
    bench.now = bench.now.plus(200_000);
    bench.step(Event::Status {
        from: ReplicaId(2),
        status: crate::message::Status { view: View(1), ..behind },
    });
    assert_eq!(shown(&bench), 1, "who has left needs nobody to say so");
}

#[test]
fn only_who_waited_long_for_a_primary_takes_its_leaving_for_a_failure() {
    let timeout = |waits_us: u64| {
        let mut bench = Bench::new(4, 3);
        let body = bench.body(1);
        bench.pre_prepare(vote(0, 1, body.digest), Some(&body));
        bench.pass(waits_us);
        leave(&mut bench, &[0], 1);
        assert_eq!(bench.replica.view(), View(1));
        bench.replica.waiting().timeout_us
    };
    assert_eq!((timeout(0), timeout(T0 / 4)), (T0, T0));
    assert_eq!((timeout(T0 * 3 / 4), timeout(T0 - 1)), (2 * T0, 2 * T0), "the network may be slow");
}

#[test]
fn a_round_of_hand_overs_leaves_the_timeout_as_it_is() {
    let mut bench = Bench::new(4, 3);
    for view in 1..=3_u64 {
        let primary = u16::try_from(view - 1).unwrap();
        leave(&mut bench, &[primary], view);
        open(&mut bench, &[0, 1, 2], view);
        assert_eq!((bench.replica.view(), bench.replica.status()), (View(view), Status::Normal));
        assert_eq!(bench.replica.waiting().timeout_us, T0, "in view {view}");
    }
    // Its own view, which the others leave while it serves, is one that failed.
    leave(&mut bench, &[0, 1], 4);
    assert_eq!((bench.replica.view(), bench.replica.waiting().timeout_us), (View(4), 2 * T0));
}
