//! Two replicas under one key: each hears everybody, and each tells one half of the others what it thinks.
//!
//! The second one has no disk, no application and no state; it believes that all that is committed executed, and votes for
//! no checkpoint of its own. Its clock differs a little, so that the two propose different batches.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use quorate_protocol::codec;
use quorate_protocol::parameters::Context;
use quorate_protocol::process::{Effect, Event, Process, Recipient, Say};
use quorate_protocol::replica::Replica;
use quorate_protocol::types::{ReplicaId, Seq, Time, View};

use super::Behaviour;
use super::equivocate_votes::{Vote, own_vote};
use super::memory::Said;
use super::stage::{Acts, Saying, Stage};
use crate::host::seal;

/// By how much the second one's clock is ahead, in microseconds.
const AHEAD_US: u64 = 1;
/// Places of which it is known what the two said.
const PLACES_MAX: usize = 4096;

/// What a statement is about: its kind, its slot and its view.
type About = (Seq, View, u8);

#[derive(Debug)]
pub(super) struct Twins {
    second: Replica,
    events: VecDeque<Event>,
    said: Said,
    /// Whom the second one talks to, once that was drawn.
    half: BTreeSet<ReplicaId>,
    /// What each of the two said about something, in short.
    words: BTreeMap<About, [Option<u64>; 2]>,
}

/// What a statement of this replica is about, and what it says, in short.
fn words(me: ReplicaId, message: &Say) -> Option<(About, u64)> {
    let short = |bytes: &[u8]| {
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        hasher.finish()
    };
    match message {
        Say::PrePrepare { prepare, .. } => Some(((prepare.seq, prepare.view, 0), short(&prepare.digest.0))),
        Say::ViewChange(message) => {
            codec::encode(message).ok().map(|bytes| ((Seq(0), message.view, 1), short(&bytes)))
        }
        Say::NewView(message) => {
            codec::encode(message).ok().map(|bytes| ((Seq(0), message.view, 2), short(&bytes)))
        }
        _ => match own_vote(me, message)? {
            Vote::Prepare(vote) => Some(((vote.seq, vote.view, 0), short(&vote.digest.0))),
            Vote::Commit(vote) => Some(((vote.seq, vote.view, 3), short(&vote.digest.0))),
            Vote::Checkpoint(_) => None,
        },
    }
}

impl Twins {
    pub(super) fn new(context: &Context, id: ReplicaId) -> Self {
        Self {
            second: Replica::new(context.clone(), id),
            events: VecDeque::new(),
            said: Said::default(),
            half: BTreeSet::new(),
            words: BTreeMap::new(),
        }
    }

    fn split(&mut self, stage: &mut Stage<'_>) {
        if self.half.is_empty() {
            self.half = stage.half().into_iter().collect();
        }
    }

    /// One of the two says something: a lie if the other said something else about the same.
    fn compare(&mut self, stage: &mut Stage<'_>, twin: usize, message: &Say) {
        let Some((about, said)) = words(stage.me(), message) else { return };
        let both = self.words.entry(about).or_default();
        let differed = both[0].is_some() && both[1].is_some() && both[0] != both[1];
        both[twin] = Some(said);
        if !differed && both[0].is_some() && both[1].is_some() && both[0] != both[1] {
            stage.count(1);
        }
        if self.words.len() > PLACES_MAX {
            self.words.pop_first();
        }
    }

    /// Lets the second one live through everything that waits for it.
    fn live(&mut self, stage: &mut Stage<'_>, acts: &mut Acts) {
        let mut effects = Vec::new();
        while let Some(event) = self.events.pop_front() {
            if self.said.meets_itself(&self.second, &event) {
                continue;
            }
            self.second.step(stage.now.plus(AHEAD_US), event, &mut effects);
            for effect in effects.drain(..) {
                self.said.note(&self.second, &effect);
                self.obey(stage, effect, acts);
            }
        }
    }

    fn obey(&mut self, stage: &mut Stage<'_>, effect: Effect, acts: &mut Acts) {
        match effect {
            Effect::Send { to, message, .. } => self.say(stage, to, message, acts),
            Effect::Execute { seq, .. } => self.events.push_back(Event::Executed { seq, root: None }),
            Effect::Install(certificate) => {
                let (seq, root) = (certificate.statement.seq, certificate.statement.root);
                self.events.extend([Event::Releasing, Event::Installed { seq, root }]);
            }
            Effect::LookUp(requests) => {
                let pooled = requests
                    .into_iter()
                    .map(|(request, forwarded_by)| Event::Requests { requests: vec![request], forwarded_by });
                self.events.extend(pooled);
            }
            Effect::Forward { to, .. } if self.half.contains(&to) => acts.effects.push(effect),
            Effect::Forward { .. }
            | Effect::Persist(_)
            | Effect::Refuse { .. }
            | Effect::Preserve(_)
            | Effect::Alarm(_) => {}
        }
    }

    fn say(&mut self, stage: &mut Stage<'_>, to: Recipient, message: Say, acts: &mut Acts) {
        if to == Recipient::Everyone {
            let (_, own) = seal(stage.signer, message.clone());
            self.events.extend(own);
        }
        let hear: Vec<ReplicaId> =
            stage.audience(to).into_iter().filter(|id| self.half.contains(id)).collect();
        if hear.is_empty() || !stage.is_time() {
            return;
        }
        self.compare(stage, 1, &message);
        hear.into_iter().for_each(|id| acts.say(id, message.clone()));
    }
}

/// What only the first one lives through: what its disk and its executor did, its own words, and its alarms.
fn is_private(me: ReplicaId, event: &Event) -> bool {
    match event {
        Event::Executed { .. }
        | Event::Installed { .. }
        | Event::Releasing
        | Event::Kept
        | Event::Timeout => true,
        Event::PrePrepare { prepare: vote, .. } | Event::Prepare(vote) => vote.signer == me,
        Event::Commit(vote) => vote.signer == me,
        Event::Checkpoint(vote) => vote.signer == me,
        Event::ViewChange(message) => message.signer == me,
        Event::NewView(message) => message.signer == me,
        _ => false,
    }
}

impl Behaviour for Twins {
    fn event(&mut self, stage: &mut Stage<'_>, event: &mut Event, acts: &mut Acts) -> bool {
        self.split(stage);
        if !is_private(stage.me(), event) {
            self.events.push_back(event.clone());
            self.live(stage, acts);
        }
        true
    }

    fn say(&mut self, stage: &mut Stage<'_>, saying: Saying, out: &mut Vec<Effect>) {
        self.split(stage);
        if !stage.is_time() {
            return out.push(saying.effect());
        }
        self.compare(stage, 0, &saying.message);
        let after = saying.after;
        if saying.to == Recipient::Everyone && !matches!(saying.message, Say::Relay(_)) {
            let to = Recipient::Replica(stage.me());
            out.push(Saying { to, ..saying.clone() }.effect());
        }
        for id in stage.audience(saying.to).into_iter().filter(|id| !self.half.contains(id)) {
            let (to, message) = (Recipient::Replica(id), saying.message.clone());
            out.push(Saying { to, message, after }.effect());
        }
    }

    fn deadline(&self) -> Option<Time> {
        self.second.deadline()
    }

    fn wake(&mut self, stage: &mut Stage<'_>, acts: &mut Acts) {
        self.split(stage);
        self.events.push_back(Event::Timeout);
        self.live(stage, acts);
    }
}
