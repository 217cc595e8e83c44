//! Every byte of a folder rots, every length is cut, every block lands in another's place: what is found is right, or
//! known to be lost. Never something else, and never less in silence.

use super::fixture::{remembered, shape, written};
use super::*;

const BLOCK: u64 = super::layout::BLOCK;

/// What became of a damaged journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Whole,
    Repaired,
    MissingBody,
    Amnesia,
}

/// Reads a damaged journal; sees that nothing in it is wrong or lost in silence.
#[track_caller]
fn judge(disk: &mut MemoryDisk, all: &[Record], what: &str) -> Outcome {
    let (superblock, _) = Superblock::read(disk).unwrap();
    let (found, report) =
        inspect(disk, &superblock, shape()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let found: Vec<_> = found.into_iter().map(|recovered| recovered.record).collect();
    if report.amnesia.is_some() {
        assert_eq!(found, [], "{what}");
        return Outcome::Amnesia;
    }
    assert_eq!(found.iter().find(|record| !all.contains(record)), None, "{what}: never written");
    let missed = |record: &Record| match record {
        Record::Body { seq, body } => report.missing_bodies.contains(&(*seq, body.digest)),
        _ => false,
    };
    // The last of all, whose slot is stable, may be there or not.
    let lost = all[..all.len() - 1].iter().find(|record| !found.contains(record) && !missed(record));
    assert_eq!(lost, None, "{what}: lost in silence; {report:?}");
    match (report.missing_bodies.is_empty(), report.repaired) {
        (false, _) => Outcome::MissingBody,
        (true, 0) => Outcome::Whole,
        (true, _) => Outcome::Repaired,
    }
}

/// The same after the journal was opened, which mends what can be mended.
#[track_caller]
fn judge_mended(disk: MemoryDisk, all: &[Record], what: &str) {
    let opened = reopen_as(disk, shape());
    let lost = opened.report.amnesia.is_some();
    let mut disk = disk_of(opened);
    if lost {
        let (superblock, _) = Superblock::read(&mut disk).unwrap();
        let expected = AmnesiaBox { epoch: superblock.epoch, view: View(3), high: Seq(12) };
        assert_eq!(superblock.amnesia, Some(expected), "{what}");
    } else {
        let outcome = judge(&mut disk, all, what);
        assert!(
            matches!(outcome, Outcome::Whole | Outcome::MissingBody),
            "{what}: {outcome:?} after mending"
        );
    }
}

fn reopen_as(mut disk: MemoryDisk, shape: Shape) -> Opened<MemoryDisk> {
    let superblock = Superblock::open(&mut disk, &identity()).unwrap().0;
    open(disk, superblock, shape, Durability::Sync).unwrap()
}

fn everything() -> Vec<Record> {
    let mut all = remembered();
    all.push(body(1, 1200));
    all
}

fn tally(outcomes: &[Outcome], wanted: Outcome) -> usize {
    outcomes.iter().filter(|outcome| **outcome == wanted).count()
}

#[test]
fn a_flipped_bit_anywhere_in_a_journal_whose_rings_have_turned_costs_at_most_a_body() {
    let (disk, all) = (written(), everything());
    let mut outcomes = Vec::new();
    for offset in 0..shape().file_bytes() {
        let mut rotten = disk.clone();
        rotten.flip(FileName::Journal, offset, 1 << (offset % 8));
        outcomes.push(judge(&mut rotten, &all, &format!("byte {offset}")));
        if offset % 97 == 0 {
            judge_mended(rotten, &all, &format!("byte {offset}"));
        }
    }
    assert_eq!(tally(&outcomes, Outcome::Amnesia), 0, "one copy is never all there is");
    assert!(tally(&outcomes, Outcome::Repaired) > 1000 && tally(&outcomes, Outcome::MissingBody) > 1000);
}

#[test]
fn the_same_byte_rotten_in_both_copies_is_amnesia_or_of_no_use() {
    let (disk, all) = (written(), everything());
    let mut outcomes = Vec::new();
    for offset in 0..shape().bodies_at() {
        let mut rotten = disk.clone();
        rotten.flip(FileName::Journal, offset, 1 << (offset % 8));
        rotten.flip(FileName::Journal, offset + shape().mirror(), 1 << (offset * 5 % 8));
        outcomes.push(judge(&mut rotten, &all, &format!("byte {offset}")));
        if offset % 97 == 0 {
            judge_mended(rotten, &all, &format!("byte {offset}"));
        }
    }
    assert!(tally(&outcomes, Outcome::Amnesia) > 1000 && tally(&outcomes, Outcome::Whole) > 1000);
}

#[test]
fn a_journal_cut_anywhere_is_whole_in_its_first_copy_or_known_to_be_lost() {
    let (disk, all) = (written(), everything());
    for length in (0..shape().file_bytes()).step_by(61) {
        let mut cut = disk.clone();
        cut.set_len(FileName::Journal, length).unwrap();
        judge(&mut cut, &all, &format!("length {length}"));
        judge_mended(cut, &all, &format!("length {length}"));
    }
}

#[test]
fn a_block_written_in_the_place_of_another_is_not_taken_for_it() {
    let (disk, all) = (written(), everything());
    let blocks = shape().file_bytes() / BLOCK;
    let mut outcomes = Vec::new();
    let block_of = |file, index: u64| {
        let mut block = vec![0; BLOCK as usize];
        disk.clone().read_at(file, index * BLOCK, &mut block).unwrap();
        block
    };
    let foreign = (0..4).map(|index| (FileName::Superblock, index));
    for (file, from) in (0..blocks).map(|index| (FileName::Journal, index)).chain(foreign) {
        for to in 0..blocks {
            let mut hit = disk.clone();
            hit.write_at(FileName::Journal, to * BLOCK, &block_of(file, from)).unwrap();
            let what = format!("block {from} of {file} at {to}");
            outcomes.push(judge(&mut hit, &all, &what));
            // The write that went astray is missing where it should have gone.
            if file == FileName::Journal {
                hit.write_at(file, from * BLOCK, &vec![0; BLOCK as usize]).unwrap();
                judge(&mut hit, &all, &what);
            }
            judge_mended(hit, &all, &what);
        }
    }
    assert!(tally(&outcomes, Outcome::Repaired) > 20, "{outcomes:?}");
}

#[test]
fn a_superblock_with_any_byte_rotten_or_missing_says_the_same_or_is_refused() {
    let (mut disk, file) = (written(), FileName::Superblock);
    let (expected, _) = Superblock::read(&mut disk).unwrap();
    let length = disk.len(file).unwrap().unwrap();
    for offset in 0..length {
        let mut rotten = disk.clone();
        rotten.flip(file, offset, 1 << (offset % 8));
        assert_eq!(Superblock::read(&mut rotten), Ok((expected.clone(), 3)), "byte {offset}");
        // A second copy, at another byte of it.
        rotten.flip(file, (offset + BLOCK + 7) % length, 1);
        assert_eq!(Superblock::read(&mut rotten), Ok((expected.clone(), 2)), "byte {offset}");
    }
    for cut in 0..length {
        let mut short = disk.clone();
        short.set_len(file, cut).unwrap();
        match Superblock::read(&mut short) {
            Ok((found, _)) => assert_eq!(found, expected, "length {cut}"),
            Err(error) => assert!(cut < 2 * BLOCK, "length {cut}: {error}"),
        }
    }
    // Blocks of the journal in place of its copies are no superblocks.
    for (index, copies) in (0..shape().file_bytes() / BLOCK).zip([1, 2, 3].into_iter().cycle()) {
        let mut hit = disk.clone();
        let mut block = vec![0; BLOCK as usize];
        hit.read_at(FileName::Journal, index * BLOCK, &mut block).unwrap();
        for copy in 0..copies {
            hit.write_at(file, copy * BLOCK, &block).unwrap();
        }
        let found = Superblock::read(&mut hit);
        assert_eq!(
            found.map(|(found, good)| (found == expected, good as u64)).ok(),
            (copies < 3).then_some((true, 4 - copies))
        );
    }
}
