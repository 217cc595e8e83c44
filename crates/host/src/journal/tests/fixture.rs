//! Folders that earlier and this version wrote. Of the first version the superblock is read; its journal and its state, one
//! piece of bytes, have another form and are refused by name. Everything of the second is read.
//!
//! `QUORATE_REWRITE=1 cargo test -p quorate-host fixture` writes the folder of version 2 again. That is right only as
//! long as no program that writes it was released; a later version gets a folder and a test of its own, beside these.

use std::fs;
use std::path::PathBuf;
use std::sync::Once;

use super::*;
use crate::folder::check_folder;

const FIRST: [FileName; 3] = [FileName::Superblock, FileName::Journal, FileName::Snapshot(Seq(4))];
const FILES: [FileName; 4] =
    [FileName::Superblock, FileName::Journal, FileName::Snapshot(Seq(4)), FileName::Segment(1)];

fn folder(version: u16) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "fixtures", &format!("version-{version}")].iter().collect()
}

pub(super) fn shape() -> Shape {
    Shape::exactly(32, 8192, 4096)
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
    store_state(&mut opened, 4).unwrap();
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
    fs::create_dir_all(folder(2)).unwrap();
    let mut disk = written();
    for file in FILES {
        fs::write(folder(2).join(file.to_string()), contents(&mut disk, file)).unwrap();
    }
}

fn kept(version: u16, files: &[FileName]) -> MemoryDisk {
    static REWRITTEN: Once = Once::new();
    REWRITTEN.call_once(rewrite);
    let mut disk = MemoryDisk::new();
    for file in files {
        disk.write_at(*file, 0, &fs::read(folder(version).join(file.to_string())).unwrap()).unwrap();
        disk.sync(*file).unwrap();
    }
    disk.sync_folder().unwrap();
    disk
}

/// Superblock and journal say what was written into them, whatever version wrote it.
fn assert_remembers(mut disk: MemoryDisk, good: usize) {
    let report = check_folder(&mut disk, tiny()).unwrap();
    let (superblock, copies) = report.superblock.unwrap();
    assert_eq!((superblock.identity, copies), (identity(), good));
    assert_eq!((superblock.view_promised, superblock.high_promised), (View(3), Seq(12)));
    assert_eq!(superblock.snapshot.map(|pointer| pointer.seq), Some(Seq(4)));
    assert_eq!((superblock.amnesia, superblock.unsynced), (None, false));
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
fn a_fixture_of_format_version_1_is_refused_by_name_its_journal_and_its_state() {
    let mut disk = kept(1, &FIRST);
    let past = JournalError::PastVersion { found: 1 };
    assert!(past.to_string().contains("start a new cluster with this program, or go on with the older"));
    let refused = StoreError::PastVersion { seq: Seq(4), found: 1 };
    assert!(refused.to_string().contains("start a new cluster with this program, or go on with the older"));
    let report = check_folder(&mut disk, tiny()).unwrap();
    assert!(!report.is_sound());
    assert_eq!(report.snapshots, [(Seq(4), Err(refused.clone()))]);
    assert_eq!(Store::open(disk.share(), true).map(|_| ()), Err(refused));
    assert_eq!(report.journal.unwrap().map(|_| ()), Err(past.clone()));
    assert_eq!(report.superblock.unwrap().0.identity, identity());
    let superblock = Superblock::open(&mut disk, &identity()).unwrap();
    assert_eq!(scan::read_header(&mut disk, &superblock.0, tiny()).map(|_| ()), Err(past));
}

#[test]
fn a_fixture_of_format_version_2_is_read_to_the_last_record_and_page() {
    let mut disk = kept(2, &FILES);
    let report = check_folder(&mut disk, tiny()).unwrap();
    assert!(report.is_sound() && report.foreign.is_empty(), "{report:?}");
    let small = small_state(4);
    assert_eq!(report.snapshots, [(Seq(4), Ok(small.application.bytes() + small.sessions.bytes()))]);
    assert_eq!(load_named(&disk).root, small.root());
    assert_remembers(disk, 4);
}

#[test]
fn the_fixture_has_a_payload_in_every_place_and_one_that_goes_on_at_the_beginning() {
    let mut disk = kept(2, &FILES);
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
fn a_replica_goes_on_in_the_folder_that_is_kept() {
    let mut opened = reopen(kept(2, &FILES), Durability::Sync);
    opened.journal.reclaim(Seq(4));
    for round in 0..60 {
        write(&mut opened, &[vote_in(3, 9 + round % 3)], true).unwrap();
    }
    let found = records(&reopen(disk_of(opened), Durability::Sync));
    assert!(remembered().iter().all(|record| found.contains(record)));
}
