//! A replica that sends again what it and others said long ago.

use bytes::Bytes;
use quorate_protocol::message::PeerMessage;
use quorate_protocol::process::Event;
use quorate_protocol::types::Time;

use super::stage::{Acts, Stage, frame_of};
use super::{Behaviour, End, Parcel};

/// Frames that it remembers, and the bytes of the largest of them.
const FRAMES_MAX: usize = 256;
const FRAME_BYTES_MAX: usize = 64 << 10;

#[derive(Debug)]
pub(super) struct ReplayOld {
    every_us: u64,
    at: Time,
    /// Some of all that was ever said, of all times alike.
    frames: Vec<Bytes>,
    heard: u64,
}

impl ReplayOld {
    pub(super) fn new(every_us: u64, now: Time) -> Self {
        Self { every_us, at: now.plus(every_us), frames: Vec::new(), heard: 0 }
    }

    /// Keeps a frame, in the place of one that was drawn if there are many.
    fn keep(&mut self, stage: &mut Stage<'_>, frame: Bytes) {
        if frame.len() > FRAME_BYTES_MAX {
            return;
        }
        self.heard = self.heard.saturating_add(1);
        if self.frames.len() < FRAMES_MAX {
            return self.frames.push(frame);
        }
        let at = usize::try_from(stage.chance.below(self.heard)).unwrap_or(FRAMES_MAX);
        if let Some(place) = self.frames.get_mut(at) {
            *place = frame;
        }
    }
}

impl Behaviour for ReplayOld {
    fn event(&mut self, stage: &mut Stage<'_>, event: &mut Event, _acts: &mut Acts) -> bool {
        let message = match event {
            Event::ViewChange(message) => PeerMessage::ViewChange((**message).clone()),
            Event::NewView(message) => PeerMessage::NewView((**message).clone()),
            Event::CommitCertificate(proof) => PeerMessage::CommitCertificate((**proof).clone()),
            Event::StableCertificate(proof) => PeerMessage::StableCertificate((**proof).clone()),
            Event::Prepare(vote) => PeerMessage::Prepare((**vote).clone()),
            Event::Commit(vote) => PeerMessage::Commit((**vote).clone()),
            _ => return true,
        };
        if let Some(frame) = frame_of(&message) {
            self.keep(stage, frame);
        }
        true
    }

    fn frame(&mut self, stage: &mut Stage<'_>, parcel: &mut Parcel) -> Option<u64> {
        if matches!(parcel.end, End::Replica(_)) {
            self.keep(stage, parcel.frame.clone());
        }
        Some(0)
    }

    fn deadline(&self) -> Option<Time> {
        Some(self.at)
    }

    fn wake(&mut self, stage: &mut Stage<'_>, acts: &mut Acts) {
        self.at = stage.now.plus(self.every_us);
        if self.frames.is_empty() || !stage.is_tempted(stage.replica.view(), None) {
            return;
        }
        let at = stage.chance.index(self.frames.len());
        if let Some((to, frame)) = stage.target().zip(self.frames.get(at)) {
            acts.send(to, frame.clone());
            stage.count(1);
        }
    }
}
