//! Promises that are let go only when what replaces them is durable, and rings that are never too small.

use std::sync::Arc;

use quorate_protocol::certificate::Certificate;
use quorate_protocol::codec::List;
use quorate_protocol::message::{NamedViewChange, NewView, ViewChange};
use quorate_protocol::types::{ReplicaId, Signature, View};

use super::*;

fn big_new_view(view: u64) -> Record {
    let certificates =
        (1..=8).map(|seq| Certificate { statement: prepare(seq), signatures: List(signatures()) });
    let body = ViewChange { view: View(view), stable: None, prepared: List(certificates.collect()) };
    let one = NamedViewChange::from(Signed { body, signer: ReplicaId(1), signature: Signature([1; 64]) });
    let new_view = NewView { view: View(view), view_changes: List(vec![(ReplicaId(1), one.digest())]) };
    Record::NewView { new_view, signature: Some(Signature([6; 64])), view_changes: vec![Arc::new(one)] }
}

#[test]
fn what_a_group_lets_go_is_kept_until_its_stable_certificate_is_durable() {
    let mut lost = Vec::new();
    let shape = Shape::exactly(256, 16384, 4096);
    for filler in 0..60 {
        for nth in 1.. {
            assert!(nth < 500, "the group is never written");
            let mut opened = reopen(formatted(shape), Durability::Sync);
            write(&mut opened, &[horizon(1, 100)], true).unwrap();
            for seq in 1..=4 {
                write(&mut opened, &[vote(seq), prepared(seq)], true).unwrap();
            }
            for _ in 0..filler {
                write(&mut opened, &[prepared(5)], true).unwrap();
            }
            // The nth change of the disk from here on fails.
            let now = opened.writer.disk().operations();
            opened.writer.disk().fail(now + nth, DiskFailure::Full);
            opened.journal.reclaim(Seq(4));
            if write(&mut opened, &[big_new_view(2), stable(4)], true).is_ok() {
                break;
            }
            for crash in [Crash::Forget, Crash::Keep] {
                let mut disk = opened.writer.disk().clone();
                disk.crash(crash);
                let again = reopen(disk, Durability::Sync);
                let found = records(&again);
                let whole = (1..=4).all(|seq| found.contains(&prepared(seq)));
                if again.report.amnesia.is_none() && !found.contains(&stable(4)) && !whole {
                    lost.push((filler, nth, crash));
                }
            }
        }
    }
    assert!(
        lost.is_empty(),
        "promises lost without a certificate in their place and without amnesia: {lost:?}"
    );
}

#[test]
fn views_of_full_windows_change_for_ever_in_clusters_of_every_size() {
    use quorate_protocol::committee::quorum;
    use quorate_protocol::parameters::Parameters;
    for n in [4_usize, 7, 10, 13, 31] {
        let q = quorum(n);
        let parameters = Parameters {
            window: 256,
            checkpoint_interval: 128,
            batch_bytes_max: 1 << 20,
            ..Parameters::default()
        };
        let shape = Shape::of(&parameters, n);
        let shape = Shape::exactly(shape.records(), shape.side_bytes(), 1 << 20);
        let signatures =
            || (0..q as u16).map(|id| (ReplicaId(id), Signature([id as u8; 64]))).collect::<Vec<_>>();
        let certificate = |seq: u64| Certificate { statement: prepare(seq), signatures: List(signatures()) };
        let change = |view: u64| ViewChange {
            view: View(view),
            stable: None,
            prepared: List((1..=256).map(certificate).collect()),
        };
        let new_view = |view: u64| {
            let vcs: Vec<_> = (0..q as u16)
                .map(|id| {
                    Arc::new(NamedViewChange::from(Signed {
                        body: change(view),
                        signer: ReplicaId(id),
                        signature: Signature([1; 64]),
                    }))
                })
                .collect();
            let named = vcs.iter().map(|one| (one.signer, one.digest())).collect();
            Record::NewView {
                new_view: NewView { view: View(view), view_changes: List(named) },
                signature: Some(Signature([6; 64])),
                view_changes: vcs,
            }
        };
        let mut opened = reopen(formatted(shape), Durability::Sync);
        let certificates: Vec<_> = (1..=256).map(|seq| Record::Prepared(certificate(seq))).collect();
        write(&mut opened, &certificates, true).unwrap();
        for view in 2..9 {
            let records = [Record::ViewChange(change(view)), new_view(view)];
            assert_eq!(write(&mut opened, &records, true).err(), None, "n = {n}, view {view}");
        }
    }
}

#[test]
fn the_snapshot_that_the_stored_superblock_names_is_there_whatever_the_durability() {
    let mut opened = reopen(formatted(tiny()), Durability::Os);
    let mut store = Store::open(opened.writer.disk().share(), false).unwrap();
    let mut step = |opened: &mut Opened<MemoryDisk>, seq: u64| {
        opened.writer.point_to(store.save(&small_state(seq)).unwrap()).unwrap();
        store.prune(Seq(seq), Seq(seq), &[]).unwrap();
    };
    step(&mut opened, 4);
    write(&mut opened, &[horizon(0, 12)], true).unwrap();
    for seq in [8, 12, 16] {
        write(&mut opened, &[stable(seq)], true).unwrap();
        opened.journal.reclaim(Seq(seq));
        write(&mut opened, &[vote(seq + 1)], true).unwrap();
        step(&mut opened, seq);
    }
    let mut disk = disk_of(opened);
    disk.crash(Crash::Keep);
    assert_eq!(load_named(&disk).seq, Seq(4), "the superblock was not stored since");
}

#[test]
fn a_clean_stop_without_syncs_leaves_the_state_that_was_pointed_to_durable() {
    let mut opened = reopen(formatted(tiny()), Durability::Os);
    let mut store = Store::open(opened.writer.disk().share(), false).unwrap();
    for seq in [4, 8] {
        opened.writer.point_to(store.save(&small_state(seq)).unwrap()).unwrap();
    }
    let mut cut = opened.writer.disk().clone();
    cut.crash(Crash::Forget);
    assert_eq!(Store::open(cut, true).unwrap().list(), [], "nothing was synced before");
    let mut disk = opened.writer.close().unwrap();
    disk.crash(Crash::Forget);
    assert_eq!(load_named(&disk).seq, Seq(8));
}
