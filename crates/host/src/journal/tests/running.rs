//! What a journal does while nothing rots.

use super::*;

#[test]
fn a_group_reads_back_after_a_power_cut() {
    let mut opened = reopen(formatted(tiny()), Durability::Sync);
    let all = [body(1, 40), vote(1), prepared(1), horizon(0, 32), stable(0), new_view(1)];
    assert_eq!(write(&mut opened, &all, true), Ok(Position(6)));
    let signed = opened.journal.append(&Record::ViewChange(view_change(2)), Some(b"the signed bytes"));
    opened.writer.write(&opened.journal.take_group().unwrap(), true).unwrap();
    let mut disk = disk_of(opened);
    disk.crash(Crash::Forget);
    let opened = reopen(disk, Durability::Sync);
    let mut expected = all.to_vec();
    expected.remove(3);
    expected.push(Record::ViewChange(view_change(2)));
    assert_eq!((opened.report.amnesia, opened.report.cut, opened.report.repaired), (None, 0, 0));
    assert_eq!(records(&opened), expected);
    let last = opened.records.last().unwrap();
    assert_eq!((last.position, last.signed.as_deref()), (signed, Some(b"the signed bytes".as_slice())));
    assert_eq!(opened.writer.superblock().high_promised, Seq(32), "the horizon is in the superblock");
    assert_eq!(opened.journal.last(), Position(7), "positions go on");
}

#[test]
fn a_group_costs_one_sync_and_a_horizon_two_more() {
    let mut opened = reopen(formatted(tiny()), Durability::Sync);
    write(&mut opened, &[body(1, 40), vote(1), prepared(1)], true).unwrap();
    assert_eq!((opened.writer.counters().syncs, opened.writer.counters().superblocks), (1, 0));
    write(&mut opened, &[horizon(0, 32), vote(2)], true).unwrap();
    assert_eq!((opened.writer.counters().syncs, opened.writer.counters().superblocks), (2, 1));
    write(&mut opened, &[horizon(0, 16), vote(3)], true).unwrap();
    assert_eq!(opened.writer.counters().superblocks, 1, "a horizon that was promised already costs nothing");
}

#[test]
fn a_position_is_not_reported_before_it_is_synced() {
    let mut opened = reopen(formatted(tiny()), Durability::Sync);
    assert_eq!(write(&mut opened, &[vote(1)], false), Ok(Position(0)));
    assert_eq!(write(&mut opened, &[horizon(0, 32)], false), Ok(Position(0)));
    assert_eq!(opened.writer.sync(), Ok(Position(2)));
    assert!(opened.journal.take_group().is_none());
}

#[test]
fn the_rings_turn_around_many_times_and_keep_what_is_newest() {
    let mut opened = reopen(formatted(Shape::exactly(48, 8192, 4096)), Durability::Sync);
    opened.journal.append(&Record::ViewChange(view_change(1)), Some(b"mine"));
    opened.journal.append(&new_view(1), None);
    for seq in 1..=200 {
        let batch = [body(seq, 300), vote(seq), prepared(seq)];
        write(&mut opened, &batch, true).unwrap();
        if seq % 2 == 0 {
            write(&mut opened, &[stable(seq)], true).unwrap();
            opened.journal.reclaim(Seq(seq));
        }
        if seq % 7 == 0 {
            let mut disk = disk_of(opened);
            disk.crash(Crash::Forget);
            opened = reopen(disk, Durability::Sync);
            assert_eq!((opened.report.amnesia, opened.report.cut), (None, 0), "slot {seq}");
            let found = records(&opened);
            let [batch, votes @ ..] = &batch;
            assert!(votes.iter().all(|record| found.contains(record)), "slot {seq}");
            // Of a batch whose slot is stable only the room it takes is of interest.
            assert_eq!(found.contains(batch), seq % 2 != 0, "slot {seq}");
            assert!(found.contains(&new_view(1)) && found.contains(&stable(seq - seq % 2)), "slot {seq}");
            assert_eq!(opened.records.iter().filter(|one| one.signed.as_deref() == Some(b"mine")).count(), 1);
            opened.journal.reclaim(Seq(seq - seq % 2));
        }
    }
}

#[test]
fn a_full_journal_says_which_area_and_takes_nothing_more() {
    let fill = |record: fn(u64) -> Record| {
        let mut opened = reopen(formatted(tiny()), Durability::Sync);
        let error = (1..100).find_map(|seq| write(&mut opened, &[record(seq)], true).err()).unwrap();
        assert_eq!(write(&mut opened, &[vote(1)], true), Err(JournalError::Failed(Box::new(error.clone()))));
        let recovered = reopen(disk_of(opened), Durability::Sync);
        assert_eq!(recovered.report.amnesia, None);
        error
    };
    assert_eq!(fill(vote), JournalError::Full { area: Area::Records, bytes: 8192 });
    assert_eq!(fill(|seq| body(seq, 1000)), JournalError::Full { area: Area::Bodies, bytes: 4096 });
    let big = |seq: u64| {
        let many = (0..20).map(|id| (ReplicaId(id), Signature([0; 64]))).collect();
        Record::Prepared(Certificate { statement: prepare(seq), signatures: List(many) })
    };
    assert_eq!(fill(big), JournalError::Full { area: Area::Certificates, bytes: 4096 });
}

#[test]
fn a_mode_without_syncs_comes_back_as_an_amnesiac_unless_it_was_closed() {
    for durability in [Durability::Os, Durability::None] {
        let mut opened = reopen(formatted(tiny()), durability);
        assert_eq!(write(&mut opened, &[horizon(3, 32), vote(1)], true), Ok(Position(2)));
        assert_eq!(opened.writer.counters().syncs, 0);
        let mut disk = disk_of(opened);
        disk.crash(Crash::Keep);
        let crashed = reopen(disk.clone(), Durability::Sync);
        assert_eq!(crashed.report.amnesia, Some(Amnesia::Unsynced));
        let expected = AmnesiaBox { epoch: Default::default(), view: View(3), high: Seq(32) };
        assert_eq!(crashed.writer.superblock().amnesia, Some(expected));
        assert!(crashed.records.is_empty());
        let again = reopen(crashed.writer.close().unwrap(), Durability::Sync);
        assert_eq!(again.report.amnesia, None, "it is told once; the box stays");
        assert_eq!(again.writer.superblock().amnesia, Some(expected));
    }
    let mut opened = reopen(formatted(tiny()), Durability::Os);
    write(&mut opened, &[horizon(3, 32), vote(1)], true).unwrap();
    let mut disk = opened.writer.close().unwrap();
    disk.crash(Crash::Forget);
    let opened = reopen(disk, Durability::Sync);
    assert_eq!((opened.report.amnesia, records(&opened)), (None, vec![vote(1)]));
}

#[test]
fn a_snapshot_is_durable_before_the_superblock_names_it() {
    let mut opened = reopen(formatted(tiny()), Durability::Sync);
    for seq in [128, 256, 384] {
        opened.journal.reclaim(Seq(seq));
        write(&mut opened, &[vote(seq + 1)], true).unwrap();
        let pointer = store_state(&mut opened, seq).unwrap();
        let mut disk = opened.writer.disk().clone();
        disk.crash(Crash::Forget);
        assert_eq!(load_named(&disk), pointer);
    }
}

#[test]
fn the_copies_of_a_record_are_a_mebibyte_apart() {
    let shape = Shape::new(1, 1, 1);
    assert!(shape.mirror() - (shape.side_area() - shape.records_at()) >= 1 << 20);
    let shape = Shape::of(&quorate_protocol::parameters::Parameters::default(), 4);
    assert!(shape.body_bytes() >= 512 << 20 && shape.records() >= 3 * 640 && shape.side_bytes() < 8 << 20);
}

#[test]
fn the_format_of_a_record_is_this() {
    let mut opened = reopen(formatted(tiny()), Durability::Sync);
    write(&mut opened, &[vote(5)], true).unwrap();
    let mut record = [0; RECORD];
    opened.writer.disk().read_at(FileName::Journal, tiny().record_at(1), &mut record).unwrap();
    let end = record.iter().rposition(|byte| *byte != 0).unwrap();
    let hex: String = record[..=end].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, include_str!("golden.txt").trim());
}

#[test]
fn votes_go_with_the_view_that_they_were_cast_in() {
    let mut opened = reopen(formatted(tiny()), Durability::Sync);
    for record in
        [horizon(2, 8), new_view(1), vote(1), prepared(1), new_view(2), vote_in(2, 2), vote_in(2, 3)]
    {
        write(&mut opened, &[record], true).unwrap();
    }
    let found = records(&reopen(disk_of(opened), Durability::Sync));
    assert_eq!(
        found,
        [prepared(1), new_view(2), vote_in(2, 2), vote_in(2, 3)],
        "a certificate binds in every view"
    );
}
