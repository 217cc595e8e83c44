//! Everything that turns bytes into something, and what must be so whatever the bytes are: it does not panic, takes no
//! more memory than the bytes justify, and accepts one byte string for each value only.
//!
//! The fuzz targets feed these with what an engine makes up, and a test of the house with the corpus.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use quorate_host::accusations::Exhibit;
use quorate_host::border::Border;
use quorate_host::decoders as files;
use quorate_node::cluster_file::{ClusterFile, Preset};
use quorate_protocol::accusation::Accusation;
use quorate_protocol::certificate::Certificate;
use quorate_protocol::codec::{self, Decode, Encode};
use quorate_protocol::committee::Committee;
use quorate_protocol::crypto::{Claim, SecretKey};
use quorate_protocol::map::{Chunk, Page};
use quorate_protocol::message::{
    Checkpoint, ClientFrame, ClientMessage, Commit, Hello, NewView, PeerMessage, Prepare, Replies, Summary,
    ViewChange,
};
use quorate_protocol::parameters::{Context, Parameters};
use quorate_protocol::replica::Replica;
use quorate_protocol::request::{Batch, Request};
use quorate_protocol::signed::Signed;
use quorate_protocol::types::{ClusterId, Digest, Epoch, ReplicaId, Time};
use quorate_protocol::verify::{Checker, Incoming, Verifier};

mod folder;

/// Runs something that may hold so many bytes more than before while it runs, and no more if anything measures it.
pub type Meter = fn(usize, &mut dyn FnMut());

/// One kind of bytes.
#[derive(Debug, Clone, Copy)]
pub struct Decoder {
    /// The target's name, and its corpus's.
    pub name: &'static str,
    /// Decodes, and panics if something is not as it must be. Says whether the bytes were accepted.
    pub feed: fn(&[u8], Meter) -> bool,
}

/// All of them.
pub const DECODERS: &[Decoder] = &[
    Decoder { name: "peer_message", feed: peer_message },
    Decoder { name: "client_message", feed: client_message },
    Decoder { name: "request", feed: request },
    Decoder { name: "certificate", feed: certificate },
    Decoder { name: "journal", feed: journal },
    Decoder { name: "superblock", feed: superblock },
    Decoder { name: "snapshot", feed: snapshot },
    Decoder { name: "divergence", feed: divergence },
    Decoder { name: "evidence", feed: evidence },
    Decoder { name: "folder", feed: folder::feed },
    Decoder { name: "cluster_file", feed: cluster_file },
];

/// What decoding so many bytes may hold at most: four times as much, and something for the first allocations.
const fn bound(bytes: usize) -> usize {
    4 * bytes + 4096
}

/// The value of these bytes, if they are accepted; then they are the only ones that are.
fn wire<T: Decode<()> + Encode>(bytes: &[u8], meter: Meter) -> Option<T> {
    let mut decoded = None;
    meter(bound(bytes.len()), &mut || decoded = codec::decode::<T>(bytes).ok());
    let value = decoded?;
    let again = codec::encode(&value).expect("what came in a frame fits into one");
    assert_eq!(again, bytes, "two byte strings mean the same");
    assert_eq!(codec::encoded_len(&value), bytes.len());
    Some(value)
}

/// The same of one of several types, by the first byte.
fn one_of(bytes: &[u8], meter: Meter, decoders: &[fn(&[u8], Meter) -> bool]) -> bool {
    let Some((which, bytes)) = bytes.split_first() else { return false };
    decoders.get(usize::from(*which)).is_some_and(|decode| decode(bytes, meter))
}

/// Bytes of a file of our own that are understood as something that is written as the same bytes.
fn own(bytes: &[u8], meter: Meter, again: fn(&[u8]) -> Option<Vec<u8>>) -> bool {
    let mut found = None;
    // What was understood is written again in there, into a buffer that may have grown to twice its bytes.
    meter(bound(bytes.len()) + 2 * bytes.len(), &mut || found = again(bytes));
    if let Some(found) = &found {
        assert_eq!(found, bytes, "two byte strings mean the same");
    }
    found.is_some()
}

/// Four replicas; made once, for keys take a while.
static CONTEXT: LazyLock<Context> = LazyLock::new(|| {
    let keys: Vec<_> = (1..=4).map(|seed| SecretKey::from_seed(&[seed; 32]).public()).collect();
    Context {
        cluster: ClusterId(Digest([7; 32])),
        epoch: Epoch(0),
        committee: Arc::new(Committee::new(&keys, false).expect("four keys are a committee")),
        parameters: Arc::new(Parameters::default()),
    }
});

/// Finds every signature wrong: what a verifier does before it asks is what is looked at here.
#[derive(Debug)]
struct Doubt;

impl Checker for Doubt {
    fn find_invalid(&mut self, claims: &[Claim]) -> Vec<usize> {
        (0..claims.len()).collect()
    }

    fn checks(&self) -> u64 {
        0
    }
}

/// What replicas tell each other: decoded, sorted by the border, and looked at by the verifier.
fn peer_message(bytes: &[u8], meter: Meter) -> bool {
    let Some(message) = wire::<PeerMessage>(bytes, meter) else { return false };
    let replica = Replica::new(CONTEXT.clone(), ReplicaId(0));
    let mut border = Border::default();
    // A vote in another's name is refused; either way it is no more than that.
    drop(border.peer_frame(Time(1), ReplicaId(1), bytes, &replica));
    drop(border.take(&replica, true));
    if !matches!(message, PeerMessage::Transfer(_)) {
        let mut verifier = Verifier::asking(CONTEXT.clone(), Box::new(Doubt));
        drop(verifier.verify(vec![Incoming::Peer { from: ReplicaId(1), message }]));
    }
    true
}

/// What replicas tell clients, and what both ends of a link say first.
fn client_message(bytes: &[u8], meter: Meter) -> bool {
    let decoders: [fn(&[u8], Meter) -> bool; 2] = [
        |bytes, meter| wire::<ClientMessage>(bytes, meter).is_some_and(|message| answers(&message)),
        |bytes, meter| wire::<Hello>(bytes, meter).is_some(),
    ];
    one_of(bytes, meter, &decoders)
}

/// Looks at all answers in a message of a replica: each run has as many as it says, and they say the same however they are
/// looked at and cut.
fn answers(message: &ClientMessage) -> bool {
    let ClientMessage::Replies { replies, .. } = message else { return true };
    for run in replies.runs() {
        let alone: Vec<_> = run.replies().collect();
        assert_eq!((alone.len(), run.operations().count()), (run.count(), run.count()));
        assert!(alone.iter().all(|reply| (run.first()..run.end()).contains(&reply.number)));
        assert!(run.outcomes().eq(alone.iter().map(|reply| (reply.number, reply.outcome.clone()))));
        let bytes: usize = alone.iter().map(|reply| reply.outcome.bytes()).sum();
        assert_eq!(run.result_bytes(), bytes as u64);
        assert_eq!(run.is_all_results(), alone.iter().all(|reply| reply.outcome.is_result()));
        assert!(Replies::of(&alone).iter().eq(alone));
    }
    true
}

/// What clients ask, alone, in a batch, and as it comes over their connections.
fn request(bytes: &[u8], meter: Meter) -> bool {
    let decoders: [fn(&[u8], Meter) -> bool; 3] = [
        |bytes, meter| wire::<Request>(bytes, meter).is_some_and(|request| looked_at(&request)),
        |bytes, meter| {
            let batch = wire::<Batch>(bytes, meter);
            batch.is_some_and(|batch| batch.requests.iter().all(|request| looked_at(request)))
        },
        |bytes, meter| match wire::<ClientFrame>(bytes, meter) {
            Some(ClientFrame::Request(request)) => looked_at(&request),
            Some(ClientFrame::Query(_)) => true,
            None => false,
        },
    ];
    one_of(bytes, meter, &decoders)
}

/// Whatever a request holds can be looked at.
fn looked_at(request: &Request) -> bool {
    let limits = Parameters::default();
    let most = usize::try_from(limits.operation_bytes_max).expect("it is far below 4 GiB");
    if request.check(limits.client_window, most).is_ok() {
        assert_eq!(request.operations().count(), request.len());
        assert!(request.first() <= request.last());
    }
    let _ = request.registration();
    drop(request.signing_bytes(ClusterId(Digest([7; 32]))));
    true
}

/// Certificates, and statements with their signature.
fn certificate(bytes: &[u8], meter: Meter) -> bool {
    let decoders: [fn(&[u8], Meter) -> bool; 8] = [
        |bytes, meter| wire::<Certificate<Prepare>>(bytes, meter).is_some(),
        |bytes, meter| wire::<Certificate<Commit>>(bytes, meter).is_some(),
        |bytes, meter| wire::<Certificate<Checkpoint>>(bytes, meter).is_some(),
        |bytes, meter| wire::<Signed<Prepare>>(bytes, meter).is_some(),
        |bytes, meter| wire::<Signed<Commit>>(bytes, meter).is_some(),
        |bytes, meter| wire::<Signed<Checkpoint>>(bytes, meter).is_some(),
        |bytes, meter| wire::<Signed<ViewChange>>(bytes, meter).is_some(),
        |bytes, meter| wire::<Signed<NewView>>(bytes, meter).is_some(),
    ];
    one_of(bytes, meter, &decoders)
}

/// Records of the journal.
fn journal(bytes: &[u8], meter: Meter) -> bool {
    own(bytes, meter, files::journal_record)
}

/// Copies of the superblock, of both versions.
fn superblock(bytes: &[u8], meter: Meter) -> bool {
    let decoders: [fn(&[u8], Meter) -> bool; 2] = [
        |bytes, meter| own(bytes, meter, files::superblock),
        |bytes, _| files::first_superblock(bytes).is_some(),
    ];
    one_of(bytes, meter, &decoders)
}

/// What names and holds a state.
fn snapshot(bytes: &[u8], meter: Meter) -> bool {
    let decoders: [fn(&[u8], Meter) -> bool; 5] = [
        |bytes, meter| own(bytes, meter, files::manifest),
        |bytes, meter| own(bytes, meter, files::chunk_list),
        |bytes, meter| wire::<Summary>(bytes, meter).is_some(),
        chunk,
        |bytes, _| Page::from_bytes(bytes).is_ok_and(|page| page.bytes() == bytes),
    ];
    one_of(bytes, meter, &decoders)
}

/// A chunk as it travels.
fn chunk(bytes: &[u8], meter: Meter) -> bool {
    let mut decoded = None;
    meter(bound(bytes.len()), &mut || decoded = Chunk::decode(bytes).ok());
    let Some(chunk) = decoded else { return false };
    assert_eq!(chunk.encode(), bytes, "two byte strings mean the same");
    assert_eq!(Chunk::digest_of_wire(bytes), Ok(chunk.digest()));
    assert_eq!(Chunk::digests_of_wire(bytes), Ok(chunk.page_digests()));
    true
}

/// Entries of the file that says why a state was wrong.
fn divergence(bytes: &[u8], meter: Meter) -> bool {
    own(bytes, meter, files::divergence)
}

/// Files that prove that a replica lied.
fn evidence(bytes: &[u8], meter: Meter) -> bool {
    let Some((cluster, epoch, accusation)) = wire::<(ClusterId, Epoch, Accusation)>(bytes, meter) else {
        return false;
    };
    let exhibit = Exhibit { cluster, epoch, accusation };
    let file = exhibit.encode().expect("what came in a frame fits into one");
    assert_eq!(Exhibit::decode(&file), Ok(exhibit.clone()));
    assert!(file.len() > bytes.len() && Exhibit::decode(&file[..file.len() - 1]).is_err());
    if exhibit.check(&CONTEXT).is_ok() {
        assert_eq!(exhibit.accusation.check_shape(), Ok(()));
        assert!(usize::from(exhibit.accusation.culprit().0) < CONTEXT.committee.size());
    }
    exhibit.accusation.statements().iter().all(|statement| !statement.is_empty())
}

/// What operators write. It takes what a TOML parser takes.
fn cluster_file(bytes: &[u8], _: Meter) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let path = Path::new("cluster.toml");
    match Preset::parse(text, path) {
        Ok(preset) => assert!(!format!("{preset:?}").is_empty()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    match ClusterFile::parse(text, path) {
        Ok(file) => {
            let text = file.to_toml();
            let again = ClusterFile::parse(&text, path).expect("what was written is read");
            assert_eq!(again.to_toml(), text);
            true
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}
