//! What a recording of a world holds, and that nothing comes of recording it.

use quorate_host::byzantine::Sin;
use quorate_host::live::SlotLane;

use super::*;
use crate::scenario::{Load as Client, Scenario};
use crate::world::{Fault, Outage, Setting, Whom, World};

/// Four replicas of which the primary crashes and comes back, one hears nothing of it for a while, and one equivocates.
fn troubled() -> Scenario {
    let mut setting = Setting::calm(4);
    setting.parameters.timeout_us = 300_000;
    setting.cuts = vec![Cut { from: 0b0001, to: 0b1000, start: Time(1_000_000), end: Time(1_500_000) }];
    setting.liars = [(ReplicaId(1), vec!["equivocate".parse::<Sin>().unwrap()])].into();
    let outage = Fault::Outage(Whom::One(ReplicaId(0)), Outage::clean(900_000));
    Scenario {
        setting,
        faults: vec![(Time(1_700_000), outage)],
        heal_at: Time(4_500_000),
        clients: vec![Client { commands: 12, think_us: 300_000, ..Client::default() }],
    }
}

fn record(scenario: &Scenario) -> (Header, Vec<Moment>, Run) {
    let mut world = World::new(&scenario.setting);
    world.keep_recording("a trial");
    let run = scenario.examine(&mut world);
    let recording = world.take_recording().unwrap();
    let (header, moments) = recording.finish(world.now(), world.calls(), &run);
    (header, moments, run)
}

fn events(moments: &[Moment]) -> Vec<(Option<u16>, Weight, &str)> {
    let found = moments.iter().filter_map(|moment| match moment {
        Moment::Event(event) => Some((event.replica, event.weight, event.what.as_str())),
        _ => None,
    });
    found.collect()
}

#[test]
fn a_run_that_is_recorded_is_the_run_that_it_was_without() {
    for scenario in [troubled(), Scenario::of(3), Scenario::of(4)] {
        let (.., run) = record(&scenario);
        let again = scenario.examine(&mut World::new(&scenario.setting));
        assert_eq!((run.outcome, run.verdict), (again.outcome, again.verdict));
    }
}

#[test]
fn a_recording_shows_votes_views_crashes_restarts_partitions_lies_and_the_verdict() {
    let (header, moments, run) = record(&troubled());
    assert_eq!((header.n, header.f, header.q, header.control), (4, 1, 3, false));
    assert!(moments.is_sorted_by_key(Moment::at), "in the order of time");
    let stands: Vec<&Stand> = moments
        .iter()
        .filter_map(|it| if let Moment::Replica(stand) = it { Some(stand) } else { None })
        .collect();
    assert!(stands.iter().any(|it| it.id == 0 && !it.up && it.state == State::Stopped), "its crash");
    assert!(stands.iter().any(|it| it.id == 2 && it.state == State::ChangingView), "a view change");
    assert!(stands.iter().any(|it| it.id == 3 && !it.links[0] || it.id == 0 && !it.links[3]), "the cut");
    assert!(
        stands.iter().any(|it| it.id == 1 && it.lies > 0 && it.behaviour.as_deref() == Some("equivocate"))
    );
    let last = |id| stands.iter().rev().find(|it| it.id == id).unwrap();
    assert!((0..4).all(|id| last(id).up && last(id).view == run.outcome.view), "all are in the last view");
    let events = events(&moments);
    for (replica, weight, words) in [
        (None, Weight::Deed, "nothing that replica 0 says reaches replica 3"),
        (Some(0), Weight::Deed, "its process dies"),
        (Some(0), Weight::Deed, "it is started again"),
        (Some(1), Weight::Warning, "it told its first lie (equivocate)"),
        (None, Weight::Deed, "everything heals"),
        (Some(2), Weight::Note, "in view 1; its primary is 1"),
    ] {
        let found =
            events.iter().any(|event| (event.0, event.1) == (replica, weight) && event.2.contains(words));
        assert!(found, "{words}: {events:?}");
    }
    let Some(Moment::Verdict { t, lines }) = moments.last() else { panic!("the verdict is the last word") };
    assert_eq!((lines.len(), *t), (5, run.outcome.virtual_us));
    assert!(lines[0].starts_with("safe ") && lines[0].ends_with("held"), "{lines:?}");
}

#[test]
fn the_lane_of_a_slot_fills_from_the_request_to_the_reply() {
    let mut scenario = troubled();
    (scenario.faults, scenario.setting.cuts) = (Vec::new(), Vec::new());
    scenario.setting.liars.clear();
    let (_, moments, run) = record(&scenario);
    let mut lanes: Vec<&SlotLane> =
        moments.iter().filter_map(|it| if let Moment::Slot(lane) = it { Some(lane) } else { None }).collect();
    // The newest of a slot is what there is to know.
    lanes.reverse();
    for replica in 0..4 {
        let lane = lanes.iter().find(|lane| lane.replica == replica && lane.seq == 3).unwrap();
        assert_eq!(
            (lane.operations, lane.view, lane.prepares.len(), lane.commits.len()),
            (1, 0, 4, 4),
            "{lane:?}"
        );
        let steps = [lane.proposed, lane.prepared, lane.committed, lane.executed, lane.replied];
        assert!(steps.iter().all(Option::is_some) && steps.is_sorted(), "{lane:?}");
        assert!(lane.request <= lane.proposed, "{lane:?}");
        // A link takes a millisecond.
        let proposed = lane.proposed.unwrap();
        let mut times: Vec<u64> = lane.prepares.iter().map(|(_, at)| *at).collect();
        times.sort_unstable();
        let third = times[2];
        assert!(lane.prepared.unwrap() >= third && third >= proposed, "{lane:?}");
    }
    let load: Vec<&Load> =
        moments.iter().filter_map(|it| if let Moment::Load(load) = it { Some(load) } else { None }).collect();
    let done = load.last().unwrap();
    assert_eq!((done.done, done.in_flight), (run.outcome.accepted, 0));
    assert!(
        load.iter().any(|it| it.p50_us.is_some_and(|us| us >= 5_000)),
        "five trips of a millisecond each"
    );
}

#[test]
fn what_went_wrong_is_in_the_recording_and_so_is_its_bound() {
    let mut scenario = troubled();
    scenario.setting.liars.clear();
    scenario.faults = [1, 2].map(|id| (Time(1_100_000), Fault::Crash(ReplicaId(id)))).into();
    let (_, moments, run) = record(&scenario);
    assert!(run.violation.is_some());
    let alarm =
        |event: &(Option<u16>, Weight, &str)| event.1 == Weight::Alarm && event.2.contains("unanswered");
    assert!(events(&moments).iter().any(alarm), "{:?}", events(&moments));
    let mut full = Recording::new(Header { n: 4, ..Header::default() }, Time(0));
    for _ in 0..MOMENTS_MAX + 10 {
        full.event(Time(1), None, (Weight::Note, String::new()));
    }
    assert_eq!(full.moments.len(), MOMENTS_MAX + 1);
    assert!(
        matches!(full.moments.last(), Some(Moment::Event(event)) if event.what.contains("at its bound of 200000"))
    );
}
