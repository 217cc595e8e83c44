//! What the replicas took of the machine, in a report.

use quorate_bench::worker::{DiskUse, Footprint};
use quorate_node::status::Status;
use serde::Serialize;

use super::amount::told;

/// Memory that a replica may take besides its state and a quarter of that.
const MEMORY_BYTES: u64 = 128 << 20;

/// Memory and disk. Field names are part of the interface.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct MachineUse {
    /// The largest state of any replica, as the pages of its maps; null if none told.
    state_bytes: Option<u64>,
    /// The most memory that any replica's process had; null where the system does not say.
    peak_memory_bytes: Option<u64>,
    /// What it should stay under: that state, a quarter more, and 128 MiB.
    memory_bound_bytes: Option<u64>,
    /// The most that any replica's folder took on the disk at any look.
    disk_bytes: u64,
    /// Each replica, in order of id.
    taken: Vec<Taken>,
}

/// What one replica took.
#[derive(Debug, Clone, Default, Serialize)]
struct Taken {
    peak_memory_bytes: Option<u64>,
    #[serde(flatten)]
    disk: DiskUse,
}

/// What the replicas took at most, and the states they had at the end.
pub(super) fn machine_use(footprints: &[Footprint], after: &[Option<Status>]) -> MachineUse {
    let state_bytes =
        after.iter().flatten().map(|status| status.state_bytes).max().filter(|bytes| *bytes > 0);
    let taken = |of: &Footprint| Taken { peak_memory_bytes: of.memory, disk: of.disk };
    MachineUse {
        state_bytes,
        peak_memory_bytes: footprints.iter().filter_map(|of| of.memory).max(),
        memory_bound_bytes: state_bytes.map(|bytes| bytes + bytes / 4 + MEMORY_BYTES),
        disk_bytes: footprints.iter().map(|of| of.disk.total()).max().unwrap_or(0),
        taken: footprints.iter().map(taken).collect(),
    }
}

impl MachineUse {
    /// For people.
    pub(super) fn lines(&self, checkpoints: u64) -> String {
        let memory = match (self.peak_memory_bytes, self.largest(|taken| taken.peak_memory_bytes)) {
            (Some(bytes), Some(replica)) => format!("at most {} (replica {replica})", told(bytes)),
            _ => "unknown".to_owned(),
        };
        let state = match (self.state_bytes, self.memory_bound_bytes) {
            (Some(state), Some(bound)) => {
                let within = match self.peak_memory_bytes {
                    Some(peak) if peak > bound => "; MORE THAN",
                    Some(_) | None => "; within",
                };
                format!("{within} state + 25 % + 128 MiB = {}; state {}", told(bound), told(state))
            }
            _ => String::new(),
        };
        let disk = match self.largest(|taken| Some(taken.disk.total())).map(usize::from) {
            Some(replica) => {
                let DiskUse { snapshots_bytes, journal_bytes } = self.taken[replica].disk;
                let (snapshots, journal) = (told(snapshots_bytes), told(journal_bytes));
                format!("at most {snapshots} in snapshots and {journal} in the journal (replica {replica})")
            }
            None => "unknown".to_owned(),
        };
        format!("memory       {memory}{state}\ndisk         {disk}, {checkpoints} checkpoints\n")
    }

    /// Whoever has most of something.
    fn largest(&self, of: impl Fn(&Taken) -> Option<u64>) -> Option<u16> {
        let known = (0..).zip(&self.taken).filter_map(|(replica, taken)| Some((of(taken)?, replica)));
        known.max_by_key(|(bytes, _)| *bytes).map(|(_, replica)| replica)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_held_against_the_state() {
        let state = Some(Status { state_bytes: 256 << 20, ..Status::default() });
        let disk = DiskUse { snapshots_bytes: 300 << 20, journal_bytes: 20 << 20 };
        let footprint = |memory: u64| Footprint { memory: Some(memory << 20), disk };
        let lines = machine_use(&[footprint(100), footprint(400)], &[None, state.clone()]).lines(7);
        assert_eq!(
            lines,
            "memory       at most 400.0 MiB (replica 1); within state + 25 % + 128 MiB = 448.0 MiB; state 256.0 MiB\n\
             disk         at most 300.0 MiB in snapshots and 20.0 MiB in the journal (replica 1), 7 checkpoints\n"
        );
        let lines = machine_use(&[footprint(449)], &[state]).lines(0);
        assert!(lines.contains("; MORE THAN state + 25 %"), "{lines}");
        let unknown = machine_use(&[Footprint::default()], &[None]).lines(0);
        assert!(unknown.starts_with("memory       unknown\ndisk         at most 0 B"), "{unknown}");
    }
}
