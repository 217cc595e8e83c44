//! Which slots are shown, and what nobody can make a replica show.

use std::sync::Arc;

use quorate_protocol::certificate::Certificate;
use quorate_protocol::codec::List;
use quorate_protocol::committee::Committee;
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::parameters::{Context, Parameters};
use quorate_protocol::types::{ClusterId, Epoch};

use super::*;

const BEGAN: Time = Time(5_000_000);
const OURS: Digest = Digest([1; 32]);
const OTHER: Digest = Digest([2; 32]);

/// Replica 1 of four: a backup in view 0.
fn replica() -> Replica {
    let keys: Vec<_> = (1..=4).map(|seed| SecretKey::from_seed(&[seed; 32]).public()).collect();
    let context = Context {
        cluster: ClusterId(Digest([9; 32])),
        epoch: Epoch(0),
        committee: Arc::new(Committee::new(&keys, false).unwrap()),
        parameters: Arc::new(Parameters::default()),
    };
    Replica::new(context, ReplicaId(1))
}

fn prepare(view: u64, seq: u64) -> Prepare {
    Prepare { view: View(view), seq: Seq(seq), digest: OURS }
}

fn voted(view: u64, seq: u64) -> Effect {
    Effect::Persist(Record::Vote { prepare: prepare(view, seq), primary: None })
}

fn prepared(view: u64, seq: u64) -> Effect {
    let (statement, signatures) = (prepare(view, seq), List(Vec::new()));
    Effect::Persist(Record::Prepared(Certificate { statement, signatures }))
}

fn handed(seq: u64) -> Effect {
    Effect::Execute { seq: Seq(seq), body: None }
}

fn heard(step: Step, view: u64, seq: u64, digest: Digest) -> Heard {
    Heard { step, view: View(view), seq: Seq(seq), digest }
}

/// A slot on its whole way, of so many microseconds.
fn pass(lanes: &mut Lanes, at: Time, seq: u64, took_us: u64) {
    lanes.note(at, &voted(0, seq));
    lanes.note(at.plus(took_us / 2), &prepared(0, seq));
    lanes.note(at.plus(took_us), &handed(seq));
    lanes.executed(at.plus(took_us), Seq(seq));
    lanes.replied(at.plus(took_us), Seq(seq));
}

fn slots(moments: &[Moment]) -> Vec<&SlotLane> {
    moments
        .iter()
        .filter_map(|moment| match moment {
            Moment::Slot(lane) => Some(lane),
            _ => None,
        })
        .collect()
}

/// The slots that are shown, by the second, while so many pass in each, with a question every quarter of a second.
fn shown(per_second: u64, seconds: u64) -> Vec<Vec<u64>> {
    let mut lanes = Lanes::new(BEGAN, &replica());
    let mut by_second = vec![Vec::new(); usize::try_from(seconds).unwrap()];
    let gap_us = SECOND_US / per_second;
    let mut asked = BEGAN;
    for seq in 1..=per_second * seconds {
        let at = BEGAN.plus((seq - 1) * gap_us);
        pass(&mut lanes, at, seq, gap_us.min(1_000) / 2);
        let last = seq == per_second * seconds;
        if at.since(asked) >= SECOND_US / 4 || last {
            asked = at;
            for lane in slots(&lanes.take(at.plus(1_000), BEGAN)) {
                let second = usize::try_from(lane.proposed.unwrap() / SECOND_US).unwrap();
                by_second[second].push(lane.seq);
            }
        }
        assert!(lanes.slots.len() <= LANES_MAX && lanes.left.is_empty());
    }
    by_second
}

#[test]
fn every_slot_is_shown_while_few_pass() {
    let all: Vec<u64> = shown(15, 4).concat();
    assert_eq!(all, (1..=60).collect::<Vec<_>>());
}

#[test]
fn of_many_slots_an_even_sample_is_shown_which_is_bounded_from_the_first_second_on() {
    let by_second = shown(2_000, 4);
    let most = usize::try_from(PER_SECOND).unwrap();
    assert!(by_second.iter().all(|shown| (most / 2..=most).contains(&shown.len())), "{by_second:?}");
    for shown in &by_second[1..] {
        assert!(shown.windows(2).all(|pair| pair[1] - pair[0] == 128), "{shown:?}");
    }
    // A replica that sees a few less shows the same ones, or half of them.
    let others: Vec<u64> = shown(1_900, 4).concat().into_iter().filter(|seq| *seq > 2_000).collect();
    assert!(!others.is_empty() && others.iter().all(|seq| seq.is_multiple_of(128)), "{others:?}");
}

#[test]
fn a_slot_in_trouble_is_shown_however_many_pass() {
    let replica = replica();
    let slow_us = replica.context().parameters.timeout_us / 2 + 1;
    let mut lanes = Lanes::new(BEGAN, &replica);
    // A first second with many slots, so that only each 128th is shown.
    for seq in 1..=2_000 {
        pass(&mut lanes, BEGAN.plus(seq * 500), seq, 10);
    }
    let later = BEGAN.plus(SECOND_US + 1_000);
    lanes.take(later, BEGAN);
    pass(&mut lanes, later, 2_001, 10);
    lanes.note(later, &voted(0, 2_002));
    pass(&mut lanes, later, 2_003, slow_us);
    let asked = later.plus(slow_us);
    let moments = lanes.take(asked, BEGAN);
    let shown: Vec<u64> = slots(&moments).iter().map(|lane| lane.seq).collect();
    assert_eq!(shown, [2_002, 2_003], "one that is not done yet, and one that was slow");
    assert_eq!(slots(&lanes.take(asked, BEGAN)).len(), 0, "nothing changed since");
}

#[test]
fn a_slot_that_a_view_change_touches_is_shown_in_both_views() {
    let mut lanes = Lanes::new(BEGAN, &replica());
    lanes.note(BEGAN.plus(10), &voted(0, 7));
    lanes.note(BEGAN.plus(20), &prepared(0, 7));
    lanes.note(BEGAN.plus(900), &voted(1, 7));
    lanes.note(BEGAN.plus(950), &handed(7));
    lanes.executed(BEGAN.plus(960), Seq(7));
    let moments = lanes.take(BEGAN.plus(1_000), BEGAN);
    let [before, after] = slots(&moments)[..] else { panic!("{moments:?}") };
    assert_eq!((before.view, before.prepared, before.committed), (0, Some(20), None));
    assert_eq!(
        (after.view, after.proposed, after.committed, after.executed),
        (1, Some(900), Some(950), Some(960))
    );
    // What has executed is voted on again in the next view, and stays what it was.
    lanes.note(BEGAN.plus(2_000), &voted(2, 7));
    assert_eq!(lanes.take(BEGAN.plus(2_001), BEGAN), []);
}

#[test]
fn whoever_votes_for_another_batch_is_named_once_and_fills_no_bar() {
    let replica = replica();
    let mut lanes = Lanes::new(BEGAN, &replica);
    let at = BEGAN.plus(1);
    lanes.heard(at, ReplicaId(0), heard(Step::Proposal, 0, 1, OURS), &replica);
    lanes.note(at, &voted(0, 1));
    lanes.heard(at, ReplicaId(2), heard(Step::Prepare, 0, 1, OTHER), &replica);
    lanes.heard(at, ReplicaId(3), heard(Step::Prepare, 0, 1, OURS), &replica);
    let disagreements = |moments: Vec<Moment>| {
        let of = |moment| match moment {
            Moment::Disagreement(wrong) => {
                Some((wrong.replica, wrong.seq, wrong.about, wrong.says, wrong.others))
            }
            _ => None,
        };
        moments.into_iter().filter_map(of).collect::<Vec<_>>()
    };
    let moments = lanes.take(at, BEGAN);
    assert_eq!(slots(&moments)[0].prepares, [(0, 1), (3, 1)]);
    assert_eq!(slots(&moments)[0].batch.as_deref(), Some("01010101"));
    assert_eq!(slots(&moments)[0].otherwise, [(2, 1, "02020202".to_owned())]);
    assert_eq!(disagreements(moments), [(2, 1, About::Batch, "02020202".to_owned(), "01010101".to_owned())]);
    // A second vote of the same replica is shown where it belongs; a third different one is noise.
    lanes.heard(at, ReplicaId(2), heard(Step::Prepare, 0, 1, OURS), &replica);
    lanes.heard(at, ReplicaId(2), heard(Step::Prepare, 0, 1, Digest([3; 32])), &replica);
    let moments = lanes.take(at, BEGAN);
    assert_eq!(slots(&moments)[0].prepares, [(0, 1), (3, 1), (2, 1)]);
    assert_eq!(disagreements(moments), []);
}

#[test]
fn nobody_makes_a_replica_follow_what_cannot_be() {
    let replica = replica();
    let (low, high) = replica.watermarks();
    let mut lanes = Lanes::new(BEGAN, &replica);
    for (from, heard) in [
        (2, heard(Step::Commit, 9, 1, OURS)),
        (2, heard(Step::Commit, 0, high.0 + 1, OURS)),
        (2, heard(Step::Commit, 0, low.0, OURS)),
        (2, heard(Step::Proposal, 0, 1, OURS)),
    ] {
        lanes.heard(BEGAN, ReplicaId(from), heard, &replica);
        assert!(lanes.slots.is_empty(), "{heard:?}");
    }
    // Votes of one replica for all slots there are: as many lanes as have room, and the next slots among them.
    for seq in (1..=high.0).rev() {
        lanes.heard(BEGAN, ReplicaId(2), heard(Step::Commit, 0, seq, OTHER), &replica);
    }
    assert!(lanes.slots.len() <= LANES_MAX);
    pass(&mut lanes, BEGAN.plus(5), 1, 10);
    let moments = lanes.take(BEGAN.plus(100), BEGAN);
    assert_eq!(slots(&moments).len(), 1, "votes alone show no slot: {moments:?}");
    assert_eq!(slots(&moments)[0].executed, Some(15));
}

#[test]
fn what_is_farthest_away_makes_room_for_what_comes_next() {
    let mut lanes = Lanes::new(BEGAN, &replica());
    let last = u64::try_from(LANES_MAX).unwrap() + 1;
    for seq in (2..=last).rev() {
        assert!(lanes.lane(BEGAN, View(0), Seq(seq)).is_some());
    }
    assert!(lanes.lane(BEGAN, View(0), Seq(last + 1)).is_none(), "there are enough before it");
    assert!(lanes.lane(BEGAN, View(0), Seq(1)).is_some());
    assert_eq!((lanes.slots.len(), lanes.slots.contains_key(&Seq(last))), (LANES_MAX, false));
}

#[test]
fn a_slot_waits_for_late_votes_and_is_then_forgotten() {
    let replica = replica();
    let mut lanes = Lanes::new(BEGAN, &replica);
    pass(&mut lanes, BEGAN, 1, 100);
    assert_eq!(lanes.take(BEGAN.plus(200), BEGAN).len(), 1);
    lanes.heard(BEGAN.plus(300), ReplicaId(3), heard(Step::Commit, 0, 1, OURS), &replica);
    let moments = lanes.take(BEGAN.plus(400), BEGAN);
    assert_eq!(slots(&moments)[0].commits, [(3, 300)]);
    lanes.take(BEGAN.plus(101 + LATE_US), BEGAN);
    lanes.heard(BEGAN.plus(102 + LATE_US), ReplicaId(2), heard(Step::Commit, 0, 1, OURS), &replica);
    assert!(lanes.slots.is_empty());
}

#[test]
fn slots_that_a_state_took_the_place_of_are_forgotten() {
    let mut lanes = Lanes::new(BEGAN, &replica());
    lanes.note(BEGAN, &voted(0, 3));
    lanes.note(BEGAN, &handed(200));
    lanes.take(BEGAN.plus(10), BEGAN);
    assert_eq!(lanes.slots.keys().copied().collect::<Vec<_>>(), [Seq(200)]);
}
