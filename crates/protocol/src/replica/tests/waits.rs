//! Why a replica waits: each reason, reached by what brings it about.

use super::*;
use crate::request::{Draft, Kind, Operations, Request};
use crate::standing::{Divergence, Exclusion};
use crate::types::{Number, Session};

/// Every reason has a number here, every kind of promise one of its own; so a reason that is added without a scene
/// below does not compile, or is missed by name.
fn number(reason: &Reason) -> usize {
    match reason {
        Reason::Idle => 0,
        Reason::Requests { .. } => 1,
        Reason::Pipeline { .. } => 2,
        Reason::Proposal { .. } => 3,
        Reason::Body { .. } => 4,
        Reason::Clock { .. } => 5,
        Reason::Disk { promise: Promise::Prepare(_) } => 6,
        Reason::Disk { promise: Promise::Commit(_) } => 7,
        Reason::Disk { promise: Promise::ViewChange(_) } => 8,
        Reason::Disk { promise: Promise::NewView(_) } => 9,
        Reason::Prepares { .. } => 10,
        Reason::Commits { .. } => 11,
        Reason::Execution { .. } => 12,
        Reason::Snapshot { .. } => 13,
        Reason::Checkpoints { .. } => 14,
        Reason::WindowFull { .. } => 15,
        Reason::ViewChanges { .. } => 16,
        Reason::NewView { .. } => 17,
        Reason::NewViewParts { .. } => 18,
        Reason::State { .. } => 19,
        Reason::Halted { .. } => 20,
        Reason::Recovering { .. } => 21,
        Reason::Forgotten { .. } => 22,
        Reason::Unserved { .. } => 23,
        Reason::Returned { .. } => 24,
        Reason::Diverged { .. } => 25,
        Reason::Out { .. } => 26,
    }
}
const REASONS: usize = 27;

type Scene = fn() -> Bench;
const SCENES: [(usize, Scene); REASONS] = [
    (0, idle),
    (1, asked),
    (2, busy_primary),
    (3, voted_on_without_a_proposal),
    (4, proposed_without_a_body),
    (5, dated_in_the_future),
    (6, prepare_on_disk),
    (7, commit_on_disk),
    (8, view_change_on_disk),
    (9, new_view_on_disk),
    (10, proposed),
    (11, prepared),
    (12, committed),
    (13, executed),
    (14, announced),
    (15, full),
    (16, alone_in_a_new_view),
    (17, waiting_for_the_new_primary),
    (18, shown_a_new_view_in_part),
    (19, behind_the_log),
    (20, halted),
    (21, amnesiac),
    (22, amnesiac),
    (23, asked),
    (24, returned),
    (25, diverged),
    (26, out),
];

fn waits(bench: &Bench) -> Vec<Wait> {
    bench.replica.waits(bench.now)
}

fn wait(scene: usize, bench: &Bench) -> Wait {
    let waits = waits(bench);
    let found = waits.iter().find(|wait| number(&wait.reason) == scene).cloned();
    found.unwrap_or_else(|| panic!("scene {scene} leads to {waits:?}"))
}

/// Steps the replica on a disk that has yet to sync: what it says stays inside.
fn step_on_a_slow_disk(bench: &mut Bench, event: Event) -> Vec<Say> {
    let mut effects = Vec::new();
    bench.replica.step(bench.now, event, &mut effects);
    let said = effects.into_iter();
    said.filter_map(|effect| if let Effect::Send { message, .. } = effect { Some(message) } else { None })
        .collect()
}

fn request(bench: &Bench, first: u64, count: usize) -> Event {
    let operations = Operations::new((0..count).map(|_| &b"x"[..]));
    let (session, first, kind) = (Session(1), Number(first), Kind::Operations);
    let draft = Draft { session, first, ack: Number(1), kind, operations };
    let request = Request::sign(&SecretKey::from_seed(&[77; 32]), bench.context.cluster, draft);
    Event::Requests { requests: vec![Verified::vouch(Arc::new(request))], forwarded_by: None }
}

fn idle() -> Bench {
    let mut bench = Bench::new(4, 1);
    bench.step(Event::LinkUp);
    bench
}

fn asked() -> Bench {
    let mut bench = idle();
    let request = request(&bench, 1, 3);
    bench.step(request);
    bench
}

fn busy_primary() -> Bench {
    let mut bench = Bench::new(4, 0);
    for (first, count) in [(1, 2), (3, 1)] {
        let request = request(&bench, first, count);
        bench.step(request);
    }
    bench
}

fn voted_on_without_a_proposal() -> Bench {
    let mut bench = Bench::new(4, 1);
    let digest = bench.body(1).digest;
    bench.prepare(2, vote(0, 1, digest));
    bench
}

fn proposed_without_a_body() -> Bench {
    let mut bench = Bench::new(4, 1);
    let digest = bench.body(1).digest;
    bench.pre_prepare(vote(0, 1, digest), None);
    bench
}

fn dated_in_the_future() -> Bench {
    let mut bench = Bench::new(4, 1);
    let batch = Batch { nondet: Nondet { time: Time(1 << 50) }, requests: List(Vec::new()) };
    let body = Body::new(batch, bench.context.cluster);
    bench.pre_prepare(vote(0, 1, body.digest), Some(&body));
    bench
}

fn prepare_on_disk() -> Bench {
    let mut bench = Bench::new(4, 1);
    let body = bench.body(1);
    let prepare = bench.sign(0, vote(0, 1, body.digest));
    let said =
        step_on_a_slow_disk(&mut bench, Event::PrePrepare { prepare, body: Some(Verified::vouch(body)) });
    assert!(matches!(said[..], [Say::Prepare(_)]));
    bench
}

fn proposed() -> Bench {
    let mut bench = Bench::new(4, 1);
    let body = bench.body(1);
    bench.pre_prepare(vote(0, 1, body.digest), Some(&body));
    bench
}

fn commit_on_disk() -> Bench {
    let mut bench = proposed();
    let digest = bench.body(1).digest;
    let prepare = bench.sign(2, vote(0, 1, digest));
    let said = step_on_a_slow_disk(&mut bench, Event::Prepare(prepare));
    assert!(matches!(said[..], [Say::Commit(_)]));
    bench
}

fn prepared() -> Bench {
    let mut bench = proposed();
    let digest = bench.body(1).digest;
    bench.prepare(2, vote(0, 1, digest));
    bench
}

/// Slots up to `last` committed here, and handed to the executor.
fn committed_up_to(last: u64) -> Bench {
    commit_up_to(last, Bench::new(4, 1))
}

fn commit_up_to(last: u64, mut bench: Bench) -> Bench {
    for seq in 1..=last {
        let body = bench.body(seq);
        let this = vote(0, seq, body.digest);
        bench.pre_prepare(this, Some(&body));
        [0, 2, 3].into_iter().for_each(|id| bench.commit(id, this));
    }
    assert_eq!(bench.replica.committed(), Seq(last));
    bench
}

fn committed() -> Bench {
    committed_up_to(1)
}

fn executed_up_to(last: u64) -> Bench {
    execute_up_to(last, Bench::new(4, 1))
}

fn execute_up_to(last: u64, bench: Bench) -> Bench {
    let mut bench = commit_up_to(last, bench);
    (1..=last).for_each(|seq| bench.step(Event::Executed { seq: Seq(seq), root: None }));
    bench
}

fn executed() -> Bench {
    executed_up_to(4)
}

fn announced() -> Bench {
    let mut bench = executed();
    bench.step(Event::Executed { seq: Seq(4), root: Some(Digest([8; 32])) });
    bench
}

fn full() -> Bench {
    let mut bench = executed_up_to(8);
    for seq in [4, 8] {
        bench.step(Event::Executed { seq: Seq(seq), root: Some(Digest([8; 32])) });
    }
    let request = request(&bench, 1, 1);
    bench.step(request);
    bench
}

fn alone_in_a_new_view() -> Bench {
    let mut bench = asked();
    bench.pass(600_000);
    bench
}

fn view_change_on_disk() -> Bench {
    let mut bench = asked();
    bench.pass(499_000);
    bench.now = bench.now.plus(11_000);
    let said = step_on_a_slow_disk(&mut bench, Event::Timeout);
    assert!(said.iter().any(|say| matches!(say, Say::ViewChange(_))), "{said:?}");
    bench
}

fn new_view_on_disk() -> Bench {
    let mut bench = Bench::new(4, 1);
    let [one, other] = [2, 3].map(|id| bench.view_change(id, 1, Vec::new()));
    bench.step(Event::ViewChange(one));
    let said = step_on_a_slow_disk(&mut bench, Event::ViewChange(other));
    let [Say::ViewChange(mine)] = &said[..] else { panic!("{said:?}") };
    let mine = bench.sign(1, mine.clone()).shared();
    let said = step_on_a_slow_disk(&mut bench, Event::ViewChange(mine));
    assert!(matches!(said[..], [Say::NewView(_)]), "{said:?}");
    bench
}

fn waiting_for_the_new_primary() -> Bench {
    let mut bench = Bench::new(4, 2);
    for id in [0, 3] {
        let message = bench.view_change(id, 1, Vec::new());
        bench.step(Event::ViewChange(message));
    }
    bench
}

fn shown_a_new_view_in_part() -> Bench {
    let mut bench = waiting_for_the_new_primary();
    let named = [0, 1, 3].map(|id| bench.view_change(id, 1, Vec::new()));
    let new_view = bench.new_view(1, &named.iter().collect::<Vec<_>>());
    bench.step(Event::NewView(new_view));
    bench
}

fn behind_the_log() -> Bench {
    let mut bench = Bench::new(4, 1);
    let checkpoint = Checkpoint { seq: Seq(4), root: Digest([8; 32]), epoch_end: Seq::MAX };
    let stable = Verified::vouch(bench.certificate(checkpoint, &[0, 2, 3]));
    bench.step(Event::StableCertificate(stable));
    bench
}

fn halted() -> Bench {
    let mut bench = committed();
    let lie = Commit { view: View(1), seq: Seq(1), digest: bench.body(2).digest };
    let lie = Verified::vouch(bench.certificate(lie, &[0, 2, 3]));
    bench.step(Event::CommitCertificate(lie));
    bench
}

/// Comes back with a journal that lost votes, of view 2 and up to slot 8.
fn amnesiac() -> Bench {
    let mut bench = Bench::new(4, 1);
    let forgot = AmnesiaBox { epoch: Epoch(0), view: View(2), high: Seq(8) };
    let memory = Memory { amnesia: Some(forgot), promised: (View(2), Seq(8)), ..Memory::default() };
    let (context, now) = (bench.context.clone(), bench.now);
    bench.replica = Replica::recover(context, ReplicaId(1), memory, now, &mut Vec::new()).unwrap();
    bench
}

fn of_standing(standing: Standing) -> Bench {
    let mut bench = Bench::new(4, 1);
    let (context, now) = (bench.context.clone(), bench.now);
    let memory = Memory { standing, ..Memory::default() };
    bench.replica = Replica::recover(context, ReplicaId(1), memory, now, &mut Vec::new()).unwrap();
    bench
}

/// Comes back in the middle of getting another state.
fn diverged() -> Bench {
    let divergence = Divergence { seq: Seq(4), ours: Digest([7; 32]), theirs: Digest([8; 32]) };
    of_standing(Standing::Diverged { divergence, mended: false })
}

fn out() -> Bench {
    of_standing(Standing::Out(Exclusion::Copied { number: 7, wrong: None }))
}

/// Comes back with votes for three slots, of which others may know more.
fn returned() -> Bench {
    let mut bench = Bench::new(4, 1);
    let digest = bench.replica.null;
    let voted = |seq| (Record::Vote { prepare: vote(0, seq, digest), primary: None }, None);
    let records = (1..=3).map(voted).collect();
    let memory = Memory { records, promised: (View(0), Seq(8)), ..Memory::default() };
    let (context, now) = (bench.context.clone(), bench.now);
    bench.replica = Replica::recover(context, ReplicaId(1), memory, now, &mut Vec::new()).unwrap();
    bench
}

#[test]
fn who_has_just_come_back_asks_what_became_of_its_votes_before_it_misses_those_of_others() {
    let mut bench = returned();
    let told = |bench: &Bench| waits(bench).into_iter().map(|wait| wait.reason).collect::<Vec<_>>();
    assert_eq!(told(&bench), [Reason::Returned { first: Seq(1), last: Seq(3) }]);
    let digest = bench.replica.null;
    [0, 2, 3].into_iter().for_each(|id| bench.commit(id, vote(0, 1, digest)));
    assert!(told(&bench).contains(&Reason::Returned { first: Seq(2), last: Seq(3) }), "{:?}", told(&bench));
    bench.pass(1_000_000);
    let reasons = told(&bench);
    assert!(!reasons.iter().any(|reason| matches!(reason, Reason::Returned { .. })), "{reasons:?}");
    // Its own votes did not come back to it here, as those that the disk keeps.
    assert!(reasons.contains(&Reason::Disk { promise: Promise::Prepare(Seq(2)) }), "{reasons:?}");
}

fn ids(replicas: &[u16]) -> Vec<ReplicaId> {
    replicas.iter().copied().map(ReplicaId).collect()
}

#[test]
fn every_reason_to_wait_is_told_by_who_waits_for_it() {
    let mut told = BTreeSet::new();
    for (reason, scene) in SCENES {
        let bench = scene();
        told.insert(number(&wait(reason, &bench).reason));
    }
    assert_eq!(told.into_iter().collect::<Vec<_>>(), (0..REASONS).collect::<Vec<_>>());
}

#[test]
fn missing_votes_are_named_with_those_that_are_here() {
    let votes = |have: &[u16], missing: &[u16]| Votes { have: ids(have), missing: ids(missing), needed: 3 };
    let seq = Seq(1);
    let reason = |scene: usize| wait(scene, &SCENES[scene].1()).reason;
    assert_eq!(reason(10), Reason::Prepares { seq, votes: votes(&[0, 1], &[2, 3]) });
    assert_eq!(reason(11), Reason::Commits { seq, votes: votes(&[1], &[0, 2, 3]) });
    let checkpoint =
        |window_full| Reason::Checkpoints { seq: Seq(4), votes: votes(&[1], &[0, 2, 3]), window_full };
    assert_eq!(reason(14), checkpoint(false));
    assert_eq!(wait(14, &full()).reason, checkpoint(true));
    assert_eq!(reason(15), Reason::WindowFull { high: Seq(8), checkpoint: Seq(4) });
    let view = View(1);
    assert_eq!(reason(16), Reason::ViewChanges { view, votes: votes(&[1], &[0, 2, 3]) });
    assert_eq!(reason(17), Reason::NewView { view, primary: ReplicaId(1) });
    let missing = ids(&[1]);
    let forgot = AmnesiaBox { epoch: Epoch(0), view: View(2), high: Seq(8) };
    assert_eq!(reason(22), Reason::Forgotten { forgot, stable: Seq(0) });
    assert_eq!(reason(18), Reason::NewViewParts { view, primary: ReplicaId(1), missing });
}

#[test]
fn a_checkpoint_is_missed_only_where_one_is_due_however_large_the_state_is() {
    let missed = |last| {
        let wide = Bench::with(1, |parameters| parameters.window = 16);
        let waits = waits(&execute_up_to(last, wide));
        waits.into_iter().find_map(|wait| match wait.reason {
            Reason::Snapshot { seq } => Some(seq),
            _ => None,
        })
    };
    assert_eq!([4, 7, 8, 9].map(missed), [None, None, Some(Seq(8)), Some(Seq(8))]);
}

#[test]
fn a_wait_says_since_when_and_until_when() {
    let mut bench = asked();
    bench.pass(300_000);
    let Wait { reason, for_us, gives_up_us, again_us } = wait(1, &bench);
    assert_eq!(reason, Reason::Requests { operations: 3, primary: ReplicaId(0) });
    let timeout = bench.context.parameters.timeout_us;
    assert_eq!((for_us, gives_up_us), (300_000, Some(timeout - 300_000)));
    assert!(again_us.is_some_and(|again| again <= 150_000), "{again_us:?}");
    // The slot's own time starts when its phase does, and a vote that changes nothing does not start it again.
    let mut bench = proposed();
    bench.pass(70_000);
    bench.prepare(0, vote(0, 1, bench.body(1).digest));
    assert_eq!(wait(10, &bench).for_us, 70_000);
    bench.prepare(2, vote(0, 1, bench.body(1).digest));
    assert_eq!(wait(11, &bench).for_us, 0);
    bench.pass(5_000);
    assert_eq!(wait(11, &bench).for_us, 5_000);
    // A view that is left takes its slots' waits with it.
    let mut bench = alone_in_a_new_view();
    let before = wait(16, &bench).for_us;
    bench.pass(1_000_000);
    assert_eq!(wait(16, &bench).for_us, before + 1_000_000, "a lone replica does not go on to another view");
}

#[test]
fn a_batch_that_is_missing_is_asked_of_others_in_turn_and_never_of_oneself() {
    let mut bench = proposed_without_a_body();
    let mut asked = BTreeSet::new();
    for _ in 0..8 {
        let Reason::Body { seq: Seq(1), next } = wait(4, &bench).reason else { panic!("another reason") };
        asked.insert(next);
        bench.pass(50_000);
    }
    assert_eq!(asked.into_iter().collect::<Vec<_>>(), ids(&[0, 2, 3]));
}

#[test]
fn who_halted_says_what_it_found_and_nothing_else() {
    let bench = halted();
    let waits = waits(&bench);
    let [Wait { reason: Reason::Halted { alarm: Some(alarm) }, .. }] = &waits[..] else {
        panic!("{waits:?}")
    };
    assert!(matches!(alarm, Alarm::Agreement { seq: Seq(1), .. }));
}

#[test]
fn an_answer_is_bounded_however_much_is_open() {
    let mut bench = Bench::new(4, 1);
    for seq in 1..=8 {
        let body = bench.body(seq);
        bench.pre_prepare(vote(0, seq, body.digest), Some(&body));
    }
    let slots: Vec<_> = waits(&bench).into_iter().filter(|wait| number(&wait.reason) == 10).collect();
    assert_eq!(slots.len(), 4, "the lowest slots say enough");
    assert!(matches!(slots[0].reason, Reason::Prepares { seq: Seq(1), .. }));
}

#[test]
fn alarms_are_told_in_words_that_name_the_replica_the_slot_and_what_to_do() {
    let clock = dated_in_the_future().alarms.remove(0).to_string();
    assert!(clock.contains("sequence 1 ") && clock.contains("s ahead of the clock"), "{clock}");
    assert!(clock.contains("set both machines' clocks"), "{clock}");
    let mut bench = proposed();
    let other = bench.body(2);
    bench.pre_prepare(vote(0, 1, other.digest), Some(&other));
    let lie = bench.alarms.remove(0).to_string();
    assert!(lie.starts_with("replica 0 signed two different PREPAREs for sequence 1 in view 0"), "{lie}");
    let agreement = halted().alarms.remove(0).to_string();
    assert!(agreement.contains("sequence 1") && agreement.contains("halted"), "{agreement}");
}
