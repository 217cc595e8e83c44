//! What a running node shows of itself to whoever watches: where it stands, what became of slots, and what happened.
//!
//! What happened is rare, and always kept, so that whoever comes after it can read of it. Where it stands and what it saw
//! of slots is looked at only when somebody asks.

use quorate_host::disk::Disk;
use quorate_host::live::{
    About, Disagreement, Excerpt, Happening, Header, Moment, Ring, Source, Stand, State, VERSION, Weight,
};
use quorate_protocol::process::Alarm;
use quorate_protocol::replica::{Replica, Status};
use quorate_protocol::types::{Time, View};

use super::Node;
use crate::transport::Remote;

/// However many ask, the replica looks at itself no more often than this, in microseconds.
const LOOK_US: u64 = 50_000;
/// Where it stands is said again after so long, though it stands where it stood.
const REPEAT_US: u64 = 1_000_000;
/// Letters of what happened.
const WORDS_MAX: usize = 600;

/// What was shown so far.
pub(super) struct Shown {
    began: Time,
    ring: Ring,
    looked: Option<Time>,
    stood: Option<Stand>,
    /// How it was when that was told last.
    view: (View, Status),
    slow_primaries: u64,
    behind: bool,
    bound: bool,
}

impl Shown {
    /// Nothing yet, of a replica that starts now.
    pub(super) fn new(began: Time, replica: &Replica) -> Self {
        let committee = &replica.context().committee;
        let count = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
        let header = Header {
            version: VERSION,
            source: Source::Replica,
            title: format!("replica {} of {}", replica.id(), committee.size()),
            n: count(committee.size()),
            f: count(committee.faults()),
            q: count(committee.quorum()),
            began: began.0,
            ..Header::default()
        };
        Self {
            began,
            ring: Ring::new(header),
            looked: None,
            stood: None,
            view: (replica.view(), replica.status()),
            slow_primaries: 0,
            behind: false,
            bound: replica.is_bound(),
        }
    }
}

impl<D: Disk + Send + 'static> Node<D> {
    /// Somebody watches: what is new since moment `from`.
    pub(super) fn live(&mut self, from: u64) -> Excerpt {
        let now = self.clock.now();
        self.host.watch(now, false);
        if self.shown.looked.is_none_or(|looked| now.since(looked) >= LOOK_US) {
            self.look(now);
        }
        self.shown.ring.from(from)
    }

    fn look(&mut self, now: Time) {
        let began = self.shown.began;
        let stand = self.stand(now.since(began));
        let moments = self.host.moments(now, began);
        let shown = &mut self.shown;
        shown.looked = Some(now);
        let repeats = |old: &Stand| {
            stand.t.saturating_sub(old.t) < REPEAT_US && *old == Stand { t: old.t, ..stand.clone() }
        };
        if !shown.stood.as_ref().is_some_and(repeats) {
            shown.ring.push(Moment::Replica(stand.clone()));
            shown.stood = Some(stand);
        }
        moments.into_iter().for_each(|moment| shown.ring.push(moment));
    }

    fn stand(&self, t: u64) -> Stand {
        let replica = self.host.replica();
        let (low, high) = replica.watermarks();
        let mut links = vec![false; replica.context().committee.size()];
        let up = self.links.reports().into_iter().filter(|link| link.up);
        let linked = up.filter_map(|link| match link.remote {
            Remote::Replica(other) => Some(other),
            Remote::Client(_) => None,
        });
        for id in linked.chain([replica.id()]) {
            if let Some(link) = links.get_mut(usize::from(id.0)) {
                *link = true;
            }
        }
        Stand {
            t,
            id: replica.id().0,
            up: true,
            state: State::of(replica),
            view: replica.view().0,
            primary: replica.primary().0,
            executed: replica.executed().0,
            committed: replica.committed().0,
            stable: low.0,
            low: low.0,
            high: high.0,
            links,
            behaviour: (!self.sins.is_empty()).then(|| self.sins.to_string()),
            lies: self.sins.told(&self.host).values().sum(),
            alarms: replica.counters().alarms,
            pending: replica.pooled(),
        }
    }

    /// Something happened to this replica.
    pub(super) fn happened(&mut self, what: impl Into<String>, weight: Weight) {
        let what = what.into().chars().take(WORDS_MAX).collect();
        let (t, replica) = (self.clock.now().since(self.shown.began), Some(self.host.replica().id().0));
        self.shown.ring.push(Moment::Event(Happening { t, replica, what, weight }));
    }

    /// An alarm was raised; `words` is what the operator reads of it.
    pub(super) fn show_alarm(&mut self, alarm: &Alarm, words: &str) {
        self.happened(words, Weight::Alarm);
        if let Alarm::Diverged { seq, ours, theirs, .. } = alarm {
            let (t, replica) = (self.clock.now().since(self.shown.began), self.host.replica().id().0);
            let (says, others) = (format!("{ours:?}"), format!("{theirs:?}"));
            let about = About::Checkpoint;
            let wrong = Disagreement { t, replica, seq: seq.0, about, says, others };
            self.shown.ring.push(Moment::Disagreement(wrong));
        }
    }

    /// Looks for what changed since it was looked for last, and tells it.
    pub(super) fn notice(&mut self) {
        let replica = self.host.replica();
        let (view, status, primary) = (replica.view(), replica.status(), replica.primary());
        let (slow, behind) = (replica.counters().slow_primaries, replica.behind());
        let (executed, bound) = (replica.executed(), replica.is_bound());
        if self.shown.view != (view, status) {
            let (before, _) = std::mem::replace(&mut self.shown.view, (view, status));
            match status {
                Status::Normal => {
                    self.happened(format!("in view {view}; its primary is {primary}"), Weight::Note);
                }
                Status::ViewChanging => {
                    self.happened(format!("left view {before} for view {view}"), Weight::Warning);
                }
                Status::Recovering | Status::Diverged | Status::Out | Status::Halted => {}
            }
        }
        if self.shown.bound && !bound {
            self.shown.bound = false;
            let what = "healed: what this replica may have forgotten binds it no more";
            self.happened(what, Weight::Note);
        }
        if self.shown.slow_primaries != slow {
            self.shown.slow_primaries = slow;
            let what =
                format!("the watchdog found the primary too slow; this replica leaves for view {view}");
            self.happened(what, Weight::Warning);
        }
        if self.shown.behind != behind {
            self.shown.behind = behind;
            let what = if behind {
                format!(
                    "behind: it misses more than the others' logs hold, and fetches their state; executed {executed}"
                )
            } else {
                format!("caught up; executed {executed}")
            };
            self.happened(what, Weight::Note);
        }
    }
}
