//! Keys and values chosen to make the map slow, large or unbalanced.

use super::*;

/// Pages and chunks are not mostly empty: the mean of two neighbours has a quarter.
fn check_fill(map: &Map) {
    check_shape(map);
    let pages: usize = map.chunks().iter().map(|chunk| chunk.pages().len()).sum();
    let least = |count: usize, most: usize| (count as u64) * most as u64 / 4;
    assert!(least(map.chunks().len(), CHUNK_BYTES) <= map.bytes() + CHUNK_BYTES as u64, "{map:?}");
    let slack = (map.chunks().len() * PAGE_BYTES) as u64;
    assert!(least(pages, PAGE_BYTES) <= map.bytes() + slack, "{pages} pages in {map:?}");
}

#[test]
fn keys_in_order_leave_full_pages_and_full_chunks() {
    let map = filled(20_000, 100);
    check_fill(&map);
    let pages: usize = map.chunks().iter().map(|chunk| chunk.pages().len()).sum();
    assert!(map.bytes() / pages as u64 > PAGE_BYTES as u64 * 9 / 10);
    assert!(map.bytes() / map.chunks().len() as u64 > CHUNK_BYTES as u64 * 9 / 10);
}

#[test]
fn keys_in_descending_order_leave_half_full_pages_at_least() {
    let mut map = Map::new();
    for number in (0..20_000).rev() {
        map.insert(&key(number), &[1; 100]).unwrap();
    }
    check_fill(&map);
    let pages: usize = map.chunks().iter().map(|chunk| chunk.pages().len()).sum();
    assert!(map.bytes() / pages as u64 > PAGE_BYTES as u64 * 4 / 10);
    assert!(map.bytes() / map.chunks().len() as u64 > CHUNK_BYTES as u64 * 4 / 10);
}

#[test]
fn keys_in_no_order_leave_pages_and_chunks_two_thirds_full() {
    let mut map = Map::new();
    let mut chance = Chance(4);
    for _ in 0..30_000 {
        map.insert(&key(chance.below(1 << 31)), &[1; 100]).unwrap();
    }
    check_fill(&map);
    let pages: usize = map.chunks().iter().map(|chunk| chunk.pages().len()).sum();
    assert!(map.bytes() / pages as u64 > PAGE_BYTES as u64 * 6 / 10);
    assert!(map.bytes() / map.chunks().len() as u64 > CHUNK_BYTES as u64 * 6 / 10);
}

#[test]
fn keys_with_one_long_beginning_are_told_apart_by_what_follows_it() {
    let mut map = Map::new();
    // An outlier on either side, and the others in an order that leaves a first prefix behind.
    map.insert(b"", b"").unwrap();
    map.insert(&[255; 3], b"").unwrap();
    for number in 0..20_000 {
        map.insert(format!("accounts/of-europe/{number:010}").as_bytes(), &[1; 100]).unwrap();
    }
    check_fill(&map);
    assert!(map.chunks().len() > 30);
    let distinct = map.chunks.distinct_heads();
    assert!(distinct * 2 > map.chunks().len(), "{distinct} heads of {} chunks", map.chunks().len());
}

#[test]
fn keys_with_one_long_beginning_are_found() {
    let mut map = Map::new();
    let long = |number: u64| [&[b'x'; 200][..], &number.to_be_bytes()].concat();
    let mut chance = Chance(1);
    let numbers: Vec<_> = (0..5_000).map(|_| chance.below(1 << 30)).collect();
    for number in &numbers {
        map.insert(&long(*number), b"value").unwrap();
    }
    check_fill(&map);
    assert!(numbers.iter().all(|number| map.get(&long(*number)).is_some()));
    assert_eq!(map.get(&[b'x'; 200]), None);
    assert_eq!(map.get(&[b'x'; 201]), None);
}

#[test]
fn keys_that_are_prefixes_of_each_other_are_in_order() {
    let mut map = Map::new();
    let mut chance = Chance(2);
    for _ in 0..6_000 {
        let length = chance.below(600) as usize;
        map.insert(&vec![0; length], &vec![1; chance.below(90) as usize]).unwrap();
    }
    check_fill(&map);
    assert!(map.len() > 500);
    assert!((0..600).filter(|length| map.get(&vec![0; *length]).is_some()).count() as u64 == map.len());
}

#[test]
fn giants_between_dwarfs_take_a_chunk_each_and_leave_none_behind() {
    let mut map = Map::new();
    let giant = vec![3; ENTRY_BYTES_MAX - 8];
    for number in 0..200 {
        let value = if number % 2 == 0 { &giant[..] } else { b"dwarf" };
        map.insert(&key(number * 7 % 200), value).unwrap();
    }
    check_fill(&map);
    assert!(map.chunks().len() >= 100);
    for number in 0..200 {
        if map.get(&key(number)).is_some_and(|value| value.len() > 5) {
            assert!(map.remove(&key(number)));
        }
    }
    check_fill(&map);
    assert_eq!((map.len(), map.chunks().len()), (100, 1), "what is left is one small chunk");
}

#[test]
fn a_value_that_grows_and_shrinks_moves_nothing_far_away() {
    let mut map = filled(3_000, 100);
    map.seal();
    let old = map.clone();
    for size in [0, 5_000, 10, ENTRY_BYTES_MAX - 8, 1, 2_048, 70_000, 100] {
        map.insert(&key(1_500), &vec![1; size]).unwrap();
        check_fill(&map);
    }
    let shared =
        map.chunks().iter().filter(|new| old.chunks().iter().any(|old| Arc::ptr_eq(new, old))).count();
    assert!(shared + 4 > old.chunks().len(), "{shared} of {} chunks are as they were", old.chunks().len());
}

#[test]
fn removing_everything_in_any_order_leaves_nothing() {
    let orders: [fn(u64) -> u64; 3] = [|at| at, |at| 9_999 - at, |at| at * 7_919 % 10_000];
    for order in orders {
        let mut map = filled(10_000, 100);
        for at in 0..10_000 {
            assert!(map.remove(&key(order(at))));
            if at % 1_000 == 0 {
                check_fill(&map);
            }
        }
        assert_eq!((map.len(), map.bytes(), map.chunks().len()), (0, 0, 0));
        assert_eq!(map.root(), Digest::ZERO);
    }
}

#[test]
fn removing_all_but_every_hundredth_leaves_a_hundredth_of_the_pages() {
    let mut map = filled(60_000, 100);
    let before = map.chunks().len();
    for number in (0..60_000).filter(|number| number % 100 != 0) {
        assert!(map.remove(&key(number)));
    }
    check_fill(&map);
    assert_eq!(map.len(), 600);
    assert!(map.chunks().len() * 25 < before, "{} of {before} chunks", map.chunks().len());
}

#[test]
fn going_back_and_forth_over_a_boundary_does_not_cut_and_join_each_time() {
    let mut map = filled(5_000, 100);
    let at = |map: &Map| map.chunks().iter().map(|chunk| chunk.pages().len()).collect::<Vec<_>>();
    let extra = [&key(2_500)[..], b"x"].concat();
    let mut shapes = vec![at(&map)];
    for _ in 0..100 {
        map.insert(&extra, &[1; 100]).unwrap();
        map.remove(&extra);
        shapes.push(at(&map));
    }
    shapes.dedup();
    assert!(shapes.len() <= 2, "cut once at most");
}

/// As many chunks as are asked for, each of one tiny entry: nothing that operations make.
fn of_tiny_chunks(count: usize) -> Map {
    let mut one = Map::new();
    let chunks = (0..count as u64).map(|number| {
        one.insert(&key(2 * number), b"v").unwrap();
        let chunk = Chunk::from_pages(one.chunks()[0].pages().to_vec()).unwrap();
        one.remove(&key(2 * number));
        Arc::new(chunk)
    });
    Map::from_chunks(chunks.collect()).unwrap()
}

#[test]
fn a_full_map_takes_nothing_more_and_gives_everything_back() {
    let mut map = of_tiny_chunks(CHUNKS_MAX - CHUNKS_SPARE);
    assert_eq!(map.insert(&key(3), b"new"), Ok(false), "there is room for one write");
    let mut map = of_tiny_chunks(CHUNKS_MAX - CHUNKS_SPARE + 1);
    let root = map.root();
    assert_eq!(map.insert(&key(3), b"new"), Err(MapError::Full));
    assert_eq!(map.insert(&key(2), b"longer"), Err(MapError::Full));
    assert_eq!(map.root(), root);
    assert_eq!(map.insert(&key(2), b"w"), Ok(true), "nothing grows");
    assert!(map.remove(&key(4)));
    assert_eq!(map.insert(&key(3), b"new"), Ok(false), "room again");
}

#[test]
fn a_map_has_no_more_chunks_than_it_may() {
    let map = of_tiny_chunks(CHUNKS_MAX);
    let last = Chunk::decode(&filled(1, 1).chunks()[0].encode()).unwrap();
    let mut chunks = map.chunks().to_vec();
    chunks.push(Arc::new(last));
    assert_eq!(Map::from_chunks(chunks), Err(MapError::Malformed("more chunks than a map may have")));
}
