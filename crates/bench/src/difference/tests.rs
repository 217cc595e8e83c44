//! Differences that are there and differences that are noise.

use super::*;
use crate::limits::{Effort, Options, measure};
use crate::record::Provenance;

/// A record of some points. What the machine could do is measured once for all tests: only its form matters.
fn record(points: Vec<Point>) -> Record {
    static LIMITS: std::sync::OnceLock<Limits> = std::sync::OnceLock::new();
    let options = Options { dirs: Vec::new(), effort: Effort::Smoke, ..Options::default() };
    let limits = LIMITS.get_or_init(|| measure(&options)).clone();
    let (title, configuration) = ("a figure".to_owned(), String::new());
    let (about, draw, provenance) = (String::new(), Vec::new(), Provenance::default());
    Record { title, about, draw, configuration, provenance, limits, points }
}

fn cell(n: u16, rate: &str) -> Cell {
    let f = (n - 1) / 3;
    Cell { f, n, scenario: "none".into(), rate: rate.into(), ..Cell::default() }
}

/// A point whose runs have these throughputs, and latencies in proportion.
fn point(cell: Cell, runs: &[f64]) -> Point {
    let run =
        |rps: &f64| Run { throughput_rps: *rps, p50_us: rps / 10.0, p99_us: rps / 5.0, ..Run::default() };
    Point { cell, runs: runs.iter().map(run).collect(), cpu_us_per_request: 40.0, ..Point::default() }
}

fn verdicts(a: &[f64], b: &[f64], rate: &str) -> Vec<(&'static str, Verdict)> {
    let (a, b) = (record(vec![point(cell(4, rate), a)]), record(vec![point(cell(4, rate), b)]));
    let difference = Difference::between(&a, &b).unwrap();
    let judged = difference.rows.iter().filter(|row| row.verdict != Verdict::Shown);
    judged.map(|row| (row.measure, row.verdict)).collect()
}

const BEFORE: [f64; 5] = [25_000.0, 25_200.0, 24_900.0, 25_100.0, 24_800.0];

#[test]
fn an_eighth_more_is_better_and_an_eighth_less_is_worse() {
    let more = BEFORE.map(|rps| rps * 1.125);
    assert_eq!(verdicts(&BEFORE, &more, "peak"), [("throughput_rps", Verdict::Better)]);
    assert_eq!(verdicts(&more, &BEFORE, "peak"), [("throughput_rps", Verdict::Worse)]);
    // Three runs are enough where they agree.
    assert_eq!(verdicts(&BEFORE[..3], &more[..3], "peak"), [("throughput_rps", Verdict::Better)]);
}

#[test]
fn a_peak_differs_only_beyond_what_the_searches_tell_apart() {
    let found =
        |runs: &[f64], gap: f64| record(vec![Point { search_gap: gap, ..point(cell(4, "peak"), runs) }]);
    let more = BEFORE.map(|rps| rps * 1.125);
    let verdict = |gap: f64| Difference::between(&found(&BEFORE, gap), &found(&more, 0.04)).unwrap().differs;
    assert!(!verdict(0.15), "the first search says that the peak may be 15 % higher");
    assert!(verdict(0.05), "5 % is not enough");
    let step = BEFORE.map(|rps| rps * 1.08);
    let steps = Difference::between(&found(&BEFORE, 0.01), &found(&step, 0.01)).unwrap();
    assert!(!steps.differs, "one search stopped a step before the other");
    // A load that was given was not looked for.
    let given = |runs: &[f64]| record(vec![Point { search_gap: 0.2, ..point(cell(4, "20000"), runs) }]);
    assert!(Difference::between(&given(&BEFORE), &given(&more)).unwrap().differs);
}

#[test]
fn the_same_runs_in_another_order_and_small_steps_are_no_difference() {
    let mut other = BEFORE;
    other.reverse();
    assert_eq!(verdicts(&BEFORE, &other, "peak"), [("throughput_rps", Verdict::Same)]);
    // Four per cent beyond every run of before: less than a machine's hours differ.
    let little = BEFORE.map(|rps| rps * 1.04);
    assert_eq!(verdicts(&BEFORE, &little, "peak"), [("throughput_rps", Verdict::Same)]);
    // Ten per cent where runs differ by as much.
    let (wide, more) = ([22_000.0, 25_000.0, 28_000.0], [24_500.0, 27_500.0, 30_500.0]);
    assert_eq!(verdicts(&wide, &more, "peak"), [("throughput_rps", Verdict::Same)]);
    let loud = [&wide, &more].map(|runs| record(vec![point(cell(4, "peak"), runs)]));
    let shown = Difference::between(&loud[0], &loud[1]).unwrap().to_string();
    assert!(shown.contains("more than the noise; that of 1 is above 10 %: more `runs`"), "{shown}");
}

#[test]
fn two_measurements_of_the_same_hardly_ever_differ() {
    // Forty cells of three runs with a standard deviation of 3 %, measured twice, a hundred times over.
    let mut state = 7_u64;
    let mut uniform = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut sample = move || {
        let sum: f64 = (0..12).map(|_| uniform()).sum();
        25_000.0 * (1.0 + 0.03 * (sum - 6.0))
    };
    let mut differing = 0;
    for _ in 0..100 {
        let mut figure = || {
            let cells = (0..40).map(|index| Cell { payload: index, ..cell(4, "peak") });
            record(cells.map(|cell| point(cell, &[sample(), sample(), sample()])).collect())
        };
        differing += u32::from(Difference::between(&figure(), &figure()).unwrap().differs);
    }
    assert!(differing <= 15, "{differing} of 100 figures of 40 cells differ from themselves");
}

#[test]
fn latency_is_judged_where_the_load_was_given_and_not_at_a_peak() {
    let slower = BEFORE.map(|rps| rps * 1.3);
    let (rps, p50, p99) = ("throughput_rps", "p50_us", "p99_us");
    for rate in ["5000", "50%", "closed"] {
        let found = verdicts(&BEFORE, &slower, rate);
        assert_eq!(found, [(rps, Verdict::Better), (p50, Verdict::Worse), (p99, Verdict::Worse)], "{rate}");
    }
    let slower = BEFORE.map(|rps| rps * 1.2);
    let found = verdicts(&BEFORE, &slower, "50%");
    assert_eq!(found[2], (p99, Verdict::Same), "a tail moves by a quarter before it means anything");
    assert_eq!(verdicts(&BEFORE, &slower, "peak").len(), 1);
}

#[test]
fn one_run_says_nothing_about_noise() {
    let (a, b) = (record(vec![point(cell(4, "peak"), &[1.0])]), record(vec![point(cell(4, "peak"), &[9.0])]));
    let difference = Difference::between(&a, &b).unwrap();
    assert_eq!((difference.rows[0].verdict, difference.differs), (Verdict::Unknown, false));
    assert_eq!(difference.judged, 0);
    assert!(difference.to_string().contains("nothing could be judged"), "{difference}");
}

#[test]
fn a_cell_that_lost_its_number_is_a_difference_with_its_reason() {
    let broken = Point { problem: Some("the histories differ".into()), ..point(cell(4, "peak"), &[]) };
    let good = point(cell(4, "peak"), &BEFORE);
    let (a, b) = (record(vec![good]), record(vec![broken]));
    let difference = Difference::between(&a, &b).unwrap();
    assert!(difference.differs && difference.rows.is_empty());
    assert!(
        difference.to_string().contains("B has no number for n=4 scenario=none: the histories differ"),
        "{difference}"
    );
    assert!(difference.to_string().ends_with("1 cell has a number in one of them only"), "{difference}");
    let back = Difference::between(&b, &a).unwrap();
    assert!(back.differs && back.to_string().contains("A has no number for"), "{back}");
    assert!(!Difference::between(&b, &b).unwrap().differs, "nobody has lost anything");
}

#[test]
fn cells_of_one_record_only_are_counted_and_two_figures_are_not_compared() {
    let both = record(vec![point(cell(4, "peak"), &BEFORE), point(cell(7, "peak"), &BEFORE)]);
    let (four, ten) = (record(vec![both.points[0].clone()]), record(vec![point(cell(10, "peak"), &BEFORE)]));
    let difference = Difference::between(&both, &four).unwrap();
    assert!(
        difference.differs && difference.only_in_a == [cell(7, "peak")] && difference.only_in_b.is_empty()
    );
    let shown = difference.to_string();
    assert!(shown.contains("1 cell is in A only, and not compared"), "{shown}");
    assert!(shown.ends_with("0 are worse; 1 cell is in one of them only"), "{shown}");
    let back = Difference::between(&four, &both).unwrap();
    assert!(back.differs && back.only_in_b == [cell(7, "peak")], "in either direction: {back}");
    assert_eq!(Difference::between(&four, &ten), Err(NothingInCommon));
}

#[test]
fn costs_that_changed_are_shown_and_not_judged() {
    let mut a = record(vec![point(cell(4, "peak"), &BEFORE)]);
    let b = a.clone();
    a.points[0].cpu_us_per_request = 50.0;
    let difference = Difference::between(&a, &b).unwrap();
    assert!(!difference.differs);
    let shown = difference.to_string();
    assert!(
        shown.contains("cpu_us_per_request") && shown.contains("-20.0 %") && shown.contains("not judged"),
        "{shown}"
    );
    assert!(!shown.contains("messages_per_request"), "what did not change is not shown: {shown}");
    assert!(shown.ends_with("none of 1 measures differs by more than the noise"), "{shown}");
}

#[test]
fn other_machines_are_told_before_anything_else() {
    let a = record(vec![point(cell(4, "peak"), &BEFORE)]);
    let mut b = a.clone();
    assert!(Difference::between(&a, &b).unwrap().notes.is_empty());
    b.limits.machine.cores += 2;
    b.limits.signatures.verify_batch_256_us.median = a.limits.signatures.verify_batch_256_us.median * 1.5;
    b.limits.build.profile = "another".into();
    b.provenance.file_system = "xfs".into();
    let notes = Difference::between(&a, &b).unwrap().notes;
    let [machine, speed, build, disk] = &notes[..] else { panic!("{notes:?}") };
    assert!(
        machine.contains("cores of") && speed.contains(" 150 % of the time") && build.contains("another"),
        "{notes:?}"
    );
    assert_eq!(disk, "A kept its data on an unknown file system, B on xfs");
}

#[test]
fn the_table_names_cells_by_what_tells_them_apart() {
    let record_of = |factor: f64| {
        let runs = BEFORE.map(|rps| rps * factor);
        let large = Cell { payload: 512, ..cell(4, "peak") };
        record(vec![point(cell(4, "peak"), &runs), point(large, &runs)])
    };
    let shown = Difference::between(&record_of(1.0), &record_of(1.1)).unwrap().to_string();
    let row = shown.lines().find(|line| line.contains("payload=512")).unwrap();
    let words: Vec<&str> = row.split_whitespace().collect();
    let expected =
        ["n=4", "scenario=none", "payload=512", "throughput_rps", "25000", "27500", "+10.0", "%", "1.6", "%"];
    assert_eq!(words[..10], expected, "{row}");
    assert_eq!(words[10], "better");
    assert!(shown.ends_with("2 of 2 measures are better in B, 0 are worse"), "{shown}");
}
