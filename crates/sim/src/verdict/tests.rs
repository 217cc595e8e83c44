//! That each judgement can fall, and falls alone.

use quorate_protocol::types::{ReplicaId, Seq, Time};

use super::*;
use crate::world::Setting;

fn asked(world: &mut World, client: usize, command: &str) {
    world.ask(client, command.as_bytes()).unwrap();
    let end = world.now().plus(200_000);
    world.run_until(end).unwrap();
}

fn a_calm_world() -> World {
    let mut world = World::new(&Setting::calm(4));
    for _ in 0..2 {
        world.add_client(|_| {}).unwrap();
    }
    world.run_until(Time(1_500_000)).unwrap();
    world
}

#[test]
fn a_good_run_is_good_in_five_lines_and_as_an_object() {
    let mut world = a_calm_world();
    for command in ["put x 1", "add x 2", "get x"] {
        asked(&mut world, 0, command);
        asked(&mut world, 1, command);
    }
    assert_eq!(world.calls().unwrap().len(), 6);
    let verdict = Verdict::of(&world, None);
    assert!(verdict.is_good(), "{verdict}");
    assert!(verdict.judgements().iter().all(|(_, judgement)| judgement.held()), "{verdict}");
    assert_eq!(verdict.to_string().lines().count(), 5);
}

#[test]
fn each_violation_is_blamed_on_what_it_is_about() {
    let world = a_calm_world();
    let now = world.now();
    let replica = ReplicaId(2);
    for (violation, at) in [
        (Violation::Agreement { replica, seq: Seq(1) }, 0),
        (Violation::NoProgress { now, healed: now, waiting: String::new() }, 1),
        (Violation::Livelock(7), 1),
        (Violation::Memory { replica, what: "slots", kept: 2, most: 1 }, 3),
        (Violation::FalseAlarm { replica, alarm: "he lies".to_owned() }, 4),
    ] {
        let verdict = Verdict::of(&world, Some(&violation));
        let violated: Vec<usize> = (0..5).filter(|index| verdict.judgements()[*index].1.violated()).collect();
        assert_eq!(violated, [at], "{violation}\n{verdict}");
        assert!(!verdict.is_good());
    }
}

#[test]
fn what_clients_saw_is_judged_by_the_reader_of_their_application() {
    let mut world = a_calm_world();
    assert!(matches!(Verdict::of(&world, None).linearizable, Judgement::NotChecked(_)), "nobody asked");
    asked(&mut world, 0, "put x 1");
    asked(&mut world, 1, "get x");
    assert!(Verdict::of(&world, None).linearizable.held());
    // One that reads every answer as that of another key's value.
    let wrong = |client: &str, asked: (u64, &[u8]), answered: Option<(u64, &[u8])>| {
        let read = asked.1.starts_with(b"get");
        words(client, asked, answered.map(|(at, reply)| (at, if read { &b"7"[..] } else { reply })))
    };
    let verdict = Verdict::reading(&world, None, &wrong);
    assert!(verdict.linearizable.violated() && verdict.safe.held(), "{verdict}");
    let none = |_: &str, _: (u64, &[u8]), _: Option<(u64, &[u8])>| None;
    assert!(matches!(Verdict::reading(&world, None, &none).linearizable, Judgement::NotChecked(_)));
}
