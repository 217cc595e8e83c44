//! Who may vote after a copy, whatever fails in between.

use quorate_protocol::types::{ClusterId, PublicKey, ReplicaId, View};

use super::*;
use crate::disk::{Crash, DiskFailure, MemoryDisk};
use crate::folder::format_folder;
use crate::store::Store;
use crate::store::tests::small_state;
use crate::superblock::SuperblockError;

fn identity() -> Identity {
    Identity { cluster: ClusterId(Digest([1; 32])), replica: ReplicaId(2), key: PublicKey([3; 32]) }
}

fn shape() -> Shape {
    Shape::exactly(32, 4096, 4096)
}

fn order(purpose: Purpose, number: u64) -> Order {
    Order { purpose, number, damaged: false, reserve: Reserve::Records, shape: shape() }
}

/// A folder that has voted and has a state.
fn original() -> MemoryDisk {
    let mut disk = MemoryDisk::new();
    let mut superblock = format_folder(&mut disk, identity(), shape(), Reserve::Whole).unwrap();
    superblock.promise(View(3), Seq(256));
    superblock.snapshot = Some(Store::open(disk.share(), true).unwrap().save(&small_state(128)).unwrap());
    superblock.store(&mut disk).unwrap();
    disk
}

fn of_standing(standing: Standing) -> MemoryDisk {
    let mut disk = original();
    let mut superblock = Superblock::read(&mut disk).unwrap().0;
    superblock.standing = standing;
    superblock.store(&mut disk).unwrap();
    disk
}

fn copy(from: &mut MemoryDisk, to: &mut MemoryDisk, order: &Order) -> Result<Copied, BackupError> {
    copy_folder(from, to, order, &mut |_| {})
}

fn standing(disk: &mut MemoryDisk) -> Option<Standing> {
    Superblock::read(disk).ok().map(|(superblock, _)| superblock.standing)
}

fn copied(number: u64) -> Option<Standing> {
    Some(Standing::Out(Exclusion::Copied { number, wrong: None }))
}

fn moved_to(number: u64) -> Option<Standing> {
    Some(Standing::Out(Exclusion::Moved { number, diverged: None }))
}

fn carrier(number: u64) -> Option<Standing> {
    Some(Standing::Out(Exclusion::Carrier { number, diverged: None }))
}

/// Whether the folder may vote, now or when it is settled.
fn holds_the_vote(disk: &mut MemoryDisk) -> bool {
    matches!(
        standing(disk),
        Some(Standing::Normal | Standing::Diverged { .. } | Standing::Out(Exclusion::Carrier { .. }))
    )
}

fn contents(disk: &mut MemoryDisk, file: FileName) -> Vec<u8> {
    let mut bytes = vec![0; disk.len(file).unwrap().unwrap() as usize];
    disk.read_at(file, 0, &mut bytes).unwrap();
    bytes
}

/// A copy that carries the right to vote, and the original that gave it.
fn moved() -> (MemoryDisk, MemoryDisk) {
    let (mut from, mut to) = (original(), MemoryDisk::new());
    copy(&mut from, &mut to, &order(Purpose::Carry, 7)).unwrap();
    (from, to)
}

#[test]
fn a_copy_remembers_everything_and_never_votes() {
    let (mut from, mut to) = (original(), MemoryDisk::new());
    let before = from.operations();
    let mut told = Vec::new();
    let made = copy_folder(&mut from, &mut to, &order(Purpose::Keep, 7), &mut |progress| told.push(progress));
    let made = made.unwrap();
    assert_eq!(from.operations(), before, "the original is only read");
    to.crash(Crash::Forget);
    let files: Vec<FileName> = made.files.iter().map(|(file, _)| *file).collect();
    let states = [FileName::Snapshot(Seq(128)), FileName::Segment(1)];
    assert_eq!(files, [&[FileName::Superblock, FileName::Journal], &states[..]].concat());
    for file in &files[1..] {
        assert_eq!(contents(&mut from, *file), contents(&mut to, *file), "{file}");
    }
    let (ours, theirs) = (Superblock::read(&mut from).unwrap().0, Superblock::read(&mut to).unwrap());
    assert_eq!(theirs.1, Superblock::COPIES);
    assert_eq!(
        (theirs.0.identity, theirs.0.view_promised, theirs.0.high_promised),
        (ours.identity, ours.view_promised, ours.high_promised)
    );
    assert_eq!((Some(ours.standing), Some(theirs.0.standing)), (Some(Standing::Normal), copied(7)));
    assert_eq!(made.standing, theirs.0.standing);
    let last = told.last().unwrap();
    assert_eq!(last.done, last.total);
    assert!(told.windows(2).all(|pair| pair[0].done < pair[1].done));
}

#[test]
fn whatever_a_copy_is_made_of_it_cannot_be_made_to_vote() {
    let (mut from, mut backup) = (original(), MemoryDisk::new());
    copy(&mut from, &mut backup, &order(Purpose::Keep, 7)).unwrap();
    for purpose in [Purpose::Carry, Purpose::Settle] {
        let mut to = MemoryDisk::new();
        let refused = copy(&mut backup, &mut to, &order(purpose, 8)).unwrap_err();
        let copied = Standing::Out(Exclusion::Copied { number: 7, wrong: None });
        assert_eq!(refused, BackupError::NoVote(Box::new(copied), purpose));
        assert!(refused.to_string().contains("it is a copy"), "{refused}");
        assert_eq!(to.operations(), 0);
    }
    let mut restored = MemoryDisk::new();
    copy(&mut backup, &mut restored, &order(Purpose::Keep, 8)).unwrap();
    assert_eq!(standing(&mut restored), copied(8));
    assert!(holds_the_vote(&mut from), "the original votes on");
}

#[test]
fn an_original_that_did_not_give_its_vote_away_is_not_settled_elsewhere() {
    let (mut from, mut to) = (original(), MemoryDisk::new());
    let refused = copy(&mut from, &mut to, &order(Purpose::Settle, 7)).unwrap_err();
    assert!(
        refused.to_string().contains("fix: make a copy that carries it with `quorate backup --move`"),
        "{refused}"
    );
    assert_eq!((standing(&mut from), to.operations()), (Some(Standing::Normal), 0));
}

#[test]
fn the_right_to_vote_goes_from_the_original_to_the_copy_and_from_there_to_one_folder() {
    let (mut from, mut backup) = moved();
    assert_eq!(standing(&mut from), moved_to(7));
    assert_eq!(standing(&mut backup), carrier(7));
    let mut home = MemoryDisk::new();
    copy(&mut backup, &mut home, &order(Purpose::Settle, 8)).unwrap();
    for disk in [&mut from, &mut backup, &mut home] {
        disk.crash(Crash::Forget);
    }
    assert_eq!(standing(&mut home), Some(Standing::Normal));
    assert_eq!(standing(&mut backup), moved_to(8));
    assert_eq!(contents(&mut from, FileName::Journal), contents(&mut home, FileName::Journal));
    for giver in [&mut from, &mut backup] {
        for purpose in [Purpose::Carry, Purpose::Settle] {
            let refused = copy(giver, &mut MemoryDisk::new(), &order(purpose, 9)).unwrap_err();
            assert!(matches!(refused, BackupError::GivenAway { .. }), "{refused}");
        }
    }
    let again = copy(&mut backup, &mut home, &order(Purpose::Settle, 9)).unwrap();
    assert_eq!((again.standing, again.files.len()), (Standing::Normal, 0), "it is done, and stays so");
    let refused = copy(&mut from, &mut home, &order(Purpose::Carry, 9)).unwrap_err();
    assert_eq!(refused, BackupError::GivenAway { number: 7 }, "a folder that votes is no copy");
}

#[test]
fn a_copy_that_carries_the_vote_can_be_copied_onto_another_medium_with_it() {
    let (_, mut backup) = moved();
    let mut second = MemoryDisk::new();
    copy(&mut backup, &mut second, &order(Purpose::Carry, 8)).unwrap();
    assert!(!holds_the_vote(&mut backup) && holds_the_vote(&mut second));
    let mut third = MemoryDisk::new();
    copy(&mut second, &mut third, &order(Purpose::Keep, 9)).unwrap();
    assert!(holds_the_vote(&mut second) && !holds_the_vote(&mut third));
}

/// What a power cut leaves of writes that nobody synced.
fn crashes() -> Vec<Crash> {
    let some = (0..4).flat_map(|mask| [0, 1, 4096, 6000, 8192].map(|torn| Crash::Some { mask, torn }));
    some.chain([Crash::Forget, Crash::Keep]).collect()
}

/// Fails one operation after the other, on either disk, cuts the power of both, and looks who may vote; then gives the
/// command again until it succeeds.
fn at_every_moment(from: &MemoryDisk, purpose: Purpose) -> (usize, usize) {
    let (mut clean_from, mut clean_to) = (from.clone(), MemoryDisk::new());
    copy(&mut clean_from, &mut clean_to, &order(purpose, 7)).unwrap();
    let givers = (from.operations() + 1..=clean_from.operations()).map(|nth| (Some(nth), None));
    let receivers = (1..=clean_to.operations()).map(|nth| (None, Some(nth)));
    let (mut moments, mut ended) = (0, 0);
    for (at_from, at_to) in givers.chain(receivers) {
        for crash in crashes() {
            let (mut from, mut to) = (from.clone(), MemoryDisk::new());
            let power = DiskFailure::Failed("power".to_owned());
            at_from.into_iter().for_each(|nth| from.fail(nth, power.clone()));
            at_to.into_iter().for_each(|nth| to.fail(nth, power.clone()));
            copy(&mut from, &mut to, &order(purpose, 7)).unwrap_err();
            from.crash(crash);
            to.crash(crash);
            let voters = |from: &mut _, to: &mut _| {
                usize::from(holds_the_vote(from)) + usize::from(holds_the_vote(to))
            };
            assert!(voters(&mut from, &mut to) <= 1, "{at_from:?} {at_to:?} {crash:?}");
            moments += 1;
            let again = match copy(&mut from, &mut to, &order(purpose, 8)) {
                Err(BackupError::NotEmpty(_)) => {
                    assert!(holds_the_vote(&mut from), "what did not begin can begin anew");
                    to = MemoryDisk::new();
                    copy(&mut from, &mut to, &order(purpose, 8))
                }
                again => again,
            };
            let again = again.unwrap_or_else(|error| panic!("{at_from:?} {at_to:?} {crash:?}: {error}"));
            ended += usize::from(again.files.is_empty());
            from.crash(Crash::Forget);
            to.crash(Crash::Forget);
            assert_eq!(voters(&mut from, &mut to), 1, "{at_from:?} {at_to:?} {crash:?}");
            assert_eq!(holds_the_vote(&mut to), purpose != Purpose::Keep);
            assert_eq!(contents(&mut from, FileName::Journal), contents(&mut to, FileName::Journal));
        }
    }
    (moments, ended)
}

#[test]
fn a_power_cut_at_any_moment_of_a_backup_leaves_one_folder_that_votes() {
    let (moments, ended) = at_every_moment(&original(), Purpose::Keep);
    assert!(moments > 100 && ended == 0, "{moments} {ended}");
}

#[test]
fn a_power_cut_at_any_moment_of_a_move_leaves_at_most_one_folder_that_may_vote_and_the_same_command_ends_it()
{
    let (moments, ended) = at_every_moment(&original(), Purpose::Carry);
    assert!(moments > 200 && ended > 80, "{moments} {ended}");
}

#[test]
fn a_power_cut_at_any_moment_of_settling_leaves_at_most_one_folder_that_may_vote_and_the_same_command_ends_it()
 {
    let (moments, ended) = at_every_moment(&moved().1, Purpose::Settle);
    assert!(moments > 200 && ended > 80, "{moments} {ended}");
}

#[test]
fn a_giver_whose_mark_stands_in_two_copies_only_is_marked_again_before_the_receiver_takes() {
    // The second half of the giver's store fails: two copies say that it gave, two that it votes.
    let (clean, _) = moved();
    let (mut from, mut to) = (original(), MemoryDisk::new());
    from.fail(clean.operations() - 1, DiskFailure::Failed("power".to_owned()));
    copy(&mut from, &mut to, &order(Purpose::Carry, 7)).unwrap_err();
    from.crash(Crash::Forget);
    assert_eq!(Superblock::read(&mut from).unwrap().1, 2);
    copy(&mut from, &mut to, &order(Purpose::Carry, 8)).unwrap();
    assert!(holds_the_vote(&mut to));
    // Any two of the four may rot, and it does not vote again.
    for one in 0..4 {
        for other in 0..one {
            let mut from = from.clone();
            [one, other].into_iter().for_each(|copy| from.flip(FileName::Superblock, copy * 4096 + 40, 1));
            assert_eq!(standing(&mut from), moved_to(7));
        }
    }
}

#[test]
fn the_vote_of_one_move_does_not_go_to_the_copy_of_another() {
    let (mut from, _) = moved();
    let (mut other, mut plain) = (original(), MemoryDisk::new());
    copy(&mut other, &mut plain, &order(Purpose::Keep, 8)).unwrap();
    for purpose in [Purpose::Carry, Purpose::Settle] {
        let refused = copy(&mut from, &mut plain, &order(purpose, 9)).unwrap_err();
        assert_eq!(refused, BackupError::GivenAway { number: 7 });
    }
    assert_eq!(standing(&mut plain), copied(8));
}

#[test]
fn what_is_damaged_is_named_and_copied_only_by_who_knows_it() {
    let mut from = original();
    from.remove(FileName::Journal).unwrap();
    let mut to = MemoryDisk::new();
    let refused = copy(&mut from, &mut to, &order(Purpose::Carry, 7)).unwrap_err();
    assert_eq!(refused, BackupError::Damaged(vec![Damage::Promises(Amnesia::Missing)]));
    assert!(
        refused.to_string().contains("its journal is gone") && refused.to_string().contains("`--damaged`"),
        "{refused}"
    );
    assert_eq!((to.operations(), standing(&mut from)), (0, Some(Standing::Normal)));
    let known = Order { damaged: true, ..order(Purpose::Carry, 7) };
    let copied = copy(&mut from, &mut to, &known).unwrap();
    assert_eq!(copied.damage, [Damage::Promises(Amnesia::Missing)]);
    assert!(
        !holds_the_vote(&mut from) && holds_the_vote(&mut to),
        "it is bound by its box wherever it starts"
    );
}

#[test]
fn a_state_that_rotted_is_named_with_its_chunk() {
    let mut from = original();
    from.flip(FileName::Segment(1), 200, 1);
    let mut to = MemoryDisk::new();
    let refused = copy(&mut from, &mut to, &order(Purpose::Keep, 7)).unwrap_err();
    let chunk = StoreError::DamagedChunk { seq: Seq(128), chunk: 0, chunks: 2 };
    assert_eq!(refused, BackupError::Damaged(vec![Damage::State(Seq(128), chunk)]));
    copy(&mut from, &mut to, &Order { damaged: true, ..order(Purpose::Keep, 7) }).unwrap();
    from.remove(FileName::Snapshot(Seq(128))).unwrap();
    let refused = copy(&mut from, &mut MemoryDisk::new(), &order(Purpose::Keep, 7)).unwrap_err();
    assert_eq!(refused, BackupError::Damaged(vec![Damage::NoState(Seq(128))]));
}

#[test]
fn a_disk_that_does_not_give_back_what_was_written_gets_no_copy_and_no_right_to_vote() {
    let (mut from, mut to) = (original(), MemoryDisk::new());
    let mut medium = to.share();
    let mut done = 0;
    let rots = &mut |progress: Progress| {
        done += 1;
        if done == 1 {
            medium.flip(progress.file, 4096 + 40, 1);
        }
    };
    let refused = copy_folder(&mut from, &mut to, &order(Purpose::Carry, 7), rots).unwrap_err();
    assert_eq!(refused, BackupError::Differs { file: FileName::Journal, offset: 4096 + 40 });
    assert_eq!((to.list().unwrap(), standing(&mut from)), (Vec::new(), Some(Standing::Normal)));
}

#[test]
fn a_folder_without_a_superblock_to_be_trusted_is_not_copied() {
    let mut from = original();
    (0..3).for_each(|copy| from.flip(FileName::Superblock, copy * 4096 + 40, 1));
    let known = Order { damaged: true, ..order(Purpose::Keep, 7) };
    let refused = copy(&mut from, &mut MemoryDisk::new(), &known).unwrap_err();
    assert_eq!(refused, BackupError::Superblock(SuperblockError::Damaged { valid: 1 }));
    let refused = copy(&mut MemoryDisk::new(), &mut MemoryDisk::new(), &known).unwrap_err();
    assert_eq!(refused, BackupError::Superblock(SuperblockError::NotFormatted));
}

#[test]
fn nothing_is_written_over_and_a_copy_that_failed_leaves_nothing_behind() {
    let (mut from, mut to) = (original(), original());
    let refused = copy(&mut from, &mut to, &order(Purpose::Keep, 7)).unwrap_err();
    assert!(matches!(&refused, BackupError::NotEmpty(names) if names.len() == 4), "{refused}");
    assert_eq!(standing(&mut to), Some(Standing::Normal));
    let mut to = MemoryDisk::new();
    to.fail(3, DiskFailure::Full);
    let refused = copy(&mut from, &mut to, &order(Purpose::Keep, 7)).unwrap_err();
    assert!(matches!(&refused, BackupError::To(error) if error.kind == DiskFailure::Full), "{refused}");
    assert_eq!(to.list().unwrap(), Vec::<String>::new());
}

fn divergence() -> Divergence {
    Divergence { seq: Seq(128), ours: Digest([1; 32]), theirs: Digest([2; 32]) }
}

#[test]
fn a_replica_that_was_wrong_once_is_known_to_have_been_wherever_it_moves() {
    let once = Standing::Diverged { divergence: divergence(), mended: true };
    let (mut from, mut backup, mut home) = (of_standing(once), MemoryDisk::new(), MemoryDisk::new());
    copy(&mut from, &mut backup, &order(Purpose::Carry, 7)).unwrap();
    assert!(holds_the_vote(&mut backup) && !holds_the_vote(&mut from));
    copy(&mut backup, &mut home, &order(Purpose::Settle, 8)).unwrap();
    assert_eq!(standing(&mut home), Some(once));
    let (moments, ended) = at_every_moment(&of_standing(once), Purpose::Carry);
    assert!(moments > 200 && ended > 80, "{moments} {ended}");
}

#[test]
fn who_stays_out_gives_no_right_to_vote_away_and_a_copy_of_it_says_why() {
    let wrong = Standing::Diverged { divergence: divergence(), mended: false };
    let again = Standing::Out(Exclusion::DivergedAgain(divergence()));
    for out in [wrong, again] {
        let mut from = of_standing(out);
        for purpose in [Purpose::Carry, Purpose::Settle] {
            let refused = copy(&mut from, &mut MemoryDisk::new(), &order(purpose, 7)).unwrap_err();
            assert_eq!(refused, BackupError::NoVote(Box::new(out), purpose));
        }
        assert_eq!(standing(&mut from), Some(out));
    }
    let mut to = MemoryDisk::new();
    copy(&mut of_standing(again), &mut to, &order(Purpose::Keep, 7)).unwrap();
    assert_eq!(standing(&mut to), Some(again));
    let refused =
        copy(&mut of_standing(wrong), &mut MemoryDisk::new(), &order(Purpose::Keep, 7)).unwrap_err();
    assert_eq!(refused, BackupError::Damaged(vec![Damage::Diverged(divergence())]));
    let mut to = MemoryDisk::new();
    let known = Order { damaged: true, ..order(Purpose::Keep, 7) };
    copy(&mut of_standing(wrong), &mut to, &known).unwrap();
    let wrong = Some(divergence());
    let as_wrong = Some(Standing::Out(Exclusion::Copied { number: 7, wrong }));
    assert_eq!(standing(&mut to), as_wrong, "evidence, and nobody that votes once it is mended");
    let mut again = MemoryDisk::new();
    copy(&mut to, &mut again, &Order { number: 8, ..known }).unwrap();
    let as_wrong = Some(Standing::Out(Exclusion::Copied { number: 8, wrong }));
    assert_eq!(standing(&mut again), as_wrong, "whatever it is a copy of");
}
