//! What is let go, what is not, and how much of a disk a store takes.

use super::*;

const SEGMENT: u64 = 64 << 10;

#[test]
fn the_last_two_snapshots_that_a_stable_checkpoint_covers_are_kept() {
    let disk = MemoryDisk::new();
    let mut store = open(&disk);
    for seq in [10, 20, 30, 40] {
        store.save(&small_state(seq)).unwrap();
    }
    store.prune(Seq(30), Seq(30), &[]).unwrap();
    assert_eq!(store.list(), [Seq(20), Seq(30), Seq(40)]);
    assert_eq!(open(&disk).list(), [Seq(20), Seq(30), Seq(40)]);
}

#[test]
fn what_a_replica_that_comes_back_needs_is_kept_however_many_states_are_newer() {
    let disk = MemoryDisk::new();
    let mut store = open(&disk);
    for seq in [10, 20, 30, 40, 50] {
        store.save(&small_state(seq)).unwrap();
    }
    store.prune(Seq(50), Seq(0), &[]).unwrap();
    assert_eq!(store.list().len(), 5, "which one is stable is not known yet");
    store.prune(Seq(50), Seq(35), &[]).unwrap();
    assert_eq!(store.list(), [Seq(20), Seq(30), Seq(40), Seq(50)]);
    store.prune(Seq(50), Seq(50), &[Seq(20)]).unwrap();
    assert_eq!(store.list(), [Seq(20), Seq(40), Seq(50)], "somebody is fetching the oldest");
    store.prune(Seq(50), Seq(50), &[]).unwrap();
    assert_eq!(store.list(), [Seq(40), Seq(50)]);
}

/// Bytes of all files.
fn on_disk(disk: &MemoryDisk) -> u64 {
    let mut disk = disk.share();
    let names = disk.list().unwrap();
    names.iter().map(|name| disk.len(FileName::parse(name).unwrap()).unwrap().unwrap()).sum()
}

#[test]
fn a_thousand_saves_take_no_more_disk_than_twice_the_state_and_a_few_segments() {
    let disk = MemoryDisk::new();
    let mut application = Application::new(3000);
    let mut store = small(&disk, SEGMENT);
    let (mut most, mut leased) = (0, None);
    for seq in 1..=1000 {
        let changes = application.below(40);
        application.change(changes);
        store.save(&application.state(seq)).unwrap();
        // Now and then somebody fetches a state for a while; the stable checkpoint is always one behind.
        if seq % 100 == 50 {
            leased = Some(application.state(seq));
        }
        let pinned: Vec<Seq> = leased.iter().map(|state| state.seq).collect();
        store.prune(Seq(seq), Seq(seq - 1), &pinned).unwrap();
        if seq % 100 == 60 {
            let state = leased.take().unwrap();
            assert_eq!(store.load(state.seq).unwrap().root(), state.root(), "it was pinned");
            assert_eq!(store.list().len(), 4, "this one, two before, and the pinned one");
        }
        let bound = 2 * application.map.bytes() + 4 * SEGMENT;
        if leased.is_none() && seq % 100 > 62 {
            assert!(store.used() <= bound, "{} of {bound} after {seq}", store.used());
        }
        most = most.max(store.used());
    }
    let counters = store.counters();
    assert!(most < 4 * application.map.bytes(), "{most} with a lease");
    assert!(counters.deleted > 100 && counters.moved_bytes > 0, "{counters:?}");
    assert!(counters.moved_bytes < counters.bytes / 2, "more was moved than written: {counters:?}");
    let numbers = segments(&disk);
    assert!(numbers[0] > 20 && numbers.len() < 60, "{numbers:?}");
    assert_eq!(store.used(), on_disk(&disk));
    assert_eq!(open(&disk).used(), on_disk(&disk));
    assert_eq!(open(&disk).load(Seq(1000)).unwrap(), application.state(1000));
}

#[test]
fn a_replica_that_is_started_again_and_again_does_not_fill_its_folder_with_segments() {
    let disk = MemoryDisk::new();
    let mut application = Application::new(300);
    for seq in 1..=100 {
        let mut store = open(&disk);
        if seq > 1 {
            application.map = store.load(Seq(seq - 1)).unwrap().application;
        }
        application.change(1);
        store.save(&application.state(seq)).unwrap();
        store.prune(Seq(seq), Seq(seq), &[]).unwrap();
    }
    assert!(segments(&disk).len() <= 24, "{:?}", segments(&disk));
    assert_eq!(open(&disk).load(Seq(100)).unwrap(), application.state(100));
}

#[test]
fn a_page_that_comes_back_after_its_segment_is_gone_is_written_again() {
    let disk = MemoryDisk::new();
    let mut store = small(&disk, 16 << 10);
    let mut application = Application::new(200);
    store.save(&application.state(1)).unwrap();
    let old = application.map.clone();
    for seq in 2..=10 {
        (0..200).for_each(|key| application.put(key));
        store.save(&application.state(seq)).unwrap();
        store.prune(Seq(seq), Seq(seq), &[]).unwrap();
    }
    let gone = Place(old.chunks()[0].pages()[0].place());
    assert!(!segments(&disk).contains(&u64::from(gone.segment())));
    // An application that takes back what it was.
    application.map = old;
    store.save(&application.state(41)).unwrap();
    assert_eq!(open(&disk).load(Seq(41)).unwrap(), application.state(41));
}
