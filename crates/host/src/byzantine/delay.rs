//! A replica that says everything late.

use super::mute::concerns;
use super::stage::Stage;
use super::{Behaviour, Parcel};

#[derive(Debug)]
pub(super) struct Delay {
    by_us: u64,
    kinds: Vec<&'static str>,
}

impl Delay {
    pub(super) fn new(by_us: u64, kinds: &[&'static str]) -> Self {
        Self { by_us, kinds: kinds.to_vec() }
    }
}

impl Behaviour for Delay {
    fn frame(&mut self, stage: &mut Stage<'_>, parcel: &mut Parcel) -> Option<u64> {
        if self.by_us == 0 || !concerns(stage, &self.kinds, parcel) {
            return Some(0);
        }
        stage.count(1);
        Some(self.by_us)
    }
}
