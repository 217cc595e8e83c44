//! A journal without room for more bodies: votes wait, the replica does not stop, and the cluster comes through. And
//! bodies that get no vote, which have no room in it.

use super::*;

/// Replica `me` of four after views in whose every slot it voted for another body, none of which prepared: two thirds
/// of its journal's room are taken. It is in view 9.
fn crowded(me: u16) -> Bench {
    let bench = crowded_in(8, me);
    assert_eq!((bench.context.parameters.bodies_max(), bench.bodies_kept.len()), (48, 32));
    bench
}

/// The same with a window of so many slots, of which an interval is 4.
fn crowded_in(window: u64, me: u16) -> Bench {
    let mut bench = Bench::with(me, |parameters| parameters.window = window);
    let most = bench.context.parameters.bodies_max();
    let two_thirds = usize::try_from(most - most / 3).unwrap();
    let views = [0, 2, 3, 4, 6, 7, 8].into_iter().filter(|view| view % 4 != u64::from(me));
    let slots = views.flat_map(|view| (1..=window).map(move |seq| (view, seq)));
    for (view, seq) in slots.take(two_thirds) {
        if seq == 1 {
            enter(&mut bench, view, Vec::new());
        }
        let body = bench.body(100 * view + seq);
        bench.pre_prepare(vote(view, seq, body.digest), Some(&body));
    }
    assert_eq!(bench.bodies_kept.len(), two_thirds);
    assert!(!bench.replica.lacks_room());
    enter(&mut bench, 9, Vec::new());
    bench
}

fn ask(bench: &mut Bench) {
    let requests = vec![signed_request(bench, 1)];
    bench.step(Event::Requests { requests, forwarded_by: None });
}

/// Slots that it proposed batches for, and whether they are more than the null batch.
fn proposals(bench: &Bench) -> Vec<(u64, bool)> {
    let all = bench.said.iter().filter_map(|say| match say {
        Say::PrePrepare { prepare, body } => Some((prepare.seq.0, body.is_some())),
        _ => None,
    });
    all.collect()
}

/// The null batch commits at these slots.
fn agree_on_null(bench: &mut Bench, slots: std::ops::RangeInclusive<u64>) {
    let me = bench.replica.id();
    for seq in slots {
        let null = vote(9, seq, bench.replica.null);
        for id in (0..4).filter(|id| ReplicaId(*id) != me) {
            bench.prepare(id, null);
            bench.commit(id, null);
        }
        assert_eq!(bench.replica.committed(), Seq(seq));
    }
}

fn enter(bench: &mut Bench, view: u64, prepared: Vec<Certificate<Prepare>>) {
    if view == 0 {
        return;
    }
    let others = (0..4).filter(|id| ReplicaId(*id) != bench.replica.id());
    let view_changes: Vec<_> = others.map(|id| bench.view_change(id, view, prepared.clone())).collect();
    for view_change in view_changes.clone() {
        bench.step(Event::ViewChange(view_change));
    }
    if bench.context.committee.primary(View(view)) != bench.replica.id() {
        let new_view = bench.new_view(view, &view_changes.iter().collect::<Vec<_>>());
        bench.step(Event::NewView(new_view));
    }
    assert_eq!((bench.replica.view(), bench.replica.status()), (View(view), Status::Normal));
}

fn stable(bench: &mut Bench, seq: u64) {
    let statement = Checkpoint { seq: Seq(seq), root: Digest([5; 32]), epoch_end: Seq::MAX };
    let certificate = bench.certificate(statement, &[0, 1, 2]);
    bench.step(Event::StableCertificate(Verified::vouch(certificate)));
}

#[test]
fn who_has_no_room_for_another_body_votes_for_no_new_one_until_a_checkpoint_is_stable() {
    let mut bench = crowded(3);
    let before = bench.prepares().len();
    let (late, body) = (vote(9, 6, bench.body(906).digest), bench.body(906));
    bench.pre_prepare(late, Some(&body));
    assert_eq!(bench.prepares().len(), before, "there is no room for its body");
    assert!(bench.replica.lacks_room());
    let null = vote(9, 2, bench.replica.null);
    bench.pre_prepare(null, None);
    assert_eq!(bench.prepares()[before..], [null], "the null batch needs none");
    stable(&mut bench, 4);
    assert_eq!(bench.prepares()[before + 1..], [late], "the vote that waited is cast");
    assert!(!bench.replica.lacks_room() && bench.bodies_kept.contains(&late.digest));
}

#[test]
fn what_prepared_elsewhere_finds_room_where_new_proposals_do_not() {
    let mut bench = crowded(3);
    let body = bench.body(901);
    let prepared = bench.certificate(vote(9, 1, body.digest), &[0, 1, 2]);
    enter(&mut bench, 10, vec![prepared]);
    bench.step(Event::Body { seq: Seq(1), body: Verified::vouch(body.clone()) });
    let decided = vote(10, 1, body.digest);
    assert_eq!(bench.prepares().last(), Some(&decided));
    for id in 0..3 {
        bench.prepare(id, decided);
    }
    assert_eq!(bench.commits().last().map(|commit| commit.digest), Some(body.digest));
}

#[test]
fn a_primary_without_room_fills_slots_up_to_the_checkpoint_that_frees_some() {
    let mut bench = crowded(1);
    ask(&mut bench);
    assert_eq!(proposals(&bench), [(1, false), (2, false), (3, false), (4, false)]);
    agree_on_null(&mut bench, 1..=4);
    assert_eq!(proposals(&bench).len(), 4, "a checkpoint is due: more null batches bring it no nearer");
    stable(&mut bench, 4);
    assert_eq!(proposals(&bench)[4..], [(5, true)], "what waited is proposed, nothing is lost");
}

#[test]
fn a_primary_without_room_goes_on_where_no_checkpoint_of_a_large_state_is_due() {
    let mut bench = crowded_in(16, 1);
    ask(&mut bench);
    let filled = |last: u64| (1..=last).map(|seq| (seq, false)).collect::<Vec<_>>();
    // Null batches change nothing: after the first four nobody makes a checkpoint, nor ever would.
    agree_on_null(&mut bench, 1..=4);
    assert_eq!(proposals(&bench), filled(8), "a multiple of K brings no checkpoint, and it stops there");
    agree_on_null(&mut bench, 5..=8);
    assert_eq!(
        proposals(&bench),
        filled(8),
        "half a window has passed: one is due, and needs its votes only"
    );
    stable(&mut bench, 8);
    assert_eq!(proposals(&bench)[8..], [(9, true)], "what waited is proposed");
}

#[test]
fn a_replica_that_comes_back_knows_how_much_room_its_journal_has() {
    let bench = crowded(3);
    let bodies = bench.bodies_kept.iter().zip((1..=8).cycle());
    let all: Vec<_> = [0, 2, 4, 6].iter().flat_map(|view| (1..=8).map(move |seq| 100 * view + seq)).collect();
    let named = |digest: &Digest| all.iter().map(|tag| bench.body(*tag)).find(|body| body.digest == *digest);
    let records =
        bodies.map(|(digest, seq)| (Record::Body { seq: Seq(seq), body: named(digest).unwrap() }, None));
    let memory = Memory { records: records.collect(), promised: (View(9), Seq(8)), ..Memory::default() };
    let (context, mut back) = (bench.context.clone(), Bench::new(4, 3));
    back.replica = Replica::recover(context, ReplicaId(3), memory, back.now, &mut Vec::new()).unwrap();
    let body = back.body(999);
    back.pre_prepare(vote(0, 1, body.digest), Some(&body));
    assert_eq!((back.prepares(), back.replica.lacks_room()), (vec![], true));
}

/// One that every clock here refuses.
fn early(bench: &Bench, tag: u64) -> Arc<Body> {
    bench.body(3_600_000_000 + tag)
}

#[test]
fn bodies_that_get_no_vote_go_with_their_views_however_many_come() {
    let mut bench = Bench::new(4, 3);
    for view in (0..).filter(|view| view % 4 != 3).take(100) {
        enter(&mut bench, view, Vec::new());
        let body = early(&bench, view);
        bench.pre_prepare(vote(view, 1, body.digest), Some(&body));
        assert_eq!(bench.replica.footprint().bodies, 1, "in view {view}");
    }
    assert_eq!((bench.prepares().len(), bench.bodies_kept.len()), (0, 0), "none of them had its vote");
}

#[test]
fn bodies_that_had_a_vote_or_that_a_new_view_proposes_again_are_kept() {
    let mut bench = Bench::new(4, 3);
    let (voted, refused) = (bench.body(1), early(&bench, 2));
    bench.pre_prepare(vote(0, 1, voted.digest), Some(&voted));
    bench.pre_prepare(vote(0, 2, refused.digest), Some(&refused));
    assert_eq!(bench.prepares(), [vote(0, 1, voted.digest)]);
    let prepared = bench.certificate(vote(0, 2, refused.digest), &[0, 1, 2]);
    enter(&mut bench, 1, vec![prepared]);
    assert_eq!(bench.prepares().last(), Some(&vote(1, 2, refused.digest)), "nobody has to be asked for it");
    enter(&mut bench, 2, Vec::new());
    for (seq, body) in (1..).map(Seq).zip([voted, refused]) {
        let shown = bench.relayed().len();
        bench.step(Event::FetchBody { from: ReplicaId(1), seq, digest: body.digest });
        assert_eq!(bench.relayed().len(), shown + 1, "whoever needs it finds it here");
    }
}

#[test]
fn bodies_of_what_prepared_without_this_replica_go_when_something_else_prepares_later() {
    let mut bench = Bench::new(4, 3);
    for view_change in [0, 1].map(|id| bench.view_change(id, 100, Vec::new())) {
        bench.step(Event::ViewChange(view_change));
    }
    assert_eq!((bench.replica.view(), bench.replica.status()), (View(100), Status::ViewChanging));
    for view in 0..50 {
        let body = bench.body(view);
        [0, 1, 2].into_iter().for_each(|id| bench.prepare(id, vote(view, 1, body.digest)));
        bench.step(Event::Body { seq: Seq(1), body: Verified::vouch(body) });
        assert_eq!(bench.replica.footprint().bodies, 1, "in view {view}");
    }
}
