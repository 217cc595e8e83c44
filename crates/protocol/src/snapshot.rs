//! The replicated state as bytes, as chunks, and as the root that replicas vote for.
//!
//! A snapshot is three frames, each behind its length: a header, the application's snapshot, and the sessions. It is a
//! function of the ordered prefix alone (OSDI '99, section 4.3), so correct replicas make the same bytes.

use std::sync::Arc;

use bytes::Bytes;

use crate::application::{ApplicationError, SNAPSHOT_BYTES_MAX};
use crate::codec::{self, CodecError, Decode, Encode, List, WireMin};
use crate::crypto::{HashTag, Hasher, merkle_root};
pub use crate::message::{CHUNK_BYTES, Summary};
use crate::session::{Answer, Limits, SessionState, Sessions};
use crate::types::{ClientId, Digest, Number, Seq, Session, Time};

/// Version of the layout of a snapshot's bytes.
const VERSION: u32 = 1;

/// The replicated state after a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Last executed slot.
    pub seq: Seq,
    /// What replicas vote for: `summary.root()`.
    pub root: Digest,
    /// What the root is the digest of.
    pub summary: Summary,
    /// Digest of each chunk, in order.
    pub chunks: Arc<[Digest]>,
    /// The state itself.
    pub snapshot: Bytes,
}

impl State {
    /// The state whose bytes these are, if they are any. That somebody certified its root is for the caller to know.
    ///
    /// # Errors
    /// [`RestoreError`] if they are none.
    pub fn of(config: Digest, snapshot: Bytes) -> Result<Self, RestoreError> {
        let (summary, chunks) = Frames::split(&snapshot)?.summary(config, &snapshot);
        Ok(Self { seq: summary.seq, root: summary.root(), summary, chunks, snapshot })
    }
}

/// Why a checkpoint could not be made. The replica cannot go on: its log would grow without end.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The application does not write its state.
    #[error(transparent)]
    Application(#[from] ApplicationError),
    /// The application's state has outgrown what a snapshot may have.
    #[error(
        "the application's state takes {0} bytes, more than the {SNAPSHOT_BYTES_MAX} a snapshot may have; \
         let the application refuse commands that would make it larger"
    )]
    TooLarge(usize),
    /// The unacknowledged replies of one session do not fit a frame.
    #[error("a session does not encode ({0}); lower `reply_cache_bytes_max` below 8 MiB")]
    Session(#[from] CodecError),
}

/// Why a snapshot was not installed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Some part of it is not what it should be.
    #[error("the snapshot is malformed: {0}; fetch the state from other replicas")]
    Malformed(&'static str),
    /// The layout is one this version does not read.
    #[error(
        "the snapshot has layout version {0}, this program reads {VERSION}; run the version that wrote it"
    )]
    Version(u32),
    /// It is a state, but not the one asked for.
    #[error("the snapshot's root is {found}, not {expected}; fetch the state from other replicas")]
    WrongRoot {
        /// The root that was asked for.
        expected: Digest,
        /// The root of these bytes.
        found: Digest,
    },
    /// The application does not take its part.
    #[error(transparent)]
    Application(#[from] ApplicationError),
    /// The application took its part and is in another state now.
    #[error(
        "the application restores to another state than the snapshot's; its `snapshot` leaves something out"
    )]
    Unfaithful,
}

/// Digest of one chunk.
#[must_use]
pub fn chunk_digest(chunk: &[u8]) -> Digest {
    let mut hasher = Hasher::new(HashTag::Chunk);
    hasher.update(chunk);
    hasher.finish()
}

/// Digest of each chunk of a snapshot, in order.
#[must_use]
pub fn chunk_digests(snapshot: &[u8]) -> Vec<Digest> {
    snapshot.chunks(CHUNK_BYTES).map(chunk_digest).collect()
}

/// Root of the tree over the digests of chunks.
#[must_use]
pub fn chunk_root(chunks: &[Digest]) -> Digest {
    merkle_root(HashTag::ChunkNode, chunks)
}

/// First frame of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Header {
    version: u32,
    pub(crate) seq: Seq,
    pub(crate) time: Time,
    pub(crate) history: Digest,
    /// Digest of the application's state, which need not be the digest of its bytes.
    pub(crate) application: Digest,
}

impl Header {
    pub(crate) fn new(seq: Seq, time: Time, history: Digest, application: Digest) -> Self {
        Self { version: VERSION, seq, time, history, application }
    }
}

/// The three frames of a snapshot.
pub(crate) struct Frames<'a> {
    pub(crate) header: Header,
    pub(crate) application: &'a [u8],
    pub(crate) sessions: &'a [u8],
}

impl<'a> Frames<'a> {
    /// The bytes of the snapshot.
    pub(crate) fn join(&self) -> Result<Vec<u8>, CodecError> {
        let header = codec::encode(&self.header)?;
        let frames = [&header, self.application, self.sessions];
        let mut bytes = Vec::with_capacity(frames.iter().map(|frame| 8 + frame.len()).sum());
        for frame in frames {
            bytes.extend_from_slice(&(frame.len() as u64).to_le_bytes());
            bytes.extend_from_slice(frame);
        }
        Ok(bytes)
    }

    /// The frames of a snapshot's bytes.
    pub(crate) fn split(mut bytes: &'a [u8]) -> Result<Self, RestoreError> {
        let header = take(&mut bytes)?;
        // The version stands first, so that another layout is told from a broken one.
        let version = header.first_chunk().copied().map_or(VERSION, u32::from_le_bytes);
        if version != VERSION {
            return Err(RestoreError::Version(version));
        }
        let header =
            codec::decode(header).map_err(|_| RestoreError::Malformed("its header does not decode"))?;
        let application = take(&mut bytes)?;
        let sessions = take(&mut bytes)?;
        if !bytes.is_empty() {
            return Err(RestoreError::Malformed("bytes follow it"));
        }
        Ok(Self { header, application, sessions })
    }

    /// What the root of this snapshot is the digest of, and the digests of its chunks; `snapshot` are its joined bytes.
    pub(crate) fn summary(&self, config: Digest, snapshot: &[u8]) -> (Summary, Arc<[Digest]>) {
        let chunks = chunk_digests(snapshot);
        let mut sessions = Hasher::new(HashTag::Sessions);
        sessions.update(self.sessions);
        let summary = Summary {
            seq: self.header.seq,
            application: self.header.application,
            sessions: sessions.finish(),
            config,
            time: self.header.time,
            chunk_root: chunk_root(&chunks),
            chunks: chunks.len() as u64,
            bytes: snapshot.len() as u64,
            history: self.header.history,
        };
        (summary, chunks.into())
    }
}

/// The frame at the front of `bytes`, which loses it.
fn take<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], RestoreError> {
    let short = RestoreError::Malformed("it ends early");
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else { return Err(short) };
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let Some((frame, rest)) = rest.split_at_checked(length) else { return Err(short) };
    *bytes = rest;
    Ok(frame)
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

/// The sessions' frame: each session behind its length, ascending.
pub(crate) fn encode_sessions(sessions: &Sessions) -> Result<Vec<u8>, CodecError> {
    let mut bytes = Vec::new();
    for (client, session, state) in sessions.iter() {
        let at = bytes.len();
        bytes.extend_from_slice(&[0; 8]);
        let wire = SessionWire {
            client,
            session,
            registered: state.registered,
            registration: state.registration,
            expires: state.expires,
            active: state.active,
            highest: state.highest,
            floor: state.floor,
            answers: List(state.answers().map(|(number, answer)| (number, answer.clone())).collect()),
        };
        codec::append(&wire, &mut bytes)?;
        let length = (bytes.len() - at - 8) as u64;
        bytes[at..at + 8].copy_from_slice(&length.to_le_bytes());
    }
    Ok(bytes)
}

/// The sessions of a frame.
pub(crate) fn decode_sessions(mut bytes: &[u8], limits: Limits) -> Result<Sessions, RestoreError> {
    let mut sessions = Sessions::new(limits);
    let mut last = None;
    while !bytes.is_empty() {
        let wire: SessionWire = codec::decode(take(&mut bytes)?)
            .map_err(|_| RestoreError::Malformed("a session does not decode"))?;
        let key = (wire.client, wire.session);
        if last.replace(key).is_some_and(|last| last >= key) {
            return Err(RestoreError::Malformed("its sessions are not in order"));
        }
        sessions.insert(wire.client, wire.session, session_of(wire, limits)?);
    }
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
