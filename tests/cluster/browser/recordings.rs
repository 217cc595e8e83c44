//! Recordings that no cluster made: as many replicas as there may be, and words that try to be more than words.

use serde_json::{Value, json};

/// What a hostile recording tries to have done by the page.
pub(super) const MARKUP: &str =
    "<img src=x onerror=\"document.title='broken'\"></script><script>document.title='broken'</script>";

/// Microseconds between two slots.
const PACE: u64 = 50_000;

/// Lines of a recording of `n` replicas, `slots` slots long. Replica 3 lies, replica 2 says something else than the
/// others, and at two thirds the primary dies; there is markup wherever there are words.
pub(super) fn recording(n: u64, slots: u64) -> String {
    let f = (n - 1) / 3;
    let q = (n + f) / 2 + 1;
    let mut moments = vec![
        json!({ "kind": "header", "version": 1, "source": "simulation", "title": format!("a trial {MARKUP}"),
        "n": n, "f": f, "q": q, "unknown": [1, 2, 3] }),
    ];
    let dead_from = slots * 2 / 3;
    for slot in 0..slots {
        let t = slot * PACE;
        let dead = slot >= dead_from;
        if slot == dead_from {
            moments.push(json!({ "t": t, "kind": "event", "replica": 0, "what": format!("killed {MARKUP}"), "weight": "deed" }));
        }
        let alive = u64::from(dead)..n;
        moments.extend(alive.clone().map(|id| lane((slot, t), id, (&alive, q))));
        if slot % 5 == 0 {
            moments.extend((0..n).map(|id| stand((slot, t), id, (n, dead && id == 0))));
            moments.push(json!({ "t": t, "kind": "load", "per_second": 400 + slot, "p50_us": 2_100, "p99_us": 4_000 + slot,
                "done": slot * 20, "in_flight": 8, "failed": 0 }));
        }
        if slot == slots / 3 {
            moments
                .push(json!({ "t": t, "kind": "disagreement", "replica": 2, "seq": slot, "about": "history",
                "says": MARKUP, "others": "cd".repeat(32) }));
            moments.push(json!({ "t": t, "kind": "something of tomorrow", "anything": {} }));
        }
    }
    moments.push(json!({ "t": slots * PACE, "kind": "verdict", "lines": ["all replicas executed the same history", MARKUP] }));
    moments.iter().map(|moment| format!("{moment}\n")).collect()
}

fn lane((slot, t): (u64, u64), id: u64, (alive, q): (&std::ops::Range<u64>, u64)) -> Value {
    let proposed = t + 300 + if id == alive.start { 0 } else { 200 + id * 7 };
    let votes = |begin: u64| alive.clone().map(|from| json!([from, begin + from * 11])).collect::<Vec<_>>();
    let (prepared, committed) = (t + 1_600 + q * 11, t + 2_900 + q * 11);
    json!({ "t": committed + 200, "kind": "slot", "replica": id, "view": u64::from(alive.start > 0), "seq": slot + 1,
        "operations": 20, "request": t, "proposed": proposed, "prepares": votes(t + 1_600), "prepared": prepared,
        "commits": votes(t + 2_900), "committed": committed, "executed": committed + 90, "replied": committed + 150 })
}

fn stand((slot, t): (u64, u64), id: u64, (n, dead): (u64, bool)) -> Value {
    let low = slot / 32 * 32;
    json!({ "t": t, "kind": "replica", "id": id, "up": !dead, "state": if dead { "stopped" } else { "normal" }, "view": 0,
        "primary": 0, "executed": slot, "committed": slot + 1, "stable": low, "low": low, "high": low + 256,
        "links": vec![true; usize::try_from(n).unwrap()], "behaviour": if id == 3 { Some("equivocate") } else { None },
        "lies": if id == 3 { slot } else { 0 }, "alarms": u64::from(id == 4), "pending": 0 })
}
