//! What points say of runs that are made up.

use std::time::Duration;

use super::super::Next;
use super::*;
use crate::load::LoadReport;
use crate::record::{NetworkCheck, Trial};
use crate::search::End;

const CELL_LIMIT_US: u64 = 100_000;

fn cell() -> Cell {
    Cell { f: 1, n: 4, p99_limit_ms: 100, scenario: "none".to_owned(), ..Cell::default() }
}

/// A run of a second in which all of so many calls took so long.
fn once(calls: u64, took_us: u64) -> Once {
    let mut latency = hdrhistogram::Histogram::new_with_bounds(1, 60_000_000, 3).unwrap();
    latency.saturating_record_n(took_us, calls);
    let report = LoadReport {
        matched: calls,
        failed: 0,
        submitted: calls,
        measured: Duration::from_secs(1),
        latency: latency.clone(),
        phases: Vec::new(),
        highest: calls,
        bundles: calls,
        operations: calls,
        retries: 0,
        dissents: 0,
        offered: calls,
        sent: calls,
        answered: calls,
        missed_schedule: 0,
        due_latency: latency,
        series: Vec::new(),
        views: Vec::new(),
        badly_signed: 0,
    };
    let mut costs = Costs::default();
    costs.served.calls = calls;
    Once {
        report,
        costs,
        struck: Vec::new(),
        lies: BTreeMap::new(),
        network: NetworkCheck::default(),
        views: (0, 0),
        within: took_us <= CELL_LIMIT_US,
    }
}

fn trial(offered_rps: f64, p99_us: f64) -> Trial {
    Trial { offered_rps, p99_us, sustained: p99_us <= CELL_LIMIT_US as f64, ..Trial::default() }
}

/// A peak of 1000 a second that a search found, and so many runs of three.
fn peak(runs: Vec<Once>) -> CellMeasured {
    let trials = vec![trial(1_000.0, 9e4), trial(1_400.0, 9e5), trial(1_040.0, 2e5)];
    let found = Found { best: Some(trials[0]), trials, end: Some(End::Converged), expected_us: 20_000.0 };
    CellMeasured {
        found: Some(found),
        rate: Some(1_000.0),
        runs,
        asked: 3,
        is_peak: true,
        ..CellMeasured::default()
    }
}

fn point(measured: CellMeasured, ended: Result<(), RunError>) -> Point {
    gathered((1, &cell()), (measured, ended), (2, 2)).0
}

#[test]
fn a_point_says_how_its_search_ended_and_how_near_the_lowest_load_was_that_was_too_much() {
    let runs = || vec![once(1_000, 50_000), once(1_000, 50_000), once(1_000, 50_000)];
    let told = point(peak(runs()), Ok(()));
    assert_eq!((told.search_end.as_str(), told.saturated_by.as_str()), ("bracketed", "latency limit"));
    assert!((told.search_gap - 0.04).abs() < 1e-9 && told.notes.is_empty() && told.runs_within == 3);
    for (end, words) in [(End::OutOfTrials, "out of trials"), (End::Unsaturated, "unsaturated")] {
        let mut measured = peak(runs());
        let found = measured.found.as_mut().unwrap();
        (found.end, found.trials) = (Some(end), vec![trial(1_000.0, 9e4)]);
        let told = point(measured, Ok(()));
        assert_eq!((told.search_end.as_str(), told.saturated_by.as_str()), (words, ""));
        assert!(told.search_gap.abs() < 1e-9);
    }
    // A run that was not borne gives a search its upper end.
    let mut measured = peak(runs());
    let found = measured.found.as_mut().unwrap();
    (found.end, found.trials) = (Some(End::OutOfTrials), vec![trial(1_000.0, 9e4)]);
    measured.runs.insert(1, once(1_100, 150_000));
    measured.steps = vec![(1_000.0, true), (1_100.0, false), (990.0, true), (1_000.0, true)];
    measured.settle();
    let told = point(measured, Ok(()));
    assert_eq!((told.search_end.as_str(), told.runs.len(), told.search.len()), ("bracketed", 3, 2));
    assert!((told.search_gap - 0.1).abs() < 1e-9);
}

#[test]
fn the_last_runs_within_the_limits_count_and_the_others_are_what_was_tried() {
    let mut measured = peak(Vec::new());
    let mut rates = Vec::new();
    // 1,030 a second are borne, and no more.
    while let Ok(Next::Run(Some(rate))) = measured.next(1e5) {
        rates.push(rate.round());
        let took_us = if rate < 1_030.0 { 50_000 } else { 150_000 };
        measured.note(once(rate as u64, took_us), Some(rate));
    }
    assert_eq!(rates, [1_000.0, 1_040.0, 1_000.0, 1_040.0, 1_000.0]);
    measured.settle();
    let told = point(measured, Ok(()));
    assert_eq!((told.runs_within, told.runs.len(), told.notes.len()), (3, 3, 0));
    let tried: Vec<bool> = told.search.iter().skip(3).map(|trial| trial.sustained).collect();
    assert_eq!(tried, [false, false]);
}

#[test]
fn a_peak_that_no_run_bears_has_no_number() {
    let mut measured = peak(Vec::new());
    let error = loop {
        match measured.next(1e5) {
            Ok(Next::Run(rate)) => measured.note(once(600, 120_000), rate),
            Ok(Next::Enough) => panic!("nothing was borne"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(
        error.contains("still at 600 calls/s (p99 120 ms, limit 100 ms; 100.0 % of the calls"),
        "{error}"
    );
    measured.settle();
    let (tried, ended) = (measured.found.as_ref().unwrap().trials.clone(), RunError::Verdict(error));
    assert_eq!((tried.len(), tried.last().map(|trial| trial.sustained)), (11, Some(false)));
    assert_eq!(point(measured, Err(ended)).search, tried, "who reads why can see what was tried");
    let mut measured = peak(vec![once(1_000, 150_000)]);
    measured.steps = vec![(1_000.0, false)];
    measured.settle();
    let told = point(measured, Err(RunError::Interrupted));
    assert!(told.problem.is_some() && told.search.len() == 4, "what was tried stays");
}

#[test]
fn what_ran_out_is_told_by_what_was_used_and_not_by_the_number_of_replicas() {
    let of = |cpu_us: u64, missed: u64| {
        let mut run = once(1_000, 50_000);
        run.costs.used.threads_us = [("verifier".to_owned(), cpu_us)].into();
        run.report.missed_schedule = missed;
        let told = point(peak(vec![run]), Ok(()));
        assert!(told.cpu_bound, "there are four replicas on two cores");
        (told.cores_used, told.saturated_by)
    };
    assert_eq!(of(1_850_000, 500), (1.85, "processor".to_owned()));
    assert_eq!(of(1_750_000, 31), (1.75, "clients".to_owned()));
    assert_eq!(of(1_750_000, 30), (1.75, "latency limit".to_owned()));
    // What a fault holds up is nobody's want of room.
    let mut struck = peak(vec![once(1_000, 50_000)]);
    struck.plan.strikes = "crash-primary@2s"
        .parse::<crate::figure::Scenario>()
        .unwrap()
        .plan(4, 1, false)
        .unwrap()
        .unwrap()
        .strikes;
    struck.is_peak = false;
    struck.runs[0].report.missed_schedule = 500;
    assert_eq!(point(struck, Ok(())).saturated_by, "");
}

#[test]
fn replicas_may_use_up_their_cores_while_the_machines_of_clients_have_some_left() {
    let mut run = once(1_000, 50_000);
    run.costs.used.threads_us = [("verifier".to_owned(), 1_900_000)].into();
    run.costs.used.clients_us = 100_000;
    let of = |cores| gathered((1, &cell()), (peak(vec![once_like(&run)]), Ok(())), cores).0.saturated_by;
    assert_eq!((of((2, 8)).as_str(), of((4, 8)).as_str()), ("processor", "latency limit"));
}

fn once_like(run: &Once) -> Once {
    let mut like = once(1_000, 50_000);
    like.costs = run.costs.clone();
    like
}

#[test]
fn a_liar_that_was_deposed_before_anything_was_measured_is_told() {
    let plan = |text: &str| {
        let mut plan = Plan::default();
        plan.liars.insert(if text == "primary" { 0 } else { 3 }, vec!["equivocate".to_owned()]);
        plan
    };
    let run = |view_at_start, view_at_end| Run { view_at_start, view_at_end, ..Run::default() };
    let deposed =
        "the liar was deposed before the measured time; what is measured is view 1 with replica 1 as primary";
    assert_eq!(liar_notes(&[run(1, 1), run(1, 2)], &plan("primary"), 4), [deposed]);
    assert_eq!(
        liar_notes(&[run(0, 0), run(1, 1), run(0, 1)], &plan("primary"), 4),
        [
            format!("in 1 of 3 runs {deposed}"),
            "in 1 of 3 runs the liar was deposed within the measured time: it began in view 0 and ended in view 1"
                .to_owned(),
        ]
    );
    // All views around, it is the primary again; and a backup is not deposed.
    assert!(liar_notes(&[run(4, 4)], &plan("primary"), 4).is_empty());
    assert!(liar_notes(&[run(1, 1)], &plan("backup"), 4).is_empty());
}

#[test]
fn views_of_a_run_are_in_the_record() {
    let mut run = once(1_000, 50_000);
    run.views = (1, 2);
    let told = point(peak(vec![run]), Ok(()));
    assert_eq!((told.runs[0].view_at_start, told.runs[0].view_at_end), (1, 2));
}

#[test]
fn an_interrupted_cell_keeps_the_runs_that_were_made() {
    let (told, files, _) =
        gathered((1, &cell()), (peak(vec![once(1_000, 50_000)]), Err(RunError::Interrupted)), (2, 2));
    assert_eq!((told.problem, told.agreement, files.len()), (None, true, 1));
    assert_eq!(told.notes, ["interrupted: 1 of 3 runs were made"]);
    assert!((told.throughput_rps - 1_000.0).abs() < 1e-9);
    let told = point(peak(Vec::new()), Err(RunError::Interrupted));
    assert_eq!(told.problem.as_deref(), Some("interrupted: nothing was measured"));
}

#[test]
fn a_point_without_a_number_has_its_trials_and_what_the_network_takes() {
    let lowest = trial(1_000.0, 9e5);
    let mut measured = peak(Vec::new());
    let found = measured.found.as_mut().unwrap();
    (found.best, found.end, found.trials) = (None, Some(End::Nothing), vec![lowest]);
    let told =
        point(measured, Err(RunError::Unsustained { tried: 1, lowest, limit_us: 1e5, expected_us: 2e4 }));
    assert!(told.problem.unwrap().starts_with("none of the 1 loads tried"));
    assert_eq!((told.search.len(), told.search_end.as_str()), (1, "nothing sustained"));
    assert!((told.network_check.expected_p50_us - 20_000.0).abs() < 1e-9);
}
