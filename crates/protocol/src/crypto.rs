//! Hashes, keys and signatures: the only file that knows sha2 and dalek.
//!
//! One rule decides whether a signature is valid, on every path: the cofactored one of ZIP-215. It accepts iff A and R
//! decompress, `s < l`, and `[8](sB - R - kA) = 0` with `k = SHA-512(R || A || M)`. The libraries' own `verify`,
//! `verify_strict` and `verify_batch` are three other rules, and they disagree about signatures anybody can make, so
//! none of them is called here: replicas that disagree about a signature disagree about certificates. Multiplying by
//! the cofactor removes whatever torsion is in A or R, which is why a batch, a random linear combination of the same
//! equations, cannot judge differently from a single check.
//!
//! The rule accepts several signatures, even several encodings of a key, for one statement. Signature bytes are
//! therefore never an identity.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use curve25519_dalek::constants::ED25519_BASEPOINT_POINT;
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::{IsIdentity, VartimeMultiscalarMul};
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{self, DecodePrivateKey, EncodePrivateKey, KeypairBytes};
use ed25519_dalek::{Signer, SigningKey};
use sha2::{Digest as _, Sha256, Sha512};
use zeroize::Zeroizing;

use crate::codec::{Decode, Encode, EncodeError, Writer};
use crate::mutant::{self, Mutant};

mod hex;
#[cfg(test)]
mod tests;

pub use hex::HexError;
use hex::write_hex;

/// 32-byte SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Digest(pub [u8; 32]);

impl Ord for Digest {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}

impl PartialOrd for Digest {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The order of the bytes. Hashes and keys nearly always differ in the first eight, which are compared as one number:
/// every request is looked up in a dozen trees.
fn compare(one: &[u8; 32], other: &[u8; 32]) -> Ordering {
    let head = |[a, b, c, d, e, f, g, h, ..]: [u8; 32]| u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    head(*one).cmp(&head(*other)).then_with(|| one.cmp(other))
}

impl Digest {
    /// All zeros: the digest of nothing, since no preimage of it is known.
    pub const ZERO: Self = Self([0; 32]);
}

/// What a hash is for: its first byte, so that no value has a meaning in two places.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashTag {
    /// A cluster's identity.
    Cluster = 1,
    /// A client's identity, of its public key.
    Client,
    /// A client's session.
    Session,
    /// One operation.
    Operation,
    /// All operations of a request.
    Operations,
    /// A request.
    Request,
    /// A batch, of the complete signed requests.
    Batch,
    /// The batch that stands for none.
    NullBatch,
    /// The history of executed batches.
    History,
    /// An application's state.
    State,
    /// The table of sessions.
    Sessions,
    /// A stored VIEW-CHANGE.
    ViewChange,
    /// A stored NEW-VIEW.
    NewView,
    /// A chunk of a snapshot: a leaf of its tree.
    Chunk,
    /// A node of the tree of a snapshot's chunks.
    ChunkNode,
    /// An epoch's configuration.
    Config,
    /// A snapshot as a whole.
    Snapshot,
    /// An entry of a cache of things already verified.
    Verified,
    /// The seed of something pseudorandom.
    Seed,
    /// The coefficients of a batch of signature equations.
    Coefficients,
    /// A page of a state: some of its entries.
    Page,
}

/// SHA-256 of a tag and what follows it. Lengths are the caller's: whatever varies in length goes in behind it.
#[derive(Clone)]
pub struct Hasher(Sha256);

impl Hasher {
    /// A hash for one purpose.
    #[must_use]
    pub fn new(tag: HashTag) -> Self {
        Self(Sha256::new_with_prefix([tag as u8]))
    }

    /// Appends bytes.
    pub fn update(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(bytes);
        self
    }

    /// Appends a number in eight bytes, little-endian.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.update(&value.to_le_bytes())
    }

    /// The digest of all that was appended.
    #[must_use]
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

impl Writer for Hasher {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.update(bytes);
        Ok(())
    }
}

/// Root of the binary tree over `leaves`, which are digests under a tag of their own: a node is
/// `H(node || left || right)`, an odd one out rises unchanged, the root of none is [`Digest::ZERO`].
///
/// The caller binds the number of leaves (signs or hashes it next to the root): only with it does the root determine
/// the tree's shape, and a root alone may be that of a shorter list of inner nodes.
#[must_use]
pub fn merkle_root(node: HashTag, leaves: &[Digest]) -> Digest {
    if let [leaf] = leaves {
        return *leaf;
    }
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        let parents = level.chunks(2).map(|pair| match pair {
            [left, right] => parent(node, left, right),
            _ => pair[0],
        });
        level = parents.collect();
    }
    level.first().copied().unwrap_or(Digest::ZERO)
}

fn parent(node: HashTag, left: &Digest, right: &Digest) -> Digest {
    let mut hasher = Hasher::new(node);
    hasher.update(&left.0).update(&right.0);
    hasher.finish()
}

/// An Ed25519 public key as it travels: not checked for anything.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub struct PublicKey(pub [u8; 32]);

impl Ord for PublicKey {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}

impl PartialOrd for PublicKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// An Ed25519 signature as it travels. Not an identity: one statement has many.
#[derive(Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Signature(pub [u8; 64]);

/// Why a key was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The bytes are no point of the curve.
    #[error("not a point of the curve")]
    NotAPoint,
    /// The point has small order: one signature would pass for any message.
    #[error("a weak key, for which signatures need no secret")]
    Weak,
    /// The text is no Ed25519 secret key.
    #[error("not an Ed25519 secret key in PKCS#8 PEM")]
    Pem(#[source] pkcs8::Error),
}

/// An Ed25519 secret key. Zeroized when dropped, printed by nothing, copied by nothing.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The key that RFC 8032 derives from 32 secret bytes.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs a message, deterministically (RFC 8032).
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message).to_bytes())
    }

    /// PKCS#8 version 1 in PEM, without the public key, which OpenSSL 3.0 does not read.
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        let bytes = Zeroizing::new(self.0.to_bytes());
        let pair = KeypairBytes { secret_key: *bytes, public_key: None };
        pair.to_pkcs8_pem(LineEnding::LF).expect("32 bytes have a PEM encoding")
    }

    /// Reads PKCS#8 PEM, version 1 or 2.
    ///
    /// # Errors
    /// [`KeyError::Pem`] if it is anything else, or its public key is that of another secret.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        SigningKey::from_pkcs8_pem(pem).map(Self).map_err(KeyError::Pem)
    }

    /// PKCS#8 version 2 in DER, with the public key: the form that every TLS library takes.
    #[must_use]
    pub fn to_pkcs8_der(&self) -> Zeroizing<Vec<u8>> {
        self.0.to_pkcs8_der().expect("a key pair has a DER encoding").to_bytes()
    }

    /// A secret for another use, one per `purpose`: the first half of `SHA-512("QUORATE1 subkey" || seed || purpose)`.
    ///
    /// The label keeps it apart from SHA-512(seed), in which Ed25519 finds its scalar; half of the output leaves
    /// nothing to extend.
    #[must_use]
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        let mut hash = Sha512::new_with_prefix(b"QUORATE1 subkey");
        hash.update(self.0.as_bytes());
        hash.update(purpose);
        *hash.finalize().first_chunk().expect("SHA-512 has 64 bytes")
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "secret key of {:?}", self.public())
    }
}

/// A public key that is a point, kept decompressed.
#[derive(Clone, Copy)]
pub struct VerifyingKey {
    public: PublicKey,
    point: EdwardsPoint,
}

impl VerifyingKey {
    /// For keys that a configuration names: refuses those of small order.
    ///
    /// # Errors
    /// [`KeyError::NotAPoint`] or [`KeyError::Weak`].
    pub fn new(public: PublicKey) -> Result<Self, KeyError> {
        let key = Self::lenient(public)?;
        if key.point.is_small_order() { Err(KeyError::Weak) } else { Ok(key) }
    }

    /// For keys that come with a signature: exactly those ZIP-215 admits, whatever their order or encoding.
    ///
    /// # Errors
    /// [`KeyError::NotAPoint`].
    pub fn lenient(public: PublicKey) -> Result<Self, KeyError> {
        let point = CompressedEdwardsY(public.0).decompress().ok_or(KeyError::NotAPoint)?;
        Ok(Self { public, point })
    }

    /// The key as it travels.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.public
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.public.fmt(f)
    }
}

impl PartialEq for VerifyingKey {
    fn eq(&self, other: &Self) -> bool {
        self.public == other.public
    }
}

impl Eq for VerifyingKey {}

/// Longest message that is signed, in bytes: statements are short, what is long enters them as a digest.
pub const MESSAGE_BYTES_MAX: usize = 192;

/// The bytes under a signature, inline.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    length: usize,
    bytes: [u8; MESSAGE_BYTES_MAX],
}

impl Message {
    /// The empty message.
    #[must_use]
    pub fn new() -> Self {
        Self { length: 0, bytes: [0; MESSAGE_BYTES_MAX] }
    }

    /// Appends bytes.
    ///
    /// # Panics
    /// If the message grows beyond [`MESSAGE_BYTES_MAX`]: what is signed has a fixed width, known to the caller.
    pub fn extend(&mut self, bytes: &[u8]) -> &mut Self {
        self.write(bytes).expect("what is signed fits a message");
        self
    }
}

impl Default for Message {
    fn default() -> Self {
        Self::new()
    }
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(self.as_ref(), f)
    }
}

impl Writer for Message {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        let end = self.length + bytes.len();
        let Some(room) = self.bytes.get_mut(self.length..end) else {
            return Err(EncodeError::Other("longer than a signed message may be"));
        };
        room.copy_from_slice(bytes);
        self.length = end;
        Ok(())
    }
}

/// One equation to check: who, over what, with which signature.
#[derive(Debug, Clone)]
pub struct Claim {
    /// Who is said to have signed.
    pub key: VerifyingKey,
    /// What is said to be signed.
    pub message: Message,
    /// The signature under test.
    pub signature: Signature,
}

/// Whether the signature is valid: the one criterion, cofactored (ZIP-215).
#[must_use]
pub fn verify(claim: &Claim) -> bool {
    Equation::of(0, claim).is_some_and(|equation| equation.holds())
}

/// `[8](sB - R - kA) = 0`, its point and scalars decoded.
struct Equation<'a> {
    /// Where the claim stands among those to check.
    place: usize,
    key: &'a VerifyingKey,
    r: EdwardsPoint,
    s: Scalar,
    k: Scalar,
}

impl<'a> Equation<'a> {
    /// None if R is no point or s is not reduced; then the signature is invalid.
    fn of(place: usize, claim: &'a Claim) -> Option<Self> {
        let (r_bytes, s_bytes) = claim.signature.0.split_first_chunk::<32>()?;
        let s = Option::from(Scalar::from_canonical_bytes(*s_bytes.first_chunk()?))?;
        let r = CompressedEdwardsY(*r_bytes).decompress()?;
        // The key's bytes as they came: a key with two encodings is two keys to the hash (ZIP-215).
        let hash = Sha512::new_with_prefix(r_bytes)
            .chain_update(claim.key.public.0)
            .chain_update(claim.message.as_ref());
        let k = Scalar::from_bytes_mod_order_wide(&hash.finalize().into());
        Some(Self { place, key: &claim.key, r, s, k })
    }

    fn holds(&self) -> bool {
        let rest =
            EdwardsPoint::vartime_double_scalar_mul_basepoint(&-self.k, &self.key.point, &self.s) - self.r;
        rest.mul_by_cofactor().is_identity()
    }
}

/// Most equations in one batch: a larger one saves nothing per signature, and costs more to search.
///
/// Microseconds per signature, from distinct keys and from 4 keys (AMD EPYC with AVX-512 IFMA, one core, every batch
/// of other bytes): alone 17.5; 2 together 14.8, 14.7; 3 12.5, 12.5; 8 9.8, 8.5; 16 9.1, 7.0; 32 8.7, 6.4; 64 8.5,
/// 5.9; 128 7.2, 5.8; 256 6.8, 5.3; 512 6.5, 5.0. A benchmark that repeats one batch sees a dip at 16, which is only
/// the branch predictor learning that batch by heart.
const BATCH_MAX: usize = 512;

/// A bad batch is divided in this many parts; one of no more members than that is checked one by one.
///
/// Microseconds per signature in batches of 512, of which 1, one in 30, one in 3, all are bad: in halves 13.8, 35.7,
/// 60.5, 65.8; in quarters 11.8, 24.8, 41.5, 46.7; in eighths 12.2, 21.0, 31.6, 31.1.
const PARTS: usize = 8;

/// Checks many equations as one: their sum with secret random coefficients, times eight, is zero iff (up to 2^-120)
/// each of them holds.
///
/// It refuses nothing by the sum alone: whatever [`Self::find_invalid`] names has failed [`verify`].
pub struct BatchVerifier {
    secret: [u8; 32],
    checks: u64,
}

impl BatchVerifier {
    /// `secret` is random and known to nobody else, so no writer of signatures can predict the coefficients.
    #[must_use]
    pub fn new(secret: [u8; 32]) -> Self {
        Self { secret, checks: 0 }
    }

    /// Whether [`verify`] accepts each of the claims; true of none.
    #[must_use]
    pub fn verify_all(&mut self, claims: &[Claim]) -> bool {
        pieces(claims).all(|(start, piece)| {
            let equations = piece.iter().enumerate().map(|(i, claim)| Equation::of(start + i, claim));
            equations.collect::<Option<Vec<_>>>().is_some_and(|equations| self.all_hold(&equations))
        })
    }

    /// Places of the claims that [`verify`] refuses, ascending. One batch if there are none, for up to 512 claims.
    #[must_use]
    pub fn find_invalid(&mut self, claims: &[Claim]) -> Vec<usize> {
        let mut invalid = Vec::new();
        for (start, piece) in pieces(claims) {
            let mut equations = Vec::with_capacity(piece.len());
            for (place, claim) in (start..).zip(piece) {
                match Equation::of(place, claim) {
                    Some(equation) => equations.push(equation),
                    None => invalid.push(place),
                }
            }
            self.search(&equations, &mut invalid);
        }
        invalid.sort_unstable();
        invalid
    }

    /// How many equations were computed so far, a batch being one: what the checking cost, not how much it checked.
    #[must_use]
    pub fn checks(&self) -> u64 {
        self.checks
    }

    fn search(&mut self, equations: &[Equation<'_>], invalid: &mut Vec<usize>) {
        if self.all_hold(equations) {
            return;
        }
        if let [culprit] = equations {
            invalid.push(culprit.place);
            return;
        }
        let part = if equations.len() <= PARTS { 1 } else { equations.len().div_ceil(PARTS) };
        for part in equations.chunks(part) {
            self.search(part, invalid);
        }
    }

    /// `[8](sum z_i s_i B - sum z_i R_i - sum (z_i k_i) A_i) = 0`, the terms of one key taken together.
    fn all_hold(&mut self, equations: &[Equation<'_>]) -> bool {
        match equations {
            [] => return true,
            [_, ..] => self.checks += 1,
        }
        if let [only] = equations
            && !mutant::is(Mutant::M15)
        {
            return only.holds();
        }
        let coefficients = self.coefficients(equations);
        let mut base = Scalar::ZERO;
        let mut keys: BTreeMap<PublicKey, (Scalar, EdwardsPoint)> = BTreeMap::new();
        for (equation, z) in equations.iter().zip(&coefficients) {
            base -= z * equation.s;
            keys.entry(equation.key.public).or_insert((Scalar::ZERO, equation.key.point)).0 += z * equation.k;
        }
        let mut scalars = coefficients;
        let mut points: Vec<_> = equations.iter().map(|equation| equation.r).collect();
        scalars.push(base);
        points.push(ED25519_BASEPOINT_POINT);
        scalars.extend(keys.values().map(|(scalar, _)| scalar));
        points.extend(keys.values().map(|(_, point)| point));
        let sum = EdwardsPoint::vartime_multiscalar_mul(&scalars, &points);
        if mutant::is(Mutant::M15) { sum.is_identity() } else { sum.mul_by_cofactor().is_identity() }
    }

    /// 128 bits for each equation, from the secret and all of the equations: k is a hash of R, A and the message.
    fn coefficients(&self, equations: &[Equation<'_>]) -> Vec<Scalar> {
        let mut seed = Hasher::new(HashTag::Coefficients);
        seed.update(&self.secret);
        for equation in equations {
            seed.update(equation.k.as_bytes()).update(equation.s.as_bytes());
        }
        let seed = seed.finish();
        let mut coefficients = Vec::with_capacity(2 * equations.len() + 2);
        for block in (0..).take(equations.len().div_ceil(2)) {
            let mut hasher = Hasher::new(HashTag::Coefficients);
            hasher.update(&seed.0).u64(block);
            let block = hasher.finish().0;
            coefficients.extend(
                block.as_chunks::<16>().0.iter().map(|half| Scalar::from(u128::from_le_bytes(*half))),
            );
        }
        coefficients.truncate(equations.len());
        coefficients
    }
}

impl fmt::Debug for BatchVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "batch verifier, {} equations checked", self.checks)
    }
}

/// The claims in pieces of about equal size, at most [`BATCH_MAX`], each with the place of its first.
fn pieces(claims: &[Claim]) -> impl Iterator<Item = (usize, &[Claim])> {
    let size = claims.len().div_ceil(claims.len().div_ceil(BATCH_MAX).max(1)).max(1);
    claims.chunks(size).enumerate().map(move |(i, piece)| (i * size, piece))
}
