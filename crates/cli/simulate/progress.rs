//! A bar for sweeps that take long, where somebody is looking.

use std::io::{IsTerminal, Write, stderr, stdout};
use std::time::{Duration, Instant};

/// So long nobody needs a bar.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two drawings.
const EVERY: Duration = Duration::from_millis(200);
/// Letters of the bar.
const WIDTH: u64 = 30;

/// How far a sweep is, drawn over itself.
pub(super) struct Progress {
    watched: bool,
    started: Instant,
    drawn: Option<Instant>,
    all: u64,
}

impl Progress {
    pub(super) fn new(all: u64) -> Self {
        let watched = stdout().is_terminal() && stderr().is_terminal();
        Self { watched, started: Instant::now(), drawn: None, all }
    }

    pub(super) fn draw(&mut self, done: u64, failed: u64) {
        let fresh = self.drawn.is_some_and(|drawn| drawn.elapsed() < EVERY);
        if !self.watched || self.started.elapsed() < PATIENCE || fresh {
            return;
        }
        self.drawn = Some(Instant::now());
        let text = line(done, self.all, failed, self.started.elapsed());
        // A terminal that is gone is no reason to stop.
        drop(write!(stderr(), "\r\x1b[2K{text}"));
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        if self.drawn.is_some() {
            drop(write!(stderr(), "\r\x1b[2K"));
        }
    }
}

fn line(done: u64, all: u64, failed: u64, elapsed: Duration) -> String {
    let filled = done * WIDTH / all.max(1);
    let bar: String = (0..WIDTH).map(|at| if at < filled { '#' } else { '.' }).collect();
    let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
    let left = (all - done) as f64 / rate.max(0.001);
    format!("[{bar}] {done} of {all} seeds, {failed} failed, {rate:.0} per second, {left:.0} s left")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_fills() {
        let half = line(50, 100, 1, Duration::from_secs(5));
        assert_eq!(
            half,
            "[###############...............] 50 of 100 seeds, 1 failed, 10 per second, 5 s left"
        );
    }
}
