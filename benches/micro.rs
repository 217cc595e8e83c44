//! Micro-benchmarks of what one batch costs a replica: encoding, verification, a step, a journal record, the state.
//!
//! `cargo bench` runs them. They compare a change with the commit before it on one machine; `quorate bench limits` says
//! what that machine can do.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use quorate_host::border::Border;
use quorate_host::disk::MemoryDisk;
use quorate_host::folder::format_folder;
use quorate_host::journal::{self, Durability, Reserve, Shape};
use quorate_host::superblock::Identity;
use quorate_protocol::certificate::Certificate;
use quorate_protocol::codec::{self, List};
use quorate_protocol::committee::Committee;
use quorate_protocol::crypto::{Digest, SecretKey};
use quorate_protocol::map::Map;
use quorate_protocol::message::{Commit, NewView, PeerMessage, PrePrepare, Prepare, ViewChange};
use quorate_protocol::parameters::{Context, Parameters};
use quorate_protocol::process::{Process, Record};
use quorate_protocol::replica::Replica;
use quorate_protocol::request::{Batch, Body, Draft, Kind, Nondet, Operations, Request};
use quorate_protocol::signed::Signer;
use quorate_protocol::types::{ClusterId, Epoch, Number, ReplicaId, Seq, Session, Time, View};
use quorate_protocol::verify::{Incoming, Verifier};

const PAYLOAD: [u8; 128] = [7; 128];

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn context() -> Context {
    context_of(4, Parameters::default())
}

fn context_of(n: u8, parameters: Parameters) -> Context {
    let keys: Vec<_> = (0..n).map(|id| key(id + 1).public()).collect();
    Context {
        cluster: ClusterId(Digest([9; 32])),
        epoch: Epoch(0),
        committee: Arc::new(Committee::new(&keys, false).expect("distinct keys are a committee")),
        parameters: Arc::new(parameters),
    }
}

fn request(context: &Context, client: u8, first: u64, operations: usize) -> Arc<Request> {
    let draft = Draft {
        session: Session(1),
        first: Number(first),
        ack: Number(1),
        kind: Kind::Operations,
        operations: Operations::new(std::iter::repeat_n(&PAYLOAD[..], operations)),
    };
    Arc::new(Request::sign(&key(100 + client), context.cluster, draft))
}

fn batch(context: &Context, requests: u64, operations: usize) -> Batch {
    let requests = (0..requests).map(|index| request(context, (index % 16) as u8, 1 + index, operations));
    Batch { nondet: Nondet { time: Time(5) }, requests: List(requests.collect()) }
}

fn proposal(context: &Context, batch: &Batch) -> PeerMessage {
    let signer = signer(context, 0);
    let digest = batch.digest(context.cluster);
    let prepare = signer.sign(Prepare { view: View(0), seq: Seq(1), digest }).into_inner();
    PeerMessage::PrePrepare(PrePrepare { prepare, batch: Some(batch.clone()) })
}

fn signer(context: &Context, id: u8) -> Signer {
    Signer::new(Arc::new(key(id + 1)), context.cluster, Epoch(0), ReplicaId(u16::from(id)))
}

/// Takes what frames bring through border, verifier and replica.
fn receive(replica: &mut Replica, verifier: &mut Verifier, frames: &[(ReplicaId, Vec<u8>)]) {
    let (mut border, mut effects) = (Border::default(), Vec::new());
    for (from, frame) in frames {
        border.peer_frame(Time(5), *from, frame, replica).expect("it is a message of that replica");
        let job = border.take(replica, true);
        for event in verifier.verify(job) {
            replica.step(Time(5), event.expect("it is signed well"), &mut effects);
            effects.clear();
        }
    }
}

fn frame(from: u8, message: &PeerMessage) -> (ReplicaId, Vec<u8>) {
    (ReplicaId(u16::from(from)), codec::encode(message).expect("a message encodes"))
}

fn votes_of_a_pipeline(criterion: &mut Criterion) {
    let context = context();
    let vote = |id, seq| Commit { view: View(0), seq: Seq(seq), digest: Digest([id; 32]) };
    let commit =
        |id, seq| frame(id, &PeerMessage::Commit(signer(&context, id).sign(vote(9, seq)).into_inner()));
    let frames: Vec<_> = (1..=64).flat_map(|seq| [0, 2, 3].map(|id| commit(id, seq))).collect();
    let mut group = criterion.benchmark_group("border, verify and step");
    group.throughput(Throughput::Elements(frames.len() as u64));
    group.bench_function("COMMITs of 64 slots", |bencher| {
        let mut verifier = Verifier::new(context.clone(), [3; 32]);
        bencher.iter_batched(
            || Replica::new(context.clone(), ReplicaId(1)),
            |mut replica| receive(&mut replica, &mut verifier, &frames),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

/// A quorum of VIEW-CHANGEs that prove a full window, each with another quorum of PREPAREs, and the NEW-VIEW they make.
/// The last replica, which is to take them, has not voted.
fn frames_of_a_view_change(context: &Context) -> Vec<(ReplicaId, Vec<u8>)> {
    let n = u8::try_from(context.committee.size()).expect("n is 31");
    let quorum = u8::try_from(context.committee.quorum()).expect("q is 21");
    let votes: Vec<Vec<_>> = (1..=context.parameters.window)
        .map(|seq| {
            let statement = Prepare { view: View(0), seq: Seq(seq), digest: Digest([7; 32]) };
            (0..n).map(|id| signer(context, id).sign(statement).into_inner()).collect()
        })
        .collect();
    let leaving = |id: u8| {
        let prepared = votes.iter().map(|of_slot| {
            let mut shown: Vec<_> =
                (0..quorum).map(|offset| &of_slot[usize::from((id + offset) % (n - 1))]).collect();
            shown.sort_by_key(|vote| vote.signer);
            let signatures = shown.iter().map(|vote| (vote.signer, vote.signature)).collect();
            Certificate { statement: shown[0].body, signatures: List(signatures) }
        });
        let body = ViewChange { view: View(1), stable: None, prepared: List(prepared.collect()) };
        signer(context, id).sign(body).shared()
    };
    let leaving: Vec<_> = (0..quorum).map(leaving).collect();
    let named = leaving.iter().map(|message| (message.signer, message.digest())).collect();
    let new_view = signer(context, 1).sign(NewView { view: View(1), view_changes: List(named) });
    let frames =
        (0..).zip(leaving).map(|(id, message)| frame(id, &PeerMessage::ViewChange(message.into_inner())));
    let mut frames: Vec<_> = frames.collect();
    frames.push(frame(1, &PeerMessage::NewView(new_view.into_inner())));
    frames
}

fn view_change_of_31_replicas(criterion: &mut Criterion) {
    let parameters = Parameters { window: 256, ..Parameters::default() };
    let context = context_of(31, parameters);
    let frames = frames_of_a_view_change(&context);
    let mut group = criterion.benchmark_group("view change");
    group.sample_size(10);
    group.bench_function("31 replicas, 256 slots, nothing known", |bencher| {
        bencher.iter_batched(
            || (Replica::new(context.clone(), ReplicaId(30)), Verifier::new(context.clone(), [3; 32])),
            |(mut replica, mut verifier)| {
                receive(&mut replica, &mut verifier, &frames);
                assert_eq!(replica.view(), View(1));
                assert_eq!(verifier.checks().signatures, 30 * 256 + 21 + 1);
                replica
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

fn codec_of_a_proposal(criterion: &mut Criterion) {
    let context = context();
    let message = proposal(&context, &batch(&context, 64, 1));
    let bytes = codec::encode(&message).expect("a proposal encodes");
    let mut group = criterion.benchmark_group("codec, proposal of 64 requests of 128 B");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("encode", |bencher| bencher.iter(|| codec::encode(black_box(&message))));
    group
        .bench_function("decode", |bencher| bencher.iter(|| codec::decode::<PeerMessage>(black_box(&bytes))));
    group.finish();
}

fn verification_of_a_proposal(criterion: &mut Criterion) {
    let context = context();
    let mut group = criterion.benchmark_group("verify");
    for (name, requests, operations) in
        [("256 requests of one operation", 256, 1), ("4 bundles of 64", 4, 64)]
    {
        let message = proposal(&context, &batch(&context, requests, operations));
        group.throughput(Throughput::Elements(requests * operations as u64));
        group.bench_function(name, |bencher| {
            // A new verifier each time: one that has seen a request does not check it again.
            bencher.iter_batched(
                || (Verifier::new(context.clone(), [3; 32]), message.clone()),
                |(mut verifier, message)| {
                    verifier.verify(vec![Incoming::Peer { from: ReplicaId(0), message }])
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn step_of_a_vote(criterion: &mut Criterion) {
    let context = context();
    let mut verifier = Verifier::new(context.clone(), [3; 32]);
    let batch = batch(&context, 64, 1);
    let digest = batch.digest(context.cluster);
    let message = proposal(&context, &batch);
    let mut event_of = |from: u16, message| {
        let verdicts = verifier.verify(vec![Incoming::Peer { from: ReplicaId(from), message }]);
        verdicts.into_iter().next().expect("one message, one verdict").expect("it is signed well")
    };
    let proposed = event_of(0, message);
    let vote = signer(&context, 2).sign(Prepare { view: View(0), seq: Seq(1), digest }).into_inner();
    let vote = event_of(2, PeerMessage::Prepare(vote));
    criterion.bench_function("step, a PREPARE after its proposal", |bencher| {
        bencher.iter_batched(
            || {
                let mut replica = Replica::new(context.clone(), ReplicaId(1));
                replica.step(Time(5), proposed.clone(), &mut Vec::new());
                (replica, vote.clone(), Vec::new())
            },
            |(mut replica, vote, mut effects)| {
                replica.step(Time(6), vote, &mut effects);
                (replica, effects)
            },
            BatchSize::SmallInput,
        );
    });
}

fn journal_of_a_batch(criterion: &mut Criterion) {
    let context = context();
    let body = Body::new(batch(&context, 64, 1), context.cluster);
    let identity = Identity { cluster: context.cluster, replica: ReplicaId(0), key: key(1).public() };
    let prepare = Prepare { view: View(0), seq: Seq(1), digest: body.digest };
    criterion.bench_function("journal, a body and a vote to memory", |bencher| {
        let mut disk = MemoryDisk::new();
        let shape = Shape::of(&context.parameters, 4);
        let superblock =
            format_folder(&mut disk, identity, shape, Reserve::Records).expect("memory does not fail");
        let opened = journal::open(disk, superblock, shape, Durability::Sync).expect("memory does not fail");
        let (mut journal, mut writer) = (opened.journal, opened.writer);
        let mut seq = 0;
        bencher.iter(|| {
            seq += 1;
            journal.append(&Record::Body { seq: Seq(seq), body: Arc::clone(&body) }, None);
            let position = journal
                .append(&Record::Vote { prepare: Prepare { seq: Seq(seq), ..prepare }, primary: None }, None);
            if seq.is_multiple_of(128) {
                journal.reclaim(Seq(seq - 64));
            }
            let group = journal.take_group().expect("two records were appended");
            writer.write(&group, true).expect("memory does not fail");
            position
        });
    });
}

/// 64 MiB of entries of 150 bytes, and keys of it in no order.
fn large_map() -> (Map, impl FnMut() -> [u8; 16]) {
    const ENTRIES: u64 = (64 << 20) / 150;
    // An odd factor scatters the numbers and repeats none.
    let key =
        |number: u64| u128::from(number.wrapping_mul(0x9E37_79B9_7F4A_7C15)).rotate_left(64).to_be_bytes();
    let mut map = Map::new();
    for number in 0..ENTRIES {
        map.insert(&key(number), &[0; 134]).expect("64 MiB fit a map");
    }
    let mut number = 0;
    let next = move || {
        number = (number + 7_919) % ENTRIES;
        key(number)
    };
    (map, next)
}

fn map_of_64_mib(criterion: &mut Criterion) {
    let (mut map, mut next) = large_map();
    let mut value = [0; 134];
    let mut round = 0_u64;
    let mut change = |map: &mut Map, key: [u8; 16], bytes: usize| {
        round += 1;
        value[..8].copy_from_slice(&round.to_le_bytes());
        map.insert(&key, &value[..bytes]).expect("it was there before")
    };
    let mut group = criterion.benchmark_group("map of 64 MiB, entries of 150 B");
    group.bench_function("get", |bencher| bencher.iter(|| map.get(&next()).map(<[u8]>::len)));
    group.bench_function("insert, same length", |bencher| {
        bencher.iter(|| change(&mut map, next(), 134));
    });
    group.bench_function("insert, another length", |bencher| {
        let mut length = 134;
        bencher.iter(|| {
            length = 267 - length;
            change(&mut map, next(), length)
        });
    });
    group.sample_size(20);
    group.bench_function("1,000 inserts after a copy", |bencher| {
        bencher.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                let copy = map.clone();
                let start = Instant::now();
                for _ in 0..1_000 {
                    change(&mut map, next(), 134);
                }
                spent += start.elapsed();
                drop(copy);
            }
            spent
        });
    });
    group.bench_function("root after 1,000 inserts", |bencher| {
        bencher.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                for _ in 0..1_000 {
                    change(&mut map, next(), 134);
                }
                let start = Instant::now();
                black_box(map.root());
                spent += start.elapsed();
            }
            spent
        });
    });
    group.finish();
}

criterion_group!(
    micro,
    map_of_64_mib,
    codec_of_a_proposal,
    verification_of_a_proposal,
    step_of_a_vote,
    votes_of_a_pipeline,
    view_change_of_31_replicas,
    journal_of_a_batch
);
criterion_main!(micro);
