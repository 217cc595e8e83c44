//! A folder that format version 1 wrote, which this and every later program must read.
//!
//! `QUORATE_REWRITE=1 cargo test -p quorate-host fixture` writes it again. That is right only as long as no program
//! that writes version 1 was released; a later version gets a folder and a test of its own, beside this one.

use std::fs;
use std::path::PathBuf;
use std::sync::Once;

use super::*;
use crate::folder::check_folder;

const FILES: [FileName; 3] = [FileName::Superblock, FileName::Journal, FileName::Snapshot(Seq(4))];
const STATE: &[u8] = b"the state after slot 4";

fn folder() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "fixtures", "version-1"].iter().collect()
}

pub(super) fn shape() -> Shape {
    Shape::exactly(32, 8192, 4096)
}

pub(super) fn pointer() -> SnapshotPointer {
    SnapshotPointer { seq: Seq(4), root: Digest([9; 32]) }
}

/// Everything that the replica must remember, in order.
pub(super) fn remembered() -> Vec<Record> {
    vec![
        prepared(5),
        body(7, 900),
        Record::ViewChange(view_change(3)),
        stable(4),
        new_view(3),
        vote_in(3, 5),
        Record::Vote { prepare: Prepare { view: View(3), ..prepare(6) }, primary: None },
        body(8, 1800),
        vote_in(3, 8),
    ]
}

/// A journal whose rings have turned: records were carried forward, and a body goes on at its area's beginning.
pub(super) fn written() -> MemoryDisk {
    let mut opened = reopen(formatted(shape()), Durability::Sync);
    write(&mut opened, &[horizon(3, 12), prepared(5), body(1, 1200), body(7, 900)], true).unwrap();
    opened.journal.append(&Record::ViewChange(view_change(3)), Some(b"signed by replica 2"));
    write(&mut opened, &[stable(4), new_view(3), vote_in(3, 5)], true).unwrap();
    opened.journal.reclaim(Seq(4));
    opened.writer.store_snapshot(pointer(), STATE).unwrap();
    let null = Record::Vote { prepare: Prepare { view: View(3), ..prepare(6) }, primary: None };
    while opened.writer.counters().carried == 0 {
        write(&mut opened, std::slice::from_ref(&null), true).unwrap();
    }
    write(&mut opened, &[body(8, 1800), vote_in(3, 8)], true).unwrap();
    disk_of(opened)
}

fn contents(disk: &mut MemoryDisk, file: FileName) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(disk.len(file).unwrap().unwrap()).unwrap()];
    disk.read_at(file, 0, &mut bytes).unwrap();
    bytes
}

/// Writes the folder again, if told to.
fn rewrite() {
    if std::env::var_os("QUORATE_REWRITE").is_none() {
        return;
    }
    assert_eq!(layout::VERSION, 1, "a later version has a fixture of its own");
    fs::create_dir_all(folder()).unwrap();
    let mut disk = written();
    for file in FILES {
        fs::write(folder().join(file.to_string()), contents(&mut disk, file)).unwrap();
    }
}

fn kept() -> MemoryDisk {
    static REWRITTEN: Once = Once::new();
    REWRITTEN.call_once(rewrite);
    let mut disk = MemoryDisk::new();
    for file in FILES {
        disk.write_at(file, 0, &fs::read(folder().join(file.to_string())).unwrap()).unwrap();
        disk.sync(file).unwrap();
    }
    disk.sync_folder().unwrap();
    disk
}

#[test]
fn a_fixture_of_format_version_1_is_read_to_the_last_record() {
    let mut disk = kept();
    let report = check_folder(&mut disk, tiny()).unwrap();
    assert!(report.is_sound(), "{report:?}");
    let (superblock, good) = report.superblock.unwrap();
    assert_eq!((superblock.identity, good), (identity(), 4));
    assert_eq!((superblock.view_promised, superblock.high_promised), (View(3), Seq(12)));
    assert_eq!(
        (superblock.snapshot, superblock.amnesia, superblock.unsynced),
        (Some(pointer()), None, false)
    );
    assert_eq!(report.snapshots, [(Seq(4), Ok(STATE.len() as u64))]);
    assert_eq!(crate::snapshots::load(&mut disk, Seq(4)), Ok((pointer(), STATE.to_vec())));
    assert_eq!(report.journal.unwrap().unwrap().repaired, 0);

    let opened = reopen(disk, Durability::Sync);
    let mut found = records(&opened);
    found.retain(|record| *record != body(1, 1200));
    // The null vote was written until the ring had turned; each is the same.
    found.dedup();
    assert_eq!(found, remembered());
    let signed = opened.records.iter().find(|one| one.record == Record::ViewChange(view_change(3)));
    assert_eq!(signed.unwrap().signed.as_deref(), Some(b"signed by replica 2".as_slice()));
}

#[test]
fn the_fixture_has_a_payload_in_every_place_and_one_that_goes_on_at_the_beginning() {
    let mut disk = kept();
    let mut places = Vec::new();
    let mut wrapped = 0;
    for slot in 1..=shape().records() {
        let mut record = [0; RECORD];
        disk.read_at(FileName::Journal, shape().record_at(slot), &mut record).unwrap();
        let layout::Parsed::Valid(fixed) = layout::Fixed::parse(&record) else {
            continue;
        };
        wrapped += usize::from(shape().runs(fixed.place, fixed.offset, fixed.length as usize)[1].1 > 0);
        places.push(fixed.place as u8);
    }
    assert!((0..=2).all(|place| places.contains(&place)) && wrapped > 0, "{places:?} {wrapped}");
}

#[test]
fn a_replica_goes_on_in_the_folder_that_version_1_left() {
    let mut opened = reopen(kept(), Durability::Sync);
    opened.journal.reclaim(Seq(4));
    for round in 0..60 {
        write(&mut opened, &[vote_in(3, 9 + round % 3)], true).unwrap();
    }
    let found = records(&reopen(disk_of(opened), Durability::Sync));
    assert!(remembered().iter().all(|record| found.contains(record)));
}
