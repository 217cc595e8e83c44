//! The box of a journal that lost promises: there before the journal is replaced, and until it is superfluous.

use super::*;

const FILE: FileName = FileName::Journal;

/// A disk that promised view 6 and slot 64, whose first record is rotten in both copies.
fn rotten() -> MemoryDisk {
    let (disk, _) = written();
    let mut opened = reopen(disk, Durability::Sync);
    write(&mut opened, &[horizon(6, 64)], true).unwrap();
    let mut disk = disk_of(opened);
    disk.flip(FILE, tiny().record_at(1) + 80, 1);
    disk.flip(FILE, tiny().record_at(1) + tiny().mirror() + 80, 1);
    disk.crash(Crash::Keep);
    disk
}

fn boxed(view: u64, high: u64) -> Option<AmnesiaBox> {
    Some(AmnesiaBox { epoch: quorate_protocol::types::Epoch(0), view: View(view), high: Seq(high) })
}

/// Opens a disk whatever it holds; none if the disk fails meanwhile. The disk is given back as it is then.
fn open_failing(mut disk: MemoryDisk, nth: u64) -> (MemoryDisk, bool) {
    disk.fail(nth, DiskFailure::Failed("power".to_owned()));
    let mut handle = disk.share();
    let opened = Superblock::open(&mut handle, &identity())
        .map(|(superblock, _)| open(handle, superblock, tiny(), Durability::Sync).is_ok());
    (disk, opened.is_ok_and(|opened| opened))
}

#[test]
fn c9_a_power_cut_at_any_moment_of_replacing_a_damaged_journal_leaves_the_box() {
    let disk = rotten();
    let begun = disk.operations();
    let (mut failed, mut replaced) = (0, 0);
    for nth in begun + 1.. {
        let (left, opened) = open_failing(disk.clone(), nth);
        for crash in [
            Crash::Forget,
            Crash::Keep,
            Crash::Some { mask: 0b01, torn: 2000 },
            Crash::Some { mask: 0b11, torn: 5000 },
            Crash::Some { mask: u64::MAX, torn: 0 },
        ] {
            let mut left = left.clone();
            left.crash(crash);
            let found = reopen(left, Durability::Sync);
            assert_eq!(found.writer.superblock().amnesia, boxed(6, 64), "operation {nth}, {crash:?}");
            assert!(found.records.is_empty(), "operation {nth}, {crash:?}");
            replaced += usize::from(found.report.amnesia.is_none());
        }
        if opened {
            break;
        }
        failed += 1;
    }
    assert!(failed > 5 && replaced > 0, "{failed} failures, {replaced} new journals");
}

#[test]
fn c9_a_missing_journal_of_a_replica_that_promised_is_replaced_under_a_box_and_of_a_new_one_under_none() {
    let (mut disk, _) = written();
    disk.remove(FILE).unwrap();
    let opened = reopen(disk, Durability::Sync);
    assert_eq!(opened.report.amnesia, Some(Amnesia::Missing));
    assert_eq!(opened.writer.superblock().amnesia, None, "without a horizon there was no vote");
    let mut disk = rotten();
    disk.remove(FILE).unwrap();
    let opened = reopen(disk, Durability::Sync);
    assert_eq!(opened.writer.superblock().amnesia, boxed(6, 64));
}

#[test]
fn c9_further_damage_makes_the_box_as_large_as_the_promises_are_by_then() {
    let mut opened = reopen(rotten(), Durability::Sync);
    write(&mut opened, &[horizon(8, 128), new_view(8)], true).unwrap();
    assert_eq!(opened.writer.superblock().amnesia, boxed(6, 64), "promises alone do not move it");
    let mut disk = disk_of(opened);
    disk.remove(FILE).unwrap();
    assert_eq!(reopen(disk, Durability::Sync).writer.superblock().amnesia, boxed(8, 128));
}

#[test]
fn c9_the_box_goes_only_when_what_makes_it_superfluous_is_durable() {
    let disk = disk_of(reopen(rotten(), Durability::Sync));
    let begun = disk.operations();
    let healing = [horizon(7, 64), new_view(7), stable(64), Record::Healed];
    let (mut kept, mut gone) = (0, 0);
    for nth in begun + 1.. {
        for crash in [Crash::Forget, Crash::Keep, Crash::Some { mask: 0b1, torn: 300 }] {
            let mut opened = reopen(disk.clone(), Durability::Sync);
            opened.writer.disk().fail(nth, DiskFailure::Failed("power".to_owned()));
            // Even if nobody asked for a sync yet.
            let written = write(&mut opened, &healing, false);
            let mut left = disk_of(opened);
            left.crash(crash);
            let found = reopen(left, Durability::Sync);
            assert_eq!(found.report.amnesia, None, "operation {nth}, {crash:?}");
            match found.writer.superblock().amnesia {
                None => {
                    assert_eq!(records(&found), [new_view(7), stable(64)], "operation {nth}, {crash:?}");
                    gone += 1;
                }
                same => {
                    assert_eq!((same, written.is_err()), (boxed(6, 64), true), "operation {nth}, {crash:?}");
                    kept += 1;
                }
            }
        }
        let reached = nth > begun + 40;
        if reached {
            break;
        }
    }
    assert!(kept > 5 && gone > 5, "{kept} kept, {gone} gone");
}

#[test]
fn c9_a_box_that_went_stays_gone() {
    let mut opened = reopen(rotten(), Durability::Sync);
    write(&mut opened, &[horizon(7, 64), new_view(7), stable(64), Record::Healed], true).unwrap();
    let mut disk = disk_of(opened);
    disk.crash(Crash::Forget);
    let opened = reopen(disk, Durability::Sync);
    assert_eq!((opened.report.amnesia, opened.writer.superblock().amnesia), (None, None));
    assert_eq!(records(&opened), [new_view(7), stable(64)]);
}
