//! The border: what came off the wire becomes an event, or is refused with its reason.
//!
//! Bounds and shapes are checked first, then every signature that is left, of all messages together in one batch.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use crate::accusation;
use crate::certificate::Certificate;
use crate::crypto::{BatchVerifier, Claim, HashTag, Hasher, KeyError, Message, VerifyingKey};
use crate::message::{PeerMessage, PrePrepare};
use crate::mutant::{self, Mutant};
use crate::parameters::Context;
use crate::process::Event;
use crate::request::{Batch, Body, Request, null_digest};
use crate::signed::{Signed, Statement, Verified, signing_bytes};
use crate::types::{Digest, PublicKey, ReplicaId, Seq, Signature, View};

mod known;
mod view_change;

use known::{Known, Vote};

/// Something that was decoded and is not believed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// From a replica, known by its channel.
    Peer {
        /// The replica at the other end.
        from: ReplicaId,
        /// What it sent.
        message: PeerMessage,
    },
    /// From a client.
    Client(Arc<Request>),
}

/// Why something was refused. Variants say who did what.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The signer is no replica of this epoch.
    #[error("signed as replica {0}, which is not in the committee")]
    NotInCommittee(ReplicaId),
    /// The signature is not the signer's.
    #[error("a signature is not of the one it names")]
    Signature,
    /// Signed as the proposal of a replica that is not the primary of that view.
    #[error("replica {signer} proposes in view {view}, of which it is not the primary")]
    NotPrimary {
        /// Who proposes.
        signer: ReplicaId,
        /// In which view.
        view: View,
    },
    /// The batch is larger than the cluster allows, or empty of what it must have.
    #[error("batch: {0}")]
    Batch(&'static str),
    /// The request breaks a rule.
    #[error("request: {0}")]
    Request(&'static str),
    /// The client's key is no point of the curve.
    #[error("client key: {0}")]
    ClientKey(KeyError),
    /// A certificate does not have exactly q signatures of distinct replicas in ascending order.
    #[error("certificate: {0}")]
    Certificate(&'static str),
    /// A VIEW-CHANGE contradicts itself.
    #[error("view change: {0}")]
    ViewChange(&'static str),
    /// A NEW-VIEW contradicts itself.
    #[error("new view: {0}")]
    NewView(&'static str),
    /// A message that only its author may send came from somebody else.
    #[error("sent by replica {from} in the name of replica {signer}")]
    NotTheSender {
        /// The channel.
        from: ReplicaId,
        /// The name.
        signer: ReplicaId,
    },
    /// A part of a state: its hosts fetch it, and it proves itself there.
    #[error("a part of a state was given to a verifier")]
    NotForReplicas,
}

impl Invalid {
    /// A word for each variant, in their order, to count by.
    pub const KINDS: [&str; 11] = [
        "outsider",
        "forged",
        "not_primary",
        "batch",
        "request",
        "client_key",
        "certificate",
        "view_change",
        "new_view",
        "impostor",
        "not_for_replicas",
    ];

    /// Position of this variant in [`Invalid::KINDS`].
    #[must_use]
    pub const fn kind(&self) -> usize {
        match self {
            Self::NotInCommittee(_) => 0,
            Self::Signature => 1,
            Self::NotPrimary { .. } => 2,
            Self::Batch(_) => 3,
            Self::Request(_) => 4,
            Self::ClientKey(_) => 5,
            Self::Certificate(_) => 6,
            Self::ViewChange(_) => 7,
            Self::NewView(_) => 8,
            Self::NotTheSender { .. } => 9,
            Self::NotForReplicas => 10,
        }
    }
}

/// Clients' keys and requests remembered at most, each.
const MEMORY: usize = 16_384;

/// Two generations of what was seen; the older one goes when the newer is full.
#[derive(Debug, Default)]
struct Recent {
    young: BTreeSet<Digest>,
    old: BTreeSet<Digest>,
}

impl Recent {
    fn contains(&self, digest: &Digest) -> bool {
        self.young.contains(digest) || self.old.contains(digest)
    }
    fn insert(&mut self, digest: Digest) {
        if self.young.len() >= MEMORY {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(digest);
    }
}

/// How much a verifier has checked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Checks {
    /// Signatures, each alone or as a member of a batch.
    pub signatures: u64,
    /// Equations: one for a batch, however large, and one for a signature alone.
    pub equations: u64,
}

/// Who finds out whether claims hold: the batch verifier, or, around it, a simulator that remembers its answers for
/// all its replicas. Asked once for everything that waits.
pub trait Checker: std::fmt::Debug + Send {
    /// Places of the claims that [`verify`](crate::crypto::verify) refuses, ascending.
    fn find_invalid(&mut self, claims: &[Claim]) -> Vec<usize>;

    /// Whether all of them hold; where none may fail nobody needs to know which did.
    fn verify_all(&mut self, claims: &[Claim]) -> bool {
        self.find_invalid(claims).is_empty()
    }

    /// How many equations were computed so far, a batch being one.
    fn checks(&self) -> u64;
}

impl Checker for BatchVerifier {
    fn find_invalid(&mut self, claims: &[Claim]) -> Vec<usize> {
        Self::find_invalid(self, claims)
    }

    fn verify_all(&mut self, claims: &[Claim]) -> bool {
        Self::verify_all(self, claims)
    }

    fn checks(&self) -> u64 {
        Self::checks(self)
    }
}

/// Checks what comes in. Each verifier thread has its own.
#[derive(Debug)]
pub struct Verifier {
    context: Context,
    null: Digest,
    checker: Box<dyn Checker>,
    keys: BTreeMap<PublicKey, VerifyingKey>,
    recent: Recent,
    known: Known,
    signatures: u64,
}

/// One message's place among the claims of a batch.
struct Pending {
    claims: Range<usize>,
    outcome: Result<Checked, Invalid>,
}

/// A message whose shape is right; its signatures are not checked yet.
enum Checked {
    Message(Incoming),
    WithBody { message: PrePrepare, body: Option<Arc<Body>> },
    Body { seq: Seq, body: Arc<Body> },
}

impl Verifier {
    /// A verifier for one cluster. `secret` is 32 random bytes that nobody else knows; they weigh the members of a
    /// batch.
    #[must_use]
    pub fn new(context: Context, secret: [u8; 32]) -> Self {
        Self::asking(context, Box::new(BatchVerifier::new(secret)))
    }

    /// A verifier for one cluster that asks `checker` whether signatures are good.
    #[must_use]
    pub fn asking(context: Context, checker: Box<dyn Checker>) -> Self {
        let null = null_digest(context.cluster);
        let known = Known::new(&context);
        Self {
            context,
            null,
            checker,
            keys: BTreeMap::new(),
            recent: Recent::default(),
            known,
            signatures: 0,
        }
    }

    /// What was checked so far.
    #[must_use]
    pub fn checks(&self) -> Checks {
        Checks { signatures: self.signatures, equations: self.checker.checks() }
    }

    /// Checks everything about every message; in order.
    pub fn verify(&mut self, incoming: Vec<Incoming>) -> Vec<Result<Event, Invalid>> {
        let mut claims = Vec::with_capacity(incoming.len());
        let mut names = Vec::with_capacity(incoming.len());
        let mut pending = Vec::with_capacity(incoming.len());
        for message in incoming {
            let start = claims.len();
            let outcome = self.check(message, &mut Claims { claims: &mut claims, names: &mut names });
            if outcome.is_err() {
                claims.truncate(start);
                names.truncate(start);
            }
            pending.push(Pending { claims: start..claims.len(), outcome });
        }
        self.signatures += claims.len() as u64;
        let bad: BTreeSet<usize> = self.checker.find_invalid(&claims).into_iter().collect();
        for (_, name) in names.into_iter().enumerate().filter(|(index, _)| !bad.contains(index)) {
            match name {
                Name::Nothing => {}
                Name::Request(name) => self.recent.insert(name),
                Name::Vote(vote) => self.known.insert(vote),
            }
        }
        pending
            .into_iter()
            .map(|item| {
                let checked = item.outcome?;
                if bad.range(item.claims).next().is_some() {
                    Err(Invalid::Signature)
                } else {
                    Ok(vouch(checked))
                }
            })
            .collect()
    }

    fn check(&mut self, incoming: Incoming, claims: &mut Claims<'_>) -> Result<Checked, Invalid> {
        match &incoming {
            Incoming::Client(request) => self.check_request(request, claims)?,
            Incoming::Peer { from, message } => match message {
                PeerMessage::PrePrepare(_) | PeerMessage::Body { .. } => {
                    return self.check_batch_message(incoming, claims);
                }
                PeerMessage::Prepare(vote) => self.check_statement(vote, claims)?,
                PeerMessage::Commit(vote) => self.check_statement(vote, claims)?,
                PeerMessage::Checkpoint(vote) => self.check_statement(vote, claims)?,
                PeerMessage::ViewChange(message) => self.check_view_change(message)?,
                PeerMessage::NewView(message) => self.check_new_view(message, claims)?,
                PeerMessage::CommitCertificate(certificate) => self.check_certificate(certificate, claims)?,
                PeerMessage::StableCertificate(certificate) => self.check_certificate(certificate, claims)?,
                PeerMessage::Forward(request) => self.check_request(request, claims)?,
                PeerMessage::Transfer(_) => return Err(Invalid::NotForReplicas),
                PeerMessage::Testimony(sworn) => {
                    for sworn in sworn.iter() {
                        let claim = accusation::sworn(sworn, &self.context);
                        let stranger = |_| Invalid::NotInCommittee(sworn.signer());
                        claims.push(claim.map_err(stranger)?, Name::Nothing);
                    }
                }
                PeerMessage::Status(status) => {
                    if status.epoch != self.context.epoch {
                        return Err(Invalid::NotInCommittee(*from));
                    }
                }
                PeerMessage::FetchBody { .. } | PeerMessage::FetchViewChange { .. } => {}
            },
        }
        Ok(Checked::Message(incoming))
    }

    /// Messages that carry a batch give it up here, so that it is hashed once and shared from then on.
    fn check_batch_message(
        &mut self,
        incoming: Incoming,
        claims: &mut Claims<'_>,
    ) -> Result<Checked, Invalid> {
        let Incoming::Peer { message, .. } = incoming else { unreachable!("only replicas send batches") };
        match message {
            PeerMessage::PrePrepare(PrePrepare { prepare, batch }) => {
                if prepare.signer != self.context.committee.primary(prepare.view) {
                    return Err(Invalid::NotPrimary { signer: prepare.signer, view: prepare.view });
                }
                self.check_statement(&prepare, claims)?;
                let body = batch.map(|batch| Body::new(batch, self.context.cluster));
                // A body that is not what the proposal names says nothing about the proposal: it is fetched elsewhere.
                let body = match body {
                    Some(body) if mutant::is(Mutant::M14) => {
                        Some(Arc::new(Body { digest: prepare.digest, batch: body.batch.clone() }))
                    }
                    body => body.filter(|body| body.digest == prepare.digest && body.digest != self.null),
                };
                if let Some(body) = &body {
                    self.check_batch(&body.batch, claims)?;
                }
                Ok(Checked::WithBody { message: PrePrepare { prepare, batch: None }, body })
            }
            PeerMessage::Body { seq, batch } => {
                self.check_batch(&batch, claims)?;
                Ok(Checked::Body { seq, body: Body::new(batch, self.context.cluster) })
            }
            _ => unreachable!("only proposals and bodies carry a batch"),
        }
    }

    fn check_batch(&mut self, batch: &Batch, claims: &mut Claims<'_>) -> Result<(), Invalid> {
        let parameters = self.context.parameters.clone();
        if batch.requests.len() as u64 > parameters.batch_requests_max {
            return Err(Invalid::Batch("more requests than the cluster allows"));
        }
        let bytes: u64 = batch.requests.iter().map(|request| request.bytes() as u64).sum();
        if bytes > parameters.batch_bytes_max {
            return Err(Invalid::Batch("more bytes than the cluster allows"));
        }
        batch.requests.iter().try_for_each(|request| self.check_request(request, claims))
    }

    fn check_request(&mut self, request: &Request, claims: &mut Claims<'_>) -> Result<(), Invalid> {
        let parameters = &self.context.parameters;
        let operation_max = usize::try_from(parameters.operation_bytes_max).unwrap_or(usize::MAX);
        request.check(parameters.client_window, operation_max).map_err(Invalid::Request)?;
        if request.bytes() as u64 > parameters.batch_bytes_max {
            return Err(Invalid::Request("it is larger than a batch may be"));
        }
        let message = request.signing_bytes(self.context.cluster);
        let name = name_of(&request.key(), &message, &request.signature());
        if self.recent.contains(&name) {
            return Ok(());
        }
        let key = self.client_key(request.key())?;
        claims.push(Claim { key, message, signature: request.signature() }, Name::Request(name));
        Ok(())
    }

    fn client_key(&mut self, key: PublicKey) -> Result<VerifyingKey, Invalid> {
        if let Some(known) = self.keys.get(&key) {
            return Ok(*known);
        }
        let checked = VerifyingKey::lenient(key).map_err(Invalid::ClientKey)?;
        if self.keys.len() >= MEMORY {
            self.keys.clear();
        }
        self.keys.insert(key, checked);
        Ok(checked)
    }

    fn claim<S: Statement>(
        &self,
        body: &S,
        signer: ReplicaId,
        signature: Signature,
    ) -> Result<Claim, Invalid> {
        let key = *self.context.committee.key(signer).ok_or(Invalid::NotInCommittee(signer))?;
        let message = signing_bytes(body, self.context.cluster, self.context.epoch, signer);
        Ok(Claim { key, message, signature })
    }

    fn check_statement<S: Statement>(
        &self,
        signed: &Signed<S>,
        claims: &mut Claims<'_>,
    ) -> Result<(), Invalid> {
        claims.push(self.claim(&signed.body, signed.signer, signed.signature)?, Name::Nothing);
        Ok(())
    }

    /// Exactly q distinct signers, ascending: a certificate with anything invalid or surplus is refused whole.
    fn check_shape<S: Statement>(&self, certificate: &Certificate<S>) -> Result<(), Invalid> {
        let (count, quorum) = (certificate.signatures.len(), self.context.committee.quorum());
        let enough = mutant::is(Mutant::M2) || (mutant::is(Mutant::M4) && count + 1 == quorum);
        if count != quorum && !enough {
            return Err(Invalid::Certificate("not exactly a quorum of signatures"));
        }
        let distinct = certificate.signatures.is_sorted_by(|(one, _), (other, _)| one < other);
        if !distinct && !mutant::is(Mutant::M35) {
            return Err(Invalid::Certificate("its signers are not ascending and distinct"));
        }
        match certificate.signatures.last() {
            Some((last, _)) if self.context.committee.key(*last).is_none() => {
                Err(Invalid::NotInCommittee(*last))
            }
            _ => Ok(()),
        }
    }

    fn check_certificate<S: Statement>(
        &self,
        certificate: &Certificate<S>,
        claims: &mut Claims<'_>,
    ) -> Result<(), Invalid> {
        self.check_shape(certificate)?;
        let statement = Known::name(&certificate.statement, &self.context);
        let known = self.known.of(&statement);
        for (signer, signature) in certificate.signatures.iter().copied() {
            if !known.contain(signer, &signature) {
                let claim = self.claim(&certificate.statement, signer, signature)?;
                claims.push(claim, Name::Vote(Vote { statement, signer, signature }));
            }
        }
        Ok(())
    }
}

/// Under what a claim is remembered once it holds.
enum Name {
    /// It is not: votes come once.
    Nothing,
    /// A client's request, by [`name_of`].
    Request(Digest),
    /// A vote under a certificate.
    Vote(Vote),
}

/// Claims of one batch, and the names under which they are remembered once they hold.
struct Claims<'a> {
    claims: &'a mut Vec<Claim>,
    names: &'a mut Vec<Name>,
}

impl Claims<'_> {
    fn push(&mut self, claim: Claim, name: Name) {
        self.claims.push(claim);
        self.names.push(name);
    }
}

/// What a claim is remembered by: key, message and signature, so never by a client's name and number.
fn name_of(key: &PublicKey, message: &Message, signature: &Signature) -> Digest {
    let mut hasher = Hasher::new(HashTag::Verified);
    hasher.update(&key.0).update(&signature.0).update(message.as_ref());
    hasher.finish()
}

fn vouch(checked: Checked) -> Event {
    match checked {
        Checked::WithBody { message, body } => {
            Event::PrePrepare { prepare: Verified::vouch(message.prepare), body: body.map(Verified::vouch) }
        }
        Checked::Body { seq, body } => Event::Body { seq, body: Verified::vouch(body) },
        Checked::Message(Incoming::Client(request)) => {
            Event::Requests { requests: vec![Verified::vouch(request)], forwarded_by: None }
        }
        Checked::Message(Incoming::Peer { from, message }) => match message {
            PeerMessage::Prepare(vote) => Event::Prepare(Verified::vouch(vote)),
            PeerMessage::Commit(vote) => Event::Commit(Verified::vouch(vote)),
            PeerMessage::Checkpoint(vote) => Event::Checkpoint(Verified::vouch(vote)),
            PeerMessage::ViewChange(message) => Event::ViewChange(Verified::vouch(message)),
            PeerMessage::NewView(message) => Event::NewView(Verified::vouch(message)),
            PeerMessage::CommitCertificate(certificate) => {
                Event::CommitCertificate(Verified::vouch(certificate))
            }
            PeerMessage::StableCertificate(certificate) => {
                Event::StableCertificate(Verified::vouch(certificate))
            }
            PeerMessage::Status(status) => Event::Status { from, status },
            PeerMessage::FetchBody { seq, digest } => Event::FetchBody { from, seq, digest },
            PeerMessage::FetchViewChange { view, signer, digest } => {
                Event::FetchViewChange { from, view, signer, digest }
            }
            PeerMessage::Forward(request) => {
                Event::Requests { requests: vec![Verified::vouch(request)], forwarded_by: Some(from) }
            }
            PeerMessage::Testimony(sworn) => Event::Testimony(Verified::vouch(sworn)),
            PeerMessage::PrePrepare(_) | PeerMessage::Body { .. } | PeerMessage::Transfer(_) => {
                unreachable!("batches were given up, and parts of a state are refused")
            }
        },
    }
}
