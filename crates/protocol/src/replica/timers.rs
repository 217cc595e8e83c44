//! What a replica waits for, and how long (OSDI '99, sections 4.4 and 4.5.2).

use std::collections::BTreeSet;

use super::catch_up::ANSWER_PAUSE_US;
use super::{Out, Replica, Status};
use crate::mutant::{self, Mutant};
use crate::timer::timeout;
use crate::types::{ReplicaId, Seq, Time, View};

/// Between two sendings of the same VIEW-CHANGE, in microseconds; does not grow.
const RETRANSMIT_US: u64 = 200_000;
/// Between two STATUS while work is pending and nothing commits, in microseconds.
pub(super) const STATUS_BUSY_US: u64 = 150_000;
/// Between two STATUS while nothing is pending, or one batch commits after the other, in microseconds.
pub(super) const STATUS_IDLE_US: u64 = 1_000_000;

/// Batches that come one after the other have stopped after so many times what is usual between two, but no sooner than
/// this, in microseconds; and after so few where they come slowly, if that is not later than this or half of the base
/// timeout.
const GAPS: u64 = 8;
const STOPPED_MIN_US: u64 = 75_000;
const SLOW_GAPS: u64 = 3;
const STOPPED_MAX_US: u64 = 300_000;
/// Whoever has answered a STATUS answers the next one of the same replica after this, in microseconds.
const ANSWERS_US: u64 = ANSWER_PAUSE_US + 10_000;

/// When each timer fires. A timer that is off has no time.
#[derive(Debug, Clone, Default)]
pub(super) struct Timers {
    progress: Option<Time>,
    new_view: Option<Time>,
    retransmit: Option<Time>,
    status: Option<Time>,
    /// Whether that STATUS is said whatever commits meanwhile.
    asked: bool,
    /// When the last STATUS was said.
    said: Option<Time>,
    /// When the last batch committed in order.
    moved: Option<Time>,
    /// What is usual between two such batches, while something is owed, in microseconds, smoothed; no more than counts.
    gap_us: u64,
    /// Since when something is owed.
    owed: Option<Time>,
    pub(super) fetch: Option<Time>,
    /// Who was heard since this replica came back, until these are a quorum.
    heard: Option<BTreeSet<ReplicaId>>,
    /// When the primary is given up although it serves others.
    fairness: Option<Time>,
    /// When a proposal that came too early is looked at again.
    clock: Option<Time>,
    /// When statements that wait may be shown to others.
    show: Option<Time>,
    /// When a primary that gives up its seat leaves it, though batches are on their way.
    retire: Option<Time>,
    /// Newest view in which a checkpoint interval of useful batches committed in order; one more for each view since then
    /// that its primary handed over in good time.
    good: View,
    useful: u64,
}

impl Timers {
    pub(super) fn deadline(&self) -> Option<Time> {
        let waiting = [self.progress, self.new_view, self.fairness, self.retransmit, self.status];
        waiting.into_iter().chain([self.fetch, self.clock, self.show, self.retire]).flatten().min()
    }

    /// A view opened or was left: what was timed in the old one is over.
    pub(super) fn restart(&mut self) {
        self.progress = None;
        self.new_view = None;
        self.retransmit = None;
        self.useful = 0;
    }

    /// What was missed while this process slept is taken in first.
    pub(super) fn rearm(&mut self, now: Time, timeout: u64) {
        self.progress = self.progress.map(|at| at.max(now.plus(timeout)));
        self.new_view = self.new_view.map(|at| at.max(now.plus(timeout)));
        self.fairness = None;
    }

    /// The newest view that worked.
    pub(super) fn good(&self) -> View {
        self.good
    }

    /// So many views were left in good time because their own primaries had left them.
    pub(super) fn handed_over(&mut self, views: u64) {
        self.good = View(self.good.0.saturating_add(views));
    }

    /// The view that a replica comes back in is as good as the first: timeouts begin at their base again.
    pub(super) fn trust(&mut self, view: View) {
        self.good = view;
        self.heard = Some(BTreeSet::new());
    }

    /// When this replica says its VIEW-CHANGE and its STATUS again.
    pub(super) fn again(&self) -> (Option<Time>, Option<Time>) {
        (self.retransmit, self.status)
    }

    /// What is usual between two batches, in microseconds, no more than [`STATUS_BUSY_US`].
    pub(super) fn gap_us(&self) -> u64 {
        self.gap_us
    }

    pub(super) fn status_now(&mut self, now: Time) {
        self.status = Some(self.status.map_or(now, |at| at.min(now)));
        self.asked = true;
    }

    /// When something will have been missed, if nothing commits until then; none if a STATUS is due now in any case.
    fn misses_at(&self, now: Time, base_us: u64) -> Option<Time> {
        let fast_us = self.gap_us.saturating_mul(GAPS).clamp(STOPPED_MIN_US, STATUS_BUSY_US);
        let slow_us = self.gap_us.saturating_mul(SLOW_GAPS).min(STOPPED_MAX_US).min(base_us / 2);
        let known = self.said.filter(|at| at.plus(STATUS_IDLE_US) > now && !self.asked)?;
        let stopped = self.moved?.plus(fast_us.max(slow_us));
        Some(stopped.max(known.plus(ANSWERS_US))).filter(|until| stopped > known && *until > now)
    }

    /// A batch committed in order.
    fn moved(&mut self, now: Time) {
        if let (Some(before), Some(owed)) = (self.moved.replace(now), self.owed) {
            let gap_us = now.since(before.max(owed)).min(STATUS_BUSY_US);
            self.gap_us = self.gap_us - self.gap_us / 8 + gap_us / 8;
        }
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
        let requests = self.pool.owes() && !self.is_catching_up();
        let proposals = || {
            let mut open = (self.committed.0 + 1..=self.log.high().0).map(Seq);
            open.any(|seq| self.log.get(seq).is_some_and(|slot| slot.proposal.is_some()))
        };
        self.committed < self.log.high() && (requests || proposals() || self.primary_is_bound())
    }

    /// Whether this replica came back and has not heard from a quorum yet: its links may take longer than the primary
    /// has, and nobody would follow it out of the view.
    pub(super) fn is_returning(&self) -> bool {
        self.timers.heard.as_ref().is_some_and(|heard| heard.len() + 1 < self.quorum())
    }

    /// Another replica was heard for the first time since this one came back, or again.
    pub(super) fn hear(&mut self, from: ReplicaId) {
        if let Some(heard) = &mut self.timers.heard {
            heard.insert(from);
        }
        if !self.is_returning() {
            self.timers.heard = None;
        }
    }

    /// Arms and disarms timers; the last thing of every step.
    pub(super) fn watch(&mut self, now: Time) {
        let timeout = timeout(self.parameters(), self.view, self.timers.good);
        let owed = self.owed();
        let speaks = !self.is_mute();
        let blames = owed && speaks && self.status == Status::Normal && !self.is_returning();
        let changing = speaks && self.status == Status::ViewChanging;
        let recovering = speaks && self.status == Status::Recovering;
        let enough = self.replicas_at_or_above(self.view) >= self.quorum() || mutant::is(Mutant::M43);
        let quorum_waits = (changing || recovering) && enough;
        let arm = |timer: &mut Option<Time>, on: bool, after: u64| {
            *timer = if on { Some(timer.unwrap_or(now.plus(after))) } else { None };
        };
        arm(&mut self.timers.progress, blames, timeout);
        arm(&mut self.timers.new_view, quorum_waits, timeout);
        arm(&mut self.timers.retransmit, changing, RETRANSMIT_US);
        let lacks = self.lacks();
        let pause = if owed || changing || recovering || lacks { STATUS_BUSY_US } else { STATUS_IDLE_US };
        // Where batches come fast it shows sooner that one is missing.
        let base_us = self.parameters().timeout_us;
        let works = owed && !changing && !recovering && !lacks;
        let missed = self.timers.misses_at(now, base_us).filter(|_| works);
        let next = missed.unwrap_or(now.plus(pause));
        self.timers.status = Some(self.timers.status.map_or(next, |at| at.min(next)));
        self.watch_fetches(now);
        self.timers.fairness = self.starves_at(now).filter(|_| !mutant::is(Mutant::M30));
        self.timers.clock = self.clock.retry_at();
        self.timers.show = self.show_at();
        let leaves = self.retiring.into_iter().chain(self.strays.leaves_at());
        self.timers.retire = leaves.filter(|at| *at > now).min();
        self.timers.owed = if owed { self.timers.owed.or(Some(now)) } else { None };
        self.pace.busy(owed, now);
    }

    pub(super) fn on_timeout(&mut self, out: &mut Out<'_>) {
        let now = out.now;
        if due(self.timers.fetch, now) {
            self.fetch_again(out);
        }
        if due(self.timers.status, now) {
            self.status_is_due(out);
            let half = timeout(self.parameters(), self.view, self.timers.good) / 2;
            self.forward_again(due(self.timers.progress, now.plus(half)), out);
        }
        if due(self.timers.clock, now) {
            self.retry_early(out);
        }
        if due(self.timers.show, now) {
            self.show_waiting(out);
        }
        if due(self.timers.retransmit, now) {
            self.timers.retransmit = None;
            self.repeat_view_change(out);
        }
        if due(self.timers.progress, now) || due(self.timers.new_view, now) {
            // Who must not leave its view goes on waiting, and passes requests on.
            (self.timers.progress, self.timers.new_view) = (None, None);
            self.start_view_change(self.view.next(), out);
        } else if due(self.timers.fairness, now) {
            self.on_starved(out);
        }
    }

    /// Whether it lacks something that no batch of this view brings; the others may be in a later one.
    fn lacks(&self) -> bool {
        let last = self.log.get(self.committed).and_then(|slot| slot.committed.as_ref());
        let later = last.is_some_and(|certificate| certificate.statement.view > self.view);
        let left_out = self.trails() || later || self.committed >= self.checkpoint_due();
        left_out && !mutant::is(Mutant::M60) || self.behind() || self.unmended().is_some()
    }

    /// Says where it stands; later, if batches commit one after the other: then whatever others would send is on its way.
    fn status_is_due(&mut self, out: &mut Out<'_>) {
        let works = self.status == Status::Normal && !self.lacks();
        self.timers.status = self.timers.misses_at(out.now, self.parameters().timeout_us).filter(|_| works);
        if self.timers.status.is_none() {
            (self.timers.said, self.timers.asked) = (Some(out.now), false);
            self.say_status(out);
        }
    }

    /// A batch committed in order. Useful ones keep the primary in its seat, and in time bring the timeout back down.
    pub(super) fn note_progress(&mut self, useful: bool, now: Time) {
        self.timers.moved(now);
        if !useful && self.pool.owes() && !mutant::is(Mutant::M30) {
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
