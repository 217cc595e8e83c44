//! Ready applications, to use, to measure with and to learn from.
//!
//! | name | what it replicates |
//! |---|---|
//! | `counter` | one number: the smallest application there is |
//! | `kv` | an ordered map from text to bytes, with compare-and-swap and scans |
//! | `null` | nothing, at no cost: what is left is the cost of the framework |

pub mod counter;
pub mod kv;
pub mod null;

use quorate_protocol::application::{StateMachine, machine};

/// Names that [`by_name`] knows.
pub const NAMES: [&str; 3] = ["counter", "kv", "null"];

/// The application with this name in its first state. `reply_bytes` is the length of each reply of `null`; the others
/// do not use it.
#[must_use]
pub fn by_name(name: &str, reply_bytes: usize) -> Option<Box<dyn StateMachine>> {
    match name {
        "counter" => Some(machine(counter::Counter::default())),
        "kv" => Some(machine(kv::Store::default())),
        "null" => Some(Box::new(null::Null::new(reply_bytes))),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::{NAMES, by_name};

    #[test]
    fn every_name_has_an_application_that_restores_its_own_snapshot() {
        for name in NAMES {
            let machine = by_name(name, 16).unwrap();
            let snapshot = machine.snapshot().unwrap();
            let mut other = by_name(name, 16).unwrap();
            other.restore(&snapshot).unwrap();
            assert_eq!(other.snapshot().unwrap(), snapshot, "{name}");
            assert_eq!(other.digest(&snapshot), machine.digest(&snapshot), "{name}");
        }
        assert!(by_name("no such application", 0).is_none());
    }

    #[test]
    fn no_application_takes_another_bytes_for_its_state() {
        for name in NAMES {
            let mut machine = by_name(name, 16).unwrap();
            let before = machine.snapshot().unwrap();
            assert!(machine.restore(&[1, 2, 3]).is_err(), "{name}");
            assert_eq!(machine.snapshot().unwrap(), before, "a failed restore changes nothing in {name}");
        }
    }
}
