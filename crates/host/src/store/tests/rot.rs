//! Every byte of a store rots, every file is cut: what is loaded is right, or known to be damaged and where.

use super::*;

/// Two states that share pages.
fn two() -> (MemoryDisk, [State; 2]) {
    let disk = MemoryDisk::new();
    let mut application = Application::new(260);
    let mut store = open(&disk);
    let old = application.state(4);
    store.save(&old).unwrap();
    application.put(0);
    let new = application.state(8);
    store.save(&new).unwrap();
    assert!(old.application.chunks().len() >= 2, "chunks that differ, and chunks that do not");
    (disk, [old, new])
}

fn length(disk: &MemoryDisk, file: FileName) -> u64 {
    disk.share().len(file).unwrap().unwrap()
}

/// Which snapshots are whole, having checked that those that load are right and the others say why.
#[track_caller]
fn judge(disk: &MemoryDisk, states: &[State; 2], what: &str) -> [bool; 2] {
    let mut store = Store::open(disk.share(), true).unwrap_or_else(|error| panic!("{what}: {error}"));
    [0, 1].map(|index| {
        let (state, seq) = (&states[index], states[index].seq);
        let verified = Store::examine(disk.share(), true).unwrap().verify(seq);
        match store.load(seq) {
            Ok(loaded) => {
                assert_eq!(loaded.root(), state.root(), "{what}");
                assert_eq!(verified, Ok(state.application.bytes() + state.sessions.bytes()), "{what}");
                true
            }
            Err(error) => {
                assert!(error.is_damage(), "{what}: {error}");
                assert_eq!(verified, Err(error), "{what}");
                false
            }
        }
    })
}

#[test]
fn a_flipped_bit_anywhere_in_a_manifest_is_found() {
    let (disk, states) = two();
    let file = FileName::Snapshot(Seq(8));
    for offset in 0..length(&disk, file) {
        let mut rotten = disk.clone();
        rotten.flip(file, offset, 1 << (offset % 8));
        assert_eq!(judge(&rotten, &states, &format!("byte {offset}")), [true, false]);
        let mut cut = disk.clone();
        cut.set_len(file, offset).unwrap();
        assert_eq!(judge(&cut, &states, &format!("length {offset}")), [true, false]);
    }
    let mut renamed = disk.clone();
    renamed.rename(file, FileName::Snapshot(Seq(9))).unwrap();
    assert_eq!(open(&renamed).load(Seq(9)).map(|_| ()), Err(StoreError::Damaged(Seq(9))));
}

#[test]
fn a_flipped_bit_anywhere_in_a_segment_is_found_and_costs_the_states_that_use_it() {
    let (disk, states) = two();
    let file = FileName::Segment(1);
    let mut found = [0; 4];
    for offset in (0..length(&disk, file)).step_by(37) {
        let mut rotten = disk.clone();
        rotten.flip(file, offset, 1 << (offset % 8));
        let [old, new] = judge(&rotten, &states, &format!("byte {offset}"));
        found[usize::from(old) * 2 + usize::from(new)] += 1;
    }
    assert_eq!(found[3], 0, "everything in the segment is of use to one of them: {found:?}");
    assert!(found[..3].iter().all(|count| *count > 10), "both, the old or the new alone: {found:?}");
}

#[test]
fn a_segment_that_is_cut_or_gone_or_another_is_damage() {
    let (disk, states) = two();
    let file = FileName::Segment(1);
    let whole = length(&disk, file);
    for length in (0..whole).step_by(997) {
        let mut cut = disk.clone();
        cut.set_len(file, length).unwrap();
        assert!(!judge(&cut, &states, &format!("length {length}"))[1], "length {length}");
    }
    let mut gone = disk.clone();
    gone.remove(file).unwrap();
    assert_eq!(judge(&gone, &states, "gone"), [false, false]);
    let mut renamed = disk.clone();
    renamed.rename(file, FileName::Segment(2)).unwrap();
    assert_eq!(judge(&renamed, &states, "renamed"), [false, false]);
    let mut later = vec![0; 8192];
    disk.share().read_at(file, 4096, &mut later).unwrap();
    let mut hit = disk.clone();
    hit.write_at(file, 0, &later).unwrap();
    assert!(!judge(&hit, &states, "misdirected")[0]);
}

#[test]
fn damage_is_named_and_the_other_chunks_are_still_of_use() {
    let (mut disk, [_, new]) = two();
    let victim = &new.application.chunks()[1];
    let page = Place(victim.pages()[3].place());
    disk.flip(page.file(), page.offset() + 20, 1);
    let mut store = open(&disk);
    let chunks = new.chunks().count();
    let damaged = StoreError::DamagedChunk { seq: Seq(8), chunk: 1, chunks };
    assert_eq!(store.load(Seq(8)).map(|_| ()), Err(damaged.clone()));
    assert!(damaged.to_string().contains(&format!("chunk 1 of {chunks}")), "{damaged}");
    assert!(store.chunk(Seq(8), 1).unwrap().is_none(), "it is not served");
    assert!(store.chunk(Seq(8), 0).unwrap().is_some());
    let have = store.plan(Seq(8), &new.chunk_digests()).unwrap();
    assert_eq!(have.iter().filter(|here| !**here).count(), 1);
    assert!(!have[1], "only the damaged one is fetched");
    store.keep(victim.digest(), &victim.encode()).unwrap();
    assert_eq!(store.adopt(&new.summary(), &new.chunk_digests()).unwrap(), new);
    assert_eq!(open(&disk).load(Seq(8)).unwrap(), new);
}

#[test]
fn what_rots_while_the_replica_runs_is_written_again_once_it_is_noticed() {
    let mut disk = MemoryDisk::new();
    let mut application = Application::new(260);
    let mut store = open(&disk);
    store.save(&application.state(4)).unwrap();
    let place = Place(application.map.chunks()[0].pages()[0].place());
    disk.flip(place.file(), place.offset() + 20, 1);
    assert!(store.chunk(Seq(4), 0).unwrap().is_none(), "somebody asks for it");
    assert_eq!(store.counters().damaged, 1);
    application.put(200);
    store.save(&application.state(8)).unwrap();
    assert_eq!(open(&disk).load(Seq(8)).unwrap(), application.state(8));
}

/// Writes a number into the header of the manifest of slot 8, under a right checksum.
fn forge(disk: &mut MemoryDisk, at: usize, bytes: &[u8]) {
    let file = FileName::Snapshot(Seq(8));
    let mut header = vec![0; 72];
    disk.read_at(file, 0, &mut header).unwrap();
    header[at..at + bytes.len()].copy_from_slice(bytes);
    let checksum = crc32c::crc32c(&header[4..]);
    header[..4].copy_from_slice(&checksum.to_le_bytes());
    disk.write_at(file, 0, &header).unwrap();
}

#[test]
fn lengths_that_nothing_has_are_not_allocated() {
    let (disk, states) = two();
    let mut forged = disk.clone();
    // As long as an address space, in a file that says so too.
    forge(&mut forged, 56, &(1_u64 << 50).to_le_bytes());
    forged.set_len(FileName::Snapshot(Seq(8)), (1 << 50) + 72).unwrap();
    assert_eq!(judge(&forged, &states, "a long manifest"), [true, false]);
    let mut forged = disk;
    let place = Place(states[0].application.chunks()[0].place());
    for at in [48, 52] {
        forged.write_at(place.file(), place.offset() + at, &u32::MAX.to_le_bytes()).unwrap();
        assert!(!judge(&forged, &states, "a long record")[0]);
    }
}

#[test]
fn states_of_other_versions_are_refused_by_name() {
    for (version, expected) in [
        (1_u16, StoreError::PastVersion { seq: Seq(8), found: 1 }),
        (3, StoreError::FutureVersion { seq: Seq(8), found: 3 }),
    ] {
        let (mut disk, _) = two();
        forge(&mut disk, 12, &version.to_le_bytes());
        assert_eq!(Store::open(disk.share(), true).map(|_| ()), Err(expected));
    }
}
