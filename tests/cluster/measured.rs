//! `quorate bench FILE`: a small figure, measured with real processes, and a report whose numbers fit each other.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::processes::{block, program, quorate, text, until};

const FIGURE: &str = r#"
title = "everything once"
f = 1
scenario = ["none", "equivocate:1"]
load = ["closed", "open"]
application = "counter"
durability = "none"
clients = 4
in_flight = 32
bundle = 4
warm_up_ms = 300
measure_ms = 1000
runs = 1
p99_limit_ms = 2000

[search]
warm_up_ms = 200
measure_ms = 400
trials = 2
first_rps = 300

[[skip]]
load = "closed"
scenario = "equivocate:1"
"#;

struct Bench {
    folder: TempDir,
    file: PathBuf,
}

impl Bench {
    fn of(figure: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("figure.toml");
        fs::write(&file, figure).unwrap();
        Self { folder, file }
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("report")
    }

    fn run(&self, words: &[&str]) -> Output {
        let out = self.out();
        let usual = ["bench", self.file.to_str().unwrap(), "--out", out.to_str().unwrap()];
        quorate(&[&usual, words].concat())
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[track_caller]
fn is_consistent(point: &Value) {
    assert_eq!(point["problem"], Value::Null, "{point:#}");
    assert_eq!(point["agreement"], true);
    let count = |name: &str| point["calls"][name].as_u64().unwrap();
    assert!(count("matched") > 0 && count("matched") <= count("sent"), "{point:#}");
    assert!(count("sent") <= count("offered"), "{point:#}");
    assert_eq!(count("matched") + count("timed_out"), count("sent"));
    let [p50, p99, p999] = ["p50_us", "p99_us", "p999_us"].map(|name| number(&point[name]));
    assert!(0.0 < p50 && p50 <= p99 && p99 <= p999, "{point:#}");
    for name in [
        "throughput_rps",
        "signatures_verified_per_request",
        "signatures_made_per_request",
        "messages_per_request",
        "bytes_per_request",
        "cpu_us_per_request",
        "batch_mean",
        "bundle_mean",
    ] {
        assert!(number(&point[name]) > 0.0, "{name}: {point:#}");
    }
    assert!(number(&point["bundle_mean"]) <= number(&point["batch_mean"]), "{point:#}");
    let run = &point["runs"][0];
    let series = run["series"].as_array().unwrap();
    assert_eq!(series.len(), 10, "a second has ten tenths");
    let answered: f64 = series.iter().map(|moment| number(&moment["throughput_rps"])).sum::<f64>() / 10.0;
    let throughput = number(&run["throughput_rps"]);
    assert!((answered - throughput).abs() <= 0.05 * throughput, "{answered} in the series: {point:#}");
}

#[test]
fn a_figure_of_three_cells_has_three_points_that_fit_themselves() {
    let bench = Bench::of(FIGURE);
    let output = bench.run(&["--json"]);
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{error}\n{out}");
    let record: Value = serde_json::from_str(&out).unwrap();
    let points = record["points"].as_array().unwrap();
    let cells: Vec<(&str, &str)> = points
        .iter()
        .map(|point| (point["scenario"].as_str().unwrap(), point["load"].as_str().unwrap()))
        .collect();
    assert_eq!(cells.len(), 3, "{cells:?}");
    for cell in [("none", "closed"), ("none", "open"), ("equivocate:1", "open")] {
        assert!(cells.contains(&cell), "{cells:?}");
    }
    for point in points {
        is_consistent(point);
        let searched = !point["search"].as_array().unwrap().is_empty();
        assert_eq!(searched, point["load"] == "open");
        let lies = point["lies"]["equivocate"].as_u64();
        assert_eq!(lies.is_some_and(|told| told > 0), point["scenario"] == "equivocate:1", "{lies:?}");
        let histogram = bench.out().join(point["runs"][0]["histogram"].as_str().unwrap());
        assert!(text(&fs::read(&histogram).unwrap()).contains("Histogram log format version 1.3"));
    }
    assert_eq!(record["configuration"], FIGURE);
    assert!(record["provenance"]["began"].as_str().unwrap().ends_with('Z'));
    assert!(error.contains("ceiling") && error.contains("report"), "{error}");
    for file in ["report.html", "points.csv", "points.json"] {
        assert!(bench.out().join(file).is_file(), "{file}");
    }
    let again = quorate(&["bench", "report", bench.out().to_str().unwrap()]);
    assert!(again.status.success(), "{}", text(&again.stderr));
}

/// One call at a time, and more come due in each tick than are answered in one.
const CROWDED: &str = r#"
title = "no room"
f = 1
load = "open"
rate = 4000
application = "null"
durability = "none"
clients = 1
in_flight = 1
bundle = 1
warm_up_ms = 100
measure_ms = 200
runs = 1
"#;

#[test]
fn calls_that_were_due_and_found_no_room_are_made_after_the_measured_time() {
    let output = Bench::of(CROWDED).run(&["--json"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let record: Value = serde_json::from_str(&text(&output.stdout)).unwrap();
    let calls = &record["points"][0]["calls"];
    let count = |name: &str| calls[name].as_u64().unwrap();
    assert!((760..=840).contains(&count("offered")), "{calls}");
    assert!(count("missed_schedule") > 0, "none had to wait for room: {calls}");
    assert_eq!((count("sent"), count("matched")), (count("offered"), count("offered")), "{calls}");
}

#[test]
fn a_plan_names_the_cells_that_were_asked_for_and_measures_nothing() {
    let bench = Bench::of(FIGURE);
    let output = bench.run(&["--dry-run", "--only", "load=open"]);
    let out = text(&output.stdout);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(out.contains("2 cells, about ") && out.contains("equivocate:1"), "{out}");
    assert!(!bench.out().exists());
    let none = text(&bench.run(&["--only", "f=7"]).stderr);
    assert!(none.contains("no cell of") && none.contains("--dry-run"), "{none}");
    let unknown = text(&bench.run(&["--only", "faults=7"]).stderr);
    assert!(unknown.contains("`faults` is no coordinate of a cell; there are"), "{unknown}");
}

#[test]
fn a_folder_that_lives_in_memory_measures_no_disk() {
    if !Path::new("/dev/shm").is_dir() {
        return;
    }
    let bench = Bench::of("title = \"no disk\"\nf = 1\ndurability = \"sync\"\nfolder = \"/dev/shm\"\n");
    let output = bench.run(&[]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains("/dev/shm") && error.contains("tmpfs") && error.contains("fix"), "{error}");
}

/// Interrupts a figure once so many clusters have run for it; gives back how it ended, and where its report is.
fn interrupted_in(cluster: usize, figure: &str) -> (Bench, Option<i32>) {
    let bench = Bench::of(figure);
    let out = bench.out();
    let words = ["bench", bench.file.to_str().unwrap(), "--out", out.to_str().unwrap()];
    let mut child = program().args(words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut seen = std::collections::BTreeSet::new();
    block(until("replicas", async || {
        seen.extend(children_of(child.id()));
        (seen.len() >= 4 * cluster).then_some(())
    }));
    let replicas = children_of(child.id());
    let sent = Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let code = block(until("the end", async || child.try_wait().unwrap()));
    let left = |id: &u32| Path::new("/proc").join(id.to_string()).join("exe").exists();
    assert!(!replicas.iter().any(left), "no replica outlives the figure");
    (bench, code.code())
}

#[test]
fn who_interrupts_a_figure_gets_the_report_of_what_was_measured() {
    // The first cluster is that of the closed loop, whose one run is over when there is another.
    let (bench, code) = interrupted_in(2, FIGURE);
    assert_eq!(code, Some(130));
    let record: Value =
        serde_json::from_str(&fs::read_to_string(bench.out().join("points.json")).unwrap()).unwrap();
    assert!(number(&record["points"][0]["throughput_rps"]) > 0.0, "{record:#}");
    let long = FIGURE.replace("measure_ms = 1000", "measure_ms = 600000");
    let (bench, code) = interrupted_in(1, &long);
    assert_eq!((code, bench.out().join("points.json").exists()), (Some(130), false), "nothing was measured");
}

/// Processes that one has started.
fn children_of(process: u32) -> Vec<u32> {
    let folder = Path::new("/proc").join(process.to_string()).join("task");
    let tasks = fs::read_dir(folder).into_iter().flatten().flatten();
    let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    children
        .flat_map(|text| text.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<u32>>())
        .collect()
}
