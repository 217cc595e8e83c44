//! What a journal does when the disk forgets, tears, rots or fails.

use super::*;

const FILE: FileName = FileName::Journal;

fn report(disk: &MemoryDisk) -> (Vec<Record>, RecoveryReport) {
    let mut disk = disk.clone();
    let (superblock, _) = Superblock::read(&mut disk).unwrap();
    let (records, report) = inspect(&mut disk, &superblock, tiny()).unwrap();
    (records.into_iter().map(|recovered| recovered.record).collect(), report)
}

#[test]
fn a_torn_last_group_is_cut_however_it_is_torn() {
    let (disk, all) = written();
    let group = [body(4, 100), vote(4), prepared(4)];
    let mut cut = 0;
    for mask in 0..32 {
        for torn in [0, 1, 100, 255, 256, 300, 4096] {
            let mut opened = reopen(disk.clone(), Durability::Sync);
            // Five writes (body, two certificates, two runs of records); then the sync fails.
            let sync = opened.writer.disk().operations() + 6;
            opened.writer.disk().fail(sync, DiskFailure::Failed("power".to_owned()));
            write(&mut opened, &group, true).unwrap_err();
            let mut disk = disk_of(opened);
            // The seals of opening come first.
            disk.crash(Crash::Some { mask: mask << 2 | 3, torn });
            let (found, report) = report(&disk);
            assert_eq!(report.amnesia, None, "mask {mask} torn {torn}");
            assert_eq!(found[..all.len()], all, "mask {mask} torn {torn}");
            assert_eq!(found[all.len()..], group[..found.len() - all.len()], "mask {mask} torn {torn}");
            let mut opened = reopen(disk, Durability::Sync);
            cut += opened.report.cut;
            write(&mut opened, &[vote(9)], true).unwrap();
            let opened = reopen(disk_of(opened), Durability::Sync);
            assert_eq!((opened.report.amnesia, opened.report.cut), (None, 0));
            assert_eq!(records(&opened).last(), Some(&vote(9)));
        }
    }
    assert!(cut > 0, "no torn group had anything to cut");
}

#[test]
fn a_flipped_byte_anywhere_costs_at_most_a_body() {
    let (disk, all) = written();
    let length = disk.clone().len(FILE).unwrap().unwrap();
    for offset in 0..length {
        let mut disk = disk.clone();
        disk.flip(FILE, offset, 0x40);
        let (found, report) = report(&disk);
        assert_eq!(report.amnesia, None, "offset {offset}");
        if report.missing_bodies.is_empty() {
            assert_eq!(found, all, "offset {offset}");
        } else {
            let Record::Body { seq, body } = &all[1] else { panic!("the second record is a body") };
            assert_eq!(report.missing_bodies, [(*seq, body.digest)], "offset {offset}");
            assert_eq!(found.len(), all.len() - 1, "the votes stand");
        }
    }
}

#[test]
fn a_flipped_byte_is_repaired_from_the_other_copy() {
    let (disk, all) = written();
    for copy in [0, tiny().mirror()] {
        let mut disk = disk.clone();
        for at in [tiny().record_at(2), tiny().record_at(5), tiny().side_area(), 9] {
            disk.flip(FILE, copy + at, 1);
        }
        let opened = reopen(disk, Durability::Sync);
        assert_eq!((opened.report.repaired, records(&opened)), (4, all.clone()), "the header is a piece too");
        let (found, report) = report(&disk_of(opened));
        assert_eq!((report.repaired, found), (0, all.clone()));
    }
}

#[test]
fn a_record_rotten_in_both_copies_is_amnesia_and_not_cut() {
    let (disk, all) = written();
    for slot in 1..=all.len() as u64 {
        let mut opened = reopen(disk.clone(), Durability::Sync);
        write(&mut opened, &[horizon(6, 64)], true).unwrap();
        let mut disk = disk_of(opened);
        disk.flip(FILE, tiny().record_at(slot) + 80, 1);
        disk.flip(FILE, tiny().record_at(slot) + tiny().mirror() + 90, 1);
        let opened = reopen(disk, Durability::Sync);
        assert_eq!(opened.report.amnesia, Some(Amnesia::Rotten { slot, acknowledged: all.len() as u64 }));
        let superblock = opened.writer.superblock().clone();
        assert_eq!(
            superblock.amnesia.unwrap(),
            AmnesiaBox { epoch: superblock.epoch, view: View(6), high: Seq(64) }
        );
        assert!(opened.records.is_empty());
        let mut opened = reopen(disk_of(opened), Durability::Sync);
        assert_eq!(opened.report.amnesia, None);
        write(&mut opened, &[vote(70)], true).unwrap();
        assert_eq!(records(&reopen(disk_of(opened), Durability::Sync)), [vote(70)]);
    }
}

#[test]
fn a_certificate_rotten_in_both_copies_is_amnesia() {
    let (mut disk, _) = written();
    disk.flip(FILE, tiny().side_area() + 60, 1);
    disk.flip(FILE, tiny().side_area() + 70 + tiny().mirror(), 1);
    assert_eq!(report(&disk).1.amnesia, Some(Amnesia::Rotten { slot: 4, acknowledged: 5 }));
}

#[test]
fn the_last_acknowledged_record_is_missed_even_if_nothing_follows_it() {
    let (mut disk, all) = written();
    let last = tiny().record_at(all.len() as u64);
    for copy in [0, tiny().mirror()] {
        disk.write_at(FILE, last + copy, &[0; RECORD]).unwrap();
    }
    assert_eq!(report(&disk).1.amnesia, Some(Amnesia::Rotten { slot: 5, acknowledged: 5 }));
}

#[test]
fn a_misdirected_write_is_repaired_where_it_was_missing_and_where_it_hit() {
    let (disk, all) = written();
    for (from, to) in [(2, 4), (4, 2), (1, 5), (5, 9)] {
        for copy in [0, tiny().mirror()] {
            let mut disk = disk.clone();
            let mut record = [0; RECORD];
            disk.read_at(FILE, copy + tiny().record_at(from), &mut record).unwrap();
            disk.write_at(FILE, copy + tiny().record_at(to), &record).unwrap();
            disk.write_at(FILE, copy + tiny().record_at(from), &[0; RECORD]).unwrap();
            assert_eq!(report(&disk).0, all);
            let opened = reopen(disk, Durability::Sync);
            assert_eq!(opened.report.amnesia, None);
            assert_eq!(records(&opened), all);
        }
    }
}

#[test]
fn a_journal_cut_at_any_byte_yields_only_what_was_written() {
    let (disk, all) = written();
    let length = disk.clone().len(FILE).unwrap().unwrap();
    for bytes in 0..length {
        let mut disk = disk.clone();
        disk.set_len(FILE, bytes).unwrap();
        let (found, report) = report(&disk);
        assert!(found.iter().all(|record| all.contains(record)), "length {bytes}");
        let whole = found.len() + report.missing_bodies.len() == all.len();
        assert!(whole || report.amnesia.is_some(), "nothing acknowledged is lost in silence, length {bytes}");
    }
}

#[test]
fn a_body_lost_after_it_was_promised_is_named_and_its_votes_stand() {
    let (mut disk, all) = written();
    disk.flip(FILE, tiny().bodies_at() + 20, 1);
    let opened = reopen(disk, Durability::Sync);
    assert_eq!(opened.report.missing_bodies.len(), 1);
    assert_eq!(records(&opened), [all[0].clone(), all[2].clone(), all[3].clone(), all[4].clone()]);
}

#[test]
fn a_missing_journal_is_amnesia_only_if_something_was_promised() {
    let (mut disk, _) = written();
    disk.remove(FILE).unwrap();
    let opened = reopen(disk.clone(), Durability::Sync);
    assert_eq!(opened.report.amnesia, Some(Amnesia::Missing));
    assert_eq!(opened.writer.superblock().amnesia, None, "without a horizon no vote ever left");
    let mut opened = reopen(disk, Durability::Sync);
    write(&mut opened, &[horizon(0, 32)], true).unwrap();
    let mut disk = disk_of(opened);
    disk.remove(FILE).unwrap();
    assert!(reopen(disk, Durability::Sync).writer.superblock().amnesia.is_some());
}

#[test]
fn an_older_journal_put_back_after_amnesia_is_not_believed() {
    let (disk, _) = written();
    let mut old = vec![0; tiny().file_bytes() as usize];
    disk.clone().read_at(FILE, 0, &mut old).unwrap();
    let mut lost = disk;
    lost.remove(FILE).unwrap();
    let mut disk = disk_of(reopen(lost, Durability::Sync));
    disk.write_at(FILE, 0, &old).unwrap();
    assert_eq!(report(&disk).1.amnesia, Some(Amnesia::Header));
}

#[test]
fn another_replicas_journal_is_refused() {
    let (mut disk, _) = written();
    let mut superblock = Superblock::open(&mut disk, &identity()).unwrap().0;
    superblock.identity.replica = ReplicaId(3);
    let refused = open(disk, superblock, tiny(), Durability::Sync).map(|_| ());
    assert_eq!(refused, Err(JournalError::OtherOwner { cluster: identity().cluster, replica: ReplicaId(2) }));
}

#[test]
fn a_failure_at_any_call_is_final_and_a_restart_finds_all_that_was_reported() {
    let groups: Vec<Vec<Record>> =
        (1..6).map(|seq| vec![horizon(0, 4 * seq), body(seq, 40), vote(seq), prepared(seq)]).collect();
    let pointer = SnapshotPointer { seq: Seq(2), root: Digest([0; 32]) };
    let run = |mut opened: Opened<MemoryDisk>| {
        let mut durable = Position(0);
        let mut failed = None;
        for group in &groups {
            match write(&mut opened, group, true) {
                Ok(position) => durable = position,
                Err(error) => failed = failed.or(Some(error)),
            }
            if failed.is_some() {
                assert!(
                    matches!(opened.writer.sync(), Err(JournalError::Failed(_))),
                    "it refuses everything"
                );
                assert!(matches!(opened.writer.point_to(pointer), Err(JournalError::Failed(_))));
            } else if let Err(error) = opened.writer.point_to(pointer) {
                failed = Some(error);
            }
        }
        (durable, failed, opened)
    };
    let fresh = || reopen(formatted(Shape::exactly(64, 8192, 8192)), Durability::Sync);
    let before = disk_of(fresh()).operations();
    let after = disk_of(run(fresh()).2).operations();
    for nth in before + 1..=after {
        for kind in [DiskFailure::Full, DiskFailure::Failed("EIO".to_owned())] {
            for crash in [Crash::Forget, Crash::Keep, Crash::Some { mask: 0x5555, torn: 100 }] {
                let mut opened = fresh();
                opened.writer.disk().fail(nth, kind.clone());
                let (durable, failed, opened) = run(opened);
                assert!(matches!(failed, Some(JournalError::Disk(_))), "call {nth}: {failed:?}");
                let mut disk = disk_of(opened);
                disk.crash(crash);
                let opened = reopen(disk, Durability::Sync);
                assert_eq!(opened.report.amnesia, None, "call {nth} {crash:?}");
                let found = records(&opened);
                let promised = groups.iter().take(durable.0 as usize / 4).flatten();
                let kept = promised.filter(|record| !matches!(record, Record::Horizon { .. }));
                assert!(kept.into_iter().all(|record| found.contains(record)), "call {nth} {crash:?}");
            }
        }
    }
}

#[test]
fn a_seal_of_another_journal_proves_nothing() {
    let (mut disk, all) = written();
    let foreign = super::super::layout::Seal { instance: 77, synced: 1000, first: 1000 }.encode();
    assert_eq!(foreign.len(), SEAL);
    disk.write_at(FILE, Shape::seal_at(0), &foreign).unwrap();
    disk.write_at(FILE, Shape::seal_at(1), &foreign).unwrap();
    let (found, report) = report(&disk);
    let expected = RecoveryReport { records: 5, usage: report.usage, ..RecoveryReport::default() };
    assert_eq!((found, report), (all, expected));
}

/// Numbers that look random and are the same every time.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// What a slot records; every fourth group moves the stable checkpoint.
fn group_of(seq: u64, low: u64, random: &mut Random) -> (Vec<Record>, u64) {
    if seq - low <= 3 {
        let bytes = 20 + random.below(200) as usize;
        return (vec![body(seq, bytes), vote(seq), prepared(seq), new_view(1)], low);
    }
    let low = seq - 1 - random.below(2);
    (vec![vote(seq), stable(low)], low)
}

fn is_needed(record: &Record, low: u64) -> bool {
    match record {
        Record::Vote { prepare, .. } => prepare.seq.0 > low,
        Record::Body { seq, .. } => seq.0 > low,
        Record::Prepared(certificate) => certificate.statement.seq.0 > low,
        _ => false,
    }
}

/// Writes until the disk fails. Returns how many of `written` were reported durable, and the last stable slot.
fn run_until_failure(
    opened: &mut Opened<MemoryDisk>,
    written: &mut Vec<Record>,
    low: &mut u64,
    random: &mut Random,
) -> usize {
    let mut reported = written.len();
    for seq in *low + 1.. {
        let (group, next_low) = group_of(seq, *low, random);
        for part in group.chunks(1 + random.below(4) as usize) {
            written.extend(part.iter().cloned());
            let written_only = write(opened, part, random.below(4) > 0);
            let durable = if random.below(2) == 0 { opened.writer.sync() } else { written_only.clone() };
            if let Err(error) = written_only.and(durable.clone()) {
                assert!(matches!(error, JournalError::Disk(_)), "{error}");
                return reported;
            }
            if durable.is_ok_and(|position| position == opened.journal.last()) {
                reported = written.len();
            }
        }
        // Only a stable certificate that is durable lets the past go.
        if reported == written.len() {
            *low = next_low;
            opened.journal.reclaim(Seq(*low));
        }
    }
    reported
}

#[test]
fn power_cuts_at_random_moments_lose_nothing_that_was_reported_while_the_rings_turn() {
    let mut random = Random(7);
    let mut opened = reopen(formatted(Shape::exactly(160, 32768, 32768)), Durability::Sync);
    let (mut written, mut low, mut cut) = (Vec::new(), 0, 0);
    for crash in 0..300 {
        let nth = opened.writer.disk().operations() + 1 + random.below(250);
        opened.writer.disk().fail(nth, DiskFailure::Failed("power".to_owned()));
        let reported = run_until_failure(&mut opened, &mut written, &mut low, &mut random);
        let mut disk = disk_of(opened);
        let mask = random.below(1 << 31) << 31 | random.below(1 << 31);
        disk.crash(Crash::Some { mask, torn: random.below(400) as usize });
        opened = reopen(disk, Durability::Sync);
        assert_eq!(opened.report.amnesia, None, "crash {crash}");
        cut += opened.report.cut;
        let found = records(&opened);
        let promised = &written[..reported];
        // A stable certificate that was not reported, but survived, lets go what it covers.
        let stable = found.iter().filter_map(|record| match record {
            Record::Stable(certificate) => Some(certificate.statement.seq.0),
            _ => None,
        });
        low = stable.fold(low, u64::max);
        for record in promised.iter().filter(|record| is_needed(record, low)) {
            assert!(found.contains(record), "crash {crash}: {record:?}");
        }
        for kind in [
            |one: &&Record| matches!(one, Record::Stable(_)),
            |one: &&Record| matches!(one, Record::NewView { .. }),
        ] {
            let newest = promised.iter().rfind(kind);
            assert!(newest.is_none_or(|record| found.contains(record)), "crash {crash}: {newest:?}");
        }
        assert!(found.iter().all(|record| written.contains(record)), "crash {crash}");
        written = found;
        opened.journal.reclaim(Seq(low));
    }
    assert!(cut > 20 && opened.writer.superblock().journal_instance == 1, "{cut} records were cut");
}

#[test]
fn a_record_of_another_history_at_its_place_is_not_taken() {
    let history = |records: &[Record]| {
        let mut opened = reopen(formatted(tiny()), Durability::Sync);
        for record in records {
            write(&mut opened, std::slice::from_ref(record), true).unwrap();
        }
        disk_of(opened)
    };
    let (mut disk, mut other) = (history(&[vote(1), vote(2)]), history(&[vote(7), vote(8)]));
    let mut record = [0; RECORD];
    other.read_at(FILE, tiny().record_at(2), &mut record).unwrap();
    for copy in [0, tiny().mirror()] {
        disk.write_at(FILE, copy + tiny().record_at(2), &record).unwrap();
    }
    assert_eq!(report(&disk).1.amnesia, Some(Amnesia::Rotten { slot: 2, acknowledged: 2 }));
}

#[test]
fn what_is_torn_while_it_is_carried_forward_is_still_where_it_was() {
    let mut opened = reopen(formatted(Shape::exactly(32, 4096, 4096)), Durability::Sync);
    write(&mut opened, &[new_view(1), body(9, 40), vote(9), prepared(9)], true).unwrap();
    let kept = [new_view(1), body(9, 40), vote(9), prepared(9)];
    let mut before = disk_of(opened);
    // On to the group whose place is made by carrying these forward.
    loop {
        opened = reopen(before.clone(), Durability::Sync);
        write(&mut opened, &[vote(10)], true).unwrap();
        if opened.writer.counters().carried > 0 {
            break;
        }
        before = disk_of(opened);
    }
    // One group takes the places that this frees at once.
    let group = vec![vote(10); 20];
    let mut opened = reopen(before.clone(), Durability::Sync);
    write(&mut opened, &group, true).unwrap();
    assert_eq!(opened.writer.counters().carried, 4, "all four were carried");
    let (first, last) = (before.operations(), disk_of(opened).operations());
    for nth in first + 1..=last {
        for mask in 0..64 {
            let mut opened = reopen(before.clone(), Durability::Sync);
            opened.writer.disk().fail(nth, DiskFailure::Failed("power".to_owned()));
            if write(&mut opened, &group, true).is_ok() {
                continue;
            }
            let mut disk = disk_of(opened);
            disk.crash(Crash::Some { mask, torn: 300 });
            let opened = reopen(disk, Durability::Sync);
            assert_eq!((opened.report.amnesia, &opened.report.missing_bodies), (None, &vec![]));
            let found = records(&opened);
            assert!(kept.iter().all(|record| found.contains(record)), "operation {nth} mask {mask:b}");
        }
    }
}
