//! The decoder `superblock`, fed by the engine.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| quorate_fuzz::feed("superblock", bytes));
