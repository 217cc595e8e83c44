//! A real folder as a disk.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use quorate_host::folder::{FormatError, check_folder, format_folder};
use quorate_host::journal::{self, Durability, Opened, Reserve, Shape};
use quorate_host::store::Store;
use quorate_host::superblock::{Identity, Superblock};
use quorate_protocol::codec::{Frames, List};
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::executor::State;
use quorate_protocol::map::Map;
use quorate_protocol::message::Prepare;
use quorate_protocol::process::Record;
use quorate_protocol::request::{Batch, Body, Draft, Kind, Nondet, Request};
use quorate_protocol::types::{
    ClusterId, Digest, Number, PublicKey, ReplicaId, Seq, Session, Signature, Time, View,
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

/// A state of a few mebibytes.
fn state(seq: u64) -> State {
    let mut application = Map::new();
    for key in 0..6000_u64 {
        application.insert(&key.to_be_bytes(), &(seq * key).to_be_bytes().repeat(60)).unwrap();
    }
    let (history, config) = (Digest([7; 32]), Digest([8; 32]));
    State { seq: Seq(seq), time: Time(seq), history, config, application, sessions: Map::new() }
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
    let state = state(128);
    let mut store = Store::open(opened.writer.disk().share(), true).unwrap();
    let pointer = store.save(&state).unwrap();
    opened.writer.point_to(pointer).unwrap();
    drop((opened, store));
    let mut opened = open(folder.path());
    let found: Vec<Record> = opened.records.iter().map(|recovered| recovered.record.clone()).collect();
    assert_eq!(found, written);
    assert_eq!(opened.writer.superblock().snapshot, Some(pointer));
    assert_eq!(Store::open(opened.writer.disk().share(), true).unwrap().load(Seq(128)).unwrap(), state);
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

#[test]
fn more_files_than_are_kept_open_are_all_there_and_the_one_used_longest_ago_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let mut disk = FileDisk::open(folder.path()).unwrap();
    disk.write_at(FileName::Journal, 0, b"journal").unwrap();
    let files = OPEN_MAX as u64 + 20;
    for number in 1..=files {
        disk.write_at(FileName::Segment(number), 0, &number.to_le_bytes()).unwrap();
        // The first is used all the time.
        disk.read_at(FileName::Segment(1), 0, &mut [0; 8]).unwrap();
    }
    let open = |disk: &FileDisk, file| disk.open.contains_key(&file);
    assert!(open(&disk, FileName::Segment(1)) && open(&disk, FileName::Segment(files)));
    assert!(open(&disk, FileName::Journal) && !open(&disk, FileName::Segment(2)));
    assert_eq!(disk.open.len(), OPEN_MAX);
    for number in 1..=files {
        let mut bytes = [0; 8];
        assert_eq!(disk.read_at(FileName::Segment(number), 0, &mut bytes), Ok(8));
        assert_eq!(u64::from_le_bytes(bytes), number);
    }
}
