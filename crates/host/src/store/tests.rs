//! What a store keeps through power cuts, rot and failures, and what it costs.

use quorate_protocol::executor::State;
use quorate_protocol::map::Map;
use quorate_protocol::types::{Digest, Seq, Time};

use super::*;
use crate::disk::{Crash, Disk, DiskFailure, FileName, MemoryDisk};

mod crashes;
mod garbage;
mod pages;
mod rot;
mod saving;
mod staging;

/// The state after a slot, of a few pages.
pub(crate) fn small_state(seq: u64) -> State {
    let mut application = Map::new();
    for key in 0..200_u64 {
        application.insert(&key.to_be_bytes(), &(seq + key).to_be_bytes().repeat(4)).unwrap();
    }
    state_of(seq, &application)
}

/// The state after a slot with this of the application, and one session or so.
fn state_of(seq: u64, application: &Map) -> State {
    let mut sessions = Map::new();
    sessions.insert(b"session", &seq.to_be_bytes()).unwrap();
    let (time, history, config) = (Time(seq), Digest([7; 32]), Digest([8; 32]));
    State { seq: Seq(seq), time, history, config, application: application.clone(), sessions }
}

/// An application that changes from slot to slot, the same each time.
struct Application {
    map: Map,
    random: u64,
}

impl Application {
    const VALUE: usize = 400;

    /// A map of so many entries of 414 bytes.
    fn new(entries: u64) -> Self {
        let mut application = Self { map: Map::new(), random: 1 };
        for key in 0..entries {
            application.put(key);
        }
        application
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % bound
    }

    fn put(&mut self, key: u64) {
        let value = self.below(1 << 30).to_be_bytes().repeat(Self::VALUE / 8);
        self.map.insert(&key.to_be_bytes(), &value).unwrap();
    }

    /// Changes so many entries, each somewhere.
    fn change(&mut self, count: u64) {
        for _ in 0..count {
            let key = self.below(self.map.len());
            self.put(key);
        }
    }

    fn state(&self, seq: u64) -> State {
        state_of(seq, &self.map)
    }
}

fn open(disk: &MemoryDisk) -> Store<MemoryDisk> {
    Store::open(disk.share(), true).unwrap()
}

/// A store whose segments are small.
fn small(disk: &MemoryDisk, segment_bytes: u64) -> Store<MemoryDisk> {
    Store { segment_bytes, ..open(disk) }
}

/// Numbers of the segments in a folder.
fn segments(disk: &MemoryDisk) -> Vec<u64> {
    let names = disk.share().list().unwrap();
    let numbers = names.iter().filter_map(|name| match FileName::parse(name) {
        Some(FileName::Segment(number)) => Some(number),
        _ => None,
    });
    let mut numbers: Vec<u64> = numbers.collect();
    numbers.sort_unstable();
    numbers
}
