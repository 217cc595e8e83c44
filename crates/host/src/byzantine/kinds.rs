//! What a message is, in a word, and what it is about.

use quorate_protocol::codec;
use quorate_protocol::message::{PeerMessage, Transfer};
use quorate_protocol::types::{Seq, View};

use super::{End, Parcel};

/// What kind of message this is, in a word.
#[must_use]
pub fn kind(message: &PeerMessage) -> &'static str {
    match message {
        PeerMessage::PrePrepare(_) => "pre-prepare",
        PeerMessage::Prepare(_) => "prepare",
        PeerMessage::Commit(_) => "commit",
        PeerMessage::Checkpoint(_) => "checkpoint",
        PeerMessage::ViewChange(_) => "view-change",
        PeerMessage::NewView(_) => "new-view",
        PeerMessage::CommitCertificate(_) => "commit-certificate",
        PeerMessage::StableCertificate(_) => "stable-certificate",
        PeerMessage::Status(_) => "status",
        PeerMessage::FetchBody { .. } => "fetch-body",
        PeerMessage::Body { .. } => "body",
        PeerMessage::FetchViewChange { .. } => "fetch-view-change",
        PeerMessage::Forward(_) => "forward",
        PeerMessage::Transfer(_) => "transfer",
        PeerMessage::Testimony(_) => "testimony",
    }
}

/// View and slot that a message is about, as far as it is about one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) view: Option<View>,
    pub(super) seq: Option<Seq>,
}

/// What a message is about.
pub(super) fn place(message: &PeerMessage) -> Place {
    let at = |view, seq| Place { view: Some(view), seq: Some(seq) };
    let slot = |seq| Place { view: None, seq: Some(seq) };
    let reign = |view| Place { view: Some(view), seq: None };
    match message {
        PeerMessage::PrePrepare(proposal) => at(proposal.prepare.view, proposal.prepare.seq),
        PeerMessage::Prepare(vote) => at(vote.view, vote.seq),
        PeerMessage::Commit(vote) => at(vote.view, vote.seq),
        PeerMessage::Checkpoint(vote) => slot(vote.seq),
        PeerMessage::ViewChange(message) => reign(message.view),
        PeerMessage::NewView(message) => reign(message.view),
        PeerMessage::CommitCertificate(proof) => at(proof.statement.view, proof.statement.seq),
        PeerMessage::StableCertificate(proof) => slot(proof.statement.seq),
        PeerMessage::Status(status) => reign(status.view),
        PeerMessage::FetchBody { seq, .. } | PeerMessage::Body { seq, .. } => slot(*seq),
        PeerMessage::FetchViewChange { view, .. } => reign(*view),
        PeerMessage::Forward(_) | PeerMessage::Testimony(_) => Place::default(),
        PeerMessage::Transfer(part) => slot(slot_of(part)),
    }
}

/// The slot of the state that a part is about.
pub(super) fn slot_of(part: &Transfer) -> Seq {
    match part {
        Transfer::Meta { summary, .. } => summary.seq,
        Transfer::FetchMeta { seq }
        | Transfer::FetchChunk { seq, .. }
        | Transfer::Chunk { seq, .. }
        | Transfer::Lacks { seq }
        | Transfer::FetchDigests { seq, .. }
        | Transfer::Digests { seq, .. }
        | Transfer::FetchPages { seq, .. }
        | Transfer::Pages { seq, .. } => *seq,
    }
}

/// A frame as the message that it holds; none for a client's.
pub(super) fn message_in(parcel: &Parcel) -> Option<PeerMessage> {
    match parcel.end {
        End::Replica(_) => codec::decode(&parcel.frame).ok(),
        End::Client(_) => None,
    }
}

/// Whether a frame is of one of these kinds; all are if there are none.
pub(super) fn is_of(kinds: &[&str], parcel: &Parcel, message: Option<&PeerMessage>) -> bool {
    let word = match parcel.end {
        End::Client(_) => "reply",
        End::Replica(_) => message.map_or("", kind),
    };
    kinds.is_empty() || kinds.contains(&word)
}
