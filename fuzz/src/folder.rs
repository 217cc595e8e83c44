//! A replica's whole folder, changed anywhere, with checksums that are right or not.
//!
//! The bytes are changes to a small folder that a replica wrote: which file, and whether its checksums are made right
//! afterwards; where; how many bytes; these bytes.

use quorate_host::decoders::mend;
use quorate_host::disk::{Disk, FileName, MemoryDisk};
use quorate_host::divergence::Case;
use quorate_host::folder::check_folder;
use quorate_host::journal::{self, Durability, Shape};
use quorate_host::store::Store;
use quorate_host::superblock::Superblock;
use quorate_protocol::types::Seq;

use super::Meter;

/// Records, and bytes of either area, of the journal in the folder.
const JOURNAL: (u64, u64, u64) = (32, 8192, 4096);
/// What says that a file's checksums are made right after it was changed.
const MENDED: u8 = 0x80;
/// Bytes before those that one change writes.
const CHANGE: usize = 5;

type File = (FileName, Vec<u8>);

/// The folder as it was.
fn written() -> [File; 4] {
    macro_rules! file {
        ($name:literal) => {
            include_bytes!(concat!("../../crates/host/fixtures/version-2/", $name)).to_vec()
        };
    }
    [
        (FileName::Superblock, file!("superblock")),
        (FileName::Journal, file!("journal")),
        (FileName::Snapshot(Seq(4)), file!("snapshot-4")),
        (FileName::Segment(1), file!("state-1")),
    ]
}

/// The folder after these changes; none if they are none.
fn changed(mut changes: &[u8]) -> Option<[File; 4]> {
    let mut files = written();
    let mut mended = [false; 4];
    while !changes.is_empty() {
        let ([which, low, middle, high, length], rest) = changes.split_first_chunk::<CHANGE>()?;
        let (bytes, rest) = rest.split_at_checked(usize::from(*length))?;
        let at = u32::from_le_bytes([*low, *middle, *high, 0]) as usize;
        let which_file = usize::from(which & !MENDED);
        let (_, file) = files.get_mut(which_file)?;
        file.get_mut(at..at + bytes.len())?.copy_from_slice(bytes);
        mended[which_file] |= which & MENDED != 0;
        changes = rest;
    }
    for ((name, file), _) in files.iter_mut().zip(mended).filter(|(_, mended)| *mended) {
        mend(*name, file, JOURNAL);
    }
    Some(files)
}

/// Looks into the folder, starts from it, and looks once more: whatever is in it, a start leaves a journal that a second
/// start understands alike.
pub(super) fn feed(bytes: &[u8], _: Meter) -> bool {
    let Some(files) = changed(bytes) else { return false };
    let mut disk = MemoryDisk::new();
    for (name, file) in &files {
        disk.write_at(*name, 0, file).expect("memory takes what it is given");
        disk.sync(*name).expect("memory takes what it is given");
    }
    disk.sync_folder().expect("memory takes what it is given");
    let shape = Shape::new(JOURNAL.0, JOURNAL.1, JOURNAL.2);
    check_folder(&mut disk, shape).expect("nothing is wrong with the disk itself");
    drop(Case::read(&mut disk));
    if let Ok(mut store) = Store::open(disk.share(), true) {
        for seq in store.list() {
            drop(store.load(seq));
        }
    }
    let Ok((superblock, _)) = Superblock::read(&mut disk) else { return false };
    let Ok(opened) = journal::open(disk.share(), superblock, shape, Durability::Sync) else { return false };
    let first: Vec<_> = opened.records.into_iter().map(|recovered| recovered.record).collect();
    let Ok((superblock, _)) = Superblock::read(&mut disk) else { panic!("what was written is read") };
    let again = journal::open(disk, superblock, shape, Durability::Sync).expect("what was mended is read");
    assert_eq!(again.report.amnesia, None, "what a start made of the journal is whole");
    let second: Vec<_> = again.records.into_iter().map(|recovered| recovered.record).collect();
    assert_eq!(first, second, "two starts understand one journal alike");
    true
}
