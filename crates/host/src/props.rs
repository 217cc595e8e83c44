//! What tests of several rooms stand on: a committee of four, and requests of a client.

use std::sync::Arc;

use quorate_protocol::codec::Frames;
use quorate_protocol::committee::Committee;
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::parameters::{Context, Parameters};
use quorate_protocol::request::{Draft, Kind, Request};
use quorate_protocol::signed::Signer;
use quorate_protocol::types::{ClusterId, Digest, Epoch, Number, ReplicaId, Session};

pub(crate) const CLUSTER: ClusterId = ClusterId(Digest([9; 32]));

/// A cluster of four, and who signs for each of them.
pub(crate) fn four() -> (Context, Vec<Signer>) {
    let keys: Vec<_> = (1..=4).map(|seed| Arc::new(SecretKey::from_seed(&[seed; 32]))).collect();
    let public: Vec<_> = keys.iter().map(|key| key.public()).collect();
    let (cluster, epoch) = (CLUSTER, Epoch(0));
    let committee = Arc::new(Committee::new(&public, false).expect("distinct keys are a committee"));
    let context = Context { cluster, epoch, committee, parameters: Arc::new(Parameters::default()) };
    let signers = (0..).map(ReplicaId).zip(keys).map(|(id, key)| Signer::new(key, cluster, epoch, id));
    (context, signers.collect())
}

/// A client's request of so many operations of eight bytes, from this number on.
pub(crate) fn request(number: u64, operations: usize) -> Arc<Request> {
    let draft = Draft {
        session: Session(7),
        first: Number(number),
        ack: Number(1),
        kind: Kind::Operations,
        operations: Frames::new(std::iter::repeat_n(&[1_u8; 8][..], operations)),
    };
    Arc::new(Request::sign(&SecretKey::from_seed(&[3; 32]), CLUSTER, draft))
}
