//! Quorum arithmetic for every n. Nothing else in the house counts to `2f + 1`.

use crate::crypto::{KeyError, VerifyingKey};
use crate::mutant::{self, Mutant};
use crate::types::{PublicKey, ReplicaId, View};

/// Most replicas a committee may have.
pub const REPLICAS_MAX: usize = 256;

/// The ordered list of replicas of one epoch, and the sizes that follow from it.
#[derive(Debug, Clone)]
pub struct Committee {
    keys: Vec<VerifyingKey>,
}

/// Why a list of keys is no committee.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitteeError {
    /// Nobody, or more than [`REPLICAS_MAX`].
    #[error("{0} replicas; a committee has 1 to {REPLICAS_MAX}")]
    Size(usize),
    /// Fewer than four replicas tolerate no Byzantine one.
    #[error(
        "{0} replicas tolerate no Byzantine fault; use at least 4, or say `allow_f0 = true` (`quorate init --allow-f0`)"
    )]
    NoTolerance(usize),
    /// Two replicas with one key would be one voter with two votes.
    #[error("replicas {0} and {1} have the same key")]
    DuplicateKey(ReplicaId, ReplicaId),
    /// A key that is not a point of the curve, or signs everything.
    #[error("the key of replica {0} is unusable: {1}")]
    Key(ReplicaId, KeyError),
}

/// Faulty replicas that a committee of `n` tolerates: `floor((n - 1) / 3)`.
#[must_use]
pub const fn faults(n: usize) -> usize {
    n.saturating_sub(1) / 3
}

/// Quorum of a committee of `n`: `floor((n + f) / 2) + 1`. Two quorums share a correct replica, for every n.
#[must_use]
pub const fn quorum(n: usize) -> usize {
    (n + faults(n)) / 2 + 1
}

impl Committee {
    /// A committee of the given keys, in order of replica id.
    ///
    /// # Errors
    /// [`CommitteeError`] names the replica whose key is unusable or repeated.
    pub fn new(keys: &[PublicKey], allow_f0: bool) -> Result<Self, CommitteeError> {
        if keys.is_empty() || keys.len() > REPLICAS_MAX {
            return Err(CommitteeError::Size(keys.len()));
        }
        if faults(keys.len()) == 0 && !allow_f0 {
            return Err(CommitteeError::NoTolerance(keys.len()));
        }
        let mut checked: Vec<VerifyingKey> = Vec::with_capacity(keys.len());
        for (id, key) in (0..).map(ReplicaId).zip(keys) {
            let key = VerifyingKey::new(*key).map_err(|error| CommitteeError::Key(id, error))?;
            if let Some(twin) =
                (0..).map(ReplicaId).zip(&checked).find(|(_, other)| other.public() == key.public())
            {
                return Err(CommitteeError::DuplicateKey(twin.0, id));
            }
            checked.push(key);
        }
        Ok(Self { keys: checked })
    }

    /// Number of replicas, n.
    #[must_use]
    pub fn size(&self) -> usize {
        self.keys.len()
    }

    /// Faults tolerated, f.
    #[must_use]
    pub fn faults(&self) -> usize {
        faults(self.size())
    }

    /// Equal statements that make a certificate, q.
    #[must_use]
    pub fn quorum(&self) -> usize {
        if mutant::is(Mutant::M5) {
            return 2 * self.faults() + 1;
        }
        quorum(self.size())
    }

    /// Equal statements of which at least one is a correct replica's: f + 1.
    #[must_use]
    pub fn weak_quorum(&self) -> usize {
        self.faults() + 1
    }

    /// The primary of a view: `view mod n`.
    #[must_use]
    pub fn primary(&self, view: View) -> ReplicaId {
        let n = self.size() as u64;
        ReplicaId(u16::try_from(view.0 % n).expect("n is at most 256"))
    }

    /// Every replica's id, ascending.
    pub fn replicas(&self) -> impl Iterator<Item = ReplicaId> + use<> {
        (0..u16::try_from(self.size()).expect("n is at most 256")).map(ReplicaId)
    }

    /// The key of a replica, if the committee has such a replica.
    #[must_use]
    pub fn key(&self, id: ReplicaId) -> Option<&VerifyingKey> {
        self.keys.get(usize::from(id.0))
    }

    /// The replica that holds the secret half of `key`.
    #[must_use]
    pub fn id_of(&self, key: &PublicKey) -> Option<ReplicaId> {
        (0..).map(ReplicaId).zip(&self.keys).find(|(_, other)| other.public() == *key).map(|(id, _)| id)
    }
}
