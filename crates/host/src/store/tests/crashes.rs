//! Power cuts, full disks and broken ones, at every operation of the disk.

use quorate_protocol::types::{ClusterId, PublicKey, ReplicaId};

use super::*;
use crate::folder::format_folder;
use crate::journal::{self, Durability, JournalError, Reserve, Shape, Writer};
use crate::superblock::{Identity, Superblock};

const CRASHES: [Crash; 5] = [
    Crash::Forget,
    Crash::Keep,
    Crash::Some { mask: 0b01, torn: 2000 },
    Crash::Some { mask: 0x5555, torn: 100 },
    Crash::Some { mask: u64::MAX, torn: 0 },
];

fn identity() -> Identity {
    Identity { cluster: ClusterId(Digest([1; 32])), replica: ReplicaId(2), key: PublicKey([3; 32]) }
}

fn formatted() -> MemoryDisk {
    let mut disk = MemoryDisk::new();
    format_folder(&mut disk, identity(), Shape::exactly(32, 4096, 4096), Reserve::Records).unwrap();
    disk
}

fn writer(disk: &MemoryDisk) -> Result<Writer<MemoryDisk>, JournalError> {
    let superblock = Superblock::open(&mut disk.share(), &identity()).unwrap().0;
    let opened = journal::open(disk.share(), superblock, Shape::exactly(32, 4096, 4096), Durability::Sync);
    opened.map(|opened| opened.writer)
}

/// The states that a life saves, made anew each time: pages say where a store put them.
fn states() -> Vec<State> {
    let mut application = Application::new(60);
    let change = |seq| {
        application.change(8);
        application.state(seq)
    };
    (1..=12).map(change).collect()
}

/// Saves, points, prunes; segments turn around. Says which states were pointed to, and whether the disk failed.
fn live(disk: &MemoryDisk) -> (Vec<Seq>, bool) {
    let mut pointed = Vec::new();
    let Ok(mut writer) = writer(disk) else { return (pointed, true) };
    let mut store = small(disk, 8 << 10);
    for state in states() {
        let seq = state.seq;
        let Ok(pointer) = store.save(&state) else { return (pointed, true) };
        if writer.point_to(pointer).is_err() {
            return (pointed, true);
        }
        pointed.push(seq);
        if store.prune(seq, seq, &[]).is_err() {
            return (pointed, true);
        }
    }
    let counters = store.counters();
    assert!(counters.deleted > 0 && counters.moved_bytes > 0, "no segment was given up: {counters:?}");
    (pointed, false)
}

#[test]
fn a_power_cut_at_any_operation_leaves_the_state_that_the_superblock_names() {
    let disk = formatted();
    let roots = states().iter().map(State::root).collect::<Vec<_>>();
    let root_of = |seq: Seq| roots[seq.0 as usize - 1];
    let mut cuts = 0;
    for nth in disk.operations() + 1.. {
        let mut failed = disk.clone();
        failed.fail(nth, DiskFailure::Failed("power".to_owned()));
        let (pointed, cut) = live(&failed);
        if !cut {
            break;
        }
        cuts += 1;
        for crash in CRASHES {
            let mut disk = failed.clone();
            disk.crash(crash);
            let what = format!("operation {nth}, {crash:?}");
            let named = Superblock::open(&mut disk, &identity()).unwrap().0.snapshot;
            assert!(named.map(|pointer| pointer.seq) >= pointed.last().copied(), "{what}");
            let mut store = open(&disk);
            if let Some(named) = named {
                assert_eq!(named.root, root_of(named.seq), "{what}");
                assert!(store.list().contains(&named.seq), "{what}");
            }
            for seq in store.list() {
                let state = store.load(seq).unwrap_or_else(|error| panic!("{what}: {error}"));
                assert_eq!(state.root(), root_of(seq), "{what}");
            }
            // And it goes on.
            let next = small_state(19);
            store.save(&next).unwrap();
            assert_eq!(store.load(Seq(19)).unwrap(), next, "{what}");
        }
    }
    assert!(cuts > 60, "{cuts}");
}

#[test]
fn a_store_that_failed_takes_nothing_more() {
    let disk = formatted();
    let first = disk.operations();
    let mut failures = 0;
    for nth in first + 1..first + 40 {
        let mut disk = disk.clone();
        let mut store = open(&disk);
        disk.fail(nth, DiskFailure::Full);
        let Some(error) = states().iter().find_map(|state| store.save(state).err()) else { break };
        assert!(matches!(&error, StoreError::Disk(error) if error.kind == DiskFailure::Full), "{error}");
        failures += 1;
        let before = disk.operations();
        let refused = Err(StoreError::Failed(Box::new(error)));
        assert_eq!(store.save(&small_state(9)).map(|_| ()), refused);
        assert_eq!(store.plan(Seq(9), &[]).map(|_| ()), refused);
        assert_eq!(store.keep(Digest([1; 32]), b"x"), refused);
        assert_eq!(store.prune(Seq(9), Seq(9), &[]), refused);
        assert_eq!(store.adopt(&small_state(9).summary(), &[]).map(|_| ()), refused);
        assert_eq!(disk.operations(), before, "a failed disk is not asked again");
    }
    assert!(failures > 20, "{failures}");
}

#[test]
fn what_a_crash_left_half_written_is_never_written_over() {
    let mut disk = formatted();
    let mut store = open(&disk);
    let states = states();
    store.save(&states[0]).unwrap();
    disk.fail(disk.operations() + 1, DiskFailure::Full);
    store.save(&states[1]).unwrap_err();
    disk.crash(Crash::Some { mask: u64::MAX, torn: 3000 });
    let numbers = segments(&disk);
    let state = small_state(2);
    open(&disk).save(&state).unwrap();
    assert!(segments(&disk).len() > numbers.len(), "{numbers:?}");
    assert_eq!(open(&disk).load(Seq(2)).unwrap(), state);
    assert_eq!(open(&disk).load(Seq(1)).unwrap().root(), states[0].root());
}
