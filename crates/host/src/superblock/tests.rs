//! What the superblock survives, and whom it refuses.

use super::*;
use crate::disk::{Crash, DiskFailure, MemoryDisk};

const FILE: FileName = FileName::Superblock;

fn identity() -> Identity {
    Identity { cluster: ClusterId(Digest([1; 32])), replica: ReplicaId(2), key: PublicKey([3; 32]) }
}

/// A disk with generation 2, which promised (4, 512); generation 1 promised nothing.
fn promised() -> (MemoryDisk, Superblock) {
    let mut disk = MemoryDisk::new();
    let mut superblock = Superblock::format(&mut disk, identity()).unwrap();
    superblock.promise(View(4), Seq(512));
    superblock.snapshot = Some(SnapshotPointer { seq: Seq(128), root: Digest([5; 32]) });
    superblock.amnesia = Some(AmnesiaBox { epoch: Epoch(0), view: View(3), high: Seq(256) });
    superblock.store(&mut disk).unwrap();
    (disk, superblock)
}

#[test]
fn a_superblock_reads_back_as_it_was_stored() {
    let (mut disk, superblock) = promised();
    disk.crash(Crash::Forget);
    assert_eq!(Superblock::open(&mut disk, &identity()), Ok((superblock, COPIES)));
}

#[test]
fn any_two_rotten_copies_are_survived_and_repaired() {
    let (disk, superblock) = promised();
    for one in 0..COPIES as u64 {
        for other in 0..COPIES as u64 {
            for offset in [0, 5, 13, 15, 17, 40, 130, BLOCK as u64 - 1] {
                let mut disk = disk.clone();
                disk.flip(FILE, one * BLOCK as u64 + offset, 1);
                if other != one {
                    disk.flip(FILE, other * BLOCK as u64 + offset, 1);
                }
                let mut opened = Superblock::open(&mut disk, &identity()).unwrap().0;
                opened.generation = superblock.generation;
                assert_eq!(opened, superblock);
                disk.crash(Crash::Forget);
                assert_eq!(Superblock::read(&mut disk).unwrap().1, COPIES, "repaired");
            }
        }
    }
}

#[test]
fn three_rotten_copies_are_refused() {
    let (mut disk, _) = promised();
    for copy in 0..3 {
        disk.flip(FILE, copy * BLOCK as u64 + 40, 1);
    }
    assert_eq!(Superblock::open(&mut disk, &identity()), Err(SuperblockError::Damaged { valid: 1 }));
}

#[test]
fn a_copy_written_to_another_copys_place_does_not_count() {
    let (mut disk, _) = promised();
    let copy = read_padded(&mut disk, FILE, 0, BLOCK).unwrap();
    for place in 1..COPIES {
        disk.write_at(FILE, (place * BLOCK) as u64, &copy).unwrap();
    }
    assert_eq!(Superblock::open(&mut disk, &identity()), Err(SuperblockError::Damaged { valid: 1 }));
}

#[test]
fn a_power_cut_at_any_moment_of_a_store_leaves_the_old_or_the_new_one() {
    let (disk, old) = promised();
    let mut new = old.clone();
    new.promise(View(9), Seq(1024));
    let before = disk.operations();
    for nth in before + 1..=before + 4 {
        for mask in 0..4 {
            for torn in [0, 1, 4095, 4096, 4097, 6000, 8192] {
                let mut disk = disk.clone();
                disk.fail(nth, DiskFailure::Failed("power".to_owned()));
                new.clone().store(&mut disk).unwrap_err();
                disk.crash(Crash::Some { mask, torn });
                let found = Superblock::open(&mut disk, &identity()).unwrap().0;
                let high = found.high_promised;
                assert!(high == old.high_promised || high == new.high_promised);
                let again = Superblock::open(&mut disk, &identity()).unwrap().0;
                assert_eq!(again.high_promised, high, "what was found once is found again");
            }
        }
    }
}

#[test]
fn another_replicas_clusters_or_keys_folder_is_refused() {
    let (mut disk, _) = promised();
    let right = identity();
    let wrong = Identity { replica: ReplicaId(3), ..right };
    let found = Superblock::open(&mut disk, &wrong);
    assert_eq!(found, Err(SuperblockError::OtherReplica { found: ReplicaId(2), expected: ReplicaId(3) }));
    let wrong = Identity { cluster: ClusterId(Digest([9; 32])), ..right };
    let found = Superblock::open(&mut disk, &wrong);
    assert_eq!(found, Err(SuperblockError::OtherCluster { found: right.cluster, expected: wrong.cluster }));
    let wrong = Identity { key: PublicKey([9; 32]), ..right };
    let found = Superblock::open(&mut disk, &wrong);
    assert_eq!(found, Err(SuperblockError::OtherKey { found: right.key, expected: wrong.key }));
}

#[test]
fn an_unformatted_folder_is_not_opened_and_a_formatted_one_not_formatted() {
    let mut disk = MemoryDisk::new();
    assert_eq!(Superblock::open(&mut disk, &identity()), Err(SuperblockError::NotFormatted));
    Superblock::format(&mut disk, identity()).unwrap();
    assert_eq!(Superblock::format(&mut disk, identity()), Err(SuperblockError::AlreadyFormatted));
}

#[test]
fn a_later_programs_folder_is_refused() {
    let (mut disk, superblock) = promised();
    let mut block = superblock.block(1);
    block[12..14].copy_from_slice(&3_u16.to_le_bytes());
    let checksum = crc32c::crc32c(&block[4..]);
    block[..4].copy_from_slice(&checksum.to_le_bytes());
    disk.write_at(FILE, BLOCK as u64, &block).unwrap();
    assert_eq!(Superblock::open(&mut disk, &identity()), Err(SuperblockError::FutureVersion { found: 3 }));
}

#[test]
fn a_replica_that_has_to_stay_out_has_to_after_a_power_cut() {
    let divergence = Divergence { seq: Seq(128), ours: Digest([1; 32]), theirs: Digest([2; 32]) };
    let (one, other, wrong) = (Digest([1; 32]), Digest([2; 32]), Some(divergence));
    let contradiction = Exclusion::Contradiction { seq: Seq(7), one, other, wrong };
    for standing in [
        Standing::Diverged { divergence, mended: false },
        Standing::Diverged { divergence, mended: true },
        Standing::Out(Exclusion::DivergedAgain(divergence)),
        Standing::Out(Exclusion::Unremembered { view: View(3), seq: Seq(9), wrong: None }),
        Standing::Out(contradiction),
        Standing::Out(Exclusion::Copied { number: u64::MAX, wrong }),
        Standing::Out(Exclusion::Carrier { number: 7, diverged: None }),
        Standing::Out(Exclusion::Moved { number: 7, diverged: Some(divergence) }),
    ] {
        let (mut disk, mut superblock) = promised();
        superblock.standing = standing;
        superblock.store(&mut disk).unwrap();
        disk.crash(Crash::Forget);
        assert_eq!(Superblock::read(&mut disk), Ok((superblock, COPIES)));
    }
}

#[test]
fn a_folder_whose_right_to_vote_is_elsewhere_starts_no_replica_and_a_copy_does() {
    let (number, diverged) = (7, None);
    let (carrier, moved) = (Exclusion::Carrier { number, diverged }, Exclusion::Moved { number, diverged });
    let copied = Exclusion::Copied { number, wrong: None };
    for (why, starts) in [(copied, true), (carrier, false), (moved, false)] {
        let (mut disk, mut superblock) = promised();
        superblock.standing = Standing::Out(why);
        superblock.store(&mut disk).unwrap();
        let opened = Superblock::open(&mut disk, &identity());
        let elsewhere = SuperblockError::Elsewhere(Box::new(why));
        let expected = if starts { Ok((superblock, COPIES)) } else { Err(elsewhere) };
        assert_eq!(opened, expected);
    }
}

#[test]
fn a_superblock_of_version_1_is_of_a_replica_whose_word_counts() {
    let (mut disk, superblock) = promised();
    let golden = include_str!("golden-version-1.txt").trim();
    let hex = |at: usize| u8::from_str_radix(&golden[2 * at..2 * at + 2], 16).unwrap();
    let mut block = [0; BLOCK];
    (0..golden.len() / 2).for_each(|at| block[at] = hex(at));
    for copy in 0..COPIES as u16 {
        block[14..16].copy_from_slice(&copy.to_le_bytes());
        let checksum = crc32c::crc32c(&block[4..]);
        block[..4].copy_from_slice(&checksum.to_le_bytes());
        disk.write_at(FILE, u64::from(copy) * BLOCK as u64, &block).unwrap();
    }
    let (opened, good) = Superblock::open(&mut disk, &identity()).unwrap();
    assert_eq!((&opened, good, opened.standing), (&superblock, COPIES, Standing::Normal));
}

#[test]
fn promises_never_shrink() {
    let mut superblock = Superblock::new(identity());
    assert!(superblock.promise(View(2), Seq(100)));
    assert!(!superblock.promise(View(1), Seq(100)));
    assert!(superblock.promise(View(1), Seq(101)));
    assert_eq!((superblock.view_promised, superblock.high_promised), (View(2), Seq(101)));
}

#[test]
fn the_format_of_a_superblock_is_this() {
    let (_, mut superblock) = promised();
    let divergence = Divergence { seq: Seq(256), ours: Digest([6; 32]), theirs: Digest([7; 32]) };
    superblock.standing = Standing::Diverged { divergence, mended: true };
    let block = superblock.block(1);
    let end = block.iter().rposition(|byte| *byte != 0).unwrap();
    let hex: String = block[..=end].iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, include_str!("golden.txt").trim());
}
