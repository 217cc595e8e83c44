//! This replica's clock: when it slept, and whose time it refuses.

use std::collections::BTreeMap;

use super::{Out, Replica};
use crate::process::Alarm;
use crate::types::{Seq, Time};

/// Between two alarms about the clock, in microseconds.
const ALARM_PAUSE_US: u64 = 1_000_000;
/// So many base timeouts after a process woke, what it finds in its queues may be as old as its sleep.
const DRAIN_TIMEOUTS: u64 = 4;

/// What a replica knows of its clock.
#[derive(Debug, Clone, Default)]
pub(super) struct Clock {
    /// When this process last did a step.
    last: Time,
    /// Since when it slept, and until when that excuses old proposals.
    slept: Option<(Time, Time)>,
    /// Slots whose proposal is ahead of the clock here, and when it no longer is. Never more than the window has.
    early: BTreeMap<Seq, Time>,
    /// When the operator was last told.
    told: Option<Time>,
}

impl Clock {
    /// When a proposal that came too early can be looked at again.
    pub(super) fn retry_at(&self) -> Option<Time> {
        self.early.values().min().copied()
    }
}

impl Replica {
    /// The first thing of every step. A process that slept past its deadline, and did nothing else meanwhile, finds in
    /// its queues what it missed: it takes that in before it blames anybody. One that is merely flooded has done steps,
    /// and its timers count.
    pub(super) fn notice_sleep(&mut self, now: Time) {
        let last = self.clock.last;
        self.clock.last = last.max(now);
        let Some(due) = self.timers.deadline().map(|due| due.max(last)) else { return };
        let base = self.parameters().timeout_us;
        if now.since(due) <= base / 2 {
            return;
        }
        self.timers.rearm(now, self.waiting().timeout_us);
        self.pool.excuse(now.since(last));
        self.pace.woke(now);
        self.watchdog.woke(now);
        self.clock.slept = Some((last, now.plus(base.saturating_mul(DRAIN_TIMEOUTS))));
    }

    /// A proposal's time may differ from our clock by the tolerance; a question of the normal case only. What waited
    /// while this process slept is judged by the clock of any moment of that sleep.
    pub(super) fn time_is_plausible(&self, proposed: Time, ours: Time) -> bool {
        let slept = self.clock.slept.filter(|(_, until)| ours <= *until);
        let since = slept.map_or(ours, |(since, _)| since.min(ours));
        let tolerance = self.parameters().time_tolerance_us;
        proposed <= ours.plus(tolerance) && proposed.plus(tolerance) >= since
    }

    /// Refuses a proposal for now: it is looked at again when its time has come, and the operator is told once.
    pub(super) fn refuse_time(&mut self, seq: Seq, proposed: Time, out: &mut Out<'_>) {
        let ours = out.now;
        if proposed > ours {
            self.clock.early = self.clock.early.split_off(&self.log.low().next());
            let at = Time(proposed.0.saturating_sub(self.parameters().time_tolerance_us));
            self.clock.early.insert(seq, at);
        }
        let slot = self.log.get_mut(seq).expect("only a slot that is kept is refused");
        if std::mem::replace(&mut slot.clock_refused, true) {
            return;
        }
        // A clock that is wrong refuses every slot; one alarm a second says so.
        if self.clock.told.is_none_or(|told| ours.since(told) >= ALARM_PAUSE_US) {
            self.clock.told = Some(ours);
            self.alarm(Alarm::ClockDisagrees { seq, proposed, ours }, out);
        }
    }

    /// Looks again at the proposals whose time has come.
    pub(super) fn retry_early(&mut self, out: &mut Out<'_>) {
        let due = self.clock.early.iter().filter(|(_, at)| **at <= out.now).map(|(seq, _)| *seq);
        for seq in due.collect::<Vec<_>>() {
            self.clock.early.remove(&seq);
            self.advance(seq, out);
        }
    }
}
