//! What can be taken out of a scenario as a whole.

use std::collections::BTreeSet;

use quorate_protocol::types::ReplicaId;

use crate::scenario::Scenario;

/// One of the things that a scenario lists, by its place there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Entry {
    Fault(usize),
    Cut(usize),
    Sin(ReplicaId, usize),
    Client(usize),
}

/// All that can be taken out.
pub(super) fn entries(scenario: &Scenario) -> Vec<Entry> {
    let faults = (0..scenario.faults.len()).map(Entry::Fault);
    let cuts = (0..scenario.setting.cuts.len()).map(Entry::Cut);
    let clients = (0..scenario.clients.len()).map(Entry::Client);
    let liars = scenario.setting.liars.iter();
    let sins = liars.flat_map(|(id, sins)| (0..sins.len()).map(|index| Entry::Sin(*id, index)));
    faults.chain(cuts).chain(sins).chain(clients).collect()
}

/// The scenario without some of its entries.
pub(super) fn without(scenario: &Scenario, gone: &[Entry]) -> Scenario {
    let gone: BTreeSet<Entry> = gone.iter().copied().collect();
    let mut smaller = scenario.clone();
    keep(&mut smaller.faults, |index| !gone.contains(&Entry::Fault(index)));
    keep(&mut smaller.setting.cuts, |index| !gone.contains(&Entry::Cut(index)));
    for (id, sins) in &mut smaller.setting.liars {
        keep(sins, |index| !gone.contains(&Entry::Sin(*id, index)));
    }
    smaller.setting.liars.retain(|_, sins| !sins.is_empty());
    keep(&mut smaller.clients, |index| !gone.contains(&Entry::Client(index)));
    smaller
}

fn keep<T>(things: &mut Vec<T>, stays: impl Fn(usize) -> bool) {
    let mut index = 0;
    things.retain(|_| {
        index += 1;
        stays(index - 1)
    });
}
