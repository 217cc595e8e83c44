//! How long something took: the sum, how often, and how often within each of a few bounds, in numbers that only grow.

/// Bounds that are told apart, in microseconds: from a commit within one machine to a timeout.
pub const BOUNDS_US: [u64; 15] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];

/// Places of times: one for each bound, and one beyond the last.
pub const PLACES: usize = BOUNDS_US.len() + 1;

/// Time that something took, over all that it was taken of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// Microseconds, all together.
    pub sum_us: u64,
    /// How many.
    pub count: u64,
    /// Of these, how many were above the bound before and not above the one at this place.
    pub within: [u64; PLACES],
}

impl Spent {
    /// Notes that each of so many took so long.
    pub fn add(&mut self, us: u64, many: u64) {
        self.sum_us = self.sum_us.saturating_add(us.saturating_mul(many));
        self.count = self.count.saturating_add(many);
        let place = &mut self.within[place(us)];
        *place = place.saturating_add(many);
    }
}

/// The place of a time in [`Spent::within`].
#[must_use]
pub fn place(us: u64) -> usize {
    BOUNDS_US.partition_point(|bound| *bound < us)
}

/// So many of a hundred took no longer than this, in microseconds: somewhere within the bounds that it fell in, as if
/// times were spread evenly there. None if there was nothing, and the last bound for what is beyond it.
#[must_use]
pub fn percentile(within: &[u64; PLACES], percent: u64) -> Option<u64> {
    let count: u64 = within.iter().fold(0, |sum, many| sum.saturating_add(*many));
    let rank = count.saturating_mul(percent).div_ceil(100).max(1);
    let mut before = 0_u64;
    for (place, many) in within.iter().enumerate() {
        if *many > 0 && before.saturating_add(*many) >= rank {
            let low = place.checked_sub(1).map_or(0, |below| BOUNDS_US[below]);
            let high = BOUNDS_US.get(place).copied().unwrap_or(low);
            let part = u128::from(high - low) * u128::from(rank - before) / u128::from(*many);
            return Some(low + u64::try_from(part).unwrap_or(0));
        }
        before = before.saturating_add(*many);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_as_long_as_a_bound_is_within_it() {
        let mut spent = Spent::default();
        for (us, place) in [(0, 0), (250, 0), (251, 1), (10_000_000, 14), (10_000_001, 15), (u64::MAX, 15)] {
            assert_eq!(super::place(us), place, "{us}");
        }
        spent.add(300, 3);
        spent.add(u64::MAX, 2);
        assert_eq!((spent.sum_us, spent.count), (u64::MAX, 5), "a sum goes no further than it can");
        assert_eq!((spent.within[1], spent.within[15]), (3, 2));
        assert_eq!(spent.within.iter().sum::<u64>(), spent.count);
    }

    #[test]
    fn a_percentile_is_within_the_bounds_that_it_fell_in() {
        let mut spent = Spent::default();
        assert_eq!(percentile(&spent.within, 50), None);
        spent.add(300, 98);
        spent.add(40_000, 2);
        let [half, most, all] = [50, 99, 100].map(|percent| percentile(&spent.within, percent));
        assert!(half.is_some_and(|us| (251..=500).contains(&us)), "{half:?}");
        assert!(most.is_some_and(|us| (25_001..=50_000).contains(&us)), "{most:?}");
        assert_eq!(all, Some(50_000));
        spent.add(u64::MAX, 1_000);
        assert_eq!(percentile(&spent.within, 50), Some(10_000_000), "nobody knows how far beyond");
    }
}
