//! The fate of each datagram of one link, with time as an argument.

use super::file::Rule;

/// What passes a link at once after a rest is what passes it in so many nanoseconds: so a wide link wakes nobody for
/// each datagram, and a millisecond's worth is what a switch holds.
const BURST_NS: u64 = 1_000_000;

/// One link in one direction. Times are microseconds since the emulation began.
#[derive(Debug)]
pub(super) struct Flow {
    rule: Rule,
    chance: Chance,
    /// When all that was taken has passed, in nanoseconds.
    free_ns: u64,
    /// When the last one arrives whose place in the order is kept.
    last_due_us: u64,
}

/// What becomes of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It arrives.
    Arrives {
        /// When it is to leave for the other end.
        due_us: u64,
        /// Whether it is held back, so that later ones overtake it.
        held: bool,
    },
    /// It is lost on the way.
    Lost,
    /// It does not even leave: too many bytes wait for the link.
    Dropped,
}

impl Flow {
    /// A link with this rule, whose chance is that of `seed`.
    pub(super) fn new(rule: Rule, seed: u64) -> Self {
        Self { rule, chance: Chance::new(seed), free_ns: 0, last_due_us: 0 }
    }

    /// The fate of the next datagram, which is of so many bytes and is sent now.
    pub(super) fn fate(&mut self, now_us: u64, bytes: usize) -> Fate {
        // Three draws for each, whatever becomes of it: so the k-th one meets the same chance in every run.
        let lost = self.chance.is_within(self.rule.loss);
        let jitter_us = self.chance.up_to(self.rule.jitter_us);
        let held = self.chance.is_within(self.rule.reorder);
        let Some(leaves_us) = self.pass(now_us, bytes as u64) else { return Fate::Dropped };
        // What is lost was on the link, and took its time there.
        if lost {
            return Fate::Lost;
        }
        let mut due_us = leaves_us + self.rule.delay_us + jitter_us;
        if held {
            due_us += self.rule.reorder_us;
        } else if !self.rule.jitter_reorders {
            due_us = due_us.max(self.last_due_us);
            self.last_due_us = due_us;
        }
        Fate::Arrives { due_us, held }
    }

    /// When a datagram of so many bytes has room on the link; none if too many bytes wait for that.
    fn pass(&mut self, now_us: u64, bytes: u64) -> Option<u64> {
        let width = self.rule.bandwidth_bytes_per_second;
        if width == 0 {
            return Some(now_us);
        }
        let now_ns = now_us.saturating_mul(1000);
        let leaves_ns = now_ns.max(self.free_ns.saturating_sub(BURST_NS));
        let waiting = u128::from(leaves_ns - now_ns) * u128::from(width) / 1_000_000_000;
        if waiting + u128::from(bytes) > u128::from(self.rule.queue_bytes) {
            return None;
        }
        let takes_ns = (u128::from(bytes) * 1_000_000_000).div_ceil(u128::from(width));
        let takes_ns = u64::try_from(takes_ns).unwrap_or(u64::MAX);
        self.free_ns = self.free_ns.max(now_ns).saturating_add(takes_ns);
        Some(leaves_ns.div_ceil(1000))
    }
}

/// Numbers that look random and are the same for the same seed (splitmix64: Steele, Lea and Flood, OOPSLA 2014).
#[derive(Debug)]
struct Chance {
    state: u64,
}

impl Chance {
    fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.state)
    }

    /// True for this share of calls.
    fn is_within(&mut self, share: f64) -> bool {
        // The upper 53 bits are what a float holds exactly.
        (self.next() >> 11) as f64 / ((1_u64 << 53) as f64) < share
    }

    /// A number from 0 to `most`, each as likely as any other.
    fn up_to(&mut self, most: u64) -> u64 {
        let product = u128::from(self.next()) * (u128::from(most) + 1);
        u64::try_from(product >> 64).unwrap_or(most)
    }
}

/// Spreads the bits of a number over all of another.
pub(super) fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
