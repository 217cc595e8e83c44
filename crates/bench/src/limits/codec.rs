//! SHA-256 and the codec, on what replicas hash and send most.

use std::hint::black_box;
use std::sync::Arc;

use quorate_protocol::codec::{self, Frames, List};
use quorate_protocol::crypto::{HashTag, Hasher, SecretKey};
use quorate_protocol::message::{PeerMessage, PrePrepare, Prepare};
use quorate_protocol::request::{Batch, Draft, Kind, Nondet, Request};
use quorate_protocol::signed::{Signed, Signer};
use quorate_protocol::types::{ClusterId, Digest, Epoch, Number, ReplicaId, Seq, Session, View};
use serde::{Deserialize, Serialize};

use super::Effort;
use super::timing::{Spread, rounds_us};

/// Requests of the PRE-PREPARE.
const REQUESTS: u64 = 64;
/// Bytes of the operation in each of its requests.
const OPERATION_BYTES: usize = 128;

/// Microseconds of one core per hash.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hashing {
    /// SHA-256 of 64 bytes.
    pub sha256_64_b_us: Spread,
    /// SHA-256 of 512 bytes.
    pub sha256_512_b_us: Spread,
    /// SHA-256 of 1024 bytes.
    pub sha256_1024_b_us: Spread,
}

/// Microseconds of one core per message. Decoding a request computes the digests of its operations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Encoding {
    /// Bytes of a PREPARE on the wire.
    pub prepare_bytes: usize,
    /// To encode a PREPARE.
    pub encode_prepare_us: Spread,
    /// To decode a PREPARE.
    pub decode_prepare_us: Spread,
    /// Bytes of a PRE-PREPARE with 64 requests of one 128-byte operation.
    pub pre_prepare_64_bytes: usize,
    /// To encode it.
    pub encode_pre_prepare_64_us: Spread,
    /// To decode it.
    pub decode_pre_prepare_64_us: Spread,
}

pub(super) fn measure_hashing(effort: Effort) -> Hashing {
    let count = effort.choose(20_000, 500);
    let hash = |length: usize| {
        let mut bytes = vec![0xa5; length];
        rounds_us(effort, count, || {
            for _ in 0..count {
                let mut hasher = Hasher::new(HashTag::Operation);
                hasher.update(black_box(&bytes));
                // Each hash goes into the next one's input, so none can be skipped or run ahead.
                bytes[..32].copy_from_slice(&hasher.finish().0);
            }
        })
    };
    Hashing { sha256_64_b_us: hash(64), sha256_512_b_us: hash(512), sha256_1024_b_us: hash(1024) }
}

pub(super) fn measure_encoding(effort: Effort) -> Encoding {
    let prepare = signed_prepare(ClusterId(Digest([9; 32])));
    let vote = PeerMessage::Prepare(prepare.clone());
    let proposal = PeerMessage::PrePrepare(pre_prepare(prepare));
    let (prepare_bytes, encode_prepare_us, decode_prepare_us) =
        measure_message(&vote, effort, effort.choose(20_000, 500));
    let (pre_prepare_64_bytes, encode_pre_prepare_64_us, decode_pre_prepare_64_us) =
        measure_message(&proposal, effort, effort.choose(1_000, 20));
    Encoding {
        prepare_bytes,
        encode_prepare_us,
        decode_prepare_us,
        pre_prepare_64_bytes,
        encode_pre_prepare_64_us,
        decode_pre_prepare_64_us,
    }
}

/// The message's length, what it takes to encode it, and what to decode it.
fn measure_message(message: &PeerMessage, effort: Effort, count: usize) -> (usize, Spread, Spread) {
    let encode = |message| codec::encode(message).expect("the message is shorter than a frame may be");
    let bytes = encode(message);
    let encoding = rounds_us(effort, count, || {
        for _ in 0..count {
            black_box(encode(black_box(message)));
        }
    });
    let decoding = rounds_us(effort, count, || {
        for _ in 0..count {
            let decoded: PeerMessage = codec::decode(black_box(&bytes)).expect("it was encoded just now");
            black_box(decoded);
        }
    });
    (bytes.len(), encoding, decoding)
}

fn signed_prepare(cluster: ClusterId) -> Signed<Prepare> {
    let signer = Signer::new(Arc::new(SecretKey::from_seed(&[1; 32])), cluster, Epoch(0), ReplicaId(0));
    signer.sign(Prepare { view: View(3), seq: Seq(1000), digest: Digest([5; 32]) }).into_inner()
}

fn pre_prepare(prepare: Signed<Prepare>) -> PrePrepare {
    let key = SecretKey::from_seed(&[2; 32]);
    let request = |number: u64| {
        let mut operation = [0x77; OPERATION_BYTES];
        operation[..8].copy_from_slice(&number.to_le_bytes());
        let draft = Draft {
            session: Session(1),
            first: Number(number),
            ack: Number(1),
            kind: Kind::Operations,
            operations: Frames::new(std::iter::once(&operation[..])),
        };
        Arc::new(Request::sign(&key, ClusterId(Digest([9; 32])), draft))
    };
    let requests = List((1..=REQUESTS).map(request).collect());
    PrePrepare { prepare, batch: Some(Batch { nondet: Nondet::default(), requests }) }
}
