//! The replicated state as two maps, as chunks, and as the root that replicas vote for.
//!
//! A state is a function of the ordered prefix alone (OSDI '99, section 4.3), so correct replicas make the same chunks.

use std::sync::Arc;

use crate::application::ApplicationError;
use crate::codec::{self, CodecError, Decode, Encode, List, WireMin};
use crate::map::{self, CHUNK_BYTES, Chunk, ENTRY_BYTES_MAX, Map, MapError};
pub use crate::message::{Part, Summary};
use crate::session::{Answer, Limits, SessionState, Sessions};
use crate::types::{ClientId, Digest, Number, Seq, Session, Time};

/// Bytes of a session under one key; a larger one takes several. One piece fills a chunk. Of smaller ones a session that
/// grows would leave half of each chunk empty behind it, because a chunk is cut in the middle.
const PIECE_BYTES: usize = CHUNK_BYTES - map::ENTRY_HEADER_BYTES - KEY_BYTES;
/// Bytes of a session's key: client, session, number of the piece.
const KEY_BYTES: usize = 32 + 8 + 2;

const _: () = assert!(KEY_BYTES + PIECE_BYTES <= ENTRY_BYTES_MAX, "a piece is an entry");

/// Most chunks of the map of so many sessions of at most so many bytes each.
pub(crate) fn chunks_of_sessions(sessions: u64, bytes: u64) -> u64 {
    let pieces = bytes.div_ceil(PIECE_BYTES as u64);
    let overhead = pieces.saturating_mul((map::ENTRY_HEADER_BYTES + KEY_BYTES) as u64);
    let bytes = sessions.saturating_mul(bytes.saturating_add(overhead));
    map::chunks_at_most(sessions.saturating_mul(pieces), bytes)
}

/// The replicated state after a slot. A clone shares everything with it.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Last executed slot.
    pub seq: Seq,
    /// The agreed time.
    pub time: Time,
    /// Head of the history of executed batches.
    pub history: Digest,
    /// Digest of what all replicas have configured alike.
    pub config: Digest,
    /// The application's state.
    pub application: Map,
    /// The sessions.
    pub sessions: Map,
}

impl State {
    /// What the root is the digest of. Hashes what changed since a summary was last made of these maps.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary {
            seq: self.seq,
            application: part(&self.application),
            sessions: part(&self.sessions),
            config: self.config,
            time: self.time,
            history: self.history,
        }
    }

    /// What replicas vote for.
    #[must_use]
    pub fn root(&self) -> Digest {
        self.summary().root()
    }

    /// The chunks in which it travels: the application's, then the sessions'.
    pub fn chunks(&self) -> impl Iterator<Item = &Arc<Chunk>> {
        self.application.chunks().iter().chain(self.sessions.chunks())
    }

    /// Digest of each chunk, in order.
    #[must_use]
    pub fn chunk_digests(&self) -> Vec<Digest> {
        self.chunks().map(|chunk| chunk.digest()).collect()
    }

    /// The state that consists of these chunks. That the summary's root is certified is for the caller to know.
    ///
    /// # Errors
    /// [`RestoreError`] if they are not the summary's.
    pub fn assemble(summary: &Summary, mut chunks: Vec<Arc<Chunk>>) -> Result<Self, RestoreError> {
        let of_application = usize::try_from(summary.application.chunks).unwrap_or(usize::MAX);
        if of_application > chunks.len() {
            return Err(RestoreError::Malformed("chunks are missing"));
        }
        let sessions = chunks.split_off(of_application);
        let state = Self {
            seq: summary.seq,
            time: summary.time,
            history: summary.history,
            config: summary.config,
            application: Map::from_chunks(chunks)?,
            sessions: Map::from_chunks(sessions)?,
        };
        let found = state.root();
        let expected = summary.root();
        if found == expected { Ok(state) } else { Err(RestoreError::WrongRoot { expected, found }) }
    }
}

fn part(map: &Map) -> Part {
    Part { root: map.root(), chunks: map.chunks().len() as u64, bytes: map.bytes() }
}

/// Why a checkpoint could not be made. The replica cannot go on: its log would grow without end.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The application does not write its state.
    #[error(transparent)]
    Application(#[from] ApplicationError),
    /// The sessions do not fit their map, which the parameters should have made impossible.
    #[error(
        "the sessions do not fit their map ({0}); parameters that `check` accepts do not let it come to that, and those \
         of a cluster cannot be changed: report this, and make the next cluster with a lower `sessions_max` or \
         `reply_cache_bytes_max`"
    )]
    Sessions(#[from] MapError),
    /// The unacknowledged replies of one session do not encode.
    #[error(
        "a session does not encode ({0}); parameters that `check` accepts do not let it come to that, and those of a \
         cluster cannot be changed: report this, and make the next cluster with a lower `reply_cache_bytes_max`"
    )]
    Session(#[from] CodecError),
}

/// Why a state was not installed.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum RestoreError {
    /// Some part of it is not what it should be.
    #[error("the state is malformed: {0}; fetch it from other replicas")]
    Malformed(&'static str),
    /// Its chunks make no map.
    #[error("the state's chunks make no map ({0}); fetch it from other replicas")]
    Map(#[from] MapError),
    /// It is a state, but not the one asked for.
    #[error("the state's root is {found}, not {expected}; fetch it from other replicas")]
    WrongRoot {
        /// The root that was asked for.
        expected: Digest,
        /// The root of these chunks.
        found: Digest,
    },
    /// It is the state of a cluster that is configured otherwise.
    #[error(
        "the state is of a cluster with other parameters or keys; use the cluster file it was made under"
    )]
    OtherConfiguration,
    /// The application does not take its part.
    #[error(transparent)]
    Application(#[from] ApplicationError),
    /// The application took its part and is in another state now.
    #[error(
        "the application restores to another state than the one that was saved; its `save` leaves something out"
    )]
    Unfaithful,
}

#[derive(Encode, Decode)]
struct SessionWire {
    client: ClientId,
    session: Session,
    registered: Seq,
    registration: Digest,
    expires: Seq,
    active: Seq,
    highest: Number,
    floor: Number,
    answers: List<(Number, Answer), 4096>,
}

impl WireMin for (Number, Answer) {
    const WIRE_MIN: usize = 8 + 8 + 32 + 4;
}

fn key_of(client: ClientId, session: Session, piece: u16) -> [u8; KEY_BYTES] {
    let mut key = [0; KEY_BYTES];
    key[..32].copy_from_slice(&client.0.0);
    key[32..40].copy_from_slice(&session.0.to_be_bytes());
    key[40..].copy_from_slice(&piece.to_be_bytes());
    key
}

/// Writes the sessions that were touched since this was last done into their map.
pub(crate) fn save_sessions(sessions: &mut Sessions, map: &mut Map) -> Result<(), CheckpointError> {
    map.seal();
    let mut bytes = Vec::new();
    for (client, session) in sessions.take_touched() {
        bytes.clear();
        if let Some(state) = sessions.get(client, session) {
            codec::append(&wire_of(client, session, state), &mut bytes)?;
        }
        let mut piece = 0;
        for part in bytes.chunks(PIECE_BYTES) {
            map.insert(&key_of(client, session, piece), part)?;
            piece += 1;
        }
        while map.remove(&key_of(client, session, piece)) {
            piece += 1;
        }
    }
    Ok(())
}

fn wire_of(client: ClientId, session: Session, state: &SessionState) -> SessionWire {
    SessionWire {
        client,
        session,
        registered: state.registered,
        registration: state.registration,
        expires: state.expires,
        active: state.active,
        highest: state.highest,
        floor: state.floor,
        answers: List(state.answers().map(|(number, answer)| (number, answer.clone())).collect()),
    }
}

/// The sessions that a map holds.
pub(crate) fn load_sessions(map: &Map, limits: Limits) -> Result<Sessions, RestoreError> {
    let mut sessions = Sessions::new(limits);
    let mut bytes = Vec::new();
    let everything = std::ops::Bound::Unbounded;
    let mut pieces = map.range(everything, everything).peekable();
    while let Some((key, piece)) = pieces.next() {
        bytes.extend_from_slice(piece);
        let of_session = key.len().checked_sub(2).map_or(key, |at| &key[..at]);
        if pieces.peek().is_some_and(|(next, _)| next.len() == KEY_BYTES && next.starts_with(of_session)) {
            continue;
        }
        let wire: SessionWire =
            codec::decode(&bytes).map_err(|_| RestoreError::Malformed("a session does not decode"))?;
        let last = (bytes.len() - 1) / PIECE_BYTES;
        if u16::try_from(last)
            .map(|last| key_of(wire.client, wire.session, last))
            .ok()
            .as_ref()
            .map(<[u8; 42]>::as_slice)
            != Some(key)
        {
            return Err(RestoreError::Malformed("a session is not under its own key"));
        }
        bytes.clear();
        sessions.insert(wire.client, wire.session, session_of(wire, limits)?);
    }
    sessions.take_touched();
    Ok(sessions)
}

fn session_of(wire: SessionWire, limits: Limits) -> Result<SessionState, RestoreError> {
    let mut state = SessionState::new(wire.registered, wire.registration, wire.expires);
    state.acknowledge(Number(wire.floor.0.saturating_add(1)));
    let mut last = wire.floor;
    for (number, answer) in wire.answers.0 {
        if number <= last || number.0 - wire.floor.0 > limits.window {
            return Err(RestoreError::Malformed(
                "a session's answers are not in order, or outside its window",
            ));
        }
        last = number;
        state.remember(number, answer);
    }
    state.highest = wire.highest;
    state.active = wire.active;
    Ok(state)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
