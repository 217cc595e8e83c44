//! Chunks made of pages that are here and of pages that were fetched.

use super::*;
use quorate_protocol::map::Chunk;

/// What a store is given of a chunk: the digests of its pages, and those that its index does not have.
fn patch(store: &mut Store<MemoryDisk>, chunk: &Chunk, index: &PageIndex) -> Result<bool, StoreError> {
    let digests = chunk.page_digests();
    let wire = chunk.encode_pages(|page| !index.has(&digests[page]));
    store.patch(chunk.digest(), &digests, &wire)
}

fn plan(store: &mut Store<MemoryDisk>, state: &State) -> (Vec<bool>, Arc<PageIndex>) {
    match store.run(Job::Plan { seq: state.seq, digests: state.chunk_digests().into() }).unwrap() {
        Finished::Planned { have, pages, .. } => (have, pages),
        other => panic!("{other:?}"),
    }
}

/// Fetches what is missing of a state, in pages, and puts it together.
fn fetch(store: &mut Store<MemoryDisk>, state: &State) -> Result<State, StoreError> {
    store.plan(state.seq, &state.chunk_digests())?;
    let index = store.staged.pages();
    for chunk in state.chunks() {
        assert!(patch(store, chunk, &index)?);
    }
    store.adopt(&state.summary(), &state.chunk_digests())
}

#[test]
fn a_chunk_made_of_pages_writes_only_those_that_were_fetched() {
    let disk = MemoryDisk::new();
    let mut application = Application::new(1200);
    let mut store = open(&disk);
    store.save(&application.state(10)).unwrap();
    application.change(20);
    let state = application.state(40);
    let (have, index) = plan(&mut store, &state);
    assert!(have.iter().filter(|here| !**here).count() > have.len() / 2, "{have:?}");
    let before = store.counters().bytes;
    for chunk in state.chunks() {
        assert!(patch(&mut store, chunk, &index).unwrap());
    }
    let written = store.counters().bytes - before;
    assert!(written < state.summary().bytes() / 6, "{written} bytes of {}", state.summary().bytes());
    assert_eq!(store.adopt(&state.summary(), &state.chunk_digests()).unwrap(), state);
    assert!(store.staged.pages().is_empty(), "what is remembered of pages ends with the transfer");
    assert_eq!(open(&disk).load(Seq(40)).unwrap(), state);
}

#[test]
fn a_power_cut_at_any_operation_of_a_transfer_of_pages_leaves_the_old_state_and_in_the_end_the_new_one() {
    let mut application = Application::new(800);
    let old = application.state(10);
    let mut before = MemoryDisk::new();
    small(&before, 100 << 10).save(&old).unwrap();
    before.crash(Crash::Forget);
    application.change(20);
    let new = application.state(40);
    let life = |disk: &MemoryDisk| fetch(&mut small(disk, 100 << 10), &new).map(drop);
    let mut cuts = 0;
    for nth in before.operations() + 1.. {
        let mut failed = before.clone();
        failed.fail(nth, DiskFailure::Full);
        if life(&failed).is_ok() {
            break;
        }
        for crash in [Crash::Forget, Crash::Keep, Crash::Some { mask: 0b101, torn: 30_000 }] {
            let mut disk = failed.clone();
            disk.crash(crash);
            assert_eq!(open(&disk).load(Seq(10)).as_ref(), Ok(&old), "{nth} {crash:?}");
            life(&disk).unwrap();
            disk.crash(Crash::Forget);
            assert_eq!(open(&disk).load(Seq(40)).as_ref(), Ok(&new), "{nth} {crash:?}");
            cuts += 1;
        }
    }
    assert!(cuts > 20, "{cuts}");
}

#[test]
fn pages_of_an_older_snapshot_that_a_plan_relies_on_stay_whatever_is_saved_and_pruned_meanwhile() {
    let disk = MemoryDisk::new();
    let mut application = Application::new(1200);
    let mut store = small(&disk, 64 << 10);
    store.save(&application.state(10)).unwrap();
    application.change(30);
    let state = application.state(90);
    let (_, index) = plan(&mut store, &state);
    for seq in [20, 30, 40] {
        store.save(&small_state(seq)).unwrap();
        store.prune(Seq(seq), Seq(90), &[]).unwrap();
    }
    assert!(state.chunks().all(|chunk| patch(&mut store, chunk, &index).unwrap()));
    assert_eq!(store.adopt(&state.summary(), &state.chunk_digests()).unwrap(), state);
    // When it is over they go.
    for seq in [91, 92] {
        store.save(&small_state(seq)).unwrap();
        store.prune(Seq(seq), Seq(seq), &[]).unwrap();
    }
    store.prune(Seq(92), Seq(92), &[]).unwrap();
    assert!(store.used() < state.summary().bytes(), "{}", store.used());
}

#[test]
fn where_a_page_that_was_to_be_here_is_not_nothing_is_kept() {
    let disk = MemoryDisk::new();
    let mut application = Application::new(1200);
    let mut store = open(&disk);
    store.save(&application.state(10)).unwrap();
    application.change(30);
    let state = application.state(40);
    let (have, index) = plan(&mut store, &state);
    let missing = have.iter().position(|here| !here).unwrap();
    let chunk = state.chunks().nth(missing).unwrap();
    let (digests, used) = (chunk.page_digests(), store.used());
    // A page whose digest begins like one that is here, and one that nobody has.
    let here = digests.iter().position(|digest| index.has(digest)).unwrap();
    for at in [31, 0] {
        let mut others = digests.clone();
        others[here].0[at] ^= 1;
        assert_eq!(index.has(&others[here]), at > 7);
        let wire = chunk.encode_pages(|page| !index.has(&digests[page]));
        assert_eq!(store.patch(chunk.digest(), &others, &wire), Ok(false));
    }
    assert_eq!(store.used(), used);
    // Right pages that are another chunk, and bytes that are no pages.
    let fewer = &digests[..digests.len() - 1];
    let wire = chunk.encode_pages(|page| page < fewer.len() && !index.has(&digests[page]));
    for (digests, wire) in [(fewer, &wire[..]), (&digests, &[0xff; 9]), (&[], &[])] {
        assert_eq!(store.patch(chunk.digest(), digests, wire), Err(StoreError::Unproven(chunk.digest())));
    }
    assert!(patch(&mut store, chunk, &index).unwrap());
}

#[test]
fn states_that_are_fetched_in_pages_one_after_the_other_do_not_pile_up() {
    let disk = MemoryDisk::new();
    let mut store = small(&disk, 64 << 10);
    let mut application = Application::new(1200);
    let bytes = application.map.bytes();
    let mut most = 0;
    for seq in 1..=60 {
        application.change(150);
        assert_eq!(fetch(&mut store, &application.state(seq)).unwrap(), application.state(seq));
        store.prune(Seq(seq), Seq(seq), &[]).unwrap();
        most = most.max(store.used());
    }
    println!("{most} bytes for a state of {bytes}");
    assert!(most < 10 * bytes, "{most} bytes for a state of {bytes}");
}
