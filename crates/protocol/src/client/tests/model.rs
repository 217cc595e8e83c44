//! Replies in any order, some false, against a model that remembers everything and counts naively.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// One reply: who, to which operation, in which slot, with which result.
type Said = (u16, usize, u64, u8);

/// What is accepted: the first pair of a slot and a result that f + 1 replicas gave as their first answer.
#[derive(Default)]
struct Model {
    first_words: BTreeMap<(usize, u16), (u64, u8)>,
    accepted: BTreeMap<usize, (u64, u8)>,
    liars: BTreeMap<usize, BTreeSet<u16>>,
}

impl Model {
    fn hear(&mut self, (from, operation, seq, word): Said, needed: usize) {
        if self.accepted.contains_key(&operation) {
            return;
        }
        let first = *self.first_words.entry((operation, from)).or_insert((seq, word));
        if first != (seq, word) {
            self.liars.entry(operation).or_default().insert(from);
        }
        let same = |(key, said): (&(usize, u16), &(u64, u8))| key.0 == operation && *said == first;
        if self.first_words.iter().filter(|(key, said)| same((key, said))).count() >= needed {
            self.accepted.insert(operation, first);
            for ((about, replica), said) in &self.first_words {
                if *about == operation && *said != first {
                    self.liars.entry(operation).or_default().insert(*replica);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_replies_gives_the_answers_of_the_naive_model(
        n in 4_u8..11,
        bundle_max in 1_usize..6,
        said in proptest::collection::vec((0_u16..11, 0_usize..12, 12_u64..14, 0_u8..3), 0..400),
    ) {
        let mut world = World::open(n, |options, _| {
            options.bundle_max = bundle_max;
            options.bundles_in_flight = 12;
        });
        let calls: Vec<_> = (0..12).map(|_| world.submit(b"add")).collect();
        world.poll();
        let operations: Vec<_> = world
            .take_sent()
            .into_iter()
            .flat_map(|(_, request)| (0..request.len()).map(move |offset| (request.clone(), offset)))
            .collect();
        let needed = world.context.committee.weak_quorum();
        let mut model = Model::default();
        for said in said.into_iter().filter(|said| said.0 < u16::from(n)) {
            let (from, operation, seq, word) = said;
            model.hear(said, needed);
            let (request, offset) = &operations[operation];
            world.answer(ReplicaId(from), request, *offset, seq, result(&[word]));
        }
        let got: BTreeMap<_, _> = world
            .done
            .iter()
            .map(|(call, answer)| (calls.iter().position(|known| known == call).unwrap(), answer))
            .collect();
        prop_assert_eq!(got.len(), world.done.len(), "a call is answered once");
        prop_assert_eq!(got.keys().collect::<Vec<_>>(), model.accepted.keys().collect::<Vec<_>>());
        for (operation, (seq, word)) in &model.accepted {
            let answer = got[operation];
            prop_assert_eq!((&answer.outcome, answer.seq), (&result(&[*word]), Seq(*seq)));
            let liars = model.liars.get(operation).into_iter().flatten().copied().map(ReplicaId).collect();
            prop_assert_eq!(answer.dissenters, liars);
        }
        let ack = (0..12).find(|operation| !model.accepted.contains_key(operation)).unwrap_or(12) + 1;
        prop_assert_eq!(world.client.unanswered(), 12 - model.accepted.len());
        prop_assert_eq!(world.client.calls.ack(), Number(ack as u64));
    }
}
