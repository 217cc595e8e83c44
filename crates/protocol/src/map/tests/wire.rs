//! Pages and chunks as bytes that anybody may have made.

use proptest::prelude::*;

use super::*;

fn entry(key: &[u8], value: &[u8]) -> Vec<u8> {
    page::with_entry(&[], Spot::default(), key, value)
}

fn page_error(bytes: Vec<u8>) -> MapError {
    Page::from_bytes(&bytes).unwrap_err()
}

fn wire_of(pages: &[&[u8]]) -> Vec<u8> {
    pages.iter().flat_map(|page| [&(page.len() as u32).to_le_bytes()[..], page].concat()).collect()
}

#[test]
fn bytes_that_no_map_makes_are_no_page() {
    let malformed = MapError::Malformed;
    let longest = entry(&[1; KEY_BYTES_MAX], &[2; ENTRY_BYTES_MAX - KEY_BYTES_MAX]);
    assert!(Page::from_bytes(&longest).is_ok());
    assert_eq!(page_error(Vec::new()), malformed("a page without entries"));
    assert_eq!(page_error([longest, vec![0]].concat()), malformed("a page ends within an entry"));
    assert_eq!(page_error(vec![255; 6]), malformed("a page ends within an entry"));
    assert_eq!(page_error(entry(&[1; KEY_BYTES_MAX + 1], b"")), MapError::KeyTooLong(KEY_BYTES_MAX + 1));
    let too_large = entry(b"", &[1; ENTRY_BYTES_MAX + 1]);
    assert_eq!(page_error(too_large), MapError::EntryTooLarge(ENTRY_BYTES_MAX + 1));
    for second in [&b"a"[..], b"b"] {
        let bytes = [entry(b"b", b""), entry(second, b"")].concat();
        assert_eq!(page_error(bytes), malformed("keys do not ascend within a page"));
    }
    let several = [entry(b"a", &[1; PAGE_BYTES]), entry(b"b", b"")].concat();
    let error = malformed("a page of several entries with more bytes than it may have");
    assert_eq!(page_error(several), error);
}

#[test]
fn bytes_that_no_map_makes_are_no_chunk() {
    let malformed = MapError::Malformed;
    let decode = |wire: &[u8]| Chunk::decode(wire).map(|chunk| chunk.digest()).unwrap_err();
    let both = |wire: &[u8], why| {
        assert_eq!(decode(wire), malformed(why));
        assert_eq!(Chunk::digest_of_wire(wire), Err(malformed(why)));
    };
    both(&[], "a chunk without pages");
    both(&vec![0; CHUNK_WIRE_BYTES_MAX + 1], "a chunk with more bytes than it may have");
    both(&[9, 0, 0, 0, 1], "a chunk ends within a page");
    both(&[9, 0, 0], "a chunk ends within a page");
    both(&[0; 8], "a page without entries");
    let large = entry(b"a", &[1; CHUNK_BYTES]);
    both(&wire_of(&[&large, &entry(b"b", b"")]), "a chunk of several pages with more bytes than it may have");
    let (low, high) = (entry(b"a", b"1"), entry(b"b", b"2"));
    let wrong = wire_of(&[&high, &low]);
    assert_eq!(decode(&wrong), malformed("keys do not ascend from page to page"));
    assert_eq!(decode(&wire_of(&[&low, &low])), malformed("keys do not ascend from page to page"));
    assert!(Chunk::decode(&wire_of(&[&low, &high])).is_ok());
    assert_eq!(Chunk::from_pages(Vec::new()).unwrap_err(), malformed("a chunk without pages"));
}

#[test]
fn chunks_out_of_order_are_no_map() {
    let map = filled(5_000, 100);
    let chunks = map.chunks().to_vec();
    assert!(chunks.len() > 5);
    let error = Err(MapError::Malformed("keys do not ascend from chunk to chunk"));
    let mut swapped = chunks.clone();
    swapped.swap(1, 2);
    assert_eq!(Map::from_chunks(swapped), error);
    let mut twice = chunks.clone();
    twice.insert(1, Arc::clone(&chunks[1]));
    assert_eq!(Map::from_chunks(twice), error);
    assert_eq!(Map::from_chunks(chunks), Ok(map));
}

#[test]
fn a_chunk_of_which_any_byte_was_changed_is_another_or_none() {
    let mut map = Map::new();
    let mut chance = Chance(3);
    for _ in 0..60 {
        let key = vec![chance.below(256) as u8; 1 + chance.below(20) as usize];
        map.insert(&key, &vec![7; chance.below(200) as usize]).unwrap();
    }
    assert_eq!(map.chunks().len(), 1);
    assert!(map.chunks()[0].pages().len() > 2);
    let (digest, mut wire) = (map.chunks()[0].digest(), map.chunks()[0].encode());
    assert_eq!(Chunk::decode(&wire).unwrap().digest(), digest);
    for at in 0..wire.len() {
        for flip in [1, 0x80] {
            wire[at] ^= flip;
            assert_ne!(Chunk::digest_of_wire(&wire), Ok(digest), "byte {at}");
            assert!(Chunk::decode(&wire).map_or(true, |chunk| chunk.digest() != digest));
            wire[at] ^= flip;
        }
        assert_ne!(Chunk::digest_of_wire(&wire[..at]), Ok(digest), "cut at {at}");
    }
}

#[test]
fn no_chunk_is_longer_on_the_wire_than_it_may_be() {
    let longest = wire_of(&[&entry(&[1; KEY_BYTES_MAX], &[2; ENTRY_BYTES_MAX - KEY_BYTES_MAX])]);
    assert!(longest.len() <= CHUNK_WIRE_BYTES_MAX);
    assert_eq!(Chunk::decode(&longest).unwrap().encode(), longest);
    // The most pages: each of one entry with the shortest keys that differ.
    let pages: Vec<_> = (0..CHUNK_BYTES / 8).map(|key| entry(&(key as u16).to_be_bytes(), b"")).collect();
    let pages: Vec<_> = pages.iter().map(Vec::as_slice).collect();
    let chunk = Chunk::decode(&wire_of(&pages)).unwrap();
    assert_eq!(chunk.bytes(), CHUNK_BYTES as u64);
    assert!(chunk.encode().len() <= CHUNK_WIRE_BYTES_MAX);
}

fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let entry = (proptest::collection::vec(0_u8..4, 0..3), 0_usize..900)
        .prop_map(|(key, value)| entry(&key, &vec![0; value]));
    let page = proptest::collection::vec(entry, 0..4).prop_map(|entries| entries.concat());
    let chunk = proptest::collection::vec(page, 0..4)
        .prop_map(|pages| wire_of(&pages.iter().map(Vec::as_slice).collect::<Vec<_>>()));
    (chunk, proptest::collection::vec((any::<u16>(), any::<u8>()), 0..3)).prop_map(|(mut wire, damage)| {
        for (at, byte) in damage {
            if let Some(place) = wire.get_mut(usize::from(at) % 4_096) {
                *place = byte;
            }
        }
        wire
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_the_map_panic_and_what_decodes_encodes_to_the_same(
        wire in prop_oneof![pieces(), proptest::collection::vec(any::<u8>(), 0..300)],
    ) {
        let digest = Chunk::digest_of_wire(&wire);
        if let Ok(chunk) = Chunk::decode(&wire) {
            prop_assert_eq!(chunk.encode(), wire);
            prop_assert_eq!(Ok(chunk.digest()), digest);
            let mut map = Map::from_chunks(vec![Arc::new(chunk)]).unwrap();
            let keys: Vec<_> = all(&map).map(|(key, _)| key.to_vec()).collect();
            for key in keys {
                prop_assert!(map.remove(&key));
            }
            prop_assert!(map.is_empty());
        }
    }
}
