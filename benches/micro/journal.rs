//! Groups of records, appended, written and synced to a disk in memory: all that the journal does but wait.

use std::sync::Arc;

use quorate_host::disk::MemoryDisk;
use quorate_host::folder::format_folder;
use quorate_host::journal::{self, Durability, Journal, Reserve, Shape, Writer};
use quorate_host::superblock::Identity;
use quorate_protocol::certificate::Certificate;
use quorate_protocol::codec::List;
use quorate_protocol::crypto::Digest;
use quorate_protocol::message::Prepare;
use quorate_protocol::parameters::{Context, Parameters};
use quorate_protocol::process::Record;
use quorate_protocol::request::Body;
use quorate_protocol::types::{ReplicaId, Seq, View};

use crate::made;
use crate::table::{Bench, Each};

/// Slots between two checkpoints.
const INTERVAL: u64 = 8;
/// Groups after which every ring has come around. Until then a disk in memory makes new pages.
const AROUND: usize = 4096;

/// Rings are small, and come around soon.
fn context(n: u8) -> Context {
    let parameters = Parameters {
        checkpoint_interval: INTERVAL,
        window: 2 * INTERVAL,
        batch_bytes_max: 128 << 10,
        ..Parameters::default()
    };
    made::context_of(n, parameters)
}

pub(crate) fn measure(bench: &mut Bench) {
    group(bench, "a vote alone", &context(4), |seq| vec![vote(seq)]);
    for (name, requests, operations) in [("64 requests", 64, 1), ("8 bundles of 64", 8, 64)] {
        let context = context(4);
        let body = Body::new(made::batch(&context, 1, requests, operations), context.cluster);
        group(bench, &format!("a body of {name} and a vote"), &context, |seq| {
            vec![Record::Body { seq, body: Arc::clone(&body) }, vote(seq)]
        });
    }
    for n in [4, 16] {
        let context = context(n);
        let vote = |id| made::signer(&context, id).sign(prepare(Seq(1))).into_inner();
        let votes = (0..made::quorum(&context)).map(vote);
        let signatures: Vec<_> = votes.map(|vote| (vote.signer, vote.signature)).collect();
        group(bench, &format!("a prepared certificate, n = {n}"), &context, |seq| {
            let signatures = List(signatures.clone());
            vec![Record::Prepared(Certificate { statement: prepare(seq), signatures })]
        });
    }
}

fn prepare(seq: Seq) -> Prepare {
    Prepare { view: View(0), seq, digest: Digest([7; 32]) }
}

fn vote(seq: Seq) -> Record {
    Record::Vote { prepare: prepare(seq), primary: None }
}

/// The records of one slot after the other, each slot's in a group of its own.
fn group(bench: &mut Bench, name: &str, context: &Context, records: impl Fn(Seq) -> Vec<Record>) {
    let (mut journal, mut writer) = open(context);
    let mut slots = (1..).map(Seq);
    let mut next = || {
        let seq = slots.next().expect("there is always a next slot");
        (seq, records(seq))
    };
    let mut put = |(seq, records): (Seq, Vec<Record>)| {
        if seq.0.is_multiple_of(INTERVAL) {
            journal.reclaim(Seq(seq.0 - INTERVAL));
        }
        for record in &records {
            journal.append(record, None);
        }
        let group = journal.take_group().expect("records were appended");
        writer.write(&group, true).expect("memory does not fail")
    };
    for _ in 0..AROUND {
        put(next());
    }
    bench.measure(&format!("journal: {name}"), Each(1, "group"), next, put);
}

fn open(context: &Context) -> (Journal, Writer<MemoryDisk>) {
    let mut disk = MemoryDisk::new();
    let shape = Shape::of(&context.parameters, context.committee.size());
    let identity = Identity { cluster: context.cluster, replica: ReplicaId(0), key: made::key(1).public() };
    let superblock =
        format_folder(&mut disk, identity, shape, Reserve::Records).expect("memory does not fail");
    let opened = journal::open(disk, superblock, shape, Durability::Sync).expect("memory does not fail");
    (opened.journal, opened.writer)
}
