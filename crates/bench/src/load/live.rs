//! What is counted while the load runs.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use quorate_protocol::client::ReplicaSet;
use quorate_protocol::types::{Seq, View};
use tokio::sync::watch;

use super::phases::{Phase, Phases};
use super::report::ViewSeen;
use super::{Peek, Workload};
use crate::audit::Ledger;

/// What is counted while the load runs.
#[derive(Debug)]
pub struct Live {
    /// Operations answered by enough replicas alike, since the load began.
    pub matched: AtomicU64,
    /// Operations answered otherwise than with a result, or not at all.
    pub failed: AtomicU64,
    /// Operations submitted once every client had its session.
    pub submitted: AtomicU64,
    /// Highest slot of any accepted answer.
    pub highest: AtomicU64,
    pub(super) hopeless: watch::Sender<bool>,
    /// When no new operation is submitted any more.
    pub(super) end: watch::Sender<Instant>,
    newest_view: AtomicU64,
    pub(super) phases: Mutex<Phases>,
    /// When the first answer of each view was accepted.
    views: Mutex<BTreeMap<u64, Instant>>,
    /// Moments after which the first accepted answer is looked for, and when that came.
    probes: Mutex<Vec<Option<Instant>>>,
    probing: AtomicBool,
    /// Of each replica that answered otherwise than enough others alike: how often, and at which slot last.
    dissents: Mutex<BTreeMap<u16, (u64, u64)>>,
    ledger: Arc<Mutex<Ledger>>,
}

/// An answer that was accepted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Accepted {
    pub(super) place: (Seq, View),
    /// When its call was due.
    pub(super) due: Instant,
}

impl Live {
    pub(super) fn new(workload: Workload) -> Self {
        Self::with(Arc::new(Mutex::new(Ledger::new(workload))))
    }

    /// For the next stretch of load of the same clients: counts begin anew, and what clients were told is kept.
    pub(super) fn succeed(&self) -> Self {
        let next = Self::with(Arc::clone(&self.ledger));
        next.highest.store(self.highest.load(Ordering::Relaxed), Ordering::Relaxed);
        next.newest_view.store(self.newest_view.load(Ordering::Relaxed), Ordering::Relaxed);
        next
    }

    fn with(ledger: Arc<Mutex<Ledger>>) -> Self {
        Self {
            matched: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            submitted: AtomicU64::new(0),
            highest: AtomicU64::new(0),
            hopeless: watch::Sender::new(false),
            end: watch::Sender::new(Instant::now()),
            newest_view: AtomicU64::new(0),
            phases: Mutex::new(Phases::default()),
            views: Mutex::new(BTreeMap::new()),
            probes: Mutex::new(Vec::new()),
            probing: AtomicBool::new(false),
            dissents: Mutex::new(BTreeMap::new()),
            ledger,
        }
    }

    /// Waits for no answer any more: the load ends at once, and what is in flight counts as failed.
    pub fn give_up(&self) {
        self.hopeless.send_replace(true);
    }

    /// Whether no answer is waited for any more.
    #[must_use]
    pub fn is_given_up(&self) -> bool {
        *self.hopeless.borrow()
    }

    /// When the load ends.
    #[must_use]
    pub fn end(&self) -> Instant {
        *self.end.borrow()
    }

    /// The load goes on until then at least.
    pub fn extend(&self, until: Instant) {
        self.end.send_if_modified(|end| {
            let later = until > *end;
            *end = (*end).max(until);
            later
        });
    }

    /// No new operation is submitted any more, whatever was said before; answers are waited for.
    pub fn end_now(&self) {
        self.end.send_modify(|end| *end = (*end).min(Instant::now()));
    }

    /// Who answered otherwise than enough others alike, how often, and at which slot last.
    #[must_use]
    pub fn dissents(&self) -> BTreeMap<u16, (u64, u64)> {
        self.dissents.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on it is this phase of the run.
    pub fn enter(&self, phase: Phase) {
        self.phases().enter(phase, Instant::now());
    }

    pub(super) fn phases(&self) -> MutexGuard<'_, Phases> {
        self.phases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What clients were told so far.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes when the next answer is accepted; gives back the number under which [`Live::probed`] knows it.
    pub fn probe(&self) -> usize {
        let mut probes = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
        probes.push(None);
        self.probing.store(true, Ordering::Relaxed);
        probes.len() - 1
    }

    /// When the first answer after a [`Live::probe`] was accepted, if one was.
    #[must_use]
    pub fn probed(&self, probe: usize) -> Option<Instant> {
        self.probes.lock().unwrap_or_else(PoisonError::into_inner).get(probe).copied().flatten()
    }

    /// When the first answer of a view beyond `view` was accepted after `since`, if one was.
    #[must_use]
    pub fn first_answer_beyond(&self, view: u64, since: Instant) -> Option<Instant> {
        let views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        views.range(view + 1..).map(|(_, at)| *at).find(|at| *at >= since)
    }

    /// First answers of views that came up since then.
    pub(super) fn views_since(&self, begin: Instant) -> Vec<ViewSeen> {
        let views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = |(view, at): (&u64, &Instant)| {
            let since = at.checked_duration_since(begin)?;
            Some(ViewSeen { view: *view, at_s: since.as_secs_f64() })
        };
        views.iter().filter_map(seen).collect()
    }

    /// How the load stands, and the latency since the last look.
    #[must_use]
    pub fn peek(&self, over: bool) -> Peek {
        let (p50_us, p99_us) = self.take_latency();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Peek {
            submitted: count(&self.submitted),
            matched: count(&self.matched),
            failed: count(&self.failed),
            highest: count(&self.highest),
            p50_us,
            p99_us,
            over,
        }
    }

    pub(super) fn note_submitted(&self, client: usize, indices: Range<u64>) {
        self.submitted.fetch_add(indices.end - indices.start, Ordering::Relaxed);
        let mut ledger = self.ledger();
        indices.for_each(|index| ledger.submitted(client, index));
    }

    pub(super) fn note_dissenters(&self, dissenters: &ReplicaSet, seq: Seq) {
        if dissenters.is_empty() {
            return;
        }
        let mut dissents = self.dissents.lock().unwrap_or_else(PoisonError::into_inner);
        for replica in dissenters.iter() {
            let (count, last) = dissents.entry(replica.0).or_default();
            (*count, *last) = (*count + 1, seq.0);
        }
    }

    pub(super) fn note(&self, accepted: Accepted, now: Instant) {
        let (seq, view) = accepted.place;
        self.matched.fetch_add(1, Ordering::Relaxed);
        self.highest.fetch_max(seq.0, Ordering::Relaxed);
        self.phases().record(accepted.due, now, self.end());
        if self.probing.swap(false, Ordering::Relaxed) {
            let mut probes = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
            probes.iter_mut().for_each(|probe| *probe = probe.or(Some(now)));
        }
        if self.newest_view.fetch_max(view.0, Ordering::Relaxed) < view.0 {
            self.views.lock().unwrap_or_else(PoisonError::into_inner).entry(view.0).or_insert(now);
        }
    }

    /// The median and the 99th percentile, in microseconds, of what matched since the last call.
    pub fn take_latency(&self) -> (u64, u64) {
        self.phases().take_recent()
    }
}
