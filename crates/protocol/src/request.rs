//! What clients sign: requests of one or more operations; and the batches that order them.

use std::sync::Arc;

use crate::codec::{self, Decode, Encode, Frames, List, Parse, WireMin, parsed};
use crate::crypto::{HashTag, Hasher, Message};
use crate::mutant::{self, Mutant};
use crate::signed::{CLIENT_SIGNER, Tag, begin};
use crate::types::{ClientId, ClusterId, Digest, Epoch, Number, PublicKey, Seq, Session, Signature, Time};

/// Most operations one request may carry.
pub const OPERATIONS_MAX: usize = 4096;
/// Most bytes of all operations of one request together, each with its length.
pub const OPERATIONS_BYTES_MAX: usize = 4 << 20;
/// Most requests one batch may carry.
pub const BATCH_REQUESTS_MAX: usize = 16_384;

/// The operations of one request.
pub type Operations = Frames<OPERATIONS_MAX, OPERATIONS_BYTES_MAX>;

/// What a request asks besides its operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Kind {
    /// Operations, each executed when it comes.
    Operations,
    /// Operations that execute only right after the session's highest executed number.
    Fifo,
    /// Creates the session it names; its only operation is a [`Registration`].
    Register,
}

/// The operation of a [`Kind::Register`] request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Registration {
    /// Chosen by the client; makes sessions differ.
    pub nonce: u64,
    /// Highest sequence number at which the registration may execute; the session cannot be evicted before it.
    pub expires: Seq,
}

impl Registration {
    /// The session that this registration of this client creates.
    #[must_use]
    pub fn session(&self, client: ClientId) -> Session {
        let mut hasher = Hasher::new(HashTag::Session);
        hasher.update(&client.0.0).u64(self.nonce).u64(self.expires.0);
        let first = hasher.finish().0;
        Session(u64::from_le_bytes(first[..8].try_into().expect("a digest has 32 bytes")))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(crate) struct RequestWire {
    client: PublicKey,
    session: Session,
    first: Number,
    ack: Number,
    kind: Kind,
    operations: Operations,
    signature: Signature,
}

/// Operations under one signature. They take the numbers `first .. first + operations`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    wire: RequestWire,
    client: ClientId,
    digests: Vec<Digest>,
    /// Of all these digests.
    root: Digest,
}

impl Parse for Request {
    type Wire = RequestWire;

    fn parse(wire: RequestWire) -> Result<Self, &'static str> {
        let client = ClientId::of(&wire.client);
        let numbers = (0_u64..).map(|offset| Number(wire.first.0.wrapping_add(offset)));
        let digests: Vec<_> = numbers
            .zip(wire.operations.iter())
            .map(|(number, operation)| operation_digest(client, wire.session, number, operation))
            .collect();
        let root = root_of(&digests);
        Ok(Self { wire, client, digests, root })
    }

    fn wire(&self) -> &RequestWire {
        &self.wire
    }
}
parsed!(Request);

impl WireMin for Request {
    const WIRE_MIN: usize = 32 + 8 + 8 + 8 + 4 + 8 + 64;
}

/// What identifies one operation: its bytes, with its client, session and number.
#[must_use]
pub fn operation_digest(client: ClientId, session: Session, number: Number, operation: &[u8]) -> Digest {
    let mut hasher = Hasher::new(HashTag::Operation);
    hasher.update(&client.0.0).u64(session.0).u64(number.0).update(operation);
    hasher.finish()
}

/// What identifies all operations of a request, in their order.
fn root_of(digests: &[Digest]) -> Digest {
    let mut hasher = Hasher::new(HashTag::Operations);
    hasher.u64(digests.len() as u64);
    for digest in digests {
        hasher.update(&digest.0);
    }
    hasher.finish()
}

impl Request {
    /// Builds and signs a request.
    #[must_use]
    pub fn sign(key: &crate::crypto::SecretKey, cluster: ClusterId, draft: Draft) -> Self {
        let wire = RequestWire {
            client: key.public(),
            session: draft.session,
            first: draft.first,
            ack: draft.ack,
            kind: draft.kind,
            operations: draft.operations,
            signature: Signature([0; 64]),
        };
        let mut request = Self::parse(wire).expect("a request derives its digests from any wire form");
        request.wire.signature = key.sign(request.signing_bytes(cluster).as_ref());
        request
    }

    /// The bytes that the client's signature covers.
    #[must_use]
    pub fn signing_bytes(&self, cluster: ClusterId) -> Message {
        let mut message = begin(Tag::Request, cluster, Epoch(0), CLIENT_SIGNER);
        codec::encode_into(&self.covered(), &mut message);
        message
    }

    /// What its signature covers, besides the cluster.
    fn covered(&self) -> (Session, Number, Number, Kind, u32, Digest) {
        let count = u32::try_from(self.digests.len()).expect("a request has at most 4096 operations");
        let wire = &self.wire;
        (wire.session, wire.first, wire.ack, wire.kind, count, self.root)
    }

    /// The client that signed it.
    #[must_use]
    pub fn client(&self) -> ClientId {
        self.client
    }
    /// The key it must be signed with.
    #[must_use]
    pub fn key(&self) -> PublicKey {
        self.wire.client
    }
    /// The session it belongs to.
    #[must_use]
    pub fn session(&self) -> Session {
        self.wire.session
    }
    /// Number of its first operation.
    #[must_use]
    pub fn first(&self) -> Number {
        self.wire.first
    }
    /// Number of its last operation.
    #[must_use]
    pub fn last(&self) -> Number {
        Number(self.wire.first.0.saturating_add(self.digests.len().saturating_sub(1) as u64))
    }
    /// Lowest number whose result the client has not accepted yet.
    #[must_use]
    pub fn ack(&self) -> Number {
        self.wire.ack
    }
    /// What it asks.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.wire.kind
    }
    /// The client's signature.
    #[must_use]
    pub fn signature(&self) -> Signature {
        self.wire.signature
    }
    /// How many operations it carries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.digests.len()
    }
    /// Whether it carries none; such a request is invalid.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }
    /// Bytes it takes on the wire.
    #[must_use]
    pub fn bytes(&self) -> usize {
        Self::WIRE_MIN + self.wire.operations.bytes()
    }
    /// Whether the two have an operation number of one session in common.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let same = self.client == other.client && self.session() == other.session();
        same && self.first() <= other.last() && other.first() <= self.last()
    }
    /// Its operations: number, digest and bytes.
    pub fn operations(&self) -> impl Iterator<Item = (Number, Digest, &[u8])> {
        let numbers = (0_u64..).map(|offset| Number(self.wire.first.0.wrapping_add(offset)));
        numbers
            .zip(self.digests.iter().copied())
            .zip(self.wire.operations.iter())
            .map(|((number, digest), operation)| (number, digest, operation))
    }

    /// Checks everything about the request but its signature.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn check(&self, client_window: u64, operation_bytes_max: usize) -> Result<(), &'static str> {
        let count = self.digests.len() as u64;
        let wire = &self.wire;
        if count == 0 || count > client_window {
            return Err("it carries no operation, or more than the client window");
        }
        if wire.first.0.checked_add(count).is_none() {
            return Err("its operation numbers overflow");
        }
        if wire.ack > wire.first {
            return Err("it acknowledges an operation of its own");
        }
        if wire.operations.iter().any(|operation| operation.len() > operation_bytes_max) {
            return Err("an operation is larger than the cluster allows");
        }
        match wire.kind {
            Kind::Register => self.check_registration(),
            Kind::Operations | Kind::Fifo if wire.first.0 == 0 || wire.ack.0 == 0 => {
                Err("operation number 0 is reserved for registration")
            }
            Kind::Operations | Kind::Fifo => Ok(()),
        }
    }

    fn check_registration(&self) -> Result<(), &'static str> {
        let Some(registration) = self.registration() else { return Err("a registration does not decode") };
        if self.digests.len() != 1 || self.wire.first.0 != 0 || self.wire.ack.0 != 0 {
            return Err("a registration travels alone, with number 0");
        }
        if registration.session(self.client) != self.wire.session {
            return Err("a registration names another session than it makes");
        }
        Ok(())
    }

    /// The registration it carries, if it is one.
    #[must_use]
    pub fn registration(&self) -> Option<Registration> {
        match self.wire.kind {
            Kind::Register => codec::decode(self.wire.operations.iter().next()?).ok(),
            Kind::Operations | Kind::Fifo => None,
        }
    }
}

/// A request before it is signed.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The session it belongs to.
    pub session: Session,
    /// Number of its first operation.
    pub first: Number,
    /// Lowest number whose result the client has not accepted yet.
    pub ack: Number,
    /// What it asks.
    pub kind: Kind,
    /// Its operations.
    pub operations: Operations,
}

/// What the primary adds to a batch so that all replicas see the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub struct Nondet {
    /// The primary's clock when it cut the batch.
    pub time: Time,
}

/// Requests in the order in which they execute.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Batch {
    /// What the primary chose besides the order.
    pub nondet: Nondet,
    /// Complete signed requests.
    pub requests: List<Arc<Request>, BATCH_REQUESTS_MAX>,
}

impl Batch {
    /// The digest that names this batch: it covers the complete signed requests, so that whether a batch is valid is a
    /// function of its digest. Operations are covered by their digests, which are known already.
    #[must_use]
    pub fn digest(&self, cluster: ClusterId) -> Digest {
        let mut hasher = Hasher::new(HashTag::Batch);
        hasher.update(&cluster.0.0);
        if mutant::is(Mutant::M13) {
            for (_, _, operation) in self.requests.iter().flat_map(|request| request.operations()) {
                hasher.update(operation);
            }
            return hasher.finish();
        }
        hasher.u64(codec::encoded_len(&self.nondet) as u64);
        codec::encode_into(&self.nondet, &mut hasher);
        hasher.u64(self.requests.len() as u64);
        for request in self.requests.iter() {
            let wire = request.wire();
            codec::encode_into(&(wire.client, request.covered(), wire.signature), &mut hasher);
        }
        hasher.finish()
    }

    /// Operations in all requests together.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.requests.iter().map(|request| request.len()).sum()
    }
}

/// Digest of the null batch: executes as nothing, fills a gap. Differs from the digest of every batch, an empty
/// one included.
#[must_use]
pub fn null_digest(cluster: ClusterId) -> Digest {
    let mut hasher = Hasher::new(HashTag::NullBatch);
    hasher.update(&cluster.0.0);
    hasher.finish()
}

/// A batch with the digest that names it. Whoever decodes one compares the two again.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Body {
    /// `batch.digest(cluster)`.
    pub digest: Digest,
    /// The batch itself.
    pub batch: Batch,
}

impl Body {
    /// Names `batch` by its digest.
    #[must_use]
    pub fn new(batch: Batch, cluster: ClusterId) -> Arc<Self> {
        Arc::new(Self { digest: batch.digest(cluster), batch })
    }
}
