//! Ready applications, to use, to measure with and to learn from.
//!
//! | name | what it replicates |
//! |---|---|
//! | `counter` | one number: the smallest application there is |
//! | `kv` | an ordered map from text to bytes, with compare-and-swap and scans |
//! | `ledger` | tokens: accounts by public key, transfers that their owners sign |
//! | `lock` | locks with leases and fencing tokens, for leader election |
//! | `null` | nothing, at no cost: what is left is the cost of the framework |

pub mod counter;
pub mod kv;
pub mod ledger;
pub mod lock;
pub mod null;

use quorate_protocol::application::{StateMachine, machine};

/// Names that [`by_name`] knows.
pub const NAMES: [&str; 5] = ["counter", "kv", "ledger", "lock", "null"];

/// The application with this name in its first state. `reply_bytes` is the length of each reply of `null`; the others
/// do not use it.
#[must_use]
pub fn by_name(name: &str, reply_bytes: usize) -> Option<Box<dyn StateMachine>> {
    match name {
        "counter" => Some(machine(counter::Counter::default())),
        "kv" => Some(machine(kv::Store::default())),
        "ledger" => Some(machine(ledger::Ledger::default())),
        "lock" => Some(machine(lock::Locks::default())),
        "null" => Some(Box::new(null::Null::new(reply_bytes))),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use quorate_protocol::map::Map;

    use super::{NAMES, StateMachine, by_name};

    fn saved(machine: &mut dyn StateMachine) -> Map {
        let mut map = Map::new();
        machine.save(&mut map).unwrap();
        map
    }

    #[test]
    fn every_name_has_an_application_that_restores_its_own_state() {
        for name in NAMES {
            let mut machine = by_name(name, 16).unwrap();
            let map = saved(&mut *machine);
            let mut other = by_name(name, 16).unwrap();
            other.load(&map).unwrap();
            assert_eq!(saved(&mut *other).root(), map.root(), "{name}");
        }
        assert!(by_name("no such application", 0).is_none());
    }

    #[test]
    fn no_application_takes_another_bytes_for_its_state() {
        let mut strange = Map::new();
        strange.insert(b"\xff\xfe", b"123").unwrap();
        for name in NAMES {
            let mut machine = by_name(name, 16).unwrap();
            let before = saved(&mut *machine).root();
            assert!(machine.load(&strange).is_err(), "{name}");
            assert_eq!(saved(&mut *machine).root(), before, "a failed load changes nothing in {name}");
        }
    }
}
