//! What of a world a picture shows, noted while it happens.

use bytes::Bytes;
use quorate_protocol::codec;
use quorate_protocol::message::{ClientMessage, PeerMessage, Query};
use quorate_protocol::process::Alarm;
use quorate_protocol::request::Request;
use quorate_protocol::types::{ReplicaId, Time};

use super::World;
use crate::network::Party;
use crate::picture::{Fate, Mark, Phase, Sent, Sketch, Window, sketch};
use crate::trace;

impl World {
    /// From now on the last so many things that happen are kept for a picture; [`World::take_sketch`] has them.
    pub fn keep_sketch(&mut self, marks_max: usize) {
        self.keep_sketch_of(Window::last(marks_max));
    }

    /// From now on what happens in a window is kept for a picture.
    pub fn keep_sketch_of(&mut self, window: Window) {
        self.sketch = Some(Sketch::of(window));
    }

    /// What happened last; nothing more is kept.
    pub fn take_sketch(&mut self) -> Option<Sketch> {
        self.sketch.take()
    }

    pub(super) fn note(&mut self, mark: impl FnOnce() -> Mark) {
        if self.sketch.is_none() && self.recording.is_none() {
            return;
        }
        let mark = mark();
        if let Some(recording) = &mut self.recording {
            recording.note(self.now, &mark);
        }
        if let Some(sketch) = &mut self.sketch {
            sketch.add(self.now, mark);
        }
    }

    /// What a replica tells its operator: that somebody lied, with the proof, or something else.
    pub(super) fn note_alarm(&mut self, id: ReplicaId, alarm: &Alarm) {
        self.note(|| match alarm.accusation() {
            Some(proof) => Mark::Proves(id, proof.culprit(), proof.offence()),
            None => Mark::Alarm(id, trace::alarm(alarm)),
        });
    }

    /// STATUS is sent all the time, and says what other messages show.
    pub(super) fn note_peer(
        &mut self,
        from: ReplicaId,
        message: &PeerMessage,
        copies: Vec<(ReplicaId, Fate)>,
    ) {
        let is_shown = !matches!(message, PeerMessage::Status(_) | PeerMessage::Testimony(_));
        if self.sketch.is_none() || !is_shown {
            return;
        }
        let null = self.null;
        self.note(|| {
            let copies = copies.into_iter().map(|(to, fate)| (Party::Replica(to), fate)).collect();
            let (from, phase) = (Party::Replica(from), Phase::of(message));
            Mark::Sent(Sent { from, phase, text: sketch::peer_text(message, &null), copies })
        });
    }

    pub(super) fn note_request(&mut self, client: usize, request: &Request, copies: Vec<(ReplicaId, Fate)>) {
        self.note(|| {
            let copies = copies.into_iter().map(|(to, fate)| (Party::Replica(to), fate)).collect();
            let (from, phase) = (Party::Client(client), Phase::Request);
            Mark::Sent(Sent { from, phase, text: sketch::request_text(request), copies })
        });
    }

    pub(super) fn note_query(&mut self, client: usize, query: &Query, copies: Vec<(ReplicaId, Fate)>) {
        self.note(|| {
            let copies = copies.into_iter().map(|(to, fate)| (Party::Replica(to), fate)).collect();
            let (from, phase) = (Party::Client(client), Phase::Request);
            Mark::Sent(Sent { from, phase, text: trace::query(query), copies })
        });
    }

    pub(super) fn note_reply(&mut self, from: ReplicaId, to: usize, frame: &Bytes, arrivals: &[Time]) {
        if self.sketch.is_none() {
            return;
        }
        let Ok(message) = codec::decode::<ClientMessage>(frame) else { return };
        self.note(|| {
            let copies = fates(Party::Client(to), arrivals).collect();
            let (from, phase) = (Party::Replica(from), Phase::Request);
            Mark::Sent(Sent { from, phase, text: sketch::reply_text(&message), copies })
        });
    }

    pub(super) fn note_standing(&mut self, id: ReplicaId) {
        self.record_standing(id);
        let Some(sketch) = &mut self.sketch else { return };
        let replica = self.nodes[usize::from(id.0)].replica();
        sketch.stands(self.now, id, replica.view(), replica.status());
        if self.checks.is_liar(id) {
            for (name, told) in self.nodes[usize::from(id.0)].host().lies() {
                sketch.lies(self.now, id, name, told);
            }
        }
    }
}

/// What becomes of a frame that comes at these times, if at any.
pub(super) fn fates<T: Copy>(to: T, arrivals: &[Time]) -> impl Iterator<Item = (T, Fate)> {
    let lost = arrivals.is_empty().then_some((to, Fate::Lost));
    lost.into_iter().chain(arrivals.iter().map(move |at| (to, Fate::Arrives(*at))))
}
