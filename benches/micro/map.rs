//! The map that a large state lives in.

use std::cell::RefCell;

use quorate_protocol::map::Map;

use crate::table::{Bench, Each};

const ENTRIES: u64 = (64 << 20) / 150;

/// 64 MiB of entries of 150 bytes, which are asked for and changed in no order.
struct Large {
    map: Map,
    number: u64,
    /// Each is another value, for who writes what is there already changes nothing.
    round: u64,
    value: [u8; 134],
}

impl Large {
    fn new() -> Self {
        let mut map = Map::new();
        for number in 0..ENTRIES {
            map.insert(&key(number), &[0; 134]).expect("64 MiB fit a map");
        }
        Self { map, number: 0, round: 0, value: [0; 134] }
    }

    fn next(&mut self) -> [u8; 16] {
        self.number = (self.number + 7_919) % ENTRIES;
        key(self.number)
    }

    fn change(&mut self, bytes: usize) {
        let key = self.next();
        self.round += 1;
        self.value[..8].copy_from_slice(&self.round.to_le_bytes());
        self.map.insert(&key, &self.value[..bytes]).expect("it was there before");
    }

    fn change_many(&mut self) {
        (0..1_000).for_each(|_| self.change(134));
    }
}

/// An odd factor scatters the numbers and repeats none.
fn key(number: u64) -> [u8; 16] {
    u128::from(number.wrapping_mul(0x9E37_79B9_7F4A_7C15)).rotate_left(64).to_be_bytes()
}

pub(crate) fn measure(bench: &mut Bench) {
    let large = &RefCell::new(Large::new());
    let name = |what: &str| format!("map of 64 MiB: {what}");
    let many = |what| Each(1_000, what);
    bench.measure_in_turn(
        &name("get"),
        many("key"),
        || (),
        |()| {
            let large = &mut *large.borrow_mut();
            let mut found = 0_usize;
            for _ in 0..1_000 {
                let key = large.next();
                found += usize::from(large.map.get(&key).is_some());
            }
            assert_eq!(found, 1_000);
        },
    );
    bench.measure_in_turn(
        &name("insert, same length"),
        many("key"),
        || (),
        |()| large.borrow_mut().change_many(),
    );
    bench.measure_in_turn(
        &name("insert, another length"),
        many("key"),
        || (),
        |()| {
            let large = &mut *large.borrow_mut();
            (0..1_000).for_each(|round| large.change(133 + round % 2));
        },
    );
    let copy = || large.borrow().map.clone();
    bench.measure_in_turn(&name("insert after a copy of the map"), many("key"), copy, |copy| {
        large.borrow_mut().change_many();
        copy
    });
    let change = || large.borrow_mut().change_many();
    bench.measure_in_turn(&name("root after 1,000 inserts"), Each(1, "root"), change, |()| {
        large.borrow().map.root()
    });
}
