//! What passes through a world, written down for tests that play it again or hold it against a model of their own.

use std::sync::Arc;

use bytes::Bytes;
use quorate_protocol::request::Body;
use quorate_protocol::types::{ReplicaId, Seq, Time};

use super::World;
use super::happening::Happening;

/// Something that came where it was sent, or was executed.
#[derive(Debug, Clone)]
pub enum Passed {
    /// A frame over another replica's channel.
    Frame {
        /// The channel.
        from: ReplicaId,
        /// Where it came.
        to: ReplicaId,
        /// The frame.
        frame: Bytes,
    },
    /// A client's request.
    Request {
        /// The client, by its place among the world's clients.
        from: usize,
        /// Where it came.
        to: ReplicaId,
        /// The frame.
        frame: Bytes,
    },
    /// A replica's answer.
    Reply {
        /// Whose.
        from: ReplicaId,
        /// The client, by its place among the world's clients.
        to: usize,
        /// The frame.
        frame: Bytes,
    },
    /// A replica executed a slot, or came past it by a state that it fetched.
    Executed {
        /// Who.
        replica: ReplicaId,
        /// The slot.
        seq: Seq,
        /// Its batch; none of the null batch, and of a state.
        body: Option<Arc<Body>>,
        /// Whether it came as part of a state.
        installed: bool,
    },
}

impl World {
    /// From now on everything that passes is written down; [`World::take_passed`] has it.
    pub fn keep_passed(&mut self) {
        self.passed = Some(Vec::new());
    }
    /// Nothing is written down any more.
    pub fn stop_passed(&mut self) {
        self.passed = None;
    }
    /// What passed since this was last asked, and when.
    pub fn take_passed(&mut self) -> Vec<(Time, Passed)> {
        self.passed.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Delivers any bytes over a replica's channel.
    pub fn inject_frame(&mut self, from: ReplicaId, to: ReplicaId, frame: Bytes) {
        self.push(self.now, Happening::Frame { from, to, frame });
    }
    /// Delivers any bytes over a client's connection.
    pub fn inject_request(&mut self, client: usize, to: ReplicaId, frame: Bytes) {
        self.push(self.now, Happening::Request { from: client, to, frame });
    }

    pub(super) fn note_happening(&mut self, happening: &Happening) {
        let Some(passed) = &mut self.passed else { return };
        let noted = match happening {
            Happening::Frame { from, to, frame } => {
                Passed::Frame { from: *from, to: *to, frame: frame.clone() }
            }
            Happening::Request { from, to, frame } => {
                Passed::Request { from: *from, to: *to, frame: frame.clone() }
            }
            Happening::Reply { from, to, frame } => {
                Passed::Reply { from: *from, to: *to, frame: frame.clone() }
            }
            Happening::Done { .. }
            | Happening::LinkUp { .. }
            | Happening::Wake { .. }
            | Happening::ClientWake { .. }
            | Happening::Ask { .. }
            | Happening::Fault(_) => return,
        };
        passed.push((self.now, noted));
    }

    pub(super) fn note_executed(&mut self, replica: ReplicaId, slot: &crate::node::ExecutedSlot) {
        let Some(passed) = &mut self.passed else { return };
        let (seq, body, installed) = (slot.seq, slot.body.clone(), slot.installed);
        passed.push((self.now, Passed::Executed { replica, seq, body, installed }));
    }
}
