//! A replica that says nothing, or nothing to some, although it hears everything.

use super::kinds::{is_of, message_in};
use super::stage::Stage;
use super::{Behaviour, End, Parcel};

#[derive(Debug)]
pub(super) struct Mute {
    kinds: Vec<&'static str>,
}

impl Mute {
    pub(super) fn new(kinds: &[&'static str]) -> Self {
        Self { kinds: kinds.to_vec() }
    }
}

/// Whether a sin that is about frames is about this one. One that names replicas leaves clients alone.
pub(super) fn concerns(stage: &mut Stage<'_>, kinds: &[&str], parcel: &Parcel) -> bool {
    let is_for = match parcel.end {
        End::Replica(to) => stage.trigger.is_for(to),
        End::Client(_) => !stage.trigger.names_targets(),
    };
    if !is_for {
        return false;
    }
    let message = message_in(parcel);
    is_of(kinds, parcel, message.as_ref()) && stage.is_tempted_by(message.as_ref())
}

impl Behaviour for Mute {
    fn frame(&mut self, stage: &mut Stage<'_>, parcel: &mut Parcel) -> Option<u64> {
        if !concerns(stage, &self.kinds, parcel) {
            return Some(0);
        }
        stage.count(1);
        None
    }
}
