//! What a picture shows, and what it leaves out.

use quorate_protocol::types::Seq;

use super::*;
use crate::network::{Cut, Party};
use crate::scenario::Load;
use crate::world::{Fault, Outage, Rule, Setting, Whom};

/// Four replicas of which the primary crashes and comes back, and one of which hears nothing of the primary.
fn troubled() -> Scenario {
    let mut setting = Setting::calm(4);
    setting.parameters.timeout_us = 300_000;
    setting.cuts = vec![Cut { from: 0b0001, to: 0b1000, start: Time(1_000_000), end: Time(1_500_000) }];
    let outage = Fault::Outage(Whom::One(ReplicaId(0)), Outage::clean(900_000));
    Scenario {
        setting,
        faults: vec![(Time(1_007_500), outage)],
        heal_at: Time(2_500_000),
        clients: vec![Load { commands: 6, in_flight: 1, bundle: 1, think_us: 0, ..Load::default() }],
    }
}

/// Whether every element that is opened is closed, in order.
fn is_well_formed(svg: &str) -> bool {
    let mut open: Vec<&str> = Vec::new();
    let style = svg.find("<style>").unwrap_or(0)..svg.find("</style>").unwrap_or(0);
    let text = [&svg[..style.start], &svg[style.end + "</style>".len()..]].concat();
    for tag in text.split('<').skip(1) {
        let Some((tag, _)) = tag.split_once('>') else { return false };
        let name = tag.split(' ').next().unwrap_or("");
        match name.strip_prefix('/') {
            Some(name) if open.pop() == Some(name) => {}
            Some(_) => return false,
            None if tag.ends_with('/') => {}
            None => open.push(text[text.find(name).unwrap_or(0)..].get(..name.len()).unwrap_or("")),
        }
    }
    open.is_empty()
}

#[test]
fn a_picture_shows_messages_crashes_restarts_views_and_losses() {
    let (outcome, svg) = run(&troubled(), MARKS);
    assert!(outcome.is_ok_and(|outcome| outcome.view == 1 && outcome.injected.restarts == 1));
    assert!(is_well_formed(&svg));
    for shown in [
        "client 1",
        "replica 3",
        "PRE-PREPARE v0 n1",
        "PREPARE v0 n1",
        "COMMIT v1 n3",
        "VIEW-CHANGE v1",
        "NEW-VIEW v1",
        ">FORWARD t",
        "accepts &quot;ok&quot;",
        ">crashes<",
        ">starts again<",
        ">wants v1<",
        ">in v1<",
        ">n6<",
        "ms quiet<",
        "everything heals",
        "the end, at",
    ] {
        assert!(svg.contains(shown), "{shown}");
    }
    assert!(svg.contains("replica 0 to replica 3: PRE-PREPARE") && svg.contains(", lost</title>"));
    assert!(!svg.contains("violated"));
    assert_eq!(run(&troubled(), MARKS).1, svg, "the same world gives the same picture");
}

#[test]
fn a_picture_of_a_failure_ends_with_what_went_wrong() {
    let mut scenario = troubled();
    scenario.faults = (0..2).map(|id| (Time(1_007_500), Fault::Crash(ReplicaId(id)))).collect();
    let (outcome, svg) = run(&scenario, MARKS);
    assert!(matches!(outcome, Err(Violation::NoProgress { .. })), "{outcome:?}");
    assert!(is_well_formed(&svg));
    assert!(
        svg.contains("violated") && svg.contains("after everything healed, requests are still unanswered"),
        "{svg}"
    );
    assert!(svg.contains("only say again what was said twice"), "who waits repeats itself");
}

#[test]
fn a_long_story_is_told_from_the_end_and_says_so() {
    let (short, long) = (run(&troubled(), 20).1, run(&troubled(), MARKS).1);
    assert!(is_well_formed(&short) && short.len() < long.len() / 2);
    assert!(short.contains("the last ") && short.contains(" came before these"));
    assert!(!short.contains("REQUEST t0") && short.contains("everything heals"));
}

#[test]
fn what_somebody_says_cannot_break_a_picture() {
    let mut sketch = Sketch::new(10);
    let party = Party::Replica(ReplicaId(1));
    sketch.add(Time(5), Mark::Says(party, "</svg><script>\"&\u{7}".to_owned()));
    sketch.add(Time(6), Mark::Executes(ReplicaId(1), Seq(3), true));
    let subject = Subject {
        title: "a < b & c".to_owned(),
        clients: 0,
        replicas: 2,
        liars: vec![ReplicaId(0)],
        end: Time(7),
        violation: Some(("<b>\n\nlong ".repeat(60), Some(ReplicaId(1)))),
    };
    let svg = draw(&sketch, &subject);
    assert!(is_well_formed(&svg) && !svg.contains("<script>") && !svg.contains("<b>"));
    assert!(svg.contains("replica 0 (liar)") && svg.contains("state n3"));
}

#[test]
fn what_a_test_holds_back_is_drawn_as_held_and_a_message_to_several_is_one() {
    let mut world = World::new(&Setting::calm(4));
    world.keep_sketch(MARKS);
    world.add_rule(Rule { from: None, to: Some(ReplicaId(2)), kind: Some("prepare".to_owned()), hold: true });
    world.add_client(|_| {}).expect("a client comes");
    world.run_until(Time(1_010_000)).expect("nothing is wrong");
    let subject = Subject::of(&world, "held", None);
    let sketch = world.take_sketch().expect("it was kept");
    let prepares = sketch.marks().filter_map(|(_, mark)| match mark {
        Mark::Sent(sent) if sent.phase == Phase::Prepare => Some(&sent.copies),
        _ => None,
    });
    let prepares: Vec<_> = prepares.collect();
    let held = prepares.iter().filter(|copies| copies.contains(&(Party::Replica(ReplicaId(2)), Fate::Held)));
    assert!(held.count() >= 2 && prepares.iter().all(|copies| copies.len() == 3));
    assert!(draw(&sketch, &subject).contains("held back"));
}

/// A cluster whose first primary begins to lie when some things have been done already.
fn lied_to() -> Scenario {
    let mut setting = Setting::calm(4);
    setting.parameters.timeout_us = 300_000;
    let sin = "equivocate:after=300ms,until=500ms".parse().expect("there is such a lie");
    setting.liars = [(ReplicaId(0), vec![sin])].into();
    let heal_at = Time(3_000_000);
    let clients =
        vec![Load { commands: 40, in_flight: 1, bundle: 1, think_us: 50_000, ..Load::default() }; 2];
    Scenario { setting, faults: Vec::new(), heal_at, clients }
}

fn sketch_of(scenario: &Scenario, window: Window) -> (Sketch, String) {
    let mut world = World::new(&scenario.setting);
    world.keep_sketch_of(window);
    assert_eq!(scenario.examine(&mut world).violation, None);
    let subject = Subject::of(&world, "a liar", None);
    let sketch = world.take_sketch().expect("it was kept");
    let svg = draw(&sketch, &subject);
    (sketch, svg)
}

#[test]
fn a_picture_can_begin_where_the_first_lie_is_told_and_shows_where_it_is_proven() {
    let scenario = lied_to();
    let (last, end) = sketch_of(&scenario, Window::last(60));
    assert!(!end.contains(">lies: equivocate<"), "the last of many messages do not show it");
    let from = last.first_trouble().expect("somebody lied");
    let (sketch, svg) = sketch_of(&scenario, Window::starting(from, 200));
    assert!(is_well_formed(&svg));
    assert!(svg.contains(">lies: equivocate<") && svg.contains(">proof: 0, two-prepares<"), "{svg}");
    assert!(
        svg.contains("lies told by then") && svg.contains("came before these") && svg.contains("after them")
    );
    assert!(svg.contains("the run goes on until"));
    let lie = sketch.marks().position(|(_, mark)| matches!(mark, Mark::Lies(..))).expect("it is shown");
    assert!((1..60).contains(&lie), "a little before it, and not more: {lie}");
    assert!(sketch.marks().count() <= 200 && sketch.later() > 0 && sketch.forgotten() > 0);
}

#[test]
fn a_picture_of_a_time_shows_nothing_else() {
    let (from, until) = (Time(1_100_000), Time(1_200_000));
    let (sketch, _) = sketch_of(&lied_to(), Window { from, until, ..Window::starting(from, MARKS) });
    assert!(sketch.marks().count() > 10);
    assert!(sketch.marks().all(|(at, _)| (from..=until).contains(at)));
    assert_eq!(sketch_of(&lied_to(), Window::last(20_000)).0.forgotten(), 0);
}

#[test]
fn without_a_liar_the_first_crash_is_what_a_picture_begins_with() {
    let (sketch, _) = sketch_of(&troubled(), Window::last(5));
    let from = sketch.first_trouble().expect("the primary crashed");
    assert!((Time(1_000_000)..=Time(1_007_500)).contains(&from), "{from:?}");
}
