//! `quorate testbed` with a store that is full before the load, with load at a rate, and with a replica that comes back
//! after so many requests.

use serde_json::Value;

use super::processes::{quorate, text};

/// Runs a testbed with these words; gives back what it wrote for programs.
fn report(words: &str) -> Value {
    let words: Vec<&str> = "testbed --clients 4 --json -".split(' ').chain(words.split(' ')).collect();
    let output = quorate(&words);
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{out}\n{error}");
    serde_json::from_str(&out).expect("nothing but one JSON object goes to standard output")
}

#[test]
fn a_store_is_filled_before_the_load_and_nothing_of_it_is_lost() {
    let report = report("--preload 2MiB --duration 1s");
    assert_eq!(
        (&report["preloaded_keys"], &report["payload_bytes"]),
        (&2048.into(), &1024.into()),
        "{report}"
    );
    assert_eq!(report["preloaded_bytes"], 2 << 20, "{report}");
    assert_eq!(
        (&report["lost"], &report["failed"], &report["agreement"]),
        (&0.into(), &0.into(), &true.into())
    );
    assert!(report["matched"].as_u64().is_some_and(|count| count > 0), "{report}");
    for taken in report["taken"].as_array().unwrap() {
        assert!(taken["peak_memory_bytes"].as_u64().is_some_and(|bytes| bytes > 2 << 20), "{report}");
        assert!(taken["journal_bytes"].as_u64().is_some_and(|bytes| bytes > 2 << 20), "{report}");
    }
}

#[test]
fn a_replica_comes_back_after_so_many_requests_while_the_others_serve_at_a_rate() {
    // A second of warming up, more than one before the kill, and then as long as it takes.
    let report = report("--preload 1MiB --duration 3s --rate 400 --kill 3@2500ms --restart 3@after:800");
    let back = &report["rejoined"][0];
    assert_eq!((&back["replica"], &back["rejoined"]), (&3.into(), &true.into()), "{report}");
    let missed = back["missed"].as_u64().unwrap();
    assert!(missed >= 800, "{report}");
    let phases = report["phases"].as_array().unwrap();
    let names: Vec<&str> = phases.iter().filter_map(|phase| phase["phase"].as_str()).collect();
    assert_eq!(names, ["before", "away", "catching-up", "after"], "{report}");
    assert!(phases[1]["operations"].as_u64().is_some_and(|count| count >= 400), "{report}");
    assert!(phases[1]["p99_ratio"].as_f64().is_some_and(|ratio| ratio > 0.0), "{report}");
    // However slow the machine: what is due is sent, and counts from when it was due.
    let rate = report["throughput_rps"].as_f64().unwrap();
    assert!((300.0..440.0).contains(&rate), "{report}");
    assert_eq!((&report["rate_rps"], &report["peak_rps"]), (&400.0.into(), &Value::Null), "{report}");
    assert_eq!((&report["lost"], &report["failed"]), (&0.into(), &0.into()), "{report}");
}

#[test]
fn a_replica_that_was_away_for_longer_than_the_log_reaches_fetches_only_the_chunks_that_changed() {
    let folder = tempfile::tempdir().unwrap();
    let preset = folder.path().join("short-log.toml");
    std::fs::write(&preset, "[parameters]\ncheckpoint_interval = 8\nwindow = 16\n").unwrap();
    let words =
        "--preload 8MiB --hot 10 --duration 2s --rate 400 --kill 3@2s --restart 3@after:1200 --preset";
    let report = report(&format!("{words} {}", preset.display()));
    let back = &report["rejoined"][0];
    assert_eq!((&back["rejoined"], &report["lost"], &report["failed"]), (&true.into(), &0.into(), &0.into()));
    let [fetched, bytes, reused] =
        ["chunks_fetched", "bytes_fetched", "chunks_reused"].map(|name| back[name].as_u64().unwrap());
    assert!(back["states_fetched"].as_u64().is_some_and(|states| states >= 1), "{report}");
    assert!(0 < fetched && fetched < reused && (1..4 << 20).contains(&bytes), "{report}");
    assert!(report["state_bytes"].as_u64().is_some_and(|bytes| bytes > 8 << 20), "{report}");
}

#[test]
fn a_share_of_the_peak_is_a_share_of_what_was_measured() {
    let report = report("--duration 1s --rate 20% --application counter");
    let (peak, rate) = (report["peak_rps"].as_f64().unwrap(), report["rate_rps"].as_f64().unwrap());
    assert!(peak > 0.0 && (rate - 0.2 * peak).abs() < 1.0, "{report}");
    assert!(report["throughput_rps"].as_f64().is_some_and(|found| found < 0.6 * peak), "{report}");
    assert_eq!((&report["lost"], &report["duplicated"]), (&0.into(), &0.into()), "{report}");
}

#[test]
fn demands_that_cannot_be_met_are_refused_before_anything_starts() {
    for (words, fix) in [
        ("testbed --preload 1MiB --application null", "`null` has no keys; use --application kv"),
        ("testbed --preload 900GiB", "and kv holds "),
        ("testbed --kill 3@after:1000", "say when to kill with a time"),
        ("testbed --restart 3@after:1000", "replica 3 runs by then; --kill it before"),
    ] {
        let output = quorate(&words.split(' ').collect::<Vec<_>>());
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{words}: {error}");
        assert!(error.contains(fix) && !error.contains("starting"), "{words}: {error}");
    }
}
