//! Reports of made-up records: whole ones, strange ones and hostile ones.
#![allow(clippy::unwrap_used)]

mod sample;

use std::fs;

use self::sample::*;
use super::*;
use crate::limits::Limits;
use crate::record::{Calls, Cell, Mark, Model, Moment, NetworkCheck, PhaseTime, Provenance, Run, Trial};

/// Writes a record, for people too: into the folder that the variable names, or one that goes away.
fn written(record: &Record, name: &str) -> (tempfile::TempDir, PathBuf, Written) {
    let folder = tempfile::tempdir().unwrap();
    let out = match std::env::var_os("QUORATE_REPORTS") {
        Some(reports) => PathBuf::from(reports).join(name),
        None => folder.path().join(name),
    };
    let written = write(record, &[("histograms/a.hdr".into(), vec![1, 2, 3])], &out).unwrap();
    (folder, out, written)
}

fn page_of(record: &Record, name: &str) -> String {
    let (_folder, _, written) = written(record, name);
    fs::read_to_string(written.page).unwrap()
}

#[test]
fn a_report_has_every_file_and_its_page_is_not_heavy() {
    let record = sample();
    let (_folder, out, written) = written(&record, "sample");
    let names =
        ["report.html", "points.csv", "points.json", "figure.toml", "provenance.txt", "histograms/a.hdr"];
    for name in names.map(str::to_owned).into_iter().chain(FIGURES.map(|name| format!("figures/{name}.svg")))
    {
        let size = fs::metadata(out.join(&name)).unwrap().len();
        assert!(size > 2, "{name} has {size} bytes");
    }
    for name in FIGURES {
        let bytes = fs::read(out.join(format!("figures/{name}.png"))).unwrap();
        assert_eq!(&bytes[1..4], b"PNG");
        assert!(bytes.len() > 20_000 && bytes.len() < 2 << 20, "{name}.png has {} bytes", bytes.len());
    }
    let weight = fs::metadata(&written.page).unwrap().len();
    println!("the page of {} cells weighs {} KiB", record.points.len(), weight >> 10);
    assert!(weight < 1 << 20, "{weight} bytes");
    assert_eq!(written.files.last(), Some(&written.page));
    let strange = |path: &PathBuf| path.to_string_lossy().contains("partial") || !path.is_file();
    assert!(!written.files.iter().any(strange));
    let left = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(!left.collect::<Vec<_>>().iter().any(|name| name.contains("partial")), "nothing is left behind");
}

#[test]
fn what_was_written_is_read_back_and_draws_the_same_page() {
    let mut record = sample();
    record.points.truncate(12);
    let (_folder, out, first) = written(&record, "again");
    let page = fs::read_to_string(&first.page).unwrap();
    assert!(Record::load(&out).unwrap() == record, "not the same to the last digit");
    let loaded = Record::load(&out.join("points.json")).unwrap();
    write(&loaded, &[], &out).unwrap();
    assert_eq!(fs::read_to_string(&first.page).unwrap(), page);
    assert!(out.join("histograms/a.hdr").is_file(), "histograms of the first are kept");
}

#[test]
fn every_figure_with_throughput_or_latency_says_what_that_is() {
    let record = sample();
    let arrangement = arrange::arrange(&record.points).unwrap();
    let drawings = drawings(&record, &arrangement);
    assert_eq!(drawings.iter().map(|drawing| drawing.name).collect::<Vec<_>>(), FIGURES);
    for drawing in &drawings {
        let caption = drawing.caption.join(" ");
        let [throughput, latency] = page::DEFINITIONS;
        if ["throughput-vs-f", "latency-vs-throughput", "series"].contains(&drawing.name) {
            assert!(caption.contains(throughput), "{}: {caption}", drawing.name);
        }
        if ["latency-vs-throughput", "phases", "series"].contains(&drawing.name) {
            assert!(caption.contains(latency), "{}: {caption}", drawing.name);
        }
        let calls = caption.contains("never counted as calls");
        assert!(calls || drawing.name == "phases", "{}: {caption}", drawing.name);
    }
}

#[test]
fn a_point_that_diverged_has_words_and_no_number() {
    let mut record = sample();
    let page = page_of(&record, "diverged");
    assert!(page.contains("no number: correct replicas 1 and 4 have different histories"));
    // A record whose writer forgot to say so is not believed either.
    record.points.truncate(1);
    record.points[0].agreement = false;
    let silent = page_of(&record, "silent");
    assert!(silent.contains("correct replicas did not agree") && silent.contains("0 of 1"));
    assert!(!silent.contains("Highest goodput"));
}

#[test]
fn no_text_of_a_record_becomes_markup() {
    let hostile =
        "</title></svg></pre><script>alert(1)</script><img src=x onerror='alert(2)'>\"&\u{0}\u{202e}";
    let mut record = sample();
    record.points.truncate(2);
    record.title = hostile.into();
    record.about = hostile.into();
    record.draw = FIGURES.map(str::to_owned).into_iter().chain([hostile.to_owned()]).collect();
    record.configuration = hostile.into();
    let provenance = &mut record.provenance;
    for text in
        [&mut provenance.began, &mut provenance.commit, &mut provenance.command, &mut provenance.file_system]
    {
        *text = hostile.into();
    }
    provenance.machines = vec![hostile.into()];
    provenance.warnings = vec![hostile.into()];
    record.limits.machine.cpu = hostile.into();
    record.limits.build.program = hostile.into();
    for point in &mut record.points {
        let cell = &mut point.cell;
        for text in [
            &mut cell.scenario,
            &mut cell.network,
            &mut cell.durability,
            &mut cell.application,
            &mut cell.layout,
        ] {
            *text = hostile.into();
        }
        cell.rate = hostile.into();
        cell.load = hostile.into();
        point.network_check.off = vec![hostile.into()];
        point.lies = [(hostile.to_owned(), 1)].into();
        point.cpu_us_per_request_by_role = [(hostile.to_owned(), 1.0)].into();
        point.phases[0].phase = hostile.into();
        for run in &mut point.runs {
            run.histogram = "javascript:alert(1)".into();
            run.marks = vec![Mark { at_s: 1.0, what: hostile.into(), detail: hostile.into() }];
        }
    }
    record.points[1].problem = Some(hostile.into());
    let (_folder, out, written) = written(&record, "hostile");
    let mut texts = vec![fs::read_to_string(&written.page).unwrap()];
    texts.extend(
        FIGURES.map(|name| fs::read_to_string(out.join(format!("figures/{name}.svg"))).unwrap_or_default()),
    );
    for text in texts {
        for sign in ["<script", "<img", "</pre><", "javascript:", "\u{0}", "\u{202e}"] {
            let known = sign == "</pre><" || !text.contains(sign);
            assert!(known, "{sign} in {}", &text[..text.len().min(400)]);
        }
        assert!(
            !text.contains("<script") && text.matches("</title>").count() == text.matches("<title>").count()
        );
    }
}

#[test]
fn strange_records_are_drawn_without_a_panic() {
    let whole = sample();
    let mut records = vec![Record { points: Vec::new(), ..whole.clone() }];
    let alone = |change: &dyn Fn(&mut Point)| {
        let mut record = Record { points: whole.points[..1].to_vec(), ..whole.clone() };
        change(&mut record.points[0]);
        record
    };
    records.push(alone(&|_| {}));
    records.push(alone(&|point| *point = Point { agreement: true, ..Point::default() }));
    records.push(alone(&|point| *point = Point::default()));
    records.push(alone(&|point| point.runs.truncate(1)));
    for value in [f64::NAN, -5.0, 1e300, 1e-300] {
        records.push(alone(&|point| {
            point.throughput_rps = value;
            point.phases[0].mean_us = value;
            point.cpu_us_per_request_by_role.insert("verify".into(), value);
            point.messages_per_request = value;
            point.model.messages_per_batch = value;
            point.search[2].p99_us = value;
            for run in &mut point.runs {
                run.series[3].at_s = value;
                run.series[4].p99_us = value;
                run.marks = vec![Mark { at_s: value, what: "fault".into(), detail: String::new() }];
            }
        }));
    }
    // What JSON could not hold is written as a point without a number; nothing is drawn of it.
    records.push(alone(&|point| point.runs[0].series[3].at_s = f64::INFINITY));
    let long = "a very long name of a scenario that nobody can have meant ".repeat(20);
    records.push(alone(&|point| point.cell.scenario.clone_from(&long)));
    let mut dark = whole.clone();
    dark.limits.signatures.sign_us.median = 0.0;
    dark.limits.signatures.verify_batch_256_us.median = 0.0;
    dark.points.truncate(4);
    records.push(dark);
    for (at, record) in records.iter().enumerate() {
        let (_folder, out, written) = written(record, &format!("strange-{at}"));
        let page = fs::read_to_string(&written.page).unwrap();
        assert!(!page.contains("NaN") && !page.contains("\"inf"), "record {at}");
        assert!(page.contains("What is measured"));
        Record::load(&out).unwrap();
    }
}

#[test]
fn errors_name_the_file_and_the_fix_and_leave_nothing_half_written() {
    let folder = tempfile::tempdir().unwrap();
    let error = Record::load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("points.json") && error.contains("quorate bench FILE --out DIR"), "{error}");
    let path = folder.path().join("points.json");
    fs::write(&path, "{\n  \"title\": 7\n}").unwrap();
    let error = Record::load(&path).unwrap_err().to_string();
    assert!(error.contains("points.json:2:") && error.contains("no record of a figure"), "{error}");

    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = write(&sample(), &[], &file).unwrap_err().to_string();
    assert!(error.contains("file") && error.contains("may write"), "{error}");
    for name in ["../a.hdr", "/a.hdr", "a/b/c.hdr", "", ".hidden", "a b", "a/"] {
        let error = write(&sample(), &[(name.into(), vec![])], folder.path()).unwrap_err();
        assert!(matches!(error, ReportError::Name { .. }), "{name}: {error}");
    }
    // A folder stands where the page would go: what was there stays, and no part of the new one.
    let out = folder.path().join("out");
    fs::create_dir_all(out.join("report.html").join("inside")).unwrap();
    let error = write(&Record { points: Vec::new(), ..sample() }, &[], &out).unwrap_err().to_string();
    assert!(error.contains("report.html"), "{error}");
    let left = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(!left.collect::<Vec<_>>().iter().any(|name| name.contains("partial")));
}

#[test]
fn pictures_of_an_earlier_report_do_not_stay_behind() {
    let mut faulty = sample();
    faulty.points = faulty.points[16..20].to_vec();
    let (_folder, out, _) = written(&faulty, "before");
    assert!(out.join("figures/series.svg").is_file());
    let mut record = sample();
    record.points.truncate(4);
    write(&record, &[], &out).unwrap();
    assert!(!out.join("figures/series.svg").exists() && !out.join("figures/series.png").exists());
    assert!(out.join("figures/throughput-vs-f.svg").is_file());
}

#[test]
fn a_closed_loop_and_a_given_load_are_labelled() {
    let caption = |change: &dyn Fn(&mut Cell)| {
        let mut record = sample();
        record.points.iter_mut().for_each(|point| change(&mut point.cell));
        drawings(&record, &arrange::arrange(&record.points).unwrap())[0].caption.join(" ")
    };
    assert!(caption(&|_| {}).contains("searched for: the highest"));
    let closed = caption(&|cell| (cell.load, cell.rate) = ("closed".into(), "closed".into()));
    assert!(closed.contains("Closed loop:") && !closed.contains("searched for"), "{closed}");
    assert!(caption(&|cell| cell.rate = "5000".into()).contains("given rather than searched for"));
}

#[test]
fn pictures_are_those_that_the_figure_asks_for_in_its_order() {
    let mut record = sample();
    record.draw = ["series", "costs", "nothing that is known"].map(str::to_owned).into();
    let arrangement = arrange::arrange(&record.points).unwrap();
    let names: Vec<_> = drawings(&record, &arrangement).iter().map(|drawing| drawing.name).collect();
    assert_eq!(names, ["series", "costs", "processor"]);
    for (_, name) in crate::figure::Chart::ALL {
        assert!(FIGURES.contains(&name), "a figure's file may ask for {name}");
    }
}

#[test]
fn an_emulated_network_that_was_not_what_it_says_is_warned_of() {
    let mut record = sample();
    let page = page_of(&record, "networks");
    assert!(
        page.contains("Emulated networks against what was measured")
            && !page.contains("was not what it says")
    );
    record.points[25].network_check.off = vec!["0 to 3: 171 ms, not 158 ms".into()];
    let page = page_of(&record, "off");
    assert!(
        page.contains("The emulated network of one point was not what it says")
            && page.contains("171 ms, not 158 ms")
    );
    record.points.truncate(20);
    assert!(!page_of(&record, "loopback").contains("Emulated networks"));
}

#[test]
fn links_are_told_by_the_heaviest_and_by_who_sends_most() {
    let mut record = sample();
    let page = page_of(&record, "links").replace('\u{202f}', " ");
    let row = "<td>78 µs .. 78 µs</td><td>161 B</td><td>0 \u{2192} 3</td><td>483 B</td><td>450 B</td>";
    assert!(page.contains("Links between replicas") && page.contains(row), "{page}");
    record.points.iter_mut().for_each(|point| point.links.clear());
    assert!(!page_of(&record, "no-links").contains("Links between replicas"));
}

#[test]
fn one_run_and_no_number_are_said_to_be_so() {
    let mut record = sample();
    record.points.truncate(4);
    let page = page_of(&record, "three-runs");
    assert!(page.contains("Every point is the median of 3 runs, with its 95 % interval."), "{page}");
    assert!(page.contains("1 of 4 points: some run was not steady"));
    record.points.iter_mut().for_each(|point| point.runs.truncate(1));
    let page = page_of(&record, "one-run");
    assert!(page.contains("Every point is one run, so it has no interval."));
    assert!(!page.contains("bars are 95 % intervals") && !page.contains("(95 %:"));
    for point in &mut record.points {
        *point = Point { cell: point.cell.clone(), problem: Some("nothing".into()), ..Point::default() };
    }
    let page = page_of(&record, "no-number");
    assert!(page.contains("No point has a number.") && !page.contains("Every point is"));
    let arrangement = arrange::arrange(&record.points).unwrap();
    let drawing = goodput::draw(&arrangement, &record.limits);
    let words = drawing.key.entries.iter().any(|entry| entry.words.contains("ceiling"));
    assert!(!words && !chart::file(&drawing.whole()).contains("ceiling"), "there is nothing under it");
}

#[test]
fn the_headline_is_of_what_happens_while_nothing_goes_wrong() {
    let mut record = sample();
    record.points.truncate(8);
    let page = page_of(&record, "headline");
    let headline = page.split("Highest goodput").nth(1).unwrap();
    assert!(headline.split("</div>").next().unwrap().contains("none, f = 1"), "though crash:f is faster");
    record.points.retain(|point| point.cell.scenario != "none");
    let page = page_of(&record, "headline-of-faults");
    let headline = page.split("Highest goodput").nth(1).unwrap();
    assert!(headline.split("</div>").next().unwrap().contains("crash:f, f = 1"));
}

#[test]
fn notes_say_what_ran_out_and_how_near_a_peak_is() {
    let mut record = sample();
    record.points.truncate(3);
    for (point, (end, gap)) in record.points.iter_mut().zip([
        ("bracketed", 0.26),
        ("out of trials", 0.0),
        ("nothing sustained", 0.0),
    ]) {
        (point.search_end, point.search_gap) = (end.to_owned(), gap);
        point.cpu_bound = true;
    }
    record.points[0].saturated_by = "latency limit".into();
    record.points[0].cores_used = 0.5;
    record.points[0].notes = vec!["2 of 3 runs were within the limits".into()];
    record.points[1].runs[0].view_at_end = 2;
    let peaks: Vec<_> = record.points.iter().map(Point::peak).collect();
    assert_eq!(peaks, [Some("within -0/+26 %".to_owned()), Some("at least".to_owned()), None]);
    let (_folder, out, written) = written(&record, "notes");
    let page = fs::read_to_string(written.page).unwrap();
    for words in [
        "more replicas than cores; limited by: latency limit; peak: within -0/+26 %",
        "2 of 3 runs were within the limits",
        "peak: at least this, no load was too much; measured in views 0 to 2",
    ] {
        assert!(page.contains(words), "no `{words}`");
    }
    assert!(!page.contains("CPU-bound"), "half a core is no bound");
    let csv = fs::read_to_string(out.join("points.csv")).unwrap();
    for column in ["cores_used", "saturated_by", "search_end", "search_gap", "runs_within"] {
        assert!(csv.lines().next().unwrap().split(',').any(|name| name == column), "no column {column}");
    }
}

#[test]
fn a_line_behind_a_single_point_ends_where_the_frame_does() {
    let frame = (48.0, 386.0);
    assert_eq!(drawing::behind(vec![(60.0, 9.0)], frame)[0], (48.0, 9.0));
    assert_eq!(drawing::behind(vec![(380.0, 9.0)], frame)[1], (386.0, 9.0));
}

#[test]
fn histograms_that_no_run_names_are_removed() {
    let mut record = sample();
    record.points.truncate(1);
    record.points[0].runs[0].histogram = "histograms/001-kept.hlog".into();
    let folder = tempfile::tempdir().unwrap();
    let histograms: Vec<(String, Vec<u8>)> = ["001-kept.hlog", "002-stale.hlog", "notes.txt"]
        .map(|name| (format!("histograms/{name}"), vec![1]))
        .into();
    write(&record, &histograms, folder.path()).unwrap();
    remove_stale_histograms(&record, folder.path()).unwrap();
    let left = |name: &str| folder.path().join("histograms").join(name).exists();
    assert!(left("001-kept.hlog") && !left("002-stale.hlog") && left("notes.txt"), "others' files stay");
}
