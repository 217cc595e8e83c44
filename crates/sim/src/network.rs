//! Links that are late, lose, repeat, reorder and break.

use std::collections::BTreeMap;

use quorate_protocol::types::{ReplicaId, Time};

use crate::rng::Rng;

/// Who is at one end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Party {
    /// A replica.
    Replica(ReplicaId),
    /// A client, by its place among the world's clients.
    Client(usize),
}

/// How a link behaves while nobody cuts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// Least time a frame takes, in microseconds.
    pub delay_us: u64,
    /// Most time it takes beyond that; frames overtake each other.
    pub jitter_us: u64,
    /// Frames lost, of a million.
    pub loss: u64,
    /// Frames delivered twice, of a million.
    pub duplication: u64,
    /// Frames held up far longer, of a million.
    pub stragglers: u64,
    /// Most time those are held up, in microseconds.
    pub straggle_us: u64,
}

impl Profile {
    /// A link that only takes time, always the same.
    #[must_use]
    pub const fn calm(delay_us: u64) -> Self {
        Self { delay_us, jitter_us: 0, loss: 0, duplication: 0, stragglers: 0, straggle_us: 0 }
    }
}

/// Frames from some replicas to some replicas are lost for a while. One bit per replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Whose frames.
    pub from: u64,
    /// To whom.
    pub to: u64,
    /// From when on.
    pub start: Time,
    /// Until when.
    pub end: Time,
}

/// All links.
#[derive(Debug, Clone)]
pub struct Network {
    profile: Profile,
    cuts: Vec<Cut>,
    /// What a byte costs whoever sends it, in nanoseconds.
    byte_ns: u64,
    /// Until when the line of each is taken, in nanoseconds.
    taken: BTreeMap<Party, u64>,
}

fn bit(party: Party) -> u64 {
    match party {
        Party::Replica(id) => 1_u64.checked_shl(id.0.into()).unwrap_or(0),
        Party::Client(_) => 0,
    }
}

impl Network {
    /// Links that all behave alike, and when which of them are cut.
    #[must_use]
    pub fn new(profile: Profile, cuts: Vec<Cut>) -> Self {
        Self { profile, cuts, byte_ns: 0, taken: BTreeMap::new() }
    }

    /// The cuts that there are, and will be.
    pub(crate) fn cuts(&self) -> &[Cut] {
        &self.cuts
    }

    /// Whether what one party sends to the other is lost now.
    pub(crate) fn is_cut(&self, now: Time, from: Party, to: Party) -> bool {
        let cut = |cut: &Cut| {
            cut.start <= now && now < cut.end && cut.from & bit(from) != 0 && cut.to & bit(to) != 0
        };
        self.cuts.iter().any(cut)
    }

    /// Ends all cuts and makes the links calm.
    pub fn heal(&mut self) {
        self.cuts.clear();
        self.profile = Profile::calm(self.profile.delay_us);
    }

    /// From now on a byte costs whoever sends it so many nanoseconds.
    pub fn charge(&mut self, byte_ns: u64) {
        self.byte_ns = byte_ns;
    }

    /// When a frame of so many bytes has left: what one party sends, to whomever, goes out one after the other.
    pub fn leaves(&mut self, now: Time, from: Party, bytes: usize) -> Time {
        if self.byte_ns == 0 {
            return now;
        }
        let taken = self.taken.entry(from).or_default();
        *taken = (*taken).max(now.0.saturating_mul(1_000)).saturating_add(self.byte_ns * bytes as u64);
        Time(taken.div_ceil(1_000))
    }

    /// When a frame arrives: not at all, once or twice.
    pub fn arrivals(&self, now: Time, from: Party, to: Party, rng: &mut Rng) -> Vec<Time> {
        if self.is_cut(now, from, to) || rng.chance(self.profile.loss) {
            return Vec::new();
        }
        let copies = if rng.chance(self.profile.duplication) { 2 } else { 1 };
        (0..copies)
            .map(|_| {
                let mut delay = self.profile.delay_us + rng.below(self.profile.jitter_us + 1);
                if rng.chance(self.profile.stragglers) {
                    delay += rng.below(self.profile.straggle_us + 1);
                }
                now.plus(delay)
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Party = Party::Replica(ReplicaId(0));
    const B: Party = Party::Replica(ReplicaId(1));

    #[test]
    fn a_cut_is_one_way_and_ends() {
        let cut = Cut { from: 0b01, to: 0b10, start: Time(10), end: Time(20) };
        let mut network = Network::new(Profile::calm(5), vec![cut]);
        let mut rng = Rng::new(1);
        assert_eq!(network.arrivals(Time(9), A, B, &mut rng), [Time(14)]);
        assert!(network.arrivals(Time(10), A, B, &mut rng).is_empty());
        assert_eq!(network.arrivals(Time(10), B, A, &mut rng), [Time(15)]);
        assert_eq!(network.arrivals(Time(20), A, B, &mut rng), [Time(25)]);
        network.heal();
        assert_eq!(network.arrivals(Time(10), A, B, &mut rng), [Time(15)]);
    }

    #[test]
    fn what_one_party_sends_leaves_one_after_the_other() {
        let mut network = Network::new(Profile::calm(5), Vec::new());
        assert_eq!(network.leaves(Time(10), A, 1_000), Time(10));
        network.charge(8);
        assert_eq!(network.leaves(Time(10), A, 1_000), Time(18));
        assert_eq!(network.leaves(Time(10), A, 500), Time(22));
        assert_eq!(network.leaves(Time(10), B, 500), Time(14), "each has a line of its own");
        assert_eq!(network.leaves(Time(100), A, 1), Time(101));
    }

    #[test]
    fn links_lose_and_repeat_as_often_as_they_are_told() {
        let profile = Profile { loss: 200_000, duplication: 500_000, ..Profile::calm(1) };
        let network = Network::new(profile, Vec::new());
        let mut rng = Rng::new(3);
        let counts: Vec<usize> = (0..1000).map(|_| network.arrivals(Time(0), A, B, &mut rng).len()).collect();
        let lost = counts.iter().filter(|count| **count == 0).count();
        let twice = counts.iter().filter(|count| **count == 2).count();
        assert!((150..250).contains(&lost), "{lost} of 1000 lost");
        assert!((320..480).contains(&twice), "{twice} of 1000 repeated");
    }
}
