//! What the fuzz targets begin with: small, and of every kind there is. Replayed here, so that what a fuzzer once found
//! stays found where no fuzzer runs.
//!
//! `QUORATE_REWRITE=1 cargo test corpus` writes `fuzz/corpus` again from the messages below. Files that it did not
//! write stay: they are what a fuzzer found.
#![allow(clippy::unwrap_used)]

// The fuzz targets see it from another crate.
#[allow(unreachable_pub)]
#[path = "../fuzz/src/decoders.rs"]
pub(crate) mod decoders;
pub(crate) mod seeds;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Once;
use std::{fs, panic};

use quorate_protocol::accusation::Accusation;
use quorate_protocol::codec::{self, CodecError, Decode, Encode};
use quorate_protocol::message::{
    BusyReason, ClientFrame, ClientMessage, Found, Outcome, PeerMessage, Sworn, Transfer, Unanswered,
};
use quorate_protocol::request::{Kind, Request};
use quorate_protocol::standing::{Exclusion, Standing};

use decoders::DECODERS;

/// Of the whole corpus, so that a clone stays small.
const BYTES_MAX: usize = 256 << 10;

fn folder(decoder: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "fuzz", "corpus", decoder].iter().collect()
}

fn rewrite() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if std::env::var_os("QUORATE_REWRITE").is_none() {
            return;
        }
        for (decoder, name, bytes) in seeds::all() {
            fs::create_dir_all(folder(decoder)).unwrap();
            fs::write(folder(decoder).join(name), bytes).unwrap();
        }
    });
}

/// Every file of a decoder's corpus, by name.
fn corpus(decoder: &str) -> BTreeMap<String, Vec<u8>> {
    rewrite();
    let files = fs::read_dir(folder(decoder)).unwrap_or_else(|why| panic!("no corpus of {decoder}: {why}"));
    let file = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.unwrap().path();
        (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap())
    };
    files.map(file).collect()
}

/// What of a decoder's corpus is accepted; all of it, if it was not made to be refused.
fn accepted(decoder: &str) -> Vec<Vec<u8>> {
    let decoder = DECODERS.iter().find(|known| known.name == decoder).unwrap();
    let files = corpus(decoder.name).into_iter();
    files.filter(|(_, bytes)| (decoder.feed)(bytes, |_, run| run())).map(|(_, bytes)| bytes).collect()
}

#[test]
fn the_corpus_breaks_nothing_and_is_small() {
    let mut bytes = 0;
    for decoder in DECODERS {
        for (name, input) in corpus(decoder.name) {
            bytes += input.len();
            let fed = panic::catch_unwind(|| (decoder.feed)(&input, |_, run| run()));
            let fed = fed.unwrap_or_else(|_| panic!("fuzz/corpus/{}/{name} breaks it", decoder.name));
            let was_found = name.starts_with("found-");
            assert!(fed || was_found, "fuzz/corpus/{}/{name} is not accepted any more", decoder.name);
        }
    }
    assert!(bytes <= BYTES_MAX, "{bytes} bytes");
}

#[test]
fn what_the_corpus_is_made_of_is_what_is_in_it() {
    for (decoder, name, bytes) in seeds::all() {
        if seeds::is_random(decoder) {
            continue;
        }
        assert!(corpus(decoder).get(&name) == Some(&bytes), "fuzz/corpus/{decoder}/{name} is another");
    }
}

/// How many kinds a message has: tags from 0 on that are not refused for their own sake.
fn kinds<T: Decode<()> + Encode>() -> BTreeSet<u32> {
    let known = |tag: &u32| {
        let unknown = CodecError::Malformed("unknown message kind");
        codec::decode::<T>(&tag.to_le_bytes()).err() != Some(unknown)
    };
    (0..).take_while(known).collect()
}

/// The tag of an encoded enum.
fn tag<T: Encode>(value: &T) -> u32 {
    u32::from_le_bytes(codec::encode(value).unwrap()[..4].try_into().unwrap())
}

#[test]
fn the_corpus_has_every_kind_of_message_between_replicas() {
    let messages: Vec<PeerMessage> =
        accepted("peer_message").iter().map(|bytes| codec::decode(bytes).unwrap()).collect();
    assert_eq!(messages.iter().map(tag).collect::<BTreeSet<_>>(), kinds::<PeerMessage>());
    let transfers = messages.iter().filter_map(|message| match message {
        PeerMessage::Transfer(transfer) => Some(tag(transfer)),
        _ => None,
    });
    assert_eq!(transfers.collect::<BTreeSet<_>>(), kinds::<Transfer>());
    assert!(kinds::<PeerMessage>().len() > 10, "the tags were counted");
    let sworn = messages.iter().filter_map(|message| match message {
        PeerMessage::Testimony(sworn) => Some(sworn.iter().map(tag)),
        _ => None,
    });
    assert_eq!(sworn.flatten().collect::<BTreeSet<_>>(), kinds::<Sworn>());
}

#[test]
fn the_corpus_has_every_kind_of_message_to_and_from_clients() {
    let (mut tags, mut outcomes, mut reasons) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let (mut found, mut unanswered) = (BTreeSet::new(), BTreeSet::new());
    let inputs = accepted("client_message");
    assert_eq!(selectors(&inputs), BTreeSet::from([0, 1]), "one that is a hello, and others");
    for bytes in inputs.iter().filter(|bytes| bytes[0] == 0) {
        let message: ClientMessage = codec::decode(&bytes[1..]).unwrap();
        tags.insert(tag(&message));
        match message {
            ClientMessage::Replies { replies, .. } => {
                outcomes.extend(replies.iter().map(|reply| tag(&reply.outcome)));
            }
            ClientMessage::Busy { reason, .. } => {
                reasons.insert(tag(&reason));
            }
            ClientMessage::Query { reply, .. } => {
                found.insert(tag(&reply.found));
                unanswered.extend(if let Found::Nothing(why) = &reply.found { Some(tag(why)) } else { None });
            }
        }
    }
    assert_eq!((found, unanswered), (kinds::<Found>(), kinds::<Unanswered>()));
    assert_eq!(tags, kinds::<ClientMessage>());
    assert_eq!(outcomes, kinds::<Outcome>());
    assert_eq!(reasons, kinds::<BusyReason>());
    let requests = accepted("request");
    assert_eq!(selectors(&requests), BTreeSet::from([0, 1, 2]), "batches, frames, and requests alone");
    let frames = requests.iter().filter(|bytes| bytes[0] == 2);
    let sent = frames.map(|bytes| tag(&codec::decode::<ClientFrame>(&bytes[1..]).unwrap()));
    assert_eq!(sent.collect::<BTreeSet<_>>(), kinds::<ClientFrame>());
    let alone = requests.iter().filter(|bytes| bytes[0] == 0);
    let asked = alone.map(|bytes| tag(&codec::decode::<Request>(&bytes[1..]).unwrap().kind()));
    assert_eq!(asked.collect::<BTreeSet<_>>(), kinds::<Kind>());
}

/// First bytes.
fn selectors(inputs: &[Vec<u8>]) -> BTreeSet<u8> {
    inputs.iter().map(|bytes| bytes[0]).collect()
}

#[test]
fn the_corpus_has_everything_that_is_kept_on_a_disk() {
    assert_eq!(selectors(&accepted("certificate")), (0..8).collect());
    let records = accepted("journal");
    assert_eq!(selectors(&records), (1..=6).collect(), "every kind of record");
    assert!(records.iter().any(|record| record[1] == 1), "one with what was signed");
    assert_eq!(selectors(&accepted("superblock")), (0..2).collect());
    assert_eq!(selectors(&accepted("snapshot")), (0..5).collect());
    assert_eq!(selectors(&accepted("divergence")), (1..=9).collect(), "every kind of entry");
    assert!(accepted("folder").len() >= corpus("folder").len() - found("folder"));
    assert!(!accepted("cluster_file").is_empty());
    let proofs = seeds::accusations();
    assert_eq!(proofs.iter().map(tag).collect::<BTreeSet<_>>(), kinds::<Accusation>());
    assert_eq!(accepted("evidence").len(), proofs.len());

    let standings = seeds::standings();
    assert_eq!(standings.iter().map(tag).collect::<BTreeSet<_>>(), kinds::<Standing>());
    let excluded = standings.iter().filter_map(|standing| match standing {
        Standing::Out(why) => Some(tag(why)),
        Standing::Normal | Standing::Diverged { .. } => None,
    });
    assert_eq!(excluded.collect::<BTreeSet<_>>(), kinds::<Exclusion>());
}

fn found(decoder: &str) -> usize {
    corpus(decoder).keys().filter(|name| name.starts_with("found-")).count()
}

#[test]
fn every_decoder_has_a_target_and_a_corpus_and_there_are_no_others() {
    let known: BTreeSet<String> = DECODERS.iter().map(|decoder| decoder.name.to_owned()).collect();
    let names = |folder: &str| -> BTreeSet<String> {
        let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "fuzz", folder].iter().collect();
        let stem = |entry: fs::DirEntry| entry.path().file_stem().unwrap().to_string_lossy().into_owned();
        fs::read_dir(path).unwrap().map(|entry| stem(entry.unwrap())).collect()
    };
    rewrite();
    assert_eq!(names("targets"), known);
    assert_eq!(names("corpus"), known);
    let manifest = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/Cargo.toml")).unwrap();
    assert!(known.iter().all(|name| manifest.contains(&format!("name = \"{name}\""))), "in fuzz/Cargo.toml");
}
