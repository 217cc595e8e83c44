//! One of every kind: real messages, signed by who sends them, and pieces of a real folder.

use std::sync::Arc;

use quorate_node::cluster_file::{Addresses, Clients, ClusterFile, Draft};
use quorate_protocol::accusation::Accusation;
use quorate_protocol::certificate::Certificate;
use quorate_protocol::codec::{self, Blob, Encode, Frames, List};
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::map::{Chunk, Map};
use quorate_protocol::message::{
    Bits, BusyReason, Checkpoint, ClientFrame, ClientMessage, Commit, Found, Hello, NamedViewChange, NewView,
    Outcome, Part, PeerMessage, PrePrepare, Prepare, Query, QueryReply, Replies, Reply, Status, Summary,
    Sworn, Transfer, Unanswered, ViewChange,
};
use quorate_protocol::parameters::Parameters;
use quorate_protocol::process::Record;
use quorate_protocol::request::{Batch, Body, Draft as Asked, Kind, Nondet, Registration, Request};
use quorate_protocol::signed::{Signed, Signer, Statement};
use quorate_protocol::standing::{Divergence, Exclusion, Standing};
use quorate_protocol::types::{
    ClusterId, Digest, Epoch, Number, ReplicaId, Seq, Session, Signature, Time, View,
};

const CLUSTER: ClusterId = ClusterId(Digest([7; 32]));

/// Decoder, name, bytes.
type Seed = (&'static str, String, Vec<u8>);

/// All of them.
pub(crate) fn all() -> Vec<Seed> {
    let mut all = Vec::new();
    let mut add = |decoder, seeds: Vec<(String, Vec<u8>)>| {
        all.extend(seeds.into_iter().map(|(name, bytes)| (decoder, name, bytes)));
    };
    add("peer_message", peer_messages());
    add("client_message", client_messages());
    add("request", requests());
    add("certificate", certificates());
    add("journal", journal());
    add("superblock", superblock());
    add("snapshot", snapshot());
    add("divergence", divergence());
    add("evidence", evidence());
    add("folder", folder());
    add("cluster_file", cluster_file());
    all
}

/// Whether a decoder's seeds have fresh keys each time.
pub(crate) fn is_random(decoder: &str) -> bool {
    decoder == "cluster_file"
}

fn encoded<T: Encode>(value: &T) -> Vec<u8> {
    codec::encode(value).unwrap()
}

/// Behind a byte that says which decoder of several.
fn behind(which: u8, bytes: &[u8]) -> Vec<u8> {
    [&[which], bytes].concat()
}

fn signed<S: Statement>(id: u16, body: S) -> Signed<S> {
    let key = Arc::new(SecretKey::from_seed(&[u8::try_from(id).unwrap() + 1; 32]));
    Signer::new(key, CLUSTER, Epoch(0), ReplicaId(id)).sign(body).into_inner()
}

/// What replicas 0, 1 and 2 state.
fn certified<S: Statement + Copy>(statement: S) -> Certificate<S> {
    let signature = |id| (ReplicaId(id), signed(id, statement).signature);
    Certificate { statement, signatures: List((0..3).map(signature).collect()) }
}

fn request(kind: Kind) -> Arc<Request> {
    let key = SecretKey::from_seed(&[9; 32]);
    let registration = encoded(&Registration { nonce: 1, expires: Seq(8) });
    let (operations, first): (Vec<&[u8]>, u64) = match kind {
        Kind::Register => (vec![registration.as_slice()], 0),
        Kind::Operations | Kind::Fifo => (vec![b"one", b"", b"three"], 5),
    };
    let operations = Frames::new(operations.into_iter());
    let (first, ack) = (Number(first), Number(first.min(2)));
    Arc::new(Request::sign(&key, CLUSTER, Asked { session: Session(3), first, ack, kind, operations }))
}

fn batch() -> Batch {
    Batch { nondet: Nondet { time: Time(77) }, requests: List(vec![request(Kind::Operations)]) }
}

fn prepare() -> Prepare {
    Prepare { view: View(0), seq: Seq(9), digest: batch().digest(CLUSTER) }
}

fn commit() -> Commit {
    let Prepare { view, seq, digest } = prepare();
    Commit { view, seq, digest }
}

fn checkpoint() -> Checkpoint {
    Checkpoint { seq: Seq(8), root: Digest([4; 32]), epoch_end: Seq::MAX }
}

fn view_change() -> ViewChange {
    let prepared = List(vec![certified(prepare())]);
    ViewChange { view: View(1), stable: Some(certified(checkpoint())), prepared }
}

fn view_changes() -> Vec<Arc<NamedViewChange>> {
    (0..3).map(|id| Arc::new(signed(id, view_change()).into())).collect()
}

fn new_view() -> NewView {
    let named = view_changes().into_iter().map(|view_change| (view_change.signer, view_change.digest()));
    NewView { view: View(1), view_changes: List(named.collect()) }
}

fn map() -> Map {
    let mut map = Map::new();
    for key in 0..24_u8 {
        map.insert(&[key], &[key; 100]).unwrap();
    }
    map.seal();
    map
}

fn chunk() -> Arc<Chunk> {
    Arc::clone(&map().chunks()[0])
}

fn summary() -> Summary {
    let map = map();
    let part = Part { root: map.root(), chunks: 1, bytes: map.bytes() };
    let (config, history) = (Digest([5; 32]), Digest([6; 32]));
    Summary { seq: Seq(8), application: part, sessions: part, config, time: Time(77), history }
}

fn peer_messages() -> Vec<(String, Vec<u8>)> {
    let batch = Some(batch());
    let status = Status {
        epoch: Epoch(0),
        view: View(1),
        changing: true,
        low: Seq(8),
        executed: Seq(9),
        committed: Blob(vec![1].into()),
        prepared: Blob(vec![3].into()),
        bodies: Blob(vec![3].into()),
        view_changes: Blob(vec![7].into()),
        new_view: View(0),
        amnesia_high: Some(Seq(16)),
    };
    let digest = prepare().digest;
    let mut all = vec![
        ("pre-prepare", PeerMessage::PrePrepare(PrePrepare { prepare: signed(0, prepare()), batch })),
        ("prepare", PeerMessage::Prepare(signed(1, prepare()))),
        ("commit", PeerMessage::Commit(signed(1, commit()))),
        ("checkpoint", PeerMessage::Checkpoint(signed(1, checkpoint()))),
        ("view-change", PeerMessage::ViewChange(Arc::new(signed(1, view_change()).into()))),
        ("new-view", PeerMessage::NewView(signed(1, new_view()))),
        ("commit-certificate", PeerMessage::CommitCertificate(certified(commit()))),
        ("stable-certificate", PeerMessage::StableCertificate(certified(checkpoint()))),
        ("status", PeerMessage::Status(status)),
        ("fetch-body", PeerMessage::FetchBody { seq: Seq(9), digest }),
        ("body", PeerMessage::Body { seq: Seq(9), batch: self::batch() }),
        ("fetch-view-change", PeerMessage::FetchViewChange { view: View(1), signer: ReplicaId(2), digest }),
        ("forward", PeerMessage::Forward(request(Kind::Operations))),
        ("testimony", PeerMessage::Testimony(List(sworn()))),
    ];
    all.extend(transfers().into_iter().map(|(name, transfer)| (name, PeerMessage::Transfer(transfer))));
    all.into_iter().map(|(name, message)| (name.to_owned(), encoded(&message))).collect()
}

/// A statement of every kind, all of replica 1.
fn sworn() -> Vec<Sworn> {
    let left: NamedViewChange = signed(1, view_change()).into();
    vec![
        Sworn::Prepare(signed(1, prepare())),
        Sworn::Commit(signed(1, commit())),
        Sworn::Checkpoint(signed(1, checkpoint())),
        Sworn::ViewChange(left.short()),
        Sworn::NewView(signed(1, new_view()).short()),
    ]
}

/// A proof of either form against replica 1.
pub(crate) fn accusations() -> Vec<Accusation> {
    let other = Prepare { digest: Digest([1; 32]), ..prepare() };
    let withheld = ViewChange { prepared: List(Vec::new()), ..view_change() };
    vec![
        Accusation::Twice(Sworn::Prepare(signed(1, prepare())), Sworn::Prepare(signed(1, other))),
        Accusation::Withheld(signed(1, commit()), Arc::new(signed(1, withheld).into())),
    ]
}

fn evidence() -> Vec<(String, Vec<u8>)> {
    let named = ["twice", "withheld"].into_iter().zip(accusations());
    named.map(|(name, proof)| (name.to_owned(), encoded(&(CLUSTER, Epoch(0), proof)))).collect()
}

fn transfers() -> Vec<(&'static str, Transfer)> {
    let (seq, index, chunk) = (Seq(8), 0, chunk());
    let every_other = Bits::of((0..chunk.pages().len()).map(|page| page % 2 == 0));
    let (summary, chunks) = (Box::new(summary()), List(vec![chunk.digest(), chunk.digest()]));
    let (whole, some) = (chunk.encode(), chunk.encode_pages(|page| page == 0));
    vec![
        ("fetch-meta", Transfer::FetchMeta { seq }),
        ("meta", Transfer::Meta { summary, chunks }),
        ("fetch-chunk", Transfer::FetchChunk { seq, index }),
        ("chunk", Transfer::Chunk { seq, index, bytes: Blob(whole.into()) }),
        ("lacks", Transfer::Lacks { seq }),
        ("fetch-digests", Transfer::FetchDigests { seq, index }),
        ("digests", Transfer::Digests { seq, index, pages: List(chunk.page_digests()) }),
        ("fetch-pages", Transfer::FetchPages { seq, index, wanted: every_other }),
        ("pages", Transfer::Pages { seq, index, bytes: Blob(some.into()) }),
    ]
}

fn client_messages() -> Vec<(String, Vec<u8>)> {
    let outcomes = [
        Outcome::Done(Blob(b"answer".to_vec().into())),
        Outcome::NoSession,
        Outcome::Old,
        Outcome::Window,
        Outcome::Gap,
        Outcome::Expired,
        Outcome::Full,
        Outcome::Registered,
        Outcome::Rejected,
        Outcome::TooLarge,
    ];
    let (session, operation) = (Session(3), Digest([2; 32]));
    let reply =
        |(number, outcome)| Reply { seq: Seq(9), session, number: Number(number), operation, outcome };
    let run: Vec<Reply> = (1..).zip(outcomes).map(reply).collect();
    let apart: Vec<Reply> = run.iter().step_by(2).cloned().collect();
    let replies = |replies: &[Reply]| {
        let replies = Replies::of(replies);
        ClientMessage::Replies { epoch: Epoch(0), view: View(1), replies }
    };
    let mut all =
        vec![("replies", replies(&run)), ("replies-apart", replies(&apart)), ("replies-none", replies(&[]))];
    let reasons = [
        ("quota", BusyReason::ClientQuota),
        ("pool", BusyReason::PoolFull),
        ("verifier", BusyReason::VerifierFull),
    ];
    let busy = |(name, reason)| (name, ClientMessage::Busy { session, first: Number(5), reason });
    all.extend(reasons.map(busy));
    let found = [
        ("answer", Found::Reply(Blob(b"answer".to_vec().into()))),
        ("answer-needs-order", Found::Nothing(Unanswered::NeedsOrder)),
        ("answer-not-offered", Found::Nothing(Unanswered::NotOffered)),
        ("answer-not-ready", Found::Nothing(Unanswered::NotReady)),
        ("answer-busy", Found::Nothing(Unanswered::Busy)),
    ];
    let answered = |(name, found)| {
        let reply = QueryReply { number: 7, executed: Seq(9), found };
        (name, ClientMessage::Query { epoch: Epoch(0), view: View(1), reply })
    };
    all.extend(found.map(answered));
    let config = Digest([5; 32]);
    let hello = Hello { version: 1, cluster: CLUSTER, config, executed: Seq(9), view: View(1) };
    let all = all.into_iter().map(|(name, message)| (name.to_owned(), behind(0, &encoded(&message))));
    all.chain([("hello".to_owned(), behind(1, &encoded(&hello)))]).collect()
}

fn requests() -> Vec<(String, Vec<u8>)> {
    let kinds = [("operations", Kind::Operations), ("fifo", Kind::Fifo), ("register", Kind::Register)];
    let alone = kinds.map(|(name, kind)| (name.to_owned(), behind(0, &encoded(&request(kind)))));
    let query = Query { number: 7, fast: true, command: Blob(b"what".to_vec().into()) };
    let others = [
        ("batch", behind(1, &encoded(&batch()))),
        ("frame-of-a-request", behind(2, &encoded(&ClientFrame::Request(request(Kind::Operations))))),
        ("frame-of-a-query", behind(2, &encoded(&ClientFrame::Query(query)))),
    ];
    let others = others.map(|(name, bytes)| (name.to_owned(), bytes));
    alone.into_iter().chain(others).collect()
}

fn certificates() -> Vec<(String, Vec<u8>)> {
    [
        ("prepared", encoded(&certified(prepare()))),
        ("committed", encoded(&certified(commit()))),
        ("stable", encoded(&certified(checkpoint()))),
        ("prepare", encoded(&signed(0, prepare()))),
        ("commit", encoded(&signed(1, commit()))),
        ("checkpoint", encoded(&signed(2, checkpoint()))),
        ("view-change", encoded(&signed(3, view_change()))),
        ("new-view", encoded(&signed(1, new_view()))),
    ]
    .into_iter()
    .zip(0..)
    .map(|((name, bytes), which)| (name.to_owned(), behind(which, &bytes)))
    .collect()
}

/// Kind, whether bytes that were signed come last, and parts behind their lengths.
fn record(kind: u8, with: Option<&[u8]>, parts: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![kind, u8::from(with.is_some())];
    for part in parts.iter().map(Vec::as_slice).chain(with) {
        bytes.extend_from_slice(&u32::try_from(part.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

fn journal() -> Vec<(String, Vec<u8>)> {
    let primary = Some(Signature([8; 64]));
    let body = Body::new(batch(), CLUSTER);
    let opened: (NewView, Option<Signature>) = (new_view(), primary);
    let mut named = vec![encoded(&opened)];
    named.extend(view_changes().iter().map(encoded));
    let of = |record: &Record| vec![encoded(record)];
    let left = encoded(&signed(0, view_change()));
    [
        ("vote", record(1, None, &of(&Record::Vote { prepare: prepare(), primary }))),
        ("own-vote", record(1, None, &of(&Record::Vote { prepare: prepare(), primary: None }))),
        ("body", record(2, None, &of(&Record::Body { seq: Seq(9), body }))),
        ("prepared", record(3, None, &of(&Record::Prepared(certified(prepare()))))),
        ("view-change", record(4, Some(&left), &of(&Record::ViewChange(view_change())))),
        ("new-view", record(5, None, &named)),
        ("stable", record(6, None, &of(&Record::Stable(certified(checkpoint()))))),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .into()
}

/// A file of the folder that is kept of a version.
macro_rules! kept {
    ($name:literal) => {
        include_bytes!(concat!("../../crates/host/fixtures/", $name))
    };
}

/// Everything that a replica's past may leave of its word.
pub(crate) fn standings() -> Vec<Standing> {
    let divergence = Divergence { seq: Seq(8), ours: Digest([1; 32]), theirs: Digest([2; 32]) };
    let (number, wrong, diverged) = (77, Some(divergence), None);
    let (one, other) = (Digest([1; 32]), Digest([2; 32]));
    vec![
        Standing::Normal,
        Standing::Diverged { divergence, mended: true },
        Standing::Out(Exclusion::Contradiction { seq: Seq(9), one, other, wrong }),
        Standing::Out(Exclusion::Unremembered { view: View(3), seq: Seq(0), wrong: None }),
        Standing::Out(Exclusion::DivergedAgain(divergence)),
        Standing::Out(Exclusion::Copied { number, wrong }),
        Standing::Out(Exclusion::Carrier { number, diverged }),
        Standing::Out(Exclusion::Moved { number, diverged }),
    ]
}

fn superblock() -> Vec<(String, Vec<u8>)> {
    let fields = |block: &[u8]| {
        let length = u32::from_le_bytes(block[16..20].try_into().unwrap()) as usize;
        block[20..20 + length].to_vec()
    };
    let (first, second) = (fields(kept!("version-1/superblock")), fields(kept!("version-2/superblock")));
    let normal = encoded(&Standing::Normal);
    let without = second.strip_suffix(normal.as_slice()).unwrap();
    let standing = |(at, standing): (usize, Standing)| {
        (format!("standing-{at}"), behind(0, &[without, &encoded(&standing)].concat()))
    };
    let mut all: Vec<_> = standings().into_iter().enumerate().map(standing).collect();
    all.push(("first-version".to_owned(), behind(1, &first)));
    all
}

fn snapshot() -> Vec<(String, Vec<u8>)> {
    let (manifest, segment) = (kept!("version-2/snapshot-4"), kept!("version-2/state-1"));
    let pages = u32::from_le_bytes(segment[48..52].try_into().unwrap()) as usize;
    [
        ("manifest", behind(0, &manifest[72..])),
        ("chunk-list", behind(1, &segment[4..56 + 12 * pages])),
        ("summary", behind(2, &encoded(&summary()))),
        ("chunk", behind(3, &chunk().encode())),
        ("page", behind(4, chunk().pages()[0].bytes())),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .into()
}

fn divergence() -> Vec<(String, Vec<u8>)> {
    let found = Divergence { seq: Seq(8), ours: Digest([1; 32]), theirs: Digest([2; 32]) };
    let body = Some(Body::new(batch(), CLUSTER));
    let (key, value) =
        (Blob::<4096>(b"key".to_vec().into()), Some(Blob::<131_072>(b"value".to_vec().into())));
    let null: Option<Arc<Body>> = None;
    [
        ("found", 1, encoded(&(found, true, Seq(4)))),
        ("vote", 2, encoded(&signed(1, checkpoint()))),
        ("certificate", 3, encoded(&certified(checkpoint()))),
        ("batch", 4, encoded(&(Seq(9), body))),
        ("null-batch", 4, encoded(&(Seq(9), null))),
        ("change", 5, encoded(&(false, key, value))),
        ("end", 6, encoded(&true)),
        ("committed", 7, encoded(&certified(commit()))),
        ("prepared", 8, encoded(&certified(prepare()))),
        ("stable", 9, encoded(&certified(checkpoint()))),
    ]
    .map(|(name, kind, bytes)| (name.to_owned(), behind(kind, &bytes)))
    .into()
}

/// A change of a file of the folder: which, whether its checksums are made right, where, and to what.
fn change(file: u8, mended: bool, at: u32, bytes: &[u8]) -> Vec<u8> {
    let [low, middle, high, _] = at.to_le_bytes();
    let which = file | if mended { 0x80 } else { 0 };
    [&[which, low, middle, high, u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

fn folder() -> Vec<(String, Vec<u8>)> {
    let record = 3 * 4096;
    [
        ("as-it-was", Vec::new()),
        ("superblock-field", change(0, true, 30, &[9])),
        ("journal-header", change(1, true, 56, &64_u64.to_le_bytes())),
        ("journal-record", change(1, true, record + 12, &[255, 255])),
        ("journal-record-rots", change(1, false, record + 256, &[255; 8])),
        ("journal-seal", change(1, true, 4096 + 16, &[77])),
        ("manifest", change(2, true, 80, &[1, 2, 3])),
        ("segment", change(3, false, 60, &[0; 4])),
        ("several", [change(0, true, 40, &[1]), change(1, true, record + 16, &[3])].concat()),
    ]
    .map(|(name, bytes)| (name.to_owned(), bytes))
    .into()
}

fn cluster_file() -> Vec<(String, Vec<u8>)> {
    let draft = Draft {
        name: "corpus".to_owned(),
        application: "kv".to_owned(),
        testing: true,
        allow_f0: false,
        clients: Clients::Listed(vec![SecretKey::from_seed(&[9; 32]).public()]),
        parameters: Parameters::default(),
        node: quorate_node::cluster_file::NodeDefaults::default(),
        addresses: (0..4_u16).map(addresses).collect(),
    };
    let (file, _) = ClusterFile::generate(draft).unwrap();
    vec![("generated".to_owned(), file.to_toml().into_bytes())]
}

fn addresses(id: u16) -> Addresses {
    let address = |port: u16| std::net::SocketAddr::from(([127, 0, 0, 1], port + 10 * id));
    Addresses { peer: address(7000), client: address(7001), admin: address(7002) }
}
