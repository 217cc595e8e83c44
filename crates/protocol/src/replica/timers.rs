//! What a replica waits for, and how long (OSDI '99, sections 4.4 and 4.5.2).

use super::{Out, Replica, Status};
use crate::process::Effect;
use crate::timer::timeout;
use crate::types::{Seq, Time, View};

/// Between two sendings of the same VIEW-CHANGE, in microseconds; does not grow.
const RETRANSMIT_US: u64 = 200_000;
/// Between two STATUS while work is pending, in microseconds.
const STATUS_BUSY_US: u64 = 150_000;
/// Between two STATUS while nothing is pending, in microseconds.
const STATUS_IDLE_US: u64 = 1_000_000;

/// Requests passed on again at a time.
const FORWARDS_MAX: usize = 64;

/// When each timer fires. A timer that is off has no time.
#[derive(Debug, Default)]
pub(super) struct Timers {
    progress: Option<Time>,
    new_view: Option<Time>,
    retransmit: Option<Time>,
    status: Option<Time>,
    pub(super) fetch: Option<Time>,
    /// Newest view in which a checkpoint interval of useful batches committed in order.
    good: View,
    useful: u64,
}

impl Timers {
    pub(super) fn deadline(&self) -> Option<Time> {
        [self.progress, self.new_view, self.retransmit, self.status, self.fetch].into_iter().flatten().min()
    }

    /// A view opened or was left: what was timed in the old one is over.
    pub(super) fn restart(&mut self) {
        self.progress = None;
        self.new_view = None;
        self.retransmit = None;
        self.useful = 0;
    }

    /// The view that a replica comes back in is as good as the first: timeouts begin at their base again.
    pub(super) fn trust(&mut self, view: View) {
        self.good = view;
    }

    pub(super) fn status_now(&mut self, now: Time) {
        self.status = Some(self.status.map_or(now, |at| at.min(now)));
    }
}

/// What a replica waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// The current timeout, in microseconds.
    pub timeout_us: u64,
    /// When the primary is given up, if something is pending.
    pub progress: Option<Time>,
    /// When the next view is given up, if a quorum is waiting for it.
    pub new_view: Option<Time>,
}

fn due(timer: Option<Time>, now: Time) -> bool {
    timer.is_some_and(|at| at <= now)
}

impl Replica {
    /// What this replica waits for right now.
    #[must_use]
    pub fn waiting(&self) -> Waiting {
        let timeout_us = timeout(self.parameters(), self.view, self.timers.good);
        Waiting { timeout_us, progress: self.timers.progress, new_view: self.timers.new_view }
    }

    /// Whether something is pending that the primary owes us.
    pub(super) fn owed(&self) -> bool {
        let requests = !self.pool.is_empty() && self.executed >= self.log.low();
        let proposals = || {
            let mut open = (self.committed.0 + 1..=self.log.high().0).map(Seq);
            open.any(|seq| self.log.get(seq).is_some_and(|slot| slot.proposal.is_some()))
        };
        self.committed < self.log.high() && (requests || proposals())
    }

    /// Arms and disarms timers; the last thing of every step.
    pub(super) fn watch(&mut self, now: Time) {
        let timeout = timeout(self.parameters(), self.view, self.timers.good);
        let owed = self.owed();
        let normal = self.status == Status::Normal;
        let changing = self.status == Status::ViewChanging;
        let quorum_waits = changing && self.replicas_at_or_above(self.view) >= self.quorum();
        let arm = |timer: &mut Option<Time>, on: bool, after: u64| {
            *timer = if on { Some(timer.unwrap_or(now.plus(after))) } else { None };
        };
        arm(&mut self.timers.progress, normal && owed, timeout);
        arm(&mut self.timers.new_view, quorum_waits, timeout);
        arm(&mut self.timers.retransmit, changing, RETRANSMIT_US);
        let pause = if owed || changing { STATUS_BUSY_US } else { STATUS_IDLE_US };
        let next = now.plus(pause);
        self.timers.status = Some(self.timers.status.map_or(next, |at| at.min(next)));
        self.watch_fetches(now);
    }

    pub(super) fn on_timeout(&mut self, out: &mut Out<'_>) {
        let now = out.now;
        if due(self.timers.fetch, now) {
            self.fetch_again(out);
        }
        if due(self.timers.status, now) {
            self.timers.status = None;
            self.say_status(out);
            self.forward_again(out);
        }
        if due(self.timers.retransmit, now) {
            self.timers.retransmit = None;
            self.repeat_view_change(out);
        }
        for timer in [self.timers.progress, self.timers.new_view] {
            let Some(at) = timer.filter(|at| *at <= now) else { continue };
            let timeout = timeout(self.parameters(), self.view, self.timers.good);
            if now.since(at) > timeout / 2 {
                // This process slept through its own deadline: what it missed may be waiting in its queues.
                self.timers.progress = self.timers.progress.map(|_| now.plus(timeout));
                self.timers.new_view = self.timers.new_view.map(|_| now.plus(timeout));
                return;
            }
            self.start_view_change(self.view.next(), out);
            return;
        }
    }

    /// A request that the primary never got, or had no room for, must not cost it its seat: it is passed on again once
    /// half of the time is over in which nothing committed.
    fn forward_again(&mut self, out: &mut Out<'_>) {
        let half = timeout(self.parameters(), self.view, self.timers.good) / 2;
        let late = self.timers.progress.is_some_and(|at| at <= out.now.plus(half));
        let to = self.primary();
        if !late || self.status != Status::Normal || to == self.id {
            return;
        }
        for request in self.pool.all().take(FORWARDS_MAX).cloned() {
            out.push(Effect::Forward { to, request });
        }
    }

    /// A batch committed in order. Useful ones keep the primary in its seat, and in time bring the timeout back down.
    pub(super) fn note_progress(&mut self, _seq: Seq, useful: bool, now: Time) {
        if !useful && !self.pool.is_empty() {
            return;
        }
        if self.timers.progress.is_some() {
            self.timers.progress = Some(now.plus(timeout(self.parameters(), self.view, self.timers.good)));
        }
        self.timers.useful += 1;
        if self.timers.useful >= self.parameters().checkpoint_interval && self.status == Status::Normal {
            self.timers.good = self.view;
        }
    }
}
