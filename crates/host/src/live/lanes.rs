//! What this replica saw of each slot on its way, recorded while somebody watches and at no other time.
//!
//! A vote is noted when its frame arrives over its signer's channel and is decoded, before anybody verifies its signature:
//! the border holds votes until they are a quorum and drops those that come later, and whoever watches wants to see each
//! as it comes. So a lane shows what was said; what counted is seen from when the slot prepared and committed. The
//! replica's own votes are noted when what they rest on is durable, which is when they leave.
//!
//! Of many slots a sample is shown, the same at every replica as long as their rates are alike: those whose numbers are
//! multiples of a power of two. Slots that take long, that a view change touched, or that somebody votes otherwise on are
//! shown besides.

use std::collections::BTreeMap;

use quorate_protocol::message::{PeerMessage, Prepare};
use quorate_protocol::process::{Effect, Event, Record};
use quorate_protocol::replica::Replica;
use quorate_protocol::request::{Body, Request};
use quorate_protocol::types::{ClientId, Digest, Number, ReplicaId, Seq, Session, Time, View};

use super::{About, Disagreement, Moment, SlotLane};

/// Slots shown in a second, at most; and as many again that are in trouble.
const PER_SECOND: u64 = 20;
/// Nobody watches any more who has not asked for so long, in microseconds.
const IDLE_US: u64 = 10_000_000;
/// How long a slot is kept for late votes after it has executed, in microseconds.
const LATE_US: u64 = 2_000_000;
/// Slots that are followed at once.
const LANES_MAX: usize = 1024;
/// Lanes and disagreements that wait to be asked for, besides those that are followed.
const WAITING_MAX: usize = 256;
/// Requests at most whose arrival is remembered.
const ARRIVALS_MAX: usize = 8192;
/// A second, in microseconds.
const SECOND_US: u64 = 1_000_000;

/// What a frame said about a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Proposal,
    Prepare,
    Commit,
}

/// A statement that came over its signer's own channel, not verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) step: Step,
    pub(crate) view: View,
    pub(crate) seq: Seq,
    pub(crate) digest: Digest,
}

impl Heard {
    /// What a message of this channel says about a slot, if it is its author's own.
    pub(crate) fn of(from: ReplicaId, message: &PeerMessage) -> Option<Self> {
        let (step, signer, (view, seq, digest)) = match message {
            PeerMessage::Prepare(vote) => (Step::Prepare, vote.signer, (vote.view, vote.seq, vote.digest)),
            PeerMessage::Commit(vote) => (Step::Commit, vote.signer, (vote.view, vote.seq, vote.digest)),
            PeerMessage::PrePrepare(proposal) => {
                let vote = &proposal.prepare;
                (Step::Proposal, vote.signer, (vote.view, vote.seq, vote.digest))
            }
            _ => return None,
        };
        (signer == from).then_some(Self { step, view, seq, digest })
    }
}

/// Who said something about a slot, when, and about which batch.
type Votes = Vec<(ReplicaId, Time, Digest)>;

/// One slot on its way, in one view.
#[derive(Debug, Default)]
struct Lane {
    view: View,
    /// What this replica voted for, or holds a certificate for.
    digest: Option<Digest>,
    operations: u64,
    request: Option<Time>,
    proposed: Option<Time>,
    prepares: Votes,
    prepared: Option<Time>,
    commits: Votes,
    committed: Option<Time>,
    executed: Option<Time>,
    replied: Option<Time>,
    /// Whether it is shown; none while that is open.
    shown: Option<bool>,
    changed: bool,
    /// Of whom it was said that they vote otherwise.
    told: Vec<ReplicaId>,
}

impl Lane {
    /// The batch that this lane is about: the one that this replica chose, or else the one that was named first.
    fn subject(&self) -> Option<Digest> {
        let first = || self.prepares.iter().chain(&self.commits).map(|(_, _, digest)| *digest).next();
        self.digest.or_else(first)
    }

    /// A second different vote of one replica is a lie, and noted; a third is not.
    fn vote(&mut self, step: Step, vote: (ReplicaId, Time, Digest)) {
        let votes = if step == Step::Commit { &mut self.commits } else { &mut self.prepares };
        let of_signer = votes.iter().filter(|(signer, _, _)| *signer == vote.0);
        if of_signer.clone().count() < 2 && of_signer.clone().all(|(_, _, digest)| *digest != vote.2) {
            votes.push(vote);
            self.changed = true;
        }
    }

    /// Who votes for another batch than this replica, and for which.
    fn others(&self) -> impl Iterator<Item = (ReplicaId, Digest)> {
        let votes = self.prepares.iter().chain(&self.commits);
        let otherwise = votes.filter(|(_, _, digest)| self.digest.is_some_and(|ours| ours != *digest));
        otherwise.map(|(signer, _, digest)| (*signer, *digest))
    }

    /// How long it takes already; what nobody proposed here takes no time.
    fn took_us(&self, now: Time) -> u64 {
        self.proposed.map_or(0, |proposed| now.since(proposed))
    }
}

/// How many slots pass, and which of them are shown.
#[derive(Debug)]
struct Pace {
    since: Time,
    seen: u64,
    shown: u64,
    troubled: u64,
    stride: u64,
}

impl Pace {
    fn new(now: Time) -> Self {
        Self { since: now, seen: 0, shown: 0, troubled: 0, stride: 1 }
    }

    /// A new second has its own room, and a stride for the rate of the one before.
    fn pass(&mut self, now: Time) {
        let passed_us = now.since(self.since);
        if passed_us >= SECOND_US {
            let rate = u128::from(self.seen) * u128::from(SECOND_US) / u128::from(passed_us);
            let rate = u64::try_from(rate).unwrap_or(u64::MAX / 2).min(1 << 32);
            *self = Self { stride: rate.div_ceil(PER_SECOND).next_power_of_two(), ..Self::new(now) };
        }
    }

    /// Whether a slot is one of the sample.
    fn shows(&mut self, now: Time, seq: Seq) -> bool {
        self.pass(now);
        self.seen += 1;
        let shows = seq.0.is_multiple_of(self.stride) && self.shown < PER_SECOND;
        self.shown += u64::from(shows);
        shows
    }

    /// Whether there is room to show one more that is in trouble.
    fn shows_trouble(&mut self, now: Time) -> bool {
        self.pass(now);
        let shows = self.troubled < PER_SECOND;
        self.troubled += u64::from(shows);
        shows
    }
}

/// The lanes of all slots on their way, while somebody watches.
#[derive(Debug)]
pub(crate) struct Lanes {
    replica: ReplicaId,
    /// So long a slot takes that is in trouble: half of T0.
    slow_us: u64,
    asked: Time,
    /// Recorded to the end, whoever asks.
    always: bool,
    view: View,
    /// Everything up to here was handed to execution.
    handed: Seq,
    slots: BTreeMap<Seq, Lane>,
    arrivals: BTreeMap<(ClientId, Session, Number), Time>,
    /// The batch that was persisted last, for the vote that follows: its slot, its operations, its oldest arrival.
    body: Option<(Seq, u64, Option<Time>)>,
    pace: Pace,
    /// Lanes of views that were left, for whoever asks next.
    left: Vec<(Seq, Lane)>,
}

impl Lanes {
    /// For this replica, as it stands; nothing of before is known.
    pub(crate) fn new(now: Time, replica: &Replica) -> Self {
        Self {
            replica: replica.id(),
            slow_us: replica.context().parameters.timeout_us / 2,
            asked: now,
            always: false,
            view: replica.view(),
            handed: replica.handed(),
            slots: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            body: None,
            pace: Pace::new(now),
            left: Vec::new(),
        }
    }

    /// Somebody watches, now or always.
    pub(crate) fn ask(&mut self, now: Time, always: bool) {
        self.asked = now;
        self.always |= always;
    }

    /// Whether nobody watches any more.
    pub(crate) fn is_over(&self, now: Time) -> bool {
        !self.always && now.since(self.asked) > IDLE_US
    }

    /// A request came from its client, whose signature is good.
    pub(crate) fn arrived(&mut self, now: Time, request: &Request) {
        if self.arrivals.len() >= ARRIVALS_MAX {
            self.arrivals.clear();
        }
        self.arrivals.entry(name(request)).or_insert(now);
    }

    /// A statement came over its signer's channel; the replica's view and high watermark say whether it can matter here.
    pub(crate) fn heard(&mut self, now: Time, from: ReplicaId, heard: Heard, replica: &Replica) {
        let Heard { step, view, seq, digest } = heard;
        // Anybody can name a view that nobody is in, or a slot that nobody will reach.
        if view != replica.view() || seq > replica.watermarks().1 {
            return;
        }
        if step == Step::Proposal && from != replica.primary() {
            return;
        }
        self.view = view;
        let Some(lane) = self.lane(now, view, seq) else { return };
        lane.vote(step, (from, now, digest));
        if step == Step::Proposal {
            lane.proposed.get_or_insert(now);
            self.choose(now, seq);
        }
    }

    /// The replica hears its own word, which is on its way to the others.
    pub(crate) fn said(&mut self, now: Time, event: &Event) {
        let (step, signer, (view, seq, digest)) = match event {
            Event::PrePrepare { prepare: vote, .. } | Event::Prepare(vote) => {
                (Step::Prepare, vote.signer, (vote.view, vote.seq, vote.digest))
            }
            Event::Commit(vote) => (Step::Commit, vote.signer, (vote.view, vote.seq, vote.digest)),
            _ => return,
        };
        if signer == self.replica
            && let Some(lane) = self.lane(now, view, seq)
        {
            lane.vote(step, (signer, now, digest));
        }
    }

    /// What the replica wants tells how far a slot is.
    pub(crate) fn note(&mut self, now: Time, effect: &Effect) {
        match effect {
            Effect::Persist(Record::Body { seq, body }) => {
                self.body = Some((*seq, body.batch.operations() as u64, self.oldest(body)));
            }
            Effect::Persist(Record::Vote { prepare, .. }) => self.voted(now, prepare),
            Effect::Persist(Record::Prepared(certificate)) => {
                let Prepare { view, seq, digest } = certificate.statement;
                let Some(lane) = self.lane(now, view, seq) else { return };
                lane.digest = Some(digest);
                lane.prepared.get_or_insert(now);
                lane.changed = true;
            }
            Effect::Execute { seq, body } => self.handed(now, *seq, body.as_deref()),
            _ => {}
        }
    }

    fn voted(&mut self, now: Time, prepare: &Prepare) {
        let body = self.body.take().filter(|(seq, _, _)| *seq == prepare.seq);
        self.view = self.view.max(prepare.view);
        let Some(lane) = self.lane(now, prepare.view, prepare.seq) else { return };
        lane.digest = Some(prepare.digest);
        lane.proposed.get_or_insert(now);
        if let Some((_, operations, request)) = body {
            lane.operations = operations;
            lane.request = lane.request.or(request);
        }
        lane.changed = true;
        self.choose(now, prepare.seq);
    }

    fn handed(&mut self, now: Time, seq: Seq, body: Option<&Body>) {
        let view = self.slots.get(&seq).map_or(self.view, |lane| lane.view);
        let request = body.and_then(|body| self.oldest(body));
        if let Some(lane) = self.lane(now, view, seq) {
            lane.committed.get_or_insert(now);
            lane.operations = body.map_or(0, |body| body.batch.operations() as u64);
            lane.request = lane.request.or(request);
            lane.changed = true;
            self.choose(now, seq);
        }
        self.handed = self.handed.max(seq);
        for request in body.iter().flat_map(|body| body.batch.requests.iter()) {
            self.arrivals.remove(&name(request.as_ref()));
        }
    }

    /// A slot has executed. One that nobody is to see is forgotten.
    pub(crate) fn executed(&mut self, now: Time, seq: Seq) {
        let Some(lane) = self.slots.get_mut(&seq) else { return };
        lane.executed.get_or_insert(now);
        lane.changed = true;
        let trouble = lane.took_us(now) > self.slow_us || lane.others().next().is_some();
        if lane.shown != Some(true) {
            if trouble && self.pace.shows_trouble(now) {
                lane.shown = Some(true);
            } else {
                self.slots.remove(&seq);
            }
        }
    }

    /// Replies of a slot were given to the links.
    pub(crate) fn replied(&mut self, now: Time, seq: Seq) {
        if let Some(lane) = self.slots.get_mut(&seq) {
            lane.replied.get_or_insert(now);
            lane.changed = true;
        }
    }

    /// What changed since this was last asked, for a recording that began at `began`.
    pub(crate) fn take(&mut self, now: Time, began: Time) -> Vec<Moment> {
        let mut moments = Vec::new();
        let left = std::mem::take(&mut self.left);
        moments.extend(left.iter().map(|(seq, lane)| self.moment((now, began), *seq, lane)));
        let mut slots = std::mem::take(&mut self.slots);
        for (seq, lane) in &mut slots {
            let waits = lane.shown == Some(false) && lane.executed.is_none();
            if waits && lane.took_us(now) > self.slow_us && self.pace.shows_trouble(now) {
                lane.shown = Some(true);
            }
            if lane.shown == Some(true) && lane.changed {
                lane.changed = false;
                moments.push(self.moment((now, began), *seq, lane));
                disagreements(&mut moments, now.since(began), *seq, lane);
            }
        }
        let handed = self.handed;
        slots.retain(|seq, lane| match lane.executed {
            Some(at) => now.since(at) <= LATE_US,
            // A state was installed in its place, perhaps.
            None => *seq > handed || lane.committed.is_some(),
        });
        self.slots = slots;
        moments
    }

    fn moment(&self, (now, began): (Time, Time), seq: Seq, lane: &Lane) -> Moment {
        let at = |time: Time| time.since(began);
        let subject = lane.subject();
        let votes = |votes: &Votes| {
            let equal = votes.iter().filter(|(_, _, digest)| Some(*digest) == subject);
            equal.map(|(signer, time, _)| (signer.0, at(*time))).collect()
        };
        let otherwise =
            lane.prepares.iter().chain(&lane.commits).filter(|(_, _, digest)| Some(*digest) != subject);
        Moment::Slot(SlotLane {
            t: at(now),
            replica: self.replica.0,
            view: lane.view.0,
            seq: seq.0,
            operations: lane.operations,
            batch: subject.map(|digest| format!("{digest:?}")),
            request: lane.request.map(at),
            proposed: lane.proposed.map(at),
            prepares: votes(&lane.prepares),
            prepared: lane.prepared.map(at),
            commits: votes(&lane.commits),
            otherwise: otherwise
                .map(|(signer, time, digest)| (signer.0, at(*time), format!("{digest:?}")))
                .collect(),
            committed: lane.committed.map(at),
            executed: lane.executed.map(at),
            replied: lane.replied.map(at),
        })
    }

    /// The lane of a slot in a view; none if the slot is past, or proposed in a newer view already.
    fn lane(&mut self, now: Time, view: View, seq: Seq) -> Option<&mut Lane> {
        let mut moved = false;
        match self.slots.get(&seq) {
            // What has committed stays as it is, though a new view votes on it again.
            Some(lane) if lane.view > view || lane.view < view && lane.committed.is_some() => return None,
            Some(lane) if lane.view < view => moved = true,
            Some(_) => {}
            None if seq <= self.handed => return None,
            None => self.make_room(seq)?,
        }
        if moved && let Some(old) = self.slots.remove(&seq) {
            if old.proposed.is_some() && self.left.len() < WAITING_MAX {
                self.left.push((seq, old));
            }
            let shown = self.pace.shows_trouble(now).then_some(true);
            self.slots.insert(seq, Lane { view, shown, ..Lane::default() });
        }
        Some(self.slots.entry(seq).or_insert_with(|| Lane { view, ..Lane::default() }))
    }

    /// Room for one more slot; none if there are enough before it. What is farthest away goes first: of the slots that
    /// are next, no liar can crowd one out.
    fn make_room(&mut self, seq: Seq) -> Option<()> {
        if self.slots.len() < LANES_MAX {
            return Some(());
        }
        let oldest = self.slots.first_entry().filter(|entry| entry.get().executed.is_some());
        if let Some(oldest) = oldest {
            oldest.remove();
            return Some(());
        }
        let last = self.slots.last_entry().filter(|entry| *entry.key() > seq)?;
        last.remove();
        Some(())
    }

    /// Decides, once, whether a slot is shown.
    fn choose(&mut self, now: Time, seq: Seq) {
        if let Some(lane) = self.slots.get_mut(&seq)
            && lane.shown.is_none()
        {
            lane.shown = Some(self.pace.shows(now, seq));
        }
    }

    /// When the oldest of a batch's requests came here, of those that did.
    fn oldest(&self, body: &Body) -> Option<Time> {
        if self.arrivals.is_empty() {
            return None;
        }
        body.batch
            .requests
            .iter()
            .filter_map(|request| self.arrivals.get(&name(request.as_ref())))
            .min()
            .copied()
    }
}

/// Says once of each who votes for another batch that they do.
fn disagreements(moments: &mut Vec<Moment>, t: u64, seq: Seq, lane: &mut Lane) {
    let otherwise: Vec<_> = lane.others().collect();
    for (signer, digest) in otherwise {
        if !lane.told.contains(&signer) {
            lane.told.push(signer);
            moments.push(Moment::Disagreement(Disagreement {
                t,
                replica: signer.0,
                seq: seq.0,
                about: About::Batch,
                says: format!("{digest:?}"),
                others: lane.digest.map_or_else(String::new, |ours| format!("{ours:?}")),
            }));
        }
    }
}

fn name(request: &Request) -> (ClientId, Session, Number) {
    (request.client(), request.session(), request.first())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
