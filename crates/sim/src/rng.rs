//! Where all chance in a simulated world comes from: one number.

/// Xoshiro256** (Blackman and Vigna, 2018), seeded by SplitMix64.
#[derive(Debug, Clone)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// A stream of numbers that follows from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut mix = seed;
        let mut next = || {
            mix = mix.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut word = mix;
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^ (word >> 31)
        };
        Self { state: [next(), next(), next(), next()] }
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        let [first, second, third, fourth] = self.state;
        let (left, right) = (third ^ first, fourth ^ second);
        self.state = [first ^ right, second ^ left, left ^ (second << 17), right.rotate_left(45)];
        second.wrapping_mul(5).rotate_left(7).wrapping_mul(9)
    }

    /// A number in `0..end`; 0 if `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        if end == 0 { 0 } else { self.any() % end }
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below((high - low).saturating_add(1))
    }

    /// True `parts` times in a million.
    pub fn chance(&mut self, parts: u64) -> bool {
        self.below(1_000_000) < parts
    }

    /// One of several things.
    ///
    /// # Panics
    /// If there is nothing to choose from.
    pub fn pick<'a, T>(&mut self, things: &'a [T]) -> &'a T {
        assert!(!things.is_empty(), "there is something to pick");
        let index = self.below(things.len() as u64);
        &things[usize::try_from(index).expect("an index of a slice")]
    }
}

#[cfg(test)]
mod tests {
    use super::Rng;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_another_one_gives_others() {
        let take = |seed| (0..8).scan(Rng::new(seed), |rng, _| Some(rng.any())).collect::<Vec<_>>();
        assert_eq!(take(7), take(7));
        assert_ne!(take(7), take(8));
    }

    #[test]
    fn numbers_stay_in_their_bounds_and_reach_them() {
        let mut rng = Rng::new(1);
        let drawn: Vec<u64> = (0..200).map(|_| rng.between(3, 5)).collect();
        assert!(drawn.iter().all(|number| (3..=5).contains(number)));
        assert!(drawn.contains(&3) && drawn.contains(&5));
        assert_eq!(rng.below(0), 0);
    }
}
