//! A primary that serves some and lets others wait: the fairness timer, and what a backup passes on to it.
//!
//! The progress timer asks whether anything useful commits; a primary that colludes with one client answers it for
//! ever. So each request that a client sent here is timed on its own, once it was passed on within the room that the
//! primary keeps for this replica. A correct primary serves the replicas in turn, each in the order in which it passed
//! on; hence a request waits for at most n times those that this replica passed on before it, and is given twice that.
//! Whatever else waits here does not count: a liar could forward thousands to a backup, and buy hours with them.

use super::{Out, Replica, Status};
use crate::parameters::Quota;
use crate::pool::Patience;
use crate::process::Effect;
use crate::request::Request;
use crate::timer::timeout;
use crate::types::{ClientId, Number, ReplicaId, Session, Time};

/// How many of the timeout a request may wait at least: of the base timeout, and of the view's.
const BASE_TIMEOUTS: u64 = 20;
const VIEW_TIMEOUTS: u64 = 4;
/// So many times the pool's operations is as many later requests as may commit before it.
const POOLS: u64 = 4;
/// What is passed on again at a time, requests and bytes.
const AGAIN: Quota = Quota { operations: 64, bytes: 1 << 20 };

/// How fast requests commit while some wait: sums that forget a sixteenth with each batch.
#[derive(Debug, Clone, Default)]
pub(super) struct Pace {
    spent_ns: u64,
    /// In units of 1/1024.
    requests: u64,
    since: Option<Time>,
}

impl Pace {
    /// Whether something is pending: idle time says nothing about the primary.
    pub(super) fn busy(&mut self, pending: bool, now: Time) {
        self.since = if pending { self.since.or(Some(now)) } else { None };
    }

    /// This process was asleep until now.
    pub(super) fn woke(&mut self, now: Time) {
        self.since = self.since.map(|_| now);
    }

    /// A batch of so many requests committed.
    pub(super) fn committed(&mut self, requests: u64, now: Time) {
        let Some(since) = self.since.replace(now) else {
            self.since = None;
            return;
        };
        self.spent_ns =
            (self.spent_ns - self.spent_ns / 16).saturating_add(now.since(since).saturating_mul(1000));
        self.requests = (self.requests - self.requests / 16).saturating_add(requests.saturating_mul(1024));
    }

    /// Nanoseconds for each request; 0 while nothing is known.
    fn each_ns(&self) -> u64 {
        let total = u128::from(self.spent_ns) * 1024;
        u64::try_from(total / u128::from(self.requests.max(1))).unwrap_or(u64::MAX)
    }
}

/// A client's request that waits longest of those that this replica passed on, for its operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unserved {
    /// Whose it is.
    pub client: ClientId,
    /// The session.
    pub session: Session,
    /// Number of its first operation.
    pub first: Number,
    /// The primary that should order it.
    pub primary: ReplicaId,
    /// When it was passed on to this primary.
    pub since: Time,
    /// When the primary is given up because of it, whatever else commits; not while this replica is primary itself.
    pub gives_up: Option<Time>,
}

impl Replica {
    /// The client's request that waits longest here, if one does.
    #[must_use]
    pub fn unserved(&self) -> Option<Unserved> {
        let longest = self.pool.longest()?;
        let request: &Request = &longest.request;
        Some(Unserved {
            client: request.client(),
            session: request.session(),
            first: request.first(),
            primary: self.primary(),
            since: longest.since,
            gives_up: self.is_served().then_some(longest.until),
        })
    }

    /// Whether another replica owes it to this one's clients to order what they sent here.
    pub(super) fn is_served(&self) -> bool {
        self.status == Status::Normal && self.primary() != self.id && !self.is_catching_up()
    }

    /// What was ordered before the stable checkpoint has yet to execute here, so what waits may be among it.
    pub(super) fn is_catching_up(&self) -> bool {
        self.executed < self.log.low()
    }

    fn patience(&self) -> Patience {
        let base = self.parameters().timeout_us;
        let now = timeout(self.parameters(), self.view, self.timers.good());
        let turns = 2 * self.context.committee.size() as u64;
        Patience {
            least_us: base.saturating_mul(BASE_TIMEOUTS).max(now.saturating_mul(VIEW_TIMEOUTS)),
            each_ns: self.pace.each_ns().saturating_mul(turns),
            repeat_us: base,
            overtaken_max: self.parameters().pool_operations_max.saturating_mul(POOLS),
        }
    }

    /// Passes on to the primary what it has room for, and times it. As primary, what its own clients sent is pending
    /// just so, and nobody else is to blame.
    pub(super) fn pass_on(&mut self, out: &mut Out<'_>) {
        self.pool.suspend(self.status != Status::Normal || self.is_catching_up(), out.now);
        if self.status != Status::Normal {
            return;
        }
        let to = self.primary();
        let patience = if to == self.id { Patience::ENDLESS } else { self.patience() };
        for request in self.pool.pass_on(out.now, patience) {
            if to != self.id {
                out.push(Effect::Forward { to, request });
            }
        }
    }

    /// A request that the primary never got, or had no room for, must not cost it its seat: it is passed on again, less
    /// and less often; and at once when half of the time is over in which nothing committed.
    pub(super) fn forward_again(&mut self, urgent: bool, out: &mut Out<'_>) {
        let to = self.primary();
        if self.status != Status::Normal || to == self.id {
            return;
        }
        let due = if urgent { Time(u64::MAX) } else { out.now };
        for request in self.pool.pass_on_again(out.now, due, AGAIN) {
            out.push(Effect::Forward { to, request });
        }
    }

    /// When the primary is given up although others are served.
    pub(super) fn starves_at(&self, now: Time) -> Option<Time> {
        if self.is_served() { self.pool.starves_at(now, self.patience()) } else { None }
    }

    /// Somebody waited too long while others were served.
    pub(super) fn on_starved(&mut self, out: &mut Out<'_>) {
        if self.pool.has_patience(out.now, self.patience()) {
            return;
        }
        // Who must not leave its view goes on waiting.
        self.pool.forgive(timeout(self.parameters(), self.view, self.timers.good()));
        self.start_view_change(self.view.next(), out);
    }
}
