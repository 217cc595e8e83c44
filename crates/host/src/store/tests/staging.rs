//! Chunks that are fetched: kept as they come, found again after a start, and let go when nobody awaits them.

use quorate_protocol::message::Transfer;
use quorate_protocol::types::ReplicaId;

use super::*;

/// A state as another replica has it: nothing in it says that it stands in this store.
fn theirs(seq: u64) -> State {
    let mut application = Application::new(1200);
    application.change(seq);
    application.state(seq)
}

fn fetch(store: &mut Store<MemoryDisk>, state: &State, which: impl Fn(usize) -> bool) {
    for (index, chunk) in state.chunks().enumerate().filter(|(index, _)| which(*index)) {
        let job = Job::Keep { index: index as u32, digest: chunk.digest(), wire: chunk.encode().into() };
        assert!(matches!(store.run(job), Ok(Finished::Kept { index: kept }) if kept == index as u32));
    }
}

fn plan(store: &mut Store<MemoryDisk>, state: &State) -> Vec<bool> {
    match store.run(Job::Plan { seq: state.seq, digests: state.chunk_digests().into() }).unwrap() {
        Finished::Planned { seq, have, .. } if seq == state.seq => have,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_fetched_state_is_adopted_durably_and_shares_its_pages_with_what_is_saved_next() {
    let mut disk = MemoryDisk::new();
    let (mut store, state) = (open(&disk), theirs(40));
    assert!(plan(&mut store, &state).iter().all(|here| !here));
    fetch(&mut store, &state, |_| true);
    let (summary, digests) = (Box::new(state.summary()), state.chunk_digests().into());
    let job = Job::Adopt { summary, digests, old: Vec::new() };
    let Ok(Finished::Adopted(adopted)) = store.run(job) else { panic!("it is not adopted") };
    assert_eq!(*adopted, state);
    let before = store.counters().bytes;
    let mut application = Application { map: adopted.application, random: 5 };
    application.change(1);
    store.save(&application.state(41)).unwrap();
    assert!(store.counters().bytes - before < 8000, "little changed");
    disk.crash(Crash::Forget);
    assert_eq!(open(&disk).load(Seq(40)).unwrap(), state);
    assert_eq!(open(&disk).load(Seq(41)).unwrap(), application.state(41));
}

#[test]
fn chunks_that_were_fetched_before_the_process_died_are_not_fetched_again() {
    let mut disk = MemoryDisk::new();
    let state = theirs(40);
    let chunks = state.chunks().count();
    let mut store = small(&disk, 100 << 10);
    plan(&mut store, &state);
    fetch(&mut store, &state, |index| index % 2 == 0);
    drop(store);
    disk.crash(Crash::Keep);
    let mut store = small(&disk, 100 << 10);
    let have = plan(&mut store, &state);
    assert_eq!(have, (0..chunks).map(|index| index % 2 == 0).collect::<Vec<_>>());
    fetch(&mut store, &state, |index| index % 2 == 1);
    store.adopt(&state.summary(), &state.chunk_digests()).unwrap();
    disk.crash(Crash::Forget);
    assert_eq!(open(&disk).load(Seq(40)).unwrap(), state, "what the dead process wrote is synced too");
}

#[test]
fn a_power_cut_at_any_operation_of_a_transfer_leaves_whole_chunks_or_none() {
    let state = theirs(3);
    let life = |disk: &MemoryDisk| -> Result<(), StoreError> {
        let mut store = small(disk, 100 << 10);
        store.plan(state.seq, &state.chunk_digests())?;
        for chunk in state.chunks() {
            store.keep(chunk.digest(), &chunk.encode())?;
        }
        store.adopt(&state.summary(), &state.chunk_digests()).map(drop)
    };
    let mut kept = 0;
    for nth in 1.. {
        let mut failed = MemoryDisk::new();
        failed.fail(nth, DiskFailure::Full);
        if life(&failed).is_ok() {
            break;
        }
        for crash in [Crash::Forget, Crash::Keep, Crash::Some { mask: 0b101, torn: 30_000 }] {
            let mut disk = failed.clone();
            disk.crash(crash);
            let mut store = open(&disk);
            let have = store.plan(state.seq, &state.chunk_digests()).unwrap();
            kept += have.iter().filter(|here| **here).count();
            assert!(store.list().is_empty() || store.load(state.seq).unwrap() == state, "{nth} {crash:?}");
            life(&disk).unwrap();
            assert_eq!(open(&disk).load(state.seq).unwrap(), state, "{nth} {crash:?}");
        }
    }
    assert!(kept > 20, "{kept}");
}

#[test]
fn chunks_of_a_moving_target_do_not_pile_up() {
    let disk = MemoryDisk::new();
    let mut store = small(&disk, 64 << 10);
    let mut application = Application::new(1200);
    let bytes = application.map.bytes();
    let mut most = 0;
    for seq in 1..=60 {
        application.change(150);
        // What the other replica has is not what this one's store wrote.
        let theirs = application.state(seq);
        plan(&mut store, &theirs);
        fetch(&mut store, &theirs, |index| index % 3 != 0);
        most = most.max(store.used());
    }
    assert!(most < 3 * bytes, "{most} bytes for a state of {bytes}");
    assert!(store.counters().deleted > 50, "{:?}", store.counters());
}

#[test]
fn what_no_plan_asks_for_is_not_kept_and_a_wrong_chunk_is_refused() {
    let disk = MemoryDisk::new();
    let (mut store, state, other) = (open(&disk), theirs(5), theirs(600));
    plan(&mut store, &state);
    let digests = state.chunk_digests();
    let wrong = other.chunks().find(|chunk| !digests.contains(&chunk.digest())).unwrap();
    store.keep(wrong.digest(), &wrong.encode()).unwrap();
    for wire in [&wrong.encode()[..], b"", b"\xff\xff\xff\xff", &[0; 300_000]] {
        assert_eq!(store.keep(digests[0], wire), Err(StoreError::Unproven(digests[0])));
    }
    assert_eq!(store.used(), 0);
    let refused = store.adopt(&state.summary(), &digests).map(|_| ());
    let chunks = digests.len();
    assert_eq!(refused, Err(StoreError::DamagedChunk { seq: Seq(5), chunk: 0, chunks }));
    fetch(&mut store, &state, |_| true);
    assert_eq!(store.adopt(&state.summary(), &digests).unwrap(), state);
}

#[test]
fn what_was_fetched_dies_when_it_is_no_longer_needed() {
    let state = theirs(40);
    let staged = |disk: &MemoryDisk| {
        let mut store = small(disk, 64 << 10);
        plan(&mut store, &state);
        fetch(&mut store, &state, |index| index < 4);
        store
    };
    // The replica comes so far by itself.
    let disk = MemoryDisk::new();
    let mut store = staged(&disk);
    let most = store.used();
    store.save(&small_state(39)).unwrap();
    store.prune(Seq(39), Seq(39), &[]).unwrap();
    assert!(store.used() > most, "slot 40 is still awaited");
    store.save(&small_state(44)).unwrap();
    store.prune(Seq(44), Seq(44), &[]).unwrap();
    assert!(store.used() < most / 2, "{} of {most}", store.used());
    // The process dies, and the replica that starts finds that it needs nothing.
    let disk = MemoryDisk::new();
    drop(staged(&disk));
    let mut store = open(&disk);
    store.save(&small_state(36)).unwrap();
    store.prune(Seq(36), Seq(40), &[]).unwrap();
    assert!(store.used() > most, "it is behind the stable checkpoint and may have to fetch");
    store.save(&small_state(48)).unwrap();
    store.prune(Seq(48), Seq(48), &[]).unwrap();
    assert!(store.used() < most / 2, "{} of {most}", store.used());
}

#[test]
fn chunks_of_an_older_snapshot_that_a_plan_relies_on_stay_until_the_state_is_adopted() {
    let disk = MemoryDisk::new();
    let mut application = Application::new(1200);
    let mut store = small(&disk, 64 << 10);
    store.save(&application.state(10)).unwrap();
    // What is fetched has much in common with it; what is saved meanwhile has nothing.
    application.put(0);
    let fetched = application.state(90);
    let have = plan(&mut store, &fetched);
    assert!(have.iter().filter(|here| **here).count() > have.len() / 2, "{have:?}");
    for seq in [20, 30, 40] {
        store.save(&small_state(seq)).unwrap();
    }
    store.prune(Seq(40), Seq(40), &[]).unwrap();
    assert_eq!(store.list(), [Seq(30), Seq(40)]);
    fetch(&mut store, &fetched, |index| !have[index]);
    assert_eq!(store.adopt(&fetched.summary(), &fetched.chunk_digests()).unwrap(), fetched);
}

#[test]
fn questions_are_answered_from_the_files_and_what_is_not_there_is_lacking() {
    let disk = MemoryDisk::new();
    let (mut store, state) = (open(&disk), theirs(40));
    store.save(&state).unwrap();
    let mut ask = |question: Transfer| match store.run(Job::Serve { to: ReplicaId(3), question }).unwrap() {
        Finished::Served { to: ReplicaId(3), part } => part,
        other => panic!("{other:?}"),
    };
    let Transfer::Meta { summary, chunks } = ask(Transfer::FetchMeta { seq: Seq(40) }) else {
        panic!("it is there")
    };
    assert!(summary.root() == state.root() && summary.covers(&chunks.0));
    let Transfer::Chunk { bytes, index: 1, .. } = ask(Transfer::FetchChunk { seq: Seq(40), index: 1 }) else {
        panic!("it is there")
    };
    assert_eq!(bytes.0, state.chunks().nth(1).unwrap().encode());
    for (question, seq) in [
        (Transfer::FetchMeta { seq: Seq(41) }, 41),
        (Transfer::FetchChunk { seq: Seq(40), index: u32::MAX }, 40),
        (Transfer::Lacks { seq: Seq(7) }, 7),
    ] {
        assert_eq!(ask(question), Transfer::Lacks { seq: Seq(seq) });
    }
}

#[test]
fn chunks_that_were_fetched_are_found_after_a_start_whatever_was_saved_meanwhile() {
    let mut disk = MemoryDisk::new();
    let state = theirs(90);
    let chunks = state.chunks().count();
    let mut store = small(&disk, 64 << 10);
    store.save(&small_state(10)).unwrap();
    plan(&mut store, &state);
    fetch(&mut store, &state, |index| index < chunks / 2);
    // It is behind, and comes along by itself meanwhile, but not so far.
    for seq in [20, 30, 40] {
        store.save(&small_state(seq)).unwrap();
        store.prune(Seq(seq), Seq(90), &[]).unwrap();
    }
    fetch(&mut store, &state, |index| index == chunks - 1);
    drop(store);
    disk.crash(Crash::Keep);
    let have = plan(&mut open(&disk), &state);
    assert_eq!(have, (0..chunks).map(|index| index < chunks / 2 || index == chunks - 1).collect::<Vec<_>>());
}

#[test]
fn a_start_reads_no_chunk_that_is_of_no_state_any_more() {
    let disk = MemoryDisk::new();
    let mut application = Application::new(1200);
    let mut store = small(&disk, 64 << 10);
    for seq in 1..=30 {
        application.change(20);
        store.save(&application.state(seq)).unwrap();
        store.prune(Seq(seq), Seq(seq), &[]).unwrap();
    }
    let chunks = application.map.chunks().len() + 1;
    let known = |store: &Store<MemoryDisk>| store.catalogue.iter().count();
    assert!(known(&store) <= 4 * chunks, "{} of {chunks}", known(&store));
    assert!(known(&Store::examine(disk.share(), true).unwrap()) > 4 * chunks, "there are many more");
    assert!(known(&open(&disk)) <= 4 * chunks, "{} of {chunks}", known(&open(&disk)));
}
