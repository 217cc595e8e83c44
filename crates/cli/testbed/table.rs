//! The live table: one line a replica, redrawn in place, and only where somebody is looking.

use std::io::{IsTerminal, Write, stderr};
use std::sync::atomic::Ordering;
use std::time::Instant;

use quorate_bench::load::Live;
use quorate_node::status::Status;

/// What clients got since the sample before.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sample {
    pub(crate) per_second: u64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    /// Answers since the run began.
    pub(crate) done: u64,
    pub(crate) in_flight: u64,
    pub(crate) failed: u64,
}

/// Takes samples of a run: latencies are forgotten with each, so one looks for all.
pub(crate) struct Sampler {
    /// Answers before the run.
    before: u64,
    last: (Instant, u64),
}

impl Sampler {
    pub(crate) fn new(live: &Live) -> Self {
        Self { before: live.matched.load(Ordering::Relaxed), last: (Instant::now(), 0) }
    }

    pub(crate) fn take(&mut self, live: &Live) -> Sample {
        let (now, peek) = (Instant::now(), live.peek(false));
        let done = peek.matched.saturating_sub(self.before);
        let since = now.duration_since(self.last.0).as_secs_f64().max(0.001);
        let rate = done.saturating_sub(self.last.1) as f64 / since;
        self.last = (now, done);
        Sample {
            // A conversion that does not fit ends at the largest number.
            per_second: rate.round() as u64,
            p50_us: peek.p50_us,
            p99_us: peek.p99_us,
            done,
            in_flight: peek.submitted.saturating_sub(peek.matched + peek.failed),
            failed: peek.failed,
        }
    }
}

/// What a run looks like while it runs.
pub(crate) struct Table {
    watched: bool,
    started: Instant,
    lines: usize,
}

impl Table {
    pub(crate) fn new() -> Self {
        Self { watched: stderr().is_terminal(), started: Instant::now(), lines: 0 }
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.watched
    }

    /// Draws over what was drawn before.
    pub(crate) fn draw(&mut self, statuses: &[Option<Status>], sample: &Sample, live: &Live) {
        let Sample { per_second, p50_us, p99_us, done, .. } = *sample;
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
        let elapsed = self.started.elapsed().as_secs_f64();
        let total = live.end().saturating_duration_since(self.started).as_secs_f64();
        let (p50, p99) = (p50_us as f64 / 1000.0, p99_us as f64 / 1000.0);
        text.push_str(&format!(
            "{elapsed:.0} of {total:.0} s, {done} answers matched, {per_second} per second, p50 {p50:.1} ms, p99 {p99:.1} ms\n"
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
