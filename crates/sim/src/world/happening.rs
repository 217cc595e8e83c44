//! What can happen in a world.

use bytes::Bytes;
use quorate_protocol::types::{ReplicaId, Time};

use super::Fault;
use crate::node::Role;

/// Something that happens at a time.
#[derive(Debug)]
pub(super) enum Happening {
    Frame { from: ReplicaId, to: ReplicaId, frame: Bytes },
    Request { from: usize, to: ReplicaId, frame: Bytes },
    Reply { from: ReplicaId, to: usize, frame: Bytes },
    Done { node: ReplicaId, role: Role, life: u32 },
    LinkUp { node: ReplicaId },
    Wake { node: ReplicaId },
    ClientWake { client: usize },
    Ask { client: usize },
    Fault(Fault),
}

impl Happening {
    pub(super) fn node(&self) -> Option<ReplicaId> {
        match self {
            Self::Frame { to, .. } | Self::Request { to, .. } => Some(*to),
            Self::Done { node, .. } | Self::Wake { node } | Self::LinkUp { node } => Some(*node),
            Self::Reply { .. } | Self::ClientWake { .. } | Self::Ask { .. } | Self::Fault(_) => None,
        }
    }

    pub(super) fn is_timer(&self) -> bool {
        matches!(self, Self::Wake { .. } | Self::ClientWake { .. })
    }

    /// The hash of everything before, and of this.
    pub(super) fn hash_after(&self, mut hash: u64, now: Time) -> u64 {
        let mut mix = |bytes: &[u8]| {
            for byte in bytes {
                hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        };
        mix(&now.0.to_le_bytes());
        match self {
            Self::Frame { from, to, frame } => {
                mix(&[1]);
                mix(&from.0.to_le_bytes());
                mix(&to.0.to_le_bytes());
                mix(frame);
            }
            Self::Request { from, to, frame } => {
                mix(&[2]);
                mix(&from.to_le_bytes());
                mix(&to.0.to_le_bytes());
                mix(frame);
            }
            Self::Reply { from, to, frame } => {
                mix(&[3]);
                mix(&from.0.to_le_bytes());
                mix(&to.to_le_bytes());
                mix(frame);
            }
            Self::Done { node, role, .. } => {
                mix(&[4, *role as u8]);
                mix(&node.0.to_le_bytes());
            }
            Self::Wake { node } => mix(&[5, node.0.to_le_bytes()[0]]),
            Self::ClientWake { client } => mix(&[6, client.to_le_bytes()[0]]),
            Self::Ask { client } => mix(&[7, client.to_le_bytes()[0]]),
            Self::Fault(_) => mix(&[8]),
            Self::LinkUp { node } => mix(&[9, node.0.to_le_bytes()[0]]),
        }
        hash
    }
}
