//! A replica whose frames are damaged after they were encoded.

use super::mute::concerns;
use super::stage::Stage;
use super::{Behaviour, Parcel};

#[derive(Debug)]
pub(super) struct BrokenBytes;

impl Behaviour for BrokenBytes {
    fn frame(&mut self, stage: &mut Stage<'_>, parcel: &mut Parcel) -> Option<u64> {
        if parcel.frame.is_empty() || !concerns(stage, &[], parcel) {
            return Some(0);
        }
        let mut bytes = parcel.frame.to_vec();
        let at = stage.chance.index(bytes.len());
        match stage.chance.below(4) {
            0 => bytes.truncate(at),
            1 => bytes.push(0),
            // A frame that ends in the middle of another.
            2 => bytes.extend_from_within(..at.clamp(1, 64)),
            _ => bytes[at] ^= 1 << stage.chance.below(8),
        }
        parcel.frame = bytes.into();
        stage.count(1);
        Some(0)
    }
}
