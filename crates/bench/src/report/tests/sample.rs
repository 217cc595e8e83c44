//! Made-up records that look like measured ones.

use serde_json::json;

use super::*;
use crate::record::LinkCost;

pub(super) fn limits() -> Limits {
    let us = |median: f64| json!({ "median": median, "min": median * 0.97, "max": median * 1.2 });
    let sync = json!({ "samples": 500, "p50_us": 121.0, "p99_us": 4013.0, "min_us": 98.0, "max_us": 9210.0 });
    serde_json::from_value(json!({
        "machine": { "cpu": "A processor with two cores", "cores": 2, "kernel": "linux 6.1.0", "load_average_1_min": 0.2 },
        "build": {
            "program": "quorate 0.1.0", "compiler": "rustc 1.95.0", "target": "x86_64-unknown-linux-gnu",
            "profile": "release", "avx512_signatures_compiled_in": true, "avx512_signatures_in_use": true,
        },
        "udp": { "wanted_bytes": 4_194_304, "rmem_max_bytes": 212_992, "wmem_max_bytes": 212_992, "fix": "sysctl -w net.core.rmem_max=4194304" },
        "signatures": {
            "sign_us": us(12.6), "verify_us": us(20.7), "verify_batch_8_us": us(9.4), "verify_batch_16_us": us(9.3),
            "verify_batch_64_us": us(10.3), "verify_batch_256_us": us(6.9), "verify_batch_8_of_16_keys_us": us(9.0),
            "verify_batch_16_of_16_keys_us": us(8.0), "verify_batch_64_of_16_keys_us": us(6.5),
            "verify_batch_256_of_16_keys_us": us(5.1),
        },
        "hashing": { "sha256_64_b_us": us(0.07), "sha256_512_b_us": us(0.29), "sha256_1024_b_us": us(0.55) },
        "encoding": {
            "prepare_bytes": 148, "encode_prepare_us": us(0.02), "decode_prepare_us": us(0.03),
            "pre_prepare_64_bytes": 15_000, "encode_pre_prepare_64_us": us(1.1), "decode_pre_prepare_64_us": us(2.2),
        },
        "quic": {
            "pinned": false, "between_processes": { "p50_us": us(59.0), "p99_us": us(140.0) },
            "within_one_thread": { "p50_us": us(15.0), "p99_us": us(31.0) }, "trouble": null,
        },
        "disks": [{
            "dir": ".",
            "file_system": { "kind": "ext4", "mount_point": "/", "device": "/dev/vda1", "in_memory": false },
            "sync_256_b": sync, "sync_64_kib": sync, "trouble": null,
        }],
        "ceilings": [],
    }))
    .unwrap()
}

/// A curve that saturates at `peak`.
pub(super) fn search(peak: f64, base_us: f64) -> Vec<Trial> {
    let trial = |share: f64| {
        let load = (share / 1.3).min(0.99);
        let p50_us = base_us * (1.0 + 0.625 * load * load / (1.0 - load).max(0.02));
        let throughput_rps = (peak * share).min(peak * 1.03);
        let p99_us = p50_us * (1.8 + 1.2 * load);
        Trial {
            offered_rps: peak * share,
            throughput_rps,
            p50_us,
            p99_us,
            sustained: share <= 1.0,
            ..Trial::default()
        }
    };
    [0.12, 0.25, 0.5, 1.0, 1.5, 1.2, 1.1].map(trial).to_vec()
}

pub(super) fn series(peak: f64, p99_us: f64, fault: bool) -> (Vec<Moment>, Vec<Mark>) {
    let moment = |at: u32| {
        let at_s = f64::from(at) / 10.0;
        let wave = 1.0 + 0.04 * (f64::from(at * 7 % 11) / 5.0 - 1.0);
        let (throughput_rps, p99_us) = match at_s {
            1.2..1.7 if fault => (0.0, 0.0),
            1.7..2.1 if fault => (peak * 1.5, p99_us * 6.0),
            _ => (peak * wave, p99_us * wave),
        };
        Moment { at_s, throughput_rps, p99_us }
    };
    let mark = |at_s: f64, what: &str, detail: &str| Mark { at_s, what: what.into(), detail: detail.into() };
    let marks = vec![
        mark(1.2, "fault", "replica 0 was killed; it was the primary"),
        mark(1.45, "detection", "replica 2 left view 0"),
        mark(1.62, "view change", "view 1, primary 1"),
        mark(1.7, "recovery", "first call answered"),
    ];
    ((0..40).map(moment).collect(), if fault { marks } else { Vec::new() })
}

pub(super) fn cell(f: u16, scenario: &str, network: &str) -> Cell {
    Cell {
        f,
        n: 3 * f + 1,
        scenario: scenario.into(),
        network: network.into(),
        payload: 128,
        reply: 8,
        durability: "sync".into(),
        application: "counter".into(),
        load: "open".into(),
        clients: 64,
        in_flight: 16,
        bundle: 1,
        batch: 400,
        window: 64,
        checkpoint_interval: 128,
        timeout_ms: 1000,
        layout: "one thread".into(),
        pipeline: 4,
        p99_limit_ms: 100,
        rate: "peak".into(),
    }
}

pub(super) fn point(f: u16, (scenario, factor): (&str, f64), network: &str) -> Point {
    let far = network != "loopback";
    let n = f64::from(3 * f + 1);
    let peak = 118_000.0 / n.powf(1.15) * factor * if far { 0.8 } else { 1.0 };
    let base_us = if far { 158_000.0 + 900.0 * n } else { 620.0 + 130.0 * n } / factor;
    let (p50_us, p99_us) = (base_us * 2.6, base_us * 7.1);
    let run = |wobble: f64| {
        let (series, marks) = series(peak * wobble, p99_us, scenario.contains("primary"));
        let histogram = format!("histograms/{scenario}-{f}-{network}-{wobble}.hdr").replace(':', "-");
        let throughput_rps = peak * wobble;
        Run {
            throughput_rps,
            p50_us,
            p99_us,
            p999_us: p99_us * 1.7,
            steady: wobble > 0.95 || f < 5,
            histogram,
            series,
            marks,
            ..Run::default()
        }
    };
    let phases = ["request", "pre-prepare", "prepare", "commit", "execute", "reply", "client"];
    let shares = [0.22, 0.12, 0.2, 0.21, 0.05, 0.08, 0.12];
    let roles = [
        ("protocol", 3.0),
        ("verify", 7.2),
        ("journal", 1.1),
        ("execute", 0.8),
        ("clients", 5.5),
        ("store", 0.2),
    ];
    let batch_mean = if far { 240.0 } else { 61.0 };
    Point {
        cell: cell(f, scenario, network),
        problem: None,
        offered_rps: peak * 1.004,
        throughput_rps: peak,
        ci_low: peak * 0.93,
        ci_high: peak * 1.05,
        p50_us,
        p99_us,
        p999_us: p99_us * 1.7,
        signatures_verified_per_request: n + n * n * 1.4 / batch_mean,
        signatures_made_per_request: 2.0 * n / batch_mean,
        messages_per_request: 2.0 * n + n * (n - 1.0) * 2.2 / batch_mean,
        bytes_per_request: 300.0 * n + 128.0 * n,
        syncs_per_request: 2.0 / batch_mean,
        syncs_per_batch: 2.0,
        cpu_us_per_request: 2e6 / peak,
        batch_mean,
        bundle_mean: 1.0,
        cpu_bound: f > 1,
        agreement: true,
        calls: Calls { offered: 400_000, sent: 400_000, matched: 399_900, timed_out: 3, missed_schedule: 41 },
        view_changes: u64::from(scenario.contains("primary")) * 3,
        drops: 0,
        retransmissions: 1_204,
        peak_memory_bytes: 41 << 20,
        cpu_us_per_request_by_role: roles.map(|(role, us)| (role.to_owned(), us * n / 4.0)).into(),
        phases: phases
            .iter()
            .zip(shares)
            .map(|(phase, share)| PhaseTime { phase: (*phase).into(), mean_us: share * p50_us })
            .collect(),
        lies: if scenario.contains("equivocate") {
            [("equivocate".to_owned(), 1_412)].into()
        } else {
            [].into()
        },
        model: Model {
            messages_per_batch: n * (n - 1.0) * 2.01,
            verifications_per_batch: n * (2.0 * f64::from(f)) * 2.01,
            primary_bytes_per_request: 150.0 * (n - 1.0),
            ceiling_rps: 2e6 / (6.9 * n * (1.0 + 0.4 * n / 10.0) + 12.6),
        },
        network_check: NetworkCheck {
            expected_p50_us: if far { 158_000.0 } else { 0.0 },
            round_trips: if far { 18 } else { 0 },
            late_us: if far { 61.0 } else { 0.0 },
            ..NetworkCheck::default()
        },
        links: links(3 * f + 1, far),
        search: search(peak, base_us),
        runs: [0.94, 1.0, 1.05].map(run).to_vec(),
        ..Point::default()
    }
}

/// Links of so many replicas of which the first one is the primary.
fn links(n: u16, far: bool) -> Vec<LinkCost> {
    let pairs = (0..n).flat_map(|from| (0..n).filter(move |to| *to != from).map(move |to| (from, to)));
    let link = |(from, to): (u16, u16)| LinkCost {
        from,
        to,
        round_trip_us: if far { 31_000.0 + 9_000.0 * f64::from(from + to) } else { 78.0 },
        messages_per_request: if from == 0 { 0.05 } else { 0.03 },
        bytes_per_request: if from == 0 { 161.0 } else { 9.0 } + f64::from(to) / 100.0,
    };
    pairs.map(link).collect()
}

/// Four sizes, five scenarios, two networks, and one point that diverged.
pub(super) fn sample() -> Record {
    let scenarios = [
        ("none", 1.0),
        ("crash:f", 1.12),
        ("silent:f", 0.97),
        ("equivocate:f", 0.82),
        ("equivocate-primary", 0.58),
    ];
    let mut points = Vec::new();
    for network in ["loopback", "wan-five-regions"] {
        for scenario in scenarios {
            points.extend([1, 2, 3, 5].map(|f| point(f, scenario, network)));
        }
    }
    let problem =
        "correct replicas 1 and 4 have different histories from slot 7 204 on; their folders are kept".into();
    points[10] = Point { cell: points[10].cell.clone(), problem: Some(problem), ..Point::default() };
    Record {
        title: "Throughput against f: real replicas, five scenarios, two networks".into(),
        about: "How goodput falls as more replicas are tolerated, and what each kind of fault takes from it."
            .into(),
        draw: Vec::new(),
        configuration: "title = \"Throughput against f\"\nf = [1, 2, 3, 5]\n".repeat(12),
        provenance: Provenance {
            began: "2026-02-03T04:05:06Z".into(),
            took_s: 2_715.0,
            commit: "0123456789abcdef-dirty".into(),
            command: "quorate bench configs/bench/throughput-vs-f.toml --out report".into(),
            file_system: "ext4 at / (/dev/vda1)".into(),
            machines: vec!["this one".into()],
            warnings: vec!["Another process used 0.3 cores while this ran.".into()],
        },
        limits: limits(),
        points,
    }
}
