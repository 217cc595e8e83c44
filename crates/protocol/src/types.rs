//! Identifiers. Numbers have types, so that a view can never be passed for a sequence number.

use std::fmt;

use crate::codec::{Decode, Encode};
pub use crate::crypto::{Digest, PublicKey, Signature};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty), $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode)]
        pub struct $name(pub $inner);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

number!(
    /// Position of a replica in its epoch's ordered list, `0..n`.
    ReplicaId(u16), "r"
);
number!(
    /// View: a reign of one primary. Starts at 0 in every epoch.
    View(u64), "v"
);
number!(
    /// Sequence number of a batch. The first batch is 1; 0 is the epoch's beginning.
    Seq(u64), "n"
);
number!(
    /// Epoch: a period with one fixed list of replicas.
    Epoch(u64), "e"
);
number!(
    /// One session of one client: the scope of operation numbers.
    Session(u64), "s"
);
number!(
    /// Number of an operation within its session; counts from 1 (0 registers the session).
    Number(u64), "t"
);
number!(
    /// Position in a replica's journal: how many records were appended before and with this one.
    Position(u64), "j"
);
number!(
    /// Microseconds of a monotonic clock that was set to the wall clock once, when its host started.
    Time(u64), "@"
);

impl View {
    /// The view after this one; saturates.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Seq {
    /// No sequence number is above this one; stands for "no end of the epoch is pending".
    pub const MAX: Self = Self(u64::MAX);

    /// The sequence number after this one; saturates.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// `self + slots`; saturates.
    #[must_use]
    pub fn plus(self, slots: u64) -> Self {
        Self(self.0.saturating_add(slots))
    }
}

impl Time {
    /// `self + microseconds`; saturates.
    #[must_use]
    pub fn plus(self, microseconds: u64) -> Self {
        Self(self.0.saturating_add(microseconds))
    }

    /// Microseconds from `earlier` to `self`, 0 if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// What a client is called: the hash of its public key, so its name proves itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct ClientId(pub Digest);

impl ClientId {
    /// The client that holds the secret half of `key`.
    #[must_use]
    pub fn of(key: &PublicKey) -> Self {
        let mut hasher = crate::crypto::Hasher::new(crate::crypto::HashTag::Client);
        hasher.update(&key.0);
        Self(hasher.finish())
    }
}

impl fmt::Debug for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{:?}", self.0)
    }
}

/// Hash of the genesis configuration and 32 random bytes: two clusters never share one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct ClusterId(pub Digest);

impl fmt::Debug for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cluster {:?}", self.0)
    }
}
