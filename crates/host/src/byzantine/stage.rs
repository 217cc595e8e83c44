//! What a sin has to work with: the honest replica to look at, its key to sign with, chance, and how lies are told.

use bytes::Bytes;
use quorate_protocol::codec;
use quorate_protocol::message::PeerMessage;
use quorate_protocol::process::{Effect, Event, Recipient, Say};
use quorate_protocol::replica::Replica;
use quorate_protocol::signed::Signer;
use quorate_protocol::types::{Digest, Position, ReplicaId, Seq, Time, View};

use super::chance::Chance;
use super::kinds::{Place, place};
use super::trigger::{Occasion, Trigger};
use super::{End, Parcel};
use crate::lane::Class;

/// What a sin does by itself.
#[derive(Debug, Default)]
pub(crate) struct Acts {
    /// Done as if the replica had wanted it, and no other sin changes it.
    pub(crate) effects: Vec<Effect>,
    /// Heard by the replica.
    pub(crate) events: Vec<Event>,
    /// Sent as they are.
    pub(crate) parcels: Vec<Parcel>,
}

impl Acts {
    /// Says something to one other replica.
    pub(super) fn say(&mut self, to: ReplicaId, message: Say) {
        self.effects.push(Effect::Send { to: Recipient::Replica(to), message, after: Position(0) });
    }

    /// Sends any bytes to one other replica.
    pub(super) fn send(&mut self, to: ReplicaId, frame: Bytes) {
        self.parcels.push(Parcel { end: End::Replica(to), class: Class::Bulk, frame });
    }
}

/// A message on its way to an audience.
#[derive(Debug, Clone)]
pub(super) struct Saying {
    pub(super) to: Recipient,
    pub(super) message: Say,
    pub(super) after: Position,
}

impl Saying {
    pub(super) fn effect(self) -> Effect {
        Effect::Send { to: self.to, message: self.message, after: self.after }
    }
}

/// What a sin has to work with.
pub(super) struct Stage<'a> {
    pub(super) now: Time,
    pub(super) replica: &'a Replica,
    pub(super) signer: &'a Signer,
    /// All liars' that collude.
    pub(super) seed: u64,
    pub(super) elapsed_us: u64,
    pub(super) chance: &'a mut Chance,
    pub(super) trigger: &'a Trigger,
    pub(super) told: &'a mut u64,
}

impl Stage<'_> {
    pub(super) fn me(&self) -> ReplicaId {
        self.replica.id()
    }

    /// Everybody else.
    pub(super) fn others(&self) -> Vec<ReplicaId> {
        let me = self.me();
        self.replica.context().committee.replicas().filter(|id| *id != me).collect()
    }

    /// Those whom its lies are for.
    pub(super) fn targets(&self) -> Vec<ReplicaId> {
        self.others().into_iter().filter(|id| self.trigger.is_for(*id)).collect()
    }

    /// Those who are told one of two stories: the ones that the sin names, or about half of the others.
    pub(super) fn half(&mut self) -> Vec<ReplicaId> {
        if self.trigger.names_targets() {
            return self.targets();
        }
        let mut others = self.others();
        // Drawn without replacement, so that never everybody and never nobody is told it.
        let most = others.len().saturating_sub(1).max(1);
        let count = 1 + self.chance.index(most);
        let mut half = Vec::new();
        for _ in 0..count.min(others.len()) {
            let at = self.chance.index(others.len());
            half.push(others.swap_remove(at));
        }
        half
    }

    /// One of those whom its lies are for.
    pub(super) fn target(&mut self) -> Option<ReplicaId> {
        let targets = self.targets();
        let at = self.chance.index(targets.len());
        targets.get(at).copied()
    }

    /// Whether the lie is told on this occasion.
    pub(super) fn is_tempted(&mut self, view: View, seq: Option<Seq>) -> bool {
        let occasion = Occasion { elapsed_us: self.elapsed_us, view, seq };
        self.trigger.pulls(occasion, self.chance)
    }

    /// The same of a message, or of something that has no place of its own.
    pub(super) fn is_tempted_by(&mut self, message: Option<&PeerMessage>) -> bool {
        let Place { view, seq } = message.map_or(Place::default(), place);
        let view = view.unwrap_or_else(|| self.replica.view());
        self.is_tempted(view, seq)
    }

    /// Whether it is the sin's time.
    pub(super) fn is_time(&self) -> bool {
        self.trigger.is_time(self.elapsed_us)
    }

    pub(super) fn count(&mut self, lies: usize) {
        *self.told += lies as u64;
    }

    /// Who else hears what is said.
    pub(super) fn audience(&self, to: Recipient) -> Vec<ReplicaId> {
        match to {
            Recipient::Everyone => self.others(),
            Recipient::Replica(to) if to == self.me() => Vec::new(),
            Recipient::Replica(to) => vec![to],
        }
    }

    /// Says something else to some of an audience: what `lie` makes up for each of them. The others, the replica itself
    /// among them, are told the truth.
    pub(super) fn tell(
        &mut self,
        truth: Saying,
        liked: &[ReplicaId],
        lie: impl Fn(ReplicaId) -> Vec<Say>,
        out: &mut Vec<Effect>,
    ) {
        let audience = self.audience(truth.to);
        let told = audience.iter().filter(|id| liked.contains(id)).count();
        if told == 0 {
            out.push(truth.effect());
            return;
        }
        self.count(told);
        let after = truth.after;
        if truth.to == Recipient::Everyone && !matches!(truth.message, Say::Relay(_)) {
            let to = Recipient::Replica(self.me());
            out.push(Saying { to, ..truth.clone() }.effect());
        }
        for id in audience {
            let to = Recipient::Replica(id);
            if liked.contains(&id) {
                out.extend(lie(id).into_iter().map(|message| Saying { to, message, after }.effect()));
            } else {
                out.push(Saying { to, ..truth.clone() }.effect());
            }
        }
    }

    /// A digest of nothing, the same for all liars of one seed.
    pub(super) fn made_up(&self, what: &str, view: View, seq: Seq) -> Digest {
        let words = what.bytes().map(u64::from);
        Digest(Chance::of([self.seed, view.0, seq.0].into_iter().chain(words)).bytes())
    }
}

/// A frame of a message that is bounded as all are; none of one that is not.
pub(super) fn frame_of(message: &PeerMessage) -> Option<Bytes> {
    codec::encode(message).ok().map(Bytes::from)
}
