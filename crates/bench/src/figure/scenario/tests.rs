//! Scenarios: what is read, what is refused, and who does what in which cluster.

use super::*;

fn plan(text: &str, n: u16, f: u16) -> Plan {
    text.parse::<Scenario>().unwrap().plan(n, f, false).unwrap().unwrap()
}

fn refused(text: &str) -> String {
    let error = text.parse::<Scenario>().unwrap_err();
    format!("{error}; fix: {}", error.fix())
}

#[test]
fn a_scenario_is_written_as_it_was_read() {
    for text in [
        "none",
        "crash:f",
        "crash:f-1",
        "crash:3",
        "crash-primary@2s",
        "crash-primary@1500ms:back=3s",
        "pause-primary@500ms",
        "silent:f",
        "silent-primary",
        "equivocate:2",
        "equivocate:1:view=0..2,to=1+3",
        "equivocate-primary",
        "delay:f:by=200ms",
        "delay-primary",
        "delay-primary:by=200ms",
        "lying-replies:f-1",
        "flood:f:rate=5000",
        "bad-signatures",
        "lie:f:mute:to=1+3",
        "lie-primary:wrong-digest",
    ] {
        assert_eq!(text.parse::<Scenario>().unwrap().to_string(), text);
    }
    assert_eq!("crash-primary@2000ms".parse::<Scenario>().unwrap().to_string(), "crash-primary@2s");
    assert_eq!(" none ".parse::<Scenario>(), Ok(Scenario::None));
}

#[test]
fn every_form_that_errors_name_is_one() {
    for (form, _) in FORMS {
        let text = form.replace("BEHAVIOUR", "mute").replace('K', "f").replace('T', "2s");
        assert!(text.parse::<Scenario>().is_ok(), "{form}: {text}");
    }
    assert!(
        FORMS.iter().all(|(form, _)| refused("fire").contains(&format!("`{form}`"))),
        "{}",
        refused("fire")
    );
}

#[test]
fn what_is_no_scenario_is_refused_with_what_is_missing() {
    for (text, why, fix) in [
        ("", "is ``, which is no scenario", "write one of `none`"),
        ("fire:2", "is `fire:2`, which is no scenario", "write one of `none`"),
        (
            "crash",
            "is `crash`, which does not say how many replicas",
            "write `crash:f`, `crash:f-1` or a number from 1",
        ),
        ("crash:", "does not say how many", "`crash:f`"),
        ("crash:0", "is `crash:0`, which does not say how many", "`crash:1`"),
        ("silent:-1", "does not say how many", "`silent:f`"),
        ("silent:f+1", "does not say how many", "`silent:f`"),
        ("crash:70000", "does not say how many", "`crash:f`"),
        ("equivocate:view=0", "does not say how many", "`equivocate:f`"),
        ("crash-primary", "is `crash-primary`, which does not say when", "write `crash-primary@2s`"),
        ("crash-primary@2", "does not say when", "`crash-primary@500ms`"),
        ("pause-primary@soon", "does not say when", "`pause-primary@2s`"),
        ("crash-primary@-2s", "does not say when", "`crash-primary@2s`"),
        ("crash-primary@2s:back=0s", "which ends in `:back=0s`", "write `:back=` and a time"),
        ("crash-primary@2s:for=1s", "which ends in `:for=1s`", "write `:back=` and a time"),
        ("none:1", "is `none:1`, which ends in `:1`", "end it there"),
        ("crash:1:by=2s", "which ends in `:by=2s`", "end it there"),
        ("bad-signatures:2", "which ends in `:2`", "end it there"),
        ("silent:f:", "which ends in `:`", "write `:` and settings"),
        ("silent-primary@2s", "which ends in `@2s`", "write `:` and settings"),
        ("delay:f:bye=2s", "`delay` has no setting `bye`", "as for `quorate replica --byzantine`"),
        ("delay:f:by=2", "`by=2` must be a time", "whose help lists all"),
        ("lie:f", "`` is no lie", "whose help lists all"),
        ("lie:f:fib", "`fib` is no lie that a replica can tell", "whose help lists all"),
    ] {
        let shown = refused(text);
        assert!(
            shown.contains(why) && shown.split("; fix: ").nth(1).unwrap().contains(fix),
            "{text}: {shown}"
        );
    }
}

#[test]
fn backups_have_the_highest_ids_and_the_primary_is_replica_0() {
    assert_eq!(plan("crash:f", 7, 2).crashed, [5, 6]);
    assert_eq!(plan("crash:f-1", 7, 2).crashed, [6]);
    assert_eq!(plan("crash:1", 6, 1).crashed, [5]);
    let liars =
        |text, n, f| plan(text, n, f).liars.into_iter().map(|(id, sins)| format!("{id}={}", sins.join("+")));
    let liars = |text, n, f| liars(text, n, f).collect::<Vec<_>>().join(" ");
    assert_eq!(liars("silent:f", 7, 2), "5=mute 6=mute");
    assert_eq!(liars("silent-primary", 7, 2), "0=mute");
    assert_eq!(liars("equivocate:1:to=0", 4, 1), "3=equivocate:to=0");
    assert_eq!(liars("delay:1", 4, 1), "3=delay:by=100ms");
    assert_eq!(liars("delay-primary", 4, 1), "0=delay:by=100ms,kinds=pre-prepare");
    assert_eq!(liars("delay-primary:by=2s,kinds=reply", 4, 1), "0=delay:by=2s,kinds=reply");
    assert_eq!(liars("flood:1:rate=9", 4, 1), "3=flood:rate=9");
    assert_eq!(liars("lying-replies:f", 4, 1), "3=lying-replies");
    assert_eq!(liars("lie-primary:wrong-digest:view=0", 4, 1), "0=wrong-digest:view=0");
    assert_eq!(plan("none", 4, 1), Plan::default());
}

#[test]
fn what_happens_in_the_measured_time_happens_in_order() {
    let strikes = plan("crash-primary@2s:back=1500ms", 4, 1).strikes;
    let (at, back) = (Duration::from_secs(2), Duration::from_millis(3500));
    let kill = Strike { after: at, deed: Deed::Kill, whom: Whom::Primary };
    assert_eq!(strikes, [kill, Strike { after: back, deed: Deed::Restart, whom: Whom::Last }]);
    let pause = plan("pause-primary@2s", 4, 1);
    assert_eq!(pause.strikes, [Strike { after: at, deed: Deed::Pause, whom: Whom::Primary }]);
    assert_eq!((pause.faulty(), plan("crash-primary@2s:back=1s", 4, 1).faulty()), (1, 1));
    let bad = plan("bad-signatures", 4, 1).bad_clients.unwrap();
    assert_eq!((bad.connections, bad.share), (100, 0.5));
}

#[test]
fn more_than_f_are_too_many_unless_that_is_wanted() {
    let crash: Scenario = "crash:2".parse().unwrap();
    let error = crash.plan(4, 1, false).unwrap_err();
    assert_eq!(error, ScenarioError::TooMany { scenario: "crash:2".into(), faulty: 2, n: 4, f: 1 });
    assert_eq!(crash.plan(4, 1, true).unwrap().unwrap().crashed, [2, 3]);
    // Six replicas tolerate no more than four do.
    assert!(crash.plan(6, 1, false).is_err() && crash.plan(7, 2, false).is_ok());
    let all: Scenario = "crash:4".parse().unwrap();
    assert!(matches!(all.plan(4, 1, true), Err(ScenarioError::Backups { asked: 4, n: 4, .. })));
    let nobody: Scenario = "silent:f-1".parse().unwrap();
    assert_eq!(nobody.plan(4, 1, false), Ok(None));
    assert!(nobody.plan(7, 2, false).unwrap().is_some());
}
