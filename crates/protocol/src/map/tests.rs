//! What a map answers, what its root says, and what shape it has, for whatever was done to it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use super::*;

mod model;
mod shapes;
mod wire;

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// Keys of eight bytes, in the order of their numbers.
fn key(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// Numbers that look like chance and are the same each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// A map of `count` entries of this many bytes each, keys in order.
fn filled(count: u64, value_bytes: usize) -> Map {
    let mut map = Map::new();
    for number in 0..count {
        assert_eq!(map.insert(&key(number), &vec![number as u8; value_bytes]), Ok(false));
    }
    map
}

fn all(map: &Map) -> Range<'_> {
    map.range(Bound::Unbounded, Bound::Unbounded)
}

/// The map that another replica makes of the wire form of this one.
fn rebuilt(map: &Map) -> Map {
    let chunks = map.chunks().iter().map(|chunk| {
        let wire = chunk.encode();
        assert_eq!(Chunk::digest_of_wire(&wire), Ok(chunk.digest()));
        Arc::new(Chunk::decode(&wire).unwrap())
    });
    Map::from_chunks(chunks.collect()).unwrap()
}

/// Whether two neighbours should have been joined.
fn belong_together(left: u64, right: u64, most: usize) -> bool {
    left.min(right) < most as u64 / 4 && left + right <= most as u64 / 4 * 3
}

/// Every bound that holds for every map that operations made.
fn check_shape(map: &Map) {
    let mut entries = 0;
    let mut bytes = 0;
    let mut last: Option<&[u8]> = None;
    for chunk in map.chunks() {
        assert!(!chunk.pages().is_empty(), "no chunk is empty");
        assert!(chunk.is_consistent());
        assert!(chunk.pages().len() == 1 || chunk.bytes() <= CHUNK_BYTES as u64, "{chunk:?} is too large");
        assert!(chunk.encode().len() <= CHUNK_WIRE_BYTES_MAX, "{chunk:?} fits the wire");
        let sum: usize = chunk.pages().iter().map(|page| page.bytes().len()).sum();
        assert_eq!(chunk.bytes(), sum as u64);
        bytes += chunk.bytes();
        for page in chunk.pages() {
            let count = page.entries().count();
            assert!(count == 1 || count > 1 && page.bytes().len() <= PAGE_BYTES, "{page:?} is too large");
            for entry in page.entries() {
                assert!(last.is_none_or(|last| last < entry.key), "keys ascend");
                last = Some(entry.key);
            }
            entries += count as u64;
        }
        for pair in chunk.pages().windows(2) {
            let [left, right] = [0, 1].map(|at| pair[at].bytes().len() as u64);
            assert!(!belong_together(left, right, PAGE_BYTES), "pages of {left} and {right} bytes");
        }
    }
    for pair in map.chunks().windows(2) {
        let [left, right] = [0, 1].map(|at| pair[at].bytes());
        assert!(!belong_together(left, right, CHUNK_BYTES), "chunks of {left} and {right} bytes");
    }
    assert!(map.chunks().len() as u64 <= chunks_at_most(entries, bytes), "{map:?}");
    assert!(map.chunks.is_consistent());
    assert_eq!((map.len(), map.bytes()), (entries, bytes));
    assert_eq!(map.is_empty(), map.chunks().is_empty());
}

#[test]
fn an_empty_map_has_nothing_and_the_root_of_nothing() {
    let mut map = Map::default();
    assert_eq!((map.len(), map.bytes(), map.changed_bytes(), map.root()), (0, 0, 0, Digest::ZERO));
    assert_eq!(map.get(b""), None);
    assert!(!map.remove(b""));
    assert_eq!(all(&map).next(), None);
    assert_eq!(Map::from_chunks(Vec::new()), Ok(map));
}

#[test]
fn the_empty_key_and_the_empty_value_are_a_key_and_a_value() {
    let mut map = Map::new();
    assert_eq!(map.insert(b"a", b"1"), Ok(false));
    assert_eq!(map.insert(b"", b""), Ok(false));
    assert_eq!(map.insert(b"", b""), Ok(true));
    assert_eq!(map.get(b""), Some(&b""[..]));
    assert_eq!(all(&map).next(), Some((&b""[..], &b""[..])));
    check_shape(&rebuilt(&map));
    assert!(map.remove(b""));
    assert_eq!((map.get(b""), map.len()), (None, 1));
}

#[test]
fn keys_and_entries_have_limits_and_what_is_refused_changes_nothing() {
    let mut map = filled(10, 100);
    let before = (map.clone(), map.root(), map.changed_bytes());
    let longest = vec![7; KEY_BYTES_MAX];
    let largest = vec![8; ENTRY_BYTES_MAX - KEY_BYTES_MAX];
    assert_eq!(map.insert(&[&longest[..], &[0]].concat(), b""), Err(MapError::KeyTooLong(KEY_BYTES_MAX + 1)));
    let error = MapError::EntryTooLarge(ENTRY_BYTES_MAX + 1);
    assert_eq!(map.insert(&longest, &[&largest[..], &[0]].concat()), Err(error));
    assert_eq!((map.clone(), map.root(), map.changed_bytes()), before);
    assert_eq!(map.insert(&longest, &largest), Ok(false));
    check_shape(&map);
    check_shape(&rebuilt(&map));
}

#[test]
fn an_equal_value_changes_nothing() {
    let mut map = filled(1_000, 100);
    map.seal();
    let before = map.clone();
    assert_eq!(map.insert(&key(500), &[500_u64 as u8; 100]), Ok(true));
    assert_eq!(map.changed_bytes(), 0);
    assert!(Arc::ptr_eq(&map.chunks, &before.chunks), "nothing was copied");
}

#[test]
fn a_write_copies_one_page_of_a_map_that_is_shared() {
    let mut map = filled(10_000, 100);
    map.seal();
    let before = map.clone();
    assert_eq!(map.insert(&key(5_000), &[1; 100]), Ok(true));
    let pages = |map: &Map| -> Vec<_> {
        map.chunks().iter().flat_map(|chunk| chunk.pages()).map(Arc::as_ptr).collect()
    };
    let (new, old) = (pages(&map), pages(&before));
    assert_eq!(new.len(), old.len());
    assert_eq!(new.iter().zip(&old).filter(|(new, old)| new != old).count(), 1);
    assert!(map.changed_bytes() <= PAGE_BYTES as u64);
    assert_eq!(before.get(&key(5_000)), Some(&[5_000_u64 as u8; 100][..]));
}

#[test]
fn what_is_changed_is_stored_nowhere_and_what_is_not_stays_where_it_is() {
    let mut map = filled(10_000, 100);
    for (place, chunk) in (1..).zip(map.chunks()) {
        chunk.set_place(place);
        chunk.pages().iter().for_each(|page| page.set_place(place));
    }
    let stored = |map: &Map| {
        let pages: usize =
            map.chunks().iter().map(|c| c.pages().iter().filter(|p| p.place() > 0).count()).sum();
        (map.chunks().iter().filter(|chunk| chunk.place() > 0).count(), pages)
    };
    let (chunks, pages) = stored(&map);
    assert_eq!(chunks, map.chunks().len());
    map.insert(&key(500), &[1; 100]).unwrap();
    assert_eq!(stored(&map), (chunks - 1, pages - 1), "written in place");
    let copy = map.clone();
    map.insert(&key(5_000), &[1; 100]).unwrap();
    assert_eq!(stored(&map), (chunks - 2, pages - 2), "written in a copy");
    assert_eq!(stored(&copy), (chunks - 1, pages - 1), "the other copy is where it was");
    map.remove(&key(9_000));
    assert_eq!(stored(&map), (chunks - 3, pages - 3));
}

#[test]
fn the_root_follows_every_change_and_comes_back_with_the_contents() {
    let mut map = filled(1_000, 100);
    let before = map.root();
    map.insert(&key(7), &[9; 100]).unwrap();
    let changed = map.root();
    assert_ne!(before, changed);
    map.insert(&key(7), &[7; 100]).unwrap();
    assert_eq!(map.root(), before);
    let digests: Vec<_> = map.chunks().iter().map(|chunk| chunk.digest()).collect();
    assert_eq!(map.root(), merkle_root(HashTag::ChunkNode, &digests));
}

#[test]
fn digests_are_of_the_bytes_that_the_format_says() {
    let mut map = Map::new();
    map.insert(b"ab", &[7; 2_000]).unwrap();
    map.insert(b"b", &[8; 300]).unwrap();
    let pages = [
        [&[2, 0, 0xd0, 7, 0, 0, b'a', b'b'][..], &[7; 2_000]].concat(),
        [&[1, 0, 0x2c, 1, 0, 0, b'b'][..], &[8; 300]].concat(),
    ];
    let hash = |tag, bytes: &[u8]| {
        let mut hasher = crate::crypto::Hasher::new(tag);
        hasher.update(bytes);
        hasher.finish()
    };
    let [first, second] = [0, 1].map(|at| hash(HashTag::Page, &pages[at]));
    let chunk = [&[2, 0, 0, 0, 0, 0, 0, 0][..], &first.0, &second.0].concat();
    assert_eq!(map.root(), hash(HashTag::Chunk, &chunk));
    let wire = [&[0xd8, 7, 0, 0][..], &pages[0], &[0x33, 1, 0, 0], &pages[1]].concat();
    assert_eq!(map.chunks()[0].encode(), wire);
}

#[test]
fn the_digest_of_a_copy_may_be_computed_while_the_original_is_written() {
    let mut map = filled(2_000, 100);
    let expected = rebuilt(&map).root();
    std::thread::scope(|scope| {
        for round in 1..20 {
            let copy = map.clone();
            let hashing = scope.spawn(move || copy.root());
            for number in 0..2_000 {
                map.insert(&key(number), &[number as u8 ^ round; 100]).unwrap();
            }
            for number in 0..2_000 {
                map.insert(&key(number), &[number as u8; 100]).unwrap();
            }
            assert_eq!(hashing.join().unwrap(), expected);
        }
    });
    assert_eq!(map.root(), expected);
}

#[test]
fn bounds_the_wrong_way_round_have_nothing_between_them() {
    let map = filled(100, 100);
    let between = |from, to| map.range(from, to).count();
    let (low, high) = (key(20), key(70));
    assert_eq!(between(Bound::Included(&high), Bound::Included(&low)), 0);
    assert_eq!(between(Bound::Excluded(&low), Bound::Excluded(&low)), 0);
    assert_eq!(between(Bound::Included(&low), Bound::Excluded(&low)), 0);
    assert_eq!(between(Bound::Included(&low), Bound::Included(&low)), 1);
    assert_eq!(between(Bound::Included(&low), Bound::Excluded(&high)), 50);
}

#[test]
fn a_map_sealed_four_thousand_million_times_goes_on() {
    let mut map = filled(2_000, 100);
    map.seal();
    let mut worn = map.clone();
    worn.changes = Changes::after(u32::MAX - 2);
    worn.insert(&key(3), &[9; 100]).unwrap();
    map.insert(&key(3), &[9; 100]).unwrap();
    assert_eq!(worn.changed_bytes(), map.changed_bytes());
    worn.seal();
    map.seal();
    assert!(worn.changes.seal() < 3, "the numbers began anew");
    for number in 0..10 {
        worn.insert(&key(number), &[8; 90]).unwrap();
        map.insert(&key(number), &[8; 90]).unwrap();
        assert_eq!(worn.changed_bytes(), map.changed_bytes());
    }
    assert_eq!(worn.root(), map.root());
}

#[test]
fn a_map_of_chunks_changed_since_a_seal_counts_from_nothing() {
    let mut map = filled(2_000, 100);
    for round in 0..5_u8 {
        map.seal();
        map.insert(&key(1_000), &[round; 100]).unwrap();
    }
    let mut again = Map::from_chunks(map.chunks().to_vec()).unwrap();
    assert_eq!(again.changed_bytes(), 0);
    map.seal();
    for number in (0..2_000).step_by(100) {
        again.insert(&key(number), &[7; 90]).unwrap();
        map.insert(&key(number), &[7; 90]).unwrap();
        assert_eq!(again.changed_bytes(), map.changed_bytes());
    }
}

#[test]
fn differences_look_only_at_what_is_not_shared() {
    let mut map = filled(50_000, 100);
    let old = map.clone();
    map.insert(&key(9), &[1; 100]).unwrap();
    map.remove(&key(30_000));
    map.insert(&[&key(40_000)[..], b"x"].concat(), b"new").unwrap();
    let found: Vec<_> = old.differences(&map).map(|difference| difference.key.to_vec()).collect();
    assert_eq!(found, [key(9).to_vec(), key(30_000).to_vec(), [&key(40_000)[..], b"x"].concat()]);
    let untouched = old.chunks().iter().filter(|chunk| !chunk.is_hashed()).count();
    assert!(untouched + 10 > old.chunks().len(), "{untouched} chunks were passed over without a digest");
}

#[test]
fn differences_pass_over_equal_chunks_of_another_replica_by_their_digests() {
    let mut map = filled(50_000, 100);
    let other = rebuilt(&map);
    map.insert(&key(20_000), &[1; 90]).unwrap();
    let found: Vec<_> = map.differences(&other).collect();
    let theirs = [20_000_u64 as u8; 100];
    let difference = Difference { key: &key(20_000), ours: Some(&[1; 90]), theirs: Some(&theirs) };
    assert_eq!(found, [difference]);
    assert!(other.chunks().iter().all(|chunk| chunk.is_hashed()));
}
