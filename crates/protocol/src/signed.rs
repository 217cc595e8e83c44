//! Who signed what: statements behind a prefix that no other statement shares, and values that prove their check.

use std::ops::Deref;
use std::sync::Arc;

use crate::codec::{self, Decode, Encode, WireMin};
use crate::crypto::{HashTag, Hasher, Message, SecretKey};
use crate::mutant::{self, Mutant};
use crate::types::{ClusterId, Digest, Epoch, ReplicaId, Signature};

/// The signer number in what clients sign; no replica has it.
pub const CLIENT_SIGNER: ReplicaId = ReplicaId(u16::MAX);

/// One tag for every kind of statement: without it a PREPARE could be shown as a COMMIT, which has the same fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Tag {
    /// A client's request.
    Request = 1,
    /// A PREPARE; the primary's PRE-PREPARE is its PREPARE.
    Prepare = 2,
    /// A COMMIT.
    Commit = 3,
    /// A CHECKPOINT.
    Checkpoint = 4,
    /// A VIEW-CHANGE.
    ViewChange = 5,
    /// A NEW-VIEW.
    NewView = 6,
}

/// Starts the bytes of a signed statement: `"QUORATE1" || tag || cluster || epoch || signer`.
#[must_use]
pub fn begin(tag: Tag, cluster: ClusterId, epoch: Epoch, signer: ReplicaId) -> Message {
    let mut message = Message::new();
    let tag = if mutant::is(Mutant::M3) { 0 } else { tag as u8 };
    codec::encode_into(&(*b"QUORATE1", tag, cluster, epoch, signer), &mut message);
    message
}

/// Something a replica can sign.
pub trait Statement: Encode + Clone + PartialEq + std::fmt::Debug {
    /// Tells this kind of statement from all others.
    const TAG: Tag;
    /// Appends what the signature covers after the prefix.
    fn cover(&self, message: &mut Message);
}

/// A digest of a value that is too long to be signed as it is.
pub(crate) fn digest_of<T: Encode>(tag: HashTag, value: &T) -> Digest {
    let mut hasher = Hasher::new(tag);
    codec::encode_into(value, &mut hasher);
    hasher.finish()
}

/// The bytes a replica signs to state `body`.
pub fn signing_bytes<S: Statement>(body: &S, cluster: ClusterId, epoch: Epoch, signer: ReplicaId) -> Message {
    let mut message = begin(S::TAG, cluster, epoch, signer);
    body.cover(&mut message);
    message
}

/// A statement, who is said to have made it, and a signature that may or may not be theirs.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Signed<S> {
    /// What is stated.
    pub body: S,
    /// Who is said to state it.
    pub signer: ReplicaId,
    /// Over [`signing_bytes`].
    pub signature: Signature,
}

impl<S> Deref for Signed<S> {
    type Target = S;
    fn deref(&self) -> &S {
        &self.body
    }
}

/// A value that was checked all the way down: framing, bounds, digests and every signature.
///
/// It cannot be decoded from bytes. Only [`crate::verify`] and a [`Signer`] make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    /// Only called where the check has just been made.
    pub(crate) fn vouch(value: T) -> Self {
        Self(value)
    }
    /// The value, without its proof.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// Signs a replica's statements. Lives in the host: a process has no key.
#[derive(Debug)]
pub struct Signer {
    key: Arc<SecretKey>,
    cluster: ClusterId,
    epoch: Epoch,
    id: ReplicaId,
}

impl Signer {
    /// A signer for one replica in one epoch of one cluster.
    #[must_use]
    pub fn new(key: Arc<SecretKey>, cluster: ClusterId, epoch: Epoch, id: ReplicaId) -> Self {
        Self { key, cluster, epoch, id }
    }

    /// The replica it signs for.
    #[must_use]
    pub fn id(&self) -> ReplicaId {
        self.id
    }

    /// Signs `body`. What we sign ourselves needs no check.
    pub fn sign<S: Statement>(&self, body: S) -> Verified<Signed<S>> {
        let message = signing_bytes(&body, self.cluster, self.epoch, self.id);
        Verified(Signed { signature: self.key.sign(message.as_ref()), signer: self.id, body })
    }
}

impl WireMin for (ReplicaId, Signature) {
    const WIRE_MIN: usize = 66;
}

impl WireMin for (ReplicaId, Digest) {
    const WIRE_MIN: usize = 34;
}
