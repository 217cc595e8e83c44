//! Where a liar's decorator sits in its host: what the replica hears, what it wants, what leaves, and when.

use bytes::Bytes;
use quorate_protocol::message::{QueryReply, Reply};
use quorate_protocol::process::{Effect, Event};
use quorate_protocol::types::{ClientId, ReplicaId, Time};

use super::{Host, Link};
use crate::byzantine::{Acts, End, Liar, Lies, Mask, Parcel};
use crate::lane::Class;
use crate::transfer::Post;

impl Host {
    /// From now on this replica lies.
    pub fn corrupt(&mut self, liar: Liar) {
        self.liar = Some(Box::new(liar));
    }

    /// From now on this replica tells other lies than before, or none. Whoever lied once goes on being kept from what would
    /// show it that its key was used otherwise, or it would halt. Says how many lies it told so far.
    pub fn turn(&mut self, liar: Liar) -> Lies {
        match &mut self.liar {
            Some(before) => before.turn(liar),
            None => {
                self.corrupt(liar);
                Lies::new()
            }
        }
    }

    /// It lies no more; says how many lies it told.
    pub fn repent(&mut self) -> Lies {
        self.liar.take().map(|liar| liar.lies()).unwrap_or_default()
    }

    /// How many lies it told, by name of the sin; those never told are there with 0.
    #[must_use]
    pub fn lies(&self) -> Lies {
        self.liar.as_ref().map(|liar| liar.lies()).unwrap_or_default()
    }

    /// The liar, to be worked with, and what it looks at and signs with.
    fn liar(&mut self) -> Option<(&mut Liar, Mask<'_>)> {
        let mask = Mask { replica: &self.replica, signer: &self.signer };
        self.liar.as_deref_mut().map(|liar| (liar, mask))
    }

    pub(super) fn tell_liar(&mut self, now: Time) {
        if let Some(liar) = &mut self.liar {
            liar.note_time(now);
        }
    }

    /// What the replica hears of an event, if anything.
    pub(super) fn hear(&mut self, event: Event, link: &mut impl Link) -> Option<Event> {
        let mut acts = Acts::default();
        let heard = match self.liar() {
            Some((liar, mask)) => liar.hear(mask, event, &mut acts),
            None => Some(event),
        };
        self.act(acts, link);
        heard
    }

    /// Does something else than what the replica wants.
    pub(super) fn interpret_falsely(&mut self, effect: Effect, link: &mut impl Link) {
        let effects = match self.liar() {
            Some((liar, mask)) => liar.want(mask, effect),
            None => vec![effect],
        };
        effects.into_iter().for_each(|effect| self.obey(effect, link));
    }

    pub(super) fn reply_falsely(&mut self, client: ClientId, mut replies: Vec<Reply>) -> Vec<Reply> {
        if let Some((liar, mask)) = self.liar() {
            liar.answer(mask, client, &mut replies);
        }
        replies
    }

    pub(super) fn query_falsely(&mut self, client: ClientId, mut reply: QueryReply) -> QueryReply {
        if let Some((liar, mask)) = self.liar() {
            liar.answer_query(mask, client, &mut reply);
        }
        reply
    }

    pub(super) fn post_falsely(&mut self, post: Post) -> Option<Post> {
        let Some((liar, mask)) = self.liar() else { return Some(post) };
        let Post { to, part } = post;
        liar.serve(mask, to, part).map(|part| Post { to, part })
    }

    /// The frame that leaves now instead of this one, if one does.
    pub(super) fn pack(&mut self, end: End, class: Class, frame: Bytes) -> Option<Bytes> {
        match self.liar() {
            Some((liar, mask)) => liar.pack(mask, Parcel { end, class, frame }),
            None => Some(frame),
        }
    }

    /// Sends a frame to everybody else if not all of them get just that. False: nothing was sent yet.
    pub(super) fn splits(&mut self, class: Class, frame: &Bytes, link: &mut impl Link) -> bool {
        let me = self.replica.id();
        let others: Vec<ReplicaId> =
            self.replica.context().committee.replicas().filter(|id| *id != me).collect();
        let mut packed = Vec::new();
        for to in others {
            packed.push((to, self.pack(End::Replica(to), class, frame.clone())));
        }
        if packed.iter().all(|(_, left)| left.as_ref() == Some(frame)) {
            return false;
        }
        for (to, left) in packed {
            if let Some(left) = left {
                self.put(to, class, left, link);
            }
        }
        true
    }

    /// Does what the liar does at times of its own.
    pub(super) fn lie_by_itself(&mut self, now: Time, link: &mut impl Link) {
        self.tell_liar(now);
        while let Some(parcel) = self.liar.as_mut().and_then(|liar| liar.take_late()) {
            self.leave(parcel, link);
        }
        let mut acts = Acts::default();
        if let Some((liar, mask)) = self.liar() {
            liar.wake(mask, &mut acts);
        }
        self.act(acts, link);
    }

    fn act(&mut self, acts: Acts, link: &mut impl Link) {
        let Acts { effects, events, parcels } = acts;
        effects.into_iter().for_each(|effect| self.obey(effect, link));
        self.events.extend(events);
        parcels.into_iter().for_each(|parcel| self.leave(parcel, link));
    }

    fn leave(&mut self, parcel: Parcel, link: &mut impl Link) {
        let Parcel { end, class, frame } = parcel;
        match end {
            End::Replica(to) => self.put(to, class, frame, link),
            End::Client(client) => link.reply(client, frame),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
