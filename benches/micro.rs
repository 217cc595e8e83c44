//! Micro-benchmarks of what one batch costs a replica: encoding, verification, a step, a journal record.
//!
//! `cargo bench` runs them. They compare a change with the commit before it on one machine; `quorate bench limits` says
//! what that machine can do.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use quorate_host::disk::MemoryDisk;
use quorate_host::folder::format_folder;
use quorate_host::journal::{self, Durability, Reserve, Shape};
use quorate_host::superblock::Identity;
use quorate_protocol::codec::{self, List};
use quorate_protocol::committee::Committee;
use quorate_protocol::crypto::{Digest, SecretKey};
use quorate_protocol::message::{PeerMessage, PrePrepare, Prepare};
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
    let keys: Vec<_> = (0..4).map(|id| key(id + 1).public()).collect();
    Context {
        cluster: ClusterId(Digest([9; 32])),
        epoch: Epoch(0),
        committee: Arc::new(Committee::new(&keys, false).expect("four distinct keys are a committee")),
        parameters: Arc::new(Parameters::default()),
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
    let signer = Signer::new(Arc::new(key(1)), context.cluster, Epoch(0), ReplicaId(0));
    let digest = batch.digest(context.cluster);
    let prepare = signer.sign(Prepare { view: View(0), seq: Seq(1), digest }).into_inner();
    PeerMessage::PrePrepare(PrePrepare { prepare, batch: Some(batch.clone()) })
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
    let signer = Signer::new(Arc::new(key(3)), context.cluster, Epoch(0), ReplicaId(2));
    let vote = signer.sign(Prepare { view: View(0), seq: Seq(1), digest }).into_inner();
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

criterion_group!(micro, codec_of_a_proposal, verification_of_a_proposal, step_of_a_vote, journal_of_a_batch);
criterion_main!(micro);
