//! The map against the one of the standard library, and against itself on another replica.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Op {
    Insert { key: u16, size: usize, fill: u8 },
    Remove { key: u16 },
    RemoveMany { from: u16, count: u16 },
    Keep,
    Seal,
    Look { from: u16, to: u16, bounds: u8 },
}

fn op() -> impl Strategy<Value = Op> {
    let key = 0_u16..600;
    let size = prop_oneof![
        4 => 0_usize..40,
        6 => 100_usize..300,
        3 => 900_usize..2_100,
        2 => 3_000_usize..20_000,
        1 => 60_000_usize..ENTRY_BYTES_MAX - KEY_BYTES_MAX,
    ];
    prop_oneof![
        24 => (key.clone(), size, 0_u8..3).prop_map(|(key, size, fill)| Op::Insert { key, size, fill }),
        9 => key.clone().prop_map(|key| Op::Remove { key }),
        1 => (key.clone(), 1_u16..200).prop_map(|(from, count)| Op::RemoveMany { from, count }),
        1 => Just(Op::Keep),
        1 => Just(Op::Seal),
        1 => (key.clone(), key, 0_u8..9).prop_map(|(from, to, bounds)| Op::Look { from, to, bounds }),
    ]
}

/// Some keys are short, some share a long beginning, and one has the greatest length.
fn bytes_of(key: u16) -> Vec<u8> {
    match key {
        599 => vec![b'k'; KEY_BYTES_MAX],
        _ if key.is_multiple_of(3) => [&[b'k'; 40][..], &key.to_be_bytes()].concat(),
        _ => key.to_be_bytes().to_vec(),
    }
}

fn bound(key: &[u8], kind: u8) -> Bound<&[u8]> {
    match kind {
        0 => Bound::Included(key),
        1 => Bound::Excluded(key),
        _ => Bound::Unbounded,
    }
}

/// One history, on replicas that do different things besides.
#[derive(Default)]
struct Replicas {
    model: Model,
    /// Is copied and hashed now and then.
    shared: Map,
    /// Never is.
    lone: Map,
    /// Is made of its own wire form at each seal.
    rebuilt: Map,
    sealed: Map,
    kept: Vec<(Map, Model, Digest)>,
}

impl Replicas {
    fn maps(&mut self) -> [&mut Map; 3] {
        [&mut self.shared, &mut self.lone, &mut self.rebuilt]
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Insert { key, size, fill } => {
                let (key, value) = (bytes_of(*key), vec![*fill; *size]);
                let found = self.model.insert(key.clone(), value.clone()).is_some();
                for map in self.maps() {
                    let before = map.chunks().len();
                    assert_eq!(map.insert(&key, &value), Ok(found));
                    assert!(map.chunks().len() < before + CHUNKS_SPARE, "a write makes few chunks");
                    assert_eq!(map.get(&key), Some(&value[..]));
                }
            }
            Op::Remove { key } => self.remove(*key),
            Op::RemoveMany { from, count } => (*from..*from + *count).for_each(|key| self.remove(key)),
            Op::Keep => self.kept.push((self.shared.clone(), self.model.clone(), self.shared.root())),
            Op::Seal => {
                self.maps().into_iter().for_each(Map::seal);
                self.rebuilt = rebuilt(&self.rebuilt);
                self.sealed = self.shared.clone();
            }
            Op::Look { from, to, bounds } => self.look(&bytes_of(*from), &bytes_of(*to), *bounds),
        }
        let changed = self.shared.changed_bytes();
        assert_eq!([self.lone.changed_bytes(), self.rebuilt.changed_bytes()], [changed, changed]);
        assert_eq!(self.shared.len(), self.model.len() as u64);
    }

    fn remove(&mut self, key: u16) {
        let key = bytes_of(key);
        let found = self.model.remove(&key).is_some();
        for map in self.maps() {
            assert_eq!(map.remove(&key), found);
            assert_eq!(map.get(&key), None);
        }
    }

    fn look(&self, from: &[u8], to: &[u8], bounds: u8) {
        let (from, to) = (bound(from, bounds % 3), bound(to, bounds / 3));
        let within = |key: &[u8]| {
            let above = match from {
                Bound::Included(from) => from <= key,
                Bound::Excluded(from) => from < key,
                Bound::Unbounded => true,
            };
            above
                && match to {
                    Bound::Included(to) => key <= to,
                    Bound::Excluded(to) => key < to,
                    Bound::Unbounded => true,
                }
        };
        let expected = self.model.iter().filter(|(key, _)| within(key));
        assert!(self.shared.range(from, to).eq(expected.map(|(key, value)| (&key[..], &value[..]))));
    }

    fn check(&mut self) {
        self.look(&[], &[], 8);
        check_shape(&self.shared);
        assert_eq!(self.shared.root(), self.rebuilt.root());
        assert_eq!(self.shared.root(), self.lone.root());
        self.check_changes();
        for (map, model, root) in &self.kept {
            assert!(all(map).eq(model.iter().map(|(key, value)| (&key[..], &value[..]))), "a copy stays");
            assert_eq!(rebuilt(map).root(), *root);
            check_differences(map, model, &self.shared, &self.model);
            check_differences(&self.rebuilt, &self.model, map, model);
        }
    }

    /// A page that the sealed copy shares is not changed, and any other is.
    fn check_changes(&self) {
        let pages = |map: &Map| map.chunks().iter().flat_map(|chunk| chunk.pages()).cloned().collect();
        let (now, then): (Vec<Arc<Page>>, Vec<Arc<Page>>) = (pages(&self.shared), pages(&self.sealed));
        let then: std::collections::BTreeSet<_> = then.iter().map(Arc::as_ptr).collect();
        let changed = now.iter().filter(|page| !then.contains(&Arc::as_ptr(page)));
        let bytes: usize = changed.map(|page| page.bytes().len()).sum();
        assert_eq!(self.shared.changed_bytes(), bytes as u64);
    }
}

fn check_differences(ours: &Map, our_model: &Model, theirs: &Map, their_model: &Model) {
    let keys: std::collections::BTreeSet<_> = our_model.keys().chain(their_model.keys()).collect();
    let expected = keys.into_iter().filter_map(|key| {
        let difference = Difference {
            key,
            ours: our_model.get(key).map(Vec::as_slice),
            theirs: their_model.get(key).map(Vec::as_slice),
        };
        (difference.ours != difference.theirs).then_some(difference)
    });
    assert!(ours.differences(theirs).eq(expected));
    assert_eq!(ours == theirs, our_model == their_model);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn replicas_with_one_history_have_one_map_and_it_is_the_obvious_one(
        ops in proptest::collection::vec(op(), 0..900),
    ) {
        let mut replicas = Replicas::default();
        for (count, op) in ops.iter().enumerate() {
            replicas.apply(op);
            if count % 200 == 199 {
                replicas.check();
            }
        }
        replicas.check();
    }
}

#[test]
fn histories_of_this_kind_have_many_chunks_of_many_pages() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut replicas = Replicas::default();
    let (mut chunks, mut pages) = (0, 0);
    for _ in 0..1_500 {
        replicas.apply(&op().new_tree(&mut runner).unwrap().current());
        chunks = chunks.max(replicas.shared.chunks().len());
        pages =
            replicas.shared.chunks().iter().map(|chunk| chunk.pages().len()).max().unwrap_or(0).max(pages);
    }
    assert!(chunks > 20 && pages > 10, "{chunks} chunks, {pages} pages in one");
}
