//! What a replica starts from when states in its folder are wrong, or may be.

use std::sync::Arc;

use bytes::Bytes;
use quorate_protocol::application::{ApplicationError, Context as Told, RejectedCommand};
use quorate_protocol::codec::List;
use quorate_protocol::committee::Committee;
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::map::Map;
use quorate_protocol::message::Commit;
use quorate_protocol::parameters::Parameters;
use quorate_protocol::replica::Status;
use quorate_protocol::standing::{Exclusion, Proof};
use quorate_protocol::types::{ClusterId, Digest, Epoch, ReplicaId, View};

use super::*;
use crate::disk::MemoryDisk;
use crate::folder::format_folder;
use crate::journal::Reserve;

const OTHER: Digest = Digest([9; 32]);

/// A machine that understands nothing, and writes one entry.
struct Still;

impl StateMachine for Still {
    fn apply(&mut self, _context: &Told, _command: &[u8]) -> Result<Bytes, RejectedCommand> {
        Err(RejectedCommand)
    }
    fn save(&mut self, map: &mut Map) -> Result<(), ApplicationError> {
        map.insert(b"key", b"value").map(drop).map_err(ApplicationError::Map)
    }
    fn load(&mut self, _map: &Map) -> Result<(), ApplicationError> {
        Ok(())
    }
}

fn life() -> Life {
    let keys: Vec<_> = (1..=4).map(|seed| SecretKey::from_seed(&[seed; 32]).public()).collect();
    let (cluster, epoch) = (ClusterId(Digest([1; 32])), Epoch(0));
    let identity = Identity { cluster, replica: ReplicaId(0), key: keys[0] };
    let committee = Arc::new(Committee::new(&keys, false).unwrap());
    let context = Context { cluster, epoch, committee, parameters: Arc::new(Parameters::default()) };
    Life { context, identity, durability: Durability::Sync }
}

fn start(disk: MemoryDisk) -> (Started<MemoryDisk>, Store<MemoryDisk>) {
    begin(disk, life(), Box::new(Still), Time(1)).unwrap()
}

/// The state after a slot of null batches.
fn state_after(seq: u64) -> State {
    let mut executor = Executor::new(life().context, Box::new(Still));
    (1..=seq).for_each(|seq| drop(executor.execute(Seq(seq), None)));
    executor.checkpoint().unwrap()
}

/// A folder with the states after slots 1 to 3, in which the journal has certificates of these roots, and the superblock
/// says this of its replica. None for the root that is here.
fn folder(certified: &[(u64, Option<Digest>)], standing: impl FnOnce([Digest; 3]) -> Standing) -> MemoryDisk {
    let life = life();
    let shape = Shape::of(&life.context.parameters, life.context.committee.size());
    let mut disk = MemoryDisk::new();
    format_folder(&mut disk, life.identity, shape, Reserve::Records).unwrap();
    let (Started { mut journal, mut writer, .. }, mut store) = start(disk);
    let roots = [1, 2, 3].map(|seq| {
        let pointer = store.save(&state_after(seq)).unwrap();
        writer.point_to(pointer).unwrap();
        pointer.root
    });
    for (seq, root) in certified {
        let root = root.unwrap_or(roots[*seq as usize - 1]);
        let statement = Checkpoint { seq: Seq(*seq), root, epoch_end: Seq::MAX };
        journal.append(&Record::Stable(Certificate { statement, signatures: List(Vec::new()) }), None);
        writer.write(&journal.take_group().unwrap(), true).unwrap();
    }
    writer.update(|superblock| superblock.standing = standing(roots)).unwrap();
    writer.close().unwrap()
}

fn wrong_at(seq: u64, roots: [Digest; 3]) -> Divergence {
    Divergence { seq: Seq(seq), ours: roots[seq as usize - 1], theirs: OTHER }
}

fn out(wrong: Option<Divergence>) -> Standing {
    Standing::Out(Exclusion::Unremembered { view: View(0), seq: Seq(9), wrong })
}

#[test]
fn c10_a_state_between_the_last_certified_one_and_the_wrong_one_goes_too() {
    let diverged = |roots| Standing::Diverged { divergence: wrong_at(3, roots), mended: false };
    let disk = folder(&[(1, None)], diverged);
    let (started, store) = start(disk);
    assert_eq!((store.list(), started.executor.executed()), (vec![Seq(1)], Seq(1)));
    // The journal has the newest certificate only: here none that says of any state that it was right.
    let disk = folder(&[(3, Some(OTHER))], |_| Standing::Normal);
    let (started, store) = start(disk);
    assert_eq!((store.list(), started.executor.executed()), (Vec::new(), Seq(0)));
    assert!(started.replica.behind(), "it fetches one");
}

#[test]
fn c10_who_is_out_for_another_reason_starts_without_the_state_that_a_certificate_contradicts() {
    let disk = folder(&[(3, Some(OTHER))], |_| out(None));
    let (mut started, store) = start(disk);
    assert_eq!((store.list(), started.executor.executed()), (Vec::new(), Seq(0)));
    assert_eq!((started.replica.status(), started.replica.standing()), (Status::Out, out(None)));
    let case = Case::read(started.writer.disk()).unwrap().unwrap();
    assert_eq!((case.divergence.seq, case.divergence.theirs), (Seq(3), OTHER));
}

#[test]
fn c10_who_was_wrong_before_it_was_out_computes_its_states_anew_from_one_that_was_right() {
    let disk = folder(&[(1, None)], |roots| out(Some(wrong_at(2, roots))));
    let (mut started, mut store) = start(disk);
    assert_eq!((store.list(), started.executor.executed()), (vec![Seq(1)], Seq(1)));
    assert_eq!(started.writer.superblock().standing, out(None), "what is here now is right");
    let pointer = store.save(&state_after(2)).unwrap();
    started.writer.point_to(pointer).unwrap();
    let (started, store) = start(started.writer.close().unwrap());
    assert_eq!((store.list(), started.executor.executed()), (vec![Seq(1), Seq(2)], Seq(2)));
}

#[test]
fn c9_who_saw_two_certificates_that_exclude_each_other_stays_halted_and_keeps_them() {
    let commit = |digest| {
        let statement = Commit { view: View(0), seq: Seq(4), digest: Digest([digest; 32]) };
        Proof::Committed(Certificate { statement, signatures: List(Vec::new()) })
    };
    let conflict = vec![commit(5), commit(6)];
    let halted = |wrong| {
        let (one, other) = (Digest([5; 32]), Digest([6; 32]));
        Standing::Out(Exclusion::Contradiction { seq: Seq(4), one, other, wrong })
    };
    let disk = folder(&[(1, None)], |roots| halted(Some(wrong_at(3, roots))));
    let divergence = Divergence { seq: Seq(4), ours: Digest([5; 32]), theirs: Digest([6; 32]) };
    let (votes, batches, agreed) = (Vec::new(), Batches::default(), Seq(1));
    let evidence =
        Evidence { divergence, proven: false, agreed, votes, certificate: None, batches, conflict };
    Store::open(disk.share(), true).unwrap().preserve(&evidence).unwrap();
    let mut disk = disk;
    for _ in 0..2 {
        let (mut started, store) = start(disk);
        assert_eq!((started.replica.status(), started.effects.len()), (Status::Halted, 0));
        assert_eq!((store.list(), started.replica.standing()), (vec![Seq(1)], halted(None)));
        let case = Case::read(started.writer.disk()).unwrap().unwrap();
        assert_eq!((case.divergence, &case.conflict), (divergence, &evidence.conflict));
        disk = started.writer.close().unwrap();
    }
}
