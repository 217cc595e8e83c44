//! Whose microseconds are whose: every replica counts from the beginning of its own recording, and a page shows one.
//!
//! A replica says when its recording began by the wall clock, which all processes of a machine share; so the difference
//! to our own beginning is what its times are earlier or later by. Somebody may set the wall clock while a run goes on,
//! and then that is wrong by as much. What cannot be is put right: a moment that we hear of is not in the future, and one
//! that we had not heard of when we asked last is not from long before that.

/// How much earlier than our last question something may have been written that comes now: replicas write some things
/// down a little late.
const LATE_US: u64 = 1_000_000;

/// What a replica's clock is to the recording's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Clock {
    /// When the replica's recording began, by the wall clock; none before it was heard.
    began: Option<u64>,
    /// What its times are earlier by than ours.
    earlier_us: i64,
}

impl Clock {
    /// The replica answers from a recording that began then, by the wall clock; ours began at `own`. Says whether that is
    /// another one than before: the replica was started again, and counts anew.
    pub(super) fn began(&mut self, its: u64, own: u64) -> bool {
        if self.began == Some(its) {
            return false;
        }
        let anew = self.began.is_some();
        let difference = i128::from(its) - i128::from(own);
        let earlier_us = i64::try_from(difference).unwrap_or(0);
        *self = Self { began: Some(its), earlier_us };
        anew
    }

    /// Moments came that have these times, the least and the most, in answer to a question; that came at `answered`, and
    /// the question before it was asked at `asked`.
    pub(super) fn heard(&mut self, (least, most): (u64, u64), (asked, answered): (u64, u64)) {
        let ours = |its: u64| i128::from(its) + i128::from(self.earlier_us);
        let ahead = ours(most) - i128::from(answered);
        let behind = i128::from(asked.saturating_sub(LATE_US)) - ours(least);
        let wrong = if ahead > 0 { -ahead } else { behind.max(0) };
        let right = i128::from(self.earlier_us) + wrong;
        self.earlier_us = i64::try_from(right).unwrap_or(self.earlier_us);
    }

    /// What has to be added to the replica's times.
    pub(super) fn earlier_us(self) -> i64 {
        self.earlier_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the wall clock, when our recording began.
    const OWN: u64 = 1_800_000_000_000_000;

    fn ours(clock: Clock, its: u64) -> u64 {
        its.saturating_add_signed(clock.earlier_us())
    }

    #[test]
    fn a_replica_that_began_later_is_later_by_as_much() {
        let mut clock = Clock::default();
        assert!(!clock.began(OWN + 300_000, OWN), "the first one is not another one");
        clock.heard((5, 40_000), (0, 345_000));
        assert_eq!((ours(clock, 0), ours(clock, 40_000)), (300_000, 340_000));
        // One that began before us: what it saw before is at our beginning.
        let mut early = Clock::default();
        early.began(OWN - 2_000, OWN);
        assert_eq!((ours(early, 1_500), ours(early, 5_000)), (0, 3_000));
    }

    #[test]
    fn a_replica_that_was_started_again_counts_anew() {
        let mut clock = Clock::default();
        clock.began(OWN + 1_000, OWN);
        assert!(!clock.began(OWN + 1_000, OWN));
        assert!(clock.began(OWN + 9_000_000, OWN), "it has another beginning");
        assert_eq!(ours(clock, 10), 9_000_010);
    }

    #[test]
    fn what_we_hear_of_is_not_in_the_future_though_somebody_set_the_wall_clock() {
        let mut clock = Clock::default();
        // An hour ahead.
        clock.began(OWN + 3_600_000_000, OWN);
        clock.heard((0, 250_000), (4_000_000, 4_260_000));
        assert_eq!((ours(clock, 0), ours(clock, 250_000)), (4_010_000, 4_260_000));
        // Once it is right it stays so.
        clock.heard((260_000, 490_000), (4_260_000, 4_520_000));
        assert_eq!(ours(clock, 490_000), 4_500_000);
    }

    #[test]
    fn what_is_new_to_us_is_not_from_long_ago_either() {
        let mut clock = Clock::default();
        // An hour behind.
        clock.began(OWN.saturating_sub(3_600_000_000), OWN);
        clock.heard((100, 250_000), (4_000_000, 4_260_000));
        assert_eq!(ours(clock, 100), 3_000_000);
        let before = clock;
        clock.heard((270_000, 490_000), (4_260_000, 4_520_000));
        assert_eq!(ours(clock, 490_000), ours(before, 490_000));
        // A replica that was paused for a while wrote before it what comes after it: a second's worth may be late.
        let mut paused = Clock::default();
        paused.began(OWN, OWN);
        paused.heard((3_500_000, 3_600_000), (4_000_000, 9_000_000));
        assert_eq!(ours(paused, 3_500_000), 3_500_000);
    }

    #[test]
    fn no_number_that_a_replica_says_breaks_anything() {
        let mut clock = Clock::default();
        for its in [0, u64::MAX, OWN] {
            clock.began(its, OWN);
            for (least, most) in [(0, u64::MAX), (u64::MAX, u64::MAX), (u64::MAX, 0)] {
                clock.heard((least, most), (0, u64::MAX));
                clock.heard((least, most), (u64::MAX, 0));
            }
        }
        clock.began(OWN, OWN);
    }
}
