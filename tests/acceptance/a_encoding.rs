//! A2, A3, A5: one byte string for each value, one meaning for each signature, one digest for each batch.

use std::collections::BTreeSet;
use std::panic;

use quorate_protocol::codec::{Frames, List};
use quorate_protocol::crypto::{Claim, Message, SecretKey, VerifyingKey, verify};
use quorate_protocol::message::{Checkpoint, Commit, NewView, Prepare, ViewChange};
use quorate_protocol::request::{Batch, Draft, Kind, Nondet, Request, null_digest};
use quorate_protocol::signed::{CLIENT_SIGNER, Statement, Tag, begin};
use quorate_protocol::types::{
    ClusterId, Digest, Epoch, Number, ReplicaId, Seq, Session, Signature, Time, View,
};
use std::sync::Arc;

use crate::corpus::decoders::DECODERS;
use crate::corpus::seeds;

// Of every message there is: each byte changed in four ways, cut at each byte, and with a byte too many. What is accepted
// is encoded again and compared by the decoder's own check. Changes in several places are the fuzz targets'.
#[test]
fn a2_whatever_is_accepted_is_the_only_encoding_of_what_it_means() {
    let (mut accepted, mut refused) = (0_u64, 0_u64);
    let mut feed = |decoder: &str, name: &str, bytes: &[u8]| {
        let decoder = DECODERS.iter().find(|known| known.name == decoder).unwrap();
        let fed = panic::catch_unwind(|| (decoder.feed)(bytes, |_, run| run()));
        let fed = fed.unwrap_or_else(|_| panic!("{} {name}: {bytes:?}", decoder.name));
        *(if fed { &mut accepted } else { &mut refused }) += 1;
        fed
    };
    // What operators write has many spellings, and a folder is no value.
    let wire = seeds::all().into_iter().filter(|(decoder, ..)| !["cluster_file", "folder"].contains(decoder));
    for (decoder, name, bytes) in wire {
        assert!(feed(decoder, &name, &bytes), "{decoder} {name} is one itself");
        for at in 0..bytes.len() {
            for changed in [bytes[at] ^ 1, bytes[at] ^ 0x80, 0, 0xff] {
                let mut other = bytes.clone();
                other[at] = changed;
                feed(decoder, &name, &other);
            }
            // Chunks, pages and records of the journal are lists without a length: they may end sooner.
            let cut = feed(decoder, &name, &bytes[..at]);
            assert!(
                !cut || ["snapshot", "journal"].contains(&decoder),
                "{decoder} {name} is accepted without its end"
            );
        }
        let longer = feed(decoder, &name, &[bytes.as_slice(), &[0]].concat());
        assert!(!longer, "{decoder} {name} is accepted with a byte too many");
    }
    println!("{accepted} byte strings accepted, {refused} refused");
    assert!(accepted > 10_000 && refused > 10_000);
}

const TAGS: [Tag; 6] =
    [Tag::Request, Tag::Prepare, Tag::Commit, Tag::Checkpoint, Tag::ViewChange, Tag::NewView];

/// Where a statement says that it belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Label {
    tag: u8,
    cluster: ClusterId,
    epoch: Epoch,
    signer: ReplicaId,
}

/// Every label that differs from this one in one thing or in several.
fn labels() -> Vec<Label> {
    let mut labels = Vec::new();
    for tag in TAGS.map(|tag| tag as u8) {
        for cluster in [7, 8].map(|byte| ClusterId(Digest([byte; 32]))) {
            for epoch in [0, 1, 2].map(Epoch) {
                for signer in [ReplicaId(0), ReplicaId(1), ReplicaId(2), ReplicaId(3), CLIENT_SIGNER] {
                    labels.push(Label { tag, cluster, epoch, signer });
                }
            }
        }
    }
    labels
}

fn tag_of(number: u8) -> Tag {
    TAGS.into_iter().find(|tag| *tag as u8 == number).unwrap()
}

/// What a statement's signature covers, under any label.
fn covered<S: Statement>(statement: &S, label: Label) -> Message {
    let mut message = begin(tag_of(label.tag), label.cluster, label.epoch, label.signer);
    statement.cover(&mut message);
    message
}

fn key_of(signer: ReplicaId) -> SecretKey {
    SecretKey::from_seed(&[u8::try_from(signer.0 % 100).unwrap() + 1; 32])
}

/// A statement signed under its own label passes under no other, whoever is said to have signed it.
fn holds_under_its_label_only<S: Statement>(statement: &S) -> usize {
    let (cluster, epoch, signer) = (ClusterId(Digest([7; 32])), Epoch(1), ReplicaId(1));
    let own = Label { tag: S::TAG as u8, cluster, epoch, signer };
    let signature: Signature = key_of(signer).sign(covered(statement, own).as_ref());
    let passes = |label: Label, key: ReplicaId| {
        let key = VerifyingKey::new(key_of(key).public()).unwrap();
        verify(&Claim { key, message: covered(statement, label), signature })
    };
    assert!(passes(own, signer), "{statement:?}");
    let mut refused = 0;
    for label in labels() {
        for key in [signer, label.signer] {
            let is_own = label == own && key == signer;
            assert_eq!(passes(label, key), is_own, "{statement:?} as {label:?} with the key of {key}");
            refused += usize::from(!is_own);
        }
    }
    refused
}

#[test]
fn a3_no_statement_passes_for_another_kind_epoch_cluster_or_signer() {
    let (view, seq, digest) = (View(1), Seq(2), Digest([3; 32]));
    let prepare = Prepare { view, seq, digest };
    let refused = [
        holds_under_its_label_only(&prepare),
        holds_under_its_label_only(&Commit { view, seq, digest }),
        holds_under_its_label_only(&Checkpoint { seq, root: digest, epoch_end: Seq::MAX }),
        holds_under_its_label_only(&ViewChange { view, stable: None, prepared: List(Vec::new()) }),
        holds_under_its_label_only(&NewView { view, view_changes: List(vec![(ReplicaId(0), digest)]) }),
    ];
    assert_eq!(refused, [2 * labels().len() - 2; 5], "all of them were tried");
    // What clients sign belongs to a cluster, and to no replica.
    let request = request(&[b"one"]);
    let key = VerifyingKey::lenient(request.key()).unwrap();
    let claim =
        |cluster| Claim { key, message: request.signing_bytes(cluster), signature: request.signature() };
    assert!(verify(&claim(ClusterId(Digest([7; 32])))) && !verify(&claim(ClusterId(Digest([8; 32])))));
}

fn request(operations: &[&[u8]]) -> Request {
    let operations = Frames::new(operations.iter().copied());
    let (session, first, ack, kind) = (Session(3), Number(1), Number(1), Kind::Operations);
    let draft = Draft { session, first, ack, kind, operations };
    Request::sign(&SecretKey::from_seed(&[9; 32]), ClusterId(Digest([7; 32])), draft)
}

/// All ways to cut something into pieces that are not empty.
fn cuts<T: Clone>(whole: &[T]) -> Vec<Vec<Vec<T>>> {
    let gaps = whole.len() - 1;
    let cut = |which: usize| {
        let mut pieces = vec![Vec::new()];
        for (at, part) in whole.iter().enumerate() {
            pieces.last_mut().unwrap().push(part.clone());
            if at < gaps && which >> at & 1 == 1 {
                pieces.push(Vec::new());
            }
        }
        pieces
    };
    (0..1 << gaps).map(cut).collect()
}

#[test]
fn a5_batches_that_are_cut_otherwise_have_other_digests() {
    let cluster = ClusterId(Digest([7; 32]));
    let mut digests = BTreeSet::from([null_digest(cluster)]);
    let mut structures = 1;
    let mut add = |requests: Vec<Request>, time: u64| {
        let requests = List(requests.into_iter().map(Arc::new).collect());
        digests.insert(Batch { nondet: Nondet { time: Time(time) }, requests }.digest(cluster));
        structures += 1;
    };
    add(Vec::new(), 0);
    add(Vec::new(), 1);
    // The same six bytes as one operation to six, in one request to six; and with operations of nothing between them.
    for operations in cuts(b"abcdef") {
        let operations: Vec<&[u8]> = operations.iter().map(Vec::as_slice).collect();
        for requests in cuts(&operations) {
            add(requests.iter().map(|operations| request(operations)).collect(), 0);
        }
    }
    for at in 0..=2 {
        let mut operations: Vec<&[u8]> = vec![b"abc", b"def"];
        operations.insert(at, b"");
        add(vec![request(&operations)], 0);
    }
    // The time in the place of the first bytes of a request, and the other way round.
    add(vec![request(&[b"abcdef"])], 1);
    assert_eq!((structures, digests.len()), (1 + 2 + 243 + 3 + 1, structures));
}
