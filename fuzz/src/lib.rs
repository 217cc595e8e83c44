//! Feeds the decoders of Quorate with what a fuzzing engine makes up, and lets none of them hold more memory than it may.
//!
//! Each file in `targets` is one decoder. `.ci/fuzz` builds them and runs all for a moment each;
//! `.ci/fuzz 3600 journal` one of them for an hour.

#[path = "decoders.rs"]
pub mod decoders;

use std::alloc::System;

use cap::Cap;

/// Ends the process if it is asked for more than its limit: then the engine keeps the bytes that were decoded.
#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// Runs something that may hold so many bytes more than there are now.
fn within(bytes: usize, run: &mut dyn FnMut()) {
    assert!(MEMORY.set_limit(MEMORY.allocated() + bytes).is_ok(), "a limit above what is there holds");
    run();
    assert!(MEMORY.set_limit(usize::MAX).is_ok(), "no limit at all holds");
}

/// Feeds one decoder, by name.
///
/// # Panics
/// If there is none of that name, or something is not as it must be.
pub fn feed(name: &str, bytes: &[u8]) {
    let decoder = decoders::DECODERS.iter().find(|decoder| decoder.name == name);
    let decoder = decoder.unwrap_or_else(|| panic!("there is no decoder {name}"));
    (decoder.feed)(bytes, within);
}
