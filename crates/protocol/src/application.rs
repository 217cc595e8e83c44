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
use crate::map::{Map, MapError};
use crate::pieces;
use crate::types::{ClientId, Digest, Number, Seq, Session, Time};

/// Most bytes of a state that serde writes as a whole at every checkpoint. A larger one lives in a [`Map`].
pub const SNAPSHOT_BYTES_MAX: usize = 32 << 20;

/// How a state is written into the map that replicas make checkpoints of, and read from it again.
///
/// Types that serde describes have it: their bytes are written as a whole at every checkpoint, which is fast for small
/// states and refused beyond [`SNAPSHOT_BYTES_MAX`]. An application with a large state keeps it in a [`Map`] and hands
/// that out: a checkpoint then costs what changed since the last one, and a copy costs nothing.
///
/// ```
/// use quorate_protocol::application::{ApplicationError, Snapshot};
/// use quorate_protocol::map::Map;
///
/// struct Accounts {
///     balances: Map,
/// }
///
/// impl Snapshot for Accounts {
///     const SAVES_ANEW: bool = true;
///
///     fn save(&mut self, map: &mut Map) -> Result<(), ApplicationError> {
///         self.balances.save(map)
///     }
///     fn load(map: &Map) -> Result<Self, ApplicationError> {
///         Ok(Self { balances: map.clone() })
///     }
///     fn changed_bytes(&self) -> u64 {
///         self.balances.changed_bytes()
///     }
/// }
/// ```
pub trait Snapshot: Sized {
    /// Whether [`save`](Self::save) takes no notice of what `map` holds, as where the state lives in a map of its own.
    /// `map` is empty then. No copy of what was written last is held, which would cost memory, and time: as long as there
    /// is a copy, whatever is changed has to be copied first.
    const SAVES_ANEW: bool = false;

    /// Writes the state into `map`, which holds what was written last. Equal histories must give equal maps.
    ///
    /// # Errors
    /// [`ApplicationError`] says what keeps the state from being written.
    fn save(&mut self, map: &mut Map) -> Result<(), ApplicationError>;

    /// The state that a map holds.
    ///
    /// # Errors
    /// [`ApplicationError::Decode`] if it holds no state of this application.
    fn load(map: &Map) -> Result<Self, ApplicationError>;

    /// Bytes that changed since the state was last saved, which bring the next checkpoint nearer; 0 if nobody counts.
    /// The same everywhere, as [`Map::changed_bytes`] is.
    fn changed_bytes(&self) -> u64 {
        0
    }
}

impl<T: Serialize + DeserializeOwned> Snapshot for T {
    fn save(&mut self, map: &mut Map) -> Result<(), ApplicationError> {
        let bytes = codec::encode_serde(self).map_err(|_| ApplicationError::Encode)?;
        pieces::write(map, &bytes)
    }

    fn load(map: &Map) -> Result<Self, ApplicationError> {
        codec::decode_serde(&pieces::read(map)?).map_err(|error| ApplicationError::Decode(error.to_string()))
    }
}

/// A map is written as it is. What lives in one saves that, and checks what it loads.
impl Snapshot for Map {
    const SAVES_ANEW: bool = true;

    fn save(&mut self, map: &mut Map) -> Result<(), ApplicationError> {
        // What changes from here on counts towards the next checkpoint, in both.
        self.seal();
        map.clone_from(self);
        Ok(())
    }

    fn load(map: &Map) -> Result<Self, ApplicationError> {
        Ok(map.clone())
    }

    fn changed_bytes(&self) -> u64 {
        Map::changed_bytes(self)
    }
}

/// The user's whole obligation: a state, and what a command does to it.
///
/// The state is of a type that serde describes, or implements [`Snapshot`] by itself. Use `BTreeMap` and integers, never
/// `HashMap` and floats. Keep values without bytes (`()`, empty structs) out of the lists of a command, and recursion
/// out of its types: commands come from clients, and such lists and depths cost nothing to claim.
pub trait Application: Snapshot + Send + 'static {
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
    /// The state is too large to be written as a whole.
    #[error(
        "the application's state takes {0} bytes, more than the {SNAPSHOT_BYTES_MAX} that are written as a whole; keep \
         it in a `Map`, or let the application refuse commands that would make it larger"
    )]
    TooLarge(usize),
    /// The state does not fit the map.
    #[error("the application's state does not fit its map: {0}")]
    Map(#[from] MapError),
    /// Two equal states gave different bytes.
    #[error(
        "the application's snapshot changes when it is restored; use BTreeMap instead of HashMap in its state"
    )]
    Unstable,
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

    /// The same in another slot, which has this time, after a history with this head.
    #[must_use]
    pub fn in_slot(self, seq: Seq, time: Time, history: Digest) -> Self {
        Self { seq, time, history, ..self }
    }

    /// The same of another operation: a client's session, the number in it, and the digest of it all.
    #[must_use]
    pub fn of_operation(self, session: Session, number: Number, operation: Digest) -> Self {
        Self { session, number, operation, ..self }
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

    /// Writes the state into `map`, which holds what was written last, or nothing if this machine
    /// [`saves_anew`](Self::saves_anew). Equal histories give equal maps.
    ///
    /// # Errors
    /// [`ApplicationError`] says what keeps the state from being written.
    fn save(&mut self, map: &mut Map) -> Result<(), ApplicationError>;

    /// Whether what is saved does not depend on what was written last; see [`Snapshot::SAVES_ANEW`].
    fn saves_anew(&self) -> bool {
        false
    }

    /// Replaces the state by the one that a map holds; keeps it if that fails.
    ///
    /// # Errors
    /// [`ApplicationError::Decode`] if it holds no state of this machine.
    fn load(&mut self, map: &Map) -> Result<(), ApplicationError>;

    /// Bytes that changed since the state was last saved; 0 if nobody counts. The same everywhere.
    fn changed_bytes(&self) -> u64 {
        0
    }

    /// Lets go of the memory that a large state takes: nothing is asked any more until another one is loaded.
    fn release(&mut self) {}
}

/// The state machine of an application, beginning with the given state.
#[must_use]
pub fn machine<A: Application>(application: A) -> Box<dyn StateMachine> {
    Box::new(Typed(Some(application)))
}

/// Puts bytes on both sides of an application; empty between a release and the next load.
struct Typed<A>(Option<A>);

impl<A> Typed<A> {
    fn state(&mut self) -> &mut A {
        self.0.as_mut().expect("nothing is asked of a machine that was released")
    }
}

impl<A: Application> StateMachine for Typed<A> {
    fn apply(&mut self, context: &Context, command: &[u8]) -> Result<Bytes, RejectedCommand> {
        let command = codec::decode_serde(command).map_err(|_| RejectedCommand)?;
        let reply = self.state().apply(context, command);
        Ok(codec::encode_serde(&reply)
            .expect("replies are of types that serde describes with a known length")
            .into())
    }

    fn query(&self, command: &[u8]) -> Option<Bytes> {
        let reply = self.0.as_ref()?.query(codec::decode_serde(command).ok()?)?;
        codec::encode_serde(&reply).ok().map(Bytes::from)
    }

    fn save(&mut self, map: &mut Map) -> Result<(), ApplicationError> {
        self.state().save(map)?;
        // A hash map writes its entries in an order of its own, and a restored one in another. Found here, it costs a
        // developer an error; found in a cluster, no checkpoint ever becomes stable.
        if cfg!(debug_assertions) {
            let mut again = if A::SAVES_ANEW { Map::new() } else { map.clone() };
            A::load(map)?.save(&mut again)?;
            if again.root() != map.root() {
                return Err(ApplicationError::Unstable);
            }
        }
        Ok(())
    }

    fn saves_anew(&self) -> bool {
        A::SAVES_ANEW
    }

    fn load(&mut self, map: &Map) -> Result<(), ApplicationError> {
        self.0 = Some(A::load(map)?);
        Ok(())
    }

    fn changed_bytes(&self) -> u64 {
        self.0.as_ref().map_or(0, A::changed_bytes)
    }

    fn release(&mut self) {
        self.0 = None;
    }
}
