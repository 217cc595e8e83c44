//! What a file of evidence is refused for, and that a folder keeps one of each.

use std::sync::Arc;

use quorate_protocol::committee::Committee;
use quorate_protocol::crypto::SecretKey;
use quorate_protocol::message::{Prepare, Sworn};
use quorate_protocol::parameters::Parameters;
use quorate_protocol::signed::{Signed, Signer};
use quorate_protocol::types::{Digest, Seq, Signature, View};

use super::*;
use crate::disk::{Crash, DiskFailure, MemoryDisk};

fn context(cluster: u8, epoch: u64) -> Context {
    let keys: Vec<_> = (1..5).map(|id| SecretKey::from_seed(&[id; 32]).public()).collect();
    Context {
        cluster: ClusterId(Digest([cluster; 32])),
        epoch: Epoch(epoch),
        committee: Arc::new(Committee::new(&keys, false).unwrap()),
        parameters: Arc::new(Parameters::default()),
    }
}

fn vote(digest: u8) -> Sworn {
    let here = context(9, 0);
    let key = Arc::new(SecretKey::from_seed(&[3; 32]));
    let prepare = Prepare { view: View(1), seq: Seq(7), digest: Digest([digest; 32]) };
    let signed = Signer::new(key, here.cluster, here.epoch, ReplicaId(2)).sign(prepare);
    Sworn::Prepare(signed.into_inner())
}

fn exhibit() -> Exhibit {
    Exhibit::new(&context(9, 0), Accusation::Twice(vote(1), vote(2)))
}

#[test]
fn what_a_file_holds_is_what_was_written_and_proves_it_anywhere() {
    let bytes = exhibit().encode().unwrap();
    let read = Exhibit::decode(&bytes).unwrap();
    assert_eq!((read.check(&context(9, 0)), &read), (Ok(()), &exhibit()));
    assert_eq!(read.check(&context(8, 0)), Err(ExhibitError::OtherCluster(ClusterId(Digest([9; 32])))));
    let epochs = ExhibitError::OtherEpoch { found: Epoch(0), ours: Epoch(1) };
    assert_eq!(read.check(&context(9, 1)), Err(epochs));
}

#[test]
fn a_file_that_names_our_cluster_for_another_one_s_proof_is_found_out_by_its_signatures() {
    let moved = Exhibit { cluster: ClusterId(Digest([8; 32])), ..exhibit() };
    let forged = NotProof::Forged { signer: ReplicaId(2), which: "first" };
    assert_eq!(moved.check(&context(8, 0)), Err(ExhibitError::NotProof(forged)));
    let Sworn::Prepare(other) = vote(2) else { unreachable!("it is a PREPARE") };
    let unsigned = Sworn::Prepare(Signed { signature: Signature([7; 64]), ..other });
    let forged = Exhibit { accusation: Accusation::Twice(vote(1), unsigned), ..exhibit() };
    let which = NotProof::Forged { signer: ReplicaId(2), which: "second" };
    assert_eq!(forged.check(&context(9, 0)), Err(ExhibitError::NotProof(which)));
}

#[test]
fn every_way_to_spoil_a_file_has_its_own_word() {
    let whole = exhibit().encode().unwrap();
    for length in 0..whole.len() {
        let found = Exhibit::decode(&whole[..length]);
        assert!(matches!(found, Err(ExhibitError::Truncated { .. })), "{length} bytes: {found:?}");
    }
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        let found = Exhibit::decode(&bytes);
        let expected = match at {
            0..8 => matches!(found, Err(ExhibitError::NotEvidence)),
            8..10 => matches!(found, Err(ExhibitError::FutureVersion { .. })),
            _ => found.is_err(),
        };
        assert!(expected, "byte {at}: {found:?}");
    }
    let longer = [&whole[..], b"x"].concat();
    assert_eq!(Exhibit::decode(&longer), Err(ExhibitError::Trailing(1)));
    let mut other = whole[..HEADER].to_vec();
    other[HEADER - 8..HEADER - 4].copy_from_slice(&4_u32.to_le_bytes());
    other[HEADER - 4..].copy_from_slice(&crc32c::crc32c(b"junk").to_le_bytes());
    assert!(matches!(Exhibit::decode(&[&other[..], b"junk"].concat()), Err(ExhibitError::Malformed(_))));
    assert_eq!(Exhibit::decode(b"[cluster]\nname = \"x\" and so on"), Err(ExhibitError::NotEvidence));
}

#[test]
fn a_folder_keeps_the_first_of_each_and_what_rot_spoiled_is_written_again() {
    let mut disk = MemoryDisk::new();
    keep(&mut disk, &exhibit()).unwrap();
    let another = Exhibit { accusation: Accusation::Twice(vote(3), vote(4)), ..exhibit() };
    keep(&mut disk, &another).unwrap();
    disk.crash(Crash::Forget);
    assert_eq!(list(&mut disk).unwrap(), [(ReplicaId(2), Offence::Prepares, Ok(exhibit()))]);
    disk.set_len(another.file(), 50).unwrap();
    assert!(matches!(&list(&mut disk).unwrap()[..], [(_, _, Err(ExhibitError::Truncated { .. }))]));
    keep(&mut disk, &another).unwrap();
    assert_eq!(list(&mut disk).unwrap(), [(ReplicaId(2), Offence::Prepares, Ok(another))]);
}

#[test]
fn a_crash_while_an_accusation_is_written_leaves_all_of_it_or_nothing() {
    let mut whole = MemoryDisk::new();
    keep(&mut whole, &exhibit()).unwrap();
    let mut seen = [0, 0];
    for nth in 1..=whole.operations() {
        for crash in [Crash::Forget, Crash::Keep, Crash::Some { mask: u64::MAX, torn: 50 }] {
            let mut disk = MemoryDisk::new();
            disk.fail(nth, DiskFailure::Failed("power".to_owned()));
            keep(&mut disk, &exhibit()).unwrap_err();
            disk.crash(crash);
            let found = list(&mut disk).unwrap();
            let there = found.len();
            seen[there] += 1;
            assert!(
                found.into_iter().all(|(_, _, file)| file == Ok(exhibit())),
                "operation {nth}, {crash:?}"
            );
            // What was left of the attempt is in nobody's way.
            keep(&mut disk, &exhibit()).unwrap();
            assert_eq!(list(&mut disk).unwrap(), [(ReplicaId(2), Offence::Prepares, Ok(exhibit()))]);
        }
    }
    assert!(seen[0] >= 3 && seen[1] >= 1, "{seen:?}");
}

#[test]
fn a_file_of_another_cluster_does_not_keep_a_proof_out() {
    let mut disk = MemoryDisk::new();
    // It decodes, and proves nothing here.
    let foreign = Exhibit { cluster: ClusterId(Digest([8; 32])), ..exhibit() };
    keep(&mut disk, &foreign).unwrap();
    keep(&mut disk, &exhibit()).unwrap();
    let found = list(&mut disk).unwrap();
    let (_, _, kept) = &found[0];
    assert_eq!(kept.as_ref().unwrap().check(&context(9, 0)), Ok(()));
}
