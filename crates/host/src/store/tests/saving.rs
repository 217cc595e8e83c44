//! What is saved comes back the same, and costs what changed.

use super::*;

#[test]
fn a_saved_state_survives_a_power_cut_and_goes_on_like_the_one_that_was_saved() {
    let mut disk = MemoryDisk::new();
    let mut application = Application::new(2000);
    let state = application.state(128);
    let pointer = open(&disk).save(&state).unwrap();
    assert_eq!(pointer, SnapshotPointer { seq: Seq(128), root: state.root() });
    disk.crash(Crash::Forget);
    let mut store = open(&disk);
    assert_eq!(store.list(), [Seq(128)]);
    assert_eq!(store.snapshot_pointer(Seq(128)), Some(pointer));
    let loaded = store.load(Seq(128)).unwrap();
    assert_eq!((loaded.root(), &loaded), (state.root(), &state));
    assert_eq!(store.load(Seq(64)).map(|_| ()), Err(StoreError::Missing(Seq(64))));
    // Changed alike, both have the same root.
    let mut other = Application { map: loaded.application, random: application.random };
    application.change(50);
    other.change(50);
    assert_eq!(application.state(256).root(), other.state(256).root());
}

#[test]
fn saving_costs_what_changed() {
    let disk = MemoryDisk::new();
    let mut application = Application::new(20_000);
    let mut store = open(&disk);
    store.save(&application.state(1)).unwrap();
    let whole = store.counters().bytes;
    assert!(whole > application.map.bytes() && whole < application.map.bytes() * 103 / 100, "{whole}");
    for (seq, changes) in (2..).zip([0, 1, 10, 100]) {
        application.change(changes);
        let before = store.counters().bytes;
        store.save(&application.state(seq)).unwrap();
        let written = store.counters().bytes - before;
        // A change makes a page new and its chunk's list; the manifest has a line for each chunk.
        let manifest = 48 * application.map.chunks().len() as u64 + 1000;
        assert!(written <= manifest + changes * (2048 + 1000), "{changes} changes took {written} bytes");
    }
}

#[test]
fn a_loaded_state_is_not_written_again() {
    let disk = MemoryDisk::new();
    let mut application = Application::new(5000);
    open(&disk).save(&application.state(1)).unwrap();
    let mut store = open(&disk);
    application.map = store.load(Seq(1)).unwrap().application;
    application.change(3);
    store.save(&application.state(2)).unwrap();
    let written = store.counters().bytes;
    assert!(written < 3 * 3048 + 48 * application.map.chunks().len() as u64 + 1000, "{written}");
    assert_eq!(open(&disk).load(Seq(2)).unwrap(), application.state(2));
}

#[test]
fn a_save_syncs_only_what_it_wrote() {
    let disk = MemoryDisk::new();
    let mut application = Application::new(20_000);
    let mut store = small(&disk, 1 << 20);
    let save = |store: &mut Store<MemoryDisk>, state: &State| {
        let before = (disk.operations(), store.counters().bytes);
        store.save(state).unwrap();
        (disk.operations() - before.0, store.counters().bytes - before.1)
    };
    let (operations, bytes) = save(&mut store, &application.state(1));
    let files = segments(&disk).len() as u64;
    // Per segment two writes at most and a sync; the folder; remove, two writes, sync, rename, sync of the manifest.
    assert!(files >= 8 && operations <= 3 * files + 7, "{operations} operations for {bytes} bytes");
    application.change(5);
    let (operations, _) = save(&mut store, &application.state(2));
    assert!(operations <= 3 * 2 + 7, "{operations} operations");
    assert!(segments(&disk).iter().all(|number| disk.unsynced(FileName::Segment(*number)) == 0));
}

#[test]
fn without_syncs_nothing_is_synced_and_everything_survives_the_process() {
    let mut disk = MemoryDisk::new();
    let mut store = Store::open(disk.share(), false).unwrap();
    store.save(&small_state(4)).unwrap();
    assert!(disk.unsynced(FileName::Snapshot(Seq(4))) > 0 && disk.unsynced(FileName::Segment(1)) > 0);
    let mut cut = disk.clone();
    cut.crash(Crash::Forget);
    assert_eq!(open(&cut).list(), []);
    disk.crash(Crash::Keep);
    assert_eq!(open(&disk).load(Seq(4)).unwrap(), small_state(4));
}

#[test]
fn chunks_are_served_in_the_form_in_which_they_are_checked() {
    let disk = MemoryDisk::new();
    let application = Application::new(3000);
    let state = application.state(16);
    let mut store = open(&disk);
    store.save(&state).unwrap();
    let (summary, digests) = store.contents(Seq(16)).unwrap();
    assert_eq!((summary, &digests[..]), (state.summary(), &state.chunk_digests()[..]));
    for (index, chunk) in (0..).zip(state.chunks()) {
        assert_eq!(store.chunk(Seq(16), index).unwrap().unwrap().encode(), chunk.encode());
    }
    assert!(store.chunk(Seq(16), digests.len() as u32).unwrap().is_none());
    assert!(store.chunk(Seq(17), 0).unwrap().is_none());
}
