//! A real folder as a disk.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use quorate_host::folder::{FormatError, check_folder, format_folder};
use quorate_host::journal::{self, Durability, Opened, Reserve, Shape};
use quorate_host::superblock::{Identity, SnapshotPointer, Superblock};
use quorate_protocol::codec::{Frames, List};
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::message::Prepare;
use quorate_protocol::process::Record;
use quorate_protocol::request::{Batch, Body, Draft, Kind, Nondet, Request};
use quorate_protocol::types::{
    ClusterId, Digest, Number, PublicKey, ReplicaId, Seq, Session, Signature, View,
};

use super::*;

fn identity() -> Identity {
    Identity { cluster: ClusterId(Digest([1; 32])), replica: ReplicaId(2), key: PublicKey([3; 32]) }
}

fn shape() -> Shape {
    Shape::new(4096, 1 << 20, 64 << 20)
}

fn vote(seq: u64) -> Record {
    let prepare = Prepare { view: View(1), seq: Seq(seq), digest: Digest([seq as u8; 32]) };
    Record::Vote { prepare, primary: Some(Signature([7; 64])) }
}

/// A batch of 16 requests with as many bytes together.
fn body(seq: u64, bytes: usize) -> Record {
    let operations = Frames::new(std::iter::once(vec![seq as u8; bytes / 16].as_slice()));
    let draft =
        Draft { session: Session(1), first: Number(1), ack: Number(1), kind: Kind::Operations, operations };
    let request = Arc::new(Request::sign(&SecretKey::from_seed(&[4; 32]), identity().cluster, draft));
    let batch = Batch { nondet: Nondet::default(), requests: List(vec![request; 16]) };
    Record::Body { seq: Seq(seq), body: Body::new(batch, identity().cluster) }
}

fn open(folder: &Path) -> Opened<FileDisk> {
    let mut disk = FileDisk::open(folder).unwrap();
    let superblock = Superblock::open(&mut disk, &identity()).unwrap().0;
    journal::open(disk, superblock, shape(), Durability::Sync).unwrap()
}

fn formatted() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut disk = FileDisk::create(folder.path()).unwrap();
    format_folder(&mut disk, identity(), shape(), Reserve::Records).unwrap();
    folder
}

#[test]
fn records_and_snapshots_survive_a_restart_on_a_real_file_system() {
    let folder = formatted();
    let written = [body(1, 64 << 10), vote(1)];
    let mut opened = open(folder.path());
    for record in &written {
        opened.journal.append(record, None);
    }
    opened.writer.write(&opened.journal.take_group().unwrap(), true).unwrap();
    let pointer = SnapshotPointer { seq: Seq(128), root: Digest([5; 32]) };
    opened.writer.store_snapshot(pointer, b"state").unwrap();
    drop(opened);
    let mut opened = open(folder.path());
    let found: Vec<Record> = opened.records.iter().map(|recovered| recovered.record.clone()).collect();
    assert_eq!(found, written);
    assert_eq!(opened.writer.superblock().snapshot, Some(pointer));
    assert_eq!(quorate_host::snapshots::load(opened.writer.disk(), Seq(128)).unwrap().1, b"state");
    drop(opened);
    let report = check_folder(&mut FileDisk::open(folder.path()).unwrap(), shape()).unwrap();
    assert!(report.is_sound() && report.foreign.is_empty(), "{report:?}");
}

#[test]
fn a_folder_is_held_by_one_disk_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let first = FileDisk::open(folder.path()).unwrap();
    let shared = first.share();
    drop(first);
    let refused = FileDisk::open(folder.path()).unwrap_err();
    assert_eq!((refused.operation, refused.kind), (Operation::Lock, DiskFailure::Locked));
    drop(shared);
    FileDisk::open(folder.path()).unwrap();
}

#[test]
fn files_are_readable_by_their_owner_only() {
    let folder = formatted();
    for file in ["superblock", "journal", "lock"] {
        let mode = fs::metadata(folder.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[test]
fn a_folder_with_a_foreign_file_is_not_formatted() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("notes.txt"), "mine").unwrap();
    let mut disk = FileDisk::create(folder.path()).unwrap();
    let refused = format_folder(&mut disk, identity(), shape(), Reserve::Records);
    assert_eq!(refused, Err(FormatError::NotEmpty(vec!["notes.txt".to_owned()])));
}

#[test]
fn reserved_space_is_really_taken() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().unwrap();
    let mut disk = FileDisk::create(folder.path()).unwrap();
    disk.set_len(FileName::Journal, 4 << 20).unwrap();
    disk.reserve(FileName::Journal, 0, 3 << 20).unwrap();
    disk.sync(FileName::Journal).unwrap();
    let metadata = fs::metadata(folder.path().join("journal")).unwrap();
    assert_eq!(metadata.len(), 4 << 20);
    assert!(metadata.blocks() * 512 >= 3 << 20);
}

#[test]
fn a_journal_has_the_space_of_its_records_from_the_beginning_and_all_of_it_if_told_so() {
    use std::os::unix::fs::MetadataExt;
    let taken = |reserve| {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = FileDisk::create(folder.path()).unwrap();
        let shape = Shape::new(4096, 1 << 20, 4 << 20);
        format_folder(&mut disk, identity(), shape, reserve).unwrap();
        let metadata = fs::metadata(folder.path().join("journal")).unwrap();
        assert_eq!(metadata.len(), shape.file_bytes());
        (metadata.blocks() * 512, shape)
    };
    let (bytes, shape) = taken(Reserve::Records);
    assert!(bytes >= 2 * 256 * shape.records(), "{bytes}");
    let (bytes, shape) = taken(Reserve::Whole);
    assert!(bytes >= shape.file_bytes(), "{bytes} of {}", shape.file_bytes());
}

#[test]
fn a_folder_that_is_looked_at_is_not_changed_and_not_taken_from_whoever_has_it() {
    let folder = formatted();
    let held = FileDisk::open(folder.path()).unwrap();
    assert_eq!(FileDisk::examine(folder.path()).unwrap_err().kind, DiskFailure::Locked);
    drop(held);
    let mut disk = FileDisk::examine(folder.path()).unwrap();
    assert!(check_folder(&mut disk, shape()).unwrap().is_sound());
    disk.write_at(FileName::Journal, 0, b"x").unwrap_err();
    disk.write_at(FileName::SnapshotDraft, 0, b"x").unwrap_err();
    let empty = tempfile::tempdir().unwrap();
    assert_eq!(FileDisk::examine(empty.path()).unwrap().list(), Ok(vec![]));
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0, "not even a lock is made");
}

#[test]
fn reading_past_the_end_and_missing_files_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let mut disk = FileDisk::open(folder.path()).unwrap();
    assert_eq!(disk.len(FileName::Journal), Ok(None));
    disk.read_at(FileName::Journal, 0, &mut [0; 4]).unwrap_err();
    disk.write_at(FileName::Journal, 2, b"xy").unwrap();
    let mut bytes = [9; 8];
    assert_eq!(disk.read_at(FileName::Journal, 0, &mut bytes), Ok(4));
    assert_eq!(bytes, [0, 0, b'x', b'y', 9, 9, 9, 9]);
    disk.remove(FileName::Journal).unwrap();
    disk.remove(FileName::Journal).unwrap();
}
