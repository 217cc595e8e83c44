//! What the segments hold that no snapshot needs: of older states, or of one that is being fetched.

use std::collections::BTreeSet;

use super::Store;
use crate::disk::Disk;

/// Chunks that no snapshot refers to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spare {
    /// How many.
    pub chunks: u64,
    /// Their bytes, as far as no other chunk shares them.
    pub bytes: u64,
}

impl<D: Disk> Store<D> {
    /// What there is besides the snapshots. Reads nothing, so some of it may not be whole.
    pub(crate) fn spare(&self) -> Spare {
        let named: BTreeSet<_> =
            self.manifests.values().flatten().flat_map(|manifest| manifest.digests.iter()).collect();
        let known = self.catalogue.iter().filter(|known| !named.contains(&known.digest));
        known.fold(Spare::default(), |spare, known| Spare {
            chunks: spare.chunks + 1,
            bytes: spare.bytes + known.bytes() as u64,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use quorate_protocol::types::Seq;

    use super::*;
    use crate::disk::MemoryDisk;
    use crate::store::tests::small_state;

    #[test]
    fn what_was_fetched_of_a_state_is_counted_until_a_snapshot_has_it() {
        let disk = MemoryDisk::new();
        let (mut store, state) = (Store::open(disk.share(), true).unwrap(), small_state(8));
        let digests = state.chunk_digests();
        assert_eq!(store.plan(Seq(8), &digests).unwrap(), vec![false; digests.len()]);
        let first = state.chunks().next().unwrap();
        store.keep(first.digest(), &first.encode()).unwrap();
        let spare = Store::examine(disk.share(), true).unwrap().spare();
        assert!(spare.chunks == 1 && spare.bytes > first.bytes(), "{spare:?}");
        store.save(&state).unwrap();
        assert_eq!(Store::examine(disk.share(), true).unwrap().spare().chunks, 0);
    }
}
