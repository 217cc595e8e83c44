//! How long operations take in each phase of their way, as sums that only grow.
//!
//! A slot is stamped when its proposal gets this replica's vote, when it prepares, when it is handed over to be executed
//! in order, and when it has executed; then its phases are counted, once, each as often as the batch has operations, so
//! that a mean is one over operations. Of requests one in [`ONE_IN`] is stamped as soon as its client's signature was
//! found good, chosen by a byte of that signature. Neither arrival nor batching can favour it; a client can, for its own
//! requests, as it can choose when to send them.
//!
//! While somebody watches, what is seen here is told to the [lanes](crate::live) as well.

use std::collections::BTreeMap;

use quorate_protocol::process::{Effect, Event, Record, Say};
use quorate_protocol::replica::Replica;
use quorate_protocol::request::Request;
use quorate_protocol::types::{ClientId, Number, ReplicaId, Seq, Session, Time};

use crate::live::{Heard, Lanes, Moment};

pub use crate::spent::Spent;

/// Of so many requests one is timed.
pub const ONE_IN: u8 = 16;
/// Requests at most whose arrival is remembered. More wait only if somebody sends what is never ordered.
const ARRIVALS_MAX: usize = 1024;
/// No phase counts for longer than ten minutes: beyond that it tells of a clock, and one slot would drown all others.
const PHASE_US_MAX: u64 = 600_000_000;

/// Time spent in each phase, each time as often as there were operations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PhaseTimes {
    /// From when its primary found a request's signature good to its proposal; of the requests that are timed.
    pub request: Spent,
    /// From the proposal, by the clock of its primary, to this replica's vote for it: nothing where the two are one. Between
    /// machines it is as exact as their clocks.
    pub pre_prepare: Spent,
    /// From the vote to the prepared certificate.
    pub prepare: Spent,
    /// From the prepared certificate until it committed, and all slots before it.
    pub commit: Spent,
    /// From there until it has executed.
    pub execute: Spent,
    /// From the vote until it committed, and all slots before it: `prepare` and `commit` in one, by the clock of this
    /// replica alone.
    pub agreement: Spent,
}

/// What is known of a slot on its way. The last vote for it counts, if a view change brings another.
#[derive(Debug, Clone, Copy, Default)]
struct Stamps {
    seq: Seq,
    voted: Time,
    prepared: Option<Time>,
    handed: Option<Handed>,
}

/// A slot that waits to be executed.
#[derive(Debug, Clone, Copy)]
struct Handed {
    at: Time,
    proposed: Time,
    operations: u64,
}

/// The stamps of slots and requests on their way.
#[derive(Debug, Default)]
pub(crate) struct Phases {
    /// As many places as the window has slots; a slot takes that of one before the window.
    slots: Vec<Stamps>,
    arrivals: BTreeMap<(ClientId, Session, Number), Time>,
    times: PhaseTimes,
    /// What a person sees of each slot; none while nobody watches.
    lanes: Option<Box<Lanes>>,
}

impl Phases {
    /// For a replica with this many slots between its watermarks.
    pub(crate) fn new(window: u64) -> Self {
        let places = usize::try_from(window).expect("a window has at most 4096 slots").max(1);
        Self { slots: vec![Stamps::default(); places], ..Self::default() }
    }

    pub(crate) fn times(&self) -> PhaseTimes {
        self.times
    }

    /// A request came from its client, whose signature is good. One that came before keeps its first arrival.
    pub(crate) fn arrived(&mut self, now: Time, request: &Request) {
        if let Some(lanes) = self.lanes(now) {
            lanes.arrived(now, request);
        }
        if is_timed(request) {
            if self.arrivals.len() >= ARRIVALS_MAX {
                self.arrivals.clear();
            }
            self.arrivals.entry(name(request)).or_insert(now);
        }
    }

    /// Somebody watches: from now on what is seen of each slot is kept for [`Phases::moments`], until nobody asked for ten
    /// seconds, or `always`.
    pub(crate) fn watch(&mut self, now: Time, replica: &Replica, always: bool) {
        let fresh = || Box::new(Lanes::new(now, replica));
        self.lanes.get_or_insert_with(fresh).ask(now, always);
    }

    /// What changed since this was last asked, for a recording that began at `began`; nothing if nobody watches.
    pub(crate) fn moments(&mut self, now: Time, began: Time) -> Vec<Moment> {
        self.lanes(now).map_or_else(Vec::new, |lanes| lanes.take(now, began))
    }

    /// Whether somebody watches.
    pub(crate) fn is_watched(&self) -> bool {
        self.lanes.is_some()
    }

    /// The lanes, while somebody watches.
    fn lanes(&mut self, now: Time) -> Option<&mut Lanes> {
        if self.lanes.as_ref()?.is_over(now) {
            self.lanes = None;
        }
        self.lanes.as_deref_mut()
    }

    /// A frame was decoded that says this over its author's channel.
    pub(crate) fn heard(&mut self, now: Time, from: ReplicaId, heard: Heard, replica: &Replica) {
        if let Some(lanes) = self.lanes(now) {
            lanes.heard(now, from, heard, replica);
        }
    }

    /// The replica is about to hear this.
    pub(crate) fn hears(&mut self, now: Time, event: &Event) {
        if let Some(lanes) = self.lanes(now) {
            lanes.said(now, event);
        }
    }

    /// Replies of a slot were given to the links.
    pub(crate) fn replied(&mut self, now: Time, seq: Seq) {
        if let Some(lanes) = self.lanes(now) {
            lanes.replied(now, seq);
        }
    }

    /// What the replica wants tells how far a slot is.
    pub(crate) fn note(&mut self, now: Time, effect: &Effect) {
        if let Some(lanes) = self.lanes(now) {
            lanes.note(now, effect);
        }
        match effect {
            Effect::Persist(Record::Vote { prepare, .. }) => {
                *self.place(prepare.seq) = Stamps { seq: prepare.seq, voted: now, ..Stamps::default() };
            }
            Effect::Persist(Record::Prepared(certificate)) => {
                let seq = certificate.statement.seq;
                if let Some(slot) = self.slot(seq) {
                    slot.prepared = slot.prepared.or(Some(now));
                }
            }
            Effect::Execute { seq, body: Some(body) } => {
                let (proposed, operations) = (body.batch.nondet.time, body.batch.operations() as u64);
                if let Some(slot) = self.slot(*seq) {
                    slot.handed = Some(Handed { at: now, proposed, operations });
                }
                self.forget(&body.batch.requests);
            }
            Effect::Send { message: Say::PrePrepare { body: Some(body), .. }, .. } => {
                self.proposed(now, &body.batch.requests);
            }
            Effect::Persist(_)
            | Effect::Execute { .. }
            | Effect::Send { .. }
            | Effect::Forward { .. }
            | Effect::Refuse { .. }
            | Effect::Install(_)
            | Effect::Preserve(_)
            | Effect::LookUp(_)
            | Effect::Alarm(_) => {}
        }
    }

    /// A slot has executed: its phases count. One that this replica did not see through all of them does not.
    pub(crate) fn executed(&mut self, now: Time, seq: Seq) {
        if let Some(lanes) = self.lanes(now) {
            lanes.executed(now, seq);
        }
        let Some(slot) = self.slot(seq) else { return };
        let (voted, prepared) = (slot.voted, slot.prepared);
        let Some((handed, prepared)) = slot.handed.take().zip(prepared) else { return };
        let Handed { at, proposed, operations } = handed;
        let times = &mut self.times;
        for (phase, us) in [
            (&mut times.pre_prepare, voted.since(proposed)),
            (&mut times.prepare, prepared.since(voted)),
            (&mut times.commit, at.since(prepared)),
            (&mut times.execute, now.since(at)),
            (&mut times.agreement, at.since(voted)),
        ] {
            phase.add(us.min(PHASE_US_MAX), operations);
        }
    }

    fn place(&mut self, seq: Seq) -> &mut Stamps {
        let places = self.slots.len() as u64;
        let place = usize::try_from(seq.0 % places).expect("it is one of the places");
        &mut self.slots[place]
    }

    fn slot(&mut self, seq: Seq) -> Option<&mut Stamps> {
        Some(self.place(seq)).filter(|slot| slot.seq == seq)
    }

    fn proposed(&mut self, now: Time, requests: &[impl AsRef<Request>]) {
        for request in requests.iter().map(AsRef::as_ref).filter(|request| is_timed(request)) {
            if let Some(arrived) = self.arrivals.remove(&name(request)) {
                self.times.request.add(now.since(arrived).min(PHASE_US_MAX), request.len() as u64);
            }
        }
    }

    /// These were ordered, by whomever.
    fn forget(&mut self, requests: &[impl AsRef<Request>]) {
        if self.arrivals.is_empty() {
            return;
        }
        for request in requests.iter().map(AsRef::as_ref).filter(|request| is_timed(request)) {
            self.arrivals.remove(&name(request));
        }
    }
}

/// Of a signature that was made as it should be each byte is as good as chance.
fn is_timed(request: &Request) -> bool {
    request.signature().0[0].is_multiple_of(ONE_IN)
}

fn name(request: &Request) -> (ClientId, Session, Number) {
    (request.client(), request.session(), request.first())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
