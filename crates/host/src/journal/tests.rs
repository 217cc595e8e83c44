//! What the journal keeps through power cuts, damage and failures.

use std::sync::Arc;

use quorate_protocol::certificate::Certificate;
use quorate_protocol::codec::{Frames, List};
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::message::{Checkpoint, NamedViewChange, NewView, Prepare, ViewChange};
use quorate_protocol::request::{Batch, Body, Draft, Kind, Nondet, Request};
use quorate_protocol::signed::Signed;
use quorate_protocol::types::{ClusterId, Digest, Number, PublicKey, ReplicaId, Session, Signature, Time};

use super::layout::{RECORD, SEAL};
use super::*;
use crate::disk::{Crash, Disk, DiskFailure, FileName, MemoryDisk};
use crate::folder::format_folder;
use crate::store::tests::small_state;
use crate::store::{Store, StoreError};
use crate::superblock::{AmnesiaBox, Identity, SnapshotPointer, Superblock};

mod amnesia;
mod damage;
mod fixture;
mod full_disk;
mod promises;
mod rot;
mod running;
mod views;

fn identity() -> Identity {
    Identity { cluster: ClusterId(Digest([1; 32])), replica: ReplicaId(2), key: PublicKey([3; 32]) }
}

/// As small as it can be, so that tests reach every byte: 32 records, one page of certificates, one of bodies.
fn tiny() -> Shape {
    Shape::exactly(32, 4096, 4096)
}

fn prepare(seq: u64) -> Prepare {
    Prepare { view: View(1), seq: Seq(seq), digest: Digest([seq as u8; 32]) }
}

fn vote(seq: u64) -> Record {
    Record::Vote { prepare: prepare(seq), primary: Some(Signature([7; 64])) }
}

fn vote_in(view: u64, seq: u64) -> Record {
    Record::Vote { prepare: Prepare { view: View(view), ..prepare(seq) }, primary: Some(Signature([7; 64])) }
}

fn body(seq: u64, bytes: usize) -> Record {
    let operations = Frames::new(std::iter::once(vec![seq as u8; bytes].as_slice()));
    let draft =
        Draft { session: Session(1), first: Number(1), ack: Number(1), kind: Kind::Operations, operations };
    let request = Request::sign(&SecretKey::from_seed(&[4; 32]), identity().cluster, draft);
    let batch = Batch { nondet: Nondet { time: Time(seq) }, requests: List(vec![Arc::new(request)]) };
    Record::Body { seq: Seq(seq), body: Body::new(batch, identity().cluster) }
}

fn signatures() -> Vec<(ReplicaId, Signature)> {
    (0..3).map(|id| (ReplicaId(id), Signature([id as u8; 64]))).collect()
}

fn prepared(seq: u64) -> Record {
    Record::Prepared(Certificate { statement: prepare(seq), signatures: List(signatures()) })
}

fn stable(seq: u64) -> Record {
    let statement = Checkpoint { seq: Seq(seq), root: Digest([9; 32]), epoch_end: Seq::MAX };
    Record::Stable(Certificate { statement, signatures: List(signatures()) })
}

fn view_change(view: u64) -> ViewChange {
    ViewChange { view: View(view), stable: None, prepared: List(vec![]) }
}

fn new_view(view: u64) -> Record {
    let one = Signed { body: view_change(view), signer: ReplicaId(1), signature: Signature([1; 64]) };
    let one = NamedViewChange::from(one);
    let new_view = NewView { view: View(view), view_changes: List(vec![(ReplicaId(1), one.digest())]) };
    Record::NewView { new_view, signature: Some(Signature([6; 64])), view_changes: vec![Arc::new(one)] }
}

fn horizon(view: u64, high: u64) -> Record {
    Record::Horizon { view: View(view), high: Seq(high) }
}

fn formatted(shape: Shape) -> MemoryDisk {
    let mut disk = MemoryDisk::new();
    format_folder(&mut disk, identity(), shape, Reserve::Whole).unwrap();
    disk
}

fn reopen(mut disk: MemoryDisk, durability: Durability) -> Opened<MemoryDisk> {
    let superblock = Superblock::open(&mut disk, &identity()).unwrap().0;
    open(disk, superblock, tiny(), durability).unwrap()
}

fn write(opened: &mut Opened<MemoryDisk>, records: &[Record], sync: bool) -> Result<Position, JournalError> {
    for record in records {
        opened.journal.append(record, None);
    }
    opened.writer.write(&opened.journal.take_group().unwrap(), sync)
}

/// Stores a state, as the role does that stores them.
fn save_state(opened: &mut Opened<MemoryDisk>, seq: u64) -> Result<SnapshotPointer, JournalError> {
    let store = Store::open(opened.writer.disk().share(), true);
    store.and_then(|mut store| store.save(&small_state(seq))).map_err(|error| match error {
        StoreError::Disk(error) => JournalError::Disk(error),
        other => panic!("{other}"),
    })
}

/// Stores a state and makes the superblock name it.
fn store_state(opened: &mut Opened<MemoryDisk>, seq: u64) -> Result<SnapshotPointer, JournalError> {
    let pointer = save_state(opened, seq)?;
    opened.writer.point_to(pointer).map(|()| pointer)
}

/// Loads the state that the superblock names.
fn load_named(disk: &MemoryDisk) -> SnapshotPointer {
    let named = Superblock::read(&mut disk.share()).unwrap().0.snapshot.unwrap();
    let mut store = Store::open(disk.share(), true).unwrap();
    assert_eq!(store.snapshot_pointer(named.seq), Some(named));
    assert_eq!(store.load(named.seq).unwrap(), small_state(named.seq.0));
    named
}

fn disk_of(mut opened: Opened<MemoryDisk>) -> MemoryDisk {
    opened.writer.disk().clone()
}

fn records(opened: &Opened<MemoryDisk>) -> Vec<Record> {
    opened.records.iter().map(|recovered| recovered.record.clone()).collect()
}

/// Votes, a body, a certificate; each its own group, all durable.
fn written() -> (MemoryDisk, Vec<Record>) {
    let all = vec![vote(1), body(2, 40), vote(2), prepared(2), vote(3)];
    let mut opened = reopen(formatted(tiny()), Durability::Sync);
    for record in &all {
        write(&mut opened, std::slice::from_ref(record), true).unwrap();
    }
    (disk_of(opened), all)
}
