//! A state of plain bytes in a map: cut into pieces, so that what did not change keeps its digest.

use crate::application::{ApplicationError, SNAPSHOT_BYTES_MAX};
use crate::map::Map;

/// Bytes of a piece.
const PIECE_BYTES: usize = 4096;

/// Makes `map` hold `bytes` and nothing else. Pieces that it holds already stay as they are.
///
/// # Errors
/// [`ApplicationError::TooLarge`] beyond [`SNAPSHOT_BYTES_MAX`].
pub fn write(map: &mut Map, bytes: &[u8]) -> Result<(), ApplicationError> {
    if bytes.len() > SNAPSHOT_BYTES_MAX {
        return Err(ApplicationError::TooLarge(bytes.len()));
    }
    map.seal();
    let mut count = 0_u32;
    // No bytes are one empty piece: an empty map is no state at all.
    let none = bytes.is_empty().then_some(bytes);
    for piece in bytes.chunks(PIECE_BYTES).chain(none) {
        map.insert(&count.to_be_bytes(), piece)?;
        count += 1;
    }
    while map.remove(&count.to_be_bytes()) {
        count += 1;
    }
    Ok(())
}

/// The bytes that a map holds.
///
/// # Errors
/// [`ApplicationError::Decode`] if it was not written by [`write()`].
pub fn read(map: &Map) -> Result<Vec<u8>, ApplicationError> {
    let wrong = |why: &str| Err(ApplicationError::Decode(why.to_owned()));
    let mut bytes = Vec::new();
    let mut expected = 0_u32;
    let mut full = true;
    for (key, piece) in map.range(std::ops::Bound::Unbounded, std::ops::Bound::Unbounded) {
        if key != expected.to_be_bytes() || !full || piece.len() > PIECE_BYTES {
            return wrong("its pieces are not in order");
        }
        full = piece.len() == PIECE_BYTES;
        if bytes.len() + piece.len() > SNAPSHOT_BYTES_MAX {
            return wrong("it is too large");
        }
        bytes.extend_from_slice(piece);
        expected += 1;
    }
    if expected == 0 { wrong("it is empty") } else { Ok(bytes) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_whatever_was_there_before() {
        let mut map = Map::new();
        for length in [0, 1, PIECE_BYTES, 5 * PIECE_BYTES + 1, 3 * PIECE_BYTES, PIECE_BYTES - 1, 0] {
            let bytes: Vec<u8> = (0..length).map(|at| (at / 7) as u8).collect();
            write(&mut map, &bytes).unwrap();
            assert_eq!(read(&map).unwrap(), bytes, "{length} bytes");
            assert_eq!(map.len(), length.div_ceil(PIECE_BYTES).max(1) as u64);
        }
    }

    #[test]
    fn a_piece_that_did_not_change_is_not_written_again() {
        let mut map = Map::new();
        let mut bytes = vec![7; 100 * PIECE_BYTES];
        write(&mut map, &bytes).unwrap();
        bytes[50 * PIECE_BYTES] = 8;
        write(&mut map, &bytes).unwrap();
        assert!(map.changed_bytes() <= 2 * PIECE_BYTES as u64, "{}", map.changed_bytes());
    }

    #[test]
    fn a_map_that_holds_something_else_is_no_state() {
        assert!(read(&Map::new()).is_err());
        let mut map = Map::new();
        map.insert(b"key", b"value").unwrap();
        assert!(read(&map).is_err());
        let mut gap = Map::new();
        write(&mut gap, &[1; 3 * PIECE_BYTES]).unwrap();
        gap.remove(&1_u32.to_be_bytes());
        assert!(read(&gap).is_err());
    }
}
