//! What is replicated: a user's [`Application`], and the [`StateMachine`] over bytes that executes it.
//!
//! An application must be a function of the commands it is given. It may not read a clock, randomness, the
//! environment, or the order of a hash map, because replicas that differ in one bit cannot make a checkpoint. What it
//! needs of time and chance is in its [`Context`], the same everywhere.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec;
use crate::crypto::{HashTag, Hasher};
use crate::types::{ClientId, Digest, Number, Seq, Session, Time};

/// Most bytes an application's snapshot may have.
pub const SNAPSHOT_BYTES_MAX: usize = 32 << 20;

/// The user's whole obligation: a state, and what a command does to it.
///
/// Use `BTreeMap` and integers, never `HashMap` and floats. Keep values without bytes (`()`, empty structs) out of the
/// lists of a command, and recursion out of its types: commands come from clients, and such lists and depths cost
/// nothing to claim.
pub trait Application: Serialize + DeserializeOwned + Send + 'static {
    /// What clients ask.
    type Command: Serialize + DeserializeOwned;
    /// What they are told.
    type Reply: Serialize + DeserializeOwned;

    /// Executes one command, once, in the agreed order.
    fn apply(&mut self, context: &Context, command: Self::Command) -> Self::Reply;

    /// Answers a command from the state as it is, without ordering it; none if it must be ordered.
    fn query(&self, _command: Self::Command) -> Option<Self::Reply> {
        None
    }

    /// The state as bytes: equal states give equal bytes.
    ///
    /// # Errors
    /// [`ApplicationError::Encode`] if serde cannot encode the state.
    fn snapshot(&self) -> Result<Vec<u8>, ApplicationError> {
        codec::encode_serde(self).map_err(|_| ApplicationError::Encode)
    }

    /// The state that a snapshot holds.
    ///
    /// # Errors
    /// [`ApplicationError::Decode`] if the bytes are no snapshot of this application.
    fn restore(snapshot: &[u8]) -> Result<Self, ApplicationError> {
        codec::decode_serde(snapshot).map_err(|error| ApplicationError::Decode(error.to_string()))
    }

    /// Names the state, which `snapshot` was just taken of. An application that keeps a root of its own returns that.
    fn digest(&self, snapshot: &[u8]) -> Digest {
        snapshot_digest(snapshot)
    }
}

/// What is wrong between an application and its snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplicationError {
    /// The state has a type that the codec cannot write.
    #[error("the application's state cannot be encoded; use types that serde describes with a known length")]
    Encode,
    /// The snapshot is no state of this application.
    #[error("the snapshot is no state of this application ({0}); check that all replicas run the same one")]
    Decode(String),
    /// Two equal states gave different bytes.
    #[error(
        "the application's snapshot changes when it is restored; use BTreeMap instead of HashMap in its state"
    )]
    Unstable,
}

/// Digest of a snapshot's bytes.
#[must_use]
pub fn snapshot_digest(snapshot: &[u8]) -> Digest {
    let mut hasher = Hasher::new(HashTag::Snapshot);
    hasher.update(snapshot);
    hasher.finish()
}

/// What an application may know besides its state and the command; all replicas see the same.
#[derive(Debug, Clone)]
pub struct Context {
    pub(crate) client: ClientId,
    pub(crate) session: Session,
    pub(crate) number: Number,
    pub(crate) operation: Digest,
    pub(crate) seq: Seq,
    pub(crate) time: Time,
    pub(crate) history: Digest,
}

impl Context {
    /// A context made up for tests of an application: slot 1, time 0.
    #[must_use]
    pub fn for_test(client: ClientId) -> Self {
        Self {
            client,
            session: Session(0),
            number: Number(1),
            operation: Digest::ZERO,
            seq: Seq(1),
            time: Time(0),
            history: Digest::ZERO,
        }
    }

    /// Whose command it is: proven by a signature.
    #[must_use]
    pub fn client(&self) -> ClientId {
        self.client
    }

    /// The client's session.
    #[must_use]
    pub fn session(&self) -> Session {
        self.session
    }

    /// The command's number in its session.
    #[must_use]
    pub fn number(&self) -> Number {
        self.number
    }

    /// Digest of the command with its client, session and number: no other operation has it.
    #[must_use]
    pub fn operation(&self) -> Digest {
        self.operation
    }

    /// Slot in which the command was ordered. Many commands may share one.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.seq
    }

    /// The agreed time, in microseconds; never goes backwards. A primary chooses it within the tolerance of the other
    /// replicas' clocks, so do not let money depend on its last seconds.
    #[must_use]
    pub fn time(&self) -> Time {
        self.time
    }

    /// The agreed seed, another one for every operation: `H(Seed || history before the batch || seq || operation)`.
    ///
    /// It is no secret. The primary knows it before it orders the batch, and may choose among orders until it likes
    /// one, and so may a client who knows what precedes its command. Never draw lots with it for anything of value.
    #[must_use]
    pub fn seed(&self) -> [u8; 32] {
        let mut hasher = Hasher::new(HashTag::Seed);
        hasher.update(&self.history.0).u64(self.seq.0).update(&self.operation.0);
        hasher.finish().0
    }
}

/// The command means nothing to the application. It took its number and changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the application does not understand the command; the client may be of another application or version"
)]
pub struct RejectedCommand;

/// An application over bytes, as the executor holds it.
///
/// Implement [`Application`] and use [`machine`], unless bytes are what you want.
pub trait StateMachine: Send {
    /// Executes one command, once, in the agreed order.
    ///
    /// # Errors
    /// [`RejectedCommand`], everywhere alike and without effect, if the command means nothing. It comes from a client
    /// and may be any bytes, so it may not panic.
    fn apply(&mut self, context: &Context, command: &[u8]) -> Result<Bytes, RejectedCommand>;

    /// Answers a command without ordering it; none if it must be ordered or means nothing.
    fn query(&self, _command: &[u8]) -> Option<Bytes> {
        None
    }

    /// The state as bytes, at most [`SNAPSHOT_BYTES_MAX`]: equal states give equal bytes.
    ///
    /// # Errors
    /// [`ApplicationError`] says what keeps the state from being written.
    fn snapshot(&self) -> Result<Vec<u8>, ApplicationError>;

    /// Replaces the state by that of a snapshot; keeps it if that fails.
    ///
    /// # Errors
    /// [`ApplicationError::Decode`] if the bytes are no snapshot of this machine.
    fn restore(&mut self, snapshot: &[u8]) -> Result<(), ApplicationError>;

    /// Names the state, which `snapshot` was just taken of.
    fn digest(&self, snapshot: &[u8]) -> Digest {
        snapshot_digest(snapshot)
    }
}

/// The state machine of an application, beginning with the given state.
#[must_use]
pub fn machine<A: Application>(application: A) -> Box<dyn StateMachine> {
    Box::new(Typed(application))
}

/// Puts bytes on both sides of an application.
struct Typed<A>(A);

impl<A: Application> StateMachine for Typed<A> {
    fn apply(&mut self, context: &Context, command: &[u8]) -> Result<Bytes, RejectedCommand> {
        let command = codec::decode_serde(command).map_err(|_| RejectedCommand)?;
        let reply = self.0.apply(context, command);
        Ok(codec::encode_serde(&reply)
            .expect("replies are of types that serde describes with a known length")
            .into())
    }

    fn query(&self, command: &[u8]) -> Option<Bytes> {
        let reply = self.0.query(codec::decode_serde(command).ok()?)?;
        codec::encode_serde(&reply).ok().map(Bytes::from)
    }

    fn snapshot(&self) -> Result<Vec<u8>, ApplicationError> {
        let snapshot = self.0.snapshot()?;
        // A hash map writes its entries in an order of its own, and a restored one in another. Found here, it costs a
        // developer an error; found in a cluster, no checkpoint ever becomes stable.
        if cfg!(debug_assertions) && A::restore(&snapshot)?.snapshot()? != snapshot {
            return Err(ApplicationError::Unstable);
        }
        Ok(snapshot)
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), ApplicationError> {
        self.0 = A::restore(snapshot)?;
        Ok(())
    }

    fn digest(&self, snapshot: &[u8]) -> Digest {
        self.0.digest(snapshot)
    }
}
