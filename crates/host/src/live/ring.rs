//! The last moments of something that goes on, each with a number, for whoever asks what is new.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{Header, Moment};

/// Moments that a ring holds besides its header.
pub const RING_MAX: usize = 4096;
/// Moments in one excerpt.
pub const EXCERPT_MAX: usize = 2000;
/// Bytes of them as they are written, about; fewer than 2,000 only in a cluster of more than thirty replicas.
pub const EXCERPT_BYTES_MAX: usize = 4 << 20;

/// A bounded list of moments. Moment 0 is the header, which is never lost; of the others the oldest are.
#[derive(Debug, Clone)]
pub struct Ring {
    header: Header,
    moments: VecDeque<Moment>,
    /// Number of the oldest moment that is held, from 1.
    first: u64,
    most: usize,
}

/// What somebody gets who asks what is new.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excerpt {
    /// The number to ask for next.
    pub next: u64,
    /// How many of the moments that were asked for are gone.
    pub lost: u64,
    /// When the recording began, in microseconds of the wall clock: another time than before is another recording.
    #[serde(default)]
    pub began: u64,
    /// The moments, oldest first.
    pub moments: Vec<Moment>,
}

impl Ring {
    /// An empty ring for [`RING_MAX`] moments.
    #[must_use]
    pub fn new(header: Header) -> Self {
        Self::with_room(header, RING_MAX)
    }

    /// An empty ring for so many moments besides its header, at least one.
    #[must_use]
    pub fn with_room(header: Header, most: usize) -> Self {
        Self { header, moments: VecDeque::new(), first: 1, most: most.max(1) }
    }

    /// What it is of.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The number that the next moment gets.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.first + self.moments.len() as u64
    }

    /// Adds a moment; the oldest goes if there is no room.
    pub fn push(&mut self, moment: Moment) {
        if self.moments.len() >= self.most {
            self.moments.pop_front();
            self.first += 1;
        }
        self.moments.push_back(moment);
    }

    /// The moments from a number on, [`EXCERPT_MAX`] at most, fewer if they are long, and how many of them are gone.
    /// Whoever asks for more than there ever was has followed another recording, of a replica that was started again,
    /// and gets this one from its header on.
    #[must_use]
    pub fn from(&self, number: u64) -> Excerpt {
        let number = if number > self.next() { 0 } else { number };
        let begin = number.max(self.first);
        let lost = if number == 0 { begin - 1 } else { begin - number };
        let skipped = usize::try_from(begin - self.first).expect("as many are held");
        let header = (number == 0).then(|| Moment::Header(self.header.clone()));
        let room = EXCERPT_MAX - usize::from(header.is_some());
        let mut bytes = 0;
        let fits = |moment: &&Moment| {
            let first = bytes == 0;
            bytes += moment.weight();
            first || bytes <= EXCERPT_BYTES_MAX
        };
        let kept: Vec<&Moment> = self.moments.iter().skip(skipped).take(room).take_while(fits).collect();
        let next = begin + kept.len() as u64;
        let moments = header.into_iter().chain(kept.into_iter().cloned()).collect();
        Excerpt { next, lost, began: self.header.began, moments }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::{Happening, Weight};
    use super::*;

    fn event(t: u64) -> Moment {
        Moment::Event(Happening { t, replica: None, what: "something".to_owned(), weight: Weight::Note })
    }

    fn ring(most: usize, pushed: u64) -> Ring {
        let mut ring = Ring::with_room(Header { began: 77, ..Header::default() }, most);
        (1..=pushed).for_each(|t| ring.push(event(t)));
        ring
    }

    fn times(excerpt: &Excerpt) -> Vec<u64> {
        excerpt.moments.iter().map(Moment::at).collect()
    }

    #[test]
    fn a_ring_without_moments_has_its_header_and_nothing_new() {
        let ring = ring(4, 0);
        let all = ring.from(0);
        assert!(matches!(all.moments.as_slice(), [Moment::Header(_)]));
        assert_eq!((all.next, all.lost, all.began), (1, 0, 77));
        assert_eq!(ring.from(all.next), Excerpt { next: 1, lost: 0, began: 77, moments: Vec::new() });
    }

    #[test]
    fn whoever_asks_on_gets_each_moment_once() {
        let mut ring = ring(8, 3);
        let first = ring.from(0);
        assert_eq!((times(&first), first.next), (vec![0, 1, 2, 3], 4));
        ring.push(event(4));
        let second = ring.from(first.next);
        assert_eq!((times(&second), second.next, second.lost), (vec![4], 5, 0));
        assert_eq!(times(&ring.from(2)), [2, 3, 4]);
    }

    #[test]
    fn a_full_ring_loses_its_oldest_moments_and_says_how_many_but_never_its_header() {
        let ring = ring(4, 10);
        let late = ring.from(3);
        assert_eq!((times(&late), late.lost, late.next), (vec![7, 8, 9, 10], 4, 11));
        let all = ring.from(0);
        assert!(matches!(all.moments[0], Moment::Header(_)));
        assert_eq!((all.moments.len(), all.lost, all.next), (5, 6, 11));
    }

    #[test]
    fn whoever_asks_beyond_the_end_is_given_everything_from_the_header_on() {
        let ring = ring(4, 2);
        assert!(ring.from(3).moments.is_empty(), "the end itself is no number of another recording");
        for beyond in [4, 5000, u64::MAX] {
            assert_eq!(ring.from(beyond), ring.from(0), "{beyond}");
        }
    }

    #[test]
    fn an_excerpt_of_long_moments_has_fewer_of_them_and_at_least_one() {
        let mut ring = ring(8, 0);
        for (t, bytes) in [(1, 1_500_000), (2, 1_500_000), (3, 5_000_000), (4, 10)] {
            let what = "x".repeat(bytes);
            ring.push(Moment::Event(Happening { t, replica: None, what, weight: Weight::Note }));
        }
        for (from, expected) in [(0, &[0, 1, 2][..]), (3, &[3]), (4, &[4])] {
            let excerpt = ring.from(from);
            assert_eq!(times(&excerpt), expected);
            assert_eq!(excerpt.next, expected.last().unwrap() + 1);
        }
    }

    #[test]
    fn an_excerpt_is_bounded_and_the_rest_comes_with_the_next_one() {
        let ring = ring(RING_MAX, RING_MAX as u64);
        let (mut next, mut all) = (0, Vec::new());
        loop {
            let excerpt = ring.from(next);
            assert!(excerpt.moments.len() <= EXCERPT_MAX && excerpt.lost == 0);
            if excerpt.moments.is_empty() {
                break;
            }
            all.extend(times(&excerpt));
            next = excerpt.next;
        }
        assert_eq!(all, (0..=RING_MAX as u64).collect::<Vec<_>>());
    }
}
