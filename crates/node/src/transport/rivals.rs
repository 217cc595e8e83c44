//! Two processes with one key show as a key that comes from two places by turns: each newer connection ends the older,
//! whose process lives and dials again.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A process that lost its link to another one is back within this time, or it is gone.
const BACK_WITHIN: Duration = Duration::from_secs(10);
/// So often by turns: a machine that moves comes from a new place once, and perhaps back.
const TURNS: u32 = 2;

/// Where one replica's links came from.
#[derive(Debug, Default)]
pub(crate) struct Rivals {
    last: Option<(SocketAddr, Instant)>,
    before: Option<SocketAddr>,
    turns: u32,
}

impl Rivals {
    /// Notes where a new link comes from. Gives back both places if two live processes must be behind it.
    pub(crate) fn note(&mut self, from: SocketAddr, now: Instant) -> Option<[SocketAddr; 2]> {
        let Some((last, since)) = self.last.filter(|(last, _)| *last != from) else {
            self.last = Some((from, now));
            return None;
        };
        let back = self.before == Some(from) && now - since < BACK_WITHIN;
        self.turns = if back { self.turns + 1 } else { 0 };
        (self.before, self.last) = (Some(last), Some((from, now)));
        (self.turns >= TURNS).then_some([last, from])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(host: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, host], 7000))
    }

    #[test]
    fn a_key_that_comes_from_two_places_by_turns_has_two_processes() {
        let (mut rivals, now) = (Rivals::default(), Instant::now());
        let found = [1, 2, 1, 2].map(|host| rivals.note(place(host), now));
        assert_eq!(found, [None, None, None, Some([place(1), place(2)])]);
    }

    #[test]
    fn a_replica_that_restarts_or_moves_or_comes_back_has_no_rival() {
        let (mut rivals, now) = (Rivals::default(), Instant::now());
        for host in [1, 1, 1, 2, 2, 3, 4, 1, 2] {
            assert_eq!(rivals.note(place(host), now), None);
        }
        for minute in 1..10 {
            let then = now + Duration::from_secs(60 * minute);
            assert_eq!(rivals.note(place((minute % 2) as u8), then), None);
        }
    }
}
