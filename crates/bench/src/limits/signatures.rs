//! Ed25519 through the code that replicas run: one signature, one check, and checks in batches.
//!
//! No batch is ever checked twice. One that is repeated is learnt by heart by the branch predictor and looks a third
//! cheaper than any that a replica will meet.

use std::hint::black_box;

use quorate_protocol::crypto::{BatchVerifier, Claim, Message, SecretKey, VerifyingKey, verify};
use quorate_protocol::message::Prepare;
use quorate_protocol::signed::signing_bytes;
use quorate_protocol::types::{ClusterId, Digest, Epoch, ReplicaId, Seq, View};
use serde::{Deserialize, Serialize};

use super::Effort;
use super::timing::{Spread, each_us};

/// Sizes of the batches, in the order of [`Costs`].
const BATCHES: [usize; 4] = [8, 16, 64, 256];
/// How far the claims are shifted between rounds; prime to every batch size, so that all batches are new ones.
const SHIFT: usize = 3;

/// Microseconds of one core per signature. The messages are PREPAREs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signatures {
    /// To sign.
    pub sign_us: Spread,
    /// To check one by itself.
    pub verify_us: Spread,
    /// To check one in a batch of 8, each by another key.
    pub verify_batch_8_us: Spread,
    /// To check one in a batch of 16, each by another key.
    pub verify_batch_16_us: Spread,
    /// To check one in a batch of 64, each by another key.
    pub verify_batch_64_us: Spread,
    /// To check one in a batch of 256, each by another key.
    pub verify_batch_256_us: Spread,
    /// To check one in a batch of 8 by 16 keys in turn.
    pub verify_batch_8_of_16_keys_us: Spread,
    /// To check one in a batch of 16 by 16 keys in turn.
    pub verify_batch_16_of_16_keys_us: Spread,
    /// To check one in a batch of 64 by 16 keys in turn.
    pub verify_batch_64_of_16_keys_us: Spread,
    /// To check one in a batch of 256 by 16 keys in turn.
    pub verify_batch_256_of_16_keys_us: Spread,
}

/// Valid claims, and what it takes to make more.
struct Supply {
    keys: Vec<(SecretKey, VerifyingKey)>,
    claims: Vec<Claim>,
}

/// What the rounds found for each size of a batch.
#[derive(Default)]
struct Costs([Vec<f64>; BATCHES.len()]);

impl Supply {
    fn new(keys: usize, claims: usize) -> Self {
        let key = |number: u64| {
            let mut seed = [0x51; 32];
            seed[..8].copy_from_slice(&number.to_le_bytes());
            let secret = SecretKey::from_seed(&seed);
            let public = VerifyingKey::new(secret.public()).expect("a derived key is a point of full order");
            (secret, public)
        };
        let keys: Vec<_> = (0..keys as u64).map(key).collect();
        let claim = |((secret, public), number): (&(SecretKey, VerifyingKey), u64)| {
            let message = statement(number);
            Claim { key: *public, signature: secret.sign(message.as_ref()), message }
        };
        let claims = keys.iter().cycle().zip(0..claims as u64).map(claim).collect();
        Self { keys, claims }
    }

    /// Microseconds per signature, each claim in one batch of this size.
    fn batch_us(&self, size: usize, verifier: &mut BatchVerifier) -> f64 {
        each_us(self.claims.len(), || {
            for batch in self.claims.chunks(size) {
                assert!(verifier.verify_all(black_box(batch)), "the claims were signed with their keys");
            }
        })
    }

    fn batches(&mut self, costs: &mut Costs, verifier: &mut BatchVerifier) {
        for (size, found) in BATCHES.iter().zip(&mut costs.0) {
            self.claims.rotate_left(SHIFT);
            found.push(self.batch_us(*size, verifier));
        }
    }
}

/// What a replica signs when it votes in slot `number`.
fn statement(number: u64) -> Message {
    let mut digest = [0x5a; 32];
    digest[..8].copy_from_slice(&number.to_be_bytes());
    let vote = Prepare { view: View(3), seq: Seq(number), digest: Digest(digest) };
    signing_bytes(&vote, ClusterId(Digest([9; 32])), Epoch(0), ReplicaId(1))
}

/// Measures all of it, round by round, so that a slow moment of the machine meets every size.
pub(super) fn measure(effort: Effort) -> Signatures {
    let count = effort.choose(1024, 256);
    let mut distinct = Supply::new(count, count);
    let mut shared = Supply::new(16, count);
    let mut verifier = BatchVerifier::new([0x3c; 32]);
    let (mut sign, mut single) = (Vec::new(), Vec::new());
    let (mut of_distinct, mut of_shared) = (Costs::default(), Costs::default());
    // Warms up what the rounds use.
    let _ = distinct.batch_us(64, &mut verifier);
    for _ in 0..effort.rounds() {
        sign.push(each_us(count, || {
            for ((secret, _), claim) in distinct.keys.iter().zip(&distinct.claims) {
                black_box(secret.sign(black_box(claim.message.as_ref())));
            }
        }));
        single.push(each_us(count, || {
            let valid = distinct.claims.iter().filter(|claim| verify(black_box(claim))).count();
            assert_eq!(valid, count, "the claims were signed with their keys");
        }));
        distinct.batches(&mut of_distinct, &mut verifier);
        shared.batches(&mut of_shared, &mut verifier);
    }
    let [b8, b16, b64, b256] = of_distinct.0.map(Spread::of);
    let [s8, s16, s64, s256] = of_shared.0.map(Spread::of);
    Signatures {
        sign_us: Spread::of(sign),
        verify_us: Spread::of(single),
        verify_batch_8_us: b8,
        verify_batch_16_us: b16,
        verify_batch_64_us: b64,
        verify_batch_256_us: b256,
        verify_batch_8_of_16_keys_us: s8,
        verify_batch_16_of_16_keys_us: s16,
        verify_batch_64_of_16_keys_us: s64,
        verify_batch_256_of_16_keys_us: s256,
    }
}
