//! The disk fails, once, at every call that a whole life of a folder makes: from its format to its clean stop.

use super::*;
use crate::folder::{FormatError, check_folder};
use crate::superblock::SuperblockError;

fn shape() -> Shape {
    Shape::exactly(32, 4096, 4096)
}

/// How far a life came before the disk failed.
#[derive(Debug, Default)]
struct Life {
    /// Whether the folder was formatted.
    formatted: bool,
    /// Records reported durable, and still needed at the end of what was reported.
    reported: Vec<Record>,
    /// The newest snapshot that was reported stored.
    snapshot: Option<Seq>,
    carried: u64,
    /// Whether it failed under the role that stores states; the journal's knows nothing of that.
    store_failed: bool,
}

/// Formats, opens, writes through views and checkpoints until the rings have turned, stores states, and closes.
fn live(disk: &MemoryDisk, life: &mut Life) -> Result<(), JournalError> {
    match format_folder(&mut disk.share(), identity(), shape(), Reserve::Whole) {
        Ok(_) => life.formatted = true,
        Err(FormatError::Disk(error) | FormatError::Superblock(SuperblockError::Disk(error))) => {
            return Err(error.into());
        }
        Err(other) => panic!("{other}"),
    }
    let superblock = Superblock::open(&mut disk.share(), &identity()).unwrap().0;
    let mut opened = open(disk.share(), superblock, shape(), Durability::Sync)?;
    let done = run(&mut opened, life);
    life.carried = opened.writer.counters().carried;
    if done.is_err() && !life.store_failed {
        assert_refuses_everything(&mut opened, disk);
    }
    done.and(opened.writer.close().map(drop))
}

fn run(opened: &mut Opened<MemoryDisk>, life: &mut Life) -> Result<(), JournalError> {
    // These stay in the way of the rings.
    let anchor = [prepared(60), prepared(61)];
    write(opened, &anchor, true)?;
    life.reported = anchor.to_vec();
    for view in 1..=9 {
        let seq = 2 * view;
        let group =
            [horizon(view, 4 * view), new_view(view), body(seq, 700), vote_in(view, seq), prepared(seq)];
        write(opened, &group, true)?;
        life.reported = [&anchor, &group[1..]].concat();
        write(opened, &[stable(seq - 1), vote_in(view, seq + 1)], view % 2 == 0)?;
        if opened.writer.sync()? == opened.journal.last() {
            life.reported.extend([stable(seq - 1), vote_in(view, seq + 1)]);
        }
        opened.journal.reclaim(Seq(seq - 1));
        if view % 3 == 0 {
            let pointer = save_state(opened, seq - 1).inspect_err(|_| life.store_failed = true)?;
            opened.writer.point_to(pointer)?;
            life.snapshot = Some(pointer.seq);
        }
    }
    opened.writer.update(|superblock| superblock.incarnation = 1)
}

fn assert_refuses_everything(opened: &mut Opened<MemoryDisk>, disk: &MemoryDisk) {
    let before = disk.operations();
    let pointer = SnapshotPointer { seq: Seq(99), root: Digest([9; 32]) };
    let refusals = [
        write(opened, &[vote_in(9, 99)], true).map(drop),
        opened.writer.sync().map(drop),
        opened.writer.point_to(pointer),
        opened.writer.update(|superblock| superblock.incarnation = 7),
    ];
    assert!(refusals.iter().all(|refusal| matches!(refusal, Err(JournalError::Failed(_)))), "{refusals:?}");
    assert_eq!(disk.operations(), before, "a failed disk is not asked again");
}

#[test]
fn e7_a_disk_that_is_full_or_broken_at_any_call_stops_the_writer_and_loses_nothing_that_was_reported() {
    let (whole, mut all) = (MemoryDisk::new(), Life::default());
    live(&whole, &mut all).unwrap();
    assert!(all.carried > 0, "room was made by carrying records forward");
    let calls = whole.operations();
    assert!(calls > 150, "{calls}");
    for nth in 1..=calls {
        for kind in [DiskFailure::Full, DiskFailure::Failed("EIO".to_owned())] {
            for crash in [Crash::Keep, Crash::Forget, Crash::Some { mask: 0x5a5a_5a5a, torn: 100 }] {
                let what = format!("call {nth}, {kind:?}, {crash:?}");
                let (mut disk, mut life) = (MemoryDisk::new(), Life::default());
                disk.fail(nth, kind.clone());
                let failure = live(&disk, &mut life).unwrap_err();
                let expected =
                    |error: &JournalError| matches!(error, JournalError::Disk(error) if error.kind == kind);
                assert!(expected(&failure), "{what}: {failure}");
                disk.crash(crash);
                comes_back(disk, &life, &what);
            }
        }
    }
}

/// The restart after the failure: it knows all that was reported, and goes on.
#[track_caller]
fn comes_back(mut disk: MemoryDisk, life: &Life, what: &str) {
    let superblock = match Superblock::open(&mut disk, &identity()) {
        Err(SuperblockError::NotFormatted) | Err(SuperblockError::Damaged { .. }) if !life.formatted => {
            return;
        }
        opened => opened.unwrap().0,
    };
    assert!(check_folder(&mut disk, shape()).unwrap().is_sound(), "{what}");
    if let Some(seq) = life.snapshot {
        let newest = superblock.snapshot.unwrap().seq;
        assert!(newest >= seq, "{what}");
        assert_eq!(load_named(&disk).seq, newest);
    }
    let mut opened = open(disk, superblock, shape(), Durability::Sync).unwrap();
    assert_eq!((opened.report.amnesia, &opened.report.missing_bodies), (None, &vec![]), "{what}");
    let found = records(&opened);
    // A stable certificate or a NEW-VIEW that nobody was told of may have outlived the failure, and let others go.
    let later = found.iter().filter(|record| !life.reported.contains(record)).collect::<Vec<_>>();
    let outdated = |record: &Record| {
        later.iter().any(|newer| match (record, newer) {
            (Record::NewView { .. } | Record::Vote { .. }, Record::NewView { .. }) => true,
            (Record::Stable(_), Record::Stable(_)) => true,
            (Record::Body { seq, .. }, Record::Stable(stable)) => *seq <= stable.statement.seq,
            (Record::Prepared(held), Record::Stable(stable)) => held.statement.seq <= stable.statement.seq,
            (Record::Vote { prepare, .. }, Record::Stable(stable)) => prepare.seq <= stable.statement.seq,
            _ => false,
        })
    };
    let lost = life.reported.iter().find(|record| !found.contains(record) && !outdated(record));
    assert_eq!(lost, None, "{what}");
    write(&mut opened, &[vote_in(20, 200)], true).unwrap();
    assert!(records(&open_again(disk_of(opened))).contains(&vote_in(20, 200)), "{what}");
}

fn open_again(mut disk: MemoryDisk) -> Opened<MemoryDisk> {
    let superblock = Superblock::open(&mut disk, &identity()).unwrap().0;
    open(disk, superblock, shape(), Durability::Sync).unwrap()
}
