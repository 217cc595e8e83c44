//! Who lies in a seed's world, and how.

use std::collections::BTreeMap;

use quorate_host::byzantine::{NAMES, Sin};
use quorate_protocol::types::{ReplicaId, Time};

use crate::rng::Rng;
use crate::world::{Fault, Whom};

/// Seeds with liars, of a million.
const LIARS: u64 = 400_000;

/// What liars draw from has nothing to do with what the rest of the world does: with and without them a seed has the
/// same misfortunes.
const STREAM: u64 = 0x6c69_6172_735f_3031;

/// Draws liars from those who may be lost for good, or lets one of them tell the lies that were `told`. What is lost
/// already cannot lie: whoever lies neither stops for good nor has its disk damaged, and the misfortunes that are left hit
/// others no more than before.
pub(super) fn draw(
    seed: u64,
    lost: &[ReplicaId],
    faults: &mut Vec<(Time, Fault)>,
    told: Option<&[Sin]>,
) -> BTreeMap<ReplicaId, Vec<Sin>> {
    let mut rng = Rng::new(seed ^ STREAM);
    if lost.is_empty() || told.is_none() && !rng.chance(LIARS) {
        return BTreeMap::new();
    }
    let count = usize::try_from(rng.between(1, lost.len() as u64)).unwrap_or(1);
    // Who is a primary early has more to lie about.
    let mut lost = lost.to_vec();
    lost.sort_unstable();
    let liars: BTreeMap<_, _> = match told {
        Some(told) => BTreeMap::from([(lost[0], told.to_vec())]),
        None => lost[..count].iter().map(|id| (*id, sins(&mut rng))).collect(),
    };
    faults.retain(|(_, fault)| match fault {
        Fault::Crash(id) => !liars.contains_key(id),
        Fault::Outage(Whom::One(id), outage) => outage.damage.is_none() || !liars.contains_key(id),
        Fault::CrashPrimary
        | Fault::Outage(..)
        | Fault::Doom(..)
        | Fault::Start(_)
        | Fault::ClockJump(..)
        | Fault::ClockDrift(..)
        | Fault::Pause(..)
        | Fault::Heal => true,
    });
    liars
}

fn sins(rng: &mut Rng) -> Vec<Sin> {
    let count = *rng.pick(&[1, 1, 2, 3, 4]);
    (0..count).map(|_| sin(rng)).collect()
}

/// Any sin; half of them are told by chance, at some time, or in some views only.
fn sin(rng: &mut Rng) -> Sin {
    let (name, _) = *rng.pick(NAMES);
    let mut words = Vec::new();
    if rng.chance(250_000) {
        words.push(format!("probability={}", rng.pick(&["0.1", "0.5", "0.9"])));
    }
    if rng.chance(150_000) {
        words.push(format!("after={}ms", rng.below(2_000)));
    }
    if rng.chance(150_000) {
        words.push(format!("until={}ms", rng.between(2_000, 8_000)));
    }
    if rng.chance(100_000) {
        words.push(format!("view={}..", rng.below(3)));
    }
    let text = if words.is_empty() { name.to_owned() } else { format!("{name}:{}", words.join(",")) };
    text.parse().expect("every lie has these settings")
}
