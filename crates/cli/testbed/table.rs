//! The live table: one line a replica, redrawn in place, and only where somebody is looking.

use std::io::{IsTerminal, Write, stderr};
use std::sync::atomic::Ordering;
use std::time::Instant;

use quorate_bench::load::Live;
use quorate_node::status::Status;

/// What a run looks like while it runs.
pub(crate) struct Table {
    watched: bool,
    started: Instant,
    /// Answers before the run.
    before: u64,
    lines: usize,
    last: (Instant, u64),
}

impl Table {
    pub(crate) fn new(live: &Live) -> Self {
        let (now, before) = (Instant::now(), live.matched.load(Ordering::Relaxed));
        Self { watched: stderr().is_terminal(), started: now, before, lines: 0, last: (now, 0) }
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.watched
    }

    /// Draws over what was drawn before.
    pub(crate) fn draw(&mut self, statuses: &[Option<Status>], live: &Live) {
        let now = Instant::now();
        let matched = live.matched.load(Ordering::Relaxed) - self.before;
        let (p50_us, p99_us) = live.take_latency();
        let since = now.duration_since(self.last.0).as_secs_f64().max(0.001);
        let rate = matched.saturating_sub(self.last.1) as f64 / since;
        self.last = (now, matched);
        let mut text = String::new();
        for _ in 0..self.lines {
            text.push_str("\x1b[A\x1b[2K");
        }
        text.push_str(crate::status::HEADER);
        text.push('\n');
        for (id, status) in statuses.iter().enumerate() {
            text.push_str(&match status {
                None => format!("{id:>7}  does not answer\n"),
                Some(status) => crate::status::line(status) + "\n",
            });
        }
        let elapsed = now.duration_since(self.started).as_secs_f64();
        let total = live.end().saturating_duration_since(self.started).as_secs_f64();
        let (p50, p99) = (p50_us as f64 / 1000.0, p99_us as f64 / 1000.0);
        text.push_str(&format!(
            "{elapsed:.0} of {total:.0} s, {matched} answers matched, {rate:.0} per second, p50 {p50:.1} ms, p99 {p99:.1} ms\n"
        ));
        self.lines = statuses.len() + 2;
        // A terminal that is gone is no reason to stop a run.
        drop(stderr().write_all(text.as_bytes()));
    }

    /// Leaves the last table standing.
    pub(crate) fn finish(&mut self) {
        if self.lines > 0 {
            eprintln!();
        }
    }
}
